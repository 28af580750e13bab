//! MirrorMaker 2 as a reference: Kafka's own way from one cluster to another, a process of its own (dedicated mode), with settings that
//! favour it and without everything that a plain copy does not need.

use std::fs;
use std::time::{Duration, Instant};

use sandbox::process::{self, Process};
use sandbox::scratch::{Scratch, installed};

use crate::measure::{self, Usage};
use crate::{Result, load};

/// Longer than any copy takes here.
const LIMIT: Duration = Duration::from_secs(300);
/// Between two looks at the target's ends.
const PAUSE: Duration = Duration::from_millis(100);
/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(20);
/// What Kafka's own scripts start it with.
const JAVA: [&str; 7] = [
    "-Xms256M",
    "-Xmx2G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

/// Runs it until `is_done`; what it has cost by then.
///
/// # Errors
/// It ends, or does not come to an end in time; with the end of its log.
pub(crate) fn copy(
    source: &str,
    target: &str,
    topic: &str,
    is_done: impl Fn() -> Result<bool>,
) -> Result<Usage> {
    let scratch = Scratch::new("bench-mirror");
    let (file, home) = (scratch.path().join("mirror.properties"), installed("mirrormaker"));
    fs::write(&file, properties(source, target, topic))?;
    let mut java = process::command("java");
    java.args(JAVA)
        .arg(format!("-Dlog4j2.configurationFile={}/log4j2.properties", installed("kafka-4").display()));
    java.arg("-cp").arg(format!("{}/libs/*", home.display()));
    java.arg("org.apache.kafka.connect.mirror.MirrorMaker").arg(&file).args(["--clusters", "target"]);
    measure::warm();
    let began = Instant::now();
    let mut mirror = Process::start("MirrorMaker", java, &scratch.path().join("log"));
    while !is_done()? {
        if began.elapsed() > LIMIT || mirror.exited().is_some() {
            return Err(format!("MirrorMaker has not copied {topic}: {}", mirror.tail()).into());
        }
        std::thread::sleep(PAUSE);
    }
    let (wall, usage) = (began.elapsed().as_secs_f64(), measure::so_far(mirror.pid())?);
    mirror.terminate(STOP);
    Ok(Usage { wall, ..usage })
}

/// A task a partition; what it asks for and sends is as large as is of use; nothing is kept in step but records.
fn properties(source: &str, target: &str, topic: &str) -> String {
    let tasks = load::PARTITIONS;
    format!(
        "clusters=source,target
source.bootstrap.servers={source}
target.bootstrap.servers={target}
source->target.enabled=true
source->target.topics={topic}
tasks.max={tasks}
replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy
key.converter=org.apache.kafka.connect.converters.ByteArrayConverter
value.converter=org.apache.kafka.connect.converters.ByteArrayConverter
emit.heartbeats.enabled=false
emit.checkpoints.enabled=false
emit.offset-syncs.enabled=false
sync.topic.configs.enabled=false
sync.topic.acls.enabled=false
sync.group.offsets.enabled=false
replication.factor=1
heartbeats.topic.replication.factor=1
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
source.consumer.fetch.min.bytes=1048576
source.consumer.fetch.max.wait.ms=100
source.consumer.max.partition.fetch.bytes=4194304
source.consumer.max.poll.records=5000
target.producer.compression.type=zstd
target.producer.batch.size=524288
target.producer.linger.ms=50
target.producer.buffer.memory=134217728
"
    )
}
