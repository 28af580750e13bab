//! What died on its way: objects below `checkpoints/` that no commit leads to.
//!
//! The checkpoint after commit n is made by the incarnation that made commit n, right after it, and its next commit names
//! the root. So until then a root and its pages are that incarnation's orphans, as a segment is; and once it is retired
//! nobody can name them any more, because whoever goes on builds upon roots that commits name, and upon their pages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use formats::checkpoint::{PageRef, Root, RunIndex};
use formats::commit::CheckpointRef;
use formats::hash::Hash;
use formats::ids::Incarnation;
use formats::paths::{CHECKPOINTS, ObjectName};
use futures::{StreamExt, TryStreamExt, stream};

use super::checkpoint::{read_page, read_root};
use super::{READ_AHEAD, read_commit, tail};
use crate::Result;
use crate::storage::{ObjectInfo, Store};

/// The checkpoints that commits up to one name, with everything in them.
#[derive(Debug)]
pub(crate) struct NamedCheckpoints {
    head: u64,
    roots: BTreeMap<u64, Hash>,
    /// Pages as their keys tell them.
    pages: BTreeSet<(u64, [u8; 16])>,
}

impl NamedCheckpoints {
    /// Reads every root that commits up to `head` name. Costs a commit, a root and an index a checkpoint; further commits
    /// only where a root lies there that is not in the row of those that name each other.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Damaged`] where one is missing or altered: then nobody can say which pages it names.
    pub(crate) async fn read(store: &Arc<dyn Store>, head: u64) -> Result<Self> {
        let mut named = Self { head, roots: BTreeMap::new(), pages: BTreeSet::new() };
        let mut there = BTreeSet::new();
        let mut listing = store.list(CHECKPOINTS, None);
        while let Some(object) = listing.try_next().await? {
            if let Ok(ObjectName::CheckpointRoot(seq)) = ObjectName::parse(&object.key) {
                there.insert(seq);
            }
        }
        there.retain(|seq| *seq <= head);
        // The commit that a checkpoint was made after names the one before it, the newest commit the newest.
        let row = there.iter().copied().chain((head > 0).then_some(head)).collect::<BTreeSet<_>>();
        named.note(store, row.into_iter().collect::<Vec<_>>()).await?;
        let unseen = there.iter().copied().find(|seq| !named.roots.contains_key(seq));
        if let Some(first) = unseen {
            named.note(store, first + 1..=head).await?;
        }
        named.read_roots(store).await?;
        Ok(named)
    }

    /// Takes note of what some commits name.
    async fn note(
        &mut self,
        store: &Arc<dyn Store>,
        seqs: impl IntoIterator<Item = u64, IntoIter: Send>,
    ) -> Result<()> {
        let store = Arc::clone(store);
        let reads = stream::iter(seqs).map(move |seq| {
            let store = Arc::clone(&store);
            async move { read_commit(&*store, seq).await?.ok_or_else(|| tail::vanished(seq)) }
        });
        let mut commits = Box::pin(reads.buffered(READ_AHEAD));
        while let Some((commit, _)) = commits.try_next().await? {
            if let Some(CheckpointRef { seq, blake3 }) = commit.checkpoint {
                self.roots.insert(seq, blake3);
            }
        }
        Ok(())
    }

    async fn read_roots(&mut self, store: &Arc<dyn Store>) -> Result<()> {
        let named: Vec<_> = self.roots.iter().map(|(&seq, &blake3)| CheckpointRef { seq, blake3 }).collect();
        let source = Arc::clone(store);
        let reads = stream::iter(named).map(move |reference| {
            let store = Arc::clone(&source);
            async move { read_root(&*store, reference).await }
        });
        let mut roots = Box::pin(reads.buffered(READ_AHEAD));
        let mut indexes = Vec::new();
        while let Some(root) = roots.try_next().await? {
            let Root { positions, runs, .. } = root;
            self.pages.extend(positions.iter().map(|positions| key_of(positions.page)));
            indexes
                .extend(runs.iter().map(|run| run.index).filter(|index| self.pages.insert(key_of(*index))));
        }
        let source = Arc::clone(store);
        let reads = stream::iter(indexes).map(move |index| {
            let store = Arc::clone(&source);
            async move { read_page::<RunIndex>(&*store, index).await }
        });
        let mut indexes = Box::pin(reads.buffered(READ_AHEAD));
        while let Some(index) = indexes.try_next().await? {
            self.pages.extend(index.pages.iter().map(|page| key_of(page.page)));
        }
        Ok(())
    }

    fn holds(&self, name: &ObjectName) -> bool {
        match name {
            ObjectName::CheckpointRoot(seq) => self.roots.contains_key(seq),
            ObjectName::CheckpointPage(seq, half) => self.pages.contains(&(*seq, *half)),
            _ => false,
        }
    }

    /// Everything else below `checkpoints/`, with the incarnation whose it is. What belongs to commits after the head that
    /// was asked for is left out: somebody is at work on it.
    pub(crate) async fn others(&self, store: &dyn Store) -> Result<Vec<(ObjectInfo, Option<Incarnation>)>> {
        let mut others = Vec::new();
        let mut makers = BTreeMap::new();
        let mut listing = store.list(CHECKPOINTS, None);
        while let Some(object) = listing.try_next().await? {
            let seq = match ObjectName::parse(&object.key) {
                Ok(name) if self.holds(&name) => continue,
                Ok(ObjectName::CheckpointRoot(seq) | ObjectName::CheckpointPage(seq, _)) => seq,
                // Not of this layout.
                _ => {
                    others.push((object, None));
                    continue;
                }
            };
            if seq > self.head {
                continue;
            }
            let maker = match makers.get(&seq) {
                Some(maker) => *maker,
                None => {
                    let maker = read_commit(store, seq).await?.map(|(commit, _)| commit.incarnation);
                    makers.insert(seq, maker);
                    maker
                }
            };
            others.push((object, maker));
        }
        Ok(others)
    }
}

fn key_of(page: PageRef) -> (u64, [u8; 16]) {
    let mut half = [0; 16];
    half.copy_from_slice(&page.blake3.0[..16]);
    (page.seq, half)
}
