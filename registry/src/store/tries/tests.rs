//! Tries that end as they are told to.

use super::*;
use crate::store::suite;
use std::collections::VecDeque;
use std::sync::Mutex;

/// Answers in turn.
#[derive(Default)]
struct Told {
    tries: Mutex<VecDeque<Try>>,
    fates: Mutex<VecDeque<std::result::Result<bool, String>>>,
}

#[async_trait]
impl Tries for Told {
    async fn once(&self, _: &Commit, _: &Rows<'_>, _: Instant) -> Try {
        self.tries.lock().expect("a lock").pop_front().unwrap_or(Try::Again("again".into()))
    }

    async fn came_true(&self, _: &Commit, _: Instant) -> std::result::Result<bool, String> {
        self.fates.lock().expect("a lock").pop_front().unwrap_or(Err("nobody there".into()))
    }
}

async fn outcome(tries: Vec<Try>, fates: Vec<std::result::Result<bool, String>>) -> (Result<Head>, Told) {
    let told = Told { tries: Mutex::new(tries.into()), fates: Mutex::new(fates.into()) };
    let commit = suite::first_commit("told");
    let result = carry_out(&told, &commit, Duration::from_millis(100)).await;
    (result, told)
}

#[tokio::test]
async fn what_was_lost_and_came_true_is_not_tried_again() {
    let tries = vec![Try::Lost("cut".into()), Try::No(StoreError::Conflict)];
    let (result, told) = outcome(tries, vec![Err("not yet".into()), Ok(true)]).await;
    assert_eq!(result.expect("true").revision, 1);
    assert_eq!(told.tries.lock().expect("a lock").len(), 1);
}

#[tokio::test]
async fn what_was_lost_and_never_will_be_is_tried_again() {
    let tries = vec![Try::Lost("cut".into()), Try::Again("deadlock".into()), Try::Done];
    assert_eq!(outcome(tries, vec![Ok(false)]).await.0.expect("true").revision, 1);
}

#[tokio::test]
async fn what_was_lost_and_came_true_late_is_no_conflict() {
    let tries = || vec![Try::Lost("cut".into()), Try::No(StoreError::Conflict)];
    assert_eq!(outcome(tries(), vec![Ok(false), Ok(true)]).await.0.expect("true").revision, 1);
    let (result, _) = outcome(tries(), vec![Ok(false), Ok(false)]).await;
    assert!(matches!(result, Err(StoreError::Conflict)), "{result:?}");
}

#[tokio::test]
async fn what_nobody_can_tell_is_unknown() {
    let (result, _) = outcome(vec![Try::Lost("cut".into())], Vec::new()).await;
    let Err(StoreError::Unknown(why)) = result else { panic!("{result:?}") };
    assert!(why.contains("cut") && why.contains("nobody there"), "{why}");
}

#[tokio::test]
async fn tries_come_to_an_end() {
    let (result, _) = outcome(Vec::new(), Vec::new()).await;
    let Err(StoreError::Unavailable(why)) = result else { panic!("{result:?}") };
    assert!(why.contains("gave up after"), "{why}");
}

#[tokio::test]
async fn a_conflict_is_not_tried_again() {
    let (result, told) = outcome(vec![Try::No(StoreError::Conflict), Try::Done], Vec::new()).await;
    assert!(matches!(result, Err(StoreError::Conflict)));
    assert_eq!(told.tries.lock().expect("a lock").len(), 1);
}
