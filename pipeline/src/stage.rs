//! How the stages of a pipeline spend their time: which works, which waits for the one behind it. Numbers only; nothing here decides
//! anything.
//!
//! A stage whose tasks are *blocked* waits for the next one, one whose tasks are *busy* all the time is the brake, and one that is
//! neither has nothing to do. Time that has not ended yet counts too: what is stuck must be seen while it is.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

/// A stage: its times over all of its tasks, and the queue in front of it.
pub struct Stage {
    began: Instant,
    times: Mutex<[Time; 2]>,
    items: AtomicU64,
    bytes: AtomicU64,
    queue: Mutex<Box<dyn Fn() -> Option<Queue> + Send>>,
}

/// How full a queue is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue {
    /// Items that wait in it.
    pub depth: usize,
    /// Items for which it has room.
    pub limit: usize,
}

/// Time of any number of tasks, what has not ended yet included: each that is at it now adds the time since it began.
#[derive(Debug, Default, Clone, Copy)]
struct Time {
    done: Duration,
    tasks: u32,
    /// When those began, added up.
    began: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Working,
    Blocked,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            times: Mutex::default(),
            items: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            queue: Mutex::new(Box::new(|| None)),
        }
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("busy", &self.busy()).field("blocked", &self.blocked()).finish()
    }
}

impl Stage {
    /// Time at work, of all tasks together: a stage with four of them has four seconds a second.
    pub fn busy(&self) -> Duration {
        self.time(Doing::Working)
    }

    /// Time in which tasks waited for the next stage to take what is done.
    pub fn blocked(&self) -> Duration {
        self.time(Doing::Blocked)
    }

    /// What it has handed on, in its own units.
    pub fn items(&self) -> u64 {
        self.items.load(Relaxed)
    }

    /// The bytes of that.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// The queue in front of it; nothing where it has none, or does not run.
    pub fn queue(&self) -> Option<Queue> {
        lock(&self.queue)()
    }

    pub(crate) fn count(&self, items: u64, bytes: u64) {
        self.items.fetch_add(items, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Names the queue in front of it. It is looked at, and not kept open.
    pub(crate) fn fed_by<T: Send + 'static>(&self, queue: &mpsc::Sender<T>) {
        let weak = queue.downgrade();
        let look = move || {
            let queue = weak.upgrade()?;
            let limit = queue.max_capacity();
            Some(Queue { depth: limit - queue.capacity(), limit })
        };
        *lock(&self.queue) = Box::new(look);
    }

    fn time(&self, doing: Doing) -> Duration {
        let Time { done, tasks, began } = lock(&self.times)[doing as usize];
        done + (self.began.elapsed() * tasks).saturating_sub(began)
    }
}

impl Time {
    fn begin(&mut self, now: Duration) {
        self.tasks += 1;
        self.began += now;
    }

    fn end(&mut self, began: Duration, now: Duration) {
        self.tasks -= 1;
        self.began -= began;
        self.done += now.saturating_sub(began);
    }
}

/// A poisoned lock leaves numbers that are whole: nothing that holds it panics half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one task of a stage does. It begins with nothing to do.
#[derive(Debug)]
pub(crate) struct Watch {
    stage: Arc<Stage>,
    doing: Option<(Doing, Duration)>,
}

impl Watch {
    pub(crate) fn new(stage: &Arc<Stage>) -> Self {
        Self { stage: Arc::clone(stage), doing: None }
    }

    /// From now on it works.
    pub(crate) fn work(&mut self) {
        self.change(Some(Doing::Working));
    }

    /// From now on it has nothing to do.
    pub(crate) fn rest(&mut self) {
        self.change(None);
    }

    /// Waits for the next stage; then the task goes on with what it did.
    pub(crate) async fn blocked<T>(&mut self, wait: impl Future<Output = T>) -> T {
        let before = self.block();
        let done = wait.await;
        self.change(before);
        done
    }

    /// [`Watch::blocked`] on a thread of its own.
    pub(crate) fn blocked_here<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        let before = self.block();
        let done = wait();
        self.change(before);
        done
    }

    fn block(&mut self) -> Option<Doing> {
        let before = self.doing.map(|(doing, _)| doing);
        self.change(Some(Doing::Blocked));
        before
    }

    fn change(&mut self, to: Option<Doing>) {
        if self.doing.map(|(doing, _)| doing) == to {
            return;
        }
        let now = self.stage.began.elapsed();
        let mut times = lock(&self.stage.times);
        if let Some((doing, began)) = self.doing.take() {
            times[doing as usize].end(began, now);
        }
        if let Some(doing) = to {
            times[doing as usize].begin(now);
            self.doing = Some((doing, now));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_counts_for_all_tasks_and_while_it_passes() {
        let second = Duration::from_secs(1);
        let stage = Arc::new(Stage::default());
        sleep(second).await;
        let (mut one, mut two) = (Watch::new(&stage), Watch::new(&stage));
        one.work();
        two.work();
        sleep(second).await;
        assert_eq!((stage.busy(), stage.blocked()), (2 * second, Duration::ZERO));
        one.blocked(async {
            sleep(3 * second).await;
            assert_eq!((stage.busy(), stage.blocked()), (5 * second, 3 * second), "while it is blocked");
        })
        .await;
        two.rest();
        sleep(second).await;
        assert_eq!(
            (stage.busy(), stage.blocked()),
            (6 * second, 3 * second),
            "the other one has nothing to do"
        );
        drop((one, two));
        sleep(second).await;
        assert_eq!((stage.busy(), stage.blocked()), (6 * second, 3 * second));
    }

    #[tokio::test]
    async fn a_queue_is_looked_at_and_not_kept_open() {
        let stage = Stage::default();
        assert_eq!(stage.queue(), None);
        let (to, mut from) = mpsc::channel(3);
        stage.fed_by(&to);
        to.send(1).await.expect("room");
        assert_eq!(stage.queue(), Some(Queue { depth: 1, limit: 3 }));
        drop(to);
        assert_eq!((from.recv().await, from.recv().await), (Some(1), None));
        assert_eq!(stage.queue(), None);
    }
}
