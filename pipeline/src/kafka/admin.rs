//! The cluster and its topics: describing, creating, deleting, adding partitions.
//!
//! Requests that change topics go to the controller (any broker, on KRaft) and follow it when it moves. Results are one
//! for each topic. An attempt whose answer was lost may have worked: then the repeated one is refused as existing or
//! unknown, and that is what is reported.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use formats::ids::{Topic, TopicId};
use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, sleep};

use super::client::{Client, wire_name};
use super::config::HostPort;
use super::connection::Connection;
use super::error::{KafkaErrorCode, Refusal};
use super::metadata::{Broker, Topics};
use crate::{Error, Result};

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: Topic,
    /// How many partitions it gets, and where.
    pub placement: Placement,
    /// Its configs; those not named follow the broker.
    pub configs: BTreeMap<String, String>,
}

/// How many partitions, and on which brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// The cluster chooses the brokers.
    Chosen {
        /// How many partitions.
        partitions: i32,
        /// How many replicas of each; none: the cluster's default.
        replication_factor: Option<i16>,
    },
    /// The brokers of each partition, from partition 0, the preferred leader first.
    Assigned(Vec<Vec<i32>>),
}

/// A topic that was created (or would be).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; all zero where the broker gives none, or where it was only checked.
    pub id: TopicId,
    /// How many partitions it has, where the broker says so.
    pub partitions: Option<i32>,
    /// How many replicas each has, where the broker says so.
    pub replication_factor: Option<i16>,
}

/// What DescribeCluster says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// The cluster's id.
    pub cluster_id: String,
    /// The broker that takes controller requests.
    pub controller: Option<i32>,
    /// The brokers that are up.
    pub brokers: Vec<Broker>,
}

/// One result for each item of a request.
pub(super) type Items<K, V> = Vec<(K, Result<V, Refusal>)>;

/// Who is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Controller,
    Any,
    Broker(i32),
}

impl Client {
    /// Asks for id, controller and brokers of the cluster.
    ///
    /// # Errors
    /// No broker answers, or it refuses.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        self.retry("DescribeCluster", async |_| {
            let response = self.call(self.any_broker()?, &DescribeClusterRequest::default()).await?;
            if let Err(refusal) = Refusal::check(response.error_code, response.error_message.as_deref()) {
                return Err(refusal.to_error("DescribeCluster"));
            }
            let brokers = response.brokers.iter().map(|broker| {
                let port = u16::try_from(broker.port).map_err(|_| {
                    Error::permanent(format!(
                        "DescribeCluster lists broker {} at port {}",
                        broker.broker_id.0, broker.port
                    ))
                })?;
                let address = HostPort::new(broker.host.to_string(), port);
                Ok(Broker {
                    id: broker.broker_id.0,
                    address,
                    rack: broker.rack.as_ref().map(ToString::to_string),
                })
            });
            Ok(ClusterDescription {
                cluster_id: response.cluster_id.to_string(),
                controller: Some(response.controller_id.0).filter(|id| *id >= 0),
                brokers: brokers.collect::<Result<_>>()?,
            })
        })
        .await
    }

    /// Creates topics, or with `validate_only` asks whether they could be.
    ///
    /// # Errors
    /// The controller cannot be asked. A topic that is refused is in the result.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<BTreeMap<Topic, Result<CreatedTopic, Refusal>>> {
        let by_name: BTreeMap<Topic, &NewTopic> =
            topics.iter().map(|topic| (topic.name.clone(), topic)).collect();
        let names = by_name.keys().cloned().collect();
        let by_name = &by_name;
        self.ask_items("CreateTopics", Target::Controller, names, |connection, names| {
            async move {
                let request = CreateTopicsRequest::default()
                    .with_topics(
                        names
                            .iter()
                            .filter_map(|name| by_name.get(name))
                            .map(|topic| creatable(topic))
                            .collect(),
                    )
                    .with_timeout_ms(self.wait_ms())
                    .with_validate_only(validate_only);
                let response = connection.call_patiently(&request, self.config().request_timeout).await?;
                let results = response.topics.iter().map(|topic| {
                    let created = CreatedTopic {
                        id: TopicId(topic.topic_id),
                        partitions: Some(topic.num_partitions).filter(|count| *count >= 0),
                        replication_factor: Some(topic.replication_factor).filter(|count| *count >= 0),
                    };
                    let refusal = Refusal::check(topic.error_code, topic.error_message.as_deref());
                    Ok((Topic::new(topic.name.as_str())?, refusal.map(|()| created)))
                });
                results.collect()
            }
            .boxed()
        })
        .await
    }

    /// Deletes topics by name.
    ///
    /// # Errors
    /// The controller cannot be asked. A topic that is refused is in the result.
    pub async fn delete_topics(&self, topics: &[Topic]) -> Result<BTreeMap<Topic, Result<(), Refusal>>> {
        self.ask_items("DeleteTopics", Target::Controller, topics.to_vec(), |connection, names| {
            async move {
                let request = DeleteTopicsRequest::default().with_timeout_ms(self.wait_ms());
                // From v6 on topics are named by a structure that also takes ids.
                let request = if connection.version::<DeleteTopicsRequest>()? >= 6 {
                    let state = |name| DeleteTopicState::default().with_name(Some(wire_name(name)));
                    request.with_topics(names.iter().map(state).collect())
                } else {
                    request.with_topic_names(names.iter().map(wire_name).collect())
                };
                let response = connection.call_patiently(&request, self.config().request_timeout).await?;
                let results = response.responses.iter().map(|topic| {
                    let name = Topic::new(topic.name.as_ref().map_or("", |name| name.as_str()))?;
                    Ok((name, Refusal::check(topic.error_code, topic.error_message.as_deref())))
                });
                results.collect()
            }
            .boxed()
        })
        .await
    }

    /// Raises the number of partitions of topics to `counts`; new partitions go where the cluster chooses, or to the
    /// brokers given in `assigned` (one list for each *new* partition).
    ///
    /// # Errors
    /// The controller cannot be asked. A topic that is refused is in the result.
    pub async fn create_partitions(
        &self,
        counts: &BTreeMap<Topic, i32>,
        assigned: &BTreeMap<Topic, Vec<Vec<i32>>>,
    ) -> Result<BTreeMap<Topic, Result<(), Refusal>>> {
        let names = counts.keys().cloned().collect();
        self.ask_items("CreatePartitions", Target::Controller, names, |connection, names| {
            async move {
                let topic = |name: &Topic| {
                    let assignment = |replicas: &Vec<i32>| {
                        CreatePartitionsAssignment::default().with_broker_ids(broker_ids(replicas))
                    };
                    CreatePartitionsTopic::default()
                        .with_name(wire_name(name))
                        .with_count(counts.get(name).copied().unwrap_or(0))
                        .with_assignments(
                            assigned.get(name).map(|lists| lists.iter().map(assignment).collect()),
                        )
                };
                let request = CreatePartitionsRequest::default()
                    .with_topics(names.iter().map(topic).collect())
                    .with_timeout_ms(self.wait_ms());
                let response = connection.call_patiently(&request, self.config().request_timeout).await?;
                let results = response.results.iter().map(|topic| {
                    let refusal = Refusal::check(topic.error_code, topic.error_message.as_deref());
                    Ok((Topic::new(topic.name.as_str())?, refusal))
                });
                results.collect()
            }
            .boxed()
        })
        .await
    }

    /// The time that a request lets the broker take.
    pub(super) fn wait_ms(&self) -> i32 {
        i32::try_from(self.config().request_timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Asks about some items, and again about those that were refused for a passing reason, until the retry deadline.
    pub(super) async fn ask_items<'a, K, V>(
        &'a self,
        what: &str,
        target: Target,
        items: Vec<K>,
        ask: impl Fn(Arc<Connection>, Vec<K>) -> BoxFuture<'a, Result<Items<K, V>>>,
    ) -> Result<BTreeMap<K, Result<V, Refusal>>>
    where
        K: Ord + Clone + Display,
    {
        let (started, deadline) = (Instant::now(), self.config().retry.deadline);
        let mut waiting = items;
        let mut done = BTreeMap::new();
        let mut attempt = 0;
        while !waiting.is_empty() {
            if attempt > 0 {
                // The controller may have moved.
                self.refresh_once(Topics::Named(&[])).await.map(drop).or_else(pass_if_retriable)?;
            }
            let trouble = match self.ask_once(target, &waiting, &ask).await {
                Ok(results) => {
                    for (item, result) in results {
                        if waiting.contains(&item) {
                            done.insert(item, result);
                        }
                    }
                    if let Some(item) = waiting.iter().find(|item| !done.contains_key(item)) {
                        return Err(Error::permanent(format!(
                            "{what}: the broker did not answer for {item}"
                        )));
                    }
                    waiting.retain(|item| done.get(item).is_some_and(is_passing));
                    None
                }
                Err(error) if !error.is_retriable() => return Err(error.at(what)),
                Err(error) => Some(error),
            };
            if waiting.is_empty() {
                break;
            }
            let pause = self.pause(attempt);
            attempt += 1;
            if started.elapsed() + pause >= deadline {
                return match trouble {
                    Some(error) => Err(error.at(format!("{what}: gave up after {attempt} attempts"))),
                    None => Ok(done),
                };
            }
            tracing::debug!(attempt, waiting = waiting.len(), ?trouble, "{what}: asking again");
            sleep(pause).await;
        }
        Ok(done)
    }

    async fn ask_once<'a, K: Clone, V>(
        &'a self,
        target: Target,
        items: &[K],
        ask: impl Fn(Arc<Connection>, Vec<K>) -> BoxFuture<'a, Result<Items<K, V>>>,
    ) -> Result<Items<K, V>> {
        let broker = match target {
            Target::Controller => self.controller()?,
            Target::Any => self.any_broker()?,
            Target::Broker(broker) => broker,
        };
        ask(self.control(broker).await?, items.to_vec()).await
    }
}

fn pass_if_retriable(error: Error) -> Result<()> {
    if error.is_retriable() { Ok(()) } else { Err(error) }
}

/// REQUEST_TIMED_OUT, BROKER_NOT_AVAILABLE, NOT_CONTROLLER and THROTTLING_QUOTA_EXCEEDED pass. UNKNOWN_TOPIC_OR_PARTITION,
/// retriable elsewhere, is an answer here.
fn is_passing<V>(result: &Result<V, Refusal>) -> bool {
    result.as_ref().is_err_and(|refusal| matches!(KafkaErrorCode::code(refusal.code), 7 | 8 | 41 | 89))
}

fn broker_ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let config = |(name, value): (&String, &String)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string(name.clone()))
            .with_value(Some(StrBytes::from_string(value.clone())))
    };
    let creatable = CreatableTopic::default()
        .with_name(wire_name(&topic.name))
        .with_configs(topic.configs.iter().map(config).collect());
    match &topic.placement {
        Placement::Chosen { partitions, replication_factor } => creatable
            .with_num_partitions(*partitions)
            .with_replication_factor(replication_factor.unwrap_or(-1)),
        Placement::Assigned(lists) => {
            let assignment = |(partition, replicas): (i32, &Vec<i32>)| {
                CreatableReplicaAssignment::default()
                    .with_partition_index(partition)
                    .with_broker_ids(broker_ids(replicas))
            };
            creatable
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_assignments((0..).zip(lists).map(assignment).collect())
        }
    }
}
