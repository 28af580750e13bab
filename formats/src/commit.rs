//! One step of a backup's history: `commits/<seq>`, a sealed JSON document (see [`crate::document`]).
//!
//! A commit says what became true, as a list of operations. What operations a state admits is decided in one place,
//! [`crate::state::State::apply`]: what writers may not write, readers refuse. Members that this build does not know are
//! kept where they are optional; an operation that it does not know makes the commit unreadable, because nobody can say
//! what is true after it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::codec::Codec;
use crate::digest::{BatchDigest, ContentDigest};
use crate::document::{self, DocumentKind};
use crate::hash::Hash;
use crate::ids::{Incarnation, LineageId, OffsetRange, Topic, TopicId, TopicPartition};
use crate::paths::{ObjectName, SegmentName};
use crate::schema_ids::SchemaIds;
use crate::segment::EncodedSegment;
use crate::transactions::OpenTransaction;
use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// A commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Its number, from 1 without holes.
    pub seq: u64,
    /// BLAKE3 of the stored bytes of the commit before; zeros before the first.
    pub previous: Hash,
    /// Who wrote it.
    pub incarnation: Incarnation,
    /// When it was made, by the writer's clock, in milliseconds since 1970 UTC. For people; nothing depends on it.
    pub time_ms: i64,
    /// The program that wrote it, for people.
    pub software: String,
    /// The newest checkpoint that the writer knew: where a reader begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointRef>,
    /// What became true.
    pub ops: Vec<Op>,
    /// Members that this build does not know, kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Commit {
    /// The stored bytes.
    ///
    /// # Errors
    /// A commit beyond the size of a document.
    pub fn encode(&self) -> Result<Vec<u8>> {
        document::seal(DocumentKind::Commit, self)
    }

    /// Reads the stored bytes of commit `seq`.
    ///
    /// # Errors
    /// Damage, a newer version, an unknown operation, another number than the key's.
    pub fn decode(seq: u64, stored: &[u8]) -> Result<Self> {
        let commit: Self =
            document::open(DocumentKind::Commit, stored).map_err(|e| e.at(ObjectName::Commit(seq).key()))?;
        if commit.seq != seq {
            return Err(Error::corrupt(format!(
                "{} holds commit {}",
                ObjectName::Commit(seq).key(),
                commit.seq
            )));
        }
        Ok(commit)
    }
}

/// Names a checkpoint and pins its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRef {
    /// The state after this commit.
    pub seq: u64,
    /// BLAKE3 of the root's stored bytes.
    pub blake3: Hash,
}

/// One thing that became true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// The commit's incarnation is the writer now; earlier ones should stop.
    Writer,
    /// A history of a partition begins.
    Lineage(Lineage),
    /// Segments continue a partition.
    Add {
        /// Whose.
        topic: Topic,
        /// Whose.
        partition: i32,
        /// The current history.
        lineage: LineageId,
        /// In offset order, the first at the position, each at the end of the one before.
        segments: Vec<SegmentEntry>,
    },
    /// A range that no segment will ever hold.
    Gap {
        /// Whose.
        topic: Topic,
        /// Whose.
        partition: i32,
        /// The current history.
        lineage: LineageId,
        /// What and why; it begins at the position.
        gap: Gap,
    },
    /// Segments take the place of others that hold the same batches.
    Replace {
        /// Whose.
        topic: Topic,
        /// Whose.
        partition: i32,
        /// Which history.
        lineage: LineageId,
        /// Live segments, in offset order.
        removed: Vec<SegmentRef>,
        /// The same range and the same digest.
        added: Vec<SegmentEntry>,
    },
    /// Segments are no longer part of the backup.
    Drop {
        /// Whose.
        topic: Topic,
        /// Whose.
        partition: i32,
        /// Which history.
        lineage: LineageId,
        /// Live segments, in offset order.
        removed: Vec<SegmentRef>,
    },
    /// An incarnation may commit no more; objects of it that no commit names may be deleted.
    Retire {
        /// Which.
        incarnation: Incarnation,
    },
    /// Dropped or replaced objects were deleted from the store.
    Deleted {
        /// Their keys.
        objects: Vec<String>,
    },
    /// A snapshot of the schemas.
    Schemas {
        /// The snapshot; the newest one again where nothing has changed.
        object: ObjectRef,
        /// The key of the snapshot that it continues, the newest so far; none where it is the first, or the newest again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// It and those before it hold every schema that records in data commits up to this one need.
        covers: u64,
    },
    /// A snapshot of the consumer groups' offsets.
    Groups {
        /// The snapshot.
        object: ObjectRef,
    },
    /// A snapshot of the cluster's settings.
    Cluster {
        /// The snapshot.
        object: ObjectRef,
    },
}

/// An object with a name of its own, pinned by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// The key, relative to the backup's folder.
    pub key: String,
    /// Bytes.
    pub length: u64,
    /// BLAKE3 of the stored bytes.
    pub blake3: Hash,
}

/// How a history of a partition began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// Whose.
    pub topic: Topic,
    /// Whose.
    pub partition: i32,
    /// Its id; see [`LineageId::derive`].
    pub lineage: LineageId,
    /// The history that it follows: the partition's current one; none where the partition has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<LineageId>,
    /// The cluster's own name for itself.
    pub cluster_id: String,
    /// Kafka's id of the topic; zero where the broker gave none.
    pub topic_id: TopicId,
    /// Its first offset; everything before it is outside of this history.
    pub start: i64,
    /// Why it began.
    pub reason: LineageReason,
    /// Where it forked from: restoring this one includes the parent's offsets below the fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<Fork>,
}

/// Where a history left another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The other history.
    pub parent: LineageId,
    /// The first offset that is not shared.
    pub offset: i64,
    /// The leader epoch of the new history at the fork.
    pub epoch: i32,
}

/// Why a history began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineageReason {
    /// The partition was not in the backup before.
    First,
    /// The topic was deleted and made again, or the cluster is another one.
    Recreated,
    /// The log was truncated below the position and went on with other records.
    Truncated,
}

/// A range of offsets that no segment holds, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The range's first offset.
    pub first: i64,
    /// The offset after the range.
    pub end: i64,
    /// Why.
    pub reason: GapReason,
}

impl Gap {
    /// Its range.
    pub fn range(&self) -> OffsetRange {
        OffsetRange::new(self.first, self.end)
    }
}

/// Why no segment holds a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// Retention or DeleteRecords took it from the source before it was backed up. A loss.
    Retention,
    /// The source answered without it although nothing explains why. A loss.
    Vanished,
    /// The log cleaner removed every batch of it: a compacted topic's ordinary life.
    Compacted,
    /// It was in the backup and was dropped by the backup's own retention.
    Pruned,
}

impl GapReason {
    /// Whether records may have been lost before they were backed up: what a run ends with exit code 3 for.
    pub fn is_loss(self) -> bool {
        matches!(self, Self::Retention | Self::Vanished)
    }

    /// The word for people and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Vanished => "vanished",
            Self::Compacted => "compacted",
            Self::Pruned => "pruned",
        }
    }
}

/// Which object holds a segment, told by its writer: the rest of the key follows from the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SegmentObject {
    /// An object of its own.
    Own(Incarnation, u32),
    /// A pack.
    Pack(Incarnation, u32),
}

impl SegmentObject {
    /// Who wrote the object.
    pub fn incarnation(self) -> Incarnation {
        match self {
            Self::Own(incarnation, _) | Self::Pack(incarnation, _) => incarnation,
        }
    }
}

impl fmt::Display for SegmentObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(incarnation, counter) => write!(f, "{incarnation}-{counter:06}.seg"),
            Self::Pack(incarnation, counter) => write!(f, "{incarnation}-{counter:06}.pack"),
        }
    }
}

impl FromStr for SegmentObject {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (stem, own) = match text.strip_suffix(".seg") {
                Some(stem) => (stem, true),
                None => (text.strip_suffix(".pack")?, false),
            };
            let (incarnation, counter) = stem.split_once('-')?;
            let (incarnation, counter) = (incarnation.parse().ok()?, counter.parse().ok()?);
            Some(if own { Self::Own(incarnation, counter) } else { Self::Pack(incarnation, counter) })
        };
        // One object, one text: no signs and no other number of zeros.
        let found = parse().filter(|object: &Self| object.to_string() == text);
        found.ok_or_else(|| Error::invalid(format!("{text:?} does not name a segment's object")))
    }
}

impl TryFrom<String> for SegmentObject {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<SegmentObject> for String {
    fn from(object: SegmentObject) -> Self {
        object.to_string()
    }
}

/// Names a live segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SegmentRef {
    /// Its first offset.
    pub first: i64,
    /// The offset after its last.
    pub end: i64,
    /// Where it lies.
    pub object: SegmentObject,
}

/// What a commit says about a segment: enough for a plan without reading the object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// Its first offset.
    pub first: i64,
    /// The offset after its last.
    pub end: i64,
    /// Which object holds it.
    pub object: SegmentObject,
    /// Where in the object it begins.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub position: u64,
    /// Its bytes.
    pub length: u64,
    /// BLAKE3 of these bytes.
    pub blake3: Hash,
    /// The store's version id of the object, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Batches, control batches included.
    pub batches: u32,
    /// Control batches.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub control: u32,
    /// Records, control records included.
    pub records: u64,
    /// Offsets of the range that no record holds: compacted away.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// Bytes of the batches by the producer's codec.
    pub bytes: CodecBytes,
    /// Bytes of the batches that a restore must rebuild because the broker stamped them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub log_append_time: u64,
    /// Bytes of the batches that a restore must rebuild because offsets inside them are missing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub holes: u64,
    /// The largest batch in bytes.
    pub largest_batch: u32,
    /// The least timestamp, ms: a lower bound only where `min_exact`, otherwise the least base timestamp.
    pub min_timestamp: i64,
    /// Whether `min_timestamp` is exact.
    #[serde(default, skip_serializing_if = "is_false")]
    pub min_exact: bool,
    /// The greatest timestamp, ms.
    pub max_timestamp: i64,
    /// Over the batches: survives a merge.
    pub batch_digest: BatchDigest,
    /// Over the records, where they were decoded: survives a rebuild too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_digest: Option<ContentDigest>,
    /// The last batch, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastBatch>,
    /// Transactions open at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<OpenTransaction>,
    /// The schemas that its records name; none where nobody looked for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_ids: Option<Box<SchemaIds>>,
    /// Members that this build does not know, kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The batch that ends a segment: how a later run recognises the log that it continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBatch {
    /// Its base offset.
    pub offset: i64,
    /// Its leader epoch.
    pub epoch: i32,
    /// Its CRC-32C.
    pub crc: u32,
}

/// Bytes by producer codec; a map from codec name to bytes without the zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CodecBytes {
    /// Not compressed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub none: u64,
    /// gzip.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gzip: u64,
    /// snappy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub snappy: u64,
    /// lz4.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lz4: u64,
    /// zstd.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub zstd: u64,
}

impl CodecBytes {
    /// All bytes.
    pub fn total(&self) -> u64 {
        [self.none, self.gzip, self.snappy, self.lz4, self.zstd].into_iter().fold(0, u64::saturating_add)
    }

    /// The bytes of a codec.
    pub fn of(&mut self, codec: Codec) -> &mut u64 {
        match codec {
            Codec::None => &mut self.none,
            Codec::Gzip => &mut self.gzip,
            Codec::Snappy => &mut self.snappy,
            Codec::Lz4 => &mut self.lz4,
            Codec::Zstd => &mut self.zstd,
        }
    }
}

impl SegmentEntry {
    /// The entry of a segment that lies at `position` of `object`.
    pub fn of(segment: &EncodedSegment, object: SegmentObject, position: u64) -> Self {
        let stats = &segment.stats;
        let mut bytes = CodecBytes::default();
        for (codec, count) in Codec::ALL.into_iter().zip(stats.by_codec) {
            *bytes.of(codec) = count;
        }
        Self {
            first: segment.identity.range.first,
            end: segment.identity.range.end,
            object,
            position,
            length: segment.length,
            blake3: segment.blake3,
            version_id: None,
            batches: stats.batches,
            control: stats.control,
            records: stats.records,
            missing: stats.missing,
            bytes,
            log_append_time: stats.log_append_time,
            holes: stats.holes,
            largest_batch: stats.largest_batch,
            min_timestamp: stats.min_timestamp,
            min_exact: stats.min_exact,
            max_timestamp: stats.max_timestamp,
            batch_digest: stats.batch_digest,
            content_digest: None,
            last: stats.last.map(|(offset, epoch, crc)| LastBatch { offset, epoch, crc }),
            open: segment.transactions.open.clone(),
            schema_ids: segment.schema_ids.clone().map(Box::new),
            extra: Map::new(),
        }
    }

    /// Its range.
    pub fn range(&self) -> OffsetRange {
        OffsetRange::new(self.first, self.end)
    }

    /// What names it.
    pub fn reference(&self) -> SegmentRef {
        SegmentRef { first: self.first, end: self.end, object: self.object }
    }

    /// The key of the object that holds it.
    pub fn key(&self, partition: &TopicPartition, lineage: LineageId) -> String {
        match self.object {
            SegmentObject::Pack(incarnation, counter) => ObjectName::Pack(incarnation, counter).key(),
            SegmentObject::Own(incarnation, counter) => ObjectName::Segment(SegmentName {
                partition: partition.clone(),
                lineage,
                first: self.first,
                incarnation,
                counter,
            })
            .key(),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_zero_u32(number: &u32) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_false(flag: &bool) -> bool {
    !*flag
}
