//! Logs that change under a backup: deleted and made again, cut at either end, compacted, full of transactions.
//!
//! Whatever happens, what the archive held stays as it was, what is lost is a gap with its exact offsets, and two histories are
//! never mixed.

#![allow(clippy::print_stdout, reason = "a failed run is replayed by what it printed")]

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sandbox::binary::Running;
use sandbox::client::{self, Compared, Isolation, NewRecord, Producer, Rec};
use sandbox::job::{Job, folder, lineages};
use sandbox::kafka::{FAST_CLEANING, KafkaCluster, KafkaVersion};
use sandbox::process::wait_until;
use sandbox::raw;
use sandbox::scratch::Scratch;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// One cluster of each version for all tests here, which use topics of their own. Killed when the test program ends.
fn cluster(version: KafkaVersion) -> &'static KafkaCluster {
    static CLUSTERS: [OnceLock<KafkaCluster>; 2] = [const { OnceLock::new() }; 2];
    let index = usize::from(version == KafkaVersion::V4);
    CLUSTERS[index].get_or_init(|| KafkaCluster::start(version, 1, FAST_CLEANING))
}

fn records(text: &str, count: usize) -> Vec<NewRecord> {
    (0..count).map(|n| NewRecord::new(format!("{n}"), format!("{text} {n}"))).collect()
}

/// One batch.
fn write(bootstrap: &str, topic: &str, text: &str, count: usize) {
    Producer::new(bootstrap, &[]).send(topic, &records(text, count));
}

fn read(bootstrap: &str, topic: &str) -> Vec<Rec> {
    client::read_all(bootstrap, topic, Isolation::ReadCommitted)
}

fn same(topic: &str, expected: &[Rec], found: &[Rec]) {
    client::assert_same(topic, expected, found, Compared::Everything);
}

/// Waits for the markers: a producer is told that its transaction has ended before they are written.
fn decided(bootstrap: &str, topic: &str) {
    let ends = |isolation| client::watermarks(bootstrap, topic, isolation);
    let is_decided = || match ends(Isolation::ReadCommitted) == ends(Isolation::ReadUncommitted) {
        true => Ok(()),
        false => Err("a transaction is open".to_owned()),
    };
    wait_until(LIMIT, is_decided).expect("the markers");
}

/// What the archive has of a history that may be an old one.
fn dump_lineage(job: &Job, topic: &str, partition: i32, lineage: &Value) -> Vec<Rec> {
    let id = lineage["lineage"].as_str().unwrap_or_default();
    job.dump(topic, partition, Isolation::ReadCommitted, &["--lineage", id])
}

/// Restores one history of a partition, an old one perhaps, under another name, and compares.
fn restore_lineage(job: &Job, bootstrap: &str, topic: &str, lineage: &Value, expected: &[Rec]) {
    let id = lineage["lineage"].as_str().unwrap_or_default();
    let target = format!("{topic}-back-{id}");
    let restore = job
        .restore(bootstrap)
        .topics(&[topic])
        .set(&format!("topic_mapping: {{{topic}: {target}}}"))
        .set(&format!("lineage: {{{topic}-0: {id}}}"))
        // The topic may have had more partitions in another history.
        .set("source_partitions: [0]");
    let report = restore.run(0);
    assert_eq!(report["verdict"], "proven", "{report}");
    let found = if expected.is_empty() { Vec::new() } else { read(bootstrap, &target) };
    client::assert_same(&target, expected, &found, Compared::Content);
}

fn wait_for_position(job: &Job, topic: &str, end: i64, daemon: &Running) {
    let there = wait_until(LIMIT, || match job.position(topic, 0) {
        position if position >= end => Ok(()),
        position => Err(format!("{topic}-0 is backed up to {position}, not to {end}")),
    });
    there.unwrap_or_else(|error| panic!("{error}\n{}", daemon.stderr()));
}

fn wait_for_lineages(job: &Job, topic: &str, count: usize, daemon: &Running) -> Vec<Value> {
    let there = wait_until(LIMIT, || match job.lineages(topic, 0) {
        found if found.len() >= count => Ok(found),
        found => Err(format!("{topic}-0 has {} histories, not {count}", found.len())),
    });
    there.unwrap_or_else(|error| panic!("{error}\n{}", daemon.stderr()))
}

fn stop(daemon: Running, code: i32) -> Value {
    daemon.signal("TERM");
    sandbox::job::json(&daemon.wait().expect_code(code))
}

/// A daemon that notices soon and commits soon.
fn quick(job: Job) -> Job {
    job.set("refresh_interval: 1s").set("segment_max_interval_ms: 100")
}

// B7

#[test]
fn a_recreated_topic_begins_a_history_and_keeps_the_old_one() {
    for version in KafkaVersion::ALL {
        let bootstrap = cluster(version).bootstrap();
        let scratch = Scratch::new("recreated");
        let topic = "recreated";
        let job = Job::new("recreated", &bootstrap, &folder(scratch.path())).topics(&[topic]);
        let mut histories = Vec::new();
        // More records than before, so that the old position is a valid offset; then fewer; then none.
        for (round, count) in [20, 50, 3, 0].into_iter().enumerate() {
            if round > 0 {
                client::delete_topics(&bootstrap, &[topic]);
            }
            client::create_topic(&bootstrap, topic, 1 + i32::from(round == 1), 1, &[]);
            if count > 0 {
                write(&bootstrap, topic, &format!("round {round}"), count);
            }
            histories.push(read(&bootstrap, topic));
            let report = job.back_up(0);
            let begun = if round == 0 { 0 } else { 1 };
            assert_eq!(report["lineages"].as_array().map(Vec::len), Some(begun), "{report}");
            let found = job.lineages(topic, 0);
            assert_eq!(found.len(), histories.len(), "{found:?}");
            for (lineage, expected) in found.iter().zip(&histories) {
                same(topic, expected, &dump_lineage(&job, topic, 0, lineage));
                assert_eq!(lineage["gaps"], json!([]));
            }
            assert_eq!(found[round]["reason"], if round == 0 { "first" } else { "recreated" });
        }
        // The second partition existed once.
        assert_eq!(job.lineages(topic, 1).len(), 1);
        job.verify();
        for (lineage, expected) in job.lineages(topic, 0).iter().zip(&histories) {
            restore_lineage(&job, &bootstrap, topic, lineage, expected);
        }
    }
}

#[test]
fn a_topic_recreated_under_a_daemon_begins_a_history() {
    for version in KafkaVersion::ALL {
        let bootstrap = cluster(version).bootstrap();
        let scratch = Scratch::new("recreated-daemon");
        let topics = ["at-once", "later", "empty", "absent"];
        let job = quick(Job::new("recreated-daemon", &bootstrap, &folder(scratch.path())).topics(&topics));
        let make = |topic: &str, text: &str, count: usize| {
            client::create_topic(&bootstrap, topic, 1, 1, &[]);
            if count > 0 {
                write(&bootstrap, topic, text, count);
            }
            read(&bootstrap, topic)
        };
        let absent = make("absent", "old", 7);
        job.back_up(0);
        client::delete_topics(&bootstrap, &["absent"]);

        let (at_once, later) = (make("at-once", "old", 10), make("later", "old", 5));
        make("empty", "", 0);
        let mut daemon = job.continuous().start();
        wait_for_position(&job, "at-once", 10, &daemon);
        wait_for_position(&job, "later", 5, &daemon);
        client::delete_topics(&bootstrap, &["at-once", "empty"]);
        let at_once = [at_once, make("at-once", "new", 30)];
        let empty = make("empty", "new", 3);
        client::delete_topics(&bootstrap, &["later"]);
        daemon.wait_for("later-0");
        std::thread::sleep(Duration::from_secs(3));
        let later = [later, make("later", "new", 9)];
        let absent = [absent, make("absent", "new", 2)];
        for (topic, histories) in [("at-once", &at_once), ("later", &later), ("absent", &absent)] {
            let found = wait_for_lineages(&job, topic, 2, &daemon);
            wait_for_position(&job, topic, histories[1].len() as i64, &daemon);
            assert_eq!(found[1]["reason"], "recreated");
            for (lineage, expected) in found.iter().zip(histories) {
                same(topic, expected, &dump_lineage(&job, topic, 0, lineage));
            }
        }
        wait_for_position(&job, "empty", 3, &daemon);
        same("empty", &empty, &job.dump_all("empty", Isolation::ReadCommitted));
        stop(daemon, 0);
        job.verify();
    }
}

// B9

fn gaps(job: &Job, topic: &str) -> Value {
    job.lineages(topic, 0).last().map_or(Value::Null, |lineage| lineage["gaps"].clone())
}

#[test]
fn what_retention_took_is_a_gap_and_no_more_than_that() {
    for version in KafkaVersion::ALL {
        let bootstrap = cluster(version).bootstrap();
        let scratch = Scratch::new("overtaken");
        let topic = "overtaken";
        let job = Job::new("overtaken", &bootstrap, &folder(scratch.path())).topics(&[topic]);
        client::create_topic(&bootstrap, topic, 1, 1, &[]);
        let ten = |text: &str| write(&bootstrap, topic, text, 10);
        ten("kept");
        let mut expected = read(&bootstrap, topic);
        job.back_up(0);

        ten("lost");
        ten("left");
        client::delete_records(&bootstrap, topic, 0, 20);
        expected.extend(read(&bootstrap, topic));
        let report = job.back_up(3);
        let gap = json!({"topic": topic, "partition": 0, "first": 10, "end": 20, "reason": "retention", "loss": true});
        assert_eq!(report["gaps"], json!([gap]));
        assert_eq!(gaps(&job, topic), json!([{"first": 10, "end": 20, "reason": "retention"}]));
        same(topic, &expected, &job.dump_all(topic, Isolation::ReadCommitted));
        // It is told once.
        assert_eq!(job.back_up(0)["gaps"], json!([]));

        // The log starts inside the next batch, which is there as a whole.
        ten("cut");
        ten("left");
        expected.extend(client::read_partitions(&bootstrap, topic, Isolation::ReadCommitted, &from(30, 50)));
        client::delete_records(&bootstrap, topic, 0, 35);
        assert_eq!(job.back_up(0)["gaps"], json!([]));
        same(topic, &expected, &job.dump_all(topic, Isolation::ReadCommitted));

        // A batch is lost, and the log starts inside the one behind it.
        ten("lost");
        ten("cut");
        expected.extend(client::read_partitions(&bootstrap, topic, Isolation::ReadCommitted, &from(60, 70)));
        client::delete_records(&bootstrap, topic, 0, 65);
        job.back_up(3);
        assert_eq!(gaps(&job, topic)[1], json!({"first": 50, "end": 60, "reason": "retention"}));
        same(topic, &expected, &job.dump_all(topic, Isolation::ReadCommitted));

        // Everything is gone, the position is the end.
        ten("lost");
        client::delete_records(&bootstrap, topic, 0, 80);
        job.back_up(3);
        assert_eq!(gaps(&job, topic)[2], json!({"first": 70, "end": 80, "reason": "retention"}));
        assert_eq!(job.position(topic, 0), 80);
        ten("left");
        expected.extend(read(&bootstrap, topic));
        assert_eq!(job.back_up(0)["gaps"], json!([]));
        same(topic, &expected, &job.dump_all(topic, Isolation::ReadCommitted));
        job.verify();
    }
}

fn from(start: i64, end: i64) -> BTreeMap<i32, (i64, i64)> {
    BTreeMap::from([(0, (start, end))])
}

#[test]
fn what_retention_took_from_a_daemon_is_a_gap() {
    let bootstrap = cluster(KafkaVersion::V4).bootstrap();
    let scratch = Scratch::new("overtaken-daemon");
    let topic = "overtaken-daemon";
    let job = quick(Job::new("overtaken-daemon", &bootstrap, &folder(scratch.path())).topics(&[topic]));
    client::create_topic(&bootstrap, topic, 1, 1, &[]);
    write(&bootstrap, topic, "kept", 10);
    let kept = read(&bootstrap, topic);
    let daemon = job.continuous().start();
    wait_for_position(&job, topic, 10, &daemon);
    daemon.signal("STOP");
    // The answer to the fetch that waits at the broker brings the first of these all the same.
    write(&bootstrap, topic, "in flight", 10);
    let in_flight = client::read_partitions(&bootstrap, topic, Isolation::ReadCommitted, &from(10, 20));
    std::thread::sleep(Duration::from_secs(1));
    write(&bootstrap, topic, "lost", 10);
    write(&bootstrap, topic, "left", 10);
    client::delete_records(&bootstrap, topic, 0, 30);
    let left = read(&bootstrap, topic);
    daemon.signal("CONT");
    wait_for_position(&job, topic, 40, &daemon);
    let gap = gaps(&job, topic)[0].clone();
    assert_eq!((&gap["end"], &gap["reason"]), (&json!(30), &json!("retention")), "{gap}");
    let expected = match gap["first"].as_i64() {
        Some(20) => [kept, in_flight, left].concat(),
        Some(10) => [kept, left].concat(),
        other => panic!("the gap begins at {other:?}"),
    };
    same(topic, &expected, &job.dump_all(topic, Isolation::ReadCommitted));
    // It goes on, and says at the end that something is missing.
    write(&bootstrap, topic, "more", 10);
    wait_for_position(&job, topic, 50, &daemon);
    assert_eq!(stop(daemon, 3)["gaps"].as_array().map(Vec::len), Some(1));
    job.verify();
}

// P8

/// A job that was pointed at another cluster by mistake, and back.
#[test]
fn another_cluster_behind_the_same_backup_begins_a_history_and_so_does_the_way_back() {
    let scratch = Scratch::new("other-cluster");
    let topic = "other-cluster";
    let job = |version: KafkaVersion| {
        Job::new("other-cluster", &cluster(version).bootstrap(), &folder(scratch.path())).topics(&[topic])
    };
    let mut histories = Vec::new();
    for (version, count) in [(KafkaVersion::V3_9, 10), (KafkaVersion::V4, 30)] {
        // More records than before, so that the old position is a valid offset.
        let bootstrap = cluster(version).bootstrap();
        client::create_topic(&bootstrap, topic, 1, 1, &[]);
        write(&bootstrap, topic, version.name(), count);
        histories.push(read(&bootstrap, topic));
        let report = job(version).back_up(0);
        let begun = if histories.len() == 1 {
            json!([])
        } else {
            json!([{"topic": topic, "partition": 0, "reason": "recreated"}])
        };
        assert_eq!(report["lineages"], begun, "{report}");
    }
    let found = job(KafkaVersion::V4).lineages(topic, 0);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_ne!(found[0]["cluster_id"], found[1]["cluster_id"]);
    for (lineage, expected) in found.iter().zip(&histories) {
        same(topic, expected, &dump_lineage(&job(KafkaVersion::V4), topic, 0, lineage));
        restore_lineage(
            &job(KafkaVersion::V4),
            &cluster(KafkaVersion::V4).bootstrap(),
            topic,
            lineage,
            expected,
        );
    }
    // Back at the first cluster, which has gone on meanwhile.
    let home = cluster(KafkaVersion::V3_9).bootstrap();
    write(&home, topic, "later", 7);
    job(KafkaVersion::V3_9).back_up(0);
    assert_eq!(job(KafkaVersion::V3_9).lineages(topic, 0).len(), 3);
    assert_eq!(job(KafkaVersion::V3_9).back_up(0)["records"], json!(0));
    same(topic, &read(&home, topic), &job(KafkaVersion::V3_9).dump_all(topic, Isolation::ReadCommitted));
    job(KafkaVersion::V3_9).verify();
    let old = dump_lineage(&job(KafkaVersion::V4), topic, 0, &found[1]);
    same(topic, &histories[1], &old);
}

// B6

fn truncated(version: KafkaVersion) {
    let mut cluster = KafkaCluster::start(version, 3, FAST_CLEANING);
    let bootstrap = cluster.bootstrap();
    let topic = "truncated";
    let configs = [("unclean.leader.election.enable", "true"), ("min.insync.replicas", "1")];
    client::create_topic(&bootstrap, topic, 1, 2, &configs);
    let scratch = Scratch::new("truncated");
    let job = Job::new("truncated", &bootstrap, &folder(scratch.path())).topics(&[topic]);
    write(&bootstrap, topic, "shared", 10);
    let (leader, replicas) = client::placement(&bootstrap, topic, 0);
    let follower = replicas.into_iter().find(|replica| *replica != leader).expect("two replicas");
    cluster.stop_broker(follower);
    // Only the leader has these, and the backup sees them once the follower is out of the in-sync set.
    write(&bootstrap, topic, "superseded", 10);
    let old = read(&bootstrap, topic);
    assert_eq!(old.len(), 20);
    job.back_up(0);
    cluster.kill9(leader);
    cluster.restart(follower);
    let elected = wait_until(LIMIT, || match client::placement(&bootstrap, topic, 0).0 {
        now if now == follower => Ok(()),
        now => Err(format!("broker {now} leads, not {follower}")),
    });
    elected.unwrap_or_else(|error| panic!("{error}"));
    // The same offsets again and more of them, so that the position is inside the log and nothing looks wrong there.
    write(&bootstrap, topic, "rewritten", 15);
    let new = read(&bootstrap, topic);
    assert_eq!((new.len(), new[10].value.as_deref()), (25, Some(&b"rewritten 0"[..])));

    let report = job.back_up(0);
    assert_eq!(report["lineages"], json!([{"topic": topic, "partition": 0, "reason": "truncated"}]));
    let found = job.lineages(topic, 0);
    assert_eq!(found.len(), 2);
    assert_eq!(
        (&found[1]["fork"]["parent"], &found[1]["fork"]["offset"]),
        (&found[0]["lineage"], &json!(10))
    );
    same(topic, &old, &dump_lineage(&job, topic, 0, &found[0]));
    same(topic, &new, &dump_lineage(&job, topic, 0, &found[1]));
    assert_eq!(job.back_up(0)["records"], json!(0));
    // The old leader comes back and cuts its log; the daemon that follows sees nothing of it.
    cluster.restart(leader);
    write(&bootstrap, topic, "after", 5);
    let new = read(&bootstrap, topic);
    assert_eq!(job.back_up(0)["lineages"], json!([]));
    same(topic, &new, &job.dump_all(topic, Isolation::ReadCommitted));
    job.verify();
    // Either history comes back, the fork with what it shares with its parent.
    restore_lineage(&job, &bootstrap, topic, &found[0], &old);
    restore_lineage(&job, &bootstrap, topic, &found[1], &new);
    if version == KafkaVersion::V4 {
        truncated_under_a_daemon(&mut cluster);
    }
    cluster.stop();
}

/// As [`truncated`], with a daemon that reads from the leader that is lost and goes on at the one that knows less.
fn truncated_under_a_daemon(cluster: &mut KafkaCluster) {
    let bootstrap = cluster.bootstrap();
    let topic = "truncated-daemon";
    let configs = [("unclean.leader.election.enable", "true"), ("min.insync.replicas", "1")];
    client::create_topic(&bootstrap, topic, 1, 2, &configs);
    let scratch = Scratch::new("truncated-daemon");
    let job = quick(Job::new("truncated-daemon", &bootstrap, &folder(scratch.path())).topics(&[topic]));
    write(&bootstrap, topic, "shared", 10);
    let (leader, replicas) = client::placement(&bootstrap, topic, 0);
    let follower = replicas.into_iter().find(|replica| *replica != leader).expect("two replicas");
    let daemon = job.continuous().start();
    wait_for_position(&job, topic, 10, &daemon);
    cluster.stop_broker(follower);
    write(&bootstrap, topic, "superseded", 10);
    wait_for_position(&job, topic, 20, &daemon);
    let old = read(&bootstrap, topic);
    cluster.kill9(leader);
    cluster.restart(follower);
    let elected = wait_until(LIMIT, || match client::placement(&bootstrap, topic, 0).0 {
        now if now == follower => Ok(()),
        now => Err(format!("broker {now} leads, not {follower}")),
    });
    elected.unwrap_or_else(|error| panic!("{error}\n{}", daemon.stderr()));
    write(&bootstrap, topic, "rewritten", 15);
    let new = read(&bootstrap, topic);
    assert_eq!((old.len(), new.len()), (20, 25));
    let found = wait_for_lineages(&job, topic, 2, &daemon);
    wait_for_position(&job, topic, 25, &daemon);
    assert_eq!(found[1]["reason"], "truncated");
    assert_eq!(
        (&found[1]["fork"]["parent"], &found[1]["fork"]["offset"]),
        (&found[0]["lineage"], &json!(10))
    );
    same(topic, &old, &dump_lineage(&job, topic, 0, &found[0]));
    same(topic, &new, &dump_lineage(&job, topic, 0, &found[1]));
    cluster.restart(leader);
    write(&bootstrap, topic, "after", 5);
    wait_for_position(&job, topic, 30, &daemon);
    let report = stop(daemon, 0);
    assert_eq!(report["lineages"], json!([{"topic": topic, "partition": 0, "reason": "truncated"}]));
    same(topic, &read(&bootstrap, topic), &job.dump_all(topic, Isolation::ReadCommitted));
    job.verify();
}

#[test]
fn kafka_3_9_truncation_below_the_position_forks_the_history() {
    truncated(KafkaVersion::V3_9);
}

#[test]
fn kafka_4_truncation_below_the_position_forks_the_history() {
    truncated(KafkaVersion::V4);
}

// B10

#[test]
fn compaction_under_a_running_backup_loses_nothing_that_the_log_still_has() {
    let bootstrap = cluster(KafkaVersion::V4).bootstrap();
    let scratch = Scratch::new("compacting");
    let topic = "compacting";
    let configs = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("segment.ms", "500"),
        ("max.compaction.lag.ms", "600"),
    ];
    client::create_topic(&bootstrap, topic, 1, 1, &configs);
    let storage = folder(scratch.path());
    let following = quick(Job::new("following", &bootstrap, &storage).topics(&[topic]));
    let now_and_then = Job::new("now-and-then", &bootstrap, &storage).topics(&[topic]);
    let daemon = following.continuous().start();
    let producer = Producer::new(&bootstrap, &[("batch.num.messages", "25")]);
    for turn in 0..12 {
        let round: Vec<_> = (0..200)
            .map(|n| {
                let record = NewRecord::new(format!("key {}", n * 11 % 40), format!("{turn} {n}"));
                if n % 50 == 49 { record.tombstone() } else { record }
            })
            .collect();
        producer.send(topic, &round);
        std::thread::sleep(Duration::from_millis(700));
        if turn % 3 == 0 {
            now_and_then.back_up(0);
        }
    }
    let before = read(&bootstrap, topic);
    assert!(before.len() < 2400, "nothing was compacted");
    let end = client::watermarks(&bootstrap, topic, Isolation::ReadUncommitted)[&0].1;
    wait_for_position(&following, topic, end, &daemon);
    let report = stop(daemon, 0);
    assert_eq!(report["failed"], json!([]));
    now_and_then.back_up(0);
    for job in [&following, &now_and_then] {
        let found = job.dump_all(topic, Isolation::ReadCommitted);
        assert!(found.windows(2).all(|pair| pair[0].offset < pair[1].offset));
        let by_offset: BTreeMap<i64, &Rec> = found.iter().map(|record| (record.offset, record)).collect();
        for record in read(&bootstrap, topic) {
            assert_eq!(by_offset.get(&record.offset), Some(&&record));
        }
        // A consumer that folds both into a map ends with the same one.
        let fold = |records: &[Rec]| -> BTreeMap<Option<Vec<u8>>, Vec<u8>> {
            let mut map = BTreeMap::new();
            for record in records {
                match &record.value {
                    Some(value) => drop(map.insert(record.key.clone(), value.clone())),
                    None => drop(map.remove(&record.key)),
                }
            }
            map
        };
        assert_eq!(fold(&found), fold(&before));
        let lost = |gap: &Value| gap["reason"] != "compacted";
        assert!(!gaps(job, topic).as_array().is_some_and(|gaps| gaps.iter().any(lost)));
        job.verify();
    }
}

// B11, B12

#[test]
fn interleaved_transactions_survive_backups_that_stop_and_die_in_their_midst() {
    let seed: u64 = rand::random();
    for version in KafkaVersion::ALL {
        println!("seed {seed}");
        interleaved(version, StdRng::seed_from_u64(seed));
    }
}

fn interleaved(version: KafkaVersion, mut rng: StdRng) {
    let bootstrap = cluster(version).bootstrap();
    let scratch = Scratch::new("interleaved");
    let topic = "interleaved";
    client::create_topic(&bootstrap, topic, 1, 1, &[]);
    let storage = folder(scratch.path());
    let committed =
        Job::new("committed", &bootstrap, &storage).topics(&[topic]).set("segment_max_records: 7");
    let uncommitted = Job::new("uncommitted", &bootstrap, &storage)
        .topics(&[topic])
        .set("segment_max_records: 7")
        .set("isolation: read_uncommitted");
    let open = |who: usize| Producer::transactional(&bootstrap, &format!("interleaved {who}"), &[]);
    let mut producers: Vec<(Producer, bool)> = (0..6).map(|who| (open(who), false)).collect();
    let plain = Producer::new(&bootstrap, &[]);
    for step in 0..120 {
        let who = rng.random_range(0..=producers.len());
        let text = format!("{step} of {who}");
        let Some((producer, in_transaction)) = producers.get_mut(who) else {
            plain.send(topic, &records(&text, 2));
            continue;
        };
        match rng.random_range(0..10) {
            0..=5 => {
                if !*in_transaction {
                    producer.begin();
                    *in_transaction = true;
                }
                producer.send(topic, &records(&text, rng.random_range(1..6)));
            }
            // The next producer of the same id gets a higher epoch, and what this one left open is aborted.
            6 => {
                *producer = open(who);
                *in_transaction = false;
            }
            choice if *in_transaction => {
                if choice < 8 {
                    producer.abort()
                } else {
                    producer.commit()
                }
                *in_transaction = false;
            }
            _ => {}
        }
        if step % 8 == 7 {
            let job = [&committed, &uncommitted].choose(&mut rng).copied().unwrap_or(&committed);
            match rng.random_range(0..3) {
                // Undecided transactions make it 3.
                0 => assert!(matches!(job.once().run().code(), Some(0 | 3))),
                1 => drop(job.once().run_and_kill(Duration::from_millis(rng.random_range(30..500)))),
                _ => {
                    let points =
                        ["before_segment_put", "after_segment_put", "before_commit_put", "after_commit_put"];
                    let point = points.choose(&mut rng).copied().unwrap_or_default();
                    job.once()
                        .env("REPLEVIN_FAILPOINT", &format!("{point}:{}", rng.random_range(1..4)))
                        .run();
                }
            }
        }
    }
    for (producer, in_transaction) in &producers {
        if *in_transaction {
            producer.commit();
        }
    }
    decided(&bootstrap, topic);
    let batches = raw::fetch(&bootstrap, topic, 0, 0);
    for job in [&committed, &uncommitted] {
        job.back_up(0);
        for isolation in Isolation::ALL {
            same(topic, &client::read_all(&bootstrap, topic, isolation), &job.dump_all(topic, isolation));
        }
        assert!(job.log_bytes(topic, 0) == batches, "the batches differ");
        job.verify();
    }
}

#[test]
fn an_abort_marker_at_the_end_of_a_run_says_nothing_about_the_next_transaction() {
    let bootstrap = cluster(KafkaVersion::V4).bootstrap();
    let scratch = Scratch::new("marker");
    let topic = "marker";
    client::create_topic(&bootstrap, topic, 1, 1, &[]);
    let job = Job::new("marker", &bootstrap, &folder(scratch.path())).topics(&[topic]);
    let producer = Producer::transactional(&bootstrap, "marker", &[]);
    for round in 0..3 {
        producer.begin();
        producer.send(topic, &records(&format!("aborted {round}"), 2));
        producer.abort();
        decided(&bootstrap, topic);
        job.back_up(0);
        producer.begin();
        producer.send(topic, &records(&format!("committed {round}"), 2));
        producer.commit();
        decided(&bootstrap, topic);
        job.back_up(0);
        same(topic, &read(&bootstrap, topic), &job.dump_all(topic, Isolation::ReadCommitted));
    }
    job.verify();
}

#[test]
fn an_open_transaction_holds_the_backup_back_until_it_ends() {
    for version in KafkaVersion::ALL {
        let bootstrap = cluster(version).bootstrap();
        let scratch = Scratch::new("hanging");
        let topic = "hanging";
        client::create_topic(&bootstrap, topic, 1, 1, &[]);
        let job = Job::new("hanging", &bootstrap, &folder(scratch.path())).topics(&[topic]);
        write(&bootstrap, topic, "before", 5);
        let producer = Producer::transactional(&bootstrap, "hanging", &[]);
        producer.begin();
        producer.send(topic, &records("undecided", 3));
        write(&bootstrap, topic, "behind", 4);
        for _ in 0..2 {
            let finished = job.once().run().expect_code(3);
            let held = json!([{"topic": topic, "partition": 0, "first": 5, "end": 12}]);
            assert_eq!(sandbox::job::json(&finished)["held_back"], held);
            assert_eq!(job.position(topic, 0), 5);
        }
        same(topic, &read(&bootstrap, topic), &job.dump_all(topic, Isolation::ReadCommitted));
        producer.commit();
        decided(&bootstrap, topic);
        assert_eq!(job.back_up(0)["held_back"], json!([]));
        let expected = read(&bootstrap, topic);
        assert_eq!(expected.len(), 12);
        same(topic, &expected, &job.dump_all(topic, Isolation::ReadCommitted));
        assert_eq!(lineages(&job.describe(), topic, 0).len(), 1);
        job.verify();
    }
}

#[test]
fn what_a_transaction_held_when_a_run_began_is_backed_up_or_named_when_it_ends_in_its_midst() {
    let bootstrap = cluster(KafkaVersion::V4).bootstrap();
    let scratch = Scratch::new("decided");
    let topic = "decided";
    client::create_topic(&bootstrap, topic, 1, 1, &[]);
    let job = Job::new("decided", &bootstrap, &folder(scratch.path())).topics(&[topic]);
    let producer = Producer::transactional(&bootstrap, "decided", &[]);
    let mut midway = 0;
    for delay in (0..400).step_by(20).map(Duration::from_millis) {
        producer.begin();
        producer.send(topic, &records("undecided", 3));
        write(&bootstrap, topic, "behind", 2);
        let (_, end) = client::watermarks(&bootstrap, topic, Isolation::ReadUncommitted)[&0];
        let finished = std::thread::scope(|scope| {
            let run = scope.spawn(|| job.once().run());
            std::thread::sleep(delay);
            producer.commit();
            run.join().expect("the run")
        });
        let position = job.position(topic, 0);
        match sandbox::job::json(&finished)["held_back"].as_array().map(Vec::as_slice) {
            Some([]) => {
                finished.expect_code(0);
                assert!(position >= end, "at {position} of {end}, and nothing is held back");
                midway += usize::from(delay > Duration::ZERO);
            }
            Some([range]) => {
                finished.expect_code(3);
                assert_eq!((&range["first"], range["end"].as_i64()), (&json!(position), Some(end)));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(midway > 0, "no run was longer than its transaction");
    decided(&bootstrap, topic);
    job.back_up(0);
    same(topic, &read(&bootstrap, topic), &job.dump_all(topic, Isolation::ReadCommitted));
    job.verify();
}
