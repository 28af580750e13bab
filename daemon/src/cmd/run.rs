//! `run`: the daemon. Any number of backups and a schema registry in one process, until it is told to stop.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use pipeline::{Error, Result};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::registry::Serving;
use crate::config::registry::RegistryConfig;
use crate::config::{self, BackupJob, Either, Job, Metrics, Overrides};
use crate::metrics::JobNumbers;
use crate::output::{Output, count};
use crate::service::Service;
use crate::supervise::{App, AtFirst, Jobs, Status, Supervised};
use crate::{exit, http, signals};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Files of backup jobs, and of a registry; or folders, of which all files that end in .yaml or .yml are taken.
    #[arg(short, long, required = true, num_args = 1.., value_name = "FILE")]
    config: Vec<PathBuf>,
}

/// What is to be kept running.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) jobs: Vec<(String, BackupJob)>,
    registry: Option<(String, Box<RegistryConfig>)>,
}

impl Wanted {
    /// Takes a registry; answers what is wrong with that.
    fn serve(&mut self, file: &str, config: Box<RegistryConfig>) -> Option<String> {
        match &self.registry {
            Some((first, _)) => {
                Some(format!("{file}: one process serves one registry, and {first} has one already"))
            }
            None => {
                self.registry = Some((file.to_owned(), config));
                None
            }
        }
    }
}

/// Runs until it is told to stop, or every job has ended.
pub(crate) async fn run(args: RunArgs, output: &Output) -> Result<u8> {
    let (jobs, code) = keep(&args.config, wanted(&args.config)?, AtFirst::TriesAgain, |_| {}).await?;
    output.print(&as_json(&jobs, code), || as_text(&jobs.list()));
    Ok(code)
}

/// Keeps what files want running, until it is told to stop or every job has ended; answers the jobs and an exit code. Once they have
/// begun, `begun` is told of them.
pub(super) async fn keep(
    files: &[PathBuf],
    Wanted { jobs: wanted, registry }: Wanted,
    at_first: AtFirst,
    begun: impl FnOnce(&Jobs),
) -> Result<(Arc<Jobs>, u8)> {
    let (stop, mut hangups) = (signals::stop_token()?, signals::hangups()?);
    let jobs = Arc::new(Jobs::new(at_first, stop.clone()));
    let served = registry.as_ref().map(|(_, config)| config.clone());
    // Addresses first: what is taken is found out before anything is touched.
    let serving = match registry {
        Some((_, config)) => Some(Serving::of(*config).await?),
        None => None,
    };
    let told = tell(&wanted, &jobs, &stop).await?;
    let mut running = JoinSet::new();
    jobs.begin(wanted, &mut running);
    begun(&jobs);
    // The registry outlives the backups: the last thing that they do is to look at it.
    let (registry_stops, registry_is_over) = (CancellationToken::new(), CancellationToken::new());
    let ended = registry_is_over.clone().drop_guard();
    let registry = serving.map(|serving| {
        let run = serving.run(registry_stops.clone());
        tokio::spawn(async move {
            let _ended = ended;
            run.await
        })
    });
    let service = Service::of_process(Arc::clone(&jobs));
    service.ready();
    let telling = service.keep_telling(stop.clone());
    let mut codes = BTreeSet::new();
    loop {
        tokio::select! {
            Some(code) = running.join_next() => drop(codes.insert(code.unwrap_or(exit::FAILED))),
            Some(()) = hangups.recv(), if !stop.is_cancelled() => {
                service.reloading();
                service.read_again(read_again(files, served.as_deref(), &jobs, &mut running));
            }
            // A registry goes on where all backups have ended by themselves: others may need it, and new files may come.
            () = registry_is_over.cancelled(), if running.is_empty() => break,
            () = stop.cancelled(), if running.is_empty() => break,
        }
    }
    registry_stops.cancel();
    let registry = match registry {
        Some(serving) => {
            serving.await.unwrap_or_else(|e| Err(Error::permanent("the registry panicked").caused_by(e)))
        }
        None => Ok(()),
    };
    stop.cancel();
    for one in told {
        let _ = one.await;
    }
    telling.end().await;
    registry?;
    Ok((jobs, worst(&codes)))
}

/// Does what the files say now, where that is as it must be; otherwise everything goes on as before. Answers whether it was.
fn read_again(
    paths: &[PathBuf],
    served: Option<&RegistryConfig>,
    jobs: &Jobs,
    running: &mut JoinSet<u8>,
) -> bool {
    let Wanted { jobs: wanted, registry } = match wanted(paths) {
        Ok(wanted) => wanted,
        Err(error) => {
            let next = error.next_step();
            tracing::error!(%error, next, "the files were read again and are not as they must be; everything goes on as before");
            return false;
        }
    };
    if registry.as_ref().map(|(_, config)| &**config) != served {
        tracing::error!(
            "the registry cannot change while the process runs, and stays as it was; start it again"
        );
    }
    tracing::info!("the files were read again");
    jobs.change(wanted, running);
    true
}

/// Reads all files; whatever is wrong with any of them is an error before anything begins.
pub(super) fn wanted(paths: &[PathBuf]) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    let mut problems = Vec::new();
    for file in files(paths)? {
        let name = file.display().to_string();
        let overrides = Overrides { mode: None, continuous: Some(true), ..Overrides::default() };
        match config::load_any(&file, &overrides, false) {
            Err(error) => problems.push(error.to_string()),
            Ok(Either::Job(job)) => {
                super::job::log_notices(&job, &file);
                match *job {
                    Job::Backup(mut job) => {
                        if let Some(config) = job.registry.take() {
                            problems.extend(wanted.serve(&name, config));
                        }
                        wanted.jobs.push((name, job));
                    }
                    Job::Restore(_) | Job::Migrate(_) => {
                        problems
                            .push(format!("{name}: `run` keeps backups running, and this is another job"));
                    }
                }
            }
            Ok(Either::Registry(config)) => {
                super::registry::log_notices(&config, Some(&file));
                problems.extend(wanted.serve(&name, config));
            }
        }
    }
    problems.extend(twice(&wanted.jobs));
    if problems.is_empty() { Ok(wanted) } else { Err(Error::input(problems.join("\n"))) }
}

/// The files that are meant, in the order of their names within a folder.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let wrong = |e| Error::input(format!("the folder {} cannot be read", path.display())).caused_by(e);
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(path).map_err(wrong)? {
            let file = entry.map_err(wrong)?.path();
            if file.is_file() && file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
                found.insert(file);
            }
        }
        if found.is_empty() {
            return Err(Error::input(format!(
                "the folder {} has no file that ends in .yaml or .yml",
                path.display()
            ))
            .hint("put a job file into it, or name a file"));
        }
        files.extend(found);
    }
    Ok(files)
}

/// Jobs of one name: in one store each would end the other one, and in two nobody could tell their numbers apart.
fn twice(jobs: &[(String, BackupJob)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, (file, job)) in jobs.iter().enumerate() {
        if let Some((first, _)) = jobs[..number].iter().find(|(_, other)| other.backup_id == job.backup_id) {
            problems.push(format!(
                "{file}: backup {} is the job of {first} already; give it another backup_id",
                job.backup_id
            ));
        }
    }
    problems
}

/// Answers at all addresses that jobs name. One that no file asks for may be taken: then nobody is told anything there.
async fn tell(
    wanted: &[(String, BackupJob)],
    jobs: &Arc<Jobs>,
    stop: &CancellationToken,
) -> Result<Vec<tokio::task::JoinHandle<()>>> {
    let mut places: Vec<&Metrics> = Vec::new();
    let named = wanted.iter().filter_map(|(_, job)| job.metrics.as_ref());
    let is_asked_for = named.clone().any(|place| place.is_asked_for);
    // Where one file says where, the others' silence is no wish of its own.
    for place in named.filter(|place| place.is_asked_for || !is_asked_for) {
        match places.iter_mut().find(|known| (&known.host, known.port) == (&place.host, place.port)) {
            Some(known) if (&known.path, known.most) != (&place.path, place.most) => {
                let (host, port) = (&place.host, place.port);
                return Err(Error::input(format!(
                    "two files tell numbers at {host}:{port}, and differ in how"
                ))
                .hint("write the same section `metrics` in all files of one process, or other ports"));
            }
            Some(_) => {}
            None => places.push(place),
        }
    }
    let numbers = Arc::new(JobNumbers::new());
    let mut told = Vec::new();
    for place in places {
        let listener = match listen(place).await {
            Ok(listener) => listener,
            Err(error) if place.is_asked_for => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "numbers and health are told nowhere; say where with the section `metrics`");
                continue;
            }
        };
        let address = listener.local_addr().ok();
        tracing::info!(address = address.map(|address| address.to_string()), "numbers and health are told");
        let app = Arc::new(App::new(Arc::clone(jobs), Arc::clone(&numbers), place));
        told.push(tokio::spawn(http::serve(listener, app, http::FEW, stop.clone())));
    }
    Ok(told)
}

async fn listen(Metrics { host, port, .. }: &Metrics) -> Result<TcpListener> {
    TcpListener::bind((host.as_str(), *port)).await.map_err(|error| {
        Error::input(format!("cannot listen on {host}:{port}"))
            .caused_by(error)
            .hint("choose another metrics.bind_address or metrics.port")
    })
}

/// The code that says most: a job that was fenced or failed, then one that is partial.
fn worst(codes: &BTreeSet<u8>) -> u8 {
    let by_weight =
        [exit::FENCED, exit::CREDENTIALS, exit::MISMATCH, exit::FAILED, exit::INTERRUPTED, exit::PARTIAL];
    let told = by_weight.into_iter().find(|code| codes.contains(code));
    told.or_else(|| codes.iter().next_back().copied()).unwrap_or(exit::DONE)
}

fn as_json(jobs: &Jobs, code: u8) -> Value {
    let mut status = json!(Status::of(jobs));
    status["exit_code"] = json!(code);
    status
}

fn as_text(jobs: &[Arc<Supervised>]) -> String {
    let lines = jobs.iter().map(|job| {
        let records = job.progress.records_committed.load(Relaxed);
        let why = job.standing().why.map(|why| format!(": {why}")).unwrap_or_default();
        format!("backup {}: {} backed up by this process{why}", job.job.backup_id, count(records, "record"))
    });
    lines.collect::<Vec<_>>().join("\n")
}
