//! What is deleted for good in the target, and what that means for the rest: what refers to it, and what stood for something.

use super::super::plan::{Action, Version, What};
use super::{Decide, existing};
use crate::transfer::index::Key;
use std::collections::{BTreeSet, HashSet};

impl Decide<'_> {
    /// What is deleted for good: what refers to something before it. What stays must not refer to it.
    pub(super) fn removals(&mut self, versions: &[Version]) -> Vec<Key> {
        let replaced = versions.iter().filter(|version| version.action == Action::Replace);
        let removed: HashSet<Key> = replaced.filter_map(Version::target).collect();
        if removed.is_empty() {
            return Vec::new();
        }
        for (key, entry) in self.to.index.versions.iter().filter(|(key, _)| !removed.contains(*key)) {
            for reference in entry.references.iter().filter(|reference| removed.contains(*reference)) {
                let why = format!(
                    "version {} is to be replaced, and {key} of the target refers to it",
                    reference.version
                );
                let next = "delete that one for good first, or restore with strategy preserve";
                self.obstacles.add(What::Conflict, (&reference.subject, Some(reference.version)), why, next);
            }
        }
        let subjects: BTreeSet<&str> = removed.iter().map(|key| &*key.subject).collect();
        self.warnings.push(format!(
            "the target loses {} for good, of {}: what was written with an id of those may become unreadable",
            if removed.len() == 1 { "1 version".to_owned() } else { format!("{} versions", removed.len()) },
            if subjects.len() == 1 { "1 subject".to_owned() } else { format!("{} subjects", subjects.len()) },
        ));
        self.to.index.versions.keys().rev().filter(|key| removed.contains(*key)).cloned().collect()
    }

    /// What stood in the target for a version that is gone, or only referred to, may be what is deleted there.
    pub(super) fn stand_alone(&mut self, versions: &mut [Version], removals: &[Key]) {
        let removed: HashSet<&Key> = removals.iter().collect();
        if removed.is_empty() {
            return;
        }
        for version in versions.iter_mut() {
            let Some(place) = self.from.index.versions.get_index_of(&version.key()) else { continue };
            if self.leans.get(&place).is_some_and(|key| removed.contains(key)) {
                (version.action, version.note) = (Action::Create, None);
                (version.target_version, version.target_guid) = (None, None);
                version.target_id = self.wanted_id(place);
                self.matched.remove(&place);
            }
        }
    }

    /// What is live in the target and referred to by what stays so cannot be deleted.
    pub(super) fn keep_referenced(&self, versions: &mut [Version], removals: &[Key]) {
        let mut goes: HashSet<Key> = removals.iter().cloned().collect();
        let of = |versions: &[Version]| {
            let deleted = versions.iter().filter(|version| version.action == Action::Delete);
            deleted.filter_map(Version::target).collect::<Vec<_>>()
        };
        goes.extend(of(versions));
        // What refers to something stands behind it.
        for (key, entry) in self.to.index.versions.iter().rev() {
            if !entry.deleted && !goes.contains(key) {
                entry.references.iter().for_each(|reference| {
                    goes.remove(reference);
                });
            }
        }
        for version in versions.iter_mut().filter(|version| version.action == Action::Delete) {
            if version.target().is_some_and(|key| !goes.contains(&key)) {
                version.action = existing(version.id, version.target_id.unwrap_or_default());
                version.note =
                    Some("deleted in the archive, and referred to in the target, where it stays".to_owned());
            }
        }
    }
}
