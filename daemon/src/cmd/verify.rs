//! `verify`: whether a backup is whole. Exit code 4 where it is not; everything that is wrong is listed. A schema that records name and
//! that the registry did not have either is no damage: exit code 3.
//!
//! JSON: [`pipeline::verify::VerifyReport`] as it is, with `"sound"` and `"exit_code"`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use formats::hash::Hash;
use indicatif::HumanBytes;
use pipeline::Result;
use pipeline::schemas::Beyond;
use pipeline::verify::{Finding, NeededSchemas, VerifyProgress, VerifyReport, VerifySettings, verify};
use serde::Serialize;

use super::target::TargetArgs;
use super::values;
use crate::output::{Align, Output, Table, count, human_bytes};
use crate::schemas::Parser;
use crate::{exit, progress};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Read and decode every byte: hashes, checksums, batches, records.
    #[arg(long)]
    deep: bool,
    /// The log must hold this commit, as an earlier run printed it; finds a removed tail. May be given several times.
    #[arg(long, value_name = "SEQ:HASH", value_parser = values::anchor)]
    expect: Vec<(u64, Hash)>,
    /// Payload held in memory by --deep.
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = values::size)]
    memory_limit: usize,
    /// Segments read at once by --deep; one for each core where not given.
    #[arg(long, value_name = "N")]
    parallel: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Outcome<'a> {
    #[serde(flatten)]
    report: &'a VerifyReport,
    sound: bool,
    exit_code: u8,
}

/// Verifies a backup.
pub(crate) async fn run(args: VerifyArgs, output: &Output) -> Result<u8> {
    let store = args.target.open().await?;
    let mut settings = VerifySettings {
        deep: args.deep,
        expect: args.expect,
        parser: Some(Arc::new(Parser)),
        ..VerifySettings::default()
    };
    settings.memory_limit = args.memory_limit;
    settings.parallel = args.parallel.unwrap_or(settings.parallel);
    let counters = Arc::new(VerifyProgress::default());
    let bar = show(Arc::clone(&counters));
    let result = verify(store, &settings, counters).await;
    bar.finish();
    let report = result?;
    let exit_code = match (report.is_sound(), report.resolves()) {
        (false, _) => exit::MISMATCH,
        (true, false) => exit::PARTIAL,
        (true, true) => exit::DONE,
    };
    output.print(&Outcome { report: &report, sound: report.is_sound(), exit_code }, || text(&report));
    Ok(exit_code)
}

fn show(counters: Arc<VerifyProgress>) -> progress::Bar {
    progress::follow("{spinner} {elapsed_precise} [{bar:30}] {percent}% {msg} left {eta}", move |bar| {
        bar.set_length(counters.bytes_total.load(Relaxed).max(1));
        bar.set_position(counters.bytes.load(Relaxed));
        bar.set_message(format!(
            "commits {}/{}, segments {}/{}, {}, {} findings",
            counters.commits.load(Relaxed),
            counters.commits_total.load(Relaxed),
            counters.segments.load(Relaxed),
            counters.segments_total.load(Relaxed),
            HumanBytes(counters.bytes.load(Relaxed)),
            counters.findings.load(Relaxed),
        ));
    })
}

fn text(report: &VerifyReport) -> String {
    let mut lines = vec![
        format!("backup       {} at {}", report.backup_id.as_deref().unwrap_or("?"), report.location),
        format!("commits      {} read, {} checkpoints compared", report.commits, report.checkpoints),
        format!("segments     {}, {} stored", report.segments, human_bytes(report.stored_bytes)),
    ];
    if let Some(deep) = &report.deep {
        lines.push(format!(
            "decoded      {} segments, {} frames, {} batches, {} records, {} of batches",
            deep.segments,
            deep.frames,
            deep.batches,
            deep.records,
            human_bytes(deep.raw_bytes)
        ));
    }
    let leftovers = &report.leftovers;
    for (class, total) in &leftovers.classes {
        let class =
            serde_json::to_value(class).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        lines.push(format!("leftovers    {class}: {} objects, {}", total.objects, human_bytes(total.bytes)));
    }
    if leftovers.unknown {
        lines.push(
            "leftovers    not all looked for: the history has a break, or a checkpoint is damaged".to_owned(),
        );
    }
    if leftovers.unfinished_uploads > 0 {
        lines.push(format!("uploads      {} unfinished", leftovers.unfinished_uploads));
    }
    lines.push(format!("head         {}:{}", report.head_seq, report.head_hash));
    if let Some(ids) = &report.schema_ids {
        lines.extend(schema_lines(ids));
    }
    if report.is_sound() {
        lines.push(match report.resolves() {
            true => "sound        nothing is wrong".to_owned(),
            false => "sound        nothing is damaged; schemas that records name are missing".to_owned(),
        });
        return lines.join("\n");
    }
    let mut table =
        Table::new(&[("OBJECT", Align::Left), ("OFFSETS", Align::Left), ("WHAT IS WRONG", Align::Left)]);
    for finding in &report.findings {
        table.row([finding.object.clone(), place(finding), finding.message.clone()]);
    }
    lines.push(String::new());
    lines.push(table.to_string());
    if report.findings_omitted > 0 {
        lines.push(format!("and {} more", report.findings_omitted));
    }
    lines.push(format!("\nDAMAGED      {} findings", report.findings.len() as u64 + report.findings_omitted));
    lines.join("\n")
}

fn schema_lines(ids: &NeededSchemas) -> Vec<String> {
    let NeededSchemas {
        segments,
        scanned,
        unread_batches,
        covers,
        unresolved,
        unresolved_omitted,
        beyond,
        ..
    } = ids;
    let mut lines = vec![format!("schema ids   of {scanned} of {}", count(*segments, "segment"))];
    if *unread_batches > 0 {
        lines.push(format!("schema ids   batches that could not be read: {unread_batches}"));
    }
    for Beyond { topic, side, count } in beyond {
        lines.push(format!(
            "schema ids   {side}s of {topic} name {count} more, too many different ones to list them"
        ));
    }
    for row in unresolved {
        lines.push(format!(
            "unresolved   {} in {}s of {}, {} times in {}, first in {}-{}@[{},{})",
            row.schema(),
            row.side,
            row.topic,
            row.count,
            count(row.segments, "segment"),
            row.topic,
            row.partition,
            row.first,
            row.end
        ));
    }
    if *unresolved_omitted > 0 {
        lines.push(format!("unresolved   and {unresolved_omitted} more"));
    }
    if !unresolved.is_empty() {
        lines.push(format!(
            "unresolved   the registry did not have them when it was looked at after commit {covers}, or a filter leaves them out{}",
            if ids.covers_all { "" } else { "; for later commits it was not looked at yet: run the backup again" }
        ));
    }
    lines
}

fn place(finding: &Finding) -> String {
    match (&finding.topic, finding.partition, finding.first, finding.end) {
        (Some(topic), Some(partition), Some(first), Some(end)) => {
            format!("{topic}-{partition}@[{first},{end})")
        }
        _ => "-".to_owned(),
    }
}
