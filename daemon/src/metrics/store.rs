//! A store that counts what is asked of it, and how long it takes. It changes nothing else.

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use pipeline::failpoint;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};
use registry::live::Live;
use registry::names::Context;
use registry::schema::SchemaType;
use registry::standby::Marker;
use registry::store::kafka::log::Writer;
use registry::store::{Change, Commit, Head, Heads, Pool, Result, SchemaKey, Store, StoreError, Texts};
use tokio::time::Instant;

use super::{Maker, names, seconds};

/// Numbers of a store, and of what is written to it.
pub(crate) struct StoreNumbers {
    operations: IntCounterVec,
    errors: IntCounterVec,
    latencies: HistogramVec,
    durations: HistogramVec,
    up: IntGaugeVec,
    connections: IntGaugeVec,
    registered: IntCounter,
    deleted: IntCounter,
    schemas_created: IntCounterVec,
    schemas_deleted: IntCounterVec,
}

impl StoreNumbers {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        let by = &["backend", "operation"];
        let numbers = Self {
            operations: make.counters(names::STORAGE_OPERATIONS, "Calls of the store", by),
            errors: make.counters(
                names::STORAGE_ERRORS,
                "Calls of the store that failed; lost races are no failures",
                by,
            ),
            latencies: make.seconds(names::STORAGE_LATENCIES, "Seconds that calls of the store took", by),
            durations: make.seconds(
                names::STORAGE_DURATIONS,
                "The same under the name of the operations guide",
                by,
            ),
            up: make.gauges(
                names::STORAGE_UP,
                "1: the store answers, and fits what it said before",
                &["backend"],
            ),
            connections: make.gauges(
                names::STORAGE_CONNECTIONS,
                "Connections to the store: allowed, open, idle, in use",
                &["backend", "state"],
            ),
            registered: make.counter(names::REGISTERED, "Versions that this instance has written"),
            deleted: make.counter(names::DELETED, "Versions that this instance has deleted softly"),
            schemas_created: make.counters(
                names::SCHEMAS_CREATED,
                "Schemas that this instance has given an id",
                &["schema_type"],
            ),
            schemas_deleted: make.counters(
                names::SCHEMAS_DELETED,
                "Schemas that this instance has deleted for good",
                &["schema_type"],
            ),
        };
        for known in SchemaType::ALL.map(label) {
            numbers.schemas_created.with_label_values(&[known]).reset();
            numbers.schemas_deleted.with_label_values(&[known]).reset();
        }
        numbers
    }

    /// Whether the store answers, and how its connections are.
    pub(super) fn set(&self, backend: &str, is_up: bool, pool: Option<Pool>) {
        self.up.with_label_values(&[backend]).set(i64::from(is_up));
        let Some(Pool { max, open, idle }) = pool else { return };
        let in_use = open.saturating_sub(idle);
        for (state, count) in [("max", max), ("open", open), ("idle", idle), ("in_use", in_use)] {
            self.connections.with_label_values(&[backend, state]).set(i64::from(count));
        }
    }

    fn called<T>(&self, backend: &str, operation: &str, began: Instant, result: &Result<T>) {
        let by = &[backend, operation];
        let elapsed = seconds(began.elapsed());
        self.operations.with_label_values(by).inc();
        self.latencies.with_label_values(by).observe(elapsed);
        self.durations.with_label_values(by).observe(elapsed);
        if !matches!(result, Ok(_) | Err(StoreError::Conflict)) {
            self.errors.with_label_values(by).inc();
        }
    }

    fn committed(&self, commit: &Commit, live: Option<&Live>) {
        for change in &commit.changes {
            match change {
                Change::Version(row) if row.deleted => self.deleted.inc(),
                Change::Version(_) => self.registered.inc(),
                Change::Schema(row) => {
                    self.schemas_created.with_label_values(&[label(row.schema_type)]).inc();
                }
                Change::SchemaGone(id) => {
                    // Who made the commit applies it only after this.
                    let find = |live: &Live| {
                        live.read(&commit.context, |state| state.schema(*id).map(|row| row.schema_type))
                    };
                    if let Some(known) = live.and_then(find) {
                        self.schemas_deleted.with_label_values(&[label(known)]).inc();
                    }
                }
                Change::VersionGone { .. } | Change::Config(..) | Change::Mode(..) | Change::Listed(_) => {}
            }
        }
    }
}

/// Confluent's dashboards have them in small letters.
fn label(schema_type: SchemaType) -> &'static str {
    match schema_type {
        SchemaType::Avro => "avro",
        SchemaType::Json => "json",
        SchemaType::Protobuf => "protobuf",
    }
}

/// A store whose calls are counted.
pub(crate) struct Metered {
    inner: Arc<dyn Store>,
    numbers: Arc<StoreNumbers>,
    live: OnceLock<Weak<Live>>,
}

impl Metered {
    pub(crate) fn new(inner: Arc<dyn Store>, numbers: Arc<StoreNumbers>) -> Self {
        Self { inner, numbers, live: OnceLock::new() }
    }

    /// Names who knows the types of schemas that are deleted.
    pub(crate) fn know(&self, live: &Arc<Live>) {
        let _ = self.live.set(Arc::downgrade(live));
    }

    async fn counted<T>(&self, operation: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        let result = call.await;
        self.numbers.called(self.inner.backend(), operation, began, &result);
        result
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Metered {
    fn backend(&self) -> &'static str {
        self.inner.backend()
    }

    async fn heads(&self) -> Result<Heads> {
        self.counted("heads", self.inner.heads()).await
    }

    async fn changes(&self, context: &Context, since: Head) -> Result<(Head, Vec<Change>)> {
        self.counted("changes", self.inner.changes(context, since)).await
    }

    async fn texts(&self, context: &Context, ids: &[SchemaKey]) -> Result<Vec<(SchemaKey, Texts)>> {
        self.counted("texts", self.inner.texts(context, ids)).await
    }

    async fn commit(&self, commit: &Commit) -> Result<Head> {
        // What makes a standby, or ends one, is a place where a test may let the process die.
        let is_marker = Marker::is_written_by(commit);
        if is_marker {
            failpoint::hit("before_standby_marker");
        }
        let done = self.counted("commit", self.inner.commit(commit)).await;
        if done.is_ok() {
            if is_marker {
                failpoint::hit("after_standby_marker");
            }
            let live = self.live.get().and_then(Weak::upgrade);
            self.numbers.committed(commit, live.as_deref());
        }
        done
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn writer(&self) -> Writer {
        self.inner.writer()
    }

    fn read_only(&self) -> Option<&str> {
        self.inner.read_only()
    }

    fn pool(&self) -> Option<Pool> {
        self.inner.pool()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
