//! The log that the store lives on, as the registry sees it: ordered, compacted, with at most one writer at a time. Who fills
//! it with Kafka is no business of this crate.
//!
//! A log promises that what was acknowledged stays, in its order; that a reader sees no record before those in front of it;
//! and that the last record of a key is never removed, unless it has no value. It does *not* promise that nobody else
//! writes: whoever appends learns where its records came to lie, and so whether something came in between.

use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use uuid::Uuid;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// What it is about: compaction keeps the last record of equal bytes.
    pub key: Bytes,
    /// What is so from now on; nothing where the key is removed.
    pub value: Option<Bytes>,
    /// What other registries do not look at.
    pub headers: Vec<(String, Bytes)>,
    /// When it was made, in milliseconds of the epoch; nothing lets the log say so.
    pub time_ms: Option<i64>,
}

/// How far a log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Which log: another one where a topic was deleted and made again.
    pub log: Uuid,
    /// The offset behind the last record that is safe.
    pub end: i64,
}

/// What a log holds from an offset on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chunk {
    /// Records with their offsets, rising; compaction leaves holes.
    pub records: Vec<(i64, Record)>,
    /// Where to read on.
    pub next: i64,
}

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writer {
    /// This instance. The number is another one each time it becomes so.
    This(i64),
    /// The instance at this address.
    Other(String),
    /// Nobody, and why.
    Nobody(String),
}

/// Why a log did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogError {
    /// It cannot be reached or refuses to work. Nothing was appended.
    Unavailable(String),
    /// It cannot take this: too large. Nothing was appended.
    Refused(String),
    /// It was lost in the middle: some records, a first part of them, may have been appended or may still be.
    Unknown(String),
    /// What it holds makes no sense.
    Corrupt(String),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unavailable(why) | Self::Refused(why) | Self::Unknown(why) | Self::Corrupt(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for LogError {}

/// The result of a log.
pub type Result<T> = std::result::Result<T, LogError>;

/// An ordered, compacted log; the module says what it promises. Every call ends in bounded time.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// How far it goes now, asked of the log itself.
    async fn extent(&self) -> Result<Extent>;

    /// Records from an offset on, a bounded number of bytes; at least one where there is one before the end. An offset before the
    /// first record that is left reads from there.
    async fn read(&self, from: i64) -> Result<Chunk>;

    /// Appends records in their order and says at which offset each lies, once they are safe. All become visible at once where
    /// they fit into what the log takes at once, which is known to be so for a registration; else in parts, each a first part.
    async fn append(&self, records: &[Record]) -> Result<Vec<i64>>;

    /// Who writes now, as far as is known here.
    fn writer(&self) -> Writer;

    /// Lets go of everything: another instance may write after this.
    async fn close(&self) {}
}
