//! A service manager's ear: the socket that NOTIFY_SOCKET names, and what was said there.

use crate::scratch::Scratch;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A socket that listens; removed when dropped.
#[derive(Debug)]
pub struct Ear {
    socket: UnixDatagram,
    path: PathBuf,
    _scratch: Scratch,
}

impl Ear {
    /// Begins to listen.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn open() -> Self {
        let scratch = Scratch::new("notify");
        let path = scratch.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { socket, path, _scratch: scratch }
    }

    /// What NOTIFY_SOCKET is to be.
    pub fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// The next message of which one line begins with `begin`, as its lines; what comes before it is passed over.
    ///
    /// # Panics
    /// When none comes in time, with what came instead.
    pub fn hear(&self, begin: &str, limit: Duration) -> Vec<String> {
        let (start, mut others) = (Instant::now(), Vec::new());
        loop {
            let left = limit.saturating_sub(start.elapsed());
            assert!(!left.is_zero(), "no {begin} within {limit:?}, but {others:?}");
            let Some(lines) = self.next(left) else { continue };
            if lines.iter().any(|line| line.starts_with(begin)) {
                return lines;
            }
            others.push(lines);
        }
    }

    /// The next message, as its lines, if one comes in time.
    pub fn next(&self, limit: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(limit)).expect("a time above zero");
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).lines().map(str::to_owned).collect())
    }
}
