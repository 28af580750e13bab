//! A whole registry, moved: into a file and out of it, from one registry to another, compared, checked.
//!
//! ```text
//!   registry --walk--> archive (a file)        Source: a registry or a file, as an index and texts on demand
//!                                                 |
//!                                       plan (what is missing, what is in the way)  ->  apply (IMPORT mode, journal)
//!                                       diff (what differs)       check (what is wrong in itself)
//!   backup (texts kept elsewhere)  ->  restore: into a registry that may hold anything, with a map of ids
//! ```
//! Texts pass through; what stays in memory is an index of about a hundred bytes a version. Nothing that is in the way is written
//! over: it is named before anything is touched.

mod apply;
mod archive;
mod check;
mod content;
mod diff;
mod error;
mod follow;
mod index;
mod intents;
mod journal;
mod order;
mod plan;
mod put_back;
pub mod restore;
mod source;
#[cfg(test)]
pub(crate) mod tests;
mod turns;
mod walk;

pub use apply::{Applied, Run, apply};
pub use archive::{Archive, ArchiveWriter, Counts, FORMAT, Head};
pub use check::{Finding, check};
pub use diff::{Difference, Differences, Guids, diff};
pub use error::{Error, Kind, Result};
pub use follow::{Follow, MassDeletion, Proof};
pub(crate) use follow::{is_gone, is_mass_deletion};
pub use index::{Entry, Index, Key, Place};
pub use intents::{InFile, Intents};
pub use journal::{Journal, Modes};
pub use plan::{Conflict, Plan, Planned, plan};
pub use source::{Side, Source, Texts};
pub use walk::{Item, Known, Oddities, Walk};

use std::sync::atomic::AtomicU64;

/// How far something has come, for whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    /// Versions read from a source.
    pub read: AtomicU64,
    /// Versions that are to be written; 0 while that is not known.
    pub wanted: AtomicU64,
    /// Versions written.
    pub written: AtomicU64,
}
