//! Writes what a walk finds: texts first, then the snapshot that names them; the commit that makes it true is the caller's.
//!
//! An object of a version is created once. Where its name is taken by other bytes (the number was given to another schema, or two
//! subjects share a folder on a file system that ignores case) the beginning of its hash makes it another name. So a run that died
//! leaves objects that the next one finds, and nothing to clean up.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use formats::commit::{ObjectRef, Op};
use formats::hash::Hash;
use formats::ids::Incarnation;
use formats::paths::ObjectName;
use formats::schemas::{
    Catalog, Extra, FileRef, OtherRow, PlaceRow, ReferenceRow, SchemaSnapshot, VersionRow, VersionState,
    extension, file_name, reference_target,
};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;

use super::read::SchemaArchive;
use super::select::SchemaSelection;
use super::source::{Depth, Found, FoundVersion, SchemaSource};
use super::views;
use crate::commit_log::create;
use crate::seam::Seam;
use crate::storage::Store;
use crate::{Error, ErrorKind, Result};

/// Objects that are being written at once.
const WRITES: usize = 16;
/// Things found that wait to be written.
const WAITING: usize = 64;
/// Versions that a list leaves out and that are asked for by themselves.
const ASKED: usize = 100;
/// Rows after which a snapshot is ended and another one goes on: about 8 MB.
const ROWS: usize = 20_000;
/// Bytes of what is only carried in one snapshot, about.
const OTHERS: usize = 8 << 20;
/// Snapshots after which an account is begun anew, so that a reader need not read all that ever were.
const LONGEST: usize = 64;

/// Keeps the schemas of a backup.
#[derive(Debug)]
pub struct SchemaWriter {
    store: Arc<dyn Store>,
    seam: Seam,
    incarnation: Incarnation,
    selection: SchemaSelection,
    catalog: Catalog,
    /// The newest snapshot that a commit names, or will.
    newest: Option<ObjectRef>,
    /// Snapshots since the account began.
    chain: usize,
    /// The number of the next snapshot's key.
    seq: u64,
    /// What the last walk came to, where everything that it found is in the catalog and nothing was missing.
    settled: Option<Settled>,
    /// Subjects whose view is old.
    stale: BTreeSet<String>,
    is_stale: bool,
}

/// What a walk comes to once more where nothing has changed since.
#[derive(Debug)]
struct Settled {
    seen: u64,
    left_out: BTreeSet<String>,
}

/// What a walk came to.
#[derive(Debug, Default)]
pub struct Walked {
    /// What to commit: nothing where there is no schema at all.
    pub op: Option<Op>,
    /// Versions that are new in the backup.
    pub new: u64,
    /// Versions that the registry has no more.
    pub gone: u64,
    /// Versions that the registry has.
    pub seen: u64,
    /// Subjects of which something is left out by the selection.
    pub left_out: BTreeSet<String>,
    /// Why keys of encryption could not be read, where they were asked for.
    pub keys_failed: Option<String>,
}

impl SchemaWriter {
    /// Goes on with what the backup holds: `newest` is its newest snapshot. Where that cannot be read it is said, and a whole account is
    /// begun anew; what the registry has no more is lost to it then.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn open(
        store: Arc<dyn Store>,
        seam: Seam,
        incarnation: Incarnation,
        selection: SchemaSelection,
        newest: Option<&ObjectRef>,
    ) -> Result<Self> {
        let known = match newest {
            Some(newest) => match SchemaArchive::open(Arc::clone(&store), newest).await {
                Err(error) if error.kind() == ErrorKind::Damaged => {
                    tracing::error!(%error, "the backup's schemas cannot be read; those that the registry has are written again");
                    None
                }
                archive => Some(archive?),
            },
            None => None,
        };
        let (catalog, chain) =
            known.map_or_else(Default::default, |archive| (archive.catalog, archive.chain));
        let newest = newest.cloned();
        let (stale, is_stale) = (BTreeSet::new(), false);
        Ok(Self {
            store,
            seam,
            incarnation,
            selection,
            catalog,
            newest,
            chain,
            seq: 0,
            settled: None,
            stale,
            is_stale,
        })
    }

    /// What the backup holds, and what the last walk added.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Walks through the source and writes what is new; `covers` is the last commit before the walk began. Nothing
    /// is true before the operation is committed, and a failed walk leaves no trace.
    ///
    /// # Errors
    /// What the source or the store says.
    pub async fn walk(&mut self, source: &dyn SchemaSource, depth: Depth, covers: u64) -> Result<Walked> {
        if depth == Depth::Versions
            && let Some(Settled { seen, left_out }) = &self.settled
            && source.is_unchanged().await?
        {
            let op = self.newest.clone().map(|object| Op::Schemas { object, after: None, covers });
            return Ok(Walked { op, seen: *seen, left_out: left_out.clone(), ..Walked::default() });
        }
        self.settled = None;
        let before = self.newest.clone();
        let mut pass = Pass::new(self, source, self.seam.clock.now_ms());
        pass.run(depth).await?;
        let Pass { changes, new, gone, seen, left_out, keys_failed, .. } = pass;
        let left_out: BTreeSet<String> = left_out.into_iter().map(|(subject, _)| subject).collect();
        let seen = seen.len() as u64;
        self.seq = self.seq.max(covers + 1);
        if !changes.is_empty() {
            self.store(changes).await?;
        }
        // What is missing is asked for by itself, which no later look at the lists would do.
        self.settled = (gone == 0).then(|| Settled { seen, left_out: left_out.clone() });
        let op = self.newest.clone().map(|object| {
            let is_new = before.as_ref() != Some(&object);
            let after = before.filter(|_| is_new).map(|before| before.key);
            Op::Schemas { object, after, covers }
        });
        Ok(Walked { op, new, gone, seen, left_out, keys_failed })
    }

    /// Writes what has changed as one snapshot or several.
    async fn store(&mut self, changes: SchemaSnapshot) -> Result<()> {
        self.stale.extend(changes.versions.iter().map(|row| row.subject.clone()));
        self.stale.extend(changes.places.iter().map(|row| row.place.clone()));
        self.is_stale = true;
        let begins = self.chain == 0 || self.chain >= LONGEST + self.catalog.subjects.len() / 1000;
        let whole = match begins {
            false => changes,
            true => {
                let mut all = self.catalog.clone();
                all.apply(changes);
                account_of(all)
            }
        };
        let mut parts = parts(whole);
        let (mut newest, mut chain) = (self.newest.clone(), if begins { 0 } else { self.chain });
        for part in &mut parts {
            part.begins = begins && chain == 0;
            part.before = newest;
            newest = Some(self.put_snapshot(part).await?);
            chain += 1;
        }
        // Only now: what is not durable is found again by the next walk.
        (self.newest, self.chain) = (newest, chain);
        parts.into_iter().for_each(|part| self.catalog.apply(part));
        Ok(())
    }

    async fn put_snapshot(&mut self, snapshot: &SchemaSnapshot) -> Result<ObjectRef> {
        let stored = Bytes::from(snapshot.encode()?);
        let key = ObjectName::SchemaSnapshot(self.seq, self.incarnation).key();
        self.seq += 1;
        let object = ObjectRef { key, length: stored.len() as u64, blake3: Hash::of(&stored) };
        match create(&*self.store, &*self.seam.rand, &object.key, &stored).await? {
            None => Ok(object),
            // A walk of this very writer that failed before its commit.
            Some(_) => Err(Error::retry(format!("{} is there already", object.key))),
        }
    }

    /// Makes the objects of a version durable.
    async fn put_version(&self, found: FoundVersion) -> Result<VersionRow> {
        let FoundVersion { subject, version, id, guid, schema_type, text, labels, references, ts, .. } =
            found;
        let empty = FileRef { file: String::new(), length: 0, blake3: Hash::ZERO };
        let mut row = VersionRow {
            subject,
            version,
            id,
            guid,
            schema_type,
            state: VersionState::Active,
            text: empty,
            labels: None,
            references,
            ts,
            extra: Extra::default(),
        };
        row.text = self.put_file(&row, extension(&row.schema_type), text).await?;
        if let Some(labels) = labels {
            row.labels = Some(Box::new(self.put_file(&row, "labels.json", labels).await?));
        }
        Ok(row)
    }

    async fn put_file(&self, row: &VersionRow, ending: &str, stored: Bytes) -> Result<FileRef> {
        let blake3 = Hash::of(&stored);
        for distinct in [None, Some(blake3)] {
            let name = file_name(row.version, distinct, ending);
            let file = FileRef { file: name, length: stored.len() as u64, blake3 };
            if create(&*self.store, &*self.seam.rand, &row.key(&file), &stored).await?.is_none() {
                return Ok(file);
            }
        }
        let (subject, version) = (&row.subject, row.version);
        Err(Error::damaged(format!("{subject} version {version}: other objects have both its names"))
            .hint("`replevin verify --deep` shows which objects are damaged"))
    }

    /// Writes the views for people again where something has changed since. Says how many bytes they have.
    pub async fn write_views(&mut self) -> usize {
        if !std::mem::take(&mut self.is_stale) {
            return 0;
        }
        let stale = std::mem::take(&mut self.stale);
        views::write(&*self.store, &self.catalog, stale.iter()).await
    }
}

/// All that there is, as one account.
fn account_of(catalog: Catalog) -> SchemaSnapshot {
    SchemaSnapshot {
        registry_version: catalog.registry_version,
        places: catalog.places.into_values().collect(),
        versions: catalog.subjects.into_values().flatten().collect(),
        others: catalog.others.into_values().collect(),
        ..SchemaSnapshot::new(catalog.registry, catalog.time_ms, None)
    }
}

/// The same in pieces that are small enough to be read one at a time.
fn parts(mut whole: SchemaSnapshot) -> Vec<SchemaSnapshot> {
    let mut rest = whole.versions.split_off(whole.versions.len().min(ROWS));
    let others = std::mem::take(&mut whole.others);
    let (registry, time_ms) = (whole.registry.clone(), whole.time_ms);
    let empty = || SchemaSnapshot::new(registry.clone(), time_ms, None);
    let mut parts = vec![whole];
    while !rest.is_empty() {
        let after = rest.split_off(rest.len().min(ROWS));
        parts.push(SchemaSnapshot { versions: rest, ..empty() });
        rest = after;
    }
    // A record of an unknown kind may be as large as a topic allows, so these are counted in bytes.
    let mut filled = 0;
    for row in others {
        let size = row.key.to_string().len() + row.value.to_string().len();
        filled += size;
        if filled > OTHERS {
            parts.push(empty());
            filled = size;
        }
        if let Some(part) = parts.last_mut() {
            part.others.push(row);
        }
    }
    parts
}

/// One walk.
struct Pass<'a> {
    writer: &'a SchemaWriter,
    source: &'a dyn SchemaSource,
    changes: SchemaSnapshot,
    /// The versions that the source has, by fingerprint, and whether they are deleted softly, where they say so.
    seen: HashMap<u128, Option<bool>>,
    /// Versions that were told to be deleted softly.
    deleted: HashSet<Numbered>,
    places: HashSet<String>,
    others: HashSet<(String, String)>,
    /// Sources of others of which everything was given.
    all_others: HashSet<&'static str>,
    keys_failed: Option<String>,
    /// Versions that the selection leaves out.
    left_out: HashSet<Numbered>,
    /// What taken schemas refer to.
    referred: HashSet<Numbered>,
    new: u64,
    gone: u64,
}

/// A version by its subject and number.
type Numbered = (String, i32);

impl<'a> Pass<'a> {
    fn new(writer: &'a SchemaWriter, source: &'a dyn SchemaSource, time_ms: i64) -> Self {
        Self {
            writer,
            source,
            changes: SchemaSnapshot { begins: false, ..SchemaSnapshot::new(source.name(), time_ms, None) },
            seen: HashMap::new(),
            deleted: HashSet::new(),
            places: HashSet::new(),
            others: HashSet::new(),
            all_others: HashSet::new(),
            keys_failed: None,
            left_out: HashSet::new(),
            referred: HashSet::new(),
            new: 0,
            gone: 0,
        }
    }

    async fn run(&mut self, depth: Depth) -> Result<()> {
        let (sender, found) = mpsc::channel(WAITING);
        let source = self.source;
        tokio::try_join!(source.walk(depth, sender), self.receive(found))?;
        loop {
            let wanted: Vec<Numbered> = self.referred.intersection(&self.left_out).cloned().collect();
            if wanted.is_empty() {
                break;
            }
            self.fetch(wanted).await?;
        }
        self.ask_for_missing().await?;
        self.settle(depth);
        Ok(())
    }

    async fn receive(&mut self, mut found: mpsc::Receiver<Found>) -> Result<()> {
        let writer = self.writer;
        let mut writes = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(row) = writes.next(), if !writes.is_empty() => self.changes.versions.push(row?),
                next = found.recv(), if writes.len() < WRITES => match next {
                    Some(Found::Version(version)) if self.is_selected(&version) => {
                        writes.extend(self.take(version).map(|version| writer.put_version(version)));
                    }
                    Some(other) => self.note(other),
                    None => break,
                },
            }
        }
        while let Some(row) = writes.next().await {
            self.changes.versions.push(row?);
        }
        Ok(())
    }

    /// Takes versions that the walk has left out.
    async fn fetch(&mut self, wanted: Vec<Numbered>) -> Result<()> {
        for numbered in wanted {
            self.left_out.remove(&numbered);
            let (subject, version) = numbered;
            if let Some(version) = self.source.version(&subject, version).await?
                && let Some(version) = self.take(version)
            {
                self.changes.versions.push(self.writer.put_version(version).await?);
            }
        }
        Ok(())
    }

    /// Whether a version is taken as it comes; if not it is noted.
    fn is_selected(&mut self, found: &FoundVersion) -> bool {
        if self.writer.selection.takes(found) {
            return true;
        }
        self.seen.insert(fingerprint_of(found), found.deleted);
        self.left_out.insert((found.subject.clone(), found.version));
        false
    }

    /// Notes a version that is taken; gives it back where it is new.
    fn take(&mut self, found: FoundVersion) -> Option<FoundVersion> {
        let fingerprint = fingerprint_of(&found);
        self.seen.insert(fingerprint, found.deleted);
        if self.writer.selection.takes_references_of(&found.schema_type) {
            let targets = found
                .references
                .iter()
                .map(|reference| (reference_target(&found.subject, &reference.subject), reference.version));
            self.referred.extend(targets);
        }
        let rows = self.writer.catalog.subjects.get(&found.subject);
        let same = |row: &&VersionRow| row.version == found.version && fingerprint_of_row(row) == fingerprint;
        if rows.into_iter().flatten().any(|row| same(&row)) {
            return None;
        }
        self.new += 1;
        Some(found)
    }

    fn note(&mut self, found: Found) {
        let catalog = &self.writer.catalog;
        match found {
            Found::Version(_) => {}
            Found::Deleted(subject, version) => drop(self.deleted.insert((subject, version))),
            Found::Place(row) => {
                self.places.insert(row.place.clone());
                if catalog.places.get(&row.place) != Some(&row) {
                    self.changes.places.push(row);
                }
            }
            Found::Other(row) => {
                let key = (row.source.clone(), row.key.to_string());
                if catalog.others.get(&key) != Some(&row) {
                    self.changes.others.push(row);
                }
                self.others.insert(key);
            }
            Found::AllOthers(source) => drop(self.all_others.insert(source)),
            Found::KeysFailed(why) => self.keys_failed = Some(why),
            Found::RegistryVersion(version) => {
                self.changes.registry_version =
                    Some(version).filter(|version| catalog.registry_version.as_ref() != Some(version));
            }
        }
    }

    /// A list that leaves something out (an instance that lags, rights that were taken away) must not pass for a deletion: what is
    /// missing is asked for by itself, as far as that is not too much to ask.
    async fn ask_for_missing(&mut self) -> Result<()> {
        let catalog = &self.writer.catalog;
        let there: Vec<&VersionRow> =
            catalog.versions().filter(|row| row.state != VersionState::Gone).collect();
        let is_missing = |row: &&VersionRow| !self.seen.contains_key(&fingerprint_of_row(row));
        let missing: Vec<&VersionRow> = there.iter().copied().filter(is_missing).collect();
        self.gone = missing.len() as u64;
        for row in missing.iter().take(ASKED) {
            let found = self.source.version(&row.subject, row.version).await?;
            if found.is_some_and(|found| fingerprint_of(&found) == fingerprint_of_row(row)) {
                let (subject, version, name) = (&row.subject, row.version, self.source.name());
                let text = format!("{name} has {subject} version {version} and does not list it");
                return Err(
                    Error::retry(text).hint("instances that differ, or rights to list it that are missing")
                );
            }
        }
        let all = there.len();
        if missing.len() > ASKED && missing.len() > all / 2 {
            tracing::warn!(
                registry = self.source.name(),
                "{} of {all} versions are gone from the registry; the backup keeps them",
                missing.len()
            );
        }
        Ok(())
    }

    /// Notes what became of versions that were known, and what the source has no more.
    fn settle(&mut self, depth: Depth) {
        let catalog = &self.writer.catalog;
        let mut changed = Vec::new();
        for row in catalog.versions() {
            let state = match self.seen.get(&fingerprint_of_row(row)) {
                None => VersionState::Gone,
                Some(told) => self.state(row, *told, depth),
            };
            if state != row.state {
                changed.push(VersionRow { state, ..row.clone() });
            }
        }
        // In front: where a number was given again, what has it now comes after.
        for row in std::mem::take(&mut self.changes.versions) {
            let told = self.seen.get(&fingerprint_of_row(&row)).copied().flatten();
            changed.push(VersionRow { state: self.state(&row, told, depth), ..row });
        }
        changed.sort_by(|a, b| (&a.subject, a.version).cmp(&(&b.subject, b.version)));
        self.changes.versions = changed;
        if depth == Depth::Everything {
            let places = catalog.places.keys().filter(|place| !self.places.contains(*place));
            let cleared = places.map(|place| PlaceRow { place: place.clone(), ..PlaceRow::default() });
            self.changes.places.extend(cleared);
            let others = catalog
                .others
                .iter()
                .filter(|(key, _)| self.all_others.contains(key.0.as_str()) && !self.others.contains(*key));
            let removed = others.map(|(_, row)| OtherRow { value: serde_json::Value::Null, ..row.clone() });
            self.changes.others.extend(removed);
        }
    }

    fn state(&self, row: &VersionRow, told: Option<bool>, depth: Depth) -> VersionState {
        let deleted = match told {
            Some(deleted) => deleted,
            None if depth == Depth::Everything => self.deleted.contains(&(row.subject.clone(), row.version)),
            None => row.state == VersionState::Deleted,
        };
        if deleted { VersionState::Deleted } else { VersionState::Active }
    }
}

/// What makes a version the one that it is: what [`VersionRow::is_same`] compares.
fn fingerprint_of(found: &FoundVersion) -> u128 {
    let labels = found.labels.as_deref().map(Hash::of);
    let text = Hash::of(&found.text);
    fingerprint(
        (&found.subject, found.version, found.id),
        &found.schema_type,
        text,
        labels,
        &found.references,
    )
}

fn fingerprint_of_row(row: &VersionRow) -> u128 {
    let labels = row.labels.as_ref().map(|labels| labels.blake3);
    fingerprint(
        (&row.subject, row.version, row.id),
        &row.schema_type,
        row.text.blake3,
        labels,
        &row.references,
    )
}

fn fingerprint(
    (subject, version, id): (&str, i32, u32),
    schema_type: &str,
    text: Hash,
    labels: Option<Hash>,
    references: &[ReferenceRow],
) -> u128 {
    let mut hash = blake3::Hasher::new();
    let mut add = |part: &[u8]| {
        hash.update(&(part.len() as u64).to_le_bytes()).update(part);
    };
    add(subject.as_bytes());
    add(&version.to_le_bytes());
    add(&id.to_le_bytes());
    add(schema_type.as_bytes());
    add(&text.0);
    add(&labels.unwrap_or(Hash::ZERO).0);
    for reference in references {
        add(reference.name.as_bytes());
        add(reference.subject.as_bytes());
        add(&reference.version.to_le_bytes());
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    u128::from_le_bytes(first)
}
