//! Keys of encryption out of an archive into a registry: what becomes of each, and what is in the way.
//!
//! ```text
//! KEKs and DEKs of the archive --what the target has of each--> plan (touches nothing)
//!    put: KEKs -> their DEKs -> softly deleted again, DEKs before their KEK          and then the schemas
//! ```
//! They come before the schemas: rules name KEKs, and a registry that is closed by the archive's modes takes no keys any more. A key that
//! the target has stays that key, whatever the strategy for schemas: another key under its name is in the way, because what either
//! has encrypted could not be told apart. Only what a KEK has besides (how its KMS is asked, what people are told) is overwritten. Keys
//! themselves are never seen: a DEK is moved as it is wrapped. What stays in the archive though it is asked for is named by every run:
//! what it encrypts cannot be read with the target.

#[cfg(any(test, feature = "suite"))]
pub mod double;
mod put;
#[cfg(test)]
mod tests;

pub use put::KeysPut;

use super::settings::{Choice, Settings, Strategy};
use crate::client::{Client, Dek, Kek};
use crate::names::Subject;
use crate::transfer::error::{Error, Kind, Result};
use crate::transfer::journal::Journal;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Things that are named one by one; more are only counted.
const NAMED: usize = 1000;

/// The keys of an archive.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Those that wrap others.
    pub keks: Vec<Kek>,
    /// Those that encrypt data.
    pub deks: Vec<Dek>,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyAction {
    /// It is made.
    Create,
    /// It is there, softly deleted, and comes back.
    Revive,
    /// It is there, and gets the properties that it has in the archive.
    Update,
    /// It is there, and is softly deleted.
    Delete,
    /// It is there.
    Exists,
    /// Another key has its name.
    Conflict,
    /// It stays in the archive.
    Stays,
}

impl KeyAction {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "made",
            Self::Revive => "brought back",
            Self::Update => "updated",
            Self::Delete => "softly deleted",
            Self::Exists => "there",
            Self::Conflict => "in the way",
            Self::Stays => "left in the backup",
        }
    }

    fn is_written(self) -> bool {
        matches!(self, Self::Create | Self::Revive)
    }
}

/// A key that cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyObstacle {
    /// Which key.
    pub key: String,
    /// What is in the way.
    pub why: String,
    /// What to do about it.
    pub next_step: String,
}

/// How many keys there are of each action.
pub type KeyCounts = BTreeMap<KeyAction, u64>;

/// What a restore would do with keys.
#[derive(Debug, Clone, Default, Serialize)]
pub struct KeyPlan {
    /// KEKs by what becomes of them.
    pub keks: KeyCounts,
    /// DEKs by what becomes of them.
    pub deks: KeyCounts,
    /// What is in the way, the first thousand. Nothing is written as long as there is anything.
    pub obstacles: Vec<KeyObstacle>,
    /// How much is in the way.
    pub obstacle_count: u64,
    /// What whoever decides should know.
    pub warnings: Vec<String>,
    /// Keys that are asked for and stay in the archive, with the reasons.
    pub not_taken: Vec<String>,
    #[serde(skip)]
    steps: Vec<Step>,
    /// Keys that are made to be softly deleted again.
    #[serde(skip)]
    owed: BTreeSet<String>,
}

/// Something that is done to a key.
#[derive(Debug, Clone)]
enum Step {
    MakeKek(Kek),
    ReviveKek(Kek),
    UpdateKek(Kek),
    MakeDek(Dek),
    ReviveDek(Dek),
    DeleteDek(Dek),
    /// With the subjects of its DEKs.
    DeleteKek(Kek, BTreeSet<String>),
}

/// What a KEK is called in messages, and in the journal.
fn kek_name(kek: &str) -> String {
    format!("KEK {kek}")
}

/// What a DEK is called in messages, and in the journal.
fn dek_name(dek: &Dek) -> String {
    let Dek { kek_name, subject, version, algorithm, .. } = dek;
    format!("DEK {subject} version {version} ({algorithm}) of KEK {kek_name}")
}

fn is_deleted(deleted: Option<bool>) -> bool {
    deleted == Some(true)
}

impl Settings {
    /// Keys in this state are asked for.
    fn takes(&self, deleted: Option<bool>) -> bool {
        self.deleted == Choice::Restored || !is_deleted(deleted)
    }

    fn takes_dek(&self, dek: &Dek) -> bool {
        self.takes(dek.deleted) && self.subjects.matches(&Subject::parse(&dek.subject).to_string())
    }
}

/// A key that is the same, and whether both are softly deleted.
struct Pair {
    wanted: bool,
    there: bool,
    /// An earlier run has made it to delete it again.
    is_owed: bool,
}

impl Pair {
    /// What becomes of it; a note where it stays live though the archive's is deleted.
    fn action(&self, name: &str) -> (KeyAction, Option<String>) {
        match (self.wanted, self.there) {
            (false, true) => (KeyAction::Revive, None),
            (true, false) if self.is_owed => (KeyAction::Delete, None),
            (true, false) => {
                let note = format!("{name} is deleted in the archive and not in the target, where it stays");
                (KeyAction::Exists, Some(note))
            }
            _ => (KeyAction::Exists, None),
        }
    }
}

/// Names of what makes two KEKs two keys. Values are not named: there may be credentials among them.
fn other_key(one: &Kek, other: &Kek) -> Vec<&'static str> {
    named([("kmsType", one.kms_type != other.kms_type), ("kmsKeyId", one.kms_key_id != other.kms_key_id)])
}

/// Names of what else two KEKs differ in, and what a registry lets be changed.
fn other_props(one: &Kek, other: &Kek) -> Vec<&'static str> {
    let props = |kek: &Kek| kek.kms_props.clone().unwrap_or_default();
    let doc = |kek: &Kek| kek.doc.clone().unwrap_or_default();
    named([
        ("kmsProps", props(one) != props(other)),
        ("doc", doc(one) != doc(other)),
        ("shared", one.shared != other.shared),
    ])
}

fn named<const N: usize>(all: [(&'static str, bool); N]) -> Vec<&'static str> {
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// What becomes of one KEK with its DEKs.
struct Family {
    kek: Kek,
    /// What the target has under its name.
    there: Option<Kek>,
    /// That one gets the properties of this one.
    is_updated: bool,
    deks: Vec<(Dek, KeyAction)>,
}

impl KeyPlan {
    /// Asks the target for everything that the archive has, and touches nothing.
    pub async fn of(
        keys: &Keys,
        to: &Client,
        settings: &Settings,
        journal: &Journal,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Self> {
        let mut plan = Self::default();
        if keys.keks.is_empty() && keys.deks.is_empty() {
            return Ok(plan);
        }
        let settings = settings.settled();
        if !to.has_keys().await? {
            plan.none_taken(keys, &settings, &to.name());
            return Ok(plan);
        }
        let mut families = plan.keks(keys, to, &settings, stop).await?;
        let wanted = plan.wanted(keys, &settings, &families);
        plan.deks(wanted, to, journal, &mut families, stop).await?;
        for family in families.into_values() {
            plan.family(family, journal);
        }
        // A KEK that is made anew is there before anything that it wraps, and one that goes is so after it.
        plan.steps.sort_by_key(|step| match step {
            Step::MakeKek(_) | Step::ReviveKek(_) | Step::UpdateKek(_) => 0,
            Step::MakeDek(_) | Step::ReviveDek(_) => 1,
            Step::DeleteDek(_) => 2,
            Step::DeleteKek(..) => 3,
        });
        Ok(plan)
    }

    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The plan in lines for people; what is in the way and what is to be known is told apart.
    pub fn lines(&self) -> Vec<String> {
        let told = |what: &str, counts: &KeyCounts| {
            let counts: Vec<_> =
                counts.iter().map(|(action, count)| format!("{count} {}", action.word())).collect();
            (!counts.is_empty()).then(|| format!("  {what:<18} {}", counts.join(", ")))
        };
        [told("keys, KEKs", &self.keks), told("keys, DEKs", &self.deks)].into_iter().flatten().collect()
    }

    fn obstacle(&mut self, key: String, why: String, next_step: &str) {
        self.obstacle_count += 1;
        if self.obstacles.len() < NAMED {
            self.obstacles.push(KeyObstacle { key, why, next_step: next_step.to_owned() });
        }
    }

    fn warn(&mut self, warning: String) {
        if self.warnings.len() < NAMED {
            self.warnings.push(warning);
        }
    }

    /// All stay where they are: the target keeps none.
    fn none_taken(&mut self, keys: &Keys, settings: &Settings, to: &str) {
        for (counts, number) in [(&mut self.keks, keys.keks.len()), (&mut self.deks, keys.deks.len())] {
            counts.insert(KeyAction::Stays, number as u64);
        }
        let keks = keys.keks.iter().filter(|kek| settings.takes(kek.deleted)).map(|kek| kek_name(&kek.name));
        let keks: Vec<String> = keks.collect();
        let deks: Vec<String> =
            keys.deks.iter().filter(|dek| settings.takes_dek(dek)).map(dek_name).collect();
        let why = format!("{to} keeps no keys of encryption (it serves no /dek-registry/v1)");
        if !keks.is_empty() || !deks.is_empty() {
            self.warnings.push(format!(
                "{why}: {} KEKs and {} DEKs stay in the backup, and what they encrypt cannot be read with it",
                keks.len(),
                deks.len()
            ));
        }
        self.not_taken.extend(keks.into_iter().chain(deks).map(|name| format!("{name}: {why}")));
    }

    /// The KEKs that are wanted, with what the target has of them. Those that differ are not among them.
    async fn keks(
        &mut self,
        keys: &Keys,
        to: &Client,
        settings: &Settings,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<BTreeMap<String, Family>> {
        let mut families = BTreeMap::new();
        let (wanted, left): (Vec<&Kek>, Vec<&Kek>) =
            keys.keks.iter().partition(|kek| settings.takes(kek.deleted));
        if !left.is_empty() {
            self.keks.insert(KeyAction::Stays, left.len() as u64);
        }
        let asked = stream::iter(wanted.into_iter().cloned())
            .map(|kek| async move { to.kek(&kek.name).await.map(|there| (kek, there)) });
        let mut asked = std::pin::pin!(asked.buffered(to.in_flight()));
        while let Some((kek, there)) = asked.try_next().await? {
            check(stop)?;
            let differs = there.as_ref().map(|there| other_key(&kek, there)).unwrap_or_default();
            if !differs.is_empty() {
                *self.keks.entry(KeyAction::Conflict).or_default() += 1;
                let why = format!("the target has another one of that name: {} differ", differs.join(", "));
                let next = "delete the target's for good if nothing is encrypted with it, or restore into another registry";
                self.obstacle(kek_name(&kek.name), why, next);
                continue;
            }
            let differs = there.as_ref().map(|there| other_props(&kek, there)).unwrap_or_default();
            let is_updated = !differs.is_empty() && settings.strategy == Strategy::Overwrite;
            if !differs.is_empty() && !is_updated {
                self.warn(format!(
                    "{}: {} differ from those of the target, which stay; strategy overwrite updates them",
                    kek_name(&kek.name),
                    differs.join(", ")
                ));
            }
            families.insert(kek.name.clone(), Family { there, is_updated, deks: Vec::new(), kek });
        }
        Ok(families)
    }

    /// The DEKs that are wanted and can be restored, under the names that their subjects get.
    fn wanted(&mut self, keys: &Keys, settings: &Settings, families: &BTreeMap<String, Family>) -> Vec<Dek> {
        let (mut wanted, mut bare, mut orphans) = (Vec::new(), Vec::new(), Vec::new());
        let (mut names, mut left_out) = (BTreeSet::new(), 0);
        for dek in &keys.deks {
            let subject = Subject::parse(&dek.subject).to_string();
            if !settings.takes_dek(dek) {
                left_out += 1;
            } else if !families.contains_key(&dek.kek_name) {
                orphans.push(dek_name(dek));
            } else if dek.encrypted_key_material.is_none() {
                bare.push(dek_name(dek));
            } else {
                let subject = settings.renamed(&subject).unwrap_or(&subject).to_owned();
                let dek = Dek { subject, ..dek.clone() };
                if !names.insert(dek_name(&dek)) {
                    let next = "give each subject a name of its own in subject_mapping";
                    self.obstacle(dek_name(&dek), "two keys of the archive become it".to_owned(), next);
                }
                wanted.push(dek);
            }
        }
        let staying = [
            (orphans, "the KEK is not restored"),
            // From nothing a registry would make a key of its own, which reads nothing.
            (bare, "the backup does not have the wrapped key"),
        ];
        for (names, why) in staying {
            left_out += names.len() as u64;
            if let Some(first) = names.first() {
                self.warn(format!("{} DEKs, as {first}, stay in the backup: {why}", names.len()));
            }
            self.not_taken.extend(names.iter().map(|name| format!("{name}: {why}")));
        }
        if left_out > 0 {
            self.deks.insert(KeyAction::Stays, left_out);
        }
        // Of a subject by rising number, as they were made.
        let place =
            |dek: &Dek| (dek.kek_name.clone(), dek.subject.clone(), dek.algorithm.clone(), dek.version);
        wanted.sort_by_cached_key(place);
        wanted
    }

    /// What becomes of each DEK.
    async fn deks(
        &mut self,
        wanted: Vec<Dek>,
        to: &Client,
        journal: &Journal,
        families: &mut BTreeMap<String, Family>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        let asked = stream::iter(wanted).map(|dek| async move {
            let there = to.dek(&dek.kek_name, (&dek.subject, dek.version, &dek.algorithm)).await;
            there.map(|there| (dek, there))
        });
        let mut asked = std::pin::pin!(asked.buffered(to.in_flight()));
        while let Some((dek, there)) = asked.try_next().await? {
            check(stop)?;
            let name = dek_name(&dek);
            let (action, note) = match there {
                None => (KeyAction::Create, None),
                Some(there) if there.encrypted_key_material != dek.encrypted_key_material => {
                    let why = "the target has another key under that name".to_owned();
                    let next =
                        "restore its subject under another name (subject_mapping), or into another registry";
                    self.obstacle(name, why, next);
                    (KeyAction::Conflict, None)
                }
                Some(there) => Pair {
                    wanted: is_deleted(dek.deleted),
                    there: is_deleted(there.deleted),
                    is_owed: journal.owes(&name),
                }
                .action(&name),
            };
            note.into_iter().for_each(|note| self.warn(note));
            *self.deks.entry(action).or_default() += 1;
            if let Some(family) = families.get_mut(&dek.kek_name) {
                family.deks.push((dek, action));
            }
        }
        Ok(())
    }

    /// The steps of a KEK and its DEKs.
    fn family(&mut self, Family { kek, there, is_updated, deks }: Family, journal: &Journal) {
        let name = kek_name(&kek.name);
        let (wanted, is_used) = (is_deleted(kek.deleted), deks.iter().any(|(_, action)| action.is_written()));
        let is_there_deleted = there.as_ref().is_some_and(|there| is_deleted(there.deleted));
        let (action, note) = match &there {
            None => (KeyAction::Create, None),
            Some(_) => Pair { wanted, there: is_there_deleted, is_owed: journal.owes(&name) }.action(&name),
        };
        note.into_iter().for_each(|note| self.warn(note));
        let counted = if is_updated { KeyAction::Update } else { action };
        *self.keks.entry(counted).or_default() += 1;
        // A deleted KEK takes neither DEKs nor properties: where some are to come it comes back for the time.
        let is_back_for_the_time = action == KeyAction::Exists && is_there_deleted && (is_used || is_updated);
        match action {
            KeyAction::Create => self.steps.push(Step::MakeKek(kek.clone())),
            _ if action == KeyAction::Revive || is_back_for_the_time => {
                self.steps.push(Step::ReviveKek(kek.clone()));
            }
            _ => {}
        }
        if is_updated {
            self.steps.push(Step::UpdateKek(kek.clone()));
        }
        let subjects = deks.iter().map(|(dek, _)| dek.subject.clone()).collect();
        for (dek, action) in deks {
            let goes_again = is_deleted(dek.deleted) && action == KeyAction::Create;
            if goes_again {
                self.owed.insert(dek_name(&dek));
            }
            if goes_again || action == KeyAction::Delete {
                self.steps.push(Step::DeleteDek(dek.clone()));
            }
            match action {
                KeyAction::Create => self.steps.push(Step::MakeDek(dek)),
                KeyAction::Revive => self.steps.push(Step::ReviveDek(dek)),
                _ => {}
            }
        }
        if wanted && (action == KeyAction::Create || is_back_for_the_time) {
            self.owed.insert(name);
        } else if action != KeyAction::Delete {
            return;
        }
        self.steps.push(Step::DeleteKek(kek, subjects));
    }
}

fn check(stop: &(dyn Fn() -> bool + Sync)) -> Result<()> {
    match stop() {
        true => Err(Error::new(Kind::Interrupted, "planning was interrupted")),
        false => Ok(()),
    }
}
