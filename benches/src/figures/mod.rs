//! One file a figure. Each starts its own servers, makes its data, runs ours and the reference by turns, and prints.

pub(crate) mod archive;
pub(crate) mod backup;
pub(crate) mod compress;
pub(crate) mod consumer;
pub(crate) mod fence;
pub(crate) mod many_schemas;
pub(crate) mod memory;
pub(crate) mod migrate;
pub(crate) mod restore;
pub(crate) mod restore_rewrite;
pub(crate) mod rewrite;
pub(crate) mod scan;
pub(crate) mod steady;

use std::path::Path;

use sandbox::job::{self, Job};
use sandbox::scratch::Scratch;

use crate::Result;
use crate::load::Loaded;
use crate::measure::Usage;
use crate::ours;

/// Segments of both sides, where a figure has a minimal loop: eight partitions of them fit into the default memory limit.
pub(crate) const SEGMENT: u64 = 32 << 20;

/// What every program that reads the loaded topic is told.
pub(crate) fn common_args(loaded: &Loaded) -> [String; 4] {
    ["--broker".into(), loaded.broker(), "--topic".into(), loaded.topic.clone()]
}

/// A backup job of the loaded topic.
pub(crate) fn job(loaded: &Loaded, id: &str, storage: &str) -> Job {
    Job::new(id, &loaded.broker(), storage)
        .topics(&[&loaded.topic])
        .set(&format!("segment_max_bytes: {SEGMENT}"))
}

/// Runs a backup job of ours once and looks whether every record was taken.
///
/// # Errors
/// The run fails or misses records.
pub(crate) fn backup_with(loaded: &Loaded, job: &Job) -> Result<Usage> {
    let measured = ours::run(&["backup", "--once", "--output", "json"], &job.file())?;
    let report: serde_json::Value = serde_json::from_str(&measured.stdout)?;
    let records = report["records"].as_u64();
    if records != Some(loaded.records) {
        return Err(format!("{records:?} records were backed up, not {}: {report}", loaded.records).into());
    }
    Ok(measured.usage)
}

/// Runs ours once into an empty folder, which is removed again.
///
/// # Errors
/// As [`backup_with`].
pub(crate) fn backup_once(loaded: &Loaded, number: usize, settings: &[&str]) -> Result<Usage> {
    let scratch = Scratch::new("bench-ours");
    let job = job(loaded, &format!("bench-{number}"), &folder(scratch.path()));
    let job = settings.iter().fold(job, |job, line| job.set(line));
    backup_with(loaded, &job)
}

/// The `storage` section for a folder.
pub(crate) fn folder(path: &Path) -> String {
    job::folder(path)
}
