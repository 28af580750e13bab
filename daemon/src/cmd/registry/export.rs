//! `registry export`: all of a registry into one file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipeline::seam::Seam;
use pipeline::{Error, Result};
use registry::client::Client;
use registry::names::{Context, Subject};
use registry::transfer::{ArchiveWriter, Counts, FORMAT, Head, Item, Oddities, Progress, Walk};

use super::access::{self, failed};
use super::topic::Place;
use crate::output::{Output, count};
use crate::{exit, signals};

/// Arguments of `registry export`.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// The registry, or its topic: kafka://BROKER:9092,BROKER:9092/_schemas.
    #[arg(long = "from", env = "FROM_SCHEMA_REGISTRY_URL", value_name = "URL")]
    from: String,
    #[command(flatten)]
    access: access::FromFlags,
    #[command(flatten)]
    speed: access::Speed,
    /// Only this context; may be given several times. `.` is the default one.
    #[arg(long, value_name = "CONTEXT")]
    context: Vec<String>,
    /// The file; a folder gets one named after the time, and - is stdout.
    #[arg(value_name = "FILE|FOLDER|-")]
    to: PathBuf,
}

/// What was written.
struct Written {
    counts: Counts,
    hash: String,
    oddities: Oddities,
}

/// Runs `registry export`.
pub(super) async fn run(args: ExportArgs, output: &Output) -> Result<u8> {
    let contexts = access::contexts(&args.context)?;
    let place = Place::of(&args.from).await?;
    let client = access::client(args.access.settings(&place.url, &args.speed)?)?;
    let now_ms = Seam::system().clock.now_ms();
    let source = place.name(client.name());
    let head = Head {
        format: FORMAT,
        program: concat!("replevin ", env!("CARGO_PKG_VERSION")).to_owned(),
        source: source.clone(),
        time_ms: now_ms,
        contexts: contexts.iter().map(Context::to_string).collect(),
    };
    let stop = signals::stop_token()?;
    let is_stopped = access::stopped(&stop);
    let counters = Arc::new(Progress::default());
    let bar = access::bar(&counters);
    if args.to == Path::new("-") {
        let written =
            write(std::io::stdout(), "stdout", head, &client, &contexts, &counters, &is_stopped).await;
        bar.finish();
        tell(&written?.1.oddities);
        return Ok(exit::DONE);
    }
    let path = match args.to.is_dir() {
        true => args.to.join(format!("registry-{}.jsonl", stamp(now_ms))),
        false => args.to,
    };
    // A file that is not whole never has the name that was asked for.
    let beside = beside(&path);
    let cannot = |error| {
        Error::input(format!("{} cannot be written", path.display()))
            .caused_by(error)
            .hint("choose another place")
    };
    let file = File::create(&beside).map_err(cannot)?;
    let name = path.display().to_string();
    let written = write(file, &name, head, &client, &contexts, &counters, &is_stopped).await;
    bar.finish();
    let kept = written.and_then(|(file, written)| {
        file.sync_all().and_then(|()| std::fs::rename(&beside, &path)).map_err(cannot)?;
        Ok(written)
    });
    let written = kept.inspect_err(|_| {
        let _ = std::fs::remove_file(&beside);
    })?;
    tell(&written.oddities);
    let Counts { contexts, configs, modes, versions } = written.counts;
    let report = serde_json::json!({
        "file": path, "source": source, "contexts": contexts, "configs": configs, "modes": modes,
        "versions": versions, "blake3": written.hash, "warnings": written.oddities.named,
    });
    output.print(&report, || {
        format!(
            "{}: {} in {}, {}, {}",
            path.display(),
            count(versions, "version"),
            count(contexts, "context"),
            count(configs, "setting"),
            count(modes, "mode"),
        )
    });
    Ok(exit::DONE)
}

async fn write<W: Write + Send>(
    out: W,
    name: &str,
    head: Head,
    client: &Client,
    contexts: &[Context],
    progress: &Progress,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<(W, Written)> {
    let (source, mut there) = (head.source.clone(), BTreeSet::new());
    let mut writer = ArchiveWriter::new(BufWriter::new(out), name.to_owned(), head).map_err(failed)?;
    let walk = Walk { client, contexts, known: None, progress, stop };
    let mut add = |item: Item| {
        match &item {
            Item::Context(context) => there.insert(context.clone()),
            // Not every registry lists the contexts that its subjects have.
            Item::Version(schema) => there.insert(Subject::parse(&schema.subject).context.to_string()),
            _ => false,
        };
        writer.add(item)
    };
    let oddities = walk.go(&mut add).await.map_err(failed)?;
    access::are_there(contexts, &there, &source)?;
    let (out, counts, hash) = writer.finish().map_err(failed)?;
    let out = out.into_inner().map_err(|error| {
        Error::permanent(format!("{name} cannot be written")).caused_by(error.into_error())
    })?;
    Ok((out, Written { counts, hash, oddities }))
}

/// Logs what is odd about a registry.
pub(super) fn tell(oddities: &Oddities) {
    for what in &oddities.named {
        tracing::warn!("{what}");
    }
    let more = oddities.count.saturating_sub(oddities.named.len() as u64);
    if more > 0 {
        tracing::warn!("and {more} more of the kind");
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// A moment as a file's name can hold it: 20260102T030405Z.
fn stamp(ms: i64) -> String {
    crate::output::utc(ms)
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .map(|c| if c == ' ' { 'T' } else { c })
        .collect()
}
