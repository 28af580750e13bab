//! `registry import`: a file into a registry, with the same ids.

use std::path::PathBuf;
use std::sync::Arc;

use pipeline::{Error, Result};
use registry::client::Client;
use registry::transfer::{Applied, Modes, Plan, Planned, Progress, Run, Side, apply, plan};
use serde_json::{Value, json};

use super::access::{self, failed};
use crate::output::{Output, count};
use crate::{exit, signals};

/// Arguments of `registry import`.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The registry.
    #[arg(long = "to", env = "TO_SCHEMA_REGISTRY_URL", value_name = "URL")]
    to: String,
    #[command(flatten)]
    access: access::ToFlags,
    #[command(flatten)]
    speed: access::Speed,
    #[command(flatten)]
    how: How,
    /// A file that `registry export` wrote.
    file: PathBuf,
}

/// How something is brought into a registry.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// Show everything that would be done, and touch nothing.
    #[arg(long, visible_alias = "dry-run")]
    pub(super) plan: bool,
    /// Leave the modes of the target as they are.
    #[arg(long)]
    pub(super) without_modes: bool,
    /// Where modes are noted that must be put back. By default beside the file, or in the current folder.
    #[arg(long, value_name = "FILE")]
    pub(super) journal: Option<PathBuf>,
}

/// Runs `registry import`.
pub(super) async fn run(args: ImportArgs, output: &Output) -> Result<u8> {
    let client = access::client(args.access.settings(&args.to, &args.speed)?)?;
    let journal = args.how.journal.clone().unwrap_or_else(|| {
        let mut name = args.file.clone().into_os_string();
        name.push(".journal");
        name.into()
    });
    let mut modes = access::modes(journal, &client)?;
    let ended = bring(&args, &client, &mut modes, output).await;
    access::put_back(ended, args.how.plan, &mut modes, &client).await
}

async fn bring(args: &ImportArgs, client: &Arc<Client>, modes: &mut Modes, output: &Output) -> Result<u8> {
    let stop = signals::stop_token()?;
    let is_stopped = access::stopped(&stop);
    let counters = Arc::new(Progress::default());
    let bar = access::bar(&counters);
    let from = Side::file(&args.file, &is_stopped).map_err(failed)?;
    let mut there = Side::live(Arc::clone(client), &[], &counters, &is_stopped).await.map_err(failed)?;
    modes.show_in(&mut there.index);
    let planned = plan(&from, &there, !args.how.without_modes, &[]).await.map_err(failed)?;
    if args.how.plan || !planned.conflicts.is_empty() {
        bar.finish();
        output.print(&plan_json(&planned, &client.name()), || plan_text(&planned, &client.name()));
        return Ok(if planned.conflicts.is_empty() { exit::DONE } else { exit::USAGE });
    }
    let run = Run { from: &from, to: client, progress: &counters, stop: &is_stopped };
    let applied = apply(&planned, &run, &there.index, modes).await;
    bar.finish();
    let applied = applied.map_err(failed)?;
    output.print(
        &json!({ "target": client.name(), "present": planned.present, "extra": planned.extra, "done": applied }),
        || applied_text(&applied, &planned, &client.name()),
    );
    Ok(exit::DONE)
}

/// A plan as JSON.
pub(super) fn plan_json(plan: &Plan, target: &str) -> Value {
    let version = |planned: &Planned| {
        let what = match planned {
            Planned::Register(_) => "register",
            Planned::Delete(_) => "delete",
            Planned::Remove(_) => "delete_for_good",
        };
        let key = planned.key();
        json!({ "what": what, "subject": key.subject, "version": key.version })
    };
    json!({
        "target": target,
        "present": plan.present,
        "extra": plan.extra,
        "aliases": plan.aliases,
        "versions": plan.versions.iter().map(version).collect::<Vec<_>>(),
        "configs": plan.configs,
        "modes": plan.modes,
        "conflicts": plan.conflicts,
    })
}

/// A plan for people.
pub(super) fn plan_text(plan: &Plan, target: &str) -> String {
    let mut lines = vec![format!(
        "{target}: {} to write, {} there already, {} that only the target has",
        count(plan.versions.len(), "version"),
        plan.present,
        plan.extra
    )];
    lines.extend(plan.aliases.iter().map(|at| format!("  lift the alias   {at}")));
    lines.extend(plan.versions.iter().map(|planned| match planned {
        Planned::Register(key) => format!("  register         {key}"),
        Planned::Delete(key) => format!("  delete           {key}"),
        Planned::Remove(key) => format!("  delete for good  {key}"),
    }));
    let place = |place: &str| if place.is_empty() { "the registry".to_owned() } else { place.to_owned() };
    lines.extend(plan.configs.iter().map(|(at, config)| match config {
        Some(config) => format!("  settings         {}: {}", place(at), Value::Object(config.clone())),
        None => format!("  settings         {}: removed", place(at)),
    }));
    lines.extend(plan.modes.iter().map(|(at, mode)| match mode {
        Some(mode) => format!("  mode             {}: {mode}", place(at)),
        None => format!("  mode             {}: removed", place(at)),
    }));
    for conflict in &plan.conflicts {
        lines
            .push(format!("in the way: {} version {}: {}", conflict.subject, conflict.version, conflict.why));
        lines.push(format!("  -> {}", conflict.next_step));
    }
    if !plan.conflicts.is_empty() {
        lines.push("nothing was written".to_owned());
    }
    lines.join("\n")
}

fn applied_text(applied: &Applied, plan: &Plan, target: &str) -> String {
    if plan.is_empty() {
        return format!("{target}: all {} are there already, nothing to do", count(plan.present, "version"));
    }
    format!("{target}: {}; {} there before", done_text(applied), count(plan.present, "version"))
}

/// What was done, for people.
pub(super) fn done_text(applied: &Applied) -> String {
    let Applied { registered, deleted, removed, configs, modes } = *applied;
    let mut parts = vec![format!("{} registered", count(registered, "version"))];
    for (number, what) in
        [(deleted, "deleted"), (removed, "deleted for good"), (configs, "settings"), (modes, "modes set")]
    {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    parts.join(", ")
}

/// The conflicts of a plan as an error, for where a plan is not what was asked for.
pub(super) fn in_the_way(plan: &Plan) -> Option<Error> {
    let first = plan.conflicts.first()?;
    let text = format!(
        "{} in the way, the first: {} version {}: {}",
        count(plan.conflicts.len(), "thing"),
        first.subject,
        first.version,
        first.why
    );
    Some(Error::input(text).hint(first.next_step.clone()))
}
