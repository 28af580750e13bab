//! Finished answers about ids of the default context: the question that every consumer asks costs little more than to send the
//! answer. All that an answer says is in the key, so it needs no expiry; only room.

use super::{ById, Registry};
use crate::metrics::{Asked, CacheNumbers};
use crate::names::Context;
use crate::state::Version;
use crate::store::{SchemaId, SchemaKey};
use bytes::Bytes;
use foldhash::quality::RandomState;
use quick_cache::Weighter;
use quick_cache::sync::{Cache as QuickCache, DefaultLifecycle};
use uuid::Uuid;

/// What a cached answer costs beside its bytes.
const OVERHEAD: u64 = 200;

/// What an answer was made of: the schema, and the time and deletion of the version that it was found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnswerKey {
    id: SchemaId,
    guid: Uuid,
    time_ms: i64,
    deleted: bool,
}

impl AnswerKey {
    fn new(id: SchemaId, guid: Uuid, version: Version) -> Self {
        Self { id, guid, time_ms: version.time_ms, deleted: version.deleted }
    }

    /// That of what was found without a subject.
    pub fn of(found: &ById) -> Option<Self> {
        found.of_any.map(|version| Self::new(found.schema.id, found.guid, version))
    }
}

#[derive(Clone)]
struct Size;

impl Weighter<AnswerKey, Bytes> for Size {
    fn weight(&self, _: &AnswerKey, answer: &Bytes) -> u64 {
        OVERHEAD + answer.len() as u64
    }
}

pub(super) struct Cache {
    answers: QuickCache<AnswerKey, Bytes, Size, RandomState>,
    asked: Asked,
}

impl Cache {
    pub(super) fn new(bytes: u64) -> Self {
        let (hasher, lifecycle) = (RandomState::default(), DefaultLifecycle::default());
        Self { answers: QuickCache::with(1000, bytes, Size, hasher, lifecycle), asked: Asked::default() }
    }
}

impl Registry {
    /// What an answer about this id would be made of; nothing where it is not known at this moment.
    pub fn answer_key(&self, id: SchemaId) -> Option<AnswerKey> {
        self.live.read(&Context::default_context(), |state| {
            let guid = state.schema(SchemaKey::of(id))?.guid;
            let (_, version) = state.last_user(id)?;
            Some(AnswerKey::new(id, guid, version))
        })
    }

    /// An answer that was finished before.
    pub fn finished(&self, key: &AnswerKey) -> Option<Bytes> {
        self.answers.asked.counted(self.answers.answers.get(key))
    }

    /// Keeps a finished answer.
    pub fn finish(&self, key: AnswerKey, answer: &[u8]) {
        // A copy: the buffer that an answer is written into may be twice as large.
        self.answers.answers.insert(key, Bytes::copy_from_slice(answer));
    }

    /// How the cache of finished answers is used.
    pub(crate) fn cached_answers(&self) -> CacheNumbers {
        self.answers.asked.numbers("answers", self.answers.answers.weight())
    }
}
