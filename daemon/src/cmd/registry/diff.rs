//! `registry diff`: what differs between two registries, or files.

use std::sync::Arc;

use pipeline::Result;
use registry::transfer::{Difference, Differences, Guids, Progress, diff};

use super::access::{self, failed};
use super::topic::Place;
use crate::output::{Output, count};
use crate::{exit, signals};

/// Arguments of `registry diff`.
#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// A registry, its topic (kafka://BROKER:9092,BROKER:9092/_schemas) or a file; what is said with --from concerns it.
    #[arg(value_name = "URL|FILE")]
    a: String,
    /// Another one; what is said with --to concerns it.
    #[arg(value_name = "URL|FILE")]
    b: String,
    #[command(flatten)]
    from: access::FromFlags,
    #[command(flatten)]
    to: access::ToFlags,
    #[command(flatten)]
    speed: access::Speed,
    /// Only this context; may be given several times. `.` is the default one.
    #[arg(long, value_name = "CONTEXT")]
    context: Vec<String>,
}

/// Runs `registry diff`.
pub(super) async fn run(args: DiffArgs, output: &Output) -> Result<u8> {
    let contexts = access::contexts(&args.context)?;
    let (place_a, place_b) = (Place::of(&args.a).await?, Place::of(&args.b).await?);
    let stop = signals::stop_token()?;
    let is_stopped = access::stopped(&stop);
    let counters = Arc::new(Progress::default());
    let bar = access::bar(&counters);
    let compared = async {
        let from = |url: &str| args.from.settings(url, &args.speed);
        let a = access::side(&place_a, from, &contexts, &counters, &is_stopped).await?;
        let to = |url: &str| args.to.settings(url, &args.speed);
        let b = access::side(&place_b, to, &contexts, &counters, &is_stopped).await?;
        // What one of them lacks is a difference.
        let there = &a.index.contexts | &b.index.contexts;
        let either = format!("{} or {}", place_a.name(a.name()), place_b.name(b.name()));
        access::are_there(&contexts, &there, &either)?;
        diff(&a, &b, Guids::OfSameTexts).await.map_err(failed)
    }
    .await;
    bar.finish();
    let found = compared?;
    output.print(&found, || text(&found));
    Ok(if found.count == 0 { exit::DONE } else { exit::MISMATCH })
}

/// Differences for people.
pub(super) fn text(found: &Differences) -> String {
    if found.count == 0 {
        let same = format!("the same: {}", count(found.versions, "version"));
        return match found.rewritten {
            0 => same,
            some => format!("{same}, {some} of them written differently and meaning the same"),
        };
    }
    let mut lines = vec![format!(
        "{}; {} that both have",
        count(found.count, "difference"),
        count(found.versions, "version")
    )];
    for Difference { what, subject, version, a, b } in &found.differences {
        let version = version.map_or_else(String::new, |version| format!(" version {version}"));
        let place = if subject.is_empty() { "the registry" } else { subject };
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        lines.push(format!("  {what} of {place}{version}: {} | {}", side(a), side(b)));
    }
    if found.differences.iter().any(|difference| difference.what == "guid") {
        lines.push(
            "  -> records that name a schema by its GUID, in a header, are not found by it there".to_owned(),
        );
    }
    let more = found.count.saturating_sub(found.differences.len() as u64);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines.join("\n")
}
