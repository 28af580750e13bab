//! Schemas in a backup: what `schema-registry/` holds, and the documents that say so.
//!
//! ```text
//! schema-registry/subjects/<subject>/v1.avsc              a text as the registry gave it; written once
//! schema-registry/subjects/<subject>/v1.labels.json       its metadata and rules, where it has any
//! schema-registry/snapshots/<seq>-<incarnation>.json      a [`SchemaSnapshot`]: what became true; named by a commit
//! schema-registry/_schemas.json, subjects/<subject>/metadata.json, config/global.json        views for people
//! ```
//! A snapshot holds what changed since the one before it, so an unchanged schema is stored once however often the registry is
//! looked at. What all of them add up to is a [`Catalog`]. Nothing is ever taken out of it: a version that the registry has no more
//! is `gone`, and its schema is still there for the records that bear its id.

mod catalog;
mod extra;
mod keys;
mod others;
#[cfg(test)]
mod tests;

pub use catalog::{Catalog, SubjectRows};
pub use extra::Extra;
pub use keys::{extension, file_name, in_context, reference_target, subject_folder};
pub use others::{FROM_DEK_REGISTRY, FROM_TOPIC, Other};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::commit::ObjectRef;
use crate::hash::Hash;
use crate::{Error, Result};

/// What `format` says.
pub const SCHEMAS_FORMAT: &str = "replevin.schemas";
/// The version that this build writes, and the newest that it reads.
pub const SCHEMAS_VERSION: u32 = 1;
/// The largest snapshot in bytes; a writer begins another one before.
pub const MAX_SNAPSHOT: u64 = 64 << 20;

/// What is new about a registry's content since the snapshot before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SchemaSnapshot {
    /// [`SCHEMAS_FORMAT`].
    pub format: String,
    /// [`SCHEMAS_VERSION`].
    pub version: u32,
    /// Which registry, as a URL without credentials or the name of a topic.
    pub registry: String,
    /// When the walk through it began, ms since 1970 UTC by the writer's clock.
    pub time_ms: i64,
    /// The snapshot before; none in the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<ObjectRef>,
    /// Nothing before this snapshot is needed to know what there is: it begins a whole account, which those after it go on with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begins: bool,
    /// The registry's own version, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_version: Option<String>,
    /// Settings and modes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<PlaceRow>,
    /// Versions of subjects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<VersionRow>,
    /// What this build carries without knowing what it means.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherRow>,
    /// Members that this build does not know, kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Settings and mode of a place. A row stands for the whole place: it takes the place of the row before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlaceRow {
    /// Empty: the registry; `:.context:`: a context; `:.__GLOBAL:`: the defaults of all contexts; anything else: a subject, with its
    /// context in front where that is not the default one.
    pub place: String,
    /// Its own settings as `GET /config` gives them; none where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
    /// Its own mode; none where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// A version of a subject with its schema. It takes the place of the row of the [same schema](VersionRow::is_same).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionRow {
    /// The subject, with its context in front (`:.context:name`) where that is not the default one.
    pub subject: String,
    /// Its number, from 1.
    pub version: i32,
    /// The schema's id in the context.
    pub id: u32,
    /// Its GUID, where the registry tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// `AVRO`, `JSON`, `PROTOBUF`, or what the registry calls it.
    #[serde(rename = "type")]
    pub schema_type: String,
    /// Whether the registry still has it.
    #[serde(default, skip_serializing_if = "VersionState::is_active")]
    pub state: VersionState,
    /// The text.
    pub text: FileRef,
    /// Metadata and rules: a JSON object with `metadata`, `ruleSet` or both; none where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Box<FileRef>>,
    /// What it refers to, in the registry's own order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<ReferenceRow>,
    /// When it was registered, ms since 1970 UTC, where the registry tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<i64>,
    /// Members that this build does not know, kept.
    #[serde(flatten)]
    pub extra: Extra,
}

impl VersionRow {
    /// Whether both are one schema under one number of one subject: a later row then only says what became of it.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.subject, self.version, self.id, self.text.blake3)
            == (&other.subject, other.version, other.id, other.text.blake3)
            && self.labels.as_ref().map(|file| file.blake3) == other.labels.as_ref().map(|file| file.blake3)
            && (&self.schema_type, &self.references) == (&other.schema_type, &other.references)
    }

    /// The key of an object of this version.
    pub fn key(&self, file: &FileRef) -> String {
        file.key(&self.subject)
    }
}

/// An object in the subject's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Its name there.
    pub file: String,
    /// Bytes.
    pub length: u64,
    /// BLAKE3 of the stored bytes.
    pub blake3: Hash,
}

impl FileRef {
    /// Its key, in the folder of this subject.
    pub fn key(&self, subject: &str) -> String {
        keys::object_key(subject, &self.file)
    }
}

/// Whether the registry still has a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionState {
    /// Yes.
    #[default]
    Active,
    /// Deleted softly: hidden, and there for those who ask by id.
    Deleted,
    /// No: deleted for good, or another schema has the number by now.
    Gone,
}

impl VersionState {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
    fn is_active(&self) -> bool {
        *self == Self::Active
    }
}

/// A reference of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceRow {
    /// The name that the text uses.
    pub name: String,
    /// The subject as the registry has it; without a context it is one of the schema's own.
    pub subject: String,
    /// The version.
    pub version: i32,
}

/// Something that a registry keeps beside schemas (a KEK, a DEK, a record of an unknown kind), carried as it is. A row stands for its
/// key: it takes the place of the row before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OtherRow {
    /// Where it comes from: [`FROM_TOPIC`] or [`FROM_DEK_REGISTRY`].
    pub source: String,
    /// Its key there.
    pub key: Value,
    /// What it is; null where it was removed.
    pub value: Value,
}

impl SchemaSnapshot {
    /// An empty one.
    pub fn new(registry: impl Into<String>, time_ms: i64, before: Option<ObjectRef>) -> Self {
        Self {
            format: SCHEMAS_FORMAT.into(),
            version: SCHEMAS_VERSION,
            registry: registry.into(),
            time_ms,
            begins: before.is_none(),
            before,
            registry_version: None,
            places: Vec::new(),
            versions: Vec::new(),
            others: Vec::new(),
            extra: Map::new(),
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.versions.is_empty() && self.others.is_empty()
    }

    /// The stored bytes.
    ///
    /// # Errors
    /// More than [`MAX_SNAPSHOT`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let stored = serde_json::to_vec(self)
            .map_err(|e| Error::invalid("the schema snapshot does not serialize").caused_by(e))?;
        if stored.len() as u64 > MAX_SNAPSHOT {
            return Err(Error::refused(format!(
                "a schema snapshot of {} bytes; {MAX_SNAPSHOT} are the most",
                stored.len()
            )));
        }
        Ok(stored)
    }

    /// Reads the stored bytes, whose hash the caller has checked.
    ///
    /// # Errors
    /// Another format or a newer version; rows that no registry could have.
    pub fn decode(stored: &[u8]) -> Result<Self> {
        let snapshot: Self = serde_json::from_slice(stored)
            .map_err(|e| Error::unsupported("this is no schema snapshot").caused_by(e))?;
        if snapshot.format != SCHEMAS_FORMAT || snapshot.version > SCHEMAS_VERSION {
            let (format, version) = (&snapshot.format, snapshot.version);
            return Err(Error::unsupported(format!(
                "schema snapshot of format {format:?} version {version} is not known to this build"
            ))
            .hint("use the release that wrote it, or a newer one"));
        }
        if !snapshot.begins && snapshot.before.is_none() {
            return Err(Error::corrupt("a schema snapshot neither begins nor continues an account"));
        }
        for row in &snapshot.versions {
            row.check().map_err(|e| e.at(format_args!("{} version {}", row.subject, row.version)))?;
        }
        Ok(snapshot)
    }
}

impl VersionRow {
    fn check(&self) -> Result<()> {
        if self.version < 1 {
            return Err(Error::corrupt("versions begin at 1"));
        }
        for file in std::iter::once(&self.text).chain(self.labels.as_deref()) {
            if !keys::is_file_name(&file.file) {
                return Err(Error::corrupt(format!("{:?} is no name of an object", file.file)));
            }
        }
        Ok(())
    }
}
