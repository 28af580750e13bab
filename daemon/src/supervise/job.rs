//! A backup that is kept running: begun, watched, begun anew when it fails. What it does is the pipeline's matter.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pipeline::backup::{self, BackupProgress, BackupReport};
use pipeline::seam::{Seam, backoff};
use pipeline::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::BackupJob;
use crate::{components, exit};

/// Pauses before a pipeline is begun anew: from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A pipeline that ran for so long has not failed again but once more.
const STEADY: Duration = Duration::from_secs(300);

/// What a job does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// It looks for its store and its cluster.
    #[default]
    Starting,
    /// Its pipeline is up.
    Running,
    /// It has failed, and waits before it is begun anew.
    Waiting,
    /// It was told to stop, and commits what it has fetched.
    Draining,
    /// It is over.
    Ended,
}

impl Phase {
    /// For people, after the name of the backup.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Starting => "starts",
            Self::Running => "runs",
            Self::Waiting => "has failed and waits",
            Self::Draining => "commits what it has fetched",
            Self::Ended => "has ended",
        }
    }
}

/// A job of this process.
#[derive(Debug)]
pub(crate) struct Supervised {
    /// Its file.
    pub(crate) file: String,
    pub(crate) job: BackupJob,
    /// Of all its runs in this process.
    pub(crate) progress: Arc<BackupProgress>,
    /// Tells it to stop.
    pub(super) stop: CancellationToken,
    /// It has stopped.
    pub(super) over: CancellationToken,
    standing: Mutex<Standing>,
    restarts: AtomicU64,
    at_first: AtFirst,
    /// What its last run came to.
    came_to: Mutex<Option<Result<BackupReport>>>,
}

/// What is done where a job fails before it has committed anything, with an error that no waiting mends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtFirst {
    /// It is begun anew like any other: there are other jobs, and somebody may mend it.
    TriesAgain,
    /// It ends: who has started it alone is there to read why.
    GivesUp,
}

/// What a job does, since when, and why where it is not well.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Standing {
    pub(crate) phase: Phase,
    /// Milliseconds since 1970 UTC.
    pub(crate) since_ms: i64,
    pub(crate) why: Option<String>,
}

impl Supervised {
    /// A job that has not begun, which `stop` will end.
    pub(crate) fn new(file: String, job: BackupJob, at_first: AtFirst, stop: &CancellationToken) -> Self {
        let since_ms = Seam::system().clock.now_ms();
        let standing = Standing { phase: Phase::Starting, since_ms, why: None };
        Self {
            file,
            job,
            progress: Arc::default(),
            stop: stop.child_token(),
            over: CancellationToken::new(),
            standing: Mutex::new(standing),
            restarts: AtomicU64::new(0),
            at_first,
            came_to: Mutex::default(),
        }
    }

    /// The same with another configuration: what was counted goes on.
    pub(super) fn anew(&self, job: BackupJob, stop: &CancellationToken) -> Self {
        let restarts = AtomicU64::new(self.restarts());
        let new = Self::new(self.file.clone(), job, self.at_first, stop);
        Self { progress: Arc::clone(&self.progress), restarts, ..new }
    }

    /// What it does now.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often its pipeline was begun anew.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// What its last run came to, once.
    pub(crate) fn came_to(&self) -> Option<Result<BackupReport>> {
        self.came_to.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn comes_to(&self, end: Result<BackupReport>) {
        *self.came_to.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    fn enter(&self, phase: Phase, why: Option<String>) {
        let since_ms = Seam::system().clock.now_ms();
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        // Who drains does nothing else but end.
        if standing.phase != Phase::Draining || phase == Phase::Ended {
            *standing = Standing { phase, since_ms, why };
        }
    }

    /// Keeps it running until it is told to stop; answers an exit code. It also ends by itself where a newer writer of the same backup took over.
    pub(super) async fn keep(self: Arc<Self>) -> u8 {
        let _over = self.over.clone().drop_guard();
        let stop = self.stop.clone();
        let (backup, rand) = (&self.job.backup_id, Seam::system().rand);
        let grace = Duration::from_millis(self.job.shutdown_grace_ms);
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let mut run = tokio::spawn(Arc::clone(&self).once(stop.clone()));
            let too_long = async {
                stop.cancelled().await;
                self.enter(Phase::Draining, None);
                tokio::time::sleep(grace).await;
            };
            let ended = tokio::select! {
                ended = &mut run => ended,
                () = too_long => {
                    run.abort();
                    let why = format!(
                        "what was fetched is not all committed after {} s (shutdown_grace); the next run fetches it again",
                        grace.as_secs()
                    );
                    tracing::error!(%backup, why, "the backup has ended");
                    self.comes_to(Err(Error::new(ErrorKind::Interrupted, why.clone())));
                    self.enter(Phase::Ended, Some(why));
                    return exit::INTERRUPTED;
                }
            };
            let ended = ended.unwrap_or_else(|e| Err(Error::permanent("the backup panicked").caused_by(e)));
            let error = match ended {
                Ok(report) => return self.end(report),
                Err(error) => error,
            };
            let why = error.next_step().map_or_else(|| error.to_string(), |next| format!("{error} ({next})"));
            // Where another one took over, going on would only take over from that one in turn.
            let is_hopeless = self.at_first == AtFirst::GivesUp
                && self.progress.commits.load(Relaxed) == 0
                && !error.is_retriable();
            if error.kind() == ErrorKind::Fenced || stop.is_cancelled() || is_hopeless {
                tracing::error!(%backup, why, "the backup has ended");
                let code = exit::code(error.kind());
                self.comes_to(Err(error));
                self.enter(Phase::Ended, Some(why));
                return code;
            }
            failures = if began.elapsed() < STEADY { failures + 1 } else { 0 };
            let pause = backoff(&*rand, failures, PAUSES.0, PAUSES.1);
            tracing::error!(%backup, why, again_in_ms = pause.as_millis(), "the backup failed and is begun anew");
            self.enter(Phase::Waiting, Some(why));
            tokio::select! {
                () = stop.cancelled() => {
                    let code = exit::code(error.kind());
                    self.comes_to(Err(error.at("told to stop while it waited to begin anew")));
                    self.enter(Phase::Ended, Some("it was told to stop while it waited".to_owned()));
                    return code;
                }
                () = tokio::time::sleep(pause) => {}
            }
            self.restarts.fetch_add(1, Relaxed);
        }
    }

    async fn once(self: Arc<Self>, stop: CancellationToken) -> Result<BackupReport> {
        self.enter(Phase::Starting, None);
        let connecting = async {
            let mut settings = components::backup_settings(&self.job)?;
            if let Some(registry) = &self.job.schema_registry {
                settings.schemas = Some(components::schema_settings(registry).await?);
            }
            let meter = Arc::clone(&self.progress.store);
            let store = components::metered_store(&self.job.storage, &self.job.backup_id, meter)?;
            let seam = Seam::system();
            let client = components::kafka_client(&self.job.source, seam.clone()).await?;
            Ok::<_, Error>((settings, client, store, seam))
        };
        let (settings, client, store, seam) = tokio::select! {
            () = stop.cancelled() => return Ok(BackupReport::default()),
            connected = connecting => connected?,
        };
        self.enter(Phase::Running, None);
        backup::run(settings, client, store, seam, Arc::clone(&self.progress), stop).await
    }

    fn end(&self, report: BackupReport) -> u8 {
        self.enter(Phase::Ended, None);
        let head = report.head.map(|head| format!("{}:{}", head.seq, head.hash));
        let backup = &self.job.backup_id;
        tracing::info!(%backup, head, records = report.records, partial = report.is_partial(), "the backup has ended");
        let code = if report.is_partial() { exit::PARTIAL } else { exit::DONE };
        self.comes_to(Ok(report));
        code
    }
}
