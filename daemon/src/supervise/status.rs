//! What all jobs of a process do, as `/status` tells it and `replevin status` reads it again.
//!
//! Whoever reads skips members that it does not know and does without those that are not there: the daemon may be of another version.

use std::sync::atomic::Ordering::Relaxed;

use pipeline::storage::meter::{Meter, Operation};
use serde::{Deserialize, Serialize};

use super::{Jobs, Phase, Supervised};
use crate::metrics::Sum;

/// All jobs of a process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) version: String,
    /// Milliseconds since the process began its jobs, by a clock that is never set.
    pub(crate) uptime_ms: u64,
    pub(crate) jobs: Vec<JobStatus>,
}

/// One of them. Counts are of this process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct JobStatus {
    pub(crate) file: String,
    pub(crate) backup_id: String,
    pub(crate) phase: Phase,
    pub(crate) since_ms: i64,
    pub(crate) why: Option<String>,
    pub(crate) restarts: u64,
    pub(crate) partitions: u64,
    pub(crate) fetched: Fetched,
    pub(crate) stored: Stored,
    pub(crate) committed: Committed,
    pub(crate) lag: Lag,
    pub(crate) gaps: Gaps,
    pub(crate) failed: u64,
    pub(crate) memory: Memory,
    pub(crate) in_flight_bytes: u64,
    pub(crate) stages: Vec<StageStatus>,
    pub(crate) store: StoreStatus,
    pub(crate) schemas: Schemas,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Fetched {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Stored {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Committed {
    pub(crate) records: u64,
    pub(crate) commits: u64,
}

/// How far a job is behind, over all of its partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lag {
    pub(crate) offsets: u64,
    pub(crate) unstable: u64,
    pub(crate) recovery_point_age_ms: Option<u64>,
    pub(crate) without_recovery_point: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Gaps {
    pub(crate) ranges: u64,
    pub(crate) offsets: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    pub(crate) used: usize,
    pub(crate) limit: usize,
    /// How long answers of brokers waited for it, all connections together.
    pub(crate) waited_seconds: f64,
}

/// A stage, over all of its tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StageStatus {
    pub(crate) name: String,
    pub(crate) busy_seconds: f64,
    pub(crate) blocked_seconds: f64,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    pub(crate) queue: Option<Queue>,
}

/// The queue in front of a stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Queue {
    pub(crate) depth: usize,
    pub(crate) limit: usize,
}

/// What was asked of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoreStatus {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) retries: u64,
    /// How long requests took, all of them together.
    pub(crate) seconds: f64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Schemas {
    pub(crate) walks: u64,
    pub(crate) failures: u64,
    pub(crate) new: u64,
}

impl Status {
    /// Looks at all jobs.
    pub(crate) fn of(jobs: &Jobs) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(jobs.uptime().as_millis()).unwrap_or(u64::MAX),
            jobs: jobs.list().iter().map(|job| JobStatus::of(job)).collect(),
        }
    }
}

impl JobStatus {
    fn of(job: &Supervised) -> Self {
        let (progress, standing) = (&job.progress, job.standing());
        let (source, (used, limit)) = (&progress.source, progress.memory());
        let stages = progress.stages().map(|(name, stage)| StageStatus {
            name: name.to_owned(),
            busy_seconds: stage.busy().as_secs_f64(),
            blocked_seconds: stage.blocked().as_secs_f64(),
            items: stage.items(),
            bytes: stage.bytes(),
            queue: stage.queue().map(|queue| Queue { depth: queue.depth, limit: queue.limit }),
        });
        Self {
            file: job.file.clone(),
            backup_id: job.job.backup_id.to_string(),
            phase: standing.phase,
            since_ms: standing.since_ms,
            why: standing.why,
            restarts: job.restarts(),
            partitions: source.partitions.load(Relaxed),
            fetched: Fetched {
                records: source.records_fetched.load(Relaxed),
                bytes: source.bytes_fetched.load(Relaxed),
            },
            stored: Stored {
                objects: progress.objects_stored.load(Relaxed),
                bytes: progress.bytes_stored.load(Relaxed),
            },
            committed: Committed {
                records: progress.records_committed.load(Relaxed),
                commits: progress.commits.load(Relaxed),
            },
            lag: Lag::of(&Sum::of(&source.lags)),
            gaps: Gaps { ranges: progress.gaps.load(Relaxed), offsets: progress.offsets_lost.load(Relaxed) },
            failed: source.failed.load(Relaxed),
            memory: Memory { used, limit, waited_seconds: progress.memory_waited().as_secs_f64() },
            in_flight_bytes: progress.bytes_in_flight.load(Relaxed),
            stages: stages.into(),
            store: StoreStatus::of(&progress.store),
            schemas: Schemas {
                walks: progress.schema_walks.load(Relaxed),
                failures: progress.schema_failures.load(Relaxed),
                new: progress.schemas_new.load(Relaxed),
            },
        }
    }
}

impl Lag {
    fn of(sum: &Sum) -> Self {
        Self {
            offsets: sum.offsets,
            unstable: sum.unstable,
            recovery_point_age_ms: sum.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            without_recovery_point: sum.unknown,
        }
    }
}

impl StoreStatus {
    fn of(meter: &Meter) -> Self {
        let all =
            |count: fn(&Meter, Operation) -> u64| Operation::ALL.map(|one| count(meter, one)).iter().sum();
        Self {
            requests: all(Meter::requests),
            errors: all(Meter::errors),
            retries: meter.retries(),
            seconds: Operation::ALL.map(|one| meter.latencies(one).sum.as_secs_f64()).iter().sum(),
            sent_bytes: meter.sent_bytes(),
            received_bytes: meter.received_bytes(),
        }
    }
}
