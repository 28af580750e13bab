//! Schemas out of an archive into a registry that may hold anything, with a map of ids as the result.
//!
//! ```text
//! archive (Side) --select--> wanted --decide--> what becomes of each      plan: touches nothing, says what is in the way
//! target  (walk) -------------------------^         |
//!                                   places (modes, levels, settings)   fit (compatibility)
//!                                                   |
//!                                                  run (journal, versions, all put back)  ->  IdMap
//! ```
//! It promises that a run which died is run again with the same settings and comes to the same end; that no record's id is mapped to
//! a schema that is not the same; that what is in the way is named before anything is touched. It does not promise that a target
//! which others write to meanwhile is as it was planned: then it fails, and is run again.

mod decide;
mod fit;
mod ids;
mod places;
mod plan;
mod run;
mod same;
mod select;
mod settings;
#[cfg(test)]
mod tests;

pub use ids::{ContextId, Given, IdMap};
pub use plan::{Action, ForTheTime, Obstacle, Plan, Version, What};
pub use settings::{Choice, Globals, Ids, Patterns, Registration, Settings, Strategy, Versions};

use super::Progress;
use super::error::Result;
use super::journal::{Began, Journal};
use super::source::Side;
use crate::client::Client;
use crate::names::Subject;
use crate::settings::Mode;
use futures::StreamExt;
use ids::ContextId as Id;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A restore of schemas.
pub struct Restore<'a> {
    /// The archive.
    pub from: &'a Side,
    /// The target.
    pub to: Arc<Client>,
    /// What it is told.
    pub settings: &'a Settings,
    /// Counts what is read and written.
    pub progress: &'a Progress,
    /// Whether to stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// What a restore has come to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What of the archive is what in the target.
    pub map: IdMap,
    /// Versions registered.
    pub registered: u64,
    /// Versions softly deleted.
    pub deleted: u64,
    /// Versions of the target deleted for good.
    pub removed: u64,
    /// Settings set or removed.
    pub configs: u64,
    /// Modes set, those for the time not counted.
    pub modes: u64,
    /// How many versions there were of each action.
    pub counts: BTreeMap<Action, u64>,
}

impl Restore<'_> {
    /// Reads the target, and plans. The journal tells what an earlier run has left, and is not touched.
    pub async fn plan(&self, journal: &Journal) -> Result<Plan> {
        let settings = self.settings.settled();
        let mut there = Side::live(Arc::clone(&self.to), &[], self.progress, self.stop).await?;
        self.look_at_absent(&settings, &mut there).await?;
        journal.show_in(&mut there.index);
        let decide = decide::Decide::new(self.from, &there, &settings, journal.began());
        let decide::Decided {
            mut versions,
            removals,
            mut obstacles,
            mut warnings,
            left_out,
            left_out_versions,
        } = decide.decide().await?;
        let began = began(journal.began(), &there, &versions);
        let look = places::Look {
            from: self.from,
            to: &there,
            client: &self.to,
            settings: &settings,
            journal,
            began: &began,
        };
        let places = look.places(&versions, &removals, &mut obstacles).await?;
        let names = &settings.subject_mapping;
        let fit = fit::Fit { from: self.from, to: &there, client: &self.to, names, stop: self.stop };
        fit.check(&mut versions, &removals, &places.rules, (&mut obstacles, &mut warnings)).await?;
        moved(&versions, &mut obstacles);
        if let Ids::Given(given) = &settings.ids {
            unknown(given, self.from, &mut warnings);
        }
        let mut counts: BTreeMap<Action, u64> = BTreeMap::new();
        for version in &versions {
            *counts.entry(version.action).or_default() += 1;
        }
        let mapped: BTreeSet<Id> =
            ids_of(versions.iter().filter(|version| version.action.is_there_in_the_end()));
        let mut unmapped: BTreeSet<Id> = ids_of(versions.iter());
        unmapped.extend(left_out.iter().cloned());
        let no_id: BTreeSet<Id> = left_out.into_iter().filter(|id| !mapped.contains(id)).collect();
        let before = places.before;
        Ok(Plan {
            source: self.from.name(),
            target: self.to.name(),
            strategy: settings.strategy,
            removed: removals.iter().map(ToString::to_string).collect(),
            configs: places.configs,
            modes: places.modes,
            for_the_time: places.for_the_time,
            obstacles: obstacles.named,
            obstacle_count: obstacles.count,
            warnings,
            counts,
            left_out: left_out_versions,
            unmapped: unmapped.difference(&mapped).map(ToString::to_string).collect(),
            removals,
            began,
            there: Arc::new(there),
            before,
            no_id,
            names: settings.subject_mapping,
            versions,
        })
    }

    /// Settings and modes of subjects that are to come: some have them before they have a version, and then no list names them.
    async fn look_at_absent(&self, settings: &Settings, there: &mut Side) -> Result<()> {
        let versions = &self.from.index.versions;
        let wanted = select::wanted(&self.from.index, settings);
        let names = wanted
            .keys()
            .filter_map(|place| versions.get_index(*place))
            .map(|(key, _)| settings.renamed(&key.subject).unwrap_or(&key.subject));
        let present = there.index.subjects();
        let absent: BTreeSet<String> =
            names.filter(|name| !present.contains(name)).map(str::to_owned).collect();
        let asked = absent.into_iter().map(|name| async move {
            let subject = Subject::parse(&name);
            let (config, mode) = futures::try_join!(self.to.config(&subject), self.to.mode(&subject))?;
            Ok::<_, super::Error>((name, config, mode.filter(|mode| *mode != Mode::ReadonlyOverride)))
        });
        // Each asks two things at once.
        let at_once = (self.to.in_flight() / 2).max(1);
        let mut answers = futures::stream::iter(asked).buffer_unordered(at_once);
        while let Some(answer) = answers.next().await {
            if (self.stop)() {
                return Err(super::Error::new(super::Kind::Interrupted, "planning was interrupted"));
            }
            let (name, config, mode) = answer?;
            if let Some(config) = config {
                there.index.configs.insert(name.clone(), config);
            }
            if let Some(mode) = mode {
                there.index.modes.insert(name, mode);
            }
        }
        Ok(())
    }

    /// Carries a plan out. Whatever becomes of it, what was changed for the time is put back; a run that died leaves that to the next
    /// one with the same journal.
    pub async fn run(&self, plan: &Plan, journal: &mut Journal) -> Result<Outcome> {
        run::run(self, plan, journal).await
    }
}

fn ids_of<'a>(versions: impl Iterator<Item = &'a Version>) -> BTreeSet<Id> {
    versions.map(|version| Id::of(&version.key(), version.id)).collect()
}

/// How the target was before anything of this restore came: as an earlier run has noted, or as it is now.
fn began(noted: Option<&Began>, there: &Side, versions: &[Version]) -> Began {
    let mut began = noted.cloned().unwrap_or_else(|| {
        let subjects = there.index.subjects();
        let wanted = versions.iter().map(|version| &*version.target_subject);
        let filled: BTreeSet<String> =
            subjects.iter().map(|subject| Subject::parse(subject).context.to_string()).collect();
        let contexts = wanted.clone().map(|subject| Subject::parse(subject).context.to_string());
        Began {
            empty: contexts.filter(|context| !filled.contains(context)).collect(),
            all_empty: subjects.is_empty(),
            absent: wanted.filter(|subject| !subjects.contains(subject)).map(str::to_owned).collect(),
            deletions: BTreeSet::new(),
        }
    });
    let deleted = versions.iter().filter(|version| version.action.is_written() && version.deleted);
    began.deletions.extend(deleted.map(|version| (version.subject.to_string(), version.version)));
    began
}

/// An id must mean one thing for all records of its context, so all that have it go to one context.
fn moved(versions: &[Version], obstacles: &mut decide::Obstacles) {
    let mut contexts: BTreeMap<Id, (&Version, crate::names::Context)> = BTreeMap::new();
    for version in versions {
        let context = Subject::parse(&version.target_subject).context;
        let id = Id::of(&version.key(), version.id);
        let (first, known) = contexts.entry(id).or_insert_with(|| (version, context.clone()));
        if *known != context {
            let why = format!(
                "its id {} is that of {} version {} too, and they go to two contexts, {context} and {known}",
                version.id, first.subject, first.version
            );
            let next = "map both subjects to one context in subject_mapping";
            obstacles.add(What::Conflict, (&version.subject, Some(version.version)), why, next);
        }
    }
}

/// Ids of a mapping that the archive does not have.
fn unknown(given: &Given, from: &Side, warnings: &mut Vec<String>) {
    let known: BTreeSet<Id> = from.index.versions.iter().map(|(key, entry)| Id::of(key, entry.id)).collect();
    let unknown: Vec<String> =
        given.iter().filter(|(id, _)| !known.contains(id)).map(|(id, _)| id.to_string()).collect();
    if let Some(first) = unknown.first() {
        warnings.push(format!(
            "the mapping of ids names {} that the archive does not have, as {first}",
            if unknown.len() == 1 { "an id".to_owned() } else { format!("{} ids", unknown.len()) }
        ));
    }
}
