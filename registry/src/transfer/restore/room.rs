//! Versions of the target that were deleted for good to make room for others. Each is kept until what takes its place is there: where
//! the target does not take that for a schema, what it had comes back, under its number and its id.

use crate::client::{Client, Schema};
use crate::service::Deletion;
use crate::transfer::apply::place;
use crate::transfer::error::{Error, Result};
use crate::transfer::index::Key;
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

#[derive(Default)]
pub(super) struct Room {
    removed: Mutex<HashMap<Key, Schema>>,
    returned: AtomicU64,
}

impl Room {
    /// A version was deleted.
    pub(super) fn made(&self, key: Key, had: Schema) {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).insert(key, had);
    }

    /// Something else is there under its number; what was there, where it was deleted for that.
    pub(super) fn taken(&self, key: &Key) -> Option<Schema> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }

    /// Nothing else comes: what was there comes back. False where nothing was deleted.
    pub(super) async fn give_back(&self, key: &Key, is_deleted: bool, to: &Client) -> Result<bool> {
        let Some(had) = self.taken(key) else { return Ok(false) };
        let lost = |error: Error| {
            let text = format!("{key} was deleted for another one that is no schema, and cannot be put back");
            error.at(text).hint("register it again, under its number and its id; the target has it no more")
        };
        place(&had, to).await.map_err(lost)?;
        if is_deleted {
            to.delete_version_of(key, Deletion::Soft).await.map_err(|error| lost(error.into()))?;
        }
        self.returned.fetch_add(1, Relaxed);
        Ok(true)
    }

    /// How many came back.
    pub(super) fn returned(&self) -> u64 {
        self.returned.load(Relaxed)
    }
}
