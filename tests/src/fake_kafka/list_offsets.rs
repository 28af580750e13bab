//! ListOffsets (API key 2): offsets by place and by time.

use super::cluster::{Cluster, Partition};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use std::collections::BTreeSet;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;

pub(super) fn answer(
    cluster: &Cluster,
    broker: i32,
    request: &ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let place = (topic.name.to_string(), partition.partition_index);
            if !seen.insert(place.clone()) {
                twice.insert(place);
            }
        }
    }
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let number = asked.partition_index;
            let nothing = ListOffsetsPartitionResponse::default()
                .with_partition_index(number)
                .with_offset(-1)
                .with_timestamp(-1)
                .with_leader_epoch(-1);
            if twice.contains(&(topic.name.to_string(), number)) {
                return nothing.with_error_code(super::INVALID_REQUEST);
            }
            let refusal = cluster.refusal(broker, &topic.name, number, asked.current_leader_epoch, true);
            if let Some(code) = refusal {
                return nothing.with_error_code(code);
            }
            let Some(partition) = cluster.find(&topic.name, number) else {
                return nothing.with_error_code(super::UNKNOWN_TOPIC_OR_PARTITION);
            };
            match find(partition, asked.timestamp, request.isolation_level == 1, version) {
                Err(code) => nothing.with_error_code(code),
                Ok(None) => nothing,
                Ok(Some((offset, timestamp, epoch))) => {
                    nothing.with_offset(offset).with_timestamp(timestamp).with_leader_epoch(epoch)
                }
            }
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

type Found = Result<Option<(i64, i64, i32)>, i16>;

fn find(partition: &Partition, timestamp: i64, committed: bool, version: i16) -> Found {
    let log = &partition.log;
    let upper = if committed { log.last_stable_offset() } else { log.high_watermark() };
    match timestamp {
        LATEST => Ok(Some((upper, -1, partition.leader_epoch))),
        EARLIEST => Ok(Some((log.start(), -1, log.epochs().at(log.start()).unwrap_or(-1)))),
        MAX_TIMESTAMP if version >= 7 => Ok(log.at_max_time(upper)),
        time if time >= 0 => Ok(log.at_time(time, upper)),
        _ => Err(super::UNSUPPORTED_VERSION),
    }
}
