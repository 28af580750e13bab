//! librdkafka as a reference: a consumer that only counts records, and an idempotent producer of the same records.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::Offset;
use sandbox::client::config;

use crate::Result;
use crate::load::BATCH;

/// What is counted.
#[derive(Debug, Args)]
pub(crate) struct CountArgs {
    #[arg(long)]
    broker: String,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    partitions: i32,
    /// How many records must be there.
    #[arg(long)]
    records: u64,
}

/// Counts the records of a topic, with librdkafka's own defaults (it does not check CRCs then).
///
/// # Errors
/// librdkafka's; another number of records.
pub(crate) fn count(args: &CountArgs) -> Result<()> {
    let settings = [("group.id", "bench"), ("enable.auto.commit", "false"), ("enable.partition.eof", "true")];
    let consumer: BaseConsumer = config(&args.broker, &settings).create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..args.partitions {
        list.add_partition_offset(&args.topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let (mut records, mut ended) = (0, 0);
    while ended < args.partitions {
        match consumer.poll(Duration::from_secs(30)) {
            Some(Ok(_)) => records += 1,
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None => return Err("no record for 30 s".into()),
        }
    }
    match records == args.records {
        true => Ok(()),
        false => Err(format!("{records} records, not {}", args.records).into()),
    }
}

/// What is produced.
#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    #[arg(long)]
    broker: String,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    partitions: i32,
    #[arg(long)]
    codec: String,
    /// Values, each behind its length; produced again and again.
    #[arg(long)]
    values: PathBuf,
    /// How many records.
    #[arg(long)]
    records: u64,
}

/// Produces records as the topic's own producer did, acknowledged by all replicas.
///
/// # Errors
/// librdkafka's.
pub(crate) fn produce(args: &ProduceArgs) -> Result<()> {
    let file = std::fs::read(&args.values)?;
    let mut values = Vec::new();
    let mut rest = &file[..];
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (value, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        values.push(value);
        rest = behind;
    }
    let settings = [
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("compression.codec", &args.codec),
        ("batch.size", BATCH),
    ];
    let producer: BaseProducer = config(&args.broker, &settings).create()?;
    let partitions = (0..args.partitions).cycle();
    for ((_, value), partition) in (0..args.records).zip(values.iter().cycle()).zip(partitions) {
        let mut record = BaseRecord::to(&args.topic).partition(partition).key(&value[..8]).payload(*value);
        while let Err((error, back)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = back;
            producer.poll(Duration::from_millis(10));
        }
    }
    producer.flush(Duration::from_secs(120))?;
    Ok(())
}
