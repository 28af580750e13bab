//! Tells the service manager (systemd's `sd_notify`) how the daemon is: ready, reading its files again, stopping, alive. Where
//! NOTIFY_SOCKET is not set, nothing is told. It decides nothing: what a daemon does is the same without it.
//!
//! ```text
//! RELOADING=1, READY=1   run.rs, around what it does
//! STATUS=                a task, whenever the jobs do something else
//! WATCHDOG=1             the same task, twice in the time that systemd waits: after the runtime has woken it, and after it had all locks
//!                        of the jobs. Where either is stuck, nothing is told and systemd begins the process anew
//! STOPPING=1             the same task, once it is told to stop
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::supervise::{Jobs, Phase, Supervised};

/// How often the jobs are looked at, where the watchdog does not ask for more.
const LOOK: Duration = Duration::from_secs(5);
/// The most jobs that a status names.
const NAMED: usize = 5;

/// The service manager, as one that listens.
pub(crate) struct Service {
    jobs: Arc<Jobs>,
    /// What takes messages; nothing where nobody listens.
    send: Option<Send>,
    watchdog: Option<Duration>,
    /// The files are not as they must be, and what ran before goes on.
    is_refused: AtomicBool,
    has_failed: AtomicBool,
}

type Send = Box<dyn Fn(&[NotifyState<'_>]) -> std::io::Result<()> + std::marker::Send + Sync>;

impl Service {
    /// The one that started this process, if any did.
    pub(crate) fn of_process(jobs: Arc<Jobs>) -> Arc<Self> {
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        let send = listens.then(|| Box::new(sd_notify::notify) as Send);
        Arc::new(Self::new(jobs, send, sd_notify::watchdog_enabled()))
    }

    fn new(jobs: Arc<Jobs>, send: Option<Send>, watchdog: Option<Duration>) -> Self {
        let watchdog = watchdog.filter(|time| !time.is_zero());
        Self { jobs, send, watchdog, is_refused: AtomicBool::new(false), has_failed: AtomicBool::new(false) }
    }

    /// All addresses are bound, and all jobs have begun.
    pub(crate) fn ready(&self) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(&self.status())]);
    }

    /// The files are read again; [`Service::read_again`] follows.
    pub(crate) fn reloading(&self) {
        // systemd tells by this time that it is the answer to its own signal.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => {
                let status = NotifyState::Status("reads its files again");
                self.tell(&[NotifyState::Reloading, now, status]);
            }
            Err(error) => tracing::warn!(%error, "the service manager is not told that files are read again"),
        }
    }

    /// The files were read again, and taken or refused.
    pub(crate) fn read_again(&self, is_taken: bool) {
        self.is_refused.store(!is_taken, Relaxed);
        self.ready();
    }

    /// Keeps telling, until the task's end is waited for ([`Telling::end`]). `stop` is what ends the jobs.
    pub(crate) fn keep_telling(self: &Arc<Self>, stop: CancellationToken) -> Telling {
        let over = CancellationToken::new();
        let task = self.send.is_some().then(|| tokio::spawn(Arc::clone(self).telling(stop, over.clone())));
        Telling { task, over }
    }

    async fn telling(self: Arc<Self>, stop: CancellationToken, over: CancellationToken) {
        let half = self.watchdog.map(|time| (time / 2).max(Duration::from_millis(1)));
        let mut looks = interval(half.map_or(LOOK, |half| half.min(LOOK)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut is_stopping) = (String::new(), false);
        loop {
            let (mut ends, mut stops) = (false, false);
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled(), if !is_stopping => stops = true,
                () = over.cancelled() => (ends, stops) = (true, !is_stopping),
            }
            is_stopping |= stops;
            let status = self.status();
            let mut states = Vec::new();
            if stops {
                states.push(NotifyState::Stopping);
            }
            if self.watchdog.is_some() {
                states.push(NotifyState::Watchdog);
            }
            if status != told {
                states.push(NotifyState::Status(&status));
            }
            if !states.is_empty() {
                self.tell(&states);
            }
            if ends {
                return;
            }
            told = status;
        }
    }

    /// What all jobs do, in one line.
    fn status(&self) -> String {
        let mut line = about(&self.jobs.list());
        if self.is_refused.load(Relaxed) {
            line.push_str("; the files as they are now were refused, see the log");
        }
        line
    }

    /// A message that does not arrive changes nothing, and is said once.
    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(send) = &self.send else { return };
        if let Err(error) = send(states)
            && !self.has_failed.swap(true, Relaxed)
        {
            tracing::warn!(%error, "the service manager at NOTIFY_SOCKET cannot be told anything");
        }
    }
}

/// The task that tells.
pub(crate) struct Telling {
    task: Option<JoinHandle<()>>,
    over: CancellationToken,
}

impl Telling {
    /// Tells that the daemon stops, where that was not told yet, and is over.
    pub(crate) async fn end(self) {
        self.over.cancel();
        if let Some(task) = self.task {
            let _ = task.await;
        }
    }
}

/// How many run, and which do not. Only words of ours and names of backups: a line break would be another message.
fn about(jobs: &[Arc<Supervised>]) -> String {
    let others: Vec<_> = jobs
        .iter()
        .filter_map(|job| {
            let phase = job.standing().phase;
            if phase == Phase::Running {
                return None;
            }
            let word = phase.words();
            Some(format!("{} {word}", job.job.backup_id))
        })
        .collect();
    let mut line = format!("{} of {} backups running", jobs.len() - others.len(), jobs.len());
    for (number, other) in others.iter().take(NAMED).enumerate() {
        line.push_str(if number == 0 { "; " } else { ", " });
        line.push_str(other);
    }
    if others.len() > NAMED {
        line.push_str(&format!(", {} more", others.len() - NAMED));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::AtFirst;
    use std::sync::Mutex;
    use std::thread::sleep;

    type Told = Arc<Mutex<Vec<String>>>;

    fn service(watchdog: Duration) -> (Arc<Service>, Told) {
        let told = Told::default();
        let kept = Arc::clone(&told);
        let send = move |states: &[NotifyState<'_>]| {
            let lines: Vec<_> = states.iter().map(ToString::to_string).collect();
            kept.lock().expect("no panic").push(lines.join("\n"));
            Ok(())
        };
        let jobs = Arc::new(Jobs::new(AtFirst::TriesAgain, CancellationToken::new()));
        (Arc::new(Service::new(jobs, Some(Box::new(send)), Some(watchdog))), told)
    }

    fn alive(told: &Told) -> usize {
        told.lock().expect("no panic").iter().filter(|message| message.contains("WATCHDOG=1")).count()
    }

    #[test]
    fn a_runtime_that_is_stuck_does_not_say_that_it_lives() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (service, told) = service(Duration::from_millis(20));
        let telling = runtime.block_on(async { service.keep_telling(CancellationToken::new()) });
        sleep(Duration::from_millis(300));
        assert!(alive(&told) >= 3, "{told:?}");
        // Its only thread does not come back for a while.
        let (begun, begins) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let _ = begun.send(());
            sleep(Duration::from_millis(800));
        });
        begins.recv().expect("it has begun");
        let before = alive(&told);
        sleep(Duration::from_millis(400));
        assert_eq!(alive(&told), before);
        runtime.block_on(telling.end());
        assert!(alive(&told) > before);
    }

    #[tokio::test(start_paused = true)]
    async fn it_says_once_that_it_stops_and_goes_on_saying_that_it_lives() {
        let (service, told) = service(Duration::from_secs(2));
        let stop = CancellationToken::new();
        let telling = service.keep_telling(stop.clone());
        tokio::time::sleep(Duration::from_millis(3500)).await;
        assert_eq!(alive(&told), 4, "{told:?}");
        stop.cancel();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(alive(&told) >= 6, "{told:?}");
        telling.end().await;
        let told = told.lock().expect("no panic");
        assert_eq!(told.iter().filter(|message| message.contains("STOPPING=1")).count(), 1, "{told:?}");
        assert_eq!(told.first().map(String::as_str), Some("WATCHDOG=1\nSTATUS=0 of 0 backups running"));
        assert_eq!(told.get(1).map(String::as_str), Some("WATCHDOG=1"));
    }

    #[tokio::test]
    async fn files_that_are_refused_are_told_until_they_are_taken() {
        let (service, told) = service(Duration::from_secs(2));
        service.reloading();
        service.read_again(false);
        service.read_again(true);
        let told = told.lock().expect("no panic");
        let [reloading, refused, taken] = &told[..] else { panic!("{told:?}") };
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        assert!(refused.starts_with("READY=1\n") && refused.contains("were refused"), "{refused}");
        assert_eq!(taken, "READY=1\nSTATUS=0 of 0 backups running");
    }
}
