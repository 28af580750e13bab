//! Objects that travel with their schemas: `travel.py`, and registries that hold some of them already.

use crate::kafka::KafkaCluster;
use crate::process;
use crate::registry::Registry;
use crate::scratch::installed;
use serde_json::{Value, json};
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
    let mut command = process::command("python3");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/travel.py");
    command
        .env("PYTHONPATH", installed("client-python").join("packages"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(program).arg(what).arg(cluster.bootstrap()).arg(url).arg(prefix).args(more);
    process::run(command)
}

/// What a registry answers, which must be good.
///
/// # Panics
/// When it is not.
pub fn ask(registry: &Registry, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = registry.ask(method, path, &body).expect("an answer");
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    serde_json::from_str(&answer.text()).expect("JSON")
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
