//! The transactions of one log: which are open, and the index of those that were aborted.
//!
//! Kafka's index outlives the data that it speaks of: compaction removes records of aborted transactions, not the entries.

use super::log::Stored;
use std::collections::BTreeMap;

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Whose it was.
    pub producer_id: i64,
    /// Its first offset.
    pub first: i64,
    /// The offset of its marker.
    pub last: i64,
}

/// Transactions of one log.
#[derive(Clone, Debug, Default)]
pub struct Transactions {
    /// The first offset of what is open, by producer id.
    open: BTreeMap<i64, i64>,
    aborted: Vec<Aborted>,
}

impl Transactions {
    /// A batch came to the end of the log.
    pub fn append(&mut self, stored: &Stored) {
        let producer_id = stored.batch.producer.id;
        if stored.batch.is_control() {
            let first = self.open.remove(&producer_id);
            if let Some(first) = first.filter(|_| !stored.batch.commits()) {
                self.aborted.push(Aborted { producer_id, first, last: stored.base });
            }
        } else if stored.batch.is_transactional() {
            self.open.entry(producer_id).or_insert(stored.base);
        }
    }

    /// The log was cut, and these batches are left.
    pub fn truncate(&mut self, end: i64, left: &[Stored]) {
        let aborted = std::mem::take(&mut self.aborted);
        self.open.clear();
        left.iter().for_each(|stored| self.append(stored));
        // Built again from what is left, but entries whose data is gone stay.
        self.aborted = aborted.into_iter().filter(|entry| entry.last < end).collect();
    }

    /// The first offset that no marker has decided.
    pub fn first_open(&self) -> Option<i64> {
        self.open.values().min().copied()
    }

    /// What a fetch from an offset, whose data ends at another, lists.
    pub fn aborted(&self, from: i64, end: i64) -> impl Iterator<Item = &Aborted> {
        self.aborted.iter().filter(move |entry| entry.last >= from && entry.first < end)
    }
}
