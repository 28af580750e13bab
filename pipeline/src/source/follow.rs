//! Follow: which partitions there are, where each goes on, and who fetches it. Decides whatever a fetch task
//! gives back: a leader that moved, an offset that retention took, a log that went another way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use formats::commit::{Gap, GapReason, ObjectRef};
use formats::ids::{Incarnation, OffsetRange, Topic, TopicPartition};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::cluster::{self, Selected, Stored};
use super::fetch::{self, FetchCommand, FromFetch, Trouble};
use super::message::{Assignment, FromSource, SourceCommand};
use super::place::{self, Known, Placed};
use super::{SourceProgress, SourceSettings, closed};
use crate::budget::Budget;
use crate::kafka::{At, Client, FetchSettings, Fetcher, Isolation};
use crate::rate::Limits;
use crate::storage::Store;
use crate::{Error, Result};

/// A run that is to end, and has partitions left, fails after this long without any progress.
const STALL_LIMIT: Duration = Duration::from_secs(300);
/// The pause before partitions whose leader moved are looked at again.
const MOVED_PAUSE: Duration = Duration::from_millis(250);
/// Between two looks at least, however much moves: each costs the cluster requests for all of its topics.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Where everything begins.
pub(crate) struct Plan {
    selected: Selected,
    placed: Vec<Placed>,
    failed: Vec<(TopicPartition, String)>,
    pending: Vec<(Option<Known>, TopicPartition)>,
    came: BTreeSet<TopicPartition>,
    absent: BTreeMap<TopicPartition, Known>,
}

impl Plan {
    pub(crate) fn partitions(&self) -> usize {
        self.placed.len()
    }

    pub(crate) fn topics(&self) -> BTreeSet<Topic> {
        self.selected.topics.keys().cloned().collect()
    }
}

/// Looks at the source; `known` is where partitions were left.
pub(crate) async fn plan(
    settings: &SourceSettings,
    client: &Client,
    mut selected: Selected,
    last_seen: Option<&Stored>,
    known: BTreeMap<TopicPartition, Known>,
) -> Plan {
    selected.remember(last_seen);
    let mut absent = known;
    let partitions: Vec<_> =
        selected.partitions().map(|partition| (absent.remove(&partition), partition)).collect();
    let mut asked: BTreeMap<_, _> =
        partitions.iter().map(|(known, partition)| (partition.clone(), known.clone())).collect();
    let of_known: BTreeSet<Topic> = partitions
        .iter()
        .filter_map(|(known, partition)| known.as_ref().map(|_| partition.topic.clone()))
        .collect();
    let came: BTreeSet<_> = partitions
        .iter()
        .filter(|(known, partition)| known.is_none() && of_known.contains(&partition.topic))
        .map(|(_, partition)| partition.clone())
        .collect();
    let (placed, mut failed) = place_all(settings, client, &selected, partitions, &came).await;
    let mut pending = Vec::new();
    if settings.continuous {
        // A partition without a leader just now will have one again.
        for (partition, why) in failed.drain(..) {
            tracing::warn!(%partition, why, "not yet");
            pending.push((asked.remove(&partition).flatten(), partition));
        }
    }
    Plan { selected, placed, failed, pending, came, absent }
}

/// Places partitions, of which some came since the job began.
async fn place_all(
    settings: &SourceSettings,
    client: &Client,
    selected: &Selected,
    partitions: Vec<(Option<Known>, TopicPartition)>,
    came: &BTreeSet<TopicPartition>,
) -> (Vec<Placed>, Vec<(TopicPartition, String)>) {
    let (new, others) = partitions.into_iter().partition(|(_, partition)| came.contains(partition));
    let (mut placed, mut failed) = place::place(settings, client, selected, others, false).await;
    let (placed_new, failed_new) = place::place(&settings.of_new(), client, selected, new, false).await;
    placed.extend(placed_new);
    failed.extend(failed_new);
    (placed, failed)
}

/// Where snapshots of the topics' settings are kept.
pub(crate) struct Snapshots {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) incarnation: Incarnation,
    /// The number of the next one, which only orders a listing.
    pub(crate) seq: u64,
    /// The newest one of earlier runs, until it is read.
    pub(crate) earlier: Option<ObjectRef>,
    /// The newest one.
    pub(crate) newest: Option<Stored>,
}

impl Snapshots {
    /// Reads what earlier runs left; once.
    pub(crate) async fn load(&mut self) -> Option<&Stored> {
        if let Some(object) = self.earlier.take() {
            self.newest = cluster::load_snapshot(&*self.store, object).await;
        }
        self.newest.as_ref()
    }
}

/// What the source side of a run can say at its end.
#[derive(Default)]
pub(crate) struct Fetched {
    pub(crate) partitions: u64,
    pub(crate) held_back: Vec<(TopicPartition, OffsetRange)>,
    pub(crate) failed: Vec<(TopicPartition, String)>,
    /// Told to stop before every partition had reached its end.
    pub(crate) interrupted: bool,
}

/// Keeps every partition fetched by some task.
pub(crate) struct Coordinator {
    settings: SourceSettings,
    client: Client,
    snapshots: Option<Snapshots>,
    budget: Budget,
    out: mpsc::Sender<FromSource>,
    progress: Arc<SourceProgress>,
    stop: CancellationToken,
    selected: Selected,
    placed: Vec<Placed>,
    tasks: JoinSet<Result<()>>,
    connections: HashMap<i32, Vec<Connection>>,
    events: mpsc::UnboundedSender<FromFetch>,
    from_fetch: mpsc::UnboundedReceiver<FromFetch>,
    active: BTreeMap<TopicPartition, (i32, usize)>,
    /// Partitions that wait to be looked at again, with what is known of them.
    pending: Vec<(Option<Known>, TopicPartition)>,
    /// Partitions that have come since the job began, and begin at their first offset.
    came: BTreeSet<TopicPartition>,
    /// Partitions that are known and that the source does not have, or not now: they may come, or come back.
    absent: BTreeMap<TopicPartition, Known>,
    held: BTreeMap<TopicPartition, Held>,
    commands: Option<mpsc::UnboundedReceiver<SourceCommand>>,
    /// Partitions that are not to be fetched now, with where they stand once their task has let go of them.
    paused: BTreeMap<TopicPartition, Option<Assignment>>,
    /// Partitions that begin again elsewhere once their task has let go of them.
    rewinds: BTreeMap<TopicPartition, Option<Known>>,
    /// What is paid for what is fetched: in all, and at each broker.
    limits: Arc<Limits>,
    broker_limits: HashMap<i32, Arc<Limits>>,
    report: Fetched,
}

/// A partition of a run that ends which had records beyond its stable offset when it was placed.
struct Held {
    range: OffsetRange,
    /// Where it stands, once everything below the range is fetched.
    at: Option<Assignment>,
}

struct Connection {
    commands: mpsc::UnboundedSender<FetchCommand>,
    partitions: BTreeSet<TopicPartition>,
}

impl Coordinator {
    #[allow(clippy::too_many_arguments, reason = "the wiring of one stage, called once by each job")]
    pub(crate) fn new(
        settings: SourceSettings,
        client: Client,
        snapshots: Option<Snapshots>,
        budget: Budget,
        plan: Plan,
        out: mpsc::Sender<FromSource>,
        commands: Option<mpsc::UnboundedReceiver<SourceCommand>>,
        progress: Arc<SourceProgress>,
        stop: CancellationToken,
    ) -> Self {
        let (events, from_fetch) = mpsc::unbounded_channel();
        let report =
            Fetched { partitions: plan.placed.len() as u64, failed: plan.failed, ..Fetched::default() };
        let limits = Arc::new(Limits::new(settings.rate.in_all, None));
        Self {
            limits,
            broker_limits: HashMap::new(),
            settings,
            client,
            snapshots,
            budget,
            out,
            progress,
            stop,
            selected: plan.selected,
            placed: plan.placed,
            tasks: JoinSet::new(),
            connections: HashMap::new(),
            events,
            from_fetch,
            active: BTreeMap::new(),
            pending: plan.pending,
            came: plan.came,
            absent: plan.absent,
            held: BTreeMap::new(),
            commands,
            paused: BTreeMap::new(),
            rewinds: BTreeMap::new(),
            report,
        }
    }

    /// Runs until every partition has reached its end, or for ever; `failed` ends it at once.
    pub(crate) async fn run(mut self, failed: CancellationToken) -> Result<Fetched> {
        for (topic, why) in std::mem::take(&mut self.selected.refused) {
            self.report.failed.push((TopicPartition::new(topic, -1), why));
        }
        self.progress.lags.only(&self.selected.partitions().collect());
        self.write_snapshot().await?;
        for placed in std::mem::take(&mut self.placed) {
            self.start(placed).await?;
        }
        let mut refresh = Instant::now() + self.settings.refresh_interval;
        let (mut moved, mut looked) = (Instant::now(), Instant::now());
        let mut last = (0, Instant::now());
        loop {
            let finished = !self.settings.continuous && self.active.is_empty() && self.pending.is_empty();
            if finished && !self.stop.is_cancelled() && self.go_on_with_what_was_held().await? {
                continue;
            }
            if finished || self.stop.is_cancelled() {
                self.report.interrupted = !finished && !self.settings.continuous;
                break;
            }
            tokio::select! {
                biased;
                () = failed.cancelled() => return Err(closed()),
                () = self.stop.cancelled() => continue,
                Some(ended) = self.tasks.join_next() => ended.map_err(|e| Error::permanent("a fetch task panicked").caused_by(e))??,
                Some(command) = next_command(&mut self.commands) => self.obey(command)?,
                event = self.from_fetch.recv() => if let Some(event) = event {
                    self.handle(event).await?;
                    // What waits already does not wait longer for it: events may come without end.
                    let now = Instant::now();
                    let soon = (now + MOVED_PAUSE).max(looked + LOOK_PAUSE);
                    moved = if moved > now { moved.min(soon) } else { soon };
                },
                () = sleep_until(moved), if !self.pending.is_empty() => {
                    self.place_pending().await?;
                    looked = Instant::now();
                    moved = Instant::now() + self.settings.refresh_interval.min(Duration::from_secs(2));
                }
                () = sleep_until(refresh) => {
                    if self.settings.continuous {
                        self.refresh().await?;
                    }
                    refresh = Instant::now() + self.settings.refresh_interval;
                }
            }
            self.progress.failed.store(self.report.failed.len() as u64, Relaxed);
            let fetched =
                self.progress.offsets_fetched.load(Relaxed) + self.progress.partitions_done.load(Relaxed);
            let is_held =
                self.limits.is_holding() || self.broker_limits.values().any(|limits| limits.is_holding());
            if fetched != last.0 || is_held {
                last = (fetched, Instant::now());
            } else if !self.settings.continuous && last.1.elapsed() > STALL_LIMIT {
                // What the others have given is committed all the same.
                let pending = std::mem::take(&mut self.pending).into_iter().map(|(_, partition)| partition);
                let waiting: Vec<_> = self.active.keys().cloned().chain(pending).collect();
                let why = format!(
                    "no progress for {} s: check that it has a leader and that the brokers answer",
                    STALL_LIMIT.as_secs()
                );
                self.report.failed.extend(waiting.into_iter().map(|partition| (partition, why.clone())));
                break;
            }
        }
        // Closing the command queues ends the tasks; what they have fetched is in the queue of the stage behind by then.
        self.connections.clear();
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|e| Error::permanent("a fetch task panicked").caused_by(e))??;
        }
        self.report.held_back =
            self.held.into_iter().map(|(partition, held)| (partition, held.range)).collect();
        Ok(self.report)
    }

    async fn handle(&mut self, event: FromFetch) -> Result<()> {
        let (assignment, trouble) = match event {
            FromFetch::Done(assignment) => {
                self.release(&assignment.partition);
                if let Some(held) = self.held.get_mut(&assignment.partition) {
                    held.at = Some(assignment);
                    return Ok(());
                }
                return self.end(assignment.partition).await;
            }
            FromFetch::Stopped(assignment) => {
                self.release(&assignment.partition);
                return self.assign(assignment);
            }
            FromFetch::Trouble(assignment, trouble) => (assignment, trouble),
        };
        let partition = assignment.partition.clone();
        self.release(&partition);
        match trouble {
            Trouble::Moved(why) => {
                tracing::debug!(%partition, why, "looking for the leader");
                self.wait(&assignment);
            }
            Trouble::Replica(broker) => {
                self.assign(Assignment { broker, leader_epoch: None, ..assignment })?
            }
            Trouble::Elsewhere(why) => {
                tracing::warn!(%partition, next = assignment.next, why, "the log is not where it was left");
                self.wait(&assignment);
            }
            Trouble::LastBatchDiffers(found) => {
                tracing::warn!(%partition, found, last = ?assignment.last, "the log holds another batch than the one that was taken");
                let known = Some(Known::of(&assignment, &self.cluster_id()));
                let (placed, failed) = place::place(
                    &self.settings,
                    &self.client,
                    &self.selected,
                    vec![(known, partition)],
                    true,
                )
                .await;
                for (partition, why) in failed {
                    // It is fetched once more then, and found to differ once more.
                    tracing::debug!(%partition, why, "not yet");
                    self.wait(&assignment);
                }
                for placed in placed {
                    self.start(placed).await?;
                }
            }
            Trouble::Empty { stable } => {
                let reason = if assignment.compacted { GapReason::Compacted } else { GapReason::Vanished };
                let gap = Gap { first: assignment.next, end: stable, reason };
                let lineage = assignment.lineage;
                tracing::info!(%partition, range = %gap.range(), "the log holds nothing here");
                self.tell(FromSource::Gap { partition, lineage, gap, trimmed: false }).await?;
                self.assign(Assignment { next: stable, last: None, ..assignment })?;
            }
            Trouble::Failed(error) => {
                tracing::error!(%partition, %error, "the partition cannot be fetched");
                self.report.failed.push((partition.clone(), error.to_string()));
                self.held.remove(&partition);
                self.absent.insert(partition.clone(), Known::of(&assignment, &self.cluster_id()));
                self.tell(FromSource::End { partition, why: Some(error.to_string()) }).await?;
            }
        }
        Ok(())
    }

    fn obey(&mut self, command: SourceCommand) -> Result<()> {
        match command {
            SourceCommand::Pause(partition) => {
                self.stop_fetching(&partition);
                self.paused.entry(partition).or_default();
            }
            SourceCommand::Resume(partition) => {
                if let Some(Some(assignment)) = self.paused.remove(&partition) {
                    self.assign(assignment)?;
                }
            }
            SourceCommand::Rewind(partition, known) => {
                let is_parked = matches!(self.paused.remove(&partition), Some(Some(_)));
                let waits = self.pending.iter().position(|(_, waiting)| *waiting == partition);
                if let Some(number) = waits {
                    self.pending[number].0 = known;
                } else if self.active.contains_key(&partition) {
                    self.stop_fetching(&partition);
                    self.rewinds.insert(partition, known);
                } else if is_parked || self.absent.remove(&partition).is_some() {
                    self.pending.push((known, partition));
                }
            }
        }
        Ok(())
    }

    fn stop_fetching(&mut self, partition: &TopicPartition) {
        if let Some((broker, number)) = self.active.get(partition)
            && let Some(connection) = self.connections.get(broker).and_then(|of| of.get(*number))
        {
            let _ = connection.commands.send(FetchCommand::Stop(partition.clone()));
        }
    }

    fn wait(&mut self, assignment: &Assignment) {
        let known = match self.rewinds.remove(&assignment.partition) {
            Some(known) => known,
            None => Some(Known::of(assignment, &self.cluster_id())),
        };
        self.pending.push((known, assignment.partition.clone()));
    }

    /// Looks again at partitions whose leader moved or whose log changed.
    async fn place_pending(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        match cluster::select(&self.client, &self.settings.topics).await {
            Ok(selected) => self.take_selected(selected),
            Err(error) if error.is_retriable() => {
                tracing::warn!(%error, "the source does not answer; trying again");
                self.pending = pending;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let (there, gone): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(_, partition)| {
            self.selected
                .topics
                .get(&partition.topic)
                .is_some_and(|topic| topic.partitions.contains_key(&partition.partition))
        });
        for (known, partition) in gone {
            tracing::warn!(%partition, "the topic was deleted at the source; what was taken of it stays");
            let why = Some("the topic was deleted at the source".to_owned());
            self.progress.lags.forget(&partition);
            self.tell(FromSource::End { partition: partition.clone(), why }).await?;
            self.absent.extend(known.map(|known| (partition.clone(), known)));
            if !self.settings.continuous {
                self.report.failed.push((partition, "the topic was deleted meanwhile".into()));
            }
        }
        let again: BTreeMap<_, _> =
            there.iter().map(|(known, partition)| (partition.clone(), known.clone())).collect();
        let (placed, failed) =
            place_all(&self.settings, &self.client, &self.selected, there, &self.came).await;
        for placed in placed {
            self.report.failed.retain(|(partition, _)| *partition != placed.assignment.partition);
            self.start(placed).await?;
        }
        for (partition, why) in failed {
            tracing::debug!(%partition, why, "not yet");
            let known = again.get(&partition).cloned().flatten();
            self.pending.push((known, partition));
        }
        Ok(())
    }

    /// Finds topics and partitions that are new, and tries those again that have failed.
    async fn refresh(&mut self) -> Result<()> {
        match cluster::select(&self.client, &self.settings.topics).await {
            Ok(selected) => self.take_selected(selected),
            Err(error) if error.is_retriable() => {
                tracing::warn!(%error, "the list of topics could not be refreshed");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.write_snapshot().await?;
        let new: Vec<_> = self
            .selected
            .partitions()
            .filter(|partition| {
                !self.active.contains_key(partition)
                    && !self.paused.contains_key(partition)
                    && !self.pending.iter().any(|(_, p)| p == partition)
            })
            .map(|partition| (self.absent.remove(&partition), partition))
            .collect();
        for (_, partition) in &new {
            let is_refused = |failed: &TopicPartition| {
                failed == partition || failed.topic == partition.topic && failed.partition < 0
            };
            if self.report.failed.iter().any(|(failed, _)| is_refused(failed)) {
                tracing::info!(%partition, "trying again");
            } else {
                tracing::info!(%partition, "a new partition");
                self.came.insert(partition.clone());
            }
        }
        // A topic that was refused, and is not any more.
        let topics = &self.selected.topics;
        self.report.failed.retain(|(failed, _)| failed.partition >= 0 || !topics.contains_key(&failed.topic));
        self.pending.extend(new);
        Ok(())
    }

    fn take_selected(&mut self, mut selected: Selected) {
        selected.remember(self.snapshots.as_ref().and_then(|snapshots| snapshots.newest.as_ref()));
        self.selected = selected;
    }

    async fn write_snapshot(&mut self) -> Result<()> {
        let Some(snapshots) = &mut self.snapshots else { return Ok(()) };
        snapshots.load().await;
        let Snapshots { store, incarnation, seq, newest, .. } = snapshots;
        let written =
            cluster::store_snapshot(&**store, *incarnation, *seq, newest.as_ref(), &self.selected).await?;
        if let Some((op, stored)) = written {
            snapshots.newest = Some(stored);
            snapshots.seq += 5;
            self.tell(FromSource::Op(op)).await?;
        }
        Ok(())
    }

    /// Tells where a partition goes on, and gives it to a fetch task.
    async fn start(&mut self, placed: Placed) -> Result<()> {
        let Placed { assignment, begin, gap, data_follows, held } = placed;
        let partition = assignment.partition.clone();
        let ends_at_stable = !self.settings.continuous && self.settings.isolation == Isolation::ReadCommitted;
        if let Some(range) = held.filter(|_| ends_at_stable) {
            self.held.insert(partition.clone(), Held { range, at: None });
        }
        self.want(&assignment);
        if let Some(begin) = begin {
            self.tell(FromSource::Begin(begin)).await?;
        }
        if let Some(gap) = gap {
            tracing::warn!(%partition, range = %gap.range(), reason = gap.reason.name(), "offsets are gone from the source");
            let lineage = assignment.lineage;
            self.tell(FromSource::Gap { partition, lineage, gap, trimmed: data_follows }).await?;
        }
        self.assign(assignment)
    }

    fn assign(&mut self, assignment: Assignment) -> Result<()> {
        if let Some(known) = self.rewinds.remove(&assignment.partition) {
            self.pending.push((known, assignment.partition));
            return Ok(());
        }
        if let Some(parked) = self.paused.get_mut(&assignment.partition) {
            *parked = Some(assignment);
            return Ok(());
        }
        let broker = assignment.broker;
        if !self.connections.contains_key(&broker) {
            let count = self.client.config().connections_per_broker.max(1);
            let opened: Vec<_> = (0..count).map(|_| self.open(broker)).collect();
            self.connections.insert(broker, opened);
        }
        let Some(connections) = self.connections.get_mut(&broker) else { return Err(closed()) };
        let least = connections.iter_mut().enumerate().min_by_key(|(_, c)| c.partitions.len());
        let Some((number, connection)) = least else { return Err(closed()) };
        connection.partitions.insert(assignment.partition.clone());
        self.active.insert(assignment.partition.clone(), (broker, number));
        // A task that is gone has failed; joining it tells why.
        let _ = connection.commands.send(FetchCommand::Fetch(Box::new(assignment)));
        Ok(())
    }

    fn open(&mut self, broker: i32) -> Connection {
        let connections = self.client.config().connections_per_broker.max(1);
        let largest = (self.budget.limit() / (3 * connections)).clamp(1 << 20, 16 << 20);
        let most = self.settings.fetch_max_bytes.map_or(largest, |bytes| bytes.min(largest));
        // Where little may come in a second, no more than that at once.
        let rate = [self.settings.rate.in_all, self.settings.rate.per_broker].into_iter().flatten().min();
        let most = rate.map_or(most, |rate| most.min(usize::try_from(rate).unwrap_or(most)));
        let settings = FetchSettings {
            partition_max_bytes: i32::try_from(most.min(4 << 20)).unwrap_or(i32::MAX),
            isolation: self.settings.isolation,
            from_rack: true,
            ..FetchSettings::default()
        };
        let fetcher = Fetcher::new(self.client.clone(), broker, settings, self.budget.clone());
        let (commands, receiver) = mpsc::unbounded_channel();
        let per_broker = self.settings.rate.per_broker;
        let of_broker =
            self.broker_limits.entry(broker).or_insert_with(|| Arc::new(Limits::new(per_broker, None)));
        let limits = [Arc::clone(&self.limits), Arc::clone(of_broker)];
        self.tasks.spawn(fetch::run(
            fetcher,
            self.settings.isolation,
            receiver,
            self.out.clone(),
            self.events.clone(),
            Arc::clone(&self.progress),
            limits,
            most,
        ));
        Connection { commands, partitions: BTreeSet::new() }
    }

    fn release(&mut self, partition: &TopicPartition) {
        if let Some((broker, number)) = self.active.remove(partition)
            && let Some(connection) = self.connections.get_mut(&broker).and_then(|c| c.get_mut(number))
        {
            connection.partitions.remove(partition);
        }
    }

    /// Fetches what transactions held back when the run began and do no longer, up to the end that the partition had
    /// then. Whether there is any. What is left in `held` afterwards is still undecided, or nobody says.
    async fn go_on_with_what_was_held(&mut self) -> Result<bool> {
        let partitions: Vec<_> =
            self.held.iter().filter(|(_, held)| held.at.is_some()).map(|(name, _)| name.clone()).collect();
        if partitions.is_empty() {
            return Ok(false);
        }
        let stable = self.client.list_offsets(partitions, At::Latest, Isolation::ReadCommitted).await;
        let mut go_on = Vec::new();
        for (partition, listed) in stable {
            let Some(stable) = listed.ok().and_then(|listed| listed.offset) else { continue };
            let Some(held) = self.held.get_mut(&partition) else { continue };
            if stable <= held.range.first {
                continue;
            }
            let until = stable.min(held.range.end);
            go_on.extend(held.at.take().map(|at| Assignment { until: Some(until), ..at }));
            held.range.first = until;
            if until == held.range.end {
                self.held.remove(&partition);
            }
        }
        if go_on.is_empty() {
            let over: Vec<_> = self.held.values_mut().filter_map(|held| held.at.take()).collect();
            for assignment in over {
                self.end(assignment.partition).await?;
            }
            return Ok(false);
        }
        for assignment in go_on {
            self.want(&assignment);
            self.assign(assignment)?;
        }
        Ok(true)
    }

    /// A partition has what it is to have in this run.
    async fn end(&mut self, partition: TopicPartition) -> Result<()> {
        SourceProgress::add(&self.progress.partitions_done, 1);
        self.tell(FromSource::End { partition, why: None }).await
    }

    fn want(&self, assignment: &Assignment) {
        if let Some(until) = assignment.until {
            let wanted = u64::try_from(until - assignment.next).unwrap_or(0);
            SourceProgress::add(&self.progress.offsets_wanted, wanted);
        }
    }

    fn cluster_id(&self) -> String {
        self.selected.snapshot.cluster_id.clone()
    }

    async fn tell(&self, message: FromSource) -> Result<()> {
        self.out.send(message).await.map_err(|_| closed())
    }
}

/// Never where nobody commands.
async fn next_command(
    commands: &mut Option<mpsc::UnboundedReceiver<SourceCommand>>,
) -> Option<SourceCommand> {
    match commands {
        Some(commands) => commands.recv().await,
        None => std::future::pending().await,
    }
}

impl Known {
    /// What a fetch task knew when it gave the partition back.
    fn of(assignment: &Assignment, cluster_id: &str) -> Self {
        Self {
            lineage: assignment.lineage,
            cluster_id: cluster_id.to_owned(),
            topic_id: assignment.topic_id,
            start: assignment.start,
            next: assignment.next,
            last: assignment.last,
            open: None,
            forked: assignment.forked.clone(),
        }
    }
}
