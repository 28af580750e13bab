//! Order and commit: holds what is durable until everything before it in its partition is durable too, then makes it
//! true. The one place of a backup that writes commits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use formats::commit::{Op, SegmentEntry};
use formats::ids::TopicPartition;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::BackupReport;
use super::message::{Ordered, Ticket, ToOrder};
use super::progress::BackupProgress;
use crate::Result;
use crate::commit_log::CommitLog;
use crate::failpoint;

/// Segments after which a commit is made although the interval has not passed.
const MOST_SEGMENTS: usize = 2000;

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
}

#[derive(Default)]
struct Waiting {
    next: u64,
    early: BTreeMap<u64, (Ticket, Ordered)>,
}

impl Committer {
    pub(super) fn new(log: CommitLog, interval: Duration, progress: Arc<BackupProgress>) -> Self {
        let report = BackupReport { head: Some(log.head()), ..BackupReport::default() };
        Self {
            log,
            interval,
            progress,
            waiting: HashMap::new(),
            ready: BTreeMap::new(),
            ready_ops: Vec::new(),
            ready_segments: 0,
            report,
        }
    }

    /// Runs until every sender is gone, then commits what is left.
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<ToOrder>) -> Result<BackupReport> {
        let mut due = Instant::now();
        loop {
            let idle = self.ready.is_empty() && self.ready_ops.is_empty();
            let message =
                if idle { Ok(messages.recv().await) } else { timeout_at(due, messages.recv()).await };
            match message {
                Ok(Some(message)) => self.take(message),
                Ok(None) => break,
                Err(_) => {}
            }
            let any = !self.ready.is_empty() || !self.ready_ops.is_empty();
            if any && (Instant::now() >= due || self.ready_segments >= MOST_SEGMENTS) {
                self.commit().await?;
                due = Instant::now() + self.interval;
            }
        }
        self.commit().await?;
        self.log.write_manifest().await;
        Ok(self.report)
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
        for op in &ops {
            if let Op::Add { segments: added, .. } = op {
                records += added.iter().map(|entry| entry.records).sum::<u64>();
                raw += added.iter().map(|entry| entry.bytes.total()).sum::<u64>();
                stored += added.iter().map(|entry| entry.length).sum::<u64>();
                segments += added.len() as u64;
            }
        }
        failpoint::hit("before_commit_put");
        let committed = self.log.commit(ops).await?;
        failpoint::hit("after_commit_put");
        self.report.head = Some(committed);
        self.report.records += records;
        self.report.raw_bytes += raw;
        self.report.stored_bytes += stored;
        self.report.segments += segments;
        BackupProgress::add(&self.progress.records_committed, records);
        BackupProgress::add(&self.progress.commits, 1);
        Ok(())
    }
}

impl BackupReport {
    fn note(&mut self, partition: &TopicPartition, op: &Op) {
        match op {
            Op::Gap { gap, .. } => self.gaps.push((partition.clone(), *gap)),
            Op::Lineage(lineage) if lineage.reason != formats::commit::LineageReason::First => {
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
