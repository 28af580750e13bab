//! Decides what becomes of each version that is wanted.
//!
//! ```text
//! wanted -> in order (references first) -> what the target has of it -> action -> ids that are free -> numbers
//! ```
//! Numbers are kept where ids are forced and where the target is overwritten: there `exact` holds. Otherwise the target counts on, and
//! a hole in the archive's numbers closes.

mod judge;
mod numbers;
mod removals;
mod warnings;

use super::ids::ContextId;
use super::plan::{Action, NAMED, Obstacle, Version, What};
use super::same::{Form, Sameness, Theirs};
use super::select;
use super::settings::{Ids, Settings, Strategy};
use crate::names::{Context, Subject};
use crate::transfer::content::Fingerprint;
use crate::transfer::error::Result;
use crate::transfer::index::{Entry, Key, root};
use crate::transfer::journal::Began;
use crate::transfer::order::{circles, sorted, way};
use crate::transfer::source::Side;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Names that a circle of references is shown with.
const SHOWN: usize = 10;

const STAYS: &str = "deleted in the archive and not in the target, where it stays";

/// What is in the way, and how much.
#[derive(Default)]
pub(super) struct Obstacles {
    pub(super) named: Vec<Obstacle>,
    pub(super) count: u64,
}

impl Obstacles {
    pub(super) fn add(&mut self, what: What, at: (&str, Option<i32>), why: String, next_step: &str) {
        self.count += 1;
        if self.named.len() < NAMED {
            let (subject, version) = (at.0.to_owned(), at.1);
            self.named.push(Obstacle { what, subject, version, why, next_step: next_step.to_owned() });
        }
    }
}

/// What was decided.
pub(super) struct Decided {
    /// In the order in which they are written.
    pub(super) versions: Vec<Version>,
    /// Versions of the target that go first.
    pub(super) removals: Vec<Key>,
    pub(super) obstacles: Obstacles,
    pub(super) warnings: Vec<String>,
    pub(super) left_out: BTreeSet<ContextId>,
    pub(super) left_out_guids: BTreeSet<Box<str>>,
    pub(super) left_out_versions: u64,
}

/// Who has an id in the target.
enum Holder {
    Nobody,
    Same,
    Other(Key),
}

pub(super) struct Decide<'a> {
    from: &'a Side,
    to: &'a Side,
    settings: &'a Settings,
    began: Option<&'a Began>,
    /// Texts that are read at once.
    at_once: usize,
    same: Sameness<'a>,
    /// Versions of the target by subject, by rising number.
    theirs: HashMap<&'a str, Vec<(&'a Key, &'a Entry)>>,
    /// Versions of the target by id.
    holders: BTreeMap<(Context, u32), Vec<usize>>,
    /// Versions of the target by what they say.
    outlines: HashMap<(Context, Fingerprint), Vec<usize>>,
    /// Numbers in the target subject that are the same schema, by place in the archive.
    matched: HashMap<usize, Vec<i32>>,
    /// Places in the archive that will not be in the target.
    blocked: HashSet<usize>,
    /// Those of them that refer to themselves in the end.
    circular: HashSet<usize>,
    subjects: HashMap<usize, Arc<str>>,
    /// What stands in the target for versions that are gone.
    leans: HashMap<usize, Key>,
    /// What something refers to that is wanted.
    referenced: HashSet<&'a Key>,
    /// Places in the archive that are wanted only because something refers to them.
    needed: HashSet<usize>,
    obstacles: Obstacles,
    warnings: Vec<String>,
}

/// Versions of one subject that are one schema.
#[derive(Default)]
struct Group {
    members: Vec<usize>,
    is_live: bool,
    first: usize,
}

impl<'a> Decide<'a> {
    pub(super) fn new(
        from: &'a Side,
        to: &'a Side,
        settings: &'a Settings,
        began: Option<&'a Began>,
        (at_once, stop): (usize, &'a (dyn Fn() -> bool + Sync)),
    ) -> Self {
        let mut theirs: HashMap<&str, Vec<(&Key, &Entry)>> = HashMap::new();
        let mut outlines: HashMap<(Context, Fingerprint), Vec<usize>> = HashMap::new();
        for (place, (key, entry)) in to.index.versions.iter().enumerate() {
            theirs.entry(&key.subject).or_default().push((key, entry));
            outlines.entry((key.subject().context, entry.outline)).or_default().push(place);
        }
        theirs.values_mut().for_each(|versions| versions.sort_by_key(|(key, _)| key.version));
        let holders = to.index.ids();
        let (matched, blocked, subjects) = (HashMap::new(), HashSet::new(), HashMap::new());
        let same = Sameness::new(from, to, at_once, stop);
        let (obstacles, warnings) = (Obstacles::default(), Vec::new());
        Self {
            from,
            to,
            settings,
            began,
            at_once,
            same,
            theirs,
            holders,
            outlines,
            matched,
            blocked,
            circular: HashSet::new(),
            leans: HashMap::new(),
            referenced: HashSet::new(),
            needed: HashSet::new(),
            subjects,
            obstacles,
            warnings,
        }
    }

    pub(super) async fn decide(mut self) -> Result<Decided> {
        let wanted = select::wanted(&self.from.index, self.settings);
        self.rename(wanted.keys().copied());
        let places: Vec<usize> = wanted.keys().copied().collect();
        self.needed = wanted.iter().filter(|(_, by)| by.is_some()).map(|(place, _)| *place).collect();
        let order = self.order(&places);
        self.referenced = order.iter().flat_map(|place| self.own(*place).1.references.iter()).collect();
        let groups = self.groups(&order);
        let mut versions: Vec<Version> = Vec::with_capacity(order.len());
        for place in order {
            self.same.check()?;
            let mut version = self.bare(place, wanted.get(&place).copied().flatten());
            self.one(place, groups.get(&place).map(|group| &**group), &mut version).await?;
            if !version.action.is_there_in_the_end() {
                self.blocked.insert(place);
            }
            versions.push(version);
        }
        self.judge(&mut versions).await?;
        let removals = self.removals(&versions);
        self.stand_alone(&mut versions, &removals);
        self.keep_referenced(&mut versions, &removals);
        self.ids(&mut versions, &removals).await?;
        for at in self.numbers(&mut versions, &removals) {
            let why = format!("no id is left for it: ids end at {}, and the target has that one", i32::MAX);
            let next = "restore it into another context (subject_mapping), or give it an id that is free (id_mapping_file)";
            self.refuse(What::Conflict, &mut versions[at], why, next);
        }
        let mut versions = self.with_twins_first(versions);
        let rows: HashMap<usize, usize> = versions
            .iter()
            .enumerate()
            .filter_map(|(at, version)| Some((self.from.index.versions.get_index_of(&version.key())?, at)))
            .collect();
        for version in versions.iter_mut().filter(|version| version.action == Action::Shared) {
            // Until here it is the place in the archive.
            version.shares = version.shares.and_then(|place| rows.get(&place).copied());
        }
        self.warn_of_latest(&versions);
        self.warn_of_missing(&versions);
        self.warn_of_contexts(&versions);
        self.warn_of_what_stays(&versions);
        let left: Vec<usize> =
            (0..self.from.index.versions.len()).filter(|place| !wanted.contains_key(place)).collect();
        let id = |place: &usize| {
            let (key, entry) = self.from.index.versions.get_index(*place)?;
            Some(ContextId::of(key, entry.id))
        };
        let left_out = left.iter().filter_map(id).collect();
        let left_out_guids = left.iter().filter_map(|place| self.own(*place).1.guid.clone()).collect();
        let (obstacles, warnings) = (self.obstacles, self.warnings);
        let left_out_versions = left.len() as u64;
        Ok(Decided { versions, removals, obstacles, warnings, left_out, left_out_guids, left_out_versions })
    }

    fn own(&self, place: usize) -> (&'a Key, &'a Entry) {
        self.from.index.versions.get_index(place).expect("a place of the index")
    }

    /// It takes the number that it has in the archive.
    fn is_exact(&self, place: usize) -> bool {
        self.settings.ids == Ids::Forced || self.overwrites(place)
    }

    /// It may take the place of another schema. What is only referred to was not asked for, so nothing goes for it.
    fn overwrites(&self, place: usize) -> bool {
        self.settings.strategy == Strategy::Overwrite && !self.needed.contains(&place)
    }

    /// The id that a version is to have, where that is not the target's to say.
    fn wanted_id(&self, place: usize) -> Option<u32> {
        let (key, entry) = self.own(place);
        match &self.settings.ids {
            Ids::Mapped => None,
            Ids::Forced => Some(entry.id),
            Ids::Given(given) => given.get(&ContextId::of(key, entry.id)),
        }
    }

    /// The subjects that those of the archive become. Two that would become one are refused.
    fn rename(&mut self, wanted: impl Iterator<Item = usize>) {
        let mut taken: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
        let mut clashing: BTreeSet<Arc<str>> = BTreeSet::new();
        for place in wanted {
            let (key, _) = self.own(place);
            let becomes = match self.settings.renamed(&key.subject) {
                Some(name) => name.into(),
                None => Arc::clone(&key.subject),
            };
            let first = taken.entry(Arc::clone(&becomes)).or_insert_with(|| Arc::clone(&key.subject));
            if *first != key.subject {
                if clashing.insert(Arc::clone(&key.subject)) {
                    let why = format!("it becomes {becomes} in the target, and so does {first}");
                    let next = "give each a name of its own in subject_mapping";
                    self.obstacles.add(What::Conflict, (&key.subject, None), why, next);
                }
                self.blocked.insert(place);
            }
            self.subjects.insert(place, becomes);
        }
        let there = self.from.index.subjects();
        for name in self.settings.subject_mapping.keys().filter(|name| !there.contains(name.as_str())) {
            self.warnings.push(format!("subject_mapping names {name}, which the archive does not have"));
        }
    }

    /// References before referrers, and each subject by rising number. What waits for itself is refused, and what waits for that.
    fn order(&mut self, places: &[usize]) -> Vec<usize> {
        let rank: HashMap<usize, usize> = places.iter().enumerate().map(|(at, place)| (*place, at)).collect();
        let mut by_subject: HashMap<&str, Vec<(i32, usize)>> = HashMap::new();
        let mut ahead = Vec::with_capacity(places.len());
        for (at, place) in places.iter().enumerate() {
            let (key, entry) = self.own(*place);
            by_subject.entry(&key.subject).or_default().push((key.version, at));
            let found = entry.references.iter().filter_map(|reference| {
                let place = self.from.index.versions.get_index_of(reference)?;
                rank.get(&place).copied()
            });
            ahead.push(found.collect::<Vec<_>>());
        }
        let mut elder = vec![None; places.len()];
        for versions in by_subject.values_mut() {
            versions.sort_unstable();
            versions.windows(2).for_each(|pair| elder[pair[1].1] = Some(pair[0].1));
        }
        let (order, left) = sorted(&ahead, &elder);
        let left: BTreeSet<usize> = left.into_iter().collect();
        self.blocked.extend(left.iter().map(|at| places[*at]));
        for found in circles(&ahead, &left) {
            self.circular.extend(found.iter().map(|at| places[*at]));
            let Some(first) = found.first().filter(|_| self.obstacles.named.len() < NAMED) else {
                self.obstacles.count += 1;
                continue;
            };
            let found = way(*first, &ahead, &found);
            let mut names: Vec<String> =
                found.iter().take(SHOWN).map(|at| self.own(places[*at]).0.to_string()).collect();
            names.push(if found.len() > SHOWN { "...".to_owned() } else { names[0].clone() });
            let (key, _) = self.own(places[*first]);
            let why = format!("it refers to itself in the end: {}", names.join(" -> "));
            let next = "no registry takes schemas that refer to each other; leave these subjects out";
            self.obstacles.add(What::Cycle, (&key.subject, Some(key.version)), why, next);
        }
        order.into_iter().chain(left).map(|at| places[at]).collect()
    }

    /// Versions of one subject that are one schema: where it is left to the target which number they get, it takes them once.
    fn groups(&self, order: &[usize]) -> HashMap<usize, Arc<Group>> {
        let mut of: HashMap<(&str, Option<u32>, Option<Fingerprint>), usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for place in order {
            let (key, entry) = self.own(*place);
            let by_id = (&*key.subject, Some(entry.id), None);
            let by_text = (&*key.subject, None, Some(entry.fingerprint));
            let names = match self.settings.ids {
                Ids::Mapped => vec![by_id, by_text],
                _ => vec![by_id],
            };
            let known = names.iter().find_map(|name| of.get(name).copied());
            let group = known.unwrap_or_else(|| {
                groups.push(Group::default());
                groups.len() - 1
            });
            of.extend(names.into_iter().map(|name| (name, group)));
            groups[group].members.push(*place);
            groups[group].is_live |= !entry.deleted;
        }
        let mut found = HashMap::new();
        for mut group in groups.into_iter().filter(|group| group.members.len() > 1) {
            let mut members = group.members.iter().copied();
            // What is referred to must be there before what refers to it; else the latest one stays the latest.
            let first = members
                .clone()
                .find(|place| self.referenced.contains(self.own(*place).0))
                .or_else(|| members.clone().rfind(|place| !self.own(*place).1.deleted))
                .or_else(|| members.next());
            group.first = first.unwrap_or_default();
            let group = Arc::new(group);
            found.extend(group.members.iter().map(|place| (*place, Arc::clone(&group))));
        }
        found
    }

    fn bare(&self, place: usize, needed_by: Option<usize>) -> Version {
        let (key, entry) = self.own(place);
        Version {
            subject: Arc::clone(&key.subject),
            version: key.version,
            id: entry.id,
            target_subject: Arc::clone(&self.subjects[&place]),
            target_version: None,
            target_id: None,
            action: Action::Conflict,
            deleted: entry.deleted,
            gone: entry.gone,
            needed_by: needed_by.map(|place| self.own(place).0.to_string()),
            note: None,
            guid: entry.guid.clone(),
            target_guid: None,
            shares: None,
        }
    }

    /// Why a reference cannot be followed.
    fn broken(&self, place: usize) -> Option<(String, &'static str)> {
        self.own(place).1.references.iter().find_map(|reference| {
            match self.from.index.versions.get_index_of(reference) {
                Some(found) if self.blocked.contains(&found) => Some((
                    format!("it refers to {reference}, which cannot be restored"),
                    "see what is said of that one; one that is skipped comes with strategy preserve",
                )),
                Some(_) => None,
                None if self.to.index.versions.contains_key(&self.outside(reference)) => None,
                None => Some((
                    format!("it refers to {reference}, which is neither in the archive nor in the target"),
                    "register that version in the target first, or leave out what refers to it",
                )),
            }
        })
    }

    /// Where a reference leads that the archive has not.
    fn outside(&self, reference: &Key) -> Key {
        match self.settings.renamed(&reference.subject) {
            Some(name) => Key { subject: name.into(), version: reference.version },
            None => reference.clone(),
        }
    }

    /// Whether the references of a version of the archive lead to the same as those of one of the target.
    fn refer_alike(&self, place: usize, theirs: &Entry) -> bool {
        let own = &self.own(place).1.references;
        own.len() == theirs.references.len()
            && own.iter().zip(&theirs.references).all(|(own, theirs)| {
                match self.from.index.versions.get_index_of(own) {
                    Some(found) => {
                        self.subjects.get(&found).is_some_and(|subject| *subject == theirs.subject)
                            && self.matched.get(&found).is_some_and(|same| same.contains(&theirs.version))
                    }
                    None => self.outside(own) == *theirs,
                }
            })
    }

    /// What the target compares texts in: where it normalises them, the normal form.
    fn form(&self, subject: &str) -> Form {
        let configs = &self.to.index.configs;
        let says = |place: &str| {
            configs.get(place).and_then(|config| config.get("normalize")).and_then(Value::as_bool)
        };
        let context = Subject::parse(subject).context;
        let normalizes =
            says(subject).or_else(|| says(&root(&context))).or_else(|| says(&root(&Context::global())));
        if normalizes == Some(true) { Form::Normal } else { Form::Canonical }
    }

    async fn is_same(&mut self, place: usize, theirs: (&Key, &Entry)) -> Result<bool> {
        if !self.refer_alike(place, theirs.1) {
            return Ok(false);
        }
        let form = self.form(&theirs.0.subject);
        self.same.is_same(self.own(place), theirs, form).await
    }

    /// The versions of the target subject that are the same schema.
    async fn find(&mut self, place: usize) -> Result<Vec<(&'a Key, &'a Entry)>> {
        let subject = Arc::clone(&self.subjects[&place]);
        let theirs = self.theirs.get(&*subject).cloned().unwrap_or_default();
        let outline = self.own(place).1.outline;
        let alike =
            |decide: &Self, entry: &Entry| entry.outline == outline && decide.refer_alike(place, entry);
        let mut found: Vec<_> = theirs.iter().copied().filter(|(_, entry)| alike(self, entry)).collect();
        // Texts are read only of what is not written the same.
        if found.is_empty() {
            let form = self.form(&subject);
            let meant = self.same.in_subject(self.own(place), &theirs, form).await?;
            found.extend(meant.into_iter().filter(|(_, entry)| self.refer_alike(place, entry)));
        }
        self.matched.insert(place, found.iter().map(|(key, _)| key.version).collect());
        Ok(found)
    }

    /// A version of another subject of the target that is written the same.
    fn find_elsewhere(&self, place: usize) -> impl Iterator<Item = (&'a Key, &'a Entry)> {
        let context = Subject::parse(&self.subjects[&place]).context;
        let known = self.outlines.get(&(context, self.own(place).1.outline));
        let found = known.into_iter().flatten().filter_map(|at| self.to.index.versions.get_index(*at));
        found.filter(move |(_, entry)| self.refer_alike(place, entry))
    }

    async fn holder(&mut self, place: usize, id: u32, removed: &HashSet<Key>) -> Result<Holder> {
        let context = Subject::parse(&self.subjects[&place]).context;
        let users = self.holders.get(&(context, id)).into_iter().flatten();
        let users = users.filter_map(|at| self.to.index.versions.get_index(*at));
        let Some(user) = users.into_iter().find(|(key, _)| !removed.contains(*key)) else {
            return Ok(Holder::Nobody);
        };
        Ok(match self.is_same(place, user).await? {
            true => Holder::Same,
            false => Holder::Other(user.0.clone()),
        })
    }

    fn refuse(&mut self, what: What, version: &mut Version, why: String, next_step: &str) {
        version.action = match what {
            What::ReferenceMissing => Action::ReferenceMissing,
            What::Cycle => Action::Cycle,
            _ => Action::Conflict,
        };
        self.obstacles.add(what, (&version.subject, Some(version.version)), why, next_step);
    }

    async fn one(&mut self, place: usize, group: Option<&Group>, version: &mut Version) -> Result<()> {
        if self.circular.contains(&place) {
            version.action = Action::Cycle;
            return Ok(());
        }
        if let Some((why, next)) = self.broken(place) {
            self.refuse(What::ReferenceMissing, version, why, next);
            return Ok(());
        }
        // Its name is another one's in the target; that was said.
        if self.blocked.contains(&place) {
            return Ok(());
        }
        let found = self.find(place).await?;
        // Only the id counts of what is gone, unless the subject has the schema besides, or something refers to it there.
        let is_needed = group.is_some() || self.referenced.contains(self.own(place).0);
        if version.gone && found.is_empty() && !is_needed {
            let wanted = self.wanted_id(place);
            let elsewhere =
                self.find_elsewhere(place).find(|(_, entry)| wanted.is_none_or(|id| id == entry.id));
            if let Some((key, entry)) = elsewhere {
                (version.target_id, version.target_guid) = (Some(entry.id), entry.guid.clone());
                version.action = existing(version.id, entry.id);
                version.note = Some(format!("gone from the source, and the same as {key} of the target"));
                self.leans.insert(place, key.clone());
                return Ok(());
            }
        }
        let is_left = self.settings.strategy == Strategy::Skip
            && self.theirs.contains_key(&*version.target_subject)
            && !self.began.is_some_and(|began| began.absent.contains(&*version.target_subject));
        if is_left {
            let is_live = group.map_or(!version.deleted, |group| group.is_live);
            return self.leave(place, found, is_live, version).await;
        }
        match self.is_exact(place) {
            true => self.exact(place, &found, group, version).await,
            false => self.counted(place, &found, group, version).await,
        }
    }

    /// Of a subject that is left alone nothing is written: what is the same schema there is told, and all else is skipped.
    async fn leave(
        &mut self,
        place: usize,
        mut found: Vec<Theirs<'a>>,
        is_live: bool,
        version: &mut Version,
    ) -> Result<()> {
        found.sort_by_key(|(key, entry)| {
            (entry.deleted == is_live, key.version != version.version, Reverse(key.version))
        });
        let mut refused = None;
        for there in &found {
            match self.take(place, *there, version).await? {
                Ok(()) => {
                    if !is_live && !there.1.deleted {
                        version.note = Some(STAYS.to_owned());
                    }
                    return Ok(());
                }
                Err(holder) => refused = refused.or(Some((*there, holder))),
            }
        }
        match refused {
            // Somebody has said which id it is, and is wrong.
            Some((there, holder)) if self.settings.ids != Ids::Forced => {
                self.refuse_id(place, there, holder, version);
                return Ok(());
            }
            Some(((key, entry), _)) => {
                version.note =
                    Some(format!("the target has it as version {} with id {}", key.version, entry.id));
            }
            None => version.note = Some(format!("the target has {}", version.target_subject)),
        }
        version.action = Action::Skipped;
        Ok(())
    }

    /// It is there, and not with the id that a mapping says.
    fn refuse_id(&mut self, place: usize, there: Theirs<'_>, holder: Holder, version: &mut Version) {
        let wanted = self.wanted_id(place).unwrap_or_default();
        let why = match holder {
            Holder::Other(key) => {
                format!("it is to have id {wanted}, which is another schema's there: {key}")
            }
            _ => format!(
                "it is to have id {wanted}, and is there as version {} with id {}",
                there.0.version, there.1.id
            ),
        };
        let next = "correct the mapping of ids, or leave this id out of it";
        self.refuse(What::Conflict, version, why, next);
    }

    /// It is there as this one; `false` where its id is not the one that it is to have.
    async fn take(
        &mut self,
        place: usize,
        there: (&Key, &Entry),
        version: &mut Version,
    ) -> Result<Result<(), Holder>> {
        let mut id = there.1.id;
        if let Some(wanted) = self.wanted_id(place).filter(|wanted| *wanted != id) {
            match self.holder(place, wanted, &HashSet::new()).await? {
                // It has both ids. What is overwritten has its own.
                Holder::Same if !self.overwrites(place) => id = wanted,
                other => return Ok(Err(other)),
            }
        }
        (version.target_version, version.target_id) = (Some(there.0.version), Some(id));
        version.target_guid = there.1.guid.clone();
        version.action = existing(version.id, id);
        Ok(Ok(()))
    }

    /// Where the target counts versions.
    async fn counted(
        &mut self,
        place: usize,
        found: &[(&'a Key, &'a Entry)],
        group: Option<&Group>,
        version: &mut Version,
    ) -> Result<()> {
        let is_live = group.map_or(!version.deleted, |group| group.is_live);
        let of_number = |live: bool| {
            let mut those = found.iter().copied().filter(move |(_, entry)| entry.deleted != live);
            those.clone().find(|(key, _)| key.version == version.version).or_else(|| those.next_back())
        };
        let there = match (is_live, of_number(true), of_number(false)) {
            (true, live, _) => live,
            (false, live, deleted) => deleted.or(live),
        };
        if let Some(there) = there {
            if let Err(holder) = self.take(place, there, version).await? {
                self.refuse_id(place, there, holder, version);
                return Ok(());
            }
            if self.settings.strategy == Strategy::Overwrite {
                self.leans.insert(place, there.0.clone());
            }
            if !is_live && !there.1.deleted {
                match self.is_owed(version) {
                    true => version.action = Action::Delete,
                    false => version.note = Some(STAYS.to_owned()),
                }
            }
            return Ok(());
        }
        if let Some(group) = group
            && group.first != place
        {
            (version.action, version.shares) = (Action::Shared, Some(group.first));
            version.note = Some(format!("the same schema as version {}", self.own(group.first).0.version));
            return Ok(());
        }
        version.action = Action::Create;
        version.deleted = !is_live;
        version.target_id = self.wanted_id(place);
        if is_live && !found.is_empty() {
            version.note = Some("it is softly deleted in the target, and comes back".to_owned());
        }
        Ok(())
    }

    /// An earlier run has registered it to delete it softly.
    fn is_owed(&self, version: &Version) -> bool {
        let key = (version.subject.to_string(), version.version);
        self.began.is_some_and(|began| began.deletions.contains(&key))
    }

    /// A version that is not gone, and is there in time for what refers to this one.
    fn partner(&self, place: usize, group: &Group) -> Option<usize> {
        let is_referenced = self.referenced.contains(self.own(place).0);
        let in_time = group.members.iter().copied().take_while(|member| !is_referenced || *member != place);
        in_time.filter(|member| !self.own(*member).1.gone).last()
    }

    /// Where numbers are those of the archive.
    async fn exact(
        &mut self,
        place: usize,
        found: &[(&'a Key, &'a Entry)],
        group: Option<&Group>,
        version: &mut Version,
    ) -> Result<()> {
        let overwrite = self.overwrites(place);
        let to = self.to;
        // Of what is gone only the id counts, so another version of its schema will do.
        if version.gone {
            let partner = group.and_then(|group| self.partner(place, group));
            let number = partner.map_or(version.version, |partner| self.own(partner).0.version);
            let of_number = |number| found.iter().copied().find(|(key, _)| key.version == number);
            let best = of_number(version.version).into_iter().chain(of_number(number));
            for there in best.chain(found.iter().rev().copied()) {
                if self.take(place, there, version).await?.is_ok() {
                    if self.is_owed(version) && !there.1.deleted {
                        version.action = Action::Delete;
                    }
                    self.leans.insert(place, there.0.clone());
                    return Ok(());
                }
            }
            if let Some(partner) = partner {
                (version.action, version.shares) = (Action::Shared, Some(partner));
                version.note = Some(format!("the same schema as version {number}"));
                return Ok(());
            }
        }
        let key = Key { subject: Arc::clone(&version.target_subject), version: version.version };
        let Some(at) = to.index.versions.get_key_value(&key) else {
            version.action = Action::Create;
            version.target_version = Some(version.version);
            version.target_id = self.wanted_id(place);
            return Ok(());
        };
        if found.iter().any(|(key, _)| *key == at.0) || self.is_same(place, at).await? {
            match self.take(place, at, version).await? {
                Ok(()) => {
                    if at.1.deleted && !version.deleted {
                        version.action = Action::Create;
                        version.note = Some("it is softly deleted in the target, and comes back".to_owned());
                    } else if version.deleted && !at.1.deleted {
                        match overwrite || self.is_owed(version) {
                            true => version.action = Action::Delete,
                            false => version.note = Some(STAYS.to_owned()),
                        }
                    }
                    return Ok(());
                }
                Err(_) if overwrite => {}
                Err(holder) => {
                    let why = match holder {
                        Holder::Other(other) => format!(
                            "it has id {} there, and its own, {}, is another schema's: {other}",
                            at.1.id, version.id
                        ),
                        _ => format!("it has id {} there, and not its own, {}", at.1.id, version.id),
                    };
                    let next = "restore with rewrite_ids, or into an empty registry; strategy overwrite replaces what was asked for";
                    self.refuse(What::Conflict, version, why, next);
                    return Ok(());
                }
            }
        } else if version.gone {
            version.action = Action::Create;
            version.target_id = self.wanted_id(place);
            return Ok(());
        } else if !overwrite {
            let why = format!("version {} of {} is another schema there", key.version, key.subject);
            let next =
                "restore with rewrite_ids, under another name (subject_mapping), or with strategy overwrite";
            self.refuse(What::Conflict, version, why, next);
            return Ok(());
        }
        self.matched.remove(&place);
        version.action = Action::Replace;
        version.target_version = Some(version.version);
        version.target_id = self.wanted_id(place);
        version.note = Some(format!("the target's, with id {}, is deleted for good", at.1.id));
        Ok(())
    }

    /// Ids that versions are to have must be free there, or be theirs.
    async fn ids(&mut self, versions: &mut [Version], removals: &[Key]) -> Result<()> {
        let removed: HashSet<Key> = removals.iter().cloned().collect();
        let mut planned: HashMap<(Context, u32), usize> = HashMap::new();
        for version in versions.iter_mut().filter(|version| version.action.is_written()) {
            let Some(id) = version.target_id else { continue };
            let Some(place) = self.from.index.versions.get_index_of(&version.key()) else { continue };
            if let Holder::Other(key) = self.holder(place, id, &removed).await? {
                let why = format!("its id {id} is another schema's in the target: {key}");
                let next = "restore with rewrite_ids, or into an empty registry or context; ids in records cannot be told apart otherwise";
                self.refuse(What::Conflict, version, why, next);
                continue;
            }
            let context = Subject::parse(&version.target_subject).context;
            let first = *planned.entry((context, id)).or_insert(place);
            let (one, other) = (self.own(first), self.own(place));
            // Registries that tell in the metadata which version it is tell another number under the same id.
            let is_told = one.1.outline == other.1.outline && one.1.references == other.1.references;
            if !is_told
                && one.1.fingerprint != other.1.fingerprint
                && !self.from.is_same(one.0, self.from, other.0).await?
            {
                let why = format!("its id {id} is to be another schema's too: {}", one.0);
                let next =
                    "one id cannot mean two schemas; correct the mapping of ids, or leave one of them out";
                self.refuse(What::Conflict, version, why, next);
            }
        }
        Ok(())
    }
}

/// What is there is there under its own id, or under another one.
fn existing(own: u32, there: u32) -> Action {
    if own == there { Action::Exists } else { Action::ExistsUnderOtherId }
}
