//! Ranges of partitions read once from end to end, whoever leads them meanwhile.
//!
//! Each broker is asked by one fetcher for all of its partitions; what is read is given batch by batch to the partition's [`Sink`], on
//! threads of their own. A partition whose leader moves goes on at its new one. It promises nothing about what lies outside of a range.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use formats::codec::Decompressor;
use formats::ids::{OffsetRange, TopicPartition};
use formats::record::Records;
use formats::record_batch::{Batches, RecordBatch};
use futures::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::kafka::{
    AbortedTransaction, Client, ErrorClass, FetchSettings, Fetcher, Isolation, Position, Topics,
};
use crate::restore::topics::needing;
use crate::{Error, ErrorKind, Result};

/// How long reading may make no progress at all.
const PATIENCE: Duration = Duration::from_secs(120);
/// The largest fetch answer that is asked for, and its share of the budget.
const FETCH: usize = 8 << 20;
const SHARE: usize = 4;
/// The most that one batch may decompress to.
pub(crate) const CAP: usize = 512 << 20;

/// Takes what is read of one partition.
pub(crate) trait Sink: Send + 'static {
    /// Aborted transactions that overlap the batches that come next.
    fn list_aborted(&mut self, _aborted: &[AbortedTransaction]) {}

    /// The next batch, its checksum verified; of its offsets only those in `keep` lie in the range.
    ///
    /// # Errors
    /// It cannot be read. Nothing more of the partition is.
    fn take(&mut self, batch: &RecordBatch<'_>, keep: OffsetRange, scratch: &mut Scratch) -> Result<()>;

    /// The batches of an answer are over, and the next may be long in coming: what codecs need in memory is let go of, so that it does not
    /// grow with the number of partitions.
    fn rest(&mut self) {}

    /// How many records it has taken.
    fn records(&self) -> u64;
}

/// What is used again from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    decompressor: Decompressor,
    bytes: Vec<u8>,
}

impl Scratch {
    /// The records of a batch.
    pub(crate) fn records<'a>(&'a mut self, batch: &RecordBatch<'a>) -> Result<Records<'a>> {
        Ok(self.decompressor.records(batch, CAP, &mut self.bytes)?)
    }
}

/// A partition that is being read.
#[derive(Debug)]
struct Reading<S> {
    next: i64,
    end: i64,
    sink: S,
}

/// What has become of partitions.
pub(crate) type Read<S> = BTreeMap<TopicPartition, Result<S>>;
type Left<S> = BTreeMap<TopicPartition, Reading<S>>;
/// What a round has come to: where a partition is now, or why it does not go on.
type Round<S> = Vec<(TopicPartition, Result<Reading<S>>)>;

/// Gives ranges of partitions to their sinks; `counter` grows with the records.
///
/// # Errors
/// Only where stopped ([`crate::ErrorKind::Interrupted`]); what is wrong with a partition is in its result.
pub(crate) async fn read<S: Sink>(
    client: &Client,
    ranges: BTreeMap<TopicPartition, (OffsetRange, S)>,
    isolation: Isolation,
    budget: &Budget,
    counter: &AtomicU64,
    stop: &CancellationToken,
) -> Result<Read<S>> {
    let mut done = Read::new();
    let reading = |(range, sink): (OffsetRange, S)| Reading { next: range.first, end: range.end, sink };
    let mut left: Left<S> = ranges.into_iter().map(|(place, range)| (place, reading(range))).collect();
    let mut progressed = Instant::now();
    loop {
        let (over, more): (Left<S>, Left<S>) =
            left.into_iter().partition(|(_, reading)| reading.next >= reading.end);
        done.extend(over.into_iter().map(|(partition, reading)| (partition, Ok(reading.sink))));
        left = more;
        if left.is_empty() {
            return Ok(done);
        }
        let before: BTreeMap<TopicPartition, i64> =
            left.iter().map(|(partition, reading)| (partition.clone(), reading.next)).collect();
        let (by_leader, waiting) = by_leader(client, left).await;
        left = waiting;
        let rounds = by_leader
            .into_iter()
            .map(|(broker, partitions)| read_from(client, broker, partitions, isolation, budget, counter));
        let results = tokio::select! {
            () = stop.cancelled() => return Err(interrupted()),
            results = join_all(rounds) => results,
        };
        let mut has_moved = false;
        for (partition, reading) in results.into_iter().flatten() {
            match reading {
                Ok(reading) => {
                    has_moved |= before.get(&partition).is_some_and(|before| reading.next > *before);
                    left.insert(partition, reading);
                }
                Err(error) => {
                    has_moved = true;
                    done.insert(partition, Err(error));
                }
            }
        }
        if has_moved {
            progressed = Instant::now();
        } else if progressed.elapsed() > PATIENCE {
            for (partition, reading) in std::mem::take(&mut left) {
                let text = format!("{partition} gave nothing at offset {} for {PATIENCE:?}", reading.next);
                let error = Error::retry(text).hint("look whether its leader is well, and run it again");
                done.insert(partition, Err(error));
            }
        } else {
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Partitions by the broker that leads them, and those that nobody does just now.
async fn by_leader<S>(client: &Client, left: Left<S>) -> (BTreeMap<i32, Left<S>>, Left<S>) {
    let mut topics: Vec<_> = left.keys().map(|partition| partition.topic.clone()).collect();
    topics.dedup();
    let metadata = match client.refresh(Topics::Named(&topics)).await {
        Ok(metadata) => metadata,
        Err(error) => {
            tracing::warn!(%error, "no fresh metadata");
            client.metadata()
        }
    };
    let (mut by_leader, mut waiting) = (BTreeMap::<i32, Left<S>>::new(), Left::new());
    for (partition, reading) in left {
        let led = match metadata.leader(&partition.topic, partition.partition) {
            Some((leader, _)) => by_leader.entry(leader).or_default(),
            None => &mut waiting,
        };
        led.insert(partition, reading);
    }
    (by_leader, waiting)
}

/// Reads partitions from one broker until they are done, or it is not their leader any more.
async fn read_from<S: Sink>(
    client: &Client,
    broker: i32,
    mut partitions: Left<S>,
    isolation: Isolation,
    budget: &Budget,
    counter: &AtomicU64,
) -> Round<S> {
    let max_bytes = i32::try_from((budget.limit() / SHARE).min(FETCH)).unwrap_or(i32::MAX);
    let settings =
        FetchSettings { isolation, max_bytes, partition_max_bytes: max_bytes, ..FetchSettings::default() };
    let mut fetcher = Fetcher::new(client.clone(), broker, settings, budget.clone());
    let metadata = client.metadata();
    for (partition, reading) in &partitions {
        let id = metadata.topic_id(&partition.topic).unwrap_or_default();
        fetcher.add(partition.clone(), id, Position::at(reading.next));
    }
    let mut round = Round::<S>::new();
    let mut idle = Instant::now();
    while !partitions.is_empty() {
        let outcome = match fetcher.receive().await {
            Ok(outcome) => outcome,
            Err(error) => {
                let kept = |reading| match error.is_retriable() {
                    true => Ok(reading),
                    false => Err(Error::new(error.kind(), error.message().to_owned())),
                };
                round.extend(partitions.into_iter().map(|(partition, reading)| (partition, kept(reading))));
                return round;
            }
        };
        for fetched in outcome.partitions {
            let partition = fetched.partition;
            let Some(mut reading) = partitions.remove(&partition) else { continue };
            if let Some(code) = fetched.error {
                fetcher.remove(&partition);
                let topic = format!("topic {}", partition.topic);
                let error = code.to_error(format!("reading {partition}"), None);
                let error = needing(error, "READ", &topic);
                round.push((
                    partition,
                    if code.class() == ErrorClass::Fatal { Err(error) } else { Ok(reading) },
                ));
                continue;
            }
            let records = fetched.records.unwrap_or_default();
            let (aborted, before, from) = (fetched.aborted, reading.sink.records(), reading.next);
            let read = tokio::task::spawn_blocking(move || {
                reading.sink.list_aborted(&aborted);
                let result = give(&mut reading, &records);
                reading.sink.rest();
                (reading, result)
            });
            let (reading, result) = match read.await {
                Ok(read) => read,
                Err(error) => {
                    fetcher.remove(&partition);
                    let error = Error::permanent("the decode stage panicked").caused_by(error);
                    round.push((partition.clone(), Err(error.at(format!("reading {partition}")))));
                    continue;
                }
            };
            counter.fetch_add(reading.sink.records() - before, Relaxed);
            if reading.next > from {
                idle = Instant::now();
            }
            match result {
                Err(error) => {
                    fetcher.remove(&partition);
                    let error = error.at(format!("reading {partition}"));
                    round.push((partition, Err(error)));
                }
                Ok(()) if reading.next >= reading.end => {
                    fetcher.remove(&partition);
                    round.push((partition, Ok(reading)));
                }
                Ok(()) => {
                    fetcher.seek(&partition, Position::at(reading.next));
                    partitions.insert(partition, reading);
                }
            }
        }
        // Only now: what was long in coming is taken all the same.
        if idle.elapsed() > PATIENCE / 4 {
            break;
        }
    }
    round.extend(partitions.into_iter().map(|(partition, reading)| (partition, Ok(reading))));
    round
}

/// Gives the batches of an answer to the partition's sink.
fn give<S: Sink>(reading: &mut Reading<S>, records: &Bytes) -> Result<()> {
    let mut scratch = Scratch::default();
    for batch in Batches::new(records) {
        let batch = batch?;
        if batch.next_offset() <= reading.next {
            continue;
        }
        if batch.base_offset() >= reading.end {
            // What lay between is gone: a cleaner took it, and producers have written behind the range since.
            reading.next = reading.end;
            break;
        }
        batch.verify_crc()?;
        let end = batch.next_offset().min(reading.end);
        reading.sink.take(
            &batch,
            OffsetRange::new(batch.base_offset().max(reading.next), end),
            &mut scratch,
        )?;
        reading.next = end;
    }
    Ok(())
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "it was stopped while partitions were read")
        .hint("run it again to go on")
}
