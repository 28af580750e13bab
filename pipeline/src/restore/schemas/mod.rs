//! Schemas first: they are brought to the target before the first record, and records get the ids that the target gave.
//!
//! ```text
//! snapshot of the pinned commit --target--> map of ids --journal--> pinned
//! catalog + sample of records  --framing--> which keys and values name schemas at all
//! map + framing --remap--> lane: batches whose ids change are written anew, all others travel untouched
//! ```
//! What a registry is, and what a schema means, is not known here: whoever starts a restore brings both as a [`SchemaTarget`].
//! The map is pinned before the first record is produced, because a run that goes on must make the same batches.

mod details;
mod framing;
mod ids;
mod remap;
mod sample;
mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use formats::ids::{SchemaId, Topic};
use formats::schemas::{VersionRow, in_context};
use formats::wire::Side;
use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use details::Details;
pub use framing::{Framing, SideFraming, TopicFraming};
pub use remap::RemapCounts;
pub use sample::Samples;
pub use step::{SchemaPlan, SchemaReport};

pub(crate) use framing::Framings;
pub(crate) use remap::{RecordIds, Remap, Remapped, Remapper, TopicRemap};
pub(super) use step::{Prepared, Step};

use crate::schemas::{Opened, SchemaArchive};
use crate::{Error, Result};

/// What a restore does with schemas and with the ids in records.
#[derive(Debug, Clone)]
pub struct SchemaRules {
    /// Where schemas go.
    pub target: Arc<dyn SchemaTarget>,
    /// Whether ids in records become those of the target.
    pub rewrite: bool,
    /// Whether this is done in keys too.
    pub keys: KeyIds,
    /// What to do with records that name a schema which nothing in the target stands for.
    pub unknown: UnknownIds,
    /// Topics of which somebody has said how they are written; the first that matches counts.
    pub told: Vec<Told>,
    /// What decides which schemas are brought, and what ids become, as text by the names of keys under `schema_registry`. A run that goes
    /// on must have the same, because what they came to is pinned.
    pub settings: BTreeMap<String, String>,
    /// What was seen of records so far: nothing, before anybody has looked.
    pub samples: Samples,
    /// What was read of the backup so far: nothing, before anybody has read it.
    pub opened: Opened,
}

/// What becomes of ids in keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyIds {
    /// They become those of the target. The bytes of the key change with them: producers will put the same key into another
    /// partition, and compaction takes it for another key than that of records written later under another id.
    #[default]
    Rewrite,
    /// They stay, and readers need the source's ids.
    Keep,
}

/// What to do with a record that names a schema which nothing in the target stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownIds {
    /// Its partition is not restored any further.
    #[default]
    Fail,
    /// It is restored as it is.
    Keep,
    /// It is left out of its topic, and goes as it lies in the archive to another one: `<topic>.quarantine`.
    Quarantine,
}

impl fmt::Display for UnknownIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fail => "fail",
            Self::Keep => "keep",
            Self::Quarantine => "quarantine",
        })
    }
}

/// What somebody has said of the records of some topics.
#[derive(Debug, Clone)]
pub struct Told {
    topics: GlobMatcher,
    side: Option<Side>,
    is_framed: bool,
}

impl Told {
    /// Of topics that match a glob: whether their keys, values or both begin with schema ids.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Input`] for what is no pattern.
    pub fn new(topics: &str, side: Option<Side>, is_framed: bool) -> Result<Self> {
        let glob = Glob::new(topics)
            .map_err(|e| Error::input(format!("{topics:?} is no pattern of topics")).caused_by(e))?;
        Ok(Self { topics: glob.compile_matcher(), side, is_framed })
    }

    fn says(&self, topic: &Topic, side: Side) -> Option<bool> {
        let is_meant = self.side.is_none_or(|own| own == side) && self.topics.is_match(topic.as_str());
        is_meant.then_some(self.is_framed)
    }
}

/// An id of a context. As text `5` in the default context, `:.context:5` in another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextId {
    /// The context: `.` is the default one.
    pub context: Arc<str>,
    /// The id there.
    pub id: SchemaId,
}

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.context {
            "." => self.id.fmt(f),
            context => write!(f, ":{context}:{}", self.id),
        }
    }
}

impl FromStr for ContextId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (context, number) = in_context(text);
        let id = number.parse().ok().and_then(SchemaId::new);
        let id = id.ok_or_else(|| Error::input(format!("{text:?} is no id of a schema")))?;
        Ok(Self { context: context.into(), id })
    }
}

/// What ids and GUIDs of the archive are in the target. An id of the archive that is not in here has nothing in the target that
/// stands for it, or will have and nobody knows it yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaMap {
    /// Ids.
    pub ids: BTreeMap<ContextId, SchemaId>,
    /// GUIDs; one that is in neither is the same in the target where its schema is there.
    pub guids: BTreeMap<Uuid, Uuid>,
    /// GUIDs that nothing in the target stands for, or several schemas.
    pub unmapped_guids: BTreeSet<Uuid>,
}

/// What a [`SchemaTarget`] would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TargetPlan {
    /// In lines for people.
    pub lines: Vec<String>,
    /// Everything, for programs.
    pub details: Details,
    /// What makes it impossible.
    pub problems: Vec<String>,
    /// What the reader should know.
    pub warnings: Vec<String>,
    /// What is known before it is done.
    pub map: SchemaMap,
    /// Ids that the target is to give.
    pub new: Vec<ContextId>,
}

/// What a [`SchemaTarget`] has done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TargetReport {
    /// In lines for people.
    pub lines: Vec<String>,
    /// Everything, for programs.
    pub details: Details,
    /// What ids have become.
    pub map: SchemaMap,
    /// What the reader should know.
    pub warnings: Vec<String>,
    /// Versions that are not there, because the target takes them for no schemas, or what they refer to; their ids are nowhere. And what
    /// is kept beside schemas and the target does not take. With the reasons.
    pub not_taken: Vec<String>,
}

/// Where schemas go: a registry, or nowhere where only ids are mapped.
#[async_trait]
pub trait SchemaTarget: fmt::Debug + Send + Sync {
    /// What it is called in messages, without credentials.
    fn name(&self) -> String;

    /// What would be done. Touches nothing.
    async fn plan(&self, archive: &Arc<SchemaArchive>, notes: &Arc<dyn SchemaNotes>) -> Result<TargetPlan>;

    /// Does it. What it must know after a crash it keeps in `notes`; run again, it comes to the same end.
    async fn run(
        &self,
        archive: &Arc<SchemaArchive>,
        notes: &Arc<dyn SchemaNotes>,
        stop: &CancellationToken,
    ) -> Result<TargetReport>;

    /// Puts back what a run that died has changed for the time, where the next one cannot go on. False where there is nothing.
    async fn put_back(&self, notes: &Arc<dyn SchemaNotes>) -> Result<bool>;

    /// What reads the payloads of a schema; nothing where the schema cannot be understood.
    async fn reader(
        &self,
        archive: &SchemaArchive,
        row: &VersionRow,
    ) -> Result<Option<Arc<dyn PayloadReader>>>;
}

/// Reads payloads of one schema.
pub trait PayloadReader: fmt::Debug + Send + Sync {
    /// Whether all of `payload` is one message of the schema: what follows the id in a key or value, so with its indexes for Protobuf.
    fn reads(&self, payload: &[u8]) -> bool;
}

/// Keeps what must outlive the process: a few kilobytes, or some bytes for each subject.
#[async_trait]
pub trait SchemaNotes: Send + Sync {
    /// What was kept last.
    async fn load(&self) -> Result<Option<Vec<u8>>>;

    /// Keeps this instead. Once it has returned, that is found again whatever happens.
    async fn store(&self, bytes: &[u8]) -> Result<()>;

    /// Keeps nothing any more.
    async fn remove(&self) -> Result<()>;

    /// What the place is called in messages.
    fn name(&self) -> String;
}
