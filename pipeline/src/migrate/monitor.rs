//! How far behind a migration is, partition by partition, and when there is nothing left to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use formats::ids::TopicPartition;
use tokio::time::{Instant, sleep};

use super::{Flows, MigrateSettings};
use crate::kafka::{At, Client, Isolation};
use crate::source::{SourceProgress, cluster};
use crate::target::TargetProgress;

/// Between two looks at the source's ends.
const PAUSE: Duration = Duration::from_secs(1);
/// The same where somebody waits for the end.
const SHORT_PAUSE: Duration = Duration::from_millis(250);

/// Between two words about how far it is behind.
const SAID: Duration = Duration::from_secs(30);

/// Counters of a running migration.
#[derive(Debug, Default)]
pub struct MigrateProgress {
    /// What the source tells.
    pub source: Arc<SourceProgress>,
    /// What the target tells.
    pub target: Arc<TargetProgress>,
    /// Partitions that have begun.
    pub partitions: AtomicU64,
    /// Partitions that do not go on in this run.
    pub partitions_failed: AtomicU64,
    /// Offsets of the source that are not on the target yet, up to its stable offsets, when it was last looked at.
    pub lag: AtomicU64,
    /// Records of either side that were read once more at the cut-over.
    pub records_compared: AtomicU64,
    lags: Mutex<BTreeMap<TopicPartition, u64>>,
}

impl MigrateProgress {
    /// The lag of each partition of the source, in offsets, when it was last looked at.
    pub fn lags(&self) -> BTreeMap<TopicPartition, u64> {
        self.lags.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where a partition of the source ended when it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Behind the last record whose transaction is decided.
    pub(super) stable: i64,
    /// Behind the last record.
    pub(super) high: i64,
}

pub(super) type Ends = BTreeMap<TopicPartition, End>;

/// How a migration that was to end has ended.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) ends: Ends,
    /// Whether the target holds everything; otherwise nothing has moved for so long that it is given up.
    pub(super) caught_up: bool,
}

/// Looks at the source's ends for as long as the migration runs.
pub(super) struct Monitor {
    pub(super) settings: MigrateSettings,
    pub(super) source: Client,
    /// Partitions that the source had at the start.
    pub(super) expected: BTreeSet<TopicPartition>,
    pub(super) flows: Flows,
    pub(super) progress: Arc<MigrateProgress>,
}

impl Monitor {
    /// Ends where it was asked for, and the target holds everything up to ends that have not moved between two looks, or nothing has
    /// moved for long.
    pub(super) async fn run(self) -> Watched {
        let pause = if self.settings.until_caught_up { SHORT_PAUSE } else { PAUSE };
        let (mut before, mut said) = (Ends::new(), Instant::now());
        let (mut reached, mut moved) = (0, Instant::now());
        loop {
            sleep(pause).await;
            let ends = self.look().await;
            let is_done = self.compare(&ends);
            if said.elapsed() >= SAID {
                said = Instant::now();
                self.say();
            }
            let now = self.reached();
            if now != reached {
                (reached, moved) = (now, Instant::now());
            }
            let is_still = moved.elapsed() > self.settings.give_up_after;
            let is_over = self.settings.until_caught_up && is_done && ends == before && self.has_all().await;
            if self.settings.until_caught_up && (is_still || is_over) {
                return Watched { ends, caught_up: is_over };
            }
            before = ends;
        }
    }

    /// How far all of them are together.
    fn reached(&self) -> i64 {
        let flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        let positions = flows.values().filter_map(|flow| flow.position());
        positions.map(|position| position + 1).sum::<i64>() + i64::try_from(flows.len()).unwrap_or(0)
    }

    /// Whether every partition that the source has by now has begun.
    async fn has_all(&self) -> bool {
        let selected = match cluster::select(&self.source, &self.settings.topics).await {
            Ok(selected) => selected,
            Err(error) => {
                tracing::warn!(%error, "whether the source has new partitions is not known");
                return false;
            }
        };
        let flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        selected.partitions().all(|partition| flows.contains_key(&partition))
    }

    fn say(&self) {
        let lags = self.progress.lags();
        let (total, worst) = (lags.values().sum::<u64>(), lags.iter().max_by_key(|(_, lag)| **lag));
        let failed = self.progress.partitions_failed.load(Relaxed);
        match worst.filter(|(_, lag)| **lag > 0) {
            Some((partition, lag)) => {
                tracing::info!(lag = total, worst = %partition, worst_lag = lag, failed, "behind the source")
            }
            None => tracing::info!(failed, "the target has everything that the source has"),
        }
    }

    async fn look(&self) -> Ends {
        let mut partitions = self.expected.clone();
        partitions.extend(self.flows.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned());
        let list = |isolation| self.source.list_offsets(partitions.iter().cloned(), At::Latest, isolation);
        let (stable, mut high) =
            tokio::join!(list(Isolation::ReadCommitted), list(Isolation::ReadUncommitted));
        let mut ends = Ends::new();
        for (partition, stable) in stable {
            let high = high.remove(&partition).and_then(|listed| listed.ok()?.offset);
            // Of a partition that does not answer the last answer counts; that it is behind shows by its flow.
            let Some(stable) = stable.ok().and_then(|listed| listed.offset) else { continue };
            ends.insert(partition, End { stable, high: high.unwrap_or(stable).max(stable) });
        }
        ends
    }

    /// Notes how far each partition is behind; whether none is.
    fn compare(&self, ends: &Ends) -> bool {
        let flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut lags, mut failed, mut is_done) = (BTreeMap::new(), 0, true);
        for partition in self.expected.iter().filter(|partition| !flows.contains_key(*partition)) {
            tracing::trace!(%partition, "has not begun");
            is_done = false;
        }
        for (partition, flow) in &flows {
            if flow.failure().is_some() {
                failed += 1;
                continue;
            }
            let (Some(position), Some(end)) = (flow.position(), ends.get(partition)) else {
                // Of a topic that was deleted nothing more comes.
                let known = self.source.metadata();
                is_done &= known.partition(&partition.topic, partition.partition).is_none();
                continue;
            };
            let lag = u64::try_from(end.stable - position).unwrap_or(0);
            is_done &= lag == 0;
            lags.insert(partition.clone(), lag);
        }
        self.progress.lag.store(lags.values().sum(), Relaxed);
        self.progress.partitions.store(flows.len() as u64, Relaxed);
        self.progress.partitions_failed.store(failed, Relaxed);
        *self.progress.lags.lock().unwrap_or_else(PoisonError::into_inner) = lags;
        is_done
    }
}
