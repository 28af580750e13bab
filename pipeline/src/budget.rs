//! The one byte budget for payload in flight.
//!
//! Payload is admitted before it is read from a socket and leaves the budget when the last slice of its buffer is
//! dropped, so the number is honest whatever the stages keep. A single admission larger than the whole budget is let
//! through when nothing else is in flight, so an over-size record makes progress instead of a deadlock.
//!
//! Large buffers are used again: fresh memory costs a page fault every 4 KiB, which for answers of megabytes was seen to
//! cost more than everything else that is done with them. Those that wait for their next use and the bytes in flight
//! together stay within the limit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::stage::{Stage, Watch};

/// Buffers of this capacity and more are used again; the allocator keeps smaller ones by itself.
const REUSED: usize = 256 << 10;

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
    /// How long it was waited for, by all who did.
    waits: Arc<Stage>,
    /// Buffers to be used again, and their bytes.
    kept: Mutex<Vec<Vec<u8>>>,
    kept_bytes: AtomicUsize,
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
            waits: Arc::default(),
            kept: Mutex::default(),
            kept_bytes: AtomicUsize::new(0),
        }))
    }

    /// The payload's share of a process's memory limit; the rest is for the program itself: what is compressed into and
    /// decompressed into, codec contexts, buffers of connections. With records of 10 MB these were seen to take 70 MiB.
    pub fn within(memory_limit: usize) -> Self {
        const PROGRAM: usize = 64 << 20;
        Self::new(memory_limit.saturating_sub(PROGRAM).max(memory_limit / 2))
    }

    /// Waits until a buffer of so many bytes fits, and makes one: empty, with at least that capacity. What is charged is
    /// its capacity, at most an eighth more. To be tied together again by [`Charge::attach`].
    pub async fn admit_buffer(&self, bytes: usize) -> (Charge, Vec<u8>) {
        let room = room(bytes);
        let charge = self.admit(room).await;
        let mut kept = self.0.kept();
        let found = kept.iter().position(|buffer| buffer.capacity() == room).map(|at| kept.swap_remove(at));
        if let Some(buffer) = &found {
            self.0.kept_bytes.fetch_sub(buffer.capacity(), Ordering::AcqRel);
        }
        drop(kept);
        self.0.trim(self.used());
        (charge, found.unwrap_or_else(|| Vec::with_capacity(room)))
    }

    /// Waits until so many bytes fit, and takes them.
    pub async fn admit(&self, bytes: usize) -> Charge {
        if let Some(charge) = self.try_admit(bytes) {
            return charge;
        }
        let _waiting = Waiting::new(&self.0);
        Watch::new(&self.0.waits).blocked(self.wait(bytes)).await
    }

    async fn wait(&self, bytes: usize) -> Charge {
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
        // Not by what is admitted now: that may be the room for one of the kept buffers.
        self.0.trim(before);
        Some(Charge { budget: self.clone(), bytes })
    }

    /// Takes so many bytes even beyond the limit. For copies out of buffers that are already charged: refusing those
    /// would keep the larger buffer alive.
    pub fn charge(&self, bytes: usize) -> Charge {
        let before = self.0.used.fetch_add(bytes, Ordering::AcqRel);
        self.0.peak.fetch_max(before + bytes, Ordering::Relaxed);
        self.0.trim(before + bytes);
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

    /// How long bytes were waited for, by all who did together.
    pub fn waited(&self) -> Duration {
        self.0.waits.blocked()
    }

    /// The most that was ever in flight.
    pub fn peak(&self) -> usize {
        self.0.peak.load(Ordering::Relaxed)
    }
}

/// The capacity of a buffer for so many bytes: one of eight between two powers of two, so that answers of about the same
/// size can use each other's.
fn room(bytes: usize) -> usize {
    match bytes.checked_next_power_of_two() {
        Some(power) if bytes >= REUSED => bytes.next_multiple_of(power / 16),
        _ => bytes,
    }
}

impl Inner {
    /// A poisoned lock leaves a list that is whole: nothing that holds it panics half-way.
    fn kept(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a buffer for its next use, where `used` bytes in flight leave room for it.
    fn keep(&self, mut buffer: Vec<u8>, used: usize) {
        let capacity = buffer.capacity();
        if capacity < REUSED || room(capacity) != capacity {
            return;
        }
        let mut kept = self.kept();
        if used.saturating_add(self.kept_bytes.load(Ordering::Acquire)).saturating_add(capacity) <= self.limit
        {
            buffer.clear();
            kept.push(buffer);
            self.kept_bytes.fetch_add(capacity, Ordering::AcqRel);
        }
    }

    /// Lets go of kept buffers until they and `used` bytes in flight stay within the limit.
    fn trim(&self, used: usize) {
        let excess = |kept: usize| kept > 0 && used.saturating_add(kept) > self.limit;
        if !excess(self.kept_bytes.load(Ordering::Acquire)) {
            return;
        }
        let mut kept = self.kept();
        while excess(self.kept_bytes.load(Ordering::Acquire)) {
            let Some(buffer) = kept.pop() else { return };
            self.kept_bytes.fetch_sub(buffer.capacity(), Ordering::AcqRel);
        }
    }
}

impl Charge {
    /// Ties the charge to a buffer: the bytes are given back when its last slice is dropped.
    pub fn attach(self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Charged { buffer, charge: self })
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
    charge: Charge,
}

impl Drop for Charged {
    fn drop(&mut self) {
        // Kept before the charge is given back, so that whoever waits for that finds it.
        let budget = &self.charge.budget;
        let used = budget.used().saturating_sub(self.charge.bytes);
        budget.0.keep(std::mem::take(&mut self.buffer), used);
    }
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
    async fn large_buffers_are_used_again_within_the_limit() {
        let budget = Budget::new(4 << 20);
        let (charge, mut buffer) = budget.admit_buffer((1 << 20) + 1).await;
        assert!(buffer.capacity() <= (9 << 17) && charge.bytes() == buffer.capacity());
        let address = buffer.as_ptr();
        buffer.push(1);
        drop(charge.attach(buffer));
        let (charge, buffer) = budget.admit_buffer((1 << 20) + 99).await;
        assert!(buffer.as_ptr() == address && buffer.is_empty());
        drop(charge.attach(buffer));
        assert_eq!((budget.used(), budget.0.kept_bytes.load(Ordering::Acquire)), (0, 9 << 17));
        // What is in flight goes before what is kept.
        let held = budget.charge(4 << 20);
        assert_eq!((budget.0.kept().len(), budget.0.kept_bytes.load(Ordering::Acquire)), (0, 0));
        let other = budget.charge(2 << 20).attach(Vec::with_capacity(2 << 20));
        drop(other);
        assert_eq!(budget.0.kept().len(), 0);
        drop(held);
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
