//! Backup: whole record batches from the brokers into segments, and commits that make them true.
//!
//! ```text
//! source (discover, fetch) -> cut (one) -> encode (CPU workers) -> upload (parallel) -> order -> commit
//!                bounded queue        bounded                  bounded            bounded   create-only put
//! ```
//!
//! All payload in flight is charged to one byte budget, so memory follows the configuration and not the number of
//! topics. The position is what the commit log says and nothing else: after any crash the next run reads it there.
//! This file wires the stages; each lives in a file of its own.

mod cut;
mod encode;
mod message;
mod order;
mod progress;
mod schemas;
mod upload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use formats::commit::{Gap, LineageReason};
use formats::ids::{BackupId, OffsetRange, TopicPartition};
use formats::segment::FrameCompression;
use formats::state::{LineageState, PartitionState, State};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::commit_log::{CommitLog, Committed};
use crate::kafka::{Client, Isolation};
use crate::seam::Seam;
use crate::select::TopicSelection;
use crate::source::{self, Forked, Known, SourceSettings, cluster};
use crate::storage::{Store, probe};
use crate::{Error, Result};
use schemas::Follower;

pub use progress::BackupProgress;
pub use schemas::{SchemaReport, SchemaSettings};

pub use crate::source::{Behind, FetchRate, Lags, SourceProgress, StartOffset};

/// What a backup does.
#[derive(Debug, Clone)]
pub struct BackupSettings {
    /// The backup's name.
    pub backup_id: BackupId,
    /// Which topics.
    pub topics: TopicSelection,
    /// Whether to go on for ever; otherwise it stops at the offsets seen at the start.
    pub continuous: bool,
    /// Which transactional data is fetched.
    pub isolation: Isolation,
    /// Where a partition that the backup does not hold yet begins.
    pub start: StartOffset,
    /// Bytes of batches after which a segment ends.
    pub segment_max_bytes: usize,
    /// Age after which a segment ends.
    pub segment_max_age: Duration,
    /// Records after which a segment ends.
    pub segment_max_records: Option<u64>,
    /// Bytes that one Fetch answer should have at most.
    pub fetch_max_bytes: Option<usize>,
    /// Bytes of batches fetched a second at most.
    pub fetch_rate: FetchRate,
    /// Bytes of segments a second that uploads begin with at most; none: no limit.
    pub upload_rate: Option<u64>,
    /// How batches that the producer left uncompressed are stored.
    pub compression: FrameCompression,
    /// Bytes for everything that is in flight.
    pub memory_limit: usize,
    /// Uploads at once.
    pub upload_parallelism: usize,
    /// How often new topics and partitions are looked for.
    pub refresh_interval: Duration,
    /// The shortest time between two commits.
    pub commit_interval: Duration,
    /// Schemas, where they are backed up too.
    pub schemas: Option<SchemaSettings>,
}

/// What a backup did.
#[derive(Debug, Clone, Default)]
pub struct BackupReport {
    /// The last commit: an anchor that `verify --expect` takes.
    pub head: Option<Committed>,
    /// Partitions that the run took part of.
    pub partitions: u64,
    /// Records committed by this run, control records included.
    pub records: u64,
    /// Bytes of batches committed by this run.
    pub raw_bytes: u64,
    /// Bytes of objects committed by this run.
    pub stored_bytes: u64,
    /// Segments committed by this run.
    pub segments: u64,
    /// Gaps that are new with this run.
    pub gaps: Vec<(TopicPartition, Gap)>,
    /// Histories that began with this run although the partition had one.
    pub lineages: Vec<(TopicPartition, LineageReason)>,
    /// Partitions whose stable offset is held back by an open transaction: the range that is not in the backup yet.
    pub held_back: Vec<(TopicPartition, OffsetRange)>,
    /// Partitions that could not be backed up, and why.
    pub failed: Vec<(TopicPartition, String)>,
    /// A run that was to stop by itself was told to stop before it had reached the offsets seen at its start: exit code 130.
    pub interrupted: bool,
    /// What was done about schemas, where they are backed up too.
    pub schemas: Option<SchemaReport>,
}

impl BackupReport {
    /// Whether something is missing that a person must know of: exit code 3.
    pub fn is_partial(&self) -> bool {
        self.gaps.iter().any(|(_, gap)| gap.reason.is_loss())
            || !self.held_back.is_empty()
            || !self.failed.is_empty()
            || self.schemas.as_ref().is_some_and(|schemas| schemas.failed.is_some())
    }
}

/// Runs a backup until it is done or `stop` is cancelled; then what was fetched is committed first.
///
/// # Errors
/// [`crate::ErrorKind::Fenced`] where a newer writer took over; a source or a store that stays out of reach; damage.
pub async fn run(
    settings: BackupSettings,
    client: Client,
    store: Arc<dyn Store>,
    seam: Seam,
    progress: Arc<BackupProgress>,
    stop: CancellationToken,
) -> Result<BackupReport> {
    let cluster_id = client.metadata().cluster_id.clone().unwrap_or_default();
    probe::probe(&*store, "", &*seam.rand).await?.require_create_only(&*store)?;
    let mut log =
        CommitLog::open_or_create(Arc::clone(&store), seam.clone(), &settings.backup_id, &cluster_id).await?;
    log.become_writer().await?;
    let budget = Budget::within(settings.memory_limit);
    progress.begin(&budget);

    // The last stage first, so that each is given where it sends to. Failure anywhere ends everything.
    let failed = CancellationToken::new();
    let (to_order, from_upload) = mpsc::channel(1024);
    let (to_upload, from_encode) = mpsc::channel(settings.upload_parallelism.max(1));
    let (to_encode, from_cut) = mpsc::channel(2);
    let (to_cut, from_fetch) = mpsc::channel(256);
    progress.cut.fed_by(&to_cut);
    progress.encode.fed_by(&to_encode);
    progress.upload.fed_by(&to_upload);
    progress.commit.fed_by(&to_order);
    let following = settings.source();
    let selected = cluster::select(&client, &following.topics).await?;
    let incarnation = log.incarnation();
    let scans = settings.schemas.as_ref().is_some_and(|schemas| schemas.scan_ids);
    let mut snapshots = source::Snapshots {
        store: Arc::clone(&store),
        incarnation,
        seq: log.state().seq + 1,
        earlier: log.state().cluster.clone(),
        newest: None,
    };
    let last_seen = if selected.undescribed.is_empty() { None } else { snapshots.load().await };
    let plan = source::plan(&following, &client, selected, last_seen, known(log.state())).await;
    SourceProgress::add(&progress.source.partitions, plan.partitions() as u64);
    let mut follower = None;
    if let Some(schemas) = settings.schemas.clone() {
        let new = Follower::open(schemas, &log, seam.clone(), Arc::clone(&progress)).await?;
        follower.insert(new).announce(&mut log, plan.topics()).await?;
    }
    let committer = order::Committer::new(log, settings.commit_interval, Arc::clone(&progress));
    let (fetched_all, data, stopped) = (CancellationToken::new(), committer.data(), stop.clone());
    let follow = follower.map(|follower| {
        let follow = follower.run(data, to_order.clone(), fetched_all.clone());
        tokio::spawn(guard(failed.clone(), follow))
    });
    let commit = tokio::spawn(guard(failed.clone(), committer.run(from_upload)));
    let upload = upload::run(
        Arc::clone(&store),
        incarnation,
        upload::Pace::new(settings.upload_parallelism, settings.upload_rate, stop.clone()),
        from_encode,
        to_order.clone(),
        Arc::clone(&progress),
    );
    let upload = tokio::spawn(guard(failed.clone(), upload));
    let encode =
        encode::spawn(settings.compression, scans, &budget, from_cut, to_upload, &failed, &progress.encode)?;
    let cutter = cut::Cutter::new(&settings, budget.clone(), to_encode, to_order, Arc::clone(&progress));
    let cut = tokio::spawn(guard(failed.clone(), cutter.run(from_fetch)));
    let (snapshots, counters) = (Some(snapshots), Arc::clone(&progress.source));
    let coordinator =
        source::Coordinator::new(following, client, snapshots, budget, plan, to_cut, None, counters, stop);
    let fetching = coordinator.run(failed.clone()).await;
    // The coordinator has dropped its end of the first queue; each stage ends when the one before it has.
    let cut = join(cut).await;
    let encode = encode.join().await;
    let upload = join(upload).await;
    fetched_all.cancel();
    let follow = match follow {
        Some(follow) => join(follow).await.map(Some),
        None => Ok(None),
    };
    let commit = join(commit).await;
    // The stage nearest to the store knows best why: those before it only saw a closed queue.
    let order::Ended { mut report, mut log, seen } = commit?;
    let follower = follow?;
    upload?;
    encode?;
    cut?;
    let fetched = fetching?;
    report.partitions = fetched.partitions;
    report.held_back = fetched.held_back;
    report.failed = fetched.failed;
    report.interrupted = fetched.interrupted;
    if let Some(follower) = follower {
        report.schemas = Some(follower.finish(&mut log, stopped.is_cancelled(), seen).await?);
        report.head = Some(log.head());
        log.write_manifest().await;
    }
    Ok(report)
}

impl BackupSettings {
    fn source(&self) -> SourceSettings {
        SourceSettings {
            topics: self.topics.clone(),
            continuous: self.continuous,
            isolation: self.isolation,
            start: self.start.clone(),
            fetch_max_bytes: self.fetch_max_bytes,
            rate: self.fetch_rate,
            refresh_interval: self.refresh_interval,
        }
    }
}

/// Where the archive ends.
fn known(state: &State) -> BTreeMap<TopicPartition, Known> {
    let known = |partition: &PartitionState| {
        let lineage = partition.current()?;
        Some(Known {
            lineage: lineage.id,
            cluster_id: lineage.cluster_id.clone(),
            topic_id: lineage.topic_id,
            start: lineage.start,
            next: lineage.next,
            last: lineage.last,
            open: Some(lineage.open.clone()),
            forked: forked(partition, lineage),
        })
    };
    state.partitions().filter_map(|(name, partition)| Some((name, known(partition)?))).collect()
}

/// The histories that one continues, the nearest first.
fn forked(partition: &PartitionState, lineage: &LineageState) -> Option<Arc<Forked>> {
    let fork = lineage.fork?;
    let first = partition.lineage(fork.parent);
    let next = |of: &&LineageState| partition.lineage(of.fork?.parent);
    let ancestors = std::iter::successors(first, next).map(|ancestor| (ancestor.id, ancestor.start));
    Some(Arc::new(Forked { epoch: fork.epoch, ancestors: ancestors.collect() }))
}

async fn guard<T>(failed: CancellationToken, stage: impl Future<Output = Result<T>>) -> Result<T> {
    let result = stage.await;
    if result.is_err() {
        failed.cancel();
    }
    result
}

async fn join<T>(task: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    task.await.unwrap_or_else(|e| Err(Error::permanent("a stage of the backup panicked").caused_by(e)))
}

/// What a stage says when the next one is gone: the next one's own error is the one to read.
fn closed() -> Error {
    Error::permanent("the next stage of the backup has stopped")
}
