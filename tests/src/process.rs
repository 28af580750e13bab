//! A server process that cannot outlive the test program, with its log, and the signals that tests need.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at while waiting for it.
const PAUSE: Duration = Duration::from_millis(25);

/// How much of a log's end goes into an error.
const TAIL: u64 = 4096;

type Job = Box<dyn FnOnce() + Send>;

/// A command that dies with this program: `setpriv` asks the kernel for that and then replaces itself by `program`, which
/// has the same process number and gets all signals itself. To be started by [`spawn`].
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The same as another user, for servers that refuse to be root; where this program is not root, as itself.
pub fn command_as(user: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !is_root() {
        return command(program);
    }
    // The tie is cut when a process changes its user, so it comes after that.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups", "--"]);
    command.args(["setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Gives a folder to the user of [`command_as`].
///
/// # Panics
/// When that cannot be done.
pub fn give(user: &str, folder: &Path) {
    if is_root() {
        let status = Command::new("chown").arg("-R").arg(format!("{user}:")).arg(folder).status();
        assert!(status.is_ok_and(|status| status.success()), "chown {user}: {}", folder.display());
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("one's own process")) == 0
}

/// Runs a command of [`command`] to its end and answers what it wrote.
///
/// # Panics
/// When it cannot be started or fails, with what it wrote.
pub fn run(mut command: Command) -> String {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let what = format!("{command:?}");
    let output = spawn(command).wait_with_output().unwrap_or_else(|error| panic!("{what}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what} ended with {}\n{out}{err}", output.status);
    out.into_owned()
}

/// Starts what [`command`] made.
///
/// The kernel ties the child to the *thread* that forked it, and a test's thread ends with its test, which must not take
/// a server with it that other tests share. So one thread that lives as long as the program forks them all.
///
/// # Panics
/// When the program cannot be started.
pub fn spawn(mut command: Command) -> Child {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::spawn(move || queue.into_iter().for_each(|job| job()));
        Mutex::new(jobs)
    });
    let (reply, answer) = mpsc::channel();
    let job: Job = Box::new(move || {
        let _ = reply.send(command.spawn().map_err(|error| format!("start {command:?}: {error}")));
    });
    let jobs = spawner.lock().unwrap_or_else(PoisonError::into_inner).clone();
    jobs.send(job).expect("the spawner thread lives as long as the program");
    match answer.recv().expect("the spawner answers every job") {
        Ok(child) => child,
        Err(error) => panic!("{error}"),
    }
}

/// Sends a signal by name (`TERM`, `STOP`, `CONT`, `INT`) to a process that this program started.
pub fn signal(pid: u32, name: &str) {
    // Not `Command::status` on a shell: one fork, and a process that is already gone is no error.
    let _ = Command::new("kill").args(["-s", name, &pid.to_string()]).stderr(Stdio::null()).status();
}

/// Calls `probe` until it answers `Ok` or the time is up; then the last refusal is the error.
pub fn wait_until<T>(limit: Duration, mut probe: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > limit => {
                return Err(format!("{error} (gave up after {} s)", start.elapsed().as_secs()));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where this life's output begins in a log that earlier lives wrote to as well.
    log_start: u64,
}

impl Process {
    /// Starts `command` (from [`command`]) with its output appended to the file `log`.
    ///
    /// # Panics
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let output = open().unwrap_or_else(|error| panic!("open {}: {error}", log.display()));
        let log_start = output.metadata().map_or(0, |metadata| metadata.len());
        let errors = output.try_clone().unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        Self { name: name.to_owned(), child: spawn(command), log: log.to_owned(), log_start }
    }

    /// The process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What this life has written to the log so far.
    pub fn output(&self) -> String {
        read_from(&self.log, self.log_start)
    }

    /// Waits until `probe` answers `Ok`.
    ///
    /// # Panics
    /// When the time is up or the process has ended, with the end of its log.
    pub fn wait_ready<T>(&mut self, limit: Duration, mut probe: impl FnMut(&Self) -> Result<T, String>) -> T {
        let start = Instant::now();
        loop {
            let error = match probe(self) {
                Ok(value) => return value,
                Err(error) => error,
            };
            if let Some(status) = self.exited() {
                panic!("{} ended with {status}\n{}", self.name, self.tail());
            }
            if start.elapsed() > limit {
                panic!("{} is not ready after {} s: {error}\n{}", self.name, limit.as_secs(), self.tail());
            }
            thread::sleep(PAUSE);
        }
    }

    /// Waits until this life's log contains `text`.
    ///
    /// # Panics
    /// As [`Process::wait_ready`].
    pub fn wait_for_line(&mut self, text: &str, limit: Duration) {
        self.wait_ready(limit, |process| {
            if process.output().contains(text) { Ok(()) } else { Err(format!("no '{text}' in its log")) }
        });
    }

    /// How the process ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills the process at once (SIGKILL) and waits for its end. A frozen process dies as well.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the process to end (SIGTERM); after `limit` it is killed. Answers whether it ended by itself.
    pub fn terminate(&mut self, limit: Duration) -> bool {
        signal(self.pid(), "TERM");
        let ended = wait_until(limit, || self.exited().ok_or_else(String::new)).is_ok();
        self.kill9();
        ended
    }

    /// Stops the process where it stands (SIGSTOP): its connections stay open and answer nothing.
    pub fn freeze(&self) {
        signal(self.pid(), "STOP");
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn thaw(&self) {
        signal(self.pid(), "CONT");
    }

    /// The end of the log, for an error.
    pub fn tail(&self) -> String {
        let length = fs::metadata(&self.log).map_or(0, |metadata| metadata.len());
        let from = self.log_start.max(length.saturating_sub(TAIL));
        format!("--- end of {}\n{}", self.log.display(), read_from(&self.log, from))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn read_from(path: &Path, start: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(start))?;
        file.read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("({}: {error})", path.display()),
    }
}
