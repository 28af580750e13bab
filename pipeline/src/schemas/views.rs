//! Views of the schemas for people and `jq`, in the shape that guides describe. No program reads them back.
//!
//! `_schemas.json` (the schema manifest), `config/global.json` and `subjects/<subject>/metadata.json`, made again from the catalog
//! whenever something has changed. A store that lets nothing be overwritten keeps the first ones.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use formats::paths::SCHEMA_REGISTRY;
use formats::schemas::{Catalog, FileRef, VersionRow, VersionState, in_context, subject_folder};
use futures::future::join_all;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value, json};

use crate::storage::Store;

/// Views that are being written at once.
const WRITES: usize = 16;

/// Writes the views of these subjects, and those of the whole. Says how many bytes they have.
pub(super) async fn write(
    store: &dyn Store,
    catalog: &Catalog,
    subjects: impl Iterator<Item = &String>,
) -> usize {
    // A subject that has settings only has no versions, and no folder.
    let own: Vec<&String> = subjects.filter(|subject| catalog.subjects.contains_key(*subject)).collect();
    let mut size = 0;
    for some in own.chunks(WRITES) {
        let writes = some.iter().map(|subject| put_metadata(store, catalog, subject));
        size += join_all(writes).await.into_iter().sum::<usize>();
    }
    size += put(store, &format!("{SCHEMA_REGISTRY}config/global.json"), &global(catalog)).await;
    size + put(store, &format!("{SCHEMA_REGISTRY}_schemas.json"), &Manifest(catalog)).await
}

async fn put_metadata(store: &dyn Store, catalog: &Catalog, subject: &str) -> usize {
    let key = format!("{SCHEMA_REGISTRY}subjects/{}/metadata.json", subject_folder(subject));
    put(store, &key, &metadata(catalog, subject)).await
}

async fn put(store: &dyn Store, key: &str, view: &impl Serialize) -> usize {
    let text = serde_json::to_vec_pretty(view).unwrap_or_default();
    let size = text.len();
    if let Err(error) = store.replace_view(key, text.into()).await {
        tracing::debug!(%error, key, "a view of the schemas was not written");
    }
    size
}

/// `:.context:7` or, in the default context, `7`.
fn id_of(row: &VersionRow) -> String {
    format!("{}{}", root(&row.subject), row.id)
}

fn path(row: &VersionRow, file: &FileRef) -> String {
    format!("subjects/{}/{}", subject_folder(&row.subject), file.file)
}

fn compatibility(catalog: &Catalog, place: &str) -> Option<Value> {
    let config = catalog.places.get(place)?.config.as_ref()?;
    config.get("compatibilityLevel").or_else(|| config.get("compatibility")).cloned()
}

/// The place of the context that a subject is in.
fn root(subject: &str) -> String {
    match in_context(subject) {
        (".", _) => String::new(),
        (context, _) => format!(":{context}:"),
    }
}

/// The schema manifest. Its subjects become values one after the other: all of them at once take more memory than the catalog does.
struct Manifest<'a>(&'a Catalog);

impl Serialize for Manifest<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(catalog) = self;
        let mut shown = serializer.serialize_map(None)?;
        shown.serialize_entry("note", "a view; the truth is in snapshots/")?;
        shown.serialize_entry("schema_registry", &catalog.registry)?;
        shown.serialize_entry("schema_registry_version", &catalog.registry_version)?;
        shown.serialize_entry("backup_timestamp", &utc(catalog.time_ms))?;
        shown.serialize_entry("subjects", &Subjects(catalog))?;
        shown.serialize_entry("id_mapping", &IdMapping(catalog))?;
        shown.end()
    }
}

/// The subjects that have a version.
struct Subjects<'a>(&'a Catalog);

impl Serialize for Subjects<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(catalog) = self;
        serializer.collect_seq(catalog.subjects.iter().filter_map(|(name, rows)| shown(catalog, name, rows)))
    }
}

fn shown(catalog: &Catalog, name: &str, rows: &[VersionRow]) -> Option<Value> {
    let there: Vec<&VersionRow> = rows.iter().filter(|row| row.state != VersionState::Gone).collect();
    let last = there.last()?;
    let version = |row: &&VersionRow| {
        let mut shown = Map::from_iter([
            ("version".to_owned(), json!(row.version)),
            ("id".to_owned(), json!(row.id)),
            ("schema_file".to_owned(), json!(path(row, &row.text))),
        ]);
        if row.state == VersionState::Deleted {
            shown.insert("deleted".to_owned(), json!(true));
        }
        Value::Object(shown)
    };
    Some(json!({
        "name": name,
        "schema_type": last.schema_type,
        "compatibility": compatibility(catalog, name).or_else(|| compatibility(catalog, &root(name))),
        "versions": there.iter().map(version).collect::<Vec<_>>(),
    }))
}

/// Each id once, with a file of its schema: several versions may have one.
struct IdMapping<'a>(&'a Catalog);

impl Serialize for IdMapping<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows: BTreeMap<(&str, u32), &VersionRow> =
            self.0.versions().map(|row| ((in_context(&row.subject).0, row.id), row)).collect();
        serializer.collect_map(rows.into_values().map(|row| (id_of(row), path(row, &row.text))))
    }
}

fn global(catalog: &Catalog) -> Value {
    let root = catalog.places.get("");
    let mut shown = root.and_then(|root| root.config.clone()).unwrap_or_default();
    shown.insert("mode".to_owned(), json!(root.and_then(|root| root.mode.clone())));
    let is_context = |place: &String| place.starts_with(":.") && place.ends_with(':');
    let contexts = catalog.places.iter().filter(|(place, _)| is_context(place));
    let contexts: Map<_, _> = contexts
        .map(|(place, row)| (place.clone(), json!({ "config": row.config, "mode": row.mode })))
        .collect();
    shown.insert("contexts".to_owned(), Value::Object(contexts));
    Value::Object(shown)
}

fn metadata(catalog: &Catalog, subject: &str) -> Value {
    let place = catalog.places.get(subject);
    let version = |row: &VersionRow| {
        json!({
            "version": row.version,
            "id": row.id,
            "guid": row.guid,
            "schema_type": row.schema_type,
            "schema_file": row.text.file,
            "labels_file": row.labels.as_ref().map(|labels| &labels.file),
            "state": row.state,
            "references": row.references,
            "ts": row.ts,
        })
    };
    let rows = catalog.subjects.get(subject).map_or(&[][..], Vec::as_slice);
    json!({
        "subject": subject,
        "compatibility": compatibility(catalog, subject),
        "mode": place.and_then(|place| place.mode.clone()),
        "config": place.and_then(|place| place.config.clone()),
        "versions": rows.iter().map(version).collect::<Vec<_>>(),
    })
}

/// RFC 3339, to the second.
fn utc(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}
