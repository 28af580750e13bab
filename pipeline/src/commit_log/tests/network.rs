//! A store behind a bad network, for the model.
//!
//! A put is a request on the wire. The wire executes it at any later step or loses it; the sender waits for the answer,
//! may lose it, may give up while the request is still under way, or may die: a request survives its sender and can land
//! late. The store itself is linearizable and create-only.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use formats::paths::CHECKPOINTS;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use super::chance::{Chance, Ticks};
use crate::storage::memory::MemoryStore;
use crate::storage::{Created, ObjectInfo, Store};
use crate::{Error, Result};

/// How often things go wrong, in a thousand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    pub(super) read_fails: u64,
    pub(super) answer_lost: u64,
    pub(super) put_lost: u64,
    pub(super) gives_up: u64,
    pub(super) own_exists: u64,
    pub(super) put_refused: u64,
}

#[derive(Debug)]
struct Put {
    id: u64,
    key: String,
    body: Vec<Bytes>,
}

#[derive(Debug, Default)]
struct Wire {
    puts: Vec<Put>,
    answers: BTreeMap<u64, Created>,
    next: u64,
    outage: bool,
    counts: BTreeMap<&'static str, u64>,
}

/// The store and the wire to it.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) store: Arc<MemoryStore>,
    pub(super) chance: Arc<Chance>,
    faults: Faults,
    wire: Mutex<Wire>,
}

impl Network {
    pub(super) fn new(chance: Arc<Chance>, faults: Faults) -> Arc<Self> {
        let store = Arc::new(MemoryStore::new(Arc::new(Ticks::default())));
        Arc::new(Self { store, chance, faults, wire: Mutex::default() })
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().expect("nobody panics with the lock")
    }

    pub(super) fn count(&self, what: &'static str) {
        *self.wire().counts.entry(what).or_default() += 1;
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.wire().counts.clone()
    }

    /// Whether the store is out of reach for puts.
    pub(super) fn set_outage(&self, outage: bool) {
        self.wire().outage = outage;
    }

    /// Moves one request on: executes it, or loses it.
    pub(super) fn deliver(&self) {
        let put = {
            let mut wire = self.wire();
            if wire.puts.is_empty() {
                return;
            }
            let at = self.chance.below(wire.puts.len() as u64) as usize;
            wire.puts.swap_remove(at)
        };
        if self.wire().outage || self.chance.permille(self.faults.put_lost) {
            return self.count("put lost");
        }
        let created = self.store.create(&put.key, put.body).now_or_never().expect("memory does not wait");
        self.wire().answers.insert(put.id, created.expect("legal keys only"));
    }

    /// Somebody deletes what may be deleted without a loss.
    pub(super) fn lose_a_checkpoint_object(&self) {
        let objects = self
            .store
            .list(CHECKPOINTS, None)
            .collect::<Vec<_>>()
            .now_or_never()
            .expect("memory does not wait");
        let at = self.chance.below(objects.len() as u64 + 1) as usize;
        if let Some(Ok(object)) = objects.get(at) {
            self.store.delete(&object.key).now_or_never().expect("memory does not wait").expect("deletes");
            self.count("checkpoint object lost");
        }
    }

    /// How likely a sender gives up at each look, in a thousand.
    fn patience(&self) -> u64 {
        if self.wire().outage { 300 } else { self.faults.gives_up }
    }

    async fn wait(&self) {
        let mut rounds = 1 + self.chance.below(2);
        poll_fn(|context| {
            if rounds == 0 {
                return Poll::Ready(());
            }
            rounds -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    async fn read(&self, key: &str) -> Result<()> {
        self.wait().await;
        if self.chance.permille(self.faults.read_fails) {
            self.count("read failed");
            return Err(Error::retry(format!("{key}: the connection was lost")));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Network {
    async fn create(&self, key: &str, body: Vec<Bytes>) -> Result<Created> {
        if self.chance.permille(self.faults.put_refused) {
            self.wait().await;
            return Err(Error::retry(format!("{key}: the store is busy")));
        }
        let id = {
            let mut wire = self.wire();
            wire.next += 1;
            let id = wire.next;
            wire.puts.push(Put { id, key: key.to_owned(), body });
            id
        };
        loop {
            self.wait().await;
            let answer = self.wire().answers.remove(&id);
            match answer {
                Some(_) if self.chance.permille(self.faults.answer_lost) => {
                    self.count("answer lost");
                    return Ok(Created::Unclear("the answer was lost".into()));
                }
                Some(Created::New(_)) if self.chance.permille(self.faults.own_exists) => {
                    self.count("own put exists");
                    return Ok(Created::Exists);
                }
                Some(answer) => return Ok(answer),
                None if self.chance.permille(self.patience()) => {
                    self.count("gave up waiting");
                    return Ok(Created::Unclear("no answer in time".into()));
                }
                None => {}
            }
        }
    }

    async fn replace_view(&self, key: &str, body: Bytes) -> Result<()> {
        self.wait().await;
        self.store.replace_view(key, body).await
    }

    async fn get(&self, key: &str, max: u64) -> Result<Option<Bytes>> {
        self.read(key).await?;
        let found = self.store.get(key, max).await;
        self.wait().await;
        found
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.read(key).await?;
        self.store.get_range(key, range).await
    }

    async fn get_version_range(&self, key: &str, version_id: &str, range: Range<u64>) -> Result<Bytes> {
        self.read(key).await?;
        self.store.get_version_range(key, version_id, range).await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>> {
        self.read(key).await?;
        let found = self.store.head(key).await;
        self.wait().await;
        found
    }

    fn list(&self, folder: &str, after: Option<&str>) -> BoxStream<'_, Result<ObjectInfo>> {
        let each = move |object: Result<ObjectInfo>| async move {
            self.read("a listing").await?;
            object
        };
        self.store.list(folder, after).then(each).boxed()
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        self.read(folder).await?;
        self.store.folders(folder).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.wait().await;
        self.store.delete(key).await?;
        self.wait().await;
        Ok(())
    }

    async fn sweep_unfinished(&self, _folder: &str, _before_ms: i64, _execute: bool) -> Result<u64> {
        Ok(0)
    }

    fn location(&self) -> String {
        "memory: behind a bad network".into()
    }
}
