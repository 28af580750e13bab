//! What became of transactional batches: committed, aborted, or not decided before the archive ends.
//!
//! Two rules (see [`formats::transactions`]), chosen segment by segment:
//!
//! * a segment with the broker's own list: data of a producer between a listed first offset and the producer's next
//!   ABORT marker is aborted, other transactional data committed;
//! * a segment without it, and one that a history leaves before its end (what the list says may have been decided
//!   otherwise after the fork): the producer's next marker decides, in this segment or a later one of the history.
//!
//! Later segments are looked into only for producers whose transaction is open at a segment's end, and only those
//! segments' indexes are read that can hold the marker: a segment at whose end the same transaction is still open cannot.
//! Memory is bounded by one index and the transactions that are open across a segment's end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use formats::ids::{OffsetRange, TopicPartition};
use formats::record_batch::RecordBatch;
use formats::segment::FrameFlags;
use formats::transactions::{Marker, SegmentTransactions};

use super::{PieceSegment, SegmentReader};
use crate::budget::Budget;
use crate::storage::Store;
use crate::{Error, Result};

/// What a batch is to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchFate {
    /// Not transactional.
    Plain,
    /// Transactional and committed.
    Committed,
    /// Transactional and aborted.
    Aborted,
    /// Transactional, and its marker is not in the history.
    Undecided,
    /// A control batch.
    Control,
}

impl BatchFate {
    /// Whether a consumer that reads committed data sees its records.
    pub fn is_delivered(self) -> bool {
        matches!(self, Self::Plain | Self::Committed)
    }
}

/// Tells fates along one history.
#[derive(Debug)]
pub struct FateReader {
    store: Arc<dyn Store>,
    budget: Budget,
    partition: TopicPartition,
    segments: Arc<[PieceSegment]>,
    /// The next marker of producers whose transactions cross a segment's end; `None` where there is none to the end.
    ahead: BTreeMap<i64, Option<Marker>>,
}

/// The fates of one segment's batches. Asks nothing further, so it may travel to a worker thread.
#[derive(Debug, Clone, Default)]
pub struct SegmentFates {
    listed: bool,
    /// By producer: first offsets and where the abort ended, in order.
    aborted: BTreeMap<i64, Vec<(i64, i64)>>,
    /// By producer: offsets of markers and whether they commit, in order.
    markers: BTreeMap<i64, Vec<(i64, bool)>>,
}

impl FateReader {
    /// For the history that consists of these segments, in offset order: all of them, even where only a part is read,
    /// because markers may come late.
    pub fn new(
        store: Arc<dyn Store>,
        budget: Budget,
        partition: TopicPartition,
        segments: Arc<[PieceSegment]>,
    ) -> Self {
        Self { store, budget, partition, segments, ahead: BTreeMap::new() }
    }

    /// The fates in the segment with this number in the history. Cheapest in rising order.
    ///
    /// # Errors
    /// A number that the history does not have; damage in this or a later segment; whatever the store says.
    pub async fn segment(&mut self, number: usize, reader: &SegmentReader) -> Result<SegmentFates> {
        let segments = Arc::clone(&self.segments);
        let Some(segment) = segments.get(number) else {
            return Err(Error::permanent(format!("{}: the history has no segment {number}", self.partition)));
        };
        let index = reader.index();
        if !index.frames.iter().any(|frame| frame.flags.has(FrameFlags::TRANSACTIONAL)) {
            return Ok(SegmentFates::default());
        }
        if !segment.is_cut() && reader.identity().await?.aborted_listed {
            return Ok(SegmentFates::by_list(&index.transactions));
        }
        let mut fates = SegmentFates::by_markers(&index.transactions.markers, segment.range);
        let mut crossing: BTreeSet<i64> = segment.entry.open.iter().map(|open| open.producer_id).collect();
        if segment.is_cut() {
            // What was open at the cut ended later in this segment or is still open at its end.
            let later = index.transactions.markers.iter().filter(|marker| marker.offset >= segment.range.end);
            crossing.extend(later.map(|marker| marker.producer_id));
        }
        self.ahead.retain(|producer, marker| {
            crossing.contains(producer) && marker.is_none_or(|marker| marker.offset >= segment.range.end)
        });
        for producer in crossing {
            let marker = match self.ahead.get(&producer) {
                Some(marker) => *marker,
                None => {
                    let marker = self.look_ahead(number + 1, producer).await?;
                    self.ahead.insert(producer, marker);
                    marker
                }
            };
            if let Some(marker) = marker {
                fates.markers.entry(producer).or_default().push((marker.offset, marker.committed));
            }
        }
        Ok(fates)
    }

    async fn look_ahead(&self, from: usize, producer: i64) -> Result<Option<Marker>> {
        for segment in self.segments.iter().skip(from) {
            let first = segment.range.first;
            let still = |open: &&formats::transactions::OpenTransaction| {
                open.producer_id == producer && open.first_offset < first
            };
            if segment.entry.control == 0 || segment.entry.open.iter().any(|open| still(&open)) {
                continue;
            }
            let reader = SegmentReader::open(
                &self.store,
                &self.budget,
                &self.partition,
                segment.lineage,
                &segment.entry,
            );
            let reader = reader.await?;
            let ours =
                |marker: &&Marker| marker.producer_id == producer && segment.range.contains(marker.offset);
            if let Some(marker) = reader.index().transactions.markers.iter().find(ours) {
                return Ok(Some(*marker));
            }
        }
        Ok(None)
    }
}

impl SegmentFates {
    fn by_list(transactions: &SegmentTransactions) -> Self {
        let mut fates = Self { listed: true, ..Self::default() };
        let mut listed = transactions.aborted.clone();
        listed.sort_unstable_by_key(|entry| entry.first_offset);
        for entry in listed {
            let ends = |m: &&Marker| {
                m.producer_id == entry.producer_id && !m.committed && m.offset > entry.first_offset
            };
            let end = transactions.markers.iter().find(ends).map_or(i64::MAX, |marker| marker.offset);
            fates.aborted.entry(entry.producer_id).or_default().push((entry.first_offset, end));
        }
        fates
    }

    fn by_markers(markers: &[Marker], range: OffsetRange) -> Self {
        let mut fates = Self::default();
        for marker in markers.iter().filter(|marker| range.contains(marker.offset)) {
            fates.markers.entry(marker.producer_id).or_default().push((marker.offset, marker.committed));
        }
        fates
    }

    /// The fate of a batch of the segment.
    pub fn fate(&self, batch: &RecordBatch<'_>) -> BatchFate {
        let attributes = batch.attributes();
        if attributes.control() {
            return BatchFate::Control;
        }
        if !attributes.transactional() {
            return BatchFate::Plain;
        }
        let producer = batch.producer_id();
        if self.listed {
            let aborted = self.aborted.get(&producer).map_or(&[][..], Vec::as_slice);
            let begun = aborted.partition_point(|(first, _)| *first <= batch.last_offset());
            let active = aborted[..begun].last().is_some_and(|(_, end)| batch.base_offset() < *end);
            return if active { BatchFate::Aborted } else { BatchFate::Committed };
        }
        let markers = self.markers.get(&producer).map_or(&[][..], Vec::as_slice);
        match markers.get(markers.partition_point(|(offset, _)| *offset <= batch.last_offset())) {
            Some((_, true)) => BatchFate::Committed,
            Some((_, false)) => BatchFate::Aborted,
            None => BatchFate::Undecided,
        }
    }
}
