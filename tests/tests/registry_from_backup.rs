//! `replevin registry serve --from-backup`: the registry is gone, nothing is restored yet, and whoever asks gets the answers that it
//! gave; nobody can write.

#![allow(clippy::print_stdout, reason = "time and memory of a large one, for who runs it with --nocapture")]

use formats::commit::{ObjectRef, Op};
use formats::hash::Hash;
use formats::ids::BackupId;
use formats::paths::ObjectName;
use formats::schemas::{FileRef, SchemaSnapshot, VersionRow, VersionState};
use pipeline::commit_log::CommitLog;
use pipeline::seam::Seam;
use pipeline::storage::{self, IoSettings, StorageSettings};
use sandbox::binary::Replevin;
use sandbox::client::{self, NewRecord, Producer};
use sandbox::job::{Job, bucket, folder};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::questions::{
    Question, answer, answers, ask, assert_same, fixed, furnish, get, questions, register,
};
use sandbox::registry::Registry;
use sandbox::s3::S3;
use sandbox::scratch::Scratch;
use sandbox::travel::round_trip;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]))
}

fn section(registry: &Registry) -> String {
    format!(
        "schema_registry:\n  url: {}\n  connection: {{rate_limit_rps: 0, max_retries: 1, retry_backoff_ms: 100}}",
        registry.url()
    )
}

/// A job of one topic with one record, and a registry.
fn job(name: &str, storage: &str, registry: &Registry) -> Job {
    let bootstrap = cluster().bootstrap();
    client::create_topic(&bootstrap, name, 1, 1, &[]);
    Producer::new(&bootstrap, &[]).send(name, &[NewRecord::new("k", "v")]);
    Job::new(name, &bootstrap, storage).topics(&[name]).top(&section(registry))
}

fn now_ms() -> i64 {
    Seam::system().clock.now_ms()
}

/// Everything that changes something is refused as a registry in mode READONLY refuses it, in words that say why.
fn assert_read_only(registry: &Registry) {
    let before = get(registry, "/schemas?deleted=true&subjectPrefix=:*:");
    for (method, path, body) in [
        ("POST", "/subjects/contract-value/versions", fixed("New")),
        ("POST", "/subjects/new/versions", fixed("New")),
        // Modes that let somebody write at the source let nobody write here.
        ("POST", "/subjects/json-value/versions", json!({ "schema": "\"int\"", "id": 900, "version": 9 })),
        ("POST", "/subjects/%3A.eu%3Anew/versions", fixed("New")),
        (
            "POST",
            "/import/schemas",
            json!({ "schemas": [{ "subject": "new", "id": 900, "version": 1, "schema": "\"int\"" }] }),
        ),
        ("DELETE", "/subjects/twice", Value::Null),
        ("DELETE", "/subjects/twice/versions/1", Value::Null),
        ("DELETE", "/subjects/deleted?permanent=true", Value::Null),
        ("DELETE", "/subjects/partly/versions/1?permanent=true", Value::Null),
        ("PUT", "/config", json!({ "compatibility": "FULL" })),
        ("PUT", "/config/contract-value", json!({ "compatibility": "FULL" })),
        ("DELETE", "/config", Value::Null),
        ("DELETE", "/config/contract-value", Value::Null),
        ("PUT", "/mode", json!({ "mode": "READWRITE" })),
        ("PUT", "/mode?force=true", json!({ "mode": "IMPORT" })),
        ("PUT", "/mode/contract-value", json!({ "mode": "READWRITE" })),
        ("DELETE", "/mode/json-value", Value::Null),
    ] {
        let (status, text) = answer(registry, method, path, &body);
        let said: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((status, &said["error_code"]), (422, &json!(42205)), "{method} {path}: {text}");
        assert!(text.contains("served from backup"), "{method} {path}: {text}");
    }
    assert_eq!(get(registry, "/mode"), json!({ "mode": "READONLY" }));
    assert_eq!(get(registry, "/mode/contract-value?defaultToGlobal=true"), json!({ "mode": "READONLY" }));
    assert_eq!(get(registry, "/schemas?deleted=true&subjectPrefix=:*:"), before);
}

#[test]
fn every_read_of_a_backup_is_what_the_registry_answered_and_nothing_is_written() {
    let (registry, scratch) = (Registry::start(), Scratch::new("from-backup"));
    for (topic, case) in [
        ("python-avro", "avro"),
        ("python-json", "json"),
        ("python-protobuf", "protobuf"),
        ("python-references", "references"),
        ("python-header", "header_guid"),
    ] {
        client::create_topic(&cluster().bootstrap(), topic, 1, 1, &[]);
        round_trip(cluster(), &registry, case);
    }
    furnish(&registry);
    let lost = register(&registry, ":.eu:lost", &fixed("Lost"));
    let job = job("from-backup", &folder(scratch.path()), &registry);
    job.back_up(0);
    let kept = get(&registry, &format!("/schemas/ids/{lost}?subject=:.eu:lost"));
    ask(&registry, "DELETE", "/subjects/%3A.eu%3Alost", &Value::Null);
    ask(&registry, "DELETE", "/subjects/%3A.eu%3Alost?permanent=true", &Value::Null);
    job.back_up(0);
    let questions = questions(&registry);
    let expected = answers(&registry, &questions);
    assert!(expected.iter().filter(|(status, _)| *status == 200).count() > 500, "{}", expected.len());
    drop(registry);

    let path = scratch.path().display().to_string();
    let served = Registry::serving(&["--from-backup", &path, "--backup-id", "from-backup"], &[]);
    assert_same(&served, &questions, &expected);
    assert_read_only(&served);
    // What was deleted for good is what its id was, for the records that bear it, and is in no list.
    for query in ["?subject=:.eu:lost", "?subject=:.eu:", "?subject=:.eu:orders"] {
        let found = get(&served, &format!("/schemas/ids/{lost}{query}"));
        assert_eq!((&found["schema"], &found["guid"]), (&kept["schema"], &kept["guid"]), "{query}");
        assert_eq!(found["version"], Value::Null, "{query}");
    }
    assert_eq!(answer(&served, "GET", "/subjects/%3A.eu%3Alost/versions?deleted=true", &Value::Null).0, 404);
    round_trip(cluster(), &served, "from_backup");
    let metrics = served.ask("GET", "/metrics", "").expect("metrics").text();
    assert!(metrics.contains("schema_registry_storage_up{backend=\"backup\"} 1"), "{metrics}");

    // One text is damaged: it is named, and everything else is answered.
    let text = scratch.path().join("from-backup/schema-registry/subjects/twice/v1.avsc");
    let id = expected_id(&questions, &expected, "/subjects/twice/versions/1");
    fs::write(&text, "\"int\"").expect("written");
    let served = Registry::serving(&["--from-backup", &format!("{path}/from-backup")], &[]);
    let (status, said) = answer(&served, "GET", &format!("/schemas/ids/{id}"), &Value::Null);
    assert_eq!(status, 500, "{said}");
    assert!(said.contains("schema-registry/subjects/twice/v1.avsc") && said.contains("BLAKE3"), "{said}");
    assert_eq!(get(&served, "/subjects/twice/versions"), json!([1]));
    get(&served, "/subjects/contract-value/versions/latest");
}

fn expected_id(questions: &[Question], answers: &[(u16, String)], path: &str) -> Value {
    let at = questions.iter().position(|(_, asked, _)| asked == path).expect("it was asked");
    let answer: Value = serde_json::from_str(&answers[at].1).expect("JSON");
    answer["id"].clone()
}

#[test]
fn the_schemas_of_an_earlier_time_by_the_credentials_of_a_job_file() {
    let (registry, s3, scratch) = (Registry::start(), S3::start(), Scratch::new("from-backup-at"));
    s3.create_bucket("schemas");
    let job = job("earlier", &bucket(&s3, "schemas"), &registry);
    let mut states = BTreeMap::new();
    for round in 0..3 {
        register(&registry, "orders", &fixed(&format!("F{round}")));
        ask(&registry, "PUT", "/config", &json!({ "compatibility": "NONE" }));
        if round == 1 {
            register(&registry, "more", &fixed("More"));
            ask(&registry, "PUT", "/config/orders", &json!({ "compatibility": "NONE", "normalize": true }));
        }
        if round == 2 {
            ask(&registry, "DELETE", "/subjects/more", &Value::Null);
            ask(&registry, "DELETE", "/subjects/more?permanent=true", &Value::Null);
            ask(&registry, "DELETE", "/config/orders", &Value::Null);
        }
        job.back_up(0);
        let questions = questions(&registry);
        states.insert(now_ms(), (answers(&registry, &questions), questions));
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(registry);
    let file = scratch.path().join("job.yaml");
    fs::write(&file, job.file()).expect("written");
    let file = file.display().to_string();
    for (time, (expected, questions)) in &states {
        let served = Registry::serving(&["--backup-config", &file, "--at", &time.to_string()], &[]);
        assert_same(&served, questions, expected);
        assert_eq!(get(&served, "/mode"), json!({ "mode": "READONLY" }));
    }
    // Without a time, the newest; with one before all, the first, and that is said.
    let served = Registry::serving(&["--backup-config", &file], &[]);
    let (expected, questions) = states.values().next_back().expect("three");
    assert_same(&served, questions, expected);
    let served = Registry::serving(&["--backup-config", &file, "--at", "2020-01-01T00:00:00Z"], &[]);
    let (expected, questions) = states.values().next().expect("three");
    assert_same(&served, questions, expected);
    assert!(served.log().contains("begin after --at"), "{}", served.log());
    // The store goes away: what is in memory is answered, and health says what is wrong.
    drop(s3);
    assert_eq!(answer(&served, "GET", "/health/ready", &Value::Null).0, 503);
    assert_eq!(answer(&served, "GET", "/subjects", &Value::Null), (200, "[\"orders\"]".to_owned()));
}

#[test]
fn what_is_no_backup_of_schemas_is_refused_and_said() {
    let (registry, scratch) = (Registry::start(), Scratch::new("no-schemas"));
    let bare = job("no-schemas", &folder(scratch.path()), &registry);
    let bare =
        Job::new("no-schemas", &cluster().bootstrap(), &folder(scratch.path())).topics(&[&bare.backup_id]);
    bare.back_up(0);
    let path = scratch.path().display().to_string();
    let run = |args: &[&str]| {
        let port = ["registry", "serve", "--host", "127.0.0.1", "--port", "0"];
        Replevin::new(&[&port, args].concat()).limit(Duration::from_secs(60))
    };
    let said = run(&["--from-backup", &path]).run().expect_code(10).stderr;
    assert!(said.contains("has no schemas") && said.contains("schema_registry section"), "{said}");
    let empty = scratch.path().join("nothing").display().to_string();
    let said = run(&["--from-backup", &empty]).run().expect_code(10).stderr;
    assert!(said.contains("there is no backup"), "{said}");
}

/// A backup whose snapshots have as many versions as a large company has. Only the last one has a text.
async fn large(folder: &Path, count: u32) {
    let text = |id: u32| format!(r#"{{"type":"fixed","name":"F{id}","size":{id}}}"#);
    let settings = StorageSettings::Filesystem { path: folder.to_owned(), prefix: None };
    let store = storage::open(&settings, &IoSettings::default()).expect("a store");
    let id = BackupId::new("large").expect("a name");
    let mut log = CommitLog::open_or_create(store.clone(), Seam::system(), &id, "c").await.expect("a log");
    log.become_writer().await.expect("a writer");
    let mut newest: Option<ObjectRef> = None;
    for (seq, first) in (1..=count).step_by(20_000).enumerate() {
        let mut snapshot = SchemaSnapshot::new("http://registry", 1_700_000_000_000, newest.clone());
        for id in first..(first + 20_000).min(count + 1) {
            let (subject, version, text) =
                (format!("subject-of-a-topic-{}-value", id % 10_000), id / 10_000 + 1, text(id));
            let file = FileRef {
                file: format!("v{version}.avsc"),
                length: text.len() as u64,
                blake3: Hash::of(text.as_bytes()),
            };
            let row = VersionRow {
                subject,
                version: i32::try_from(version).expect("few"),
                id,
                guid: Some(registry::identity::guid(&text, &[], None, None).to_string()),
                schema_type: "AVRO".to_owned(),
                state: VersionState::Active,
                text: file,
                labels: None,
                references: Vec::new(),
                ts: Some(1_700_000_000_000),
                extra: Default::default(),
            };
            if id == count {
                store.create(&row.key(&row.text), vec![text.into()]).await.expect("written");
            }
            snapshot.versions.push(row);
        }
        let stored = snapshot.encode().expect("a snapshot");
        let key = ObjectName::SchemaSnapshot(seq as u64 + 1, log.incarnation()).key();
        let object = ObjectRef { key, length: stored.len() as u64, blake3: Hash::of(&stored) };
        store.create(&object.key, vec![stored.into()]).await.expect("written");
        let after = newest.map(|before| before.key);
        log.commit(vec![Op::Schemas { object: object.clone(), after, covers: 1 }]).await.expect("committed");
        newest = Some(object);
    }
}

#[test]
fn a_hundred_thousand_versions_are_served_within_seconds() {
    const COUNT: u32 = 100_000;
    let scratch = Scratch::new("large");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(large(scratch.path(), COUNT));
    let began = Instant::now();
    let served = Registry::serving(&["--from-backup", &scratch.path().display().to_string()], &[]);
    let took = began.elapsed();
    let last = get(&served, &format!("/schemas/ids/{COUNT}"));
    assert_eq!(last["schema"], json!({ "type": "fixed", "name": "F100000", "size": 100_000 }).to_string());
    assert_eq!(get(&served, "/subjects/count")["count"], json!(10_000));
    let memory = served.peak_rss();
    println!("{COUNT} versions after {took:?}, {} MB", memory >> 20);
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(memory < 300 << 20, "{memory}");
}
