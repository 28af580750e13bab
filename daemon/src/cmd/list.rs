//! `list`: the backups of a store, from their newest commits; no segment is read.
//!
//! JSON: `{"location", "backups": [{"backup_id", "folder", "cluster_id", "created_ms", "head", "last_commit_ms", "software",
//! "topics", "partitions", "segments", "records", "raw_bytes", "stored_bytes", "loss_gaps"}]}`; a backup that cannot be
//! opened has `"error"` instead of what is unknown, and the exit code says so.

use std::sync::Arc;

use formats::commit::Commit;
use formats::paths::ObjectName;
use formats::paths::REPOSITORY;
use futures::{StreamExt, stream};
use pipeline::archive::Archive;
use pipeline::seam::Seam;
use pipeline::storage::Store;
use pipeline::{Error, Result};
use serde::Serialize;

use super::target::{StoreArgs, backups};
use crate::exit;
use crate::output::{Align, Output, Table, human_bytes, utc};

/// Backups opened at once.
const PARALLEL: usize = 8;
/// No commit is larger.
const MAX_COMMIT: u64 = 64 << 20;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Serialize)]
struct Listing {
    location: String,
    backups: Vec<Row>,
}

#[derive(Debug, Default, Serialize)]
struct Row {
    backup_id: Option<String>,
    folder: String,
    cluster_id: Option<String>,
    created_ms: Option<i64>,
    head: Option<String>,
    last_commit_ms: Option<i64>,
    software: Option<String>,
    topics: u64,
    partitions: u64,
    segments: u64,
    records: u64,
    raw_bytes: u64,
    stored_bytes: u64,
    loss_gaps: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    code: u8,
}

/// Lists backups.
pub(crate) async fn run(args: ListArgs, output: &Output) -> Result<u8> {
    let store = args.store.open()?;
    let mut found = backups(&store).await?;
    if store.head(REPOSITORY).await?.is_some() {
        // The URL names a backup's own folder.
        found.insert(0, (String::new(), Arc::clone(&store)));
    }
    let rows = stream::iter(found).map(|(folder, store)| async move {
        match row(&folder, store).await {
            Ok(row) => row,
            Err(error) => {
                let code = exit::code(error.kind());
                Row { folder, error: Some(error.to_string()), code, ..Row::default() }
            }
        }
    });
    let backups: Vec<Row> = rows.buffered(PARALLEL).collect().await;
    let code = backups.iter().map(|row| row.code).max().unwrap_or(exit::DONE);
    let listing = Listing { location: store.location(), backups };
    output.print(&listing, || text(&listing));
    Ok(code)
}

async fn row(folder: &str, store: Arc<dyn Store>) -> Result<Row> {
    let archive = Archive::open(store, Seam::system()).await?;
    let (repository, head) = (archive.repository(), archive.head());
    let mut row = Row {
        backup_id: Some(repository.backup_id.to_string()),
        folder: folder.to_owned(),
        cluster_id: Some(repository.cluster_id.clone()),
        created_ms: Some(repository.created_ms),
        ..Row::default()
    };
    if head.seq > 0 {
        let key = ObjectName::Commit(head.seq).key();
        let stored = archive.store().get(&key, MAX_COMMIT).await?;
        let stored = stored.ok_or_else(|| Error::damaged(format!("{key}: the object is missing")))?;
        let commit = Commit::decode(head.seq, &stored)?;
        row.head = Some(format!("{}:{}", head.seq, head.hash));
        row.last_commit_ms = Some(commit.time_ms);
        row.software = Some(commit.software);
    }
    row.topics = archive.state().topics.len() as u64;
    for (_, partition) in archive.state().partitions() {
        row.partitions += 1;
        for lineage in &partition.lineages {
            row.segments += lineage.totals.segments;
            row.records += lineage.totals.records;
            row.raw_bytes += lineage.totals.bytes.total();
            row.stored_bytes += lineage.totals.stored;
            row.loss_gaps += lineage.gaps.iter().filter(|gap| gap.reason.is_loss()).count() as u64;
        }
    }
    Ok(row)
}

fn text(listing: &Listing) -> String {
    if listing.backups.is_empty() {
        return format!("no backups at {}", listing.location);
    }
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("BACKUP", Left),
        ("TOPICS", Right),
        ("PARTITIONS", Right),
        ("RECORDS", Right),
        ("RAW", Right),
        ("STORED", Right),
        ("CREATED", Left),
        ("LAST COMMIT", Left),
        ("NOTE", Left),
    ]);
    for row in &listing.backups {
        let when = |ms: Option<i64>| ms.map_or_else(|| "-".to_owned(), utc);
        let note = match &row.error {
            Some(error) => error.clone(),
            None if row.loss_gaps > 0 => format!("{} gaps with losses", row.loss_gaps),
            None => String::new(),
        };
        table.row([
            row.backup_id.clone().unwrap_or_else(|| row.folder.clone()),
            row.topics.to_string(),
            row.partitions.to_string(),
            row.records.to_string(),
            human_bytes(row.raw_bytes),
            human_bytes(row.stored_bytes),
            when(row.created_ms),
            when(row.last_commit_ms),
            note,
        ]);
    }
    table.to_string()
}
