//! `backup`: one run, or for ever.

use std::path::PathBuf;
use std::sync::Arc;

use formats::wire::SchemaRef;
use pipeline::backup::{self, BackupProgress, BackupReport};
use pipeline::schemas::UnknownId;
use pipeline::seam::Seam;
use pipeline::{Error, Result};
use serde_json::{Value, json};

use crate::config::{self, BackupJob, Job, Mode, Overrides};
use crate::metrics::Watched;
use crate::output::{Output, count, human_bytes};
use crate::supervise::{AtFirst, Jobs};
use crate::{components, exit, oneshot, progress, signals};

/// Arguments of `backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// The job file.
    #[arg(short, long)]
    config: PathBuf,
    /// Go on for ever, whatever the file says.
    #[arg(long, conflicts_with = "once")]
    continuous: bool,
    /// Stop at the offsets seen at the start, whatever the file says.
    #[arg(long)]
    once: bool,
}

/// Runs a backup.
pub(crate) async fn run(args: BackupArgs, output: &Output) -> Result<u8> {
    let continuous = (args.continuous || args.once).then_some(args.continuous);
    let overrides = Overrides { mode: Some(Mode::Backup), continuous, ..Overrides::default() };
    let loaded = config::load(&args.config, &overrides).map_err(|error| Error::input(error.to_string()))?;
    let Job::Backup(job) = &loaded else {
        return Err(Error::input(format!("{} is not a backup job", args.config.display())));
    };
    if job.backup.continuous {
        return keep(args.config, output).await;
    }
    super::job::log_notices(&loaded, &args.config);
    let counters = Arc::new(BackupProgress::default());
    let watched = Watched::Backup(job.backup_id.clone(), Arc::clone(&counters));
    oneshot::told(job.metrics.as_ref(), watched, once(job, counters, output)).await
}

/// One with an end.
async fn once(job: &BackupJob, counters: Arc<BackupProgress>, output: &Output) -> Result<u8> {
    if job.registry.is_some() {
        tracing::warn!("the file's registry is served by a backup without an end, and not by this one");
    }
    let mut settings = components::backup_settings(job)?;
    if let Some(registry) = &job.schema_registry {
        settings.schemas = Some(components::schema_settings(registry).await?);
    }
    let store = components::metered_store(&job.storage, &job.backup_id, Arc::clone(&counters.store))?;
    let stop = signals::stop_token()?;
    let seam = Seam::system();
    let client = components::kafka_client(&job.source, seam.clone()).await?;
    let bar = progress::show_backup(Arc::clone(&counters), false);
    let result = backup::run(settings, client, store, seam, counters, stop).await;
    bar.finish();
    let report = result?;
    let code = match () {
        () if report.interrupted => exit::INTERRUPTED,
        () if report.is_partial() => exit::PARTIAL,
        () => exit::DONE,
    };
    output.print(&as_json(&job.backup_id, &report, code), || as_text(&job.backup_id, &report));
    Ok(code)
}

/// The same as `run` with one file, but that it tells what its last run has done.
async fn keep(file: PathBuf, output: &Output) -> Result<u8> {
    let files = [file];
    let wanted = super::run::wanted(&files)?;
    let mut bar = None;
    let show = |jobs: &Jobs| {
        bar = jobs.list().first().map(|job| progress::show_backup(Arc::clone(&job.progress), true));
    };
    let kept = super::run::keep(&files, wanted, AtFirst::GivesUp, show).await;
    if let Some(bar) = bar {
        bar.finish();
    }
    let (jobs, code) = kept?;
    let last = jobs.list().into_iter().next().and_then(|job| Some((job.came_to()?, job)));
    let Some((report, job)) = last else { return Ok(code) };
    let (backup_id, report) = (&job.job.backup_id, report?);
    output.print(&as_json(backup_id, &report, code), || as_text(backup_id, &report));
    Ok(code)
}

fn as_json(backup_id: &formats::ids::BackupId, report: &BackupReport, code: u8) -> Value {
    let gap = |(partition, gap): &(formats::ids::TopicPartition, formats::commit::Gap)| {
        json!({ "topic": partition.topic, "partition": partition.partition, "first": gap.first, "end": gap.end,
                "reason": gap.reason, "loss": gap.reason.is_loss() })
    };
    let failed = |(partition, why): &(formats::ids::TopicPartition, String)| json!({ "topic": partition.topic, "partition": partition.partition, "why": why });
    let lineage = |(partition, reason): &(formats::ids::TopicPartition, formats::commit::LineageReason)| json!({ "topic": partition.topic, "partition": partition.partition, "reason": reason });
    let held = |(partition, range): &(formats::ids::TopicPartition, formats::ids::OffsetRange)| json!({ "topic": partition.topic, "partition": partition.partition, "first": range.first, "end": range.end });
    json!({
        "backup_id": backup_id,
        "exit_code": code,
        "interrupted": report.interrupted,
        "head": report.head.map(|head| format!("{}:{}", head.seq, head.hash)),
        "partitions": report.partitions,
        "records": report.records,
        "raw_bytes": report.raw_bytes,
        "stored_bytes": report.stored_bytes,
        "segments": report.segments,
        "gaps": report.gaps.iter().map(gap).collect::<Vec<_>>(),
        "lineages": report.lineages.iter().map(lineage).collect::<Vec<_>>(),
        "held_back": report.held_back.iter().map(held).collect::<Vec<_>>(),
        "failed": report.failed.iter().map(failed).collect::<Vec<_>>(),
        "schemas": report.schemas.as_ref().map(|schemas| json!({
            "covers": schemas.covers,
            "subjects": schemas.subjects,
            "versions": schemas.versions,
            "new": schemas.new,
            "gone": schemas.gone,
            "left_out": schemas.left_out,
            "failed": schemas.failed,
            "settings_failed": schemas.settings_failed,
            "keys_failed": schemas.keys_failed,
            "unknown_ids": schemas.unknown_ids.as_ref().map(|ids| ids.iter().map(unknown_id).collect::<Vec<_>>()),
        })),
    })
}

fn unknown_id(unknown: &UnknownId) -> Value {
    let mut row = json!({ "topic": unknown.topic, "side": unknown.side.to_string(), "count": unknown.count });
    match unknown.schema {
        SchemaRef::Id(id) => row["id"] = json!(id),
        SchemaRef::Guid(guid) => row["guid"] = json!(guid.to_string()),
    }
    row
}

fn as_text(backup_id: &formats::ids::BackupId, report: &BackupReport) -> String {
    let mut lines = vec![format!(
        "backup {backup_id}: {} of {}, {} as {} in {}",
        count(report.records, "record"),
        count(report.partitions, "partition"),
        human_bytes(report.raw_bytes),
        human_bytes(report.stored_bytes),
        count(report.segments, "segment")
    )];
    for (partition, gap) in report.gaps.iter().filter(|(_, gap)| gap.reason.is_loss()) {
        lines.push(format!(
            "gap: {partition}@{} is gone from the source ({})",
            gap.range(),
            gap.reason.name()
        ));
    }
    for (partition, reason) in &report.lineages {
        lines.push(format!("new lineage: {partition} ({reason:?}); the old one stays restorable"));
    }
    for (partition, range) in &report.held_back {
        lines.push(format!("held back: {partition}@{range} belongs to or follows an open transaction and is not in the backup yet"));
    }
    for (partition, why) in &report.failed {
        lines.push(format!("failed: {partition}: {why}"));
    }
    if let Some(schemas) = &report.schemas {
        lines.push(format!(
            "schemas: {} of {}, {} new, for records up to commit {}",
            count(schemas.versions, "version"),
            count(schemas.subjects, "subject"),
            schemas.new,
            schemas.covers
        ));
        for UnknownId { topic, side, schema, count } in schemas.unknown_ids.iter().flatten() {
            lines.push(format!(
                "unknown: {schema}, named by {side}s of {topic} {count} times, is not in the backup's schemas"
            ));
        }
        if let Some(why) = schemas.settings_failed.as_ref().filter(|_| schemas.failed.is_none()) {
            lines.push(format!("settings of subjects are as they were read before: {why}"));
        }
        if let Some(why) = &schemas.keys_failed {
            lines.push(format!("keys of encryption are as they were read before: {why}"));
        }
        if let Some(why) = &schemas.failed {
            lines.push(format!(
                "schemas failed: records after commit {} may have schemas that are not in the backup: {why}",
                schemas.covers
            ));
        }
    }
    if report.interrupted {
        lines.push(
            "interrupted before it was through: what it had fetched is in the backup, and the next run goes on from there".to_owned(),
        );
    }
    if let Some(head) = report.head {
        lines.push(format!("head {}:{}", head.seq, head.hash));
    }
    lines.join("\n")
}
