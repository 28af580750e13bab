//! Logs that other registries wrote, made by hand in their forms.

use super::*;

fn default_context() -> Context {
    Context::default_context()
}

async fn opened(records: Vec<Record>) -> (MemoryLog, KafkaStore) {
    let log = MemoryLog::new();
    log.write(records);
    let store = store(&log).await;
    (log, store)
}

fn version(of: &BTreeMap<String, Change>, subject: &str, number: i32) -> Option<(u32, bool)> {
    match of.get(&format!("version {number} of subject {subject:?}")) {
        Some(Change::Version(row)) => Some((row.schema.id, row.deleted)),
        _ => None,
    }
}

/// A registry of Confluent's, some years of it: old keys, soft and hard deletions of both kinds, contexts, associations.
fn of_confluent() -> Vec<Record> {
    vec![
        record(r#"{"keytype":"NOOP","magic":0}"#, None),
        record(
            r#"{"keytype":"SCHEMA","subject":"old","version":1,"magic":0}"#,
            r#"{"subject":"old","version":1,"id":1,"schema":"\"string\""}"#,
        ),
        record(r#"{"keytype":"CONFIG","subject":null,"magic":0}"#, r#"{"compatibilityLevel":"FULL"}"#),
        record(
            r#"{"keytype":"SCHEMA","subject":"orders-value","version":1,"magic":1}"#,
            r#"{"subject":"orders-value","version":1,"id":2,"schema":"\"int\"","deleted":false}"#,
        ),
        record(
            r#"{"keytype":"SCHEMA","subject":"orders-value","version":2,"magic":1}"#,
            r#"{"subject":"orders-value","version":2,"id":3,"md5":"CV1xzxJVa51eMwrVdbPfXQ==","schemaType":"JSON","references":[{"name":"r","subject":"old","version":1}],"metadata":{"properties":{"owner":"a"}},"ruleSet":{"domainRules":[{"name":"c","kind":"CONDITION","mode":"WRITE","type":"CEL","expr":"true","disabled":false}]},"schema":"true","deleted":false,"later":{"unknown":[1]}}"#,
        ),
        record(
            r#"{"keytype":"CONFIG","subject":"orders-value","magic":0}"#,
            r#"{"subject":"orders-value","alias":"o","compatibilityLevel":"NONE","future":1}"#,
        ),
        record(
            r#"{"keytype":"MODE","subject":"orders-value","prefix":false,"magic":0}"#,
            r#"{"subject":"orders-value","mode":"READONLY"}"#,
        ),
        record(
            r#"{"keytype":"SCHEMA","subject":":.eu:orders-value","version":7,"magic":1}"#,
            r#"{"subject":":.eu:orders-value","version":7,"id":40,"schema":"\"long\"","deleted":false}"#,
        ),
        record(
            r#"{"keytype":"CONTEXT","tenant":"default","context":".eu","magic":0}"#,
            r#"{"tenant":"default","context":".eu"}"#,
        ),
        record(
            r#"{"keytype":"SCHEMA","subject":"gone","version":1,"magic":1}"#,
            r#"{"subject":"gone","version":1,"id":4,"schema":"\"bytes\"","deleted":false}"#,
        ),
        record(
            r#"{"keytype":"SCHEMA","subject":"gone","version":2,"magic":1}"#,
            r#"{"subject":"gone","version":2,"id":5,"schema":"\"float\"","deleted":false}"#,
        ),
        record(
            r#"{"keytype":"DELETE_SUBJECT","subject":"gone","magic":0}"#,
            r#"{"subject":"gone","version":1}"#,
        ),
        record(
            r#"{"keytype":"ASSOC","tenant":"default","resourceName":"t","subject":"gone","magic":0}"#,
            r#"{"lifecycle":"STRONG"}"#,
        ),
        record(
            r#"{"keytype":"SCHEMA","subject":"twice","version":1,"magic":1}"#,
            r#"{"subject":"twice","version":1,"id":2,"schema":"\"double\"","deleted":false}"#,
        ),
        record(r#"{"keytype":"MODE","subject":"orders-value","prefix":false,"magic":0}"#, None),
        record("no json", r#"{}"#),
        record(
            r#"{"keytype":"SCHEMA","subject":"odd","version":3,"magic":1}"#,
            r#"{"subject":"odd","version":3,"id":90,"schemaType":"THRIFT","schema":"struct","deleted":false}"#,
        ),
    ]
}

#[tokio::test]
async fn a_topic_of_confluent_is_taken_over() {
    let (log, store) = opened(of_confluent()).await;
    let found = rows(&store, &default_context()).await;
    assert_eq!(version(&found, "old", 1), Some((1, false)));
    assert_eq!(version(&found, "orders-value", 2), Some((3, false)));
    assert_eq!(version(&found, "gone", 1), Some((4, true)));
    assert_eq!(version(&found, "gone", 2), Some((5, false)));
    assert_eq!(version(&found, "twice", 1), None, "an id keeps its text");
    assert!(
        matches!(&found[r#"the config of """#], Change::Config(_, Some(config)) if config.compatibility_level == Some(Level::Full))
    );
    assert!(
        matches!(&found[r#"the config of "orders-value""#], Change::Config(_, Some(config)) if config.alias.as_deref() == Some("o"))
    );
    let Change::Schema(row) = &found["schema 3"] else { panic!("{found:?}") };
    assert_eq!((row.schema_type, row.references.len()), (SchemaType::Json, 1));
    assert_eq!(row.guid.to_string(), "095d71cf-1255-6b9d-5e33-0ad575b3df5d", "as the record says");
    let Change::Schema(row) = &found["schema 1"] else { panic!("{found:?}") };
    assert_eq!(row.guid.to_string(), "095d71cf-1255-6b9d-5e33-0ad575b3df5d", "as it follows from the text");
    let (_, texts) = store.texts(&default_context(), &[SchemaKey::of(3)]).await.expect("texts").remove(0);
    assert!(texts.metadata.is_some() && texts.rule_set.is_some() && texts.submitted.is_none());
    let eu = Context::named("eu").expect("a context");
    assert_eq!(version(&rows(&store, &eu).await, ":.eu:orders-value", 7), Some((40, false)));
    assert!(rows(&store, &eu).await.values().any(|change| *change == Change::Listed(true)));

    // Ids go on behind all that were given, the unreadable one's too; and what cannot be read is not overwritten.
    let head = store.tables().head(&default_context());
    assert_eq!(head.next_id, 91);
    let of = |subject: &str, number: i32| VersionRow {
        subject: subject.into(),
        version: number,
        schema: SchemaKey::of(1),
        deleted: false,
        time_ms: 5,
    };
    let commit = |changes: Vec<Change>, expected: Head| Commit {
        context: default_context(),
        expected,
        guards: Vec::new(),
        links_seen: None,
        adds_links: false,
        attempt: Uuid::new_v4(),
        next_id: expected.next_id,
        changes,
        texts: Vec::new(),
    };
    let refused = store.commit(&commit(vec![Change::Version(of("odd", 3))], head)).await;
    assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains("offset 16")), "{refused:?}");

    // What is removed is removed in every form that the log has of it.
    let gone = Change::VersionGone { subject: "old".into(), version: 1 };
    store.commit(&commit(vec![gone], head)).await.expect("a commit");
    assert_eq!(version(&rows(&store, &default_context()).await, "old", 1), None);
    log.compact();
    let again = super::store(&log).await;
    assert_eq!(
        version(&rows(&again, &default_context()).await, "old", 1),
        None,
        "no other form shines through"
    );
    let foreign =
        log.records().into_iter().filter(|(_, record)| record.key.starts_with(br#"{"keytype":"ASSOC""#));
    assert_eq!(foreign.count(), 1, "what only others know is left alone");
}

/// Karapace long wrote the members of keys in another order.
#[tokio::test]
async fn a_topic_of_karapace_is_taken_over() {
    let (log, store) = opened(vec![
        record(
            r#"{"subject":"a","version":1,"magic":1,"keytype":"SCHEMA"}"#,
            r#"{"subject":"a","version":1,"id":1,"schema":"\"string\"","deleted":false}"#,
        ),
        record(r#"{"subject":null,"magic":0,"keytype":"CONFIG"}"#, r#"{"compatibilityLevel":"NONE"}"#),
        record(r#"{"keytype":"NOOP","magic":0}"#, r#"{}"#),
    ])
    .await;
    let context = default_context();
    assert_eq!(version(&rows(&store, &context).await, "a", 1), Some((1, false)));
    let head = store.heads().await.expect("heads").contexts[&context];
    let config = crate::settings::Config { compatibility_level: Some(Level::Full), ..Default::default() };
    let deleted =
        VersionRow { subject: "a".into(), version: 1, schema: SchemaKey::of(1), deleted: true, time_ms: 1 };
    let commit = Commit {
        context: context.clone(),
        expected: head,
        guards: Vec::new(),
        links_seen: None,
        adds_links: false,
        attempt: Uuid::new_v4(),
        next_id: head.next_id,
        changes: vec![Change::Config("".into(), Some(Box::new(config))), Change::Version(deleted)],
        texts: Vec::new(),
    };
    let head = store.commit(&commit).await.expect("a commit");
    log.compact();
    let keys: Vec<String> =
        log.records().iter().map(|(_, record)| String::from_utf8_lossy(&record.key).into_owned()).collect();
    assert_eq!(keys.iter().filter(|key| key.contains("CONFIG")).count(), 1, "{keys:?}");
    assert_eq!(keys.iter().filter(|key| key.contains("SCHEMA")).count(), 1, "{keys:?}");
    let again = super::store(&log).await;
    assert_eq!(version(&rows(&again, &context).await, "a", 1), Some((1, true)));
    assert_eq!(again.heads().await.expect("heads").contexts[&context].next_id, head.next_id);
}

#[tokio::test]
async fn clearing_removes_what_is_deleted_softly() {
    let schema = |subject: &str, number: i32, deleted: bool| {
        let subject = Subject::parse(subject);
        let key = RecordKey::Schema(subject.clone(), number).bytes().expect("a key");
        let value = format!(
            r#"{{"subject":"{subject}","version":{number},"id":{number},"schema":"\"v{number}\"","deleted":{deleted}}}"#
        );
        Record { key, value: Some(value.into()), ..Record::default() }
    };
    let all = vec![
        schema("a", 1, true),
        schema("a", 2, false),
        schema("b", 3, true),
        schema(":.x:a", 1, true),
        schema(":.y:a", 1, true),
    ];
    let left = async |clear: &str| {
        let mut records = all.clone();
        records
            .push(record(&format!(r#"{{"keytype":"CLEAR_SUBJECT","subject":{clear},"magic":0}}"#), r#"{}"#));
        let (_, store) = opened(records).await;
        let mut left = Vec::new();
        for (context, table) in store.tables().contexts() {
            let versions = table.since(0).filter_map(|change| match change {
                Change::Version(row) => {
                    Some(Subject::new(context.clone(), &row.subject).to_string() + &row.version.to_string())
                }
                _ => None,
            });
            left.extend(versions);
        }
        left
    };
    assert_eq!(left(r#""a""#).await, ["a2", "b3", ":.x:a1", ":.y:a1"]);
    assert_eq!(left(r#"":.x:""#).await, ["a1", "a2", "b3", ":.y:a1"]);
    assert_eq!(left("null").await, ["a2"]);
}

/// Whatever bytes a topic holds, reading it ends, and ids and revisions can go on.
#[tokio::test]
async fn hostile_records_change_nothing_else() {
    let largest = r#"{"subject":"m","version":2147483647,"id":4294967295,"schema":"1","deleted":false}"#;
    let mut records = vec![
        record(r#"{"keytype":"SCHEMA","subject":"m","version":2147483647,"magic":1}"#, largest),
        record(r#"{"keytype":"SCHEMA","subject":"m","version":0,"magic":1}"#, largest),
        record(r#"{"keytype":"SCHEMA","subject":"m","version":-1,"magic":1}"#, None),
        record(r#"{"keytype":"SCHEMA","version":1,"magic":1}"#, r#"{"id":-5}"#),
        record(r#"{"keytype":"SCHEMA","subject":"n","version":1,"magic":1}"#, r#"{"id":-5}"#),
        record(r#"{"keytype":"DELETE_SUBJECT","subject":"m","magic":0}"#, r#"{"version":2147483647}"#),
        record(r#"{"keytype":"DELETE_SUBJECT","subject":"m","magic":0}"#, r#"[]"#),
        record(r#"{"keytype":"CONFIG","subject":"m","magic":0}"#, r#"{"compatibilityLevel":"SIDEWAYS"}"#),
        record(r#"{"keytype":"MODE","subject":"m","magic":0}"#, r#"{"mode":7}"#),
        record(r#"{"keytype":"CONTEXT","context":".a:b","magic":0}"#, r#"{}"#),
        record(r#"{"keytype":"CONTEXT","tenant":"other","context":".a","magic":0}"#, r#"{}"#),
        record(r#"{"keytype":"NOOP","magic":0}"#, r#"{"nextIds":{"a:b":3,".c":4294967295}}"#),
        record(r#"{"keytype":7}"#, None),
        record("", None),
        record("[[[[", Some("{")),
    ];
    let nested: String = "[".repeat(100_000);
    records.push(Record { key: nested.into(), ..Record::default() });
    for stamp in
        ["", "x 1 1 0 .", "00000000-0000-0000-0000-000000000009 18446744073709551615 4294967295 1 .s"]
    {
        let header = ("replevin.commit".to_owned(), Bytes::copy_from_slice(stamp.as_bytes()));
        let key = RecordKey::Noop.bytes().expect("a key");
        records.push(Record { key, headers: vec![header.clone(), header], ..Record::default() });
    }
    let (_, store) = opened(records).await;
    let heads = store.heads().await.expect("heads").contexts;
    assert_eq!(heads[&default_context()].next_id, u32::MAX);
    let named = Context::named("s").expect("a context");
    assert!(heads[&named].revision < u64::MAX / 2);
    let mut commit = suite::first_commit("s");
    commit.expected = heads[&named];
    commit.next_id = u32::MAX;
    store.commit(&commit).await.expect("a commit");
    let found = rows(&store, &default_context()).await;
    assert_eq!(version(&found, "m", i32::MAX), Some((u32::MAX, true)));
    assert_eq!(found.len(), 3, "{found:?}");
}

#[tokio::test]
async fn what_nobody_here_knows_is_told_as_it_lies_in_the_log() {
    let key = r#"{"keytype":"ENCRYPTION","magic":0}"#;
    let other = r#"{ "keytype": "LATER", "of": [1] }"#;
    let (log, store) = opened(vec![
        record(key, "first"),
        record(r#"{"keytype":"NOOP","magic":0}"#, None),
        record(r#"{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}"#, r#"{"subject":"s","version":1}"#),
        record(r#"{"keytype":"CLEAR_SUBJECT","subject":"s","magic":0}"#, r#"{"subject":"s"}"#),
        record(other, "{}"),
        record(key, "last"),
    ])
    .await;
    let told = |found: Vec<(bytes::Bytes, bytes::Bytes)>| {
        let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("a text");
        found.into_iter().map(|(key, value)| (text(key), text(value))).collect::<Vec<_>>()
    };
    let both = [(other.to_owned(), "{}".to_owned()), (key.to_owned(), "last".to_owned())];
    assert_eq!(told(store.foreign().await.expect("told")), both);
    // What is written since is told as well.
    log.write(vec![record(key, None)]);
    assert_eq!(told(store.foreign().await.expect("told")), both[..1]);
}
