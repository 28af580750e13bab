//! The log of one partition as a broker keeps it: batches in segments, leader epochs, transactions, and what a read of it
//! gives. Offsets are exact as Kafka's are; nothing here knows of requests.

use super::batch::Batch;
use super::epochs::Epochs;
use super::transactions::{Aborted, Transactions};
use bytes::Bytes;

/// How many batches a segment takes before the next begins.
const SEGMENT_BATCHES: usize = 16;

/// The answer to an offset that the log does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange;

/// A batch in its place.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its first offset, whether or not a record is there.
    pub base: i64,
    /// The leader epoch that it was written in.
    pub epoch: i32,
    /// Its fields.
    pub batch: Batch,
    /// Its bytes.
    pub bytes: Bytes,
}

impl Stored {
    /// The offset after its last one.
    pub fn next(&self) -> i64 {
        self.base + i64::from(self.batch.last_delta) + 1
    }
}

/// What one read gives.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// Batches, the first of which holds the offset or lies behind it, the last possibly cut.
    pub bytes: Vec<u8>,
    /// The offset after the last batch of which anything is given.
    pub end: i64,
}

/// A partition's log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    start: i64,
    end: i64,
    /// What is replicated, where that is not all.
    high_watermark: Option<i64>,
    batches: Vec<Stored>,
    /// First offsets of segments.
    segments: Vec<i64>,
    epochs: Epochs,
    transactions: Transactions,
}

impl Log {
    /// The first offset that is left.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The offset after the last one.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// The end of what is replicated.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.map_or(self.end, |mark| mark.min(self.end))
    }

    /// The end of what is decided by transactions.
    pub fn last_stable_offset(&self) -> i64 {
        self.transactions.first_open().map_or(i64::MAX, |first| first).min(self.high_watermark())
    }

    /// The batches that are left, in order.
    pub fn batches(&self) -> &[Stored] {
        &self.batches
    }

    /// The leader epochs that it knows.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Holds the high watermark back at an offset, or no longer.
    pub fn hold_high_watermark(&mut self, at: Option<i64>) {
        self.high_watermark = at;
    }

    /// A leader takes over: its epoch begins at the end.
    pub fn begin_epoch(&mut self, epoch: i32) {
        self.epochs.assign(epoch, self.end);
    }

    /// Appends a batch and tells its first offset.
    pub fn append(&mut self, epoch: i32, batch: Batch) -> i64 {
        let base = self.end;
        self.epochs.assign(epoch, base);
        if self.batches.len().is_multiple_of(SEGMENT_BATCHES) {
            self.roll();
        }
        let stored = Stored { base, epoch, bytes: batch.encode(base, epoch), batch };
        self.transactions.append(&stored);
        self.end = stored.next();
        self.batches.push(stored);
        base
    }

    /// Begins a segment at the end.
    pub fn roll(&mut self) {
        if self.segments.last() != Some(&self.end) {
            self.segments.push(self.end);
        }
    }

    /// Skips offsets at the end, as where a log begins late or compaction took what was there.
    pub fn skip_to(&mut self, end: i64) {
        assert!(end >= self.end, "a log does not shrink by skipping");
        if self.batches.is_empty() {
            self.start = end;
        }
        self.end = end;
        self.roll();
    }

    /// Cuts the log as a follower that is behind does when it becomes the leader.
    pub fn truncate(&mut self, end: i64) {
        if end >= self.end {
            return;
        }
        self.batches.retain(|stored| stored.next() <= end);
        self.end = end.max(self.start);
        self.segments.retain(|base| *base < end);
        self.epochs.truncate_from(end);
        self.high_watermark = None;
        self.transactions.truncate(end, &self.batches);
    }

    /// Takes what lies before an offset, as retention and DeleteRecords do. A batch that the offset cuts is kept whole.
    pub fn delete_before(&mut self, start: i64) {
        self.start = start.clamp(self.start, self.high_watermark());
        let start = self.start;
        self.batches.retain(|stored| stored.next() > start);
        self.epochs.truncate_before(start);
    }

    /// Puts other batches in the place of those before an offset, which are the same ones with fewer records or fewer of
    /// them, as the cleaner does. Segments stay as they were cut.
    pub fn replace(&mut self, below: i64, rewrite: impl Fn(&Stored) -> Option<Batch>) {
        let batches = std::mem::take(&mut self.batches);
        for stored in batches {
            if stored.base >= below {
                self.batches.push(stored);
                continue;
            }
            if let Some(batch) = rewrite(&stored) {
                assert_eq!(batch.last_delta, stored.batch.last_delta, "the cleaner keeps a batch's offsets");
                let bytes = batch.encode(stored.base, stored.epoch);
                self.batches.push(Stored { batch, bytes, ..stored });
            }
        }
    }

    /// Puts other bytes in the place of a batch's, which its fields know nothing of.
    pub fn spoil(&mut self, base: i64, spoil: impl FnOnce(&mut Vec<u8>)) {
        for stored in &mut self.batches {
            if stored.base == base {
                let mut bytes = stored.bytes.to_vec();
                spoil(&mut bytes);
                stored.bytes = bytes.into();
                return;
            }
        }
        panic!("no batch begins at offset {base}");
    }

    /// Reads from an offset up to `upper`, at most `max_bytes` unless `at_least_one` batch must be given.
    ///
    /// # Errors
    /// The offset lies outside the log.
    pub fn read(
        &self,
        offset: i64,
        upper: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Read, OutOfRange> {
        if offset < self.start || offset > self.end {
            return Err(OutOfRange);
        }
        let nothing = Read { bytes: Vec::new(), end: offset };
        let first = self.batches.partition_point(|stored| stored.next() <= offset);
        let Some(stored) = self.batches.get(first).filter(|stored| offset < upper && stored.base < upper)
        else {
            return Ok(nothing);
        };
        let limit = if at_least_one { max_bytes.max(stored.bytes.len()) } else { max_bytes };
        if limit < stored.bytes.len() {
            // From version 3 on a batch that does not fit is not given cut where it is the first.
            return Ok(nothing);
        }
        // A read never leaves a segment.
        let later = self.segments.partition_point(|base| *base <= stored.base);
        let border = self.segments.get(later).copied().unwrap_or(i64::MAX).min(upper);
        let mut read = nothing;
        for stored in self.batches[first..].iter().take_while(|stored| stored.base < border) {
            let room = limit - read.bytes.len();
            if room == 0 {
                break;
            }
            read.bytes.extend(&stored.bytes[..stored.bytes.len().min(room)]);
            read.end = stored.next();
        }
        Ok(read)
    }

    /// Aborted transactions that a fetch of these offsets lists.
    pub fn aborted(&self, from: i64, end: i64) -> impl Iterator<Item = &Aborted> {
        self.transactions.aborted(from, end)
    }

    /// The first record at or after a time and below `upper`: its offset, its time and its epoch.
    pub fn at_time(&self, time: i64, upper: i64) -> Option<(i64, i64, i32)> {
        let mut found = self.records(upper).filter(|(_, timestamp, _)| *timestamp >= time);
        found.find(|(offset, _, _)| *offset >= self.start)
    }

    /// The first record with the largest time.
    pub fn at_max_time(&self, upper: i64) -> Option<(i64, i64, i32)> {
        let mut found: Option<(i64, i64, i32)> = None;
        for record in self.records(upper).filter(|(_, timestamp, _)| *timestamp >= 0) {
            if found.is_none_or(|found| record.1 > found.1) {
                found = Some(record);
            }
        }
        found
    }

    fn records(&self, upper: i64) -> impl Iterator<Item = (i64, i64, i32)> {
        let data = self.batches.iter().filter(move |stored| stored.base < upper);
        data.flat_map(|stored| {
            stored
                .batch
                .records
                .iter()
                .map(|(delta, record)| (stored.base + i64::from(*delta), record.timestamp, stored.epoch))
        })
    }
}
