//! Finds the last commit with a number of requests that grows with the logarithm of the log's length.
//!
//! Numbers have no holes and commits are never deleted, so existence is monotone. A listing after the tail then shows
//! whether that held: commits beyond a missing one mean that an object was lost, which must never pass for a short log.
//! Other writers go on meanwhile, so what looks like a hole is asked for once more before it is called one.

use formats::paths::{COMMITS, ObjectName};
use futures::{StreamExt, TryStreamExt, stream};

use crate::storage::Store;
use crate::{Error, Result};

/// Requests sent at once.
const WIDTH: u64 = 16;
/// No log is as long as this: a commit a millisecond for thirty years. A store that claims so says yes to everything.
const LONGEST: u64 = 1 << 40;

/// The number of the last commit; 0 where there is none.
pub(super) async fn find(store: &dyn Store) -> Result<u64> {
    // Everything up to `low` is there; `high` was not when it was asked for.
    let (mut low, mut high) = (0_u64, None::<u64>);
    let mut step = 1_u64;
    let mut high = loop {
        let probes: Vec<u64> = (0..4).map(|i| low.saturating_add(step << (2 * i))).collect();
        narrow(store, &probes, &mut low, &mut high).await?;
        if let Some(high) = high {
            break high;
        }
        if low > LONGEST {
            return Err(Error::permanent(format!(
                "{} claims to hold {}",
                store.location(),
                ObjectName::Commit(low).key()
            ))
            .hint("something between here and the store answers yes to every question"));
        }
        step = step.saturating_mul(256).min(LONGEST);
    };
    while high - low > 1 {
        let width = (high - low).div_ceil(WIDTH + 1);
        let probes: Vec<u64> = (1..=WIDTH).map(|i| low + i * width).filter(|&seq| seq < high).collect();
        let mut known = Some(high);
        narrow(store, &probes, &mut low, &mut known).await?;
        high = known.filter(|&known| known > low).unwrap_or(low + 1);
    }
    let after = ObjectName::Commit(low).key();
    let mut beyond = store.list(COMMITS, (low > 0).then_some(after.as_str()));
    while let Some(object) = beyond.try_next().await? {
        let Ok(ObjectName::Commit(seq)) = ObjectName::parse(&object.key) else { continue };
        if store.head(&ObjectName::Commit(low + 1).key()).await?.is_none() {
            return Err(hole(low + 1, seq));
        }
        return Ok(low.max(seq));
    }
    Ok(low)
}

/// Asks for some numbers at once, and moves `low` up and `high` down.
async fn narrow(store: &dyn Store, probes: &[u64], low: &mut u64, high: &mut Option<u64>) -> Result<()> {
    let answers: Vec<(u64, bool)> = stream::iter(probes.iter().copied())
        .map(|seq| async move { Ok::<_, Error>((seq, is_there(store, seq).await?)) })
        .buffered(WIDTH as usize)
        .try_collect()
        .await?;
    *low = answers.iter().filter(|(_, there)| *there).map(|(seq, _)| *seq).fold(*low, u64::max);
    for (seq, _) in answers.into_iter().filter(|(_, there)| !there) {
        if seq > *low {
            *high = Some(high.map_or(seq, |known| known.min(seq)));
        } else if !is_there(store, seq).await? {
            return Err(hole(seq, *low));
        }
    }
    Ok(())
}

async fn is_there(store: &dyn Store, seq: u64) -> Result<bool> {
    Ok(store.head(&ObjectName::Commit(seq).key()).await?.is_some())
}

fn hole(missing: u64, there: u64) -> Error {
    let (missing, there) = (ObjectName::Commit(missing).key(), ObjectName::Commit(there).key());
    Error::damaged(format!("{missing} is missing although {there} is there"))
        .hint("restore the missing object from a copy of the store; nothing may be written before that")
}

/// A commit that was there a moment ago, or must be because a later one is.
pub(super) fn vanished(seq: u64) -> Error {
    Error::damaged(format!("{} is missing although later commits are there", ObjectName::Commit(seq).key()))
        .hint("restore the missing object from a copy of the store; nothing may be written before that")
}
