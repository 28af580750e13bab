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
mod status;

pub(crate) use app::App;
pub(crate) use job::{AtFirst, Phase, Supervised};
pub(crate) use jobs::Jobs;
pub(crate) use status::{JobStatus, StageStatus, Status};
