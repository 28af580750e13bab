//! Kafka's record batch, magic 2: a zero-copy view over the bytes as brokers store and ship them.
//!
//! ```text
//!  byte  field
//!   0    base offset              i64   \ big-endian throughout; offsets of records are base offset + delta
//!   8    batch length             i32   | bytes after this field: the whole batch is 12 + batch length
//!  12    partition leader epoch   i32   | set by the broker, not covered by the CRC
//!  16    magic                    i8    | 2
//!  17    crc                      u32   / CRC-32C of everything from byte 21 to the end
//!  21    attributes               i16   bits 0-2 codec, 3 LogAppendTime, 4 transactional, 5 control, 6 delete horizon
//!  23    last offset delta        i32   kept by compaction: it may exceed the last record's delta
//!  27    base timestamp           i64   ms; with bit 6 set it holds the delete horizon, deltas stay relative to it
//!  35    max timestamp            i64   ms; with bit 3 set it is every record's timestamp
//!  43    producer id              i64   -1: none
//!  51    producer epoch           i16
//!  53    base sequence            i32
//!  57    record count             i32   0 is legal: the cleaner keeps empty batches
//!  61    records                        compressed as one stream where the codec says so
//! ```
//!
//! This file reads; [`Batches`] walks a record set, [`BatchHeader`] writes headers, [`Producer`] renews them for
//! Produce. Nothing here decodes a record (see [`crate::record`]) or decompresses (see [`crate::codec`]).
//! Source: Kafka's `DefaultRecordBatch`, KIP-98, KIP-534.

mod batches;
pub(crate) mod checksum;
mod header;
mod produce;

#[cfg(test)]
mod tests;

use crate::codec::Codec;
use crate::record::Records;
use crate::{Error, Result};

pub use batches::Batches;
pub use header::BatchHeader;
pub(crate) use header::seal;
pub use produce::{Producer, patch_for_produce};

/// Bytes of a batch before its records.
pub const HEADER_LEN: usize = 61;
/// Bytes of a batch (or of an old message) before those that its length field counts.
pub const LOG_OVERHEAD: usize = 12;
/// The place of the magic byte, the same in every format version.
pub(crate) const MAGIC_AT: usize = 16;

const LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
const CRC_AT: usize = 17;
/// Where the bytes that the CRC covers begin.
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const RECORD_COUNT_AT: usize = 57;

/// The attribute bits of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(pub u16);

impl Attributes {
    const CODEC: u16 = 0x07;
    const LOG_APPEND_TIME: u16 = 1 << 3;
    const TRANSACTIONAL: u16 = 1 << 4;
    const CONTROL: u16 = 1 << 5;
    const DELETE_HORIZON: u16 = 1 << 6;

    /// The codec of the records.
    ///
    /// # Errors
    /// A number that Kafka has not given to a codec.
    pub fn codec(self) -> Result<Codec> {
        Codec::from_number((self.0 & Self::CODEC) as u8)
    }

    /// Whether the broker stamped the records: their timestamp is the batch's max timestamp.
    pub fn log_append_time(self) -> bool {
        self.0 & Self::LOG_APPEND_TIME != 0
    }

    /// Whether the batch belongs to a transaction.
    pub fn transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds control records (transaction markers), never delivered to consumers.
    pub fn control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp field holds the cleaner's delete horizon (KIP-534).
    pub fn delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The codec bits alone: all that a batch may keep when it is produced anew.
    pub(crate) fn codec_only(self) -> Self {
        Self(self.0 & Self::CODEC)
    }
}

/// A view over exactly one batch of magic 2. Cheap to copy; it owns nothing.
///
/// It exists only over bytes whose lengths, magic, counts and offsets are plausible; whether they are undamaged is
/// known only after [`RecordBatch::verify_crc`].
#[derive(Debug, Clone, Copy)]
pub struct RecordBatch<'a> {
    header: &'a [u8; HEADER_LEN],
    bytes: &'a [u8],
}

impl<'a> RecordBatch<'a> {
    /// Views the batch at the start of `bytes`, which may go on after it. The CRC is not checked here.
    ///
    /// # Errors
    /// Bytes that end inside the batch, a length, count or offset that cannot be, or a magic other than 2.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let frame = Frame::peek(bytes)?.ok_or_else(|| {
            Error::corrupt(format!(
                "record batch is cut off: {} bytes are less than its first fields",
                bytes.len()
            ))
        })?;
        frame.require_magic_2()?;
        let (Some(whole), Some(header)) = (bytes.get(..frame.len), bytes.first_chunk()) else {
            return Err(frame.corrupt(format!("is cut off: {} of {} bytes", bytes.len(), frame.len)));
        };
        let batch = Self { header, bytes: whole };
        let (delta, count) = (batch.last_offset_delta(), batch.record_count());
        if batch.base_offset() < 0 {
            return Err(frame.corrupt("has a negative base offset"));
        }
        if delta < 0 || batch.base_offset().checked_add(i64::from(delta) + 1).is_none() {
            return Err(frame.corrupt(format!("has an impossible last offset delta of {delta}")));
        }
        if count < 0 || i64::from(count) > i64::from(delta) + 1 {
            return Err(
                frame.corrupt(format!("counts {count} records over {} offsets", i64::from(delta) + 1))
            );
        }
        Ok(batch)
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.header[at..at + N]);
        field
    }

    /// The offset of the batch; its first record's may be higher after compaction.
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.field(0))
    }

    /// The length field: bytes after byte 12.
    pub fn batch_length(&self) -> i32 {
        i32::from_be_bytes(self.field(LENGTH_AT))
    }

    /// The whole batch's size in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a batch has a header: it is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The leader epoch that the broker wrote; -1 where none.
    pub fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(self.field(LEADER_EPOCH_AT))
    }

    /// The format version: always 2.
    pub fn magic(&self) -> i8 {
        i8::from_be_bytes(self.field(MAGIC_AT))
    }

    /// The CRC-32C that the producer, or the broker after it, wrote.
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.field(CRC_AT))
    }

    /// The attribute bits.
    pub fn attributes(&self) -> Attributes {
        Attributes(u16::from_be_bytes(self.field(ATTRIBUTES_AT)))
    }

    /// The last offset relative to the base offset, of a record that compaction may have removed.
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.field(LAST_OFFSET_DELTA_AT))
    }

    /// The last offset that the batch covers.
    pub fn last_offset(&self) -> i64 {
        self.base_offset() + i64::from(self.last_offset_delta())
    }

    /// The offset after the last one.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// What the records' timestamp deltas are relative to, in milliseconds.
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field(BASE_TIMESTAMP_AT))
    }

    /// The greatest timestamp in the batch, in milliseconds; -1 where none.
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field(MAX_TIMESTAMP_AT))
    }

    /// The producer's id; -1 where it was not idempotent.
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.field(PRODUCER_ID_AT))
    }

    /// The producer's epoch; -1 where it was not idempotent.
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.field(PRODUCER_EPOCH_AT))
    }

    /// The first record's sequence number; -1 where the producer was not idempotent.
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.field(BASE_SEQUENCE_AT))
    }

    /// How many records the batch says it holds.
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.field(RECORD_COUNT_AT))
    }

    /// Whether offsets are missing inside the batch: the cleaner removed records.
    pub fn has_holes(&self) -> bool {
        i64::from(self.record_count()) != i64::from(self.last_offset_delta()) + 1
    }

    /// The records as stored: compressed where the codec says so.
    pub fn records_payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// The whole batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The timestamp that a consumer sees for a record with this delta, in milliseconds: the batch's max timestamp
    /// for LogAppendTime, base + delta (wrapping, as in Kafka) otherwise. The one place that knows this rule.
    pub fn effective_timestamp(&self, timestamp_delta: i64) -> i64 {
        if self.attributes().log_append_time() {
            self.max_timestamp()
        } else {
            self.base_timestamp().wrapping_add(timestamp_delta)
        }
    }

    /// Walks the records in `payload`: the decompressed form of [`Self::records_payload`].
    pub fn records<'b>(&self, payload: &'b [u8]) -> Records<'b> {
        Records::new(payload, self.record_count(), self.last_offset_delta())
    }

    /// The CRC-32C over all bytes of the batch, header included, worked out from the stored one without reading the
    /// records: right where [`RecordBatch::verify_crc`] is.
    pub(crate) fn whole_crc(&self) -> u32 {
        let (header, rest) = self.bytes.split_at(ATTRIBUTES_AT);
        checksum::append(checksum::crc32c(header), self.crc(), rest.len())
    }

    /// An error in this batch, with its offsets.
    pub(crate) fn locate(&self, error: Error) -> Error {
        error.at(format_args!("record batch at offsets [{},{})", self.base_offset(), self.next_offset()))
    }

    /// Checks the CRC-32C over the whole batch.
    ///
    /// # Errors
    /// The stored and the computed value differ: the batch is damaged.
    pub fn verify_crc(&self) -> Result<()> {
        let computed = checksum::crc32c(&self.bytes[ATTRIBUTES_AT..]);
        if computed == self.crc() {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "record batch at offsets [{},{}) is damaged: its CRC-32C is {:#010x}, its bytes give {computed:#010x}",
            self.base_offset(),
            self.next_offset(),
            self.crc(),
        ))
        .hint("read the batch again from another copy: another replica, an older archive"))
    }
}

/// The fields that every format version has in the same place: enough to step over an entry of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) offset: i64,
    /// The whole entry, 12 bytes of overhead included.
    pub(crate) len: usize,
    /// `None`: the bytes end before it.
    pub(crate) magic: Option<i8>,
}

impl Frame {
    /// The least that a message of magic 0 has after its length field.
    const MIN_LENGTH: i32 = 14;
    const MIN_LENGTH_V2: i32 = (HEADER_LEN - LOG_OVERHEAD) as i32;

    /// Reads what is there; `None` where the bytes end before the length does.
    pub(crate) fn peek(bytes: &[u8]) -> Result<Option<Self>> {
        let Some((fixed, rest)) = bytes.split_first_chunk::<LOG_OVERHEAD>() else { return Ok(None) };
        let (mut offset, mut length) = ([0; 8], [0; 4]);
        offset.copy_from_slice(&fixed[..LENGTH_AT]);
        length.copy_from_slice(&fixed[LENGTH_AT..]);
        let (offset, length) = (i64::from_be_bytes(offset), i32::from_be_bytes(length));
        let magic = rest.get(MAGIC_AT - LOG_OVERHEAD).map(|byte| *byte as i8);
        let least =
            if magic.is_some_and(|magic| magic >= 2) { Self::MIN_LENGTH_V2 } else { Self::MIN_LENGTH };
        let frame = Self { offset, len: LOG_OVERHEAD + usize::try_from(length).unwrap_or(0), magic };
        if length < least {
            return Err(
                frame.corrupt(format!("has an impossible length of {length}: at least {least} is needed"))
            );
        }
        Ok(Some(frame))
    }

    /// Whether this is a message of magic 0 or 1, as Kafka wrote before 0.11.
    pub(crate) fn is_legacy(&self) -> bool {
        matches!(self.magic, Some(0 | 1))
    }

    pub(crate) fn require_magic_2(&self) -> Result<()> {
        match self.magic {
            Some(2) => Ok(()),
            Some(magic @ (0 | 1)) => Err(Error::unsupported(format!(
                "offset {} holds a message of magic {magic}, not a record batch",
                self.offset
            ))
            .hint("convert the old messages to record batches first")),
            Some(magic) => Err(Error::unsupported(format!(
                "record batch at offset {} has magic {magic}; this build knows 0, 1 and 2",
                self.offset
            ))
            .hint("if the batch is not damaged, use a newer version")),
            None => Err(self.corrupt("is cut off before its magic byte")),
        }
    }

    pub(crate) fn corrupt(&self, what: impl std::fmt::Display) -> Error {
        Error::corrupt(format!("record batch at offset {} {what}", self.offset))
    }
}
