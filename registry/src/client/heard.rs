//! What a client was answered, page by page: who asks the same again learns whether anything is new without taking it apart.
//!
//! A list of ten thousand schemas is ten megabytes of JSON. Most of what a look at a registry costs is reading that, and most looks
//! find what the one before has found. No registry says in a header whether its list has changed, so the answers themselves do.

use super::error::Result;
use super::{Client, Query};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::sync::{Arc, Mutex, PoisonError};

/// Answers that are kept, at most. A registry that lists no schemas is asked for every one; one that has so many is read anew each time.
const MOST: usize = 10_000;

/// What was answered; nothing where that was too much to keep.
#[derive(Debug)]
pub(super) struct Heard(Mutex<Option<Vec<Answer>>>);

#[derive(Debug, Clone)]
struct Answer {
    path: String,
    query: Vec<(String, String)>,
    /// Of the body; none where there was no such thing.
    hash: Option<blake3::Hash>,
}

impl Heard {
    /// Notes a good answer, or that there is none. What could not be answered says nothing about what there is.
    pub(super) fn note(&self, path: &str, query: &Query<'_>, answer: Option<&Bytes>) {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let answer = Answer { path: path.to_owned(), query, hash: answer.map(|body| blake3::hash(body)) };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.as_mut().filter(|all| all.len() < MOST) {
            Some(all) => all.push(answer),
            None => *all = None,
        }
    }
}

impl Client {
    /// A client of the same registry that keeps in mind what it is answered from now on.
    #[must_use]
    pub fn listening(&self) -> Self {
        let heard = Heard(Mutex::new(Some(Vec::new())));
        Self { sender: Arc::clone(&self.sender), heard: Some(heard) }
    }

    /// Whether everything that this client has asked is answered with the same bytes now. Ends with the first answer that is not. Who
    /// does not listen, or heard more than is kept, does not know: false.
    pub async fn is_answered_the_same(&self) -> Result<bool> {
        let Some(heard) = &self.heard else { return Ok(false) };
        let Some(all) = heard.0.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return Ok(false);
        };
        let again = stream::iter(all).map(|before| async move {
            let query: Vec<_> =
                before.query.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            let now = match self.sender.send(reqwest::Method::GET, &before.path, &query, None).await {
                Err(error) if error.is_absent() => None,
                answer => Some(blake3::hash(&answer?.body)),
            };
            Ok(now == before.hash)
        });
        let changed = again.buffered(self.ahead()).try_filter(|same| std::future::ready(!same));
        Ok(std::pin::pin!(changed).try_next().await?.is_none())
    }
}
