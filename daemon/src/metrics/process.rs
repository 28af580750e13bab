//! The process as Linux sees it, under the names that every exporter uses. Elsewhere these numbers stay 0.

use std::fs;
use std::sync::Mutex;

use nix::sys::resource::{Resource, getrlimit};
use prometheus::{Counter, Gauge, IntGauge};

use super::{Maker, names};

/// What Linux counts processor time in, on every machine that we run on.
const TICKS_A_SECOND: f64 = 100.0;

/// Numbers of this process.
pub(super) struct Process {
    cpu: Counter,
    /// What was added to the counter so far.
    counted: Mutex<f64>,
    resident: IntGauge,
    virtual_memory: IntGauge,
    open_files: IntGauge,
    most_files: IntGauge,
    started: Gauge,
    threads: IntGauge,
}

impl Process {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            cpu: make.told(Counter::new(names::CPU, "Processor time of this process, in seconds")),
            counted: Mutex::new(0.0),
            resident: make.gauge(names::RESIDENT, "Bytes of memory that are in use"),
            virtual_memory: make.gauge(names::VIRTUAL, "Bytes of memory that are addressed"),
            open_files: make.gauge(names::OPEN_FILES, "Files and sockets that are open"),
            most_files: make.gauge(names::MOST_FILES, "Files and sockets that may be open"),
            started: make
                .told(Gauge::new(names::STARTED, "When the process was started, in seconds since 1970")),
            threads: make.gauge(names::THREADS, "Threads"),
        }
    }

    /// Looks. What cannot be read stays as it was.
    pub(super) fn set(&self) {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field is the program's name, in brackets, and may hold anything.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
        if let (Some(user), Some(system)) = (field(14), field(15)) {
            let now = (user + system) / TICKS_A_SECOND;
            let mut counted = self.counted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            self.cpu.inc_by((now - *counted).max(0.0));
            *counted = now.max(*counted);
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let told = [
            ("Threads:", &self.threads, 1),
            ("VmSize:", &self.virtual_memory, 1024),
            ("VmRSS:", &self.resident, 1024),
        ];
        for (name, gauge, unit) in told {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
            if let Some(number) = number {
                gauge.set(number.saturating_mul(unit));
            }
        }
        if let (Some(since), Some(boot)) = (field(22), boot_time()) {
            self.started.set(boot + since / TICKS_A_SECOND);
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // One of them is this look.
            self.open_files.set(i64::try_from(files.count().saturating_sub(1)).unwrap_or(i64::MAX));
        }
        if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
            self.most_files.set(i64::try_from(soft).unwrap_or(i64::MAX));
        }
    }
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
