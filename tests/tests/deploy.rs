//! What is under deploy/ fits the binary: every number that a rule or a dashboard asks for is told, every number of a backup is shown, and
//! the unit starts what there is. What systemd and Grafana make of it is theirs.

use sandbox::binary::{self, Replevin};
use sandbox::client::{self, NewRecord, Producer};
use sandbox::http;
use sandbox::job::{Job, folder};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::process::{self, wait_until};
use sandbox::promql::{self, Asked};
use sandbox::scratch::{Port, Scratch, installed};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);
/// Labels that Prometheus gives to everything.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];
/// Told only once something has failed that cannot be made to fail here; names.rs has them.
const AFTER_A_FAILURE: [(&str, &[&str]); 2] = [
    ("schema_registry_storage_errors_total", &["backend", "operation"]),
    ("schema_registry_compatibility_errors_total", &["type", "level"]),
];
/// Numbers of backups that nobody is shown, and why.
const NOT_SHOWN: [(&str, &str); 1] =
    [("replevin_backup_partitions_begun_total", "how many are followed now is what people want to know")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An expression of a file, with the labels that texts beside it name.
struct Used {
    place: String,
    asked: Asked,
    texts: BTreeSet<String>,
    expression: String,
}

impl Used {
    fn new(place: String, expression: &str, texts: &[&Value]) -> Self {
        let texts = texts.iter().filter_map(|text| text.as_str()).flat_map(promql::named).collect();
        Self { place, asked: promql::asked(expression), texts, expression: expression.to_owned() }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn rules() -> Vec<Used> {
    let file: Value =
        serde_saphyr::from_str(&read("deploy/prometheus/replevin.rules.yaml")).expect("YAML of rules");
    let rules = list(&file["groups"]).iter().flat_map(|group| list(&group["rules"]));
    let used = rules.map(|rule| {
        let texts = [&rule["annotations"]["summary"], &rule["annotations"]["description"]];
        Used::new(format!("rule {}", rule["alert"]), rule["expr"].as_str().expect("an expression"), &texts)
    });
    used.collect()
}

fn dashboards() -> Vec<(String, Value)> {
    let files = fs::read_dir(root().join("deploy/grafana")).expect("a folder");
    let names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
    let names: BTreeSet<_> = names.filter(|name| name.ends_with(".json")).collect();
    let parsed = names.into_iter().map(|name| {
        let board = serde_json::from_str(&read(&format!("deploy/grafana/{name}")));
        let board = board.unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, board)
    });
    parsed.collect()
}

fn panels() -> Vec<Used> {
    let mut used = Vec::new();
    for (file, board) in dashboards() {
        for panel in list(&board["panels"]) {
            for target in list(&panel["targets"]) {
                let expression = target["expr"].as_str().expect("an expression");
                used.push(Used::new(
                    format!("{file}, panel {}", panel["title"]),
                    expression,
                    &[&target["legendFormat"]],
                ));
            }
        }
        for variable in list(&board["templating"]["list"]).iter().filter(|one| one["type"] == "query") {
            // label_values(SERIES, LABEL)
            let query = variable["query"]["query"].as_str().expect("a query");
            let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (series, label) = inside.and_then(|inside| inside.rsplit_once(',')).expect("label_values");
            let mut one = Used::new(format!("{file}, variable {}", variable["name"]), series, &[]);
            one.texts.insert(label.trim().to_owned());
            used.push(one);
        }
    }
    used
}

/// What /metrics said: the kind of each family, and the labels of each.
#[derive(Default)]
struct Told {
    kinds: BTreeMap<String, String>,
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Told {
    fn add(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a kind");
                self.kinds.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') && !line.is_empty() {
                let asked = promql::asked(line.rsplit_once(' ').expect("a series and a value").0);
                for (name, labels) in asked.series {
                    self.labels.entry(name).or_default().extend(labels);
                }
            }
        }
    }

    /// The labels of a series, where there is one of this name: of a histogram, only its parts are.
    fn labels_of(&self, name: &str) -> Option<BTreeSet<String>> {
        if let Some((_, labels)) = AFTER_A_FAILURE.iter().find(|(known, _)| *known == name) {
            return Some(labels.iter().map(|&label| label.to_owned()).collect());
        }
        let parts = ["_bucket", "_sum", "_count"];
        let whole = parts
            .iter()
            .find_map(|part| name.strip_suffix(part))
            .filter(|whole| self.kinds.get(*whole).is_some_and(|kind| kind == "histogram"));
        match whole {
            None if self.kinds.get(name).is_some_and(|kind| kind != "histogram") => {}
            Some(_) => {}
            None => return None,
        }
        self.labels.get(name).cloned()
    }
}

/// Runs a daemon with a backup and a registry until it has told of everything that it can tell.
fn told() -> Told {
    let cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
    client::create_topic(&cluster.bootstrap(), "shown", 1, 1, &[]);
    let (scratch, metrics, registry) = (Scratch::new("deploy"), Port::reserve(), Port::reserve());
    let sections = format!(
        "metrics: {{bind_address: 127.0.0.1, port: {}, max_partition_labels: 5}}\n\
         registry: {{server: {{host: 127.0.0.1, port: {}}}, storage: {{type: sqlite, sqlite: {{data_dir: {}}}}}}}\n\
         schema_registry: {{backup: {{poll_interval: 1s}}}}",
        metrics.number(),
        registry.number(),
        scratch.path().join("registry").display()
    );
    let store = folder(&scratch.path().join("store"));
    let job = Job::new("shown", &cluster.bootstrap(), &store).topics(&["shown"]).top(&sections);
    let file = scratch.path().join("shown.yaml");
    fs::write(&file, job.set("segment_max_interval_ms: 200").file()).expect("a file");
    let running = Replevin::new(&["run", "-c", &file.display().to_string()]).limit(LIMIT).start();

    let ask = |port: &Port, method: &str, path: &str, body: &str| {
        let headers = [("Content-Type", "application/json")];
        let answer = http::request(&port.address(), method, path, &headers, body.as_bytes())?;
        if answer.status == 200 { Ok(answer.text()) } else { Err(format!("{path}: {}", answer.text())) }
    };
    let until = |what: &str, probe: &dyn Fn() -> Result<String, String>| {
        wait_until(LIMIT, probe).unwrap_or_else(|error| panic!("{what}: {error}\n{}", running.stderr()))
    };
    let schema = json!({ "schema": "\"long\"" }).to_string();
    for _ in 0..2 {
        until("a schema is taken", &|| ask(&registry, "POST", "/subjects/shown-value/versions", &schema));
    }
    let compatible = "/compatibility/subjects/shown-value/versions/latest";
    until("a schema is compared", &|| ask(&registry, "POST", compatible, &schema));
    Producer::new(&cluster.bootstrap(), &[]).send("shown", &[NewRecord::new("key".to_owned(), "value")]);
    let mut told = Told::default();
    told.add(&until("all is committed", &|| {
        let text = ask(&metrics, "GET", "/metrics", "")?;
        let is_told = |begin: &str| text.lines().any(|line| line.starts_with(begin));
        let age = is_told("replevin_backup_partition_recovery_point_age_seconds{");
        let records = is_told("replevin_backup_committed_records_total{backup_id=\"shown\"} 1");
        if age && records { Ok(text) } else { Err("not yet".to_owned()) }
    }));
    told.add(&until("the registry tells", &|| ask(&registry, "GET", "/metrics", "")));
    running.signal("TERM");
    running.wait().expect_code(0);
    told
}

#[test]
fn rules_and_dashboards_ask_for_what_the_binary_tells_and_show_all_of_it() {
    let told = told();
    let (mut wrong, mut shown) = (Vec::new(), BTreeSet::new());
    let names = read("daemon/src/metrics/names.rs");
    for (name, _) in AFTER_A_FAILURE {
        assert!(!told.kinds.contains_key(name), "{name} is told now: it needs no exception");
        assert!(names.contains(&format!("\"{name}\"")), "{name} is no number any more");
    }
    for used in rules().into_iter().chain(panels()) {
        assert!(!used.asked.series.is_empty(), "{}: nothing is asked for", used.place);
        let mut known: BTreeSet<String> = OF_PROMETHEUS.map(str::to_owned).into();
        for (name, matched) in &used.asked.series {
            let Some(labels) = told.labels_of(name) else {
                wrong.push(format!("{}: {name} is not told", used.place));
                continue;
            };
            let is_known =
                |label: &&String| labels.contains(*label) || OF_PROMETHEUS.contains(&label.as_str());
            for label in matched.iter().filter(|label| !is_known(label)) {
                wrong.push(format!("{}: {name} has no label {label}", used.place));
            }
            known.extend(labels);
            shown.insert(name.clone());
        }
        for label in used.asked.labels.iter().filter(|label| !known.contains(*label)) {
            wrong.push(format!("{}: nothing asked for has the label {label}", used.place));
        }
        // Behind `by (...)` no other labels are left.
        let left = if used.asked.labels.is_empty() { &known } else { &used.asked.labels };
        for label in used.texts.iter().filter(|label| !left.contains(*label)) {
            wrong.push(format!("{}: a text names {label}, which is not there", used.place));
        }
    }
    for name in told.kinds.keys().filter(|name| name.starts_with("replevin_")) {
        let is_excused = NOT_SHOWN.iter().any(|(known, _)| known == name);
        let is_shown = shown.iter().any(|shown| {
            shown == name
                || ["_bucket", "_sum", "_count"].iter().any(|part| shown.strip_suffix(part) == Some(name))
        });
        if is_shown == is_excused {
            wrong.push(format!("{name}: shown {is_shown}, excused {is_excused}"));
        }
    }
    for (name, _) in NOT_SHOWN {
        assert!(told.kinds.contains_key(name), "{name} is no number any more");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn promtool(args: &[&str], files: &[&Path]) -> String {
    let mut command = process::command(installed("prometheus").join("promtool"));
    command.args(args).args(files);
    process::run(command)
}

#[test]
fn prometheus_takes_all_expressions_and_the_rules_do_what_their_tests_say() {
    let prometheus = root().join("deploy/prometheus");
    let said = promtool(&["check", "rules"], &[&prometheus.join("replevin.rules.yaml")]);
    assert!(said.contains(&format!("SUCCESS: {} rules found", rules().len())), "{said}");
    promtool(&["test", "rules"], &[&prometheus.join("replevin.rules.test.yaml")]);
    let tests = read("deploy/prometheus/replevin.rules.test.yaml");
    for rule in rules() {
        let name = rule.place.trim_start_matches("rule ").to_owned();
        assert!(
            tests.matches(name.trim_matches('"')).count() >= 2,
            "{name}: no test that it fires and one that not"
        );
    }
    // As rules, so that promtool reads them.
    let panels = panels();
    let as_rules = panels.iter().enumerate().map(|(number, used)| {
        let expression = used.expression.replace("$__rate_interval", "5m").replace("$__range", "6h");
        json!({ "record": format!("panel:number_{number}"), "expr": expression })
    });
    let file = json!({ "groups": [{ "name": "panels", "rules": as_rules.collect::<Vec<_>>() }] });
    let scratch = Scratch::new("promtool");
    let path = scratch.path().join("panels.yaml");
    fs::write(&path, file.to_string()).expect("a file");
    let said = promtool(&["check", "rules"], &[&path]);
    assert!(said.contains(&format!("SUCCESS: {} rules found", panels.len())), "{said}");
}

#[test]
fn dashboards_explain_every_panel_and_name_no_prometheus_of_ours() {
    let boards = dashboards();
    assert_eq!(boards.len(), 2);
    for (file, board) in &boards {
        assert_eq!(board["schemaVersion"], 39, "{file}: Grafana 11");
        assert!(board.get("id").is_none() && board["uid"].is_string(), "{file}: an id is given by Grafana");
        let mut taken = BTreeSet::new();
        let mut numbers = BTreeSet::new();
        for panel in list(&board["panels"]) {
            let title = format!("{file}, panel {}", panel["title"]);
            assert!(
                numbers.insert(panel["id"].as_u64().expect("a number")),
                "{title}: its number is another's"
            );
            let at =
                |name: &str| panel["gridPos"][name].as_u64().unwrap_or_else(|| panic!("{title}: no {name}"));
            assert!(at("x") + at("w") <= 24, "{title}: too wide");
            for place in
                (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y)))
            {
                assert!(taken.insert(place), "{title}: lies on another one at {place:?}");
            }
            if panel["type"] == "row" {
                continue;
            }
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(
                panel["description"].as_str().is_some_and(|text| text.len() > 40),
                "{title}: says nothing"
            );
            assert!(!list(&panel["targets"]).is_empty(), "{title}: asks for nothing");
        }
    }
}

const UNIT: &str = "deploy/systemd/replevin.service";

/// The values of a key of the unit, in their order.
fn unit(key: &str) -> Vec<String> {
    let text = read(UNIT);
    let values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

#[test]
fn the_unit_starts_what_there_is() {
    let start = unit("ExecStart");
    let mut words = start[0].split_whitespace();
    assert_eq!(words.next(), Some("/usr/local/bin/replevin"));
    assert_eq!(words.next(), Some("run"));
    let help = Replevin::new(&["run", "--help"]).run().expect_code(0).stdout;
    for flag in words.filter(|word| word.starts_with('-')) {
        let is_known = help.split_whitespace().any(|word| word.trim_end_matches(',') == flag);
        assert!(is_known, "{flag} is not in\n{help}");
    }
    for code in unit("RestartPreventExitStatus").iter().flat_map(|codes| codes.split_whitespace()) {
        let help = Replevin::new(&["--help"]).run().expect_code(0).stdout;
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))),
            "{code}: {help}"
        );
    }
    // What was fetched is committed before systemd loses its patience.
    let full = read("configs/full.yaml");
    let grace = full.lines().find_map(|line| line.strip_prefix("# shutdown_grace: ")?.strip_suffix('s'));
    let seconds = |text: &str| text.parse::<u64>().expect("seconds");
    assert!(seconds(&unit("TimeoutStopSec")[0]) > seconds(grace.expect("a default")));
    assert!(seconds(&unit("WatchdogSec")[0]) >= 30);
    assert!(read(UNIT).lines().all(|line| !line.starts_with("LoadCredential")), "it starts without secrets");
}

#[test]
fn systemd_takes_the_unit_and_finds_it_hardened() {
    let scratch = Scratch::new("unit");
    let path = scratch.path().join("replevin.service");
    // The program is where it was built, and not where people will install it.
    let own = binary::path().display().to_string();
    fs::write(&path, read(UNIT).replace("/usr/local/bin/replevin", &own)).expect("a file");
    let drop_ins = scratch.path().join("replevin.service.d");
    fs::create_dir(&drop_ins).expect("a folder");
    fs::write(drop_ins.join("credentials.conf"), read("deploy/systemd/credentials.conf")).expect("a file");
    let analyze = |args: &[&str]| {
        let mut command = std::process::Command::new("systemd-analyze");
        let output = command.args(args).arg(&path).output();
        output.map(|output| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.success(), said, String::from_utf8_lossy(&output.stdout).into_owned())
        })
    };
    let (is_good, said, _) = match analyze(&["verify", "--man=no"]) {
        Ok(answer) => answer,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: systemd-analyze is not on this machine");
            return;
        }
        Err(error) => panic!("systemd-analyze: {error}"),
    };
    assert!(is_good && said.is_empty(), "{said}");
    // Exposure in tenths: above it a line was lost.
    let (is_good, said, table) =
        analyze(&["security", "--offline=true", "--threshold=20"]).expect("it is there");
    assert!(is_good, "{said}{table}");
}

#[test]
fn the_example_of_credentials_is_read_as_it_is_written() {
    let example = read("deploy/systemd/credentials.conf");
    let storage: Vec<_> = example.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
    let text = format!(
        "mode: backup\nbackup_id: a\nsource: {{bootstrap_servers: [\"h:9092\"]}}\n{}\n  bucket: b\n  region: r\n",
        storage.join("\n")
    );
    let scratch = Scratch::new("credentials");
    let check = || {
        let check = Replevin::new(&["check-config"]).config(text.clone());
        check.env("CREDENTIALS_DIRECTORY", &scratch.path().display().to_string()).run()
    };
    let refused = check().expect_code(2).stderr;
    assert!(refused.contains("s3-access-key") && refused.contains("s3-secret-key"), "{refused}");
    let loaded = example.lines().filter_map(|line| line.strip_prefix("LoadCredential=")?.split_once(':'));
    for (name, _) in loaded {
        fs::write(scratch.path().join(name), "secret\n").expect("a file");
    }
    check().expect_code(0);
}
