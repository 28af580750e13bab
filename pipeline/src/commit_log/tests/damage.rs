//! What is missing, altered or swapped is named; what commits can make good, they do.

use std::sync::Arc;

use bytes::Bytes;
use formats::commit::{CheckpointRef, Commit, Op};
use formats::hash::Hash;
use formats::paths::{CHECKPOINTS, ObjectName};
use futures::TryStreamExt;

use super::super::CommitLog;
use super::super::checkpoint::read_root;
use super::chance::Chance;
use super::oracle;
use super::sample::{every, filled, next, topic};
use super::scripted::Scripted;
use crate::storage::Store;
use crate::{ErrorKind, Result};

async fn reopen(store: &Arc<Scripted>) -> Result<CommitLog> {
    CommitLog::open(Arc::clone(store) as Arc<dyn Store>, Chance::new(77).seam()).await
}

async fn flip(store: &Scripted, key: &str) {
    let mut bytes = store.store.get(key, 1 << 20).await.expect("reads").expect("is there").to_vec();
    let at = bytes.len() / 3;
    bytes[at] ^= 4;
    store.replace_view(key, bytes.into()).await.expect("writes");
}

async fn log_of_50(store: &Arc<Scripted>) -> CommitLog {
    let mut log = filled(Arc::clone(store) as Arc<dyn Store>, 48, every(8)).await;
    for number in 48..50 {
        let ops = vec![next(&log, &topic(0), 0, number)];
        log.commit(ops).await.expect("commits");
    }
    log
}

async fn newest_checkpoint(store: &Scripted) -> CheckpointRef {
    let (state, _) = oracle::replay(&store.store).expect("one history");
    state.checkpoint.expect("there are some")
}

async fn same_as_from_scratch(store: &Arc<Scripted>) {
    let log = reopen(store).await.expect("opens");
    let (scratch, _) = oracle::replay(&store.store).expect("one history");
    oracle::same_state(log.state(), &scratch).expect("the same");
    let lists = log.topic_lists(&topic(0)).await.expect("reads");
    let list = lists.into_values().next().expect("one partition");
    let expected = scratch.partition(&topic(0), 0).expect("there").lineages[0].segments.clone();
    assert_eq!(Some(list), expected.map(|list| list.to_vec()));
}

#[tokio::test(start_paused = true)]
async fn an_altered_commit_is_named() {
    let store = Scripted::new();
    log_of_50(&store).await;
    for seq in [49, 50] {
        let key = ObjectName::Commit(seq).key();
        let before = store.store.get(&key, 1 << 20).await.expect("reads").expect("is there");
        flip(&store, &key).await;
        let error = reopen(&store).await.expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        assert!(error.message().contains(&key), "{error}");
        store.replace_view(&key, before).await.expect("restores");
    }
    same_as_from_scratch(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_in_the_place_of_another_breaks_the_chain() {
    let store = Scripted::new();
    log_of_50(&store).await;
    let key = ObjectName::Commit(49).key();
    let stored = store.store.get(&key, 1 << 20).await.expect("reads").expect("is there");
    let mut commit = Commit::decode(49, &stored).expect("decodes");
    commit.time_ms += 1;
    store.replace_view(&key, commit.encode().expect("encodes").into()).await.expect("writes");
    let error = reopen(&store).await.expect_err("the chain is broken");
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(
        error.message().contains(&ObjectName::Commit(50).key()) && error.next_step().is_some(),
        "{error}"
    );

    // The first after the checkpoint is held by the checkpoint's own hash of the commit before.
    store.replace_view(&key, stored).await.expect("restores");
    let key = ObjectName::Commit(newest_checkpoint(&store).await.seq + 1).key();
    let stored = store.store.get(&key, 1 << 20).await.expect("reads").expect("is there");
    let other =
        store.store.get(&ObjectName::Commit(3).key(), 1 << 20).await.expect("reads").expect("is there");
    store.replace_view(&key, other).await.expect("writes");
    let error = reopen(&store).await.expect_err("another commit's bytes");
    assert!(error.kind() == ErrorKind::Damaged && error.message().contains(&key), "{error}");
    store.replace_view(&key, stored).await.expect("restores");
    same_as_from_scratch(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_checkpoint_is_named_and_the_log_goes_on_without_it() {
    for what in ["root", "positions", "runs"] {
        for gone in [true, false] {
            let store = Scripted::new();
            let mut log = log_of_50(&store).await;
            let reference = newest_checkpoint(&store).await;
            let root = read_root(&*store, reference).await.expect("reads");
            let page = |page: formats::checkpoint::PageRef| ObjectName::page(page.seq, page.blake3).key();
            let key = match what {
                "root" => ObjectName::CheckpointRoot(reference.seq).key(),
                "positions" => page(root.positions[0].page),
                _ => page(root.runs[0].index),
            };
            if gone {
                store.delete(&key).await.expect("deletes")
            } else {
                flip(&store, &key).await
            }
            if what != "runs" {
                let error = log.load_checkpoint(reference).await.expect_err("damaged");
                assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
                assert!(error.message().contains(&key) && error.next_step().is_some(), "{error}");
            }
            same_as_from_scratch(&store).await;
            // Whoever goes on writes a checkpoint that stands on nothing damaged.
            let mut log = reopen(&store).await.expect("opens").with_checkpoints(every(8));
            for number in 100..120 {
                let ops = vec![next(&log, &topic(0), 0, number)];
                log.commit(ops).await.expect("commits");
            }
            same_as_from_scratch(&store).await;
            let newest = newest_checkpoint(&store).await;
            assert!(newest.seq > reference.seq);
            if what != "runs" {
                log.load_checkpoint(newest).await.expect("the newest is whole");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_checkpoint_the_log_is_read_from_its_first_commit_and_gets_a_new_one() {
    let store = Scripted::new();
    log_of_50(&store).await;
    let objects: Vec<_> = store.list(CHECKPOINTS, None).try_collect().await.expect("lists");
    assert!(objects.len() > 10);
    for object in objects {
        store.delete(&object.key).await.expect("deletes");
    }
    same_as_from_scratch(&store).await;
    let mut log = reopen(&store).await.expect("opens").with_checkpoints(every(8));
    for number in 100..102 {
        let ops = vec![next(&log, &topic(0), 0, number)];
        log.commit(ops).await.expect("commits");
    }
    store.take_requests();
    same_as_from_scratch(&store).await;
    let reads = store.take_requests()["get"];
    assert!(reads < 20, "{reads} reads although there is a checkpoint");
}

#[tokio::test(start_paused = true)]
async fn a_missing_repository_is_not_made_anew_over_commits() {
    let store = Scripted::new();
    log_of_50(&store).await;
    store.delete("repository.json").await.expect("deletes");
    let id = super::sample::backup_id();
    let log = CommitLog::open_or_create(store, Chance::new(3).seam(), &id, "cluster-1").await;
    assert_eq!(log.expect_err("damage").kind(), ErrorKind::Damaged);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_the_state_does_not_admit_is_refused_by_readers_too() {
    let store = Scripted::new();
    let mut log = log_of_50(&store).await;
    let commit = Commit {
        seq: 51,
        previous: log.head().hash,
        incarnation: log.incarnation(),
        time_ms: 0,
        software: "faulty".into(),
        checkpoint: None,
        ops: vec![next(&log, &topic(0), 0, 1), next(&log, &topic(0), 0, 2)],
        extra: serde_json::Map::new(),
    };
    let before = log.state().clone();
    let bytes = Bytes::from(commit.encode().expect("encodes"));
    store.store.create(&ObjectName::Commit(51).key(), vec![bytes.clone()]).await.expect("puts");
    for error in [reopen(&store).await.expect_err("refused"), log.refresh().await.expect_err("refused")] {
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.message().contains(&ObjectName::Commit(51).key()), "{error}");
    }
    oracle::same_state(log.state(), &before).expect("a refused commit leaves no trace");
    assert_ne!(log.head().hash, Hash::of(&bytes));
    assert!(log.commit(vec![Op::Writer]).await.is_err(), "nothing is written behind it");
}

#[tokio::test(start_paused = true)]
async fn runs_are_merged_level_by_level_and_lists_stay_right() {
    let store = Scripted::new();
    let mut log = filled(Arc::clone(&store) as Arc<dyn Store>, 1, every(1)).await;
    for number in 1..1500_u64 {
        let mut ops = vec![next(&log, &topic(0), 0, number)];
        if number % 7 == 0 {
            let lists = log.topic_lists(&topic(0)).await.expect("reads");
            let ((partition, lineage), list) = lists.into_iter().next().expect("one partition");
            // Now old ones, now new ones.
            let at = if number % 2 == 0 { 0 } else { list.len() - 1 };
            ops.push(Op::Drop { topic: topic(0), partition, lineage, removed: vec![list[at].reference()] });
        }
        log.commit(ops).await.expect("commits");
    }
    let reference = log.checkpoint.expect("there is one");
    let root = read_root(&*store, reference).await.expect("reads");
    let levels: Vec<_> = root.runs.iter().map(|run| run.level).collect();
    assert!(levels.is_sorted_by(|older, newer| older >= newer), "{levels:?}");
    assert!(levels.first().is_some_and(|&level| level >= 1) && levels.len() < 64, "{levels:?}");
    same_as_from_scratch(&store).await;
    // Pruned neighbours are one gap, however many they were.
    let gaps = log.state().partition(&topic(0), 0).expect("there").lineages[0].gaps.len();
    assert!(gaps < 160, "{gaps} gaps");
}
