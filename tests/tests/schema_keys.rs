//! What registries keep beside schemas: keys of encryption go into the backup and back with the schemas, wrapped as they are, and
//! records of kinds that nobody knows are carried. No registry that serves keys is at hand, so a stand-in answers for them in front of
//! ours.

use registry::transfer::restore::keys::double::{BARE, Double};
use sandbox::client::{self, NewRecord, Producer};
use sandbox::http;
use sandbox::job::{Job, Restore, folder, json as parsed};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::registry::Registry;
use sandbox::scratch::Scratch;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

fn cluster() -> &'static KafkaCluster {
    static CLUSTER: OnceLock<KafkaCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]))
}

/// Our registry behind a front that also serves keys. Its thread ends with the program.
struct Front {
    registry: Registry,
    address: String,
    double: Arc<Mutex<Double>>,
    /// Method and path of everything that was asked.
    asked: Arc<Mutex<Vec<String>>>,
    /// What becomes of an answer about keys.
    other: Arc<Mutex<Other>>,
}

/// Path, status and text of an answer as it is, and as it is given.
type Other = fn(&str, u16, String) -> (u16, String);

impl Front {
    fn start() -> Self {
        let (registry, listener) = (Registry::start(), TcpListener::bind("127.0.0.1:0").expect("a port"));
        let address = listener.local_addr().expect("an address").to_string();
        let (double, asked): (Arc<Mutex<Double>>, Arc<Mutex<Vec<String>>>) = Default::default();
        let upstream = registry.url().trim_start_matches("http://").to_owned();
        let as_it_is: Other = |_, status, text| (status, text);
        let other = Arc::new(Mutex::new(as_it_is));
        let (keys, log, change) = (Arc::clone(&double), Arc::clone(&asked), Arc::clone(&other));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (keys, log, upstream) = (Arc::clone(&keys), Arc::clone(&log), upstream.clone());
                let change = Arc::clone(&change);
                thread::spawn(move || serve(stream, &upstream, (&keys, &change), &log));
            }
        });
        Self { registry, address, double, asked, other }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) {
        let headers = [("Content-Type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer =
            http::request(&self.address, method, path, &headers, body.as_bytes()).expect("an answer");
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.text());
    }

    fn kek(&self, name: &str, more: &Value) {
        let mut kek = json!({ "name": name, "kmsType": "hcvault", "kmsKeyId": format!("transit/{name}") });
        kek.as_object_mut().expect("members").extend(more.as_object().cloned().unwrap_or_default());
        self.ask("POST", "/dek-registry/v1/keks", &kek);
    }

    fn dek(&self, kek: &str, subject: &str, version: i32, algorithm: &str, wrapped: &str) {
        let dek = json!({
            "subject": subject, "version": version, "algorithm": algorithm, "encryptedKeyMaterial": wrapped,
        });
        self.ask("POST", &format!("/dek-registry/v1/keks/{kek}/deks"), &dek);
    }

    fn answers(&self, other: Other) {
        *self.other.lock().expect("unpoisoned") = other;
    }

    fn held(&self) -> Value {
        self.double.lock().expect("unpoisoned").held()
    }

    /// What was asked that changes something, in its order.
    fn changes(&self) -> Vec<String> {
        let asked = self.asked.lock().expect("unpoisoned");
        asked.iter().filter(|what| !what.starts_with("GET")).cloned().collect()
    }
}

/// Answers requests until the connection ends.
fn serve(
    stream: TcpStream,
    upstream: &str,
    (keys, change): (&Mutex<Double>, &Mutex<Other>),
    log: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let (method, target) =
            line.split_once(' ').map(|(method, rest)| (method.to_owned(), rest.to_owned()))?;
        let (target, protocol) = target.trim_end().split_once(' ')?;
        let (mut length, mut content) = (0, String::new());
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "content-type" => value.trim().clone_into(&mut content),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        log.lock().expect("unpoisoned").push(format!("{method} {path}"));
        let (status, body) = if path.starts_with("/dek-registry/v1") {
            let (status, text) = keys.lock().expect("unpoisoned").answer(&method, path, query, &body);
            let change = *change.lock().expect("unpoisoned");
            let (status, text) = change(path, status, text);
            (status, text.into_bytes())
        } else {
            let headers = [("Content-Type", content.as_str())];
            let headers = if content.is_empty() { &[][..] } else { &headers[..] };
            let answer = http::request(upstream, &method, target, headers, &body).ok()?;
            (answer.status, answer.body)
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.get_mut().write_all(&[head.as_bytes(), &body].concat()).ok()?;
        if protocol == "HTTP/1.0" {
            // Its end is the end of the answer.
            return Some(());
        }
    }
}

fn section(url: &str) -> String {
    format!(
        "schema_registry:\n  url: {url}\n  connection: {{rate_limit_rps: 0, max_retries: 1, retry_backoff_ms: 100}}"
    )
}

/// All that files below a folder hold.
fn bytes(folder: &Path) -> Vec<u8> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.extend(fs::read(&path).expect("a file")),
            }
        }
    }
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// A registry with keys of all kinds and states, and a schema whose rules name one.
fn furnished() -> Front {
    let from = Front::start();
    from.kek("payments", &json!({ "kmsProps": { "namespace": "till" }, "doc": "of the till" }));
    from.dek("payments", "keys-value", 1, "AES256_GCM", "wrapped-1");
    from.dek("payments", "keys-value", 2, "AES256_GCM", "wrapped-2");
    from.dek("payments", ":.eu:odd/name", 1, "AES256_SIV", "wrapped-3");
    from.ask("DELETE", "/dek-registry/v1/keks/payments/deks/keys-value/versions/1", &Value::Null);
    // The registry may ask this one's KMS, and so answers bare keys unasked.
    from.kek("shared", &json!({ "shared": true }));
    from.dek("shared", "keys-value", 1, "AES128_GCM", "wrapped-4");
    from.kek("old", &Value::Null);
    from.dek("old", "keys-value", 1, "AES256_GCM", "wrapped-5");
    from.ask("DELETE", "/dek-registry/v1/keks/old/deks/keys-value/versions/1", &Value::Null);
    from.ask("DELETE", "/dek-registry/v1/keks/old", &Value::Null);
    let rules = json!({ "domainRules": [{
        "name": "encrypted", "kind": "TRANSFORM", "type": "ENCRYPT", "mode": "WRITEREAD", "tags": ["PII"],
        "params": { "encrypt.kek.name": "payments" },
    }]});
    let schema = json!({ "schema": "\"string\"", "ruleSet": rules });
    from.ask("POST", "/subjects/keys-value/versions", &schema);
    from
}

#[test]
fn keys_of_encryption_go_there_and_back_wrapped_as_they_are() {
    let (from, scratch, bootstrap) = (furnished(), Scratch::new("schema-keys"), cluster().bootstrap());
    client::create_topic(&bootstrap, "keys", 1, 1, &[]);
    Producer::new(&bootstrap, &[]).send("keys", &[NewRecord::new("k", b"\0\0\0\0\x01\x02a".to_vec())]);
    let job = Job::new("keys", &bootstrap, &folder(scratch.path())).topics(&["keys"]);
    let job = job.top(&section(&from.url()));
    let run = job.once().env("RUST_LOG", "trace").run().expect_code(0);
    assert_eq!(parsed(&run)["schemas"]["failed"], Value::Null);
    job.verify();
    let described = job.describe();
    let counted = &described["schema_registry"];
    assert_eq!(
        (&counted["keks_count"], &counted["deks_count"], &counted["others_count"]),
        (&json!(3), &json!(5), &json!(0))
    );
    let stored = bytes(scratch.path());
    assert!(holds(&stored, "wrapped-4") && !holds(&stored, BARE) && !holds(run.stderr.as_bytes(), BARE));

    let to = Front::start();
    let restore = |front: &str, name: &str| -> Restore {
        let mapping = format!("topic_mapping: {{keys: {name}}}");
        job.restore(&bootstrap).set(&mapping).top(&section(front))
    };
    let planned = restore(&to.url(), "first").text_command(&["--plan"]).run().expect_code(0).stdout;
    assert!(planned.contains("3 made") && planned.contains("5 made"), "{planned}");
    assert!(to.changes().is_empty(), "a plan touches nothing");
    let run = restore(&to.url(), "first").command(&["--proof"]).env("RUST_LOG", "trace").run().expect_code(0);
    let report = parsed(&run);
    assert_eq!(report["schemas"]["details"]["keys"], json!({ "keks": 3, "deks": 5, "deleted": 3 }));
    assert_eq!(to.held(), from.held());
    assert!(!holds(run.stderr.as_bytes(), BARE) && !holds(run.stderr.as_bytes(), "wrapped-"));
    let changes = to.changes();
    let at =
        |what: &str| changes.iter().position(|change| change == what).unwrap_or_else(|| panic!("{what}"));
    let kek = at("POST /dek-registry/v1/keks");
    assert!(kek < at("POST /dek-registry/v1/keks/payments/deks"), "{changes:?}");
    assert!(kek < at("POST /subjects/keys-value/versions"), "{changes:?}");
    // Once more, by another restore that knows nothing of the first.
    let again = restore(&to.url(), "second").run(0);
    assert_eq!(again["schemas"]["details"]["keys"], json!({ "keks": 0, "deks": 0, "deleted": 0 }));
    assert_eq!(to.held(), from.held());
    // And round: what was restored makes the same backup.
    let round = Job::new("round", &bootstrap, &folder(scratch.path())).topics(&["first"]);
    let round = round.top(&section(&to.url()));
    assert_eq!(round.back_up(0)["schemas"]["failed"], Value::Null);
    assert_eq!(round.describe()["schema_registry"]["deks_count"], 5);

    // Another key under a name is in the way before anything is touched.
    let taken = Front::start();
    taken.kek("payments", &json!({ "kmsKeyId": "transit/another", "doc": "another" }));
    let before = (taken.held(), taken.changes());
    let refused = restore(&taken.url(), "third").command(&[]).run();
    assert_ne!(refused.code(), Some(0));
    let said = [refused.stdout, refused.stderr].concat();
    assert!(said.contains("KEK payments") && said.contains("kmsKeyId differ"), "{said}");
    assert_eq!((taken.held(), taken.changes()), before);
    // A registry that keeps none is named, with what stays in the backup.
    let plain = &to.registry;
    let report = restore(&plain.url(), "fourth").run(3);
    let again = restore(&plain.url(), "fourth").run(3);
    for report in [&report, &again] {
        let left = report["schemas"]["not_taken"].as_array().expect("some");
        assert_eq!((left.len(), &report["verdict"]), (8, &json!("partial")), "{report:#}");
        assert!(left[0].as_str().is_some_and(|left| left.starts_with("KEK old: ")), "{report:#}");
    }
    let warnings = report["warnings"].to_string();
    assert_eq!(warnings.matches("3 KEKs and 5 DEKs stay in the backup").count(), 1, "{report:#}");
    let planned = restore(&plain.url(), "fifth").text_command(&["--plan"]).run().expect_code(0).stdout;
    assert!(planned.contains("serves no /dek-registry/v1"), "{planned}");
    // Nor was a registry told to try a key, for which it would unwrap one.
    for front in [&from, &to, &taken] {
        let asked = front.asked.lock().expect("unpoisoned");
        assert!(!asked.iter().any(|what| what.ends_with("/test")), "{asked:?}");
    }
}

#[test]
fn a_page_in_the_place_of_keys_is_no_registry_without_any() {
    let page: Other = |_, _, _| (404, "<html><body>404 Not Found</body></html>".to_owned());
    let (from, scratch, bootstrap) = (furnished(), Scratch::new("schema-keys-page"), cluster().bootstrap());
    client::create_topic(&bootstrap, "paged", 1, 1, &[]);
    let job = Job::new("paged", &bootstrap, &folder(scratch.path())).topics(&["paged"]);
    let job = job.top(&section(&from.url()));
    assert_eq!(job.back_up(0)["schemas"]["keys_failed"], Value::Null);
    from.answers(page);
    let report = job.back_up(0);
    let failed = report["schemas"]["keys_failed"].as_str().unwrap_or_default();
    assert!(failed.contains("/dek-registry/v1/keks") && failed.contains("404 Not Found"), "{report:#}");
    let counted = &job.describe()["schema_registry"];
    assert_eq!((&counted["keks_count"], &counted["deks_count"]), (&json!(3), &json!(5)), "nothing is gone");
    // Nor is a target taken for one without keys.
    let to = Front::start();
    to.answers(page);
    let restore = job.restore(&bootstrap).set("topic_mapping: {paged: unpaged}").top(&section(&to.url()));
    let refused = restore.command(&[]).run().expect_code(1);
    assert!(refused.stderr.contains("404 Not Found"), "{}", refused.stderr);
    // A registry that says so itself keeps none, and what is known of them stays.
    from.answers(|_, _, _| (404, "\"Not Found\"".to_owned()));
    assert_eq!(job.back_up(0)["schemas"]["keys_failed"], Value::Null);
    assert_eq!(job.describe()["schema_registry"]["keks_count"], 3);
}

#[test]
fn a_key_that_is_none_stays_in_the_backup_and_is_named_by_every_run() {
    let (from, scratch, bootstrap) = (furnished(), Scratch::new("schema-keys-odd"), cluster().bootstrap());
    client::create_topic(&bootstrap, "odd", 1, 1, &[]);
    // No registry answers that of a KEK, but whoever stands before one may.
    from.answers(|path, status, text| match path.ends_with("/keks/shared") {
        true => (status, text.replacen('{', r#"{"keyMaterial":"bare","#, 1)),
        false => (status, text),
    });
    let job =
        Job::new("odd", &bootstrap, &folder(scratch.path())).topics(&["odd"]).top(&section(&from.url()));
    assert_eq!(job.back_up(0)["schemas"]["keys_failed"], Value::Null);
    let to = Front::start();
    let restore = job.restore(&bootstrap).set("topic_mapping: {odd: even}").top(&section(&to.url()));
    let planned = restore.text_command(&["--plan"]).run().expect_code(0).stdout;
    assert!(planned.contains(r#"left in the backup key {"kek":"shared"}"#), "{planned}");
    for what in ["first", "again"] {
        let report = restore.run(3);
        assert_eq!(report["verdict"], "partial", "{what}: {report:#}");
        let left: Vec<&str> =
            report["schemas"]["not_taken"].as_array().expect("some").iter().flat_map(Value::as_str).collect();
        assert!(
            left[0].contains(r#"key {"kek":"shared"}: it holds a key that is not wrapped"#),
            "{what}: {left:?}"
        );
        assert_eq!(
            left[1..],
            ["DEK keys-value version 1 (AES128_GCM) of KEK shared: the KEK is not restored"],
            "{what}"
        );
    }
    let held = to.held();
    let names = |what: &str, name: &str| {
        held[what].as_array().expect("keys").iter().map(|key| key[name].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names("keks", "name"), ["old", "payments"]);
    assert_eq!(names("deks", "encryptedKeyMaterial").len(), 4);
}

#[test]
fn records_of_unknown_kinds_are_carried_out_of_a_topic_and_counted() {
    let (scratch, bootstrap) = (Scratch::new("foreign"), cluster().bootstrap());
    client::create_topic(&bootstrap, "foreign", 1, 1, &[]);
    client::create_topic(&bootstrap, "_schemas", 1, 1, &[("cleanup.policy", "compact")]);
    let schema = r#"{"subject":"foreign-value","version":1,"id":1,"schema":"\"string\"","deleted":false}"#;
    let encryption = r#"{"keytype":"ENCRYPTION","magic":0}"#;
    let later = r#"{ "keytype": "LATER", "n": 1 }"#;
    let producer = Producer::new(&bootstrap, &[]);
    producer.send(
        "_schemas",
        &[
            NewRecord::new(r#"{"keytype":"SCHEMA","subject":"foreign-value","version":1,"magic":1}"#, schema),
            NewRecord::new(encryption, "first"),
            NewRecord::new(r#"{"keytype":"NOOP","magic":0}"#, ""),
            NewRecord::new(r#"{"keytype":"CLEAR_SUBJECT","subject":"x","magic":0}"#, r#"{"subject":"x"}"#),
            NewRecord::new(later, r#"{"of":"later"}"#),
            NewRecord::new(encryption, b"last \xff".to_vec()),
        ],
    );
    producer.send("foreign", &[NewRecord::new("k", b"\0\0\0\0\x01\x02a".to_vec())]);
    let topic = format!("kafka://{bootstrap}/_schemas");
    let job = Job::new("foreign", &bootstrap, &folder(scratch.path())).topics(&["foreign"]);
    let job = job.top(&section(&topic));
    assert_eq!(job.back_up(0)["schemas"]["failed"], Value::Null);
    job.verify();
    assert_eq!(job.describe()["schema_registry"]["others_count"], 2);
    let snapshot = |number: usize| {
        let folder = scratch.path().join("foreign/schema-registry/snapshots");
        let files = fs::read_dir(folder).expect("snapshots").flatten().map(|entry| entry.path());
        let mut files: Vec<_> = files.collect();
        files.sort();
        assert_eq!(files.len(), number);
        let stored = fs::read(files.last().expect("one")).expect("a file");
        serde_json::from_slice::<Value>(&stored).expect("JSON")["others"].clone()
    };
    let hex = |text: &[u8]| text.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        snapshot(1),
        json!([
            { "source": "_schemas", "key": { "hex": hex(later.as_bytes()) }, "value": { "of": "later" } },
            { "source": "_schemas", "key": { "keytype": "ENCRYPTION", "magic": 0 }, "value": { "hex": hex(b"last \xff") } },
        ])
    );
    // Run again, nothing is new; a tombstone takes its record away.
    job.back_up(0);
    snapshot(1);
    producer.send("_schemas", &[NewRecord::new(later, "").tombstone()]);
    job.back_up(0);
    assert_eq!(snapshot(2)[0]["value"], Value::Null);
    assert_eq!(job.describe()["schema_registry"]["others_count"], 1);

    let target = Registry::start();
    let restore =
        job.restore(&bootstrap).set("topic_mapping: {foreign: foreign-back}").top(&section(&target.url()));
    let planned = restore.text_command(&["--plan"]).run().expect_code(0).stdout;
    let words = "1 record of kinds that are not known here (1 \"ENCRYPTION\") stays in the backup";
    assert!(planned.contains(words), "{planned}");
    let report = restore.run(0);
    assert!(report["schemas"]["lines"].to_string().replace('\\', "").contains(words), "{report:#}");
}
