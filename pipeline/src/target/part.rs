//! Which records of a batch a lane gives out: those of its time and history, and of these one of two parts.
//!
//! Records that name a schema which nothing in the target stands for may be wanted apart (`unknown_ids: quarantine`). Two lanes
//! over one partition then divide its records between them: each record that is restored at all is in exactly one of the two.

use formats::ids::OffsetRange;
use formats::rewrite::UnknownId;

use crate::archive::ClippedBatch;
use crate::restore::TimeWindow;

/// Which of a partition's records a lane gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Part {
    /// What goes to the topic itself, with the ids of the target: everything, or everything that is not quarantined.
    #[default]
    Own,
    /// What is quarantined, as it lies in the archive.
    Quarantined,
}

/// Which records of one batch.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) keep: OffsetRange,
    window: TimeWindow,
    part: Part,
    /// The offsets of records that are quarantined, in order.
    quarantined: Vec<i64>,
}

/// Where a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goes {
    /// Out of this lane.
    Here,
    /// Out of the lane of the other part.
    There,
    /// Nowhere: its offset or time is not asked for.
    Nowhere,
}

impl Choice {
    /// Of a batch with these unknown ids, for which records are quarantined.
    pub(super) fn new(keep: OffsetRange, window: TimeWindow, part: Part, unknown: &[UnknownId]) -> Self {
        let mut quarantined: Vec<i64> = unknown.iter().map(|unknown| unknown.offset).collect();
        quarantined.sort_unstable();
        quarantined.dedup();
        Self { keep, window, part, quarantined }
    }

    /// Where the record at this offset goes, of this time as consumers see it.
    pub(super) fn of(&self, offset: i64, timestamp: i64) -> Goes {
        let part = match self.quarantined.binary_search(&offset) {
            Ok(_) => Part::Quarantined,
            Err(_) => Part::Own,
        };
        match () {
            () if !self.keep.contains(offset) || !self.window.contains(timestamp) => Goes::Nowhere,
            () if part == self.part => Goes::Here,
            () => Goes::There,
        }
    }

    /// Whether this part can have nothing of the batch, whatever the times of its records are.
    pub(super) fn is_empty(&self) -> bool {
        self.part == Part::Quarantined && self.quarantined.is_empty()
    }

    /// Whether all records come out of this lane, as far as that is known without looking at each.
    pub(super) fn is_whole(&self, clipped: &ClippedBatch<'_>) -> bool {
        let batch = &clipped.batch;
        let is_inside = || {
            // One known time for all of them, or a greatest one where there is no earliest that is wanted.
            let late = self.window.end.is_some_and(|end| batch.max_timestamp() > end);
            let stamped = batch.attributes().log_append_time() || self.window.start.is_none();
            stamped && !late && self.window.start.is_none_or(|start| start <= batch.max_timestamp())
        };
        self.part == Part::Own
            && self.quarantined.is_empty()
            && clipped.is_whole()
            && (self.window.is_open() || is_inside())
    }
}
