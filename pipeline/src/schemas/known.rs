//! Which ids a backup's schemas resolve, and which topics are framed by the look of it.
//!
//! An id counts as known where any context of the registry has it: records do not say which context theirs is of. So does a GUID.

use std::collections::HashSet;

use formats::ids::{SchemaId, Topic};
use formats::schema_ids::{Listed, SchemaIds};
use formats::schemas::{Catalog, in_context};
use formats::wire::{SchemaRef, Side};
use uuid::Uuid;

/// A schema that records name and that the backup does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownId {
    /// Where.
    pub topic: Topic,
    /// In or for keys or values.
    pub side: Side,
    /// The id or GUID.
    pub schema: SchemaRef,
    /// How often.
    pub count: u64,
}

/// What a catalog resolves.
#[derive(Debug, Default)]
pub(crate) struct KnownIds {
    ids: HashSet<SchemaId>,
    guids: HashSet<Uuid>,
    /// Subjects and aliases, without their contexts.
    names: HashSet<String>,
}

impl KnownIds {
    pub(crate) fn of(catalog: &Catalog) -> Self {
        let is_alias = |place: &&String| {
            let config = catalog.places.get(*place).and_then(|row| row.config.as_ref());
            config.is_some_and(|config| config.contains_key("alias"))
        };
        let subjects = catalog.subjects.keys().chain(catalog.places.keys().filter(is_alias));
        let mut known = Self {
            names: subjects.map(|subject| in_context(subject).1.to_owned()).collect(),
            ..Self::default()
        };
        for row in catalog.versions() {
            known.ids.extend(SchemaId::new(row.id));
            known.guids.extend(row.guid.as_deref().and_then(|guid| Uuid::parse_str(guid).ok()));
        }
        known
    }

    pub(crate) fn has_id(&self, id: SchemaId) -> bool {
        self.ids.contains(&id)
    }

    pub(crate) fn has_guid(&self, guid: Uuid) -> bool {
        self.guids.contains(&guid)
    }

    /// Whether what begins like an id is one, as far as can be told without reading a record: the side has a subject of its own, or
    /// more than half of what is not null begins with a known id.
    pub(crate) fn is_framed(&self, topic: &Topic, side: Side, known: u64, all: u64) -> bool {
        known > all / 2 || self.names.contains(&format!("{topic}-{side}"))
    }

    /// What the records of a topic name and the catalog does not have; bytes that are hardly framed are left out.
    pub(crate) fn unknown(&self, topic: &Topic, found: &SchemaIds) -> Vec<UnknownId> {
        let mut unknown = Vec::new();
        for side in Side::ALL {
            let ids = found.side(side);
            let mut add = |schema, count| {
                unknown.push(UnknownId { topic: topic.clone(), side, schema, count });
            };
            let foreign = |list: &Listed<SchemaId>| {
                let list = list.ids.iter().filter(|(id, _)| !self.has_id(*id));
                list.map(|(id, count)| (SchemaRef::Id(*id), *count)).collect::<Vec<_>>()
            };
            let listed: u64 = ids.prefix.ids.iter().map(|(_, count)| count).sum();
            let prefixes = foreign(&ids.prefix);
            let known = listed - prefixes.iter().map(|(_, count)| count).sum::<u64>();
            if self.is_framed(topic, side, known, ids.prefix.total().saturating_add(ids.other)) {
                prefixes.into_iter().for_each(|(schema, count)| add(schema, count));
            }
            foreign(&ids.header).into_iter().for_each(|(schema, count)| add(schema, count));
            let guids = ids.guid.ids.iter().filter(|(guid, _)| !self.has_guid(*guid));
            guids.for_each(|(guid, count)| add(SchemaRef::Guid(*guid), *count));
        }
        unknown
    }
}
