//! Producing whole record batches to one broker, over one connection, several requests under way.
//!
//! Batches are sent from where they lie: the frame is a list of chunks. What an answer means for sequences and retries is
//! the caller's business; results are exact and complete, one for each batch.
//!
//! ```text
//! v9 to v12   header v2 | transactional id (null) | acks | timeout | topics | tags
//!   topic     name | partitions | tags          partition   index | length + 1, batch | tags
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use formats::ids::{Topic, TopicPartition};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    InitProducerIdRequest, ProduceRequest, ProduceResponse, ProducerId as WireProducerId,
};
use kafka_protocol::protocol::{HeaderVersion, Request};

use super::client::Client;
use super::connection::{Answer, Connection};
use super::error::KafkaErrorCode;
use super::frame::{CodecError, Frame, FrameBuilder};
use crate::{Error, Result};

/// All in-sync replicas have the batch before it is acknowledged.
const ACKS_ALL: i16 = -1;

/// A producer's identity towards the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerId {
    /// The id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// One record batch for one partition.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Where it goes.
    pub partition: TopicPartition,
    /// Its bytes in order, for example header and payload. Exactly one batch in the v2 format with base offset 0.
    pub chunks: Vec<Bytes>,
}

/// What the broker says of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducedPartition {
    /// Where it went.
    pub partition: TopicPartition,
    /// Why it was not appended.
    pub error: Option<KafkaErrorCode>,
    /// The offset that its first record got. For a batch that the broker already had: the offset it got then.
    pub base_offset: Option<i64>,
    /// The broker's time, where the topic has LogAppendTime.
    pub log_append_time: Option<i64>,
    /// The first offset that is left in the partition.
    pub log_start_offset: Option<i64>,
    /// The broker's own words.
    pub message: Option<String>,
    /// What is wrong with single records: index in the batch, and why.
    pub record_errors: Vec<(i32, Option<String>)>,
    /// The present leader and its epoch, where the broker asked is not it (v10 and later).
    pub current_leader: Option<(i32, i32)>,
}

impl Client {
    /// Asks for a new producer id without a transactional id, for idempotent produce (KIP-98).
    ///
    /// # Errors
    /// No broker can be asked, or it refuses.
    pub async fn init_producer_id(&self) -> Result<ProducerId> {
        self.retry("InitProducerId", async |_| {
            let broker = self.any_broker()?;
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(self.wait_ms())
                .with_producer_id(WireProducerId(-1))
                .with_producer_epoch(-1);
            let response = self.call(broker, &request).await?;
            if let Some(code) = KafkaErrorCode::check(response.error_code) {
                return Err(code.to_error(format!("InitProducerId at broker {broker}"), None));
            }
            if response.producer_id.0 < 0 || response.producer_epoch < 0 {
                let (id, epoch) = (response.producer_id.0, response.producer_epoch);
                return Err(Error::permanent(format!(
                    "broker {broker} gives producer id {id} with epoch {epoch}"
                )));
            }
            Ok(ProducerId { id: response.producer_id.0, epoch: response.producer_epoch })
        })
        .await
    }
}

/// A connection for produce requests.
#[derive(Debug)]
pub struct ProduceConnection {
    connection: Connection,
    version: i16,
    timeout: Duration,
}

/// The answer to a produce request that is still to come.
#[derive(Debug)]
pub struct PendingProduce {
    answer: Answer<ProduceRequest>,
    asked: BTreeSet<TopicPartition>,
    place: String,
}

impl ProduceConnection {
    /// Connects to a broker. `timeout` is how long the broker may wait for its in-sync replicas.
    ///
    /// # Errors
    /// The broker cannot be reached, or speaks no version that we do.
    pub async fn open(client: &Client, broker: i32, timeout: Duration) -> Result<Self> {
        let connection = client.open(broker).await?;
        let version = connection.version::<ProduceRequest>()?;
        Ok(Self { connection, version, timeout })
    }

    /// Whether requests can still be sent, as far as is known.
    pub fn is_alive(&self) -> bool {
        self.connection.is_alive()
    }

    /// Sends one batch for each of some partitions, acknowledged by all in-sync replicas. Requests arrive in the order in
    /// which this returns; the broker appends them in that order.
    ///
    /// # Errors
    /// A partition has two batches, or an empty one; or the connection has failed. Then it is not known what of this and of
    /// earlier requests without an answer was appended.
    pub async fn send(&self, batches: &[Batch]) -> Result<PendingProduce> {
        let place = format!("Produce at {}", self.connection.peer());
        let mut asked = BTreeSet::new();
        for batch in batches {
            if !asked.insert(batch.partition.clone()) {
                return Err(Error::permanent(format!(
                    "{place}: two batches for {} in one request",
                    batch.partition
                )));
            }
            if batch.chunks.iter().all(Bytes::is_empty) {
                return Err(Error::permanent(format!("{place}: an empty batch for {}", batch.partition)));
            }
        }
        let frame =
            encode(batches, self.version, self.connection.client_id(), self.timeout).map_err(|error| {
                Error::permanent(format!("{place}: cannot encode the request")).caused_by(error)
            })?;
        let answer = self.connection.send_frame(frame, self.version, self.timeout, None).await?;
        Ok(PendingProduce { answer, asked, place })
    }
}

impl PendingProduce {
    /// Waits for the answer: one result for each batch sent, in the order of partitions.
    ///
    /// # Errors
    /// The connection failed: it is not known whether the batches were appended. Or the answer is not about exactly them.
    pub async fn response(self) -> Result<Vec<ProducedPartition>> {
        let response = self.answer.response().await?;
        let wrong = |what: &str| Error::permanent(format!("{}: {what}", self.place));
        let produced = read_response(response).map_err(|error| error.at(&self.place))?;
        if let Some(other) = produced.keys().find(|partition| !self.asked.contains(partition)) {
            return Err(wrong(&format!("answered for {other}, which was not sent")));
        }
        if let Some(missing) = self.asked.iter().find(|partition| !produced.contains_key(partition)) {
            return Err(wrong(&format!("not answered for {missing}")));
        }
        Ok(produced.into_values().collect())
    }
}

fn read_response(response: ProduceResponse) -> Result<BTreeMap<TopicPartition, ProducedPartition>> {
    let mut produced = BTreeMap::new();
    for topic in &response.responses {
        let name = Topic::new(topic.name.as_str())?;
        for result in &topic.partition_responses {
            let read = read_partition(TopicPartition::new(name.clone(), result.index), result);
            if read.error.is_none() && read.base_offset.is_none() {
                let (partition, offset) = (&read.partition, result.base_offset);
                return Err(Error::permanent(format!("{partition} acknowledged at offset {offset}")));
            }
            if let Some(twice) = produced.insert(read.partition.clone(), read) {
                return Err(Error::permanent(format!("answered twice for {}", twice.partition)));
            }
        }
    }
    Ok(produced)
}

fn read_partition(partition: TopicPartition, result: &PartitionProduceResponse) -> ProducedPartition {
    let not_negative = |number: i64| Some(number).filter(|number| *number >= 0);
    let leader = (result.current_leader.leader_id.0, result.current_leader.leader_epoch);
    ProducedPartition {
        partition,
        error: KafkaErrorCode::check(result.error_code),
        base_offset: not_negative(result.base_offset),
        log_append_time: not_negative(result.log_append_time_ms),
        log_start_offset: not_negative(result.log_start_offset),
        message: result.error_message.as_ref().map(ToString::to_string),
        record_errors: result
            .record_errors
            .iter()
            .map(|record| {
                (record.batch_index, record.batch_index_error_message.as_ref().map(ToString::to_string))
            })
            .collect(),
        current_leader: (leader.0 >= 0).then_some(leader),
    }
}

/// Builds the frame around the batches. The codec would copy them.
fn encode(batches: &[Batch], version: i16, client_id: &str, timeout: Duration) -> Result<Frame, CodecError> {
    let mut topics: BTreeMap<&Topic, Vec<&Batch>> = BTreeMap::new();
    for batch in batches {
        topics.entry(&batch.partition.topic).or_default().push(batch);
    }
    let header_version = ProduceRequest::header_version(version);
    let expected =
        32 + 64 * batches.len() + topics.keys().map(|topic| topic.as_str().len() + 16).sum::<usize>();
    let mut frame = FrameBuilder::new(ProduceRequest::KEY, version, header_version, client_id, expected)?;
    put_compact_null(frame.buffer());
    frame.buffer().put_i16(ACKS_ALL);
    frame.buffer().put_i32(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
    put_compact_length(frame.buffer(), topics.len())?;
    for (topic, batches) in topics {
        put_compact_length(frame.buffer(), topic.as_str().len())?;
        frame.buffer().put_slice(topic.as_str().as_bytes());
        put_compact_length(frame.buffer(), batches.len())?;
        for batch in batches {
            frame.buffer().put_i32(batch.partition.partition);
            put_compact_length(frame.buffer(), batch.chunks.iter().map(Bytes::len).sum())?;
            frame.payload(&batch.chunks);
            put_no_tags(frame.buffer());
        }
        put_no_tags(frame.buffer());
    }
    put_no_tags(frame.buffer());
    frame.finish()
}

fn put_compact_null(buffer: &mut BytesMut) {
    buffer.put_u8(0);
}

fn put_no_tags(buffer: &mut BytesMut) {
    buffer.put_u8(0);
}

/// A length or count in a flexible version: an unsigned varint of one more.
fn put_compact_length(buffer: &mut BytesMut, length: usize) -> Result<(), CodecError> {
    let value = i32::try_from(length).ok().and_then(|length| length.checked_add(1));
    let mut rest = value.ok_or_else(|| format!("a length of {length} is too large for a frame"))?;
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            buffer.put_u8(low);
            return Ok(());
        }
        buffer.put_u8(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf;
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::messages::{ApiKey, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes, encode_request_header_into_buffer};

    fn batch(topic: &str, partition: i32, chunks: &[&[u8]]) -> Batch {
        let partition = TopicPartition::new(Topic::new(topic).expect("legal"), partition);
        Batch { partition, chunks: chunks.iter().map(|chunk| Bytes::copy_from_slice(chunk)).collect() }
    }

    #[test]
    fn the_frame_made_by_hand_is_the_codecs_own() {
        let big = vec![7; 300];
        let batches = [batch("b", 3, &[b"head", &big]), batch("a", 0, &[b"x"]), batch("b", 4, &[b"", b"yz"])];
        for version in 9..=12 {
            let data = |index, records: &[u8]| {
                PartitionProduceData::default()
                    .with_index(index)
                    .with_records(Some(Bytes::copy_from_slice(records)))
            };
            let topic = |name, partitions| {
                let name = TopicName(StrBytes::from_static_str(name));
                TopicProduceData::default().with_name(name).with_partition_data(partitions)
            };
            let whole = [b"head", &big[..]].concat();
            let request = ProduceRequest::default()
                .with_transactional_id(None)
                .with_acks(-1)
                .with_timeout_ms(1_500)
                .with_topic_data(vec![
                    topic("a", vec![data(0, b"x")]),
                    topic("b", vec![data(3, &whole), data(4, b"yz")]),
                ]);
            let mut theirs = BytesMut::new();
            let header = kafka_protocol::messages::RequestHeader::default()
                .with_request_api_key(ApiKey::Produce as i16)
                .with_request_api_version(version)
                .with_correlation_id(99)
                .with_client_id(Some(StrBytes::from_static_str("me")));
            encode_request_header_into_buffer(&mut theirs, &header).expect("encodes");
            request.encode(&mut theirs, version).expect("encodes");
            let frame = encode(&batches, version, "me", Duration::from_millis(1_500)).expect("encodes");
            let mut ours = frame.stamp(99);
            let ours = ours.copy_to_bytes(ours.remaining());
            assert_eq!(&ours[..4], &(theirs.len() as i32).to_be_bytes());
            assert_eq!(ours[4..], theirs[..], "v{version}");
        }
    }

    #[test]
    fn payload_is_not_copied() {
        let payload = Bytes::from(vec![1; 1_000]);
        let partition = TopicPartition::new(Topic::new("t").expect("legal"), 0);
        let batches = [Batch { partition, chunks: vec![payload.clone()] }];
        let frame = encode(&batches, 9, "me", Duration::ZERO).expect("encodes").stamp(1);
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let count = frame.chunks_vectored(&mut slices);
        assert!(slices[..count].iter().any(|slice| slice.as_ptr() == payload.as_ptr()));
    }
}
