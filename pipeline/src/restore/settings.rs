//! What a restore does: values only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use formats::ids::{BackupId, LineageId, Topic, TopicPartition};
use serde::{Deserialize, Serialize};

use super::schemas::SchemaRules;
use crate::select::TopicSelection;
use crate::target::produce::ProduceSettings;

/// What a restore does.
#[derive(Debug, Clone)]
pub struct RestoreSettings {
    /// The backup's name: a part of the restore's identity.
    pub backup_id: BackupId,
    /// The text of whatever makes this restore this one and no other, topic patterns above all: a part of the restore's
    /// identity. The same text on every run of one restore.
    pub identity: String,
    /// Which topics of the backup, by their names there.
    pub topics: TopicSelection,
    /// The names that topics get; others keep theirs.
    pub topic_mapping: BTreeMap<Topic, Topic>,
    /// Which partitions of every topic; none: all.
    pub source_partitions: Option<BTreeSet<i32>>,
    /// The numbers that partitions get, in every topic; others keep theirs.
    pub partition_mapping: BTreeMap<i32, i32>,
    /// Which history of a partition, where it is not the current one.
    pub lineages: BTreeMap<TopicPartition, LineageId>,
    /// Whether topics that the target does not have are created.
    pub create_topics: bool,
    /// How many replicas created topics get; none: as many as in the source, at most one a broker.
    pub default_replication_factor: Option<i16>,
    /// Which records by their time, as consumers see it.
    pub window: TimeWindow,
    /// What to do with a target that holds records already.
    pub into_non_empty: NonEmpty,
    /// Whether the retention that the archive has comes into force at the end.
    pub retention: Retention,
    /// Where the restore keeps its own memory.
    pub journal: JournalPlace,
    /// Whether created topics get the archive's configs at the end.
    pub restore_topic_configs: bool,
    /// What to do with the configs of topics that exist.
    pub existing_topic_configs: ExistingConfigs,
    /// Configs that win over the archive's, for every topic.
    pub topic_config_overrides: BTreeMap<String, String>,
    /// Configs that win over those, by the topic's name in the target.
    pub topic_config_overrides_by_topic: BTreeMap<Topic, BTreeMap<String, String>>,
    /// Whether the target is read back and compared with the archive.
    pub proof: bool,
    /// Whether the report maps the offsets of what earlier runs restored, too: their part of the archive is read again.
    pub map_offsets: bool,
    /// The most bytes that are produced in a second.
    pub bytes_per_second: Option<u64>,
    /// The most records that are produced in a second.
    pub records_per_second: Option<u64>,
    /// How many partitions are restored at once.
    pub max_concurrent_partitions: usize,
    /// Produce connections to one broker; a broker serves one connection serially.
    pub connections_per_broker: usize,
    /// Bytes for all payload in flight.
    pub memory_limit: usize,
    /// How long a broker may wait for its in-sync replicas.
    pub produce_timeout: Duration,
    /// How long a partition is tried without any progress before it is given up.
    pub give_up_after: Duration,
    /// What is done with schemas; none: nothing, and records keep their ids.
    pub schemas: Option<SchemaRules>,
}

impl RestoreSettings {
    /// Everything in the backup, with the defaults.
    pub fn new(backup_id: BackupId, topics: TopicSelection, identity: impl Into<String>) -> Self {
        Self {
            backup_id,
            identity: identity.into(),
            topics,
            topic_mapping: BTreeMap::new(),
            source_partitions: None,
            partition_mapping: BTreeMap::new(),
            lineages: BTreeMap::new(),
            create_topics: true,
            default_replication_factor: None,
            window: TimeWindow::default(),
            into_non_empty: NonEmpty::Refuse,
            retention: Retention::Auto,
            journal: JournalPlace::Topic,
            restore_topic_configs: true,
            existing_topic_configs: ExistingConfigs::ValidateOnly,
            topic_config_overrides: BTreeMap::new(),
            topic_config_overrides_by_topic: BTreeMap::new(),
            proof: false,
            map_offsets: false,
            bytes_per_second: None,
            records_per_second: None,
            max_concurrent_partitions: 32,
            connections_per_broker: 1,
            memory_limit: 256 << 20,
            produce_timeout: Duration::from_secs(30),
            give_up_after: Duration::from_secs(300),
            schemas: None,
        }
    }

    pub(super) fn produce(&self) -> ProduceSettings {
        ProduceSettings {
            bytes_per_second: self.bytes_per_second,
            records_per_second: self.records_per_second,
            connections_per_broker: self.connections_per_broker,
            timeout: self.produce_timeout,
            give_up_after: self.give_up_after,
        }
    }

    /// The name that a topic of the backup gets.
    pub fn target_topic<'a>(&'a self, source: &'a Topic) -> &'a Topic {
        self.topic_mapping.get(source).unwrap_or(source)
    }

    /// The number that a partition of the backup gets.
    pub fn target_partition(&self, source: i32) -> i32 {
        self.partition_mapping.get(&source).copied().unwrap_or(source)
    }
}

/// A range of time, both ends inclusive, in milliseconds since 1970 as consumers see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimeWindow {
    /// The earliest time; none: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<i64>,
    /// The latest time; none: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<i64>,
}

impl TimeWindow {
    /// Whether it has no bound at all.
    pub fn is_open(self) -> bool {
        self == Self::default()
    }

    /// Whether a time lies inside.
    pub fn contains(self, timestamp: i64) -> bool {
        self.start.is_none_or(|start| start <= timestamp) && self.end.is_none_or(|end| timestamp <= end)
    }
}

/// What to do with a target partition that holds records already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonEmpty {
    /// Stop before anything is touched.
    Refuse,
    /// Restore behind what is there.
    Append,
}

/// Whether the retention that the archive has comes into force at the end of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retention {
    /// Yes, unless it would delete restored records at once.
    Auto,
    /// No: the restored topics keep everything until somebody sets their retention.
    Hold,
    /// Yes, whatever it deletes.
    Original,
}

/// Where a restore keeps its own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalPlace {
    /// In a compacted topic of the target cluster.
    Topic,
    /// In the backup's object store.
    Object,
}

/// What to do with the configs of topics that exist in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExistingConfigs {
    /// They get what the guard needs while the restore runs and then their own configs back.
    ValidateOnly,
    /// They get the archive's configs at the end.
    Apply,
    /// A topic whose configs differ from the archive's is refused.
    Fail,
}
