//! From a commit to records, in an order in which every first part of them is a sound state.
//!
//! A log has no transactions that other registries could read. What fits into one batch appears at once, which a registration
//! always does; a commit of many megabytes may be torn by a crash in its middle. So:
//!
//! ```text
//! next ids that no record will tell any more     before the versions that told them are removed
//! the context                                    before what lies in it
//! versions, each with its schema                 what is referred to before what refers to it
//! soft deletions, then removals                  the highest version first: a later one may refer to an earlier one
//! configs and modes
//! the context's removal
//! ```

use super::keys::RecordKey;
use super::log::Record;
use super::records::{self, SchemaValue, Stamp};
use super::replay::{Table, Tables};
use crate::names::Subject;
use crate::store::rows::Rows;
use crate::store::{Change, Commit, Result, SchemaId, SchemaKey, SchemaRow, StoreError, Texts, VersionRow};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The records that make a commit true on top of these tables.
pub fn records(tables: &Tables, commit: &Commit) -> Result<Vec<Record>> {
    let rows = Rows::of(commit)?;
    if rows.schemas.keys().any(|key| key.variant != 0) {
        return Err(StoreError::Refused(
            "records of Confluent's registry have one text for each id; schemas.identity must be confluent"
                .into(),
        ));
    }
    let stamp = Stamp {
        attempt: commit.attempt,
        revision: commit.head().revision,
        next_id: commit.next_id,
        adds_links: commit.adds_links,
        context: commit.context.clone(),
    };
    let mut out = Out { tables, stamp, records: Vec::new() };
    let empty = Table::default();
    let table = tables.context(&commit.context).unwrap_or(&empty);
    let new: HashMap<SchemaKey, (&SchemaRow, &Texts)> =
        rows.new_schemas().map(|(row, texts)| (row.key, (row, texts))).collect();

    let removed: Vec<(&str, i32)> =
        rows.versions.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| *key).collect();
    if !removed.is_empty() {
        out.put_floors(commit.next_id)?;
    }
    if rows.listed == Some(true) && !commit.context.is_default() {
        out.put(
            RecordKey::Context(commit.context.clone()),
            Some(records::write_context(&commit.context)),
            None,
        )?;
    }
    let written = rows.versions.values().filter_map(|row| *row);
    let (live, deleted): (Vec<&VersionRow>, Vec<_>) = written.partition(|row| !row.deleted);
    let live = referred_first(live, |key| references(key, &new, table), commit);
    for row in live.into_iter().chain(deleted.into_iter().rev()) {
        let schema = match new.get(&row.schema) {
            Some((schema, texts)) => Some((*schema, *texts)),
            None => table.schema(row.schema).zip(table.texts(row.schema)),
        };
        let Some((schema, texts)) = schema else {
            let (subject, version, key) = (&row.subject, row.version, row.schema);
            let why = format!("version {version} of {subject} is schema {key}, which there is not");
            return Err(StoreError::Corrupt(why));
        };
        if table.texts(row.schema).is_some_and(|known| known.canonical != texts.canonical) {
            return Err(StoreError::Refused(format!("id {} is another text already", row.schema)));
        }
        let value = SchemaValue { row: schema.clone(), texts: texts.clone(), deleted: row.deleted };
        out.put_version(row, &value)?;
    }
    for (subject, version) in removed.into_iter().rev() {
        let subject = Subject::new(commit.context.clone(), subject);
        out.put(RecordKey::Schema(subject, version), None, None)?;
    }
    for (subject, config) in &rows.configs {
        let subject = Subject::new(commit.context.clone(), subject);
        let value = config.map(|config| records::write_config(&subject, config));
        out.put(RecordKey::Config(subject), value, None)?;
    }
    for (subject, mode) in &rows.modes {
        let subject = Subject::new(commit.context.clone(), subject);
        let value = mode.map(|mode| records::write_mode(&subject, mode));
        out.put(RecordKey::Mode(subject), value, None)?;
    }
    if rows.listed == Some(false) && !commit.context.is_default() {
        out.put(RecordKey::Context(commit.context.clone()), None, None)?;
    }
    if out.records.is_empty() {
        // It changes nothing, and still is a commit.
        out.put_floors(commit.next_id)?;
    }
    Ok(out.records)
}

/// Records that give contested keys back what the tables say of them.
pub fn restored(tables: &Tables) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for key in tables.contested() {
        let RecordKey::Schema(subject, version) = key else { continue };
        let Some(bytes) = key.bytes() else { continue };
        let mut record = Record { key: bytes, ..Record::default() };
        let table = tables.context(&subject.context);
        let row = table.and_then(|table| table.version(&subject.name, *version));
        if let Some((row, table)) = row.zip(table) {
            let schema = table.schema(row.schema).cloned().zip(table.texts(row.schema).cloned());
            let Some((schema, texts)) = schema else { continue };
            let value = SchemaValue { row: schema, texts, deleted: row.deleted };
            let (value, headers) = value.write(subject, *version).map_err(unwritable)?;
            record.value = Some(value);
            record.headers = headers;
            record.time_ms = Some(row.time_ms);
        }
        records.push(record);
    }
    Ok(records)
}

struct Out<'a> {
    tables: &'a Tables,
    stamp: Stamp,
    records: Vec<Record>,
}

impl Out<'_> {
    fn put_version(&mut self, row: &VersionRow, schema: &SchemaValue) -> Result<()> {
        let subject = Subject::new(self.stamp.context.clone(), &row.subject);
        let key = RecordKey::Schema(subject.clone(), row.version);
        if let Some(offset) = self.tables.unreadable(&key) {
            return Err(StoreError::Refused(format!(
                "the topic holds a record for version {} of subject {subject} at offset {offset} that cannot be read; look at \
                 it, and remove it there if nobody needs it",
                row.version
            )));
        }
        let (value, headers) = schema.write(&subject, row.version).map_err(unwritable)?;
        self.put(key, Some(Ok(value)), Some(row.time_ms))?;
        if let Some(record) = self.records.last_mut() {
            record.headers.extend(headers);
        }
        Ok(())
    }

    /// Writes a key, and removes whatever other bytes stand for it: these would shine through once it is gone.
    fn put(
        &mut self,
        key: RecordKey,
        value: Option<std::result::Result<bytes::Bytes, String>>,
        time_ms: Option<i64>,
    ) -> Result<()> {
        let value = value.transpose().map_err(unwritable)?;
        let Some(bytes) = key.bytes() else { return Ok(()) };
        let forms = self.tables.forms(&key).map(|form| (form.clone(), None));
        for (key, value) in forms.chain([(bytes, value)]) {
            self.records.push(Record { key, value, headers: vec![self.stamp.header()], time_ms });
        }
        Ok(())
    }

    /// Next ids of all contexts where the schemas that are left do not tell them: the record has one key for all.
    fn put_floors(&mut self, next_id: SchemaId) -> Result<()> {
        let floors =
            self.tables.contexts().filter_map(|(context, table)| Some((context.clone(), table.floor()?)));
        let mut floors: BTreeMap<_, _> = floors.collect();
        floors.insert(self.stamp.context.clone(), next_id);
        let value = records::write_floors(floors.into_iter());
        self.put(RecordKey::Noop, Some(value), None)
    }
}

fn unwritable(why: String) -> StoreError {
    StoreError::Corrupt(format!("a record cannot be written: {why}"))
}

fn references(
    key: SchemaKey,
    new: &HashMap<SchemaKey, (&SchemaRow, &Texts)>,
    table: &Table,
) -> Arc<[crate::schema::Reference]> {
    let row = new.get(&key).map(|(row, _)| *row).or_else(|| table.schema(key));
    row.map(|row| Arc::clone(&row.references)).unwrap_or_default()
}

/// Puts versions behind those of the same commit that they refer to. Those that refer to each other keep their order.
fn referred_first<'a>(
    versions: Vec<&'a VersionRow>,
    references: impl Fn(SchemaKey) -> Arc<[crate::schema::Reference]>,
    commit: &Commit,
) -> Vec<&'a VersionRow> {
    let place = |row: &VersionRow| (Subject::new(commit.context.clone(), &row.subject), row.version);
    let mut missing: HashSet<(Subject, i32)> = versions.iter().map(|row| place(row)).collect();
    let (mut ordered, mut waiting) = (Vec::with_capacity(versions.len()), versions);
    loop {
        let before = waiting.len();
        waiting.retain(|row| {
            let own = place(row);
            let waits = references(row.schema).iter().any(|reference| {
                let target = (Subject::parse_in(&reference.subject, &commit.context), reference.version);
                target != own && missing.contains(&target)
            });
            if !waits {
                missing.remove(&own);
                ordered.push(*row);
            }
            waits
        });
        if waiting.is_empty() || waiting.len() == before {
            ordered.append(&mut waiting);
            return ordered;
        }
    }
}

/// The keys that a commit writes versions under.
pub fn version_keys(commit: &Commit) -> HashSet<RecordKey> {
    let key = |change: &Change| match change {
        Change::Version(row) => {
            Some(RecordKey::Schema(Subject::new(commit.context.clone(), &row.subject), row.version))
        }
        _ => None,
    };
    commit.changes.iter().filter_map(key).collect()
}
