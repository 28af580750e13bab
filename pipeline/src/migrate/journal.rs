//! A migration's memory: a compacted topic of the target, one entry a partition, the newest one counts.
//!
//! An entry is there before the records that it tells of are produced. Of two copies of a migration the one that began last
//! writes: each says first that it is the writer now, and whoever finds another's word behind its own has lost and produces
//! nothing more. Entries of several partitions that wait at the same time travel in one batch.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use formats::ids::{Topic, TopicPartition};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::position::Entry;
use crate::kafka::{AppendError, Client, LogRecord, TopicLog, TopicLogSettings};
use crate::{Error, ErrorKind, Result, failpoint};

/// The topic that migrations keep their journals in.
pub const MIGRATION_TOPIC: &str = "replevin-migration-journal";
const MAX_MESSAGE: u32 = 8 << 20;
const REPLICAS: i16 = 3;
/// How long one entry may take to be written.
const LIMIT: Duration = Duration::from_secs(300);
/// Entries written at once.
const TOGETHER: usize = 1000;

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Writer {
    /// Counts the runs.
    writer: u64,
    /// Tells two runs apart that count alike.
    nonce: u64,
}

/// What a journal says to one run, record by record.
#[derive(Debug)]
struct Book {
    id: String,
    /// Nobody (a nonce of 0) for a run that only looks.
    me: Writer,
    known: BTreeMap<TopicPartition, Entry>,
    /// Partitions whose newest entry has an older one behind it, which compaction would leave.
    hidden: Vec<TopicPartition>,
}

enum Found {
    Writer(Writer),
    Entry(TopicPartition, Box<Entry>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Journal {
    client: Client,
    log: TopicLog,
    book: Book,
    /// The offset behind the last record that was read or written.
    next: i64,
}

impl Book {
    fn new(id: &str) -> Self {
        let me = Writer { writer: 0, nonce: 0 };
        Self { id: id.to_owned(), me, known: BTreeMap::new(), hidden: Vec::new() }
    }

    /// The next record of the journal.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] where another run has begun behind this one; a record that cannot be read.
    fn take(&mut self, record: &LogRecord) -> Result<()> {
        match self.parse(record)? {
            // Who only looks is nobody yet.
            Some(Found::Writer(other)) if self.me.nonce == 0 => {
                self.me.writer = self.me.writer.max(other.writer);
            }
            Some(Found::Writer(other)) if other.writer >= self.me.writer && other != self.me => {
                self.me.writer = other.writer;
                return Err(Error::fenced(format!(
                    "another run of migration {} has begun and goes on in place of this one",
                    self.id
                )));
            }
            Some(Found::Entry(partition, entry)) => {
                // What a run had under way when the next one began is older than what that one wrote.
                let newest = self.known.get(&partition).map_or(0, |known| known.writer);
                if entry.writer >= newest {
                    self.known.insert(partition, *entry);
                } else {
                    self.hidden.push(partition);
                }
            }
            Some(Found::Writer(_)) | None => {}
        }
        Ok(())
    }

    fn parse(&self, record: &LogRecord) -> Result<Option<Found>> {
        let (Some(key), Some(value)) = (&record.key, &record.value) else { return Ok(None) };
        let Some(key) = std::str::from_utf8(key).ok() else { return Ok(None) };
        let Some(name) = key.strip_prefix(&self.id).and_then(|rest| rest.strip_prefix('/')) else {
            return Ok(None);
        };
        let unreadable = |e: serde_json::Error| {
            Error::damaged(format!(
                "the migration journal {MIGRATION_TOPIC} holds under {key} what cannot be read"
            ))
            .caused_by(e)
            .hint("it was written by a newer version, or by something else")
        };
        if name == "writer" {
            return Ok(Some(Found::Writer(serde_json::from_slice(value).map_err(unreadable)?)));
        }
        let parts = name.strip_prefix("partitions/").and_then(|rest| rest.rsplit_once('/'));
        let Some((topic, number)) = parts else { return Ok(None) };
        let (Ok(topic), Ok(number)) = (Topic::new(topic), number.parse()) else { return Ok(None) };
        let entry = serde_json::from_slice(value).map_err(unreadable)?;
        Ok(Some(Found::Entry(TopicPartition::new(topic, number), Box::new(entry))))
    }

    fn record(&self, partition: &TopicPartition, entry: &Entry) -> (String, serde_json::Result<Vec<u8>>) {
        let key = format!("{}/partitions/{}/{}", self.id, partition.topic, partition.partition);
        (key, serde_json::to_vec(entry))
    }
}

impl Journal {
    /// Reads what earlier runs have left. Touches nothing; none where the topic is not there.
    pub(super) async fn look(client: Client, id: &str) -> Result<BTreeMap<TopicPartition, Entry>> {
        let topic = Topic::new(MIGRATION_TOPIC)?;
        let metadata = client.refresh(crate::kafka::Topics::All).await?;
        if metadata.topics.get(&topic).is_none_or(|topic| topic.partitions.is_empty()) {
            return Ok(BTreeMap::new());
        }
        let log = TopicLog::existing(client.clone(), topic).await?;
        let mut journal = Self::over(client, log, id);
        journal.read().await?;
        Ok(journal.book.known)
    }

    /// Makes this run the one that writes.
    pub(super) async fn open(client: Client, id: &str) -> Result<Self> {
        let nonce = client.seam().rand.next_u64();
        let settings = TopicLogSettings {
            topic: Topic::new(MIGRATION_TOPIC)?,
            replication_factor: REPLICAS,
            max_message_bytes: MAX_MESSAGE,
        };
        let log = TopicLog::open(client.clone(), &settings).await.map_err(naming_rights)?;
        let mut journal = Self::over(client, log, id);
        loop {
            journal.read().await?;
            journal.book.me = Writer { writer: journal.book.me.writer + 1, nonce };
            let me = journal.book.me.clone();
            failpoint::hit("before_migration_writer");
            let word = vec![(format!("{}/writer", journal.book.id), serde_json::to_vec(&me))];
            let appended = journal.append(word).await;
            failpoint::hit("after_migration_writer");
            let alone = match appended {
                Ok(()) => journal.read().await,
                other => other,
            };
            match alone {
                Ok(()) => {
                    journal.restate().await?;
                    return Ok(journal);
                }
                // Another one began at the same time; whoever comes last writes, and that is to be this one.
                Err(error) if error.kind() == ErrorKind::Fenced => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn over(client: Client, log: TopicLog, id: &str) -> Self {
        Self { client, log, book: Book::new(id), next: 0 }
    }

    /// What is known of each partition.
    pub(super) fn known(&self) -> &BTreeMap<TopicPartition, Entry> {
        &self.book.known
    }

    /// The number of this run.
    pub(super) fn writer(&self) -> u64 {
        self.book.me.writer
    }

    /// Reads on, to the end whatever is found.
    async fn read(&mut self) -> Result<()> {
        let (_, end) = self.log.extent().await?;
        let mut fenced = Ok(());
        while self.next < end {
            let (records, next) = self.log.read(self.next).await?;
            if next <= self.next {
                break;
            }
            self.next = next;
            for (_, record) in records {
                match self.book.take(&record) {
                    Err(error) if error.kind() == ErrorKind::Fenced => fenced = Err(error),
                    other => other?,
                }
            }
        }
        fenced
    }

    async fn append(&mut self, records: Vec<(String, serde_json::Result<Vec<u8>>)>) -> Result<()> {
        let timestamp = self.client.seam().clock.now_ms();
        let record = |(key, value): (String, serde_json::Result<Vec<u8>>)| {
            let value = value.map_err(|e| Error::permanent("an entry of the journal").caused_by(e))?;
            Ok(LogRecord {
                key: Some(Bytes::from(key)),
                value: Some(Bytes::from(value)),
                headers: Vec::new(),
                timestamp,
            })
        };
        let records = records.into_iter().map(record).collect::<Result<Vec<_>>>()?;
        let offsets = self.log.append(&records, LIMIT).await.map_err(|error| match error {
            AppendError::Nothing(error) | AppendError::Unknown(error) => naming_rights(error),
        })?;
        let alone = offsets.iter().zip(self.next..).all(|(offset, next)| *offset == next);
        if alone {
            self.next = offsets.last().map_or(self.next, |last| last + 1);
            return Ok(());
        }
        // Somebody else wrote in between: another migration, a dead run's last word, or the run that goes on in place of this one.
        self.read().await
    }

    /// Writes once more what has an older entry behind it.
    async fn restate(&mut self) -> Result<()> {
        let hidden = std::mem::take(&mut self.book.hidden);
        let hidden =
            hidden.iter().filter_map(|place| Some(self.book.record(place, self.book.known.get(place)?)));
        let hidden: Vec<_> = hidden.collect();
        if hidden.is_empty() { Ok(()) } else { self.append(hidden).await }
    }

    /// Writes what comes, together what waits at the same time, until nobody can send any more.
    pub(super) async fn write_all(mut self, mut requests: mpsc::Receiver<Write>) -> Result<()> {
        let mut waiting = Vec::new();
        while requests.recv_many(&mut waiting, TOGETHER).await > 0 {
            let (mut records, mut done) = (Vec::new(), Vec::new());
            for Write { partition, entry, written } in waiting.drain(..) {
                records.push(self.book.record(&partition, &entry));
                self.book.known.insert(partition, entry);
                done.push(written);
            }
            failpoint::hit("before_migration_entry");
            self.append(records).await?;
            self.restate().await?;
            failpoint::hit("after_migration_entry");
            for written in done {
                // Whoever is gone does not wait.
                let _ = written.send(());
            }
        }
        Ok(())
    }
}

/// An entry to be written.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) partition: TopicPartition,
    pub(super) entry: Entry,
    /// Told once it is there.
    pub(super) written: oneshot::Sender<()>,
}

fn naming_rights(error: Error) -> Error {
    if error.kind() != ErrorKind::Credentials {
        return error;
    }
    error.hint(format!(
        "grant CREATE, DESCRIBE, DESCRIBE_CONFIGS, READ and WRITE on topic {MIGRATION_TOPIC} to this client's principal (kafka-acls)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::position::{Claim, History, Notes, Place};
    use formats::ids::{LineageId, TopicId};

    fn word(number: u64, nonce: u64) -> LogRecord {
        let word = serde_json::to_vec(&Writer { writer: number, nonce }).expect("JSON");
        record("some/writer", word)
    }

    fn record(key: &str, value: Vec<u8>) -> LogRecord {
        let key = Some(Bytes::from(key.to_owned()));
        LogRecord { key, value: Some(Bytes::from(value)), headers: Vec::new(), timestamp: 0 }
    }

    fn place() -> TopicPartition {
        TopicPartition::new(Topic::new("orders").expect("legal"), 3)
    }

    fn entry(writer: u64, acked: u64) -> Entry {
        let topic = place().topic;
        Entry {
            writer,
            target: Claim {
                topic,
                partition: 3,
                topic_id: TopicId::default(),
                start: 0,
                from: 0,
                producer: 7,
                epoch: 0,
                created: true,
            },
            source: History {
                cluster_id: "c".to_owned(),
                topic_id: TopicId::default(),
                lineage: LineageId(1),
                start: 0,
            },
            notes: Notes::new(acked, Place { next: 5, last: None }),
        }
    }

    fn noted(book: &Book, entry: &Entry) -> LogRecord {
        let (key, value) = book.record(&place(), entry);
        record(&key, value.expect("JSON"))
    }

    fn running(writer: u64, nonce: u64) -> Book {
        Book { me: Writer { writer, nonce }, ..Book::new("some") }
    }

    #[test]
    fn who_only_looks_is_locked_out_by_nobody() {
        let mut book = Book::new("some");
        for (number, nonce) in [(1, 11), (2, 12), (2, 13)] {
            book.take(&word(number, nonce)).expect("nobody is fenced");
        }
        assert_eq!(book.me.writer, 2, "the next run is the third");
    }

    #[test]
    fn of_two_runs_the_one_that_comes_last_goes_on() {
        let mut older = running(2, 12);
        older.take(&word(1, 11)).expect("an older run's word");
        older.take(&word(2, 12)).expect("its own");
        for (number, nonce) in [(2, 13), (3, 14)] {
            let error = older.take(&word(number, nonce)).expect_err("another one has begun");
            assert_eq!(error.kind(), ErrorKind::Fenced);
        }
        // Other migrations live in the same topic.
        older.take(&record("somebody/writer", b"what they say".to_vec())).expect("not its own");
        older.take(&record("some/partitions/orders/3", b"no entry".to_vec())).expect_err("unreadable");
    }

    #[test]
    fn the_last_word_of_an_older_run_does_not_count_and_is_covered_again() {
        let mut book = running(3, 13);
        for (writer, acked) in [(2, 10), (3, 20), (2, 15)] {
            let record = noted(&book, &entry(writer, acked));
            book.take(&record).expect("an entry");
        }
        assert_eq!(book.known.get(&place()), Some(&entry(3, 20)));
        assert_eq!(book.hidden, [place()]);
    }
}
