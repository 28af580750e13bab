//! Commits.

use super::{
    AT_ONCE, CassandraStore, Commit, ExecutionError, Head, LARGEST_BATCH, LARGEST_TEXT, Result, Rows,
    SchemaKey, StoreError, StreamExt, Texts, TryStreamExt, before, log, rows, stream,
};
use crate::store::VersionRow;
use scylla::response::query_result::QueryRowsResult;
use scylla::statement::batch::{Batch, BatchType};
use scylla::value::{CqlValue, Row};
use std::collections::BTreeMap;

/// Statements in one batch at most: the protocol counts them in 16 bits.
const STATEMENTS: usize = 20_000;
/// What a row costs beside its texts.
const ROW: usize = 100;

/// A batch with the values of its statements.
pub(super) type Bound = (Batch, Vec<Vec<Option<CqlValue>>>);

fn text(value: impl Into<String>) -> Option<CqlValue> {
    Some(CqlValue::Text(value.into()))
}

fn number(value: i64) -> Option<CqlValue> {
    Some(CqlValue::BigInt(value))
}

/// Refuses what Cassandra would refuse only after a part of the work, or not at all.
pub(super) fn refuse_large(commit: &Commit, rows: &Rows<'_>) -> Result<()> {
    for (row, texts) in rows.new_schemas() {
        if size(texts) > LARGEST_TEXT {
            let (key, most) = (row.key, LARGEST_TEXT >> 20);
            return Err(StoreError::Refused(format!(
                "schema {key} has more than {most} MiB, the most for Cassandra"
            )));
        }
    }
    let mut bytes = 0;
    for (row, _) in rows.new_schemas() {
        bytes += ROW + rows::json(&row.references)?.len();
    }
    bytes += rows.subjects().map(|subject| ROW + subject.len()).sum::<usize>();
    for config in rows.configs.values() {
        bytes += rows::json_of(*config)?.map_or(0, |json| json.len());
    }
    if bytes > LARGEST_BATCH || commit.changes.len() > STATEMENTS {
        return Err(StoreError::Refused(format!(
            "a commit of {} changes and {bytes} bytes is too large for one batch of Cassandra ({STATEMENTS} changes, {LARGEST_BATCH} bytes): send it in parts",
            commit.changes.len()
        )));
    }
    Ok(())
}

fn size(texts: &Texts) -> usize {
    texts.canonical.len() + texts.submitted.as_ref().map_or(0, |text| text.len())
}

/// The name of a text: the hash of all of its parts, each after its length, so that no two are confused.
fn hash(parts: [Option<&str>; 4]) -> Vec<u8> {
    let mut hash = blake3::Hasher::new();
    for part in parts {
        hash.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
        hash.update(part.unwrap_or_default().as_bytes());
    }
    hash.finalize().as_bytes().to_vec()
}

/// Whether a condition held: the first column of the answer.
fn is_applied(answer: &QueryRowsResult) -> bool {
    let first = answer.first_row::<Row>().ok();
    let applied = first.and_then(|row| row.columns.into_iter().next().flatten());
    matches!(applied, Some(CqlValue::Boolean(true)))
}

impl CassandraStore {
    /// Writes what means nothing by itself, and puts the batch together that decides.
    pub(super) async fn prepare(&self, commit: &Commit, rows: &Rows<'_>) -> Result<Bound> {
        if commit.expected.revision == 0 {
            self.tell(&self.statements.add_context, (commit.context.as_str(),)).await?;
        }
        let texts: Vec<_> = rows.new_schemas().map(|(row, texts)| self.write_text(row.key, texts)).collect();
        let hashes = stream::iter(texts).buffer_unordered(AT_ONCE).try_collect().await?;
        if commit.adds_links || commit.links_seen.is_some() {
            self.look_at_links(commit).await?;
        }
        for guard in &commit.guards {
            if self.is_outdated(guard).await? {
                return Err(StoreError::Conflict);
            }
        }
        self.batch(commit, rows, &hashes)
    }

    /// Nothing may refer to what goes; and who refers to another context says so before he does.
    async fn look_at_links(&self, commit: &Commit) -> Result<()> {
        loop {
            let now = self.read_head(&self.statements.settled_head, rows::LINKS).await?;
            if commit.links_seen.is_some_and(|seen| seen != now.revision) {
                return Err(StoreError::Conflict);
            }
            if !commit.adds_links {
                return Ok(());
            }
            let (revision, attempt) = (rows::number(now.revision)?, commit.attempt);
            let counted = if now == Head::EMPTY {
                let values = (revision + 1, attempt, 1_i64, rows::LINKS);
                self.ask(&self.statements.first_head, values).await?
            } else {
                let next_id = i64::from(now.next_id);
                let values = (revision + 1, attempt, 1_i64, rows::LINKS, revision, now.attempt, next_id);
                self.ask(&self.statements.next_head, values).await?
            };
            // Where another one was faster, his count does not stand for this commit: somebody may have seen it by now, and goes on to
            // remove what this commit refers to.
            if is_applied(&counted) {
                return Ok(());
            }
        }
    }

    /// Writes a text under its hash, and answers that.
    async fn write_text(&self, key: SchemaKey, texts: &Texts) -> Result<(SchemaKey, Vec<u8>)> {
        let metadata = rows::json_of(texts.metadata.as_deref())?;
        let rules = rows::json_of(texts.rule_set.as_deref())?;
        let (canonical, submitted) = (&*texts.canonical, texts.submitted.as_deref());
        let hash = hash([Some(canonical), submitted, metadata.as_deref(), rules.as_deref()]);
        self.tell(&self.statements.add_text, (&hash, canonical, submitted, metadata, rules)).await?;
        Ok((key, hash))
    }

    async fn tell(
        &self,
        statement: &scylla::statement::prepared::PreparedStatement,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<()> {
        let told = self.session.execute_unpaged(statement, values).await;
        told.map(drop).map_err(|error| before(&self.place, &error))
    }

    fn batch(
        &self,
        commit: &Commit,
        rows: &Rows<'_>,
        hashes: &BTreeMap<SchemaKey, Vec<u8>>,
    ) -> Result<Bound> {
        let (said, head) = (&self.statements, commit.head());
        let context = || text(commit.context.as_str());
        let revision = rows::number(head.revision)?;
        let mut batch = Batch::new(BatchType::Unlogged);
        let mut values: Vec<Vec<Option<CqlValue>>> = Vec::new();
        let mut add = |statement: &scylla::statement::prepared::PreparedStatement,
                       bound: Vec<Option<CqlValue>>| {
            batch.append_statement(statement.clone());
            values.push(bound);
        };
        let mut moved = vec![
            number(revision),
            Some(CqlValue::Uuid(head.attempt)),
            number(head.next_id.into()),
            context(),
        ];
        if commit.expected == Head::EMPTY {
            add(&said.first_head, moved);
        } else {
            let expected = commit.expected;
            moved.push(number(rows::number(expected.revision)?));
            moved.push(Some(CqlValue::Uuid(expected.attempt)));
            moved.push(number(expected.next_id.into()));
            add(&said.next_head, moved);
        }
        for (key, row) in &rows.schemas {
            let start = vec![context(), number(rows::kept(*key)), number(revision)];
            let Some((row, _)) = row else {
                add(&said.put_schema_gone, start);
                continue;
            };
            let rest = vec![
                text(row.schema_type.name()),
                text(row.guid.to_string()),
                Some(CqlValue::Blob(row.identity.to_vec())),
                text(rows::json(&row.references)?),
                hashes.get(key).cloned().map(CqlValue::Blob),
            ];
            add(&said.put_schema, [start, rest].concat());
        }
        for ((subject, version), row) in &rows.versions {
            let start = vec![context(), text(*subject), number((*version).into()), number(revision)];
            match row {
                None => add(&said.put_version_gone, start),
                Some(row) => {
                    let deleted = Some(CqlValue::Boolean(row.deleted));
                    let rest = vec![number(rows::kept(row.schema)), deleted, number(row.time_ms)];
                    add(&said.put_version, [start, rest].concat());
                }
            }
        }
        let mut value = |kind: &str, subject: &str, value: Option<String>| {
            add(
                &said.put_value,
                vec![context(), text(kind), text(subject), number(revision), value.map(CqlValue::Text)],
            );
        };
        for (subject, config) in &rows.configs {
            value("config", subject, rows::json_of(*config)?);
        }
        for (subject, mode) in &rows.modes {
            value("mode", subject, mode.map(|mode| mode.name().to_owned()));
        }
        if let Some(listed) = rows.listed {
            value("listed", "", Some(listed.to_string()));
        }
        let entry = log::entry(rows)?.map(CqlValue::Text);
        let attempt = text(head.attempt.to_string());
        add(&said.put_log, vec![context(), number(revision), number(revision), attempt, entry]);
        Ok((batch, values))
    }

    /// Sends the batch, and answers whether it came true.
    pub(super) async fn decide(
        &self,
        (mut batch, values): Bound,
    ) -> std::result::Result<bool, ExecutionError> {
        let head = &self.statements.next_head;
        batch.set_consistency(head.get_consistency().unwrap_or_default());
        batch.set_serial_consistency(head.get_serial_consistency());
        let answer = self.session.batch(&batch, values).await?;
        Ok(answer.into_rows_result().is_ok_and(|answer| is_applied(&answer)))
    }

    /// Writes what a commit has changed to the table `schemas`. The revision is the time of the writes, so that a late one does no harm.
    pub(super) async fn copy_for_people(&self, commit: &Commit) -> Result<()> {
        let rows = Rows::of(commit)?;
        let new: BTreeMap<SchemaKey, (&str, &str)> = rows
            .new_schemas()
            .map(|(row, texts)| (row.key, (row.schema_type.name(), &*texts.canonical)))
            .collect();
        let copies = rows.versions.iter().map(|(key, row)| self.copy(commit, *key, *row, &new));
        let copies: Vec<_> = copies.collect();
        stream::iter(copies).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn copy(
        &self,
        commit: &Commit,
        (subject, version): (&str, i32),
        row: Option<&VersionRow>,
        new: &BTreeMap<SchemaKey, (&str, &str)>,
    ) -> Result<()> {
        let (context, stamp) = (commit.context.as_str(), rows::number(commit.head().revision)?);
        let Some(row) = row else {
            return self.tell(&self.statements.copy_gone, (stamp, context, subject, version)).await;
        };
        let (kind, text) = match new.get(&row.schema) {
            Some((kind, text)) => ((*kind).to_owned(), (*text).to_owned()),
            None => match self.read_hashes(&commit.context, &[row.schema]).await?.pop() {
                Some((key, kind, hash)) => (kind, self.read_text(key, &hash).await?.canonical.to_string()),
                None => return Ok(()),
            },
        };
        let values = (context, subject, version, i64::from(row.schema.id), kind, row.deleted, text, stamp);
        self.tell(&self.statements.copy, values).await
    }
}
