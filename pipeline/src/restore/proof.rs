//! Proof: the target read back, every record digested, to be compared with the archive's digest; and what the last batch of
//! a partition says about who wrote it.
//!
//! Reads what any consumer could read (read_uncommitted: a restore writes no transactions) from each partition's start to
//! the end that was acknowledged. Whatever else lies behind the end is not looked at.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use formats::digest::ContentDigest;
use formats::ids::{OffsetRange, TopicPartition};
use formats::record_batch::RecordBatch;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::budget::Budget;
use crate::kafka::{Client, Isolation};
use crate::ranges::{self, Read, Scratch, Sink};

/// Where a batch lies, and as whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) base_offset: i64,
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    pub(crate) base_sequence: i32,
}

/// What was read of a partition.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReadBack {
    pub(crate) digest: ContentDigest,
    /// The last batch of the range; none where nothing was read.
    pub(crate) last: Option<Written>,
}

/// The content digests of ranges of partitions; `counter` grows with the records.
///
/// # Errors
/// Only where stopped; what is wrong with a partition is in its result.
pub(crate) async fn read_back(
    client: &Client,
    ranges: &BTreeMap<TopicPartition, OffsetRange>,
    budget: &Budget,
    counter: &AtomicU64,
    stop: &CancellationToken,
) -> Result<Read<ReadBack>> {
    let ranges = ranges.iter().map(|(place, range)| (place.clone(), (*range, ReadBack::default())));
    ranges::read(client, ranges.collect(), Isolation::ReadUncommitted, budget, counter, stop).await
}

impl Sink for ReadBack {
    fn take(&mut self, batch: &RecordBatch<'_>, keep: OffsetRange, scratch: &mut Scratch) -> Result<()> {
        self.last = Some(Written {
            base_offset: batch.base_offset(),
            producer: batch.producer_id(),
            epoch: batch.producer_epoch(),
            base_sequence: batch.base_sequence(),
        });
        if batch.attributes().control() {
            return Ok(());
        }
        for record in scratch.records(batch)? {
            let record = record?;
            if keep.contains(batch.base_offset() + i64::from(record.offset_delta)) {
                self.digest.push_record(batch.effective_timestamp(record.timestamp_delta), &record);
            }
        }
        Ok(())
    }

    fn records(&self) -> u64 {
        self.digest.records()
    }
}
