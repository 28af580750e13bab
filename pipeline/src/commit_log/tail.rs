//! Finds the last commit with a number of requests that grows with the logarithm of the log's length.
//!
//! Numbers have no holes and commits are never deleted, so existence is monotone. A listing after the tail then shows
//! whether that held: commits beyond a missing one mean that an object was lost, which must never pass for a short log.

use formats::paths::{COMMITS, ObjectName};
use futures::{StreamExt, TryStreamExt, stream};

use crate::storage::Store;
use crate::{Error, Result};

/// Requests sent at once.
const WIDTH: u64 = 16;

/// The number of the last commit; 0 where there is none.
pub(super) async fn find(store: &dyn Store) -> Result<u64> {
    // Everything up to `low` is there; nothing from `high` on is.
    let (mut low, mut high) = (0_u64, None::<u64>);
    let mut step = 1_u64;
    while high.is_none() {
        let probes: Vec<u64> = (0..4).map(|i| low.saturating_add(step << (2 * i))).collect();
        step <<= 8;
        narrow(store, &probes, &mut low, &mut high).await?;
    }
    let mut high = high.unwrap_or(low + 1);
    while high - low > 1 {
        let width = (high - low).div_ceil(WIDTH + 1).max(1);
        let probes: Vec<u64> = (1..=WIDTH).map(|i| low + i * width).filter(|&seq| seq < high).collect();
        let mut found = Some(high);
        narrow(store, &probes, &mut low, &mut found).await?;
        high = found.unwrap_or(high);
    }
    let after = ObjectName::Commit(low).key();
    let mut beyond = store.list(COMMITS, (low > 0).then_some(after.as_str()));
    while let Some(object) = beyond.try_next().await? {
        let Ok(ObjectName::Commit(seq)) = ObjectName::parse(&object.key) else { continue };
        // Another writer may have gone on meanwhile; a hole cannot be explained by that.
        if store.head(&ObjectName::Commit(low + 1).key()).await?.is_none() {
            return Err(Error::damaged(format!(
                "{} is missing although {} is there",
                ObjectName::Commit(low + 1).key(),
                object.key
            ))
            .hint(
                "restore the missing object from a copy of the store; nothing may be written before that",
            ));
        }
        low = low.max(seq);
        break;
    }
    Ok(low)
}

async fn narrow(store: &dyn Store, probes: &[u64], low: &mut u64, high: &mut Option<u64>) -> Result<()> {
    let answers: Vec<(u64, bool)> = stream::iter(probes.iter().copied())
        .map(|seq| async move {
            Ok::<_, Error>((seq, store.head(&ObjectName::Commit(seq).key()).await?.is_some()))
        })
        .buffered(WIDTH as usize)
        .try_collect()
        .await?;
    for (seq, there) in answers {
        if there {
            *low = (*low).max(seq);
        } else {
            *high = Some(high.map_or(seq, |known| known.min(seq)));
        }
    }
    if high.is_some_and(|high| high <= *low) {
        return Err(Error::damaged(format!("commits are missing before {}", ObjectName::Commit(*low).key()))
            .hint("run `replevin verify`; restore the missing objects from a copy of the store"));
    }
    Ok(())
}

/// A commit that was there a moment ago.
pub(super) fn vanished(seq: u64) -> Error {
    Error::damaged(format!("{} is missing although later commits are there", ObjectName::Commit(seq).key()))
        .hint("restore the missing object from a copy of the store")
}
