//! The texts that were used last, up to a number of bytes. The GUID is in the key, because an id may be freed and given to something
//! else.

use crate::metrics::{Asked, CacheNumbers};
use crate::names::Context;
use crate::store::{SchemaKey, SchemaRow, Texts};
use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;
use uuid::Uuid;

/// What a cached text costs beside its bytes.
const OVERHEAD: u64 = 200;

type Key = (Context, SchemaKey, Uuid);

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Texts> for Bytes {
    fn weight(&self, _: &Key, texts: &Texts) -> u64 {
        OVERHEAD + texts.bytes() as u64
    }
}

pub(super) struct Cache {
    texts: QuickCache<Key, Texts, Bytes>,
    asked: Asked,
}

impl Cache {
    pub(super) fn new(bytes: u64) -> Self {
        Self { texts: QuickCache::with_weighter(1000, bytes, Bytes), asked: Asked::default() }
    }

    pub(super) fn get(&self, context: &Context, row: &SchemaRow) -> Option<Texts> {
        self.asked.counted(self.texts.get(&(context.clone(), row.key, row.guid)))
    }

    pub(super) fn insert(&self, context: &Context, row: &SchemaRow, texts: Texts) {
        self.texts.insert((context.clone(), row.key, row.guid), texts);
    }

    pub(super) fn numbers(&self) -> CacheNumbers {
        self.asked.numbers("texts", self.texts.weight())
    }
}
