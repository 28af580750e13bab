//! Named places around durable writes where a test may let the process die: compiled in only with the `failpoints` feature.
//!
//! `REPLEVIN_FAILPOINT=name` kills the process (as SIGKILL would: nothing is flushed, nothing is dropped) the first time
//! that the place is reached; `name:3` the third time.
//!
//! Every object of a backup that is created, replaced or deleted passes [`hit_object`], before the store is asked and once
//! it has said yes: `before_segment_put`, `after_checkpoint_page_put`, `before_pack_delete` and so on, so that no durable
//! write is without its places. What a store does in several steps, and what a restore does to the target, has more.

use std::fmt;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Created, or a view replaced.
    Put,
    /// Deleted.
    Delete,
}

/// Which side of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Nobody was asked yet.
    Before,
    /// It is done, for good.
    After,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Put { "put" } else { "delete" })
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Before { "before" } else { "after" })
    }
}

/// Dies here if the environment says so.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static HITS: AtomicU32 = AtomicU32::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("REPLEVIN_FAILPOINT").ok()?;
        let (name, nth) = text.split_once(':').unwrap_or((text.as_str(), "1"));
        Some((name.to_owned(), nth.parse().unwrap_or(1)))
    });
    if let Some((wanted, nth)) = wanted
        && wanted == name
        && HITS.fetch_add(1, Ordering::AcqRel) + 1 == *nth
    {
        std::process::abort();
    }
}

/// Dies here if the environment names this side of this act on an object of this kind. `key` is relative to the backup's
/// folder.
#[cfg(feature = "failpoints")]
pub fn hit_object(side: Side, key: &str, act: Act) {
    use formats::paths::ObjectName;

    let kind = match ObjectName::parse(key) {
        Ok(ObjectName::Repository) => "repository",
        Ok(ObjectName::Manifest) => "manifest",
        Ok(ObjectName::Commit(_)) => "commit",
        Ok(ObjectName::CheckpointRoot(_)) => "checkpoint_root",
        Ok(ObjectName::CheckpointPage(..)) => "checkpoint_page",
        Ok(ObjectName::Segment(_)) => "segment",
        Ok(ObjectName::Pack(..)) => "pack",
        Ok(ObjectName::Groups(..)) => "groups",
        Ok(ObjectName::Cluster(..)) => "cluster",
        Ok(ObjectName::Restore(..)) => "restore_entry",
        Ok(ObjectName::Probe(_)) => "probe",
        Ok(ObjectName::SchemaSnapshot(..)) => "schema_snapshot",
        Ok(ObjectName::SchemaRegistry(_)) => "schemas",
        Err(_) => return,
    };
    hit(&format!("{side}_{kind}_{act}"));
}

/// A number that a test puts in the place of a built-in one, so that what comes once in many commits comes soon:
/// `REPLEVIN_CHECKPOINT_COMMITS`.
#[cfg(feature = "failpoints")]
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Does nothing in this build.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &str) {}

/// Does nothing in this build.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit_object(_side: Side, _key: &str, _act: Act) {}

/// Nothing in this build.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn number(_name: &str) -> Option<u64> {
    None
}
