//! Numbers of a job with an end: a restore, a migration, one backup. All are looked at, and made anew for each answer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use formats::ids::BackupId;
use pipeline::backup::BackupProgress;
use pipeline::migrate::MigrateProgress;
use pipeline::restore::RestoreProgress;
use pipeline::seam::Seam;
use prometheus::{Registry, TextEncoder};
use tokio::time::Instant;

use super::jobs::{JobNumbers, Seen};
use super::lags::Most;
use super::{Maker, names, process};

/// What is told of, and under which name.
pub(crate) enum Watched {
    Backup(BackupId, Arc<BackupProgress>),
    Restore(BackupId, Arc<RestoreProgress>),
    /// With the migration's id.
    Migrate(BackupId, Arc<MigrateProgress>),
}

impl Watched {
    /// The command that does it.
    pub(crate) fn command(&self) -> &'static str {
        match self {
            Self::Backup(..) => "backup",
            Self::Restore(..) => "restore",
            Self::Migrate(..) => "migrate",
        }
    }

    /// The label that tells jobs of one command apart, and its value.
    pub(crate) fn id(&self) -> (&'static str, &str) {
        match self {
            Self::Backup(id, _) | Self::Restore(id, _) => ("backup_id", id.as_str()),
            Self::Migrate(id, _) => ("migration_id", id.as_str()),
        }
    }
}

/// Numbers of one job.
pub(crate) struct OneShotNumbers {
    pub(crate) watched: Watched,
    most: Most,
    began: Instant,
    /// Since when a restore reads, and what it had then: an earlier run's records come all at once.
    reads: Mutex<Option<(Instant, u64)>>,
    ended: Mutex<Option<Ended>>,
}

#[derive(Clone, Copy)]
struct Ended {
    code: u8,
    at: f64,
    took: Duration,
}

impl OneShotNumbers {
    /// Of a job that begins now.
    pub(crate) fn new(watched: Watched, most: Most) -> Self {
        Self { watched, most, began: Instant::now(), reads: Mutex::default(), ended: Mutex::default() }
    }

    /// It has ended, with this exit code.
    pub(crate) fn ended(&self, code: u8) {
        let at = Seam::system().clock.now_ms() as f64 / 1000.0;
        let ended = Ended { code, at, took: self.began.elapsed() };
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
    }

    /// The text form.
    pub(crate) fn text(&self) -> String {
        let all = Registry::new();
        let tell = Tell { make: Maker(&all), label: self.watched.id() };
        self.tell_job(&all);
        let of_backup = match &self.watched {
            Watched::Backup(id, progress) => {
                let is_running = self.ended.lock().unwrap_or_else(PoisonError::into_inner).is_none();
                let seen = Seen { backup: id.as_str(), progress, is_running, restarts: 0 };
                JobNumbers::new().text_of(&[seen], self.most)
            }
            Watched::Restore(_, progress) => {
                self.restore(&tell, progress);
                String::new()
            }
            Watched::Migrate(_, progress) => {
                migrate(&tell, progress);
                String::new()
            }
        };
        if of_backup.is_empty() {
            process::Process::new(&tell.make).set();
        }
        let mut text = of_backup;
        // Only a writer that fails could make this fail.
        let _ = TextEncoder::new().encode_utf8(&all.gather(), &mut text);
        text
    }

    /// How the job as such does.
    fn tell_job(&self, all: &Registry) {
        let (name, id) = self.watched.id();
        let (labels, values) = (["command", name], [self.watched.command(), id]);
        let make = Maker(all);
        let gauge = |name: &str, help: &str, value: f64| {
            make.fractions(name, help, &labels).with_label_values(&values).set(value)
        };
        let ended = *self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        gauge(names::JOB_RUNNING, "1: the job is at work", f64::from(u8::from(ended.is_none())));
        let took = ended.map_or_else(|| self.began.elapsed(), |ended| ended.took);
        gauge(names::JOB_DURATION, "Seconds that the job takes, or took", took.as_secs_f64());
        let Some(Ended { code, at, .. }) = ended else { return };
        gauge(names::JOB_EXIT_CODE, "The exit code that it ended with", f64::from(code));
        gauge(names::JOB_ENDED, "When it ended", at);
        if code == crate::exit::DONE {
            gauge(names::JOB_SUCCEEDED, "When it ended well; not told of a run that did not", at);
        }
    }

    fn restore(&self, tell: &Tell<'_>, progress: &RestoreProgress) {
        let target = &progress.target;
        tell.gauge(names::RESTORE_PARTITIONS, "Partitions to be restored", &progress.partitions);
        tell.gauge(
            names::RESTORE_DONE,
            "Partitions that are complete on the target",
            &target.partitions_done,
        );
        tell.gauge(names::RESTORE_FAILED, "Partitions that were given up", &target.partitions_failed);
        tell.gauge(
            names::RESTORE_WANTED,
            "Records to be restored, control records included",
            &progress.records_wanted,
        );
        tell.count(
            names::RESTORE_READ,
            "Records read from the archive, or known to be on the target already",
            &progress.records_read,
        );
        tell.count(names::RESTORE_READ_BYTES, "Bytes of batches read from the archive", &progress.bytes_read);
        tell.count(
            names::RESTORE_ACKED,
            "Records acknowledged by the target, those of earlier runs included",
            &target.records_acked,
        );
        tell.count(
            names::RESTORE_ACKED_BYTES,
            "Bytes of batches acknowledged by the target",
            &target.bytes_acked,
        );
        tell.count(names::RESTORE_REQUESTS, "Produce requests sent", &target.requests);
        tell.count(names::RESTORE_RESENT, "Batches sent again", &target.batches_resent);
        tell.count(
            names::RESTORE_PROVEN,
            "Records of the target compared with the archive",
            &progress.records_proven,
        );
        let (used, limit) = progress.memory();
        tell.number(names::RESTORE_MEMORY_USED, "Bytes of payload that are in memory", used as f64);
        tell.number(names::RESTORE_MEMORY_LIMIT, "Bytes of payload that may be in memory", limit as f64);
        if let Some(remaining) = self.remaining(progress) {
            let help = "Seconds until all records are read, at the pace so far; the proof comes after that";
            tell.number(names::RESTORE_REMAINING, help, remaining.as_secs_f64());
        }
    }

    /// How long the rest takes at the pace so far; nothing until there is a pace.
    fn remaining(&self, progress: &RestoreProgress) -> Option<Duration> {
        let (read, wanted) = (progress.records_read.load(Relaxed), progress.records_wanted.load(Relaxed));
        if read == 0 {
            return None;
        }
        let (since, before) =
            *self.reads.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((Instant::now(), read));
        match wanted.saturating_sub(read) {
            0 => Some(Duration::ZERO),
            left => {
                let pace = read.saturating_sub(before) as f64 / since.elapsed().as_secs_f64();
                // Without a pace this is no number of seconds.
                Duration::try_from_secs_f64(left as f64 / pace).ok()
            }
        }
    }
}

fn migrate(tell: &Tell<'_>, progress: &MigrateProgress) {
    let (source, target) = (&progress.source, &progress.target);
    tell.gauge(names::MIGRATE_PARTITIONS, "Partitions that have begun", &progress.partitions);
    tell.gauge(
        names::MIGRATE_FAILED,
        "Partitions that do not go on in this run",
        &progress.partitions_failed,
    );
    tell.gauge(
        names::MIGRATE_LAG,
        "Offsets of the source, up to its stable ones, that are not on the target yet",
        &progress.lag,
    );
    tell.count(names::MIGRATE_FETCHED, "Records fetched", &source.records_fetched);
    tell.count(names::MIGRATE_FETCHED_BYTES, "Bytes of batches fetched", &source.bytes_fetched);
    tell.count(
        names::MIGRATE_ACKED,
        "Records acknowledged by the target, those of earlier runs included",
        &target.records_acked,
    );
    tell.count(
        names::MIGRATE_ACKED_BYTES,
        "Bytes of batches acknowledged by the target",
        &target.bytes_acked,
    );
    tell.count(names::MIGRATE_RESENT, "Batches sent again", &target.batches_resent);
    tell.count(
        names::MIGRATE_COMPARED,
        "Records of either side that were read once more at the cut-over",
        &progress.records_compared,
    );
}

/// Tells numbers with one label.
struct Tell<'a> {
    make: Maker<'a>,
    label: (&'static str, &'a str),
}

impl Tell<'_> {
    fn count(&self, name: &str, help: &str, value: &AtomicU64) {
        self.make
            .counters(name, help, &[self.label.0])
            .with_label_values(&[self.label.1])
            .inc_by(value.load(Relaxed));
    }

    fn gauge(&self, name: &str, help: &str, value: &AtomicU64) {
        self.number(name, help, value.load(Relaxed) as f64);
    }

    fn number(&self, name: &str, help: &str, value: f64) {
        self.make.fractions(name, help, &[self.label.0]).with_label_values(&[self.label.1]).set(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> BackupId {
        BackupId::new("nightly").expect("a name")
    }

    fn told(text: &str, series: &str) -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_of_a_restore_goes_by_the_pace_of_this_run() {
        let progress = Arc::new(RestoreProgress::default());
        let numbers = OneShotNumbers::new(
            Watched::Restore(id(), Arc::clone(&progress)),
            Most { topics: 1, partitions: 0 },
        );
        let remaining = |numbers: &OneShotNumbers| {
            told(&numbers.text(), "replevin_restore_remaining_seconds{backup_id=\"nightly\"}")
        };
        progress.records_wanted.store(1_000_000, Relaxed);
        assert_eq!(remaining(&numbers), None);
        // An earlier run's come all at once.
        progress.records_read.store(500_000, Relaxed);
        assert_eq!(remaining(&numbers), None);
        tokio::time::advance(Duration::from_secs(10)).await;
        progress.records_read.store(600_000, Relaxed);
        assert_eq!(remaining(&numbers), Some(40.0));
        progress.records_read.store(1_000_000, Relaxed);
        assert_eq!(remaining(&numbers), Some(0.0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_is_told_of_a_run_that_ended_well_and_of_no_other() {
        let all: [(Watched, &str); 3] = [
            (Watched::Backup(id(), Arc::default()), "{backup_id=\"nightly\",command=\"backup\"}"),
            (Watched::Restore(id(), Arc::default()), "{backup_id=\"nightly\",command=\"restore\"}"),
            (Watched::Migrate(id(), Arc::default()), "{command=\"migrate\",migration_id=\"nightly\"}"),
        ];
        let mut every = String::new();
        for (watched, labels) in all {
            let numbers = OneShotNumbers::new(watched, Most { topics: 1, partitions: 0 });
            let series = |name: &str| told(&numbers.text(), &format!("replevin_job_{name}{labels}"));
            assert_eq!((series("running"), series("exit_code")), (Some(1.0), None));
            tokio::time::advance(Duration::from_secs(5)).await;
            numbers.ended(3);
            assert_eq!((series("running"), series("exit_code")), (Some(0.0), Some(3.0)));
            assert_eq!(
                (series("duration_seconds"), series("last_success_timestamp_seconds")),
                (Some(5.0), None)
            );
            numbers.ended(0);
            let (ended, succeeded) =
                (series("ended_timestamp_seconds"), series("last_success_timestamp_seconds"));
            assert!(succeeded.is_some() && ended == succeeded && ended > Some(1.7e9));
            assert!(told(&numbers.text(), "process_start_time_seconds").is_some());
            every.push_str(&numbers.text());
        }
        for name in names::OF_ONE_SHOTS.iter().filter(|name| **name != names::RESTORE_REMAINING) {
            assert!(every.contains(&format!("# TYPE {name} ")), "{name} is not in\n{every}");
        }
    }
}
