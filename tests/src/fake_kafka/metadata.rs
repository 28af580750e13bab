//! Metadata (API key 3): brokers, topics, leaders. Never makes a topic.

use super::cluster::{Cluster, Topic};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

/// "Not asked for", where a client may ask for its rights.
const NO_OPERATIONS: i32 = i32::MIN;

pub(super) fn answer(cluster: &Cluster, request: &MetadataRequest, version: i16) -> MetadataResponse {
    let up = cluster.brokers.iter().filter(|(_, broker)| broker.is_up);
    let brokers: Vec<_> = up
        .map(|(id, broker)| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(*id))
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(i32::from(broker.port))
        })
        .collect();
    let topics = match &request.topics {
        // Before version 1 no list and an empty one were the same.
        Some(asked) if !(version == 0 && asked.is_empty()) => asked
            .iter()
            .map(|asked| match &asked.name {
                Some(name) => by_name(cluster, name.as_str()),
                None => match cluster.name_of(asked.topic_id) {
                    Some(name) => by_name(cluster, name),
                    None => unknown(None, super::UNKNOWN_TOPIC_ID).with_topic_id(asked.topic_id),
                },
            })
            .collect(),
        _ => cluster.topics.iter().map(|(name, topic)| describe(cluster, name, topic)).collect(),
    };
    MetadataResponse::default()
        .with_controller_id(brokers.first().map_or(BrokerId(-1), |broker| broker.node_id))
        .with_brokers(brokers)
        .with_cluster_id(Some(StrBytes::from_string(cluster.id.clone())))
        .with_topics(topics)
        .with_cluster_authorized_operations(NO_OPERATIONS)
}

fn by_name(cluster: &Cluster, name: &str) -> MetadataResponseTopic {
    match cluster.topics.get(name) {
        Some(topic) => describe(cluster, name, topic),
        None if is_legal(name) => unknown(Some(name), super::UNKNOWN_TOPIC_OR_PARTITION),
        None => unknown(Some(name), super::INVALID_TOPIC_EXCEPTION),
    }
}

fn is_legal(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.chars().all(legal)
}

fn unknown(name: Option<&str>, code: i16) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(code)
        .with_name(name.map(wire_name))
        .with_topic_authorized_operations(NO_OPERATIONS)
}

fn describe(cluster: &Cluster, name: &str, topic: &Topic) -> MetadataResponseTopic {
    let is_up = |broker: &i32| cluster.brokers.get(broker).is_some_and(|broker| broker.is_up);
    let partitions = (0..).zip(&topic.partitions).map(|(number, partition)| {
        let ids = |of: &mut dyn Iterator<Item = &i32>| of.map(|id| BrokerId(*id)).collect::<Vec<_>>();
        let leader = partition.leader.filter(is_up);
        MetadataResponsePartition::default()
            .with_error_code(if leader.is_some() { 0 } else { super::LEADER_NOT_AVAILABLE })
            .with_partition_index(number)
            .with_leader_id(BrokerId(leader.unwrap_or(-1)))
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(ids(&mut partition.replicas.iter()))
            .with_isr_nodes(ids(&mut partition.replicas.iter().filter(|id| is_up(id))))
            .with_offline_replicas(ids(&mut partition.replicas.iter().filter(|id| !is_up(id))))
    });
    MetadataResponseTopic::default()
        .with_name(Some(wire_name(name)))
        .with_topic_id(topic.id)
        .with_is_internal(name == "__consumer_offsets" || name == "__transaction_state")
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(NO_OPERATIONS)
}

fn wire_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
