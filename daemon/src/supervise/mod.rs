//! One process, any number of jobs: each is kept running by itself, and all are told of at one place.
//!
//! ```text
//! run.rs -> Jobs (which there are, SIGHUP) -> Supervised (one a job: begin, watch, begin anew) -> backup::run
//!        -> App (/livez /readyz /status /version /metrics)   <- BackupProgress of each
//! ```
//! A job that fails stops no other one. What is written is the pipeline's: nothing here is kept anywhere.

mod app;
mod job;
mod jobs;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use pipeline::backup::Lags;
use serde_json::{Value, json};

pub(crate) use app::App;
pub(crate) use job::{AtFirst, Phase, Supervised};
pub(crate) use jobs::Jobs;

use crate::metrics::Sum;

/// How far a job is behind, over all of its partitions.
fn lag(lags: &Lags) -> Value {
    let Sum { offsets, unstable, age, unknown, .. } = Sum::of(lags);
    let age = age.map(|age| age.as_millis());
    json!({ "offsets": offsets, "unstable": unstable, "recovery_point_age_ms": age, "without_recovery_point": unknown })
}

/// What all jobs do, for programs.
pub(crate) fn status(jobs: &[Arc<Supervised>]) -> Value {
    let job = |job: &Arc<Supervised>| {
        let (progress, standing) = (&job.progress, job.standing());
        let (source, (used, limit)) = (&progress.source, progress.memory());
        json!({
            "file": job.file,
            "backup_id": job.job.backup_id,
            "phase": standing.phase,
            "since_ms": standing.since_ms,
            "why": standing.why,
            "restarts": job.restarts(),
            "partitions": source.partitions.load(Relaxed),
            "fetched": { "records": source.records_fetched.load(Relaxed), "bytes": source.bytes_fetched.load(Relaxed) },
            "stored": { "objects": progress.objects_stored.load(Relaxed), "bytes": progress.bytes_stored.load(Relaxed) },
            "committed": { "records": progress.records_committed.load(Relaxed), "commits": progress.commits.load(Relaxed) },
            "lag": lag(&source.lags),
            "gaps": { "ranges": progress.gaps.load(Relaxed), "offsets": progress.offsets_lost.load(Relaxed) },
            "failed": source.failed.load(Relaxed),
            "memory": { "used": used, "limit": limit },
            "schemas": { "walks": progress.schema_walks.load(Relaxed), "failures": progress.schema_failures.load(Relaxed), "new": progress.schemas_new.load(Relaxed) },
        })
    };
    json!({ "version": env!("CARGO_PKG_VERSION"), "jobs": jobs.iter().map(job).collect::<Vec<_>>() })
}
