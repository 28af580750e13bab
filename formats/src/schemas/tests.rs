use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn row(subject: &str, version: i32, id: u32, text: &str) -> VersionRow {
    let stored = text.as_bytes();
    VersionRow {
        subject: subject.into(),
        version,
        id,
        guid: None,
        schema_type: "AVRO".into(),
        state: VersionState::Active,
        text: FileRef {
            file: file_name(version, None, "avsc"),
            length: stored.len() as u64,
            blake3: Hash::of(stored),
        },
        labels: None,
        references: Vec::new(),
        ts: None,
        extra: Extra::default(),
    }
}

fn snapshot(before: Option<&str>, versions: Vec<VersionRow>) -> SchemaSnapshot {
    let before = before.map(|key| ObjectRef { key: key.into(), length: 1, blake3: Hash::ZERO });
    SchemaSnapshot { versions, ..SchemaSnapshot::new("http://registry:8081", 7, before) }
}

fn in_state(row: VersionRow, state: VersionState) -> VersionRow {
    VersionRow { state, ..row }
}

#[test]
fn rows_add_up_and_nothing_is_forgotten() {
    let mut catalog = Catalog::default();
    let (one, two) = (row("s", 1, 1, "\"int\""), row("s", 2, 2, "\"long\""));
    catalog.apply(snapshot(None, vec![two.clone(), one.clone()]));
    assert_eq!(catalog.subjects["s"], [one.clone(), two.clone()]);
    // Deleted softly, then for good, and its number given again.
    catalog.apply(snapshot(Some("a"), vec![in_state(two.clone(), VersionState::Deleted)]));
    assert_eq!(catalog.version("s", 2).map(|row| row.state), Some(VersionState::Deleted));
    let gone = in_state(two, VersionState::Gone);
    catalog.apply(snapshot(Some("b"), vec![gone.clone()]));
    assert_eq!((catalog.version("s", 2), catalog.target("s", 2)), (None, Some(&gone)));
    let again = row("s", 2, 3, "\"bytes\"");
    catalog.apply(snapshot(Some("c"), vec![again.clone()]));
    assert_eq!(catalog.subjects["s"], [one, gone, again.clone()]);
    assert_eq!((catalog.version("s", 2), catalog.target("s", 2)), (Some(&again), Some(&again)));
    assert_eq!(
        (catalog.version("s", 3), catalog.target("s", 3), catalog.version("t", 1)),
        (None, None, None)
    );
    // A whole account takes the place of everything before it.
    catalog.apply(SchemaSnapshot { begins: true, ..snapshot(Some("d"), vec![again.clone()]) });
    assert_eq!(catalog.versions().collect::<Vec<_>>(), [&again]);
}

#[test]
fn places_and_others_go_when_they_are_empty() {
    let mut catalog = Catalog::default();
    let place = |config: Option<&str>, mode: Option<&str>| PlaceRow {
        place: "s".into(),
        config: config.map(|level| Map::from_iter([("compatibilityLevel".to_owned(), json!(level))])),
        mode: mode.map(str::to_owned),
    };
    let other = |value: Value| OtherRow { source: "_schemas".into(), key: json!({"keytype": "NEW"}), value };
    let with = |places, others| SchemaSnapshot { places, others, ..snapshot(Some("x"), vec![]) };
    catalog.apply(with(vec![place(Some("FULL"), Some("READONLY"))], vec![other(json!({"a": 1}))]));
    catalog.apply(with(vec![place(None, Some("READONLY"))], vec![other(json!(2))]));
    assert_eq!(catalog.places["s"], place(None, Some("READONLY")));
    assert_eq!(catalog.others.values().map(|row| &row.value).collect::<Vec<_>>(), [&json!(2)]);
    catalog.apply(with(vec![place(None, None)], vec![other(Value::Null)]));
    assert!(catalog.places.is_empty() && catalog.others.is_empty());
}

#[test]
fn what_no_writer_could_have_written_is_refused() {
    let good = serde_json::to_value(snapshot(None, vec![row("s", 1, 1, "\"int\"")])).expect("JSON");
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut text = good.clone();
        change(&mut text);
        SchemaSnapshot::decode(text.to_string().as_bytes()).expect_err("refused").to_string()
    };
    assert!(SchemaSnapshot::decode(good.to_string().as_bytes()).is_ok());
    assert!(refused(&|text| text["format"] = json!("other")).contains("not known"));
    assert!(refused(&|text| text["version"] = json!(2)).contains("not known"));
    assert!(refused(&|text| text["begins"] = json!(false)).contains("neither begins nor continues"));
    assert!(refused(&|text| text["versions"][0]["version"] = json!(0)).contains("s version 0"));
    for name in ["../v1.avsc", "v1/../../x", "", "x", "v1\\x", "v\u{0}"] {
        let error = refused(&|text| text["versions"][0]["text"]["file"] = json!(name));
        assert!(error.contains("no name of an object"), "{name}: {error}");
    }
    assert!(SchemaSnapshot::decode(b"{").is_err());
}

#[test]
fn folders_of_subjects_are_as_documented() {
    let long = "x".repeat(201);
    let hash = Hash::of(long.as_bytes()).to_string();
    let long_folder = format!("%~{}~{}", "x".repeat(120), &hash[..32]);
    for (name, folder) in [
        ("orders-value", "orders-value"),
        (":.eu:orders value", "%3A.eu%3Aorders%20value"),
        ("", "%"),
        (".", "%2E"),
        ("..", "%2E."),
        ("../a", "%2E.%2Fa"),
        ("ä/%41", "%C3%A4%2F%2541"),
        (&long, &long_folder),
    ] {
        assert_eq!(subject_folder(name), folder, "{name:?}");
    }
    assert_eq!(file_name(3, None, extension("PROTOBUF")), "v3.proto");
    assert_eq!(file_name(3, Some(Hash::ZERO), extension("JSON")), "v3.0000000000000000.json");
}

#[test]
fn references_stay_in_their_context_unless_they_name_one() {
    for (referrer, reference, target) in [
        ("a", "b", "b"),
        (":.eu:a", "b", ":.eu:b"),
        (":.eu:a", ":.us:b", ":.us:b"),
        (":.eu:a", ":.:b", "b"),
        ("a", ":.eu:b:c", ":.eu:b:c"),
        (":.eu:a", ":b:c", ":.eu::b:c"),
    ] {
        assert_eq!(reference_target(referrer, reference), target, "{referrer} {reference}");
    }
    assert_eq!(in_context(":.eu:a"), (".eu", "a"));
    assert_eq!(in_context(":x"), (".", ":x"));
}

/// The name of a folder, where that is short.
fn subject_of(folder: &str) -> Option<String> {
    if folder == "%" {
        return Some(String::new());
    }
    let (mut bytes, mut rest) = (Vec::new(), folder.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z.:%/~ A]{0,12}", "[ -~]{180,220}", "ä{60,110}"]
}

fn rows() -> impl Strategy<Value = VersionRow> {
    let state =
        prop_oneof![Just(VersionState::Active), Just(VersionState::Deleted), Just(VersionState::Gone)];
    let reference = (any::<String>(), any::<String>(), any::<i32>());
    let references = proptest::collection::vec(
        reference.prop_map(|(name, subject, version)| ReferenceRow { name, subject, version }),
        0..3,
    );
    (("[st]", 1..4_i32, 1..4_u32, "[ab]"), state, references, any::<bool>(), any::<Option<i64>>()).prop_map(
        |((subject, version, id, text), state, references, labelled, ts)| {
            let mut row = row(&subject, version, id, &text);
            row.labels =
                labelled.then(|| Box::new(FileRef { file: "v1.labels.json".into(), ..row.text.clone() }));
            VersionRow { state, references, ts, guid: ts.map(|ts| ts.to_string()), ..row }
        },
    )
}

proptest! {
    #[test]
    fn every_subject_has_a_folder_of_its_own(names in proptest::collection::btree_set(names(), 0..8)) {
        let folders: BTreeSet<String> = names.iter().map(|name| subject_folder(name)).collect();
        prop_assert_eq!(folders.len(), names.len());
        for name in &names {
            let folder = subject_folder(name);
            prop_assert!(!folder.is_empty() && folder.len() <= 255 && !folder.contains('/') && !folder.starts_with('.'));
            if !folder.starts_with("%~") {
                prop_assert_eq!(subject_of(&folder), Some(name.clone()));
            }
        }
    }

    #[test]
    fn every_snapshot_is_read_as_it_was_written(versions in proptest::collection::vec(rows(), 0..6), begins: bool) {
        let snapshot = SchemaSnapshot { begins, ..snapshot(Some("x"), versions) };
        let stored = snapshot.encode().expect("encodes");
        prop_assert_eq!(SchemaSnapshot::decode(&stored).expect("decodes"), snapshot);
    }

    #[test]
    fn however_rows_are_cut_into_snapshots_they_add_up_to_the_same(
        rows in proptest::collection::vec(rows(), 0..12),
        cut: prop::sample::Index,
    ) {
        let mut whole = Catalog::default();
        whole.apply(snapshot(None, rows.clone()));
        let (first, second) = rows.split_at(cut.index(rows.len() + 1));
        let mut parts = Catalog::default();
        parts.apply(snapshot(None, first.to_vec()));
        parts.apply(snapshot(Some("x"), second.to_vec()));
        prop_assert_eq!(&parts, &whole);
        // Every schema is there, in the state that was told last.
        for row in &rows {
            let last = rows.iter().rev().find(|other| other.is_same(row));
            prop_assert!(whole.versions().any(|known| Some(known) == last));
        }
        prop_assert!(whole.subjects.values().all(|rows| rows.is_sorted_by_key(|row| row.version)));
    }

    #[test]
    fn damage_is_refused_or_read_and_never_panics(
        versions in proptest::collection::vec(rows(), 0..3),
        at: prop::sample::Index,
        byte: u8,
        arbitrary: Vec<u8>,
    ) {
        let _ = SchemaSnapshot::decode(&arbitrary);
        let mut stored = snapshot(None, versions).encode().expect("encodes");
        let _ = SchemaSnapshot::decode(&stored[..at.index(stored.len())]);
        let at = at.index(stored.len());
        stored[at] = byte;
        if let Ok(read) = SchemaSnapshot::decode(&stored) {
            let mut catalog = Catalog::default();
            catalog.apply(read);
        }
    }
}
