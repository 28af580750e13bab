//! Writing, replacing and deleting one file so that it is there, or gone, even after the loss of power.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::io_error;
use crate::failpoint;
use crate::seam::Seam;
use crate::storage::{Created, Version, key};
use crate::{Error, Result};

/// How many folders are remembered as synced. Beyond it all are forgotten and synced again when next used.
const REMEMBERED_FOLDERS: usize = 10_000;

/// One write takes from so many bytes to twice as many. For larger ones the kernel takes pages of megabytes, which a
/// virtual machine often has to fetch from its host first: a write of 32 MiB was seen to cost seven times as much
/// processor time as one of 256 KiB, byte for byte.
const WRITE: usize = 128 << 10;
/// And at most so many pieces, of the thousand that the system allows.
const WRITE_SLICES: usize = 256;

/// Makes and removes files below a root.
#[derive(Debug)]
pub(super) struct Writer {
    root: PathBuf,
    seam: Seam,
    /// Folders whose whole way up to the root this process has synced. Another process may have made a folder and died
    /// before syncing it, so existence alone proves nothing.
    synced: Mutex<HashSet<PathBuf>>,
}

/// A temporary file's name, removed when dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed now is found by the sweep.
        let _ = fs::remove_file(&self.0);
    }
}

impl Writer {
    pub(super) fn new(root: PathBuf, seam: Seam) -> Self {
        Self { root, seam, synced: Mutex::default() }
    }

    /// Makes the file unless its name is taken.
    pub(super) fn create(&self, key: &str, body: &[Bytes]) -> Result<Created> {
        let path = self.root.join(key);
        let folder = parent(&path)?;
        // Saves the writing where the answer is already known. What decides is the link below.
        if fs::symlink_metadata(&path).is_ok() {
            return taken(&path, folder);
        }
        let (file, temporary) = self.temporary(folder)?;
        fill(file, body).map_err(|error| io_error("write", &temporary.0, error))?;
        failpoint::hit("before_file_link");
        if let Err(error) = fs::hard_link(&temporary.0, &path) {
            // Over NFS the answer to a link that succeeded may be lost and the repeated call find its own work: then
            // the temporary file has two names.
            let ours = error.kind() == io::ErrorKind::AlreadyExists
                && fs::symlink_metadata(&temporary.0).is_ok_and(|metadata| metadata.nlink() == 2);
            if !ours {
                return match error.kind() {
                    io::ErrorKind::AlreadyExists => taken(&path, folder),
                    _ => Err(link_error(&path, error)),
                };
            }
        }
        failpoint::hit("after_file_link");
        drop(temporary);
        failpoint::hit("before_folder_sync");
        sync_folder(folder)
            .map_err(|error| error.at(format!("{key} stands, but may not survive a loss of power")))?;
        failpoint::hit("after_folder_sync");
        Ok(Created::New(Version::default()))
    }

    /// Makes the file or puts it in the place of the one there.
    pub(super) fn replace(&self, key: &str, body: &Bytes) -> Result<()> {
        let path = self.root.join(key);
        let folder = parent(&path)?;
        let (file, temporary) = self.temporary(folder)?;
        fill(file, std::slice::from_ref(body)).map_err(|error| io_error("write", &temporary.0, error))?;
        failpoint::hit("before_file_rename");
        fs::rename(&temporary.0, &path).map_err(|error| io_error("replace", &path, error))?;
        failpoint::hit("after_file_rename");
        sync_folder(folder)
    }

    /// Removes the file if there is one. Folders stay: making them anew would race with whoever uses them.
    pub(super) fn delete(&self, key: &str) -> Result<()> {
        let path = self.root.join(key);
        match fs::remove_file(&path) {
            Ok(()) => {
                failpoint::hit("after_file_remove");
                sync_folder(parent(&path)?)
            }
            Err(error) if super::is_absent(&error) || path.is_dir() => Ok(()),
            Err(error) => Err(io_error("delete", &path, error)),
        }
    }

    /// A new temporary file in a folder that is made and synced where necessary.
    fn temporary(&self, folder: &Path) -> Result<(File, Temporary)> {
        self.make_folder(folder)?;
        let name = format!("{}{}-{:016x}", key::TEMPORARY, std::process::id(), self.seam.rand.next_u64());
        let path = folder.join(name);
        let open = || OpenOptions::new().write(true).create_new(true).open(&path);
        let file = match open() {
            // Somebody removed the folder since it was remembered.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.synced().clear();
                self.make_folder(folder)?;
                open()
            }
            result => result,
        };
        match file {
            Ok(file) => Ok((file, Temporary(path))),
            Err(error) => Err(io_error("create", &path, error)),
        }
    }

    /// Makes a folder with its parents, and syncs each up to the root, or above it as far as was new.
    fn make_folder(&self, folder: &Path) -> Result<()> {
        if self.synced().contains(folder) {
            return Ok(());
        }
        let mut missing = Vec::new();
        let mut place = folder;
        while !place.is_dir() {
            missing.push(place);
            match place.parent() {
                Some(parent) if parent != Path::new("") => place = parent,
                _ => break,
            }
        }
        for new in missing.iter().rev() {
            match DirBuilder::new().create(new) {
                Ok(()) => failpoint::hit("after_folder_create"),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && new.is_dir() => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(io_error("make folder", new, io::ErrorKind::NotADirectory.into()));
                }
                Err(error) => return Err(io_error("make folder", new, error)),
            }
        }
        // A folder's name is an entry of its parent, so the parents are what must be synced; the root's own parent only
        // where the root (or more) is new.
        let top = missing.last().filter(|top| !top.starts_with(&self.root) || **top == self.root);
        let stop = match top {
            Some(top) => top.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")),
            None => &self.root,
        };
        let mut place = folder;
        while place != stop {
            place = match place.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => stop,
            };
            sync_folder(place)?;
        }
        let mut synced = self.synced();
        if synced.len() >= REMEMBERED_FOLDERS {
            synced.clear();
        }
        synced.insert(folder.to_owned());
        Ok(())
    }

    /// A poisoned lock leaves a set that is whole: its calls do not panic half-way.
    fn synced(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parent(path: &Path) -> Result<&Path> {
    path.parent().ok_or_else(|| Error::input(format!("{} has no folder", path.display())))
}

/// Writes all parts without joining them, and syncs the file.
fn fill(mut file: File, body: &[Bytes]) -> io::Result<()> {
    // Empty parts have no pieces: of them a write would return zero.
    let mut pieces = body.iter().flat_map(|part| part.chunks(WRITE)).peekable();
    let (mut slices, mut bytes) = (Vec::with_capacity(WRITE_SLICES), 0);
    while let Some(piece) = pieces.next() {
        slices.push(IoSlice::new(piece));
        bytes += piece.len();
        if bytes >= WRITE || slices.len() >= WRITE_SLICES || pieces.peek().is_none() {
            write_slices(&mut file, &mut slices)?;
            (slices, bytes) = (Vec::with_capacity(WRITE_SLICES), 0);
        }
    }
    failpoint::hit("before_file_sync");
    file.sync_all()?;
    failpoint::hit("after_file_sync");
    Ok(())
}

fn write_slices(file: &mut File, mut rest: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The name is taken. Its folder is synced first, so that nobody builds on an object that could still vanish with the
/// power: its maker may be dead.
fn taken(path: &Path, folder: &Path) -> Result<Created> {
    if path.is_dir() {
        return Err(Error::permanent(format!(
            "{}: a folder stands where an object should be",
            path.display()
        )));
    }
    sync_folder(folder)?;
    Ok(Created::Exists)
}

pub(super) fn link_error(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => Error::permanent(format!(
            "cannot create {}: the file system does not support hard links, without which a file cannot be created \
             safely",
            path.display()
        ))
        .hint("use a file system such as ext4, xfs, btrfs, zfs or NFS, or an object store")
        .caused_by(error),
        _ => io_error("create", path, error),
    }
}

/// Makes the names in a folder durable. File systems that cannot sync folders (some network ones) say so by
/// `EINVAL`; there the server's own promise is all there is.
fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    match synced {
        Err(error) if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Err(io_error("sync folder", folder, error))
        }
        _ => Ok(()),
    }
}
