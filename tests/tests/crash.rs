//! Backups that are killed, at random instants and around every durable write, and then run again.
//!
//! `REPLEVIN_CRASH_ROUNDS` is the number of deaths of each test that deals in random ones, 30 in all by default;
//! `REPLEVIN_CRASH_SEED` repeats a run whose seed was printed. The binary must have the `failpoints` feature.

#![allow(clippy::print_stdout, reason = "a failed run is replayed by what it printed")]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbox::binary::Running;
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
    batches: Vec<Vec<u8>>,
    records: Vec<Rec>,
}

/// For all tests here. Killed when the test program ends.
fn source() -> &'static Source {
    static SOURCE: OnceLock<Source> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
        let bootstrap = cluster.bootstrap();
        client::create_topic(&bootstrap, TOPIC, PARTITIONS, 1, &[]);
        fill(&bootstrap, 0);
        Source {
            batches: (0..PARTITIONS).map(|number| raw::fetch(&bootstrap, TOPIC, number, 0)).collect(),
            records: client::read_all(&bootstrap, TOPIC, Isolation::ReadCommitted),
            cluster,
        }
    })
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
    /// Small segments, so that a run has many durable writes.
    fn job(&self, backup_id: &str, storage: &str) -> Job {
        Job::new(backup_id, &self.cluster.bootstrap(), storage)
            .topics(&[TOPIC])
            .set("segment_max_bytes: 128KiB")
            .set("fetch_max_bytes: 256KiB")
            .set("upload_parallelism: 3")
    }

    /// Runs to the end and compares: nothing lost, nothing doubled, everything sound.
    fn finish(&self, job: &Job, what: &str) {
        println!("{what}");
        let report = job.back_up(0);
        assert_eq!((&report["gaps"], &report["lineages"]), (&json!([]), &json!([])), "{what}: {report}");
        for (number, expected) in (0..).zip(&self.batches) {
            let found = job.log_bytes(TOPIC, number);
            let lengths = (expected.len(), found.len());
            assert!(
                *expected == found,
                "{what}: {TOPIC}-{number} differs; bytes expected and found: {lengths:?}"
            );
        }
        let found = job.dump_all(TOPIC, Isolation::ReadCommitted);
        client::assert_same(TOPIC, &self.records, &found, Compared::Everything);
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

/// Deaths right before and behind every durable write, the first, a later and, after a resume, again the first.
fn chosen_deaths(name: &str, storage: &str) {
    let source = source();
    for point in ["before_segment_put", "after_segment_put", "before_commit_put", "after_commit_put"] {
        let job = source.job(&format!("{name}-{}", point.replace('_', "-")), storage);
        let mut died = 0;
        for nth in [1, 7, 2, 1] {
            let finished = job.once().env("REPLEVIN_FAILPOINT", &format!("{point}:{nth}")).run();
            // A small run may end before the place is reached that often.
            assert!(finished.code().is_none_or(|code| code == 0), "{point}:{nth}\n{}", finished.stderr);
            died += usize::from(finished.code().is_none());
        }
        assert!(died > 0, "{point} is never reached: was the binary built with --features failpoints?");
        source.finish(&job, &format!("{name} {point}: {died} deaths"));
    }
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
    chosen_deaths("folder", &folder(scratch.path()));
}

#[test]
fn a_backup_into_s3_survives_death_around_every_durable_write() {
    let s3 = S3::start();
    s3.create_bucket("crash");
    chosen_deaths("s3", &bucket(&s3, "crash"));
}

/// What deaths left behind is found by `verify` and removed by `prune`, and the backup is as whole as before.
#[test]
fn orphans_of_dead_runs_are_listed_and_pruned() {
    let source = source();
    let scratch = Scratch::new("orphans");
    let job = source.job("orphans", &folder(scratch.path()));
    job.once().env("REPLEVIN_FAILPOINT", "before_commit_put:2").run();
    job.back_up(0);
    let classes =
        |verified: &Value| verified["leftovers"]["classes"].as_object().map_or(0, serde_json::Map::len);
    assert!(classes(&job.verify()) > 0, "a death before a commit leaves segments behind");
    let pruned = job.command(&["prune", "--orphans", "--execute", "--older-than", "0s"]).run().expect_code(0);
    assert_ne!(job::json(&pruned)["deleted"], json!(0), "{}", pruned.stdout);
    let verified = job.verify();
    assert_eq!(classes(&verified), 0, "{verified}");
    source.finish(&job, "after prune");
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
