//! Reads and decodes every byte of a segment and holds it against its index and against what the commits say.

use std::ops::Range;
use std::sync::Arc;

use formats::codec::{Codec, Decompressor};
use formats::commit::{CodecBytes, LastBatch, SegmentEntry};
use formats::digest::{BatchDigest, ContentDigest};
use formats::ids::{LineageId, OffsetRange, TopicPartition};
use formats::record_batch::RecordBatch;
use formats::schema_ids::IdTally;
use formats::segment::{EpochStart, Frame};
use formats::transactions::{Marker, read_marker};
use serde::Serialize;

use super::finding::Findings;
use crate::archive::{FrameBatches, FrameRun, SegmentReader};
use crate::budget::Budget;
use crate::storage::Store;
use crate::{Error, Result};

/// Stored bytes read with one request where a segment is not read at once.
const RUN: u64 = 4 << 20;
/// No batch decompresses to more.
const MAX_RECORDS: usize = 1 << 30;

/// What was decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DeepTotals {
    /// Segments read to the end.
    pub segments: u64,
    /// Frames.
    pub frames: u64,
    /// Batches.
    pub batches: u64,
    /// Records, control records included.
    pub records: u64,
    /// Bytes of the batches as Kafka's log held them.
    pub raw_bytes: u64,
    /// Bytes of the records, decompressed.
    pub record_bytes: u64,
}

impl DeepTotals {
    pub(super) fn add(&mut self, other: &Self) {
        self.segments += other.segments;
        self.frames += other.frames;
        self.batches += other.batches;
        self.records += other.records;
        self.raw_bytes += other.raw_bytes;
        self.record_bytes += other.record_bytes;
    }
}

/// Checks one segment. Damage becomes findings; frames are independent, so one bad frame does not hide the next.
///
/// # Errors
/// A store that does not answer.
pub(super) async fn check_segment(
    store: &Arc<dyn Store>,
    budget: &Budget,
    partition: &TopicPartition,
    lineage: LineageId,
    entry: &SegmentEntry,
    findings: &Findings,
) -> Result<DeepTotals> {
    let key = entry.key(partition, lineage);
    // What stands under the key is what a copy of the store would get, even where a restore would read an earlier version.
    let entry = &SegmentEntry { version_id: None, ..entry.clone() };
    let found = |range: OffsetRange, error: Error| findings.records(&key, partition, lineage, range, error);
    let hashed = if entry.length <= (budget.limit() / 4) as u64 {
        SegmentReader::open_whole(store, budget, partition, lineage, entry).await.map(Some)
    } else {
        hash(store, budget, &key, entry).await.map(|()| None)
    };
    let mut damaged = false;
    let reader = match hashed {
        Ok(Some(reader)) => reader,
        other => {
            if let Err(error) = other {
                damaged = true;
                found(entry.range(), error)?;
            }
            // Frames have checksums of their own, which tell where the damage is.
            match SegmentReader::open(store, budget, partition, lineage, entry).await {
                Ok(reader) => reader,
                Err(_) if damaged => return Ok(DeepTotals::default()),
                Err(error) => {
                    found(entry.range(), error)?;
                    return Ok(DeepTotals::default());
                }
            }
        }
    };
    if let Err(error) = reader.identity().await
        && !damaged
    {
        damaged = true;
        found(entry.range(), error)?;
    }
    let mut checker = Box::new(Checker::new(entry));
    let frames = reader.index().frames.len();
    let mut at = 0;
    while at < frames {
        let some = reader.coalesce(at..frames, RUN);
        at = some.end;
        match reader.read_frames(some.clone()).await {
            Ok(run) => {
                let task = tokio::task::spawn_blocking(move || {
                    let bad = checker.run(&run);
                    (checker, bad)
                });
                let (back, bad) =
                    task.await.map_err(|e| Error::permanent("a verification task was lost").caused_by(e))?;
                checker = back;
                for (range, error) in bad {
                    damaged = true;
                    found(range, error)?;
                }
            }
            Err(error) => {
                damaged = true;
                found(span(&reader, some), error)?;
            }
        }
    }
    if !damaged {
        for why in checker.differences(&reader, entry) {
            found(entry.range(), Error::damaged(why))?;
        }
        checker.totals.segments = 1;
    }
    Ok(checker.totals)
}

fn span(reader: &SegmentReader, frames: Range<usize>) -> OffsetRange {
    let list = reader.index().frames.get(frames).unwrap_or_default();
    OffsetRange::new(list.first().map_or(0, |f| f.range.first), list.last().map_or(0, |f| f.range.end))
}

/// Hashes a segment that is too large to be held, piece by piece.
async fn hash(store: &Arc<dyn Store>, budget: &Budget, key: &str, entry: &SegmentEntry) -> Result<()> {
    let mut hasher = blake3::Hasher::new();
    let end = entry.position + entry.length;
    let mut at = entry.position;
    while at < end {
        let until = end.min(at + RUN);
        let _admitted = budget.admit((until - at) as usize).await;
        hasher.update(&store.get_range(key, at..until).await?);
        at = until;
    }
    if formats::hash::Hash::from(hasher.finalize()) == entry.blake3 {
        return Ok(());
    }
    Err(Error::damaged("its BLAKE3 is not the one that the backup recorded"))
}

/// Adds a segment up again.
struct Checker {
    decompressor: Decompressor,
    scratch: Vec<u8>,
    totals: DeepTotals,
    control: u32,
    bytes: CodecBytes,
    largest: u32,
    min_timestamp: Option<i64>,
    max_timestamp: Option<i64>,
    batch_digest: BatchDigest,
    content_digest: Option<ContentDigest>,
    last: Option<LastBatch>,
    markers: Vec<Marker>,
    epochs: Vec<EpochStart>,
    /// Where the entry says what records name, and all of them could be read.
    ids: Option<IdTally>,
}

impl Checker {
    fn new(entry: &SegmentEntry) -> Self {
        Self {
            decompressor: Decompressor::new(),
            scratch: Vec::new(),
            totals: DeepTotals::default(),
            control: 0,
            bytes: CodecBytes::default(),
            largest: 0,
            min_timestamp: None,
            max_timestamp: None,
            batch_digest: BatchDigest::EMPTY,
            content_digest: entry.content_digest.map(|_| ContentDigest::EMPTY),
            last: None,
            markers: Vec::new(),
            epochs: Vec::new(),
            ids: entry.schema_ids.as_ref().filter(|ids| ids.unread == 0).map(|_| IdTally::default()),
        }
    }

    /// Decodes a run of frames; what is wrong with which offsets.
    fn run(&mut self, run: &FrameRun) -> Vec<(OffsetRange, Error)> {
        let mut bad = Vec::new();
        for (n, frame) in run.frames().iter().enumerate() {
            let checked = run.decode(n, &mut self.decompressor).map_err(|e| (frame.range, e));
            if let Err(why) = checked.and_then(|raw| self.frame(frame, &raw)) {
                bad.push(why);
            }
        }
        bad
    }

    fn frame(&mut self, frame: &Frame, raw: &[u8]) -> Result<(), (OffsetRange, Error)> {
        let whole = OffsetRange::new(i64::MIN, i64::MAX);
        let (mut first, mut end, mut latest) = (None, 0, i64::MIN);
        for batch in FrameBatches::new(frame, raw, whole) {
            let batch = batch.map_err(|e| (frame.range, e))?.batch;
            let range = OffsetRange::new(batch.base_offset(), batch.next_offset());
            self.batch(&batch).map_err(|e| (range, e))?;
            first.get_or_insert(range.first);
            end = range.end;
            latest = latest.max(batch.max_timestamp());
        }
        if first != Some(frame.range.first) || end != frame.range.end || latest != frame.max_timestamp {
            let why = "its first offset, end or greatest timestamp is not what the index tells";
            return Err((frame.range, Error::damaged(format!("frame {}: {why}", frame.range))));
        }
        self.totals.frames += 1;
        self.totals.raw_bytes += raw.len() as u64;
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch<'_>) -> Result<()> {
        batch.verify_crc()?;
        let attributes = batch.attributes();
        let codec: Codec = attributes.codec()?;
        let mut size = batch.records_payload().len();
        {
            let records = self.decompressor.records(batch, MAX_RECORDS, &mut self.scratch)?;
            for record in records {
                let record = record
                    .map_err(|e| e.at(format_args!("record batch at offset {}", batch.base_offset())))?;
                let timestamp = batch.effective_timestamp(record.timestamp_delta);
                if !attributes.control() {
                    self.min_timestamp = Some(self.min_timestamp.map_or(timestamp, |t| t.min(timestamp)));
                    if let Some(digest) = &mut self.content_digest {
                        digest.push_record(timestamp, &record);
                    }
                    if let Some(ids) = &mut self.ids {
                        ids.record(&record);
                    }
                }
            }
        }
        if codec != Codec::None && size > 0 {
            size = self.scratch.len();
        }
        if attributes.control() {
            self.control += 1;
            self.markers.extend(read_marker(batch)?);
        } else if batch.record_count() > 0 {
            let timestamp = batch.max_timestamp();
            self.max_timestamp = Some(self.max_timestamp.map_or(timestamp, |t| t.max(timestamp)));
        }
        if self.epochs.last().is_none_or(|last| last.epoch != batch.leader_epoch()) {
            self.epochs.push(EpochStart { offset: batch.base_offset(), epoch: batch.leader_epoch() });
        }
        *self.bytes.of(codec) += batch.len() as u64;
        self.largest = self.largest.max(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        self.batch_digest.push(batch);
        self.last =
            Some(LastBatch { offset: batch.base_offset(), epoch: batch.leader_epoch(), crc: batch.crc() });
        self.totals.batches += 1;
        self.totals.records += u64::from(batch.record_count().unsigned_abs());
        self.totals.record_bytes += size as u64;
        Ok(())
    }

    /// What index and entry tell otherwise than the batches do.
    fn differences(&mut self, reader: &SegmentReader, entry: &SegmentEntry) -> Vec<String> {
        let index = reader.index();
        let ids = self.ids.take().map(IdTally::finish);
        let data = entry.batches > entry.control;
        let checks = [
            ("batches", self.totals.batches == u64::from(entry.batches)),
            ("control batches", self.control == entry.control),
            ("records", self.totals.records == entry.records),
            ("missing offsets", entry.range().len() == entry.records.saturating_add(entry.missing)),
            ("bytes by codec", self.bytes == entry.bytes),
            ("largest batch", self.largest == entry.largest_batch),
            ("batch digest", self.batch_digest == entry.batch_digest),
            ("content digest", self.content_digest == entry.content_digest),
            ("last batch", self.last == entry.last),
            (
                "least timestamp",
                !data || !entry.min_exact || self.min_timestamp.is_none_or(|t| t >= entry.min_timestamp),
            ),
            ("greatest timestamp", !data || self.max_timestamp.is_none_or(|t| t == entry.max_timestamp)),
            ("open transactions", index.transactions.open == entry.open),
            ("markers", self.markers == index.transactions.markers),
            ("leader epochs", self.epochs == index.epochs),
            (
                "schema ids",
                ids.is_none_or(|ids| entry.schema_ids.as_ref().is_none_or(|told| told.agrees(&ids))),
            ),
        ];
        let wrong = checks.into_iter().filter(|(_, fits)| !fits);
        wrong.map(|(what, _)| format!("its {what} are not what the commits or the index tell")).collect()
    }
}
