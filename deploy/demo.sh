#!/usr/bin/env bash
# Backs up a real Kafka, loses it, brings it back, and lets Kafka's own tools say whether both are the same.
#
#   deploy/demo.sh
#
# Installs what is missing by package name (tests/install.sh), builds replevin, and runs everything in a temporary folder
# on the loopback interface. Takes about two minutes once built; leaves nothing running and nothing but the caches behind.
# The exit status is 0 only when every comparison held.
#
# Environment: KEEP=1 keeps the folder (archive, logs, dumps); REPLEVIN=FILE uses that binary and builds nothing;
# CARGO_TARGET_DIR (by default in the cache folder); LIVE_SECONDS of traffic during the backup (20).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

LIVE_SECONDS=${LIVE_SECONDS:-20}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/replevin
kafka=$cache/servers/kafka-4
topics='orders payments clicks invoices sensors customers dead-letters'
# A compacted topic promises the last record of each key, and so that is what must be the same.
compacted=' customers '
# How long a consumer waits for one more record before it takes a topic to be read.
idle_ms=12000

if [[ -t 1 ]]; then bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; else bold='' green='' red='' plain=''; fi
number=0
step() { number=$((number + 1)); printf '\n%s%d. %s%s  (%d s)\n' "$bold" "$number" "$*" "$plain" "$SECONDS"; }
say() { printf '   %s\n' "$*"; }
shown() { printf '   $ %s\n' "$*"; }
indent() { sed 's/^/   /'; }
fail() {
    printf '\n%sfailed: %s%s\n' "$red" "$1" "$plain" >&2
    [[ -z ${2:-} || ! -e $2 ]] || { echo "the end of ${2##*/}:"; tail -n 25 "$2" | indent; } >&2
    [[ ${KEEP:-0} != 0 ]] || echo 'KEEP=1 keeps the logs' >&2
    exit 1
}

work=$(mktemp -d "${TMPDIR:-/tmp}/replevin-demo.XXXXXX")
server='' # the process id of the Kafka server that runs
cleanup() {
    local status=$? pids
    trap '' INT TERM HUP
    trap - EXIT
    [[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true
    pids=$(jobs -p)
    # Each is a `timeout`, which passes the signal on and kills what does not obey.
    # shellcheck disable=SC2086 # one word a process
    [[ -z $pids ]] || kill -TERM $pids 2>/dev/null || true
    wait 2>/dev/null || true
    if [[ ${KEEP:-0} == 0 ]]; then
        rm -rf "$work"
    else
        echo "kept: $work"
    fi
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# until_true SECONDS WHAT LOG COMMAND...: waits until the command succeeds.
until_true() {
    local end=$((SECONDS + $1)) what=$2 log=$3
    shift 3
    until "$@"; do
        [[ $SECONDS -lt $end ]] || fail "$what took too long" "$log"
        sleep 0.2
    done
}

gone() { ! kill -0 "$1" 2>/dev/null; }
# said PID TEXT LOG: whether TEXT is in LOG; fails when the process has ended without it.
said() {
    grep -q -- "$2" "$3" && return
    gone "$1" && ! grep -q -- "$2" "$3" && fail "a process ended early" "$3"
    return 1
}

# Everything that may take long runs in the background and is waited for: only so is a signal to this script answered at once.
# tool CLASS ARGUMENT...: one of Kafka's own tools.
tool() {
    "${tool[@]}" "$@" &
    wait $!
}

# replevin ARGUMENT...: shows the command, runs it, shows what it prints.
replevin() {
    local status=0
    shown "replevin $*"
    (cd "$work" && exec timeout --foreground -k 5 120 "$binary" -q "$@") >"$work/output" 2>"$work/errors" &
    wait $! || status=$?
    indent <"$work/output"
    [[ $status -eq 0 ]] || fail "replevin $1 ended with exit code $status" "$work/errors"
}

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000)) # below the range that Linux hands to clients
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# start_kafka NAME: a new cluster, with data in a folder of that name. Sets `server` and `bootstrap`.
start_kafka() {
    local folder=$work/$1 port controller id=-
    port=$(free_port)
    controller=$(free_port)
    until [[ $id != -* && $port != "$controller" ]]; do
        id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
        controller=$(free_port)
    done
    bootstrap=127.0.0.1:$port
    mkdir "$folder"
    cat >"$folder/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://$bootstrap,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://$bootstrap
controller.listener.names=CONTROLLER
log.dirs=$folder/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.initial.task.delay.ms=1000
log.cleaner.backoff.ms=1000
log.cleaner.dedupe.buffer.size=16777216
PROPERTIES
    tool kafka.tools.StorageTool format -t "$id" -c "$folder/server.properties" >"$folder/format.log" 2>&1 ||
        fail 'the storage of a Kafka server could not be formatted' "$folder/format.log"
    : >"$folder/server.log"
    "$java" -Xms128m -Xmx512m -XX:+UseSerialGC "-Dlog4j2.configurationFile=$kafka/log4j2.properties" \
        -cp "$kafka/libs/*" kafka.Kafka "$folder/server.properties" >"$folder/server.log" 2>&1 &
    server=$!
    until_true 60 'the start of a Kafka server' "$folder/server.log" said "$server" 'Kafka Server started' "$folder/server.log"
    say "Apache Kafka $(basename "$(readlink "$kafka")" | sed 's/.*-//'), cluster id $id, at $bootstrap"
}

# dump FOLDER: every topic as a committed reader sees it, by Kafka's console consumer: timestamp, partition, headers, key
# and value of each record, in the order of each partition's offsets. All topics at once; those that came out short are
# read again, since on a busy machine a consumer may not even have begun when its time is over.
dump() {
    local topic attempt running todo=$topics
    mkdir "$1"
    for attempt in 1 2 3; do
        running=()
        for topic in $todo; do
            "${tool[@]}" org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$bootstrap" --topic "$topic" \
                --from-beginning --isolation-level read_committed --timeout-ms "$idle_ms" \
                --formatter-property print.timestamp=true --formatter-property print.partition=true \
                --formatter-property print.headers=true --formatter-property print.key=true \
                --formatter-property 'null.literal=<null>' >"$1/$topic.raw" 2>"$1/$topic.log" &
            running+=($!)
        done
        # Its way to end is to complain that nothing more came in time: what it read is judged, not its exit status.
        wait "${running[@]}" || true
        for topic in $todo; do
            sort -s -t $'\t' -k 2,2 "$1/$topic.raw" >"$1/$topic"
            if [[ $compacted == *" $topic "* ]]; then
                awk -F '\t' '{ last[$2 FS $4] = $0 } END { for (key in last) print last[key] }' "$1/$topic" |
                    LC_ALL=C sort >"$1/$topic.raw"
                mv "$1/$topic.raw" "$1/$topic"
            fi
            rm -f "$1/$topic.raw"
        done
        todo=$(while read -r topic written _; do [[ $(wc -l <"$1/$topic") -ge $written ]] || echo "$topic"; done <"$work/counts")
        [[ -n $todo ]] || return 0
        [[ $attempt -eq 3 ]] || say "(reading again: ${todo//$'\n'/ })"
    done
}

# configs FILE: partitions, replicas and configs of the topics, as Kafka's topic tool tells them.
configs() {
    tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$bootstrap" --describe >"$1.all" 2>"$1.log" ||
        fail 'the topics could not be described' "$1.log"
    awk -F '\t' -v topics=" $topics " '/PartitionCount: / {
        name = $1; sub(/^Topic: */, "", name); if (!index(topics, " " name " ")) next
        line = name; for (i = 2; i <= NF; i++) if ($i !~ /^ *(TopicId|Configs): /) { sub(/ *$/, "", $i); line = line "  " $i }
        list = $0; sub(/.*Configs: */, "", list); n = split(list, config, ",")
        for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (config[j] < config[i]) { t = config[i]; config[i] = config[j]; config[j] = t }
        for (i = 1; i <= n; i++) line = line "  " config[i]
        print line }' "$1.all" | LC_ALL=C sort >"$1"
}

cleaned() { awk '/^customers / && $3 > 0 { n++ } END { exit n != 2 }' "$work/before/data/cleaner-offset-checkpoint" 2>/dev/null; }

step 'What is needed'
command -v cargo >/dev/null || [[ -n ${REPLEVIN:-} ]] ||
    fail 'cargo is missing: install Rust 1.94 or newer (https://rustup.rs), then run this again'
tests/install.sh kafka-4 jdk
# The Java that belongs to the compiler, which may not be the first in PATH.
java=$(dirname "$(readlink -f "$(command -v javac)")")/java
# Tools live for seconds: no time for the optimising compiler.
tool=(timeout -k 5 90 "$java" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m -cp "$kafka/libs/*"
    "-Dlog4j2.configurationFile=$kafka/tools-log4j2.properties")
if [[ -n ${REPLEVIN:-} ]]; then
    binary=$(readlink -f "$REPLEVIN")
else
    tests/install.sh build-deps
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
    # The development profile: dependencies are optimised in it too, tests/run.sh shares it, and a release build takes
    # minutes longer (link-time optimisation) for a data set that the brokers are the brake on.
    shown 'cargo build --bin replevin'
    cargo build --quiet --locked --package replevin --bin replevin
    binary=$CARGO_TARGET_DIR/debug/replevin
fi
say "$("$binary" --version), Java $("$java" -version 2>&1 | sed -n '1s/.*"\(.*\)".*/\1/p')"
SECONDS=0

step 'A Kafka cluster with a shop in it'
start_kafka before
: >"$work/load.log"
timeout -k 5 180 "$java" -XX:+UseSerialGC -Xmx384m -cp "$kafka/libs/*" "-Dlog4j2.configurationFile=$kafka/tools-log4j2.properties" \
    deploy/demo/Load.java "$bootstrap" "$LIVE_SECONDS" "$work/counts" >"$work/load.log" 2>&1 &
loader=$!
until_true 120 'writing the history' "$work/load.log" said "$loader" '^history written' "$work/load.log"
say 'orders     zstd, with headers (some twice, some without a value)'
say 'payments   lz4, in transactions, each sixth aborted'
say 'clicks     snappy, without keys'
say 'invoices   gzip, 2 to 8 KB each'
say 'sensors    not compressed'
say 'customers  compacted: keys overwritten and deleted'
say 'dead-letters  empty'
say "three days of history are written; now live traffic goes on for $LIVE_SECONDS s"

step 'Backup, while the shop goes on'
until_true 60 'the compaction of a topic' "$work/before/server.log" cleaned
cat >"$work/backup.yaml" <<YAML
mode: backup
backup_id: shop
source:
  bootstrap_servers: ["$bootstrap"]
storage:
  backend: filesystem
  path: archive
backup:
  segment_max_interval_ms: 2s
YAML
indent <"$work/backup.yaml"
shown 'replevin backup -c backup.yaml --continuous &'
# In the foreground of `timeout`, which otherwise sends a signal twice: the second tells replevin to drop everything.
(cd "$work" && exec timeout --foreground -k 5 180 "$binary" -q backup -c backup.yaml --continuous) >"$work/continuous" 2>"$work/continuous.log" &
backup=$!
sleep "$((LIVE_SECONDS / 2))"
! gone "$backup" || fail 'the continuous backup ended early' "$work/continuous.log"
! gone "$loader" || say '(the traffic ended before the backup did: this machine is busy)'
shown 'kill -TERM %1'
kill -TERM "$backup"
wait "$backup" || fail "the continuous backup ended with exit code $?" "$work/continuous.log"
indent <"$work/continuous"

step 'The shop closes; one more run takes the rest'
until_true 120 'the end of the traffic' "$work/load.log" said "$loader" '^all written' "$work/load.log"
wait "$loader" || fail 'the traffic ended with an error' "$work/load.log"
replevin backup -c backup.yaml --once
replevin verify -c backup.yaml --deep
replevin describe -c backup.yaml

step "What the cluster holds, by Kafka's own tools"
dump "$work/dump-before"
configs "$work/configs-before"
while read -r topic committed aborted; do
    found=$(wc -l <"$work/dump-before/$topic")
    say "$(printf '%-14s %6d %s%s' "$topic" "$found" \
        "$([[ $compacted == *" $topic "* ]] && echo 'keys, and the last record of each' || echo records)" \
        "$([[ $aborted == 0 ]] || echo ", and $aborted in aborted transactions")")"
    [[ $found -eq $committed ]] ||
        fail "$topic: $committed were written, the consumer read $found" "$work/dump-before/$topic.log"
done <"$work/counts"

step 'The disaster'
shown 'kill -KILL $KAFKA; rm -rf $KAFKA_DATA'
kill -KILL "$server"
wait "$server" 2>/dev/null || true
server=''
rm -rf "$work/before"
say "left: $(du -sh "$work/archive" | cut -f 1) of archive, $(find "$work/archive" -type f | wc -l) files"

step 'A new, empty cluster'
start_kafka after

step 'Restore'
cat >"$work/restore.yaml" <<YAML
mode: restore
backup_id: shop
target:
  bootstrap_servers: ["$bootstrap"]
storage:
  backend: filesystem
  path: archive
restore:
  create_topics: true
YAML
indent <"$work/restore.yaml"
replevin restore -c restore.yaml --plan
replevin restore -c restore.yaml --proof

step "The same? By Kafka's own tools"
dump "$work/dump-after"
configs "$work/configs-after"
differences=0
for topic in $topics; do
    before=$(sha256sum <"$work/dump-before/$topic" | cut -c 1-64)
    after=$(sha256sum <"$work/dump-after/$topic" | cut -c 1-64)
    if [[ $before == "$after" ]]; then
        verdict="${green}same${plain}"
    else
        verdict="${red}DIFFERENT${plain}"
        differences=$((differences + 1))
    fi
    say "$(printf '%-14s %6d records  %s…  %6d records  %s…  %s' "$topic" \
        "$(wc -l <"$work/dump-before/$topic")" "${before:0:12}" "$(wc -l <"$work/dump-after/$topic")" "${after:0:12}" "$verdict")"
    [[ $before == "$after" ]] || diff "$work/dump-before/$topic" "$work/dump-after/$topic" | cut -c 1-160 | head -n 6 | indent || true
done
say 'each record with its timestamp, partition, headers, key and value, in order; of customers the last of each key'
if diff "$work/configs-before" "$work/configs-after" >"$work/configs.diff"; then
    say "partitions, replicas and configs of $(wc -l <"$work/configs-before") topics  ${green}same${plain}"
else
    say "partitions, replicas and configs of the topics  ${red}DIFFERENT${plain}"
    indent <"$work/configs.diff"
    differences=$((differences + 1))
fi
[[ $differences -eq 0 ]] || fail "$differences comparisons found a difference"
printf '\n%sEverything is back, and the same.%s  (%d s)\n' "$green" "$plain" "$SECONDS"
