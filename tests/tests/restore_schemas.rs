//! Schemas that come back before the data: whatever the target registry holds, the same client reads equal objects afterwards, and
//! what never named a schema is the same bytes.

use sandbox::client::{self, Isolation, NewRecord, Producer};
use sandbox::job::{Job, Restore, folder};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::registry::Registry;
use sandbox::scratch::Scratch;
use sandbox::travel::{KINDS, ask, hold_some, take_ids, travel};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;

fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]))
}

/// The section of a registry, with lines of its `restore`.
fn section(url: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("\n    {line}")).collect();
    format!(
        "schema_registry:\n  url: {url}\n  connection: {{rate_limit_rps: 0, max_retries: 1, retry_backoff_ms: 100}}\n  \
         restore:\n    enabled: true{lines}"
    )
}

/// A backup of everything that `travel.py` has written, whose registry is gone; and what a client read before.
struct Away {
    job: Job,
    before: String,
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
    Away { job, before, _scratch: scratch }
}

impl Away {
    /// A restore of it under other names, with these lines about schemas.
    fn restore(&self, registry: &Registry, prefix: (&str, &str), lines: &[&str]) -> Restore {
        let (from, to) = prefix;
        let mapping: Vec<String> = KINDS.iter().map(|kind| format!("{from}-{kind}: {to}-{kind}")).collect();
        self.job
            .restore(&cluster().bootstrap())
            .set(&format!("topic_mapping: {{{}}}", mapping.join(", ")))
            .top(&section(&registry.url(), lines))
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

    // At any time, again and again, into yet another registry.
    let (random, mut kills) = (Registry::start(), 0);
    take_ids(&random, 30);
    let restore =
        away.restore(&random, ("lost", "random"), &["force_register: true", "set_compatibility: FORWARD"]);
    for round in 0..8 {
        let finished = restore.command(&[]).run_and_kill(Duration::from_millis(60 + 90 * round));
        kills += usize::from(finished.was_killed());
    }
    assert!(kills > 3, "only {kills} runs were killed");
    let report = restore.run(0);
    assert_eq!(report["verdict"], "proven", "{report:#}");
    assert_eq!(travel(cluster(), "read", &random.url(), "random", &[]), away.before);
    for place in places(&random) {
        if let Some(mode) = place[1]["mode"].as_str() {
            assert_eq!(mode, "READWRITE", "{place}");
        }
    }
}

#[test]
fn a_registry_that_a_dead_run_left_open_gets_its_modes_and_levels_back() {
    let away = away("open", "6");
    for (name, line, left) in [
        ("forced", "force_ids: true", ["IMPORT", "FULL"]),
        ("levels", "force_register: true", ["READWRITE", "NONE"]),
    ] {
        let registry = Registry::start();
        if name == "levels" {
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
        let level = if name == "forced" { "BACKWARD" } else { "FULL_TRANSITIVE" };
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
