//! Hundreds of disturbed puts, by chance (O3, O5): whatever happens to requests and answers, a key has one object for ever,
//! nobody is told otherwise, and a history does not fork. A failed run prints its seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use formats::commit::{Lineage, LineageReason, Op};
use formats::ids::{BackupId, LineageId, Topic, TopicId};
use futures::stream::{self, StreamExt};
use pipeline::ErrorKind;
use pipeline::commit_log::CommitLog;
use pipeline::seam::Seam;
use pipeline::storage::wrap::Prefixed;
use pipeline::storage::{Created, IoSettings};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::proxy::{Action, Rule};
use super::{Rig, impatient, rig_with, s3};

const SLOW_DOWN: &str = "<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>";
const CONFLICT: &str = "<Error><Code>ConditionalRequestConflict</Code><Message>again</Message></Error>";
const INTERNAL: &str = "<Error><Code>InternalError</Code><Message>sorry</Message></Error>";

/// Waits long enough for any number of faults that is sent here, and not long for one.
fn patient() -> IoSettings {
    IoSettings {
        request_timeout: Duration::from_secs(5),
        retry_for: Duration::from_secs(60),
        retry_base: Duration::from_millis(2),
        retry_cap: Duration::from_millis(20),
        ..impatient()
    }
}

/// A fault after which the client cannot know, or must wait, or both.
pub(super) fn fault(rng: &mut StdRng) -> Action {
    match rng.random_range(0..9) {
        0 => Action::LoseAnswer,
        1 => Action::Hangup,
        2 => Action::Answer(503, SLOW_DOWN),
        3 => Action::Answer(429, ""),
        4 => Action::Answer(500, INTERNAL),
        5 => Action::Answer(409, CONFLICT),
        // The server did its part and says otherwise.
        6 => Action::AnswerInstead(503, SLOW_DOWN),
        7 => Action::AnswerInstead(500, INTERNAL),
        _ => Action::AnswerInstead(409, CONFLICT),
    }
}

pub(super) fn seed() -> u64 {
    let seed = rand::random();
    println!("seed {seed}");
    seed
}

async fn content(rig: &Rig, key: &str) -> Option<Bytes> {
    rig.store.get(key, 1 << 30).await.unwrap()
}

/// What a creator was told must be true of what stands; `mine` is whether what stands is this creator's.
fn truthful(told: &Created, stands: bool, mine: bool) -> bool {
    match told {
        Created::New(_) => mine,
        Created::Exists => stands,
        Created::Unclear(_) => true,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_disturbed_races_leave_one_object_each_and_nobody_is_told_otherwise() {
    let mut rng = StdRng::seed_from_u64(seed());
    let rig = rig_with(&patient()).await;
    let rig = &rig;
    let rounds: Vec<u32> = (0..500).collect();
    for round in &rounds {
        for _ in 0..rng.random_range(1..=4) {
            rig.proxy.rule(Rule::new("PUT", format!("/race-{round:03}"), 1, fault(&mut rng)));
        }
    }
    let races = stream::iter(rounds).map(|round| async move {
        let key = rig.key(&format!("race-{round:03}"));
        let body = |who: u8| Bytes::from(vec![who; 100 + usize::from(who)]);
        let create = |who: u8| rig.store.create(&key, vec![body(who)]);
        let (one, two) = futures::join!(create(1), create(2));
        let (one, two) = (one.unwrap(), two.unwrap());
        let stands = content(rig, &key).await;
        let is = |who: u8| stands == Some(body(who));
        assert!(is(1) || is(2), "{key}: {one:?}, {two:?}, {stands:?}");
        assert!(truthful(&one, true, is(1)) && truthful(&two, true, is(2)), "{key}: {one:?}, {two:?}");
        let both = [&one, &two].iter().all(|told| matches!(told, Created::New(_)));
        assert!(!both, "{key}: both were told that they won");
        // Whoever comes later changes nothing.
        assert_eq!(rig.store.create(&key, vec![body(3)]).await.unwrap(), Created::Exists);
        assert_eq!(content(rig, &key).await, stands, "{key} was replaced");
        u32::from(matches!(one, Created::Unclear(_))) + u32::from(matches!(two, Created::Unclear(_)))
    });
    let unclear: Vec<u32> = races.buffer_unordered(8).collect().await;
    assert_eq!(unclear.len(), 500);
    // The dice have to have fallen on what matters.
    assert!(unclear.iter().sum::<u32>() > 50, "answers were hardly ever lost");
    assert!(rig.meter.retries() > 500, "{:?}", rig.meter);
}

/// A body of two parts, each of its steps disturbed by chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disturbed_uploads_are_whole_or_said_to_be_unclear() {
    let mut rng = StdRng::seed_from_u64(seed());
    let rig = rig_with(&patient()).await;
    let rig = &rig;
    let rounds: Vec<u32> = (0..40).collect();
    for round in &rounds {
        let name = format!("/upload-{round:03}");
        // To begin an upload twice is harmless; the parts and the last step are what counts.
        for (method, text) in [("PUT", "partNumber=1"), ("PUT", "partNumber=2"), ("POST", "uploadId=")] {
            for _ in 0..rng.random_range(0..=2) {
                let rule = Rule::new(method, name.clone(), 1, fault(&mut rng));
                rig.proxy.rule(rule.and(text));
            }
        }
    }
    let uploads = stream::iter(rounds).map(|round| async move {
        let key = rig.key(&format!("upload-{round:03}"));
        let body: Vec<Bytes> = (0..6).map(|n| Bytes::from(vec![round as u8 ^ n; 1 << 20])).collect();
        let told = rig.store.create(&key, body.clone()).await.unwrap();
        let stands = content(rig, &key).await;
        let mine = stands.as_ref().is_some_and(|stands| *stands == body.concat());
        assert!(mine || stands.is_none(), "{key} holds something else: {told:?}");
        assert!(truthful(&told, stands.is_some(), mine), "{key}: {told:?}");
        // Every fault here passes, so in the end it is known.
        assert!(matches!(told, Created::New(_)), "{key}: {told:?}");
    });
    assert_eq!(uploads.buffer_unordered(2).collect::<Vec<()>>().await.len(), 40);
    assert_eq!(rig.store.sweep_unfinished(&rig.folder, i64::MAX, true).await.unwrap(), 0);
}

async fn writer(rig: &Rig, backup: &str) -> CommitLog {
    let store = Prefixed::new(Arc::clone(&rig.store), &rig.key(backup)).unwrap();
    let id = BackupId::new(backup).unwrap();
    CommitLog::open_or_create(Arc::new(store), Seam::system(), &id, "cluster").await.unwrap()
}

fn lineage(partition: i32) -> Vec<Op> {
    vec![Op::Lineage(Lineage {
        topic: Topic::new("orders").unwrap(),
        partition,
        lineage: LineageId(7),
        after: None,
        cluster_id: "cluster".into(),
        topic_id: TopicId::default(),
        start: 0,
        reason: LineageReason::First,
        fork: None,
    })]
}

/// Two daemons take over from each other again and again, and every commit of theirs is disturbed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_one_goes_on_and_the_history_does_not_fork() {
    let mut rng = StdRng::seed_from_u64(seed());
    let rig = rig_with(&patient()).await;
    for _ in 0..800 {
        rig.proxy.rule(Rule::new("PUT", "/commits/", 1, fault(&mut rng)));
        // Some get through.
        rig.proxy.rule(Rule::new("PUT", "/commits/", rng.random_range(0..2), Action::Pass));
    }
    let mut acknowledged = BTreeMap::new();
    let mut fenced = 0;
    for round in 0..60 {
        let (mut one, mut two) = futures::join!(writer(&rig, "two"), writer(&rig, "two"));
        let (first, second) = futures::join!(one.become_writer(), two.become_writer());
        for committed in [first.unwrap(), second.unwrap()] {
            assert_eq!(acknowledged.insert(committed.seq, committed.hash), None, "{committed:?} twice");
        }
        let (first, second) =
            futures::join!(one.commit(lineage(2 * round)), two.commit(lineage(2 * round + 1)));
        let mut going_on = 0;
        for told in [first, second] {
            match told {
                Ok(committed) => {
                    going_on += 1;
                    assert_eq!(
                        acknowledged.insert(committed.seq, committed.hash),
                        None,
                        "{committed:?} twice"
                    );
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
                    fenced += 1;
                }
            }
        }
        assert_eq!(going_on, 1, "round {round}");
    }
    assert_eq!(fenced, 60);
    // What anybody was told is the history, link by link, and nothing else is in it.
    let log = writer(&rig, "two").await;
    let seqs: Vec<u64> = acknowledged.keys().copied().collect();
    assert_eq!(seqs, (1..=log.head().seq).collect::<Vec<_>>());
    assert_eq!(acknowledged.last_key_value().map(|(_, hash)| *hash), Some(log.head().hash));
    assert!(rig.meter.retries() > 100, "{:?}", rig.meter);
}

/// The server's own versions say that no put of ours ever replaced another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_object_of_a_disturbed_race_ever_had_a_second_version() {
    let mut rng = StdRng::seed_from_u64(seed());
    s3().create_bucket("history");
    s3().enable_versioning("history");
    let rig = super::rig_in("history", &patient()).await;
    for round in 0..100 {
        for _ in 0..3 {
            rig.proxy.rule(Rule::new("PUT", format!("/v-{round:03}"), 1, fault(&mut rng)));
        }
        let key = rig.key(&format!("v-{round:03}"));
        let create = |who: u8| rig.store.create(&key, vec![Bytes::from(vec![who; 10])]);
        let (one, two) = futures::join!(create(1), create(2));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(!(matches!(one, Created::New(_)) && matches!(two, Created::New(_))), "{one:?}, {two:?}");
    }
    let listed = s3().request("GET", "/history", "versions=", &[], &[]).unwrap();
    let versions = listed.text().matches("<Version>").count();
    assert_eq!(versions, 100, "{}", listed.text());
}
