//! Offsets by place, time and leader epoch: ListOffsets and OffsetForLeaderEpoch.

use std::collections::{BTreeMap, BTreeSet};

use formats::ids::{Topic, TopicPartition};
use futures::FutureExt;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, OffsetForLeaderEpochRequest};

use super::client::{Client, wire_name};
use super::config::Isolation;
use super::error::Refusal;
use super::leaders::{Answers, Question, ask_leaders};
use super::versions::{Versions, ours};
use crate::{Error, Result};

/// Which offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The first one left.
    Earliest,
    /// The end: the high watermark, or with read_committed the last stable offset.
    Latest,
    /// The first record at or after a time, in milliseconds since 1970.
    Timestamp(i64),
    /// The record with the highest timestamp (KIP-734, Kafka 3.0).
    MaxTimestamp,
}

/// An offset found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; none where no record is so late, or there are none.
    pub offset: Option<i64>,
    /// The time of the record there, where asked by time.
    pub timestamp: Option<i64>,
    /// The leader epoch there, where the broker knows it.
    pub leader_epoch: Option<i32>,
}

/// Where a leader epoch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch asked for, or the largest one below it that the log has; none where it has none.
    pub epoch: Option<i32>,
    /// The offset after its last record, none where it has none.
    pub end_offset: Option<i64>,
}

impl At {
    fn on_the_wire(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::Timestamp(time) => time.max(0),
        }
    }
}

impl Client {
    /// Finds an offset in each partition, one request a leader; follows leaders that move, until the retry deadline.
    pub async fn list_offsets(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        at: At,
        isolation: Isolation,
    ) -> BTreeMap<TopicPartition, Result<ListedOffset>> {
        let partitions = partitions.into_iter().collect();
        ask_leaders(self, "ListOffsets", partitions, |question| {
            self.ask_offsets(question, at, isolation).boxed()
        })
        .await
    }

    async fn ask_offsets(&self, question: Question, at: At, isolation: Isolation) -> Answers<ListedOffset> {
        let topics = question.by_topic().into_iter().map(|(topic, partitions)| {
            let partition = |partition| {
                ListOffsetsPartition::default()
                    .with_partition_index(partition)
                    .with_current_leader_epoch(question.leader_epoch(topic, partition))
                    .with_timestamp(at.on_the_wire())
            };
            ListOffsetsTopic::default()
                .with_name(wire_name(topic))
                .with_partitions(partitions.into_iter().map(partition).collect())
        });
        let connection = self.control(question.broker).await?;
        let mut speak = ours::<ListOffsetsRequest>();
        if at == At::MaxTimestamp {
            speak = Versions { min: 7, ..speak };
        }
        let version = connection.versions().choose_within::<ListOffsetsRequest>(speak);
        let version = version.map_err(|error| error.at(connection.peer()))?;
        let mut request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(isolation.level())
            .with_topics(topics.collect());
        if version >= 10 {
            request.timeout_ms = i32::try_from(self.config().request_timeout.as_millis()).unwrap_or(i32::MAX);
        }
        let response =
            connection.send(&request, version, self.config().request_timeout).await?.response().await?;
        let mut answers = Vec::with_capacity(question.partitions.len());
        for topic in response.topics {
            let name = Topic::new(topic.name.as_str())?;
            for partition in topic.partitions {
                let found = ListedOffset {
                    offset: Some(partition.offset).filter(|offset| *offset >= 0),
                    timestamp: Some(partition.timestamp).filter(|time| *time >= 0),
                    leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
                };
                let place = TopicPartition::new(name.clone(), partition.partition_index);
                if partition.error_code == 0
                    && found.offset.is_none()
                    && matches!(at, At::Earliest | At::Latest)
                {
                    return Err(Error::permanent(format!(
                        "broker {} gives offset {} for {at:?} of {place}",
                        question.broker, partition.offset
                    )));
                }
                answers.push((place, Refusal::check(partition.error_code, None).map(|()| found)));
            }
        }
        Ok(answers)
    }

    /// Asks where leader epochs ended: the end offset of the largest epoch not above the one given.
    pub async fn offset_for_leader_epoch(
        &self,
        epochs: &BTreeMap<TopicPartition, i32>,
    ) -> BTreeMap<TopicPartition, Result<EpochEnd>> {
        let partitions: BTreeSet<TopicPartition> = epochs.keys().cloned().collect();
        ask_leaders(self, "OffsetForLeaderEpoch", partitions, |question| {
            self.ask_epochs(question, epochs).boxed()
        })
        .await
    }

    async fn ask_epochs(
        &self,
        question: Question,
        epochs: &BTreeMap<TopicPartition, i32>,
    ) -> Answers<EpochEnd> {
        let topics = question.by_topic().into_iter().map(|(topic, partitions)| {
            let partition = |partition| {
                let epoch = epochs.get(&TopicPartition::new(topic.clone(), partition)).copied();
                OffsetForLeaderPartition::default()
                    .with_partition(partition)
                    .with_current_leader_epoch(question.leader_epoch(topic, partition))
                    .with_leader_epoch(epoch.unwrap_or(-1))
            };
            OffsetForLeaderTopic::default()
                .with_topic(wire_name(topic))
                .with_partitions(partitions.into_iter().map(partition).collect())
        });
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(topics.collect());
        let response = self.call(question.broker, &request).await?;
        let mut answers = Vec::with_capacity(question.partitions.len());
        for topic in response.topics {
            let name = Topic::new(topic.topic.as_str())?;
            for partition in topic.partitions {
                let end = EpochEnd {
                    epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
                    end_offset: Some(partition.end_offset).filter(|offset| *offset >= 0),
                };
                let place = TopicPartition::new(name.clone(), partition.partition);
                answers.push((place, Refusal::check(partition.error_code, None).map(|()| end)));
            }
        }
        Ok(answers)
    }
}
