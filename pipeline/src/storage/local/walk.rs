//! Listing files in key order, in bounded memory: a folder's names are sorted a page at a time.

use std::collections::BinaryHeap;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::vec;

use super::{info, io_error, is_absent};
use crate::storage::{ObjectInfo, key};
use crate::{Error, Result};

/// Names of one folder held at a time: about 5 MB. Larger folders are read again for each page.
const PAGE: usize = 65_536;

/// A walk through a folder in key order. Errors end it.
#[derive(Debug)]
pub(super) struct Walk {
    root: PathBuf,
    after: Option<String>,
    /// From the outermost folder to the innermost.
    open: Vec<Page>,
}

/// Some of a folder's keys, ascending. Folders end in a slash, which puts `a-b` before what is in `a/`, as key order
/// demands.
#[derive(Debug)]
struct Page {
    folder: String,
    keys: vec::IntoIter<String>,
    /// The last key, where the folder has more.
    more_after: Option<String>,
}

impl Walk {
    pub(super) fn new(root: PathBuf, folder: String, after: Option<String>) -> Self {
        let start = Page { keys: Vec::new().into_iter(), more_after: Some(String::new()), folder };
        Self { root, after, open: vec![start] }
    }

    /// The next objects, at most `max` looked at; `None` at the end.
    pub(super) fn step(&mut self, max: usize) -> Result<Option<Vec<ObjectInfo>>> {
        let mut found = Vec::new();
        for _ in 0..max {
            let Some(page) = self.open.last_mut() else { break };
            match page.keys.next() {
                Some(key) if key.ends_with('/') => self.descend(key)?,
                Some(key) => found.extend(self.examine(&key)?),
                None => match page.more_after.take() {
                    Some(last) => {
                        let next = read_page(&self.root, &page.folder, &last, self.after.as_deref(), PAGE)?;
                        *page = next;
                    }
                    None => {
                        self.open.pop();
                    }
                },
            }
        }
        Ok((!self.open.is_empty() || !found.is_empty()).then_some(found))
    }

    fn descend(&mut self, folder: String) -> Result<()> {
        // Only symbolic links in a circle lead to keys that cannot be.
        if key::check_folder(&folder).is_ok() {
            self.open.push(read_page(&self.root, &folder, "", self.after.as_deref(), PAGE)?);
        }
        Ok(())
    }

    fn examine(&self, key: &str) -> Result<Option<ObjectInfo>> {
        let path = self.root.join(key);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file().then(|| info(key, &metadata))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(io_error("examine", &path, error)),
        }
    }
}

/// The first `limit` keys of a folder that come after `last`, and of those only what may hold keys after `after`.
fn read_page(root: &Path, folder: &str, last: &str, after: Option<&str>, limit: usize) -> Result<Page> {
    let mut first = BinaryHeap::new();
    let mut more = false;
    for entry in entries(&root.join(folder))? {
        let Some(key) = key_of(folder, &entry?)? else { continue };
        let wanted =
            after.is_none_or(|after| key.as_str() > after || (key.ends_with('/') && after.starts_with(&key)));
        if !wanted || key.as_str() <= last {
            continue;
        }
        first.push(key);
        if first.len() > limit {
            first.pop();
            more = true;
        }
    }
    let keys = first.into_sorted_vec();
    let more_after = keys.last().filter(|_| more).cloned();
    Ok(Page { folder: folder.to_owned(), keys: keys.into_iter(), more_after })
}

/// The entries of a folder; none where it does not exist.
fn entries(path: &Path) -> Result<impl Iterator<Item = Result<DirEntry>>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => Some(entries),
        Err(error) if is_absent(&error) => None,
        Err(error) => return Err(io_error("list", path, error)),
    };
    let path = path.to_owned();
    Ok(entries.into_iter().flatten().map(move |entry| entry.map_err(|error| io_error("list", &path, error))))
}

/// What an entry is called as a key, folders with a slash; `None` for what is no key.
fn key_of(folder: &str, entry: &DirEntry) -> Result<Option<String>> {
    let name = entry.file_name();
    let Some(name) = name.to_str().filter(|name| key::check(name).is_ok()) else { return Ok(None) };
    let is_folder = is_folder(entry)?;
    Ok(Some(format!("{folder}{name}{}", if is_folder { "/" } else { "" })))
}

fn is_folder(entry: &DirEntry) -> Result<bool> {
    let kind = match entry.file_type() {
        Ok(kind) => kind,
        Err(error) if is_absent(&error) => return Ok(false),
        Err(error) => return Err(io_error("examine", &entry.path(), error)),
    };
    Ok(kind.is_dir() || (kind.is_symlink() && entry.path().is_dir()))
}

/// The sub-folders that hold at least one object, sorted. Empty ones do not count: an object store has none.
pub(super) fn folders(root: &Path, folder: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in entries(&root.join(folder))? {
        let Some(key) = key_of(folder, &entry?)? else { continue };
        if !key.ends_with('/') {
            continue;
        }
        let mut walk = Walk::new(root.to_owned(), key.clone(), None);
        let mut holds_object = false;
        while !holds_object && let Some(found) = walk.step(64)? {
            holds_object = !found.is_empty();
        }
        if holds_object {
            names.push(key[folder.len()..key.len() - 1].to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Counts temporary files last written before a time, and removes them if told.
pub(super) fn sweep(root: &Path, folder: &str, before_ms: i64, execute: bool) -> Result<u64> {
    let mut found = 0;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in entries(&root.join(&folder))? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(key::TEMPORARY)) {
                found += u64::from(sweep_one(&entry, before_ms, execute)?);
            } else if let Some(key) = key_of(&folder, &entry)?.filter(|key| key.ends_with('/'))
                && key::check_folder(&key).is_ok()
            {
                open.push(key);
            }
        }
    }
    Ok(found)
}

fn sweep_one(entry: &DirEntry, before_ms: i64, execute: bool) -> Result<bool> {
    let path = entry.path();
    let gone_is_fine = |result: io::Result<()>| match result {
        Err(error) if !is_absent(&error) => Err(io_error("remove", &path, error)),
        _ => Ok(()),
    };
    let old = match entry.metadata() {
        Ok(metadata) => metadata.is_file() && info("", &metadata).modified_ms < before_ms,
        Err(error) => return gone_is_fine(Err(error)).map(|()| false),
    };
    if old && execute {
        gone_is_fine(fs::remove_file(&path))?;
    }
    Ok::<_, Error>(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_folders_are_read_page_by_page_in_key_order() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b", "a-b", "a.c", "a/x", "a/y", "c/z", "ab"] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        let mut seen = Vec::new();
        let mut last = String::new();
        loop {
            let page = read_page(root.path(), "", &last, None, 2).unwrap();
            seen.extend(page.keys);
            match page.more_after {
                Some(key) => last = key,
                None => break,
            }
        }
        assert_eq!(seen, ["a-b", "a.c", "a/", "ab", "b", "c/"]);
        let page = read_page(root.path(), "", "", Some("a/x"), 9).unwrap();
        assert_eq!(page.keys.collect::<Vec<_>>(), ["a/", "ab", "b", "c/"]);
    }

    #[test]
    fn a_circle_of_links_ends() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a")).unwrap();
        fs::write(root.path().join("a/x"), b"x").unwrap();
        std::os::unix::fs::symlink("..", root.path().join("a/up")).unwrap();
        let mut walk = Walk::new(root.path().to_owned(), String::new(), None);
        let mut count = 0;
        while let Some(found) = walk.step(100).unwrap() {
            count += found.len();
            assert!(count < 1000);
        }
        assert!(count >= 1);
    }
}
