//! Objects that travel with their schemas: `travel.py`, and registries that hold some of them already.

use crate::kafka::KafkaCluster;
use crate::process;
use crate::questions::ask;
use crate::registry::Registry;
use crate::scratch::installed;
use serde_json::json;
use std::path::Path;

/// The topics that `travel.py` fills.
pub const KINDS: [&str; 11] = [
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

/// Runs `travel.py`, and answers what it printed.
///
/// # Panics
/// When it fails.
pub fn travel(cluster: &KafkaCluster, what: &str, url: &str, prefix: &str, more: &[&str]) -> String {
    let bootstrap = cluster.bootstrap();
    python("travel.py", &[&[what, &bootstrap, url, prefix], more].concat())
}

/// Runs a case of `round_trip.py`, as whatever the case says.
///
/// # Panics
/// When it fails.
pub fn round_trip(cluster: &KafkaCluster, registry: &Registry, case: &str) {
    python("round_trip.py", &[case, &cluster.bootstrap(), &registry.url()]);
}

/// Runs a program of `clients/python` with the official clients, and answers what it printed.
fn python(program: &str, args: &[&str]) -> String {
    let mut command = process::command("python3");
    command
        .env("PYTHONPATH", installed("client-python").join("packages"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python").join(program))
        .args(args);
    process::run(command)
}

/// Numbers of the registry that nothing of the archive can have.
///
/// # Panics
/// When the registry refuses them.
pub fn take_ids(registry: &Registry, count: usize) {
    for n in 0..count {
        let schema = json!({ "type": "record", "name": format!("Other{n}"), "fields": [] });
        let body = json!({ "schema": schema.to_string() });
        ask(registry, "POST", &format!("/subjects/others-{n}/versions"), &body);
    }
}

/// Some of the schemas that `travel.py` writes with, under other ids.
///
/// # Panics
/// When the registry refuses them.
pub fn hold_some(registry: &Registry, prefix: &str) {
    take_ids(registry, 5);
    let user = r#"{"type":"record","name":"User","namespace":"shop","fields":[{"name":"name","type":"string"},{"name":"visits","type":"long","default":0}]}"#;
    for subject in [format!("{prefix}-avro-value"), "shop-user".to_owned(), format!("{prefix}-header-value")]
    {
        ask(registry, "POST", &format!("/subjects/{subject}/versions"), &json!({ "schema": user }));
    }
}
