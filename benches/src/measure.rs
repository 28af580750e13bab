//! What a program costs: processor time and peak memory as the kernel accounts them, and wall time.
//!
//! ```text
//! replevin-bench FIGURE  ->  replevin-bench measured FILE -- PROGRAM ARGS  ->  PROGRAM
//! ```
//! The program in the middle has exactly one child, so what the kernel says of its children (`getrusage`) is that child
//! and nothing else: to the microsecond, with the true peak of resident memory. Ours and every reference are run so.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use sandbox::process;
use sandbox::scratch::Scratch;

use crate::Result;

/// Longer than any measured program takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Memory that is touched before each run.
const WARM: usize = 2 << 30;

/// What one run of a program cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Seconds of processor time in the program.
    pub(crate) user: f64,
    /// Seconds of processor time in the kernel on its behalf.
    pub(crate) system: f64,
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// The most memory resident at once, in bytes.
    pub(crate) peak: u64,
}

impl Usage {
    /// Processor time.
    pub(crate) fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// A program that has ended well.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) usage: Usage,
    pub(crate) stdout: String,
}

/// Runs a program to its end.
///
/// # Errors
/// It ends with anything but one of `codes`, or not in time; with what it wrote.
pub(crate) fn run(program: &Path, args: &[OsString], codes: &[i32]) -> Result<Measured> {
    let scratch = Scratch::new("measured");
    let file = |name: &str| scratch.path().join(name);
    let mut command = process::command(std::env::current_exe()?);
    command.arg("measured").arg(file("usage")).arg("--").arg(program).args(args);
    for (name, _) in std::env::vars_os() {
        let settings = ["AWS_", "AZURE_", "GOOGLE_", "REPLEVIN_"];
        if name.to_str().is_some_and(|name| settings.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    warm();
    command.stdin(Stdio::null());
    command.stdout(std::fs::File::create(file("stdout"))?).stderr(std::fs::File::create(file("stderr"))?);
    let mut child = process::spawn(command);
    let started = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && started.elapsed() < LIMIT {
        thread::sleep(Duration::from_millis(5));
    }
    // One that has ended is not hit any more.
    let _ = child.kill();
    child.wait()?;
    let text = |name: &str| std::fs::read_to_string(file(name)).unwrap_or_default();
    let (stdout, stderr) = (text("stdout"), text("stderr"));
    let numbers: Vec<f64> = text("usage").split_whitespace().filter_map(|part| part.parse().ok()).collect();
    match numbers[..] {
        [code, user, system, wall, peak] if codes.contains(&(code as i32)) => {
            let usage = Usage { user, system, wall, peak: peak as u64 * 1024 };
            Ok(Measured { usage, stdout })
        }
        _ => {
            let what = format!("{} {args:?}", program.display());
            Err(format!("{what} failed ({numbers:?}, limit {LIMIT:?})\n{stdout}\n{stderr}").into())
        }
    }
}

/// Takes memory, touches it, gives it back. On a virtual machine whose host takes free memory away, whoever touches it next
/// pays for getting it back (here 3 cpu-s/GB), and that is often the program that happens to run after a pause. Now it is
/// nobody that is measured.
pub(crate) fn warm() {
    std::hint::black_box(vec![1_u8; WARM]);
}

/// Runs this very program with a hidden subcommand.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_self<A: Into<OsString> + Clone>(args: &[A]) -> Result<Measured> {
    let args: Vec<OsString> = args.iter().cloned().map(Into::into).collect();
    run(&std::env::current_exe()?, &args, &[0])
}

/// The program in the middle: runs one child and writes `code user system wall peak-KiB` to a file.
///
/// # Errors
/// The child cannot be started.
pub(crate) fn middle(file: &Path, program: &[OsString]) -> Result<()> {
    let (name, args) = program.split_first().ok_or("no program to measure")?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(name).args(args);
    let started = Instant::now();
    let status = command.status()?;
    let wall = started.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1e6;
    let (user, system) = (seconds(usage.user_time()), seconds(usage.system_time()));
    let code = status.code().unwrap_or(-1);
    std::fs::write(file, format!("{code} {user} {system} {wall} {}", usage.max_rss()))?;
    Ok(())
}

/// What some work in this very thread costs: for figures of a function, which no process wraps. Memory is not told.
///
/// # Errors
/// Those of the work.
pub(crate) fn thread(work: impl FnOnce() -> Result<()>) -> Result<Usage> {
    let seconds = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1e6;
    let (started, before) = (Instant::now(), getrusage(UsageWho::RUSAGE_THREAD)?);
    work()?;
    let (wall, after) = (started.elapsed().as_secs_f64(), getrusage(UsageWho::RUSAGE_THREAD)?);
    let user = seconds(after.user_time()) - seconds(before.user_time());
    let system = seconds(after.system_time()) - seconds(before.system_time());
    Ok(Usage { user, system, wall, peak: 0 })
}

/// What a process that still runs has cost so far: processor time in hundredths of a second, and its peak; no wall time.
///
/// # Errors
/// There is no such process.
pub(crate) fn so_far(pid: u32) -> Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, which may hold anything, ends with the last parenthesis; user and system time are the 12th and 13th behind it.
    let (_, behind) = stat.rsplit_once(") ").ok_or("no stat")?;
    let mut ticks = behind.split(' ').skip(11).map(str::parse::<u64>);
    let mut seconds =
        || ticks.next().ok_or("a short stat")?.map(|ticks| ticks as f64 / 100.0).map_err(Into::into);
    let (user, system): (Result<f64>, Result<f64>) = (seconds(), seconds());
    Ok(Usage { user: user?, system: system?, wall: 0.0, peak: memory(pid, "VmHWM:")? })
}

/// Resident memory of a process in bytes.
///
/// # Errors
/// There is no such process.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, name: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line of its memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// The middle one of some numbers.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => (sorted[even / 2 - 1] + sorted[even / 2]) / 2.0,
    }
}
