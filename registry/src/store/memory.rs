//! Keeps everything in memory, and nothing after the process ends. Nobody else can write to it, so what is gone leaves no row behind.

use super::{Change, Commit, Head, Heads, Key, Result, Revision, SchemaKey, Store, StoreError, Texts};
use crate::names::Context;
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

#[derive(Debug)]
struct Table {
    head: Head,
    rows: BTreeMap<Key, (Revision, Change)>,
    texts: HashMap<SchemaKey, Texts>,
}

#[derive(Debug, Default)]
struct Tables {
    contexts: BTreeMap<Context, Table>,
    links: Revision,
}

impl Tables {
    fn head(&self, context: &Context) -> Head {
        self.contexts.get(context).map_or(Head::EMPTY, |table| table.head)
    }

    fn is_fresh(&self, commit: &Commit) -> bool {
        let written = |context: &Context, key: &Key, seen: Revision| {
            let row = self.contexts.get(context).and_then(|table| table.rows.get(key));
            match (row, key) {
                (Some((revision, _)), _) => *revision > seen,
                (None, Key::Config(subject) | Key::Mode(subject)) if subject.is_empty() => false,
                // What is gone has left no row: that its context has moved is all that is known.
                (None, _) => self.head(context).revision != seen,
            }
        };
        let kept = |guard: &super::Guard| {
            self.head(&guard.context).revision >= guard.seen
                && !guard.rows.iter().any(|key| written(&guard.context, key, guard.seen))
        };
        self.head(&commit.context) == commit.expected
            && commit.guards.iter().all(kept)
            && commit.links_seen.is_none_or(|seen| seen == self.links)
    }
}

/// A store for tests and for trying things out.
#[derive(Debug)]
pub struct MemoryStore {
    epoch: Uuid,
    tables: Mutex<Tables>,
}

impl MemoryStore {
    /// An empty store. The epoch is any new UUID.
    pub fn new(epoch: Uuid) -> Self {
        Self { epoch, tables: Mutex::default() }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The settings of a whole context are guarded also where there are none, so what is gone is kept of them, and of nothing else.
fn leaves_nothing(change: &Change) -> bool {
    match change {
        Change::SchemaGone(_) | Change::VersionGone { .. } => true,
        Change::Config(subject, None) | Change::Mode(subject, None) => !subject.is_empty(),
        _ => false,
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
        let tables = self.tables();
        let contexts = tables.contexts.iter().map(|(context, table)| (context.clone(), table.head)).collect();
        Ok(Heads { epoch: self.epoch, contexts, links: tables.links })
    }

    async fn changes(&self, context: &Context, since: Head) -> Result<(Head, Vec<Change>)> {
        let tables = self.tables();
        let head = tables.head(context);
        if since.revision > head.revision
            || (since.revision == head.revision && since.attempt != head.attempt)
        {
            return Err(StoreError::Forked(format!("context {context} is at revision {}", head.revision)));
        }
        let rows = tables.contexts.get(context).into_iter().flat_map(|table| table.rows.values());
        let changed = rows.filter(|(revision, _)| *revision > since.revision);
        Ok((head, changed.map(|(_, change)| change.clone()).collect()))
    }

    async fn texts(&self, context: &Context, keys: &[SchemaKey]) -> Result<Vec<(SchemaKey, Texts)>> {
        let tables = self.tables();
        let Some(table) = tables.contexts.get(context) else { return Ok(Vec::new()) };
        Ok(keys.iter().filter_map(|key| Some((*key, table.texts.get(key)?.clone()))).collect())
    }

    async fn commit(&self, commit: &Commit) -> Result<Head> {
        let mut tables = self.tables();
        if !tables.is_fresh(commit) {
            return Err(StoreError::Conflict);
        }
        let (head, schemas) = (commit.head(), commit.schemas()?);
        tables.links += u64::from(commit.adds_links);
        let table = tables.contexts.entry(commit.context.clone()).or_insert_with(|| Table {
            head,
            rows: BTreeMap::new(),
            texts: HashMap::new(),
        });
        table.head = head;
        table.texts.extend(schemas.into_iter().map(|(row, texts)| (row.key, texts.clone())));
        for change in &commit.changes {
            if let Change::SchemaGone(key) = change {
                table.texts.remove(key);
            }
            if leaves_nothing(change) {
                table.rows.remove(&change.key());
            } else {
                table.rows.insert(change.key(), (head.revision, change.clone()));
            }
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

    #[tokio::test]
    async fn what_is_gone_takes_no_room() {
        let store = MemoryStore::new(Uuid::new_v4());
        let first = suite::first_commit("gone");
        store.commit(&first).await.expect("a commit");
        let rows = store.tables().contexts[&first.context].rows.len();
        let mut next = suite::next_commit(&first);
        store.commit(&next).await.expect("a second one");
        for _ in 0..50 {
            let (id, version) = (next.next_id - 1, i32::try_from(next.next_id - 1).expect("few"));
            let gone = Change::SchemaGone(SchemaKey::of(id));
            let changes = vec![Change::VersionGone { subject: "s".into(), version }, gone];
            let gone =
                Commit { attempt: Uuid::new_v4(), expected: next.head(), changes, texts: vec![], ..next };
            store.commit(&gone).await.expect("a removal");
            next = suite::next_commit(&gone);
            store.commit(&next).await.expect("another one");
        }
        assert_eq!(store.tables().contexts[&first.context].rows.len(), rows + 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn survives_races() {
        suite::survives_races(vec![std::sync::Arc::new(MemoryStore::new(Uuid::new_v4()))], "memory", 50, 20)
            .await;
    }
}
