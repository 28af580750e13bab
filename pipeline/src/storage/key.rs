//! What a key may look like, so that every backend takes it as it is and no key leaves the store's folder.
//!
//! `formats` makes the keys; this file only refuses what some backend would change, reject or hide.

use std::ops::Range;

use crate::{Error, Result};

/// Longest key in bytes, prefix included: the limit of S3 and GCS.
const MAX_KEY: usize = 1024;

/// Longest part of a key between two slashes: the limit of common file systems.
const MAX_PART: usize = 255;

/// How names of unfinished files begin on file systems. No key may use it.
pub(super) const TEMPORARY: &str = ".~tmp-";

/// Refuses a key that a backend would not take as it is.
pub(super) fn check(key: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::input(format!("{key:?} cannot be an object key: {why}")));
    if key.is_empty() {
        return refuse("it is empty");
    }
    if key.len() > MAX_KEY {
        return refuse("it is longer than 1024 bytes");
    }
    for part in key.split('/') {
        if part.is_empty() {
            return refuse("a part between slashes is empty");
        }
        if part == "." || part == ".." {
            return refuse("it would leave its folder");
        }
        if part.len() > MAX_PART {
            return refuse("a part between slashes is longer than 255 bytes");
        }
        if part.starts_with(TEMPORARY) {
            return refuse("its name is reserved for unfinished files");
        }
    }
    if key.chars().any(|c| c.is_control() || c == '\\') {
        return refuse("it holds a control character or a backslash");
    }
    Ok(())
}

/// Refuses a folder that is neither empty nor a key followed by a slash.
pub(super) fn check_folder(folder: &str) -> Result<()> {
    if folder.is_empty() {
        return Ok(());
    }
    match folder.strip_suffix('/') {
        Some(key) => check(key),
        None => Err(Error::input(format!("folder {folder:?} does not end in a slash"))),
    }
}

/// A prefix as settings give it (`/a/b/`, `a/b`, empty) as a folder (`a/b/` or empty).
pub(super) fn folder_of_prefix(prefix: &str) -> Result<String> {
    let trimmed = prefix.trim_matches('/');
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    check(trimmed).map_err(|error| error.at("storage prefix"))?;
    Ok(format!("{trimmed}/"))
}

/// The length of a range, refusing one that ends before it starts.
pub(super) fn range_len(key: &str, range: &Range<u64>) -> Result<u64> {
    range.end.checked_sub(range.start).ok_or_else(|| {
        Error::permanent(format!("{key}: bytes {}..{} end before they start", range.start, range.end))
    })
}

/// The error for a range of which the object has only a part.
pub(super) fn short(key: &str, range: &Range<u64>, got: u64) -> Error {
    let wanted = range.end.saturating_sub(range.start);
    Error::damaged(format!(
        "{key}: the object is shorter than expected: of bytes {}..{} ({wanted} bytes) it has {got}",
        range.start, range.end
    ))
    .hint("restore the object from a copy, or run verify to see what else is affected")
}

/// The error for an object that is larger than its reader expects any such object to be.
pub(super) fn too_large(key: &str, size: u64, max: u64) -> Error {
    Error::damaged(format!("{key}: the object has {size} bytes where at most {max} are expected"))
        .hint("the object was not written by this program, or is damaged")
}

/// The error for a missing object whose reader needs it.
pub(super) fn missing(key: &str) -> Error {
    Error::not_found(format!("{key}: no such object"))
}

/// The error for a version that the store does not have.
pub(super) fn no_version(key: &str, version_id: &str) -> Error {
    Error::not_found(format!("{key}: there is no version {version_id:?} of it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_would_escape_hide_or_change_are_refused() {
        let long = "x".repeat(256);
        let longer = vec!["y".repeat(200); 6].join("/");
        for key in [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "./a",
            "a\0b",
            "a\nb",
            "a\\b",
            &long,
            &longer,
            "a/.~tmp-1",
        ] {
            assert!(check(key).is_err(), "{key:?} was accepted");
        }
        for key in ["a", "a/b/c.seg", "..a", "a..", ".hidden", "a b", "ä", "%41", "a~b", &"x".repeat(255)] {
            assert!(check(key).is_ok(), "{key:?} was refused");
        }
    }

    #[test]
    fn folders_end_in_a_slash() {
        assert!(check_folder("").is_ok());
        assert!(check_folder("a/b/").is_ok());
        for folder in ["a", "/", "../", "a//", "a/../"] {
            assert!(check_folder(folder).is_err(), "{folder:?} was accepted");
        }
    }

    #[test]
    fn prefixes_lose_their_outer_slashes() {
        assert_eq!(folder_of_prefix("/a/b/").unwrap(), "a/b/");
        assert_eq!(folder_of_prefix("//").unwrap(), "");
        assert!(folder_of_prefix("a/../b").is_err());
    }
}
