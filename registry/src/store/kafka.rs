//! Keeps everything in a compacted Kafka topic of one partition, as Confluent's registry does and in its records, and answers
//! from memory. An existing topic of a Confluent registry or of Karapace can be taken over, and given back.
//!
//! ```text
//! read     how far does the log go?  ->  read up to there  ->  rows in memory  ->  answer
//! commit   still the writer?  ->  rows at the head that was seen?  ->  records, appended as one  ->  where do they lie?
//!              behind everything that was read: true     else somebody else wrote, too: read, look, say so
//! ```
//!
//! - **One writer.** Registries elect one among them; the others refuse commits and name it, so that requests can be passed on.
//!   Whoever is newly elected first appends a record and reads up to it, so it has seen what the one before it wrote.
//! - **Revisions** are counted in memory; records carry them in a header, so that a store that is opened again goes on from
//!   there. What other registries write moves a context on by one revision a record, and a commit that is read in parts by one
//!   a part. Compaction may remove what told a revision, so after a restart a context may stand at a lower one; nobody but the
//!   process itself compares them.
//! - **Torn commits.** A commit that fits into one batch of the topic (`max.message.bytes`) appears whole or not at all. A larger
//!   one, such as the deletion of a subject with many megabytes of versions, may be torn by a crash in its middle; `commit.rs`
//!   says why what is left is sound. The same request, made again, does the rest.
//! - **Two writers** at once cannot be ruled out where one was frozen and does not know of its successor. The log keeps both in
//!   one order that all readers share, and ids keep their texts. The one who finds the other's records before its own says
//!   that the outcome is unknown. Whoever writes next puts right what was passed over.
//! - **What Confluent's records cannot hold** (the submitted bytes of a schema) lies in headers, which a registry that writes the
//!   record anew leaves out. Next ids that no schema tells any more lie in the value of the NOOP record, until another
//!   registry writes one of its own.

use self::keys::RecordKey;
use self::log::{Log, LogError, Record, Writer};
use self::replay::{Table, Tables};
use super::{Change, Commit, Head, Heads, Result, SchemaKey, Store, StoreError, Texts};
use crate::names::Context;
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

pub mod commit;
pub mod election;
pub mod keys;
pub mod log;
#[cfg(any(test, feature = "suite"))]
pub mod memory;
pub mod records;
pub mod replay;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::KafkaLogSettings;

/// How long a log may end before what was read of it, until that is taken for true: a new leader needs a moment.
const SHORTER: Duration = Duration::from_secs(2);

/// How long a commit waits for the end of an election.
const ELECTION: Duration = Duration::from_secs(3);

/// How far the log was read.
#[derive(Debug, Clone, Copy)]
struct Position {
    log: Uuid,
    next: i64,
}

/// A registry in a log.
pub struct KafkaStore {
    log: Arc<dyn Log>,
    limit: Duration,
    tables: RwLock<Tables>,
    /// One reader of the log at a time.
    position: tokio::sync::Mutex<Position>,
    /// One commit at a time; the election after which everything was read.
    writing: tokio::sync::Mutex<Option<i64>>,
}

impl fmt::Debug for KafkaStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaStore").finish_non_exhaustive()
    }
}

impl From<LogError> for StoreError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(why) => Self::Unavailable(why),
            LogError::Refused(why) => Self::Refused(why),
            LogError::Unknown(why) => Self::Unknown(why),
            LogError::Corrupt(why) => Self::Corrupt(why),
        }
    }
}

impl KafkaStore {
    /// Reads the whole log, which may take `start` at most; later calls may take `limit`.
    pub async fn open(log: Arc<dyn Log>, start: Duration, limit: Duration) -> Result<Self> {
        let begun = Instant::now();
        let store = Self {
            log,
            limit,
            tables: RwLock::default(),
            position: tokio::sync::Mutex::new(Position { log: Uuid::nil(), next: 0 }),
            writing: tokio::sync::Mutex::default(),
        };
        let late = || {
            let ms = start.as_millis();
            StoreError::Unavailable(format!("the schemas topic was not read to its end within {ms} ms"))
        };
        timeout(start, store.follow()).await.map_err(|_| late())??;
        store.tables_mut().forget_removed();
        let (records, passed_over) = store.tables().counts();
        let took = begun.elapsed();
        tracing::info!(records, passed_over, ?took, "the schemas topic is read");
        Ok(store)
    }

    fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables_mut(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is new, up to the end that the log has now.
    async fn follow(&self) -> Result<Position> {
        let mut position = self.position.lock().await;
        let shorter = Instant::now() + SHORTER;
        let extent = loop {
            let extent = self.log.extent().await?;
            if extent.log != position.log || extent.end >= position.next || Instant::now() >= shorter {
                break extent;
            }
            sleep(SHORTER / 20).await;
        };
        if extent.log != position.log || extent.end < position.next {
            if position.log != Uuid::nil() {
                let (read, ends) = (position.next, extent.end);
                tracing::error!(
                    read,
                    ends,
                    "the schemas topic is another one or was cut off: it is read anew"
                );
            }
            // Built aside: who asks meanwhile sees the old rows, and never a part of the new ones.
            let (mut tables, mut next) = (Tables::default(), 0);
            while next < extent.end {
                next = self.read_into(next, |apply| apply(&mut tables)).await?;
            }
            tables.show();
            *self.tables_mut() = tables;
            *position = Position { log: extent.log, next };
        }
        while position.next < extent.end {
            let apply = |apply: &mut dyn FnMut(&mut Tables)| {
                let mut tables = self.tables_mut();
                apply(&mut tables);
                tables.show();
            };
            position.next = self.read_into(position.next, apply).await?;
        }
        Ok(*position)
    }

    /// Applies one chunk; gives where to read on.
    async fn read_into(&self, from: i64, with: impl FnOnce(&mut dyn FnMut(&mut Tables))) -> Result<i64> {
        let chunk = self.log.read(from).await?;
        if chunk.next <= from {
            return Err(StoreError::Corrupt(format!(
                "the log gives nothing at offset {from}, before its end"
            )));
        }
        with(&mut |tables| {
            for (offset, record) in &chunk.records {
                tables.apply(*offset, record);
            }
        });
        Ok(chunk.next)
    }

    /// The last records of kinds that nobody here knows, as keys and values, as the log has them now.
    pub async fn foreign(&self) -> Result<Vec<(Bytes, Bytes)>> {
        self.within(self.follow()).await?;
        Ok(self.tables().foreign().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// In time, or not at all.
    async fn within<T>(&self, what: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(self.limit, what).await.unwrap_or_else(|_| {
            let ms = self.limit.as_millis();
            Err(StoreError::Unavailable(format!("the schemas topic has not answered within {ms} ms")))
        })
    }

    /// The election that made this instance the writer. One that is under way is waited for.
    async fn elected(&self) -> Result<i64> {
        let until = Instant::now() + ELECTION.min(self.limit);
        loop {
            match self.log.writer() {
                Writer::This(election) => return Ok(election),
                Writer::Other(url) => {
                    return Err(StoreError::NotWriter(format!("the registry at {url} writes")));
                }
                Writer::Nobody(why) if Instant::now() >= until => return Err(StoreError::NotWriter(why)),
                Writer::Nobody(_) => sleep(ELECTION / 100).await,
            }
        }
    }

    /// A record of ours behind everything that a writer before us may have written. What it wrote too late is put right.
    async fn take_over(&self) -> Result<()> {
        let key = RecordKey::Noop.bytes().unwrap_or_default();
        let floors: Vec<_> = {
            let tables = self.tables();
            tables.contexts().filter_map(|(context, table)| Some((context.clone(), table.floor()?))).collect()
        };
        let value = match floors.is_empty() {
            true => None,
            false => Some(records::write_floors(floors.into_iter()).map_err(StoreError::Corrupt)?),
        };
        let appended = self.log.append(&[Record { key, value, ..Record::default() }]).await?;
        let position = self.within(self.follow()).await?;
        match appended.last() {
            Some(offset) if position.next > *offset => self.restore().await,
            _ => Err(StoreError::Unavailable("the schemas topic does not show what was appended yet".into())),
        }
    }

    /// Writes contested keys anew: compaction would leave of them only what all readers have passed over.
    async fn restore(&self) -> Result<()> {
        let records = commit::restored(&self.tables())?;
        if !records.is_empty() {
            self.elected().await?;
            self.log.append(&records).await?;
            self.within(self.follow()).await?;
        }
        Ok(())
    }

    async fn append(&self, commit: &Commit, writing: &mut Option<i64>) -> Result<Head> {
        let election = self.elected().await?;
        if *writing != Some(election) || !self.tables().contested().is_empty() {
            *writing = None;
            self.take_over().await?;
            *writing = Some(election);
        }
        let expected = self.position.lock().await.next;
        let records = {
            let tables = self.tables();
            if !tables.is_fresh(commit) {
                return Err(StoreError::Conflict);
            }
            commit::records(&tables, commit)?
        };
        // Where brokers are slow, another may have been elected since, and have written.
        if self.elected().await? != election {
            return Err(StoreError::Conflict);
        }
        let offsets = match self.log.append(&records).await {
            Ok(offsets) => offsets,
            Err(error) => {
                // What of it is there is found out before anything else is written.
                *writing = None;
                return Err(error.into());
            }
        };
        if (expected..).zip(&offsets).all(|(expected, offset)| expected == *offset)
            && offsets.len() == records.len()
        {
            self.apply_own(&offsets, &records).await;
            return Ok(commit.head());
        }
        *writing = None;
        self.settle(commit).await
    }

    /// Takes records that were just appended, as if they had been read.
    async fn apply_own(&self, offsets: &[i64], records: &[Record]) {
        let mut position = self.position.lock().await;
        let mut tables = self.tables_mut();
        for (offset, record) in offsets.iter().zip(records) {
            // A reader may have been faster.
            if *offset == position.next {
                tables.apply(*offset, record);
                position.next += 1;
            }
        }
    }

    /// Somebody else has written before us: what has become of our commit?
    async fn settle(&self, commit: &Commit) -> Result<Head> {
        let unknown = |why: String| StoreError::Unknown(why);
        self.within(self.follow()).await.map_err(|error| unknown(error.to_string()))?;
        let is_true = {
            let tables = self.tables();
            let links =
                commit.links_seen.is_none_or(|seen| seen + u64::from(commit.adds_links) == tables.links());
            let guarded = links && tables.keep(&commit.guards);
            let is_lost = commit::version_keys(commit).iter().any(|key| tables.contested().contains(key));
            guarded && !is_lost && tables.head(&commit.context) == commit.head()
        };
        if let Err(error) = self.restore().await {
            tracing::warn!(%error, "whoever commits next puts right what was passed over");
        }
        if is_true {
            return Ok(commit.head());
        }
        tracing::error!(context = %commit.context, "another registry has written to the schemas topic at the same time");
        Err(unknown(
            "another registry has written to the schemas topic at the same time, and was first".into(),
        ))
    }
}

#[async_trait]
impl Store for KafkaStore {
    fn backend(&self) -> &'static str {
        "kafka"
    }

    async fn heads(&self) -> Result<Heads> {
        let position = self.within(self.follow()).await?;
        let tables = self.tables();
        let contexts = tables.contexts().map(|(context, table)| (context.clone(), table.head())).collect();
        Ok(Heads { epoch: position.log, contexts, links: tables.links() })
    }

    async fn changes(&self, context: &Context, since: Head) -> Result<(Head, Vec<Change>)> {
        let tables = self.tables();
        let empty = Table::default();
        let table = tables.context(context).unwrap_or(&empty);
        table.require_history(context, since)?;
        Ok((table.head(), table.since(since.revision).cloned().collect()))
    }

    async fn texts(&self, context: &Context, keys: &[SchemaKey]) -> Result<Vec<(SchemaKey, Texts)>> {
        let tables = self.tables();
        let Some(table) = tables.context(context) else { return Ok(Vec::new()) };
        Ok(keys.iter().filter_map(|key| Some((*key, table.texts(*key)?.clone()))).collect())
    }

    async fn commit(&self, commit: &Commit) -> Result<Head> {
        let mut writing = self.writing.lock().await;
        self.append(commit, &mut writing).await
    }

    fn writer(&self) -> Writer {
        self.log.writer()
    }

    async fn close(&self) {
        // What is in flight ends first.
        let _writing = self.writing.lock().await;
        self.log.close().await;
    }
}
