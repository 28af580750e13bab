//! One partition on its way to the target: what is to be sent, what is under way, what was acknowledged.
//!
//! The rules that keep order whole are here and nowhere else:
//!
//! * **The first batch goes alone.** After creation and after a move a leader may refuse one batch and accept the ones
//!   behind it, because to a producer id that it does not know any sequence number is the first. So nothing else is sent
//!   until one acknowledgement came back with the right offset.
//! * **After any failure nothing new is sent** until every answer that is under way has come; then everything that was
//!   not acknowledged goes again in order, with the same sequence numbers.
//! * **Every acknowledgement's offset must be the expected one.** Another one means that somebody else writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use formats::ids::TopicPartition;
use formats::record_batch::{Producer, RecordBatch};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::kafka::{Batch, KafkaErrorCode, ProducedPartition};
use crate::target::lane::{Prepared, split_batch};
use crate::target::produce::{Job, ProducerEntry};
use crate::{Error, ErrorKind, Result};

/// Requests under way for one partition: what a broker remembers of a producer's last batches.
const IN_FLIGHT: usize = 5;

/// Batches of one partition as they come from the archive; ends with the partition or with an error.
pub(crate) type Feed = mpsc::Receiver<Result<Prepared>>;

/// Batches taken out of the feed at once: whoever fills it is then woken once for all of them.
const TAKEN: usize = 16;

/// What a failure asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Ask the cluster who leads now, then send again.
    Resend,
    /// The broker has other sequence numbers than we: look at its log before anything is sent.
    Compare,
}

/// One partition.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) partition: TopicPartition,
    /// The target offset of the partition's first record.
    start: i64,
    producer: ProducerEntry,
    feed: Feed,
    /// Room for what is taken out of the feed.
    taken: Vec<Result<Prepared>>,
    /// What ended the feed, behind the batches in the queue.
    broken: Option<Error>,
    /// Ended, or nothing further is wanted.
    ended: bool,
    /// To be sent next, before anything of the feed.
    queue: VecDeque<Prepared>,
    in_flight: VecDeque<Prepared>,
    /// Not acknowledged, of those that were under way.
    refused: VecDeque<Prepared>,
    alone: bool,
    trouble: Option<(Trouble, Error)>,
    /// Failures in a row, and since when.
    pub(crate) failures: u32,
    pub(crate) failing_since: Option<Instant>,
    /// How many of the partition's records are on the target; written here alone.
    acked: Arc<AtomicU64>,
    /// Where the target's log ended when it was last asked for a reason.
    log_end: i64,
    /// What ended it early.
    pub(crate) error: Option<Error>,
    pub(crate) resent: u64,
}

impl Work {
    /// Begins to read it.
    pub(crate) fn new(job: Job) -> Self {
        let Job { partition, start, producer, present, acked, feed } = job;
        acked.store(present, Relaxed);
        Self {
            partition,
            start,
            producer,
            feed: feed(),
            taken: Vec::new(),
            broken: None,
            ended: false,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            refused: VecDeque::new(),
            alone: true,
            trouble: None,
            failures: 0,
            failing_since: None,
            acked,
            log_end: 0,
            error: None,
            resent: 0,
        }
    }

    /// How many of the partition's records are on the target.
    pub(crate) fn acked(&self) -> u64 {
        self.acked.load(Relaxed)
    }

    /// Takes the next batches out of the feed where there is room; ready when something changed.
    pub(crate) fn poll_feed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.ended || !self.queue.is_empty() || self.trouble.is_some() {
            return Poll::Pending;
        }
        if let Some(error) = self.broken.take() {
            self.fail(error);
            return Poll::Ready(());
        }
        match self.feed.poll_recv_many(context, &mut self.taken, TAKEN) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(0) => self.ended = true,
            Poll::Ready(_) => {
                for batch in self.taken.drain(..) {
                    match batch {
                        Ok(batch) => self.queue.push_back(batch),
                        Err(error) => {
                            self.broken.get_or_insert(error);
                        }
                    }
                }
                self.skip();
            }
        }
        Poll::Ready(())
    }

    /// Whether a batch can be sent now.
    pub(crate) fn is_ready(&self) -> bool {
        let room = if self.alone { 1 } else { IN_FLIGHT };
        self.error.is_none()
            && self.trouble.is_none()
            && self.in_flight.len() < room
            && !self.queue.is_empty()
    }

    /// The size of the batch that would be sent.
    pub(crate) fn next_size(&self) -> usize {
        self.queue.front().map_or(0, |batch| batch.bytes.len())
    }

    /// The next batch with its header renewed, now under way; and how many records it has.
    pub(crate) fn send(&mut self) -> Result<Option<(Batch, u64)>> {
        let Some(batch) = self.queue.pop_front() else { return Ok(None) };
        let expected =
            self.acked() + self.in_flight.iter().map(|b| u64::from(b.records.unsigned_abs())).sum::<u64>();
        if batch.index != expected {
            let error = split_batch(&self.partition.to_string(), expected, &batch);
            self.fail(error);
            return Ok(None);
        }
        let producer = Producer {
            id: self.producer.producer,
            epoch: self.producer.epoch,
            base_sequence: self.producer.sequence(batch.index.wrapping_sub(self.producer.base)),
        };
        let stored = RecordBatch::parse(&batch.bytes)?;
        let header = stored.produce_header(producer)?;
        let payload = batch.bytes.slice(header.len()..);
        let chunks = vec![Bytes::copy_from_slice(&header), payload];
        let records = u64::from(batch.records.unsigned_abs());
        self.in_flight.push_back(batch);
        Ok(Some((Batch { partition: self.partition.clone(), chunks }, records)))
    }

    /// Takes the answer to the oldest batch under way; gives the records and bytes that it acknowledged.
    pub(crate) fn answer(&mut self, answer: &ProducedPartition) -> (u64, u64) {
        let Some(batch) = self.in_flight.pop_front() else { return (0, 0) };
        if let Some(code) = answer.error {
            self.refuse(batch, code, answer);
            return (0, 0);
        }
        let expected = self.start.saturating_add_unsigned(batch.index);
        if answer.base_offset != Some(expected) {
            let got = answer.base_offset.unwrap_or(-1);
            self.fail(foreign(&self.partition, &batch, expected, got));
            return (0, 0);
        }
        if self.trouble.is_some() {
            // One before it was appended too but not acknowledged (too few replicas, a time-out): all go again, and the
            // broker tells duplicates.
            self.refused.push_back(batch);
            return (0, 0);
        }
        (self.alone, self.failures, self.failing_since) = (false, 0, None);
        self.acked.store(batch.end(), Relaxed);
        (u64::from(batch.records.unsigned_abs()), batch.bytes.len() as u64)
    }

    fn refuse(&mut self, batch: Prepared, code: KafkaErrorCode, answer: &ProducedPartition) {
        let place = format!("{}: producing the batch of source offset {}", self.partition, batch.source);
        let trouble = match code {
            KafkaErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
            | KafkaErrorCode::DUPLICATE_SEQUENCE_NUMBER
            | KafkaErrorCode::UNKNOWN_PRODUCER_ID => Trouble::Compare,
            code if code.is_retriable() => Trouble::Resend,
            code => {
                let mut error = code.to_error(place, answer.message.as_deref());
                if error.kind() == ErrorKind::Credentials {
                    let topic = &self.partition.topic;
                    error = error.hint(format!(
                        "grant WRITE on topic {topic} to this client's principal (kafka-acls)"
                    ));
                }
                if let Some((index, Some(why))) = answer.record_errors.first() {
                    error = error.at(format!("record {index} of the batch: {why}"));
                }
                return self.fail(error);
            }
        };
        self.refused.push_back(batch);
        // Whatever comes after the first failure only follows from it.
        if self.trouble.is_none() {
            self.trouble = Some((trouble, code.to_error(place, answer.message.as_deref())));
        }
    }

    /// The connection is gone: whether the batches under way were appended is not known.
    pub(crate) fn lose_oldest(&mut self, error: &Error) {
        let Some(batch) = self.in_flight.pop_front() else { return };
        self.refused.push_back(batch);
        if self.trouble.is_none() {
            let error = Error::new(error.kind(), error.message()).at(&self.partition);
            self.trouble = Some((Trouble::Resend, error));
        }
    }

    /// The latest batch was not sent after all.
    pub(crate) fn unsend(&mut self, error: &Error) {
        let Some(batch) = self.in_flight.pop_back() else { return };
        self.queue.push_front(batch);
        if self.trouble.is_none() {
            let error = Error::new(error.kind(), error.message()).at(&self.partition);
            self.trouble = Some((Trouble::Resend, error));
        }
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
        self.ended = true;
        self.queue.clear();
        self.refused.clear();
    }

    /// Ends with an error from outside.
    pub(crate) fn give_up(&mut self, error: Error) {
        self.fail(error);
        self.trouble = None;
    }

    /// Whether it must leave its connection: nothing is under way and something is wrong.
    pub(crate) fn is_troubled(&self) -> bool {
        self.error.is_none() && self.trouble.is_some() && self.in_flight.is_empty()
    }

    /// Whether there is nothing left to do.
    pub(crate) fn is_over(&self) -> bool {
        self.in_flight.is_empty()
            && (self.error.is_some() || (self.ended && self.queue.is_empty() && self.trouble.is_none()))
    }

    /// What is wrong; everything unacknowledged is first in the queue again.
    pub(crate) fn take_trouble(&mut self) -> Option<(Trouble, Error)> {
        let trouble = self.trouble.take()?;
        self.resent += self.refused.len() as u64;
        while let Some(batch) = self.refused.pop_back() {
            self.queue.push_front(batch);
        }
        self.alone = true;
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert_with(Instant::now);
        Some(trouble)
    }

    /// Learns that the target's log reaches to `end`: batches below it were appended by an earlier attempt or another
    /// copy of the job, which made the same ones.
    pub(crate) fn learn_end(&mut self, end: i64) {
        self.log_end = self.log_end.max(end);
        self.skip();
    }

    fn skip(&mut self) {
        while let Some(batch) = self.queue.front() {
            let expected = self.start.saturating_add_unsigned(batch.index);
            let after = self.start.saturating_add_unsigned(batch.end());
            if self.log_end <= expected || batch.index != self.acked() {
                return;
            }
            if self.log_end < after {
                let error = foreign(&self.partition, batch, expected, self.log_end);
                return self.fail(error);
            }
            self.acked.store(batch.end(), Relaxed);
            self.queue.pop_front();
        }
    }
}

fn foreign(partition: &TopicPartition, batch: &Prepared, expected: i64, got: i64) -> Error {
    Error::permanent(format!(
        "somebody else is writing to {partition}: the batch of source offset {} belongs at offset {expected}, the log has it at or ends at {got}",
        batch.source
    ))
    .hint("stop the other producers, delete the topic and begin again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::samples::{batch, place};

    fn work(present: u64, batches: &[(u64, usize)]) -> (Work, mpsc::Sender<Result<Prepared>>) {
        let (out, feed) = mpsc::channel(16);
        let producer = ProducerEntry { producer: 9, epoch: 0, base: 0 };
        for &(index, count) in batches {
            let bytes = Bytes::from(batch(index as i64, count, None));
            let prepared = Prepared { index, records: count as i32, bytes, source: index as i64 };
            out.try_send(Ok(prepared)).expect("room");
        }
        let acked = Arc::default();
        let feed = Box::new(|| feed);
        (Work::new(Job { partition: place("t", 0), start: 100, producer, present, acked, feed }), out)
    }

    /// Sends what can be sent; the sequences of the batches.
    fn sent(work: &mut Work) -> Vec<i32> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut sequences = Vec::new();
        loop {
            while work.poll_feed(&mut context).is_ready() {}
            if !work.is_ready() {
                return sequences;
            }
            let (batch, _) = work.send().expect("encodes").expect("a batch");
            let whole = batch.chunks.concat();
            sequences.push(RecordBatch::parse(&whole).expect("a batch").base_sequence());
        }
    }

    fn answer(code: i16, base_offset: i64) -> ProducedPartition {
        ProducedPartition {
            partition: place("t", 0),
            error: KafkaErrorCode::check(code),
            base_offset: (base_offset >= 0).then_some(base_offset),
            log_append_time: None,
            log_start_offset: None,
            message: None,
            record_errors: Vec::new(),
            current_leader: None,
        }
    }

    const THREE: [(u64, usize); 3] = [(0, 2), (2, 3), (5, 1)];

    #[test]
    fn the_first_batch_goes_alone_and_the_rest_follow() {
        let (mut work, out) = work(0, &THREE);
        assert_eq!(sent(&mut work), [0]);
        assert_eq!(work.answer(&answer(0, 100)).0, 2);
        assert_eq!(sent(&mut work), [2, 5]);
        work.answer(&answer(0, 102));
        work.answer(&answer(0, 105));
        drop(out);
        assert!(sent(&mut work).is_empty() && work.is_over());
        assert_eq!((work.acked(), work.error.is_none()), (6, true));
    }

    #[test]
    fn everything_unacknowledged_goes_again_in_order_after_all_answers() {
        let (mut work, _out) = work(0, &THREE);
        sent(&mut work);
        work.answer(&answer(0, 100));
        assert_eq!(sent(&mut work), [2, 5]);
        // Appended, but with too few replicas: the one behind it is acknowledged at its place.
        work.answer(&answer(20, -1));
        assert!(!work.is_troubled(), "an answer is under way");
        work.answer(&answer(0, 105));
        assert!(work.is_troubled() && work.error.is_none());
        assert_eq!(work.take_trouble().expect("trouble").0, Trouble::Resend);
        assert_eq!(sent(&mut work), [2], "alone again");
        work.answer(&answer(0, 102));
        assert_eq!(sent(&mut work), [5]);
    }

    #[test]
    fn another_offset_than_the_expected_one_ends_it() {
        let (mut work, _out) = work(0, &THREE);
        sent(&mut work);
        work.answer(&answer(0, 101));
        assert!(work.is_over());
        assert!(work.error.expect("an error").message().contains("somebody else is writing to t-0"));
    }

    #[test]
    fn what_an_earlier_run_appended_meanwhile_is_stepped_over() {
        let (mut work, out) = work(0, &THREE);
        assert_eq!(sent(&mut work), [0]);
        work.answer(&answer(45, -1));
        assert_eq!(work.take_trouble().expect("trouble").0, Trouble::Compare);
        work.learn_end(105);
        assert_eq!(
            sent(&mut work),
            [5],
            "five records are there, two of them still to come from the feed then"
        );
        work.answer(&answer(0, 105));
        drop(out);
        assert!(sent(&mut work).is_empty() && work.is_over() && work.error.is_none());
        let (mut work, _out) = self::work(0, &THREE);
        sent(&mut work);
        work.answer(&answer(45, -1));
        work.take_trouble();
        work.learn_end(101);
        assert!(work.error.is_some(), "the log ends inside a batch");
    }

    #[test]
    fn a_lost_connection_loses_nothing() {
        let (mut work, _out) = work(2, &[(2, 3), (5, 1)]);
        assert_eq!(sent(&mut work), [2]);
        work.lose_oldest(&Error::retry("gone"));
        assert!(work.is_troubled());
        work.take_trouble();
        assert_eq!(sent(&mut work), [2]);
    }
}
