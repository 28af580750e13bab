//! `restore`: the plan first, then the data, then the proof.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use formats::ids::Topic;
use formats::wire::Side;
use pipeline::restore::schemas::{Framing, RemapCounts, SchemaPlan, SideFraming, TopicFraming};
use pipeline::restore::{
    self, ArchiveGap, PartitionPlan, PlanState, RestorePlan, RestoreProgress, RestoreReport, RestoreSettings,
    TopicAction, TopicPlan, TopicReport, Verdict,
};
use pipeline::seam::Seam;
use pipeline::{Error, Result};
use serde_json::{Value, json};

use crate::config::{Job, Mode, Overrides, RestoreJob};
use crate::metrics::Watched;
use crate::output::{Output, count, human_bytes};
use crate::{components, exit, oneshot, progress, signals};

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The job file.
    #[arg(short, long)]
    config: PathBuf,
    /// Show everything that would be done, and touch nothing.
    #[arg(long, visible_alias = "dry-run")]
    plan: bool,
    /// Read the target back and compare it with the archive, whatever the file says.
    #[arg(long)]
    proof: bool,
}

/// Runs a restore, or shows its plan; where it runs and should be quiet, without the plan.
pub(crate) async fn run(args: RestoreArgs, quiet: bool, output: &Output) -> Result<u8> {
    let overrides = Overrides {
        mode: Some(Mode::Restore),
        dry_run: args.plan,
        proof: args.proof,
        ..Overrides::default()
    };
    let Job::Restore(job) = super::job::load(&args.config, &overrides)? else {
        return Err(Error::input(format!("{} is not a restore job", args.config.display())));
    };
    let counters = Arc::new(RestoreProgress::default());
    let watched = Watched::Restore(job.backup_id.clone(), Arc::clone(&counters));
    // Who only looks at the plan has done nothing.
    let metrics = job.metrics.as_ref().filter(|_| !job.restore.dry_run);
    oneshot::told(metrics, watched, once(&job, counters, quiet, output)).await
}

async fn once(job: &RestoreJob, counters: Arc<RestoreProgress>, quiet: bool, output: &Output) -> Result<u8> {
    let stop = signals::stop_token()?;
    let mut settings = components::restore_settings(job, &stop)?;
    settings.map_offsets = job.restore.offset_report.is_some();
    let store = components::backup_store(&job.storage, &job.backup_id)?;
    let seam = Seam::system();
    let client = components::kafka_client(&job.target, seam.clone()).await?;
    if job.restore.dry_run {
        let plan = restore::plan(&settings, &client, &store, &seam).await?;
        output.print(&plan, || plan_text(&plan));
        return Ok(if plan.problems.is_empty() { exit::DONE } else { exit::USAGE });
    }
    let bar = progress::show_restore(Arc::clone(&counters));
    let planned = |plan: &RestorePlan| bar.above(&plan_text(plan));
    let planned = (!quiet).then_some(planned);
    let result = run_planned(&settings, &client, &store, &seam, &counters, stop, planned).await;
    bar.finish();
    let report = result?;
    if let Some(path) = &job.restore.offset_report {
        write_offset_report(Path::new(path), &report)?;
    }
    output.print(&report, || report_text(&report));
    Ok(match report.verdict {
        Verdict::Proven | Verdict::Restored | Verdict::AlreadyRestored => exit::DONE,
        Verdict::Partial => exit::PARTIAL,
        Verdict::Different => exit::MISMATCH,
    })
}

/// Shows the plan on stderr where that is wanted, then runs it.
async fn run_planned(
    settings: &RestoreSettings,
    client: &pipeline::kafka::Client,
    store: &Arc<dyn pipeline::storage::Store>,
    seam: &Seam,
    counters: &Arc<RestoreProgress>,
    stop: tokio_util::sync::CancellationToken,
    planned: Option<impl Fn(&RestorePlan)>,
) -> Result<RestoreReport> {
    if let Some(planned) = planned {
        planned(&restore::plan(settings, client, store, seam).await?);
    }
    restore::run(settings, client, store, seam, Arc::clone(counters), stop).await
}

fn plan_text(plan: &RestorePlan) -> String {
    let state = match plan.state {
        PlanState::New => "new",
        PlanState::Resumes => "goes on where an earlier run stopped",
        PlanState::Complete => {
            "already restored: nothing is left to do but to look whether it is still there"
        }
    };
    let mut lines = vec![
        format!("restore of backup {} at commit {}:{}", plan.backup_id, plan.archive.seq, plan.archive.hash),
        format!("into cluster {}, {state} (id {})", plan.target_cluster, plan.restore_id),
    ];
    if let Some(schemas) = &plan.schemas {
        lines.extend(schemas_text(schemas));
    }
    for topic in &plan.topics {
        let framing = plan.schemas.as_ref().and_then(|schemas| schemas.topics.get(&topic.source));
        topic_text(topic, framing, &mut lines);
    }
    if plan.bytes() > 0 && plan.state != PlanState::Complete {
        let at_most =
            if plan.partitions().any(|partition| partition.rebuilt() > 0) { " at most" } else { "" };
        lines.push(format!(
            "about {:.1} s of processor time{at_most}; the target's brokers set the pace",
            plan.cpu_seconds
        ));
    }
    lines.extend(plan.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(plan.damaged.iter().map(|what| format!("damaged: {what}")));
    lines.extend(plan.problems.iter().map(|problem| format!("cannot be done: {problem}")));
    if plan.is_partial() {
        lines.push(
            "partial: the archive does not hold all that is asked for (see \"lost\" above); the rest can be restored, and ends \
             with exit code 3"
                .to_owned(),
        );
    }
    lines.join("\n")
}

fn schemas_text(plan: &SchemaPlan) -> Vec<String> {
    let SchemaPlan { target, same, changed, new, nowhere, .. } = plan;
    let mut lines = vec![format!("schemas, before everything else, to {target}:")];
    lines.extend(plan.lines.iter().map(|line| format!("  {line}")));
    if !plan.done {
        let parts = [
            (*same, "stay"),
            (*changed, "become others"),
            (*new, "are given by the target"),
            (*nowhere, "have nothing there that stands for them"),
        ];
        let parts: Vec<String> =
            parts.iter().filter(|(ids, _)| *ids > 0).map(|(ids, what)| format!("{ids} {what}")).collect();
        lines.push(format!("  ids: {}", if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }));
    }
    lines
}

/// How it is known which records of a topic name schemas.
fn framing_text(framing: &TopicFraming) -> Option<String> {
    let side = |side: Side| {
        let SideFraming { how, schemas, sampled, proven, .. } = framing.side(side);
        Some(match how {
            Framing::Raw if *sampled == 0 => return None,
            Framing::Raw => format!("{side}s stay as they are ({proven} of {sampled} sampled name a schema)"),
            Framing::Named => format!("{side}s have {} of their own subject", count(*schemas, "schema")),
            Framing::Told => format!("{side}s have schemas, as the file says"),
            Framing::Inferred => {
                format!(
                    "{side}s have schemas, as all {sampled} sampled show; each is read before its id is changed"
                )
            }
        })
    };
    let mut said: Vec<String> = Side::ALL.into_iter().filter_map(side).collect();
    if framing.headers > 0 {
        said.push(format!("headers of {} sampled name schemas", count(framing.headers, "record")));
    }
    (!said.is_empty()).then(|| format!("    ids: {}", said.join("; ")))
}

fn topic_text(topic: &TopicPlan, framing: Option<&TopicFraming>, lines: &mut Vec<String>) {
    let name = if topic.source == topic.target {
        topic.source.to_string()
    } else {
        format!("{} -> {}", topic.source, topic.target)
    };
    let action = match &topic.action {
        TopicAction::Create { partitions, replication_factor } => {
            let replicas = replication_factor
                .map_or_else(|| "the broker's default of replicas".to_owned(), |n| count(n, "replica"));
            format!("create with {}, {replicas}", count(*partitions, "partition"))
        }
        TopicAction::Fill { partitions, non_empty: 0 } => {
            format!("fill {}", count(*partitions, "empty partition"))
        }
        TopicAction::Fill { partitions, non_empty } => {
            let partitions = count(*partitions, "partition");
            format!("append: {non_empty} of {partitions} with records already")
        }
        TopicAction::Continue { partitions } => {
            format!("go on with its {}", count(*partitions, "partition"))
        }
        TopicAction::Nothing { .. } => "already restored, nothing to do".to_owned(),
    };
    let records: u64 = topic.partitions.iter().map(|p| p.records).sum();
    let bytes: u64 = topic.partitions.iter().map(|p| p.bytes).sum();
    lines.push(format!("  {name}: {action}; {}, {}", count(records, "record"), human_bytes(bytes)));
    lines.extend(missing(
        &topic.source,
        topic.partitions.iter().map(|p| (p.source, &p.gaps[..])),
        &topic.absent,
    ));
    if matches!(topic.action, TopicAction::Nothing { .. }) {
        return;
    }
    lines.extend(framing.and_then(framing_text));
    match framing.is_some_and(TopicFraming::names_schemas) {
        true => lines.push(
            "    batches with an id that changes are written anew, all others travel untouched".to_owned(),
        ),
        false => lines.extend(lanes(topic, bytes)),
    }
    if let Some(quarantine) = &topic.quarantine {
        lines.push(format!(
            "    records whose schema nothing there stands for are left out: topic {quarantine} is made for them where there are any"
        ));
    }
    if topic.retention.records_at_risk > 0 {
        let held = if topic.retention.held { "it is held back" } else { "it comes into force" };
        let records = count(topic.retention.records_at_risk, "record");
        lines.push(format!("    its retention would delete {records} at once: {held}"));
    }
}

/// How much travels as it lies in the backup, and how much is rebuilt, why.
fn lanes(topic: &TopicPlan, bytes: u64) -> Option<String> {
    let rebuilt: u64 = topic.partitions.iter().map(PartitionPlan::rebuilt).sum();
    if rebuilt == 0 {
        return (bytes > 0).then(|| "    all of it travels untouched".to_owned());
    }
    let sum = |of: fn(&PartitionPlan) -> u64| topic.partitions.iter().map(of).sum::<u64>();
    let reasons = [
        (sum(|p| p.rebuild_holes), "with missing offsets"),
        (sum(|p| p.rebuild_log_append_time), "stamped by the broker"),
        (sum(|p| p.rebuild_tiny), "in tiny batches"),
        (sum(|p| p.decoded_for_window), "decoded for the time window"),
    ];
    let reasons: Vec<String> = reasons
        .iter()
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, why)| format!("{} {why}", human_bytes(*bytes)))
        .collect();
    let untouched = human_bytes(bytes - rebuilt);
    Some(format!(
        "    {untouched} travel untouched, at most {} are rebuilt: {}",
        human_bytes(rebuilt),
        reasons.join(", ")
    ))
}

/// A line for each range of a topic that the archive does not hold.
fn missing<'a>(
    topic: &Topic,
    partitions: impl Iterator<Item = (i32, &'a [ArchiveGap])>,
    absent: &[i32],
) -> Vec<String> {
    let mut lines = Vec::new();
    for (partition, gaps) in partitions {
        for gap in gaps {
            let (range, reason) = (gap.range(), gap.gap.reason.name());
            let what = if gap.lost { "lost" } else { "not in the archive" };
            lines.push(format!("    {what}: {topic}-{partition}@{range} ({reason})"));
        }
    }
    let nothing = |partition: &i32| {
        format!("    lost: {topic}-{partition}, of which the backup holds nothing (absent)")
    };
    lines.extend(absent.iter().map(nothing));
    lines
}

fn report_text(report: &RestoreReport) -> String {
    let partitions: Vec<_> = report.partitions().collect();
    let verdict = match report.verdict {
        Verdict::Proven => "proven: the digests of archive and target are equal",
        Verdict::Restored => {
            "restored: everything was acknowledged at the expected offsets (--proof reads it back)"
        }
        Verdict::AlreadyRestored => "already restored: an earlier run did it all",
        Verdict::Partial => "partial: not all that was asked for, see above",
        Verdict::Different => "different: the target does not hold what the archive holds",
    };
    let records = report.records();
    let mut lines = vec![
        format!(
            "{} in {} of {}",
            count(records, "record"),
            count(partitions.len(), "partition"),
            count(report.topics.len(), "topic")
        ),
        format!("backup {} at commit {}:{}", report.backup_id, report.archive.seq, report.archive.hash),
    ];
    if let Some(schemas) = &report.schemas {
        lines.push(format!(
            "schemas: {} of the backup are known to {}",
            count(schemas.ids.len(), "id"),
            schemas.target
        ));
        lines.extend(schemas.lines.iter().map(|line| format!("  {line}")));
        lines.extend(schemas.not_taken.iter().map(|what| format!("left out: {what}")));
    }
    lines.extend(ids_text(partitions.iter().map(|(_, partition)| &partition.lanes.schema_ids)));
    lines.extend(quarantine_text(report));
    let quarantined =
        report.quarantine.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
    for (topic, partition) in partitions.iter().copied().chain(quarantined) {
        if let Some(failure) = &partition.failure {
            lines.push(format!("failed: {}-{}: {}", topic.target, partition.target, failure.message));
            lines.extend(failure.hint.iter().map(|hint| format!("  -> {hint}")));
        }
        if let (Some(archive), Some(target)) = (&partition.archive_digest, &partition.target_digest) {
            let sign = if archive == target { "=" } else { "differs from" };
            lines.push(format!(
                "{}-{}: archive {archive} {sign} target {target}",
                topic.target, partition.target
            ));
        }
    }
    for topic in &report.topics {
        let gaps = topic.partitions.iter().map(|p| (p.source, &p.gaps[..]));
        lines.extend(
            missing(&topic.source, gaps, &topic.absent).iter().map(|line| line.trim_start().to_owned()),
        );
    }
    let aborted: u64 = partitions.iter().map(|(_, p)| p.lanes.aborted_records).sum();
    if aborted > 0 {
        lines.push(format!("{} of aborted transactions left out", count(aborted, "record")));
    }
    let undecided: u64 = partitions.iter().map(|(_, p)| p.undecided_records).sum();
    if undecided > 0 {
        lines.push(format!(
            "{undecided} records were left out, because the backup ends before their transactions were decided"
        ));
    }
    for topic in report.topics.iter().chain(&report.quarantine).filter(|topic| !topic.configs_restored) {
        lines.push(format!("topic {} is still under guard: its real configs are not set", topic.target));
    }
    lines.extend(report.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(report.damaged.iter().map(|what| format!("damaged: {what}")));
    lines.push(verdict.to_owned());
    lines.join("\n")
}

/// A line for each partition that records were left out of.
fn quarantine_text(report: &RestoreReport) -> Vec<String> {
    let mut lines = Vec::new();
    for (topic, partition) in report.partitions().filter(|(_, partition)| partition.quarantined_records > 0) {
        let of = |quarantine: &&TopicReport| quarantine.source == topic.source;
        let place = match report.quarantine.iter().find(of) {
            Some(quarantine) => format!("they are in {}-{}", quarantine.target, partition.target),
            None => "the topic that they went to is not there any more".to_owned(),
        };
        lines.push(format!(
            "quarantined: {} of {}-{} name schemas that nothing in the target stands for; {place}",
            count(partition.quarantined_records, "record"),
            topic.target,
            partition.target
        ));
    }
    lines
}

/// What became of ids in records.
fn ids_text<'a>(counts: impl Iterator<Item = &'a RemapCounts>) -> Vec<String> {
    let sums = counts.fold([0; 5], |sums, counts| {
        let RemapCounts { batches, keys, values, unknown, unproven, .. } = *counts;
        let all = [batches, keys, values, unknown, unproven];
        std::array::from_fn(|n| sums[n] + all[n])
    });
    let [batches, keys, values, unknown, unproven] = sums;
    let mut lines = Vec::new();
    if batches > 0 {
        let batches = count(batches, "batch");
        lines.push(format!(
            "ids changed in {} and {}, in {batches}",
            count(values, "value"),
            count(keys, "key")
        ));
    }
    if unknown > 0 {
        lines.push(format!("{} that nothing in the target stands for", count(unknown, "id")));
    }
    if unproven > 0 {
        lines.push(format!("{unproven} keys and values begin like an id, and nothing proves that it is one: they are as they were"));
    }
    lines
}

/// Writes where records went, in the shape of OSO's offset mapping.
fn write_offset_report(path: &Path, report: &RestoreReport) -> Result<()> {
    let mut entries = serde_json::Map::new();
    for topic in &report.topics {
        for partition in &topic.partitions {
            let (Some(first), Some(last)) = (partition.runs.first(), partition.runs.last()) else { continue };
            let end = |start: i64, length: u64| start.saturating_add_unsigned(length.saturating_sub(1));
            let entry = json!({
                "topic": topic.target,
                "partition": partition.target,
                "source_topic": topic.source,
                "source_partition": partition.source,
                "source_first_offset": first.source,
                "source_last_offset": end(last.source, last.length),
                "target_first_offset": first.target,
                "target_last_offset": end(last.target, last.length),
                "runs": partition.runs,
            });
            entries.insert(format!("{}/{}", topic.target, partition.target), entry);
        }
    }
    let text = serde_json::to_string_pretty(&Value::from(serde_json::Map::from_iter([(
        "entries".to_owned(),
        entries.into(),
    )])));
    std::fs::write(path, text.unwrap_or_default()).map_err(|e| {
        Error::permanent(format!("restore.offset_report {} cannot be written", path.display()))
            .caused_by(e)
            .hint("the restore itself is done; run it again with another path to get the report")
    })
}
