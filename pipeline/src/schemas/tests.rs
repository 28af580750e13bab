use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use bytes::Bytes;
use formats::commit::{ObjectRef, Op};
use formats::ids::Incarnation;
use formats::schemas::{Catalog, FROM_DEK_REGISTRY, OtherRow, PlaceRow, ReferenceRow, VersionState};
use serde_json::{Map, Value, json};

use super::shelf::Shelf;
use super::*;
use crate::archive::samples::{Sample, TestClock};
use crate::seam::Seam;
use crate::storage::Store;
use crate::storage::memory::MemoryStore;

struct Bench {
    store: Arc<dyn Store>,
    shelf: Shelf,
    selection: SchemaSelection,
    committed: Option<ObjectRef>,
    runs: u64,
}

impl Bench {
    fn new(selection: SchemaSelection) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Seam::system().clock));
        Self { store, shelf: Shelf::default(), selection, committed: None, runs: 0 }
    }

    async fn writer(&mut self) -> SchemaWriter {
        self.runs += 1;
        let (me, selection) = (Incarnation(self.runs), self.selection.clone());
        let newest = self.committed.as_ref();
        // Each run has a time of its own.
        let clock = Arc::new(TestClock(AtomicI64::new(1000 * i64::try_from(self.runs).unwrap())));
        let seam = Sample::seam(&clock);
        SchemaWriter::open(Arc::clone(&self.store), seam, me, selection, newest).await.unwrap()
    }

    /// A run of its own: opens what was committed, walks, commits. Says what is new.
    async fn walk(&mut self, depth: Depth) -> u64 {
        let mut writer = self.writer().await;
        let walked = writer.walk(&self.shelf, depth, 5).await.unwrap();
        self.commit(walked.op);
        writer.write_views().await;
        assert_eq!(self.read().await, *writer.catalog());
        walked.new
    }

    fn commit(&mut self, op: Option<Op>) {
        let Some(Op::Schemas { object, after, covers }) = op else { return };
        let is_new = self.committed.as_ref() != Some(&object);
        let before = self.committed.as_ref().map(|before| before.key.clone());
        assert_eq!((after, covers), (before.filter(|_| is_new), 5));
        self.committed = Some(object);
    }

    async fn archive(&self) -> SchemaArchive {
        SchemaArchive::open(Arc::clone(&self.store), self.committed.as_ref().unwrap()).await.unwrap()
    }

    async fn read(&self) -> Catalog {
        match &self.committed {
            Some(_) => self.archive().await.catalog,
            None => Catalog::default(),
        }
    }

    async fn states(&self, subject: &str) -> Vec<(i32, u32, VersionState)> {
        let catalog = self.read().await;
        let rows = catalog.subjects.get(subject).cloned().unwrap_or_default();
        rows.iter().map(|row| (row.version, row.id, row.state)).collect()
    }

    async fn view(&self, key: &str) -> Value {
        let stored = self.store.get(&format!("schema-registry/{key}"), 1 << 20).await.unwrap();
        serde_json::from_slice(&stored.unwrap_or_else(|| panic!("{key} is not there"))).unwrap()
    }
}

use VersionState::{Active, Deleted, Gone};

#[tokio::test]
async fn what_is_unchanged_is_stored_once() {
    let mut bench = Bench::new(SchemaSelection::all());
    assert_eq!((bench.walk(Depth::Everything).await, bench.committed.clone()), (0, None));
    bench.shelf.put("orders-value", 1, 1, "\"int\"");
    bench.shelf.put(":.eu:odd name", 1, 1, "\"long\"");
    assert_eq!(bench.walk(Depth::Versions).await, 2);
    let first = bench.committed.clone();
    assert_eq!(bench.walk(Depth::Versions).await, 0);
    assert_eq!(bench.committed, first, "the same snapshot covers more");
    bench.shelf.put("orders-value", 2, 5, "\"bytes\"");
    assert_eq!(bench.walk(Depth::Versions).await, 1);
    let archive = bench.archive().await;
    assert_eq!(archive.chain, 2);
    let row = archive.catalog.version("orders-value", 2).unwrap();
    assert_eq!(row.key(&row.text), "schema-registry/subjects/orders-value/v2.avsc");
    assert_eq!(archive.text(row).await.unwrap(), "\"bytes\"");
    let odd = archive.catalog.version(":.eu:odd name", 1).unwrap();
    assert_eq!(odd.key(&odd.text), "schema-registry/subjects/%3A.eu%3Aodd%20name/v1.avsc");
}

#[tokio::test]
async fn what_nobody_has_changed_is_not_read_again() {
    let selection = SchemaSelection::new(&["kept*"], &[], &[], true).unwrap();
    let mut bench = Bench::new(selection);
    bench.shelf.put("kept", 1, 1, "\"int\"");
    bench.shelf.put("other", 1, 2, "\"long\"");
    let mut writer = bench.writer().await;
    let looks = |bench: &Bench| bench.shelf.asked.lock().unwrap().len();
    let first = writer.walk(&bench.shelf, Depth::Everything, 5).await.unwrap();
    let again = writer.walk(&bench.shelf, Depth::Versions, 6).await.unwrap();
    assert_eq!(looks(&bench), 1);
    assert_eq!((again.new, again.gone, again.seen, &again.left_out), (0, 0, 2, &first.left_out));
    assert_eq!(first.left_out.len(), 1);
    let (Some(Op::Schemas { object, .. }), Some(Op::Schemas { object: same, after, covers })) =
        (first.op, again.op)
    else {
        panic!("nothing to commit");
    };
    assert_eq!((same, after, covers), (object, None, 6));
    // What is new, what is gone, and what a list only leaves out, as soon as it is.
    bench.shelf.put("kept", 2, 3, "\"bytes\"");
    assert_eq!(writer.walk(&bench.shelf, Depth::Versions, 7).await.unwrap().new, 1);
    *bench.shelf.hidden.lock().unwrap() = Some(("kept".into(), 2));
    for _ in 0..2 {
        assert!(writer.walk(&bench.shelf, Depth::Versions, 8).await.is_err(), "it is there and not listed");
    }
    bench.shelf.remove("kept", 2);
    for (gone, walks) in [(1, 5), (0, 6), (0, 6)] {
        let walked = writer.walk(&bench.shelf, Depth::Versions, 9).await.unwrap();
        assert_eq!((walked.gone, looks(&bench)), (gone, walks));
    }
    // Settings are no part of that.
    writer.walk(&bench.shelf, Depth::Everything, 9).await.unwrap();
    assert_eq!(looks(&bench), 7);
}

#[tokio::test]
async fn what_is_held_is_not_read_again() {
    let mut bench = Bench::new(SchemaSelection::all());
    bench.shelf.put("orders-value", 1, 1, "\"int\"");
    bench.walk(Depth::Versions).await;
    let (first, opened) = (bench.committed.clone().unwrap(), Opened::default());
    let plan = opened.open(&bench.store, &first).await.unwrap();
    let run = opened.clone().open(&bench.store, &first).await.unwrap();
    assert!(Arc::ptr_eq(&plan, &run), "it is there once");
    bench.shelf.put("orders-value", 2, 5, "\"bytes\"");
    bench.walk(Depth::Versions).await;
    let later = opened.open(&bench.store, bench.committed.as_ref().unwrap()).await.unwrap();
    assert_eq!((plan.catalog.versions().count(), later.catalog.versions().count()), (1, 2));
    let held = Arc::downgrade(&later);
    drop(later);
    assert!(held.upgrade().is_none(), "what nobody holds goes");
    let again = opened.open(&bench.store, &first).await.unwrap();
    assert_eq!(again.catalog.versions().count(), 1);
}

#[tokio::test]
async fn nothing_that_was_there_is_lost_to_later_walks() {
    for is_silent in [false, true] {
        let mut bench = Bench::new(SchemaSelection::all());
        bench.shelf.is_silent = is_silent;
        bench.shelf.put("s", 1, 1, "\"int\"");
        bench.shelf.put("s", 2, 2, "\"long\"");
        bench.walk(Depth::Everything).await;
        bench.shelf.change(FoundVersion { deleted: Some(true), ..bench.shelf.get("s", 1) });
        bench.walk(Depth::Everything).await;
        assert_eq!(bench.states("s").await, [(1, 1, Deleted), (2, 2, Active)]);
        // A walk that is told nothing of it leaves it as it is.
        bench.shelf.put("t", 1, 9, "\"string\"");
        bench.walk(Depth::Versions).await;
        assert_eq!(bench.states("s").await, [(1, 1, Deleted), (2, 2, Active)]);
        bench.shelf.change(FoundVersion { deleted: Some(false), ..bench.shelf.get("s", 1) });
        bench.shelf.remove("s", 2);
        bench.walk(Depth::Everything).await;
        assert_eq!(bench.states("s").await, [(1, 1, Active), (2, 2, Gone)]);
        // The whole subject is made again: other schemas have the numbers, one the same.
        bench.shelf.put("s", 1, 3, "\"bytes\"");
        bench.shelf.put("s", 2, 2, "\"long\"");
        assert_eq!(bench.walk(Depth::Everything).await, 1);
        assert_eq!(bench.states("s").await, [(1, 1, Gone), (1, 3, Active), (2, 2, Active)]);
        let archive = bench.archive().await;
        let texts = archive.catalog.subjects["s"].iter().map(|row| archive.text(row));
        let texts = futures::future::try_join_all(texts).await.unwrap();
        assert_eq!(texts, ["\"int\"", "\"bytes\"", "\"long\""]);
        assert!(archive.catalog.subjects["s"][1].text.file.starts_with("v1."), "a name of its own");
        assert_ne!(archive.catalog.subjects["s"][1].text.file, "v1.avsc");
    }
}

#[tokio::test]
async fn what_a_list_leaves_out_is_not_gone() {
    let mut bench = Bench::new(SchemaSelection::all());
    bench.shelf.put("s", 1, 1, "\"int\"");
    bench.shelf.put("s", 2, 2, "\"long\"");
    bench.walk(Depth::Everything).await;
    *bench.shelf.hidden.lock().unwrap() = Some(("s".into(), 1));
    let mut writer = bench.writer().await;
    let error = writer.walk(&bench.shelf, Depth::Everything, 5).await.expect_err("the list is short");
    assert!(error.to_string().contains("s version 1 and does not list it"), "{error}");
    assert_eq!(bench.states("s").await, [(1, 1, Active), (2, 2, Active)]);
    bench.shelf.remove("s", 1);
    let walked = writer.walk(&bench.shelf, Depth::Everything, 5).await.unwrap();
    assert_eq!((walked.gone, walked.new), (1, 0));
}

#[tokio::test]
async fn settings_modes_labels_and_what_is_unknown_are_kept() {
    let mut bench = Bench::new(SchemaSelection::all());
    bench.shelf.put("s", 1, 1, "\"int\"");
    let labels = Bytes::from_static(br#"{"metadata":{"properties":{"owner":"a"}}}"#);
    bench.shelf.change(FoundVersion { labels: Some(labels.clone()), ..bench.shelf.get("s", 1) });
    let place = |place: &str, level: &str, mode: Option<&str>| PlaceRow {
        place: place.into(),
        config: Some(Map::from_iter([("compatibilityLevel".to_owned(), json!(level))])),
        mode: mode.map(str::to_owned),
    };
    *bench.shelf.places.lock().unwrap() = vec![
        place("", "FULL", Some("READWRITE")),
        place("s", "NONE", None),
        place(":.eu:", "BACKWARD", None),
    ];
    let kek =
        OtherRow { source: "dek-registry".into(), key: json!({"kek": "k"}), value: json!({"name": "k"}) };
    *bench.shelf.others.lock().unwrap() = vec![kek.clone()];
    bench.walk(Depth::Everything).await;
    let archive = bench.archive().await;
    assert_eq!((archive.catalog.places.len(), archive.catalog.others.values().next()), (3, Some(&kek)));
    let row = archive.catalog.version("s", 1).unwrap();
    assert_eq!(archive.labels(row).await.unwrap(), Some(labels));
    let metadata = bench.view("subjects/s/metadata.json").await;
    assert_eq!((&metadata["compatibility"], &metadata["versions"][0]["id"]), (&json!("NONE"), &json!(1)));
    let global = bench.view("config/global.json").await;
    assert_eq!((&global["compatibilityLevel"], &global["mode"]), (&json!("FULL"), &json!("READWRITE")));
    assert_eq!(global["contexts"][":.eu:"]["config"]["compatibilityLevel"], "BACKWARD");
    let manifest = bench.view("_schemas.json").await;
    assert_eq!(
        (&manifest["schema_registry_version"], &manifest["id_mapping"]["1"]),
        (&json!("7.5.0"), &json!("subjects/s/v1.avsc"))
    );
    let subject = &manifest["subjects"][0];
    assert_eq!(
        (&subject["name"], &subject["compatibility"], &subject["schema_type"]),
        (&json!("s"), &json!("NONE"), &json!("AVRO"))
    );
    assert_eq!(subject["versions"][0], json!({"version": 1, "id": 1, "schema_file": "subjects/s/v1.avsc"}));
    bench.shelf.put(":.eu:t", 1, 1, "\"long\"");
    bench.walk(Depth::Versions).await;
    let manifest = bench.view("_schemas.json").await;
    assert_eq!(manifest["subjects"][0]["compatibility"], "BACKWARD", "that of its context");
    bench.shelf.remove(":.eu:t", 1);
    // A walk through versions alone takes no settings away; one through everything does.
    *bench.shelf.places.lock().unwrap() = Vec::new();
    bench.shelf.others.lock().unwrap().clear();
    bench.walk(Depth::Versions).await;
    assert_eq!(bench.read().await.places.len(), 3);
    bench.walk(Depth::Everything).await;
    let catalog = bench.read().await;
    assert!(catalog.places.is_empty() && catalog.others.is_empty());
}

#[tokio::test]
async fn the_manifest_names_an_id_once_however_many_versions_have_it() {
    let mut bench = Bench::new(SchemaSelection::all());
    for subject in ["a", "b", ":.eu:c"] {
        bench.shelf.put(subject, 1, 7, "\"int\"");
    }
    bench.walk(Depth::Versions).await;
    let stored = bench.store.get("schema-registry/_schemas.json", 1 << 20).await.unwrap().unwrap();
    let text = String::from_utf8(stored.into()).unwrap();
    let named: Vec<&str> = text.lines().map(str::trim).filter(|line| line.contains("7\": ")).collect();
    assert_eq!(named, [r#""7": "subjects/b/v1.avsc","#, r#"":.eu:7": "subjects/%3A.eu%3Ac/v1.avsc""#]);
}

#[tokio::test]
async fn what_a_taken_schema_refers_to_is_taken_with_it() {
    let selection =
        |include: &[&str], exclude: &[&str]| SchemaSelection::new(include, exclude, &[], true).unwrap();
    let reference =
        |subject: &str, version| ReferenceRow { name: "n".into(), subject: subject.into(), version };
    for (selection, wanted) in [
        (
            selection(&["orders-*"], &[]),
            vec![("common", 1), ("deep", 2), ("orders-value", 1), ("orders-value", 2)],
        ),
        (
            SchemaSelection::new(&["orders-*"], &[], &["avro"], false).unwrap(),
            vec![("orders-value", 1), ("orders-value", 2)],
        ),
        (SchemaSelection::new(&[], &[], &["json"], true).unwrap(), vec![]),
        (selection(&["*"], &["orders-*", "common"]), vec![("deep", 1), ("deep", 2), ("other", 1)]),
    ] {
        let mut bench = Bench::new(selection);
        for (number, (subject, version)) in
            [("common", 1), ("deep", 1), ("deep", 2), ("orders-value", 1), ("orders-value", 2), ("other", 1)]
                .into_iter()
                .enumerate()
        {
            bench.shelf.put(subject, version, 1 + number as u32, &format!("\"{subject}{version}\""));
        }
        let with = |subject, version, references| {
            bench.shelf.change(FoundVersion { references, ..bench.shelf.get(subject, version) });
        };
        with("orders-value", 2, vec![reference("common", 1), reference("nowhere", 7)]);
        with("common", 1, vec![reference("deep", 2)]);
        let mut writer = bench.writer().await;
        let walked = writer.walk(&bench.shelf, Depth::Everything, 5).await.unwrap();
        let taken: Vec<_> =
            writer.catalog().versions().map(|row| (row.subject.as_str(), row.version)).collect();
        assert_eq!((taken, walked.new, walked.seen), (wanted.clone(), wanted.len() as u64, 6));
        assert!(!walked.left_out.is_empty());
        bench.commit(walked.op);
        assert_eq!(bench.walk(Depth::Versions).await, 0, "and stays");
        // Whatever is left out from now on, what is in the backup is not gone.
        bench.selection = SchemaSelection::new(&["none"], &[], &[], true).unwrap();
        bench.walk(Depth::Everything).await;
        assert!(bench.read().await.versions().all(|row| row.state == Active));
    }
}

#[tokio::test]
async fn a_walk_that_fails_leaves_no_trace_and_the_next_one_finds_its_objects() {
    for breaks_after in 0..4 {
        let mut bench = Bench::new(SchemaSelection::all());
        for number in 1..=3 {
            bench.shelf.put("s", number, number as u32, &format!("\"t{number}\""));
        }
        *bench.shelf.breaks_after.lock().unwrap() = Some(breaks_after);
        let mut writer = bench.writer().await;
        let error = writer.walk(&bench.shelf, Depth::Everything, 5).await.expect_err("it broke");
        assert!(error.is_retriable());
        assert_eq!(*writer.catalog(), Catalog::default());
        *bench.shelf.breaks_after.lock().unwrap() = None;
        let walked = writer.walk(&bench.shelf, Depth::Everything, 5).await.unwrap();
        assert_eq!(walked.new, 3);
        // The process died before its commit: another one does it all again, to the same objects.
        drop(walked);
        assert_eq!(bench.walk(Depth::Everything).await, 3);
        let files: Vec<_> = bench.read().await.versions().map(|row| row.text.file.clone()).collect();
        assert_eq!(files, ["v1.avsc", "v2.avsc", "v3.avsc"]);
    }
}

#[tokio::test]
async fn long_accounts_are_begun_anew_and_times_are_found_in_all_of_them() {
    let mut bench = Bench::new(SchemaSelection::all());
    for number in 1..=200 {
        bench.shelf.put("s", number, number as u32, &format!("\"t{number}\""));
        bench.walk(Depth::Versions).await;
    }
    let archive = bench.archive().await;
    assert!(archive.chain <= 65, "{}", archive.chain);
    assert_eq!(archive.catalog.versions().count(), 200);
    let newest = bench.committed.clone().unwrap();
    assert_eq!(SchemaArchive::newest_at(&*bench.store, &newest, i64::MAX).await.unwrap(), newest);
    let first = SchemaArchive::newest_at(&*bench.store, &newest, 0).await.unwrap();
    let then = SchemaArchive::open(Arc::clone(&bench.store), &first).await.unwrap();
    assert_eq!(then.catalog.versions().count(), 1);
}

#[tokio::test]
async fn many_versions_go_into_several_snapshots() {
    let mut bench = Bench::new(SchemaSelection::all());
    for number in 0..45_000 {
        bench.shelf.put(&format!("s{}", number / 10), 1 + number % 10, 1 + number as u32, "\"int\"");
    }
    assert_eq!(bench.walk(Depth::Versions).await, 45_000);
    let archive = bench.archive().await;
    assert_eq!((archive.chain, archive.catalog.versions().count()), (3, 45_000));
    let newest = bench.committed.clone().unwrap();
    let first = SchemaArchive::newest_at(&*bench.store, &newest, 0).await.unwrap();
    assert_eq!(first, newest, "a walk is all of its snapshots");
}

#[tokio::test]
async fn what_is_carried_goes_only_where_its_source_has_told_all() {
    let mut bench = Bench::new(SchemaSelection::all());
    bench.shelf.put("s", 1, 1, "\"int\"");
    let kek = |name: &str| OtherRow::kek(name, json!({ "name": name }));
    let record = OtherRow::record(br#"{"keytype":"ENCRYPTION"}"#, b"{\"a\": 1}");
    *bench.shelf.others.lock().unwrap() = vec![kek("a"), kek("b"), record.clone()];
    bench.walk(Depth::Everything).await;
    let all = bench.read().await.others;
    assert_eq!(all.len(), 3);
    // A registry that does not answer for its keys has lost none.
    *bench.shelf.silent_others.lock().unwrap() = vec![FROM_DEK_REGISTRY];
    bench.walk(Depth::Everything).await;
    assert_eq!(bench.read().await.others, all);
    // One that does has.
    bench.shelf.silent_others.lock().unwrap().clear();
    *bench.shelf.others.lock().unwrap() = vec![kek("b"), record.clone()];
    bench.walk(Depth::Everything).await;
    let left: Vec<_> = bench.read().await.others.into_values().collect();
    assert_eq!(left, [record, kek("b")]);
}

#[tokio::test]
async fn much_that_is_carried_goes_into_several_snapshots() {
    let mut bench = Bench::new(SchemaSelection::all());
    let large = vec![b'x'; 3 << 20];
    let rows: Vec<_> = (0..5).map(|n| OtherRow::record(format!("{n}").as_bytes(), &large)).collect();
    bench.shelf.others.lock().unwrap().extend(rows.iter().cloned());
    bench.walk(Depth::Everything).await;
    let archive = bench.archive().await;
    // As hex digits each has 6 MB.
    assert_eq!(archive.chain, 5);
    assert_eq!(archive.catalog.others.into_values().collect::<Vec<_>>(), rows);
}

#[tokio::test]
async fn damage_is_found_by_whoever_reads() {
    let mut bench = Bench::new(SchemaSelection::all());
    bench.shelf.put("s", 1, 1, "\"int\"");
    bench.walk(Depth::Everything).await;
    let archive = bench.archive().await;
    let row = archive.catalog.version("s", 1).unwrap().clone();
    let key = row.key(&row.text);
    bench.store.replace_view(&key, Bytes::from_static(b"\"inx\"")).await.unwrap();
    let error = archive.text(&row).await.expect_err("damaged");
    assert!(error.to_string().contains(&key) && error.kind() == crate::ErrorKind::Damaged, "{error}");
    bench.store.delete(&key).await.unwrap();
    assert!(archive.text(&row).await.expect_err("missing").to_string().contains("missing"));
    let newest = bench.committed.clone().unwrap();
    bench.store.replace_view(&newest.key, Bytes::from_static(b"{}")).await.unwrap();
    let error = SchemaArchive::open(Arc::clone(&bench.store), &newest).await.expect_err("damaged");
    assert!(error.to_string().contains(&newest.key), "{error}");
    // Another account begins, which still names the damaged one.
    assert_eq!(bench.walk(Depth::Everything).await, 1);
    let again = bench.archive().await;
    assert_eq!((again.chain, again.catalog.versions().count()), (1, 1));
    assert!(again.catalog.versions().all(|row| row.text.file.starts_with("v1.avsc")));
}
