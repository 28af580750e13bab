//! The topic of a log: made as it must be, or refused where somebody made it otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use formats::ids::Topic;

use super::TopicLogSettings;
use crate::kafka::client::Client;
use crate::kafka::configs::ConfigResource;
use crate::kafka::error::KafkaErrorCode;
use crate::kafka::metadata::Topics;
use crate::kafka::{NewTopic, Placement};
use crate::{Error, Result};

const SERVED: Duration = Duration::from_secs(30);
/// What a batch may have where the broker does not say.
const USUAL_MAX: usize = 1 << 20;

/// Makes the topic where it is missing, and checks it where it is not. Gives the largest batch that it takes.
pub(super) async fn make_or_check(client: &Client, settings: &TopicLogSettings) -> Result<usize> {
    let topic = &settings.topic;
    let metadata = client.refresh(Topics::Named(std::slice::from_ref(topic))).await?;
    let known = metadata.topics.get(topic).filter(|known| !known.partitions.is_empty());
    if known.is_none() {
        let denied = metadata.topics.get(topic).and_then(|known| known.error);
        if let Some(code) = denied.filter(|code| !code.is_retriable()) {
            return Err(code.to_error(format!("topic {topic}"), None));
        }
        make(client, settings, metadata.brokers.len()).await?;
    }
    check(client, settings).await
}

/// Refuses a topic that is not there, or has several partitions. Nothing is made.
pub(super) async fn require(client: &Client, topic: &Topic) -> Result<()> {
    let metadata = client.refresh(Topics::Named(std::slice::from_ref(topic))).await?;
    let known = metadata.topics.get(topic);
    match known.map_or(0, |known| known.partitions.len()) {
        1 => Ok(()),
        0 => Err(match known.and_then(|known| known.error) {
            Some(code) if code != KafkaErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                code.to_error(format!("topic {topic}"), None)
            }
            _ => Error::input(format!("topic {topic} is not there")).hint("check its name and the brokers"),
        }),
        partitions => {
            Err(Error::input(format!("topic {topic} has {partitions} partitions, and must have one"))
                .hint("name the topic that schemas are kept in"))
        }
    }
}

async fn make(client: &Client, settings: &TopicLogSettings, brokers: usize) -> Result<()> {
    let topic = &settings.topic;
    let wanted = settings.replication_factor.max(1);
    let replicas = wanted.min(i16::try_from(brokers.max(1)).unwrap_or(i16::MAX));
    if replicas < wanted {
        tracing::warn!(%topic, wanted, brokers, "the topic gets fewer replicas than wanted: there are fewer brokers");
    }
    let configs = [
        ("cleanup.policy".to_owned(), "compact".to_owned()),
        ("max.message.bytes".to_owned(), settings.max_message_bytes.to_string()),
    ];
    let new = NewTopic {
        name: topic.clone(),
        placement: Placement::Chosen { partitions: 1, replication_factor: Some(replicas) },
        configs: BTreeMap::from(configs),
    };
    for (topic, created) in client.create_topics(&[new], false).await? {
        match created {
            // Another instance was faster; what it made is checked.
            Err(refusal) if refusal.code == KafkaErrorCode::TOPIC_ALREADY_EXISTS => {}
            Err(refusal) => {
                let error = refusal.to_error(format!("topic {topic} cannot be made"));
                return Err(
                    error.hint("make it, compacted and with one partition, or let this client make it")
                );
            }
            Ok(_) => tracing::info!(%topic, replicas, "the topic was made"),
        }
    }
    super::served(client, topic, SERVED).await
}

async fn check(client: &Client, settings: &TopicLogSettings) -> Result<usize> {
    let topic: &Topic = &settings.topic;
    let metadata = client.refresh(Topics::Named(std::slice::from_ref(topic))).await?;
    let partitions = metadata.topics.get(topic).map_or(0, |known| known.partitions.len());
    if partitions != 1 {
        return Err(Error::input(format!("topic {topic} has {partitions} partitions, and must have one"))
            .hint("name another topic, or make this one anew"));
    }
    if let Some(partition) = metadata.partition(topic, 0) {
        let (replicas, wanted) = (partition.replicas.len(), settings.replication_factor);
        if replicas < usize::try_from(wanted).unwrap_or(0) {
            tracing::warn!(%topic, replicas, wanted, "the topic has fewer replicas than wanted; add some with kafka-reassign-partitions");
        }
    }
    let resource = ConfigResource::Topic(topic.clone());
    let names = ["cleanup.policy", "max.message.bytes"];
    let mut found = client.describe_configs(std::slice::from_ref(&resource), Some(&names)).await?;
    let configs = match found.remove(&resource) {
        Some(configs) => configs.map_err(|refusal| {
            refusal
                .to_error(format!("the configs of topic {topic}"))
                .hint("grant DESCRIBE_CONFIGS on the topic to this client's principal (kafka-acls)")
        })?,
        None => return Err(Error::retry(format!("the configs of topic {topic} were not answered"))),
    };
    let value =
        |name: &str| configs.iter().find(|entry| entry.name == name).and_then(|entry| entry.value.clone());
    let policy = value("cleanup.policy").unwrap_or_default();
    if policy != "compact" {
        return Err(Error::input(format!(
            "topic {topic} has cleanup.policy={policy}, and must have compact: Kafka would delete what is kept in it"
        ))
        .hint(format!("kafka-configs --alter --entity-type topics --entity-name {topic} --add-config cleanup.policy=compact")));
    }
    Ok(value("max.message.bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(USUAL_MAX))
}
