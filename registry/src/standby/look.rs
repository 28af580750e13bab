//! One look at the leader: what is new, other or gone there is written here as it comes.
//!
//! Versions come subject by subject, what is referred to first, and are committed in parts; so memory holds the texts of one part, and a
//! process that dies in between goes on where it was. Settings and modes come after the versions.

use super::follower::Follower;
use super::marker::{Marker, Phase};
use super::rows::{Fresh, Here, Step, decide};
use crate::client::Client;
use crate::error::Error;
use crate::live::Scope;
use crate::names::{Context, Subject};
use crate::settings::{Config, Mode};
use crate::state::ContextState;
use crate::store::{Head, SchemaId};
use crate::transfer::{self, Item, Key, Kind, MassDeletion, Oddities, Walk, is_gone, is_mass_deletion};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

/// Rows of one commit, and bytes of their texts.
const PART: usize = 128;
const PART_BYTES: usize = 2 << 20;

/// Things that are named; more are only counted.
const NAMED: usize = 20;

/// The code of what a store cannot hold.
const TOO_LARGE: u32 = 42209;

/// What is kept from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    looks: u32,
    /// Every version is to be read, whatever is known.
    whole: bool,
    /// Missing at the last look, or another schema: the next one must say the same.
    doubted: HashSet<Key>,
    /// Versions whose id belonged to another schema at the last look.
    held: HashSet<Key>,
    /// What cannot be held, as it was logged.
    left_out: BTreeMap<Key, String>,
}

impl Memory {
    /// That of somebody who has not looked yet. `whole`: the first look reads every version.
    pub(super) fn new(whole: bool) -> Self {
        Self { whole, ..Self::default() }
    }
}

/// Why a look has ended early.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The leader does not answer, or not as a registry does.
    Leader(transfer::Error),
    /// A person must decide.
    Held(String),
    /// The store here.
    Store(Error),
    /// Somebody else has written meanwhile: look again.
    Overtaken,
    /// It does not follow any more.
    Ended,
}

impl From<transfer::Error> for Trouble {
    fn from(error: transfer::Error) -> Self {
        Self::Leader(error)
    }
}

/// What a look has found.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// Versions that are otherwise at the leader, and not brought along yet.
    pub(super) behind: u64,
    /// Versions that cannot be held.
    pub(super) left_out: u64,
}

/// What is collected on the way.
#[derive(Default)]
struct Found {
    contexts: HashSet<Context>,
    configs: BTreeMap<Subject, Config>,
    modes: BTreeMap<Subject, Mode>,
    /// Subjects that are listed.
    subjects: HashSet<Subject>,
    /// Versions that are listed.
    listed: usize,
    /// Here and not in the leader's lists.
    missing: Vec<(Subject, i32)>,
    /// Other schemas than here, for the first time.
    others: HashSet<Key>,
    held: HashSet<Key>,
    left_out: BTreeMap<Key, String>,
}

/// What waits to be committed, all of one context.
struct Part {
    heads: HashMap<Context, Head>,
    context: Context,
    steps: Vec<Step>,
    bytes: usize,
}

/// What a decision has come to.
enum Decided {
    Done(Vec<Key>),
    Overtaken,
    Ended,
}

fn key(subject: &Subject, version: i32) -> Key {
    Key { subject: subject.to_string().into(), version }
}

impl Follower {
    /// Looks at the leader, and brings along what is otherwise there.
    pub(super) async fn look(&self, memory: &mut Memory) -> Result<Looked, Trouble> {
        let live = self.live();
        live.confirm().await.map_err(Trouble::Store)?;
        if !self.is_following() {
            return Err(Trouble::Ended);
        }
        memory.looks = memory.looks.wrapping_add(1);
        // Before the walk: what has such an id is seen by it, or gone.
        let (next_ids, lost) = self.next_ids().await?;
        let heads = live.contexts().into_iter().map(|context| {
            let head = live.read(&context, ContextState::head);
            (context, head)
        });
        let mut part =
            Part { heads: heads.collect(), context: Context::default_context(), steps: Vec::new(), bytes: 0 };
        let mut found = Found::default();
        let oddities = self.walk(memory, &mut part, &mut found).await?;
        for oddity in oddities.named.iter().take(NAMED) {
            tracing::debug!(leader = self.leader(), "{oddity}");
        }
        self.flush(&mut part, &mut found).await?;
        let doubted = self.remove(memory, &mut part, &mut found).await?;
        let known_before = std::mem::replace(&mut memory.held, std::mem::take(&mut found.held));
        for key in memory.held.intersection(&known_before) {
            let why =
                "its id belongs to another schema here, which is still at the leader: one id has one text";
            found.left_out.insert(key.clone(), why.to_owned());
        }
        // What an instance that lags says of settings is not to be believed either.
        if doubted.is_empty() {
            self.settings(&mut part, &mut found).await?;
        }
        let raised = self.raise_ids(next_ids, memory.whole, &mut part, &mut found).await?;
        let strange = raised + if memory.whole { 0 } else { lost };
        let waiting = memory.held.iter().filter(|key| !found.left_out.contains_key(*key)).count();
        let behind = doubted.len() as u64 + waiting as u64 + strange;
        memory.doubted = doubted;
        memory.whole = strange > 0;
        self.tell_left_out(memory, found.left_out);
        Ok(Looked { behind, left_out: memory.left_out.len() as u64 })
    }

    /// Walks through the leader. What it shows is taken between its steps, so that no more is read than can be written.
    async fn walk(&self, memory: &Memory, part: &mut Part, found: &mut Found) -> Result<Oddities, Trouble> {
        let live = self.live();
        let (rounds, whole, doubted) = (self.rounds(), memory.whole, &memory.doubted);
        let turn = memory.looks % rounds;
        let known = |key: &Key, deleted: Option<bool>| {
            let subject = key.subject();
            let here =
                live.read(&subject.context, |state| super::rows::version(state, &subject.name, key.version));
            // Whether it is deleted the version says itself, so one whose list says something new is asked for again.
            let is_known = here.is_some_and(|version| {
                deleted.is_none_or(|deleted| deleted == version.deleted) && version.schema.id % rounds != turn
            });
            is_known && !whole && !doubted.contains(key)
        };
        let items: Mutex<VecDeque<Item>> = Mutex::default();
        let lock = || items.lock().unwrap_or_else(PoisonError::into_inner);
        let walk = Walk {
            client: self.client(),
            contexts: &[],
            known: Some(&known),
            progress: self.progress(),
            stop: &|| false,
        };
        let mut visit = |item| {
            lock().push_back(item);
            Ok(())
        };
        let mut going = std::pin::pin!(walk.go(&mut visit));
        loop {
            let ended = poll_fn(|cx| match going.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending if lock().is_empty() => Poll::Pending,
                Poll::Pending => Poll::Ready(None),
            })
            .await;
            loop {
                let Some(item) = lock().pop_front() else { break };
                self.take(item, memory, part, found).await?;
            }
            if let Some(ended) = ended {
                return Ok(ended?);
            }
        }
    }

    async fn take(
        &self,
        item: Item,
        memory: &Memory,
        part: &mut Part,
        found: &mut Found,
    ) -> Result<(), Trouble> {
        let live = self.live();
        match item {
            Item::Context(name) => found.contexts.extend(Context::named(&name)),
            Item::Config(place, config) => match serde_json::from_value::<Config>(Value::Object(config)) {
                Ok(config) => drop(found.configs.insert(Subject::parse(&place), config)),
                Err(error) => {
                    let why = format!("its settings are not understood: {error}");
                    found.left_out.insert(Key { subject: place.into(), version: 0 }, why);
                }
            },
            Item::Mode(place, mode) => drop(found.modes.insert(Subject::parse(&place), mode)),
            Item::Listed(subject, numbers) => {
                found.listed += numbers.len();
                let listed: HashSet<i32> = numbers.into_iter().map(|(number, _)| number).collect();
                let here: Vec<i32> = live.read(&subject.context, |state| {
                    let versions = state.versions(&subject.name).iter().map(|version| version.version);
                    versions.filter(|number| !listed.contains(number)).collect()
                });
                found.missing.extend(here.into_iter().map(|number| (subject.clone(), number)));
                found.subjects.insert(subject);
            }
            Item::Version(schema) | Item::Gone(schema) => {
                let at = key(&Subject::parse(&schema.subject), schema.version);
                let fresh = match Fresh::of(schema) {
                    Ok(fresh) => fresh,
                    Err(why) => {
                        found.left_out.insert(at, why);
                        return Ok(());
                    }
                };
                match fresh.here(live) {
                    Here::Same => {}
                    Here::Missing | Here::Otherwise => self.put(fresh, part, found).await?,
                    // A number that has become another schema's: believed at the second look, as what is gone is.
                    Here::Another if memory.doubted.contains(&at) => {
                        let gone = Step::Remove(Arc::clone(&fresh.subject.name), fresh.version);
                        self.push(fresh.subject.context.clone(), gone, part, found).await?;
                        self.flush(part, found).await?;
                        self.put(fresh, part, found).await?;
                    }
                    Here::Another => drop(found.others.insert(at)),
                }
            }
        }
        Ok(())
    }

    async fn put(&self, fresh: Fresh, part: &mut Part, found: &mut Found) -> Result<(), Trouble> {
        let context = fresh.subject.context.clone();
        self.push(context, Step::Put(Arc::new(fresh)), part, found).await
    }

    async fn push(
        &self,
        context: Context,
        step: Step,
        part: &mut Part,
        found: &mut Found,
    ) -> Result<(), Trouble> {
        if part.context != context {
            self.flush(part, found).await?;
            part.context = context;
        }
        part.bytes += step.bytes();
        part.steps.push(step);
        match part.steps.len() >= PART || part.bytes >= PART_BYTES {
            true => self.flush(part, found).await,
            false => Ok(()),
        }
    }

    /// Commits what waits; where the store cannot hold all of it, one by one.
    async fn flush(&self, part: &mut Part, found: &mut Found) -> Result<(), Trouble> {
        let steps = Arc::new(std::mem::take(&mut part.steps));
        part.bytes = 0;
        if steps.is_empty() {
            return Ok(());
        }
        match self.commit(part, Arc::clone(&steps), found).await {
            Err(Trouble::Store(error)) if error.code() == TOO_LARGE => {}
            done => return done,
        }
        for step in steps.iter() {
            match self.commit(part, Arc::new(vec![step.clone()]), found).await {
                Err(Trouble::Store(error)) if error.code() == TOO_LARGE => {
                    let Step::Put(fresh) = step else { return Err(Trouble::Store(error)) };
                    found.left_out.insert(fresh.key(), error.message().to_owned());
                }
                done => done?,
            }
        }
        Ok(())
    }

    async fn commit(&self, part: &mut Part, steps: Arc<Vec<Step>>, found: &mut Found) -> Result<(), Trouble> {
        let (live, context) = (self.live(), part.context.clone());
        let expected = part.heads.get(&context).copied().unwrap_or(Head::EMPTY);
        let (bytes, count) = (steps.iter().map(Step::bytes).sum(), steps.len() as u64);
        let decided = live.mirror(&context, Scope::Context, bytes, move |draft| {
            Ok(match draft.marker() {
                Some(Marker { phase: Phase::Following, .. }) if draft.state().head() == expected => {
                    Decided::Done(decide(draft, &steps))
                }
                Some(Marker { phase: Phase::Following, .. }) => Decided::Overtaken,
                _ => Decided::Ended,
            })
        });
        match decided.await.map_err(Trouble::Store)? {
            Decided::Done(held) => {
                let head = live.read(&context, ContextState::head);
                if head.revision > expected.revision + 1 {
                    return Err(Trouble::Overtaken);
                }
                part.heads.insert(context, head);
                self.count_changes(count - held.len() as u64);
                found.held.extend(held);
                Ok(())
            }
            Decided::Overtaken => Err(Trouble::Overtaken),
            Decided::Ended => Err(Trouble::Ended),
        }
    }

    /// Removes what is gone for sure; gives what may be, or may be another schema, and must be seen so once more.
    async fn remove(
        &self,
        memory: &mut Memory,
        part: &mut Part,
        found: &mut Found,
    ) -> Result<HashSet<Key>, Trouble> {
        let live = self.live();
        let mut missing = std::mem::take(&mut found.missing);
        let mut known = 0;
        for context in live.contexts() {
            live.read(&context, |state| {
                for (name, versions) in state.subjects() {
                    known += versions.len();
                    let subject = Subject { context: context.clone(), name: Arc::clone(name) };
                    if !found.subjects.contains(&subject) {
                        missing.extend(versions.iter().map(|version| (subject.clone(), version.version)));
                    }
                }
            });
        }
        let (again, first): (Vec<_>, Vec<_>) = missing
            .into_iter()
            .partition(|(subject, number)| memory.doubted.contains(&key(subject, *number)));
        let mut doubted = std::mem::take(&mut found.others);
        doubted.extend(first.iter().map(|(subject, number)| key(subject, *number)));
        let lost = again.len();
        let is_mass = is_mass_deletion(lost, known, found.listed == 0);
        if is_mass && self.mass_deletion() == MassDeletion::Refused {
            doubted.extend(again.iter().map(|(subject, number)| key(subject, *number)));
            memory.doubted = doubted;
            return Err(Trouble::Held(format!(
                "{lost} of {known} versions are gone from {} at once, and none of them was deleted here. Look whether it has lost its \
                 data or hides subjects from this user; where such deletions are meant, set follow.mass_deletion: follow",
                self.leader()
            )));
        }
        for (subject, number) in again {
            if is_gone(self.client(), &key(&subject, number)).await? {
                let gone = Step::Remove(Arc::clone(&subject.name), number);
                self.push(subject.context, gone, part, found).await?;
            }
        }
        self.flush(part, found).await?;
        Ok(doubted)
    }

    /// Settings, modes and the list of contexts.
    async fn settings(&self, part: &mut Part, found: &mut Found) -> Result<(), Trouble> {
        let live = self.live();
        let mut steps: Vec<(Context, Step)> = Vec::new();
        let (mut configs, mut modes) = (std::mem::take(&mut found.configs), std::mem::take(&mut found.modes));
        let top = Subject::new(Context::default_context(), "");
        // It hides all other modes, so nobody knows that there are none.
        let is_overridden = modes.get(&top) == Some(&Mode::ReadonlyOverride);
        // The top answers also what is set nowhere, or for all contexts. For its own that would fill what subjects leave open.
        let global = Subject::new(Context::global(), "");
        if configs.get(&top) == Some(&self.registry().config_of_all(configs.get(&global).cloned())) {
            configs.remove(&top);
        }
        if modes.get(&top) == Some(modes.get(&global).unwrap_or(&Mode::Readwrite)) {
            modes.remove(&top);
        }
        for context in found.contexts.iter().filter(|context| !context.is_default()) {
            if !live.read(context, ContextState::is_listed) {
                steps.push((context.clone(), Step::Listed(true)));
            }
        }
        for (at, config) in &configs {
            if live.read(&at.context, |state| state.config(&at.name) != Some(config)) {
                let step = Step::Config(Arc::clone(&at.name), Some(Box::new(config.clone())));
                steps.push((at.context.clone(), step));
            }
        }
        for (at, mode) in &modes {
            if live.read(&at.context, |state| state.mode(&at.name) != Some(*mode)) {
                steps.push((at.context.clone(), Step::Mode(Arc::clone(&at.name), Some(*mode))));
            }
        }
        for (context, name, is_config) in self.own_places() {
            let at = Subject { context: context.clone(), name: Arc::clone(&name) };
            let step = match is_config {
                true if configs.contains_key(&at) => continue,
                true => Step::Config(name, None),
                false if is_overridden || modes.contains_key(&at) => continue,
                false => Step::Mode(name, None),
            };
            // Of a subject without versions a list tells nothing.
            let was_asked =
                found.subjects.contains(&at) || (at.is_root() && self.is_asked(&at.context, found));
            let step = if was_asked { step } else { told(self.client(), &at, step).await? };
            let is_so = live.read(&context, |state| match &step {
                Step::Config(name, config) => state.config(name) == config.as_deref(),
                Step::Mode(name, mode) => state.mode(name) == *mode,
                _ => false,
            });
            if !is_so {
                steps.push((context, step));
            }
        }
        for context in live.contexts() {
            let is_empty = live.read(&context, |state| state.is_listed() && state.is_empty());
            if is_empty && !context.is_default() && !found.contexts.contains(&context) {
                steps.push((context, Step::Listed(false)));
            }
        }
        steps.sort_by(|one, other| one.0.cmp(&other.0));
        for (context, step) in steps {
            self.push(context, step, part, found).await?;
        }
        self.flush(part, found).await
    }

    fn is_asked(&self, context: &Context, found: &Found) -> bool {
        context.is_default() || context.is_global() || found.contexts.contains(context)
    }

    /// Places that have settings (true) or a mode (false) here, but for the marker.
    fn own_places(&self) -> Vec<(Context, Arc<str>, bool)> {
        let live = self.live();
        let mut places = Vec::new();
        for context in live.contexts() {
            live.read(&context, |state| {
                let named = |name: &Arc<str>| !context.is_global() || name.is_empty();
                let configs = state.configs().filter(|name| named(name)).map(|name| (name, true));
                let modes = state.modes().filter(|name| named(name)).map(|name| (name, false));
                places.extend(
                    configs
                        .chain(modes)
                        .map(|(name, is_config)| (context.clone(), Arc::clone(name), is_config)),
                );
            });
        }
        places
    }

    /// What the leader would give as the next id of each context that has a version here, where it tells that; and of how many it does
    /// not have the schema that was asked for: that version is gone, or its number another schema's.
    async fn next_ids(&self) -> Result<(BTreeMap<Context, SchemaId>, u64), Trouble> {
        let live = self.live();
        let (mut next, mut lost) = (BTreeMap::new(), 0);
        for context in live.contexts() {
            let any = live.read(&context, |state| {
                let (_, versions) = state.subjects().find(|(_, versions)| !versions.is_empty())?;
                versions.first().map(|version| version.schema.id)
            });
            let Some(id) = any else { continue };
            let at = Subject::new(context.clone(), "");
            match self.client().highest_id(id, &at).await {
                Ok(highest) => next.extend(highest.map(|highest| (context, highest.saturating_add(1)))),
                Err(error) if error.is_absent() => lost += 1,
                Err(error) => return Err(Trouble::Leader(error.into())),
            }
        }
        Ok((next, lost))
    }

    /// Sees to it that no id is given here that the leader has given, though its schema is gone. Such an id may also be that of a version
    /// which was deleted and registered anew under its old number since it was read, and no list shows that: unless every version
    /// was read, gives how many contexts have one, and leaves them.
    async fn raise_ids(
        &self,
        next: BTreeMap<Context, SchemaId>,
        whole: bool,
        part: &mut Part,
        found: &mut Found,
    ) -> Result<u64, Trouble> {
        let live = self.live();
        let mut strange = 0;
        for (context, wanted) in next {
            if live.read(&context, |state| state.head().next_id) >= wanted {
                continue;
            }
            match whole {
                true => self.push(context, Step::NextId(wanted), part, found).await?,
                false => strange += 1,
            }
        }
        self.flush(part, found).await?;
        Ok(strange)
    }

    /// Says once what cannot be held.
    fn tell_left_out(&self, memory: &mut Memory, left_out: BTreeMap<Key, String>) {
        let new = left_out.iter().filter(|(key, why)| memory.left_out.get(key) != Some(why));
        for (key, why) in new.take(NAMED) {
            tracing::error!(leader = self.leader(), version = %key, why, "cannot be held here and is left out");
        }
        memory.left_out = left_out;
    }

    pub(super) fn count_changes(&self, count: u64) {
        self.changes.fetch_add(count, Relaxed);
    }
}

/// What the leader says of a place that no list names. Settings that are not understood are as good as none.
async fn told(client: &Client, at: &Subject, step: Step) -> Result<Step, Trouble> {
    let asked = |error: crate::client::Error| Trouble::Leader(error.into());
    Ok(match step {
        Step::Config(name, _) => {
            let config = client.config(at).await.map_err(asked)?;
            let config = config.and_then(|config| serde_json::from_value(Value::Object(config)).ok());
            Step::Config(name, config.map(Box::new))
        }
        Step::Mode(name, _) => Step::Mode(name, client.mode(at).await.map_err(asked)?),
        other => other,
    })
}

impl Trouble {
    /// A look that was not begun for the leader's sake, for whoever asked for it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Leader(error) => match (error.kind(), error.next_step()) {
                (Kind::Interrupted, _) => "the last look was interrupted".to_owned(),
                (_, Some(next)) => format!("{error}; {next}"),
                (_, None) => error.to_string(),
            },
            Self::Held(why) => why.clone(),
            Self::Store(error) => error.message().to_owned(),
            Self::Overtaken => "another instance has written to the store meanwhile".to_owned(),
            Self::Ended => "it does not follow any more".to_owned(),
        }
    }
}
