//! `migrate`: topics of one cluster to another one, live.

use std::path::PathBuf;
use std::sync::Arc;

use formats::digest::ContentDigest;
use pipeline::migrate::{
    self, GroupReport, MigrateProgress, MigrateReport, OffsetOutcome, PartitionReport, ProofVerdict,
};
use pipeline::seam::Seam;
use pipeline::{Error, Result};
use serde_json::json;

use crate::config::{Job, MigrateJob, Mode, Overrides};
use crate::metrics::Watched;
use crate::output::{Align, Output, Table, count};
use crate::{components, exit, oneshot, progress, signals};

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrateArgs {
    /// The job file.
    #[arg(short, long)]
    config: PathBuf,
    /// End once the target holds everything and nothing more comes, whatever the file says.
    #[arg(long)]
    until_caught_up: bool,
    /// Show what would be done, and touch nothing.
    #[arg(long)]
    plan: bool,
}

/// Runs a migration.
pub(crate) async fn run(args: MigrateArgs, output: &Output) -> Result<u8> {
    let overrides = Overrides {
        mode: Some(Mode::Migrate),
        until_caught_up: args.until_caught_up,
        ..Overrides::default()
    };
    let Job::Migrate(job) = super::job::load(&args.config, &overrides)? else {
        return Err(Error::input(format!("{} is not a migration", args.config.display())));
    };
    let counters = Arc::new(MigrateProgress::default());
    let watched = Watched::Migrate(job.migration_id.clone(), Arc::clone(&counters));
    // Who only looks at the plan has done nothing.
    let metrics = job.metrics.as_ref().filter(|_| !args.plan);
    oneshot::told(metrics, watched, once(&job, args.plan, counters, output)).await
}

async fn once(
    job: &MigrateJob,
    only_plan: bool,
    counters: Arc<MigrateProgress>,
    output: &Output,
) -> Result<u8> {
    let stop = signals::stop_token()?;
    let settings = components::migrate_settings(job, &stop).await?;
    let seam = Seam::system();
    let (source, target) = tokio::try_join!(
        components::kafka_client(&job.source, seam.clone()),
        components::kafka_client(&job.target, seam)
    )?;
    if only_plan {
        return plan(job, &migrate::plan(&settings, &source, &target).await?, output);
    }
    let bar = progress::show_migrate(Arc::clone(&counters));
    let result = migrate::run(&settings, &source, &target, counters, stop).await;
    bar.finish();
    let report = result?;
    let code = match () {
        () if report.differs() => exit::MISMATCH,
        () if report.interrupted => exit::INTERRUPTED,
        () if report.is_partial() => exit::PARTIAL,
        () if settings.until_caught_up && !report.caught_up => exit::INTERRUPTED,
        () => exit::DONE,
    };
    let (id, values) = (&job.migration_id, serde_json::to_value(&report).unwrap_or_default());
    let mut result = json!({ "migration_id": id, "exit_code": code });
    if let (Some(all), serde_json::Value::Object(values)) = (result.as_object_mut(), values) {
        all.extend(values);
    }
    output.print(&result, || as_text(job, &report));
    Ok(code)
}

fn plan(job: &MigrateJob, plan: &migrate::MigratePlan, output: &Output) -> Result<u8> {
    let values = serde_json::to_value(plan).unwrap_or_default();
    let mut result = json!({ "migration_id": job.migration_id, "plan": values });
    let code = if plan.problems.is_empty() { exit::DONE } else { exit::USAGE };
    result["exit_code"] = json!(code);
    output.print(&result, || {
        let mut table = Table::new(&[
            ("TOPIC", Align::Left),
            ("TARGET", Align::Left),
            ("PARTITIONS", Align::Right),
            ("OFFSETS", Align::Right),
            ("DONE", Align::Right),
            ("WHAT", Align::Left),
        ]);
        for topic in &plan.topics {
            table.row([
                topic.source.to_string(),
                topic.target.to_string(),
                topic.partitions.to_string(),
                topic.offsets.to_string(),
                topic.done.to_string(),
                topic.action.clone(),
            ]);
        }
        let mut lines = vec![table.to_string()];
        lines.extend(plan.schemas.iter().map(|line| format!("schemas: {line}")));
        if !plan.groups.is_empty() {
            let offsets: usize = plan.groups.values().sum();
            lines.push(format!(
                "groups: {} of {} would be carried over at the cut-over",
                count(offsets as u64, "offset"),
                count(plan.groups.len() as u64, "group")
            ));
        }
        lines.extend(plan.warnings.iter().map(|warning| format!("warning: {warning}")));
        lines.extend(plan.problems.iter().map(|problem| format!("problem: {problem}")));
        lines.push(match plan.problems.len() {
            0 => "nothing was touched".to_owned(),
            problems => format!("{}; nothing was touched", count(problems as u64, "problem")),
        });
        lines.join("\n")
    });
    Ok(code)
}

fn as_text(job: &MigrateJob, report: &MigrateReport) -> String {
    let records: u64 = report.partitions.iter().map(|partition| partition.records).sum();
    let mut lines = vec![format!(
        "migration {}: {} of {} on the target{}",
        job.migration_id,
        count(records, "record"),
        count(report.partitions.len() as u64, "partition"),
        if report.caught_up { ", which holds everything" } else { "" }
    )];
    if let Some(schemas) = &report.schemas {
        lines.push(format!(
            "schemas: {} of {} in {}",
            count(schemas.versions, "version"),
            count(schemas.subjects, "subject"),
            schemas.target
        ));
        lines.extend(schemas.failed.iter().map(|why| format!("schemas failed: {why}")));
        lines.extend(schemas.not_taken.iter().map(|what| format!("left out: {what}")));
        lines.extend(schemas.warnings.iter().map(|warning| format!("warning: {warning}")));
    }
    for partition in &report.partitions {
        lines.extend(of_partition(partition));
    }
    lines.extend(of_groups(&report.groups));
    lines.extend(of_proof(&report.partitions));
    lines.extend(report.unfinished.iter().map(|why| format!("the cut-over is not complete: {why}")));
    lines.extend(report.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.join("\n")
}

fn of_partition(partition: &PartitionReport) -> Vec<String> {
    let mut lines = Vec::new();
    let (source, target) = (&partition.source, &partition.target);
    for gap in &partition.gaps {
        lines.push(format!("gap: {source}@{} is gone from the source ({})", gap.range(), gap.reason.name()));
    }
    if let Some(range) = &partition.held_back {
        lines.push(format!(
            "held back: {source}@{range} belongs to or follows an open transaction and is not on the target yet"
        ));
    }
    if let Some(why) = &partition.failure {
        lines.push(format!("failed: {source} to {target}: {why}"));
    }
    if let Some(why) = &partition.trouble {
        lines.push(format!("not yet: {source} to {target}: {why}"));
    }
    lines
}

fn of_groups(groups: &[GroupReport]) -> Vec<String> {
    if groups.is_empty() {
        return Vec::new();
    }
    let offsets = || groups.iter().flat_map(|group| &group.offsets);
    let of = |outcome| offsets().filter(|offset| offset.outcome == outcome).count() as u64;
    let (committed, kept) = (of(OffsetOutcome::Committed), of(OffsetOutcome::Kept));
    let mut lines = vec![format!(
        "groups: {} of {} committed in the target, {kept} there or further already",
        count(committed, "offset"),
        count(groups.len() as u64, "group")
    )];
    for group in groups {
        lines.extend(group.failure.iter().map(|why| format!("failed: group {}: {why}", group.group)));
        for offset in group.offsets.iter().filter(|offset| offset.outcome == OffsetOutcome::Failed) {
            let why = offset.why.as_deref().unwrap_or("not committed");
            lines.push(format!(
                "failed: group {} at {}@{}: {why}",
                group.group, offset.source, offset.source_offset
            ));
        }
    }
    lines
}

fn of_proof(partitions: &[PartitionReport]) -> Vec<String> {
    let proofs = || partitions.iter().filter_map(|partition| Some((partition, partition.proof.as_ref()?)));
    if proofs().next().is_none() {
        return Vec::new();
    }
    let equal = proofs().filter(|(_, proof)| proof.verdict == ProofVerdict::Equal);
    let (number, records) =
        equal.fold((0, 0), |(number, records), (_, proof)| (number + 1, records + proof.records));
    let mut lines = vec![format!(
        "proof: the content digests of both sides are equal in {} of {} ({})",
        number,
        count(proofs().count() as u64, "partition"),
        count(records, "record")
    )];
    for (partition, proof) in proofs().filter(|(_, proof)| proof.verdict != ProofVerdict::Equal) {
        let what = match proof.verdict {
            ProofVerdict::Equal | ProofVerdict::EqualWhereBothHave => "equal where both have records",
            ProofVerdict::Compacted => "not comparable",
            ProofVerdict::Differs => "NOT THE SAME",
            ProofVerdict::Unread => "not compared",
        };
        let digest = |digest: &Option<_>| {
            digest.map_or_else(|| "none".to_owned(), |digest: ContentDigest| digest.to_string())
        };
        let mut line = format!("proof: {} to {}: {what}", partition.source, partition.target);
        if let Some(why) = &proof.why {
            line = format!("{line}: {why}");
        }
        if proof.verdict == ProofVerdict::Differs {
            line = format!(
                "{line}: {} at the source, {} in the target",
                digest(&proof.source_digest),
                digest(&proof.target_digest)
            );
        }
        lines.push(line);
    }
    lines
}
