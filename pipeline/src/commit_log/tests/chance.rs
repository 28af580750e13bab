//! Random numbers and time that a seed decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::seam::{Clock, Rand, Seam};

/// SplitMix64. Shared: every draw moves the one sequence on.
#[derive(Debug)]
pub(super) struct Chance(AtomicU64);

impl Chance {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))))
    }

    /// A number below `bound`.
    pub(super) fn below(&self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }

    /// True so many times in a thousand.
    pub(super) fn permille(&self, part: u64) -> bool {
        self.below(1000) < part
    }

    /// A seam with this randomness and a clock that moves a millisecond a look.
    pub(super) fn seam(self: &Arc<Self>) -> Seam {
        Seam { clock: Arc::new(Ticks::default()), rand: Arc::clone(self) as Arc<dyn Rand> }
    }
}

impl Rand for Chance {
    fn next_u64(&self) -> u64 {
        let mut z =
            self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A clock that moves a millisecond a look.
#[derive(Debug, Default)]
pub(super) struct Ticks(AtomicI64);

impl Clock for Ticks {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000 + self.0.fetch_add(1, Ordering::Relaxed)
    }
}
