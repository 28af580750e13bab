//! One partition on its way: batches of the source prepared, noted in the journal, handed to the producer.
//!
//! ```text
//! source -> inbox -> lane (CPU workers) -> note in the journal -> feed -> producer -> acknowledged
//!             ^                                                                  |
//!             '--------- rewind to the place behind what the target holds <------'  whatever went wrong
//! ```
//! Where the target or a schema is not ready a flow gives back what it holds and asks the source to begin again later, so that the
//! others have the memory.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use formats::commit::{Gap, LineageReason};
use formats::ids::{OffsetRange, Topic, TopicPartition};
use formats::transactions::TransactionTracker;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::chunk::{Chunk, Going, Missing, look_up, pieces, prepare};
use super::journal::Write;
use super::position::{Claim, Entry, History, Note, Notes, Place};
use super::schemas::{Rules, Schemas};
use super::targets::{self, Targets};
use crate::budget::Budget;
use crate::kafka::{Client, Topics};
use crate::restore::schemas::RemapCounts;
use crate::restore::{TimeWindow, proof, resume, topics};
use crate::seam::backoff;
use crate::source::{Begin, FetchedBatches, Known, SourceCommand};
use crate::target::lane::{LaneSettings, Prepared};
use crate::target::part::Part;
use crate::target::produce::{Job, Outcome, ProducerEntry};
use crate::{Error, ErrorKind, Result};

/// Batches that wait between a flow and its producer.
const QUEUE: usize = 16;
/// Runs that an entry of the journal holds at most, where it is not those of one piece: about 30 bytes each.
const MOST_RUNS: usize = 100_000;
/// Between two looks at what is acknowledged.
const SOON: Duration = Duration::from_millis(5);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Between two looks at a log that is to stand still.
const STILL: Duration = Duration::from_millis(500);
/// After so long without trouble the next one is a new one.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Attempts that may fail for a reason that is not a passing one, without any record getting through.
const ATTEMPTS: u32 = 3;

/// What a flow is told.
#[derive(Debug)]
pub(super) enum ToFlow {
    /// The partition goes on, or begins.
    Begin(Begin),
    /// Batches.
    Fetched(FetchedBatches),
    /// Offsets that will never come.
    Gap(Gap),
    /// What became of what was given to the producer.
    Over(Outcome),
}

/// What others see of a flow.
#[derive(Debug)]
pub(super) struct Shared {
    /// Records on the target.
    pub(super) acked: Arc<AtomicU64>,
    /// Bytes of batches that wait.
    pub(super) queued: AtomicUsize,
    /// Whether the source was asked to pause. Held while it is asked, so that it is asked in this order.
    paused: Mutex<bool>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    notes: Option<Notes>,
    claim: Option<Claim>,
    gaps: Vec<Gap>,
    ids: RemapCounts,
    failed: Option<Error>,
    trouble: Option<String>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            acked: Arc::default(),
            queued: AtomicUsize::new(0),
            paused: Mutex::new(false),
            seen: Mutex::default(),
        }
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says what keeps it from going on just now.
    pub(super) fn wait_for(&self, why: String) {
        self.seen(|seen| seen.trouble = Some(why));
    }

    /// Asks the source to pause, or to go on, where it does not do so already.
    pub(super) fn ask(
        &self,
        pause: bool,
        partition: &TopicPartition,
        to: &mpsc::UnboundedSender<SourceCommand>,
    ) {
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if *paused != pause {
            *paused = pause;
            let command = if pause { SourceCommand::Pause } else { SourceCommand::Resume };
            // A source that is gone needs nothing.
            let _ = to.send(command(partition.clone()));
        }
    }

    /// The source offset up to which everything is on the target; none before the partition has begun.
    pub(super) fn position(&self) -> Option<i64> {
        let acked = self.acked.load(Relaxed);
        self.seen(|seen| seen.notes.as_ref()?.place(acked)).map(|place| place.next)
    }

    /// Where the partition's records go.
    pub(super) fn claim(&self) -> Option<Claim> {
        self.seen(|seen| seen.claim.clone())
    }

    /// What the source lost before it could be taken.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        self.seen(|seen| seen.gaps.clone())
    }

    /// What became of ids in what was prepared in this run.
    pub(super) fn ids(&self) -> RemapCounts {
        self.seen(|seen| seen.ids)
    }

    /// Why it will not go on in this run.
    pub(super) fn failure(&self) -> Option<String> {
        self.seen(|seen| seen.failed.as_ref().map(topics::with_hint))
    }

    /// What keeps it from going on just now.
    pub(super) fn trouble(&self) -> Option<String> {
        self.seen(|seen| seen.trouble.clone())
    }
}

/// What all flows share.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) target: Client,
    pub(super) targets: Arc<Targets>,
    pub(super) cluster_id: String,
    pub(super) writer: u64,
    pub(super) budget: Budget,
    /// For looks at the target: they must not wait for what flows hold.
    pub(super) reading: Budget,
    /// Topics of the target that earlier runs have made.
    pub(super) made: Arc<BTreeSet<Topic>>,
    pub(super) workers: Arc<Semaphore>,
    pub(super) journal: mpsc::Sender<Write>,
    pub(super) jobs: mpsc::UnboundedSender<Job>,
    pub(super) to_source: mpsc::UnboundedSender<SourceCommand>,
    pub(super) into_non_empty: bool,
    /// How long a partition is tried without any progress where somebody waits for the end; otherwise for ever.
    pub(super) give_up_after: Option<Duration>,
    /// Bytes that may wait for one flow before the source is asked to pause.
    pub(super) room: usize,
    /// Lets so many flows look at the target at once.
    pub(super) looks: Arc<Semaphore>,
    /// What becomes of ids, where schemas come too.
    pub(super) schemas: Option<Arc<Schemas>>,
    pub(super) stop: CancellationToken,
}

/// See the module.
pub(super) struct Flow {
    common: Common,
    source: TopicPartition,
    target: TopicPartition,
    shared: Arc<Shared>,
    /// What the journal knows.
    entry: Option<Entry>,
    history: Option<History>,
    /// Where it began first in this run: `latest` is later at each attempt.
    began: Option<i64>,
    state: State,
    /// Taken while the producer has the partition.
    feed: Option<mpsc::Sender<Result<Prepared>>>,
    /// Whether the producer has not said yet what became of the partition.
    is_producing: bool,
    failures: u32,
    failing_since: Option<Instant>,
    /// How many records were on the target when it failed first.
    acked_then: u64,
    last_trouble: Option<Instant>,
    missing: Option<Missing>,
    inbox: mpsc::UnboundedReceiver<ToFlow>,
    /// What was taken out of the inbox and not dealt with.
    kept: VecDeque<ToFlow>,
}

enum State {
    /// Waits to be told where it begins; batches are of an earlier beginning.
    Waiting,
    /// Batches follow each other.
    Going(Box<Going>),
    /// Will not go on in this run.
    Failed,
}

impl Flow {
    pub(super) fn new(
        common: Common,
        source: TopicPartition,
        target: TopicPartition,
        shared: Arc<Shared>,
        entry: Option<Entry>,
        inbox: mpsc::UnboundedReceiver<ToFlow>,
    ) -> Self {
        Self {
            common,
            source,
            target,
            shared,
            entry,
            history: None,
            began: None,
            state: State::Waiting,
            feed: None,
            is_producing: false,
            failures: 0,
            failing_since: None,
            acked_then: 0,
            last_trouble: None,
            missing: None,
            inbox,
            kept: VecDeque::new(),
        }
    }

    /// Runs until nobody can tell it anything any more, or the migration is stopped. An error ends the whole migration.
    pub(super) async fn run(mut self) -> Result<()> {
        let stop = self.common.stop.clone();
        loop {
            let message = match self.kept.pop_front() {
                Some(message) => Some(message),
                None => tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    message = self.inbox.recv() => message,
                },
            };
            let Some(message) = message else { return Ok(()) };
            let took = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                took = self.take(message) => took,
            };
            match took {
                Ok(()) => {}
                Err(error) => tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = self.trouble(error) => {}
                },
            }
        }
    }

    async fn take(&mut self, message: ToFlow) -> Result<()> {
        match message {
            ToFlow::Begin(begin) => self.begin(begin).await,
            ToFlow::Gap(gap) => {
                let State::Going(going) = &mut self.state else { return Ok(()) };
                let gap = Gap { first: gap.first.max(going.next), ..gap };
                if gap.first >= gap.end {
                    return Ok(());
                }
                tracing::warn!(partition = %self.source, range = %gap.range(), reason = gap.reason.name(), "offsets are gone from the source");
                going.next = gap.end;
                let place = Place { next: going.next, last: None };
                self.shared.seen(|seen| {
                    if let Some(notes) = &mut seen.notes {
                        notes.advance(place);
                    }
                    if gap.reason.is_loss() {
                        seen.gaps.push(gap);
                    }
                });
                Ok(())
            }
            ToFlow::Fetched(fetched) => {
                let bytes = fetched.batches.len();
                let done = self.fetched(fetched).await;
                let left = self.let_go(bytes);
                if left < self.common.room / 4 && !matches!(self.state, State::Failed) {
                    self.shared.ask(false, &self.source, &self.common.to_source);
                }
                done
            }
            ToFlow::Over(outcome) => {
                self.is_producing = false;
                self.feed = None;
                match outcome.error {
                    Some(error) => Err(error),
                    // It was let go of for a reason that is being dealt with.
                    None if matches!(self.state, State::Waiting) => self.again().await,
                    None => Ok(()),
                }
            }
        }
    }

    /// So many bytes do not wait any more; how many do.
    fn let_go(&self, bytes: usize) -> usize {
        self.shared.queued.fetch_sub(bytes, Relaxed) - bytes
    }

    /// Lets go of batches that wait: who waits itself needs the memory for nothing, and they will come again. Those behind a beginning
    /// are that one's.
    fn empty_hands(&mut self) {
        while let Ok(message) = self.inbox.try_recv() {
            self.kept.push_back(message);
        }
        let is_begin = |message: &ToFlow| matches!(message, ToFlow::Begin(_));
        let old = self.kept.iter().position(is_begin).unwrap_or(self.kept.len());
        let newer = self.kept.split_off(old);
        for message in std::mem::replace(&mut self.kept, newer).into_iter().rev() {
            match message {
                ToFlow::Fetched(fetched) => drop(self.let_go(fetched.batches.len())),
                other => self.kept.push_front(other),
            }
        }
    }

    /// Finds out how far the target is, and goes on there.
    async fn begin(&mut self, begin: Begin) -> Result<()> {
        if matches!(self.state, State::Failed) {
            return Ok(());
        }
        if let (Some(entry), Some(begins)) = (&self.entry, &begin.begins) {
            let why = match begins.reason {
                LineageReason::Truncated => format!("the source's log was cut at offset {}", begins.start),
                _ => "the source's topic was deleted and made anew, or is another cluster's".to_owned(),
            };
            let (target, next) = (&self.target, entry.notes.end());
            return Err(Error::input(format!(
                "{}: {why}; the target holds {next} records of the log before",
                self.source
            ))
            .hint(format!(
                "delete topic {} of the target and begin with another `migration_id`, or leave the topic out",
                target.topic
            )));
        }
        if self.is_producing {
            // Once the producer has let go of it, it begins again.
            (self.feed, self.state) = (None, State::Waiting);
            return Ok(());
        }
        let history = match (&self.entry, &begin.begins, self.history.take()) {
            (Some(entry), ..) => entry.source.clone(),
            // It is begun once more, at the place that it was told.
            (None, None, Some(history)) => history,
            (None, begins, _) => History {
                cluster_id: self.common.cluster_id.clone(),
                topic_id: begins.as_ref().map(|begins| begins.topic_id).unwrap_or_default(),
                lineage: begin.lineage,
                start: begins.as_ref().map_or(begin.next, |begins| begins.start),
            },
        };
        self.history = Some(history);
        match &begin.begins {
            Some(_) => self.began = Some(begin.next),
            None => self.began = self.began.or(Some(begin.next)),
        }
        let looks = Arc::clone(&self.common.looks);
        let look = looks.acquire().await;
        let (claim, max_batch) = self.claim(begin.next).await?;
        let mut present = self.present(&claim).await?;
        drop(look);
        if self.entry.as_ref().is_some_and(|entry| entry.writer != self.common.writer) {
            // What a dead run still had under way comes now, or never.
            loop {
                sleep(STILL).await;
                let _look = looks.acquire().await;
                let now = self.present(&claim).await?;
                if now == present {
                    break;
                }
                present = now;
            }
        }
        if claim.created && self.entry.is_some() {
            self.common.targets.mirror(&self.source.topic).await?;
        }
        let place = match &self.entry {
            Some(entry) => entry.notes.place(present).ok_or_else(|| self.unknown(&entry.notes, present))?,
            // Where it begins is noted at once: by the time of another attempt the log may begin or end elsewhere.
            None => {
                let place = Place { next: begin.next, last: None };
                self.keep(Notes::new(0, place), claim.clone()).await?;
                place
            }
        };
        self.shared.acked.store(present, Relaxed);
        let lane = LaneSettings {
            window: TimeWindow::default(),
            max_batch,
            digest: false,
            max_runs: usize::MAX,
            remap: None,
            part: Part::Own,
        };
        let next = place.next.max(begin.next);
        let notes = Notes::new(present, place);
        self.shared
            .seen(|seen| (seen.notes, seen.claim, seen.trouble) = (Some(notes), Some(claim.clone()), None));
        self.produce(&claim, present);
        self.state = State::Going(Box::new(Going {
            lane,
            budget: self.common.budget.clone(),
            index: present,
            tracker: TransactionTracker::default(),
            next,
            walk: 0,
            rules: Rules::default(),
        }));
        Ok(())
    }

    fn produce(&mut self, claim: &Claim, present: u64) {
        let (out, feed) = mpsc::channel(QUEUE);
        let job = Job {
            partition: self.target.clone(),
            start: claim.start,
            producer: ProducerEntry { producer: claim.producer, epoch: claim.epoch, base: 0 },
            present,
            acked: Arc::clone(&self.shared.acked),
            feed: Box::new(move || feed),
        };
        self.feed = Some(out);
        // A producer that is gone was stopped with everything else.
        self.is_producing = self.common.jobs.send(job).is_ok();
    }

    fn unknown(&self, notes: &Notes, present: u64) -> Error {
        Error::damaged(format!(
            "{}: the target holds {present} records of this migration, and the journal knows of at most {}",
            self.target,
            notes.end()
        ))
        .hint("the target lost records, or the migration's journal was lost: delete the topic and begin with another `migration_id`")
    }

    /// Where the records go: as the journal says, or as it will say before the first of them is produced, the one at or behind offset
    /// `from` of the source. And the largest batch that the target takes.
    async fn claim(&mut self, from: i64) -> Result<(Claim, usize)> {
        let begun = self.entry.is_some();
        let ready = self.common.targets.ensure(&self.source.topic, self.target.partition, begun).await?;
        if let Some(entry) = &self.entry {
            if entry.target.topic_id != ready.id {
                return Err(targets::gone(&self.target.topic));
            }
            return Ok((entry.target.clone(), ready.max_batch));
        }
        let place = [self.target.clone()];
        let (first, end) =
            topics::ends(&self.common.target, &place).await?.remove(&self.target).unwrap_or_default();
        if end > first && !self.common.into_non_empty {
            return Err(Error::input(format!(
                "{} is not empty, and holds nothing of this migration",
                self.target
            ))
            .hint("delete the topic, map it to another name, or set `migrate.into_non_empty: append`"));
        }
        let producer = self.common.target.init_producer_id().await.map_err(|error| match error.kind() {
            ErrorKind::Credentials => error.hint(
                "grant WRITE on the target topics, or IDEMPOTENT_WRITE on the cluster, to this client's principal (kafka-acls)",
            ),
            _ => error,
        })?;
        let claim = Claim {
            topic: self.target.topic.clone(),
            partition: self.target.partition,
            topic_id: ready.id,
            start: end,
            from,
            producer: producer.id,
            epoch: producer.epoch,
            created: ready.created || self.common.made.contains(&self.target.topic),
        };
        Ok((claim, ready.max_batch))
    }

    /// How many records of this migration the target holds; that they are ours is what its last batch says.
    async fn present(&self, claim: &Claim) -> Result<u64> {
        let place = [self.target.clone()];
        let ends = topics::ends(&self.common.target, &place).await?;
        let end = ends.get(&self.target).map_or(claim.start, |(_, end)| *end);
        let present = u64::try_from(end - claim.start).map_err(|_| {
            Error::damaged(format!(
                "{} ends at offset {end}, before {} where this migration began",
                self.target, claim.start
            ))
            .hint("the target lost records: delete the topic and begin with another `migration_id`")
        })?;
        let first = ends.get(&self.target).map_or(claim.start, |(first, _)| *first);
        // What the target's own retention has deleted can tell nothing.
        if present > 0 && end > first {
            let tail = [(self.target.clone(), OffsetRange::new(end - 1, end))].into();
            let (budget, stop) = (&self.common.reading, &self.common.stop);
            let mut read =
                proof::read_back(&self.common.target, &tail, budget, &AtomicU64::new(0), stop).await?;
            let producer = ProducerEntry { producer: claim.producer, epoch: claim.epoch, base: 0 };
            resume::check_tail(&self.target, claim.start, &[producer], read.remove(&self.target))?;
        }
        Ok(present)
    }

    /// An answer, in pieces of which each can be noted.
    async fn fetched(&mut self, fetched: FetchedBatches) -> Result<()> {
        let mut aborted = fetched.aborted;
        for (range, batches) in pieces(&fetched.batches)? {
            // Transactions that end in one piece are not listed for the next.
            let aborted = std::mem::take(&mut aborted);
            let partition = fetched.partition.clone();
            self.piece(FetchedBatches { partition, range, batches, aborted, ..fetched }).await?;
        }
        Ok(())
    }

    async fn piece(&mut self, fetched: FetchedBatches) -> Result<()> {
        let mut going = match std::mem::replace(&mut self.state, State::Waiting) {
            State::Going(going) => going,
            other => {
                self.state = other;
                return Ok(());
            }
        };
        let permit = Arc::clone(&self.common.workers).acquire_owned().await;
        let (schemas, missing) = (self.common.schemas.clone(), self.missing);
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            if let Some(schemas) = &schemas
                && !look_up(schemas, missing, &mut going, &fetched)?
            {
                let missing = Missing { since: going.walk, next: fetched.range.end };
                let error = Error::retry(format!(
                    "records of {} begin with an id that is not known yet",
                    fetched.range
                ));
                return Ok((going, Err((error, Some(missing)))));
            }
            let chunk = prepare(&mut going, &fetched);
            Ok::<_, Error>((going, chunk))
        });
        let work =
            work.await.unwrap_or_else(|e| Err(Error::permanent("the decode stage panicked").caused_by(e)));
        let (going, chunk) = work.map_err(|e| e.at(&self.source))?;
        let Chunk { note, batches, ids } = match chunk {
            Ok(chunk) => chunk,
            Err((error, Some(missing))) => return self.miss(&error.at(&self.source), missing),
            Err((error, None)) => return Err(error.at(&self.source)),
        };
        if self.missing.is_some_and(|missing| going.next >= missing.next) {
            self.missing = None;
        }
        self.shared.seen(|seen| seen.ids.add(ids));
        self.state = State::Going(going);
        if batches.is_empty() {
            let place = Place { next: note.next, last: note.last };
            self.shared.seen(|seen| seen.notes.as_mut().map(|notes| notes.advance(place)));
            return Ok(());
        }
        self.make_room(&note).await?;
        self.note(note).await?;
        let Some(feed) = &self.feed else {
            return Err(Error::retry(format!("{}: the producer has let go of it", self.target)));
        };
        for batch in batches {
            if feed.send(Ok(batch)).await.is_err() {
                // The producer has given the partition up, and says why.
                self.feed = None;
                self.state = State::Waiting;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits until enough of what was noted before is acknowledged: an entry of the journal has a limit.
    async fn make_room(&self, note: &Note) -> Result<()> {
        loop {
            let acked = self.shared.acked.load(Relaxed);
            let runs = self.shared.seen(|seen| {
                let notes = seen.notes.as_mut()?;
                notes.trim(acked);
                Some(notes.runs())
            });
            if runs.is_none_or(|runs| runs == 0 || runs + note.runs.len() <= MOST_RUNS) {
                return Ok(());
            }
            if self.feed.as_ref().is_none_or(mpsc::Sender::is_closed) {
                return Err(Error::retry(format!("{}: the producer has let go of it", self.target)));
            }
            sleep(SOON).await;
        }
    }

    /// A record names a schema that nothing in the target stands for. Where the registry was not looked at since the record was
    /// fetched, it may have come meanwhile.
    fn miss(&mut self, error: &Error, found: Missing) -> Result<()> {
        match self.missing.filter(|missing| missing.next >= found.next) {
            Some(missing) if found.since >= missing.since + 2 => Err(Error::input(error.to_string()).hint(
                "the source's registry does not have it: register it there, or set `target_schema_registry.restore.unknown_ids: keep`",
            )),
            known => {
                self.missing = known.or(Some(found));
                tracing::info!(partition = %self.source, %error, "waits for a schema");
                Err(Error::retry(error.to_string()))
            }
        }
    }

    /// Keeps where records come from before they are produced.
    async fn note(&mut self, note: Note) -> Result<()> {
        let acked = self.shared.acked.load(Relaxed);
        let notes = self.shared.seen(|seen| {
            seen.trouble = None;
            let notes = seen.notes.as_mut()?;
            notes.trim(acked);
            notes.push(note);
            Some((notes.clone(), seen.claim.clone()?))
        });
        let Some((notes, target)) = notes else {
            return Err(Error::permanent("batches came before their partition began"));
        };
        self.keep(notes, target).await
    }

    /// Keeps what is known of the partition in the journal.
    async fn keep(&mut self, notes: Notes, target: Claim) -> Result<()> {
        let Some(source) = self.history.clone() else {
            return Err(Error::permanent("a partition is noted before it began"));
        };
        let entry = Entry { writer: self.common.writer, target, source, notes };
        let (written, done) = oneshot::channel();
        let write = Write { partition: self.source.clone(), entry: entry.clone(), written };
        // Its own error ends the migration.
        let gone = || Error::retry("the migration's journal is not written any more");
        self.common.journal.send(write).await.map_err(|_| gone())?;
        done.await.map_err(|_| gone())?;
        self.entry = Some(entry);
        Ok(())
    }

    /// Something went wrong: what was given to the producer is let go of, and the partition begins again after a pause.
    async fn trouble(&mut self, mut error: Error) {
        while self.is_tried_again(error) && !self.is_producing {
            match self.again().await {
                Ok(()) => return,
                Err(another) => error = another,
            }
        }
    }

    /// Notes what went wrong; whether there is any sense in another attempt.
    fn is_tried_again(&mut self, error: Error) -> bool {
        if matches!(self.state, State::Failed) {
            return false;
        }
        self.state = State::Waiting;
        self.feed = None;
        let acked = self.shared.acked.load(Relaxed);
        self.shared.ask(true, &self.source, &self.common.to_source);
        self.empty_hands();
        let is_new = self.last_trouble.is_none_or(|last| last.elapsed() > FORGOTTEN);
        self.last_trouble = Some(Instant::now());
        if is_new || acked > self.acked_then || self.failing_since.is_none() {
            (self.failures, self.failing_since, self.acked_then) = (0, Some(Instant::now()), acked);
        }
        self.failures += 1;
        let since = self.failing_since.map_or(Duration::ZERO, |since| since.elapsed());
        let passing = error.is_retriable();
        if passing && self.missing.is_some() {
            // However long it takes until somebody has its schema.
            (self.failures, self.failing_since) = (0, None);
        }
        let hopeless = matches!(error.kind(), ErrorKind::Input | ErrorKind::Damaged);
        if hopeless
            || self.common.give_up_after.is_some_and(|limit| since > limit)
            || (!passing && self.failures > ATTEMPTS)
        {
            tracing::error!(partition = %self.source, %error, "the partition is not migrated any further");
            self.state = State::Failed;
            self.shared.seen(|seen| seen.failed = Some(error));
            let _ = self.common.to_source.send(SourceCommand::Pause(self.source.clone()));
            return false;
        }
        tracing::warn!(partition = %self.source, %error, failures = self.failures, "beginning again");
        self.shared.seen(|seen| seen.trouble = Some(topics::with_hint(&error)));
        true
    }

    /// Asks the source to begin again behind what the target holds.
    async fn again(&mut self) -> Result<()> {
        if let (Some(missing), Some(schemas)) = (self.missing, self.common.schemas.clone()) {
            schemas.walk_after(missing.since).await;
        }
        let rand = &*self.common.target.seam().rand;
        sleep(backoff(rand, self.failures, Duration::from_millis(200), LONGEST_PAUSE)).await;
        let topics = [self.target.topic.clone()];
        if let Err(error) = self.common.target.refresh(Topics::Named(&topics)).await {
            tracing::warn!(%error, "no fresh metadata of topic {}", self.target.topic);
        }
        let place = match &self.entry {
            Some(entry) => self.present(&entry.target).await.and_then(|present| {
                let place = entry.notes.place(present);
                place.map(Some).ok_or_else(|| self.unknown(&entry.notes, present))
            }),
            // Nothing of it is on the target.
            None => Ok(self.began.map(|next| Place { next, last: None })),
        };
        let source = self.entry.as_ref().map(|entry| &entry.source).or(self.history.as_ref());
        let known = source.zip(place?).map(|(source, place)| known(source, place));
        let _ = self.common.to_source.send(SourceCommand::Rewind(self.source.clone(), known));
        Ok(())
    }
}

/// Where a partition goes on, as the source is told.
pub(super) fn known(history: &History, place: Place) -> Known {
    Known {
        lineage: history.lineage,
        cluster_id: history.cluster_id.clone(),
        topic_id: history.topic_id,
        start: history.start,
        next: place.next,
        last: place.last,
        open: Some(Vec::new()),
        // A source that was truncated is refused.
        forked: None,
    }
}
