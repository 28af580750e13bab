//! What a registry holds, looked at when it is asked for, so that it is never old.

use std::collections::HashSet;

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use registry::api::Api;
use registry::metrics::Outcome;
use registry::schema::SchemaType;
use registry::service::Registry;
use registry::standby::{State, Status};
use registry::store::SchemaKey;

use super::{Maker, names};

/// Gauges of a registry.
pub(super) struct Gauges {
    schemas: IntGaugeVec,
    subjects: IntGauge,
    versions: IntGaugeVec,
    contexts: IntGauge,
    ready: IntGauge,
    checks: IntCounterVec,
    check_errors: IntCounterVec,
    cache_hits: IntCounterVec,
    cache_misses: IntCounterVec,
    cache_size: IntGaugeVec,
    standby: Standby,
}

/// Gauges of a standby; those of another registry say nothing but that it is none.
struct Standby {
    state: IntGaugeVec,
    lag: Gauge,
    behind: IntGauge,
    left_out: IntGauge,
    looks: IntCounter,
    errors: IntCounter,
    changes: IntCounter,
}

impl Standby {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            state: make.gauges(
                names::STANDBY_STATE,
                "1 at what this registry is: no standby (none), a standby that is filled, that follows, that cannot, or promoted",
                &["state"],
            ),
            lag: make.fraction(
                names::STANDBY_LAG,
                "Seconds since a standby was known to be equal to its leader; before the first time, since it began to follow",
            ),
            behind: make.gauge(
                names::STANDBY_BEHIND,
                "Versions that the last look found otherwise at the leader, and that are not brought along yet",
            ),
            left_out: make.gauge(
                names::STANDBY_LEFT_OUT,
                "Versions of the leader that this registry cannot hold",
            ),
            looks: make.counter(names::STANDBY_LOOKS, "Looks at the leader"),
            errors: make.counter(names::STANDBY_ERRORS, "Looks at the leader that did not go well"),
            changes: make.counter(
                names::STANDBY_CHANGES,
                "Versions, settings and modes that were written as the leader has them",
            ),
        }
    }

    fn set(&self, status: &Status) {
        for state in State::ALL {
            self.state.with_label_values(&[state.name()]).set(i64::from(state == status.state));
        }
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.lag.set(status.lag_seconds);
        self.behind.set(count(status.behind));
        self.left_out.set(count(status.left_out));
        raise(&self.looks, status.looks);
        raise(&self.errors, status.errors);
        raise(&self.changes, status.changes);
    }
}

impl Gauges {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        // Every instance writes by itself and knows of no other one.
        make.gauge(names::ROLE, "1: this instance writes").set(1);
        make.gauge(names::NODES, "Instances that this one knows of, itself included").set(1);
        Self {
            schemas: make.gauges(
                names::SCHEMAS,
                "Schemas that a version which is not deleted uses",
                &["type"],
            ),
            subjects: make.gauge(names::SUBJECTS, "Subjects with a version that is not deleted"),
            versions: make.gauges(
                names::VERSIONS,
                "Versions of all subjects, by whether they are deleted softly",
                &["state"],
            ),
            contexts: make.gauge(names::CONTEXTS, "Contexts that were ever written to"),
            ready: make.gauge(
                names::READY,
                "1: requests are answered; 0: the store is waited for, or not to be trusted",
            ),
            checks: make.counters(
                names::CHECKS,
                "Comparisons of a new schema with older ones",
                &["type", "level", "result"],
            ),
            check_errors: make.counters(
                names::CHECK_ERRORS,
                "Comparisons that could not be made",
                &["type", "level"],
            ),
            cache_hits: make.counters(
                names::CACHE_HITS,
                "How often a cache had what was asked for",
                &["cache"],
            ),
            cache_misses: make.counters(names::CACHE_MISSES, "How often it had not", &["cache"]),
            cache_size: make.gauges(names::CACHE_SIZE, "Bytes in a cache, about", &["cache"]),
            standby: Standby::new(make),
        }
    }

    /// Looks at all contexts. Each is locked for reading while its subjects are counted.
    pub(super) fn set(&self, api: Option<&Api>, is_ready: bool) {
        self.ready.set(i64::from(is_ready));
        let Some(api) = api else { return };
        let live = api.registry().live();
        let (mut subjects, mut alive, mut deleted) = (0, 0, 0);
        let mut schemas = SchemaType::ALL.map(|_| 0);
        let contexts = live.contexts();
        for context in &contexts {
            live.read(context, |state| {
                let mut used = HashSet::new();
                for (_, versions) in state.subjects() {
                    let before = alive;
                    for version in versions {
                        if version.deleted {
                            deleted += 1;
                        } else {
                            alive += 1;
                            used.insert(version.schema.id);
                        }
                    }
                    subjects += i64::from(alive > before);
                }
                for row in used.into_iter().filter_map(|id| state.schema(SchemaKey::of(id))) {
                    let place = SchemaType::ALL.iter().position(|known| *known == row.schema_type);
                    if let Some(count) = place.and_then(|place| schemas.get_mut(place)) {
                        *count += 1;
                    }
                }
            });
        }
        for (known, count) in SchemaType::ALL.into_iter().zip(schemas) {
            self.schemas.with_label_values(&[known.name()]).set(count);
        }
        self.subjects.set(subjects);
        self.versions.with_label_values(&["live"]).set(alive);
        self.versions.with_label_values(&["deleted"]).set(deleted);
        self.contexts.set(i64::try_from(contexts.len()).unwrap_or(i64::MAX));
        self.standby.set(&api.standby());
        self.follow(api.registry());
    }

    /// Takes over what the registry counts itself.
    fn follow(&self, registry: &Registry) {
        for checked in registry.checked() {
            let (kind, level) = (checked.schema_type.name(), checked.level.name());
            let counter = match checked.outcome {
                Outcome::Compatible => self.checks.with_label_values(&[kind, level, "compatible"]),
                Outcome::Incompatible => self.checks.with_label_values(&[kind, level, "incompatible"]),
                Outcome::Failed => self.check_errors.with_label_values(&[kind, level]),
            };
            raise(&counter, checked.count);
        }
        for cache in registry.caches() {
            raise(&self.cache_hits.with_label_values(&[cache.name]), cache.hits);
            raise(&self.cache_misses.with_label_values(&[cache.name]), cache.misses);
            let bytes = i64::try_from(cache.bytes).unwrap_or(i64::MAX);
            self.cache_size.with_label_values(&[cache.name]).set(bytes);
        }
    }
}

/// Brings a counter to where another one stands.
fn raise(counter: &IntCounter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}
