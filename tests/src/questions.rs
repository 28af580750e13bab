//! A registry of all that there can be, and every question that can be asked about it: what two registries, or one before and after,
//! must answer alike.

use crate::registry::Registry;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A question: method, path, body.
pub type Question = (String, String, Value);

/// Status and text of an answer.
///
/// # Panics
/// When nothing is answered.
pub fn answer(registry: &Registry, method: &str, path: &str, body: &Value) -> (u16, String) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = registry.ask(method, path, &body).expect("an answer");
    (answer.status, answer.text())
}

/// The JSON of an answer with status 200.
///
/// # Panics
/// When it is another.
pub fn ask(registry: &Registry, method: &str, path: &str, body: &Value) -> Value {
    let (status, text) = answer(registry, method, path, body);
    assert_eq!(status, 200, "{method} {path}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// The same for GET.
///
/// # Panics
/// When the status is not 200.
pub fn get(registry: &Registry, path: &str) -> Value {
    ask(registry, "GET", path, &Value::Null)
}

/// Registers a schema; answers its id.
///
/// # Panics
/// When it is refused.
pub fn register(registry: &Registry, subject: &str, body: &Value) -> u64 {
    let path = format!("/subjects/{}/versions", encoded(subject));
    ask(registry, "POST", &path, body)["id"].as_u64().expect("an id")
}

/// A subject in a path.
pub fn encoded(subject: &str) -> String {
    subject.replace(':', "%3A").replace('/', "%2F").replace(' ', "%20")
}

/// A schema of its own for each name.
pub fn fixed(name: &str) -> Value {
    json!({ "schema": json!({ "type": "fixed", "name": name, "size": 4 }).to_string() })
}

/// A registry of all that there can be, beside what clients have put into it.
pub fn furnish(registry: &Registry) {
    let put = |path: &str, body: Value| ask(registry, "PUT", path, &body);
    put("/config", json!({ "compatibility": "NONE", "normalize": false }));
    // Texts that are printed anew, labels, rules.
    let contract = json!({
        "schema": "{\"type\": \"record\", \"name\": \"C\", \"doc\": \"é\", \"fields\": [{\"name\": \"n\", \"type\": \"double\", \"default\": 1e2}]}",
        "metadata": { "tags": { "C.n": ["PII"] }, "properties": { "owner": "shop", "major": "1" }, "sensitive": ["owner"] },
        "ruleSet": { "domainRules": [{ "name": "r", "kind": "CONDITION", "type": "CEL", "mode": "WRITE", "expr": "1 < 2", "onFailure": "ERROR" }] },
    });
    register(registry, "contract-value", &contract);
    register(registry, "contract-value", &fixed("Other"));
    let parent = json!({ "schemaType": "JSON", "schema": "{\"$id\": \"part.json\", \"type\": \"object\", \"properties\": {\"n\": {\"type\": \"number\", \"maximum\": 1.0e3}}}" });
    register(registry, "json-part", &parent);
    let whole = json!({
        "schemaType": "JSON", "schema": "{\"type\": \"object\", \"properties\": {\"part\": {\"$ref\": \"part.json\"}}}",
        "references": [{ "name": "part.json", "subject": "json-part", "version": 1 }],
    });
    register(registry, "json-value", &whole);
    let part = json!({ "schemaType": "PROTOBUF", "schema": "syntax = \"proto3\"; package a; message P { int32 n = 1; }" });
    register(registry, "proto-part", &part);
    let message = json!({
        "schemaType": "PROTOBUF",
        "schema": "syntax = \"proto3\";\npackage a;\nimport \"part.proto\";\n// Said.\nmessage M { P p = 1; map<string, int64> m = 2; }",
        "references": [{ "name": "part.proto", "subject": "proto-part", "version": -1 }],
    });
    register(registry, "proto-value", &message);
    // Contexts with ids of their own, one referring to the other; odd names.
    register(registry, ":.eu:orders", &fixed("Eu"));
    register(registry, ":.eu:odd/na me", &json!({ "schema": "\"string\"" }));
    let across = json!({
        "schema": "{\"type\":\"record\",\"name\":\"Across\",\"fields\":[{\"name\":\"e\",\"type\":\"Eu\"}]}",
        "references": [{ "name": "Eu", "subject": ":.eu:orders", "version": 1 }],
    });
    register(registry, ":.us:across", &across);
    register(registry, "twice", &fixed("Twice"));
    register(registry, ":.eu:twice", &fixed("Twice"));
    // Softly deleted: a version, a subject, one that is referred to.
    for name in ["First", "Second", "Third"] {
        register(registry, "partly", &fixed(name));
    }
    register(registry, "deleted", &fixed("Deleted"));
    for path in ["/subjects/partly/versions/1", "/subjects/deleted"] {
        ask(registry, "DELETE", path, &Value::Null);
    }
    // Settings and modes, and a name that stands for another one.
    put("/config/contract-value", json!({ "compatibility": "FULL", "compatibilityGroup": "major" }));
    put("/config/:.eu:", json!({ "compatibility": "FORWARD" }));
    put("/config/:.__GLOBAL:", json!({ "compatibility": "BACKWARD_TRANSITIVE" }));
    register(registry, "known-as", &fixed("Hidden"));
    put("/config/known-as", json!({ "alias": "contract-value" }));
    put("/mode/partly", json!({ "mode": "READONLY" }));
    put("/mode/json-value?force=true", json!({ "mode": "IMPORT" }));
    put("/mode/:.us:", json!({ "mode": "READONLY" }));
}

/// Every question that can be asked of what is there, and some about what is not: method, path, body.
pub fn questions(registry: &Registry) -> Vec<Question> {
    let all = get(registry, "/schemas?deleted=true&subjectPrefix=:*:");
    let all = all.as_array().expect("a list").clone();
    let mut paths: Vec<String> = [
        "/",
        "/subjects",
        "/subjects?deleted=true",
        "/subjects?deletedOnly=true",
        "/subjects?subjectPrefix=:*:&deleted=true",
        "/subjects?subjectPrefix=:.eu:",
        "/subjects?offset=1&limit=2",
        "/subjects/count",
        "/contexts",
        "/contexts/.eu/subjects",
        "/schemas?subjectPrefix=:*:",
        "/schemas?deleted=true&subjectPrefix=:*:",
        "/schemas?latestOnly=true",
        "/schemas?aliases=true",
        "/schemas?ruleType=CEL",
        "/schemas?subjectPrefix=:.us:",
        "/schemas/types",
        "/config",
        "/config?defaultToGlobal=true",
        "/config/:.eu:",
        "/config/:.us:",
        "/config/:.__GLOBAL:",
        "/config/nobody",
        "/config/nobody?defaultToGlobal=true",
        "/config/known-as",
        "/contexts/.eu/config",
        "/contexts/.us/mode",
        "/mode/:.us:",
        "/mode/:.eu:",
        "/mode/nobody",
        "/mode/json-value",
        "/schemas/ids/99999",
        "/schemas/ids/x",
        "/schemas/guids/095d71cf-1255-6b9d-5e33-0ad575b3df5d",
        "/subjects/nobody/versions",
        "/subjects/known-as/versions",
        "/subjects/known-as/versions/latest",
        "/subjects/contract-value/versions/99",
        "/subjects/contract-value/metadata?key=owner&value=shop",
        "/subjects/contract-value/metadata?key=owner&value=nobody",
        "/v1/metadata/id",
        "/statistics",
        "/no/such/path",
    ]
    .map(str::to_owned)
    .into();
    let (mut asked, mut subjects) = (Vec::new(), BTreeSet::new());
    for schema in &all {
        let (subject, id, version) =
            (schema["subject"].as_str().expect("a name"), &schema["id"], &schema["version"]);
        let (subject, guid) = (encoded(subject), schema["guid"].as_str().expect("a GUID"));
        let of_id = format!("/schemas/ids/{id}");
        for query in ["", "?format=serialized", "?fetchMaxId=true", "?findTags=*"] {
            paths.push(format!("{of_id}{query}"));
        }
        for query in ["", "&format=resolved", "&referenceFormat=qualified"] {
            paths.push(format!("{of_id}?subject={subject}{query}"));
        }
        for path in ["schema", "subjects", "versions", "subjects?deleted=true", "versions?deleted=true"] {
            paths.push(format!("{of_id}/{path}"));
        }
        paths.push(format!("{of_id}/versions?subject={subject}&deleted=true"));
        paths.extend([format!("/schemas/guids/{guid}"), format!("/schemas/guids/{guid}/ids")]);
        let of_version = format!("/subjects/{subject}/versions/{version}");
        for path in [
            "",
            "?deleted=true",
            "?deleted=true&format=serialized",
            "/schema?deleted=true",
            "/referencedby",
            "/export",
        ] {
            paths.push(format!("{of_version}{path}"));
        }
        paths.extend([
            format!("{of_version}/dependencies"),
            format!("{of_version}/referencedby?deleted=true"),
        ]);
        let mut body = schema.clone();
        for member in ["subject", "version", "id", "guid", "ts", "deleted"] {
            body.as_object_mut().expect("an object").remove(member);
        }
        let ask = |path: String| ("POST".to_owned(), path, body.clone());
        asked.push(ask(format!("/subjects/{subject}")));
        asked.push(ask(format!("/subjects/{subject}?deleted=true&normalize=true")));
        asked.push(ask(format!("/compatibility/subjects/{subject}/versions/latest?verbose=true")));
        asked.push(ask(format!("/compatibility/subjects/{subject}/versions?verbose=true")));
        asked.push(ask("/compatibility/subjects/contract-value/versions/1?verbose=true".to_owned()));
        // It is there: in every mode that is an answer, and nothing is written. An alias leads elsewhere.
        if schema["deleted"] == false && subject != "known-as" {
            asked.push(ask(format!("/subjects/{subject}/versions")));
        }
        if subjects.insert(subject.clone()) {
            for query in
                ["", "?deleted=true", "?deletedOnly=true", "?deletedAsNegative=true", "/latest", "/-1", "/0"]
            {
                paths.push(format!("/subjects/{subject}/versions{query}"));
            }
            paths.push(format!("/subjects/{subject}/history?deleted=true"));
            paths.push(format!("/subjects/{subject}/export?deleted=true"));
            paths.extend(["", "?defaultToGlobal=true"].map(|query| format!("/config/{subject}{query}")));
            paths.push(format!("/mode/{subject}"));
        }
    }
    asked.push(("POST".to_owned(), "/schemas/search".to_owned(), json!({ "pattern": "owner|Said|fixed" })));
    asked.push(("POST".to_owned(), "/subjects/contract-value".to_owned(), fixed("Nobody")));
    let paths: BTreeSet<String> = paths.into_iter().collect();
    paths.into_iter().map(|path| ("GET".to_owned(), path, Value::Null)).chain(asked).collect()
}

/// What is answered to all of them.
///
/// # Panics
/// When nothing is answered.
pub fn answers(registry: &Registry, questions: &[Question]) -> Vec<(u16, String)> {
    questions.iter().map(|(method, path, body)| answer(registry, method, path, body)).collect()
}

/// Asks again, and finds nothing else.
pub fn assert_same(registry: &Registry, questions: &[Question], expected: &[(u16, String)]) {
    let asked = questions.iter().zip(expected);
    let differ = asked.filter_map(|((method, path, body), expected)| {
        let found = answer(registry, method, path, body);
        (found != *expected).then(|| format!("{method} {path} {body}\n  was {expected:?}\n  is  {found:?}\n"))
    });
    let differ: Vec<String> = differ.collect();
    assert!(differ.is_empty(), "{} of {}:\n{}", differ.len(), questions.len(), differ.concat());
}
