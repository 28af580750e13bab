//! The schemas of a backup as the registry's own code takes them: an index of everything, and texts on demand.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use formats::schemas::{VersionRow, VersionState};
use futures::stream::{FuturesOrdered, StreamExt};
use pipeline::schemas::SchemaArchive;
use pipeline::{Error, ErrorKind, Result};
use registry::client::Schema;
use registry::parse::{Parsed, Strictness};
use registry::schema::{Dependency, Reference, SchemaType};
use registry::settings::Mode;
use registry::transfer::{self, Item, Key, Kind, Side, Texts};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::cmd::registry::failed;

/// Texts that are read from the store at once.
const AT_ONCE: usize = 32;

/// Texts of an archive, by the keys that [`side`] gives them.
struct Kept {
    archive: Arc<SchemaArchive>,
    /// Versions that are gone and whose number is another one's now, by the number that they go by here.
    moved: HashMap<Key, VersionRow>,
}

/// As a backup keeps what a schema has beside its text.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Labels {
    metadata: Option<Value>,
    rule_set: Option<Value>,
}

#[async_trait]
impl Texts for Kept {
    async fn schema(&self, key: &Key) -> transfer::Result<Option<Schema>> {
        let catalog = &self.archive.catalog;
        let row = match self.moved.get(key) {
            Some(row) => Some(row),
            None => catalog.target(&key.subject, key.version),
        };
        let Some(row) = row else { return Ok(None) };
        let read = schema(&self.archive, row, key.version).await;
        read.map(Some).map_err(noted)
    }

    fn name(&self) -> String {
        name(&self.archive)
    }
}

/// An error of the pipeline, as one of the registry's code.
pub(super) fn noted(error: Error) -> transfer::Error {
    let kind = match error.kind() {
        ErrorKind::Credentials => Kind::Credentials,
        ErrorKind::Damaged => Kind::Damaged,
        ErrorKind::Interrupted => Kind::Interrupted,
        ErrorKind::Input | ErrorKind::NotFound => Kind::Input,
        _ => Kind::Failed,
    };
    let made = transfer::Error::new(kind, error.to_string());
    match error.next_step() {
        Some(next) => made.hint(next),
        None => made,
    }
}

fn name(archive: &SchemaArchive) -> String {
    format!("backup at {}", archive.store().location())
}

async fn schema(archive: &SchemaArchive, row: &VersionRow, version: i32) -> Result<Schema> {
    let text = String::from_utf8(archive.text(row).await?.into())
        .map_err(|_| Error::damaged(format!("{}: it is no UTF-8", row.key(&row.text))))?;
    let labels: Labels = match archive.labels(row).await? {
        Some(labels) => serde_json::from_slice(&labels).map_err(|e| {
            Error::damaged(format!("{} version {}: its labels are no JSON", row.subject, row.version))
                .caused_by(e)
        })?,
        None => Labels::default(),
    };
    let references = row.references.iter().map(|reference| Reference {
        name: reference.name.clone(),
        subject: reference.subject.clone(),
        version: reference.version,
    });
    Ok(Schema {
        subject: row.subject.clone(),
        version,
        id: row.id,
        guid: row.guid.clone(),
        schema_type: row.schema_type.clone(),
        schema: text,
        references: references.collect(),
        metadata: labels.metadata,
        rule_set: labels.rule_set,
        ts: row.ts,
        deleted: Some(row.state != VersionState::Active),
    })
}

/// Reads everything, with each text once; afterwards texts are read when they are needed.
///
/// # Errors
/// Damage, or whatever the store says.
pub(super) async fn side(archive: &Arc<SchemaArchive>) -> Result<Side> {
    let (rows, moved) = numbered(archive);
    let texts = Arc::new(Kept { archive: Arc::clone(archive), moved });
    // The index takes items one after the other, on a thread that may wait for them.
    let (found, mut items) = mpsc::channel(AT_ONCE);
    let taking =
        tokio::task::spawn_blocking(move || Side::kept(texts, std::iter::from_fn(|| items.blocking_recv())));
    for (place, row) in &archive.catalog.places {
        if let Some(config) = row.config.clone() {
            let _ = found.send(Item::Config(place.clone(), config)).await;
        }
        let mode = row.mode.as_deref().map(Mode::from_str).transpose();
        let mode = mode.map_err(|_| {
            Error::damaged(format!("the mode of {place:?} is {:?}", row.mode.as_deref().unwrap_or_default()))
                .hint("verify the backup; a newer release may know it")
        })?;
        if let Some(mode) = mode {
            let _ = found.send(Item::Mode(place.clone(), mode)).await;
        }
    }
    let mut reads = FuturesOrdered::new();
    let mut rows = rows.into_iter();
    loop {
        while reads.len() < AT_ONCE
            && let Some((row, version)) = rows.next()
        {
            reads.push_back(item(archive, row, version));
        }
        let Some(item) = reads.next().await else { break };
        if found.send(item?).await.is_err() {
            break;
        }
    }
    drop((reads, found));
    let side =
        taking.await.map_err(|e| Error::permanent("reading the backup's schemas panicked").caused_by(e))?;
    side.map_err(failed)
}

async fn item(archive: &SchemaArchive, row: &VersionRow, version: i32) -> Result<Item> {
    let schema = schema(archive, row, version).await?;
    Ok(if row.state == VersionState::Gone { Item::Gone(schema) } else { Item::Version(schema) })
}

/// All versions with the numbers that they go by, and those that go by another than their own.
fn numbered(archive: &SchemaArchive) -> (Vec<(&VersionRow, i32)>, HashMap<Key, VersionRow>) {
    let (mut all, mut moved) = (Vec::new(), HashMap::new());
    for (subject, rows) in &archive.catalog.subjects {
        let mut free = rows.iter().map(|row| row.version).max().unwrap_or(0);
        for row in rows {
            if archive.catalog.target(subject, row.version).is_some_and(|own| std::ptr::eq(own, row)) {
                all.push((row, row.version));
                continue;
            }
            free = free.saturating_add(1);
            all.push((row, free));
            moved.insert(Key { subject: subject.as_str().into(), version: free }, row.clone());
        }
    }
    (all, moved)
}

/// What a version means; why it cannot be understood else.
///
/// # Errors
/// Damage, or whatever the store says.
pub(super) async fn parsed(
    archive: &SchemaArchive,
    row: &VersionRow,
) -> Result<std::result::Result<Parsed, String>> {
    let text = archive.text(row).await?;
    let (Ok(text), Ok(schema_type)) = (std::str::from_utf8(&text), SchemaType::from_str(&row.schema_type))
    else {
        return Ok(Err(format!("{} is not known", row.schema_type)));
    };
    let Some(texts) = archive.dependencies(row).await? else {
        return Ok(Err("what it refers to is not in the backup".to_owned()));
    };
    let dependencies: Vec<Dependency<'_>> =
        texts.iter().map(|(name, text)| Dependency { name, text }).collect();
    Ok(Parsed::parse(schema_type, text, &dependencies, Strictness::Stored)
        .map_err(|problem| problem.to_string()))
}
