//! Deletes orphans: objects that no commit names, left by interrupted work.
//!
//! What makes that safe, in this order:
//!
//! ```text
//! 1  find      objects below kafka/, packs/, groups/, cluster/ that no commit names and no commit dropped; below
//!              checkpoints/ those that no commit leads to: they are the writer's that made the commit of their number
//! 2  retire    one commit says that their writers may commit no more: a frozen writer that comes back cannot name them
//! 3  refresh   every commit before the retirement is applied, and step 1 is done again
//! 4  delete    what is an orphan still, of a retired writer
//! ```
//!
//! Whom it retires: writers other than the newest, and the newest only when named ([`PruneSettings::incarnations`]),
//! because it may be running. All of them only where their orphans are older than a safety age by the store's own clock,
//! so that work under way (a daemon started a moment ago, a merge) is left alone. Unfinished uploads, and what a store was
//! tried with by a process that died, belong to no commit; they go once they are a day old. Schemas, views and journals of
//! restores are never touched, nor objects that retention dropped: those have a time of grace of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use formats::commit::Op;
use formats::ids::{Incarnation, Topic};
use formats::paths::{CLUSTER, GROUPS, KAFKA, ObjectName, PACKS, PROBES};
use futures::TryStreamExt;
use serde::Serialize;

use crate::commit_log::{CommitLog, Committed, NamedCheckpoints, read_commit};
use crate::seam::Seam;
use crate::storage::{Created, ObjectInfo, Store, probe};
use crate::verify::{Named, says_nothing_about_the_backup, topics};
use crate::{Error, Result};

/// Orphans listed by key; further ones are counted.
const LISTED: usize = 1_000;
/// Unfinished uploads and probes younger than this may be under way.
const UNFINISHED_AGE: Duration = Duration::from_secs(24 * 3600);

/// What to delete.
#[derive(Debug, Clone)]
pub struct PruneSettings {
    /// Whether anything is written and deleted; otherwise only told.
    pub execute: bool,
    /// Writers are retired only where their newest orphan is older than this.
    pub older_than: Duration,
    /// Writers that may be retired although they are the newest.
    pub incarnations: BTreeSet<Incarnation>,
}

impl Default for PruneSettings {
    fn default() -> Self {
        Self { execute: false, older_than: Duration::from_secs(24 * 3600), incarnations: BTreeSet::new() }
    }
}

/// Why orphans of a writer stay or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Retired before: deleted.
    Retired,
    /// Retired now, then deleted.
    Retire,
    /// The newest writer, which may be running: kept.
    Newest,
    /// Too young to tell from work under way: kept.
    Young,
}

impl Verdict {
    /// Whether its orphans are deleted.
    pub fn deletes(self) -> bool {
        matches!(self, Self::Retired | Self::Retire)
    }
}

/// The orphans of one writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WriterOrphans {
    /// The writer.
    pub incarnation: Incarnation,
    /// Objects.
    pub objects: u64,
    /// Bytes.
    pub bytes: u64,
    /// When the newest was written, by the store's clock, in milliseconds since 1970 UTC.
    pub newest_ms: i64,
    /// What becomes of them.
    pub verdict: Verdict,
}

/// What was or would be deleted.
#[derive(Debug, Clone, Serialize)]
pub struct PruneReport {
    /// Whether it was done.
    pub executed: bool,
    /// Orphans by writer.
    pub writers: Vec<WriterOrphans>,
    /// Keys of orphans that were or would be deleted, as many as are listed.
    pub objects: Vec<String>,
    /// Orphans beyond those listed.
    pub omitted: u64,
    /// Objects that were, or would be, deleted.
    pub deleted: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Unfinished uploads older than a day: removed, or found where nothing is executed.
    pub unfinished_uploads: u64,
    /// Objects older than a day that a store was tried with: removed, or found where nothing is executed.
    pub probes: u64,
    /// The commit that retired writers.
    #[serde(skip)]
    pub commit: Option<Committed>,
}

/// Finds and, where told to, deletes the orphans of the backup that lives in the store.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`] where there is no backup; damage, before anything is deleted; whatever the store says.
pub async fn prune_orphans(
    store: Arc<dyn Store>,
    seam: Seam,
    settings: &PruneSettings,
) -> Result<PruneReport> {
    let mut log = CommitLog::open(Arc::clone(&store), seam.clone()).await?;
    log.repository().check_writable()?;
    let now_ms = if settings.execute { store_now(&*store, &seam).await? } else { seam.clock.now_ms() };
    let mut writers: BTreeMap<Incarnation, WriterOrphans> = BTreeMap::new();
    scan(&log, |object, incarnation| {
        let orphans = writers.entry(incarnation).or_insert(WriterOrphans {
            incarnation,
            objects: 0,
            bytes: 0,
            newest_ms: i64::MIN,
            verdict: Verdict::Retired,
        });
        orphans.objects += 1;
        orphans.bytes += object.size;
        orphans.newest_ms = orphans.newest_ms.max(object.modified_ms);
        None
    })
    .await?;
    for orphans in writers.values_mut() {
        orphans.verdict = judge(&log, settings, now_ms, orphans);
    }
    let mut report = PruneReport {
        executed: settings.execute,
        writers: writers.values().cloned().collect(),
        objects: Vec::new(),
        omitted: 0,
        deleted: 0,
        deleted_bytes: 0,
        unfinished_uploads: 0,
        probes: 0,
        commit: None,
    };
    let retire: Vec<_> =
        report.writers.iter().filter(|w| w.verdict == Verdict::Retire).map(|w| w.incarnation).collect();
    if settings.execute && !retire.is_empty() {
        let ops = retire.iter().map(|&incarnation| Op::Retire { incarnation }).collect();
        report.commit = Some(log.commit_beside_writer(ops).await?);
    }
    // Whatever the retired writers committed before is applied now, and they cannot commit again.
    log.refresh().await?;
    let may_go: BTreeSet<_> =
        report.writers.iter().filter(|w| w.verdict.deletes()).map(|w| w.incarnation).collect();
    let retired = Arc::clone(&log.state().retired);
    let execute = settings.execute;
    scan(&log, |object, incarnation| {
        if !may_go.contains(&incarnation) || (execute && !retired.contains(&incarnation)) {
            return None;
        }
        report.deleted += 1;
        report.deleted_bytes += object.size;
        if report.objects.len() < LISTED {
            report.objects.push(object.key.clone())
        } else {
            report.omitted += 1
        }
        execute.then(|| object.key.clone())
    })
    .await?;
    let before = now_ms.saturating_sub(i64::try_from(UNFINISHED_AGE.as_millis()).unwrap_or(i64::MAX));
    report.unfinished_uploads = store.sweep_unfinished("", before, settings.execute).await?;
    report.probes = sweep_probes(&*store, before, settings.execute).await?;
    Ok(report)
}

fn judge(log: &CommitLog, settings: &PruneSettings, now_ms: i64, orphans: &WriterOrphans) -> Verdict {
    let age = Duration::from_millis(u64::try_from(now_ms.saturating_sub(orphans.newest_ms)).unwrap_or(0));
    if log.state().retired.contains(&orphans.incarnation) {
        Verdict::Retired
    } else if log.state().writer == Some(orphans.incarnation)
        && !settings.incarnations.contains(&orphans.incarnation)
    {
        Verdict::Newest
    } else if age < settings.older_than {
        Verdict::Young
    } else {
        Verdict::Retire
    }
}

/// Shows every orphan with its writer; what `each` gives back is deleted.
async fn scan(
    log: &CommitLog,
    mut each: impl FnMut(&ObjectInfo, Incarnation) -> Option<String>,
) -> Result<()> {
    let (store, state) = (log.store(), log.state());
    let mut packs = BTreeSet::new();
    for topic in topics(&**store, state).await? {
        let named = Named::of(&topic, &log.topic_lists(&topic).await?);
        packs.extend(named.packs.into_keys());
        let live = |object: &ObjectInfo, _: &ObjectName| named.own.contains_key(&object.key);
        scan_folder(log, &folder(&topic), live, &mut each).await?;
    }
    let live = |_: &ObjectInfo, name: &ObjectName| matches!(name, ObjectName::Pack(incarnation, counter) if packs.contains(&(*incarnation, *counter)));
    scan_folder(log, PACKS, live, &mut each).await?;
    let snapshots = unnamed_snapshots(log).await?;
    for folder in [GROUPS, CLUSTER] {
        scan_folder(log, folder, |object, _| !snapshots.contains(&object.key), &mut each).await?;
    }
    scan_checkpoints(log, &mut each).await
}

async fn scan_checkpoints(
    log: &CommitLog,
    each: &mut impl FnMut(&ObjectInfo, Incarnation) -> Option<String>,
) -> Result<()> {
    let store = log.store();
    let named = match NamedCheckpoints::read(store, log.head().seq).await {
        Ok(named) => named,
        Err(error) if says_nothing_about_the_backup(&error) => return Err(error),
        // Costs a reader time and nothing else, so it must not keep the other orphans.
        Err(error) => {
            tracing::warn!(%error, "what is left of unfinished checkpoints is kept: a damaged one may name it");
            return Ok(());
        }
    };
    // Roots first: a root without its pages would be damage to whoever looks at it meanwhile.
    let (roots, pages): (Vec<_>, Vec<_>) =
        named.others(&**store).await?.into_iter().partition(|(object, _)| {
            matches!(ObjectName::parse(&object.key), Ok(ObjectName::CheckpointRoot(_)))
        });
    for (object, maker) in roots.into_iter().chain(pages) {
        let Some(maker) = maker else { continue };
        if let Some(key) = each(&object, maker) {
            store.delete(&key).await?;
            tracing::debug!(key, "orphan deleted");
        }
    }
    Ok(())
}

/// Counts what a store was tried with before a time, and removes it if told.
async fn sweep_probes(store: &dyn Store, before_ms: i64, execute: bool) -> Result<u64> {
    let mut found = 0;
    let mut listing = store.list(PROBES, None);
    while let Some(object) = listing.try_next().await? {
        if object.modified_ms < before_ms {
            found += 1;
            if execute {
                store.delete(&object.key).await?;
            }
        }
    }
    Ok(found)
}

fn folder(topic: &Topic) -> String {
    format!("{KAFKA}{topic}/")
}

async fn scan_folder(
    log: &CommitLog,
    folder: &str,
    live: impl Fn(&ObjectInfo, &ObjectName) -> bool,
    each: &mut impl FnMut(&ObjectInfo, Incarnation) -> Option<String>,
) -> Result<()> {
    let mut listing = log.store().list(folder, None);
    while let Some(object) = listing.try_next().await? {
        let Ok(name) = ObjectName::parse(&object.key) else { continue };
        let Some(incarnation) = name.incarnation() else { continue };
        if live(&object, &name) || log.state().dropped.contains_key(&object.key) {
            continue;
        }
        if let Some(key) = each(&object, incarnation) {
            log.store().delete(&key).await?;
            tracing::debug!(key, "orphan deleted");
        }
    }
    Ok(())
}

/// Snapshots of groups and cluster settings that no commit ever named. Old ones stay named for good, by old commits, which
/// are read only where there is something to ask them about.
async fn unnamed_snapshots(log: &CommitLog) -> Result<BTreeSet<String>> {
    let mut candidates = BTreeSet::new();
    for folder in [GROUPS, CLUSTER] {
        let mut listing = log.store().list(folder, None);
        while let Some(object) = listing.try_next().await? {
            candidates.insert(object.key);
        }
    }
    let head = log.head().seq;
    for seq in 1..=head {
        if candidates.is_empty() {
            break;
        }
        let read = read_commit(&**log.store(), seq).await?;
        let (commit, _) = read.ok_or_else(|| Error::damaged(format!("commit {seq} is missing")))?;
        for op in &commit.ops {
            if let Op::Groups { object } | Op::Cluster { object } = op {
                candidates.remove(&object.key);
            }
        }
    }
    Ok(candidates)
}

/// The store's own clock, told by an object written for the purpose.
async fn store_now(store: &dyn Store, seam: &Seam) -> Result<i64> {
    let key = probe::name(&*seam.rand);
    let created = store.create(&key, vec![Bytes::from_static(b"what time is it")]).await?;
    let seen = store.head(&key).await;
    store.delete(&key).await?;
    match (created, seen?) {
        (Created::New(_) | Created::Unclear(_), Some(object)) => Ok(object.modified_ms),
        _ => Err(Error::retry(format!("{}: {key} could not be created", store.location()))),
    }
}

#[cfg(test)]
mod tests;
