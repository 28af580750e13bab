//! A test bed: instances of the registry on one store, each behind a wrapper that can stop, fail and count what it asks.

use crate::error::Result;
use crate::names::{Context, Subject};
use crate::service::{Registered, Registry, Settings, Submitted, SubmittedReference};
use crate::store::sqlite::{SqliteSettings, SqliteStore};
use crate::store::{self, Change, Commit, Head, Heads, SchemaKey, Store, StoreError, Texts};
use async_trait::async_trait;
use futures::future::BoxFuture;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};

/// A step of a test at an exact moment.
pub(crate) type Hook<T> = Arc<dyn Fn(T) -> BoxFuture<'static, store::Result<()>> + Send + Sync>;

/// A store that somebody watches.
pub(crate) struct Bed {
    inner: RwLock<Arc<dyn Store>>,
    shared: AtomicBool,
    before_commit: Mutex<Option<Hook<Commit>>>,
    after_heads: Mutex<Option<Hook<()>>>,
    before_texts: Mutex<Option<Hook<()>>>,
    /// Questions for texts so far.
    pub(crate) texts: AtomicU64,
    /// Commits that came true.
    pub(crate) commits: AtomicU64,
}

impl Bed {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner: RwLock::new(inner),
            shared: AtomicBool::new(false),
            before_commit: Mutex::default(),
            after_heads: Mutex::default(),
            before_texts: Mutex::default(),
            texts: AtomicU64::new(0),
            commits: AtomicU64::new(0),
        })
    }

    /// Another store in its place.
    pub(crate) fn swap(&self, inner: Arc<dyn Store>) {
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = inner;
    }

    pub(crate) fn inner(&self) -> Arc<dyn Store> {
        Arc::clone(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Others may write to the store. Said before the registry is opened it begins to look by itself, and said later not.
    pub(crate) fn share(&self) {
        self.shared.store(true, Ordering::Release);
    }

    pub(crate) fn before_commit(
        &self,
        hook: impl Fn(Commit) -> BoxFuture<'static, store::Result<()>> + Send + Sync + 'static,
    ) {
        *self.before_commit.lock().expect("a lock") = Some(Arc::new(hook));
    }

    pub(crate) fn after_heads(
        &self,
        hook: impl Fn(()) -> BoxFuture<'static, store::Result<()>> + Send + Sync + 'static,
    ) {
        *self.after_heads.lock().expect("a lock") = Some(Arc::new(hook));
    }

    pub(crate) fn before_texts(
        &self,
        hook: impl Fn(()) -> BoxFuture<'static, store::Result<()>> + Send + Sync + 'static,
    ) {
        *self.before_texts.lock().expect("a lock") = Some(Arc::new(hook));
    }

    /// Commits wait from now on.
    pub(crate) fn gate(&self) -> Gate {
        let (open, arrived) = (Arc::new(Semaphore::new(0)), watch::Sender::new(0));
        let gate = Gate { open: Arc::clone(&open), arrived: arrived.clone() };
        self.before_commit(move |_| {
            let (open, arrived) = (Arc::clone(&open), arrived.clone());
            Box::pin(async move {
                arrived.send_modify(|count| *count += 1);
                open.acquire().await.map(|permit| permit.forget()).expect("a gate");
                Ok(())
            })
        });
        gate
    }

    /// Nothing is answered any more, after this time.
    pub(crate) fn go_away(&self, after: Duration) {
        let away = move || -> BoxFuture<'static, store::Result<()>> {
            Box::pin(async move {
                tokio::time::sleep(after).await;
                Err(StoreError::Unavailable("away".into()))
            })
        };
        self.before_commit(move |_| away());
        self.after_heads(move |()| away());
        self.before_texts(move |()| away());
    }

    async fn run<T>(hook: &Mutex<Option<Hook<T>>>, value: T) -> store::Result<()> {
        let hook = hook.lock().expect("a lock").clone();
        match hook {
            Some(hook) => hook(value).await,
            None => Ok(()),
        }
    }
}

/// Where commits wait.
pub(crate) struct Gate {
    open: Arc<Semaphore>,
    arrived: watch::Sender<usize>,
}

impl Gate {
    /// Waits until so many commits have come to it.
    pub(crate) async fn reached(&self, count: usize) {
        self.arrived.subscribe().wait_for(|arrived| *arrived >= count).await.expect("a gate");
    }

    /// Lets so many commits pass.
    pub(crate) fn open(&self, count: usize) {
        self.open.add_permits(count);
    }
}

#[async_trait]
impl Store for Bed {
    fn backend(&self) -> &'static str {
        "bed"
    }

    fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Acquire)
    }

    async fn heads(&self) -> store::Result<Heads> {
        let heads = self.inner().heads().await;
        Self::run(&self.after_heads, ()).await?;
        heads
    }

    async fn changes(&self, context: &Context, since: Head) -> store::Result<(Head, Vec<Change>)> {
        self.inner().changes(context, since).await
    }

    async fn texts(&self, context: &Context, keys: &[SchemaKey]) -> store::Result<Vec<(SchemaKey, Texts)>> {
        self.texts.fetch_add(1, Ordering::AcqRel);
        Self::run(&self.before_texts, ()).await?;
        self.inner().texts(context, keys).await
    }

    async fn commit(&self, commit: &Commit) -> store::Result<Head> {
        Self::run(&self.before_commit, commit.clone()).await?;
        let head = self.inner().commit(commit).await?;
        self.commits.fetch_add(1, Ordering::AcqRel);
        Ok(head)
    }
}

/// An instance of the registry.
pub(crate) struct Instance {
    pub(crate) bed: Arc<Bed>,
    pub(crate) registry: Arc<Registry>,
}

impl Instance {
    pub(crate) async fn open(store: Arc<dyn Store>, settings: Settings) -> Self {
        let bed = Bed::new(store);
        let opened = Registry::open(Arc::clone(&bed) as Arc<dyn Store>, settings, || 1_700_000_000_000).await;
        bed.share();
        Self { bed, registry: Arc::new(opened.expect("a registry")) }
    }

    /// Registers a text; references as `name=subject:version`.
    pub(crate) async fn register(&self, subject: &str, text: &str) -> Result<Registered> {
        self.submit(subject, submitted(text)).await
    }

    pub(crate) async fn submit(&self, subject: &str, submitted: Submitted) -> Result<Registered> {
        self.registry.register(&Subject::parse(subject), subject, &submitted, false).await
    }
}

/// A text, and nothing beside it.
pub(crate) fn submitted(text: &str) -> Submitted {
    Submitted { text: Some(text.into()), ..Submitted::default() }
}

/// A text that refers to a version of a subject.
pub(crate) fn referring(text: &str, name: &str, subject: &str, version: i32) -> Submitted {
    let reference =
        SubmittedReference { name: Some(name.into()), subject: Some(subject.into()), version: Some(version) };
    Submitted { references: vec![reference], ..submitted(text) }
}

/// A SQLite file, and a store on it.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::connect(SqliteSettings::new(self.0.path())).await.expect("a store"))
    }

    /// The file as it is now, with nothing in flight.
    pub(crate) async fn copy(&self) -> Self {
        // The log goes back into the file when the last one closes it.
        self.store().await.close().await;
        let copy = Self::new();
        for entry in std::fs::read_dir(self.0.path()).expect("a folder") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), copy.0.path().join(entry.file_name())).expect("a copy");
        }
        copy
    }
}

/// Two instances on one file.
pub(crate) async fn two() -> (Folder, Instance, Instance) {
    let folder = Folder::new();
    let one = Instance::open(folder.store().await, Settings::default()).await;
    let other = Instance::open(folder.store().await, Settings::default()).await;
    (folder, one, other)
}
