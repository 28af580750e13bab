//! A Kafka cluster that is strict and lies on command: it refuses what real brokers refuse, and faults happen at the exact
//! instants that a test names.
//!
//! It serves what a consumer asks. It keeps nothing on disk, takes no records over the wire and speaks no TLS; requests that
//! it does not know close the connection, as a broker closes it, and are held against the client at the end.

pub mod batch;
pub mod cluster;
pub mod faults;
pub mod fetch_session;
pub mod log;
pub mod transactions;

mod api_versions;
mod connection;
mod describe_configs;
mod epochs;
mod fetch;
mod list_offsets;
mod metadata;
mod offset_for_leader_epoch;

use cluster::Cluster;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const INVALID_TOPIC_EXCEPTION: i16 = 17;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;
const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const UNKNOWN_TOPIC_ID: i16 = 100;
const INCONSISTENT_TOPIC_ID: i16 = 103;
const FETCH_SESSION_TOPIC_ID_ERROR: i16 = 106;

/// What the threads of a cluster share.
#[derive(Debug)]
struct Shared {
    cluster: Mutex<Cluster>,
    changed: Condvar,
    is_stopped: AtomicBool,
}

impl Shared {
    /// A test that failed while it held the model must not hide its own message behind a poisoned lock.
    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, cluster: &mut Cluster) {
        cluster.changes += 1;
        self.changed.notify_all();
    }
}

/// A running cluster; stopped when dropped.
#[derive(Debug)]
pub struct FakeKafka {
    shared: Arc<Shared>,
    ports: Vec<u16>,
    threads: Vec<JoinHandle<()>>,
}

impl FakeKafka {
    /// Starts a cluster of so many brokers, numbered from 1, without topics.
    ///
    /// # Panics
    /// When no port is free.
    pub fn start(id: &str, brokers: usize) -> Self {
        let bind = |_| TcpListener::bind(("127.0.0.1", 0)).unwrap_or_else(|error| panic!("listen: {error}"));
        let listeners: Vec<TcpListener> = (0..brokers).map(bind).collect();
        let port = |listener: &TcpListener| listener.local_addr().map_or(0, |address| address.port());
        let ports: Vec<u16> = listeners.iter().map(port).collect();
        let shared = Arc::new(Shared {
            cluster: Mutex::new(Cluster::new(id, &ports)),
            changed: Condvar::new(),
            is_stopped: AtomicBool::new(false),
        });
        let serve = |(broker, listener): (i32, TcpListener)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || listen(&shared, broker, &listener))
        };
        let threads = (1..).zip(listeners).map(serve).collect();
        Self { shared, ports, threads }
    }

    /// All brokers' addresses.
    pub fn bootstrap(&self) -> String {
        let address = |port: &u16| format!("127.0.0.1:{port}");
        self.ports.iter().map(address).collect::<Vec<_>>().join(",")
    }

    /// Looks at the model or changes it, between two answers.
    pub fn with<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        let mut cluster = self.shared.lock();
        let result = change(&mut cluster);
        self.shared.notify(&mut cluster);
        result
    }

    /// Nothing was asked that no client may ask, and every fault that was scripted has come to pass.
    ///
    /// # Panics
    /// When that is not so.
    pub fn assert_kept_to_the_rules(&self) {
        self.with(|cluster| {
            assert!(cluster.violations.is_empty(), "{:#?}", cluster.violations);
            assert_eq!(cluster.faults.pending(), Vec::<String>::new(), "faults that never came to pass");
        });
    }
}

impl Drop for FakeKafka {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        for port in &self.ports {
            // Wakes the listener.
            let _ = TcpStream::connect(("127.0.0.1", *port));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn listen(shared: &Arc<Shared>, broker: i32, listener: &TcpListener) {
    for stream in listener.incoming() {
        if shared.is_stopped.load(Ordering::SeqCst) {
            return;
        }
        let is_up = shared.lock().brokers.get(&broker).is_some_and(|broker| broker.is_up);
        if let (Ok(stream), true) = (stream, is_up) {
            let shared = Arc::clone(shared);
            thread::spawn(move || connection::serve(&shared, broker, stream));
        }
    }
}
