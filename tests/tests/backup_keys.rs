//! Keys of a backup, each in a run of its own: where it begins and ends, what it takes, how it stores, how much memory it has.

use sandbox::client::{self, Compared, Isolation, NewRecord, Producer, Rec};
use sandbox::fixtures;
use sandbox::job::{Job, folder, json, lineages};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::kafka_tools::TOPICS;
use sandbox::process::wait_until;
use sandbox::scratch::Scratch;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]))
}

fn bootstrap() -> String {
    cluster().bootstrap()
}

fn job(id: &str, scratch: &Scratch, topics: &[&str]) -> Job {
    Job::new(id, &bootstrap(), &folder(scratch.path())).topics(topics)
}

/// Records in batches of ten, so that a position between batches is a multiple of ten.
fn write(topic: &str, partition: i32, text: &str, count: usize) {
    for start in (0..count).step_by(10) {
        let record = |n: usize| NewRecord::new(format!("{n}"), format!("{text} {n}")).partition(partition);
        let records: Vec<_> = (start..count.min(start + 10)).map(record).collect();
        Producer::new(&bootstrap(), &[("linger.ms", "200")]).send(topic, &records);
    }
}

fn read(topic: &str) -> Vec<Rec> {
    client::read_all(&bootstrap(), topic, Isolation::ReadCommitted)
}

fn same(topic: &str, expected: &[Rec], found: &[Rec]) {
    client::assert_same(topic, expected, found, Compared::Everything);
}

fn names(described: &Value) -> BTreeSet<String> {
    let topics = described["topics"].as_array().cloned().unwrap_or_default();
    topics.iter().filter_map(|topic| topic["topic"].as_str().map(str::to_owned)).collect()
}

/// Follows `topic` with a daemon until it has so many records of every partition: what is cut for its age in the same moment
/// shares an object, while a run with an end cuts each partition where it ends.
fn follow(job: &Job, topic: &str, partitions: i32, records: i64) {
    let daemon = job.clone().set("segment_max_interval_ms: 3000").continuous().start();
    let there = wait_until(Duration::from_secs(90), || {
        let described = job.command(&["describe"]).run();
        let described = serde_json::from_str(&described.stdout).unwrap_or_default();
        let end = |partition| lineages(&described, topic, partition).last().and_then(|l| l["end"].as_i64());
        let behind = (0..partitions).find(|partition| end(*partition) != Some(records));
        behind.map_or(Ok(()), |partition| Err(format!("{topic}-{partition} is not there")))
    });
    there.unwrap_or_else(|error| panic!("{error}\n{}", daemon.stderr()));
    daemon.signal("TERM");
    daemon.wait().expect_code(0);
}

#[test]
fn a_backup_that_begins_at_the_end_takes_what_comes_and_calls_nothing_lost() {
    let scratch = Scratch::new("latest");
    client::create_topic(&bootstrap(), "latest", 2, 1, &[]);
    write("latest", 0, "before", 20);
    let job = job("latest", &scratch, &["latest"]).set("start_offset: latest");
    assert_eq!(job.back_up(0)["records"], 0);
    assert_eq!(job.position("latest", 0), 20);
    write("latest", 0, "after", 10);
    write("latest", 1, "after", 10);
    let report = job.back_up(0);
    assert_eq!((&report["records"], &report["gaps"]), (&json!(20), &json!([])));
    let expected: Vec<Rec> =
        read("latest").into_iter().filter(|record| record.partition == 1 || record.offset >= 20).collect();
    same("latest", &expected, &job.dump_all("latest", Isolation::ReadCommitted));
    job.verify();
}

#[test]
fn what_comes_after_a_backup_began_at_the_end_is_taken_from_its_first_offset() {
    let scratch = Scratch::new("latest-new");
    client::create_topic(&bootstrap(), "latest-new", 1, 1, &[]);
    write("latest-new", 0, "before", 20);
    let job = job("latest-new", &scratch, &["latest-new*"]).set("start_offset: latest");
    assert_eq!(job.back_up(0)["records"], 0);
    // While nobody looks, the topic grows.
    let grow = ["--alter", "--topic", "latest-new", "--partitions", "2"];
    assert!(cluster().tool(TOPICS, &grow).status.success());
    write("latest-new", 1, "grown", 10);
    assert_eq!(job.back_up(0)["records"], 10);
    // A topic comes while a daemon runs, with records before that has seen it.
    let soon = job.clone().set("refresh_interval: 3s").set("segment_max_interval_ms: 200");
    let daemon = soon.continuous().start();
    let at = |topic: &'static str, end: i64| {
        let there = wait_until(Duration::from_secs(60), || match job.position(topic, 0) {
            position if position == end => Ok(()),
            position => Err(format!("{topic} is backed up to {position}, not to {end}")),
        });
        there.unwrap_or_else(|error| panic!("{error}"));
    };
    write("latest-new", 0, "while", 10);
    at("latest-new", 30);
    client::create_topic(&bootstrap(), "latest-new-too", 1, 1, &[]);
    write("latest-new-too", 0, "first", 10);
    at("latest-new-too", 10);
    daemon.signal("TERM");
    daemon.wait().expect_code(0);
    same(
        "latest-new-too",
        &read("latest-new-too"),
        &job.dump_all("latest-new-too", Isolation::ReadCommitted),
    );
    job.verify();
}

#[test]
fn a_backup_begins_where_it_is_told_partition_by_partition() {
    let scratch = Scratch::new("specific");
    client::create_topic(&bootstrap(), "specific", 3, 1, &[]);
    for partition in 0..3 {
        write("specific", partition, "record", 30);
    }
    let job = job("specific", &scratch, &["specific"])
        .set("start_offset: {specific: {specific: {0: 20, 1: 1000}}}");
    job.back_up(0);
    let expected: Vec<Rec> = read("specific")
        .into_iter()
        .filter(|record| match record.partition {
            0 => record.offset >= 20,
            // Beyond its end, so at its end.
            1 => false,
            _ => true,
        })
        .collect();
    same("specific", &expected, &job.dump_all("specific", Isolation::ReadCommitted));
    assert_eq!([0, 1, 2].map(|partition| job.position("specific", partition)), [30, 30, 30]);
    job.verify();
}

#[test]
fn internal_topics_are_taken_when_asked_for_and_never_else() {
    let scratch = Scratch::new("internal");
    client::create_topic(&bootstrap(), "internal-user", 1, 1, &[]);
    let producer = Producer::transactional(&bootstrap(), "internal", &[]);
    producer.begin();
    producer.send("internal-user", &[NewRecord::new("k", "v")]);
    producer.commit();
    let state = "__transaction_state";
    assert!(client::topics(&bootstrap()).contains(&state.to_owned()));
    for (id, job) in [
        ("all", job("all", &scratch, &[])),
        ("named", job("named", &scratch, &["internal-user", state])),
        ("globbed", job("globbed", &scratch, &["internal-user", "__*"])),
    ] {
        job.back_up(0);
        assert!(!names(&job.describe()).contains(state), "{id}");
    }
    let listed = job("listed", &scratch, &["internal-user"])
        .set("include_internal_topics: true")
        .set(&format!("internal_topics: [{state}]"));
    listed.back_up(0);
    assert_eq!(names(&listed.describe()), BTreeSet::from(["internal-user".to_owned(), state.to_owned()]));
    let found = listed.dump_all(state, Isolation::ReadCommitted);
    assert!(!found.is_empty());
    // Whatever was written since comes behind.
    let now = read(state);
    for partition in [0, 1] {
        let of = |records: &[Rec]| -> Vec<Rec> {
            records.iter().filter(|record| record.partition == partition).cloned().collect()
        };
        let (found, now) = (of(&found), of(&now));
        assert!(found.len() <= now.len());
        same(state, &now[..found.len()], &found);
    }
    listed.verify();
}

#[test]
fn topics_are_chosen_by_expression() {
    let scratch = Scratch::new("expression");
    for topic in ["re1", "re22", "rex", "xre1"] {
        client::create_topic(&bootstrap(), topic, 1, 1, &[]);
        write(topic, 0, topic, 3);
    }
    let job = job("expression", &scratch, &["~^re[0-9]+$"]).without(&["~.*2"]);
    job.back_up(0);
    assert_eq!(names(&job.describe()), BTreeSet::from(["re1".to_owned()]));
    same("re1", &read("re1"), &job.dump_all("re1", Isolation::ReadCommitted));
}

#[test]
fn uncompressed_batches_are_stored_as_told_and_come_back() {
    let scratch = Scratch::new("stored");
    client::create_topic(&bootstrap(), "stored", 1, 1, &[]);
    let records: Vec<_> =
        (0..2000).map(|n| NewRecord::new(format!("{n}"), format!("{n} and so on ").repeat(20))).collect();
    Producer::new(&bootstrap(), &[("compression.codec", "none")]).send("stored", &records);
    let source = read("stored");
    let mut sizes = BTreeMap::new();
    for codec in ["none", "lz4", "zstd"] {
        let job = job(codec, &scratch, &["stored"]).set(&format!("compression: {codec}"));
        job.back_up(0);
        job.verify();
        same("stored", &source, &job.dump_all("stored", Isolation::ReadCommitted));
        let lineage = job.lineages("stored", 0).remove(0);
        let raw = lineage["raw_bytes"].as_f64().unwrap_or_default();
        sizes.insert(codec, lineage["stored_bytes"].as_f64().unwrap_or_default() / raw);
        let restore = job.restore(&bootstrap()).set(&format!("topic_mapping: {{stored: stored-{codec}}}"));
        assert_eq!(restore.run(0)["verdict"], "proven");
        let back = read(&format!("stored-{codec}"));
        client::assert_same(codec, &source, &back, Compared::Content);
    }
    assert!(sizes["none"] > 1.0 && sizes["none"] < 1.1, "{sizes:?}");
    assert!(sizes["lz4"] < 0.5 && sizes["zstd"] < sizes["lz4"], "{sizes:?}");
}

/// A producer that is faster than the backup would keep one that follows it busy for ever.
#[test]
fn a_run_stops_at_the_offsets_seen_at_start_while_a_producer_goes_on() {
    let scratch = Scratch::new("moving");
    client::create_topic(&bootstrap(), "moving", 1, 1, &[]);
    write("moving", 0, "before", 50);
    let job = job("moving", &scratch, &["moving"]);
    let end = || client::watermarks(&bootstrap(), "moving", Isolation::ReadCommitted)[&0].1;
    let done = AtomicBool::new(false);
    /// Ends the producer, whether the test goes well or not: a scope waits for it either way.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let moved = |from: i64| {
        let moved = || if end() > from { Ok(()) } else { Err("the producer has sent nothing".to_owned()) };
        wait_until(Duration::from_secs(60), moved).expect("records");
    };
    thread::scope(|scope| {
        let ends = Ends(&done);
        let writer = scope.spawn(|| {
            let producer = Producer::new(&bootstrap(), &[]);
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                producer.send("moving", &[NewRecord::new(format!("{sent}"), "more")]);
                sent += 1;
            }
            sent
        });
        for _ in 0..3 {
            let before = job.position("moving", 0);
            moved(before.max(50));
            let at_start = end();
            let finished = job.once().run().expect_code(0);
            assert_eq!(json(&finished)["held_back"], json!([]));
            let position = job.position("moving", 0);
            assert!(position >= at_start && position > before, "{position} of {at_start}");
        }
        // It did go on behind what was taken.
        moved(job.position("moving", 0));
        drop(ends);
        assert!(writer.join().expect("the producer ends") > 0);
    });
    let position = usize::try_from(job.position("moving", 0)).expect("a position");
    same("moving", &read("moving")[..position], &job.dump_all("moving", Isolation::ReadCommitted));
    job.verify();
}

/// 160 MB in large partitions and 60 small ones, through 64 MiB.
#[test]
fn a_small_memory_limit_cuts_large_segments_early() {
    let scratch = Scratch::new("memory");
    let (large, small) = ("memory-large", "memory-small");
    client::create_topic(&bootstrap(), large, 4, 1, &[]);
    client::create_topic(&bootstrap(), small, 60, 1, &[]);
    let producer = Producer::new(&bootstrap(), &[("batch.size", "900000"), ("linger.ms", "50")]);
    for round in 0..4 {
        let record = |n: i32| {
            NewRecord::new(format!("{n}"), fixtures::noise(n as u64 + round * 10_000, 10_000))
                .partition(n % 4)
        };
        producer.send(large, &(0..4000).map(record).collect::<Vec<_>>());
    }
    let record = |n: i32| NewRecord::new(format!("{n}"), "s".repeat(500)).partition(n % 60);
    producer.send(small, &(0..600).map(record).collect::<Vec<_>>());

    let job = job("memory", &scratch, &[large, small]).top("memory_limit: 64MiB");
    let mut running = job.once().start();
    let mut peak = 0;
    while running.is_running() {
        peak = peak.max(running.peak_rss());
        thread::sleep(Duration::from_millis(10));
    }
    let report = json(&running.wait().expect_code(0));
    assert!(report["raw_bytes"].as_u64() > Some(150_000_000), "{report}");
    // The program itself, its runtime and its buffers come on top.
    assert!(peak > 0 && peak < 160 << 20, "{} MiB at the most", peak >> 20);

    let described = json(&job.command(&["describe", "--segments"]).run().expect_code(0));
    let segments = |topic: &str, partition: i32| -> Vec<Value> {
        let lineage = lineages(&described, topic, partition).remove(0);
        lineage["segment_list"].as_array().cloned().unwrap_or_default()
    };
    // 40 MB a partition are less than the 128 MiB at which a segment ends by itself.
    let lengths: Vec<u64> = (0..4)
        .flat_map(|partition| segments(large, partition))
        .filter_map(|segment| segment["length"].as_u64())
        .collect();
    assert!(lengths.len() > 4 && lengths.iter().all(|length| *length < 64 << 20), "{lengths:?}");
    job.verify();
    for topic in [large, small] {
        same(topic, &read(topic), &job.dump_all(topic, Isolation::ReadCommitted));
    }
    // Back through as little.
    let restore = job
        .restore(&bootstrap())
        .top("memory_limit: 64MiB")
        .set(&format!("topic_mapping: {{{large}: {large}-back, {small}: {small}-back}}"));
    let mut running = restore.command(&[]).start();
    let mut peak = 0;
    while running.is_running() {
        peak = peak.max(running.peak_rss());
        thread::sleep(Duration::from_millis(10));
    }
    running.wait().expect_code(0);
    assert!(peak > 0 && peak < 160 << 20, "{} MiB at the most", peak >> 20);
    for topic in [large, small] {
        client::assert_same(topic, &read(topic), &read(&format!("{topic}-back")), Compared::Content);
    }
}

#[test]
fn small_segments_that_are_cut_together_share_objects() {
    let scratch = Scratch::new("shared");
    client::create_topic(&bootstrap(), "shared", 60, 1, &[]);
    let record = |n: i32| NewRecord::new(format!("{n}"), "s".repeat(500)).partition(n % 60);
    Producer::new(&bootstrap(), &[]).send("shared", &(0..600).map(record).collect::<Vec<_>>());
    let job = job("shared", &scratch, &["shared"]);
    follow(&job, "shared", 60, 10);
    let described = json(&job.command(&["describe", "--segments"]).run().expect_code(0));
    let segments: Vec<Value> = (0..60)
        .flat_map(|partition| lineages(&described, "shared", partition))
        .flat_map(|lineage| lineage["segment_list"].as_array().cloned().unwrap_or_default())
        .collect();
    let objects: BTreeSet<&str> = segments.iter().filter_map(|segment| segment["key"].as_str()).collect();
    assert!(segments.len() >= 60 && objects.len() * 3 <= segments.len(), "{} in {objects:?}", segments.len());
    assert!(objects.iter().any(|object| object.ends_with(".pack")), "{objects:?}");
    job.verify();
    same("shared", &read("shared"), &job.dump_all("shared", Isolation::ReadCommitted));
}

/// So many bytes go through at most so many a second: how long that takes at least.
#[test]
fn what_is_fetched_and_uploaded_a_second_is_limited_where_it_is_asked_for() {
    let scratch = Scratch::new("rates");
    client::create_topic(&bootstrap(), "rates", 3, 1, &[]);
    let record = |n: i32| NewRecord::new(format!("{n}"), "x".repeat(1000)).partition(n % 3);
    let records: Vec<_> = (0..600).map(record).collect();
    Producer::new(&bootstrap(), &[("batch.size", "16384")]).send("rates", &records);
    let expected = read("rates");
    let take = |name: &str, limit: &str| {
        let job = job(name, &scratch, &["rates"])
            .set("segment_max_bytes: 64KiB")
            .set("compression: none")
            .set(limit);
        let start = Instant::now();
        assert_eq!(job.back_up(0)["records"], 600);
        let time = start.elapsed();
        same("rates", &expected, &job.dump_all("rates", Isolation::ReadCommitted));
        time
    };
    // 600 KB: what comes first need not wait, the rest does.
    let free = take("free", "upload_parallelism: 8");
    for limit in [
        "fetch_rate_limit_bytes_per_sec",
        "fetch_rate_limit_per_broker_bytes_per_sec",
        "upload_rate_limit_bytes_per_sec",
    ] {
        let time = take(&limit.replace('_', "-"), &format!("{limit}: 100kB"));
        assert!(time >= Duration::from_millis(3500), "{limit}: {time:?}");
        assert!(time >= free + Duration::from_secs(2), "{limit}: {time:?}, without {free:?}");
    }
}
