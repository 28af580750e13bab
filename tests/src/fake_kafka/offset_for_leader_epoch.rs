//! OffsetForLeaderEpoch (API key 23): where a leader epoch ended.

use super::cluster::Cluster;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

pub(super) fn answer(
    cluster: &Cluster,
    broker: i32,
    request: &OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let nothing = EpochEndOffset::default()
                .with_partition(asked.partition)
                .with_leader_epoch(-1)
                .with_end_offset(-1);
            let refusal =
                cluster.refusal(broker, &topic.topic, asked.partition, asked.current_leader_epoch, true);
            if let Some(code) = refusal {
                return nothing.with_error_code(code);
            }
            let log = cluster.find(&topic.topic, asked.partition).map(|partition| &partition.log);
            match log.and_then(|log| log.epochs().end_of(asked.leader_epoch, log.end())) {
                Some((epoch, end)) => nothing.with_leader_epoch(epoch).with_end_offset(end),
                None => nothing,
            }
        });
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}
