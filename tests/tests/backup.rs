//! What a backup holds is what the brokers held: record by record as librdkafka sees it, and batch by batch to the byte.

use sandbox::client::{self, Compared, Isolation, Rec};
use sandbox::fixtures;
use sandbox::job::{Job, folder};
use sandbox::kafka::{FAST_CLEANING, KafkaCluster, KafkaVersion};
use sandbox::raw;
use sandbox::scratch::Scratch;
use serde_json::{Value, json};
use std::time::Duration;

/// What librdkafka sees of a topic, and what lies in its partitions.
struct Oracle {
    topic: String,
    records: Vec<(Isolation, Vec<Rec>)>,
    batches: Vec<Vec<u8>>,
}

impl Oracle {
    fn read(bootstrap: &str, topic: &str) -> Self {
        let starts = client::watermarks(bootstrap, topic, Isolation::ReadUncommitted);
        // Of what librdkafka cannot read the bytes alone must do.
        let readable = topic != "raw";
        let read = |isolation| (isolation, client::read_all(bootstrap, topic, isolation));
        Self {
            topic: topic.to_owned(),
            records: if readable { Isolation::ALL.map(read).into() } else { Vec::new() },
            batches: starts
                .iter()
                .map(|(&number, &(start, _))| raw::fetch(bootstrap, topic, number, start))
                .collect(),
        }
    }

    /// Once the log cleaner leaves the topic alone.
    fn read_when_still(bootstrap: &str, topic: &str) -> Self {
        let mut before = Self::read(bootstrap, topic);
        loop {
            std::thread::sleep(Duration::from_secs(3));
            let now = Self::read(bootstrap, topic);
            if now.batches == before.batches {
                return now;
            }
            before = now;
        }
    }

    fn compare(&self, job: &Job) {
        for (isolation, expected) in &self.records {
            let mut found = job.dump_all(&self.topic, *isolation);
            if self.topic == "started" {
                // The batch that the log start cuts is kept whole.
                assert_eq!(
                    found.iter().filter(|record| record.offset < 15 && record.partition == 1).count(),
                    5
                );
                found.retain(|record| record.partition != 1 || record.offset >= 15);
            }
            client::assert_same(&self.topic, expected, &found, Compared::Everything);
        }
        self.compare_batches(job);
    }

    fn compare_batches(&self, job: &Job) {
        for (number, expected) in (0..).zip(&self.batches) {
            let found = job.log_bytes(&self.topic, number);
            let (topic, lengths) = (&self.topic, (expected.len(), found.len()));
            assert!(
                *expected == found,
                "{topic}-{number}: the batches differ; bytes expected and found: {lengths:?}"
            );
        }
    }
}

fn fidelity(version: KafkaVersion) {
    let cluster = KafkaCluster::start(version, 1, FAST_CLEANING);
    let bootstrap = cluster.bootstrap();
    // All at once: what takes long here is waiting for the cleaner and for transactions to end.
    let hanging = std::thread::scope(|scope| {
        let hanging = scope.spawn(|| fixtures::transactions(&bootstrap, "open", true));
        scope.spawn(|| fixtures::compacted(&bootstrap, "compacted"));
        scope.spawn(|| fixtures::transactions(&bootstrap, "transactions", false));
        scope.spawn(|| {
            fixtures::codecs(&bootstrap, "codecs");
            fixtures::log_append_time(&bootstrap, "stamped");
            fixtures::started(&bootstrap, "started");
            fixtures::times(&bootstrap, "times");
            fixtures::odd_headers(&bootstrap, "raw");
            fixtures::large(&bootstrap, "large");
            fixtures::named(&bootstrap);
            fixtures::wide(&bootstrap, "wide");
            client::create_topic(&bootstrap, "empty", 2, 1, &[]);
        });
        hanging.join().expect("it said why")
    });
    cluster.console_produce("1", "key:from the console\n", &["parse.key=true", "key.separator=:"]);

    let mut topics: Vec<String> =
        client::topics(&bootstrap).into_iter().filter(|topic| !topic.starts_with("__")).collect();
    topics.retain(|topic| topic != "open" && topic != "wide" && topic != "compacted");
    let compacted = Oracle::read_when_still(&bootstrap, "compacted");
    let mut oracles: Vec<Oracle> = topics.iter().map(|topic| Oracle::read(&bootstrap, topic)).collect();
    oracles.push(compacted);

    let scratch = Scratch::new("backup");
    let storage = folder(scratch.path());
    // Small segments, so that transactions and batches of every kind meet their borders.
    let job = Job::new("all", &bootstrap, &storage).without(&["open"]).set("segment_max_bytes: 64KiB");
    let report = job.back_up(0);
    for nothing in ["gaps", "failed", "held_back", "lineages"] {
        assert_eq!(report[nothing], json!([]), "{nothing}: {report}");
    }
    oracles.iter().for_each(|oracle| oracle.compare(&job));
    let wide = client::read_all(&bootstrap, "wide", Isolation::ReadCommitted);
    assert_eq!(wide.len(), 897);
    client::assert_same("wide", &wide, &job.dump_all("wide", Isolation::ReadCommitted), Compared::Everything);
    job.verify();

    let before = job.describe();
    let again = job.back_up(0);
    assert_eq!(
        (&again["records"], &again["segments"], &again["gaps"]),
        (&json!(0), &json!(0), &json!([])),
        "{again}"
    );
    assert_eq!(job.describe()["topics"], before["topics"]);
    job.verify();

    for (topic, partition) in [("transactions", 0), ("compacted", 0), ("times", 0), ("codecs", 0)] {
        accepted_by_kafka(&cluster, &job, topic, partition);
    }
    undecided(&bootstrap, &storage);
    narrow_answers(&bootstrap, &storage);
    drop(hanging);
    cluster.stop();
}

/// Kafka's own tool reads the log files and finds as many sound batches as the backup says it has.
fn accepted_by_kafka(cluster: &KafkaCluster, job: &Job, topic: &str, partition: i32) {
    let files = job.as_log(topic, partition, &cluster.folder().join("dump"), &[]);
    let mut found = 0;
    for file in files {
        let text = cluster.dump_log(file.as_ref());
        found += text.lines().filter(|line| line.starts_with("baseOffset:")).count();
        assert!(!text.contains("isvalid: false") && !text.contains("Found"), "{file}: {text}");
    }
    let lineage = job.lineages(topic, partition).pop().unwrap_or_default();
    assert_eq!(json!(found), lineage["batches"], "{topic}-{partition}");
}

/// A transaction that is open: read_committed stops before it and says so; read_uncommitted takes it and tells it apart.
fn undecided(bootstrap: &str, storage: &str) {
    let [(_, committed), (_, uncommitted)] =
        Isolation::ALL.map(|isolation| (isolation, client::read_all(bootstrap, "open", isolation)));
    let stable = client::watermarks(bootstrap, "open", Isolation::ReadCommitted)[&0].1;
    let end = client::watermarks(bootstrap, "open", Isolation::ReadUncommitted)[&0].1;

    let job = Job::new("held", bootstrap, storage).topics(&["open"]);
    let held = json!([{"topic": "open", "partition": 0, "first": stable, "end": end}]);
    for _ in 0..2 {
        assert_eq!(job.back_up(3)["held_back"], held);
        let found = job.dump_all("open", Isolation::ReadCommitted);
        client::assert_same("open", &committed, &found, Compared::Everything);
    }
    assert_eq!(job.position("open", 0), stable);

    let job = Job::new("raw", bootstrap, storage).topics(&["open"]).set("isolation: read_uncommitted");
    job.back_up(0);
    assert_eq!(job.position("open", 0), end);
    let found = job.dump_all("open", Isolation::ReadUncommitted);
    client::assert_same("open", &uncommitted, &found, Compared::Everything);
    let mut found = job.dump_all("open", Isolation::ReadCommitted);
    // Consumers stop at the open transaction; what lies behind it and is decided is no secret of the archive.
    found.retain(|record| record.offset < stable);
    client::assert_same("open", &committed, &found, Compared::Everything);
    Oracle::read(bootstrap, "open").compare_batches(&job);
    // Read the other way from now on, nothing comes back from behind the open transaction, and nothing hangs.
    let job = Job::new("raw", bootstrap, storage).topics(&["open"]);
    assert_eq!(job.back_up(0)["held_back"], json!([]));
    assert_eq!(job.position("open", 0), end);
    job.verify();
}

/// Every partition has data, and an answer has room for few of them: none may be taken for empty.
fn narrow_answers(bootstrap: &str, storage: &str) {
    let job = Job::new("narrow", bootstrap, storage)
        .topics(&["wide"])
        .set("fetch_max_bytes: 64KiB")
        .connection("connections_per_broker: 1");
    let report = job.back_up(0);
    assert_eq!((&report["records"], &report["gaps"]), (&json!(897), &Value::Array(Vec::new())));
}

#[test]
fn kafka_3_9_archive_holds_every_record_and_every_byte() {
    fidelity(KafkaVersion::V3_9);
}

#[test]
fn kafka_4_archive_holds_every_record_and_every_byte() {
    fidelity(KafkaVersion::V4);
}
