//! A registry as people run it who follow its operations guide: the samples in `guide/`, as they are written, by bash, curl, jq and
//! the databases' own tools. Each name in them leads to an address of this machine where somebody listens at the port that the guide
//! names. `docker` is a script that notes what a container is given; the binary then gets that.

use sandbox::binary::{Replevin, Running};
use sandbox::cassandra::Cassandra;
use sandbox::cutter::Cutter;
use sandbox::mariadb::Mariadb;
use sandbox::names::Names;
use sandbox::postgres::Postgres;
use sandbox::process;
use sandbox::scratch::{Port, installed};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const IMAGE: &str = "ghcr.io/axonops/axonops-schema-registry:latest";

const DOCKER: &str = r#"#!/bin/bash
while [[ $# -gt 0 ]]; do
    if [[ $1 == -e ]]; then echo "$2" >>container.env; shift 2; else echo "$1" >>container.args; shift; fi
done
"#;

/// Types a password where a program asks for it.
const TYPIST: &str = r#"
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execvp("bash", ["bash", "-ec", sys.argv[1]])
try:
    while said := os.read(terminal, 4096):
        sys.stdout.buffer.write(said)
        if b"password:" in said:
            os.write(terminal, sys.argv[2].encode() + b"\n")
except OSError:
    pass
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("guide").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of a sample under one of its headings.
fn part(name: &str, heading: &str) -> String {
    let text = sample(name);
    let begin = text.find(heading).unwrap_or_else(|| panic!("no {heading} in {name}"));
    let rest = &text[begin..];
    rest[..rest.find("\n\n").unwrap_or(rest.len())].to_owned()
}

/// A place with names, a registry's address among them, and a database behind some.
struct Site {
    names: Names,
    /// Whose number makes an address. The port is not used.
    host: Port,
    databases: Vec<(String, String)>,
}

impl Site {
    fn new() -> Self {
        let site = Self { names: Names::new(&[]), host: Port::reserve(), databases: Vec::new() };
        let bin = site.names.folder().join("bin");
        fs::create_dir(&bin).expect("a folder");
        site.program("docker", DOCKER);
        site.lead_to(&site.host());
        site
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.names.folder().join("bin").join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
    }

    fn host(&self) -> String {
        self.host.own_host()
    }

    /// The names of the registry lead here.
    fn lead_to(&self, host: &str) {
        let registry = [("schema-registry", host), ("localhost", host)];
        let databases = self.databases.iter().map(|(name, address)| (name.as_str(), address.as_str()));
        self.names.lead(&registry.into_iter().chain(databases).collect::<Vec<_>>());
    }

    /// Under these names a server answers at the port that everybody knows.
    fn with(mut self, names: &[&str], port: u16, server: &str) -> Self {
        let address = Port::reserve();
        Cutter::start_at(&format!("{}:{port}", address.own_host()), server);
        self.databases.extend(names.iter().map(|name| ((*name).to_owned(), address.own_host())));
        // Held for as long as the program lives: the proxy is, too.
        std::mem::forget(address);
        self.lead_to(&self.host());
        self
    }

    fn output(&self, mut command: Command, what: &str) -> (String, String) {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = process::spawn(command).wait_with_output().expect("it ends");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{what} ended with {}\n{out}\n{err}", output.status);
        (out.into_owned(), err.into_owned())
    }

    /// Runs words by bash, which stops where one fails; answers what they wrote.
    fn bash(&self, words: &str) -> String {
        let mut command = self.names.command("bash");
        command.args(["-eo", "pipefail", "-c", words]).env("PGPASSWORD", "secret");
        self.output(command, words).0
    }

    /// The same with somebody who types the password.
    fn typed(&self, words: &str) -> String {
        let mut command = self.names.command("python3");
        command.args(["-c", TYPIST, words, "secret"]);
        self.output(command, words).0
    }

    /// Runs a sample that is a script.
    fn script(&self, name: &str, arguments: &[&str]) -> String {
        fs::write(self.names.folder().join(name), sample(name)).expect("a file");
        let mut command = self.names.command("bash");
        command.arg(name).args(arguments);
        let (out, err) = self.output(command, name);
        assert!(!err.contains("error"), "{err}");
        out
    }

    /// Starts what a sample with `docker run` asks for.
    fn run(&self, name: &str) -> Running {
        for file in ["container.env", "container.args"] {
            let _ = fs::remove_file(self.names.folder().join(file));
        }
        self.bash(&sample(name));
        let read = |file: &str| fs::read_to_string(self.names.folder().join(file)).unwrap_or_default();
        assert_eq!(
            read("container.args").lines().collect::<Vec<_>>(),
            ["run", "-d", "-p", "8081:8081", IMAGE]
        );
        let variables = read("container.env");
        self.contain(variables.lines().filter_map(|line| line.split_once('=')))
    }

    /// A container: the binary with these variables, at the site's address.
    fn contain<'a>(&self, variables: impl Iterator<Item = (&'a str, &'a str)>) -> Running {
        self.contain_at(&self.host(), variables)
    }

    fn contain_at<'a>(&self, host: &str, variables: impl Iterator<Item = (&'a str, &'a str)>) -> Running {
        let run = Replevin::new(&["registry", "serve"])
            .env("STATE_DIRECTORY", &self.names.folder().join("state").display().to_string());
        let run = self.names.variables().iter().fold(run, |run, (name, value)| run.env(name, value));
        let run = variables.fold(run, |run, (name, value)| run.env(name, value));
        // All addresses of a container are its own.
        let mut running = run.env("SERVER_HOST", host).start();
        running.wait_for(&format!("address={host}:8081"));
        self.becomes("/health/ready", "UP");
        running
    }

    fn becomes(&self, path: &str, words: &str) -> String {
        let began = Instant::now();
        loop {
            let answer = self.bash(&format!("curl -s http://schema-registry:8081{path}"));
            if answer.contains(words) {
                return answer;
            }
            assert!(began.elapsed() < LIMIT, "{path}: {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.bash(&format!("curl -s 'http://schema-registry:8081{path}'"));
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: {answer}"))
    }

    fn send(&self, method: &str, path: &str, body: &Value) {
        let answer = self.bash(&format!(
            "curl -sf -X {method} -H 'Content-Type: application/json' -d '{body}' 'http://schema-registry:8081{path}'"
        ));
        assert!(!answer.contains("error_code"), "{answer}");
    }

    /// Some schemas of all types, a subject with a level of its own, and a level for all others.
    fn fill(&self) {
        let record = |fields: &str| {
            format!(r#"{{"type":"record","name":"Order","fields":[{{"name":"id","type":"long"}}{fields}]}}"#)
        };
        let more = r#",{"name":"note","type":["null","string"],"default":null}"#;
        for text in [record(""), record(more)] {
            self.send("POST", "/subjects/orders-value/versions", &serde_json::json!({ "schema": text }));
        }
        let json = serde_json::json!({ "schemaType": "JSON", "schema": r#"{"type":"object"}"# });
        self.send("POST", "/subjects/events-value/versions", &json);
        let text = "syntax = \"proto3\";\nmessage M {\n  int32 id = 1;\n}\n";
        let protobuf = serde_json::json!({ "schemaType": "PROTOBUF", "schema": text });
        self.send("POST", "/subjects/messages-value/versions", &protobuf);
        self.send("PUT", "/config/orders-value", &serde_json::json!({ "compatibility": "FULL" }));
        self.send("PUT", "/config", &serde_json::json!({ "compatibility": "FORWARD" }));
    }
}

/// Each sample of the guide's administration, in an order in which each finds what it speaks of.
#[test]
fn a_container_without_variables_is_administered() {
    let site = Site::new();
    let registry = site.run("deploy-memory.sh");
    assert_eq!(site.bash(&sample("verify.sh")), "{}");
    // The second comes with credentials, which nobody asks for.
    assert_eq!(site.bash(&sample("health.sh")), "{}{}");
    assert_eq!(site.bash(&sample("modes.sh")), r#"{"mode":"READWRITE"}{"mode":"READONLY"}{"mode":"IMPORT"}"#);
    site.send("PUT", "/mode", &serde_json::json!({ "mode": "READWRITE" }));
    let said = site.bash(&sample("schemas.sh"));
    let mut answers =
        serde_json::Deserializer::from_str(&said).into_iter::<Value>().map(|answer| answer.expect("JSON"));
    let mut next = || answers.next().unwrap_or_else(|| panic!("one more in {said}"));
    assert_eq!(next()["id"], 1);
    assert_eq!(next()["schema"], r#"{"type":"record","name":"User","fields":[{"name":"id","type":"int"}]}"#);
    assert_eq!(next()["error_code"], 42201, "three dots are no schema");
    assert_eq!(
        site.bash(&sample("compatibility.sh")),
        r#"{"compatibilityLevel":"BACKWARD"}{"compatibility":"FULL"}{"compatibility":"NONE"}{"compatibilityLevel":"NONE"}"#
    );
    site.send("POST", "/subjects/my-topic-value/versions", &serde_json::json!({ "schema": "\"long\"" }));
    let said = site.bash(&sample("subjects.sh"));
    assert!(said.starts_with(r#"["my-topic-value","users-value"][1]{"subject":"my-topic-value","#), "{said}");
    assert!(said.ends_with("}[1][1]"), "{said}");
    assert_eq!(site.get("/subjects"), serde_json::json!(["users-value"]));
    registry.signal("TERM");
    registry.wait().expect_code(0);
}

/// `backup-schemas.sh`, then `restore-schemas.sh` at another registry.
fn scripts_back_up_and_restore(site: &Site) {
    let said = site.script("backup-schemas.sh", &[]);
    // Four schemas, three answers about a subject's level, one about that of all.
    assert!(said.ends_with("Backup complete: 8 files\n"), "{said}");
    let folder = site.bash("ls -d schema-backup-*");
    let other = Port::reserve();
    let before: Vec<_> = ["/config", "/subjects"].iter().map(|path| site.get(path)).collect();
    let texts = |site: &Site| -> Vec<Value> {
        let all = site.get("/schemas");
        let keep = |one: &Value| {
            serde_json::json!([one["subject"], one["version"], one["schema"], one["schemaType"]])
        };
        all.as_array().expect("a list").iter().map(keep).collect()
    };
    let held = texts(site);
    site.lead_to(&other.own_host());
    let _target = site.contain_at(&other.own_host(), [("STORAGE_TYPE", "memory")].into_iter());
    let said = site.script("restore-schemas.sh", &[folder.trim()]);
    assert!(said.contains("Restoring: orders-value") && !said.contains("error_code"), "{said}");
    assert_eq!(["/config", "/subjects"].iter().map(|path| site.get(path)).collect::<Vec<_>>(), before);
    assert_eq!(texts(site), held);
    site.lead_to(&site.host());
}

#[test]
fn on_postgresql() {
    let server = Postgres::start();
    server.sql("postgres", "CREATE USER schemaregistry PASSWORD 'secret'");
    let create = || server.sql("postgres", "CREATE DATABASE schemaregistry OWNER schemaregistry");
    create();
    let names = ["postgres.example.com", "postgres", "postgres.database.svc.cluster.local"];
    let site = Site::new().with(&names, 5432, &server.address());
    let registry = site.run("deploy-postgresql.sh");
    site.fill();
    scripts_back_up_and_restore(&site);
    assert!(site.bash(&part("debug.sh", "# PostgreSQL")).contains("(1 row)"));
    let said = site.bash(&part("performance.sh", "# Check metrics"));
    assert!(said.contains("schema_registry_request_duration_seconds_bucket{"), "{said}");
    let said = site.bash(&part("performance.sh", "# Check connection pool"));
    assert!(said.contains("schema_registry_storage_connections{backend=\"postgresql\""), "{said}");
    let question = part("performance.sh", "SELECT");
    assert!(server.sql("postgres", &question).contains("schemaregistry"), "{question}");

    let held = site.get("/schemas");
    site.bash(&part("backup-postgresql.sh", "# Backup"));
    site.send("POST", "/subjects/later/versions", &serde_json::json!({ "schema": "\"bytes\"" }));
    server.sql("postgres", "DROP DATABASE schemaregistry WITH (FORCE)");
    create();
    let said = site.bash(&part("backup-postgresql.sh", "# Restore"));
    assert!(!said.to_lowercase().contains("error"), "{said}");
    // Who has seen more than the database now holds would give ids away twice.
    let said = site.becomes("/health/ready", "DOWN");
    assert!(said.contains("older copy"), "{said}");
    registry.signal("TERM");
    registry.wait().expect_code(0);

    // The same database by the guide's other two ways.
    let compose: Value = serde_saphyr::from_str(&sample("compose.yaml")).expect("YAML");
    let service = &compose["services"]["schema-registry"];
    let pairs = service["environment"].as_object().expect("variables").iter();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let variables: Vec<(String, String)> = pairs.map(|(name, value)| (name.clone(), text(value))).collect();
    let registry = site.contain(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let check: Vec<&str> = service["healthcheck"]["test"]
        .as_array()
        .expect("words")
        .iter()
        .skip(1)
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(site.bash(&check.join(" ")), "{}");
    assert_eq!(site.get("/schemas"), held, "what pg_dump took is back");
    drop(registry);
    kubernetes(&site, &held);
}

/// The container of the guide's deployment, among the variables that Kubernetes gives it unasked: the links to the services.
fn kubernetes(site: &Site, held: &Value) {
    let text = sample("kubernetes.yaml");
    let deployment: Value =
        serde_saphyr::from_str(text.split("\n---\n").next().expect("a part")).expect("YAML");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], IMAGE);
    let secrets = [("postgres-user", "schemaregistry"), ("postgres-password", "secret")];
    let variables = container["env"].as_array().expect("variables").iter().map(|one| {
        let secret = one["valueFrom"]["secretKeyRef"]["key"].as_str();
        let secret =
            secret.and_then(|key| secrets.iter().find(|(name, _)| *name == key)).map(|(_, value)| *value);
        (one["name"].as_str().expect("a name"), secret.or(one["value"].as_str()).expect("a value"))
    });
    let links = [
        ("SCHEMA_REGISTRY_SERVICE_HOST", "10.96.14.7"),
        ("SCHEMA_REGISTRY_SERVICE_PORT", "8081"),
        ("SCHEMA_REGISTRY_PORT", "tcp://10.96.14.7:8081"),
        ("SCHEMA_REGISTRY_PORT_8081_TCP", "tcp://10.96.14.7:8081"),
        ("SCHEMA_REGISTRY_PORT_8081_TCP_PROTO", "tcp"),
        ("SCHEMA_REGISTRY_PORT_8081_TCP_PORT", "8081"),
        ("SCHEMA_REGISTRY_PORT_8081_TCP_ADDR", "10.96.14.7"),
        ("POSTGRES_SERVICE_HOST", "10.96.14.8"),
        ("POSTGRES_SERVICE_PORT", "5432"),
        ("POSTGRES_PORT", "tcp://10.96.14.8:5432"),
        ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
        ("KUBERNETES_PORT", "tcp://10.96.0.1:443"),
    ];
    let registry = site.contain(links.into_iter().chain(variables));
    for probe in ["livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().expect("a path");
        assert_eq!(site.bash(&format!("curl -sf http://schema-registry:8081{path}")), "{}");
    }
    assert_eq!(&site.get("/schemas"), held);
    let memory = container["resources"]["requests"]["memory"].as_str();
    assert_eq!(memory, Some("64Mi"));
    assert!(registry.peak_rss() < 64 << 20, "{} bytes are more than the guide asks for", registry.peak_rss());
}

#[test]
fn on_mysql() {
    let server = Mariadb::start();
    let create = || server.sql("mysql", "CREATE DATABASE schemaregistry");
    create();
    server.sql(
        "mysql",
        "CREATE USER schemaregistry IDENTIFIED BY 'secret'; GRANT ALL ON schemaregistry.* TO schemaregistry",
    );
    let site = Site::new().with(&["mysql.example.com", "mysql"], 3306, &server.address());
    let registry = site.run("deploy-mysql.sh");
    site.fill();
    let held = site.get("/schemas");
    assert!(site.typed(&part("debug.sh", "# MySQL")).contains('1'));
    site.typed(&part("backup-mysql.sh", "# Backup"));
    server.sql("mysql", "DROP DATABASE schemaregistry");
    create();
    site.typed(&part("backup-mysql.sh", "# Restore"));
    site.becomes("/health/ready", "UP");
    site.becomes("/schemas", "orders-value");
    assert_eq!(site.get("/schemas"), held, "what mysqldump took is back");
    registry.signal("TERM");
    registry.wait().expect_code(0);
}

#[test]
fn on_cassandra() {
    let server = Cassandra::start();
    let site = Site::new().with(&["cassandra"], 9042, &server.address());
    let (host, port) = server
        .address()
        .rsplit_once(':')
        .map(|(host, port)| (host.to_owned(), port.to_owned()))
        .expect("a port");
    let variables = [("STORAGE_TYPE", "cassandra"), ("CASSANDRA_HOSTS", &host), ("CASSANDRA_PORT", &port)];
    let _registry = site.contain(variables.into_iter());
    site.fill();
    let tool =
        |name: &str, words: String| site.program(name, &format!("#!/bin/bash\nunset LD_PRELOAD\n{words}\n"));
    tool("nodetool", format!("exec {} \"$@\"", server.nodetool()));
    let packages = installed("cqlsh").join("packages").display().to_string();
    site.program(
        "cqlsh",
        &format!("#!/bin/bash\nPYTHONPATH={packages} exec python3 {packages}/bin/cqlsh \"$@\"\n"),
    );
    let said = site.bash(&part("debug.sh", "# Cassandra"));
    assert!(said.contains("(1 rows)") && said.contains("| version |"), "{said}");
    let said = site.bash(&sample("backup-cassandra.sh"));
    assert!(said.contains("schema_registry_backup"), "{said}");
}
