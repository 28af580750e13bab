//! What is wrong with a registry in itself: references, texts, ids, GUIDs.

use super::error::{Error, Kind, Result};
use super::index::Key;
use super::source::Side;
use crate::client::Schema;
use crate::identity;
use crate::schema::{Metadata, RuleSet};
use serde::Serialize;
use std::collections::HashMap;

/// Findings that are named; more are only counted by whoever asks.
const NAMED: usize = 1000;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `reference`, `text`, `id`, `canonical` or `guid`.
    pub what: &'static str,
    /// The subject.
    pub subject: String,
    /// The version.
    pub version: i32,
    /// What is wrong.
    pub why: String,
    /// What to do about it.
    pub next_step: &'static str,
}

/// Looks at every version. Gives how many there were, how many things are wrong, and the first thousand of those.
pub async fn check(
    side: &Side,
    progress: &super::Progress,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<(u64, u64, Vec<Finding>)> {
    let (mut versions, mut count, mut found) = (0, 0, Vec::new());
    let mut add = |key: &Key, what, why, next_step| {
        count += 1;
        if found.len() < NAMED {
            let (subject, version) = (key.subject.to_string(), key.version);
            found.push(Finding { what, subject, version, why, next_step });
        }
    };
    let mut holders: HashMap<(crate::names::Context, u32), &Key> = HashMap::new();
    for (key, entry) in &side.index.versions {
        if stop() {
            return Err(Error::new(Kind::Interrupted, format!("checking {} was interrupted", side.name())));
        }
        versions += 1;
        progress.written.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut is_whole = true;
        for reference in &entry.references {
            if !side.index.versions.contains_key(reference) {
                is_whole = false;
                let why = format!("it refers to {reference}, which is not there");
                add(key, "reference", why, "register that version again in mode IMPORT, or delete this one");
            }
        }
        let id = (key.subject().context, entry.id);
        match holders.get(&id) {
            None => {
                holders.insert(id, key);
            }
            Some(holder) => {
                let other = side.index.versions.get(*holder);
                let same = other.is_some_and(|other| other.fingerprint == entry.fingerprint);
                if !same && !side.is_same(key, side, holder).await? {
                    let why = format!("its id {} belongs to {holder} too, which is another schema", entry.id);
                    add(
                        key,
                        "id",
                        why,
                        "data with this id cannot be read for sure; find out which schema wrote it",
                    );
                }
            }
        }
        if !is_whole {
            continue;
        }
        let Some(schema) = side.schema(key).await? else { continue };
        match side.canonical(&schema).await? {
            Err(why) => add(key, "text", why, "mend the text and register it as a new version"),
            Ok(canonical) if canonical != schema.schema => {
                let why =
                    format!("its text is not as it would be stored here, which begins {}", begin(&canonical));
                add(key, "canonical", why, "nothing, unless GUIDs are used: they are made from the text");
            }
            Ok(_) => {
                let ours = guid(&schema);
                if let (Some(theirs), Some(ours)) = (&schema.guid, ours)
                    && !theirs.eq_ignore_ascii_case(&ours)
                {
                    let why = format!("its GUID is {theirs}, and {ours} is what its text and labels make");
                    add(
                        key,
                        "guid",
                        why,
                        "readers that look schemas up by GUID will not find it after a move",
                    );
                }
            }
        }
    }
    Ok((versions, count, found))
}

fn begin(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The GUID that we would give; nothing where labels have a shape that we do not know.
fn guid(schema: &Schema) -> Option<String> {
    let metadata: Option<Metadata> = read(schema.metadata.as_ref())?;
    let rules: Option<RuleSet> = read(schema.rule_set.as_ref())?;
    let guid = identity::guid(&schema.schema, &schema.references, metadata.as_ref(), rules.as_ref());
    Some(guid.to_string())
}

fn read<T: serde::de::DeserializeOwned>(value: Option<&serde_json::Value>) -> Option<Option<T>> {
    value.map(|value| serde_json::from_value(value.clone())).transpose().ok()
}
