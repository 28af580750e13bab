//! The names of things. Bare integers and strings stop here: one newtype a meaning.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, Result};

/// The longest legal Kafka topic name.
pub const MAX_TOPIC_NAME: usize = 249;

/// A Kafka topic name: 1 to 249 characters of `[a-zA-Z0-9._-]`, not `.` and not `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks a name by Kafka's own rule.
    ///
    /// # Errors
    /// An empty, over-long or otherwise illegal name.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty()
            || name.len() > MAX_TOPIC_NAME
            || name == "."
            || name == ".."
            || !name.chars().all(legal)
        {
            return Err(Error::invalid(format!("{name:?} is not a legal Kafka topic name")).hint(
                "a name has 1 to 249 characters of a-z, A-Z, 0-9, '.', '_', '-' and is not '.' or '..'",
            ));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Topic {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> Self {
        topic.0.to_string()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A topic and the number of one of its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Topic,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: Topic, partition: i32) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Kafka's topic id; all zero where the broker gives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct TopicId(pub Uuid);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a schema in one context of a registry: 1 to 2^31-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct SchemaId(u32);

impl SchemaId {
    /// The id with a number; `None` for 0 and beyond 2^31-1, which no registry gives.
    pub fn new(number: u32) -> Option<Self> {
        (1..=i32::MAX.unsigned_abs()).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// As it stands in keys, values and headers.
    pub(crate) fn to_be_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

impl TryFrom<u32> for SchemaId {
    type Error = Error;

    fn try_from(number: u32) -> Result<Self> {
        Self::new(number).ok_or_else(|| Error::invalid(format!("{number} is no schema id: 1 to 2^31-1")))
    }
}

impl From<SchemaId> for u32 {
    fn from(id: SchemaId) -> Self {
        id.number()
    }
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Offsets from `first` up to, but not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OffsetRange {
    /// The first offset of the range.
    pub first: i64,
    /// The offset after the last one.
    pub end: i64,
}

impl OffsetRange {
    /// A range; empty where `end <= first`.
    pub fn new(first: i64, end: i64) -> Self {
        Self { first, end }
    }

    /// How many offsets it spans.
    pub fn len(&self) -> u64 {
        u64::try_from(self.end.saturating_sub(self.first)).unwrap_or(0)
    }

    /// Whether it spans none.
    pub fn is_empty(&self) -> bool {
        self.end <= self.first
    }

    /// Whether an offset lies inside.
    pub fn contains(&self, offset: i64) -> bool {
        self.first <= offset && offset < self.end
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{},{})", self.first, self.end)
    }
}

/// 64 bits printed as 16 hexadecimal digits: the shape shared by [`Incarnation`] and [`LineageId`].
macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if text.len() != 16 || !lower {
                    return Err(Error::invalid(format!(concat!("{:?} is not ", $what, ": 16 lower-case hexadecimal digits"), text)));
                }
                u64::from_str_radix(text, 16).map(Self).map_err(|e| Error::invalid(e.to_string()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

hex_id!(
    /// One start of one writer: drawn at random when the process starts, never used again.
    Incarnation,
    "an incarnation"
);
hex_id!(
    /// One history of one partition: see [`LineageId::derive`].
    LineageId,
    "a lineage"
);

/// Names a restore: the same file run again against the same cluster has the same id. 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RestoreId(pub u128);

impl fmt::Display for RestoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for RestoreId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let id = u128::from_str_radix(text, 16).map(Self).ok().filter(|id| id.to_string() == text);
        id.ok_or_else(|| {
            Error::invalid(format!("{text:?} is not a restore id: 32 lower-case hexadecimal digits"))
        })
    }
}

impl TryFrom<String> for RestoreId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<RestoreId> for String {
    fn from(id: RestoreId) -> Self {
        id.to_string()
    }
}

impl LineageId {
    /// Derives the id from the facts that make a history its own, so that every writer that sees the same facts gives
    /// it the same id: the cluster, the topic's id, the partition, and, where a log was truncated, the lineage it forked
    /// from, the offset of the fork and the leader epoch after it.
    pub fn derive(
        cluster_id: &str,
        topic: &Topic,
        topic_id: TopicId,
        partition: i32,
        fork: Option<(LineageId, i64, i32)>,
    ) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("replevin 2026 lineage id");
        for text in [cluster_id, topic.as_str()] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(topic_id.0.as_bytes());
        hasher.update(&partition.to_le_bytes());
        if let Some((parent, offset, epoch)) = fork {
            hasher.update(&parent.0.to_le_bytes());
            hasher.update(&offset.to_le_bytes());
            hasher.update(&epoch.to_le_bytes());
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_be_bytes(first))
    }
}

/// The name of a backup: 1 to 200 characters of `[a-zA-Z0-9._-]`, not beginning with a dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId(String);

impl BackupId {
    /// Checks a name.
    ///
    /// # Errors
    /// An empty or over-long name, or one with characters that are not safe in every object store.
    pub fn new(id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if id.is_empty() || id.len() > 200 || id.starts_with('.') || !id.chars().all(legal) {
            return Err(Error::invalid(format!("backup id {id:?} is not acceptable"))
                .hint("use 1 to 200 characters of a-z, A-Z, 0-9, '.', '_', '-', not beginning with a dot"));
        }
        Ok(Self(id))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BackupId {
    type Error = Error;

    fn try_from(id: String) -> Result<Self> {
        Self::new(id)
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
