//! What snapshots add up to.

use std::collections::BTreeMap;

use super::{OtherRow, PlaceRow, SchemaSnapshot, VersionRow, VersionState};

/// The versions of one subject, those that are gone included, by number and then as they were seen.
pub type SubjectRows = Vec<VersionRow>;

/// A registry's content, and everything that it ever had.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    /// The registry, as the newest snapshot names it.
    pub registry: String,
    /// Its version, where it ever told.
    pub registry_version: Option<String>,
    /// When the walk of the newest snapshot began, ms since 1970 UTC.
    pub time_ms: i64,
    /// Settings and modes by place, those that have either.
    pub places: BTreeMap<String, PlaceRow>,
    /// Versions by subject.
    pub subjects: BTreeMap<String, SubjectRows>,
    /// What is carried without being known, by source and key.
    pub others: BTreeMap<(String, String), OtherRow>,
}

impl Catalog {
    /// Takes in the snapshot that follows.
    pub fn apply(&mut self, snapshot: SchemaSnapshot) {
        if snapshot.begins {
            *self = Self::default();
        }
        self.registry = snapshot.registry;
        self.time_ms = snapshot.time_ms;
        if snapshot.registry_version.is_some() {
            self.registry_version = snapshot.registry_version;
        }
        for row in snapshot.places {
            match (&row.config, &row.mode) {
                (None, None) => drop(self.places.remove(&row.place)),
                _ => drop(self.places.insert(row.place.clone(), row)),
            }
        }
        for row in snapshot.versions {
            self.put(row);
        }
        for row in snapshot.others {
            let key = (row.source.clone(), row.key.to_string());
            match row.value.is_null() {
                true => drop(self.others.remove(&key)),
                false => drop(self.others.insert(key, row)),
            }
        }
    }

    /// Gives back the room for versions to come, a third of it all: for whoever only reads.
    pub fn shrink(&mut self) {
        self.subjects.values_mut().for_each(Vec::shrink_to_fit);
    }

    fn put(&mut self, row: VersionRow) {
        let rows = match self.subjects.get_mut(&row.subject) {
            Some(rows) => rows,
            None => self.subjects.entry(row.subject.clone()).or_default(),
        };
        let from = rows.partition_point(|known| known.version < row.version);
        let to = rows.partition_point(|known| known.version <= row.version);
        match rows[from..to].iter().position(|known| known.is_same(&row)) {
            Some(at) => rows[from + at] = row,
            None => rows.insert(to, row),
        }
    }

    /// All versions, by subject and number.
    pub fn versions(&self) -> impl Iterator<Item = &VersionRow> {
        self.subjects.values().flatten()
    }

    /// The version that has this number now, softly deleted or not.
    pub fn version(&self, subject: &str, version: i32) -> Option<&VersionRow> {
        let rows = self.subjects.get(subject)?;
        let from = rows.partition_point(|known| known.version < version);
        let same = rows[from..].iter().take_while(|row| row.version == version);
        same.filter(|row| row.state != VersionState::Gone).last()
    }

    /// The schema that a reference leads to: the version of that number, or the last that had it.
    pub fn target(&self, subject: &str, version: i32) -> Option<&VersionRow> {
        self.version(subject, version).or_else(|| {
            let rows = self.subjects.get(subject)?;
            let to = rows.partition_point(|known| known.version <= version);
            rows[..to].last().filter(|row| row.version == version)
        })
    }
}
