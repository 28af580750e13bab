//! What an instance knows of a context: everything but the texts, so that it fits memory and every question about subjects,
//! versions, references, settings and modes is answered without asking the store.
//!
//! It changes in one way only: by the [`Change`]s of a commit, whoever made it. It holds no rules.

use crate::names::{Context, Subject};
use crate::schema::Reference;
use crate::settings::{Config, Mode};
use crate::store::{Change, Head, SchemaId, SchemaRow, VersionRow};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use uuid::Uuid;

/// A version of a subject, as its list has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub version: i32,
    /// Its schema.
    pub id: SchemaId,
    /// Deleted softly.
    pub deleted: bool,
    /// When it was written, in milliseconds of the epoch.
    pub time_ms: i64,
}

/// A context's rows, with the ways to find them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContextState {
    head: Option<Head>,
    listed: bool,
    /// Versions by rising number; a subject without versions is not here.
    subjects: BTreeMap<Arc<str>, Vec<Version>>,
    schemas: HashMap<SchemaId, Schema>,
    by_identity: HashMap<[u8; 16], BTreeSet<SchemaId>>,
    by_guid: HashMap<Uuid, BTreeSet<SchemaId>>,
    /// Schemas of this context by what they refer to, wherever that is.
    referrers: HashMap<(Subject, i32), BTreeSet<SchemaId>>,
    configs: BTreeMap<Arc<str>, Box<Config>>,
    modes: BTreeMap<Arc<str>, Mode>,
}

#[derive(Debug, Clone, PartialEq)]
struct Schema {
    row: SchemaRow,
    /// The versions that are this schema.
    users: BTreeSet<(Arc<str>, i32)>,
}

impl ContextState {
    /// Where it stands.
    pub fn head(&self) -> Head {
        self.head.unwrap_or(Head::EMPTY)
    }

    /// Takes what changed and stands at `head` then.
    pub fn apply(&mut self, context: &Context, head: Head, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change {
                Change::Version(row) => self.put_version(row),
                Change::VersionGone { subject, version } => self.remove_version(&subject, version),
                Change::Schema(row) => self.put_schema(context, row),
                Change::SchemaGone(id) => drop(self.remove_schema(context, id)),
                Change::Config(subject, Some(config)) => drop(self.configs.insert(subject, config)),
                Change::Config(subject, None) => drop(self.configs.remove(&subject)),
                Change::Mode(subject, Some(mode)) => drop(self.modes.insert(subject, mode)),
                Change::Mode(subject, None) => drop(self.modes.remove(&subject)),
                Change::Listed(listed) => self.listed = listed,
            }
        }
        self.head = Some(head);
    }

    fn put_version(&mut self, row: VersionRow) {
        let VersionRow { subject, version, id, deleted, time_ms } = row;
        let versions = self.subjects.entry(Arc::clone(&subject)).or_default();
        let new = Version { version, id, deleted, time_ms };
        match versions.binary_search_by_key(&version, |known| known.version) {
            Ok(at) => {
                let old = std::mem::replace(&mut versions[at], new);
                if old.id != id
                    && let Some(schema) = self.schemas.get_mut(&old.id)
                {
                    schema.users.remove(&(Arc::clone(&subject), version));
                }
            }
            Err(at) => versions.insert(at, new),
        }
        if let Some(schema) = self.schemas.get_mut(&id) {
            schema.users.insert((subject, version));
        }
    }

    fn remove_version(&mut self, subject: &Arc<str>, version: i32) {
        let Some(versions) = self.subjects.get_mut(subject) else { return };
        let Ok(at) = versions.binary_search_by_key(&version, |known| known.version) else { return };
        let gone = versions.remove(at);
        if versions.is_empty() {
            self.subjects.remove(subject);
        }
        if let Some(schema) = self.schemas.get_mut(&gone.id) {
            schema.users.remove(&(Arc::clone(subject), version));
        }
    }

    fn put_schema(&mut self, context: &Context, row: SchemaRow) {
        let id = row.id;
        // An id that was freed may come back as something else, and who did not look in between hears only of that.
        let users = self.remove_schema(context, id);
        self.by_identity.entry(row.identity).or_default().insert(row.id);
        self.by_guid.entry(row.guid).or_default().insert(row.id);
        for target in targets(context, &row.references) {
            self.referrers.entry(target).or_default().insert(row.id);
        }
        self.schemas.insert(id, Schema { row, users });
    }

    /// Answers the versions that were this schema.
    fn remove_schema(&mut self, context: &Context, id: SchemaId) -> BTreeSet<(Arc<str>, i32)> {
        let Some(Schema { row, users }) = self.schemas.remove(&id) else { return BTreeSet::new() };
        forget(&mut self.by_identity, &row.identity, id);
        forget(&mut self.by_guid, &row.guid, id);
        for target in targets(context, &row.references) {
            forget(&mut self.referrers, &target, id);
        }
        users
    }

    /// Whether `GET /contexts` names it.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// Whether it holds no version, deleted or not.
    pub fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    /// All subjects with their versions, by name.
    pub fn subjects(&self) -> impl Iterator<Item = (&Arc<str>, &[Version])> {
        self.subjects.iter().map(|(name, versions)| (name, &versions[..]))
    }

    /// Subjects with their versions by name, from one on.
    pub fn subjects_from<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a Arc<str>, &'a [Version])> {
        let from = (Bound::Included(name), Bound::Unbounded);
        self.subjects.range::<str, _>(from).map(|(name, versions)| (name, &versions[..]))
    }

    /// All versions of a subject, the deleted ones too, by rising number.
    pub fn versions(&self, subject: &str) -> &[Version] {
        self.subjects.get(subject).map_or(&[], Vec::as_slice)
    }

    /// A schema without its texts.
    pub fn schema(&self, id: SchemaId) -> Option<&SchemaRow> {
        self.schemas.get(&id).map(|schema| &schema.row)
    }

    /// The versions that are this schema, by subject and number.
    pub fn users(&self, id: SchemaId) -> impl Iterator<Item = (&Arc<str>, Version)> {
        let users = self.schemas.get(&id).into_iter().flat_map(|schema| &schema.users);
        users.filter_map(|(subject, number)| {
            let versions = self.versions(subject);
            let at = versions.binary_search_by_key(number, |known| known.version).ok()?;
            Some((subject, versions[at]))
        })
    }

    /// The ids of a content, the lowest first. More than one only after an import.
    pub fn ids_of(&self, identity: &[u8; 16]) -> impl Iterator<Item = SchemaId> {
        self.by_identity.get(identity).into_iter().flatten().copied()
    }

    /// The ids of a GUID, the lowest first.
    pub fn ids_of_guid(&self, guid: &Uuid) -> impl Iterator<Item = SchemaId> {
        self.by_guid.get(guid).into_iter().flatten().copied()
    }

    /// Schemas of this context that refer to a version, by id.
    pub fn referrers(&self, subject: &Subject, version: i32) -> impl Iterator<Item = SchemaId> {
        self.referrers.get(&(subject.clone(), version)).into_iter().flatten().copied()
    }

    /// The settings that a subject has itself; of the context itself where the name is empty.
    pub fn config(&self, subject: &str) -> Option<&Config> {
        self.configs.get(subject).map(|config| &**config)
    }

    /// The mode that a subject has itself; of the context itself where the name is empty.
    pub fn mode(&self, subject: &str) -> Option<Mode> {
        self.modes.get(subject).copied()
    }

    /// Subjects that have a mode of their own.
    pub fn subjects_with_mode(&self) -> impl Iterator<Item = &Arc<str>> {
        self.modes.keys().filter(|name| !name.is_empty())
    }

    /// Subjects that others stand in for: alias -> the subject that it leads to, as it was set.
    pub fn aliases(&self) -> impl Iterator<Item = (&Arc<str>, &str)> {
        self.configs.iter().filter_map(|(name, config)| Some((name, config.alias.as_deref()?)))
    }
}

/// What references lead to, as subject and version.
fn targets<'a>(
    context: &'a Context,
    references: &'a [Reference],
) -> impl Iterator<Item = (Subject, i32)> + 'a {
    references.iter().map(|reference| (Subject::parse_in(&reference.subject, context), reference.version))
}

fn forget<K: std::hash::Hash + Eq>(map: &mut HashMap<K, BTreeSet<SchemaId>>, key: &K, id: SchemaId) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}
