//! What a restore tells about itself while it runs: plain counters, read by progress bars, status and metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crate::budget::Budget;
use crate::target::TargetProgress;

/// Counters of a running restore. All of them only grow.
#[derive(Debug, Default)]
pub struct RestoreProgress {
    budget: OnceLock<Budget>,
    /// Partitions of this run.
    pub partitions: AtomicU64,
    /// Records in the selected segments, control records included: what `records_read` grows towards.
    pub records_wanted: AtomicU64,
    /// Records read from the archive or known to be on the target already.
    pub records_read: AtomicU64,
    /// Bytes of batches read from the archive.
    pub bytes_read: AtomicU64,
    /// What the target tells.
    pub target: Arc<TargetProgress>,
    /// Records of the target compared in the proof.
    pub records_proven: AtomicU64,
}

impl RestoreProgress {
    pub(super) fn begin(&self, budget: &Budget) {
        let _ = self.budget.set(budget.clone());
    }

    pub(super) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Relaxed);
    }

    /// Payload bytes in memory now, and the bound; zeros before the run begins.
    pub fn memory(&self) -> (usize, usize) {
        self.budget.get().map_or((0, 0), |budget| (budget.used(), budget.limit()))
    }

    /// The most payload bytes that were in memory at once.
    pub fn memory_peak(&self) -> usize {
        self.budget.get().map_or(0, Budget::peak)
    }
}
