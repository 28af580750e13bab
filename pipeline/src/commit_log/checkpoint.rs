//! Writes and reads checkpoints: pages first, then the root, then nothing until a later commit names the root.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use formats::checkpoint::{
    FANOUT, ListChange, ListFold, PageRef, PositionsPage, PositionsRef, Root, RunIndex, RunPage, RunPageRef,
    RunPages, RunRef, fold_changes, positions_pages,
};
use formats::commit::CheckpointRef;
use formats::document::{self, DocumentKind, MAX_DOCUMENT};
use formats::hash::Hash;
use formats::ids::{LineageId, Topic, TopicPartition};
use formats::paths::ObjectName;
use futures::{StreamExt, TryStreamExt, stream};
use serde::de::DeserializeOwned;

use super::{CHECKPOINT_CHANGES, CHECKPOINT_EVERY, CommitLog, READ_AHEAD};
use crate::storage::{Created, Store};
use crate::{Error, Result};

impl CommitLog {
    pub(super) fn checkpoint_is_due(&self) -> bool {
        let since = self.state.seq - self.root.as_ref().map_or(0, |root| root.seq);
        let changes: usize =
            self.state.changes.iter().flat_map(|c| c.iter()).map(|c| c.added.len() + c.removed.len()).sum();
        since >= CHECKPOINT_EVERY || changes >= CHECKPOINT_CHANGES
    }

    /// Loads the state that a commit's reference names.
    pub(super) async fn load_checkpoint(&mut self, reference: CheckpointRef) -> Result<()> {
        let root = read_root(&*self.store, reference).await?;
        let store = Arc::clone(&self.store);
        let pages: Vec<PositionsPage> =
            stream::iter(root.positions.iter().map(|positions| positions.page).collect::<Vec<_>>())
                .map(|page| {
                    let store = Arc::clone(&store);
                    async move { read_page(&*store, page).await }
                })
                .buffered(READ_AHEAD)
                .try_collect()
                .await?;
        self.state = root.state(pages)?;
        self.root = Some(root);
        self.checkpoint = Some(reference);
        Ok(())
    }

    /// Makes a checkpoint of the state as it is now. Later commits name it.
    ///
    /// # Errors
    /// Whatever the store says; the log is none the worse for it.
    pub async fn write_checkpoint(&mut self) -> Result<()> {
        let seq = self.state.seq;
        let mut root = self.root.clone().unwrap_or_else(|| empty_root(seq));
        let old: BTreeMap<_, _> = root.positions.iter().map(|p| (p.page.blake3, p.page)).collect();
        let pages = positions_pages(&self.state, &root.positions);
        root.positions.clear();
        for page in pages {
            let (Some(first), Some(last)) = (page.topics.first(), page.topics.last()) else { continue };
            let (first, last) = (first.topic.clone(), last.topic.clone());
            let partitions = page.topics.iter().map(|topic| topic.partitions.len() as u64).sum();
            let stored = document::seal(DocumentKind::Page, &page)?;
            let page = match old.get(&Hash::of(&stored)) {
                Some(unchanged) => *unchanged,
                None => put_page(&*self.store, seq, stored).await?,
            };
            root.positions.push(PositionsRef { first, last, partitions, page });
        }
        let changes = fold_changes(self.state.changes.iter().flat_map(|changes| changes.iter()));
        if !changes.is_empty() {
            let mut writer = RunWriter::new(&*self.store, seq);
            for change in changes {
                writer.push(change).await?;
            }
            root.runs.push(writer.finish(0).await?);
        }
        merge_runs(&*self.store, seq, &mut root.runs).await?;
        root.seq = seq;
        root.head = self.state.head_hash();
        root.checkpoint = self.checkpoint;
        root.writer = self.state.writer;
        root.retired = (*self.state.retired).clone();
        root.schemas = self.state.schemas.clone();
        root.groups = self.state.groups.clone();
        root.cluster = self.state.cluster.clone();
        root.dropped = (*self.state.dropped).clone();
        let stored = document::seal(DocumentKind::Checkpoint, &root)?;
        let blake3 = Hash::of(&stored);
        let key = ObjectName::CheckpointRoot(seq).key();
        let created = self.store.create(&key, vec![stored.into()]).await?;
        if !matches!(created, Created::New(_)) {
            // Another writer's checkpoint of the same commit is as good, and an unclear one is told by its bytes.
            let found = self.store.get(&key, MAX_DOCUMENT as u64).await?;
            let same = found.is_some_and(|found| Hash::of(&found) == blake3);
            if !same {
                return Err(Error::retry(format!(
                    "{key}: another checkpoint of this commit is there, or none is"
                )));
            }
        }
        self.state.changes.clear();
        self.checkpoint = Some(CheckpointRef { seq, blake3 });
        self.root = Some(root);
        tracing::debug!(seq, "checkpoint written");
        Ok(())
    }
}

fn empty_root(seq: u64) -> Root {
    Root {
        seq,
        head: Hash::ZERO,
        checkpoint: None,
        writer: None,
        retired: Default::default(),
        schemas: None,
        groups: None,
        cluster: None,
        dropped: Default::default(),
        positions: Vec::new(),
        runs: Vec::new(),
        extra: serde_json::Map::new(),
    }
}

/// Reads the root that a commit names.
pub(crate) async fn read_root(store: &dyn Store, reference: CheckpointRef) -> Result<Root> {
    let key = ObjectName::CheckpointRoot(reference.seq).key();
    let stored = read_pinned(store, &key, reference.blake3).await?;
    let root: Root = document::open(DocumentKind::Checkpoint, &stored).map_err(|e| e.at(&key))?;
    if root.seq != reference.seq {
        return Err(Error::damaged(format!("{key}: holds the state after commit {}", root.seq)));
    }
    Ok(root)
}

/// Reads a page.
pub(crate) async fn read_page<T: DeserializeOwned>(store: &dyn Store, page: PageRef) -> Result<T> {
    let key = ObjectName::page(page.seq, page.blake3).key();
    let stored = read_pinned(store, &key, page.blake3).await?;
    Ok(document::open(DocumentKind::Page, &stored).map_err(|e| e.at(&key))?)
}

async fn read_pinned(store: &dyn Store, key: &str, blake3: Hash) -> Result<Bytes> {
    let stored = store.get(key, MAX_DOCUMENT as u64).await?;
    let stored = stored.ok_or_else(|| {
        Error::damaged(format!("{key}: the object is missing")).hint("restore it from a copy of the store")
    })?;
    if Hash::of(&stored) != blake3 {
        return Err(Error::damaged(format!("{key}: its BLAKE3 is not the one that the backup recorded"))
            .hint("restore the object from a copy of the store"));
    }
    Ok(stored)
}

async fn put_page(store: &dyn Store, seq: u64, stored: Vec<u8>) -> Result<PageRef> {
    let page = PageRef { seq, blake3: Hash::of(&stored) };
    let key = ObjectName::page(seq, page.blake3).key();
    // The key is the content, so an object that is there already, or arrived without an answer, is this page.
    if let Created::Unclear(_) = store.create(&key, vec![stored.into()]).await? {
        read_pinned(store, &key, page.blake3).await?;
    }
    Ok(page)
}

/// Merges the newest runs while there are [`FANOUT`] of one level at the end of the list.
async fn merge_runs(store: &dyn Store, seq: u64, runs: &mut Vec<RunRef>) -> Result<()> {
    while let Some(level) = runs.last().map(|run| run.level) {
        let from = runs.iter().rposition(|run| run.level != level).map_or(0, |at| at + 1);
        if runs.len() - from < FANOUT {
            return Ok(());
        }
        let oldest = from == 0;
        let mut sources = Vec::new();
        for run in &runs[from..] {
            let index: RunIndex = read_page(store, run.index).await?;
            sources.push(Source { pages: index.pages.into(), changes: VecDeque::new() });
        }
        let mut writer = RunWriter::new(store, seq);
        while let Some(change) = next_merged(store, &mut sources, oldest).await? {
            writer.push(change).await?;
        }
        let merged = writer.finish(level + 1).await?;
        runs.truncate(from);
        runs.push(merged);
    }
    Ok(())
}

struct Source {
    pages: VecDeque<RunPageRef>,
    changes: VecDeque<ListChange>,
}

impl Source {
    async fn peek(&mut self, store: &dyn Store) -> Result<Option<(Topic, i32, LineageId)>> {
        while self.changes.is_empty() {
            let Some(page) = self.pages.pop_front() else { return Ok(None) };
            let page: RunPage = read_page(store, page.page).await?;
            self.changes = page.changes.into();
        }
        Ok(self.changes.front().map(|change| (change.topic.clone(), change.partition, change.lineage)))
    }
}

/// The next lineage's changes in all sources as one change. Removals that hit nothing are kept for older runs, unless
/// there is none.
async fn next_merged(store: &dyn Store, sources: &mut [Source], oldest: bool) -> Result<Option<ListChange>> {
    let mut least: Option<(Topic, i32, LineageId)> = None;
    for source in sources.iter_mut() {
        if let Some(place) = source.peek(store).await?
            && least.as_ref().is_none_or(|least| place < *least)
        {
            least = Some(place);
        }
    }
    let Some(least) = least else { return Ok(None) };
    let mut fold = ListFold::default();
    for source in sources.iter_mut() {
        while source.peek(store).await?.as_ref() == Some(&least) {
            let Some(change) = source.changes.pop_front() else { break };
            fold.take(&change.removed, change.added);
        }
    }
    let (added, mut removed) = fold.finish();
    if oldest {
        removed.clear();
    }
    let (topic, partition, lineage) = least;
    Ok(Some(ListChange { topic, partition, lineage, removed, added }))
}

/// Writes a run page by page.
struct RunWriter<'a> {
    store: &'a dyn Store,
    seq: u64,
    pages: RunPages,
    index: RunIndex,
    segments: u64,
}

impl<'a> RunWriter<'a> {
    fn new(store: &'a dyn Store, seq: u64) -> Self {
        Self { store, seq, pages: RunPages::default(), index: RunIndex::default(), segments: 0 }
    }

    async fn push(&mut self, change: ListChange) -> Result<()> {
        self.segments += change.added.len() as u64;
        for page in self.pages.push(change) {
            self.put(page).await?;
        }
        Ok(())
    }

    async fn put(&mut self, page: RunPage) -> Result<()> {
        let place = |change: &ListChange| TopicPartition::new(change.topic.clone(), change.partition);
        let (Some(first), Some(last)) = (page.changes.first().map(place), page.changes.last().map(place))
        else {
            return Ok(());
        };
        let page = put_page(self.store, self.seq, document::seal(DocumentKind::Page, &page)?).await?;
        self.index.pages.push(RunPageRef { first, last, page });
        Ok(())
    }

    async fn finish(mut self, level: u32) -> Result<RunRef> {
        if let Some(page) = std::mem::take(&mut self.pages).finish() {
            self.put(page).await?;
        }
        let index = put_page(self.store, self.seq, document::seal(DocumentKind::Page, &self.index)?).await?;
        Ok(RunRef { level, segments: self.segments, index })
    }
}
