//! The optimistic commit log: the only place where "backed up" becomes true.
//!
//! Order of durable writes, enforced here and nowhere else:
//!
//! ```text
//! 1  objects (segments, packs, snapshots)   durable before the commit that names them is sent
//! 2  commits/<n>                            create-only; n is the number after the last commit applied
//! 3  checkpoints/<n>/...                    pages, then root; only later commits name the root
//! ```
//!
//! Commit n can be made only by a writer that has applied every commit before n, by a create-only put that one writer
//! wins; after every lost race the winner's commit is applied and everything is checked again. So a frozen, partitioned
//! or second writer can waste work but never fork, overwrite or skip a history. No clock and no lease is trusted.
//!
//! A put without a clear answer is resolved by reading its number: own bytes are a success, others a loss, and where
//! nothing is there *the same bytes* are sent again, never another commit.

pub(crate) mod checkpoint;
mod lists;
mod manifest;
mod tail;
#[cfg(test)]
mod tests;

pub(crate) use lists::ListSource;
pub use lists::TopicLists;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use formats::checkpoint::Root;
use formats::commit::{CheckpointRef, Commit, Op};
use formats::document::MAX_DOCUMENT;
use formats::hash::Hash;
use formats::ids::{BackupId, Incarnation};
use formats::paths::{self, ObjectName};
use formats::repository::{MAX_REPOSITORY, Repository};
use formats::state::State;
use futures::{StreamExt, TryStreamExt, stream};

use crate::seam::{Seam, backoff};
use crate::storage::{Created, Store};
use crate::{Error, Result};

/// Commits after which a writer makes a checkpoint.
const CHECKPOINT_EVERY: u64 = 256;
/// Segment changes after which it makes one earlier.
const CHECKPOINT_CHANGES: usize = 32_768;
/// Reads of commits under way at once while a log is opened.
const READ_AHEAD: usize = 16;
/// How often an unclear put is sent again before the writer gives up.
const UNCLEAR_ATTEMPTS: u32 = 12;
/// The name that commits carry of the program that wrote them.
const SOFTWARE: &str = concat!("replevin ", env!("CARGO_PKG_VERSION"));

/// A backup's history as this process knows it.
#[derive(Debug)]
pub struct CommitLog {
    store: Arc<dyn Store>,
    seam: Seam,
    repository: Repository,
    incarnation: Incarnation,
    state: State,
    root: Option<Root>,
    checkpoint: Option<CheckpointRef>,
    fenced_by_newer: bool,
}

/// A commit that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its number.
    pub seq: u64,
    /// BLAKE3 of its stored bytes: with the number, an anchor that `verify --expect` takes.
    pub hash: Hash,
}

impl CommitLog {
    /// Opens the history of the backup that lives in the store.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] where there is no backup; damage; a newer format; whatever the store says.
    pub async fn open(store: Arc<dyn Store>, seam: Seam) -> Result<Self> {
        let Some(stored) = store.get(paths::REPOSITORY, MAX_REPOSITORY as u64).await? else {
            return Err(Error::not_found(format!("there is no backup at {}", store.location()))
                .hint("check the storage section and backup_id; `replevin list` shows what is there"));
        };
        let repository = Repository::decode(&stored)?;
        Self::load(store, seam, repository).await
    }

    /// Opens the history of a backup, or begins it where there is none.
    ///
    /// # Errors
    /// As [`CommitLog::open`]; a backup of another id in this place.
    pub async fn open_or_create(
        store: Arc<dyn Store>,
        seam: Seam,
        backup_id: &BackupId,
        cluster_id: &str,
    ) -> Result<Self> {
        if store.get(paths::REPOSITORY, MAX_REPOSITORY as u64).await?.is_none() {
            let repository = Repository::new(backup_id.clone(), cluster_id, seam.clock.now_ms());
            // Whether this put won or another daemon's did is told by reading it back.
            let created = store.create(paths::REPOSITORY, vec![repository.encode()?.into()]).await?;
            if let Created::Unclear(why) = created {
                tracing::warn!(%why, "no clear answer for repository.json; reading it back");
            }
        }
        let log = Self::open(store, seam).await?;
        log.repository.check_writable()?;
        if log.repository.backup_id != *backup_id {
            let (found, place) = (&log.repository.backup_id, log.store.location());
            return Err(Error::input(format!("{place} holds backup {found}, not {backup_id}"))
                .hint("use another backup_id or another prefix"));
        }
        Ok(log)
    }

    async fn load(store: Arc<dyn Store>, seam: Seam, repository: Repository) -> Result<Self> {
        let incarnation = Incarnation(seam.rand.next_u64());
        let mut log = Self {
            store,
            seam,
            repository,
            incarnation,
            state: State::default(),
            root: None,
            checkpoint: None,
            fenced_by_newer: false,
        };
        let tail = tail::find(&*log.store).await?;
        if tail > 0 {
            let newest = log.read_commit(tail).await?.ok_or_else(|| tail::vanished(tail))?.0;
            if let Some(checkpoint) = newest.checkpoint {
                log.load_checkpoint(checkpoint).await?;
            }
        }
        log.replay(tail).await?;
        log.refresh().await?;
        Ok(log)
    }

    /// Reads commits up to `tail`, several at once, and applies them in order.
    async fn replay(&mut self, tail: u64) -> Result<()> {
        let store = Arc::clone(&self.store);
        let reads = stream::iter(self.state.seq + 1..=tail).map(move |seq| {
            let store = Arc::clone(&store);
            async move { read_commit(&*store, seq).await?.ok_or_else(|| tail::vanished(seq)) }
        });
        let mut commits = Box::pin(reads.buffered(READ_AHEAD));
        while let Some((commit, hash)) = commits.try_next().await? {
            self.apply(&commit, hash).await?;
        }
        Ok(())
    }

    async fn read_commit(&self, seq: u64) -> Result<Option<(Commit, Hash)>> {
        read_commit(&*self.store, seq).await
    }

    async fn apply(&mut self, commit: &Commit, hash: Hash) -> Result<()> {
        let needed = self.state.lists_needed(commit);
        for (partition, lineage) in &needed {
            self.load_list(partition, *lineage).await?;
        }
        self.state.apply(commit, hash)?;
        for (partition, lineage) in &needed {
            self.state.unload_list(partition, *lineage);
        }
        if commit.incarnation != self.incarnation && commit.ops.iter().any(|op| matches!(op, Op::Writer)) {
            self.fenced_by_newer = true;
        }
        if let Some(checkpoint) = commit.checkpoint
            && self.checkpoint.is_none_or(|known| known.seq < checkpoint.seq)
        {
            self.checkpoint = Some(checkpoint);
        }
        Ok(())
    }

    /// Applies whatever other writers have committed since.
    ///
    /// # Errors
    /// Damage, or whatever the store says.
    pub async fn refresh(&mut self) -> Result<()> {
        while let Some((commit, hash)) = self.read_commit(self.state.seq + 1).await? {
            self.apply(&commit, hash).await?;
        }
        Ok(())
    }

    /// Says that this incarnation is the writer from now on: earlier single writers stop at their next commit.
    ///
    /// # Errors
    /// As [`CommitLog::commit`].
    pub async fn become_writer(&mut self) -> Result<Committed> {
        self.fenced_by_newer = false;
        loop {
            match self.attempt(vec![Op::Writer]).await? {
                Attempt::Won(committed) => return Ok(committed),
                // Two daemons that start together: whoever comes later in the log is the newest, so go on.
                Attempt::Lost => self.fenced_by_newer = false,
            }
        }
    }

    /// Makes operations true. Every object that they name must be durable already.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Fenced`] where a newer writer has taken over, or where another writer moved a position that the operations
    /// continue; otherwise whatever the store says. After an error nothing is known to be committed; a new process finds
    /// out by reading the log.
    pub async fn commit(&mut self, ops: Vec<Op>) -> Result<Committed> {
        loop {
            self.check_still_writer()?;
            if let Attempt::Won(committed) = self.attempt(ops.clone()).await? {
                if self.checkpoint_is_due() {
                    // A checkpoint is a convenience: a failure costs the next reader time and nothing else.
                    if let Err(error) = self.write_checkpoint().await {
                        tracing::warn!(%error, seq = committed.seq, "no checkpoint was written");
                    }
                }
                return Ok(committed);
            }
        }
    }

    /// Makes operations true beside whoever is the writer: for maintenance, which takes nothing over and must not stop
    /// because a daemon runs.
    ///
    /// # Errors
    /// As [`CommitLog::commit`], except that a newer writer is no obstacle.
    pub async fn commit_beside_writer(&mut self, ops: Vec<Op>) -> Result<Committed> {
        loop {
            if let Attempt::Won(committed) = self.attempt(ops.clone()).await? {
                return Ok(committed);
            }
        }
    }

    fn check_still_writer(&self) -> Result<()> {
        if !self.fenced_by_newer {
            return Ok(());
        }
        let newest = self.state.writer.map_or_else(String::new, |writer| writer.to_string());
        Err(Error::fenced(format!(
            "backup {}: writer {newest} has taken over from {}",
            self.repository.backup_id, self.incarnation
        ))
        .hint("another daemon with this backup_id was started later; stop one of the two"))
    }

    async fn attempt(&mut self, ops: Vec<Op>) -> Result<Attempt> {
        let seq = self.state.seq + 1;
        let commit = Commit {
            seq,
            previous: self.state.head_hash(),
            incarnation: self.incarnation,
            time_ms: self.seam.clock.now_ms(),
            software: SOFTWARE.into(),
            checkpoint: self.checkpoint,
            ops,
            extra: serde_json::Map::new(),
        };
        let bytes = Bytes::from(commit.encode()?);
        let hash = Hash::of(&bytes);
        let needed = self.state.lists_needed(&commit);
        for (partition, lineage) in &needed {
            self.load_list(partition, *lineage).await?;
        }
        let mut next = self.state.clone();
        next.apply(&commit, hash).map_err(|refusal| {
            let refusal = Error::from(refusal);
            Error::fenced(refusal.message().to_owned())
                .hint("another writer has moved this position; start again to continue from where it is now")
        })?;
        for (partition, lineage) in &needed {
            self.state.unload_list(partition, *lineage);
            next.unload_list(partition, *lineage);
        }
        match self.put(seq, &bytes).await? {
            None => {
                self.state = next;
                Ok(Attempt::Won(Committed { seq, hash }))
            }
            Some(theirs) => {
                let hash = Hash::of(&theirs);
                let theirs = Commit::decode(seq, &theirs)?;
                tracing::info!(seq, writer = %theirs.incarnation, "another writer made this commit first");
                self.apply(&theirs, hash).await?;
                Ok(Attempt::Lost)
            }
        }
    }

    /// Puts the bytes of a commit; `None` where they are durable, the winner's bytes where another writer was first.
    async fn put(&self, seq: u64, bytes: &Bytes) -> Result<Option<Bytes>> {
        let key = ObjectName::Commit(seq).key();
        let mut why = String::new();
        for attempt in 0..UNCLEAR_ATTEMPTS {
            match self.store.create(&key, vec![bytes.clone()]).await {
                Ok(Created::New(_)) => return Ok(None),
                // "Exists" may be an earlier attempt of ours whose answer was lost: only the bytes tell.
                Ok(Created::Exists) => {}
                Ok(Created::Unclear(reason)) => why = reason,
                Err(error) if error.is_retriable() => why = error.to_string(),
                Err(error) => return Err(error.at(key)),
            }
            match self.store.get(&key, MAX_DOCUMENT as u64).await? {
                Some(found) if found == *bytes => return Ok(None),
                Some(found) => return Ok(Some(found)),
                None => {
                    tracing::warn!(seq, %why, "a commit got no clear answer and is not there; sending the same bytes again")
                }
            }
            tokio::time::sleep(backoff(
                &*self.seam.rand,
                attempt,
                Duration::from_millis(50),
                Duration::from_secs(5),
            ))
            .await;
        }
        Err(Error::permanent(format!(
            "{key}: no clear answer from {} after {UNCLEAR_ATTEMPTS} attempts: {why}",
            self.store.location()
        ))
        .hint("start again once the store answers; nothing is lost"))
    }

    /// The state after the last commit that is known here.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What the backup says about itself.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// This process's own incarnation.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The store that the history lives in.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The last commit that is known here: an anchor that `verify --expect` takes.
    pub fn head(&self) -> Committed {
        Committed { seq: self.state.seq, hash: self.state.head_hash() }
    }
}

enum Attempt {
    Won(Committed),
    Lost,
}

/// Reads a commit; `None` where there is none with this number.
pub(crate) async fn read_commit(store: &dyn Store, seq: u64) -> Result<Option<(Commit, Hash)>> {
    let key = ObjectName::Commit(seq).key();
    let Some(stored) = store.get(&key, MAX_DOCUMENT as u64).await? else { return Ok(None) };
    Ok(Some((Commit::decode(seq, &stored)?, Hash::of(&stored))))
}
