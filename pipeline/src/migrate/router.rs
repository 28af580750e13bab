//! The router: what the source, the producer and the target tell, given to the flow that it concerns; and the flows themselves, begun
//! when something is first said of their partition.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

use formats::ids::TopicPartition;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::flow::{Common, Flow, Shared, ToFlow};
use super::position::Entry;
use super::{Flows, MigrateSettings, panicked};
use crate::Result;
use crate::source::FromSource;
use crate::target::produce::Outcome;

/// Tells each flow what concerns it.
pub(super) struct Router {
    settings: MigrateSettings,
    common: Common,
    entries: BTreeMap<TopicPartition, Entry>,
    inboxes: BTreeMap<TopicPartition, (mpsc::UnboundedSender<ToFlow>, Arc<Shared>)>,
    flows: Flows,
    tasks: JoinSet<Result<()>>,
}

impl Router {
    /// `entries` are what the journal knows of each partition.
    pub(super) fn new(
        settings: MigrateSettings,
        common: Common,
        entries: BTreeMap<TopicPartition, Entry>,
        flows: Flows,
    ) -> Self {
        Self { settings, common, entries, inboxes: BTreeMap::new(), flows, tasks: JoinSet::new() }
    }

    /// Runs until it is told to stop, and then until the flows have.
    pub(super) async fn run(
        mut self,
        mut messages: mpsc::Receiver<FromSource>,
        mut outcomes: mpsc::UnboundedReceiver<Outcome>,
        stop: CancellationToken,
    ) -> Result<()> {
        let by_target = |settings: &MigrateSettings, inboxes: &BTreeMap<_, _>, target: &TopicPartition| {
            inboxes.keys().find(|source| settings.target(source) == *target).cloned()
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = self.tasks.join_next() => ended.unwrap_or_else(|e| Err(panicked(e)))?,
                Some(outcome) = outcomes.recv() => {
                    if let Some(source) = by_target(&self.settings, &self.inboxes, &outcome.partition) {
                        self.tell(source, ToFlow::Over(outcome));
                    }
                }
                message = messages.recv() => match message {
                    Some(message) => self.route(message),
                    None => break,
                },
            }
        }
        // The flows stop by themselves, and let go of the journal and the producer then.
        drop(self.inboxes);
        drop(self.common);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap_or_else(|e| Err(panicked(e)))?;
        }
        Ok(())
    }

    fn route(&mut self, message: FromSource) {
        match message {
            FromSource::Begin(begin) => self.tell(begin.partition.clone(), ToFlow::Begin(begin)),
            FromSource::Gap { partition, gap, .. } => self.tell(partition, ToFlow::Gap(gap)),
            FromSource::Fetched(fetched) => {
                let (partition, bytes) = (fetched.partition.clone(), fetched.batches.len());
                let Some((_, shared)) = self.inboxes.get(&partition) else { return };
                let queued = shared.queued.fetch_add(bytes, Relaxed) + bytes;
                if queued > self.common.room {
                    shared.ask(true, &partition, &self.common.to_source);
                }
                self.tell(partition, ToFlow::Fetched(fetched));
            }
            FromSource::End { partition, why: Some(why) } => {
                if let Some((_, shared)) = self.inboxes.get(&partition) {
                    shared.wait_for(why);
                }
            }
            FromSource::Op(_) | FromSource::End { .. } => {}
        }
    }

    fn tell(&mut self, partition: TopicPartition, message: ToFlow) {
        let (inbox, _) = self.inboxes.entry(partition.clone()).or_insert_with(|| {
            let shared = Arc::new(Shared::new());
            let (inbox, messages) = mpsc::unbounded_channel();
            let target = self.settings.target(&partition);
            let entry = self.entries.remove(&partition);
            let (common, to) = (self.common.clone(), Arc::clone(&shared));
            let flow = Flow::new(common, partition.clone(), target, to, entry, messages);
            self.tasks.spawn(flow.run());
            let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
            flows.insert(partition, Arc::clone(&shared));
            (inbox, shared)
        });
        // A flow that has ended was stopped, or its error ends everything.
        let _ = inbox.send(message);
    }
}
