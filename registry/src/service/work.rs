//! Work for the processor, which is reading and comparing schemas: apart from the threads that answer, so many at once as there are
//! processors, in the order in which it was asked for, and no more for one request than is fair.
//!
//! A request is charged for the time that its own steps take, not for waiting. A step is one text that is read or one pair that is
//! compared; each has bounds of its own, so a request ends at most one step late. What its client has given up ends after the
//! step that is under way.

use super::Settings;
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Texts up to this length are read where they are: that takes less than to hand them over.
const SMALL: usize = 4 << 10;

/// The places where work is done.
pub(super) struct Pool {
    places: Arc<Semaphore>,
    patience: Duration,
    allowance: Duration,
    /// Steps so far.
    #[cfg(test)]
    pub(super) steps: AtomicU64,
}

/// What a request may still use, in microseconds.
pub(crate) struct Budget(AtomicU64);

impl Budget {
    fn spend(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| Some(left.saturating_sub(micros)));
    }

    /// Nothing is left.
    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

impl Pool {
    pub(super) fn new(settings: &Settings) -> Self {
        let places = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            places: Arc::new(Semaphore::new(places)),
            patience: settings.work_patience,
            allowance: settings.work_allowance,
            #[cfg(test)]
            steps: AtomicU64::new(0),
        }
    }

    /// What a new request may use.
    pub(super) fn budget(&self) -> Budget {
        Budget(AtomicU64::new(u64::try_from(self.allowance.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Does a step; `bytes` is how much text it reads, nothing where that does not say how long it takes.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        budget: &Budget,
        bytes: Option<usize>,
        step: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        if budget.is_spent() {
            return Err(self.too_much());
        }
        #[cfg(test)]
        self.steps.fetch_add(1, Ordering::AcqRel);
        let step = move || {
            let begun = Instant::now();
            (step(), begun.elapsed())
        };
        let (value, took) = match bytes {
            Some(bytes) if bytes <= SMALL => step(),
            _ => {
                let place =
                    tokio::time::timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await;
                let Ok(Ok(place)) = place else { return Err(self.too_busy()) };
                let done = tokio::task::spawn_blocking(move || {
                    let _place = place;
                    step()
                });
                done.await.map_err(|_| {
                    Error::new(
                        500,
                        "The registry has failed at this schema, and nothing was changed. Report it",
                    )
                })?
            }
        };
        budget.spend(took);
        Ok(value)
    }

    fn too_much(&self) -> Error {
        Error::new(
            42201,
            format!(
                "Invalid schema, details: to read it and to compare it takes more than the {} ms of work that a request may \
                 use. Make it smaller, or compare with fewer versions: a level that is not transitive",
                self.allowance.as_millis()
            ),
        )
    }

    fn too_busy(&self) -> Error {
        let waited = self.patience.as_secs();
        let text =
            format!("The registry is busy: other schemas were being read for {waited} s. Try again later");
        Error::new(50001, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(patience: u64, allowance: u64) -> Arc<Pool> {
        let (work_patience, work_allowance) =
            (Duration::from_millis(patience), Duration::from_millis(allowance));
        Arc::new(Pool::new(&Settings { work_patience, work_allowance, ..Settings::default() }))
    }

    fn sleep(millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }

    #[tokio::test]
    async fn a_request_is_charged_for_its_own_steps_only() {
        let pool = pool(10_000, 100);
        let (one, other) = (pool.budget(), pool.budget());
        pool.run(&one, None, || sleep(150)).await.expect("the first step");
        let refused = pool.run(&one, None, || ()).await.expect_err("nothing is left");
        assert_eq!((refused.code(), one.is_spent()), (42201, true));
        assert!(refused.message().contains("100 ms"), "{refused}");
        pool.run(&other, Some(1), || ()).await.expect("another request");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn so_many_at_once_as_there_are_processors_and_who_waits_too_long_is_told() {
        let (pool, count) = (pool(200, 10_000), std::thread::available_parallelism().map_or(1, usize::from));
        let running: Vec<_> = (0..count)
            .map(|_| {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move { pool.run(&pool.budget(), None, || sleep(600)).await })
            })
            .collect();
        while pool.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = pool.run(&pool.budget(), None, || ()).await.expect_err("no place");
        assert_eq!((refused.code(), refused.status()), (50001, 503));
        // What is small is done where it is.
        pool.run(&pool.budget(), Some(10), || ()).await.expect("a small step");
        for running in running {
            running.await.expect("a task").expect("a step");
        }
        pool.run(&pool.budget(), None, || ()).await.expect("a place again");
    }

    #[tokio::test]
    async fn a_panic_is_told_to_who_asked_and_gives_its_place_back() {
        let pool = pool(1000, 10_000);
        for _ in 0..20 {
            let failed = pool.run(&pool.budget(), None, || panic!("on purpose")).await;
            assert_eq!(failed.expect_err("a failure").code(), 500);
        }
    }
}
