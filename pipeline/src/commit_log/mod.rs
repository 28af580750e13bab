//! The optimistic commit log: the only place where "backed up" becomes true.
//!
//! Order of durable writes, enforced here and nowhere else:
//!
//! ```text
//! 1  objects (segments, packs, snapshots)   durable before the commit that names them is sent
//! 2  commits/<n>                            create-only; n is the number after the last commit applied
//! 3  checkpoints/<n>/...                    pages, then root, by whoever made commit n; only later commits name the root
//! ```
//!
//! Commit n can be made only by a writer that has applied every commit before n, by a create-only put that one writer
//! wins; after every lost race the winner's commit is applied and everything is checked again. So a frozen, partitioned
//! or second writer can waste work but never fork, overwrite or skip a history. No clock and no lease is trusted.
//!
//! A put without a clear answer is resolved by reading its number: own bytes are a success, others a loss, and where
//! nothing is there *the same bytes* are sent again, never another commit.
//!
//! Commits are the truth and are never deleted; a checkpoint saves reading them. One that is missing or damaged costs
//! time, never data: an older one serves, or the log is read from its first commit.

pub(crate) mod checkpoint;
mod lists;
mod manifest;
mod put;
mod runs;
mod tail;
#[cfg(test)]
mod tests;
mod unnamed;

use std::sync::Arc;

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

pub(crate) use self::lists::ListSource;
pub use self::lists::TopicLists;
pub(crate) use self::put::create;
pub(crate) use self::unnamed::NamedCheckpoints;
use crate::failpoint;
use crate::seam::Seam;
use crate::storage::Store;
use crate::{Error, ErrorKind, Result};

/// When writers make a checkpoint: whoever makes the commit whose turn it is, which comes every few commits, once either
/// number is reached; anybody, once either is reached twice. So several writers rarely make the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// After this many commits.
    pub commits: u64,
    /// Earlier, after this many segments were added or removed.
    pub changes: usize,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self { commits: failpoint::number("REPLEVIN_CHECKPOINT_COMMITS").unwrap_or(512), changes: 32_768 }
    }
}

/// Reads of commits under way at once while a log is opened.
const READ_AHEAD: usize = 32;
/// Checkpoints that are tried before the log is read from its first commit.
const CHECKPOINTS_TRIED: u32 = 8;
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
    /// The checkpoint that the state's changes continue.
    root: Option<Root>,
    /// The newest checkpoint that is known.
    checkpoint: Option<CheckpointRef>,
    /// No checkpoint up to this one is built upon: it was found to be damaged.
    distrusted: u64,
    checkpoints: CheckpointSettings,
    /// Whether this log said that it is the writer.
    is_writer: bool,
    /// Whether commits were applied since the log was opened that this log did not just make.
    moved: bool,
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
            // Another daemon may be beginning it right now, so what looks like a loss is looked at once more.
            if store.head(&ObjectName::Commit(1).key()).await?.is_some()
                && store.get(paths::REPOSITORY, MAX_REPOSITORY as u64).await?.is_none()
            {
                let place = store.location();
                return Err(Error::damaged(format!(
                    "{} is missing at {place} although commits are there",
                    paths::REPOSITORY
                ))
                .hint("restore it from a copy of the store"));
            }
            let repository = Repository::new(backup_id.clone(), cluster_id, seam.clock.now_ms());
            // Another daemon's is as good: it is read back below.
            put::create(&*store, &*seam.rand, paths::REPOSITORY, &repository.encode()?.into()).await?;
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

    /// Says when this log makes checkpoints.
    #[must_use]
    pub fn with_checkpoints(mut self, settings: CheckpointSettings) -> Self {
        self.checkpoints = settings;
        self
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
            distrusted: 0,
            checkpoints: CheckpointSettings::default(),
            is_writer: false,
            moved: false,
        };
        let tail = tail::find(&*log.store).await?;
        if tail > 0 {
            let newest = log.read_commit(tail).await?.ok_or_else(|| tail::vanished(tail))?.0;
            log.load_newest_checkpoint(newest.checkpoint).await?;
        }
        log.replay(tail).await?;
        log.refresh().await?;
        log.moved = false;
        Ok(log)
    }

    /// Loads the newest checkpoint that is whole, or nothing.
    async fn load_newest_checkpoint(&mut self, newest: Option<CheckpointRef>) -> Result<()> {
        let mut next = newest;
        for _ in 0..CHECKPOINTS_TRIED {
            let Some(reference) = next else { return Ok(()) };
            let error = match self.load_checkpoint(reference).await {
                Err(error) if error.kind() == ErrorKind::Damaged => error,
                done => return done,
            };
            tracing::warn!(%error, seq = reference.seq, "a checkpoint is damaged; going on without it, from the commits");
            self.distrusted = self.distrusted.max(reference.seq);
            // The commit that it was made after names the one before.
            let commit =
                self.read_commit(reference.seq).await?.ok_or_else(|| tail::vanished(reference.seq))?.0;
            next = commit.checkpoint.filter(|older| older.seq < reference.seq);
        }
        Ok(())
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
            // Taken, not cloned: where this fails the whole log is given up.
            let state = std::mem::take(&mut self.state);
            self.state =
                self.after(state, &commit, hash).await?.map_err(|refusal| unfit(&commit, &refusal))?;
            self.note_checkpoint(&commit);
        }
        Ok(())
    }

    async fn read_commit(&self, seq: u64) -> Result<Option<(Commit, Hash)>> {
        read_commit(&*self.store, seq).await
    }

    /// The state after a commit, or why it admits none such.
    async fn after(&self, mut state: State, commit: &Commit, hash: Hash) -> Result<formats::Result<State>> {
        let needed = state.lists_needed(commit);
        for (place, list) in self.lists(&state, &needed).await? {
            state.load_list(&place.0, place.1, list)?;
        }
        if let Err(refusal) = state.apply(commit, hash) {
            return Ok(Err(refusal));
        }
        for (partition, lineage) in &needed {
            state.unload_list(partition, *lineage);
        }
        Ok(Ok(state))
    }

    /// Applies a commit that is in the log.
    async fn take(&mut self, commit: &Commit, hash: Hash) -> Result<()> {
        let next = self.after(self.state.clone(), commit, hash).await?;
        self.state = next.map_err(|refusal| unfit(commit, &refusal))?;
        self.note_checkpoint(commit);
        self.moved = true;
        Ok(())
    }

    fn note_checkpoint(&mut self, commit: &Commit) {
        if let Some(named) = commit.checkpoint
            && self.checkpoint.is_none_or(|known| known.seq < named.seq)
        {
            self.checkpoint = Some(named);
        }
    }

    /// Applies whatever other writers have committed since.
    ///
    /// # Errors
    /// Damage, or whatever the store says. The state stays as it was after the last commit that could be applied.
    pub async fn refresh(&mut self) -> Result<()> {
        // One request where nothing is new; many at once for a log that slept.
        let mut width = 1;
        loop {
            let store = Arc::clone(&self.store);
            let reads = stream::iter(self.state.seq + 1..=self.state.seq + width).map(move |seq| {
                let store = Arc::clone(&store);
                async move { read_commit(&*store, seq).await }
            });
            let mut reads = Box::pin(reads.buffered(READ_AHEAD));
            while let Some(found) = reads.try_next().await? {
                let Some((commit, hash)) = found else {
                    if let Err(error) = self.build_on_newest().await {
                        tracing::warn!(%error, "changes are kept in memory until a checkpoint can be read");
                    }
                    return Ok(());
                };
                self.take(&commit, hash).await?;
            }
            width = (width * 4).min(4 * READ_AHEAD as u64);
        }
    }

    /// Says that this incarnation is the writer from now on: earlier single writers stop at their next commit.
    ///
    /// # Errors
    /// As [`CommitLog::commit`].
    pub async fn become_writer(&mut self) -> Result<Committed> {
        self.is_writer = true;
        loop {
            // Two daemons that start together: whoever comes later in the log is the newest, so a lost race is no reason
            // to stop.
            if let Some(committed) = self.attempt(&[Op::Writer]).await? {
                return Ok(committed);
            }
            self.refresh().await?;
        }
    }

    /// Makes operations true. Every object that they name must be durable already.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] where a newer writer has taken over, or where another writer moved a position that the
    /// operations continue; [`ErrorKind::Permanent`] where they do not fit a log that nobody else moved; otherwise
    /// whatever the store says. After any other error than `Fenced` the operations may be durable or become so: whoever
    /// goes on finds out by reading the log. Dropping the future is as safe as such an error.
    pub async fn commit(&mut self, ops: Vec<Op>) -> Result<Committed> {
        loop {
            self.check_still_writer()?;
            if let Some(committed) = self.attempt(&ops).await? {
                // A checkpoint is a convenience: a failure costs the next reader time and nothing else.
                if self.checkpoint_is_due()
                    && let Err(error) = self.write_checkpoint().await
                {
                    tracing::warn!(%error, seq = committed.seq, "no checkpoint was written");
                }
                return Ok(committed);
            }
            // A writer that slept may be far behind.
            self.refresh().await?;
        }
    }

    /// Makes operations true beside whoever is the writer: for maintenance, which takes nothing over and must not stop
    /// because a daemon runs.
    ///
    /// # Errors
    /// As [`CommitLog::commit`], except that a newer writer is no obstacle.
    pub async fn commit_beside_writer(&mut self, ops: Vec<Op>) -> Result<Committed> {
        loop {
            if let Some(committed) = self.attempt(&ops).await? {
                return Ok(committed);
            }
            self.refresh().await?;
        }
    }

    fn check_still_writer(&self) -> Result<()> {
        if !self.is_writer || self.state.writer == Some(self.incarnation) {
            return Ok(());
        }
        let newest = self.state.writer.map_or_else(String::new, |writer| writer.to_string());
        Err(Error::fenced(format!(
            "backup {}: writer {newest} has taken over from {}",
            self.repository.backup_id, self.incarnation
        ))
        .hint("another daemon with this backup_id was started later; stop one of the two"))
    }

    /// Tries to be the next in the log; `None` where another commit was first, which is then applied.
    async fn attempt(&mut self, ops: &[Op]) -> Result<Option<Committed>> {
        let seq = self.state.seq + 1;
        let commit = Commit {
            seq,
            previous: self.state.head_hash(),
            incarnation: self.incarnation,
            time_ms: self.seam.clock.now_ms(),
            software: SOFTWARE.into(),
            checkpoint: self.checkpoint,
            ops: ops.to_vec(),
            extra: serde_json::Map::new(),
        };
        let bytes = Bytes::from(commit.encode()?);
        let hash = Hash::of(&bytes);
        let next =
            self.after(self.state.clone(), &commit, hash).await?.map_err(|refusal| self.refused(&refusal))?;
        let key = ObjectName::Commit(seq).key();
        let Some(theirs) = put::create(&*self.store, &*self.seam.rand, &key, &bytes).await? else {
            self.state = next;
            return Ok(Some(Committed { seq, hash }));
        };
        let hash = Hash::of(&theirs);
        let theirs = Commit::decode(seq, &theirs)?;
        // An earlier call of this log's own that ended without an answer asked for the very same.
        let same = theirs.incarnation == self.incarnation && theirs.ops == ops;
        tracing::info!(seq, writer = %theirs.incarnation, "this commit was made before");
        self.take(&theirs, hash).await?;
        Ok(same.then_some(Committed { seq, hash }))
    }

    /// Why this log's own operations do not fit.
    fn refused(&self, refusal: &formats::Error) -> Error {
        if self.moved {
            return Error::fenced(refusal.message().to_owned()).hint(
                "another writer has moved this position; start again to continue from where it is now",
            );
        }
        Error::permanent(refusal.message().to_owned())
            .hint("nobody else has changed the backup meanwhile, so this is a defect of the program; please report it")
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

    /// What time it is, for commits and for who tells of them: milliseconds since 1970 UTC.
    pub(crate) fn now_ms(&self) -> i64 {
        self.seam.clock.now_ms()
    }

    /// The last commit that is known here: an anchor that `verify --expect` takes.
    pub fn head(&self) -> Committed {
        Committed { seq: self.state.seq, hash: self.state.head_hash() }
    }
}

/// A commit in the log that the state before it does not admit.
fn unfit(commit: &Commit, refusal: &formats::Error) -> Error {
    let hint = refusal
        .next_step()
        .unwrap_or("the backup was altered or written by a faulty program: run `replevin verify`");
    Error::damaged(format!("{}: {}", ObjectName::Commit(commit.seq).key(), refusal.message())).hint(hint)
}

/// Reads a commit; `None` where there is none with this number.
pub(crate) async fn read_commit(store: &dyn Store, seq: u64) -> Result<Option<(Commit, Hash)>> {
    let key = ObjectName::Commit(seq).key();
    let Some(stored) = store.get(&key, MAX_DOCUMENT as u64).await? else { return Ok(None) };
    Ok(Some((Commit::decode(seq, &stored)?, Hash::of(&stored))))
}
