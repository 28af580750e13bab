//! `registry check`: whether a registry, or a file, is sound in itself.

use std::sync::Arc;

use pipeline::Result;
use registry::transfer::{Progress, check};

use super::access::{self, failed};
use super::topic::Place;
use crate::output::{Output, count};
use crate::{exit, signals};

/// Arguments of `registry check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// A registry, its topic (kafka://BROKER:9092,BROKER:9092/_schemas) or a file; what is said with --from concerns it.
    #[arg(value_name = "URL|FILE")]
    place: String,
    #[command(flatten)]
    from: access::FromFlags,
    #[command(flatten)]
    speed: access::Speed,
    /// Only this context; may be given several times. `.` is the default one.
    #[arg(long, value_name = "CONTEXT")]
    context: Vec<String>,
}

/// Runs `registry check`.
pub(super) async fn run(args: CheckArgs, output: &Output) -> Result<u8> {
    let contexts = access::contexts(&args.context)?;
    let place = Place::of(&args.place).await?;
    let stop = signals::stop_token()?;
    let is_stopped = access::stopped(&stop);
    let counters = Arc::new(Progress::default());
    let bar = access::bar(&counters);
    let checked = async {
        let settings = |url: &str| args.from.settings(url, &args.speed);
        let side = access::side(&place, settings, &contexts, &counters, &is_stopped).await?;
        access::are_there(&contexts, &side.index.contexts, &place.name(side.name()))?;
        check(&side, &counters, &is_stopped).await.map_err(failed)
    }
    .await;
    bar.finish();
    let (versions, findings, found) = checked?;
    output.print(&serde_json::json!({ "versions": versions, "count": findings, "findings": found }), || {
        if findings == 0 {
            return format!("sound: {}", count(versions, "version"));
        }
        let mut lines = vec![format!("{} in {}", count(findings, "finding"), count(versions, "version"))];
        for finding in &found {
            lines.push(format!(
                "  {} of {} version {}: {}",
                finding.what, finding.subject, finding.version, finding.why
            ));
            lines.push(format!("    -> {}", finding.next_step));
        }
        let more = findings.saturating_sub(found.len() as u64);
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
        lines.join("\n")
    });
    Ok(if findings == 0 { exit::DONE } else { exit::MISMATCH })
}
