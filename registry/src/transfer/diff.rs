//! What differs between two registries, files among them.

use super::content::{labels, settled};
use super::error::Result;
use super::index::{Entry, Key};
use super::source::Side;
use crate::client::Settings;
use crate::settings::Mode;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Differences that are named; more are only counted.
const NAMED: usize = 1000;

/// Characters of a text that a difference shows.
const SHOWN: usize = 200;

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `version`, `id`, `guid`, `text`, `type`, `references`, `labels`, `deleted`, `config` or `mode`.
    pub what: &'static str,
    /// The subject; empty for the registry itself, `:.context:` for a context.
    pub subject: String,
    /// The version, where it is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// What the first one has.
    pub a: Option<String>,
    /// What the second one has.
    pub b: Option<String>,
}

/// What differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// Versions that both have.
    pub versions: u64,
    /// Texts that are written differently and mean the same; no difference.
    pub rewritten: u64,
    /// How much differs.
    pub count: u64,
    /// What differs, the first thousand.
    pub differences: Vec<Difference>,
}

impl Differences {
    fn add(&mut self, what: &'static str, at: (&str, Option<i32>), a: Option<String>, b: Option<String>) {
        self.count += 1;
        if self.differences.len() < NAMED {
            let shown = |text: Option<String>| text.map(|text| shown(&text));
            let (subject, version) = at;
            let (subject, a, b) = (subject.to_owned(), shown(a), shown(b));
            self.differences.push(Difference { what, subject, version, a, b });
        }
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Which GUIDs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guids {
    /// Those of texts that are written the same: a GUID is made from the text.
    OfSameTexts,
    /// All that both sides tell: data may have them in headers.
    All,
}

/// Compares two sides. Empty contexts do not count, for no registry can be told to have one.
pub async fn diff(a: &Side, b: &Side, guids: Guids) -> Result<Differences> {
    let mut found = Differences::default();
    let keys: BTreeSet<&Key> = a.index.versions.keys().chain(b.index.versions.keys()).collect();
    for key in keys {
        match (a.index.versions.get(key), b.index.versions.get(key)) {
            (Some(one), Some(two)) => version((a, b), key, (one, two), guids, &mut found).await?,
            (one, two) => {
                let has = |entry: Option<&Entry>| entry.map(|entry| format!("id {}", entry.id));
                found.add("version", (&key.subject, Some(key.version)), has(one), has(two));
            }
        }
    }
    let places: BTreeSet<&String> = a.index.configs.keys().chain(b.index.configs.keys()).collect();
    for place in places {
        let (one, two) = (a.index.configs.get(place), b.index.configs.get(place));
        if !same_config(one, two) {
            let text =
                |config: Option<&Settings>| config.map(|config| Value::Object(config.clone()).to_string());
            found.add("config", (place, None), text(one), text(two));
        }
    }
    let places: BTreeSet<&String> = a.index.modes.keys().chain(b.index.modes.keys()).collect();
    for place in places {
        let (one, two) = (a.index.modes.get(place), b.index.modes.get(place));
        if one != two {
            let text = |mode: Option<&Mode>| mode.map(Mode::to_string);
            found.add("mode", (place, None), text(one), text(two));
        }
    }
    Ok(found)
}

async fn version(
    (a, b): (&Side, &Side),
    key: &Key,
    (one, two): (&Entry, &Entry),
    guids: Guids,
    found: &mut Differences,
) -> Result<()> {
    let at = (&*key.subject, Some(key.version));
    found.versions += 1;
    if one.id != two.id {
        found.add("id", at, Some(one.id.to_string()), Some(two.id.to_string()));
    }
    if one.deleted != two.deleted {
        found.add("deleted", at, Some(one.deleted.to_string()), Some(two.deleted.to_string()));
    }
    let same_text = one.fingerprint == two.fingerprint;
    if !same_text {
        if a.is_same(key, b, key).await? {
            found.rewritten += 1;
        } else {
            content(a, b, key, found).await?;
        }
    }
    if let (Some(one), Some(two), true) = (&one.guid, &two.guid, same_text || guids == Guids::All)
        && !one.eq_ignore_ascii_case(two)
    {
        found.add("guid", at, Some(one.to_string()), Some(two.to_string()));
    }
    Ok(())
}

/// What of two schemas is not the same.
async fn content(a: &Side, b: &Side, key: &Key, found: &mut Differences) -> Result<()> {
    let at = (&*key.subject, Some(key.version));
    let (Some(one), Some(two)) = (a.schema(key).await?, b.schema(key).await?) else {
        found.add("version", at, None, None);
        return Ok(());
    };
    let before = found.count;
    if one.schema_type != two.schema_type {
        found.add("type", at, Some(one.schema_type.clone()), Some(two.schema_type.clone()));
    }
    if one.references != two.references {
        let text = |schema: &crate::client::Schema| serde_json::to_string(&schema.references).ok();
        found.add("references", at, text(&one), text(&two));
    }
    if labels(&one) != labels(&two) {
        found.add("labels", at, Some(labels(&one)), Some(labels(&two)));
    }
    if found.count == before {
        found.add("text", at, Some(one.schema), Some(two.schema));
    }
    Ok(())
}

/// Whether settings say the same.
pub(super) fn same_config(one: Option<&Settings>, two: Option<&Settings>) -> bool {
    let form = |config: &Settings| settled(&Value::Object(config.clone()));
    one.map(form) == two.map(form)
}
