//! What is known of a cluster: brokers, topics, leaders. Values only; asking is the client's business.

use std::collections::BTreeMap;

use formats::ids::{Topic, TopicId, TopicPartition};
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use tokio::time::Instant;

use super::config::HostPort;
use super::error::KafkaErrorCode;
use crate::{Error, Result};

/// Which topics to ask for.
#[derive(Debug, Clone, Copy)]
pub enum Topics<'a> {
    /// All that this client may describe.
    All,
    /// These only.
    Named(&'a [Topic]),
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Where clients reach it.
    pub address: HostPort,
    /// The rack that it says it is in.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Debug, Clone)]
pub struct TopicMetadata {
    /// Its name.
    pub name: Topic,
    /// Its id; all zero where the broker gives none.
    pub id: TopicId,
    /// Whether it belongs to Kafka itself.
    pub is_internal: bool,
    /// Why nothing more is known of it.
    pub error: Option<KafkaErrorCode>,
    /// Its partitions by number.
    pub partitions: BTreeMap<i32, PartitionMetadata>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The broker that leads it; none during an election, or with its replicas down.
    pub leader: Option<i32>,
    /// The number of that leadership, -1 where unknown.
    pub leader_epoch: i32,
    /// The brokers that hold a replica, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub in_sync: Vec<i32>,
    /// Those of them that are down.
    pub offline: Vec<i32>,
    /// Why it cannot be used as it is.
    pub error: Option<KafkaErrorCode>,
}

/// What is known of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterMetadata {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The broker that takes controller requests. On KRaft any broker, which passes them on.
    pub controller: Option<i32>,
    /// The brokers that are up, by id.
    pub brokers: BTreeMap<i32, Broker>,
    /// The topics that were asked for up to now.
    pub topics: BTreeMap<Topic, TopicMetadata>,
    /// When the last answer came.
    pub fetched_at: Instant,
}

impl ClusterMetadata {
    /// Knows nothing.
    pub(super) fn empty() -> Self {
        Self {
            cluster_id: None,
            controller: None,
            brokers: BTreeMap::new(),
            topics: BTreeMap::new(),
            fetched_at: Instant::now(),
        }
    }

    /// The leader of a partition and its leader epoch (-1 where unknown).
    pub fn leader(&self, topic: &Topic, partition: i32) -> Option<(i32, i32)> {
        let partition = self.partition(topic, partition)?;
        Some((partition.leader?, partition.leader_epoch))
    }

    /// What is known of a partition.
    pub fn partition(&self, topic: &Topic, partition: i32) -> Option<&PartitionMetadata> {
        self.topics.get(topic)?.partitions.get(&partition)
    }

    /// The id of a topic; none where there is none.
    pub fn topic_id(&self, topic: &Topic) -> Option<TopicId> {
        self.topics.get(topic).map(|topic| topic.id).filter(|id| *id != TopicId::default())
    }

    /// All partitions of the topics known, in order.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.topics.values().flat_map(|topic| {
            topic.partitions.keys().map(|partition| TopicPartition::new(topic.name.clone(), *partition))
        })
    }

    /// What is known after an answer. An answer about all topics replaces what was known, one about some is merged.
    ///
    /// # Errors
    /// The answer makes no sense: no brokers, an illegal name or address, a negative partition.
    pub(super) fn after(&self, response: MetadataResponse, asked: Topics<'_>) -> Result<Self> {
        let mut next = Self::empty();
        next.cluster_id = response.cluster_id.map(|id| id.to_string());
        next.controller = Some(response.controller_id.0).filter(|id| *id >= 0);
        for broker in &response.brokers {
            let id = broker.node_id.0;
            let port = u16::try_from(broker.port).ok().filter(|port| *port != 0);
            let (false, Some(port)) = (broker.host.is_empty() || id < 0, port) else {
                let (host, port) = (&broker.host, broker.port);
                return Err(Error::permanent(format!(
                    "the metadata list broker {id} at {host:?} port {port}"
                )));
            };
            let address = HostPort::new(broker.host.to_string(), port);
            next.brokers
                .insert(id, Broker { id, address, rack: broker.rack.as_ref().map(ToString::to_string) });
        }
        if next.brokers.is_empty() {
            return Err(Error::retry("the metadata list no brokers"));
        }
        if let Topics::Named(names) = asked {
            next.topics = self.topics.clone();
            for name in names {
                next.topics.remove(name);
            }
        }
        for topic in response.topics {
            let topic = self.read_topic(topic)?;
            next.topics.insert(topic.name.clone(), topic);
        }
        Ok(next)
    }

    fn read_topic(&self, topic: MetadataResponseTopic) -> Result<TopicMetadata> {
        let name = topic.name.as_ref().map_or("", |name| name.as_str());
        let name = Topic::new(name).map_err(|error| Error::from(error).at("the metadata list a topic"))?;
        let id = TopicId(topic.topic_id);
        let known = self.topics.get(&name).filter(|known| known.id == id);
        let mut partitions = BTreeMap::new();
        for partition in topic.partitions {
            let number = partition.partition_index;
            if number < 0 {
                return Err(Error::permanent(format!(
                    "the metadata list partition {number} of topic {name}"
                )));
            }
            let mut read = read_partition(&partition);
            // A broker that lags must not lead us back to an older leader (KIP-320).
            let known = known.and_then(|known| known.partitions.get(&number));
            if let Some(newer) = known.filter(|known| (0..known.leader_epoch).contains(&read.leader_epoch)) {
                read.leader = newer.leader;
                read.leader_epoch = newer.leader_epoch;
            }
            partitions.insert(number, read);
        }
        let error = KafkaErrorCode::check(topic.error_code);
        Ok(TopicMetadata { name, id, is_internal: topic.is_internal, error, partitions })
    }
}

fn read_partition(partition: &MetadataResponsePartition) -> PartitionMetadata {
    let ids = |nodes: &[kafka_protocol::messages::BrokerId]| nodes.iter().map(|node| node.0).collect();
    PartitionMetadata {
        leader: Some(partition.leader_id.0).filter(|leader| *leader >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: ids(&partition.replica_nodes),
        in_sync: ids(&partition.isr_nodes),
        offline: ids(&partition.offline_replicas),
        error: KafkaErrorCode::check(partition.error_code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
    use kafka_protocol::messages::{BrokerId, TopicName};
    use kafka_protocol::protocol::StrBytes;

    fn response(topics: &[(&'static str, i32, i32)]) -> MetadataResponse {
        let broker = MetadataResponseBroker::default().with_host(StrBytes::from_static_str("h")).with_port(1);
        let topics = topics.iter().map(|(name, leader, epoch)| {
            let partition = MetadataResponsePartition::default()
                .with_leader_id(BrokerId(*leader))
                .with_leader_epoch(*epoch);
            let name = TopicName(StrBytes::from_static_str(name));
            MetadataResponseTopic::default().with_name(Some(name)).with_partitions(vec![partition])
        });
        MetadataResponse::default().with_brokers(vec![broker]).with_topics(topics.collect())
    }

    #[test]
    fn a_lagging_broker_does_not_bring_back_an_older_leader() {
        let topic = Topic::new("t").expect("legal");
        let known = ClusterMetadata::empty().after(response(&[("t", 2, 5)]), Topics::All).expect("good");
        let stale = known.after(response(&[("t", 1, 4)]), Topics::All).expect("good");
        assert_eq!(stale.leader(&topic, 0), Some((2, 5)));
        let newer = stale.after(response(&[("t", -1, 6)]), Topics::All).expect("good");
        assert_eq!(newer.leader(&topic, 0), None);
    }

    #[test]
    fn an_answer_about_some_topics_keeps_the_others_and_one_about_all_does_not() {
        let (a, b) = (Topic::new("a").expect("legal"), Topic::new("b").expect("legal"));
        let both =
            ClusterMetadata::empty().after(response(&[("a", 1, 1), ("b", 1, 1)]), Topics::All).expect("good");
        let gone = both.after(response(&[]), Topics::Named(std::slice::from_ref(&a))).expect("good");
        assert!(!gone.topics.contains_key(&a) && gone.topics.contains_key(&b));
        assert!(both.after(response(&[]), Topics::All).expect("good").topics.is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        let empty = ClusterMetadata::empty();
        assert!(
            empty.after(MetadataResponse::default(), Topics::All).expect_err("no brokers").is_retriable()
        );
        assert!(empty.after(response(&[("a/b", 1, 1)]), Topics::All).is_err());
        let mut odd = response(&[]);
        odd.brokers[0].port = 70_000;
        assert!(empty.after(odd, Topics::All).expect_err("port").message().contains("70000"));
    }
}
