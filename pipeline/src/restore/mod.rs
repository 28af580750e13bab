//! Restore: whole record batches from an archive into a cluster, each exactly once, and proof of it.
//!
//! ```text
//! plan -> topics (guarded) -> download -> decode -> produce -> confirm -> proof -> real configs
//!   journal: begin       journal: partitions                journal: sealed       journal: complete
//! ```
//! What is produced follows from the plan alone: the archive positions are pinned in the journal, batches are cut the same on
//! every run (see [`crate::target::lane`]), and producer ids, epochs and start offsets are journalled before the first produce. So a run
//! that died is simply run again: it finds out how far the target's log reaches, goes on there with the same sequence
//! numbers, and the brokers discard whatever was still under way.
//!
//! Offsets are translated: records lie without holes behind the partition's start, and the report maps them. Aborted,
//! undecided and control records are left out and counted. This file wires the stages; each lives in a file of its own.

mod download;
mod gaps;
pub(crate) mod guard;
pub(crate) mod journal;
mod plan;
mod prepare;
pub(crate) mod progress;
pub(crate) mod proof;
mod report;
pub(crate) mod resume;
pub mod schemas;
mod select;
mod settings;
#[cfg(test)]
mod tests;
pub(crate) mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use formats::ids::{OffsetRange, Topic, TopicPartition};
use futures::stream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub use crate::target::TargetProgress;
pub use crate::target::lane::LaneCounts;
pub use crate::target::runs::{Run, RunMap};
pub use gaps::ArchiveGap;
pub use journal::JOURNAL_TOPIC;
pub use plan::{
    ArchiveCommit, OffsetMode, PartitionPlan, PlanState, RestorePlan, RetentionPlan, TopicAction, TopicPlan,
};
pub use progress::RestoreProgress;
pub use report::{Failure, PartitionReport, RestoreReport, TopicReport, Verdict};
pub use settings::{ExistingConfigs, JournalPlace, NonEmpty, RestoreSettings, Retention, TimeWindow};

use download::Reading;
use journal::{EndEntry, Sealed};
use prepare::Prepared;
use resume::Standings;
use schemas::{Remap, SchemaReport};

use crate::budget::Budget;
use crate::failpoint;
use crate::kafka::Client;
use crate::seam::Seam;
use crate::storage::Store;
use crate::target::lane::{LaneResults, LaneSettings};
use crate::target::produce::{Coordinator, Job, Outcome};
use crate::{Error, ErrorKind, Result};

/// Batches that wait between decode and produce, for each partition.
const QUEUE: usize = 16;
/// Looks at the target's ends before one that is behind is believed.
const CONFIRM_LOOKS: u32 = 10;
const CONFIRM_PAUSE: Duration = Duration::from_millis(500);
/// What part of the memory limit the maps of offsets may take, and how many runs each partition may have whatever the limit.
const RUNS_SHARE: usize = 16;
const FEW_RUNS: usize = 64;

/// What a restore would do. Touches nothing.
///
/// # Errors
/// No such backup, damage, or a cluster or store that cannot be asked. What speaks against the restore itself is in
/// [`RestorePlan::problems`].
pub async fn plan(
    settings: &RestoreSettings,
    client: &Client,
    store: &Arc<dyn Store>,
    seam: &Seam,
) -> Result<RestorePlan> {
    let budget = Budget::within(settings.memory_limit);
    Ok(prepare::prepare(settings, client, store, seam, &budget).await?.plan)
}

/// Restores. `stop` ends it in good order; running it again goes on.
///
/// A partition that fails does not stop the others: see [`RestoreReport::verdict`].
///
/// # Errors
/// A plan with problems ([`ErrorKind::Input`], before anything is touched); [`ErrorKind::Interrupted`] where stopped; topics
/// or a journal that cannot be written; as [`plan`].
pub async fn run(
    settings: &RestoreSettings,
    client: &Client,
    store: &Arc<dyn Store>,
    seam: &Seam,
    progress: Arc<RestoreProgress>,
    stop: CancellationToken,
) -> Result<RestoreReport> {
    let started = Instant::now();
    let budget = Budget::within(settings.memory_limit);
    progress.begin(&budget);
    let mut prepared = prepare_possible(settings, client, store, seam, &budget, &stop).await?;
    failpoint::hit("before_journal_begin");
    while prepared.plan.state == PlanState::New {
        let Prepared { entries, attempt, begin, topics, .. } = &prepared;
        if entries.begin(attempt.number, begin, topics).await? {
            break;
        }
        // Another copy of the job began first: go on with what it set out to do.
        prepared = prepare_possible(settings, client, store, seam, &budget, &stop).await?;
    }
    failpoint::hit("after_journal_begin");
    // What would be done with each schema is large, and what was done is told instead.
    prepared.plan.schemas = None;
    let restore = Restore { settings, client, store, seam, progress, stop, budget };
    let mut report = restore.run(prepared).await?;
    report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

async fn prepare_possible(
    settings: &RestoreSettings,
    client: &Client,
    store: &Arc<dyn Store>,
    seam: &Seam,
    budget: &Budget,
    stop: &CancellationToken,
) -> Result<Prepared> {
    let prepared = tokio::select! {
        () = stop.cancelled() => return Err(interrupted()),
        prepared = prepare::prepare(settings, client, store, seam, budget) => prepared?,
    };
    let Some(first) = prepared.plan.problems.first() else { return Ok(prepared) };
    let more = prepared.plan.problems.len() - 1;
    let mut text = if more == 0 { first.clone() } else { format!("{first} (and {more} more)") };
    let mut hint = "`replevin restore --plan` lists everything; nothing was touched".to_owned();
    // What a run that died has borrowed must not wait for one that is not refused.
    if let (Some(schemas), Some(rules)) = (&prepared.schemas, &settings.schemas) {
        match schemas.put_back(rules).await {
            Ok(false) => {}
            Ok(true) => {
                hint += " but what an earlier run had changed at the registry for the time, which is put back"
            }
            Err(error) => {
                text += &format!(
                    "; and what an earlier run has changed at the registry for the time is not put back: {error}"
                );
            }
        }
    }
    Err(Error::input(text).hint(hint))
}

/// The error of a restore that was told to stop.
fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "the restore was stopped").hint("run it again to go on")
}

struct Restore<'a> {
    settings: &'a RestoreSettings,
    client: &'a Client,
    store: &'a Arc<dyn Store>,
    seam: &'a Seam,
    progress: Arc<RestoreProgress>,
    stop: CancellationToken,
    budget: Budget,
}

type Results = Arc<Mutex<BTreeMap<TopicPartition, LaneResults>>>;

impl Restore<'_> {
    async fn run(&self, mut prepared: Prepared) -> Result<RestoreReport> {
        self.check_stop()?;
        let remap = self.bring_schemas(&prepared).await?;
        self.progress.partitions.store(prepared.sources.len() as u64, std::sync::atomic::Ordering::Relaxed);
        RestoreProgress::add(&self.progress.records_wanted, prepared.plan.records());
        let is_done = prepared.plan.state == PlanState::Complete;
        self.check_stop()?;
        if !is_done {
            self.make_topics(&prepared).await?;
        }
        self.check_stop()?;
        let (non_empty, progress) = (self.settings.into_non_empty, &self.progress);
        let mut standings =
            resume::standings(self.client, &mut prepared, non_empty, &self.budget, progress, &self.stop)
                .await?;
        self.check_stop()?;
        let results = Results::default();
        let jobs = self.jobs(&prepared, &standings, &results, remap.as_ref().map(|(remap, ..)| remap));
        let (to_outcomes, mut from_produce) = mpsc::unbounded_channel();
        let coordinator = Coordinator::new(
            self.settings.produce(),
            self.client.clone(),
            Arc::clone(&self.progress.target),
            self.stop.clone(),
            to_outcomes,
        );
        coordinator.run(stream::iter(jobs), self.settings.max_concurrent_partitions).await;
        let mut outcomes: Vec<Outcome> = std::iter::from_fn(|| from_produce.try_recv().ok()).collect();
        self.check_stop()?;
        // Nothing was produced there, so nothing can have failed but to read the archive.
        outcomes
            .retain(|outcome| !prepared.attempt.is_sealed(&outcome.partition.topic) || is_damaged(outcome));
        outcomes.extend(std::mem::take(&mut standings.failed).into_iter().map(|(partition, error)| {
            let acked = standings.get(&partition).map_or(0, |standing| standing.present);
            Outcome { partition, acked, error: Some(error), resent: 0 }
        }));
        let results = std::mem::take(&mut *results.lock().unwrap_or_else(PoisonError::into_inner));
        let mut report = report_of(&prepared, &standings, outcomes, results);
        if let Some((_, schemas, warnings)) = remap {
            report.schemas = Some(schemas);
            report.warnings.extend(warnings);
        }
        if self.settings.map_offsets {
            report.warn_of_unmapped();
        }
        self.confirm(&prepared, &mut report).await?;
        if self.settings.proof {
            self.prove(&prepared, &mut report).await?;
        }
        let sealed = self.seal(&prepared, &report).await?;
        let is_proven = |(topic, partition): (&TopicReport, &PartitionReport)| {
            partition.target_digest.is_some()
                || (!is_done && sealed.get(&topic.target).is_some_and(|sealed| sealed.proven))
        };
        let good = match report.partitions().all(is_proven) {
            true => Verdict::Proven,
            false if is_done => Verdict::AlreadyRestored,
            false => Verdict::Restored,
        };
        if is_done {
            report.topics.iter_mut().for_each(|topic| topic.configs_restored = true);
            report.verdict = report.judge(good);
            return Ok(report);
        }
        self.give_configs(&prepared, &mut report).await?;
        report.verdict = report.judge(good);
        if report.is_complete() {
            failpoint::hit("before_journal_complete");
            prepared.entries.complete(prepared.attempt.number, self.seam.clock.now_ms()).await?;
            failpoint::hit("after_journal_complete");
        }
        Ok(report)
    }

    /// Notes topics that hold everything, before their own configs let anything be deleted; gives all that are sealed.
    async fn seal(&self, prepared: &Prepared, report: &RestoreReport) -> Result<BTreeMap<Topic, Sealed>> {
        let mut sealed = prepared.attempt.sealed.clone();
        let (mut new, mut ends) = (BTreeMap::new(), BTreeMap::new());
        for topic in report.topics.iter().filter(|topic| !prepared.attempt.is_sealed(&topic.target)) {
            if topic.partitions.iter().any(|partition| partition.failure.is_some()) {
                continue;
            }
            new.insert(topic.target.clone(), Sealed { proven: self.settings.proof });
            for partition in &topic.partitions {
                let place = place(topic, partition);
                let end = EndEntry::new(&place, partition.target_range.end, partition.undecided_records);
                ends.insert(place, end);
            }
        }
        failpoint::hit("before_seal");
        prepared.entries.seal(prepared.attempt.number, &new, &ends).await?;
        failpoint::hit("after_seal");
        sealed.extend(new);
        Ok(sealed)
    }

    fn check_stop(&self) -> Result<()> {
        if self.stop.is_cancelled() { Err(interrupted()) } else { Ok(()) }
    }

    /// After the journal's `begin`: after a crash the next run must know what the topics are to become.
    async fn make_topics(&self, prepared: &Prepared) -> Result<()> {
        failpoint::hit("before_topic_create");
        let others = topics::create(self.client, &prepared.new_topics).await?;
        failpoint::hit("after_topic_create");
        let counts = prepared.new_topics.iter().filter_map(|topic| match topic.placement {
            crate::kafka::Placement::Chosen { partitions, .. } => Some((topic.name.clone(), partitions)),
            crate::kafka::Placement::Assigned(_) => None,
        });
        topics::wait_until_served(self.client, &counts.collect()).await?;
        // Created ones have it from the beginning, unless somebody else was quicker.
        let created: BTreeSet<&Topic> =
            prepared.new_topics.iter().map(|new| &new.name).filter(|name| !others.contains(*name)).collect();
        let unguarded = |topic: &&TopicPlan| {
            !created.contains(&topic.target) && !prepared.attempt.is_sealed(&topic.target)
        };
        let guards = prepared.plan.topics.iter().filter(unguarded).map(TopicPlan::guarding);
        let refused = topics::alter(self.client, guards.collect(), false).await?;
        failpoint::hit("after_guard");
        refused.into_values().next().map_or(Ok(()), Err)
    }

    /// Before anything else is touched: what ids in records become is pinned with it.
    async fn bring_schemas(&self, prepared: &Prepared) -> Result<Option<(Remap, SchemaReport, Vec<String>)>> {
        let (Some(schemas), Some(rules)) = (&prepared.schemas, &self.settings.schemas) else {
            return Ok(None);
        };
        schemas.bring(rules, (&prepared.entries, prepared.attempt.number), &self.stop).await.map(Some)
    }

    fn jobs(
        &self,
        prepared: &Prepared,
        standings: &Standings,
        results: &Results,
        remap: Option<&Remap>,
    ) -> Vec<Job> {
        let at_once = self.settings.max_concurrent_partitions;
        let reading =
            Reading::new(Arc::clone(self.store), self.budget.clone(), Arc::clone(&self.progress), at_once);
        // A compacted topic may have a run for every record.
        let max_runs =
            self.settings.memory_limit / RUNS_SHARE / size_of::<Run>() / prepared.sources.len().max(1);
        let mut jobs = Vec::with_capacity(prepared.sources.len());
        for topic in &prepared.plan.topics {
            let (sealed, digest) =
                (prepared.attempt.is_sealed(&topic.target), self.proves(prepared, &topic.target));
            if sealed && !self.settings.map_offsets && !digest {
                continue;
            }
            let lane = LaneSettings {
                window: prepared.begin.window,
                max_batch: usize::try_from(topic.max_batch).unwrap_or(usize::MAX),
                digest,
                max_runs: max_runs.max(FEW_RUNS),
                remap: remap.and_then(|remap| remap.topic(&topic.source)),
            };
            for partition in &topic.partitions {
                let place = TopicPartition::new(topic.target.clone(), partition.target);
                let (Some(standing), Some(source)) = (standings.get(&place), prepared.sources.get(&place))
                else {
                    continue;
                };
                if standings.failed.contains_key(&place) {
                    continue;
                }
                let (reading, source, results) = (reading.clone(), source.clone(), Arc::clone(results));
                let lane = lane.clone();
                let (start, present, to) = (standing.start, standing.present, place.clone());
                let feed = move || {
                    let (out, feed) = mpsc::channel(QUEUE);
                    tokio::spawn(async move {
                        let done = download::feed(reading, source, lane, start, present, &out).await;
                        if let Some(done) = done {
                            results.lock().unwrap_or_else(PoisonError::into_inner).insert(to, done);
                        }
                        // Only now: whoever sees the end of the feed may rely on the results.
                        drop(out);
                    });
                    feed
                };
                jobs.push(Job {
                    partition: place,
                    start,
                    producer: standing.producer,
                    present,
                    acked: Arc::default(),
                    feed: Box::new(feed),
                });
            }
        }
        // The largest first: the end of a restore is then not one long partition alone.
        let bytes = |job: &Job| {
            let source = prepared.sources.get(&job.partition);
            source.map_or(0, |source| source.segments.iter().map(|segment| segment.entry.length).sum::<u64>())
        };
        jobs.sort_by_cached_key(|job| std::cmp::Reverse(bytes(job)));
        jobs
    }

    /// Every partition holds what was acknowledged: it ends where the last acknowledgement said, and has lost nothing before.
    async fn confirm(&self, prepared: &Prepared, report: &mut RestoreReport) -> Result<()> {
        let unsealed =
            |(topic, _): &(&TopicReport, &PartitionReport)| !prepared.attempt.is_sealed(&topic.target);
        let places: Vec<TopicPartition> =
            report.partitions().filter(unsealed).map(|(topic, partition)| place(topic, partition)).collect();
        let mut ends = topics::ends(self.client, &places).await?;
        // A leader that just took over may know an older high watermark for a moment.
        for _ in 0..CONFIRM_LOOKS {
            let behind = report.partitions().any(|(topic, partition)| {
                ends.get(&place(topic, partition)).is_some_and(|(_, end)| *end < partition.target_range.end)
            });
            if !behind {
                break;
            }
            sleep(CONFIRM_PAUSE).await;
            ends = topics::ends(self.client, &places).await?;
        }
        for topic in &mut report.topics {
            for partition in &mut topic.partitions {
                let place = TopicPartition::new(topic.target.clone(), partition.target);
                let OffsetRange { first: start, end: expected } = partition.target_range;
                let Some((first, end)) = ends.get(&place).filter(|_| partition.failure.is_none()) else {
                    continue;
                };
                if *first > start {
                    let error = Error::damaged(format!(
                        "{place} begins at offset {first}, not at {start} where the restore began: records were deleted"
                    ))
                    .hint("find out what deletes records there, delete the topic and run the restore again");
                    partition.failure = Some(Failure::of(&error));
                } else if *end != expected {
                    let error = Error::damaged(format!(
                        "{place} ends at offset {end}, not at {expected} where the restore left it"
                    ))
                    .hint("somebody else writes to it, or the target lost acknowledged records");
                    partition.failure = Some(Failure::of(&error));
                }
            }
        }
        Ok(())
    }

    /// Whether a topic is to be read back: where that is asked for, and not done by the run that this one goes on with.
    fn proves(&self, prepared: &Prepared, target: &Topic) -> bool {
        let before = prepared.attempt.sealed.get(target).is_some_and(|sealed| sealed.proven);
        self.settings.proof && (prepared.plan.state == PlanState::Complete || !before)
    }

    async fn prove(&self, prepared: &Prepared, report: &mut RestoreReport) -> Result<()> {
        let good = report
            .partitions()
            .filter(|(topic, partition)| partition.failure.is_none() && self.proves(prepared, &topic.target));
        let mut ranges: BTreeMap<TopicPartition, OffsetRange> =
            good.map(|(topic, partition)| (place(topic, partition), partition.target_range)).collect();
        self.leave_out_what_is_gone(prepared, report, &mut ranges).await?;
        let mut found =
            proof::read_back(self.client, &ranges, &self.budget, &self.progress, &self.stop).await?;
        for topic in &mut report.topics {
            for partition in &mut topic.partitions {
                let place = TopicPartition::new(topic.target.clone(), partition.target);
                let Some(found) = found.remove(&place) else { continue };
                let sealed = prepared.attempt.is_sealed(&topic.target);
                let failure = match found {
                    Ok(proof::ReadBack { digest, .. })
                        if sealed
                            && prepared.compacted.contains(&topic.target)
                            && digest.records() < partition.records =>
                    {
                        report.warnings.push(format!(
                            "{place} cannot be proven any more: the target has compacted it since, and holds {} of {} records",
                            digest.records(),
                            partition.records
                        ));
                        None
                    }
                    Ok(proof::ReadBack { digest, .. }) => {
                        partition.target_digest = Some(digest);
                        (partition.archive_digest != Some(digest)).then(|| {
                            let wanted = partition.archive_digest.unwrap_or_default();
                            Error::damaged(format!(
                                "{place}@{}: the target's content digest is {digest}, the archive's {wanted}",
                                partition.target_range
                            ))
                            .hint("delete the topic and restore it again; `replevin verify --deep` checks the archive")
                        })
                    }
                    Err(error) => Some(error.at("proof")),
                };
                partition.failure = failure.as_ref().map(Failure::of);
            }
        }
        Ok(())
    }

    /// Takes out ranges that were complete once, but cannot be compared any more: a topic that is in use again has its real
    /// retention, and an archive may have dropped segments. Each is named in a warning.
    async fn leave_out_what_is_gone(
        &self,
        prepared: &Prepared,
        report: &mut RestoreReport,
        ranges: &mut BTreeMap<TopicPartition, OffsetRange>,
    ) -> Result<()> {
        let is_sealed = |place: &&TopicPartition| prepared.attempt.is_sealed(&place.topic);
        let ends =
            topics::ends(self.client, &ranges.keys().filter(is_sealed).cloned().collect::<Vec<_>>()).await?;
        let without: BTreeSet<TopicPartition> = report
            .partitions()
            .filter(|(_, partition)| partition.archive_digest.is_none())
            .map(|(topic, partition)| place(topic, partition))
            .collect();
        for (place, (first, _)) in ends {
            let Some(start) = ranges.get(&place).map(|range| range.first) else { continue };
            let why = match () {
                () if without.contains(&place) => {
                    "the backup has dropped segments since, or they cannot be read".to_owned()
                }
                () if first > start => {
                    format!(
                        "the target begins at offset {first} by now, the restore at {start}: its retention deleted records"
                    )
                }
                () => continue,
            };
            report.warnings.push(format!("{place} cannot be proven any more: {why}"));
            ranges.remove(&place);
        }
        Ok(())
    }

    /// The guard goes where everything went well; elsewhere it stays until a later run has succeeded.
    async fn give_configs(&self, prepared: &Prepared, report: &mut RestoreReport) -> Result<()> {
        let good =
            |topic: &&TopicReport| topic.partitions.iter().all(|partition| partition.failure.is_none());
        let finals: BTreeMap<Topic, BTreeMap<String, Option<String>>> = report
            .topics
            .iter()
            .filter(good)
            .filter_map(|topic| {
                Some((topic.target.clone(), prepared.topics.get(&topic.target)?.finals.clone()))
            })
            .collect();
        let names: Vec<Topic> = finals.keys().cloned().collect();
        failpoint::hit("before_configs");
        let refused = topics::alter(self.client, finals, false).await?;
        failpoint::hit("after_configs");
        for topic in &mut report.topics {
            topic.configs_restored = names.contains(&topic.target) && !refused.contains_key(&topic.target);
            if topic.configs_restored && topic.retention.held {
                report.warnings.push(format!(
                    "topic {} keeps everything: its own retention would delete {} records at once; set retention.ms when \
                     that is wanted",
                    topic.target, topic.retention.records_at_risk
                ));
            }
        }
        for (topic, error) in refused {
            report.warnings.push(format!("topic {topic} keeps the configs of the restore: {error}"));
        }
        Ok(())
    }
}

fn is_damaged(outcome: &Outcome) -> bool {
    outcome.error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Damaged)
}

fn place(topic: &TopicReport, partition: &PartitionReport) -> TopicPartition {
    TopicPartition::new(topic.target.clone(), partition.target)
}

fn report_of(
    prepared: &Prepared,
    standings: &Standings,
    outcomes: Vec<Outcome>,
    mut results: BTreeMap<TopicPartition, LaneResults>,
) -> RestoreReport {
    let mut outcomes: BTreeMap<TopicPartition, Outcome> =
        outcomes.into_iter().map(|outcome| (outcome.partition.clone(), outcome)).collect();
    let (plan, attempt) = (&prepared.plan, &prepared.attempt);
    let mut topics = Vec::with_capacity(plan.topics.len());
    for topic in &plan.topics {
        let partition = |plan: &PartitionPlan| {
            let place = TopicPartition::new(topic.target.clone(), plan.target);
            let start_and_found =
                standings.get(&place).map_or((0, 0), |standing| (standing.start, standing.present));
            let mut found = results.remove(&place);
            let sealed = attempt.is_sealed(&topic.target).then(|| attempt.ends.get(&place)).flatten();
            if sealed.is_some() {
                // An archive that has dropped segments since cannot tell any more where records went.
                found.take_if(|found| found.records != start_and_found.1);
            }
            partition_report(plan, start_and_found, outcomes.remove(&place), found, sealed)
        };
        topics.push(TopicReport {
            source: topic.source.clone(),
            target: topic.target.clone(),
            created: prepared.topics.get(&topic.target).is_some_and(|entry| entry.created),
            configs_restored: false,
            retention: topic.retention,
            absent: topic.absent.clone(),
            partitions: topic.partitions.iter().map(partition).collect(),
        });
    }
    RestoreReport {
        restore_id: plan.restore_id,
        state: plan.state,
        backup_id: plan.backup_id.clone(),
        archive: plan.archive,
        target_cluster: plan.target_cluster.clone(),
        mode: plan.mode,
        window: plan.window,
        schemas: None,
        topics,
        verdict: Verdict::Partial,
        duration_ms: 0,
        warnings: plan.warnings.clone(),
        damaged: plan.damaged.clone(),
    }
}

fn partition_report(
    plan: &PartitionPlan,
    (start, found): (i64, u64),
    outcome: Option<Outcome>,
    results: Option<LaneResults>,
    sealed: Option<&EndEntry>,
) -> PartitionReport {
    let (acked, resent, error) = match outcome {
        Some(outcome) => (outcome.acked, outcome.resent, outcome.error),
        None => (found, 0, None),
    };
    let mut failure = error.as_ref().map(Failure::of);
    if let (Some(results), None) = (&results, &failure)
        && results.records != acked
    {
        let (wanted, place) = (results.records, plan.target);
        let error = Error::damaged(format!(
            "partition {place} of the target holds {acked} records of this restore, the archive has {wanted}"
        ))
        .hint("somebody else writes to it, or the restore's settings were changed: delete the topic and restore it again");
        failure = Some(Failure::of(&error));
    }
    let digested = results.as_ref().and_then(|results| results.digest);
    let (lanes, runs) = results.map_or_else(Default::default, |results| {
        (results.counts, results.runs.map_or_else(Vec::new, |map| map.runs))
    });
    PartitionReport {
        source: plan.source,
        target: plan.target,
        lineage: plan.lineage,
        range: plan.range,
        target_range: OffsetRange::new(start, start.saturating_add_unsigned(acked)),
        records: acked,
        found,
        resent_batches: resent,
        undecided_records: sealed.map_or(lanes.undecided_records, |sealed| sealed.undecided),
        lanes,
        gaps: plan.gaps.clone(),
        archive_digest: digested,
        target_digest: None,
        runs,
        failure,
    }
}
