//! What a restore would do, version by version, and what is in the way. A plan touches nothing, and can be shown as JSON or as lines.

use super::ids::{ContextId, IdMap};
use super::settings::Strategy;
use crate::client;
use crate::settings::Mode;
use crate::transfer::index::{Key, Place};
use crate::transfer::journal::Began;
use crate::transfer::source::Side;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Obstacles that are named; more are only counted.
pub(super) const NAMED: usize = 1000;

/// What becomes of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is registered.
    Create,
    /// The target's version of that number is deleted for good, and it is registered in its place.
    Replace,
    /// It is there, and is softly deleted.
    Delete,
    /// It is there under its id.
    Exists,
    /// It is there under another id.
    ExistsUnderOtherId,
    /// It is the same schema as another version that the subject gets, and becomes that one.
    Shared,
    /// The target has its subject, and the strategy leaves such ones alone.
    Skipped,
    /// Its number or its id is another schema's in the target.
    Conflict,
    /// The target would refuse it beside the other versions.
    Incompatible,
    /// What it refers to is nowhere, or cannot be restored.
    ReferenceMissing,
    /// It refers to itself in the end.
    Cycle,
    /// It is to take the place of a version of the target, and is no schema, or refers to such a one: it is left out.
    NotTaken,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "register",
            Self::Replace => "replace",
            Self::Delete => "delete",
            Self::Exists => "there",
            Self::ExistsUnderOtherId => "there (other id)",
            Self::Shared => "shared",
            Self::Skipped => "skipped",
            Self::Conflict => "conflict",
            Self::Incompatible => "incompatible",
            Self::ReferenceMissing => "reference missing",
            Self::Cycle => "cycle",
            Self::NotTaken => "left out",
        }
    }

    /// Something is registered.
    pub(super) fn is_written(self) -> bool {
        matches!(self, Self::Create | Self::Replace)
    }

    /// The target has the version when the plan is carried out.
    pub(super) fn is_there_in_the_end(self) -> bool {
        !matches!(
            self,
            Self::Skipped
                | Self::Conflict
                | Self::Incompatible
                | Self::ReferenceMissing
                | Self::Cycle
                | Self::NotTaken
        )
    }
}

/// A version of the archive, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// The subject in the archive.
    pub subject: Arc<str>,
    /// The number there.
    pub version: i32,
    /// The id there.
    pub id: u32,
    /// The subject in the target.
    pub target_subject: Arc<str>,
    /// The number that it has in the target, or is expected to get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_version: Option<i32>,
    /// The id that it has in the target, or is registered with. Nothing where the target is to give one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_id: Option<u32>,
    /// What becomes of it.
    pub action: Action,
    /// It is softly deleted once it is registered.
    #[serde(skip_serializing_if = "is_false")]
    pub deleted: bool,
    /// It is gone from the source, and kept because records may have its id.
    #[serde(skip_serializing_if = "is_false")]
    pub gone: bool,
    /// What refers to it, where it is restored for that alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed_by: Option<String>,
    /// What else is to be known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its GUID in the archive.
    #[serde(skip)]
    pub(super) guid: Option<Box<str>>,
    /// The target's GUID of what is there.
    #[serde(skip)]
    pub(super) target_guid: Option<Box<str>>,
    /// The place of the version in the plan that this one becomes.
    #[serde(skip)]
    pub(super) shares: Option<usize>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Version {
    /// The version in the archive.
    pub fn key(&self) -> Key {
        Key { subject: Arc::clone(&self.subject), version: self.version }
    }

    pub(super) fn target(&self) -> Option<Key> {
        let version = self.target_version?;
        Some(Key { subject: Arc::clone(&self.target_subject), version })
    }
}

/// Something that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// What kind of thing it is.
    pub what: What,
    /// The subject in the archive, or the place in the target.
    pub subject: String,
    /// The version, where it is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// What is in the way.
    pub why: String,
    /// What to do about it.
    pub next_step: String,
}

/// Kinds of obstacles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A number, an id or a name is another's.
    Conflict,
    /// The target would refuse a version beside the others.
    Incompatible,
    /// A reference leads nowhere.
    ReferenceMissing,
    /// Schemas refer to each other.
    Cycle,
    /// The target does not let itself be written.
    Mode,
    /// The target's settings would change what is registered.
    Settings,
}

/// What is changed while versions are written, and put back afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ForTheTime {
    /// Modes, each with what it is now; nothing where a place has none of its own.
    pub modes: BTreeMap<Place, (Option<Mode>, Mode)>,
    /// Settings; null clears.
    pub configs: BTreeMap<Place, client::Settings>,
}

/// What a restore would do.
#[derive(Clone, Serialize)]
pub struct Plan {
    /// The archive.
    pub source: String,
    /// The target.
    pub target: String,
    /// What becomes of what the target has.
    pub strategy: Strategy,
    /// The versions that are wanted, in the order in which they are written.
    pub versions: Vec<Version>,
    /// Versions of the target that are deleted for good first, in that order.
    pub removed: Vec<String>,
    /// Settings as they are in the end (null clears), or nothing where they go.
    pub configs: BTreeMap<Place, Option<client::Settings>>,
    /// Modes as they are in the end.
    pub modes: BTreeMap<Place, Mode>,
    /// What is changed for the time.
    pub for_the_time: ForTheTime,
    /// What is in the way, the first thousand. Nothing is written as long as there is anything.
    pub obstacles: Vec<Obstacle>,
    /// How much is in the way.
    pub obstacle_count: u64,
    /// What whoever decides should know.
    pub warnings: Vec<String>,
    /// How many versions there are of each action.
    pub counts: BTreeMap<Action, u64>,
    /// Versions of the archive that the filters leave out.
    pub left_out: u64,
    /// Ids that nothing in the target will stand for.
    pub unmapped: Vec<String>,
    #[serde(skip)]
    pub(super) removals: Vec<Key>,
    #[serde(skip)]
    pub(super) began: Began,
    #[serde(skip)]
    pub(super) there: Arc<Side>,
    #[serde(skip)]
    pub(super) before: BTreeMap<Place, Option<client::Settings>>,
    /// Subjects of the target whose versions it compares with those before.
    #[serde(skip)]
    pub(super) compared: BTreeSet<Arc<str>>,
    #[serde(skip)]
    pub(super) no_id: BTreeSet<ContextId>,
    #[serde(skip)]
    pub(super) no_guid: BTreeSet<Box<str>>,
    #[serde(skip)]
    pub(super) names: BTreeMap<String, String>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl Plan {
    /// There is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.removals.is_empty()
            && self.configs.is_empty()
            && self.modes.is_empty()
            && !self
                .versions
                .iter()
                .any(|version| version.action.is_written() || version.action == Action::Delete)
    }

    /// What the target has already of what is wanted.
    pub fn map(&self) -> IdMap {
        let found = self.versions.iter().map(|version| {
            let there =
                matches!(version.action, Action::Exists | Action::ExistsUnderOtherId | Action::Delete);
            let id = version.target_id.filter(|_| there)?;
            Some(super::run::Landed {
                id,
                version: version.target_version,
                guid: version.target_guid.clone(),
            })
        });
        super::run::map(self, &found.collect::<Vec<_>>())
    }

    /// The plan for people: what is written, what is changed for the time, what is in the way.
    pub fn lines(&self) -> Vec<String> {
        let counts = self.counts.iter().map(|(action, count)| format!("{count} {}", action.word()));
        let mut lines =
            vec![format!("{} -> {}: {}", self.source, self.target, counts.collect::<Vec<_>>().join(", "))];
        if self.left_out > 0 {
            lines.push(format!("  {} more of the archive are not asked for", self.left_out));
        }
        lines.extend(self.removed.iter().map(|key| format!("  delete for good    {key}")));
        let quiet = [Action::Exists, Action::Shared];
        for version in self.versions.iter().filter(|version| !quiet.contains(&version.action)) {
            lines.push(format!("  {:<18} {}", version.action.word(), said(version)));
        }
        let place = |place: &str| if place.is_empty() { "the registry".to_owned() } else { place.to_owned() };
        for (at, (before, mode)) in &self.for_the_time.modes {
            let before = before.map_or("as its context".to_owned(), |before| before.to_string());
            lines.push(format!("  mode for the time  {}: {mode}, then {before} again", place(at)));
        }
        for (at, config) in &self.for_the_time.configs {
            let config = serde_json::Value::Object(config.clone());
            lines.push(format!("  set for the time   {}: {config}", place(at)));
        }
        lines.extend(self.configs.iter().map(|(at, config)| match config {
            Some(config) => {
                format!("  settings           {}: {}", place(at), serde_json::Value::Object(config.clone()))
            }
            None => format!("  settings           {}: removed", place(at)),
        }));
        lines.extend(
            self.modes.iter().map(|(at, mode)| format!("  mode               {}: {mode}", place(at))),
        );
        lines.extend(self.warnings.iter().map(|warning| format!("note: {warning}")));
        for obstacle in &self.obstacles {
            let version = obstacle.version.map_or(String::new(), |version| format!(" version {version}"));
            lines.push(format!("in the way: {}{version}: {}", place(&obstacle.subject), obstacle.why));
            lines.push(format!("  -> {}", obstacle.next_step));
        }
        let more = self.obstacle_count.saturating_sub(self.obstacles.len() as u64);
        if more > 0 {
            lines.push(format!("in the way: {more} more"));
        }
        lines
    }
}

fn said(version: &Version) -> String {
    let mut text = format!("{} version {} (id {})", version.subject, version.version, version.id);
    let id = version.target_id.map_or("an id of the target's".to_owned(), |id| format!("id {id}"));
    match version.target_version {
        Some(number) if version.subject == version.target_subject => {
            text += &format!(" -> version {number}, {id}");
        }
        Some(number) => text += &format!(" -> {} version {number}, {id}", version.target_subject),
        None => {}
    }
    if version.gone {
        text += ", gone from the source, then softly deleted";
    } else if version.deleted {
        text += ", then softly deleted";
    }
    if let Some(needed_by) = &version.needed_by {
        text += &format!(", because {needed_by} refers to it");
    }
    if let Some(note) = &version.note {
        text += &format!(": {note}");
    }
    text
}
