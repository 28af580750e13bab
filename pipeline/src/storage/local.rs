//! A folder of a file system as a store.
//!
//! An object is a file. It comes into being whole and synced: a temporary file beside it, fsync, a hard link to its name
//! (which never replaces anything, on any local file system and on NFS), the temporary name removed, and fsync of the
//! folder and of every folder made for it. So one that exists survives the loss of power, and no reader sees half a file.
//!
//! It does not lock anything, follows symbolic links below its root (an operator may have moved a folder to another
//! disk), and ignores files whose names are not keys.

mod buffers;
mod walk;
mod write;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::time::Instant;

use self::buffers::Buffers;
use self::walk::Walk;
use self::write::Writer;
use super::call::Calls;
use super::meter::Operation;
use super::{Created, ObjectInfo, Store, key};
use crate::{Error, ErrorKind, Result};

/// How many files one step of a listing looks at, between two chances to cancel.
const LIST_STEP: usize = 1000;

/// See the module.
#[derive(Debug)]
pub(super) struct LocalStore {
    root: PathBuf,
    writer: Arc<Writer>,
    buffers: Arc<Buffers>,
    calls: Calls,
}

impl LocalStore {
    /// A store in a folder, which the first write makes where it is missing.
    pub(super) fn new(root: PathBuf, calls: Calls) -> Self {
        let writer = Arc::new(Writer::new(root.clone(), calls.seam.clone()));
        Self { root, writer, buffers: Arc::default(), calls }
    }

    /// Runs file system work on a thread that may block. Work that is past its time limit goes on unobserved: a system
    /// call cannot be taken back.
    async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        bytes: u64,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.calls.once(operation, bytes, blocking(work)).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => Err(Error::retry("the file system task was stopped").caused_by(stopped)),
    }
}

/// A failed file system call in plain words.
fn io_error(doing: &str, path: &Path, error: io::Error) -> Error {
    use io::ErrorKind as Io;
    let (kind, why, hint) = match error.kind() {
        Io::StorageFull => (
            ErrorKind::Retry,
            "no space is left on the disk (or no inodes)",
            "free space; nothing half-written is left behind",
        ),
        Io::QuotaExceeded => (ErrorKind::Retry, "the disk quota is used up", "free space or raise the quota"),
        Io::PermissionDenied => (
            ErrorKind::Credentials,
            "permission denied",
            "give this user the right to read and write the folder, and to create files and folders in it",
        ),
        Io::ReadOnlyFilesystem => (
            ErrorKind::Permanent,
            "the file system is mounted read-only",
            "remount it, or see the kernel log for why",
        ),
        Io::NotADirectory => (ErrorKind::Permanent, "a part of the path is a file", "choose another path"),
        Io::InvalidFilename => {
            (ErrorKind::Permanent, "the name is not valid or too long there", "choose another path")
        }
        Io::StaleNetworkFileHandle => {
            (ErrorKind::Retry, "the file server forgot this folder", "remount the file system if this stays")
        }
        Io::TimedOut | Io::Interrupted | Io::ResourceBusy | Io::WouldBlock => {
            (ErrorKind::Retry, "the file system did not answer", "see the kernel log if this stays")
        }
        _ => (ErrorKind::Permanent, "the file system answered with an error", "see the kernel log"),
    };
    Error::new(kind, format!("cannot {doing} {}: {why}", path.display())).hint(hint).caused_by(error)
}

/// Opens an object for reading; `None` where there is none.
fn open(path: &Path) -> Result<Option<(File, u64)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(io_error("open", path, error)),
    };
    let metadata = file.metadata().map_err(|error| io_error("examine", path, error))?;
    Ok(metadata.is_file().then_some((file, metadata.len())))
}

/// Linux's `ELOOP`: symbolic links in a circle, which lead nowhere.
const TOO_MANY_LINKS: i32 = 40;

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(TOO_MANY_LINKS)
}

fn read_whole(path: &Path, key: &str, max: u64) -> Result<Option<Bytes>> {
    let Some((file, size)) = open(path)? else { return Ok(None) };
    if size > max {
        return Err(key::too_large(key, size, max));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(size).read_to_end(&mut bytes).map_err(|error| io_error("read", path, error))?;
    if bytes.len() as u64 != size {
        return Err(key::short(key, &(0..size), bytes.len() as u64));
    }
    Ok(Some(bytes.into()))
}

fn read_range(path: &Path, key: &str, range: &Range<u64>, buffers: &Arc<Buffers>) -> Result<Bytes> {
    let wanted = key::range_len(key, range)?;
    let Some((file, size)) = open(path)? else { return Err(key::missing(key)) };
    if range.end > size {
        return Err(key::short(key, range, size.saturating_sub(range.start).min(wanted)));
    }
    let wanted = usize::try_from(wanted).map_err(|_| key::short(key, range, 0))?;
    buffers.filled(wanted, |bytes| match file.read_exact_at(bytes, range.start) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(key::short(key, range, 0)),
        Err(error) => Err(io_error("read", path, error)),
    })
}

fn info(key: &str, metadata: &fs::Metadata) -> ObjectInfo {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let modified_ms = since.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0);
    ObjectInfo { key: key.to_owned(), size: metadata.len(), modified_ms }
}

fn examine(path: &Path, key: &str) -> Result<Option<ObjectInfo>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file().then(|| info(key, &metadata))),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(io_error("examine", path, error)),
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn create(&self, key: &str, body: Vec<Bytes>) -> Result<Created> {
        key::check(key)?;
        let size = body.iter().map(|part| part.len() as u64).sum();
        self.calls.meter.add_sent(size);
        let (writer, name) = (Arc::clone(&self.writer), key.to_owned());
        match self.run(Operation::Create, size, move || Ok(writer.create(&name, &body))).await {
            Ok(result) => result,
            // The work was not stopped, only no longer waited for: it may still succeed.
            Err(error) => Ok(Created::Unclear(error.to_string())),
        }
    }

    async fn replace_view(&self, key: &str, body: Bytes) -> Result<()> {
        key::check(key)?;
        self.calls.meter.add_sent(body.len() as u64);
        let (writer, key) = (Arc::clone(&self.writer), key.to_owned());
        self.run(Operation::Replace, body.len() as u64, move || writer.replace(&key, &body)).await
    }

    async fn get(&self, key: &str, max: u64) -> Result<Option<Bytes>> {
        key::check(key)?;
        let (path, key) = (self.root.join(key), key.to_owned());
        let found = self.run(Operation::Get, max, move || read_whole(&path, &key, max)).await?;
        self.calls.meter.add_received(found.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok(found)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        key::check(key)?;
        let (path, key) = (self.root.join(key), key.to_owned());
        let wanted = key::range_len(&key, &range)?;
        let buffers = Arc::clone(&self.buffers);
        let read = move || read_range(&path, &key, &range, &buffers);
        let bytes = self.run(Operation::Get, wanted, read).await?;
        self.calls.meter.add_received(bytes.len() as u64);
        Ok(bytes)
    }

    async fn get_version_range(&self, key: &str, version_id: &str, _range: Range<u64>) -> Result<Bytes> {
        Err(key::no_version(key, version_id))
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>> {
        key::check(key)?;
        let (path, key) = (self.root.join(key), key.to_owned());
        self.run(Operation::Head, 0, move || examine(&path, &key)).await
    }

    fn list(&self, folder: &str, after: Option<&str>) -> BoxStream<'_, Result<ObjectInfo>> {
        if let Err(error) = key::check_folder(folder) {
            return stream::iter([Err(error)]).boxed();
        }
        let walk = Walk::new(self.root.clone(), folder.to_owned(), after.map(str::to_owned));
        stream::try_unfold(walk, move |mut walk| async move {
            let step = move || {
                let found = walk.step(LIST_STEP)?;
                Ok((found, walk))
            };
            let (found, walk) = self.run(Operation::List, 0, step).await?;
            Ok::<_, Error>(found.map(|found| (stream::iter(found.into_iter().map(Ok)), walk)))
        })
        .try_flatten()
        .boxed()
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        key::check_folder(folder)?;
        let (root, folder) = (self.root.clone(), folder.to_owned());
        self.run(Operation::List, 0, move || walk::folders(&root, &folder)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        key::check(key)?;
        let (writer, key) = (Arc::clone(&self.writer), key.to_owned());
        self.run(Operation::Delete, 0, move || writer.delete(&key)).await
    }

    async fn sweep_unfinished(&self, folder: &str, before_ms: i64, execute: bool) -> Result<u64> {
        key::check_folder(folder)?;
        let (root, folder) = (self.root.clone(), folder.to_owned());
        // Without a time limit: it looks at every folder, and each single look is a local call.
        let began = Instant::now();
        let found = blocking(move || walk::sweep(&root, &folder, before_ms, execute)).await;
        self.calls.meter.count(Operation::Sweep, found.is_err(), began.elapsed());
        found
    }

    fn location(&self) -> String {
        self.calls.place.clone()
    }
}

#[cfg(test)]
mod tests;
