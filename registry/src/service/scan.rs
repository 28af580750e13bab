//! Walks through the latest versions of a context's subjects, for searching and counting.
//!
//! A walk looks at [`SUBJECTS`] subjects and [`BYTES`] bytes of texts at most, and says where the next one goes on; one walk at a
//! time, and other requests have their turn in between.

use super::{Registry, latest};
use crate::error::Result;
use crate::names::{Context, Subject};
use crate::schema::SchemaType;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Subjects that one walk looks at.
const SUBJECTS: usize = 10_000;
/// Bytes of texts that one walk looks at.
const BYTES: usize = 16 << 20;
/// Texts that are asked of the store at once.
const BATCH: usize = 100;

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

impl Registry {
    /// Calls `look` with the latest version of each subject behind `after`, by name, until it breaks off or a walk's bounds are
    /// reached; then answers the name behind which another walk goes on.
    pub async fn walk(
        &self,
        context: &Context,
        after: Option<&str>,
        mut look: impl FnMut(&Latest) -> ControlFlow<()>,
    ) -> Result<Option<String>> {
        let _turn = self.scanning.lock().await;
        self.live().fresh().await?;
        let wanted: Vec<_> = self.live().read(context, |state| {
            let behind = state.subjects().filter(|(name, _)| after.is_none_or(|after| ***name > *after));
            let latest = behind.filter_map(|(name, versions)| {
                let version = latest(versions)?;
                Some((Arc::clone(name), *version, state.schema(version.id)?.schema_type))
            });
            latest.take(SUBJECTS + 1).collect()
        });
        let more = wanted.len() > SUBJECTS;
        let mut bytes = 0;
        let mut last: Option<Arc<str>> = None;
        for batch in wanted[..wanted.len().min(SUBJECTS)].chunks(BATCH) {
            let ids: Vec<_> = batch.iter().map(|(_, version, _)| version.id).collect();
            let texts: BTreeMap<_, _> = self.live().store().texts(context, &ids).await?.into_iter().collect();
            for (name, version, schema_type) in batch {
                if bytes > BYTES {
                    return Ok(last.map(|name| name.to_string()));
                }
                last = Some(Arc::clone(name));
                // What was removed meanwhile.
                let Some(texts) = texts.get(&version.id) else { continue };
                bytes += texts.canonical.len();
                let found = Latest {
                    subject: Subject { context: context.clone(), name: Arc::clone(name) },
                    version: version.version,
                    schema_type: *schema_type,
                    text: Arc::clone(&texts.canonical),
                };
                if look(&found).is_break() {
                    return Ok(last.map(|name| name.to_string()));
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(last.filter(|_| more).map(|name| name.to_string()))
    }

    /// The names of a context's subjects with a live version, in order.
    pub async fn names(&self, context: &Context) -> Result<Vec<Arc<str>>> {
        self.live().fresh().await?;
        Ok(self.live().read(context, |state| {
            let live = state.subjects().filter(|(_, versions)| latest(versions).is_some());
            live.map(|(name, _)| Arc::clone(name)).collect()
        }))
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
                if let Some(row) = state.schema(latest.id) {
                    *found.types.entry(row.schema_type.name()).or_default() += 1;
                }
            }
            found
        }))
    }
}
