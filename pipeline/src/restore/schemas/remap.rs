//! Changes the ids in one partition's batches.
//!
//! An id is changed where it is proven to be one: by the subject of its topic and side, by what somebody said, by a header, or by
//! reading the record with the schema that it names. What is not proven stays as it is, and is counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use formats::ids::{SchemaId, Topic};
use formats::record_batch::RecordBatch;
use formats::rewrite::{Becomes, Carrier, IdRules, Report, RewriteSettings, Rewriter, UnknownId};
use formats::wire::Side;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::framing::{Framing, Framings, TopicFraming};
use super::ids::{Candidate, Ids, Landing};
use super::sample::Counter;
use super::{KeyIds, PayloadReader, SchemaMap, SchemaRules, SchemaTarget, Told, UnknownIds};
use crate::schemas::SchemaArchive;
use crate::{Error, Result};

/// Readers of schemas that are kept.
const MOST_READERS: usize = 1000;

/// What became of the ids in a partition's records. Counts cover what was decoded in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RemapCounts {
    /// Batches written anew because an id in them changed.
    pub batches: u64,
    /// Their bytes in the archive.
    pub bytes: u64,
    /// Keys with another id, in themselves or in their header.
    pub keys: u64,
    /// Values with another id, in themselves or in their header.
    pub values: u64,
    /// Ids and GUIDs that nothing in the target stands for: kept as they are, or their records are quarantined.
    pub unknown: u64,
    /// Keys and values that begin like an id, and of which nothing proves that it is one: kept as they are.
    pub unproven: u64,
}

/// What became of the ids of one record; of a record where all of them stayed there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RecordIds {
    pub(crate) offset: i64,
    keys: u32,
    values: u32,
    unknown: u32,
    unproven: u32,
}

impl RecordIds {
    /// Those of a record that goes where no id changes: only what is unknown is told of it.
    pub(crate) fn quarantined(self) -> Self {
        Self { offset: self.offset, unknown: self.unknown, ..Self::default() }
    }
}

impl RemapCounts {
    /// Adds what was counted elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { batches, bytes, keys, values, unknown, unproven } = other;
        self.batches += batches;
        self.bytes += bytes;
        self.keys += keys;
        self.values += values;
        self.unknown += unknown;
        self.unproven += unproven;
    }

    /// Adds the records of one batch, of so many bytes in the archive.
    pub(crate) fn batch(&mut self, bytes: usize, records: impl Iterator<Item = RecordIds>) {
        let before = self.keys + self.values;
        for record in records {
            self.keys += u64::from(record.keys);
            self.values += u64::from(record.values);
            self.unknown += u64::from(record.unknown);
            self.unproven += u64::from(record.unproven);
        }
        if self.keys + self.values > before {
            self.batches += 1;
            self.bytes += bytes as u64;
        }
    }
}

/// Nothing where the schema cannot be understood.
type Made = Option<Arc<dyn PayloadReader>>;

/// Readers of payloads, made when they are first needed.
#[derive(Debug)]
pub(crate) struct Readers {
    target: Arc<dyn SchemaTarget>,
    archive: Arc<SchemaArchive>,
    runtime: Handle,
    made: Mutex<HashMap<(Arc<str>, SchemaId), Made>>,
}

impl Readers {
    /// Of an archive; to be called inside of the runtime.
    pub(super) fn new(target: Arc<dyn SchemaTarget>, archive: Arc<SchemaArchive>) -> Self {
        Self { target, archive, runtime: Handle::current(), made: Mutex::default() }
    }

    /// Waits for the store where the schema was not needed before, so not for the threads that drive the runtime.
    fn of(&self, id: SchemaId, candidate: &Candidate) -> Result<Made> {
        let key = (Arc::clone(&candidate.context), id);
        let made = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made().get(&key) {
            return Ok(known.clone());
        }
        let rows = self.archive.catalog.subjects.get(&*candidate.subject).into_iter().flatten();
        let row = rows.into_iter().find(|row| row.version == candidate.version && row.id == id.number());
        let reader = match row {
            Some(row) => self.runtime.block_on(self.target.reader(&self.archive, row))?,
            None => None,
        };
        let mut made = made();
        if made.len() >= MOST_READERS {
            made.clear();
        }
        made.insert(key, reader.clone());
        Ok(reader)
    }

    /// Whether a payload is a message of the schema that the candidate is.
    pub(super) fn read(&self, id: SchemaId, candidate: &Candidate, payload: &[u8]) -> Result<bool> {
        Ok(self.of(id, candidate)?.is_some_and(|reader| reader.reads(payload)))
    }
}

/// What ids become in all topics.
#[derive(Debug)]
pub(crate) struct Remap {
    pub(super) ids: Arc<Ids>,
    pub(super) readers: Arc<Readers>,
    pub(super) keys: KeyIds,
    pub(super) unknown: UnknownIds,
    pub(super) archive: Arc<SchemaArchive>,
    pub(super) framings: Framings,
}

/// What ids become in one topic.
#[derive(Debug)]
pub(crate) struct TopicRemap {
    ids: Arc<Ids>,
    readers: Arc<Readers>,
    key: SideRules,
    value: SideRules,
    unknown: UnknownIds,
    /// Whether what is not known is known not to be there.
    is_fresh: bool,
}

#[derive(Debug)]
struct SideRules {
    how: Framing,
    /// Ids of the side's own subject; nothing for one that only the record can tell.
    named: BTreeMap<SchemaId, Option<Landing<SchemaId>>>,
    /// It is left as it is.
    kept: bool,
}

impl Remap {
    /// Of schemas that come while records do; what the records of a topic are taken for is told with each topic.
    pub(crate) fn live(rules: &SchemaRules, archive: Arc<SchemaArchive>, map: &SchemaMap) -> Self {
        let ids = Arc::new(Ids::new(&archive.catalog, map, &[]));
        let readers = Arc::new(Readers::new(Arc::clone(&rules.target), Arc::clone(&archive)));
        Self { ids, readers, keys: rules.keys, unknown: rules.unknown, archive, framings: Framings::new() }
    }

    /// What a topic is taken for, by what is known of it and what its records so far tell (`counted`). Where `batches` are given they
    /// are counted too; gives then how many records were looked at, and whether one at or behind `covered` begins with an id that
    /// nobody knows, so that the registry is to be looked at first. Not for the threads that drive the runtime.
    pub(crate) fn framing(
        &self,
        told: &[Told],
        topic: &Topic,
        counted: TopicFraming,
        batches: Option<(&[u8], i64)>,
    ) -> Result<(TopicFraming, u32, bool)> {
        let (mut framing, mut looked, mut is_stale) = (counted, 0, false);
        let schemas = |side| self.ids.named(&self.archive.catalog, topic, side).len();
        let known = TopicFraming::of(told, topic, schemas);
        if let Some((batches, covered)) = batches {
            let counter = Counter { ids: Arc::clone(&self.ids), readers: Arc::clone(&self.readers) };
            let is_open = |side: Side| {
                known.side(side).how == Framing::Raw
                    && told.iter().all(|told| told.says(topic, side).is_none())
            };
            (looked, is_stale) = counter.count_live(batches, covered, is_open, &mut framing)?;
        }
        for side in Side::ALL {
            let (known, own) = (known.side(side), framing.side_mut(side));
            (own.how, own.schemas) = (known.how, known.schemas);
        }
        framing.infer(told, topic);
        Ok((framing, looked, is_stale))
    }

    /// The rules of a topic that is taken for this; `is_fresh` where what is not known now is known not to be there.
    pub(crate) fn of(
        &self,
        topic: &Topic,
        framing: TopicFraming,
        unknown: UnknownIds,
        is_fresh: bool,
    ) -> Option<Arc<TopicRemap>> {
        let remap = Self {
            ids: Arc::clone(&self.ids),
            readers: Arc::clone(&self.readers),
            keys: self.keys,
            unknown,
            archive: Arc::clone(&self.archive),
            framings: Framings::from([(topic.clone(), framing)]),
        };
        remap.rules(topic, is_fresh)
    }

    /// The rules of a topic, by its name in the backup; nothing where its records need not be looked at.
    pub(crate) fn topic(&self, topic: &Topic) -> Option<Arc<TopicRemap>> {
        // Where no id changes there may be some that nobody knows all the same.
        self.rules(topic, true).filter(|_| self.ids.change() || self.unknown != UnknownIds::Keep)
    }

    fn rules(&self, topic: &Topic, is_fresh: bool) -> Option<Arc<TopicRemap>> {
        let framing = self.framings.get(topic).filter(|framing| framing.names_schemas())?;
        let side = |side: Side| SideRules {
            how: framing.side(side).how,
            named: self.ids.named(&self.archive.catalog, topic, side),
            kept: side == Side::Key && self.keys == KeyIds::Keep,
        };
        Some(Arc::new(TopicRemap {
            ids: Arc::clone(&self.ids),
            readers: Arc::clone(&self.readers),
            key: side(Side::Key),
            value: side(Side::Value),
            unknown: self.unknown,
            is_fresh,
        }))
    }
}

/// What is known of an id before the record is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Known(Landing<SchemaId>),
    /// Only the record can tell.
    Prove,
    /// The archive does not have it.
    Foreign,
}

impl TopicRemap {
    /// What to do with ids that nothing in the target stands for.
    pub(crate) fn policy(&self) -> UnknownIds {
        self.unknown
    }

    fn side(&self, side: Side) -> &SideRules {
        match side {
            Side::Key => &self.key,
            Side::Value => &self.value,
        }
    }

    fn fate(&self, id: SchemaId, rules: &SideRules) -> Fate {
        if let Some(Some(known)) = rules.named.get(&id) {
            return Fate::Known(*known);
        }
        match (one_end(self.ids.candidates(id)), rules.how) {
            _ if self.ids.candidates(id).is_empty() => Fate::Foreign,
            // Whatever the bytes are, they stay.
            (Some(Landing::Same), _) => Fate::Known(Landing::Same),
            (Some(known), Framing::Told) => Fate::Known(known),
            _ => Fate::Prove,
        }
    }
}

/// What all of them become, where that is one thing.
fn one_end(candidates: &[Candidate]) -> Option<Landing<SchemaId>> {
    let (first, others) = candidates.split_first()?;
    others.iter().all(|other| other.to == first.to).then_some(first.to)
}

/// One partition's worker: reused for batch after batch.
#[derive(Debug)]
pub(crate) struct Remapper {
    topic: Arc<TopicRemap>,
    rewriter: Rewriter,
    /// The id of each side that came last, and what is known of it.
    last: [Option<(SchemaId, Fate)>; 2],
}

/// A batch after it was looked at.
#[derive(Debug, Default)]
pub(crate) struct Remapped {
    /// The batch with other ids; empty where none changes.
    pub(crate) bytes: Vec<u8>,
    /// Ids that nothing in the target stands for.
    pub(crate) unknown: Vec<UnknownId>,
    /// What became of the ids, record by record.
    pub(crate) records: Vec<RecordIds>,
}

impl Remapper {
    pub(crate) fn new(topic: Arc<TopicRemap>, decompressed_cap: usize) -> Result<Self> {
        let settings = RewriteSettings { decompressed_cap, gzip_level: None, zstd_level: None };
        Ok(Self { topic, rewriter: Rewriter::new(settings)?, last: [None; 2] })
    }

    /// Goes on by other rules; what was set up for codecs stays.
    pub(crate) fn follow(&mut self, topic: Arc<TopicRemap>) {
        if !Arc::ptr_eq(&self.topic, &topic) {
            (self.topic, self.last) = (topic, [None; 2]);
        }
    }

    /// What to do with ids that nothing in the target stands for.
    pub(crate) fn policy(&self) -> UnknownIds {
        self.topic.policy()
    }

    /// Looks at a batch, and writes it anew where ids change. Not for the threads that drive the runtime: a schema may have to be
    /// read first.
    pub(crate) fn remap(&mut self, batch: &RecordBatch<'_>) -> Result<Remapped> {
        let mut bytes = Vec::new();
        let looked = self.with_rules(|rewriter, rules| rewriter.rewrite(batch, rules, &mut bytes))?;
        Ok(Remapped { bytes, ..looked })
    }

    /// The same without any batch being written.
    pub(crate) fn look(&mut self, batch: &RecordBatch<'_>) -> Result<Remapped> {
        self.with_rules(|rewriter, rules| rewriter.look(batch, rules))
    }

    fn with_rules(
        &mut self,
        work: impl FnOnce(&mut Rewriter, &mut Rules<'_>) -> formats::Result<Report>,
    ) -> Result<Remapped> {
        let topic = Arc::clone(&self.topic);
        let mut rules = Rules { topic: &topic, last: &mut self.last, records: Vec::new(), error: None };
        let report = work(&mut self.rewriter, &mut rules)?;
        match rules.error {
            Some(error) => Err(error),
            None => Ok(Remapped { bytes: Vec::new(), unknown: report.unknown, records: rules.records }),
        }
    }
}

struct Rules<'a> {
    topic: &'a TopicRemap,
    last: &'a mut [Option<(SchemaId, Fate)>; 2],
    records: Vec<RecordIds>,
    error: Option<Error>,
}

fn becomes<T>(landing: Landing<T>) -> Becomes<T> {
    match landing {
        Landing::Same => Becomes::Same,
        Landing::Other(other) => Becomes::Other(other),
        Landing::New | Landing::Nowhere => Becomes::Unknown,
    }
}

impl Rules<'_> {
    /// What is told of the record at an offset; ids are asked about in the order of records.
    fn record(&mut self, offset: i64) -> &mut RecordIds {
        if self.records.last().is_none_or(|last| last.offset != offset) {
            self.records.push(RecordIds { offset, ..RecordIds::default() });
        }
        let last = self.records.len() - 1;
        &mut self.records[last]
    }

    fn told<T>(&mut self, carrier: &Carrier<'_>, becomes: Becomes<T>) -> Becomes<T> {
        match (&becomes, carrier.side) {
            (Becomes::Same, _) => {}
            (Becomes::Other(_), Side::Key) => self.record(carrier.offset).keys += 1,
            (Becomes::Other(_), Side::Value) => self.record(carrier.offset).values += 1,
            (Becomes::Unknown, _) => self.record(carrier.offset).unknown += 1,
        }
        becomes
    }

    /// Reads the record with each schema that the id may be.
    fn prove(&mut self, id: SchemaId, carrier: &Carrier<'_>) -> Becomes<SchemaId> {
        if self.error.is_some() {
            return Becomes::Same;
        }
        let mut found: Option<Landing<SchemaId>> = None;
        for candidate in self.topic.ids.candidates(id) {
            match self.topic.readers.read(id, candidate, carrier.after) {
                Ok(true) if found.is_some_and(|found| found != candidate.to) => return Becomes::Unknown,
                Ok(true) => found = Some(candidate.to),
                Ok(false) => {}
                Err(error) => {
                    self.error.get_or_insert(error);
                    return Becomes::Same;
                }
            }
        }
        match found {
            Some(found) => becomes(found),
            None => {
                self.record(carrier.offset).unproven += 1;
                Becomes::Same
            }
        }
    }

    fn of_prefix(&mut self, id: SchemaId, carrier: &Carrier<'_>) -> Becomes<SchemaId> {
        let rules = self.topic.side(carrier.side);
        if carrier.overruled || rules.kept || rules.how == Framing::Raw {
            return Becomes::Same;
        }
        let last = &mut self.last[carrier.side as usize];
        let fate = match last {
            Some((known, fate)) if *known == id => *fate,
            _ => last.insert((id, self.topic.fate(id, rules))).1,
        };
        match fate {
            Fate::Known(landing) => becomes(landing),
            Fate::Prove => self.prove(id, carrier),
            Fate::Foreign if rules.how == Framing::Inferred && self.topic.is_fresh => {
                self.record(carrier.offset).unproven += 1;
                Becomes::Same
            }
            Fate::Foreign => Becomes::Unknown,
        }
    }

    fn of_header(&self, id: SchemaId, carrier: &Carrier<'_>) -> Becomes<SchemaId> {
        let rules = self.topic.side(carrier.side);
        if rules.kept {
            return Becomes::Same;
        }
        if let Some(Some(known)) = rules.named.get(&id) {
            return becomes(*known);
        }
        one_end(self.topic.ids.candidates(id)).map_or(Becomes::Unknown, becomes)
    }

    fn of_guid(&self, guid: Uuid, carrier: &Carrier<'_>) -> Becomes<Uuid> {
        if self.topic.side(carrier.side).kept {
            return Becomes::Same;
        }
        self.topic.ids.guid(guid).map_or(Becomes::Unknown, becomes)
    }
}

impl IdRules for Rules<'_> {
    fn prefix(&mut self, id: SchemaId, carrier: &Carrier<'_>) -> Becomes<SchemaId> {
        let becomes = self.of_prefix(id, carrier);
        self.told(carrier, becomes)
    }

    fn header_id(&mut self, id: SchemaId, carrier: &Carrier<'_>) -> Becomes<SchemaId> {
        let becomes = self.of_header(id, carrier);
        self.told(carrier, becomes)
    }

    fn header_guid(&mut self, guid: Uuid, carrier: &Carrier<'_>) -> Becomes<Uuid> {
        let becomes = self.of_guid(guid, carrier);
        self.told(carrier, becomes)
    }
}
