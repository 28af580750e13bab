//! Reads the history from its first commit and holds every checkpoint against the state that the commits add up to.
//!
//! A commit that cannot be read or applied breaks the chain. The state then goes on from the oldest readable checkpoint
//! after it, so that what the backup holds today is still checked; without one it stays as it was before the break.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use formats::checkpoint::{PageRef, PositionsPage, Root, RunIndex, RunPage};
use formats::commit::{CheckpointRef, Commit, ObjectRef, Op, SegmentEntry};
use formats::document::{self, DocumentKind, MAX_DOCUMENT};
use formats::hash::Hash;
use formats::ids::{LineageId, TopicPartition};
use formats::paths::{CHECKPOINTS, COMMITS, ObjectName};
use formats::state::State;
use futures::{StreamExt, TryStreamExt, stream};

use super::finding::{FindingKind, Findings};
use super::{VerifyProgress, VerifySettings};
use crate::commit_log::ListSource;
use crate::commit_log::checkpoint::{read_page, read_root};
use crate::storage::Store;
use crate::{Error, Result};

/// Reads of commits under way at once.
const READ_AHEAD: usize = 16;

/// The history as far as it could be followed.
#[derive(Debug)]
pub(super) struct History {
    store: Arc<dyn Store>,
    pub(super) state: State,
    root: Option<Root>,
    /// The highest number of a commit in the store.
    pub(super) tail: u64,
    /// The number of the last commit that adds data.
    pub(super) data: u64,
    /// Commits read.
    pub(super) commits: u64,
    /// Checkpoints held against the state.
    pub(super) checkpoints: u64,
    /// Every commit was applied, so that what is named and what is not is known for certain.
    pub(super) complete: bool,
    /// Snapshots that commits named, by key.
    pub(super) snapshots: BTreeMap<String, ObjectRef>,
    /// What the live segments of each lineage add up to, in any order: compared with lists out of checkpoints.
    sums: BTreeMap<(TopicPartition, LineageId), u128>,
    sound_pages: BTreeSet<PageRefKey>,
    roots_read: BTreeMap<u64, Hash>,
}

type PageRefKey = (u64, [u8; 32]);

impl History {
    pub(super) fn lists(&self) -> ListSource<'_> {
        let runs = self.root.as_ref().map_or(&[][..], |root| &root.runs);
        ListSource { store: &self.store, runs, changes: &self.state.changes }
    }

    /// Whether a list holds exactly what the commits added to the lineage and did not remove.
    pub(super) fn adds_up(
        &self,
        partition: &TopicPartition,
        lineage: LineageId,
        list: &[SegmentEntry],
    ) -> bool {
        let told = self.sums.get(&(partition.clone(), lineage)).copied().unwrap_or(0);
        !self.complete || list.iter().fold(0, |sum: u128, entry| sum.wrapping_add(fingerprint(entry))) == told
    }

    /// Applies a commit that was read.
    async fn apply(&mut self, commit: &Commit, hash: Hash) -> Result<()> {
        let needed = self.state.lists_needed(commit);
        for (partition, lineage) in &needed {
            let mut lists = self.lists().topic(&partition.topic).await?;
            let list = lists.remove(&(partition.partition, *lineage)).unwrap_or_default();
            self.state.load_list(partition, *lineage, list)?;
        }
        let mut removed = Vec::new();
        for op in &commit.ops {
            if let Op::Replace { topic, partition, lineage, removed: gone, .. }
            | Op::Drop { topic, partition, lineage, removed: gone } = op
            {
                let place = TopicPartition::new(topic.clone(), *partition);
                let list = self.state.partition(topic, *partition).and_then(|p| p.lineage(*lineage));
                let list = list.and_then(|lineage| lineage.segments.clone()).unwrap_or_default();
                let gone: BTreeSet<_> = gone.iter().collect();
                let sum = list.iter().filter(|entry| gone.contains(&entry.reference()));
                let sum = sum.fold(0, |sum: u128, entry| sum.wrapping_add(fingerprint(entry)));
                removed.push(((place, *lineage), sum));
            }
        }
        self.state.apply(commit, hash)?;
        for (partition, lineage) in &needed {
            self.state.unload_list(partition, *lineage);
        }
        for (place, sum) in removed {
            let total = self.sums.entry(place).or_default();
            *total = total.wrapping_sub(sum);
        }
        for op in &commit.ops {
            match op {
                Op::Add { topic, partition, lineage, segments: added }
                | Op::Replace { topic, partition, lineage, added, .. } => {
                    let place = (TopicPartition::new(topic.clone(), *partition), *lineage);
                    let total = self.sums.entry(place).or_default();
                    *total = added.iter().fold(*total, |sum, entry| sum.wrapping_add(fingerprint(entry)));
                }
                Op::Schemas { object, .. } | Op::Groups { object } | Op::Cluster { object } => {
                    self.snapshots.insert(object.key.clone(), object.clone());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Holds the checkpoint of the state's own commit against the state; where it is sound, lists come from it.
    async fn compare(&mut self, findings: &Findings) -> Result<()> {
        let key = ObjectName::CheckpointRoot(self.state.seq).key();
        match self.read_checkpoint(&key, findings).await {
            Ok(Some(root)) => {
                self.checkpoints += 1;
                self.root = Some(root);
                self.state.changes.clear();
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => findings.object(&key, error),
        }
    }

    async fn read_checkpoint(&mut self, key: &str, findings: &Findings) -> Result<Option<Root>> {
        let stored = self.store.get(key, MAX_DOCUMENT as u64).await?.ok_or_else(|| gone("the object"))?;
        self.roots_read.insert(self.state.seq, Hash::of(&stored));
        let root: Root = document::open(DocumentKind::Checkpoint, &stored)?;
        let mut sound = true;
        let mut pages: Vec<PositionsPage> = Vec::new();
        for positions in &root.positions {
            match read_page(&*self.store, positions.page).await {
                Ok(page) => pages.push(page),
                Err(error) => {
                    sound = false;
                    findings.object(&page_key(positions.page), error)?;
                }
            }
        }
        for run in &root.runs {
            sound &= self.check_run(run.index, findings).await?;
        }
        if !sound {
            return Ok(None);
        }
        let claimed = root.state(pages)?;
        let state = &self.state;
        let differs = [
            ("number", claimed.seq != state.seq),
            ("hash of the last commit", claimed.head != state.head),
            ("writer", claimed.writer != state.writer),
            ("retired writers", claimed.retired != state.retired),
            ("partitions", claimed.topics != state.topics),
            ("schemas", claimed.schemas != state.schemas),
            ("groups", claimed.groups != state.groups),
            ("cluster", claimed.cluster != state.cluster),
            ("dropped objects", claimed.dropped != state.dropped),
        ];
        let differs: Vec<_> =
            differs.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect();
        if !differs.is_empty() {
            let message = format!("its {} differ from what the commits add up to", differs.join(", "));
            findings.plain(FindingKind::Contradiction, key, message);
            return Ok(None);
        }
        Ok(Some(root))
    }

    /// Reads a run's pages; pages are named by content, so each is read once.
    async fn check_run(&mut self, index: PageRef, findings: &Findings) -> Result<bool> {
        if self.sound_pages.contains(&(index.seq, index.blake3.0)) {
            return Ok(true);
        }
        let pages: RunIndex = match read_page(&*self.store, index).await {
            Ok(pages) => pages,
            Err(error) => {
                findings.object(&page_key(index), error)?;
                return Ok(false);
            }
        };
        let mut sound = true;
        for page in pages.pages {
            if let Err(error) = read_page::<RunPage>(&*self.store, page.page).await {
                findings.object(&page_key(page.page), error)?;
                sound = false;
            }
        }
        if sound {
            self.sound_pages.insert((index.seq, index.blake3.0));
        }
        Ok(sound)
    }
}

/// Reads and checks everything below `commits/` and `checkpoints/`.
pub(super) async fn read(
    store: &Arc<dyn Store>,
    settings: &VerifySettings,
    findings: &Findings,
    progress: &VerifyProgress,
) -> Result<History> {
    // In this order, because a daemon may be running: a checkpoint is written after the commit that it is named for.
    let roots = roots(&**store).await?;
    let tail = tail(&**store).await?;
    progress.commits_total.store(tail, Ordering::Relaxed);
    for beyond in roots.range(tail + 1..) {
        let message = format!(
            "it holds the state after commit {beyond}, but the last commit is {tail}: the tail of the log was removed"
        );
        findings.plain(FindingKind::Missing, &ObjectName::CheckpointRoot(*beyond).key(), message);
    }
    let mut history = empty(store, tail);
    let mut named: Option<CheckpointRef> = None;
    // While the chain is broken: the checkpoint after which it goes on, where there is one.
    let mut resume: Option<Option<CheckpointRef>> = None;
    let source = Arc::clone(store);
    let mut reads = stream::iter(1..=tail)
        .map(move |seq| {
            let store = Arc::clone(&source);
            async move { (seq, store.get(&ObjectName::Commit(seq).key(), MAX_DOCUMENT as u64).await) }
        })
        .buffered(READ_AHEAD);
    while let Some((seq, stored)) = reads.next().await {
        VerifyProgress::add(&progress.commits, 1);
        let key = ObjectName::Commit(seq).key();
        let stored = stored.and_then(|stored| {
            stored.ok_or_else(|| gone("the object").hint("restore it from a copy of the store"))
        });
        let read = stored.and_then(|stored| Ok((Commit::decode(seq, &stored)?, Hash::of(&stored))));
        let (commit, hash) = match read {
            Ok(read) => read,
            Err(error) => {
                findings.object(&key, error)?;
                anchor(settings, findings, seq, None);
                if resume.is_none_or(|at| at.is_some_and(|at| at.seq < seq)) {
                    resume = Some(resume_after(store, seq, tail).await?);
                    history.complete = false;
                }
                try_resume(&mut history, &mut resume, seq, None, findings).await?;
                continue;
            }
        };
        history.commits += 1;
        if commit.ops.iter().any(|op| matches!(op, Op::Add { .. })) {
            history.data = seq;
        }
        anchor(settings, findings, seq, Some(hash));
        if let Some(checkpoint) = commit.checkpoint.filter(|c| named.is_none_or(|named| named.seq < c.seq)) {
            named = Some(checkpoint);
            let key = ObjectName::CheckpointRoot(checkpoint.seq).key();
            if !roots.contains(&checkpoint.seq) {
                if store.head(&key).await?.is_none() {
                    findings.object(&key, gone("the object"))?;
                }
            } else if history.roots_read.get(&checkpoint.seq).is_some_and(|read| *read != checkpoint.blake3) {
                let message = format!("commit {seq} names it with another BLAKE3");
                findings.plain(FindingKind::Contradiction, &key, message);
            }
        }
        if resume.is_some() {
            try_resume(&mut history, &mut resume, seq, Some(hash), findings).await?;
            continue;
        }
        if let Err(error) = history.apply(&commit, hash).await {
            findings.object(&key, error)?;
            // The state may be half changed: build it again up to the commit before.
            history = again(store, history, seq - 1).await?;
            resume = Some(resume_after(store, seq, tail).await?);
            try_resume(&mut history, &mut resume, seq, Some(hash), findings).await?;
            continue;
        }
        if roots.contains(&seq) {
            history.compare(findings).await?;
        }
    }
    for (seq, _) in settings.expect.iter().filter(|(seq, _)| *seq > tail || *seq == 0) {
        let message = format!(
            "commit {seq} is expected, but the last commit is {tail}: the tail of the log was removed"
        );
        findings.plain(FindingKind::Anchor, &ObjectName::Commit(*seq).key(), message);
    }
    Ok(history)
}

fn empty(store: &Arc<dyn Store>, tail: u64) -> History {
    History {
        store: Arc::clone(store),
        state: State::default(),
        root: None,
        tail,
        data: 0,
        commits: 0,
        checkpoints: 0,
        complete: true,
        snapshots: BTreeMap::new(),
        sums: BTreeMap::new(),
        sound_pages: BTreeSet::new(),
        roots_read: BTreeMap::new(),
    }
}

/// The same history up to a commit, once more.
async fn again(store: &Arc<dyn Store>, old: History, until: u64) -> Result<History> {
    let mut history = History {
        complete: false,
        data: old.data,
        commits: old.commits,
        checkpoints: old.checkpoints,
        ..empty(store, old.tail)
    };
    for seq in 1..=until {
        let read = crate::commit_log::read_commit(&**store, seq).await?;
        let (commit, hash) = read.ok_or_else(|| gone("a commit that was there a moment ago"))?;
        history.apply(&commit, hash).await?;
    }
    Ok(history)
}

fn anchor(settings: &VerifySettings, findings: &Findings, seq: u64, found: Option<Hash>) {
    for (_, expected) in
        settings.expect.iter().filter(|(expected, hash)| *expected == seq && Some(*hash) != found)
    {
        let found =
            found.map_or_else(|| "it cannot be read".to_owned(), |hash| format!("its hash is {hash}"));
        let message = format!("commit {seq} is expected with hash {expected}, but {found}");
        findings.plain(FindingKind::Anchor, &ObjectName::Commit(seq).key(), message);
    }
}

/// The newest checkpoint at or after a broken commit, as the last readable commits name it.
async fn resume_after(store: &Arc<dyn Store>, broken: u64, tail: u64) -> Result<Option<CheckpointRef>> {
    for seq in (broken + 1..=tail).rev().take(READ_AHEAD) {
        let stored = store.get(&ObjectName::Commit(seq).key(), MAX_DOCUMENT as u64).await?;
        if let Some(Ok(commit)) = stored.map(|stored| Commit::decode(seq, &stored)) {
            return Ok(commit.checkpoint.filter(|checkpoint| checkpoint.seq >= broken));
        }
    }
    Ok(None)
}

/// Takes the state over from the checkpoint of commit `seq`, where that is the one to resume from.
async fn try_resume(
    history: &mut History,
    resume: &mut Option<Option<CheckpointRef>>,
    seq: u64,
    hash: Option<Hash>,
    findings: &Findings,
) -> Result<()> {
    let Some(Some(checkpoint)) = *resume else { return Ok(()) };
    if checkpoint.seq != seq {
        return Ok(());
    }
    let load = async {
        let root = read_root(&*history.store, checkpoint).await?;
        if hash.is_some_and(|hash| hash != root.head) {
            return Err(Error::damaged("it follows another commit than the one in the log"));
        }
        let pages = root.positions.iter().map(|positions| read_page(&*history.store, positions.page));
        let state = root.state(futures::future::try_join_all(pages).await?)?;
        Ok((root, state))
    };
    match load.await {
        Ok((root, state)) => {
            history.state = state;
            history.root = Some(root);
            *resume = None;
        }
        Err(error) => {
            findings.object(&ObjectName::CheckpointRoot(seq).key(), error)?;
            *resume = Some(None);
        }
    }
    Ok(())
}

async fn tail(store: &dyn Store) -> Result<u64> {
    let mut tail = 0;
    let mut listing = store.list(COMMITS, None);
    while let Some(object) = listing.try_next().await? {
        if let Ok(ObjectName::Commit(seq)) = ObjectName::parse(&object.key) {
            tail = tail.max(seq);
        }
    }
    Ok(tail)
}

async fn roots(store: &dyn Store) -> Result<BTreeSet<u64>> {
    let mut roots = BTreeSet::new();
    let mut listing = store.list(CHECKPOINTS, None);
    while let Some(object) = listing.try_next().await? {
        if let Ok(ObjectName::CheckpointRoot(seq)) = ObjectName::parse(&object.key) {
            roots.insert(seq);
        }
    }
    Ok(roots)
}

fn page_key(page: PageRef) -> String {
    ObjectName::page(page.seq, page.blake3).key()
}

fn gone(what: &str) -> Error {
    Error::not_found(format!("{what} is missing"))
}

/// Sixteen bytes of the entry's hash, as a number.
fn fingerprint(entry: &SegmentEntry) -> u128 {
    // An entry came out of JSON and goes back into it.
    let text = serde_json::to_vec(entry).unwrap_or_default();
    let mut first = [0; 16];
    first.copy_from_slice(&Hash::of(&text).0[..16]);
    u128::from_le_bytes(first)
}
