//! A compacted topic of one partition as a log: how far it goes, what it holds, one more record behind the last.
//!
//! What is appended is idempotent and acknowledged by all in-sync replicas. A request whose answer is lost is sent again as it
//! is, so it is there once whatever happens, until the time is up; only then is the outcome unknown. Several records go into
//! one batch, which appears whole or not at all, as far as the topic's `max.message.bytes` lets them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use formats::codec::{Codec, Compressor, Decompressor};
use formats::ids::{Topic, TopicId, TopicPartition};
use formats::record_batch::Batches;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::config::Isolation;
use super::error::KafkaErrorCode;
use super::fetch::{FetchSettings, Fetcher, Position};
use super::metadata::Topics;
use super::offsets::At;
use super::produce::{Batch, ProduceConnection, ProducerId};
use crate::budget::Budget;
use crate::{Error, Result};

mod encode;
mod topic;

/// The most that a batch may decompress to.
const DECOMPRESSED_CAP: usize = 256 << 20;
/// Bytes of answers under way.
const BUDGET: usize = 32 << 20;
/// Fetches without progress before reading is given up.
const FETCHES: u32 = 20;

/// Which topic, and what it is made with where it is missing.
#[derive(Debug, Clone)]
pub struct TopicLogSettings {
    /// The topic.
    pub topic: Topic,
    /// Replicas that are wanted; fewer where there are fewer brokers.
    pub replication_factor: i16,
    /// Its `max.message.bytes`.
    pub max_message_bytes: u32,
}

/// A record of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogRecord {
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; nothing removes the key.
    pub value: Option<Bytes>,
    /// Its headers. Names that are no UTF-8, and headers without a value, are left away when read.
    pub headers: Vec<(String, Bytes)>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

/// What came of an append that failed.
#[derive(Debug)]
pub enum AppendError {
    /// Nothing was appended.
    Nothing(Error),
    /// A first part, or all of it, may have been.
    Unknown(Error),
}

/// A topic as a log.
#[derive(Debug)]
pub struct TopicLog {
    client: Client,
    partition: TopicPartition,
    /// The largest batch that the topic takes.
    max_batch: usize,
    reading: Mutex<Reading>,
    producing: Mutex<Producing>,
}

#[derive(Debug)]
struct Reading {
    budget: Budget,
    fetcher: Option<(TopicId, Fetcher)>,
    decompressor: Decompressor,
}

#[derive(Debug, Default)]
struct Producing {
    producer: Option<(ProducerId, i32)>,
    connection: Option<(i32, ProduceConnection)>,
}

impl TopicLog {
    /// Opens a log; makes the topic where it is missing.
    ///
    /// # Errors
    /// The topic has several partitions or is not compacted, cannot be made, or no broker answers.
    pub async fn open(client: Client, settings: &TopicLogSettings) -> Result<Self> {
        let max_batch = topic::make_or_check(&client, settings).await?;
        Ok(Self::new(client, settings.topic.clone(), max_batch))
    }

    /// Opens a log that is there already, to be read only: appending to it is refused by its size.
    ///
    /// # Errors
    /// The topic is not there or has several partitions, or no broker answers.
    pub async fn existing(client: Client, topic: Topic) -> Result<Self> {
        topic::require(&client, &topic).await?;
        Ok(Self::new(client, topic, 0))
    }

    fn new(client: Client, topic: Topic, max_batch: usize) -> Self {
        Self {
            client,
            partition: TopicPartition::new(topic, 0),
            max_batch,
            reading: Mutex::new(Reading {
                budget: Budget::new(BUDGET),
                fetcher: None,
                decompressor: Decompressor::new(),
            }),
            producing: Mutex::default(),
        }
    }

    /// The topic's id (all zero where the cluster has none), and the offset behind the last record that all in-sync
    /// replicas have.
    ///
    /// # Errors
    /// The topic is gone, or nobody answers.
    pub async fn extent(&self) -> Result<(TopicId, i64)> {
        let topics = std::slice::from_ref(&self.partition.topic);
        let metadata = self.client.refresh(Topics::Named(topics)).await?;
        let known = metadata.topics.get(&self.partition.topic).filter(|known| !known.partitions.is_empty());
        // A broker that does not know the topic may be behind; that it is gone would be another id.
        let Some(known) = known else {
            let error =
                Error::retry(format!("topic {} is not known to the broker asked", self.partition.topic));
            return Err(error.hint("check that it exists, and that this client may describe it"));
        };
        Ok((known.id, self.offset(At::Latest).await?))
    }

    async fn offset(&self, at: At) -> Result<i64> {
        let asked = [self.partition.clone()];
        let mut found = self.client.list_offsets(asked, at, Isolation::ReadUncommitted).await;
        let listed = found.remove(&self.partition);
        let listed =
            listed.unwrap_or_else(|| Err(Error::permanent(format!("{}: no answer", self.partition))))?;
        Ok(listed.offset.unwrap_or(0))
    }

    /// Records from an offset on, with their offsets, and where to read on. To be asked only where there are any.
    ///
    /// # Errors
    /// Nobody answers, or what is there is no record batch.
    pub async fn read(&self, from: i64) -> Result<(Vec<(i64, LogRecord)>, i64)> {
        let mut reading = self.reading.lock().await;
        let mut from = from;
        let mut last = None;
        for attempt in 0..FETCHES {
            match self.fetch(&mut reading, from).await {
                Ok(Fetched::Records(records)) => {
                    let read =
                        decode(&records, from, &mut reading.decompressor).map_err(|e| e.at(&self.partition));
                    match read? {
                        (_, next) if next == from => {}
                        read => return Ok(read),
                    }
                }
                // What is before the first record is not there any more.
                Ok(Fetched::OutOfRange) => from = from.max(self.offset(At::Earliest).await?),
                Err(error) if error.is_retriable() => {
                    reading.fetcher = None;
                    last = Some(error);
                    sleep(self.client.pause(attempt)).await;
                }
                Err(error) => {
                    reading.fetcher = None;
                    return Err(error.at(&self.partition));
                }
            }
        }
        let why = format!("{} gives nothing at offset {from}", self.partition);
        Err(last.map_or_else(|| Error::retry(why.clone()), |error| error.at(&why)))
    }

    async fn fetch(&self, reading: &mut Reading, from: i64) -> Result<Fetched> {
        let (broker, id) = self.leader().await?;
        let held = reading.fetcher.take().filter(|(of, fetcher)| *of == id && fetcher.broker() == broker);
        let (_, fetcher) = reading.fetcher.insert(held.unwrap_or_else(|| {
            let settings =
                FetchSettings { isolation: Isolation::ReadUncommitted, ..FetchSettings::default() };
            let mut fetcher = Fetcher::new(self.client.clone(), broker, settings, reading.budget.clone());
            fetcher.add(self.partition.clone(), id, Position::at(from));
            (id, fetcher)
        }));
        fetcher.seek(&self.partition, Position::at(from));
        let Some(fetched) = fetcher.receive().await?.partitions.pop() else {
            return Ok(Fetched::Records(Bytes::new()));
        };
        match fetched.error {
            None => Ok(Fetched::Records(fetched.records.unwrap_or_default())),
            Some(KafkaErrorCode::OFFSET_OUT_OF_RANGE) => Ok(Fetched::OutOfRange),
            Some(code) => {
                let topics = std::slice::from_ref(&self.partition.topic);
                self.client.refresh(Topics::Named(topics)).await?;
                Err(code.to_error("Fetch", None))
            }
        }
    }

    async fn leader(&self) -> Result<(i32, TopicId)> {
        let topic = &self.partition.topic;
        let id = |metadata: &super::ClusterMetadata| metadata.topics.get(topic).map(|topic| topic.id);
        let known = self.client.metadata();
        if let (Some((leader, _)), Some(id)) = (known.leader(topic, 0), id(&known)) {
            return Ok((leader, id));
        }
        let metadata = self.client.refresh(Topics::Named(std::slice::from_ref(topic))).await?;
        match (metadata.leader(topic, 0), id(&metadata)) {
            (Some((leader, _)), Some(id)) => Ok((leader, id)),
            _ => Err(Error::retry(format!("{} has no leader", self.partition))),
        }
    }

    /// Appends records in their order, and gives their offsets. `limit` is how long they are sent, and sent again.
    ///
    /// # Errors
    /// [`AppendError`] says what may be there.
    pub async fn append(&self, records: &[LogRecord], limit: Duration) -> Result<Vec<i64>, AppendError> {
        let deadline = Instant::now() + limit;
        let mut producing = self.producing.lock().await;
        let mut compressor = Compressor::new();
        // All of them first: what is too large is found before anything is sent.
        let batches = encode::batches(records, self.max_batch, &mut compressor)
            .map_err(|error| AppendError::Nothing(error.at(&self.partition)))?;
        let mut offsets = Vec::with_capacity(records.len());
        for batch in batches {
            match self.produce(&mut producing, &batch, deadline).await {
                Ok(base) => offsets.extend(base..base + i64::from(batch.records)),
                Err(AppendError::Nothing(error)) if offsets.is_empty() => {
                    return Err(AppendError::Nothing(error));
                }
                Err(AppendError::Nothing(error) | AppendError::Unknown(error)) => {
                    // Whatever is still under way belongs to this producer.
                    *producing = Producing::default();
                    return Err(AppendError::Unknown(error));
                }
            }
        }
        Ok(offsets)
    }

    /// Sends one batch until it is answered.
    async fn produce(
        &self,
        producing: &mut Producing,
        batch: &encode::Encoded,
        deadline: Instant,
    ) -> Result<i64, AppendError> {
        let mut lost = false;
        for attempt in 0.. {
            let error = match self.produce_once(producing, batch, deadline).await {
                Ok(base) => return Ok(base),
                Err(Failed::Refused(code, error)) => match code {
                    // The broker has forgotten the producer, or never knew it; nothing was appended in its name.
                    KafkaErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
                    | KafkaErrorCode::UNKNOWN_PRODUCER_ID
                    | KafkaErrorCode::INVALID_PRODUCER_EPOCH
                        if !lost && attempt == 0 =>
                    {
                        producing.producer = None;
                        error
                    }
                    code if code.is_retriable() => {
                        // These may come after the leader has appended: one that is replaced while it waits for the
                        // others says that it is not the leader, and the next leader may have the batch.
                        lost |= matches!(
                            code,
                            KafkaErrorCode::NOT_LEADER_OR_FOLLOWER
                                | KafkaErrorCode::REQUEST_TIMED_OUT
                                | KafkaErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
                                | KafkaErrorCode::KAFKA_STORAGE_ERROR
                        );
                        producing.connection = None;
                        error
                    }
                    _ if lost => return Err(AppendError::Unknown(error)),
                    _ => return Err(AppendError::Nothing(error)),
                },
                Err(Failed::Lost(error)) => {
                    lost = true;
                    producing.connection = None;
                    error
                }
                Err(Failed::Unsent(error)) if error.is_retriable() => {
                    producing.connection = None;
                    error
                }
                Err(Failed::Unsent(error)) if lost => return Err(AppendError::Unknown(error)),
                Err(Failed::Unsent(error)) => return Err(AppendError::Nothing(error)),
            };
            let pause = self.client.pause(attempt);
            if Instant::now() + pause >= deadline {
                let error = error.at(format!("{}: gave up after {} attempts", self.partition, attempt + 1));
                return Err(if lost { AppendError::Unknown(error) } else { AppendError::Nothing(error) });
            }
            tracing::warn!(%error, attempt, "what is appended to {} is sent again", self.partition);
            sleep(pause).await;
            let topics = std::slice::from_ref(&self.partition.topic);
            if let Err(error) = self.client.refresh_once(Topics::Named(topics)).await {
                tracing::warn!(%error, "no fresh metadata for {}", self.partition);
            }
        }
        Err(AppendError::Nothing(Error::permanent("no attempt was made")))
    }

    async fn produce_once(
        &self,
        producing: &mut Producing,
        batch: &encode::Encoded,
        deadline: Instant,
    ) -> Result<i64, Failed> {
        let (producer, sequence) = match producing.producer {
            Some(known) => known,
            None => {
                let id = self.client.init_producer_id().await.map_err(Failed::Unsent)?;
                *producing.producer.insert((id, 0))
            }
        };
        let (broker, _) = self.leader().await.map_err(Failed::Unsent)?;
        let held = producing.connection.take().filter(|(of, held)| *of == broker && held.is_alive());
        let (_, connection) = match held {
            Some(held) => producing.connection.insert(held),
            None => {
                let timeout = self.client.config().request_timeout;
                let opened = ProduceConnection::open(&self.client, broker, timeout).await;
                producing.connection.insert((broker, opened.map_err(Failed::Unsent)?))
            }
        };
        let bytes = batch.by(producer, sequence).map_err(Failed::Unsent)?;
        // All that was asked before may have taken long.
        if Instant::now() >= deadline {
            return Err(Failed::Unsent(Error::retry("the time was up before it could be sent")));
        }
        let sent = connection.send(&[Batch { partition: self.partition.clone(), chunks: vec![bytes] }]).await;
        // A request that did not get into its connection's queue was not sent.
        let answered = sent.map_err(Failed::Lost)?.response().await.map_err(Failed::Lost)?;
        for produced in answered {
            if let Some(code) = produced.error {
                let reasons: Vec<&str> =
                    produced.record_errors.iter().filter_map(|(_, why)| why.as_deref()).collect();
                let said = produced.message.as_deref().or(reasons.first().copied());
                return Err(Failed::Refused(code, code.to_error(&self.partition, said)));
            }
            if let Some(base) = produced.base_offset {
                let next = (i64::from(sequence) + i64::from(batch.records)) & i64::from(i32::MAX);
                producing.producer = Some((producer, i32::try_from(next).unwrap_or(0)));
                return Ok(base);
            }
        }
        Err(Failed::Lost(Error::retry(format!("{}: acknowledged without an offset", self.partition))))
    }
}

enum Fetched {
    Records(Bytes),
    OutOfRange,
}

enum Failed {
    Unsent(Error),
    Lost(Error),
    Refused(KafkaErrorCode, Error),
}

/// The records of some batches from an offset on, and the offset behind the last batch that is whole.
fn decode(
    batches: &[u8],
    from: i64,
    decompressor: &mut Decompressor,
) -> Result<(Vec<(i64, LogRecord)>, i64)> {
    let (mut records, mut next) = (Vec::new(), from);
    for batch in Batches::new(batches) {
        let batch = batch?;
        if batch.next_offset() <= from {
            continue;
        }
        batch.verify_crc()?;
        if !batch.attributes().control() {
            let mut scratch = Vec::new();
            for record in decompressor.records(&batch, DECOMPRESSED_CAP, &mut scratch)? {
                let record = record?;
                let offset = batch.base_offset() + i64::from(record.offset_delta);
                if offset < from {
                    continue;
                }
                let header = |(name, value): (&[u8], Option<&[u8]>)| {
                    Some((std::str::from_utf8(name).ok()?.to_owned(), Bytes::copy_from_slice(value?)))
                };
                let read = LogRecord {
                    key: record.key.map(Bytes::copy_from_slice),
                    value: record.value.map(Bytes::copy_from_slice),
                    headers: record.headers.filter_map(header).collect(),
                    timestamp: batch.effective_timestamp(record.timestamp_delta),
                };
                records.push((offset, read));
            }
        }
        next = batch.next_offset();
    }
    Ok((records, next))
}

/// Waits until a topic that was just made is known everywhere.
async fn served(client: &Client, topic: &Topic, limit: Duration) -> Result<()> {
    client.wait_until_served(&BTreeMap::from([(topic.clone(), 1)]), limit).await
}

/// What a batch is left uncompressed with.
const PLAIN: Codec = Codec::None;
