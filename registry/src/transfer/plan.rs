//! What must be done to a registry so that it has what another one has, and what is in the way of that.

use super::content::settled;
use super::diff::same_config;
use super::error::Result;
use super::index::{Entry, Index, Key, Place, root};
use super::source::Side;
use crate::client::Settings;
use crate::names::Context;
use crate::settings::Mode;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Something that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// The subject.
    pub subject: String,
    /// The version.
    pub version: i32,
    /// What is in the way.
    pub why: String,
    /// What to do about it.
    pub next_step: String,
}

/// What is to become of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// Registered; then softly deleted, where it is so at the source.
    Register(Key),
    /// Softly deleted: it is there already.
    Delete(Key),
    /// Deleted for good, as at the source.
    Remove(Key),
}

impl Planned {
    /// The version.
    pub fn key(&self) -> &Key {
        match self {
            Self::Register(key) | Self::Delete(key) | Self::Remove(key) => key,
        }
    }
}

/// What is to be done, and what is in the way.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Versions, in the order in which they can be written.
    pub versions: Vec<Planned>,
    /// Subjects of which an alias is lifted first: what is written to them would land in another one. `configs` has what comes after.
    pub aliases: BTreeSet<Place>,
    /// Settings as they will be set (null clears), or nothing where they go.
    pub configs: BTreeMap<Place, Option<Settings>>,
    /// Modes as they will be set, or nothing where they go.
    pub modes: BTreeMap<Place, Option<Mode>>,
    /// What is in the way.
    pub conflicts: Vec<Conflict>,
    /// Versions that are there already.
    pub present: u64,
    /// Versions of the target that the source does not have; they stay.
    pub extra: u64,
}

impl Plan {
    /// There is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.configs.is_empty() && self.modes.is_empty()
    }

    /// How many versions are registered, and how many only deleted.
    pub fn registered(&self) -> usize {
        self.versions.iter().filter(|planned| matches!(planned, Planned::Register(_))).count()
    }

    /// Contexts that are written to.
    pub(super) fn contexts(&self) -> BTreeSet<Context> {
        let versions = self.versions.iter().map(|planned| planned.key().subject().context);
        let configs = self.configs.keys().map(|place| crate::names::Subject::parse(place).context);
        versions.chain(configs).collect()
    }
}

/// Plans to bring what `from` has into `to`, modes too where that is wanted. `gone` was at the source, and is not any more, or is another
/// schema there now: `to` has it from there, so it is no conflict.
pub async fn plan(from: &Side, to: &Side, modes: bool, gone: &[Key]) -> Result<Plan> {
    let mut plan = Plan::default();
    let gone: HashSet<&Key> = gone.iter().collect();
    let conflicts = &mut plan.conflicts;
    let todo = versions(from, to, &gone, &mut plan.present, conflicts).await?;
    // What refers to something goes before it.
    let leaves = |key: &Key| {
        let stays = from.index.versions.contains_key(key) && todo.get(key) != Some(&Need::Replace);
        gone.contains(key) && !stays
    };
    let removed: Vec<&Key> = to.index.versions.keys().rev().filter(|key| leaves(key)).collect();
    plan.versions.extend(removed.iter().copied().cloned().map(Planned::Remove));
    ids(from, to, &todo, &removed.iter().copied().collect(), conflicts).await?;
    unreachable(from, to, &todo, conflicts);
    plan.versions.extend(ordered(from, to, &todo));
    let extra = to.index.versions.keys().filter(|key| !from.index.versions.contains_key(*key));
    plan.extra = extra.filter(|key| !gone.contains(key)).count() as u64;
    let mut subjects = from.index.subjects();
    subjects.extend(gone.iter().map(|key| &*key.subject));
    // A registry that deletes the last version of a subject deletes its settings with it.
    let emptied = emptied(&to.index, &removed);
    configs(&from.index, &to.index, &subjects, &emptied, &mut plan);
    hidden(&from.index, &to.index, &mut plan);
    if modes {
        mode_changes(&from.index, &to.index, &subjects, &emptied, &mut plan);
    }
    Ok(plan)
}

/// What a version needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Register,
    /// Deleted for good first: the target has what the source had under this number.
    Replace,
    Delete,
}

type Todo = HashMap<Key, Need>;

fn is_registered(todo: &Todo, key: &Key) -> bool {
    matches!(todo.get(key), Some(Need::Register | Need::Replace))
}

async fn versions(
    from: &Side,
    to: &Side,
    gone: &HashSet<&Key>,
    present: &mut u64,
    conflicts: &mut Vec<Conflict>,
) -> Result<Todo> {
    let mut todo = Todo::new();
    for (key, entry) in &from.index.versions {
        let Some(there) = to.index.versions.get(key) else {
            todo.insert(key.clone(), Need::Register);
            continue;
        };
        let is_other = there.id != entry.id
            || (there.fingerprint != entry.fingerprint && !from.is_same(key, to, key).await?);
        if is_other && gone.contains(key) {
            todo.insert(key.clone(), Need::Replace);
        } else if there.id != entry.id {
            let why = format!("it has id {} there, and id {} here", there.id, entry.id);
            conflicts.push(conflict(key, why, "delete it there for good, or take another registry"));
        } else if is_other {
            let why = format!("it is another schema there, under the same id {}", there.id);
            conflicts.push(conflict(key, why, "delete it there for good, or take another registry"));
        } else if there.deleted == entry.deleted {
            *present += 1;
        } else {
            // To be registered again is how a deleted version comes back.
            todo.insert(key.clone(), if entry.deleted { Need::Delete } else { Need::Register });
        }
    }
    Ok(todo)
}

/// Ids that belong to something else there, or to two schemas here.
async fn ids(
    from: &Side,
    to: &Side,
    todo: &Todo,
    removed: &HashSet<&Key>,
    conflicts: &mut Vec<Conflict>,
) -> Result<()> {
    let (here, there) = (from.index.ids(), to.index.ids());
    for (id, users) in &here {
        let mut users = users.iter().filter_map(|n| from.index.versions.get_index(*n));
        let Some((first, entry)) = users.next() else { continue };
        for (other, theirs) in users {
            if entry.fingerprint != theirs.fingerprint && !from.is_same(first, from, other).await? {
                let why = format!("its id {} belongs to another schema here too: {first}", id.1);
                conflicts.push(conflict(other, why, "one id cannot mean two schemas; mend the source first"));
            }
        }
        let concerned = todo.get(first) == Some(&Need::Register) && !to.index.versions.contains_key(first);
        let users = there.get(id).into_iter().flatten().filter_map(|n| to.index.versions.get_index(*n));
        let Some((holder, theirs)) = users.filter(|_| concerned).find(|(user, _)| !removed.contains(user))
        else {
            continue;
        };
        if entry.fingerprint != theirs.fingerprint && !from.is_same(first, to, holder).await? {
            let why = format!("its id {} belongs to another schema there: {holder}", id.1);
            let next =
                "take an empty registry or another context; ids in data cannot be told apart otherwise";
            conflicts.push(conflict(first, why, next));
        }
    }
    Ok(())
}

/// References that will lead nowhere, or to what comes later.
fn unreachable(from: &Side, to: &Side, todo: &Todo, conflicts: &mut Vec<Conflict>) {
    let registered = from.index.versions.iter().enumerate();
    for (n, (key, entry)) in registered.filter(|(_, (key, _))| is_registered(todo, key)) {
        for reference in &entry.references {
            let place = from.index.versions.get_index_of(reference);
            if to.index.versions.contains_key(reference) || place.is_some_and(|place| place < n) {
                continue;
            }
            let (why, next) = match place {
                Some(_) => (
                    format!("it refers to {reference}, which comes later or refers back to it"),
                    "no registry takes schemas that refer to each other; mend the source first",
                ),
                None => (
                    format!("it refers to {reference}, which is neither here nor there"),
                    "bring that one too, or delete what refers to it",
                ),
            };
            conflicts.push(conflict(key, why, next));
        }
    }
}

/// Subjects there that an alias hides: what is written to them, or deleted, would be so in another one.
fn hidden(from: &Index, to: &Index, plan: &mut Plan) {
    let has_alias = |place: &str| {
        let alias = to.configs.get(place).and_then(|config| config.get("alias")).and_then(Value::as_str);
        alias.is_some_and(|alias| !alias.is_empty())
    };
    let written = plan.versions.iter().map(|planned| &*planned.key().subject);
    plan.aliases = written.filter(|subject| has_alias(subject)).map(str::to_owned).collect();
    for place in &plan.aliases {
        let config = || from.configs.get(place).cloned();
        plan.configs.entry(place.clone()).or_insert_with(config);
    }
}

fn conflict(key: &Key, why: String, next_step: &str) -> Conflict {
    Conflict { subject: key.subject.to_string(), version: key.version, why, next_step: next_step.to_owned() }
}

/// In the order of the source, and then, backwards, what is only deleted: nothing is deleted while something live refers to it. Only where
/// a deleted version and a later one are the same schema, the later one comes first: a registry that sees it come after the deleted one
/// takes that for gone.
fn ordered(from: &Side, to: &Side, todo: &Todo) -> Vec<Planned> {
    let versions = &from.index.versions;
    let mut later: HashMap<(&str, u32), Vec<&Key>> = HashMap::new();
    for (key, entry) in versions {
        later.entry((&key.subject, entry.id)).or_default().push(key);
    }
    let (mut order, mut deleted) = (Vec::with_capacity(todo.len()), Vec::new());
    let mut done: HashSet<&Key> = HashSet::new();
    for (key, entry) in versions {
        let mut twins: Vec<&Key> = match entry.deleted {
            true => later[&(&*key.subject, entry.id)]
                .iter()
                .copied()
                .filter(|twin| twin.version > key.version)
                .collect(),
            false => Vec::new(),
        };
        twins.sort_by_key(|twin| std::cmp::Reverse(twin.version));
        let mut disturbed = false;
        for twin in twins {
            if is_registered(todo, twin) && done.insert(twin) {
                disturbed |= to.index.versions.contains_key(key);
                order.push(Planned::Register(twin.clone()));
            }
        }
        match todo.get(key) {
            Some(Need::Register | Need::Replace) if done.insert(key) => {
                order.push(Planned::Register(key.clone()))
            }
            Some(Need::Delete) => deleted.push(Planned::Delete(key.clone())),
            _ if disturbed => order.push(Planned::Register(key.clone())),
            _ => {}
        }
    }
    order.extend(deleted.into_iter().rev());
    order
}

/// Subjects of which everything goes.
fn emptied<'a>(to: &Index, removed: &[&'a Key]) -> HashSet<&'a str> {
    let mut emptied: HashSet<&str> = removed.iter().map(|key| &*key.subject).collect();
    let removed: HashSet<&Key> = removed.iter().copied().collect();
    for key in to.versions.keys().filter(|key| !removed.contains(key)) {
        emptied.remove(&*key.subject);
    }
    emptied
}

/// Settings there that the source speaks for: those of its places, of its subjects, gone ones too, and of its contexts.
fn configs(from: &Index, to: &Index, subjects: &HashSet<&str>, emptied: &HashSet<&str>, plan: &mut Plan) {
    for (place, config) in &from.configs {
        let there = to.configs.get(place).filter(|_| !emptied.contains(&**place));
        if same_config(Some(config), there) {
            continue;
        }
        let mut settings = match settled(&Value::Object(config.clone())) {
            Value::Object(settings) => settings,
            _ => Settings::new(),
        };
        for name in there.into_iter().flat_map(|there| there.keys()) {
            if !settings.contains_key(name) {
                settings.insert(name.clone(), Value::Null);
            }
        }
        plan.configs.insert(place.clone(), Some(settings));
    }
    for place in to.configs.keys().filter(|place| speaks_for(from, subjects, place) && !place.is_empty()) {
        if !from.configs.contains_key(place) {
            plan.configs.insert(place.clone(), None);
        }
    }
}

fn mode_changes(
    from: &Index,
    to: &Index,
    subjects: &HashSet<&str>,
    emptied: &HashSet<&str>,
    plan: &mut Plan,
) {
    for (place, mode) in &from.modes {
        if to.modes.get(place) != Some(mode) || emptied.contains(&**place) {
            plan.modes.insert(place.clone(), Some(*mode));
        }
    }
    // It hides all other modes, so nobody knows that there are none.
    if from.modes.get("") == Some(&Mode::ReadonlyOverride) {
        return;
    }
    for place in to.modes.keys().filter(|place| speaks_for(from, subjects, place) && !place.is_empty()) {
        if !from.modes.contains_key(place) {
            plan.modes.insert(place.clone(), None);
        }
    }
}

/// Whether a source says something of a place, if only by saying nothing.
fn speaks_for(from: &Index, subjects: &HashSet<&str>, place: &str) -> bool {
    let subject = crate::names::Subject::parse(place);
    if subject.is_root() {
        return from.contexts.contains(subject.context.as_str()) && place == root(&subject.context);
    }
    subjects.contains(place)
}

/// A version as it is at the source.
pub(super) fn entry<'a>(side: &'a Side, key: &Key) -> Option<&'a Entry> {
    side.index.versions.get(key)
}
