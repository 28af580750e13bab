//! The three clouds behind one adapter: the requests come from the `object_store` crate, what to do about their
//! outcome is decided here.
//!
//! The crate's own retries are switched off. They would repeat a create-only put whose first attempt may have landed,
//! and then report our own object as somebody else's; and they cannot take part in our time limits and counters.
//! [`super::call`] repeats instead.

mod fault;
mod upload;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload,
    RetryConfig,
};
use tokio::time::timeout;

use self::fault::Fault;
use super::call::Calls;
use super::meter::Operation;
use super::settings::IoSettings;
use super::{Created, ObjectInfo, Store, Version, key};
use crate::{Error, Result};

/// What the adapter needs of a cloud.
pub(super) trait Backend: ObjectStore + MultipartStore + PaginatedListStore {}

/// An upload that was begun and neither finished nor given up.
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    pub(super) key: String,
    pub(super) upload_id: String,
    pub(super) begun_ms: i64,
}

/// One page of unfinished uploads, and where the next begins.
pub(super) type UnfinishedPage = (Vec<Unfinished>, Option<Unfinished>);

/// Lists unfinished uploads, which the crate cannot.
#[async_trait]
pub(super) trait FindUnfinished: std::fmt::Debug + Send + Sync {
    /// A page of those below a folder, after one already seen.
    async fn page(&self, folder: &str, after: Option<&Unfinished>) -> Result<UnfinishedPage>;
}

/// See the module.
#[derive(Debug)]
pub(super) struct CloudStore<B> {
    backend: B,
    calls: Calls,
    unfinished: Option<Arc<dyn FindUnfinished>>,
}

/// Options for the crate's clients: no retries and no time limits but ours.
pub(super) fn client_options(io: &IoSettings, allow_http: bool) -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(io.connect_timeout)
        .with_timeout_disabled()
        .with_allow_http(allow_http)
}

/// See [`client_options`].
pub(super) fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// A store that could not be made of its settings.
pub(super) fn unusable(place: &str, error: &object_store::Error) -> Error {
    Error::input(format!("the settings of {place} cannot be used: {error}"))
}

impl<B: Backend> CloudStore<B> {
    pub(super) fn new(backend: B, calls: Calls, unfinished: Option<Arc<dyn FindUnfinished>>) -> Self {
        Self { backend, calls, unfinished }
    }

    fn path(&self, key: &str) -> Result<Path> {
        key::check(key)?;
        Path::parse(key).map_err(|error| Error::input(format!("{key:?} cannot be an object key: {error}")))
    }

    /// What went wrong, as an error that names the operation and the key.
    fn error(&self, operation: Operation, key: &str, error: object_store::Error) -> Error {
        Fault::of(&error).error(operation, &self.calls.place, key, &error)
    }

    /// Sends a create-only put once and says what is known about its outcome.
    async fn put_once(&self, key: &str, path: &Path, payload: PutPayload) -> Result<Created> {
        let error = match self.backend.put_opts(path, payload, PutMode::Create.into()).await {
            Ok(put) => return Ok(Created::New(Version { version_id: put.version, etag: put.e_tag })),
            Err(error) => error,
        };
        let fault = Fault::of(&error);
        match fault {
            Fault::Taken => Ok(Created::Exists),
            // Of these the server may have done its part.
            Fault::Conflict | Fault::Server | Fault::Lost => Ok(Created::Unclear(
                fault.error(Operation::Create, &self.calls.place, key, &error).to_string(),
            )),
            _ => Err(fault.error(Operation::Create, &self.calls.place, key, &error)),
        }
    }

    async fn meta(&self, key: &str, path: &Path) -> Result<Option<ObjectMeta>> {
        let head = || async {
            match self.backend.head(path).await {
                Ok(meta) => Ok(Some(meta)),
                Err(error) if Fault::of(&error) == Fault::Missing => Ok(None),
                Err(error) => Err(self.error(Operation::Head, key, error)),
            }
        };
        self.calls.retried(Operation::Head, 0, head).await
    }

    /// Reads an object or a range of it once. The second value is what was there to be read: the object's size, or how
    /// much of the range it has.
    async fn read_once(
        &self,
        key: &str,
        path: &Path,
        options: GetOptions,
        max: u64,
    ) -> Result<Option<(Bytes, u64)>> {
        let range = options.range.clone();
        let request = timeout(self.calls.io.request_timeout, self.backend.get_opts(path, options)).await;
        let answer = match request {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                return match (Fault::of(&error), range) {
                    (Fault::Missing, _) => Ok(None),
                    (Fault::Range, Some(GetRange::Bounded(range))) => Err(key::short(key, &range, 0)),
                    _ => Err(self.error(Operation::Get, key, error)),
                };
            }
            Err(_) => return Err(Error::retry(format!("{}: no answer to get {key}", self.calls.place))),
        };
        let expected = answer.range.end.saturating_sub(answer.range.start);
        if expected > max {
            return Ok(Some((Bytes::new(), expected)));
        }
        let mut pieces = answer.into_stream();
        let mut body = BytesMut::new();
        loop {
            let piece = match timeout(self.calls.io.stall_timeout, pieces.next()).await {
                Ok(None) => break,
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(error))) => return Err(self.error(Operation::Get, key, error)),
                Err(_) => {
                    let seconds = self.calls.io.stall_timeout.as_secs_f32();
                    return Err(Error::retry(format!("{}: {key} stalled for {seconds} s", self.calls.place)));
                }
            };
            self.calls.meter.add_received(piece.len() as u64);
            if body.is_empty() {
                if piece.len() as u64 == expected {
                    return Ok(Some((piece, expected))); // arrived in one piece: no copy
                }
                body.reserve(usize::try_from(expected).unwrap_or(0));
            }
            if (body.len() + piece.len()) as u64 > expected {
                return Err(Error::retry(format!(
                    "{}: more of {key} arrived than announced",
                    self.calls.place
                )));
            }
            body.extend_from_slice(&piece);
        }
        if body.len() as u64 != expected {
            let got = body.len();
            return Err(Error::retry(format!(
                "{}: {got} of {expected} bytes of {key} arrived",
                self.calls.place
            )));
        }
        Ok(Some((body.freeze(), expected)))
    }

    /// All of a range, of one version or of what stands under the key; `None` where that is not there.
    async fn range_of(&self, key: &str, version: Option<String>, range: Range<u64>) -> Result<Option<Bytes>> {
        let path = self.path(key)?;
        let wanted = key::range_len(key, &range)?;
        if wanted == 0 {
            return Ok(Some(Bytes::new())); // HTTP cannot ask for no bytes
        }
        let options =
            GetOptions { range: Some(GetRange::Bounded(range.clone())), version, ..GetOptions::default() };
        let read = || self.read_once(key, &path, options.clone(), wanted);
        match self.calls.retried(Operation::Get, wanted, read).await? {
            Some((_, there)) if there != wanted => Err(key::short(key, &range, there)),
            found => Ok(found.map(|(body, _)| body)),
        }
    }

    /// One page of a listing.
    async fn page(
        &self,
        folder: &str,
        after: Option<&str>,
        token: Option<&str>,
        delimiter: bool,
    ) -> Result<object_store::list::PaginatedListResult> {
        let list = || async {
            let options = PaginatedListOptions {
                offset: after.map(str::to_owned),
                delimiter: delimiter.then(|| "/".into()),
                page_token: token.map(str::to_owned),
                ..PaginatedListOptions::default()
            };
            let prefix = (!folder.is_empty()).then_some(folder);
            let page = self.backend.list_paginated(prefix, options).await;
            page.map_err(|error| self.error(Operation::List, folder, error))
        };
        self.calls.retried(Operation::List, 0, list).await
    }
}

fn info(meta: &ObjectMeta, key: String) -> ObjectInfo {
    ObjectInfo { key, size: meta.size, modified_ms: meta.last_modified.timestamp_millis() }
}

#[async_trait]
impl<B: Backend> Store for CloudStore<B> {
    async fn create(&self, key: &str, body: Vec<Bytes>) -> Result<Created> {
        let path = self.path(key)?;
        let size = body.iter().map(|part| part.len() as u64).sum();
        if size > self.calls.io.part_size {
            return self.upload(key, &path, body, size).await;
        }
        let payload: PutPayload = body.into_iter().collect();
        self.calls.create(Operation::Create, size, || self.put_once(key, &path, payload.clone())).await
    }

    async fn replace_view(&self, key: &str, body: Bytes) -> Result<()> {
        let path = self.path(key)?;
        let size = body.len() as u64;
        let put = || async {
            self.calls.meter.add_sent(size);
            let put = self.backend.put_opts(&path, body.clone().into(), PutMode::Overwrite.into()).await;
            put.map(drop).map_err(|error| self.error(Operation::Replace, key, error))
        };
        self.calls.retried(Operation::Replace, size, put).await
    }

    async fn get(&self, key: &str, max: u64) -> Result<Option<Bytes>> {
        let path = self.path(key)?;
        let read = || self.read_once(key, &path, GetOptions::default(), max);
        match self.calls.retried(Operation::Get, max, read).await? {
            Some((_, size)) if size > max => Err(key::too_large(key, size, max)),
            found => Ok(found.map(|(body, _)| body)),
        }
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.range_of(key, None, range).await?.ok_or_else(|| key::missing(key))
    }

    async fn get_version_range(&self, key: &str, version_id: &str, range: Range<u64>) -> Result<Bytes> {
        let body = self.range_of(key, Some(version_id.to_owned()), range).await?;
        body.ok_or_else(|| key::no_version(key, version_id))
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>> {
        let path = self.path(key)?;
        Ok(self.meta(key, &path).await?.map(|meta| info(&meta, key.to_owned())))
    }

    fn list(&self, folder: &str, after: Option<&str>) -> BoxStream<'_, Result<ObjectInfo>> {
        if let Err(error) = key::check_folder(folder) {
            return stream::iter([Err(error)]).boxed();
        }
        /// Where a listing stands.
        enum Next {
            First,
            Page(String),
            End,
        }
        let state = (folder.to_owned(), after.map(str::to_owned), Next::First);
        stream::try_unfold(state, move |(folder, after, next)| async move {
            let token = match next {
                Next::First => None,
                Next::Page(token) => Some(token),
                Next::End => return Ok::<_, Error>(None),
            };
            let page = self.page(&folder, after.as_deref(), token.as_deref(), false).await?;
            // Some servers take the start as included, some ignore it.
            let fresh = |key: &String| after.as_ref().is_none_or(|after| key > after);
            let objects = page.result.objects.iter().map(|meta| (meta, meta.location.to_string()));
            let found: Vec<_> =
                objects.filter(|(_, key)| fresh(key)).map(|(meta, key)| Ok(info(meta, key))).collect();
            let next = page.page_token.map_or(Next::End, Next::Page);
            Ok(Some((stream::iter(found), (folder, after, next))))
        })
        .try_flatten()
        .boxed()
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        key::check_folder(folder)?;
        let mut names = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page = self.page(folder, None, token.as_deref(), true).await?;
            let prefixes = page.result.common_prefixes.iter();
            names.extend(prefixes.filter_map(|path| path.as_ref().strip_prefix(folder).map(str::to_owned)));
            match page.page_token {
                Some(next) => token = Some(next),
                None => break,
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        let delete = || async {
            match self.backend.delete(&path).await {
                Err(error) if Fault::of(&error) != Fault::Missing => {
                    Err(self.error(Operation::Delete, key, error))
                }
                _ => Ok(()),
            }
        };
        self.calls.retried(Operation::Delete, 0, delete).await
    }

    async fn sweep_unfinished(&self, folder: &str, before_ms: i64, execute: bool) -> Result<u64> {
        key::check_folder(folder)?;
        let Some(unfinished) = &self.unfinished else { return Ok(0) };
        let mut found = 0;
        let mut after: Option<Unfinished> = None;
        loop {
            let page = || unfinished.page(folder, after.as_ref());
            let (uploads, next) = self.calls.retried(Operation::Sweep, 0, page).await?;
            for upload in uploads.iter().filter(|upload| upload.begun_ms < before_ms) {
                found += 1;
                if execute {
                    let path = self.path(&upload.key)?;
                    self.give_up(&upload.key, &path, &upload.upload_id).await?;
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(found),
            }
        }
    }

    fn location(&self) -> String {
        self.calls.place.clone()
    }
}
