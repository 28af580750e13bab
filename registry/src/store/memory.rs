//! Keeps everything in memory, and nothing after the process ends.

use super::{Change, Commit, Head, Heads, Result, Revision, SchemaId, Store, StoreError, Texts};
use crate::names::Context;
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// The key of a row: what a later change of the same key replaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Schema(SchemaId),
    Version(Arc<str>, i32),
    Config(Arc<str>),
    Mode(Arc<str>),
    Listed,
}

pub(super) fn key(change: &Change) -> Key {
    match change {
        Change::Schema(row) => Key::Schema(row.id),
        Change::SchemaGone(id) => Key::Schema(*id),
        Change::Version(row) => Key::Version(Arc::clone(&row.subject), row.version),
        Change::VersionGone { subject, version } => Key::Version(Arc::clone(subject), *version),
        Change::Config(subject, _) => Key::Config(Arc::clone(subject)),
        Change::Mode(subject, _) => Key::Mode(Arc::clone(subject)),
        Change::Listed(_) => Key::Listed,
    }
}

#[derive(Debug)]
struct Table {
    head: Head,
    rows: BTreeMap<Key, (Revision, Change)>,
    texts: HashMap<SchemaId, Texts>,
}

/// A store for tests and for trying things out.
#[derive(Debug)]
pub struct MemoryStore {
    epoch: Uuid,
    tables: Mutex<BTreeMap<Context, Table>>,
}

impl MemoryStore {
    /// An empty store. The epoch is any new UUID.
    pub fn new(epoch: Uuid) -> Self {
        Self { epoch, tables: Mutex::default() }
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<Context, Table>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn backend(&self) -> &'static str {
        "memory"
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn heads(&self) -> Result<Heads> {
        let contexts = self.tables().iter().map(|(context, table)| (context.clone(), table.head)).collect();
        Ok(Heads { epoch: self.epoch, contexts })
    }

    async fn changes(&self, context: &Context, since: Revision) -> Result<(Head, Vec<Change>)> {
        let tables = self.tables();
        let Some(table) = tables.get(context) else { return Ok((Head::EMPTY, Vec::new())) };
        let changed = table.rows.values().filter(|(revision, _)| *revision > since);
        Ok((table.head, changed.map(|(_, change)| change.clone()).collect()))
    }

    async fn texts(&self, context: &Context, ids: &[SchemaId]) -> Result<Vec<(SchemaId, Texts)>> {
        let tables = self.tables();
        let Some(table) = tables.get(context) else { return Ok(Vec::new()) };
        Ok(ids.iter().filter_map(|id| Some((*id, table.texts.get(id)?.clone()))).collect())
    }

    async fn commit(&self, commit: &Commit) -> Result<Head> {
        let mut tables = self.tables();
        let head = |context: &Context, tables: &BTreeMap<Context, Table>| {
            tables.get(context).map_or(Head::EMPTY, |table| table.head)
        };
        let stale =
            commit.guards.iter().any(|(context, revision)| head(context, &tables).revision != *revision);
        if stale || head(&commit.context, &tables) != commit.expected {
            return Err(StoreError::Conflict);
        }
        let (head, schemas) = (commit.head(), commit.schemas()?);
        let table = tables.entry(commit.context.clone()).or_insert_with(|| Table {
            head,
            rows: BTreeMap::new(),
            texts: HashMap::new(),
        });
        table.head = head;
        table.texts.extend(schemas.into_iter().map(|(row, texts)| (row.id, texts.clone())));
        for change in &commit.changes {
            if let Change::SchemaGone(id) = change {
                table.texts.remove(id);
            }
            table.rows.insert(key(change), (head.revision, change.clone()));
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite;

    #[tokio::test]
    async fn passes_the_suite() {
        suite::passes(&MemoryStore::new(Uuid::new_v4()), "memory").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn survives_races() {
        suite::survives_races(vec![Arc::new(MemoryStore::new(Uuid::new_v4()))], "memory", 50, 20).await;
    }
}
