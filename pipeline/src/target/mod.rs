//! The target: whole batches from wherever they come, prepared and produced in order, each exactly once.
//!
//! ```text
//! lane (one a partition and part: passthrough, rebuild, other ids) -> produce (a connection a broker) -> acknowledged offsets
//! ```
//! Both a restore and a migration end here. What must outlive the process (which producer writes, where a partition begins) is
//! theirs to keep.

pub(crate) mod lane;
pub(crate) mod part;
pub(crate) mod produce;
pub(crate) mod runs;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the target tells about itself while it is written to: plain counters, which only grow.
#[derive(Debug, Default)]
pub struct TargetProgress {
    /// Partitions that are complete on the target.
    pub partitions_done: AtomicU64,
    /// Partitions that were given up.
    pub partitions_failed: AtomicU64,
    /// Records acknowledged by the target, those of earlier runs included.
    pub records_acked: AtomicU64,
    /// Bytes of batches acknowledged in this run.
    pub bytes_acked: AtomicU64,
    /// Produce requests sent.
    pub requests: AtomicU64,
    /// Batches sent again after an error or a lost answer.
    pub batches_resent: AtomicU64,
}

impl TargetProgress {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Relaxed);
    }
}
