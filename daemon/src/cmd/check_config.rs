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
    #[arg(short, long)]
    config: PathBuf,
}

/// Checks a job file.
pub(crate) fn run(args: &CheckConfigArgs, output: &Output) -> Result<u8> {
    let job = super::job::load(&args.config, &Overrides::default())?;
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
    let result = json!({ "file": args.config, "valid": true, "mode": mode, "backup_id": backup_id, "notices": notices });
    output.print(&result, || {
        format!(
            "{} is a valid {mode} job of backup {backup_id}; {} notices",
            args.config.display(),
            notices.len()
        )
    });
    Ok(exit::DONE)
}
