#!/usr/bin/env bash
# Runs all tests, in the order in which they are quick to fail.
#
#   tests/run.sh           everything; installs the servers that it needs by package name (tests/install.sh)
#   tests/run.sh --quick   format, lints, documentation and unit tests only
#
# Environment: CARGO_TARGET_DIR (by default in the cache folder), REPLEVIN_KEEP=1 keeps the servers' folders and logs,
# PROPTEST_RNG_SEED chooses the generated cases of the property tests.
# The last line is "N passed, N failed"; a step that fails as a whole counts as one failure. The exit status is 0 only when
# nothing failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

quick=false
case ${1:-} in
'') ;;
--quick) quick=true ;;
*)
    echo "usage: tests/run.sh [--quick]" >&2
    exit 2
    ;;
esac

cache=${XDG_CACHE_HOME:-$HOME/.cache}/replevin
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
# The same generated cases in every run, so that it judges the change and not the dice. Another number tries others.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-20261122}
mkdir -p "$cache"
log=$(mktemp "$cache/run-XXXXXX")
trap 'rm -f "$log"' EXIT

passed=0
failed=0
broken=()

# step NAME COMMAND...: runs it, prints how long it took, and adds up the tests that it reports.
step() {
    local name=$1 start=$SECONDS status tests bad
    shift
    printf '\n== %s\n' "$name"
    "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    # cargo: "test result: ok. 5 passed; 0 failed; ..." for each program; Python: "Ran 5 tests", "FAILED (failures=1, errors=1)".
    read -r tests bad < <(awk '
        /^test result:/ { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) ok += $(i - 1); if ($i ~ /^failed/) bad += $(i - 1) } }
        /^Ran [0-9]+ tests?/ { ok += $2 }
        /^FAILED \(/ { while (match($0, /(failures|errors)=[0-9]+/)) {
            split(substr($0, RSTART, RLENGTH), pair, "="); bad += pair[2]; ok -= pair[2]; $0 = substr($0, RSTART + RLENGTH) } }
        END { print ok + 0, bad + 0 }' "$log")
    passed=$((passed + tests))
    failed=$((failed + bad))
    if [[ $status -ne 0 ]]; then
        [[ $bad -gt 0 ]] || failed=$((failed + 1))
        broken+=("$name")
        printf '== %s FAILED after %d s\n' "$name" $((SECONDS - start))
        return 1
    fi
    printf '== %s: %d s\n' "$name" $((SECONDS - start))
}

finish() {
    printf '\n'
    [[ ${#broken[@]} -eq 0 ]] || printf 'FAILED: %s\n' "${broken[@]}"
    printf '%d s\n%d passed, %d failed\n' "$SECONDS" "$passed" "$failed"
    if [[ ${#broken[@]} -gt 0 || $failed -gt 0 ]]; then exit 1; fi
    exit 0
}

reader() {
    local python=python3
    if [[ -f tests/reader/requirements.txt ]]; then
        local venv=$cache/reader-venv
        [[ -x $venv/bin/python ]] || python3 -m venv "$venv" || return 1
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/reader/requirements.txt || return 1
        python=$venv/bin/python
    fi
    PYTHONDONTWRITEBYTECODE=1 "$python" -m unittest discover -s tests/reader -p '*test*.py'
}

# Every program of tests with servers, two at a time: most of their time they wait for a server to start, to notice a dead
# member or to clean a log. What one says is printed whole when it has ended.
programs() {
    local built
    built=$(cargo test --workspace --features replevin/failpoints --locked --test '*' --no-run \
        --message-format json-render-diagnostics) || return 1
    # Each in the folder of its package, as cargo runs them.
    python3 -c '
import json, os, sys
for line in sys.stdin:
    said = json.loads(line)
    if said.get("executable") and said["target"]["kind"] == ["test"]:
        print(os.path.dirname(said["manifest_path"]), said["target"]["name"], said["executable"], sep="\n")
' <<<"$built" | RUST_TEST_THREADS=3 xargs -d '\n' -n 3 -P 2 bash -c '
        cd "$0" && said=$("$2" 2>&1); status=$?
        printf "\n-- %s\n%s\n" "$1" "$said"
        exit "$status"'
}

command -v cargo >/dev/null || {
    echo "cargo is missing: install Rust 1.94 or newer with rustfmt and clippy" >&2
    exit 1
}

step 'build tools' tests/install.sh build-deps || finish
servers=(kafka-3.9 kafka-4 versitygw toxiproxy azurite fake-gcs avro-java protobuf postgresql mariadb cassandra
    client-python client-node client-go schemathesis shell-tools cqlsh prometheus pushgateway)
# They are fetched while the rest is compiled; the step below waits for that, and says what went wrong.
if ! $quick; then tests/install.sh "${servers[@]}" >/dev/null 2>&1 & fi
step 'format' cargo fmt --all --check
step 'lints' cargo clippy --workspace --all-targets --locked -- -D warnings
step 'documentation' env RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --quiet
# With the places where a test may kill the binary; the lints above see it without. The same features in every step, so that
# nothing is built twice.
step 'unit tests' cargo test --workspace --features replevin/failpoints --lib --bins --locked --no-fail-fast
step 'examples in the documentation' cargo test --workspace --features replevin/failpoints --doc --locked --no-fail-fast --quiet
# They are a workspace of their own, and without this nothing would notice that they no longer compile.
for package in formats registry; do
    step "fuzz targets of $package compile" \
        cargo check --manifest-path $package/fuzz/Cargo.toml --no-default-features --locked --quiet
done
if $quick; then finish; fi

if [[ -d tests/reader ]]; then step 'reader in Python' reader; fi
step 'servers' tests/install.sh "${servers[@]}" || finish
step 'tests with real servers' programs
# Two nodes of Cassandra want the machine for themselves.
step 'two data centres' cargo test --workspace --features replevin/failpoints --locked --test registry_stores -- \
    --ignored cassandra_without_one_of_two_data_centres
finish
