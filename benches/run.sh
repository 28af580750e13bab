#!/usr/bin/env bash
# Takes figures: installs the servers, builds the release binaries, prints one Markdown table.
#
#   benches/run.sh                     every figure (two hours on two cores)
#   benches/run.sh FIGURE...           these
#   RUNS=9 MEGABYTES=2000 benches/run.sh FIGURE...
#
# Figures: backup-fs backup-s3 backup-consumer backup-compress restore restore-rewrite rewrite scan fence schemas-100k
#          migrate migrate-memory memory archive day
#          registry-memory registry-by-id registry-register registry-compatibility registry-start
# The table goes to standard output, every single run to standard error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/replevin
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
figures=("$@")
[[ ${#figures[@]} -gt 0 ]] ||
    figures=(backup-fs backup-s3 backup-consumer backup-compress restore restore-rewrite rewrite scan fence schemas-100k
        migrate migrate-memory memory archive day
        registry-memory registry-by-id registry-register registry-compatibility registry-start)

tests/install.sh build-deps kafka-4 versitygw
case "${figures[*]}" in *registry-*) tests/install.sh postgresql oha ;; esac
case " ${figures[*]} " in *' migrate '*) tests/install.sh mirrormaker ;; esac
# Together: apart, cargo would build what they share twice, because they ask for other features.
cargo build --quiet --release -p replevin -p replevin-benches >&2
bench=$CARGO_TARGET_DIR/release/replevin-bench
"$bench" head
status=0
for figure in "${figures[@]}"; do
    scale=()
    case $figure in
    day) ;;
    registry-*) scale=(--runs "${RUNS:-5}" --minutes "${MINUTES:-10}") ;;
    migrate-memory) scale=(--minutes "${MINUTES:-30}") ;;
    schemas-100k) scale=(--runs "${RUNS:-3}") ;;
    backup-fs) scale=(--runs "${RUNS:-5}" --megabytes "${MEGABYTES:-2400}") ;;
    *) scale=(--runs "${RUNS:-5}" --megabytes "${MEGABYTES:-1200}") ;;
    esac
    start=$SECONDS
    "$bench" ${figure/#registry-/registry } "${scale[@]}" || status=1
    echo "$figure took $((SECONDS - start)) s; load average $(cut -d' ' -f1 /proc/loadavg)" >&2
done
exit "$status"
