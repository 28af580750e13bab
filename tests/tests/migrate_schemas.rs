//! Schemas that are migrated with the data, live: whatever the target registry holds, and whatever dies, the same client reads equal
//! objects afterwards, and what never named a schema is the same bytes.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbox::binary::Replevin;
use sandbox::client::{self, Isolation, NewRecord, Producer};
use sandbox::job::json;
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::questions::ask;
use sandbox::registry::Registry;
use sandbox::travel::{KINDS, hold_some, take_ids, travel};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// One cluster: topics come back under other names.
fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]))
}

/// A migration of what `travel.py` writes, from one registry to another one, with lines of the target's `restore`.
fn migration(
    registries: (&Registry, &Registry),
    (from, to): (&str, &str),
    lines: &[&str],
) -> impl Fn(&[&str]) -> Replevin {
    let bootstrap = cluster().bootstrap();
    let mapping: Vec<String> = KINDS.iter().map(|kind| format!("{from}-{kind}: {to}-{kind}")).collect();
    let section = |url: String| {
        format!("  url: {url}\n  connection: {{rate_limit_rps: 0, max_retries: 1, retry_backoff_ms: 100}}\n")
    };
    let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    let file = format!(
        "mode: migrate\nmigration_id: {to}\nsource:\n  bootstrap_servers: [\"{bootstrap}\"]\n  topics: {{include: [{from}-*]}}\n\
         target:\n  bootstrap_servers: [\"{bootstrap}\"]\nsource_schema_registry:\n{}target_schema_registry:\n{}  restore:\n    \
         enabled: true\n{lines}migrate:\n  refresh_interval: 1s\n  topic_mapping: {{{}}}\n",
        section(registries.0.url()),
        section(registries.1.url()),
        mapping.join(", ")
    );
    move |args| {
        Replevin::new(&[&["migrate", "--output", "json"], args].concat()).config(file.clone()).limit(LIMIT)
    }
}

/// Topics for `travel.py`, and a registry in which no id is what an empty one would give.
fn home(prefix: &str) -> Registry {
    let registry = Registry::start();
    take_ids(&registry, 3);
    for kind in KINDS {
        client::create_topic(&cluster().bootstrap(), &format!("{prefix}-{kind}"), 2, 1, &[]);
    }
    registry
}

fn caught_up(migrate: &impl Fn(&[&str]) -> Replevin) -> Value {
    let report = json(&migrate(&["--until-caught-up"]).run().expect_code(0));
    assert_eq!(report["caught_up"], true, "{report:#}");
    for one in report["partitions"].as_array().expect("partitions") {
        assert_eq!(one["proof"]["verdict"], "equal", "{one:#}");
    }
    report
}

#[test]
fn whatever_the_target_registry_holds_the_same_objects_are_read_while_producers_register() {
    let source = home("here");
    let targets = [("empty", Registry::start()), ("taken", Registry::start()), ("some", Registry::start())];
    take_ids(&targets[1].1, 30);
    hold_some(&targets[2].1, "here");
    let migrations: Vec<_> =
        targets.iter().map(|(name, target)| migration((&source, target), ("here", name), &[])).collect();
    // They begin before the first schema is there.
    let live: Vec<_> = migrations.iter().map(|migrate| migrate(&[]).start()).collect();
    for round in 0..3 {
        travel(cluster(), "write", &source.url(), "here", &["20"]);
        let more = json!({ "type": "record", "name": format!("More{round}"), "fields": [] });
        ask(
            &source,
            "POST",
            &format!("/subjects/more-{round}/versions"),
            &json!({ "schema": more.to_string() }),
        );
    }
    for running in live {
        running.signal("TERM");
        running.wait().expect_code(0);
    }
    let before = travel(cluster(), "read", &source.url(), "here", &[]);
    assert_eq!(before.lines().count(), KINDS.len() * 60);
    for ((name, target), migrate) in targets.iter().zip(&migrations) {
        let report = caught_up(migrate);
        let after = travel(cluster(), "read", &target.url(), name, &[]);
        assert_eq!(after, before, "{name}: {report:#}");
        assert_eq!(ask(target, "GET", "/mode", &Value::Null)["mode"], "READWRITE", "{name}");
        let ids = report["schemas"]["ids"].as_object().expect("ids");
        assert!(ids.iter().any(|(from, to)| from != &to.to_string()), "{name}: no id has changed: {ids:?}");
        let topics = &report["schemas"]["topics"];
        assert_eq!(topics["here-avro"]["value"]["how"], "named", "{name}: {topics:#}");
        assert_eq!(topics["here-text"]["value"]["how"], "raw", "{name}: {topics:#}");
        assert_eq!(topics["here-raw"]["value"]["how"], "raw", "{name}: {topics:#}");
    }
    // A run that brings nothing knows all of that as well.
    let again = caught_up(&migrations[0]);
    let how = |kind: &str| again["schemas"]["topics"][format!("here-{kind}")]["value"]["how"].clone();
    assert_eq!(["avro", "copy", "text", "raw"].map(how), ["named", "inferred", "raw", "raw"], "{again:#}");
}

#[test]
fn a_migration_that_dies_anywhere_comes_to_the_same_end_with_modes_back() {
    let source = home("lost");
    let (mapped, forced) = (Registry::start(), Registry::start());
    take_ids(&mapped, 30);
    ask(&mapped, "PUT", "/config", &json!({ "compatibility": "FULL_TRANSITIVE" }));
    let migrations = [
        migration((&source, &mapped), ("lost", "mapped"), &["force_register: true"]),
        migration((&source, &forced), ("lost", "forced"), &["force_ids: true"]),
    ];
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for round in 0..5 {
        std::thread::scope(|scope| {
            scope.spawn(|| travel(cluster(), "write", &source.url(), "lost", &["5"]));
            for migrate in &migrations {
                for point in [
                    "before_migration_schemas",
                    "after_migration_schemas",
                    "after_migration_entry",
                    "after_ack",
                ] {
                    let _ = migrate(&[])
                        .env("REPLEVIN_FAILPOINT", &format!("{point}:{}", 1 + round % 2))
                        .run_and_kill(Duration::from_millis(rng.random_range(100..2500)));
                }
            }
        });
    }
    let before = travel(cluster(), "read", &source.url(), "lost", &[]);
    for ((name, target), migrate) in [("mapped", &mapped), ("forced", &forced)].into_iter().zip(&migrations) {
        caught_up(migrate);
        assert_eq!(travel(cluster(), "read", &target.url(), name, &[]), before, "{name}");
        for place in ["/mode", "/mode/lost-avro-value?defaultToGlobal=true"] {
            assert_eq!(ask(target, "GET", place, &Value::Null)["mode"], "READWRITE", "{name} {place}");
        }
    }
    assert_eq!(ask(&mapped, "GET", "/config", &Value::Null)["compatibilityLevel"], "FULL_TRANSITIVE");
}

#[test]
fn an_id_that_nobody_knows_holds_its_partition_alone() {
    let source = home("held");
    let target = Registry::start();
    take_ids(&target, 30);
    travel(cluster(), "write", &source.url(), "held", &["5"]);
    let unknown = [&[0, 0, 12, 34, 56][..], b"nobody can read this"].concat();
    Producer::new(&cluster().bootstrap(), &[])
        .send("held-avro", &[NewRecord::new("k", unknown.clone()).partition(0)]);
    let failing = migration((&source, &target), ("held", "kept"), &[]);
    let report = json(&failing(&["--until-caught-up"]).run().expect_code(3));
    let failed: Vec<_> = report["partitions"]
        .as_array()
        .expect("partitions")
        .iter()
        .filter(|one| !one["failure"].is_null())
        .map(|one| (one["source"].to_string(), one["failure"].to_string()))
        .collect();
    assert!(failed.len() == 1 && failed[0].0.contains("held-avro"), "{failed:?}");
    assert!(failed[0].1.contains("795192") && failed[0].1.contains("unknown_ids"), "{failed:?}");
    let keeping = migration((&source, &target), ("held", "kept"), &["unknown_ids: keep"]);
    caught_up(&keeping);
    let found = client::read_all(&cluster().bootstrap(), "kept-avro", Isolation::ReadCommitted);
    assert!(found.iter().any(|one| one.value.as_deref() == Some(&unknown[..])));
}
