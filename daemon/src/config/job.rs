//! The top level of a job file, and the jobs that come out of one.

use std::fmt;

use formats::ids::BackupId;

use super::backup::{BACKUP, Backup};
use pipeline::storage::StorageSettings;

use super::check::Section;
use super::error::{At, Notice, Problems};
use super::kafka::{CONNECTION, KAFKA, Kafka, SECURITY, TOPICS};
use super::keys::{Kind, Table, oso, ours};
use super::later::{
    ENCRYPTION_KEY, ENTERPRISE, ENTERPRISE_KEY, OFFSET_STORAGE, OFFSET_STORAGE_KEY, REGISTRY_FILE_KEYS,
    VALIDATION_FILE_KEYS,
};
use super::metrics::{METRICS, METRICS_KEY, Metrics};
use super::migrate::{MIGRATE, MIGRATION, MigrateJob};
use super::registry::{self, RegistryConfig};
use super::restore::{RESTORE, Restore};
use super::schemas::{self, Restored, SCHEMA_REGISTRY, SchemaRegistry};
use super::storage::{self, AZURE, FILESYSTEM, GCS, MEMORY, S3, STORAGE};

/// The least memory that the stages can work in: a large batch, decompressed, while others are on their way.
pub(super) const LEAST_MEMORY: i64 = 64 << 20;

/// The top level.
pub(crate) static ROOT: Table = Table {
    path: "",
    about: "One job a file.",
    keys: &[
        oso(
            "mode",
            Kind::Choice(&["backup", "restore"]),
            "which job this is (a migration has a top level of its own); the command line may say it instead, but not otherwise",
        )
        .example("backup"),
        oso("backup_id", Kind::BackupId, "the backup's name, and its folder in the store")
            .required()
            .example("orders-prod"),
        oso("source", Kind::Section(&KAFKA), "the cluster to back up; for mode: backup"),
        oso("target", Kind::Section(&KAFKA), "the cluster to restore into; for mode: restore"),
        oso("storage", STORAGE, "where backups lie")
            .required()
            .example("{backend: filesystem, path: /var/lib/replevin}"),
        oso("backup", Kind::Section(&BACKUP), "what to take and how; for mode: backup"),
        oso("restore", Kind::Section(&RESTORE), "what to bring back and how; for mode: restore"),
        ours(
            "memory_limit",
            Kind::Size { min: LEAST_MEMORY, max: i64::MAX },
            "the most payload held in memory at once, whatever the number of topics",
        )
        .default("512MiB"),
        ours(
            "shutdown_grace",
            Kind::Duration { plain: None, min: 0 },
            "for `replevin run`: how long what was fetched may take to be committed once it is told to stop; the next run fetches the rest again",
        )
        .default("30s"),
        OFFSET_STORAGE_KEY,
        METRICS_KEY,
        ENTERPRISE_KEY,
        oso(
            "schema_registry",
            Kind::Section(&SCHEMA_REGISTRY),
            "the schema registry whose schemas belong to the data",
        ),
        ours(
            "registry",
            Kind::Section(&registry::tables::ROOT),
            "a schema registry that `replevin run` serves from the same process, with the keys of a registry's own file (configs/registry.yaml). \
             A `schema_registry` without `url` is this one",
        ),
        ENCRYPTION_KEY,
        REGISTRY_FILE_KEYS,
        VALIDATION_FILE_KEYS,
    ],
};

/// Every table, in the order in which people read about them.
pub(crate) static TABLES: [&Table; 24] = [
    &ROOT,
    &MIGRATION,
    &KAFKA,
    &TOPICS,
    &CONNECTION,
    &SECURITY,
    &FILESYSTEM,
    &S3,
    &AZURE,
    &GCS,
    &MEMORY,
    &BACKUP,
    &RESTORE,
    &MIGRATE,
    &SCHEMA_REGISTRY,
    &schemas::AUTH,
    &schemas::TLS,
    &schemas::TAKEN,
    &schemas::PROTOBUF,
    &schemas::CONNECTION,
    &schemas::RESTORED,
    &OFFSET_STORAGE,
    &METRICS,
    &ENTERPRISE,
];

/// Which job a file describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Backup,
    Restore,
    Migrate,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Migrate => "migrate",
        })
    }
}

/// What the command line says; it wins over the file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Overrides {
    /// The subcommand, where it is one job's own. A file of another mode is an error.
    pub(crate) mode: Option<Mode>,
    /// `--continuous` and `--once`.
    pub(crate) continuous: Option<bool>,
    /// `--plan`.
    pub(crate) dry_run: bool,
    /// `--proof`.
    pub(crate) proof: bool,
    /// `--until-caught-up`.
    pub(crate) until_caught_up: bool,
}

/// A job, complete and checked.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    Backup(BackupJob),
    Restore(RestoreJob),
    Migrate(Box<MigrateJob>),
}

/// A backup.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BackupJob {
    pub(crate) backup_id: BackupId,
    pub(crate) source: Kafka,
    pub(crate) storage: StorageSettings,
    pub(crate) backup: Backup,
    pub(crate) schema_registry: Option<Box<SchemaRegistry>>,
    /// The registry that is served from the same process.
    pub(crate) registry: Option<Box<RegistryConfig>>,
    /// Where the daemon is asked for numbers.
    pub(crate) metrics: Option<Metrics>,
    pub(crate) shutdown_grace_ms: u64,
    /// The most payload in memory at once, in bytes.
    pub(crate) memory_limit: u64,
    /// What the operator should know, to be logged once.
    pub(crate) notices: Vec<Notice>,
}

/// A restore.
#[derive(Debug, Clone)]
pub(crate) struct RestoreJob {
    pub(crate) backup_id: BackupId,
    pub(crate) target: Kafka,
    pub(crate) storage: StorageSettings,
    pub(crate) restore: Restore,
    /// What is done with schemas; nothing where they are left out.
    pub(crate) schemas: Option<Box<Restored>>,
    pub(crate) metrics: Option<Metrics>,
    /// The most payload in memory at once, in bytes.
    pub(crate) memory_limit: u64,
    /// What the operator should know, to be logged once.
    pub(crate) notices: Vec<Notice>,
}

impl Job {
    /// What the operator should know, to be logged once.
    pub(crate) fn notices(&self) -> &[Notice] {
        match self {
            Self::Backup(job) => &job.notices,
            Self::Restore(job) => &job.notices,
            Self::Migrate(job) => &job.notices,
        }
    }
}

/// The mode of a file and a command line; `None`, with a problem, where there is none or they differ.
pub(crate) fn mode(root: &Section, overrides: &Overrides, problems: &mut Problems) -> Option<Mode> {
    let in_file = root.text("mode").map(|mode| match mode {
        "restore" => Mode::Restore,
        "migrate" => Mode::Migrate,
        _ => Mode::Backup,
    });
    match (in_file, overrides.mode) {
        (Some(file), Some(command)) if file != command => {
            let message = format!("the file says mode: {file}, the command line says {command}");
            problems.add(
                root.at("mode"),
                message,
                format!("run `replevin {file}`, or give a file of mode: {command}"),
            );
            None
        }
        (None, None) if !root.is_given("mode") => {
            problems.add(
                At::START,
                "mode is missing: which job this is",
                "add mode: backup, mode: restore or mode: migrate",
            );
            None
        }
        (file, command) => command.or(file),
    }
}

/// Reports what a mode needs and the file lacks, and what the file holds and the mode does not read.
pub(crate) fn suits(root: &Section, mode: Mode, problems: &mut Problems, notices: &mut Vec<Notice>) {
    let (clusters, idle): (&[&str], &[&str]) = match mode {
        Mode::Backup => (&["source"], &["target", "restore"]),
        Mode::Restore => (&["target"], &["source", "backup", "registry", "shutdown_grace"]),
        Mode::Migrate => (&["source", "target"], &[]),
    };
    for cluster in clusters.iter().filter(|cluster| !root.is_given(cluster)) {
        let message = match mode {
            Mode::Migrate => format!("{cluster} is missing: a migration needs both of its clusters"),
            _ => format!("{cluster} is missing: a {mode} needs its cluster"),
        };
        problems.add(
            At::START,
            message,
            format!("add {cluster}: {{bootstrap_servers: [\"localhost:9092\"]}}"),
        );
    }
    for section in idle.iter().filter(|section| root.is_written(section)) {
        notices.push(Notice {
            at: root.at(section),
            message: format!("{section} has no effect: this is a {mode}"),
        });
    }
}

/// Builds the job of a file whose every key has been checked.
pub(crate) fn build(
    root: &Section,
    mode: Mode,
    overrides: &Overrides,
    problems: &mut Problems,
    mut notices: Vec<Notice>,
) -> Option<Job> {
    if mode == Mode::Migrate {
        let job = MigrateJob::build(root, overrides.until_caught_up, problems, notices)?;
        return Some(Job::Migrate(Box::new(job)));
    }
    let backup_id = BackupId::new(root.text("backup_id")?).ok()?;
    let memory_limit = root.unsigned("memory_limit")?;
    let storage = storage::build(root.section("storage")?, problems)?;
    if matches!(storage, StorageSettings::Memory) {
        let message = "storage.backend memory keeps nothing once the process ends".to_owned();
        notices.push(Notice { at: root.at("storage"), message });
    }
    Some(match mode {
        Mode::Backup => {
            let source = Kafka::build(root.section("source")?, "source", problems)?;
            let section = root.section("backup")?;
            let backup = Backup::build(section, overrides.continuous, memory_limit, problems, &mut notices)?;
            let registry = match root.is_given("registry") {
                true => Some(Box::new(registry::build(root.section("registry")?, problems, &mut notices)?)),
                false => None,
            };
            let own_url = registry.as_ref().and_then(|registry| registry.server.own_url());
            let schema_registry = schema_registry(root, problems)
                .and_then(|(section, path)| {
                    SchemaRegistry::build(section, path, own_url, problems, &mut notices)
                })
                .map(Box::new);
            let metrics = Metrics::build(root.section("metrics")?, problems);
            Job::Backup(BackupJob {
                backup_id,
                source,
                storage,
                backup,
                schema_registry,
                registry,
                metrics,
                shutdown_grace_ms: root.unsigned("shutdown_grace")?,
                memory_limit,
                notices,
            })
        }
        Mode::Restore => {
            let schemas = schema_registry(root, problems)
                .and_then(|(section, path)| Restored::build(section, path, problems, &mut notices))
                .map(Box::new);
            let target = Kafka::build(root.section("target")?, "target", problems)?;
            let mut restore = Restore::build(root.section("restore")?, problems, &mut notices)?;
            restore.dry_run |= overrides.dry_run;
            restore.proof |= overrides.proof;
            let metrics = Metrics::build(root.section("metrics")?, problems);
            Job::Restore(RestoreJob {
                backup_id,
                target,
                storage,
                restore,
                schemas,
                metrics,
                memory_limit,
                notices,
            })
        }
        Mode::Migrate => return None,
    })
}

/// The section of the registry and what it is called, wherever it stands.
fn schema_registry<'a>(root: &'a Section, problems: &mut Problems) -> Option<(&'a Section, &'static str)> {
    let enterprise = root.section("enterprise").filter(|section| section.is_given("schema_registry"));
    match (root.is_given("schema_registry"), enterprise) {
        (true, Some(enterprise)) => {
            let message = "schema_registry and enterprise.schema_registry are one section in two places";
            problems.add(enterprise.at("schema_registry"), message, "keep one of them");
            None
        }
        (true, None) => Some((root.section("schema_registry")?, "schema_registry")),
        (false, Some(enterprise)) => {
            Some((enterprise.section("schema_registry")?, "enterprise.schema_registry"))
        }
        (false, None) => None,
    }
}
