//! Order and commit: holds what is durable until everything before it in its partition is durable too, then makes it
//! true. The one place of a backup that writes commits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use formats::commit::{LineageReason, Op, SegmentEntry};
use formats::ids::{LineageId, Topic, TopicPartition};
use formats::schema_ids::IdTally;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::BackupReport;
use super::message::{Ordered, Ticket, ToOrder};
use super::progress::BackupProgress;
use crate::Result;
use crate::commit_log::CommitLog;
use crate::stage::Watch;

/// Segments after which a commit is made although the interval has not passed.
const MOST_SEGMENTS: usize = 2000;
/// The shortest time between two writings of the view for people.
const MANIFEST_INTERVAL: Duration = Duration::from_secs(60);
/// And no more of its bytes a second than this, on average: the view of thousands of partitions has megabytes.
const MANIFEST_RATE: u64 = 4096;

/// The order and commit stage.
pub(super) struct Committer {
    log: CommitLog,
    interval: Duration,
    progress: Arc<BackupProgress>,
    waiting: HashMap<Arc<TopicPartition>, Waiting>,
    ready: BTreeMap<Arc<TopicPartition>, Vec<Op>>,
    ready_ops: Vec<Op>,
    ready_segments: usize,
    report: BackupReport,
    /// The schemas that records of this run name, where they were looked for; bounded by topics.
    seen: BTreeMap<Topic, IdTally>,
    manifest_due: Instant,
    /// The number of the last commit that added data.
    data: watch::Sender<u64>,
}

/// A run that is committed to its end.
pub(super) struct Ended {
    pub(super) report: BackupReport,
    pub(super) log: CommitLog,
    /// The schemas that its records name, by topic.
    pub(super) seen: BTreeMap<Topic, IdTally>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    early: BTreeMap<u64, (Ticket, Ordered)>,
}

impl Committer {
    pub(super) fn new(log: CommitLog, interval: Duration, progress: Arc<BackupProgress>) -> Self {
        let head = log.head();
        let report = BackupReport { head: Some(head), ..BackupReport::default() };
        Self {
            log,
            interval,
            progress,
            waiting: HashMap::new(),
            ready: BTreeMap::new(),
            ready_ops: Vec::new(),
            ready_segments: 0,
            report,
            seen: BTreeMap::new(),
            manifest_due: Instant::now() + MANIFEST_INTERVAL,
            data: watch::Sender::new(head.seq),
        }
    }

    /// Tells the number of the last commit that added data, as it grows; before that of the newest commit.
    pub(super) fn data(&self) -> watch::Receiver<u64> {
        self.data.subscribe()
    }

    /// Runs until every sender is gone, then commits what is left.
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<ToOrder>) -> Result<Ended> {
        let mut due = Instant::now();
        let mut watch = Watch::new(&self.progress.commit);
        loop {
            watch.rest();
            let idle = self.ready.is_empty() && self.ready_ops.is_empty();
            let message =
                if idle { Ok(messages.recv().await) } else { timeout_at(due, messages.recv()).await };
            watch.work();
            match message {
                Ok(Some(message)) => self.take(message),
                Ok(None) => break,
                Err(_) => {}
            }
            let any = !self.ready.is_empty() || !self.ready_ops.is_empty();
            if any && (Instant::now() >= due || self.ready_segments >= MOST_SEGMENTS) {
                self.commit().await?;
                due = Instant::now() + self.interval;
                self.renew_manifest().await;
            }
        }
        self.commit().await?;
        self.log.write_manifest().await;
        Ok(Ended { report: self.report, log: self.log, seen: self.seen })
    }

    /// Writes the view again now and then, so that the one of a run without end, or one that will be killed, is not that
    /// of the run before.
    async fn renew_manifest(&mut self) {
        if Instant::now() < self.manifest_due {
            return;
        }
        let size = self.log.write_manifest().await;
        let pause = Duration::from_secs(size as u64 / MANIFEST_RATE);
        self.manifest_due = Instant::now() + pause.max(MANIFEST_INTERVAL);
    }

    fn take(&mut self, message: ToOrder) {
        let (ticket, what) = match message {
            ToOrder::Op(op) => return self.ready_ops.push(op),
            ToOrder::Partition { ticket, what } => (ticket, what),
        };
        let waiting = self.waiting.entry(Arc::clone(&ticket.partition)).or_default();
        waiting.early.insert(ticket.number, (ticket, what));
        while let Some((ticket, what)) = waiting.early.remove(&waiting.next) {
            waiting.next += 1;
            let ops = self.ready.entry(Arc::clone(&ticket.partition)).or_default();
            match what {
                Ordered::Op(op) => {
                    self.report.note(&ticket.partition, &op);
                    ops.push(*op);
                }
                Ordered::Segment(entry) => {
                    self.ready_segments += 1;
                    if let Some(ids) = &entry.schema_ids {
                        self.seen.entry(ticket.partition.topic.clone()).or_default().merge(ids);
                    }
                    add(ops, &ticket, *entry);
                }
            }
        }
    }

    async fn commit(&mut self) -> Result<()> {
        let mut ops = std::mem::take(&mut self.ready_ops);
        ops.extend(std::mem::take(&mut self.ready).into_values().flatten());
        self.ready_segments = 0;
        if ops.is_empty() {
            return Ok(());
        }
        let (mut records, mut raw, mut stored, mut segments) = (0, 0, 0, 0);
        let positions: Vec<_> = ops.iter().filter_map(position).collect();
        let (mut gaps, mut lost, mut begun) = (0, 0, 0);
        for op in &ops {
            match op {
                Op::Add { segments: added, .. } => {
                    records += added.iter().map(|entry| entry.records).sum::<u64>();
                    raw += added.iter().map(|entry| entry.bytes.total()).sum::<u64>();
                    stored += added.iter().map(|entry| entry.length).sum::<u64>();
                    segments += added.len() as u64;
                }
                Op::Gap { gap, .. } if gap.reason.is_loss() => {
                    gaps += 1;
                    lost += gap.range().len();
                }
                Op::Lineage(lineage) if lineage.reason != LineageReason::First => begun += 1,
                _ => {}
            }
        }
        let committed = self.log.commit(ops).await?;
        self.report.head = Some(committed);
        self.report.records += records;
        self.report.raw_bytes += raw;
        self.report.stored_bytes += stored;
        self.report.segments += segments;
        BackupProgress::add(&self.progress.records_committed, records);
        BackupProgress::add(&self.progress.commits, 1);
        self.progress.commit.count(1, stored);
        BackupProgress::add(&self.progress.gaps, gaps);
        BackupProgress::add(&self.progress.offsets_lost, lost);
        BackupProgress::add(&self.progress.lineages_begun, begun);
        self.progress.last_commit_ms.store(self.log.now_ms(), Relaxed);
        for (partition, lineage, next) in positions {
            self.progress.source.lags.durable(&partition, lineage, next);
        }
        if segments > 0 {
            self.data.send_replace(committed.seq);
        }
        Ok(())
    }
}

/// The position of a lineage once an operation is committed.
fn position(op: &Op) -> Option<(TopicPartition, LineageId, i64)> {
    let (topic, partition, lineage, next) = match op {
        Op::Add { topic, partition, lineage, segments } => (topic, partition, lineage, segments.last()?.end),
        Op::Gap { topic, partition, lineage, gap } => (topic, partition, lineage, gap.end),
        _ => return None,
    };
    Some((TopicPartition::new(topic.clone(), *partition), *lineage, next))
}

impl BackupReport {
    fn note(&mut self, partition: &TopicPartition, op: &Op) {
        match op {
            Op::Gap { gap, .. } => self.gaps.push((partition.clone(), *gap)),
            Op::Lineage(lineage) if lineage.reason != LineageReason::First => {
                self.lineages.push((partition.clone(), lineage.reason));
            }
            _ => {}
        }
    }
}

/// Appends a segment to a partition's operations, to the one before it where that adds to the same lineage.
fn add(ops: &mut Vec<Op>, ticket: &Ticket, entry: SegmentEntry) {
    if let Some(Op::Add { lineage, segments, .. }) = ops.last_mut()
        && *lineage == ticket.lineage
    {
        segments.push(entry);
        return;
    }
    let TopicPartition { topic, partition } = (*ticket.partition).clone();
    ops.push(Op::Add { topic, partition, lineage: ticket.lineage, segments: vec![entry] });
}

#[cfg(test)]
mod tests {
    use formats::paths::MANIFEST;

    use super::*;
    use crate::archive::samples::Sample;
    use crate::storage::Store;

    async fn shown(store: &dyn Store) -> Option<u64> {
        let view = store.get(MANIFEST, 1 << 20).await.unwrap()?;
        let view: serde_json::Value = serde_json::from_slice(&view).unwrap();
        view["commit"]["seq"].as_u64()
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_without_end_renews_the_view_at_most_once_a_minute() {
        let sample = Sample::new().await;
        let store = Arc::clone(&sample.store);
        let log = CommitLog::open(Arc::clone(&store), Sample::seam(&sample.clock)).await.unwrap();
        let first = log.head().seq;
        let committer = Committer::new(log, Duration::from_secs(1), Arc::default());
        let (sender, messages) = mpsc::channel(16);
        let run = tokio::spawn(committer.run(messages));
        let mut seen = Vec::new();
        for second in 0..150_u64 {
            let incarnation = formats::ids::Incarnation(second + 1000);
            sender.send(ToOrder::Op(Op::Retire { incarnation })).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = shown(&*store).await;
            if now.is_some() && seen.last() != Some(&now) {
                seen.push(now);
            }
        }
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen[0] > Some(first) && seen[1] >= seen[0].map(|seq| seq + 50), "{seen:?}");
        drop(sender);
        let head = run.await.unwrap().unwrap().report.head.unwrap();
        assert_eq!(shown(&*store).await, Some(head.seq));
    }
}
