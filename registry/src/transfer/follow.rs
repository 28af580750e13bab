//! Keeps one registry like another one: new versions, deletions, settings and modes, round after round.

use super::Progress;
use super::apply::{Applied, Run, write};
use super::diff::{Differences, diff};
use super::error::{Error, Kind, Result};
use super::index::{Index, Key};
use super::journal::Modes;
use super::plan::{Plan, Planned, plan};
use super::source::{Side, Source};
use super::walk::{Item, Walk};
use crate::client::Client;
use crate::names::Context;
use std::collections::HashMap;
use std::sync::Arc;

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
    /// Counts what is read and written.
    pub progress: &'a Progress,
    /// Whether to stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    here: Side,
    there: Side,
    gone: Vec<Key>,
}

impl<'a> Follow<'a> {
    /// Reads both.
    pub async fn begin(
        from: Arc<Client>,
        to: Arc<Client>,
        contexts: &'a [Context],
        with_modes: bool,
        progress: &'a Progress,
        stop: &'a (dyn Fn() -> bool + Sync),
    ) -> Result<Self> {
        let here = Side::live(Arc::clone(&from), contexts, progress, stop).await?;
        let there = Side::live(Arc::clone(&to), contexts, progress, stop).await?;
        Ok(Self { from, to, contexts, with_modes, progress, stop, here, there, gone: Vec::new() })
    }

    /// What is at the source, and what is wrong there.
    pub fn here(&self) -> &Side {
        &self.here
    }

    /// What is to be done. Borrowed modes count as they are when they are put back.
    pub async fn plan(&mut self, modes: &Modes) -> Result<Plan> {
        modes.show_in(&mut self.there.index);
        plan(&self.here, &self.there, self.with_modes, &self.gone).await
    }

    /// Looks for what has changed at the source.
    pub async fn look(&mut self) -> Result<()> {
        let mut index = Index::default();
        std::mem::swap(&mut index, &mut self.here.index);
        let mut found = Found::default();
        let walk = Walk {
            client: &self.from,
            contexts: self.contexts,
            known: Some(&index),
            progress: self.progress,
            stop: self.stop,
        };
        let walked = walk.go(&mut |item| found.take(item)).await;
        // What was known stays known, whatever became of the look.
        self.here.index = index;
        self.here.oddities = walked?;
        let Found { fresh, present } = found;
        let here = &mut self.here.index;
        (here.contexts, here.configs, here.modes) = (fresh.contexts, fresh.configs, fresh.modes);
        self.gone.retain(|key| !present.contains_key(key));
        self.gone.extend(here.versions.keys().filter(|key| !present.contains_key(*key)).cloned());
        here.versions.retain(|key, _| present.contains_key(key));
        for (key, entry) in &mut here.versions {
            entry.deleted = present.get(key).copied().unwrap_or(entry.deleted);
        }
        for (key, entry) in fresh.versions {
            here.versions.insert(key, entry);
        }
        Ok(())
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
        let applied = write(plan, &run, &self.there.index, modes).await?;
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

    /// Reads both again, whole, and compares them. What only the target has is no difference.
    pub async fn prove(&mut self, modes: &Modes) -> Result<Differences> {
        self.here = Side::live(Arc::clone(&self.from), self.contexts, self.progress, self.stop).await?;
        self.there = Side::live(Arc::clone(&self.to), self.contexts, self.progress, self.stop).await?;
        modes.show_in(&mut self.there.index);
        let here = &self.here.index;
        let mut there = Side { source: Source::Live(Arc::clone(&self.to)), ..self.there.clone() };
        there.index.versions.retain(|key, _| here.versions.contains_key(key));
        there.index.configs.retain(|place, _| here.configs.contains_key(place));
        if self.with_modes {
            there.index.modes.retain(|place, _| here.modes.contains_key(place));
        } else {
            there.index.modes = here.modes.clone();
        }
        diff(&self.here, &there).await
    }
}

/// What a look finds.
#[derive(Default)]
struct Found {
    /// What is new, and settings and modes as they are.
    fresh: Index,
    /// All versions that are there, and whether they are softly deleted.
    present: HashMap<Key, bool>,
}

impl Found {
    fn take(&mut self, item: Item) -> Result<()> {
        if let Item::Listed(subject, numbers) = &item {
            let subject: Arc<str> = subject.to_string().into();
            let key = |version| Key { subject: Arc::clone(&subject), version };
            self.present.extend(numbers.iter().map(|(version, deleted)| (key(*version), *deleted)));
        }
        self.fresh.take(item)
    }
}
