//! What is not in the way, and what whoever decides should know all the same.

use super::super::plan::{Action, Version};
use super::super::settings::Strategy;
use super::Decide;
use crate::names::Subject;
use crate::transfer::index::Key;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// References that are missing in the archive and named; more are only counted.
const MISSED: usize = 100;

impl Decide<'_> {
    /// A subject of the target whose latest version will not be the one that the archive has for latest.
    pub(super) fn warn_of_latest(&mut self, versions: &[Version]) {
        let mut latest: BTreeMap<&str, &Version> = BTreeMap::new();
        let mut added: HashMap<&str, &Version> = HashMap::new();
        for version in versions.iter().filter(|version| !version.deleted) {
            let found = latest.entry(&version.target_subject).or_insert(version);
            if version.version > found.version {
                *found = version;
            }
            if version.action.is_written() {
                let found = added.entry(&version.target_subject).or_insert(version);
                if version.target_version > found.target_version {
                    *found = version;
                }
            }
        }
        for (subject, last) in latest {
            let theirs = self.theirs.get(subject).into_iter().flatten();
            let there = theirs.filter(|(_, entry)| !entry.deleted).map(|(key, _)| key.version).max();
            let Some((added, there)) = added.get(subject).zip(there) else { continue };
            if added.version != last.version && added.target_version > Some(there) {
                self.warnings.push(format!(
                    "version {} of {subject} becomes the latest one of the target, and in the archive version {} is the latest",
                    added.version, last.version
                ));
            }
        }
    }

    /// References of what comes that only the target can follow: whether it has the schema there that was meant nobody can tell.
    pub(super) fn warn_of_missing(&mut self, versions: &[Version]) {
        let mut missing: BTreeMap<&Key, (String, usize)> = BTreeMap::new();
        let archive = &self.from.index.versions;
        for version in versions.iter().filter(|version| version.action.is_written()) {
            let Some(entry) = archive.get(&version.key()) else { continue };
            for reference in entry.references.iter().filter(|reference| !archive.contains_key(*reference)) {
                missing.entry(reference).or_insert_with(|| (version.key().to_string(), 0)).1 += 1;
            }
        }
        for (reference, (first, count)) in missing.iter().take(MISSED) {
            let more = if *count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
            self.warnings.push(format!(
                "{first}{more} refers to {reference}, which the archive does not have: it will refer to {}, whatever the target has there",
                self.outside(reference)
            ));
        }
        if missing.len() > MISSED {
            let more = missing.len() - MISSED;
            self.warnings.push(format!("{more} more versions that are referred to are not in the archive"));
        }
    }

    /// References out of a context into the default one, which some registries cannot follow.
    pub(super) fn warn_of_contexts(&mut self, versions: &[Version]) {
        let leads_out = |version: &&Version| {
            let entry = self.from.index.versions.get(&version.key());
            let mut references = entry.into_iter().flat_map(|entry| &entry.references);
            references.any(|reference| {
                let place = self.from.index.versions.get_index_of(reference);
                let subject = place.and_then(|place| self.subjects.get(&place)).map(Arc::clone);
                let subject = subject.unwrap_or_else(|| self.outside(reference).subject);
                Subject::parse(&subject).context.is_default()
            })
        };
        let mut out = versions
            .iter()
            .filter(|version| version.action.is_written())
            .filter(|version| !Subject::parse(&version.target_subject).context.is_default())
            .filter(leads_out);
        if let Some(first) = out.next() {
            let count = 1 + out.count();
            self.warnings.push(format!(
                "{count} versions of other contexts refer to subjects of the default one, as version {} of {}: some registries, \
                 Confluent's among them, look for these in the own context, and refuse them",
                first.version, first.target_subject
            ));
        }
    }

    /// What an overwritten subject of the target has besides: it stays, and may be what is read as the latest.
    pub(super) fn warn_of_what_stays(&mut self, versions: &[Version]) {
        if self.settings.strategy != Strategy::Overwrite {
            return;
        }
        let mut ours: HashMap<&str, HashSet<i32>> = HashMap::new();
        for version in versions.iter().filter(|version| version.needed_by.is_none()) {
            // Of what is left out it was said that the target's stays.
            let left_out = (version.action == Action::NotTaken).then_some(version.version);
            let ours = ours.entry(&version.target_subject).or_default();
            ours.extend(version.target_version.or(left_out));
        }
        let mut stay: Vec<&Key> = Vec::new();
        for (subject, numbers) in ours {
            let theirs = self.theirs.get(subject).into_iter().flatten();
            let others = theirs.filter(|(key, entry)| !entry.deleted && !numbers.contains(&key.version));
            stay.extend(others.map(|(key, _)| *key));
        }
        if let Some(last) = stay.iter().max() {
            self.warnings.push(format!(
                "{} live versions of the target are not in the archive and stay, as {last}; what is newer there stays the latest",
                stay.len()
            ));
        }
    }
}
