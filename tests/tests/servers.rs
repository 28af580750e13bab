//! Every server that the tests rely on starts, works and is gone afterwards.

use sandbox::client::{self, Compared, Isolation, NewRecord, Producer};
use sandbox::kafka::{KafkaCluster, KafkaVersion};

/// librdkafka writes; librdkafka and Kafka's console consumer read the same.
fn kafka_round_trip(version: KafkaVersion) {
    let cluster = KafkaCluster::start(version, 1, &[]);
    let bootstrap = cluster.bootstrap();
    client::create_topic(&bootstrap, "t", 2, 1, &[("retention.ms", "-1")]);
    let mut expected = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let producer = Producer::new(&bootstrap, &[("compression.codec", codec)]);
        let record = NewRecord::new(codec, "v".repeat(200)).at(1_500_000_000_000).partition(1);
        let records = [
            record.clone().header("h", Some(b"1")).header("h", None).header("h", Some(b"")),
            record.clone().null_key(),
            record.tombstone(),
        ];
        expected.extend(producer.send("t", &records));
    }
    assert_eq!(expected, (0..15).collect::<Vec<i64>>());
    let producer = Producer::transactional(&bootstrap, "tx", &[]);
    producer.begin();
    producer.send("t", &[NewRecord::new("aborted", "x")]);
    producer.abort();
    producer.begin();
    producer.send("t", &[NewRecord::new("committed", "x")]);
    producer.commit();

    let committed = client::read_all(&bootstrap, "t", Isolation::ReadCommitted);
    assert_eq!(committed.len(), 16);
    assert_eq!(committed[0].key.as_deref(), Some(&b"committed"[..]));
    assert_eq!(committed[1].headers.len(), 3);
    assert_eq!(
        (committed[1].headers[1].1.as_deref(), committed[1].headers[2].1.as_deref()),
        (None, Some(&b""[..]))
    );
    assert_eq!((committed[2].key.as_deref(), committed[3].value.as_deref()), (None, None));
    assert_eq!(committed[3].timestamp, 1_500_000_000_000);
    let all = client::read_all(&cluster.direct(), "t", Isolation::ReadUncommitted);
    assert_eq!(all.len(), 17);
    assert!(client::compare(&committed, &all, Compared::Everything).is_err());

    let console = cluster.console_consume("t", "read_committed", 5000);
    assert_eq!(console.len(), 16, "{console:#?}");
    assert!(
        console.iter().any(|line| line.contains("committed") && line.contains("Partition:0")),
        "{console:#?}"
    );
    assert!(console.iter().any(|line| line.contains("h:1,h:null,h:")), "{console:#?}");
    cluster.console_produce("t", "key1:value1\n", &["parse.key=true", "key.separator=:"]);
    assert_eq!(client::read_all(&bootstrap, "t", Isolation::ReadCommitted).len(), 17);
    let log = cluster.log_dir(1).join("t-1/00000000000000000000.log");
    assert!(cluster.dump_log(&log).contains("compresscodec: zstd"));

    client::delete_records(&bootstrap, "t", 1, 5);
    assert_eq!(client::watermarks(&bootstrap, "t", Isolation::ReadUncommitted)[&1].0, 5);
    let pid = cluster.pid(1);
    cluster.stop();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn kafka_3_9_round_trip() {
    kafka_round_trip(KafkaVersion::V3_9);
}

#[test]
fn kafka_4_round_trip() {
    kafka_round_trip(KafkaVersion::V4);
}

#[test]
fn three_brokers_survive_a_kill_and_a_restart() {
    let mut cluster = KafkaCluster::start(KafkaVersion::V4, 3, &[]);
    let bootstrap = cluster.bootstrap();
    client::create_topic(&bootstrap, "t", 3, 3, &[("min.insync.replicas", "2")]);
    let producer = Producer::new(&bootstrap, &[]);
    let records: Vec<NewRecord> =
        (0..3).map(|partition| NewRecord::new("k", "v").partition(partition)).collect();
    producer.send("t", &records);
    cluster.kill9(2);
    producer.send("t", &records);
    cluster.restart(2);
    cluster.freeze(3);
    cluster.thaw(3);
    producer.send("t", &records);
    assert_eq!(client::read_all(&bootstrap, "t", Isolation::ReadCommitted).len(), 9);
}
