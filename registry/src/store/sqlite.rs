//! Keeps everything in one SQLite file in a data folder: the default.
//!
//! A commit is on disk before it is true (WAL, `synchronous=FULL`). Several processes of one machine may share the file; SQLite's
//! own locks keep them apart. Not for folders on a network, whose locks cannot be trusted.
//!
//! The driver is rusqlite and not sqlx, which the other SQL stores use: SQLite is a library call, and sqlx makes a message to
//! another thread of every statement and every row. Here a whole commit is one step on a blocking thread, and loading 100,000
//! rows one loop.
//!
//! `sqlite/connection.rs` opens the file, `sqlite/statements.rs` reads and writes rows.

use super::rows::Rows;
use super::{Change, Commit, Guard, Head, Heads, Key, Pool, Result, SchemaKey, Store, StoreError, Texts};
use crate::names::Context;
use async_trait::async_trait;
use rusqlite::{Connection, InterruptHandle};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

mod connection;
mod statements;

/// The name of the file in the data folder.
pub const FILE: &str = "registry.sqlite";

/// Where the file is, and how long to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteSettings {
    /// The folder of the file; made where it is missing.
    pub folder: PathBuf,
    /// How long to wait for a lock that another process holds.
    pub busy_timeout: Duration,
    /// How long a call may take, waiting for other calls of this process included.
    pub operation_timeout: Duration,
}

impl SqliteSettings {
    /// Usual times for a file in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            busy_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(30),
        }
    }
}

/// One of the two connections: SQLite has one writer, and readers that it does not disturb.
struct Side {
    connection: Arc<Mutex<Option<Connection>>>,
    interrupt: InterruptHandle,
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side").finish_non_exhaustive()
    }
}

impl Side {
    fn new(connection: Connection) -> Self {
        let interrupt = connection.get_interrupt_handle();
        Self { connection: Arc::new(Mutex::new(Some(connection))), interrupt }
    }
}

/// A registry in a file.
#[derive(Debug)]
pub struct SqliteStore {
    file: Arc<connection::File>,
    limit: Duration,
    writer: Side,
    reader: Side,
}

impl SqliteStore {
    /// Opens the file, and makes it and its tables where they are missing.
    pub async fn connect(settings: SqliteSettings) -> Result<Self> {
        let limit = settings.operation_timeout;
        let opened = tokio::task::spawn_blocking(move || {
            let file = connection::File::prepare(&settings.folder)?;
            let writer = connection::open(&file, settings.busy_timeout)?;
            connection::migrate(&file, &writer)?;
            let reader = connection::open(&file, settings.busy_timeout)?;
            Ok::<_, StoreError>((file, writer, reader))
        });
        let (file, writer, reader) =
            opened.await.map_err(|error| StoreError::Unavailable(error.to_string()))??;
        tracing::info!(file = %file.path.display(), "SQLite store opened");
        Ok(Self { file: Arc::new(file), limit, writer: Side::new(writer), reader: Side::new(reader) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Runs a step on a blocking thread, with the connection to itself. The step goes on where its caller is gone.
    async fn run<T: Send + 'static>(
        &self,
        side: &Side,
        late: impl Fn(String) -> StoreError,
        step: impl FnOnce(&connection::File, &mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = || self.file.path.display();
        let lock = tokio::time::timeout(self.limit, Arc::clone(&side.connection).lock_owned());
        let Ok(mut guard) = lock.await else {
            return Err(StoreError::Unavailable(format!(
                "{}: earlier calls have taken {} s and are not done; is the disk all right?",
                path(),
                self.limit.as_secs()
            )));
        };
        let file = Arc::clone(&self.file);
        let running = tokio::task::spawn_blocking(move || match guard.as_mut() {
            Some(connection) => step(&file, connection),
            None => Err(StoreError::Unavailable(format!("{} was closed", file.path.display()))),
        });
        match tokio::time::timeout(self.limit, running).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(late(format!("{}: {error}", path()))),
            Err(_) => {
                side.interrupt.interrupt();
                Err(late(format!("{} has not answered within {} s", path(), self.limit.as_secs())))
            }
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        step: impl FnOnce(&connection::File, &mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(&self.reader, StoreError::Unavailable, step).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn backend(&self) -> &'static str {
        "sqlite"
    }

    async fn heads(&self) -> Result<Heads> {
        self.read(|file, connection| {
            file.is_still_there()?;
            statements::heads(connection).map_err(|error| file.words("read", error))
        })
        .await
    }

    async fn changes(&self, context: &Context, since: Head) -> Result<(Head, Vec<Change>)> {
        let context = context.clone();
        self.read(move |file, connection| {
            statements::changes(connection, &context, since).map_err(|error| file.words("read", error))
        })
        .await
    }

    async fn texts(&self, context: &Context, keys: &[SchemaKey]) -> Result<Vec<(SchemaKey, Texts)>> {
        let (context, keys) = (context.clone(), keys.to_vec());
        self.read(move |file, connection| {
            statements::texts(connection, &context, &keys).map_err(|error| file.words("read", error))
        })
        .await
    }

    async fn commit(&self, commit: &Commit) -> Result<Head> {
        let commit = commit.clone();
        self.run(&self.writer, StoreError::Unknown, move |file, connection| {
            file.is_still_there()?;
            let rows = Rows::of(&commit)?;
            statements::commit(file, connection, &commit, &rows)
        })
        .await
    }

    fn pool(&self) -> Option<Pool> {
        let idle = [&self.writer, &self.reader].iter().filter(|s| s.connection.try_lock().is_ok()).count();
        Some(Pool { max: 2, open: 2, idle: u32::try_from(idle).unwrap_or(0) })
    }

    async fn close(&self) {
        for side in [&self.writer, &self.reader] {
            // What is in flight ends first; the last connection to close writes the log back into the file.
            let connection = side.connection.lock().await.take();
            let closed = tokio::task::spawn_blocking(move || connection.map(Connection::close));
            if let Ok(Some(Err((_, error)))) = closed.await {
                tracing::warn!(file = %self.file.path.display(), %error, "the SQLite file could not be closed in good order");
            }
        }
    }
}

#[cfg(test)]
mod tests;
