//! Keeps everything in Apache Cassandra, which several registries in one or more data centres may share. Cassandra 4.0 or newer.
//!
//! ```text
//! store    one partition            epoch, version of the tables, and the names of the contexts
//! rows     a partition per context  static: the head; rows: schemas, versions, configs, modes, and a log of commits
//!          and one `:links`         static: a head that counts the commits with references between contexts
//! texts    a partition per text     under the hash of the content: written before the commit that names it
//! schemas  for people               a copy: subject, version, id, type, text
//! ```
//!
//! A commit first writes its texts, which mean nothing until a row names them. Then it is **one** conditional batch in the
//! context's partition that moves the head, if it is still the expected one, and writes all rows. Cassandra makes such a batch
//! true as a whole or not at all (Paxos). A batch whose answer was lost is settled by reading the head at SERIAL, which ends what was
//! still under way. With SERIAL, the default, that holds across data centres, and texts are written to a majority of all replicas as
//! well; losing so many nodes that none is left, as one of two data centres, stops registration, and reading goes on.
//!
//! Weaker than in the other stores: what a commit relies on in other contexts is looked at just before the batch and not in it, so a
//! version may be deleted at the very moment at which another context begins to refer to it; texts that no schema
//! names any more stay in `texts`; `schemas` is written after the commit, so a registry that dies in between leaves a row of
//! it behind the truth until that version is next changed. Nothing reads `schemas` but people.
//!
//! A commit is refused that would not fit into a batch: see [`LARGEST_BATCH`] and [`LARGEST_TEXT`].
//!
//! `cassandra/session.rs` connects and makes the tables, `cassandra/statements.rs` prepares what is said, `cassandra/log.rs` is the form
//! of the log.

use super::rows::{self, Rows};
use super::tries::{self, Tries, Try};
use super::{Change, Commit, Guard, Head, Heads, Key, Result, Revision, SchemaKey, Store, StoreError, Texts};
use crate::names::Context;
use crate::secret::Secret;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
pub use scylla::statement::{Consistency, SerialConsistency};
use statements::Statements;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

mod log;
mod read;
mod session;
mod statements;
mod write;

/// How large a batch may be, in bytes as we count them: Cassandra takes no mutation above half a commit log segment, 16 MiB.
pub const LARGEST_BATCH: usize = 4 << 20;
/// The same for the texts of one schema, which are a mutation of their own.
pub const LARGEST_TEXT: usize = 12 << 20;
/// Questions and texts that are under way at the same time.
const AT_ONCE: usize = 16;

/// Where a cluster is, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CassandraSettings {
    /// Nodes to begin with, `host:port`; the others are found through them.
    pub hosts: Vec<String>,
    /// The keyspace; made where it is missing, with NetworkTopologyStrategy and replicas in all data centres that are known then.
    pub keyspace: String,
    /// The data centre whose nodes are talked to; that of the first node where it is not set.
    pub local_dc: Option<String>,
    /// Replicas in each data centre of a keyspace that is made; three, or as many as it has nodes, where it is not set.
    pub replication_factor: Option<u32>,
    /// How many replicas must answer a question.
    pub read_consistency: Consistency,
    /// How many replicas must have what is written.
    pub write_consistency: Consistency,
    /// Who decides about commits: all data centres, or only this one, which is right only where it is the only one that writes.
    pub serial_consistency: SerialConsistency,
    /// User, where the cluster asks for one.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// TLS, with a PEM file of the authorities that are believed. A node's certificate must name its address.
    pub ca_file: Option<PathBuf>,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long a call may take. A commit whose answer was lost may take as long again to be looked up.
    pub operation_timeout: Duration,
    /// How long to wait at start for a cluster that cannot be reached.
    pub start_timeout: Duration,
}

impl CassandraSettings {
    /// Usual levels and times for a cluster that is found at these hosts.
    pub fn new(hosts: Vec<String>, keyspace: &str) -> Self {
        Self {
            hosts,
            keyspace: keyspace.into(),
            local_dc: None,
            replication_factor: None,
            read_consistency: Consistency::LocalQuorum,
            write_consistency: Consistency::LocalQuorum,
            serial_consistency: SerialConsistency::Serial,
            user: None,
            password: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            operation_timeout: Duration::from_secs(30),
            start_timeout: Duration::from_secs(120),
        }
    }
}

/// A registry in Cassandra.
#[derive(Debug)]
pub struct CassandraStore {
    /// Keyspace and hosts, for messages.
    place: String,
    limit: Duration,
    session: Session,
    statements: Statements,
}

/// What an error means before the batch that decides was sent.
fn before(place: &str, error: &ExecutionError) -> StoreError {
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::Unavailable { required, alive, .. },
            _,
        )) => StoreError::Unavailable(format!(
            "{place}: {required} replicas must answer, and {alive} are up; start more nodes, or check the replication of the keyspace"
        )),
        ExecutionError::LastAttemptError(
            RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_),
        ) => StoreError::Refused(format!("{place}: {error}")),
        error => StoreError::Unavailable(format!("{place}: {error}")),
    }
}

/// What an error of the batch that decides means.
fn decided(place: &str, error: &ExecutionError) -> Try {
    let why = format!("{place}: {error}");
    match error {
        // Nothing was sent, or the coordinator has refused before it began.
        ExecutionError::EmptyPlan
        | ExecutionError::BadQuery(_)
        | ExecutionError::PrepareError(_)
        | ExecutionError::ConnectionPoolError(_)
        | ExecutionError::LastAttemptError(
            RequestAttemptError::SerializationError(_)
            | RequestAttemptError::CqlRequestSerialization(_)
            | RequestAttemptError::UnableToAllocStreamId
            | RequestAttemptError::DbError(
                // At any other level a later step was refused, and the commit may have been agreed on by then.
                DbError::Unavailable { consistency: Consistency::Serial | Consistency::LocalSerial, .. }
                | DbError::Invalid
                | DbError::SyntaxError
                | DbError::Unauthorized
                | DbError::ConfigError,
                _,
            ),
        ) => Try::No(before(place, error)),
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::Overloaded | DbError::IsBootstrapping,
            _,
        )) => Try::Again(why),
        _ => Try::Lost(why),
    }
}

#[async_trait]
impl Store for CassandraStore {
    fn backend(&self) -> &'static str {
        "cassandra"
    }

    async fn heads(&self) -> Result<Heads> {
        self.limited(self.read_heads()).await
    }

    async fn changes(&self, context: &Context, since: Head) -> Result<(Head, Vec<Change>)> {
        self.limited(self.read_changes(context, since)).await
    }

    async fn texts(&self, context: &Context, keys: &[SchemaKey]) -> Result<Vec<(SchemaKey, Texts)>> {
        self.limited(self.read_texts(context, keys)).await
    }

    async fn commit(&self, commit: &Commit) -> Result<Head> {
        write::refuse_large(commit, &Rows::of(commit)?)?;
        let head = tries::carry_out(self, commit, self.limit).await?;
        if let Err(error) = self.limited(self.copy_for_people(commit)).await {
            tracing::warn!(context = %commit.context, revision = head.revision, %error,
                "the table schemas, which is for people, could not follow a commit");
        }
        Ok(head)
    }
}

impl CassandraStore {
    async fn limited<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let late = || Err(StoreError::Unavailable(format!("{}: no answer in time", self.place)));
        tokio::time::timeout(self.limit, call).await.unwrap_or_else(|_| late())
    }
}

#[async_trait]
impl Tries for CassandraStore {
    async fn once(&self, commit: &Commit, rows: &Rows<'_>, deadline: Instant) -> Try {
        let late = || StoreError::Unavailable(format!("{}: no answer in time", self.place));
        match timeout_at(deadline, self.prepare(commit, rows)).await {
            Ok(Ok(batch)) => match timeout_at(deadline, self.decide(batch)).await {
                Ok(Ok(true)) => Try::Done,
                Ok(Ok(false)) => Try::No(StoreError::Conflict),
                Ok(Err(error)) => decided(&self.place, &error),
                Err(_) => Try::Lost(format!("{}: no answer to the batch in time", self.place)),
            },
            Ok(Err(error)) => Try::No(error),
            Err(_) => Try::No(late()),
        }
    }

    async fn came_true(&self, commit: &Commit, deadline: Instant) -> std::result::Result<bool, String> {
        match timeout_at(deadline, self.made(commit)).await {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_) => Err(format!("{}: no answer in time", self.place)),
        }
    }
}

#[cfg(test)]
mod tests;
