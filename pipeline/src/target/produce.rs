//! Produce: prepared batches to the leaders of their partitions, in order, exactly once.
//!
//! ```text
//! feed (one a partition) -> Work (order, sequences) -> Sender (a connection) -> broker
//!                             ^                           |
//!                             '------ Coordinator <-------'  moved, refused, over
//! ```
//! A partition belongs to one connection at a time. When its leader moves, or a broker refuses, its [`work::Work`] comes
//! back here with everything unacknowledged first in its queue, waits, and goes to whoever leads then.

mod sender;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use formats::ids::TopicPartition;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use sender::{Event, Sender, Shared};
use work::{Trouble, Work};

pub(crate) use work::Feed;

use super::TargetProgress;
use crate::kafka::{At, Client, Isolation, Topics};
use crate::rate::Limits;
use crate::seam::backoff;
use crate::{Error, Result};

/// The longest pause between attempts of one partition.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A producer id, and what it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProducerEntry {
    /// The id.
    pub(crate) producer: i64,
    /// Its epoch.
    pub(crate) epoch: i16,
    /// The number of the partition's record that it begins with, at sequence 0.
    pub(crate) base: u64,
}

impl ProducerEntry {
    /// The sequence number of the record that is the producer's `nth`, counted from 0: after the greatest comes 0.
    pub(crate) fn sequence(self, nth: u64) -> i32 {
        i32::try_from(nth & u64::from(i32::MAX.unsigned_abs())).unwrap_or(0)
    }
}

/// How it is produced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProduceSettings {
    /// Bytes of batches a second; none: no limit.
    pub(crate) bytes_per_second: Option<u64>,
    /// Records a second; none: no limit.
    pub(crate) records_per_second: Option<u64>,
    /// Produce connections to one broker; a broker serves one connection serially.
    pub(crate) connections_per_broker: usize,
    /// How long a broker may wait for its in-sync replicas.
    pub(crate) timeout: Duration,
    /// How long a partition is tried without any progress before it is given up.
    pub(crate) give_up_after: Duration,
}

/// A partition to be produced.
pub(crate) struct Job {
    pub(crate) partition: TopicPartition,
    /// The target offset of its first record.
    pub(crate) start: i64,
    pub(crate) producer: ProducerEntry,
    /// How many of its records are on the target.
    pub(crate) present: u64,
    /// Where somebody wants to see how many are acknowledged while it goes on.
    pub(crate) acked: Arc<AtomicU64>,
    /// Begins to read what is produced.
    pub(crate) feed: Box<dyn FnOnce() -> Feed + Send>,
}

/// What became of a partition.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) partition: TopicPartition,
    /// How many of its records are on the target.
    pub(crate) acked: u64,
    pub(crate) error: Option<Error>,
    pub(crate) resent: u64,
}

/// See the module.
pub(crate) struct Coordinator {
    shared: Shared,
    connections_per_broker: usize,
    give_up_after: Duration,
    senders: BTreeMap<(i32, usize), mpsc::UnboundedSender<Box<Work>>>,
    tasks: JoinSet<()>,
    to_events: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
    recovering: FuturesUnordered<BoxFuture<'static, Box<Work>>>,
    outcomes: mpsc::UnboundedSender<Outcome>,
}

impl Coordinator {
    pub(crate) fn new(
        settings: ProduceSettings,
        client: Client,
        progress: Arc<TargetProgress>,
        stop: CancellationToken,
        outcomes: mpsc::UnboundedSender<Outcome>,
    ) -> Self {
        let limits = Arc::new(Limits::new(settings.bytes_per_second, settings.records_per_second));
        let (to_events, events) = mpsc::unbounded_channel();
        Self {
            shared: Shared { client, limits, progress, timeout: settings.timeout, stop },
            connections_per_broker: settings.connections_per_broker.max(1),
            give_up_after: settings.give_up_after,
            senders: BTreeMap::new(),
            tasks: JoinSet::new(),
            to_events,
            events,
            recovering: FuturesUnordered::new(),
            outcomes,
        }
    }

    /// Produces what `jobs` gives until it ends, so many partitions at once, and tells of each what became of it. Of those
    /// that are not finished when it is stopped nothing is told.
    pub(crate) async fn run(mut self, mut jobs: impl Stream<Item = Job> + Unpin, at_once: usize) {
        let (mut active, mut more) = (0, true);
        let stop = self.shared.stop.clone();
        while !stop.is_cancelled() && (more || active > 0) {
            tokio::select! {
                () = stop.cancelled() => {}
                job = jobs.next(), if more && active < at_once.max(1) => match job {
                    Some(job) => {
                        active += 1;
                        self.dispatch(Box::new(Work::new(job)));
                    }
                    None => more = false,
                },
                Some(event) = self.events.recv() => match event {
                    Event::Over(work) => {
                        active -= 1;
                        self.over(*work);
                    }
                    Event::Troubled(work, trouble, error) => self.recover(work, trouble, error),
                },
                Some(work) = self.recovering.next(), if !self.recovering.is_empty() => self.dispatch(work),
            }
        }
        self.senders.clear();
        while self.tasks.join_next().await.is_some() {}
        while let Ok(event) = self.events.try_recv() {
            if let Event::Over(work) = event {
                self.over(*work);
            }
        }
    }

    fn over(&mut self, work: Work) {
        let progress = &self.shared.progress;
        let counter =
            if work.error.is_some() { &progress.partitions_failed } else { &progress.partitions_done };
        TargetProgress::add(counter, 1);
        TargetProgress::add(&progress.batches_resent, work.resent);
        let (acked, Work { partition, error, resent, .. }) = (work.acked(), work);
        // Whoever does not listen does not want to know.
        let _ = self.outcomes.send(Outcome { partition, acked, error, resent });
    }

    /// Gives a partition to a connection to its leader.
    fn dispatch(&mut self, work: Box<Work>) {
        let leader = self.shared.client.metadata().leader(&work.partition.topic, work.partition.partition);
        let Some((leader, _)) = leader else {
            let error = Error::retry(format!("{} has no leader", work.partition));
            return self.recover(work, Trouble::Resend, error);
        };
        let connection = usize::try_from(work.partition.partition).unwrap_or(0) % self.connections_per_broker;
        let sender = self.senders.entry((leader, connection)).or_insert_with(|| {
            let (to_sender, inbox) = mpsc::unbounded_channel();
            let sender = Sender::new(self.shared.clone(), leader, inbox, self.to_events.clone());
            self.tasks.spawn(sender.run());
            to_sender
        });
        if let Err(unsent) = sender.send(work) {
            // The sender was stopped with everything else.
            tracing::debug!(partition = %unsent.0.partition, "a partition's connection is closed");
        }
    }

    fn recover(&mut self, work: Box<Work>, trouble: Trouble, error: Error) {
        let (client, give_up_after) = (self.shared.client.clone(), self.give_up_after);
        self.recovering.push(Box::pin(recover(client, work, trouble, error, give_up_after)));
    }
}

/// Waits, asks who leads now, compares with the log where sequences did not fit.
async fn recover(
    client: Client,
    mut work: Box<Work>,
    trouble: Trouble,
    error: Error,
    give_up_after: Duration,
) -> Box<Work> {
    if work.failing_since.is_some_and(|since| since.elapsed() > give_up_after) {
        let failures = work.failures;
        work.give_up(error.at(format!("gave up after {failures} attempts in {give_up_after:?}")));
        return work;
    }
    tracing::debug!(%error, partition = %work.partition, failures = work.failures, "producing again");
    let retry = &client.config().retry;
    let pause = backoff(&*client.seam().rand, work.failures, retry.base, retry.cap.min(LONGEST_PAUSE));
    sleep(pause).await;
    let topic = work.partition.topic.clone();
    if let Err(error) = client.refresh(Topics::Named(std::slice::from_ref(&topic))).await {
        tracing::warn!(%error, "no fresh metadata of topic {topic}");
    }
    if trouble == Trouble::Compare {
        match log_end(&client, &work.partition).await {
            Ok(end) => work.learn_end(end),
            Err(error) => tracing::warn!(%error, "the log end of {} is not known", work.partition),
        }
    }
    work
}

/// Where a partition's log ends, as far as it is replicated.
pub(crate) async fn log_end(client: &Client, partition: &TopicPartition) -> Result<i64> {
    let mut found = client.list_offsets([partition.clone()], At::Latest, Isolation::ReadUncommitted).await;
    let listed = found.remove(partition).unwrap_or_else(|| Err(Error::permanent("no answer")))?;
    listed.offset.ok_or_else(|| Error::permanent(format!("{partition} has no end offset")))
}
