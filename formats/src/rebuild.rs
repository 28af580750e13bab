//! The shallow lane: batches that cannot be sent as they are, made anew from verbatim record bodies.
//!
//! For compacted batches (holes), LogAppendTime, cuts and filters inside a batch, batches too large for the target or
//! too small to be sent alone, and a change of codec. Of a record only its length and two deltas are written new; key,
//! value and headers are copied as they stand. What comes out can be produced after
//! [`crate::record_batch::patch_for_produce`]: base offset 0, deltas 0, 1, 2, ..., CreateTime with the timestamps that
//! consumers saw, no producer.
//!
//! **Where a batch ends** depends on uncompressed sizes alone, never on compressed ones, so the same records with the
//! same settings, begun at the same record, always come out in the same batches, whatever version of a codec's
//! library compresses them. A finished batch that its codec made larger is left uncompressed; so no batch of several
//! records can outgrow the limit. A single record may be larger than the limit uncompressed, as Kafka's limit is on
//! what is sent; it is alone in its batch then and refused only where it does not fit compressed either.

#[cfg(test)]
mod tests;

use crate::codec::{Codec, Compressor, Decompressor};
use crate::ids::OffsetRange;
use crate::record::Record;
use crate::record_batch::{Attributes, BatchHeader, HEADER_LEN, Producer, RecordBatch};
use crate::varint::{varint_len, varlong_len, write_varint, write_varlong};
use crate::{Error, Result};

/// What to do with offsets that are missing in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holes {
    /// Records move together; the target's offsets differ.
    Close,
    /// A batch ends before each hole, so that the caller can fill the hole with something else.
    Split,
}

/// How to rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebuildSettings {
    /// The codec of the new batches; `None`: as the source's, so that a change of codec ends a batch.
    pub codec: Option<Codec>,
    /// The level where that codec has levels; `None`: its usual one.
    pub level: Option<i32>,
    /// The uncompressed size in bytes, header included, beyond which a batch takes no further record.
    pub batch_bytes: usize,
    /// The largest batch that the target takes, in bytes as sent: `max.message.bytes`.
    pub max_batch_bytes: usize,
    /// The most that one source batch may decompress to, in bytes.
    pub decompressed_cap: usize,
    /// What to do with missing offsets.
    pub holes: Holes,
}

/// A new batch, and where its records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltBatch {
    /// The whole batch; renew its header with the producer's id, epoch and sequence before it is sent.
    pub bytes: Vec<u8>,
    /// How many records it has.
    pub records: i32,
    /// The source offsets of its records, in order, neighbours joined: one range where the source had no holes.
    pub sources: Vec<OffsetRange>,
}

/// Gathers records into one batch.
#[derive(Debug)]
pub struct BatchBuilder {
    settings: RebuildSettings,
    codec: Codec,
    /// Room for the header, then the records.
    raw: Vec<u8>,
    records: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    sources: Vec<OffsetRange>,
}

impl BatchBuilder {
    /// Of no records yet; `codec` is that of the batch, whatever the settings have.
    pub fn new(settings: RebuildSettings, codec: Codec) -> Self {
        let raw = vec![0; HEADER_LEN];
        Self { settings, codec, raw, records: 0, base_timestamp: 0, max_timestamp: 0, sources: Vec::new() }
    }

    /// Whether no record is waiting.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Adds a record with its source offset and the timestamp that consumers saw, or says that it belongs into the next
    /// batch. An empty builder takes any record.
    ///
    /// # Errors
    /// A record of more bytes than Kafka can count (2 GiB).
    pub fn push(&mut self, offset: i64, timestamp: i64, record: &Record<'_>) -> Result<bool> {
        let base_timestamp = if self.is_empty() { timestamp } else { self.base_timestamp };
        let timestamp_delta = timestamp.wrapping_sub(base_timestamp);
        let length = 1 + varlong_len(timestamp_delta) + varint_len(self.records) + record.body().len();
        let length = i32::try_from(length).map_err(|_| too_large(offset, length, i32::MAX as usize))?;
        if !self.is_empty() {
            let size = self.raw.len() + varint_len(length) + length as usize;
            let at_hole = self.settings.holes == Holes::Split
                && self.sources.last().is_some_and(|run| run.end != offset);
            if at_hole || size > self.settings.batch_bytes.min(self.settings.max_batch_bytes) {
                return Ok(false);
            }
        }
        write_varint(length, &mut self.raw);
        self.raw.push(record.attributes as u8);
        write_varlong(timestamp_delta, &mut self.raw);
        write_varint(self.records, &mut self.raw);
        self.raw.extend_from_slice(record.body());
        self.max_timestamp = if self.is_empty() { timestamp } else { self.max_timestamp.max(timestamp) };
        self.base_timestamp = base_timestamp;
        self.records += 1;
        match self.sources.last_mut() {
            Some(run) if run.end == offset => run.end += 1,
            _ => self.sources.push(OffsetRange::new(offset, offset + 1)),
        }
        Ok(true)
    }

    /// The batch of what was added, and an empty builder again; `None` where nothing was.
    ///
    /// # Errors
    /// A single record that is too large for the target in either form.
    pub fn finish(&mut self, compressor: &mut Compressor) -> Result<Option<RebuiltBatch>> {
        if self.is_empty() {
            return Ok(None);
        }
        let (mut codec, mut bytes) = (Codec::None, Vec::new());
        if self.codec != Codec::None {
            bytes.resize(HEADER_LEN, 0);
            compressor.compress(self.codec, self.settings.level, &self.raw[HEADER_LEN..], &mut bytes)?;
            codec = self.codec;
        }
        if codec == Codec::None || bytes.len() >= self.raw.len() {
            codec = Codec::None;
            bytes.clear();
            bytes.extend_from_slice(&self.raw);
        }
        let (records, sources) = (self.records, std::mem::take(&mut self.sources));
        self.raw.truncate(HEADER_LEN);
        self.records = 0;
        if bytes.len() > self.settings.max_batch_bytes {
            let offset = sources.first().map_or(-1, |run| run.first);
            return Err(too_large(offset, bytes.len(), self.settings.max_batch_bytes));
        }
        let header = BatchHeader {
            base_offset: 0,
            leader_epoch: -1,
            attributes: Attributes(codec as u16),
            last_offset_delta: records - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer: Producer::NONE,
            record_count: records,
        };
        header.write_to(&mut bytes)?;
        Ok(Some(RebuiltBatch { bytes, records, sources }))
    }
}

fn too_large(offset: i64, size: usize, limit: usize) -> Error {
    Error::refused(format!("record at offset {offset} makes a batch of {size} bytes, the limit is {limit}"))
        .hint("raise max.message.bytes of the target topic")
}

/// Turns a run of source batches into new ones: filters, splits, joins neighbours.
///
/// Holds one source batch decompressed and one new batch. After an error it is of no further use: which records went
/// into it is not known then.
#[derive(Debug)]
pub struct Rebuilder {
    settings: RebuildSettings,
    builder: BatchBuilder,
    decompressor: Decompressor,
    compressor: Compressor,
    scratch: Vec<u8>,
}

impl Rebuilder {
    /// With nothing in it.
    ///
    /// # Errors
    /// A level that the codec does not have.
    pub fn new(settings: RebuildSettings) -> Result<Self> {
        if let (Some(codec), Some(level)) = (settings.codec, settings.level) {
            codec.check_level(level)?;
        }
        let builder = BatchBuilder::new(settings, settings.codec.unwrap_or(Codec::None));
        let (decompressor, compressor) = (Decompressor::new(), Compressor::new());
        Ok(Self { settings, builder, decompressor, compressor, scratch: Vec::new() })
    }

    /// Takes the records of `batch` for which `keep` (offset, timestamp as consumers see it, record) says yes, and
    /// appends the batches that became full to `out`. The CRC is the caller's to check.
    ///
    /// # Errors
    /// A control batch, a batch or record that cannot be read, decompressed within the cap or sent within the limit.
    pub fn push(
        &mut self,
        batch: &RecordBatch<'_>,
        mut keep: impl FnMut(i64, i64, &Record<'_>) -> bool,
        out: &mut Vec<RebuiltBatch>,
    ) -> Result<()> {
        if batch.attributes().control() {
            let at = batch.base_offset();
            return Err(Error::refused(format!(
                "control batch at offset {at} cannot be rebuilt: leave it out"
            )));
        }
        let codec = self.settings.codec.map_or_else(|| batch.attributes().codec(), Ok)?;
        if codec != self.builder.codec {
            out.extend(self.builder.finish(&mut self.compressor)?);
            self.builder.codec = codec;
        }
        let records = self.decompressor.records(batch, self.settings.decompressed_cap, &mut self.scratch)?;
        for record in records {
            let record = record.map_err(|error| batch.locate(error))?;
            let offset = batch.base_offset() + i64::from(record.offset_delta);
            let timestamp = batch.effective_timestamp(record.timestamp_delta);
            if keep(offset, timestamp, &record) && !self.builder.push(offset, timestamp, &record)? {
                out.extend(self.builder.finish(&mut self.compressor)?);
                self.builder.push(offset, timestamp, &record)?;
            }
        }
        Ok(())
    }

    /// Ends the run: the batch of what is left, if anything is.
    ///
    /// # Errors
    /// A single record that is too large for the target.
    pub fn finish(&mut self) -> Result<Option<RebuiltBatch>> {
        self.builder.finish(&mut self.compressor)
    }
}
