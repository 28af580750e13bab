//! The one byte budget for payload in flight.
//!
//! Payload is admitted before it is read from a socket and leaves the budget when the last slice of its buffer is
//! dropped, so the number is honest whatever the stages keep. A single admission larger than the whole budget is let
//! through when nothing else is in flight, so an over-size record makes progress instead of a deadlock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

/// A shared, bounded number of payload bytes.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
    pressure: Notify,
}

/// Bytes held in a [`Budget`]; given back on drop.
#[derive(Debug)]
pub struct Charge {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner {
            limit,
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            pressure: Notify::new(),
        }))
    }

    /// Waits until so many bytes fit, and takes them.
    pub async fn admit(&self, bytes: usize) -> Charge {
        if let Some(charge) = self.try_admit(bytes) {
            return charge;
        }
        let _waiting = Waiting::new(&self.0);
        loop {
            let freed = self.0.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(charge) = self.try_admit(bytes) {
                return charge;
            }
            self.0.pressure.notify_one();
            freed.await;
        }
    }

    /// Takes so many bytes if they fit now.
    pub fn try_admit(&self, bytes: usize) -> Option<Charge> {
        let take =
            |used: usize| (used == 0 || used.saturating_add(bytes) <= self.0.limit).then(|| used + bytes);
        let before = self.0.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        self.0.peak.fetch_max(before + bytes, Ordering::Relaxed);
        Some(Charge { budget: self.clone(), bytes })
    }

    /// Takes so many bytes even beyond the limit. For copies out of buffers that are already charged: refusing those
    /// would keep the larger buffer alive.
    pub fn charge(&self, bytes: usize) -> Charge {
        let before = self.0.used.fetch_add(bytes, Ordering::AcqRel);
        self.0.peak.fetch_max(before + bytes, Ordering::Relaxed);
        Charge { budget: self.clone(), bytes }
    }

    /// Resolves when somebody waits for bytes: time to let go of the largest holding.
    pub async fn pressed(&self) {
        loop {
            let pressed = self.0.pressure.notified();
            if self.0.waiting.load(Ordering::Acquire) > 0 {
                return;
            }
            pressed.await;
        }
    }

    /// Whether somebody waits for bytes now.
    pub fn is_pressed(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire) > 0
    }

    /// The configured number of bytes.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Bytes in flight now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Acquire)
    }

    /// The most that was ever in flight.
    pub fn peak(&self) -> usize {
        self.0.peak.load(Ordering::Relaxed)
    }
}

impl Charge {
    /// Ties the charge to a buffer: the bytes are given back when its last slice is dropped.
    pub fn attach(self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Charged { buffer, _charge: self })
    }

    /// How many bytes are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.budget.0.freed.notify_waiters();
    }
}

struct Charged {
    buffer: Vec<u8>,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

/// Counts a waiter for as long as it lives, cancelled waits included.
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.waiting.fetch_add(1, Ordering::AcqRel);
        Self(inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn bytes_come_back_when_the_last_slice_is_dropped() {
        let budget = Budget::new(100);
        let buffer = budget.admit(80).await.attach(vec![7; 80]);
        let slice = buffer.slice(10..20);
        drop(buffer);
        assert_eq!(budget.used(), 80);
        assert!(budget.try_admit(30).is_none());
        drop(slice);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_waiter_raises_pressure_and_is_woken() {
        let budget = Budget::new(100);
        let held = budget.admit(90).await;
        let waiter = tokio::spawn({
            let budget = budget.clone();
            async move { budget.admit(50).await.bytes() }
        });
        tokio::time::timeout(Duration::from_secs(5), budget.pressed()).await.expect("pressure is raised");
        drop(held);
        assert_eq!(waiter.await.expect("admitted"), 50);
        assert!(!budget.is_pressed());
    }

    #[tokio::test]
    async fn an_oversize_admission_passes_alone() {
        let budget = Budget::new(10);
        let big = budget.admit(1_000).await;
        assert!(budget.try_admit(1).is_none());
        drop(big);
        assert!(budget.try_admit(1).is_some());
    }
}
