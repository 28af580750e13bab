//! What travels between the stages of a backup. Every message about a partition carries its lineage and offsets.

use std::sync::Arc;

use bytes::Bytes;
use formats::commit::{Gap, LastBatch, Lineage, Op, SegmentEntry};
use formats::ids::{LineageId, OffsetRange, TopicId, TopicPartition};
use formats::segment::{EncodedSegment, SegmentInput};
use formats::transactions::{AbortedTransaction, OpenTransaction};

use super::progress::InFlight;
use crate::budget::Charge;

/// Where a partition's fetching begins, and what is known of the log there.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    pub(super) partition: TopicPartition,
    pub(super) topic_id: TopicId,
    pub(super) lineage: LineageId,
    /// The lineage's first offset.
    pub(super) start: i64,
    /// The next offset that is wanted.
    pub(super) next: i64,
    /// The batch before it, which is fetched once more and must be the same. `None` where there is none to compare.
    pub(super) last: Option<LastBatch>,
    /// The epoch of the batch before `next`, where it is known.
    pub(super) last_epoch: Option<i32>,
    /// Stop before this offset.
    pub(super) until: Option<i64>,
    /// The broker to fetch from.
    pub(super) broker: i32,
    /// The leader epoch that was known when the broker was chosen.
    pub(super) leader_epoch: Option<i32>,
    /// Whether offsets that are missing between batches are the log cleaner's work.
    pub(super) compacted: bool,
}

/// What the cut stage is told.
#[derive(Debug)]
pub(super) enum ToCut {
    /// A partition's history goes on here (or begins, with the operations that say so).
    Begin(Begin),
    /// Batches that continue the partition.
    Fetched(FetchedBatches),
    /// Offsets that will never come.
    Gap { partition: TopicPartition, lineage: LineageId, gap: Gap },
    /// Something else to commit.
    Op(Op),
    /// Nothing more will come of this partition: cut what is open.
    End { partition: TopicPartition },
}

/// A partition's history goes on here.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) partition: TopicPartition,
    pub(super) lineage: LineageId,
    /// Where it goes on.
    pub(super) next: i64,
    /// Transactions open there.
    pub(super) open: Vec<OpenTransaction>,
    /// The operation that begins the lineage, where it is new. Its start follows the first batch where that begins lower.
    pub(super) begins: Option<Lineage>,
}

/// Whole, checked batches of one answer.
#[derive(Debug)]
pub(super) struct FetchedBatches {
    pub(super) partition: TopicPartition,
    pub(super) lineage: LineageId,
    /// From the first batch's base offset to the end of the last.
    pub(super) range: OffsetRange,
    /// Back to back; a slice of the answer.
    pub(super) batches: Bytes,
    /// Bytes of the whole answer that the slice keeps alive.
    pub(super) keeps: usize,
    /// Aborted transactions that the broker listed with them.
    pub(super) aborted: Vec<AbortedTransaction>,
    /// Whether missing offsets are the log cleaner's work.
    pub(super) compacted: bool,
}

/// Segments that will share an object.
#[derive(Debug)]
pub(super) struct CutObject {
    pub(super) segments: Vec<CutSegment>,
    /// Counts the payload as on its way out until the upload is done.
    pub(super) in_flight: InFlight,
}

/// A segment's content, with its place in the partition's order.
#[derive(Debug)]
pub(super) struct CutSegment {
    pub(super) ticket: Ticket,
    pub(super) input: SegmentInput,
    pub(super) charges: Vec<Charge>,
    pub(super) bytes: usize,
}

/// Which partition a thing belongs to, and the how-manieth it is: the order stage restores the order by it.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) partition: Arc<TopicPartition>,
    pub(super) lineage: LineageId,
    pub(super) number: u64,
}

/// Segments as they will lie in one object.
#[derive(Debug)]
pub(super) struct EncodedObject {
    pub(super) segments: Vec<(Ticket, EncodedSegment)>,
    /// What copies and compressed frames count for in the budget, until the upload is done.
    pub(super) charges: Vec<Charge>,
    pub(super) in_flight: InFlight,
}

/// A thing that the order stage holds until everything before it is there.
#[derive(Debug)]
pub(super) enum Ordered {
    /// A durable segment.
    Segment(Box<SegmentEntry>),
    /// Another operation of the same partition.
    Op(Box<Op>),
}

/// What the order stage is told.
#[derive(Debug)]
pub(super) enum ToOrder {
    /// A partition's next thing.
    Partition { ticket: Ticket, what: Ordered },
    /// An operation that belongs to no partition.
    Op(Op),
}
