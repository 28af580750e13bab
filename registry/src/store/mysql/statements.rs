//! What is said to MariaDB and MySQL.

use super::rows::{self, FORGET_EVERY, REMEMBERED_COMMITS, Rows};
use super::sql::{self, Place, Sql};
use super::{Change, Commit, Guard, Head, Heads, Key, MIGRATIONS, SchemaKey, StoreError, Texts};
use crate::names::Context;
use futures::TryStreamExt;
use sqlx::mysql::{MySql, MySqlRow};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, QueryBuilder, Row, Transaction};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows in one statement at most, and bytes of texts: the server's limit for a message is 16 MB by default.
const ROWS: usize = 500;
const BYTES: usize = 1 << 20;

/// Every statement may be run again: the lock keeps others out, but a server that dies leaves a part.
pub(super) async fn migrate(connection: &mut MySqlConnection, place: &Place, collation: &str) -> Sql<()> {
    let lock = "SELECT GET_LOCK(CONCAT('replevin.', SHA1(DATABASE())), 60)";
    let got: Option<i64> = sqlx::query_scalar(lock).fetch_one(&mut *connection).await?;
    if got != Some(1) {
        return Err(place.unavailable("another instance has been making tables for a minute").into());
    }
    let tables =
        "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema = DATABASE()";
    let there: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut *connection).await?;
    if !there.iter().any(|name| name == sql::MIGRATIONS_TABLE) {
        sql::refuse_foreign_tables(place, &there)?;
        let table = "CREATE TABLE IF NOT EXISTS replevin_migrations (version INT PRIMARY KEY, applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE = InnoDB";
        sqlx::query(table).execute(&mut *connection).await?;
    }
    let found: Option<i32> = sqlx::query_scalar("SELECT MAX(version) FROM replevin_migrations")
        .fetch_one(&mut *connection)
        .await?;
    for (step, version) in sql::missing(place, found, MIGRATIONS)? {
        let step = step.replace("{collation}", collation);
        sqlx::raw_sql(AssertSqlSafe(step)).execute(&mut *connection).await?;
        let done = sqlx::query("INSERT INTO replevin_migrations (version) VALUES (?)").bind(version);
        done.execute(&mut *connection).await?;
    }
    Ok(())
}

/// The rows of a question, made into something each.
async fn each<T>(
    connection: &mut MySqlConnection,
    sql: &'static str,
    context: &Context,
    since: i64,
    mut make: impl FnMut(&MySqlRow) -> Sql<T>,
) -> Sql<Vec<T>> {
    let mut found = sqlx::query(sql).bind(context.as_str()).bind(since).bind(since).fetch(connection);
    let mut made = Vec::new();
    while let Some(row) = found.try_next().await? {
        made.push(make(&row)?);
    }
    Ok(made)
}

fn head(row: &MySqlRow) -> Sql<Head> {
    Ok(rows::head(row.try_get("revision")?, row.try_get("attempt")?, row.try_get("next_id")?)?)
}

pub(super) async fn heads(connection: &mut MySqlConnection) -> Sql<Heads> {
    // A row of revision 0 is there to be locked, and stands for a context that was never written to.
    let sql =
        "SELECT epoch, context, revision, attempt, next_id FROM store LEFT JOIN contexts ON revision > 0";
    let found = sqlx::query(sql).fetch_all(connection).await?;
    let Some(first) = found.first() else {
        return Err(StoreError::Corrupt("the store has lost its epoch".into()).into());
    };
    let epoch = rows::uuid("the epoch of the store", first.try_get(0)?)?;
    let mut all = Vec::with_capacity(found.len());
    for row in &found {
        let Some(name) = row.try_get::<Option<String>, _>(1)? else { continue };
        all.push((name, head(row)?));
    }
    Ok(rows::heads(epoch, all)?)
}

pub(super) async fn changes(
    connection: &mut MySqlConnection,
    context: &Context,
    since: Head,
) -> Sql<(Head, Vec<Change>)> {
    // Of the next transaction only.
    sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *connection).await?;
    let mut snapshot = connection.begin_with("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
    let sql = "SELECT revision, attempt, next_id, listed, listed_revision,
            (SELECT m.attempt FROM commits m WHERE m.context = c.context AND m.revision = ?) AS made_by
        FROM contexts c WHERE context = ? AND revision > 0";
    let question = sqlx::query(sql).bind(rows::number(since.revision)?).bind(context.as_str());
    let Some(row) = question.fetch_optional(&mut *snapshot).await? else {
        snapshot.rollback().await?;
        rows::require_history(context, since, Head::EMPTY, None)?;
        return Ok((Head::EMPTY, Vec::new()));
    };
    let head = head(&row)?;
    if let Err(forked) = rows::require_history(context, since, head, row.try_get("made_by")?) {
        snapshot.rollback().await?;
        return Err(forked.into());
    }
    let since = rows::number(since.revision)?;
    let mut changes = schemas(&mut snapshot, context, since).await?;
    changes.extend(versions(&mut snapshot, context, since).await?);
    changes.extend(settings(&mut snapshot, context, since).await?);
    snapshot.commit().await?;
    if let (Some(listed), true) = (row.try_get("listed")?, row.try_get::<i64, _>("listed_revision")? > since)
    {
        changes.push(Change::Listed(listed));
    }
    Ok((head, changes))
}

/// Who has seen nothing need not hear of what is gone.
async fn schemas(connection: &mut MySqlConnection, context: &Context, since: i64) -> Sql<Vec<Change>> {
    let sql = "SELECT id, gone, guid, identity, type, refs FROM schema_rows
        WHERE context = ? AND revision > ? AND (NOT gone OR ? > 0)";
    each(connection, sql, context, since, |row| {
        let (id, gone, guid) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(rows::schema(id, gone, guid, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?)?)
    })
    .await
}

async fn versions(connection: &mut MySqlConnection, context: &Context, since: i64) -> Sql<Vec<Change>> {
    let sql = "SELECT subject, version, gone, id, deleted, time_ms FROM versions
        WHERE context = ? AND revision > ? AND (NOT gone OR ? > 0)";
    let mut last: Arc<str> = "".into();
    each(connection, sql, context, since, |row| {
        let subject: &str = row.try_get(0)?;
        if *last != *subject {
            last = subject.into();
        }
        let (version, gone, id) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        Ok(rows::version(Arc::clone(&last), version, gone, id, row.try_get(4)?, row.try_get(5)?)?)
    })
    .await
}

async fn settings(connection: &mut MySqlConnection, context: &Context, since: i64) -> Sql<Vec<Change>> {
    let sql = "SELECT subject, config FROM configs WHERE context = ? AND revision > ? AND (config IS NOT NULL OR ? > 0)";
    let mut all =
        each(connection, sql, context, since, |row| Ok(rows::config(row.try_get(0)?, row.try_get(1)?)?))
            .await?;
    let sql =
        "SELECT subject, mode FROM modes WHERE context = ? AND revision > ? AND (mode IS NOT NULL OR ? > 0)";
    let modes =
        each(connection, sql, context, since, |row| Ok(rows::mode(row.try_get(0)?, row.try_get(1)?)?))
            .await?;
    all.extend(modes);
    Ok(all)
}

pub(super) async fn texts(
    connection: &mut MySqlConnection,
    context: &Context,
    keys: &[SchemaKey],
) -> Sql<Vec<(SchemaKey, Texts)>> {
    let mut all = Vec::new();
    for keys in keys.chunks(ROWS) {
        let sql = "SELECT id, canonical, submitted, metadata, rule_set FROM schema_texts WHERE context = ";
        let mut question = QueryBuilder::<MySql>::new(sql);
        question.push_bind(context.as_str()).push(" AND id IN (");
        let mut list = question.separated(", ");
        for key in keys {
            list.push_bind(rows::kept(*key));
        }
        question.push(")");
        let mut found = question.build().persistent(keys.len() == 1).fetch(&mut *connection);
        while let Some(row) = found.try_next().await? {
            let (submitted, metadata, rules) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            let key = rows::key(row.try_get(0)?)?;
            all.push((key, rows::texts(key, row.try_get(1)?, submitted, metadata, rules)?));
        }
    }
    Ok(all)
}

/// Does everything but the last word of a commit.
pub(super) async fn prepare<'c>(
    connection: &'c mut MySqlConnection,
    commit: &Commit,
    rows: &Rows<'_>,
) -> Sql<Transaction<'c, MySql>> {
    let names = rows::locked(commit);
    if rows::may_be_new(commit) {
        make_lockable(connection, &names).await?;
    }
    let mut transaction = connection.begin().await?;
    let sql = "SELECT context, revision, attempt, next_id FROM contexts WHERE context IN (";
    let mut question = QueryBuilder::<MySql>::new(sql);
    let mut list = question.separated(", ");
    for name in &names {
        list.push_bind(*name);
    }
    question.push(") ORDER BY context FOR UPDATE");
    let mut heads = BTreeMap::new();
    for row in question.build().persistent(names.len() == 1).fetch_all(&mut *transaction).await? {
        heads.insert(row.try_get(0)?, head(&row)?);
    }
    let Some(moved) = rows::is_fresh(commit, &heads) else {
        transaction.rollback().await?;
        return Err(StoreError::Conflict.into());
    };
    for guard in moved {
        if written_since(&mut transaction, guard).await? {
            transaction.rollback().await?;
            return Err(StoreError::Conflict.into());
        }
    }
    write(&mut transaction, commit, rows).await?;
    Ok(transaction)
}

/// Whether a row that somebody relies on was written after it was looked at.
async fn written_since(connection: &mut MySqlConnection, guard: &Guard) -> Sql<bool> {
    let (context, seen) = (guard.context.as_str(), rows::number(guard.seen)?);
    for key in &guard.rows {
        let found = match key {
            Key::Version(subject, version) => {
                let sql = "SELECT 1 FROM versions WHERE context = ? AND revision > ? AND subject = ? AND version = ?";
                let question = sqlx::query(sql).bind(context).bind(seen).bind(&**subject).bind(version);
                question.fetch_optional(&mut *connection).await?
            }
            Key::Config(subject) => {
                let sql = "SELECT 1 FROM configs WHERE context = ? AND revision > ? AND subject = ?";
                sqlx::query(sql)
                    .bind(context)
                    .bind(seen)
                    .bind(&**subject)
                    .fetch_optional(&mut *connection)
                    .await?
            }
            Key::Mode(subject) => {
                let sql = "SELECT 1 FROM modes WHERE context = ? AND revision > ? AND subject = ?";
                sqlx::query(sql)
                    .bind(context)
                    .bind(seen)
                    .bind(&**subject)
                    .fetch_optional(&mut *connection)
                    .await?
            }
            // Nobody relies on these in another context.
            Key::Schema(_) | Key::Listed => return Ok(true),
        };
        if found.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A row that is not there cannot be locked. Outside of a transaction, and only what is missing: an insertion that finds its row
/// holds it weakly until the transaction ends, and two that then want it for themselves wait for each other.
async fn make_lockable(connection: &mut MySqlConnection, names: &[&str]) -> Sql<()> {
    let nobody = Head::EMPTY.attempt.to_string();
    for name in names {
        let sql = "SELECT 1 FROM contexts WHERE context = ?";
        if sqlx::query(sql).bind(*name).fetch_optional(&mut *connection).await?.is_some() {
            continue;
        }
        let sql = "INSERT IGNORE INTO contexts (context, revision, attempt, next_id) VALUES (?, 0, ?, 1)";
        sqlx::query(sql).bind(*name).bind(&nobody).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Who made the revision that a commit was to make. Waits for the end of all who are at it, and is the last to be.
pub(super) async fn made_by(connection: &mut MySqlConnection, commit: &Commit) -> Sql<Option<String>> {
    let name = commit.context.as_str();
    make_lockable(connection, &[name]).await?;
    let mut transaction = connection.begin().await?;
    let sql = "SELECT 1 FROM contexts WHERE context = ? FOR UPDATE";
    sqlx::query(sql).bind(name).fetch_all(&mut *transaction).await?;
    let sql = "SELECT attempt FROM commits WHERE context = ? AND revision = ?";
    let revision = rows::number(commit.head().revision)?;
    let found = sqlx::query_scalar(sql).bind(name).bind(revision).fetch_optional(&mut *transaction).await?;
    transaction.rollback().await?;
    Ok(found)
}

async fn write(connection: &mut MySqlConnection, commit: &Commit, rows: &Rows<'_>) -> Sql<()> {
    let (context, head) = (commit.context.as_str(), commit.head());
    let revision = rows::number(head.revision)?;
    write_schemas(connection, context, rows, revision).await?;
    write_texts(connection, context, rows).await?;
    write_versions(connection, context, rows, revision).await?;
    write_settings(connection, context, rows, revision).await?;
    let sql = "UPDATE contexts SET revision = ?, attempt = ?, next_id = ? WHERE context = ?";
    let attempt = head.attempt.to_string();
    let moved = sqlx::query(sql).bind(revision).bind(&attempt).bind(i64::from(head.next_id)).bind(context);
    moved.execute(&mut *connection).await?;
    if let Some(listed) = rows.listed {
        let sql = "UPDATE contexts SET listed = ?, listed_revision = ? WHERE context = ?";
        sqlx::query(sql).bind(listed).bind(revision).bind(context).execute(&mut *connection).await?;
    }
    let sql = "REPLACE INTO commits (context, revision, attempt) VALUES (?, ?, ?)";
    sqlx::query(sql).bind(context).bind(revision).bind(&attempt).execute(&mut *connection).await?;
    if commit.adds_links {
        let sql = "UPDATE contexts SET revision = revision + 1, attempt = ? WHERE context = ?";
        sqlx::query(sql).bind(&attempt).bind(rows::LINKS).execute(&mut *connection).await?;
    }
    if head.revision.is_multiple_of(FORGET_EVERY) {
        let sql = "DELETE FROM commits WHERE context = ? AND revision <= ?";
        let forgotten = revision - REMEMBERED_COMMITS;
        sqlx::query(sql).bind(context).bind(forgotten).execute(connection).await?;
    }
    Ok(())
}

/// Sends a statement. One of a single row is worth remembering for the next time.
async fn send(connection: &mut MySqlConnection, mut statement: QueryBuilder<MySql>, rows: usize) -> Sql<()> {
    statement.build().persistent(rows == 1).execute(connection).await?;
    Ok(())
}

async fn write_schemas(
    connection: &mut MySqlConnection,
    context: &str,
    rows: &Rows<'_>,
    revision: i64,
) -> Sql<()> {
    let schemas: Vec<_> =
        rows.schemas.iter().map(|(key, row)| (rows::kept(*key), row.map(|(row, _)| row))).collect();
    for part in schemas.chunks(ROWS) {
        let refs =
            part.iter().map(|(_, row)| row.map_or(Ok(String::new()), |row| rows::json(&row.references)));
        let refs = refs.collect::<super::Result<Vec<_>>>()?;
        let sql = "REPLACE INTO schema_rows (context, id, revision, gone, type, guid, identity, refs) ";
        let mut statement = QueryBuilder::<MySql>::new(sql);
        statement.push_values(part.iter().zip(refs), |mut values, ((id, row), refs)| {
            values.push_bind(context).push_bind(*id).push_bind(revision).push_bind(row.is_none());
            values.push_bind(row.map_or("", |row| row.schema_type.name()));
            values.push_bind(row.map_or_else(String::new, |row| row.guid.to_string()));
            values.push_bind(row.map_or_else(Vec::new, |row| row.identity.to_vec())).push_bind(refs);
        });
        send(connection, statement, part.len()).await?;
    }
    Ok(())
}

async fn write_texts(connection: &mut MySqlConnection, context: &str, rows: &Rows<'_>) -> Sql<()> {
    let size = |texts: &Texts| texts.canonical.len() + texts.submitted.as_ref().map_or(0, |text| text.len());
    let mut left = rows.new_schemas().peekable();
    while left.peek().is_some() {
        let sql = "REPLACE INTO schema_texts (context, id, canonical, submitted, metadata, rule_set) VALUES ";
        let mut statement = QueryBuilder::<MySql>::new(sql);
        let (mut count, mut bytes) = (0, 0);
        // At least one, however large.
        while let Some((row, texts)) =
            left.next_if(|(_, texts)| count == 0 || (count < ROWS && bytes + size(texts) <= BYTES))
        {
            statement.push(if count == 0 { "(" } else { ", (" });
            let mut values = statement.separated(", ");
            values.push_bind(context).push_bind(rows::kept(row.key)).push_bind(&*texts.canonical);
            values.push_bind(texts.submitted.as_deref());
            values.push_bind(rows::json_of(texts.metadata.as_deref())?);
            values.push_bind(rows::json_of(texts.rule_set.as_deref())?);
            statement.push(")");
            (count, bytes) = (count + 1, bytes + size(texts));
        }
        send(connection, statement, count).await?;
    }
    for id in rows.gone_schemas().map(rows::kept) {
        let sql = "DELETE FROM schema_texts WHERE context = ? AND id = ?";
        sqlx::query(sql).bind(context).bind(id).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn write_versions(
    connection: &mut MySqlConnection,
    context: &str,
    rows: &Rows<'_>,
    revision: i64,
) -> Sql<()> {
    let versions: Vec<_> = rows.versions.iter().collect();
    for part in versions.chunks(ROWS) {
        let sql = "REPLACE INTO versions (context, subject, version, revision, gone, id, deleted, time_ms) ";
        let mut statement = QueryBuilder::<MySql>::new(sql);
        statement.push_values(part, |mut values, ((subject, version), row)| {
            values.push_bind(context).push_bind(*subject).push_bind(*version).push_bind(revision);
            values.push_bind(row.is_none()).push_bind(row.map_or(0, |row| rows::kept(row.schema)));
            values.push_bind(row.is_some_and(|row| row.deleted)).push_bind(row.map_or(0, |row| row.time_ms));
        });
        send(connection, statement, part.len()).await?;
    }
    Ok(())
}

async fn write_settings(
    connection: &mut MySqlConnection,
    context: &str,
    rows: &Rows<'_>,
    revision: i64,
) -> Sql<()> {
    for (subject, config) in &rows.configs {
        let sql = "REPLACE INTO configs (context, subject, revision, config) VALUES (?, ?, ?, ?)";
        let statement = sqlx::query(sql).bind(context).bind(*subject).bind(revision);
        statement.bind(rows::json_of(*config)?).execute(&mut *connection).await?;
    }
    for (subject, mode) in &rows.modes {
        let sql = "REPLACE INTO modes (context, subject, revision, mode) VALUES (?, ?, ?, ?)";
        let statement = sqlx::query(sql).bind(context).bind(*subject).bind(revision);
        statement.bind(mode.map(|mode| mode.name())).execute(&mut *connection).await?;
    }
    Ok(())
}
