//! Clusters of several brokers: leaders that die and come back under a running backup (B1, B2), and the closest replica.

use sandbox::binary::Replevin;
use sandbox::client::{self, Compared, Isolation, NewRecord, Producer};
use sandbox::job::{Job, folder, json};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::process::wait_until;
use sandbox::proxy::{Direction, Toxic, Toxiproxy};
use sandbox::scratch::Scratch;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const PARTITIONS: i32 = 6;

#[test]
fn a_daemon_follows_leaders_that_die_and_come_back() {
    let mut cluster = KafkaCluster::start(KafkaVersion::V4, 3, &[]);
    let bootstrap = cluster.bootstrap();
    client::create_topic(&bootstrap, "orders", PARTITIONS, 3, &[("min.insync.replicas", "2")]);
    let scratch = Scratch::new("brokers");
    let job = Job::new("followed", &bootstrap, &folder(scratch.path()))
        .topics(&["orders"])
        .set("segment_max_interval_ms: 500");

    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let daemon = job.continuous().limit(Duration::from_secs(400)).start();
    let backed_up = || (0..PARTITIONS).map(|number| job.position("orders", number)).sum::<i64>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let settings = [("acks", "all"), ("compression.codec", "lz4"), ("enable.idempotence", "true")];
            let producer = Producer::new(&bootstrap, &settings);
            for round in 0.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let records: Vec<_> = (0..30)
                    .map(|n| {
                        NewRecord::new(format!("{round} {n}"), "v".repeat(200)).partition(n % PARTITIONS)
                    })
                    .collect();
                producer.send("orders", &records);
                sent.fetch_add(records.len(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let goes_on = |what: &str| {
            let goal = sent.load(Ordering::Relaxed) as i64 + 300;
            let reached = wait_until(Duration::from_secs(90), || match backed_up() {
                position if position >= goal => Ok(()),
                position => Err(format!("{what}: backed up to {position}, not to {goal}")),
            });
            // The producer ends whatever becomes of this.
            reached
                .inspect_err(|_| over.store(true, Ordering::Relaxed))
                .unwrap_or_else(|error| panic!("{error}"));
        };
        goes_on("before any death");
        for broker in cluster.brokers() {
            cluster.kill9(broker);
            goes_on(&format!("without broker {broker}"));
            cluster.restart(broker);
            goes_on(&format!("with broker {broker} again"));
        }
        over.store(true, Ordering::Relaxed);
    });
    daemon.signal("TERM");
    let stopped = daemon.wait().expect_code(0);
    assert!(!stopped.stderr.contains("panicked"), "{}", stopped.stderr);

    let report = job.back_up(0);
    assert_eq!((&report["gaps"], &report["lineages"]), (&json!([]), &json!([])), "{report}");
    let expected = client::read_all(&bootstrap, "orders", Isolation::ReadCommitted);
    assert!(expected.len() >= sent.load(Ordering::Relaxed));
    let found = job.dump_all("orders", Isolation::ReadCommitted);
    client::assert_same("orders", &expected, &found, Compared::Everything);
    job.verify();
    cluster.stop();
}

/// The leader answers at 2 kB/s: what comes in time can only have come from the replica in the backup's own rack.
#[test]
fn the_replica_in_the_own_rack_is_read() {
    let toxiproxy = Toxiproxy::start();
    let mut proxies = Vec::new();
    let properties = [
        ("broker.rack", "rack-{broker}"),
        ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector"),
    ];
    let cluster = KafkaCluster::start_behind(KafkaVersion::V4, 2, &properties, |_, address| {
        proxies.push(toxiproxy.proxy(address));
        proxies[proxies.len() - 1].address()
    });
    let direct = cluster.direct();
    client::create_topic(&direct, "near", 1, 2, &[]);
    let records: Vec<_> = (0..2000).map(|n| NewRecord::new(format!("{n}"), "near ".repeat(200))).collect();
    Producer::new(&direct, &[("acks", "all")]).send("near", &records);
    let (leader, replicas) = client::placement(&direct, "near", 0);
    let other = replicas.into_iter().find(|replica| *replica != leader).expect("a follower");
    proxies[leader as usize - 1].add(Toxic::Bandwidth { kb_per_second: 2 }, Direction::ToClient);

    let scratch = Scratch::new("near");
    let job = Job::new("near", &cluster.bootstrap(), &folder(scratch.path()))
        .topics(&["near"])
        .connection(&format!("client_rack: rack-{other}"));
    let report = job.back_up(0);
    assert_eq!((&report["records"], &report["gaps"]), (&json!(2000), &json!([])), "{report}");
    let expected = client::read_all(&direct, "near", Isolation::ReadCommitted);
    client::assert_same(
        "near",
        &expected,
        &job.dump_all("near", Isolation::ReadCommitted),
        Compared::Everything,
    );

    // What is read back is the leader's, which names the nearer replica to whoever tells a rack, and gives it nothing itself.
    let servers = direct.replace(',', "\", \"");
    let cluster_and_rack =
        format!("  bootstrap_servers: [\"{servers}\"]\n  connection: {{client_rack: rack-{other}}}\n");
    let file = format!(
        "mode: migrate\nmigration_id: near\nsource:\n{cluster_and_rack}  topics: {{include: [near]}}\ntarget:\n{cluster_and_rack}migrate:\n  \
         topic_mapping: {{near: near-too}}\n"
    );
    let migrate = Replevin::new(&["migrate", "--until-caught-up", "--output", "json"]).config(file);
    let report = json(&migrate.limit(Duration::from_secs(90)).run().expect_code(0));
    assert_eq!(report["partitions"][0]["proof"]["verdict"], "equal", "{report:#}");
    cluster.stop();
}
