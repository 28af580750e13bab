//! Restores that are killed, at random instants and around every durable step, and then run again: the target holds what
//! the source held, each record once, and has its own configs.
//!
//! `REPLEVIN_CRASH_ROUNDS` is the number of random deaths, 15 by default; `REPLEVIN_CRASH_SEED` repeats a run whose seed
//! was printed. The binary must have the `failpoints` feature.

#![allow(clippy::print_stdout, reason = "a failed run is replayed by what it printed")]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbox::client::{self, Compared, Isolation, NewRecord, Producer, Rec};
use sandbox::fixtures;
use sandbox::job::{Job, Restore, bucket, folder};
use sandbox::kafka::{FAST_CLEANING, KafkaCluster, KafkaVersion};
use sandbox::process::wait_until;
use sandbox::proxy::{Direction, Toxic, Toxiproxy};
use sandbox::raw;
use sandbox::s3::S3;
use sandbox::scratch::Scratch;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

const TOPICS: [&str; 4] = ["plain", "tx", "stamped", "compacted"];
const JOURNAL: &str = "replevin-restore-journal";

/// A cluster with a topic of every kind, backups of it in both kinds of store, and what independent readers say of it.
struct Source {
    cluster: KafkaCluster,
    in_folder: Job,
    in_s3: Job,
    records: BTreeMap<&'static str, Vec<Rec>>,
    configs: BTreeMap<&'static str, BTreeMap<String, String>>,
    _scratch: Scratch,
    _s3: S3,
}

/// Plain batches of every codec, large ones and tiny ones, in two of three partitions.
fn fill_plain(bootstrap: &str) {
    client::create_topic(bootstrap, "plain", 3, 1, &[("segment.bytes", "1048576")]);
    let mut number = 0_i32;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let producer = Producer::new(bootstrap, &[("compression.codec", codec), ("batch.size", "16384")]);
        let mut records = |count: usize| -> Vec<NewRecord> {
            let record = |_| {
                number += 1;
                let value: String =
                    (0..60).map(|i| format!("{:x}", (number * 7919 + i * 31) % 65_521)).collect();
                NewRecord::new(format!("{}", number % 97), value).partition(number % 2)
            };
            (0..count).map(record).collect()
        };
        producer.send("plain", &records(1200));
        for _ in 0..5 {
            producer.send("plain", &records(1));
        }
    }
}

/// For all tests here. Killed when the test program ends.
fn source() -> &'static Source {
    static SOURCE: OnceLock<Source> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let cluster = KafkaCluster::start(KafkaVersion::V4, 1, FAST_CLEANING);
        let bootstrap = cluster.bootstrap();
        std::thread::scope(|scope| {
            scope.spawn(|| fixtures::compacted(&bootstrap, "compacted"));
            scope.spawn(|| fixtures::transactions(&bootstrap, "tx", false));
            scope.spawn(|| fixtures::log_append_time(&bootstrap, "stamped"));
            fill_plain(&bootstrap);
        });
        let (scratch, s3) = (Scratch::new("crash-restore"), S3::start());
        s3.create_bucket("crash");
        let job = |storage: &str| {
            let job = Job::new("crash", &bootstrap, storage).topics(&TOPICS).set("segment_max_bytes: 64KiB");
            job.back_up(0);
            job
        };
        let (in_folder, in_s3) = (job(&folder(scratch.path())), job(&bucket(&s3, "crash")));
        let read = |topic: &'static str| match topic {
            // The cleaner goes on at the source; that the archive holds what it held is another test's business.
            "compacted" => (topic, in_folder.dump_all(topic, Isolation::ReadCommitted)),
            _ => (topic, client::read_all(&bootstrap, topic, Isolation::ReadCommitted)),
        };
        let records = TOPICS.into_iter().map(read).collect();
        let configs = TOPICS.into_iter().map(|topic| (topic, client::configs(&bootstrap, topic))).collect();
        Source { in_folder, in_s3, records, configs, cluster, _scratch: scratch, _s3: s3 }
    })
}

/// A restore of all topics under names that begin with `name`.
fn restore_as(job: &Job, bootstrap: &str, name: &str) -> Restore {
    let names: Vec<String> = TOPICS.iter().map(|topic| format!("{topic}: {name}-{topic}")).collect();
    job.restore(bootstrap).set(&format!("topic_mapping: {{{}}}", names.join(", ")))
}

impl Source {
    /// Runs a restore that may have died to its end, once more, and looks at everything.
    fn finish(&self, restore: &Restore, direct: &str, name: &str, what: &str) {
        println!("{what}");
        let report = restore.run(0);
        let verdict = report["verdict"].as_str().unwrap_or_default();
        assert!(matches!(verdict, "proven" | "restored" | "already_restored"), "{what}: {report}");
        self.compare(direct, name, what);
        let again = restore.run(0);
        assert_eq!(again["state"], "complete", "{what}: {again}");
        assert!(matches!(again["verdict"].as_str(), Some("proven" | "already_restored")), "{what}: {again}");
    }

    fn compare(&self, direct: &str, name: &str, what: &str) {
        for (topic, expected) in &self.records {
            let target = format!("{name}-{topic}");
            assert_eq!(client::configs(direct, &target), self.configs[topic], "{what}: configs of {target}");
            let found = client::read_all(direct, &target, Isolation::ReadUncommitted);
            if *topic == "compacted" {
                // The target has its cleaner too: what counts is the map that comes of it.
                assert_eq!(fold(expected), fold(&found), "{what}: {target}");
                continue;
            }
            let compared = if *topic == "stamped" { Compared::ContentAndTimes } else { Compared::Content };
            if let Err(difference) = client::compare(expected, &found, compared) {
                panic!("{what}: {target} differs\n{difference}");
            }
            for partition in 0..if *topic == "plain" { 3 } else { 1 } {
                let count = expected.iter().filter(|record| record.partition == partition).count();
                check_log(
                    &raw::fetch(direct, &target, partition, 0),
                    count,
                    &format!("{what}: {target}-{partition}"),
                );
            }
        }
    }
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

/// The log as stored has so many records from offset 0 on without a hole, nothing of transactions, and each producer's
/// sequence numbers follow one another.
fn check_log(mut log: &[u8], records: usize, what: &str) {
    let int = |bytes: &[u8]| i32::from_be_bytes(bytes.try_into().expect("four bytes"));
    let long = |bytes: &[u8]| i64::from_be_bytes(bytes.try_into().expect("eight bytes"));
    let (mut next, mut sequences) = (0, BTreeMap::new());
    while !log.is_empty() {
        let (batch, rest) = log.split_at(12 + int(&log[8..12]) as usize);
        let (base, delta, count) = (long(&batch[..8]), int(&batch[23..27]), int(&batch[57..61]));
        let attributes = i16::from_be_bytes([batch[21], batch[22]]);
        let (producer, sequence) = (long(&batch[43..51]), int(&batch[53..57]));
        assert_eq!((base, delta + 1), (next, count), "{what}: a hole");
        assert_eq!(attributes & 0x78, 0, "{what}: attributes at offset {base}");
        let expected = sequences.insert(producer, sequence + count).unwrap_or(0);
        assert!(producer >= 0 && sequence == expected, "{what}: sequence number {sequence} at offset {base}");
        next += i64::from(count);
        log = rest;
    }
    assert_eq!(next, records as i64, "{what}");
}

fn rounds() -> u64 {
    std::env::var("REPLEVIN_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15)
}

fn rng() -> StdRng {
    let told = std::env::var("REPLEVIN_CRASH_SEED").ok().and_then(|text| text.parse().ok());
    let seed = told.unwrap_or_else(rand::random);
    println!("REPLEVIN_CRASH_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Records that the target has, of whichever topic: what is on its way may be of one alone.
fn arrived(direct: &str, name: &str) -> i64 {
    let marks = |topic| client::watermarks(direct, &format!("{name}-{topic}"), Isolation::ReadUncommitted);
    TOPICS.into_iter().flat_map(marks).map(|(_, (_, end))| end).sum()
}

/// Runs that die at these places, each as often as it says.
fn die_at(restore: &Restore, points: &[&str]) -> usize {
    let died = |point: &&&str| {
        let finished = restore.command(&[]).env("REPLEVIN_FAILPOINT", point).run();
        assert!(finished.code().is_none_or(|code| code == 0), "{point}\n{}", finished.stderr);
        finished.code().is_none()
    };
    points.iter().filter(died).count()
}

#[test]
fn a_restore_survives_random_deaths() {
    let source = source();
    let (mut rng, direct) = (rng(), source.cluster.direct());
    let measured = restore_as(&source.in_folder, &source.cluster.bootstrap(), "measured");
    let whole = measured.command(&[]).run().expect_code(0).elapsed;
    let (mut deaths, mut number) = (0, 0);
    while deaths < rounds() {
        number += 1;
        // Both kinds of store, and both places that the journal may have.
        let job = if number % 2 == 0 { &source.in_folder } else { &source.in_s3 };
        let journal = if number % 3 == 0 { "journal: object" } else { "journal: topic" };
        let name = format!("random-{number}");
        let restore = restore_as(job, &source.cluster.bootstrap(), &name).set(journal);
        let mut history = format!("{name} ({journal}): deaths after");
        for _ in 0..4 {
            let time = whole.mul_f64(rng.random_range(0.05..1.0));
            if !restore.command(&["--proof"]).run_and_kill(time).was_killed() {
                break;
            }
            deaths += 1;
            history += &format!(" {} ms", time.as_millis());
        }
        source.finish(&restore, &direct, &name, &history);
    }
}

/// Places of one restore after the other, each of which its run must reach.
const STEPS: &[&[&str]] = &[
    // The first of all restores makes the journal's topic.
    &[
        "before_journal_topic_create",
        "after_journal_topic_create",
        "before_journal_begin",
        "after_journal_write:1",
    ],
    &["before_journal_write:1", "after_journal_begin", "before_topic_create", "after_topic_create"],
    &[
        "after_guard",
        "before_journal_partitions",
        "before_journal_write:1",
        "after_journal_partitions",
        "before_produce:1",
    ],
    &["after_send:1", "after_ack:1", "before_produce:2", "after_send:3", "after_ack:5"],
    &["before_produce:6", "after_send:4"],
    &["before_seal", "after_seal", "before_configs"],
    &["after_journal_write:3", "after_configs", "before_journal_complete"],
    &["after_journal_write:4"],
    &["after_journal_complete"],
];

/// A restore a row, all into one cluster that has had none before.
fn dies_at_every_step(job: &Job, version: KafkaVersion) {
    let source = source();
    let target = KafkaCluster::start(version, 1, FAST_CLEANING);
    for (number, points) in STEPS.iter().enumerate() {
        let name = format!("step-{number}");
        let restore = restore_as(job, &target.bootstrap(), &name);
        assert_eq!(
            die_at(&restore, points),
            points.len(),
            "of {points:?} some are never reached: was the binary built with --features failpoints?"
        );
        source.finish(&restore, &target.direct(), &name, &format!("{name}: {points:?}"));
    }
    target.stop();
}

#[test]
fn a_restore_survives_death_around_every_durable_step() {
    dies_at_every_step(&source().in_folder, KafkaVersion::V3_9);
}

#[test]
fn a_restore_out_of_s3_survives_death_around_every_durable_step() {
    dies_at_every_step(&source().in_s3, KafkaVersion::V4);
}

#[test]
fn a_restore_out_of_s3_with_its_journal_there_survives_death_around_every_durable_step() {
    let source = source();
    for (number, points) in [
        &["before_journal_write:1", "after_journal_write:1", "before_journal_write:1"][..],
        &["after_topic_create", "after_journal_write:1", "after_send:2", "after_ack:3"],
        &["after_journal_write:3", "before_configs", "after_journal_complete"],
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("s3-{number}");
        let restore = restore_as(&source.in_s3, &source.cluster.bootstrap(), &name).set("journal: object");
        assert_eq!(die_at(&restore, points), points.len(), "of {points:?} some are never reached");
        source.finish(&restore, &source.cluster.direct(), &name, &format!("{name}: {points:?}"));
    }
}

/// Runs go through a proxy that is so slow that much of what they sent is still on its way when the next run, which does
/// not pass the proxy, is at work already.
#[test]
fn requests_of_a_dead_run_that_arrive_while_the_next_one_works_change_nothing() {
    let source = source();
    let toxiproxy = Toxiproxy::start();
    let mut proxies = Vec::new();
    let target = KafkaCluster::start_behind(KafkaVersion::V3_9, 1, FAST_CLEANING, |_, address| {
        proxies.push(toxiproxy.proxy(address));
        proxies[0].address()
    });
    let mut rng = rng();
    for number in 0..3 {
        let name = format!("late-{number}");
        let slow = restore_as(&source.in_folder, &target.bootstrap(), &name);
        let quick = restore_as(&source.in_folder, &target.direct(), &name);
        // The first is so slow that whatever the machine does, most of it is still on its way when one looks.
        let (sends, rates) = if number == 0 { (4..6, 3..6) } else { (3..7, 15..50) };
        let point = format!("after_send:{}", rng.random_range(sends));
        let rate = rng.random_range(rates);
        let toxic = proxies[0].add(Toxic::Bandwidth { kb_per_second: rate }, Direction::ToServer);
        assert_eq!(die_at(&slow, &[&point]), 1, "{point} is never reached");
        let mut history = format!("{name}: death at {point}, {rate} KB/s");
        if number == 0 {
            // That there is something on its way at all; the others do not wait for it. A request counts once it is there as a whole,
            // and one of a batch of 64 KiB takes 22 s at 3 KB/s.
            let left = arrived(&target.direct(), &name);
            let more = wait_until(Duration::from_secs(60), || match arrived(&target.direct(), &name) {
                now if now > left => Ok(()),
                now => Err(format!("{history}: {now} records there, and none arrives any more")),
            });
            more.unwrap_or_else(|error| panic!("{error}"));
        }
        if number % 2 == 1 {
            let time = Duration::from_millis(rng.random_range(300..1500));
            quick.command(&[]).run_and_kill(time);
            history += &format!(", then after {} ms past the proxy", time.as_millis());
        }
        // The toxic stays: what is on its way keeps trickling in while this one runs.
        source.finish(&quick, &target.direct(), &name, &history);
        proxies[0].remove(&toxic);
        std::thread::sleep(Duration::from_secs(2));
        source.compare(&target.direct(), &name, &history);
    }
    target.stop();
}

/// Of two entries with one key in the journal the first counts, wherever the second comes from.
#[test]
fn a_journal_entry_that_comes_late_changes_nothing() {
    let source = source();
    let bootstrap = source.cluster.bootstrap();
    let restore = restore_as(&source.in_folder, &bootstrap, "entry");
    assert_eq!(die_at(&restore, &["after_ack:2"]), 1);
    let text =
        |bytes: &Option<Vec<u8>>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
    let entries = client::read_all(&bootstrap, JOURNAL, Isolation::ReadUncommitted);
    let late: Vec<NewRecord> = entries
        .iter()
        .filter(|entry| text(&entry.key).contains("/partitions/entry-"))
        .map(|entry| {
            let mut value: serde_json::Value = serde_json::from_str(&text(&entry.value)).expect("JSON");
            for partition in value.as_array_mut().expect("a list") {
                partition["producer"] = 123_456.into();
                partition["start"] = 7.into();
            }
            NewRecord::new(text(&entry.key), value.to_string())
        })
        .collect();
    assert!(!late.is_empty(), "{} entries", entries.len());
    Producer::new(&bootstrap, &[]).send(JOURNAL, &late);
    source.finish(&restore, &source.cluster.direct(), "entry", "a late journal entry");
}

#[test]
fn records_of_somebody_else_do_not_pass_for_ours() {
    let source = source();
    let bootstrap = source.cluster.bootstrap();
    for point in ["after_journal_partitions", "after_ack:4"] {
        let name = format!("foreign-{}", &point[6..9]);
        let restore = restore_as(&source.in_folder, &bootstrap, &name);
        assert_eq!(die_at(&restore, &[point]), 1);
        let target = format!("{name}-plain");
        let before = client::watermarks(&bootstrap, &target, Isolation::ReadUncommitted)[&0].1;
        Producer::new(&bootstrap, &[]).send(&target, &[NewRecord::new("foreign", "record").partition(0)]);
        let finished = restore.command(&["--proof"]).run().expect_code(3);
        let said = &finished.stdout;
        assert!(said.contains(&format!("somebody else has written to {target}-0")), "{said}");
        let end = client::watermarks(&bootstrap, &target, Isolation::ReadUncommitted)[&0].1;
        assert_eq!(end, before + 1, "nothing more is written there");
        // What the others were to hold, they hold.
        let found = client::read_all(&bootstrap, &format!("{name}-tx"), Isolation::ReadUncommitted);
        client::assert_same("tx", &source.records["tx"], &found, Compared::Content);
        let again = restore.command(&["--proof"]).run().expect_code(3);
        assert!(again.stdout.contains("somebody else has written"), "{}", again.stdout);
    }
}

#[test]
fn topics_made_anew_between_runs_are_not_gone_on_with() {
    let source = source();
    let bootstrap = source.cluster.bootstrap();
    let restore = restore_as(&source.in_folder, &bootstrap, "anew");
    assert_eq!(die_at(&restore, &["after_ack:3"]), 1);
    client::delete_topics(&bootstrap, &["anew-tx"]);
    for remade in [false, true] {
        if remade {
            client::create_topic(&bootstrap, "anew-tx", 1, 1, &[]);
        }
        let refused = restore.command(&[]).run().expect_code(2);
        assert!(refused.stderr.contains("topic anew-tx was deleted or made anew"), "{}", refused.stderr);
        assert_eq!(client::topics(&bootstrap).contains(&"anew-tx".to_owned()), remade, "nothing is touched");
    }
    let all: Vec<String> = TOPICS.iter().map(|topic| format!("anew-{topic}")).collect();
    client::delete_topics(&bootstrap, &all.iter().map(String::as_str).collect::<Vec<_>>());
    source.finish(&restore, &source.cluster.direct(), "anew", "all target topics were deleted");
}
