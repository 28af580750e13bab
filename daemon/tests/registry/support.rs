//! A registry of one's own, and the few words of HTTP that it is asked in.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A registry of its own: no variable of the machine reaches it, and it works in a folder that goes with it.
pub(crate) struct Registry {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) fn command(folder: &Path, args: &[&str], vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replevin"));
    command.args(["registry", "serve"]).args(args).env_clear().envs(vars.iter().copied()).current_dir(folder);
    command.stdin(Stdio::null());
    command
}

impl Registry {
    pub(crate) fn start(args: &[&str], vars: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), args, vars)
    }

    pub(crate) fn start_in(folder: tempfile::TempDir, args: &[&str], vars: &[(&str, &str)]) -> Self {
        let file = |name: &str| File::create(folder.path().join(name)).expect("a file");
        let mut command = command(folder.path(), args, vars);
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().expect("started");
        let mut registry = Self { child, address: String::new(), folder };
        registry.address = registry.logged("the registry listens").replace("0.0.0.0", "127.0.0.1");
        registry
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// The address in the line of the log that says this.
    pub(crate) fn logged(&mut self, words: &str) -> String {
        let began = Instant::now();
        loop {
            let log = self.stderr();
            let line = log.lines().find(|line| line.contains(words));
            let address = line.and_then(|line| line.split_once("address")).map(|(_, rest)| {
                let rest = rest.trim_start_matches(['=', '"', ':']);
                rest.split([' ', '"', ',']).next().unwrap_or_default().to_owned()
            });
            if let Some(address) = address {
                return address;
            }
            let ended = self.child.try_wait().expect("asked");
            assert!(ended.is_none() && began.elapsed() < LIMIT, "{ended:?}\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        ask(&self.address, method, path, body)
    }

    pub(crate) fn json(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = self.ask(method, path, &body);
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path}: {text}")))
    }

    /// Asks until this is the status.
    pub(crate) fn becomes(&self, path: &str, status: u16) -> String {
        let began = Instant::now();
        loop {
            let (found, text) = self.ask("GET", path, "");
            if found == status {
                return text;
            }
            assert!(began.elapsed() < LIMIT, "{path} is {found}: {text}\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it as an orchestrator does; it must end well.
    pub(crate) fn stop(mut self) -> String {
        let sent = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        assert!(sent.expect("sent").success());
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", self.stderr());
        assert_eq!(fs::read_to_string(self.folder.path().join("stdout")).expect("its output"), "");
        self.stderr()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends words and reads until the end.
pub(crate) fn talk(address: &str, words: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(LIMIT)).expect("set");
    // Who is refused early may not get rid of everything.
    let _ = stream.write_all(words);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) fn ask(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = talk(address, (head + body).as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {head}")), body.to_owned())
}

/// What becomes of a start that cannot succeed.
pub(crate) fn refused(args: &[&str], vars: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    refused_in(folder.path(), args, vars)
}

pub(crate) fn refused_in(folder: &Path, args: &[&str], vars: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(folder, args, vars).output().expect("runs");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

pub(crate) const ANY_PORT: (&str, &str) = ("SERVER_PORT", "0");
pub(crate) const RECORD: &str = r#"{"schema": "{\"type\": \"record\", \"name\": \"User\", \"fields\": [{\"name\": \"id\", \"type\": \"int\"}]}"}"#;
