//! The model: brokers, topics with ids, leaders with epochs, and what clients have asked. What tests look at and change.
//!
//! No I/O. Every change takes effect at once and between two answers, never within one.

use super::batch::Batch;
use super::faults::Faults;
use super::fetch_session::Sessions;
use super::log::Log;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A broker.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// Whether it takes connections.
    pub is_up: bool,
    /// Whether it says nothing and reads nothing, as a machine that was cut off from the network: connections to it are
    /// neither closed nor answered.
    pub is_frozen: bool,
}

/// A partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Who leads it.
    pub leader: Option<i32>,
    /// The number of that leadership.
    pub leader_epoch: i32,
    /// Who holds it. All of them hold the same.
    pub replicas: Vec<i32>,
    /// What it holds.
    pub log: Log,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its id, another one each time it is made.
    pub id: Uuid,
    /// Its own configs.
    pub configs: BTreeMap<String, String>,
    /// Its partitions by number.
    pub partitions: Vec<Partition>,
}

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Its id.
    pub id: String,
    /// Its brokers by number.
    pub brokers: BTreeMap<i32, Broker>,
    /// Its topics by name.
    pub topics: BTreeMap<String, Topic>,
    /// The newest version of Fetch that is offered; 12 and less know no topic ids.
    pub max_fetch_version: i16,
    /// The fetch sessions that each broker has.
    pub sessions: Sessions,
    /// What goes wrong, and when.
    pub faults: Faults,
    /// How many requests came, by API key.
    pub requests: BTreeMap<i16, u64>,
    /// What clients did that no client may do.
    pub violations: Vec<String>,
    /// How often anything changed, so that a fetch that waits knows when to look again.
    pub(super) changes: u64,
    names: BTreeMap<Uuid, String>,
    made: u64,
}

impl Cluster {
    pub(super) fn new(id: &str, ports: &[u16]) -> Self {
        let broker = |port: &u16| Broker { port: *port, is_up: true, is_frozen: false };
        Self {
            id: id.to_owned(),
            brokers: (1..).zip(ports.iter().map(broker)).collect(),
            topics: BTreeMap::new(),
            max_fetch_version: 17,
            sessions: Sessions::default(),
            faults: Faults::default(),
            requests: BTreeMap::new(),
            violations: Vec::new(),
            changes: 0,
            names: BTreeMap::new(),
            made: 0,
        }
    }

    /// Makes a topic, its partitions led by the brokers in turn and held by all of them.
    ///
    /// # Panics
    /// When it is there already.
    pub fn create_topic(&mut self, name: &str, partitions: usize, configs: &[(&str, &str)]) {
        let brokers: Vec<i32> = self.brokers.keys().copied().collect();
        self.made += 1;
        let id = Uuid::from_u64_pair(0x7e57 << 32, self.made);
        let partition = |number: usize| {
            let mut replicas = brokers.clone();
            replicas.rotate_left(number % brokers.len());
            let mut log = Log::default();
            log.begin_epoch(0);
            Partition { leader: replicas.first().copied(), leader_epoch: 0, replicas, log }
        };
        let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let topic = Topic { id, configs, partitions: (0..partitions).map(partition).collect() };
        assert!(self.topics.insert(name.to_owned(), topic).is_none(), "topic {name} is there already");
        self.names.insert(id, name.to_owned());
    }

    /// Deletes a topic.
    ///
    /// # Panics
    /// When it is not there.
    pub fn delete_topic(&mut self, name: &str) {
        let topic = self.topics.remove(name).unwrap_or_else(|| panic!("topic {name} is not there"));
        self.names.remove(&topic.id);
    }

    /// The name of the topic with this id.
    pub fn name_of(&self, id: Uuid) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// A partition, where it is.
    pub fn find(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    /// A partition, to be changed.
    ///
    /// # Panics
    /// When it is not there.
    pub fn partition(&mut self, topic: &str, partition: i32) -> &mut Partition {
        let number = usize::try_from(partition).ok();
        let found = self.topics.get_mut(topic).and_then(|found| found.partitions.get_mut(number?));
        found.unwrap_or_else(|| panic!("partition {topic}-{partition} is not there"))
    }

    /// Appends a batch under the present leader's epoch, and tells its first offset.
    ///
    /// # Panics
    /// When the partition is not there.
    pub fn append(&mut self, topic: &str, partition: i32, batch: Batch) -> i64 {
        let partition = self.partition(topic, partition);
        partition.log.append(partition.leader_epoch, batch)
    }

    /// Gives a partition another leader (one of its replicas), or none.
    ///
    /// # Panics
    /// When the partition is not there, or is not held by that broker.
    pub fn move_leader(&mut self, topic: &str, partition: i32, leader: Option<i32>) {
        let found = self.partition(topic, partition);
        assert!(
            leader.is_none_or(|leader| found.replicas.contains(&leader)),
            "{leader:?} holds no replica of {topic}-{partition}"
        );
        found.leader = leader;
        found.leader_epoch += 1;
        if leader.is_some() {
            found.log.begin_epoch(found.leader_epoch);
        }
    }

    /// An unclean election: a replica that is behind takes over, and what lies from `end` on is lost.
    ///
    /// # Panics
    /// As [`Cluster::move_leader`].
    pub fn elect_unclean(&mut self, topic: &str, partition: i32, leader: i32, end: i64) {
        self.partition(topic, partition).log.truncate(end);
        self.move_leader(topic, partition, Some(leader));
    }

    /// Why a broker does not answer for a partition to one who believes in a leader epoch (-1: in none), as Kafka checks
    /// it: the epoch first, the leader then. `as_leader`: whether a follower must refuse.
    pub(super) fn refusal(
        &self,
        broker: i32,
        topic: &str,
        partition: i32,
        epoch: i32,
        as_leader: bool,
    ) -> Option<i16> {
        let Some(found) = self.find(topic, partition) else { return Some(super::UNKNOWN_TOPIC_OR_PARTITION) };
        if !found.replicas.contains(&broker) {
            return Some(super::NOT_LEADER_OR_FOLLOWER);
        }
        if epoch >= 0 && epoch < found.leader_epoch {
            return Some(super::FENCED_LEADER_EPOCH);
        }
        if epoch > found.leader_epoch {
            return Some(super::UNKNOWN_LEADER_EPOCH);
        }
        (as_leader && found.leader != Some(broker)).then_some(super::NOT_LEADER_OR_FOLLOWER)
    }
}
