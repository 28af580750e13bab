//! The journal as create-only objects in the backup's store: `restores/<restore id>/<number>.json`.
//!
//! Each object holds some entries; numbers have no holes, so a reader goes on until one is missing, and of two writers
//! of a number one wins.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use formats::ids::RestoreId;
use formats::paths::ObjectName;

use super::{Journal, Text};
use crate::failpoint;
use crate::storage::Store;
use crate::{Error, Result};

/// No object of the journal is larger.
const MAX_OBJECT: u64 = 64 << 20;

/// See the module.
#[derive(Debug)]
pub(in crate::restore) struct ObjectJournal {
    store: Arc<dyn Store>,
    id: RestoreId,
}

impl ObjectJournal {
    pub(in crate::restore) fn new(store: Arc<dyn Store>, id: RestoreId) -> Self {
        Self { store, id }
    }

    /// Reads objects from `from` on into `entries`, where earlier ones win; gives the first number that is free.
    async fn read_from(&self, from: u64, entries: &mut BTreeMap<String, Text>) -> Result<u64> {
        let mut number = from;
        loop {
            let key = ObjectName::Restore(self.id, number).key();
            let Some(stored) = self.store.get(&key, MAX_OBJECT).await? else { return Ok(number) };
            let object: BTreeMap<String, Text> = serde_json::from_slice(&stored)
                .map_err(|e| Error::damaged(format!("{key} is no journal of a restore")).caused_by(e))?;
            for (name, value) in object {
                entries.entry(name).or_insert(value);
            }
            number += 1;
        }
    }
}

#[async_trait]
impl Journal for ObjectJournal {
    async fn read(&self) -> Result<BTreeMap<String, Text>> {
        let mut entries = BTreeMap::new();
        self.read_from(1, &mut entries).await?;
        Ok(entries)
    }

    async fn claim(&self, wanted: Vec<(String, Text)>) -> Result<BTreeMap<String, Text>> {
        let mut entries = BTreeMap::new();
        let mut next = 1;
        loop {
            // Whatever the put says, what counts is what is read afterwards.
            next = self.read_from(next, &mut entries).await?;
            let missing: BTreeMap<String, Text> =
                wanted.iter().filter(|(key, _)| !entries.contains_key(key)).cloned().collect();
            if missing.is_empty() {
                entries.retain(|key, _| wanted.iter().any(|(name, _)| name == key));
                return Ok(entries);
            }
            let body = serde_json::to_vec(&missing)
                .map_err(|e| Error::permanent("a journal entry does not serialize").caused_by(e))?;
            let key = ObjectName::Restore(self.id, next).key();
            failpoint::hit("before_journal_write");
            self.store.create(&key, vec![Bytes::from(body)]).await.map_err(|e| e.at(&key))?;
            failpoint::hit("after_journal_write");
        }
    }
}
