//! Doubtful puts, lost races, and who stops.

use std::sync::Arc;

use formats::commit::{LineageReason, Op};
use formats::ids::LineageId;
use formats::paths::ObjectName;

use super::oracle;
use super::sample::{self, every, filled, next, open, topic};
use super::scripted::{Fate, Scripted};
use crate::storage::{Created, Store};
use crate::{ErrorKind, Result};

fn shared(store: &Arc<Scripted>) -> Arc<dyn Store> {
    Arc::clone(store) as Arc<dyn Store>
}

#[tokio::test(start_paused = true)]
async fn the_older_of_two_daemons_is_fenced_at_its_next_commit() {
    let store = Scripted::new();
    let mut older = open(shared(&store), 1).await;
    older.become_writer().await.expect("takes over");
    older.commit(vec![sample::lineage(&topic(0), 0, 1, 0)]).await.expect("commits");
    let mut newer = open(shared(&store), 2).await;
    newer.become_writer().await.expect("takes over");
    let ops = vec![next(&older, &topic(0), 0, 1)];
    let error = older.commit(ops.clone()).await.expect_err("fenced");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.message().contains(&newer.incarnation().to_string()), "{error}");
    // For good: nothing that it tries later changes that.
    assert_eq!(older.commit(ops).await.expect_err("fenced").kind(), ErrorKind::Fenced);
    let ops = vec![next(&newer, &topic(0), 0, 1)];
    newer.commit(ops).await.expect("the newer goes on");
    assert_eq!(oracle::replay(&store.store).expect("one history").0.seq, 4);
}

#[tokio::test(start_paused = true)]
async fn of_daemons_that_start_together_one_goes_on() {
    let store = Scripted::new();
    let mut logs = Vec::new();
    for seed in 1..=5 {
        logs.push(open(shared(&store), seed).await);
    }
    for log in logs.iter_mut().rev() {
        log.become_writer().await.expect("takes over, in its turn");
    }
    let mut going_on = 0;
    for log in &mut logs {
        match log.commit(vec![sample::lineage(&topic(0), log.incarnation().0 as i32 & 0xffff, 1, 0)]).await {
            Ok(_) => going_on += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced),
        }
    }
    assert_eq!(going_on, 1);
}

#[tokio::test(start_paused = true)]
async fn who_never_said_to_be_the_writer_is_not_fenced_by_one() {
    let store = Scripted::new();
    let mut daemon = filled(shared(&store), 2, every(1000)).await;
    daemon.become_writer().await.expect("takes over");
    let mut pruner = open(shared(&store), 2).await;
    let list = pruner.topic_lists(&topic(0)).await.expect("reads");
    let ((partition, lineage), list) = list.into_iter().next().expect("one partition");
    let removed = vec![list[0].reference()];
    pruner.commit(vec![Op::Drop { topic: topic(0), partition, lineage, removed }]).await.expect("commits");
    let ops = vec![next(&daemon, &topic(0), 0, 9)];
    daemon.commit(ops).await.expect("the daemon goes on");
}

#[tokio::test(start_paused = true)]
async fn a_doubtful_put_is_sent_again_with_the_very_same_bytes() {
    for (fates, sent) in [
        (vec![Fate::AnswerLost], 1),
        (vec![Fate::OwnExists], 1),
        (vec![Fate::Lost], 2),
        (vec![Fate::Busy], 2),
        (vec![Fate::Lost, Fate::Busy, Fate::Lost, Fate::AnswerLost], 4),
    ] {
        let store = Scripted::new();
        let mut log = filled(shared(&store), 3, every(1000)).await;
        store.next_puts(fates.clone());
        let ops = vec![next(&log, &topic(0), 0, 7)];
        let committed = log.commit(ops.clone()).await.expect("resolved");
        let bodies = store.sent();
        assert_eq!(bodies.len(), sent, "{fates:?}");
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{fates:?}");
        let (state, commits) = oracle::replay(&store.store).expect("one history");
        assert_eq!((state.seq, commits[3].1), (committed.seq, committed.hash));
        assert_eq!(commits[3].0.ops, ops);
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_landed_is_not_failed_by_reads_that_fail() {
    let store = Scripted::new();
    let mut log = filled(shared(&store), 3, every(1000)).await;
    store.next_puts([Fate::AnswerLost]);
    store.fail_gets(5);
    let ops = vec![next(&log, &topic(0), 0, 7)];
    assert_eq!(log.commit(ops).await.expect("resolved").seq, 4);
}

#[tokio::test(start_paused = true)]
async fn a_number_that_another_writer_took_is_a_lost_race() {
    let store = Scripted::new();
    let mut ours = filled(shared(&store), 3, every(1000)).await;
    let mut theirs = open(shared(&store), 2).await;
    theirs.commit(vec![sample::lineage(&topic(1), 0, 1, 0)]).await.expect("commits");
    store.next_puts([Fate::Lost]);
    let ops = vec![next(&ours, &topic(0), 0, 7)];
    assert_eq!(ours.commit(ops).await.expect("fits after theirs").seq, 5);
    assert_eq!(oracle::replay(&store.store).expect("one history").0.seq, 5);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_lands_after_the_writer_gave_up_is_the_writers_own_when_it_asks_again() {
    let store = Scripted::new();
    let mut log = filled(shared(&store), 3, every(1000)).await;
    store.next_puts([Fate::Lost; 12]);
    let ops = vec![next(&log, &topic(0), 0, 7)];
    let error = log.commit(ops.clone()).await.expect_err("no answer ever");
    assert!(error.message().contains("no clear answer"), "{error}");
    let late = store.sent()[0].clone();
    let key = ObjectName::Commit(4).key();
    assert!(matches!(store.store.create(&key, vec![late]).await, Ok(Created::New(_))));
    assert_eq!(log.commit(ops.clone()).await.expect("it is there").seq, 4);
    let (state, commits) = oracle::replay(&store.store).expect("one history");
    assert_eq!((state.seq, &commits[3].0.ops), (4, &ops));
}

#[tokio::test(start_paused = true)]
async fn operations_that_another_writer_made_stale_are_fenced_and_own_nonsense_is_a_defect() {
    let store = Scripted::new();
    let mut first = filled(shared(&store), 3, every(1000)).await;
    let mut second = open(shared(&store), 2).await;
    let stale = vec![next(&first, &topic(0), 0, 7)];
    let ops = vec![next(&second, &topic(0), 0, 8)];
    second.commit(ops).await.expect("commits");
    let error = first.commit(stale).await.expect_err("the position moved");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.message().contains("topic-0000-0"), "{error}");

    let mut alone = open(shared(&store), 3).await;
    let nonsense = vec![sample::gap(&topic(0), 0, 1, 5, 6)];
    assert_eq!(alone.commit(nonsense).await.expect_err("a defect").kind(), ErrorKind::Permanent);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_slept_catches_up_before_it_puts_again() -> Result<()> {
    let store = Scripted::new();
    let mut slept = open(shared(&store), 9).await;
    filled(shared(&store), 300, every(50)).await;
    store.next_puts([]);
    slept.commit(vec![sample::lineage(&topic(3), 0, 1, 0)]).await?;
    assert_eq!(slept.head().seq, 301);
    assert!(store.sent().len() <= 2, "{} puts", store.sent().len());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_log_that_only_follows_does_not_grow() -> Result<()> {
    let store = Scripted::new();
    let checkpoints = super::super::CheckpointSettings { commits: 10, changes: 20 };
    let mut follower = open(shared(&store), 9).await.with_checkpoints(checkpoints);
    let mut log = filled(shared(&store), 1, checkpoints).await;
    for number in 1..200 {
        let ops = vec![next(&log, &topic(0), 0, number)];
        log.commit(ops).await?;
        follower.refresh().await?;
        assert!(follower.state().changes.len() <= 32, "{} changes kept", follower.state().changes.len());
    }
    // And builds on the other's checkpoints: one of its own adds no second copy of everything.
    let topic = topic(0);
    assert_eq!(follower.topic_lists(&topic).await?, log.topic_lists(&topic).await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn one_checkpoint_serves_several_writers() -> Result<()> {
    let store = Scripted::new();
    let mut logs = Vec::new();
    for seed in 0..4 {
        let mut log = open(shared(&store), seed).await.with_checkpoints(every(16));
        log.refresh().await?;
        log.commit(vec![sample::lineage(&topic(seed as usize), 0, 1, 0)]).await?;
        logs.push(log);
    }
    for round in 0..40 {
        for (at, log) in logs.iter_mut().enumerate() {
            let ops = vec![next(log, &topic(at), 0, round)];
            log.commit(ops).await?;
        }
    }
    let roots = futures::TryStreamExt::try_collect::<Vec<_>>(store.list("checkpoints/", None)).await?;
    let roots = roots.iter().filter(|object| object.key.ends_with("/root")).count();
    assert!((8..=12).contains(&roots), "{roots} checkpoints of 164 commits");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_slept_does_not_end_a_history_that_it_never_saw_begin() -> Result<()> {
    let store = Scripted::new();
    let mut slept = filled(shared(&store), 2, every(1000)).await;
    let mut awake = open(shared(&store), 2).await;
    let recreated = |id| {
        let mut op = sample::lineage(&topic(0), 0, id, 0);
        if let Op::Lineage(begun) = &mut op {
            begun.reason = LineageReason::Recreated;
            begun.after = Some(LineageId(1));
        }
        op
    };
    // The topic was made again twice; the one that slept saw the first time only.
    awake.commit(vec![recreated(3)]).await?;
    let error = slept.commit(vec![recreated(2)]).await.expect_err("stale");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let current =
        awake.state().partition(&topic(0), 0).and_then(|partition| partition.current()).map(|c| c.id);
    assert_eq!(current, Some(LineageId(3)));
    awake.commit(vec![sample::gap(&topic(0), 0, 3, 0, 5)]).await?;
    Ok(())
}
