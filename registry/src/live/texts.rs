//! The texts that were used last, up to a number of bytes. The GUID is in the key, because an id may be freed and given to something
//! else.

use crate::names::Context;
use crate::store::{SchemaId, SchemaRow, Texts};
use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;
use uuid::Uuid;

/// What a cached text costs beside its bytes.
const OVERHEAD: u64 = 200;

type Key = (Context, SchemaId, Uuid);

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Texts> for Bytes {
    fn weight(&self, _: &Key, texts: &Texts) -> u64 {
        OVERHEAD + texts.bytes() as u64
    }
}

pub(super) struct Cache(QuickCache<Key, Texts, Bytes>);

impl Cache {
    pub(super) fn new(bytes: u64) -> Self {
        Self(QuickCache::with_weighter(1000, bytes, Bytes))
    }

    pub(super) fn get(&self, context: &Context, row: &SchemaRow) -> Option<Texts> {
        self.0.get(&(context.clone(), row.id, row.guid))
    }

    pub(super) fn insert(&self, context: &Context, row: &SchemaRow, texts: Texts) {
        self.0.insert((context.clone(), row.id, row.guid), texts);
    }
}
