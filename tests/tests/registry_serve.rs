//! `replevin registry serve` on real databases: configured as the operations guide does it, with stores that come late, go away and
//! come back.

use sandbox::binary::{Replevin, Running};
use sandbox::cassandra::Cassandra;
use sandbox::http;
use sandbox::mariadb::{self, Mariadb};
use sandbox::postgres::{self, Postgres};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// A registry that listens on a port of its own.
struct Registry {
    running: Running,
    address: String,
}

impl Registry {
    fn start(run: Replevin) -> Self {
        let run = run.env("SERVER_HOST", "127.0.0.1").env("SERVER_PORT", "0").limit(LIMIT * 2);
        let mut running = run.start();
        running.wait_for("the registry listens");
        let log = running.stderr();
        let address = log.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        Self { address: address.expect("an address").to_owned(), running }
    }

    fn of_file(text: &str) -> Self {
        Self::start(serve().config(text))
    }

    fn of_variables(variables: &[(&str, &str)]) -> Self {
        Self::start(variables.iter().fold(serve(), |run, (name, value)| run.env(name, value)))
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("Content-Type", "application/vnd.schemaregistry.v1+json")];
        let answer = http::request(&self.address, method, path, &headers, body.as_bytes());
        let answer = answer.unwrap_or_else(|error| panic!("{error}\n{}", self.running.stderr()));
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, &Value::Null)
    }

    fn metrics(&self) -> String {
        http::request(&self.address, "GET", "/metrics", &[], b"").expect("metrics").text()
    }

    /// Registers a record of this name; answers its id.
    fn register(&self, subject: &str, name: &str) -> i64 {
        let schema = json!({ "type": "record", "name": name, "fields": [{ "name": "id", "type": "int" }] });
        let (status, answer) = self.ask(
            "POST",
            &format!("/subjects/{subject}/versions"),
            &json!({ "schema": schema.to_string() }),
        );
        assert_eq!(status, 200, "{answer}\n{}", self.running.stderr());
        answer["id"].as_i64().expect("an id")
    }

    /// Asks until this is the status.
    fn becomes(&self, path: &str, status: u16) -> Value {
        let began = Instant::now();
        loop {
            let (found, answer) = self.get(path);
            if found == status {
                return answer;
            }
            assert!(began.elapsed() < LIMIT, "{path}: {found} {answer}\n{}", self.running.stderr());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn stop(self) {
        self.running.signal("TERM");
        self.running.wait().expect_code(0);
    }
}

fn serve() -> Replevin {
    Replevin::new(&["registry", "serve"])
}

/// Two instances over one database: one history, ids without gaps, metrics with connections.
fn two_share(first: &Registry, second: &Registry, backend: &str) {
    first.becomes("/health/ready", 200);
    second.becomes("/health/ready", 200);
    assert_eq!(first.get("/"), (200, json!({})));
    assert_eq!((first.register("a", "A"), second.register("b", "B"), first.register("c", "C")), (1, 2, 3));
    assert_eq!(second.register("a", "A"), 1, "what one has registered the other knows");
    // A list may be half a second old.
    let began = Instant::now();
    while second.get("/subjects").1 != json!(["a", "b", "c"]) {
        assert!(began.elapsed() < LIMIT, "{}", second.get("/subjects").1);
    }
    let metrics = second.metrics();
    for line in [
        format!("schema_registry_storage_up{{backend=\"{backend}\"}} 1"),
        "schema_registry_subjects_total 3".to_owned(),
        "kafka_schema_registry_schemas_created{schema_type=\"avro\"} 1".to_owned(),
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line} is not in\n{metrics}");
    }
    // Lost races are operations too.
    let commits =
        format!("schema_registry_storage_operations_total{{backend=\"{backend}\",operation=\"commit\"}} ");
    assert!(metrics.contains(&commits), "{metrics}");
    if backend != "cassandra" {
        assert!(metrics.contains(&format!(
            "schema_registry_storage_connections{{backend=\"{backend}\",state=\"max\"}}"
        )));
    }
}

#[test]
fn postgresql_by_the_guides_file_and_by_its_variables() {
    let server = Postgres::start();
    let (user, password) = (postgres::USER, postgres::PASSWORD);
    let port = server.port();
    // A registry may be there before its database.
    let by_file = Registry::of_file(&format!(
        "storage:\n  type: postgresql\n  postgresql:\n    host: 127.0.0.1\n    port: {port}\n    user: {user}\n    password: {password}\n    \
         database: schemaregistry\n    sslmode: require\n    max_connections: 25\n    connection_timeout: 5s\n    min_connections: 2\n    \
         max_connection_lifetime: 1h\n"
    ));
    let body = by_file.becomes("/health/startup", 503);
    assert_eq!(body["status"], "DOWN");
    let began = Instant::now();
    while !by_file.get("/health/startup").1["reason"].as_str().unwrap_or_default().contains("CREATE DATABASE")
    {
        assert!(
            began.elapsed() < LIMIT,
            "{:?}\n{}",
            by_file.get("/health/startup"),
            by_file.running.stderr()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(by_file.get("/health/live").0, 200);
    server.sql("postgres", "CREATE DATABASE schemaregistry");
    let by_variables = Registry::of_variables(&[
        ("STORAGE_TYPE", "postgresql"),
        ("POSTGRES_HOST", "localhost"),
        ("POSTGRES_PORT", &port.to_string()),
        ("POSTGRES_USER", user),
        ("POSTGRES_PASSWORD", password),
        ("POSTGRES_DATABASE", "schemaregistry"),
        ("POSTGRES_SSLMODE", "verify-full"),
        ("SCHEMA_REGISTRY_PG_CA_FILE", &server.authority().display().to_string()),
    ]);
    two_share(&by_file, &by_variables, "postgresql");
    assert!(!by_file.running.stderr().contains(password));
    by_file.stop();
    by_variables.stop();
}

#[test]
fn postgresql_may_come_late_go_and_come_back() {
    let mut server = Postgres::start();
    server.sql("postgres", "CREATE DATABASE late");
    server.kill9();
    let registry = Registry::of_variables(&[
        ("STORAGE_TYPE", "postgresql"),
        ("POSTGRES_HOST", "127.0.0.1"),
        ("POSTGRES_PORT", &server.port().to_string()),
        ("POSTGRES_USER", postgres::USER),
        ("POSTGRES_PASSWORD", postgres::PASSWORD),
        ("POSTGRES_DATABASE", "late"),
        ("SCHEMA_REGISTRY_PG_CONNECT_TIMEOUT", "1"),
    ]);
    let (status, body) = registry.get("/subjects");
    assert_eq!((status, &body["error_code"]), (503, &json!(50001)), "{body}");
    assert_eq!(registry.get("/").0, 200, "an orchestrator that kills it gains nothing");
    assert_eq!(registry.get("/health/ready").0, 503, "nor must it send anybody here");
    server.launch();
    registry.becomes("/health/startup", 200);
    assert_eq!(registry.register("s", "A"), 1);
    server.kill9();
    registry.becomes("/health/ready", 503);
    assert_eq!(registry.get("/health/live").0, 200);
    let schema = json!({ "schema": "\"string\"" });
    let (status, body) = registry.ask("POST", "/subjects/other/versions", &schema);
    assert_eq!((status, &body["error_code"]), (503, &json!(50001)), "{body}");
    assert!(registry.metrics().contains("schema_registry_storage_up{backend=\"postgresql\"} 0"));
    server.launch();
    registry.becomes("/health/ready", 200);
    assert_eq!(registry.register("s2", "B"), 2);
    assert!(registry.metrics().contains("schema_registry_storage_up{backend=\"postgresql\"} 1"));
    registry.stop();
}

#[test]
fn mysql_by_the_guides_file_and_by_its_variables() {
    let server = Mariadb::start();
    let (user, password) = (mariadb::USER, mariadb::PASSWORD);
    let port = server.port();
    server.sql("mysql", "CREATE DATABASE schemaregistry");
    let by_file = Registry::of_file(&format!(
        "storage:\n  type: mysql\n  mysql:\n    host: localhost\n    port: {port}\n    user: {user}\n    password: {password}\n    \
         database: schemaregistry\n    tls: true\n    ca_file: {}\n    max_connections: 25\n",
        server.authority().display()
    ));
    let by_variables = Registry::of_variables(&[
        ("STORAGE_TYPE", "mysql"),
        ("MYSQL_HOST", "127.0.0.1"),
        ("MYSQL_PORT", &port.to_string()),
        ("MYSQL_USER", user),
        ("MYSQL_PASSWORD", password),
        ("MYSQL_DATABASE", "schemaregistry"),
    ]);
    two_share(&by_file, &by_variables, "mysql");
    // A certificate of nobody that is known is not believed, and no password goes there.
    let distrusting = Registry::of_file(&format!(
        "storage: {{type: mysql, mysql: {{host: localhost, port: {port}, user: {user}, password: {password}, database: schemaregistry, tls: true}}}}\n"
    ));
    let began = Instant::now();
    while !distrusting.get("/health/startup").1["reason"].as_str().unwrap_or_default().contains("ca_file") {
        assert!(began.elapsed() < LIMIT, "{:?}", distrusting.get("/health/startup"));
        std::thread::sleep(Duration::from_millis(100));
    }
    by_file.stop();
    by_variables.stop();
    distrusting.stop();
}

#[test]
fn cassandra_by_the_guides_file_and_by_variables() {
    let server = Cassandra::start();
    // The guide has three replicas, and this is one node.
    let by_file = Registry::of_file(&format!(
        "storage:\n  type: cassandra\n  cassandra:\n    hosts:\n      - {}\n    keyspace: schema_registry\n    replication_factor: 1\n    \
         consistency_level: LOCAL_QUORUM\n    username: schemaregistry\n    password: secret\n",
        server.address()
    ));
    by_file.becomes("/health/ready", 200);
    let (host, port) = server
        .address()
        .rsplit_once(':')
        .map(|(host, port)| (host.to_owned(), port.to_owned()))
        .expect("a port");
    let by_variables = Registry::of_variables(&[
        ("SCHEMA_REGISTRY_STORAGE_TYPE", "cassandra"),
        ("SCHEMA_REGISTRY_CASSANDRA_HOSTS", &host),
        ("SCHEMA_REGISTRY_CASSANDRA_PORT", &port),
        ("SCHEMA_REGISTRY_CASSANDRA_LOCAL_DC", "datacenter1"),
        ("SCHEMA_REGISTRY_CASSANDRA_READ_CONSISTENCY", "one"),
    ]);
    two_share(&by_file, &by_variables, "cassandra");
    by_file.stop();
    by_variables.stop();
}
