//! What registries answer and are asked, as JSON. Metadata, rule sets and settings are kept as they come, so that what a newer
//! registry puts into them is carried along.

use crate::schema::Reference;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

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

/// A key that wraps others (a KEK), as `/dek-registry/v1` answers it. It is not the key itself, which a KMS keeps.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kek {
    /// Its name.
    pub name: String,
    /// Which KMS keeps it.
    #[serde(default)]
    pub kms_type: String,
    /// Its name there.
    #[serde(default)]
    pub kms_key_id: String,
    /// What the KMS is asked with; there may be credentials in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_props: Option<Map<String, Value>>,
    /// What people are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// The registry may ask the KMS itself.
    #[serde(default)]
    pub shared: bool,
    /// When it was made, in milliseconds of the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<i64>,
    /// Softly deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
    /// What a newer registry tells besides.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kek").field(&self.name).finish()
    }
}

/// A key that encrypts data (a DEK), wrapped by its KEK. Registries that may ask the KMS answer the bare key besides (`keyMaterial`):
/// what is not a member here is not read, so that it comes no further.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dek {
    /// The name of its KEK.
    pub kek_name: String,
    /// Whose data it encrypts.
    pub subject: String,
    /// Its number.
    #[serde(default = "first")]
    pub version: i32,
    /// What it is for.
    #[serde(default = "usual")]
    pub algorithm: String,
    /// The key, wrapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted_key_material: Option<String>,
    /// When it was made, in milliseconds of the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<i64>,
    /// Softly deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
}

fn first() -> i32 {
    1
}

fn usual() -> String {
    "AES256_GCM".to_owned()
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kek_name, subject, version, algorithm, .. } = self;
        f.debug_tuple("Dek").field(kek_name).field(subject).field(version).field(algorithm).finish()
    }
}
