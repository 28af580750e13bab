//! What the target cluster is asked about its topics, and told: facts for the plan, creation under guard, real configs
//! at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use formats::ids::{Topic, TopicPartition};

use super::guard::BrokerConfigs;
use crate::kafka::metadata::ClusterMetadata;
use crate::kafka::{
    At, Client, ConfigChange, ConfigResource, ConfigSource, Isolation, KafkaErrorCode, NewTopic, Refusal,
    Topics,
};
use crate::{Error, ErrorKind, Result};

/// How long partitions of topics just created may take until their leaders serve them.
const SERVED_LIMIT: Duration = Duration::from_secs(120);
/// Topics asked about or changed with one request.
const AT_ONCE: usize = 200;

/// What is known of the target before anything is touched.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) metadata: Arc<ClusterMetadata>,
    pub(crate) cluster_id: String,
    pub(crate) brokers: BrokerConfigs,
    pub(crate) existing: BTreeMap<Topic, Existing>,
    pub(crate) warnings: Vec<String>,
}

/// A topic that the target has.
#[derive(Debug, Default)]
pub(crate) struct Existing {
    /// Configs set on the topic itself.
    pub(crate) own: BTreeMap<String, String>,
    /// All configs as they are in force.
    pub(crate) effective: BTreeMap<String, String>,
    /// First offset and end of each partition.
    pub(crate) ends: BTreeMap<i32, (i64, i64)>,
}

/// Asks about the cluster and those of these topics that it has.
pub(crate) async fn facts(client: &Client, wanted: &BTreeSet<Topic>) -> Result<Facts> {
    let metadata = client.refresh(Topics::All).await?;
    let cluster_id = match &metadata.cluster_id {
        Some(id) => id.clone(),
        None => client.describe_cluster().await?.cluster_id,
    };
    let mut warnings = Vec::new();
    let brokers = broker_configs(client, &metadata, &mut warnings).await?;
    let there: Vec<Topic> = wanted
        .iter()
        .filter(|topic| metadata.topics.get(*topic).is_some_and(|known| !known.partitions.is_empty()))
        .cloned()
        .collect();
    let mut existing: BTreeMap<Topic, Existing> = BTreeMap::new();
    for topics in there.chunks(AT_ONCE) {
        let resources: Vec<_> = topics.iter().cloned().map(ConfigResource::Topic).collect();
        for (resource, answer) in client.describe_configs(&resources, None).await? {
            let ConfigResource::Topic(topic) = resource else { continue };
            let entries = answer.map_err(|refusal| {
                let error = refusal.to_error(format!("configs of topic {topic} cannot be read"));
                needing(error, "DESCRIBE_CONFIGS", &format!("topic {topic}"))
            })?;
            let topic = existing.entry(topic).or_default();
            for entry in entries {
                let Some(value) = entry.value else { continue };
                if entry.source == ConfigSource::Topic {
                    topic.own.insert(entry.name.clone(), value.clone());
                }
                topic.effective.insert(entry.name, value);
            }
        }
    }
    let partitions: Vec<TopicPartition> =
        metadata.partitions().filter(|partition| existing.contains_key(&partition.topic)).collect();
    for (partition, (first, end)) in ends(client, &partitions).await? {
        if let Some(topic) = existing.get_mut(&partition.topic) {
            topic.ends.insert(partition.partition, (first, end));
        }
    }
    Ok(Facts { metadata, cluster_id, brokers, existing, warnings })
}

async fn broker_configs(
    client: &Client,
    metadata: &ClusterMetadata,
    warnings: &mut Vec<String>,
) -> Result<BrokerConfigs> {
    let Some(broker) = metadata.brokers.keys().next() else {
        return Err(Error::retry("the cluster lists no brokers"));
    };
    let resource = ConfigResource::Broker(*broker);
    let answer = client.describe_configs(std::slice::from_ref(&resource), None).await?.remove(&resource);
    match answer {
        Some(Ok(entries)) => {
            Ok(BrokerConfigs(entries.into_iter().map(|entry| (entry.name, entry.value)).collect()))
        }
        Some(Err(refusal)) => {
            warnings.push(format!(
                "the brokers' own settings are not known ({}): bounds on timestamps are left as they are",
                refusal.to_error(format!("DescribeConfigs of broker {broker}"))
            ));
            Ok(BrokerConfigs::default())
        }
        None => Err(Error::permanent(format!("DescribeConfigs does not answer for broker {broker}"))),
    }
}

/// First offset and end (as far as replicated) of partitions.
pub(crate) async fn ends(
    client: &Client,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, (i64, i64)>> {
    let ask = |at| client.list_offsets(partitions.iter().cloned(), at, Isolation::ReadUncommitted);
    let (first, mut end) = (ask(At::Earliest).await, ask(At::Latest).await);
    let mut ends = BTreeMap::new();
    for (partition, first) in first {
        let allowed = |error| needing(error, "DESCRIBE", &format!("topic {}", partition.topic));
        let first = first.map_err(allowed)?.offset.unwrap_or(0);
        let end = match end.remove(&partition) {
            Some(end) => end.map_err(allowed)?.offset.unwrap_or(first),
            None => return Err(Error::permanent(format!("ListOffsets does not answer for {partition}"))),
        };
        ends.insert(partition, (first, end));
    }
    Ok(ends)
}

/// What a cluster says against creating topics, without creating any.
pub(crate) async fn objections(client: &Client, topics: &[NewTopic]) -> Result<Vec<String>> {
    let mut objections = Vec::new();
    for topics in topics.chunks(AT_ONCE) {
        for (topic, answer) in client.create_topics(topics, true).await? {
            if let Err(refusal) = answer {
                objections.push(with_hint(&uncreated(&topic, &refusal)));
            }
        }
    }
    Ok(objections)
}

fn uncreated(topic: &Topic, refusal: &Refusal) -> Error {
    let error = refusal.to_error(format!("topic {topic} cannot be created"));
    needing(error, "CREATE", &format!("topic {topic} (or on the cluster)"))
}

/// An error whose next step names the right that was missing, where one was.
pub(crate) fn needing(error: Error, right: &str, resource: &str) -> Error {
    if error.kind() == ErrorKind::Credentials {
        return error.hint(format!("grant {right} on {resource} to this client's principal (kafka-acls)"));
    }
    error
}

/// An error in one line with its next step.
pub(crate) fn with_hint(error: &Error) -> String {
    match error.next_step() {
        Some(hint) => format!("{error}: {hint}"),
        None => error.to_string(),
    }
}

/// Creates topics; gives those that exist by now: an earlier attempt whose answer was lost made them, or somebody else.
pub(crate) async fn create(client: &Client, topics: &[NewTopic]) -> Result<BTreeSet<Topic>> {
    let mut others = BTreeSet::new();
    for topics in topics.chunks(AT_ONCE) {
        for (topic, answer) in client.create_topics(topics, false).await? {
            match answer {
                Ok(_) => {}
                Err(refusal) if refusal.code == KafkaErrorCode::TOPIC_ALREADY_EXISTS => {
                    others.insert(topic);
                }
                Err(refusal) => return Err(uncreated(&topic, &refusal)),
            }
        }
    }
    Ok(others)
}

/// Waits until the leaders serve all partitions of these topics.
pub(crate) async fn wait_until_served(client: &Client, topics: &BTreeMap<Topic, i32>) -> Result<()> {
    if topics.is_empty() {
        return Ok(());
    }
    client.wait_until_served(topics, SERVED_LIMIT).await
}

/// Changes configs of topics; gives what was refused.
pub(crate) async fn alter(
    client: &Client,
    changes: BTreeMap<Topic, BTreeMap<String, Option<String>>>,
    validate_only: bool,
) -> Result<BTreeMap<Topic, Error>> {
    let mut refused = BTreeMap::new();
    let mut changes = changes.into_iter().filter(|(_, changes)| !changes.is_empty()).peekable();
    while changes.peek().is_some() {
        let chunk = changes.by_ref().take(AT_ONCE).map(|(topic, changes)| {
            let change = |value: Option<String>| value.map_or(ConfigChange::Delete, ConfigChange::Set);
            let changes = changes.into_iter().map(|(name, value)| (name, change(value))).collect();
            (ConfigResource::Topic(topic), changes)
        });
        for (resource, answer) in client.alter_configs(&chunk.collect(), validate_only).await? {
            if let (ConfigResource::Topic(topic), Err(refusal)) = (resource, answer) {
                let error = refusal.to_error(format!("configs of topic {topic} cannot be changed"));
                let error = needing(error, "ALTER_CONFIGS", &format!("topic {topic}"));
                refused.insert(topic, error);
            }
        }
    }
    Ok(refused)
}
