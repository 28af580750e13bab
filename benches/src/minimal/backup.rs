//! The minimal backup: fetch, CRC-32C of each batch, BLAKE3, store. The next request is on the wire while an answer is
//! worked on.

use bytes::Bytes;
use clap::Args;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::batch;
use super::sink::{Sink, SinkArgs};
use super::wire::Wire;
use crate::Result;

/// The last version that names topics by name.
const VERSION: i16 = 12;

/// What is backed up, and where to.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The broker that leads all partitions.
    #[arg(long)]
    pub(crate) broker: String,
    /// The topic.
    #[arg(long)]
    pub(crate) topic: String,
    /// How many partitions it has.
    #[arg(long)]
    pub(crate) partitions: usize,
    /// Where to.
    #[command(flatten)]
    pub(crate) sink: SinkArgs,
}

/// Fetches a topic from its beginning to the high watermarks and gives the whole batches of each partition to `each`.
///
/// # Errors
/// The broker's, and those of `each`.
pub(crate) fn fetch(
    broker: &str,
    topic: &str,
    partitions: usize,
    mut each: impl FnMut(usize, &Bytes) -> Result<()>,
) -> Result<u64> {
    let mut wire = Wire::connect(broker)?;
    let mut next = vec![0_i64; partitions];
    let mut end = vec![i64::MAX; partitions];
    let mut total = 0;
    wire.send(&request(topic, &next, &end), VERSION)?;
    loop {
        let frame = wire.receive()?;
        let response = Wire::decode::<FetchRequest>(&frame, VERSION)?;
        let mut found = Vec::with_capacity(partitions);
        for data in response.responses.into_iter().flat_map(|topic| topic.partitions) {
            if data.error_code != 0 {
                return Err(
                    format!("fetch of {topic}-{}: error {}", data.partition_index, data.error_code).into()
                );
            }
            let partition = usize::try_from(data.partition_index)?;
            end[partition] = data.high_watermark;
            let Some(mut records) = data.records else { continue };
            let (size, behind) = batch::walk(&records, |_| Ok(()))?;
            records.truncate(size);
            next[partition] = behind.unwrap_or(next[partition]);
            found.push((partition, records));
        }
        let done = next.iter().zip(&end).all(|(next, end)| next >= end);
        if !done {
            wire.send(&request(topic, &next, &end), VERSION)?;
        }
        for (partition, records) in found {
            total += records.len() as u64;
            each(partition, &records)?;
        }
        wire.recycle(frame);
        if done {
            return Ok(total);
        }
    }
}

fn request(topic: &str, next: &[i64], end: &[i64]) -> FetchRequest {
    let wanted = (0_i32..).zip(next).zip(end).filter(|((_, next), end)| next < end);
    let partition = |((number, next), _): ((i32, &i64), &i64)| {
        FetchPartition::default()
            .with_partition(number)
            .with_fetch_offset(*next)
            .with_partition_max_bytes(4 << 20)
    };
    let mut partitions: Vec<_> = wanted.map(partition).collect();
    // A broker fills its answer in the order asked for: the one furthest behind comes first.
    partitions.sort_by_key(|partition| partition.fetch_offset);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(16 << 20)
        .with_isolation_level(1)
        .with_session_epoch(-1)
        .with_topics(vec![
            FetchTopic::default()
                .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
                .with_partitions(partitions),
        ])
}

/// Backs up a topic.
///
/// # Errors
/// The broker's, the store's, a wrong CRC.
pub(crate) fn run(args: &BackupArgs) -> Result<()> {
    let mut sink = Sink::new(&args.sink, &args.topic, args.partitions)?;
    fetch(&args.broker, &args.topic, args.partitions, |partition, records| {
        batch::walk(records, batch::check)?;
        sink.append(partition, records)
    })?;
    sink.finish()
}
