//! `replevin registry export | import | diff | check | takeover`, between registries that `replevin registry serve` serves.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn replevin(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replevin"));
    command.args(args).env_remove("RUST_LOG");
    command
}

fn run(args: &[&str]) -> Output {
    replevin(args).output().expect("runs")
}

/// Runs a command that must end with a code; gives what it printed.
fn ends(code: i32, args: &[&str]) -> String {
    let output = run(args);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
    out.into_owned()
}

/// As [`ends`], and what it printed is JSON.
fn ends_json(code: i32, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
    serde_json::from_str(&ends(code, &args)).expect("one JSON document")
}

/// A registry in memory, in a process of its own.
struct Served {
    child: Child,
    url: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn start() -> Self {
        let args = ["registry", "serve", "--host", "127.0.0.1", "--port", "0", "--storage-type", "memory"];
        let mut child = replevin(&args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split("address=").nth(1)?.split_whitespace().next()?.to_owned()))
            .expect("it says where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        let served = Self { child, url: format!("http://{address}") };
        let begun = Instant::now();
        while served.ask("GET", "/subjects", "").0 != 200 {
            assert!(begun.elapsed() < PATIENCE, "it never answers");
            std::thread::sleep(Duration::from_millis(20));
        }
        served
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let address = self.url.strip_prefix("http://").expect("a URL");
        let mut stream = TcpStream::connect(address).expect("connects");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn must(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) =
            self.ask(method, path, &if body.is_null() { String::new() } else { body.to_string() });
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    fn register(&self, subject: &str, body: Value) {
        self.must("POST", &format!("/subjects/{subject}/versions"), body);
    }

    fn mode(&self) -> Value {
        self.must("GET", "/mode", Value::Null)["mode"].clone()
    }
}

fn text(schema: &Value) -> Value {
    json!({ "schema": schema.to_string() })
}

fn with_references(schema: Value, references: &[(&str, &str)]) -> Value {
    let references: Vec<Value> = references
        .iter()
        .map(|(name, subject)| json!({ "name": name, "subject": subject, "version": 1 }))
        .collect();
    json!({ "schema": schema.to_string(), "references": references })
}

/// A registry with a bit of everything.
fn furnished() -> Served {
    let served = Served::start();
    let record = |name: &str, types: &[&str]| {
        let fields: Vec<Value> =
            types.iter().enumerate().map(|(n, of)| json!({ "name": format!("f{n}"), "type": of })).collect();
        json!({ "type": "record", "name": name, "fields": fields })
    };
    served.register("z-base", text(&record("Base", &["int"])));
    served.register("y-left", with_references(record("Left", &["Base"]), &[("Base", "z-base")]));
    served.register("x-right", with_references(record("Right", &["Base"]), &[("Base", "z-base")]));
    let top = with_references(record("Top", &["Left", "Right"]), &[("Left", "y-left"), ("Right", "x-right")]);
    served.register("a-top", top);
    served.register("%3A.pay%3Aorders", text(&json!({ "type": "fixed", "name": "F", "size": 4 })));
    served.register("sl%2Fash%20and%20%C3%A4", text(&json!("int")));
    let labelled = json!({
        "schema": "\"string\"",
        "metadata": { "properties": { "owner": "me" }, "tags": { "x": ["PII"] } },
        "ruleSet": { "domainRules": [{ "name": "r", "kind": "CONDITION", "mode": "WRITE", "type": "CEL", "expr": "true" }] },
    });
    served.register("labelled", labelled);
    served.register("old", text(&json!("float")));
    served.register("old", text(&json!("double")));
    served.must("DELETE", "/subjects/old/versions/1", Value::Null);
    served.register("gone", text(&json!("bytes")));
    served.must("DELETE", "/subjects/gone", Value::Null);
    served.must("PUT", "/config", json!({ "compatibility": "FULL" }));
    served.must("PUT", "/config/%3A.pay%3A", json!({ "compatibility": "NONE" }));
    served.must("PUT", "/config/labelled", json!({ "compatibility": "FORWARD", "normalize": true }));
    served.must("PUT", "/mode/old", json!({ "mode": "READONLY" }));
    served
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_registry_goes_through_a_file_and_is_the_same() {
    let (from, to) = (furnished(), Served::start());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("all.jsonl");
    let file = shown(&file);
    let exported = ends_json(0, &["registry", "export", "--from", &from.url, file]);
    assert_eq!((&exported["versions"], &exported["contexts"]), (&json!(10), &json!(2)), "{exported}");
    let said = ends(4, &["registry", "diff", &from.url, &to.url]);
    assert!(said.contains("version of a-top version 1: id 4 | nothing"), "{said}");
    let plan = ends_json(0, &["registry", "import", "--to", &to.url, file, "--plan"]);
    assert_eq!(plan["versions"].as_array().map(Vec::len), Some(10), "{plan}");
    assert_eq!(to.must("GET", "/subjects", Value::Null), json!([]), "a plan touches nothing");
    let done = ends_json(0, &["registry", "import", "--to", &to.url, file]);
    assert_eq!((&done["done"]["registered"], &done["done"]["deleted"]), (&json!(10), &json!(2)), "{done}");
    let same = ends_json(0, &["registry", "diff", &from.url, &to.url]);
    assert_eq!((&same["count"], &same["versions"]), (&json!(0), &json!(10)), "{same}");
    ends(0, &["registry", "diff", file, &to.url]);
    assert_eq!(to.mode(), "READWRITE");
    let said = ends(0, &["registry", "import", "--to", &to.url, file]);
    assert!(said.contains("nothing to do"), "{said}");
    assert!(ends(0, &["registry", "check", file]).contains("sound: 10 versions"));
    assert!(ends(0, &["registry", "check", &to.url]).contains("sound: 10 versions"));
    to.must("PUT", "/config/labelled", json!({ "compatibility": "NONE" }));
    let said = ends(4, &["registry", "diff", &from.url, &to.url]);
    assert!(said.contains("config of labelled"), "{said}");
}

#[test]
fn an_export_goes_to_a_folder_or_a_pipe_and_never_has_its_name_before_it_is_whole() {
    let from = furnished();
    let folder = tempfile::tempdir().expect("a folder");
    let exported = ends_json(0, &["registry", "export", "--from", &from.url, shown(folder.path())]);
    let path = exported["file"].as_str().expect("a file").to_owned();
    let piped = ends(0, &["registry", "export", "--from", &from.url, "-"]);
    let lines = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let kept = std::fs::read_to_string(&path).expect("read");
    // All but the hash, which is over the time too.
    assert_eq!(lines(&piped).len(), lines(&kept).len());
    let (a, b) = (lines(&piped), lines(&kept));
    assert_eq!(a[..a.len() - 1], b[..b.len() - 1]);
    let some =
        ends_json(0, &["registry", "export", "--from", &from.url, "--context", ".pay", shown(folder.path())]);
    assert_eq!(some["versions"], json!(1));
    let nowhere = folder.path().join("never.jsonl");
    ends(
        1,
        &[
            "registry",
            "export",
            "--from",
            "http://127.0.0.1:9",
            "--from-property",
            "max.retries=0",
            shown(&nowhere),
        ],
    );
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|file| file.file_name()).collect();
    assert!(names.iter().all(|name| name.to_string_lossy().starts_with("registry-")), "{names:?}");
    std::fs::write(&path, &kept[..kept.len() - 200]).expect("cut");
    let output = run(&["registry", "import", "--to", &from.url, &path]);
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_context_may_be_chosen_of_a_file_too_and_must_be_there() {
    let from = furnished();
    let folder = tempfile::tempdir().expect("a folder");
    let (path, nowhere) = (folder.path().join("all.jsonl"), folder.path().join("never.jsonl"));
    let path = shown(&path);
    ends(0, &["registry", "export", "--from", &from.url, path]);
    for args in [
        &["export", "--from", &from.url, shown(&nowhere)][..],
        &["export", "--from", &from.url, "-"],
        &["check", &from.url],
        &["check", path],
        &["diff", &from.url, path],
    ] {
        let output = run(&[&["registry"][..], args, &["--context", ".nope"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains("no context .nope in "), "{said}");
    }
    assert!(ends(0, &["registry", "diff", &from.url, path, "--context", ".pay"]).contains("1 version"));
    assert!(ends(0, &["registry", "check", path, "--context", ".pay"]).contains("1 version"));
    assert!(!nowhere.exists());
}

#[test]
fn what_is_in_the_way_is_named_and_nothing_is_touched() {
    let (from, to) = (furnished(), Served::start());
    to.register("other", text(&json!("boolean")));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("all.jsonl");
    ends(0, &["registry", "export", "--from", &from.url, shown(&file)]);
    let before = to.must("GET", "/schemas", Value::Null);
    let refused = ends_json(2, &["registry", "import", "--to", &to.url, shown(&file)]);
    let conflict = &refused["conflicts"][0];
    assert_eq!((&conflict["subject"], &conflict["version"]), (&json!("z-base"), &json!(1)), "{refused}");
    let why = conflict["why"].as_str().unwrap_or_default();
    assert!(why.contains("id 1") && why.contains("other version 1"), "{why}");
    assert_eq!((to.must("GET", "/schemas", Value::Null), to.mode()), (before, json!("READWRITE")));
}

#[test]
fn a_killed_import_is_finished_by_the_next_one_which_puts_modes_back() {
    let (from, to) = (furnished(), Served::start());
    to.must("PUT", "/mode", json!({ "mode": "READONLY" }));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("all.jsonl");
    ends(0, &["registry", "export", "--from", &from.url, shown(&file)]);
    let slowly = [
        "registry",
        "import",
        "--to",
        &to.url,
        shown(&file),
        "--requests-per-second",
        "8",
        "--without-modes",
    ];
    for signal in ["-KILL", "-TERM"] {
        let mut import =
            replevin(&slowly).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        let begun = Instant::now();
        let versions = || to.must("GET", "/schemas?deleted=true", Value::Null).as_array().map_or(0, Vec::len);
        let before = versions();
        while to.mode() != "IMPORT" || versions() < before + 2 {
            assert!(begun.elapsed() < PATIENCE, "it never begins");
            std::thread::sleep(Duration::from_millis(20));
        }
        let killed = Command::new("kill").args([signal, &import.id().to_string()]).status().expect("kill");
        assert!(killed.success());
        let code = import.wait().expect("ends").code();
        let journal = folder.path().join("all.jsonl.journal");
        match signal {
            "-KILL" => {
                assert_eq!((code, to.mode(), journal.exists()), (None, json!("IMPORT"), true));
            }
            _ => assert_eq!((code, to.mode(), journal.exists()), (Some(130), json!("READONLY"), false)),
        }
    }
    ends(0, &["registry", "import", "--to", &to.url, shown(&file), "--without-modes"]);
    assert_eq!(to.mode(), "READONLY");
    ends(0, &["registry", "import", "--to", &to.url, shown(&file)]);
    assert_eq!(to.mode(), "READWRITE", "the mode of the file");
    ends(0, &["registry", "diff", &from.url, &to.url]);
}

#[test]
fn what_a_killed_run_has_left_in_import_is_put_back_by_the_next_one_however_that_ends() {
    let (from, to) = (furnished(), Served::start());
    let folder = tempfile::tempdir().expect("a folder");
    let [file, journal] = ["all.jsonl", "all.jsonl.journal"].map(|name| folder.path().join(name));
    ends(0, &["registry", "export", "--from", &from.url, shown(&file)]);
    // In the way of version 1.
    to.register("z-base", text(&json!("boolean")));
    let killed = || {
        to.must("PUT", "/mode?force=true", json!({ "mode": "IMPORT" }));
        let left = json!({ "registry": to.url, "modes": { "": "READWRITE" } });
        std::fs::write(&journal, left.to_string()).expect("written");
    };
    let import = ["registry", "import", "--to", &to.url, shown(&file)];
    let away = ["registry", "takeover", "--from", "http://127.0.0.1:9", "--from-property", "max.retries=0"];
    let takeover = ["registry", "takeover", "--from", &from.url];
    let on = ["--to", &to.url, "--journal", shown(&journal)];
    killed();
    ends(2, &[&import[..], &["--plan"]].concat());
    assert_eq!((to.mode(), journal.exists()), (json!("IMPORT"), true), "a plan touches nothing");
    for (code, args) in
        [(2, import.to_vec()), (2, [&takeover[..], &on[..]].concat()), (1, [&away[..], &on[..]].concat())]
    {
        killed();
        ends(code, &args);
        assert_eq!((to.mode(), journal.exists()), (json!("READWRITE"), false), "{args:?}");
    }
    killed();
    std::fs::write(&file, "cut").expect("written");
    ends(4, &import);
    assert_eq!((to.mode(), journal.exists()), (json!("READWRITE"), false));
}

#[test]
fn a_takeover_follows_while_somebody_registers_and_proves_that_both_are_equal() {
    let (from, to) = (furnished(), Served::start());
    let folder = tempfile::tempdir().expect("a folder");
    let journal = folder.path().join("journal");
    let base = ["registry", "takeover", "--from", &from.url, "--to", &to.url, "--journal", shown(&journal)];
    let planned = ends_json(0, &[&base[..], &["--plan"]].concat());
    assert_eq!(planned["versions"].as_array().map(Vec::len), Some(10));
    assert_eq!(to.must("GET", "/subjects", Value::Null), json!([]), "a plan touches nothing");
    let following = replevin(&[&base[..], &["--follow", "--interval", "1"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    for n in 0..60 {
        let fixed = json!({ "type": "fixed", "name": format!("N{n}"), "size": n + 1 });
        from.register(
            &format!("new-{}", n % 20),
            text(&if n < 20 { fixed } else { json!({ "type": "array", "items": fixed }) }),
        );
        if n == 0 {
            from.must("PUT", "/config", json!({ "compatibility": "NONE" }));
        }
        if n == 30 {
            from.must("DELETE", "/subjects/new-3", Value::Null);
            from.must("DELETE", "/subjects/new-3?permanent=true", Value::Null);
            from.must("DELETE", "/subjects/new-4/versions/1", Value::Null);
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    // With ids: a number that is used again is read again only when its turn comes.
    let all = |served: &Served| -> Vec<[Value; 4]> {
        let listed = served.must("GET", "/schemas?deleted=true", Value::Null);
        let names = ["subject", "version", "id", "deleted"];
        listed.as_array().expect("a list").iter().map(|found| names.map(|name| found[name].clone())).collect()
    };
    let has_all = || all(&to) == all(&from);
    let begun = Instant::now();
    while !has_all() {
        assert!(begun.elapsed() < PATIENCE, "it does not follow");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(to.mode(), "IMPORT", "nobody else registers meanwhile");
    assert!(
        Command::new("kill").args(["-TERM", &following.id().to_string()]).status().expect("kill").success()
    );
    let ended = following.wait_with_output().expect("ends");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!((to.mode(), journal.exists()), (json!("READWRITE"), false));
    let report = ends_json(0, &[&base[..], &["--follow", "--until-caught-up", "--interval", "1"]].concat());
    assert_eq!(report["proof"]["count"], json!(0), "{report}");
    ends(0, &["registry", "diff", &from.url, &to.url]);
}

#[test]
fn a_takeover_does_not_follow_a_source_into_having_nothing() {
    let (from, to) = (Served::start(), Served::start());
    for name in ["a", "b"] {
        from.register(name, text(&json!({ "type": "fixed", "name": name, "size": 4 })));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let journal = folder.path().join("journal");
    let follow = ["registry", "takeover", "--from", &from.url, "--to", &to.url, "--journal", shown(&journal)];
    let following = replevin(&[&follow[..], &["--follow", "--interval", "1"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let begun = Instant::now();
    while to.must("GET", "/subjects", Value::Null) != json!(["a", "b"]) {
        assert!(begun.elapsed() < PATIENCE, "it does not follow");
        std::thread::sleep(Duration::from_millis(100));
    }
    for path in ["/subjects/a", "/subjects/b", "/subjects/a?permanent=true", "/subjects/b?permanent=true"] {
        from.must("DELETE", path, Value::Null);
    }
    let ended = following.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("versions are gone") && said.contains("--follow-mass-deletion"), "{said}");
    assert_eq!(to.must("GET", "/subjects?deleted=true", Value::Null), json!(["a", "b"]));
    assert_eq!((to.mode(), journal.exists()), (json!("READWRITE"), false));
}

#[test]
fn a_follower_goes_on_when_the_target_can_be_written_to_again() {
    let (from, to) = (Served::start(), Served::start());
    from.register("a", text(&json!("int")));
    let folder = tempfile::tempdir().expect("a folder");
    let journal = folder.path().join("journal");
    let follow = ["registry", "takeover", "--from", &from.url, "--to", &to.url, "--journal", shown(&journal)];
    let mut following = replevin(&[&follow[..], &["--follow", "--interval", "3"]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let subjects = |wanted: Value| {
        let begun = Instant::now();
        while to.must("GET", "/subjects", Value::Null) != wanted {
            assert!(begun.elapsed() < PATIENCE, "it does not follow");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    subjects(json!(["a"]));
    // Somebody has the id that the source gives next.
    to.register("b", json!({ "schema": "\"long\"", "id": 2, "version": 1 }));
    from.register("c", text(&json!("float")));
    let mut lines = BufReader::new(following.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("cannot be written to; it is tried again")), "it ended");
    std::thread::spawn(move || lines.for_each(drop));
    to.must("DELETE", "/subjects/b", Value::Null);
    to.must("DELETE", "/subjects/b?permanent=true", Value::Null);
    subjects(json!(["a", "c"]));
    assert!(
        Command::new("kill").args(["-TERM", &following.id().to_string()]).status().expect("kill").success()
    );
    assert_eq!(following.wait().expect("ends").code(), Some(0));
}

#[test]
fn credentials_do_not_appear_and_slips_of_the_pen_do() {
    let nobody = "http://alice:hunter2@127.0.0.1:9";
    let output = run(&["registry", "check", nobody, "--from-property", "max.retries=0"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("127.0.0.1:9") && said.contains("  -> ") && !said.contains("hunter2"), "{said}");
    let output =
        run(&["registry", "check", "http://127.0.0.1:9", "--from-property", "basic.auth.user.inf=a:hunter2"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("basic.auth.user.info") && !said.contains("hunter2"), "{said}");
}

/// Memory that a process has used at most, in MiB.
fn peak_mib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

/// How many versions memory is measured with: `REPLEVIN_MANY_VERSIONS=100000` measures with more.
fn many() -> usize {
    std::env::var("REPLEVIN_MANY_VERSIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(5000)
}

#[test]
fn many_versions_pass_through_little_memory() {
    let (from, to) = (Served::start(), Served::start());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("many.jsonl");
    // Written by hand: a file is the quickest way into a registry.
    let mut lines = vec![
        json!({ "record": "header", "format": 1, "program": "test", "source": "test", "time_ms": 0 })
            .to_string(),
    ];
    let (count, padding) = (many(), "x".repeat(4000));
    for n in 0..count {
        let schema = json!({ "type": "record", "name": "R", "doc": format!("{n} {padding}"), "fields": [] })
            .to_string();
        let (subject, version) = (format!("s{}", n / 10), n % 10 + 1);
        lines.push(json!({ "record": "version", "subject": subject, "version": version, "id": n + 1, "schema": schema }).to_string());
    }
    let mut whole = lines.join("\n") + "\n";
    let hash = blake3::hash(whole.as_bytes()).to_hex().to_string();
    whole += &json!({ "record": "end", "contexts": 0, "configs": 0, "modes": 0, "versions": count, "blake3": hash }).to_string();
    whole += "\n";
    std::fs::write(&file, &whole).expect("written");
    let bytes = whole.len() as u64 >> 20;
    drop((lines, whole));
    let measured = |args: &[&str]| {
        let mut child = replevin(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut peak = 0;
        loop {
            peak = peak.max(peak_mib(child.id()));
            match child.try_wait().expect("waits") {
                None => std::thread::sleep(Duration::from_millis(20)),
                Some(status) => {
                    let mut said = String::new();
                    let _ = child.stderr.take().expect("piped").read_to_string(&mut said);
                    assert!(status.success(), "{args:?}: {said}");
                    return peak;
                }
            }
        }
    };
    let imported = measured(&["registry", "import", "--to", &from.url, shown(&file)]);
    let again = folder.path().join("again.jsonl");
    let exported = measured(&["registry", "export", "--from", &from.url, shown(&again)]);
    let taken = measured(&[
        "registry",
        "takeover",
        "--from",
        &from.url,
        "--to",
        &to.url,
        "--journal",
        shown(&folder.path().join("j")),
    ]);
    println!(
        "{count} versions, {bytes} MiB: import {imported} MiB, export {exported} MiB, takeover {taken} MiB"
    );
    // What the program itself takes, and an index of a few hundred bytes a version; texts are not in it.
    let allowed = 48 + count as u64 * 1000 / (1 << 20);
    for peak in [imported, exported, taken] {
        assert!(peak <= allowed, "{peak} MiB of {allowed}");
    }
}
