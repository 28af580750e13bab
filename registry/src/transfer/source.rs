//! Where a registry's content comes from: a registry that answers, a file, or whatever else keeps texts.

use super::Progress;
use super::archive::Archive;
use super::content::{fingerprint, parsed};
use super::error::{Error, Kind, Result};
use super::index::{Index, Key, references};
use super::walk::{Item, Oddities, Walk};
use crate::client::{Client, Schema};
use crate::names::Context;
use crate::parse::Parsed;
use crate::schema::SchemaType;
use async_trait::async_trait;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// Schemas that the references of one may lead to; more is taken for a mistake.
const MAX_DEPENDENCIES: usize = 5000;

/// Schemas that are kept elsewhere, as in a backup.
#[async_trait]
pub trait Texts: Send + Sync {
    /// A version with its text; nothing where there is none. The index says what it must be: number, id and deletion are taken from there.
    async fn schema(&self, key: &Key) -> Result<Option<Schema>>;

    /// What the place is called in reports, without credentials.
    fn name(&self) -> String;
}

/// A registry, a file, or what keeps texts.
#[derive(Clone)]
pub enum Source {
    /// A registry that answers.
    Live(Arc<Client>),
    /// A file.
    File(Arc<Archive>),
    /// Schemas that are kept elsewhere.
    Kept(Arc<dyn Texts>),
}

/// A source with its index.
#[derive(Clone)]
pub struct Side {
    /// Where texts come from.
    pub source: Source,
    /// What is there.
    pub index: Index,
    /// What is wrong with its references.
    pub oddities: Oddities,
}

impl Side {
    /// Reads a registry. No contexts stand for all.
    pub async fn live(
        client: Arc<Client>,
        contexts: &[Context],
        progress: &Progress,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Self> {
        let mut index = Index::default();
        let walk = Walk { client: &client, contexts, known: None, progress, stop };
        let oddities = walk.go(&mut |item| index.take(item)).await?;
        Ok(Self { source: Source::Live(client), index, oddities })
    }

    /// Reads a file.
    pub fn file(path: &Path, stop: &(dyn Fn() -> bool + Sync)) -> Result<Self> {
        let (archive, index) = Archive::open(path, stop)?;
        Ok(Self { source: Source::File(Arc::new(archive)), index, oddities: Oddities::default() })
    }

    /// What is kept elsewhere, with everything that is there in whatever order. A version that is gone and whose number is another
    /// one's now comes under a number that its subject does not have, and `texts` answers for that.
    pub fn kept(texts: Arc<dyn Texts>, items: impl IntoIterator<Item = Item>) -> Result<Self> {
        let mut index = Index::default();
        let name = texts.name();
        for item in items {
            let key = match &item {
                Item::Version(schema) | Item::Gone(schema) => {
                    Some(index.key(&schema.subject, schema.version))
                }
                _ => None,
            };
            if let Some(key) = key.filter(|key| index.versions.contains_key(key)) {
                let text = format!("{key} of {name} comes twice");
                return Err(Error::new(Kind::Damaged, text).hint("verify the backup"));
            }
            index.take(item)?;
        }
        index.sort();
        Ok(Self { source: Source::Kept(texts), index, oddities: Oddities::default() })
    }

    /// What it is called in reports.
    pub fn name(&self) -> String {
        match &self.source {
            Source::Live(client) => client.name(),
            Source::File(archive) => archive.path().display().to_string(),
            Source::Kept(texts) => texts.name(),
        }
    }

    /// A version with its text; nothing where there is none, or none any more.
    pub async fn schema(&self, key: &Key) -> Result<Option<Schema>> {
        let entry = self.index.versions.get(key);
        match &self.source {
            Source::Live(client) => match client.version(&key.subject(), key.version).await {
                Ok(schema) => Ok(Some(Schema {
                    deleted: entry.map(|entry| entry.deleted).or(schema.deleted),
                    ..schema
                })),
                Err(error) if error.is_absent() => Ok(None),
                Err(error) => Err(error.into()),
            },
            Source::File(archive) => entry.map(|entry| archive.version(key, entry.offset)).transpose(),
            Source::Kept(texts) => {
                let Some(entry) = entry else { return Ok(None) };
                let Some(schema) = texts.schema(key).await? else { return Ok(None) };
                if fingerprint(&schema) != entry.fingerprint {
                    let text = format!("{key} of {} is not what it was when it was read first", self.name());
                    return Err(Error::new(Kind::Damaged, text).hint("verify the backup"));
                }
                let (subject, version) = (key.subject.to_string(), key.version);
                Ok(Some(Schema { subject, version, id: entry.id, deleted: Some(entry.deleted), ..schema }))
            }
        }
    }

    /// The text of a schema as our own registry would store it; why it is no schema else.
    pub(super) async fn canonical(&self, schema: &Schema) -> Result<Result<String, String>> {
        Ok(self.parsed(schema).await?.map(|parsed| parsed.canonical().to_owned()))
    }

    /// What a schema means; why it is no schema else.
    pub(super) async fn parsed(&self, schema: &Schema) -> Result<Result<Parsed, String>> {
        Ok(match self.dependencies(schema).await? {
            Ok(texts) => parsed(schema, &texts),
            Err(missing) => Err(missing),
        })
    }

    /// Why a text is no schema; nothing where it is one, and where nobody here can tell: of a language that is not known, or where what
    /// it refers to is elsewhere.
    pub(super) async fn no_schema(&self, schema: &Schema) -> Result<Option<String>> {
        if schema.schema_type.parse::<SchemaType>().is_err() {
            return Ok(None);
        }
        Ok(match self.dependencies(schema).await? {
            Ok(texts) => parsed(schema, &texts).err(),
            Err(_) => None,
        })
    }

    /// The texts that a schema's references lead to, each before what refers to it; else what is missing.
    async fn dependencies(&self, schema: &Schema) -> Result<Result<Vec<(String, String)>, String>> {
        enum Step {
            Enter(String, Key),
            Leave(String, String),
        }
        let enter = |schema: &Schema| {
            let keys = references(schema)
                .into_iter()
                .map(|(subject, version)| Key { subject: subject.to_string().into(), version });
            let names = schema.references.iter().map(|reference| reference.name.clone());
            names.zip(keys).map(|(name, key)| Step::Enter(name, key)).rev().collect::<Vec<_>>()
        };
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut steps = enter(schema);
        while let Some(step) = steps.pop() {
            let (name, key) = match step {
                Step::Leave(name, text) => {
                    found.push((name, text));
                    continue;
                }
                Step::Enter(name, key) => (name, key),
            };
            if !seen.insert((name.clone(), key.clone())) {
                continue;
            }
            if seen.len() > MAX_DEPENDENCIES {
                return Ok(Err(format!("its references lead to more than {MAX_DEPENDENCIES} schemas")));
            }
            let Some(target) = self.schema(&key).await? else {
                return Ok(Err(format!("it refers to {key}, which is not there")));
            };
            let inner = enter(&target);
            steps.push(Step::Leave(name, target.schema));
            steps.extend(inner);
        }
        Ok(Ok(found))
    }

    /// Whether a version of this side and one of another side are the same schema. Texts may be written differently.
    pub(super) async fn is_same(&self, own: &Key, other: &Side, theirs: &Key) -> Result<bool> {
        let entries = (self.index.versions.get(own), other.index.versions.get(theirs));
        if let (Some(one), Some(two)) = entries
            && one.fingerprint == two.fingerprint
        {
            return Ok(true);
        }
        let (Some(one), Some(two)) = (self.schema(own).await?, other.schema(theirs).await?) else {
            return Ok(false);
        };
        if one.schema_type != two.schema_type
            || one.references != two.references
            || super::content::labels(&one) != super::content::labels(&two)
        {
            return Ok(false);
        }
        Ok(match (self.canonical(&one).await?, other.canonical(&two).await?) {
            (Ok(one), Ok(two)) => one == two,
            _ => one.schema == two.schema,
        })
    }
}

impl Index {
    /// Takes what a walk finds.
    pub(super) fn take(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Context(context) => {
                self.contexts.insert(context);
            }
            Item::Config(place, config) => {
                self.configs.insert(place, config);
            }
            Item::Mode(place, mode) => {
                self.modes.insert(place, mode);
            }
            // The versions that come say themselves whether they are deleted.
            Item::Listed(..) => {}
            Item::Version(schema) => {
                if schema.version < 1 {
                    let text = format!(
                        "{} has a version {}, which no registry gives",
                        schema.subject, schema.version
                    );
                    return Err(Error::new(Kind::Failed, text)
                        .hint("look at what answers there, or verify the backup"));
                }
                self.insert(&schema, 0);
            }
            Item::Gone(schema) => {
                let key = self.key(&schema.subject, schema.version);
                self.take(Item::Version(schema))?;
                if let Some(entry) = self.versions.get_mut(&key) {
                    (entry.deleted, entry.gone) = (true, true);
                }
            }
        }
        Ok(())
    }

    /// Puts what is referred to before what refers to it. What refers to itself in the end stays behind.
    fn sort(&mut self) {
        // Most come in order, and to find another takes as much memory as the index.
        let is_ahead = |(place, entry): (usize, &super::index::Entry)| {
            let mut found =
                entry.references.iter().filter_map(|reference| self.versions.get_index_of(reference));
            found.all(|found| found < place)
        };
        if self.versions.values().enumerate().all(is_ahead) {
            return;
        }
        let places: HashMap<&Key, usize> =
            self.versions.keys().enumerate().map(|(place, key)| (key, place)).collect();
        let ahead = |entry: &super::index::Entry| {
            entry.references.iter().filter_map(|reference| places.get(reference).copied()).collect()
        };
        let ahead: Vec<Vec<usize>> = self.versions.values().map(ahead).collect();
        let (order, left) = super::order::sorted(&ahead, &vec![None; ahead.len()]);
        let mut rank = vec![0; ahead.len()];
        for (at, place) in order.into_iter().chain(left).enumerate() {
            rank[place] = at;
        }
        let ranks: HashMap<Key, usize> = self.versions.keys().cloned().zip(rank).collect();
        self.versions.sort_by(|one, _, other, _| ranks[one].cmp(&ranks[other]));
    }
}
