//! The API on a store in memory.

mod hostile;

use super::*;
use crate::service::Settings;
use crate::store::memory::MemoryStore;
use serde_json::Value;
use std::collections::BTreeSet;
use uuid::Uuid;

async fn api(settings: Settings, docs_enabled: bool) -> Api {
    let store = Arc::new(MemoryStore::new(Uuid::nil()));
    let registry = Registry::open(store, settings, || 1_700_000_000_000).await.expect("a registry");
    Api::new(Arc::new(registry), About { version: "1.2.3".into(), docs_enabled, ..About::default() })
}

async fn ask(api: &Api, method: &str, target: &str, body: &str) -> (Answer, Value) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request =
        Request { method, path, query, body: Bytes::copy_from_slice(body.as_bytes()), ..Request::default() };
    let answer = api.answer(&request).await;
    let document = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    (answer, document)
}

/// A path of the table with something in each of its places.
fn example(path: &str) -> String {
    path.replace("{id}", "1")
        .replace("{guid}", "095d71cf-1255-6b9d-5e33-0ad575b3df5d")
        .replace("{version}", "1")
        .replace(['{', '}'], "")
}

#[tokio::test]
async fn every_path_of_the_table_is_found_alone_and_in_a_context() {
    let api = api(Settings::default(), true).await;
    for endpoint in Endpoint::ALL {
        let path = example(endpoint.path());
        let (answer, _) = ask(&api, endpoint.method(), &path, "{}").await;
        assert_eq!(answer.endpoint, Some(*endpoint), "{} {path}", endpoint.method());
        if endpoint.is_contextual() {
            let (answer, _) = ask(&api, endpoint.method(), &format!("/contexts/.c{path}"), "{}").await;
            assert_eq!(answer.endpoint, Some(*endpoint), "{} {path}", endpoint.method());
        }
    }
    let labels: BTreeSet<&str> = Endpoint::ALL.iter().map(|endpoint| endpoint.label()).collect();
    assert_eq!(labels.len(), Endpoint::ALL.len(), "labels are unique");
}

#[tokio::test]
async fn the_document_has_every_path_and_every_shape_that_it_names() {
    let api = api(Settings::default(), true).await;
    let (answer, document) = ask(&api, "GET", "/openapi.json", "").await;
    assert_eq!(answer.status, 200);
    for endpoint in Endpoint::ALL {
        let operation = &document["paths"][endpoint.path()][endpoint.method().to_lowercase()];
        assert_eq!(operation["operationId"], endpoint.label());
        let query = operation["parameters"].as_array().expect("parameters").iter();
        let query: BTreeSet<&str> =
            query.filter(|one| one["in"] == "query").filter_map(|one| one["name"].as_str()).collect();
        assert_eq!(query, endpoint.route().query.iter().copied().collect(), "{}", endpoint.path());
    }
    let shapes = document["components"]["schemas"].as_object().expect("shapes");
    let mut named = BTreeSet::new();
    let mut waiting = vec![&document];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(members) => {
                named.extend(members.get("$ref").and_then(Value::as_str));
                waiting.extend(members.values());
            }
            Value::Array(elements) => waiting.extend(elements),
            _ => {}
        }
    }
    let known: BTreeSet<String> = shapes.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    let named: BTreeSet<String> = named.into_iter().map(str::to_owned).collect();
    assert_eq!(named, known, "named and known shapes");
    for (name, shape) in shapes {
        let whole = serde_json::json!({ "allOf": [shape], "components": document["components"] });
        assert!(jsonschema::validator_for(&whole).is_ok(), "{name}");
    }
}

#[tokio::test]
async fn the_document_is_the_same_in_yaml_and_the_page_needs_nothing_else() {
    let with = api(Settings::default(), true).await;
    let (_, document) = ask(&with, "GET", "/openapi.json", "").await;
    let (answer, _) = ask(&with, "GET", "/openapi.yaml", "").await;
    assert_eq!(answer.content_type, "application/yaml");
    let text = std::str::from_utf8(&answer.body).expect("text");
    let read: Value = serde_saphyr::from_str(text).expect("YAML");
    assert_eq!(read, document);
    let (answer, _) = ask(&with, "GET", "/docs", "").await;
    assert_eq!((answer.status, answer.content_type), (200, "text/html; charset=utf-8"));
    let page = std::str::from_utf8(&answer.body).expect("text");
    assert!(
        !page.contains("http:") && !page.contains("https:") && !page.contains("src="),
        "it loads nothing"
    );
    let without = api(Settings::default(), false).await;
    for path in ["/docs", "/openapi.json", "/openapi.yaml"] {
        assert_eq!(ask(&without, "GET", path, "").await.0.status, 404, "{path}");
    }
}

#[tokio::test]
async fn head_is_get_and_options_names_the_methods() {
    let api = api(Settings::default(), false).await;
    for path in ["/", "/health/live", "/subjects"] {
        let (head, get) = (ask(&api, "HEAD", path, "").await.0, ask(&api, "GET", path, "").await.0);
        assert_eq!(head, get, "{path}");
    }
    let (answer, _) = ask(&api, "OPTIONS", "/subjects/a/versions", "").await;
    assert_eq!((answer.status, answer.allow.as_deref()), (204, Some("GET, HEAD, OPTIONS, POST")));
    let (answer, document) = ask(&api, "PATCH", "/contexts/.c/config/a", "").await;
    assert_eq!((answer.status, answer.allow.as_deref()), (405, Some("DELETE, GET, HEAD, OPTIONS, PUT")));
    assert_eq!(document["error_code"], 405);
    assert_eq!(ask(&api, "OPTIONS", "/nowhere", "").await.0.status, 404);
}

#[test]
fn the_type_of_the_answer_is_the_one_with_the_highest_weight() {
    assert_eq!(accepted(None), JSON);
    assert_eq!(accepted(Some("text/html")), JSON);
    assert_eq!(accepted(Some("application/json;q=0.5, application/vnd.schemaregistry+json")), TYPES[1]);
    assert_eq!(accepted(Some("application/json, application/vnd.schemaregistry.v1+json")), TYPES[2]);
    assert_eq!(accepted(Some("application/json;q=0, application/vnd.schemaregistry+json; q=0.1")), TYPES[1]);
}

#[tokio::test]
async fn settings_may_forbid_modes_and_empty_subjects() {
    let settings = Settings { mode_mutability: false, reject_empty_subject: true, ..Settings::default() };
    let api = api(settings, false).await;
    for (method, path) in [("PUT", "/mode"), ("PUT", "/mode/a"), ("DELETE", "/mode/a")] {
        let (answer, document) = ask(&api, method, path, r#"{"mode":"READONLY"}"#).await;
        assert_eq!((answer.status, &document["error_code"]), (422, &42205.into()), "{method} {path}");
    }
    let body = r#"{"schema":"\"int\""}"#;
    let (_, document) = ask(&api, "POST", "/subjects/:.c:/versions", body).await;
    assert_eq!(document["error_code"], 42208);
    let (answer, _) = ask(&api, "PUT", "/config/:.c:", r#"{"compatibility":"FULL"}"#).await;
    assert_eq!(answer.status, 200, "the settings of a context are no schema");
}

#[tokio::test]
async fn an_incompatible_schema_has_the_number_that_the_settings_say() {
    let api = api(Settings { incompatible_code: 40901, ..Settings::default() }, false).await;
    ask(&api, "POST", "/subjects/a/versions", r#"{"schema":"\"int\""}"#).await;
    let (answer, document) = ask(&api, "POST", "/subjects/a/versions", r#"{"schema":"\"string\""}"#).await;
    assert_eq!((answer.status, &document["error_code"]), (409, &40901.into()));
}

#[tokio::test]
async fn walks_and_patterns_are_bounded() {
    let api = api(Settings::default(), false).await;
    for n in 0..120 {
        let path = format!("/subjects/s{n:03}/versions");
        let (answer, _) = ask(&api, "POST", &path, r#"{"schema":"\"int\""}"#).await;
        assert_eq!(answer.status, 200);
    }
    let (_, first) = ask(&api, "POST", "/schemas/search", r#"{"query":"int","limit":100}"#).await;
    assert_eq!((&first["count"], &first["next"]), (&100.into(), &"s099".into()));
    let (_, second) = ask(&api, "POST", "/schemas/search", r#"{"query":"int","after":"s099"}"#).await;
    assert_eq!((&second["count"], second.get("next")), (&20.into(), None));
    let long = "a".repeat(2000);
    for pattern in [&long, r"(\\w{1000}){1000}", "("] {
        let body = format!(r#"{{"query":"{pattern}","regex":true}}"#);
        let (answer, document) = ask(&api, "POST", "/schemas/search", &body).await;
        assert_eq!((answer.status, &document["error_code"]), (400, &42201.into()), "{pattern}");
    }
    let (answer, _) = ask(&api, "POST", "/subjects/match", r#"{"pattern":"(a*)*b","mode":"regex"}"#).await;
    assert_eq!(answer.status, 200);
}
