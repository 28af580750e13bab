use formats::codec::Codec;
use formats::commit::SegmentObject;
use formats::hash::Hash;
use formats::ids::Incarnation;
use formats::schemas::{Extra, FileRef, PlaceRow, ReferenceRow, SchemaSnapshot};
use serde_json::json;

use super::*;
use crate::archive::samples::{Item, Sample, batch_of, place};

fn row(subject: &str, version: i32, id: u32) -> VersionRow {
    VersionRow {
        subject: subject.into(),
        version,
        id,
        guid: None,
        schema_type: "AVRO".into(),
        state: VersionState::Active,
        text: FileRef { file: format!("v{version}.avsc"), length: 5, blake3: Hash::of(subject.as_bytes()) },
        labels: None,
        references: Vec::new(),
        ts: None,
        extra: Extra::default(),
    }
}

fn catalog(versions: Vec<VersionRow>) -> Catalog {
    let mut catalog = Catalog::default();
    catalog.apply(SchemaSnapshot { versions, ..SchemaSnapshot::new("http://registry", 1, None) });
    catalog
}

fn framed(id: u32) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], b"payload"].concat()
}

/// An entry of a segment whose values these are; `None` where it is not scanned.
async fn entry(values: Option<&[Vec<u8>]>) -> SegmentEntry {
    let values = values.map(<[_]>::to_vec);
    let items: Vec<_> = values.iter().flatten().map(|v| Item { value: Some(v), ..Item::default() }).collect();
    entry_of(values.is_some(), &items).await
}

async fn entry_of(scans: bool, items: &[Item<'_>]) -> SegmentEntry {
    let mut sample = Sample::new().await;
    sample.scans = scans;
    let partition = place("any", 0);
    let lineage = sample.lineage(&partition, 0, None).await;
    let end = items.len().max(1) as i64;
    let batches = if items.is_empty() { vec![] } else { vec![batch_of(0, Codec::Zstd, None, items)] };
    let encoded = sample.encode(&partition, lineage, (0, end), &batches, None);
    SegmentEntry::of(&encoded, SegmentObject::Own(Incarnation(1), 1), 0)
}

fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

fn look(catalog: &Catalog, lists: &[(&str, i32, &[SegmentEntry])]) -> RadarReport {
    let mut radar = Radar::new(catalog);
    for (name, partition, list) in lists {
        radar.list(&topic(name), *partition, LineageId(7), list);
    }
    radar.finish(true)
}

fn ids(report: &RadarReport) -> Vec<(String, u32, u64, u64)> {
    let row = |row: &UnknownSchema| {
        (format!("{}-{}", row.topic, row.side), row.id.unwrap().number(), row.count, row.segments)
    };
    report.unknown.iter().map(row).collect()
}

fn unused(report: &RadarReport) -> Vec<(&str, i32)> {
    report.unused.iter().flatten().map(|row| (row.subject.as_str(), row.version)).collect()
}

#[tokio::test]
async fn what_the_backup_has_no_schema_of_is_counted_and_its_first_place_named() {
    let catalog = catalog(vec![row("orders-value", 1, 5), row("orders-value", 2, 6)]);
    let first = entry(Some(&[framed(5), framed(9), framed(9)])).await;
    let second = entry(Some(&[framed(9), framed(4)])).await;
    let report = look(
        &catalog,
        &[("orders", 0, std::slice::from_ref(&first)), ("orders", 1, &[first.clone(), second])],
    );
    let key = || "orders-value".to_owned();
    assert_eq!(ids(&report), [(key(), 4, 1, 1), (key(), 9, 5, 3)]);
    let nine = &report.unknown[1];
    assert_eq!((nine.partition, nine.lineage, nine.first, nine.end), (0, LineageId(7), 0, 3));
    assert_eq!((report.segments, report.scanned, report.unframed.len()), (3, 3, 0));
    assert_eq!(unused(&report), [("orders-value", 2)]);
}

#[tokio::test]
async fn bytes_that_look_like_ids_by_chance_are_told_apart() {
    let catalog = catalog(vec![row("orders-value", 1, 5), row("com.x.Event", 1, 7)]);
    // Every fourth value begins with a zero byte.
    let text = || b"{\"json\": true}".to_vec();
    let chance = entry(Some(&[text(), text(), framed(70_000), text(), framed(0x0102_0304)])).await;
    // One known id among many others says nothing either.
    let hit = entry(Some(&[framed(7), text(), framed(0x7001_0203), text()])).await;
    // Without a subject of its own, but with nearly every value bearing an id that is known.
    let events = entry(Some(&[framed(7), framed(7), framed(8), framed(7)])).await;
    let report = look(&catalog, &[("chance", 0, &[chance]), ("events", 0, &[events]), ("hit", 0, &[hit])]);
    assert_eq!(ids(&report), [("events-value".to_owned(), 8, 1, 1)]);
    let told: Vec<_> =
        report.unframed.iter().map(|row| (row.topic.as_str(), row.count, row.known, row.other)).collect();
    assert_eq!(told, [("chance", 2, 0, 3), ("hit", 1, 1, 2)]);
    assert_eq!(report.unframed[0].examples.len(), 2);
    // A subject of its own makes every unknown id one, in whatever context, and so does an alias.
    for subject in ["chance-value", ":.eu:chance-value"] {
        let mut named = catalog.clone();
        named.apply(SchemaSnapshot {
            begins: false,
            versions: vec![row(subject, 1, 1)],
            ..SchemaSnapshot::new("http://registry", 2, None)
        });
        let chance = entry(Some(&[text(), framed(70_000)])).await;
        assert_eq!(ids(&look(&named, &[("chance", 0, &[chance])])).len(), 1, "{subject}");
    }
    let mut aliased = catalog.clone();
    let config = json!({ "alias": "orders-value" });
    aliased.apply(SchemaSnapshot {
        begins: false,
        places: vec![PlaceRow {
            place: "chance-value".into(),
            config: config.as_object().cloned(),
            mode: None,
        }],
        ..SchemaSnapshot::new("http://registry", 2, None)
    });
    let chance = entry(Some(&[text(), framed(70_000)])).await;
    assert_eq!(ids(&look(&aliased, &[("chance", 0, &[chance])])).len(), 1);
}

#[tokio::test]
async fn headers_carry_their_own_evidence_and_guids_count() {
    let known = "00112233-4455-6677-8899-aabbccddeeff";
    let mut row = row("h-value", 1, 5);
    row.guid = Some(known.into());
    let catalog = catalog(vec![row]);
    let guid = |text: &str| [&[1], &Uuid::parse_str(text).unwrap().as_bytes()[..]].concat();
    let (own, lost) = (guid(known), guid("ffffffff-4455-6677-8899-aabbccddeeff"));
    let id = framed(9);
    let items = [
        Item { value: Some(b"text"), headers: vec![(b"__value_schema_id", Some(&own))], ..Item::default() },
        Item { value: Some(b"text"), headers: vec![(b"__value_schema_id", Some(&lost))], ..Item::default() },
        Item { key: Some(b"k"), headers: vec![(b"__key_schema_id", Some(&id))], ..Item::default() },
    ];
    let report = look(&catalog, &[("other", 0, &[entry_of(true, &items).await])]);
    let found: Vec<_> =
        report.unknown.iter().map(|row| (row.side.as_str(), row.place, row.schema())).collect();
    assert_eq!(
        found,
        [
            ("key", "header", "schema id 9".to_owned()),
            ("value", "header", "schema GUID ffffffff-4455-6677-8899-aabbccddeeff".to_owned()),
        ]
    );
    assert_eq!((report.unframed.len(), unused(&report).len()), (0, 0));
}

#[tokio::test]
async fn unused_is_what_neither_data_nor_a_schema_in_use_needs() {
    let mut used = row("orders-value", 1, 5);
    used.references =
        vec![ReferenceRow { name: "com.x.Address".into(), subject: "address".into(), version: 1 }];
    let mut gone = row("gone", 1, 9);
    gone.state = VersionState::Gone;
    // Another subject, another context: the id is used.
    let rows = vec![
        used,
        row("address", 1, 6),
        row("nobody", 1, 7),
        gone,
        row("same", 1, 5),
        row(":.eu:context", 3, 5),
        row(":.eu:nobody", 1, 8),
    ];
    let catalog = catalog(rows);
    let used = entry(Some(&[framed(5)])).await;
    let report = look(&catalog, &[("orders", 0, std::slice::from_ref(&used))]);
    assert_eq!(unused(&report), [(":.eu:nobody", 1), ("nobody", 1)]);
    // It cannot be said where something was not looked at.
    let report = look(&catalog, &[("orders", 0, &[used.clone(), entry(None).await])]);
    assert_eq!((report.unused, report.scanned, report.segments), (None, 1, 2));
    let mut damaged = used.clone();
    damaged.schema_ids.as_mut().unwrap().unread = 1;
    assert_eq!(look(&catalog, &[("orders", 0, &[damaged])]).unused, None);
    let mut some = Radar::new(&catalog);
    some.list(&topic("orders"), 0, LineageId(7), &[used]);
    assert_eq!(some.finish(false).unused, None);
    assert_eq!(look(&catalog, &[]).unused, None);
}

#[tokio::test]
async fn too_many_different_ids_make_no_list_endless_and_leave_the_others_certain() {
    let rows = vec![row("orders-value", 1, 5), row("nobody", 1, 6), row("late", 1, 2_000_000_000)];
    let catalog = catalog(rows);
    let values: Vec<_> = (0..200).map(|n| framed(1_000_000 + n)).chain([framed(5)]).collect();
    let report = look(&catalog, &[("chance", 0, &[entry(Some(&values)).await])]);
    assert_eq!((report.unframed.len(), report.unframed[0].count), (1, 200));
    assert_eq!((unused(&report), report.unused_unsure), (vec![("nobody", 1)], 1));
    // In a topic that is framed, it is said that there are more.
    let report = look(&catalog, &[("orders", 0, &[entry(Some(&values)).await])]);
    assert_eq!((report.unknown.len(), report.beyond.len(), report.beyond[0].count), (15, 1, 185));
    // Ids of many segments are followed up to a bound.
    let mut many = entry(Some(&[framed(5)])).await;
    let lists: Vec<_> = (0..30_u32)
        .map(|segment| {
            let ids = (0..100).map(|n| (SchemaId::new(10_000 + segment * 100 + n).unwrap(), 1)).collect();
            many.schema_ids.as_mut().unwrap().value.prefix = Listed { ids, beyond: 0 };
            many.clone()
        })
        .collect();
    let report = look(&catalog, &[("orders", 0, &lists)]);
    assert_eq!((report.unknown.len(), report.unknown_omitted, report.beyond[0].count), (1000, 0, 2000));
}

#[test]
fn a_runs_own_ids_are_held_against_the_catalog_too() {
    let catalog = catalog(vec![row("orders-value", 1, 5)]);
    let known = KnownIds::of(&catalog);
    let list = |ids: &[(u32, u64)]| Listed {
        ids: ids.iter().map(|(id, count)| (SchemaId::new(*id).unwrap(), *count)).collect(),
        beyond: 0,
    };
    let mut found = SchemaIds::default();
    found.value.prefix = list(&[(5, 10), (9, 2)]);
    found.key.prefix = list(&[(77, 1)]);
    found.key.other = 11;
    found.key.header = list(&[(3, 1)]);
    let unknown = known.unknown(&topic("orders"), &found);
    let told: Vec<_> = unknown.iter().map(|row| (row.side, row.schema.to_string(), row.count)).collect();
    assert_eq!(told, [(Side::Key, "schema id 3".to_owned(), 1), (Side::Value, "schema id 9".to_owned(), 2)]);
}
