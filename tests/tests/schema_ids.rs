//! `schema_ids: scan`: the archive says which schemas records name, so that what the registry does not know and what no data uses can
//! be shown, and nothing that is stored of a record changes.

use sandbox::binary::Replevin;
use sandbox::client::{self, Isolation, NewRecord, Producer};
use sandbox::job::{self, Job, folder};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::questions::ask;
use sandbox::registry::Registry;
use sandbox::scratch::Scratch;
use sandbox::travel::round_trip;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::OnceLock;

fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]))
}

/// Registers a schema that no other subject has; its id.
fn register(registry: &Registry, subject: &str, size: u32) -> u32 {
    let schema = json!({ "type": "fixed", "name": format!("F{size}"), "size": size });
    let body = json!({ "schema": schema.to_string() });
    let answer = ask(registry, "POST", &format!("/subjects/{subject}/versions"), &body);
    u32::try_from(answer["id"].as_u64().expect("an id")).expect("a small id")
}

fn lose(registry: &Registry, subject: &str, version: u32) {
    for how in ["", "?permanent=true"] {
        ask(registry, "DELETE", &format!("/subjects/{subject}/versions/{version}{how}"), &Value::Null);
    }
}

fn framed(id: u32, payload: &str) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], payload.as_bytes()].concat()
}

/// A backup of these topics, whose `schema_registry.backup` section has this line.
fn job(name: &str, registry: &Registry, scratch: &Scratch, topics: &[&str], line: &str) -> Job {
    let section = format!(
        "schema_registry:\n  url: {}\n  connection: {{rate_limit_rps: 0}}\n  backup: {{{line}}}",
        registry.url()
    );
    Job::new(name, &cluster().bootstrap(), &folder(scratch.path())).topics(topics).top(&section)
}

/// Some members of each row of a list.
fn rows(list: &Value, members: &[&str]) -> BTreeSet<String> {
    let rows = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    let shown = |row: &Value| members.iter().map(|member| row[*member].to_string()).collect::<Vec<_>>();
    rows.iter().map(|row| shown(row).join(" ").replace('"', "")).collect()
}

fn text(job: &Job) -> String {
    Replevin::new(&["describe"]).config(job.file()).run().expect_code(0).stdout
}

const LOST_GUID: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
const TOPICS: [&str; 6] = ["orders", "codecs", "text", "headed", "python-avro", "python-header"];

/// Framed topics and others beside each other; the id that the registry has and one that it has lost.
fn produce(registry: &Registry) -> (u32, u32) {
    let bootstrap = cluster().bootstrap();
    for topic in &TOPICS[..4] {
        client::create_topic(&bootstrap, topic, 1, 1, &[]);
    }
    for (topic, case) in [("python-avro", "avro"), ("python-header", "header_guid")] {
        client::create_topic(&cluster().bootstrap(), topic, 1, 1, &[]);
        round_trip(cluster(), registry, case);
    }
    ask(registry, "PUT", "/config", &json!({ "compatibility": "NONE" }));
    let known = register(registry, "orders-value", 11);
    let lost = register(registry, "orders-value", 12);
    register(registry, "nobody-value", 13);
    let value = |id, n: i32| NewRecord::new(format!("key {n}"), framed(id, &n.to_string()));
    let producer = Producer::new(&bootstrap, &[("compression.codec", "zstd")]);
    producer
        .send("orders", &(0..100).map(|n| value(if n == 50 { lost } else { known }, n)).collect::<Vec<_>>());
    for (codec, size) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().zip(20..) {
        let id = register(registry, "codecs-value", size);
        let producer = Producer::new(&bootstrap, &[("compression.codec", codec)]);
        producer.send("codecs", &(0..20).map(|n| value(id, n)).collect::<Vec<_>>());
    }
    let words = (0..50).map(|n| NewRecord::new("k", format!("{{\"number\": {n}}}")));
    let chance = [0x0102_0304, 0x0203_0405].map(|id| NewRecord::new("k", framed(id, "")));
    producer.send("text", &words.chain(chance).collect::<Vec<_>>());
    let guid = uuid::Uuid::parse_str(LOST_GUID).expect("a GUID");
    let header = [&[1], &guid.as_bytes()[..]].concat();
    producer.send("headed", &[NewRecord::new("k", "payload").header("__value_schema_id", Some(&header))]);
    lose(registry, "orders-value", 2);
    (known, lost)
}

#[test]
fn the_archive_says_which_schemas_records_name_and_what_is_wrong_with_that() {
    let (registry, scratch) = (Registry::start(), Scratch::new("schema-ids"));
    let (known, lost) = produce(&registry);
    let scanning = job("scanned", &registry, &scratch, &TOPICS, "schema_ids: scan");

    // Named at the end of the run, which has not failed for that.
    let finished = scanning.once().run().expect_code(0);
    let report = job::json(&finished);
    let unknown = &report["schemas"]["unknown_ids"];
    let expected = [format!("orders value {lost} 1 null"), format!("headed value null 1 {LOST_GUID}")];
    assert_eq!(rows(unknown, &["topic", "side", "id", "count", "guid"]), expected.into());
    let warning = format!("schema id {lost} in values of orders");
    assert!(finished.stderr.contains(&warning), "{}", finished.stderr);

    // The radar. Every codec is looked into: else its id would be among those that no data uses.
    let described = scanning.describe();
    assert_eq!(described["schema_registry"]["enabled"], true);
    let ids = &described["schema_registry"]["schema_ids"];
    assert_eq!((&ids["scanned"], &ids["unread_batches"]), (&ids["segments"], &json!(0)));
    let members = ["topic", "side", "in", "id", "guid", "count", "segments", "partition"];
    let expected = [
        format!("orders value prefix {lost} null 1 1 0"),
        format!("headed value header null {LOST_GUID} 1 1 0"),
    ];
    assert_eq!(rows(&ids["unknown"], &members), expected.into());
    let unframed = rows(&ids["unframed"], &["topic", "side", "count", "known", "other", "examples"]);
    assert_eq!(unframed, ["text value 2 0 50 [16909060,33752069]".to_owned()].into());
    let unused = rows(&ids["unused"], &["subject", "version"]);
    assert_eq!(unused, ["nobody-value 1".to_owned(), "python-avro-value 2".to_owned()].into());
    let shown = text(&scanning);
    for line in ["UNKNOWN SCHEMA", &format!("schema id {lost}"), "PERHAPS NOT FRAMED", "USED BY NO DATA"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let one = job::json(&scanning.command(&["describe", "--topic", "headed"]).run().expect_code(0));
    let ids = &one["schema_registry"]["schema_ids"];
    assert_eq!((&ids["segments"], &ids["unused"]), (&json!(1), &Value::Null));
    assert_eq!(rows(&ids["unknown"], &["guid"]), [LOST_GUID.to_owned()].into());

    // Sound, and yet not everything is there.
    let verified = job::json(&scanning.command(&["verify", "--deep"]).run().expect_code(3));
    assert_eq!((&verified["sound"], &verified["findings"]), (&json!(true), &json!([])));
    let ids = &verified["schema_ids"];
    assert_eq!(ids["scanned"], verified["segments"]);
    let unresolved = rows(&ids["unresolved"], &["topic", "id", "guid"]);
    assert_eq!(unresolved, [format!("orders {lost} null"), format!("headed null {LOST_GUID}")].into());

    // Bytes are the same as without.
    let plain = job("plain", &registry, &scratch, &TOPICS, "schema_ids: off");
    assert_eq!(plain.back_up(0)["schemas"]["unknown_ids"], Value::Null);
    for topic in TOPICS {
        assert_eq!(plain.log_bytes(topic, 0), scanning.log_bytes(topic, 0), "{topic}");
    }
    let ids = &plain.describe()["schema_registry"]["schema_ids"];
    assert_eq!((&ids["scanned"], &ids["unused"], &ids["unknown"]), (&json!(0), &Value::Null, &json!([])));
    assert!(ids["segments"].as_u64() >= Some(6));
    assert!(
        !text(&plain).lines().any(|line| line.starts_with("ids ")),
        "who does not scan is not told of it"
    );
    assert_eq!(plain.verify()["schema_ids"], Value::Null);

    // What the registry loses later the backup has; what is not scanned is said.
    lose(&registry, "orders-value", 1);
    let more = Producer::new(&cluster().bootstrap(), &[]);
    more.send("orders", &[NewRecord::new("k", framed(known, "more"))]);
    job("scanned", &registry, &scratch, &TOPICS, "schema_ids: off").back_up(0);
    let ids = &scanning.describe()["schema_registry"]["schema_ids"];
    let segments = ids["segments"].as_u64().expect("a number");
    assert_eq!((ids["scanned"].as_u64(), &ids["unused"]), (Some(segments - 1), &Value::Null));
    assert_eq!(rows(&ids["unknown"], &["topic"]).len(), 2);
    let said = format!("cannot be said: 1 of {segments} segments are not scanned");
    assert!(text(&scanning).contains(&said), "{}", text(&scanning));
    assert_eq!(scanning.dump("orders", 0, Isolation::ReadCommitted, &[]).len(), 101);
}
