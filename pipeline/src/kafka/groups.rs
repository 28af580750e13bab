//! What groups have committed, and committing for groups that have no members: ListGroups, OffsetFetch, OffsetCommit.
//!
//! A group's offsets are asked for with `require_stable` (KIP-447): what an open transaction is about to commit is waited for, until
//! the retry deadline.

use std::collections::BTreeMap;

use formats::ids::{Topic, TopicPartition};
use futures::future::try_join_all;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::client::{Client, wire_name};
use super::error::{KafkaErrorCode, Refusal};
use crate::{Error, Result};

/// The type of key that names a group, and not a transaction.
const GROUP: i8 = 0;

/// A group, as the broker that coordinates it sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedGroup {
    /// `Empty`, `Stable`, `PreparingRebalance` and so on; empty where the broker is too old to tell (before Kafka 2.6).
    pub state: String,
    /// `classic`, `consumer` (KIP-848), `share` (KIP-932), `streams`; empty where the broker is too old to tell (before Kafka 3.7).
    pub kind: String,
}

impl ListedGroup {
    /// Whether it has members now, as far as the broker tells.
    pub fn has_members(&self) -> bool {
        !matches!(self.state.as_str(), "" | "Empty" | "Dead" | "Unknown")
    }
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset that it wants.
    pub offset: i64,
    /// What it has written beside it; empty where nothing.
    pub metadata: String,
}

impl Client {
    /// Every group of the cluster that this client may see.
    ///
    /// # Errors
    /// A broker cannot be asked, or refuses.
    pub async fn list_groups(&self) -> Result<BTreeMap<String, ListedGroup>> {
        let metadata = self.fresh_metadata().await?;
        let brokers = metadata.brokers.keys().copied().map(|broker| {
            self.retry("ListGroups", move |_| async move {
                let response = self.call(broker, &ListGroupsRequest::default()).await?;
                match KafkaErrorCode::check(response.error_code) {
                    None => Ok(response.groups),
                    Some(code) => Err(code.to_error(format!("ListGroups of broker {broker}"), None)),
                }
            })
        });
        let listed = try_join_all(brokers).await?.into_iter().flatten();
        let group = |group: kafka_protocol::messages::list_groups_response::ListedGroup| {
            let (state, kind) = (group.group_state.to_string(), group.group_type.to_string());
            (group.group_id.to_string(), ListedGroup { state, kind })
        };
        Ok(listed.map(group).collect())
    }

    /// What a group has committed, for every partition for which it has.
    ///
    /// # Errors
    /// The coordinator cannot be reached, or refuses; a transaction that commits offsets of the group stays open.
    pub async fn committed_offsets(&self, group: &str) -> Result<BTreeMap<TopicPartition, CommittedOffset>> {
        self.retry("OffsetFetch", |_| self.ask_committed(group)).await
    }

    async fn ask_committed(&self, group: &str) -> Result<BTreeMap<TopicPartition, CommittedOffset>> {
        let connection = self.control(self.group_coordinator(group).await?).await?;
        // From v8 on several groups are asked for at once.
        let several = connection.version::<OffsetFetchRequest>()? >= 8;
        let request = OffsetFetchRequest::default().with_require_stable(true);
        let request = match several {
            true => request.with_groups(vec![
                OffsetFetchRequestGroup::default()
                    .with_group_id(id(group))
                    .with_member_epoch(-1)
                    .with_topics(None),
            ]),
            false => request.with_group_id(id(group)).with_topics(None),
        };
        let response = connection.call(&request).await?;
        let refused = |code: i16| match KafkaErrorCode::check(code) {
            None => Ok(()),
            Some(code) => Err(code.to_error(format!("OffsetFetch of group {group}"), None)),
        };
        let mut committed = BTreeMap::new();
        let mut take = |topic: &str, partition, offset, metadata: Option<StrBytes>, code| -> Result<()> {
            refused(code)?;
            // -1: it has committed nothing there.
            if offset >= 0 {
                let metadata = metadata.map(|text| text.to_string()).unwrap_or_default();
                let place = TopicPartition::new(Topic::new(topic)?, partition);
                committed.insert(place, CommittedOffset { offset, metadata });
            }
            Ok(())
        };
        refused(response.error_code)?;
        for topic in response.topics {
            for at in topic.partitions {
                take(&topic.name, at.partition_index, at.committed_offset, at.metadata, at.error_code)?;
            }
        }
        for answered in response.groups {
            refused(answered.error_code)?;
            for topic in answered.topics {
                for at in topic.partitions {
                    take(&topic.name, at.partition_index, at.committed_offset, at.metadata, at.error_code)?;
                }
            }
        }
        Ok(committed)
    }

    /// Commits offsets for a group that has no members; makes the group where it is not there. What was refused is in the result: with
    /// members the broker answers UNKNOWN_MEMBER_ID.
    ///
    /// # Errors
    /// The coordinator cannot be reached.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<BTreeMap<TopicPartition, Result<(), Refusal>>> {
        self.retry("OffsetCommit", |_| self.commit_once(group, offsets)).await
    }

    async fn commit_once(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<BTreeMap<TopicPartition, Result<(), Refusal>>> {
        let mut topics: BTreeMap<&Topic, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (place, committed) in offsets {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(place.partition)
                .with_committed_offset(committed.offset)
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(StrBytes::from_string(committed.metadata.clone())));
            topics.entry(&place.topic).or_default().push(partition);
        }
        let topic = |(name, partitions)| {
            OffsetCommitRequestTopic::default().with_name(wire_name(name)).with_partitions(partitions)
        };
        let request = OffsetCommitRequest::default()
            .with_group_id(id(group))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.into_iter().map(topic).collect());
        let broker = self.group_coordinator(group).await?;
        let response = self.call(broker, &request).await?;
        let mut answers = BTreeMap::new();
        for topic in response.topics {
            let name = Topic::new(topic.name.as_str())?;
            for partition in topic.partitions {
                let answer = Refusal::check(partition.error_code, None);
                // What may pass is tried again with everything else: committing the same twice changes nothing.
                if let Err(refusal) = &answer
                    && refusal.code.is_retriable()
                {
                    return Err(refusal.to_error(format!("OffsetCommit of group {group}")));
                }
                answers.insert(TopicPartition::new(name.clone(), partition.partition_index), answer);
            }
        }
        match offsets.keys().find(|place| !answers.contains_key(place)) {
            None => Ok(answers),
            Some(place) => Err(Error::permanent(format!(
                "OffsetCommit of group {group}: the broker did not answer for {place}"
            ))),
        }
    }

    /// The broker that coordinates a group.
    ///
    /// # Errors
    /// None is known, or this client may not know it.
    pub(super) async fn group_coordinator(&self, group: &str) -> Result<i32> {
        self.retry("FindCoordinator", |_| async move {
            let connection = self.control(self.any_broker()?).await?;
            let request = FindCoordinatorRequest::default().with_key_type(GROUP);
            // From v4 on several groups are asked for at once.
            let several = connection.version::<FindCoordinatorRequest>()? >= 4;
            let key = StrBytes::from_string(group.to_owned());
            let request = match several {
                true => request.with_coordinator_keys(vec![key]),
                false => request.with_key(key),
            };
            let response = connection.call(&request).await?;
            let (code, broker) = match response.coordinators.first() {
                Some(found) if several => (found.error_code, found.node_id.0),
                _ => (response.error_code, response.node_id.0),
            };
            match KafkaErrorCode::check(code) {
                None => Ok(broker),
                Some(code) => Err(code.to_error(format!("the coordinator of group {group}"), None)),
            }
        })
        .await
    }
}

fn id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}
