//! Schemas that come back before the data: whatever the target registry holds, the same client reads equal objects afterwards, and
//! what never named a schema is the same bytes.

use sandbox::client;
use sandbox::job::{Job, Restore, folder};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::process;
use sandbox::registry::Registry;
use sandbox::scratch::{Scratch, installed};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::OnceLock;

/// The topics that `travel.py` fills.
const KINDS: [&str; 11] = [
    "avro",
    "json",
    "protobuf",
    "inner",
    "references",
    "header",
    "record",
    "topicrecord",
    "copy",
    "text",
    "raw",
];

fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]))
}

/// Runs `travel.py`, and answers what it printed.
fn travel(what: &str, url: &str, prefix: &str, more: &[&str]) -> String {
    let mut command = process::command("python3");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/travel.py");
    command
        .env("PYTHONPATH", installed("client-python").join("packages"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(program).arg(what).arg(cluster().bootstrap()).arg(url).arg(prefix).args(more);
    process::run(command)
}

fn ask(registry: &Registry, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = registry.ask(method, path, &body).expect("an answer");
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    serde_json::from_str(&answer.text()).expect("JSON")
}

/// The section of a registry, with lines of its `restore`.
fn section(url: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("\n    {line}")).collect();
    format!(
        "schema_registry:\n  url: {url}\n  connection: {{rate_limit_rps: 0, max_retries: 1, retry_backoff_ms: 100}}\n  \
         restore:\n    enabled: true{lines}"
    )
}

/// Numbers of the registry that nothing of the archive can have.
fn take_ids(registry: &Registry, count: usize) {
    for n in 0..count {
        let schema = json!({ "type": "record", "name": format!("Other{n}"), "fields": [] });
        let body = json!({ "schema": schema.to_string() });
        ask(registry, "POST", &format!("/subjects/others-{n}/versions"), &body);
    }
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
    travel("write", &registry.url(), prefix, &[count]);
    let before = travel("read", &registry.url(), prefix, &[]);
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
    let none = |_: &Registry| {};
    let taken = |registry: &Registry| take_ids(registry, 30);
    let some = |registry: &Registry| {
        take_ids(registry, 5);
        let user = r#"{"type":"record","name":"User","namespace":"shop","fields":[{"name":"name","type":"string"},{"name":"visits","type":"long","default":0}]}"#;
        for subject in ["home-avro-value", "shop-user", "home-header-value"] {
            ask(registry, "POST", &format!("/subjects/{subject}/versions"), &json!({ "schema": user }));
        }
    };
    let cases: [(&str, &dyn Fn(&Registry)); 3] = [("empty", &none), ("taken", &taken), ("some", &some)];
    for (name, prepare) in cases {
        let registry = Registry::start();
        prepare(&registry);
        let restore = away.restore(&registry, ("home", name), &[]);
        let planned = restore.text_command(&["--plan"]).run().expect_code(0).stdout;
        for words in
            ["schemas, before everything else", "values have 2 schemas of their own subject", "as all"]
        {
            assert!(planned.contains(words), "{name}: {words} is not in\n{planned}");
        }
        let report = restore.run(0);
        assert_eq!(report["verdict"], "proven", "{name}: {report:#}");
        let after = travel("read", &registry.url(), name, &[]);
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
        assert!(changed("json") > 0, "{name}: {report:#}");
        // Here no id can be what it was.
        let all = KINDS.iter().filter(|kind| !["text", "raw"].contains(kind));
        let unchanged: Vec<_> = all.filter(|kind| changed(kind) == 0).collect();
        assert!(name != "taken" || unchanged == [&"header"], "{name}: {unchanged:?}");
        // Run again, it is done.
        let again = restore.run(0);
        assert_eq!(again["verdict"], "proven", "{name}: {again:#}");
    }
}
