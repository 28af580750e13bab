//! The schemas of a backup, read once by whoever needs them more than once.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use formats::commit::ObjectRef;

use super::SchemaArchive;
use crate::Result;
use crate::storage::Store;

/// What was read last, for as long as anybody holds it. Whoever shows a plan and then follows it has the same schemas in mind, and
/// they are large: two of them would be the half of what a restore of a hundred thousand versions takes.
#[derive(Debug, Clone, Default)]
pub struct Opened(Arc<Mutex<Weak<SchemaArchive>>>);

impl Opened {
    /// As [`SchemaArchive::open`], or what is held already.
    ///
    /// # Errors
    /// As [`SchemaArchive::open`].
    pub(crate) async fn open(
        &self,
        store: &Arc<dyn Store>,
        newest: &ObjectRef,
    ) -> Result<Arc<SchemaArchive>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(held) = held
            && held.newest == *newest
            && Arc::ptr_eq(held.store(), store)
        {
            return Ok(held);
        }
        let read = Arc::new(SchemaArchive::open(Arc::clone(store), newest).await?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&read);
        Ok(read)
    }
}
