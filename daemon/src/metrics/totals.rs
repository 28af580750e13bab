//! What a registry holds, looked at when it is asked for, so that it is never old.

use std::collections::HashSet;

use prometheus::{IntGauge, IntGaugeVec};
use registry::api::Api;
use registry::schema::SchemaType;

use super::{Maker, names};

/// Gauges of a registry.
pub(super) struct Gauges {
    schemas: IntGaugeVec,
    subjects: IntGauge,
    versions: IntGaugeVec,
    contexts: IntGauge,
    ready: IntGauge,
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
                            used.insert(version.id);
                        }
                    }
                    subjects += i64::from(alive > before);
                }
                for row in used.into_iter().filter_map(|id| state.schema(id)) {
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
    }
}
