//! Where records went: runs of neighbouring offsets that moved by the same distance.
//!
//! One entry for each discontinuity, not for each record: what consumer groups are translated through.

use formats::ids::OffsetRange;
use serde::{Deserialize, Serialize};

/// Neighbouring records that are neighbours on the target too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The first record's offset in the source.
    pub source: i64,
    /// Its offset on the target.
    pub target: i64,
    /// How many records.
    pub length: u64,
}

/// The runs of one partition, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunMap {
    /// The target offset of the partition's first restored record.
    pub start: i64,
    /// The runs; a source offset between two of them was not restored (a marker, aborted, compacted or left out).
    pub runs: Vec<Run>,
}

impl RunMap {
    /// Of no records yet, for a partition whose first record goes to `start`.
    pub fn new(start: i64) -> Self {
        Self { start, runs: Vec::new() }
    }

    /// Adds records whose first is the partition's `index`th.
    pub(crate) fn push(&mut self, source: OffsetRange, index: u64) {
        let target = self.start.saturating_add_unsigned(index);
        let length = source.len();
        if let Some(last) = self.runs.last_mut()
            && last.source.saturating_add_unsigned(last.length) == source.first
            && last.target.saturating_add_unsigned(last.length) == target
        {
            last.length += length;
            return;
        }
        if length > 0 {
            self.runs.push(Run { source: source.first, target, length });
        }
    }

    /// The target offset of the first restored record at or after a source offset; the end where there is none.
    pub fn translate(&self, source: i64) -> i64 {
        let after = self.runs.partition_point(|run| run.source.saturating_add_unsigned(run.length) <= source);
        match self.runs.get(after) {
            Some(run) => run.target + (source - run.source).max(0),
            None => self.end(),
        }
    }

    /// The target offset after the last record.
    pub fn end(&self) -> i64 {
        self.runs.last().map_or(self.start, |run| run.target.saturating_add_unsigned(run.length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_for_each_discontinuity_and_holes_map_to_the_next_record() {
        let mut map = RunMap::new(100);
        map.push(OffsetRange::new(5, 8), 0);
        map.push(OffsetRange::new(8, 10), 3);
        map.push(OffsetRange::new(11, 12), 5);
        assert_eq!(
            map.runs,
            [Run { source: 5, target: 100, length: 5 }, Run { source: 11, target: 105, length: 1 }]
        );
        for (source, target) in [(0, 100), (5, 100), (9, 104), (10, 105), (11, 105), (12, 106), (99, 106)] {
            assert_eq!(map.translate(source), target, "{source}");
        }
        assert_eq!(RunMap::new(7).translate(3), 7);
    }
}
