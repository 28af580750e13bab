//! What a registry keeps beside schemas, on its way into a backup and out of it: keys of encryption, and records of kinds that nobody
//! here knows.

use std::collections::BTreeMap;

use formats::schemas::{FROM_DEK_REGISTRY, FROM_TOPIC, Other, OtherRow};
use futures::TryStreamExt;
use pipeline::schemas::{Found, SchemaArchive};
use pipeline::{Error, Result};
use registry::client::{Dek, Kek};
use registry::transfer::restore::keys::Keys;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc::Sender;

use super::{RegistrySource, asked, give};

impl RegistrySource {
    /// Gives what is only carried.
    pub(super) async fn others(&self, found: &Sender<Found>) -> Result<()> {
        match self.place.foreign().await? {
            Some(records) => {
                for (key, value) in records {
                    give(found, Found::Other(OtherRow::record(&key, &value))).await?;
                }
                give(found, Found::AllOthers(FROM_TOPIC)).await
            }
            // Whatever is wrong with keys, schemas and settings are read.
            None => match self.keys(found).await {
                Err(error) if !found.is_closed() => give(found, Found::KeysFailed(error.to_string())).await,
                done => done,
            },
        }
    }

    /// Keys of encryption, one at a time. Of a registry that serves none nothing is said of those that are known: it may only have
    /// been started without them.
    async fn keys(&self, found: &Sender<Found>) -> Result<()> {
        let mut names = std::pin::pin!(self.client.kek_names());
        loop {
            let name = match names.try_next().await {
                Ok(Some(name)) => name,
                Ok(None) => break,
                Err(error) if error.is_no_path() => {
                    let registry = pipeline::schemas::SchemaSource::name(self);
                    self.is_keyless.call_once(|| {
                        tracing::debug!(
                            registry,
                            "the registry keeps no keys of encryption: it serves no /dek-registry/v1"
                        );
                    });
                    return Ok(());
                }
                Err(error) => return Err(asked(error)),
            };
            // Nothing is one that was deleted for good since it was listed.
            let Some(kek) = self.client.kek(&name).await.map_err(asked)? else { continue };
            give(found, Found::Other(OtherRow::kek(&name, json(&kek)?))).await?;
            let mut deks = std::pin::pin!(self.client.deks(&name));
            while let Some(dek) = deks.try_next().await.map_err(asked)? {
                give(found, Found::Other(row(&dek)?)).await?;
            }
        }
        give(found, Found::AllOthers(FROM_DEK_REGISTRY)).await
    }
}

fn row(dek: &Dek) -> Result<OtherRow> {
    let place = (dek.subject.as_str(), dek.version, dek.algorithm.as_str());
    Ok(OtherRow::dek(&dek.kek_name, place, json(dek)?))
}

fn json(key: &impl Serialize) -> Result<Value> {
    serde_json::to_value(key).map_err(|e| Error::permanent("a key does not serialize").caused_by(e))
}

/// What of an archive is only carried.
#[derive(Default)]
pub(super) struct Carried {
    /// Keys of encryption.
    pub(super) keys: Keys,
    /// Records of a registry's topic, by their kinds.
    pub(super) records: BTreeMap<String, u64>,
}

impl Carried {
    pub(super) fn of(archive: &SchemaArchive) -> Result<Self> {
        let mut carried = Self::default();
        for row in archive.catalog.others.values() {
            match row.read().map_err(damaged)? {
                Other::Kek(_) => carried.keys.keks.push(key::<Kek>(row)?),
                Other::Dek { .. } => carried.keys.deks.push(key::<Dek>(row)?),
                Other::Record(kind) => *carried.records.entry(kind.unwrap_or_default()).or_default() += 1,
                Other::Unknown => *carried.records.entry(row.source.clone()).or_default() += 1,
            }
        }
        Ok(carried)
    }

    /// What no registry takes, and so stays in the backup.
    pub(super) fn line(&self) -> Option<String> {
        let count: u64 = self.records.values().sum();
        if count == 0 {
            return None;
        }
        let kinds: Vec<String> =
            self.records.iter().map(|(kind, count)| format!("{count} {kind:?}")).collect();
        let (what, stay) = if count == 1 { ("record", "stays") } else { ("records", "stay") };
        Some(format!(
            "{count} {what} of kinds that are not known here ({}) {stay} in the backup: no registry takes them over its API",
            kinds.join(", ")
        ))
    }
}

fn key<T: DeserializeOwned>(row: &OtherRow) -> Result<T> {
    // The error would show what it stumbled over, and these are keys.
    serde_json::from_value(row.value.clone())
        .map_err(|_| damaged(formats::Error::corrupt(format!("key {}: it is none of a registry", row.key))))
}

fn damaged(error: formats::Error) -> Error {
    Error::from(error).at("what the backup carries beside schemas")
}
