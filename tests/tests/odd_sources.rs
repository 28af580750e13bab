//! Sources that are not as they should be: logs from before Kafka 0.11, topics that may not be read for a while, transactions
//! that nobody ended.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use formats::codec::{Codec, Compressor};
use sandbox::binary::Replevin;
use sandbox::client::{self, Compared, Isolation, NewRecord, Producer, Rec, TimestampKind};
use sandbox::fixtures;
use sandbox::job::{Job, folder, json};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::kafka_tools::ACLS;
use sandbox::process::wait_until;
use sandbox::scratch::Scratch;
use serde_json::json;
use std::fs;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);

/// CRC-32 as zlib has it, which guards messages of magic 0 and 1.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1)))
    })
}

fn sized(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.extend(bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap()).to_be_bytes());
    out.extend(bytes.unwrap_or_default());
}

/// One message of magic 0, or with a timestamp of magic 1, as brokers before 0.11 stored it.
fn message(
    offset: i64,
    codec: Codec,
    timestamp: Option<i64>,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Vec<u8> {
    let mut body = vec![u8::from(timestamp.is_some()), codec as u8];
    if let Some(timestamp) = timestamp {
        body.extend(timestamp.to_be_bytes());
    }
    sized(&mut body, key);
    sized(&mut body, value);
    let mut out = offset.to_be_bytes().to_vec();
    out.extend(i32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend(crc32(&body).to_be_bytes());
    out.extend(body);
    out
}

const TIME: i64 = 1_400_000_000_000;

/// Twelve records in messages of both magics: plain, tombstones, and gzip wrappers with absolute and relative offsets.
fn old_log() -> Vec<u8> {
    let plain = |offset: i64, time| {
        message(offset, Codec::None, time, Some(b"k"), (offset % 2 == 0).then_some(b"plain".as_slice()))
    };
    let wrapper = |last: i64, time: Option<i64>, inner: &[u8]| {
        let mut packed = Vec::new();
        Compressor::new().compress(Codec::Gzip, None, inner, &mut packed).unwrap();
        message(last, Codec::Gzip, time, None, Some(&packed))
    };
    let inner: Vec<u8> =
        (2..5).flat_map(|n| message(n, Codec::None, None, None, Some(b"inner of 0"))).collect();
    let mut log = [plain(0, None), plain(1, None), wrapper(4, None, &inner)].concat();
    log.extend([plain(5, Some(TIME)), plain(6, Some(TIME + 7))].concat());
    let inner = (0..4).flat_map(|n| message(n, Codec::None, Some(TIME + n), Some(b""), Some(b"inner of 1")));
    log.extend(wrapper(10, Some(TIME + 3), &inner.collect::<Vec<u8>>()));
    log.extend(plain(11, Some(TIME)));
    log
}

/// What [`old_log`] holds.
fn old_records() -> Vec<Rec> {
    let record = |offset: i64| {
        let (timestamp, key, value): (_, Option<&[u8]>, Option<&[u8]>) = match offset {
            2..=4 => (None, None, Some(b"inner of 0")),
            7..=10 => (Some(TIME + offset - 7), Some(b""), Some(b"inner of 1")),
            6 => (Some(TIME + 7), Some(b"k"), Some(b"plain")),
            _ => ((offset > 4).then_some(TIME), Some(b"k"), (offset % 2 == 0).then_some(b"plain")),
        };
        let ts_type = if timestamp.is_some() { TimestampKind::CreateTime } else { TimestampKind::None };
        let (key, value) = (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec));
        Rec {
            partition: 0,
            offset,
            timestamp: timestamp.unwrap_or(-1),
            ts_type,
            key,
            value,
            headers: Vec::new(),
        }
    };
    (0..12).map(record).collect()
}

/// A broker that was upgraded again and again still has segments of its youth.
fn old_messages(version: KafkaVersion) {
    let mut cluster = KafkaCluster::start(version, 1, &[]);
    let bootstrap = cluster.bootstrap();
    client::create_topic(&bootstrap, "old", 1, 1, &[("retention.ms", "-1")]);
    cluster.stop_broker(1);
    let dir = cluster.log_dir(1).join("old-0");
    for file in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
        if file.file_name() != "partition.metadata" {
            fs::remove_file(file.path()).unwrap();
        }
    }
    fs::write(dir.join("00000000000000000000.log"), old_log()).unwrap();
    cluster.restart(1);

    // Kafka's own consumer is the judge: librdkafka ends itself at a message of magic 0.
    let source = old_records();
    assert_eq!(cluster.console_consume("old", Isolation::ReadCommitted, 10_000).len(), source.len());
    let scratch = Scratch::new("old-messages");
    let job = Job::new("old", &bootstrap, &folder(scratch.path())).topics(&["old"]);
    assert_eq!(job.back_up(0)["gaps"], json!([]));
    let found = job.dump_all("old", Isolation::ReadCommitted);
    client::assert_same("old", &source, &found, Compared::Everything);
    job.verify();
    let report = job.restore(&bootstrap).set("topic_mapping: {old: young}").run(0);
    assert_eq!(report["verdict"], "proven", "{report}");
    let restored = client::read_all(&bootstrap, "young", Isolation::ReadCommitted);
    client::assert_same("young", &source, &restored, Compared::Content);
}

#[test]
fn messages_from_before_kafka_0_11_come_back_from_3_9() {
    old_messages(KafkaVersion::V3_9);
}

#[test]
fn messages_from_before_kafka_0_11_come_back_from_4() {
    old_messages(KafkaVersion::V4);
}

/// Rights are taken away and given back under a daemon: the other topic goes on, this one catches up.
#[test]
fn a_topic_that_may_not_be_read_for_a_while_is_caught_up() {
    let authorizer = [
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("allow.everyone.if.no.acl.found", "true"),
    ];
    let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &authorizer);
    let bootstrap = cluster.bootstrap();
    for topic in ["shut", "free"] {
        client::create_topic(&bootstrap, topic, 1, 1, &[("compression.type", "zstd")]);
    }
    let write = |topic: &str| {
        Producer::new(&bootstrap, &[]).send(topic, &[NewRecord::new("k", "v")]);
    };
    let rule = |act: &str, principal: &str, operation: &str| {
        let rule = ["--force", act, principal, "User:*", "--operation", operation, "--topic", "shut"];
        let done = cluster.tool(ACLS, &rule);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    };
    let scratch = Scratch::new("denied");
    let job = Job::new("denied", &bootstrap, &folder(scratch.path()))
        .topics(&["shut", "free"])
        .set("segment_max_interval_ms: 200");
    ["shut", "free"].into_iter().for_each(write);
    let mut daemon = job.continuous().start();
    let at = |topic: &'static str, end: i64| {
        let there = wait_until(LIMIT, || match job.position(topic, 0) {
            position if position >= end => Ok(()),
            position => Err(format!("{topic} is backed up to {position}, not to {end}")),
        });
        there.unwrap_or_else(|error| panic!("{error}"));
    };
    at("shut", 1);
    // A topic that has rules is for those that they allow.
    rule("--add", "--allow-principal", "All");
    rule("--add", "--deny-principal", "Read");
    daemon.wait_for("shut");
    ["shut", "free"].into_iter().for_each(write);
    at("free", 2);
    assert_eq!(job.position("shut", 0), 1);
    rule("--remove", "--deny-principal", "Read");
    at("shut", 2);
    daemon.signal("TERM");
    let report = json(&daemon.wait().expect_code(0));
    assert_eq!(report["failed"], json!([]), "{report}");
    assert_eq!(job.back_up(0)["records"], 0);
    job.verify();

    // A migration that may not know a topic's configs says so, and does not take what it does not know for nothing.
    rule("--add", "--deny-principal", "DescribeConfigs");
    let file = format!(
        "mode: migrate\nmigration_id: denied\nsource:\n  bootstrap_servers: [\"{bootstrap}\"]\n  topics: {{include: [shut]}}\n\
         target:\n  bootstrap_servers: [\"{bootstrap}\"]\nmigrate:\n  consumer_group_offsets: skip\n  topic_mapping: {{shut: shut-too}}\n"
    );
    let migrate = || {
        let run = Replevin::new(&["migrate", "--until-caught-up", "--output", "json"]).config(file.clone());
        json(&run.limit(LIMIT).run().expect_code(0))
    };
    let compression = || client::configs(&bootstrap, "shut-too").get("compression.type").cloned();
    let report = migrate();
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("keeps the configs of the migration") && warnings.contains("DESCRIBE_CONFIGS"),
        "{report:#}"
    );
    assert_eq!(compression().as_deref(), Some("producer"));
    rule("--remove", "--deny-principal", "DescribeConfigs");
    let report = migrate();
    assert_eq!(report["warnings"], json!([]), "{report:#}");
    assert_eq!(compression().as_deref(), Some("zstd"));
}

/// What a backup that read uncommitted data cannot know is left out of a restore, counted, and makes it partial.
#[test]
fn records_of_a_transaction_without_an_end_are_left_out_and_counted() {
    let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
    let bootstrap = cluster.bootstrap();
    let hanging = fixtures::transactions(&bootstrap, "open", true).unwrap();
    let scratch = Scratch::new("undecided");
    let job = Job::new("raw", &bootstrap, &folder(scratch.path()))
        .topics(&["open"])
        .set("isolation: read_uncommitted");
    job.back_up(0);
    let report = job.restore(&bootstrap).set("topic_mapping: {open: open-back}").run(3);
    assert_eq!(report["verdict"], "partial", "{report}");
    assert_eq!(report["topics"][0]["partitions"][0]["undecided_records"], 3, "{report}");
    let restored = client::read_all(&bootstrap, "open-back", Isolation::ReadCommitted);
    // Without it the source is what was restored.
    hanging.abort();
    let source = client::read_all(&bootstrap, "open", Isolation::ReadCommitted);
    client::assert_same("open-back", &source, &restored, Compared::Content);
}
