//! A log in memory, for tests: several stores share it as several registries share a topic. It can be compacted, torn and
//! written to by others.

use super::log::{Chunk, Extent, Log, LogError, Record, Result, Writer};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// Records in one chunk.
const CHUNK: usize = 500;

#[derive(Debug, Default)]
struct Shared {
    log: Uuid,
    records: Vec<(i64, Record)>,
    end: i64,
    /// Written by somebody else just before the next append.
    interference: Vec<Record>,
    /// How many records the next append writes before it is lost.
    tear: Option<usize>,
    writer: Option<u32>,
    elections: i64,
}

/// One instance's view of a log.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    shared: Arc<Mutex<Shared>>,
    instance: u32,
}

impl MemoryLog {
    /// An empty log, with this instance as its writer.
    pub fn new() -> Self {
        let shared = Shared { log: Uuid::from_u128(1), writer: Some(1), elections: 1, ..Shared::default() };
        Self { shared: Arc::new(Mutex::new(shared)), instance: 1 }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same log for another instance.
    pub fn other(&self, instance: u32) -> Self {
        Self { shared: Arc::clone(&self.shared), instance }
    }

    /// Elects an instance, or nobody.
    pub fn elect(&self, instance: Option<u32>) {
        let mut shared = self.shared();
        shared.writer = instance;
        shared.elections += 1;
    }

    /// Somebody else writes records.
    pub fn write(&self, records: impl IntoIterator<Item = Record>) {
        self.shared().append(records);
    }

    /// Somebody else writes records just before the next append of ours.
    pub fn interfere(&self, records: Vec<Record>) {
        self.shared().interference = records;
    }

    /// The next append is lost after so many of its records.
    pub fn tear(&self, after: usize) {
        self.shared().tear = Some(after);
    }

    /// Everything that the log holds.
    pub fn records(&self) -> Vec<(i64, Record)> {
        self.shared().records.clone()
    }

    /// Somebody deletes the log and makes another one.
    pub fn replace(&self) {
        let mut shared = self.shared();
        *shared =
            Shared { log: Uuid::from_u128(2), writer: shared.writer, elections: 9, ..Shared::default() };
    }

    /// What lies from an offset on is lost.
    pub fn cut_off(&self, end: i64) {
        let mut shared = self.shared();
        shared.records.retain(|(offset, _)| *offset < end);
        shared.end = end;
    }

    /// Keeps the last record of each key, and, long after, removes those without a value.
    pub fn compact(&self) {
        let mut shared = self.shared();
        let last: HashMap<Bytes, i64> =
            shared.records.iter().map(|(offset, record)| (record.key.clone(), *offset)).collect();
        shared
            .records
            .retain(|(offset, record)| record.value.is_some() && last.get(&record.key) == Some(offset));
    }
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    fn append(&mut self, records: impl IntoIterator<Item = Record>) -> Vec<i64> {
        let mut offsets = Vec::new();
        for record in records {
            self.records.push((self.end, record));
            offsets.push(self.end);
            self.end += 1;
        }
        offsets
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn extent(&self) -> Result<Extent> {
        let shared = self.shared();
        Ok(Extent { log: shared.log, end: shared.end })
    }

    async fn read(&self, from: i64) -> Result<Chunk> {
        let shared = self.shared();
        let records: Vec<_> =
            shared.records.iter().filter(|(offset, _)| *offset >= from).take(CHUNK).cloned().collect();
        let next = match records.last() {
            Some((last, _)) if records.len() == CHUNK => last + 1,
            _ => shared.end,
        };
        Ok(Chunk { records, next })
    }

    async fn append(&self, records: &[Record]) -> Result<Vec<i64>> {
        let mut shared = self.shared();
        if shared.writer != Some(self.instance) {
            return Err(LogError::Unavailable("another instance writes".to_owned()));
        }
        let others = std::mem::take(&mut shared.interference);
        shared.append(others);
        match shared.tear.take() {
            Some(after) => {
                shared.append(records.iter().take(after).cloned());
                Err(LogError::Unknown("the connection was lost".to_owned()))
            }
            None => Ok(shared.append(records.iter().cloned())),
        }
    }

    fn writer(&self) -> Writer {
        let shared = self.shared();
        match shared.writer {
            Some(writer) if writer == self.instance => Writer::This(shared.elections),
            Some(writer) => Writer::Other(format!("http://instance-{writer}:8081")),
            None => Writer::Nobody("nobody was elected".to_owned()),
        }
    }
}
