//! Batches and entries made for the tests of this crate: what a broker would have stored.

use crate::codec::{Codec, Compressor};
use crate::commit::{CodecBytes, LastBatch, SegmentEntry, SegmentObject};
use crate::digest::BatchDigest;
use crate::hash::Hash;
use crate::ids::OffsetRange;
use crate::record_batch::{Attributes, BatchHeader, HEADER_LEN, Producer, RecordBatch};
use crate::varint::{write_varint, write_varlong};

pub(crate) const LOG_APPEND_TIME: u16 = 1 << 3;
pub(crate) const TRANSACTIONAL: u16 = 1 << 4;
pub(crate) const CONTROL: u16 = 1 << 5;

/// A record to be.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) offset_delta: i32,
    pub(crate) timestamp_delta: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Draft {
    /// A record with a key and a value, one millisecond after the one before.
    pub(crate) fn new(offset_delta: i32, value: impl Into<Vec<u8>>) -> Self {
        let (key, value) = (format!("k{offset_delta}").into_bytes(), value.into());
        let timestamp_delta = i64::from(offset_delta);
        Self { offset_delta, timestamp_delta, key: Some(key), value: Some(value), headers: Vec::new() }
    }

    fn write(&self, payload: &mut Vec<u8>) {
        let mut record = vec![0];
        write_varlong(self.timestamp_delta, &mut record);
        write_varint(self.offset_delta, &mut record);
        let nullable = |bytes: Option<&[u8]>, record: &mut Vec<u8>| {
            write_varint(bytes.map_or(-1, |bytes| bytes.len() as i32), record);
            record.extend_from_slice(bytes.unwrap_or_default());
        };
        nullable(self.key.as_deref(), &mut record);
        nullable(self.value.as_deref(), &mut record);
        write_varint(self.headers.len() as i32, &mut record);
        for (key, value) in &self.headers {
            nullable(Some(key), &mut record);
            nullable(value.as_deref(), &mut record);
        }
        write_varint(record.len() as i32, payload);
        payload.extend_from_slice(&record);
    }
}

/// A batch to be.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) base_offset: i64,
    pub(crate) epoch: i32,
    pub(crate) codec: Codec,
    /// Attribute bits beside the codec's.
    pub(crate) bits: u16,
    pub(crate) producer: Producer,
    pub(crate) base_timestamp: i64,
    /// Where it is not that of the last record.
    pub(crate) last_offset_delta: Option<i32>,
    pub(crate) records: Vec<Draft>,
}

impl Log {
    /// Records without holes, at `base_offset` in epoch 0, by no producer.
    pub(crate) fn plain(base_offset: i64, codec: Codec, values: &[&[u8]]) -> Self {
        let records = values.iter().zip(0..).map(|(value, delta)| Draft::new(delta, *value)).collect();
        let (producer, base_timestamp) = (Producer::NONE, 1_700_000_000_000 + base_offset);
        Self {
            base_offset,
            epoch: 0,
            codec,
            bits: 0,
            producer,
            base_timestamp,
            last_offset_delta: None,
            records,
        }
    }

    /// Data of a transaction.
    pub(crate) fn transactional(base_offset: i64, id: i64, epoch: i16, values: &[&[u8]]) -> Self {
        let producer = Producer { id, epoch, base_sequence: 0 };
        Self { bits: TRANSACTIONAL, producer, ..Self::plain(base_offset, Codec::None, values) }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        self.records.iter().for_each(|record| record.write(&mut payload));
        let mut batch = vec![0; HEADER_LEN];
        if !self.records.is_empty() {
            Compressor::new().compress(self.codec, None, &payload, &mut batch).unwrap();
        }
        let last = self.records.last().map_or(0, |record| record.offset_delta);
        let times = self.records.iter().map(|record| self.base_timestamp + record.timestamp_delta);
        let header = BatchHeader {
            base_offset: self.base_offset,
            leader_epoch: self.epoch,
            attributes: Attributes(self.codec as u16 | self.bits),
            last_offset_delta: self.last_offset_delta.unwrap_or(last),
            base_timestamp: self.base_timestamp,
            max_timestamp: times.max().unwrap_or(-1),
            producer: self.producer,
            record_count: self.records.len() as i32,
        };
        header.write_to(&mut batch).unwrap();
        batch
    }
}

/// A transaction marker as brokers write it.
pub(crate) fn marker(base_offset: i64, id: i64, epoch: i16, committed: bool, timestamp: i64) -> Vec<u8> {
    let mut batch = vec![0; HEADER_LEN];
    batch.extend_from_slice(&[32, 0, 0, 0, 8, 0, 0, 0, u8::from(committed), 12, 0, 0, 0, 0, 0, 7, 0]);
    let header = BatchHeader {
        base_offset,
        leader_epoch: 0,
        attributes: Attributes(TRANSACTIONAL | CONTROL),
        last_offset_delta: 0,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer: Producer { id, epoch, base_sequence: -1 },
        record_count: 1,
    };
    header.write_to(&mut batch).unwrap();
    batch
}

/// An entry over a range full of records, as if each offset were a batch of its own: so entries over the same offsets
/// have batch digests that add up however they are cut.
pub(crate) fn entry(range: OffsetRange, object: SegmentObject) -> SegmentEntry {
    let mut batch_digest = BatchDigest::default();
    for offset in range.first..range.end {
        let batch = Log::plain(offset, Codec::None, &[b"v"]).bytes();
        batch_digest.push(&RecordBatch::parse(&batch).unwrap());
    }
    let count = range.len();
    SegmentEntry {
        first: range.first,
        end: range.end,
        object,
        position: 0,
        length: 200 + 70 * count,
        blake3: Hash::of(object.to_string().as_bytes()),
        version_id: None,
        batches: count as u32,
        control: 0,
        records: count,
        missing: 0,
        bytes: CodecBytes { none: 70 * count, ..CodecBytes::default() },
        log_append_time: 0,
        holes: 0,
        largest_batch: 70,
        min_timestamp: 1_000 + range.first,
        min_exact: true,
        max_timestamp: 1_000 + range.end,
        batch_digest,
        content_digest: None,
        last: Some(LastBatch { offset: range.end - 1, epoch: 0, crc: 7 }),
        open: Vec::new(),
        schema_ids: None,
        extra: serde_json::Map::new(),
    }
}
