//! Rate limits: bytes and records a second, shared by all who pay.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What may move from now on waits until what moved before is paid for.
#[derive(Debug)]
pub(crate) struct Limits {
    bytes: Option<u64>,
    records: Option<u64>,
    paid: Mutex<Option<Instant>>,
}

impl Limits {
    pub(crate) fn new(bytes: Option<u64>, records: Option<u64>) -> Self {
        Self { bytes, records, paid: Mutex::new(None) }
    }

    /// Waits for its turn and pays for so much.
    pub(crate) async fn pay(&self, bytes: u64, records: u64) {
        if let Some((turn, _)) = self.book(bytes, records) {
            sleep_until(turn).await;
        }
    }

    /// Pays for what has come already; answers when more may be asked for, where that is not at once.
    pub(crate) fn owe(&self, bytes: u64, records: u64) -> Option<Instant> {
        self.book(bytes, records).map(|(_, paid)| paid)
    }

    /// Whether who pays now has to wait.
    pub(crate) fn is_holding(&self) -> bool {
        self.paid_lock().is_some_and(|paid| paid > Instant::now())
    }

    /// Pays for so much: when that begins to be paid, and when it is. Nothing where it costs nothing.
    fn book(&self, bytes: u64, records: u64) -> Option<(Instant, Instant)> {
        let cost = cost(bytes, self.bytes).max(cost(records, self.records));
        if cost.is_zero() {
            return None;
        }
        let mut paid = self.paid_lock();
        let now = Instant::now();
        let turn = paid.map_or(now, |paid| paid.max(now));
        *paid = Some(turn + cost);
        Some((turn, turn + cost))
    }

    fn paid_lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.paid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(amount: u64, per_second: Option<u64>) -> Duration {
    match per_second {
        Some(rate) if rate > 0 => Duration::from_secs_f64(amount as f64 / rate as f64),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_scarcer_of_the_two_decides() {
        let limits = Limits::new(Some(1000), Some(10));
        let start = Instant::now();
        for _ in 0..5 {
            limits.pay(100, 10).await;
        }
        assert_eq!(start.elapsed().as_secs(), 4);
        let free = Limits::new(None, None);
        let start = Instant::now();
        free.pay(u64::MAX, u64::MAX).await;
        assert!(start.elapsed().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_come_already_is_paid_before_more_is_asked_for() {
        let limits = Limits::new(Some(1000), None);
        assert!(!limits.is_holding());
        let start = Instant::now();
        assert_eq!(limits.owe(0, 5), None);
        assert_eq!(limits.owe(3000, 0), Some(start + Duration::from_secs(3)));
        assert_eq!(limits.owe(1000, 0), Some(start + Duration::from_secs(4)));
        assert!(limits.is_holding());
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!limits.is_holding());
        assert_eq!(
            limits.owe(1000, 0),
            Some(start + Duration::from_secs(6)),
            "an idle time saves nothing up"
        );
    }
}
