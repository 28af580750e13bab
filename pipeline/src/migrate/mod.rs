//! Migration: topics of one cluster followed live into another one, each record exactly once and in order.
//!
//! ```text
//! source -> router -> flow (one a partition) -> journal -> producer -> target
//!              |                 ^                             |
//!              '-- pause, begin again                 acknowledged, refused
//! ```
//! The position is kept in the target: how far its log reaches says how many records are there, and the journal says where in
//! the source they came from (see [`position`]). A run that died is run again and goes on behind the last record. What holds one
//! partition back holds no other one back. This file wires the stages; each lives in a file of its own.

mod chunk;
mod cut_over;
mod flow;
mod groups;
mod journal;
mod monitor;
mod plan;
mod position;
mod proof;
mod report;
mod reread;
mod router;
mod schemas;
mod targets;
mod translate;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use formats::ids::{Topic, TopicPartition};
use futures::stream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use groups::{GroupOffset, GroupReport, OffsetOutcome};
pub use journal::MIGRATION_TOPIC;
pub use monitor::MigrateProgress;
pub use plan::{MigratePlan, TopicPlan, plan};
pub use proof::{PartitionProof, ProofVerdict};
pub use report::{MigrateReport, PartitionReport};
pub use schemas::{MigrateSchemas, SchemaReport};

use cut_over::CutOver;
use flow::{Common, Shared};
use journal::Journal;
use router::Router;
use targets::Targets;

use crate::budget::Budget;
use crate::kafka::{Client, Isolation};
use crate::select::{GroupSelection, TopicSelection};
use crate::source::{self, FetchRate, SourceSettings, StartOffset, cluster};
use crate::target::produce::{Coordinator, ProduceSettings};
use crate::{Error, Result};

/// Entries of the journal that wait.
const ENTRIES: usize = 1024;
/// Messages of the source that wait.
const MESSAGES: usize = 256;
/// Flows that look at the target at once.
const LOOKS: usize = 16;
/// Bytes for looks at the target.
const READING: usize = 64 << 20;
/// How long a producer tries before the partition is given back and waits with empty hands.
const PRODUCER_PATIENCE: Duration = Duration::from_secs(10);
/// The least and the most that waits for one flow.
const ROOM: (usize, usize) = (64 << 10, 8 << 20);

/// What a migration does.
#[derive(Debug, Clone)]
pub struct MigrateSettings {
    /// The migration's name: what the journal knows it by.
    pub migration_id: String,
    /// Which topics.
    pub topics: TopicSelection,
    /// Names that topics get in the target.
    pub topic_mapping: BTreeMap<Topic, Topic>,
    /// Numbers that partitions get in the target.
    pub partition_mapping: BTreeMap<i32, i32>,
    /// Whether topics that the target has not are made.
    pub create_topics: bool,
    /// Replicas of topics that are made; none: as many as at the source.
    pub replication_factor: Option<i16>,
    /// Whether partitions that hold records already are written behind them.
    pub into_non_empty: bool,
    /// Where a partition begins.
    pub start: StartOffset,
    /// How often new topics and partitions are looked for.
    pub refresh_interval: Duration,
    /// Whether it ends once the target holds everything, and nothing more has come meanwhile.
    pub until_caught_up: bool,
    /// Most bytes of batches a second; none: no limit.
    pub bytes_per_second: Option<u64>,
    /// Most records a second; none: no limit.
    pub records_per_second: Option<u64>,
    /// Connections to one broker, of the source and of the target.
    pub connections_per_broker: usize,
    /// Bytes for all payload in flight.
    pub memory_limit: usize,
    /// Bytes that one Fetch answer should have at most.
    pub fetch_max_bytes: Option<usize>,
    /// How long a broker may wait for its in-sync replicas.
    pub produce_timeout: Duration,
    /// How long a partition is tried without any progress before it is given up.
    pub give_up_after: Duration,
    /// Whose committed offsets are carried over once it has caught up; none: nobody's.
    pub groups: Option<GroupSelection>,
    /// Whether both sides are read once more and compared once it has caught up.
    pub proof: bool,
    /// What is done with schemas; none: nothing, and records keep their ids.
    pub schemas: Option<MigrateSchemas>,
}

impl MigrateSettings {
    /// Everything, with the defaults; no offsets of groups.
    pub fn new(migration_id: impl Into<String>, topics: TopicSelection) -> Self {
        Self {
            migration_id: migration_id.into(),
            topics,
            topic_mapping: BTreeMap::new(),
            partition_mapping: BTreeMap::new(),
            create_topics: true,
            replication_factor: None,
            into_non_empty: false,
            start: StartOffset::Earliest,
            refresh_interval: Duration::from_secs(30),
            until_caught_up: false,
            bytes_per_second: None,
            records_per_second: None,
            connections_per_broker: 1,
            memory_limit: 256 << 20,
            fetch_max_bytes: None,
            produce_timeout: Duration::from_secs(30),
            give_up_after: Duration::from_secs(300),
            groups: None,
            proof: true,
            schemas: None,
        }
    }

    /// The name that a topic gets in the target.
    pub fn target_topic<'a>(&'a self, source: &'a Topic) -> &'a Topic {
        self.topic_mapping.get(source).unwrap_or(source)
    }

    /// Where a partition goes.
    pub fn target(&self, source: &TopicPartition) -> TopicPartition {
        let number = self.partition_mapping.get(&source.partition).copied().unwrap_or(source.partition);
        TopicPartition::new(self.target_topic(&source.topic).clone(), number)
    }

    fn source(&self) -> SourceSettings {
        SourceSettings {
            topics: self.topics.clone(),
            continuous: true,
            isolation: Isolation::ReadCommitted,
            start: self.start.clone(),
            fetch_max_bytes: self.fetch_max_bytes,
            // What it may move is limited at the target.
            rate: FetchRate::default(),
            refresh_interval: self.refresh_interval,
        }
    }

    fn produce(&self) -> ProduceSettings {
        ProduceSettings {
            bytes_per_second: self.bytes_per_second,
            records_per_second: self.records_per_second,
            connections_per_broker: self.connections_per_broker,
            timeout: self.produce_timeout,
            give_up_after: PRODUCER_PATIENCE,
        }
    }
}

/// Every flow, as others see it.
type Flows = Arc<Mutex<BTreeMap<TopicPartition, Arc<Shared>>>>;

/// Migrates until `stop` is cancelled or, where that is asked for, until the target holds everything.
///
/// A partition that fails does not stop the others: see [`MigrateReport::is_partial`].
///
/// # Errors
/// [`crate::ErrorKind::Input`] for what cannot be done, before anything is touched; [`crate::ErrorKind::Fenced`] where another
/// run of the same migration took over; clusters that stay out of reach.
pub async fn run(
    settings: &MigrateSettings,
    source: &Client,
    target: &Client,
    progress: Arc<MigrateProgress>,
    stop: CancellationToken,
) -> Result<MigrateReport> {
    let started = tokio::time::Instant::now();
    let following = settings.source();
    let selected = cluster::select(source, &following.topics).await?;
    let cluster_id = source.metadata().cluster_id.clone().unwrap_or_default();
    let facts = plan::facts(settings, target, &selected).await?;
    let known = Journal::look(target.clone(), &settings.migration_id).await?;
    plan::refuse(&plan::problems(settings, source, &selected, &facts, &known))?;
    let expected = selected.partitions().collect();
    let refused = selected.refused.clone();
    let budget = Budget::within(settings.memory_limit);

    let (mut schemas, mut following_schemas, mut report_of_schemas) = (None, None, None);
    if let Some(rules) = &settings.schemas {
        let mut follower = schemas::Follower::new(rules.clone(), target).await?;
        report_of_schemas = Some(follower.report());
        let (known, out) = follower.first(&stop).await?;
        schemas = Some(Arc::new(known));
        following_schemas = Some((follower, out));
    }
    let journal = Journal::open(target.clone(), &settings.migration_id).await?;
    let writer = journal.writer();
    let entries = journal.known().clone();
    let known = entries
        .iter()
        .map(|(place, entry)| (place.clone(), flow::known(&entry.source, entry.notes.before())));
    let made = entries.values().filter(|entry| entry.target.created).map(|entry| entry.target.topic.clone());
    let made = made.collect();
    let plan = source::plan(&following, source, selected, None, known.collect()).await;

    let ended = CancellationToken::new();
    let work = stop.child_token();
    let (to_journal, requests) = mpsc::channel(ENTRIES);
    let (to_router, messages) = mpsc::channel(MESSAGES);
    let (to_source, commands) = mpsc::unbounded_channel();
    let (to_produce, mut jobs) = mpsc::unbounded_channel();
    let (to_outcomes, outcomes) = mpsc::unbounded_channel();
    let targets = Arc::new(Targets::new(source.clone(), target.clone(), settings.clone()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let common = Common {
        target: target.clone(),
        targets: Arc::clone(&targets),
        cluster_id,
        writer,
        budget: budget.clone(),
        reading: Budget::new(READING),
        made: Arc::new(made),
        workers: Arc::new(Semaphore::new(cores)),
        journal: to_journal,
        jobs: to_produce,
        to_source,
        into_non_empty: settings.into_non_empty,
        give_up_after: settings.until_caught_up.then_some(settings.give_up_after),
        room: (budget.limit() / (2 * plan.partitions().max(1))).clamp(ROOM.0, ROOM.1),
        looks: Arc::new(Semaphore::new(LOOKS)),
        schemas: schemas.clone(),
        stop: work.clone(),
    };
    let flows = Flows::default();
    let router = Router::new(settings.clone(), common, entries, Arc::clone(&flows));
    let mut stages: JoinSet<Result<()>> = JoinSet::new();
    stages.spawn(journal.write_all(requests));
    if let Some((follower, out)) = following_schemas {
        stages.spawn(follower.run(out, work.clone()));
    }
    stages.spawn(router.run(messages, outcomes, work.clone()));
    let counters = (Arc::clone(&progress.source), Arc::clone(&progress.target));
    let producer =
        Coordinator::new(settings.produce(), target.clone(), counters.1, work.clone(), to_outcomes);
    stages.spawn(async move {
        producer.run(stream::poll_fn(move |context| jobs.poll_recv(context)), usize::MAX).await;
        Ok(())
    });
    let following = source::Coordinator::new(
        following,
        source.clone(),
        None,
        budget.clone(),
        plan,
        to_router,
        Some(commands),
        counters.0,
        work.clone(),
    );
    let failed = ended.clone();
    stages.spawn(async move { following.run(failed).await.map(drop) });
    let monitor = monitor::Monitor {
        settings: settings.clone(),
        source: source.clone(),
        expected,
        flows: Arc::clone(&flows),
        progress: Arc::clone(&progress),
    };
    let watched = tokio::select! {
        // Where it is told to stop, stages end too.
        biased;
        () = stop.cancelled() => Ok(None),
        watched = monitor.run() => Ok(Some(watched)),
        Some(stage) = stages.join_next() => Err(ended_early(stage)),
    };
    work.cancel();
    ended.cancel();
    let mut first = None;
    while let Some(stage) = stages.join_next().await {
        if let Err(error) = stage.unwrap_or_else(|e| Err(panicked(e))) {
            first.get_or_insert(error);
        }
    }
    let watched = match (watched, first) {
        // Who was told first that it cannot go on knows why.
        (Err(error), _) => return Err(error),
        (Ok(_), Some(error)) if error.kind() == crate::ErrorKind::Fenced => return Err(error),
        (Ok(watched), _) => watched,
    };
    let mut report = report::report(settings, &flows, &progress.lags(), watched.as_ref());
    report.schemas =
        report_of_schemas.map(|said| said.lock().unwrap_or_else(PoisonError::into_inner).clone());
    report.warnings.extend(refused.iter().map(|(topic, why)| format!("topic {topic} is left out: {why}")));
    if report.caught_up {
        let cut_over = CutOver {
            settings,
            source,
            target,
            budget: &budget,
            schemas: schemas.as_ref(),
            progress: &progress,
            stop: &stop,
        };
        cut_over.run(&mut report, &targets).await;
    }
    if let (Some(said), Some(known)) = (&mut report.schemas, &schemas) {
        // Only now: of a topic that came in an earlier run, the comparison has told it.
        said.topics = known.taken_for();
    }
    report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

fn panicked(error: tokio::task::JoinError) -> Error {
    Error::permanent("a stage of the migration panicked").caused_by(error)
}

fn ended_early(stage: std::result::Result<Result<()>, tokio::task::JoinError>) -> Error {
    match stage {
        Ok(Ok(())) => Error::permanent("a stage of the migration has ended early"),
        Ok(Err(error)) => error,
        Err(error) => panicked(error),
    }
}
