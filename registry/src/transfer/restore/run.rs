//! Carries a plan out.
//!
//! ```text
//! intents stored -> modes and levels for the time -> deletions -> versions -> what is in the end stored -> all put back
//! ```
//! Whatever becomes of it, what was changed for the time is put back; where the process dies, by the next run, from the journal.

use super::ids::{ContextId, IdMap};
use super::plan::{Action, Plan, Version};
use super::settings::Ids;
use super::{Outcome, Restore};
use crate::client::{Placed, Registered, Schema};
use crate::names::Subject;
use crate::service::Deletion;
use crate::settings::Mode;
use crate::transfer::apply::{place, require_labels};
use crate::transfer::error::{Error, Kind, Result};
use crate::transfer::index::Key;
use crate::transfer::journal::Journal;
use crate::transfer::turns::{self, Turn};
use futures::FutureExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
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

/// A schema as it is registered: under its subject's name in the target, with references to what they lead to there.
pub(super) fn rewritten(
    mut schema: Schema,
    version: &Version,
    rows: &Rows<'_>,
    there: &dyn Fn(&Key) -> Option<Key>,
) -> Schema {
    let from = Subject::parse(&version.subject).context;
    let to = Subject::parse(&version.target_subject).context;
    for reference in &mut schema.references {
        let leads_to = Subject::parse_in(&reference.subject, &from);
        let key = Key { subject: leads_to.to_string().into(), version: reference.version };
        let Some(found) = there(&key).or_else(|| rows.outside(&key)) else { continue };
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
    schema
}

/// The map that a plan has come to.
pub(super) fn map(plan: &Plan, landed: &[Option<Landed>]) -> IdMap {
    let mut map = IdMap::default();
    for (at, version) in plan.versions.iter().enumerate() {
        let own = ContextId::of(&version.key(), version.id);
        let Some(landed) = landed.get(version.shares.unwrap_or(at)).and_then(Option::as_ref) else {
            map.unmapped.insert(own);
            continue;
        };
        let context = Subject::parse(&version.target_subject).context;
        map.ids.insert(own, ContextId { context, id: landed.id });
        if let (Some(own), Some(theirs)) = (&version.guid, &landed.guid)
            && !own.eq_ignore_ascii_case(theirs)
        {
            map.guids.insert(own.to_string(), theirs.to_string());
        }
        // Any version of its schema stands for one that is gone: only its id counts.
        if let Some(number) = landed.version.filter(|_| !version.gone) {
            let key = Key { subject: Arc::clone(&version.target_subject), version: number };
            map.versions.insert(version.key(), key);
        }
    }
    map.unmapped.extend(plan.no_id.iter().cloned());
    map.unmapped.retain(|id| !map.ids.contains_key(id));
    map
}

enum Step<'a> {
    Remove(&'a Key),
    Write(usize),
    Delete(usize),
}

struct Running<'a> {
    restore: &'a Restore<'a>,
    plan: &'a Plan,
    rows: Rows<'a>,
    landed: Mutex<Vec<Option<Landed>>>,
    /// Versions of the target that are to stay live.
    live: Mutex<HashSet<Key>>,
    /// Subjects with metadata or rules: a version without any would get those of the one before.
    labelled: HashSet<Arc<str>>,
}

pub(super) async fn run(restore: &Restore<'_>, plan: &Plan, journal: &mut Journal) -> Result<Outcome> {
    if let Some(first) = plan.obstacles.first() {
        let version = first.version.map_or(String::new(), |version| format!(" version {version}"));
        let text = format!(
            "schemas cannot be restored to {}, {} in the way: {}{version}: {}",
            plan.target,
            if plan.obstacle_count == 1 {
                "1 thing is".to_owned()
            } else {
                format!("{} things are", plan.obstacle_count)
            },
            first.subject,
            first.why
        );
        return Err(Error::new(Kind::Input, text).hint(first.next_step.clone()));
    }
    // The plan was made for a target of which everything is as it was.
    if journal.is_left_over() {
        journal.put_back(&restore.to).await?;
    }
    let running = Running::new(restore, plan);
    let mut done = Outcome::default();
    let written = match plan.is_empty() {
        true => Ok(()),
        false => running.write(journal, &mut done).await,
    };
    if written.is_ok() {
        let modes = plan.modes.iter().map(|(place, mode)| (place.clone(), Some(*mode))).collect();
        journal.settle_all(&modes, &plan.configs);
        journal.begin(None);
        if !plan.is_empty() {
            journal.store().await?;
        }
        (done.configs, done.modes) = (plan.configs.len() as u64, plan.modes.len() as u64);
    }
    let put_back = match journal.is_left_over() || !plan.is_empty() {
        true => journal.put_back(&restore.to).await,
        false => Ok(()),
    };
    if let (Err(_), Err(error)) = (&written, &put_back) {
        tracing::warn!("{error}");
    }
    written?;
    put_back?;
    done.map = map(plan, &running.landed.into_inner().unwrap_or_else(PoisonError::into_inner));
    done.counts.clone_from(&plan.counts);
    Ok(done)
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
        Self { restore, plan, rows, landed, live, labelled }
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

    async fn write(&self, journal: &mut Journal, done: &mut Outcome) -> Result<()> {
        self.check()?;
        self.begin(journal).await?;
        let mut steps: Vec<Step<'_>> = self.plan.removals.iter().map(Step::Remove).collect();
        let versions = self.plan.versions.iter().enumerate();
        let of = |is: fn(Action) -> bool| {
            versions.clone().filter(move |(_, version)| is(version.action)).map(|(at, _)| at)
        };
        // What refers to something goes before it; and before anything comes that refers to it, which would hold it.
        steps.extend(of(|action| action == Action::Delete).rev().map(Step::Delete));
        steps.extend(of(Action::is_written).map(Step::Write));
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

    /// Stores what is to be put back, and then changes it.
    async fn begin(&self, journal: &mut Journal) -> Result<()> {
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
        journal.store().await?;
        for (place, (_, mode)) in &for_the_time.modes {
            self.set_mode(place, *mode).await?;
        }
        for (place, config) in for_the_time.configs.iter().filter(|(_, config)| !config.is_empty()) {
            let set = to.set_config(&Subject::parse(place), config).await;
            set.map_err(|error| Error::from(error).at(format!("settings of {place:?} for the time")))?;
        }
        Ok(())
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
        let alone =
            |subject: &Arc<str>| Turn { subject: Arc::clone(subject), waits_for: Vec::new(), is_alone: true };
        match step {
            Step::Remove(key) => alone(&key.subject),
            Step::Delete(at) => alone(&self.plan.versions[*at].target_subject),
            Step::Write(at) => {
                let version = &self.plan.versions[*at];
                let entry = self.restore.from.index.versions.get(&version.key());
                let references = entry.into_iter().flat_map(|entry| &entry.references);
                let found = references.filter_map(|reference| self.rows.version(reference));
                Turn {
                    subject: Arc::clone(&version.target_subject),
                    waits_for: found.map(|version| Arc::clone(&version.target_subject)).collect(),
                    is_alone: false,
                }
            }
        }
    }

    async fn step(&self, step: &Step<'_>) -> Result<Outcome> {
        let mut done = Outcome::default();
        match step {
            Step::Remove(key) => {
                self.delete(key, Deletion::Soft).await?;
                self.delete(key, Deletion::Permanent).await?;
                done.removed = 1;
            }
            Step::Delete(at) => {
                if let Some(key) = self.plan.versions[*at].target() {
                    self.delete(&key, Deletion::Soft).await?;
                    done.deleted = 1;
                }
            }
            Step::Write(at) => {
                done.registered = 1;
                done.deleted = u64::from(self.register(*at).await?);
            }
        }
        Ok(done)
    }

    async fn delete(&self, key: &Key, how: Deletion) -> Result<()> {
        let deleted = self.restore.to.delete_version_of(key, how).await;
        deleted.map_err(|error| Error::from(error).at(key))
    }

    /// Registers a version; true where it is softly deleted then.
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
        let mut schema = rewritten(schema, version, &self.rows, &there);
        let (registered, number) = match (version.target_id, version.target_version) {
            (Some(id), Some(number)) => {
                (schema.id, schema.version) = (id, number);
                (place(&schema, &self.restore.to).await?, number)
            }
            _ => self.add(version, schema).await?,
        };
        let target = Key { subject: Arc::clone(&version.target_subject), version: number };
        let deletes = {
            let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            match version.deleted {
                // The target counts, and says that it is one which was there: that stays as it is.
                true => version.target_id.is_some() || !live.contains(&target),
                false => {
                    live.insert(target.clone());
                    false
                }
            }
        };
        if deletes {
            self.delete(&target, Deletion::Soft).await?;
        }
        let guid = registered.guid.map(Into::into);
        let landed = Landed { id: registered.id, version: Some(number), guid };
        self.landed.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(landed);
        Ok(deletes)
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
                _ => error,
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
            "counts": self.counts,
            "unmapped": self.map.unmapped.len(),
        })
    }
}
