//! A create-only put that ends in a clear answer.

use std::time::Duration;

use bytes::Bytes;
use formats::document::MAX_DOCUMENT;

use crate::seam::{Rand, backoff};
use crate::storage::{Created, Store};
use crate::{Error, Result};

/// How often an unclear put is sent again before the writer gives up.
const ATTEMPTS: u32 = 12;

/// Puts an object unless one is there; `None` where these very bytes are durable now, otherwise the bytes of whoever was
/// first.
///
/// # Errors
/// What the store says; [`crate::ErrorKind::Permanent`] where it gives no clear answer for about half a minute. The
/// bytes may still arrive then.
pub(crate) async fn create(
    store: &dyn Store,
    rand: &dyn Rand,
    key: &str,
    bytes: &Bytes,
) -> Result<Option<Bytes>> {
    let mut why = String::new();
    for attempt in 0..ATTEMPTS {
        match store.create(key, vec![bytes.clone()]).await {
            Ok(Created::New(_)) => return Ok(None),
            // "Exists" may be an earlier attempt of ours whose answer was lost: only the bytes tell.
            Ok(Created::Exists) => {}
            Ok(Created::Unclear(reason)) => why = reason,
            Err(error) if error.is_retriable() => why = error.to_string(),
            Err(error) => return Err(error.at(key)),
        }
        match store.get(key, MAX_DOCUMENT as u64).await {
            Ok(Some(found)) if found == *bytes => return Ok(None),
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {
                tracing::warn!(key, %why, "a put got no clear answer and is not there; sending the same bytes again")
            }
            // The answer is still owed: a commit that landed must not be reported as failed for a lost read.
            Err(error) if error.is_retriable() => why = error.to_string(),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(backoff(rand, attempt, Duration::from_millis(50), Duration::from_secs(5))).await;
    }
    Err(Error::permanent(format!(
        "{key}: no clear answer from {} after {ATTEMPTS} attempts: {why}",
        store.location()
    ))
    .hint("start again once the store answers; nothing is lost"))
}
