//! Proves that a backup is whole, or says what is not: object key and topic-partition@offsets, everything in one run.
//!
//! ```text
//! structure   repository.json; every commit from 1, applied from nothing, chained by hash; every checkpoint against the
//!             state it claims; every live segment's object by name and size; anchors told by earlier runs
//!             every snapshot of the schemas, every object that the newest names, every reference; every schema that
//!             scanned segments name
//! deep        in addition every byte of every live segment: BLAKE3, header, index, frames, batch CRCs, records,
//!             counts, digests, markers
//! ```
//! Reads only. A finding does not end the run; what ends it is a store that stops answering. Memory: one topic's segment
//! lists and listing, the keys of packs and snapshots, and for `deep` the memory limit.
//!
//! Damage that only an adversary can make is found where it breaks the chain of hashes. A removed tail does not: it needs
//! an anchor kept elsewhere ([`VerifySettings::expect`]).

mod deep;
mod finding;
mod history;
mod objects;
mod schemas;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use formats::hash::Hash;
use formats::paths::{self, ObjectName};
use formats::repository::{MAX_REPOSITORY, Repository};
use futures::TryStreamExt;
use serde::Serialize;

pub use deep::DeepTotals;
pub(crate) use finding::says_nothing_about_the_backup;
pub use finding::{Finding, FindingKind};
pub use objects::{Leftover, LeftoverClass, LeftoverTotal, Leftovers};
pub(crate) use objects::{Named, topics};
pub use schemas::SchemaParser;

use crate::budget::Budget;
use crate::schemas::{Beyond, RadarReport, UnknownSchema};
use crate::storage::Store;
use crate::{Error, Result};
use finding::Findings;

/// What to prove.
#[derive(Debug, Clone)]
pub struct VerifySettings {
    /// Whether every byte is read and decoded.
    pub deep: bool,
    /// Commits that the log must hold: printed by earlier runs, kept outside of the store.
    pub expect: Vec<(u64, Hash)>,
    /// Payload in memory at once, bytes.
    pub memory_limit: usize,
    /// Segments read at once.
    pub parallel: usize,
    /// Who understands schemas; with `deep`, each text is parsed again.
    pub parser: Option<Arc<dyn SchemaParser>>,
}

impl Default for VerifySettings {
    fn default() -> Self {
        let parallel = std::thread::available_parallelism().map_or(2, usize::from);
        Self { deep: false, expect: Vec::new(), memory_limit: 256 << 20, parallel, parser: None }
    }
}

/// How far a verification is; for progress bars.
#[derive(Debug, Default)]
pub struct VerifyProgress {
    /// Commits read.
    pub commits: AtomicU64,
    /// Commits to read.
    pub commits_total: AtomicU64,
    /// Segments looked at.
    pub segments: AtomicU64,
    /// Segments to look at, once the commits are read.
    pub segments_total: AtomicU64,
    /// Stored bytes of segments looked at.
    pub bytes: AtomicU64,
    /// Stored bytes of all segments, once the commits are read.
    pub bytes_total: AtomicU64,
    /// Findings so far.
    pub findings: AtomicU64,
}

impl VerifyProgress {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// What a verification found.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// The backup's name, where `repository.json` could be read.
    pub backup_id: Option<String>,
    /// Where it lies.
    pub location: String,
    /// The number of the last commit.
    pub head_seq: u64,
    /// BLAKE3 of the last commit that could be applied.
    pub head_hash: Hash,
    /// Commits found.
    pub commits: u64,
    /// Checkpoints whose state was compared with the commits'.
    pub checkpoints: u64,
    /// Live segments.
    pub segments: u64,
    /// Their stored bytes.
    pub stored_bytes: u64,
    /// What was decoded, where asked for.
    pub deep: Option<DeepTotals>,
    /// What is wrong, in the order found.
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub findings_omitted: u64,
    /// Objects that no commit names.
    pub leftovers: Leftovers,
    /// What scanned segments need of the schemas, where there are any and the schemas can be read.
    pub schema_ids: Option<NeededSchemas>,
}

/// Schemas that records name, by the lists of scanned segments.
#[derive(Debug, Clone, Serialize)]
pub struct NeededSchemas {
    /// Live segments.
    pub segments: u64,
    /// Of them, those that are scanned.
    pub scanned: u64,
    /// Batches of them that could not be read.
    pub unread_batches: u64,
    /// The schemas hold what records of the commits up to this one need, as far as the registry still had it.
    pub covers: u64,
    /// Whether that is all data.
    pub covers_all: bool,
    /// What framed keys and values, and headers, name and the backup does not have.
    pub unresolved: Vec<UnknownSchema>,
    /// Rows beyond those listed.
    pub unresolved_omitted: u64,
    /// Where further ids are named that are not listed.
    pub beyond: Vec<Beyond>,
}

impl NeededSchemas {
    fn of(radar: RadarReport, covers: u64, covers_all: bool) -> Self {
        Self {
            covers,
            covers_all,
            segments: radar.segments,
            scanned: radar.scanned,
            unread_batches: radar.unread_batches,
            unresolved: radar.unknown,
            unresolved_omitted: radar.unknown_omitted,
            beyond: radar.beyond,
        }
    }
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether every schema that scanned segments need is there. What is not is no damage: the registry did not have it either when
    /// it was looked at, a filter left it out, or nobody has looked since.
    pub fn resolves(&self) -> bool {
        self.schema_ids.as_ref().is_none_or(|ids| ids.unresolved.is_empty())
    }
}

/// Verifies the backup that lives in the store.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`] where there is no backup; a store that does not answer. What is wrong with the backup is in the
/// report.
pub async fn verify(
    store: Arc<dyn Store>,
    settings: &VerifySettings,
    progress: Arc<VerifyProgress>,
) -> Result<VerifyReport> {
    let findings = Findings::new(Arc::clone(&progress));
    let repository = repository(&*store, &findings).await?;
    let history = history::read(&store, settings, &findings, &progress).await?;
    let mut report = VerifyReport {
        backup_id: repository.map(|repository| repository.backup_id.to_string()),
        location: store.location(),
        head_seq: history.tail,
        head_hash: history.state.head_hash(),
        commits: history.commits,
        checkpoints: history.checkpoints,
        segments: 0,
        stored_bytes: 0,
        deep: settings.deep.then(DeepTotals::default),
        findings: Vec::new(),
        findings_omitted: 0,
        leftovers: Leftovers::default(),
        schema_ids: None,
    };
    for (_, partition) in history.state.partitions() {
        for lineage in &partition.lineages {
            report.segments += lineage.totals.segments;
            report.stored_bytes += lineage.totals.stored;
        }
    }
    progress.segments_total.store(report.segments, Ordering::Relaxed);
    progress.bytes_total.store(report.stored_bytes, Ordering::Relaxed);
    let budget = Budget::new(settings.memory_limit);
    let check = objects::Check { store, history: &history, settings, budget, findings: &findings, progress };
    let checked = check.run().await?;
    (report.leftovers, report.deep) = (checked.leftovers, checked.deep);
    let named = checked.named.filter(|named| named.scanned > 0);
    let covers = history.state.schemas.as_ref().map_or(0, |(_, covers)| *covers);
    report.schema_ids = named.map(|named| NeededSchemas::of(named, covers, covers >= history.data));
    (report.findings, report.findings_omitted) = findings.finish();
    Ok(report)
}

async fn repository(store: &dyn Store, findings: &Findings) -> Result<Option<Repository>> {
    let read = match store.get(paths::REPOSITORY, MAX_REPOSITORY as u64).await {
        Ok(Some(stored)) => Repository::decode(&stored).map_err(Error::from),
        Ok(None) => {
            if store.list(paths::COMMITS, None).try_next().await?.is_none() {
                return Err(Error::not_found(format!("there is no backup at {}", store.location()))
                    .hint("check the storage section and backup_id; `replevin list` shows what is there"));
            }
            Err(Error::damaged("the object is missing although commits are there"))
        }
        Err(error) => Err(error),
    };
    match read {
        Ok(repository) => Ok(Some(repository)),
        Err(error) => {
            findings.object(&ObjectName::Repository.key(), error)?;
            Ok(None)
        }
    }
}
