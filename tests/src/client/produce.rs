//! Writing records with full control over what a batch holds, in and outside transactions.

use super::{WAIT_LIMIT, config};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One record to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// Its partition.
    pub partition: i32,
    /// Milliseconds since 1970; the client's time of sending when absent. Not 0, which librdkafka takes for absent.
    pub timestamp: Option<i64>,
    /// Its key, null when absent.
    pub key: Option<Vec<u8>>,
    /// Its value; absent is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers in order; names may repeat, values may be null.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl NewRecord {
    /// A record of partition 0 with a key and a value.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()), ..Self::default() }
    }

    /// In another partition.
    pub fn partition(self, partition: i32) -> Self {
        Self { partition, ..self }
    }

    /// With an explicit timestamp.
    ///
    /// # Panics
    /// For 0, which librdkafka would replace by the time of sending without a word.
    pub fn at(self, timestamp: i64) -> Self {
        assert_ne!(timestamp, 0, "librdkafka sends the present time for 0");
        Self { timestamp: Some(timestamp), ..self }
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }

    /// Without a key.
    pub fn null_key(self) -> Self {
        Self { key: None, ..self }
    }

    /// Without a value.
    pub fn tombstone(self) -> Self {
        Self { value: None, ..self }
    }
}

/// What became of each record of one call: its offset or its error, by its place.
type Outcome = Result<i64, String>;

/// Collects delivery reports.
#[derive(Clone, Default)]
struct Reports {
    outcomes: Arc<Mutex<Vec<Option<Outcome>>>>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        let outcome = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, message)) => Err(format!("{}-{}: {error}", message.topic(), message.partition())),
        };
        // A late report of a call that panicked has no place any more.
        if let Some(slot) = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
            *slot = Some(outcome);
        }
    }
}

/// A producer. Each [`Producer::send`] lingers long and is then flushed, so that its records share one batch a partition
/// as far as `batch.num.messages` and `batch.size` allow: the caller shapes the batches.
///
/// Useful settings: `compression.codec`, `compression.level`, `batch.num.messages`, `batch.size`,
/// `message.max.bytes`, `transaction.timeout.ms`.
pub struct Producer {
    inner: BaseProducer<Reports>,
    reports: Reports,
}

impl Producer {
    /// An idempotent producer that waits for all replicas, with `settings` on top.
    ///
    /// # Panics
    /// When librdkafka refuses the settings.
    pub fn new(bootstrap: &str, settings: &[(&str, &str)]) -> Self {
        let base = [
            ("linger.ms", "60000"),
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("delivery.timeout.ms", "120000"),
            ("queue.buffering.max.messages", "2000000"),
            ("queue.buffering.max.kbytes", "1048576"),
        ];
        let reports = Reports::default();
        let inner = config(bootstrap, &[&base, settings].concat())
            .create_with_context(reports.clone())
            .unwrap_or_else(|error| panic!("producer with {settings:?}: {error}"));
        Self { inner, reports }
    }

    /// A transactional producer; it fences earlier ones of the same id and aborts what they left open.
    ///
    /// # Panics
    /// When librdkafka or the cluster refuses.
    pub fn transactional(bootstrap: &str, id: &str, settings: &[(&str, &str)]) -> Self {
        let base = [("transactional.id", id), ("transaction.timeout.ms", "900000")];
        let producer = Self::new(bootstrap, &[&base, settings].concat());
        transactional(&format!("init transactions of {id}"), || producer.inner.init_transactions(WAIT_LIMIT));
        producer
    }

    /// Writes records and answers their offsets in the same order.
    ///
    /// # Panics
    /// When a record is refused, naming it.
    pub fn send(&self, topic: &str, records: &[NewRecord]) -> Vec<i64> {
        self.try_send(topic, records)
            .into_iter()
            .enumerate()
            .map(|(place, outcome)| {
                outcome.unwrap_or_else(|error| panic!("record {place} of {topic}: {error}"))
            })
            .collect()
    }

    /// Writes records and answers for each its offset or why it was refused.
    ///
    /// # Panics
    /// When librdkafka refuses a record before it is sent, or nothing is answered in time.
    pub fn try_send(&self, topic: &str, records: &[NewRecord]) -> Vec<Result<i64, String>> {
        *self.outcomes() = vec![None; records.len()];
        for (place, record) in records.iter().enumerate() {
            self.enqueue(topic, place, record);
        }
        self.inner.flush(2 * WAIT_LIMIT).unwrap_or_else(|error| panic!("flush to {topic}: {error}"));
        // A report is an event of its own, and may be served after the last request has been answered.
        let mut outcomes = Vec::new();
        for _ in 0..100 {
            outcomes = std::mem::take(&mut *self.outcomes());
            if outcomes.iter().all(Option::is_some) {
                break;
            }
            *self.outcomes() = outcomes.clone();
            self.inner.poll(Duration::from_millis(50));
        }
        outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| Err("no delivery report".to_owned())))
            .collect()
    }

    /// Opens a transaction.
    ///
    /// # Panics
    /// When that is refused.
    pub fn begin(&self) {
        transactional("begin", || self.inner.begin_transaction());
    }

    /// Commits the open transaction.
    ///
    /// # Panics
    /// When that is refused.
    pub fn commit(&self) {
        transactional("commit", || self.inner.commit_transaction(WAIT_LIMIT));
    }

    /// Aborts the open transaction. Dropping the producer instead leaves it open until `transaction.timeout.ms`.
    ///
    /// # Panics
    /// When that is refused.
    pub fn abort(&self) {
        transactional("abort", || self.inner.abort_transaction(WAIT_LIMIT));
    }

    fn outcomes(&self) -> std::sync::MutexGuard<'_, Vec<Option<Outcome>>> {
        self.reports.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, topic: &str, place: usize, record: &NewRecord) {
        let mut message: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(topic, place).partition(record.partition);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        message.timestamp = record.timestamp;
        if !record.headers.is_empty() {
            let empty = OwnedHeaders::new_with_capacity(record.headers.len());
            message.headers = Some(record.headers.iter().fold(empty, |headers, (key, value)| {
                headers.insert(Header { key, value: value.as_deref() })
            }));
        }
        loop {
            match self.inner.send(message) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    message = back;
                    self.inner.poll(Duration::from_millis(20));
                }
                Err((error, _)) => panic!("record {place} for {topic}-{}: {error}", record.partition),
            }
        }
    }
}

/// Repeats a transactional call while librdkafka says that it may be repeated.
fn transactional(what: &str, call: impl Fn() -> Result<(), KafkaError>) {
    let mut attempts = 0;
    loop {
        match call() {
            Ok(()) => return,
            Err(KafkaError::Transaction(error)) if error.is_retriable() && attempts < 20 => {
                attempts += 1;
                std::thread::sleep(Duration::from_millis(200));
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
}
