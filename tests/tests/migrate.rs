//! Topics brought live from one Kafka to another: while they are written, whatever dies, each record once and in order.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbox::binary::{Replevin, Running};
use sandbox::client::{self, Compared, Isolation, NewRecord, Producer};
use sandbox::job::json;
use sandbox::kafka::{FAST_CLEANING, KafkaCluster, KafkaVersion};
use sandbox::process::wait_until;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(200);

/// The old cluster and the new one.
fn clusters() -> (&'static KafkaCluster, &'static KafkaCluster) {
    static OLD: OnceLock<KafkaCluster> = OnceLock::new();
    static NEW: OnceLock<KafkaCluster> = OnceLock::new();
    (
        OLD.get_or_init(|| KafkaCluster::start(KafkaVersion::V3_9, 1, FAST_CLEANING)),
        NEW.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, FAST_CLEANING)),
    )
}

/// A migration of some topics of the old cluster.
struct Migration {
    id: String,
    topics: Vec<String>,
    settings: String,
}

impl Migration {
    fn new(id: &str, topics: &[&str]) -> Self {
        let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
        Self { id: id.to_owned(), topics, settings: String::new() }
    }

    fn set(mut self, line: &str) -> Self {
        let _ = writeln!(self.settings, "  {line}");
        self
    }

    fn command(&self, args: &[&str]) -> Replevin {
        let (old, new) = clusters();
        let file = format!(
            "mode: migrate\nmigration_id: {}\nsource:\n  bootstrap_servers: [\"{}\"]\n  topics: {{include: [{}]}}\n\
             target:\n  bootstrap_servers: [\"{}\"]\nmigrate:\n  refresh_interval: 1s\n{}",
            self.id,
            old.bootstrap(),
            self.topics.join(", "),
            new.bootstrap(),
            self.settings
        );
        Replevin::new(&[&["migrate", "--output", "json"], args].concat()).config(file).limit(LIMIT)
    }

    /// To its end, which must be a good one.
    fn catch_up(&self) -> Value {
        let report = json(&self.command(&["--until-caught-up"]).run().expect_code(0));
        assert_eq!(report["caught_up"], true, "{report:#}");
        report
    }

    fn live(&self) -> Running {
        self.command(&[]).start()
    }
}

/// That the new cluster has what the old one has, as consumers see it.
fn same(topic: &str, target: &str) {
    let (old, new) = clusters();
    let expected = client::read_all(&old.bootstrap(), topic, Isolation::ReadCommitted);
    let found = client::read_all(&new.bootstrap(), target, Isolation::ReadUncommitted);
    client::assert_same(topic, &expected, &found, Compared::Content);
}

fn records(text: &str, count: usize) -> Vec<NewRecord> {
    (0..count).map(|n| NewRecord::new(format!("{n}"), format!("{text} {n}"))).collect()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_until(LIMIT, || if is_so() { Ok(()) } else { Err(what.to_owned()) }).expect(what);
}

fn count(report: &Value) -> u64 {
    report["partitions"].as_array().into_iter().flatten().filter_map(|one| one["records"].as_u64()).sum()
}

#[test]
fn topics_come_with_their_settings_and_a_second_run_adds_nothing() {
    let (old, new) = clusters();
    let settings = [("retention.ms", "-1"), ("max.message.bytes", "2000000"), ("cleanup.policy", "compact")];
    client::create_topic(&old.bootstrap(), "plain", 3, 1, &settings[..2]);
    client::create_topic(&old.bootstrap(), "empty", 2, 1, &[]);
    client::create_topic(&old.bootstrap(), "compacted", 1, 1, &settings[2..]);
    for (codec, partition) in [("none", 0), ("zstd", 1), ("lz4", 2), ("gzip", 0), ("snappy", 1)] {
        let producer = Producer::new(&old.bootstrap(), &[("compression.type", codec)]);
        let records: Vec<_> = records(codec, 500).into_iter().map(|one| one.partition(partition)).collect();
        producer.send("plain", &records);
    }
    Producer::new(&old.bootstrap(), &[]).send("compacted", &records("c", 50));
    let migration = Migration::new("settings", &["plain", "empty", "compacted"])
        .set("topic_mapping: {compacted: compacted-new}");
    let plan = json(&migration.command(&["--plan"]).run().expect_code(0));
    let topics: Vec<_> = plan["plan"]["topics"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|topic| (topic["target"].clone(), topic["offsets"].clone()))
        .collect();
    assert_eq!(
        topics,
        [(json!("compacted-new"), json!(50)), (json!("empty"), json!(0)), (json!("plain"), json!(2500))]
    );
    assert!(!client::topics(&new.bootstrap()).iter().any(|topic| topic == "plain"));

    let report = migration.catch_up();
    assert_eq!(count(&report), 2550);
    for (topic, target) in [("plain", "plain"), ("empty", "empty"), ("compacted", "compacted-new")] {
        same(topic, target);
        let found = client::configs(&new.bootstrap(), target);
        for (name, value) in client::configs(&old.bootstrap(), topic) {
            if settings.iter().any(|(known, _)| *known == name) || name == "compression.type" {
                assert_eq!(found.get(&name), Some(&value), "{target}: {name}");
            }
        }
    }
    assert_eq!(count(&migration.catch_up()), 2550);
    same("plain", "plain");
    let plan = json(&migration.command(&["--plan"]).run().expect_code(0));
    assert_eq!(
        (&plan["plan"]["topics"][2]["action"], &plan["plan"]["topics"][2]["done"]),
        (&json!("go on"), &json!(2500))
    );
}

#[test]
fn transactions_holes_and_the_brokers_own_times_come_as_consumers_see_them() {
    let (old, new) = clusters();
    let (bootstrap, topic) = (old.bootstrap(), "mixed");
    client::create_topic(&bootstrap, topic, 1, 1, &[]);
    client::create_topic(&bootstrap, "stamped", 1, 1, &[("message.timestamp.type", "LogAppendTime")]);
    let producer = Producer::transactional(&bootstrap, "mixed", &[]);
    for round in 0..5 {
        producer.begin();
        producer.send(topic, &records(&format!("aborted {round}"), 3));
        producer.abort();
        Producer::new(&bootstrap, &[]).send(topic, &records(&format!("plain {round}"), 2));
        producer.begin();
        producer.send(topic, &records(&format!("committed {round}"), 4));
        producer.commit();
    }
    Producer::new(&bootstrap, &[]).send("stamped", &records("stamped", 100));
    let migration = Migration::new("mixed", &[topic, "stamped"]);
    assert_eq!(count(&migration.catch_up()), 30 + 100);
    same(topic, topic);
    let expected = client::read_all(&bootstrap, "stamped", Isolation::ReadCommitted);
    let found = client::read_all(&new.bootstrap(), "stamped", Isolation::ReadCommitted);
    client::assert_same("stamped", &expected, &found, Compared::ContentAndTimes);

    producer.begin();
    producer.send(topic, &records("undecided", 3));
    Producer::new(&bootstrap, &[]).send(topic, &records("behind", 1));
    let report = json(&migration.command(&["--until-caught-up"]).run().expect_code(3));
    let held = &report["partitions"][0]["held_back"];
    assert!(held["first"].as_i64() < held["end"].as_i64(), "{report:#}");
    producer.commit();
    migration.catch_up();
    same(topic, topic);
}

/// Writes to topics until it is told to stop: plainly and in transactions.
fn writing(topics: &[&str], stop: &AtomicBool, seed: u64) {
    let (old, _) = clusters();
    let mut rng = StdRng::seed_from_u64(seed);
    let plain = Producer::new(&old.bootstrap(), &[("compression.type", "zstd")]);
    let transactional = Producer::transactional(&old.bootstrap(), &format!("writing-{seed}"), &[]);
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        for topic in topics {
            round += 1;
            let partition = rng.random_range(0..3);
            let few: Vec<_> = records(&format!("{seed} {round}"), rng.random_range(1..60))
                .into_iter()
                .map(|one| one.partition(partition))
                .collect();
            match rng.random_range(0..4) {
                0 => {
                    transactional.begin();
                    transactional.send(topic, &few);
                    if rng.random_bool(0.5) { transactional.commit() } else { transactional.abort() }
                }
                _ => drop(plain.send(topic, &few)),
            }
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(0..20)));
    }
}

#[test]
fn whatever_dies_each_record_is_there_once() {
    let (old, _) = clusters();
    let topics = ["busy-a", "busy-b"];
    for topic in topics {
        client::create_topic(&old.bootstrap(), topic, 3, 1, &[]);
    }
    let migration = Migration::new("killed", &["busy-*"]);
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| writing(&topics, &stop, seed));
        let points = [
            "before_migration_writer",
            "after_migration_writer",
            "before_migration_topic",
            "after_migration_topic",
            "before_migration_entry",
            "after_migration_entry",
            "before_produce",
            "after_send",
            "after_ack",
        ];
        for point in points {
            for nth in [1, 3] {
                let died = migration
                    .command(&[])
                    .env("REPLEVIN_FAILPOINT", &format!("{point}:{nth}"))
                    .limit(Duration::from_secs(8))
                    .run_and_kill(Duration::from_millis(2500));
                assert!(
                    died.was_killed() || died.code().is_none() || died.code() == Some(134),
                    "{point}: {:?}",
                    died.code()
                );
            }
        }
        for _ in 0..20 {
            migration.command(&[]).run_and_kill(Duration::from_millis(rng.random_range(50..1500)));
        }
        stop.store(true, Ordering::Relaxed);
    });
    migration.catch_up();
    for topic in topics {
        same(topic, topic);
    }
}

#[test]
fn of_two_runs_of_one_migration_the_older_ends_with_11() {
    let (old, _) = clusters();
    client::create_topic(&old.bootstrap(), "contested", 3, 1, &[]);
    let migration = Migration::new("contested", &["contested"]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| writing(&["contested"], &stop, 1));
        let mut first = migration.live();
        until("it to come", || {
            client::topics(&clusters().1.bootstrap()).iter().any(|topic| topic == "contested")
                && client::watermarks(&clusters().1.bootstrap(), "contested", Isolation::ReadUncommitted)
                    .values()
                    .any(|(_, end)| *end > 0)
        });
        let second = migration.live();
        until("the older one to end", || !first.is_running());
        assert_eq!(first.wait().code(), Some(11));
        std::thread::sleep(Duration::from_secs(1));
        second.signal("TERM");
        second.wait().expect_code(0);
        stop.store(true, Ordering::Relaxed);
    });
    migration.catch_up();
    same("contested", "contested");
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is_touched() {
    let (old, new) = clusters();
    client::create_topic(&old.bootstrap(), "full", 2, 1, &[]);
    client::create_topic(&new.bootstrap(), "full", 2, 1, &[]);
    Producer::new(&new.bootstrap(), &[]).send("full", &records("there", 3));
    let migration = Migration::new("refused", &["full"]);
    let refused = migration.command(&["--until-caught-up"]).run().expect_code(2);
    assert!(refused.stderr.contains("is not empty"), "{}", refused.stderr);
    let none = Migration::new("refused", &["nothing-like-that"])
        .command(&["--until-caught-up"])
        .run()
        .expect_code(2);
    assert!(none.stderr.contains("takes no topic"), "{}", none.stderr);
    let appended = Migration::new("refused", &["full"]).set("into_non_empty: append");
    Producer::new(&old.bootstrap(), &[]).send("full", &records("more", 4));
    let there = client::read_all(&new.bootstrap(), "full", Isolation::ReadCommitted).len();
    assert_eq!(count(&appended.catch_up()), 4);
    assert_eq!(client::read_all(&new.bootstrap(), "full", Isolation::ReadCommitted).len(), there + 4);
}

#[test]
fn new_partitions_and_topics_are_found_and_a_source_made_anew_is_refused() {
    let (old, new) = clusters();
    client::create_topic(&old.bootstrap(), "grows-a", 1, 1, &[]);
    Producer::new(&old.bootstrap(), &[]).send("grows-a", &records("first", 10));
    let migration = Migration::new("grows", &["grows-*"]);
    let live = migration.live();
    until("it to come", || client::topics(&new.bootstrap()).iter().any(|topic| topic == "grows-a"));
    client::create_topic(&old.bootstrap(), "grows-b", 2, 1, &[]);
    Producer::new(&old.bootstrap(), &[]).send("grows-b", &records("second", 10));
    until("it to come", || {
        client::topics(&new.bootstrap()).iter().any(|topic| topic == "grows-b")
            && client::read_all(&new.bootstrap(), "grows-b", Isolation::ReadCommitted).len() == 10
    });
    live.signal("TERM");
    live.wait().expect_code(0);
    migration.catch_up();
    same("grows-a", "grows-a");
    same("grows-b", "grows-b");

    client::delete_topics(&old.bootstrap(), &["grows-a"]);
    until("it to come", || !client::topics(&old.bootstrap()).iter().any(|topic| topic == "grows-a"));
    client::create_topic(&old.bootstrap(), "grows-a", 1, 1, &[]);
    Producer::new(&old.bootstrap(), &[]).send("grows-a", &records("another", 3));
    let report = json(&migration.command(&["--until-caught-up"]).run().expect_code(3));
    let failed = report["partitions"][0]["failure"].as_str().unwrap_or_default();
    assert!(failed.contains("made anew"), "{report:#}");
    assert_eq!(client::read_all(&new.bootstrap(), "grows-a", Isolation::ReadCommitted).len(), 10);
}

#[test]
fn nothing_is_compacted_in_the_target_before_the_cut_over() {
    let (old, new) = clusters();
    let configs = [("cleanup.policy", "compact"), ("max.compaction.lag.ms", "60000")];
    client::create_topic(&old.bootstrap(), "uncompacted", 1, 1, &configs);
    Producer::new(&old.bootstrap(), &[]).send("uncompacted", &records("some", 10));
    let migration = Migration::new("uncompacted", &["uncompacted"]);
    let lags = || {
        let configs = client::configs(&new.bootstrap(), "uncompacted");
        ["min.compaction.lag.ms", "max.compaction.lag.ms"].map(|name| configs.get(name).cloned())
    };
    let live = migration.live();
    until("it to come", || client::topics(&new.bootstrap()).iter().any(|topic| topic == "uncompacted"));
    let never = Some(i64::MAX.to_string());
    assert_eq!(lags(), [never.clone(), never]);
    live.signal("TERM");
    live.wait().expect_code(0);
    migration.catch_up();
    let [least, most] = lags();
    assert!(least.is_none_or(|least| least == "0") && most.as_deref() == Some("60000"), "{most:?}");
}

#[test]
fn a_partition_keeps_the_beginning_that_it_had_when_it_died() {
    let (old, new) = clusters();
    client::create_topic(&old.bootstrap(), "latest", 1, 1, &[]);
    let producer = Producer::new(&old.bootstrap(), &[]);
    producer.send("latest", &records("before", 20));
    let migration = Migration::new("latest", &["latest"]).set("start_offset: latest");
    // It dies after it has said where it begins, and before a record has come.
    let died = migration.command(&[]).env("REPLEVIN_FAILPOINT", "after_migration_entry:1").run();
    assert!(died.code().is_none() || died.code() == Some(134), "{:?}", died.code());
    producer.send("latest", &records("behind", 7));
    assert_eq!(count(&migration.catch_up()), 7);
    let found = client::read_all(&new.bootstrap(), "latest", Isolation::ReadCommitted);
    assert_eq!(found[0].value.as_deref(), Some(&b"behind 0"[..]));
    producer.send("latest", &records("later", 5));
    assert_eq!(count(&migration.catch_up()), 12);
}

#[test]
fn a_partition_that_has_failed_stays_so_and_the_others_go_on() {
    let (old, new) = clusters();
    for topic in ["fails-a", "fails-b"] {
        client::create_topic(&old.bootstrap(), topic, 1, 1, &[]);
        Producer::new(&old.bootstrap(), &[]).send(topic, &records("first", 10));
    }
    let migration = Migration::new("fails", &["fails-*"]);
    migration.catch_up();
    client::delete_topics(&new.bootstrap(), &["fails-a"]);
    until("it to go", || !client::topics(&new.bootstrap()).iter().any(|topic| topic == "fails-a"));
    let live = migration.live();
    let come = |count| client::read_all(&new.bootstrap(), "fails-b", Isolation::ReadCommitted).len() == count;
    for round in 1..4 {
        for topic in ["fails-a", "fails-b"] {
            Producer::new(&old.bootstrap(), &[]).send(topic, &records("more", 10));
        }
        until("the other one to come", || come(10 + 10 * round));
    }
    live.signal("TERM");
    let report = json(&live.wait().expect_code(3));
    let failure = report["partitions"][0]["failure"].as_str().unwrap_or_default();
    assert!(failure.contains("deleted or made anew"), "{report:#}");
    let topics = client::topics(&new.bootstrap());
    assert!(!topics.iter().any(|topic| topic == "fails-a"), "what was refused was made anew");
}
