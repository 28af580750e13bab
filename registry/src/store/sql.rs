//! What PostgreSQL and MariaDB have in common when one connects to them: settings, pool, waiting for a server that still starts, and
//! words for errors. Their statements differ too much to be shared and are in files of their own.

use super::{Pool, Result, StoreError};
use crate::secret::Secret;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::{ConnectOptions, Database, Error};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};

/// Pause between two attempts to reach a server at start.
const START_PAUSE: Duration = Duration::from_millis(500);

/// How much is asked of the server's TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// No TLS.
    #[default]
    Disable,
    /// TLS where the server offers it, and whoever answers is believed: no protection against anybody who is in between.
    Prefer,
    /// TLS, but whoever answers is believed.
    Require,
    /// TLS with a certificate of a known authority, whoever it was made for.
    VerifyCa,
    /// TLS with a certificate of a known authority, made for this host.
    VerifyFull,
}

/// Where a database is, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlSettings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User; it must be allowed to create tables, at least at the first start.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// The database; it must exist. The tables are made in it.
    pub database: String,
    /// TLS.
    pub ssl_mode: SslMode,
    /// A PEM file with authorities that are trusted, beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// Connections at most.
    pub max_connections: u32,
    /// Connections that are kept open.
    pub min_connections: u32,
    /// After this a connection is replaced.
    pub max_lifetime: Duration,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long a call may take. A commit whose answer was lost may take as long again to be looked up.
    pub operation_timeout: Duration,
    /// How long to wait at start for a server that cannot be reached.
    pub start_timeout: Duration,
}

impl SqlSettings {
    /// Usual sizes and times for a database on this host.
    pub fn new(host: &str, port: u16, user: &str, password: Secret, database: &str) -> Self {
        Self {
            host: host.into(),
            port,
            user: user.into(),
            password,
            database: database.into(),
            ssl_mode: SslMode::default(),
            ca_file: None,
            max_connections: 25,
            min_connections: 1,
            max_lifetime: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(15),
            start_timeout: Duration::from_secs(60),
        }
    }

    pub(super) fn place(&self) -> Place {
        Place(format!("database {:?} at {}:{}", self.database, self.host, self.port))
    }
}

/// The database, for messages.
#[derive(Debug, Clone)]
pub(super) struct Place(String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Place {
    pub(super) fn unavailable(&self, why: impl fmt::Display) -> StoreError {
        StoreError::Unavailable(format!("{self}: {why}"))
    }
}

/// What an error calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The same once more: a deadlock, a serialisation failure.
    Repeat,
    /// The connection is gone, or never came about; another one may do.
    Connection,
    /// What was sent cannot be kept.
    Refused,
    /// What is kept makes no sense.
    Corrupt,
    /// A person must act: rights, space, a server that only reads.
    Act,
}

/// Why a step was not done: the server refused, or what it holds or was asked makes no sense.
#[derive(Debug)]
pub(super) enum Fault {
    Server(Error),
    Said(StoreError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Said(error)
    }
}

/// The result of a step.
pub(super) type Sql<T> = std::result::Result<T, Fault>;

/// The kind of an error that did not come from the server, and of those that did as `of_server` says.
pub(super) fn kind(error: &Error, of_server: impl Fn(&dyn sqlx::error::DatabaseError) -> Kind) -> Kind {
    match error {
        Error::Database(error) => of_server(&**error),
        Error::ColumnDecode { .. } | Error::Decode(_) | Error::RowNotFound | Error::ColumnNotFound(_) => {
            Kind::Corrupt
        }
        Error::Encode(_) => Kind::Refused,
        Error::Io(_)
        | Error::Tls(_)
        | Error::Protocol(_)
        | Error::PoolTimedOut
        | Error::WorkerCrashed
        | Error::BeginFailed => Kind::Connection,
        _ => Kind::Act,
    }
}

/// The error of a call in which nothing was written.
pub(super) fn stated(place: &Place, kind: Kind, error: &Error) -> StoreError {
    match kind {
        Kind::Refused => StoreError::Refused(format!("{place}: {error}")),
        Kind::Corrupt => StoreError::Corrupt(format!("{place}: {error}")),
        _ if matches!(error, Error::PoolTimedOut) => place.unavailable(
            "no connection came free in time; is the server up, and is the pool large enough for the load?",
        ),
        _ => place.unavailable(error),
    }
}

/// Half of the pool: commits that wait for each other's locks must leave connections to those who only read.
pub(super) fn commits_at_once(settings: &SqlSettings) -> Semaphore {
    Semaphore::new(usize::try_from(settings.max_connections / 2).unwrap_or(1).max(1))
}

/// Waits for one's turn to commit.
pub(super) async fn turn<'a>(
    commits: &'a Semaphore,
    place: &Place,
    limit: Duration,
) -> Result<SemaphorePermit<'a>> {
    match tokio::time::timeout(limit, commits.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        _ => Err(place.unavailable("earlier commits have not ended in time")),
    }
}

/// A call with its time limit.
pub(super) async fn limited<T>(
    place: &Place,
    deadline: Instant,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    timeout_at(deadline, call).await.unwrap_or_else(|_| Err(place.unavailable("no answer in time")))
}

pub(super) fn pool_options<DB: Database>(settings: &SqlSettings) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(settings.max_connections.max(1))
        .min_connections(settings.min_connections.min(settings.max_connections))
        .max_lifetime(settings.max_lifetime)
        .acquire_timeout(settings.connect_timeout)
}

pub(super) fn pool_state<DB: Database>(pool: &sqlx::Pool<DB>) -> Pool {
    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    Pool { max: pool.options().get_max_connections(), open: pool.size(), idle: idle.min(pool.size()) }
}

/// Where the version of the tables is kept.
pub(super) const MIGRATIONS_TABLE: &str = "replevin_migrations";

/// Another program's tables may have our names: AxonOps' registry has some. Nothing is written to a database that has one of them
/// before we have made any.
pub(super) fn refuse_foreign_tables(place: &Place, there: &[String]) -> Result<()> {
    const OURS: [&str; 8] =
        ["store", "contexts", "commits", "schema_rows", "schema_texts", "versions", "configs", "modes"];
    let foreign = there.iter().find(|name| OURS.contains(&name.as_str()) || *name == "schemas");
    match foreign {
        None => Ok(()),
        Some(name) => Err(place.unavailable(format!(
            "it has a table {name:?} that another program has made; give the registry a database of its own"
        ))),
    }
}

/// The steps that are missing, each with the version that it leads to.
pub(super) fn missing(
    place: &Place,
    found: Option<i32>,
    steps: &'static [&'static str],
) -> Result<Vec<(&'static str, i32)>> {
    let done = usize::try_from(found.unwrap_or(0)).unwrap_or(usize::MAX);
    match steps.get(done..) {
        Some(missing) => Ok(missing.iter().copied().zip(found.unwrap_or(0) + 1..).collect()),
        None => Err(place.unavailable(format!(
            "its tables have version {done}, and this program knows versions up to {}: a newer one has made them; run that one",
            steps.len()
        ))),
    }
}

/// Waits until the server lets one in, and says in words why it does not. What another try cannot change ends it at once.
pub(super) async fn first_connection<C: ConnectOptions>(
    options: &C,
    settings: &SqlSettings,
    explain: impl Fn(&Error) -> Option<&'static str>,
) -> Result<C::Connection>
where
    C::Connection: Sized,
{
    let (place, deadline) = (settings.place(), Instant::now() + settings.start_timeout);
    loop {
        let limit = deadline.min(Instant::now() + settings.connect_timeout);
        let why = match timeout_at(limit, options.connect()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => match explain(&error) {
                Some(next_step) => {
                    let user = &settings.user;
                    return Err(place.unavailable(format!("{error} (as user {user:?}): {next_step}")));
                }
                None => error.to_string(),
            },
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() + START_PAUSE >= deadline {
            let waited = settings.start_timeout.as_secs();
            return Err(place.unavailable(format!(
                "{why} (waited {waited} s): check host, port and whether the server accepts connections from here"
            )));
        }
        tracing::warn!(%place, why, "the database cannot be reached yet");
        sleep(START_PAUSE).await;
    }
}

/// TLS was asked for and is not to be had, or the certificate is not believed.
pub(super) fn explain_tls(error: &Error) -> Option<&'static str> {
    match error {
        Error::Tls(_) => Some(
            "TLS failed: switch it on at the server, or set ssl_mode to what the server offers, or name the authority of its certificate as ca_file",
        ),
        Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => Some(
            "the server's certificate was not believed: name its authority as ca_file, and use the host name that it was made for",
        ),
        Error::Configuration(_) | Error::InvalidArgument(_) => Some("check the settings of the connection"),
        _ => None,
    }
}

/// A connection for one step. It goes back to the pool only where the step has ended well: of one that was left in the middle nobody
/// knows what it is at, and a pool that takes it back asks the server for a sign of life first, for as long as that says nothing.
pub(super) struct Lent<DB: Database> {
    connection: PoolConnection<DB>,
    is_sound: bool,
}

impl<DB: Database> Lent<DB> {
    pub(super) fn new(connection: PoolConnection<DB>) -> Self {
        Self { connection, is_sound: false }
    }

    pub(super) fn connection(&mut self) -> &mut DB::Connection {
        &mut self.connection
    }

    pub(super) fn give_back(mut self) {
        self.is_sound = true;
    }
}

impl<DB: Database> Drop for Lent<DB> {
    fn drop(&mut self) {
        if !self.is_sound {
            self.connection.close_on_drop();
        }
    }
}

/// A connection that is not used again, because nobody knows what it is at.
pub(super) fn discard<DB: Database>(mut connection: PoolConnection<DB>) {
    connection.close_on_drop();
}
