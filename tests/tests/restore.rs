//! Restore into real clusters: what a consumer reads afterwards is what it read before, however often the restore died.

mod restore_support;

use pipeline::restore::{
    self, JournalPlace, PlanState, RestoreProgress, RestoreReport, RestoreSettings, Verdict,
};
use pipeline::seam::Seam;
use pipeline::storage::Store;
use restore_support::{
    back_up, connect, drop_first_segment, own_configs, partitions_in_snapshot, settings, store,
};
use sandbox::client::{self, Compared, Isolation, NewRecord, Producer};
use sandbox::kafka::{FAST_CLEANING, KafkaCluster, KafkaVersion};
use sandbox::proxy::{Direction, Toxic, Toxiproxy};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

async fn run(
    bootstrap: &str,
    store: &Arc<dyn Store>,
    settings: &RestoreSettings,
) -> pipeline::Result<RestoreReport> {
    let (client, stop) = (connect(bootstrap).await, CancellationToken::new());
    restore::run(settings, &client, store, &Seam::system(), Arc::default(), stop).await
}

/// Every codec, big and tiny batches, headers, nulls, old times, two partitions and an empty one.
fn load_plain(bootstrap: &str) {
    client::create_topic(bootstrap, "plain", 3, 1, &[("retention.ms", "-1"), ("segment.bytes", "1048576")]);
    for (turn, codec) in CODECS.iter().enumerate() {
        let producer =
            Producer::new(bootstrap, &[("compression.codec", codec), ("batch.num.messages", "100")]);
        let record = |n: usize| {
            let record = NewRecord::new(format!("{codec}-{n}"), format!("{n}").repeat(60))
                .at(1_500_000_000_000 + (turn * 1000 + n) as i64)
                .partition((n % 2) as i32)
                .header("h", Some(b"1"))
                .header("h", None)
                .header("", Some(b""));
            match n % 7 {
                0 => record.null_key(),
                1 => record.tombstone(),
                _ => record,
            }
        };
        producer.send("plain", &(0..1000).map(record).collect::<Vec<_>>());
        for n in 0..20 {
            producer.send("plain", &[record(n)]);
        }
    }
}

/// Committed and aborted transactions, between others.
fn load_transactions(bootstrap: &str) {
    client::create_topic(bootstrap, "tx", 1, 1, &[]);
    let plain = Producer::new(bootstrap, &[]);
    for n in 0..12 {
        let producer = Producer::transactional(bootstrap, &format!("tx-{}", n % 3), &[]);
        producer.begin();
        let records: Vec<_> = (0..30).map(|i| NewRecord::new(format!("{n}-{i}"), "v".repeat(500))).collect();
        producer.send("tx", &records);
        plain.send("tx", &[NewRecord::new("plain", format!("{n}"))]);
        if n % 4 == 1 { producer.abort() } else { producer.commit() }
    }
}

fn load_stamped(bootstrap: &str) {
    client::create_topic(bootstrap, "stamped", 1, 1, &[("message.timestamp.type", "LogAppendTime")]);
    let producer = Producer::new(bootstrap, &[("compression.codec", "lz4")]);
    for _ in 0..5 {
        let records: Vec<_> =
            (0..200).map(|n| NewRecord::new(format!("{n}"), "v".repeat(100)).at(1)).collect();
        producer.send("stamped", &records);
    }
}

/// Waits until the cleaner has made holes.
fn load_compacted(bootstrap: &str) {
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "300"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "600000"),
    ];
    client::create_topic(bootstrap, "compacted", 1, 1, &configs);
    let producer = Producer::new(bootstrap, &[("compression.codec", "zstd"), ("batch.num.messages", "50")]);
    for round in 0..6_usize {
        let records: Vec<_> = (0..200_usize)
            .map(|n| {
                let key = if n % 5 == 0 { format!("{n}") } else { format!("{round}-{n}") };
                let value: String =
                    (0..40).map(|i| format!("{:x}", (n * 7919 + round * 31 + i) % 65_521)).collect();
                let record = NewRecord::new(key, value);
                if n % 50 == 0 { record.tombstone() } else { record }
            })
            .collect();
        producer.send("compacted", &records);
        // The next batch rolls the segment: only closed ones are cleaned.
        std::thread::sleep(Duration::from_millis(400));
    }
    let start = Instant::now();
    while client::read_all(bootstrap, "compacted", Isolation::ReadCommitted).len() >= 1200 - 100 {
        assert!(start.elapsed() < Duration::from_secs(60), "the cleaner did not run");
        std::thread::sleep(Duration::from_millis(500));
    }
    std::thread::sleep(Duration::from_secs(2));
}

fn compare(bootstrap: &str, topic: &str, compared: Compared) {
    let expected = client::read_all(bootstrap, topic, Isolation::ReadCommitted);
    for isolation in Isolation::ALL {
        let actual = client::read_all(bootstrap, &format!("{topic}-restored"), isolation);
        assert!(!expected.is_empty());
        client::assert_same(topic, &expected, &actual, compared);
    }
}

fn fidelity(version: KafkaVersion) {
    let cluster = KafkaCluster::start(version, 1, FAST_CLEANING);
    let bootstrap = cluster.bootstrap();
    load_plain(&bootstrap);
    load_transactions(&bootstrap);
    load_stamped(&bootstrap);
    load_compacted(&bootstrap);
    let topics = ["plain", "tx", "stamped", "compacted"];
    let (runtime, store) = (runtime(), store());
    runtime.block_on(async {
        let client = connect(&bootstrap).await;
        back_up(&client, &store, &topics).await;
        for journal in [JournalPlace::Topic, JournalPlace::Object] {
            let settings = settings(&topics, journal);
            let plan = restore::plan(&settings, &client, &store, &Seam::system()).await.expect("a plan");
            assert_eq!((plan.state, plan.problems.len()), (PlanState::New, 0), "{:#?}", plan.problems);
            let report = run(&bootstrap, &store, &settings).await.expect("restored");
            assert_eq!(report.verdict, Verdict::Proven, "{report:#?}");
            let lanes = |topic: &str| {
                let report =
                    report.topics.iter().find(|report| report.source.as_str() == topic).expect("there");
                report.partitions[0].lanes
            };
            assert!(lanes("plain").passthrough_batches > 0 && lanes("plain").rebuilt_tiny > 0);
            assert!(lanes("tx").aborted_records == 90 && lanes("tx").control_batches == 12);
            assert!(lanes("stamped").rebuilt_log_append_time > 0);
            assert!(lanes("compacted").rebuilt_holes > 0);
            compare(&bootstrap, "plain", Compared::Content);
            compare(&bootstrap, "tx", Compared::Content);
            compare(&bootstrap, "stamped", Compared::ContentAndTimes);
            compare(&bootstrap, "compacted", Compared::Content);
            for topic in topics {
                let restored = own_configs(&client, &format!("{topic}-restored")).await;
                assert_eq!(own_configs(&client, topic).await, restored, "{topic}");
            }
            let again = run(&bootstrap, &store, &settings).await.expect("nothing to do");
            assert_eq!(again.state, PlanState::Complete);
            // What the target's cleaner has taken by now is not there to be proven.
            assert!(matches!(again.verdict, Verdict::Proven | Verdict::AlreadyRestored), "{again:#?}");
            assert_eq!(again.records(), report.records());
            let names: Vec<String> = topics.iter().map(|topic| format!("{topic}-restored")).collect();
            client::delete_topics(&bootstrap, &names.iter().map(String::as_str).collect::<Vec<_>>());
        }
        window(&bootstrap, &store).await;
        not_empty(&bootstrap, &store).await;
    });
}

/// Both ends inclusive, exact to the record.
async fn window(bootstrap: &str, store: &Arc<dyn Store>) {
    let mut settings = settings(&["plain"], JournalPlace::Object);
    (settings.window.start, settings.window.end) = (Some(1_500_000_000_500), Some(1_500_000_003_004));
    let report = run(bootstrap, store, &settings).await.expect("restored");
    assert_eq!(report.verdict, Verdict::Proven, "{report:#?}");
    let inside = |time: i64| (1_500_000_000_500..=1_500_000_003_004).contains(&time);
    let mut expected = client::read_all(bootstrap, "plain", Isolation::ReadCommitted);
    expected.retain(|record| inside(record.timestamp));
    let actual = client::read_all(bootstrap, "plain-restored", Isolation::ReadCommitted);
    client::assert_same("plain", &expected, &actual, Compared::Content);
    // The map takes every record's old offset to its new one.
    for report in &report.topics[0].partitions {
        let map = restore::RunMap { start: 0, runs: report.runs.clone() };
        let of = |record: &&client::Rec| record.partition == report.source;
        for (old, new) in expected.iter().filter(of).zip(actual.iter().filter(of)) {
            assert_eq!(map.translate(old.offset), new.offset);
        }
    }
}

async fn not_empty(bootstrap: &str, store: &Arc<dyn Store>) {
    let mut settings = settings(&["plain"], JournalPlace::Object);
    let error = run(bootstrap, store, &settings).await.expect_err("refused");
    assert!(error.message().contains("plain-restored-0 is not empty"), "{error}");
    let before = client::read_all(bootstrap, "plain-restored", Isolation::ReadCommitted).len();
    settings.into_non_empty = restore::NonEmpty::Append;
    let report = run(bootstrap, store, &settings).await.expect("appended");
    assert_eq!(report.verdict, Verdict::Proven);
    let after = client::read_all(bootstrap, "plain-restored", Isolation::ReadCommitted).len();
    assert_eq!(after - before, report.records() as usize);
}

#[test]
fn restores_every_kind_of_batch_into_kafka_3_9() {
    fidelity(KafkaVersion::V3_9);
}

#[test]
fn restores_every_kind_of_batch_into_kafka_4() {
    fidelity(KafkaVersion::V4);
}

/// Whole runtimes are dropped with requests under way behind a slow proxy, some in the first moments, some late.
#[test]
fn converges_however_often_it_dies() {
    let toxiproxy = Toxiproxy::start();
    let mut proxies = Vec::new();
    let cluster = KafkaCluster::start_behind(KafkaVersion::V4, 1, &[], |_, address| {
        proxies.push(toxiproxy.proxy(address));
        proxies[0].address()
    });
    let direct = cluster.direct();
    load_plain(&direct);
    load_transactions(&direct);
    let topics = ["plain", "tx"];
    let store = store();
    runtime().block_on(async {
        back_up(&connect(&direct).await, &store, &topics).await;
    });
    proxies[0].add(Toxic::Latency { ms: 30, jitter_ms: 20 }, Direction::ToClient);
    for proof in [false, true] {
        let mut settings = settings(&topics, JournalPlace::Topic);
        settings.proof = proof;
        settings.identity = format!("{proof}");
        let mut deaths = 0;
        let report = loop {
            let (runtime, stop) = (runtime(), CancellationToken::new());
            let (bootstrap, store, settings) = (cluster.bootstrap(), Arc::clone(&store), settings.clone());
            let progress = Arc::new(RestoreProgress::default());
            let watched = Arc::clone(&progress);
            let task = runtime.spawn(async move {
                let client = connect(&bootstrap).await;
                restore::run(&settings, &client, &store, &Seam::system(), progress, stop).await
            });
            // A few records further each time, so that it ends.
            let wanted = deaths * 97;
            let patience = Instant::now();
            while !task.is_finished()
                && (deaths >= 40 || watched.target.records_acked.load(Ordering::Relaxed) < wanted)
                && patience.elapsed() < Duration::from_secs(120)
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            if task.is_finished() {
                break runtime.block_on(task).expect("no panic").expect("restored");
            }
            deaths += 1;
            runtime.shutdown_background();
        };
        assert!(deaths > 5, "it died {deaths} times");
        let expected = if proof { Verdict::Proven } else { Verdict::Restored };
        assert_eq!(report.verdict, expected, "{report:#?}");
        compare(&direct, "plain", Compared::Content);
        compare(&direct, "tx", Compared::Content);
        client::delete_topics(&direct, &["plain-restored", "tx-restored"]);
    }
}

/// The backup's own retention drops on purpose; a partition that it never began with is a loss; a history from before a
/// topic was made anew is spoken of.
#[test]
fn what_is_not_in_the_archive_is_judged_by_its_reason() {
    let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
    let bootstrap = cluster.bootstrap();
    load_plain(&bootstrap);
    let (runtime, store) = (runtime(), store());
    runtime.block_on(async {
        let client = connect(&bootstrap).await;
        back_up(&client, &store, &["plain"]).await;
        let dropped = drop_first_segment(&store, "plain", 0).await;
        let mut wanted = settings(&["plain"], JournalPlace::Object);
        let report = run(&bootstrap, &store, &wanted).await.expect("restored");
        assert_eq!(report.verdict, Verdict::Proven, "{report:#?}");
        let gaps = &report.topics[0].partitions[0].gaps;
        assert_eq!((gaps.len(), gaps[0].range(), gaps[0].lost), (1, dropped, false));
        let mut expected = client::read_all(&bootstrap, "plain", Isolation::ReadCommitted);
        expected.retain(|record| record.partition != 0 || !dropped.contains(record.offset));
        let found = client::read_all(&bootstrap, "plain-restored", Isolation::ReadCommitted);
        client::assert_same("plain", &expected, &found, Compared::Content);
        // Once done it is done, whatever the archive drops later.
        drop_first_segment(&store, "plain", 0).await;
        let again = run(&bootstrap, &store, &wanted).await.expect("nothing to do");
        assert_eq!(again.verdict, Verdict::AlreadyRestored, "{again:#?}");

        client::delete_topics(&bootstrap, &["plain-restored"]);
        partitions_in_snapshot(&client, &store, "plain", 5).await;
        let report = run(&bootstrap, &store, &wanted).await.expect("restored");
        assert_eq!((report.verdict, &report.topics[0].absent[..]), (Verdict::Partial, &[3, 4][..]));
        assert!(report.partitions().all(|(_, partition)| partition.failure.is_none()));
        let marks = client::watermarks(&bootstrap, "plain-restored", Isolation::ReadUncommitted);
        assert_eq!(marks.len(), 5, "as many partitions as in the source");
        let again = run(&bootstrap, &store, &wanted).await.expect("nothing to do");
        assert_eq!((again.verdict, again.state), (Verdict::Partial, PlanState::Complete));

        client::delete_topics(&bootstrap, &["plain"]);
        client::create_topic(&bootstrap, "plain", 3, 1, &[]);
        Producer::new(&bootstrap, &[]).send("plain", &[NewRecord::new("k", "new history").partition(1)]);
        back_up(&client, &store, &["plain"]).await;
        wanted.topic_mapping.insert(restore_support::topic("plain"), restore_support::topic("anew"));
        let plan = restore::plan(&wanted, &client, &store, &Seam::system()).await.expect("a plan");
        assert!(
            plan.warnings.iter().any(|text| text.contains("partitions 0, 1 the backup also holds older")),
            "{plan:#?}"
        );
        assert_eq!(plan.records(), 1);
    });
}

/// A broker dies while partitions that it leads are being filled, and comes back.
#[test]
#[ignore = "three brokers and two to three minutes: run it by name"]
fn follows_leaders_that_move() {
    let mut cluster = KafkaCluster::start(KafkaVersion::V4, 3, &[]);
    let bootstrap = cluster.bootstrap();
    load_plain(&bootstrap);
    let (runtime, store) = (runtime(), store());
    runtime.block_on(async { back_up(&connect(&bootstrap).await, &store, &["plain"]).await });
    let mut settings = settings(&["plain"], JournalPlace::Topic);
    settings.default_replication_factor = Some(3);
    settings.topic_config_overrides.insert("min.insync.replicas".to_owned(), "2".to_owned());
    settings.records_per_second = Some(300);
    settings.produce_timeout = Duration::from_secs(3);
    let progress = Arc::new(RestoreProgress::default());
    let watched = Arc::clone(&progress);
    let (from, kept) = (bootstrap.clone(), Arc::clone(&store));
    let task = runtime.spawn(async move {
        let client = connect(&from).await;
        restore::run(&settings, &client, &kept, &Seam::system(), progress, CancellationToken::new()).await
    });
    let wait_for = |records: u64| {
        let start = Instant::now();
        while watched.target.records_acked.load(Ordering::Relaxed) < records && !task.is_finished() {
            assert!(start.elapsed() < Duration::from_secs(150), "no progress to {records} records");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    for broker in cluster.brokers() {
        let before = watched.target.records_acked.load(Ordering::Relaxed);
        wait_for(before + 300);
        cluster.kill9(broker);
        wait_for(before + 700);
        cluster.restart(broker);
    }
    let report = runtime.block_on(task).expect("no panic").expect("restored");
    assert_eq!(report.verdict, Verdict::Proven, "{report:#?}");
    compare(&bootstrap, "plain", Compared::Content);
}
