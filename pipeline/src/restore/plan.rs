//! The plan: everything that a restore would do, before anything is touched. Data only; `replevin restore --plan` prints
//! it in words or as JSON.
//!
//! Numbers come from what commits say about segments, so making a plan reads no payload. What only the payload tells (aborted
//! records, batches cut by a bound) is in the report.

use std::collections::BTreeMap;

use formats::hash::Hash;
use formats::ids::{BackupId, LineageId, OffsetRange, RestoreId, Topic, TopicPartition};
use serde::{Deserialize, Serialize};

use super::download::is_outside;
use super::gaps::ArchiveGap;
use super::schemas::SchemaPlan;
use super::settings::{JournalPlace, TimeWindow};
use crate::archive::PieceSegment;
use crate::target::lane::TINY;

/// What a restore would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestorePlan {
    /// The same settings against the same cluster have the same id.
    pub restore_id: RestoreId,
    /// Whether it begins, goes on, or has been done.
    pub state: PlanState,
    /// Which backup.
    pub backup_id: BackupId,
    /// The archive's newest commit that the restore goes by.
    pub archive: ArchiveCommit,
    /// The target cluster's own name for itself.
    pub target_cluster: String,
    /// How offsets relate.
    pub mode: OffsetMode,
    /// Which records.
    pub window: TimeWindow,
    /// Where the restore keeps its memory.
    pub journal: JournalPlace,
    /// The schemas, which come before the topics; none where none are restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schemas: Option<SchemaPlan>,
    /// The topics, by their names in the target.
    pub topics: Vec<TopicPlan>,
    /// Seconds of processor time that the restore takes, about; what an earlier run has done included. See [`cpu_seconds`].
    pub cpu_seconds: f64,
    /// Why it cannot be done as it is. Nothing is touched while there is one.
    pub problems: Vec<String>,
    /// What the reader should know.
    pub warnings: Vec<String>,
    /// What of the archive cannot be read beside the records, and is done without. The restore then ends with exit code 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

impl TopicPlan {
    /// Its partitions in the target.
    pub(super) fn places(&self) -> impl Iterator<Item = TopicPartition> {
        self.partitions.iter().map(|partition| TopicPartition::new(self.target.clone(), partition.target))
    }

    /// The configs to be set on the topic before it is filled.
    pub(super) fn guarding(&self) -> (Topic, BTreeMap<String, Option<String>>) {
        let guard = self.guard.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
        (self.target.clone(), guard.collect())
    }
}

/// Whether a restore begins, goes on, or has been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Nothing of it has been done.
    New,
    /// An earlier run did not come to its end.
    Resumes,
    /// An earlier run did all of it.
    Complete,
}

/// A commit of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveCommit {
    /// Its number.
    pub seq: u64,
    /// BLAKE3 of its stored bytes.
    pub hash: Hash,
}

/// How offsets on the target relate to those in the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffsetMode {
    /// Records lie without holes behind the start; the report maps offsets.
    Translated,
}

/// What happens to a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicPlan {
    /// Its name in the backup.
    pub source: Topic,
    /// Its name in the target.
    pub target: Topic,
    /// Whether it is made.
    pub action: TopicAction,
    /// Configs while the restore runs.
    pub guard: BTreeMap<String, String>,
    /// Configs changed at the end; null: falls back to the broker's.
    pub finals: BTreeMap<String, Option<String>>,
    /// What the real retention would do.
    pub retention: RetentionPlan,
    /// The largest batch that the topic takes while the restore runs, in bytes.
    pub max_batch: u64,
    /// Partitions that the source had, and of which the backup holds nothing at all: the restore is partial.
    pub absent: Vec<i32>,
    /// The topic that is made where records name a schema which nothing in the target stands for: they go there. None where that is
    /// not asked for, or where the topic names no schemas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Topic>,
    /// Its partitions.
    pub partitions: Vec<PartitionPlan>,
}

/// What happens to a topic before records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum TopicAction {
    /// It is created.
    Create {
        /// With so many partitions.
        partitions: i32,
        /// And replicas; null: the broker's default.
        replication_factor: Option<i16>,
    },
    /// It exists.
    Fill {
        /// How many partitions it has.
        partitions: i32,
        /// How many of those to be restored hold records already.
        non_empty: u32,
    },
    /// An earlier run of this restore made or filled it, and this one goes on there.
    Continue {
        /// How many partitions it has.
        partitions: i32,
    },
    /// An earlier run restored all of it.
    Nothing {
        /// How many partitions it has.
        partitions: i32,
    },
}

impl TopicAction {
    /// How many partitions the topic has or gets.
    pub(super) fn partitions(self) -> i32 {
        match self {
            Self::Create { partitions, .. }
            | Self::Fill { partitions, .. }
            | Self::Continue { partitions }
            | Self::Nothing { partitions } => partitions,
        }
    }
}

/// What the real retention would do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RetentionPlan {
    /// Records that it would delete, by whole segments of the archive.
    pub records_at_risk: u64,
    /// Whether it is held back at the end.
    pub held: bool,
}

/// What is restored of a partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartitionPlan {
    /// Its number in the backup.
    pub source: i32,
    /// Its number in the target.
    pub target: i32,
    /// Which history.
    pub lineage: LineageId,
    /// The offsets in the backup.
    pub range: OffsetRange,
    /// Segments that must be read.
    pub segments: u64,
    /// Batches in them.
    pub batches: u64,
    /// Records in them, control records included.
    pub records: u64,
    /// Bytes of these batches.
    pub bytes: u64,
    /// Bytes to be read from the store.
    pub stored: u64,
    /// Control batches in them, which are left out.
    pub control_batches: u64,
    /// Bytes that are rebuilt because compaction left holes.
    pub rebuild_holes: u64,
    /// Bytes that are rebuilt because the broker had stamped them.
    pub rebuild_log_append_time: u64,
    /// Bytes of segments whose batches are so small on average that they are put together.
    pub rebuild_tiny: u64,
    /// Bytes of segments that the time window may cut.
    pub decoded_for_window: u64,
    /// Records of segments wholly outside of the time window.
    pub outside_window: u64,
    /// The largest batch.
    pub largest_batch: u32,
    /// Ranges that the archive does not hold.
    pub gaps: Vec<ArchiveGap>,
}

impl PartitionPlan {
    /// Bytes that travel in the rebuild lane; all others travel untouched. One batch may have several reasons, and those that
    /// a time window cuts are only known when they are read, so this is the most that it can be.
    pub fn rebuilt(&self) -> u64 {
        let reasons =
            [self.rebuild_holes, self.rebuild_log_append_time, self.rebuild_tiny, self.decoded_for_window];
        reasons.iter().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes)).min(self.bytes)
    }
}

/// The processor time of a restore of these partitions, in seconds: for a byte that travels untouched, and for one whose batch is
/// decompressed and compressed again, what benches/README.md measures (zstd, records of 1 KB). Another machine, codec or size of
/// records changes it by some factor, rarely by ten.
/// Of a partition with true, every batch may get other schema ids: that costs as much as to rebuild it, at most.
pub(super) fn cpu_seconds<'a>(partitions: impl Iterator<Item = (&'a PartitionPlan, bool)>) -> f64 {
    const UNTOUCHED: f64 = 3.2e-9;
    const REBUILT: f64 = 46e-9;
    let seconds = |(p, is_remapped): (&PartitionPlan, bool)| {
        let rebuilt = if is_remapped { p.bytes } else { p.rebuilt() };
        (p.bytes - rebuilt) as f64 * UNTOUCHED + rebuilt as f64 * REBUILT
    };
    (partitions.map(seconds).sum::<f64>() * 1000.0).round() / 1000.0
}

impl RestorePlan {
    /// Records to be restored, control records included, in all partitions.
    pub fn records(&self) -> u64 {
        self.partitions().map(|partition| partition.records).sum()
    }

    /// Bytes of the batches to be restored.
    pub fn bytes(&self) -> u64 {
        self.partitions().map(|partition| partition.bytes).sum()
    }

    /// Whether the archive lacks something of what was asked for: then the restore comes to
    /// [`Verdict::Partial`](super::Verdict::Partial) at best.
    pub fn is_partial(&self) -> bool {
        let lost = |partition: &PartitionPlan| partition.gaps.iter().any(|gap| gap.lost);
        self.partitions().any(lost) || self.topics.iter().any(|topic| !topic.absent.is_empty())
    }

    /// Every partition.
    pub fn partitions(&self) -> impl Iterator<Item = &PartitionPlan> {
        self.topics.iter().flat_map(|topic| &topic.partitions)
    }
}

/// What the entries of a partition's segments add up to.
pub(super) fn partition_plan(
    source: i32,
    target: i32,
    lineage: LineageId,
    range: OffsetRange,
    segments: &[PieceSegment],
    gaps: Vec<ArchiveGap>,
    window: TimeWindow,
) -> PartitionPlan {
    let mut plan = PartitionPlan {
        source,
        target,
        lineage,
        range,
        segments: 0,
        batches: 0,
        records: 0,
        bytes: 0,
        stored: 0,
        control_batches: 0,
        rebuild_holes: 0,
        rebuild_log_append_time: 0,
        rebuild_tiny: 0,
        decoded_for_window: 0,
        outside_window: 0,
        largest_batch: 0,
        gaps,
    };
    for segment in segments {
        let entry = &segment.entry;
        let least = entry.min_exact.then_some(entry.min_timestamp);
        if is_outside(window, least, entry.max_timestamp) {
            plan.outside_window += entry.records;
            continue;
        }
        let bytes = entry.bytes.total();
        plan.segments += 1;
        plan.batches += u64::from(entry.batches);
        plan.records += entry.records;
        plan.bytes += bytes;
        plan.stored += entry.length;
        plan.control_batches += u64::from(entry.control);
        plan.rebuild_holes += entry.holes;
        plan.rebuild_log_append_time += entry.log_append_time;
        plan.largest_batch = plan.largest_batch.max(entry.largest_batch);
        if entry.batches > 0 && bytes / u64::from(entry.batches) < TINY as u64 {
            plan.rebuild_tiny += bytes;
        }
        let early = window.start.is_some_and(|start| least.is_none_or(|least| least < start));
        if early || window.end.is_some_and(|end| entry.max_timestamp > end) {
            plan.decoded_for_window += bytes;
        }
    }
    plan
}

/// How many records retention would delete at once: whole segments older than `cutoff_ms`, and the oldest beyond
/// `max_bytes`.
pub(super) fn at_risk(segments: &[PieceSegment], cutoff_ms: Option<i64>, max_bytes: Option<u64>) -> u64 {
    let total: u64 = segments.iter().map(|segment| segment.entry.bytes.total()).sum();
    let mut over = max_bytes.map_or(0, |max| total.saturating_sub(max));
    let mut records = 0;
    for segment in segments {
        let entry = &segment.entry;
        let old = cutoff_ms.is_some_and(|cutoff| entry.max_timestamp < cutoff);
        let bytes = entry.bytes.total();
        if old || over >= bytes && bytes > 0 {
            records += entry.records;
        }
        over = over.saturating_sub(bytes);
    }
    records
}
