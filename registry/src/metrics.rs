//! What a registry counts by itself, for whoever tells it on: comparisons, and how often its caches had what was asked of them.
//!
//! Counters that only rise, from the start of the process. Who reads them while they are written to may see one a moment later than
//! another.

use crate::schema::SchemaType;
use crate::service::Registry;
use crate::settings::Level;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It fits.
    Compatible,
    /// It does not.
    Incompatible,
    /// It was not made: the store was away, or there was no time.
    Failed,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Compatible, Self::Incompatible, Self::Failed];
}

/// Comparisons of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// The type of the new schema.
    pub schema_type: SchemaType,
    /// The level that it was compared at.
    pub level: Level,
    /// How they ended.
    pub outcome: Outcome,
    /// How many there were.
    pub count: u64,
}

/// How a cache is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheNumbers {
    /// What is in it: `texts`, `parsed`, `answers`.
    pub name: &'static str,
    /// How often it had what was asked for.
    pub hits: u64,
    /// How often it had not.
    pub misses: u64,
    /// Bytes in it, about.
    pub bytes: u64,
}

/// Counts comparisons.
#[derive(Debug, Default)]
pub(crate) struct Checks([[[AtomicU64; Outcome::ALL.len()]; Level::ALL.len()]; SchemaType::ALL.len()]);

impl Checks {
    pub(crate) fn count(&self, schema_type: SchemaType, level: Level, outcome: Outcome) {
        let kind = SchemaType::ALL.iter().position(|known| *known == schema_type);
        let level = Level::ALL.iter().position(|known| *known == level);
        let end = Outcome::ALL.iter().position(|known| *known == outcome);
        if let (Some(kind), Some(level), Some(end)) = (kind, level, end) {
            self.0[kind][level][end].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts what a cache is asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Asked {
    /// Counts an answer and gives it back.
    pub(crate) fn counted<T>(&self, found: Option<T>) -> Option<T> {
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    pub(crate) fn numbers(&self, name: &'static str, bytes: u64) -> CacheNumbers {
        let (hits, misses) = (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed));
        CacheNumbers { name, hits, misses, bytes }
    }
}

impl Registry {
    /// Comparisons so far, those of registrations included; kinds that never occurred are left out.
    pub fn checked(&self) -> Vec<Checked> {
        let mut all = Vec::new();
        for (schema_type, levels) in SchemaType::ALL.into_iter().zip(&self.checks().0) {
            for (level, outcomes) in Level::ALL.into_iter().zip(levels) {
                for (outcome, count) in Outcome::ALL.into_iter().zip(outcomes) {
                    let count = count.load(Ordering::Relaxed);
                    all.push(Checked { schema_type, level, outcome, count });
                }
            }
        }
        all.retain(|checked| checked.count > 0);
        all
    }

    /// How its caches are used.
    pub fn caches(&self) -> [CacheNumbers; 3] {
        [self.live().cached_texts(), self.cached_schemas(), self.cached_answers()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{Context, Subject};
    use crate::service::{Settings, Submitted, With};
    use crate::store::memory::MemoryStore;
    use std::sync::Arc;

    #[tokio::test]
    async fn comparisons_and_caches_are_counted() {
        let store = Arc::new(MemoryStore::new(uuid::Uuid::nil()));
        let registry = Registry::open(store, Settings::default(), || 1).await.expect("opened");
        assert_eq!(registry.checked(), []);
        let subject = Subject::new(Context::default_context(), "s");
        let submitted = |text: &str| Submitted { text: Some(text.to_owned()), ..Submitted::default() };
        registry.register(&subject, "s", &submitted("\"int\""), false).await.expect("registered");
        for (text, fits) in [("\"long\"", true), ("\"bytes\"", false), ("\"boolean\"", false)] {
            let verdict =
                registry.check(&subject, &submitted(text), With::Level, false).await.expect("compared");
            assert_eq!(verdict.is_compatible(), fits);
        }
        let checked = registry.checked();
        let count = |outcome| {
            let found = checked.iter().find(|checked| checked.outcome == outcome);
            found.map_or(0, |checked| checked.count)
        };
        // The registration is a comparison too, with nothing.
        assert_eq!(
            (count(Outcome::Compatible), count(Outcome::Incompatible), count(Outcome::Failed)),
            (2, 2, 0)
        );
        assert!(
            checked.iter().all(|kind| kind.level == Level::Backward && kind.schema_type == SchemaType::Avro)
        );
        let [texts, parsed, _] = registry.caches();
        assert_eq!((texts.name, parsed.name), ("texts", "parsed"));
        assert_eq!((parsed.hits, parsed.misses), (2, 1), "{parsed:?}");
        assert!(texts.hits + texts.misses > 0 && parsed.bytes > 0, "{texts:?}");
    }
}
