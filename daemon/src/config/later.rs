//! Sections of OSO's files and of both guides that have no effect here or are refused until their features exist.
//!
//! They are listed so that a file that holds them is answered in words rather than with "unknown key".

use super::keys::{Harmless, Key, Kind, Origin, Table, no_effect, oso, refused};
use super::schemas::SCHEMA_REGISTRY;

const OWN_FILE: &str = "not supported in a job: it belongs to the file of a schema registry";
const OTHER_FILE: &str = "put it into a file of its own, for `replevin registry serve -c`";
const NO_JOB: &str = "give a job file, which has mode, backup_id, storage and source or target";
const LEAVE_OUT: &str = "leave it out for now";
const VALIDATION: &str = "not yet supported: this looks like a validation file";

/// `offset_storage`: typed, but nothing is kept outside the store.
pub(crate) static OFFSET_STORAGE: Table = Table {
    path: "offset_storage",
    about: "Where OSO keeps its positions.",
    keys: &[
        oso("backend", Kind::Text, ""),
        oso("db_path", Kind::Text, ""),
        oso("s3_key", Kind::Text, ""),
        oso("sync_interval_secs", Kind::Int { min: 0, max: i64::MAX }, ""),
    ],
};

/// `enterprise`: features that do not exist here are refused unless they are switched off.
pub(crate) static ENTERPRISE: Table = Table {
    path: "enterprise",
    about: "OSO's licensed features. What works here needs no licence.",
    keys: &[
        oso("schema_registry", Kind::Section(&SCHEMA_REGISTRY), "the schema registry, as at the top level"),
        later("apicurio_registry", "not yet supported: Apicurio registries"),
        later("confluent_rbac", "not yet supported: Confluent RBAC"),
        later("encryption", "not yet supported: encryption"),
        later("msk_kraft_migration", "not yet supported: migrations"),
    ],
};

const fn later(name: &'static str, why: &'static str) -> Key {
    refused(name, why, "leave the section out, or set enabled: false in it").unless(Harmless::Disabled)
}

/// A key of another kind of file, or of a feature of ours that does not exist yet.
const fn elsewhere(name: &'static str, why: &'static str, instead: &'static str) -> Key {
    Key { origin: Origin::Ours, ..refused(name, why, instead) }
}

pub(crate) const OFFSET_STORAGE_KEY: Key = no_effect(
    "offset_storage",
    Kind::Section(&OFFSET_STORAGE),
    "the position is derived from the commits in the store, and nothing on local disk is needed to resume",
);
pub(crate) const ENTERPRISE_KEY: Key =
    oso("enterprise", Kind::Section(&ENTERPRISE), "OSO's licensed features");
pub(crate) const ENCRYPTION_KEY: Key =
    elsewhere("encryption", "not yet supported: encryption", LEAVE_OUT).unless(Harmless::Disabled);
pub(crate) const REGISTRY_FILE_KEYS: Key = elsewhere("server", OWN_FILE, OTHER_FILE).also(REGISTRY_FILE);

/// Sections that only the file of a registry has.
pub(super) const REGISTRY_FILE: &[&str] = &[
    "compatibility",
    "auth",
    "rbac",
    "audit",
    "rate_limit",
    "security",
    "logging",
    "schemas",
    "mcp",
    "follow",
];
pub(crate) const VALIDATION_FILE_KEYS: Key = refused("checks", VALIDATION, NO_JOB).also(&[
    "evidence",
    "notifications",
    "pitr_timestamp",
    "triggered_by",
]);
