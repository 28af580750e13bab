//! Questions.

use super::{
    AT_ONCE, CassandraStore, Change, Commit, Context, Guard, Head, Heads, Key, Result, Revision, SchemaKey,
    StoreError, StreamExt, Texts, TryStreamExt, before, log, rows, sleep, stream,
};
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Before a partition is read again that has changed too much while it was read.
const AGAIN: Duration = Duration::from_millis(20);
/// Commits that are read from the log; who lags more reads everything.
const LOGGED: u64 = 200;

/// A row with its head; the columns of [`super::statements::Statements::all_rows`].
type Row = (
    (Option<i64>, Option<Uuid>, Option<i64>),
    String,
    String,
    i64,
    i64,
    Option<bool>,
    (Option<i64>, Option<bool>, Option<i64>),
    (Option<String>, Option<String>, Option<Vec<u8>>, Option<String>),
    Option<String>,
);

fn head((revision, attempt, next_id): (Option<i64>, Option<Uuid>, Option<i64>)) -> Result<Head> {
    match (revision, attempt, next_id) {
        (None, None, None) => Ok(Head::EMPTY),
        (Some(revision), Some(attempt), Some(next_id)) => rows::head(revision, &attempt.to_string(), next_id),
        _ => Err(StoreError::Corrupt("a context has half a head".into())),
    }
}

impl CassandraStore {
    fn strange(&self, why: &dyn Display) -> StoreError {
        StoreError::Corrupt(format!("{}: {why}", self.place))
    }

    /// A question with a small answer.
    pub(super) async fn ask(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult> {
        let found = self.session.execute_unpaged(statement, values).await;
        let found = found.map_err(|error| before(&self.place, &error))?;
        found.into_rows_result().map_err(|error| self.strange(&error))
    }

    /// The version of the tables; nothing where the store was not founded yet.
    pub(super) async fn read_version(&self) -> Result<Option<i32>> {
        let found = self.ask(&self.statements.contexts, ()).await?;
        let row = found.maybe_first_row::<(Option<Uuid>, Option<i32>, Option<String>)>();
        Ok(row.map_err(|error| self.strange(&error))?.and_then(|(_, version, _)| version))
    }

    pub(super) async fn read_heads(&self) -> Result<Heads> {
        let found = self.ask(&self.statements.contexts, ()).await?;
        let found = found.rows::<(Option<Uuid>, Option<i32>, Option<String>)>();
        let found: Vec<_> = found
            .map_err(|error| self.strange(&error))?
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| self.strange(&error))?;
        let epoch = found.first().and_then(|(epoch, ..)| *epoch);
        let epoch = epoch.ok_or_else(|| self.strange(&"the store has lost its epoch"))?;
        // Before the heads: what is counted there has been written when they are read.
        let links = self.read_head(&self.statements.head, rows::LINKS).await?.revision;
        let names = found.into_iter().filter_map(|(.., name)| name);
        let heads: Vec<(Context, Head)> = stream::iter(names)
            .map(|name| async move {
                let context = rows::context(&name)?;
                let head = self.read_head(&self.statements.head, context.as_str()).await?;
                Ok::<_, StoreError>((context, head))
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let contexts = heads.into_iter().filter(|(_, head)| *head != Head::EMPTY).collect();
        Ok(Heads { epoch, contexts, links })
    }

    pub(super) async fn read_head(&self, statement: &PreparedStatement, context: &str) -> Result<Head> {
        let found = self.ask(statement, (context,)).await?;
        let row = found.maybe_first_row::<(String, Option<i64>, Option<Uuid>, Option<i64>)>();
        match row.map_err(|error| self.strange(&error))? {
            Some((_, revision, attempt, next_id)) => head((revision, attempt, next_id)),
            None => Ok(Head::EMPTY),
        }
    }

    /// Whether a commit is the one that made its revision. Reading at SERIAL ends what was under way.
    pub(super) async fn made(&self, commit: &Commit) -> Result<bool> {
        let now = self.read_head(&self.statements.settled_head, commit.context.as_str()).await?;
        if now.revision <= commit.head().revision {
            return Ok(now == commit.head());
        }
        let revision = rows::number(commit.head().revision)?;
        let made_by = self.read_made_by(&self.statements.settled_made_by, &commit.context, revision).await?;
        Ok(made_by == Some(commit.attempt.to_string()))
    }

    pub(super) async fn read_changes(&self, context: &Context, seen: Head) -> Result<(Head, Vec<Change>)> {
        let since = seen.revision;
        loop {
            let mut head = self.read_head(&self.statements.head, context.as_str()).await?;
            if head.revision < since {
                // Replicas that a commit has not reached yet look like an older copy; at SERIAL these tell what is true.
                head = self.read_head(&self.statements.settled_head, context.as_str()).await?;
            }
            self.require_history(context, seen, head).await?;
            if head.revision == since {
                return Ok((head, Vec::new()));
            }
            if since > 0
                && head.revision - since <= LOGGED
                && let Some(changes) = self.read_log(context, since, head).await?
            {
                return Ok((head, changes));
            }
            if let Some(found) = self.read_all(context, since, head).await? {
                return Ok(found);
            }
            sleep(AGAIN).await;
        }
    }

    /// Who made a revision is in the log, for as long as that is kept. Reading goes on without the other data centres, so they are
    /// not asked.
    async fn require_history(&self, context: &Context, since: Head, now: Head) -> Result<()> {
        if since.revision == 0 || since.revision >= now.revision {
            return rows::require_history(context, since, now, None);
        }
        let revision = rows::number(since.revision)?;
        match self.read_made_by(&self.statements.made_by, context, revision).await? {
            Some(made_by) => rows::require_history(context, since, now, Some(&made_by)),
            None => Ok(()),
        }
    }

    async fn read_made_by(
        &self,
        statement: &PreparedStatement,
        context: &Context,
        revision: i64,
    ) -> Result<Option<String>> {
        let found = self.ask(statement, (context.as_str(), revision)).await?;
        let row = found.maybe_first_row::<(Option<String>,)>().map_err(|error| self.strange(&error))?;
        Ok(row.and_then(|(made_by,)| made_by))
    }

    /// Whether what a commit relies on in another context has been written since it was looked at.
    pub(super) async fn is_outdated(&self, guard: &Guard) -> Result<bool> {
        let (context, seen) = (guard.context.as_str(), rows::number(guard.seen)?);
        let now = self.read_head(&self.statements.settled_head, context).await?.revision;
        if now == guard.seen {
            return Ok(false);
        }
        for key in &guard.rows {
            let (kind, subject, number) = match key {
                Key::Version(subject, version) => ("version", subject, i64::from(*version)),
                Key::Config(subject) => ("config", subject, 0),
                Key::Mode(subject) => ("mode", subject, 0),
                // Nobody relies on these in another context.
                Key::Schema(_) | Key::Listed => return Ok(true),
            };
            let bound = (context, kind, &**subject, number);
            let found = self.ask(&self.statements.settled_row, bound).await?;
            let row = found.maybe_first_row::<(i64,)>().map_err(|error| self.strange(&error))?;
            if row.is_some_and(|(at,)| at > seen) {
                return Ok(true);
            }
        }
        Ok(now < guard.seen)
    }

    /// What the log knows, where it is whole.
    async fn read_log(&self, context: &Context, since: Revision, head: Head) -> Result<Option<Vec<Change>>> {
        let bounds = (context.as_str(), rows::number(since)?, rows::number(head.revision)?);
        let found = self.ask(&self.statements.log, bounds).await?;
        let entries = found.rows::<(i64, Option<String>, Option<i64>, Option<Uuid>, Option<i64>)>();
        let mut last: BTreeMap<Key, Change> = BTreeMap::new();
        let mut count = 0;
        for entry in entries.map_err(|error| self.strange(&error))? {
            let (_, entry, ..) = entry.map_err(|error| self.strange(&error))?;
            let Some(entry) = entry else { return Ok(None) };
            last.extend(log::changes(&entry)?.into_iter().map(|change| (change.key(), change)));
            count += 1;
        }
        Ok((count == head.revision - since).then(|| last.into_values().collect()))
    }

    /// Every row of a partition, at this head or a later one: what was written while the pages were read is taken from the log and put
    /// over them. Nothing where the log is not whole, or pages, whose heads come with their rows, are not from in between.
    async fn read_all(
        &self,
        context: &Context,
        since: Revision,
        at: Head,
    ) -> Result<Option<(Head, Vec<Change>)>> {
        let found = self.session.execute_iter(self.statements.all_rows.clone(), (context.as_str(),)).await;
        let found = found.map_err(|error| StoreError::Unavailable(format!("{}: {error}", self.place)))?;
        let mut found = found
            .rows_stream::<(
                Option<i64>,
                Option<Uuid>,
                Option<i64>,
                String,
                String,
                i64,
                i64,
                Option<bool>,
                Option<i64>,
                Option<bool>,
                Option<i64>,
                Option<String>,
                Option<String>,
                Option<Vec<u8>>,
                Option<String>,
                Option<String>,
            )>()
            .map_err(|error| self.strange(&error))?;
        let (since, mut latest) = (rows::number(since)?, at.revision);
        let (mut schemas, mut others, mut last) = (Vec::new(), Vec::new(), Arc::<str>::from(""));
        while let Some(row) = found.next().await {
            let row = row.map_err(|error| StoreError::Unavailable(format!("{}: {error}", self.place)))?;
            let (
                revision,
                attempt,
                next,
                kind,
                subject,
                number,
                written,
                gone,
                id,
                deleted,
                time,
                r#type,
                guid,
                identity,
                refs,
                value,
            ) = row;
            let row: Row = (
                (revision, attempt, next),
                kind,
                subject,
                number,
                written,
                gone,
                (id, deleted, time),
                (r#type, guid, identity, refs),
                value,
            );
            let then = head(row.0)?.revision;
            latest = latest.max(then);
            if then < at.revision {
                return Ok(None);
            }
            let is_gone = gone.unwrap_or(false) || (matches!(&*row.1, "config" | "mode") && row.8.is_none());
            if written <= since || (since == 0 && is_gone) {
                continue;
            }
            if *last != *row.2 {
                last = row.2.as_str().into();
            }
            match change(&last, &row)? {
                made @ (Change::Schema(_) | Change::SchemaGone(_)) => schemas.push(made),
                made => others.push(made),
            }
        }
        // Partitions are in the order of kinds: versions come last.
        let versions =
            others.iter().position(|made| matches!(made, Change::Version(_) | Change::VersionGone { .. }));
        others.rotate_left(versions.unwrap_or(0));
        schemas.append(&mut others);
        let now = self.read_head(&self.statements.head, context.as_str()).await?;
        if now.revision < latest || now.revision - at.revision > LOGGED {
            return Ok(None);
        }
        if now == at {
            return Ok(Some((at, schemas)));
        }
        self.require_history(context, at, now).await?;
        let Some(later) = self.read_log(context, at.revision, now).await? else { return Ok(None) };
        let last: BTreeMap<Key, Change> =
            schemas.into_iter().chain(later).map(|change| (change.key(), change)).collect();
        Ok(Some((now, last.into_values().collect())))
    }

    pub(super) async fn read_texts(
        &self,
        context: &Context,
        keys: &[SchemaKey],
    ) -> Result<Vec<(SchemaKey, Texts)>> {
        let found = self.read_hashes(context, keys).await?;
        let texts = stream::iter(found)
            .map(|(key, _, hash)| async move { Ok((key, self.read_text(key, &hash).await?)) });
        texts.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// The types of schemas, and the hashes of their texts.
    pub(super) async fn read_hashes(
        &self,
        context: &Context,
        keys: &[SchemaKey],
    ) -> Result<Vec<(SchemaKey, String, Vec<u8>)>> {
        let parts: Vec<Vec<i64>> =
            keys.chunks(100).map(|part| part.iter().copied().map(rows::kept).collect()).collect();
        let mut hashes = Vec::with_capacity(keys.len());
        for part in parts {
            let found = self.ask(&self.statements.hashes, (context.as_str(), part)).await?;
            let found = found.rows::<(i64, Option<bool>, Option<String>, Option<Vec<u8>>)>();
            for row in found.map_err(|error| self.strange(&error))? {
                let (id, gone, r#type, hash) = row.map_err(|error| self.strange(&error))?;
                if let (Some(false), Some(r#type), Some(hash)) = (gone, r#type, hash) {
                    hashes.push((rows::key(id)?, r#type, hash));
                }
            }
        }
        Ok(hashes)
    }

    pub(super) async fn read_text(&self, key: SchemaKey, hash: &[u8]) -> Result<Texts> {
        // A data centre that was away may have a row before the text that it names.
        for statement in [&self.statements.text, &self.statements.text_anywhere] {
            let found = self.ask(statement, (hash,)).await?;
            let row = found.maybe_first_row::<(String, Option<String>, Option<String>, Option<String>)>();
            if let Some((canonical, submitted, metadata, rules)) =
                row.map_err(|error| self.strange(&error))?
            {
                let (submitted, metadata, rules) =
                    (submitted.as_deref(), metadata.as_deref(), rules.as_deref());
                return rows::texts(key, &canonical, submitted, metadata, rules);
            }
        }
        Err(self.strange(&format!("the text of schema {key} is missing")))
    }
}

fn change(subject: &Arc<str>, row: &Row) -> Result<Change> {
    let (_, kind, _, number, _, gone, (id, deleted, time), (r#type, guid, identity, refs), value) = row;
    let gone = gone.unwrap_or(false);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match kind.as_str() {
        "schema" => rows::schema(
            *number,
            gone,
            &text(guid),
            identity.as_deref().unwrap_or_default(),
            &text(r#type),
            &text(refs),
        ),
        "version" => {
            let version = i32::try_from(*number).map_err(|error| rows::corrupt("a version", error))?;
            let (id, time) = (id.unwrap_or(0), time.unwrap_or(0));
            rows::version(Arc::clone(subject), version, gone, id, deleted.unwrap_or(false), time)
        }
        "config" => rows::config(subject, value.as_deref()),
        "mode" => rows::mode(subject, value.as_deref()),
        "listed" => Ok(Change::Listed(value.as_deref() == Some("true"))),
        other => Err(StoreError::Corrupt(format!("a row is of the unknown kind {other:?}"))),
    }
}
