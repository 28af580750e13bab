//! Whole runs of the binary through a store on a bad day (O1, O3, O5), and its Azure backend.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbox::azure::Azure;
use sandbox::client::{self, Compared, Isolation, NewRecord, Producer};
use sandbox::fixtures;
use sandbox::job::{Job, bucket_at, container};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::often::{fault, seed};
use super::proxy::{Action, Proxy, Upstream};
use super::s3;

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
