//! Objects in memory: for tests and models. Deterministic, and gone with the process.
//!
//! Entity tags are BLAKE3 of the content. Times come from the clock given.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};

use super::{Created, ObjectInfo, Store, Version, key};
use crate::Result;
use crate::seam::Clock;

/// See the module.
#[derive(Debug)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, Object>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone)]
struct Object {
    body: Bytes,
    modified_ms: i64,
}

impl MemoryStore {
    /// An empty store whose objects are dated by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { objects: Mutex::default(), clock }
    }

    /// A poisoned lock means that another thread panicked between two map operations, which leave the map whole.
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        self.objects.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn dated(&self, body: Bytes) -> Object {
        Object { body, modified_ms: self.clock.now_ms() }
    }
}

fn info(key: &str, object: &Object) -> ObjectInfo {
    ObjectInfo { key: key.to_owned(), size: object.body.len() as u64, modified_ms: object.modified_ms }
}

fn concat(body: Vec<Bytes>) -> Bytes {
    let mut whole = BytesMut::with_capacity(body.iter().map(Bytes::len).sum());
    for part in &body {
        whole.extend_from_slice(part);
    }
    whole.freeze()
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, key: &str, body: Vec<Bytes>) -> Result<Created> {
        key::check(key)?;
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Ok(Created::Exists);
        }
        let object = self.dated(concat(body));
        let etag = blake3::hash(&object.body).to_hex().to_string();
        objects.insert(key.to_owned(), object);
        Ok(Created::New(Version { version_id: None, etag: Some(etag) }))
    }

    async fn replace_view(&self, key: &str, body: Bytes) -> Result<()> {
        key::check(key)?;
        let object = self.dated(body);
        self.objects().insert(key.to_owned(), object);
        Ok(())
    }

    async fn get(&self, key: &str, max: u64) -> Result<Option<Bytes>> {
        key::check(key)?;
        let Some(body) = self.objects().get(key).map(|object| object.body.clone()) else { return Ok(None) };
        if body.len() as u64 > max {
            return Err(key::too_large(key, body.len() as u64, max));
        }
        Ok(Some(body))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        key::check(key)?;
        let wanted = key::range_len(key, &range)?;
        let body =
            self.objects().get(key).map(|object| object.body.clone()).ok_or_else(|| key::missing(key))?;
        let size = body.len() as u64;
        let start = range.start.min(size);
        let end = range.end.min(size);
        if end - start != wanted {
            return Err(key::short(key, &range, end - start));
        }
        Ok(body.slice(start as usize..end as usize))
    }

    async fn get_version_range(&self, key: &str, version_id: &str, _range: Range<u64>) -> Result<Bytes> {
        Err(key::no_version(key, version_id))
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>> {
        key::check(key)?;
        Ok(self.objects().get(key).map(|object| info(key, object)))
    }

    fn list(&self, folder: &str, after: Option<&str>) -> BoxStream<'_, Result<ObjectInfo>> {
        if let Err(error) = key::check_folder(folder) {
            return stream::iter([Err(error)]).boxed();
        }
        // One step a key, so that a caller sees what was created behind its position, as on a real store.
        let first = match after {
            Some(after) if after >= folder => Bound::Excluded(after.to_owned()),
            _ => Bound::Included(folder.to_owned()),
        };
        stream::unfold((first, folder.to_owned()), move |(from, folder)| async move {
            let next =
                self.objects().range((from, Bound::Unbounded)).next().map(|(key, object)| info(key, object));
            let found = next.filter(|found| found.key.starts_with(&folder))?;
            let from = Bound::Excluded(found.key.clone());
            Some((Ok(found), (from, folder)))
        })
        .boxed()
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        key::check_folder(folder)?;
        let objects = self.objects();
        let mut names: Vec<String> = Vec::new();
        for (key, _) in objects.range(folder.to_owned()..).take_while(|(key, _)| key.starts_with(folder)) {
            if let Some((name, _)) = key[folder.len()..].split_once('/')
                && names.last().is_none_or(|last| last != name)
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        key::check(key)?;
        self.objects().remove(key);
        Ok(())
    }

    async fn sweep_unfinished(&self, folder: &str, _before_ms: i64, _execute: bool) -> Result<u64> {
        key::check_folder(folder)?;
        Ok(0)
    }

    fn location(&self) -> String {
        "memory:".to_owned()
    }
}
