//! A record batch of the fake's logs: its fields, and the bytes that they make. Always magic 2 and uncompressed.
//!
//! The fields are kept beside the bytes, so that what a reader should see is told without reading the bytes.

use crate::raw::{RawRecord, crc32c, nullable, varint};
use bytes::Bytes;

/// The attribute bit of batches that belong to a transaction.
pub const TRANSACTIONAL: i16 = 1 << 4;
/// The attribute bit of batches that hold a marker.
pub const CONTROL: i16 = 1 << 5;
/// The attribute bit of batches whose base timestamp is the time from which tombstones may go.
pub const DELETE_HORIZON: i16 = 1 << 6;

/// What a producer writes about itself; all -1 where it is not idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// Its id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence number of the first record.
    pub sequence: i32,
}

impl ProducerState {
    /// A producer that is not idempotent.
    pub const NONE: Self = Self { id: -1, epoch: -1, sequence: -1 };
}

/// The fields of a batch, but for those that the broker owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The attribute bits.
    pub attributes: i16,
    /// Who wrote it.
    pub producer: ProducerState,
    /// What the timestamps of the records count from.
    pub base_timestamp: i64,
    /// The offset of the last record that it ever had, from the base offset.
    pub last_delta: i32,
    /// The records that it has, each with its offset from the base offset.
    pub records: Vec<(i32, RawRecord)>,
}

impl Batch {
    /// A plain batch.
    ///
    /// # Panics
    /// When there are no records.
    pub fn new(records: Vec<RawRecord>) -> Self {
        assert!(!records.is_empty(), "a producer sends no empty batch");
        let base_timestamp = records[0].timestamp;
        let records: Vec<_> = (0..).zip(records).collect();
        let last_delta = records.last().map_or(0, |(delta, _)| *delta);
        Self { attributes: 0, producer: ProducerState::NONE, base_timestamp, last_delta, records }
    }

    /// As part of a transaction of this producer.
    pub fn in_transaction(mut self, id: i64, epoch: i16, sequence: i32) -> Self {
        self.attributes |= TRANSACTIONAL;
        self.producer = ProducerState { id, epoch, sequence };
        self
    }

    /// The marker that ends a producer's transaction.
    pub fn marker(id: i64, epoch: i16, commits: bool, timestamp: i64) -> Self {
        let key = [0, 0, 0, u8::from(commits)].to_vec();
        // Version 0 of the marker, and the epoch of the coordinator.
        let value = vec![0, 0, 0, 0, 0, 0];
        let record = RawRecord { timestamp, key: Some(key), value: Some(value), headers: Vec::new() };
        let producer = ProducerState { id, epoch, sequence: -1 };
        Self { attributes: TRANSACTIONAL | CONTROL, producer, ..Self::new(vec![record]) }
    }

    /// Whether it holds a marker.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether it belongs to a transaction, as data or as its end.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether it is a marker that commits.
    pub fn commits(&self) -> bool {
        let key = self.records.first().and_then(|(_, record)| record.key.as_deref());
        self.is_control() && key.is_some_and(|key| key.get(3) == Some(&1))
    }

    /// The bytes that a log holds.
    pub fn encode(&self, base_offset: i64, leader_epoch: i32) -> Bytes {
        let times = self.records.iter().map(|(_, record)| record.timestamp);
        let max_timestamp = times.max().unwrap_or(self.base_timestamp);
        let mut tail = Vec::new();
        tail.extend(self.attributes.to_be_bytes());
        tail.extend(self.last_delta.to_be_bytes());
        tail.extend(self.base_timestamp.to_be_bytes());
        tail.extend(max_timestamp.to_be_bytes());
        tail.extend(self.producer.id.to_be_bytes());
        tail.extend(self.producer.epoch.to_be_bytes());
        tail.extend(self.producer.sequence.to_be_bytes());
        tail.extend(length(self.records.len()).to_be_bytes());
        for (delta, record) in &self.records {
            let mut body = vec![0];
            varint(&mut body, record.timestamp - self.base_timestamp);
            varint(&mut body, i64::from(*delta));
            nullable(&mut body, record.key.as_deref());
            nullable(&mut body, record.value.as_deref());
            varint(&mut body, i64::from(length(record.headers.len())));
            for (name, value) in &record.headers {
                nullable(&mut body, Some(name));
                nullable(&mut body, value.as_deref());
            }
            varint(&mut tail, i64::from(length(body.len())));
            tail.extend(body);
        }
        let mut bytes = Vec::with_capacity(tail.len() + 21);
        bytes.extend(base_offset.to_be_bytes());
        bytes.extend(length(tail.len() + 9).to_be_bytes());
        bytes.extend(leader_epoch.to_be_bytes());
        bytes.push(2);
        bytes.extend(crc32c(&tail).to_be_bytes());
        bytes.extend(tail);
        bytes.into()
    }
}

fn length(length: usize) -> i32 {
    i32::try_from(length).expect("a test's batch is below 2 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw;

    #[test]
    fn a_plain_batch_is_the_one_that_a_raw_producer_writes() {
        let record = |n: u8| RawRecord {
            timestamp: 1_000 + i64::from(n),
            key: Some(vec![n]),
            value: (n != 1).then(|| vec![n; 300]),
            headers: vec![(b"h".to_vec(), None)],
        };
        let records: Vec<_> = (0..3).map(record).collect();
        let written = raw::batch(0, &records);
        assert_eq!(Batch::new(records).encode(0, -1), Bytes::from(written));
    }
}
