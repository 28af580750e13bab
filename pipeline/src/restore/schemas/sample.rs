//! Looks at some records of a topic, at both ends of some of its partitions, for what tells whether they name schemas.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use formats::codec::Decompressor;
use formats::ids::{LineageId, OffsetRange, Topic, TopicPartition};
use formats::record_batch::Batches;
use formats::wire::{Prefix, Side};
use futures::stream::{FuturesOrdered, StreamExt};

use super::framing::TopicFraming;
use super::ids::Ids;
use super::remap::Readers;
use crate::archive::{PieceSegment, SegmentReader};
use crate::budget::Budget;
use crate::restore::download::Source;
use crate::storage::Store;
use crate::{Error, ErrorKind, Result};

/// Partitions of a topic that are looked at.
const PARTITIONS: usize = 4;
/// Partitions that are looked at at once.
const AT_ONCE: usize = 8;
/// Records of one frame that are looked at.
const RECORDS: u32 = 200;
/// No batch decompresses to more.
const CAP: usize = 512 << 20;

/// What a partition showed, by the snapshot of schemas that it was held against and the records that were at its ends; shared by all
/// looks of one job, so that whoever shows a plan and then follows it looks once.
#[derive(Debug, Clone, Default)]
pub struct Samples(Arc<Mutex<HashMap<Ends, Looked>>>);

/// Where samples of a partition are taken.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Ends {
    snapshot: String,
    partition: TopicPartition,
    first: (LineageId, OffsetRange),
    last: (LineageId, OffsetRange),
}

/// What was counted at both ends of a partition, and what is damaged, of which nothing is counted: the restore itself finds it again.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Looked {
    pub(super) counted: TopicFraming,
    pub(super) damaged: Vec<String>,
}

/// What samples are taken with.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    pub(super) store: Arc<dyn Store>,
    pub(super) budget: Budget,
    pub(super) counter: Counter,
    /// The snapshot that ids are held against.
    pub(super) snapshot: String,
    pub(super) samples: Samples,
}

impl Sampler {
    /// Looks at some partitions of each topic, a few at a time.
    ///
    /// # Errors
    /// Whatever the store says.
    pub(super) async fn look<'a>(
        &self,
        topics: &BTreeMap<&'a Topic, Vec<&'a Source>>,
    ) -> Result<BTreeMap<&'a Topic, Looked>> {
        let mut wanted = Vec::new();
        for (topic, sources) in topics {
            let filled: Vec<&Source> =
                sources.iter().copied().filter(|source| !source.segments.is_empty()).collect();
            let step = filled.len().div_ceil(PARTITIONS).max(1);
            wanted.extend(filled.into_iter().step_by(step).map(|source| (*topic, source)));
        }
        let mut wanted = wanted.into_iter();
        let mut found: BTreeMap<&Topic, Looked> = BTreeMap::new();
        let mut begun = FuturesOrdered::new();
        loop {
            while begun.len() < AT_ONCE
                && let Some((topic, source)) = wanted.next()
            {
                begun.push_back(async move { (topic, self.partition(source).await) });
            }
            let Some((topic, looked)) = begun.next().await else { return Ok(found) };
            let (Looked { counted, damaged }, topic) = (looked?, found.entry(topic).or_default());
            topic.counted.add(&counted);
            topic.damaged.extend(damaged);
        }
    }

    /// Counts what is found at both ends of a partition, where that was not done before.
    async fn partition(&self, source: &Source) -> Result<Looked> {
        let (Some(first), Some(last)) = (source.segments.first(), source.segments.last()) else {
            return Ok(Looked::default());
        };
        let ends = Ends {
            snapshot: self.snapshot.clone(),
            partition: source.partition.clone(),
            first: (first.lineage, first.range),
            last: (last.lineage, last.range),
        };
        let known = || self.samples.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(looked) = known().get(&ends) {
            return Ok(looked.clone());
        }
        let (mut looked, only) = (Looked::default(), source.segments.len() == 1);
        for (segment, at_first) in [(first, true), (last, false)] {
            match self.segment(source, segment, at_first, &mut looked.counted).await {
                Ok(frames) if only && frames < 2 => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Damaged => looked.damaged.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        known().insert(ends, looked.clone());
        Ok(looked)
    }

    /// Counts what is found in the first or last frame of a segment; gives how many it has.
    async fn segment(
        &self,
        source: &Source,
        segment: &PieceSegment,
        at_first: bool,
        framing: &mut TopicFraming,
    ) -> Result<usize> {
        let (store, place) = (&self.store, &source.partition);
        let reader = SegmentReader::open(store, &self.budget, place, segment.lineage, &segment.entry).await?;
        let mut frames = reader.frames_of(segment.range);
        let all = frames.len();
        if at_first {
            frames.end = frames.end.min(frames.start + 1);
        } else {
            frames.start = frames.start.max(frames.end.saturating_sub(1));
        }
        if frames.is_empty() {
            return Ok(all);
        }
        let run = reader.read_frames(frames).await?;
        let (counter, mut counted) = (self.counter.clone(), *framing);
        let counting = tokio::task::spawn_blocking(move || {
            let raw = run.decode(0, &mut Decompressor::new())?;
            counter.count(&raw, &mut counted).map(|()| counted)
        });
        let counted =
            counting.await.unwrap_or_else(|e| Err(Error::permanent("a sample panicked").caused_by(e)));
        *framing = counted.map_err(|error| error.at(reader.place()))?;
        Ok(all)
    }
}

/// Counts in samples what begins with an id of the archive, and what is a message of that schema.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    pub(super) ids: Arc<Ids>,
    pub(super) readers: Arc<Readers>,
}

impl Counter {
    /// The first records of whole batches.
    pub(super) fn count(&self, raw: &[u8], framing: &mut TopicFraming) -> Result<()> {
        self.records(raw, |_, headed, payloads, seen| {
            framing.headers += u32::from(!headed.is_empty());
            for (side, payload) in payloads {
                self.payload(side, payload, framing)?;
            }
            Ok(seen < RECORDS)
        })
    }

    /// Records of whole batches, until enough is known of these sides. Gives how many were looked at, and whether one at or behind
    /// `covered` begins with an id that nobody knows: then nothing counts until somebody has looked again.
    pub(super) fn count_live(
        &self,
        raw: &[u8],
        covered: i64,
        is_open: impl Fn(Side) -> bool,
        framing: &mut TopicFraming,
    ) -> Result<(u32, bool)> {
        let (mut looked, mut is_stale) = (0, false);
        let before = *framing;
        self.records(raw, |offset, headed, payloads, seen| {
            looked = seen;
            framing.headers += u32::from(!headed.is_empty());
            for (side, payload) in payloads {
                // One that is no message of a schema settles it for all: they are left as they are.
                if !is_open(side) || framing.side(side).sampled > framing.side(side).proven {
                    continue;
                }
                if let Prefix::Id(id) = Prefix::of(payload) {
                    is_stale |= offset >= covered && self.ids.candidates(id).is_empty();
                }
                self.payload(side, payload, framing)?;
            }
            let wants_more = |side: &Side| {
                let own = framing.side(*side);
                is_open(*side) && own.sampled < RECORDS && own.sampled == own.proven
            };
            Ok(!is_stale && Side::ALL.iter().any(wants_more))
        })?;
        if is_stale {
            *framing = before;
        }
        Ok((looked, is_stale))
    }

    /// Gives records to `take` for as long as it wants more: the offset, the sides that a header speaks of, the payloads of the others,
    /// and how many there were by then.
    fn records(
        &self,
        raw: &[u8],
        mut take: impl FnMut(i64, Vec<Side>, Vec<(Side, &[u8])>, u32) -> Result<bool>,
    ) -> Result<()> {
        let (mut decompressor, mut scratch, mut seen) = (Decompressor::new(), Vec::new(), 0);
        for batch in Batches::new(raw) {
            let batch = batch?;
            if batch.attributes().control() || batch.record_count() == 0 {
                continue;
            }
            for record in decompressor.records(&batch, CAP, &mut scratch)? {
                let record = record?;
                let names = |key: &[u8]| Side::of_header(key);
                let headed: Vec<Side> = record.headers.filter_map(|(key, _)| names(key)).collect();
                // Where a header says it, what the payload begins like says nothing.
                let payloads = [(Side::Key, record.key), (Side::Value, record.value)].into_iter();
                let payloads = payloads.filter_map(|(side, payload)| Some((side, payload?)));
                let payloads = payloads.filter(|(side, _)| !headed.contains(side)).collect();
                seen += 1;
                let offset = batch.base_offset() + i64::from(record.offset_delta);
                if !take(offset, headed, payloads, seen)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn payload(&self, side: Side, payload: &[u8], framing: &mut TopicFraming) -> Result<()> {
        let own = framing.side_mut(side);
        own.sampled += 1;
        let Prefix::Id(id) = Prefix::of(payload) else { return Ok(()) };
        let candidates = self.ids.candidates(id);
        own.framed += u32::from(!candidates.is_empty());
        for candidate in candidates {
            if self.readers.read(id, candidate, payload.get(5..).unwrap_or_default())? {
                own.proven += 1;
                break;
            }
        }
        Ok(())
    }
}
