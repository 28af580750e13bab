//! Reads the schemas of a backup.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use formats::commit::ObjectRef;
use formats::hash::Hash;
use formats::schemas::{Catalog, FileRef, MAX_SNAPSHOT, SchemaSnapshot, VersionRow, reference_target};

use crate::storage::Store;
use crate::{Error, Result};

/// Snapshots of one account; a writer begins a new one long before.
const MAX_CHAIN: usize = 100_000;
/// Schemas that one may lead to by its references.
const MAX_DEPENDENCIES: usize = 5_000;

/// The schemas of a backup, as one of its snapshots has them.
#[derive(Debug, Clone)]
pub struct SchemaArchive {
    store: Arc<dyn Store>,
    /// What there is.
    pub catalog: Catalog,
    /// The snapshot.
    pub newest: ObjectRef,
    /// Snapshots since the account began.
    pub(super) chain: usize,
}

impl SchemaArchive {
    /// Reads what snapshots say, up to `newest`.
    ///
    /// # Errors
    /// Damage; a newer format; whatever the store says.
    pub async fn open(store: Arc<dyn Store>, newest: &ObjectRef) -> Result<Self> {
        let (mut chain, mut next) = (Vec::new(), Some(newest.clone()));
        while let Some(object) = next {
            let snapshot = read_snapshot(&*store, &object).await?;
            if chain.len() >= MAX_CHAIN {
                return Err(Error::damaged(format!(
                    "the account of the schemas has more than {MAX_CHAIN} snapshots"
                )));
            }
            next = if snapshot.begins { None } else { snapshot.before.clone() };
            chain.push(snapshot);
        }
        let length = chain.len();
        let mut catalog = Catalog::default();
        chain.into_iter().rev().for_each(|snapshot| catalog.apply(snapshot));
        catalog.shrink();
        Ok(Self { store, catalog, newest: newest.clone(), chain: length })
    }

    /// One that says this, without any objects.
    #[cfg(test)]
    pub(crate) fn of(store: Arc<dyn Store>, catalog: Catalog) -> Self {
        let newest = ObjectRef { key: "none".into(), length: 0, blake3: Hash::of(b"") };
        Self { store, catalog, newest, chain: 0 }
    }

    /// The snapshot that was the newest at a time (ms since 1970 UTC): what the registry held then. The first one where the time is
    /// before all of them.
    ///
    /// # Errors
    /// As [`SchemaArchive::open`].
    pub async fn newest_at(store: &dyn Store, newest: &ObjectRef, time_ms: i64) -> Result<ObjectRef> {
        // One walk may be several snapshots, of which only the last has all that it found.
        let (mut at, mut walk) = (newest.clone(), (i64::MAX, newest.clone()));
        for _ in 0..MAX_CHAIN {
            let snapshot = read_snapshot(store, &at).await?;
            if snapshot.time_ms != walk.0 {
                walk = (snapshot.time_ms, at);
            }
            match snapshot.before {
                Some(before) if snapshot.time_ms > time_ms => at = before,
                _ => return Ok(walk.1),
            }
        }
        Err(Error::damaged("the snapshots of the schemas have no beginning"))
    }

    /// An object of a version of this subject, checked, for who keeps no more of a version than that.
    ///
    /// # Errors
    /// As [`SchemaArchive::text`].
    pub async fn file(&self, subject: &str, file: &FileRef) -> Result<Bytes> {
        read_object(&*self.store, subject, file).await
    }

    /// The store that it is in.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// A version's text, checked.
    ///
    /// # Errors
    /// Damage, or whatever the store says.
    pub async fn text(&self, row: &VersionRow) -> Result<Bytes> {
        read_file(&*self.store, row, &row.text).await
    }

    /// A version's metadata and rules, checked; nothing where it has none.
    ///
    /// # Errors
    /// As [`SchemaArchive::text`].
    pub async fn labels(&self, row: &VersionRow) -> Result<Option<Bytes>> {
        match &row.labels {
            Some(labels) => read_file(&*self.store, row, labels).await.map(Some),
            None => Ok(None),
        }
    }

    /// What a schema's references lead to, as name and text, each before what refers to it; nothing where something is missing, is no
    /// text, or where they are more than [`MAX_DEPENDENCIES`].
    ///
    /// # Errors
    /// As [`SchemaArchive::text`].
    pub async fn dependencies<'a>(&'a self, row: &'a VersionRow) -> Result<Option<Vec<(String, String)>>> {
        enum Step<'a> {
            Enter(&'a str, &'a VersionRow),
            Leave(&'a str, String),
        }
        let enter = |row: &'a VersionRow| -> Option<Vec<Step<'a>>> {
            let steps = row.references.iter().rev().map(|reference| {
                let target = reference_target(&row.subject, &reference.subject);
                Some(Step::Enter(&reference.name, self.catalog.target(&target, reference.version)?))
            });
            steps.collect()
        };
        let Some(mut steps) = enter(row) else { return Ok(None) };
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        while let Some(step) = steps.pop() {
            match step {
                Step::Leave(name, text) => found.push((name.to_owned(), text)),
                Step::Enter(name, target) => {
                    if !seen.insert((name, &target.subject, target.version)) {
                        continue;
                    }
                    let text = String::from_utf8(self.text(target).await?.into()).ok();
                    let (Some(text), Some(inner)) = (text, enter(target)) else { return Ok(None) };
                    if seen.len() > MAX_DEPENDENCIES {
                        return Ok(None);
                    }
                    steps.push(Step::Leave(name, text));
                    steps.extend(inner);
                }
            }
        }
        Ok(Some(found))
    }
}

/// A snapshot, checked.
///
/// # Errors
/// Damage, or whatever the store says.
pub(crate) async fn read_snapshot(store: &dyn Store, object: &ObjectRef) -> Result<SchemaSnapshot> {
    let read = async {
        let stored = checked(store, &object.key, object.length.min(MAX_SNAPSHOT), object.blake3).await?;
        Ok(SchemaSnapshot::decode(&stored)?)
    };
    read.await.map_err(|error: Error| error.at(&object.key))
}

/// An object of a version, checked.
///
/// # Errors
/// Damage, or whatever the store says.
pub(crate) async fn read_file(store: &dyn Store, row: &VersionRow, file: &FileRef) -> Result<Bytes> {
    read_object(store, &row.subject, file).await
}

async fn read_object(store: &dyn Store, subject: &str, file: &FileRef) -> Result<Bytes> {
    let key = file.key(subject);
    checked(store, &key, file.length, file.blake3).await.map_err(|error| error.at(key))
}

async fn checked(store: &dyn Store, key: &str, length: u64, blake3: Hash) -> Result<Bytes> {
    let missing = || {
        Error::damaged("the object is missing")
            .hint("restore it from a copy of the store; `replevin verify` shows what else is wrong")
    };
    let stored = store.get(key, length).await?.ok_or_else(missing)?;
    if Hash::of(&stored) != blake3 {
        return Err(Error::damaged("its BLAKE3 is not the one that the backup recorded"));
    }
    Ok(stored)
}
