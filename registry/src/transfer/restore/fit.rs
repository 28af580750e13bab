//! Whether new versions fit those that the target has, and each other. The target itself is asked of the first one that comes to a
//! subject; of those behind it, which it does not know yet, our own rules tell.

use super::decide::Obstacles;
use super::places::Rule;
use super::plan::{Action, Version, What};
use super::run::{Rows, rewritten};
use crate::client::{Client, ErrorKind};
use crate::compat::{self, Older};
use crate::settings::Level;
use crate::transfer::error::{Error, Kind, Result};
use crate::transfer::index::{Entry, Key};
use crate::transfer::source::Side;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Bytes of older texts that one subject's versions are compared with.
const GATHERED: usize = 64 << 20;
/// Characters of what a registry says that are passed on.
const SHOWN: usize = 600;

pub(super) struct Fit<'a> {
    pub(super) from: &'a Side,
    pub(super) to: &'a Side,
    pub(super) client: &'a Client,
    pub(super) names: &'a BTreeMap<String, String>,
    pub(super) stop: &'a (dyn Fn() -> bool + Sync),
}

/// What was found of a subject.
#[derive(Default)]
struct Found {
    /// Places in the plan, each with why it does not fit.
    unfit: Vec<(usize, String)>,
    warning: Option<String>,
}

/// A subject with what comes to it.
struct Subject<'a> {
    name: &'a Arc<str>,
    rule: &'a Rule,
    /// Live versions of the target that stay.
    theirs: Vec<(&'a Key, &'a Entry)>,
    /// Places in the plan, in order.
    coming: Vec<usize>,
}

impl<'a> Fit<'a> {
    /// Marks what would be refused.
    pub(super) async fn check(
        &self,
        versions: &mut [Version],
        removals: &[Key],
        rules: &HashMap<Arc<str>, Rule>,
        (obstacles, warnings): (&mut Obstacles, &mut Vec<String>),
    ) -> Result<()> {
        let mut subjects: BTreeMap<&Arc<str>, Subject<'_>> = BTreeMap::new();
        for (name, rule) in rules.iter().filter(|(_, rule)| rule.level != Level::None) {
            subjects.insert(name, Subject { name, rule, theirs: Vec::new(), coming: Vec::new() });
        }
        if subjects.is_empty() {
            return Ok(());
        }
        let removed: HashSet<&Key> = removals.iter().collect();
        for (key, entry) in self.to.index.versions.iter().filter(|(_, entry)| !entry.deleted) {
            if let Some(subject) = subjects.get_mut(&key.subject).filter(|_| !removed.contains(key)) {
                subject.theirs.push((key, entry));
            }
        }
        for (at, version) in versions.iter().enumerate().filter(|(_, version)| version.action.is_written()) {
            if let Some(subject) = subjects.get_mut(&version.target_subject) {
                subject.coming.push(at);
            }
        }
        let found: Vec<Found> = {
            let rows = Rows::new(versions, self.names);
            let look = subjects.values_mut().map(|subject| {
                subject.theirs.sort_by_key(|(key, _)| key.version);
                self.subject(subject, versions, &rows)
            });
            let look = look.collect::<Vec<_>>();
            stream::iter(look).buffered(self.client.in_flight()).try_collect().await?
        };
        for found in found {
            warnings.extend(found.warning);
            for (at, why) in found.unfit {
                let version = &mut versions[at];
                version.action = Action::Incompatible;
                let next = "restore with set_compatibility: NONE, or with force_register: true where its readers can stand that";
                obstacles.add(What::Incompatible, (&version.subject, Some(version.version)), why, next);
            }
        }
        Ok(())
    }

    async fn subject(&self, subject: &Subject<'_>, versions: &[Version], rows: &Rows<'_>) -> Result<Found> {
        let mut found = Found::default();
        let mut older: Vec<Older> = Vec::new();
        let mut is_first = true;
        let count = if subject.rule.level.is_transitive() { usize::MAX } else { 1 };
        let has_older = !subject.theirs.is_empty();
        // What the target has is read when it is first needed.
        let mut unread = Some(subject.theirs.iter().rev().take(count).rev());
        let mut bytes = 0;
        for at in &subject.coming {
            if (self.stop)() {
                return Err(Error::new(Kind::Interrupted, "planning was interrupted"));
            }
            let version = &versions[*at];
            let is_counted = version.target_id.is_none();
            if is_first && is_counted && has_older && subject.rule.is_the_targets {
                let asked = self.ask(subject, version, rows).await?;
                if let Some(why) = asked.as_ref().and_then(|asked| asked.as_ref().err()) {
                    found.unfit.push((*at, why.clone()));
                }
                is_first = asked.is_none();
                // With one version coming there is nothing more to be read.
                if asked.is_some() && subject.coming.len() == 1 {
                    return Ok(found);
                }
                if asked.is_some() {
                    self.add(version, &mut older, &mut bytes, count).await?;
                    continue;
                }
            }
            is_first = false;
            if subject.rule.is_grouped {
                found.warning = Some(format!(
                    "versions of {} are compared in groups; which of them fit only the target can say when they come",
                    subject.name
                ));
                return Ok(found);
            }
            let mut before: Vec<Older> = Vec::new();
            for (key, _) in unread.take().into_iter().flatten() {
                let Some(schema) = self.to.schema(key).await? else { continue };
                if let Ok(parsed) = self.to.parsed(&schema).await? {
                    bytes += parsed.canonical().len();
                    before.push(Older { version: key.version, schema: Arc::new(parsed) });
                }
            }
            if !before.is_empty() {
                before.append(&mut older);
                older = before;
            }
            if bytes > GATHERED {
                found.warning = Some(format!(
                    "{} has too many versions to compare them all before they come; the target does that when they do",
                    subject.name
                ));
                return Ok(found);
            }
            let Some(schema) = self.from.schema(&version.key()).await? else { continue };
            let Ok(parsed) = self.from.parsed(&schema).await? else {
                found.warning = Some(format!(
                    "version {} of {} cannot be read here, so whether it fits only the target can say",
                    version.version, subject.name
                ));
                continue;
            };
            if is_counted {
                let verdict = compat::judge(subject.rule.level, subject.rule.policy, &parsed, &older);
                if !verdict.is_compatible() {
                    let why = verdict.explained.join("; ");
                    found.unfit.push((*at, refused(subject.rule.level, &why)));
                }
            }
            if !version.deleted {
                bytes += parsed.canonical().len();
                let number = version.target_version.unwrap_or(version.version);
                older.push(Older { version: number, schema: Arc::new(parsed) });
                if count == 1 {
                    older.drain(..older.len() - 1);
                }
            }
        }
        Ok(found)
    }

    async fn add(
        &self,
        version: &Version,
        older: &mut Vec<Older>,
        bytes: &mut usize,
        count: usize,
    ) -> Result<()> {
        if version.deleted {
            return Ok(());
        }
        let Some(schema) = self.from.schema(&version.key()).await? else { return Ok(()) };
        if let Ok(parsed) = self.from.parsed(&schema).await? {
            *bytes += parsed.canonical().len();
            let number = version.target_version.unwrap_or(version.version);
            older.push(Older { version: number, schema: Arc::new(parsed) });
            if count == 1 {
                older.drain(..older.len() - 1);
            }
        }
        Ok(())
    }

    /// What the target says; nothing where it cannot be asked, because what the version refers to comes only with it.
    async fn ask(
        &self,
        subject: &Subject<'_>,
        version: &Version,
        rows: &Rows<'_>,
    ) -> Result<Option<Result<(), String>>> {
        let key = version.key();
        let Some(entry) = self.from.index.versions.get(&key) else { return Ok(None) };
        let comes =
            |reference: &Key| rows.version(reference).is_some_and(|version| version.action.is_written());
        if entry.references.iter().any(comes) {
            return Ok(None);
        }
        let Some(schema) = self.from.schema(&key).await? else { return Ok(None) };
        let there = |reference: &Key| rows.version(reference).and_then(Version::target);
        let schema = rewritten(schema, version, rows, &there);
        let target = crate::names::Subject::parse(subject.name);
        let answer = match self.client.check(&target, &schema).await {
            // It understood, and thinks that this is no schema: so it will when it is to be registered.
            Err(error) if error.kind() == ErrorKind::Refused => return Ok(Some(Err(error.to_string()))),
            answer => answer?,
        };
        Ok(answer.map(|fit| match fit.is_compatible {
            true => Ok(()),
            false => Err(refused(subject.rule.level, &fit.messages.join("; "))),
        }))
    }
}

fn refused(level: Level, why: &str) -> String {
    let why = match why.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &why[..end]),
        None => why.to_owned(),
    };
    format!("the target compares as {level}, and would refuse it: {why}")
}
