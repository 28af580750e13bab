//! `status` and `top`: what a daemon does, as it tells itself at `/status`. Nothing is asked of Kafka or of a store.

mod view;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use console::Term;
use http_body_util::Full;
use pipeline::{Error, Result};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::config::{self, Either, Job, Metrics, Overrides};
use crate::exit;
use crate::http::client;
use crate::output::Output;
use crate::supervise::Status;

/// The largest answer that is read: a few thousand jobs.
const ANSWER: usize = 16 << 20;
/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where a daemon answers whose file does not say otherwise.
const USUAL: &str = "http://127.0.0.1:8080";

/// Arguments of `status` and `top`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// A file of the daemon: its `metrics` section says where the daemon answers.
    #[arg(short, long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// Where the daemon answers.
    #[arg(long, value_name = "URL", default_value = USUAL)]
    url: String,
    /// Show this backup alone.
    #[arg(long, value_name = "BACKUP_ID")]
    backup: Option<String>,
    /// Go on showing it until it is interrupted.
    #[arg(short, long)]
    watch: bool,
    /// Seconds between two looks. What is shown a second is what happened between them.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// With --watch: end after so many looks.
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    iterations: Option<u64>,
}

/// Shows it again and again.
pub(crate) async fn top(args: StatusArgs, output: &Output) -> Result<u8> {
    run(StatusArgs { watch: true, ..args }, output).await
}

/// Shows it once, or again and again.
pub(crate) async fn run(args: StatusArgs, output: &Output) -> Result<u8> {
    let daemon = Daemon::of(&args)?;
    if output.is_json() && !args.watch {
        // As the daemon tells it, whatever its version.
        let mut told: Value = daemon.ask().await?;
        if let (Some(backup), Some(jobs)) = (&args.backup, told["jobs"].as_array_mut()) {
            jobs.retain(|job| job["backup_id"] == **backup);
        }
        output.print(&told, String::new);
        return Ok(exit::DONE);
    }
    let interval = Duration::from_secs(args.interval);
    // The first is nothing by itself: rates are between two.
    let mut before = daemon.look(&args).await?;
    let mut screen = Screen::new(output.is_json());
    let mut left = if args.watch { args.iterations } else { Some(1) };
    while left != Some(0) {
        sleep(interval).await;
        match daemon.look(&args).await {
            Ok(now) => {
                screen.show(&daemon.url, &before, &now, output);
                before = now;
            }
            Err(error) if !args.watch => return Err(error),
            // It may come back, and whoever watches waits for that.
            Err(error) => output.error(&error),
        }
        left = left.map(|left| left - 1);
    }
    Ok(exit::DONE)
}

/// Where what is seen is shown.
struct Screen {
    term: Term,
    /// Each look takes the place of the one before; otherwise it comes after it.
    is_live: bool,
}

impl Screen {
    fn new(is_json: bool) -> Self {
        let term = Term::stdout();
        let is_live = term.features().is_attended() && !is_json;
        if is_live {
            let _ = term.clear_screen();
        }
        Self { term, is_live }
    }

    /// A terminal that has gone away is no error.
    fn show(&mut self, url: &str, before: &Status, now: &Status, output: &Output) {
        if !self.is_live {
            output.print(now, || view::text(url, before, now));
            return;
        }
        let (height, width) = self.term.size();
        let text = view::text(url, before, now);
        let mut shown = String::new();
        for line in text.lines().take(usize::from(height).saturating_sub(1).max(1)) {
            shown.push_str(&console::truncate_str(line, usize::from(width), "…"));
            // To the end of the line what stood there goes.
            shown.push_str("\x1b[K\n");
        }
        let drawn = self.term.move_cursor_to(0, 0).and_then(|()| self.term.write_str(&shown));
        let _ = drawn.and_then(|()| self.term.clear_to_end_of_screen());
    }
}

/// A daemon as one that answers.
struct Daemon {
    url: String,
    /// `HOST:PORT`.
    address: String,
}

impl Daemon {
    fn of(args: &StatusArgs) -> Result<Self> {
        let url = match &args.config {
            Some(file) => url_in(file)?,
            None => args.url.trim_end_matches('/').to_owned(),
        };
        let address = url.strip_prefix("http://").filter(|rest| !rest.is_empty() && !rest.contains('/'));
        let Some(address) = address else {
            return Err(Error::input(format!("{url}: no address of a daemon"))
                .hint(format!("write it as {USUAL}; a daemon answers over plain HTTP")));
        };
        let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { address.to_owned() } else { format!("{address}:80") };
        Ok(Self { url, address })
    }

    async fn look(&self, args: &StatusArgs) -> Result<Status> {
        let mut status: Status = self.ask().await?;
        if let Some(backup) = &args.backup {
            status.jobs.retain(|job| job.backup_id == *backup);
            if status.jobs.is_empty() {
                return Err(Error::not_found(format!("the daemon at {} has no backup {backup}", self.url))
                    .hint("without --backup it tells of all that it has"));
            }
        }
        Ok(status)
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        let request = hyper::Request::get("/status").body(Full::new(Bytes::new()));
        let asked = async { client::exchange(&self.address, request?, ANSWER).await };
        let (status, body) = match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                return Err(Error::retry(format!("no daemon answers at {}: {error}", self.url)).hint(
                    "is `replevin run` at work there? its log says where it tells its numbers and its state",
                ));
            }
            Err(_) => {
                let why =
                    format!("the daemon at {} has not answered within {} s", self.url, PATIENCE.as_secs());
                return Err(Error::retry(why).hint("is it stopped, or is its machine out of breath?"));
            }
        };
        let other = |what: String| {
            Error::input(format!("{}/status: {what}", self.url))
                .hint("another server answers there; the section `metrics` of the daemon's file says its own address")
        };
        if status != 200 {
            return Err(other(format!("answered {status}")));
        }
        serde_json::from_slice(&body).map_err(|error| other(format!("is no status of a daemon: {error}")))
    }
}

/// Where the daemon of a file answers.
fn url_in(file: &std::path::Path) -> Result<String> {
    let overrides = Overrides { continuous: Some(true), ..Overrides::default() };
    let loaded =
        config::load_any(file, &overrides, false).map_err(|error| Error::input(error.to_string()))?;
    let metrics = match loaded {
        Either::Job(job) => match *job {
            Job::Backup(job) => job.metrics,
            Job::Restore(_) | Job::Migrate(_) => None,
        },
        Either::Registry(_) => None,
    };
    let file = file.display();
    let Some(Metrics { host, port, .. }) = metrics else {
        return Err(Error::input(format!("{file}: nothing answers for this file"))
            .hint("give the file of a backup job whose section `metrics` is not switched off"));
    };
    if port == 0 {
        return Err(Error::input(format!("{file}: metrics.port is 0, so the port was any that was free"))
            .hint("the daemon's log says which; give it with --url"));
    }
    Ok(format!("http://{}:{port}", reachable(&host)))
}

/// An address to ask at for one to listen on.
fn reachable(host: &str) -> String {
    match host.trim_matches(['[', ']']) {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        let asked = ["0.0.0.0", "::", "[::]", "fe80::1", "db.example"].map(reachable);
        assert_eq!(asked, ["127.0.0.1", "[::1]", "[::1]", "[fe80::1]", "db.example"]);
    }
}
