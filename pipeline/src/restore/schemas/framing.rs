//! Which keys and values of a topic name schemas at all, and how that is known.

use std::collections::BTreeMap;

use formats::ids::Topic;
use formats::wire::Side;
use serde::{Deserialize, Serialize};

use super::Told;

/// What each topic of the backup is taken for, by its name there.
pub(crate) type Framings = BTreeMap<Topic, TopicFraming>;

/// How it is known whether one side of a topic's records begins with schema ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// It does not, as far as anything tells: it is never changed.
    #[default]
    Raw,
    /// The archive has a subject of that name (`TOPIC-key`, `TOPIC-value`), so it does.
    Named,
    /// Somebody has said so.
    Told,
    /// Every sampled record begins with an id of the archive, and the rest of it is a message of that schema. Of each record that
    /// would change, this is found out again.
    Inferred,
}

/// One side of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SideFraming {
    /// How it is known.
    pub how: Framing,
    /// Schemas that the archive has under the side's own subject.
    pub schemas: u32,
    /// Records that were looked at, nulls not counted.
    pub sampled: u32,
    /// Of these, those that begin with an id of the archive.
    pub framed: u32,
    /// Of these, those whose rest is a message of that schema.
    pub proven: u32,
}

/// Both sides of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicFraming {
    /// Its keys.
    pub key: SideFraming,
    /// Its values.
    pub value: SideFraming,
    /// Sampled records with a header that names a schema.
    pub headers: u32,
}

impl TopicFraming {
    /// What is known of a topic before any record is looked at; `schemas` counts those of a side's own subject.
    pub(super) fn of(told: &[Told], topic: &Topic, schemas: impl Fn(Side) -> usize) -> Self {
        let mut framing = Self::default();
        for side in Side::ALL {
            let schemas = schemas(side);
            let own = framing.side_mut(side);
            own.schemas = u32::try_from(schemas).unwrap_or(u32::MAX);
            own.how = match told.iter().find_map(|told| told.says(topic, side)) {
                Some(true) => Framing::Told,
                Some(false) => Framing::Raw,
                None if schemas > 0 => Framing::Named,
                None => Framing::Raw,
            };
        }
        framing
    }

    /// That of a side.
    pub fn side(&self, side: Side) -> &SideFraming {
        match side {
            Side::Key => &self.key,
            Side::Value => &self.value,
        }
    }

    pub(super) fn side_mut(&mut self, side: Side) -> &mut SideFraming {
        match side {
            Side::Key => &mut self.key,
            Side::Value => &mut self.value,
        }
    }

    /// Whether its records may name schemas: otherwise they are not looked at.
    pub fn names_schemas(&self) -> bool {
        self.headers > 0 || Side::ALL.iter().any(|side| self.side(*side).how != Framing::Raw)
    }

    /// The same with a side that was taken for framed before.
    pub(crate) fn inferred(mut self, side: Side) -> Self {
        self.side_mut(side).how = Framing::Inferred;
        self
    }

    /// Adds what samples elsewhere have shown.
    pub(super) fn add(&mut self, other: &Self) {
        self.headers += other.headers;
        for side in Side::ALL {
            let (own, other) = (self.side_mut(side), other.side(side));
            own.sampled += other.sampled;
            own.framed += other.framed;
            own.proven += other.proven;
        }
    }

    /// Settles the sides that only samples tell of.
    pub(super) fn infer(&mut self, told: &[Told], topic: &Topic) {
        let is_open = |side: &Side| told.iter().all(|told| told.says(topic, *side).is_none());
        for side in Side::ALL.into_iter().filter(is_open) {
            let own = self.side_mut(side);
            if own.how == Framing::Raw && own.sampled > 0 && own.proven == own.sampled {
                own.how = Framing::Inferred;
            }
        }
    }
}
