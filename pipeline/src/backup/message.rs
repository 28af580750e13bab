//! What travels between the stages of a backup behind the source. Every message about a partition carries its lineage and
//! offsets.

use std::sync::Arc;

use formats::commit::{Op, SegmentEntry};
use formats::ids::{LineageId, TopicPartition};
use formats::segment::{EncodedSegment, SegmentInput};

use super::progress::InFlight;
use crate::budget::Charge;

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
