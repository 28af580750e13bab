//! What a registry holds, without its texts: enough to compare, and to say in which order things can be written.

use super::content::{Fingerprint, fingerprint, label_free, outline};
use crate::client::{Schema, Settings};
use crate::names::{Context, Subject};
use crate::schema::SchemaType;
use crate::settings::Mode;
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// A version of a subject. The subject is written with its context where that is not the default one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The subject.
    pub subject: Arc<str>,
    /// The number.
    pub version: i32,
}

impl Key {
    /// The subject, taken apart.
    pub fn subject(&self) -> Subject {
        Subject::parse(&self.subject)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} version {}", self.subject, self.version)
    }
}

/// What settings and modes belong to: the empty text is the registry, `:.context:` a context, anything else a subject.
pub type Place = String;

/// A version, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The id of its schema.
    pub id: u32,
    /// Its GUID, where the registry has any.
    pub guid: Option<Box<str>>,
    /// Its language, where it is one that is known here.
    pub schema_type: Option<SchemaType>,
    /// Softly deleted, or gone.
    pub deleted: bool,
    /// Not at the source any more; it is kept because records may have its id.
    pub gone: bool,
    /// It has metadata or rules.
    pub labelled: bool,
    /// What it refers to.
    pub references: Box<[Key]>,
    /// Where its line begins, in a file.
    pub offset: u64,
    pub(super) fingerprint: Fingerprint,
    /// The same, without what the references lead to.
    pub(super) outline: Fingerprint,
}

/// What a registry holds.
#[derive(Debug, Clone, Default)]
pub struct Index {
    /// Contexts that are there, empty ones too.
    pub contexts: BTreeSet<String>,
    /// Settings.
    pub configs: BTreeMap<Place, Settings>,
    /// Modes.
    pub modes: BTreeMap<Place, Mode>,
    /// Versions: what is referred to before what refers to it.
    pub versions: IndexMap<Key, Entry>,
    /// Subjects, each text once.
    names: HashSet<Arc<str>>,
}

/// The root of a context as a [`Place`].
pub(super) fn root(context: &Context) -> Place {
    Subject::new(context.clone(), "").to_string()
}

/// What a schema refers to; an unqualified subject is one of the schema's own context.
pub(super) fn references(schema: &Schema) -> Vec<(Subject, i32)> {
    let own = Subject::parse(&schema.subject).context;
    let target = |reference: &crate::schema::Reference| {
        (Subject::parse_in(&reference.subject, &own), reference.version)
    };
    schema.references.iter().map(target).collect()
}

impl Index {
    /// A key whose subject shares its text with the others.
    pub(super) fn key(&mut self, subject: &str, version: i32) -> Key {
        let subject = match self.names.get(subject) {
            Some(known) => Arc::clone(known),
            None => {
                let name: Arc<str> = subject.into();
                self.names.insert(Arc::clone(&name));
                name
            }
        };
        Key { subject, version }
    }

    /// Adds a version; false where there is one of that number already.
    pub(super) fn insert(&mut self, schema: &Schema, offset: u64) -> bool {
        let references = references(schema);
        let references = references
            .into_iter()
            .map(|(subject, version)| self.key(&subject.to_string(), version))
            .collect();
        let entry = Entry {
            id: schema.id,
            guid: schema.guid.as_deref().map(Into::into),
            schema_type: schema.schema_type.parse().ok(),
            deleted: schema.deleted.unwrap_or(false),
            gone: false,
            labelled: !label_free(schema),
            references,
            offset,
            fingerprint: fingerprint(schema),
            outline: outline(schema),
        };
        let key = self.key(&schema.subject, schema.version);
        self.contexts.insert(key.subject().context.to_string());
        self.versions.insert(key, entry).is_none()
    }

    /// Ids by context, each with the versions that have it.
    pub(super) fn ids(&self) -> BTreeMap<(Context, u32), Vec<usize>> {
        let mut ids: BTreeMap<(Context, u32), Vec<usize>> = BTreeMap::new();
        for (n, (key, entry)) in self.versions.iter().enumerate() {
            ids.entry((key.subject().context, entry.id)).or_default().push(n);
        }
        ids
    }

    /// Subjects that have a version, softly deleted ones included.
    pub(super) fn subjects(&self) -> HashSet<&str> {
        self.versions.keys().map(|key| &*key.subject).collect()
    }
}
