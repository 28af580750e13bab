//! The store on a log in memory; what other registries wrote, in data of our own.

use super::keys::RecordKey;
use super::log::{Log, Record};
use super::memory::MemoryLog;
use super::*;
use crate::names::Subject;
use crate::schema::SchemaType;
use crate::settings::{Level, Mode};
use crate::store::{Change, SchemaRow, VersionRow, suite};
use bytes::Bytes;
use std::collections::BTreeMap;

mod election;
mod faults;
mod replay;
mod service;
mod written;

const LIMIT: Duration = Duration::from_secs(5);

async fn store(log: &MemoryLog) -> KafkaStore {
    KafkaStore::open(Arc::new(log.clone()), LIMIT, LIMIT).await.expect("a store")
}

fn record(key: &str, value: impl Into<Option<&'static str>>) -> Record {
    let value: Option<&str> = value.into();
    Record {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
        ..Record::default()
    }
}

/// What a context holds, by what it is.
async fn rows(store: &KafkaStore, context: &Context) -> BTreeMap<String, Change> {
    let (_, changes) = store.changes(context, Head::EMPTY).await.expect("changes");
    changes.into_iter().map(|change| (crate::store::described(context, &change), change)).collect()
}

#[tokio::test]
async fn passes_the_suite() {
    let log = MemoryLog::new();
    suite::passes(&store(&log).await, "kafka").await;
    let held = suite::survives_reopening(&store(&log).await, "kafka").await;
    held.is_kept_by(&store(&log).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn survives_races() {
    let log = MemoryLog::new();
    let one = Arc::new(store(&log).await);
    suite::survives_races(vec![one.clone(), one], "kafka", 50, 20).await;
}

/// Whatever was kept or removed by compaction, a store that is opened again holds the same and gives no id twice.
#[tokio::test]
async fn a_compacted_log_says_the_same() {
    let log = MemoryLog::new();
    let before = store(&log).await;
    suite::passes(&before, "kafka").await;
    log.compact();
    let after = store(&log).await;
    let contexts: Vec<Context> = before.heads().await.expect("heads").contexts.into_keys().collect();
    assert!(contexts.len() >= 6);
    for context in contexts {
        let gone = |change: &Change| {
            matches!(
                change,
                Change::VersionGone { .. }
                    | Change::SchemaGone(_)
                    | Change::Listed(false)
                    | Change::Config(_, None)
                    | Change::Mode(_, None)
            )
        };
        let mut expected = rows(&before, &context).await;
        expected.retain(|_, change| !gone(change));
        assert_eq!(rows(&after, &context).await, expected, "{context}");
        let keys: Vec<_> = (1..4000).map(SchemaKey::of).collect();
        let texts = before.texts(&context, &keys).await.expect("texts");
        assert_eq!(after.texts(&context, &keys).await.expect("texts"), texts);
        let next = |store: &KafkaStore| store.tables().head(&context).next_id;
        assert_eq!(next(&after), next(&before), "{context}");
    }
}

#[tokio::test]
async fn an_instance_that_was_not_elected_reads_and_names_the_one_that_was() {
    let log = MemoryLog::new();
    let (first, second) = (store(&log).await, store(&log.other(2)).await);
    let commit = suite::first_commit("two");
    first.commit(&commit).await.expect("a commit");
    assert_eq!(second.heads().await.expect("heads"), first.heads().await.expect("heads"));
    let next = suite::next_commit(&commit);
    let refused = second.commit(&next).await.expect_err("not the writer");
    assert!(
        matches!(&refused, StoreError::NotWriter(why) if why.contains("http://instance-1:8081")),
        "{refused}"
    );
    let error = crate::error::Error::from(refused);
    assert_eq!((error.code(), error.status()), (50004, 500));
    log.elect(Some(2));
    second.commit(&next).await.expect("a commit of the one that is elected now");
    assert_eq!(rows(&first, &commit.context).await.len(), 3, "what was read before");
    first.heads().await.expect("heads");
    assert_eq!(rows(&first, &commit.context).await, rows(&second, &commit.context).await);
    log.elect(None);
    let refused = first.commit(&suite::next_commit(&next)).await;
    assert!(matches!(refused, Err(StoreError::NotWriter(_))), "{refused:?}");
}
