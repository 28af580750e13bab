//! What a migration has done: where every partition stands, and what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use formats::commit::Gap;
use formats::ids::{OffsetRange, Topic, TopicPartition};
use serde::Serialize;

use super::groups::GroupReport;
use super::monitor::Watched;
use super::position::Claim;
use super::proof::{PartitionProof, ProofVerdict, Proofs};
use super::targets::Targets;
use super::{Flows, MigrateSettings, SchemaReport};
use crate::Result;
use crate::restore::schemas::RemapCounts;
use crate::restore::topics;

/// What a migration has done.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MigrateReport {
    /// Whether the target holds everything that the source had when it was last looked at.
    pub caught_up: bool,
    /// Whether it was given up because nothing has moved for long, before the target held everything.
    pub stalled: bool,
    /// Every partition that has begun.
    pub partitions: Vec<PartitionReport>,
    /// What was done with schemas, where they are migrated too.
    pub schemas: Option<SchemaReport>,
    /// What has become of the offsets that groups have committed at the source, where it has caught up.
    pub groups: Vec<GroupReport>,
    /// Why the cut-over is not complete, where it has caught up.
    pub unfinished: Option<String>,
    /// Whether that is because it was stopped.
    pub interrupted: bool,
    /// Target topics that have their own configs now.
    pub finished_topics: Vec<Topic>,
    /// What the reader should know.
    pub warnings: Vec<String>,
    /// How long it took.
    pub duration_ms: u64,
}

/// Where a partition stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartitionReport {
    /// Where it comes from.
    pub source: TopicPartition,
    /// Where it goes.
    pub target: TopicPartition,
    /// The source offset up to which everything is on the target; none where it has not begun.
    pub position: Option<i64>,
    /// Offsets of the target that are this migration's.
    pub target_range: Option<OffsetRange>,
    /// How many records are on the target, those of earlier runs included.
    pub records: u64,
    /// How many offsets the source was ahead when it was last looked at.
    pub lag: Option<u64>,
    /// Offsets below the source's end whose transactions are not decided.
    pub held_back: Option<OffsetRange>,
    /// What the source lost before it could be taken, as seen in this run.
    pub gaps: Vec<Gap>,
    /// What became of schema ids in the records of this run; those that are tried again count again.
    pub schema_ids: RemapCounts,
    /// Why it does not go on.
    pub failure: Option<String>,
    /// What keeps it from going on just now.
    pub trouble: Option<String>,
    /// How both sides compare, where it has caught up and that was asked for.
    pub proof: Option<PartitionProof>,
    #[serde(skip)]
    claim: Option<Claim>,
}

/// What of a partition is on the target.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standing {
    pub(super) target: TopicPartition,
    /// The offsets of the target that are the migration's.
    pub(super) start: i64,
    pub(super) end: i64,
    /// As many.
    pub(super) records: u64,
    /// The offsets of the source that they come from.
    pub(super) from: i64,
    pub(super) position: i64,
}

impl PartitionReport {
    /// Whether this came of comparing it.
    pub fn is(&self, verdict: ProofVerdict) -> bool {
        self.proof.as_ref().is_some_and(|proof| proof.verdict == verdict)
    }
}

impl MigrateReport {
    /// Whether something is missing that a person must know of: exit code 3.
    pub fn is_partial(&self) -> bool {
        self.stalled
            || self.unfinished.is_some()
            || self
                .schemas
                .as_ref()
                .is_some_and(|schemas| schemas.failed.is_some() || !schemas.not_taken.is_empty())
            || self.groups.iter().any(GroupReport::is_partial)
            || self.partitions.iter().any(|partition| {
                partition.failure.is_some()
                    || partition.held_back.is_some()
                    || !partition.gaps.is_empty()
                    || partition.is(ProofVerdict::Unread)
            })
    }

    /// Whether a partition of the target is not what the source holds: exit code 4.
    pub fn differs(&self) -> bool {
        self.partitions.iter().any(|partition| partition.is(ProofVerdict::Differs))
    }

    /// What is on the target, by partition of the source; without those that do not go on.
    pub(super) fn standings(&self) -> BTreeMap<TopicPartition, Standing> {
        let standing = |partition: &PartitionReport| {
            let range = partition.target_range.filter(|_| partition.failure.is_none())?;
            let standing = Standing {
                target: partition.target.clone(),
                start: range.first,
                end: range.end,
                records: partition.records,
                from: partition.claim.as_ref()?.from,
                position: partition.position?,
            };
            Some((partition.source.clone(), standing))
        };
        self.partitions.iter().filter_map(standing).collect()
    }

    /// Of what is on the target, whatever has no proof was not compared.
    pub(super) fn set_proofs(&mut self, mut proofs: Proofs) {
        let standings = self.standings();
        for partition in self.partitions.iter_mut().filter(|one| standings.contains_key(&one.source)) {
            let proof = proofs.remove(&partition.source);
            partition.proof =
                Some(proof.unwrap_or_else(|| PartitionProof::unread("nobody has read it".to_owned())));
        }
    }

    /// Gives topics that this migration made the configs of their sources, where all of a topic has come.
    pub(super) async fn finish(&mut self, targets: &Targets) -> Result<()> {
        let mut whole: BTreeMap<&Topic, bool> = BTreeMap::new();
        for partition in &self.partitions {
            let created = partition.claim.as_ref().is_some_and(|claim| claim.created);
            let is_good = created && partition.failure.is_none() && partition.trouble.is_none();
            *whole.entry(&partition.source.topic).or_insert(true) &= is_good;
        }
        let whole: BTreeSet<Topic> =
            whole.into_iter().filter(|(_, is_whole)| *is_whole).map(|(topic, _)| topic.clone()).collect();
        let refused = targets.finish(&whole).await?;
        self.finished_topics = whole.into_iter().filter(|topic| !refused.contains_key(topic)).collect();
        for (topic, error) in refused {
            let why = topics::with_hint(&error);
            self.warnings.push(format!("topic {topic} keeps the configs of the migration: {why}"));
        }
        Ok(())
    }
}

/// `watched` is how it ended where it was to end by itself.
pub(super) fn report(
    settings: &MigrateSettings,
    flows: &Flows,
    lags: &BTreeMap<TopicPartition, u64>,
    watched: Option<&Watched>,
) -> MigrateReport {
    let flows = flows.lock().unwrap_or_else(PoisonError::into_inner);
    let partition = |(source, flow): (&TopicPartition, &std::sync::Arc<super::flow::Shared>)| {
        let records = flow.acked.load(std::sync::atomic::Ordering::Relaxed);
        let claim = flow.claim();
        let end = watched.and_then(|watched| watched.ends.get(source));
        PartitionReport {
            source: source.clone(),
            target: settings.target(source),
            position: flow.position(),
            target_range: claim
                .as_ref()
                .map(|claim| OffsetRange::new(claim.start, claim.start.saturating_add_unsigned(records))),
            records,
            lag: lags.get(source).copied(),
            held_back: end
                .filter(|end| end.high > end.stable)
                .map(|end| OffsetRange::new(end.stable, end.high)),
            gaps: flow.gaps(),
            schema_ids: flow.ids(),
            failure: flow.failure(),
            trouble: flow.trouble(),
            proof: None,
            claim,
        }
    };
    let partitions: Vec<PartitionReport> = flows.iter().map(partition).collect();
    let stalled = watched.is_some_and(|watched| !watched.caught_up);
    let caught_up =
        watched.is_some() && !stalled && partitions.iter().all(|partition| partition.failure.is_none());
    MigrateReport { caught_up, stalled, partitions, ..MigrateReport::default() }
}
