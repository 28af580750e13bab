//! Two looks at a daemon as text for people: what happened between them, and which stage is the brake.

use std::time::Duration;

use crate::output::{Align, Table, count, human_bytes, span};
use crate::supervise::{JobStatus, Phase, StageStatus, Status};

/// A stage that is blocked for less of its time is not, and one that works for so much of it has no time left.
const BLOCKED: f64 = 0.1;
const FULL: f64 = 0.9;

/// All jobs, then the stages of each.
pub(super) fn text(url: &str, before: &Status, now: &Status) -> String {
    let uptime = Duration::from_millis(now.uptime_ms);
    let mut parts = vec![
        format!("replevin {} at {url}, up {}", now.version, span(uptime)),
        jobs(before, now).to_string(),
    ];
    for job in &now.jobs {
        parts.push(stages(&Between::of(before, now, job)));
    }
    parts.join("\n\n")
}

/// What a job did between two looks.
struct Between<'a> {
    before: Option<&'a JobStatus>,
    now: &'a JobStatus,
    seconds: f64,
}

impl<'a> Between<'a> {
    fn of(before: &'a Status, now: &'a Status, job: &'a JobStatus) -> Self {
        // A daemon that was begun anew between them counts from zero again.
        let millis = now.uptime_ms.checked_sub(before.uptime_ms).filter(|millis| *millis > 0);
        let same = before.jobs.iter().find(|other| other.backup_id == job.backup_id);
        let seconds = millis.map_or(1.0, |millis| millis as f64 / 1000.0);
        Self { before: same.filter(|_| millis.is_some()), now: job, seconds }
    }

    /// How much a count grows in a second; 0 where only one look is known.
    fn rate(&self, count: impl Fn(&JobStatus) -> f64) -> f64 {
        self.before.map_or(0.0, |before| (count(self.now) - count(before)).max(0.0) / self.seconds)
    }

    fn stage(&self, name: &str, count: impl Fn(&StageStatus) -> f64) -> f64 {
        self.rate(|job| job.stages.iter().find(|stage| stage.name == name).map_or(0.0, &count))
    }

    fn memory_waits(&self) -> f64 {
        self.rate(|job| job.memory.waited_seconds)
    }

    /// Which stage decides how fast it goes; pipeline/TUNING.md says what moves it.
    fn brake(&self) -> String {
        if self.now.phase != Phase::Running {
            return self.now.phase.words().to_owned();
        }
        let names: Vec<_> = self.now.stages.iter().map(|stage| stage.name.as_str()).collect();
        let blocked = |name: &&str| self.stage(name, |stage| stage.blocked_seconds) >= BLOCKED;
        let busy = |name: &str| self.stage(name, |stage| stage.busy_seconds);
        let after_blocked = names
            .iter()
            .rposition(blocked)
            .and_then(|last| names.get(last + 1))
            .map(|name| (*name).to_owned());
        let brake = after_blocked.or_else(|| {
            (self.memory_waits() >= BLOCKED)
                .then(|| if busy("upload") >= FULL { "upload" } else { "memory_limit" }.to_owned())
        });
        let brake =
            brake.or_else(|| names.iter().find(|name| busy(name) >= FULL).map(|name| (*name).to_owned()));
        match brake {
            Some(brake) => format!("{brake} is the brake"),
            None if self.now.lag.offsets > self.before.map_or(u64::MAX, |before| before.lag.offsets) => {
                "no stage is the brake: it waits for brokers, the network, or segments that are not full yet"
                    .to_owned()
            }
            None => "no stage is the brake".to_owned(),
        }
    }
}

fn jobs(before: &Status, now: &Status) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("BACKUP", Left),
        ("PHASE", Left),
        ("PARTITIONS", Right),
        ("LAG", Right),
        ("RECOVERY POINT", Right),
        ("FETCHED/S", Right),
        ("COMMITTED/S", Right),
        ("MEMORY", Right),
        ("RESTARTS", Right),
        ("NOTE", Left),
    ]);
    for job in &now.jobs {
        let between = Between::of(before, now, job);
        table.row([
            job.backup_id.clone(),
            job.phase.words().to_owned(),
            job.partitions.to_string(),
            job.lag.offsets.to_string(),
            job.lag
                .recovery_point_age_ms
                .map_or_else(|| "-".to_owned(), |age| format!("{} ago", span(Duration::from_millis(age)))),
            human_bytes(between.rate(|job| job.fetched.bytes as f64) as u64),
            count(between.rate(|job| job.committed.records as f64) as u64, "record"),
            format!("{} of {}", human_bytes(job.memory.used as u64), human_bytes(job.memory.limit as u64)),
            job.restarts.to_string(),
            note(job),
        ]);
    }
    table
}

/// What is not well.
fn note(job: &JobStatus) -> String {
    let mut notes = Vec::new();
    if job.failed > 0 {
        notes.push(format!("{} cannot be followed", count(job.failed, "partition")));
    }
    if job.gaps.offsets > 0 {
        notes.push(format!("{} lost", count(job.gaps.offsets, "offset")));
    }
    notes.extend(job.why.clone());
    notes.join("; ")
}

fn stages(between: &Between<'_>) -> String {
    use Align::{Left, Right};
    let job = between.now;
    let mut table = Table::new(&[
        ("STAGE", Left),
        ("BUSY", Right),
        ("BLOCKED", Right),
        ("QUEUE", Right),
        ("ITEMS/S", Right),
        ("BYTES/S", Right),
    ]);
    for stage in &job.stages {
        let rate = |count: fn(&StageStatus) -> f64| between.stage(&stage.name, count);
        let queue =
            stage.queue.map_or_else(|| "-".to_owned(), |queue| format!("{}/{}", queue.depth, queue.limit));
        table.row([
            stage.name.clone(),
            format!("{:.2}", rate(|stage| stage.busy_seconds)),
            format!("{:.2}", rate(|stage| stage.blocked_seconds)),
            queue,
            format!("{:.1}", rate(|stage| stage.items as f64)),
            human_bytes(rate(|stage| stage.bytes as f64) as u64),
        ]);
    }
    let requests = between.rate(|job| job.store.requests as f64);
    let each = if requests > 0.0 { between.rate(|job| job.store.seconds) / requests * 1000.0 } else { 0.0 };
    format!(
        "{}: {}\n{table}\nstore: {requests:.1} requests/s of {each:.1} ms, {:.1} failed, {:.1} repeated; {}/s sent, {}/s received\n\
         memory: {:.2} connections wait for room; {} cut and not yet durable",
        job.backup_id,
        between.brake(),
        between.rate(|job| job.store.errors as f64),
        between.rate(|job| job.store.retries as f64),
        human_bytes(between.rate(|job| job.store.sent_bytes as f64) as u64),
        human_bytes(between.rate(|job| job.store.received_bytes as f64) as u64),
        between.memory_waits(),
        human_bytes(job.in_flight_bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::Phase;

    /// A daemon after so many seconds, of which each stage spends a share at work and blocked.
    fn after(seconds: u64, shares: &[(&str, f64, f64)]) -> Status {
        let stages = shares.iter().map(|(name, busy, blocked)| StageStatus {
            name: (*name).to_owned(),
            busy_seconds: busy * seconds as f64,
            blocked_seconds: blocked * seconds as f64,
            bytes: seconds * 1024,
            ..StageStatus::default()
        });
        let job = JobStatus {
            backup_id: "nightly".to_owned(),
            phase: Phase::Running,
            stages: stages.collect(),
            ..JobStatus::default()
        };
        Status { version: "1".to_owned(), uptime_ms: seconds * 1000, jobs: vec![job] }
    }

    fn brake(shares: &[(&str, f64, f64)], change: impl Fn(&mut JobStatus, f64)) -> String {
        let (mut before, mut now) = (after(10, shares), after(14, shares));
        change(&mut before.jobs[0], 10.0);
        change(&mut now.jobs[0], 14.0);
        Between::of(&before, &now, &now.jobs[0]).brake()
    }

    #[test]
    fn the_brake_is_the_first_stage_that_is_not_blocked_behind_the_last_that_is() {
        let as_it_is = |_: &mut JobStatus, _: f64| {};
        let shares = [
            ("fetch", 0.1, 1.9),
            ("cut", 0.1, 0.9),
            ("encode", 1.0, 1.0),
            ("upload", 8.0, 0.0),
            ("commit", 0.1, 0.0),
        ];
        assert_eq!(brake(&shares, as_it_is), "upload is the brake");
        let shares = [("fetch", 0.2, 1.0), ("cut", 0.98, 0.01), ("encode", 0.3, 0.0), ("upload", 0.1, 0.0)];
        assert_eq!(brake(&shares, as_it_is), "cut is the brake");
        let shares = [("fetch", 0.95, 0.0), ("cut", 0.2, 0.0)];
        assert_eq!(brake(&shares, as_it_is), "fetch is the brake");
        let idle = [("fetch", 0.01, 0.0), ("cut", 0.0, 0.0), ("upload", 0.0, 0.0)];
        assert_eq!(brake(&idle, as_it_is), "no stage is the brake");
        assert_eq!(brake(&idle, |job, at| job.memory.waited_seconds = at), "memory_limit is the brake");
        let slow = [("fetch", 0.01, 0.0), ("upload", 8.0, 0.0)];
        assert_eq!(brake(&slow, |job, at| job.memory.waited_seconds = at), "upload is the brake");
        let behind = brake(&idle, |job, at| job.lag.offsets = at as u64);
        assert!(behind.contains("waits for brokers"), "{behind}");
        assert_eq!(brake(&idle, |job, _| job.phase = Phase::Draining), "commits what it has fetched");
    }

    #[test]
    fn rates_are_of_the_time_between_and_a_daemon_begun_anew_has_none() {
        let shares = [("fetch", 0.5, 0.25)];
        let (before, now) = (after(10, &shares), after(14, &shares));
        let shown = text("http://h:1", &before, &now);
        assert!(shown.contains("fetch  0.50     0.25") && shown.contains("1.00 KiB"), "{shown}");
        let anew = text("http://h:1", &now, &before);
        assert!(anew.contains("fetch  0.00     0.00"), "{anew}");
    }
}
