//! Compares what commits name with what lies in the store, topic by topic, and finds what no commit names.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use formats::commit::{ObjectRef, SegmentObject};
use formats::hash::Hash;
use formats::ids::{Incarnation, LineageId, OffsetRange, Topic, TopicPartition};
use formats::paths::{CLUSTER, GROUPS, KAFKA, ObjectName, PACKS, PROBES, RESTORES, SCHEMA_SNAPSHOTS};
use formats::schemas::Catalog;
use formats::state::State;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::deep::{DeepTotals, check_segment};
use super::finding::{FindingKind, Findings, says_nothing_about_the_backup};
use super::history::History;
use super::schemas;
use super::{VerifyProgress, VerifySettings};
use crate::budget::Budget;
use crate::commit_log::{NamedCheckpoints, TopicLists};
use crate::schemas::{Radar, RadarReport, SchemaArchive};
use crate::storage::{ObjectInfo, Store};
use crate::{Error, Result};

/// Leftovers listed by key; further ones are counted.
const LISTED: usize = 1_000;

/// Why an object is there although no commit names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftoverClass {
    /// A commit dropped it; its deletion is not due or not reported yet.
    Dropped,
    /// Its writer is retired: it may be deleted.
    Retired,
    /// Its writer is not retired and has been superseded.
    Superseded,
    /// The newest writer's: perhaps on its way into a commit.
    Newest,
    /// Its key is not one of this layout.
    Unknown,
    /// A restore's journal. It tells the next run of that restore what is done, so nothing but a person deletes it.
    RestoreJournal,
    /// A store was tried with it.
    Probe,
}

/// Objects that no commit names. Harmless: interrupted work leaves them, `prune --orphans` removes them (journals of
/// restores apart).
#[derive(Debug, Clone, Default, Serialize)]
pub struct Leftovers {
    /// Objects and bytes by class.
    pub classes: BTreeMap<LeftoverClass, LeftoverTotal>,
    /// Their keys, as many as are listed.
    pub objects: Vec<Leftover>,
    /// Objects beyond those listed.
    pub omitted: u64,
    /// Unfinished uploads that the store knows; some may be under way.
    pub unfinished_uploads: u64,
    /// Whether the history could not be followed to its end, or a checkpoint is damaged, so that leftovers were not all
    /// looked for.
    pub unknown: bool,
}

/// What a class adds up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LeftoverTotal {
    /// Objects.
    pub objects: u64,
    /// Bytes.
    pub bytes: u64,
}

/// An object that no commit names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub bytes: u64,
    /// When it was written, by the store's clock, in milliseconds since 1970 UTC.
    pub modified_ms: i64,
    /// Why it is there.
    pub class: LeftoverClass,
}

impl Leftovers {
    fn add(&mut self, object: &ObjectInfo, class: LeftoverClass) {
        let total = self.classes.entry(class).or_default();
        total.objects += 1;
        total.bytes += object.size;
        if self.objects.len() < LISTED {
            let (key, bytes, modified_ms) = (object.key.clone(), object.size, object.modified_ms);
            self.objects.push(Leftover { key, bytes, modified_ms, class });
        } else {
            self.omitted += 1;
        }
    }
}

/// Whether commits removed an object, and what became of its writer.
fn class_of(state: &State, key: &str, writer: Option<Incarnation>) -> LeftoverClass {
    match writer {
        _ if state.dropped.contains_key(key) => LeftoverClass::Dropped,
        None => LeftoverClass::Unknown,
        Some(incarnation) if state.retired.contains(&incarnation) => LeftoverClass::Retired,
        Some(incarnation) if state.writer == Some(incarnation) => LeftoverClass::Newest,
        Some(_) => LeftoverClass::Superseded,
    }
}

/// Where segments of a topic lie: keys of own objects with length and place, and how far packs must reach.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) own: BTreeMap<String, (u64, TopicPartition, LineageId, OffsetRange)>,
    pub(crate) packs: BTreeMap<(Incarnation, u32), u64>,
}

impl Named {
    pub(crate) fn of(topic: &Topic, lists: &TopicLists) -> Self {
        let mut named = Self::default();
        for ((number, lineage), list) in lists {
            let partition = TopicPartition::new(topic.clone(), *number);
            for entry in list {
                match entry.object {
                    SegmentObject::Own(..) => {
                        let place = (entry.length, partition.clone(), *lineage, entry.range());
                        named.own.insert(entry.key(&partition, *lineage), place);
                    }
                    SegmentObject::Pack(incarnation, counter) => {
                        let reach = named.packs.entry((incarnation, counter)).or_default();
                        *reach = (*reach).max(entry.position.saturating_add(entry.length));
                    }
                }
            }
        }
        named
    }
}

/// The topics that a state or the store knows.
pub(crate) async fn topics(store: &dyn Store, state: &State) -> Result<BTreeSet<Topic>> {
    let mut topics: BTreeSet<Topic> = state.topics.keys().cloned().collect();
    topics.extend(store.folders(KAFKA).await?.iter().filter_map(|name| Topic::new(name).ok()));
    Ok(topics)
}

/// One comparison.
#[derive(Debug)]
pub(super) struct Check<'a> {
    pub(super) store: Arc<dyn Store>,
    pub(super) history: &'a History,
    pub(super) settings: &'a VerifySettings,
    pub(super) budget: Budget,
    pub(super) findings: &'a Findings,
    pub(super) progress: Arc<VerifyProgress>,
}

/// What was found beside findings.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) leftovers: Leftovers,
    pub(super) deep: Option<DeepTotals>,
    /// What scanned segments name; nothing where the schemas cannot be read.
    pub(super) named: Option<RadarReport>,
}

impl Check<'_> {
    pub(super) async fn run(&self) -> Result<Checked> {
        let (archive, none) = match &self.history.state.schemas {
            Some((newest, _)) => (schemas::open(&self.store, newest).await?, None),
            None => (None, Some(Catalog::default())),
        };
        let catalog = archive.as_ref().map(|archive| &archive.catalog).or(none.as_ref());
        let mut radar = catalog.map(Radar::new);
        let mut leftovers = Leftovers { unknown: !self.history.complete, ..Leftovers::default() };
        let mut packs = BTreeMap::new();
        let mut deep = self.settings.deep.then(DeepTotals::default);
        for topic in topics(&*self.store, &self.history.state).await? {
            let lists = match self.lists(&topic).await {
                Ok(lists) => lists,
                Err(error) => {
                    self.findings.object(&format!("{KAFKA}{topic}/"), error)?;
                    continue;
                }
            };
            if let Some(radar) = &mut radar {
                for ((number, lineage), list) in &lists {
                    radar.list(&topic, *number, *lineage, list);
                }
            }
            let named = Named::of(&topic, &lists);
            for (pack, reach) in &named.packs {
                let all = packs.entry(*pack).or_insert(0_u64);
                *all = (*all).max(*reach);
            }
            let missing = self.own_objects(&topic, named.own, &mut leftovers).await?;
            if let Some(deep) = &mut deep {
                deep.add(&self.deep(&topic, &lists, &missing).await?);
            } else {
                let entries = lists.values().flatten();
                VerifyProgress::add(&self.progress.segments, entries.clone().count() as u64);
                VerifyProgress::add(&self.progress.bytes, entries.map(|entry| entry.length).sum());
            }
        }
        self.pack_objects(packs, &mut leftovers).await?;
        self.snapshots(archive.as_ref(), &mut leftovers).await?;
        self.checkpoints(&mut leftovers).await?;
        self.apart(&mut leftovers).await?;
        leftovers.unfinished_uploads = self.store.sweep_unfinished("", i64::MAX, false).await?;
        // What is used nowhere is no matter of soundness.
        Ok(Checked { leftovers, deep, named: radar.map(|radar| radar.finish(false)) })
    }

    /// The topic's lists, held against the commits.
    async fn lists(&self, topic: &Topic) -> Result<TopicLists> {
        let lists = self.history.lists().topic(topic).await?;
        for ((number, lineage), list) in &lists {
            let partition = TopicPartition::new(topic.clone(), *number);
            if !self.history.adds_up(&partition, *lineage, list) {
                let message = format!(
                    "{partition}: the segments of lineage {lineage} in the checkpoint are not those that the commits add up to"
                );
                let key = self.history.state.checkpoint.map_or(0, |checkpoint| checkpoint.seq);
                self.findings.plain(
                    FindingKind::Contradiction,
                    &ObjectName::CheckpointRoot(key).key(),
                    message,
                );
            }
        }
        Ok(lists)
    }

    /// Gives the keys of those that are missing.
    async fn own_objects(
        &self,
        topic: &Topic,
        mut named: BTreeMap<String, (u64, TopicPartition, LineageId, OffsetRange)>,
        leftovers: &mut Leftovers,
    ) -> Result<BTreeSet<String>> {
        let folder = format!("{KAFKA}{topic}/");
        let mut listing = self.store.list(&folder, None);
        while let Some(object) = listing.try_next().await? {
            match named.remove(&object.key) {
                Some((length, ..)) if length == object.size => {}
                Some((length, partition, lineage, range)) => {
                    let error = Error::damaged(format!("the object has {} bytes, not {length}", object.size));
                    self.findings.records(&object.key, &partition, lineage, range, error)?;
                }
                None => self.leftover(&object, leftovers),
            }
        }
        for (key, (_, partition, lineage, range)) in &named {
            let error = Error::not_found("the object is missing");
            self.findings.records(key, partition, *lineage, *range, error)?;
        }
        Ok(named.into_keys().collect())
    }

    async fn pack_objects(
        &self,
        mut packs: BTreeMap<(Incarnation, u32), u64>,
        leftovers: &mut Leftovers,
    ) -> Result<()> {
        let mut listing = self.store.list(PACKS, None);
        let mut short = BTreeMap::new();
        while let Some(object) = listing.try_next().await? {
            let pack = match ObjectName::parse(&object.key) {
                Ok(ObjectName::Pack(incarnation, counter)) => Some((incarnation, counter)),
                _ => None,
            };
            match pack.and_then(|pack| packs.remove(&pack).map(|reach| (pack, reach))) {
                Some((_, reach)) if object.size >= reach => {}
                Some((pack, _)) => {
                    short.insert(pack, Some(object.size));
                }
                None => self.leftover(&object, leftovers),
            }
        }
        short.extend(packs.into_keys().map(|pack| (pack, None)));
        if short.is_empty() {
            return Ok(());
        }
        // Only now are the places of all their segments worth a second look at every list.
        for topic in self.history.state.topics.keys() {
            for ((number, lineage), list) in self.history.lists().topic(topic).await.unwrap_or_default() {
                let partition = TopicPartition::new(topic.clone(), number);
                for entry in list {
                    let SegmentObject::Pack(incarnation, counter) = entry.object else { continue };
                    let Some(size) = short.get(&(incarnation, counter)) else { continue };
                    let end = entry.position.saturating_add(entry.length);
                    let error = match size {
                        None => Error::not_found("the object is missing"),
                        Some(size) if *size < end => {
                            Error::damaged(format!("the object has {size} bytes; the segment ends at {end}"))
                        }
                        Some(_) => continue,
                    };
                    let key = entry.key(&partition, lineage);
                    self.findings.records(&key, &partition, lineage, entry.range(), error)?;
                }
            }
        }
        Ok(())
    }

    async fn snapshots(&self, archive: Option<&SchemaArchive>, leftovers: &mut Leftovers) -> Result<()> {
        let mut named = self.history.snapshots.clone();
        let state = &self.history.state;
        let newest =
            [state.schemas.as_ref().map(|(object, _)| object), state.groups.as_ref(), state.cluster.as_ref()];
        named.extend(newest.into_iter().flatten().map(|object| (object.key.clone(), object.clone())));
        let mut schemas = HashSet::new();
        if let Some((newest, _)) = &state.schemas {
            let (deep, parser) = (self.settings.deep, self.settings.parser.as_deref());
            schemas = schemas::check(&self.store, newest, archive, deep, parser, self.findings).await?;
        }
        for folder in [GROUPS, CLUSTER, SCHEMA_SNAPSHOTS] {
            let mut listing = self.store.list(folder, None);
            while let Some(object) = listing.try_next().await? {
                if !named.contains_key(&object.key) && !schemas.contains(&object.key) {
                    self.leftover(&object, leftovers);
                }
            }
        }
        for (key, object) in named.into_iter().filter(|(key, _)| !schemas.contains(key)) {
            if let Err(error) = self.snapshot(&object).await {
                self.findings.object(&key, error)?;
            }
        }
        Ok(())
    }

    async fn snapshot(&self, object: &ObjectRef) -> Result<()> {
        let missing = || Error::not_found("the object is missing");
        if !self.settings.deep {
            let found = self.store.head(&object.key).await?.ok_or_else(missing)?;
            if found.size != object.length {
                return Err(Error::damaged(format!(
                    "the object has {} bytes, not {}",
                    found.size, object.length
                )));
            }
            return Ok(());
        }
        let stored = self.store.get(&object.key, object.length).await?.ok_or_else(missing)?;
        if stored.len() as u64 != object.length || Hash::of(&stored) != object.blake3 {
            return Err(Error::damaged("its BLAKE3 is not the one that the backup recorded"));
        }
        Ok(())
    }

    fn leftover(&self, object: &ObjectInfo, leftovers: &mut Leftovers) {
        if self.history.complete {
            let writer = ObjectName::parse(&object.key).ok().and_then(|name| name.incarnation());
            leftovers.add(object, class_of(&self.history.state, &object.key, writer));
        }
    }

    async fn checkpoints(&self, leftovers: &mut Leftovers) -> Result<()> {
        if !self.history.complete {
            return Ok(());
        }
        let state = &self.history.state;
        let named = match NamedCheckpoints::read(&self.store, state.seq).await {
            Ok(named) => named,
            Err(error) if says_nothing_about_the_backup(&error) => return Err(error),
            // A finding already. What it names cannot be told from what nobody names.
            Err(_) => {
                leftovers.unknown = true;
                return Ok(());
            }
        };
        for (object, maker) in named.others(&*self.store).await? {
            leftovers.add(&object, class_of(state, &object.key, maker));
        }
        Ok(())
    }

    /// What no commit could name.
    async fn apart(&self, leftovers: &mut Leftovers) -> Result<()> {
        for (folder, class) in [(RESTORES, LeftoverClass::RestoreJournal), (PROBES, LeftoverClass::Probe)] {
            let mut listing = self.store.list(folder, None);
            while let Some(object) = listing.try_next().await? {
                leftovers.add(&object, class);
            }
        }
        Ok(())
    }

    async fn deep(
        &self,
        topic: &Topic,
        lists: &TopicLists,
        missing: &BTreeSet<String>,
    ) -> Result<DeepTotals> {
        let segments = lists.iter().flat_map(|((number, lineage), list)| {
            let partition = TopicPartition::new(topic.clone(), *number);
            list.iter().map(move |entry| (partition.clone(), *lineage, entry))
        });
        stream::iter(segments)
            .map(|(partition, lineage, entry)| async move {
                let totals = if missing.contains(&entry.key(&partition, lineage)) {
                    Ok(DeepTotals::default())
                } else {
                    check_segment(&self.store, &self.budget, &partition, lineage, entry, self.findings).await
                };
                VerifyProgress::add(&self.progress.segments, 1);
                VerifyProgress::add(&self.progress.bytes, entry.length);
                totals
            })
            .buffer_unordered(self.settings.parallel.max(1))
            .try_fold(DeepTotals::default(), |mut sum, totals| async move {
                sum.add(&totals);
                Ok(sum)
            })
            .await
    }
}
