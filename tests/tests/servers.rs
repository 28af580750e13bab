//! Every server that the tests rely on starts, works and is gone afterwards.

use sandbox::azure::Azure;
use sandbox::binary::Replevin;
use sandbox::client::{self, Compared, Isolation, NewRecord, Producer};
use sandbox::gcs::Gcs;
use sandbox::http;
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::proxy::{Direction, Toxic, Toxiproxy};
use sandbox::raw::{self, RawRecord};
use sandbox::s3::S3;
use std::time::{Duration, Instant};

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

    let console = cluster.console_consume("t", Isolation::ReadCommitted, 20_000);
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

    let batch = raw::batch(0, &[RawRecord { headers: vec![(vec![0xff], None)], ..RawRecord::default() }]);
    assert_eq!(raw::produce(&bootstrap, "t", 1, &batch), Ok(15));
    let stored = raw::fetch(&bootstrap, "t", 1, 15);
    // Base offset and leader epoch are the broker's.
    assert_eq!((stored[..8].to_vec(), &stored[16..]), (15_i64.to_be_bytes().to_vec(), &batch[16..]));
    assert_eq!(raw::produce(&bootstrap, "t", 1, &raw::batch(1 << 5, &[RawRecord::default()])), Err(87));

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

#[test]
fn the_binary_runs_with_a_config_and_ends() {
    let finished = Replevin::new(&["check-config"]).config("").run();
    assert!(finished.code().is_some() && !finished.was_killed());
}

#[test]
fn clients_pass_the_proxy_and_judges_do_not() {
    let toxiproxy = Toxiproxy::start();
    let mut proxies = Vec::new();
    let cluster = KafkaCluster::start_behind(KafkaVersion::V3_9, 1, &[], |_, address| {
        proxies.push(toxiproxy.proxy(address));
        proxies[0].address()
    });
    let topic = "t";
    client::create_topic(&cluster.direct(), topic, 1, 1, &[]);
    Producer::new(&cluster.bootstrap(), &[]).send(topic, &[NewRecord::new("k", "v")]);
    let took = |bootstrap: &str| {
        let start = Instant::now();
        assert_eq!(client::read_all(bootstrap, topic, Isolation::ReadCommitted).len(), 1);
        start.elapsed()
    };
    let slow = Duration::from_secs(2);
    let toxic = proxies[0].add(Toxic::Latency { ms: 2000, jitter_ms: 0 }, Direction::ToClient);
    assert!(took(&cluster.bootstrap()) > slow);
    assert!(took(&cluster.direct()) < slow);
    proxies[0].remove(&toxic);
    proxies[0].disable();
    assert!(client::broker_count(&cluster.bootstrap()).is_err());
    proxies[0].enable();
    assert_eq!(client::broker_count(&cluster.bootstrap()), Ok(1));
}

#[test]
fn every_toxic_is_understood() {
    let toxiproxy = Toxiproxy::start();
    let proxy = toxiproxy.proxy("127.0.0.1:1");
    for toxic in [
        Toxic::Latency { ms: 1, jitter_ms: 1 },
        Toxic::Timeout { ms: 1 },
        Toxic::ResetPeer { ms: 1 },
        Toxic::SlowClose { ms: 1 },
        Toxic::LimitData { bytes: 1 },
        Toxic::Bandwidth { kb_per_second: 1 },
    ] {
        let name = proxy.add(toxic, Direction::ToServer);
        proxy.remove(&name);
    }
}

#[test]
fn s3_creates_once_and_keeps_versions() {
    let mut s3 = S3::start();
    s3.create_bucket("bucket");
    let put =
        |s3: &S3| s3.request("PUT", "/bucket/key", "", &[("if-none-match", "*")], b"data").unwrap().status;
    assert_eq!((put(&s3), put(&s3)), (200, 412));
    s3.enable_versioning("bucket");
    s3.create_locked_bucket("locked");
    assert!(s3.request("GET", "/locked", "object-lock=", &[], &[]).unwrap().text().contains("Enabled"));
    s3.restart();
    let read = s3.request("GET", "/bucket/key", "", &[], &[]).unwrap();
    assert_eq!((read.status, read.text()), (200, "data".to_owned()));
    assert!(s3.folder().join("bucket/key").is_file());
}

#[test]
fn azure_takes_a_container() {
    let azure = Azure::start();
    azure.create_container("container");
    let again =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| azure.create_container("container")));
    let message = again.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("409"), "{message}");
}

#[test]
fn gcs_takes_a_bucket() {
    let gcs = Gcs::start();
    gcs.create_bucket("bucket");
    let list = http::request(&gcs.address(), "GET", "/storage/v1/b?project=test", &[], &[]).unwrap();
    assert!(list.text().contains("\"name\":\"bucket\""), "{}", list.text());
}
