//! What is said to PostgreSQL.

use super::rows::{self, FORGET_EVERY, REMEMBERED_COMMITS, Rows};
use super::sql::{self, Place, Sql};
use super::{
    Change, Commit, Guard, Head, Heads, Key, MIGRATION_LOCK, MIGRATIONS, Result, SchemaKey, StoreError, Texts,
};
use crate::names::Context;
use futures::TryStreamExt;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::{Connection, PgConnection, Row, Transaction};
use std::collections::BTreeMap;
use std::sync::Arc;

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// All of it is one transaction, under a lock that belongs to it.
pub(super) async fn migrate(connection: &mut PgConnection, place: &Place) -> Sql<()> {
    let mut transaction = connection.begin().await?;
    let lock = "SELECT pg_advisory_xact_lock($1)";
    sqlx::query(lock).bind(MIGRATION_LOCK).execute(&mut *transaction).await?;
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'v', 'p')";
    let there: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut *transaction).await?;
    if !there.iter().any(|name| name == sql::MIGRATIONS_TABLE) {
        sql::refuse_foreign_tables(place, &there)?;
        let table = "CREATE TABLE replevin_migrations (version INT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())";
        sqlx::query(table).execute(&mut *transaction).await?;
    }
    let found: Option<i32> = sqlx::query_scalar("SELECT max(version) FROM replevin_migrations")
        .fetch_one(&mut *transaction)
        .await?;
    for (step, version) in sql::missing(place, found, MIGRATIONS)? {
        sqlx::raw_sql(step).execute(&mut *transaction).await?;
        let done = sqlx::query("INSERT INTO replevin_migrations (version) VALUES ($1)").bind(version);
        done.execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The rows of a question, made into something each.
async fn each<T>(
    connection: &mut PgConnection,
    sql: &'static str,
    context: &Context,
    since: i64,
    mut make: impl FnMut(&PgRow) -> Sql<T>,
) -> Sql<Vec<T>> {
    let mut found = sqlx::query(sql).bind(context.as_str()).bind(since).fetch(connection);
    let mut made = Vec::new();
    while let Some(row) = found.try_next().await? {
        made.push(make(&row)?);
    }
    Ok(made)
}

fn head(row: &PgRow) -> Sql<Head> {
    Ok(rows::head(row.try_get("revision")?, row.try_get("attempt")?, row.try_get("next_id")?)?)
}

pub(super) async fn heads(connection: &mut PgConnection) -> Sql<Heads> {
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
    connection: &mut PgConnection,
    context: &Context,
    since: Head,
) -> Sql<(Head, Vec<Change>)> {
    let mut snapshot = connection.begin_with(SNAPSHOT).await?;
    let sql = "SELECT revision, attempt, next_id, listed, listed_revision,
            (SELECT attempt FROM commits WHERE context = $1 AND revision = $2) AS made_by
        FROM contexts WHERE context = $1 AND revision > 0";
    let question = sqlx::query(sql).bind(context.as_str()).bind(rows::number(since.revision)?);
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
async fn schemas(connection: &mut PgConnection, context: &Context, since: i64) -> Sql<Vec<Change>> {
    let sql = "SELECT id, gone, guid, identity, type, refs FROM schema_rows
        WHERE context = $1 AND revision > $2 AND (NOT gone OR $2 > 0)";
    each(connection, sql, context, since, |row| {
        let (id, gone, guid) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(rows::schema(id, gone, guid, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?)?)
    })
    .await
}

async fn versions(connection: &mut PgConnection, context: &Context, since: i64) -> Sql<Vec<Change>> {
    let sql = "SELECT subject, version, gone, id, deleted, time_ms FROM versions
        WHERE context = $1 AND revision > $2 AND (NOT gone OR $2 > 0)";
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

async fn settings(connection: &mut PgConnection, context: &Context, since: i64) -> Sql<Vec<Change>> {
    let sql = "SELECT subject, config FROM configs WHERE context = $1 AND revision > $2 AND (config IS NOT NULL OR $2 > 0)";
    let mut all =
        each(connection, sql, context, since, |row| Ok(rows::config(row.try_get(0)?, row.try_get(1)?)?))
            .await?;
    let sql = "SELECT subject, mode FROM modes WHERE context = $1 AND revision > $2 AND (mode IS NOT NULL OR $2 > 0)";
    let modes =
        each(connection, sql, context, since, |row| Ok(rows::mode(row.try_get(0)?, row.try_get(1)?)?))
            .await?;
    all.extend(modes);
    Ok(all)
}

pub(super) async fn texts(
    connection: &mut PgConnection,
    context: &Context,
    keys: &[SchemaKey],
) -> Sql<Vec<(SchemaKey, Texts)>> {
    let sql = "SELECT id, canonical, submitted, metadata, rule_set FROM schema_texts WHERE context = $1 AND id = ANY($2)";
    let ids: Vec<i64> = keys.iter().copied().map(rows::kept).collect();
    let mut found = sqlx::query(sql).bind(context.as_str()).bind(ids).fetch(connection);
    let mut all = Vec::new();
    while let Some(row) = found.try_next().await? {
        let (submitted, metadata, rules) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        let key = rows::key(row.try_get(0)?)?;
        all.push((key, rows::texts(key, row.try_get(1)?, submitted, metadata, rules)?));
    }
    Ok(all)
}

/// Does everything but the last word of a commit.
pub(super) async fn prepare<'c>(
    connection: &'c mut PgConnection,
    commit: &Commit,
    rows: &Rows<'_>,
) -> Sql<Transaction<'c, Postgres>> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    if is_plain(commit, rows) {
        if move_on(&mut transaction, commit, &commit.guards, rows).await? {
            return Ok(transaction);
        }
        // Why not is found out under locks of rows that may have to be made first. Those that are held go before, so that all
        // take theirs in one order.
        sqlx::query("ROLLBACK AND CHAIN").execute(&mut *transaction).await?;
    }
    let names = rows::locked(commit);
    if rows::may_be_new(commit) {
        make_lockable(&mut transaction, &names).await?;
    }
    let sql = "SELECT context, revision, attempt, next_id FROM contexts WHERE context = ANY($1) ORDER BY context FOR UPDATE";
    let locked = sqlx::query(sql).bind(&names).fetch_all(&mut *transaction).await?;
    let mut heads = BTreeMap::new();
    for row in &locked {
        heads.insert(row.try_get(0)?, head(row)?);
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
async fn written_since(connection: &mut PgConnection, guard: &Guard) -> Sql<bool> {
    let (context, seen) = (guard.context.as_str(), rows::number(guard.seen)?);
    for key in &guard.rows {
        let found = match key {
            Key::Version(subject, version) => {
                let sql = "SELECT 1 FROM versions WHERE context = $1 AND revision > $2 AND subject = $3 AND version = $4";
                let question = sqlx::query(sql).bind(context).bind(seen).bind(&**subject).bind(version);
                question.fetch_optional(&mut *connection).await?
            }
            Key::Config(subject) => {
                let sql = "SELECT 1 FROM configs WHERE context = $1 AND revision > $2 AND subject = $3";
                sqlx::query(sql)
                    .bind(context)
                    .bind(seen)
                    .bind(&**subject)
                    .fetch_optional(&mut *connection)
                    .await?
            }
            Key::Mode(subject) => {
                let sql = "SELECT 1 FROM modes WHERE context = $1 AND revision > $2 AND subject = $3";
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

/// A row that is not there cannot be locked.
async fn make_lockable(connection: &mut PgConnection, names: &[&str]) -> Sql<()> {
    let sql = "INSERT INTO contexts (context, revision, attempt, next_id) SELECT u, 0, $2, 1 FROM UNNEST($1) AS u ON CONFLICT DO NOTHING";
    let nobody = Head::EMPTY.attempt.to_string();
    sqlx::query(sql).bind(names).bind(nobody).execute(connection).await?;
    Ok(())
}

/// Who made the revision that a commit was to make. Waits for the end of all who are at it, and is the last to be.
pub(super) async fn made_by(connection: &mut PgConnection, commit: &Commit) -> Sql<Option<String>> {
    let mut transaction = connection.begin().await?;
    let name = commit.context.as_str();
    make_lockable(&mut transaction, &[name]).await?;
    let sql = "SELECT 1 FROM contexts WHERE context = $1 FOR UPDATE";
    sqlx::query(sql).bind(name).fetch_all(&mut *transaction).await?;
    let sql = "SELECT attempt FROM commits WHERE context = $1 AND revision = $2";
    let revision = i64::try_from(commit.head().revision).unwrap_or(i64::MAX);
    let found = sqlx::query_scalar(sql).bind(name).bind(revision).fetch_optional(&mut *transaction).await?;
    transaction.rollback().await?;
    Ok(found)
}

/// Whether [`move_on`] may be all that a commit needs. It is one question instead of six, and a transaction around it all the same:
/// who asks what became of a lost commit waits for its lock, and a statement that the server has not begun yet holds none.
fn is_plain(commit: &Commit, rows: &Rows<'_>) -> bool {
    let links = commit.adds_links || commit.links_seen.is_some();
    let settings = !rows.configs.is_empty() || !rows.modes.is_empty();
    let forgets = commit.head().revision.is_multiple_of(FORGET_EVERY);
    commit.expected.revision > 0 && !links && !settings && !forgets && rows.gone_schemas().next().is_none()
}

async fn write(connection: &mut PgConnection, commit: &Commit, rows: &Rows<'_>) -> Sql<()> {
    let head = commit.head();
    let (context, revision) = (commit.context.as_str(), rows::number(head.revision)?);
    write_settings(connection, commit, rows, revision).await?;
    // The guards are locked, and looked at row by row.
    if !move_on(connection, commit, &[], rows).await? {
        return Err(StoreError::Conflict.into());
    }
    let gone: Vec<i64> = rows.gone_schemas().map(rows::kept).collect();
    if !gone.is_empty() {
        let sql = "DELETE FROM schema_texts WHERE context = $1 AND id = ANY($2)";
        sqlx::query(sql).bind(context).bind(gone).execute(&mut *connection).await?;
    }
    if commit.adds_links {
        let sql = "UPDATE contexts SET revision = revision + 1, attempt = $2 WHERE context = $1";
        sqlx::query(sql).bind(rows::LINKS).bind(head.attempt.to_string()).execute(&mut *connection).await?;
    }
    if head.revision.is_multiple_of(FORGET_EVERY) {
        let sql = "DELETE FROM commits WHERE context = $1 AND revision <= $2";
        let forgotten = revision - REMEMBERED_COMMITS;
        sqlx::query(sql).bind(context).bind(forgotten).execute(connection).await?;
    }
    Ok(())
}

/// Moves the head from where the commit expects it, and writes schemas and versions with it; false, and nothing is written, where
/// that head or one of the guards' is elsewhere, or was never there. Waits for who is at any of them, and looks again then.
async fn move_on(
    connection: &mut PgConnection,
    commit: &Commit,
    guards: &[Guard],
    rows: &Rows<'_>,
) -> Sql<bool> {
    // Locks are taken in the order of names here as in `prepare`, the own head's among them: in any other, commits that rely on each
    // other's contexts wait for each other until the server notices.
    let sql = "WITH held AS (SELECT context, revision FROM contexts WHERE context = ANY($26) ORDER BY context FOR UPDATE),
        kept AS (SELECT held.context FROM held, UNNEST($26::text[], $27::bigint[]) AS seen (context, revision)
            WHERE held.context = seen.context AND held.revision = seen.revision),
        moved AS (
            UPDATE contexts SET revision = $2, attempt = $3, next_id = $4, listed = coalesce($5, listed),
                listed_revision = CASE WHEN $5 IS NULL THEN listed_revision ELSE $2 END
            WHERE context = $1 AND revision = $6 AND attempt = $7 AND next_id = $8
                AND (SELECT count(*) FROM kept) = cardinality($26::text[]) RETURNING context),
        put_schemas AS (INSERT INTO schema_rows (context, revision, id, gone, type, guid, identity, refs)
            SELECT moved.context, $2, put.* FROM moved,
                UNNEST($9::bigint[], $10::boolean[], $11::text[], $12::text[], $13::bytea[], $14::text[]) AS put
            ON CONFLICT (context, id) DO UPDATE SET revision = excluded.revision, gone = excluded.gone, type = excluded.type,
                guid = excluded.guid, identity = excluded.identity, refs = excluded.refs),
        put_texts AS (INSERT INTO schema_texts (context, id, canonical, submitted, metadata, rule_set)
            SELECT moved.context, put.* FROM moved, UNNEST($15::bigint[], $16::text[], $17::text[], $18::text[], $19::text[]) AS put
            ON CONFLICT (context, id) DO UPDATE SET canonical = excluded.canonical, submitted = excluded.submitted,
                metadata = excluded.metadata, rule_set = excluded.rule_set),
        put_versions AS (INSERT INTO versions (context, revision, subject, version, gone, id, deleted, time_ms)
            SELECT moved.context, $2, put.* FROM moved,
                UNNEST($20::text[], $21::int[], $22::boolean[], $23::bigint[], $24::boolean[], $25::bigint[]) AS put
            ON CONFLICT (context, subject, version) DO UPDATE SET revision = excluded.revision, gone = excluded.gone,
                id = excluded.id, deleted = excluded.deleted, time_ms = excluded.time_ms)
        INSERT INTO commits (context, revision, attempt) SELECT context, $2, $3 FROM moved
            ON CONFLICT (context, revision) DO UPDATE SET attempt = excluded.attempt";
    let (head, expected) = (commit.head(), commit.expected);
    let statement = sqlx::query(sql)
        .bind(commit.context.as_str())
        .bind(rows::number(head.revision)?)
        .bind(head.attempt.to_string())
        .bind(i64::from(head.next_id))
        .bind(rows.listed)
        .bind(rows::number(expected.revision)?)
        .bind(expected.attempt.to_string())
        .bind(i64::from(expected.next_id));

    let ids: Vec<i64> = rows.schemas.keys().copied().map(rows::kept).collect();
    let (mut gone, mut types, mut guids, mut identities, mut refs) = (vec![], vec![], vec![], vec![], vec![]);
    for row in rows.schemas.values().map(|row| row.map(|(row, _)| row)) {
        gone.push(row.is_none());
        types.push(row.map_or("", |row| row.schema_type.name()));
        guids.push(row.map_or_else(String::new, |row| row.guid.to_string()));
        identities.push(row.map_or_else(Vec::new, |row| row.identity.to_vec()));
        refs.push(row.map_or(Ok(String::new()), |row| rows::json(&row.references))?);
    }
    let statement = statement.bind(ids).bind(gone).bind(types).bind(guids).bind(identities).bind(refs);

    let (mut ids, mut canonical, mut submitted) = (vec![], vec![], vec![]);
    let (mut metadata, mut rule_sets) = (vec![], vec![]);
    for (row, texts) in rows.new_schemas() {
        ids.push(rows::kept(row.key));
        canonical.push(&*texts.canonical);
        submitted.push(texts.submitted.as_deref());
        metadata.push(rows::json_of(texts.metadata.as_deref())?);
        rule_sets.push(rows::json_of(texts.rule_set.as_deref())?);
    }
    let statement = statement.bind(ids).bind(canonical).bind(submitted).bind(metadata).bind(rule_sets);

    let (subjects, versions): (Vec<&str>, Vec<i32>) = rows.versions.keys().copied().unzip();
    let (mut gone, mut ids, mut deleted, mut times) = (vec![], vec![], vec![], vec![]);
    for row in rows.versions.values() {
        gone.push(row.is_none());
        ids.push(row.map_or(0, |row| rows::kept(row.schema)));
        deleted.push(row.is_some_and(|row| row.deleted));
        times.push(row.map_or(0, |row| row.time_ms));
    }
    let statement = statement.bind(subjects).bind(versions).bind(gone).bind(ids).bind(deleted).bind(times);
    let own = (commit.context.as_str(), expected.revision);
    let all = guards.iter().map(|guard| (guard.context.as_str(), guard.seen)).chain([own]);
    let (names, seen): (Vec<&str>, Vec<u64>) = all.unzip();
    let seen = seen.into_iter().map(rows::number).collect::<Result<Vec<_>>>()?;
    let statement = statement.bind(names).bind(seen);
    Ok(statement.execute(connection).await?.rows_affected() == 1)
}

async fn write_settings(
    connection: &mut PgConnection,
    commit: &Commit,
    rows: &Rows<'_>,
    revision: i64,
) -> Sql<()> {
    if !rows.configs.is_empty() {
        let subjects: Vec<&str> = rows.configs.keys().copied().collect();
        let configs =
            rows.configs.values().map(|config| rows::json_of(*config)).collect::<Result<Vec<_>>>()?;
        let sql = "INSERT INTO configs (context, revision, subject, config)
            SELECT $1, $2, * FROM UNNEST($3::text[], $4::text[])
            ON CONFLICT (context, subject) DO UPDATE SET revision = excluded.revision, config = excluded.config";
        let statement = sqlx::query(sql).bind(commit.context.as_str()).bind(revision);
        statement.bind(subjects).bind(configs).execute(&mut *connection).await?;
    }
    if !rows.modes.is_empty() {
        let (subjects, modes): (Vec<&str>, Vec<Option<&str>>) =
            rows.modes.iter().map(|(subject, mode)| (*subject, mode.map(|mode| mode.name()))).unzip();
        let sql = "INSERT INTO modes (context, revision, subject, mode)
            SELECT $1, $2, * FROM UNNEST($3::text[], $4::text[])
            ON CONFLICT (context, subject) DO UPDATE SET revision = excluded.revision, mode = excluded.mode";
        let statement = sqlx::query(sql).bind(commit.context.as_str()).bind(revision);
        statement.bind(subjects).bind(modes).execute(connection).await?;
    }
    Ok(())
}
