//! The registry's `kafka` store on real brokers: the suite, elections, other writers, compaction, lost answers.

use pipeline::seam::Seam;
use registry::names::Context;
use registry::store::kafka::log::{Log, LogError, Record, Writer};
use registry::store::kafka::{KafkaLogSettings, KafkaStore};
use registry::store::{Change, Head, SchemaKey, Store, StoreError, suite};
use registry_log::RegistryLog;
use sandbox::binary::{Replevin, Running};
use sandbox::client::{self, Isolation, NewRecord, Producer};
use sandbox::cutter::{Cut, Cutter};
use sandbox::http;
use sandbox::kafka::{FAST_CLEANING, KafkaCluster, KafkaVersion};
use sandbox::scratch::Port;
use std::sync::Arc;
use std::time::{Duration, Instant};

// The binary's own: what joins registry and pipeline lies there.
#[path = "../../daemon/src/registry_log.rs"]
mod registry_log;

const LIMIT: Duration = Duration::from_secs(60);

fn settings(cluster: &KafkaCluster, topic: &str, port: u16) -> KafkaLogSettings {
    let servers = cluster.bootstrap().split(',').map(str::to_owned).collect();
    let mut settings = KafkaLogSettings::new(servers, "127.0.0.1", port);
    settings.topic = topic.to_owned();
    settings.group_id = format!("group-of-{topic}");
    settings.session_timeout = Duration::from_secs(6);
    settings.heartbeat_interval = Duration::from_millis(500);
    settings
}

struct Instance {
    log: Arc<RegistryLog>,
    store: KafkaStore,
}

async fn try_open(settings: &KafkaLogSettings) -> Result<Instance, String> {
    let log = RegistryLog::open(settings, Seam::system()).await.map_err(|error| error.to_string())?;
    let log = Arc::new(log);
    let store = KafkaStore::open(log.clone(), settings.init_timeout, settings.timeout).await;
    Ok(Instance { store: store.map_err(|error| error.to_string())?, log })
}

async fn open(settings: &KafkaLogSettings) -> Instance {
    try_open(settings).await.expect("a store")
}

impl Instance {
    async fn until(&self, wanted: impl Fn(&Writer) -> bool) -> Writer {
        let started = Instant::now();
        loop {
            let writer = self.log.writer();
            if wanted(&writer) {
                return writer;
            }
            assert!(started.elapsed() < LIMIT, "{writer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn head(&self, context: &Context) -> Head {
        self.store.heads().await.expect("heads").contexts.get(context).copied().unwrap_or(Head::EMPTY)
    }
}

async fn with_a_broker(version: KafkaVersion) {
    let cluster = KafkaCluster::start(version, 1, FAST_CLEANING);
    let settings = settings(&cluster, "_schemas", 8081);
    let one = open(&settings).await;
    suite::passes(&one.store, "suite").await;
    let held = suite::survives_reopening(&one.store, "suite").await;
    one.store.close().await;
    let begun = Instant::now();
    let again = open(&settings).await;
    held.is_kept_by(&again.store).await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "who has left is not waited for: {:?}",
        begun.elapsed()
    );
    let configs = client::configs(&cluster.bootstrap(), "_schemas");
    assert_eq!(configs["cleanup.policy"], "compact");
    let reader = registry_log::open_to_read(&settings, Seam::system()).await.expect("a store");
    assert_eq!(
        reader.heads().await.expect("heads").contexts,
        again.store.heads().await.expect("heads").contexts
    );
    let refused = reader.commit(&suite::first_commit("read-only")).await;
    assert!(matches!(&refused, Err(StoreError::NotWriter(why)) if why.contains("only read")), "{refused:?}");
    again.store.close().await;
    two_elect_one(&cluster).await;
    another_writer_is_noticed(&cluster).await;
    a_topic_made_otherwise_is_refused(&cluster).await;
    compaction_changes_nothing(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_3_9() {
    with_a_broker(KafkaVersion::V3_9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_4() {
    with_a_broker(KafkaVersion::V4).await;
}

/// Of two, the one with the smaller URL writes; the other reads what it writes, and takes over when it leaves or dies.
async fn two_elect_one(cluster: &KafkaCluster) {
    let (first, second) = (settings(cluster, "elected", 8081), settings(cluster, "elected", 8082));
    let (first, second) = (open(&first).await, open(&second).await);
    assert_eq!(
        second.until(|writer| matches!(writer, Writer::Other(_))).await,
        Writer::Other("http://127.0.0.1:8081".into())
    );
    first.until(|writer| matches!(writer, Writer::This(_))).await;
    let commit = suite::first_commit("elected");
    first.store.commit(&commit).await.expect("a commit");
    assert_eq!(second.head(&commit.context).await, commit.head());
    let next = suite::next_commit(&commit);
    let refused = second.store.commit(&next).await;
    assert!(
        matches!(&refused, Err(StoreError::NotWriter(why)) if why.contains("127.0.0.1:8081")),
        "{refused:?}"
    );
    first.store.close().await;
    let refused = first.store.commit(&next).await;
    assert!(matches!(refused, Err(StoreError::NotWriter(_))), "who has left does not write: {refused:?}");
    let refused = first.log.append(&[Record::default()]).await;
    assert!(matches!(refused, Err(LogError::Unavailable(_))), "nor does its log: {refused:?}");
    second.until(|writer| matches!(writer, Writer::This(_))).await;
    second.store.commit(&next).await.expect("a commit of the new writer");
    assert_eq!(first.head(&commit.context).await, next.head(), "who has left still reads");
    second.store.close().await;
}

/// Another client writes to the topic, in another registry's form.
async fn another_writer_is_noticed(cluster: &KafkaCluster) {
    let one = open(&settings(cluster, "shared", 8081)).await;
    one.until(|writer| matches!(writer, Writer::This(_))).await;
    let first = suite::first_commit("shared");
    one.store.commit(&first).await.expect("a commit");
    let producer = Producer::new(&cluster.bootstrap(), &[]);
    producer.send("shared", &[NewRecord::new(r#"{"keytype":"NOOP","magic":0}"#, "").tombstone()]);
    let next = suite::next_commit(&first);
    assert_eq!(one.store.commit(&next).await.expect("nothing has changed"), next.head());
    let next = suite::next_commit(&next);
    one.store.commit(&next).await.expect("a commit that nothing came in between");
    let theirs = NewRecord::new(
        r#"{"keytype":"SCHEMA","subject":":.shared:s","version":4,"magic":1}"#,
        r#"{"subject":":.shared:s","version":4,"id":4,"schema":"\"theirs\"","deleted":false}"#,
    );
    producer.send("shared", &[theirs]);
    let ours = suite::next_commit(&next);
    let outcome = one.store.commit(&ours).await;
    assert!(matches!(outcome, Err(StoreError::Unknown(_))), "{outcome:?}");
    let texts = one.store.texts(&first.context, &[SchemaKey::of(4)]).await.expect("texts");
    assert_eq!(&*texts[0].1.canonical, "\"theirs\"", "who was first keeps the id");
    let mut again = suite::next_commit(&ours);
    again.expected = one.head(&first.context).await;
    one.store.commit(&again).await.expect("a commit that has seen it");
    // Everything is as any consumer reads it, and nothing but records lies at the end.
    let records = client::read_all(&cluster.bootstrap(), "shared", Isolation::ReadCommitted);
    let (_, end) = client::watermarks(&cluster.bootstrap(), "shared", Isolation::ReadUncommitted)[&0];
    assert_eq!(records.last().expect("a record").offset, end - 1);
    one.store.close().await;
}

async fn a_topic_made_otherwise_is_refused(cluster: &KafkaCluster) {
    client::create_topic(&cluster.bootstrap(), "deleting", 1, 1, &[("cleanup.policy", "delete")]);
    client::create_topic(&cluster.bootstrap(), "wide", 2, 1, &[("cleanup.policy", "compact")]);
    for (topic, words) in [("deleting", "cleanup.policy=delete"), ("wide", "2 partitions")] {
        let error = try_open(&settings(cluster, topic, 8081)).await.err().expect("a refusal");
        assert!(error.contains(words), "{error}");
    }
    let mut nowhere = settings(cluster, "any", 8081);
    nowhere.bootstrap_servers = vec!["127.0.0.1:9".into()];
    nowhere.timeout = Duration::from_secs(1);
    let error = try_open(&nowhere).await.err().expect("a refusal");
    assert!(error.contains("127.0.0.1:9"), "{error}");
}

/// The broker compacts what the suite left; opened again, the store holds the same.
async fn compaction_changes_nothing(cluster: &KafkaCluster) {
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "1000"),
        ("delete.retention.ms", "0"),
        ("max.message.bytes", "16777216"),
    ];
    client::create_topic(&cluster.bootstrap(), "compacted", 1, 1, &configs);
    let settings = settings(cluster, "compacted", 8081);
    let one = open(&settings).await;
    one.until(|writer| matches!(writer, Writer::This(_))).await;
    suite::passes(&one.store, "suite").await;
    let removed = || {
        let left = client::read_all(&cluster.bootstrap(), "compacted", Isolation::ReadUncommitted).len();
        let (_, end) = client::watermarks(&cluster.bootstrap(), "compacted", Isolation::ReadUncommitted)[&0];
        usize::try_from(end).expect("an offset") - left
    };
    let started = Instant::now();
    let mut last = suite::first_commit("filler");
    one.store.commit(&last).await.expect("a commit");
    // Removals, and what they remove, are among what the suite leaves to be cleaned.
    while removed() < 20 {
        assert!(started.elapsed() < 2 * LIMIT, "{} records were removed", removed());
        // What rolls the segment.
        let mut next = suite::next_commit(&last);
        (next.changes, next.texts) = (vec![Change::Listed(true)], Vec::new());
        next.next_id = last.next_id;
        one.store.commit(&next).await.expect("a commit");
        last = next;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let again = registry_log::open(&settings, Seam::system()).await.expect("a store");
    for context in one.store.heads().await.expect("heads").contexts.into_keys() {
        let live = async |store: &KafkaStore| {
            let (head, mut changes) = store.changes(&context, Head::EMPTY).await.expect("changes");
            changes.retain(|change| {
                matches!(change, Change::Schema(_) | Change::Version(_) | Change::Config(_, Some(_)))
            });
            (head.next_id, changes)
        };
        let (expected, found) = (live(&one.store).await, live(&again).await);
        assert!(expected == found, "{context}: {} rows, and {}", expected.1.len(), found.1.len());
    }
    one.store.close().await;
    again.close().await;
}

/// The connection is lost at a commit, before the broker has read it or after. Either way the commit is there once.
#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_are_settled() {
    let mut cutter = None;
    let cluster = KafkaCluster::start_behind(KafkaVersion::V4, 1, &[], |_, address| {
        cutter.insert(Cutter::start(address)).address().to_owned()
    });
    let cutter = cutter.expect("one broker");
    let one = open(&settings(&cluster, "_schemas", 8081)).await;
    one.until(|writer| matches!(writer, Writer::This(_))).await;
    let mut commit = suite::first_commit("lost");
    one.store.commit(&commit).await.expect("a commit");
    for cut in [Cut::Before, Cut::After, Cut::Before, Cut::After] {
        commit = suite::next_commit(&commit);
        cutter.cut_at(commit.attempt.to_string().as_bytes(), cut);
        let before = cutter.cuts();
        assert_eq!(one.store.commit(&commit).await.expect("a commit"), commit.head());
        assert_eq!(cutter.cuts(), before + 1, "the connection was cut");
        assert_eq!(one.head(&commit.context).await, commit.head());
    }
    let records = client::read_all(&cluster.direct(), "_schemas", Isolation::ReadUncommitted);
    let versions = records.iter().filter(|record| {
        record.key.as_deref().is_some_and(|key| String::from_utf8_lossy(key).contains("SCHEMA"))
    });
    assert_eq!(versions.count(), 5, "nothing is there twice");
    one.store.close().await;
}

/// A broker that answers nothing: the writer stops, and everything ends in time; then it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_outlived() {
    let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
    let mut settings = settings(&cluster, "_schemas", 8081);
    settings.timeout = Duration::from_secs(2);
    let one = open(&settings).await;
    one.until(|writer| matches!(writer, Writer::This(_))).await;
    let first = suite::first_commit("frozen");
    one.store.commit(&first).await.expect("a commit");
    let next = suite::next_commit(&first);
    cluster.freeze(1);
    let begun = Instant::now();
    let (heads, outcome) = (one.store.heads().await, one.store.commit(&next).await);
    let took = begun.elapsed();
    assert!(matches!(heads, Err(StoreError::Unavailable(_))), "{heads:?}");
    assert!(matches!(outcome, Err(StoreError::Unknown(_))), "it may have been heard: {outcome:?}");
    one.until(|writer| matches!(writer, Writer::Nobody(_))).await;
    cluster.thaw(1);
    assert!(took < Duration::from_secs(15), "{took:?}");
    one.until(|writer| matches!(writer, Writer::This(_))).await;
    // It was heard, as it happens; the next one follows it.
    let head = one.head(&first.context).await;
    let mut again = if head == next.head() { suite::next_commit(&next) } else { next };
    again.expected = head;
    one.store.commit(&again).await.expect("a commit");
    one.store.close().await;
}

/// How long the start takes with many records; what is said of it elsewhere was measured with this.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_records_are_read_at_start() {
    const COUNT: usize = 100_000;
    let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
    client::create_topic(&cluster.bootstrap(), "_schemas", 1, 1, &[("cleanup.policy", "compact")]);
    let producer = Producer::new(&cluster.bootstrap(), &[]);
    let record = |n: usize| {
        let (subject, version) = (format!("subject-{}-value", n / 10), n % 10 + 1);
        let fields =
            format!(r#"{{\"name\":\"field{n}\",\"type\":\"string\"}}"#).repeat(4).replace("}{", "},{");
        NewRecord::new(
            format!(r#"{{"keytype":"SCHEMA","subject":"{subject}","version":{version},"magic":1}}"#),
            format!(
                r#"{{"subject":"{subject}","version":{version},"id":{},"schema":"{{\"type\":\"record\",\"name\":\"R{n}\",\"fields\":[{fields}]}}","deleted":false}}"#,
                n + 1
            ),
        )
    };
    for chunk in (0..COUNT).collect::<Vec<_>>().chunks(10_000) {
        producer.send("_schemas", &chunk.iter().map(|n| record(*n)).collect::<Vec<_>>());
    }
    let begun = Instant::now();
    let one = open(&settings(&cluster, "_schemas", 8081)).await;
    let took = begun.elapsed();
    let context = Context::default_context();
    assert_eq!(one.head(&context).await.next_id, 100_001);
    let (_, changes) = one.store.changes(&context, Head::EMPTY).await.expect("changes");
    assert_eq!(changes.len(), 2 * COUNT + 1);
    println!("{COUNT} records were read in {took:?}");
    assert!(took < Duration::from_secs(60), "{took:?}");
    one.store.close().await;
}

/// The binary, with its schemas in the topic; others reach it at this port.
fn serve(cluster: &KafkaCluster, port: u16) -> Running {
    let mut running = Replevin::new(&["registry", "serve", "--host", "127.0.0.1"])
        .env("SERVER_PORT", &port.to_string())
        .env("STORAGE_TYPE", "kafka")
        .env("SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS", &cluster.bootstrap())
        .env("SCHEMA_REGISTRY_HOST_NAME", "127.0.0.1")
        .start();
    running.wait_for("the registry serves");
    running
}

fn register(port: u16, subject: &str, schema: &str) -> Option<u64> {
    let body = serde_json::json!({ "schema": schema }).to_string();
    let headers = [("Content-Type", "application/json")];
    let path = format!("/subjects/{subject}/versions");
    let answer =
        http::request(&format!("127.0.0.1:{port}"), "POST", &path, &headers, body.as_bytes()).ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    answer["id"].as_u64()
}

/// A registry's topic is taken over while the registry itself goes on, and also when it is gone; the topic is not touched.
#[test]
fn a_topic_is_taken_over_without_its_registry() {
    let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
    let (old, new) = (Port::reserve(), Port::reserve());
    let mut registry = serve(&cluster, old.number());
    for (n, subject) in ["a", ":.c:b", "a"].into_iter().enumerate() {
        let schema = format!(
            r#"{{"type":"record","name":"R","fields":[{{"name":"f{n}","type":"int","default":0}}]}}"#
        );
        let started = Instant::now();
        while register(old.number(), subject, &schema).is_none() {
            assert!(started.elapsed() < LIMIT, "nobody writes");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("topic.jsonl").display().to_string();
    let topic = format!("kafka://{}/_schemas", cluster.bootstrap());
    let export = ["registry", "export", "--from", &topic, &file, "--output", "json"];
    let exported = Replevin::new(&export).run().expect_code(0);
    let report: serde_json::Value = serde_json::from_str(&exported.stdout).expect("JSON");
    assert_eq!(report["source"], topic.as_str(), "{report}");
    Replevin::new(&["registry", "check", &topic]).run().expect_code(0);
    Replevin::new(&["registry", "diff", &file, &topic]).run().expect_code(0);
    registry.kill9();
    let mut target = Replevin::new(&["registry", "serve", "--host", "127.0.0.1", "--storage-type", "memory"])
        .env("SERVER_PORT", &new.number().to_string())
        .start();
    target.wait_for("the registry serves");
    let to = format!("http://127.0.0.1:{}", new.number());
    let journal = folder.path().join("journal").display().to_string();
    let takeover =
        ["registry", "takeover", "--from", &topic, "--to", &to, "--journal", &journal, "--output", "json"];
    let done = Replevin::new(&takeover).run().expect_code(0);
    let report: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(
        (&report["source"], &report["proof"]["count"]),
        (&topic.as_str().into(), &0.into()),
        "{report}"
    );
    Replevin::new(&["registry", "diff", &file, &to]).run().expect_code(0);
    let nothing =
        Replevin::new(&["registry", "export", "--from", &format!("{topic}-not-there"), &file]).run();
    assert!(
        nothing.code() != Some(0) && nothing.stderr.contains("_schemas-not-there is not there"),
        "{nothing:?}"
    );
}
