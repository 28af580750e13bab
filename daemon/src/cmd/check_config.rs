//! `check-config`: whether a job file or a registry's file is acceptable, without connecting to anything.

use std::path::PathBuf;

use pipeline::{Error, Result};
use serde_json::{Value, json};

use crate::config::{self, ConfigError, Either, Job, Notice, Overrides};
use crate::exit;
use crate::output::Output;

/// Arguments of `check-config`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckConfigArgs {
    /// The file: of a job, or of a registry, which is checked together with the variables that are set.
    #[arg(value_name = "FILE", required_unless_present = "config")]
    file: Option<PathBuf>,
    /// The file, as other commands take it.
    #[arg(short, long, conflicts_with = "file")]
    config: Option<PathBuf>,
    /// Keys of a registry's file that nobody knows are notices, as for `registry serve --lenient`.
    #[arg(long)]
    lenient: bool,
}

/// Checks a file of either kind.
pub(crate) fn run(args: &CheckConfigArgs, output: &Output) -> Result<u8> {
    // The parser demands one of the two.
    let file = args.file.as_ref().or(args.config.as_ref()).cloned().unwrap_or_default();
    let wrong = |error: ConfigError| Error::input(error.to_string());
    match config::load_any(&file, &Overrides::default(), args.lenient).map_err(wrong)? {
        Either::Job(job) => {
            super::job::log_notices(&job, &file);
            let (mode, name, id) = match &*job {
                Job::Backup(job) => ("backup", "backup", &job.backup_id),
                Job::Restore(job) => ("restore", "backup", &job.backup_id),
                Job::Migrate(job) => ("migrate", "migration", &job.migration_id),
            };
            let notices = shown(job.notices());
            let result = json!({ "file": file.display().to_string(), "valid": true, "mode": mode, format!("{name}_id"): id, "notices": notices });
            output.print(&result, || {
                let count = notices.len();
                format!("{} is a valid {mode} job of {name} {id}; {count} notices", file.display())
            });
        }
        Either::Registry(config) => {
            super::registry::log_notices(&config, Some(&file));
            let (store, notices) = (config.store.name(), shown(&config.notices));
            let result = json!({ "file": file.display().to_string(), "valid": true, "mode": "registry", "store": store, "notices": notices });
            output.print(&result, || {
                let count = notices.len();
                format!(
                    "{} is a valid file of a registry that keeps schemas in {store}; {count} notices",
                    file.display()
                )
            });
        }
    }
    Ok(exit::DONE)
}

fn shown(notices: &[Notice]) -> Vec<Value> {
    let one = |notice: &Notice| {
        let at = &notice.at;
        match at.outside {
            Some(name) => json!({ "variable": name, "message": notice.message }),
            None => json!({ "line": at.line, "column": at.column, "message": notice.message }),
        }
    };
    notices.iter().map(one).collect()
}
