//! Holds what records name against the schemas of the backup: ids that nothing there stands for, and schemas that no data uses.
//!
//! It goes by the entries of segments alone. Segments that were not scanned are counted, and say nothing; memory is bounded by
//! the lists that are given out, whatever topics hold.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use formats::commit::SegmentEntry;
use formats::ids::{LineageId, OffsetRange, SchemaId, Topic};
use formats::schema_ids::{Listed, SchemaIds};
use formats::schemas::{Catalog, VersionRow, VersionState, reference_target};
use formats::wire::{Place, SchemaRef, Side};
use serde::Serialize;
use uuid::Uuid;

use super::known::KnownIds;

/// Rows of a list that are given out, and ids of one topic that are followed; further ones are counted.
const LISTED: usize = 1_000;
/// Ids that are named of a side that is perhaps not framed.
const EXAMPLES: usize = 5;

/// What data says about the schemas of a backup, and they about it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RadarReport {
    /// Live segments that were asked about.
    pub segments: u64,
    /// Of them, those that are scanned. About the others nothing is known.
    pub scanned: u64,
    /// Batches of scanned segments that could not be read.
    pub unread_batches: u64,
    /// Ids and GUIDs that records name and the backup has no schema of.
    pub unknown: Vec<UnknownSchema>,
    /// Rows beyond those listed.
    pub unknown_omitted: u64,
    /// Sides of topics that name further ids, which are not listed: there are too many different ones.
    pub beyond: Vec<Beyond>,
    /// Sides of topics of which some bytes look like ids that the backup has no schema of, and of which nothing says that they are any.
    pub unframed: Vec<Unframed>,
    /// Versions that no data uses; none where not all data was looked at.
    pub unused: Option<Vec<UnusedSchema>>,
    /// Rows beyond those listed.
    pub unused_omitted: u64,
    /// Versions of which it cannot be said whether data uses them, because not all ids are listed.
    pub unused_unsure: u64,
}

/// An id or GUID that the backup has no schema of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnknownSchema {
    /// Whose records.
    pub topic: Topic,
    /// `key` or `value`.
    pub side: String,
    /// Where they name it.
    #[serde(rename = "in")]
    pub place: &'static str,
    /// The id, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<SchemaId>,
    /// The GUID, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guid: Option<Uuid>,
    /// How often it was seen.
    pub count: u64,
    /// In how many segments.
    pub segments: u64,
    /// The partition of one of them.
    pub partition: i32,
    /// Its lineage.
    pub lineage: LineageId,
    /// Its first offset.
    pub first: i64,
    /// The offset after its last.
    pub end: i64,
}

impl UnknownSchema {
    /// The id or GUID in words.
    pub fn schema(&self) -> String {
        match (self.id, self.guid) {
            (Some(id), _) => SchemaRef::Id(id).to_string(),
            (None, Some(guid)) => SchemaRef::Guid(guid).to_string(),
            (None, None) => "nothing".to_owned(),
        }
    }
}

/// Ids that are not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Beyond {
    /// Whose records.
    pub topic: Topic,
    /// `key` or `value`.
    pub side: String,
    /// How often some were seen.
    pub count: u64,
}

/// A side of a topic that is perhaps not framed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unframed {
    /// Whose records.
    pub topic: Topic,
    /// `key` or `value`.
    pub side: String,
    /// How many begin like an id that the backup has no schema of.
    pub count: u64,
    /// How many begin with an id that it has one of.
    pub known: u64,
    /// How many begin otherwise.
    pub other: u64,
    /// Some of the ids.
    pub examples: Vec<SchemaId>,
}

/// A version that no data uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnusedSchema {
    /// Its subject.
    pub subject: String,
    /// Its number.
    pub version: i32,
    /// Its schema's id.
    pub id: u32,
}

/// One look at data.
#[derive(Debug)]
pub struct Radar<'a> {
    catalog: &'a Catalog,
    known: KnownIds,
    used: HashSet<SchemaId>,
    used_guids: HashSet<Uuid>,
    /// The ids and GUIDs up to which all lists are complete.
    complete_to: (Option<SchemaId>, Option<Uuid>),
    topic: Option<(Topic, [SideSeen; 2])>,
    report: RadarReport,
}

#[derive(Debug, Default)]
struct SideSeen {
    prefix: Sightings<SchemaId>,
    header: Sightings<SchemaId>,
    guid: Sightings<Uuid>,
    other: u64,
}

/// What was seen of one form.
#[derive(Debug)]
struct Sightings<T> {
    /// How often a known one was seen.
    known: u64,
    unknown: BTreeMap<T, Sighting>,
    /// How often one was seen that is not followed.
    beyond: u64,
}

impl<T> Default for Sightings<T> {
    fn default() -> Self {
        Self { known: 0, unknown: BTreeMap::new(), beyond: 0 }
    }
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    count: u64,
    segments: u64,
    at: Spot,
}

/// The segment in which something was seen first.
#[derive(Debug, Clone, Copy)]
struct Spot {
    partition: i32,
    lineage: LineageId,
    range: OffsetRange,
}

impl<T: Copy + Ord> Sightings<T> {
    /// Gives the known ones.
    fn take(&mut self, list: &Listed<T>, at: Spot, is_known: impl Fn(T) -> bool) -> Vec<T> {
        let mut known = Vec::new();
        for (id, count) in &list.ids {
            if is_known(*id) {
                self.known = self.known.saturating_add(*count);
                known.push(*id);
                continue;
            }
            let seen = self.unknown.entry(*id).or_insert(Sighting { count: 0, segments: 0, at });
            seen.count = seen.count.saturating_add(*count);
            seen.segments += 1;
            if self.unknown.len() > LISTED
                && let Some((_, dropped)) = self.unknown.pop_last()
            {
                self.beyond = self.beyond.saturating_add(dropped.count);
            }
        }
        self.beyond = self.beyond.saturating_add(list.beyond);
        known
    }

    /// How often an unknown one was seen, as far as they are followed.
    fn unknown(&self) -> u64 {
        self.unknown.values().fold(0, |sum, seen| sum.saturating_add(seen.count))
    }
}

fn least<T: Copy + Ord>(bound: &mut Option<T>, other: Option<T>) {
    *bound = match (*bound, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
}

impl<'a> Radar<'a> {
    /// A look with these schemas.
    pub fn new(catalog: &'a Catalog) -> Self {
        Self {
            catalog,
            known: KnownIds::of(catalog),
            used: HashSet::new(),
            used_guids: HashSet::new(),
            complete_to: (None, None),
            topic: None,
            report: RadarReport::default(),
        }
    }

    /// Takes the live segments of a lineage; those of one topic come one after the other.
    pub fn list(&mut self, topic: &Topic, partition: i32, lineage: LineageId, entries: &[SegmentEntry]) {
        if self.topic.as_ref().is_none_or(|(current, _)| current != topic) {
            self.end_topic();
            self.topic = Some((topic.clone(), Default::default()));
        }
        self.report.segments += entries.len() as u64;
        for entry in entries {
            if let Some(ids) = &entry.schema_ids {
                self.segment(ids, Spot { partition, lineage, range: entry.range() });
            }
        }
    }

    fn segment(&mut self, ids: &SchemaIds, at: Spot) {
        self.report.scanned += 1;
        self.report.unread_batches = self.report.unread_batches.saturating_add(ids.unread);
        let Some((_, sides)) = &mut self.topic else { return };
        for (side, seen) in Side::ALL.into_iter().zip(sides) {
            let found = ids.side(side);
            for (own, list) in [(&mut seen.prefix, &found.prefix), (&mut seen.header, &found.header)] {
                self.used.extend(own.take(list, at, |id| self.known.has_id(id)));
            }
            self.used_guids.extend(seen.guid.take(&found.guid, at, |guid| self.known.has_guid(guid)));
            seen.other = seen.other.saturating_add(found.other);
            for list in [&found.prefix, &found.header] {
                least(&mut self.complete_to.0, list.complete_to());
            }
            least(&mut self.complete_to.1, found.guid.complete_to());
        }
    }

    fn end_topic(&mut self) {
        let Some((topic, sides)) = self.topic.take() else { return };
        for (side, seen) in Side::ALL.into_iter().zip(sides) {
            let (SideSeen { prefix, header, guid, other }, name) = (seen, side.to_string());
            let looks_like_one = prefix.unknown().saturating_add(prefix.beyond);
            let all = looks_like_one.saturating_add(prefix.known).saturating_add(other);
            let mut beyond = header.beyond.saturating_add(guid.beyond);
            if self.known.is_framed(&topic, side, prefix.known, all) {
                beyond = beyond.saturating_add(prefix.beyond);
                self.unknown(&topic, side, Place::Prefix, prefix.unknown, SchemaRef::Id);
            } else if looks_like_one > 0 {
                self.report.unframed.push(Unframed {
                    topic: topic.clone(),
                    side: name.clone(),
                    count: looks_like_one,
                    known: prefix.known,
                    other,
                    examples: prefix.unknown.keys().copied().take(EXAMPLES).collect(),
                });
            }
            self.unknown(&topic, side, Place::Header, header.unknown, SchemaRef::Id);
            self.unknown(&topic, side, Place::Header, guid.unknown, SchemaRef::Guid);
            if beyond > 0 {
                self.report.beyond.push(Beyond { topic: topic.clone(), side: name, count: beyond });
            }
        }
    }

    fn unknown<T>(
        &mut self,
        topic: &Topic,
        side: Side,
        place: Place,
        seen: BTreeMap<T, Sighting>,
        schema: impl Fn(T) -> SchemaRef,
    ) {
        for (id, Sighting { count, segments, at }) in seen {
            if self.report.unknown.len() >= LISTED {
                self.report.unknown_omitted += 1;
                continue;
            }
            let (id, guid) = match schema(id) {
                SchemaRef::Id(id) => (Some(id), None),
                SchemaRef::Guid(guid) => (None, Some(guid)),
            };
            self.report.unknown.push(UnknownSchema {
                topic: topic.clone(),
                side: side.to_string(),
                place: match place {
                    Place::Header => "header",
                    Place::Prefix => "prefix",
                },
                id,
                guid,
                count,
                segments,
                partition: at.partition,
                lineage: at.lineage,
                first: at.range.first,
                end: at.range.end,
            });
        }
    }

    /// What came of it. `all_data` says whether every topic of the backup was looked at: otherwise nobody knows what is used nowhere.
    pub fn finish(mut self, all_data: bool) -> RadarReport {
        self.end_topic();
        let is_certain = all_data
            && self.report.scanned > 0
            && self.report.scanned == self.report.segments
            && self.report.unread_batches == 0;
        if is_certain {
            self.find_unused();
        }
        self.report
    }

    fn find_unused(&mut self) {
        let needed = self.needed();
        let mut unused = Vec::new();
        // What the registry has no more need not be cleaned up there.
        let rows = self.catalog.versions().filter(|row| row.state != VersionState::Gone);
        for row in rows.filter(|row| !needed.contains(&std::ptr::from_ref(*row))) {
            let to = self.complete_to;
            let is_listed = to.0.is_none_or(|to| row.id <= to.number())
                && to.1.is_none_or(|to| guid(row).is_none_or(|guid| guid <= to));
            match (is_listed, unused.len() < LISTED) {
                (false, _) => self.report.unused_unsure += 1,
                (true, false) => self.report.unused_omitted += 1,
                (true, true) => {
                    let (subject, version, id) = (row.subject.clone(), row.version, row.id);
                    unused.push(UnusedSchema { subject, version, id });
                }
            }
        }
        self.report.unused = Some(unused);
    }

    /// Versions that data names, and those that they refer to.
    fn needed(&self) -> HashSet<*const VersionRow> {
        let is_named = |row: &&VersionRow| {
            SchemaId::new(row.id).is_some_and(|id| self.used.contains(&id))
                || guid(row).is_some_and(|guid| self.used_guids.contains(&guid))
        };
        let (mut needed, mut next) = (HashSet::new(), Vec::new());
        next.extend(self.catalog.versions().filter(is_named));
        while let Some(row) = next.pop() {
            if needed.insert(std::ptr::from_ref(row)) {
                next.extend(row.references.iter().filter_map(|reference| {
                    let target = reference_target(&row.subject, &reference.subject);
                    self.catalog.target(&target, reference.version)
                }));
            }
        }
        needed
    }
}

fn guid(row: &VersionRow) -> Option<Uuid> {
    row.guid.as_deref().and_then(|guid| Uuid::parse_str(guid).ok())
}
