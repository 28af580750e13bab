//! Job files and registry files: YAML to checked values, and nothing but values (components are built elsewhere).
//!
//! ```text
//! bytes -> yaml (located tree) -> expand (${VAR}) -> check (against the tables of keys) -> job or registry (structs)
//! ```
//!
//! Every key of a file works, or is accepted with a notice that says why it changes nothing, or is refused; none is
//! silently ignored. All problems of a file are reported at once, with file, line and column.

mod backup;
mod check;
mod error;
mod expand;
mod job;
mod kafka;
mod keys;
mod kind;
mod later;
mod metrics;
mod migrate;
pub(crate) mod registry;
mod restore;
mod schemas;
mod storage;
mod unknown;
mod value;
mod yaml;

#[cfg(test)]
mod pages;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::Path;

pub(crate) use backup::{Compression, Isolation, StartOffset};
pub(crate) use error::{ConfigError, Notice};
pub(crate) use job::{BackupJob, Job, Mode, Overrides, RestoreJob};
pub(crate) use kafka::Kafka;
use kind::FileKind;
pub(crate) use metrics::{Metrics, Push};
pub(crate) use migrate::MigrateJob;
pub(crate) use restore::{ExistingTopicConfigPolicy, IntoNonEmpty, Journal, Retention};
pub(crate) use schemas::{Access, Auth as SchemaAuth, Cloud, Restored as RestoredSchemas, SchemaRegistry};

use check::Checker;
use error::{At, Problems};
use expand::{Surroundings, Unset};

/// The largest job file, in bytes.
const LARGEST_FILE: usize = 1 << 20;

/// Reads a job file.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong with the file. Exit code 2.
pub(crate) fn load(path: &Path, overrides: &Overrides) -> Result<Job, ConfigError> {
    let (file, text) = read(path, "give a YAML job file, see configs/")?;
    parse(&file, &text, overrides, &expand::Process)
}

/// Reads a file of either kind, which its keys tell; once, since it may be a pipe. `is_lenient`: unknown keys of a registry's file
/// are notices.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong. Exit code 2.
pub(crate) fn load_any(path: &Path, overrides: &Overrides, is_lenient: bool) -> Result<Either, ConfigError> {
    let (file, text) = read(path, "give a YAML file, see configs/")?;
    // What is wrong with it is said by whoever reads it as that kind.
    let tree = yaml::parse(without_mark(&text), &mut Problems::default());
    Ok(match tree.map_or(FileKind::Job, |tree| kind::of(&tree)) {
        FileKind::Job => Either::Job(Box::new(parse(&file, &text, overrides, &expand::Process)?)),
        FileKind::Registry => {
            Either::Registry(Box::new(registry::parse(&file, &text, &[], &expand::Process, is_lenient)?))
        }
    })
}

/// What a file was.
pub(crate) enum Either {
    Job(Box<Job>),
    Registry(Box<registry::RegistryConfig>),
}

/// The name and the text of a file.
fn read(path: &Path, hint: &str) -> Result<(String, String), ConfigError> {
    let file = path.display().to_string();
    match read_text(path, LARGEST_FILE) {
        Ok(text) => Ok((file, text)),
        Err(why) => Err(ConfigError::whole(&file, format!("cannot read the file: {why}"), hint)),
    }
}

/// A text without the byte order mark that some editors put before it.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Reads the text of a job file, called `file` in errors.
fn parse(
    file: &str,
    text: &str,
    overrides: &Overrides,
    surroundings: &dyn Surroundings,
) -> Result<Job, ConfigError> {
    let mut problems = Problems::default();
    let mut notices = Vec::new();
    let job = (|| {
        let mut tree = yaml::parse(without_mark(text), &mut problems)?;
        if kind::of(&tree) == FileKind::Registry {
            let message = "this is the file of a schema registry and no job";
            problems.add(tree.at, message, "give it to `replevin registry serve -c`");
            return None;
        }
        expand::expand(&mut tree, surroundings, Unset::Refused, &mut problems);
        let mut checker = Checker {
            problems: &mut problems,
            notices: &mut notices,
            all: &job::TABLES,
            file: "a job file",
            is_lenient: false,
        };
        let is_migration = overrides.mode == Some(Mode::Migrate) || kind::is_migration(&tree);
        let table = if is_migration { &migrate::MIGRATION } else { &job::ROOT };
        let root = checker.section(table, &tree, "")?;
        let mode = job::mode(&root, overrides, &mut problems);
        if let Some(mode) = mode {
            job::suits(&root, mode, &mut problems, &mut notices);
        }
        // Building looks at several keys at once, which makes sense only where each alone is sound.
        if !problems.is_empty() {
            return None;
        }
        job::build(&root, mode?, overrides, &mut problems, notices)
    })();
    match job {
        Some(job) if problems.is_empty() => Ok(job),
        Some(_) => Err(problems.into_error(file)),
        None => {
            if problems.is_empty() {
                problems.add(
                    At::START,
                    "the file passes every check but makes no job",
                    "report this with the file",
                );
            }
            Err(problems.into_error(file))
        }
    }
}

/// The UTF-8 text of a file of at most `largest` bytes.
///
/// # Errors
/// Words for why it cannot be had.
fn read_text(path: &Path, largest: usize) -> Result<String, String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(largest).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() > largest {
        return Err(format!("it is larger than {largest} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        format!("line {} is not UTF-8", good.split(|byte| *byte == b'\n').count())
    })
}
