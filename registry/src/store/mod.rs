//! Where a registry keeps what it was given. One file per store behind [`Store`]; every store passes the same suite.
//!
//! # What a store holds
//!
//! A context is a set of rows, and a head that counts its commits:
//!
//! ```text
//! head                      revision (commits so far), attempt (who made the last one), next id
//! version  subject, version     -> id, deleted, time
//! schema   id                   -> type, references, hashes   and, apart because they are large, the texts
//! config   subject or the root  -> settings
//! mode     subject or the root  -> mode
//! links                     how many commits had references from one context into another
//! ```
//!
//! # What a store promises
//!
//! - A commit happens whole or not at all, and only if the head still has the revision that the writer has seen. That makes
//!   "check and insert" one atomic step on every store, and ids unique, rising and without gaps.
//! - What a commit relies on in other contexts ([`Guard`], [`Commit::links_seen`]) is looked at row by row: a context that is
//!   written to all the time stops nobody else, as long as the rows that count stay as they are.
//! - Every row carries the revision that wrote it, and what was removed leaves a row behind that says so (not in a store that
//!   nobody else writes to); thus [`Store::changes`] can tell what happened since a revision.
//! - Once [`Store::commit`] has said yes, the commit survives the loss of the process and, where the store is asked for
//!   durable writes, of the machine.
//! - The texts of an id never change.
//!
//! It does not know rules: what may be written is decided before, by `service`.

use crate::names::Context;
use crate::schema::{Metadata, Reference, RuleSet, SchemaType};
use crate::settings::{Config, Mode};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

#[cfg(feature = "cassandra")]
pub mod cassandra;
pub mod kafka;
pub mod kept;
pub mod memory;
pub mod mysql;
pub mod postgresql;
mod rows;
pub mod sql;
pub mod sqlite;
#[cfg(any(test, feature = "suite"))]
pub mod suite;
mod tries;

/// How many commits a context has seen.
pub type Revision = u64;

/// The id of a schema in its context.
pub type SchemaId = u32;

/// What names a schema in its context: its id, and which of its variants it is.
///
/// With Confluent's identity a schema has no variants. With AxonOps' one, texts that differ in documentation, labels or rules only
/// share an id: the first of them is variant 0, which stays as long as any other is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaKey {
    /// The id, as clients see it.
    pub id: SchemaId,
    /// 0 for what clients get who ask by the id alone.
    pub variant: u32,
}

impl SchemaKey {
    /// The schema that is the id's.
    pub const fn of(id: SchemaId) -> Self {
        Self { id, variant: 0 }
    }
}

impl fmt::Display for SchemaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variant {
            0 => write!(f, "{}", self.id),
            variant => write!(f, "{} (variant {variant})", self.id),
        }
    }
}

/// Where a context stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How many commits it has seen.
    pub revision: Revision,
    /// The commit that made this revision: two histories of one length differ in it.
    pub attempt: Uuid,
    /// What the next new schema gets; the first of a context is 1.
    pub next_id: SchemaId,
}

impl Head {
    /// That of a context that was never written to.
    pub const EMPTY: Self = Self { revision: 0, attempt: Uuid::nil(), next_id: 1 };
}

/// Where the whole store stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heads {
    /// Made with the store. Another one means another store, such as a database that was made anew.
    pub epoch: Uuid,
    /// Every context that was ever written to.
    pub contexts: BTreeMap<Context, Head>,
    /// How many commits had references from one context into another.
    pub links: Revision,
}

/// A version of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// Its subject, without the context.
    pub subject: Arc<str>,
    /// Its number.
    pub version: i32,
    /// Its schema.
    pub schema: SchemaKey,
    /// Deleted softly: hidden, but still there.
    pub deleted: bool,
    /// When it was registered or last deleted, in milliseconds of the epoch.
    pub time_ms: i64,
}

/// A schema without its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaRow {
    /// Its name.
    pub key: SchemaKey,
    /// Confluent's GUID.
    pub guid: Uuid,
    /// What must be equal for an id to be given again; see [`crate::identity::Identity`].
    pub identity: [u8; 16],
    /// Its language.
    pub schema_type: SchemaType,
    /// What it refers to; versions are never -1 here.
    pub references: Arc<[Reference]>,
}

/// The large part of a schema. Never changes for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// What clients see.
    pub canonical: Arc<str>,
    /// The bytes that were submitted, where they differ from the canonical text.
    pub submitted: Option<Arc<str>>,
    /// Labels.
    pub metadata: Option<Arc<Metadata>>,
    /// Rules.
    pub rule_set: Option<Arc<RuleSet>>,
}

impl Texts {
    /// How large it is in memory, about.
    pub fn bytes(&self) -> usize {
        self.canonical.len()
            + self.submitted.as_ref().map_or(0, |text| text.len())
            + self.metadata.as_ref().map_or(0, |metadata| metadata.bytes())
            + self.rule_set.as_ref().map_or(0, |rules| rules.bytes())
    }
}

/// One change to a context. All are idempotent: the last one of a key wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A version is as it says, whatever it was.
    Version(VersionRow),
    /// A version is gone for good.
    VersionGone {
        /// Its subject.
        subject: Arc<str>,
        /// Its number.
        version: i32,
    },
    /// A schema is new.
    Schema(SchemaRow),
    /// A schema is gone for good: no version uses it any more.
    SchemaGone(SchemaKey),
    /// The settings of a subject, or of the context where that is empty; nothing where they are removed.
    Config(Arc<str>, Option<Box<Config>>),
    /// The mode of a subject, or of the context where that is empty; nothing where it is removed.
    Mode(Arc<str>, Option<Mode>),
    /// The context is listed, or no longer (it must be empty then).
    Listed(bool),
}

impl Change {
    /// The row that it is about.
    pub fn key(&self) -> Key {
        match self {
            Self::Schema(row) => Key::Schema(row.key),
            Self::SchemaGone(key) => Key::Schema(*key),
            Self::Version(row) => Key::Version(Arc::clone(&row.subject), row.version),
            Self::VersionGone { subject, version } => Key::Version(Arc::clone(subject), *version),
            Self::Config(subject, _) => Key::Config(Arc::clone(subject)),
            Self::Mode(subject, _) => Key::Mode(Arc::clone(subject)),
            Self::Listed(_) => Key::Listed,
        }
    }
}

/// What names a row: of several changes of one key, the last one counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A schema.
    Schema(SchemaKey),
    /// A version by its subject and number.
    Version(Arc<str>, i32),
    /// The settings of a subject, or of the context where that is empty.
    Config(Arc<str>),
    /// The mode of a subject, or of the context where that is empty.
    Mode(Arc<str>),
    /// Whether the context is listed.
    Listed,
}

/// What a commit relies on in another context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The context.
    pub context: Context,
    /// The revision at which it was looked at.
    pub seen: Revision,
    /// The rows that must not have been written since: versions, settings and modes, whether they are there or not.
    pub rows: BTreeSet<Key>,
}

/// Changes that become true together.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The context that is changed.
    pub context: Context,
    /// The head that the writer has seen.
    pub expected: Head,
    /// What was looked at in other contexts, one guard for each. Where a store cannot check them in the same step (Cassandra), it
    /// checks them just before.
    pub guards: Vec<Guard>,
    /// Nothing refers to what is removed, whatever the context: true as long as [`Heads::links`] is this.
    pub links_seen: Option<Revision>,
    /// It has references into other contexts, so [`Heads::links`] rises by one.
    pub adds_links: bool,
    /// Chosen anew for each commit: by it a writer finds out whether its commit came true.
    pub attempt: Uuid,
    /// The head's next id afterwards.
    pub next_id: SchemaId,
    /// What changes.
    pub changes: Vec<Change>,
    /// The texts of each [`Change::Schema`], in their order.
    pub texts: Vec<Texts>,
}

impl Commit {
    /// The new schemas with their texts; an error where these do not belong together.
    pub fn schemas(&self) -> Result<Vec<(&SchemaRow, &Texts)>> {
        let rows = self.changes.iter().filter_map(|change| match change {
            Change::Schema(row) => Some(row),
            _ => None,
        });
        let schemas: Vec<_> = rows.clone().zip(&self.texts).collect();
        match rows.count() == self.texts.len() {
            true => Ok(schemas),
            false => Err(StoreError::Corrupt("a commit has not one text for each new schema".into())),
        }
    }

    /// The head that it leaves.
    pub fn head(&self) -> Head {
        Head { revision: self.expected.revision + 1, attempt: self.attempt, next_id: self.next_id }
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug)]
pub enum StoreError {
    /// Somebody else was faster: look again, and decide again. Nothing was written.
    Conflict,
    /// The store cannot be reached or refuses to work. Nothing was written.
    Unavailable(String),
    /// The store cannot hold this: too large, or characters that it does not know. Nothing was written.
    Refused(String),
    /// The store was lost in the middle of a commit and could not be asked what became of it.
    Unknown(String),
    /// What the store holds makes no sense: say so, and stop writing.
    Corrupt(String),
    /// What was seen before is not in the store's history: an older copy of it was put in place. Stop writing.
    Forked(String),
    /// Another instance writes, or none does: who or why. Nothing was written.
    NotWriter(String),
    /// Nobody writes to this store, ever: what it is. Nothing was written.
    ReadOnly(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict => f.write_str("another writer was faster"),
            Self::Unavailable(why) => write!(f, "the store is not available: {why}"),
            Self::Refused(why) => write!(f, "the store cannot hold this: {why}"),
            Self::Unknown(why) => {
                write!(f, "the store was lost during a commit, which may have come true: {why}")
            }
            Self::Corrupt(why) => write!(f, "the store holds what makes no sense: {why}"),
            Self::Forked(why) => {
                write!(
                    f,
                    "the store has another history than before, as after an older copy was put in place: {why}"
                )
            }
            Self::NotWriter(why) => write!(f, "this instance does not write: {why}"),
            Self::ReadOnly(why) => write!(f, "the store takes no changes: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// The result of a store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// How large the store's pool of connections is, and how busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pool {
    /// Connections at most.
    pub max: u32,
    /// Connections that are open.
    pub open: u32,
    /// Of these, how many wait for work.
    pub idle: u32,
}

/// A place for schemas; the module says what it promises.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The name in configuration, metrics and logs: `memory`, `sqlite`, `postgresql`, `mysql`, `cassandra`, `kafka`, `backup`.
    fn backend(&self) -> &'static str;

    /// Where it stands now; also the proof that it answers. For a shared store this is one small query.
    async fn heads(&self) -> Result<Heads>;

    /// The head of a context, and everything that a reader who has seen `since` must change to be there. Both belong to one
    /// moment. The order within is: schemas, versions, the rest. [`StoreError::Forked`] where the commit that made `since` is not
    /// one of this history, as far back as the store remembers.
    async fn changes(&self, context: &Context, since: Head) -> Result<(Head, Vec<Change>)>;

    /// The texts of schemas; what is gone is left out.
    async fn texts(&self, context: &Context, keys: &[SchemaKey]) -> Result<Vec<(SchemaKey, Texts)>>;

    /// Makes a commit true, whole or not at all.
    async fn commit(&self, commit: &Commit) -> Result<Head>;

    /// Whether somebody else may write to it while it is open.
    fn is_shared(&self) -> bool {
        true
    }

    /// Who may write to it now, where that is one of several instances.
    fn writer(&self) -> kafka::log::Writer {
        kafka::log::Writer::This(0)
    }

    /// What it is, in a sentence for clients, where nobody can ever write to it: the registry on it is read-only, whatever modes say.
    fn read_only(&self) -> Option<&str> {
        None
    }

    /// The pool of connections, where there is one.
    fn pool(&self) -> Option<Pool> {
        None
    }

    /// Lets go of everything: after this nothing is in flight.
    async fn close(&self) {}
}

/// The subject that a change is about, for messages.
#[cfg(any(test, feature = "suite"))]
pub(crate) fn described(context: &Context, change: &Change) -> String {
    let subject = |name: &str| crate::names::Subject::new(context.clone(), name).to_string();
    match change {
        Change::Version(row) => format!("version {} of subject {:?}", row.version, subject(&row.subject)),
        Change::VersionGone { subject: name, version } => format!("version {version} of {:?}", subject(name)),
        Change::Schema(row) => format!("schema {}", row.key),
        Change::SchemaGone(key) => format!("schema {key}"),
        Change::Config(name, _) => format!("the config of {:?}", subject(name)),
        Change::Mode(name, _) => format!("the mode of {:?}", subject(name)),
        Change::Listed(_) => format!("context {context}"),
    }
}
