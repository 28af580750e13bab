//! Which versions of the archive are wanted: those that are asked for, and everything that they refer to.

use super::settings::{Choice, Settings, Versions};
use crate::transfer::index::{Entry, Index, Key};
use std::collections::{BTreeMap, HashMap};

/// Places in the index, ascending, each with the place of what refers to it where it is wanted for that alone.
pub(super) fn wanted(index: &Index, settings: &Settings) -> BTreeMap<usize, Option<usize>> {
    let mut latest: HashMap<&str, i32> = HashMap::new();
    for (key, _) in index.versions.iter().filter(|(_, entry)| !entry.deleted) {
        let highest = latest.entry(&key.subject).or_insert(key.version);
        *highest = (*highest).max(key.version);
    }
    let is_asked = |key: &Key, entry: &Entry| {
        let types = &settings.schema_types;
        let kept = match (entry.gone, entry.deleted) {
            (true, _) => settings.gone == Choice::Restored,
            (false, true) => settings.deleted == Choice::Restored,
            (false, false) => true,
        };
        kept && settings.subjects.matches(&key.subject)
            && (types.is_empty() || entry.schema_type.is_some_and(|found| types.contains(&found)))
            && (settings.versions == Versions::All || latest.get(&*key.subject) == Some(&key.version))
    };
    let places = index.versions.iter().enumerate();
    let asked = places.filter(|(_, (key, entry))| is_asked(key, entry)).map(|(place, _)| place);
    let mut wanted: BTreeMap<usize, Option<usize>> = asked.map(|place| (place, None)).collect();
    let mut steps: Vec<usize> = wanted.keys().copied().collect();
    while let Some(place) = steps.pop() {
        let Some((_, entry)) = index.versions.get_index(place) else { continue };
        for reference in &entry.references {
            let Some(found) = index.versions.get_index_of(reference) else { continue };
            if let std::collections::btree_map::Entry::Vacant(vacant) = wanted.entry(found) {
                vacant.insert(Some(place));
                steps.push(found);
            }
        }
    }
    wanted
}
