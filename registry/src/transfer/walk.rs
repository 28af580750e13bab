//! Goes through a registry: contexts, settings, modes, and then all versions, what is referred to before what refers to it.
//!
//! Versions come subject by subject. One that refers to something that has not come yet is let go, and asked for again after it; so
//! memory holds no more texts than are in flight, whatever refers to what.

use super::Progress;
use super::error::{Error, Kind, Result};
use super::index::{self, references, root};
use crate::client::{Client, Schema, Settings};
use crate::names::{Context, Subject};
use crate::settings::Mode;
use futures::stream::{StreamExt, TryStreamExt};
use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

/// Oddities that are named; more are only counted.
const NAMED: usize = 100;

/// A way through a registry.
pub struct Walk<'a> {
    /// The registry.
    pub client: &'a Client,
    /// The contexts; none stand for all.
    pub contexts: &'a [Context],
    /// What is known already: of these versions only the numbers are asked for.
    pub known: Option<&'a Known<'a>>,
    /// Counts what is read.
    pub progress: &'a Progress,
    /// Whether to stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// Whether a version is known; also told is whether its list has it as softly deleted, where it comes from a list.
pub type Known<'a> = dyn Fn(&index::Key, Option<bool>) -> bool + Sync + 'a;

/// What is found on the way.
#[derive(Debug)]
pub enum Item {
    /// A context.
    Context(String),
    /// Settings of a place.
    Config(String, Settings),
    /// The mode of a place.
    Mode(String, Mode),
    /// A subject with the numbers of its versions, and whether they are softly deleted.
    Listed(Subject, Vec<(i32, bool)>),
    /// A version.
    Version(Schema),
    /// A version that is not at the source any more, and whose id may still be in records. Only a backup has such ones.
    Gone(Schema),
}

/// What is odd about a registry: its references, its modes, its lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Each in words.
    pub named: Vec<String>,
    /// How many there are.
    pub count: u64,
}

impl Oddities {
    fn add(&mut self, what: String) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(what);
        }
    }
}

type Key = (Subject, i32);

/// A subject with the numbers of its versions, and whether they are softly deleted.
type Numbered = (Subject, Vec<(i32, bool)>);

/// What has come, and what never will.
struct Passed<'a> {
    walk: &'a Walk<'a>,
    done: HashSet<Key>,
    missing: HashSet<Key>,
    oddities: Oddities,
}

impl Walk<'_> {
    /// Shows everything to `visit`.
    pub async fn go(&self, visit: &mut (dyn FnMut(Item) -> Result<()> + Send)) -> Result<Oddities> {
        let mut oddities = Oddities::default();
        let hidden = self.places(visit, &mut oddities).await?;
        let listed: Mutex<Vec<Numbered>> = Mutex::default();
        let take = || std::mem::take(&mut *listed.lock().unwrap_or_else(PoisonError::into_inner));
        let wanted = |subject: &Subject, numbers: &[(i32, bool)]| {
            let mut listed = listed.lock().unwrap_or_else(PoisonError::into_inner);
            listed.push((subject.clone(), numbers.to_vec()));
            let new =
                numbers.iter().filter(|(number, deleted)| !self.is_known(subject, *number, Some(*deleted)));
            new.map(|(number, _)| *number).collect()
        };
        let mut awaited: HashSet<Key> = HashSet::new();
        let mut passed = Passed { walk: self, done: HashSet::new(), missing: HashSet::new(), oddities };
        let mut schemas = std::pin::pin!(self.client.schemas(self.contexts, &hidden, wanted));
        while let Some(schema) = schemas.next().await {
            self.listed(take(), &mut awaited, visit)?;
            let schema = schema?;
            awaited.remove(&(Subject::parse(&schema.subject), schema.version));
            passed.pass(schema, visit).await?;
        }
        self.listed(take(), &mut awaited, visit)?;
        // What was deleted since it was listed is not listed any more.
        awaited.retain(|key| !passed.done.contains(key));
        for (subject, number) in awaited {
            self.check()?;
            if self.client.versions(&subject).await?.iter().any(|(listed, _)| *listed == number) {
                let text =
                    format!("{subject} version {number} is listed, and not there when it is asked for");
                passed.oddities.add(text);
            }
        }
        Ok(passed.oddities)
    }

    /// Shows contexts, settings and modes, and no versions.
    pub async fn settings(&self, visit: &mut (dyn FnMut(Item) -> Result<()> + Send)) -> Result<Oddities> {
        let mut oddities = Oddities::default();
        self.places(visit, &mut oddities).await?;
        Ok(oddities)
    }

    fn listed(
        &self,
        all: Vec<Numbered>,
        awaited: &mut HashSet<Key>,
        visit: &mut (dyn FnMut(Item) -> Result<()> + Send),
    ) -> Result<()> {
        for (subject, numbers) in all {
            let new =
                numbers.iter().filter(|(number, deleted)| !self.is_known(&subject, *number, Some(*deleted)));
            awaited.extend(new.map(|(number, _)| (subject.clone(), *number)));
            visit(Item::Listed(subject, numbers))?;
        }
        Ok(())
    }

    fn is_known(&self, subject: &Subject, version: i32, deleted: Option<bool>) -> bool {
        let key = || index::Key { subject: subject.to_string().into(), version };
        self.known.is_some_and(|known| known(&key(), deleted))
    }

    fn is_wanted(&self, context: &Context) -> bool {
        self.contexts.is_empty() || self.contexts.contains(context)
    }

    /// Contexts, settings and modes. Gives the subjects that an alias hides.
    async fn places(
        &self,
        visit: &mut (dyn FnMut(Item) -> Result<()> + Send),
        oddities: &mut Oddities,
    ) -> Result<HashSet<Subject>> {
        let mut contexts = self.client.contexts().await?;
        contexts.retain(|context| self.is_wanted(context));
        for context in &contexts {
            visit(Item::Context(context.to_string()))?;
        }
        let mut roots: Vec<Subject> =
            contexts.iter().map(|context| Subject::new(context.clone(), "")).collect();
        // The defaults of all contexts, which not every registry knows.
        if self.is_wanted(&Context::global()) {
            roots.push(Subject::new(Context::global(), ""));
        }
        let mut is_overridden = false;
        for place in &roots {
            self.check()?;
            let config = match self.client.config(place).await {
                // A registry that takes it for a subject may refuse the name.
                Err(error) if place.context.is_global() && error.status().is_some_and(|s| s < 500) => None,
                config => config?,
            };
            if let Some(config) = config {
                visit(Item::Config(root(&place.context), config))?;
            }
            let mode = match self.client.mode(place).await {
                Err(error) if place.context.is_global() && error.status().is_some_and(|s| s < 500) => None,
                mode => mode?,
            };
            is_overridden |= mode == Some(Mode::ReadonlyOverride);
            // It is answered for every place, and is that of the registry.
            if let Some(mode) =
                mode.filter(|mode| *mode != Mode::ReadonlyOverride || place.context.is_default())
            {
                visit(Item::Mode(root(&place.context), mode))?;
            }
        }
        if is_overridden {
            oddities.add("the registry is READONLY_OVERRIDE, so that no other mode can be read".to_owned());
        }
        let mut hidden = HashSet::new();
        let named = self.client.subjects(self.contexts).try_filter(|subject| {
            // The settings of a context's root are those of the context.
            std::future::ready(!subject.is_root())
        });
        let asked = named.map_ok(|subject| async move {
            let (config, mode) =
                futures::try_join!(self.client.config(&subject), self.client.mode(&subject))?;
            Ok((subject, config, mode.filter(|mode| *mode != Mode::ReadonlyOverride)))
        });
        let (mut modes, mut subjects) = (Vec::new(), 0);
        let mut answers = std::pin::pin!(asked.try_buffered(self.client.in_flight()));
        while let Some(answer) = answers.next().await {
            self.check()?;
            let (subject, config, mode) = answer?;
            if let Some(config) = config {
                let alias = config.get("alias").and_then(|alias| alias.as_str());
                if alias.is_some_and(|alias| !alias.is_empty()) {
                    hidden.insert(subject.clone());
                }
                visit(Item::Config(subject.to_string(), config))?;
            }
            subjects += 1;
            modes.extend(mode.map(|mode| (subject, mode)));
        }
        if modes.len() > 1 && modes.len() == subjects && self.are_of_the_registry(&modes).await? {
            let text =
                "every subject answers the registry's mode for its own; it is kept as the registry's alone";
            oddities.add(text.to_owned());
            modes.clear();
        }
        for (subject, mode) in modes {
            visit(Item::Mode(subject.to_string(), mode))?;
        }
        Ok(hidden)
    }

    /// Whether these modes are but that of the registry: Karapace, which knows no contexts, answers it for every subject.
    async fn are_of_the_registry(&self, modes: &[(Subject, Mode)]) -> Result<bool> {
        let top = self.client.mode(&Subject::new(Context::default_context(), "")).await?;
        Ok(modes.iter().all(|(subject, mode)| subject.context.is_default() && Some(*mode) == top))
    }

    fn check(&self) -> Result<()> {
        match (self.stop)() {
            true => {
                Err(Error::new(Kind::Interrupted, format!("reading {} was interrupted", self.client.name())))
            }
            false => Ok(()),
        }
    }
}

impl Passed<'_> {
    /// Shows a version, after everything that it refers to and that has not been shown.
    async fn pass(
        &mut self,
        schema: Schema,
        visit: &mut (dyn FnMut(Item) -> Result<()> + Send),
    ) -> Result<()> {
        let first = (Subject::parse(&schema.subject), schema.version);
        let mut steps: Vec<(Key, Option<Schema>)> = vec![(first, Some(schema))];
        let mut open: HashSet<Key> = HashSet::new();
        while let Some((key, schema)) = steps.pop() {
            self.walk.check()?;
            if self.done.contains(&key) {
                continue;
            }
            let schema = match schema {
                Some(schema) => Some(schema),
                None => self.fetch(&key).await?,
            };
            let Some(schema) = schema else {
                self.missing.insert(key);
                continue;
            };
            let unmet: Vec<Key> = self.unmet(&schema);
            let (back, ahead): (Vec<Key>, Vec<Key>) =
                unmet.into_iter().partition(|reference| open.contains(reference) || *reference == key);
            if ahead.is_empty() {
                for (subject, version) in back {
                    let (from, number) = &key;
                    self.oddities.add(format!(
                        "{from} version {number} refers to {subject} version {version}, which leads back to it"
                    ));
                }
                for (subject, version) in references(&schema).iter().filter(|key| self.missing.contains(*key))
                {
                    let (from, number) = &key;
                    self.oddities.add(format!(
                        "{from} version {number} refers to {subject} version {version}, which is not there"
                    ));
                }
                self.walk.progress.read.fetch_add(1, Relaxed);
                visit(Item::Version(schema))?;
                open.remove(&key);
                self.done.insert(key);
                continue;
            }
            open.insert(key.clone());
            steps.push((key, None));
            steps.extend(ahead.into_iter().map(|reference| (reference, None)));
        }
        Ok(())
    }

    fn unmet(&self, schema: &Schema) -> Vec<Key> {
        let unmet = references(schema).into_iter().filter(|key| {
            let (subject, version) = key;
            self.walk.is_wanted(&subject.context)
                && !self.done.contains(key)
                && !self.missing.contains(key)
                && !self.walk.is_known(subject, *version, None)
        });
        unmet.collect()
    }

    /// A version that is needed before its turn.
    async fn fetch(&self, (subject, version): &Key) -> Result<Option<Schema>> {
        let client = self.walk.client;
        let mut schema = match client.version(subject, *version).await {
            Ok(schema) => schema,
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if schema.deleted.is_none() {
            let numbers = client.versions(subject).await?;
            schema.deleted =
                numbers.iter().find(|(number, _)| number == version).map(|(_, deleted)| *deleted);
        }
        Ok(Some(schema))
    }
}
