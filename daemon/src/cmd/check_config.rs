//! `check-config`: whether a job file is acceptable, without connecting to anything.

use std::path::PathBuf;

use pipeline::Result;
use serde_json::json;

use crate::config::{Job, Overrides};
use crate::exit;
use crate::output::Output;

/// Arguments of `check-config`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckConfigArgs {
    /// The job file.
    #[arg(value_name = "FILE", required_unless_present = "config")]
    file: Option<PathBuf>,
    /// The job file, as other commands take it.
    #[arg(short, long, conflicts_with = "file")]
    config: Option<PathBuf>,
}

/// Checks a job file.
pub(crate) fn run(args: &CheckConfigArgs, output: &Output) -> Result<u8> {
    // The parser demands one of the two.
    let file = args.file.as_ref().or(args.config.as_ref()).cloned().unwrap_or_default();
    let job = super::job::load(&file, &Overrides::default())?;
    let (mode, backup_id) = match &job {
        Job::Backup(job) => ("backup", &job.backup_id),
        Job::Restore(job) => ("restore", &job.backup_id),
    };
    let notices: Vec<_> = job
        .notices()
        .iter()
        .map(
            |notice| json!({ "line": notice.at.line, "column": notice.at.column, "message": notice.message }),
        )
        .collect();
    let result = json!({ "file": file.display().to_string(), "valid": true, "mode": mode, "backup_id": backup_id, "notices": notices });
    output.print(&result, || {
        format!("{} is a valid {mode} job of backup {backup_id}; {} notices", file.display(), notices.len())
    });
    Ok(exit::DONE)
}
