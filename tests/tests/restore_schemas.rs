//! Schemas that come back before the data: whatever the target registry holds, the same client reads equal objects afterwards, and
//! what never named a schema is the same bytes.

#![allow(clippy::print_stdout, reason = "where runs were killed, for who runs it with --nocapture")]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbox::client::{self, Isolation, NewRecord, Producer};
use sandbox::job::{Job, Restore, folder};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::questions::ask;
use sandbox::registry::Registry;
use sandbox::scratch::Scratch;
use sandbox::travel::{KINDS, hold_some, take_ids, travel};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;

fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]))
}

/// The section of a registry, with lines of its `restore`.
fn section(url: &str, lines: &[&str]) -> String {
    limited(0, url, lines)
}

/// The same with so many requests a second.
fn limited(rate: u32, url: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("\n    {line}")).collect();
    format!(
        "schema_registry:\n  url: {url}\n  connection: {{rate_limit_rps: {rate}, max_retries: 1, retry_backoff_ms: 100}}\n  \
         restore:\n    enabled: true{lines}"
    )
}

/// A backup of everything that `travel.py` has written, whose registry is gone; and what a client read before.
struct Away {
    job: Job,
    before: String,
    /// Versions in the backup.
    versions: usize,
    _scratch: Scratch,
}

fn away(prefix: &str, count: &str) -> Away {
    let (registry, scratch) = (Registry::start(), Scratch::new("restore-schemas"));
    // So that not even an empty registry gives the same ids.
    take_ids(&registry, 3);
    for n in 0..3 {
        ask(&registry, "DELETE", &format!("/subjects/others-{n}"), &Value::Null);
        ask(&registry, "DELETE", &format!("/subjects/others-{n}?permanent=true"), &Value::Null);
    }
    let topics: Vec<String> = KINDS.iter().map(|kind| format!("{prefix}-{kind}")).collect();
    for topic in &topics {
        client::create_topic(&cluster().bootstrap(), topic, 2, 1, &[]);
    }
    travel(cluster(), "write", &registry.url(), prefix, &[count]);
    let before = travel(cluster(), "read", &registry.url(), prefix, &[]);
    assert_eq!(before.lines().count(), KINDS.len() * count.parse::<usize>().expect("a number"));
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let job = Job::new("travel", &cluster().bootstrap(), &folder(scratch.path())).topics(&names);
    let job = job.top(&section(&registry.url(), &[]));
    let report = job.back_up(0);
    assert_eq!(report["schemas"]["failed"], Value::Null);
    let versions = report["schemas"]["versions"].as_u64().and_then(|count| usize::try_from(count).ok());
    Away { job, before, versions: versions.expect("a count"), _scratch: scratch }
}

impl Away {
    /// A restore of it under other names, with these lines about schemas.
    fn restore(&self, registry: &Registry, prefix: (&str, &str), lines: &[&str]) -> Restore {
        self.with(prefix, &section(&registry.url(), lines))
    }

    /// The same, in which schemas take a good part of the time.
    fn slow(&self, registry: &Registry, prefix: (&str, &str), lines: &[&str]) -> Restore {
        self.with(prefix, &limited(100, &registry.url(), lines))
    }

    fn with(&self, prefix: (&str, &str), section: &str) -> Restore {
        let (from, to) = prefix;
        let mapping: Vec<String> = KINDS.iter().map(|kind| format!("{from}-{kind}: {to}-{kind}")).collect();
        self.job
            .restore(&cluster().bootstrap())
            .set(&format!("topic_mapping: {{{}}}", mapping.join(", ")))
            .top(section)
    }
}

#[test]
fn whatever_the_target_registry_holds_the_same_objects_are_read() {
    let away = away("home", "40");
    for name in ["empty", "taken", "some"] {
        let registry = Registry::start();
        match name {
            "taken" => take_ids(&registry, 30),
            "some" => hold_some(&registry, "home"),
            _ => {}
        }
        let restore = away.restore(&registry, ("home", name), &[]);
        let planned = restore.text_command(&["--plan"]).run().expect_code(0).stdout;
        for words in
            ["schemas, before everything else", "values have 2 schemas of their own subject", "as all"]
        {
            assert!(planned.contains(words), "{name}: {words} is not in\n{planned}");
        }
        let report = restore.run(0);
        assert_eq!(report["verdict"], "proven", "{name}: {report:#}");
        let after = travel(cluster(), "read", &registry.url(), name, &[]);
        assert_eq!(after, away.before, "{name}");
        let modes = ask(&registry, "GET", "/mode", &Value::Null);
        assert_eq!(modes["mode"], "READWRITE", "{name}");
        // The ids are in the report, and are those that the registry has.
        let ids = report["schemas"]["ids"].as_object().expect("ids");
        assert!(ids.iter().any(|(from, to)| from != &to.to_string()), "{name}: no id has changed: {ids:?}");
        let changed = |topic: &str| {
            let topics = report["topics"].as_array().expect("topics").iter();
            let own = topics.filter(|own| own["source"] == format!("home-{topic}"));
            let partitions = own.flat_map(|own| own["partitions"].as_array().expect("partitions"));
            partitions.filter_map(|own| own["lanes"]["schema_ids"]["values"].as_u64()).sum::<u64>()
        };
        assert_eq!((changed("text"), changed("raw")), (0, 0), "{name}");
        assert!(KINDS.iter().map(|kind| changed(kind)).sum::<u64>() > 0, "{name}: {report:#}");
        // Here no id can be what it was.
        let all = KINDS.iter().filter(|kind| !["text", "raw"].contains(kind));
        let unchanged: Vec<_> = all.filter(|kind| changed(kind) == 0).collect();
        assert!(name != "taken" || unchanged == [&"header"], "{name}: {unchanged:?}");
        // Run again, it is done.
        let again = restore.run(0);
        assert_eq!(again["verdict"], "proven", "{name}: {again:#}");
    }
}

/// Whatever the registry says that is not about one restore: settings and modes of everything.
fn places(registry: &Registry) -> Vec<Value> {
    let subjects = ask(registry, "GET", "/subjects?deleted=true&subjectPrefix=:*:", &Value::Null);
    let subjects = subjects.as_array().expect("a list").iter().filter_map(Value::as_str);
    let mut paths: Vec<String> = ["/mode", "/config"].map(str::to_owned).into();
    for subject in subjects {
        let name = subject.replace('/', "%2F").replace(':', "%3A");
        paths.extend(["mode", "config"].map(|what| format!("/{what}/{name}?defaultToGlobal=true")));
    }
    paths.iter().map(|path| json!([path, ask(registry, "GET", path, &Value::Null)])).collect()
}

/// Dies at points, dies at any time, and comes to the same end.
fn killed(away: &Away, name: &str, registry: &Registry, lines: &[&str]) {
    let restore = away.restore(registry, ("lost", name), lines);
    // The first finds the target as it was, each later one what the one before has left.
    let points = [
        "before_journal_begin",
        "after_journal_begin",
        "before_schemas",
        "before_journal_write:2",
        "after_journal_write:2",
        "after_schemas",
        "after_schema_pin",
        "before_topic_create",
        "after_guard",
        "after_ack:2",
        "before_seal",
    ];
    let died = |point: &&str| {
        let finished = restore.command(&[]).env("REPLEVIN_FAILPOINT", point).run();
        finished.code().is_none()
    };
    let survived: Vec<_> = points.iter().filter(|point| !died(point)).collect();
    // A run that goes on has less to write, so that not every write of the journal comes again.
    let may =
        |point: &&&str| point.contains("journal") || point.contains("guard") || point.contains("create");
    assert!(survived.iter().all(may), "{name}: {survived:?}: was the binary built with failpoints?");
    let report = restore.run(0);
    assert_eq!(report["verdict"], "proven", "{name}: {report:#}");
    let after = travel(cluster(), "read", &registry.url(), name, &[]);
    assert_eq!(after, away.before, "{name}");
}

#[test]
fn a_restore_that_dies_anywhere_comes_to_the_same_end_with_modes_and_levels_back() {
    let away = away("lost", "12");
    let mapped = Registry::start();
    take_ids(&mapped, 30);
    ask(&mapped, "PUT", "/config", &json!({ "compatibility": "FULL_TRANSITIVE" }));
    ask(&mapped, "PUT", "/config/lost-avro-value", &json!({ "compatibility": "FULL" }));
    killed(&away, "mapped", &mapped, &["force_register: true"]);
    let forced = Registry::start();
    killed(&away, "forced", &forced, &["force_ids: true"]);
    let config = |registry: &Registry, path: &str| {
        ask(registry, "GET", path, &Value::Null)["compatibilityLevel"].clone()
    };
    assert_eq!(config(&mapped, "/config"), "FULL_TRANSITIVE");
    assert_eq!(config(&mapped, "/config/lost-avro-value"), "FULL");
    for registry in [&mapped, &forced] {
        for place in places(registry) {
            if let Some(mode) = place[1]["mode"].as_str() {
                assert_eq!(mode, "READWRITE", "{place}");
            }
        }
    }

    // A run that may not go on puts back what a dead one has borrowed all the same.
    let borrowed = Registry::start();
    let restore = away.restore(&borrowed, ("lost", "borrowed"), &["force_ids: true"]);
    for _ in 0..2 {
        // First the beginning is written down, then what is about to be borrowed.
        let died = restore.command(&[]).env("REPLEVIN_FAILPOINT", "after_journal_write").run();
        assert!(died.code().is_none(), "{}", died.stderr);
    }
    ask(&borrowed, "PUT", "/mode", &json!({ "mode": "IMPORT" }));
    client::create_topic(&cluster().bootstrap(), "borrowed-text", 2, 1, &[]);
    Producer::new(&cluster().bootstrap(), &[]).send("borrowed-text", &[NewRecord::new("k", "v")]);
    let refused = restore.command(&[]).run();
    assert_ne!(refused.code(), Some(0), "{}", refused.stdout);
    assert_eq!(ask(&borrowed, "GET", "/mode", &Value::Null)["mode"], "READWRITE", "{}", refused.stderr);
}

/// Whether what a dead run has left is a registry in the midst of it: something borrowed, or some of the versions that come.
fn is_midway(registry: &Registry, (first, last): (usize, usize)) -> bool {
    let versions = ask(registry, "GET", "/schemas?deleted=true", &Value::Null);
    let versions = versions.as_array().expect("a list").len();
    let mode = ask(registry, "GET", "/mode", &Value::Null)["mode"].clone();
    (first < versions && versions < last) || mode != "READWRITE"
}

/// At any instant, again and again, into targets of all kinds. A target that is done is looked at, and another one begun, so that
/// every death is one of a restore that has something left to do.
#[test]
fn a_restore_that_is_killed_at_any_instant_comes_to_the_same_end_with_modes_and_levels_back() {
    const A_LIFE: usize = 3;
    // Of each kind of target; `REPLEVIN_CRASH_ROUNDS` tries more.
    let rounds = std::env::var("REPLEVIN_CRASH_ROUNDS").ok().map(|rounds| rounds.parse().expect("a number"));
    let wanted: usize = rounds.unwrap_or(3);
    let told = std::env::var("REPLEVIN_CRASH_SEED").ok().map(|seed| seed.parse().expect("a seed"));
    let seed: u64 = told.unwrap_or_else(rand::random);
    println!("REPLEVIN_CRASH_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let away = away("slain", "12");
    let (mut deaths, mut midway, mut instants) = (0, 0, Vec::new());
    // How long a restore takes here and now, once one has come to its end undisturbed.
    let mut length = None;
    for kind in ["empty", "taken", "some"] {
        let (mut own, mut life) = (0, 0);
        // Where too few have fallen among the schemas so far, the last kind goes on until enough have.
        while own < wanted || (kind == "some" && midway < wanted / 2) {
            let told = format!("{kind}: {own} of {wanted} deaths, {midway} among the schemas: {instants:?}");
            assert!(life <= 2 * wanted || own >= wanted, "{told}");
            assert!(life <= 4 * wanted, "{told}");
            let (registry, name) = (Registry::start(), format!("{kind}-{life}"));
            match kind {
                "taken" => take_ids(&registry, 30),
                "some" => hold_some(&registry, "slain"),
                _ => {}
            }
            let first = ask(&registry, "GET", "/schemas?deleted=true", &Value::Null);
            let first = first.as_array().expect("a list").len();
            ask(&registry, "PUT", "/config/slain-avro-value", &json!({ "compatibility": "FULL" }));
            if kind != "empty" {
                ask(&registry, "PUT", "/config", &json!({ "compatibility": "FULL_TRANSITIVE" }));
            }
            let how = if kind == "empty" { "force_ids: true" } else { "force_register: true" };
            let restore = away.slow(&registry, ("slain", &name), &[how]);
            let most = first + away.versions;
            for attempt in 0..A_LIFE {
                let Some(whole) = length else { break };
                let instant = Duration::mul_f64(whole, rng.random_range(0.1..1.0));
                let finished = restore.command(&[]).run_and_kill(instant);
                if !finished.was_killed() {
                    let elapsed = finished.expect_code(0).elapsed;
                    // A whole one takes less time than it did: the machine has less to do now.
                    if attempt == 0 {
                        length = Some(elapsed);
                    }
                    break;
                }
                // Before it says its first word it has hardly begun.
                if !finished.stderr.is_empty() {
                    own += 1;
                    instants.push(instant.as_millis());
                }
                midway += usize::from(is_midway(&registry, (first, most)));
            }
            let whole = restore.command(&["--proof"]).run().expect_code(0);
            println!("{name}: after {own} deaths of its kind it came to its end in {:?}", whole.elapsed);
            length = length.or(Some(whole.elapsed));
            life += 1;
            assert!(
                whole.stdout.contains(r#""verdict": "proven""#),
                "{name} after {instants:?}: {}",
                whole.stdout
            );
            let after = travel(cluster(), "read", &registry.url(), &name, &[]);
            assert_eq!(after, away.before, "{name} after {instants:?}");
            for place in places(&registry) {
                if let Some(mode) = place[1]["mode"].as_str() {
                    assert_eq!(mode, "READWRITE", "{place} after {instants:?}");
                }
            }
            let level = |path: &str| ask(&registry, "GET", path, &Value::Null)["compatibilityLevel"].clone();
            // Where nothing was, the backup's own comes.
            let of_all = if kind == "empty" { "BACKWARD" } else { "FULL_TRANSITIVE" };
            assert_eq!(level("/config"), of_all, "{name} after {instants:?}");
            assert_eq!(level("/config/slain-avro-value"), "FULL", "{name} after {instants:?}");
        }
        deaths += own;
    }
    println!("{deaths} deaths, {midway} of them left the registry in the midst: {instants:?}");
    assert!(deaths >= 3 * wanted);
    assert!(midway >= wanted / 2, "only {midway} of {deaths} deaths fell among the schemas: {instants:?}");
}

#[test]
fn a_registry_that_a_dead_run_left_open_gets_its_modes_and_levels_back() {
    let away = away("open", "6");
    for (name, line, left) in [
        ("shut-forced", "force_ids: true", ["IMPORT", "FULL"]),
        ("shut-levels", "force_register: true", ["READWRITE", "NONE"]),
    ] {
        let registry = Registry::start();
        if name == "shut-levels" {
            take_ids(&registry, 30);
        }
        ask(&registry, "PUT", "/config", &json!({ "compatibility": "FULL_TRANSITIVE" }));
        ask(&registry, "PUT", "/config/open-avro-value", &json!({ "compatibility": "FULL" }));
        let now = || {
            let mode = ask(&registry, "GET", "/mode", &Value::Null)["mode"].clone();
            let level = ask(&registry, "GET", "/config/open-avro-value", &Value::Null);
            [mode, level["compatibilityLevel"].clone()]
        };
        let restore = away.restore(&registry, ("open", name), &[line]);
        let died = restore.command(&[]).env("REPLEVIN_FAILPOINT", "before_schema_write:2").run();
        assert!(died.code().is_none(), "{name}: was the binary built with failpoints?\n{}", died.stderr);
        assert_eq!(now(), left, "{name}: what the run was about to put back");
        let report = restore.run(0);
        assert_eq!(report["verdict"], "proven", "{name}: {report:#}");
        assert_eq!(now(), ["READWRITE", "FULL"], "{name}");
        // An empty registry gets the level that the source had, one in use keeps its own.
        let level = if name == "shut-forced" { "BACKWARD" } else { "FULL_TRANSITIVE" };
        assert_eq!(ask(&registry, "GET", "/config", &Value::Null)["compatibilityLevel"], level, "{name}");
        for place in places(&registry) {
            assert!(place[1]["mode"].as_str().is_none_or(|mode| mode == "READWRITE"), "{name}: {place}");
        }
        assert_eq!(travel(cluster(), "read", &registry.url(), name, &[]), away.before, "{name}");
    }
}

#[test]
fn a_schema_that_is_nowhere_stops_its_partition_or_stays_as_it_is_and_is_counted() {
    let (registry, scratch) = (Registry::start(), Scratch::new("nowhere"));
    let bootstrap = cluster().bootstrap();
    let framed =
        |id: u64, rest: &[u8]| [&[0][..], &u32::try_from(id).expect("small").to_be_bytes(), rest].concat();
    let register = |subject: &str, size: u32| {
        let schema = json!({ "type": "fixed", "name": "F", "size": size });
        let path = format!("/subjects/{subject}/versions");
        ask(&registry, "POST", &path, &json!({ "schema": schema.to_string() }))["id"].as_u64().expect("an id")
    };
    let (good, other) = (register("nowhere-value", 1), register("elsewhere", 2));
    for topic in ["nowhere", "well"] {
        client::create_topic(&bootstrap, topic, 1, 1, &[]);
    }
    let producer = Producer::new(&bootstrap, &[]);
    let values =
        [framed(good, b"a"), framed(other, b"ab"), framed(4242, b"a"), framed(good, b"b"), b"text".to_vec()];
    let records: Vec<_> = values.iter().map(|value| NewRecord::new("k", value.clone())).collect();
    producer.send("nowhere", &records);
    producer.send("well", &[NewRecord::new("k", "v")]);
    let job = Job::new("nowhere", &bootstrap, &folder(scratch.path())).topics(&["nowhere", "well"]);
    let job = job.top(&section(&registry.url(), &[]));
    job.back_up(0);
    drop(registry);

    let target = Registry::start();
    take_ids(&target, 9);
    let restore = |name: &str, lines: &[&str]| {
        let mapping = format!("topic_mapping: {{nowhere: {name}, well: {name}-well}}");
        job.restore(&bootstrap).set(&mapping).top(&section(&target.url(), lines))
    };
    let report = restore("fails", &[]).run(3);
    let failure = |report: &Value, topic: &str| {
        let topics = report["topics"].as_array().expect("topics").iter();
        let own = topics.clone().find(|own| own["target"] == topic).expect("the topic");
        own["partitions"][0]["failure"].clone()
    };
    let message = failure(&report, "fails")["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("offset 2") && message.contains("4242"), "{message}");
    assert_eq!(failure(&report, "fails-well"), Value::Null, "the others are restored");
    // As the message says: the same restore again, and now it is kept.
    let report = restore("fails", &["unknown_ids: keep"]).run(0);
    let ids = report["schemas"]["ids"].clone();
    let new = |id: u64| ids[id.to_string()].as_u64().expect("an id");
    let read = client::read_all(&bootstrap, "fails", Isolation::ReadCommitted);
    let read: Vec<_> = read.into_iter().map(|record| record.value.expect("a value")).collect();
    let expected = [
        framed(new(good), b"a"),
        framed(new(other), b"ab"),
        framed(4242, b"a"),
        framed(new(good), b"b"),
        b"text".to_vec(),
    ];
    assert_eq!(read, expected);

    // The map of a report is a mapping for another restore, without any registry.
    let file = scratch.path().join("report.json");
    std::fs::write(&file, report.to_string()).expect("written");
    let lines = [
        "  restore:",
        "    enabled: false",
        &format!("    id_mapping_file: {}", file.display()),
        "    unknown_ids: keep",
    ];
    let mapping = "topic_mapping: {nowhere: given, well: given-well}";
    let given = job.restore(&bootstrap).set(mapping).top(&format!("schema_registry:\n{}", lines.join("\n")));
    let report = given.run(0);
    assert_eq!(report["schemas"]["ids"], ids, "{report:#}");
    let read = client::read_all(&bootstrap, "given", Isolation::ReadCommitted);
    assert_eq!(read.into_iter().map(|record| record.value.expect("a value")).collect::<Vec<_>>(), expected);
}
