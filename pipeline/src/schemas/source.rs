//! Where schemas come from.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use formats::schemas::{OtherRow, PlaceRow, ReferenceRow};
use tokio::sync::mpsc;

use crate::Result;

/// A registry, or a topic that one keeps its content in.
#[async_trait]
pub trait SchemaSource: fmt::Debug + Send + Sync {
    /// What it is called: a URL without credentials, or a topic.
    fn name(&self) -> String;

    /// Gives everything that was there when this was called and still is, in any order; what came later may be among it. The
    /// receiver's end of the channel is the walk's end.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Retry`] where it may answer later. What was given before the error stands.
    async fn walk(&self, depth: Depth, found: mpsc::Sender<Found>) -> Result<()>;

    /// Whether a walk would find the same versions as the last one whose end was reached: for less than a walk costs, or never. Who
    /// does not know says no.
    ///
    /// # Errors
    /// As [`SchemaSource::walk`].
    async fn is_unchanged(&self) -> Result<bool>;

    /// One version; nothing where there is none. For what a selection leaves out and a schema refers to.
    ///
    /// # Errors
    /// As [`SchemaSource::walk`].
    async fn version(&self, subject: &str, version: i32) -> Result<Option<FoundVersion>>;
}

/// How much a walk asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// All versions.
    Versions,
    /// Settings, modes and everything else too.
    Everything,
}

/// What a walk finds.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A version.
    Version(FoundVersion),
    /// A version of a subject that was found and is deleted softly. Of a walk that asks for everything, those of which nothing is told
    /// are not.
    Deleted(String, i32),
    /// Settings and mode of a place that has either.
    Place(PlaceRow),
    /// Something that is only carried.
    Other(OtherRow),
    /// Everything of this source of [`OtherRow`]s was given: what else is known of it is there no more. Of a source of which this is
    /// not said nothing is removed, because perhaps nobody could be asked.
    AllOthers(&'static str),
    /// Why keys of encryption could not be read, or not all of them; everything else was.
    KeysFailed(String),
    /// The registry's own version.
    RegistryVersion(String),
}

/// A version of a subject with its schema.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundVersion {
    /// The subject, with its context in front where that is not the default one.
    pub subject: String,
    /// Its number.
    pub version: i32,
    /// The schema's id in the context.
    pub id: u32,
    /// Its GUID, where the registry tells.
    pub guid: Option<String>,
    /// `AVRO`, `JSON`, `PROTOBUF`.
    pub schema_type: String,
    /// Deleted softly; nothing where that is not known, or told apart ([`Found::Deleted`]).
    pub deleted: Option<bool>,
    /// The text, as the registry gave it.
    pub text: Bytes,
    /// Metadata and rules as one JSON object, where it has any.
    pub labels: Option<Bytes>,
    /// What it refers to.
    pub references: Vec<ReferenceRow>,
    /// When it was registered, ms since 1970 UTC, where the registry tells.
    pub ts: Option<i64>,
}
