//! What registries answer and are asked, as JSON. Metadata, rule sets and settings are kept as they come, so that what a newer
//! registry puts into them is carried along.

use crate::schema::Reference;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Settings of a subject, of a context or of a registry, as `GET /config` answers them.
pub type Settings = Map<String, Value>;

/// A version of a subject with its schema, as registries answer it; also a line of an export.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schema {
    /// The subject, with its context where that is not the default one.
    #[serde(default)]
    pub subject: String,
    /// Its number.
    #[serde(default)]
    pub version: i32,
    /// The id of the schema in the subject's context.
    #[serde(default)]
    pub id: u32,
    /// Its GUID; not every registry has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// Its language; answers leave it away where it is Avro.
    #[serde(default = "avro")]
    pub schema_type: String,
    /// The text.
    pub schema: String,
    /// What it refers to.
    #[serde(default, deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_set: Option<Value>,
    /// When it was registered, in milliseconds of the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<i64>,
    /// Softly deleted; not every registry says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
}

fn avro() -> String {
    "AVRO".to_owned()
}

fn or_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Reference>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A request to register, or to look up.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked<'a> {
    pub(super) schema: &'a str,
    pub(super) schema_type: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) references: &'a [Reference],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule_set: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<i32>,
}

/// What became of a registration. Old registries tell no more than the id.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Registered {
    /// The schema's id.
    pub id: u32,
    /// The number of the version.
    #[serde(default)]
    pub version: Option<i32>,
    /// Its GUID.
    #[serde(default)]
    pub guid: Option<String>,
}

/// Whether a schema fits, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Fit {
    /// It does.
    pub is_compatible: bool,
    /// Why not, in the registry's words.
    #[serde(default, deserialize_with = "or_empty_texts")]
    pub messages: Vec<String>,
}

fn or_empty_texts<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A place where a GUID is known.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IdInContext {
    /// The context, with its dot.
    pub context: String,
    /// The id there.
    pub id: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModeAnswer {
    pub(super) mode: String,
}
