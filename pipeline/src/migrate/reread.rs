//! Both sides of a partition read once more: how many records lie before an offset, what they come to, where one of them lies.

use std::collections::HashMap;
use std::sync::Arc;

use formats::digest::ContentDigest;
use formats::ids::{OffsetRange, Topic};
use formats::record_batch::RecordBatch;
use formats::transactions::{self, Fate, TransactionTracker};

use super::schemas::{Current, Schemas};
use crate::Result;
use crate::kafka::AbortedTransaction;
use crate::ranges::{CAP, Scratch, Sink};
use crate::restore::schemas::{Remapper, TopicRemap};

/// An offset of the source that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) offset: i64,
    /// How many records lie before it.
    pub(super) before: u64,
    /// The first record at or behind it, where that was asked for and there is one.
    pub(super) first: Option<ContentDigest>,
}

/// The source's side, as a consumer sees it that reads what is committed.
#[derive(Debug)]
pub(super) struct SourceSide {
    tracker: TransactionTracker,
    records: u64,
    /// In order; those before `passed` are done.
    marks: Vec<Mark>,
    passed: usize,
    /// Whether the first record behind each mark is wanted.
    named: bool,
    ids: Option<Ids>,
    /// For batches with the ids of the target; for as long as an answer lasts.
    more: Scratch,
    digests: Option<Digests>,
}

/// What the records come to behind the first `skip` of them.
#[derive(Debug)]
struct Digests {
    skip: u64,
    /// With the ids of the source, and with those of the target.
    digests: [ContentDigest; 2],
}

/// What ids become.
#[derive(Debug)]
pub(super) struct Ids {
    schemas: Arc<Schemas>,
    current: Current,
    topic: Topic,
    /// None: nothing is to be changed, as far as is known.
    rules: Option<Arc<TopicRemap>>,
    /// Whether the topic's records are still looked at to find out what it is taken for.
    is_open: bool,
    /// For as long as an answer lasts.
    remapper: Option<Remapper>,
}

impl Ids {
    /// Of a topic; `rules` where it is known what it is taken for, otherwise its records tell that once more.
    pub(super) fn new(
        schemas: Arc<Schemas>,
        current: Current,
        topic: Topic,
        rules: Option<Option<Arc<TopicRemap>>>,
    ) -> Self {
        let is_open = rules.is_none();
        Self { schemas, current, topic, rules: rules.flatten(), is_open, remapper: None }
    }

    /// The batch with the ids of the target; empty where none of them changes.
    fn remapped(&mut self, batch: &RecordBatch<'_>) -> Result<Vec<u8>> {
        if self.is_open {
            let rules = self.schemas.topic(&self.current, &self.topic, Some(i64::MAX), batch.bytes())?;
            self.rules = rules.and_then(|rules| rules.settled);
        }
        let Some(rules) = &self.rules else { return Ok(Vec::new()) };
        let remapper = match &mut self.remapper {
            Some(remapper) => {
                remapper.follow(Arc::clone(rules));
                remapper
            }
            none => none.insert(Remapper::new(Arc::clone(rules), CAP)?),
        };
        Ok(remapper.remap(batch)?.bytes)
    }
}

impl SourceSide {
    /// Counts records before each of these offsets, in order. `named`: and tells the record that comes then.
    pub(super) fn counting(marks: impl IntoIterator<Item = i64>, named: bool, ids: Option<Ids>) -> Self {
        let mark = |offset| Mark { offset, before: 0, first: None };
        Self {
            tracker: TransactionTracker::default(),
            records: 0,
            marks: marks.into_iter().map(mark).collect(),
            passed: 0,
            named,
            ids,
            more: Scratch::default(),
            digests: None,
        }
    }

    /// Digests what comes behind the first `skip` records.
    pub(super) fn digesting(skip: u64, ids: Option<Ids>) -> Self {
        let digests = Some(Digests { skip, digests: [ContentDigest::EMPTY; 2] });
        Self { digests, ..Self::counting([], false, ids) }
    }

    /// The marks, now that everything was read.
    pub(super) fn marks(mut self) -> Vec<Mark> {
        for mark in &mut self.marks[self.passed..] {
            mark.before = self.records;
        }
        self.marks
    }

    /// What its records come to, with the ids of the source, and with those of the target.
    pub(super) fn digests(&self) -> [ContentDigest; 2] {
        let [plain, landed] = self.digests.as_ref().map(|digests| digests.digests).unwrap_or_default();
        [plain, if self.ids.is_some() { landed } else { plain }]
    }

    /// Settles marks that need no record for it, before one at `offset` comes.
    fn pass(&mut self, offset: i64) {
        while !self.named
            && let Some(mark) = self.marks.get_mut(self.passed).filter(|mark| mark.offset <= offset)
        {
            mark.before = self.records;
            self.passed += 1;
        }
    }

    fn is_decoded(&self, batch: &RecordBatch<'_>, keep: OffsetRange) -> bool {
        let marked = self.marks.get(self.passed).is_some_and(|mark| mark.offset < batch.next_offset());
        marked || self.digests.is_some() || keep != OffsetRange::new(batch.base_offset(), batch.next_offset())
    }

    /// Takes the records of a batch; `other` are the same with the ids of the target.
    fn decoded(
        &mut self,
        batch: &RecordBatch<'_>,
        other: Option<&RecordBatch<'_>>,
        keep: OffsetRange,
        [scratch, more]: [&mut Scratch; 2],
    ) -> Result<()> {
        let mut others = other.map(|other| more.records(other)).transpose()?;
        for record in scratch.records(batch)? {
            let record = record?;
            let other = others.as_mut().and_then(Iterator::next).transpose()?;
            let offset = batch.base_offset() + i64::from(record.offset_delta);
            if !keep.contains(offset) {
                continue;
            }
            let timestamp = batch.effective_timestamp(record.timestamp_delta);
            let landed = other.as_ref().unwrap_or(&record);
            while let Some(mark) = self.marks.get_mut(self.passed).filter(|mark| mark.offset <= offset) {
                mark.before = self.records;
                if self.named {
                    let mut first = ContentDigest::EMPTY;
                    first.push_record(timestamp, landed);
                    mark.first = Some(first);
                }
                self.passed += 1;
            }
            if let Some(Digests { digests, .. }) =
                self.digests.as_mut().filter(|digests| self.records >= digests.skip)
            {
                digests[0].push_record(timestamp, &record);
                if self.ids.is_some() {
                    digests[1].push_record(timestamp, landed);
                }
            }
            self.records += 1;
        }
        Ok(())
    }
}

impl Sink for SourceSide {
    fn list_aborted(&mut self, aborted: &[AbortedTransaction]) {
        // What segments would say of transactions is of no use here.
        drop(self.tracker.end_segment());
        self.tracker.list_aborted(aborted.iter().map(|entry| transactions::AbortedTransaction {
            producer_id: entry.producer_id,
            first_offset: entry.first_offset,
        }));
    }

    fn take(&mut self, batch: &RecordBatch<'_>, keep: OffsetRange, scratch: &mut Scratch) -> Result<()> {
        if !matches!(self.tracker.observe(batch)?, Fate::Plain | Fate::Committed) {
            return Ok(());
        }
        self.pass(keep.first);
        if !self.is_decoded(batch, keep) {
            self.records += u64::from(batch.record_count().unsigned_abs());
            return Ok(());
        }
        let other = match &mut self.ids {
            Some(ids) => ids.remapped(batch)?,
            None => Vec::new(),
        };
        let other = if other.is_empty() { None } else { Some(RecordBatch::parse(&other)?) };
        let mut more = std::mem::take(&mut self.more);
        let decoded = self.decoded(batch, other.as_ref(), keep, [scratch, &mut more]);
        self.more = more;
        decoded
    }

    fn rest(&mut self) {
        self.more = Scratch::default();
        if let Some(ids) = &mut self.ids {
            ids.remapper = None;
        }
    }

    fn records(&self) -> u64 {
        self.records
    }
}

/// The target's side, searched for records.
#[derive(Debug)]
pub(super) struct Search {
    wanted: HashMap<ContentDigest, Option<i64>>,
    records: u64,
}

impl Search {
    /// For these records.
    pub(super) fn of(wanted: impl IntoIterator<Item = ContentDigest>) -> Self {
        Self { wanted: wanted.into_iter().map(|digest| (digest, None)).collect(), records: 0 }
    }

    /// Where the first one like this lies.
    pub(super) fn found(&self, digest: ContentDigest) -> Option<i64> {
        self.wanted.get(&digest).copied().flatten()
    }
}

impl Sink for Search {
    fn take(&mut self, batch: &RecordBatch<'_>, keep: OffsetRange, scratch: &mut Scratch) -> Result<()> {
        for record in scratch.records(batch)? {
            let record = record?;
            let offset = batch.base_offset() + i64::from(record.offset_delta);
            if !keep.contains(offset) {
                continue;
            }
            self.records += 1;
            let mut digest = ContentDigest::EMPTY;
            digest.push_record(batch.effective_timestamp(record.timestamp_delta), &record);
            if let Some(found @ None) = self.wanted.get_mut(&digest) {
                *found = Some(offset);
            }
        }
        Ok(())
    }

    fn records(&self) -> u64 {
        self.records
    }
}
