//! Carries out a plan: modes borrowed, versions, settings, modes put back.

use super::Progress;
use super::content::said;
use super::error::{Error, Kind, Result};
use super::index::{Entry, Index, Key, Place, root};
use super::journal::Modes;
use super::plan::{Plan, Planned, entry};
use super::source::Side;
use super::turns::{self, Turn};
use crate::client::{self, Client, Placed, Registered, Schema, Settings};
use crate::names::Subject;
use crate::service::Deletion;
use crate::settings::Mode;
use futures::FutureExt;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Whom a plan concerns.
pub struct Run<'a> {
    /// Where texts come from.
    pub from: &'a Side,
    /// What is written to.
    pub to: &'a Client,
    /// Counts what is written.
    pub progress: &'a Progress,
    /// Whether to stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Versions registered.
    pub registered: u64,
    /// Versions softly deleted.
    pub deleted: u64,
    /// Versions deleted for good.
    pub removed: u64,
    /// Settings set or removed.
    pub configs: u64,
    /// Modes set or removed, IMPORT in between not counted.
    pub modes: u64,
}

impl Applied {
    /// Adds what was done besides.
    pub fn add(&mut self, other: Self) {
        self.registered += other.registered;
        self.deleted += other.deleted;
        self.removed += other.removed;
        self.configs += other.configs;
        self.modes += other.modes;
    }
}

/// Carries out a plan. Whatever becomes of it, modes are put back.
pub async fn apply(plan: &Plan, run: &Run<'_>, there: &Index, modes: &mut Modes) -> Result<Applied> {
    let applied = write(plan, run, there, modes).await;
    let put_back = modes.put_back(run.to).await;
    match (applied, put_back) {
        (Err(error), Err(besides)) => Err(error.and(besides)),
        (applied, put_back) => put_back.and(applied),
    }
}

/// Carries out a plan, and leaves the modes borrowed.
pub(super) async fn write(plan: &Plan, run: &Run<'_>, there: &Index, modes: &mut Modes) -> Result<Applied> {
    let mut applied = Applied::default();
    if plan.is_empty() {
        return Ok(applied);
    }
    run.progress.wanted.fetch_add(plan.versions.len() as u64, Relaxed);
    modes.journal.borrow(run.to, places(plan, there)).await?;
    for place in &plan.aliases {
        let lifted = Settings::from_iter([("alias".to_owned(), serde_json::Value::Null)]);
        let done = run.to.set_config(&Subject::parse(place), &lifted).await;
        done.map_err(|error| Error::from(error).at(format!("alias of {place}")))?;
    }
    versions(plan, run, &mut applied).await?;
    for (place, settings) in &plan.configs {
        check(run)?;
        let subject = Subject::parse(place);
        let done = match settings {
            Some(settings) => run.to.set_config(&subject, settings).await,
            None => run.to.delete_config(&subject).await,
        };
        done.map_err(|error| Error::from(error).at(format!("settings of {}", shown(place))))?;
        applied.configs += 1;
    }
    for (place, mode) in &plan.modes {
        let subject = Subject::parse(place);
        let done = match (modes.journal.has(place), mode) {
            (true, mode) => modes.journal.settle(place, *mode).await,
            (false, Some(mode)) => run.to.set_mode(&subject, *mode).await.map_err(Error::from),
            (false, None) => run.to.delete_mode(&subject).await.map_err(Error::from),
        };
        done.map_err(|error| error.at(format!("mode of {}", shown(place))))?;
        applied.modes += 1;
    }
    Ok(applied)
}

fn shown(place: &str) -> &str {
    if place.is_empty() { "the registry" } else { place }
}

fn check(run: &Run<'_>) -> Result<()> {
    match (run.stop)() {
        true => {
            let text = format!("writing to {} was interrupted", run.to.name());
            Err(Error::new(Kind::Interrupted, text).hint("run the same command again; what is there stays"))
        }
        false => Ok(()),
    }
}

/// Contexts that are written to, and those of their subjects whose own mode would be in the way.
fn places(plan: &Plan, there: &Index) -> BTreeSet<Place> {
    let contexts = plan.contexts();
    let written = plan.versions.iter().map(|planned| &*planned.key().subject);
    let subjects: BTreeSet<&str> = written.chain(plan.configs.keys().map(String::as_str)).collect();
    let own = subjects
        .into_iter()
        .filter(|subject| there.modes.get(*subject).is_some_and(|mode| *mode != Mode::Import));
    // The defaults of all contexts belong to none that is written to.
    let contexts = contexts.iter().filter(|context| !context.is_global());
    contexts.map(root).chain(own.map(str::to_owned)).collect()
}

/// Writes versions, several at once: each after those that stand before it and have its subject, or one that it refers to. What is only
/// deleted is so alone, in the order of the plan: a registry refuses that while anything refers to it.
async fn versions(plan: &Plan, run: &Run<'_>, applied: &mut Applied) -> Result<()> {
    let turn = |planned: &Planned| {
        let key = planned.key();
        let references = entry(run.from, key).map_or(&[][..], |entry| &entry.references);
        Turn {
            subject: Arc::clone(&key.subject),
            waits_for: references.iter().map(|reference| Arc::clone(&reference.subject)).collect(),
            is_alone: !matches!(planned, Planned::Register(_)),
        }
    };
    let done = |done: Applied| {
        run.progress.written.fetch_add(1, Relaxed);
        applied.add(done);
    };
    turns::take(
        &plan.versions,
        turn,
        run.to.in_flight(),
        || check(run),
        |planned| one(planned, run).boxed(),
        done,
    )
    .await
}

async fn one(planned: &Planned, run: &Run<'_>) -> Result<Applied> {
    let key = planned.key();
    let at = |error: client::Error| Error::from(error).at(key);
    let mut applied = Applied::default();
    let delete = |how| run.to.delete_version_of(key, how);
    match planned {
        Planned::Register(_) => {
            let Some(known) = entry(run.from, key) else { return Ok(applied) };
            if !register(key, known, run).await? {
                return Ok(applied);
            }
            applied.registered = 1;
            if known.deleted {
                delete(Deletion::Soft).await.map_err(at)?;
                applied.deleted = 1;
            }
        }
        Planned::Delete(_) => {
            delete(Deletion::Soft).await.map_err(at)?;
            applied.deleted = 1;
        }
        Planned::Remove(_) => {
            delete(Deletion::Soft).await.map_err(at)?;
            delete(Deletion::Permanent).await.map_err(at)?;
            applied.removed = 1;
        }
    }
    Ok(applied)
}

/// Registers a version under its number and id; false where the source does not have it any more.
async fn register(key: &Key, known: &Entry, run: &Run<'_>) -> Result<bool> {
    let schema = run.from.schema(key).await?;
    // One with another id is another schema that has this number meanwhile: whoever looks again sees it.
    let Some(schema) = schema.filter(|schema| schema.id == known.id) else { return Ok(false) };
    place(&schema, run.to).await.map(|_| true)
}

/// Registers a schema under its number and id, and sees to it that the registry has kept both, and its labels.
pub(super) async fn place(schema: &Schema, to: &Client) -> Result<Registered> {
    let key = Key { subject: schema.subject.as_str().into(), version: schema.version };
    let registered = to.register(schema, Placed::Same).await.map_err(|error| {
        let code = error.code();
        let error = Error::from(error).at(&key);
        match code {
            Some(42205) => {
                error.hint("another mode was set meanwhile, or the id is taken; run the same command again")
            }
            Some(42201) => error.hint("leave its subject out: this registry does not take it for a schema"),
            _ => error.or_hint("look at what the registry says of it, and run the same command again"),
        }
    })?;
    if registered.id != schema.id {
        let why = format!("gave it id {}, and not its own, {}", registered.id, schema.id);
        return Err(not_kept(&key, to, "ids", &why));
    }
    if let Some(version) = registered.version.filter(|version| *version != key.version) {
        return Err(not_kept(&key, to, "numbers of versions", &format!("made it version {version}")));
    }
    // What an answer does not tell is read back: older registries take numbers and labels, and forget them.
    if registered.version.is_none() || schema.metadata.is_some() || schema.rule_set.is_some() {
        let kept = match to.version(&key.subject(), key.version).await {
            Err(error) if error.is_absent() => None,
            kept => Some(kept.map_err(|error| Error::from(error).at(&key))?),
        };
        let Some(kept) = kept.filter(|kept| kept.id == schema.id) else {
            return Err(not_kept(
                &key,
                to,
                "numbers of versions",
                "took it, and has no such version of its id",
            ));
        };
        require_labels(&key, schema, &kept, to)?;
    }
    Ok(registered)
}

/// Refuses where the registry has forgotten labels.
pub(super) fn require_labels(key: &Key, schema: &Schema, kept: &Schema, to: &Client) -> Result<()> {
    match said(kept) == said(schema) {
        true => Ok(()),
        false => {
            let why = "took it, and has not kept its metadata or rules";
            Err(not_kept(key, to, "metadata and rules", why))
        }
    }
}

fn not_kept(key: &Key, to: &Client, what: &str, why: &str) -> Error {
    let text = format!("{key}: {} {why}", to.name());
    Error::new(Kind::Failed, text).hint(format!(
        "that registry does not keep {what}; delete what it has, and take another one, or a newer one"
    ))
}

impl Client {
    /// Deletes a version; one that is not there stays so.
    pub(super) async fn delete_version_of(&self, key: &Key, how: Deletion) -> client::Result<()> {
        match self.delete_version(&key.subject(), key.version, how).await {
            Err(error) if error.is_gone() => Ok(()),
            done => done,
        }
    }
}
