//! A registry as the backup's source of schemas: what the client answers becomes what the pipeline writes.

mod archived;
mod keys;
mod target;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use formats::schemas::{PlaceRow, ReferenceRow};
use futures::TryStreamExt;
use pipeline::schemas::{Depth, Found, FoundVersion, SchemaSource};
use pipeline::verify::SchemaParser;
use pipeline::{Error, ErrorKind, Result};
use registry::client::{self, Client, Schema};
use registry::names::Subject;
use registry::parse::{Parsed, Strictness};
use registry::schema::{Dependency, SchemaType};
use registry::transfer::{Item, Progress, Walk};
use serde_json::{Map, Value};
use tokio::sync::mpsc::Sender;

use crate::cmd::registry::{Place, failed};

pub(crate) use target::{GivenTarget, RegistryTarget};

/// A registry, or a registry's topic.
pub(crate) struct RegistrySource {
    client: Arc<Client>,
    /// Serves the topic, where it is one.
    place: Place,
    /// That no keys are served is said once.
    is_keyless: Once,
    /// Has heard the lists of the last walk that reached its end.
    heard: Mutex<Option<Arc<Client>>>,
}

impl fmt::Debug for RegistrySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegistrySource").field(&self.name()).finish()
    }
}

impl RegistrySource {
    /// A source that is asked by this client; `place` says where.
    pub(crate) fn new(client: Arc<Client>, place: Place) -> Self {
        Self { client, place, is_keyless: Once::new(), heard: Mutex::new(None) }
    }

    async fn settings(&self, found: &Sender<Found>) -> Result<()> {
        let progress = Progress::default();
        let walk =
            Walk { client: &self.client, contexts: &[], known: None, progress: &progress, stop: &|| false };
        let mut places: BTreeMap<String, PlaceRow> = BTreeMap::new();
        let mut visit = |item| {
            let (place, config, mode) = match item {
                Item::Config(place, config) => (place, Some(config), None),
                Item::Mode(place, mode) => (place, None, Some(mode.to_string())),
                Item::Context(_) | Item::Listed(..) | Item::Version(_) | Item::Gone(_) => return Ok(()),
            };
            let row =
                places.entry(place.clone()).or_insert_with(|| PlaceRow { place, ..PlaceRow::default() });
            row.config = config.or(row.config.take());
            row.mode = mode.or(row.mode.take());
            Ok(())
        };
        for oddity in walk.settings(&mut visit).await.map_err(failed)?.named {
            tracing::info!(registry = self.name(), "{oddity}");
        }
        for place in places.into_values() {
            give(found, Found::Place(place)).await?;
        }
        Ok(())
    }

    /// All that is no version: which of those that were listed are deleted, settings and modes, what is only carried.
    async fn settings_and_others(&self, listed: Vec<(Subject, i32)>, found: &Sender<Found>) -> Result<()> {
        if !listed.is_empty() {
            // Afterwards: what was deleted since it was listed is deleted.
            let live = self.client.live_versions().await.map_err(asked)?;
            for (subject, version) in listed.into_iter().filter(|key| !live.contains(key)) {
                give(found, Found::Deleted(subject.to_string(), version)).await?;
            }
        }
        // Nobody needs it, and not every registry has the path.
        if let Ok(Some(version)) = self.client.registry_version().await {
            give(found, Found::RegistryVersion(version)).await?;
        }
        self.settings(found).await?;
        self.others(found).await
    }

    fn heard(&self) -> MutexGuard<'_, Option<Arc<Client>>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SchemaSource for RegistrySource {
    fn name(&self) -> String {
        self.place.name(self.client.name())
    }

    async fn walk(&self, depth: Depth, found: Sender<Found>) -> Result<()> {
        *self.heard() = None;
        let (mut listed, lists) = (Vec::new(), Arc::new(self.client.listening()));
        let mut schemas = std::pin::pin!(lists.all_schemas());
        while let Some(schema) = schemas.try_next().await.map_err(asked)? {
            if depth == Depth::Everything && schema.deleted.is_none() {
                listed.push((Subject::parse(&schema.subject), schema.version));
            }
            give(&found, Found::Version(version(schema)?)).await?;
        }
        if depth == Depth::Everything {
            self.settings_and_others(listed, &found).await?;
        }
        *self.heard() = Some(Arc::clone(&lists));
        Ok(())
    }

    async fn is_unchanged(&self) -> Result<bool> {
        let lists = self.heard().clone();
        match lists {
            Some(lists) => lists.is_answered_the_same().await.map_err(asked),
            None => Ok(false),
        }
    }

    async fn version(&self, subject: &str, number: i32) -> Result<Option<FoundVersion>> {
        match self.client.version(&Subject::parse(subject), number).await {
            Ok(schema) => version(schema).map(Some),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(asked(error)),
        }
    }
}

async fn give(found: &Sender<Found>, what: Found) -> Result<()> {
    found.send(what).await.map_err(|_| Error::retry("nobody takes what is found any more"))
}

fn version(schema: Schema) -> Result<FoundVersion> {
    let Schema {
        version,
        id,
        guid,
        schema_type,
        schema: text,
        references,
        metadata,
        rule_set,
        ts,
        deleted,
        ..
    } = schema;
    let mut labels = Map::new();
    labels.extend(metadata.map(|metadata| ("metadata".to_owned(), metadata)));
    labels.extend(rule_set.map(|rules| ("ruleSet".to_owned(), rules)));
    let labels = (!labels.is_empty()).then(|| Bytes::from(Value::Object(labels).to_string()));
    let subject = Subject::parse(&schema.subject).to_string();
    if version < 1 {
        return Err(Error::permanent(format!("{subject} has a version {version}, which no registry gives")));
    }
    let references = references.into_iter().map(|reference| ReferenceRow {
        name: reference.name,
        subject: reference.subject,
        version: reference.version,
    });
    Ok(FoundVersion {
        subject,
        version,
        id,
        guid,
        schema_type,
        deleted,
        text: text.into(),
        labels,
        references: references.collect(),
        ts,
    })
}

/// What went wrong at the registry, which may go right later whatever it is: somebody may mend a password while the backup runs.
fn asked(error: client::Error) -> Error {
    let kind = match error.kind() {
        client::ErrorKind::Settings => ErrorKind::Input,
        client::ErrorKind::Credentials => ErrorKind::Credentials,
        client::ErrorKind::Away => ErrorKind::Retry,
        client::ErrorKind::Absent
        | client::ErrorKind::Refused
        | client::ErrorKind::TooLarge
        | client::ErrorKind::Strange => ErrorKind::Permanent,
    };
    let made = Error::new(kind, error.to_string());
    match error.next_step() {
        Some(next) => made.hint(next),
        None => made,
    }
}

/// Understands schemas as the registry does.
#[derive(Debug)]
pub(crate) struct Parser;

impl SchemaParser for Parser {
    fn parse(&self, schema_type: &str, text: &str, dependencies: &[(String, String)]) -> Result<(), String> {
        let schema_type: SchemaType = schema_type.parse()?;
        let dependencies: Vec<Dependency<'_>> =
            dependencies.iter().map(|(name, text)| Dependency { name, text }).collect();
        let parsed = Parsed::parse(schema_type, text, &dependencies, Strictness::Stored);
        parsed.map(drop).map_err(|problem| problem.to_string())
    }
}
