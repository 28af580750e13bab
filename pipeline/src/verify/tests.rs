use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use formats::codec::{Codec, Decompressor};
use formats::commit::SegmentEntry;
use formats::ids::{LineageId, SchemaId, TopicPartition};
use formats::paths::{ObjectName, SegmentName};
use formats::schemas::OtherRow;
use futures::TryStreamExt;
use serde_json::json;

use super::{FindingKind, LeftoverClass, VerifyReport, VerifySettings, verify};
use crate::ErrorKind;
use crate::archive::samples::{Item, Sample, TestClock, batch, batch_of, marker, noise, place};
use crate::archive::{Archive, SegmentReader};
use crate::budget::Budget;
use crate::schemas::shelf::Shelf;
use crate::schemas::{Depth, SchemaSelection, SchemaWriter};
use crate::seam::Clock;
use crate::storage::Store;
use crate::storage::memory::MemoryStore;

type Objects = BTreeMap<String, Bytes>;

/// Two partitions with own objects, two in one pack, a checkpoint in the middle, a fork, a gap.
async fn sample() -> Sample {
    let mut sample = Sample::new().await;
    let (a, b, c) = (place("a", 0), place("b", 0), place("b", 1));
    let la = sample.lineage(&a, 0, None).await;
    let lb = sample.lineage(&b, 3, None).await;
    let lc = sample.lineage(&c, 0, None).await;
    sample
        .segment(&a, la, (0, 4), &[batch(0, 2, Some(1)), batch(2, 1, None), marker(3, 1, true)], None)
        .await;
    sample.gap(&b, lb, 3, 5).await;
    let one = sample.encode(&b, lb, (5, 7), &[batch(5, 2, None)], None);
    let two = sample.encode(&c, lc, (0, 3), &[batch(0, 3, None)], None);
    sample.pack(vec![(b.clone(), lb, one), (c.clone(), lc, two)]).await;
    sample.log.write_checkpoint().await.unwrap();
    sample.segment(&a, la, (4, 6), &[batch(4, 2, None)], None).await;
    let fork = sample.lineage(&a, 5, Some(la)).await;
    sample.segment(&a, fork, (5, 6), &[batch(5, 1, None)], None).await;
    sample
}

async fn objects(store: &Arc<dyn Store>) -> Objects {
    let list: Vec<_> = store.list("", None).try_collect().await.unwrap();
    let mut objects = Objects::new();
    for object in list {
        let bytes = store.get(&object.key, 1 << 30).await.unwrap().unwrap();
        objects.insert(object.key, bytes);
    }
    objects
}

async fn store_of(objects: &Objects) -> Arc<dyn Store> {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock));
    for (key, bytes) in objects {
        store.create(key, vec![bytes.clone()]).await.unwrap();
    }
    store
}

async fn run(store: &Arc<dyn Store>, deep: bool) -> crate::Result<VerifyReport> {
    let settings = VerifySettings { deep, memory_limit: 16 << 20, parallel: 2, ..VerifySettings::default() };
    verify(Arc::clone(store), &settings, Arc::default()).await
}

fn of_kafka(key: &str) -> bool {
    key.starts_with("kafka/") || key.starts_with("packs/")
}

/// Partitions whose every segment of the current history can be read.
async fn readable(store: &Arc<dyn Store>) -> Vec<TopicPartition> {
    let Ok(archive) = Archive::open(Arc::clone(store), crate::seam::Seam::system()).await else {
        return Vec::new();
    };
    let budget = Budget::new(16 << 20);
    let mut readable = Vec::new();
    'partitions: for (partition, state) in archive.state().partitions() {
        let lineage = state.current().unwrap().id;
        for segment in archive.segments(&partition, lineage).await.unwrap() {
            let reader =
                SegmentReader::open(store, &budget, &partition, segment.lineage, &segment.entry).await;
            let Ok(reader) = reader else { continue 'partitions };
            let Ok(run) = reader.read_frames(reader.frames_of(segment.range)).await else {
                continue 'partitions;
            };
            for n in 0..run.frames().len() {
                if run.decode(n, &mut Decompressor::new()).is_err() {
                    continue 'partitions;
                }
            }
        }
        readable.push(partition);
    }
    readable
}

#[tokio::test]
async fn a_sound_backup_has_no_findings_and_adds_up() {
    let sample = sample().await;
    for deep in [false, true] {
        let report = run(&sample.store, deep).await.unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
        assert_eq!((report.checkpoints, report.segments, report.commits), (1, 5, sample.log.head().seq));
        assert!(report.leftovers.objects.is_empty() && !report.leftovers.unknown);
        if let Some(deep) = report.deep {
            assert_eq!((deep.segments, deep.records, deep.batches), (5, 12, 7));
        }
    }
}

/// Everything that is not a sealed view of its own must be found, and segments name their offsets.
async fn damaged(objects: &Objects, key: &str, bytes: Option<Bytes>, what: &str) {
    let mut changed = objects.clone();
    match bytes {
        Some(bytes) => changed.insert(key.to_owned(), bytes),
        None => changed.remove(key),
    };
    let store = store_of(&changed).await;
    let report = run(&store, true).await.unwrap();
    assert!(!report.is_sound(), "{key}: {what} was not found");
    let named = report.findings.iter().find(|finding| finding.object == key);
    let named = named.unwrap_or_else(|| panic!("{key}: {what}: {:?}", report.findings));
    assert!(!named.message.is_empty());
    if of_kafka(key) {
        assert!(named.topic.is_some() && named.first < named.end, "{key}: {what}: {named:?}");
        assert!(report.findings.iter().all(|finding| finding.object == key), "{:?}", report.findings);
        let concerned: Vec<_> =
            report.findings.iter().filter_map(|f| f.topic.clone().zip(f.partition)).collect();
        let readable = readable(&store).await;
        for (topic, partition) in [("a", 0), ("b", 0), ("b", 1)] {
            let hit = concerned.contains(&(topic.to_owned(), partition));
            assert!(
                hit || readable.contains(&place(topic, partition)),
                "{topic}-{partition}: {what} of {key}"
            );
        }
    }
}

#[tokio::test]
async fn every_flipped_byte_is_found() {
    let objects = objects(&sample().await.store).await;
    for (key, bytes) in &objects {
        for at in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << (at % 8);
            damaged(&objects, key, Some(flipped.into()), &format!("byte {at} flipped")).await;
        }
    }
}

#[tokio::test]
async fn every_truncation_and_every_removal_but_the_tails_is_found() {
    let sample = sample().await;
    let objects = objects(&sample.store).await;
    let tail = ObjectName::Commit(sample.log.head().seq).key();
    for (key, bytes) in &objects {
        for cut in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            damaged(&objects, key, Some(bytes.slice(..cut)), &format!("cut at {cut}")).await;
        }
        if *key != tail {
            damaged(&objects, key, None, "removal").await;
        }
    }
}

#[tokio::test]
async fn swapped_and_older_objects_are_found() {
    let objects = objects(&sample().await.store).await;
    let keys: Vec<_> = objects.keys().cloned().collect();
    for one in &keys {
        for other in keys.iter().filter(|other| *other != one) {
            damaged(&objects, one, Some(objects[other].clone()), &format!("replaced by {other}")).await;
        }
    }
}

#[tokio::test]
async fn segments_beyond_the_memory_limit_are_hashed_by_pieces_and_damage_is_named_by_frame() {
    let mut sample = Sample::new().await;
    let p = place("big", 0);
    let l = sample.lineage(&p, 0, None).await;
    let values: Vec<_> = (1..=20).map(|seed| noise(seed, 300_000)).collect();
    let item = |n: usize| Item { value: Some(&values[n]), ..Item::default() };
    let batches: Vec<_> = (0..20).map(|n| batch_of(n as i64, Codec::None, None, &[item(n)])).collect();
    let entry = sample.segment(&p, l, (0, 20), &batches, None).await;
    let settings =
        VerifySettings { deep: true, memory_limit: 4 << 20, parallel: 2, ..VerifySettings::default() };
    let report = verify(Arc::clone(&sample.store), &settings, Arc::default()).await.unwrap();
    assert!(report.is_sound() && report.deep.unwrap().records == 20, "{:?}", report.findings);
    let key = entry.key(&p, l);
    let mut stored = sample.store.get(&key, 1 << 30).await.unwrap().unwrap().to_vec();
    stored[3_000_000] ^= 1;
    sample.store.replace_view(&key, stored.into()).await.unwrap();
    let report = verify(Arc::clone(&sample.store), &settings, Arc::default()).await.unwrap();
    let ranges: Vec<_> = report.findings.iter().map(|f| (f.first.unwrap(), f.end.unwrap())).collect();
    assert!(ranges.len() == 2 && ranges[0] == (0, 20), "{:?}", report.findings);
    assert!(ranges[1].0 <= 9 && 9 < ranges[1].1 && ranges[1].1 - ranges[1].0 < 6, "{ranges:?}");
    assert_eq!(report.deep.unwrap().frames, 4);
}

#[tokio::test]
async fn a_removed_tail_is_found_by_its_anchor() {
    let sample = sample().await;
    let head = sample.log.head();
    let mut settings = VerifySettings { expect: vec![(head.seq, head.hash)], ..VerifySettings::default() };
    let report = verify(Arc::clone(&sample.store), &settings, Arc::default()).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    sample.store.delete(&ObjectName::Commit(head.seq).key()).await.unwrap();
    let report = verify(Arc::clone(&sample.store), &settings, Arc::default()).await.unwrap();
    assert_eq!(report.findings.iter().map(|f| f.kind).collect::<Vec<_>>(), [FindingKind::Anchor]);
    settings.expect = vec![(1, head.hash)];
    let report = verify(Arc::clone(&sample.store), &settings, Arc::default()).await.unwrap();
    assert_eq!(report.findings[0].kind, FindingKind::Anchor);
    assert!(report.findings[0].message.contains(&head.hash.to_string()));
}

#[tokio::test]
async fn a_broken_chain_goes_on_from_the_next_checkpoint() {
    let mut sample = sample().await;
    let key = ObjectName::Commit(3).key();
    sample.store.delete(&key).await.unwrap();
    let report = run(&sample.store, true).await.unwrap();
    assert_eq!(report.findings.iter().map(|f| f.object.as_str()).collect::<Vec<_>>(), [key.as_str()]);
    assert!(report.leftovers.unknown);
    assert_eq!((report.segments, report.deep.unwrap().segments), (5, 5));
    sample.restart().await;
}

#[tokio::test]
async fn leftovers_are_listed_by_class_and_are_no_findings() {
    let mut sample = sample().await;
    let partition = place("a", 0);
    let lineage = sample.log.state().partition(&partition.topic, 0).unwrap().current().unwrap().id;
    let mut write = Vec::new();
    for _ in 0..2 {
        let incarnation = sample.log.incarnation();
        let name = SegmentName { partition: partition.clone(), lineage, first: 77, incarnation, counter: 99 };
        write.push(ObjectName::Segment(name).key());
        sample.restart().await;
    }
    write.push("kafka/a/strange".to_owned());
    write.push(ObjectName::Pack(sample.log.incarnation(), 5).key());
    for key in &write {
        sample.store.create(key, vec![Bytes::from_static(b"x")]).await.unwrap();
    }
    let report = run(&sample.store, false).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    let mut classes: Vec<_> = report.leftovers.objects.iter().map(|object| object.class).collect();
    classes.sort_unstable();
    use LeftoverClass::{Newest, Superseded, Unknown};
    assert_eq!(classes, [Superseded, Superseded, Newest, Unknown]);
}

#[tokio::test]
async fn an_empty_place_is_no_backup() {
    let store = store_of(&Objects::new()).await;
    assert_eq!(run(&store, false).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Walks through a registry and commits what it has.
async fn schemas(sample: &mut Sample, shelf: &Shelf) {
    schemas_of(sample, shelf, Depth::Versions).await;
}

async fn schemas_of(sample: &mut Sample, shelf: &Shelf, depth: Depth) {
    let (store, seam) = (Arc::clone(&sample.store), Sample::seam(&sample.clock));
    let newest = sample.log.state().schemas.clone().map(|(newest, _)| newest);
    let me = sample.log.incarnation();
    let writer = SchemaWriter::open(store, seam, me, SchemaSelection::all(), newest.as_ref()).await;
    let walked = writer.unwrap().walk(shelf, depth, sample.log.head().seq).await.unwrap();
    sample.log.commit(walked.op.into_iter().collect()).await.unwrap();
}

fn framed(id: u8) -> Vec<u8> {
    vec![0, 0, 0, 0, id, b'x']
}

async fn named(sample: &mut Sample, place: &TopicPartition, lineage: LineageId, ids: &[u8]) -> SegmentEntry {
    let values: Vec<_> = ids.iter().map(|id| framed(*id)).collect();
    let items: Vec<_> = values.iter().map(|value| Item { value: Some(value), ..Item::default() }).collect();
    let first = sample.log.state().partition(&place.topic, place.partition).unwrap().current().unwrap().next;
    let batches = [batch_of(first, Codec::Lz4, None, &items)];
    sample.segment(place, lineage, (first, first + ids.len() as i64), &batches, None).await
}

#[tokio::test]
async fn schemas_that_scanned_segments_name_resolve_or_are_named() {
    let (mut sample, shelf) = (Sample::new().await, Shelf::default());
    let (orders, text) = (place("orders", 0), place("text", 0));
    let lo = sample.lineage(&orders, 0, None).await;
    let lt = sample.lineage(&text, 0, None).await;
    shelf.put("orders-value", 1, 1, "\"int\"");
    named(&mut sample, &orders, lo, &[1, 9]).await;
    schemas(&mut sample, &shelf).await;
    // Nobody has looked.
    let report = run(&sample.store, true).await.unwrap();
    assert!(report.is_sound() && report.resolves() && report.schema_ids.is_none(), "{:?}", report.findings);
    sample.scans = true;
    named(&mut sample, &orders, lo, &[1, 1]).await;
    // Bytes that begin so by chance are needed by nobody.
    named(&mut sample, &text, lt, &[77]).await;
    let report = run(&sample.store, true).await.unwrap();
    let ids = report.schema_ids.as_ref().unwrap();
    assert!(report.is_sound() && report.resolves(), "{ids:?}");
    assert_eq!((ids.segments, ids.scanned, ids.unread_batches), (3, 2, 0));
    assert!(!ids.covers_all, "data came after the last look at the registry");
    let lost = named(&mut sample, &orders, lo, &[1, 2, 2]).await;
    sample.log.write_checkpoint().await.unwrap();
    for deep in [false, true] {
        let report = run(&sample.store, deep).await.unwrap();
        assert!(report.is_sound() && !report.resolves(), "{:?}", report.findings);
        let ids = report.schema_ids.unwrap();
        let row = &ids.unresolved[0];
        assert_eq!((row.topic.as_str(), row.side.as_str(), row.id), ("orders", "value", SchemaId::new(2)));
        assert_eq!((row.count, row.segments, row.first, row.end), (2, 1, lost.first, lost.end));
        assert_eq!((ids.unresolved.len(), ids.covers > 0), (1, true));
    }
    // The registry has it after all, and what it loses later the backup still has.
    shelf.put("orders-value", 2, 2, "\"long\"");
    schemas(&mut sample, &shelf).await;
    shelf.remove("orders-value", 2);
    schemas(&mut sample, &shelf).await;
    let report = run(&sample.store, true).await.unwrap();
    assert!(report.is_sound() && report.resolves() && report.schema_ids.unwrap().covers_all);
}

#[tokio::test]
async fn keys_of_encryption_that_nothing_unwraps_are_found() {
    let (mut sample, shelf) = (Sample::new().await, Shelf::default());
    let dek = |kek: &str, subject: &str| {
        let value = json!({ "kekName": kek, "subject": subject, "version": 1, "algorithm": "AES256_GCM" });
        OtherRow::dek(kek, (subject, 1, "AES256_GCM"), value)
    };
    let whole = [
        OtherRow::kek("k", json!({ "name": "k" })),
        dek("k", "orders-value"),
        OtherRow::record(br#"{"keytype":"LATER"}"#, b"{}"),
    ];
    *shelf.others.lock().unwrap() = whole.to_vec();
    let found = async |sample: &mut Sample| {
        schemas_of(sample, &shelf, Depth::Everything).await;
        let report = run(&sample.store, false).await.unwrap();
        report.findings.into_iter().map(|finding| (finding.kind, finding.message)).collect::<Vec<_>>()
    };
    assert!(found(&mut sample).await.is_empty());
    shelf.others.lock().unwrap().push(dek("lost", "users-value"));
    let mut bare = dek("k", "bare");
    bare.value["keyMaterial"] = json!("secret");
    shelf.others.lock().unwrap().push(bare);
    let found = found(&mut sample).await;
    assert_eq!(found.len(), 2, "{found:?}");
    let said = |kind, words: &str| found.iter().any(|(own, text)| *own == kind && text.contains(words));
    assert!(
        said(FindingKind::Missing, "DEK users-value version 1 (AES256_GCM) is wrapped by KEK lost"),
        "{found:?}"
    );
    assert!(said(FindingKind::Damaged, "not wrapped"), "{found:?}");
}

#[tokio::test]
async fn a_list_of_ids_that_is_not_what_records_name_is_found() {
    let mut sample = Sample::new().await;
    sample.scans = true;
    let orders = place("orders", 0);
    let lineage = sample.lineage(&orders, 0, None).await;
    named(&mut sample, &orders, lineage, &[1, 2]).await;
    assert!(run(&sample.store, true).await.unwrap().is_sound());
    let values = [framed(3)];
    let items = [Item { value: Some(&values[0]), ..Item::default() }];
    let batches = [batch_of(2, Codec::None, None, &items)];
    let encoded = sample.encode(&orders, lineage, (2, 3), &batches, None);
    let object = sample.object(false);
    let mut entry = SegmentEntry::of(&encoded, object, 0);
    let list = &mut entry.schema_ids.as_mut().unwrap().value.prefix.ids;
    list[0].0 = SchemaId::new(4).unwrap();
    sample.store.create(&entry.key(&orders, lineage), encoded.parts).await.unwrap();
    sample.add(&orders, lineage, entry).await;
    let report = run(&sample.store, true).await.unwrap();
    let messages: Vec<_> = report.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(messages, ["its schema ids are not what the commits or the index tell"]);
    assert!(run(&sample.store, false).await.unwrap().is_sound());
}
