//! Reads segments: header, tail, index, frames. Every length is checked before it is used.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{
    END_MAGIC, EpochStart, FIXED_HEADER, FLAG_ABORTED_LISTED, Frame, FrameCodec, FrameFlags, MAGIC,
    MAX_HEADER, MAX_INDEX, SECTION_ABORTED, SECTION_EPOCHS, SECTION_FRAMES, SECTION_MARKERS, SECTION_OPEN,
    SECTION_REQUIRED, SegmentIdentity, SegmentIndex, TAIL, VERSION,
};
use crate::codec::{Codec, Decompressor};
use crate::ids::{LineageId, OffsetRange, Topic, TopicPartition};
use crate::transactions::{AbortedTransaction, Marker, OpenTransaction, SegmentTransactions};
use crate::{Error, Result};

/// Where a segment's index lies, as its tail says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Where the index begins in the segment.
    pub index_position: u64,
    /// Bytes of the index.
    pub index_length: u32,
    /// Bytes of the segment.
    pub segment_length: u64,
}

/// Reads the last [`TAIL`] bytes of a segment.
///
/// # Errors
/// Damage; a length that differs from `segment_length`; a newer version.
pub fn read_tail(bytes: &[u8], segment_length: u64) -> Result<Tail> {
    let Some(tail) = bytes.len().checked_sub(TAIL).map(|at| &bytes[at..]) else {
        return Err(Error::corrupt(format!("a segment tail has {TAIL} bytes, not {}", bytes.len())));
    };
    let cursor = Cursor(tail);
    if &tail[32..40] != END_MAGIC {
        return Err(Error::corrupt("the segment does not end in a segment tail"));
    }
    if crc_fast::crc32_iscsi(&tail[..28]) != cursor.u32(28) {
        return Err(Error::corrupt("the checksum of the segment tail differs"));
    }
    check_version(cursor.u16(24))?;
    if cursor.u16(26) != 0 {
        return Err(Error::unsupported(format!(
            "the segment tail has unknown flags {:#06x}",
            cursor.u16(26)
        )));
    }
    let tail =
        Tail { index_position: cursor.u64(0), index_length: cursor.u32(8), segment_length: cursor.u64(16) };
    let end = tail.index_position.checked_add(u64::from(tail.index_length) + TAIL as u64);
    if tail.segment_length != segment_length
        || end != Some(segment_length)
        || tail.index_length as usize > MAX_INDEX
        || cursor.u32(12) != 0
    {
        return Err(Error::corrupt(format!("the segment tail {tail:?} does not fit {segment_length} bytes")));
    }
    Ok(tail)
}

/// Reads the header at the beginning of a segment; gives the identity and the header's length.
///
/// # Errors
/// Damage; a newer version; unknown flags.
pub fn read_header(bytes: &[u8]) -> Result<(SegmentIdentity, usize)> {
    let short = || Error::corrupt("the segment is cut off inside its header");
    if bytes.get(..8).ok_or_else(short)? != MAGIC {
        return Err(Error::corrupt("this is no segment: it does not begin with RPLVSEG1"));
    }
    let cursor = Cursor(bytes.get(..FIXED_HEADER).ok_or_else(short)?);
    let length = usize::from(cursor.u16(10));
    if !(FIXED_HEADER + 4..=MAX_HEADER).contains(&length) {
        return Err(Error::corrupt(format!("the segment header claims {length} bytes")));
    }
    let header = bytes.get(..length).ok_or_else(short)?;
    if crc_fast::crc32_iscsi(&header[..length - 4]) != Cursor(header).u32(length - 4) {
        return Err(Error::corrupt("the checksum of the segment header differs"));
    }
    check_version(cursor.u16(8))?;
    let flags = cursor.u32(12);
    if flags & !FLAG_ABORTED_LISTED != 0 {
        return Err(Error::unsupported(format!("the segment header has unknown flags {flags:#010x}")));
    }
    let name_end = FIXED_HEADER + usize::from(header[44]);
    let name = header.get(FIXED_HEADER..name_end.min(length - 4)).ok_or_else(short)?;
    let name =
        std::str::from_utf8(name).map_err(|e| Error::corrupt("the topic name is not UTF-8").caused_by(e))?;
    let partition = TopicPartition::new(Topic::new(name)?, cursor.i32(40));
    let range = OffsetRange::new(cursor.i64(24), cursor.i64(32));
    if name_end > length - 4 || partition.partition < 0 || range.first < 0 || range.is_empty() {
        return Err(Error::corrupt(format!("the segment header names {partition}@{range}")));
    }
    let lineage = LineageId(cursor.u64(16));
    Ok((
        SegmentIdentity { partition, lineage, range, aborted_listed: flags & FLAG_ABORTED_LISTED != 0 },
        length,
    ))
}

impl SegmentIndex {
    /// Reads an index. `frames_end` is where the frames end in the segment: the index position.
    ///
    /// # Errors
    /// Damage; frames that overlap or leave their place; a required section that this build does not know.
    pub fn decode(bytes: &[u8], frames_end: u64) -> Result<Self> {
        let Some(at) = bytes.len().checked_sub(4).filter(|&at| at >= 4) else {
            return Err(Error::corrupt("the segment index is cut off"));
        };
        if crc_fast::crc32_iscsi(&bytes[..at]) != Cursor(bytes).u32(at) {
            return Err(Error::corrupt("the checksum of the segment index differs"));
        }
        let mut rest = &bytes[4..at];
        let mut index = Self::default();
        let mut kinds = BTreeSet::new();
        for _ in 0..Cursor(bytes).u32(0) {
            let short = || Error::corrupt("a section of the segment index is cut off");
            let head = Cursor(rest.get(..12).ok_or_else(short)?);
            let (kind, flags, size, count) =
                (head.u16(0), head.u16(2), head.u32(4) as usize, head.u32(8) as usize);
            let length = size.checked_mul(count).ok_or_else(short)?;
            let entries = rest.get(12..).and_then(|r| r.get(..length)).ok_or_else(short)?;
            rest = &rest[12 + length..];
            if !kinds.insert(kind) {
                return Err(Error::corrupt(format!("the segment index has two sections of kind {kind}")));
            }
            index.section(kind, flags, size, entries)?;
        }
        if !kinds.contains(&SECTION_FRAMES) {
            return Err(Error::corrupt("the segment index does not list the frames"));
        }
        if !rest.is_empty() {
            return Err(Error::corrupt("bytes follow the last section of the segment index"));
        }
        index.check_frames(frames_end)?;
        Ok(index)
    }

    fn section(&mut self, kind: u16, flags: u16, size: usize, entries: &[u8]) -> Result<()> {
        let known = match kind {
            SECTION_FRAMES => 64,
            SECTION_MARKERS => 32,
            SECTION_ABORTED => 16,
            SECTION_OPEN => 24,
            SECTION_EPOCHS => 16,
            _ if flags & SECTION_REQUIRED != 0 => {
                return Err(Error::unsupported(format!(
                    "the segment index has a required section of kind {kind}"
                ))
                .hint("use the release that wrote it, or a newer one"));
            }
            _ => return Ok(()),
        };
        if size < known {
            return Err(Error::corrupt(format!(
                "entries of section {kind} have {size} bytes, fewer than {known}"
            )));
        }
        for entry in entries.chunks_exact(size) {
            let entry = Cursor(entry);
            let SegmentTransactions { markers, aborted, open } = &mut self.transactions;
            match kind {
                SECTION_FRAMES => self.frames.push(frame(entry)?),
                SECTION_MARKERS => markers.push(Marker {
                    producer_id: entry.i64(0),
                    offset: entry.i64(8),
                    timestamp: entry.i64(16),
                    producer_epoch: entry.u16(24) as i16,
                    committed: entry.0[26] == 1,
                }),
                SECTION_ABORTED => {
                    aborted
                        .push(AbortedTransaction { producer_id: entry.i64(0), first_offset: entry.i64(8) });
                }
                SECTION_OPEN => open.push(OpenTransaction {
                    producer_id: entry.i64(0),
                    first_offset: entry.i64(8),
                    producer_epoch: entry.u16(16) as i16,
                }),
                _ => self.epochs.push(EpochStart { offset: entry.i64(0), epoch: entry.i32(8) }),
            }
        }
        Ok(())
    }

    fn check_frames(&self, frames_end: u64) -> Result<()> {
        let mut position = None;
        let mut offset = 0;
        for frame in &self.frames {
            let end = frame.position.checked_add(u64::from(frame.stored)).filter(|&end| end <= frames_end);
            if position.is_some_and(|p| p != frame.position)
                || end.is_none()
                || frame.range.first < offset
                || frame.range.is_empty()
            {
                return Err(Error::corrupt(format!(
                    "frame {} of the segment index is out of place",
                    frame.range
                )));
            }
            position = end;
            offset = frame.range.end;
        }
        if position.is_some_and(|p| p != frames_end) {
            return Err(Error::corrupt("the frames of the segment index do not end where the index begins"));
        }
        Ok(())
    }
}

fn frame(entry: Cursor<'_>) -> Result<Frame> {
    let codec = match entry.0[60] {
        0 => FrameCodec::None,
        3 => FrameCodec::Lz4,
        4 => FrameCodec::Zstd,
        other => return Err(Error::unsupported(format!("frame codec {other} is not known to this build"))),
    };
    Ok(Frame {
        range: OffsetRange::new(entry.i64(0), entry.i64(8)),
        min_timestamp: entry.i64(16),
        max_timestamp: entry.i64(24),
        position: entry.u64(32),
        stored: entry.u32(40),
        raw: entry.u32(44),
        batches: entry.u32(48),
        records: entry.u32(52),
        crc: entry.u32(56),
        codec,
        flags: FrameFlags(entry.0[61]),
    })
}

/// Checks a frame's stored bytes and gives its batches, exactly as Kafka's log held them.
///
/// # Errors
/// Damage, named by the frame's offsets.
pub fn decode_frame<'a>(
    frame: &Frame,
    stored: &'a [u8],
    decompressor: &mut Decompressor,
) -> Result<Cow<'a, [u8]>> {
    if stored.len() != frame.stored as usize {
        let message = format!("frame {} has {} bytes, not {}", frame.range, stored.len(), frame.stored);
        return Err(Error::corrupt(message));
    }
    if crc_fast::crc32_iscsi(stored) != frame.crc {
        return Err(Error::corrupt(format!("the checksum of frame {} differs from its bytes", frame.range)));
    }
    let codec = match frame.codec {
        FrameCodec::None => {
            if frame.raw != frame.stored {
                return Err(Error::corrupt(format!(
                    "frame {} is stored as it is in another length",
                    frame.range
                )));
            }
            return Ok(Cow::Borrowed(stored));
        }
        FrameCodec::Lz4 => Codec::Lz4,
        FrameCodec::Zstd => Codec::Zstd,
    };
    let mut raw = Vec::new();
    decompressor
        .decompress(codec, stored, frame.raw as usize, &mut raw)
        .map_err(|e| e.at(format!("frame {}", frame.range)))?;
    if raw.len() != frame.raw as usize {
        let message = format!("frame {} decompresses to {} bytes, not {}", frame.range, raw.len(), frame.raw);
        return Err(Error::corrupt(message));
    }
    Ok(Cow::Owned(raw))
}

fn check_version(version: u16) -> Result<()> {
    if version == VERSION {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "segment version {version} is not known to this build, which reads {VERSION}"
    ))
    .hint("use the release that wrote it, or a newer one"))
}

/// Little-endian integers at places that the caller has checked to be inside.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.0[at..at + N]);
        out
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.take(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.take(at))
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_le_bytes(self.take(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.take(at))
    }

    fn i64(&self, at: usize) -> i64 {
        i64::from_le_bytes(self.take(at))
    }
}
