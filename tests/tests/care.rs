//! Looking at real backups by URL, and the damage that is not in a segment: a pack, a commit, a checkpoint, `repository.json`,
//! a cluster snapshot. `verify` names the object and ends with 4; what can be restored still is.

use pipeline::commit_log::CommitLog;
use pipeline::seam::Seam;
use pipeline::storage::wrap::Prefixed;
use pipeline::storage::{IoSettings, StorageSettings, open};
use sandbox::azure::{ACCOUNT, Azure, KEY};
use sandbox::binary::{Finished, Replevin};
use sandbox::client::{self, Compared, Isolation, NewRecord, Producer, Rec};
use sandbox::fixtures;
use sandbox::job::{Job, bucket, container, folder, json, lineages};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::process::wait_until;
use sandbox::s3::{ACCESS_KEY, S3, SECRET_KEY};
use sandbox::scratch::Scratch;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// So many small segments that some of them are cut in the same moment, and share an object.
const SMALL_PARTITIONS: i32 = 40;

/// One cluster, both source and target, with a topic of large segments and one of small ones.
fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
        let bootstrap = cluster.bootstrap();
        for (topic, size, partitions) in [("large", 20_000, 2), ("small", 200, SMALL_PARTITIONS)] {
            client::create_topic(&bootstrap, topic, partitions, 1, &[("retention.ms", "-1")]);
            let record = |n: i32| {
                NewRecord::new(format!("{n}"), fixtures::noise(n as u64, size)).partition(n % partitions)
            };
            Producer::new(&bootstrap, &[]).send(topic, &(0..400).map(record).collect::<Vec<_>>());
        }
        cluster
    })
}

fn read(topic: &str) -> Vec<Rec> {
    client::read_all(&cluster().bootstrap(), topic, Isolation::ReadCommitted)
}

fn backup(id: &str, storage: &str) -> Job {
    Job::new(id, &cluster().bootstrap(), storage).topics(&["large", "small"])
}

/// A command on a URL, with credentials as a person has them.
fn at(url: &str, args: &[&str]) -> Replevin {
    let args = [&args[..1], &["--path", url], &args[1..], &["--output", "json"]].concat();
    Replevin::new(&args)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AZURE_STORAGE_ACCOUNT_KEY", KEY)
}

/// `list`, `describe`, `verify` and `dump` by URL say what they say by the job's file.
fn looked_at_by_url(storage: &str, url: &str, below: impl Fn(&str) -> String) {
    let (one, two) = (backup("one", storage), backup("two", storage).without(&["large"]));
    let anchor = |report: &Value| report["head"].as_str().unwrap_or_default().to_owned();
    let first = anchor(&one.back_up(0));
    two.back_up(0);
    let last = anchor(&one.back_up(0));

    let listed = json(&at(url, &["list"]).run().expect_code(0));
    let rows: Vec<(&Value, &Value, &Value)> = listed["backups"]
        .as_array()
        .expect("backups")
        .iter()
        .map(|row| (&row["backup_id"], &row["topics"], &row["records"]))
        .collect();
    let expected = (json!("one"), json!("two"), json!(1), json!(2), json!(400), json!(800));
    assert_eq!(rows, [(&expected.0, &expected.3, &expected.5), (&expected.1, &expected.2, &expected.4)]);
    assert_eq!(listed["backups"][0]["head"], json!(last));
    let text = Replevin::new(&["list", "--path", url])
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AZURE_STORAGE_ACCOUNT_KEY", KEY)
        .run()
        .expect_code(0);
    assert!(text.stdout.lines().any(|line| line.starts_with("one ")), "{}", text.stdout);

    // Two are there, so one must be named; or the URL names it.
    let refused = at(url, &["describe"]).run().expect_code(2);
    assert!(refused.stderr.contains("one, two"), "{}", refused.stderr);
    let described = json(&at(url, &["describe", "--backup-id", "one"]).run().expect_code(0));
    assert_eq!(described, one.describe());
    let described = json(&at(&below("one"), &["describe"]).run().expect_code(0));
    assert_eq!(described["backup_id"], "one");

    for expect in [&first, &last] {
        let sound = at(&below("one"), &["verify", "--deep", "--expect", expect]).run().expect_code(0);
        assert_eq!(json(&sound)["sound"], true);
    }
    let (seq, hash) = last.split_once(':').expect("seq:hash");
    let other = format!("{seq}:{}{}", if hash.starts_with('0') { '1' } else { '0' }, &hash[1..]);
    let beyond = format!("{}:{hash}", seq.parse::<u64>().expect("a number") + 1);
    for wrong in [&other, &beyond] {
        let report = json(&at(&below("one"), &["verify", "--expect", wrong]).run().expect_code(4));
        let found = report["findings"].to_string();
        assert!(found.contains("commits/"), "{wrong}: {found}");
    }
    at(&below("one"), &["verify", "--expect", "nonsense"]).run().expect_code(2);

    let dumped =
        at(url, &["dump", "--backup-id", "one", "--topic", "small", "--partition", "1"]).run().expect_code(0);
    let by_file = one.command(&["dump", "--topic", "small", "--partition", "1"]).run().expect_code(0);
    assert_eq!(dumped.stdout.lines().count(), 10);
    assert_eq!(dumped.stdout, by_file.stdout);
    // Nothing is there.
    at(&below("three"), &["describe"]).run().expect_code(10);
}

#[test]
fn backups_in_a_folder_are_looked_at_by_path() {
    let scratch = Scratch::new("by-path");
    let path = scratch.path().display().to_string();
    looked_at_by_url(&folder(scratch.path()), &format!("file://{path}"), |id| format!("{path}/{id}"));
}

#[test]
fn backups_in_s3_are_looked_at_by_url() {
    let s3 = S3::start();
    s3.create_bucket("backups");
    let query = format!("?endpoint={}&allow_http=true", s3.endpoint);
    let url = |id: &str| format!("s3://backups{id}{query}");
    looked_at_by_url(&bucket(&s3, "backups"), &url(""), |id| url(&format!("/{id}")));
    // Wrong credentials are told apart from what is not there.
    let denied = at(&url(""), &["list"]).env("AWS_SECRET_ACCESS_KEY", "wrong-secret").run().expect_code(12);
    assert!(!denied.stderr.contains("wrong-secret"), "{}", denied.stderr);
}

#[test]
fn backups_in_azure_are_looked_at_by_url() {
    let azure = Azure::start();
    azure.create_container("backups");
    let query = format!("?endpoint={}", azure.endpoint);
    let url = |id: &str| format!("azure://{ACCOUNT}/backups{id}{query}");
    looked_at_by_url(&container(&azure, "backups"), &url(""), |id| url(&format!("/{id}")));
}

// Damage

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

/// A backup in a folder.
struct Archive {
    job: Job,
    scratch: Scratch,
    id: &'static str,
}

impl Archive {
    /// Two runs, the second with nothing new, so that there are commits before and behind.
    fn new(id: &'static str) -> Self {
        let scratch = Scratch::new(id);
        let job = backup(id, &folder(scratch.path()));
        if id == "packed" {
            follow(&job, "small", SMALL_PARTITIONS, 10);
        }
        job.back_up(0);
        job.back_up(0);
        Self { job, scratch, id }
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join(self.id)
    }

    /// The objects below a folder, by key.
    fn objects(&self, below: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.root().join(below)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(self.root()).expect("below").display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root().join(key)
    }

    /// `verify` names the object, and ends with 4. What is inside a pack or a snapshot shows in depth only.
    fn is_named(&self, key: &str, kind: &str) {
        let inside = kind == "flipped" && (key.starts_with("packs/") || key.starts_with("cluster/"));
        let depths = [&["verify", "--deep"][..], &["verify"]];
        for args in &depths[..if inside { 1 } else { 2 }] {
            let finished = self.job.command(args).run();
            let said = finished.stdout.clone() + &finished.stderr;
            assert_eq!(finished.code(), Some(4), "{key}, {args:?}: {said}");
            assert!(said.contains(key), "{key} is not named by {args:?}: {said}");
        }
    }

    fn restore(&self, name: &str) -> Finished {
        let mapping = format!("topic_mapping: {{large: {name}-large, small: {name}-small}}");
        self.job.restore(&cluster().bootstrap()).set(&mapping).command(&[]).run()
    }

    /// A restore brings everything back.
    fn comes_back(&self, name: &str, codes: &[i32]) -> Finished {
        let finished = self.restore(name);
        let said = finished.stdout.clone() + &finished.stderr;
        assert!(
            finished.code().is_some_and(|code| codes.contains(&code)),
            "{name}: {:?} {said}",
            finished.code()
        );
        for topic in ["large", "small"] {
            let restored = read(&format!("{name}-{topic}"));
            client::assert_same(name, &read(topic), &restored, Compared::Content);
        }
        finished
    }

    /// A restore refuses in words, with 4, before it touches the target.
    fn is_refused(&self, name: &str, key: &str) {
        let finished = self.restore(name).expect_code(4);
        let said = finished.stdout + &finished.stderr;
        assert!(said.contains(key), "{said}");
        let topics = client::topics(&cluster().bootstrap());
        assert!(!topics.iter().any(|topic| topic.starts_with(name)), "{name} was begun");
    }

    /// Makes a checkpoint and a commit that names it, with the log's own code: by itself it does so after hundreds.
    fn checkpoint(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let settings = StorageSettings::Filesystem { path: self.scratch.path().to_owned(), prefix: None };
            let store = open(&settings, &IoSettings::default()).expect("opens");
            let store = Arc::new(Prefixed::new(store, self.id).expect("a folder"));
            let mut log = CommitLog::open(store, Seam::system()).await.expect("opens");
            log.write_checkpoint().await.expect("a checkpoint");
            log.become_writer().await.expect("a commit");
        });
        self.job.back_up(0);
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("write");
}

/// Does something to an object; undone by writing its bytes back.
type Damage = fn(&Path);

const DAMAGES: [(&str, Damage); 3] = [
    ("flipped", flip),
    ("short", |path| {
        let bytes = fs::read(path).expect("read");
        fs::write(path, &bytes[..bytes.len() / 2]).expect("write");
    }),
    ("gone", |path| fs::remove_file(path).expect("remove")),
];

#[test]
fn a_damaged_pack_costs_its_partitions_and_no_other() {
    let archive = Archive::new("packed");
    let packs = archive.objects("packs");
    assert!(!packs.is_empty(), "no segments share an object");
    let path = archive.path(&packs[0]);
    let sound = fs::read(&path).expect("read");
    for (kind, damage) in DAMAGES {
        damage(&path);
        archive.is_named(&packs[0], kind);
        let name = format!("packed-{kind}");
        let finished = archive.restore(&name).expect_code(4);
        assert!((finished.stdout.clone() + &finished.stderr).contains("small"), "{}", finished.stdout);
        client::assert_same(&name, &read("large"), &read(&format!("{name}-large")), Compared::Content);
        let (source, restored) = (read("small"), read(&format!("{name}-small")));
        assert!(restored.len() < source.len(), "what is damaged was restored");
        for partition in 0..SMALL_PARTITIONS {
            let of = |records: &[Rec]| -> Vec<Rec> {
                records.iter().filter(|record| record.partition == partition).cloned().collect()
            };
            let (source, restored) = (of(&source), of(&restored));
            client::compare(&source[..restored.len()], &restored, Compared::Content).expect("sound");
        }
        fs::write(&path, &sound).expect("write");
    }
    archive.job.verify();
    archive.comes_back("packed-again", &[0]);
}

#[test]
fn a_damaged_commit_is_named_and_a_checkpoint_behind_it_is_enough_to_restore() {
    let archive = Archive::new("committed");
    let commits = archive.objects("commits");
    assert!(commits.len() > 2, "{commits:?}");
    let key = &commits[1];
    let path = archive.path(key);
    let sound = fs::read(&path).expect("read");
    for (kind, damage) in DAMAGES {
        damage(&path);
        archive.is_named(key, kind);
        archive.is_refused(&format!("committed-{kind}"), key);
        fs::write(&path, &sound).expect("write");
    }
    archive.job.verify();
    archive.checkpoint();
    archive.job.verify();
    flip(&path);
    archive.is_named(key, "flipped");
    archive.comes_back("committed-checkpoint", &[0]);
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_commits_are_enough_to_restore() {
    let archive = Archive::new("checkpointed");
    archive.checkpoint();
    archive.job.verify();
    let objects = archive.objects("checkpoints");
    assert!(objects.len() > 1 && objects.iter().any(|key| key.ends_with("/root")), "{objects:?}");
    for key in &objects {
        let path = archive.path(key);
        let sound = fs::read(&path).expect("read");
        for (kind, damage) in DAMAGES {
            damage(&path);
            archive.is_named(key, kind);
            if kind == "flipped" {
                let part =
                    if key.ends_with("/root") { "root".to_owned() } else { key[key.len() - 6..].to_owned() };
                archive.comes_back(&format!("checkpointed-{part}"), &[0]);
            }
            fs::write(&path, &sound).expect("write");
        }
    }
    archive.job.verify();
}

#[test]
fn a_damaged_repository_file_is_named_and_nothing_is_touched() {
    let archive = Archive::new("described");
    let path = archive.path("repository.json");
    let sound = fs::read(&path).expect("read");
    for (kind, damage) in &DAMAGES[..2] {
        damage(&path);
        archive.is_named("repository.json", kind);
        archive.is_refused(&format!("described-{kind}"), "repository.json");
        let said = archive.job.once().run().expect_code(4).stderr;
        assert!(said.contains("repository.json"), "{said}");
        fs::write(&path, &sound).expect("write");
    }
    // Without it there is no backup here by the name of one; a new one must not be begun on top.
    fs::remove_file(&path).expect("remove");
    archive.restore("described-gone").expect_code(10);
    let said = archive.job.once().run().expect_code(4).stderr;
    assert!(said.contains("repository.json is missing"), "{said}");
    fs::write(&path, &sound).expect("write");
    archive.job.verify();
    archive.comes_back("described-again", &[0]);
}

/// It holds topics' settings, which are worth less than their records.
#[test]
fn a_damaged_cluster_snapshot_is_named_and_stops_no_restore() {
    let archive = Archive::new("snapshot");
    let snapshots = archive.objects("cluster");
    let key = snapshots.last().expect("a snapshot");
    let path = archive.path(key);
    let sound = fs::read(&path).expect("read");
    for (kind, damage) in DAMAGES {
        damage(&path);
        archive.is_named(key, kind);
        // That the settings are missing is said, one way or the other.
        let finished = archive.comes_back(&format!("snapshot-{kind}"), &[4]);
        assert!((finished.stdout + &finished.stderr).contains("cluster/"), "{kind}");
        fs::write(&path, &sound).expect("write");
    }
    archive.job.verify();
}
