//! The batches of a decoded frame, as far as they belong to a history.

use formats::ids::OffsetRange;
use formats::record_batch::{Batches, RecordBatch};
use formats::segment::Frame;

use super::clip;
use crate::{Error, Result};

/// A batch and which of its offsets are wanted.
#[derive(Debug, Clone, Copy)]
pub struct ClippedBatch<'a> {
    /// The whole batch.
    pub batch: RecordBatch<'a>,
    /// The wanted offsets; never empty.
    pub keep: OffsetRange,
}

impl ClippedBatch<'_> {
    /// Whether every offset of the batch is wanted; otherwise records outside `keep` are to be left out.
    pub fn is_whole(&self) -> bool {
        self.keep == OffsetRange::new(self.batch.base_offset(), self.batch.next_offset())
    }
}

/// Walks a frame's batches. Checks that they lie in order inside the frame's range and are as many as the index says;
/// their CRCs are not checked here. Batches without a wanted offset are stepped over. Ends after the first error.
#[derive(Debug)]
pub struct FrameBatches<'a> {
    batches: Batches<'a>,
    frame: Frame,
    wanted: OffsetRange,
    next: i64,
    seen: u32,
    records: u64,
    ended: bool,
}

impl<'a> FrameBatches<'a> {
    /// Walks `raw`, the decoded bytes of `frame`.
    pub fn new(frame: &Frame, raw: &'a [u8], wanted: OffsetRange) -> Self {
        let batches = Batches::new(raw);
        Self { batches, frame: *frame, wanted, next: frame.range.first, seen: 0, records: 0, ended: false }
    }

    fn step(&mut self) -> Result<Option<ClippedBatch<'a>>> {
        let damaged = |why: String| Error::damaged(format!("frame {}: {why}", self.frame.range));
        loop {
            let Some(batch) = self.batches.next().transpose()? else {
                if !self.batches.rest().is_empty() {
                    let left = self.batches.rest().len();
                    return Err(damaged(format!(
                        "{left} bytes after offset {} are no whole batch",
                        self.next
                    )));
                }
                if self.seen != self.frame.batches || self.records != u64::from(self.frame.records) {
                    return Err(damaged(format!(
                        "holds {} batches of {} records where the index tells {} of {}",
                        self.seen, self.records, self.frame.batches, self.frame.records
                    )));
                }
                return Ok(None);
            };
            let range = OffsetRange::new(batch.base_offset(), batch.next_offset());
            if range.first < self.next || range.end > self.frame.range.end {
                return Err(damaged(format!("batch {range} is out of place")));
            }
            self.next = range.end;
            self.seen += 1;
            self.records += u64::from(batch.record_count().unsigned_abs());
            let keep = clip(range, self.wanted);
            if !keep.is_empty() {
                return Ok(Some(ClippedBatch { batch, keep }));
            }
        }
    }
}

impl<'a> Iterator for FrameBatches<'a> {
    type Item = Result<ClippedBatch<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step().transpose();
        self.ended = !matches!(step, Some(Ok(_)));
        step
    }
}
