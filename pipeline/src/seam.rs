//! Wall clock and randomness: the only file that may ask the machine for either.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time of day. Elapsed time is tokio's business, so that tests can pause it.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> i64;
}

/// Gives random numbers.
pub trait Rand: fmt::Debug + Send + Sync {
    /// A uniformly distributed number.
    fn next_u64(&self) -> u64;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The machine's own randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRand;

impl Rand for SystemRand {
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}

/// Clock and randomness together, as components receive them.
#[derive(Debug, Clone)]
pub struct Seam {
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Random numbers.
    pub rand: Arc<dyn Rand>,
}

impl Seam {
    /// The machine's own clock and randomness.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), rand: Arc::new(SystemRand) }
    }
}

/// A pause before attempt `attempt` (0 = first retry): exponential from `base`, at most `cap`, with full jitter over its
/// upper half, so that clients that failed together do not come back together.
pub fn backoff(rand: &dyn Rand, attempt: u32, base: Duration, cap: Duration) -> Duration {
    let ceiling = base.saturating_mul(1_u32 << attempt.min(16)).min(cap);
    let half = ceiling / 2;
    let jitter = rand.next_u64() % (u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).saturating_add(1));
    half + Duration::from_nanos(jitter)
}
