//! Which ids change, on what evidence, and that what was pinned is what counts.

mod quarantine;
mod samples;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use formats::codec::Codec;
use formats::ids::{RestoreId, SchemaId, Topic};
use formats::record_batch::RecordBatch;
use formats::schemas::{Catalog, PlaceRow, SchemaSnapshot, VersionRow};
use formats::wire::Side;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::framing::{Framing, SideFraming, TopicFraming};
use super::ids::{Ids, Landing};
use super::remap::{Readers, Remap, RemapCounts, Remapped, Remapper};
use super::{
    ContextId, KeyIds, PayloadReader, SchemaMap, SchemaNotes, SchemaTarget, TargetPlan, TargetReport, Told,
    UnknownIds,
};
use crate::archive::samples::{Item, Sample, TestClock, batch_of};
use crate::restore::journal::{Entries, ObjectJournal, SchemaPin, notes, notes_id};
use crate::schemas::SchemaArchive;
use crate::seam::Seam;
use crate::storage::Store;
use crate::storage::memory::MemoryStore;
use crate::{Error, Result};

/// Reads payloads that begin with the letter of their subject's last character.
#[derive(Debug, Default)]
struct Letters {
    asked: Arc<Mutex<u32>>,
    is_away: bool,
}

#[derive(Debug)]
struct Letter(u8);

impl PayloadReader for Letter {
    fn reads(&self, payload: &[u8]) -> bool {
        payload.first() == Some(&self.0)
    }
}

#[async_trait]
impl SchemaTarget for Letters {
    fn name(&self) -> String {
        "letters".into()
    }

    async fn plan(&self, _: &Arc<SchemaArchive>, _: &Arc<dyn SchemaNotes>) -> Result<TargetPlan> {
        Ok(TargetPlan::default())
    }

    async fn run(
        &self,
        _: &Arc<SchemaArchive>,
        _: &Arc<dyn SchemaNotes>,
        _: &CancellationToken,
    ) -> Result<TargetReport> {
        Ok(TargetReport::default())
    }

    async fn put_back(&self, _: &Arc<dyn SchemaNotes>) -> Result<bool> {
        Ok(false)
    }

    async fn reader(&self, _: &SchemaArchive, row: &VersionRow) -> Result<Option<Arc<dyn PayloadReader>>> {
        *self.asked.lock().unwrap() += 1;
        if self.is_away {
            return Err(Error::retry("the store is away"));
        }
        Ok(row.subject.bytes().last().map(|letter| Arc::new(Letter(letter)) as Arc<dyn PayloadReader>))
    }
}

fn id(number: u32) -> SchemaId {
    SchemaId::new(number).unwrap()
}

fn key(text: &str) -> ContextId {
    text.parse().unwrap()
}

fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

/// Versions as `subject`, number, id and GUID.
fn catalog(versions: &[(&str, i32, u32, Option<Uuid>)]) -> Catalog {
    let mut snapshot = SchemaSnapshot::new("http://r", 1, None);
    snapshot.versions = versions
        .iter()
        .map(|(subject, version, id, guid)| {
            let row = json!({
                "subject": subject, "version": version, "id": id, "guid": guid, "type": "AVRO",
                "text": { "file": "v1.avsc", "length": 0, "blake3": blake3::hash(b"").to_hex().to_string() },
            });
            serde_json::from_value(row).unwrap()
        })
        .collect();
    let mut catalog = Catalog::default();
    catalog.apply(snapshot);
    catalog
}

fn map(pairs: &[(&str, u32)]) -> SchemaMap {
    let ids = pairs.iter().map(|(from, to)| (key(from), id(*to))).collect();
    SchemaMap { ids, ..SchemaMap::default() }
}

fn framing(key: Framing, value: Framing) -> TopicFraming {
    let side = |how| SideFraming { how, ..SideFraming::default() };
    TopicFraming { key: side(key), value: side(value), headers: 0 }
}

fn remap(catalog: Catalog, map: &SchemaMap, framings: &[(&str, TopicFraming)], letters: Letters) -> Remap {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Seam::system().clock));
    let archive = Arc::new(SchemaArchive::of(store, catalog));
    Remap {
        ids: Arc::new(Ids::new(&archive.catalog, map, &[])),
        readers: Arc::new(Readers::new(Arc::new(letters), Arc::clone(&archive))),
        keys: KeyIds::Rewrite,
        unknown: UnknownIds::Fail,
        archive,
        framings: framings.iter().map(|(name, framing)| (topic(name), *framing)).collect(),
    }
}

fn framed(id: u32, rest: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], rest].concat()
}

/// A key, a value, and the header that names the value's schema.
type Written = (Option<Vec<u8>>, Vec<u8>, Option<Vec<u8>>);

/// What becomes of records of a topic: keys, values, the offsets of unknown ids, counts.
async fn remapped(
    remap: &Remap,
    name: &str,
    items: Vec<Written>,
) -> Result<(Vec<(Option<Vec<u8>>, Vec<u8>)>, Vec<i64>, RemapCounts)> {
    let mut worker = Remapper::new(remap.topic(&topic(name)).expect("looked at"), 1 << 20)?;
    let done = tokio::task::spawn_blocking(move || {
        let items: Vec<Item<'_>> = items
            .iter()
            .map(|(key, value, header)| Item {
                key: key.as_deref(),
                value: Some(value),
                headers: header.iter().map(|header| (&b"__value_schema_id"[..], Some(&**header))).collect(),
            })
            .collect();
        let bytes = batch_of(100, Codec::Zstd, None, &items);
        let batch = RecordBatch::parse(&bytes).unwrap();
        let mut counts = RemapCounts::default();
        let Remapped { bytes: changed, unknown, records } = worker.remap(&batch)?;
        counts.batch(batch.len(), records.into_iter());
        assert_eq!(counts.batches > 0, !changed.is_empty());
        let after = if changed.is_empty() { bytes } else { changed };
        let batch = RecordBatch::parse(&after).unwrap();
        let (mut decompressor, mut scratch) = (formats::codec::Decompressor::new(), Vec::new());
        let records = decompressor.records(&batch, 1 << 20, &mut scratch)?;
        let records = records.map(|record| {
            let record = record.unwrap();
            (record.key.map(<[u8]>::to_vec), record.value.unwrap_or_default().to_vec())
        });
        Ok((records.collect(), unknown.iter().map(|unknown| unknown.offset).collect(), counts))
    });
    done.await.unwrap()
}

fn values(values: &[Vec<u8>]) -> Vec<Written> {
    values.iter().map(|value| (None, value.clone(), None)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_the_topics_own_subject_change_and_others_only_where_the_record_proves_them() {
    let catalog = catalog(&[("t-value", 1, 5, None), ("other-x", 1, 6, None), ("same", 1, 7, None)]);
    let map = map(&[("5", 50), ("6", 60), ("7", 7)]);
    let remap = remap(catalog, &map, &[("t", framing(Framing::Raw, Framing::Named))], Letters::default());
    let before = [
        framed(5, b"anything"),
        framed(6, b"xyz"),
        framed(6, b"abc"),
        framed(7, b"abc"),
        framed(99, b"abc"),
        b"text".to_vec(),
        vec![0, 0, 0, 0],
    ];
    let (after, unknown, counts) = remapped(&remap, "t", values(&before)).await.unwrap();
    let mut expected = before.clone();
    (expected[0], expected[1]) = (framed(50, b"anything"), framed(60, b"xyz"));
    assert_eq!(after.into_iter().map(|(_, value)| value).collect::<Vec<_>>(), expected);
    assert_eq!(unknown, [104]);
    assert_eq!(
        (counts.values, counts.keys, counts.unproven, counts.unknown, counts.batches),
        (2, 0, 1, 1, 1)
    );
    // Keys of the same bytes are nobody's ids.
    let keyed = vec![(Some(framed(5, b"k")), framed(5, b"v"), None)];
    let (after, ..) = remapped(&remap, "t", keyed).await.unwrap();
    assert_eq!(after, [(Some(framed(5, b"k")), framed(50, b"v"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_samples_told_every_record_is_read_and_a_foreign_id_is_left() {
    let catalog = catalog(&[("some-x", 1, 5, None)]);
    let framings = [("t", framing(Framing::Raw, Framing::Inferred))];
    let remap = remap(catalog, &map(&[("5", 50)]), &framings, Letters::default());
    let before = [framed(5, b"x1"), framed(5, b"y1"), framed(9, b"x1")];
    let (after, unknown, counts) = remapped(&remap, "t", values(&before)).await.unwrap();
    let after: Vec<_> = after.into_iter().map(|(_, value)| value).collect();
    assert_eq!(after, [framed(50, b"x1"), before[1].clone(), before[2].clone()]);
    assert!(unknown.is_empty() && counts.unproven == 2 && counts.values == 1, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_number_of_two_contexts_is_told_apart_by_the_record() {
    let catalog = catalog(&[("t-value", 1, 5, None), (":.eu:t-value", 1, 5, None), (":.eu:q-y", 1, 8, None)]);
    let map = map(&[("5", 50), (":.eu:5", 51), (":.eu:8", 80)]);
    let framings = [("t", framing(Framing::Raw, Framing::Named))];
    // Both subjects end in the same letter here, so the record cannot tell them apart either.
    let remap = remap(catalog, &map, &framings, Letters::default());
    let before = [framed(5, b"e"), framed(5, b"-"), framed(8, b"y")];
    let (after, unknown, counts) = remapped(&remap, "t", values(&before)).await.unwrap();
    let after: Vec<_> = after.into_iter().map(|(_, value)| value).collect();
    assert_eq!(after, [before[0].clone(), before[1].clone(), framed(80, b"y")]);
    assert_eq!((unknown, counts.unproven), (vec![100], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_name_schemas_by_id_and_guid() {
    let (old, new, lost) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
    let catalog = catalog(&[("a", 1, 5, Some(old)), ("b", 1, 6, Some(lost))]);
    let map = SchemaMap {
        guids: [(old, new)].into(),
        unmapped_guids: [lost].into(),
        ..map(&[("5", 50), ("6", 6)])
    };
    let mut seen = framing(Framing::Raw, Framing::Raw);
    seen.headers = 1;
    let remap = remap(catalog, &map, &[("t", seen)], Letters::default());
    let guid = |guid: Uuid| Some([&[1], &guid.as_bytes()[..]].concat());
    let items = vec![
        (None, framed(5, b"payload"), guid(old)),
        (None, b"v".to_vec(), Some(framed(5, b""))),
        (None, b"v".to_vec(), guid(lost)),
        (None, b"v".to_vec(), guid(Uuid::from_u128(9))),
        (None, b"v".to_vec(), Some(framed(7, b""))),
    ];
    let (after, unknown, counts) = remapped(&remap, "t", items).await.unwrap();
    assert_eq!(after[0].1, framed(5, b"payload"), "where a header says it, the payload is the client's own");
    assert_eq!((unknown, counts.values), (vec![102, 103, 104], 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_can_be_kept_and_a_topic_without_evidence_is_not_looked_at() {
    let catalog = catalog(&[("t-key", 1, 5, None)]);
    let framings =
        [("t", framing(Framing::Named, Framing::Raw)), ("raw", framing(Framing::Raw, Framing::Raw))];
    let mut remap = remap(catalog, &map(&[("5", 50)]), &framings, Letters::default());
    let keyed = || vec![(Some(framed(5, b"k")), b"v".to_vec(), None)];
    let (after, _, counts) = remapped(&remap, "t", keyed()).await.unwrap();
    assert_eq!((after[0].0.clone(), counts.keys), (Some(framed(50, b"k")), 1));
    remap.keys = KeyIds::Keep;
    let (after, _, counts) = remapped(&remap, "t", keyed()).await.unwrap();
    assert_eq!((after[0].0.clone(), counts.keys), (Some(framed(5, b"k")), 0));
    assert!(remap.topic(&topic("raw")).is_none() && remap.topic(&topic("unheard")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_id_changes_foreign_ones_are_looked_for_unless_they_are_kept() {
    let framings = [("t", framing(Framing::Raw, Framing::Named))];
    let unchanged = catalog(&[("t-value", 1, 5, None)]);
    let mut remap = remap(unchanged, &map(&[("5", 5)]), &framings, Letters::default());
    let items = vec![(None, framed(5, b"v"), None), (None, framed(99, b"v"), None)];
    let (after, unknown, counts) = remapped(&remap, "t", items).await.unwrap();
    assert_eq!((after[0].1.clone(), after[1].1.clone()), (framed(5, b"v"), framed(99, b"v")));
    assert_eq!((unknown.len(), counts.unknown, counts.values), (1, 1, 0));
    remap.unknown = UnknownIds::Keep;
    assert!(remap.topic(&topic("t")).is_none(), "nothing is to be done to it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_cannot_be_read_now_is_no_proof_of_anything() {
    let catalog = catalog(&[("some-x", 1, 5, None)]);
    let framings = [("t", framing(Framing::Raw, Framing::Inferred))];
    let asked = Arc::new(Mutex::new(0));
    let letters = Letters { is_away: true, asked: Arc::clone(&asked) };
    let remap = remap(catalog, &map(&[("5", 50)]), &framings, letters);
    let records = vec![framed(5, b"x1"); 100];
    let error = remapped(&remap, "t", values(&records)).await.expect_err("away");
    assert!(error.is_retriable(), "{error}");
    assert_eq!(*asked.lock().unwrap(), 1, "one record is enough to know");
}

#[test]
fn subjects_are_found_in_every_context_and_through_aliases() {
    let mut catalog = catalog(&[
        ("t-value", 1, 1, None),
        (":.eu:t-value", 1, 2, None),
        ("real", 1, 3, None),
        ("t-value-not", 1, 4, None),
    ]);
    let config: Map<String, Value> = [("alias".to_owned(), json!("real"))].into_iter().collect();
    let place = PlaceRow { place: "t-value".into(), config: Some(config), mode: None };
    catalog.places.insert("t-value".into(), place);
    // One that leads into another context has the ids of that one.
    let away: Map<String, Value> = [("alias".to_owned(), json!(":.eu:t-value"))].into_iter().collect();
    let place = PlaceRow { place: "away-value".into(), config: Some(away), mode: None };
    catalog.places.insert("away-value".into(), place);
    let ids = Ids::new(&catalog, &map(&[("1", 1), (":.eu:2", 2)]), &[key("3")]);
    let away = ids.named(&catalog, &topic("away"), Side::Value);
    assert_eq!(away.into_iter().collect::<Vec<_>>(), [(id(2), Some(Landing::Same))]);
    let named: Vec<_> = ids.named(&catalog, &topic("t"), Side::Value).into_keys().collect();
    assert_eq!(named, [id(1), id(2), id(3)]);
    assert!(ids.named(&catalog, &topic("t"), Side::Key).is_empty());
    assert_eq!((ids.totals(), ids.change()), ([2, 0, 1, 1], true));
    // What a GUID becomes is only known afterwards, also where all ids stay.
    let guid = Some(Uuid::from_u128(1));
    let known = Ids::new(&super::tests::catalog(&[("a", 1, 1, guid)]), &map(&[("1", 1)]), &[]);
    assert_eq!((known.change(), known.has_guids(), ids.has_guids()), (false, true, false));
    let told = Told::new("t*", Some(Side::Key), true).unwrap();
    assert_eq!((told.says(&topic("t"), Side::Key), told.says(&topic("t"), Side::Value)), (Some(true), None));
}

#[test]
fn one_sample_that_is_no_message_is_enough_to_leave_a_side_alone() {
    let side = |proven| SideFraming { sampled: 10, framed: 10, proven, ..SideFraming::default() };
    let mut framing = TopicFraming { key: side(10), value: side(9), headers: 0 };
    let mut closed = framing;
    framing.infer(&[], &topic("t"));
    assert_eq!((framing.key.how, framing.value.how), (Framing::Inferred, Framing::Raw));
    closed.infer(&[Told::new("t", None, false).unwrap()], &topic("t"));
    assert_eq!(closed.key.how, Framing::Raw, "somebody has said so");
    let mut empty = TopicFraming::default();
    empty.infer(&[], &topic("t"));
    assert!(!empty.names_schemas());
}

fn entries(store: &Arc<dyn Store>) -> Entries {
    Entries::new(Arc::new(ObjectJournal::new(Arc::clone(store), RestoreId(7))), RestoreId(7))
}

#[tokio::test]
async fn of_two_maps_the_first_counts_whole() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Seam::system().clock));
    let begin = json!({
        "version": 1, "backup_id": "b", "commit": 1, "hash": blake3::hash(b"").to_hex().to_string(), "cluster_id": "c",
        "window": {}, "time_ms": 1, "topics": 0,
    });
    let (one, two) = (entries(&store), entries(&store));
    assert!(one.begin(1, &serde_json::from_value(begin).unwrap(), &BTreeMap::new()).await.unwrap());
    let pin = |to: u32| {
        let ids: Vec<(String, u32)> = (1..=12_000).map(|n| (format!(":.eu:{n}"), n + to)).collect();
        let ids: Vec<(&str, u32)> = ids.iter().map(|(from, to)| (from.as_str(), *to)).collect();
        let framings = [(topic("t"), framing(Framing::Named, Framing::Inferred))].into();
        let guids = [(Uuid::from_u128(1), Uuid::from_u128(u128::from(to)))].into();
        let unmapped_guids = [Uuid::from_u128(77)].into();
        let settings = [("restore.strategy".to_owned(), to.to_string())].into();
        let not_taken = vec![format!("a version {to}")];
        SchemaPin { map: SchemaMap { guids, unmapped_guids, ..map(&ids) }, framings, settings, not_taken }
    };
    assert_eq!(one.pin_schemas(1, pin(5)).await.unwrap(), pin(5));
    assert_eq!(two.pin_schemas(1, pin(6)).await.unwrap(), pin(5));
    assert_eq!(two.newest().await.unwrap().schemas, Some(pin(5)));
    // Nothing at all can be pinned too.
    assert_eq!(one.pin_schemas(2, SchemaPin::default()).await.unwrap(), SchemaPin::default());
}

#[tokio::test]
async fn notes_are_found_again_and_two_copies_do_not_write_at_once() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Seam::system().clock));
    let seam = Sample::seam(&Arc::new(TestClock::default()));
    let id = notes_id("http://r");
    let open = || notes(Arc::new(ObjectJournal::new(Arc::clone(&store), id)), id, &seam);
    let (one, two) = (open(), open());
    assert_eq!(one.load().await.unwrap(), None);
    one.store(b"first").await.unwrap();
    assert_eq!(two.load().await.unwrap().as_deref(), Some(&b"first"[..]));
    one.store(b"second").await.unwrap();
    let error = two.store(b"third").await.expect_err("somebody else has written");
    assert!(error.to_string().contains("another copy"), "{error}");
    assert_eq!(two.load().await.unwrap().as_deref(), Some(&b"second"[..]));
    two.remove().await.unwrap();
    assert_eq!(two.load().await.unwrap(), None);
    let error = two.store(&[0xff]).await.expect_err("no text");
    assert!(error.next_step().is_some(), "{error}");
}
