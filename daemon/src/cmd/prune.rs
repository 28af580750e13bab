//! `prune`: deletes what no commit names. A dry run unless told to execute.
//!
//! JSON: [`pipeline::prune::PruneReport`] as it is, with `"head"`, the commit that retired writers, as `SEQ:HASH`.

use std::time::Duration;

use formats::ids::Incarnation;
use pipeline::Result;
use pipeline::prune::{PruneReport, PruneSettings, Verdict, prune_orphans};
use pipeline::seam::Seam;
use serde::Serialize;

use super::target::TargetArgs;
use super::values;
use crate::exit;
use crate::output::{Align, Output, Table, human_bytes, utc};

/// Arguments of `prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Delete objects that interrupted work left behind, and unfinished uploads and probes older than a day.
    #[arg(long, required = true)]
    orphans: bool,
    /// Really do it; without this, only tell what would be done.
    #[arg(long)]
    execute: bool,
    /// Keep the orphans of writers that wrote one of them more recently than this.
    #[arg(long, value_name = "AGE", default_value = "24h", value_parser = values::duration)]
    older_than: Duration,
    /// Retire this writer although it is the newest: only where it is certain that it does not run. May be given several
    /// times.
    #[arg(long, value_name = "ID")]
    incarnation: Vec<Incarnation>,
}

#[derive(Debug, Serialize)]
struct Outcome<'a> {
    #[serde(flatten)]
    report: &'a PruneReport,
    head: Option<String>,
}

/// Prunes a backup.
pub(crate) async fn run(args: PruneArgs, output: &Output) -> Result<u8> {
    let store = args.target.open().await?;
    let settings = PruneSettings {
        execute: args.execute,
        older_than: args.older_than,
        incarnations: args.incarnation.into_iter().collect(),
    };
    let report = prune_orphans(store, Seam::system(), &settings).await?;
    let head = report.commit.map(|commit| format!("{}:{}", commit.seq, commit.hash));
    output.print(&Outcome { report: &report, head: head.clone() }, || text(&report, head.as_deref()));
    Ok(exit::DONE)
}

fn text(report: &PruneReport, head: Option<&str>) -> String {
    let mut lines = Vec::new();
    if !report.writers.is_empty() {
        use Align::{Left, Right};
        let headings =
            [("WRITER", Left), ("ORPHANS", Right), ("BYTES", Right), ("NEWEST", Left), ("WHAT", Left)];
        let mut table = Table::new(&headings);
        for writer in &report.writers {
            let what = match (writer.verdict, report.executed) {
                (Verdict::Retired, true) => "deleted",
                (Verdict::Retire, true) => "retired and deleted",
                (Verdict::Retired, false) => "would be deleted",
                (Verdict::Retire, false) => "would be retired and deleted",
                (Verdict::Newest, _) => "kept: the newest writer may be running (see --incarnation)",
                (Verdict::Young, _) => "kept: too young (see --older-than)",
            };
            table.row([
                writer.incarnation.to_string(),
                writer.objects.to_string(),
                human_bytes(writer.bytes),
                utc(writer.newest_ms),
                what.to_owned(),
            ]);
        }
        lines.push(table.to_string());
        lines.push(String::new());
    }
    if !report.executed {
        lines.extend(report.objects.iter().map(|key| format!("would delete {key}")));
        if report.omitted > 0 {
            lines.push(format!("and {} more", report.omitted));
        }
    }
    let (verb, next) =
        if report.executed { ("deleted", "") } else { ("would be deleted", "; --execute does it") };
    lines.push(format!(
        "{} orphans, {}, {} unfinished uploads, {} probes {verb}{next}",
        report.deleted,
        human_bytes(report.deleted_bytes),
        report.unfinished_uploads,
        report.probes
    ));
    if let Some(head) = head {
        lines.push(format!("head {head}"));
    }
    lines.join("\n")
}
