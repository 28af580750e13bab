//! What the operations guide does with `curl`: probes, administration, and its scripts that back up and restore by the API.

use serde_json::{Value, json};

use crate::support::{ANY_PORT, RECORD, Registry, talk};

fn empty() -> Registry {
    let registry = Registry::start(&[], &[ANY_PORT, ("STORAGE_TYPE", "memory")]);
    registry.becomes("/", 200);
    // Which says that it lives: its store may be a moment away still.
    registry.becomes("/subjects", 200);
    registry
}

fn ok(registry: &Registry, method: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = registry.json(method, path, body);
    assert_eq!(status, 200, "{method} {path}: {answer}");
    answer
}

#[test]
fn probes_are_answered_with_and_without_credentials() {
    let registry = empty();
    let basic = "GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\nAuthorization: Basic YWRtaW46cGFzc3dvcmQ=\r\nConnection: close\r\n\r\n";
    for words in [basic, "GET / HTTP/1.0\r\n\r\n", "GET // HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"]
    {
        let answer = talk(&registry.address, words.as_bytes());
        assert!(answer.contains(" 200 OK\r\n") && answer.ends_with("\r\n\r\n{}"), "{answer}");
    }
}

#[test]
fn subjects_schemas_levels_and_modes_are_administered() {
    let registry = empty();
    let get = |path: &str| ok(&registry, "GET", path, &Value::Null);
    let put = |path: &str, body: Value| ok(&registry, "PUT", path, &body);
    let record: Value = serde_json::from_str(RECORD).expect("JSON");
    // Import is for an empty registry.
    assert_eq!(get("/mode"), json!({ "mode": "READWRITE" }));
    for mode in ["READONLY", "IMPORT", "READWRITE"] {
        assert_eq!(put("/mode", json!({ "mode": mode })), json!({ "mode": mode }));
    }
    assert_eq!(ok(&registry, "POST", "/subjects/users-value/versions", &record)["id"], json!(1));
    assert_eq!(ok(&registry, "POST", "/subjects/my-topic-value/versions", &record)["id"], json!(1));
    assert!(get("/schemas/ids/1")["schema"].as_str().is_some_and(|text| text.contains("\"User\"")));
    let check = "/compatibility/subjects/users-value/versions/latest";
    assert_eq!(ok(&registry, "POST", check, &record)["is_compatible"], json!(true));
    let (status, answer) = registry.json("POST", check, &json!({ "schema": "{...}" }));
    assert_eq!((status, &answer["error_code"]), (422, &json!(42201)), "{answer}");
    assert_eq!(get("/config"), json!({ "compatibilityLevel": "BACKWARD" }));
    assert_eq!(put("/config", json!({ "compatibility": "FULL" }))["compatibility"], json!("FULL"));
    assert_eq!(
        put("/config/my-topic-value", json!({ "compatibility": "NONE" }))["compatibility"],
        json!("NONE")
    );
    ok(&registry, "DELETE", "/config/my-topic-value", &Value::Null);
    assert_eq!(get("/subjects"), json!(["my-topic-value", "users-value"]));
    assert_eq!(get("/subjects/my-topic-value/versions"), json!([1]));
    assert_eq!(get("/subjects/my-topic-value/versions/latest")["version"], json!(1));
    assert_eq!(ok(&registry, "DELETE", "/subjects/my-topic-value", &Value::Null), json!([1]));
    assert_eq!(ok(&registry, "DELETE", "/subjects/my-topic-value?permanent=true", &Value::Null), json!([1]));
    assert_eq!(registry.ask("GET", "/subjects/my-topic-value/versions", "").0, 404);
    put("/mode", json!({ "mode": "READONLY" }));
    let (status, answer) = registry.json("POST", "/subjects/x/versions", &record);
    assert_eq!((status, &answer["error_code"]), (422, &json!(42205)), "{answer}");
}

#[test]
fn its_scripts_back_up_and_restore() {
    let (source, target) = (empty(), empty());
    ok(&source, "PUT", "/config", &json!({ "compatibility": "FORWARD" }));
    let record: Value = serde_json::from_str(RECORD).expect("JSON");
    for subject in ["orders-value", "users-value"] {
        ok(&source, "POST", &format!("/subjects/{subject}/versions"), &record);
    }
    let more = json!({ "schema": RECORD_AND_NAME });
    ok(&source, "POST", "/subjects/users-value/versions", &more);
    let json_schema = json!({ "schemaType": "JSON", "schema": "{\"type\":\"object\"}" });
    ok(&source, "POST", "/subjects/events-value/versions", &json_schema);
    let names = |registry: &Registry| ok(registry, "GET", "/subjects", &Value::Null);
    let versions = |subject: &str| ok(&source, "GET", &format!("/subjects/{subject}/versions"), &Value::Null);
    let mut saved = Vec::new();
    for subject in names(&source).as_array().expect("a list").iter().filter_map(Value::as_str) {
        for version in versions(subject).as_array().expect("a list") {
            let path = format!("/subjects/{subject}/versions/{version}");
            saved.push((subject.to_owned(), ok(&source, "GET", &path, &Value::Null)));
        }
        // Which most subjects have not, and the script passes over.
        assert_eq!(source.ask("GET", &format!("/config/{subject}"), "").0, 404);
    }
    assert_eq!(saved.len(), 4);
    let level = ok(&source, "GET", "/config", &Value::Null)["compatibilityLevel"].clone();
    ok(&target, "PUT", "/config", &json!({ "compatibility": level }));
    for (subject, version) in &saved {
        let schema_type = version.get("schemaType").cloned().unwrap_or(json!("AVRO"));
        let body = json!({ "schema": version["schema"], "schemaType": schema_type });
        ok(&target, "POST", &format!("/subjects/{subject}/versions"), &body);
    }
    assert_eq!(names(&target), names(&source));
    for (subject, version) in &saved {
        let path = format!("/subjects/{subject}/versions/{}/schema", version["version"]);
        assert_eq!(target.ask("GET", &path, ""), source.ask("GET", &path, ""), "{path}");
    }
}

const RECORD_AND_NAME: &str = r#"{"type": "record", "name": "User", "fields": [{"name": "id", "type": "int"}, {"name": "name", "type": "string"}]}"#;
