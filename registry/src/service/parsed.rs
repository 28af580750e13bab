//! Schemas of ids, parsed. The GUID of an id and those of all that it refers to are in the key, so these need no expiry; only room.

use super::Registry;
use super::references::fingerprint;
use super::work::Budget;
use crate::error::{Error, Result};
use crate::metrics::{Asked, CacheNumbers};
use crate::names::Context;
use crate::parse::{Parsed, Strictness};
use crate::schema::Dependency;
use crate::store::SchemaKey;
use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;
use std::sync::Arc;
use uuid::Uuid;

/// A parsed schema is about so many times as large as its text.
const GROWTH: u64 = 6;

/// Context and id for people who look at it; the GUID, and what it refers to.
type Key = (Context, SchemaKey, Uuid, u64);

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Arc<Parsed>> for Bytes {
    fn weight(&self, _: &Key, parsed: &Arc<Parsed>) -> u64 {
        500 + GROWTH * parsed.canonical().len() as u64
    }
}

pub(super) struct Cache {
    schemas: QuickCache<Key, Arc<Parsed>, Bytes>,
    asked: Asked,
}

impl Cache {
    pub(super) fn new(bytes: u64) -> Self {
        Self { schemas: QuickCache::with_weighter(1000, bytes, Bytes), asked: Asked::default() }
    }
}

impl Registry {
    /// How the cache of parsed schemas is used.
    pub(crate) fn cached_schemas(&self) -> CacheNumbers {
        self.parsed.asked.numbers("parsed", self.parsed.schemas.weight())
    }

    /// What a schema means.
    pub(super) async fn parsed(
        &self,
        context: &Context,
        schema: SchemaKey,
        budget: &Budget,
    ) -> Result<Arc<Parsed>> {
        let gone = || Error::schema_not_found(Some(&schema.id));
        loop {
            let row = self.live.read(context, |state| state.schema(schema).cloned()).ok_or_else(gone)?;
            let targets = self.targets(context, &row.references).await?;
            let key = (context.clone(), schema, row.guid, fingerprint(&targets));
            if let Some(parsed) = self.parsed.asked.counted(self.parsed.schemas.get(&key)) {
                return Ok(parsed);
            }
            let (found, texts) = self.live.schema(context, schema).await?.ok_or_else(gone)?;
            if found != row {
                continue;
            }
            let found = self.texts_of(&targets).await?;
            let bytes = texts.canonical.len() + found.iter().map(|(_, text)| text.len()).sum::<usize>();
            let schema_type = row.schema_type;
            let read = move || {
                let dependencies: Vec<_> =
                    found.iter().map(|(name, text)| Dependency { name, text }).collect();
                Parsed::parse(schema_type, &texts.canonical, &dependencies, Strictness::Stored)
            };
            let parsed = self.work.run(budget, Some(bytes), read).await?;
            let parsed = parsed.map_err(|problem| Error::invalid_schema(&schema_type, &problem))?;
            let parsed = Arc::new(parsed);
            self.parsed.schemas.insert(key, Arc::clone(&parsed));
            return Ok(parsed);
        }
    }
}
