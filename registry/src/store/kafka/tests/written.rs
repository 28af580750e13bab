//! What we write: keys to the byte, and that it is read back as it was.

use super::*;
use crate::schema::{Metadata, Reference};
use crate::store::kafka::records::{SchemaValue, Stamp};
use crate::store::{Texts, kafka::records};
use proptest::prelude::*;

#[test]
fn keys_are_confluents_to_the_byte() {
    let subject = |text: &str| Subject::parse(text);
    let written = |key: RecordKey| String::from_utf8(key.bytes().expect("ours").to_vec()).expect("text");
    assert_eq!(
        written(RecordKey::Schema(subject("a"), 1)),
        r#"{"keytype":"SCHEMA","subject":"a","version":1,"magic":1}"#
    );
    assert_eq!(
        written(RecordKey::Schema(subject(":.x:é\u{1f}\"\\/"), 2)),
        r#"{"keytype":"SCHEMA","subject":":.x:é\u001F\"\\/","version":2,"magic":1}"#
    );
    assert_eq!(written(RecordKey::Config(subject(""))), r#"{"keytype":"CONFIG","subject":null,"magic":0}"#);
    assert_eq!(
        written(RecordKey::Config(subject(":.x:"))),
        r#"{"keytype":"CONFIG","subject":":.x:","magic":0}"#
    );
    assert_eq!(written(RecordKey::Mode(subject("a"))), r#"{"keytype":"MODE","subject":"a","magic":0}"#);
    assert_eq!(written(RecordKey::Noop), r#"{"keytype":"NOOP","magic":0}"#);
    assert_eq!(
        written(RecordKey::Context(Context::named("x").expect("a context"))),
        r#"{"keytype":"CONTEXT","tenant":"default","context":".x","magic":0}"#
    );
}

/// A registration, as the topic shows it to other registries.
#[tokio::test]
async fn values_are_confluents() {
    let log = MemoryLog::new();
    let store = store(&log).await;
    let references: Arc<[Reference]> =
        Arc::new([Reference { name: "n".into(), subject: "s".into(), version: 1 }]);
    let row = |id: u32, text: &str, schema_type, references: &Arc<[Reference]>| {
        let guid = crate::identity::guid(text, references, None, None);
        let row = SchemaRow {
            key: SchemaKey::of(id),
            guid,
            identity: *guid.as_bytes(),
            schema_type,
            references: Arc::clone(references),
        };
        let texts = Texts { canonical: text.into(), submitted: None, metadata: None, rule_set: None };
        (row, texts)
    };
    let (avro, avro_texts) = row(1, "\"string\"", SchemaType::Avro, &[].into());
    let (json, mut json_texts) = row(2, "true", SchemaType::Json, &references);
    json_texts.submitted = Some(" true ".into());
    let version = |number: i32, id: u32| VersionRow {
        subject: "s".into(),
        version: number,
        schema: SchemaKey::of(id),
        deleted: false,
        time_ms: 1_700_000_000_123,
    };
    let commit = Commit {
        context: Context::default_context(),
        expected: Head::EMPTY,
        guards: Vec::new(),
        links_seen: None,
        adds_links: false,
        attempt: Uuid::from_u128(7),
        next_id: 3,
        // The one that refers comes first.
        changes: vec![
            Change::Schema(json),
            Change::Schema(avro),
            Change::Version(version(2, 2)),
            Change::Version(version(1, 1)),
            Change::Listed(true),
            Change::Mode("s".into(), Some(Mode::Import)),
        ],
        texts: vec![json_texts, avro_texts],
    };
    store.commit(&commit).await.expect("a commit");
    let written: Vec<String> = log.records()[1..]
        .iter()
        .map(|(_, record)| {
            assert!(record.headers.contains(&(
                "replevin.commit".into(),
                "00000000-0000-0000-0000-000000000007 1 3 0 .".into()
            )));
            String::from_utf8_lossy(record.value.as_ref().expect("a value")).into_owned()
        })
        .collect();
    assert_eq!(
        written,
        [
            r#"{"subject":"s","version":1,"id":1,"schema":"\"string\"","deleted":false}"#,
            r#"{"subject":"s","version":2,"id":2,"schemaType":"JSON","references":[{"name":"n","subject":"s","version":1}],"schema":"true","deleted":false}"#,
            r#"{"subject":"s","mode":"IMPORT"}"#,
        ],
        "the first record is that of an election"
    );
    let last = &log.records()[2].1;
    assert_eq!(last.time_ms, Some(1_700_000_000_123));
    assert!(last.headers.contains(&("replevin.submitted".into(), " true ".into())));
}

fn schema_value() -> impl Strategy<Value = (Subject, i32, SchemaValue)> {
    let reference = ("\\PC{0,8}", "\\PC{0,8}", 1..9_i32).prop_map(|(name, subject, version)| Reference {
        name,
        subject,
        version,
    });
    let properties = proptest::option::of(proptest::collection::btree_map("\\PC{0,5}", "\\PC{0,5}", 0..3));
    (
        (any::<bool>(), "\\PC{0,20}"),
        1..=i32::MAX,
        (any::<u32>(), ".{0,60}", 0..3_usize),
        proptest::collection::vec(reference, 0..3),
        properties,
        (proptest::option::of(".{0,30}"), any::<bool>(), any::<bool>()),
    )
        .prop_map(|((named, subject), version, (id, text, kind), references, properties, rest)| {
            let (submitted, deleted, own_guid) = rest;
            let metadata =
                properties.map(|properties| Metadata { properties: Some(properties), ..Metadata::default() });
            let guid = match own_guid {
                true => Uuid::from_u128(u128::from(id)),
                false => crate::identity::guid(&text, &references, metadata.as_ref(), None),
            };
            let context =
                if named { Context::named("x").expect("a context") } else { Context::default_context() };
            let subject = Subject::parse(&Subject::new(context, &subject).to_string());
            let row = SchemaRow {
                key: SchemaKey::of(id),
                guid,
                identity: *guid.as_bytes(),
                schema_type: SchemaType::ALL[kind],
                references: references.into(),
            };
            let texts = Texts {
                canonical: text.into(),
                submitted: submitted.map(Into::into),
                metadata: metadata.map(Arc::new),
                rule_set: None,
            };
            (subject, version, SchemaValue { row, texts, deleted })
        })
}

proptest! {
    #[test]
    fn a_schema_is_read_as_it_was_written((subject, version, schema) in schema_value()) {
        let (value, headers) = schema.write(&subject, version).expect("written");
        let record = Record { headers, ..Record::default() };
        prop_assert_eq!(SchemaValue::read(&value, &record), Ok(schema));
        let key = RecordKey::Schema(subject, version);
        prop_assert_eq!(RecordKey::read(&key.bytes().expect("ours")), Ok(key));
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written(attempt: u128, revision: u64, next_id: u32, adds_links: bool, name in "[^:\\pC]{0,9}") {
        let stamp = Stamp {
            attempt: Uuid::from_u128(attempt),
            revision,
            next_id,
            adds_links,
            context: Context::named(&name).expect("a context"),
        };
        let record = Record { headers: vec![stamp.header()], ..Record::default() };
        prop_assert_eq!(Stamp::of(&record), Some(stamp));
    }

    #[test]
    fn no_bytes_are_too_bad_to_be_read(key: Vec<u8>, value: Vec<u8>, header: Vec<u8>) {
        let headers = vec![("replevin.commit".to_owned(), header.into())];
        let record = Record { key: key.into(), value: Some(value.clone().into()), headers, time_ms: None };
        Tables::default().apply(0, &record);
        let _ = (SchemaValue::read(&value, &record), records::read_config(&value), records::read_mode(&value));
    }
}
