//! Pipelined idempotent produce: requests of one batch a partition, five of them under way.
//!
//! The request is laid out by hand (Produce v7), because the codec would copy the batches.

use std::collections::VecDeque;

use bytes::BufMut;
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest};
use kafka_protocol::protocol::{HeaderVersion, Request};

use super::batch;
use super::wire::Wire;
use crate::Result;

const VERSION: i16 = 7;
/// What a broker remembers of a producer's last batches.
const IN_FLIGHT: usize = 5;

/// A batch for a partition; its header is renewed in place.
pub(crate) struct Outgoing<'a> {
    pub(crate) partition: usize,
    pub(crate) batch: &'a mut [u8],
}

/// One idempotent producer of one topic over one connection.
pub(crate) struct Pipeline {
    wire: Wire,
    topic: String,
    producer: (i64, i16),
    sequences: Vec<i32>,
    /// For every request under way, the partitions that must acknowledge.
    under_way: VecDeque<usize>,
}

impl Pipeline {
    /// Connects and asks for a producer id.
    pub(crate) fn new(broker: &str, topic: &str, partitions: usize) -> Result<Self> {
        let mut wire = Wire::connect(broker)?;
        let request =
            InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        let response = wire.call(&request, 1)?;
        if response.error_code != 0 {
            return Err(format!("no producer id: error {}", response.error_code).into());
        }
        let producer = (response.producer_id.0, response.producer_epoch);
        let (topic, sequences) = (topic.to_owned(), vec![0; partitions]);
        Ok(Self { wire, topic, producer, sequences, under_way: VecDeque::new() })
    }

    /// Sends one batch for each of some partitions, once there is room.
    pub(crate) fn send(&mut self, batches: &mut [Outgoing<'_>]) -> Result<()> {
        if self.under_way.len() >= IN_FLIGHT {
            self.acknowledge()?;
        }
        for Outgoing { partition, batch } in batches.iter_mut() {
            let sequence = &mut self.sequences[*partition];
            batch::patch(batch, self.producer, *sequence);
            let next = (i64::from(*sequence) + i64::from(batch::count(batch))) & i64::from(i32::MAX);
            *sequence = i32::try_from(next)?;
        }
        let header_version = ProduceRequest::header_version(VERSION);
        let mut first = self.wire.header(ProduceRequest::KEY, VERSION, header_version)?;
        first.put_i16(-1); // no transactional id
        first.put_i16(-1); // acknowledged by all
        first.put_i32(30_000);
        first.put_i32(1);
        first.put_i16(i16::try_from(self.topic.len())?);
        first.put_slice(self.topic.as_bytes());
        first.put_i32(i32::try_from(batches.len())?);
        let mut heads = Vec::with_capacity(batches.len());
        for Outgoing { partition, batch } in batches.iter() {
            let mut head = [0; 8];
            head[..4].copy_from_slice(&i32::try_from(*partition)?.to_be_bytes());
            head[4..].copy_from_slice(&i32::try_from(batch.len())?.to_be_bytes());
            heads.push(head);
        }
        let pieces: Vec<&[u8]> =
            heads.iter().zip(batches.iter()).flat_map(|(head, out)| [&head[..], &*out.batch]).collect();
        self.wire.finish(first, &pieces)?;
        self.under_way.push_back(batches.len());
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<()> {
        let Some(expected) = self.under_way.pop_front() else { return Ok(()) };
        let frame = self.wire.receive()?;
        let response = Wire::decode::<ProduceRequest>(&frame, VERSION)?;
        self.wire.recycle(frame);
        let answers: Vec<_> =
            response.responses.into_iter().flat_map(|topic| topic.partition_responses).collect();
        match answers.iter().find(|answer| answer.error_code != 0) {
            Some(refused) => {
                Err(format!("produce to {}-{}: error {}", self.topic, refused.index, refused.error_code)
                    .into())
            }
            None if answers.len() != expected => Err("an answer is not about what was sent".into()),
            None => Ok(()),
        }
    }

    /// Waits for everything under way.
    pub(crate) fn finish(mut self) -> Result<()> {
        while !self.under_way.is_empty() {
            self.acknowledge()?;
        }
        Ok(())
    }
}
