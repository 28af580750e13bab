//! A store that does to each put of a commit what a script says, and remembers what was asked of it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use formats::paths::{COMMITS, ObjectName};
use futures::stream::BoxStream;

use super::chance::Ticks;
use crate::storage::memory::MemoryStore;
use crate::storage::{Created, ObjectInfo, Store};
use crate::{Error, Result};

/// What becomes of a put.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// It arrives; the answer does not.
    AnswerLost,
    /// Neither arrives.
    Lost,
    /// It arrives and is said to have been there before, as after a store's own retry.
    OwnExists,
    /// The store says that it is busy.
    Busy,
}

#[derive(Debug, Default)]
struct Script {
    puts: VecDeque<Fate>,
    failing_gets: u64,
    grow: u64,
    requests: BTreeMap<&'static str, u64>,
    commits: Vec<Bytes>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Scripted {
    pub(super) store: MemoryStore,
    script: Mutex<Script>,
}

impl Scripted {
    pub(super) fn new() -> Arc<Self> {
        let store = MemoryStore::new(Arc::new(Ticks::default()));
        Arc::new(Self { store, script: Mutex::default() })
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("nobody panics with the lock")
    }

    /// The fates of the next puts of commits; later ones are spared.
    pub(super) fn next_puts(&self, fates: impl IntoIterator<Item = Fate>) {
        let mut script = self.script();
        script.puts = fates.into_iter().collect();
        script.commits.clear();
    }

    /// So many reads of commits fail once a commit has been put.
    pub(super) fn fail_gets(&self, count: u64) {
        self.script().failing_gets = count;
    }

    /// So often, a commit that was just found missing appears with three more behind it.
    pub(super) fn grow(&self, times: u64) {
        self.script().grow = times;
    }

    /// What was sent to be commits since [`Scripted::next_puts`].
    pub(super) fn sent(&self) -> Vec<Bytes> {
        self.script().commits.clone()
    }

    /// Requests by kind since the last call.
    pub(super) fn take_requests(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.script().requests)
    }

    fn count(&self, kind: &'static str) {
        *self.script().requests.entry(kind).or_default() += 1;
    }
}

#[async_trait]
impl Store for Scripted {
    async fn create(&self, key: &str, body: Vec<Bytes>) -> Result<Created> {
        self.count("create");
        let fate = if key.starts_with(COMMITS) {
            let mut script = self.script();
            script.commits.push(body.concat().into());
            script.puts.pop_front()
        } else {
            None
        };
        match fate {
            None => self.store.create(key, body).await,
            Some(Fate::Lost) => Ok(Created::Unclear("the connection was lost".into())),
            Some(Fate::Busy) => Err(Error::retry("the store is busy")),
            Some(Fate::AnswerLost) => {
                self.store.create(key, body).await?;
                Ok(Created::Unclear("no answer in time".into()))
            }
            Some(Fate::OwnExists) => {
                self.store.create(key, body).await?;
                Ok(Created::Exists)
            }
        }
    }

    async fn replace_view(&self, key: &str, body: Bytes) -> Result<()> {
        self.store.replace_view(key, body).await
    }

    async fn get(&self, key: &str, max: u64) -> Result<Option<Bytes>> {
        self.count("get");
        if key.starts_with(COMMITS) {
            let mut script = self.script();
            if script.failing_gets > 0 {
                script.failing_gets -= 1;
                return Err(Error::retry("the connection was lost"));
            }
        }
        self.store.get(key, max).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.count("get_range");
        self.store.get_range(key, range).await
    }

    async fn get_version_range(&self, key: &str, version_id: &str, range: Range<u64>) -> Result<Bytes> {
        self.count("get_version_range");
        self.store.get_version_range(key, version_id, range).await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>> {
        self.count("head");
        let found = self.store.head(key).await?;
        let grows = {
            let mut script = self.script();
            let grows = found.is_none() && script.grow > 0;
            script.grow -= u64::from(grows);
            grows
        };
        if grows && let Ok(ObjectName::Commit(_)) = ObjectName::parse(key) {
            let last = (1..).take_while(|&seq| self.has(seq)).last().unwrap_or(0);
            for seq in last + 1..=last + 4 {
                self.store.replace_view(&ObjectName::Commit(seq).key(), Bytes::new()).await?;
            }
        }
        Ok(found)
    }

    fn list(&self, folder: &str, after: Option<&str>) -> BoxStream<'_, Result<ObjectInfo>> {
        self.count("list");
        self.store.list(folder, after)
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        self.count("folders");
        self.store.folders(folder).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.store.delete(key).await
    }

    async fn sweep_unfinished(&self, _folder: &str, _before_ms: i64, _execute: bool) -> Result<u64> {
        Ok(0)
    }

    fn location(&self) -> String {
        "memory: by a script".into()
    }
}

impl Scripted {
    fn has(&self, seq: u64) -> bool {
        use futures::FutureExt;
        let found = self.store.head(&ObjectName::Commit(seq).key()).now_or_never();
        found.is_some_and(|found| found.is_ok_and(|found| found.is_some()))
    }
}
