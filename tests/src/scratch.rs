//! Ports and folders that no two tests share, also when several test programs run at once.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};

/// Where all scratch files of all test programs are.
fn root() -> PathBuf {
    std::env::temp_dir().join("replevin-tests")
}

/// The folder that `tests/install.sh` fills.
pub fn servers() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()).map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache"),
        PathBuf::from,
    );
    cache.join("replevin").join("servers")
}

/// The installed server `name`, for example `kafka-4`.
///
/// # Panics
/// When it is not installed, naming the command that installs it.
pub fn installed(name: &str) -> PathBuf {
    let folder = servers().join(name);
    match fs::canonicalize(&folder) {
        Ok(folder) => folder,
        Err(error) => panic!("{} is not there ({error}): run tests/install.sh {name}", folder.display()),
    }
}

/// A port on 127.0.0.1 that nobody else in this or any other test program gets while this value lives.
///
/// Ports are below 32768: higher ones are handed by Linux to outgoing connections, and one that is free now may be taken a
/// moment later, between the kill and the restart of a server. A lock on a file a port keeps test programs apart;
/// the operating system drops it when the program dies, however it dies.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    const FIRST: u32 = 15_000;
    const COUNT: u32 = 17_000;

    /// Reserves a port.
    ///
    /// # Panics
    /// When none is free or the lock folder cannot be written.
    pub fn reserve() -> Self {
        static NEXT: Mutex<Option<u32>> = Mutex::new(None);
        let folder = root().join("ports");
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("create {}: {error}", folder.display()));
        let mut next = NEXT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A start that depends on the process, so that two programs rarely try the same ports.
        let start = *next.get_or_insert(std::process::id().wrapping_mul(37) % Self::COUNT);
        for step in 0..Self::COUNT {
            let candidate = (start + step) % Self::COUNT;
            let number = u16::try_from(Self::FIRST + candidate).expect("below 32768");
            let path = folder.join(number.to_string());
            let Ok(lock) = OpenOptions::new().create(true).truncate(false).write(true).open(&path) else {
                continue;
            };
            if lock.try_lock().is_err() || TcpListener::bind(("127.0.0.1", number)).is_err() {
                continue;
            }
            *next = Some(candidate + 1);
            return Self { number, _lock: lock };
        }
        panic!("no free port between {} and {}", Self::FIRST, Self::FIRST + Self::COUNT);
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }

    /// An address of this machine (127.x.y.z) that is as much one's own as the port is, for who must listen at a number that is
    /// known to all the world.
    pub fn own_host(&self) -> String {
        format!("127.9.{}.{}", self.number >> 8, self.number & 255)
    }
}

/// A folder that is removed when this value is dropped, also when the test panics.
///
/// The folders of a program that was killed are removed by the next one that starts. `REPLEVIN_KEEP=1` keeps all
/// folders of this program, for a look at the logs.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a new empty folder with `name` in its name.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let path =
            root().join(format!("{}-{name}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        // A process number comes round again: what a namesake left is not ours.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        Self { path }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if keep() {
            return;
        }
        // A server that was killed this instant may still be writing: once more is enough then.
        if fs::remove_dir_all(&self.path).is_err() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn keep() -> bool {
    std::env::var_os("REPLEVIN_KEEP").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Removes folders whose program is gone.
fn sweep() {
    let Ok(entries) = fs::read_dir(root()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.split('-').next()?.parse::<u32>().ok()) else {
            continue;
        };
        if !keep() && !Path::new(&format!("/proc/{process}")).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
