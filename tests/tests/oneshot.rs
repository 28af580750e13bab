//! Jobs with an end are told of: asked while they run, and pushed to a real Pushgateway, also when they are over.

use sandbox::binary::Replevin;
use sandbox::client::{self, NewRecord, Producer};
use sandbox::http;
use sandbox::job::{Job, folder};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::process::wait_until;
use sandbox::pushgateway::Pushgateway;
use sandbox::scratch::{Port, Scratch};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn what_a_job_with_an_end_does_is_told_while_it_runs_and_pushed_when_it_is_over() {
    let (cluster, pushgateway) = (KafkaCluster::start(KafkaVersion::V4, 1, &[]), Pushgateway::start());
    let (scratch, bootstrap) = (Scratch::new("oneshot"), cluster.bootstrap());
    client::create_topic(&bootstrap, "short", 2, 1, &[]);
    let record = |n: i32| NewRecord::new(format!("{n}"), "x".repeat(1000)).partition(n % 2);
    let records: Vec<_> = (0..400).map(record).collect();
    Producer::new(&bootstrap, &[("batch.size", "16384")]).send("short", &records);

    let asked = Port::reserve();
    let metrics = format!(
        "metrics: {{bind_address: 127.0.0.1, port: {}, push_url: \"{}\", push_job: nights, push_interval: 1s}}",
        asked.number(),
        pushgateway.url()
    );
    let pushed = |name: &str, command: &str, id: (&str, &str)| {
        pushgateway.value(name, &[("job", "nights"), ("command", command), id])
    };
    let id = ("backup_id", "short");

    let job = Job::new("short", &bootstrap, &folder(scratch.path())).topics(&["short"]).top(&metrics);
    assert_eq!(job.back_up(0)["records"], 400);
    assert_eq!(pushed("replevin_job_exit_code", "backup", id), Some(0.0));
    assert_eq!(pushed("replevin_backup_committed_records_total", "backup", id), Some(400.0));
    assert!(pushed("replevin_backup_store_sent_bytes_total", "backup", id) > Some(1000.0));
    let succeeded = pushed("replevin_job_last_success_timestamp_seconds", "backup", id);
    assert!(succeeded > Some(1.7e9), "{succeeded:?}");

    // 400 KB at 100 KB a second: it can be asked meanwhile, and pushes by itself.
    let restore = job
        .restore(&bootstrap)
        .topics(&["short"])
        .set("topic_mapping: {short: back}")
        .set("rate_limit_bytes_per_sec: 100kB")
        .set("produce_batch_size: 10");
    let running = restore.top(&metrics).command(&[]).start();
    let number = |name: &str| {
        let text = http::request(&asked.address(), "GET", "/metrics", &[], &[]).ok()?.text();
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("{backup_id=\"short\"} "));
        line.and_then(|value| value.parse::<f64>().ok())
    };
    let seen = wait_until(LIMIT, || {
        let acknowledged = number("replevin_restore_acknowledged_records_total");
        let is_half_way = acknowledged > Some(0.0) && acknowledged < Some(400.0);
        let left = number("replevin_restore_remaining_seconds");
        if is_half_way && left.is_some() { Ok(()) } else { Err(format!("{acknowledged:?} {left:?}")) }
    });
    seen.unwrap_or_else(|error| panic!("{error}\n{}", running.stderr()));
    assert_eq!(pushed("replevin_job_running", "restore", id), Some(1.0));
    running.wait().expect_code(0);
    assert_eq!(pushed("replevin_job_running", "restore", id), Some(0.0));
    assert_eq!(pushed("replevin_restore_acknowledged_records_total", "restore", id), Some(400.0));
    assert_eq!(pushed("replevin_restore_done_partitions", "restore", id), Some(2.0));
    let succeeded = pushed("replevin_job_last_success_timestamp_seconds", "restore", id);
    assert!(succeeded > Some(1.7e9), "{succeeded:?}");

    // One that fails says so, and leaves when it last ended well as it was.
    let nothing = Job::new("short", &bootstrap, &folder(&scratch.path().join("empty")));
    nothing.restore(&bootstrap).top(&metrics).command(&[]).run().expect_code(10);
    assert_eq!(pushed("replevin_job_exit_code", "restore", id), Some(10.0));
    assert_eq!(pushed("replevin_job_last_success_timestamp_seconds", "restore", id), succeeded);

    let migration = format!(
        "mode: migrate\nmigration_id: moved\n{metrics}\nsource:\n  bootstrap_servers: [\"{bootstrap}\"]\n  topics: {{include: [short]}}\n\
         target:\n  bootstrap_servers: [\"{bootstrap}\"]\nmigrate:\n  topic_mapping: {{short: moved}}\n"
    );
    Replevin::new(&["migrate", "--until-caught-up"]).config(migration).limit(LIMIT).run().expect_code(0);
    let id = ("migration_id", "moved");
    assert_eq!(pushed("replevin_job_exit_code", "migrate", id), Some(0.0));
    assert_eq!(pushed("replevin_migrate_acknowledged_records_total", "migrate", id), Some(400.0));
    assert_eq!(pushed("replevin_migrate_lag_offsets", "migrate", id), Some(0.0));

    // Nobody to push to is said, and changes nothing else.
    let nobody = Port::reserve();
    let alone = Job::new("alone", &bootstrap, &folder(scratch.path())).topics(&["short"]);
    let alone = alone.top(&format!(
        "metrics: {{bind_address: 127.0.0.1, port: 0, push_url: \"http://{}\"}}",
        nobody.address()
    ));
    let finished = alone.once().run().expect_code(0);
    assert!(finished.stderr.contains("was not pushed"), "{}", finished.stderr);
}
