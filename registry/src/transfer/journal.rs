//! Modes and settings that are borrowed: changed while something is written, and afterwards again what they were.
//!
//! What they were is stored before the first of them is changed, and the journal goes when all are put back. So a process that was
//! killed leaves both a changed registry and the journal that says what to put back; the same command again does that.

use super::error::{Error, Kind, Result};
use super::index::{Index, Place};
use super::intents::{InFile, Intents};
use crate::client::{Client, Settings};
use crate::names::{Context, Subject};
use crate::settings::Mode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What of one registry is borrowed, and where that is written down.
pub struct Journal {
    intents: Box<dyn Intents>,
    pub(super) written: Written,
    /// A digest of what is stored, as far as this run knows.
    stored: Option<blake3::Hash>,
}

/// What is stored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Written {
    /// The registry, without credentials.
    registry: String,
    /// What each place is put back to; null where it had no mode of its own.
    pub(super) modes: BTreeMap<Place, Option<Mode>>,
    /// What each place is put back to, with null for what is cleared; null where it had no settings of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) configs: BTreeMap<Place, Option<Settings>>,
    /// How the target was when a restore that has not come to its end began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    began: Option<Began>,
    /// Keys of encryption that are made to be softly deleted again: what is live of them is not the target's own.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    keys: BTreeSet<String>,
}

/// How a target was before a restore touched it first. A later look cannot tell what was there from what the restore has brought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Began {
    /// Which restore it is.
    #[serde(default)]
    pub(super) of: Task,
    /// Contexts that had no version.
    pub(super) empty: BTreeSet<String>,
    /// No context had any.
    pub(super) all_empty: bool,
    /// Subjects that had no version.
    pub(super) absent: BTreeSet<String>,
    /// Versions of the source that are to be softly deleted once they are registered.
    pub(super) deletions: BTreeSet<(String, i32)>,
    /// Subjects of the target that get versions.
    #[serde(default)]
    pub(super) written: BTreeSet<String>,
}

/// Which restore a journal belongs to. Another one must not take what this one has brought for what was there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    /// The archive.
    pub(super) archive: String,
    /// A digest of what says which versions come, and as what.
    pub(super) settings: String,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("kept", &self.intents.name()).field("written", &self.written).finish()
    }
}

impl Journal {
    /// The journal of a registry, with what an earlier run that was cut short has left in it.
    pub async fn open(intents: Box<dyn Intents>, registry: &Client) -> Result<Self> {
        let bytes = intents.load().await?;
        Self::read(intents, bytes, registry, "another place for the journal")
    }

    /// `other`: what may be given where the journal is not this one's.
    fn read(
        intents: Box<dyn Intents>,
        bytes: Option<Vec<u8>>,
        registry: &Client,
        other: &str,
    ) -> Result<Self> {
        let (name, place) = (registry.name(), intents.name());
        let Some(bytes) = bytes else {
            let written = Written { registry: name, ..Written::default() };
            return Ok(Self { intents, written, stored: None });
        };
        let stored = Some(blake3::hash(&bytes));
        let written: Written = serde_json::from_slice(&bytes).map_err(|error| {
            let text = format!("{place} is no journal of modes and settings: {error}");
            Error::new(Kind::Input, text).hint(format!("name {other}"))
        })?;
        if written.registry != name {
            let text = format!(
                "{place} holds what an earlier run has borrowed of {}, and not put back",
                written.registry
            );
            let next = format!("run the earlier command again, or name {other} for {name}");
            return Err(Error::new(Kind::Input, text).hint(next));
        }
        Ok(Self { intents, written, stored })
    }

    /// Refuses where another run has stored something since this one looked: that one is under way, and what it has borrowed must not
    /// be put back. Two that look at the same moment are not told apart; a journal that is left behind looks like one under way, too.
    pub(super) async fn require_own(&self) -> Result<()> {
        let stored = self.intents.load().await?.map(|bytes| blake3::hash(&bytes));
        if stored == self.stored {
            return Ok(());
        }
        let text = format!("{} has changed since it was read: another run is under way", self.intents.name());
        Err(Error::new(Kind::Failed, text)
            .hint("wait until that one has ended, and run this again; nothing was touched"))
    }

    /// An earlier run was cut short.
    pub fn is_left_over(&self) -> bool {
        let Written { modes, configs, began, .. } = &self.written;
        !modes.is_empty() || !configs.is_empty() || began.is_some()
    }

    /// Shows modes and settings as they are when all are put back.
    pub fn show_in(&self, index: &mut Index) {
        for (place, mode) in &self.written.modes {
            match mode {
                Some(mode) => index.modes.insert(place.clone(), *mode),
                None => index.modes.remove(place),
            };
        }
        for (place, config) in &self.written.configs {
            match config {
                Some(config) => index.configs.insert(place.clone(), without_nulls(config)),
                None => index.configs.remove(place),
            };
        }
    }

    /// Sets IMPORT, after what was there is written down.
    pub(super) async fn borrow(
        &mut self,
        client: &Client,
        places: impl IntoIterator<Item = Place>,
    ) -> Result<()> {
        let mut new = Vec::new();
        for place in places {
            self.note_mode(client, &place).await?;
            new.push(place);
        }
        if new.is_empty() {
            return Ok(());
        }
        self.store().await?;
        for place in new {
            client.set_mode(&Subject::parse(&place), Mode::Import).await?;
        }
        Ok(())
    }

    /// Notes the mode of a place, unless it is noted. Nothing is stored yet.
    pub(super) async fn note_mode(&mut self, client: &Client, place: &str) -> Result<()> {
        if !self.has(place) {
            let before = before(client, place).await?;
            self.written.modes.insert(place.to_owned(), before);
        }
        Ok(())
    }

    /// Notes what the mode of a place was, unless something is noted. Nothing is stored yet.
    pub(super) fn note_known_mode(&mut self, place: &str, before: Option<Mode>) {
        self.written.modes.entry(place.to_owned()).or_insert(before);
    }

    /// Notes what a place is set to, with null for what a run is about to set besides, unless it is noted. Nothing is stored yet.
    pub(super) fn note_config(&mut self, place: &str, before: Option<Settings>) {
        self.written.configs.entry(place.to_owned()).or_insert(before);
    }

    /// Whether settings of a place are borrowed.
    pub(super) fn has_config(&self, place: &str) -> bool {
        self.written.configs.contains_key(place)
    }

    /// How the target was when the restore began that is under way.
    pub(super) fn began(&self) -> Option<&Began> {
        self.written.began.as_ref()
    }

    /// Notes how the target is, or that the restore has come to its end. Nothing is stored yet.
    pub(super) fn begin(&mut self, began: Option<Began>) {
        self.written.began = began;
    }

    /// Whether a restore that has not come to its end has made a key to delete it again.
    pub(super) fn owes(&self, key: &str) -> bool {
        self.written.keys.contains(key)
    }

    /// Whether it has made any.
    pub(super) fn owes_any(&self) -> bool {
        !self.written.keys.is_empty()
    }

    /// Notes keys that are about to be made and deleted again. Nothing is stored yet.
    pub(super) fn owe(&mut self, keys: &BTreeSet<String>) {
        self.written.keys.extend(keys.iter().cloned());
    }

    /// All such keys are deleted.
    pub(super) async fn settle_keys(&mut self) -> Result<()> {
        match std::mem::take(&mut self.written.keys).is_empty() {
            true => Ok(()),
            false => self.keep_or_remove().await,
        }
    }

    /// Keeps what is left, if anything is.
    pub(super) async fn keep_or_remove(&mut self) -> Result<()> {
        match self.is_left_over() || self.owes_any() {
            true => self.store().await,
            false => self.remove().await,
        }
    }

    /// Whether the mode of a place is borrowed.
    pub(super) fn has(&self, place: &str) -> bool {
        self.written.modes.contains_key(place)
    }

    /// A borrowed place is put back to something else than it was.
    pub(super) async fn settle(&mut self, place: &str, mode: Option<Mode>) -> Result<()> {
        self.written.modes.insert(place.to_owned(), mode);
        self.store().await
    }

    /// Nothing is kept any more.
    async fn remove(&mut self) -> Result<()> {
        self.intents.remove().await?;
        self.stored = None;
        Ok(())
    }

    /// Where it is kept, for messages.
    pub(super) fn place(&self) -> String {
        self.intents.name()
    }

    /// Stores what is noted.
    pub(super) async fn store(&mut self) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(&self.written).map_err(|error| {
            Error::new(Kind::Failed, format!("{} cannot be written: {error}", self.intents.name()))
        })?;
        self.intents.store(&bytes).await?;
        self.stored = Some(blake3::hash(&bytes));
        Ok(())
    }
}

/// What settings say, without what they only clear.
fn without_nulls(config: &Settings) -> Settings {
    let kept = config.iter().filter(|(_, value)| !value.is_null());
    kept.map(|(name, value)| (name.clone(), Value::clone(value))).collect()
}

/// Modes of one registry that are borrowed, with a file for journal.
#[derive(Debug)]
pub struct Modes {
    path: PathBuf,
    pub(super) journal: Journal,
}

impl Modes {
    /// Modes of a registry, with what an earlier run that was cut short has left in the file.
    pub fn open(path: PathBuf, registry: &Client) -> Result<Self> {
        let intents = InFile(path.clone());
        let bytes = intents.read()?;
        Ok(Self {
            path,
            journal: Journal::read(Box::new(intents), bytes, registry, "another file with --journal")?,
        })
    }

    /// An earlier run was cut short.
    pub fn is_left_over(&self) -> bool {
        self.journal.is_left_over()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shows modes as they are when all are put back.
    pub fn show_in(&self, index: &mut Index) {
        self.journal.show_in(index);
    }

    /// Puts all modes back, and removes the file.
    pub async fn put_back(&mut self, client: &Client) -> Result<()> {
        self.journal.put_back(client).await
    }
}

/// What a place is to be put back to.
async fn before(client: &Client, place: &str) -> Result<Option<Mode>> {
    let subject = Subject::parse(place);
    let own = client.mode(&subject).await?;
    if own == Some(Mode::ReadonlyOverride) {
        let text = format!("{} is READONLY_OVERRIDE: somebody has stopped all writing", client.name());
        return Err(Error::new(Kind::Input, text).hint("lift it first (PUT /mode)"));
    }
    // The registry itself answers READWRITE also where nothing is set; then that of all contexts counts.
    if place.is_empty()
        && own == Some(Mode::Readwrite)
        && client.mode_in_scope(&subject).await? != Mode::Readwrite
    {
        return Ok(None);
    }
    // And it answers the mode of all contexts, where that is another one and nothing is set.
    if place.is_empty() && own.is_some_and(|own| own != Mode::Readwrite) {
        let of_all = match client.mode(&Subject::new(Context::global(), "")).await {
            // A registry that takes it for a subject may refuse the name.
            Err(error) if error.status().is_some_and(|status| status < 500) => None,
            of_all => of_all?,
        };
        if of_all == own {
            return Ok(None);
        }
    }
    Ok(own)
}
