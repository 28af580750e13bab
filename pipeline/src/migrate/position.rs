//! Where records of a partition come from, as far as it may be needed again: what the journal keeps, and what is known in between.
//!
//! A target's log says how many records of a partition are there, and nothing of where in the source they come from. So it is
//! noted before they are produced: as runs of neighbouring source offsets, from the last acknowledged record on. However many
//! of the noted records a run that died has got through, the next one knows the source offset after the last of them.

use std::collections::VecDeque;

use formats::commit::LastBatch;
use formats::ids::{LineageId, Topic, TopicId};
use serde::{Deserialize, Serialize};

/// A partition's entry in the journal: everything that is known of it, so that the newest entry is enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Which run wrote it.
    pub(super) writer: u64,
    /// Where its records go.
    pub(super) target: Claim,
    /// Where they come from.
    pub(super) source: History,
    /// Where each record came from.
    pub(super) notes: Notes,
}

/// Where a partition's records go, and as whose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    pub(super) topic: Topic,
    pub(super) partition: i32,
    pub(super) topic_id: TopicId,
    /// The offset of the first record.
    pub(super) start: i64,
    /// The source offset that the partition begins at.
    pub(super) from: i64,
    /// The producer id of all records.
    pub(super) producer: i64,
    pub(super) epoch: i16,
    /// Whether this migration made the topic.
    pub(super) created: bool,
}

/// Which log a partition is taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct History {
    pub(super) cluster_id: String,
    pub(super) topic_id: TopicId,
    pub(super) lineage: LineageId,
    /// Its first offset.
    pub(super) start: i64,
}

/// Records that were under way together, and where they came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Runs of neighbours: the first one's source offset, its number among the partition's records, how many.
    pub(super) runs: Vec<(i64, u64, u64)>,
    /// Where the source goes on behind them.
    pub(super) next: i64,
    /// The batch before that.
    pub(super) last: Option<LastBatch>,
}

impl Note {
    fn end(&self) -> u64 {
        self.runs.last().map_or(0, |(_, index, length)| index + length)
    }
}

/// A place in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The next offset that is wanted.
    pub(super) next: i64,
    /// The batch before it, where it is known.
    pub(super) last: Option<LastBatch>,
}

/// Where the records behind the last acknowledged one come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    /// How many records are on the target whatever happens, and where the source goes on behind them.
    acked: u64,
    before: Place,
    notes: VecDeque<Note>,
}

impl Notes {
    /// Of a partition that has `acked` records on the target and goes on at `before`.
    pub(super) fn new(acked: u64, before: Place) -> Self {
        Self { acked, before, notes: VecDeque::new() }
    }

    /// Adds what is to be produced next.
    pub(super) fn push(&mut self, note: Note) {
        self.notes.push_back(note);
    }

    /// The source goes on here behind the last record; what lies between was no record for the target.
    pub(super) fn advance(&mut self, place: Place) {
        match self.notes.back_mut() {
            Some(note) => (note.next, note.last) = (place.next, place.last),
            None => self.before = place,
        }
    }

    /// How many runs they hold.
    pub(super) fn runs(&self) -> usize {
        self.notes.iter().map(|note| note.runs.len()).sum()
    }

    /// Forgets what is wholly acknowledged.
    pub(super) fn trim(&mut self, acked: u64) {
        while let Some(first) = self.notes.front().filter(|first| first.end() <= acked) {
            self.acked = first.end();
            self.before = Place { next: first.next, last: first.last };
            self.notes.pop_front();
        }
    }

    /// Where the source goes on behind the first `present` records; none where nobody knows any more, or not yet.
    pub(super) fn place(&self, present: u64) -> Option<Place> {
        let mut before = self.before;
        if present == self.acked {
            return Some(before);
        }
        for note in &self.notes {
            if present == note.end() {
                return Some(Place { next: note.next, last: note.last });
            }
            let inside = |(_, index, length): &&(i64, u64, u64)| (*index..index + length).contains(&present);
            if let Some((source, index, _)) = note.runs.iter().find(inside) {
                before.next = source.saturating_add_unsigned(present - index);
                return Some(before);
            }
            before = Place { next: note.next, last: note.last };
        }
        None
    }

    /// Where the source goes on behind what is on the target whatever happens.
    pub(super) fn before(&self) -> Place {
        self.before
    }

    /// How many records the target may hold by these notes.
    pub(super) fn end(&self) -> u64 {
        self.notes.back().map_or(self.acked, Note::end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(offset: i64) -> Option<LastBatch> {
        Some(LastBatch { offset, epoch: 0, crc: 1 })
    }

    #[test]
    fn every_number_of_records_that_may_be_there_has_its_place() {
        let mut notes = Notes::new(10, Place { next: 100, last: last(95) });
        // Offsets 100 to 102, a marker, 104; then 110 and 111, and a marker behind them.
        notes.push(Note { runs: vec![(100, 10, 3), (104, 13, 1)], next: 105, last: last(104) });
        notes.push(Note { runs: vec![(110, 14, 2)], next: 113, last: last(112) });
        let places = [
            (10, 100, 95),
            (11, 101, 95),
            (12, 102, 95),
            (13, 104, 95),
            (14, 105, 104),
            (15, 111, 104),
            (16, 113, 112),
        ];
        for (present, next, before) in places {
            assert_eq!(notes.place(present), Some(Place { next, last: last(before) }), "{present}");
        }
        assert_eq!((notes.place(9), notes.place(17), notes.end()), (None, None, 16));
        notes.trim(15);
        for (present, next, before) in &places[4..] {
            assert_eq!(notes.place(*present), Some(Place { next: *next, last: last(*before) }), "{present}");
        }
        assert_eq!(notes.place(13), None);
        // Who goes on in the midst of a note forgets it: the same records may come from elsewhere the next time.
        let mut again = Notes::new(12, notes.clone().place(15).expect("a place"));
        again.push(Note { runs: vec![(200, 12, 5)], next: 205, last: last(204) });
        assert_eq!(again.place(14).map(|place| place.next), Some(202));
        notes.trim(16);
        assert_eq!((notes.place(16), notes.end()), (Some(Place { next: 113, last: last(112) }), 16));
    }
}
