//! A whole registry on a log: what clients are answered is the same after the log was compacted and opened again.

use super::*;
use crate::api::{About, Api, Request};
use crate::service::{Registry, Settings};
use serde_json::{Value, json};

async fn api(log: &MemoryLog) -> Api {
    let store = Arc::new(store(log).await);
    let registry =
        Registry::open(store, Settings::default(), || 1_700_000_000_000).await.expect("a registry");
    Api::new(Arc::new(registry), About::default())
}

async fn asked(api: &Api, what: &str, body: Value) -> (u16, Value) {
    let (method, target) = what.split_once(' ').expect("method and path");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Request {
        method,
        path,
        query,
        body: if body.is_null() { Bytes::new() } else { body.to_string().into() },
        ..Request::default()
    };
    let answer = api.answer(&request).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

const LOOKS: &[&str] = &[
    "GET /subjects?deleted=true",
    "GET /subjects",
    "GET /schemas?deleted=true",
    "GET /contexts",
    "GET /config",
    "GET /config/a",
    "GET /config/:.eu:",
    "GET /mode",
    "GET /mode/:.eu:b",
    "GET /schemas/ids/1",
    "GET /schemas/ids/2?subject=:.eu:",
    "GET /schemas/ids/3",
    "GET /schemas/ids/4",
    "GET /subjects/a/versions/1/referencedby",
    "GET /subjects/gone/versions?deleted=true",
];

#[tokio::test]
async fn answers_stay_the_same() {
    let log = MemoryLog::new();
    let before = api(&log).await;
    let done = async |what: &str, body: Value| {
        let (status, answer) = asked(&before, what, body).await;
        assert_eq!(status, 200, "{what}: {answer}");
        answer
    };
    let record = r#"{ "type": "record", "name": "R", "fields": [] }"#;
    done("POST /subjects/a/versions", json!({ "schema": record })).await;
    let refers = json!({ "schema": r#"{"type":"record","name":"S","fields":[{"name":"r","type":"R"}]}"#,
        "references": [{ "name": "R", "subject": "a", "version": -1 }],
        "metadata": { "properties": { "owner": "é" } } });
    done("POST /subjects/b/versions", refers).await;
    done("POST /subjects/gone/versions", json!({ "schema": "true", "schemaType": "JSON" })).await;
    done("POST /subjects/gone/versions", json!({ "schema": "{}", "schemaType": "JSON" })).await;
    done("POST /subjects/:.eu:b/versions", json!({ "schema": "\"int\"" })).await;
    done("POST /subjects/:.eu:b/versions", json!({ "schema": "\"long\"" })).await;
    done("PUT /config", json!({ "compatibility": "FULL" })).await;
    done("PUT /config/a", json!({ "compatibility": "NONE", "normalize": true })).await;
    done("PUT /config/:.eu:", json!({ "compatibility": "BACKWARD" })).await;
    done("PUT /mode/:.eu:b", json!({ "mode": "READONLY" })).await;
    done("DELETE /subjects/gone/versions/1", Value::Null).await;
    done("DELETE /subjects/gone", Value::Null).await;
    done("DELETE /subjects/gone/versions/2?permanent=true", Value::Null).await;
    let looks = async |api: &Api| {
        let mut seen = Vec::new();
        for look in LOOKS {
            seen.push((*look, asked(api, look, Value::Null).await));
        }
        seen
    };
    let expected = looks(&before).await;
    assert_eq!(expected.last().map(|(_, answer)| answer.1.clone()), Some(json!([1])));
    assert_eq!(looks(&api(&log).await).await, expected);
    log.compact();
    let after = api(&log).await;
    assert_eq!(looks(&after).await, expected);
    // The highest id was removed with its only version, and is not given again.
    let (_, answer) = asked(&after, "POST /subjects/new/versions", json!({ "schema": "\"bytes\"" })).await;
    assert_eq!(answer["id"], 5, "{answer}");
    // What was submitted lies beside what clients see.
    let (_, texts) = after
        .registry()
        .live()
        .store()
        .texts(&Context::default_context(), &[SchemaKey::of(1)])
        .await
        .expect("texts")
        .remove(0);
    assert_eq!(texts.submitted.as_deref(), Some(record));
}

/// Passes requests on to another API of the same process.
struct To(Arc<Api>);

#[async_trait::async_trait]
impl crate::api::Forward for To {
    async fn forward(&self, url: &str, request: &Request<'_>) -> crate::error::Result<(u16, Bytes)> {
        assert_eq!(url, "http://instance-1:8081");
        let answer = self.0.answer(&Request { is_forwarded: true, ..request.clone() }).await;
        Ok((answer.status, answer.body))
    }
}

#[tokio::test]
async fn what_only_the_writer_can_do_is_passed_on_to_it() {
    let log = MemoryLog::new();
    let writer = Arc::new(api(&log).await);
    let plain = api(&log.other(2)).await;
    let (status, answer) = asked(&plain, "POST /subjects/a/versions", json!({ "schema": "\"int\"" })).await;
    assert_eq!((status, &answer["error_code"]), (500, &json!(50004)), "{answer}");
    let other = api(&log.other(2)).await.forwarding(Arc::new(To(Arc::clone(&writer))));
    let (status, answer) = asked(&other, "POST /subjects/a/versions", json!({ "schema": "\"int\"" })).await;
    assert_eq!((status, &answer["id"]), (200, &json!(1)), "{answer}");
    let (_, answer) = asked(&other, "GET /subjects/a/versions/1", Value::Null).await;
    assert_eq!(answer["schema"], "\"int\"", "it reads at once what was passed on: {answer}");
    let (status, _) = asked(&other, "PUT /config", json!({ "compatibility": "NONE" })).await;
    assert_eq!(status, 200);
    // Two that take each other for the writer: the second refuses.
    log.elect(Some(3));
    let (method, path) = ("DELETE", "/subjects/a");
    let request = Request { method, path, is_forwarded: true, ..Request::default() };
    let answer = other.answer(&request).await;
    assert_eq!(answer.status, 500);
}
