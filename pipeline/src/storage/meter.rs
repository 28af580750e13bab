//! Counters of what was asked of a store: plain atomics, read by metrics and benchmarks.
//!
//! A request is one attempt: retries count again. On a file system it is one call.

use std::sync::atomic::{AtomicU64, Ordering};

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
    retries: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Meter {
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

    pub(super) fn count(&self, operation: Operation, failed: bool) {
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
