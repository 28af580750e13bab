//! Schemas of ids, parsed. An id never changes what it means, so these need no expiry; only room.

use super::Registry;
use crate::error::{Error, Result};
use crate::names::Context;
use crate::parse::{Parsed, Strictness};
use crate::schema::Dependency;
use crate::store::SchemaId;
use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;
use std::sync::Arc;

/// A parsed schema is about so many times as large as its text.
const GROWTH: u64 = 6;

#[derive(Clone)]
struct Bytes;

impl Weighter<(Context, SchemaId, u128), Arc<Parsed>> for Bytes {
    fn weight(&self, _: &(Context, SchemaId, u128), parsed: &Arc<Parsed>) -> u64 {
        500 + GROWTH * parsed.canonical().len() as u64
    }
}

pub(super) struct Cache(QuickCache<(Context, SchemaId, u128), Arc<Parsed>, Bytes>);

impl Cache {
    pub(super) fn new(bytes: u64) -> Self {
        Self(QuickCache::with_weighter(1000, bytes, Bytes))
    }
}

impl Registry {
    /// What an id means. The GUID is in the key: an id that a restored database gave to something else is another key.
    pub(super) async fn parsed(&self, context: &Context, id: SchemaId) -> Result<Arc<Parsed>> {
        let gone = || Error::schema_not_found(Some(&id));
        let row = self.live().read(context, |state| state.schema(id).cloned()).ok_or_else(gone)?;
        let key = (context.clone(), id, row.guid.as_u128());
        if let Some(parsed) = self.parsed.0.get(&key) {
            return Ok(parsed);
        }
        let texts = self.live().texts(context, id).await?.ok_or_else(gone)?;
        let found = self.dependencies(context, &row.references).await?;
        let dependencies: Vec<_> = found.iter().map(|(name, text)| Dependency { name, text }).collect();
        let parsed = Parsed::parse(row.schema_type, &texts.canonical, &dependencies, Strictness::Stored);
        let parsed = Arc::new(parsed.map_err(|problem| Error::invalid_schema(&row.schema_type, &problem))?);
        self.parsed.0.insert(key, Arc::clone(&parsed));
        Ok(parsed)
    }
}
