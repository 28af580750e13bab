//! The data: records like those of a business, batched and compressed by a real producer (librdkafka), and many copies of
//! those batches in a topic.
//!
//! Compressing gigabytes would take longer than everything else. So a pool of some megabytes is produced once, and its
//! batches, as the broker stored them, are produced again and again until the topic is large enough.

use std::fs;
use std::path::PathBuf;

use sandbox::client::{self, NewRecord, Producer};
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use sandbox::scratch::Scratch;

use crate::Result;
use crate::minimal::backup;
use crate::minimal::batch;
use crate::minimal::produce::{Outgoing, Pipeline};
use crate::table::say;

/// Bytes of records of the pool.
const POOL: usize = 64 << 20;
/// What librdkafka puts into one batch at most, before compression.
pub(crate) const BATCH: &str = "65536";
/// Partitions of the topics that figures are taken with.
pub(crate) const PARTITIONS: usize = 8;
/// That topic.
pub(crate) const TOPIC: &str = "bench";

/// What records are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// Bytes of a record's value, about.
    pub(crate) value: usize,
    /// librdkafka's name of the codec.
    pub(crate) codec: &'static str,
}

impl Kind {
    /// As a cell of a table.
    pub(crate) fn name(self) -> String {
        match self.value {
            1000.. => format!("{}, 1 KB records", self.codec),
            value => format!("{}, {value} B records", self.codec),
        }
    }
}

/// A broker with one topic, and what is in it.
pub(crate) struct Loaded {
    pub(crate) cluster: KafkaCluster,
    pub(crate) topic: String,
    /// Bytes of stored batches.
    pub(crate) bytes: u64,
    /// Records.
    pub(crate) records: u64,
    /// Bytes of keys and values of those records.
    pub(crate) payload: u64,
    /// Where the files below lie.
    pub(crate) scratch: Scratch,
}

impl Loaded {
    /// The broker's address.
    pub(crate) fn broker(&self) -> String {
        self.cluster.bootstrap()
    }

    /// 16 MiB of whole batches, for kernels.
    pub(crate) fn batches(&self) -> PathBuf {
        self.scratch.path().join("batches")
    }

    /// The pool's values, each behind its length, for producers.
    pub(crate) fn values(&self) -> PathBuf {
        self.scratch.path().join("values")
    }
}

/// Starts a broker whose deleted topics give their disk space back at once.
pub(crate) fn broker() -> KafkaCluster {
    broker_with(&[])
}

fn broker_with(properties: &[(&str, &str)]) -> KafkaCluster {
    let properties = [&[("log.segment.delete.delay.ms", "500")], properties].concat();
    KafkaCluster::start(KafkaVersion::V4, 1, &properties)
}

/// A topic for a figure: batches are stored as they come and nothing ages away.
pub(crate) fn create_topic(broker: &str, topic: &str, partitions: usize) {
    let configs =
        [("retention.ms", "-1"), ("compression.type", "producer"), ("max.message.bytes", "10485760")];
    client::create_topic(broker, topic, i32::try_from(partitions).unwrap_or(i32::MAX), 1, &configs);
}

/// Starts a broker and fills a topic with `megabytes` of stored batches.
///
/// # Errors
/// Whatever the broker says.
pub(crate) fn load(kind: Kind, megabytes: u64) -> Result<Loaded> {
    load_into(kind, megabytes, PARTITIONS)
}

/// [`load`] with another number of partitions.
///
/// # Errors
/// Whatever the broker says.
pub(crate) fn load_into(kind: Kind, megabytes: u64, partitions: usize) -> Result<Loaded> {
    fill(broker(), kind, &plain, megabytes, partitions)
}

/// [`load`] with values that are made from those of the other figures.
///
/// # Errors
/// Whatever the broker says.
pub(crate) fn load_framed(kind: Kind, frame: Frame<'_>, megabytes: u64) -> Result<Loaded> {
    fill(broker(), kind, frame, megabytes, PARTITIONS)
}

/// [`load`] into a broker that stamps records with its own time.
///
/// # Errors
/// Whatever the broker says.
pub(crate) fn load_stamped(kind: Kind, megabytes: u64) -> Result<Loaded> {
    let stamped = broker_with(&[("log.message.timestamp.type", "LogAppendTime")]);
    fill(stamped, kind, &plain, megabytes, PARTITIONS)
}

/// What a value becomes before it is produced, by the number of its record.
pub(crate) type Frame<'a> = &'a dyn Fn(usize, &[u8]) -> Vec<u8>;

/// It stays what it is.
pub(crate) fn plain(_: usize, value: &[u8]) -> Vec<u8> {
    value.to_vec()
}

fn fill(
    cluster: KafkaCluster,
    kind: Kind,
    frame: Frame<'_>,
    megabytes: u64,
    partitions: usize,
) -> Result<Loaded> {
    let scratch = Scratch::new("bench-load");
    let topic = TOPIC.to_owned();
    let mut feed = Feed::new(&cluster.bootstrap(), kind, frame, partitions, &scratch)?;
    while feed.bytes < megabytes * 1_000_000 {
        feed.send()?;
    }
    let (bytes, records) = feed.finish()?;
    let payload = records * (8 + kind.value as u64);
    Ok(Loaded { cluster, topic, bytes, records, payload, scratch })
}

/// Makes the topic, and sends the batches of a pool into it again and again.
pub(crate) struct Feed {
    pipeline: Pipeline,
    partitions: usize,
    pool: Vec<u8>,
    /// Where the next batch begins.
    at: usize,
    /// Bytes of the batches sent.
    bytes: u64,
    /// Their records.
    records: u64,
}

impl Feed {
    /// # Errors
    /// Whatever the broker says.
    pub(crate) fn new(
        broker: &str,
        kind: Kind,
        frame: Frame<'_>,
        partitions: usize,
        scratch: &Scratch,
    ) -> Result<Self> {
        let pool = pool(broker, kind, frame, scratch)?;
        let mut batches = 0;
        batch::walk(&pool, |_| {
            batches += 1;
            Ok(())
        })?;
        say(&format!(
            "{}: {batches} batches of {} bytes on average as stored",
            kind.name(),
            pool.len() / batches.max(1)
        ));
        create_topic(broker, TOPIC, partitions);
        let pipeline = Pipeline::new(broker, TOPIC, partitions)?;
        Ok(Self { pipeline, partitions, pool, at: 0, bytes: 0, records: 0 })
    }

    /// Sends a batch to each partition; to some only, where the pool ends.
    ///
    /// # Errors
    /// Whatever the broker says.
    pub(crate) fn send(&mut self) -> Result<()> {
        if self.at == self.pool.len() {
            self.at = 0;
        }
        let mut rest = &mut self.pool[self.at..];
        let mut batches = Vec::with_capacity(self.partitions);
        for partition in 0..self.partitions {
            let Some(size) = batch::size(rest) else { break };
            let (batch, behind) = rest.split_at_mut(size);
            rest = behind;
            self.at += size;
            self.bytes += size as u64;
            self.records += u64::try_from(batch::count(batch))?;
            batches.push(Outgoing { partition, batch });
        }
        self.pipeline.send(&mut batches)
    }

    /// Waits until everything is acknowledged; gives bytes and records.
    ///
    /// # Errors
    /// Whatever the broker says.
    pub(crate) fn finish(self) -> Result<(u64, u64)> {
        self.pipeline.finish()?;
        Ok((self.bytes, self.records))
    }
}

/// Batches as a real producer makes them and the broker stores them. Leaves the files of [`Loaded`] behind.
fn pool(broker: &str, kind: Kind, frame: Frame<'_>, scratch: &Scratch) -> Result<Vec<u8>> {
    create_topic(broker, "pool", 1);
    let values = values(kind.value);
    let producer = Producer::new(broker, &[("compression.codec", kind.codec), ("batch.size", BATCH)]);
    let mut file = Vec::new();
    let record = |(number, value): (usize, &Vec<u8>)| NewRecord::new(&value[..8], frame(number, value));
    for chunk in values.chunks(50_000) {
        producer.send("pool", &chunk.iter().enumerate().map(record).collect::<Vec<_>>());
    }
    for value in &values {
        file.extend(u32::try_from(value.len())?.to_le_bytes());
        file.extend(value);
    }
    fs::write(scratch.path().join("values"), file)?;
    let mut pool = Vec::new();
    backup::fetch(broker, "pool", 1, |_, records| {
        pool.extend_from_slice(records);
        Ok(())
    })?;
    client::delete_topics(broker, &["pool"]);
    let (sample, _) = batch::walk(&pool[..pool.len().min(16 << 20)], |_| Ok(()))?;
    fs::write(scratch.path().join("batches"), &pool[..sample])?;
    Ok(pool)
}

/// Values of about one size, the same in every run: JSON with numbers that do not compress and words that do.
pub(crate) fn values(size: usize) -> Vec<Vec<u8>> {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let words: Vec<String> = (0..2000)
        .map(|_| {
            let letters = 3 + chance.below(8);
            (0..letters).map(|_| char::from(b'a' + u8::try_from(chance.below(26)).unwrap_or(0))).collect()
        })
        .collect();
    let mut values = Vec::new();
    let mut total = 0;
    while total < POOL {
        let (id, amount) = (chance.next(), chance.below(10_000_000));
        let mut value = format!("{id:016x}{{\"id\":{},\"amount\":{amount},\"note\":\"", id % 1_000_000_007);
        while value.len() + 2 < size {
            value.push_str(&words[chance.below(2000)]);
            value.push(' ');
        }
        value.truncate(size.saturating_sub(2));
        value.push_str("\"}");
        total += value.len();
        values.push(value.into_bytes());
    }
    values
}

/// Numbers that look random and are the same in every run (xorshift64*).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % bound.max(1)
    }
}
