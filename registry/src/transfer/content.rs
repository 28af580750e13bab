//! When two schemas are the same one: a fingerprint of what was registered, and, where texts differ, what they mean.

use crate::client::Schema;
use crate::parse::{Parsed, Strictness};
use crate::schema::{Dependency, SchemaType};
use serde_json::{Map, Value};

/// Over type, text, references, metadata and rules.
pub(super) type Fingerprint = [u8; 16];

/// The fingerprint of a schema. What means nothing (the order of members, an empty list, a default that is told) does not count.
pub(super) fn fingerprint(schema: &Schema) -> Fingerprint {
    let mut hash = blake3::Hasher::new();
    let mut add = |part: &[u8]| {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(schema.schema_type.as_bytes());
    add(schema.schema.as_bytes());
    for reference in &schema.references {
        add(reference.name.as_bytes());
        add(reference.subject.as_bytes());
        add(&reference.version.to_le_bytes());
    }
    add(labels(schema).as_bytes());
    let mut short = Fingerprint::default();
    short.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    short
}

/// The same for schemas that differ only in where their references lead, under the same names, and in labels that say nothing.
pub(super) fn outline(schema: &Schema) -> Fingerprint {
    outline_of(schema, &schema.schema)
}

/// As [`outline`], of a text that stands for that of the schema.
pub(super) fn outline_of(schema: &Schema, text: &str) -> Fingerprint {
    let mut hash = blake3::Hasher::new();
    let names = schema.references.iter().map(|reference| reference.name.as_str());
    for part in [schema.schema_type.as_str(), text, &said(schema)].into_iter().chain(names) {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut short = Fingerprint::default();
    short.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    short
}

/// Metadata and rules in one form; those that say nothing are none. Which version it is says nothing of a schema.
pub(super) fn said(schema: &Schema) -> String {
    let said = |value: Option<&Value>| value.map(settled).filter(|value| !is_nothing(value));
    let rules = schema.rule_set.as_ref().map(told);
    let metadata = schema.metadata.as_ref().map(unnumbered);
    format!("{} {}", Value::from(said(metadata.as_ref())), Value::from(said(rules.as_ref())))
}

/// Metadata without the number that its version has: a registry that counts puts its own number there.
fn unnumbered(metadata: &Value) -> Value {
    let mut metadata = metadata.clone();
    if let Some(properties) = metadata.get_mut("properties").and_then(Value::as_object_mut) {
        properties.shift_remove("confluent:version");
    }
    metadata
}

/// Neither metadata nor rules say anything.
pub(super) fn label_free(schema: &Schema) -> bool {
    said(schema) == "null null"
}

/// Metadata and rules in one form.
pub(super) fn labels(schema: &Schema) -> String {
    let metadata = schema.metadata.as_ref().map(settled);
    let rules = schema.rule_set.as_ref().map(|rules| settled(&told(rules)));
    format!("{} {}", Value::from(metadata), Value::from(rules))
}

/// Rules with their defaults told, as some registries tell them and others do not.
fn told(rules: &Value) -> Value {
    let mut rules = rules.clone();
    for list in ["migrationRules", "domainRules", "encodingRules"] {
        let Some(list) = rules.get_mut(list).and_then(Value::as_array_mut) else { continue };
        for rule in list.iter_mut().filter_map(Value::as_object_mut) {
            for (name, default) in [("kind", "TRANSFORM"), ("mode", "WRITEREAD")] {
                let value = rule.entry(name).or_insert(Value::Null);
                if value.is_null() {
                    *value = Value::from(default);
                }
            }
            if rule.get("disabled").is_none_or(|disabled| *disabled == Value::Bool(false)) {
                rule.shift_remove("disabled");
            }
        }
    }
    rules
}

/// Members in the order of their names, without those that hold nothing.
pub(super) fn settled(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().map(|(name, value)| (name.clone(), settled(value)));
            let mut kept: Vec<_> = kept.filter(|(_, value)| !is_nothing(value)).collect();
            kept.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(kept.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.iter().map(settled).collect()),
        other => other.clone(),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// What a text means; why it is no schema else.
pub(super) fn parsed(schema: &Schema, texts: &[(String, String)]) -> Result<Parsed, String> {
    let known: SchemaType = schema.schema_type.parse()?;
    let dependencies: Vec<_> = texts.iter().map(|(name, text)| Dependency { name, text }).collect();
    let parsed = Parsed::parse(known, &schema.schema, &dependencies, Strictness::Stored);
    parsed.map_err(|problem| problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(metadata: Value, rules: Value) -> Schema {
        Schema {
            schema: "\"int\"".into(),
            metadata: Some(metadata),
            rule_set: Some(rules),
            ..Schema::default()
        }
    }

    #[test]
    fn what_is_written_differently_and_means_the_same_has_one_fingerprint() {
        let one = with(
            json!({"properties": {"a": "1", "b": "2"}, "tags": {}}),
            json!({"domainRules": [{"name": "r", "type": "CEL", "disabled": false}]}),
        );
        let other = with(
            json!({"properties": {"b": "2", "a": "1"}, "sensitive": null}),
            json!({"domainRules": [{"type": "CEL", "name": "r", "kind": "TRANSFORM", "mode": "WRITEREAD"}],
                   "migrationRules": []}),
        );
        assert_eq!(fingerprint(&one), fingerprint(&other));
        let disabled = with(json!({}), json!({"domainRules": [{"name": "r", "disabled": true}]}));
        let enabled = with(json!({}), json!({"domainRules": [{"name": "r"}]}));
        assert_ne!(fingerprint(&disabled), fingerprint(&enabled));
        let typed = Schema { schema_type: "JSON".into(), ..one.clone() };
        assert_ne!(fingerprint(&one), fingerprint(&typed));
    }
}
