//! What a schema holds, as a flat list: its records and fields, their types, and the tags that are written into the text.
//!
//! It is read from the text alone, so that types of references have their names and not their fields. Not for deciding anything
//! about data: for searching, comparing by eye, and telling tags. Bounds: [`MAX_PARTS`] parts and [`MAX_BYTES`] bytes of paths; what
//! lies beyond is left out.

use super::protobuf::{self, element};
use crate::json::{Json, Syntax, read};
use crate::schema::SchemaType;

/// Parts of one outline at most.
pub const MAX_PARTS: usize = 10_000;

/// Bytes of paths and types of one outline at most.
pub const MAX_BYTES: usize = 4 << 20;

/// Characters of a type's description.
const MAX_TYPE: usize = 256;

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A record, an object, a message.
    Record,
    /// A field of one.
    Field,
}

/// A named part of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: Kind,
    /// Its own name.
    pub name: String,
    /// The names of the fields that lead to it, and its own.
    pub path: String,
    /// How Confluent's tags call it.
    pub entity: String,
    /// Its type in a few words.
    pub type_name: String,
    /// The tags that the text gives it.
    pub tags: Vec<String>,
}

/// The parts of a text, in its order. A text that cannot be read has none.
pub fn outline(schema_type: SchemaType, text: &str) -> Vec<Part> {
    let mut found = Parts::default();
    match schema_type {
        SchemaType::Avro => {
            if let Ok(tree) = read(text, Syntax::Comments) {
                avro(&tree, "", "", &mut found);
            }
        }
        SchemaType::Json => {
            if let Ok(tree) = read(text, Syntax::Strict) {
                json(&tree, "", "", &mut found);
            }
        }
        SchemaType::Protobuf => {
            if let Some(file) = protobuf::tree(text) {
                file.messages.iter().for_each(|each| message(each, "", &mut found));
            }
        }
    }
    found.list
}

#[derive(Default)]
struct Parts {
    list: Vec<Part>,
    bytes: usize,
}

impl Parts {
    fn add(&mut self, part: Part) {
        self.bytes += part.name.len() + part.path.len() + part.entity.len() + part.type_name.len();
        if !self.is_full() {
            self.list.push(part);
        }
    }

    fn is_full(&self) -> bool {
        self.list.len() >= MAX_PARTS || self.bytes > MAX_BYTES
    }
}

fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn short(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_TYPE) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn tags(node: &Json) -> Vec<String> {
    let list = node.get("confluent:tags").and_then(Json::as_array).unwrap_or_default();
    list.iter().filter_map(Json::as_str).map(str::to_owned).collect()
}

fn avro(node: &Json, path: &str, namespace: &str, found: &mut Parts) {
    if found.is_full() {
        return;
    }
    if let Some(branches) = node.as_array() {
        return branches.iter().for_each(|branch| avro(branch, path, namespace, found));
    }
    match node.get("type") {
        Some(inner @ (Json::Object(_) | Json::Array(_))) => avro(inner, path, namespace, found),
        Some(Json::String(kind)) => match &**kind {
            "array" => node.get("items").into_iter().for_each(|items| avro(items, path, namespace, found)),
            "map" => node.get("values").into_iter().for_each(|values| avro(values, path, namespace, found)),
            "record" | "error" => avro_record(node, path, namespace, found),
            _ => {}
        },
        _ => {}
    }
}

fn avro_record(node: &Json, path: &str, namespace: &str, found: &mut Parts) {
    let name = node.get("name").and_then(Json::as_str).unwrap_or("");
    let namespace = match (node.get("namespace").and_then(Json::as_str), name.rsplit_once('.')) {
        (_, Some((namespace, _))) | (Some(namespace), None) => namespace,
        (None, None) => namespace,
    };
    let name = name.rsplit('.').next().unwrap_or(name);
    let full = joined(namespace, name);
    found.add(Part {
        kind: Kind::Record,
        name: name.to_owned(),
        path: path.to_owned(),
        entity: full.clone(),
        type_name: "record".to_owned(),
        tags: tags(node),
    });
    for field in node.get("fields").and_then(Json::as_array).unwrap_or_default() {
        if found.is_full() {
            return;
        }
        let (Some(name), Some(schema)) = (field.get("name").and_then(Json::as_str), field.get("type")) else {
            continue;
        };
        let path = joined(path, name);
        found.add(Part {
            kind: Kind::Field,
            name: name.to_owned(),
            path: path.clone(),
            entity: joined(&full, name),
            type_name: short(avro_type(schema)),
            tags: tags(field),
        });
        avro(schema, &path, namespace, found);
    }
}

fn avro_type(node: &Json) -> String {
    match node {
        Json::String(name) => name.to_string(),
        Json::Array(branches) => {
            let branches: Vec<String> = branches.iter().take(MAX_TYPE).map(avro_type).collect();
            format!("union<{}>", branches.join(","))
        }
        Json::Object(_) => {
            let inner = |name| node.get(name).map(avro_type).unwrap_or_default();
            let plain = match node.get("type") {
                Some(Json::String(kind)) => match &**kind {
                    "array" => format!("array<{}>", inner("items")),
                    "map" => format!("map<{}>", inner("values")),
                    "record" | "error" | "enum" | "fixed" => {
                        node.get("name").and_then(Json::as_str).unwrap_or("").to_owned()
                    }
                    other => other.to_owned(),
                },
                Some(other) => avro_type(other),
                None => String::new(),
            };
            match node.get("logicalType").and_then(Json::as_str) {
                Some(logical) => format!("{plain} ({logical})"),
                None => plain,
            }
        }
        _ => String::new(),
    }
}

fn json(node: &Json, path: &str, entity: &str, found: &mut Parts) {
    if found.is_full() || node.as_object().is_none() {
        return;
    }
    let is_object =
        node.get("properties").is_some() || node.get("type").and_then(Json::as_str) == Some("object");
    if is_object {
        let entity = joined(entity, "object");
        found.add(Part {
            kind: Kind::Record,
            name: node.get("title").and_then(Json::as_str).unwrap_or("").to_owned(),
            path: path.to_owned(),
            entity: entity.clone(),
            type_name: "object".to_owned(),
            tags: tags(node),
        });
        for (name, property) in node.get("properties").and_then(Json::as_object).into_iter().flatten() {
            if found.is_full() {
                return;
            }
            let (path, entity) = (joined(path, name), joined(&entity, name));
            found.add(Part {
                kind: Kind::Field,
                name: name.to_string(),
                path: path.clone(),
                entity: entity.clone(),
                type_name: short(json_type(property)),
                tags: tags(property),
            });
            json(property, &path, &entity, found);
        }
    }
    for (keyword, word) in [("allOf", "allof"), ("anyOf", "anyof"), ("oneOf", "oneof")] {
        for (n, branch) in node.get(keyword).and_then(Json::as_array).unwrap_or_default().iter().enumerate() {
            json(branch, path, &joined(entity, &format!("{word}.{n}")), found);
        }
    }
    match node.get("items") {
        Some(Json::Array(items)) => {
            for (n, item) in items.iter().enumerate() {
                json(item, path, &joined(entity, &format!("array.{n}")), found);
            }
        }
        Some(items) => json(items, path, &joined(entity, "array"), found),
        None => {}
    }
    node.get("not").into_iter().for_each(|not| json(not, path, &joined(entity, "not"), found));
    for keyword in ["definitions", "$defs"] {
        for (name, definition) in node.get(keyword).and_then(Json::as_object).into_iter().flatten() {
            json(definition, &joined(path, name), &joined(entity, name), found);
        }
    }
}

fn json_type(node: &Json) -> String {
    let Some(members) = node.as_object() else { return node.to_string() };
    let plain = match members.get("type") {
        Some(Json::String(name)) if &**name == "array" => match members.get("items") {
            Some(items @ Json::Object(_)) => format!("array<{}>", json_type(items)),
            _ => "array".to_owned(),
        },
        Some(Json::String(name)) => name.to_string(),
        Some(Json::Array(names)) => {
            let names: Vec<&str> = names.iter().filter_map(Json::as_str).take(MAX_TYPE).collect();
            format!("union<{}>", names.join(","))
        }
        _ => match members.get("$ref").and_then(Json::as_str) {
            Some(target) => target.to_owned(),
            None => {
                let words = ["enum", "const", "allOf", "anyOf", "oneOf", "not", "properties"];
                let word = words.into_iter().find(|word| members.contains_key(*word));
                word.map_or("any", |word| if word == "properties" { "object" } else { word }).to_owned()
            }
        },
    };
    match members.get("format").and_then(Json::as_str) {
        Some(format) => format!("{plain} ({format})"),
        None => plain,
    }
}

fn message(of: &element::Message, outer: &str, found: &mut Parts) {
    if found.is_full() {
        return;
    }
    let path = joined(outer, &of.name);
    found.add(Part {
        kind: Kind::Record,
        name: of.name.clone(),
        path: path.clone(),
        entity: path.clone(),
        type_name: "message".to_owned(),
        tags: meta_tags(&of.options, "confluent.message_meta"),
    });
    for field in of.fields.iter().chain(of.oneofs.iter().flat_map(|oneof| &oneof.fields)) {
        let label = field.label.filter(|label| *label == element::Label::Repeated).map(element::Label::name);
        let kind = field.kind.text();
        let path = joined(&path, &field.name);
        found.add(Part {
            kind: Kind::Field,
            name: field.name.clone(),
            path: path.clone(),
            entity: path,
            type_name: short(label.map_or(kind.clone(), |label| format!("{label} {kind}"))),
            tags: meta_tags(&field.options, "confluent.field_meta"),
        });
        if found.is_full() {
            return;
        }
    }
    of.all_groups().for_each(|group| message(&group.body, &path, found));
    of.messages.iter().for_each(|inner| message(inner, &path, found));
}

/// The tags of `(confluent.field_meta) = {tags: ["a"]}`, or of `(confluent.field_meta).tags = "a"`.
fn meta_tags(options: &[element::Opt], name: &str) -> Vec<String> {
    let mut tags = Vec::new();
    for option in options.iter().filter(|option| option.extension && option.name == name) {
        match &option.value {
            element::Value::Map(members) => {
                members.get("tags").into_iter().for_each(|value| texts(value, &mut tags));
            }
            element::Value::Part(part) if part.name == "tags" => texts(&part.value, &mut tags),
            _ => {}
        }
    }
    tags
}

fn texts(value: &element::Value, into: &mut Vec<String>) {
    match value {
        element::Value::Text(bytes) => into.push(String::from_utf8_lossy(bytes).into_owned()),
        element::Value::List(values) => values.iter().for_each(|value| texts(value, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(schema_type: SchemaType, text: &str) -> Vec<(String, String)> {
        let parts = outline(schema_type, text).into_iter().filter(|part| part.kind == Kind::Field);
        parts.map(|part| (part.path, part.type_name)).collect()
    }

    fn tagged(schema_type: SchemaType, text: &str) -> Vec<(String, Vec<String>)> {
        let parts = outline(schema_type, text).into_iter().filter(|part| !part.tags.is_empty());
        parts.map(|part| (part.entity, part.tags)).collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(path, type_name)| ((*path).to_owned(), (*type_name).to_owned())).collect()
    }

    #[test]
    fn fields_of_avro_have_paths_and_types() {
        let text = r#"{"type":"record","name":"A","namespace":"n","fields":[
            {"name":"when","type":{"type":"long","logicalType":"timestamp-millis"}},
            {"name":"inner","type":["null",{"type":"array","items":{"type":"record","name":"B","fields":[{"name":"x","type":"int"}]}}]}]}"#;
        let expected =
            [("when", "long (timestamp-millis)"), ("inner", "union<null,array<B>>"), ("inner.x", "int")];
        assert_eq!(fields(SchemaType::Avro, text), pairs(&expected));
    }

    #[test]
    fn fields_of_json_and_protobuf_have_paths_and_types() {
        let text = r#"{"type":"object","properties":{"at":{"type":"string","format":"date-time"},
            "list":{"type":"array","items":{"properties":{"y":{"$ref":"other.json"}}}}}}"#;
        let expected = [("at", "string (date-time)"), ("list", "array<object>"), ("list.y", "other.json")];
        assert_eq!(fields(SchemaType::Json, text), pairs(&expected));
        let text = "syntax = \"proto3\"; message M { repeated string a = 1; map<string, In> b = 2; message In { int32 c = 1; } }";
        let expected = [("M.a", "repeated string"), ("M.b", "map<string, In>"), ("M.In.c", "int32")];
        assert_eq!(fields(SchemaType::Protobuf, text), pairs(&expected));
    }

    #[test]
    fn tags_are_found_under_the_names_of_confluent() {
        let text = r#"{"type":"record","name":"A","namespace":"n","confluent:tags":["R"],"fields":[
            {"name":"f","type":"int","confluent:tags":["PII","X"]}]}"#;
        let tags = |list: &[&str]| list.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        let expected = [("n.A".to_owned(), tags(&["R"])), ("n.A.f".to_owned(), tags(&["PII", "X"]))];
        assert_eq!(tagged(SchemaType::Avro, text), expected);
        let text = r#"{"type":"object","properties":{"l":{"type":"array","items":{"type":"object","confluent:tags":["R"],
            "properties":{"f":{"type":"string","confluent:tags":["PII"]}}}}}}"#;
        let expected = [
            ("object.l.array.object".to_owned(), tags(&["R"])),
            ("object.l.array.object.f".to_owned(), tags(&["PII"])),
        ];
        assert_eq!(tagged(SchemaType::Json, text), expected);
        let text = r#"syntax = "proto3"; import "confluent/meta.proto"; message M {
            message In { string f = 1 [(confluent.field_meta) = {tags: ["PII", "X"]}]; string g = 2 [(confluent.field_meta).tags = "Y"]; } }"#;
        let expected = [("M.In.f".to_owned(), tags(&["PII", "X"])), ("M.In.g".to_owned(), tags(&["Y"]))];
        assert_eq!(tagged(SchemaType::Protobuf, text), expected);
    }

    #[test]
    fn an_outline_is_bounded() {
        let fields: Vec<String> = (0..20_000).map(|n| format!(r#"{{"name":"f{n}","type":"int"}}"#)).collect();
        let text = format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","));
        assert!(outline(SchemaType::Avro, &text).len() <= MAX_PARTS);
        let mut text = "\"int\"".to_owned();
        let name = "n".repeat(50_000);
        for n in 0..60 {
            text =
                format!(r#"{{"type":"record","name":"R{n}","fields":[{{"name":"{name}","type":{text}}}]}}"#);
        }
        let bytes: usize = outline(SchemaType::Avro, &text).iter().map(|part| part.path.len()).sum();
        assert!(bytes <= MAX_BYTES, "{bytes}");
        assert_eq!(outline(SchemaType::Json, "no"), []);
    }
}
