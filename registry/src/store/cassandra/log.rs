//! The log of commits in a context's partition: what a commit has changed, as JSON, so that who has seen the one before need not read
//! the whole partition. Entries go away after a week; who has been away longer, or was told of a very large commit, reads everything.

use super::rows::{self, Rows};
use super::{Change, Result};
use crate::settings::{Config, Mode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How many seconds an entry is kept.
pub(super) const KEPT: i32 = 7 * 24 * 3600;
/// A commit with more rows than this has an entry that says only that it was.
const ROWS: usize = 500;

/// One row.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    Schema { id: i64, r#type: String, guid: String, identity: [u8; 16], refs: String },
    SchemaGone(i64),
    Version { subject: Arc<str>, version: i32, id: i64, deleted: bool, time: i64 },
    VersionGone(Arc<str>, i32),
    Config(String, Option<Box<Config>>),
    Mode(String, Option<Mode>),
    Listed(bool),
}

/// The entry of a commit; nothing where it is too large for one.
pub(super) fn entry(rows: &Rows<'_>) -> Result<Option<String>> {
    let count = rows.schemas.len() + rows.versions.len() + rows.configs.len() + rows.modes.len();
    if count > ROWS {
        return Ok(None);
    }
    let mut entries = Vec::with_capacity(count + 1);
    for (key, row) in &rows.schemas {
        entries.push(match row {
            None => Entry::SchemaGone(rows::kept(*key)),
            Some((row, _)) => Entry::Schema {
                id: rows::kept(*key),
                r#type: row.schema_type.name().into(),
                guid: row.guid.to_string(),
                identity: row.identity,
                refs: rows::json(&row.references)?,
            },
        });
    }
    for ((subject, version), row) in &rows.versions {
        entries.push(match row {
            None => Entry::VersionGone((*subject).into(), *version),
            Some(row) => Entry::Version {
                subject: Arc::clone(&row.subject),
                version: *version,
                id: rows::kept(row.schema),
                deleted: row.deleted,
                time: row.time_ms,
            },
        });
    }
    let configs = rows
        .configs
        .iter()
        .map(|(name, config)| Entry::Config((*name).into(), config.cloned().map(Box::new)));
    entries.extend(configs);
    entries.extend(rows.modes.iter().map(|(name, mode)| Entry::Mode((*name).into(), *mode)));
    entries.extend(rows.listed.map(Entry::Listed));
    rows::json(&entries).map(Some)
}

/// The changes of an entry.
pub(super) fn changes(entry: &str) -> Result<Vec<Change>> {
    let entries: Vec<Entry> =
        serde_json::from_str(entry).map_err(|error| rows::corrupt("an entry of the log", error))?;
    entries.into_iter().map(Entry::change).collect()
}

impl Entry {
    fn change(self) -> Result<Change> {
        Ok(match self {
            Self::Schema { id, r#type, guid, identity, refs } => {
                rows::schema(id, false, &guid, &identity, &r#type, &refs)?
            }
            Self::SchemaGone(id) => Change::SchemaGone(rows::key(id)?),
            Self::Version { subject, version, id, deleted, time } => {
                rows::version(subject, version, false, id, deleted, time)?
            }
            Self::VersionGone(subject, version) => Change::VersionGone { subject, version },
            Self::Config(subject, config) => Change::Config(subject.into(), config),
            Self::Mode(subject, mode) => Change::Mode(subject.into(), mode),
            Self::Listed(listed) => Change::Listed(listed),
        })
    }
}
