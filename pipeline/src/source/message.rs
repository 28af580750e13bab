//! What the source tells the stage behind it, and is told by it. Every message about a partition carries its lineage and offsets.

use std::sync::Arc;

use bytes::Bytes;
use formats::commit::{Gap, LastBatch, Lineage, Op};
use formats::ids::{LineageId, OffsetRange, TopicId, TopicPartition};
use formats::transactions::{AbortedTransaction, OpenTransaction};

use super::place::{Forked, Known};

/// What the stage behind the source asks of it for one partition.
#[derive(Debug)]
pub(crate) enum SourceCommand {
    /// Fetch nothing more for now. What is under way still comes.
    Pause(TopicPartition),
    /// Go on after a pause.
    Resume(TopicPartition),
    /// Begin again here, or as a partition of which nothing is known. What is under way still comes; what comes behind the
    /// next [`FromSource::Begin`] begins here.
    Rewind(TopicPartition, Option<Known>),
}

/// Where a partition's fetching begins, and what is known of the log there.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) partition: TopicPartition,
    pub(crate) topic_id: TopicId,
    pub(crate) lineage: LineageId,
    /// The lineage's first offset.
    pub(crate) start: i64,
    /// The next offset that is wanted.
    pub(crate) next: i64,
    /// The batch before it, which is fetched once more and must be the same. `None` where there is none to compare.
    pub(crate) last: Option<LastBatch>,
    /// The epoch of the batch before `next`, where it is known.
    pub(crate) last_epoch: Option<i32>,
    /// Stop before this offset.
    pub(crate) until: Option<i64>,
    /// The broker to fetch from.
    pub(crate) broker: i32,
    /// The leader epoch that was known when the broker was chosen.
    pub(crate) leader_epoch: Option<i32>,
    /// Whether offsets that are missing between batches are the log cleaner's work.
    pub(crate) compacted: bool,
    /// Which histories it continues, where it began as a fork.
    pub(crate) forked: Option<Arc<Forked>>,
}

/// What the source tells the stage behind it.
#[derive(Debug)]
pub(crate) enum FromSource {
    /// A partition's history goes on here (or begins, with the operations that say so).
    Begin(Begin),
    /// Batches that continue the partition.
    Fetched(FetchedBatches),
    /// Offsets that will never come. With `trimmed` the next batch may begin before the gap's end, because a log may start
    /// inside a batch; such a batch is kept whole, and the gap ends where it begins.
    Gap { partition: TopicPartition, lineage: LineageId, gap: Gap, trimmed: bool },
    /// Something else to commit: a snapshot of the topics' settings.
    Op(Op),
    /// Nothing more will come of this partition, or not for now, and why where that is not its end.
    End { partition: TopicPartition, why: Option<String> },
}

/// A partition's history goes on here.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) partition: TopicPartition,
    pub(crate) lineage: LineageId,
    /// Where it goes on.
    pub(crate) next: i64,
    /// Transactions open there.
    pub(crate) open: Vec<OpenTransaction>,
    /// The operation that begins the lineage, where it is new. Its start follows the first batch where that begins lower.
    pub(crate) begins: Option<Lineage>,
}

/// Whole, checked batches of one answer.
#[derive(Debug)]
pub(crate) struct FetchedBatches {
    pub(crate) partition: TopicPartition,
    pub(crate) lineage: LineageId,
    /// From the first batch's base offset to the end of the last.
    pub(crate) range: OffsetRange,
    /// Back to back; a slice of the answer.
    pub(crate) batches: Bytes,
    /// Bytes of the whole answer that the slice keeps alive.
    pub(crate) keeps: usize,
    /// Aborted transactions that the broker listed with them.
    pub(crate) aborted: Vec<AbortedTransaction>,
    /// Whether missing offsets are the log cleaner's work.
    pub(crate) compacted: bool,
}
