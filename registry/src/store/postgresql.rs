//! Keeps everything in a PostgreSQL database, which several registries may share. PostgreSQL 13 or newer.
//!
//! A commit is a transaction in READ COMMITTED that first locks the rows of its contexts in `contexts`, by name in order, and reads
//! only then. A commit whose answer was lost is settled by taking the same lock: that waits for what the server may still be doing
//! about it, and then the table `commits` tells. Loading a context is one REPEATABLE READ transaction, thus one moment.
//!
//! `postgresql/statements.rs` reads and writes rows; `sql.rs` connects.

use super::rows::{self, Rows};
use super::sql::{self, Fault, Kind, Lent, Place, Sql, SqlSettings, SslMode};
use super::tries::{self, Tries, Try};
use super::{Change, Commit, Guard, Head, Heads, Key, Pool, Result, SchemaKey, Store, StoreError, Texts};
use crate::names::Context;
use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgPool, PgSslMode, Postgres};
use sqlx::{AssertSqlSafe, Error, PgConnection};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

mod statements;

/// Step n leads from version n to version n + 1.
const MIGRATIONS: &[&str] = &[include_str!("postgresql/tables.sql"), include_str!("version_2.sql")];
/// The lock under which tables are made: any number, the same in all instances.
const MIGRATION_LOCK: i64 = 0x7265_706c_6576;
/// An index entry in PostgreSQL has 2704 bytes at most.
const LONGEST_NAMES: usize = 2_600;
/// What the server may take for its own use of the time that a call has.
const GRACE: Duration = Duration::from_secs(1);

/// A registry in PostgreSQL.
#[derive(Debug)]
pub struct PostgresqlStore {
    place: Place,
    limit: Duration,
    pool: PgPool,
    commits: Semaphore,
}

impl PostgresqlStore {
    /// Connects, waiting for a server that still starts, and makes the tables where they are missing.
    pub async fn connect(settings: &SqlSettings) -> Result<Self> {
        let options = options(settings);
        let deadline = Instant::now() + settings.start_timeout + settings.operation_timeout;
        drop(sql::first_connection(&options, settings, explain).await?);
        // A transaction that nobody goes on with would hold its locks for ever.
        let millis = (settings.operation_timeout + GRACE).as_millis();
        let session = format!(
            "SET statement_timeout = {millis}; SET lock_timeout = {millis}; SET idle_in_transaction_session_timeout = {millis};
            SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        );
        let pool = sql::pool_options::<Postgres>(settings)
            .after_connect(move |connection, _| {
                let session = AssertSqlSafe(session.clone());
                Box::pin(async move { sqlx::raw_sql(session).execute(connection).await.map(drop) })
            })
            .connect_lazy_with(options);
        let (limit, commits) = (settings.operation_timeout, sql::commits_at_once(settings));
        let store = Self { place: settings.place(), limit, pool, commits };
        sql::limited(&store.place, deadline, store.migrate()).await?;
        tracing::info!(place = %store.place, tables = MIGRATIONS.len(), "PostgreSQL store opened");
        Ok(store)
    }

    /// Of several instances that start at once, one makes the tables and the others wait.
    async fn migrate(&self) -> Result<()> {
        self.read(async |connection: &mut PgConnection| statements::migrate(connection, &self.place).await)
            .await
    }

    fn stated(&self, error: &Error) -> StoreError {
        sql::stated(&self.place, kind(error), error)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.limit
    }

    /// A step on a connection of its own; where it fails, or nobody waits for it any more, the connection is not used again.
    async fn read<T>(&self, step: impl AsyncFnOnce(&mut PgConnection) -> Sql<T>) -> Result<T> {
        let mut lent = Lent::new(self.pool.acquire().await.map_err(|error| self.stated(&error))?);
        let found = step(lent.connection()).await.map_err(|fault| match fault {
            Fault::Server(error) => self.stated(&error),
            Fault::Said(error) => error,
        })?;
        lent.give_back();
        Ok(found)
    }
}

fn options(settings: &SqlSettings) -> PgConnectOptions {
    let mode = match settings.ssl_mode {
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require => PgSslMode::Require,
        SslMode::VerifyCa => PgSslMode::VerifyCa,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
    };
    let options = PgConnectOptions::new_without_pgpass()
        .host(&settings.host)
        .port(settings.port)
        .username(&settings.user)
        .password(settings.password.expose())
        .database(&settings.database)
        .application_name("replevin registry")
        .ssl_mode(mode);
    match &settings.ca_file {
        Some(file) => options.ssl_root_cert(file),
        None => options,
    }
}

/// What another try cannot change, with the next step.
fn explain(error: &Error) -> Option<&'static str> {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some("28P01") => Some("check user and password"),
        Some("28000") => Some(
            "the server lets this user in only in another way: check pg_hba.conf, and ssl_mode where it asks for TLS",
        ),
        Some("3D000") => Some("create the database first: CREATE DATABASE"),
        Some("42501") => Some("grant the user CONNECT on the database"),
        _ => sql::explain_tls(error),
    }
}

fn kind(error: &Error) -> Kind {
    sql::kind(error, |error| {
        let code = error.code().unwrap_or_default();
        match &*code {
            "40001" | "40P01" | "55P03" => Kind::Repeat,
            "22021" | "22P05" => Kind::Refused,
            // Tables that are missing are being put back, or the wrong database is asked: both can be mended from outside.
            "42703" | "XX001" | "XX002" => Kind::Corrupt,
            code if code.starts_with("54") => Kind::Refused,
            code if code.starts_with("08") || code.starts_with("57P") || code.starts_with("25P") => {
                Kind::Connection
            }
            _ => Kind::Act,
        }
    })
}

#[async_trait]
impl Store for PostgresqlStore {
    fn backend(&self) -> &'static str {
        "postgresql"
    }

    async fn heads(&self) -> Result<Heads> {
        sql::limited(&self.place, self.deadline(), self.read(statements::heads)).await
    }

    async fn changes(&self, context: &Context, since: Head) -> Result<(Head, Vec<Change>)> {
        let read = self.read(async |connection: &mut PgConnection| {
            statements::changes(connection, context, since).await
        });
        sql::limited(&self.place, self.deadline(), read).await
    }

    async fn texts(&self, context: &Context, keys: &[SchemaKey]) -> Result<Vec<(SchemaKey, Texts)>> {
        let read = self
            .read(async |connection: &mut PgConnection| statements::texts(connection, context, keys).await);
        sql::limited(&self.place, self.deadline(), read).await
    }

    async fn commit(&self, commit: &Commit) -> Result<Head> {
        let longest = Rows::of(commit)?.subjects().map(str::len).max().unwrap_or(0);
        if longest + commit.context.as_str().len() > LONGEST_NAMES {
            return Err(StoreError::Refused(format!(
                "a subject and its context have more than {LONGEST_NAMES} bytes together, which is all that PostgreSQL can find again"
            )));
        }
        let _turn = sql::turn(&self.commits, &self.place, self.limit).await?;
        tries::carry_out(self, commit, self.limit).await
    }

    fn pool(&self) -> Option<Pool> {
        Some(sql::pool_state(&self.pool))
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

#[async_trait]
impl Tries for PostgresqlStore {
    async fn once(&self, commit: &Commit, rows: &Rows<'_>, deadline: Instant) -> Try {
        let nothing = |error: Error| match kind(&error) {
            Kind::Repeat | Kind::Connection => Try::Again(self.stated(&error).to_string()),
            kind => Try::No(sql::stated(&self.place, kind, &error)),
        };
        let mut connection = match timeout_at(deadline, self.pool.acquire()).await {
            Ok(Ok(connection)) => connection,
            // The pool has tried again by itself for as long as it may.
            Ok(Err(error)) => return Try::No(self.stated(&error)),
            Err(_) => return Try::No(self.place.unavailable("no connection in time")),
        };
        let result = match timeout_at(deadline, statements::prepare(&mut connection, commit, rows)).await {
            Ok(Ok(transaction)) => match timeout_at(deadline, transaction.commit()).await {
                Ok(Ok(())) => return Try::Done,
                Ok(Err(error)) if kind(&error) == Kind::Repeat => nothing(error),
                Ok(Err(error)) => Try::Lost(error.to_string()),
                Err(_) => Try::Lost("no answer to COMMIT in time".into()),
            },
            // Rolled back before the connection is used again.
            Ok(Err(Fault::Said(error))) => return Try::No(error),
            Ok(Err(Fault::Server(error))) => nothing(error),
            Err(_) => Try::No(self.place.unavailable("no answer in time")),
        };
        sql::discard(connection);
        result
    }

    async fn came_true(&self, commit: &Commit, deadline: Instant) -> std::result::Result<bool, String> {
        let asked =
            self.read(async |connection: &mut PgConnection| statements::made_by(connection, commit).await);
        let found = sql::limited(&self.place, deadline, asked).await;
        found.map(|made_by| made_by == Some(commit.attempt.to_string())).map_err(|error| error.to_string())
    }
}
