//! Rate limits: bytes and records a second, shared by all connections.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What may be sent from now on waits until what was sent before is paid for.
#[derive(Debug)]
pub(super) struct Limits {
    bytes: Option<u64>,
    records: Option<u64>,
    paid: Mutex<Option<Instant>>,
}

impl Limits {
    pub(super) fn new(bytes: Option<u64>, records: Option<u64>) -> Self {
        Self { bytes, records, paid: Mutex::new(None) }
    }

    /// Waits for its turn and pays for so much.
    pub(super) async fn pay(&self, bytes: u64, records: u64) {
        let cost = cost(bytes, self.bytes).max(cost(records, self.records));
        if cost.is_zero() {
            return;
        }
        let turn = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = paid.map_or(now, |paid| paid.max(now));
            *paid = Some(turn + cost);
            turn
        };
        sleep_until(turn).await;
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
}
