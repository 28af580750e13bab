//! The daemon and its service manager: what it says at NOTIFY_SOCKET, and when. What systemd makes of it is systemd's.

use sandbox::binary::{Replevin, Running};
use sandbox::client;
use sandbox::job::{Job, folder};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::notify::Ear;
use sandbox::scratch::{Port, Scratch};
use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

fn says(lines: &[String], line: &str) -> bool {
    lines.iter().any(|said| said == line)
}

fn run(file: &str, ear: &Ear, watchdog: Option<&str>) -> Running {
    let daemon = Replevin::new(&["run", "-c", file]).limit(LIMIT).env("NOTIFY_SOCKET", &ear.path());
    watchdog.iter().fold(daemon, |daemon, time| daemon.env("WATCHDOG_USEC", time)).start()
}

#[test]
fn it_says_when_it_is_ready_reads_its_files_again_lives_and_stops() {
    let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
    client::create_topic(&cluster.bootstrap(), "told", 1, 1, &[]);
    let (ear, scratch, port) = (Ear::open(), Scratch::new("service"), Port::reserve());
    let metrics = format!("metrics: {{bind_address: 127.0.0.1, port: {}}}", port.number());
    let store = folder(&scratch.path().join("store"));
    let job = Job::new("told", &cluster.bootstrap(), &store).topics(&["told"]).top(&metrics);
    let file = scratch.path().join("told.yaml").display().to_string();
    fs::write(&file, job.file()).expect("a file");

    let began = Instant::now();
    let running = run(&file, &ear, Some("600000"));
    let first = ear.next(LIMIT).expect("a message");
    assert!(says(&first, "READY=1"), "{first:?}");
    assert!(first.iter().any(|line| line.starts_with("STATUS=0 of 1 backups running; told ")), "{first:?}");
    TcpStream::connect(port.address()).expect("what is ready has its addresses");
    ear.hear("STATUS=1 of 1 backups running", LIMIT);

    // Alive: twice within the time that systemd waits, so that one late message is no death.
    let alive = Instant::now();
    for _ in 0..6 {
        let before = Instant::now();
        ear.hear("WATCHDOG=1", LIMIT);
        assert!(
            before.elapsed() < Duration::from_millis(600),
            "systemd would have killed it: {:?}",
            before.elapsed()
        );
    }
    assert!(
        alive.elapsed() > Duration::from_millis(1200),
        "{:?}: more often than is asked for",
        alive.elapsed()
    );

    // The time is that of the machine's monotonic clock, which began before the daemon, and goes on.
    let reload = |status: &str| {
        running.signal("HUP");
        let said = ear.hear("RELOADING=1", LIMIT);
        let time = said.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")?.parse::<u64>().ok());
        let said = ear.hear("READY=1", LIMIT);
        assert!(said.iter().any(|line| line.starts_with("STATUS=") && line.ends_with(status)), "{said:?}");
        time.expect("a time")
    };
    let first = reload("1 of 1 backups running");
    fs::write(&file, "mode: backup\nbakup_id: x\n").expect("a file");
    let second = reload("were refused, see the log");
    let apart = Duration::from_micros(second - first);
    assert!(apart > Duration::ZERO && apart < began.elapsed(), "{apart:?}");
    fs::write(&file, job.file()).expect("a file");
    reload("1 of 1 backups running");

    // A process that stands still is not alive.
    running.signal("STOP");
    while ear.next(Duration::from_millis(700)).is_some() {}
    running.signal("CONT");
    ear.hear("WATCHDOG=1", LIMIT);

    running.signal("TERM");
    ear.hear("STOPPING=1", LIMIT);
    running.wait().expect_code(0);
    while let Some(lines) = ear.next(Duration::from_millis(100)) {
        assert!(!says(&lines, "READY=1") && !says(&lines, "STOPPING=1"), "after its end: {lines:?}");
    }
}

#[test]
fn a_registry_alone_reads_its_file_again_and_nobody_is_told_who_did_not_ask() {
    let (ear, scratch, port) = (Ear::open(), Scratch::new("service-registry"), Port::reserve());
    let file = scratch.path().join("registry.yaml").display().to_string();
    let text = format!("server: {{host: 127.0.0.1, port: {}}}\nstorage: {{type: memory}}\n", port.number());
    fs::write(&file, text).expect("a file");
    let running = run(&file, &ear, None);
    ear.hear("READY=1", LIMIT);
    TcpStream::connect(port.address()).expect("what is ready has its addresses");
    running.signal("HUP");
    ear.hear("RELOADING=1", LIMIT);
    let again = ear.hear("READY=1", LIMIT);
    assert!(says(&again, "STATUS=0 of 0 backups running"), "{again:?}");
    running.signal("TERM");
    let last = ear.hear("STOPPING=1", LIMIT);
    assert!(!last.iter().any(|line| line.starts_with("WATCHDOG")), "nobody asked whether it lives: {last:?}");
    running.wait().expect_code(0);
}

#[test]
fn a_socket_that_nobody_listens_at_stops_nothing() {
    let (scratch, port) = (Scratch::new("service-deaf"), Port::reserve());
    let text = format!("server: {{host: 127.0.0.1, port: {}}}\nstorage: {{type: memory}}\n", port.number());
    let file = scratch.path().join("registry.yaml").display().to_string();
    fs::write(&file, text).expect("a file");
    let nowhere = scratch.path().join("nowhere").display().to_string();
    let daemon = Replevin::new(&["run", "-c", &file]).limit(LIMIT);
    let mut running = daemon.env("NOTIFY_SOCKET", &nowhere).env("WATCHDOG_USEC", "100000").start();
    running.wait_for("cannot be told anything");
    running.wait_for("the registry serves");
    std::thread::sleep(Duration::from_millis(500));
    running.signal("TERM");
    let finished = running.wait().expect_code(0);
    assert_eq!(finished.stderr.matches("cannot be told anything").count(), 1, "{}", finished.stderr);
}
