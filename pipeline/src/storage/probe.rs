//! Finds out whether a store keeps the promise on which everything else rests, before anything relies on it.

use bytes::Bytes;
use formats::paths::ObjectName;

use super::{Created, Store};
use crate::seam::Rand;
use crate::{Error, Result};

/// Much more than a probe object holds.
const MAX: u64 = 4096;

/// What a store was seen to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Creating an object that exists is refused. Without it two writers of one backup could overwrite each other.
    pub create_only: bool,
    /// Creating an object names its version, so that it can be read again after it was overwritten or deleted.
    pub versions: bool,
}

impl Capabilities {
    /// Refuses a store that more than one writer must not share.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Input`] where `create_only` is missing, in words for the operator.
    pub fn require_create_only(&self, store: &dyn Store) -> Result<()> {
        if self.create_only {
            return Ok(());
        }
        Err(Error::input(format!(
            "{} overwrites an object although it was told to create it only where there is none (the condition \
             If-None-Match is ignored); two writers could destroy each other's backup there",
            store.location()
        ))
        .hint("use a store that honours conditional writes: a newer version of this server, AWS S3, Azure, GCS or a disk"))
    }
}

/// Creates an object below a folder (empty or ending in a slash) twice with different bodies, looks at what stands, and
/// deletes it. Also shows at once whether the credentials allow to write and read. A writer needs no right to delete, and a
/// locked bucket gives none: the object then stays behind, which is said and harms nothing.
///
/// # Errors
/// What the store answered where it could not be tried; an object that vanishes or changes is
/// [`crate::ErrorKind::Permanent`].
pub async fn probe(store: &dyn Store, folder: &str, rand: &dyn Rand) -> Result<Capabilities> {
    let key = format!("{folder}{}", name(rand));
    let looked = look(store, &key).await;
    if let Err(error) = store.delete(&key).await {
        tracing::warn!(%error, key, "the object that the store was tried with stays behind");
    }
    looked.map_err(|error| error.at("probe of the store"))
}

/// A key for an object that is deleted at once, which nobody else uses. What a process that dies leaves is found where
/// these lie, and pruned.
pub(crate) fn name(rand: &dyn Rand) -> String {
    ObjectName::Probe(u128::from(rand.next_u64()) << 64 | u128::from(rand.next_u64())).key()
}

async fn look(store: &dyn Store, key: &str) -> Result<Capabilities> {
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    let created = store.create(key, vec![first.clone()]).await?;
    if let Created::Exists = created {
        return Err(Error::permanent(format!("{}: {key} exists although nobody made it", store.location())));
    }
    let again = store.create(key, vec![second.clone()]).await?;
    let stands = store.get(key, MAX).await?;
    let create_only = match stands {
        Some(body) if body == first => !matches!(again, Created::New(_)),
        Some(body) if body == second => false,
        // The first create was unclear and did not land, or the store loses what it acknowledged.
        None if matches!(created, Created::Unclear(_)) => {
            return Err(Error::retry(format!("{}: {key} could not be created", store.location())));
        }
        _ => {
            let message = format!("{}: {key} does not hold what was written to it", store.location());
            return Err(Error::permanent(message));
        }
    };
    let versions = matches!(created, Created::New(version) if version.version_id.is_some());
    Ok(Capabilities { create_only, versions })
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;
    use crate::seam::Seam;
    use crate::storage::memory::MemoryStore;

    #[tokio::test]
    async fn a_store_that_keeps_the_promise_is_seen_to_and_left_clean() {
        let seam = Seam::system();
        let store = MemoryStore::new(seam.clock.clone());
        let seen = probe(&store, "backup/", &*seam.rand).await.unwrap();
        assert_eq!(seen, Capabilities { create_only: true, versions: false });
        seen.require_create_only(&store).unwrap();
        assert!(store.list("", None).try_collect::<Vec<_>>().await.unwrap().is_empty());
        let refused =
            Capabilities { create_only: false, versions: true }.require_create_only(&store).unwrap_err();
        assert!(refused.message().starts_with("memory: overwrites an object"), "{refused}");
    }
}
