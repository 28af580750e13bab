//! Keys of a restore, each in a run of its own: what it says happens to the target, and nothing else.

use sandbox::client::{self, Compared, Isolation, NewRecord, Producer, Rec};
use sandbox::fixtures;
use sandbox::job::{Job, Restore, folder, json};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::scratch::Scratch;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

/// Two brokers that are both source and target, and a backup of three topics. Nothing expires while a test looks.
struct Home {
    cluster: KafkaCluster,
    job: Job,
    orders: Vec<Rec>,
    _scratch: Scratch,
}

const HOUR: &str = "3600000";
const RECORDS: i32 = 4000;

fn home() -> &'static Home {
    static HOME: OnceLock<Home> = OnceLock::new();
    HOME.get_or_init(|| {
        let never =
            [("log.retention.check.interval.ms", "86400000"), ("log.initial.task.delay.ms", "86400000")];
        let cluster = KafkaCluster::start(KafkaVersion::V4, 2, &never);
        let bootstrap = cluster.bootstrap();
        client::create_topic(
            &bootstrap,
            "orders",
            3,
            1,
            &[("retention.ms", "-1"), ("segment.bytes", "50000000")],
        );
        let records: Vec<_> = (0..RECORDS)
            .map(|n| NewRecord::new(format!("{n}"), fixtures::noise(n as u64, 1000)).partition(n % 3))
            .collect();
        Producer::new(&bootstrap, &[("batch.size", "16384")]).send("orders", &records);
        for (topic, time) in [("fresh", None), ("aged", Some(1_500_000_000_000))] {
            client::create_topic(&bootstrap, topic, 1, 1, &[("retention.ms", HOUR)]);
            let record = |n: i32| {
                let record = NewRecord::new(format!("{n}"), format!("{topic} {n}"));
                if let Some(time) = time { record.at(time + i64::from(n)) } else { record }
            };
            Producer::new(&bootstrap, &[]).send(topic, &(0..20).map(record).collect::<Vec<_>>());
        }
        let scratch = Scratch::new("restore-keys");
        let job = Job::new("home", &bootstrap, &folder(scratch.path())).topics(&["orders", "fresh", "aged"]);
        job.back_up(0);
        let orders = client::read_all(&bootstrap, "orders", Isolation::ReadCommitted);
        Home { cluster, job, orders, _scratch: scratch }
    })
}

/// A restore of one topic under another name.
fn as_name(topic: &str, name: &str) -> Restore {
    let home = home();
    let restore = home.job.restore(&home.cluster.bootstrap()).topics(&[topic]);
    restore.set(&format!("topic_mapping: {{{topic}: {name}}}"))
}

fn proven(restore: &Restore) -> Value {
    let report = restore.run(0);
    assert_eq!(report["verdict"], "proven", "{report}");
    report
}

fn read(topic: &str) -> Vec<Rec> {
    client::read_all(&home().cluster.bootstrap(), topic, Isolation::ReadCommitted)
}

fn same_orders(name: &str) {
    client::assert_same(name, &home().orders, &read(name), Compared::Content);
}

fn configs(topic: &str) -> BTreeMap<String, String> {
    client::configs(&home().cluster.bootstrap(), topic)
}

fn retention(topic: &str) -> Option<String> {
    configs(topic).get("retention.ms").cloned()
}

fn exists(topic: &str) -> bool {
    client::topics(&home().cluster.bootstrap()).contains(&topic.to_owned())
}

/// What a plan says against it; nothing is touched.
fn refused(restore: &Restore, words: &str) {
    for args in [&["--plan"][..], &[]] {
        let finished = restore.command(args).run().expect_code(2);
        let said = finished.stdout.clone() + &finished.stderr;
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn rate_limits_are_kept() {
    // 4,000 records of 1,000 bytes that no codec makes smaller.
    for (line, seconds) in
        [("rate_limit_bytes_per_sec: 1MiB", 3.8), ("rate_limit_records_per_sec: 1000", 4.0)]
    {
        let name = line.split(':').next().unwrap_or_default().replace('_', "-");
        let unpaced = as_name("orders", &format!("free-{name}")).command(&[]).run().expect_code(0);
        let paced = as_name("orders", &name).set(line).command(&[]).run().expect_code(0);
        same_orders(&name);
        // What is sent last need not be paid for: at most one request of each partition.
        let least = Duration::from_secs_f64(seconds * 0.7);
        assert!(paced.elapsed > least, "{line}: {:?}", paced.elapsed);
        assert!(unpaced.elapsed < paced.elapsed, "{line}: {:?} without it", unpaced.elapsed);
    }
}

#[test]
fn partitions_one_after_another_come_back_all_the_same() {
    proven(&as_name("orders", "one-by-one").set("max_concurrent_partitions: 1"));
    same_orders("one-by-one");
}

#[test]
fn topics_get_the_replicas_that_are_asked_for() {
    let bootstrap = home().cluster.bootstrap();
    proven(&as_name("orders", "replicated").set("default_replication_factor: 2"));
    same_orders("replicated");
    for partition in 0..3 {
        assert_eq!(client::placement(&bootstrap, "replicated", partition).1.len(), 2);
    }
    refused(&as_name("orders", "too-many").set("default_replication_factor: 3"), "too-many");
    assert!(!exists("too-many"));
}

#[test]
fn a_dry_run_touches_nothing() {
    let restore = as_name("orders", "dry").set("dry_run: true");
    let plan = json(&restore.command(&[]).run().expect_code(0));
    assert_eq!((&plan["topics"][0]["target"], &plan["problems"]), (&json!("dry"), &json!([])), "{plan}");
    assert!(!exists("dry"));
}

#[test]
fn retention_is_held_where_told_or_where_it_would_delete_at_once() {
    // By itself: only where records are older than it allows.
    proven(&as_name("fresh", "fresh-auto"));
    assert_eq!(retention("fresh-auto").as_deref(), Some(HOUR));
    let plan = json(&as_name("aged", "aged-auto").command(&["--plan"]).run().expect_code(0));
    assert_eq!(plan["topics"][0]["retention"]["records_at_risk"], 20, "{plan}");
    proven(&as_name("aged", "aged-auto"));
    assert_eq!(retention("aged-auto").as_deref(), Some("-1"));

    proven(&as_name("fresh", "fresh-held").set("retention: hold"));
    assert_eq!(retention("fresh-held").as_deref(), Some("-1"));
    as_name("aged", "aged-original").set("retention: original").command(&[]).run().expect_code(0);
    assert_eq!(retention("aged-original").as_deref(), Some(HOUR));
    client::assert_same("aged-auto", &read("aged"), &read("aged-auto"), Compared::Content);
}

#[test]
fn configs_of_existing_topics_are_kept_replaced_or_a_reason_to_refuse() {
    let bootstrap = home().cluster.bootstrap();
    let own = [("retention.ms", "99000000"), ("segment.bytes", "40000000")];
    let expected = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    for name in ["kept", "applied", "unfit"] {
        client::create_topic(&bootstrap, name, 3, 1, &own);
    }
    proven(&as_name("orders", "kept").set("existing_topic_config_policy: validate_only"));
    assert_eq!(configs("kept"), expected(&own));
    proven(&as_name("orders", "applied").set("existing_topic_config_policy: apply"));
    let applied = configs("applied");
    for (name, value) in [("retention.ms", "-1"), ("segment.bytes", "50000000")] {
        assert_eq!(applied.get(name).map(String::as_str), Some(value), "{applied:?}");
    }
    refused(&as_name("orders", "unfit").set("existing_topic_config_policy: fail"), "unfit");
    assert_eq!((configs("unfit"), read("unfit").len()), (expected(&own), 0));
    ["kept", "applied"].iter().for_each(|name| same_orders(name));
}

#[test]
fn configs_are_overridden_for_all_topics_or_for_one_or_left_out() {
    proven(&as_name("fresh", "for-all").set("topic_config_overrides: {retention.ms: \"7200000\"}"));
    assert_eq!(retention("for-all").as_deref(), Some("7200000"));
    let home = home();
    let restore = home
        .job
        .restore(&home.cluster.bootstrap())
        .topics(&["fresh", "orders"])
        .set("topic_mapping: {fresh: one-fresh, orders: one-orders}")
        .set("topic_config_overrides: {one-orders: {segment.bytes: \"60000000\"}}");
    proven(&restore);
    assert_eq!(configs("one-orders").get("segment.bytes").map(String::as_str), Some("60000000"));
    assert_eq!(configs("one-orders").get("retention.ms").map(String::as_str), Some("-1"));
    assert_eq!(retention("one-fresh").as_deref(), Some(HOUR));

    proven(&as_name("orders", "plain").set("restore_topic_configs: false"));
    assert_eq!(configs("plain"), BTreeMap::new());
}

#[test]
fn topics_are_not_created_unless_told() {
    let restore = as_name("orders", "by-hand").set("create_topics: false");
    refused(&restore, "topic by-hand does not exist");
    assert!(!exists("by-hand"));
    client::create_topic(&home().cluster.bootstrap(), "by-hand", 3, 1, &[("retention.ms", "-1")]);
    proven(&restore);
    same_orders("by-hand");
}

#[test]
fn topics_are_chosen_and_left_out() {
    let home = home();
    let targets = |restore: Restore| -> Vec<String> {
        let plan = json(
            &restore
                .set("topic_mapping: {orders: c-orders, fresh: c-fresh, aged: c-aged}")
                .command(&["--plan"])
                .run()
                .expect_code(0),
        );
        let topics = plan["topics"].as_array().cloned().unwrap_or_default();
        topics.iter().filter_map(|topic| topic["target"].as_str().map(str::to_owned)).collect()
    };
    let restore = || home.job.restore(&home.cluster.bootstrap());
    assert_eq!(targets(restore()), ["c-aged", "c-fresh", "c-orders"]);
    assert_eq!(targets(restore().without(&["orders"])), ["c-aged", "c-fresh"]);
    assert_eq!(targets(restore().topics(&["~^(orders|fresh)$"]).without(&["fr*"])), ["c-orders"]);
    // In a whole run too.
    let chosen = restore().topics(&["*e*"]).without(&["orders"]);
    proven(&chosen.set("topic_mapping: {orders: chosen-orders, fresh: chosen-fresh, aged: chosen-aged}"));
    assert!(exists("chosen-fresh") && exists("chosen-aged") && !exists("chosen-orders"));
    client::assert_same("chosen-fresh", &read("fresh"), &read("chosen-fresh"), Compared::Content);
}
