//! The file: its rights, its settings, its tables, and what its errors mean.

use super::statements::Fault;
use super::{FILE, Result, StoreError};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The version of the tables that this program writes; step n of [`MIGRATIONS`] leads to version n + 1.
const MIGRATIONS: &[&str] = &[include_str!("tables.sql"), include_str!("../version_2.sql")];

/// The path, and which file was found there.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    identity: (u64, u64),
}

impl File {
    /// Makes the folder and an empty file where they are missing, for nobody else to read: texts and rules may be confidential.
    pub(super) fn prepare(folder: &Path) -> Result<Self> {
        let refused = |what: &str, path: &Path, error: std::io::Error| {
            StoreError::Unavailable(format!(
                "cannot {what} {}: {error}; choose a folder that can be written, or another store",
                path.display()
            ))
        };
        fs::create_dir_all(folder).map_err(|error| refused("make the folder", folder, error))?;
        let path = folder.join(FILE);
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(|error| refused("open", &path, error))?;
        // The name must survive as surely as what is written under it.
        fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| refused("flush the folder of", &path, error))?;
        let metadata = file.metadata().map_err(|error| refused("look at", &path, error))?;
        if is_open_to_others(&metadata) {
            tracing::warn!(file = %path.display(), "others may read the SQLite file: chmod 600 closes it");
        }
        Ok(Self { path, identity: identity(&metadata) })
    }

    /// A file that was removed or replaced can still be written to, and all of that would be lost.
    pub(super) fn is_still_there(&self) -> Result<()> {
        match fs::metadata(&self.path) {
            Ok(metadata) if identity(&metadata) == self.identity => Ok(()),
            _ => Err(StoreError::Unavailable(format!(
                "{} was removed or replaced while it was open; restart the registry to use what is there now",
                self.path.display()
            ))),
        }
    }

    /// What an error means. Never for the step that makes a commit true.
    pub(super) fn words(&self, doing: &str, fault: Fault) -> StoreError {
        let path = self.path.display();
        let error = match fault {
            Fault::Sqlite(error) => error,
            Fault::Said(error) => return error,
        };
        let Some(code) = error.sqlite_error_code() else {
            return StoreError::Corrupt(format!("{path}: cannot {doing}: {error}"));
        };
        match code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown => {
                StoreError::Corrupt(format!("{path}: cannot {doing}: {error}"))
            }
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Unavailable(format!(
                "{path}: cannot {doing}: another process holds its lock ({error})"
            )),
            ErrorCode::DiskFull => {
                StoreError::Unavailable(format!("{path}: cannot {doing}: no space left on its disk"))
            }
            ErrorCode::TooBig => StoreError::Refused(format!("{path}: {error}")),
            _ => StoreError::Unavailable(format!("{path}: cannot {doing}: {error}")),
        }
    }
}

#[cfg(unix)]
fn is_open_to_others(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mode(metadata) & 0o077 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_: &fs::Metadata) -> bool {
    false
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> (u64, u64) {
    (0, 0)
}

pub(super) fn open(file: &File, busy: Duration) -> Result<Connection> {
    let opened = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&file.path, flags)?;
        connection.busy_timeout(busy)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
        // With NORMAL, the last commits before a loss of power are lost.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    };
    let begun = Instant::now();
    loop {
        match opened() {
            // To switch to WAL it needs the file for itself, and does not wait for that.
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && begun.elapsed() < busy =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            opened => return opened.map_err(|error| file.words("open", error.into())),
        }
    }
}

/// Brings the tables to the newest version. Of several processes that start at once, one does it and the others wait.
pub(super) fn migrate(file: &File, connection: &Connection) -> Result<()> {
    let wrong = |error: rusqlite::Error| file.words("make the tables", error.into());
    // A check without a lock first, so that a start does not wait for a writer without need.
    let version =
        || connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0)).map_err(wrong);
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if version()? == known {
        return Ok(());
    }
    let transaction =
        rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate).map_err(wrong)?;
    let found = version()?;
    if found > known {
        return Err(StoreError::Unavailable(format!(
            "{} has tables of version {found}, and this program knows versions up to {known}: a newer one has written it; run that one",
            file.path.display()
        )));
    }
    for (step, _) in MIGRATIONS.iter().zip(0..).filter(|(_, number)| *number >= found) {
        transaction.execute_batch(step).map_err(wrong)?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(wrong)?;
    transaction.commit().map_err(wrong)
}
