//! The state of one incremental fetch session (KIP-227): what the broker remembers, what we want, and the difference.
//! No I/O.
//!
//! A full request (epoch 0) names every partition and opens a session; each later one has the next epoch and names only
//! what changed. Answers, too, leave out what has nothing new. A broker without room for sessions answers with session 0;
//! then every request is a full one. Whatever goes wrong ends in a full request, which also closes the old session.

use std::collections::{BTreeMap, BTreeSet};

use formats::ids::{TopicId, TopicPartition};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};
use kafka_protocol::protocol::StrBytes;

use super::client::wire_name;
use super::error::KafkaErrorCode;
use super::fetch::{AbortedTransaction, FetchSettings, FetchedPartition, Position};
use crate::{Error, Result};

/// The last version that names topics by name.
const BY_NAME: i16 = 12;

/// One fetch session with one broker.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: i32,
    /// The epoch of the next request; 0 asks for a new session.
    epoch: i32,
    by_id: bool,
    /// Full requests made, so that in turn each partition comes first.
    turn: usize,
    wanted: BTreeMap<TopicPartition, Wanted>,
    /// Partitions that the broker's session still holds, but that are not wanted any more (or under another topic id).
    leaving: BTreeMap<TopicPartition, TopicId>,
}

#[derive(Debug)]
struct Wanted {
    topic_id: TopicId,
    position: Position,
    /// What the broker was last told.
    sent: Option<Position>,
}

/// What an answer amounts to.
#[derive(Debug)]
pub(super) enum Received {
    /// Data, and the throttle time in milliseconds.
    Partitions(Vec<FetchedPartition>, i32),
    /// The broker refused the session: ask again, from the start.
    Restart(KafkaErrorCode),
}

impl Session {
    pub(super) fn add(&mut self, partition: TopicPartition, topic_id: TopicId, position: Position) {
        self.remove(&partition);
        self.wanted.insert(partition, Wanted { topic_id, position, sent: None });
    }

    pub(super) fn remove(&mut self, partition: &TopicPartition) -> Option<Position> {
        let gone = self.wanted.remove(partition)?;
        if gone.sent.is_some() {
            self.leaving.insert(partition.clone(), gone.topic_id);
        }
        Some(gone.position)
    }

    pub(super) fn seek(&mut self, partition: &TopicPartition, position: Position) -> bool {
        match self.wanted.get_mut(partition) {
            Some(wanted) => {
                wanted.position = position;
                true
            }
            None => false,
        }
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = (&TopicPartition, Position)> {
        self.wanted.iter().map(|(partition, wanted)| (partition, wanted.position))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The connection is gone, or the session is in doubt: the next request opens a new one and closes the old.
    pub(super) fn restart(&mut self) {
        self.epoch = 0;
        self.leaving.clear();
        self.wanted.values_mut().for_each(|wanted| wanted.sent = None);
    }

    /// The version to ask with, `newest` being the newest that both sides speak. Ids only where every topic has one.
    pub(super) fn version(&self, newest: i16) -> i16 {
        let all_have_ids = self.wanted.values().all(|wanted| wanted.topic_id != TopicId::default());
        if all_have_ids { newest } else { newest.min(BY_NAME) }
    }

    /// The next request. It counts as sent only with [`Session::sent`].
    pub(super) fn request(
        &mut self,
        version: i16,
        settings: &FetchSettings,
        rack: Option<&str>,
    ) -> FetchRequest {
        if self.epoch != 0 && self.by_id != (version > BY_NAME) {
            self.restart();
        }
        self.by_id = version > BY_NAME;
        let mut changed: Vec<_> = self.wanted.iter().filter(|(_, w)| w.sent != Some(w.position)).collect();
        if self.epoch == 0 && !changed.is_empty() {
            let turn = self.turn % changed.len();
            changed.rotate_left(turn);
        }
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut last = None;
        for (partition, wanted) in changed {
            if last != Some(&partition.topic) {
                topics.push(if self.by_id {
                    FetchTopic::default().with_topic_id(wanted.topic_id.0)
                } else {
                    FetchTopic::default().with_topic(wire_name(&partition.topic))
                });
                last = Some(&partition.topic);
            }
            if let Some(topic) = topics.last_mut() {
                topic.partitions.push(wanted.on_the_wire(partition.partition, settings));
            }
        }
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(i32::try_from(settings.max_wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(settings.min_bytes)
            .with_max_bytes(settings.max_bytes)
            .with_isolation_level(settings.isolation.level())
            .with_session_id(self.id)
            .with_session_epoch(self.epoch)
            .with_topics(topics)
            .with_forgotten_topics_data(self.forgotten())
            .with_rack_id(StrBytes::from_string(rack.unwrap_or_default().to_owned()))
    }

    fn forgotten(&self) -> Vec<ForgottenTopic> {
        if self.epoch == 0 {
            return Vec::new();
        }
        let gone = self.leaving.iter().filter(|(partition, id)| {
            // Under the same id again: naming it among the topics is enough.
            self.wanted.get(partition).is_none_or(|wanted| self.by_id && wanted.topic_id != **id)
        });
        gone.map(|(partition, id)| {
            let topic = ForgottenTopic::default().with_partitions(vec![partition.partition]);
            if self.by_id { topic.with_topic_id(id.0) } else { topic.with_topic(wire_name(&partition.topic)) }
        })
        .collect()
    }

    /// The request is on its way: the broker will know what it says.
    pub(super) fn sent(&mut self) {
        if self.epoch == 0 {
            self.turn = self.turn.wrapping_add(1);
        }
        self.leaving.clear();
        self.wanted.values_mut().for_each(|wanted| wanted.sent = Some(wanted.position));
    }

    /// Reads the answer to the request last sent.
    ///
    /// # Errors
    /// An error code that is not the session's, or partitions that were not asked for.
    pub(super) fn receive(&mut self, response: FetchResponse) -> Result<Received> {
        if let Some(code) = KafkaErrorCode::check(response.error_code) {
            self.restart();
            return match code {
                KafkaErrorCode::FETCH_SESSION_ID_NOT_FOUND => {
                    self.id = 0;
                    Ok(Received::Restart(code))
                }
                KafkaErrorCode::INVALID_FETCH_SESSION_EPOCH
                | KafkaErrorCode::FETCH_SESSION_TOPIC_ID_ERROR => Ok(Received::Restart(code)),
                _ => Err(code.to_error("Fetch", None)),
            };
        }
        if self.epoch != 0 && response.session_id != self.id {
            let (theirs, ours) = (response.session_id, self.id);
            return Err(Error::retry(format!("an answer of fetch session {theirs} came in session {ours}")));
        }
        let throttle = response.throttle_time_ms;
        self.id = response.session_id;
        let partitions = self.read_partitions(response)?;
        if self.id == 0 {
            self.restart();
        } else {
            self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        }
        Ok(Received::Partitions(partitions, throttle))
    }

    fn read_partitions(&mut self, response: FetchResponse) -> Result<Vec<FetchedPartition>> {
        let names: BTreeMap<_, _> = if self.by_id {
            let wanted = self.wanted.iter().map(|(partition, wanted)| (wanted.topic_id, &partition.topic));
            let leaving = self.leaving.iter().map(|(partition, id)| (*id, &partition.topic));
            leaving.chain(wanted).collect()
        } else {
            BTreeMap::new()
        };
        let mut seen = BTreeSet::new();
        let mut fetched = Vec::new();
        for topic in response.responses {
            let id = TopicId(topic.topic_id);
            let name = if self.by_id {
                names.get(&id).map(|name| (*name).clone())
            } else {
                formats::ids::Topic::new(topic.topic.as_str()).ok()
            };
            let Some(name) = name else {
                let name = if self.by_id { id.to_string() } else { format!("{:?}", topic.topic.as_str()) };
                return Err(Error::permanent(format!(
                    "Fetch answered for topic {name}, which was not asked for"
                )));
            };
            for data in topic.partitions {
                let partition = TopicPartition::new(name.clone(), data.partition_index);
                let is_first = seen.insert(partition.clone());
                let wanted =
                    self.wanted.get(&partition).filter(|wanted| !self.by_id || wanted.topic_id == id);
                match wanted.and_then(|wanted| Some((wanted, wanted.sent?))) {
                    _ if !is_first => {
                        return Err(Error::permanent(format!("Fetch answered twice for {partition}")));
                    }
                    // Moved elsewhere while the request was under way: the data is not what is wanted now.
                    Some((wanted, sent)) if sent != wanted.position => {}
                    Some((wanted, sent)) => {
                        fetched.push(read_partition(partition, wanted.topic_id, sent, data)?);
                    }
                    None if self.leaving.contains_key(&partition) => {}
                    None => {
                        return Err(Error::permanent(format!(
                            "Fetch answered for {partition}, which was not asked for"
                        )));
                    }
                }
            }
        }
        Ok(fetched)
    }
}

impl Wanted {
    fn on_the_wire(&self, partition: i32, settings: &FetchSettings) -> FetchPartition {
        FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(self.position.offset)
            .with_current_leader_epoch(self.position.leader_epoch.unwrap_or(-1))
            .with_last_fetched_epoch(self.position.last_fetched_epoch.unwrap_or(-1))
            .with_log_start_offset(-1)
            .with_partition_max_bytes(settings.partition_max_bytes)
    }
}

fn read_partition(
    partition: TopicPartition,
    topic_id: TopicId,
    sent: Position,
    data: PartitionData,
) -> Result<FetchedPartition> {
    let diverging = (data.diverging_epoch.epoch, data.diverging_epoch.end_offset);
    let leader = (data.current_leader.leader_id.0, data.current_leader.leader_epoch);
    let fetched = FetchedPartition {
        partition,
        topic_id,
        fetch_offset: sent.offset,
        error: KafkaErrorCode::check(data.error_code),
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
        log_start_offset: data.log_start_offset,
        diverging_epoch: (diverging.1 >= 0).then_some(diverging),
        current_leader: (leader.0 >= 0).then_some(leader),
        preferred_read_replica: Some(data.preferred_read_replica.0).filter(|replica| *replica >= 0),
        aborted: data
            .aborted_transactions
            .unwrap_or_default()
            .iter()
            .map(|entry| AbortedTransaction {
                producer_id: entry.producer_id.0,
                first_offset: entry.first_offset,
            })
            .collect(),
        // Nothing of an empty answer may keep the frame alive.
        records: data.records.filter(|records| !records.is_empty()),
    };
    let plain = fetched.error.is_none() && fetched.diverging_epoch.is_none();
    if plain && (fetched.high_watermark < 0 || fetched.log_start_offset > fetched.high_watermark) {
        return Err(Error::permanent(format!(
            "Fetch answered for {}@{} with log start {} and high watermark {}",
            fetched.partition, fetched.fetch_offset, fetched.log_start_offset, fetched.high_watermark
        )));
    }
    Ok(fetched)
}

#[cfg(test)]
#[path = "fetch_session_tests.rs"]
mod tests;
