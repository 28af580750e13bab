//! How a commit is tried again, and how one whose answer was lost is settled: the same for every store behind a network.
//!
//! Three things can come of a try: an answer; the certainty that nothing was written, after which the same commit may be tried
//! again; or no answer after the words that make it true were sent. Then the store is asked for the commit's attempt, in a way
//! that also waits for, or makes void, what may still be under way. Only when that cannot be done is the outcome unknown.

use super::rows::Rows;
use super::{Commit, Head, Result, StoreError};
use async_trait::async_trait;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The first pause before another try; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How one try ended.
#[derive(Debug)]
pub(crate) enum Try {
    /// The commit is true.
    Done,
    /// Nothing was written, and another try would end the same way.
    No(StoreError),
    /// Nothing was written, by chance: a deadlock, a race.
    Again(String),
    /// It may be true.
    Lost(String),
}

/// A store in which a commit is tried.
#[async_trait]
pub(crate) trait Tries: Sync {
    /// Tries a commit once, and ends at `deadline` at the latest.
    async fn once(&self, commit: &Commit, rows: &Rows<'_>, deadline: Instant) -> Try;

    /// Whether a commit came true. Where the answer is no, it never will, unless it is still on its way there. Ends at `deadline` at
    /// the latest.
    async fn came_true(&self, commit: &Commit, deadline: Instant) -> std::result::Result<bool, String>;
}

/// Makes a commit true or says why not. Takes `limit` at most, and as long again to look up what became of a lost one.
pub(crate) async fn carry_out(store: &dyn Tries, commit: &Commit, limit: Duration) -> Result<Head> {
    let rows = Rows::of(commit)?;
    let start = Instant::now();
    let (deadline, last) = (start + limit, start + limit * 2);
    let mut was_lost = false;
    for round in 0.. {
        let why = match store.once(commit, &rows, deadline).await {
            Try::Done => return Ok(commit.head()),
            // A lost one may have been on its way still when the store was asked, and then what is in its way now may be itself.
            Try::No(StoreError::Conflict) if was_lost => {
                let made =
                    settle(store, commit, last, "another writer was faster, or it was this one").await?;
                return if made { Ok(commit.head()) } else { Err(StoreError::Conflict) };
            }
            Try::No(error) => return Err(error),
            Try::Again(why) => why,
            Try::Lost(why) => match settle(store, commit, last, &why).await? {
                true => return Ok(commit.head()),
                false => {
                    was_lost = true;
                    why
                }
            },
        };
        let next = Instant::now() + pause(round, commit);
        if next >= deadline {
            return Err(StoreError::Unavailable(format!("gave up after {} tries: {why}", round + 1)));
        }
        tracing::debug!(context = %commit.context, round, why, "a commit is tried again");
        sleep_until(next).await;
    }
    Err(StoreError::Unavailable("no try was made".into()))
}

async fn settle(store: &dyn Tries, commit: &Commit, last: Instant, lost: &str) -> Result<bool> {
    tracing::warn!(context = %commit.context, attempt = %commit.attempt, why = lost, "the answer to a commit was lost: asking what became of it");
    for round in 0.. {
        let why = match store.came_true(commit, last).await {
            Ok(true) => return Ok(true),
            Ok(false) => return Ok(false),
            Err(why) => why,
        };
        let next = Instant::now() + pause(round, commit);
        if next >= last {
            return Err(StoreError::Unknown(format!("{lost}; then, asked what became of it: {why}")));
        }
        sleep_until(next).await;
    }
    Err(StoreError::Unknown(lost.to_owned()))
}

/// Longer from round to round, and not the same for two writers: their attempts are random.
fn pause(round: u32, commit: &Commit) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << round.min(10)).min(LONGEST_PAUSE);
    let bytes = commit.attempt.as_bytes();
    let share = bytes[usize::try_from(round).unwrap_or(0) % bytes.len()];
    longest.mul_f64(0.5 + f64::from(share) / 510.0)
}

#[cfg(test)]
mod tests;
