//! Object stores behind one narrow trait.
//!
//! What every [`Store`] promises, and what [`suite`] checks for each of them (`tests/tests/stores` runs it against real
//! servers):
//!
//! * **Create-only.** [`Store::create`] never replaces an object. Of any number of concurrent creates of one key exactly
//!   one is told [`Created::New`]; an outcome that cannot be known is [`Created::Unclear`], never a guess.
//! * **Durable.** When `create` returns `New` the object survives the loss of the process, and on a file system the loss
//!   of power.
//! * **Whole or absent.** A reader sees the whole object or none, however the writer died.
//! * **Read after write**, for `get`, `head` and `list`.
//! * **Bounded.** Every call has a time limit and retries passing trouble with back-off; what it finally returns as
//!   [`crate::ErrorKind::Retry`] has been tried for as long as the settings allow.
//!
//! Keys are `/`-separated paths relative to the store's prefix, of characters that every backend takes as they are
//! (`formats` makes them). What no backend could hold safely (`..`, empty parts, control characters) is refused as
//! [`crate::ErrorKind::Input`] before anything is asked.
//!
//! [`settings`] says which store and how; [`open`] makes it. [`probe`] finds out whether a store keeps the first promise.

mod azure;
mod call;
mod gcs;
mod key;
mod local;
pub mod memory;
pub mod meter;
mod object;
pub mod probe;
mod resolve;
mod s3;
pub mod settings;
pub mod suite;
pub mod wrap;

pub use resolve::{open, open_metered};
pub use settings::{IoSettings, StorageSettings, parse_url};

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::Result;

/// What became of a create-only put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The object was not there and is now durable.
    New(Version),
    /// Another object holds the key (or an earlier attempt of ours whose answer was lost: compare the bytes).
    Exists,
    /// No clear answer came (time-out, 409, a connection lost mid-answer). Read the key to find out.
    Unclear(String),
}

/// What the store calls this very object: its version id or entity tag, where it has one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Version {
    /// The store's version id, on versioned buckets.
    pub version_id: Option<String>,
    /// The entity tag.
    pub etag: Option<String>,
}

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The key, relative to the store's prefix.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// When the store says it was written, in milliseconds since 1970 UTC, by the store's clock.
    pub modified_ms: i64,
}

/// An object store: see the module for what it promises.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Creates an object of the concatenated parts unless the key exists. An `Err` means that nothing came of it as far
    /// as the store said (or, on a disk that fails to sync, that it cannot be relied on: the message says which);
    /// whatever is not known is [`Created::Unclear`].
    ///
    /// Bodies above the part size travel in several parts, each retried alone. Their last step is not conditional on
    /// every backend, so keys of large bodies must be unique by construction (an incarnation and a counter in them);
    /// of keys that several writers may want, only bodies up to the part size are safe.
    async fn create(&self, key: &str, body: Vec<Bytes>) -> Result<Created>;

    /// Writes an object whatever was there: only for views that may be rebuilt at any time.
    async fn replace_view(&self, key: &str, body: Bytes) -> Result<()>;

    /// The whole object; `None` where there is none. One larger than `max` bytes is refused before it is read, as
    /// [`crate::ErrorKind::Damaged`].
    async fn get(&self, key: &str, max: u64) -> Result<Option<Bytes>>;

    /// A range of the object's bytes. Fewer bytes than asked for are an error ([`crate::ErrorKind::Damaged`]), a missing object
    /// is [`crate::ErrorKind::NotFound`]. An empty range of an existing object is no bytes.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes>;

    /// As [`Store::get_range`], of one version of the object ([`Version::version_id`]), whatever was written under the key
    /// or deleted since. A version that the store does not have is [`crate::ErrorKind::NotFound`], as are all where it keeps
    /// none.
    async fn get_version_range(&self, key: &str, version_id: &str, range: Range<u64>) -> Result<Bytes>;

    /// What is known of one object without reading it.
    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>>;

    /// Every object whose key starts with a folder (`""` or ending in `/`), in ascending key order where the backend can,
    /// starting after `after` where given.
    fn list(&self, folder: &str, after: Option<&str>) -> BoxStream<'_, Result<ObjectInfo>>;

    /// The immediate sub-folder names below a folder, without trailing slash, ascending. A folder exists while it holds an
    /// object.
    async fn folders(&self, folder: &str) -> Result<Vec<String>>;

    /// Deletes an object; one that is not there is no error.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Removes what interrupted uploads left behind under a folder (unfinished multipart uploads, temporary files),
    /// where begun before `before_ms` (milliseconds since 1970 UTC, by the store's clock: take it from the
    /// [`ObjectInfo::modified_ms`] of an object just written). Returns how many were found and, if `execute`, removed.
    async fn sweep_unfinished(&self, folder: &str, before_ms: i64, execute: bool) -> Result<u64>;

    /// The store as a URL for messages, without credentials.
    fn location(&self) -> String;
}
