//! The texts that were used last, up to a number of bytes.

use crate::names::Context;
use crate::store::{SchemaId, Texts};
use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;

/// What a cached text costs beside its bytes.
const OVERHEAD: u64 = 200;

#[derive(Clone)]
struct Bytes;

impl Weighter<(Context, SchemaId), Texts> for Bytes {
    fn weight(&self, _: &(Context, SchemaId), texts: &Texts) -> u64 {
        OVERHEAD + texts.bytes() as u64
    }
}

pub(super) struct Cache(QuickCache<(Context, SchemaId), Texts, Bytes>);

impl Cache {
    pub(super) fn new(bytes: u64) -> Self {
        Self(QuickCache::with_weighter(1000, bytes, Bytes))
    }

    pub(super) fn get(&self, context: &Context, id: SchemaId) -> Option<Texts> {
        self.0.get(&(context.clone(), id))
    }

    pub(super) fn insert(&self, context: &Context, id: SchemaId, texts: Texts) {
        self.0.insert((context.clone(), id), texts);
    }

    pub(super) fn forget(&self, context: &Context, id: SchemaId) {
        self.0.remove(&(context.clone(), id));
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }
}
