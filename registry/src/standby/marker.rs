//! The marker of a standby: whom its store follows, or that it was promoted.
//!
//! It lies among the settings, as those of a subject that nobody can name: `:.__GLOBAL:replevin.standby`. So every store holds it, every
//! instance sees it within half a second, commits can rely on it, and a registry of another make that reads a `_schemas` topic takes it for
//! settings of a subject that it does not have (decisions/0002-the-marker-of-a-standby.md).

use crate::error::{Error, Result};
use crate::schema::Metadata;
use crate::settings::Config;
use crate::state::ContextState;
use crate::store::{Change, Commit};
use std::collections::BTreeMap;

/// The subject, in the context of the defaults for all contexts.
const NAME: &str = "replevin.standby";

/// Whether it still follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is to follow, and nobody may change anything while that is made sure of. Nothing was written yet.
    Joining,
    /// It follows, and takes no changes of others.
    Following,
    /// It is a registry of its own.
    Promoted,
}

/// What a store says about following.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The registry that is followed, without credentials.
    pub leader: String,
    /// Whether it still is.
    pub phase: Phase,
    /// Since when this phase is so, in milliseconds of the epoch.
    pub since_ms: i64,
    /// When both were last known to be equal; 0 before the first time. It is written once a minute at most.
    pub equal_ms: i64,
}

impl Marker {
    /// That of a store, by the state of the context in which it lies.
    pub(crate) fn of(global: &ContextState) -> Option<Self> {
        let properties = global.config(NAME)?.default_metadata.as_ref()?.properties.as_ref()?;
        let text = |name: &str| properties.get(name).map(String::as_str).unwrap_or_default();
        let time = |name: &str| text(name).parse().unwrap_or_default();
        // What a newer program may have written is no reason to take changes.
        let phase = match text("phase") {
            "promoted" => Phase::Promoted,
            "joining" => Phase::Joining,
            _ => Phase::Following,
        };
        let leader = text("leader").to_owned();
        Some(Self { leader, phase, since_ms: time("since_ms"), equal_ms: time("equal_ms") })
    }

    /// The change that writes it.
    pub(crate) fn change(&self) -> Change {
        let phase = match self.phase {
            Phase::Joining => "joining",
            Phase::Following => "following",
            Phase::Promoted => "promoted",
        };
        let properties = BTreeMap::from([
            ("leader".to_owned(), self.leader.clone()),
            ("phase".to_owned(), phase.to_owned()),
            ("since_ms".to_owned(), self.since_ms.to_string()),
            ("equal_ms".to_owned(), self.equal_ms.to_string()),
        ]);
        let metadata = Metadata { properties: Some(properties), ..Metadata::default() };
        let config = Config { default_metadata: Some(metadata), ..Config::default() };
        Change::Config(NAME.into(), Some(Box::new(config)))
    }

    /// The change that takes it away.
    #[cfg(feature = "client")]
    pub(crate) fn removal() -> Change {
        Change::Config(NAME.into(), None)
    }

    /// The row that it is.
    #[cfg(feature = "client")]
    pub(crate) fn key() -> crate::store::Key {
        crate::store::Key::Config(NAME.into())
    }

    /// Whether a commit writes it.
    pub fn is_written_by(commit: &Commit) -> bool {
        let writes = |change: &Change| matches!(change, Change::Config(name, _) if &**name == NAME);
        commit.context.is_global() && commit.changes.iter().any(writes)
    }

    /// When it was promoted.
    pub(crate) fn promoted_ms(&self) -> Option<i64> {
        (self.phase == Phase::Promoted).then_some(self.since_ms)
    }

    /// Seconds since both were known to be equal; before the first time, since it began to follow.
    pub(crate) fn lag_seconds(&self, now_ms: i64) -> f64 {
        let since = if self.equal_ms > 0 { self.equal_ms } else { self.since_ms };
        let ms = u32::try_from(now_ms.saturating_sub(since).max(0) / 1000).unwrap_or(u32::MAX);
        f64::from(ms)
    }

    /// Refuses changes of anybody but the leader.
    pub(crate) fn require_own(&self) -> Result<()> {
        match self.phase {
            Phase::Promoted => Ok(()),
            Phase::Joining | Phase::Following => Err(Error::not_permitted(format!(
                "This registry is a standby of {} and takes no changes. Send them there; or, where that one is gone for good, promote \
                 this one: POST /admin/standby/promote, or start it with --promote",
                self.leader
            ))),
        }
    }
}
