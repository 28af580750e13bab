//! `registry takeover`: all of a registry into another one, which then follows it; at the end the proof that they are equal.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pipeline::{Error, ErrorKind, Result};
use registry::client::Client;
use registry::names::Context;
use registry::transfer::{Applied, Follow, MassDeletion, Modes, Progress, Proof};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::access::{self, failed};
use super::import::{self, How};
use super::topic::Place;
use crate::output::{Output, count};
use crate::{exit, signals};

/// Proofs that are begun anew because the source went on while it was read.
const PROOFS: u32 = 5;

/// Arguments of `registry takeover`.
#[derive(Debug, clap::Args)]
pub(super) struct TakeoverArgs {
    /// The registry that is taken over, or its topic: kafka://BROKER:9092,BROKER:9092/_schemas.
    #[arg(long = "from", env = "FROM_SCHEMA_REGISTRY_URL", value_name = "URL")]
    from: String,
    /// The registry that takes over.
    #[arg(long = "to", env = "TO_SCHEMA_REGISTRY_URL", value_name = "URL")]
    to: String,
    #[command(flatten)]
    from_access: access::FromFlags,
    #[command(flatten)]
    to_access: access::ToFlags,
    #[command(flatten)]
    speed: access::Speed,
    #[command(flatten)]
    how: How,
    /// Only this context; may be given several times. `.` is the default one.
    #[arg(long, value_name = "CONTEXT")]
    context: Vec<String>,
    /// Go on: bring along what is registered, set and deleted at the source, until a signal comes.
    #[arg(long)]
    follow: bool,
    /// With --follow: end when a look at the source finds nothing new.
    #[arg(long, requires = "follow")]
    until_caught_up: bool,
    /// With --follow: go on where most versions of the source, or all, are gone at once. Without it that is an error, and nothing is
    /// deleted: a source that has lost its data looks the same.
    #[arg(long, requires = "follow")]
    follow_mass_deletion: bool,
    /// Seconds between two looks at the source. What is gone at two looks in a row is deleted from the target.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: u64,
}

/// How a takeover ended.
#[derive(Default)]
struct Ended {
    done: Applied,
    looks: u64,
    /// Nothing where it was told to stop while it followed.
    proof: Option<Proof>,
}

/// Runs `registry takeover`.
pub(super) async fn run(args: TakeoverArgs, output: &Output) -> Result<u8> {
    let contexts = access::contexts(&args.context)?;
    let place = Place::of(&args.from).await?;
    let from = access::client(args.from_access.settings(&place.url, &args.speed)?)?;
    let to = access::client(args.to_access.settings(&args.to, &args.speed)?)?;
    let journal = args.how.journal.clone().unwrap_or_else(|| PathBuf::from("replevin-takeover.journal"));
    let mut modes = access::modes(journal, &to)?;
    let ended = take_over(&args, &contexts, &place, (from, &to), &mut modes, output).await;
    access::put_back(ended, args.how.plan, &mut modes, &to).await
}

async fn take_over(
    args: &TakeoverArgs,
    contexts: &[Context],
    place: &Place,
    (from, to): (Arc<Client>, &Arc<Client>),
    modes: &mut Modes,
    output: &Output,
) -> Result<u8> {
    let stop = signals::stop_token()?;
    let is_stopped = access::stopped(&stop);
    let counters = Arc::new(Progress::default());
    let bar = access::bar(&counters);
    let (source, target) = (Arc::clone(&from), Arc::clone(to));
    let with_modes = !args.how.without_modes;
    let mass_deletion = match args.follow_mass_deletion {
        true => MassDeletion::Followed,
        false => MassDeletion::Refused,
    };
    let begun =
        Follow::begin(source, target, contexts, with_modes, mass_deletion, &counters, &is_stopped).await;
    let mut follow = begun.map_err(failed)?;
    access::are_there(contexts, &follow.here().index.contexts, &place.name(from.name()))?;
    super::export::tell(&follow.here().oddities);
    let plan = follow.plan(modes).await.map_err(failed)?;
    if args.how.plan || !plan.conflicts.is_empty() {
        bar.finish();
        output.print(&import::plan_json(&plan, &to.name()), || import::plan_text(&plan, &to.name()));
        return Ok(if plan.conflicts.is_empty() { exit::DONE } else { exit::USAGE });
    }
    let mut ended = bring(args, &mut follow, modes, &stop).await?;
    modes.put_back(to).await.map_err(failed)?;
    // What is being followed may go on while it is compared; then it is brought along, and compared again.
    for _ in 0..PROOFS {
        if stop.is_cancelled() {
            break;
        }
        let proof = follow.prove(modes).await.map_err(failed)?;
        let is_equal = proof.found.count == 0 && !follow.waits();
        ended.proof = Some(proof);
        if is_equal || !args.follow {
            break;
        }
        let plan = follow.plan(modes).await.map_err(failed)?;
        ended.done.add(follow.write(&plan, modes).await.map_err(failed)?);
        modes.put_back(to).await.map_err(failed)?;
        // An instance that lags needs the time between two looks to catch up.
        if follow.waits() {
            pause(args, &stop).await;
        }
    }
    bar.finish();
    let code = match &ended.proof {
        Some(proof) if proof.found.count > 0 => exit::MISMATCH,
        None if !args.follow => exit::INTERRUPTED,
        _ => exit::DONE,
    };
    let report = json!({
        "source": place.name(from.name()), "target": to.name(), "looks": ended.looks, "done": ended.done,
        "present": plan.present, "extra": plan.extra, "proof": ended.proof,
        "warnings": follow.here().oddities.named,
    });
    output.print(&report, || {
        let proof = match &ended.proof {
            None => "not compared, for it was told to stop; `replevin registry diff` does that".to_owned(),
            Some(Proof { found, extra: 0 }) => super::diff::text(found),
            Some(Proof { found, extra }) => {
                let extra = count(*extra, "version");
                format!("{}\n{extra} of subjects that only the target has", super::diff::text(found))
            }
        };
        format!("{} -> {}: {}\n{proof}", place.name(from.name()), to.name(), import::done_text(&ended.done))
    });
    Ok(code)
}

/// Brings what there is, and what comes.
async fn bring(
    args: &TakeoverArgs,
    follow: &mut Follow<'_>,
    modes: &mut Modes,
    stop: &CancellationToken,
) -> Result<Ended> {
    let mut ended = Ended::default();
    loop {
        let found = match write(follow, modes).await {
            Ok((done, found)) => {
                ended.done.add(done);
                found
            }
            // To be told to stop is how following ends.
            Err(error) if error.kind() == ErrorKind::Interrupted && args.follow => return Ok(ended),
            // A target that was written to may come back, too.
            Err(error) if may_pass(&error) && ended.looks > 0 && !args.until_caught_up => {
                tracing::warn!(%error, "the target cannot be written to; it is tried again");
                true
            }
            Err(error) => return Err(error),
        };
        if !args.follow || (args.until_caught_up && ended.looks > 0 && !found) {
            return Ok(ended);
        }
        if ended.looks > 0 || !found {
            pause(args, stop).await;
            if stop.is_cancelled() {
                return Ok(ended);
            }
        }
        ended.looks += 1;
        match follow.look().await.map_err(failed) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(ended),
            // The client has asked again already; a source that is away for longer may come back.
            Err(error) if may_pass(&error) && !args.until_caught_up => {
                tracing::warn!(%error, "the source cannot be looked at; it is tried again");
            }
            Err(error) => return Err(error),
        }
    }
}

/// Brings what is known; gives what was done, and whether there was anything to do, or may be.
async fn write(follow: &mut Follow<'_>, modes: &mut Modes) -> Result<(Applied, bool)> {
    let plan = follow.plan(modes).await.map_err(failed)?;
    if let Some(error) = import::in_the_way(&plan) {
        return Err(error);
    }
    let found = !plan.is_empty() || follow.waits();
    Ok((follow.write(&plan, modes).await.map_err(failed)?, found))
}

fn may_pass(error: &Error) -> bool {
    error.kind() == ErrorKind::Permanent
}

/// Waits for the next look, or for a signal.
async fn pause(args: &TakeoverArgs, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(Duration::from_secs(args.interval)) => {}
    }
}
