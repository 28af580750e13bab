//! One connection to one broker and the partitions that are sent over it.
//!
//! A request carries at most one batch of a partition and many partitions; at most five requests are under way. Answers
//! come in the order of the requests.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use formats::ids::TopicPartition;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::work::{Trouble, Work};
use crate::failpoint;
use crate::kafka::{Client, ProduceConnection, ProducedPartition};
use crate::rate::Limits;
use crate::target::TargetProgress;
use crate::{Error, Result};

/// Requests under way on a connection.
const REQUESTS: usize = 5;
/// Bytes of batches from which a request is not made larger.
const REQUEST_BYTES: usize = 1 << 20;

/// What a sender tells the coordinator.
#[derive(Debug)]
pub(crate) enum Event {
    /// The partition is complete, or has failed.
    Over(Box<Work>),
    /// The partition must go elsewhere, or be tried again after a pause.
    Troubled(Box<Work>, Trouble, Error),
}

/// What all senders share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) limits: Arc<Limits>,
    pub(crate) progress: Arc<TargetProgress>,
    pub(crate) timeout: Duration,
    pub(crate) stop: CancellationToken,
}

type Answer = BoxFuture<'static, Result<Vec<ProducedPartition>>>;

/// One connection.
pub(crate) struct Sender {
    shared: Shared,
    broker: i32,
    connection: Option<ProduceConnection>,
    inbox: mpsc::UnboundedReceiver<Box<Work>>,
    events: mpsc::UnboundedSender<Event>,
    works: BTreeMap<TopicPartition, Box<Work>>,
    requests: VecDeque<(Answer, Vec<TopicPartition>)>,
    /// The partition that was last in a request: the next request begins behind it.
    turn: Option<TopicPartition>,
    closed: bool,
}

impl Sender {
    pub(crate) fn new(
        shared: Shared,
        broker: i32,
        inbox: mpsc::UnboundedReceiver<Box<Work>>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        Self {
            shared,
            broker,
            connection: None,
            inbox,
            events,
            works: BTreeMap::new(),
            requests: VecDeque::new(),
            turn: None,
            closed: false,
        }
    }

    /// Runs until the coordinator lets go of it, or the restore is stopped; answers under way are waited for.
    pub(crate) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        loop {
            self.hand_back();
            if self.closed && self.works.is_empty() {
                return;
            }
            if stop.is_cancelled() {
                return self.drain().await;
            }
            if self.requests.len() < REQUESTS && self.works.values().any(|work| work.is_ready()) {
                self.send().await;
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                work = self.inbox.recv(), if !self.closed => match work {
                    Some(work) => { self.works.insert(work.partition.clone(), work); }
                    None => self.closed = true,
                },
                answer = oldest(&mut self.requests) => self.take_answer(answer),
                () = feeds(&mut self.works) => {}
            }
        }
    }

    /// Waits for what is under way, so that progress and journal of the next run are as good as they can be.
    async fn drain(&mut self) {
        while let Some((answer, _)) = self.requests.front_mut() {
            let answer = answer.await;
            self.take_answer(answer);
        }
        self.hand_back();
    }

    fn hand_back(&mut self) {
        let leaving: Vec<TopicPartition> = self
            .works
            .iter()
            .filter(|(_, work)| work.is_over() || work.is_troubled())
            .map(|(partition, _)| partition.clone())
            .collect();
        for mut work in leaving.iter().filter_map(|partition| self.works.remove(partition)) {
            let event = match work.take_trouble() {
                Some((trouble, error)) if work.error.is_none() => Event::Troubled(work, trouble, error),
                _ => Event::Over(work),
            };
            // A coordinator that is gone wants nothing any more.
            let _ = self.events.send(event);
        }
    }

    async fn send(&mut self) {
        // Whatever else is there by now may share the request.
        let _ = feeds(&mut self.works).now_or_never();
        let (mut batches, mut partitions, mut bytes, mut records) = (Vec::new(), Vec::new(), 0, 0);
        for partition in self.in_turn() {
            let Some(work) = self.works.get_mut(&partition) else { continue };
            if !work.is_ready() || (bytes > 0 && bytes + work.next_size() > REQUEST_BYTES) {
                continue;
            }
            let size = work.next_size();
            match work.send() {
                Ok(Some((batch, count))) => {
                    batches.push(batch);
                    bytes += size;
                    records += count;
                    partitions.push(partition);
                }
                Ok(None) => {}
                Err(error) => work.give_up(error.at(&partition)),
            }
            if bytes >= REQUEST_BYTES {
                break;
            }
        }
        if batches.is_empty() {
            return;
        }
        self.turn = partitions.last().cloned();
        tokio::select! {
            // What was taken counts as under way and is sent again by the next run.
            () = self.shared.stop.cancelled() => return,
            () = self.shared.limits.pay(bytes as u64, records) => {}
        }
        failpoint::hit("before_produce");
        match self.put_on_the_wire(&batches).await {
            Ok(answer) => {
                failpoint::hit("after_send");
                TargetProgress::add(&self.shared.progress.requests, 1);
                self.requests.push_back((answer, partitions));
            }
            Err(error) => {
                for partition in partitions {
                    if let Some(work) = self.works.get_mut(&partition) {
                        work.unsend(&error);
                    }
                }
                self.lose_connection(&error);
            }
        }
    }

    async fn put_on_the_wire(&mut self, batches: &[crate::kafka::Batch]) -> Result<Answer> {
        let connection = match &mut self.connection {
            Some(connection) if connection.is_alive() => connection,
            held => {
                *held = None;
                let (client, timeout) = (&self.shared.client, self.shared.timeout);
                held.insert(ProduceConnection::open(client, self.broker, timeout).await?)
            }
        };
        Ok(connection.send(batches).await?.response().boxed())
    }

    /// The partitions, those behind the last one served first.
    fn in_turn(&self) -> Vec<TopicPartition> {
        let mut list: Vec<TopicPartition> = self.works.keys().cloned().collect();
        if let Some(turn) = &self.turn {
            let at = list.partition_point(|partition| partition <= turn);
            let at = at % list.len().max(1);
            list.rotate_left(at);
        }
        list
    }

    /// Whatever is under way shares the fate of the connection: a batch sent over a new one must not overtake it.
    fn lose_connection(&mut self, error: &Error) {
        tracing::debug!(%error, broker = self.broker, "a produce connection is lost");
        self.connection = None;
        for (_, partitions) in std::mem::take(&mut self.requests) {
            for partition in partitions {
                if let Some(work) = self.works.get_mut(&partition) {
                    work.lose_oldest(error);
                }
            }
        }
    }

    fn take_answer(&mut self, answer: Result<Vec<ProducedPartition>>) {
        match answer {
            Ok(results) => {
                self.requests.pop_front();
                for result in results {
                    let Some(work) = self.works.get_mut(&result.partition) else { continue };
                    let (records, bytes) = work.answer(&result);
                    TargetProgress::add(&self.shared.progress.records_acked, records);
                    TargetProgress::add(&self.shared.progress.bytes_acked, bytes);
                    failpoint::hit("after_ack");
                }
            }
            Err(error) => self.lose_connection(&error),
        }
    }
}

/// The answer to the oldest request; never without one.
async fn oldest(
    requests: &mut VecDeque<(Answer, Vec<TopicPartition>)>,
) -> Result<Vec<ProducedPartition>, Error> {
    match requests.front_mut() {
        Some((answer, _)) => answer.await,
        None => std::future::pending().await,
    }
}

/// Until one of the partitions has something new.
async fn feeds(works: &mut BTreeMap<TopicPartition, Box<Work>>) {
    poll_fn(|context| {
        let mut ready = Poll::Pending;
        for work in works.values_mut() {
            if work.poll_feed(context).is_ready() {
                ready = Poll::Ready(());
            }
        }
        ready
    })
    .await;
}
