//! The source's topics and their settings: which are taken, and the snapshot of it in an archive.

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

/// Topics that are taken.
pub(crate) struct Selected {
    pub(crate) topics: BTreeMap<Topic, TopicMetadata>,
    /// Topics whose `cleanup.policy` has `compact`.
    pub(crate) compacted: BTreeSet<Topic>,
    pub(crate) snapshot: ClusterSnapshot,
    /// Topics whose settings the brokers would not tell.
    pub(crate) undescribed: BTreeSet<Topic>,
    /// Topics that cannot be taken, and why.
    pub(crate) refused: Vec<(Topic, String)>,
}

impl Selected {
    /// Of topics whose settings are not told now, what they were when they were last seen says whether they are compacted.
    pub(crate) fn remember(&mut self, known: Option<&Stored>) {
        let is_compacted = |topic: &&Topic| {
            let before = known.and_then(|known| known.snapshot.topic(topic));
            before
                .and_then(|topic| topic.configs.get("cleanup.policy"))
                .is_some_and(|p| p.contains("compact"))
        };
        self.compacted.extend(self.undescribed.iter().filter(is_compacted).cloned());
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.topics.values().flat_map(|topic| {
            topic.partitions.keys().map(|&partition| TopicPartition::new(topic.name.clone(), partition))
        })
    }
}

/// Asks for all topics and their settings.
pub(crate) async fn select(client: &Client, selection: &TopicSelection) -> Result<Selected> {
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
    let (mut compacted, mut undescribed) = (BTreeSet::new(), BTreeSet::new());
    let mut snapshots = Vec::new();
    for (resource, configs) in client.describe_configs(&resources, None).await? {
        let ConfigResource::Topic(name) = resource else { continue };
        let Some(topic) = topics.get(&name) else { continue };
        let configs = match configs {
            Ok(configs) => configs,
            Err(refusal) => {
                let error = refusal.to_error(format!("configs of topic {name}"));
                tracing::warn!(%error, "the topic's settings are not known, or only those that were seen before");
                undescribed.insert(name.clone());
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
    Ok(Selected { topics, compacted, snapshot, undescribed, refused })
}

/// A snapshot in the archive.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    object: ObjectRef,
    snapshot: ClusterSnapshot,
}

/// Reads the newest snapshot. One that cannot be read is no reason not to back up: it is said, and a whole new one is
/// written.
pub(crate) async fn load_snapshot(store: &dyn Store, object: ObjectRef) -> Option<Stored> {
    let read = async {
        let missing = || Error::damaged("the object is missing");
        let stored = store.get(&object.key, object.length).await?.ok_or_else(missing)?;
        if Hash::of(&stored) != object.blake3 {
            return Err(Error::damaged("its BLAKE3 is not the one that the backup recorded"));
        }
        Ok(ClusterSnapshot::decode(&stored)?)
    };
    match read.await {
        Ok(snapshot) => Some(Stored { object, snapshot }),
        Err(error) => {
            let error = error.at(&object.key);
            tracing::warn!(%error, "settings of topics that the source has no more are lost to new snapshots");
            None
        }
    }
}

/// What is seen now, and of topics that are not seen any more what was seen last: a topic that was deleted at the source
/// is restored with its settings.
fn joined(known: Option<&ClusterSnapshot>, selected: &Selected) -> ClusterSnapshot {
    let mut snapshot = selected.snapshot.clone();
    let Some(known) = known else { return snapshot };
    let mut topics: BTreeMap<_, _> =
        known.topics.iter().map(|topic| (topic.topic.clone(), topic.clone())).collect();
    for mut seen in snapshot.topics {
        if selected.undescribed.contains(&seen.topic)
            && let Some(before) = topics.get_mut(&seen.topic)
        {
            seen.configs = std::mem::take(&mut before.configs);
        }
        topics.insert(seen.topic.clone(), seen);
    }
    snapshot.topics = topics.into_values().collect();
    snapshot
}

/// Writes the snapshot unless the newest one is the same; gives the operation that names it.
pub(crate) async fn store_snapshot(
    store: &dyn Store,
    incarnation: Incarnation,
    seq: u64,
    known: Option<&Stored>,
    selected: &Selected,
) -> Result<Option<(Op, Stored)>> {
    let snapshot = joined(known.map(|known| &known.snapshot), selected);
    if known.is_some_and(|known| known.snapshot == snapshot) {
        return Ok(None);
    }
    let stored = snapshot.encode()?;
    let (length, blake3) = (stored.len() as u64, Hash::of(&stored));
    // A key of this incarnation that nobody else makes; the number only orders a listing.
    for seq in seq..seq + 5 {
        let key = ObjectName::Cluster(seq, incarnation).key();
        if let Created::New(_) = store.create(&key, vec![stored.clone().into()]).await? {
            let object = ObjectRef { key, length, blake3 };
            return Ok(Some((Op::Cluster { object: object.clone() }, Stored { object, snapshot })));
        }
    }
    Err(Error::retry(format!("{}: no clear answer to writes of the cluster snapshot", store.location())))
}

#[cfg(test)]
mod tests {
    use formats::ids::TopicId;

    use super::*;
    use crate::seam::Seam;
    use crate::storage::memory::MemoryStore;

    fn selected(topics: &[(&str, &str)], undescribed: &[&str]) -> Selected {
        let name = |name: &str| Topic::new(name).unwrap();
        let topic = |(topic, retention): &(&str, &str)| TopicSnapshot {
            topic: name(topic),
            topic_id: TopicId::default(),
            partitions: 1,
            replication_factor: 1,
            internal: false,
            configs: [("retention.ms".to_owned(), (*retention).to_owned())]
                .into_iter()
                .filter(|_| !undescribed.contains(topic))
                .collect(),
            extra: serde_json::Map::new(),
        };
        Selected {
            topics: BTreeMap::new(),
            compacted: BTreeSet::new(),
            snapshot: ClusterSnapshot::new("c", topics.iter().map(topic).collect()),
            undescribed: undescribed.iter().map(|topic| name(topic)).collect(),
            refused: Vec::new(),
        }
    }

    #[tokio::test]
    async fn topics_whose_settings_are_not_told_now_are_compacted_as_they_were_last_seen() {
        let seam = Seam::system();
        let store = MemoryStore::new(seam.clock.clone());
        let name = |name: &str| Topic::new(name).unwrap();
        let mut before = selected(&[("squeezed", "1"), ("plain", "2")], &[]);
        for topic in &mut before.snapshot.topics {
            let policy = if topic.topic == name("squeezed") { "compact,delete" } else { "delete" };
            topic.configs.insert("cleanup.policy".to_owned(), policy.to_owned());
        }
        let (_, stored) =
            store_snapshot(&store, Incarnation(1), 1, None, &before).await.unwrap().expect("new");

        let mut now =
            selected(&[("squeezed", ""), ("plain", ""), ("new", "")], &["squeezed", "plain", "new"]);
        now.remember(Some(&stored));
        assert_eq!(now.compacted, BTreeSet::from([name("squeezed")]));
        let mut told = selected(&[("squeezed", "1")], &[]);
        told.remember(Some(&stored));
        assert!(told.compacted.is_empty(), "what is told now counts");
    }

    #[tokio::test]
    async fn settings_of_topics_that_are_gone_or_untold_stay_as_they_were_last_seen() {
        let seam = Seam::system();
        let store = MemoryStore::new(seam.clock.clone());
        let me = Incarnation(1);
        let retention = |stored: &Stored, topic: &str| {
            let topic = stored.snapshot.topic(&Topic::new(topic).unwrap()).cloned();
            topic.and_then(|topic| topic.configs.get("retention.ms").cloned())
        };
        let first = selected(&[("a", "1"), ("b", "2")], &[]);
        let (_, stored) = store_snapshot(&store, me, 1, None, &first).await.unwrap().expect("the first one");
        assert!(store_snapshot(&store, me, 2, Some(&stored), &first).await.unwrap().is_none());

        // `a` was deleted, nobody tells of `b`, `c` is new.
        let read = load_snapshot(&store, stored.object.clone()).await.expect("there");
        assert_eq!(read, stored);
        let second = selected(&[("b", "9"), ("c", "3")], &["b"]);
        let (_, stored) =
            store_snapshot(&store, me, 7, Some(&read), &second).await.unwrap().expect("changed");
        let found = ["a", "b", "c"].map(|topic| retention(&stored, topic).unwrap_or_default());
        assert_eq!(found, ["1", "2", "3"]);
        assert!(store_snapshot(&store, me, 20, Some(&stored), &second).await.unwrap().is_none());

        let lost = ObjectRef { key: ObjectName::Cluster(99, me).key(), ..stored.object };
        assert!(load_snapshot(&store, lost).await.is_none());
    }
}
