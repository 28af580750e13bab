//! Segment: the batches of one partition and one lineage over one range of offsets, with an index.
//!
//! ```text
//! segment   header     identity, 48 + topic bytes, padded to a multiple of 8
//!           frames     whole batches, back to back
//!           index      sections of fixed-size entries
//!           tail       40 bytes: where the index is
//!
//! header    0   8 B  "RPLVSEG1"
//!           8   u16  version              1
//!           10  u16  header length        padding and checksum included
//!           12  u32  flags                bit 0: the aborted list is the broker's own (read_committed)
//!           16  u64  lineage
//!           24  i64  first offset
//!           32  i64  end offset           the offset after the last one covered
//!           40  i32  partition
//!           44  u8   topic length         then the topic's name, then zeros
//!           -4  u32  CRC-32C of the header before this field
//!
//! frame     codec none: the batches exactly as Kafka's log holds them
//!           codec lz4, zstd: the same bytes as one LZ4 frame or zstd frame
//!
//! index     0   u32  number of sections, then each:
//!               u16  kind   u16 flags (bit 0: a reader that does not know the kind must refuse)
//!               u32  entry size   u32 entries   then the entries
//!           -4  u32  CRC-32C of the index before this field
//!   kind 1  frames, 64 bytes an entry, required
//!           0 i64 first offset   8 i64 end offset   16 i64 min timestamp   24 i64 max timestamp   32 u64 position
//!           40 u32 stored length  44 u32 raw length  48 u32 batches  52 u32 records  56 u32 CRC-32C of the stored bytes
//!           60 u8 codec (0 none, 3 lz4, 4 zstd)  61 u8 flags  62 u16 0
//!           frame flags: 1 min timestamp exact, 2 control batches, 4 transactional, 8 LogAppendTime, 16 offsets missing
//!   kind 2  markers, 32 bytes: i64 producer id, i64 offset, i64 timestamp, i16 epoch, u8 1 = COMMIT 0 = ABORT, 5 B 0
//!   kind 3  aborted transactions, 16 bytes: i64 producer id, i64 first offset
//!   kind 4  open transactions, 24 bytes: i64 producer id, i64 first offset, i16 epoch, 6 B 0
//!   kind 5  leader epochs, 16 bytes: i64 first offset, i32 epoch, 4 B 0
//!
//! tail      0   u64  position of the index    8  u32 index length   12 u32 0
//!           16  u64  segment length           24 u16 version        26 u16 flags
//!           28  u32  CRC-32C of the 28 bytes before
//!           32  8 B  "RPLVSEND"
//! ```
//! Integers are little-endian. Entries may grow: a reader takes the bytes it knows and skips the rest. Positions count
//! from the segment's first byte, wherever the segment lies in its object. This file holds the types; `write.rs` and
//! `read.rs` turn them into bytes and back; neither does I/O.

mod read;
mod recheck;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Tail, decode_frame, read_header, read_tail};
pub use write::{EncodedSegment, FrameCompression, SegmentEncoder, SegmentInput};

use crate::ids::{LineageId, OffsetRange, TopicPartition};
use crate::transactions::SegmentTransactions;

pub(crate) const MAGIC: &[u8; 8] = b"RPLVSEG1";
pub(crate) const END_MAGIC: &[u8; 8] = b"RPLVSEND";
pub(crate) const VERSION: u16 = 1;
pub(crate) const FIXED_HEADER: usize = 45;
/// Bytes of the tail.
pub const TAIL: usize = 40;
/// No header is longer.
pub const MAX_HEADER: usize = 320;
/// No index is longer: a bound for a reader's memory.
pub const MAX_INDEX: usize = 64 << 20;
pub(crate) const FLAG_ABORTED_LISTED: u32 = 1;

pub(crate) const SECTION_REQUIRED: u16 = 1;
pub(crate) const SECTION_FRAMES: u16 = 1;
pub(crate) const SECTION_MARKERS: u16 = 2;
pub(crate) const SECTION_ABORTED: u16 = 3;
pub(crate) const SECTION_OPEN: u16 = 4;
pub(crate) const SECTION_EPOCHS: u16 = 5;

/// What a segment is a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentIdentity {
    /// Whose records.
    pub partition: TopicPartition,
    /// Which history.
    pub lineage: LineageId,
    /// Every offset in it is here or explained as missing.
    pub range: OffsetRange,
    /// Whether the aborted list is the broker's own; otherwise fates follow from the markers.
    pub aborted_listed: bool,
}

/// How a frame's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameCodec {
    /// As they are.
    None,
    /// One LZ4 frame.
    Lz4,
    /// One zstd frame.
    Zstd,
}

/// Some whole batches, stored together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// First batch's base offset, and the offset after the last batch.
    pub range: OffsetRange,
    /// The least timestamp, exact only where `flags` say so; otherwise the least *base* timestamp.
    pub min_timestamp: i64,
    /// The greatest timestamp.
    pub max_timestamp: i64,
    /// Where it begins in the segment.
    pub position: u64,
    /// Bytes in the segment.
    pub stored: u32,
    /// Bytes of the batches.
    pub raw: u32,
    /// Batches.
    pub batches: u32,
    /// Records, control records included.
    pub records: u32,
    /// CRC-32C of the stored bytes.
    pub crc: u32,
    /// How the bytes are stored.
    pub codec: FrameCodec,
    /// What is inside.
    pub flags: FrameFlags,
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameFlags(pub u8);

impl FrameFlags {
    /// The least timestamp is exact.
    pub const MIN_EXACT: u8 = 1;
    /// Control batches are inside.
    pub const CONTROL: u8 = 2;
    /// Transactional batches are inside.
    pub const TRANSACTIONAL: u8 = 4;
    /// Batches stamped by the broker are inside.
    pub const LOG_APPEND_TIME: u8 = 8;
    /// Offsets between its first and last are missing.
    pub const MISSING: u8 = 16;

    /// Whether a flag is set.
    pub fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// A leader epoch and the offset of its first batch in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The first offset.
    pub offset: i64,
    /// The leader epoch.
    pub epoch: i32,
}

/// A segment's index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SegmentIndex {
    /// The frames in offset order.
    pub frames: Vec<Frame>,
    /// Markers, aborted and open transactions.
    pub transactions: SegmentTransactions,
    /// Leader epochs in offset order.
    pub epochs: Vec<EpochStart>,
}
