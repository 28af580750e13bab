//! From records to rows: what the log says, put together in its order.
//!
//! - The last record of a key wins, whatever form the key has.
//! - The text of an id never changes: a record that says otherwise is passed over, as Confluent's registry does, and the key
//!   keeps what it had. Where one of ours wrote such a record the key is contested: whoever writes next puts it right.
//! - A schema is there while a version is it. So removing the last version removes the schema, and its id is not given again.
//! - What cannot be read is passed over and counted. Its version number and its id stay taken.
//!
//! Every record moves its context on by one revision, or, where we wrote it, to the revision of its commit. What comes of a
//! commit after its first part was shown is a revision of its own.

use super::keys::RecordKey;
use super::log::Record;
use super::records::{self, SchemaValue, Stamp};
use crate::names::{Context, Subject};
use crate::schema::Reference;
use crate::store::{
    Change, Commit, Guard, Head, Key, Result, Revision, SchemaId, SchemaKey, SchemaRow, StoreError, Texts,
    VersionRow,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use uuid::Uuid;

/// No revision of a stamp counts beyond this: there is always a next one.
const LAST_REVISION: Revision = 1 << 62;
/// How many of its last revisions a context remembers, to tell another history from its own.
const REMEMBERED: usize = 10_000;

/// A context's rows.
#[derive(Debug)]
pub struct Table {
    head: Head,
    /// The head was shown to readers.
    is_shown: bool,
    /// Who made the last revisions.
    history: BTreeMap<Revision, Uuid>,
    rows: BTreeMap<Key, (Revision, Change)>,
    texts: HashMap<SchemaKey, Texts>,
    /// The versions that are a schema.
    users: HashMap<SchemaKey, BTreeSet<(Arc<str>, i32)>>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            head: Head::EMPTY,
            is_shown: false,
            history: BTreeMap::new(),
            rows: BTreeMap::new(),
            texts: HashMap::new(),
            users: HashMap::new(),
        }
    }
}

/// What a log says, up to an offset.
#[derive(Debug, Default)]
pub struct Tables {
    contexts: BTreeMap<Context, Table>,
    /// Commits that have references from one context into another.
    links: Revision,
    /// Keys that the log also holds in other bytes than Confluent's.
    forms: HashMap<RecordKey, BTreeSet<Bytes>>,
    /// SCHEMA records that cannot be read, with their offsets.
    unreadable: HashMap<RecordKey, i64>,
    /// SCHEMA keys whose last record was passed over, though one of ours wrote it: compaction would keep that one alone.
    contested: BTreeSet<RecordKey>,
    /// Records of kinds that nobody here knows, by their keys.
    foreign: BTreeMap<Bytes, Bytes>,
    records: u64,
    skipped: u64,
}

/// What became of a record.
enum Applied {
    /// It counts, or says nothing that the registry knows.
    Done,
    /// It was passed over, and why; its key keeps what it had.
    PassedOver(String),
}

impl Table {
    /// Where the context stands.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Rows that changed after a revision, in the order of [`crate::store::Store::changes`].
    pub fn since(&self, since: Revision) -> impl Iterator<Item = &Change> {
        self.rows.values().filter(move |(revision, _)| *revision > since).map(|(_, change)| change)
    }

    /// Refuses to go on from a head that is not one of this history.
    pub fn require_history(&self, context: &Context, since: Head) -> Result<()> {
        let remembered = self.history.first_key_value().map_or(0, |(revision, _)| *revision);
        let same = match self.history.get(&since.revision) {
            _ if since.revision == 0 => true,
            Some(attempt) => *attempt == since.attempt,
            None => since.revision < remembered,
        };
        if same {
            return Ok(());
        }
        Err(StoreError::Forked(format!(
            "context {context} is at revision {}, and what was its revision {} before is not in the topic's history",
            self.head.revision, since.revision
        )))
    }

    /// Whether what a commit relies on here was written since.
    fn keeps(&self, guard: &Guard) -> bool {
        let written = |key: &Key| self.rows.get(key).is_some_and(|(revision, _)| *revision > guard.seen);
        self.head.revision >= guard.seen && !guard.rows.iter().any(written)
    }

    /// A schema without its texts.
    pub fn schema(&self, key: SchemaKey) -> Option<&SchemaRow> {
        match self.rows.get(&Key::Schema(key)) {
            Some((_, Change::Schema(row))) => Some(row),
            _ => None,
        }
    }

    /// The texts of a schema.
    pub fn texts(&self, key: SchemaKey) -> Option<&Texts> {
        self.texts.get(&key)
    }

    /// A version.
    pub fn version(&self, subject: &Arc<str>, version: i32) -> Option<&VersionRow> {
        match self.rows.get(&Key::Version(Arc::clone(subject), version)) {
            Some((_, Change::Version(row))) => Some(row),
            _ => None,
        }
    }

    /// The next id, if the records of the schemas that there are did not tell it.
    pub fn floor(&self) -> Option<SchemaId> {
        let mut schemas =
            self.rows.range(..=Key::Schema(SchemaKey { id: SchemaId::MAX, variant: u32::MAX })).rev();
        let highest = schemas.find_map(|(_, (_, change))| match change {
            Change::Schema(row) => Some(row.key.id),
            _ => None,
        });
        (highest.map_or(1, |id| id.saturating_add(1)) < self.head.next_id).then_some(self.head.next_id)
    }

    fn put(&mut self, revision: Revision, change: Change) {
        self.rows.insert(change.key(), (revision, change));
    }

    fn remove_user(&mut self, revision: Revision, key: SchemaKey, user: &(Arc<str>, i32)) {
        let Some(users) = self.users.get_mut(&key) else { return };
        users.remove(user);
        if users.is_empty() {
            self.users.remove(&key);
            self.texts.remove(&key);
            self.put(revision, Change::SchemaGone(key));
        }
    }

    fn put_version(&mut self, revision: Revision, row: VersionRow, schema: SchemaValue) {
        let key = row.schema;
        let user = (Arc::clone(&row.subject), row.version);
        if let Some(old) = self.version(&row.subject, row.version).map(|old| old.schema)
            && old != key
        {
            self.remove_user(revision, old, &user);
        }
        self.users.entry(key).or_default().insert(user);
        match self.texts.get_mut(&key) {
            // Where another registry has written the record anew it lacks what we added.
            Some(known) if known.submitted.is_none() && schema.texts.submitted.is_some() => {
                known.submitted = schema.texts.submitted;
            }
            Some(_) => {}
            None => {
                self.texts.insert(key, schema.texts);
                self.put(revision, Change::Schema(schema.row));
            }
        }
        self.head.next_id = self.head.next_id.max(key.id.saturating_add(1));
        self.put(revision, Change::Version(row));
    }

    fn remove_version(&mut self, revision: Revision, subject: &Arc<str>, version: i32) {
        let Some(key) = self.version(subject, version).map(|row| row.schema) else { return };
        self.put(revision, Change::VersionGone { subject: Arc::clone(subject), version });
        self.remove_user(revision, key, &(Arc::clone(subject), version));
    }

    /// Versions that are there, of one subject or all.
    fn versions(&self, subject: Option<&Arc<str>>) -> Vec<VersionRow> {
        let all = |change: &Change| match change {
            Change::Version(row) => Some(row.clone()),
            _ => None,
        };
        match subject {
            Some(subject) => {
                let range =
                    Key::Version(Arc::clone(subject), 0)..=Key::Version(Arc::clone(subject), i32::MAX);
                self.rows.range(range).filter_map(|(_, (_, change))| all(change)).collect()
            }
            None => self.rows.values().filter_map(|(_, change)| all(change)).collect(),
        }
    }
}

impl Tables {
    /// Every context that was ever written to.
    pub fn contexts(&self) -> impl Iterator<Item = (&Context, &Table)> {
        self.contexts.iter()
    }

    /// A context.
    pub fn context(&self, context: &Context) -> Option<&Table> {
        self.contexts.get(context)
    }

    /// Where a context stands.
    pub fn head(&self, context: &Context) -> Head {
        self.contexts.get(context).map_or(Head::EMPTY, Table::head)
    }

    /// Commits that have references from one context into another.
    pub fn links(&self) -> Revision {
        self.links
    }

    /// Whether the rows that a commit relies on in other contexts are as they were.
    pub fn keep(&self, guards: &[Guard]) -> bool {
        guards.iter().all(|guard| match self.contexts.get(&guard.context) {
            Some(table) => table.keeps(guard),
            None => guard.seen == 0,
        })
    }

    /// Whether a commit may be made now.
    pub fn is_fresh(&self, commit: &Commit) -> bool {
        self.head(&commit.context) == commit.expected
            && self.keep(&commit.guards)
            && commit.links_seen.is_none_or(|seen| seen == self.links)
    }

    /// Records that were applied, and how many of them were passed over.
    pub fn counts(&self) -> (u64, u64) {
        (self.records, self.skipped)
    }

    /// Other bytes that the log holds for a key, beside Confluent's.
    pub fn forms(&self, key: &RecordKey) -> impl Iterator<Item = &Bytes> {
        self.forms.get(key).into_iter().flatten()
    }

    /// The offset of a record for this key that cannot be read.
    pub fn unreadable(&self, key: &RecordKey) -> Option<i64> {
        self.unreadable.get(key).copied()
    }

    /// Keys that the log would say something else of than the tables, if it were compacted now.
    pub fn contested(&self) -> &BTreeSet<RecordKey> {
        &self.contested
    }

    /// The last records of kinds that nobody here knows, as keys and values: whoever copies the log must carry them along.
    pub fn foreign(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.foreign.iter()
    }

    /// Forgets what is gone: for a log that was just read from its beginning, when nobody has seen older revisions.
    pub fn forget_removed(&mut self) {
        for table in self.contexts.values_mut() {
            table.rows.retain(|_, (_, change)| {
                !matches!(
                    change,
                    Change::VersionGone { .. }
                        | Change::SchemaGone(_)
                        | Change::Config(_, None)
                        | Change::Mode(_, None)
                        | Change::Listed(false)
                )
            });
        }
    }

    /// Readers may see what was applied until now. Of a commit of several batches that may be a first part: the rest, when it
    /// comes, must be another revision, or whoever has seen the first part would take it for all.
    pub fn show(&mut self) {
        for table in self.contexts.values_mut() {
            table.is_shown = true;
        }
    }

    /// Applies the record at an offset. Offsets must rise.
    pub fn apply(&mut self, offset: i64, record: &Record) {
        self.records += 1;
        let applied = match RecordKey::read(&record.key) {
            Ok(key) => self.apply_to(offset, key, record),
            Err(why) => Applied::PassedOver(why),
        };
        if let Applied::PassedOver(why) = applied {
            self.skipped += 1;
            tracing::warn!(offset, why, "a record of the schemas topic is passed over");
        }
    }

    fn apply_to(&mut self, offset: i64, key: RecordKey, record: &Record) -> Applied {
        self.note_form(&key, record);
        let stamp = Stamp::of(record);
        let value = record.value.as_deref();
        let passed_over = |why: String| Applied::PassedOver(why);
        match &key {
            RecordKey::Schema(subject, version) => {
                return self.apply_schema(offset, (subject, *version), &key, record, stamp);
            }
            RecordKey::Config(subject) => {
                let config = match value.map(records::read_config).transpose() {
                    Ok(config) => config.map(Box::new),
                    Err(why) => return passed_over(format!("the config of {subject}: {why}")),
                };
                let (table, revision) = self.step(&subject.context, offset, stamp.as_ref());
                table.put(revision, Change::Config(Arc::clone(&subject.name), config));
            }
            RecordKey::Mode(subject) => {
                let mode = match value.map(records::read_mode).transpose() {
                    Ok(mode) => mode,
                    Err(why) => return passed_over(format!("the mode of {subject}: {why}")),
                };
                let (table, revision) = self.step(&subject.context, offset, stamp.as_ref());
                table.put(revision, Change::Mode(Arc::clone(&subject.name), mode));
            }
            RecordKey::Context(context) => {
                let (table, revision) = self.step(context, offset, stamp.as_ref());
                table.put(revision, Change::Listed(value.is_some()));
            }
            RecordKey::Noop => {
                for (context, next_id) in value.map(records::read_floors).unwrap_or_default() {
                    self.reserve(&context, next_id, offset);
                }
                // A commit that changes nothing else.
                if let Some(stamp) = &stamp {
                    self.step(&stamp.context, offset, Some(stamp));
                }
            }
            RecordKey::DeleteSubject(subject) => {
                let Some(value) = value else { return Applied::Done };
                let last = match records::read_deleted_up_to(value) {
                    Ok(last) => last,
                    Err(why) => return passed_over(format!("the deletion of {subject}: {why}")),
                };
                let (table, revision) = self.step(&subject.context, offset, stamp.as_ref());
                for row in table.versions(Some(&subject.name)) {
                    if row.version <= last && !row.deleted {
                        table.put(revision, Change::Version(VersionRow { deleted: true, ..row }));
                    }
                }
            }
            RecordKey::ClearSubject(subject) if value.is_some() => {
                let contexts: Vec<Context> = match subject {
                    Some(subject) => vec![subject.context.clone()],
                    None => self.contexts.keys().cloned().collect(),
                };
                let name = subject.as_ref().map(|subject| &subject.name).filter(|name| !name.is_empty());
                for context in contexts {
                    let (table, revision) = self.step(&context, offset, stamp.as_ref());
                    for row in table.versions(name).into_iter().filter(|row| row.deleted) {
                        table.remove_version(revision, &row.subject, row.version);
                    }
                }
            }
            RecordKey::ClearSubject(_) => {}
            RecordKey::Foreign => match &record.value {
                Some(value) => drop(self.foreign.insert(record.key.clone(), value.clone())),
                None => drop(self.foreign.remove(&record.key)),
            },
        }
        Applied::Done
    }

    fn apply_schema(
        &mut self,
        offset: i64,
        (subject, version): (&Subject, i32),
        key: &RecordKey,
        record: &Record,
        stamp: Option<Stamp>,
    ) -> Applied {
        self.contested.remove(key);
        let Some(value) = record.value.as_deref() else {
            self.unreadable.remove(key);
            let (table, revision) = self.step(&subject.context, offset, stamp.as_ref());
            table.remove_version(revision, &subject.name, version);
            return Applied::Done;
        };
        let schema = match SchemaValue::read(value, record) {
            Ok(schema) => schema,
            Err(why) => {
                self.unreadable.insert(key.clone(), offset);
                if let Some(id) = records::id_of(value) {
                    self.reserve(&subject.context, id.saturating_add(1), offset);
                }
                return Applied::PassedOver(format!("version {version} of subject {subject}: {why}"));
            }
        };
        let known = self.contexts.get(&subject.context).and_then(|table| table.texts(schema.row.key));
        if known.is_some_and(|known| known.canonical != schema.texts.canonical) {
            // Others may only have written the same text in another form, as Karapace does when it deletes softly.
            if stamp.is_some() {
                self.contested.insert(key.clone());
            }
            return Applied::PassedOver(format!(
                "version {version} of subject {subject} has id {}, which is another text already",
                schema.row.key
            ));
        }
        self.unreadable.remove(key);
        let row = VersionRow {
            subject: Arc::clone(&subject.name),
            version,
            schema: schema.row.key,
            deleted: schema.deleted,
            time_ms: record.time_ms.unwrap_or(0),
        };
        let leads_out = |reference: &Reference| {
            Subject::parse_in(&reference.subject, &subject.context).context != subject.context
        };
        if stamp.is_none() && schema.row.references.iter().any(leads_out) {
            self.links += 1;
        }
        let (table, revision) = self.step(&subject.context, offset, stamp.as_ref());
        table.put_version(revision, row, schema);
        // The default context has no record of its own.
        if subject.context.is_default() && !table.rows.contains_key(&Key::Listed) {
            table.put(revision, Change::Listed(true));
        }
        Applied::Done
    }

    /// Remembers keys that are not in Confluent's bytes while they have a value: removing the key must remove these, too.
    fn note_form(&mut self, key: &RecordKey, record: &Record) {
        if key.bytes().is_none_or(|canonical| canonical == record.key) {
            return;
        }
        let forms = self.forms.entry(key.clone()).or_default();
        match record.value {
            Some(_) => drop(forms.insert(record.key.clone())),
            None => drop(forms.remove(&record.key)),
        }
        if forms.is_empty() {
            self.forms.remove(key);
        }
    }

    /// Ids before this one are not given again. Where that is news, it is a revision: readers know a head by it.
    fn reserve(&mut self, context: &Context, next_id: SchemaId, offset: i64) {
        if self.head(context).next_id < next_id {
            self.step(context, offset, None).0.head.next_id = next_id;
        }
    }

    /// The context with the revision that a record at this offset makes.
    fn step(&mut self, context: &Context, offset: i64, stamp: Option<&Stamp>) -> (&mut Table, Revision) {
        let table = self.contexts.entry(context.clone()).or_default();
        let head = &mut table.head;
        match stamp.filter(|stamp| stamp.context == *context) {
            Some(stamp) => {
                if head.attempt != stamp.attempt || table.is_shown {
                    head.revision = (head.revision + 1).max(stamp.revision.min(LAST_REVISION));
                    head.attempt = stamp.attempt;
                    self.links += u64::from(stamp.adds_links);
                }
                head.next_id = head.next_id.max(stamp.next_id);
            }
            None => {
                head.revision += 1;
                // The same for every reader of the log.
                head.attempt = Uuid::from_u64_pair(0, offset.unsigned_abs());
            }
        }
        table.is_shown = false;
        let revision = head.revision;
        table.history.insert(revision, head.attempt);
        if table.history.len() > REMEMBERED {
            table.history.pop_first();
        }
        (table, revision)
    }
}
