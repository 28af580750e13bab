//! Writes and reads checkpoints: pages first, then the root, then nothing until a later commit names the root.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use formats::checkpoint::{PageRef, PositionsPage, PositionsRef, Root, fold_changes, positions_pages};
use formats::commit::CheckpointRef;
use formats::document::{self, DocumentKind, MAX_DOCUMENT};
use formats::hash::Hash;
use formats::paths::ObjectName;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::runs::{self, RunWriter};
use super::{CommitLog, READ_AHEAD, put};
use crate::seam::Rand;
use crate::storage::Store;
use crate::{Error, ErrorKind, Result};

/// The commits from one writer's turn to make a checkpoint to the next one's: enough that what one makes is named by its
/// next commit before the next turn.
const TURN: u64 = 16;

impl CommitLog {
    /// Whether this log, having made the newest commit, should make a checkpoint: see [`super::CheckpointSettings`].
    pub(super) fn checkpoint_is_due(&self) -> bool {
        // One that is damaged is as good as none.
        let known = self.checkpoint.map(|known| known.seq).filter(|seq| *seq > self.distrusted);
        let newest = self.root_seq().max(known.unwrap_or(0));
        let (commits, changes) = (self.state.seq.saturating_sub(newest), self.changes_after(newest));
        let reached = |times: u32| {
            commits >= self.checkpoints.commits.saturating_mul(times.into())
                || changes >= self.checkpoints.changes.saturating_mul(times as usize)
        };
        let turn = self.checkpoints.commits.clamp(1, TURN);
        reached(2) || (reached(1) && self.state.seq.is_multiple_of(turn))
    }

    fn root_seq(&self) -> u64 {
        self.root.as_ref().map_or(0, |root| root.seq)
    }

    fn changes_after(&self, seq: u64) -> usize {
        let changes = self.state.changes.iter().flat_map(|changes| changes.iter());
        changes
            .filter(|change| change.seq > seq)
            .map(|change| change.added.len() + change.removed.len())
            .sum()
    }

    /// Loads the state that a commit's reference names.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], naming the object, where the root or a page is missing or altered; this log is as it was.
    pub(super) async fn load_checkpoint(&mut self, reference: CheckpointRef) -> Result<()> {
        let root = read_root(&*self.store, reference).await?;
        let store = Arc::clone(&self.store);
        let pages: Vec<PositionsPage> = stream::iter(page_refs(&root))
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

    /// Lets go of changes that a newer checkpoint of another writer holds, once there are enough of them: a log that only
    /// follows must not grow for ever.
    pub(super) async fn build_on_newest(&mut self) -> Result<()> {
        let newest = self.checkpoint.map_or(0, |known| known.seq);
        if newest > self.root_seq().max(self.distrusted)
            && self.changes_after(self.root_seq()) >= self.checkpoints.changes
        {
            self.rebase().await?;
        }
        Ok(())
    }

    /// Makes the newest checkpoint the one that this log's changes continue, where it is whole.
    async fn rebase(&mut self) -> Result<()> {
        let Some(newest) = self.checkpoint else { return Ok(()) };
        if newest.seq <= self.root_seq().max(self.distrusted) || newest.seq > self.state.seq {
            return Ok(());
        }
        match self.read_whole_root(newest).await {
            Ok(root) => {
                self.state.changes.retain(|changes| changes.iter().any(|change| change.seq > root.seq));
                self.root = Some(root);
            }
            Err(error) if error.kind() == ErrorKind::Damaged => {
                tracing::warn!(%error, seq = newest.seq, "a checkpoint is damaged; the next one is not built upon it");
                self.distrusted = newest.seq;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads a root and looks whether its positions are there, as the next checkpoint names unchanged pages again.
    async fn read_whole_root(&self, reference: CheckpointRef) -> Result<Root> {
        let root = read_root(&*self.store, reference).await?;
        let store = Arc::clone(&self.store);
        stream::iter(page_refs(&root))
            .map(|page| {
                let store = Arc::clone(&store);
                async move {
                    let key = ObjectName::page(page.seq, page.blake3).key();
                    store.head(&key).await?.map(drop).ok_or_else(|| missing(&key))
                }
            })
            .buffered(READ_AHEAD)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(root)
    }

    /// Makes a checkpoint of the state as it is now, right after a commit of this log's own: whoever made the commit answers
    /// for what lies below its number. Later commits name it.
    ///
    /// # Errors
    /// Whatever the store says; the log is none the worse for it.
    pub async fn write_checkpoint(&mut self) -> Result<()> {
        self.rebase().await?;
        let seq = self.state.seq;
        let to = PageWriter { store: &*self.store, rand: &*self.seam.rand, seq };
        let mut root = self.root.clone().unwrap_or_else(|| empty_root(seq));
        let old: BTreeMap<_, _> = page_refs(&root).into_iter().map(|page| (page.blake3, page)).collect();
        let pages = positions_pages(&self.state, &root.positions);
        root.positions.clear();
        for page in pages {
            let (Some(first), Some(last)) = (page.topics.first(), page.topics.last()) else { continue };
            let (first, last) = (first.topic.clone(), last.topic.clone());
            let partitions = page.topics.iter().map(|topic| topic.partitions.len() as u64).sum();
            let stored = document::seal(DocumentKind::Page, &page)?;
            let page = match old.get(&Hash::of(&stored)) {
                Some(unchanged) => *unchanged,
                None => to.put_stored(stored).await?,
            };
            root.positions.push(PositionsRef { first, last, partitions, page });
        }
        let changes = fold_changes(self.state.changes.iter().flat_map(|changes| changes.iter()));
        if !changes.is_empty() {
            let mut writer = RunWriter::new(&to);
            for change in changes {
                writer.push(change).await?;
            }
            root.runs.push(writer.finish(0).await?);
            if let Err(error) = runs::merge(&to, &mut root.runs).await {
                // Reading lists costs more while runs are not merged; a damaged one is told apart where it is read.
                tracing::warn!(%error, "runs of a checkpoint were not merged");
            }
        }
        root.seq = seq;
        root.head = self.state.head_hash();
        root.checkpoint = self.state.checkpoint;
        root.writer = self.state.writer;
        root.retired = (*self.state.retired).clone();
        root.schemas = self.state.schemas.clone();
        root.groups = self.state.groups.clone();
        root.cluster = self.state.cluster.clone();
        root.dropped = (*self.state.dropped).clone();
        let stored = Bytes::from(document::seal(DocumentKind::Checkpoint, &root)?);
        let mut blake3 = Hash::of(&stored);
        let key = ObjectName::CheckpointRoot(seq).key();
        if let Some(theirs) = put::create(to.store, to.rand, &key, &stored).await? {
            // Another writer's checkpoint of the same commit is as good.
            blake3 = Hash::of(&theirs);
            root = self.read_whole_root(CheckpointRef { seq, blake3 }).await?;
        }
        self.state.changes.clear();
        self.checkpoint = Some(CheckpointRef { seq, blake3 });
        self.root = Some(root);
        tracing::debug!(seq, "checkpoint written");
        Ok(())
    }
}

fn page_refs(root: &Root) -> Vec<PageRef> {
    root.positions.iter().map(|positions| positions.page).collect()
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
    let stored = store.get(key, MAX_DOCUMENT as u64).await?.ok_or_else(|| missing(key))?;
    if Hash::of(&stored) != blake3 {
        return Err(Error::damaged(format!("{key}: its BLAKE3 is not the one that the backup recorded"))
            .hint("restore the object from a copy of the store"));
    }
    Ok(stored)
}

fn missing(key: &str) -> Error {
    Error::damaged(format!("{key}: the object is missing")).hint("restore it from a copy of the store")
}

/// Puts the pages of the checkpoint after one commit.
pub(super) struct PageWriter<'a> {
    pub(super) store: &'a dyn Store,
    rand: &'a dyn Rand,
    seq: u64,
}

impl PageWriter<'_> {
    pub(super) async fn put(&self, page: &impl Serialize) -> Result<PageRef> {
        self.put_stored(document::seal(DocumentKind::Page, page)?).await
    }

    async fn put_stored(&self, stored: Vec<u8>) -> Result<PageRef> {
        let page = PageRef { seq: self.seq, blake3: Hash::of(&stored) };
        let key = ObjectName::page(self.seq, page.blake3).key();
        // The key tells the content, so an object that was there already is this page.
        match put::create(self.store, self.rand, &key, &stored.into()).await? {
            None => Ok(page),
            Some(_) => Err(Error::damaged(format!("{key}: holds something else than its name says"))),
        }
    }
}
