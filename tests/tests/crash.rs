//! Backups that are killed, at random instants and around every durable write, and then run again.
//!
//! `REPLEVIN_CRASH_ROUNDS` is the number of deaths of each test that deals in random ones, 30 in all by default;
//! `REPLEVIN_CRASH_SEED` repeats a run whose seed was printed. The binary must have the `failpoints` feature.

#![allow(clippy::print_stdout, reason = "a failed run is replayed by what it printed")]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbox::binary::{Replevin, Running};
use sandbox::client::{self, Compared, Isolation, NewRecord, Producer, Rec};
use sandbox::job::{self, Job, bucket, folder};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::process::wait_until;
use sandbox::proxy::{Direction, Toxic, Toxiproxy};
use sandbox::raw;
use sandbox::s3::S3;
use sandbox::scratch::Scratch;
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;

/// A cluster with one topic, and what an independent reader found there before any backup.
struct Source {
    cluster: KafkaCluster,
    topic: &'static str,
    batches: Vec<Vec<u8>>,
    records: Vec<Rec>,
    /// Lines of the job's `backup` section.
    settings: &'static [&'static str],
}

/// Small segments, so that a run has many durable writes.
const SMALL: &[&str] = &["segment_max_bytes: 128KiB", "fetch_max_bytes: 256KiB", "upload_parallelism: 3"];

/// For all tests here. Killed when the test program ends.
fn source() -> &'static Source {
    static SOURCE: OnceLock<Source> = OnceLock::new();
    SOURCE.get_or_init(|| Source::of(TOPIC, PARTITIONS, |bootstrap| fill(bootstrap, 0)))
}

/// About 8 MB in batches of 16 KB, every codec, a third of it in transactions, some of them aborted.
fn fill(bootstrap: &str, first: usize) {
    for (who, codec) in ["none", "lz4", "zstd", "snappy", "gzip"].iter().enumerate() {
        let settings = [("compression.codec", *codec), ("batch.size", "16384")];
        let id = format!("crash {codec}");
        let plain = Producer::new(bootstrap, &settings);
        let transactional = Producer::transactional(bootstrap, &id, &settings);
        for round in 0..6 {
            let records: Vec<_> = (0..280)
                .map(|n| {
                    let text = format!("{who} {round} {n} ").repeat(80);
                    NewRecord::new(format!("{}", first + n), text).partition(n as i32 % PARTITIONS)
                })
                .collect();
            if round % 3 == 0 {
                transactional.begin();
                transactional.send(TOPIC, &records);
                if round == 0 { transactional.abort() } else { transactional.commit() }
            } else {
                plain.send(TOPIC, &records);
            }
        }
    }
}

impl Source {
    fn of(topic: &'static str, partitions: i32, fill: impl FnOnce(&str)) -> Self {
        let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
        let bootstrap = cluster.bootstrap();
        client::create_topic(&bootstrap, topic, partitions, 1, &[]);
        fill(&bootstrap);
        Self {
            topic,
            batches: (0..partitions).map(|number| raw::fetch(&bootstrap, topic, number, 0)).collect(),
            records: client::read_all(&bootstrap, topic, Isolation::ReadCommitted),
            settings: SMALL,
            cluster,
        }
    }

    fn job(&self, backup_id: &str, storage: &str) -> Job {
        let job = Job::new(backup_id, &self.cluster.bootstrap(), storage).topics(&[self.topic]);
        self.settings.iter().fold(job, |job, line| job.set(line))
    }

    /// Runs to the end and compares: nothing lost, nothing doubled, everything sound.
    fn finish(&self, job: &Job, what: &str) {
        println!("{what}");
        let report = job.back_up(0);
        assert_eq!((&report["gaps"], &report["lineages"]), (&json!([]), &json!([])), "{what}: {report}");
        for (number, expected) in (0..).zip(&self.batches) {
            let found = job.log_bytes(self.topic, number);
            let lengths = (expected.len(), found.len());
            assert!(
                *expected == found,
                "{what}: {}-{number} differs; bytes expected and found: {lengths:?}",
                self.topic
            );
        }
        let found = job.dump_all(self.topic, Isolation::ReadCommitted);
        client::assert_same(self.topic, &self.records, &found, Compared::Everything);
        self.check(job, what);
    }

    /// Everything that a commit names is there and sound.
    fn check(&self, job: &Job, what: &str) {
        let verified = job.verify();
        assert_eq!(verified["leftovers"]["unknown"], json!(false), "{what}: {verified}");
    }
}

fn rounds() -> u64 {
    std::env::var("REPLEVIN_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30)
}

fn seed() -> u64 {
    let told = std::env::var("REPLEVIN_CRASH_SEED").ok().and_then(|text| text.parse().ok());
    let seed = told.unwrap_or_else(rand::random);
    println!("REPLEVIN_CRASH_SEED={seed}");
    seed
}

/// Deaths at random instants, three to a backup, half of the rounds in each test.
fn random_deaths(name: &str, storage: &str) {
    let source = source();
    let mut rng = StdRng::seed_from_u64(seed());
    let measured = source.job(&format!("{name}-measured"), storage);
    let whole = measured.once().run().expect_code(0).elapsed;
    let mut deaths = 0;
    let mut backup = 0;
    while deaths < rounds().div_ceil(2) {
        backup += 1;
        let job = source.job(&format!("{name}-{backup}"), storage);
        let mut history = format!("backup {name}-{backup}: deaths after");
        for _ in 0..3 {
            let time = whole.mul_f64(rng.random_range(0.05..1.0));
            let finished = job.once().run_and_kill(time);
            if !finished.was_killed() {
                break;
            }
            deaths += 1;
            history += &format!(" {} ms", time.as_millis());
        }
        source.finish(&job, &history);
    }
}

/// Deaths of one backup, one after the other: places that each run must reach, as often as it says.
type Deaths = &'static [&'static str];

/// Places right before and behind every durable write of a backup, in whatever store. The commits are, in this order, the
/// writer's own and that with the first data; `REPLEVIN_CHECKPOINT_COMMITS` has each of the latter followed by a checkpoint.
const EVERYWHERE: &[Deaths] = &[
    &["before_probe_put", "after_probe_put", "before_probe_delete", "after_probe_delete"],
    &["before_repository_put", "after_repository_put", "before_commit_put:1", "after_commit_put:1"],
    &["before_cluster_put", "after_cluster_put", "before_segment_put:1", "after_segment_put:1"],
    &["before_segment_put:7", "after_segment_put:9", "before_commit_put:2", "after_commit_put:2"],
    // Once the cluster's settings are in, the first commit of a run has a single thing in it: the next run finds more.
    &["after_commit_put:2", "before_checkpoint_page_put", "after_checkpoint_page_put"],
    &["before_checkpoint_root_put", "after_checkpoint_root_put"],
    &["before_checkpoint_page_put:2"],
    &["after_checkpoint_page_put:3"],
    &["before_commit_put:3", "after_commit_put:3"],
    &["before_manifest_put", "after_manifest_put"],
];

/// The steps that make a file durable: of `repository.json`, which follows the object that the store is tried with, of the
/// writer's commit, of what comes later, and of the view, which is replaced.
const OF_FILES: &[Deaths] = &[
    &["after_folder_create:1", "before_file_sync:2", "after_file_sync:2", "before_file_link:2"],
    &["after_file_link:2", "before_folder_sync:2", "after_folder_sync:2", "after_file_remove:1"],
    &["before_file_sync:3", "before_file_link:4", "after_file_link:5", "before_folder_sync:6"],
    &["after_folder_create:8", "before_file_link:12", "after_file_link:10", "after_folder_sync:14"],
    &["before_file_rename", "after_file_rename"],
];

/// The steps of a large object.
const OF_PARTS: &[Deaths] = &[
    &["before_multipart_begin", "after_multipart_begin", "before_part_put:1", "after_part_put:1"],
    &["before_part_put:2", "after_part_put:2", "before_multipart_complete", "after_multipart_complete"],
];

fn chosen_deaths(source: &Source, name: &str, storage: &str, table: &[Deaths]) {
    for (number, deaths) in table.iter().enumerate() {
        let job = source.job(&format!("{name}-{number}"), storage);
        for point in *deaths {
            die_at(&job.once(), point);
        }
        source.finish(&job, &format!("{name}: {deaths:?}"));
    }
}

/// Runs what must die at this place.
fn die_at(run: &Replevin, point: &str) {
    let run = run.clone().env("REPLEVIN_FAILPOINT", point).env("REPLEVIN_CHECKPOINT_COMMITS", "1");
    let finished = run.run();
    let code = finished.code();
    assert!(
        code.is_none(),
        "{point} is not reached, the run ended with {code:?}: was the binary built with --features failpoints?\n{}",
        finished.stderr
    );
}

#[test]
fn a_backup_into_a_folder_survives_random_deaths() {
    let scratch = Scratch::new("crash");
    random_deaths("folder", &folder(scratch.path()));
}

#[test]
fn a_backup_into_s3_survives_random_deaths() {
    let s3 = S3::start();
    s3.create_bucket("crash");
    random_deaths("s3", &bucket(&s3, "crash"));
}

#[test]
fn a_backup_into_a_folder_survives_death_around_every_durable_write() {
    let scratch = Scratch::new("crash");
    chosen_deaths(source(), "folder", &folder(scratch.path()), EVERYWHERE);
}

#[test]
fn a_backup_into_a_folder_survives_death_between_the_steps_that_make_a_file_durable() {
    let scratch = Scratch::new("crash");
    chosen_deaths(source(), "files", &folder(scratch.path()), OF_FILES);
}

#[test]
fn a_backup_into_s3_survives_death_around_every_durable_write() {
    let s3 = S3::start();
    s3.create_bucket("crash");
    chosen_deaths(source(), "s3", &bucket(&s3, "crash"), EVERYWHERE);
}

#[test]
fn a_backup_into_s3_survives_death_between_the_parts_of_a_large_object() {
    let s3 = S3::start();
    s3.create_bucket("crash");
    let source = Source::of("large", 1, |bootstrap| {
        let producer = Producer::new(bootstrap, &[("compression.codec", "none")]);
        let mut rng = StdRng::seed_from_u64(1);
        for n in 0..24 {
            let value: Vec<u8> = (0..900_000).map(|_| rng.random()).collect();
            producer.send("large", &[NewRecord::new(format!("{n}"), value)]);
        }
    });
    // 21 MB that do not compress, in one object: two parts.
    let source = Source { settings: &["segment_max_bytes: 64MiB"], ..source };
    chosen_deaths(&source, "parts", &bucket(&s3, "crash"), OF_PARTS);
    let left = source.job("parts-0", &bucket(&s3, "crash")).verify();
    assert_ne!(left["leftovers"]["unfinished_uploads"], json!(0), "{left}");
}

fn classes(verified: &Value) -> Vec<String> {
    let classes = verified["leftovers"]["classes"].as_object();
    classes.map_or_else(Vec::new, |classes| classes.keys().cloned().collect())
}

/// What deaths left behind is found by `verify` and removed by `prune`, and the backup is as whole as before.
#[test]
fn orphans_of_dead_runs_are_listed_and_pruned_however_often_prune_dies() {
    let source = source();
    let scratch = Scratch::new("orphans");
    for (number, deaths) in [
        &["before_probe_put", "before_commit_put", "after_commit_put"][..],
        &["before_segment_delete:1", "after_segment_delete:1", "before_segment_delete:2"],
        &[
            "after_checkpoint_root_delete",
            "before_checkpoint_page_delete:2",
            "after_checkpoint_page_delete:1",
        ],
        &["after_cluster_delete", "before_checkpoint_root_delete"],
    ]
    .into_iter()
    .enumerate()
    {
        let job = source.job(&format!("orphans-{number}"), &folder(scratch.path()));
        for point in
            ["after_probe_put", "after_cluster_put", "before_commit_put:3", "after_checkpoint_root_put:2"]
        {
            die_at(&job.once(), point);
        }
        job.back_up(0);
        let found = job.verify();
        assert_eq!(classes(&found), ["superseded", "probe"], "{found}");
        let kinds = ["kafka/", "cluster/", "checkpoints/", "probes/"];
        let listed = found["leftovers"]["objects"].as_array().cloned().unwrap_or_default();
        for kind in kinds {
            let of_kind = |object: &Value| object["key"].as_str().is_some_and(|key| key.starts_with(kind));
            assert!(listed.iter().any(of_kind), "nothing of {kind} is left over: {found}");
        }
        let prune = job.command(&["prune", "--orphans", "--execute", "--older-than", "0s"]);
        for point in deaths {
            die_at(&prune, point);
            source.check(&job, &format!("prune died at {point}"));
        }
        let pruned = prune.run().expect_code(0);
        assert_ne!(job::json(&pruned)["deleted"], json!(0), "{}", pruned.stdout);
        let verified = job.verify();
        // Young ones may be those of a backup that is starting.
        assert_eq!(classes(&verified), ["probe"], "{verified}");
        source.finish(&job, &format!("after prunes that died at {deaths:?}"));
    }
}

// K5

/// Ends with 11 while topics go on receiving records, which make it try to commit.
fn wait_until_fenced(mut old: Running, bootstrap: &str, topic: &str) {
    let producer = Producer::new(bootstrap, &[]);
    let fenced = wait_until(Duration::from_secs(60), || {
        producer.send(topic, &[NewRecord::new("k", "v")]);
        std::thread::sleep(Duration::from_millis(200));
        if old.is_running() { Err("the older daemon still runs".to_owned()) } else { Ok(()) }
    });
    fenced.unwrap_or_else(|error| panic!("{error}\n{}", old.stderr()));
    let finished = old.wait().expect_code(11);
    assert!(!finished.stderr.is_empty(), "it says why");
}

fn second_daemon_wins(topic: &str, storage: &str) {
    let bootstrap = source().cluster.bootstrap();
    client::create_topic(&bootstrap, topic, 1, 1, &[]);
    Producer::new(&bootstrap, &[]).send(topic, &[NewRecord::new("k", "first")]);
    let job = Job::new(topic, &bootstrap, storage).topics(&[topic]).set("segment_max_interval_ms: 100");
    let position = |end: i64| {
        wait_until(Duration::from_secs(60), || match job.position(topic, 0) {
            position if position >= end => Ok(()),
            position => Err(format!("{topic}-0 is backed up to {position}, not to {end}")),
        })
    };
    let old = job.continuous().start();
    position(1).unwrap_or_else(|error| panic!("{error}\n{}", old.stderr()));
    let writer = job.describe()["writer"].clone();
    let new = job.continuous().start();
    // It has taken over once it has committed as the writer.
    let taken = wait_until(Duration::from_secs(60), || {
        if job.describe()["writer"] == writer { Err("nobody took over".to_owned()) } else { Ok(()) }
    });
    taken.unwrap_or_else(|error| panic!("{error}\n{}", new.stderr()));
    wait_until_fenced(old, &bootstrap, topic);

    // Both at the same instant, and a third one that is there already.
    let (one, two) = (job.continuous().start(), job.continuous().start());
    wait_until_fenced(new, &bootstrap, topic);
    let producer = Producer::new(&bootstrap, &[]);
    let mut both = [one, two];
    let one_left = wait_until(Duration::from_secs(60), || {
        producer.send(topic, &[NewRecord::new("k", "v")]);
        std::thread::sleep(Duration::from_millis(200));
        match both.iter_mut().filter_map(|daemon| daemon.is_running().then_some(())).count() {
            1 => Ok(()),
            count => Err(format!("{count} daemons run")),
        }
    });
    one_left.unwrap_or_else(|error| panic!("{error}"));
    let end = client::watermarks(&bootstrap, topic, Isolation::ReadUncommitted)[&0].1;
    position(end).unwrap_or_else(|error| panic!("{error}"));
    let mut codes = Vec::new();
    for mut daemon in both {
        let running = daemon.is_running();
        if running {
            daemon.signal("TERM");
        }
        codes.push((running, daemon.wait().code()));
    }
    codes.sort_unstable();
    assert_eq!(codes, [(false, Some(11)), (true, Some(0))]);
    let expected = client::read_all(&bootstrap, topic, Isolation::ReadCommitted);
    client::assert_same(
        topic,
        &expected,
        &job.dump_all(topic, Isolation::ReadCommitted),
        Compared::Everything,
    );
    job.verify();
}

#[test]
fn of_two_daemons_on_a_folder_the_older_ends_with_11() {
    let scratch = Scratch::new("fenced");
    second_daemon_wins("fenced-folder", &folder(scratch.path()));
}

#[test]
fn of_two_daemons_on_s3_the_older_ends_with_11() {
    let s3 = S3::start();
    s3.create_bucket("fenced");
    second_daemon_wins("fenced-s3", &bucket(&s3, "fenced"));
}

// K4

/// A writer that is frozen for as long as another one works, and wakes up with segments and commits half made.
#[test]
fn a_frozen_daemon_that_wakes_up_after_another_took_over_ends_with_11() {
    let bootstrap = source().cluster.bootstrap();
    let (topic, scratch) = ("frozen", Scratch::new("frozen"));
    client::create_topic(&bootstrap, topic, 2, 1, &[]);
    let producer = Producer::new(&bootstrap, &[("batch.size", "4096")]);
    let mut number = 0;
    let mut produce = |count: usize| {
        let record = |_| {
            number += 1;
            NewRecord::new(format!("{number}"), "v".repeat(100)).partition(number % 2)
        };
        producer.send(topic, &(0..count).map(record).collect::<Vec<_>>());
    };
    let job = Job::new(topic, &bootstrap, &folder(scratch.path()))
        .topics(&[topic])
        .set("segment_max_interval_ms: 100")
        .set("segment_max_records: 20");
    let reaches_the_end = |who: &Running| {
        let reached = wait_until(Duration::from_secs(60), || {
            let marks = client::watermarks(&bootstrap, topic, Isolation::ReadUncommitted);
            let behind = marks.iter().find(|(number, (_, end))| job.position(topic, **number) < *end);
            behind.map_or(Ok(()), |(number, mark)| {
                Err(format!("{topic}-{number} is not backed up to {mark:?}"))
            })
        });
        reached.unwrap_or_else(|error| panic!("{error}\n{}", who.stderr()));
    };
    produce(100);
    let mut old = job.continuous().start();
    reaches_the_end(&old);
    for round in 0..3 {
        // In the middle of work, another moment each time.
        produce(2000);
        std::thread::sleep(Duration::from_millis(40 + 130 * round));
        old.signal("STOP");
        let new = job.continuous().start();
        produce(300);
        reaches_the_end(&new);
        let before = job.describe();
        old.signal("CONT");
        let woken = std::mem::replace(&mut old, new);
        wait_until_fenced(woken, &bootstrap, topic);
        reaches_the_end(&old);
        assert_eq!(job.describe()["writer"], before["writer"], "the one that went on is the writer still");
    }
    old.signal("TERM");
    assert!(old.wait().code().is_some());
    let expected = client::read_all(&bootstrap, topic, Isolation::ReadCommitted);
    client::assert_same(
        topic,
        &expected,
        &job.dump_all(topic, Isolation::ReadCommitted),
        Compared::Everything,
    );
    for (number, lineages) in (0..2).map(|number| (number, job.lineages(topic, number))) {
        assert_eq!(lineages.len(), 1, "{topic}-{number}: {lineages:?}");
        assert_eq!(
            raw::fetch(&bootstrap, topic, number, 0),
            job.log_bytes(topic, number),
            "{topic}-{number}"
        );
    }
    job.verify();
}

// K3

#[test]
fn a_run_that_is_told_to_stop_keeps_what_it_has_and_goes_on_from_there() {
    let toxiproxy = Toxiproxy::start();
    let mut proxies = Vec::new();
    let cluster = KafkaCluster::start_behind(KafkaVersion::V3_9, 1, &[], |_, address| {
        proxies.push(toxiproxy.proxy(address));
        proxies[0].address()
    });
    let (bootstrap, direct) = (cluster.bootstrap(), cluster.direct());
    client::create_topic(&direct, TOPIC, PARTITIONS, 1, &[]);
    fill(&direct, 0);
    let scratch = Scratch::new("stopped");
    let job = Job::new("stopped", &bootstrap, &folder(scratch.path()))
        .topics(&[TOPIC])
        .set("segment_max_bytes: 64KiB")
        .set("fetch_max_bytes: 64KiB");
    let slow = proxies[0].add(Toxic::Bandwidth { kb_per_second: 300 }, Direction::ToClient);
    let run = job.once().start();
    let begun = wait_until(Duration::from_secs(60), || {
        if job.position(TOPIC, 0) > 0 { Ok(()) } else { Err("nothing is backed up yet".to_owned()) }
    });
    begun.unwrap_or_else(|error| panic!("{error}\n{}", run.stderr()));
    run.signal("TERM");
    let report = job::json(&run.wait().expect_code(130));
    assert_ne!(report["records"], json!(0));
    assert_eq!(report["interrupted"], json!(true), "{report}");
    let sum = |job: &Job| (0..PARTITIONS).map(|number| job.position(TOPIC, number).max(0)).sum::<i64>();
    let marks = client::watermarks(&direct, TOPIC, Isolation::ReadUncommitted);
    let stopped_at = sum(&job);
    assert!(
        stopped_at < marks.values().map(|(_, end)| end).sum(),
        "it was through before it was told to stop"
    );
    job.verify();
    proxies[0].remove(&slow);
    let report = job.back_up(0);
    let rest = report["records"].as_i64().unwrap_or(0);
    assert_eq!(stopped_at + rest, marks.values().map(|(_, end)| end).sum::<i64>());
    let expected = client::read_all(&direct, TOPIC, Isolation::ReadCommitted);
    client::assert_same(
        TOPIC,
        &expected,
        &job.dump_all(TOPIC, Isolation::ReadCommitted),
        Compared::Everything,
    );
    job.verify();
    cluster.stop();
}
