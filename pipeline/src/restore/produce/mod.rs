//! Produce: prepared batches to the leaders of their partitions, in order, exactly once.
//!
//! ```text
//! feed (one a partition) -> Work (order, sequences) -> Sender (a connection) -> broker
//!                             ^                           |
//!                             '------ Coordinator <-------'  moved, refused, over
//! ```
//! A partition belongs to one connection at a time. When its leader moves, or a broker refuses, its [`work::Work`] comes
//! back here with everything unacknowledged first in its queue, waits, and goes to whoever leads then.

mod limit;
mod sender;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use formats::ids::TopicPartition;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use limit::Limits;
use sender::{Event, Sender, Shared};
use work::{Trouble, Work};

pub(in crate::restore) use work::Feed;

use super::journal::ProducerEntry;
use super::progress::RestoreProgress;
use super::settings::RestoreSettings;
use crate::kafka::{At, Client, Isolation, Topics};
use crate::seam::backoff;
use crate::{Error, Result};

/// The longest pause between attempts of one partition.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A partition to be produced.
pub(super) struct Job {
    pub(super) partition: TopicPartition,
    /// The target offset of its first record.
    pub(super) start: i64,
    pub(super) producer: ProducerEntry,
    /// How many of its records are on the target.
    pub(super) present: u64,
    /// Begins to read the archive.
    pub(super) feed: Box<dyn FnOnce() -> Feed + Send>,
}

/// What became of a partition.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) partition: TopicPartition,
    /// How many of its records are on the target.
    pub(super) acked: u64,
    pub(super) error: Option<Error>,
    pub(super) resent: u64,
}

/// See the module.
pub(super) struct Coordinator {
    shared: Shared,
    connections_per_broker: usize,
    give_up_after: Duration,
    senders: BTreeMap<(i32, usize), mpsc::UnboundedSender<Box<Work>>>,
    tasks: JoinSet<()>,
    to_events: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
    recovering: FuturesUnordered<BoxFuture<'static, Box<Work>>>,
    outcomes: Vec<Outcome>,
}

impl Coordinator {
    pub(super) fn new(
        settings: &RestoreSettings,
        client: Client,
        progress: Arc<RestoreProgress>,
        stop: CancellationToken,
    ) -> Self {
        let limits = Arc::new(Limits::new(settings.bytes_per_second, settings.records_per_second));
        let (to_events, events) = mpsc::unbounded_channel();
        Self {
            shared: Shared { client, limits, progress, timeout: settings.produce_timeout, stop },
            connections_per_broker: settings.connections_per_broker.max(1),
            give_up_after: settings.give_up_after,
            senders: BTreeMap::new(),
            tasks: JoinSet::new(),
            to_events,
            events,
            recovering: FuturesUnordered::new(),
            outcomes: Vec::new(),
        }
    }

    /// Produces everything, so many partitions at once. Where it is stopped, unfinished partitions are not among the
    /// outcomes.
    pub(super) async fn run(mut self, jobs: Vec<Job>, at_once: usize) -> Vec<Outcome> {
        let mut active = 0;
        let mut jobs = jobs.into_iter();
        let stop = self.shared.stop.clone();
        while !stop.is_cancelled() {
            while active < at_once.max(1) {
                let Some(job) = jobs.next() else { break };
                active += 1;
                let work = Work::new(job.partition, job.start, job.producer, job.present, (job.feed)());
                self.dispatch(Box::new(work));
            }
            if active == 0 {
                break;
            }
            tokio::select! {
                () = stop.cancelled() => {}
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
        self.outcomes
    }

    fn over(&mut self, work: Work) {
        let progress = &self.shared.progress;
        let counter =
            if work.error.is_some() { &progress.partitions_failed } else { &progress.partitions_done };
        RestoreProgress::add(counter, 1);
        RestoreProgress::add(&progress.batches_resent, work.resent);
        let Work { partition, acked, error, resent, .. } = work;
        self.outcomes.push(Outcome { partition, acked, error, resent });
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
pub(super) async fn log_end(client: &Client, partition: &TopicPartition) -> Result<i64> {
    let mut found = client.list_offsets([partition.clone()], At::Latest, Isolation::ReadUncommitted).await;
    let listed = found.remove(partition).unwrap_or_else(|| Err(Error::permanent("no answer")))?;
    listed.offset.ok_or_else(|| Error::permanent(format!("{partition} has no end offset")))
}
