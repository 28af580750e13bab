//! The journal as a compacted topic of the target cluster.
//!
//! One record an entry, keyed by its name, and of a key the first record counts: what a dead run still had under way may
//! arrive behind what the next run wrote, and must change nothing. Compaction keeps the last record of a key; so that
//! this is the winner's too, whoever finds a second one writes the first once more, and compaction lets that time pass.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use formats::codec::Decompressor;
use formats::ids::{RestoreId, Topic, TopicId, TopicPartition};
use formats::record_batch::{Attributes, BatchHeader, Batches, HEADER_LEN, Producer};
use formats::varint::{write_varint, write_varlong};
use tokio::time::{Instant, sleep};

use super::{Journal, Text};
use crate::budget::Budget;
use crate::failpoint;
use crate::kafka::{
    At, Batch, Client, FetchSettings, Fetcher, Isolation, NewTopic, Placement, Position, ProduceConnection,
    Topics,
};
use crate::seam::backoff;
use crate::{Error, ErrorKind, Result};

/// The topic that restores keep their journals in.
pub const JOURNAL_TOPIC: &str = "replevin-restore-journal";
/// The most that one batch of the journal may have decompressed.
const CAP: usize = 64 << 20;
/// Bytes of entries that are put into one batch.
const BATCH: usize = 512 << 10;
/// Fetches without progress before reading is given up.
const MOST_FAILURES: u32 = 20;
const MAX_REPLICAS: usize = 3;
/// How long compaction leaves entries alone: a week, longer than any restore.
const COMPACTION_LAG_MS: &str = "604800000";
const SERVED_LIMIT: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(crate) struct TopicJournal {
    client: Client,
    budget: Budget,
    id: RestoreId,
    partition: TopicPartition,
}

type Entry = (String, Text);

impl TopicJournal {
    /// Over a topic that may not be there yet.
    pub(crate) fn new(client: Client, budget: Budget, id: RestoreId) -> Result<Self> {
        let partition = TopicPartition::new(Topic::new(JOURNAL_TOPIC)?, 0);
        Ok(Self { client, budget, id, partition })
    }

    /// The topic's id; none where the topic is not there.
    async fn topic_id(&self) -> Result<Option<TopicId>> {
        let topic = &self.partition.topic;
        let metadata = self.client.refresh(Topics::Named(std::slice::from_ref(topic))).await?;
        let known = metadata.topics.get(topic).filter(|known| !known.partitions.is_empty());
        Ok(known.map(|known| known.id))
    }

    async fn create(&self) -> Result<()> {
        let brokers = self.client.metadata().brokers.len().clamp(1, MAX_REPLICAS);
        let configs = [
            ("cleanup.policy", "compact"),
            ("max.message.bytes", "8388608"),
            ("min.compaction.lag.ms", COMPACTION_LAG_MS),
        ];
        let topic = NewTopic {
            name: self.partition.topic.clone(),
            placement: Placement::Chosen { partitions: 1, replication_factor: i16::try_from(brokers).ok() },
            configs: configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        failpoint::hit("before_journal_topic_create");
        for (topic, created) in self.client.create_topics(&[topic], false).await? {
            match created {
                Err(refusal) if refusal.code != crate::kafka::KafkaErrorCode::TOPIC_ALREADY_EXISTS => {
                    let error = refusal.to_error(format!("the restore journal {topic} cannot be created"));
                    return Err(error.hint("let the topic be created, or use `restore.journal: object`"));
                }
                _ => {}
            }
        }
        failpoint::hit("after_journal_topic_create");
        let served = BTreeMap::from([(self.partition.topic.clone(), 1)]);
        self.client.wait_until_served(&served, SERVED_LIMIT).await
    }

    /// Every entry of this restore from an offset on, in order, and the offset after the last.
    async fn read_from(&self, from: Option<i64>) -> Result<(Vec<Entry>, i64)> {
        let Some(topic_id) = self.topic_id().await? else { return Ok((Vec::new(), 0)) };
        let end = self.offset(At::Latest).await?;
        let mut next = match from {
            Some(from) => from,
            None => self.offset(At::Earliest).await?,
        };
        let (mut entries, mut decompressor) = (Vec::new(), Decompressor::new());
        let mut failures = 0;
        while next < end {
            let fetched = self.fetch(topic_id, next).await;
            let records = match fetched {
                Ok(records) => records,
                Err(error) if error.is_retriable() && failures < MOST_FAILURES => {
                    failures += 1;
                    self.pause(failures).await;
                    continue;
                }
                Err(error) => return Err(error.at(&self.partition)),
            };
            let before = next;
            for batch in Batches::new(&records) {
                let batch = batch?;
                if batch.next_offset() <= next {
                    continue;
                }
                batch.verify_crc()?;
                if !batch.attributes().control() {
                    let mut scratch = Vec::new();
                    for record in decompressor.records(&batch, CAP, &mut scratch)? {
                        let record = record?;
                        if batch.base_offset() + i64::from(record.offset_delta) >= next {
                            entries.extend(self.entry(record.key, record.value));
                        }
                    }
                }
                next = batch.next_offset();
            }
            failures = if next > before { 0 } else { failures + 1 };
            if failures >= MOST_FAILURES {
                return Err(Error::retry(format!(
                    "{} gives nothing at offset {next} of {end}",
                    self.partition
                )));
            }
        }
        Ok((entries, next))
    }

    fn entry(&self, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Entry> {
        let key = std::str::from_utf8(key?).ok()?;
        let ours = key.strip_prefix(&self.id.to_string())?.starts_with('/');
        // What is no JSON was not written by a restore.
        ours.then(|| Some((key.to_owned(), Text::stored(value?)?)))?
    }

    async fn offset(&self, at: At) -> Result<i64> {
        let partition = self.partition.clone();
        let mut found = self.client.list_offsets([partition.clone()], at, Isolation::ReadUncommitted).await;
        let listed = found.remove(&partition).unwrap_or_else(|| Err(Error::permanent("no answer")));
        let listed = listed.map_err(|e| e.at("the restore journal"))?;
        Ok(listed.offset.unwrap_or(0))
    }

    async fn fetch(&self, topic_id: TopicId, from: i64) -> Result<Bytes> {
        let broker = self.leader().await?;
        let settings = FetchSettings { isolation: Isolation::ReadUncommitted, ..FetchSettings::default() };
        let mut fetcher = Fetcher::new(self.client.clone(), broker, settings, self.budget.clone());
        fetcher.add(self.partition.clone(), topic_id, Position::at(from));
        let mut outcome = fetcher.receive().await?;
        let Some(partition) = outcome.partitions.pop() else { return Ok(Bytes::new()) };
        if let Some(code) = partition.error {
            return Err(code.to_error("Fetch of the restore journal", None));
        }
        Ok(partition.records.unwrap_or_default())
    }

    async fn leader(&self) -> Result<i32> {
        let topic = &self.partition.topic;
        if let Some((leader, _)) = self.client.metadata().leader(topic, 0) {
            return Ok(leader);
        }
        let metadata = self.client.refresh(Topics::Named(std::slice::from_ref(topic))).await?;
        let leader = metadata.leader(topic, 0).map(|(leader, _)| leader);
        leader.ok_or_else(|| Error::retry(format!("{} has no leader", self.partition)))
    }

    async fn append(&self, entries: &[Entry]) -> Result<()> {
        let mut rest = entries;
        while !rest.is_empty() {
            let (batch, count) = encode(rest, self.client.seam().clock.now_ms())?;
            self.produce(batch).await?;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Until it is acknowledged; twice is harmless, as entries never change.
    async fn produce(&self, batch: Bytes) -> Result<()> {
        let (started, mut attempt) = (Instant::now(), 0);
        loop {
            let error = match self.produce_once(&batch).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !error.is_retriable() || started.elapsed() >= self.client.config().retry.deadline {
                return Err(error.at("writing the restore journal"));
            }
            tracing::warn!(%error, "the restore journal was not written; trying again");
            attempt += 1;
            self.pause(attempt).await;
            let topics = std::slice::from_ref(&self.partition.topic);
            self.client.refresh(Topics::Named(topics)).await?;
        }
    }

    async fn produce_once(&self, batch: &Bytes) -> Result<()> {
        let timeout = self.client.config().request_timeout;
        let connection = ProduceConnection::open(&self.client, self.leader().await?, timeout).await?;
        let batch = Batch { partition: self.partition.clone(), chunks: vec![batch.clone()] };
        for result in connection.send(&[batch]).await?.response().await? {
            if let Some(code) = result.error {
                return Err(code.to_error(&result.partition, result.message.as_deref()));
            }
        }
        Ok(())
    }

    async fn pause(&self, attempt: u32) {
        let retry = &self.client.config().retry;
        sleep(backoff(&*self.client.seam().rand, attempt, retry.base, retry.cap)).await;
    }
}

#[async_trait]
impl Journal for TopicJournal {
    async fn read(&self) -> Result<BTreeMap<String, Text>> {
        Ok(first_of_each(self.read_from(None).await.map_err(naming_rights)?.0))
    }

    async fn claim(&self, wanted: Vec<Entry>) -> Result<BTreeMap<String, Text>> {
        self.write(wanted).await.map_err(naming_rights)
    }
}

impl TopicJournal {
    async fn write(&self, wanted: Vec<Entry>) -> Result<BTreeMap<String, Text>> {
        if self.topic_id().await?.is_none() {
            self.create().await?;
        }
        let (mut entries, from) = self.read_from(None).await?;
        let missing: Vec<Entry> = {
            let known: BTreeSet<&String> = entries.iter().map(|(key, _)| key).collect();
            wanted.iter().filter(|(key, _)| !known.contains(key)).cloned().collect()
        };
        failpoint::hit("before_journal_write");
        self.append(&missing).await?;
        failpoint::hit("after_journal_write");
        entries.extend(self.read_from(Some(from)).await?.0);
        let last: BTreeMap<String, Text> = entries.iter().cloned().collect();
        let mut winners = first_of_each(entries);
        let hidden: Vec<Entry> =
            winners.iter().filter(|(key, first)| last.get(*key) != Some(*first)).map(own).collect();
        self.append(&hidden).await?;
        winners.retain(|key, _| wanted.iter().any(|(name, _)| name == key));
        Ok(winners)
    }
}

fn naming_rights(error: Error) -> Error {
    if error.kind() != ErrorKind::Credentials {
        return error;
    }
    error.hint(format!(
        "grant CREATE, DESCRIBE, READ and WRITE on topic {JOURNAL_TOPIC} to this client's principal (kafka-acls), or use \
         `restore.journal: object`"
    ))
}

fn own((key, value): (&String, &Text)) -> Entry {
    (key.clone(), value.clone())
}

fn first_of_each(entries: Vec<Entry>) -> BTreeMap<String, Text> {
    let mut first = BTreeMap::new();
    for (key, value) in entries {
        first.entry(key).or_insert(value);
    }
    first
}

/// One batch of the first entries, and how many they are.
fn encode(entries: &[Entry], now_ms: i64) -> Result<(Bytes, usize)> {
    let (mut batch, mut count) = (vec![0; HEADER_LEN], 0);
    for (key, value) in entries {
        let value = value.as_str();
        if count > 0 && batch.len() + key.len() + value.len() > BATCH {
            break;
        }
        let mut body = vec![0];
        write_varlong(0, &mut body);
        write_varint(count, &mut body);
        for text in [key.as_str(), value] {
            write_varint(length(text.len())?, &mut body);
            body.extend_from_slice(text.as_bytes());
        }
        write_varint(0, &mut body);
        write_varint(length(body.len())?, &mut batch);
        batch.extend_from_slice(&body);
        count += 1;
    }
    let header = BatchHeader {
        base_offset: 0,
        leader_epoch: -1,
        attributes: Attributes(0),
        last_offset_delta: count - 1,
        base_timestamp: now_ms,
        max_timestamp: now_ms,
        producer: Producer::NONE,
        record_count: count,
    };
    header.write_to(&mut batch)?;
    Ok((batch.into(), usize::try_from(count).unwrap_or(0)))
}

fn length(bytes: usize) -> Result<i32> {
    i32::try_from(bytes).map_err(|_| Error::permanent("a journal entry is too large"))
}
