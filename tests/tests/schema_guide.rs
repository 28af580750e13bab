//! The samples of a guide to schemas in backups, as they are written: each is put into a job file around it and run by the name that
//! the guide calls the program, against real brokers and registries, and does what the guide says of it. Names of hosts and folders
//! become those of this machine. Its Kubernetes objects are another program's.

use sandbox::binary::{self, Finished, Replevin};
use sandbox::certificates::Certificates;
use sandbox::client::{self, Isolation, NewRecord, Producer, Rec};
use sandbox::job::json as parsed;
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::process::{self, Process};
use sandbox::questions::ask;
use sandbox::registry::Registry;
use sandbox::s3::{ACCESS_KEY, REGION, S3, SECRET_KEY};
use sandbox::scratch::{Port, Scratch, installed};
use sandbox::travel::take_ids;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("guide/schema-backup").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The sample, with a URL where it names none.
fn with_url(name: &str, url: &str) -> String {
    let text = sample(name);
    match text.contains("\n    url: ") {
        true => text.replace("https://schema-registry:8081", url),
        false => text.replace("  schema_registry:\n", &format!("  schema_registry:\n    url: {url}\n")),
    }
}

/// What stands before a registry, as the guide has it.
struct Front {
    port: Port,
    issuer: Port,
    _process: Process,
}

impl Front {
    fn url(&self) -> String {
        format!("https://localhost:{}", self.port.number())
    }
}

/// One place for all tests: two clusters, the source's registry, a store, and authorities.
struct Site {
    source: KafkaCluster,
    target: KafkaCluster,
    registry: Registry,
    s3: S3,
    /// The object store is at a URL with TLS, as in the guide.
    s3_front: Front,
    scratch: Scratch,
    /// Everything that the source has, backed up once.
    store: PathBuf,
}

fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(Site::new)
}

fn field(name: &str, default: &str) -> String {
    format!(r#"{{"name":"{name}","type":"string"{default}}}"#)
}

fn record(name: &str, fields: &[String]) -> String {
    format!(r#"{{"type":"record","name":"{name}","namespace":"shop","fields":[{}]}}"#, fields.join(","))
}

/// The versions of `orders-value`: each reads what those before it wrote.
fn orders(version: usize) -> String {
    let fields = [field("id", ""), field("note", r#","default":"""#), field("till", r#","default":"""#)];
    record("Order", &fields[..version])
}

fn register(registry: &Registry, subject: &str, body: &Value) -> u64 {
    let answer = ask(registry, "POST", &format!("/subjects/{subject}/versions"), body);
    answer["id"].as_u64().expect("an id")
}

fn avro(registry: &Registry, subject: &str, text: &str) -> u64 {
    register(registry, subject, &json!({ "schema": text }))
}

/// Numbers that nothing has any more.
fn burn_ids(registry: &Registry, count: usize) {
    take_ids(registry, count);
    for n in 0..count {
        ask(registry, "DELETE", &format!("/subjects/others-{n}"), &Value::Null);
        ask(registry, "DELETE", &format!("/subjects/others-{n}?permanent=true"), &Value::Null);
    }
}

/// A value of `orders`, whose fields are all empty texts.
fn framed(id: u32, fields: usize) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), &vec![0; fields]].concat()
}

/// A front of a kind before a server, with the certificates of a folder.
fn front(guard: &str, upstream: &str, folder: &Path) -> Front {
    let (port, issuer) = (Port::reserve(), Port::reserve());
    let mut node = process::command("node");
    let upstream = upstream.rsplit_once(':').expect("a port").1;
    node.env("NODE_PATH", installed("client-node").join("node_modules"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/node/guard.js"))
        .args([guard, &port.number().to_string(), &issuer.number().to_string(), upstream])
        .arg(folder);
    let log = folder.join(format!("guard-{}.log", port.number()));
    let mut process = Process::start("guard", node, &log);
    process.wait_for_line("ready", Duration::from_secs(60));
    Front { port, issuer, _process: process }
}

impl Site {
    fn new() -> Self {
        let scratch = Scratch::new("schema-guide");
        Certificates::make(scratch.path());
        let issuer = scratch.path().join("issuer");
        fs::create_dir(&issuer).expect("a folder");
        let issuers = Certificates::make(&issuer);
        // What the machine believes: samples without an authority go by that.
        let both =
            [scratch.path().join("ca.crt"), issuers.authority].map(|path| fs::read(path).expect("a file"));
        fs::write(scratch.path().join("machine.crt"), both.concat()).expect("a file");
        for (name, of) in [("client.crt", "server.crt"), ("client.key", "server.key")] {
            fs::copy(scratch.path().join(of), scratch.path().join(name)).expect("a copy");
        }
        let (source, target) = std::thread::scope(|scope| {
            let other = scope.spawn(|| KafkaCluster::start(KafkaVersion::V4, 1, &[]));
            (KafkaCluster::start(KafkaVersion::V4, 1, &[]), other.join().expect("a cluster"))
        });
        let registry = Registry::start();
        // The ids of the guide: orders 1 and 5, payments 2.
        avro(&registry, "orders-value", &orders(1));
        avro(&registry, "payments-value", &record("Payment", &[field("id", "")]));
        avro(&registry, "users-value", &record("User", &[field("name", "")]));
        avro(&registry, "common-address-value", &record("Address", &[field("street", "")]));
        assert_eq!(avro(&registry, "orders-value", &orders(2)), 5);
        avro(&registry, "orders-value", &orders(3));
        let address = r#"{"type":"record","name":"Sent","namespace":"shop","fields":[{"name":"to","type":"shop.Address"}]}"#;
        let reference = json!([{ "name": "shop.Address", "subject": "common-address-value", "version": 1 }]);
        register(&registry, "orders-sent-value", &json!({ "schema": address, "references": reference }));
        avro(&registry, "orders-test", &record("Tried", &[]));
        avro(&registry, "internal-audit", &record("Audit", &[]));
        register(
            &registry,
            "events-value",
            &json!({ "schemaType": "JSON", "schema": r#"{"type":"object"}"# }),
        );
        let common = "syntax = \"proto3\";\nmessage Common {\n  int32 id = 1;\n}\n";
        register(&registry, "common-proto", &json!({ "schemaType": "PROTOBUF", "schema": common }));
        let using = "syntax = \"proto3\";\nimport \"common.proto\";\nmessage M {\n  Common common = 1;\n}\n";
        let reference = json!([{ "name": "common.proto", "subject": "common-proto", "version": 1 }]);
        let using = json!({ "schemaType": "PROTOBUF", "schema": using, "references": reference });
        register(&registry, "messages-value", &using);
        for topic in ["orders", "payments"] {
            client::create_topic(&source.bootstrap(), topic, 1, 1, &[]);
        }
        let producer = Producer::new(&source.bootstrap(), &[]);
        let values = [framed(1, 1), framed(5, 2), framed(1, 1)];
        producer.send("orders", &values.map(|value| NewRecord::new("k", value)));
        producer.send("payments", &[NewRecord::new("k", framed(2, 1))]);
        let store = scratch.path().join("store");
        let s3 = S3::start();
        let s3_front = front("open", &s3.endpoint, scratch.path());
        let site = Self { source, target, registry, s3, s3_front, scratch, store };
        let whole = site.backup("whole", &with_url("avro.yaml", &site.registry.url()));
        assert_eq!(whole["schemas"]["failed"], Value::Null);
        site
    }

    /// A front of a kind before a registry.
    fn front(&self, guard: &str, registry: &Registry) -> Front {
        front(guard, &registry.url(), self.scratch.path())
    }

    /// What is at this machine's hosts and folders that the guide names.
    fn here(&self, text: &str) -> String {
        let folder = format!("{}/", self.scratch.path().display());
        text.replace("kafka:9092", &self.source.bootstrap())
            .replace("/certs/", &folder)
            .replace("/config/", &folder)
    }

    /// The program of the guide, on a file, with the variables that its samples take.
    fn program(&self, command: &str, file: &str) -> Replevin {
        let file = self.here(file);
        let authority = self.scratch.path().join("machine.crt").display().to_string();
        Replevin::new(&[command, "--output", "json"])
            .named("kafka-backup")
            .config(file)
            .limit(LIMIT)
            .env("SSL_CERT_FILE", &authority)
            .env("SR_USERNAME", "admin")
            .env("SR_PASSWORD", "password")
            .env("SR_CLIENT_ID", "backup")
            .env("SR_CLIENT_SECRET", "backup:secret+1%& ~")
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_REGION", REGION)
            .env("AWS_ENDPOINT_URL", &self.s3_front.url())
    }

    fn storage(&self) -> String {
        format!("storage:\n  backend: filesystem\n  path: {}\n", self.store.display())
    }

    /// Runs a backup of all topics whose schemas are as a sample says.
    fn backup(&self, id: &str, sample: &str) -> Value {
        let source = format!("source:\n  bootstrap_servers: [\"{}\"]\n", self.source.bootstrap());
        let file = format!("mode: backup\nbackup_id: {id}\n{}{source}{sample}", self.storage());
        let report = parsed(&self.program("backup", &file).run().expect_code(0));
        assert_eq!(report["schemas"]["failed"], Value::Null, "{id}: {report:#}");
        report
    }

    /// The subjects of a backup with how many versions each has.
    fn subjects(&self, id: &str) -> BTreeMap<String, u64> {
        let path = self.store.display().to_string();
        let asked = ["describe", "--path", &path, "--backup-id", id, "--format", "json"];
        let described = parsed(&Replevin::new(&asked).named("kafka-backup").run().expect_code(0));
        let subjects = described["schema_registry"]["subjects"].as_array().expect("a list").iter();
        let subject = |subject: &Value| {
            Some((subject["name"].as_str()?.to_owned(), subject["versions"].as_u64().expect("a count")))
        };
        subjects.filter_map(subject).collect()
    }

    /// A restore of topics under names that begin so, with schemas as a sample says.
    fn restore(&self, prefix: &str, topics: &[&str], sample: &str) -> Finished {
        let names: Vec<_> = topics.iter().map(|topic| format!("{topic}: {prefix}-{topic}")).collect();
        let file = format!(
            "mode: restore\nbackup_id: whole\n{}target:\n  bootstrap_servers: [\"{}\"]\n  topics:\n    include: [{}]\n\
             restore:\n  create_topics: true\n  topic_mapping: {{{}}}\n{sample}",
            self.storage(),
            self.target.bootstrap(),
            topics.join(", "),
            names.join(", ")
        );
        self.program("restore", &file).run()
    }

    /// The same where it must succeed; the values that arrived in `orders`.
    fn restored(&self, prefix: &str, sample: &str) -> Vec<Vec<u8>> {
        self.restore(prefix, &["orders", "payments"], sample).expect_code(0);
        self.values(&format!("{prefix}-orders"))
    }

    fn values(&self, topic: &str) -> Vec<Vec<u8>> {
        let read = client::read_all(&self.target.bootstrap(), topic, Isolation::ReadCommitted);
        read.into_iter().map(|record: Rec| record.value.expect("a value")).collect()
    }

    /// Runs words by bash, with the guide's program in its path.
    fn bash(&self, words: &str) -> String {
        let beside = binary::path().with_file_name("");
        let authority = self.scratch.path().join("machine.crt").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command: Command = process::command("env");
        command
            .arg(format!("PATH={}:{path}", beside.display()))
            .args(["CURL_CA_BUNDLE", "SSL_CERT_FILE"].map(|name| format!("{name}={authority}")))
            .args([format!("AWS_ACCESS_KEY_ID={ACCESS_KEY}"), format!("AWS_SECRET_ACCESS_KEY={SECRET_KEY}")])
            .args([format!("AWS_REGION={REGION}"), format!("AWS_ENDPOINT_URL={}", self.s3_front.url())])
            .args(["bash", "-eo", "pipefail", "-c", words])
            .stdin(Stdio::null());
        process::run(command)
    }
}

fn json_of(registry: &Registry, path: &str) -> Value {
    ask(registry, "GET", path, &Value::Null)
}

/// The id of a version in a registry.
fn id_of(registry: &Registry, subject: &str, version: u32) -> u64 {
    json_of(registry, &format!("/subjects/{subject}/versions/{version}"))["id"].as_u64().expect("an id")
}

/// Every way of asking a registry, over TLS.
#[test]
fn backups_ask_as_the_guide_says() {
    let site = site();
    let all = site.subjects("whole");
    assert_eq!(all.len(), json_of(&site.registry, "/subjects").as_array().expect("a list").len());
    assert_eq!(all["orders-value"], 3);
    for (name, guard) in [
        ("basic-schema-registry-backup.yaml", "user"),
        ("basic-auth.yaml", "user"),
        ("mtls.yaml", "certificate"),
        ("oauth-oidc.yaml", "token"),
    ] {
        let front = site.front(guard, &site.registry);
        let issuer = format!("https://localhost:{}/token", front.issuer.number());
        let text = with_url(name, &front.url()).replace("https://auth.company.com/oauth/token", &issuer);
        let id = name.trim_end_matches(".yaml");
        site.backup(id, &text);
        assert_eq!(site.subjects(id), all, "{name}");
    }
    // A password that is wrong is the registry's to refuse.
    let front = site.front("user", &site.registry);
    let source = format!("source:\n  bootstrap_servers: [\"{}\"]\n", site.source.bootstrap());
    let text = with_url("basic-auth.yaml", &front.url());
    let file = format!("mode: backup\nbackup_id: refused\n{}{source}{text}", site.storage());
    let refused = site.program("backup", &file).env("SR_PASSWORD", "wrong").run().expect_code(3);
    let why = parsed(&refused)["schemas"]["failed"].to_string();
    assert!(why.contains("401"), "{why}");
}

/// The guide's whole file, its object store, and its questions about what is there.
#[test]
fn the_whole_file_and_the_questions_afterwards() {
    let site = site();
    for bucket in ["kafka-backups", "bucket"] {
        site.s3.create_bucket(bucket);
    }
    let front = site.front("both", &site.registry);
    let file = with_url("complete-configuration.yaml", &front.url());
    let report = parsed(&site.program("backup", &file).run().expect_code(0));
    assert_eq!(report["schemas"]["failed"], Value::Null, "{report:#}");
    assert_eq!(report["schemas"]["versions"], 12);
    // The layout that the guide draws.
    let root = site.s3.folder().join("kafka-backups/production/full-backup-with-schemas/schema-registry");
    for file in [
        "_schemas.json",
        "subjects/orders-value/metadata.json",
        "subjects/orders-value/v2.avsc",
        "config/global.json",
    ] {
        assert!(root.join(file).is_file(), "{file} is not there");
    }
    let manifest: Value =
        serde_json::from_slice(&fs::read(root.join("_schemas.json")).expect("a file")).expect("JSON");
    assert_eq!(manifest["id_mapping"]["1"], "subjects/orders-value/v1.avsc");
    assert_eq!(manifest["id_mapping"]["5"], "subjects/orders-value/v2.avsc");
    let subjects = manifest["subjects"].as_array().expect("a list");
    let own = subjects.iter().find(|subject| subject["name"] == "orders-value").expect("the subject");
    assert_eq!(
        own["versions"][1],
        json!({ "version": 2, "id": 5, "schema_file": "subjects/orders-value/v2.avsc" })
    );

    let source = format!("source:\n  bootstrap_servers: [\"{}\"]\n", site.source.bootstrap());
    let storage = "storage:\n  backend: s3\n  bucket: bucket\n  prefix: backups\n";
    let front = site.front("open", &site.registry);
    let text = with_url("basic-schema-registry-backup.yaml", &front.url());
    let file = format!("mode: backup\nbackup_id: my-backup\n{storage}{source}{text}");
    site.program("backup", &file).run().expect_code(0);
    let described: Value = serde_json::from_str(&site.bash(&sample("describe.sh"))).expect("JSON");
    assert_eq!((&described["enabled"], &described["schemas_count"]), (&json!(true), &json!(12)));
    assert_eq!(described["subjects_count"], described["subjects"].as_array().expect("a list").len());
    let own = described["subjects"].as_array().expect("a list").iter();
    let own = own.clone().find(|subject| subject["name"] == "orders-value").expect("the subject");
    assert_eq!((&own["versions"], &own["latest_id"]), (&json!(3), &json!(6)));

    let target = Registry::start();
    site.restored("looked-at", &with_url("schema-id-not-found.yaml", &target.url()));
    let (source, asked) = (site.front("open", &site.registry), site.front("user", &target));
    let words = sample("verify-restore.sh");
    let (list, counts) = words.split_once("\n\n").expect("two parts");
    let listed = site.bash(&list.replace("https://target-sr:8081", &asked.url()));
    assert_eq!(serde_json::from_str::<Value>(&listed).expect("JSON"), json_of(&target, "/subjects"));
    let open = site.front("open", &target);
    let counts = counts.replace("https://target-sr:8081", &open.url());
    let counted = site.bash(&counts.replace("https://source-sr:8081", &source.url()));
    let counted: Vec<&str> = counted.lines().collect();
    assert_eq!(counted, ["10", "10"]);
}

#[test]
fn backups_take_what_the_guide_selects() {
    let site = site();
    let taken = |name: &str| -> Vec<String> {
        let id = format!("selected-{}", name.trim_end_matches(".yaml"));
        site.backup(&id, &with_url(name, &site.registry.url()));
        site.subjects(&id).into_keys().collect()
    };
    // What is referred to comes along.
    let some = taken("backup-specific-subjects.yaml");
    let own = ["orders-sent-value", "orders-test", "orders-value", "payments-value", "users-value"];
    assert_eq!(some, [&["common-address-value"][..], &own].concat());
    let all: Vec<String> = site.subjects("whole").into_keys().collect();
    let left_out = |name: &String| name.ends_with("-test") || name.starts_with("internal-");
    let rest: Vec<String> = all.iter().filter(|name| !left_out(name)).cloned().collect();
    assert_eq!((taken("exclude-subjects.yaml"), all.len() - rest.len()), (rest, 2));
    let with_references = taken("reference-not-found.yaml");
    assert_eq!(
        with_references,
        ["common-address-value", "common-proto", "orders-sent-value", "orders-test", "orders-value"]
    );
    let without = |names: &[&str]| -> Vec<String> {
        all.iter().filter(|name| !names.contains(&name.as_str())).cloned().collect()
    };
    assert_eq!(taken("avro.yaml"), all, "no special config needed");
    assert_eq!(taken("json-schema.yaml"), without(&["common-proto", "messages-value"]));
    assert_eq!(taken("protobuf.yaml"), without(&["events-value"]));
}

#[test]
fn strategies_do_what_the_guide_says() {
    let site = site();
    // Existing subject "orders-value" with v1, v2; backup has v1, v2, v3: v1, v2 unchanged, v3 added.
    let target = Registry::start();
    burn_ids(&target, 9);
    let own = [avro(&target, "orders-value", &orders(1)), avro(&target, "orders-value", &orders(2))];
    let values = site.restored("preserve", &with_url("preserve-default.yaml", &target.url()));
    assert_eq!(json_of(&target, "/subjects/orders-value/versions"), json!([1, 2, 3]));
    assert_eq!([1, 2].map(|version| id_of(&target, "orders-value", version)), own);
    let third = json_of(&target, "/subjects/orders-value/versions/3")["schema"].clone();
    assert_eq!(third.as_str(), Some(orders(3).as_str()));
    let [first, second] = own.map(|id| u32::try_from(id).expect("small"));
    assert_eq!(values, [framed(first, 1), framed(second, 2), framed(first, 1)]);

    // Existing schemas are replaced.
    let target = Registry::start();
    let other = record("Other", &[field("x", "")]);
    avro(&target, "orders-value", &other);
    site.restored("overwrite", &with_url("overwrite.yaml", &target.url()));
    let text = |version: usize| {
        json_of(&target, &format!("/subjects/orders-value/versions/{version}"))["schema"].clone()
    };
    assert_eq!([1, 2, 3].map(text), [1, 2, 3].map(|version| json!(orders(version))));

    // Schemas that exist already are not restored, only empty subjects are.
    let target = Registry::start();
    avro(&target, "orders-value", &other);
    site.restore("skip", &["payments"], &with_url("skip.yaml", &target.url())).expect_code(0);
    assert_eq!(json_of(&target, "/subjects/orders-value/versions"), json!([1]));
    assert_eq!(json_of(&target, "/subjects/orders-value/versions/1")["schema"], json!(other));
    let payments = u32::try_from(id_of(&target, "payments-value", 1)).expect("small");
    assert_eq!(site.values("skip-payments"), [framed(payments, 1)]);
}

/// A message with id 5 has id 2 afterwards, or what else the guide says.
#[test]
fn ids_in_messages_become_those_that_the_guide_says() {
    let site = site();
    // Only this subject, for the target gives ids to several at once, in no order among them.
    let one = "    backup:\n      subjects: [\"orders-value\"]\n";
    let of_one = |name: &str, url: &str| {
        with_url(name, url).replacen("    restore:\n", &format!("{one}    restore:\n"), 1)
    };
    for name in ["schema-id-mapping.yaml", "id-rewriting-recommended.yaml"] {
        let target = Registry::start();
        let prefix = name.trim_end_matches(".yaml");
        site.restore(prefix, &["orders"], &of_one(name, &target.url())).expect_code(0);
        assert_eq!([1, 2].map(|version| id_of(&target, "orders-value", version)), [1, 2], "{name}");
        let values = site.values(&format!("{prefix}-orders"));
        assert_eq!(values, [framed(1, 1), framed(2, 2), framed(1, 1)], "{name}");
    }
    // For consumers that cannot be updated: requires an empty registry.
    let target = Registry::start();
    let values = site.restored("forced", &with_url("same-schema-ids-required.yaml", &target.url()));
    assert_eq!(values, [framed(1, 1), framed(5, 2), framed(1, 1)]);
    assert_eq!([1, 2].map(|version| id_of(&target, "orders-value", version)), [1, 5]);
    let taken = Registry::start();
    take_ids(&taken, 3);
    let refused =
        site.restore("refused", &["orders"], &with_url("same-schema-ids-required.yaml", &taken.url()));
    assert_ne!(refused.code(), Some(0));
    assert!([refused.stdout, refused.stderr].concat().contains("id 1 is another schema's"));

    // The file that the guide shows in its comments.
    let text = sample("manual-id-mapping.yaml");
    let (_, file) = text.split_once("# id-mapping.json:\n").expect("the file");
    let file: String = file.lines().map(|line| line.trim_start_matches('#')).collect();
    fs::write(site.scratch.path().join("id-mapping.json"), &file).expect("a file");
    let target = Registry::start();
    let values = site.restored("given", &with_url("manual-id-mapping.yaml", &target.url()));
    assert_eq!(values, [framed(100, 1), framed(101, 2), framed(100, 1)]);
    assert_eq!(site.values("given-payments"), [framed(102, 1)]);
    assert_eq!([1, 2].map(|version| id_of(&target, "orders-value", version)), [100, 101]);
}

#[test]
fn troubles_are_solved_as_the_guide_says() {
    let site = site();
    // Every id that a message has is known, because schemas come first.
    let target = Registry::start();
    burn_ids(&target, 4);
    let values = site.restored("found", &with_url("schema-id-not-found.yaml", &target.url()));
    assert_eq!(values.len(), 3);
    for value in values {
        let id = u32::from_be_bytes(value[1..5].try_into().expect("four bytes"));
        let schema = json_of(&target, &format!("/schemas/ids/{id}"))["schema"].clone();
        assert_eq!(schema, json!(orders(value.len() - 5)), "id {id}");
    }

    // Subjects get other names.
    let target = Registry::start();
    site.restored("mapped", &with_url("map-subjects-during-restore.yaml", &target.url()));
    let subjects = json_of(&target, "/subjects");
    let has = |name: &str| subjects.as_array().expect("a list").iter().any(|subject| subject == name);
    assert!(
        has("restored-orders-value") && has("restored-payments-value") && has("users-value"),
        "{subjects}"
    );
    assert!(!has("orders-value") && !has("payments-value"), "{subjects}");
    assert_eq!(json_of(&target, "/subjects/restored-orders-value/versions"), json!([1, 2, 3]));

    // "Schema is incompatible with an earlier schema": the level is changed, and it is registered.
    let target = Registry::start();
    ask(&target, "PUT", "/config", &json!({ "compatibility": "FULL_TRANSITIVE" }));
    avro(&target, "orders-value", &record("Order", &[field("else", "")]));
    let enabled = with_url("schema-id-not-found.yaml", &target.url());
    let refused = site.restore("incompatible", &["orders"], &enabled);
    assert_ne!(refused.code(), Some(0));
    let said = [refused.stdout, refused.stderr].concat();
    assert!(said.contains("orders-value") && said.contains("set_compatibility"), "{said}");
    assert_eq!(json_of(&target, "/subjects"), json!(["orders-value"]), "nothing was touched");
    site.restored("solved", &with_url("schema-registration-failed.yaml", &target.url()));
    assert_eq!(json_of(&target, "/subjects/orders-value/versions"), json!([1, 2, 3, 4]));
    assert_eq!(json_of(&target, "/config/orders-value")["compatibilityLevel"], "NONE");
    assert_eq!(json_of(&target, "/config")["compatibilityLevel"], "FULL_TRANSITIVE");
}
