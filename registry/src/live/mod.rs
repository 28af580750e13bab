//! The registry's memory of its store: how fresh it is, how it follows what other instances write, how it writes itself.
//!
//! ```text
//! read     heads not older than 500 ms?  --no-->  heads; changes of every context that moved  -->  state
//!          not found?                    ------>  the same once more, now
//! write    one task a context takes what waits, decides it against the state, commits it as one; lost the race? follow, again
//! ```
//! What the store says wins always: a revision that goes backwards, another epoch, or another history of the same length mean
//! that somebody put an older copy of the database in place. Nothing is written from then on, and readiness fails.

use crate::error::{Error, Result};
use crate::names::Context;
use crate::state::ContextState;
use crate::store::{Change, Head, Heads, SchemaId, Store, StoreError, Texts};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use uuid::Uuid;

mod texts;
mod write;

pub use write::{Draft, Scope};

/// How old an answer about things that change may be, where several instances share a store.
const MAX_AGE: Duration = Duration::from_millis(500);

/// A context's state, shared by all that read it.
type Shared = Arc<RwLock<ContextState>>;

/// A store with what is known of it.
pub struct Live {
    store: Arc<dyn Store>,
    contexts: RwLock<BTreeMap<Context, Shared>>,
    /// Milliseconds after `begun` at which the heads were last asked for, plus one; 0 before the first time.
    seen: AtomicU64,
    begun: Instant,
    /// One look at the heads at a time.
    looking: tokio::sync::Mutex<Option<Uuid>>,
    /// Why nothing is written any more.
    broken: RwLock<Option<String>>,
    texts: texts::Cache,
    writers: Mutex<HashMap<Context, mpsc::Sender<write::Waiting>>>,
}

impl Live {
    /// Reads everything but the texts, of which about `cache_bytes` are kept.
    pub async fn open(store: Arc<dyn Store>, cache_bytes: u64) -> Result<Arc<Self>> {
        let live = Arc::new(Self {
            store,
            contexts: RwLock::default(),
            seen: AtomicU64::new(0),
            begun: Instant::now(),
            looking: tokio::sync::Mutex::default(),
            broken: RwLock::default(),
            texts: texts::Cache::new(cache_bytes),
            writers: Mutex::default(),
        });
        live.refresh(Duration::ZERO).await?;
        Ok(live)
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
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

    /// All contexts that anything is known of, by name.
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

    /// Asks the store now, whatever was seen before; whether that could have told anything new.
    pub async fn confirm(&self) -> Result<bool> {
        if self.store.is_shared() {
            self.refresh(Duration::ZERO).await?;
        }
        Ok(self.store.is_shared())
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When the heads were last asked for.
    fn last_look(&self) -> Option<u64> {
        self.seen.load(Ordering::Acquire).checked_sub(1)
    }

    async fn refresh(&self, max_age: Duration) -> Result<()> {
        let is_fresh = |live: &Self| {
            let age = live.last_look().map(|looked| Duration::from_millis(live.now().saturating_sub(looked)));
            age.is_some_and(|age| age < max_age)
        };
        if is_fresh(self) {
            return Ok(());
        }
        let asked = self.now();
        let mut epoch = self.looking.lock().await;
        // Somebody else may have looked while this one waited.
        if is_fresh(self) || self.last_look().is_some_and(|looked| looked > asked) {
            return Ok(());
        }
        let looked = self.now();
        // What was known before the question: what is committed after it need not be in the answer.
        let known: Vec<(Context, Head)> = self
            .contexts()
            .into_iter()
            .map(|name| (name.clone(), self.read(&name, ContextState::head)))
            .collect();
        let heads = self.store.heads().await?;
        self.check(&heads, &known, &mut epoch);
        for (context, head) in &heads.contexts {
            if self.read(context, ContextState::head) != *head {
                self.follow(context).await?;
            }
        }
        self.seen.store(looked + 1, Ordering::Release);
        Ok(())
    }

    /// Takes what has changed in a context since its state was made.
    async fn follow(&self, context: &Context) -> Result<()> {
        loop {
            let since = self.read(context, ContextState::head);
            let (head, changes) = self.store.changes(context, since.revision).await?;
            let went_back = head.revision < since.revision
                || (head.revision == since.revision && head.attempt != since.attempt);
            let now = self.read(context, ContextState::head);
            if went_back && now == since {
                self.break_off(format!(
                    "context {context} is at revision {} and was at {} before: an older copy of the store was put in place",
                    head.revision, since.revision
                ));
                // What it says now is what there is; what was seen before must not shine through.
                let (head, changes) = self.store.changes(context, 0).await?;
                self.replace(context, head, changes);
                return Ok(());
            }
            if head.revision <= now.revision || self.apply(context, since, head, changes) {
                return Ok(());
            }
        }
    }

    /// Applies what leads from one head to another; false where the state is elsewhere by now.
    fn apply(&self, context: &Context, since: Head, head: Head, changes: Vec<Change>) -> bool {
        let shared = self.shared_or_new(context);
        let mut state = shared.write().unwrap_or_else(PoisonError::into_inner);
        if state.head() != since {
            return false;
        }
        for change in &changes {
            if let Change::SchemaGone(id) = change {
                self.texts.forget(context, *id);
            }
        }
        state.apply(context, head, changes);
        true
    }

    fn replace(&self, context: &Context, head: Head, changes: Vec<Change>) {
        let shared = self.shared_or_new(context);
        let mut state = shared.write().unwrap_or_else(PoisonError::into_inner);
        *state = ContextState::default();
        state.apply(context, head, changes);
        self.texts.clear();
    }

    /// Compares the heads with what was seen before.
    fn check(&self, heads: &Heads, known: &[(Context, Head)], epoch: &mut Option<Uuid>) {
        if epoch.is_some_and(|epoch| epoch != heads.epoch) {
            self.break_off("the store is another one than at the start".to_owned());
        }
        epoch.get_or_insert(heads.epoch);
        for (context, head) in known {
            if head.revision > 0 && !heads.contexts.contains_key(context) {
                self.break_off(format!("context {context} is gone from the store"));
            }
        }
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
        if let Some(why) = self.broken() {
            return Err(Error::new(50001, why));
        }
        match tokio::time::timeout(Duration::from_secs(5), self.store.heads()).await {
            Ok(heads) => heads.map(drop).map_err(Error::from),
            Err(_) => Err(StoreError::Unavailable("no answer within 5 s".into()).into()),
        }
    }

    /// The texts of a schema; nothing where it is gone.
    pub async fn texts(&self, context: &Context, id: SchemaId) -> Result<Option<Texts>> {
        if let Some(texts) = self.texts.get(context, id) {
            return Ok(Some(texts));
        }
        let found = self.store.texts(context, &[id]).await?.pop().map(|(_, texts)| texts);
        // Only what the state still has: a deletion that was applied meanwhile must stay applied.
        if let Some(texts) = &found
            && self.read(context, |state| state.schema(id).is_some())
        {
            self.texts.insert(context, id, texts.clone());
        }
        Ok(found)
    }
}
