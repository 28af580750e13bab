//! The source: topics of a cluster, followed partition by partition, whatever happens to leaders, logs and topics.
//!
//! ```text
//! follow (one) -> place (where each partition goes on) -> fetch (a task a connection) -> whole, checked batches
//! ```
//! Both a backup and a migration stand behind it. It knows no archive and no target: where a partition was left is told to it,
//! and everything that it finds out it tells as [`FromSource`].

pub(crate) mod cluster;
mod fetch;
mod follow;
mod lag;
mod message;
mod place;
mod size;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use formats::ids::Topic;

pub use lag::{Behind, Lags};

pub(crate) use follow::{Coordinator, Snapshots, plan};
pub(crate) use message::{Begin, FetchedBatches, FromSource, SourceCommand};
pub(crate) use place::{Forked, Known};

use crate::Error;
use crate::kafka::Isolation;
use crate::select::TopicSelection;
use crate::stage::Stage;

/// What is followed, and how.
#[derive(Debug, Clone)]
pub(crate) struct SourceSettings {
    /// Which topics.
    pub(crate) topics: TopicSelection,
    /// Whether to go on for ever; otherwise it stops at the offsets seen at the start.
    pub(crate) continuous: bool,
    /// Which transactional data is fetched.
    pub(crate) isolation: Isolation,
    /// Where a partition of which nothing is known begins.
    pub(crate) start: StartOffset,
    /// Bytes that one Fetch answer should have at most.
    pub(crate) fetch_max_bytes: Option<usize>,
    /// Bytes of batches a second at most.
    pub(crate) rate: FetchRate,
    /// How often new topics and partitions are looked for.
    pub(crate) refresh_interval: Duration,
}

/// Bytes of batches that are fetched in a second at most; none: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchRate {
    /// From all brokers together.
    pub in_all: Option<u64>,
    /// From each broker.
    pub per_broker: Option<u64>,
}

impl SourceSettings {
    /// The same for partitions that have come since the job began: all that they hold is new.
    fn of_new(&self) -> Self {
        let start = match &self.start {
            StartOffset::Latest => StartOffset::Earliest,
            other => other.clone(),
        };
        Self { start, ..self.clone() }
    }
}

/// Where a partition of which nothing is known begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartOffset {
    /// At the first offset that is left.
    Earliest,
    /// At the end, as it is when the partition is first seen. One that came later begins at its first offset, so that nothing of it is
    /// missed: one that a running job finds to be new, and one by which a topic has grown of which others are known.
    Latest,
    /// At these offsets; partitions that are not named begin at the first offset that is left.
    Specific(BTreeMap<Topic, BTreeMap<i32, i64>>),
}

/// What the source tells about itself while it is followed: counters, which only grow but for [`SourceProgress::failed`].
#[derive(Debug, Default)]
pub struct SourceProgress {
    /// Partitions of this run.
    pub partitions: AtomicU64,
    /// Partitions that reached the offset they stop at.
    pub partitions_done: AtomicU64,
    /// Offsets between where the partitions began and where they stop, for one-shot runs.
    pub offsets_wanted: AtomicU64,
    /// Offsets fetched.
    pub offsets_fetched: AtomicU64,
    /// Records fetched.
    pub records_fetched: AtomicU64,
    /// Bytes of batches fetched.
    pub bytes_fetched: AtomicU64,
    /// Partitions and topics that cannot be followed now; those are tried again.
    pub failed: AtomicU64,
    /// How far what is durable is behind.
    pub lags: Lags,
    /// Its tasks, one a connection: items are answers' partitions that had data.
    pub stage: Arc<Stage>,
}

impl SourceProgress {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Relaxed);
    }
}

/// What is said when the stage behind the source is gone: its own error is the one to read.
fn closed() -> Error {
    Error::permanent("the stage behind the source has stopped")
}
