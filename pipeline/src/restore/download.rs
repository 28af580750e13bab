//! Download: a partition's part of the archive, read ahead within the byte budget and decoded on CPU workers.
//!
//! One chunk is read while the one before it is decoded and the one before that is sent; each is admitted to the budget
//! before it is asked for, in order, so a chunk never waits for one behind it.

use std::sync::Arc;

use formats::codec::Decompressor;
use formats::ids::{OffsetRange, TopicPartition};
use formats::segment::{Frame, FrameFlags};
use tokio::sync::{Semaphore, mpsc};

use super::progress::RestoreProgress;
use super::settings::TimeWindow;
use crate::archive::{FateReader, FrameBatches, FrameRun, PieceSegment, SegmentFates, SegmentReader};
use crate::budget::Budget;
use crate::storage::Store;
use crate::target::lane::{ALIGN, Lane, LaneResults, LaneSettings, Prepared};
use crate::target::runs::RunMap;
use crate::{Error, Result};

/// The largest chunk in stored bytes; a single larger frame is a chunk of its own.
const CHUNK: usize = 4 << 20;
const SMALLEST_CHUNK: usize = 256 << 10;

/// What all partitions share.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) store: Arc<dyn Store>,
    pub(super) budget: Budget,
    pub(super) progress: Arc<RestoreProgress>,
    workers: Arc<Semaphore>,
    chunk: u64,
}

impl Reading {
    pub(super) fn new(
        store: Arc<dyn Store>,
        budget: Budget,
        progress: Arc<RestoreProgress>,
        partitions_at_once: usize,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let share = budget.limit() / (4 * partitions_at_once.max(1));
        let chunk = share.clamp(SMALLEST_CHUNK, CHUNK) as u64;
        Self { store, budget, progress, workers: Arc::new(Semaphore::new(cores)), chunk }
    }
}

/// A partition's part of the archive.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) partition: TopicPartition,
    /// The segments of its history, each clipped to what is restored, in offset order.
    pub(super) segments: Arc<[PieceSegment]>,
}

/// Where decoding begins.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Beginning {
    segment: usize,
    /// Records before that segment.
    index: u64,
    /// Batches that begin below are only counted.
    offset: i64,
    runs: RunMap,
}

impl Source {
    /// Where to begin so that the records after the first `present` come out exactly as if decoding had begun at the
    /// first. Segments are stepped over only where their entry tells to the record what they hold.
    fn beginning(&self, present: u64, window: TimeWindow, start: i64) -> Beginning {
        let mut sums = vec![0_u64];
        for segment in self.segments.iter() {
            let (Some(sum), Some(records)) = (sums.last().copied(), records_of(segment, window)) else {
                break;
            };
            if sum + records > present {
                break;
            }
            sums.push(sum + records);
        }
        let mut number = sums.len() - 1;
        let first = self.segments.get(number).map_or(i64::MAX, |segment| segment.range.first);
        // Rebuilt batches are only known to end at the multiples of ALIGN.
        let offset = if number == 0 { i64::MIN } else { first - first.rem_euclid(ALIGN) };
        while number > 0 && self.segments[number - 1].range.end > offset {
            number -= 1;
        }
        let mut runs = RunMap::new(start);
        for (at, segment) in self.segments[..number].iter().enumerate() {
            if sums[at + 1] > sums[at] {
                runs.push(segment.range, sums[at]);
            }
        }
        Beginning { segment: number, index: sums[number], offset, runs }
    }
}

/// How many records of a segment are restored, where its entry tells.
fn records_of(segment: &PieceSegment, window: TimeWindow) -> Option<u64> {
    let entry = &segment.entry;
    if is_outside(window, entry.min_exact.then_some(entry.min_timestamp), entry.max_timestamp) {
        return Some(0);
    }
    let early = window.start.is_none_or(|start| entry.min_exact && entry.min_timestamp >= start);
    let inside = early && window.end.is_none_or(|end| entry.max_timestamp <= end);
    let plain = entry.control == 0 && entry.open.is_empty() && entry.missing == 0;
    (inside && plain && segment.range == entry.range()).then_some(entry.records)
}

/// Whether no record can lie in the window.
pub(super) fn is_outside(window: TimeWindow, least: Option<i64>, greatest: i64) -> bool {
    window.start.is_some_and(|start| greatest < start)
        || window.end.is_some_and(|end| least.is_some_and(|least| least > end))
}

/// Neighbouring frames and what became of their transactions.
struct Chunk {
    run: FrameRun,
    fates: Arc<SegmentFates>,
    wanted: OffsetRange,
}

/// Reads and decodes a partition and gives its batches to `out`, except those among the first `present` records. An
/// error goes to `out` too; then there are no results.
pub(super) async fn feed(
    reading: Reading,
    source: Source,
    settings: LaneSettings,
    start: i64,
    present: u64,
    out: &mpsc::Sender<Result<Prepared>>,
) -> Option<LaneResults> {
    match decode(&reading, &source, settings, start, present, out).await {
        Ok(results) => results,
        Err(error) => {
            // Where nobody waits for batches any more, nobody wants to know.
            let _ = out.send(Err(error.at(&source.partition))).await;
            None
        }
    }
}

async fn decode(
    reading: &Reading,
    source: &Source,
    settings: LaneSettings,
    start: i64,
    present: u64,
    out: &mpsc::Sender<Result<Prepared>>,
) -> Result<Option<LaneResults>> {
    // A digest covers everything, so nothing is stepped over.
    let begin = source.beginning(if settings.must_read() { 0 } else { present }, settings.window, start);
    RestoreProgress::add(&reading.progress.records_read, begin.index);
    let window = settings.window;
    let lane = Lane::new(settings, reading.budget.clone(), begin.index, present, begin.runs)?;
    let mut lane = lane.counting_below(begin.offset);
    let (to_decode, mut chunks) = mpsc::channel(1);
    let download = tokio::spawn(download(reading.clone(), source.clone(), begin.segment, window, to_decode));
    while let Some(chunk) = chunks.recv().await {
        let records: u64 = chunk.run.frames().iter().map(|frame| u64::from(frame.records)).sum();
        let bytes: u64 = chunk.run.frames().iter().map(|frame| u64::from(frame.raw)).sum();
        lane = on_worker(reading, move || lane.chunk(&chunk)).await?;
        RestoreProgress::add(&reading.progress.records_read, records);
        RestoreProgress::add(&reading.progress.bytes_read, bytes);
        for batch in lane.take() {
            if out.send(Ok(batch)).await.is_err() {
                return Ok(None);
            }
        }
    }
    download.await.unwrap_or_else(|e| Err(Error::permanent("the download stage was lost").caused_by(e)))?;
    lane = on_worker(reading, move || lane.ended()).await?;
    for batch in lane.take() {
        if out.send(Ok(batch)).await.is_err() {
            return Ok(None);
        }
    }
    Ok(Some(lane.results()))
}

/// Runs CPU work on a thread that may block, as many at once as there are cores.
async fn on_worker<T: Send + 'static>(
    reading: &Reading,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let permit = Arc::clone(&reading.workers).acquire_owned().await;
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    done.await.unwrap_or_else(|e| Err(Error::permanent("the decode stage panicked").caused_by(e)))
}

impl Lane {
    /// Gives out what waits for neighbours.
    fn ended(mut self) -> Result<Self> {
        self.finish()?;
        Ok(self)
    }

    /// Takes the batches of a chunk.
    fn chunk(mut self, chunk: &Chunk) -> Result<Self> {
        let mut decompressor = Decompressor::new();
        chunk.run.check()?;
        for (number, frame) in chunk.run.frames().iter().enumerate() {
            let raw = chunk.run.decode(number, &mut decompressor)?;
            for clipped in FrameBatches::new(frame, &raw, chunk.wanted) {
                let clipped = clipped?;
                self.push(&clipped, chunk.fates.fate(&clipped.batch), &raw)?;
            }
        }
        Ok(self)
    }
}

async fn download(
    reading: Reading,
    source: Source,
    first: usize,
    window: TimeWindow,
    to_decode: mpsc::Sender<Chunk>,
) -> Result<()> {
    let (store, budget) = (&reading.store, &reading.budget);
    let mut fates = FateReader::new(
        Arc::clone(store),
        budget.clone(),
        source.partition.clone(),
        Arc::clone(&source.segments),
    );
    for (number, segment) in source.segments.iter().enumerate().skip(first) {
        let entry = &segment.entry;
        if is_outside(window, entry.min_exact.then_some(entry.min_timestamp), entry.max_timestamp) {
            RestoreProgress::add(&reading.progress.records_read, entry.records);
            continue;
        }
        let reader = SegmentReader::open(store, budget, &source.partition, segment.lineage, entry).await?;
        let of_segment = Arc::new(fates.segment(number, &reader).await?);
        let mut rest = reader.frames_of(segment.range);
        while !rest.is_empty() {
            let frame = &reader.index().frames[rest.start];
            if is_frame_outside(window, frame) {
                RestoreProgress::add(&reading.progress.records_read, u64::from(frame.records));
                rest.start += 1;
                continue;
            }
            let mut run = reader.coalesce(rest.clone(), reading.chunk);
            let frames = &reader.index().frames[run.clone()];
            let inside = frames.iter().take_while(|frame| !is_frame_outside(window, frame)).count();
            run.end = run.start + inside.max(1);
            rest.start = run.end;
            let run = reader.read_frames(run).await?;
            let chunk = Chunk { run, fates: Arc::clone(&of_segment), wanted: segment.range };
            if to_decode.send(chunk).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn is_frame_outside(window: TimeWindow, frame: &Frame) -> bool {
    let least = frame.flags.has(FrameFlags::MIN_EXACT).then_some(frame.min_timestamp);
    is_outside(window, least, frame.max_timestamp)
}
