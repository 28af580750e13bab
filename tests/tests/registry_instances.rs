//! Three instances of the binary over one store of each kind that can be shared: what one has acknowledged all know, and those that
//! die in the middle of a registration (SIGKILL) take nothing with them and leave nothing half done.

#![expect(clippy::print_stdout, reason = "how quick it was, for who runs it with --nocapture")]

use sandbox::binary::{Replevin, Running};
use sandbox::cassandra::Cassandra;
use sandbox::http;
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::mariadb::{self, Mariadb};
use sandbox::postgres::{self, Postgres};
use sandbox::scratch::Port;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(90);
/// What one has acknowledged the others list after a second; a busy machine gets twice that.
const COHERENT: Duration = Duration::from_secs(2);
const CLIENTS: usize = 4;
const DEATHS: usize = 4;

/// Subjects with the ids that clients were told.
type Told = Mutex<BTreeMap<String, u64>>;

fn ask(address: &str, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    let headers = [("Content-Type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = http::request(address, method, path, &headers, body.as_bytes()).ok()?;
    Some((answer.status, serde_json::from_slice(&answer.body).ok()?))
}

fn get(address: &str, path: &str) -> Value {
    match ask(address, "GET", path, &Value::Null) {
        Some((200, answer)) => answer,
        other => panic!("{path} at {address}: {other:?}"),
    }
}

/// Registers a record that is named as its subject is. Nothing when the instance is dying, or another one that it needs.
fn register(address: &str, subject: &str) -> Option<u64> {
    let name = subject.replace('-', "_");
    let schema = json!({ "type": "record", "name": name, "fields": [{ "name": "id", "type": "int" }] });
    let path = format!("/subjects/{subject}/versions");
    let (status, answer) = ask(address, "POST", &path, &json!({ "schema": schema.to_string() }))?;
    assert!(status == 200 || status >= 500, "{subject}: {status} {answer}");
    answer["id"].as_u64()
}

fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(serve: &dyn Fn() -> Replevin, port: &Port) -> Running {
    let run = serve().env("SERVER_HOST", "127.0.0.1").env("SERVER_PORT", &port.number().to_string());
    let mut running = run.limit(LIMIT).start();
    running.wait_for("the registry serves");
    running
}

/// A client that registers names of its own and, every fourth time, one that all clients register at once.
fn client(number: usize, instances: &[String], told: &Told, is_over: &AtomicBool) {
    let mut at = number;
    for round in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let subject = if round % 4 == 0 { format!("all-{round}") } else { format!("own-{number}-{round}") };
        // As clients do: where one instance does not answer the next is asked.
        let id = until(&subject, || {
            at += 1;
            register(&instances[at % instances.len()], &subject)
        });
        let before = told.lock().unwrap_or_else(PoisonError::into_inner).insert(subject.clone(), id);
        assert!(before.is_none_or(|before| before == id), "{subject} is {before:?} and {id}");
    }
}

/// Clients at all instances, which die one after the other; each is started again after `gone`. Answers what was acknowledged.
fn register_around_deaths(
    serve: &dyn Fn() -> Replevin,
    ports: &[Port],
    running: &mut [Running],
    gone: Duration,
) -> BTreeMap<String, u64> {
    let instances: Vec<String> = ports.iter().map(Port::address).collect();
    let (told, is_over) = (Told::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (instances, told, is_over) = (&instances, &told, &is_over);
            scope.spawn(move || client(number, instances, told, is_over));
        }
        for death in 0..DEATHS {
            let dying = death % ports.len();
            std::thread::sleep(Duration::from_millis(700));
            running[dying].kill9();
            std::thread::sleep(gone);
            running[dying] = start(serve, &ports[dying]);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    told.into_inner().expect("no panic")
}

/// The whole of it on one store; `serve` starts an instance there.
fn share(serve: &dyn Fn() -> Replevin) {
    let ports = [Port::reserve(), Port::reserve(), Port::reserve()];
    let instances = [ports[0].address(), ports[1].address(), ports[2].address()];
    let mut running: Vec<Running> = ports.iter().map(|port| start(serve, port)).collect();
    for (n, instance) in instances.iter().enumerate() {
        let subject = format!("first-{n}");
        until("nobody writes", || register(instance, &subject));
        let done = Instant::now();
        for other in &instances {
            let versions = get(other, &format!("/subjects/{subject}/versions"));
            assert_eq!(versions, json!([1]), "{other} does not know {subject}");
            until(&subject, || get(other, "/subjects").as_array()?.contains(&json!(subject)).then_some(()));
        }
        println!("all list {subject} after {:?}", done.elapsed());
        assert!(done.elapsed() < COHERENT, "{:?}", done.elapsed());
    }
    let told = register_around_deaths(serve, &ports, &mut running, Duration::from_millis(200));
    for instance in &instances {
        // The list may be half a second old.
        until("the instances agree", || (held(instance) == held(&instances[0])).then_some(()));
    }
    is_whole(&told, &instances[0]);
}

/// What was acknowledged is there once, with the id that was told, and ids have no gaps.
fn is_whole(told: &BTreeMap<String, u64>, instance: &str) {
    println!("{} registrations were acknowledged around {DEATHS} deaths", told.len());
    assert!(told.len() > 2 * CLIENTS, "{told:?}");
    let all = held(instance);
    for (subject, id) in told {
        let found: Vec<&Value> = all.iter().filter(|schema| schema["subject"] == subject.as_str()).collect();
        assert!(found.len() == 1 && found[0]["id"] == json!(id), "{subject} is {id} and {found:?}");
    }
    let mut ids: Vec<u64> = all.iter().filter_map(|schema| schema["id"].as_u64()).collect();
    ids.sort_unstable();
    let count = u64::try_from(ids.len()).expect("few");
    assert_eq!(ids, (1..=count).collect::<Vec<_>>());
}

fn held(instance: &str) -> Vec<Value> {
    get(instance, "/schemas").as_array().expect("a list").clone()
}

#[test]
fn on_postgresql() {
    let server = Postgres::start();
    server.sql("postgres", "CREATE DATABASE schemas");
    share(&|| {
        Replevin::new(&["registry", "serve"])
            .env("STORAGE_TYPE", "postgresql")
            .env("POSTGRES_HOST", "127.0.0.1")
            .env("POSTGRES_PORT", &server.port().to_string())
            .env("POSTGRES_USER", postgres::USER)
            .env("POSTGRES_PASSWORD", postgres::PASSWORD)
            .env("POSTGRES_DATABASE", "schemas")
            .env("SCHEMA_REGISTRY_PG_MAX_CONNECTIONS", "10")
    });
}

#[test]
fn on_mysql() {
    let server = Mariadb::start();
    server.sql("mysql", "CREATE DATABASE registry");
    share(&|| {
        Replevin::new(&["registry", "serve"])
            .env("STORAGE_TYPE", "mysql")
            .env("MYSQL_HOST", "127.0.0.1")
            .env("MYSQL_PORT", &server.port().to_string())
            .env("MYSQL_USER", mariadb::USER)
            .env("MYSQL_PASSWORD", mariadb::PASSWORD)
            .env("MYSQL_DATABASE", "registry")
    });
}

#[test]
fn on_cassandra() {
    let server = Cassandra::start();
    share(&|| {
        Replevin::new(&["registry", "serve"])
            .env("STORAGE_TYPE", "cassandra")
            .env("SCHEMA_REGISTRY_CASSANDRA_HOSTS", &server.address())
    });
}

#[test]
fn on_kafka() {
    let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
    share(&|| {
        Replevin::new(&["registry", "serve"])
            .env("STORAGE_TYPE", "kafka")
            .env("SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS", &cluster.bootstrap())
            .env("SCHEMA_REGISTRY_HOST_NAME", "127.0.0.1")
    });
}

/// Of this kind nobody can share one; the same file is opened again after each death.
#[test]
fn sqlite_is_opened_again_after_each_death() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = Port::reserve();
    let serve = || {
        let data = folder.path().display().to_string();
        Replevin::new(&["registry", "serve"]).env("STATE_DIRECTORY", &data)
    };
    let mut running = [start(&serve, &port)];
    let ports = [port];
    let told = register_around_deaths(&serve, &ports, &mut running, Duration::ZERO);
    is_whole(&told, &ports[0].address());
}
