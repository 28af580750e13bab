//! Numbers for Prometheus: of requests, of the store, of what a registry holds, of a daemon's jobs, of the process.
//!
//! Families of names say the same to several kinds of dashboards: `schema_registry_*` as the AxonOps registry has them (and its
//! operations guide, where the two differ), `kafka_schema_registry_*` as Confluent's, `karapace_http_*` as Karapace, and `process_*`
//! as every exporter has them.
//! Counters count as things happen; gauges are looked at when they are asked for. No label takes a value from a request: paths are
//! those of the endpoints, with names for what varies, and methods, types and codes are from lists.

mod jobs;
mod lags;
mod names;
mod oneshot;
mod process;
mod stages;
mod store;
#[cfg(test)]
mod tests;
mod totals;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use registry::api::{Api, Endpoint};

use crate::http::Served;

pub(crate) use jobs::JobNumbers;
pub(crate) use lags::{Most, Sum};
pub(crate) use oneshot::{OneShotNumbers, Watched};
pub(crate) use store::Metered;

/// `Content-Type` of the text form.
pub(crate) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Seconds, from a look into memory to a client's patience.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// How long the store may take to answer before it counts as away: who collects numbers gives up after a few seconds, and then
/// knows nothing at all.
const PATIENCE: Duration = Duration::from_secs(1);
/// The label of what is none of the known.
const OTHER: &str = "other";
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];

/// All numbers of a process.
pub(crate) struct Numbers {
    all: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    /// Those of each endpoint's own method and status 200, so that what nearly every request is needs no search.
    usual: Vec<OnceLock<Usual>>,
    in_flight: IntGauge,
    connections: IntGauge,
    registrations: IntCounterVec,
    confluent: Confluent,
    store: Arc<store::StoreNumbers>,
    gauges: totals::Gauges,
    process: process::Process,
    /// One answer at a time: gauges are set and then read.
    answering: Mutex<()>,
}

/// What a request with its endpoint's own method and status 200 is counted in.
struct Usual {
    requests: IntCounter,
    durations: Histogram,
    confluent_requests: IntCounter,
    confluent_latencies: Histogram,
}

/// Numbers under Confluent's names.
struct Confluent {
    successes: IntCounter,
    failures: IntCounter,
    requests: IntCounterVec,
    latencies: HistogramVec,
    errors: IntCounterVec,
}

/// Makes numbers and sees to it that they are told.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn told<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        // Names and labels are constants, each used once; a test makes them all.
        let collector = made.expect("a name and labels that Prometheus takes");
        self.0.register(Box::new(collector.clone())).expect("a name that is new");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.told(IntCounter::with_opts(Opts::new(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.told(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn times(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        self.told(CounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.told(IntGauge::with_opts(Opts::new(name, help)))
    }

    fn fraction(&self, name: &str, help: &str) -> Gauge {
        self.told(Gauge::with_opts(Opts::new(name, help)))
    }

    fn fractions(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.told(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.told(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn seconds(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        self.told(HistogramVec::new(options, labels))
    }
}

impl Numbers {
    /// Numbers that have counted nothing yet.
    pub(crate) fn new() -> Self {
        let all = Registry::new();
        let make = Maker(&all);
        let numbers = Self {
            requests: make.counters(
                names::REQUESTS,
                "Requests that were answered",
                &["method", "path", "endpoint", "status"],
            ),
            durations: make.seconds(
                names::DURATIONS,
                "Seconds until an answer was made",
                &["method", "path"],
            ),
            usual: Endpoint::ALL.iter().map(|_| OnceLock::new()).collect(),
            in_flight: make.gauge(names::IN_FLIGHT, "Requests that are being answered"),
            connections: make.gauge(names::HTTP_CONNECTIONS, "Connections of clients"),
            registrations: make.counters(
                names::REGISTRATIONS,
                "Requests to register a schema",
                &["type", "status"],
            ),
            confluent: Confluent {
                successes: make.counter(names::API_SUCCESSES, "Requests that were answered with 1xx to 3xx"),
                failures: make.counter(names::API_FAILURES, "Requests that were answered with 4xx or 5xx"),
                requests: make.counters(names::JERSEY_REQUESTS, "Requests by endpoint", &["endpoint"]),
                latencies: make.seconds(
                    names::JERSEY_LATENCIES,
                    "Seconds until an answer was made, by endpoint",
                    &["endpoint"],
                ),
                errors: make.counters(
                    names::JERSEY_ERRORS,
                    "Requests that were answered with 4xx or 5xx, by endpoint",
                    &["endpoint"],
                ),
            },
            store: Arc::new(store::StoreNumbers::new(&make)),
            gauges: totals::Gauges::new(&make),
            process: process::Process::new(&make),
            answering: Mutex::default(),
            all: all.clone(),
        };
        let about = make.gauges(names::BUILD, "The program", &["version"]);
        about.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        numbers
    }

    /// The numbers of a store, for [`Metered`].
    pub(crate) fn store(&self) -> &Arc<store::StoreNumbers> {
        &self.store
    }

    /// A request begins (1) or ends (-1).
    pub(crate) fn in_flight(&self, change: i64) {
        self.in_flight.add(change);
    }

    /// A connection was opened (1) or closed (-1).
    pub(crate) fn connections(&self, change: i64) {
        self.connections.add(change);
    }

    /// A request was answered.
    pub(crate) fn served(&self, served: &Served<'_>) {
        let seconds = served.elapsed.as_secs_f64();
        if let Some(usual) = self.usual(served) {
            usual.requests.inc();
            usual.durations.observe(seconds);
            usual.confluent_requests.inc();
            usual.confluent_latencies.observe(seconds);
            self.confluent.successes.inc();
            return;
        }
        let method = METHODS.into_iter().find(|known| *known == served.method.as_str()).unwrap_or(OTHER);
        let (path, endpoint) = served.endpoint.map_or((OTHER, OTHER), |known| (known.path(), known.label()));
        let status = served.status.to_string();
        self.requests.with_label_values(&[method, path, endpoint, &status]).inc();
        self.durations.with_label_values(&[method, path]).observe(seconds);
        self.confluent.requests.with_label_values(&[endpoint]).inc();
        self.confluent.latencies.with_label_values(&[endpoint]).observe(seconds);
        if served.status < 400 {
            self.confluent.successes.inc();
        } else {
            self.confluent.failures.inc();
            self.confluent.errors.with_label_values(&[endpoint]).inc();
        }
    }

    fn usual(&self, served: &Served<'_>) -> Option<&Usual> {
        let endpoint = served.endpoint?;
        if served.status != 200 || served.method.as_str() != endpoint.method() {
            return None;
        }
        let place = self.usual.get(endpoint as usize)?;
        Some(place.get_or_init(|| {
            let (method, path, label) = (endpoint.method(), endpoint.path(), endpoint.label());
            Usual {
                requests: self.requests.with_label_values(&[method, path, label, "200"]),
                durations: self.durations.with_label_values(&[method, path]),
                confluent_requests: self.confluent.requests.with_label_values(&[label]),
                confluent_latencies: self.confluent.latencies.with_label_values(&[label]),
            }
        }))
    }

    /// A registration was answered. The type is the request's own word for it.
    pub(crate) fn registered(&self, schema_type: &str, is_success: bool) {
        let known = registry::schema::SchemaType::ALL.into_iter().find(|known| known.name() == schema_type);
        let schema_type = known.map_or(OTHER, registry::schema::SchemaType::name);
        let status = if is_success { "success" } else { "failure" };
        self.registrations.with_label_values(&[schema_type, status]).inc();
    }

    /// The text form, with what the registry holds at this moment, if there is one already.
    pub(crate) async fn text(self: &Arc<Self>, api: Option<Arc<Api>>) -> String {
        let is_up = match &api {
            // This also follows what other instances have written.
            Some(api) => {
                tokio::time::timeout(PATIENCE, api.registry().live().ready()).await.is_ok_and(|up| up.is_ok())
            }
            None => false,
        };
        let numbers = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || numbers.made(api.as_deref(), is_up)).await;
        made.unwrap_or_default()
    }

    fn made(&self, api: Option<&Api>, is_up: bool) -> String {
        let _one = self.answering.lock().unwrap_or_else(PoisonError::into_inner);
        self.gauges.set(api, is_up);
        if let Some(api) = api {
            let store = api.registry().live().store();
            self.store.set(store.backend(), is_up, store.pool());
        }
        self.process.set();
        let mut families = self.all.gather();
        for (name, known) in
            [(names::KARAPACE_REQUESTS, names::REQUESTS), (names::KARAPACE_IN_PROGRESS, names::IN_FLIGHT)]
        {
            let same = families.iter().find(|family| family.name() == known).cloned();
            families.extend(same.map(|mut family| {
                family.set_name(name.to_owned());
                family
            }));
        }
        let mut text = String::new();
        // Only a writer that fails could make this fail.
        let _ = TextEncoder::new().encode_utf8(&families, &mut text);
        text
    }
}

/// Registrations are counted by what the endpoint is.
pub(crate) fn is_registration(endpoint: Option<Endpoint>) -> bool {
    endpoint == Some(Endpoint::Register)
}

/// Seconds of a duration, for histograms.
fn seconds(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64()
}
