//! The scenarios of `testdata/scenarios`: a file for each REST resource, and a fresh registry for each scenario. Every answer is
//! held against what the OpenAPI document says of it.
//!
//! With `REPLEVIN_REGISTRY_URL=http://host:port` the same files are aimed at that registry, each scenario in a context of its own;
//! those that need a registry without anything in it are left out.

mod http;
mod runner;

use http::Http;
use registry::api::{About, Answer, Api, Request, openapi};
use registry::identity::Identity;
use registry::service::{Registry, Settings};
use registry::store::memory::MemoryStore;
use runner::{Scenario, Target, Told};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use uuid::Uuid;

/// A registry in this process.
struct Ours(Api);

impl Ours {
    async fn new(identity: Identity) -> Self {
        let settings = Settings { identity, ..Settings::default() };
        let store = Arc::new(MemoryStore::new(Uuid::nil()));
        let registry = Registry::open(store, settings, || 1_700_000_000_000).await.expect("a registry");
        Self(Api::new(Arc::new(registry), About { version: "1.2.3".into(), ..About::default() }))
    }
}

impl Target for Ours {
    async fn ask(&self, request: Request<'_>) -> Result<Told, String> {
        let answer = self.0.answer(&request).await;
        require_documented(&answer)?;
        Ok(Told { status: answer.status, text: String::from_utf8_lossy(&answer.body).into_owned() })
    }
}

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| *openapi::document(&About::default()).expect("the OpenAPI document"));

static SHAPES: LazyLock<HashMap<String, jsonschema::Validator>> = LazyLock::new(|| {
    let shapes = DOCUMENT["components"]["schemas"].as_object().expect("shapes");
    let validator = |name: &String| {
        let reference = format!("#/components/schemas/{name}");
        let whole = json!({ "$ref": reference, "components": DOCUMENT["components"] });
        (reference, jsonschema::validator_for(&whole).expect("a schema"))
    };
    shapes.keys().map(validator).collect()
});

/// The shape that the document promises for an endpoint and a status, and that the answer has.
fn require_documented(answer: &Answer) -> Result<(), String> {
    let Some(endpoint) = answer.endpoint else { return Ok(()) };
    let responses = &DOCUMENT["paths"][endpoint.path()][endpoint.method().to_lowercase()]["responses"];
    let response = match responses.get(answer.status.to_string()) {
        Some(response) => response,
        None if answer.status < 300 => return Err(format!("status {} is not documented", answer.status)),
        None => &responses["default"],
    };
    let Some(content) = response["content"].as_object() else {
        return if answer.body.is_empty() { Ok(()) } else { Err("no body is documented".into()) };
    };
    let shape = content.values().next().map_or(&Value::Null, |content| &content["schema"]);
    let names = match shape["anyOf"].as_array() {
        Some(shapes) => shapes.iter().collect(),
        None => vec![shape],
    };
    let names: Vec<&str> = names.iter().filter_map(|shape| shape["$ref"].as_str()).collect();
    if names.contains(&"#/components/schemas/Text") {
        return Ok(());
    }
    let document: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let mut problems = Vec::new();
    for name in names {
        match SHAPES[name].validate(&document) {
            Ok(()) => return Ok(()),
            Err(problem) => problems.push(format!("{name}: {problem}")),
        }
    }
    Err(format!("the answer is not as documented: {}; {document}", problems.join("; ")))
}

/// Where a scenario runs, if it can.
async fn run(file: &str) {
    let identity = if file == "axonops_identity.yaml" { Identity::Axonops } else { Identity::Confluent };
    let url = std::env::var("REPLEVIN_REGISTRY_URL").ok();
    let mut failures = Vec::new();
    for (number, scenario) in runner::scenarios(file).iter().enumerate() {
        let outcome = match &url {
            None => runner::run(&Ours::new(identity).await, scenario).await,
            Some(url) => elsewhere(url, file, number, scenario).await,
        };
        failures.extend(outcome.err());
    }
    assert!(failures.is_empty(), "{file}:\n{}", failures.join("\n"));
}

async fn elsewhere(url: &str, file: &str, number: usize, scenario: &Scenario) -> Result<(), String> {
    if scenario.fresh.is_some() {
        return Ok(());
    }
    let address = url.strip_prefix("http://").ok_or("REPLEVIN_REGISTRY_URL must begin with http://")?;
    let context = format!(".{}{number}-{}", file.trim_end_matches(".yaml"), Uuid::new_v4().simple());
    let target = Http { address: address.trim_end_matches('/').to_owned(), context: Some(context) };
    runner::run(&target, scenario).await
}

macro_rules! files {
    ($($name:ident),*) => {
        $(#[tokio::test]
        async fn $name() {
            run(concat!(stringify!($name), ".yaml")).await;
        })*

        #[test]
        fn every_file_is_run() {
            let names = std::fs::read_dir(runner::folder()).expect("a folder");
            let mut found: Vec<String> =
                names.filter_map(|entry| entry.expect("an entry").file_name().into_string().ok()).collect();
            found.sort();
            let mut known = vec![$(concat!(stringify!($name), ".yaml")),*];
            known.sort_unstable();
            assert_eq!(found, known);
        }
    };
}

files!(
    analysis,
    axonops_identity,
    compatibility,
    config,
    contexts,
    deletes,
    errors,
    import,
    lookup,
    modes,
    reads,
    references,
    register,
    search,
    server,
    statistics
);
