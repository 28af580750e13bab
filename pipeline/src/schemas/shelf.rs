//! A source of schemas for tests: what is in it, what is hidden, what fails.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use formats::schemas::{FROM_DEK_REGISTRY, FROM_TOPIC, OtherRow, PlaceRow};
use tokio::sync::mpsc;

use super::{Depth, Found, FoundVersion, SchemaSource};
use crate::{Error, ErrorKind, Result};

/// A registry that holds what a test puts into it.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) versions: Mutex<BTreeMap<(String, i32), FoundVersion>>,
    pub(crate) places: Mutex<Vec<PlaceRow>>,
    pub(crate) others: Mutex<Vec<OtherRow>>,
    /// The sources of those that are not served for now.
    pub(crate) silent_others: Mutex<Vec<&'static str>>,
    /// Why keys of encryption cannot be read.
    pub(crate) keys_fail: Mutex<Option<String>>,
    /// Things that are given before the walk fails.
    pub(crate) breaks_after: Mutex<Option<usize>>,
    /// A version that no list shows.
    pub(crate) hidden: Mutex<Option<(String, i32)>>,
    /// Whether versions say themselves that they are deleted.
    pub(crate) is_silent: bool,
    /// Whether settings and modes cannot be read.
    pub(crate) refuses_settings: bool,
    /// Whether nothing is ever answered.
    pub(crate) hangs: AtomicBool,
    /// What nobody has changed since a walk ended.
    pub(crate) told: Mutex<Option<BTreeMap<(String, i32), FoundVersion>>>,
    /// How deep it was walked through.
    pub(crate) asked: Mutex<Vec<Depth>>,
}

impl Shelf {
    pub(crate) fn put(&self, subject: &str, version: i32, id: u32, text: &str) {
        self.change(FoundVersion {
            subject: subject.into(),
            version,
            id,
            guid: None,
            schema_type: "AVRO".into(),
            deleted: Some(false),
            text: Bytes::copy_from_slice(text.as_bytes()),
            labels: None,
            references: Vec::new(),
            ts: None,
        });
    }

    pub(crate) fn change(&self, version: FoundVersion) {
        let key = (version.subject.clone(), version.version);
        self.versions.lock().unwrap().insert(key, version);
    }

    pub(crate) fn remove(&self, subject: &str, version: i32) {
        self.versions.lock().unwrap().remove(&(subject.into(), version));
    }

    fn listed(&self) -> BTreeMap<(String, i32), FoundVersion> {
        let mut all = self.versions.lock().unwrap().clone();
        if let Some(hidden) = &*self.hidden.lock().unwrap() {
            all.remove(hidden);
        }
        all
    }

    pub(crate) fn get(&self, subject: &str, version: i32) -> FoundVersion {
        self.versions.lock().unwrap()[&(subject.to_owned(), version)].clone()
    }
}

#[async_trait]
impl SchemaSource for Shelf {
    fn name(&self) -> String {
        "http://shelf".into()
    }

    async fn walk(&self, depth: Depth, found: mpsc::Sender<Found>) -> Result<()> {
        self.asked.lock().unwrap().push(depth);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        *self.told.lock().unwrap() = None;
        let (mut all, listed) = (Vec::new(), self.listed());
        for version in listed.values() {
            let deleted = version.deleted.filter(|_| !self.is_silent);
            all.push(Found::Version(FoundVersion { deleted, ..version.clone() }));
            if self.is_silent && depth == Depth::Everything && version.deleted == Some(true) {
                all.push(Found::Deleted(version.subject.clone(), version.version));
            }
        }
        if depth == Depth::Everything {
            all.extend(self.places.lock().unwrap().iter().cloned().map(Found::Place));
            let silent = self.silent_others.lock().unwrap().clone();
            let served = |row: &&OtherRow| !silent.contains(&&*row.source);
            all.extend(self.others.lock().unwrap().iter().filter(served).cloned().map(Found::Other));
            let sources =
                [FROM_TOPIC, FROM_DEK_REGISTRY].into_iter().filter(|source| !silent.contains(source));
            all.extend(sources.map(Found::AllOthers));
            all.extend(self.keys_fail.lock().unwrap().clone().map(Found::KeysFailed));
            all.push(Found::RegistryVersion("7.5.0".into()));
        }
        let breaks_after = *self.breaks_after.lock().unwrap();
        for (number, one) in all.into_iter().enumerate() {
            if breaks_after.is_some_and(|after| number >= after) {
                return Err(Error::retry("the shelf broke"));
            }
            let _ = found.send(one).await;
        }
        if depth == Depth::Everything && self.refuses_settings {
            return Err(Error::new(ErrorKind::Credentials, "GET /config: 403"));
        }
        *self.told.lock().unwrap() = Some(listed);
        Ok(())
    }

    async fn is_unchanged(&self) -> Result<bool> {
        Ok(self.told.lock().unwrap().as_ref() == Some(&self.listed()))
    }

    async fn version(&self, subject: &str, version: i32) -> Result<Option<FoundVersion>> {
        Ok(self.versions.lock().unwrap().get(&(subject.to_owned(), version)).cloned())
    }
}
