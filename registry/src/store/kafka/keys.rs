//! The keys of records: what a record is about, in Confluent's JSON.
//!
//! Compaction compares bytes, so the order of members matters; [`RecordKey::bytes`] gives Confluent's own. Other forms are
//! read as well: Karapace long wrote the same members in another order, and older registries other magic numbers.

use crate::json::quote;
use crate::names::{Context, Subject};
use bytes::Bytes;
use serde::Deserialize;

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKey {
    /// A version of a subject.
    Schema(Subject, i32),
    /// The settings of a subject, or of a context by its root.
    Config(Subject),
    /// The mode of a subject, or of a context by its root.
    Mode(Subject),
    /// Nothing: written to find the end.
    Noop,
    /// Versions up to one are deleted softly. Written by old registries.
    DeleteSubject(Subject),
    /// What is deleted softly is gone; of all contexts where no subject is named.
    ClearSubject(Option<Subject>),
    /// A context is listed.
    Context(Context),
    /// Something that a registry of another make knows. It is left where it is.
    Foreign,
}

#[derive(Deserialize)]
struct Wire {
    keytype: String,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    version: Option<i32>,
    #[serde(default)]
    context: Option<String>,
    #[serde(default)]
    tenant: Option<String>,
}

/// The only tenant of registries that people run themselves.
const TENANT: &str = "default";

impl RecordKey {
    /// Reads a key; an error where it is none, or lacks what its type needs.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let wire: Wire =
            serde_json::from_slice(bytes).map_err(|error| format!("its key is none: {error}"))?;
        let root = || Subject::new(Context::default_context(), "");
        let named = |what: &str| {
            let name =
                wire.subject.as_deref().ok_or_else(|| format!("its key of type {what} has no subject"));
            name.map(Subject::parse)
        };
        Ok(match wire.keytype.as_str() {
            "SCHEMA" => {
                let version = wire.version.filter(|version| *version > 0);
                Self::Schema(named("SCHEMA")?, version.ok_or("its key of type SCHEMA has no version")?)
            }
            "CONFIG" => Self::Config(wire.subject.as_deref().map_or_else(root, Subject::parse)),
            "MODE" => Self::Mode(wire.subject.as_deref().map_or_else(root, Subject::parse)),
            "NOOP" => Self::Noop,
            "DELETE_SUBJECT" => Self::DeleteSubject(named("DELETE_SUBJECT")?),
            "CLEAR_SUBJECT" => {
                let subject = wire.subject.as_deref().filter(|subject| !subject.is_empty());
                Self::ClearSubject(subject.map(Subject::parse))
            }
            "CONTEXT" if wire.tenant.as_deref().is_none_or(|tenant| tenant == TENANT) => {
                let context = wire.context.as_deref().and_then(Context::named);
                Self::Context(context.ok_or("its key of type CONTEXT has no context")?)
            }
            _ => Self::Foreign,
        })
    }

    /// Confluent's own form; nothing for what is not ours to write.
    pub fn bytes(&self) -> Option<Bytes> {
        let quoted = |text: &str| {
            let mut out = String::with_capacity(text.len() + 2);
            // Writing into a string cannot fail.
            let _ = quote(text, &mut out);
            out
        };
        // What stands for everything has no subject in Confluent's registry.
        let named = |subject: &Subject| match subject.is_root() && subject.context.is_default() {
            true => "null".to_owned(),
            false => quoted(&subject.to_string()),
        };
        let text = match self {
            Self::Schema(subject, version) => {
                let subject = quoted(&subject.to_string());
                format!(r#"{{"keytype":"SCHEMA","subject":{subject},"version":{version},"magic":1}}"#)
            }
            Self::Config(subject) => {
                format!(r#"{{"keytype":"CONFIG","subject":{},"magic":0}}"#, named(subject))
            }
            Self::Mode(subject) => format!(r#"{{"keytype":"MODE","subject":{},"magic":0}}"#, named(subject)),
            Self::Noop => r#"{"keytype":"NOOP","magic":0}"#.to_owned(),
            Self::Context(context) => {
                let context = quoted(context.as_str());
                format!(r#"{{"keytype":"CONTEXT","tenant":"{TENANT}","context":{context},"magic":0}}"#)
            }
            Self::DeleteSubject(_) | Self::ClearSubject(_) | Self::Foreign => return None,
        };
        Some(text.into())
    }
}
