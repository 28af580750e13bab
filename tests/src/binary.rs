//! Runs of the `replevin` binary: its config, its output, its exit code, and its death at a chosen instant.
//!
//! The binary is `$REPLEVIN_BIN`, or the one in the folder above the test program: `cargo build -p replevin` first.
//! Settings of the machine's user (`AWS_*`, `AZURE_*`, `GOOGLE_*`, `REPLEVIN_*`) do not reach it.

use crate::process;
use crate::scratch::Scratch;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where the binary is.
///
/// # Panics
/// When it is not there.
pub fn path() -> PathBuf {
    let path = match std::env::var_os("REPLEVIN_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let test =
                std::env::current_exe().unwrap_or_else(|error| panic!("path of the test program: {error}"));
            // target/debug/deps/NAME-HASH stands below target/debug/replevin.
            test.ancestors().nth(2).unwrap_or(Path::new(".")).join("replevin")
        }
    };
    assert!(
        path.is_file(),
        "{} is not there: run cargo build -p replevin, or set REPLEVIN_BIN",
        path.display()
    );
    path
}

/// A run to be started.
#[derive(Clone, Debug)]
pub struct Replevin {
    program: Option<String>,
    args: Vec<OsString>,
    config: Option<String>,
    envs: Vec<(String, String)>,
    limit: Duration,
}

impl Replevin {
    /// A run with these arguments, a limit of two minutes and no config.
    pub fn new<A: Into<OsString> + Clone>(args: &[A]) -> Self {
        Self {
            program: None,
            args: args.iter().cloned().map(Into::into).collect(),
            config: None,
            envs: Vec::new(),
            limit: Duration::from_secs(120),
        }
    }

    /// Under another name, that of a program beside it.
    pub fn named(self, program: &str) -> Self {
        Self { program: Some(program.to_owned()), ..self }
    }

    /// With this text in a file that is given as `--config FILE` after the other arguments.
    pub fn config(self, text: impl Into<String>) -> Self {
        Self { config: Some(text.into()), ..self }
    }

    /// With an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a time limit for [`Replevin::run`] and [`Running::wait`].
    pub fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Starts it and waits for its end.
    ///
    /// # Panics
    /// When it does not end in time, with what it wrote.
    pub fn run(&self) -> Finished {
        self.start().wait()
    }

    /// Starts it, lets it run for `time` and kills it (SIGKILL); it may have ended before.
    pub fn run_and_kill(&self, time: Duration) -> Finished {
        let mut running = self.start();
        thread::sleep(time);
        running.kill9();
        running.wait()
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self) -> Running {
        let scratch = Scratch::new("replevin");
        let file = |name: &str| scratch.path().join(name);
        let own = path();
        let program = self.program.as_ref().map_or_else(|| own.clone(), |name| own.with_file_name(name));
        let mut command = process::command(program);
        command.args(&self.args);
        if let Some(text) = &self.config {
            let config = file("replevin.yaml");
            fs::write(&config, text).unwrap_or_else(|error| panic!("write {}: {error}", config.display()));
            command.arg("--config").arg(config);
        }
        for (name, _) in std::env::vars_os() {
            let known = ["AWS_", "AZURE_", "GOOGLE_", "REPLEVIN_"];
            if name.to_str().is_some_and(|name| known.iter().any(|prefix| name.starts_with(prefix))) {
                command.env_remove(name);
            }
        }
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        // Files, not pipes: nothing blocks when nobody reads, and all is there after a kill.
        let create =
            |name: &str| File::create(file(name)).unwrap_or_else(|error| panic!("create {name}: {error}"));
        command.stdin(Stdio::null()).stdout(create("stdout")).stderr(create("stderr"));
        let started = Instant::now();
        let what = self.args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ");
        Running { child: process::spawn(command), what, started, limit: self.limit, scratch }
    }
}

/// A run that has been started; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    what: String,
    started: Instant,
    limit: Duration,
    scratch: Scratch,
}

impl Running {
    /// The process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// The most memory that it has had resident, in bytes; 0 once it has ended.
    pub fn peak_rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Kills it at once (SIGKILL), and waits until its ports and files are free; [`Running::wait`] then tells what it had written.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name: `TERM`, `INT`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        process::signal(self.pid(), name);
    }

    /// Waits until `text` is in what it has written to either output.
    ///
    /// # Panics
    /// When it ends or the time is up before that.
    pub fn wait_for(&mut self, text: &str) {
        while !self.stdout().contains(text) && !self.stderr().contains(text) {
            if let Ok(Some(status)) = self.child.try_wait() {
                // It may have written that between the two looks.
                if self.stdout().contains(text) || self.stderr().contains(text) {
                    return;
                }
                panic!(
                    "replevin {} ended with {status} before it wrote '{text}'\n{}",
                    self.what,
                    self.outputs()
                );
            }
            assert!(
                self.started.elapsed() < self.limit,
                "replevin {}: no '{text}'\n{}",
                self.what,
                self.outputs()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When that does not come in time, with what it wrote.
    pub fn wait(mut self) -> Finished {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    let (stdout, stderr) = (self.stdout(), self.stderr());
                    return Finished {
                        what: self.what.clone(),
                        status,
                        stdout,
                        stderr,
                        elapsed: self.started.elapsed(),
                    };
                }
                Ok(None) if self.started.elapsed() > self.limit => {
                    panic!("replevin {} runs for more than {:?}\n{}", self.what, self.limit, self.outputs());
                }
                Ok(None) => thread::sleep(Duration::from_millis(10)),
                Err(error) => panic!("wait for replevin {}: {error}", self.what),
            }
        }
    }

    fn outputs(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}", self.stdout(), self.stderr())
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.scratch.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A run that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    what: String,
    status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// From its start until its end was noticed.
    pub elapsed: Duration,
}

impl Finished {
    /// Its exit code; none when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Whether it was killed by SIGKILL.
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    /// Itself, when its exit code is `code`.
    ///
    /// # Panics
    /// When it is another, with what the run wrote.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            Some(code),
            "replevin {} ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.what,
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }
}
