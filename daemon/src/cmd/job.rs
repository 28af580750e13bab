//! Loading a job file the same way for every command that takes one.

use std::path::Path;

use pipeline::{Error, Result};

use crate::config::{self, Job, Overrides};

/// Loads a job file and logs what it says that has no effect here.
pub(super) fn load(path: &Path, overrides: &Overrides) -> Result<Job> {
    let job = config::load(path, overrides).map_err(|error| Error::input(error.to_string()))?;
    log_notices(&job, path);
    Ok(job)
}

/// Logs what a job file says that has no effect here.
pub(super) fn log_notices(job: &Job, path: &Path) {
    for notice in job.notices() {
        tracing::warn!("{}", notice.in_file(Some(&path.display().to_string())));
    }
}
