//! Carries a plan out.
//!
//! ```text
//! left over? put back -> anything in the way? -> intents stored -> modes and levels for the time
//!   -> removals -> versions -> soft deletions -> all put back, or as it is to be in the end
//! ```
//! Whatever becomes of it, what was changed for the time is put back; where the process dies, by the next run, from the journal. That
//! holds of what another restore has left behind too.
//!
//! Soft deletions come last, what refers to something before it: a registry may refuse references to what is deleted, and a subject
//! that loses its last live version may lose its settings. Two things go earlier, each just before the version that asks for it: what
//! a live version refers to, because then nothing could delete it any more; and what the next one of its subject would be compared
//! with, and was not in the archive.
//!
//! A removal comes before what takes its place, because both have one number. Where that is no schema to the target, what it had is
//! registered again.

use super::ids::{ContextId, IdMap};
use super::plan::{Action, Plan, Version};
use super::room::Room;
use super::settings::Ids;
use super::{Outcome, Restore};
use crate::client::{self, Placed, Registered, Schema};
use crate::names::Subject;
use crate::service::Deletion;
use crate::settings::Mode;
use crate::transfer::apply::{place, require_labels};
use crate::transfer::error::{Error, Kind, Result};
use crate::transfer::index::Key;
use crate::transfer::journal::Journal;
use crate::transfer::put_back::Ends;
use crate::transfer::turns::{self, Turn};
use futures::FutureExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

/// What a version of the archive is in the target.
#[derive(Debug, Clone)]
pub(super) struct Landed {
    pub(super) id: u32,
    /// Nothing where only its id is there, of another subject.
    pub(super) version: Option<i32>,
    pub(super) guid: Option<Box<str>>,
}

/// Versions of a plan by what they are in the archive.
pub(super) struct Rows<'a> {
    versions: &'a [Version],
    places: HashMap<Key, usize>,
    /// Names that subjects get, also those that are not in the archive.
    names: &'a BTreeMap<String, String>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(versions: &'a [Version], names: &'a BTreeMap<String, String>) -> Self {
        let places = versions.iter().enumerate().map(|(at, version)| (version.key(), at)).collect();
        Self { versions, places, names }
    }

    /// Where a reference leads that the archive has not.
    fn outside(&self, key: &Key) -> Option<Key> {
        let name = self.names.get(&*key.subject).map_or(&*key.subject, String::as_str);
        let outside = Key { subject: name.into(), version: key.version };
        (!self.places.contains_key(key)).then_some(outside)
    }

    /// The place of what stands for a version: another one's where it is shared.
    fn place(&self, key: &Key) -> Option<usize> {
        let at = *self.places.get(key)?;
        Some(self.versions[at].shares.unwrap_or(at))
    }

    pub(super) fn version(&self, key: &Key) -> Option<&'a Version> {
        self.place(key).map(|at| &self.versions[at])
    }
}

/// A schema as it is registered: under its subject's name in the target, with references to what they lead to there. Else the
/// reference that leads to nothing yet: under its old name and number it might lead to another schema.
pub(super) fn rewritten(
    mut schema: Schema,
    version: &Version,
    rows: &Rows<'_>,
    there: &dyn Fn(&Key) -> Option<Key>,
) -> Result<Schema, Key> {
    let from = Subject::parse(&version.subject).context;
    let to = Subject::parse(&version.target_subject).context;
    for reference in &mut schema.references {
        let leads_to = Subject::parse_in(&reference.subject, &from);
        let key = Key { subject: leads_to.to_string().into(), version: reference.version };
        let Some(found) = there(&key).or_else(|| rows.outside(&key)) else { return Err(key) };
        let target = found.subject();
        reference.version = found.version;
        if Subject::parse_in(&reference.subject, &to) != target {
            reference.subject = match (target.context == to, target.context.is_default()) {
                (true, _) => target.name.to_string(),
                // A plain name would be one of the referring schema's own context.
                (false, true) => format!(":.:{}", target.name),
                (false, false) => target.to_string(),
            };
        }
    }
    schema.subject = version.target_subject.to_string();
    Ok(schema)
}

/// The map that a plan has come to.
pub(super) fn map(plan: &Plan, landed: &[Option<Landed>]) -> IdMap {
    let all = || {
        plan.versions
            .iter()
            .enumerate()
            .map(|(at, version)| (version, landed.get(version.shares.unwrap_or(at)).and_then(Option::as_ref)))
    };
    let own = |version: &Version| ContextId::of(&version.key(), version.id);
    let id = |(version, landed): (&Version, Option<&Landed>)| {
        let context = Subject::parse(&version.target_subject).context;
        Some((own(version), ContextId { context, id: landed?.id }))
    };
    let number = |(version, landed): (&Version, Option<&Landed>)| {
        // Any version of its schema stands for one that is gone: only its id counts.
        let number = landed?.version.filter(|_| !version.gone)?;
        Some((version.key(), Key { subject: Arc::clone(&version.target_subject), version: number }))
    };
    // Each is made at once: a tree that grows in order is half empty.
    let mut map = IdMap {
        ids: all().filter_map(id).collect(),
        versions: all().filter_map(number).collect(),
        ..IdMap::default()
    };
    let nowhere = all().filter(|(_, landed)| landed.is_none());
    map.unmapped = nowhere.map(|(version, _)| own(version)).chain(plan.no_id.iter().cloned()).collect();
    map.unmapped.retain(|id| !map.ids.contains_key(id));
    map.guids = guids(plan, landed);
    let known = plan.versions.iter().filter_map(|version| version.guid.as_deref());
    let known = known.chain(plan.no_guid.iter().map(|guid| &**guid));
    map.unmapped_guids = known.filter(|guid| !map.guids.contains_key(*guid)).map(str::to_owned).collect();
    map
}

/// GUIDs that one schema of the target stands for. Where that has the same GUID it is the same to the letter, whatever others there
/// are that only stand for it.
fn guids(plan: &Plan, landed: &[Option<Landed>]) -> BTreeMap<String, String> {
    let pairs = plan.versions.iter().enumerate().filter_map(|(at, version)| {
        let landed = landed.get(version.shares.unwrap_or(at)).and_then(Option::as_ref);
        version.guid.as_deref().zip(landed.and_then(|landed| landed.guid.as_deref()))
    });
    let mut pairs: Vec<(&str, &str)> = pairs.collect();
    pairs.sort_unstable();
    let one = |of_one: &[(&str, &str)]| {
        let (own, first) = *of_one.first()?;
        let is_same = of_one.iter().any(|(_, theirs)| theirs.eq_ignore_ascii_case(own));
        let is_one = is_same || of_one.iter().all(|(_, theirs)| theirs.eq_ignore_ascii_case(first));
        let theirs = if is_same { own } else { first };
        is_one.then(|| (own.to_owned(), theirs.to_ascii_lowercase()))
    };
    pairs.chunk_by(|one, other| one.0 == other.0).filter_map(one).collect()
}

enum Step<'a> {
    Remove(&'a Key),
    Write(usize),
    Delete {
        at: usize,
        /// More of its subject is to come.
        is_early: bool,
    },
}

struct Running<'a> {
    restore: &'a Restore<'a>,
    plan: &'a Plan,
    rows: Rows<'a>,
    landed: Mutex<Vec<Option<Landed>>>,
    /// Versions of the target that are to stay live.
    live: Mutex<HashSet<Key>>,
    /// By what is softly deleted: what refers to it and is so, too.
    referrers: HashMap<usize, Vec<usize>>,
    /// Subjects with metadata or rules: a version without any would get those of the one before.
    labelled: HashSet<Arc<str>>,
    /// What the target did not take for a schema, and what refers to that, with the reasons: it is left out.
    not_taken: Mutex<BTreeMap<Key, String>>,
    room: Room,
    /// Something was written, so that the target is not any more what it was when this began.
    is_begun: AtomicBool,
}

pub(super) async fn run(restore: &Restore<'_>, plan: &Plan, journal: &mut Journal) -> Result<Outcome> {
    journal.require_own().await?;
    // The plan was made for a target of which everything is as it was; and what another restore has borrowed goes back, too.
    let was = journal.began().cloned();
    if journal.is_left_over() {
        journal.put_back(&restore.to).await?;
    }
    in_the_way(plan)?;
    let running = Running::new(restore, plan);
    let mut done = Outcome::default();
    if !plan.is_empty() {
        running.check()?;
        // Where that fails nothing is borrowed yet: what is noted may be what another copy has set for the time.
        running.note(journal).await?;
        let written = running.write(&mut done).await;
        let ended = match &written {
            Ok(()) => {
                let ends = Ends { modes: plan.modes.clone(), configs: plan.configs.clone() };
                journal.finish(&restore.to, &ends).await
            }
            Err(_) => {
                if !running.is_begun.load(Relaxed) {
                    journal.begin(was);
                }
                journal.put_back(&restore.to).await.map(|()| Vec::new())
            }
        };
        done.warnings = match (written, ended) {
            (Err(error), Err(besides)) => return Err(error.and(besides)),
            (written, ended) => written.and(ended)?,
        };
        (done.configs, done.modes) = (plan.configs.len() as u64, plan.modes.len() as u64);
    } else if was.is_some() {
        // An earlier run has done it all, and died before it could say so.
        journal.finish(&restore.to, &Ends::default()).await?;
    }
    done.removed = done.removed.saturating_sub(running.room.returned());
    let (landed, not_taken) = running.ended();
    done.not_taken = not_taken.into_values().collect();
    done.map = map(plan, &landed);
    done.counts.clone_from(&plan.counts);
    Ok(done)
}

fn in_the_way(plan: &Plan) -> Result<()> {
    let Some(first) = plan.obstacles.first() else { return Ok(()) };
    let version = first.version.map_or(String::new(), |version| format!(" version {version}"));
    let text = format!(
        "schemas cannot be restored to {}, {} in the way: {}{version}: {}",
        plan.target,
        if plan.obstacle_count == 1 {
            "1 thing is".to_owned()
        } else {
            format!("{} things are", plan.obstacle_count)
        },
        if first.subject.is_empty() { "the registry" } else { &first.subject },
        first.why
    );
    Err(Error::new(Kind::Input, text).hint(first.next_step.clone()))
}

impl<'a> Running<'a> {
    fn new(restore: &'a Restore<'a>, plan: &'a Plan) -> Self {
        let there = |version: &Version| {
            matches!(version.action, Action::Exists | Action::ExistsUnderOtherId | Action::Delete)
        };
        let landed: Vec<Option<Landed>> = plan
            .versions
            .iter()
            .map(|version| {
                let id = version.target_id.filter(|_| there(version))?;
                Some(Landed { id, version: version.target_version, guid: version.target_guid.clone() })
            })
            .collect();
        let live = plan.there.index.versions.iter().filter(|(_, entry)| !entry.deleted);
        let live: HashSet<Key> = live.map(|(key, _)| key.clone()).collect();
        let of_target = plan.there.index.versions.iter().filter(|(_, entry)| entry.labelled);
        let mut labelled: HashSet<Arc<str>> = of_target.map(|(key, _)| Arc::clone(&key.subject)).collect();
        let versions = &restore.from.index.versions;
        let is_labelled =
            |version: &&Version| versions.get(&version.key()).is_some_and(|entry| entry.labelled);
        labelled.extend(
            plan.versions.iter().filter(is_labelled).map(|version| Arc::clone(&version.target_subject)),
        );
        let (landed, live) = (Mutex::new(landed), Mutex::new(live));
        let rows = Rows::new(&plan.versions, &plan.names);
        let (referrers, is_begun) = (HashMap::new(), AtomicBool::new(false));
        let left_out = plan.versions.iter().filter(|version| version.action == Action::NotTaken);
        let left_out = left_out.map(|version| {
            let (key, why) = (version.key(), version.note.as_deref().unwrap_or_default());
            let why = format!("{key}: {why}");
            (key, why)
        });
        let (not_taken, room) = (Mutex::new(left_out.collect()), Room::default());
        let mut running =
            Self { restore, plan, rows, landed, live, referrers, labelled, not_taken, room, is_begun };
        let deleted = (0..plan.versions.len()).filter(|at| running.is_deleted(*at));
        let pairs = deleted.flat_map(|at| running.refers_to(at).map(move |place| (place, at)));
        let pairs: Vec<(usize, usize)> = pairs.filter(|(place, _)| running.is_deleted(*place)).collect();
        for (place, at) in pairs {
            running.referrers.entry(place).or_default().push(at);
        }
        running
    }

    /// What has landed, and what was not taken. All else that it took to come there goes before they are made a map.
    fn ended(self) -> (Vec<Option<Landed>>, BTreeMap<Key, String>) {
        let landed = self.landed.into_inner().unwrap_or_else(PoisonError::into_inner);
        (landed, self.not_taken.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn check(&self) -> Result<()> {
        match (self.restore.stop)() {
            true => {
                let text = format!("restoring schemas to {} was interrupted", self.plan.target);
                Err(Error::new(Kind::Interrupted, text)
                    .hint("run the same restore again; what is there stays"))
            }
            false => Ok(()),
        }
    }

    async fn write(&self, done: &mut Outcome) -> Result<()> {
        self.begin().await?;
        let steps = self.steps();
        let progress = self.restore.progress;
        progress.wanted.fetch_add(steps.len() as u64, Relaxed);
        let ended = |what: Outcome| {
            progress.written.fetch_add(1, Relaxed);
            done.add(&what);
        };
        let begin = |step| self.step(step).boxed();
        turns::take(
            &steps,
            |step| self.turn(step),
            self.restore.to.in_flight(),
            || self.check(),
            begin,
            ended,
        )
        .await
    }

    /// What is done, in order. Each deletion is at the end, or before the first version that it would be in the way of.
    fn steps(&self) -> Vec<Step<'a>> {
        let mut steps: Vec<Step<'_>> = self.plan.removals.iter().map(Step::Remove).collect();
        // Those that are there by then, and still to be deleted.
        let mut waiting: BTreeSet<usize> = BTreeSet::new();
        let mut compared: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, version) in self.plan.versions.iter().enumerate() {
            let (is_written, is_deleted) = (version.action.is_written(), self.is_deleted(at));
            let is_compared = self.plan.compared.contains(&version.target_subject);
            let mut next: Vec<usize> = Vec::new();
            if is_written && is_compared {
                next.extend(compared.remove(&*version.target_subject).into_iter().flatten());
            }
            if is_written && !is_deleted {
                next.extend(self.refers_to(at));
            }
            let mut due: BTreeSet<usize> = BTreeSet::new();
            while let Some(place) = next.pop() {
                if waiting.remove(&place) {
                    due.insert(place);
                    next.extend(self.referrers.get(&place).into_iter().flatten());
                }
            }
            steps.extend(due.into_iter().rev().map(|at| Step::Delete { at, is_early: true }));
            if is_written {
                steps.push(Step::Write(at));
            }
            if is_deleted {
                waiting.insert(at);
                compared.entry(&version.target_subject).or_default().push(at);
            }
        }
        steps.extend(waiting.into_iter().rev().map(|at| Step::Delete { at, is_early: false }));
        steps
    }

    /// It is softly deleted in the end, and is not yet.
    fn is_deleted(&self, at: usize) -> bool {
        let version = &self.plan.versions[at];
        version.action == Action::Delete || (version.action.is_written() && version.deleted)
    }

    /// Places in the plan of what a version refers to.
    fn refers_to(&self, at: usize) -> impl Iterator<Item = usize> {
        let entry = self.restore.from.index.versions.get(&self.plan.versions[at].key());
        let references = entry.into_iter().flat_map(|entry| &entry.references);
        references.filter_map(|reference| self.rows.place(reference))
    }

    /// Stores what is to be put back, whatever comes.
    async fn note(&self, journal: &mut Journal) -> Result<()> {
        let (to, for_the_time) = (&self.restore.to, &self.plan.for_the_time);
        journal.begin(Some(self.plan.began.clone()));
        for (place, (before, _)) in &for_the_time.modes {
            match Subject::parse(place).is_root() {
                true => journal.note_mode(to, place).await?,
                false => journal.note_known_mode(place, *before),
            }
        }
        for (place, before) in &self.plan.before {
            journal.note_config(place, before.clone());
        }
        journal.store().await
    }

    /// Borrows modes and settings.
    async fn begin(&self) -> Result<()> {
        let for_the_time = &self.plan.for_the_time;
        for (place, (_, mode)) in &for_the_time.modes {
            self.set_mode(place, *mode).await?;
        }
        for (place, config) in for_the_time.configs.iter().filter(|(_, config)| !config.is_empty()) {
            self.set_config(place, config).await?;
        }
        Ok(())
    }

    async fn set_config(&self, place: &str, config: &client::Settings) -> Result<()> {
        let set = self.restore.to.set_config(&Subject::parse(place), config).await;
        set.map_err(|error| {
            Error::from(error)
                .at(format!("settings of {place:?} for the time"))
                .or_hint("see that this registry lets them be set; set_compatibility says another level")
        })
    }

    async fn set_mode(&self, place: &str, mode: Mode) -> Result<()> {
        let set = self.restore.to.set_mode(&Subject::parse(place), mode).await;
        set.map_err(|error| {
            let refused = error.is_absent() || error.code() == Some(42205);
            let made = Error::from(error).at(format!("mode {mode} of {place:?}"));
            match refused && mode == Mode::Import && self.restore.settings.ids == Ids::Forced {
                true => made.hint("this registry does not let its mode be changed; restore with rewrite_ids"),
                false if refused => made.hint(format!(
                    "this registry does not let its mode be changed; have it set to {mode} for as long as this is restored"
                )),
                false => made,
            }
        })
    }

    fn turn(&self, step: &Step<'_>) -> Turn {
        let at = match step {
            Step::Remove(key) => {
                return Turn { subject: Arc::clone(&key.subject), waits_for: Vec::new(), is_alone: true };
            }
            Step::Write(at) => *at,
            // What refers to it goes first, and it is known already who that is: whoever stands before it.
            Step::Delete { at, .. } => *at,
        };
        let subject = |at: usize| Arc::clone(&self.plan.versions[at].target_subject);
        let waits_for = match step {
            Step::Delete { .. } => {
                self.referrers.get(&at).into_iter().flatten().copied().map(subject).collect()
            }
            _ => self.refers_to(at).map(subject).collect(),
        };
        Turn { subject: subject(at), waits_for, is_alone: false }
    }

    async fn step(&self, step: &Step<'_>) -> Result<Outcome> {
        self.is_begun.store(true, Relaxed);
        let mut done = Outcome::default();
        match step {
            Step::Remove(key) => {
                if let Some(had) = self.as_planned(key).await? {
                    self.delete(key, Deletion::Soft).await?;
                    self.delete(key, Deletion::Permanent).await?;
                    self.room.made(Key::clone(key), had);
                    done.removed = 1;
                }
            }
            Step::Delete { at, is_early } => {
                if self.delete_softly(*at).await? {
                    done.deleted = 1;
                    if *is_early {
                        self.borrow_again(&self.plan.versions[*at].target_subject).await?;
                    }
                }
            }
            Step::Write(at) => {
                done.registered = u64::from(self.register(*at).await?);
            }
        }
        Ok(done)
    }

    /// Goes on without a version: only what needs it is lost with it. What was deleted for it comes back.
    async fn leave_out(&self, version: &Version, mut why: String) -> Result<bool> {
        if let Some(key) = version.target() {
            let is_deleted = self.plan.there.index.versions.get(&key).is_some_and(|entry| entry.deleted);
            if self.room.give_back(&key, is_deleted, &self.restore.to).await? {
                why += "; what the target had there is back";
            }
        }
        self.not_taken.lock().unwrap_or_else(PoisonError::into_inner).insert(version.key(), why);
        Ok(false)
    }

    /// A version of the target that is the one which the plan has seen; nothing where it is gone.
    async fn as_planned(&self, key: &Key) -> Result<Option<Schema>> {
        let there = match self.restore.to.version(&key.subject(), key.version).await {
            Err(error) if error.is_absent() => return Ok(None),
            there => there.map_err(|error| Error::from(error).at(key))?,
        };
        let planned = self.plan.there.index.versions.get(key).map(|entry| entry.id);
        match planned == Some(there.id) {
            true => Ok(Some(there)),
            false => {
                let text = format!(
                    "{key} was to be deleted from {}, and is another schema meanwhile, with id {}",
                    self.plan.target, there.id
                );
                Err(Error::new(Kind::Failed, text).hint("run the same restore again; it plans anew"))
            }
        }
    }

    /// Deletes a version softly; false where it is to stay.
    async fn delete_softly(&self, at: usize) -> Result<bool> {
        let version = &self.plan.versions[at];
        if version.action == Action::Delete {
            let Some(key) = version.target() else { return Ok(false) };
            let is_there = self.as_planned(&key).await?.is_some();
            if is_there {
                self.delete(&key, Deletion::Soft).await?;
            }
            return Ok(is_there);
        }
        let landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner)[at].clone();
        let Some(number) = landed.and_then(|landed| landed.version) else { return Ok(false) };
        let key = Key { subject: Arc::clone(&version.target_subject), version: number };
        let is_live = self.live.lock().unwrap_or_else(PoisonError::into_inner).contains(&key);
        // The target counts, and said that it is one which was there, or one that comes live: that stays as it is.
        if version.target_id.is_none() && is_live {
            return Ok(false);
        }
        self.delete(&key, Deletion::Soft).await?;
        Ok(true)
    }

    /// A subject that has lost its last live version may have lost what it is set to for the time.
    async fn borrow_again(&self, subject: &str) -> Result<()> {
        let for_the_time = &self.plan.for_the_time;
        if let Some((_, mode)) = for_the_time.modes.get(subject) {
            self.set_mode(subject, *mode).await?;
        }
        if let Some(config) = for_the_time.configs.get(subject).filter(|config| !config.is_empty()) {
            self.set_config(subject, config).await?;
        }
        Ok(())
    }

    async fn delete(&self, key: &Key, how: Deletion) -> Result<()> {
        let deleted = self.restore.to.delete_version_of(key, how).await;
        deleted.map_err(|error| {
            let is_held = error.code() == Some(42206);
            let error = Error::from(error).at(key);
            match is_held {
                true => error.hint(
                    "something that came meanwhile refers to it; run the same restore again, it plans anew",
                ),
                false => {
                    error.or_hint("look at what the registry says of it, and run the same restore again")
                }
            }
        })
    }

    /// Registers a version; false where it is left out, because the target takes it for no schema.
    async fn register(&self, at: usize) -> Result<bool> {
        let version = &self.plan.versions[at];
        let key = version.key();
        let Some(schema) = self.restore.from.schema(&key).await? else {
            let text = format!("{key} is in the index of {}, and its text is not there", self.plan.source);
            return Err(Error::new(Kind::Damaged, text).hint("verify the backup"));
        };
        let there = |reference: &Key| {
            let at = self.rows.place(reference)?;
            let landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
            let number = landed[at].as_ref()?.version?;
            Some(Key { subject: Arc::clone(&self.plan.versions[at].target_subject), version: number })
        };
        let mut schema = match rewritten(schema, version, &self.rows, &there) {
            Ok(schema) => schema,
            Err(reference) => {
                let is_not_taken = self.rows.version(&reference).is_some_and(|there| {
                    self.not_taken.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&there.key())
                });
                if is_not_taken {
                    let why = format!("{key} refers to {reference}, which is left out");
                    return self.leave_out(version, why).await;
                }
                let text =
                    format!("{key} refers to {reference}, and nothing in {} is that one", self.plan.target);
                return Err(Error::new(Kind::Failed, text).hint("run the same restore again; it plans anew"));
            }
        };
        let registered = match (version.target_id, version.target_version) {
            (Some(id), Some(number)) => {
                (schema.id, schema.version) = (id, number);
                place(&schema, &self.restore.to).await.map(|registered| (registered, number))
            }
            _ => self.add(version, schema).await,
        };
        let (registered, number) = match registered {
            Err(error) if error.is_no_schema() => return self.leave_out(version, error.to_string()).await,
            registered => registered?,
        };
        if let Some(key) = version.target() {
            self.room.taken(&key);
        }
        if !version.deleted {
            let target = Key { subject: Arc::clone(&version.target_subject), version: number };
            self.live.lock().unwrap_or_else(PoisonError::into_inner).insert(target);
        }
        let guid = registered.guid.map(Into::into);
        let landed = Landed { id: registered.id, version: Some(number), guid };
        self.landed.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(landed);
        Ok(true)
    }

    /// Registers a version under the number and the id that the target gives.
    async fn add(&self, version: &Version, mut schema: Schema) -> Result<(Registered, i32)> {
        let to = &self.restore.to;
        let (key, subject) = (version.key(), Subject::parse(&version.target_subject));
        let has_labels = self.labelled.contains(&version.target_subject);
        if has_labels {
            // What is not told would be that of the version before.
            for labels in [&mut schema.metadata, &mut schema.rule_set] {
                labels.get_or_insert_with(|| json!({}));
            }
        }
        let registered = to.register(&schema, Placed::Next).await.map_err(|error| {
            let (status, code) = (error.status(), error.code());
            let error = Error::from(error).at(&key);
            match (status, code) {
                (Some(409), _) => error.hint(
                    "restore with set_compatibility: NONE, or with force_register: true where its readers can stand that",
                ),
                (_, Some(42205)) => {
                    error.hint("another mode was set meanwhile; run the same restore again")
                }
                _ => error.or_hint("look at what the registry says of it, and run the same restore again"),
            }
        })?;
        let number = match registered.version {
            Some(number) => number,
            None => to.look_up(&subject, &schema).await.map_err(|error| Error::from(error).at(&key))?.version,
        };
        if has_labels {
            let kept = to.version(&subject, number).await.map_err(|error| Error::from(error).at(&key))?;
            require_labels(&key, &schema, &kept, to)?;
        }
        Ok((registered, number))
    }
}

impl Outcome {
    fn add(&mut self, other: &Self) {
        self.registered += other.registered;
        self.deleted += other.deleted;
        self.removed += other.removed;
    }

    /// Everything but the map, as JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "registered": self.registered,
            "deleted": self.deleted,
            "removed": self.removed,
            "configs": self.configs,
            "modes": self.modes,
            "warnings": self.warnings,
            "counts": self.counts,
            "unmapped": self.map.unmapped.len(),
        })
    }
}
