//! Which kind of file this is: a job or a registry, told by the keys that only one of the two has.

use super::later::REGISTRY_FILE;
use super::yaml::{Data, Node};

/// Keys at the top that only jobs have.
const JOB: [&str; 13] = [
    "mode",
    "backup_id",
    "source",
    "target",
    "backup",
    "restore",
    "migration_id",
    "migrate",
    "memory_limit",
    "offset_storage",
    "enterprise",
    "schema_registry",
    "encryption",
];
/// Keys of `storage` that only registries have.
const REGISTRY_STORAGE: [&str; 7] =
    ["type", "auth_type", "sqlite", "postgresql", "mysql", "cassandra", "vault"];

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// `replevin backup`, `replevin restore` and the like.
    Job,
    /// `replevin registry serve`.
    Registry,
}

/// Whether a job's file says that it is a migration, or holds what only migrations have.
pub(super) fn is_migration(tree: &Node) -> bool {
    let Data::Map(entries) = &tree.data else { return false };
    entries.iter().any(|entry| match (entry.key.as_str(), &entry.value.data) {
        ("mode", Data::Scalar(mode)) => mode.text == "migrate",
        ("migration_id" | "migrate", _) => true,
        _ => false,
    })
}

/// Counts what speaks for either. A file that says neither is taken for a job, for that is what most files are; one with nothing but
/// `metrics`, which both have, can only be a registry's, since a job needs more.
pub(super) fn of(tree: &Node) -> FileKind {
    let Data::Map(entries) = &tree.data else { return FileKind::Job };
    let (mut job, mut registry) = (0, 0);
    for entry in entries {
        let key = entry.key.as_str();
        job += usize::from(JOB.contains(&key));
        registry += usize::from(key == "server" || REGISTRY_FILE.contains(&key));
        if let ("storage", Data::Map(storage)) = (key, &entry.value.data) {
            job += usize::from(storage.iter().any(|entry| entry.key == "backend"));
            registry +=
                usize::from(storage.iter().any(|entry| REGISTRY_STORAGE.contains(&entry.key.as_str())));
        }
    }
    let only_metrics = entries.len() == 1 && entries.iter().all(|entry| entry.key == "metrics");
    if registry > job || only_metrics { FileKind::Registry } else { FileKind::Job }
}
