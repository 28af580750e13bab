//! The rows of a commit, and the plain values that databases keep of them. Shared by all durable stores: what is a number, a
//! text or JSON in one of them is the same in the others. No database is known here.

use super::{
    Change, Commit, Guard, Head, Heads, Result, SchemaKey, SchemaRow, StoreError, Texts, VersionRow,
};
use crate::names::Context;
use crate::schema::{Metadata, Reference, RuleSet};
use crate::settings::{Config, Mode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// How many of its last commits a context remembers, to answer what became of one. A writer asks within a minute.
pub(crate) const REMEMBERED_COMMITS: i64 = 10_000;
/// Older ones are removed once in so many commits.
pub(crate) const FORGET_EVERY: u64 = 256;

/// What a commit comes down to: one row for each key, the last change of it; nothing where the key is gone.
#[derive(Debug, Default)]
pub(crate) struct Rows<'a> {
    pub(crate) schemas: BTreeMap<SchemaKey, Option<(&'a SchemaRow, &'a Texts)>>,
    pub(crate) versions: BTreeMap<(&'a str, i32), Option<&'a VersionRow>>,
    pub(crate) configs: BTreeMap<&'a str, Option<&'a Config>>,
    pub(crate) modes: BTreeMap<&'a str, Option<Mode>>,
    pub(crate) listed: Option<bool>,
}

impl<'a> Rows<'a> {
    /// The rows of a commit; an error where schemas and texts do not belong together.
    pub(crate) fn of(commit: &'a Commit) -> Result<Self> {
        let mut rows = Self::default();
        let mut schemas = commit.schemas()?.into_iter();
        for change in &commit.changes {
            match change {
                Change::Schema(row) => drop(rows.schemas.insert(row.key, schemas.next())),
                Change::SchemaGone(key) => drop(rows.schemas.insert(*key, None)),
                Change::Version(row) => {
                    rows.versions.insert((&row.subject, row.version), Some(row));
                }
                Change::VersionGone { subject, version } => {
                    rows.versions.insert((subject, *version), None);
                }
                Change::Config(subject, config) => {
                    rows.configs.insert(subject, config.as_deref());
                }
                Change::Mode(subject, mode) => {
                    rows.modes.insert(subject, *mode);
                }
                Change::Listed(listed) => rows.listed = Some(*listed),
            }
        }
        Ok(rows)
    }

    /// The new schemas with their texts.
    pub(crate) fn new_schemas(&self) -> impl Iterator<Item = (&'a SchemaRow, &'a Texts)> {
        self.schemas.values().filter_map(|row| *row)
    }

    /// The schemas that are gone.
    pub(crate) fn gone_schemas(&self) -> impl Iterator<Item = SchemaKey> {
        self.schemas.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| *key)
    }

    /// Every subject that is named.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = &'a str> {
        let versions = self.versions.keys().map(|(subject, _)| *subject);
        versions.chain(self.configs.keys().copied()).chain(self.modes.keys().copied())
    }
}

/// The name under which the tables of contexts count the commits that have references from one context into another. No context
/// can have it.
pub(crate) const LINKS: &str = ":links";

/// The rows in the table of contexts that a commit locks: its own and its guards', by name, so that two commits lock in the same
/// order.
pub(crate) fn locked(commit: &Commit) -> Vec<&str> {
    let mut names: Vec<&str> = commit.guards.iter().map(|guard| guard.context.as_str()).collect();
    names.push(commit.context.as_str());
    names.extend((commit.adds_links || commit.links_seen.is_some()).then_some(LINKS));
    names.sort_unstable();
    names.dedup();
    names
}

/// Some of the rows to be locked may not be there yet.
pub(crate) fn may_be_new(commit: &Commit) -> bool {
    let links = commit.adds_links || commit.links_seen.is_some();
    commit.expected.revision == 0 || links || commit.guards.iter().any(|guard| guard.seen == 0)
}

/// Whether a commit may be made on these heads; of guards whose contexts have moved the rows must be looked at.
pub(crate) fn is_fresh<'c>(commit: &'c Commit, heads: &BTreeMap<String, Head>) -> Option<Vec<&'c Guard>> {
    let head = |name: &str| heads.get(name).copied().unwrap_or(Head::EMPTY);
    let revision = |guard: &Guard| head(guard.context.as_str()).revision;
    let fresh = head(commit.context.as_str()) == commit.expected
        && commit.guards.iter().all(|guard| revision(guard) >= guard.seen)
        && commit.links_seen.is_none_or(|seen| head(LINKS).revision == seen);
    fresh.then(|| commit.guards.iter().filter(|guard| revision(guard) != guard.seen).collect())
}

/// Refuses to go on from a head that another history has made. `made_by` is who made its revision here, where that is known.
pub(crate) fn require_history(
    context: &Context,
    since: Head,
    now: Head,
    made_by: Option<&str>,
) -> Result<()> {
    let remembered = i128::from(now.revision) - i128::from(REMEMBERED_COMMITS);
    let same = match made_by {
        _ if since.revision == 0 => true,
        _ if since.revision == now.revision => since.attempt == now.attempt,
        Some(made_by) => made_by == since.attempt.to_string(),
        None => since.revision < now.revision && i128::from(since.revision) <= remembered,
    };
    if same {
        return Ok(());
    }
    Err(StoreError::Forked(format!(
        "context {context} is at revision {}, and what was its revision {} before is not in its history",
        now.revision, since.revision
    )))
}

/// Says what makes no sense.
pub(crate) fn corrupt(what: &str, why: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("{what}: {why}"))
}

/// A number as databases keep it.
pub(crate) fn number(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|error| corrupt("a revision", error))
}

pub(crate) fn head(revision: i64, attempt: &str, next_id: i64) -> Result<Head> {
    Ok(Head {
        revision: revision.try_into().map_err(|error| corrupt("the revision of a context", error))?,
        attempt: uuid("the last commit of a context", attempt)?,
        next_id: next_id.try_into().map_err(|error| corrupt("the next id of a context", error))?,
    })
}

/// The heads as the table of contexts has them.
pub(crate) fn heads(epoch: Uuid, found: impl IntoIterator<Item = (String, Head)>) -> Result<Heads> {
    let mut heads = Heads { epoch, contexts: BTreeMap::new(), links: 0 };
    for (name, head) in found {
        match &*name {
            LINKS => heads.links = head.revision,
            name => drop(heads.contexts.insert(context(name)?, head)),
        }
    }
    Ok(heads)
}

pub(crate) fn context(name: &str) -> Result<Context> {
    Context::named(name).ok_or_else(|| StoreError::Corrupt(format!("{name:?} is no name of a context")))
}

pub(crate) fn uuid(what: &str, text: &str) -> Result<Uuid> {
    text.parse().map_err(|error| corrupt(what, error))
}

/// A schema's key as databases keep it: the id, and the variant above it.
pub(crate) fn kept(key: SchemaKey) -> i64 {
    (i64::from(key.variant) << 32) | i64::from(key.id)
}

pub(crate) fn key(value: i64) -> Result<SchemaKey> {
    let part = |value: i64| value.try_into().map_err(|error| corrupt("the id of a schema", error));
    Ok(SchemaKey { id: part(value & i64::from(u32::MAX))?, variant: part(value >> 32)? })
}

/// A schema as it was kept, or that it is gone.
pub(crate) fn schema(
    id: i64,
    gone: bool,
    guid: &str,
    identity: &[u8],
    schema_type: &str,
    references: &str,
) -> Result<Change> {
    let key = key(id)?;
    if gone {
        return Ok(Change::SchemaGone(key));
    }
    let what = || format!("schema {key}");
    let references: Vec<Reference> = match references {
        "[]" => Vec::new(),
        some => serde_json::from_str(some).map_err(|error| corrupt(&what(), error))?,
    };
    Ok(Change::Schema(SchemaRow {
        key,
        guid: uuid("the guid of a schema", guid)?,
        identity: identity.try_into().map_err(|error| corrupt(&what(), error))?,
        schema_type: schema_type.parse().map_err(|error: String| corrupt(&what(), error))?,
        references: references.into(),
    }))
}

pub(crate) fn version(
    subject: Arc<str>,
    version: i32,
    gone: bool,
    id: i64,
    deleted: bool,
    time_ms: i64,
) -> Result<Change> {
    if gone {
        return Ok(Change::VersionGone { subject, version });
    }
    Ok(Change::Version(VersionRow { subject, version, schema: key(id)?, deleted, time_ms }))
}

pub(crate) fn config(subject: &str, config: Option<&str>) -> Result<Change> {
    Ok(Change::Config(subject.into(), read(&format!("the config of {subject:?}"), config)?.map(Box::new)))
}

pub(crate) fn mode(subject: &str, mode: Option<&str>) -> Result<Change> {
    let parsed = mode.map(str::parse).transpose();
    Ok(Change::Mode(
        subject.into(),
        parsed.map_err(|error: String| corrupt(&format!("the mode of {subject:?}"), error))?,
    ))
}

pub(crate) fn texts(
    key: SchemaKey,
    canonical: &str,
    submitted: Option<&str>,
    metadata: Option<&str>,
    rule_set: Option<&str>,
) -> Result<Texts> {
    let what = format!("schema {key}");
    Ok(Texts {
        canonical: canonical.into(),
        submitted: submitted.map(Into::into),
        metadata: read::<Metadata>(&what, metadata)?.map(Arc::new),
        rule_set: read::<RuleSet>(&what, rule_set)?.map(Arc::new),
    })
}

fn read<T: DeserializeOwned>(what: &str, json: Option<&str>) -> Result<Option<T>> {
    json.map(serde_json::from_str).transpose().map_err(|error| corrupt(what, error))
}

/// A value as JSON text.
pub(crate) fn json(value: &(impl Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string(value).map_err(|error| corrupt("a value that was to be kept", error))
}

/// The same for one that may be missing.
pub(crate) fn json_of(value: Option<&impl Serialize>) -> Result<Option<String>> {
    value.map(json).transpose()
}
