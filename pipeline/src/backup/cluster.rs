//! The source's topics and their settings: what the backup takes, and the snapshot of it in the archive.

use std::collections::{BTreeMap, BTreeSet};

use formats::cluster::{ClusterSnapshot, TopicSnapshot};
use formats::commit::{ObjectRef, Op};
use formats::hash::Hash;
use formats::ids::{Incarnation, Topic, TopicPartition};
use formats::paths::ObjectName;

use crate::kafka::{Client, ConfigResource, ConfigSource, TopicMetadata, Topics};
use crate::select::TopicSelection;
use crate::storage::{Created, Store};
use crate::{Error, Result};

/// Topics that a backup takes.
pub(super) struct Selected {
    pub(super) topics: BTreeMap<Topic, TopicMetadata>,
    /// Topics whose `cleanup.policy` has `compact`.
    pub(super) compacted: BTreeSet<Topic>,
    pub(super) snapshot: ClusterSnapshot,
    /// Topics that cannot be taken, and why.
    pub(super) refused: Vec<(Topic, String)>,
}

impl Selected {
    pub(super) fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.topics.values().flat_map(|topic| {
            topic.partitions.keys().map(|&partition| TopicPartition::new(topic.name.clone(), partition))
        })
    }
}

/// Asks for all topics and their settings.
pub(super) async fn select(client: &Client, selection: &TopicSelection) -> Result<Selected> {
    let metadata = client.refresh(Topics::All).await?;
    let mut topics = BTreeMap::new();
    let mut refused = Vec::new();
    for topic in metadata.topics.values() {
        if !selection.matches(topic.name.as_str(), topic.is_internal) {
            continue;
        }
        match topic.error {
            Some(code) if !code.is_retriable() => refused.push((topic.name.clone(), code.to_string())),
            _ => drop(topics.insert(topic.name.clone(), topic.clone())),
        }
    }
    let resources: Vec<_> = topics.keys().cloned().map(ConfigResource::Topic).collect();
    let mut compacted = BTreeSet::new();
    let mut snapshots = Vec::new();
    for (resource, configs) in client.describe_configs(&resources, None).await? {
        let ConfigResource::Topic(name) = resource else { continue };
        let Some(topic) = topics.get(&name) else { continue };
        let configs = match configs {
            Ok(configs) => configs,
            Err(refusal) => {
                let error = refusal.to_error(format!("configs of topic {name}"));
                tracing::warn!(%error, "the topic's settings are not in the backup");
                Vec::new()
            }
        };
        let policy = configs
            .iter()
            .find(|entry| entry.name == "cleanup.policy")
            .and_then(|entry| entry.value.as_deref());
        if policy.is_some_and(|policy| policy.contains("compact")) {
            compacted.insert(name.clone());
        }
        let own =
            configs.into_iter().filter(|entry| entry.source == ConfigSource::Topic && !entry.is_sensitive);
        let replicas = topic.partitions.values().map(|partition| partition.replicas.len()).max().unwrap_or(0);
        snapshots.push(TopicSnapshot {
            topic: name,
            topic_id: topic.id,
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
            internal: topic.is_internal,
            configs: own.filter_map(|entry| Some((entry.name, entry.value?))).collect(),
            extra: serde_json::Map::new(),
        });
    }
    let snapshot = ClusterSnapshot::new(metadata.cluster_id.clone().unwrap_or_default(), snapshots);
    Ok(Selected { topics, compacted, snapshot, refused })
}

/// Writes the snapshot unless the newest one is the same; gives the operation that names it.
pub(super) async fn store_snapshot(
    store: &dyn Store,
    incarnation: Incarnation,
    seq: u64,
    known: Option<&ObjectRef>,
    snapshot: &ClusterSnapshot,
) -> Result<Option<(Op, ObjectRef)>> {
    let stored = snapshot.encode()?;
    let blake3 = Hash::of(&stored);
    if known.is_some_and(|known| known.blake3 == blake3) {
        return Ok(None);
    }
    // A key of this incarnation that nobody else makes; the number only orders a listing.
    for seq in seq..seq + 5 {
        let key = ObjectName::Cluster(seq, incarnation).key();
        let length = stored.len() as u64;
        if let Created::New(_) = store.create(&key, vec![stored.clone().into()]).await? {
            let object = ObjectRef { key, length, blake3 };
            return Ok(Some((Op::Cluster { object: object.clone() }, object)));
        }
    }
    Err(Error::retry(format!("{}: no clear answer to writes of the cluster snapshot", store.location())))
}
