//! The jobs of a process: which there are, and what becomes of them where the files say something else than before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use formats::ids::BackupId;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::job::{AtFirst, Phase, Supervised};
use crate::config::BackupJob;

/// All jobs that are kept running, and those that have ended by themselves.
pub(crate) struct Jobs {
    all: Mutex<Vec<Arc<Supervised>>>,
    /// Of each backup, when the job that was begun last is over: one begins once the other has ended, or they would take over from each
    /// other.
    last: Mutex<BTreeMap<BackupId, CancellationToken>>,
    at_first: AtFirst,
    stop: CancellationToken,
    began: Instant,
}

impl Jobs {
    /// None yet; `stop` will end all of them.
    pub(crate) fn new(at_first: AtFirst, stop: CancellationToken) -> Self {
        Self { all: Mutex::default(), last: Mutex::default(), at_first, stop, began: Instant::now() }
    }

    /// All of them, in the order of their files.
    pub(crate) fn list(&self) -> Vec<Arc<Supervised>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long ago they began.
    pub(crate) fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// Begins jobs.
    pub(crate) fn begin(&self, wanted: Vec<(String, BackupJob)>, running: &mut JoinSet<u8>) {
        for (file, job) in wanted {
            self.begin_one(Supervised::new(file, job, self.at_first, &self.stop), None, running);
        }
    }

    /// Does what the files say now: jobs whose files are new begin, those whose files are gone end, and those that are told otherwise are
    /// begun anew, once what was fetched is committed. What cannot change while the process runs stays as it was, and is said.
    pub(crate) fn change(&self, wanted: Vec<(String, BackupJob)>, running: &mut JoinSet<u8>) {
        let before = self.list();
        for gone in before.iter().filter(|job| !wanted.iter().any(|(file, _)| *file == job.file)) {
            tracing::info!(file = gone.file, backup = %gone.job.backup_id, "the file is gone: the job ends");
            gone.stop.cancel();
            self.all.lock().unwrap_or_else(PoisonError::into_inner).retain(|job| !Arc::ptr_eq(job, gone));
        }
        for (file, job) in wanted {
            let Some(old) = before.iter().find(|old| old.file == file) else {
                // The job of a file that could not change goes on under its old name.
                if let Some(other) = self.list().iter().find(|other| other.job.backup_id == job.backup_id) {
                    let (other, backup) = (&other.file, &job.backup_id);
                    tracing::error!(file, %backup, other, "a new file, which does not begin: its backup is another job's; stop that one first");
                    continue;
                }
                tracing::info!(file, backup = %job.backup_id, "a new file: the job begins");
                self.begin_one(Supervised::new(file, job, self.at_first, &self.stop), None, running);
                continue;
            };
            let changed = changed(&old.job, &job);
            let fixed: Vec<_> =
                changed.iter().filter(|(_, is_fixed)| *is_fixed).map(|(name, _)| *name).collect();
            if !fixed.is_empty() {
                let fixed = fixed.join(", ");
                tracing::error!(
                    file,
                    fixed,
                    "this cannot change while the process runs, and the file's job stays as it was; start it again"
                );
                continue;
            }
            let is_over = old.standing().phase == Phase::Ended;
            if changed.is_empty() && !is_over {
                continue;
            }
            let changed = changed.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
            tracing::info!(file, backup = %job.backup_id, changed, "the job is begun anew");
            old.stop.cancel();
            self.begin_one(old.anew(job, &self.stop), Some(old), running);
        }
    }

    /// Begins a job, in the place of another one or behind them all.
    fn begin_one(&self, job: Supervised, instead_of: Option<&Arc<Supervised>>, running: &mut JoinSet<u8>) {
        let job = Arc::new(job);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        match instead_of.and_then(|old| all.iter_mut().find(|one| Arc::ptr_eq(one, old))) {
            Some(place) => *place = Arc::clone(&job),
            None => all.push(Arc::clone(&job)),
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.insert(job.job.backup_id.clone(), job.over.clone());
        running.spawn(async move {
            if let Some(before) = before {
                before.cancelled().await;
            }
            job.keep().await
        });
    }
}

/// The parts of a file that say something else, and whether they cannot change while the process runs.
fn changed(old: &BackupJob, new: &BackupJob) -> Vec<(&'static str, bool)> {
    let parts = [
        ("backup_id", old.backup_id != new.backup_id, true),
        ("storage", old.storage != new.storage, true),
        ("metrics", old.metrics != new.metrics, true),
        ("source", old.source != new.source, false),
        ("backup", old.backup != new.backup, false),
        ("schema_registry", old.schema_registry != new.schema_registry, false),
        ("memory_limit", old.memory_limit != new.memory_limit, false),
        ("shutdown_grace", old.shutdown_grace_ms != new.shutdown_grace_ms, false),
    ];
    parts.into_iter().filter(|(_, differs, _)| *differs).map(|(name, _, is_fixed)| (name, is_fixed)).collect()
}
