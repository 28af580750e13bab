//! Which numbers and ids versions are to have, and what that means for the order in which they come.

use super::super::ids::ContextId;
use super::super::plan::{Action, Version};
use super::super::settings::{Ids, Strategy};
use super::Decide;
use crate::names::{Context, Subject};
use crate::transfer::index::Key;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// The number of a version that comes, and its place in the plan.
type Twin = (Option<i32>, usize);

impl Decide<'_> {
    /// Numbers. Where some version of a context comes with an id or a number of its own, all of them do: an id that the target gave
    /// in between might be one of those that are still to come. Gives the places of those for which no id is left.
    pub(super) fn numbers(&self, versions: &mut [Version], removals: &[Key]) -> Vec<usize> {
        let mut next: HashMap<Arc<str>, i32> = HashMap::new();
        let mut used: HashSet<Key> = self.to.index.versions.keys().cloned().collect();
        used.extend(
            versions.iter().filter(|version| version.action.is_written()).filter_map(Version::target),
        );
        let emptied: HashSet<&str> = removals.iter().map(|key| &*key.subject).collect();
        let mut same: HashMap<(Arc<str>, u32), u32> = HashMap::new();
        for version in versions.iter() {
            *same.entry((Arc::clone(&version.subject), version.id)).or_default() += 1;
        }
        let mut importing: BTreeSet<Context> = BTreeSet::new();
        for version in versions.iter_mut().filter(|version| version.action.is_written()) {
            let subject = Arc::clone(&version.target_subject);
            let counted = next.entry(Arc::clone(&subject)).or_insert_with(|| {
                let last = self.theirs.get(&*subject).and_then(|versions| versions.last());
                last.map_or(1, |(key, _)| key.version.saturating_add(1))
            });
            let place = self.from.index.versions.get_index_of(&version.key());
            let is_new = place.and_then(|place| self.matched.get(&place)).is_none_or(Vec::is_empty);
            // The target may count where that comes to the same.
            let is_counted = match version.target_version {
                Some(number) => {
                    number == *counted
                        && is_new
                        && !emptied.contains(&*subject)
                        && same[&(Arc::clone(&version.subject), version.id)] == 1
                }
                None => place.is_none_or(|place| !self.is_exact(place)),
            };
            let number = version.target_version.unwrap_or_else(|| {
                let key = |version| Key { subject: Arc::clone(&subject), version };
                match version.target_id {
                    Some(_) if !used.contains(&key(version.version)) => version.version,
                    _ => (*counted..).find(|number| !used.contains(&key(*number))).unwrap_or(*counted),
                }
            });
            *counted = (*counted).max(number.saturating_add(1));
            used.insert(Key { subject, version: number });
            if version.target_id.is_some() || !is_counted {
                importing.insert(Subject::parse(&version.target_subject).context);
            }
            version.target_version = Some(number);
        }
        importing.iter().flat_map(|context| self.fresh_ids(context, versions, removals)).collect()
    }

    /// Ids for versions of a context that have none: that of the same schema there, or the next ones behind all that are used. Gives
    /// the places of those for which none is left.
    fn fresh_ids(&self, context: &Context, versions: &mut [Version], removals: &[Key]) -> Vec<usize> {
        let removed: HashSet<&Key> = removals.iter().collect();
        let there = self.holders.range((context.clone(), 0)..=(context.clone(), u32::MAX));
        let of_context = |version: &Version| Subject::parse(&version.target_subject).context == *context;
        let planned =
            versions.iter().filter(|version| of_context(version)).filter_map(|version| version.target_id);
        let mut highest = there.map(|((_, id), _)| *id).chain(planned).max().unwrap_or_default();
        let mut given: HashMap<ContextId, u32> = HashMap::new();
        let wanting = |version: &Version| version.action.is_written() && version.target_id.is_none();
        let mut none_left = Vec::new();
        for (at, version) in versions.iter_mut().enumerate() {
            if !wanting(version) || !of_context(version) {
                continue;
            }
            let own = ContextId::of(&version.key(), version.id);
            let place = self.from.index.versions.get_index_of(&version.key());
            let elsewhere = || {
                let mut found = self.find_elsewhere(place?).filter(|(key, _)| !removed.contains(key));
                found.next().map(|(_, entry)| entry.id)
            };
            // Replaced because what it refers to is: the text is the same one.
            let replaced = || {
                let there = self.to.index.versions.get(&version.target()?)?;
                (there.outline == self.own(place?).1.outline).then_some(there.id)
            };
            // Clients read four bytes with a sign.
            let mut next = || {
                highest = highest.checked_add(1).filter(|id| i32::try_from(*id).is_ok())?;
                Some(highest)
            };
            match given.get(&own).copied().or_else(elsewhere).or_else(replaced).or_else(&mut next) {
                Some(id) => {
                    given.insert(own, id);
                    version.target_id = Some(id);
                }
                None => none_left.push(at),
            }
        }
        none_left
    }

    /// Only where a deleted version and a later one are the same schema, the later one comes first: a registry that sees it come
    /// after the deleted one takes that for gone.
    pub(super) fn with_twins_first(&self, versions: Vec<Version>) -> Vec<Version> {
        if self.settings.ids != Ids::Forced && self.settings.strategy != Strategy::Overwrite {
            return versions;
        }
        let of = |version: &Version| Some((Arc::clone(&version.target_subject), version.target_id?));
        // Those that come, with their numbers.
        let mut twins: HashMap<(Arc<str>, u32), Vec<Twin>> = HashMap::new();
        for (at, version) in versions.iter().enumerate().filter(|(_, version)| version.action.is_written()) {
            if let Some(schema) = of(version) {
                twins.entry(schema).or_default().push((version.target_version, at));
            }
        }
        let mut versions: Vec<Option<Version>> = versions.into_iter().map(Some).collect();
        let mut order = Vec::with_capacity(versions.len());
        for at in 0..versions.len() {
            let Some(version) = &versions[at] else { continue };
            let number = version.target_version;
            let there = version.target().and_then(|key| self.to.index.versions.get(&key));
            let deleted = match version.action {
                Action::Exists | Action::ExistsUnderOtherId => there.is_some_and(|entry| entry.deleted),
                _ => version.deleted,
            };
            let of_schema = of(version).and_then(|schema| twins.get(&schema));
            let mut later: Vec<Twin> = match of_schema {
                Some(twins) if deleted && number.is_some() => {
                    twins.iter().copied().filter(|(twin, _)| *twin > number).collect()
                }
                _ => Vec::new(),
            };
            later.sort_unstable_by(|one, other| other.cmp(one));
            let is_disturbed = !later.is_empty();
            order.extend(later.into_iter().filter_map(|(_, twin)| versions[twin].take()));
            if let Some(mut version) = versions[at].take() {
                let is_there =
                    matches!(version.action, Action::Exists | Action::ExistsUnderOtherId | Action::Delete);
                if is_there && is_disturbed {
                    version.action = Action::Create;
                }
                order.push(version);
            }
        }
        order
    }
}
