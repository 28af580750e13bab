//! Cut: gathers a partition's batches until they are worth a segment: by size, by age, by records, or because memory is
//! wanted back. Follows transactions, so that each segment says what a reader must know of them.
//!
//! Small segments that are cut in the same moment share an object.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use formats::commit::{Gap, GapReason, Lineage, Op};
use formats::ids::{LineageId, OffsetRange, TopicPartition};
use formats::record_batch::Batches;
use formats::segment::{SegmentIdentity, SegmentInput};
use formats::transactions::TransactionTracker;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::message::{CutObject, CutSegment, Ordered, Ticket, ToOrder};
use super::progress::{BackupProgress, InFlight};
use super::{BackupSettings, closed};
use crate::budget::{Budget, Charge};
use crate::kafka::Isolation;
use crate::source::{Begin, FetchedBatches, FromSource};
use crate::stage::Watch;
use crate::{Error, Result};

/// Segments below this share an object with others that are cut in the same moment.
const SMALL: usize = 1 << 20;
/// An object that several segments share ends at this size.
const PACK: usize = 8 << 20;
/// A slice that is a smaller part of its answer than this is copied, so that it does not keep the answer alive.
const KEEP_SHARE: usize = 16;
/// How often age and memory are looked at.
const TICK: Duration = Duration::from_millis(20);

/// The cut stage.
pub(super) struct Cutter {
    max_bytes: usize,
    max_age: Duration,
    max_records: u64,
    listed: bool,
    budget: Budget,
    to_encode: mpsc::Sender<CutObject>,
    to_order: mpsc::Sender<ToOrder>,
    progress: Arc<BackupProgress>,
    partitions: BTreeMap<TopicPartition, Partition>,
    watch: Watch,
}

struct Partition {
    name: Arc<TopicPartition>,
    lineage: LineageId,
    next: i64,
    tickets: u64,
    tracker: TransactionTracker,
    begins: Option<Lineage>,
    /// A gap whose end is known once the next batch is here.
    gap: Option<Gap>,
    open: Option<Open>,
}

struct Open {
    first: i64,
    runs: Vec<Bytes>,
    charges: Vec<Charge>,
    bytes: usize,
    records: u64,
    since: Instant,
}

impl Partition {
    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket { partition: Arc::clone(&self.name), lineage: self.lineage, number: self.tickets - 1 }
    }
}

impl Cutter {
    pub(super) fn new(
        settings: &BackupSettings,
        budget: Budget,
        to_encode: mpsc::Sender<CutObject>,
        to_order: mpsc::Sender<ToOrder>,
        progress: Arc<BackupProgress>,
    ) -> Self {
        // One open segment may never fill the budget: the others and the uploads need room beside it.
        let most = budget.limit() / 4;
        Self {
            max_bytes: settings.segment_max_bytes.min(most).max(1),
            max_age: settings.segment_max_age,
            max_records: settings.segment_max_records.unwrap_or(u64::MAX),
            listed: settings.isolation == Isolation::ReadCommitted,
            budget,
            to_encode,
            to_order,
            watch: Watch::new(&progress.cut),
            progress,
            partitions: BTreeMap::new(),
        }
    }

    /// Runs until every sender is gone, then cuts what is open.
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<FromSource>) -> Result<()> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.watch.rest();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => {
                        self.watch.work();
                        self.take(message).await?;
                    }
                    None => break,
                },
                now = tick.tick() => {
                    self.watch.work();
                    self.cut_old(now).await?;
                }
            }
            self.relieve().await?;
        }
        let open: Vec<_> = self.partitions.keys().cloned().collect();
        let cut = open.iter().filter_map(|partition| self.cut(partition)).collect();
        self.send(cut).await?;
        let begins: Vec<_> =
            open.iter().filter_map(|p| self.partitions.get_mut(p).and_then(begin_op)).collect();
        for message in begins {
            self.order(message).await?;
        }
        Ok(())
    }

    async fn take(&mut self, message: FromSource) -> Result<()> {
        match message {
            FromSource::Begin(begin) => self.begin(begin).await,
            FromSource::Fetched(fetched) => self.fetched(fetched).await,
            FromSource::Gap { partition, lineage, gap, trimmed } => {
                self.check(&partition, lineage)?;
                match self.partitions.get_mut(&partition) {
                    Some(state) if trimmed => {
                        let first = state
                            .gap
                            .filter(|held| held.end == gap.first)
                            .map_or(gap.first, |held| held.first);
                        state.gap = Some(Gap { first, ..gap });
                        Ok(())
                    }
                    _ => self.gap(&partition, gap).await,
                }
            }
            FromSource::Op(op) => self.order(ToOrder::Op(op)).await,
            FromSource::End { partition, .. } => {
                let cut = self.cut(&partition).into_iter().collect();
                self.send(cut).await?;
                match self.partitions.get_mut(&partition).and_then(begin_op) {
                    Some(message) => self.order(message).await,
                    None => Ok(()),
                }
            }
        }
    }

    async fn begin(&mut self, begin: Begin) -> Result<()> {
        let Begin { partition, lineage, next, open, begins } = begin;
        let cut = self.cut(&partition).into_iter().collect();
        self.send(cut).await?;
        // A history in which nothing happened is one all the same: the next one is not the partition's first.
        if let Some(message) = self.partitions.get_mut(&partition).and_then(begin_op) {
            self.order(message).await?;
        }
        let name = Arc::new(partition.clone());
        let known = self.partitions.remove(&partition);
        let tickets = known.map_or(0, |known| known.tickets);
        let tracker = TransactionTracker::resume(&open);
        let state = Partition { name, lineage, next, tickets, tracker, begins, gap: None, open: None };
        self.partitions.insert(partition, state);
        Ok(())
    }

    async fn gap(&mut self, partition: &TopicPartition, gap: Gap) -> Result<()> {
        let cut = self.cut(partition).into_iter().collect();
        self.send(cut).await?;
        if let Some(held) = self.partitions.get_mut(partition).and_then(|state| state.gap.take()) {
            self.put_gap(partition, held).await?;
        }
        self.put_gap(partition, gap).await
    }

    async fn put_gap(&mut self, partition: &TopicPartition, gap: Gap) -> Result<()> {
        let Some(state) = self.partitions.get_mut(partition) else { return Ok(()) };
        let begin = begin_op(state);
        state.next = gap.end;
        let ticket = state.ticket();
        let TopicPartition { topic, partition } = partition.clone();
        let op = Op::Gap { topic, partition, lineage: ticket.lineage, gap };
        if let Some(begin) = begin {
            self.order(begin).await?;
        }
        self.order(ToOrder::Partition { ticket, what: Ordered::Op(Box::new(op)) }).await
    }

    async fn fetched(&mut self, fetched: FetchedBatches) -> Result<()> {
        let FetchedBatches { partition, lineage, range, batches, keeps, aborted, compacted, .. } = fetched;
        self.check(&partition, lineage)?;
        if let Some(held) = self.partitions.get_mut(&partition).and_then(|state| state.gap.take()) {
            let gap = Gap { end: held.end.min(range.first), ..held };
            if gap.first < gap.end {
                self.gap(&partition, gap).await?;
            }
        }
        let state = self.partitions.get_mut(&partition).ok_or_else(closed)?;
        if let Some(begins) = &mut state.begins
            && range.first < begins.start
        {
            // The batch at the asked offset begins before it, and a batch is kept whole.
            begins.start = range.first;
            state.next = range.first;
        }
        if range.first < state.next {
            let message = format!("{partition}: batches {range} come again, the position is {}", state.next);
            return Err(Error::permanent(message));
        }
        if range.first > state.next && !compacted {
            let gap = Gap { first: state.next, end: range.first, reason: GapReason::Vanished };
            self.gap(&partition, gap).await?;
        }
        let begin = self.partitions.get_mut(&partition).and_then(begin_op);
        if let Some(begin) = begin {
            self.order(begin).await?;
        }
        let (batches, charge) = if batches.len() * KEEP_SHARE < keeps {
            let charge = self.budget.charge(batches.len());
            (Bytes::from(batches.to_vec()), Some(charge))
        } else {
            (batches, None)
        };
        let mut charge = charge;
        let mut from = 0;
        let mut walk = Batches::new(&batches);
        let state = self.partitions.get_mut(&partition).ok_or_else(closed)?;
        state.tracker.list_aborted(aborted);
        let mut full = Vec::new();
        while let Some(batch) = walk.next().transpose()? {
            state.tracker.observe(&batch).map_err(|e| Error::from(e).at(&partition))?;
            let open = state.open.get_or_insert_with(|| Open {
                first: state.next,
                runs: Vec::new(),
                charges: Vec::new(),
                bytes: 0,
                records: 0,
                since: Instant::now(),
            });
            state.next = batch.next_offset();
            open.bytes += batch.len();
            open.records += u64::from(batch.record_count().unsigned_abs());
            if open.bytes >= self.max_bytes || open.records >= self.max_records {
                open.runs.push(batches.slice(from..walk.position()));
                open.charges.extend(charge.take());
                from = walk.position();
                full.extend(close(state, self.listed));
            }
        }
        if from < batches.len()
            && let Some(open) = &mut state.open
        {
            open.runs.push(batches.slice(from..));
            open.charges.extend(charge.take());
        }
        for segment in full {
            self.send(vec![segment]).await?;
        }
        Ok(())
    }

    fn check(&self, partition: &TopicPartition, lineage: LineageId) -> Result<()> {
        match self.partitions.get(partition) {
            Some(state) if state.lineage == lineage => Ok(()),
            _ => Err(Error::permanent(format!(
                "{partition}: batches of lineage {lineage} arrived before it began"
            ))),
        }
    }

    async fn cut_old(&mut self, now: Instant) -> Result<()> {
        let old = |(name, state): (&TopicPartition, &Partition)| {
            let open = state.open.as_ref()?;
            (now.saturating_duration_since(open.since) >= self.max_age).then(|| name.clone())
        };
        let old: Vec<_> = self.partitions.iter().filter_map(old).collect();
        let cut = old.iter().filter_map(|partition| self.cut(partition)).collect();
        self.send(cut).await
    }

    /// Gives memory back when somebody waits for it: the largest segments first, as many as fill a quarter of the
    /// budget, unless that much is on its way out already.
    async fn relieve(&mut self) -> Result<()> {
        use std::sync::atomic::Ordering::Relaxed;
        let enough = self.budget.limit() / 4;
        while self.budget.is_pressed() {
            let leaving = usize::try_from(self.progress.bytes_in_flight.load(Relaxed)).unwrap_or(usize::MAX);
            if leaving >= enough {
                return Ok(());
            }
            let mut sizes: Vec<_> = self
                .partitions
                .iter()
                .filter_map(|(name, state)| Some((state.open.as_ref()?.bytes, name)))
                .collect();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            let mut sum = 0;
            let largest: Vec<_> = sizes
                .into_iter()
                .take_while(|(bytes, _)| {
                    let take = sum < enough;
                    sum += bytes;
                    take
                })
                .map(|(_, name)| name.clone())
                .collect();
            if largest.is_empty() {
                return Ok(());
            }
            let cut = largest.iter().filter_map(|partition| self.cut(partition)).collect();
            self.send(cut).await?;
        }
        Ok(())
    }

    fn cut(&mut self, partition: &TopicPartition) -> Option<CutSegment> {
        close(self.partitions.get_mut(partition)?, self.listed)
    }

    /// Sends segments on: large ones alone, small ones together.
    async fn send(&mut self, segments: Vec<CutSegment>) -> Result<()> {
        let (small, large): (Vec<_>, Vec<_>) =
            segments.into_iter().partition(|segment| segment.bytes < SMALL);
        for segment in large {
            self.send_object(vec![segment]).await?;
        }
        let mut pack = Vec::new();
        let mut bytes = 0;
        for segment in small {
            bytes += segment.bytes;
            pack.push(segment);
            if bytes >= PACK {
                self.send_object(std::mem::take(&mut pack)).await?;
                bytes = 0;
            }
        }
        if pack.is_empty() { Ok(()) } else { self.send_object(pack).await }
    }

    async fn send_object(&mut self, segments: Vec<CutSegment>) -> Result<()> {
        let bytes = segments.iter().map(|segment| segment.bytes as u64).sum();
        BackupProgress::add(&self.progress.segments_cut, segments.len() as u64);
        self.progress.cut.count(segments.len() as u64, bytes);
        let in_flight = InFlight::new(&self.progress, bytes);
        let sent = self.to_encode.send(CutObject { segments, in_flight });
        self.watch.blocked(sent).await.map_err(|_| closed())
    }

    async fn order(&mut self, message: ToOrder) -> Result<()> {
        self.watch.blocked(self.to_order.send(message)).await.map_err(|_| closed())
    }
}

/// The operation that begins a lineage, once.
fn begin_op(state: &mut Partition) -> Option<ToOrder> {
    let lineage = state.begins.take()?;
    let ticket = state.ticket();
    Some(ToOrder::Partition { ticket, what: Ordered::Op(Box::new(Op::Lineage(lineage))) })
}

fn close(state: &mut Partition, listed: bool) -> Option<CutSegment> {
    let open = state.open.take()?;
    let identity = SegmentIdentity {
        partition: (*state.name).clone(),
        lineage: state.lineage,
        range: OffsetRange::new(open.first, state.next),
        aborted_listed: listed,
    };
    let transactions = state.tracker.end_segment();
    let input = SegmentInput { identity, runs: open.runs, transactions };
    Some(CutSegment { ticket: state.ticket(), input, charges: open.charges, bytes: open.bytes })
}
