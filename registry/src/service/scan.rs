//! Walks through the latest versions of a context's subjects, for searching and counting.
//!
//! A walk looks at [`SUBJECTS`] subjects and [`BYTES`] bytes of texts at most, uses no more of the processor than another request
//! may, and says where the next one goes on. One walk through texts at a time.

use super::{Registry, latest};
use crate::error::Result;
use crate::names::{Context, Subject};
use crate::schema::SchemaType;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Subjects that one walk looks at.
const SUBJECTS: usize = 10_000;
/// Bytes of texts that one walk looks at.
const BYTES: usize = 16 << 20;
/// Texts that are asked of the store at once: few, because each may be as long as a schema may be.
const BATCH: usize = 16;
/// Names that are looked at in one step.
const NAMES: usize = 1000;

/// The latest version of a subject.
#[derive(Debug, Clone)]
pub struct Latest {
    /// The subject.
    pub subject: Subject,
    /// The number of the version.
    pub version: i32,
    /// Its type.
    pub schema_type: SchemaType,
    /// Its canonical text.
    pub text: Arc<str>,
}

/// How much a context holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Subjects with a live version.
    pub subjects: usize,
    /// Live versions.
    pub versions: usize,
    /// Subjects by the type of their latest version.
    pub types: BTreeMap<&'static str, usize>,
}

/// What a walk has found.
#[derive(Debug, Clone)]
pub struct Found<T> {
    /// What was made of the subjects, in their order.
    pub items: Vec<T>,
    /// How many subjects were looked at.
    pub subjects: usize,
    /// The name behind which another walk goes on; nothing at the end.
    pub next: Option<String>,
}

impl Registry {
    /// Makes what `look` makes of the latest version of each subject behind `after`, by name, until there are `limit` items or a
    /// walk's bounds are reached. What a subject gives is never cut.
    pub async fn scan<T: Send + 'static>(
        &self,
        context: &Context,
        after: Option<String>,
        limit: usize,
        look: impl Fn(&Latest) -> Vec<T> + Send + Sync + 'static,
    ) -> Result<Found<T>> {
        let (_turn, look, budget) = (self.scanning.lock().await, Arc::new(look), self.work.budget());
        self.live().fresh().await?;
        let wanted: Vec<_> = self.live().read(context, |state| {
            let behind =
                state.subjects().filter(|(name, _)| after.as_ref().is_none_or(|after| ***name > **after));
            let latest = behind.filter_map(|(name, versions)| {
                let version = latest(versions)?;
                Some((Arc::clone(name), *version, state.schema(version.schema)?.schema_type))
            });
            latest.take(SUBJECTS + 1).collect()
        });
        let mut found = Found { items: Vec::new(), subjects: 0, next: None };
        let mut bytes = 0;
        for batch in wanted.iter().take(SUBJECTS).collect::<Vec<_>>().chunks(BATCH) {
            let keys: Vec<_> = batch.iter().map(|(_, version, _)| version.schema).collect();
            let texts: BTreeMap<_, _> =
                self.live().store().texts(context, &keys).await?.into_iter().collect();
            for (name, version, schema_type) in batch {
                if bytes > BYTES || found.items.len() >= limit || budget.is_spent() {
                    return Ok(found);
                }
                found.subjects += 1;
                found.next = Some(name.to_string());
                // What was removed meanwhile.
                let Some(texts) = texts.get(&version.schema) else { continue };
                bytes += texts.canonical.len();
                let latest = Latest {
                    subject: Subject { context: context.clone(), name: Arc::clone(name) },
                    version: version.version,
                    schema_type: *schema_type,
                    text: Arc::clone(&texts.canonical),
                };
                let look = Arc::clone(&look);
                let length = Some(texts.canonical.len());
                found.items.extend(self.work.run(&budget, length, move || look(&latest)).await?);
            }
            tokio::task::yield_now().await;
        }
        if wanted.len() <= SUBJECTS {
            found.next = None;
        }
        Ok(found)
    }

    /// The names of a context's subjects with a live version that `is_wanted` takes, behind `after`, in order.
    pub async fn matching(
        &self,
        context: &Context,
        after: Option<String>,
        limit: usize,
        is_wanted: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<Found<Arc<str>>> {
        let (is_wanted, budget) = (Arc::new(is_wanted), self.work.budget());
        self.live().fresh().await?;
        let names: Vec<Arc<str>> = self.live().read(context, |state| {
            let live = state.subjects().filter(|(_, versions)| latest(versions).is_some());
            let behind = live.filter(|(name, _)| after.as_ref().is_none_or(|after| ***name > **after));
            behind.map(|(name, _)| Arc::clone(name)).collect()
        });
        let mut found = Found { items: Vec::new(), subjects: 0, next: None };
        for chunk in names.chunks(NAMES) {
            if found.items.len() >= limit || budget.is_spent() {
                return Ok(found);
            }
            found.subjects += chunk.len();
            found.next = chunk.last().map(|name| name.to_string());
            let (chunk, is_wanted) = (chunk.to_vec(), Arc::clone(&is_wanted));
            let step = move || chunk.into_iter().filter(|name| is_wanted(name)).collect::<Vec<_>>();
            found.items.extend(self.work.run(&budget, None, step).await?);
        }
        found.next = None;
        Ok(found)
    }

    /// Counts what a context holds.
    pub async fn statistics(&self, context: &Context) -> Result<Statistics> {
        self.live().fresh().await?;
        Ok(self.live().read(context, |state| {
            let mut found = Statistics::default();
            for (_, versions) in state.subjects() {
                let Some(latest) = latest(versions) else { continue };
                found.subjects += 1;
                found.versions += versions.iter().filter(|version| !version.deleted).count();
                if let Some(row) = state.schema(latest.schema) {
                    *found.types.entry(row.schema_type.name()).or_default() += 1;
                }
            }
            found
        }))
    }
}
