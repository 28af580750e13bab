//! Writes segments. Batches are never copied where they are stored as they came.

use bytes::Bytes;

use super::recheck::Recheck;
use super::{
    END_MAGIC, EpochStart, FIXED_HEADER, FLAG_ABORTED_LISTED, Frame, FrameCodec, FrameFlags, MAGIC,
    MAX_INDEX, SECTION_ABORTED, SECTION_EPOCHS, SECTION_FRAMES, SECTION_MARKERS, SECTION_OPEN,
    SECTION_REQUIRED, SegmentIdentity, SegmentIndex, TAIL, VERSION,
};
use crate::codec::{Codec, Compressor};
use crate::digest::BatchDigest;
use crate::hash::Hash;
use crate::ids::OffsetRange;
use crate::record_batch::{Batches, RecordBatch, checksum};
use crate::schema_ids::{IdScanner, SchemaIds};
use crate::transactions::SegmentTransactions;
use crate::{Error, Result};

/// Raw bytes after which a frame ends.
const FRAME_TARGET: usize = 1 << 20;
/// Raw bytes from which a frame also ends where compressed batches follow uncompressed ones, or the other way round.
const FRAME_MIN: usize = 128 << 10;

/// Bytes of memory that are kept for the next frame.
pub(super) const KEPT: usize = 2 * FRAME_TARGET;

/// How frames of batches that the producer left uncompressed are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameCompression {
    /// As they are.
    None,
    /// As LZ4 frames.
    Lz4,
    /// As zstd frames of a level.
    Zstd(i32),
}

/// What a segment is made of.
#[derive(Debug)]
pub struct SegmentInput {
    /// What it is a part of; its range may begin before the first batch and end after the last.
    pub identity: SegmentIdentity,
    /// Whole batches in offset order, in as many pieces as they came.
    pub runs: Vec<Bytes>,
    /// What the tracker said at the end of the segment.
    pub transactions: SegmentTransactions,
}

/// A segment as it will lie in the store, with what its commit entry says about it.
#[derive(Debug)]
pub struct EncodedSegment {
    /// What it is a part of.
    pub identity: SegmentIdentity,
    /// The bytes, in pieces.
    pub parts: Vec<Bytes>,
    /// How many bytes the pieces have.
    pub length: u64,
    /// How many of them are in new memory: compressed frames, header, index.
    pub owned_bytes: usize,
    /// BLAKE3 over them.
    pub blake3: Hash,
    /// What was counted on the way.
    pub stats: SegmentStats,
    /// Its transactions.
    pub transactions: SegmentTransactions,
    /// The schemas that its records name, where the encoder looked for them.
    pub schema_ids: Option<SchemaIds>,
}

/// What a segment's batches add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentStats {
    /// Batches, control batches included.
    pub batches: u32,
    /// Control batches.
    pub control: u32,
    /// Records, control records included.
    pub records: u64,
    /// Offsets of the range that no record holds.
    pub missing: u64,
    /// Bytes of the batches.
    pub raw: u64,
    /// Bytes of the batches by the producer's codec, in the order of [`Codec::ALL`].
    pub by_codec: [u64; 5],
    /// Bytes of batches that a restore must rebuild because the broker stamped their records.
    pub log_append_time: u64,
    /// Bytes of batches that a restore must rebuild because offsets inside them are missing.
    pub holes: u64,
    /// The largest batch.
    pub largest_batch: u32,
    /// The least base timestamp; see [`SegmentStats::min_exact`].
    pub min_timestamp: i64,
    /// Whether no record is older than `min_timestamp`.
    pub min_exact: bool,
    /// The greatest timestamp.
    pub max_timestamp: i64,
    /// Over the batches.
    pub batch_digest: BatchDigest,
    /// The last batch: base offset, leader epoch, CRC. `None` where the segment holds no batch.
    pub last: Option<(i64, i32, u32)>,
}

impl SegmentStats {
    fn new() -> Self {
        Self {
            batches: 0,
            control: 0,
            records: 0,
            missing: 0,
            raw: 0,
            by_codec: [0; 5],
            log_append_time: 0,
            holes: 0,
            largest_batch: 0,
            min_timestamp: i64::MAX,
            min_exact: true,
            max_timestamp: i64::MIN,
            batch_digest: BatchDigest::default(),
            last: None,
        }
    }

    fn add(&mut self, batch: &RecordBatch<'_>) -> Result<()> {
        let attributes = batch.attributes();
        let len = batch.len() as u64;
        self.batches += 1;
        self.records += u64::from(batch.record_count().unsigned_abs());
        self.raw += len;
        self.by_codec[attributes.codec()? as usize] += len;
        self.largest_batch = self.largest_batch.max(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        self.batch_digest.push(batch);
        self.last = Some((batch.base_offset(), batch.leader_epoch(), batch.crc()));
        if attributes.control() {
            self.control += 1;
        } else if batch.record_count() > 0 {
            if attributes.log_append_time() {
                self.log_append_time += len;
            } else if batch.has_holes() {
                self.holes += len;
            }
            let (min, exact) = min_timestamp(batch);
            self.min_timestamp = self.min_timestamp.min(min);
            self.min_exact &= exact;
            self.max_timestamp = self.max_timestamp.max(batch.max_timestamp());
        }
        Ok(())
    }
}

/// The least timestamp that a batch header tells, and whether it is exact: a header holds only the first record's and
/// the greatest.
fn min_timestamp(batch: &RecordBatch<'_>) -> (i64, bool) {
    let attributes = batch.attributes();
    if attributes.log_append_time() {
        return (batch.max_timestamp(), true);
    }
    let single = batch.record_count() == 1 && batch.last_offset_delta() == 0;
    if attributes.delete_horizon() {
        // The base timestamp field holds the horizon instead.
        return (batch.max_timestamp(), single);
    }
    if single {
        (batch.max_timestamp(), true)
    } else {
        (batch.base_timestamp().min(batch.max_timestamp()), false)
    }
}

/// Turns batches into segments; one for each worker, because codec contexts are reused.
#[derive(Debug)]
pub struct SegmentEncoder {
    compression: FrameCompression,
    compressor: Compressor,
    gathered: Vec<u8>,
    recheck: Recheck,
}

impl SegmentEncoder {
    /// An encoder that stores uncompressed batches in this way.
    pub fn new(compression: FrameCompression) -> Self {
        Self { compression, compressor: Compressor::new(), gathered: Vec::new(), recheck: Recheck::new() }
    }

    /// Lists the schemas that records name too, of batches that decompress to at most `cap` bytes.
    #[must_use]
    pub fn with_schema_ids(mut self, cap: usize) -> Self {
        self.recheck.look_for(IdScanner::new(cap));
        self
    }

    /// Makes a segment. Batches whose producer compressed them stay as they are. What is given back has been read back.
    ///
    /// # Errors
    /// Bytes that are not whole batches in rising offset order inside the range, a batch whose CRC is wrong, or a frame that
    /// does not compress or does not give back what it was made of.
    pub fn encode(&mut self, input: SegmentInput) -> Result<EncodedSegment> {
        let SegmentInput { identity, runs, transactions } = input;
        if identity.range.is_empty() || identity.range.first < 0 {
            return Err(Error::invalid(format!("{} has no segment {}", identity.partition, identity.range)));
        }
        let mut out = Out { parts: Vec::new(), length: 0, owned: 0 };
        out.push_owned(header(&identity)?);
        let mut stats = SegmentStats::new();
        let mut index = SegmentIndex { transactions, ..SegmentIndex::default() };
        let mut open = OpenFrame::default();
        let mut next = identity.range.first;
        for run in runs {
            let mut from = 0;
            let mut batches = Batches::new(&run);
            loop {
                let at = batches.position();
                let Some(batch) = batches.next().transpose()? else { break };
                if batch.base_offset() < next || batch.next_offset() > identity.range.end {
                    let batch = OffsetRange::new(batch.base_offset(), batch.next_offset());
                    let range = OffsetRange::new(next, identity.range.end);
                    let message = format!("{}@{batch} does not continue {range}", identity.partition);
                    return Err(Error::invalid(message));
                }
                next = batch.next_offset();
                let compressed = batch.attributes().codec()? != Codec::None;
                if open.is_full(compressed, batch.len()) {
                    open.push(run.slice(from..at));
                    from = at;
                    self.close_frame(std::mem::take(&mut open), &mut out, &mut index)?;
                }
                stats.add(&batch)?;
                open.add(&batch, compressed);
                if index.epochs.last().is_none_or(|e| e.epoch != batch.leader_epoch()) {
                    index
                        .epochs
                        .push(EpochStart { offset: batch.base_offset(), epoch: batch.leader_epoch() });
                }
            }
            if !batches.rest().is_empty() {
                let message = format!(
                    "{}: {} bytes after offset {next} are no whole batch",
                    identity.partition,
                    batches.rest().len()
                );
                return Err(Error::invalid(message));
            }
            open.push(run.slice(from..));
        }
        self.close_frame(open, &mut out, &mut index)?;
        if stats.min_timestamp == i64::MAX {
            (stats.min_timestamp, stats.max_timestamp) = (-1, -1);
        }
        stats.missing = identity.range.len().saturating_sub(stats.records);
        let position = out.length;
        let index_bytes = index.encode();
        let index_len = index_bytes.len();
        out.push_owned(index_bytes);
        let length = out.length + TAIL as u64;
        out.push_owned(tail(position, index_len, length)?);
        let blake3 = self.recheck.hash(&out.parts, &index.frames).map_err(|e| e.at(&identity.partition))?;
        let schema_ids = self.recheck.found();
        let Out { parts, owned: owned_bytes, .. } = out;
        let transactions = index.transactions;
        Ok(EncodedSegment { identity, parts, length, owned_bytes, blake3, stats, transactions, schema_ids })
    }

    fn close_frame(&mut self, open: OpenFrame, out: &mut Out, index: &mut SegmentIndex) -> Result<()> {
        let Some(mut frame) = open.frame else { return Ok(()) };
        let too_large = || {
            Error::unsupported(format!("a frame of {} bytes at {} is beyond 4 GiB", open.raw, frame.range))
        };
        frame.raw = u32::try_from(open.raw).map_err(|_| too_large())?;
        frame.position = out.length;
        let codec = match self.compression {
            // Mostly compressed already: a second codec would cost CPU and win nothing.
            _ if open.uncompressed * 2 < open.raw => None,
            FrameCompression::None => None,
            FrameCompression::Lz4 => Some((FrameCodec::Lz4, Codec::Lz4, None)),
            FrameCompression::Zstd(level) => Some((FrameCodec::Zstd, Codec::Zstd, Some(level))),
        };
        let mut stored = open.pieces;
        if let Some((frame_codec, codec, level)) = codec {
            let mut packed = Vec::new();
            let input: &[u8] = match &stored[..] {
                [one] => one,
                pieces => {
                    self.gathered.clear();
                    pieces.iter().for_each(|piece| self.gathered.extend_from_slice(piece));
                    &self.gathered
                }
            };
            let length = input.len();
            self.compressor.compress(codec, level, input, &mut packed)?;
            self.gathered.clear();
            self.gathered.shrink_to(KEPT);
            if packed.len() < length {
                frame.codec = frame_codec;
                packed.shrink_to_fit();
                out.owned += packed.len();
                stored = vec![Bytes::from(packed)];
            }
        }
        let mut crc = FrameCrc::new(&frame);
        let before = out.length;
        for piece in stored {
            crc.piece(&piece);
            if crc.by_batches {
                Batches::new(&piece).try_for_each(|batch| batch.map(|batch| crc.batch(&batch)))?;
            }
            out.push(piece);
        }
        frame.crc = crc.finish();
        frame.stored = u32::try_from(out.length - before).map_err(|_| too_large())?;
        index.frames.push(frame);
        Ok(())
    }
}

/// The CRC-32C of a frame's stored bytes. Where the frame holds large batches as they came, it is put together from their
/// own CRCs, so that not every byte is read once more.
pub(super) struct FrameCrc {
    pub(super) by_batches: bool,
    of_batches: u32,
    of_pieces: crc_fast::Digest,
}

impl FrameCrc {
    /// Putting two CRCs together costs as much as reading about so many bytes.
    const LARGE: u32 = 4096;

    pub(super) fn new(frame: &Frame) -> Self {
        let by_batches = frame.codec == FrameCodec::None && frame.raw / Self::LARGE >= frame.batches;
        let of_pieces = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        Self { by_batches, of_batches: 0, of_pieces }
    }

    /// The next stored bytes.
    pub(super) fn piece(&mut self, piece: &[u8]) {
        if !self.by_batches {
            self.of_pieces.update(piece);
        }
    }

    /// The next batch.
    pub(super) fn batch(&mut self, batch: &RecordBatch<'_>) {
        if self.by_batches {
            self.of_batches = checksum::append(self.of_batches, batch.whole_crc(), batch.len());
        }
    }

    pub(super) fn finish(self) -> u32 {
        if self.by_batches { self.of_batches } else { self.of_pieces.finalize() as u32 }
    }
}

struct Out {
    parts: Vec<Bytes>,
    length: u64,
    owned: usize,
}

impl Out {
    fn push_owned(&mut self, part: Vec<u8>) {
        self.owned += part.len();
        self.push(part.into());
    }

    fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.length += part.len() as u64;
            self.parts.push(part);
        }
    }
}

#[derive(Default)]
struct OpenFrame {
    frame: Option<Frame>,
    pieces: Vec<Bytes>,
    raw: usize,
    uncompressed: usize,
    last_was_compressed: bool,
}

impl OpenFrame {
    /// A large batch gets a frame of its own, which can be compressed from where it lies.
    fn is_full(&self, next_is_compressed: bool, next: usize) -> bool {
        let turn = self.last_was_compressed != next_is_compressed;
        self.raw >= FRAME_TARGET || (self.raw > 0 && next >= FRAME_TARGET) || (turn && self.raw >= FRAME_MIN)
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
    }

    fn add(&mut self, batch: &RecordBatch<'_>, compressed: bool) {
        let range = OffsetRange::new(batch.base_offset(), batch.next_offset());
        let frame = self.frame.get_or_insert(Frame {
            range,
            min_timestamp: i64::MAX,
            max_timestamp: i64::MIN,
            position: 0,
            stored: 0,
            raw: 0,
            batches: 0,
            records: 0,
            crc: 0,
            codec: FrameCodec::None,
            flags: FrameFlags(FrameFlags::MIN_EXACT),
        });
        let attributes = batch.attributes();
        let (min, exact) = min_timestamp(batch);
        let mut set = |flag: u8, on: bool| frame.flags.0 |= if on { flag } else { 0 };
        set(FrameFlags::CONTROL, attributes.control());
        set(FrameFlags::TRANSACTIONAL, attributes.transactional());
        set(FrameFlags::LOG_APPEND_TIME, attributes.log_append_time());
        set(FrameFlags::MISSING, batch.has_holes() || batch.base_offset() > frame.range.end);
        if !exact {
            frame.flags.0 &= !FrameFlags::MIN_EXACT;
        }
        frame.range.end = range.end;
        frame.min_timestamp = frame.min_timestamp.min(min);
        frame.max_timestamp = frame.max_timestamp.max(batch.max_timestamp());
        frame.batches += 1;
        frame.records = frame.records.saturating_add(batch.record_count().unsigned_abs());
        self.raw += batch.len();
        self.uncompressed += if compressed { 0 } else { batch.len() };
        self.last_was_compressed = compressed;
    }
}

fn header(identity: &SegmentIdentity) -> Result<Vec<u8>> {
    let topic = identity.partition.topic.as_str().as_bytes();
    let length = (FIXED_HEADER + topic.len() + 4).next_multiple_of(8);
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(length as u16).to_le_bytes());
    let flags = if identity.aborted_listed { FLAG_ABORTED_LISTED } else { 0 };
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&identity.lineage.0.to_le_bytes());
    out.extend_from_slice(&identity.range.first.to_le_bytes());
    out.extend_from_slice(&identity.range.end.to_le_bytes());
    out.extend_from_slice(&identity.partition.partition.to_le_bytes());
    out.push(u8::try_from(topic.len()).map_err(|_| Error::invalid("topic name beyond 255 bytes"))?);
    out.extend_from_slice(topic);
    out.resize(length - 4, 0);
    out.extend_from_slice(&crc_fast::crc32_iscsi(&out).to_le_bytes());
    Ok(out)
}

fn tail(position: u64, index: usize, length: u64) -> Result<Vec<u8>> {
    let too_large = || Error::invalid(format!("a segment index of {index} bytes, {MAX_INDEX} are the limit"));
    let index = u32::try_from(index).ok().filter(|_| index <= MAX_INDEX).ok_or_else(too_large)?;
    let mut out = Vec::with_capacity(TAIL);
    out.extend_from_slice(&position.to_le_bytes());
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&0_u16.to_le_bytes());
    out.extend_from_slice(&crc_fast::crc32_iscsi(&out).to_le_bytes());
    out.extend_from_slice(END_MAGIC);
    Ok(out)
}

impl SegmentIndex {
    /// The stored bytes of the index.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let SegmentTransactions { markers, aborted, open } = &self.transactions;
        let lengths = [markers.len(), aborted.len(), open.len(), self.epochs.len()];
        let sections = 1 + lengths.iter().filter(|&&n| n > 0).count() as u32;
        out.extend_from_slice(&sections.to_le_bytes());
        let section = |out: &mut Vec<u8>, kind: u16, flags: u16, size: u32, count: usize| {
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&flags.to_le_bytes());
            out.extend_from_slice(&size.to_le_bytes());
            out.extend_from_slice(&(count as u32).to_le_bytes());
            count > 0
        };
        section(&mut out, SECTION_FRAMES, SECTION_REQUIRED, 64, self.frames.len());
        for frame in &self.frames {
            for number in [frame.range.first, frame.range.end, frame.min_timestamp, frame.max_timestamp] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&frame.position.to_le_bytes());
            for number in [frame.stored, frame.raw, frame.batches, frame.records, frame.crc] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            let codec = match frame.codec {
                FrameCodec::None => 0,
                FrameCodec::Lz4 => 3,
                FrameCodec::Zstd => 4,
            };
            out.extend_from_slice(&[codec, frame.flags.0, 0, 0]);
        }
        if !markers.is_empty() && section(&mut out, SECTION_MARKERS, 0, 32, markers.len()) {
            for marker in markers {
                for number in [marker.producer_id, marker.offset, marker.timestamp] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                out.extend_from_slice(&marker.producer_epoch.to_le_bytes());
                out.extend_from_slice(&[u8::from(marker.committed), 0, 0, 0, 0, 0]);
            }
        }
        if !aborted.is_empty() && section(&mut out, SECTION_ABORTED, 0, 16, aborted.len()) {
            for entry in aborted {
                out.extend_from_slice(&entry.producer_id.to_le_bytes());
                out.extend_from_slice(&entry.first_offset.to_le_bytes());
            }
        }
        if !open.is_empty() && section(&mut out, SECTION_OPEN, 0, 24, open.len()) {
            for entry in open {
                out.extend_from_slice(&entry.producer_id.to_le_bytes());
                out.extend_from_slice(&entry.first_offset.to_le_bytes());
                out.extend_from_slice(&entry.producer_epoch.to_le_bytes());
                out.extend_from_slice(&[0; 6]);
            }
        }
        if !self.epochs.is_empty() && section(&mut out, SECTION_EPOCHS, 0, 16, self.epochs.len()) {
            for entry in &self.epochs {
                out.extend_from_slice(&entry.offset.to_le_bytes());
                out.extend_from_slice(&entry.epoch.to_le_bytes());
                out.extend_from_slice(&[0; 4]);
            }
        }
        let crc = crc_fast::crc32_iscsi(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }
}
