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
    use proptest::prelude::*;
    use serde_json::json;

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

    fn extra() -> impl Strategy<Value = Map<String, Value>> {
        let value = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            proptest::collection::vec(any::<String>(), 0..3).prop_map(|list| json!({ "list": list })),
        ];
        // No member that the format has.
        proptest::collection::btree_map("x-[a-z]{1,9}", value, 0..3).prop_map(|map| map.into_iter().collect())
    }

    fn topics() -> impl Strategy<Value = TopicSnapshot> {
        let name = "[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,248}".prop_map(|t| Topic::new(t).expect("legal"));
        let configs = proptest::collection::btree_map(any::<String>(), any::<String>(), 0..4);
        let id = any::<u128>().prop_map(|id| TopicId(uuid::Uuid::from_u128(id)));
        (name, id, any::<(i32, i16, bool)>(), configs, extra()).prop_map(
            |(topic, topic_id, (partitions, replication_factor, internal), configs, extra)| TopicSnapshot {
                topic,
                topic_id,
                partitions,
                replication_factor,
                internal,
                configs,
                extra,
            },
        )
    }

    proptest! {
        #[test]
        fn every_snapshot_is_read_as_it_was_written(
            cluster_id: String,
            topics in proptest::collection::vec(topics(), 0..5),
            extra in extra(),
        ) {
            let snapshot = ClusterSnapshot { extra, ..ClusterSnapshot::new(cluster_id, topics) };
            let stored = snapshot.encode().expect("encodes");
            prop_assert_eq!(ClusterSnapshot::decode(&stored).expect("decodes"), snapshot);
        }

        #[test]
        fn damage_is_refused_or_read_and_never_panics(
            topics in proptest::collection::vec(topics(), 0..3),
            at: prop::sample::Index,
            byte: u8,
            arbitrary: Vec<u8>,
        ) {
            let _ = ClusterSnapshot::decode(&arbitrary);
            let mut stored = ClusterSnapshot::new("c", topics).encode().expect("encodes");
            let _ = ClusterSnapshot::decode(&stored[..at.index(stored.len())]);
            let at = at.index(stored.len());
            stored[at] = byte;
            if let Ok(read) = ClusterSnapshot::decode(&stored) {
                ClusterSnapshot::decode(&read.encode().expect("encodes")).expect("decodes");
            }
        }
    }
}
