//! A backup as its readers see it: histories, segment lists, segments, the fate of transactional batches.
//!
//! Nothing here writes. [`Archive`] holds the state after the newest commit; [`SegmentReader`] reads one segment by
//! ranges; [`FateReader`] tells which batches a consumer of committed data would see. All payload is admitted to a
//! [`crate::budget::Budget`] before it is read.
//!
//! ```text
//! lineage 1   [0 ........ 100 ......... 160)          a log that was truncated at 100 and went on
//! lineage 2                [100 ............ 240)      fork: parent 1, offset 100
//! its chain   [0 ........ 100)[100 ......... 240)      what a restore of lineage 2 holds
//! ```

mod batches;
mod fate;
mod reader;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use batches::{ClippedBatch, FrameBatches};
pub use fate::{BatchFate, FateReader, SegmentFates};
pub use reader::{FrameRun, SegmentReader};

use formats::commit::{Gap, SegmentEntry};
use formats::ids::{LineageId, OffsetRange, Topic, TopicPartition};
use formats::repository::Repository;
use formats::state::State;

use crate::commit_log::{CommitLog, Committed};
use crate::seam::Seam;
use crate::storage::Store;
use crate::{Error, Result};

pub use crate::commit_log::TopicLists;

/// A backup, read only.
#[derive(Debug)]
pub struct Archive {
    log: CommitLog,
}

/// A part of a history: one lineage's offsets that it consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Whose segments hold it.
    pub lineage: LineageId,
    /// Which of its offsets; never empty.
    pub range: OffsetRange,
}

/// A segment and the part of it that belongs to a history.
#[derive(Debug, Clone, PartialEq)]
pub struct PieceSegment {
    /// The lineage that it was written for: a part of its key.
    pub lineage: LineageId,
    /// What the commits say about it.
    pub entry: SegmentEntry,
    /// The offsets that belong to the history: less than the entry's where the history left this lineage inside it.
    pub range: OffsetRange,
}

impl PieceSegment {
    /// Whether the history goes on elsewhere before the segment ends.
    pub fn is_cut(&self) -> bool {
        self.range.end < self.entry.end
    }
}

/// A range without segments and the lineage that tells why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceGap {
    /// Whose gap.
    pub lineage: LineageId,
    /// The range, clipped to the history, and the reason.
    pub gap: Gap,
}

impl Archive {
    /// Opens the backup that lives in the store, as it is after its newest commit.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] where there is no backup; damage; a newer format; whatever the store says.
    pub async fn open(store: Arc<dyn Store>, seam: Seam) -> Result<Self> {
        Ok(Self { log: CommitLog::open(store, seam).await? })
    }

    /// Takes in what was committed since.
    ///
    /// # Errors
    /// Damage, or whatever the store says.
    pub async fn refresh(&mut self) -> Result<()> {
        self.log.refresh().await
    }

    /// The state after the newest known commit, without segment lists.
    pub fn state(&self) -> &State {
        self.log.state()
    }

    /// The commits' own view.
    pub fn log(&self) -> &CommitLog {
        &self.log
    }

    /// What the backup says about itself.
    pub fn repository(&self) -> &Repository {
        self.log.repository()
    }

    /// The newest known commit.
    pub fn head(&self) -> Committed {
        self.log.head()
    }

    /// Where it lies.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.log.store()
    }

    /// The pieces that a history consists of, in offset order: its ancestors' offsets below the forks, then its own.
    /// Empty where it holds no offset at all.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] for a partition or lineage that the backup does not have; damage where a parent is missing.
    pub fn chain(&self, partition: &TopicPartition, lineage: LineageId) -> Result<Vec<Piece>> {
        chain(self.state(), partition, lineage)
    }

    /// What no segment of a history holds, and why, in offset order.
    ///
    /// # Errors
    /// As [`Archive::chain`].
    pub fn gaps(&self, partition: &TopicPartition, lineage: LineageId) -> Result<Vec<PieceGap>> {
        let state = self.state().partition(&partition.topic, partition.partition);
        let mut gaps = Vec::new();
        for piece in self.chain(partition, lineage)? {
            let of = state.and_then(|state| state.lineage(piece.lineage));
            for gap in of.iter().flat_map(|lineage| &lineage.gaps) {
                let range = clip(gap.range(), piece.range);
                if !range.is_empty() {
                    let gap = Gap { first: range.first, end: range.end, reason: gap.reason };
                    gaps.push(PieceGap { lineage: piece.lineage, gap });
                }
            }
        }
        Ok(gaps)
    }

    /// Every live segment of a topic, by partition and lineage. Costs the topic's own pages; read it once for all
    /// partitions of a topic and use [`Archive::segments_in`].
    ///
    /// # Errors
    /// Damage, or whatever the store says.
    pub async fn lists(&self, topic: &Topic) -> Result<TopicLists> {
        self.log.topic_lists(topic).await
    }

    /// The segments of a history in offset order, out of its topic's lists.
    ///
    /// # Errors
    /// As [`Archive::chain`].
    pub fn segments_in(
        &self,
        lists: &TopicLists,
        partition: &TopicPartition,
        lineage: LineageId,
    ) -> Result<Vec<PieceSegment>> {
        let mut segments = Vec::new();
        for piece in self.chain(partition, lineage)? {
            for entry in lists.get(&(partition.partition, piece.lineage)).into_iter().flatten() {
                let range = clip(entry.range(), piece.range);
                if !range.is_empty() {
                    segments.push(PieceSegment { lineage: piece.lineage, entry: entry.clone(), range });
                }
            }
        }
        Ok(segments)
    }

    /// The segments of a history in offset order.
    ///
    /// # Errors
    /// As [`Archive::chain`] and [`Archive::lists`].
    pub async fn segments(
        &self,
        partition: &TopicPartition,
        lineage: LineageId,
    ) -> Result<Vec<PieceSegment>> {
        let lists = self.lists(&partition.topic).await?;
        self.segments_in(&lists, partition, lineage)
    }
}

/// The part of a range that lies in another.
pub(crate) fn clip(range: OffsetRange, to: OffsetRange) -> OffsetRange {
    OffsetRange::new(range.first.max(to.first), range.end.min(to.end))
}

fn chain(state: &State, partition: &TopicPartition, lineage: LineageId) -> Result<Vec<Piece>> {
    let Some(histories) = state.partition(&partition.topic, partition.partition) else {
        return Err(Error::not_found(format!("the backup does not hold {partition}"))
            .hint("`replevin describe` shows what it holds"));
    };
    let mut pieces = Vec::new();
    let mut wanted = lineage;
    let mut end = i64::MAX;
    // A parent is always older than its child; whatever says otherwise would go round in circles.
    let mut younger = histories.lineages.len();
    loop {
        let Some(at) = histories.lineages[..younger].iter().position(|found| found.id == wanted) else {
            if wanted == lineage {
                return Err(Error::not_found(format!("{partition} has no lineage {lineage}"))
                    .hint(format!("`replevin describe --topic {}` shows its lineages", partition.topic)));
            }
            return Err(Error::damaged(format!(
                "{partition}: lineage {lineage} descends from {wanted}, which is not there"
            )));
        };
        let found = &histories.lineages[at];
        let range = OffsetRange::new(found.start, found.next.min(end));
        if !range.is_empty() {
            pieces.push(Piece { lineage: wanted, range });
        }
        let Some(fork) = found.fork else { break };
        (wanted, end, younger) = (fork.parent, end.min(fork.offset), at);
    }
    pieces.reverse();
    Ok(pieces)
}
