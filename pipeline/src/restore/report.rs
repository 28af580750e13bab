//! The report: what a restore did, how, what it did not, and whether the target holds what the archive holds.

use std::collections::BTreeSet;

use formats::digest::ContentDigest;
use formats::ids::{BackupId, LineageId, OffsetRange, RestoreId, Topic};
use serde::{Deserialize, Serialize};

use super::LaneCounts;
use super::Run;
use super::gaps::ArchiveGap;
use super::plan::{ArchiveCommit, OffsetMode, PlanState, RetentionPlan};
use super::schemas::SchemaReport;
use super::settings::TimeWindow;

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoreReport {
    /// Which restore.
    pub restore_id: RestoreId,
    /// What it found when it began.
    pub state: PlanState,
    /// Which backup.
    pub backup_id: BackupId,
    /// The commit that it went by.
    pub archive: ArchiveCommit,
    /// The target cluster's own name for itself.
    pub target_cluster: String,
    /// How offsets relate.
    pub mode: OffsetMode,
    /// Which records.
    pub window: TimeWindow,
    /// The schemas; none where none were to be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schemas: Option<SchemaReport>,
    /// The topics.
    pub topics: Vec<TopicReport>,
    /// The topics that records were quarantined into: those that name a schema which nothing in the target stands for. `source` is the
    /// topic in the backup that they are of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<TopicReport>,
    /// What it comes to.
    pub verdict: Verdict,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What the reader should know.
    pub warnings: Vec<String>,
    /// What of the archive could not be read beside the records, and was done without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// What a restore comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything is there, and the digests of archive and target are equal. Exit code 0.
    Proven,
    /// Everything was acknowledged at the expected offsets. Exit code 0.
    Restored,
    /// An earlier run did it all, and the partitions still hold what it left. Exit code 0.
    AlreadyRestored,
    /// Not all that was asked for: partitions that could not be restored, losses that the archive knows of, records whose
    /// transactions nobody decided, quarantined records, schemas and keys of encryption that the target did not take, topics without
    /// their own configs. Exit code 3.
    Partial,
    /// The archive is damaged, or the target does not hold what the archive holds. Exit code 4.
    Different,
}

/// What became of a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicReport {
    /// Its name in the backup.
    pub source: Topic,
    /// Its name in the target.
    pub target: Topic,
    /// Whether this restore created it.
    pub created: bool,
    /// Whether it has its real configs; otherwise the guard is still on.
    pub configs_restored: bool,
    /// What its real retention would do, and whether it is held back.
    pub retention: RetentionPlan,
    /// Partitions that the source had, and of which the backup holds nothing at all.
    pub absent: Vec<i32>,
    /// Its partitions.
    pub partitions: Vec<PartitionReport>,
}

/// What became of a partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// Its number in the backup.
    pub source: i32,
    /// Its number in the target.
    pub target: i32,
    /// Which history.
    pub lineage: LineageId,
    /// The offsets in the backup.
    pub range: OffsetRange,
    /// The offsets on the target.
    pub target_range: OffsetRange,
    /// Records on the target.
    pub records: u64,
    /// Of these, records that earlier runs had produced.
    pub found: u64,
    /// Batches sent more than once.
    pub resent_batches: u64,
    /// What was done with its batches.
    pub lanes: LaneCounts,
    /// Records left out because nothing in the archive tells whether their transaction was committed, those of earlier
    /// runs included.
    pub undecided_records: u64,
    /// Records left out because they name a schema that nothing in the target stands for, those of earlier runs included: they are in
    /// the partition of the same number of the topic's quarantine.
    #[serde(default)]
    pub quarantined_records: u64,
    /// Ranges that the archive does not hold.
    pub gaps: Vec<ArchiveGap>,
    /// The archive's digest over what was selected, where the target was to be proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_digest: Option<ContentDigest>,
    /// The target's digest, read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_digest: Option<ContentDigest>,
    /// Where records went; empty where there are more runs than a share of the memory limit holds.
    pub runs: Vec<Run>,
    /// Why it could not be restored, or what differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Why a partition could not be restored, or what differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// In words.
    pub message: String,
    /// The next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether archive bytes are damaged or the target differs: exit code 4.
    pub damaged: bool,
}

impl Failure {
    pub(super) fn of(error: &crate::Error) -> Self {
        Self {
            message: error.to_string(),
            hint: error.next_step().map(str::to_owned),
            damaged: error.kind() == crate::ErrorKind::Damaged,
        }
    }
}

impl RestoreReport {
    /// Every partition with its topic.
    pub fn partitions(&self) -> impl Iterator<Item = (&TopicReport, &PartitionReport)> {
        self.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)))
    }

    /// Every topic, and every quarantine.
    pub(super) fn all(&self) -> impl Iterator<Item = &TopicReport> {
        self.topics.iter().chain(&self.quarantine)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut TopicReport> {
        self.topics.iter_mut().chain(&mut self.quarantine)
    }

    /// Every partition with its topic, those of quarantines too.
    pub(super) fn all_partitions(&self) -> impl Iterator<Item = (&TopicReport, &PartitionReport)> {
        self.all().flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)))
    }

    /// The topics and quarantines that hold everything; a topic and its quarantine do so together, or neither does.
    pub(super) fn filled(&self) -> impl Iterator<Item = &TopicReport> {
        let has_failed =
            |topic: &TopicReport| topic.partitions.iter().any(|partition| partition.failure.is_some());
        let failed: BTreeSet<&Topic> =
            self.all().filter(|topic| has_failed(topic)).map(|topic| &topic.source).collect();
        self.all().filter(move |topic| !failed.contains(&topic.source))
    }

    /// Records on the target, those that are quarantined not counted.
    pub fn records(&self) -> u64 {
        self.partitions().map(|(_, partition)| partition.records).sum()
    }

    /// Says of which partitions the runs are missing.
    pub(super) fn warn_of_unmapped(&mut self) {
        let unmapped = self.partitions().filter(|(_, partition)| {
            partition.failure.is_none() && partition.records > 0 && partition.runs.is_empty()
        });
        let words = unmapped.map(|(topic, partition)| {
            let (topic, number) = (&topic.target, partition.target);
            format!(
                "{topic}-{number}: where its records went cannot be told: its offsets have more holes than memory_limit leaves \
                 room for, or the backup has dropped segments since this was restored, or they cannot be read"
            )
        });
        let words: Vec<String> = words.collect();
        self.warnings.extend(words);
    }

    /// What the restore comes to, given what it comes to where nothing is wrong or missing.
    pub(super) fn judge(&self, good: Verdict) -> Verdict {
        let failures = || self.all_partitions().filter_map(|(_, partition)| partition.failure.as_ref());
        let short = |partition: &PartitionReport| {
            partition.undecided_records > 0
                || partition.quarantined_records > 0
                || partition.gaps.iter().any(|gap| gap.lost)
        };
        let unfinished = |topic: &TopicReport| !topic.configs_restored || !topic.absent.is_empty();
        match () {
            () if failures().any(|failure| failure.damaged) || !self.damaged.is_empty() => Verdict::Different,
            () if failures().next().is_some() => Verdict::Partial,
            () if self.all().any(unfinished) => Verdict::Partial,
            () if self.schemas.as_ref().is_some_and(|schemas| !schemas.not_taken.is_empty()) => {
                Verdict::Partial
            }
            () if self.partitions().any(|(_, partition)| short(partition)) => Verdict::Partial,
            () => good,
        }
    }

    /// Whether a later run could do more than this one did.
    pub(super) fn is_complete(&self) -> bool {
        self.all().all(|topic| topic.configs_restored)
            && self.all_partitions().all(|(_, partition)| partition.failure.is_none())
    }
}
