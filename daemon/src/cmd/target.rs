//! Which backup a command looks at: a store's URL, or the storage section of a job file.

use std::path::PathBuf;
use std::sync::Arc;

use formats::ids::BackupId;
use formats::paths::REPOSITORY;
use pipeline::storage::wrap::Prefixed;
use pipeline::storage::{self, IoSettings, StorageSettings, Store, parse_url};
use pipeline::{Error, Result};

use crate::config::{Job, Overrides};

/// Names a store.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false, args = ["path", "config"])]
pub(crate) struct StoreArgs {
    /// Where backups lie: s3://bucket/prefix, azure://account/container/prefix, gcs://bucket/prefix, file:///path or a
    /// path. Credentials come from the environment.
    #[arg(long, value_name = "URL")]
    path: Option<String>,
    /// A job file whose storage section, and backup_id where --backup-id is not given, are used.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Names a backup.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TargetArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The backup's name. Not needed where the store holds one backup only, or where the URL ends in the backup's folder.
    #[arg(long, value_name = "ID")]
    backup_id: Option<String>,
}

impl StoreArgs {
    fn settings(&self) -> Result<(StorageSettings, Option<BackupId>)> {
        if let Some(path) = &self.config {
            return Ok(match super::job::load(path, &Overrides::default())? {
                Job::Backup(job) => (job.storage, Some(job.backup_id)),
                Job::Restore(job) => (job.storage, Some(job.backup_id)),
                Job::Migrate(_) => {
                    return Err(Error::input(format!(
                        "{} is a migration, which has no store",
                        path.display()
                    ))
                    .hint("give the file of a backup or a restore, or the store's URL"));
                }
            });
        }
        // One of the two is required, so the other way round there is a URL.
        Ok((parse_url(self.path.as_deref().unwrap_or_default())?, None))
    }

    /// The store, as the folder that backups lie in.
    pub(super) fn open(&self) -> Result<Arc<dyn Store>> {
        storage::open(&self.settings()?.0, &IoSettings::default())
    }
}

impl TargetArgs {
    /// A backup that is named as this command names one: by a URL or, where there is none, by a job file.
    pub(super) fn named(path: Option<String>, config: Option<PathBuf>, backup_id: Option<String>) -> Self {
        Self { store: StoreArgs { path, config }, backup_id }
    }

    /// The store, as the backup's own folder.
    pub(super) async fn open(&self) -> Result<Arc<dyn Store>> {
        let (settings, configured) = self.store.settings()?;
        let asked = self.backup_id.as_deref().map(BackupId::new).transpose()?;
        let store = storage::open(&settings, &IoSettings::default())?;
        match asked.or(configured) {
            Some(id) => below(&store, id.as_str()),
            None => only(store).await,
        }
    }
}

fn below(store: &Arc<dyn Store>, folder: &str) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(Prefixed::new(Arc::clone(store), folder)?))
}

/// The one backup of a store: in its own folder, or in the only folder below that holds one.
async fn only(store: Arc<dyn Store>) -> Result<Arc<dyn Store>> {
    if store.head(REPOSITORY).await?.is_some() {
        return Ok(store);
    }
    let mut found = backups(&store).await?;
    match (found.pop(), found.is_empty()) {
        (Some((_, only)), true) => Ok(only),
        (None, _) => Err(Error::not_found(format!("there is no backup at {}", store.location()))
            .hint("check the URL; it is the one that holds the backups' folders")),
        (Some((last, _)), false) => {
            let names: Vec<_> = found.into_iter().map(|(name, _)| name).chain([last]).collect();
            Err(Error::input(format!(
                "{} holds {} backups: {}",
                store.location(),
                names.len(),
                names.join(", ")
            ))
            .hint("name one with --backup-id"))
        }
    }
}

/// The folders of a store that hold a backup, by name.
pub(super) async fn backups(store: &Arc<dyn Store>) -> Result<Vec<(String, Arc<dyn Store>)>> {
    let mut found = Vec::new();
    for name in store.folders("").await? {
        let Ok(id) = BackupId::new(name) else { continue };
        let folder = below(store, id.as_str())?;
        if folder.head(REPOSITORY).await?.is_some() {
            found.push((id.to_string(), folder));
        }
    }
    Ok(found)
}
