//! One registration of a subject at a time. What the one before it has written is there when the next one compares, so nothing is
//! compared in vain; only another instance can still be faster.

use crate::names::Subject;
use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock, PoisonError, Weak};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Turns that are forgotten about first when there are so many.
const SOME: usize = 1024;

/// Whose turn it is.
#[derive(Default)]
pub(super) struct Turns(Lock<Known>);

#[derive(Default)]
struct Known {
    turns: HashMap<Subject, Weak<Mutex<()>>>,
    /// How many there may be before the ended ones are removed.
    most: usize,
}

impl Turns {
    /// Waits for one's turn, in the order of asking. It ends when the answer is dropped.
    pub(super) async fn take(&self, subject: &Subject) -> OwnedMutexGuard<()> {
        let turn = self.turn(subject);
        turn.lock_owned().await
    }

    fn turn(&self, subject: &Subject) -> Arc<Mutex<()>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = known.turns.get(subject).and_then(Weak::upgrade) {
            return turn;
        }
        if known.turns.len() >= known.most {
            known.turns.retain(|_, turn| turn.strong_count() > 0);
            known.most = SOME.max(2 * known.turns.len());
        }
        let turn = Arc::default();
        known.turns.insert(subject.clone(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_has_ended_is_forgotten() {
        let turns = Turns::default();
        let kept = turns.take(&Subject::parse("kept")).await;
        for n in 0..10 * SOME {
            drop(turns.take(&Subject::parse(&format!("s{n}"))).await);
        }
        let known = turns.0.lock().expect("a lock").turns.len();
        assert!(known <= SOME, "{known}");
        assert!(turns.turn(&Subject::parse("kept")).try_lock().is_err());
        drop(kept);
        assert!(turns.turn(&Subject::parse("kept")).try_lock().is_ok());
    }
}
