//! The tail: found with few requests, and never taken for shorter than it is.

use std::sync::Arc;

use bytes::Bytes;
use formats::paths::ObjectName;

use super::super::{CommitLog, tail};
use super::chance::Chance;
use super::sample;
use super::scripted::Scripted;
use crate::ErrorKind;
use crate::storage::Store;

async fn numbers(last: u64) -> Arc<Scripted> {
    let store = Scripted::new();
    for seq in 1..=last {
        store.store.replace_view(&ObjectName::Commit(seq).key(), Bytes::new()).await.expect("puts");
    }
    store
}

#[tokio::test]
async fn the_tail_is_found_with_requests_that_grow_with_the_logarithm() {
    for last in [0, 1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 255, 256, 257, 319, 320, 321, 1000, 20_000] {
        let store = numbers(last).await;
        assert_eq!(tail::find(&*store).await.expect("finds"), last);
        let requests = store.take_requests();
        let (heads, lists) = (requests["head"], requests["list"]);
        // Four probes while the step grows 256-fold, then sixteen while the rest shrinks to a seventeenth.
        let bound = 4 * (1 + last.max(1).ilog(256) as u64 + 1) + 16 * (1 + last.max(1).ilog(17) as u64);
        assert!(heads <= bound && lists == 1, "{last} commits: {requests:?}, bound {bound}");
    }
}

#[tokio::test]
async fn a_missing_commit_is_never_the_end_of_a_shorter_log() {
    let mut found = 0;
    for missing in 1..400 {
        let store = numbers(400).await;
        store.delete(&ObjectName::Commit(missing).key()).await.expect("deletes");
        match tail::find(&*store).await {
            // Probes need not meet it; whoever needs that commit will.
            Ok(tail) => assert_eq!(tail, 400, "without {missing}"),
            Err(error) => {
                found += 1;
                assert_eq!(error.kind(), ErrorKind::Damaged);
                assert!(error.message().contains(&ObjectName::Commit(missing).key()), "{error}");
            }
        }
    }
    assert!(found > 0);
}

#[tokio::test]
async fn a_missing_commit_that_is_needed_is_named() {
    for missing in 1..20 {
        let store = Scripted::new();
        sample::filled(Arc::clone(&store) as Arc<dyn Store>, 20, sample::every(1000)).await;
        let key = ObjectName::Commit(missing).key();
        store.delete(&key).await.expect("deletes");
        let error = CommitLog::open(store, Chance::new(2).seam()).await.expect_err("a hole");
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.message().contains(&key) && error.next_step().is_some(), "{error}");
    }
}

#[tokio::test]
async fn commits_that_appear_while_the_tail_is_sought_are_no_hole() {
    for start in [0, 1, 2, 16, 17, 64, 300] {
        for times in 1..30 {
            let store = numbers(start).await;
            store.grow(times);
            let tail = tail::find(&*store).await.expect("no hole");
            assert!(tail >= start, "{tail} of {start}, grown {times} times");
        }
    }
}
