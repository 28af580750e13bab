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
//! a schema that is not the same; that what is in the way is named before anything is touched. The journal of a run that died is that
//! of its archive, its registry and what it was told of versions: another restore puts back what is borrowed, and refuses to go on. It does not promise that a target
//! which others write to meanwhile is as it was planned: then it fails, and is run again.

mod decide;
mod fit;
mod ids;
pub mod keys;
mod places;
mod plan;
mod room;
mod run;
mod same;
mod select;
mod settings;
mod strict;
#[cfg(test)]
mod tests;

pub use ids::{ContextId, Given, IdMap};
pub use plan::{Action, ForTheTime, Obstacle, Plan, Version, What};
pub use settings::{Choice, Globals, Ids, Patterns, Registration, Settings, Strategy, Versions};

use super::Progress;
use super::error::Result;
use super::journal::{Began, Journal, Task};
use super::source::Side;
use crate::client::Client;
use crate::names::Subject;
use crate::settings::{Level, Mode};
use futures::{FutureExt, StreamExt};
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
    /// What the target has not kept, or cannot tell apart.
    pub warnings: Vec<String>,
    /// Versions that the target did not take, because they are no schemas to it, and those that refer to them; with what it said.
    pub not_taken: Vec<String>,
}

impl Restore<'_> {
    /// Reads the target, and plans. The journal tells what an earlier run has left, and is not touched.
    pub async fn plan(&self, journal: &Journal) -> Result<Plan> {
        let settings = self.settings.settled();
        // Parts of it are boxed, because else the compiler does not see that the whole may go to another thread.
        let mut there = Side::live(Arc::clone(&self.to), &[], self.progress, self.stop).await?;
        self.look_at_absent(&settings, &mut there).boxed().await?;
        journal.show_in(&mut there.index);
        let task = Task { archive: self.from.name(), settings: settings.digest() };
        let own = journal.began().filter(|began| began.of == task);
        let decide = decide::Decide::new(self.from, &there, &settings, own, (self.to.in_flight(), self.stop));
        let decide::Decided {
            mut versions,
            removals,
            mut obstacles,
            mut warnings,
            left_out,
            left_out_guids,
            left_out_versions,
        } = decide.decide().boxed().await?;
        if let Some(other) = journal.began().filter(|began| began.of != task) {
            warnings.push(unfinished(&other.of, &task, journal));
        }
        let began = began(own, task, &there, &versions);
        let look = places::Look {
            from: self.from,
            to: &there,
            client: &self.to,
            settings: &settings,
            journal,
            began: &began,
        };
        let places = look.places(&versions, &removals, &mut obstacles).boxed().await?;
        let names = &settings.subject_mapping;
        let fit = fit::Fit { from: self.from, to: &there, client: &self.to, names, stop: self.stop };
        fit.check(&mut versions, &removals, &places.rules, (&mut obstacles, &mut warnings)).boxed().await?;
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
        let compared = places.rules.iter().filter(|(_, rule)| rule.level != Level::None);
        let compared = compared.map(|(subject, _)| Arc::clone(subject)).collect();
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
            compared,
            no_id,
            no_guid: left_out_guids,
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

/// How the target was before anything of this restore came: as an earlier run has noted, or as it is now. What an earlier run did not
/// know of, because the archive has grown or other versions are wanted of it, is as it is now.
fn began(noted: Option<&Began>, of: Task, there: &Side, versions: &[Version]) -> Began {
    let subjects = there.index.subjects();
    let mut began =
        noted.cloned().unwrap_or_else(|| Began { all_empty: subjects.is_empty(), ..Began::default() });
    began.of = of;
    let context = |subject: &str| Subject::parse(subject).context.to_string();
    let filled: BTreeSet<String> = subjects.iter().map(|subject| context(subject)).collect();
    // Of these an earlier run may have taken away what was there.
    let known: BTreeSet<String> = began.written.iter().map(|subject| context(subject)).collect();
    let wanted: BTreeSet<&str> = versions.iter().map(|version| &*version.target_subject).collect();
    for subject in wanted {
        if !subjects.contains(subject) && !began.written.contains(subject) {
            began.absent.insert(subject.to_owned());
        }
        let context = context(subject);
        if !filled.contains(&context) && !known.contains(&context) {
            began.empty.insert(context);
        }
    }
    let written = versions.iter().filter(|version| version.action.is_written());
    for version in written {
        if version.deleted {
            began.deletions.insert((version.subject.to_string(), version.version));
        }
        if !began.written.contains(&*version.target_subject) {
            began.written.insert(version.target_subject.to_string());
        }
    }
    began
}

/// Another restore has not come to its end. What it has borrowed goes back first; but what it has brought cannot be told any more from
/// what was there.
fn unfinished(other: &Task, own: &Task, journal: &Journal) -> String {
    let what = match other.archive == own.archive {
        true => "with other settings".to_owned(),
        false => format!("of {}", other.archive),
    };
    format!(
        "{} says that another restore, {what}, has not come to its end: what it has borrowed is put back first, and what it has brought \
         counts as the target's own",
        journal.place()
    )
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
