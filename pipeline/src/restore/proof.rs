//! Proof: the target read back, every record digested, to be compared with the archive's digest; and what the last batch of
//! a partition says about who wrote it.
//!
//! Reads what any consumer could read (read_uncommitted: a restore writes no transactions) from each partition's start to
//! the end that was acknowledged. Whatever else lies behind the end is not looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use formats::codec::Decompressor;
use formats::digest::ContentDigest;
use formats::ids::{OffsetRange, TopicPartition};
use formats::record_batch::Batches;
use futures::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::progress::RestoreProgress;
use super::topics::needing;
use crate::budget::Budget;
use crate::kafka::{Client, ErrorClass, FetchSettings, Fetcher, Isolation, Position, Topics};
use crate::{Error, Result};

/// The most that one batch may decompress to.
const CAP: usize = 512 << 20;
/// How long reading may make no progress at all.
const PATIENCE: Duration = Duration::from_secs(120);
/// The largest fetch answer that is asked for, and its share of the budget.
const FETCH: usize = 8 << 20;
const SHARE: usize = 4;

/// A partition that is being read.
#[derive(Debug, Clone)]
struct Reading {
    next: i64,
    end: i64,
    digest: ContentDigest,
    last: Option<Written>,
}

/// Where a batch lies, and as whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) base_offset: i64,
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    pub(crate) base_sequence: i32,
}

/// What was read of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadBack {
    pub(crate) digest: ContentDigest,
    /// The last batch of the range; none where nothing was read.
    pub(crate) last: Option<Written>,
}

/// The content digests of ranges of partitions.
///
/// # Errors
/// Only where stopped; what is wrong with a partition is in its result.
pub(crate) async fn read_back(
    client: &Client,
    ranges: &BTreeMap<TopicPartition, OffsetRange>,
    budget: &Budget,
    progress: &Arc<RestoreProgress>,
    stop: &CancellationToken,
) -> Result<BTreeMap<TopicPartition, Result<ReadBack>>> {
    let mut done = BTreeMap::new();
    let mut left: BTreeMap<TopicPartition, Reading> = BTreeMap::new();
    for (partition, range) in ranges {
        let reading = Reading { next: range.first, end: range.end, digest: ContentDigest::EMPTY, last: None };
        left.insert(partition.clone(), reading);
    }
    let mut progressed = Instant::now();
    loop {
        left.retain(|partition, reading| {
            let over = reading.next >= reading.end;
            if over {
                done.insert(partition.clone(), Ok(ReadBack { digest: reading.digest, last: reading.last }));
            }
            !over
        });
        if left.is_empty() {
            return Ok(done);
        }
        let before: i64 = left.values().map(|reading| reading.next).sum();
        let round = by_leader(client, &left).await;
        let rounds = round
            .into_iter()
            .map(|(broker, partitions)| read_from(client, broker, partitions, budget, progress));
        let results = tokio::select! {
            () = stop.cancelled() => return Err(super::interrupted()),
            results = join_all(rounds) => results,
        };
        for (partition, reading, error) in results.into_iter().flatten() {
            match error {
                Some(error) if !error.is_retriable() => {
                    left.remove(&partition);
                    done.insert(partition, Err(error));
                }
                _ => {
                    left.insert(partition, reading);
                }
            }
        }
        if left.values().map(|reading| reading.next).sum::<i64>() > before {
            progressed = Instant::now();
        } else if progressed.elapsed() > PATIENCE {
            for (partition, reading) in std::mem::take(&mut left) {
                let text = format!("{partition} gave nothing at offset {} for {PATIENCE:?}", reading.next);
                done.insert(partition, Err(Error::retry(text)));
            }
        } else {
            sleep(Duration::from_millis(200)).await;
        }
    }
}

type ByLeader = BTreeMap<i32, BTreeMap<TopicPartition, Reading>>;

async fn by_leader(client: &Client, left: &BTreeMap<TopicPartition, Reading>) -> ByLeader {
    let mut topics: Vec<_> = left.keys().map(|partition| partition.topic.clone()).collect();
    topics.dedup();
    let metadata = match client.refresh(Topics::Named(&topics)).await {
        Ok(metadata) => metadata,
        Err(error) => {
            tracing::warn!(%error, "no fresh metadata");
            client.metadata()
        }
    };
    let mut by_leader = ByLeader::new();
    for (partition, reading) in left {
        if let Some((leader, _)) = metadata.leader(&partition.topic, partition.partition) {
            by_leader.entry(leader).or_default().insert(partition.clone(), reading.clone());
        }
    }
    by_leader
}

type Round = Vec<(TopicPartition, Reading, Option<Error>)>;

/// Reads partitions from one broker until they are done, or it is not their leader any more.
async fn read_from(
    client: &Client,
    broker: i32,
    mut partitions: BTreeMap<TopicPartition, Reading>,
    budget: &Budget,
    progress: &Arc<RestoreProgress>,
) -> Round {
    let max_bytes = i32::try_from((budget.limit() / SHARE).min(FETCH)).unwrap_or(i32::MAX);
    let settings = FetchSettings {
        isolation: Isolation::ReadUncommitted,
        max_bytes,
        partition_max_bytes: max_bytes,
        ..FetchSettings::default()
    };
    let mut fetcher = Fetcher::new(client.clone(), broker, settings, budget.clone());
    let metadata = client.metadata();
    for (partition, reading) in &partitions {
        let id = metadata.topic_id(&partition.topic).unwrap_or_default();
        fetcher.add(partition.clone(), id, Position::at(reading.next));
    }
    let mut round = Round::new();
    let mut idle = Instant::now();
    while !partitions.is_empty() {
        let outcome = match fetcher.receive().await {
            Ok(outcome) => outcome,
            Err(error) => {
                let kind = error.kind();
                let failed = |(partition, reading)| {
                    (partition, reading, Some(Error::new(kind, error.message().to_owned())))
                };
                round.extend(partitions.into_iter().map(failed));
                return round;
            }
        };
        if outcome.partitions.is_empty() && idle.elapsed() > PATIENCE / 4 {
            break;
        }
        for fetched in outcome.partitions {
            let partition = fetched.partition;
            let Some(mut reading) = partitions.remove(&partition) else { continue };
            if let Some(code) = fetched.error {
                fetcher.remove(&partition);
                let topic = format!("topic {}", partition.topic);
                let error = code.to_error(format!("reading back {partition}"), None);
                let mut error = needing(error, "READ", &topic);
                if code.class() != ErrorClass::Fatal {
                    error = Error::retry(error.message());
                }
                round.push((partition, reading, Some(error)));
                continue;
            }
            let records = fetched.records.unwrap_or_default();
            let before = reading.digest.records();
            let read = tokio::task::spawn_blocking(move || {
                let result = digest(&mut reading, &records);
                (reading, result)
            });
            let (reading, result) = match read.await {
                Ok(read) => read,
                Err(_) => break,
            };
            RestoreProgress::add(&progress.records_proven, reading.digest.records() - before);
            idle = Instant::now();
            match result {
                Err(error) => {
                    fetcher.remove(&partition);
                    let error = error.at(format!("reading back {partition}"));
                    round.push((partition, reading, Some(error)));
                }
                Ok(()) if reading.next >= reading.end => {
                    fetcher.remove(&partition);
                    round.push((partition, reading, None));
                }
                Ok(()) => {
                    fetcher.seek(&partition, Position::at(reading.next));
                    partitions.insert(partition, reading);
                }
            }
        }
    }
    round.extend(partitions.into_iter().map(|(partition, reading)| (partition, reading, None)));
    round
}

fn digest(reading: &mut Reading, records: &Bytes) -> Result<()> {
    let (mut decompressor, mut scratch) = (Decompressor::new(), Vec::new());
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
        reading.last = Some(Written {
            base_offset: batch.base_offset(),
            producer: batch.producer_id(),
            epoch: batch.producer_epoch(),
            base_sequence: batch.base_sequence(),
        });
        if !batch.attributes().control() {
            for record in decompressor.records(&batch, CAP, &mut scratch)? {
                let record = record?;
                let offset = batch.base_offset() + i64::from(record.offset_delta);
                if reading.next <= offset && offset < reading.end {
                    reading.digest.push_record(batch.effective_timestamp(record.timestamp_delta), &record);
                }
            }
        }
        reading.next = batch.next_offset().min(reading.end);
    }
    Ok(())
}
