//! How one call to a store is made: its time limit, its retries, its counters. The backends say what a failure means;
//! this file says what is done about it.
//!
//! The rule for doubtful puts is here, once: a create-only put may be sent again, since its bytes are the same, but
//! from the second attempt on "the key is taken" no longer says by whom, and becomes [`Created::Unclear`]. So it does where
//! the first was answered with "busy, nothing was done": that may be a proxy's word for a server that did it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Created;
use super::meter::{Meter, Operation};
use super::settings::IoSettings;
use crate::seam::{Seam, backoff};
use crate::{Error, Result};

/// Makes calls under one set of limits.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    /// The store, as its errors name it.
    pub(super) place: String,
    pub(super) io: IoSettings,
    pub(super) meter: Arc<Meter>,
    pub(super) seam: Seam,
}

/// The pauses of one call that is being repeated.
struct Patience {
    started: Instant,
    attempts: u32,
}

impl Calls {
    /// How long a request that moves so many bytes may take: the fixed limit, and on top what the slowest acceptable
    /// link needs for the bytes.
    fn limit(&self, bytes: u64) -> Duration {
        self.io.request_timeout.saturating_add(Duration::from_secs(bytes / self.io.min_bytes_per_sec.max(1)))
    }

    /// One attempt under the time limit.
    pub(super) async fn once<T>(
        &self,
        operation: Operation,
        bytes: u64,
        attempt: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (limit, began) = (self.limit(bytes), Instant::now());
        let result = match timeout(limit, attempt).await {
            Ok(result) => result,
            Err(_) => {
                let (name, seconds) = (operation.name(), limit.as_secs_f32());
                Err(Error::retry(format!("{}: {name} not finished within {seconds} s", self.place)))
            }
        };
        self.meter.count(operation, result.is_err(), began.elapsed());
        result
    }

    /// Attempts until one succeeds, fails for good, or the patience ends. Only for what may be done twice.
    pub(super) async fn retried<T, F, A>(&self, operation: Operation, bytes: u64, mut attempt: F) -> Result<T>
    where
        F: FnMut() -> A,
        A: Future<Output = Result<T>>,
    {
        let mut patience = Patience { started: Instant::now(), attempts: 1 };
        loop {
            match self.once(operation, bytes, attempt()).await {
                Err(error) if error.is_retriable() => {
                    if !self.pause(&mut patience).await {
                        return Err(self.exhausted(error, &patience));
                    }
                }
                result => return result,
            }
        }
    }

    /// Attempts a create-only put by the rule of this module. An `Err` from the attempt means that it did not land.
    pub(super) async fn create<F, A>(
        &self,
        operation: Operation,
        bytes: u64,
        mut attempt: F,
    ) -> Result<Created>
    where
        F: FnMut() -> A,
        A: Future<Output = Result<Created>>,
    {
        let mut patience = Patience { started: Instant::now(), attempts: 1 };
        let mut doubt: Option<String> = None;
        let mut refused: Option<String> = None;
        loop {
            let (limit, began) = (self.limit(bytes), Instant::now());
            self.meter.add_sent(bytes);
            let result = match timeout(limit, attempt()).await {
                Ok(result) => result,
                Err(_) => Ok(Created::Unclear(format!("no answer within {} s", limit.as_secs_f32()))),
            };
            let failed = !matches!(result, Ok(Created::New(_) | Created::Exists));
            self.meter.count(operation, failed, began.elapsed());
            let error = match result {
                Ok(Created::New(version)) => return Ok(Created::New(version)),
                Ok(Created::Exists) => {
                    return Ok(doubt.or(refused).map_or(Created::Exists, |earlier| {
                        let message = format!("the key is taken, perhaps by our earlier attempt ({earlier})");
                        Created::Unclear(message)
                    }));
                }
                Ok(Created::Unclear(why)) => {
                    doubt = Some(why);
                    None
                }
                Err(error) => {
                    refused = Some(error.to_string());
                    Some(error)
                }
            };
            let again = error.as_ref().is_none_or(Error::is_retriable) && self.pause(&mut patience).await;
            if !again {
                return match (doubt, error) {
                    (Some(doubt), Some(error)) => Ok(Created::Unclear(format!("{doubt}; then: {error}"))),
                    (Some(doubt), None) => Ok(Created::Unclear(doubt)),
                    (None, Some(error)) if error.is_retriable() => Err(self.exhausted(error, &patience)),
                    (None, Some(error)) => Err(error),
                    (None, None) => Ok(Created::Unclear("no answer".to_owned())),
                };
            }
        }
    }

    /// Waits before the next attempt; false where there shall be none.
    async fn pause(&self, patience: &mut Patience) -> bool {
        let wait = backoff(&*self.seam.rand, patience.attempts - 1, self.io.retry_base, self.io.retry_cap);
        if patience.started.elapsed() + wait > self.io.retry_for {
            return false;
        }
        sleep(wait).await;
        patience.attempts = patience.attempts.saturating_add(1);
        self.meter.count_retry();
        true
    }

    fn exhausted(&self, error: Error, patience: &Patience) -> Error {
        if patience.attempts == 1 {
            return error;
        }
        let seconds = patience.started.elapsed().as_secs_f32();
        error.at(format!("gave up after {} attempts in {seconds:.1} s", patience.attempts))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::ErrorKind;
    use crate::storage::Version;

    fn calls() -> Calls {
        Calls {
            place: "test:".to_owned(),
            io: IoSettings::default(),
            meter: Arc::default(),
            seam: Seam::system(),
        }
    }

    async fn create(answers: Vec<Result<Created>>) -> Result<Created> {
        let answers = Mutex::new(answers.into_iter());
        calls()
            .create(Operation::Create, 1, || {
                let next = answers.lock().unwrap().next();
                async { next.unwrap_or_else(|| Err(Error::retry("busy"))) }
            })
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_taken_key_is_clear_only_while_no_attempt_of_ours_may_have_landed() {
        let new = || Ok(Created::New(Version::default()));
        let unclear = || Ok(Created::Unclear("cut".to_owned()));
        assert!(matches!(create(vec![Ok(Created::Exists)]).await, Ok(Created::Exists)));
        assert!(matches!(
            create(vec![Err(Error::retry("503")), Ok(Created::Exists)]).await,
            Ok(Created::Unclear(_))
        ));
        assert!(matches!(create(vec![unclear(), Ok(Created::Exists)]).await, Ok(Created::Unclear(_))));
        assert!(matches!(create(vec![unclear(), new()]).await, Ok(Created::New(_))));
        assert!(matches!(
            create(vec![unclear(), Err(Error::permanent("no"))]).await,
            Ok(Created::Unclear(_))
        ));
        assert!(matches!(create(vec![unclear()]).await, Ok(Created::Unclear(_))));
        assert_eq!(create(vec![]).await.unwrap_err().kind(), ErrorKind::Retry);
        assert_eq!(create(vec![Err(Error::permanent("no"))]).await.unwrap_err().kind(), ErrorKind::Permanent);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unanswered_put_is_unclear_and_the_patience_ends() {
        let calls = calls();
        let started = Instant::now();
        let result = calls.create(Operation::Create, 1, std::future::pending).await;
        assert!(matches!(result, Ok(Created::Unclear(_))));
        assert!(started.elapsed() <= calls.io.retry_for + calls.io.request_timeout + calls.io.retry_cap);
        assert!(calls.meter.requests(Operation::Create) > 1);
        assert_eq!(calls.meter.requests(Operation::Create), calls.meter.errors(Operation::Create));
    }

    #[tokio::test(start_paused = true)]
    async fn passing_trouble_is_retried_until_the_patience_ends() {
        let calls = calls();
        let mut left = 3;
        let result = calls
            .retried(Operation::Head, 0, || {
                left -= 1;
                let answer = if left > 0 { Err(Error::retry("busy")) } else { Ok(7) };
                async move { answer }
            })
            .await;
        assert_eq!(result.unwrap(), 7);
        assert_eq!((calls.meter.requests(Operation::Head), calls.meter.errors(Operation::Head)), (3, 2));

        let started = Instant::now();
        let result: Result<()> =
            calls.retried(Operation::Head, 0, || async { Err(Error::retry("busy")) }).await;
        let error = result.unwrap_err();
        assert!(error.is_retriable() && error.message().contains("gave up after"), "{error}");
        assert!(started.elapsed() <= calls.io.retry_for);

        let result: Result<()> =
            calls.retried(Operation::Head, 0, || async { Err(Error::permanent("no")) }).await;
        assert_eq!(result.unwrap_err().message(), "no");
    }
}
