//! Registry clients of other people, in four languages: each writes to a real broker with schemas that it registers, and reads
//! back what it wrote with a second client that asks our registry for every id.
//!
//! The programs are in `tests/clients`; what they need is installed by `tests/install.sh client-python client-node client-go`.

use apache_avro::types::Value;
use sandbox::client::{self, Isolation, NewRecord, Producer, Rec};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::process;
use sandbox::registry::Registry;
use sandbox::scratch::installed;
use schema_registry_converter::async_impl::avro::{AvroDecoder, AvroEncoder};
use schema_registry_converter::async_impl::proto_raw::{ProtoRawDecoder, ProtoRawEncoder};
use schema_registry_converter::async_impl::schema_registry::{SrSettings, is_compatible_schema};
use schema_registry_converter::schema_registry_common::{SchemaType, SubjectNameStrategy, SuppliedSchema};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// One broker and one registry for all clients, each of which has topics and subjects of its own.
struct World {
    cluster: KafkaCluster,
    registry: Registry,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World {
        cluster: KafkaCluster::start(KafkaVersion::V4, 1, &[]),
        registry: Registry::start(),
    })
}

fn program(language: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(language).join(file)
}

/// Makes the topic that a case writes to, and runs it.
fn run(topic: &str, mut command: std::process::Command, case: &str) {
    let world = world();
    let bootstrap = world.cluster.bootstrap();
    if !topic.is_empty() {
        client::create_topic(&bootstrap, topic, 1, 1, &[]);
    }
    command.arg(case).arg(bootstrap).arg(world.registry.url());
    process::run(command);
}

fn python(topic: &str, case: &str) {
    let mut command = process::command("python3");
    command
        .env("PYTHONPATH", installed("client-python").join("packages"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(program("python", "round_trip.py"));
    run(topic, command, case);
}

fn node(topic: &str, case: &str) {
    let mut command = process::command("node");
    // Modules are looked for beside the program first, and then here.
    command.env("NODE_PATH", installed("client-node").join("node_modules"));
    command.arg(program("node", "round_trip.js"));
    run(topic, command, case);
}

fn go(topic: &str, case: &str) {
    run(topic, process::command(installed("client-go").join("clients")), case);
}

macro_rules! cases {
    ($($name:ident: $language:ident $topic:literal $case:literal;)*) => {
        $(#[test]
        fn $name() {
            $language($topic, $case);
        })*
    };
}

cases! {
    confluent_kafka_python_avro: python "python-avro" "avro";
    confluent_kafka_python_json: python "python-json" "json";
    confluent_kafka_python_protobuf: python "python-protobuf" "protobuf";
    confluent_kafka_python_references: python "python-references" "references";
    confluent_kafka_python_guid_in_a_header: python "python-header" "header_guid";
    confluent_kafka_python_administration: python "" "administration";
    confluent_node_avro: node "node-avro" "confluentAvro";
    confluent_node_json: node "node-json" "confluentJson";
    confluent_node_protobuf: node "node-protobuf" "confluentProtobuf";
    confluent_node_references: node "node-references" "confluentReferences";
    confluent_node_guid_in_a_header: node "node-header" "confluentHeaderGuid";
    kafkajs_avro: node "kafkajs-avro" "kafkajsAvro";
    kafkajs_json: node "kafkajs-json" "kafkajsJson";
    kafkajs_protobuf: node "kafkajs-protobuf" "kafkajsProtobuf";
    franz_go_avro: go "go-avro" "avro";
    franz_go_json: go "go-json" "json";
    franz_go_protobuf: go "go-protobuf" "protobuf";
    franz_go_administration: go "" "administration";
}

const USER: &str = r#"{"type":"record","name":"User","namespace":"shop","doc":"somebody","fields":[
    {"name":"name","type":"string"},{"name":"visits","type":"long","default":0}]}"#;

fn settings() -> SrSettings {
    SrSettings::new(world().registry.url())
}

/// Writes one record and reads it back from the broker.
fn through_kafka(topic: &str, record: NewRecord) -> Rec {
    let bootstrap = world().cluster.bootstrap();
    client::create_topic(&bootstrap, topic, 1, 1, &[]);
    Producer::new(&bootstrap, &[]).send(topic, &[record]);
    client::read_all(&bootstrap, topic, Isolation::ReadCommitted).pop().expect("the record that was written")
}

fn user() -> Vec<(&'static str, Value)> {
    vec![("name", Value::String("Zoë".into())), ("visits", Value::Long(1 << 40))]
}

fn record(value: Value) -> Vec<(String, Value)> {
    match value {
        Value::Record(fields) => fields,
        other => panic!("a record was expected, and not {other:?}"),
    }
}

#[tokio::test]
async fn schema_registry_converter_avro() {
    let schema = SuppliedSchema::new(Some("shop.User".into()), SchemaType::Avro, USER.into());
    let strategy =
        SubjectNameStrategy::TopicNameStrategyWithSchema("rust-avro".into(), false, schema.clone());
    let bytes = AvroEncoder::new(settings()).encode(user(), strategy).await.expect("bytes with an id");
    let found = through_kafka("rust-avro", NewRecord::new("k", bytes));
    let decoder = AvroDecoder::new(settings());
    let decoded = decoder.decode(found.value.as_deref()).await.expect("a value");
    assert_eq!(record(decoded.value)[0], ("name".into(), Value::String("Zoë".into())));
    let wrong = USER.replace("\"string\"", "\"int\"");
    let wrong = SuppliedSchema::new(Some("shop.User".into()), SchemaType::Avro, wrong);
    let fits = async |schema| is_compatible_schema(&settings(), "rust-avro-value".into(), schema).await;
    assert!(fits(schema).await.expect("a verdict"));
    assert!(!fits(wrong).await.expect("a verdict"));
}

/// Registers a schema without the client.
fn register(subject: &str, body: &serde_json::Value) {
    let path = format!("/subjects/{subject}/versions");
    let answer = world().registry.ask("POST", &path, &body.to_string()).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn schema_registry_converter_references() {
    // This client reads a schema that it registers without what that refers to; one that is there it reads with it.
    let visit =
        r#"{"type":"record","name":"Visit","namespace":"shop","fields":[{"name":"who","type":"shop.User"}]}"#;
    let references = [serde_json::json!({ "name": "shop.User", "subject": "rust-user", "version": 1 })];
    register("rust-user", &serde_json::json!({ "schema": USER }));
    register("rust-references-value", &serde_json::json!({ "schema": visit, "references": references }));
    let strategy = SubjectNameStrategy::TopicNameStrategy("rust-references".into(), false);
    let who = Value::Record(user().into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let bytes = AvroEncoder::new(settings()).encode(vec![("who", who.clone())], strategy).await;
    let found = through_kafka("rust-references", NewRecord::new("k", bytes.expect("bytes with an id")));
    let decoded = AvroDecoder::new(settings()).decode(found.value.as_deref()).await.expect("a value");
    assert_eq!(record(decoded.value), [("who".to_owned(), who)]);
}

#[tokio::test]
async fn schema_registry_converter_guid_in_a_header() {
    let schema = SuppliedSchema::new(Some("shop.User".into()), SchemaType::Avro, USER.into());
    let strategy = SubjectNameStrategy::TopicNameStrategyWithSchema("rust-header".into(), false, schema);
    let encoder = AvroEncoder::new(settings());
    // This client learns the GUID where it looks the subject up, and not where it registers.
    encoder.encode(user(), strategy).await.expect("a registered schema");
    let strategy = SubjectNameStrategy::TopicNameStrategy("rust-header".into(), false);
    let (bytes, header) = AvroEncoder::new(settings())
        .encode_with_header_id(user(), strategy, false)
        .await
        .expect("bytes with a header");
    let sent = NewRecord::new("k", bytes).header(header.name, Some(&header.value));
    let found = through_kafka("rust-header", sent);
    let (name, guid) = &found.headers[0];
    assert_eq!(name, "__value_schema_id");
    let guid = guid.as_deref().expect("a GUID");
    let decoder = AvroDecoder::new(settings());
    let decoded = decoder.decode_with_header_id(Some(guid), found.value.as_deref()).await.expect("a value");
    assert_eq!(record(decoded.value)[1], ("visits".into(), Value::Long(1 << 40)));
}

#[tokio::test]
async fn schema_registry_converter_protobuf() {
    let text = "syntax = \"proto3\"; package shop.rust; message Part { int32 number = 1; } message Whole { string text = 1; }";
    let schema = SuppliedSchema::new(Some("shop.rust.Whole".into()), SchemaType::Protobuf, text.into());
    let strategy = SubjectNameStrategy::TopicNameStrategyWithSchema("rust-protobuf".into(), false, schema);
    // Whole { text: "x" }
    let message = [0x0a, 1, b'x'];
    let encoder = ProtoRawEncoder::new(settings());
    let bytes = encoder.encode(&message, "shop.rust.Whole", strategy).await.expect("bytes with an id");
    let found = through_kafka("rust-protobuf", NewRecord::new("k", bytes));
    let decoder = ProtoRawDecoder::new(settings());
    let decoded = decoder.decode(found.value.as_deref()).await.expect("a value").expect("no tombstone");
    assert_eq!((decoded.bytes.as_slice(), decoded.full_name.as_str()), (&message[..], "shop.rust.Whole"));
}
