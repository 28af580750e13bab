//! `cluster/<seq>-<incarnation>.json`: the source cluster's topics with their settings, a plain JSON document.
//!
//! A commit names it with its BLAKE3. A new one is written only when something changed, so the same cluster gives the
//! same bytes: nothing in it tells the time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::{Topic, TopicId};
use crate::{Error, Result};

/// The value of `format`.
pub const CLUSTER_FORMAT: &str = "replevin.cluster";
/// The newest version that this build writes and reads.
pub const CLUSTER_VERSION: u32 = 1;

/// A cluster's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterSnapshot {
    /// [`CLUSTER_FORMAT`].
    pub format: String,
    /// The document's version.
    pub version: u32,
    /// The cluster's own name for itself.
    pub cluster_id: String,
    /// The topics that the backup takes, by name.
    pub topics: Vec<TopicSnapshot>,
    /// Members that this build does not know, kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A topic's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicSnapshot {
    /// The topic.
    pub topic: Topic,
    /// Kafka's id of it; zero where the broker gave none.
    pub topic_id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many replicas each of them has.
    pub replication_factor: i16,
    /// Whether it belongs to Kafka itself.
    #[serde(default)]
    pub internal: bool,
    /// What is set on the topic itself, by Kafka's names. Broker-wide settings are not the topic's.
    pub configs: BTreeMap<String, String>,
    /// Members that this build does not know, kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ClusterSnapshot {
    /// A snapshot of these topics.
    pub fn new(cluster_id: impl Into<String>, mut topics: Vec<TopicSnapshot>) -> Self {
        topics.sort_by(|a, b| a.topic.cmp(&b.topic));
        let format = CLUSTER_FORMAT.into();
        Self { format, version: CLUSTER_VERSION, cluster_id: cluster_id.into(), topics, extra: Map::new() }
    }

    /// The stored bytes.
    ///
    /// # Errors
    /// None in practice: the document always serializes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|e| Error::invalid(e.to_string()))
    }

    /// Reads the stored bytes, whose hash the caller has compared with the commit's.
    ///
    /// # Errors
    /// Another document, or a newer version.
    pub fn decode(stored: &[u8]) -> Result<Self> {
        let snapshot: Self = serde_json::from_slice(stored)
            .map_err(|e| Error::corrupt("the cluster snapshot cannot be read").caused_by(e))?;
        if snapshot.format != CLUSTER_FORMAT || snapshot.version > CLUSTER_VERSION {
            let what = format!("format {:?} version {}", snapshot.format, snapshot.version);
            return Err(Error::unsupported(format!("a cluster snapshot of {what} is not known to this build"))
                .hint("use the release that wrote it, or a newer one"));
        }
        Ok(snapshot)
    }

    /// A topic's settings.
    pub fn topic(&self, topic: &Topic) -> Option<&TopicSnapshot> {
        self.topics.iter().find(|snapshot| snapshot.topic == *topic)
    }
}
