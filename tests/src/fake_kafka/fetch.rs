//! Fetch (API key 1): what a consumer is answered, partition by partition.

use super::cluster::Cluster;
use super::fetch_session::{self, Context, Key, Wanted};
use super::log::OutOfRange;
use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ProducerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeSet;

/// The most that a broker answers with (`fetch.max.bytes`).
const MAX_BYTES: usize = 57_671_680;
/// The first version that names the present leader in a refusal.
const NAMES_LEADERS: i16 = 16;

/// A fetch that has been taken in and may be waiting for bytes.
#[derive(Debug)]
pub(super) struct Fetch {
    broker: i32,
    version: i16,
    request: FetchRequest,
    context: Context,
}

/// What one look at the logs gives.
pub(super) struct Look {
    answer: Vec<(Key, PartitionData)>,
    bytes: usize,
    /// Whether it must be sent whatever its size.
    is_urgent: bool,
    is_lost: bool,
}

impl Fetch {
    pub(super) fn begin(cluster: &mut Cluster, broker: i32, request: FetchRequest, version: i16) -> Self {
        let context = fetch_session::begin(cluster, broker, &request, version);
        Self { broker, version, request, context }
    }

    /// The partitions and offsets that it asks for.
    pub(super) fn wants(&self, cluster: &Cluster) -> Vec<(String, i32, i64)> {
        let wants = fetch_session::wants(cluster, self.broker, &self.context);
        let named = wants.into_iter().flatten();
        named.filter_map(|want| Some((want.topic.clone()?, want.partition, want.offset))).collect()
    }

    /// Whether an answer is due after this look, time left or not.
    pub(super) fn is_due(&self, look: &Look) -> bool {
        let nothing_asked = look.answer.is_empty();
        let enough = look.bytes >= usize::try_from(self.request.min_bytes).unwrap_or(0);
        look.is_urgent || nothing_asked || enough || self.request.max_wait_ms <= 0
    }

    /// How long it may wait.
    pub(super) fn max_wait_ms(&self) -> u64 {
        u64::try_from(self.request.max_wait_ms).unwrap_or(0)
    }

    /// Reads what there is.
    pub(super) fn look(&self, cluster: &Cluster) -> Look {
        let mut look = Look { answer: Vec::new(), bytes: 0, is_urgent: false, is_lost: false };
        if let Context::Refused(_) = self.context {
            look.is_urgent = true;
            return look;
        }
        let Some(wants) = fetch_session::wants(cluster, self.broker, &self.context) else {
            return Look { is_urgent: true, is_lost: true, ..look };
        };
        let limit = usize::try_from(self.request.max_bytes).unwrap_or(0).min(MAX_BYTES);
        let by_id = self.version > 12;
        for want in wants {
            let room = limit.saturating_sub(look.bytes);
            let data = self.read(cluster, want, room, look.bytes == 0);
            look.is_urgent |= data.error_code != 0 || data.diverging_epoch.end_offset >= 0;
            look.bytes += data.records.as_ref().map_or(0, Bytes::len);
            let name = want.topic.as_deref().unwrap_or_default();
            look.answer.push((fetch_session::key(by_id, want.topic_id, name, want.partition), data));
        }
        look
    }

    fn read(&self, cluster: &Cluster, want: &Wanted, room: usize, is_first: bool) -> PartitionData {
        let refused = |code: i16| {
            let data = PartitionData::default().with_partition_index(want.partition).with_error_code(code);
            data.with_high_watermark(-1)
                .with_last_stable_offset(-1)
                .with_log_start_offset(-1)
                .with_aborted_transactions(None)
                .with_records(Some(Bytes::new()))
        };
        let Some(topic) = want.topic.as_deref() else { return refused(super::UNKNOWN_TOPIC_ID) };
        let Some(known) = cluster.topics.get(topic) else {
            return refused(super::UNKNOWN_TOPIC_OR_PARTITION);
        };
        if !want.topic_id.is_nil() && known.id != want.topic_id {
            return refused(super::INCONSISTENT_TOPIC_ID);
        }
        // From version 11 on followers serve consumers too.
        let as_leader = self.version < 11;
        let refusal = cluster.refusal(self.broker, topic, want.partition, want.leader_epoch, as_leader);
        if let Some(code) = refusal {
            let mut data = refused(code);
            let names_leader = code == super::NOT_LEADER_OR_FOLLOWER || code == super::FENCED_LEADER_EPOCH;
            if let Some(found) = cluster.find(topic, want.partition)
                && names_leader
                && self.version >= NAMES_LEADERS
            {
                data.current_leader = LeaderIdAndEpoch::default()
                    .with_leader_id(BrokerId(found.leader.unwrap_or(-1)))
                    .with_leader_epoch(found.leader_epoch);
            }
            return data;
        }
        let Some(partition) = cluster.find(topic, want.partition) else {
            return refused(super::UNKNOWN_TOPIC_OR_PARTITION);
        };
        let log = &partition.log;
        let committed = self.request.isolation_level == 1;
        let (high, stable) = (log.high_watermark(), log.last_stable_offset());
        let mut data = refused(0)
            .with_high_watermark(high)
            .with_last_stable_offset(stable)
            .with_log_start_offset(log.start())
            .with_aborted_transactions(committed.then(Vec::new));
        if want.last_fetched_epoch >= 0 {
            let Some((epoch, end)) = log.epochs().end_of(want.last_fetched_epoch, log.end()) else {
                return refused(super::OFFSET_OUT_OF_RANGE);
            };
            if want.offset < log.start() {
                return refused(super::OFFSET_OUT_OF_RANGE);
            }
            if epoch < want.last_fetched_epoch || end < want.offset {
                data.diverging_epoch = EpochEndOffset::default().with_epoch(epoch).with_end_offset(end);
                return data;
            }
        }
        let room = room.min(usize::try_from(want.max_bytes).unwrap_or(0));
        let upper = if committed { stable } else { high };
        match log.read(want.offset, upper, room, is_first) {
            Err(OutOfRange) => refused(super::OFFSET_OUT_OF_RANGE),
            Ok(read) => {
                if committed {
                    let entry = |entry: &super::transactions::Aborted| {
                        AbortedTransaction::default()
                            .with_producer_id(ProducerId(entry.producer_id))
                            .with_first_offset(entry.first)
                    };
                    let end = if read.bytes.is_empty() { want.offset } else { read.end };
                    data.aborted_transactions = Some(log.aborted(want.offset, end).map(entry).collect());
                }
                data.with_records(Some(read.bytes.into()))
            }
        }
    }

    /// The answer, and what it brings: partitions with their first offsets asked and the offsets after the last.
    pub(super) fn end(self, cluster: &mut Cluster, look: Look) -> FetchResponse {
        if let Context::Refused(code) = self.context {
            return FetchResponse::default().with_error_code(code);
        }
        if look.is_lost {
            return FetchResponse::default().with_error_code(super::INVALID_FETCH_SESSION_EPOCH);
        }
        let (session, answer) =
            fetch_session::end(cluster, self.broker, self.context, self.version, look.answer);
        let mut response = FetchResponse::default().with_session_id(session);
        let mut leaders = BTreeSet::new();
        for ((id, name, _), data) in answer {
            if data.current_leader.leader_id.0 >= 0 {
                leaders.insert(data.current_leader.leader_id.0);
            }
            let same = |last: &FetchableTopicResponse| last.topic_id == id && last.topic.as_str() == name;
            if !response.responses.last().is_some_and(same) {
                let topic = FetchableTopicResponse::default()
                    .with_topic_id(id)
                    .with_topic(TopicName(StrBytes::from_string(name)));
                response.responses.push(topic);
            }
            if let Some(last) = response.responses.last_mut() {
                last.partitions.push(data);
            }
        }
        for leader in leaders {
            if let Some(broker) = cluster.brokers.get(&leader) {
                let endpoint = NodeEndpoint::default()
                    .with_node_id(BrokerId(leader))
                    .with_host(StrBytes::from_static_str("127.0.0.1"))
                    .with_port(i32::from(broker.port));
                response.node_endpoints.push(endpoint);
            }
        }
        response
    }
}
