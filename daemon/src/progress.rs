//! Progress for people: one bar on a terminal, nothing elsewhere (logs and metrics tell it there).

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pipeline::backup::BackupProgress;
use pipeline::migrate::MigrateProgress;
use pipeline::restore::RestoreProgress;
use tokio::task::JoinHandle;

/// A bar that follows counters until it is finished.
pub(crate) struct Bar {
    bar: ProgressBar,
    follow: Option<JoinHandle<()>>,
}

impl Bar {
    /// Prints lines to stderr above the bar.
    pub(crate) fn above(&self, lines: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr().lock(), "{lines}");
        });
    }

    /// Removes it from the terminal.
    pub(crate) fn finish(self) {
        if let Some(follow) = self.follow {
            follow.abort();
        }
        self.bar.finish_and_clear();
    }
}

/// Follows a backup.
pub(crate) fn show_backup(counters: Arc<BackupProgress>, continuous: bool) -> Bar {
    let template = if continuous {
        "{spinner} {elapsed_precise} {msg}"
    } else {
        "{spinner} {elapsed_precise} [{bar:30}] {percent}% {msg} left {eta}"
    };
    follow(template, move |bar| {
        bar.set_length(counters.source.offsets_wanted.load(Relaxed).max(1));
        bar.set_position(counters.source.offsets_fetched.load(Relaxed));
        let bytes = counters.source.bytes_fetched.load(Relaxed);
        bar.set_message(format!(
            "{} records, {} fetched ({}/s), {} committed, partitions {}/{}",
            HumanCount(counters.source.records_fetched.load(Relaxed)),
            HumanBytes(bytes),
            each_second(bytes, bar),
            HumanCount(counters.records_committed.load(Relaxed)),
            counters.source.partitions_done.load(Relaxed),
            counters.source.partitions.load(Relaxed),
        ));
    })
}

/// Follows a restore.
pub(crate) fn show_restore(counters: Arc<RestoreProgress>) -> Bar {
    follow("{spinner} {elapsed_precise} [{bar:30}] {percent}% {msg} left {eta}", move |bar| {
        bar.set_length(counters.records_wanted.load(Relaxed).max(1));
        bar.set_position(counters.records_read.load(Relaxed));
        let bytes = counters.target.bytes_acked.load(Relaxed);
        bar.set_message(format!(
            "{} records acknowledged, {} ({}/s), {} proven, partitions {}/{}",
            HumanCount(counters.target.records_acked.load(Relaxed)),
            HumanBytes(bytes),
            each_second(bytes, bar),
            HumanCount(counters.records_proven.load(Relaxed)),
            counters.target.partitions_done.load(Relaxed),
            counters.partitions.load(Relaxed),
        ));
    })
}

/// Follows a migration.
pub(crate) fn show_migrate(counters: Arc<MigrateProgress>) -> Bar {
    follow("{spinner} {elapsed_precise} {msg}", move |bar| {
        let bytes = counters.target.bytes_acked.load(Relaxed);
        bar.set_message(format!(
            "{} records acknowledged, {} ({}/s), lag {}, partitions {}, failed {}, {} compared",
            HumanCount(counters.target.records_acked.load(Relaxed)),
            HumanBytes(bytes),
            each_second(bytes, bar),
            HumanCount(counters.lag.load(Relaxed)),
            counters.partitions.load(Relaxed),
            counters.partitions_failed.load(Relaxed),
            HumanCount(counters.records_compared.load(Relaxed)),
        ));
    })
}

/// So many bytes a second since the bar began.
fn each_second(bytes: u64, bar: &ProgressBar) -> HumanBytes {
    HumanBytes((bytes as f64 / bar.elapsed().as_secs_f64().max(0.001)) as u64)
}

/// A bar of a template that a function brings up to date several times a second.
pub(crate) fn follow(template: &str, update: impl Fn(&ProgressBar) + Send + 'static) -> Bar {
    if !std::io::stderr().is_terminal() {
        return Bar { bar: ProgressBar::hidden(), follow: None };
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5)).with_style(style);
    let shown = bar.clone();
    let follow = tokio::spawn(async move {
        loop {
            update(&shown);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    Bar { bar, follow: Some(follow) }
}
