//! Reads records back: one partition's history, by offsets and times, record by record or as Kafka's own log files.
//!
//! `records` gives what a consumer would see, with its isolation; `as_log` writes the batches exactly as Kafka's log held
//! them, so that `kafka-dump-log` reads the files. Order is that of offsets. Memory is a run of frames and one batch.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use formats::codec::Decompressor;
use formats::control::{ControlKind, ControlRecord};
use formats::ids::{LineageId, OffsetRange, TopicPartition};
use formats::record::Headers;
use formats::segment::Frame;
use serde::Serialize;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncWriteExt, BufWriter};

use crate::archive::{
    Archive, BatchFate, ClippedBatch, FateReader, FrameBatches, PieceSegment, SegmentFates, SegmentReader,
    clip,
};
use crate::budget::Budget;
use crate::kafka::Isolation;
use crate::{Error, Result};

/// Stored bytes read with one request.
const RUN: u64 = 4 << 20;
/// No batch decompresses to more.
const MAX_RECORDS: usize = 1 << 30;
/// A log file ends before this size: `kafka-dump-log` and brokers index files with 32-bit positions.
const LOG_FILE: u64 = 1 << 30;

/// Which records.
#[derive(Debug, Clone)]
pub struct DumpSettings {
    /// Whose.
    pub partition: TopicPartition,
    /// Which history; the current one where none is named.
    pub lineage: Option<LineageId>,
    /// Only offsets in here.
    pub offsets: OffsetRange,
    /// Only timestamps in here, milliseconds since 1970 UTC, both ends included.
    pub times: Option<(i64, i64)>,
    /// Whether records of aborted and undecided transactions are shown.
    pub isolation: Isolation,
    /// Whether control records are shown.
    pub control: bool,
}

/// A record as it is shown.
#[derive(Debug, Clone, Copy)]
pub struct DumpedRecord<'a> {
    /// Its offset.
    pub offset: i64,
    /// The timestamp that a consumer sees, ms.
    pub timestamp: i64,
    /// Whether the broker stamped it.
    pub log_append_time: bool,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: Headers<'a>,
    /// What became of its transaction.
    pub fate: BatchFate,
    /// What kind of control record it is.
    pub control: Option<ControlKind>,
    /// The producer's id; -1 where none.
    pub producer_id: i64,
}

/// Gives records to `each`, in offset order, until it says false; how many there were.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`] for a partition or lineage that the backup does not have; damage; what `each` returns.
pub async fn records(
    archive: &Archive,
    settings: &DumpSettings,
    budget: &Budget,
    mut each: impl FnMut(&DumpedRecord<'_>) -> Result<bool>,
) -> Result<u64> {
    let walk = Walk::new(archive, &settings.partition, settings.lineage, budget).await?;
    let mut fates = FateReader::new(
        Arc::clone(archive.store()),
        budget.clone(),
        settings.partition.clone(),
        Arc::clone(&walk.segments),
    );
    let mut dumper = Dumper { settings, decompressor: Decompressor::new(), scratch: Vec::new(), count: 0 };
    for (number, segment) in walk.segments.iter().enumerate() {
        let wanted = clip(segment.range, settings.offsets);
        if wanted.is_empty() || !dumper.may_hold(segment.entry.max_timestamp) {
            continue;
        }
        let reader = walk.open(segment).await?;
        let rules = fates.segment(number, &reader).await?;
        let mut frames = reader.frames_of(wanted);
        while !frames.is_empty() {
            let run = reader.coalesce(frames.clone(), RUN);
            frames.start = run.end;
            let run = reader.read_frames(run).await?;
            run.check()?;
            for (n, frame) in run.frames().iter().enumerate() {
                if !dumper.may_hold(frame.max_timestamp) {
                    continue;
                }
                let raw = run.decode(n, &mut dumper.decompressor)?;
                let go_on = dumper.frame(frame, &raw, wanted, &rules, &mut each);
                if !go_on.map_err(|e| e.at(reader.place()))? {
                    return Ok(dumper.count);
                }
            }
        }
    }
    Ok(dumper.count)
}

/// One partition's history.
struct Walk<'a> {
    archive: &'a Archive,
    partition: &'a TopicPartition,
    budget: &'a Budget,
    segments: Arc<[PieceSegment]>,
}

impl<'a> Walk<'a> {
    async fn new(
        archive: &'a Archive,
        partition: &'a TopicPartition,
        lineage: Option<LineageId>,
        budget: &'a Budget,
    ) -> Result<Self> {
        let state = archive.state().partition(&partition.topic, partition.partition);
        let current = state.and_then(|state| state.current()).map(|lineage| lineage.id);
        // Of a partition that is not there, any lineage gives the right error.
        let lineage = lineage.or(current).unwrap_or(LineageId(0));
        let segments = archive.segments(partition, lineage).await?.into();
        Ok(Self { archive, partition, budget, segments })
    }

    async fn open(&self, segment: &PieceSegment) -> Result<SegmentReader> {
        let store = self.archive.store();
        SegmentReader::open(store, self.budget, self.partition, segment.lineage, &segment.entry).await
    }
}

struct Dumper<'a> {
    settings: &'a DumpSettings,
    decompressor: Decompressor,
    scratch: Vec<u8>,
    count: u64,
}

impl Dumper<'_> {
    /// The least timestamp is not known exactly, the greatest is: only that can rule something out.
    fn may_hold(&self, max_timestamp: i64) -> bool {
        self.settings.times.is_none_or(|(from, _)| max_timestamp >= from)
    }

    fn frame(
        &mut self,
        frame: &Frame,
        raw: &[u8],
        wanted: OffsetRange,
        rules: &SegmentFates,
        each: &mut impl FnMut(&DumpedRecord<'_>) -> Result<bool>,
    ) -> Result<bool> {
        for batch in FrameBatches::new(frame, raw, wanted) {
            let batch = batch?;
            let fate = rules.fate(&batch.batch);
            let shown = match fate {
                BatchFate::Control => self.settings.control,
                fate => fate.is_delivered() || self.settings.isolation == Isolation::ReadUncommitted,
            };
            if shown && !self.batch(&batch, fate, each)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn batch(
        &mut self,
        clipped: &ClippedBatch<'_>,
        fate: BatchFate,
        each: &mut impl FnMut(&DumpedRecord<'_>) -> Result<bool>,
    ) -> Result<bool> {
        let batch = &clipped.batch;
        batch.verify_crc()?;
        let attributes = batch.attributes();
        let control = if attributes.control() { ControlRecord::parse(batch)?.map(|c| c.kind) } else { None };
        for record in self.decompressor.records(batch, MAX_RECORDS, &mut self.scratch)? {
            let record =
                record.map_err(|e| e.at(format_args!("record batch at offset {}", batch.base_offset())))?;
            let offset = batch.base_offset() + i64::from(record.offset_delta);
            let timestamp = batch.effective_timestamp(record.timestamp_delta);
            let in_time = self.settings.times.is_none_or(|(from, to)| from <= timestamp && timestamp <= to);
            if !clipped.keep.contains(offset) || !in_time {
                continue;
            }
            self.count += 1;
            let shown = DumpedRecord {
                offset,
                timestamp,
                log_append_time: attributes.log_append_time(),
                key: record.key,
                value: record.value,
                headers: record.headers,
                fate,
                control,
                producer_id: batch.producer_id(),
            };
            if !each(&shown)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A log file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogFile {
    /// Where.
    pub path: PathBuf,
    /// The first batch's base offset.
    pub base_offset: i64,
    /// The offset after the last batch.
    pub end_offset: i64,
    /// Batches.
    pub batches: u64,
    /// Bytes.
    pub bytes: u64,
    /// Batches that reach over the range, or over the offset where the history left its parent: they are written whole.
    pub cut_batches: u64,
}

/// Writes a history's batches as `<dir>/<topic>-<partition>/<base offset>.log`, files of at most 1 GiB. Batches that
/// overlap the range are written whole.
///
/// # Errors
/// As [`records`]; a file that exists already, or a folder that cannot be written to, as [`crate::ErrorKind::Input`].
pub async fn as_log(
    archive: &Archive,
    partition: &TopicPartition,
    lineage: Option<LineageId>,
    offsets: OffsetRange,
    dir: &Path,
    budget: &Budget,
) -> Result<Vec<LogFile>> {
    let walk = Walk::new(archive, partition, lineage, budget).await?;
    let folder = dir.join(partition.to_string());
    tokio::fs::create_dir_all(&folder).await.map_err(|e| unwritable(&folder, e))?;
    let mut writer = LogWriter { folder, open: None, done: Vec::new() };
    let mut decompressor = Decompressor::new();
    for segment in walk.segments.iter() {
        let wanted = clip(segment.range, offsets);
        if wanted.is_empty() {
            continue;
        }
        let reader = walk.open(segment).await?;
        let mut frames: Range<usize> = reader.frames_of(wanted);
        while !frames.is_empty() {
            let run = reader.coalesce(frames.clone(), RUN);
            frames.start = run.end;
            let run = reader.read_frames(run).await?;
            run.check()?;
            for (n, frame) in run.frames().iter().enumerate() {
                let raw = run.decode(n, &mut decompressor)?;
                for batch in FrameBatches::new(frame, &raw, wanted) {
                    writer.write(&batch.map_err(|e| e.at(reader.place()))?).await?;
                }
            }
        }
    }
    writer.finish().await
}

struct LogWriter {
    folder: PathBuf,
    open: Option<(BufWriter<File>, LogFile)>,
    done: Vec<LogFile>,
}

impl LogWriter {
    async fn write(&mut self, batch: &ClippedBatch<'_>) -> Result<()> {
        let bytes = batch.batch.bytes();
        let full = |(_, log): &(BufWriter<File>, LogFile)| log.bytes + bytes.len() as u64 > LOG_FILE;
        if self.open.as_ref().is_none_or(full) {
            self.close().await?;
            self.open = Some(self.begin(batch.batch.base_offset()).await?);
        }
        let Some((file, log)) = &mut self.open else { return Ok(()) };
        file.write_all(bytes).await.map_err(|e| unwritable(&log.path, e))?;
        log.end_offset = batch.batch.next_offset();
        log.batches += 1;
        log.bytes += bytes.len() as u64;
        log.cut_batches += u64::from(!batch.is_whole());
        Ok(())
    }

    async fn begin(&self, base_offset: i64) -> Result<(BufWriter<File>, LogFile)> {
        let path = self.folder.join(format!("{base_offset:020}.log"));
        let file = OpenOptions::new().write(true).create_new(true).open(&path).await;
        let file = file.map_err(|e| unwritable(&path, e))?;
        let log =
            LogFile { path, base_offset, end_offset: base_offset, batches: 0, bytes: 0, cut_batches: 0 };
        Ok((BufWriter::with_capacity(1 << 20, file), log))
    }

    async fn close(&mut self) -> Result<()> {
        if let Some((mut file, log)) = self.open.take() {
            file.flush().await.map_err(|e| unwritable(&log.path, e))?;
            self.done.push(log);
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<LogFile>> {
        self.close().await?;
        Ok(self.done)
    }
}

fn unwritable(path: &Path, why: std::io::Error) -> Error {
    Error::input(format!("{} cannot be written", path.display())).caused_by(why).hint("name an empty folder")
}

#[cfg(test)]
mod tests;
