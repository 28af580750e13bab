//! Whether new versions fit those that the target has, and each other. The target itself is asked of the first one that comes to a
//! subject; of those behind it, which it does not know yet, our own rules tell.

use super::decide::Obstacles;
use super::places::Rule;
use super::plan::{Action, Version, What};
use super::run::{Rows, rewritten};
use crate::client::{Client, ErrorKind};
use crate::compat::{self, Older};
use crate::parse::Parsed;
use crate::settings::Level;
use crate::transfer::error::{Error, Kind, Result};
use crate::transfer::index::{Entry, Key};
use crate::transfer::source::Side;
use futures::FutureExt;
use futures::stream::{FuturesOrdered, StreamExt};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Bytes of older texts that are held to compare with, of all subjects that are looked at at once. What is made of a text takes a
/// multiple of it.
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
    /// Others are deleted first, and the target would still compare with them.
    loses: bool,
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
            subjects
                .insert(name, Subject { name, rule, theirs: Vec::new(), loses: false, coming: Vec::new() });
        }
        if subjects.is_empty() {
            return Ok(());
        }
        let deleted = versions.iter().filter(|version| version.action == Action::Delete);
        let deleted: HashSet<Key> = deleted.filter_map(Version::target).collect();
        let removed: HashSet<&Key> = removals.iter().chain(&deleted).collect();
        for (key, entry) in self.to.index.versions.iter().filter(|(_, entry)| !entry.deleted) {
            let Some(subject) = subjects.get_mut(&key.subject) else { continue };
            match removed.contains(key) {
                true => subject.loses = true,
                false => subject.theirs.push((key, entry)),
            }
        }
        for (at, version) in versions.iter().enumerate().filter(|(_, version)| version.action.is_written()) {
            if let Some(subject) = subjects.get_mut(&version.target_subject) {
                subject.coming.push(at);
            }
        }
        let found: Vec<Found> = {
            let rows = Rows::new(versions, self.names);
            for subject in subjects.values_mut() {
                subject.theirs.sort_by_key(|(key, _)| key.version);
            }
            // One after the other begins: a hundred thousand that wait would take more memory than what they look at.
            let mut later = subjects.values();
            let mut begun = FuturesOrdered::new();
            let mut found = Vec::new();
            loop {
                while begun.len() < self.client.in_flight()
                    && let Some(subject) = later.next()
                {
                    begun.push_back(self.subject(subject, versions, &rows).boxed());
                }
                let Some(ended) = begun.next().await else { break found };
                found.push(ended?);
            }
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
        let limit = GATHERED / self.client.in_flight().max(1);
        let mut older = Gathered::new(subject.rule.level.is_transitive());
        let mut is_first = true;
        let may_ask = subject.rule.is_the_targets && !subject.theirs.is_empty() && !subject.loses;
        // What the target has is read when it is first needed.
        let mut unread = Some(subject.theirs.iter().rev().take(older.count).rev());
        for at in &subject.coming {
            self.go_on()?;
            let version = &versions[*at];
            let is_counted = version.target_id.is_none();
            if is_first && is_counted && may_ask {
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
                    if let Some(Ok(parsed)) = self.parsed(version).await? {
                        older.add(version, parsed);
                    }
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
            let mut before = Gathered::new(subject.rule.level.is_transitive());
            for (key, _) in unread.take().into_iter().flatten() {
                self.go_on()?;
                let Some(schema) = self.to.schema(key).await? else { continue };
                if let Ok(parsed) = self.to.parsed(&schema).await? {
                    before.push(key.version, parsed);
                }
                if before.bytes > limit {
                    break;
                }
            }
            older.follow(before);
            if older.bytes > limit {
                found.warning = Some(format!(
                    "{} has too many versions to compare them all before they come; the target does that when they do",
                    subject.name
                ));
                return Ok(found);
            }
            let Some(parsed) = self.parsed(version).await? else { continue };
            let Ok(parsed) = parsed else {
                found.warning = Some(format!(
                    "version {} of {} cannot be read here, so whether it fits only the target can say",
                    version.version, subject.name
                ));
                continue;
            };
            if is_counted {
                let verdict =
                    compat::judge(subject.rule.level, subject.rule.policy, &parsed, &older.versions);
                if !verdict.is_compatible() {
                    let why = verdict.explained.join("; ");
                    found.unfit.push((*at, refused(subject.rule.level, &why)));
                }
            }
            older.add(version, parsed);
        }
        Ok(found)
    }

    fn go_on(&self) -> Result<()> {
        match (self.stop)() {
            true => Err(Error::new(Kind::Interrupted, "planning was interrupted")
                .hint("run the same restore again; nothing was touched")),
            false => Ok(()),
        }
    }

    /// What a version that comes means; nothing where its text is gone, or why it is no schema.
    async fn parsed(&self, version: &Version) -> Result<Option<Result<Parsed, String>>> {
        let Some(schema) = self.from.schema(&version.key()).await? else { return Ok(None) };
        self.from.parsed(&schema).await.map(Some)
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
        // One that has no number in the target yet comes first.
        let Ok(schema) = rewritten(schema, version, rows, &there) else { return Ok(None) };
        let target = crate::names::Subject::parse(subject.name);
        let answer = match self.client.check(&target, &schema).await {
            // To it this is no schema, and will be none when it comes: then it is left out.
            Err(error) if error.code() == Some(42201) => return Ok(Some(Ok(()))),
            // It understood, and will refuse it when it is to be registered, too.
            Err(error) if error.kind() == ErrorKind::Refused => return Ok(Some(Err(error.to_string()))),
            answer => answer?,
        };
        Ok(answer.map(|fit| match fit.is_compatible {
            true => Ok(()),
            false => Err(refused(subject.rule.level, &fit.messages.join("; "))),
        }))
    }
}

/// Older versions of a subject, by rising number: all of them, or the last one.
struct Gathered {
    versions: Vec<Older>,
    bytes: usize,
    count: usize,
}

impl Gathered {
    fn new(is_transitive: bool) -> Self {
        Self { versions: Vec::new(), bytes: 0, count: if is_transitive { usize::MAX } else { 1 } }
    }

    fn push(&mut self, version: i32, parsed: Parsed) {
        if self.count == 1 {
            (self.bytes, self.versions) = (0, Vec::new());
        }
        self.bytes += parsed.canonical().len();
        self.versions.push(Older { version, schema: Arc::new(parsed) });
    }

    /// What comes softly deleted is compared with nothing.
    fn add(&mut self, version: &Version, parsed: Parsed) {
        if !version.deleted {
            self.push(version.target_version.unwrap_or(version.version), parsed);
        }
    }

    /// These stand before.
    fn follow(&mut self, mut before: Self) {
        if self.count == 1 && !self.versions.is_empty() {
            return;
        }
        before.versions.append(&mut self.versions);
        (self.versions, self.bytes) = (before.versions, self.bytes + before.bytes);
    }
}

fn refused(level: Level, why: &str) -> String {
    let why = match why.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &why[..end]),
        None => why.to_owned(),
    };
    format!("the target compares as {level}, and would refuse it: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::content::parsed;

    fn avro(name: &str) -> Parsed {
        let text = format!("{{\"type\":\"fixed\",\"name\":\"{name}\",\"size\":4}}");
        let schema = crate::client::Schema { schema: text, schema_type: "AVRO".into(), ..Default::default() };
        parsed(&schema, &[]).expect("a schema")
    }

    #[test]
    fn only_what_is_compared_with_is_held() {
        let size = avro("A").canonical().len();
        for (is_transitive, held) in [(false, 1), (true, 3)] {
            let mut older = Gathered::new(is_transitive);
            (1..=3).for_each(|number| older.push(number, avro("A")));
            assert_eq!((older.versions.len(), older.bytes), (held, held * size));
            // What the target has stands before what comes.
            let mut before = Gathered::new(is_transitive);
            before.push(9, avro("B"));
            older.follow(before);
            let (first, last) = (older.versions.first().expect("one"), older.versions.last().expect("one"));
            assert_eq!((first.version, last.version), (if is_transitive { 9 } else { 3 }, 3));
        }
    }
}
