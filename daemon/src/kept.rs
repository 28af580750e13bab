//! A backup's schemas as a registry's store: rows in memory, texts read from the backup when somebody asks for them.
//!
//! The catalog that a backup's snapshots add up to has everything but texts, so that a registry of a hundred thousand versions is there
//! in seconds. Only a backup of a registry that tells no GUIDs (Karapace, AxonOps', old ones of Confluent) has every text read at the
//! start, because a GUID is made of the text.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use formats::paths::REPOSITORY;
use formats::schemas::{Catalog, FileRef, PlaceRow, VersionRow, VersionState};
use futures::stream::{self, StreamExt, TryStreamExt};
use pipeline::archive::Archive;
use pipeline::schemas::SchemaArchive;
use pipeline::seam::Seam;
use pipeline::storage::Store;
use pipeline::{Error, ErrorKind, Result};
use registry::identity;
use registry::names::Subject;
use registry::schema::{Metadata, Reference, RuleSet, SchemaType};
use registry::settings::Config;
use registry::store::kept::{Kept, KeptState, KeptStore, KeptTexts, KeptVersion};
use registry::store::{self, StoreError, Texts};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::output::utc;

/// The name of the store in metrics and logs.
pub(crate) const BACKEND: &str = "backup";

/// Objects of a backup that are read at once.
const READS: usize = 64;
/// Texts after which it is said how many were read.
const TOLD: usize = 5_000;

/// Where the texts of a schema are.
#[derive(Debug)]
pub(crate) struct Files {
    subject: Arc<str>,
    text: FileRef,
    labels: Option<Box<FileRef>>,
}

/// The objects of a backup.
pub(crate) struct Archived {
    schemas: SchemaArchive,
    reads: Semaphore,
}

/// As a backup keeps what a schema has beside its text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Labels {
    metadata: Option<Metadata>,
    rule_set: Option<RuleSet>,
}

impl Archived {
    async fn read(&self, subject: &str, file: &FileRef) -> store::Result<String> {
        let closed = |_| StoreError::Unavailable("the registry stops".to_owned());
        let _turn = self.reads.acquire().await.map_err(closed)?;
        let stored = self.schemas.file(subject, file).await.map_err(unread)?;
        String::from_utf8(stored.into()).map_err(|_| corrupt(subject, file, "it is no UTF-8"))
    }
}

#[async_trait]
impl KeptTexts for Archived {
    type Place = Files;

    async fn proof(&self) -> store::Result<()> {
        match self.schemas.store().head(REPOSITORY).await.map_err(unread)? {
            Some(_) => Ok(()),
            None => Err(StoreError::Unavailable(format!("the backup's {REPOSITORY} is not there any more"))),
        }
    }

    async fn texts(&self, place: &Files) -> store::Result<Texts> {
        let Files { subject, text, labels } = place;
        let canonical = self.read(subject, text).await?.into();
        let (mut metadata, mut rule_set) = (None, None);
        if let Some(file) = labels {
            let found: Labels = serde_json::from_str(&self.read(subject, file).await?)
                .map_err(|error| corrupt(subject, file, error))?;
            (metadata, rule_set) = (found.metadata.map(Arc::new), found.rule_set.map(Arc::new));
        }
        Ok(Texts { canonical, submitted: None, metadata, rule_set })
    }
}

fn corrupt(subject: &str, file: &FileRef, why: impl fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("{}: {why}", file.key(subject)))
}

fn unread(error: Error) -> StoreError {
    match (error.kind(), error.next_step()) {
        (ErrorKind::Retry, _) => StoreError::Unavailable(error.to_string()),
        (_, Some(next)) => StoreError::Corrupt(format!("{error}; {next}")),
        (_, None) => StoreError::Corrupt(error.to_string()),
    }
}

/// Opens the schemas of the backup that is in this folder: the newest, or those that the registry had at a time (ms since 1970 UTC).
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is no backup, or none of schemas; damage; whatever the store says.
pub(crate) async fn open(store: Arc<dyn Store>, at_ms: Option<i64>) -> Result<KeptStore<Archived>> {
    let location = store.location();
    tracing::info!(location, "reads which schemas the backup has");
    let archive = Archive::open(store, Seam::system()).await?;
    let id = archive.repository().backup_id.to_string();
    let Some((newest, _)) = archive.state().schemas.clone() else {
        return Err(Error::not_found(format!("the backup {id} at {location} has no schemas")).hint(
            "serve another backup, or make one of a job file with a schema_registry section; `replevin describe` shows what a backup \
             has",
        ));
    };
    let store = Arc::clone(archive.store());
    let snapshot = match at_ms {
        Some(at_ms) => SchemaArchive::newest_at(&*store, &newest, at_ms).await?,
        None => newest,
    };
    let mut schemas = SchemaArchive::open(store, &snapshot).await?;
    let catalog = std::mem::take(&mut schemas.catalog);
    let time = utc(catalog.time_ms);
    if at_ms.is_some_and(|at_ms| at_ms < catalog.time_ms) {
        tracing::warn!(
            first = time,
            "the backup's schemas begin after --at; those that it has first are served"
        );
    }
    let words = format!(
        "This registry is served from backup {id}, with the schemas of {time}, and takes no changes. Restore the backup, and \
         register where its schemas are restored to"
    );
    let archived = Archived { schemas, reads: Semaphore::new(READS) };
    let registry = catalog.registry.clone();
    let kept = kept(catalog, &archived).await?;
    let versions = kept.versions.iter().filter(|version| version.state != KeptState::Gone).count();
    let gone = kept.versions.len() - versions;
    let store = KeptStore::new(BACKEND, archived, words, kept);
    let schemas = store.schemas();
    tracing::info!(backup = id, registry, time, versions, gone, schemas, "the backup's schemas are there");
    Ok(store)
}

/// What a catalog says, in the registry's terms.
async fn kept(catalog: Catalog, archived: &Archived) -> Result<Kept<Files>> {
    let (mut versions, mut untold) = (Vec::with_capacity(catalog.versions().count()), Vec::new());
    for (name, rows) in catalog.subjects {
        let subject = Subject::parse(&name);
        let name: Arc<str> = name.into();
        let followed: Vec<bool> = (0..rows.len()).map(|at| is_followed(&rows[at..])).collect();
        for (row, is_followed) in rows.into_iter().zip(followed) {
            let Some(version) = version(&subject, &name, row, is_followed) else { continue };
            if version.guid.is_nil() {
                untold.push(versions.len());
            }
            versions.push(version);
        }
    }
    for (at, guid) in guids(&versions, untold, archived).await? {
        versions[at].guid = guid;
    }
    let (mut configs, mut modes) = (Vec::new(), Vec::new());
    for PlaceRow { place, config, mode } in catalog.places.into_values() {
        let subject = Subject::parse(&place);
        match config.map(|config| serde_json::from_value::<Config>(Value::Object(config))).transpose() {
            Ok(config) => configs.extend(config.map(|config| (subject.clone(), config))),
            Err(error) => tracing::warn!(place, %error, "settings that are not understood are not served"),
        }
        match mode.map(|mode| mode.parse()).transpose() {
            Ok(mode) => modes.extend(mode.map(|mode| (subject, mode))),
            Err(error) => tracing::warn!(place, error, "a mode that is not known is not served"),
        }
    }
    Ok(Kept { versions, configs, modes })
}

/// Whether the number of the first of these rows is another one's by now: of several that have had it, the last one has it.
fn is_followed(rows: &[VersionRow]) -> bool {
    let Some((first, later)) = rows.split_first() else { return false };
    let mut same = later.iter().take_while(|row| row.version == first.version);
    same.any(|row| row.state != VersionState::Gone)
}

/// A version; nothing where its language is none that is known. The GUID is nil where the registry did not tell it.
fn version(
    subject: &Subject,
    name: &Arc<str>,
    row: VersionRow,
    is_followed: bool,
) -> Option<KeptVersion<Files>> {
    let VersionRow { version, id, guid, schema_type, state, text, labels, references, ts, .. } = row;
    let schema_type: SchemaType = match schema_type.parse() {
        Ok(known) => known,
        Err(error) => {
            tracing::warn!(subject = &**name, version, id, error, "a schema that is not known is not served");
            return None;
        }
    };
    let references = references.into_iter().map(|reference| Reference {
        name: reference.name,
        subject: reference.subject,
        version: reference.version,
    });
    Some(KeptVersion {
        subject: subject.clone(),
        version,
        state: match state {
            VersionState::Active if !is_followed => KeptState::Live,
            VersionState::Deleted if !is_followed => KeptState::Deleted,
            _ => KeptState::Gone,
        },
        time_ms: ts.unwrap_or_default(),
        id,
        guid: guid.and_then(|guid| Uuid::parse_str(&guid).ok()).unwrap_or_default(),
        schema_type,
        references: references.collect(),
        place: Files { subject: Arc::clone(name), text, labels },
    })
}

/// The GUIDs of versions whose registry told none, made of their texts.
async fn guids(
    versions: &[KeptVersion<Files>],
    untold: Vec<usize>,
    archived: &Archived,
) -> Result<Vec<(usize, Uuid)>> {
    let count = untold.len();
    if count > 0 {
        tracing::info!(count, "the backup has no GUIDs; texts are read to make them");
    }
    let mut found = Vec::with_capacity(count);
    for some in untold.chunks(TOLD) {
        let reads: Vec<_> = some.iter().map(|at| guid(*at, &versions[*at], archived)).collect();
        let made: Vec<_> = stream::iter(reads).buffer_unordered(READS).try_collect().await?;
        found.extend(made);
        tracing::info!(read = found.len(), of = count, "texts of the backup");
    }
    Ok(found)
}

async fn guid(at: usize, version: &KeptVersion<Files>, archived: &Archived) -> Result<(usize, Uuid)> {
    match archived.texts(&version.place).await {
        Ok(Texts { canonical, metadata, rule_set, .. }) => {
            let (metadata, rules) = (metadata.as_deref(), rule_set.as_deref());
            Ok((at, identity::guid(&canonical, &version.references, metadata, rules)))
        }
        Err(StoreError::Unavailable(why)) => Err(Error::retry(why)),
        // Who asks for it is told what is wrong; all others are answered.
        Err(error) => {
            tracing::error!(%error, "a schema of the backup cannot be read");
            Ok((at, Uuid::new_v4()))
        }
    }
}
