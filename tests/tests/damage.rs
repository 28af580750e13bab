//! Archives that were damaged behind Replevin's back: it is found, named by object and offsets, and costs the partition that
//! it hit and no other (O8). That every single flipped byte and every truncation is found is tested on an archive in memory,
//! in the pipeline's own tests.

use sandbox::client::{self, Compared, Isolation, NewRecord, Producer, Rec};
use sandbox::fixtures;
use sandbox::job::{self, Job, bucket, folder};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::s3::S3;
use sandbox::scratch::Scratch;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const PARTITIONS: i32 = 3;

/// A cluster with two topics of three partitions each.
fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
        let bootstrap = cluster.bootstrap();
        for topic in ["orders", "payments"] {
            client::create_topic(&bootstrap, topic, PARTITIONS, 1, &[("retention.ms", "-1")]);
            let producer =
                Producer::new(&bootstrap, &[("compression.codec", "zstd"), ("batch.size", "16384")]);
            let records: Vec<_> = (0..3000)
                .map(|n| {
                    NewRecord::new(format!("{n}"), fixtures::noise(n as u64, 300)).partition(n % PARTITIONS)
                })
                .collect();
            producer.send(topic, &records);
        }
        cluster
    })
}

fn read(topic: &str) -> Vec<Rec> {
    client::read_all(&cluster().bootstrap(), topic, Isolation::ReadCommitted)
}

/// The files of a partition's segments, the first offset first.
fn segments(root: &Path, topic: &str, partition: i32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.join("kafka").join(topic).join(partition.to_string())];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the archive") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// What `verify` says: the code must be 4.
fn findings(job: &Job, args: &[&str]) -> Vec<Value> {
    let args: Vec<&str> = ["verify"].iter().chain(args).copied().collect();
    let verified = job::json(&job.command(&args).run().expect_code(4));
    verified["findings"].as_array().cloned().unwrap_or_default()
}

/// Restores everything under other names. `hit` must fail and be named; every other partition must come back whole.
fn restore_around(job: &Job, name: &str, hit: (&str, i32)) {
    let topics = ["orders", "payments"];
    let mapping = topics.map(|topic| format!("{topic}: {name}-{topic}")).join(", ");
    let restore = job.restore(&cluster().bootstrap()).set(&format!("topic_mapping: {{{mapping}}}"));
    let finished = restore.command(&[]).run().expect_code(4);
    let said = finished.stdout.clone() + &finished.stderr;
    assert!(said.contains(&format!("{}-{}", hit.0, hit.1)) || said.contains(hit.0), "{said}");
    for topic in topics {
        let source = read(topic);
        let restored = read(&format!("{name}-{topic}"));
        for partition in 0..PARTITIONS {
            let of = |records: &[Rec]| {
                records.iter().filter(|r| r.partition == partition).cloned().collect::<Vec<_>>()
            };
            let (expected, found) = (of(&source), of(&restored));
            if (topic, partition) == hit {
                assert!(found.len() < expected.len(), "the damaged segment was restored");
                client::compare(&expected[..found.len()], &found, Compared::Content)
                    .expect("what is there is sound");
            } else {
                client::compare(&expected, &found, Compared::Content)
                    .unwrap_or_else(|e| panic!("{name}: {topic}-{partition}: {e}\n{said}"));
            }
        }
    }
}

/// Does something to a segment; the second is another one of the same partition.
type Damage = fn(&Path, &Path);

fn every_kind_of_damage(place: &str, storage: &str, root: impl Fn(&str) -> PathBuf) {
    let bootstrap = cluster().bootstrap();
    let damages: [(&str, Damage); 4] = [
        ("flipped", |object, _| {
            let mut bytes = fs::read(object).expect("read");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(object, bytes).expect("write");
        }),
        ("cut-off", |object, _| {
            let bytes = fs::read(object).expect("read");
            fs::write(object, &bytes[..bytes.len() - 1]).expect("write");
        }),
        ("removed", |object, _| fs::remove_file(object).expect("remove")),
        ("swapped", |object, other| {
            let (mine, others) = (fs::read(object).expect("read"), fs::read(other).expect("read"));
            fs::write(object, others).expect("write");
            fs::write(other, mine).expect("write");
        }),
    ];
    for (name, damage) in damages {
        let job = Job::new(name, &bootstrap, storage)
            .topics(&["orders", "payments"])
            .set("segment_max_bytes: 64KiB");
        job.back_up(0);
        job.verify();
        let places = segments(&root(name), "orders", 1);
        assert!(places.len() > 2, "{places:?}");
        let object = &places[places.len() / 2];
        damage(object, &places[places.len() / 2 + 1]);

        let found = findings(&job, &["--deep"]);
        let key = object.file_name().and_then(|name| name.to_str()).expect("a name");
        let named = found.iter().any(|finding| {
            let text = finding.to_string();
            text.contains(key) && text.contains("orders")
        });
        assert!(named, "{name}: {key} is not among {found:?}");
        assert!(found.iter().all(|finding| !finding.to_string().contains("payments")), "{found:?}");
        restore_around(&job, &format!("{place}-{name}"), ("orders", 1));
    }
}

#[test]
fn damage_in_a_folder_is_named_and_the_rest_comes_back() {
    let scratch = Scratch::new("damage");
    every_kind_of_damage("folder", &folder(scratch.path()), |backup| scratch.path().join(backup));
}

/// An archive that was damaged after the restore no longer proves it: that is exit 4, whatever the target holds, and the
/// other partitions are still proven.
#[test]
fn a_proof_of_a_complete_restore_names_what_was_damaged_since() {
    let scratch = Scratch::new("damage-later");
    let job =
        Job::new("later", &cluster().bootstrap(), &folder(scratch.path())).topics(&["orders", "payments"]);
    job.back_up(0);
    let restore = job
        .restore(&cluster().bootstrap())
        .set("topic_mapping: {orders: later-orders, payments: later-payments}");
    restore.command(&[]).run().expect_code(0);
    fs::remove_file(&segments(&scratch.path().join("later"), "orders", 1)[0]).expect("remove");

    let report = restore.run(4);
    for topic in report["topics"].as_array().expect("topics") {
        for partition in topic["partitions"].as_array().expect("partitions") {
            let is_hit = topic["target"] == "later-orders" && partition["target"] == 1;
            assert_eq!(partition["failure"].is_null(), !is_hit, "{partition}");
            assert_eq!(partition["target_digest"].is_null(), is_hit, "{partition}");
        }
    }
    // The target lost nothing by it.
    client::assert_same("later-orders", &read("orders"), &read("later-orders"), Compared::Content);
}

#[test]
fn damage_in_s3_is_named_and_the_rest_comes_back() {
    let s3 = S3::start();
    s3.create_bucket("damaged");
    every_kind_of_damage("s3", &bucket(&s3, "damaged"), |backup| s3.folder().join("damaged").join(backup));
}
