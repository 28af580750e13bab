//! How fast requests may follow each other, and how long to wait before one is repeated.

use super::settings::{Limits, Random};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Spaces requests evenly.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    /// So many a second; 0 is no limit.
    pub(super) fn new(per_second: u32) -> Self {
        let gap = if per_second == 0 { Duration::ZERO } else { Duration::from_secs(1) / per_second };
        Self { gap, next: Mutex::new(Instant::now()) }
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) {
        if self.gap.is_zero() {
            return;
        }
        let at = {
            let mut next = self.next.lock().await;
            let at = (*next).max(Instant::now());
            *next = at + self.gap;
            at
        };
        sleep_until(at).await;
    }
}

/// The pause before attempt `attempt` (0 is the first repetition): what the registry asked for, else anything up to a bound that
/// doubles each time, so that clients that failed together do not come back together. Never longer than the limits say.
pub(super) fn pause(limits: &Limits, attempt: u32, asked: Option<Duration>, random: &Random) -> Duration {
    if let Some(asked) = asked {
        return asked.min(limits.longest_pause);
    }
    let bound = limits.pause.saturating_mul(1_u32 << attempt.min(16)).min(limits.longest_pause);
    let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(random() % nanos.saturating_add(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn requests_are_spaced() {
        let (pace, begun) = (Pace::new(50), Instant::now());
        for _ in 0..6 {
            pace.turn().await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(100));
    }

    #[test]
    fn pauses_grow_to_a_bound_and_what_is_asked_for_is_bounded_too() {
        let limits = Limits::default();
        let longest: Random = Arc::new(|| u64::MAX - 1);
        let shortest: Random = Arc::new(|| 0);
        for attempt in [0, 3, 40, u32::MAX] {
            assert!(pause(&limits, attempt, None, &longest) <= limits.longest_pause);
            assert_eq!(pause(&limits, attempt, None, &shortest), Duration::ZERO);
        }
        assert_eq!(pause(&limits, 0, Some(Duration::from_secs(3)), &shortest), Duration::from_secs(3));
        assert_eq!(pause(&limits, 0, Some(Duration::from_secs(900)), &shortest), limits.longest_pause);
    }
}
