//! Torn commits, lost answers, and other writers.

use super::*;

fn foreign(subject: &str, number: i32, id: u32, text: &str) -> Record {
    let subject = Subject::parse(subject);
    let value = format!(
        r#"{{"subject":"{subject}","version":{number},"id":{id},"schema":"{text}","deleted":false}}"#
    );
    let key = RecordKey::Schema(subject, number).bytes().expect("a key");
    Record { key, value: Some(value.into()), ..Record::default() }
}

async fn head(store: &KafkaStore, context: &Context) -> Head {
    store.heads().await.expect("heads").contexts.get(context).copied().unwrap_or(Head::EMPTY)
}

/// Whatever first part of a commit is written: the version has its schema, and ids go on behind it.
#[tokio::test]
async fn every_first_part_of_a_commit_is_sound() {
    let first = suite::first_commit("torn");
    for part in 0..=2 {
        let log = MemoryLog::new();
        let before = store(&log).await;
        // The election's record goes first, untorn.
        before.commit(&suite::first_commit("other")).await.expect("a commit");
        log.tear(part);
        let torn = before.commit(&first).await;
        assert!(matches!(torn, Err(StoreError::Unknown(_))), "{torn:?}");
        for store in [&before, &store(&log).await] {
            let seen = head(store, &first.context).await;
            let found = rows(store, &first.context).await;
            let count = |wanted: fn(&Change) -> bool| found.values().filter(|change| wanted(change)).count();
            let versions = count(|change| matches!(change, Change::Version(_)));
            let schemas = count(|change| matches!(change, Change::Schema(_)));
            assert_eq!((versions, schemas), (part / 2, part / 2), "{found:?}");
            assert_eq!(seen.next_id, if part > 0 { 2 } else { 1 });
        }
        let mut again = suite::first_commit("torn");
        again.expected = head(&before, &first.context).await;
        before.commit(&again).await.expect("the same once more");
        assert_eq!(rows(&before, &first.context).await.len(), 3);
    }
}

/// A commit of several batches becomes visible in parts: who has seen the first part is told the rest.
#[tokio::test]
async fn a_commit_that_is_read_in_parts_is_read_to_its_end() {
    let (whole, log) = (MemoryLog::new(), MemoryLog::new());
    let mut commit = suite::first_commit("parts");
    commit.adds_links = true;
    store(&whole).await.commit(&commit).await.expect("a commit");
    let records: Vec<Record> = whole.records().into_iter().map(|(_, record)| record).collect();
    let (first, rest) = records.split_at(2);
    let before = store(&log).await;
    log.write(first.to_vec());
    let stores = [before, store(&log).await];
    let mut seen = Vec::new();
    for store in &stores {
        seen.push(store.heads().await.expect("heads"));
        assert_eq!(rows(store, &commit.context).await.len(), 1, "the context is listed");
    }
    log.write(rest.to_vec());
    for (store, seen) in stores.iter().zip(seen) {
        let heads = store.heads().await.expect("heads");
        let since = seen.contexts[&commit.context];
        let (head, told) = store.changes(&commit.context, since).await.expect("changes");
        assert!(head != since && head == heads.contexts[&commit.context], "{head:?}");
        assert_eq!(told.len(), 2, "a version and its schema: {told:?}");
        assert!(heads.links > seen.links, "what leads into other contexts may be in the rest");
    }
}

#[tokio::test]
async fn records_of_no_consequence_in_between_do_not_matter() {
    let log = MemoryLog::new();
    let store = store(&log).await;
    let first = suite::first_commit("between");
    store.commit(&first).await.expect("a commit");
    log.interfere(vec![record(r#"{"keytype":"NOOP","magic":0}"#, None), foreign("elsewhere", 1, 1, "1")]);
    let next = suite::next_commit(&first);
    assert_eq!(store.commit(&next).await.expect("a commit"), next.head());
    let head = store.heads().await.expect("heads").contexts[&first.context];
    assert_eq!(head, next.head());
    store.commit(&suite::next_commit(&next)).await.expect("a commit");
}

/// Another writer has taken the same id and the same version first: it keeps them, for every reader and after compaction.
#[tokio::test]
async fn another_writer_that_was_first_keeps_what_it_took() {
    let log = MemoryLog::new();
    let store = store(&log).await;
    let first = suite::first_commit("clash");
    store.commit(&first).await.expect("a commit");
    log.interfere(vec![foreign(":.clash:s", 2, 2, "theirs")]);
    let ours = suite::next_commit(&first);
    let outcome = store.commit(&ours).await;
    assert!(matches!(outcome, Err(StoreError::Unknown(_))), "{outcome:?}");
    log.compact();
    for store in [&store, &super::store(&log).await] {
        let (_, texts) = store.texts(&first.context, &[SchemaKey::of(2)]).await.expect("texts").remove(0);
        assert_eq!(&*texts.canonical, "theirs");
        assert_eq!(head(store, &first.context).await.next_id, 3);
    }
    let mut again = suite::next_commit(&ours);
    again.expected = head(&store, &first.context).await;
    store.commit(&again).await.expect("a commit that has seen it");
}

/// A writer was ousted while it was frozen, and writes when it wakes up. Compaction must not leave its records alone.
#[tokio::test]
async fn what_an_ousted_writer_wrote_too_late_is_put_right() {
    for (number, seen) in [2, 9].into_iter().flat_map(|number| [(number, false), (number, true)]) {
        let (log, frozen) = (MemoryLog::new(), MemoryLog::new());
        let store = store(&log).await;
        let first = suite::first_commit("late");
        store.commit(&first).await.expect("a commit");
        frozen.write(log.records().into_iter().map(|(_, record)| record));
        let mut theirs = suite::next_commit(&first);
        theirs.texts[0].canonical = "theirs".into();
        for change in &mut theirs.changes {
            if let Change::Version(row) = change {
                row.version = number;
            }
        }
        super::store(&frozen).await.commit(&theirs).await.expect("what it takes for the next commit");
        let ours = suite::next_commit(&first);
        store.commit(&ours).await.expect("a commit");
        log.write(frozen.records().pop().map(|(_, late)| late));
        if seen {
            assert_eq!(head(&store, &first.context).await, ours.head(), "it is passed over");
        }
        let outcome = store.commit(&suite::next_commit(&ours)).await;
        match seen {
            true => assert!(matches!(outcome, Err(StoreError::Conflict)), "put right before: {outcome:?}"),
            false => drop(outcome.expect("a commit, and put right after it")),
        }
        log.compact();
        let left = |record: &Record| {
            record.value.as_ref().is_some_and(|value| String::from_utf8_lossy(value).contains("theirs"))
        };
        assert!(!log.records().iter().any(|(_, record)| left(record)), "version {number}");
        let (before, after) = (store, super::store(&log).await);
        for store in [&before, &after] {
            let (_, texts) = store.texts(&first.context, &[SchemaKey::of(2)]).await.expect("texts").remove(0);
            assert_eq!(&*texts.canonical, "2");
            let held = rows(store, &first.context).await;
            assert!(held.contains_key(r#"version 2 of subject ":.late:s""#), "{held:?}");
        }
    }
}

/// Whoever is elected reads what the one before it wrote last, before it writes.
#[tokio::test]
async fn a_new_writer_has_seen_everything() {
    let log = MemoryLog::new();
    let (first, second) = (store(&log).await, store(&log.other(2)).await);
    let commit = suite::first_commit("handed over");
    first.commit(&commit).await.expect("a commit");
    log.elect(Some(2));
    let stale = suite::first_commit("handed over");
    let outcome = second.commit(&stale).await;
    assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
    second.commit(&suite::next_commit(&commit)).await.expect("a commit");
}

/// Between being asked and writing there is time to be ousted: then nothing is written, though elected again meanwhile.
#[tokio::test]
async fn who_was_ousted_before_writing_does_not_write() {
    let log = MemoryLog::new();
    let (first, second) = (store(&log).await, store(&log.other(2)).await);
    let commit = suite::first_commit("ousted");
    first.commit(&commit).await.expect("a commit");
    let next = suite::next_commit(&commit);
    for elected_again in [false, true] {
        let reading = first.position.lock().await;
        let ousted = async {
            log.elect(Some(2));
            second.commit(&suite::first_commit(&format!("theirs {elected_again}"))).await.expect("a commit");
            if elected_again {
                log.elect(Some(1));
            }
            drop(reading);
            log.records().len()
        };
        let (outcome, written) = tokio::join!(first.commit(&next), ousted);
        match elected_again {
            false => assert!(matches!(outcome, Err(StoreError::NotWriter(_))), "{outcome:?}"),
            true => assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}"),
        }
        assert_eq!(log.records().len(), written);
        log.elect(Some(1));
        first.heads().await.expect("heads");
    }
    first.commit(&next).await.expect("a commit of the one that has taken over again");
}

#[tokio::test]
async fn a_log_that_was_replaced_is_another_store() {
    let log = MemoryLog::new();
    let store = store(&log).await;
    store.commit(&suite::first_commit("a")).await.expect("a commit");
    let epoch = store.heads().await.expect("heads").epoch;
    log.replace();
    let heads = store.heads().await.expect("heads");
    assert!(heads.epoch != epoch && heads.contexts.is_empty(), "{heads:?}");
}

#[tokio::test]
async fn a_log_that_was_cut_off_has_gone_back() {
    let log = MemoryLog::new();
    let store = store(&log).await;
    let first = suite::first_commit("a");
    let held = suite::survives_reopening(&store, "cut").await;
    let end = log.extent().await.expect("an extent").end;
    store.commit(&first).await.expect("a commit");
    log.cut_off(end);
    let heads = store.heads().await.expect("heads");
    assert!(!heads.contexts.contains_key(&first.context));
    held.is_kept_by(&store).await;
}
