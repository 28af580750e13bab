//! What a leader answers as rows of a store, and what must be done so that a context has them.

use crate::client::Schema;
use crate::identity;
use crate::live::{Draft, Live};
use crate::names::Subject;
use crate::schema::{Metadata, Reference, RuleSet, SchemaType};
use crate::service::drop_unused;
use crate::settings::{Config, Mode};
use crate::state::{ContextState, Version};
use crate::store::{Change, SchemaId, SchemaKey, SchemaRow, Texts, VersionRow};
use crate::transfer::Key;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// The highest id that clients can hold.
const HIGHEST_ID: SchemaId = i32::MAX as SchemaId;

/// A version as the leader has it.
#[derive(Debug, Clone)]
pub(super) struct Fresh {
    pub(super) subject: Subject,
    pub(super) version: i32,
    row: SchemaRow,
    texts: Texts,
    deleted: bool,
    time_ms: i64,
}

/// What a store has of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    /// The same.
    Same,
    /// The same schema; whether it is deleted, or when it was written, is another.
    Otherwise,
    /// Nothing.
    Missing,
    /// Another schema under its number.
    Another,
}

fn read<T: DeserializeOwned>(what: &str, value: Option<Value>) -> Result<Option<T>, String> {
    let read = value.map(serde_json::from_value).transpose();
    read.map_err(|error| format!("its {what} are not understood: {error}"))
}

impl Fresh {
    /// The rows of an answer; why this registry cannot hold it else.
    pub(super) fn of(schema: Schema) -> Result<Self, String> {
        let subject = Subject::parse(&schema.subject);
        if !subject.is_storable() || subject.context.is_global() {
            return Err(
                "its subject is longer than any store takes, or has a name that is reserved".to_owned()
            );
        }
        if schema.version < 1 || schema.id < 1 || schema.id > HIGHEST_ID {
            return Err(format!("no registry gives version {} or id {}", schema.version, schema.id));
        }
        let schema_type: SchemaType = schema.schema_type.parse()?;
        let metadata: Option<Metadata> = read("metadata", schema.metadata)?;
        let rule_set: Option<RuleSet> = read("rules", schema.rule_set)?;
        let references: Arc<[Reference]> = schema.references.into();
        let told = schema.guid.as_deref().and_then(|guid| Uuid::parse_str(guid).ok());
        let guid = told.unwrap_or_else(|| {
            identity::guid(&schema.schema, &references, metadata.as_ref(), rule_set.as_ref())
        });
        let key = SchemaKey::of(schema.id);
        Ok(Self {
            subject,
            version: schema.version,
            row: SchemaRow { key, guid, identity: *guid.as_bytes(), schema_type, references },
            texts: Texts {
                canonical: schema.schema.into(),
                submitted: None,
                metadata: metadata.map(Arc::new),
                rule_set: rule_set.map(Arc::new),
            },
            deleted: schema.deleted.unwrap_or(false),
            time_ms: schema.ts.unwrap_or_default(),
        })
    }

    pub(super) fn key(&self) -> Key {
        Key { subject: self.subject.to_string().into(), version: self.version }
    }

    pub(super) fn id(&self) -> SchemaId {
        self.row.key.id
    }

    pub(super) fn bytes(&self) -> usize {
        self.texts.bytes()
    }

    fn is(&self, row: &SchemaRow) -> bool {
        row.key == self.row.key && row.guid == self.row.guid && row.schema_type == self.row.schema_type
    }

    /// What the store has of it.
    pub(super) fn here(&self, live: &Live) -> Here {
        live.read(&self.subject.context, |state| {
            let Some(known) = version(state, &self.subject.name, self.version) else { return Here::Missing };
            if !state.schema(known.schema).is_some_and(|row| self.is(row)) {
                return Here::Another;
            }
            match known.deleted == self.deleted && known.time_ms == self.time_ms {
                true => Here::Same,
                false => Here::Otherwise,
            }
        })
    }

    /// Whether the store has another schema under its id.
    pub(super) fn is_id_taken(&self, live: &Live) -> bool {
        let taken = |state: &ContextState| state.schema(self.row.key).is_some_and(|row| !self.is(row));
        live.read(&self.subject.context, taken)
    }

    /// Whether the store has it, and as deleted; when it was written does not count.
    pub(super) fn is_held(&self, live: &Live) -> bool {
        live.read(&self.subject.context, |state| {
            let known = version(state, &self.subject.name, self.version);
            known.is_some_and(|known| {
                known.deleted == self.deleted && state.schema(known.schema).is_some_and(|row| self.is(row))
            })
        })
    }
}

/// A version of a subject by its number.
pub(super) fn version(state: &ContextState, subject: &str, number: i32) -> Option<Version> {
    let versions = state.versions(subject);
    versions.binary_search_by_key(&number, |known| known.version).ok().map(|at| versions[at])
}

/// One thing to be done to a context.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A version is as the leader has it.
    Put(Arc<Fresh>),
    /// A version is gone for good.
    Remove(Arc<str>, i32),
    /// Settings of a subject, or of the context.
    Config(Arc<str>, Option<Box<Config>>),
    /// The mode of a subject, or of the context.
    Mode(Arc<str>, Option<Mode>),
    /// The context is listed, or no longer.
    Listed(bool),
    /// The leader gives ids from this one on.
    NextId(SchemaId),
}

impl Step {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Put(fresh) => fresh.bytes(),
            _ => 0,
        }
    }
}

/// Adds all steps to a draft; gives the versions whose id belongs to another schema here, and which are left as they are.
pub(super) fn decide(draft: &mut Draft<'_>, steps: &[Step]) -> Vec<Key> {
    let mut held = Vec::new();
    let mut gone: Vec<(&Arc<str>, i32)> = Vec::new();
    let mut freed = BTreeSet::new();
    let mut is_listed = draft.state().is_listed();
    for step in steps {
        match step {
            Step::Put(fresh) => {
                match draft.schema(fresh.row.key) {
                    None => draft.put_schema(fresh.row.clone(), fresh.texts.clone()),
                    Some(known) if fresh.is(known) => {}
                    Some(_) => {
                        held.push(fresh.key());
                        continue;
                    }
                }
                draft.put(Change::Version(VersionRow {
                    subject: Arc::clone(&fresh.subject.name),
                    version: fresh.version,
                    schema: fresh.row.key,
                    deleted: fresh.deleted,
                    time_ms: fresh.time_ms,
                }));
                if !is_listed {
                    draft.put(Change::Listed(true));
                    is_listed = true;
                }
            }
            Step::Remove(subject, number) => {
                let Some(known) = version(draft.state(), subject, *number) else { continue };
                draft.put(Change::VersionGone { subject: Arc::clone(subject), version: *number });
                gone.push((subject, *number));
                freed.insert(known.schema.id);
            }
            Step::Config(subject, config) => {
                draft.put(Change::Config(Arc::clone(subject), config.clone()));
            }
            Step::Mode(subject, mode) => draft.put(Change::Mode(Arc::clone(subject), *mode)),
            Step::Listed(listed) => {
                draft.put(Change::Listed(*listed));
                is_listed = *listed;
            }
            Step::NextId(next) => {
                if *next > draft.next_id() {
                    draft.raise_next_id(*next);
                    // A commit needs a row: this one says what is so.
                    draft.put(Change::Listed(is_listed));
                }
            }
        }
    }
    for id in freed {
        drop_unused(draft, id, &gone);
    }
    held
}
