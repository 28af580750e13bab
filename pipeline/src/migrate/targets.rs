//! Topics of the target: made as they are at the source, with what a mirror needs until the cut-over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use formats::ids::{Topic, TopicId};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::MigrateSettings;
use crate::kafka::{Client, ConfigResource, ConfigSource, NewTopic, Placement, Topics};
use crate::restore::guard;
use crate::restore::topics::{self, Facts, needing};
use crate::{Error, Result};

/// What must hold while a migration writes, so that batches stay as they are.
const MIRROR: [&str; 8] = [
    "compression.type",
    "message.timestamp.type",
    "message.timestamp.before.max.ms",
    "message.timestamp.after.max.ms",
    "message.timestamp.difference.max.ms",
    "max.message.bytes",
    COMPACTION[0],
    COMPACTION[1],
];

/// Until the cut-over nothing is compacted: both sides are to be compared then.
const COMPACTION: [&str; 2] = ["min.compaction.lag.ms", "max.compaction.lag.ms"];

/// A topic that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) id: TopicId,
    /// Whether this run made it.
    pub(super) created: bool,
    /// The largest batch that it takes.
    pub(super) max_batch: usize,
}

/// Makes topics, each once.
#[derive(Debug)]
pub(super) struct Targets {
    source: Client,
    target: Client,
    settings: MigrateSettings,
    /// Each with a lock of its own: others need not wait while one is made.
    topics: Mutex<BTreeMap<Topic, Arc<Mutex<Known>>>>,
}

/// What is known of a topic of the target.
#[derive(Debug, Default)]
struct Known {
    /// With the number of its partitions.
    ready: Option<(Ready, i32)>,
    /// Whether it has what a mirror needs.
    is_mirror: bool,
}

impl Targets {
    pub(super) fn new(source: Client, target: Client, settings: MigrateSettings) -> Self {
        Self { source, target, settings, topics: Mutex::default() }
    }

    async fn known(&self, topic: &Topic) -> OwnedMutexGuard<Known> {
        let known = Arc::clone(self.topics.lock().await.entry(topic.clone()).or_default());
        known.lock_owned().await
    }

    /// The topic that a source topic's partition goes to, made where it is missing and with more partitions where it needs them.
    /// `begun`: it holds a part of the partition already.
    ///
    /// # Errors
    /// It may not be made, or cannot be; it was deleted since.
    pub(super) async fn ensure(&self, source: &Topic, partition: i32, begun: bool) -> Result<Ready> {
        let name = self.settings.target_topic(source).clone();
        let mut known = self.known(&name).await;
        if let Some((ready, partitions)) = known.ready
            && partitions > partition
        {
            return Ok(ready);
        }
        let (made, partitions) = self.make(source, &name, partition, begun).await?;
        let created = made.created || known.ready.is_some_and(|(ready, _)| ready.created);
        let made = Ready { created, ..made };
        known.ready = Some((made, partitions));
        Ok(made)
    }

    async fn make(&self, source: &Topic, name: &Topic, partition: i32, begun: bool) -> Result<(Ready, i32)> {
        let facts = topics::facts(&self.target, &BTreeSet::from([name.clone()])).await?;
        let carried = self.carried(source).await?;
        let from = self.source.refresh(Topics::Named(std::slice::from_ref(source))).await?;
        let described =
            from.topics.get(source).ok_or_else(|| Error::retry(format!("topic {source} is gone")))?;
        let mapped = !self.settings.partition_mapping.is_empty();
        let whole = if mapped { 0 } else { i32::try_from(described.partitions.len()).unwrap_or(i32::MAX) };
        let wanted = whole.max(partition + 1);
        let mut configs = carried.clone();
        configs.extend(mirror(&facts, &carried));
        let created = match facts.existing.get(name) {
            None if begun => return Err(gone(name)),
            None if !self.settings.create_topics => {
                return Err(Error::input(format!("topic {name} does not exist in the target")).hint(
                    format!("create it with {wanted} partitions, or set `migrate.create_topics: true`"),
                ));
            }
            None => {
                let replicas = described.partitions.values().map(|partition| partition.replicas.len()).max();
                let replicas = replicas.and_then(|replicas| i16::try_from(replicas).ok());
                let brokers = i16::try_from(facts.metadata.brokers.len()).unwrap_or(i16::MAX);
                let replicas =
                    self.settings.replication_factor.or(replicas).map(|factor| factor.min(brokers));
                let placement = Placement::Chosen { partitions: wanted, replication_factor: replicas };
                let new = NewTopic { name: name.clone(), placement, configs };
                crate::failpoint::hit("before_migration_topic");
                let others = topics::create(&self.target, &[new]).await?;
                crate::failpoint::hit("after_migration_topic");
                !others.contains(name)
            }
            Some(existing) => {
                let partitions = i32::try_from(existing.ends.len()).unwrap_or(i32::MAX);
                if partitions < wanted {
                    let counts = BTreeMap::from([(name.clone(), wanted)]);
                    let answers = self.target.create_partitions(&counts, &BTreeMap::new()).await?;
                    for (topic, answer) in answers {
                        answer.map_err(|refusal| {
                            refusal.to_error(format!("topic {topic} cannot have {wanted} partitions"))
                        })?;
                    }
                }
                // A run that died before it noted anything has made it.
                existing.own == configs && existing.ends.values().all(|(_, end)| *end == 0)
            }
        };
        topics::wait_until_served(&self.target, &BTreeMap::from([(name.clone(), wanted)])).await?;
        let facts = topics::facts(&self.target, &BTreeSet::from([name.clone()])).await?;
        let there =
            facts.existing.get(name).ok_or_else(|| Error::retry(format!("topic {name} is not there yet")))?;
        let id = facts.metadata.topic_id(name).unwrap_or_default();
        let max_batch = there.effective.get("max.message.bytes").and_then(|bytes| bytes.parse().ok());
        let max_batch = max_batch.unwrap_or(1 << 20);
        Ok((Ready { id, created, max_batch }, i32::try_from(there.ends.len()).unwrap_or(i32::MAX)))
    }

    /// Gives a topic that an earlier run made what a mirror needs: it may have its own configs since that one caught up.
    pub(super) async fn mirror(&self, source: &Topic) -> Result<()> {
        let name = self.settings.target_topic(source).clone();
        let mut known = self.known(&name).await;
        if known.is_mirror {
            return Ok(());
        }
        let facts = topics::facts(&self.target, &BTreeSet::from([name.clone()])).await?;
        let carried = self.carried(source).await?;
        let effective = facts.existing.get(&name).map(|existing| &existing.effective);
        let differs =
            |config: &String, value: &String| effective.and_then(|now| now.get(config)) != Some(value);
        let changes: BTreeMap<String, Option<String>> = mirror(&facts, &carried)
            .filter(|(config, value)| differs(config, value))
            .map(|(config, value)| (config, Some(value)))
            .collect();
        let refused = topics::alter(&self.target, BTreeMap::from([(name.clone(), changes)]), false).await?;
        if let Some(error) = refused.into_values().next() {
            return Err(error);
        }
        known.is_mirror = true;
        Ok(())
    }

    /// The configs that a topic is made with: where those of the source may not be read, the target's defaults.
    async fn carried(&self, source: &Topic) -> Result<BTreeMap<String, String>> {
        Ok(self.configs_of(source).await?.unwrap_or_else(|error| {
            tracing::warn!(%error, "the topic gets the target's defaults");
            BTreeMap::new()
        }))
    }

    /// The configs that the source has set on a topic, as far as another cluster takes them; inside, why it does not tell them.
    async fn configs_of(&self, source: &Topic) -> Result<Result<BTreeMap<String, String>>> {
        let resource = ConfigResource::Topic(source.clone());
        let answer =
            self.source.describe_configs(std::slice::from_ref(&resource), None).await?.remove(&resource);
        let entries = match answer {
            Some(Ok(entries)) => entries,
            Some(Err(refusal)) => {
                let error = refusal.to_error(format!("the configs of topic {source} in the source"));
                return Ok(Err(needing(error, "DESCRIBE_CONFIGS", &format!("topic {source}"))));
            }
            None => Vec::new(),
        };
        let own =
            entries.into_iter().filter(|entry| entry.source == ConfigSource::Topic && !entry.is_sensitive);
        let own = own.filter_map(|entry| Some((entry.name, entry.value?))).collect();
        let (carried, dropped) = guard::carried(&own, &BTreeMap::new());
        if !dropped.is_empty() {
            tracing::warn!(topic = %source, ?dropped, "configs that are not carried over");
        }
        Ok(Ok(carried))
    }

    /// Gives topics that were made here the configs of their sources. What was refused, by target topic; nothing is changed where the
    /// source does not tell what its topic has.
    pub(super) async fn finish(&self, sources: &BTreeSet<Topic>) -> Result<BTreeMap<Topic, Error>> {
        let (mut changes, mut refused) = (BTreeMap::new(), BTreeMap::new());
        let known: BTreeSet<String> = {
            let facts = topics::facts(&self.target, &BTreeSet::new()).await?;
            let none = BTreeMap::new();
            let guarded = mirror(&facts, &none).map(|(name, _)| name);
            guarded.chain(COMPACTION.map(str::to_owned)).collect::<BTreeSet<_>>()
        };
        for source in sources {
            let name = self.settings.target_topic(source).clone();
            match self.configs_of(source).await? {
                Ok(carried) => {
                    let own = |name: &&str| ((*name).to_owned(), carried.get(*name).cloned());
                    changes
                        .insert(name, MIRROR.iter().filter(|name| known.contains(**name)).map(own).collect());
                }
                Err(error) => drop(refused.insert(name, error)),
            }
        }
        refused.extend(topics::alter(&self.target, changes, false).await?);
        Ok(refused)
    }
}

/// What a topic with these configs needs while a migration writes to it, as far as these brokers know of it.
fn mirror(facts: &Facts, carried: &BTreeMap<String, String>) -> impl Iterator<Item = (String, String)> {
    let largest = carried.get("max.message.bytes").and_then(|bytes| bytes.parse().ok());
    let guard = guard::guard(&facts.brokers, carried, 0, largest);
    let compacts = carried.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
    let never = COMPACTION.into_iter().filter(move |_| compacts);
    let never = never.map(|name| (name.to_owned(), i64::MAX.to_string()));
    guard.into_iter().filter(|(name, _)| MIRROR.contains(&name.as_str())).chain(never)
}

/// The error of a topic that is not the one that the migration has written to.
pub(super) fn gone(name: &Topic) -> Error {
    Error::input(format!("topic {name} of the target was deleted or made anew since this migration began"))
        .hint("delete the target's topics and begin with another `migration_id`")
}
