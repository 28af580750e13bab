//! Fetch: a task a connection. Reads headers, moves on, checks the producers' CRCs, hands whole batches on.
//!
//! What a task cannot decide alone (a leader that moved, an offset out of range, a log that went another way) it gives
//! back to the coordinator together with the position, and stops fetching that partition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use formats::commit::LastBatch;
use formats::ids::{OffsetRange, TopicPartition};
use formats::message_set::MessageSetConverter;
use formats::record_batch::Batches;
use formats::transactions;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::SourceProgress;
use super::closed;
use super::lag::Answered;
use super::message::{Assignment, FetchedBatches, FromSource};
use super::size::AnswerSize;
use crate::budget::Budget;
use crate::kafka::{AbortedTransaction, FetchedPartition, Fetcher, Isolation, KafkaErrorCode, Position};
use crate::rate::Limits;
use crate::stage::Watch;
use crate::{Error, Result};

/// Answers without data for a partition that should have some, after which its log is taken to be empty there.
const EMPTY_POLLS: u32 = 4;
/// Failures in a row after which the partitions are given back, so that they can go to another broker.
const FAILURES: u32 = 3;
/// How often a batch with a wrong CRC is fetched again before the partition fails.
const CRC_ATTEMPTS: u32 = 3;
/// The most that a wrapper of an old format may unpack to: half of the byte budget, within these bounds. The least is what
/// a broker lets a producer send uncompressed, many times over.
const OLD_FORMAT_CAP: (usize, usize) = (16 << 20, 256 << 20);
/// Bytes of converted batches after which the rest of an answer is left to be fetched again.
const OLD_FORMAT_ENOUGH: usize = 4 << 20;
/// Held while messages of an old format are converted: what a wrapper unpacks to is charged to the budget only once it is
/// known, so no two are unpacked at once.
static CONVERTING: Mutex<()> = Mutex::new(());

/// What the coordinator tells a task.
#[derive(Debug)]
pub(crate) enum FetchCommand {
    /// Fetch this partition too.
    Fetch(Box<Assignment>),
    /// Fetch it no more.
    Stop(TopicPartition),
}

/// What a task tells the coordinator.
#[derive(Debug)]
pub(crate) enum FromFetch {
    /// The partition reached the offset it stops at.
    Done(Assignment),
    /// The partition is no longer fetched, as it was told.
    Stopped(Assignment),
    /// The partition is no longer fetched here; somebody has to decide.
    Trouble(Assignment, Trouble),
}

/// Why a partition was given back.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Another broker leads it, or none, or nobody answers.
    Moved(String),
    /// A nearer replica should be asked.
    Replica(i32),
    /// The position lies outside the log, the log went another way, or the topic is another one or gone.
    Elsewhere(String),
    /// The batch before the position is another one now.
    LastBatchDiffers(String),
    /// The broker has nothing from the position on, although its stable offset is beyond it.
    Empty { stable: i64 },
    /// It cannot be backed up.
    Failed(Error),
}

struct Following {
    assignment: Assignment,
    /// Fetch begins with the batch before `next`, to see that it is the same.
    checking: bool,
    stable: i64,
    empty_polls: u32,
    crc_failures: u32,
}

impl Following {
    fn position(&self) -> Position {
        let Assignment { next, last, last_epoch, leader_epoch, .. } = &self.assignment;
        let offset = match last {
            Some(last) if self.checking => last.offset,
            _ => *next,
        };
        Position { offset, last_fetched_epoch: *last_epoch, leader_epoch: *leader_epoch }
    }

    fn wants_more(&self) -> bool {
        self.checking || self.assignment.until.is_none_or(|until| self.assignment.next < until)
    }
}

/// Batches whose headers were read and whose CRCs were not.
struct Unchecked {
    partition: TopicPartition,
    before: (i64, Option<LastBatch>, Option<i32>),
    runs: Vec<(OffsetRange, Bytes, u64)>,
    aborted: Vec<transactions::AbortedTransaction>,
    /// Bytes that the runs keep alive, where that is not the whole answer.
    keeps: Option<usize>,
}

/// Runs until the coordinator drops its end of `commands`.
#[allow(clippy::too_many_arguments, reason = "the wiring of one task, begun at one place")]
pub(crate) async fn run(
    mut fetcher: Fetcher,
    isolation: Isolation,
    mut commands: mpsc::UnboundedReceiver<FetchCommand>,
    out: mpsc::Sender<FromSource>,
    events: mpsc::UnboundedSender<FromFetch>,
    progress: Arc<SourceProgress>,
    limits: [Arc<Limits>; 2],
    most: usize,
) -> Result<()> {
    let watch = Watch::new(&progress.stage);
    let mut task = Task {
        following: HashMap::new(),
        isolation,
        events,
        out,
        progress,
        failures: 0,
        answered: Answered::default(),
        watch,
        limits,
        held: None,
        size: AnswerSize::up_to(most),
    };
    fetcher.set_max_bytes(task.size.bytes());
    loop {
        task.watch.rest();
        let held = task.held.filter(|until| *until > Instant::now());
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                None => return Ok(()),
                Some(command) => task.obey(command, &mut fetcher),
            },
            () = sleep_until(held.unwrap_or_else(Instant::now)), if held.is_some() => {}
            outcome = fetcher.receive(), if held.is_none() && !fetcher.is_empty() => match outcome {
                Ok(outcome) => {
                    task.watch.work();
                    task.failures = 0;
                    task.take(outcome.partitions, &mut fetcher).await?;
                }
                Err(error) => task.failed(&error, &mut fetcher),
            },
        }
    }
}

struct Task {
    following: HashMap<TopicPartition, Following>,
    isolation: Isolation,
    events: mpsc::UnboundedSender<FromFetch>,
    out: mpsc::Sender<FromSource>,
    progress: Arc<SourceProgress>,
    failures: u32,
    answered: Answered,
    watch: Watch,
    /// What is paid for what was fetched: in all, and at this broker.
    limits: [Arc<Limits>; 2],
    /// Until when nothing is asked for.
    held: Option<Instant>,
    size: AnswerSize,
}

impl Task {
    fn obey(&mut self, command: FetchCommand, fetcher: &mut Fetcher) {
        let assignment = match command {
            FetchCommand::Fetch(assignment) => *assignment,
            FetchCommand::Stop(partition) => {
                fetcher.remove(&partition);
                if let Some(following) = self.forget(&partition) {
                    let _ = self.events.send(FromFetch::Stopped(following.assignment));
                }
                return;
            }
        };
        let checking = assignment.last.is_some();
        let following = Following { assignment, checking, stable: -1, empty_polls: 0, crc_failures: 0 };
        if !following.wants_more() {
            let _ = self.events.send(FromFetch::Done(following.assignment));
            return;
        }
        let Assignment { partition, topic_id, lineage, next, .. } = &following.assignment;
        self.progress.lags.follow(partition, *lineage, *next, &self.answered);
        fetcher.add(partition.clone(), *topic_id, following.position());
        self.following.insert(partition.clone(), following);
    }

    async fn take(&mut self, partitions: Vec<FetchedPartition>, fetcher: &mut Fetcher) -> Result<()> {
        let total: usize = partitions.iter().filter_map(|p| p.records.as_ref()).map(Bytes::len).sum();
        self.held = self.limits.iter().filter_map(|limits| limits.owe(total as u64, 0)).max();
        self.size.learn(total, fetcher.budget().is_pressed());
        fetcher.set_max_bytes(self.size.bytes());
        let mut unchecked = Vec::new();
        for mut fetched in partitions {
            let records = fetched.records.take().filter(|records| !records.is_empty());
            let Some(following) = self.following.get_mut(&fetched.partition) else { continue };
            if following.position().offset != fetched.fetch_offset {
                continue;
            }
            if let Some(trouble) = trouble(&fetched) {
                self.give_back(&fetched.partition, trouble, fetcher);
                continue;
            }
            following.stable = match self.isolation {
                Isolation::ReadCommitted => fetched.last_stable_offset,
                Isolation::ReadUncommitted => fetched.high_watermark,
            };
            self.progress.lags.seen(&fetched.partition, following.stable, fetched.high_watermark);
            let Some(records) = records else { continue };
            let found = match read_headers(following, &fetched, records, fetcher.budget()) {
                Ok(found) => found,
                Err(trouble) => {
                    self.give_back(&fetched.partition, trouble, fetcher);
                    continue;
                }
            };
            if following.wants_more() {
                fetcher.seek(&fetched.partition, following.position());
            } else {
                fetcher.remove(&fetched.partition);
            }
            match found {
                Some(found) => {
                    following.empty_polls = 0;
                    unchecked.push(found);
                }
                None => self.done_unless_more_is_wanted(&fetched.partition),
            }
        }
        self.progress.lags.answered(&self.answered);
        // The next answer travels while this one is checked.
        if self.held.is_none()
            && !fetcher.is_empty()
            && let Err(error) = fetcher.issue().await
        {
            self.failed(&error, fetcher);
        }
        for found in unchecked {
            self.check_and_send(found, total, fetcher).await?;
        }
        // Where somebody got data, the others may only have found no room in the answer.
        if total == 0 {
            self.notice_empty(fetcher);
        }
        Ok(())
    }

    async fn check_and_send(&mut self, found: Unchecked, total: usize, fetcher: &mut Fetcher) -> Result<()> {
        let Unchecked { partition, before, runs, aborted, keeps } = found;
        for (_, run, _) in &runs {
            let wrong = Batches::new(run).find_map(|batch| batch.and_then(|batch| batch.verify_crc()).err());
            let Some(error) = wrong else { continue };
            let error = Error::from(error).at(&partition);
            let Some(following) = self.following.get_mut(&partition) else { return Ok(()) };
            following.crc_failures += 1;
            (following.assignment.next, following.assignment.last, following.assignment.last_epoch) = before;
            let attempts = following.crc_failures;
            tracing::warn!(%error, attempts, "a fetched batch is damaged; fetching it again");
            if attempts >= CRC_ATTEMPTS {
                self.give_back(&partition, Trouble::Failed(error), fetcher);
            } else {
                let (topic_id, position) = (following.assignment.topic_id, following.position());
                if !fetcher.seek(&partition, position) {
                    fetcher.add(partition.clone(), topic_id, position);
                }
            }
            return Ok(());
        }
        let Some(following) = self.following.get_mut(&partition) else { return Ok(()) };
        following.crc_failures = 0;
        let (lineage, compacted) = (following.assignment.lineage, following.assignment.compacted);
        let mut aborted = Some(aborted);
        for (range, batches, records) in runs {
            SourceProgress::add(&self.progress.offsets_fetched, range.len());
            SourceProgress::add(&self.progress.records_fetched, records);
            SourceProgress::add(&self.progress.bytes_fetched, batches.len() as u64);
            let fetched = FetchedBatches {
                partition: partition.clone(),
                lineage,
                range,
                batches,
                keeps: keeps.unwrap_or(total),
                aborted: aborted.take().unwrap_or_default(),
                compacted,
            };
            self.progress.stage.count(1, fetched.batches.len() as u64);
            let sent = self.out.send(FromSource::Fetched(fetched));
            self.watch.blocked(sent).await.map_err(|_| closed())?;
        }
        self.done_unless_more_is_wanted(&partition);
        Ok(())
    }

    fn done_unless_more_is_wanted(&mut self, partition: &TopicPartition) {
        if self.following.get(partition).is_some_and(|following| !following.wants_more())
            && let Some(following) = self.forget(partition)
        {
            let _ = self.events.send(FromFetch::Done(following.assignment));
        }
    }

    /// Finds partitions whose broker keeps answering without their data although there should be some: the log cleaner
    /// may have removed everything up to the end of a closed log segment.
    fn notice_empty(&mut self, fetcher: &mut Fetcher) {
        let mut empty = Vec::new();
        for (partition, following) in &mut self.following {
            // Never beyond what this very broker says it has: a new leader or a replica may lag behind for a while.
            let stable =
                following.assignment.until.map_or(following.stable, |until| until.min(following.stable));
            // Only compaction leaves nothing behind at the end of a log; elsewhere the data may just be slow to come.
            let compacted = following.assignment.compacted;
            if !compacted || following.checking || stable <= following.assignment.next {
                continue;
            }
            following.empty_polls += 1;
            if following.empty_polls >= EMPTY_POLLS {
                empty.push((partition.clone(), stable));
            }
        }
        for (partition, stable) in empty {
            self.give_back(&partition, Trouble::Empty { stable }, fetcher);
        }
    }

    fn forget(&mut self, partition: &TopicPartition) -> Option<Following> {
        self.progress.lags.leave(partition);
        self.following.remove(partition)
    }

    fn give_back(&mut self, partition: &TopicPartition, trouble: Trouble, fetcher: &mut Fetcher) {
        fetcher.remove(partition);
        if let Some(following) = self.forget(partition) {
            let _ = self.events.send(FromFetch::Trouble(following.assignment, trouble));
        }
    }

    /// What a broker that does not answer, or answers nonsense, costs is its own partitions, and never those of others.
    fn failed(&mut self, error: &Error, fetcher: &mut Fetcher) {
        self.failures += 1;
        tracing::debug!(%error, failures = self.failures, broker = fetcher.broker(), "a fetch failed");
        if self.failures >= FAILURES {
            self.failures = 0;
            let partitions: Vec<_> = self.following.keys().cloned().collect();
            for partition in partitions {
                let trouble = match error.is_retriable() {
                    true => Trouble::Moved(error.to_string()),
                    false => Trouble::Failed(Error::new(error.kind(), error.to_string())),
                };
                self.give_back(&partition, trouble, fetcher);
            }
        }
    }
}

fn trouble(fetched: &FetchedPartition) -> Option<Trouble> {
    if let Some((epoch, end)) = fetched.diverging_epoch {
        return Some(Trouble::Elsewhere(format!("leader epoch {epoch} ends at offset {end} now")));
    }
    if let Some(code) = fetched.error {
        return Some(match code {
            KafkaErrorCode::OFFSET_OUT_OF_RANGE
            | KafkaErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            | KafkaErrorCode::UNKNOWN_TOPIC_ID
            | KafkaErrorCode::INCONSISTENT_TOPIC_ID => Trouble::Elsewhere(code.to_string()),
            code if code.is_retriable() => Trouble::Moved(code.to_string()),
            code => Trouble::Failed(code.to_error(format!("fetch of {}", fetched.partition), None)),
        });
    }
    fetched.preferred_read_replica.map(Trouble::Replica)
}

/// Reads the headers of an answer and moves the position behind its whole batches.
fn read_headers(
    following: &mut Following,
    fetched: &FetchedPartition,
    records: Bytes,
    budget: &Budget,
) -> Result<Option<Unchecked>, Trouble> {
    let old = Batches::new(&records).at_message_set();
    let records = if old { convert(fetched, &records, budget)? } else { records };
    let keeps = old.then_some(records.len());
    let assignment = &mut following.assignment;
    let before = (assignment.next, assignment.last, assignment.last_epoch);
    let mut runs: Vec<(OffsetRange, Bytes, u64)> = Vec::new();
    let mut run: Option<(usize, OffsetRange, u64)> = None;
    // Markers that were taken already, by producer id: what they ended is listed with the answer once more.
    let mut passed: HashMap<i64, i64> = HashMap::new();
    let mut batches = Batches::new(&records);
    let mut end = 0;
    loop {
        let at = batches.position();
        let Some(batch) = batches.next() else { break };
        let batch = batch.map_err(|e| Trouble::Failed(Error::from(e).at(&fetched.partition)))?;
        // A broker that answers from before the offset that was asked for says nothing of the batch there.
        if following.checking && assignment.last.is_some_and(|last| batch.next_offset() <= last.offset) {
            continue;
        }
        if following.checking {
            match same_as_last(assignment.last, &batch) {
                Some(true) => {
                    following.checking = false;
                }
                Some(false) => {
                    let found =
                        format!("the batch at offset {} has CRC {:08x}", batch.base_offset(), batch.crc());
                    return Err(Trouble::LastBatchDiffers(found));
                }
                // Retention took the batch to compare meanwhile.
                None => following.checking = false,
            }
        }
        if batch.next_offset() <= assignment.next {
            if batch.attributes().control() {
                passed.insert(batch.producer_id(), batch.base_offset());
            }
            continue;
        }
        if let Some(until) = assignment.until.filter(|until| batch.base_offset() >= *until) {
            if runs.is_empty() && run.is_none() && assignment.next < until {
                // What was there when the run began is gone, and nothing else will come below the end.
                return Err(Trouble::Empty { stable: until });
            }
            break;
        }
        let hole = run.is_some_and(|(_, range, _)| batch.base_offset() > range.end);
        if hole
            && !assignment.compacted
            && let Some((from, range, count)) = run.take()
        {
            runs.push((range, records.slice(from..at), count));
        }
        let (_, range, count) =
            run.get_or_insert((at, OffsetRange::new(batch.base_offset(), batch.base_offset()), 0));
        range.end = batch.next_offset();
        *count += u64::from(batch.record_count().unsigned_abs());
        end = batches.position();
        assignment.next = batch.next_offset();
        assignment.last_epoch = Some(batch.leader_epoch()).filter(|epoch| *epoch >= 0);
        assignment.last =
            Some(LastBatch { offset: batch.base_offset(), epoch: batch.leader_epoch(), crc: batch.crc() });
    }
    if let Some((from, range, count)) = run {
        runs.push((range, records.slice(from..end), count));
    }
    if runs.is_empty() {
        return Ok(None);
    }
    let ended = |entry: &&AbortedTransaction| {
        passed.get(&entry.producer_id).is_some_and(|marker| entry.first_offset < *marker)
    };
    let aborted = fetched.aborted.iter().filter(|entry| !ended(entry)).map(|entry| {
        transactions::AbortedTransaction { producer_id: entry.producer_id, first_offset: entry.first_offset }
    });
    let (partition, aborted) = (fetched.partition.clone(), aborted.collect());
    Ok(Some(Unchecked { partition, before, runs, aborted, keeps }))
}

/// Whether a batch is the one that ended the last segment; `None` where it lies behind it.
fn same_as_last(last: Option<LastBatch>, batch: &formats::record_batch::RecordBatch<'_>) -> Option<bool> {
    let last = last?;
    if batch.base_offset() > last.offset {
        return None;
    }
    Some(batch.base_offset() == last.offset && batch.crc() == last.crc && batch.leader_epoch() == last.epoch)
}

/// Messages of magic 0 and 1, from before Kafka 0.11, become batches here: nothing else would ever be able to restore
/// them. Where one cannot be converted, those before it are taken first; it is the first of the next answer then.
fn convert(fetched: &FetchedPartition, records: &Bytes, budget: &Budget) -> Result<Bytes, Trouble> {
    let (least, most) = OLD_FORMAT_CAP;
    let cap = (budget.limit() / 2).clamp(least, most);
    // Nothing that a panic could leave half done is under this lock.
    let _alone = CONVERTING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut out = Vec::new();
    match MessageSetConverter::new().convert(records, cap, OLD_FORMAT_ENOUGH, &mut out) {
        Err(error) if out.is_empty() => {
            let mut error = Error::from(error).at(&fetched.partition);
            if cap < most {
                error = error.hint("if it is only too large, a larger memory_limit allows more");
            }
            Err(Trouble::Failed(error))
        }
        // Charged even beyond the limit, as any copy out of an answer that is charged already.
        _ => Ok(budget.charge(out.capacity()).attach(out)),
    }
}

#[cfg(test)]
mod tests;
