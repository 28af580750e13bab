//! Reading a whole topic, record by record.

use super::{REQUEST_LIMIT, consumer};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message, Timestamp};
use rdkafka::topic_partition_list::Offset;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long nothing may come before a read is given up.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// Which records a consumer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Only those outside transactions and of committed ones, up to the last stable offset.
    ReadCommitted,
    /// All, also of aborted and open transactions.
    ReadUncommitted,
}

impl Isolation {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ReadCommitted, Self::ReadUncommitted];

    /// Its name in Kafka's settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read_committed",
            Self::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// What a record's timestamp means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampKind {
    /// There is none; its value is -1.
    None,
    /// The producer set it.
    CreateTime,
    /// The broker set it.
    LogAppendTime,
}

/// A record as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rec {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970, or -1.
    pub timestamp: i64,
    /// What the timestamp means.
    pub ts_type: TimestampKind,
    /// Its key; none is null.
    pub key: Option<Vec<u8>>,
    /// Its value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// First offset and end of every partition, the end being the last stable offset where only committed records are read.
///
/// # Panics
/// When the topic does not exist or a leader does not answer.
pub fn watermarks(bootstrap: &str, topic: &str, isolation: Isolation) -> BTreeMap<i32, (i64, i64)> {
    try_watermarks(bootstrap, topic, isolation).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn try_watermarks(
    bootstrap: &str,
    topic: &str,
    isolation: Isolation,
) -> Result<BTreeMap<i32, (i64, i64)>, String> {
    let client = consumer(bootstrap, &[("isolation.level", isolation.name())]);
    let metadata = client
        .fetch_metadata(Some(topic), REQUEST_LIMIT)
        .map_err(|error| format!("metadata of {topic}: {error}"))?;
    let partitions = metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
    if partitions.is_empty() {
        return Err(format!("topic {topic} does not exist"));
    }
    partitions
        .iter()
        .map(|partition| {
            let marks = client
                .fetch_watermarks(topic, partition.id(), REQUEST_LIMIT)
                .map_err(|error| format!("offsets of {topic}-{}: {error}", partition.id()))?;
            Ok((partition.id(), marks))
        })
        .collect()
}

/// Reads every partition from its first record to the end that it has now; ordered by partition and offset.
///
/// # Panics
/// When the topic does not exist, or nothing comes for a minute.
pub fn read_all(bootstrap: &str, topic: &str, isolation: Isolation) -> Vec<Rec> {
    read_partitions(bootstrap, topic, isolation, &watermarks(bootstrap, topic, isolation))
}

/// As [`read_all`], for the partitions and ranges given as first offset and end.
///
/// # Panics
/// As [`read_all`].
pub fn read_partitions(
    bootstrap: &str,
    topic: &str,
    isolation: Isolation,
    ranges: &BTreeMap<i32, (i64, i64)>,
) -> Vec<Rec> {
    let client = consumer(
        bootstrap,
        &[
            ("isolation.level", isolation.name()),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "earliest"),
            ("fetch.message.max.bytes", "16777216"),
            ("fetch.wait.max.ms", "50"),
            ("queued.max.messages.kbytes", "262144"),
        ],
    );
    let mut open: BTreeMap<i32, i64> = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for (&partition, &(start, end)) in ranges.iter().filter(|(_, (start, end))| start < end) {
        open.insert(partition, end);
        assignment
            .add_partition_offset(topic, partition, Offset::Offset(start))
            .unwrap_or_else(|error| panic!("{topic}-{partition} from {start}: {error}"));
    }
    let mut records = Vec::new();
    if open.is_empty() {
        return records;
    }
    client.assign(&assignment).unwrap_or_else(|error| panic!("assign {topic}: {error}"));
    let mut last = Instant::now();
    while !open.is_empty() {
        match client.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                last = Instant::now();
                let Some(&end) = open.get(&message.partition()) else { continue };
                if message.offset() < end {
                    records.push(record(&message));
                }
                if message.offset() + 1 >= end {
                    open.remove(&message.partition());
                }
            }
            // The last offsets before the end may be markers, aborted or compacted away: only the broker's word that
            // nothing follows tells that they were passed.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                last = Instant::now();
                open.remove(&partition);
            }
            // librdkafka goes on by itself after what it reports here, such as a broker that went away.
            Some(Err(_)) | None => {
                assert!(
                    last.elapsed() < IDLE_LIMIT,
                    "reading {topic} ({}): nothing came for {} s; waiting for partition: end {open:?}, read {} records",
                    isolation.name(),
                    IDLE_LIMIT.as_secs(),
                    records.len()
                );
            }
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

fn record(message: &BorrowedMessage<'_>) -> Rec {
    let (ts_type, timestamp) = match message.timestamp() {
        Timestamp::NotAvailable => (TimestampKind::None, -1),
        Timestamp::CreateTime(time) => (TimestampKind::CreateTime, time),
        Timestamp::LogAppendTime(time) => (TimestampKind::LogAppendTime, time),
    };
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Rec {
        partition: message.partition(),
        offset: message.offset(),
        timestamp,
        ts_type,
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}
