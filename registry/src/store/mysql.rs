//! Keeps everything in a MariaDB or MySQL database, which several registries may share. Tested on MariaDB 10.11.
//!
//! A commit is a transaction in READ COMMITTED that first makes and locks the rows of its contexts in `contexts`, by name in order, and
//! reads only then: a plain read before the lock would fix what is seen afterwards, and a lock on a row that is not there is one on a
//! gap, over which two writers deadlock. A commit whose answer was lost is settled by taking the same lock: that waits for what
//! the server may still be doing about it, and then the table `commits` tells. Loading a context is one consistent snapshot.
//!
//! `mysql/statements.rs` reads and writes rows; `sql.rs` connects.

use super::rows::{self, Rows};
use super::sql::{self, Fault, Kind, Lent, Place, Sql, SqlSettings, SslMode};
use super::tries::{self, Tries, Try};
use super::{Change, Commit, Guard, Head, Heads, Key, Pool, Result, SchemaKey, Store, StoreError, Texts};
use crate::names::Context;
use async_trait::async_trait;
use sqlx::mysql::{MySql, MySqlConnectOptions, MySqlDatabaseError, MySqlPool, MySqlSslMode};
use sqlx::{AssertSqlSafe, Error, MySqlConnection};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

mod statements;

/// Step n leads from version n to version n + 1.
const MIGRATIONS: &[&str] = &[include_str!("mysql/tables.sql"), include_str!("mysql/version_2.sql")];
/// How long the names of `mysql/tables.sql` may be, in characters.
const LONGEST_CONTEXT: usize = 128;
const LONGEST_SUBJECT: usize = 630;

/// A registry in MariaDB or MySQL.
#[derive(Debug)]
pub struct MysqlStore {
    place: Place,
    limit: std::time::Duration,
    pool: MySqlPool,
    commits: Semaphore,
}

impl MysqlStore {
    /// Connects, waiting for a server that still starts, and makes the tables where they are missing.
    pub async fn connect(settings: &SqlSettings) -> Result<Self> {
        let options = options(settings);
        let place = settings.place();
        let deadline = Instant::now() + settings.start_timeout + settings.operation_timeout;
        let mut first = sql::first_connection(&options, settings, explain).await?;
        let asked = sqlx::query_scalar("SELECT VERSION()").fetch_one(&mut first);
        let version: String = asked.await.map_err(|error| sql::stated(&place, kind(&error), &error))?;
        let is_mariadb = version.contains("MariaDB");
        let session = session(settings, is_mariadb);
        let pool = sql::pool_options::<MySql>(settings)
            .after_connect(move |connection, _| {
                let session = AssertSqlSafe(session.clone());
                Box::pin(async move { sqlx::raw_sql(session).execute(connection).await.map(drop) })
            })
            .connect_lazy_with(options);
        let (limit, commits) = (settings.operation_timeout, sql::commits_at_once(settings));
        let store = Self { place, limit, pool, commits };
        // Neither ignores spaces at the end of a name; no collation that does so has one name in both.
        let collation = if is_mariadb { "utf8mb4_nopad_bin" } else { "utf8mb4_0900_bin" };
        sql::limited(&store.place, deadline, store.migrate(collation)).await?;
        tracing::info!(place = %store.place, version, tables = MIGRATIONS.len(), "MySQL store opened");
        Ok(store)
    }

    /// Of several instances that start at once, one makes the tables and the others wait.
    async fn migrate(&self, collation: &str) -> Result<()> {
        let mut connection = self.pool.acquire().await.map_err(|error| self.stated(&error))?;
        let done = statements::migrate(&mut connection, &self.place, collation).await;
        // With it goes the lock, which belongs to the connection.
        sql::discard(connection);
        done.map_err(|fault| self.said(fault))
    }

    fn stated(&self, error: &Error) -> StoreError {
        sql::stated(&self.place, kind(error), error)
    }

    fn said(&self, fault: Fault) -> StoreError {
        match fault {
            Fault::Server(error) => self.stated(&error),
            Fault::Said(error) => error,
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.limit
    }

    /// A step on a connection of its own; where it fails, or nobody waits for it any more, the connection is not used again.
    async fn read<T>(&self, step: impl AsyncFnOnce(&mut MySqlConnection) -> Sql<T>) -> Result<T> {
        let mut lent = Lent::new(self.pool.acquire().await.map_err(|error| self.stated(&error))?);
        let found = step(lent.connection()).await.map_err(|fault| self.said(fault))?;
        lent.give_back();
        Ok(found)
    }
}

/// What is set on every connection.
fn session(settings: &SqlSettings, is_mariadb: bool) -> String {
    let seconds = settings.operation_timeout.as_secs().max(1) + 1;
    let mut session = format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
        SET SESSION innodb_lock_wait_timeout = {seconds};
        SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES');"
    );
    // A transaction that nobody goes on with would hold its locks until the server notices that its client is gone. MySQL knows only
    // how long a connection may be idle, which ends those that the pool keeps in reserve as well; it makes new ones.
    session.push_str(&match is_mariadb {
        true => {
            format!("SET SESSION idle_transaction_timeout = {seconds}; SET SESSION max_statement_time = {seconds};")
        }
        false => format!("SET SESSION wait_timeout = {};", seconds.max(60)),
    });
    session
}

fn options(settings: &SqlSettings) -> MySqlConnectOptions {
    let mode = match settings.ssl_mode {
        SslMode::Disable => MySqlSslMode::Disabled,
        SslMode::Prefer => MySqlSslMode::Preferred,
        SslMode::Require => MySqlSslMode::Required,
        SslMode::VerifyCa => MySqlSslMode::VerifyCa,
        SslMode::VerifyFull => MySqlSslMode::VerifyIdentity,
    };
    let options = MySqlConnectOptions::new()
        .host(&settings.host)
        .port(settings.port)
        .username(&settings.user)
        .password(settings.password.expose())
        .database(&settings.database)
        .charset("utf8mb4")
        .ssl_mode(mode);
    match &settings.ca_file {
        Some(file) => options.ssl_ca(file),
        None => options,
    }
}

fn number(error: &dyn sqlx::error::DatabaseError) -> u16 {
    error.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number)
}

/// What another try cannot change, with the next step.
fn explain(error: &Error) -> Option<&'static str> {
    match error.as_database_error().map(number) {
        Some(1045 | 1698) => {
            Some("check user and password, and from which hosts the server lets this user in")
        }
        Some(1044) => Some("grant the user all privileges on the database"),
        Some(1049) => Some("create the database first: CREATE DATABASE"),
        Some(1130) => Some("the server lets nobody in from this host: grant the user access from it"),
        Some(3159) => Some("the server demands TLS: set ssl_mode to require, or better to verify-full"),
        Some(1251 | 2061) => Some(
            "the server demands TLS for this kind of password: set ssl_mode to require, or better to verify-full",
        ),
        _ => sql::explain_tls(error),
    }
}

fn kind(error: &Error) -> Kind {
    sql::kind(error, |error| match number(error) {
        1213 | 1205 | 1020 => Kind::Repeat,
        1153 | 1301 | 1366 | 1406 | 1118 => Kind::Refused,
        // A table that is missing (1146) is being put back, or the wrong database is asked: both can be mended from outside.
        1054 => Kind::Corrupt,
        1053 | 1077..=1079 | 1152 | 1158..=1161 | 1184 | 1317 | 1927 | 2006 | 2013 | 4031 => Kind::Connection,
        _ => Kind::Act,
    })
}

#[async_trait]
impl Store for MysqlStore {
    fn backend(&self) -> &'static str {
        "mysql"
    }

    async fn heads(&self) -> Result<Heads> {
        sql::limited(&self.place, self.deadline(), self.read(statements::heads)).await
    }

    async fn changes(&self, context: &Context, since: Head) -> Result<(Head, Vec<Change>)> {
        let read = self.read(async |connection: &mut MySqlConnection| {
            statements::changes(connection, context, since).await
        });
        sql::limited(&self.place, self.deadline(), read).await
    }

    async fn texts(&self, context: &Context, keys: &[SchemaKey]) -> Result<Vec<(SchemaKey, Texts)>> {
        let read = self.read(async |connection: &mut MySqlConnection| {
            statements::texts(connection, context, keys).await
        });
        sql::limited(&self.place, self.deadline(), read).await
    }

    async fn commit(&self, commit: &Commit) -> Result<Head> {
        let longest = Rows::of(commit)?.subjects().map(|name| name.chars().count()).max().unwrap_or(0);
        let contexts = rows::locked(commit).into_iter().map(|name| name.chars().count()).max().unwrap_or(0);
        if longest > LONGEST_SUBJECT || contexts > LONGEST_CONTEXT {
            return Err(StoreError::Refused(format!(
                "a subject may have {LONGEST_SUBJECT} characters in MySQL and a context {LONGEST_CONTEXT}"
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
impl Tries for MysqlStore {
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
            self.read(async |connection: &mut MySqlConnection| statements::made_by(connection, commit).await);
        let found = sql::limited(&self.place, deadline, asked).await;
        found.map(|made_by| made_by == Some(commit.attempt.to_string())).map_err(|error| error.to_string())
    }
}
