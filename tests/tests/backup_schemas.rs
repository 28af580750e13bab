//! Schemas that are backed up beside the data: what clients registered is in the archive as the guide describes it, and no record of
//! a commit that is said to be covered lacks its schema, wherever the backup is killed.

#![allow(clippy::print_stdout, reason = "how far a killed run had come, for who runs it with --nocapture")]

use formats::commit::{Commit, Op};
use formats::paths::ObjectName;
use pipeline::archive::Archive;
use pipeline::schemas::SchemaArchive;
use pipeline::seam::Seam;
use pipeline::storage::{self, IoSettings, StorageSettings};
use sandbox::client::{self, Isolation, NewRecord, Producer};
use sandbox::job::{self, Job, folder};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::questions::{ask, get};
use sandbox::registry::Registry;
use sandbox::scratch::{Port, Scratch};
use sandbox::travel::round_trip;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]))
}

/// The section, with more of its lines.
fn section(registry: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("\n  {line}")).collect();
    format!(
        "schema_registry:\n  url: {registry}\n  connection: {{rate_limit_rps: 0, max_retries: 1, retry_backoff_ms: 100}}{lines}"
    )
}

fn read(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

/// Every file below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

#[test]
fn what_clients_registered_is_in_the_archive_as_the_guide_describes_it() {
    let (registry, scratch) = (Registry::start(), Scratch::new("backup-schemas"));
    let cases = [
        ("python-avro", "avro"),
        ("python-json", "json"),
        ("python-protobuf", "protobuf"),
        ("python-references", "references"),
        ("python-header", "header_guid"),
    ];
    for (topic, case) in cases {
        client::create_topic(&cluster().bootstrap(), topic, 1, 1, &[]);
        round_trip(cluster(), &registry, case);
    }
    let text = json!({ "schema": "\"string\"" });
    ask(&registry, "POST", "/subjects/%3A.eu%3Aodd%2Fname/versions", &text);
    ask(&registry, "PUT", "/config/python-avro-value", &json!({ "compatibility": "FULL" }));
    ask(&registry, "PUT", "/mode/python-json-value", &json!({ "mode": "READONLY" }));
    ask(&registry, "POST", "/subjects/deleted/versions", &text);
    ask(&registry, "DELETE", "/subjects/deleted", &Value::Null);
    let topics = cases.map(|(topic, _)| topic);
    let job = Job::new("schemas", &cluster().bootstrap(), &folder(scratch.path())).topics(&topics);
    let job = job.top(&section(&registry.url(), &[]));
    let report = job.back_up(0);
    let all = get(&registry, "/schemas?deleted=true&subjectPrefix=:*:");
    let count = all.as_array().expect("a list").len();
    assert_eq!(
        (&report["schemas"]["failed"], report["schemas"]["versions"].as_u64()),
        (&Value::Null, Some(count as u64))
    );
    job.verify();

    // The guide's own question, by its own name for the flag.
    let (path, id) = (scratch.path().display().to_string(), job.backup_id.clone());
    let asked = ["describe", "--path", &path, "--backup-id", &id, "--format", "json"];
    let described = job::json(&sandbox::binary::Replevin::new(&asked).run().expect_code(0));
    let schemas = &described["schema_registry"];
    let subjects = get(&registry, "/subjects?deleted=true&subjectPrefix=:*:");
    assert_eq!(schemas["enabled"], true);
    assert_eq!(schemas["subjects_count"], subjects.as_array().expect("a list").len());
    assert_eq!(schemas["schemas_count"], count);
    let head = described["head"].as_str().and_then(|head| head.split(':').next()?.parse::<u64>().ok());
    assert_eq!(schemas["covers"].as_u64(), head.map(|head| head - 1), "everything but its own commit");
    let latest = get(&registry, "/subjects/python-avro-value/versions/latest");
    let shown = schemas["subjects"].as_array().expect("a list").iter();
    let avro = shown.clone().find(|subject| subject["name"] == "python-avro-value").expect("the subject");
    assert_eq!((&avro["versions"], &avro["latest_id"]), (&latest["version"], &latest["id"]));

    // The guide's layout, with what the registry itself says.
    let root = scratch.path().join("schemas/schema-registry");
    for schema in all.as_array().expect("a list") {
        let (subject, version) = (schema["subject"].as_str().expect("a name"), &schema["version"]);
        let folder = match subject {
            ":.eu:odd/name" => "%3A.eu%3Aodd%2Fname",
            plain => plain,
        };
        let extension = match schema["schemaType"].as_str() {
            Some("JSON") => "json",
            Some("PROTOBUF") => "proto",
            _ => "avsc",
        };
        let file = root.join("subjects").join(folder).join(format!("v{version}.{extension}"));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(Some(text.as_str()), schema["schema"].as_str(), "{subject} {version}");
    }
    let metadata = read(&root.join("subjects/python-avro-value/metadata.json"));
    assert_eq!(metadata["compatibility"], "FULL");
    assert_eq!(read(&root.join("subjects/python-json-value/metadata.json"))["mode"], "READONLY");
    assert_eq!(read(&root.join("subjects/deleted/metadata.json"))["versions"][0]["state"], "deleted");
    assert_eq!(read(&root.join("config/global.json"))["compatibilityLevel"], "BACKWARD");
    let manifest = read(&root.join("_schemas.json"));
    assert_eq!(manifest["schema_registry_version"], get(&registry, "/v1/metadata/version")["version"]);
    let subjects = manifest["subjects"].as_array().expect("a list");
    let avro = subjects.iter().find(|subject| subject["name"] == "python-avro-value").expect("the subject");
    assert_eq!((&avro["schema_type"], &avro["compatibility"]), (&json!("AVRO"), &json!("FULL")));
    let first = &avro["versions"][0];
    assert_eq!(first["schema_file"], "subjects/python-avro-value/v1.avsc");
    // Another subject may have the same schema.
    let mapped = manifest["id_mapping"][first["id"].to_string()].as_str().expect("a path");
    let texts =
        [mapped, "subjects/python-avro-value/v1.avsc"].map(|path| fs::read(root.join(path)).expect("a text"));
    assert_eq!(texts[0], texts[1]);
    let sub = manifest["backup_timestamp"].as_str().expect("a time");
    assert!(sub.len() == 20 && sub.ends_with('Z'), "{sub}");

    // Nothing is new: the same snapshot covers more, and nothing below the folder changes.
    let before = files(&root);
    let report = job.back_up(0);
    assert_eq!(report["schemas"]["new"], 0);
    assert_eq!(files(&root), before);

    // A text that is damaged, and one that is gone, are found and named.
    fs::write(root.join("subjects/python-avro-value/v1.avsc"), "\"int\"").expect("written");
    fs::remove_file(root.join("subjects/python-json-value/v1.json")).expect("removed");
    let verified = job::json(&job.command(&["verify", "--deep"]).run().expect_code(4));
    let named: BTreeSet<&str> = verified["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|finding| finding["object"].as_str())
        .collect();
    let wanted = [
        "schema-registry/subjects/python-avro-value/v1.avsc",
        "schema-registry/subjects/python-json-value/v1.json",
    ];
    assert_eq!(named, wanted.into());
}

#[test]
fn data_never_waits_for_a_registry_and_what_is_not_covered_is_said() {
    let (scratch, port) = (Scratch::new("registry-away"), Port::reserve());
    let bootstrap = cluster().bootstrap();
    client::create_topic(&bootstrap, "away", 1, 1, &[]);
    Producer::new(&bootstrap, &[]).send("away", &[NewRecord::new("k", "v")]);
    let job = |url: &str, lines: &[&str]| {
        let job = Job::new("away", &bootstrap, &folder(scratch.path())).topics(&["away"]);
        job.top(&section(url, lines))
    };
    let report = job(&format!("http://{}", port.address()), &[]).back_up(3);
    assert_eq!((&report["records"], &report["schemas"]["covers"]), (&json!(1), &json!(0)));
    assert!(
        report["schemas"]["failed"].as_str().is_some_and(|why| why.contains("Connection refused")),
        "{report}"
    );
    // It is there again, and what a filter leaves out of the backup's own topic is said.
    let registry = Registry::start();
    for subject in ["away-value", "away-key", "other"] {
        let path = format!("/subjects/{subject}/versions");
        ask(&registry, "POST", &path, &json!({ "schema": "\"string\"" }));
    }
    let filtered = job(&registry.url(), &["backup: {subjects: \"*\", exclude: [\"*-key\"]}"]);
    let finished = filtered.once().run().expect_code(0);
    let report = job::json(&finished);
    assert_eq!(report["schemas"]["left_out"], json!(["away-key"]));
    assert_eq!(report["schemas"]["versions"], 2);
    assert!(finished.stderr.contains("away-key"), "{}", finished.stderr);
    let all = job(&registry.url(), &[]).back_up(0);
    assert_eq!((&all["schemas"]["versions"], &all["schemas"]["new"]), (&json!(3), &json!(1)));
    // What the registry has lost the backup still has.
    ask(&registry, "DELETE", "/subjects/away-key", &Value::Null);
    ask(&registry, "DELETE", "/subjects/away-key?permanent=true", &Value::Null);
    let all = job(&registry.url(), &[]).back_up(0);
    assert_eq!(all["schemas"]["versions"], 3);
    let described = job(&registry.url(), &[]).describe();
    let counted = &described["schema_registry"];
    assert_eq!((&counted["schemas_count"], &counted["gone_count"]), (&json!(2), &json!(1)));
}

/// Offsets that commits up to one hold, by partition.
fn ends(root: &Path, covers: u64) -> BTreeMap<i32, i64> {
    let mut ends = BTreeMap::new();
    for seq in 1..=covers {
        let stored = fs::read(root.join(ObjectName::Commit(seq).key())).expect("a commit");
        for op in Commit::decode(seq, &stored).expect("a commit").ops {
            if let Op::Add { partition, segments, .. } = op {
                ends.insert(partition, segments.last().expect("a segment").end);
            }
        }
    }
    ends
}

/// Looks at a backup that was killed: the ids of all records that its schemas are said to cover are in its schemas. How many.
fn covered(scratch: &Path, job: &Job) -> usize {
    let root = scratch.join(&job.backup_id);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let found = runtime.block_on(async {
        let settings = StorageSettings::Filesystem { path: root.clone(), prefix: None };
        let store = storage::open(&settings, &IoSettings::default()).expect("a store");
        let archive = Archive::open(store, Seam::system()).await.expect("a backup");
        let (newest, covers) = archive.state().schemas.clone()?;
        let schemas = SchemaArchive::open(archive.store().clone(), &newest).await.expect("its schemas");
        for row in schemas.catalog.versions() {
            schemas.text(row).await.expect("its text");
        }
        Some((covers, schemas.catalog.versions().map(|row| row.id).collect::<BTreeSet<u32>>()))
    });
    let Some((covers, ids)) = found else { return 0 };
    let ends = ends(&root, covers);
    let records = job.dump_all("fence", Isolation::ReadCommitted);
    let covered =
        records.iter().filter(|record| ends.get(&record.partition).is_some_and(|end| record.offset < *end));
    let mut count = 0;
    for record in covered {
        let value = record.value.as_deref().expect("a value");
        let id = u32::from_be_bytes(value[1..5].try_into().expect("four bytes"));
        assert!(
            ids.contains(&id),
            "offset {} of partition {} has id {id}, which is not in the backup",
            record.offset,
            record.partition
        );
        count += 1;
    }
    count
}

#[test]
fn no_covered_record_lacks_its_schema_wherever_the_backup_is_killed() {
    const ROUNDS: usize = 12;
    let (registry, scratch) = (Registry::start(), Scratch::new("fence"));
    let bootstrap = cluster().bootstrap();
    client::create_topic(&bootstrap, "fence", 2, 1, &[]);
    ask(&registry, "PUT", "/config", &json!({ "compatibility": "NONE" }));
    let job = Job::new("fence", &bootstrap, &folder(scratch.path()))
        .topics(&["fence"])
        .set("segment_max_interval_ms: 100")
        .top(&section(&registry.url(), &["backup: {poll_interval: 100ms}"]));
    let is_over = AtomicBool::new(false);
    // The client ends also where this fails.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let mut most = 0;
    std::thread::scope(|scope| {
        // One client that registers a schema and sends a record with its id at once, as fast as it can.
        let writer = scope.spawn(|| {
            let producer = Producer::new(&bootstrap, &[("linger.ms", "0")]);
            let mut number = 0_i32;
            while !is_over.load(Ordering::Relaxed) {
                let schema = json!({ "type": "fixed", "name": format!("F{number}"), "size": 1 + number });
                let body = json!({ "schema": schema.to_string() });
                let subject = number % 50;
                let registered = ask(&registry, "POST", &format!("/subjects/s{subject}/versions"), &body);
                let id = u32::try_from(registered["id"].as_u64().expect("an id")).expect("small");
                let value = [&[0][..], &id.to_be_bytes(), b"x"].concat();
                producer.send("fence", &[NewRecord::new("k", value).partition(number % 2)]);
                number += 1;
            }
            number
        });
        let ends = Ends(&is_over);
        for round in 0..ROUNDS {
            let mut running = job.continuous().start();
            std::thread::sleep(Duration::from_millis(300 + 170 * round as u64));
            running.kill9();
            let _ = running.wait();
            most = most.max(covered(scratch.path(), &job));
            println!("round {round}: {most} records covered");
        }
        drop(ends);
        let sent = writer.join().expect("the client");
        let report = job.back_up(0);
        let count = covered(scratch.path(), &job);
        assert_eq!(count, usize::try_from(sent).expect("some"), "{report}");
        assert!(most > 0, "no killed run covered anything");
    });
    job.verify();
}

#[test]
fn a_backup_that_dies_around_a_write_of_schemas_is_run_again() {
    let (registry, bootstrap) = (Registry::start(), cluster().bootstrap());
    client::create_topic(&bootstrap, "dies", 1, 1, &[]);
    Producer::new(&bootstrap, &[]).send("dies", &[NewRecord::new("k", "v")]);
    for number in 0..4 {
        let path = format!("/subjects/dies-{number}/versions");
        ask(&registry, "POST", &path, &json!({ "schema": "\"string\"" }));
    }
    for point in [
        "before_schemas_put",
        "after_schemas_put:3",
        "before_schema_snapshot_put",
        "after_schema_snapshot_put",
        // The writer's own, the data's, and that of the schemas are one to four commits.
        "before_commit_put:2",
        "after_commit_put:2",
        "before_commit_put:3",
        "after_commit_put:3",
        // The views, after everything is true.
        "after_schemas_put:5",
    ] {
        let scratch = Scratch::new("dies");
        let job = Job::new("dies", &bootstrap, &folder(scratch.path())).topics(&["dies"]);
        let job = job.top(&section(&registry.url(), &[]));
        let died = job.once().env("REPLEVIN_FAILPOINT", point).run();
        assert!(died.code().is_none(), "{point} is not reached: {}", died.stderr);
        let report = job.back_up(0);
        assert_eq!(report["schemas"]["versions"], 4, "{point}");
        job.verify();
        let texts = files(&scratch.path().join("dies/schema-registry/subjects"));
        let texts = texts.keys().filter(|path| path.extension().is_some_and(|ending| ending == "avsc"));
        assert_eq!(texts.count(), 4, "{point}: what a killed run wrote is found again");
    }
}
