//! What was found in a batch, and what became of it.

use std::ops::AddAssign;

use crate::wire::{Place, SchemaRef, Side};

/// About one batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Whether an id changed, so that the batch was written anew.
    pub changed: bool,
    /// How many of each kind were found.
    pub counts: Counts,
    /// The ids that the rules do not know, in the order of records; they are as they were. At most 32 bytes of memory each,
    /// and a record with one takes at least 12.
    pub unknown: Vec<UnknownId>,
}

/// An id that the rules do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownId {
    /// The record's offset.
    pub offset: i64,
    /// Which part of the record has it.
    pub side: Side,
    /// Where it stands.
    pub place: Place,
    /// The id.
    pub schema: SchemaRef,
}

/// Keys and values apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Of keys.
    pub key: SideCounts,
    /// Of values.
    pub value: SideCounts,
}

impl Counts {
    /// Those of a side.
    pub fn of(&self, side: Side) -> &SideCounts {
        match side {
            Side::Key => &self.key,
            Side::Value => &self.value,
        }
    }

    pub(super) fn of_mut(&mut self, side: Side) -> &mut SideCounts {
        match side {
            Side::Key => &mut self.key,
            Side::Value => &mut self.value,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.key += other.key;
        self.value += other.value;
    }
}

/// How many of each kind one side of the records has. The kinds from `unread_headers` on are never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SideCounts {
    /// Ids at the beginning.
    pub prefix: Fates,
    /// Ids in headers.
    pub header_id: Fates,
    /// GUIDs in headers.
    pub header_guid: Fates,
    /// Headers of the name whose value is neither null nor begins with an id or GUID.
    pub unread_headers: u64,
    /// What begins like an id of eight bytes ([`crate::wire::Prefix::LongId`]).
    pub long_ids: u64,
    /// What begins like a GUID.
    pub prefix_guids: u64,
    /// What begins like Glue's framing.
    pub glue: u64,
    /// What begins like none of these; nulls are counted nowhere.
    pub other: u64,
}

impl AddAssign for SideCounts {
    fn add_assign(&mut self, other: Self) {
        self.prefix += other.prefix;
        self.header_id += other.header_id;
        self.header_guid += other.header_guid;
        self.unread_headers += other.unread_headers;
        self.long_ids += other.long_ids;
        self.prefix_guids += other.prefix_guids;
        self.glue += other.glue;
        self.other += other.other;
    }
}

/// What became of ids of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fates {
    /// Stayed, because the rules said so.
    pub same: u64,
    /// Replaced by another.
    pub changed: u64,
    /// Stayed, because the rules do not know them.
    pub unknown: u64,
}

impl AddAssign for Fates {
    fn add_assign(&mut self, other: Self) {
        self.same += other.same;
        self.changed += other.changed;
        self.unknown += other.unknown;
    }
}
