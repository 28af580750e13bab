//! What a registry keeps beside schemas, on its way into a backup and out of it: keys of encryption, and records of kinds that nobody
//! here knows.

use std::collections::BTreeMap;

use formats::schemas::{FROM_DEK_REGISTRY, FROM_TOPIC, Other, OtherRow};
use futures::TryStreamExt;
use pipeline::schemas::Found;
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
    /// Rows that are not what they should be, with what is wrong with them. All others are restored without them.
    pub(super) odd: Vec<String>,
}

impl Carried {
    pub(super) fn of<'a>(rows: impl IntoIterator<Item = &'a OtherRow>) -> Self {
        let mut carried = Self::default();
        for row in rows {
            if let Err(error) = carried.take(row) {
                carried.odd.push(format!("{error}; it stays in the backup"));
            }
        }
        carried
    }

    fn take(&mut self, row: &OtherRow) -> formats::Result<()> {
        match row.read()? {
            Other::Kek(_) => self.keys.keks.push(key::<Kek>(row)?),
            Other::Dek { .. } => self.keys.deks.push(key::<Dek>(row)?),
            Other::Record(kind) => *self.records.entry(kind.unwrap_or_default()).or_default() += 1,
            Other::Unknown => *self.records.entry(row.source.clone()).or_default() += 1,
        }
        Ok(())
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

fn key<T: DeserializeOwned>(row: &OtherRow) -> formats::Result<T> {
    // The error would show what it stumbled over, and these are keys.
    serde_json::from_value(row.value.clone())
        .map_err(|_| formats::Error::corrupt(format!("key {}: it is none of a registry", row.key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_odd_row_is_named_without_its_value_and_all_others_are_taken() {
        let kek = |name: &str, more: Value| {
            let mut value = json!({ "name": name, "kmsType": "aws-kms", "kmsKeyId": "arn" });
            value.as_object_mut().expect("members").extend(more.as_object().cloned().expect("members"));
            OtherRow::kek(name, value)
        };
        let dek = json!({
            "kekName": "good", "subject": "s", "version": 1, "algorithm": "AES256_GCM", "encryptedKeyMaterial": "w",
        });
        let half = OtherRow { key: json!({ "hex": "0" }), ..OtherRow::record(b"{}", b"{}") };
        let rows = [
            kek("bare", json!({ "keyMaterial": "secret" })),
            kek("good", json!({})),
            kek("strange", json!({ "shared": "secret" })),
            half,
            OtherRow::dek("good", ("s", 1, "AES256_GCM"), dek),
            OtherRow::record(br#"{"keytype":"ENCRYPTION"}"#, b"{}"),
        ];
        let carried = Carried::of(&rows);
        let keks: Vec<&str> = carried.keys.keks.iter().map(|kek| kek.name.as_str()).collect();
        assert_eq!((keks, carried.keys.deks.len(), carried.records["ENCRYPTION"]), (vec!["good"], 1, 1));
        let [bare, strange, half] = &carried.odd[..] else { panic!("{:?}", carried.odd) };
        assert!(bare.contains(r#"{"kek":"bare"}"#) && bare.contains("not wrapped"), "{bare}");
        assert!(
            strange.contains(r#"{"kek":"strange"}"#) && strange.contains("none of a registry"),
            "{strange}"
        );
        assert!(half.contains(r#"record {"hex":"0"}"#), "{half}");
        assert!(!format!("{:?}", carried.odd).contains("secret"));
    }
}
