//! Counters of what was asked of a store: plain atomics, read by metrics and benchmarks.
//!
//! A request is one attempt: retries count again. On a file system it is one call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the classes of [`Latencies`], in seconds; the last class has none.
pub const LATENCY_BOUNDS: [f64; 13] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A create-only put in one piece.
    Create,
    /// One part of a large put, or the start, end or abort of one.
    Part,
    /// A put that replaces.
    Replace,
    /// A read of a whole object or a range.
    Get,
    /// What is known of an object.
    Head,
    /// A page of a listing.
    List,
    /// A delete.
    Delete,
    /// The search for unfinished uploads and their removal.
    Sweep,
}

impl Operation {
    /// Every operation, in the order of the counters.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Part,
        Self::Replace,
        Self::Get,
        Self::Head,
        Self::List,
        Self::Delete,
        Self::Sweep,
    ];

    /// The word for messages and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Part => "part",
            Self::Replace => "replace",
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Sweep => "sweep",
        }
    }
}

/// Counters of one store. They only grow.
#[derive(Debug, Default)]
pub struct Meter {
    requests: [AtomicU64; Operation::ALL.len()],
    errors: [AtomicU64; Operation::ALL.len()],
    latencies: [Counted; Operation::ALL.len()],
    retries: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// How long requests of one kind took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latencies {
    /// Requests by class: not above the bound of [`LATENCY_BOUNDS`] and above the one before; the last, above all of them.
    pub classes: [u64; LATENCY_BOUNDS.len() + 1],
    /// All of them together.
    pub sum: Duration,
}

#[derive(Debug, Default)]
struct Counted {
    classes: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Meter {
    /// How long requests took, failed ones included.
    pub fn latencies(&self, operation: Operation) -> Latencies {
        let Counted { classes, micros } = &self.latencies[operation as usize];
        let classes = std::array::from_fn(|class| classes[class].load(Ordering::Relaxed));
        Latencies { classes, sum: Duration::from_micros(micros.load(Ordering::Relaxed)) }
    }

    /// Requests made, failed ones included.
    pub fn requests(&self, operation: Operation) -> u64 {
        self.requests[operation as usize].load(Ordering::Relaxed)
    }

    /// Requests that failed, those that a retry made good included.
    pub fn errors(&self, operation: Operation) -> u64 {
        self.errors[operation as usize].load(Ordering::Relaxed)
    }

    /// Requests that were repeated.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Bytes of object bodies sent, those of failed requests included.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes of object bodies received.
    pub fn received_bytes(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, operation: Operation, failed: bool, took: Duration) {
        let Counted { classes, micros } = &self.latencies[operation as usize];
        let class = LATENCY_BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        classes[class].fetch_add(1, Ordering::Relaxed);
        micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.requests[operation as usize].fetch_add(1, Ordering::Relaxed);
        if failed {
            self.errors[operation as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_in_the_class_that_its_time_belongs_to() {
        let meter = Meter::default();
        for millis in [1, 2, 5, 30_000, 30_001] {
            meter.count(Operation::Get, false, Duration::from_millis(millis));
        }
        let Latencies { classes, sum } = meter.latencies(Operation::Get);
        assert_eq!((classes[0], classes[1], classes[12], classes[13]), (1, 2, 1, 1));
        assert_eq!(
            (classes.iter().sum::<u64>(), sum),
            (meter.requests(Operation::Get), Duration::from_millis(60_009))
        );
        assert_eq!(meter.latencies(Operation::Head).sum, Duration::ZERO);
    }
}
