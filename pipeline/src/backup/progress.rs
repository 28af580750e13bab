//! What a backup tells about itself while it runs: plain counters, read by progress bars, status and metrics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::budget::Budget;
use crate::source::SourceProgress;

/// Counters of a backup, over all its runs in one process. All of them only grow, except the depths and [`BackupProgress::last_commit_ms`].
#[derive(Debug, Default)]
pub struct BackupProgress {
    budget: Mutex<Option<Budget>>,
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
}

impl BackupProgress {
    /// A run begins. What was counted of earlier ones stays.
    pub(super) fn begin(&self, budget: &Budget) {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner) = Some(budget.clone());
    }

    pub(super) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Relaxed);
    }

    /// Payload bytes in memory now, and the bound; zeros before the run begins.
    pub fn memory(&self) -> (usize, usize) {
        self.budget().map_or((0, 0), |budget| (budget.used(), budget.limit()))
    }

    /// The most payload bytes that were in memory at once.
    pub fn memory_peak(&self) -> usize {
        self.budget().map_or(0, |budget| budget.peak())
    }

    fn budget(&self) -> Option<Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
