//! What a backup tells about itself while it runs: plain counters, read by progress bars, status and metrics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::budget::Budget;
use crate::source::SourceProgress;
use crate::stage::Stage;
use crate::storage::meter::Meter;

/// Counters of a backup, over all its runs in one process. All of them only grow, except the depths and [`BackupProgress::last_commit_ms`].
#[derive(Debug, Default)]
pub struct BackupProgress {
    memory: Mutex<Memory>,
    /// What the source tells.
    pub source: Arc<SourceProgress>,
    /// Segments cut.
    pub segments_cut: AtomicU64,
    /// Bytes of batches cut and not yet durable.
    pub bytes_in_flight: AtomicU64,
    /// Bytes of objects written.
    pub bytes_stored: AtomicU64,
    /// Objects written.
    pub objects_stored: AtomicU64,
    /// Records committed.
    pub records_committed: AtomicU64,
    /// Commits made.
    pub commits: AtomicU64,
    /// When the last one was made, in milliseconds since 1970 UTC; 0 before the first.
    pub last_commit_ms: AtomicI64,
    /// Gaps committed that are a loss.
    pub gaps: AtomicU64,
    /// The offsets in them.
    pub offsets_lost: AtomicU64,
    /// Histories that began where the partition had one before: topics made anew, logs that were truncated.
    pub lineages_begun: AtomicU64,
    /// Walks through the registry that came to their end.
    pub schema_walks: AtomicU64,
    /// Walks that failed.
    pub schema_failures: AtomicU64,
    /// Versions of subjects that were new.
    pub schemas_new: AtomicU64,
    /// What was asked of the store.
    pub store: Arc<Meter>,
    pub(super) cut: Arc<Stage>,
    pub(super) encode: Arc<Stage>,
    pub(super) upload: Arc<Stage>,
    pub(super) commit: Arc<Stage>,
}

/// The budget of the run that is at work, and how long earlier ones were waited for.
#[derive(Debug, Default)]
struct Memory {
    budget: Option<Budget>,
    waited_before: Duration,
}

impl BackupProgress {
    /// A run begins. What was counted of earlier ones stays.
    pub(super) fn begin(&self, budget: &Budget) {
        let mut memory = self.memory_lock();
        let waited = memory.budget.as_ref().map_or(Duration::ZERO, Budget::waited);
        memory.waited_before += waited;
        memory.budget = Some(budget.clone());
    }

    pub(super) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Relaxed);
    }

    /// Payload bytes in memory now, and the bound; zeros before the run begins.
    pub fn memory(&self) -> (usize, usize) {
        self.memory_lock().budget.as_ref().map_or((0, 0), |budget| (budget.used(), budget.limit()))
    }

    /// The most payload bytes that were in memory at once.
    pub fn memory_peak(&self) -> usize {
        self.memory_lock().budget.as_ref().map_or(0, Budget::peak)
    }

    /// How long memory was waited for, by all connections together.
    pub fn memory_waited(&self) -> Duration {
        let memory = self.memory_lock();
        memory.waited_before + memory.budget.as_ref().map_or(Duration::ZERO, Budget::waited)
    }

    /// The stages by their names, in the order in which data goes through them. What they count as items: partitions with data in
    /// answers, segments, objects, objects, commits.
    pub fn stages(&self) -> [(&'static str, &Stage); 5] {
        [
            ("fetch", &self.source.stage),
            ("cut", &self.cut),
            ("encode", &self.encode),
            ("upload", &self.upload),
            ("commit", &self.commit),
        ]
    }

    fn memory_lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts bytes as in flight until it is dropped: after the upload, or wherever they were lost with a failure.
#[derive(Debug)]
pub(super) struct InFlight {
    progress: Arc<BackupProgress>,
    bytes: u64,
}

impl InFlight {
    pub(super) fn new(progress: &Arc<BackupProgress>, bytes: u64) -> Self {
        progress.bytes_in_flight.fetch_add(bytes, Relaxed);
        Self { progress: progress.clone(), bytes }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.progress.bytes_in_flight.fetch_sub(self.bytes, Relaxed);
    }
}
