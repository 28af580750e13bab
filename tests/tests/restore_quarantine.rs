//! Records that name a schema which nothing in the target stands for: they stop their partition, stay as they are, or are quarantined.
//! What is in a topic and what is in its quarantine are together what the source held, however often the restore is killed.
//!
//! `REPLEVIN_CRASH_ROUNDS` is the number of random deaths, 8 by default; `REPLEVIN_CRASH_SEED` repeats a run whose seed was printed. The
//! binary must have the `failpoints` feature.

#![allow(clippy::print_stdout, reason = "a failed run is replayed by what it printed")]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbox::client::{self, Compared, Isolation, NewRecord, Producer, Rec};
use sandbox::job::{Job, Restore, folder};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::registry::Registry;
use sandbox::scratch::Scratch;
use sandbox::travel::{ask, take_ids};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// One that no registry has ever given.
const FOREIGN: u32 = 424_242;

/// A backup whose registry is gone, and what its topics held.
struct Source {
    cluster: KafkaCluster,
    job: Job,
    /// Partitions of `mixed` are 0 and 1; `clean` names known schemas alone, `text` none.
    records: BTreeMap<&'static str, Vec<Rec>>,
    key: u32,
    good: u32,
    /// Deleted softly before the backup, and deleted for good.
    soft: u32,
    gone: u32,
    scratch: Scratch,
}

fn framed(id: u32, rest: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], rest].concat()
}

fn id_of(bytes: &Option<Vec<u8>>) -> Option<u32> {
    let bytes = bytes.as_deref().filter(|bytes| bytes.first() == Some(&0))?;
    Some(u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?))
}

/// Some thousand records with ids of every kind side by side, then some that are all unknown, in batches large and tiny.
fn fill(bootstrap: &str, [key, good, soft, gone]: [u32; 4]) {
    let mut number = 0_u32;
    let mut record = |kind: Option<u32>| {
        number += 1;
        let rest = format!("{number:06}-{}", "payload".repeat(number as usize % 23)).into_bytes();
        let value = match kind.unwrap_or(number * 7919 % 13) {
            0..=5 => framed(good, &rest),
            6 | 7 => framed(soft, &rest),
            8 | 9 => framed(gone, &rest),
            10 => framed(FOREIGN, &rest),
            _ => rest,
        };
        let name = format!("k{}", number % 97).into_bytes();
        let name = if number.is_multiple_of(3) { framed(key, &name) } else { name };
        let new = NewRecord::new(name, value).partition((number % 2) as i32);
        let new = new.at(1_700_000_000_000 + i64::from(number) * 10).header("n", Some(&number.to_be_bytes()));
        if number.is_multiple_of(31) { new.tombstone() } else { new }
    };
    for codec in ["none", "gzip", "lz4", "zstd"] {
        let producer = Producer::new(bootstrap, &[("compression.codec", codec), ("batch.size", "16384")]);
        producer.send("mixed", &(0..900).map(|_| record(None)).collect::<Vec<_>>());
        for _ in 0..6 {
            producer.send("mixed", &[record(None)]);
        }
        producer.send("mixed", &(0..400).map(|_| record(Some(10))).collect::<Vec<_>>());
    }
    let producer = Producer::new(bootstrap, &[]);
    let clean = |n: u32| NewRecord::new(format!("k{n}"), framed(good, format!("{n}").as_bytes()));
    producer.send("clean", &(0..50).map(clean).collect::<Vec<_>>());
    producer.send("text", &[NewRecord::new("k", "v")]);
}

/// For all tests here. Killed when the test program ends.
fn source() -> &'static Source {
    static SOURCE: OnceLock<Source> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
        let (registry, scratch, bootstrap) =
            (Registry::start(), Scratch::new("quarantine"), cluster.bootstrap());
        ask(&registry, "PUT", "/config", &json!({ "compatibility": "NONE" }));
        let register = |subject: &str, size: u32| {
            let schema = json!({ "type": "fixed", "name": "F", "size": size });
            let path = format!("/subjects/{subject}/versions");
            let answer = ask(&registry, "POST", &path, &json!({ "schema": schema.to_string() }));
            u32::try_from(answer["id"].as_u64().expect("an id")).expect("small")
        };
        let (key, good) = (register("mixed-key", 1), register("mixed-value", 2));
        assert_eq!(register("clean-value", 2), good);
        let (soft, gone) = (register("mixed-value", 3), register("mixed-value", 4));
        for (schema, version, more) in [(soft, 2, ""), (gone, 3, ""), (gone, 3, "?permanent=true")] {
            let path = format!("/subjects/mixed-value/versions/{version}{more}");
            assert_eq!(ask(&registry, "DELETE", &path, &Value::Null), version, "{schema}");
        }
        for (topic, partitions) in [("mixed", 2), ("clean", 1), ("text", 1)] {
            client::create_topic(&bootstrap, topic, partitions, 1, &[("retention.ms", "-1")]);
        }
        fill(&bootstrap, [key, good, soft, gone]);
        let topics = ["mixed", "clean", "text"];
        let job = Job::new("quarantine", &bootstrap, &folder(scratch.path())).topics(&topics);
        let job = job.set("segment_max_bytes: 64KiB").top(&section(&registry.url(), "true", &[]));
        let report = job.back_up(0);
        assert_eq!(report["schemas"]["failed"], Value::Null);
        let read = |topic| (topic, client::read_all(&bootstrap, topic, Isolation::ReadCommitted));
        let records = topics.into_iter().map(read).collect();
        Source { job, records, key, good, soft, gone, cluster, scratch }
    })
}

/// The section of a registry, with lines of its `restore`.
fn section(url: &str, soft: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("\n    {line}")).collect();
    format!(
        "schema_registry:\n  url: {url}\n  connection: {{rate_limit_rps: 0, max_retries: 1, retry_backoff_ms: 100}}\n  \
         backup: {{include_soft_deleted: {soft}}}\n  restore:\n    enabled: true{lines}"
    )
}

/// A registry in which no id of the backup can be what it was.
fn target() -> Registry {
    let registry = Registry::start();
    ask(&registry, "PUT", "/config", &json!({ "compatibility": "NONE" }));
    take_ids(&registry, 9);
    registry
}

impl Source {
    /// A restore of all topics under names that begin with `name`.
    fn restore(&self, registry: &Registry, name: &str, soft: bool, policy: &str) -> Restore {
        let names: Vec<String> =
            self.records.keys().map(|topic| format!("{topic}: {name}-{topic}")).collect();
        let policy = format!("unknown_ids: {policy}");
        let section = section(&registry.url(), &soft.to_string(), &[&policy]);
        let restore = self.job.restore(&self.cluster.bootstrap());
        restore.set(&format!("topic_mapping: {{{}}}", names.join(", "))).top(&section)
    }

    /// The ids that nothing in the target stands for, with soft deleted versions restored or not.
    fn unknown(&self, soft: bool) -> BTreeSet<u32> {
        let unknown: BTreeSet<u32> = [self.gone, FOREIGN].into();
        if soft { unknown } else { &unknown | &[self.soft].into() }
    }

    /// What a topic held, those that name an unknown id first; as they were, and the others with the ids that `report` says.
    fn divided(&self, topic: &str, soft: bool, report: &Value) -> (Vec<Rec>, Vec<Rec>) {
        let unknown = self.unknown(soft);
        let is_unknown = |record: &&Rec| id_of(&record.value).is_some_and(|id| unknown.contains(&id));
        let (apart, own): (Vec<&Rec>, Vec<&Rec>) = self.records[topic].iter().partition(is_unknown);
        let new = |bytes: &Option<Vec<u8>>| match id_of(bytes) {
            Some(id) => {
                let to = report["schemas"]["ids"][id.to_string()].as_u64().expect("an id of the target");
                assert_ne!(to, u64::from(id), "nothing is what it was");
                Some(framed(u32::try_from(to).expect("small"), &bytes.as_deref().unwrap_or_default()[5..]))
            }
            None => bytes.clone(),
        };
        let own = own.into_iter().map(|record| Rec {
            key: new(&record.key),
            value: new(&record.value),
            ..record.clone()
        });
        (apart.into_iter().cloned().collect(), own.collect())
    }

    /// Looks at everything that a restore with quarantine has left.
    /// `is_read_back`: this run has compared everything, and no earlier one a part of it.
    fn check_quarantine(&self, name: &str, (soft, is_read_back): (bool, bool), report: &Value, what: &str) {
        let bootstrap = self.cluster.bootstrap();
        assert_eq!(report["verdict"], "partial", "{what}: {report:#}");
        for topic in self.records.keys() {
            let (apart, own) = self.divided(topic, soft, report);
            let target = format!("{name}-{topic}");
            self.check(&target, &own, what);
            let quarantine = format!("{target}.quarantine");
            let there = client::topics(&bootstrap).contains(&quarantine);
            assert_eq!(there, !apart.is_empty(), "{what}: {quarantine} is made where a record goes there");
            if there {
                self.check(&quarantine, &apart, what);
                assert_eq!(
                    client::configs(&bootstrap, &quarantine),
                    client::configs(&bootstrap, &target),
                    "{what}"
                );
            }
            let of = |list: &str, name: &str| {
                let topics = report[list].as_array().cloned().unwrap_or_default();
                topics.into_iter().find(|own| own["target"] == name)
            };
            let reported = of("topics", &target).expect("the topic");
            for partition in reported["partitions"].as_array().expect("partitions") {
                let number = partition["target"].as_i64().expect("a number");
                let wanted = apart.iter().filter(|record| i64::from(record.partition) == number).count();
                assert_eq!(partition["quarantined_records"], wanted, "{what}: {target}-{number}");
                check_digests(partition, is_read_back, &format!("{what}: {target}-{number}"));
            }
            let Some(reported) = of("quarantine", &quarantine) else {
                assert!(apart.is_empty(), "{what}: {report:#}");
                continue;
            };
            assert_eq!(reported["source"], **topic, "{what}");
            for partition in reported["partitions"].as_array().expect("partitions") {
                let number = partition["target"].as_i64().expect("a number");
                let wanted = apart.iter().filter(|record| i64::from(record.partition) == number).count();
                assert_eq!(partition["records"], wanted, "{what}: {quarantine}-{number}");
                check_digests(partition, is_read_back, &format!("{what}: {quarantine}-{number}"));
            }
        }
    }

    /// A topic holds these records, from offset 0 on and without holes.
    fn check(&self, topic: &str, expected: &[Rec], what: &str) {
        let bootstrap = self.cluster.bootstrap();
        let found = client::read_all(&bootstrap, topic, Isolation::ReadUncommitted);
        if let Err(difference) = client::compare(expected, &found, Compared::Content) {
            panic!("{what}: {topic} differs\n{difference}");
        }
        for (partition, (first, end)) in client::watermarks(&bootstrap, topic, Isolation::ReadUncommitted) {
            let count = expected.iter().filter(|record| record.partition == partition).count();
            assert_eq!((first, end), (0, count as i64), "{what}: {topic}-{partition}");
        }
    }
}

/// The archive's digest of what goes to a partition is the target's.
fn check_digests(partition: &Value, is_read_back: bool, what: &str) {
    let (archive, target) = (&partition["archive_digest"], &partition["target_digest"]);
    assert!(target.is_string() || !is_read_back, "{what}: {partition:#}");
    assert!(target == archive || target.is_null(), "{what}: {partition:#}");
}

fn failures(report: &Value) -> Vec<(String, String)> {
    let topics = report["topics"].as_array().expect("topics").iter();
    let partitions = topics.flat_map(|topic| {
        let target = topic["target"].as_str().expect("a name");
        topic["partitions"].as_array().expect("partitions").iter().map(move |own| (target, own))
    });
    partitions
        .filter_map(|(target, own)| Some((target.to_owned(), own["failure"]["message"].as_str()?.to_owned())))
        .collect()
}

#[test]
fn what_the_target_does_not_have_stops_its_partition_stays_or_is_quarantined() {
    let (source, registry) = (source(), target());
    for soft in [true, false] {
        let unknown = source.unknown(soft);
        for policy in ["fail", "keep", "quarantine"] {
            let name = format!("{policy}-{soft}");
            let restore = source.restore(&registry, &name, soft, policy);
            if policy == "quarantine" {
                let plan = restore.text_command(&["--plan"]).run().expect_code(0).stdout;
                assert!(plan.contains(&format!("topic {name}-mixed.quarantine is made")), "{plan}");
                assert!(!plan.contains(&format!("{name}-text.quarantine")), "it names no schemas\n{plan}");
            }
            let report = restore.run(if policy == "keep" { 0 } else { 3 });
            match policy {
                "fail" => {
                    let failed = failures(&report);
                    assert_eq!(failed.len(), 2, "both partitions of `mixed`: {failed:?}");
                    for (topic, message) in failed {
                        assert_eq!(topic, format!("{name}-mixed"));
                        let names = |id: &u32| message.contains(&id.to_string());
                        assert!(unknown.iter().any(names), "{unknown:?} {message}");
                    }
                    let there = client::topics(&source.cluster.bootstrap());
                    assert!(!there.contains(&format!("{name}-mixed.quarantine")));
                }
                "keep" => {
                    assert_eq!(report["verdict"], "proven", "{report:#}");
                    let (apart, mut own) = source.divided("mixed", soft, &report);
                    own.extend(
                        apart
                            .iter()
                            .map(|record| Rec { key: source.new_key(record, &report), ..record.clone() }),
                    );
                    own.sort_by_key(|record| (record.partition, record.offset));
                    source.check(&format!("{name}-mixed"), &own, &name);
                    assert_eq!(report["quarantine"], Value::Null);
                }
                _ => {
                    source.check_quarantine(&name, (soft, true), &report, &name);
                    let again = restore.run(3);
                    assert_eq!(again["state"], "complete", "{again:#}");
                    source.check_quarantine(&name, (soft, true), &again, &name);
                    let text = restore.text_command(&[]).run().expect_code(3).stdout;
                    assert!(
                        text.contains("quarantined: ")
                            && text.contains(&format!("{name}-mixed.quarantine-1")),
                        "{text}"
                    );
                    // Whoever has seen enough of it may delete it.
                    client::delete_topics(
                        &source.cluster.bootstrap(),
                        &[&format!("{name}-mixed.quarantine")],
                    );
                    let without = restore.run(3);
                    assert_eq!(without["quarantine"], Value::Null, "{without:#}");
                    let said = without["warnings"].to_string();
                    assert!(said.contains(&format!("{name}-mixed.quarantine")), "{said}");
                    let there = client::topics(&source.cluster.bootstrap());
                    assert!(!there.contains(&format!("{name}-mixed.quarantine")), "it is not made again");
                }
            }
        }
    }
}

impl Source {
    /// The key of a record with the id of the target.
    fn new_key(&self, record: &Rec, report: &Value) -> Option<Vec<u8>> {
        let Some(id) = id_of(&record.key) else { return record.key.clone() };
        assert_eq!(id, self.key);
        let to = report["schemas"]["ids"][id.to_string()].as_u64().expect("an id of the target");
        Some(framed(u32::try_from(to).expect("small"), &record.key.as_deref().unwrap_or_default()[5..]))
    }
}

#[test]
fn records_are_looked_at_also_where_no_id_changes() {
    let (source, registry) = (source(), Registry::start());
    // So that schemas keep their ids.
    let file = source.restore(&registry, "same", true, "quarantine\n    force_ids: true");
    let report = file.run(3);
    assert_eq!(report["schemas"]["ids"][source.good.to_string()], source.good, "{report:#}");
    let unknown = source.unknown(true);
    let is_unknown = |record: &Rec| id_of(&record.value).is_some_and(|id| unknown.contains(&id));
    let (apart, own): (Vec<Rec>, Vec<Rec>) = source.records["mixed"].iter().cloned().partition(is_unknown);
    source.check("same-mixed", &own, "same");
    source.check("same-mixed.quarantine", &apart, "same");
}

#[test]
fn a_quarantine_whose_name_is_not_free_is_refused_before_anything_is_touched() {
    let (source, registry, bootstrap) = (source(), target(), source().cluster.bootstrap());
    let refused = |restore: &Restore, words: &str, untouched: &[&str]| {
        let finished = restore.command(&[]).run().expect_code(2);
        assert!(finished.stderr.contains(words), "{words} is not in\n{}", finished.stderr);
        let there = client::topics(&bootstrap);
        assert!(untouched.iter().all(|topic| !there.contains(&(*topic).to_owned())), "{there:?}");
    };
    client::create_topic(&bootstrap, "there-mixed.quarantine", 2, 1, &[]);
    refused(
        &source.restore(&registry, "there", true, "quarantine"),
        "it is there already",
        &["there-mixed", "there-text"],
    );
    let section = section(&registry.url(), "true", &["unknown_ids: quarantine"]);
    let mapped = |mapping: &str| {
        source.job.restore(&bootstrap).set(&format!("topic_mapping: {{{mapping}}}")).top(&section)
    };
    refused(
        &mapped("mixed: one, clean: one.quarantine, text: one-text"),
        "another topic is to get that name",
        &["one", "one.quarantine", "one-text"],
    );
    let long = "l".repeat(239);
    refused(
        &mapped(&format!("mixed: {long}, clean: two-clean, text: two-text")),
        "is too long for a name",
        &["two-clean", "two-text"],
    );
    for (topic, partitions) in [("mixed", 2), ("clean", 1), ("text", 1)] {
        client::create_topic(&bootstrap, &format!("made-{topic}"), partitions, 1, &[]);
    }
    let made = source.restore(&registry, "made", true, "quarantine").set("create_topics: false");
    refused(&made, "would have to be created", &["made-mixed.quarantine"]);
}

#[test]
fn settings_that_ids_came_of_cannot_change_once_that_is_pinned() {
    let (source, registry) = (source(), target());
    let restore = |soft: bool, lines: &str| source.restore(&registry, "pinned", soft, lines);
    let died = restore(true, "fail").command(&[]).env("REPLEVIN_FAILPOINT", "after_schema_pin").run();
    assert!(died.was_killed() || died.code().is_none(), "{}", died.stderr);
    let refused = |soft: bool, lines: &str, words: &str| {
        let finished = restore(soft, lines).command(&[]).run().expect_code(2);
        assert!(finished.stderr.contains(words), "{words} is not in\n{}", finished.stderr);
    };
    let file = source.scratch.path().join("mapping.json");
    std::fs::write(&file, format!("{{\"{}\": 77}}", source.good)).expect("written");
    let mapped = format!("fail\n    id_mapping_file: {}", file.display());
    let all = [
        (true, "fail\n    strategy: skip", "restore.strategy` was preserve and is skip"),
        (
            true,
            "fail\n    subject_mapping: {mixed-value: other}",
            "restore.subject_mapping` was {} and is {mixed-value: other}",
        ),
        (true, "fail\n    framing: {mixed: raw}", "restore.framing` was {} and is {mixed: raw}"),
        (true, "fail\n    force_ids: true", "restore.force_ids` was false and is true"),
        (true, mapped.as_str(), "restore.id_mapping_file` was unset and is a file"),
        (false, "fail", "backup.include_soft_deleted` was true and is false"),
    ];
    for (soft, lines, words) in all {
        refused(soft, lines, words);
    }
    // What was restored while unknown ids stopped it has none, so that something else may be done with them, once.
    restore(true, "fail").run(3);
    let report = restore(true, "quarantine").run(3);
    source.check_quarantine("pinned", (true, false), &report, "after fail");
    for policy in ["keep", "fail"] {
        refused(true, policy, &format!("restore.unknown_ids` was quarantine and is {policy}"));
    }
    restore(true, "quarantine").run(3);
}

/// The topic of a registry whose second schema is none: another registry, or a bug, has let it in. A third one refers to it.
fn broken_registry(bootstrap: &str, topic: &str) {
    client::create_topic(bootstrap, topic, 1, 1, &[("cleanup.policy", "compact")]);
    let good = r#"{"type":"fixed","name":"F","size":2}"#;
    let leaning = r#"{"type":"record","name":"L","fields":[{"name":"b","type":"Broken"}]}"#;
    let to_broken = json!([{ "name": "Broken", "subject": "broken", "version": 1 }]);
    let rows = [
        ("torn-value", 11, good, json!([])),
        ("broken", 12, r#"{"type":"record","name":"Broken","fields":"#, json!([])),
        ("leaning", 13, leaning, to_broken),
    ];
    let rows = rows.map(|(subject, id, schema, references)| {
        let key = json!({ "keytype": "SCHEMA", "subject": subject, "version": 1, "magic": 1 });
        let value = json!({
            "subject": subject, "version": 1, "id": id, "schema": schema, "references": references, "deleted": false,
        });
        NewRecord::new(key.to_string(), value.to_string())
    });
    Producer::new(bootstrap, &[]).send(topic, &rows);
}

#[test]
fn a_text_that_is_no_schema_is_left_out_and_what_needs_it_is_as_with_any_unknown_id() {
    let (cluster, scratch) = (&source().cluster, Scratch::new("torn"));
    let bootstrap = cluster.bootstrap();
    broken_registry(&bootstrap, "torn_schemas");
    client::create_topic(&bootstrap, "torn", 1, 1, &[]);
    let values = [framed(11, b"ab"), framed(12, b"x"), framed(13, b"y"), framed(11, b"cd")];
    let records: Vec<_> = values.iter().map(|value| NewRecord::new("k", value.clone())).collect();
    Producer::new(&bootstrap, &[]).send("torn", &records);
    let job = Job::new("torn", &bootstrap, &folder(scratch.path())).topics(&["torn"]);
    let job = job.top(&section(&format!("kafka://{bootstrap}/torn_schemas"), "true", &[]));
    let report = job.back_up(0);
    assert_eq!(report["schemas"]["versions"], 3, "{report:#}");

    let registry = target();
    let framing = "framing: {torn: framed}";
    for policy in ["fail", "keep", "quarantine"] {
        let lines = [format!("unknown_ids: {policy}"), framing.to_owned()];
        let restore = job
            .restore(&bootstrap)
            .set(&format!("topic_mapping: {{torn: torn-{policy}}}"))
            .top(&section(&registry.url(), "true", &lines.each_ref().map(String::as_str)));
        for what in ["first", "again"] {
            let report = restore.run(3);
            assert_eq!(report["verdict"], "partial", "{policy} {what}: {report:#}");
            let missing = report["schemas"]["not_taken"].to_string();
            let named = ["broken version 1", "leaning version 1 refers to broken version 1"];
            assert!(named.iter().all(|name| missing.contains(name)), "{policy} {what}: {missing}");
            let to = report["schemas"]["ids"]["11"].as_u64().expect("the good one is there");
            let to = u32::try_from(to).expect("small");
            let read = |topic: &str| -> Vec<Vec<u8>> {
                let read = client::read_all(&bootstrap, topic, Isolation::ReadCommitted);
                read.into_iter().map(|record| record.value.expect("a value")).collect()
            };
            let (first, last) = (framed(to, b"ab"), framed(to, b"cd"));
            let (broken, leaning) = (values[1].clone(), values[2].clone());
            match policy {
                "fail" => assert_eq!(failures(&report).len(), 1, "{what}: {report:#}"),
                "keep" => assert_eq!(read("torn-keep"), [first, broken, leaning, last], "{what}"),
                _ => {
                    assert_eq!(read("torn-quarantine"), [first, last], "{what}");
                    assert_eq!(read("torn-quarantine.quarantine"), [broken, leaning], "{what}");
                }
            }
        }
    }
}

fn rounds() -> u64 {
    std::env::var("REPLEVIN_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

/// Runs a restore that may have died to its end, once more, and looks at everything.
fn finish(source: &Source, restore: &Restore, name: &str, what: &str) {
    println!("{what}");
    let report = restore.run(3);
    // What an earlier run has sealed, it has proven.
    source.check_quarantine(name, (true, false), &report, what);
    let again = restore.run(3);
    assert_eq!(again["state"], "complete", "{what}: {again:#}");
    source.check_quarantine(name, (true, true), &again, what);
}

#[test]
fn a_restore_with_quarantine_survives_random_deaths() {
    let (source, registry) = (source(), target());
    let told = std::env::var("REPLEVIN_CRASH_SEED").ok().and_then(|text| text.parse().ok());
    let seed = told.unwrap_or_else(rand::random);
    println!("REPLEVIN_CRASH_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let measured = source.restore(&registry, "measured", true, "quarantine");
    let whole = measured.command(&["--proof"]).run().expect_code(3).elapsed;
    let (mut deaths, mut number) = (0, 0);
    while deaths < rounds() {
        number += 1;
        let journal = if number % 2 == 0 { "journal: object" } else { "journal: topic" };
        let name = format!("random-{number}");
        let restore = source.restore(&registry, &name, true, "quarantine").set(journal);
        let mut history = format!("{name} ({journal}): deaths after");
        for _ in 0..4 {
            let time = whole.mul_f64(rng.random_range(0.1..1.0));
            if !restore.command(&["--proof"]).run_and_kill(time).was_killed() {
                break;
            }
            deaths += 1;
            history += &format!(" {} ms", time.as_millis());
        }
        finish(source, &restore, &name, &history);
    }
}

/// Places of one restore after the other, each of which its run must reach. Topics are made once for themselves and once for the
/// quarantine; a run that finds the topics filled produces into the quarantine alone.
const STEPS: &[&[&str]] = &[
    &[
        "before_journal_quarantine",
        "after_journal_quarantine",
        "before_topic_create:2",
        "after_topic_create:2",
    ],
    &["after_guard:2", "before_journal_partitions", "after_journal_partitions", "before_produce:1"],
    &["after_topic_create:2", "after_send:1", "after_ack:1", "after_ack:1", "before_seal"],
    &["after_guard:2", "after_seal", "before_configs", "after_configs", "before_journal_complete"],
    &["after_ack:2", "after_journal_complete"],
];

#[test]
fn a_restore_with_quarantine_survives_death_around_every_durable_step() {
    let (source, registry) = (source(), target());
    for journal in ["topic", "object"] {
        for (number, points) in STEPS.iter().enumerate() {
            let name = format!("step-{journal}-{number}");
            let restore = source.restore(&registry, &name, true, "quarantine");
            let restore = restore.set(&format!("journal: {journal}"));
            for point in *points {
                let finished = restore.command(&["--proof"]).env("REPLEVIN_FAILPOINT", point).run();
                assert!(
                    finished.was_killed() || finished.code().is_none(),
                    "{name}: {point} is never reached: was the binary built with --features failpoints?\n{}",
                    finished.stderr
                );
            }
            finish(source, &restore, &name, &format!("{name}: {points:?}"));
        }
    }
}
