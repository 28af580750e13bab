//! What the archive lacks of what a restore was asked for. Values only.
//!
//! Offsets do not tell times, so whether a gap lies inside a time window is judged by its neighbours: where all records of
//! the segment behind it are older than the window, or all batches of the one before it begin after the window, the gap is
//! outside. Whatever is not told that way counts as inside: better a loss named too often than once too rarely.

use formats::commit::Gap;
use formats::ids::OffsetRange;
use serde::{Deserialize, Serialize};

use super::settings::TimeWindow;
use crate::archive::PieceSegment;

/// A range of a partition that the archive does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveGap {
    /// The range and the reason.
    #[serde(flatten)]
    pub gap: Gap,
    /// Whether records that were asked for may be lost with it: the restore is partial then, whatever else it does.
    /// What compaction took was never to come back, and what the backup's own retention dropped was dropped on purpose.
    pub lost: bool,
}

impl ArchiveGap {
    /// Its range.
    pub fn range(&self) -> OffsetRange {
        self.gap.range()
    }
}

/// The gaps of a partition, and which of them are losses. `segments` are those that are restored, in offset order.
pub(super) fn judge(gaps: &[Gap], segments: &[PieceSegment], window: TimeWindow) -> Vec<ArchiveGap> {
    let judged = |gap: &Gap| ArchiveGap {
        gap: *gap,
        lost: gap.reason.is_loss() && !is_outside(gap.range(), segments, window),
    };
    gaps.iter().map(judged).collect()
}

fn is_outside(range: OffsetRange, segments: &[PieceSegment], window: TimeWindow) -> bool {
    let at = segments.partition_point(|segment| segment.range.first < range.first);
    let before = at.checked_sub(1).and_then(|at| segments.get(at));
    let too_early =
        |segment: &PieceSegment| window.start.is_some_and(|start| segment.entry.max_timestamp < start);
    let too_late = |segment: &PieceSegment| window.end.is_some_and(|end| segment.entry.min_timestamp > end);
    segments.get(at).is_some_and(too_early) || before.is_some_and(too_late)
}

#[cfg(test)]
mod tests {
    use formats::commit::GapReason;

    use super::*;
    use crate::archive::Archive;
    use crate::archive::samples::{Sample, batch, place};

    /// Two segments with a gap before, between and behind them; record n is at 1,000,000 + 10 n ms.
    async fn segments() -> Vec<PieceSegment> {
        let mut sample = Sample::new().await;
        let partition = place("gaps", 0);
        let lineage = sample.lineage(&partition, 10, None).await;
        sample.segment(&partition, lineage, (10, 20), &[batch(10, 10, None)], None).await;
        sample.gap(&partition, lineage, 20, 30).await;
        sample.segment(&partition, lineage, (30, 40), &[batch(30, 10, None)], None).await;
        let archive = Archive::open(std::sync::Arc::clone(&sample.store), Sample::seam(&sample.clock))
            .await
            .expect("opens");
        archive.segments(&partition, lineage).await.expect("segments")
    }

    #[tokio::test]
    async fn a_loss_counts_unless_its_neighbours_lie_outside_of_the_window() {
        let segments = segments().await;
        let gap = |first, end, reason| Gap { first, end, reason };
        let lost = |first, end, window: (Option<i64>, Option<i64>)| {
            let window = TimeWindow { start: window.0, end: window.1 };
            judge(&[gap(first, end, GapReason::Retention)], &segments, window)[0].lost
        };
        for (first, end) in [(0, 10), (20, 30), (40, 50)] {
            assert!(lost(first, end, (None, None)), "{first}");
        }
        // The segment behind the gap ends at 1,000,190.
        assert!(!lost(0, 10, (Some(1_000_191), None)));
        assert!(lost(0, 10, (Some(1_000_190), None)), "a record of that very time is inside");
        assert!(lost(20, 30, (Some(1_000_191), None)), "between the two anything may have been");
        assert!(lost(40, 50, (Some(2_000_000), None)), "nothing behind it tells");
        // The segment before the last gap begins at 1,000,300.
        assert!(!lost(40, 50, (None, Some(1_000_299))));
        assert!(lost(40, 50, (None, Some(1_000_300))));
        assert!(lost(20, 30, (None, Some(1_000_299))));
        assert!(!lost(20, 30, (None, Some(1_000_099))));
    }

    #[tokio::test]
    async fn what_was_dropped_on_purpose_or_compacted_is_no_loss() {
        let segments = segments().await;
        for (reason, lost) in [
            (GapReason::Retention, true),
            (GapReason::Vanished, true),
            (GapReason::Compacted, false),
            (GapReason::Pruned, false),
        ] {
            let gap = Gap { first: 20, end: 30, reason };
            assert_eq!(judge(&[gap], &segments, TimeWindow::default()), [ArchiveGap { gap, lost }]);
        }
    }
}
