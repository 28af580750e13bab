//! Bodies of requests, read as leniently as Jackson reads them: numbers and booleans are taken for text and back where that
//! means something, unknown members are ignored, and what is wrong is said with the member's name.

use crate::error::{Error, Result};
use crate::schema::{Metadata, Rule, RuleKind, RuleMode, RuleSet};
use crate::service::{Field, Submitted, SubmittedReference};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A JSON object.
#[derive(Debug, Clone, Default)]
pub struct Object(Map<String, Value>);

fn wrong(name: &str, wanted: &str, found: &Value) -> Error {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Error::new(400, format!("Cannot deserialize value of type `{wanted}`: {name:?} is {found}"))
}

impl Object {
    /// Reads a body. `parameter` is what Confluent's registry calls it where it is missing.
    pub fn read(body: &[u8], parameter: &str) -> Result<Self> {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(missing(parameter));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(Value::Null) => Err(missing(parameter)),
            Ok(other) => Err(wrong("the body", "object", &other)),
            Err(error) => Err(Error::new(400, format!("The body is not JSON: {error}"))),
        }
    }

    /// The members.
    pub fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    fn of(name: &str, value: &Value) -> Result<Option<Self>> {
        match value {
            Value::Null => Ok(None),
            Value::Object(members) => Ok(Some(Self(members.clone()))),
            other => Err(wrong(name, "object", other)),
        }
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text; numbers and booleans as they are written.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        self.value(name).map(|value| text(name, value)).transpose()
    }

    fn field<T>(&self, name: &str, read: impl Fn(&str, &Value) -> Result<T>) -> Result<Field<T>> {
        match self.0.get(name) {
            None => Ok(Field::Kept),
            Some(Value::Null) => Ok(Field::Cleared),
            Some(value) => read(name, value).map(Field::Set),
        }
    }

    /// A text that may be cleared.
    pub fn text_field(&self, name: &str) -> Result<Field<String>> {
        self.field(name, text)
    }

    /// A boolean that may be cleared.
    pub fn flag_field(&self, name: &str) -> Result<Field<bool>> {
        self.field(name, flag)
    }

    /// Metadata that may be cleared.
    pub fn metadata_field(&self, name: &str) -> Result<Field<Metadata>> {
        self.field(name, metadata)
    }

    /// Rules that may be cleared.
    pub fn rules_field(&self, name: &str) -> Result<Field<RuleSet>> {
        self.field(name, rules)
    }

    /// A boolean; absent is false.
    pub fn flag(&self, name: &str) -> Result<bool> {
        Ok(self.value(name).map(|value| flag(name, value)).transpose()?.unwrap_or(false))
    }

    /// A number of any kind.
    pub fn float(&self, name: &str) -> Result<Option<f64>> {
        let read = |value: &Value| value.as_f64().ok_or_else(|| wrong(name, "Double", value));
        self.value(name).map(read).transpose()
    }

    /// A list of texts; absent is empty.
    pub fn texts(&self, name: &str) -> Result<Vec<String>> {
        match self.value(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(|value| text(name, value)).collect(),
            Some(other) => Err(wrong(name, "ArrayList", other)),
        }
    }

    /// A list of objects; absent is empty.
    pub fn objects(&self, name: &str) -> Result<Vec<Self>> {
        let object = |value: &Value| Self::of(name, value)?.ok_or_else(|| wrong(name, "object", value));
        match self.value(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(object).collect(),
            Some(other) => Err(wrong(name, "ArrayList", other)),
        }
    }

    /// A whole number.
    pub fn integer(&self, name: &str) -> Result<Option<i32>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let bad = || wrong(name, "Integer", value);
        match value {
            Value::Number(number) => {
                let whole = number.as_i64().or_else(|| number.as_f64().map(|number| number.trunc() as i64));
                whole.and_then(|whole| i32::try_from(whole).ok()).map(Some).ok_or_else(bad)
            }
            Value::String(text) if text.trim().is_empty() => Ok(None),
            Value::String(text) => text.trim().parse().map(Some).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }

    /// A schema to be registered, looked up or compared.
    pub fn submitted(&self) -> Result<Submitted> {
        for name in ["schemaTagsToAdd", "schemaTagsToRemove"] {
            if self.value(name).is_some_and(|tags| tags.as_array().is_none_or(|tags| !tags.is_empty())) {
                return Err(Error::new(
                    422,
                    format!("{name:?} is not yet supported. Write the tags into the schema"),
                ));
            }
        }
        let id = self.integer("id")?.filter(|id| *id >= 0);
        Ok(Submitted {
            text: self.text("schema")?,
            schema_type: self.text("schemaType")?,
            references: self.references()?,
            metadata: self.value("metadata").map(|value| metadata("metadata", value)).transpose()?,
            rule_set: self.value("ruleSet").map(|value| rules("ruleSet", value)).transpose()?,
            id: id.and_then(|id| u32::try_from(id).ok()),
            version: self.integer("version")?.unwrap_or(0),
            force: false,
        })
    }

    fn references(&self) -> Result<Vec<SubmittedReference>> {
        let Some(value) = self.value("references") else { return Ok(Vec::new()) };
        let Value::Array(list) = value else { return Err(wrong("references", "ArrayList", value)) };
        let read = |value: &Value| {
            let Some(object) = Self::of("references", value)? else {
                return Ok(SubmittedReference::default());
            };
            let (name, subject, version) =
                (object.text("name")?, object.text("subject")?, object.integer("version")?);
            Ok(SubmittedReference { name, subject, version })
        };
        list.iter().map(read).collect()
    }
}

fn missing(parameter: &str) -> Error {
    Error::new(422, format!("{parameter} must not be null (was null)"))
}

fn text(name: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        other => Err(wrong(name, "String", other)),
    }
}

fn flag(name: &str, value: &Value) -> Result<bool> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::Number(number) => Ok(number.as_f64() != Some(0.0)),
        Value::String(text) if text == "true" || text == "false" => Ok(text == "true"),
        other => Err(wrong(name, "Boolean", other)),
    }
}

fn pairs(name: &str, value: &Value) -> Result<Option<BTreeMap<String, String>>> {
    let Some(object) = Object::of(name, value)? else { return Ok(None) };
    let pairs = object.0.iter().filter(|(_, value)| !value.is_null());
    pairs.map(|(name, value)| Ok((name.clone(), text(name, value)?))).collect::<Result<_>>().map(Some)
}

fn names(name: &str, value: &Value) -> Result<Option<BTreeSet<String>>> {
    match value {
        Value::Null => Ok(None),
        Value::Array(list) => list.iter().map(|value| text(name, value)).collect::<Result<_>>().map(Some),
        other => Err(wrong(name, "Set", other)),
    }
}

fn metadata(name: &str, value: &Value) -> Result<Metadata> {
    let Some(object) = Object::of(name, value)? else { return Ok(Metadata::default()) };
    let tags = |value: &Value| -> Result<Option<BTreeMap<String, BTreeSet<String>>>> {
        let Some(tags) = Object::of("tags", value)? else { return Ok(None) };
        let read =
            |(path, value): (&String, &Value)| Ok((path.clone(), names(path, value)?.unwrap_or_default()));
        tags.0.iter().map(read).collect::<Result<_>>().map(Some)
    };
    // Empty ones are as good as none.
    Ok(Metadata {
        tags: object.value("tags").map(tags).transpose()?.flatten().filter(|tags| !tags.is_empty()),
        properties: object
            .value("properties")
            .map(|value| pairs("properties", value))
            .transpose()?
            .flatten()
            .filter(|pairs| !pairs.is_empty()),
        sensitive: object
            .value("sensitive")
            .map(|value| names("sensitive", value))
            .transpose()?
            .flatten()
            .filter(|names| !names.is_empty()),
    })
}

fn rules(name: &str, value: &Value) -> Result<RuleSet> {
    let Some(object) = Object::of(name, value)? else { return Ok(RuleSet::default()) };
    let list = |name: &str| -> Result<Option<Vec<Rule>>> {
        let Some(value) = object.value(name) else { return Ok(None) };
        let Value::Array(list) = value else { return Err(wrong(name, "ArrayList", value)) };
        list.iter()
            .map(|value| rule(name, value))
            .collect::<Result<Vec<_>>>()
            .map(|list| (!list.is_empty()).then_some(list))
    };
    Ok(RuleSet {
        migration_rules: list("migrationRules")?,
        domain_rules: list("domainRules")?,
        encoding_rules: list("encodingRules")?,
        enable_at: object.text("enableAt")?,
    })
}

fn rule(name: &str, value: &Value) -> Result<Rule> {
    let object = Object::of(name, value)?.unwrap_or_default();
    let kind = |text: String| {
        [RuleKind::Transform, RuleKind::Condition].into_iter().find(|kind| kind.name() == text).ok_or_else(
            || {
                Error::new(
                    400,
                    format!(
                        "Cannot deserialize value of type `RuleKind` from String {text:?}: \
                     not one of the values accepted for Enum class: [CONDITION, TRANSFORM]"
                    ),
                )
            },
        )
    };
    let mode = |text: String| {
        use RuleMode::{Downgrade, Read, Updown, Upgrade, Write, Writeread};
        [Upgrade, Downgrade, Updown, Write, Read, Writeread].into_iter().find(|mode| mode.name() == text).ok_or_else(|| {
            Error::new(
                400,
                format!(
                    "Cannot deserialize value of type `RuleMode` from String {text:?}: not one of the values accepted for Enum \
                     class: [DOWNGRADE, READ, UPDOWN, UPGRADE, WRITE, WRITEREAD]"
                ),
            )
        })
    };
    Ok(Rule {
        // Who registers it is told that it needs a name; who only looks it up does not find it.
        name: object.text("name")?.unwrap_or_default(),
        doc: object.text("doc")?,
        kind: Some(object.text("kind")?.map(kind).transpose()?.unwrap_or(RuleKind::Transform)),
        mode: Some(object.text("mode")?.map(mode).transpose()?.unwrap_or(RuleMode::Writeread)),
        rule_type: object.text("type")?,
        tags: object.value("tags").map(|value| names("tags", value)).transpose()?.flatten(),
        params: object.value("params").map(|value| pairs("params", value)).transpose()?.flatten(),
        expr: object.text("expr")?,
        on_success: object.text("onSuccess")?,
        on_failure: object.text("onFailure")?,
        disabled: object.value("disabled").map(|value| flag("disabled", value)).transpose()?.unwrap_or(false),
    })
}
