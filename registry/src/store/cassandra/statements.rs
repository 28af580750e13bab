//! What is said to Cassandra: the tables, and the statements, prepared once.

use super::CassandraSettings;
use scylla::client::session::Session;
use scylla::errors::PrepareError;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

/// The version of the tables that this program writes.
pub(super) const TABLES: i32 = 1;

/// Each table with its columns; `{keyspace}` is put in. All columns of `rows` that a kind does not use stay empty.
pub(super) const CREATE: [(&str, &str); 4] = [
    (
        "store",
        "one int, context text, epoch uuid static, version int static, PRIMARY KEY (one, context)",
    ),
    (
        "rows",
        "context text, revision bigint static, attempt uuid static, next_id bigint static, kind text, subject text, number bigint,
        at bigint, gone boolean, id bigint, deleted boolean, time_ms bigint, type text, guid text, identity blob, refs text,
        hash blob, value text, PRIMARY KEY (context, kind, subject, number)",
    ),
    ("texts", "hash blob PRIMARY KEY, canonical text, submitted text, metadata text, rule_set text"),
    (
        "schemas",
        "context text, subject text, version int, id bigint, type text, deleted boolean, text text,
        PRIMARY KEY ((context, subject), version)",
    ),
];

/// The statements.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) contexts: PreparedStatement,
    pub(super) add_context: PreparedStatement,
    pub(super) head: PreparedStatement,
    /// The same, and ends what is under way.
    pub(super) settled_head: PreparedStatement,
    pub(super) all_rows: PreparedStatement,
    pub(super) log: PreparedStatement,
    /// Who made a revision.
    pub(super) made_by: PreparedStatement,
    pub(super) settled_made_by: PreparedStatement,
    /// The revision that wrote a row.
    pub(super) settled_row: PreparedStatement,
    pub(super) hashes: PreparedStatement,
    pub(super) text: PreparedStatement,
    /// The same, where the nearest replicas do not have it yet.
    pub(super) text_anywhere: PreparedStatement,
    pub(super) add_text: PreparedStatement,
    pub(super) first_head: PreparedStatement,
    pub(super) next_head: PreparedStatement,
    pub(super) put_schema: PreparedStatement,
    pub(super) put_schema_gone: PreparedStatement,
    pub(super) put_version: PreparedStatement,
    pub(super) put_version_gone: PreparedStatement,
    pub(super) put_value: PreparedStatement,
    pub(super) put_log: PreparedStatement,
    pub(super) copy: PreparedStatement,
    pub(super) copy_gone: PreparedStatement,
}

impl Statements {
    pub(super) async fn prepare(
        session: &Session,
        settings: &CassandraSettings,
    ) -> Result<Self, PrepareError> {
        let keyspace = &settings.keyspace;
        let serial = match settings.serial_consistency {
            scylla::statement::SerialConsistency::Serial => Consistency::Serial,
            scylla::statement::SerialConsistency::LocalSerial => Consistency::LocalSerial,
        };
        let prepare = async |consistency: Consistency, text: &str| {
            let mut statement = session.prepare(text.replace("KS.", &format!("\"{keyspace}\"."))).await?;
            statement.set_consistency(consistency);
            statement.set_serial_consistency(Some(settings.serial_consistency));
            Ok::<_, PrepareError>(statement)
        };
        let read = async |text: &str| prepare(settings.read_consistency, text).await;
        let write = async |text: &str| prepare(settings.write_consistency, text).await;
        // As many replicas have a text as decide about the commit that names it, so whoever asks so many again finds it.
        let decides = match settings.serial_consistency {
            scylla::statement::SerialConsistency::Serial => Consistency::Quorum,
            scylla::statement::SerialConsistency::LocalSerial => settings.write_consistency,
        };
        let text = "SELECT canonical, submitted, metadata, rule_set FROM KS.texts WHERE hash = ?";
        let head = "SELECT DISTINCT context, revision, attempt, next_id FROM KS.rows WHERE context = ?";
        let made_by =
            "SELECT guid FROM KS.rows WHERE context = ? AND kind = 'log' AND subject = '' AND number = ?";
        let log = "SELECT number, value, revision, attempt, next_id FROM KS.rows WHERE context = ? AND kind = 'log' AND subject = '' AND number > ? AND number <= ?";
        Ok(Self {
            contexts: read("SELECT epoch, version, context FROM KS.store WHERE one = 1").await?,
            add_context: write("INSERT INTO KS.store (one, context) VALUES (1, ?)").await?,
            head: read(head).await?,
            settled_head: prepare(serial, head).await?,
            all_rows: read(
                "SELECT revision, attempt, next_id, kind, subject, number, at, gone, id, deleted, time_ms, type, guid, identity, refs, value
                FROM KS.rows WHERE context = ? AND kind IN ('config', 'listed', 'mode', 'schema', 'version')",
            )
            .await?,
            log: read(log).await?,
            made_by: read(made_by).await?,
            settled_made_by: prepare(serial, made_by).await?,
            settled_row: prepare(
                serial,
                "SELECT at FROM KS.rows WHERE context = ? AND kind = ? AND subject = ? AND number = ?",
            )
            .await?,
            hashes: read("SELECT number, gone, type, hash FROM KS.rows WHERE context = ? AND kind = 'schema' AND subject = '' AND number IN ?").await?,
            text: read(text).await?,
            text_anywhere: prepare(Consistency::Quorum, text).await?,
            add_text: prepare(decides, "INSERT INTO KS.texts (hash, canonical, submitted, metadata, rule_set) VALUES (?, ?, ?, ?, ?)").await?,
            first_head: write("UPDATE KS.rows SET revision = ?, attempt = ?, next_id = ? WHERE context = ? IF revision = null AND attempt = null AND next_id = null").await?,
            next_head: write("UPDATE KS.rows SET revision = ?, attempt = ?, next_id = ? WHERE context = ? IF revision = ? AND attempt = ? AND next_id = ?").await?,
            put_schema: write("INSERT INTO KS.rows (context, kind, subject, number, at, gone, type, guid, identity, refs, hash) VALUES (?, 'schema', '', ?, ?, false, ?, ?, ?, ?, ?)").await?,
            put_schema_gone: write("INSERT INTO KS.rows (context, kind, subject, number, at, gone) VALUES (?, 'schema', '', ?, ?, true)").await?,
            put_version: write("INSERT INTO KS.rows (context, kind, subject, number, at, gone, id, deleted, time_ms) VALUES (?, 'version', ?, ?, ?, false, ?, ?, ?)").await?,
            put_version_gone: write("INSERT INTO KS.rows (context, kind, subject, number, at, gone) VALUES (?, 'version', ?, ?, ?, true)").await?,
            put_value: write("INSERT INTO KS.rows (context, kind, subject, number, at, value) VALUES (?, ?, ?, 0, ?, ?)").await?,
            put_log: write(&format!("INSERT INTO KS.rows (context, kind, subject, number, at, guid, value) VALUES (?, 'log', '', ?, ?, ?, ?) USING TTL {}", super::log::KEPT)).await?,
            copy: write("INSERT INTO KS.schemas (context, subject, version, id, type, deleted, text) VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?").await?,
            copy_gone: write("DELETE FROM KS.schemas USING TIMESTAMP ? WHERE context = ? AND subject = ? AND version = ?").await?,
        })
    }
}
