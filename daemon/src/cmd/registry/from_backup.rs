//! `registry serve --from-backup`: which backup is served, and how it becomes a store.

use std::path::PathBuf;
use std::sync::Arc;

use pipeline::{Error, Result};
use registry::store::Store;

use super::super::target::TargetArgs;
use super::super::values;
use crate::config::registry::RegistryConfig;
use crate::kept;

/// Names the backup that is served, where it is one.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FromBackup {
    #[command(flatten)]
    named: Named,
    /// The backup's name. Not needed where the store holds one backup only, or where the URL ends in the backup's folder.
    #[arg(long, value_name = "ID", requires = "served_backup")]
    backup_id: Option<String>,
    /// The schemas as the registry had them at this time: milliseconds since 1970, 2026-01-02 or 2026-01-02T03:04:05Z (UTC). Without
    /// it, the newest that the backup has.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = values::moment,
        allow_hyphen_values = true,
        requires = "served_backup"
    )]
    at: Option<i64>,
}

#[derive(Debug, Clone, clap::Args)]
#[group(id = "served_backup", multiple = false, conflicts_with_all = ["storage_type", "data_dir"])]
struct Named {
    /// Serve the schemas of a backup, read-only and in no store: s3://bucket/prefix, azure://account/container/prefix,
    /// gcs://bucket/prefix, file:///path or a path. Credentials come from the environment. What is backed up later is served after the
    /// next start.
    #[arg(long, value_name = "URL")]
    from_backup: Option<String>,
    /// The same, by a job file whose storage section, and backup_id where --backup-id is not given, are used.
    #[arg(long, value_name = "FILE")]
    backup_config: Option<PathBuf>,
}

impl FromBackup {
    /// Whether it names one.
    pub(super) fn is_given(&self) -> bool {
        self.named.from_backup.is_some() || self.named.backup_config.is_some()
    }

    /// Refuses a configuration that names a store too.
    pub(super) fn require_no_store(&self, config: &RegistryConfig, file: Option<&str>) -> Result<()> {
        let Some(at) = config.store_named.filter(|_| self.is_given()) else { return Ok(()) };
        let place = match (at.outside, file) {
            (None, Some(file)) => format!("{file}:{at}"),
            _ => at.to_string(),
        };
        Err(Error::input(format!(
            "{place}: a store ({}) is configured, and a backup is to be served: a backup is served from where it lies, and is kept in no \
             store",
            config.store.name()
        ))
        .hint("leave the store out, or --from-backup and --backup-config"))
    }

    /// The backup as a store.
    pub(super) async fn open(&self) -> Result<Arc<dyn Store>> {
        let Named { from_backup, backup_config } = self.named.clone();
        let target = TargetArgs::named(from_backup, backup_config, self.backup_id.clone());
        Ok(Arc::new(kept::open(target.open().await?, self.at).await?))
    }
}
