//! Requests to a partition's leader about its log: deleting records, and who writes there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use formats::ids::{Topic, TopicPartition};
use futures::FutureExt;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::{DeleteRecordsRequest, DescribeProducersRequest};
use tokio::time::{Instant, sleep};

use super::client::{Client, wire_name};
use super::config::Isolation;
use super::error::Refusal;
use super::leaders::{Answers, Question, ask_leaders};
use super::metadata::Topics;
use super::offsets::At;
use crate::{Error, Result};

/// A producer that a partition's leader remembers (KIP-664).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i32,
    /// The last sequence number it wrote, none where it wrote only markers.
    pub last_sequence: Option<i32>,
    /// When it last wrote, in milliseconds since 1970.
    pub last_timestamp: i64,
    /// The epoch of its transaction coordinator.
    pub coordinator_epoch: i32,
    /// Where its open transaction began.
    pub open_since: Option<i64>,
}

impl Client {
    /// Deletes the records before an offset in each partition (-1: all that is replicated), and gives the new log start.
    pub async fn delete_records(
        &self,
        before: &BTreeMap<TopicPartition, i64>,
    ) -> BTreeMap<TopicPartition, Result<i64>> {
        let partitions: BTreeSet<TopicPartition> = before.keys().cloned().collect();
        ask_leaders(self, "DeleteRecords", partitions, |question| self.ask_deletion(question, before).boxed())
            .await
    }

    async fn ask_deletion(&self, question: Question, before: &BTreeMap<TopicPartition, i64>) -> Answers<i64> {
        let topics = question.by_topic().into_iter().map(|(topic, partitions)| {
            let partition = |partition| {
                let offset = before.get(&TopicPartition::new(topic.clone(), partition)).copied().unwrap_or(0);
                DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset)
            };
            DeleteRecordsTopic::default()
                .with_name(wire_name(topic))
                .with_partitions(partitions.into_iter().map(partition).collect())
        });
        let wait = self.config().request_timeout;
        let request = DeleteRecordsRequest::default()
            .with_topics(topics.collect())
            .with_timeout_ms(i32::try_from(wait.as_millis()).unwrap_or(i32::MAX));
        let response = self.call_patiently(question.broker, &request, wait).await?;
        let mut answers = Vec::with_capacity(question.partitions.len());
        for topic in response.topics {
            let name = Topic::new(topic.name.as_str())?;
            for partition in topic.partitions {
                let place = TopicPartition::new(name.clone(), partition.partition_index);
                answers.push((
                    place,
                    Refusal::check(partition.error_code, None).map(|()| partition.low_watermark),
                ));
            }
        }
        Ok(answers)
    }

    /// The producers that each partition's leader remembers: those that wrote lately or hold a transaction open.
    pub async fn describe_producers(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> BTreeMap<TopicPartition, Result<Vec<ActiveProducer>>> {
        let partitions = partitions.into_iter().collect();
        ask_leaders(self, "DescribeProducers", partitions, |question| self.ask_producers(question).boxed())
            .await
    }

    async fn ask_producers(&self, question: Question) -> Answers<Vec<ActiveProducer>> {
        let topics = question.by_topic().into_iter().map(|(topic, partitions)| {
            TopicRequest::default().with_name(wire_name(topic)).with_partition_indexes(partitions)
        });
        let request = DescribeProducersRequest::default().with_topics(topics.collect());
        let response = self.call(question.broker, &request).await?;
        let mut answers = Vec::with_capacity(question.partitions.len());
        for topic in response.topics {
            let name = Topic::new(topic.name.as_str())?;
            for partition in topic.partitions {
                let producers = partition.active_producers.iter().map(|producer| ActiveProducer {
                    producer_id: producer.producer_id.0,
                    epoch: producer.producer_epoch,
                    last_sequence: Some(producer.last_sequence).filter(|sequence| *sequence >= 0),
                    last_timestamp: producer.last_timestamp,
                    coordinator_epoch: producer.coordinator_epoch,
                    open_since: Some(producer.current_txn_start_offset).filter(|offset| *offset >= 0),
                });
                let refusal = Refusal::check(partition.error_code, partition.error_message.as_deref());
                let place = TopicPartition::new(name.clone(), partition.partition_index);
                answers.push((place, refusal.map(|()| producers.collect())));
            }
        }
        Ok(answers)
    }

    /// Waits until every partition of topics just created is served by its leader. The metadata name a leader before that
    /// broker serves the partition; what is produced meanwhile may be accepted out of order.
    ///
    /// # Errors
    /// A topic does not have that many partitions, or one is not served, within the limit.
    pub async fn wait_until_served(&self, topics: &BTreeMap<Topic, i32>, limit: Duration) -> Result<()> {
        let names: Vec<Topic> = topics.keys().cloned().collect();
        let partitions: BTreeSet<TopicPartition> = topics
            .iter()
            .flat_map(|(topic, count)| {
                (0..*count).map(|partition| TopicPartition::new(topic.clone(), partition))
            })
            .collect();
        let late = |last: String| Error::retry(format!("not served within {limit:?} after creation: {last}"));
        let (started, mut attempt) = (Instant::now(), 0);
        loop {
            let metadata = self.refresh_once(Topics::Named(&names)).await;
            let last = match metadata {
                Err(error) if !error.is_retriable() => return Err(error),
                Err(error) => error.to_string(),
                Ok(metadata) => {
                    match partitions.iter().find(|p| metadata.leader(&p.topic, p.partition).is_none()) {
                        Some(partition) => format!("{partition} has no leader"),
                        None => break,
                    }
                }
            };
            let pause = self.pause(attempt);
            attempt += 1;
            if started.elapsed() + pause >= limit {
                return Err(late(last));
            }
            sleep(pause).await;
        }
        let rest = limit.saturating_sub(started.elapsed());
        let served = self.list_offsets(partitions, At::Latest, Isolation::ReadUncommitted);
        match tokio::time::timeout(rest, served).await {
            Ok(offsets) => offsets.into_values().try_for_each(|offset| offset.map(drop)),
            Err(_) => Err(late("ListOffsets is not answered by all leaders".to_owned())),
        }
    }
}
