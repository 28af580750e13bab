//! What every id and GUID of the archive becomes, and under which subjects it is known.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use formats::ids::{SchemaId, Topic};
use formats::schemas::{Catalog, VersionRow, in_context};
use formats::wire::Side;
use uuid::Uuid;

use super::{ContextId, SchemaMap};

/// What becomes of an id or GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::restore) enum Landing<T> {
    /// It is the same in the target.
    Same,
    /// It is another one there.
    Other(T),
    /// The target is to give one.
    New,
    /// Nothing in the target stands for it.
    Nowhere,
}

/// An id of one context, and what becomes of it.
#[derive(Debug, Clone)]
pub(in crate::restore) struct Candidate {
    pub(in crate::restore) context: Arc<str>,
    /// A version that has it, to read its schema.
    pub(in crate::restore) subject: Arc<str>,
    pub(in crate::restore) version: i32,
    pub(in crate::restore) to: Landing<SchemaId>,
}

/// All ids and GUIDs of an archive.
#[derive(Debug, Default)]
pub(in crate::restore) struct Ids {
    by_id: HashMap<SchemaId, Vec<Candidate>>,
    guids: HashMap<Uuid, Landing<Uuid>>,
    contexts: Vec<Arc<str>>,
    /// Whether any of them changes, or may.
    changes: bool,
}

/// What a topic's side is named after in a catalog: `TOPIC-key` and `TOPIC-value`, as TopicNameStrategy has it.
fn strategy_name(topic: &Topic, side: Side) -> String {
    format!("{topic}-{side}")
}

fn qualified(context: &str, name: &str) -> String {
    if context == "." { name.to_owned() } else { format!(":{context}:{name}") }
}

impl Ids {
    /// Of a catalog, with what is known of the target.
    pub(in crate::restore) fn new(catalog: &Catalog, map: &SchemaMap, new: &[ContextId]) -> Self {
        let new: HashSet<&ContextId> = new.iter().collect();
        let mut ids = Self::default();
        for (subject, rows) in &catalog.subjects {
            let subject: Arc<str> = subject.as_str().into();
            let context = ids.context(in_context(&subject).0);
            for row in rows {
                ids.take(&context, &subject, row, map, &new);
            }
        }
        ids.changes = ids.by_id.values().flatten().any(|candidate| candidate.to != Landing::Same)
            || ids.guids.values().any(|to| *to != Landing::Same);
        ids
    }

    fn context(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.contexts.iter().find(|known| &***known == name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.contexts.push(Arc::clone(&new));
        new
    }

    fn take(
        &mut self,
        context: &Arc<str>,
        subject: &Arc<str>,
        row: &VersionRow,
        map: &SchemaMap,
        new: &HashSet<&ContextId>,
    ) {
        let Some(id) = SchemaId::new(row.id) else { return };
        let candidates = self.by_id.entry(id).or_default();
        let known = candidates.iter().find(|candidate| candidate.context == *context);
        let to = match known {
            Some(known) => known.to,
            None => {
                let key = ContextId { context: Arc::clone(context), id };
                let to = match map.ids.get(&key) {
                    Some(to) if *to == id => Landing::Same,
                    Some(to) => Landing::Other(*to),
                    None if new.contains(&key) => Landing::New,
                    None => Landing::Nowhere,
                };
                candidates.push(Candidate {
                    context: Arc::clone(context),
                    subject: Arc::clone(subject),
                    version: row.version,
                    to,
                });
                to
            }
        };
        let Some(guid) = row.guid.as_deref().and_then(|guid| Uuid::parse_str(guid).ok()) else { return };
        let to = match (map.guids.get(&guid), to) {
            _ if map.unmapped_guids.contains(&guid) => Landing::Nowhere,
            (Some(other), _) if *other != guid => Landing::Other(*other),
            (Some(_), _) => Landing::Same,
            (_, Landing::Nowhere) => Landing::Nowhere,
            (_, Landing::New) => Landing::New,
            _ => Landing::Same,
        };
        let entry = self.guids.entry(guid).or_insert(to);
        // One schema may have several ids; one of them that is there is enough.
        if *entry == Landing::Nowhere {
            *entry = to;
        }
    }

    /// Whether anything changes, or may: otherwise no record need be looked at.
    pub(in crate::restore) fn change(&self) -> bool {
        self.changes
    }

    /// The ids of this number, one for each context that has it.
    pub(in crate::restore) fn candidates(&self, id: SchemaId) -> &[Candidate] {
        self.by_id.get(&id).map_or(&[], Vec::as_slice)
    }

    /// What becomes of a GUID; nothing where the archive does not know it.
    pub(in crate::restore) fn guid(&self, guid: Uuid) -> Option<Landing<Uuid>> {
        self.guids.get(&guid).copied()
    }

    /// Whether the archive knows GUIDs: what they become is only known when the schemas are there.
    pub(in crate::restore) fn has_guids(&self) -> bool {
        !self.guids.is_empty()
    }

    /// How many ids stay, become others, are to be given, and are nowhere.
    pub(in crate::restore) fn totals(&self) -> [u64; 4] {
        let mut totals = [0; 4];
        for candidate in self.by_id.values().flatten() {
            totals[match candidate.to {
                Landing::Same => 0,
                Landing::Other(_) => 1,
                Landing::New => 2,
                Landing::Nowhere => 3,
            }] += 1;
        }
        totals
    }

    /// The ids that one side of a topic may have by the name of its subject, in whatever contexts, an alias followed; those of two
    /// contexts that come to different ends are not among them: only the record can tell which it is.
    pub(in crate::restore) fn named(
        &self,
        catalog: &Catalog,
        topic: &Topic,
        side: Side,
    ) -> BTreeMap<SchemaId, Option<Landing<SchemaId>>> {
        let name = strategy_name(topic, side);
        let mut named: BTreeMap<SchemaId, Option<Landing<SchemaId>>> = BTreeMap::new();
        for context in &self.contexts {
            let subject = qualified(context, &name);
            let alias =
                catalog.places.get(&subject).and_then(|place| place.config.as_ref()?.get("alias")?.as_str());
            let subjects = std::iter::once(subject.clone())
                .chain(alias.map(|alias| formats::schemas::reference_target(&subject, alias)));
            for row in subjects.filter_map(|subject| catalog.subjects.get(&subject)).flatten() {
                let Some(id) = SchemaId::new(row.id) else { continue };
                // An alias may lead into another context.
                let (of, _) = in_context(&row.subject);
                let own = self.candidates(id).iter().find(|candidate| &*candidate.context == of);
                let Some(to) = own.map(|candidate| candidate.to) else { continue };
                named
                    .entry(id)
                    .and_modify(|known| *known = known.filter(|known| *known == to))
                    .or_insert(Some(to));
            }
        }
        named
    }
}
