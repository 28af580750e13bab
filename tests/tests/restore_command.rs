//! What a restore brings back is what the source held, whatever version it comes from or goes to, all of it or the part
//! that was asked for. Restores that die on the way: `crash_restore.rs`.

use sandbox::client::{self, Compared, Isolation, NewRecord, Producer, Rec};
use sandbox::fixtures;
use sandbox::job::{Job, Restore, folder};
use sandbox::kafka::{FAST_CLEANING, KafkaCluster, KafkaVersion};
use sandbox::kafka_tools::CONFIGS;
use sandbox::scratch::Scratch;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;

fn read(bootstrap: &str, topic: &str) -> Vec<Rec> {
    client::read_all(bootstrap, topic, Isolation::ReadCommitted)
}

/// Everything but offsets: a restore closes holes.
fn same(topic: &str, expected: &[Rec], found: &[Rec]) {
    client::assert_same(topic, expected, found, Compared::Content);
}

fn fidelity(from: KafkaVersion, to: KafkaVersion) {
    let source = KafkaCluster::start(from, 1, FAST_CLEANING);
    let bootstrap = source.bootstrap();
    std::thread::scope(|scope| {
        scope.spawn(|| fixtures::compacted(&bootstrap, "compacted"));
        scope.spawn(|| fixtures::transactions(&bootstrap, "transactions", false));
        fixtures::codecs(&bootstrap, "codecs");
        fixtures::log_append_time(&bootstrap, "stamped");
        fixtures::started(&bootstrap, "started");
        fixtures::times(&bootstrap, "times");
        fixtures::large(&bootstrap, "large");
        fixtures::named(&bootstrap);
        fixtures::wide(&bootstrap, "wide");
    });
    client::create_topic(
        &bootstrap,
        "empty",
        2,
        1,
        &[("retention.ms", "123456789"), ("segment.bytes", "12345678")],
    );
    let topics: Vec<String> =
        client::topics(&bootstrap).into_iter().filter(|topic| !topic.starts_with("__")).collect();
    let scratch = Scratch::new("restore");
    let job = Job::new("all", &bootstrap, &folder(scratch.path())).set("segment_max_bytes: 1MiB");
    job.back_up(0);
    // The archive rather than the source, because the cleaner goes on there; its own test compares the two.
    let expected: Vec<(String, Vec<Rec>)> =
        topics.iter().map(|topic| (topic.clone(), job.dump_all(topic, Isolation::ReadCommitted))).collect();
    let still: Vec<(String, Vec<Rec>)> = ["codecs", "transactions", "times"]
        .iter()
        .map(|&topic| (topic.to_owned(), read(&bootstrap, topic)))
        .collect();
    let partitions: Vec<usize> = topics
        .iter()
        .map(|topic| client::watermarks(&bootstrap, topic, Isolation::ReadUncommitted).len())
        .collect();
    source.stop();

    let target = KafkaCluster::start(to, 1, FAST_CLEANING);
    let bootstrap = target.bootstrap();
    let restore = job.restore(&bootstrap);
    let report = restore.run(0);
    assert_eq!(report["verdict"], "proven", "{report}");
    for (topic, records) in expected.iter().chain(&still) {
        if topic == "compacted" {
            // The target compacts as well: what counts is the map that comes of it.
            assert_eq!(fold(records), fold(&read(&bootstrap, topic)));
            continue;
        }
        let compared = if topic == "stamped" { Compared::ContentAndTimes } else { Compared::Content };
        client::assert_same(topic, records, &read(&bootstrap, topic), compared);
    }
    for (topic, count) in topics.iter().zip(partitions) {
        let found = client::watermarks(&bootstrap, topic, Isolation::ReadUncommitted).len();
        assert_eq!(found, count, "partitions of {topic}");
    }
    let configs = |topic: &str| {
        target.tool_output(CONFIGS, &["--describe", "--entity-type", "topics", "--entity-name", topic])
    };
    let empty = configs("empty");
    assert!(empty.contains("retention.ms=123456789") && empty.contains("segment.bytes=12345678"), "{empty}");
    let stamped = configs("stamped");
    assert!(stamped.contains("message.timestamp.type=LogAppendTime"), "{stamped}");
    assert!(configs("compacted").contains("cleanup.policy=compact"));
    // Again: nothing is done twice.
    let again = restore.run(0);
    assert_eq!(again["state"], "complete", "{again}");
    assert!(matches!(again["verdict"].as_str(), Some("proven" | "already_restored")), "{again}");
    let (topic, records) = &still[0];
    same(topic, records, &read(&bootstrap, topic));
    // Kafka's own consumer agrees; it prints a line a record of a topic whose values hold no line feeds.
    let (topic, records) = &still[1];
    let console = target.console_consume(topic, Isolation::ReadCommitted, 20_000);
    assert_eq!(console.len(), records.len());
    target.stop();
}

fn fold(records: &[Rec]) -> BTreeMap<Option<Vec<u8>>, Vec<u8>> {
    let mut map = BTreeMap::new();
    for record in records {
        match &record.value {
            Some(value) => drop(map.insert(record.key.clone(), value.clone())),
            None => drop(map.remove(&record.key)),
        }
    }
    map
}

#[test]
fn from_3_9_to_4_everything_comes_back() {
    fidelity(KafkaVersion::V3_9, KafkaVersion::V4);
}

#[test]
fn from_4_to_3_9_everything_comes_back() {
    fidelity(KafkaVersion::V4, KafkaVersion::V3_9);
}

/// One cluster that is both source and target, and a backup of its topic `orders`.
struct Home {
    cluster: KafkaCluster,
    job: Job,
    records: Vec<Rec>,
    _scratch: Scratch,
}

const PARTITIONS: i32 = 3;

/// Records with times that rise by one, some of them aborted, in all codecs.
fn fill(bootstrap: &str) {
    client::create_topic(bootstrap, "orders", PARTITIONS, 1, &[("retention.ms", "-1")]);
    let mut number = 0_i32;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let settings = [("compression.codec", codec), ("batch.size", "16384")];
        let producer = Producer::transactional(bootstrap, &format!("orders {codec}"), &settings);
        for round in 0..4 {
            let records: Vec<_> = (0..600)
                .map(|_| {
                    number += 1;
                    let value = format!("{number} ").repeat(60);
                    NewRecord::new(format!("{}", number % 97), value)
                        .partition(number % PARTITIONS)
                        .at(1_700_000_000_000 + i64::from(number))
                        .header("number", Some(number.to_string().as_bytes()))
                })
                .collect();
            producer.begin();
            producer.send("orders", &records);
            if round == 1 { producer.abort() } else { producer.commit() }
        }
    }
}

fn home() -> &'static Home {
    static HOME: OnceLock<Home> = OnceLock::new();
    HOME.get_or_init(|| {
        let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
        let bootstrap = cluster.bootstrap();
        fill(&bootstrap);
        let scratch = Scratch::new("home");
        let job = Job::new("home", &bootstrap, &folder(scratch.path()))
            .topics(&["orders"])
            .set("segment_max_bytes: 256KiB");
        job.back_up(0);
        let records = read(&bootstrap, "orders");
        Home { cluster, job, records, _scratch: scratch }
    })
}

impl Home {
    /// A restore into a topic of another name.
    fn restore_as(&self, name: &str) -> Restore {
        self.restore_into(&self.cluster.bootstrap(), name)
    }

    fn restore_into(&self, bootstrap: &str, name: &str) -> Restore {
        self.job.restore(bootstrap).set(&format!("topic_mapping: {{orders: {name}}}"))
    }
}

// D8, D9

#[test]
fn a_time_window_is_exact_to_the_record() {
    let home = home();
    let bootstrap = home.cluster.bootstrap();
    let (start, end) = (1_700_000_001_234_i64, 1_700_000_009_876_i64);
    let restore = home
        .restore_as("window")
        .set(&format!("time_window_start: {start}"))
        .set(&format!("time_window_end: {end}"));
    restore.run(0);
    let expected: Vec<Rec> =
        home.records.iter().filter(|record| (start..=end).contains(&record.timestamp)).cloned().collect();
    // Both ends are there: the times of the records rise by one, and those two were committed.
    assert!([start, end].iter().all(|edge| expected.iter().any(|record| record.timestamp == *edge)));
    same("window", &expected, &read(&bootstrap, "window"));
}

#[test]
fn partitions_go_where_they_are_told() {
    let home = home();
    let bootstrap = home.cluster.bootstrap();
    let restore =
        home.restore_as("mapped").set("source_partitions: [0, 2]").set("partition_mapping: {0: 4, 2: 0}");
    let report = restore.command(&[]).run();
    assert_eq!(report.code(), Some(0), "{}", report.stderr);
    let found = read(&bootstrap, "mapped");
    for (from, to) in [(0, 4), (2, 0)] {
        let moved: Vec<Rec> = home
            .records
            .iter()
            .filter(|record| record.partition == from)
            .map(|record| Rec { partition: to, ..record.clone() })
            .collect();
        let there: Vec<Rec> = found.iter().filter(|record| record.partition == to).cloned().collect();
        same("mapped", &moved, &there);
    }
    assert!(found.iter().all(|record| [0, 4].contains(&record.partition)));
}

#[test]
fn a_target_that_holds_records_is_refused_by_name_or_appended_to() {
    let home = home();
    let bootstrap = home.cluster.bootstrap();
    client::create_topic(&bootstrap, "taken", PARTITIONS, 1, &[("retention.ms", "-1")]);
    Producer::new(&bootstrap, &[]).send("taken", &[NewRecord::new("here", "first").partition(1)]);
    let restore = home.restore_as("taken");
    for args in [&[][..], &["--plan"]] {
        let refused = restore.command(args).run().expect_code(2);
        let said = refused.stdout.clone() + &refused.stderr;
        assert!(said.contains("taken-1") || said.contains("partition 1"), "{said}");
    }
    assert_eq!(read(&bootstrap, "taken").len(), 1);
    let append = restore.set("into_non_empty: append");
    append.run(0);
    let found = read(&bootstrap, "taken");
    let (first, rest): (Vec<Rec>, Vec<Rec>) =
        found.into_iter().partition(|record| record.key.as_deref() == Some(b"here"));
    assert_eq!((first.len(), first[0].offset), (1, 0));
    same("taken", &home.records, &rest);
}

#[test]
fn a_plan_touches_nothing() {
    let home = home();
    let bootstrap = home.cluster.bootstrap();
    let before = client::topics(&bootstrap);
    let finished = home.restore_as("planned").command(&["--plan"]).run().expect_code(0);
    let plan: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(plan["topics"][0]["target"], "planned");
    assert_eq!(plan["problems"], json!([]));
    assert!(!client::topics(&bootstrap).contains(&"planned".to_owned()));
    assert!(before.iter().all(|topic| client::topics(&bootstrap).contains(topic)));
}

/// Deleted behind the journal's back: what is gone must not pass for done.
#[test]
fn a_topic_deleted_after_its_restore_is_not_taken_for_restored() {
    let home = home();
    let bootstrap = home.cluster.bootstrap();
    let restore = home.restore_as("deleted");
    restore.run(0);
    client::delete_topics(&bootstrap, &["deleted"]);
    let finished = restore.command(&["--proof"]).run();
    let brought_back = client::topics(&bootstrap).contains(&"deleted".to_owned())
        && client::compare(&home.records, &read(&bootstrap, "deleted"), Compared::Content).is_ok();
    assert!(
        finished.code() != Some(0) || brought_back,
        "exit code 0, and nothing is there\n{}",
        finished.stdout
    );
}
