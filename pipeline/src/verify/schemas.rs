//! The schemas of a backup: every snapshot back to the first, every object that the newest names, every reference.
//!
//! Structure: objects by name and size, references, what is carried beside schemas. Deep: every byte, and each text is parsed again by whoever understands it.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use formats::commit::ObjectRef;
use formats::paths::SCHEMA_REGISTRY;
use formats::schemas::{Catalog, FileRef, Other, OtherRow, VersionRow, reference_target, subject_folder};
use futures::{StreamExt, TryStreamExt, stream};

use super::finding::{FindingKind, Findings, says_nothing_about_the_backup};
use crate::schemas::{SchemaArchive, read_file, read_snapshot};
use crate::storage::Store;
use crate::{Error, Result};

/// Objects read at once.
const READS: usize = 16;

/// Understands schemas.
pub trait SchemaParser: fmt::Debug + Send + Sync {
    /// Whether a text is a schema of its type, with what it refers to (name and text, each before what refers to it). Why not, if not.
    ///
    /// # Errors
    /// The words of the parser.
    fn parse(&self, schema_type: &str, text: &str, dependencies: &[(String, String)]) -> Result<(), String>;
}

/// The schemas, where they can be read; what is wrong with a snapshot is found by [`check`].
pub(super) async fn open(store: &Arc<dyn Store>, newest: &ObjectRef) -> Result<Option<SchemaArchive>> {
    match SchemaArchive::open(Arc::clone(store), newest).await {
        Ok(archive) => Ok(Some(archive)),
        Err(error) if says_nothing_about_the_backup(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Checks everything below `schema-registry/`; gives the keys of its snapshots.
pub(super) async fn check(
    store: &Arc<dyn Store>,
    newest: &ObjectRef,
    archive: Option<&SchemaArchive>,
    deep: bool,
    parser: Option<&dyn SchemaParser>,
    findings: &Findings,
) -> Result<HashSet<String>> {
    let snapshots = snapshots(&**store, newest, findings).await?;
    let Some(archive) = archive else { return Ok(snapshots) };
    let catalog = &archive.catalog;
    sizes(&**store, catalog, findings).await?;
    references(catalog, findings);
    others(catalog, newest, findings);
    if deep {
        bytes(&**store, catalog, findings).await?;
        if let Some(parser) = parser {
            texts(archive, parser, findings).await?;
        }
    }
    Ok(snapshots)
}

async fn snapshots(store: &dyn Store, newest: &ObjectRef, findings: &Findings) -> Result<HashSet<String>> {
    let (mut keys, mut next) = (HashSet::new(), Some(newest.clone()));
    while let Some(object) = next {
        if !keys.insert(object.key.clone()) {
            let message = "the snapshots of the schemas lead in a circle".to_owned();
            findings.plain(FindingKind::Contradiction, &object.key, message);
            break;
        }
        next = match read_snapshot(store, &object).await {
            Ok(snapshot) => snapshot.before,
            Err(error) => {
                findings.object(&object.key, error)?;
                None
            }
        };
    }
    Ok(keys)
}

fn files(row: &VersionRow) -> impl Iterator<Item = &FileRef> {
    std::iter::once(&row.text).chain(row.labels.as_deref())
}

/// Objects by name and size, one listing a subject.
async fn sizes(store: &dyn Store, catalog: &Catalog, findings: &Findings) -> Result<()> {
    let subjects = stream::iter(&catalog.subjects).map(|(subject, rows)| async move {
        let folder = format!("{SCHEMA_REGISTRY}subjects/{}/", subject_folder(subject));
        let objects: Vec<_> = store.list(&folder, None).try_collect().await?;
        let sizes: BTreeMap<&str, u64> =
            objects.iter().map(|object| (object.key.as_str(), object.size)).collect();
        for (row, file) in rows.iter().flat_map(|row| files(row).map(move |file| (row, file))) {
            let key = row.key(file);
            let error = match sizes.get(key.as_str()) {
                Some(size) if *size == file.length => continue,
                Some(size) => Error::damaged(format!("the object has {size} bytes, not {}", file.length)),
                None => Error::not_found("the object is missing"),
            };
            findings.object(&key, error)?;
        }
        Ok(())
    });
    subjects.buffer_unordered(READS).try_collect().await
}

fn references(catalog: &Catalog, findings: &Findings) {
    for row in catalog.versions() {
        for reference in &row.references {
            let target = reference_target(&row.subject, &reference.subject);
            if catalog.target(&target, reference.version).is_none() {
                let message = format!(
                    "{} version {} refers to {target} version {}, which the backup does not hold",
                    row.subject, row.version, reference.version
                );
                findings.plain(FindingKind::Missing, &row.key(&row.text), message);
            }
        }
    }
}

/// What is carried: it makes sense, and each DEK has the KEK that wraps it.
fn others(catalog: &Catalog, newest: &ObjectRef, findings: &Findings) {
    let read: Vec<_> = catalog.others.values().map(OtherRow::read).collect();
    let kek = |row: &Result<Other<'_>, _>| match row {
        Ok(Other::Kek(name)) => Some((*name).to_owned()),
        _ => None,
    };
    let keks: HashSet<String> = read.iter().filter_map(kek).collect();
    for row in read {
        let (kind, message) = match row {
            Err(error) => (FindingKind::Damaged, error.to_string()),
            Ok(Other::Dek { kek, subject, version, algorithm }) if !keks.contains(kek) => {
                let dek = format!("DEK {subject} version {version} ({algorithm})");
                (
                    FindingKind::Missing,
                    format!("{dek} is wrapped by KEK {kek}, which the backup does not hold"),
                )
            }
            Ok(_) => continue,
        };
        findings.plain(kind, &newest.key, message);
    }
}

async fn bytes(store: &dyn Store, catalog: &Catalog, findings: &Findings) -> Result<()> {
    let all = catalog.versions().flat_map(|row| files(row).map(move |file| (row, file)));
    let reads = stream::iter(all).map(|(row, file)| async move {
        match read_file(store, row, file).await {
            Ok(_) => Ok(()),
            Err(error) => findings.object(&row.key(file), error),
        }
    });
    reads.buffer_unordered(READS).try_collect().await
}

async fn texts(archive: &SchemaArchive, parser: &dyn SchemaParser, findings: &Findings) -> Result<()> {
    for row in archive.catalog.versions() {
        // What cannot be read has been found.
        let dependencies = match archive.dependencies(row).await {
            Err(error) if says_nothing_about_the_backup(&error) => return Err(error),
            dependencies => dependencies.ok().flatten(),
        };
        let (Some(text), Some(dependencies)) = (read(archive, row).await?, dependencies) else { continue };
        if let Err(why) = parser.parse(&row.schema_type, &text, &dependencies) {
            let (subject, version) = (&row.subject, row.version);
            let message =
                format!("{subject} version {version} is no schema of type {}: {why}", row.schema_type);
            findings.plain(FindingKind::Damaged, &row.key(&row.text), message);
        }
    }
    Ok(())
}

async fn read(archive: &SchemaArchive, row: &VersionRow) -> Result<Option<String>> {
    match archive.text(row).await {
        Ok(text) => Ok(String::from_utf8(text.to_vec()).ok()),
        Err(error) if says_nothing_about_the_backup(&error) => Err(error),
        Err(_) => Ok(None),
    }
}
