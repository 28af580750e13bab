//! Whole runs of the binary through a store on a bad day (O1, O3, O5), and its Azure backend.

use bytes::Bytes;
use futures::StreamExt;
use pipeline::storage::{IoSettings, StorageSettings, open};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbox::azure::Azure;
use sandbox::client::{self, Compared, Isolation, NewRecord, Producer};
use sandbox::fixtures;
use sandbox::job::{Job, bucket_at, container};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::s3::{ACCESS_KEY, SECRET_KEY};
use sandbox::scratch::Scratch;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::often::{fault, seed};
use super::proxy::{Action, Proxy, Upstream};
use super::{s3, s3_at};

/// One cluster, both source and target. Killed when the test program ends.
fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]))
}

fn fill(topic: &str) {
    let bootstrap = cluster().bootstrap();
    client::create_topic(&bootstrap, topic, 3, 1, &[("retention.ms", "-1")]);
    let records: Vec<_> = (0..3000)
        .map(|n| NewRecord::new(format!("{n}"), fixtures::noise(n as u64, 500)).partition(n % 3))
        .collect();
    Producer::new(&bootstrap, &[("batch.size", "16384")]).send(topic, &records);
}

/// Backs `topic` up, restores it under another name, and compares.
fn there_and_back(job: &Job, topic: &str) {
    let bootstrap = cluster().bootstrap();
    let source = client::read_all(&bootstrap, topic, Isolation::ReadCommitted);
    job.back_up(0);
    assert_eq!(job.back_up(0)["records"], 0);
    client::assert_same(topic, &source, &job.dump_all(topic, Isolation::ReadCommitted), Compared::Everything);
    let target = format!("{topic}-back");
    let report = job.restore(&bootstrap).set(&format!("topic_mapping: {{{topic}: {target}}}")).run(0);
    assert_eq!(report["verdict"], "proven", "{report}");
    let restored = client::read_all(&bootstrap, &target, Isolation::ReadCommitted);
    client::assert_same(topic, &source, &restored, Compared::Content);
}

/// Every fifth request of any kind comes to grief, one way or the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_backup_and_a_restore_through_a_troubled_store_lose_nothing() {
    fill("troubled");
    let proxy = Proxy::start(Upstream::Server(s3().address())).await;
    let rng = Mutex::new(StdRng::seed_from_u64(seed()));
    let faults = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&faults);
    proxy.chance(move |method| {
        let mut rng = rng.lock().unwrap();
        if rng.random_bool(0.8) {
            return None;
        }
        count.fetch_add(1, Ordering::Relaxed);
        Some(match fault(&mut rng) {
            // A read has nothing to be in conflict with.
            Action::Answer(409, _) | Action::AnswerInstead(409, _) if method != "PUT" => Action::Hangup,
            fault => fault,
        })
    });
    let job = Job::new("troubled", &cluster().bootstrap(), &bucket_at(&proxy.url(), "bucket"))
        .topics(&["troubled"])
        .set("segment_max_bytes: 32KiB");
    there_and_back(&job, "troubled");
    proxy.calm();
    job.verify();
    // The dice have to have fallen on what matters.
    let faults = faults.load(Ordering::Relaxed);
    assert!(faults > 30, "{faults} faults only");
    let again = Job::new("troubled", &cluster().bootstrap(), &bucket_at(&s3().endpoint, "bucket"));
    assert_eq!(again.verify()["findings"], serde_json::json!([]));
}

#[test]
fn azure_holds_a_backup_that_comes_back() {
    fill("azure");
    let azure = Azure::start();
    azure.create_container("backups");
    let job = Job::new("orders", &cluster().bootstrap(), &container(&azure, "backups")).topics(&["azure"]);
    there_and_back(&job, "azure");
    job.verify();
    let listed = sandbox::job::json(&job.command(&["list"]).run().expect_code(0));
    assert!(listed.to_string().contains("orders"), "{listed}");
}

/// Somebody overwrites one segment and deletes another, on a bucket that keeps versions: `verify` says so, nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_made_a_new_version_is_restored_from_the_old_one() {
    fill("kept");
    s3().create_bucket("kept");
    s3().enable_versioning("kept");
    let job = Job::new("kept", &cluster().bootstrap(), &bucket_at(&s3().endpoint, "kept")).topics(&["kept"]);
    tokio::task::block_in_place(|| job.back_up(0));
    let StorageSettings::S3(mut settings) = s3_at(&s3().endpoint) else { panic!("not s3") };
    settings.bucket = "kept".to_owned();
    settings.prefix = Some("kept/kafka".to_owned());
    let store = open(&StorageSettings::S3(settings), &IoSettings::default()).unwrap();
    let segments: Vec<_> = store.list("", None).map(|found| found.unwrap().key).collect().await;
    assert_eq!(segments.len(), 3, "{segments:?}");
    store.replace_view(&segments[0], Bytes::from_static(b"nothing of yours")).await.unwrap();
    store.delete(&segments[1]).await.unwrap();
    tokio::task::block_in_place(|| {
        let verified = sandbox::job::json(&job.command(&["verify", "--deep"]).run().expect_code(4));
        let findings = verified["findings"].as_array().unwrap();
        let named: BTreeSet<_> = findings.iter().map(|finding| finding["object"].as_str().unwrap()).collect();
        let changed = segments[..2].iter().map(|key| format!("kafka/{key}"));
        assert!(changed.eq(named.iter().copied()), "{verified}");
        there_and_back(&job, "kept");
    });
}

/// A machine's own credentials: by the metadata service of an instance (IMDSv2), and by a container's. The server knows no
/// session tokens and refuses them by name, which shows that the credentials were taken and travelled with their token.
#[test]
fn the_credentials_of_the_machine_are_used_with_their_token() {
    let metadata = Metadata::start();
    let storage: String = bucket_at(&s3().endpoint, "bucket")
        .lines()
        .filter(|line| !line.contains("_key:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let job = Job::new("machine", "127.0.0.1:1", &storage);
    let listed = |variables: &[(&str, &str)]| {
        let list = variables.iter().fold(job.command(&["list"]), |list, (name, value)| list.env(name, value));
        // Keys in the tester's own files would come first.
        let list =
            list.env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent").env("AWS_CONFIG_FILE", "/nonexistent");
        let refused = list.run().expect_code(12);
        assert!(refused.stderr.contains("InvalidToken"), "{}", refused.stderr);
    };
    listed(&[("AWS_METADATA_ENDPOINT", &metadata.url)]);
    let scratch = Scratch::new("credentials");
    let token = scratch.path().join("token");
    std::fs::write(&token, "token").unwrap();
    listed(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/container", metadata.url)),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token.display().to_string()),
    ]);
    let role = "GET /latest/meta-data/iam/security-credentials/";
    let asked = ["PUT /latest/api/token", role, &format!("{role}role"), "GET /container"];
    assert_eq!(metadata.asked(), asked);
}

/// What an instance's metadata service and a container's credentials service answer.
struct Metadata {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Metadata {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().unwrap().unwrap();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                let asked = first.trim_end_matches(" HTTP/1.1").to_owned();
                let body = match asked.as_str() {
                    "PUT /latest/api/token" => "token".to_owned(),
                    "GET /latest/meta-data/iam/security-credentials/" => "role".to_owned(),
                    _ => serde_json::json!({
                        "Code": "Success", "AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": "session",
                        "Expiration": "2099-01-01T00:00:00Z", "LastUpdated": "2026-01-01T00:00:00Z",
                        "Type": "AWS-HMAC", "RoleArn": "role",
                    })
                    .to_string(),
                };
                seen.lock().unwrap().push(asked);
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                )
                .unwrap();
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}
