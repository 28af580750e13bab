//! The values of records, in Confluent's JSON, and what we add in headers, which other registries do not look at.
//!
//! ```text
//! SCHEMA    {subject, version, id, md5?, schemaType?, references?, metadata?, ruleSet?, schema, deleted}
//! CONFIG    {subject?, ...}      MODE  {subject, mode}      CONTEXT  {tenant, context}
//! NOOP      nothing, or {nextIds: {context: id}} where ids were given that no record holds any more
//!
//! header replevin.commit      of the commit that a record belongs to: attempt, revision, next id, 1 if it has references into
//!                             another context (else 0), its context
//! header replevin.submitted   the bytes that were submitted, where they are not the schema's text
//! ```
//! `md5` is Confluent's own field for a GUID that does not follow from the rest of the record.

use super::log::Record;
use crate::identity;
use crate::names::{Context, Subject};
use crate::schema::{Metadata, Reference, RuleSet, SchemaType};
use crate::settings::{Config, Mode};
use crate::store::{SchemaId, SchemaKey, SchemaRow, Texts};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

const COMMIT: &str = "replevin.commit";
const SUBMITTED: &str = "replevin.submitted";

/// The value of a SCHEMA record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaValue {
    /// The schema.
    pub row: SchemaRow,
    /// Its texts.
    pub texts: Texts,
    /// The version is deleted softly.
    pub deleted: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireSchema<'a> {
    subject: String,
    version: i32,
    id: SchemaId,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_type: Option<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    references: &'a [Reference],
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_set: Option<&'a RuleSet>,
    schema: &'a str,
    deleted: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadSchema {
    id: SchemaId,
    #[serde(default)]
    md5: Option<String>,
    #[serde(default)]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default)]
    rule_set: Option<RuleSet>,
    schema: String,
    #[serde(default)]
    deleted: Option<bool>,
}

impl SchemaValue {
    /// Reads the value of a SCHEMA record with what its headers add.
    pub fn read(value: &[u8], record: &Record) -> Result<Self, String> {
        let read: ReadSchema = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let schema_type = match &read.schema_type {
            Some(name) => name.parse()?,
            None => SchemaType::Avro,
        };
        let references: Arc<[Reference]> = read.references.unwrap_or_default().into();
        let md5 = read.md5.and_then(|md5| STANDARD.decode(md5).ok());
        let guid = md5.and_then(|md5| Uuid::from_slice(&md5).ok()).unwrap_or_else(|| {
            identity::guid(&read.schema, &references, read.metadata.as_ref(), read.rule_set.as_ref())
        });
        let submitted = header(record, SUBMITTED).and_then(|text| std::str::from_utf8(text).ok());
        Ok(Self {
            row: SchemaRow {
                key: SchemaKey::of(read.id),
                guid,
                identity: *guid.as_bytes(),
                schema_type,
                references,
            },
            texts: Texts {
                canonical: read.schema.into(),
                submitted: submitted.map(Into::into),
                metadata: read.metadata.map(Arc::new),
                rule_set: read.rule_set.map(Arc::new),
            },
            deleted: read.deleted.unwrap_or(false),
        })
    }

    /// The value, and the headers beside it.
    pub fn write(&self, subject: &Subject, version: i32) -> Result<(Bytes, Vec<(String, Bytes)>), String> {
        let (row, texts) = (&self.row, &self.texts);
        let (metadata, rule_set) = (texts.metadata.as_deref(), texts.rule_set.as_deref());
        let follows = identity::guid(&texts.canonical, &row.references, metadata, rule_set) == row.guid;
        let wire = WireSchema {
            subject: subject.to_string(),
            version,
            id: row.key.id,
            md5: (!follows).then(|| STANDARD.encode(row.guid.as_bytes())),
            schema_type: (row.schema_type != SchemaType::Avro).then(|| row.schema_type.name()),
            references: &row.references,
            metadata,
            rule_set,
            schema: &texts.canonical,
            deleted: self.deleted,
        };
        let mut headers = Vec::new();
        if let Some(submitted) = &texts.submitted {
            headers.push((SUBMITTED.to_owned(), Bytes::copy_from_slice(submitted.as_bytes())));
        }
        Ok((json(&wire)?, headers))
    }
}

/// The id in a SCHEMA record that cannot be read otherwise: it must not be given again.
pub fn id_of(value: &[u8]) -> Option<SchemaId> {
    #[derive(Deserialize)]
    struct Id {
        id: SchemaId,
    }
    serde_json::from_slice::<Id>(value).ok().map(|read| read.id)
}

/// Reads the value of a CONFIG record.
pub fn read_config(value: &[u8]) -> Result<Config, String> {
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

/// The value of a CONFIG record.
pub fn write_config(subject: &Subject, config: &Config) -> Result<Bytes, String> {
    #[derive(Serialize)]
    struct Wire<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
        #[serde(flatten)]
        config: &'a Config,
    }
    json(&Wire { subject: named(subject), config })
}

/// Reads the value of a MODE record.
pub fn read_mode(value: &[u8]) -> Result<Mode, String> {
    #[derive(Deserialize)]
    struct Wire {
        mode: String,
    }
    let wire: Wire = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    wire.mode.parse()
}

/// The value of a MODE record.
pub fn write_mode(subject: &Subject, mode: Mode) -> Result<Bytes, String> {
    #[derive(Serialize)]
    struct Wire {
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
        mode: &'static str,
    }
    json(&Wire { subject: named(subject), mode: mode.name() })
}

/// The value of a CONTEXT record.
pub fn write_context(context: &Context) -> Result<Bytes, String> {
    json(&serde_json::json!({ "tenant": "default", "context": context.as_str() }))
}

/// The version up to which a DELETE_SUBJECT record deletes.
pub fn read_deleted_up_to(value: &[u8]) -> Result<i32, String> {
    #[derive(Deserialize)]
    struct Wire {
        version: i32,
    }
    serde_json::from_slice::<Wire>(value).map(|wire| wire.version).map_err(|error| error.to_string())
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Floors {
    #[serde(default)]
    next_ids: BTreeMap<String, SchemaId>,
}

/// The next ids that a NOOP record remembers; none where another registry wrote it.
pub fn read_floors(value: &[u8]) -> Vec<(Context, SchemaId)> {
    let Ok(floors) = serde_json::from_slice::<Floors>(value) else { return Vec::new() };
    floors.next_ids.iter().filter_map(|(name, id)| Some((Context::named(name)?, *id))).collect()
}

/// The value of a NOOP record that remembers next ids.
pub fn write_floors(floors: impl Iterator<Item = (Context, SchemaId)>) -> Result<Bytes, String> {
    json(&Floors { next_ids: floors.map(|(context, id)| (context.to_string(), id)).collect() })
}

/// Which commit a record belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The commit's attempt.
    pub attempt: Uuid,
    /// The revision that it made.
    pub revision: u64,
    /// The next id that it left.
    pub next_id: SchemaId,
    /// It has references into other contexts.
    pub adds_links: bool,
    /// The context that it changed.
    pub context: Context,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let links = u8::from(self.adds_links);
        write!(f, "{} {} {} {links} {}", self.attempt, self.revision, self.next_id, self.context)
    }
}

impl Stamp {
    /// That of a record; none where another registry wrote it.
    pub fn of(record: &Record) -> Option<Self> {
        let text = std::str::from_utf8(header(record, COMMIT)?).ok()?;
        let mut parts = text.splitn(5, ' ');
        Some(Self {
            attempt: parts.next()?.parse().ok()?,
            revision: parts.next()?.parse().ok()?,
            next_id: parts.next()?.parse().ok()?,
            adds_links: parts.next()? == "1",
            context: Context::named(parts.next()?)?,
        })
    }

    /// The header that it is.
    pub fn header(&self) -> (String, Bytes) {
        (COMMIT.to_owned(), self.to_string().into())
    }
}

/// A subject as values name it: what stands for everything has no name.
fn named(subject: &Subject) -> Option<String> {
    (!(subject.is_root() && subject.context.is_default())).then(|| subject.to_string())
}

fn header<'a>(record: &'a Record, name: &str) -> Option<&'a Bytes> {
    record.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn json(value: &impl Serialize) -> Result<Bytes, String> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| error.to_string())
}
