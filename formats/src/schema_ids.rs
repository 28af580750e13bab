//! Which schemas the records of a segment name: what a backup that scans lists in the segment's entry.
//!
//! ```text
//! batches -> (decompressed) records -> IdTally -> SchemaIds: by side (key, value) and form (prefix, header id, header GUID)
//! ```
//! It says what is *seen* by the rules of [`crate::wire`]. A key or value that begins with a zero byte by chance is seen too, so
//! lists are bounded: beyond [`MOST_IDS`] different ones only the least few stay, and how often greater ones came is counted.
//! Because it is the least that stay, a list is complete up to its greatest id whatever happened, and lists of parts add up
//! to the list of the whole.
//!
//! Where a header names the schema, clients take the whole key or value for the message, so what it begins like is not looked at.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::Decompressor;
use crate::ids::SchemaId;
use crate::record::Record;
use crate::record_batch::RecordBatch;
use crate::wire::{Prefix, SchemaRef, Side};

/// Different ids that a list holds: thousands of entries with four such lists still fit into one commit.
pub const MOST_IDS: usize = 128;
/// Different GUIDs that a list holds.
pub const MOST_GUIDS: usize = 32;
/// What is left of a list that grew beyond: so many different ids are hardly schemas.
pub const KEPT_IDS: usize = 16;
/// Bytes of memory that are kept for the next batch.
const KEPT: usize = 2 << 20;

/// The schemas that the records of a segment name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SchemaIds {
    /// In or for keys.
    #[serde(default, skip_serializing_if = "SideIds::is_empty")]
    pub key: SideIds,
    /// In or for values.
    #[serde(default, skip_serializing_if = "SideIds::is_empty")]
    pub value: SideIds,
    /// Data batches that could not be decompressed, or not be read to their end: what came before the fault is listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unread: u64,
}

impl SchemaIds {
    /// Those of a side.
    pub fn side(&self, side: Side) -> &SideIds {
        match side {
            Side::Key => &self.key,
            Side::Value => &self.value,
        }
    }

    /// Whether both can be what the same batches say: lists that were added up from parts may be cut off elsewhere than those of the
    /// whole.
    pub fn agrees(&self, other: &Self) -> bool {
        let sides = Side::ALL.into_iter().all(|side| self.side(side).agrees(other.side(side)));
        sides && self.unread == other.unread
    }
}

/// The schemas that one side of records names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SideIds {
    /// Keys or values that begin with a zero byte and an id, where no header names the schema.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub prefix: Listed<SchemaId>,
    /// Headers with an id.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub header: Listed<SchemaId>,
    /// Headers with a GUID.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub guid: Listed<Uuid>,
    /// Keys or values that are not null and begin otherwise, and headers of the name that say nothing that can be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other: u64,
}

impl SideIds {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn agrees(&self, other: &Self) -> bool {
        self.prefix.agrees(&other.prefix)
            && self.header.agrees(&other.header)
            && self.guid.agrees(&other.guid)
            && self.other == other.other
    }
}

/// Ids with how often each was seen, the least first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed<T> {
    /// The ids.
    pub ids: Vec<(T, u64)>,
    /// How often greater ones were seen, which are not listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub beyond: u64,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { ids: Vec::new(), beyond: 0 }
    }
}

impl<T: Copy + Ord> Listed<T> {
    fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.beyond == 0
    }

    /// How often any was seen.
    pub fn total(&self) -> u64 {
        self.ids.iter().fold(self.beyond, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The id up to which the list is complete; nothing where all of it is.
    pub fn complete_to(&self) -> Option<T> {
        self.ids.last().map(|(id, _)| *id).filter(|_| self.beyond > 0)
    }

    fn agrees(&self, other: &Self) -> bool {
        let both = |id: T| [self, other].iter().all(|list| list.complete_to().is_none_or(|to| id <= to));
        let known = |list: &Self| list.ids.iter().copied().filter(|(id, _)| both(*id)).collect::<Vec<_>>();
        self.total() == other.total() && known(self) == known(other)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Adds records up, or what other lists say.
#[derive(Debug, Default)]
pub struct IdTally {
    sides: [SideTally; 2],
    unread: u64,
}

impl IdTally {
    /// Takes a record. Inlined, so that the record need not be laid out in memory.
    #[inline(always)]
    pub fn record(&mut self, record: &Record<'_>) {
        let mut told = [false; 2];
        for (name, value) in record.headers {
            if let Some(side) = Side::of_header(name) {
                told[side as usize] = value.is_some();
                if let Some(value) = value {
                    self.sides[side as usize].header(value);
                }
            }
        }
        for (side, payload) in [(Side::Key, record.key), (Side::Value, record.value)] {
            if let Some(payload) = payload.filter(|_| !told[side as usize]) {
                self.sides[side as usize].payload(payload);
            }
        }
    }

    /// Takes what was found elsewhere.
    pub fn merge(&mut self, ids: &SchemaIds) {
        for side in Side::ALL {
            let (tally, found) = (&mut self.sides[side as usize], ids.side(side));
            tally.prefix.merge(&found.prefix);
            tally.header.merge(&found.header);
            tally.guid.merge(&found.guid);
            tally.other = tally.other.saturating_add(found.other);
        }
        self.unread = self.unread.saturating_add(ids.unread);
    }

    /// What all of it adds up to.
    pub fn finish(self) -> SchemaIds {
        let [key, value] = self.sides.map(SideTally::finish);
        SchemaIds { key, value, unread: self.unread }
    }
}

#[derive(Debug)]
struct SideTally {
    prefix: Tally<SchemaId>,
    header: Tally<SchemaId>,
    guid: Tally<Uuid>,
    other: u64,
}

impl Default for SideTally {
    fn default() -> Self {
        Self {
            prefix: Tally::new(MOST_IDS),
            header: Tally::new(MOST_IDS),
            guid: Tally::new(MOST_GUIDS),
            other: 0,
        }
    }
}

impl SideTally {
    #[inline]
    fn payload(&mut self, payload: &[u8]) {
        match Prefix::of(payload) {
            Prefix::Id(id) => self.prefix.push(id),
            Prefix::LongId(_) | Prefix::Guid(_) | Prefix::Glue(_) | Prefix::Other => self.other += 1,
        }
    }

    fn header(&mut self, value: &[u8]) {
        match SchemaRef::of_header(value) {
            Some(SchemaRef::Id(id)) => self.header.push(id),
            Some(SchemaRef::Guid(guid)) => self.guid.push(guid),
            None => self.other += 1,
        }
    }

    fn finish(self) -> SideIds {
        SideIds {
            prefix: self.prefix.finish(),
            header: self.header.finish(),
            guid: self.guid.finish(),
            other: self.other,
        }
    }
}

/// A bounded list in the making.
#[derive(Debug)]
struct Tally<T> {
    counts: BTreeMap<T, u64>,
    /// More different ones than this are too many.
    most: usize,
    beyond: u64,
    /// The id that came last, not counted yet: records mostly come with the id of the one before.
    last: Option<(T, u64)>,
}

impl<T: Copy + Ord> Tally<T> {
    fn new(most: usize) -> Self {
        Self { counts: BTreeMap::new(), most, beyond: 0, last: None }
    }

    #[inline]
    fn push(&mut self, id: T) {
        match &mut self.last {
            Some((last, count)) if *last == id => *count += 1,
            _ => self.turn(id),
        }
    }

    fn turn(&mut self, id: T) {
        if let Some((last, count)) = self.last.replace((id, 1)) {
            self.add(last, count);
        }
    }

    fn add(&mut self, id: T, count: u64) {
        let is_beyond = self.beyond > 0 && self.counts.last_key_value().is_none_or(|(last, _)| *last < id);
        if is_beyond {
            self.beyond = self.beyond.saturating_add(count);
            return;
        }
        let own = self.counts.entry(id).or_default();
        *own = own.saturating_add(count);
        if self.counts.len() > self.most {
            self.most = KEPT_IDS;
            while self.counts.len() > KEPT_IDS {
                self.drop_last();
            }
        }
    }

    fn drop_last(&mut self) {
        if let Some((_, count)) = self.counts.pop_last() {
            self.beyond = self.beyond.saturating_add(count);
        }
    }

    fn merge(&mut self, found: &Listed<T>) {
        for (id, count) in &found.ids {
            self.add(*id, *count);
        }
        if found.beyond == 0 {
            return;
        }
        self.beyond = self.beyond.saturating_add(found.beyond);
        let complete_to = found.complete_to();
        while self.counts.last_key_value().is_some_and(|(last, _)| complete_to.is_none_or(|to| *last > to)) {
            self.drop_last();
        }
    }

    fn finish(mut self) -> Listed<T> {
        if let Some((last, count)) = self.last.take() {
            self.add(last, count);
        }
        Listed { ids: self.counts.into_iter().collect(), beyond: self.beyond }
    }
}

/// Looks through batches; one for each worker, because codec contexts and memory are reused. Holds one batch decompressed.
#[derive(Debug)]
pub struct IdScanner {
    decompressor: Decompressor,
    scratch: Vec<u8>,
    cap: usize,
    tally: IdTally,
}

impl IdScanner {
    /// Of batches that decompress to at most `cap` bytes; larger ones are counted as unread.
    pub fn new(cap: usize) -> Self {
        Self { decompressor: Decompressor::new(), scratch: Vec::new(), cap, tally: IdTally::default() }
    }

    /// Takes the next batch. One that cannot be read is counted: what is wrong with it is its producer's business.
    pub fn batch(&mut self, batch: &RecordBatch<'_>) {
        if batch.attributes().control() || batch.record_count() == 0 {
            return;
        }
        let tally = &mut self.tally;
        let read = self.decompressor.records(batch, self.cap, &mut self.scratch).and_then(|records| {
            for record in records {
                tally.record(&record?);
            }
            Ok(())
        });
        if read.is_err() {
            self.tally.unread += 1;
        }
    }

    /// What was found since the last time; large memory is let go of.
    pub fn finish(&mut self) -> SchemaIds {
        self.scratch.clear();
        self.scratch.shrink_to(KEPT);
        std::mem::take(&mut self.tally).finish()
    }
}
