//! Numbers of jobs that are kept running. All of them are looked at when they are asked for: a job counts for itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use pipeline::backup::BackupProgress;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Registry, TextEncoder};

use super::lags::{LagNumbers, Most};
use super::stages::{StageNumbers, raise};
use super::{Maker, names, process};
use crate::supervise::{Phase, Supervised};

/// Numbers of all jobs of a process.
pub(crate) struct JobNumbers {
    all: Registry,
    running: IntGaugeVec,
    restarts: IntCounterVec,
    memory_used: IntGaugeVec,
    memory_limit: IntGaugeVec,
    in_flight: IntGaugeVec,
    last_commit: GaugeVec,
    failed: IntGaugeVec,
    lags: LagNumbers,
    stages: StageNumbers,
    counters: Vec<(IntCounterVec, Look)>,
    process: process::Process,
    /// One answer at a time: numbers are set and then read.
    answering: Mutex<()>,
}

/// A job as it is now.
pub(super) struct Seen<'a> {
    pub(super) backup: &'a str,
    pub(super) progress: &'a BackupProgress,
    pub(super) is_running: bool,
    pub(super) restarts: u64,
}

type Look = fn(&BackupProgress) -> &AtomicU64;

/// What is counted, by name.
const COUNTERS: [(&str, &str, Look); 15] = [
    (names::PARTITIONS, "Partitions that runs of this process have begun with", |p| &p.source.partitions),
    (names::FETCHED_RECORDS, "Records fetched", |p| &p.source.records_fetched),
    (names::FETCHED_BYTES, "Bytes of batches fetched", |p| &p.source.bytes_fetched),
    (names::CUT_SEGMENTS, "Segments cut", |p| &p.segments_cut),
    (names::STORED_OBJECTS, "Objects of segments written", |p| &p.objects_stored),
    (names::STORED_BYTES, "Bytes of objects of segments written", |p| &p.bytes_stored),
    (names::COMMITTED_RECORDS, "Records committed: only these are backed up", |p| &p.records_committed),
    (names::COMMITS, "Commits made", |p| &p.commits),
    (names::FETCHED_OFFSETS, "Offsets fetched, those without records included", |p| {
        &p.source.offsets_fetched
    }),
    (names::GAPS, "Ranges of offsets that were gone from the source before they were backed up", |p| &p.gaps),
    (names::OFFSETS_LOST, "Offsets in those ranges", |p| &p.offsets_lost),
    (names::LINEAGES_BEGUN, "Topics that were made anew and logs that were truncated, by partition", |p| {
        &p.lineages_begun
    }),
    (names::SCHEMA_WALKS, "Looks at the schema registry that came to their end", |p| &p.schema_walks),
    (names::SCHEMA_FAILURES, "Looks at the schema registry that failed", |p| &p.schema_failures),
    (names::SCHEMAS_NEW, "Versions of subjects that were new", |p| &p.schemas_new),
];

impl JobNumbers {
    /// Numbers that have counted nothing yet.
    pub(crate) fn new() -> Self {
        let all = Registry::new();
        let make = Maker(&all);
        let label: &[&str] = &["backup_id"];
        make.gauges(names::PROGRAM, "The program", &["version"])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Self {
            running: make.gauges(names::RUNNING, "1: the job's pipeline is up", label),
            restarts: make.counters(names::RESTARTS, "How often a job's pipeline was begun anew", label),
            memory_used: make.gauges(names::MEMORY_USED, "Bytes of payload that are in memory", label),
            memory_limit: make.gauges(names::MEMORY_LIMIT, "Bytes of payload that may be in memory", label),
            in_flight: make.gauges(
                names::IN_FLIGHT_BYTES,
                "Bytes of batches that are cut and not yet durable",
                label,
            ),
            last_commit: make.fractions(
                names::LAST_COMMIT,
                "When this process has committed last; 0 where it has not yet",
                label,
            ),
            failed: make.gauges(
                names::FAILED,
                "Partitions and topics that cannot be followed now; they are tried again",
                label,
            ),
            lags: LagNumbers::new(&make),
            stages: StageNumbers::new(&make),
            counters: COUNTERS.map(|(name, help, look)| (make.counters(name, help, label), look)).into(),
            process: process::Process::new(&make),
            answering: Mutex::default(),
            all: all.clone(),
        }
    }

    fn gauges(&self) -> impl Iterator<Item = &IntGaugeVec> {
        [&self.running, &self.memory_used, &self.memory_limit, &self.in_flight, &self.failed].into_iter()
    }

    /// The text form, of jobs that are kept running.
    pub(crate) fn text(&self, jobs: &[Arc<Supervised>], most: Most) -> String {
        let seen: Vec<_> = jobs
            .iter()
            .map(|job| Seen {
                backup: job.job.backup_id.as_str(),
                progress: &job.progress,
                is_running: job.standing().phase == Phase::Running,
                restarts: job.restarts(),
            })
            .collect();
        self.text_of(&seen, most)
    }

    /// The text form.
    pub(super) fn text_of(&self, jobs: &[Seen<'_>], most: Most) -> String {
        let _one = self.answering.lock().unwrap_or_else(PoisonError::into_inner);
        let size = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        // A job whose file is gone is told of no more.
        self.gauges().for_each(|gauges| gauges.reset());
        self.last_commit.reset();
        self.stages.reset();
        for job in jobs {
            let (label, progress) = ([job.backup], job.progress);
            self.running.with_label_values(&label).set(i64::from(job.is_running));
            raise(&self.restarts, &label, job.restarts);
            let (used, limit) = progress.memory();
            self.memory_used.with_label_values(&label).set(size(used));
            self.memory_limit.with_label_values(&label).set(size(limit));
            let in_flight = i64::try_from(progress.bytes_in_flight.load(Relaxed)).unwrap_or(i64::MAX);
            self.in_flight.with_label_values(&label).set(in_flight);
            let last_commit = progress.last_commit_ms.load(Relaxed) as f64 / 1000.0;
            self.last_commit.with_label_values(&label).set(last_commit);
            let failed = i64::try_from(progress.source.failed.load(Relaxed)).unwrap_or(i64::MAX);
            self.failed.with_label_values(&label).set(failed);
            for (counter, look) in &self.counters {
                raise(counter, &label, look(progress).load(Relaxed));
            }
            self.stages.set(label[0], progress);
        }
        self.lags.set(jobs.iter().map(|job| (job.backup, &job.progress.source.lags)), most);
        self.process.set();
        let mut families = self.all.gather();
        if !jobs.is_empty() {
            let of_jobs = jobs.iter().map(|job| (job.backup, job.progress));
            families.push(StageNumbers::latencies(of_jobs));
        }
        let mut text = String::new();
        // Only a writer that fails could make this fail.
        let _ = TextEncoder::new().encode_utf8(&families, &mut text);
        text
    }
}
