//! The registry's memory of its store: how fresh it is, how it follows what other instances write, how it writes itself.
//!
//! ```text
//! look     every 250 ms, or when asked: the heads; changes of every context that moved  -->  state       (look.rs)
//! read     not older than 500 ms, else look; not found: look now
//! write    a queue a context; what waits is decided against the state and committed as one               (queue.rs, write.rs)
//!          lost the race? look, and again
//! ```
//! What the store says wins always: a revision that goes backwards, another epoch, or another history mean that somebody put an
//! older copy of the database in place. Nothing is written from then on, and readiness fails.

use crate::error::{Error, Result};
use crate::identity;
use crate::metrics::CacheNumbers;
use crate::names::Context;
use crate::standby::Marker;
use crate::state::ContextState;
use crate::store::{Change, Head, SchemaKey, SchemaRow, Store, StoreError, Texts};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

#[cfg(test)]
pub(crate) mod bed;
mod look;
mod queue;
#[cfg(test)]
mod tests;
mod texts;
mod write;

pub use queue::Scope;
pub use write::Draft;

/// How old an answer about things that change may be, where several instances share a store.
const MAX_AGE: Duration = Duration::from_millis(500);

/// How long the store may take to prove that it answers.
const PROOF: Duration = Duration::from_secs(5);

/// A context's state, shared by all that read it.
type Shared = Arc<RwLock<ContextState>>;

/// A store with what is known of it.
pub struct Live {
    store: Arc<dyn Store>,
    contexts: RwLock<BTreeMap<Context, Shared>>,
    looks: look::Looks,
    moves: AtomicU64,
    /// Why nothing is written any more.
    broken: RwLock<Option<String>>,
    texts: texts::Cache,
    queues: queue::Queues,
}

impl Live {
    /// Reads everything but the texts, of which about `cache_bytes` are kept. Looks by itself from then on, where others may write
    /// to the store, until it is dropped.
    pub async fn open(store: Arc<dyn Store>, cache_bytes: u64) -> Result<Arc<Self>> {
        let live = Arc::new(Self {
            store,
            contexts: RwLock::default(),
            looks: look::Looks::default(),
            moves: AtomicU64::new(0),
            broken: RwLock::default(),
            texts: texts::Cache::new(cache_bytes),
            queues: queue::Queues::default(),
        });
        live.refresh(Duration::ZERO).await?;
        if live.store.is_shared() {
            tokio::spawn(look::by_itself(Arc::downgrade(&live)));
        }
        Ok(live)
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Why nobody can ever write here, where that is so.
    pub(crate) fn read_only(&self) -> Option<&str> {
        self.store.read_only()
    }

    /// Whom this store follows, or has followed until it was promoted.
    pub fn marker(&self) -> Option<Marker> {
        self.read(&Context::global(), Marker::of)
    }

    /// Refuses where only the leader says what changes.
    pub(crate) fn require_own(&self) -> Result<()> {
        self.marker().map_or(Ok(()), |marker| marker.require_own())
    }

    /// How the cache of texts is used.
    pub(crate) fn cached_texts(&self) -> CacheNumbers {
        self.texts.numbers()
    }

    fn shared(&self, context: &Context) -> Option<Shared> {
        self.contexts.read().unwrap_or_else(PoisonError::into_inner).get(context).cloned()
    }

    fn shared_or_new(&self, context: &Context) -> Shared {
        if let Some(shared) = self.shared(context) {
            return shared;
        }
        let mut contexts = self.contexts.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(contexts.entry(context.clone()).or_default())
    }

    /// Looks at a context, which may never have been written to. No question is asked of the store.
    pub fn read<T>(&self, context: &Context, look: impl FnOnce(&ContextState) -> T) -> T {
        match self.shared(context) {
            Some(shared) => look(&shared.read().unwrap_or_else(PoisonError::into_inner)),
            None => look(&ContextState::default()),
        }
    }

    /// All contexts that were ever written to, by name.
    pub fn contexts(&self) -> Vec<Context> {
        self.contexts.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Makes sure that what `read` shows is at most half a second old.
    pub async fn fresh(&self) -> Result<()> {
        if self.store.is_shared() { self.refresh(MAX_AGE).await } else { Ok(()) }
    }

    /// Looks, and where nothing is found asks the store whether that is still so: "not found" is never an old answer.
    pub async fn find<T>(&self, look: impl Fn(&Self) -> Option<T>) -> Result<Option<T>> {
        self.fresh().await?;
        if let Some(found) = look(self) {
            return Ok(Some(found));
        }
        Ok(if self.confirm().await? { look(self) } else { None })
    }

    /// As [`Self::find`], for what never changes once it is there: whether the store can be reached does not matter then.
    pub async fn find_kept<T>(&self, look: impl Fn(&Self) -> Option<T>) -> Result<Option<T>> {
        match look(self) {
            Some(found) => Ok(Some(found)),
            None if self.confirm().await? => Ok(look(self)),
            None => Ok(None),
        }
    }

    /// Asks the store now, whatever was seen before; whether that could have told anything new.
    pub async fn confirm(&self) -> Result<bool> {
        if self.store.is_shared() {
            self.refresh(Duration::ZERO).await?;
        }
        Ok(self.store.is_shared())
    }

    /// How often anything has changed: as long as this is the same, a look finds the same.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// Applies what leads from one head to another; false where the state is elsewhere by now.
    fn apply(&self, context: &Context, since: Head, head: Head, changes: Vec<Change>) -> bool {
        let shared = self.shared_or_new(context);
        let mut state = shared.write().unwrap_or_else(PoisonError::into_inner);
        if state.head() != since {
            return false;
        }
        state.apply(context, head, changes);
        self.moves.fetch_add(1, Ordering::AcqRel);
        true
    }

    fn replace(&self, context: &Context, head: Head, changes: Vec<Change>) {
        let shared = self.shared_or_new(context);
        let mut state = shared.write().unwrap_or_else(PoisonError::into_inner);
        *state = ContextState::default();
        state.apply(context, head, changes);
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    fn break_off(&self, why: String) {
        tracing::error!(why, "nothing is registered any more; restart the registry if that was meant");
        self.broken.write().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    /// Why nothing may be written, if that is so.
    pub fn broken(&self) -> Option<String> {
        self.broken.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the store answers, and what it says fits what it said before.
    pub async fn ready(&self) -> Result<()> {
        match tokio::time::timeout(PROOF, self.refresh(Duration::ZERO)).await {
            Ok(looked) => looked?,
            Err(_) => {
                let why = format!("no answer within {} s", PROOF.as_secs());
                return Err(StoreError::Unavailable(why).into());
            }
        }
        self.broken().map_or(Ok(()), |why| Err(Error::new(50001, why)))
    }

    /// A schema with its texts; nothing where it is gone.
    pub async fn schema(&self, context: &Context, key: SchemaKey) -> Result<Option<(SchemaRow, Texts)>> {
        Ok(self.schemas(context, &[key]).await?.remove(&key))
    }

    /// Several schemas with their texts, in one question; what is gone is left out.
    pub async fn schemas(
        &self,
        context: &Context,
        keys: &[SchemaKey],
    ) -> Result<HashMap<SchemaKey, (SchemaRow, Texts)>> {
        let mut again = false;
        loop {
            let (mut found, mut missing) = (HashMap::with_capacity(keys.len()), HashMap::new());
            let rows: Vec<SchemaRow> = self
                .read(context, |state| keys.iter().filter_map(|key| state.schema(*key).cloned()).collect());
            for row in rows {
                match self.texts.get(context, &row) {
                    Some(texts) => drop(found.insert(row.key, (row, texts))),
                    None => drop(missing.insert(row.key, row)),
                }
            }
            if missing.is_empty() {
                return Ok(found);
            }
            let mut strange = Vec::new();
            let asked: Vec<SchemaKey> = missing.keys().copied().collect();
            for (key, texts) in self.store.texts(context, &asked).await? {
                let Some(row) = missing.remove(&key) else { continue };
                if is_of(&texts, &row) {
                    self.texts.insert(context, &row, texts.clone());
                    found.insert(key, (row, texts));
                } else {
                    strange.push((row, texts));
                }
            }
            // An id may have been given to something else since the last look.
            if strange.is_empty() || again || !self.confirm().await? {
                found.extend(strange.into_iter().map(|(row, texts)| (row.key, (row, texts))));
                return Ok(found);
            }
            again = true;
        }
    }
}

/// Whether these are the texts of a row, and not of one that had its id before or has it by now.
fn is_of(texts: &Texts, row: &SchemaRow) -> bool {
    let (metadata, rules) = (texts.metadata.as_deref(), texts.rule_set.as_deref());
    identity::guid(&texts.canonical, &row.references, metadata, rules) == row.guid
}
