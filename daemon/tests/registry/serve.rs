//! How it is configured, what it says when that is wrong, what it does while its store is away, its metrics and its limits.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{ANY_PORT, RECORD, Registry, ask, refused, refused_in, talk};

#[test]
fn runs_without_any_configuration_and_keeps_what_it_is_given() {
    let registry = Registry::start(&[], &[ANY_PORT]);
    assert_eq!(registry.becomes("/", 200), "{}", "the guide's probe: curl -f http://localhost:8081/");
    // Which says that it lives: its store may be a moment away still.
    assert_eq!(registry.becomes("/subjects", 200), "[]");
    let (status, answer) = registry.ask("POST", "/subjects/users-value/versions", RECORD);
    assert_eq!(status, 200, "{answer}");
    assert!(registry.folder.path().join("replevin-data/registry.sqlite").is_file());
    assert_eq!(registry.json("GET", "/config", &Value::Null).1, json!({ "compatibilityLevel": "BACKWARD" }));
    for path in ["/health/live", "/health/ready", "/health/startup"] {
        assert_eq!(registry.json("GET", path, &Value::Null), (200, json!({ "status": "UP" })));
    }
    assert_eq!(registry.ask("GET", "/docs", "").0, 404);
    let log = registry.stderr();
    // But for who asked before the file was open.
    let mut told = log.lines().filter(|line| !line.contains("request failed"));
    assert!(told.all(|line| !line.contains("WARN") && !line.contains("ERROR")), "{log}");
    let folder = tempfile::tempdir().expect("a folder");
    fs::rename(registry.folder.path().join("replevin-data"), folder.path().join("data")).expect("moved");
    assert!(registry.stop().contains("has stopped"));
    let again = Registry::start_in(folder, &["--port", "0", "--data-dir", "data"], &[]);
    assert_eq!(again.becomes("/subjects", 200), "[\"users-value\"]");
}

#[test]
fn the_guides_variables_and_kubernetes_own() {
    let registry = Registry::start(
        &[],
        &[
            ("SERVER_HOST", "127.0.0.1"),
            ANY_PORT,
            ("STORAGE_TYPE", "memory"),
            ("COMPATIBILITY_LEVEL", "FULL"),
            ("POSTGRES_PASSWORD", ""),
            ("SCHEMA_REGISTRY_PORT", "tcp://10.96.0.7:8081"),
            ("SCHEMA_REGISTRY_SERVICE_HOST", "10.96.0.7"),
            ("SCHEMA_REGISTRY_PORT_8081_TCP_ADDR", "10.96.0.7"),
            ("SCHEMA_REGISTRY_HEAP_OPTS", "-Xmx512m"),
        ],
    );
    assert_eq!(registry.becomes("/config", 200), "{\"compatibilityLevel\":\"FULL\"}");
    let log = registry.stderr();
    assert!(log.contains("storage.type memory keeps nothing"), "{log}");
    assert!(log.contains("variable SCHEMA_REGISTRY_HEAP_OPTS means nothing"), "{log}");
    assert!(!log.contains("10.96") && !log.contains("SERVICE_HOST"), "{log}");
    assert!(!registry.folder.path().join("replevin-data").exists());
}

#[test]
fn files_variables_and_flags_in_their_order() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("registry.yaml"),
        "server: {port: 1, cluster_id: '${CLUSTER}', docs_enabled: true}\nstorage: {type: memory}\n\
         compatibility: {default_level: NONE, error_code: 40901}\nlogging: {level: debug, format: json, requests: info}\n",
    )
    .expect("written");
    let args = ["-c", "registry.yaml", "--port", "0", "--compatibility-level", "full"];
    let vars = [("SCHEMA_REGISTRY_PORT", "2"), ("COMPATIBILITY_LEVEL", "FORWARD"), ("CLUSTER", "lkc-1")];
    let registry = Registry::start_in(folder, &args, &vars);
    assert_eq!(registry.becomes("/config", 200), "{\"compatibilityLevel\":\"FULL\"}");
    assert!(registry.ask("GET", "/v1/metadata/id", "").1.contains("\"kafka-cluster\":\"lkc-1\""));
    assert!(registry.becomes("/docs", 200).contains("<html"));
    assert_eq!(registry.ask("POST", "/subjects/s/versions", RECORD).0, 200);
    let other = RECORD.replace("int", "string");
    let (status, answer) =
        registry.json("POST", "/subjects/s/versions", &serde_json::from_str(&other).expect("JSON"));
    assert_eq!((status, &answer["error_code"]), (409, &json!(40901)));
    // Logs are JSON, a request a line.
    let log = registry.stderr();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let request =
        lines.iter().find(|line| line["fields"]["endpoint"] == "subjects.versions.register").expect("logged");
    assert_eq!((&request["level"], &request["fields"]["status"]), (&json!("INFO"), &json!(200)), "{request}");
    assert!(request["fields"]["request_id"].as_str().is_some_and(|id| id.len() == 36), "{request}");
}

#[test]
fn what_is_wrong_is_said_and_ends_it_with_2() {
    for (args, vars, words) in [
        (
            &[][..],
            &[("STORAGE_TYPE", "postgres")][..],
            "STORAGE_TYPE: storage.type: expected one of memory, sqlite, postgresql, mysql, cassandra",
        ),
        (&["--port", "70000"], &[], "70000"),
        (&["--storage-type", "etcd"], &[], "--storage-type: storage.type"),
        (&["--storage-type", "kafka"], &[], "storage.kafka.bootstrap_servers is missing"),
        (&["-c", "nowhere.yaml"], &[], "nowhere.yaml: cannot read the file"),
        (&[], &[("STORAGE_TYPE", "postgresql")], "storage.postgresql.user is missing"),
        (&[], &[("SCHEMA_REGISTRY_AUTH_ENABLED", "true")], "not yet supported: authentication"),
        (
            &["--from-backup", "/backups"],
            &[("STORAGE_TYPE", "postgresql"), ("POSTGRES_USER", "u")],
            "STORAGE_TYPE: a store (postgresql) is configured, and a backup is to be served",
        ),
        (&["--from-backup", "/backups", "--storage-type", "memory"], &[], "cannot be used with"),
        (&["--from-backup", "/backups", "--backup-config", "job.yaml"], &[], "cannot be used with"),
        (&["--at", "2026-01-01"], &[], "--from-backup"),
        (&["--from-backup", "/backups", "--at", "yesterday"], &[], "is no moment"),
        (&["--from-backup", "ftp://x/y"], &[ANY_PORT], "ftp"),
        (&["--host", "256.1.1.1"], &[("STORAGE_TYPE", "memory")], "cannot listen on 256.1.1.1:8081"),
    ] {
        let (code, log) = refused(args, vars);
        assert!(code == Some(2) && log.contains(words), "{args:?} {vars:?}: {code:?}\n{log}");
    }
    // A file where the folder should be.
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("replevin-data"), "").expect("written");
    let (code, log) = refused_in(folder.path(), &[], &[ANY_PORT]);
    assert!(code == Some(2) && log.contains("STORAGE_TYPE=memory"), "{log}");
    // A file that names a store, and one that is not there.
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("r.yaml"), "storage:\n  sqlite: {data_dir: here}\n").expect("written");
    let (code, log) = refused_in(folder.path(), &["-c", "r.yaml", "--from-backup", "b"], &[ANY_PORT]);
    assert!(code == Some(2) && log.contains("r.yaml:2:11: a store (sqlite) is configured"), "{code:?} {log}");
    let vars = [ANY_PORT, ("STATE_DIRECTORY", "/var/lib/replevin"), ("POSTGRES_HOST", "db")];
    let (code, log) = refused_in(folder.path(), &["--from-backup", "nothing"], &vars);
    assert!(code == Some(10) && log.contains("there is no backup"), "{code:?} {log}");
    // A port that is taken.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let vars = [("SERVER_HOST", "127.0.0.1"), ("SERVER_PORT", port.as_str()), ("STORAGE_TYPE", "memory")];
    let (code, log) = refused(&[], &vars);
    assert!(
        code == Some(2) && log.contains("cannot listen on 127.0.0.1") && log.contains("metrics.port"),
        "{log}"
    );
}

#[test]
fn a_store_that_is_away_is_waited_for() {
    // Nobody listens there once this is dropped.
    let away = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let port = away.port().to_string();
    for (kind, host, port_name, user) in [
        ("postgresql", "POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER"),
        ("mysql", "MYSQL_HOST", "MYSQL_PORT", "MYSQL_USER"),
        (
            "cassandra",
            "SCHEMA_REGISTRY_CASSANDRA_HOSTS",
            "SCHEMA_REGISTRY_CASSANDRA_PORT",
            "SCHEMA_REGISTRY_CASSANDRA_USERNAME",
        ),
    ] {
        let vars = [ANY_PORT, ("STORAGE_TYPE", kind), (host, "127.0.0.1"), (port_name, &port), (user, "u")];
        let registry = Registry::start(&[], &vars);
        assert_eq!(registry.json("GET", "/health/live", &Value::Null), (200, json!({ "status": "UP" })));
        for path in ["/health/startup", "/health/ready"] {
            let (status, body) = registry.json("GET", path, &Value::Null);
            assert_eq!((status, &body["status"]), (503, &json!("DOWN")), "{kind} {path}: {body}");
        }
        assert_eq!(registry.json("GET", "/", &Value::Null), (200, json!({})), "{kind}");
        for (method, path) in [("GET", "/subjects"), ("POST", "/subjects/s/versions")] {
            let (status, body) = registry.json(method, path, &Value::Null);
            assert_eq!((status, &body["error_code"]), (503, &json!(50001)), "{kind} {path}: {body}");
        }
        assert!(registry.becomes("/metrics", 200).contains("schema_registry_ready 0"));
        let began = Instant::now();
        registry.stop();
        assert!(began.elapsed() < Duration::from_secs(5), "{kind}: {:?}", began.elapsed());
    }
}

#[test]
fn metrics_are_told_on_both_ports() {
    // The guide's sample, but for its port, which others may be using.
    let folder = tempfile::tempdir().expect("a folder");
    let sample = "# Enable metrics\nmetrics:\n  enabled: true\n  path: /metrics\n  port: 0  # separate port, or use main port\n";
    fs::write(folder.path().join("config.yaml"), sample).expect("written");
    let vars = [ANY_PORT, ("SERVER_HOST", "127.0.0.1")];
    let mut registry = Registry::start_in(folder, &["-c", "config.yaml"], &vars);
    registry.becomes("/health/ready", 200);
    assert_eq!(registry.ask("POST", "/subjects/a/versions", RECORD).0, 200);
    assert_eq!(registry.ask("POST", "/subjects/b/versions", RECORD).0, 200);
    assert_eq!(registry.ask("POST", "/subjects/a/versions", &RECORD.replace("int", "string")).0, 409);
    let json_schema = json!({ "schemaType": "JSON", "schema": "{\"type\":\"object\"}" });
    assert_eq!(registry.json("POST", "/subjects/c/versions", &json_schema).0, 200);
    assert_eq!(registry.ask("DELETE", "/subjects/b", "").0, 200);
    assert_eq!(registry.ask("GET", "/nothing/at/all", "").0, 404);
    let own = registry.logged("metrics are told here too");
    let (status, text) = ask(&own, "GET", "/metrics", "");
    assert_eq!(status, 200);
    for line in [
        "schema_registry_requests_total{endpoint=\"subjects.versions.register\",method=\"POST\",path=\"/subjects/{subject}/versions\",status=\"409\"} 1",
        "schema_registry_requests_total{endpoint=\"other\",method=\"GET\",path=\"other\",status=\"404\"} 1",
        "schema_registry_registrations_total{status=\"success\",type=\"AVRO\"} 2",
        "schema_registry_registrations_total{status=\"failure\",type=\"AVRO\"} 1",
        "schema_registry_registrations_total{status=\"success\",type=\"JSON\"} 1",
        "schema_registry_compatibility_checks_total{level=\"BACKWARD\",result=\"incompatible\",type=\"AVRO\"} 1",
        "schema_registry_schemas_total{type=\"AVRO\"} 1",
        "schema_registry_schemas_total{type=\"JSON\"} 1",
        "schema_registry_subjects_total 2",
        "schema_registry_schema_versions{state=\"deleted\"} 1",
        "schema_registry_storage_up{backend=\"sqlite\"} 1",
        "schema_registry_storage_connections{backend=\"sqlite\",state=\"max\"} 2",
        "kafka_schema_registry_schemas_created{schema_type=\"avro\"} 1",
        "kafka_schema_registry_deleted_count 1",
        "kafka_schema_registry_registered_count 3",
        "kafka_schema_registry_node_count 1",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
    }
    // The guide's words: curl .../metrics | grep duration, and | grep connections.
    assert!(
        text.contains("schema_registry_request_duration_seconds_bucket{")
            && text.contains("process_cpu_seconds_total")
    );
    assert!(text.contains(
        "schema_registry_storage_operation_duration_seconds_count{backend=\"sqlite\",operation=\"commit\"}"
    ));
    assert_eq!(ask(&own, "GET", "/subjects", "").0, 404, "nothing else is there");
    assert!(registry.becomes("/metrics", 200).contains("schema_registry_subjects_total 2"));
    assert_eq!(registry.ask("POST", "/metrics", "").0, 405);
    let quiet = Registry::start(
        &[],
        &[ANY_PORT, ("STORAGE_TYPE", "memory"), ("SCHEMA_REGISTRY_METRICS_ENABLED", "false")],
    );
    quiet.becomes("/health/ready", 200);
    assert_eq!(quiet.ask("GET", "/metrics", "").0, 404);
}

#[test]
fn limits_of_the_configuration_hold() {
    let registry = Registry::start(
        &[],
        &[
            ANY_PORT,
            ("STORAGE_TYPE", "memory"),
            ("SCHEMA_REGISTRY_READ_TIMEOUT", "700ms"),
            ("SCHEMA_REGISTRY_MAX_REQUEST_BODY_SIZE", "2048"),
            ("SCHEMA_REGISTRY_MAX_HEADER_BYTES", "16384"),
        ],
    );
    registry.becomes("/health/ready", 200);
    let (status, body) =
        registry.json("POST", "/subjects/s/versions", &json!({ "schema": "x".repeat(4000) }));
    assert_eq!((status, &body["error_code"]), (413, &json!(413)));
    let slow = talk(&registry.address, b"POST /subjects/s HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{");
    assert!(slow.starts_with("HTTP/1.1 408") && slow.contains("\"error_code\":408"), "{slow}");
    let large = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(40_000));
    let large = talk(&registry.address, large.as_bytes());
    assert!(large.starts_with("HTTP/1.1 431") && large.contains("\"error_code\":431"), "{large}");
    let ask = |method: &str, path: &str| {
        let words = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        talk(&registry.address, words.as_bytes())
    };
    let options = ask("OPTIONS", "/contexts/.c/subjects/a/versions");
    assert!(
        options.starts_with("HTTP/1.1 204") && options.contains("allow: GET, HEAD, OPTIONS, POST"),
        "{options}"
    );
    assert!(ask("OPTIONS", "/nothing").starts_with("HTTP/1.1 404"));
    let wrong = ask("PATCH", "/subjects/a");
    assert!(wrong.starts_with("HTTP/1.1 405") && wrong.contains("allow: DELETE, OPTIONS, POST"), "{wrong}");
    let head = ask("HEAD", "/subjects");
    assert!(
        head.starts_with("HTTP/1.1 200")
            && head.contains("content-length: 2\r\n")
            && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[test]
fn check_config_understands_both_kinds_of_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("registry.yaml");
    let check = |text: &str| {
        fs::write(&file, text).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_replevin"))
            .args(["check-config", "--output", "json"])
            .arg(&file)
            .env_clear()
            .output()
            .expect("runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, out, err) = check("storage:\n  postgresql:\n    max_connections: 50\n");
    let out: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    assert_eq!((code, &out["mode"], &out["store"]), (Some(0), &json!("registry"), &json!("sqlite")));
    assert_eq!(out["notices"][0]["line"], json!(3), "{out}");
    let (code, _, err) = check("server:\n  prot: 1\n");
    assert!(code == Some(2) && err.contains("registry.yaml:2:3") && err.contains("did you mean"), "{err}");
    let (code, _, err) = check("mode: backup\nserver:\n  port: 1\n");
    assert!(code == Some(2) && err.contains("belongs to the file of a schema registry"), "{err}");
    // What can be read once only.
    let piped = Command::new("sh")
        .args(["-c", "printf 'server: {prot: 1}\\n' | \"$0\" check-config /dev/stdin"])
        .arg(env!("CARGO_BIN_EXE_replevin"))
        .output()
        .expect("runs");
    let err = String::from_utf8_lossy(&piped.stderr);
    assert!(piped.status.code() == Some(2) && err.contains("did you mean"), "{err}");
}
