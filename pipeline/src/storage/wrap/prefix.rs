//! A store that is one folder of another. A backup lives in one, so every durable write of a backup passes here, and with
//! it the places where tests let the process die.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use crate::failpoint::{Act, Side, hit_object};
use crate::storage::{Created, ObjectInfo, Store, key};
use crate::{Error, Result};

/// A folder of another store. Its keys are relative to the folder, and nothing outside is reachable through it.
#[derive(Debug)]
pub struct Prefixed {
    inner: Arc<dyn Store>,
    /// Empty, or ending in a slash.
    folder: String,
}

impl Prefixed {
    /// The folder `prefix` (outer slashes do not matter) of a store.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Input`] for a prefix that cannot be part of a key.
    pub fn new(inner: Arc<dyn Store>, prefix: &str) -> Result<Self> {
        Ok(Self { inner, folder: key::folder_of_prefix(prefix)? })
    }

    /// Checked before the folder is put in front, which would hide that a key is empty or climbs.
    fn key(&self, key: &str) -> Result<String> {
        key::check(key)?;
        Ok(format!("{}{key}", self.folder))
    }

    fn folder(&self, folder: &str) -> Result<String> {
        key::check_folder(folder)?;
        Ok(format!("{}{folder}", self.folder))
    }

    fn strip(&self, mut info: ObjectInfo) -> Result<ObjectInfo> {
        match info.key.strip_prefix(&self.folder) {
            Some(key) => {
                info.key = key.to_owned();
                Ok(info)
            }
            None => Err(Error::permanent(format!(
                "{}: a listing of {} named the object {}, which is not in it",
                self.inner.location(),
                self.folder,
                info.key
            ))),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Prefixed {
    async fn create(&self, key: &str, body: Vec<Bytes>) -> Result<Created> {
        let whole = self.key(key)?;
        hit_object(Side::Before, key, Act::Put);
        let created = self.inner.create(&whole, body).await?;
        if let Created::New(_) = created {
            hit_object(Side::After, key, Act::Put);
        }
        Ok(created)
    }

    async fn replace_view(&self, key: &str, body: Bytes) -> Result<()> {
        let whole = self.key(key)?;
        hit_object(Side::Before, key, Act::Put);
        self.inner.replace_view(&whole, body).await?;
        hit_object(Side::After, key, Act::Put);
        Ok(())
    }

    async fn get(&self, key: &str, max: u64) -> Result<Option<Bytes>> {
        self.inner.get(&self.key(key)?, max).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.inner.get_range(&self.key(key)?, range).await
    }

    async fn get_version_range(&self, key: &str, version_id: &str, range: Range<u64>) -> Result<Bytes> {
        self.inner.get_version_range(&self.key(key)?, version_id, range).await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>> {
        self.inner.head(&self.key(key)?).await?.map(|info| self.strip(info)).transpose()
    }

    fn list(&self, folder: &str, after: Option<&str>) -> BoxStream<'_, Result<ObjectInfo>> {
        let folder = match self.folder(folder) {
            Ok(folder) => folder,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let after = after.map(|after| format!("{}{after}", self.folder));
        self.inner
            .list(&folder, after.as_deref())
            .map(|found| found.and_then(|info| self.strip(info)))
            .boxed()
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        self.inner.folders(&self.folder(folder)?).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let whole = self.key(key)?;
        hit_object(Side::Before, key, Act::Delete);
        self.inner.delete(&whole).await?;
        hit_object(Side::After, key, Act::Delete);
        Ok(())
    }

    async fn sweep_unfinished(&self, folder: &str, before_ms: i64, execute: bool) -> Result<u64> {
        self.inner.sweep_unfinished(&self.folder(folder)?, before_ms, execute).await
    }

    fn location(&self) -> String {
        format!("{}/{}", self.inner.location().trim_end_matches('/'), self.folder.trim_end_matches('/'))
    }
}
