//! What is said to SQLite.

use super::connection::File;
use super::{Change, Commit, Guard, Head, Heads, Key, Result, SchemaKey, StoreError, Texts};
use crate::names::Context;
use crate::store::rows::{self, FORGET_EVERY, REMEMBERED_COMMITS, Rows};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a step was not done: SQLite refused, or what it holds or was asked makes no sense.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    Said(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<rusqlite::types::FromSqlError> for Fault {
    fn from(error: rusqlite::types::FromSqlError) -> Self {
        Self::Sqlite(error.into())
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Said(error)
    }
}

type Sql<T> = std::result::Result<T, Fault>;

/// A statement whose rows are made into something each.
fn each<T>(
    connection: &Connection,
    sql: &str,
    bound: impl rusqlite::Params,
    mut make: impl FnMut(&rusqlite::Row<'_>) -> Sql<T>,
) -> Sql<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(bound)?;
    let mut made = Vec::new();
    while let Some(row) = found.next()? {
        made.push(make(row)?);
    }
    Ok(made)
}

fn text<'a>(row: &'a rusqlite::Row<'_>, column: usize) -> Sql<&'a str> {
    Ok(row.get_ref(column)?.as_str()?)
}

fn optional<'a>(row: &'a rusqlite::Row<'_>, column: usize) -> Sql<Option<&'a str>> {
    Ok(row.get_ref(column)?.as_str_or_null()?)
}

fn head_of(connection: &Connection, context: &str) -> Sql<Head> {
    let sql = "SELECT revision, attempt, next_id FROM contexts WHERE context = ?1";
    let found =
        each(connection, sql, [context], |row| Ok(rows::head(row.get(0)?, text(row, 1)?, row.get(2)?)?))?;
    Ok(found.first().copied().unwrap_or(Head::EMPTY))
}

pub(super) fn heads(connection: &Connection) -> Sql<Heads> {
    // One statement, so one moment.
    let sql = "SELECT epoch, context, revision, attempt, next_id FROM store LEFT JOIN contexts";
    let found = each(connection, sql, [], |row| {
        let epoch = rows::uuid("the epoch of the store", text(row, 0)?)?;
        let Some(name) = optional(row, 1)? else { return Ok((epoch, None)) };
        let head = rows::head(row.get(2)?, text(row, 3)?, row.get(4)?)?;
        Ok((epoch, Some((name.to_owned(), head))))
    })?;
    let Some((epoch, _)) = found.first() else {
        return Err(StoreError::Corrupt("the store has lost its epoch".into()).into());
    };
    let epoch = *epoch;
    Ok(rows::heads(epoch, found.into_iter().filter_map(|(_, context)| context))?)
}

pub(super) fn changes(
    connection: &mut Connection,
    context: &Context,
    since: Head,
) -> Sql<(Head, Vec<Change>)> {
    let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let (head, seen, since) = (head_of(&snapshot, context.as_str())?, since, rows::number(since.revision)?);
    if since > 0 {
        let made_by = made_by(&snapshot, context.as_str(), since)?;
        rows::require_history(context, seen, head, made_by.as_deref())?;
    }
    let mut changes = schemas(&snapshot, context, since)?;
    changes.extend(versions(&snapshot, context, since)?);
    changes.extend(settings(&snapshot, context, since)?);
    Ok((head, changes))
}

/// Who made a revision, as far as that is remembered.
fn made_by(connection: &Connection, context: &str, revision: i64) -> Sql<Option<String>> {
    let sql = "SELECT attempt FROM commits WHERE context = ?1 AND revision = ?2";
    let mut found = each(connection, sql, params![context, revision], |row| Ok(text(row, 0)?.to_owned()))?;
    Ok(found.pop())
}

/// Who has seen nothing need not hear of what is gone.
fn schemas(connection: &Connection, context: &Context, since: i64) -> Sql<Vec<Change>> {
    let sql = "SELECT id, gone, guid, identity, type, refs FROM schema_rows
        WHERE context = ?1 AND revision > ?2 AND (NOT gone OR ?2 > 0)";
    each(connection, sql, params![context.as_str(), since], |row| {
        let identity = row.get_ref(3)?.as_blob()?;
        Ok(rows::schema(row.get(0)?, row.get(1)?, text(row, 2)?, identity, text(row, 4)?, text(row, 5)?)?)
    })
}

fn versions(connection: &Connection, context: &Context, since: i64) -> Sql<Vec<Change>> {
    let sql = "SELECT subject, version, gone, id, deleted, time_ms FROM versions
        WHERE context = ?1 AND revision > ?2 AND (NOT gone OR ?2 > 0)";
    let mut last: Arc<str> = "".into();
    each(connection, sql, params![context.as_str(), since], |row| {
        let subject = text(row, 0)?;
        if *last != *subject {
            last = subject.into();
        }
        let (version, gone, id) = (row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(rows::version(Arc::clone(&last), version, gone, id, row.get(4)?, row.get(5)?)?)
    })
}

fn settings(connection: &Connection, context: &Context, since: i64) -> Sql<Vec<Change>> {
    let bound = params![context.as_str(), since];
    let sql = "SELECT subject, config FROM configs WHERE context = ?1 AND revision > ?2 AND (config IS NOT NULL OR ?2 > 0)";
    let mut all = each(connection, sql, bound, |row| Ok(rows::config(text(row, 0)?, optional(row, 1)?)?))?;
    let sql = "SELECT subject, mode FROM modes WHERE context = ?1 AND revision > ?2 AND (mode IS NOT NULL OR ?2 > 0)";
    all.extend(each(connection, sql, bound, |row| Ok(rows::mode(text(row, 0)?, optional(row, 1)?)?))?);
    let sql = "SELECT listed FROM contexts WHERE context = ?1 AND listed_revision > ?2";
    all.extend(each(connection, sql, bound, |row| Ok(Change::Listed(row.get(0)?)))?);
    Ok(all)
}

pub(super) fn texts(
    connection: &mut Connection,
    context: &Context,
    keys: &[SchemaKey],
) -> Sql<Vec<(SchemaKey, Texts)>> {
    let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let sql =
        "SELECT canonical, submitted, metadata, rule_set FROM schema_texts WHERE context = ?1 AND id = ?2";
    let mut all = Vec::with_capacity(keys.len());
    for key in keys {
        let found = each(&snapshot, sql, params![context.as_str(), rows::kept(*key)], |row| {
            Ok(rows::texts(*key, text(row, 0)?, optional(row, 1)?, optional(row, 2)?, optional(row, 3)?)?)
        })?;
        all.extend(found.into_iter().map(|texts| (*key, texts)));
    }
    Ok(all)
}

/// Makes a commit true. All locks are taken before the first look.
pub(super) fn commit(
    file: &File,
    connection: &mut Connection,
    commit: &Commit,
    rows: &Rows<'_>,
) -> Result<Head> {
    let wrong = |error| file.words("write", error);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| wrong(error.into()))?;
    prepare(&transaction, commit, rows).map_err(wrong)?;
    let Err(error) = transaction.commit() else { return Ok(commit.head()) };
    // A disk that failed to flush may still bring the commit to light after a crash: nobody can say.
    if matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure)) {
        return Err(StoreError::Unknown(format!("{}: {error}; look at the disk", file.path.display())));
    }
    let sql = "SELECT attempt FROM commits WHERE context = ?1 AND revision = ?2";
    let revision = rows::number(commit.head().revision)?;
    let found = connection.query_row(sql, params![commit.context.as_str(), revision], |row| row.get(0));
    match found.optional() {
        Ok(found) if found == Some(commit.attempt.to_string()) => Ok(commit.head()),
        Ok(_) => Err(wrong(error.into())),
        Err(second) => Err(StoreError::Unknown(format!("{}: {error}; then {second}", file.path.display()))),
    }
}

fn prepare(transaction: &Transaction<'_>, commit: &Commit, rows: &Rows<'_>) -> Sql<()> {
    let mut heads = BTreeMap::new();
    for name in rows::locked(commit) {
        heads.insert(name.to_owned(), head_of(transaction, name)?);
    }
    let Some(moved) = rows::is_fresh(commit, &heads) else { return Err(StoreError::Conflict.into()) };
    for guard in moved {
        for key in &guard.rows {
            if written_since(transaction, guard, key)? {
                return Err(StoreError::Conflict.into());
            }
        }
    }
    write(transaction, commit, rows)
}

/// Whether a row that somebody relies on was written after it was looked at.
fn written_since(connection: &Connection, guard: &Guard, key: &Key) -> Sql<bool> {
    let (context, seen) = (guard.context.as_str(), rows::number(guard.seen)?);
    let asked = |sql: &str, bound: &[&dyn rusqlite::ToSql]| connection.prepare_cached(sql)?.exists(bound);
    Ok(match key {
        Key::Version(subject, version) => asked(
            "SELECT 1 FROM versions WHERE context = ?1 AND revision > ?2 AND subject = ?3 AND version = ?4",
            params![context, seen, &**subject, version],
        )?,
        Key::Config(subject) => asked(
            "SELECT 1 FROM configs WHERE context = ?1 AND revision > ?2 AND subject = ?3",
            params![context, seen, &**subject],
        )?,
        Key::Mode(subject) => asked(
            "SELECT 1 FROM modes WHERE context = ?1 AND revision > ?2 AND subject = ?3",
            params![context, seen, &**subject],
        )?,
        // Nobody relies on these in another context.
        Key::Schema(_) | Key::Listed => true,
    })
}

fn write(transaction: &Transaction<'_>, commit: &Commit, rows: &Rows<'_>) -> Sql<()> {
    let (context, head) = (commit.context.as_str(), commit.head());
    let (attempt, revision) = (head.attempt.to_string(), rows::number(head.revision)?);
    let run =
        |sql: &str, bound: &[&dyn rusqlite::ToSql]| transaction.prepare_cached(sql)?.execute(bound).map(drop);
    for (row, texts) in rows.new_schemas() {
        let refs = rows::json(&row.references)?;
        let (metadata, rules) =
            (rows::json_of(texts.metadata.as_deref())?, rows::json_of(texts.rule_set.as_deref())?);
        run(
            "INSERT OR REPLACE INTO schema_rows (context, id, revision, type, guid, identity, refs) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                context,
                rows::kept(row.key),
                revision,
                row.schema_type.name(),
                row.guid.to_string(),
                row.identity,
                refs
            ],
        )?;
        run(
            "INSERT OR REPLACE INTO schema_texts (context, id, canonical, submitted, metadata, rule_set) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                context,
                rows::kept(row.key),
                &*texts.canonical,
                texts.submitted.as_deref(),
                metadata,
                rules
            ],
        )?;
    }
    for id in rows.gone_schemas().map(rows::kept) {
        run(
            "INSERT INTO schema_rows (context, id, revision, gone, type, guid, identity, refs) VALUES (?1, ?2, ?3, 1, '', '', x'', '')
                ON CONFLICT DO UPDATE SET revision = excluded.revision, gone = 1",
            params![context, id, revision],
        )?;
        run("DELETE FROM schema_texts WHERE context = ?1 AND id = ?2", params![context, id])?;
    }
    for ((subject, version), row) in &rows.versions {
        let (id, deleted, time) =
            row.map_or((0, false, 0), |row| (rows::kept(row.schema), row.deleted, row.time_ms));
        run(
            "INSERT OR REPLACE INTO versions (context, subject, version, revision, gone, id, deleted, time_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![context, subject, version, revision, row.is_none(), id, deleted, time],
        )?;
    }
    for (subject, config) in &rows.configs {
        let config = rows::json_of(*config)?;
        run(
            "INSERT OR REPLACE INTO configs (context, subject, revision, config) VALUES (?1, ?2, ?3, ?4)",
            params![context, subject, revision, config],
        )?;
    }
    for (subject, mode) in &rows.modes {
        run(
            "INSERT OR REPLACE INTO modes (context, subject, revision, mode) VALUES (?1, ?2, ?3, ?4)",
            params![context, subject, revision, mode.map(|mode| mode.name())],
        )?;
    }
    run(
        "INSERT INTO contexts (context, revision, attempt, next_id, listed, listed_revision)
            VALUES (?1, ?2, ?3, ?4, ?5, CASE WHEN ?5 IS NULL THEN 0 ELSE ?2 END)
            ON CONFLICT DO UPDATE SET revision = ?2, attempt = ?3, next_id = ?4, listed = coalesce(?5, listed),
                listed_revision = CASE WHEN ?5 IS NULL THEN listed_revision ELSE ?2 END",
        params![context, revision, attempt, head.next_id, rows.listed],
    )?;
    if commit.adds_links {
        run(
            "INSERT INTO contexts (context, revision, attempt, next_id) VALUES (?1, 1, ?2, 1)
                ON CONFLICT DO UPDATE SET revision = revision + 1, attempt = ?2",
            params![rows::LINKS, attempt],
        )?;
    }
    run(
        "INSERT OR REPLACE INTO commits (context, revision, attempt) VALUES (?1, ?2, ?3)",
        params![context, revision, attempt],
    )?;
    if head.revision.is_multiple_of(FORGET_EVERY) {
        run(
            "DELETE FROM commits WHERE context = ?1 AND revision <= ?2",
            params![context, revision - REMEMBERED_COMMITS],
        )?;
    }
    Ok(())
}
