//! Follows a partition's transactions batch by batch: what is open, what was aborted, which markers passed.
//!
//! Two rules tell the fate of a transactional batch, and an archive may need either:
//!
//! * **By the broker's list** (read_committed fetches): before each batch, every listed entry whose first offset is at
//!   or below the batch's last offset becomes active for its producer id; an ABORT marker of that id ends it. Data of an
//!   id with an active entry is aborted. Matching entries against data batches alone would be wrong on compacted topics,
//!   where the data may be gone while entry and marker remain.
//! * **By the next marker** (read_uncommitted fetches list nothing): the next marker of the same producer id at a higher
//!   offset decides; where there is none the transaction is still open.
//!
//! Source: KIP-98; Kafka's `CompletedFetch`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::control::{ControlKind, ControlRecord};
use crate::record_batch::RecordBatch;

#[cfg(test)]
mod tests;

/// A COMMIT or ABORT control batch, as it lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Whose transaction ended.
    pub producer_id: i64,
    /// The epoch that ended it.
    pub producer_epoch: i16,
    /// Whether it was committed; otherwise it was aborted.
    pub committed: bool,
    /// The marker's own offset.
    pub offset: i64,
    /// The marker's timestamp, ms.
    pub timestamp: i64,
}

/// A transaction whose first data batch has passed and whose marker has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTransaction {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The offset of its first data batch that was seen.
    pub first_offset: i64,
}

/// An aborted transaction as a broker lists it with fetched data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer_id: i64,
    /// The transaction's first offset.
    pub first_offset: i64,
}

/// What a batch is to a consumer that reads committed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Not transactional.
    Plain,
    /// Transactional, and not aborted.
    Committed,
    /// Data of an aborted transaction.
    Aborted,
    /// A control batch, never delivered.
    Control,
}

/// Follows one partition. Feed every batch in offset order.
#[derive(Debug, Clone, Default)]
pub struct TransactionTracker {
    open: BTreeMap<i64, (i16, i64)>,
    listed: BTreeSet<(i64, i64)>,
    active: BTreeMap<i64, i64>,
    segment_aborted: BTreeSet<AbortedTransaction>,
    segment_markers: Vec<Marker>,
}

impl TransactionTracker {
    /// A tracker that continues after a position with these transactions open.
    pub fn resume(open: &[OpenTransaction]) -> Self {
        let open = open.iter().map(|o| (o.producer_id, (o.producer_epoch, o.first_offset))).collect();
        Self { open, ..Self::default() }
    }

    /// Takes over a broker's list of aborted transactions; repeated entries are one.
    pub fn list_aborted(&mut self, entries: impl IntoIterator<Item = AbortedTransaction>) {
        for entry in entries {
            if self.active.get(&entry.producer_id) != Some(&entry.first_offset) {
                self.listed.insert((entry.first_offset, entry.producer_id));
            }
        }
    }

    /// Takes the next batch and tells its fate by the broker's list.
    ///
    /// # Errors
    /// A control batch that cannot be read.
    pub fn observe(&mut self, batch: &RecordBatch<'_>) -> Result<Fate> {
        self.activate(batch.last_offset());
        let (attributes, id) = (batch.attributes(), batch.producer_id());
        if attributes.control() {
            if let Some(marker) = read_marker(batch)? {
                self.segment_markers.push(marker);
                self.open.remove(&id);
                if !marker.committed {
                    self.active.remove(&id);
                }
            }
            return Ok(Fate::Control);
        }
        if !attributes.transactional() {
            return Ok(Fate::Plain);
        }
        self.open.entry(id).or_insert((batch.producer_epoch(), batch.base_offset()));
        Ok(if self.active.contains_key(&id) { Fate::Aborted } else { Fate::Committed })
    }

    fn activate(&mut self, up_to: i64) {
        while let Some(&(first_offset, producer_id)) = self.listed.first() {
            if first_offset > up_to {
                break;
            }
            self.listed.pop_first();
            self.active.insert(producer_id, first_offset);
            self.segment_aborted.insert(AbortedTransaction { producer_id, first_offset });
        }
    }

    /// What a segment that ends here must say about transactions; the next segment begins with what is still active.
    pub fn end_segment(&mut self) -> SegmentTransactions {
        let still = |(&producer_id, &first_offset)| AbortedTransaction { producer_id, first_offset };
        let next = self.active.iter().map(still).collect();
        SegmentTransactions {
            markers: std::mem::take(&mut self.segment_markers),
            aborted: std::mem::replace(&mut self.segment_aborted, next).into_iter().collect(),
            open: self.open_transactions(),
        }
    }

    /// Transactions that are open now, by producer id.
    pub fn open_transactions(&self) -> Vec<OpenTransaction> {
        let entry = |(&producer_id, &(producer_epoch, first_offset))| OpenTransaction {
            producer_id,
            producer_epoch,
            first_offset,
        };
        self.open.iter().map(entry).collect()
    }
}

/// What a segment's index says about transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentTransactions {
    /// Every marker in the segment, in offset order.
    pub markers: Vec<Marker>,
    /// Every listed aborted transaction that overlaps the segment.
    pub aborted: Vec<AbortedTransaction>,
    /// Transactions open at the segment's end.
    pub open: Vec<OpenTransaction>,
}

/// Reads the transaction marker of a control batch; `None` for control records of other kinds.
///
/// # Errors
/// A control batch that cannot be read.
pub fn read_marker(batch: &RecordBatch<'_>) -> Result<Option<Marker>> {
    let Some(control) = ControlRecord::parse(batch)? else { return Ok(None) };
    let committed = match control.kind {
        ControlKind::Commit => true,
        ControlKind::Abort => false,
        _ => return Ok(None),
    };
    Ok(Some(Marker {
        producer_id: batch.producer_id(),
        producer_epoch: batch.producer_epoch(),
        committed,
        offset: control.offset,
        timestamp: control.timestamp,
    }))
}
