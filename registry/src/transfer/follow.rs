//! Keeps one registry like another one: new versions, deletions, settings and modes, round after round.

use super::Progress;
use super::apply::{Applied, Run, write};
use super::diff::{Differences, Guids, diff};
use super::error::{Error, Kind, Result};
use super::index::{Entry, Index, Key};
use super::journal::Modes;
use super::plan::{Plan, Planned, plan};
use super::source::{Side, Source};
use super::walk::{Item, Known, Oddities, Walk};
use crate::client::Client;
use crate::names::Context;
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;

/// Looks in which every version is read again, a share at each: its number may have become another schema's.
const ROUND: u32 = 10;

/// Versions that may always go at once.
const FEW: usize = 10;

/// What becomes of deletions that take most of a registry away, or all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MassDeletion {
    /// Nothing is deleted, and following ends with an error: a source that has lost its data looks like that.
    Refused,
    /// They are followed as others are.
    Followed,
}

/// What both have when they are read whole and compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// What differs.
    #[serde(flatten)]
    pub found: Differences,
    /// Versions of subjects that the source does not have; they are no difference.
    pub extra: u64,
}

/// A registry that is followed, and the one that follows.
pub struct Follow<'a> {
    /// The one that is followed.
    pub from: Arc<Client>,
    /// The one that follows.
    pub to: Arc<Client>,
    /// The contexts; none stand for all.
    pub contexts: &'a [Context],
    /// Whether modes are brought along.
    pub with_modes: bool,
    /// What becomes of deletions that take most away.
    pub mass_deletion: MassDeletion,
    /// Counts what is read and written.
    pub progress: &'a Progress,
    /// Whether to stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    here: Side,
    there: Side,
    /// A write broke off, and what the target has must be read again.
    is_torn: bool,
    looks: u32,
    /// Not at the source any more for sure, or another schema there, and not yet so at the target.
    gone: Vec<Key>,
    /// Missing at the last look, or another schema: the next one must say the same.
    doubted: HashSet<Key>,
}

impl<'a> Follow<'a> {
    /// Reads both.
    pub async fn begin(
        from: Arc<Client>,
        to: Arc<Client>,
        contexts: &'a [Context],
        with_modes: bool,
        mass_deletion: MassDeletion,
        progress: &'a Progress,
        stop: &'a (dyn Fn() -> bool + Sync),
    ) -> Result<Self> {
        let here = Side::live(Arc::clone(&from), contexts, progress, stop).await?;
        let there = Side::live(Arc::clone(&to), contexts, progress, stop).await?;
        let (is_torn, looks, gone, doubted) = (false, 0, Vec::new(), HashSet::new());
        Ok(Self {
            from,
            to,
            contexts,
            with_modes,
            mass_deletion,
            progress,
            stop,
            here,
            there,
            is_torn,
            looks,
            gone,
            doubted,
        })
    }

    /// What is at the source, and what is wrong there.
    pub fn here(&self) -> &Side {
        &self.here
    }

    /// What is to be done. Borrowed modes count as they are when they are put back.
    pub async fn plan(&mut self, modes: &Modes) -> Result<Plan> {
        if self.is_torn {
            self.there = self.target().await?;
            self.is_torn = false;
        }
        modes.show_in(&mut self.there.index);
        plan(&self.here, &self.there, self.with_modes, &self.gone).await
    }

    /// Looks for what has changed at the source.
    pub async fn look(&mut self) -> Result<()> {
        self.looks = self.looks.wrapping_add(1);
        let (versions, doubted, turn) = (&self.here.index.versions, &self.doubted, self.looks % ROUND);
        // Whether it is deleted the version says itself, so one whose list says something new is asked for again.
        let known = |key: &Key, deleted: Option<bool>| {
            versions.get(key).is_some_and(|entry| {
                deleted.is_none_or(|deleted| deleted == entry.deleted)
                    && entry.id % ROUND != turn
                    && !doubted.contains(key)
            })
        };
        let (found, oddities) = self.read(Some(&known)).await?;
        self.here.oddities = oddities;
        self.believe(found).await
    }

    /// Something was missing at the last look, or another schema, and the next one must tell whether it is.
    pub fn waits(&self) -> bool {
        !self.doubted.is_empty()
    }

    async fn target(&self) -> Result<Side> {
        Side::live(Arc::clone(&self.to), self.contexts, self.progress, self.stop).await
    }

    async fn read(&self, known: Option<&Known<'_>>) -> Result<(Found, Oddities)> {
        let mut found = Found::default();
        let (client, contexts) = (&*self.from, self.contexts);
        let walk = Walk { client, contexts, known, progress: self.progress, stop: self.stop };
        let oddities = walk.go(&mut |item| found.take(item)).await?;
        Ok((found, oddities))
    }

    /// Takes what is new. What is missing is gone only when two looks in a row do not see it, and when the source says so of that very
    /// version: an instance that lags, or a user who sees less, must not delete anything. What is another schema must be so twice, too.
    async fn believe(&mut self, found: Found) -> Result<()> {
        let Found { fresh, present } = found;
        let known = &self.here.index.versions;
        let other = |key: &Key, is_other: fn(&Entry, &Entry) -> bool| {
            let pair = known.get(key).zip(fresh.versions.get(key));
            !present.contains(key) || pair.is_some_and(|(old, new)| is_other(old, new))
        };
        let odd = known
            .keys()
            .filter(|key| other(key, |old, new| (old.id, old.fingerprint) != (new.id, new.fingerprint)));
        let (again, first): (Vec<Key>, HashSet<Key>) = {
            let (again, first): (Vec<&Key>, Vec<&Key>) = odd.partition(|key| self.doubted.contains(*key));
            (again.into_iter().cloned().collect(), first.into_iter().cloned().collect())
        };
        // The same id in another text is only written differently.
        let lost = again.iter().filter(|key| other(key, |old, new| old.id != new.id));
        self.refuse_mass_deletion(lost.count(), present.is_empty())?;
        let mut gone = Vec::new();
        for key in again {
            if present.contains(&key) || is_gone(&self.from, &key).await? {
                gone.push(key);
            }
        }
        let left: HashSet<&Key> = gone.iter().collect();
        let here = &mut self.here.index;
        // What an instance that lags says of settings is not to be believed either.
        if first.is_empty() {
            (here.contexts, here.configs, here.modes) = (fresh.contexts, fresh.configs, fresh.modes);
        }
        here.versions.retain(|key, _| !left.contains(key));
        // What is another schema comes after what it may refer to now.
        here.versions.extend(fresh.versions.into_iter().filter(|(key, _)| !first.contains(key)));
        self.gone.extend(gone);
        self.doubted = first;
        Ok(())
    }

    fn refuse_mass_deletion(&self, lost: usize, is_empty: bool) -> Result<()> {
        let known = self.here.index.versions.len();
        if self.mass_deletion == MassDeletion::Followed || !is_mass_deletion(lost, known, is_empty) {
            return Ok(());
        }
        let text = format!(
            "{lost} of {known} versions are gone from {} at once; none of them was deleted from {}",
            self.from.name(),
            self.to.name()
        );
        Err(Error::new(Kind::Input, text).hint(
            "look whether the source has lost its topic or hides subjects from this user; where such deletions are meant, follow \
             with --follow-mass-deletion, and delete from the target what `replevin registry diff` names",
        ))
    }

    /// Carries out a plan; modes stay borrowed.
    pub async fn write(&mut self, plan: &Plan, modes: &mut Modes) -> Result<Applied> {
        if let Some(conflict) = plan.conflicts.first() {
            let text = format!(
                "{} of the target is in the way: {} version {}: {}",
                plan.conflicts.len(),
                conflict.subject,
                conflict.version,
                conflict.why
            );
            return Err(Error::new(Kind::Input, text).hint(conflict.next_step.clone()));
        }
        let run = Run { from: &self.here, to: &self.to, progress: self.progress, stop: self.stop };
        let applied =
            write(plan, &run, &self.there.index, modes).await.inspect_err(|_| self.is_torn = true)?;
        for planned in &plan.versions {
            match (planned, self.here.index.versions.get(planned.key())) {
                (Planned::Remove(key), _) => {
                    self.there.index.versions.shift_remove(key);
                }
                (Planned::Register(key) | Planned::Delete(key), Some(entry)) => {
                    self.there.index.versions.insert(key.clone(), entry.clone());
                }
                _ => {}
            }
        }
        let here = &self.here.index;
        for place in plan.configs.keys() {
            match here.configs.get(place) {
                Some(config) => self.there.index.configs.insert(place.clone(), config.clone()),
                None => self.there.index.configs.remove(place),
            };
        }
        for (place, mode) in &plan.modes {
            match mode {
                Some(mode) => self.there.index.modes.insert(place.clone(), *mode),
                None => self.there.index.modes.remove(place),
            };
        }
        self.gone.clear();
        Ok(applied)
    }

    /// Reads both again, whole, and compares them. A subject that only the target has is no difference; a version of one that the
    /// source has is, for `latest` may be another one then.
    pub async fn prove(&mut self, modes: &Modes) -> Result<Proof> {
        let (Found { fresh, present }, oddities) = self.read(None).await?;
        let here = Side { source: Source::Live(Arc::clone(&self.from)), index: fresh, oddities };
        (self.there, self.is_torn) = (self.target().await?, false);
        modes.show_in(&mut self.there.index);
        let mut there = self.there.clone();
        let subjects = here.index.subjects();
        there.index.versions.retain(|key, _| subjects.contains(&*key.subject));
        let extra = (self.there.index.versions.len() - there.index.versions.len()) as u64;
        there.index.configs.retain(|place, _| here.index.configs.contains_key(place));
        if self.with_modes {
            there.index.modes.retain(|place, _| here.index.modes.contains_key(place));
        } else {
            there.index.modes = here.index.modes.clone();
        }
        let found = diff(&here, &there, Guids::All).await?;
        self.here.oddities = here.oddities;
        self.believe(Found { fresh: here.index, present }).await?;
        Ok(Proof { found, extra })
    }
}

/// Whether so many deletions are most of a registry, or all of one that is empty now: what has lost its data looks like that.
pub(crate) fn is_mass_deletion(lost: usize, known: usize, is_empty: bool) -> bool {
    lost > 0 && (is_empty || (lost > FEW && lost > known / 2))
}

/// Whether the source itself says that it has no such version; a 404 of anybody else is not enough.
pub(crate) async fn is_gone(from: &Client, key: &Key) -> Result<bool> {
    match from.version(&key.subject(), key.version).await {
        Ok(_) => {
            tracing::warn!("{key} is not listed by {} any more, and still there; it stays", from.name());
            Ok(false)
        }
        Err(error) if error.is_absent() => {
            Ok(error.status().is_none() || matches!(error.code(), Some(40401 | 40402)))
        }
        Err(error) => Err(error.into()),
    }
}

/// What a look finds.
#[derive(Default)]
struct Found {
    /// What is new, and settings and modes as they are.
    fresh: Index,
    /// All versions that are there.
    present: HashSet<Key>,
}

impl Found {
    fn take(&mut self, item: Item) -> Result<()> {
        if let Item::Listed(subject, numbers) = &item {
            let subject: Arc<str> = subject.to_string().into();
            let key = |(version, _): &(i32, bool)| Key { subject: Arc::clone(&subject), version: *version };
            self.present.extend(numbers.iter().map(key));
        }
        self.fresh.take(item)
    }
}
