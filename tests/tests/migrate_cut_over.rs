//! The end of a migration: groups go on in the target at the record that they would have read next, and both sides are compared.

use sandbox::binary::Replevin;
use sandbox::client::{self, Isolation, Member, NewRecord, Producer, Rec};
use sandbox::job::json;
use sandbox::kafka::{FAST_CLEANING, KafkaCluster, KafkaVersion};
use sandbox::process::wait_until;
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// The old cluster and the new one.
fn clusters() -> (&'static KafkaCluster, &'static KafkaCluster) {
    static OLD: OnceLock<KafkaCluster> = OnceLock::new();
    static NEW: OnceLock<KafkaCluster> = OnceLock::new();
    (
        OLD.get_or_init(|| KafkaCluster::start(KafkaVersion::V3_9, 1, FAST_CLEANING)),
        NEW.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, FAST_CLEANING)),
    )
}

/// A migration of one topic to `TOPIC-new`, with some of the groups.
fn migrate(topic: &str, settings: &str) -> Replevin {
    command(&["--until-caught-up"], topic, settings)
}

fn command(args: &[&str], topic: &str, settings: &str) -> Replevin {
    let (old, new) = clusters();
    Replevin::new(&[&["migrate", "--output", "json"], args].concat()).limit(LIMIT).config(format!(
        "mode: migrate\nmigration_id: {topic}\nsource:\n  bootstrap_servers: [\"{}\"]\n  topics: {{include: [{topic}]}}\n\
         target:\n  bootstrap_servers: [\"{}\"]\nmigrate:\n  topic_mapping: {{{topic}: {topic}-new}}\n{settings}",
        old.bootstrap(),
        new.bootstrap(),
    ))
}

fn records(text: &str, count: usize) -> Vec<NewRecord> {
    let record = |n: usize| NewRecord::new(format!("{n}"), format!("{text} {n}"));
    (0..count).map(|n| record(n).partition(i32::from(n % 3 == 2))).collect()
}

/// The record of a partition that a consumer reads next from an offset on, whatever its own offset.
fn next(records: &[Rec], partition: i32, offset: i64) -> Option<Rec> {
    let next = records.iter().find(|record| record.partition == partition && record.offset >= offset)?;
    Some(Rec { offset: 0, ..next.clone() })
}

/// That every group of these would read the same record next in both clusters.
fn go_on(topic: &str, partitions: i32, groups: &[String]) {
    let (old, new) = clusters();
    let target = format!("{topic}-new");
    let here = client::read_all(&old.bootstrap(), topic, Isolation::ReadCommitted);
    let there = client::read_all(&new.bootstrap(), &target, Isolation::ReadCommitted);
    let one = &|group: &String| {
        let before = client::committed(&old.bootstrap(), group, topic, partitions);
        let after = client::committed(&new.bootstrap(), group, &target, partitions);
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{group}");
        for (partition, (offset, metadata)) in before {
            let (moved, written) = &after[&partition];
            assert_eq!(written, &metadata, "{group}");
            let (expected, found) = (next(&here, partition, offset), next(&there, partition, *moved));
            assert_eq!(found, expected, "{group} at {topic}-{partition}@{offset}, which is {moved}");
        }
    };
    std::thread::scope(|scope| {
        for some in groups.chunks(groups.len().div_ceil(8)) {
            scope.spawn(move || some.iter().for_each(one));
        }
    });
}

fn verdicts(report: &Value) -> Vec<&str> {
    let partitions = report["partitions"].as_array().into_iter().flatten();
    partitions.map(|one| one["proof"]["verdict"].as_str().unwrap_or_default()).collect()
}

fn outcome<'a>(report: &'a Value, group: &str) -> &'a Value {
    let mut groups = report["groups"].as_array().into_iter().flatten();
    &groups.find(|one| one["group"] == group).unwrap_or_else(|| panic!("{group}: {report:#}"))["offsets"][0]
}

#[test]
fn groups_go_on_at_the_very_record_whatever_lies_between() {
    let (old, new) = clusters();
    let (bootstrap, topic) = (old.bootstrap(), "read");
    client::create_topic(&bootstrap, topic, 2, 1, &[]);
    let producer = Producer::transactional(&bootstrap, "read", &[]);
    for round in 0..3 {
        producer.begin();
        producer.send(topic, &records(&format!("aborted {round}"), 5));
        producer.abort();
        Producer::new(&bootstrap, &[("compression.type", "zstd")])
            .send(topic, &records(&format!("plain {round}"), 7));
        producer.begin();
        producer.send(topic, &records(&format!("committed {round}"), 6));
        producer.commit();
    }
    // A group at every offset that there is, markers and aborted records included.
    let ends = client::watermarks(&bootstrap, topic, Isolation::ReadUncommitted);
    let mut groups = Vec::new();
    for offset in 0..=ends[&0].1.max(ends[&1].1) {
        let group = format!("at: {offset}");
        let at = |partition: i32| (partition, offset.min(ends[&partition].1), "mine");
        client::commit(&bootstrap, &group, topic, &[at(0), at(1)]);
        groups.push(group);
    }
    client::commit(&bootstrap, "left-out", topic, &[(0, 3, "")]);
    let settings = "  consumer_groups: ['at: *', '~ahead|here']\n";
    let plan = json(&command(&["--plan"], topic, settings).run().expect_code(0));
    assert_eq!(plan["plan"]["groups"]["at: 0"], 2);
    assert!(client::committed(&new.bootstrap(), "at: 0", &format!("{topic}-new"), 2).is_empty());

    for point in ["before_migration_groups:2", "after_migration_groups:2"] {
        let died = migrate(topic, settings).env("REPLEVIN_FAILPOINT", point).run();
        assert!(died.code().is_none() || died.code() == Some(134), "{point}: {:?}", died.code());
    }
    let report = json(&migrate(topic, settings).run().expect_code(0));
    assert_eq!(verdicts(&report), ["equal", "equal"], "{report:#}");
    go_on(topic, 2, &groups);
    assert!(client::committed(&new.bootstrap(), "left-out", &format!("{topic}-new"), 2).is_empty());

    // The beginning of the source goes, and a group that stood there goes on at the first record that is left.
    client::delete_records(&bootstrap, topic, 0, 20);
    client::commit(&bootstrap, "here", topic, &[(0, 4, "")]);
    // Who has gone on in the target stays there; who has members there is named.
    client::commit(&bootstrap, "ahead", topic, &[(0, 30, "")]);
    client::commit(&new.bootstrap(), "ahead", &format!("{topic}-new"), &[(0, 40, "theirs")]);
    let report = json(&migrate(topic, settings).run().expect_code(0));
    assert_eq!(verdicts(&report), ["equal_where_both_have", "equal"], "{report:#}");
    assert_eq!(outcome(&report, "ahead")["outcome"], "kept");
    let kept = client::committed(&new.bootstrap(), "ahead", &format!("{topic}-new"), 2);
    assert_eq!(kept[&0], (40, "theirs".to_owned()));
    go_on(topic, 2, &["here".to_owned()]);
    client::delete_records(&new.bootstrap(), &format!("{topic}-new"), 1, 2);
    let report = json(&migrate(topic, settings).run().expect_code(0));
    assert_eq!(verdicts(&report), ["equal_where_both_have"; 2], "{report:#}");

    client::commit(&bootstrap, "at: 5", topic, &[(0, ends[&0].1, "")]);
    let member = Member::join(&new.bootstrap(), "at: 5", &format!("{topic}-new"));
    let refused = migrate(topic, settings).run().expect_code(3);
    let report = json(&refused);
    let why = outcome(&report, "at: 5")["why"].as_str().unwrap_or_default();
    assert!(
        why.contains("UNKNOWN_MEMBER_ID") && why.contains("has members in the target already"),
        "{report:#}"
    );
    drop(member);
    migrate(topic, settings).run().expect_code(0);
    go_on(topic, 1, &["at: 5".to_owned()]);
}

#[test]
fn groups_of_a_log_that_was_compacted_since_miss_nothing_that_is_left() {
    let (old, _) = clusters();
    let (bootstrap, topic) = (old.bootstrap(), "shrinks");
    let configs =
        [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "3600000"), ("segment.ms", "500")];
    client::create_topic(&bootstrap, topic, 1, 1, &configs);
    let producer = Producer::new(&bootstrap, &[("batch.num.messages", "7")]);
    let round: Vec<_> =
        (0..300).map(|n| NewRecord::new(format!("{}", n * n % 37), format!("value {n}"))).collect();
    producer.send(topic, &round);
    let report = json(&migrate(topic, "").run().expect_code(0));
    assert_eq!(verdicts(&report), ["equal"], "{report:#}");

    old.tool_output(
        "kafka.admin.ConfigCommand",
        &[
            "--alter",
            "--entity-type",
            "topics",
            "--entity-name",
            topic,
            "--add-config",
            "min.compaction.lag.ms=0,min.cleanable.dirty.ratio=0.001,max.compaction.lag.ms=1000",
        ],
    );
    // Only what lies before the segment that is written to is compacted.
    std::thread::sleep(Duration::from_secs(1));
    producer.send(topic, &[NewRecord::new("next segment", "value")]);
    let left = || client::read_all(&bootstrap, topic, Isolation::ReadCommitted).len();
    wait_until(LIMIT, || if left() < 150 { Ok(()) } else { Err(format!("{} are left", left())) })
        .expect("the cleaner");
    let groups: Vec<String> = (0..=300).step_by(13).chain([299, 300]).map(|n| format!("old {n}")).collect();
    for group in &groups {
        let offset = group.trim_start_matches("old ").parse().expect("a number");
        client::commit(&bootstrap, group, topic, &[(0, offset, "")]);
    }
    producer.send(topic, &[NewRecord::new("last", "value")]);
    let report = json(&migrate(topic, "").run().expect_code(0));
    assert_eq!(report["partitions"][0]["records"], json!(302));
    assert_eq!(verdicts(&report), ["compacted"], "{report:#}");
    go_on(topic, 1, &groups);
}

#[test]
fn who_wants_neither_gets_neither() {
    let (old, new) = clusters();
    client::create_topic(&old.bootstrap(), "neither", 2, 1, &[]);
    Producer::new(&old.bootstrap(), &[]).send("neither", &records("some", 5));
    client::commit(&old.bootstrap(), "neither", "neither", &[(0, 3, "")]);
    let settings = "  consumer_group_offsets: skip\n  proof: false\n";
    let report = json(&migrate("neither", settings).run().expect_code(0));
    assert_eq!((&report["groups"], verdicts(&report)), (&json!([]), vec![""; 2]));
    assert!(client::committed(&new.bootstrap(), "neither", "neither-new", 1).is_empty());
}

#[test]
fn what_the_target_had_before_and_what_it_has_lost_since_are_said() {
    let (old, new) = clusters();
    let (here, there) = (old.bootstrap(), new.bootstrap());
    let (topic, target) = ("behind", "behind-new");
    for (bootstrap, name) in [(&here, topic), (&there, target)] {
        client::create_topic(bootstrap, name, 2, 1, &[]);
        Producer::new(bootstrap, &[]).send(name, &records("of its own", 30));
    }
    // In the target it has not read to the end what was there before; another one has, a third one comes anew.
    for group in ["unread", "read", "new"] {
        client::commit(&here, group, topic, &[(0, 6, "")]);
    }
    client::commit(&there, "unread", target, &[(0, 4, "")]);
    client::commit(&there, "read", target, &[(0, 20, "")]);
    let settings = "  into_non_empty: append\n  consumer_groups: [unread, read, new, nobody]\n";
    let report = json(&migrate(topic, settings).run().expect_code(3));
    let why = outcome(&report, "unread")["why"].as_str().unwrap_or_default();
    assert!(why.contains("at offset 4") && why.contains("let it read up to 20"), "{report:#}");
    assert_eq!(client::committed(&there, "unread", target, 2)[&0].0, 4);
    for group in ["read", "new"] {
        assert_eq!(outcome(&report, group)["outcome"], "committed", "{report:#}");
        assert_eq!(client::committed(&there, group, target, 2)[&0].0, 26);
    }
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("group nobody has committed nothing"), "{warnings}");
    assert_eq!(verdicts(&report), ["equal"; 2], "{report:#}");

    // What the target has deleted meanwhile no group can go on at.
    client::delete_records(&there, target, 0, 29);
    client::commit(&here, "late", topic, &[(0, 7, "")]);
    let settings = "  into_non_empty: append\n  consumer_groups: [late]\n";
    let report = json(&migrate(topic, settings).run().expect_code(0));
    let late = outcome(&report, "late");
    assert_eq!((&late["target_offset"], &late["outcome"]), (&json!(29), &json!("committed")), "{report:#}");
    assert!(late["why"].as_str().is_some_and(|why| why.contains("has deleted 2")), "{report:#}");
    assert_eq!(verdicts(&report), ["equal_where_both_have", "equal"], "{report:#}");
}
