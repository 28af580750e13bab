//! What an instance knows of a context: everything but the texts, so that it fits memory and every question about subjects,
//! versions, references, settings and modes is answered without asking the store.
//!
//! It changes in one way only: by the [`Change`]s of a commit, whoever made it. It holds no rules.

use crate::few::Few;
use crate::names::{Context, Subject};
use crate::schema::Reference;
use crate::settings::{Config, Mode};
use crate::store::{Change, Head, SchemaId, SchemaKey, SchemaRow, VersionRow};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use uuid::Uuid;

/// A version of a subject, as its list has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub version: i32,
    /// Its schema.
    pub schema: SchemaKey,
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
    /// The registry's own numbers, which every consumer asks for: they need no hash that withstands keys made to collide.
    schemas: HashMap<SchemaKey, Schema, foldhash::quality::RandomState>,
    by_identity: HashMap<[u8; 16], Few<SchemaKey>>,
    by_guid: HashMap<Uuid, Few<SchemaKey>>,
    /// Schemas of this context by what they refer to, wherever that is.
    referrers: HashMap<(Subject, i32), Few<SchemaKey>>,
    configs: BTreeMap<Arc<str>, Box<Config>>,
    modes: BTreeMap<Arc<str>, Mode>,
}

#[derive(Debug, Clone, PartialEq)]
struct Schema {
    row: SchemaRow,
    /// The versions that are this schema.
    users: Few<(Arc<str>, i32)>,
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
                Change::SchemaGone(key) => drop(self.remove_schema(context, key)),
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
        let VersionRow { subject, version, schema, deleted, time_ms } = row;
        let versions = self.subjects.entry(Arc::clone(&subject)).or_default();
        let new = Version { version, schema, deleted, time_ms };
        match versions.binary_search_by_key(&version, |known| known.version) {
            Ok(at) => {
                let old = std::mem::replace(&mut versions[at], new);
                if old.schema != schema
                    && let Some(before) = self.schemas.get_mut(&old.schema)
                {
                    before.users.remove(&(Arc::clone(&subject), version));
                }
            }
            Err(at) => versions.insert(at, new),
        }
        if let Some(schema) = self.schemas.get_mut(&schema) {
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
        if let Some(schema) = self.schemas.get_mut(&gone.schema) {
            schema.users.remove(&(Arc::clone(subject), version));
        }
    }

    fn put_schema(&mut self, context: &Context, row: SchemaRow) {
        let key = row.key;
        // An id that was freed may come back as something else, and who did not look in between hears only of that.
        let users = self.remove_schema(context, key);
        self.by_identity.entry(row.identity).or_default().insert(row.key);
        self.by_guid.entry(row.guid).or_default().insert(row.key);
        for target in targets(context, &row.references) {
            self.referrers.entry(target).or_default().insert(row.key);
        }
        self.schemas.insert(key, Schema { row, users });
    }

    /// Answers the versions that were this schema.
    fn remove_schema(&mut self, context: &Context, key: SchemaKey) -> Few<(Arc<str>, i32)> {
        let Some(Schema { row, users }) = self.schemas.remove(&key) else { return Few::default() };
        forget(&mut self.by_identity, &row.identity, key);
        forget(&mut self.by_guid, &row.guid, key);
        for target in targets(context, &row.references) {
            forget(&mut self.referrers, &target, key);
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
    pub fn schema(&self, key: SchemaKey) -> Option<&SchemaRow> {
        self.schemas.get(&key).map(|schema| &schema.row)
    }

    /// Any schema, where there is one.
    pub fn any_schema(&self) -> Option<&SchemaRow> {
        self.schemas.values().next().map(|schema| &schema.row)
    }

    /// All variants that share an id, the first one first.
    pub fn variants(&self, id: SchemaId) -> impl Iterator<Item = SchemaKey> {
        let first = self.schema(SchemaKey::of(id));
        first.into_iter().flat_map(|row| self.keys_of(&row.identity)).filter(move |key| key.id == id)
    }

    /// The versions of an id, whichever variant they are, by subject and number.
    pub fn users_of_id(&self, id: SchemaId) -> Vec<(&Arc<str>, Version)> {
        let mut users: Vec<_> = self.variants(id).flat_map(|key| self.users(key)).collect();
        users.sort_unstable_by_key(|(subject, version)| (*subject, version.version));
        users
    }

    /// The last version of an id, by subject and number.
    pub fn last_user(&self, id: SchemaId) -> Option<(&Arc<str>, Version)> {
        // The first variant may be kept for the others only.
        self.users(SchemaKey::of(id)).last().or_else(|| self.users_of_id(id).pop())
    }

    /// The versions that are this schema, by subject and number.
    pub fn users(&self, key: SchemaKey) -> impl Iterator<Item = (&Arc<str>, Version)> {
        let users = self.schemas.get(&key).into_iter().flat_map(|schema| schema.users.iter());
        users.filter_map(|(subject, number)| {
            let versions = self.versions(subject);
            let at = versions.binary_search_by_key(number, |known| known.version).ok()?;
            Some((subject, versions[at]))
        })
    }

    /// The schemas of a content, the lowest id first. More than one id only after an import.
    pub fn keys_of(&self, identity: &[u8; 16]) -> impl Iterator<Item = SchemaKey> {
        self.by_identity.get(identity).into_iter().flat_map(Few::iter).copied()
    }

    /// The schemas of a GUID, the lowest id first.
    pub fn keys_of_guid(&self, guid: &Uuid) -> impl Iterator<Item = SchemaKey> {
        self.by_guid.get(guid).into_iter().flat_map(Few::iter).copied()
    }

    /// Schemas of this context that refer to a version, by id.
    pub fn referrers(&self, subject: &Subject, version: i32) -> impl Iterator<Item = SchemaKey> {
        self.referrers.get(&(subject.clone(), version)).into_iter().flat_map(Few::iter).copied()
    }

    /// The settings that a subject has itself; of the context itself where the name is empty.
    pub fn config(&self, subject: &str) -> Option<&Config> {
        self.configs.get(subject).map(|config| &**config)
    }

    /// The mode that a subject has itself; of the context itself where the name is empty.
    pub fn mode(&self, subject: &str) -> Option<Mode> {
        self.modes.get(subject).copied()
    }

    /// Places that have settings of their own: subjects, and the context where the name is empty.
    pub fn configs(&self) -> impl Iterator<Item = &Arc<str>> {
        self.configs.keys()
    }

    /// Places that have a mode of their own, in the same way.
    pub fn modes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.modes.keys()
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

fn forget<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Few<SchemaKey>>, by: &K, key: SchemaKey) {
    if let Some(keys) = map.get_mut(by) {
        keys.remove(&key);
        if keys.is_empty() {
            map.remove(by);
        }
    }
}
