//! The API described by itself: an OpenAPI 3.1 document written from the table of endpoints, and a page that shows it to people.
//!
//! Paths, methods, parameters and errors come from the table that requests are routed by; `shapes.json` says what bodies and answers
//! hold, and every answer of the scenarios is held against it.

use super::About;
use super::endpoint::Endpoint;
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The page for people. It needs nothing but the document.
pub const PAGE: &str = include_str!("openapi/page.html");

const SHAPES: &str = include_str!("openapi/shapes.json");

/// Query parameters: name, type, description.
const PARAMETERS: &[(&str, &str, &str)] = &[
    ("after", "string", "the value of next of the answer before"),
    ("aliases", "boolean", "with the names that stand for a subject"),
    ("contextPrefix", "string", "what the names of contexts begin with"),
    ("defaultToGlobal", "boolean", "what counts, wherever it is set"),
    ("deleted", "boolean", "softly deleted ones, too"),
    ("deletedAsNegative", "boolean", "softly deleted ones as negative numbers"),
    ("deletedOnly", "boolean", "softly deleted ones only"),
    ("fetchMaxId", "boolean", "with the highest id of the context"),
    ("findTags", "string", "with the tags of these names that the text gives its parts; * stands for all"),
    ("force", "boolean", "although it does not fit what there is"),
    (
        "format",
        "string",
        "another form of the text: resolved (Avro), serialized or ignore_extensions (Protobuf)",
    ),
    ("key", "string", "the name of a metadata property; as often as value"),
    ("latestOnly", "boolean", "only the highest version of each subject"),
    ("limit", "integer", "entries at most; 1000 where that is not between 1 and 1000"),
    ("normalize", "boolean", "normalise the schema first"),
    ("offset", "integer", "entries to leave out"),
    ("permanent", "boolean", "for good; only what was deleted softly before"),
    ("recursive", "boolean", "those of the context's subjects, too"),
    ("referenceFormat", "string", "qualified writes references with their contexts"),
    ("ruleType", "string", "only schemas with a rule of this type"),
    ("subject", "string", "the subject, or the context, that the id belongs to"),
    (
        "subjectPrefix",
        "string",
        "what the names of subjects begin with; :*: for all contexts, :.name: for one",
    ),
    ("value", "string", "the value of a metadata property; as often as key"),
    ("verbose", "boolean", "with the reasons"),
];

/// The names that are shapes of a whole answer, and no JSON.
fn media_type(shape: &str) -> &'static str {
    match shape {
        "Page" => "text/html",
        "Yaml" => "application/yaml",
        _ => super::JSON,
    }
}

fn reference(shape: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{shape}") })
}

fn parameters(endpoint: Endpoint, path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|word| word.strip_prefix('{')?.strip_suffix('}'));
    let mut list: Vec<Value> = names
        .map(|name| {
            let kind = if name == "id" { "integer" } else { "string" };
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": kind } })
        })
        .collect();
    let query = PARAMETERS.iter().filter(|(name, _, _)| endpoint.route().query.contains(name));
    list.extend(query.map(|(name, kind, description)| {
        json!({ "name": name, "in": "query", "description": description, "schema": { "type": kind } })
    }));
    list
}

fn operation(endpoint: Endpoint, path: &str, in_context: bool) -> Value {
    let route = endpoint.route();
    let mut answers = Map::new();
    match route.answer {
        "Nothing" => answers.insert("204".to_owned(), json!({ "description": "Done" })),
        shape => answers.insert(
            "200".to_owned(),
            json!({ "description": "The answer", "content": { media_type(shape): { "schema": reference(shape) } } }),
        ),
    };
    if route.answer == "Imported" {
        let content =
            json!({ super::JSON: { "schema": { "anyOf": [reference("Imported"), reference("Error")] } } });
        let refused = json!({ "description": "Nothing was imported", "content": content });
        answers.insert("422".to_owned(), refused);
    }
    for code in route.errors {
        let status = if *code < 1000 { *code } else { *code / 100 };
        // A question that makes no sense is 400 where it changes nothing, and 422 elsewhere.
        for status in [Some(status), (*code == 42201).then_some(400)].into_iter().flatten() {
            let shape = if status == 503 { route.answer } else { "Error" };
            let content = json!({ super::JSON: { "schema": reference(shape) } });
            let entry = answers
                .entry(status.to_string())
                .or_insert_with(|| json!({ "description": "", "content": content }));
            if let Some(Value::String(text)) = entry.get_mut("description") {
                let _ = write!(text, "{}error {code}", if text.is_empty() { "" } else { ", " });
            }
        }
    }
    let content = json!({ super::JSON: { "schema": reference("Error") } });
    answers.insert("default".to_owned(), json!({ "description": "Anything else", "content": content }));
    let mut operation = json!({
        "summary": route.summary,
        "operationId": if in_context { format!("{}.inContext", route.label) } else { route.label.to_owned() },
        "tags": [route.path.split('/').nth(1).filter(|tag| !tag.is_empty()).unwrap_or("root")],
        "parameters": parameters(endpoint, path),
        "responses": answers,
    });
    if let (Some(shape), Some(members)) = (route.body, operation.as_object_mut()) {
        let content = json!({ super::JSON: { "schema": reference(shape) }, "application/json": { "schema": reference(shape) } });
        members.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
    }
    operation
}

/// The document.
///
/// # Errors
/// If `shapes.json` is no JSON, which a test rules out.
pub fn document(about: &About) -> Result<Box<Value>> {
    let shapes: Value = serde_json::from_str(SHAPES)
        .map_err(|error| Error::new(500, format!("The document could not be written: {error}")))?;
    let mut paths = Map::new();
    for endpoint in Endpoint::ALL {
        let route = endpoint.route();
        let contexts = endpoint.is_contextual().then(|| format!("/contexts/{{context}}{}", route.path));
        for (path, in_context) in [(Some(route.path.to_owned()), false), (contexts, true)] {
            let Some(path) = path else { continue };
            let operation = operation(*endpoint, &path, in_context);
            let entry = paths.entry(path).or_insert_with(|| json!({}));
            if let Some(members) = entry.as_object_mut() {
                members.insert(route.method.to_lowercase(), operation);
            }
        }
    }
    Ok(Box::new(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Replevin Schema Registry",
            "version": about.version,
            "description": "A schema registry with Confluent's REST API. Errors have a number and a sentence; an error below 1000 is the HTTP \
                            status, another one begins with it.",
        },
        "paths": paths,
        "components": { "schemas": shapes },
    })))
}

/// The document in YAML.
///
/// # Errors
/// As [`document`].
pub fn yaml(about: &About) -> Result<String> {
    let mut text = String::new();
    write_yaml(&*document(about)?, 0, &mut text);
    Ok(text)
}

/// Block style; texts between quotes, as JSON writes them, which YAML reads.
fn write_yaml(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let _ = write!(text, "{indent}{}:", Value::String(name.clone()));
                write_inner(value, depth, text);
            }
        }
        Value::Array(elements) if !elements.is_empty() => {
            for element in elements {
                let _ = write!(text, "{indent}-");
                write_inner(element, depth, text);
            }
        }
        plain => {
            let _ = writeln!(text, "{indent}{plain}");
        }
    }
}

fn write_inner(value: &Value, depth: usize, text: &mut String) {
    let is_block = value.as_object().is_some_and(|members| !members.is_empty())
        || value.as_array().is_some_and(|elements| !elements.is_empty());
    if is_block {
        text.push('\n');
        write_yaml(value, depth + 1, text);
    } else {
        let _ = writeln!(text, " {value}");
    }
}
