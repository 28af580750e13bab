//! A snapshot of a cluster's settings: `cluster/<seq>-<incarnation>.json`, pinned by the commit that names it.
//!
//! Plain JSON, for people and for restore: how many partitions and replicas each topic had, and the configs that were set
//! on the topic itself. Members that this build does not know are kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::{Topic, TopicId};
use crate::{Error, Result};

/// What `format` says.
pub const CLUSTER_FORMAT: &str = "replevin.cluster";
/// The version that this build writes, and the newest that it reads.
pub const CLUSTER_VERSION: u32 = 1;

/// A cluster's settings at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterSnapshot {
    /// [`CLUSTER_FORMAT`].
    pub format: String,
    /// [`CLUSTER_VERSION`].
    pub version: u32,
    /// The cluster's own name for itself.
    pub cluster_id: String,
    /// Its topics, those of the backup at least; topics that are gone stay as they were last seen.
    pub topics: Vec<TopicSnapshot>,
    /// Members that this build does not know, kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A topic's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicSnapshot {
    /// Its name.
    pub topic: Topic,
    /// Kafka's id of it; zero where the broker gave none.
    pub topic_id: TopicId,
    /// How many partitions it had.
    pub partitions: i32,
    /// How many replicas each had.
    pub replication_factor: i16,
    /// Whether Kafka keeps its own state in it.
    #[serde(default)]
    pub internal: bool,
    /// The configs set on the topic itself; others follow the broker.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
    /// Members that this build does not know, kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ClusterSnapshot {
    /// A snapshot of these topics.
    pub fn new(cluster_id: impl Into<String>, topics: Vec<TopicSnapshot>) -> Self {
        Self {
            format: CLUSTER_FORMAT.into(),
            version: CLUSTER_VERSION,
            cluster_id: cluster_id.into(),
            topics,
            extra: Map::new(),
        }
    }

    /// The stored bytes.
    ///
    /// # Errors
    /// None in practice: the document always serializes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|e| Error::invalid("the cluster snapshot does not serialize").caused_by(e))
    }

    /// Reads the stored bytes, whose hash the caller has checked.
    ///
    /// # Errors
    /// Another format or a newer version.
    pub fn decode(stored: &[u8]) -> Result<Self> {
        let snapshot: Self = serde_json::from_slice(stored)
            .map_err(|e| Error::unsupported("this is no cluster snapshot").caused_by(e))?;
        if snapshot.format != CLUSTER_FORMAT || snapshot.version > CLUSTER_VERSION {
            let (format, version) = (&snapshot.format, snapshot.version);
            return Err(Error::unsupported(format!(
                "cluster snapshot of format {format:?} version {version} is not known to this build"
            ))
            .hint("use the release that wrote it, or a newer one"));
        }
        Ok(snapshot)
    }

    /// A topic's settings.
    pub fn topic(&self, topic: &Topic) -> Option<&TopicSnapshot> {
        self.topics.iter().find(|snapshot| snapshot.topic == *topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_are_kept_and_other_formats_refused() {
        let text = r#"{"format":"replevin.cluster","version":1,"cluster_id":"c","topics":[{"topic":"t",
            "topic_id":"00000000-0000-0000-0000-000000000000","partitions":3,"replication_factor":1,"internal":false,
            "configs":{"retention.ms":"1"},"later":7}],"also":[]}"#;
        let snapshot = ClusterSnapshot::decode(text.as_bytes()).expect("decodes");
        let again = ClusterSnapshot::decode(&snapshot.encode().expect("encodes")).expect("decodes");
        assert_eq!(again, snapshot);
        assert_eq!(snapshot.topics[0].extra["later"], 7);
        assert!(snapshot.topic(&Topic::new("t").expect("legal")).is_some());
        for wrong in
            [text.replace("replevin.cluster", "other"), text.replace("\"version\":1", "\"version\":2")]
        {
            assert_eq!(
                ClusterSnapshot::decode(wrong.as_bytes()).expect_err("refused").kind(),
                crate::ErrorKind::Unsupported
            );
        }
        assert!(ClusterSnapshot::decode(b"{").is_err());
    }
}
