//! What the journal keeps of schemas: the map of ids that records were given, and the notes of whoever brings them.
//!
//! The map lies in entries under its own digest, and the entry `schemas` says which digest counts: of two copies of a job the first
//! wins whole. Notes change, so each is an entry under the next number, and the last counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use formats::ids::{RestoreId, SchemaId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Entries, Journal, Text, read, value};
use crate::restore::schemas::{ContextId, Framings, SchemaMap, SchemaNotes, UnknownIds};
use crate::seam::Seam;
use crate::{Error, ErrorKind, Result};

/// Ids or topics in one entry: it must fit into a Kafka message.
const CHUNK: usize = 5000;
/// The most that notes may be, for the same reason.
const MAX_NOTES: usize = 6 << 20;

/// What the records of an attempt are given, whatever the target says later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SchemaPin {
    /// What ids become.
    pub(crate) map: SchemaMap,
    /// Which records name schemas.
    pub(crate) framings: Framings,
    /// The settings that it came of, [`SchemaRules::settings`](crate::restore::schemas::SchemaRules::settings); none where an earlier
    /// release has pinned it.
    pub(crate) settings: BTreeMap<String, String>,
    /// What the target did not take, with the reasons; no more than fit.
    pub(crate) not_taken: Vec<String>,
}

/// A part of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Part {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    ids: BTreeMap<String, u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    guids: BTreeMap<Uuid, Uuid>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unmapped_guids: Vec<Uuid>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    topics: Framings,
}

/// Which of several counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PinEntry {
    pub(super) digest: String,
    parts: usize,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    settings: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    not_taken: Vec<String>,
}

/// What is done with unknown ids, once that is something else than to stop at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PolicyEntry {
    pub(super) policy: UnknownIds,
}

impl SchemaPin {
    fn parts(&self) -> Vec<Part> {
        let ids: Vec<_> = self.map.ids.iter().collect();
        let guids: Vec<_> = self.map.guids.iter().collect();
        let unmapped: Vec<_> = self.map.unmapped_guids.iter().copied().collect();
        let topics: Vec<_> = self.framings.iter().collect();
        let ids = ids.chunks(CHUNK).map(|chunk| Part {
            ids: chunk.iter().map(|(from, to)| (from.to_string(), to.number())).collect(),
            ..Part::default()
        });
        let guids = guids.chunks(CHUNK).map(|chunk| Part {
            guids: chunk.iter().map(|(from, to)| (**from, **to)).collect(),
            ..Part::default()
        });
        let topics = topics.chunks(CHUNK).map(|chunk| Part {
            topics: chunk.iter().map(|(topic, framing)| ((*topic).clone(), **framing)).collect(),
            ..Part::default()
        });
        let unmapped =
            unmapped.chunks(CHUNK).map(|chunk| Part { unmapped_guids: chunk.to_vec(), ..Part::default() });
        ids.chain(guids).chain(unmapped).chain(topics).collect()
    }

    /// Puts together what the entry names.
    pub(super) fn of(entry: &PinEntry, parts: &BTreeMap<String, Vec<Part>>) -> Result<Self> {
        let parts = parts.get(&entry.digest).map_or(&[][..], Vec::as_slice);
        if parts.len() != entry.parts {
            let (found, wanted) = (parts.len(), entry.parts);
            return Err(Error::damaged(format!(
                "the journal holds {found} of the {wanted} parts of the map of schema ids"
            )));
        }
        let (settings, not_taken) = (entry.settings.clone(), entry.not_taken.clone());
        let mut pin = Self { settings, not_taken, ..Self::default() };
        for part in parts {
            for (from, to) in &part.ids {
                let to =
                    SchemaId::new(*to).ok_or_else(|| Error::damaged(format!("{to} is no id of a schema")))?;
                pin.map.ids.insert(from.parse::<ContextId>()?, to);
            }
            pin.map.guids.extend(&part.guids);
            pin.map.unmapped_guids.extend(&part.unmapped_guids);
            pin.framings.extend(part.topics.iter().map(|(topic, framing)| (topic.clone(), *framing)));
        }
        Ok(pin)
    }
}

impl Entries {
    /// Says what records are given, and gives what counts.
    pub(crate) async fn pin_schemas(&self, number: u32, pin: SchemaPin) -> Result<SchemaPin> {
        let parts = pin.parts().into_iter().map(|part| value(&part)).collect::<Result<Vec<_>>>()?;
        let digest = digest(&parts);
        let (settings, not_taken) = (pin.settings.clone(), pin.not_taken.clone());
        let entry = PinEntry { digest: digest.clone(), parts: parts.len(), settings, not_taken };
        let key = |n| self.key(number, &format!("schema_map/{digest}/{n:06}"));
        let entries = parts.into_iter().enumerate().map(|(n, part)| (key(n), part)).collect();
        self.place.claim(entries).await?;
        let name = self.key(number, "schemas");
        let winners = self.place.claim(vec![(name.clone(), value(&entry)?)]).await?;
        match winners.get(&name).map(read::<PinEntry>).transpose()? {
            Some(first) if first != entry => {
                let attempt = self.newest().await?;
                attempt.schemas.ok_or_else(|| Error::damaged("the journal has lost its map of schema ids"))
            }
            _ => Ok(pin),
        }
    }

    /// Says what is done with unknown ids, where that is not to stop at them, and gives what counts.
    pub(crate) async fn unknown_ids(&self, number: u32, policy: UnknownIds) -> Result<UnknownIds> {
        let name = self.key(number, "unknown_ids");
        let winners = self.place.claim(vec![(name.clone(), value(&PolicyEntry { policy })?)]).await?;
        let winner = winners.get(&name).map(read::<PolicyEntry>).transpose()?;
        Ok(winner.map_or(policy, |entry| entry.policy))
    }
}

/// A digest of the list of these as JSON, which is never made: it would be as large as the map again.
fn digest(parts: &[Text]) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(b"[");
    for (n, part) in parts.iter().enumerate() {
        hash.update(if n == 0 { &b""[..] } else { b"," }).update(part.as_str().as_bytes());
    }
    hash.update(b"]").finalize().to_hex()[..32].to_owned()
}

/// The name that notes about a target are kept under. They belong to the target and not to one restore: what a dead run has borrowed of
/// it must be found by the next one, whatever that restores.
pub(crate) fn notes_id(target: &str) -> RestoreId {
    let hash = blake3::derive_key("replevin 2026 notes about a registry", target.as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    RestoreId(u128::from_be_bytes(half))
}

/// Notes for whoever brings schemas, in a journal of this id ([`notes_id`]).
pub(crate) fn notes(place: Arc<dyn Journal>, id: RestoreId, seam: &Seam) -> Arc<dyn SchemaNotes> {
    Arc::new(Notes { place, id, seam: seam.clone(), next: Mutex::new(None) })
}

struct Notes {
    place: Arc<dyn Journal>,
    id: RestoreId,
    seam: Seam,
    /// The number of the next note, once that is known.
    next: Mutex<Option<u64>>,
}

impl Notes {
    fn prefix(&self) -> String {
        format!("{}/notes/", self.id)
    }

    /// The last note, and the number of the next.
    async fn last(&self) -> Result<(Option<Text>, u64)> {
        let (prefix, entries) = (self.prefix(), self.place.read().await?);
        let numbered = entries.into_iter().filter_map(|(key, value)| {
            let number: u64 = key.strip_prefix(&prefix)?.parse().ok()?;
            Some((number, value))
        });
        let last = numbered.max_by_key(|(number, _)| *number);
        let next = last.as_ref().map_or(1, |(number, _)| number + 1);
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
        Ok((last.map(|(_, value)| value), next))
    }

    async fn append(&self, text: Option<&str>) -> Result<()> {
        let known = *self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match known {
            Some(number) => number,
            None => self.last().await?.1,
        };
        // Whoever claims a number must know whether it was he.
        let own = value(&json!({ "text": text, "by": format!("{:016x}", self.seam.rand.next_u64()) }))?;
        let key = format!("{}{number:09}", self.prefix());
        let winners = self.place.claim(vec![(key.clone(), own.clone())]).await?;
        if winners.get(&key) != Some(&own) {
            return Err(Error::new(
                ErrorKind::Retry,
                "another copy of this restore is at work on the schemas of the same target",
            )
            .hint("let one of them come to its end, then run it again"));
        }
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(number + 1);
        Ok(())
    }
}

#[async_trait]
impl SchemaNotes for Notes {
    async fn load(&self) -> Result<Option<Vec<u8>>> {
        let (last, _) = self.last().await?;
        let last = last.map(|note| read::<Value>(&note)).transpose()?;
        Ok(last.and_then(|note| Some(note.get("text")?.as_str()?.as_bytes().to_vec())))
    }

    async fn store(&self, bytes: &[u8]) -> Result<()> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_NOTES);
        let text = text.ok_or_else(|| {
            let len = bytes.len();
            Error::permanent(format!(
                "{len} bytes are no note for the journal: {MAX_NOTES} bytes of text are the most"
            ))
            .hint("restore fewer subjects at once (`schema_registry.backup.subjects`)")
        })?;
        self.append(Some(text)).await
    }

    async fn remove(&self) -> Result<()> {
        self.append(None).await
    }

    fn name(&self) -> String {
        format!("the journal of restores ({})", self.id)
    }
}
