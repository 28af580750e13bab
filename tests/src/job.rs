//! A backup job of the binary: its file, its runs, and what its archive says afterwards in the terms of the other readers.

use crate::azure::{ACCOUNT, Azure, KEY};
use crate::binary::{Finished, Replevin};
use crate::client::{Isolation, Rec, TimestampKind};
use crate::s3::{ACCESS_KEY, REGION, S3, SECRET_KEY};
use crate::scratch::Scratch;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Longer than any run here takes on a busy machine, so that what hangs is told apart from what is slow.
const LIMIT: Duration = Duration::from_secs(240);

/// A job of one backup id.
#[derive(Clone, Debug)]
pub struct Job {
    /// The backup's name.
    pub backup_id: String,
    storage: String,
    source: String,
    topics: Vec<String>,
    excluded: Vec<String>,
    connection: String,
    backup: String,
    top: String,
}

/// The `storage` section for a folder.
pub fn folder(path: &Path) -> String {
    format!("storage:\n  backend: filesystem\n  path: {}\n", path.display())
}

/// The `storage` section for a container of an Azure emulator.
pub fn container(azure: &Azure, name: &str) -> String {
    format!(
        "storage:\n  backend: azure\n  account_name: {ACCOUNT}\n  container_name: {name}\n  account_key: {KEY}\n  \
         endpoint: {}\n  allow_http: true\n",
        azure.endpoint
    )
}

/// The `storage` section for a bucket of an S3 server.
pub fn bucket(s3: &S3, name: &str) -> String {
    bucket_at(&s3.endpoint, name)
}

/// As [`bucket`], for a server at this URL: a proxy's, for example.
pub fn bucket_at(endpoint: &str, name: &str) -> String {
    format!(
        "storage:\n  backend: s3\n  bucket: {name}\n  region: {REGION}\n  endpoint: {endpoint}\n  path_style: true\n  \
         allow_http: true\n  access_key: {ACCESS_KEY}\n  secret_key: {SECRET_KEY}\n"
    )
}

impl Job {
    /// A job of all topics, into this `storage` section.
    pub fn new(backup_id: &str, bootstrap: &str, storage: &str) -> Self {
        Self {
            backup_id: backup_id.to_owned(),
            storage: storage.to_owned(),
            source: bootstrap.to_owned(),
            topics: Vec::new(),
            excluded: Vec::new(),
            connection: String::new(),
            backup: String::new(),
            top: String::new(),
        }
    }

    /// Of these topics only.
    pub fn topics(mut self, topics: &[&str]) -> Self {
        self.topics.extend(topics.iter().map(|&topic| topic.to_owned()));
        self
    }

    /// Without these topics.
    pub fn without(mut self, topics: &[&str]) -> Self {
        self.excluded.extend(topics.iter().map(|&topic| topic.to_owned()));
        self
    }

    /// With a line of the `backup` section.
    pub fn set(mut self, line: &str) -> Self {
        let _ = writeln!(self.backup, "  {line}");
        self
    }

    /// With a line of the `source.connection` section.
    pub fn connection(mut self, line: &str) -> Self {
        let _ = writeln!(self.connection, "    {line}");
        self
    }

    /// With a line at the top level.
    pub fn top(mut self, line: &str) -> Self {
        let _ = writeln!(self.top, "{line}");
        self
    }

    /// The file.
    pub fn file(&self) -> String {
        let mut text = format!("mode: backup\nbackup_id: {}\n{}{}", self.backup_id, self.top, self.storage);
        let _ = writeln!(text, "source:\n  bootstrap_servers: [{}]", list(self.source.split(',')));
        let _ = writeln!(text, "  topics:\n    include: [{}]", list(self.topics.iter().map(String::as_str)));
        let _ = writeln!(text, "    exclude: [{}]", list(self.excluded.iter().map(String::as_str)));
        if !self.connection.is_empty() {
            let _ = write!(text, "  connection:\n{}", self.connection);
        }
        if !self.backup.is_empty() {
            let _ = write!(text, "backup:\n{}", self.backup);
        }
        text
    }

    /// Any command on this job's file, with JSON as its output.
    pub fn command(&self, args: &[&str]) -> Replevin {
        Replevin::new(&[args, &["--output", "json"]].concat()).config(self.file()).limit(LIMIT)
    }

    /// `backup --once`, not started yet.
    pub fn once(&self) -> Replevin {
        self.command(&["backup", "--once"])
    }

    /// `backup --continuous`, not started yet.
    pub fn continuous(&self) -> Replevin {
        self.command(&["backup", "--continuous"])
    }

    /// Runs `backup --once` and answers its report.
    ///
    /// # Panics
    /// When it ends with another exit code.
    pub fn back_up(&self, code: i32) -> Value {
        json(&self.once().run().expect_code(code))
    }

    /// Runs `verify --deep`.
    ///
    /// # Panics
    /// When the archive is not sound.
    pub fn verify(&self) -> Value {
        json(&self.command(&["verify", "--deep"]).run().expect_code(0))
    }

    /// Runs `describe`.
    ///
    /// # Panics
    /// When that fails.
    pub fn describe(&self) -> Value {
        json(&self.command(&["describe"]).run().expect_code(0))
    }

    /// All lineages of a partition as `describe` tells them, the oldest first; none where the backup does not exist yet or
    /// has nothing of the partition.
    pub fn lineages(&self, topic: &str, partition: i32) -> Vec<Value> {
        let finished = self.command(&["describe"]).run();
        if finished.code() != Some(0) {
            return Vec::new();
        }
        lineages(&json(&finished), topic, partition)
    }

    /// The offset behind the last one that the current lineage of a partition holds; -1 where there is none.
    pub fn position(&self, topic: &str, partition: i32) -> i64 {
        self.lineages(topic, partition).last().and_then(|lineage| lineage["end"].as_i64()).unwrap_or(-1)
    }

    /// The records of a partition's current lineage, with more arguments of `dump`.
    ///
    /// # Panics
    /// When the dump fails or prints what is no record.
    pub fn dump(&self, topic: &str, partition: i32, isolation: Isolation, args: &[&str]) -> Vec<Rec> {
        let number = partition.to_string();
        // As one argument: a topic's name may begin with a dash.
        let topic = format!("--topic={topic}");
        let all = ["dump", &topic, "--partition", &number, "--isolation", isolation.name()];
        let finished = self.command(&[&all, args].concat()).run().expect_code(0);
        finished.stdout.lines().map(|line| record(line, partition)).collect()
    }

    /// The records of every partition of a topic that the archive has, by partition and offset.
    ///
    /// # Panics
    /// As [`Job::dump`].
    pub fn dump_all(&self, topic: &str, isolation: Isolation) -> Vec<Rec> {
        let described = self.describe();
        let partitions = topic_of(&described, topic)["partitions"].as_array().cloned().unwrap_or_default();
        let numbers = partitions.iter().filter_map(|partition| partition["partition"].as_i64());
        numbers
            .flat_map(|number| self.dump(topic, i32::try_from(number).unwrap_or(-1), isolation, &[]))
            .collect()
    }

    /// The batches of a partition's current lineage as `dump --as-log` writes them, all files one behind the other.
    ///
    /// # Panics
    /// When that fails.
    pub fn log_bytes(&self, topic: &str, partition: i32) -> Vec<u8> {
        let scratch = Scratch::new("as-log");
        self.as_log(topic, partition, scratch.path(), &[])
            .iter()
            .flat_map(|path| fs::read(path).unwrap_or_else(|error| panic!("read {path}: {error}")))
            .collect()
    }

    /// Runs `dump --as-log` into a folder; the files in the order of their offsets.
    ///
    /// # Panics
    /// When that fails.
    pub fn as_log(&self, topic: &str, partition: i32, dir: &Path, args: &[&str]) -> Vec<String> {
        let (number, dir) = (partition.to_string(), dir.display().to_string());
        let topic = format!("--topic={topic}");
        let all = ["dump", &topic, "--partition", &number, "--as-log", &dir];
        let report = json(&self.command(&[&all, args].concat()).run().expect_code(0));
        let files = report["files"].as_array().cloned().unwrap_or_default();
        files.iter().filter_map(|file| file["path"].as_str().map(str::to_owned)).collect()
    }
}

/// A restore of a job's backup.
#[derive(Clone, Debug)]
pub struct Restore {
    backup_id: String,
    storage: String,
    target: String,
    topics: Vec<String>,
    excluded: Vec<String>,
    restore: String,
    top: String,
}

impl Job {
    /// A restore of this backup into a cluster, all of it unless told otherwise.
    pub fn restore(&self, bootstrap: &str) -> Restore {
        Restore {
            backup_id: self.backup_id.clone(),
            storage: self.storage.clone(),
            target: bootstrap.to_owned(),
            topics: Vec::new(),
            excluded: Vec::new(),
            restore: String::new(),
            top: String::new(),
        }
    }
}

impl Restore {
    /// Of these topics only.
    pub fn topics(mut self, topics: &[&str]) -> Self {
        self.topics.extend(topics.iter().map(|&topic| topic.to_owned()));
        self
    }

    /// Without these topics.
    pub fn without(mut self, topics: &[&str]) -> Self {
        self.excluded.extend(topics.iter().map(|&topic| topic.to_owned()));
        self
    }

    /// With a line of the `restore` section, which says `create_topics: true` where no line says otherwise.
    pub fn set(mut self, line: &str) -> Self {
        let _ = writeln!(self.restore, "  {line}");
        self
    }

    /// With a line at the top level.
    pub fn top(mut self, line: &str) -> Self {
        let _ = writeln!(self.top, "{line}");
        self
    }

    /// The file.
    pub fn file(&self) -> String {
        let (servers, topics) = (list(self.target.split(',')), list(self.topics.iter().map(String::as_str)));
        let excluded = list(self.excluded.iter().map(String::as_str));
        let create = if self.restore.contains("create_topics:") { "" } else { "  create_topics: true\n" };
        format!(
            "mode: restore\nbackup_id: {}\n{}{}target:\n  bootstrap_servers: [{servers}]\n  topics:\n    \
             include: [{topics}]\n    exclude: [{excluded}]\nrestore:\n{create}{}",
            self.backup_id, self.top, self.storage, self.restore
        )
    }

    /// `restore`, not started yet, with more arguments.
    pub fn command(&self, args: &[&str]) -> Replevin {
        let args = [&["restore"], args, &["--output", "json"]].concat();
        Replevin::new(&args).config(self.file()).limit(LIMIT)
    }

    /// `restore` with its output as text for people, not started yet.
    pub fn text_command(&self, args: &[&str]) -> Replevin {
        let args = [&["restore"], args, &["--output", "text"]].concat();
        Replevin::new(&args).config(self.file()).limit(LIMIT)
    }

    /// Runs it with `--proof` and answers its report.
    ///
    /// # Panics
    /// When it ends with another exit code.
    pub fn run(&self, code: i32) -> Value {
        json(&self.command(&["--proof"]).run().expect_code(code))
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// The lineages of a partition in what `describe` printed.
pub fn lineages(described: &Value, topic: &str, partition: i32) -> Vec<Value> {
    let topic = topic_of(described, topic);
    let partitions = topic["partitions"].as_array().cloned().unwrap_or_default();
    let found = partitions.iter().find(|candidate| candidate["partition"] == partition);
    found.and_then(|found| found["lineages"].as_array().cloned()).unwrap_or_default()
}

fn topic_of(described: &Value, topic: &str) -> Value {
    let topics = described["topics"].as_array().cloned().unwrap_or_default();
    topics.into_iter().find(|candidate| candidate["topic"] == topic).unwrap_or(Value::Null)
}

/// What a run printed, as JSON.
///
/// # Panics
/// When it is none.
pub fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| {
        panic!("{error}\n--- stdout\n{}\n--- stderr\n{}", finished.stdout, finished.stderr)
    })
}

fn record(line: &str, partition: i32) -> Rec {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let number = |name: &str| value[name].as_i64().unwrap_or_else(|| panic!("no {name}: {line}"));
    assert_eq!(number("partition"), i64::from(partition), "{line}");
    let timestamp = number("timestamp_ms");
    let ts_type = match value["timestamp_type"].as_str() {
        // A consumer calls that no timestamp at all.
        Some("create_time") if timestamp == -1 => TimestampKind::None,
        Some("create_time") => TimestampKind::CreateTime,
        Some("log_append_time") => TimestampKind::LogAppendTime,
        other => panic!("timestamp type {other:?}: {line}"),
    };
    let headers = value["headers"].as_array().unwrap_or_else(|| panic!("no headers: {line}"));
    let header = |header: &Value| {
        let name = bytes(&header["key"]).unwrap_or_else(|| panic!("a header without name: {line}"));
        (String::from_utf8_lossy(&name).into_owned(), bytes(&header["value"]))
    };
    Rec {
        partition,
        offset: number("offset"),
        timestamp,
        ts_type,
        key: bytes(&value["key"]),
        value: bytes(&value["value"]),
        headers: headers.iter().map(header).collect(),
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        other => {
            let text = other["base64"].as_str().unwrap_or_else(|| panic!("no bytes: {other}"));
            Some(STANDARD.decode(text).unwrap_or_else(|error| panic!("{error}: {text}")))
        }
    }
}
