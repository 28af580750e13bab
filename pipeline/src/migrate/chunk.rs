//! Batches of the source made into batches for the target: by the lane of a restore, for as long as an answer lasts.

use bytes::Bytes;
use formats::commit::LastBatch;
use formats::ids::OffsetRange;
use formats::record_batch::Batches;
use formats::transactions::{Fate, TransactionTracker};

use super::position::Note;
use super::schemas::{Rules, Schemas};
use crate::archive::{BatchFate, ClippedBatch};
use crate::budget::Budget;
use crate::restore::schemas::RemapCounts;
use crate::source::FetchedBatches;
use crate::target::lane::{Lane, LaneSettings, Prepared};
use crate::target::runs::RunMap;
use crate::{Error, Result};

/// Bytes of batches that are noted at once. The smallest batch has 68, and may be a run by itself.
const PIECE: usize = 4 << 20;

/// A partition whose batches follow each other.
pub(super) struct Going {
    pub(super) lane: LaneSettings,
    pub(super) budget: Budget,
    /// How many records of the partition come before the next one.
    pub(super) index: u64,
    pub(super) tracker: TransactionTracker,
    /// The next source offset that is wanted.
    pub(super) next: i64,
    /// After which walk through the registry ids were looked up.
    pub(super) walk: u64,
    pub(super) rules: Rules,
}

/// A flow that waits for a schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missing {
    /// The walk after which it was missing first.
    pub(super) since: u64,
    /// The source offset behind the last record that was there then.
    pub(super) next: i64,
}

/// Batches in pieces of about [`PIECE`], each with the offsets that it spans.
pub(super) fn pieces(batches: &Bytes) -> Result<Vec<(OffsetRange, Bytes)>> {
    let (mut pieces, mut from, mut range) = (Vec::new(), 0, None::<OffsetRange>);
    let mut each = Batches::new(batches);
    while let Some(batch) = each.next() {
        let batch = batch?;
        range.get_or_insert(OffsetRange::new(batch.base_offset(), 0)).end = batch.next_offset();
        let end = each.position();
        if end - from >= PIECE {
            pieces.extend(range.take().map(|range| (range, batches.slice(from..end))));
            from = end;
        }
    }
    pieces.extend(range.map(|range| (range, batches.slice(from..each.position()))));
    Ok(pieces)
}

/// Makes the lane change ids as they are known now; false where a record may name a schema that came since, and the registry is to
/// be looked at first.
pub(super) fn look_up(
    schemas: &Schemas,
    missing: Option<Missing>,
    going: &mut Going,
    fetched: &FetchedBatches,
) -> Result<bool> {
    let current = schemas.current();
    let covered = missing.filter(|missing| current.walk >= missing.since + 2).map(|missing| missing.next);
    let rules = schemas.topic(&current, &fetched.partition.topic, covered, &fetched.batches)?;
    going.walk = current.walk;
    let is_known = rules.is_some();
    going.rules = rules.unwrap_or_default();
    Ok(is_known)
}

/// What came out of an answer.
pub(super) struct Chunk {
    pub(super) note: Note,
    pub(super) batches: Vec<Prepared>,
    /// What became of ids.
    pub(super) ids: RemapCounts,
}

/// What went wrong, and the schema that was missing where that was it.
pub(super) type Broken = (Error, Option<Missing>);

/// A lane lives as long as an answer: what codecs need in memory must not grow with the number of partitions.
pub(super) fn prepare(going: &mut Going, fetched: &FetchedBatches) -> Result<Chunk, Broken> {
    let settings = LaneSettings { remap: going.rules.settled.clone(), ..going.lane.clone() };
    let lane = Lane::new(settings, going.budget.clone(), going.index, going.index, RunMap::new(0));
    let mut lane = lane.map_err(|error| (error, None))?;
    let since = going.walk;
    let mut looked_at = going.next;
    let chunk = fill(&mut lane, going, fetched, &mut looked_at);
    let results = lane.results();
    going.index = results.records;
    let counted = |chunk| Chunk { ids: results.counts.schema_ids, ..chunk };
    chunk
        .map(counted)
        .map_err(|(error, misses)| (error, misses.then_some(Missing { since, next: looked_at })))
}

fn fill(
    lane: &mut Lane,
    going: &mut Going,
    fetched: &FetchedBatches,
    looked_at: &mut i64,
) -> Result<Chunk, (Error, bool)> {
    let plain = |error: Error| (error, false);
    let Going { tracker, next, rules, .. } = going;
    tracker.list_aborted(fetched.aborted.iter().copied());
    let (mut last, mut is_settled) = (None, true);
    for batch in Batches::new(&fetched.batches) {
        let batch = batch.map_err(|e| plain(e.into()))?;
        let fate = match tracker.observe(&batch).map_err(|e| plain(e.into()))? {
            Fate::Plain => BatchFate::Plain,
            Fate::Committed => BatchFate::Committed,
            Fate::Aborted => BatchFate::Aborted,
            Fate::Control => BatchFate::Control,
        };
        let end = batch.next_offset();
        if end > *next {
            let keep = OffsetRange::new(batch.base_offset().max(*next), end);
            if is_settled && end > rules.covered {
                lane.set_remap(rules.open.clone()).map_err(plain)?;
                is_settled = false;
            }
            *looked_at = end;
            let pushed = lane.push_checked(&ClippedBatch { batch, keep }, fate, &fetched.batches);
            pushed.map_err(|error| (error, lane.misses_schema()))?;
            *next = end;
        }
        last = Some(LastBatch { offset: batch.base_offset(), epoch: batch.leader_epoch(), crc: batch.crc() });
    }
    // What segments would say of transactions is of no use here.
    drop(tracker.end_segment());
    // Nothing waits for neighbours that may be long in coming.
    lane.finish().map_err(plain)?;
    let runs = lane.take_runs().into_iter();
    let runs = runs.map(|run| (run.source, run.target.unsigned_abs(), run.length)).collect();
    Ok(Chunk { note: Note { runs, next: *next, last }, batches: lane.take(), ids: RemapCounts::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::samples;

    #[test]
    fn an_answer_is_cut_between_batches_and_nothing_is_left_out() {
        let mut all = Vec::new();
        for number in 0..700 {
            all.extend_from_slice(&samples::batch(number * 1000, 1000, None));
        }
        let all = Bytes::from(all);
        let pieces = pieces(&all).expect("whole batches");
        assert!(pieces.len() > 1, "{} bytes in one piece", all.len());
        let (mut next, mut joined) = (0, Vec::new());
        for (range, batches) in &pieces {
            assert_eq!(range.first, next);
            let each = Batches::new(batches).map(|batch| batch.expect("a batch").next_offset());
            assert_eq!(each.last(), Some(range.end));
            assert!(batches.len() < PIECE + (1 << 20));
            next = range.end;
            joined.extend_from_slice(batches);
        }
        assert_eq!((next, joined), (700_000, all.to_vec()));
    }
}
