//! The daemon: several backups and a registry in one process, each kept running by itself, told of at one address.

use sandbox::binary::{Replevin, Running};
use sandbox::client::{self, NewRecord, Producer};
use sandbox::http;
use sandbox::job::{Job, folder, json};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::process::wait_until;
use sandbox::scratch::{Port, Scratch};
use serde_json::{Value, json};
use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);

fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]))
}

/// Job files in a folder.
struct Daemon {
    scratch: Scratch,
    metrics: Port,
}

impl Daemon {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        fs::create_dir(scratch.path().join("jobs")).expect("a folder");
        Self { scratch, metrics: Port::reserve() }
    }

    fn job(&self, id: &str) -> Job {
        self.job_of(id, &[id])
    }

    fn job_of(&self, id: &str, topics: &[&str]) -> Job {
        let metrics = format!(
            "metrics: {{bind_address: 127.0.0.1, port: {}, max_partition_labels: 5}}",
            self.metrics.number()
        );
        let store = folder(&self.scratch.path().join("store"));
        Job::new(id, &cluster().bootstrap(), &store)
            .topics(topics)
            .top(&metrics)
            .set("segment_max_interval_ms: 200")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.scratch.path().join("jobs").join(name), text).expect("a file");
    }

    fn run(&self) -> Replevin {
        let jobs = self.scratch.path().join("jobs").display().to_string();
        Replevin::new(&["run", "--output", "json", "-c", &jobs]).limit(LIMIT)
    }

    fn get(&self, path: &str) -> (u16, String) {
        match http::request(&self.metrics.address(), "GET", path, &[], b"") {
            Ok(answer) => (answer.status, answer.text()),
            Err(error) => (0, error.to_string()),
        }
    }

    /// The value of a number.
    fn number(&self, name: &str, backup: &str) -> Option<f64> {
        let begin = format!("{name}{{backup_id=\"{backup}\"}} ");
        self.get("/metrics").1.lines().find_map(|line| line.strip_prefix(&begin)?.parse().ok())
    }
}

fn until(what: &str, running: &Running, is_so: impl Fn() -> bool) {
    let told = wait_until(LIMIT, || if is_so() { Ok(()) } else { Err(what.to_owned()) });
    told.unwrap_or_else(|error| panic!("{error}\n{}", running.stderr()));
}

fn send(topic: &str, count: usize) {
    let records: Vec<_> = (0..count).map(|n| NewRecord::new(format!("{n}"), "some")).collect();
    Producer::new(&cluster().bootstrap(), &[]).send(topic, &records);
}

#[test]
fn a_job_that_fails_stops_no_other_one_and_comes_back_by_itself() {
    for topic in ["well", "ill"] {
        client::create_topic(&cluster().bootstrap(), topic, 1, 1, &[]);
    }
    let (daemon, registry) = (Daemon::new("run"), Port::reserve());
    let own = format!(
        "registry: {{server: {{host: 127.0.0.1, port: {}}}, storage: {{type: memory}}}}",
        registry.number()
    );
    let well = daemon.job("well").top(&own).top("schema_registry: {backup: {poll_interval: 1s}}");
    daemon.write("well.yaml", &well.file());
    // Where its store should be a folder there is a file.
    let wrong = daemon.scratch.path().join("wrong");
    fs::write(&wrong, "").expect("a file");
    let ill = Job::new("ill", &cluster().bootstrap(), &folder(&wrong)).topics(&["ill"]);
    daemon.write("ill.yml", &ill.file());
    daemon.write("ignored.txt", "no job");

    let running = daemon.run().start();
    until("the well job is up", &running, || daemon.number("replevin_backup_running", "well") == Some(1.0));
    let schema = json!({ "schema": "\"long\"" }).to_string();
    let headers = [("Content-Type", "application/json")];
    until("the registry serves", &running, || {
        let path = "/subjects/well-value/versions";
        http::request(&registry.address(), "POST", path, &headers, schema.as_bytes())
            .is_ok_and(|a| a.status == 200)
    });
    send("well", 10);
    until("the well job commits", &running, || {
        daemon.number("replevin_backup_committed_records_total", "well") == Some(10.0)
    });
    how_far_it_is_behind_is_told(&daemon, &running);
    what_it_does_is_shown(&daemon);
    until("the ill job is begun anew", &running, || {
        daemon.number("replevin_backup_restarts_total", "ill") >= Some(1.0)
    });
    assert_eq!(daemon.get("/livez").0, 200);
    let (status, why) = daemon.get("/readyz");
    assert_eq!(status, 503, "{why}");
    assert!(why.contains("\"ill\"") && !why.contains("\"well\""), "{why}");
    let told: Value = serde_json::from_str(&daemon.get("/status").1).expect("JSON");
    assert_eq!(told["jobs"].as_array().map(Vec::len), Some(2), "{told:#}");

    fs::remove_file(&wrong).expect("removed");
    send("ill", 5);
    until("the ill job is well", &running, || daemon.get("/readyz").0 == 200);
    until("it commits", &running, || {
        daemon.number("replevin_backup_committed_records_total", "ill") == Some(5.0)
    });
    // What is fetched when it is told to stop is committed first.
    send("well", 7);
    until("they are fetched", &running, || {
        daemon.number("replevin_backup_fetched_records_total", "well") == Some(17.0)
    });
    running.signal("TERM");
    let report = json(&running.wait().expect_code(0));
    assert_eq!(report["exit_code"], 0, "{report:#}");
    assert_eq!((well.position("well", 0), ill.position("ill", 0)), (17, 5));
    let described = well.describe();
    assert!(
        described["schema_registry"].to_string().contains("well-value"),
        "{:#}",
        described["schema_registry"]
    );
}

#[test]
fn files_that_are_read_again_change_what_runs_and_nothing_else() {
    for topic in ["stays", "changes", "goes", "comes"] {
        client::create_topic(&cluster().bootstrap(), topic, 1, 1, &[]);
    }
    let daemon = Daemon::new("run-again");
    let jobs = ["stays", "changes", "goes", "comes"].map(|name| daemon.job(name));
    let [stays, changes, goes, comes] = &jobs;
    for (name, job) in [("stays", stays), ("changes", changes), ("goes", goes)] {
        daemon.write(&format!("{name}.yaml"), &job.file());
    }
    let running = daemon.run().start();
    until("all are up", &running, || daemon.get("/readyz").0 == 200);
    send("goes", 3);
    until("it commits", &running, || goes.position("goes", 0) == 3);
    let since = |name: &str| {
        let told: Value = serde_json::from_str(&daemon.get("/status").1).expect("JSON");
        let jobs = told["jobs"].as_array().expect("jobs").clone();
        jobs.iter().find(|job| job["backup_id"] == name).map(|job| job["since_ms"].clone())
    };
    let before = since("stays");

    // A file that is not as it must be changes nothing.
    daemon.write("comes.yaml", "mode: backup\nbakup_id: comes\n");
    running.signal("HUP");
    until("it is said", &running, || running.stderr().contains("bakup_id"));
    assert_eq!(daemon.get("/readyz").0, 200);

    // One file comes, one goes, one says something else, and one something that cannot change.
    daemon.write("comes.yaml", &comes.file());
    fs::remove_file(daemon.scratch.path().join("jobs/goes.yaml")).expect("removed");
    daemon.write("changes.yaml", &daemon.job_of("changes", &["changes", "goes"]).file());
    let other_store = folder(&daemon.scratch.path().join("other"));
    let moved = Job::new("stays", &cluster().bootstrap(), &other_store).topics(&["stays"]);
    daemon.write("stays.yaml", &moved.file());
    running.signal("HUP");
    until("the new one is up", &running, || daemon.get("/readyz").0 == 200 && since("comes").is_some());
    until("the changed one takes another topic too", &running, || changes.position("goes", 0) == 3);
    assert_eq!((since("goes"), since("stays")), (None, before));
    assert!(running.stderr().contains("storage, metrics"), "{}", running.stderr());
    assert_eq!(daemon.number("replevin_backup_running", "goes"), None);
    for (name, job) in [("stays", stays), ("changes", changes), ("comes", comes)] {
        send(name, 5);
        until(name, &running, || job.position(name, 0) == 5);
    }
    // Another name for a file is the same job, which ends before it begins again; and what it does not take any more is told of no more.
    fs::remove_file(daemon.scratch.path().join("jobs/changes.yaml")).expect("removed");
    daemon.write("renamed.yaml", &daemon.job_of("changes", &["goes"]).file());
    running.signal("HUP");
    let lags = |topic: &str| {
        let series = format!("replevin_backup_topic_lag_offsets{{backup_id=\"changes\",topic=\"{topic}\"}} ");
        daemon.get("/metrics").1.contains(&series)
    };
    until("it is up under its new name", &running, || {
        daemon.get("/status").1.contains("renamed.yaml") && daemon.get("/readyz").0 == 200 && lags("goes")
    });
    assert!(!lags("changes"));
    send("goes", 2);
    until("the changed one goes on", &running, || changes.position("goes", 0) == 5);
    running.signal("TERM");
    running.wait().expect_code(0);
    assert_eq!(goes.position("goes", 0), 3);
    assert!(!daemon.scratch.path().join("other").exists(), "a store that was refused");
}

/// All is committed of a job's one topic with one partition, and it stays so.
fn how_far_it_is_behind_is_told(daemon: &Daemon, running: &Running) {
    let of = [
        ("", "{backup_id=\"well\"} "),
        ("topic_", "{backup_id=\"well\",topic=\"well\"} "),
        ("partition_", "{backup_id=\"well\",partition=\"0\",topic=\"well\"} "),
    ];
    let value = |text: &str, series: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(series)?.parse().ok())
    };
    until("nothing is behind", running, || {
        let text = daemon.get("/metrics").1;
        of.iter().all(|(part, labels)| {
            let lag = value(&text, &format!("replevin_backup_{part}lag_offsets{labels}"));
            let age = value(&text, &format!("replevin_backup_{part}recovery_point_age_seconds{labels}"));
            lag == Some(0.0) && age.is_some_and(|age| age < 5.0)
        })
    });
    for (name, expected) in [
        ("replevin_backup_followed_partitions", 1.0),
        ("replevin_backup_failed_partitions", 0.0),
        ("replevin_backup_partitions_without_recovery_point", 0.0),
        ("replevin_backup_topic_unstable_offsets", 0.0),
        ("replevin_backup_gaps_total", 0.0),
    ] {
        let labels = if name.contains("_topic_") { of[1].1 } else { of[0].1 };
        assert_eq!(value(&daemon.get("/metrics").1, &format!("{name}{labels}")), Some(expected), "{name}");
    }
    let committed = daemon.number("replevin_backup_last_commit_timestamp_seconds", "well").expect("a time");
    how_the_stages_work_is_told(daemon);
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
    assert!((now - committed).abs() < 60.0, "{committed} is not near {now}");
}

fn how_the_stages_work_is_told(daemon: &Daemon) {
    let text = daemon.get("/metrics").1;
    let value = |name: &str, labels: &str| -> f64 {
        let series = format!("replevin_backup_{name}{{backup_id=\"well\"{labels}}} ");
        let found = text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok());
        found.unwrap_or_else(|| panic!("{series} is not in\n{text}"))
    };
    for stage in ["fetch", "cut", "encode", "upload", "commit"] {
        let of = format!(",stage=\"{stage}\"");
        assert!(value("stage_busy_seconds_total", &of) > 0.0, "{stage}");
        assert!(value("stage_items_total", &of) >= 1.0 && value("stage_bytes_total", &of) > 0.0, "{stage}");
        if stage != "fetch" {
            assert!(value("queue_depth", &of) <= value("queue_limit", &of), "{stage}");
            assert!(value("queue_limit", &of) > 0.0, "{stage}");
        }
    }
    assert!(value("memory_wait_seconds_total", "") < 1.0);
    let created = value("store_requests_total", ",operation=\"create\"");
    let classes = |bound: &str| {
        let of = format!(",operation=\"create\",le=\"{bound}\"");
        value("store_request_duration_seconds_bucket", &of)
    };
    assert!(created >= 2.0 && classes("+Inf") == created && classes("30") <= created);
    assert!(value("store_sent_bytes_total", "") > 0.0);
    assert_eq!((value("store_retries_total", ""), classes("0.001") <= classes("0.01")), (0.0, true));
}

fn what_it_does_is_shown(daemon: &Daemon) {
    let file = daemon.scratch.path().join("jobs/well.yaml").display().to_string();
    let url = format!("http://{}", daemon.metrics.address());
    let show = |arguments: &[&str]| Replevin::new(arguments).limit(LIMIT).run();
    let shown = show(&["status", "-c", &file, "--interval", "1"]).expect_code(0).stdout;
    let brakes = ["well: no stage is the brake", "ill: has failed and waits"];
    for words in [url.as_str(), "BACKUP", "fetch", "commit", "requests/s"].iter().chain(&brakes) {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    let told = json(&show(&["status", "--url", &url, "--backup", "well", "-o", "json"]).expect_code(0));
    let jobs = told["jobs"].as_array().expect("jobs");
    assert_eq!((jobs.len(), &jobs[0]["committed"]["records"]), (1, &json!(10)), "{told:#}");
    let shown = show(&["top", "--url", &url, "--backup", "well", "--interval", "1", "-n", "2"]);
    assert_eq!(shown.expect_code(0).stdout.matches("well: no stage is the brake").count(), 2);
    show(&["status", "--url", &url, "--backup", "other"]).expect_code(10);
    let nobody = Port::reserve();
    let nowhere = show(&["top", "--url", &format!("http://{}", nobody.address())]).expect_code(1);
    assert!(nowhere.stderr.contains("no daemon answers"), "{}", nowhere.stderr);
}

#[test]
fn a_backup_without_an_end_is_a_daemon_with_one_job() {
    client::create_topic(&cluster().bootstrap(), "alone", 1, 1, &[]);
    let daemon = Daemon::new("run-alone");
    let job = daemon.job("alone");
    let running = job.continuous().start();
    until("it is up", &running, || daemon.get("/readyz").0 == 200);
    send("alone", 4);
    until("it commits", &running, || {
        daemon.number("replevin_backup_committed_records_total", "alone") == Some(4.0)
    });
    // Its store is gone and comes back: it is begun anew, and goes on.
    let (store, away) = (daemon.scratch.path().join("store"), daemon.scratch.path().join("away"));
    fs::rename(&store, &away).expect("renamed");
    fs::write(&store, "").expect("a file");
    send("alone", 3);
    until("it is begun anew", &running, || {
        daemon.number("replevin_backup_restarts_total", "alone") >= Some(1.0)
    });
    fs::remove_file(&store).expect("removed");
    fs::rename(&away, &store).expect("renamed");
    until("it commits again", &running, || job.position("alone", 0) == 7);
    running.signal("TERM");
    let report = json(&running.wait().expect_code(0));
    assert_eq!((&report["backup_id"], &report["exit_code"]), (&json!("alone"), &json!(0)), "{report:#}");

    // What no waiting mends is said at once, where nothing was done yet.
    let nowhere = Job::new("alone", &cluster().bootstrap(), &folder(&daemon.scratch.path().join("file")));
    fs::write(daemon.scratch.path().join("file"), "").expect("a file");
    let refused = nowhere.top("metrics: {enabled: false}").continuous().run();
    assert!(matches!(refused.code(), Some(1 | 2)), "{:?}: {}", refused.code(), refused.stderr);
    assert!(refused.stderr.contains("file"), "{}", refused.stderr);
}

#[test]
fn a_backup_that_another_one_takes_over_ends_and_the_others_go_on() {
    for topic in ["taken", "left"] {
        client::create_topic(&cluster().bootstrap(), topic, 1, 1, &[]);
    }
    let daemon = Daemon::new("run-fenced");
    let (taken, left) = (daemon.job("taken"), daemon.job("left"));
    daemon.write("taken.yaml", &taken.file());
    daemon.write("left.yaml", &left.file());
    let running = daemon.run().start();
    until("both are up", &running, || daemon.get("/readyz").0 == 200);
    send("taken", 3);
    until("it commits", &running, || taken.position("taken", 0) == 3);
    taken.back_up(0);
    send("taken", 4);
    until("it has ended", &running, || daemon.get("/status").1.contains("\"phase\":\"ended\""));
    send("left", 5);
    until("the other goes on", &running, || left.position("left", 0) == 5);
    assert_eq!(daemon.number("replevin_backup_running", "taken"), Some(0.0));
    running.signal("TERM");
    running.wait().expect_code(11);
    assert_eq!(taken.back_up(0)["records"], 4);
}

#[test]
fn what_is_wrong_with_any_file_is_said_before_anything_begins() {
    let daemon = Daemon::new("run-wrong");
    let refused = |words: &[&str]| {
        let finished = daemon.run().run().expect_code(2);
        words.iter().for_each(|word| assert!(finished.stderr.contains(word), "{word}: {}", finished.stderr));
    };
    refused(&["has no file that ends in .yaml"]);
    let job = daemon.job("twice");
    daemon.write("a.yaml", &job.file());
    daemon.write("b.yaml", &job.file());
    refused(&["b.yaml: backup twice", "a.yaml already", "another backup_id"]);
    daemon.write("b.yaml", &job.restore(&cluster().bootstrap()).file());
    refused(&["b.yaml", "another job"]);
    daemon.write("b.yaml", "mode: backup\nbakup_id: x\n");
    refused(&["bakup_id"]);
    fs::remove_file(daemon.scratch.path().join("jobs/b.yaml")).expect("removed");
    let taken = std::net::TcpListener::bind(daemon.metrics.address()).expect("a port");
    refused(&["cannot listen on", "metrics.port"]);
    drop(taken);
    assert!(!daemon.scratch.path().join("store").exists(), "something was written");
}
