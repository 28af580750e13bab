//! How the stages of backups spend their time, and what was asked of their stores.

use pipeline::backup::BackupProgress;
use pipeline::storage::meter::{LATENCY_BOUNDS, Latencies, Operation};
use prometheus::core::{Atomic, GenericCounterVec};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{CounterVec, IntCounterVec, IntGaugeVec};

use super::{Maker, names};

/// Numbers of the stages and stores of all jobs of a process.
pub(super) struct StageNumbers {
    busy: CounterVec,
    blocked: CounterVec,
    items: IntCounterVec,
    bytes: IntCounterVec,
    queue_depth: IntGaugeVec,
    queue_limit: IntGaugeVec,
    memory_waits: CounterVec,
    requests: IntCounterVec,
    errors: IntCounterVec,
    retries: IntCounterVec,
    sent: IntCounterVec,
    received: IntCounterVec,
}

impl StageNumbers {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        let (job, stage, operation) =
            (&["backup_id"][..], &["backup_id", "stage"][..], &["backup_id", "operation"][..]);
        Self {
            busy: make.times(
                names::STAGE_BUSY,
                "Seconds in which tasks of a stage worked, all tasks together",
                stage,
            ),
            blocked: make.times(
                names::STAGE_BLOCKED,
                "Seconds in which tasks of a stage waited for the next stage",
                stage,
            ),
            items: make.counters(
                names::STAGE_ITEMS,
                "What a stage has handed on: fetch: partitions with data in answers; cut: segments; encode and upload: objects; commit: commits",
                stage,
            ),
            bytes: make.counters(names::STAGE_BYTES, "The bytes of that", stage),
            queue_depth: make.gauges(
                names::QUEUE_DEPTH,
                "Items that wait in the queue in front of a stage",
                stage,
            ),
            queue_limit: make.gauges(names::QUEUE_LIMIT, "Items for which that queue has room", stage),
            memory_waits: make.times(
                names::MEMORY_WAITS,
                "Seconds in which answers of brokers waited for memory_limit to leave room, all connections together",
                job,
            ),
            requests: make.counters(
                names::STORE_REQUESTS,
                "Requests to the store of a backup, repeated ones again",
                operation,
            ),
            errors: make.counters(
                names::STORE_ERRORS,
                "Requests to the store that failed, those that a retry made good included",
                operation,
            ),
            retries: make.counters(names::STORE_RETRIES, "Requests to the store that were repeated", job),
            sent: make.counters(names::STORE_SENT, "Bytes of objects sent to the store", job),
            received: make.counters(names::STORE_RECEIVED, "Bytes of objects received from it", job),
        }
    }

    /// What a job that is told of no more leaves behind.
    pub(super) fn reset(&self) {
        self.queue_depth.reset();
        self.queue_limit.reset();
    }

    pub(super) fn set(&self, backup: &str, progress: &BackupProgress) {
        for (name, stage) in progress.stages() {
            let label = [backup, name];
            raise(&self.busy, &label, stage.busy().as_secs_f64());
            raise(&self.blocked, &label, stage.blocked().as_secs_f64());
            raise(&self.items, &label, stage.items());
            raise(&self.bytes, &label, stage.bytes());
            if let Some(queue) = stage.queue() {
                let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
                self.queue_depth.with_label_values(&label).set(number(queue.depth));
                self.queue_limit.with_label_values(&label).set(number(queue.limit));
            }
        }
        let store = &progress.store;
        raise(&self.memory_waits, &[backup], progress.memory_waited().as_secs_f64());
        for operation in Operation::ALL {
            raise(&self.requests, &[backup, operation.name()], store.requests(operation));
            raise(&self.errors, &[backup, operation.name()], store.errors(operation));
        }
        raise(&self.retries, &[backup], store.retries());
        raise(&self.sent, &[backup], store.sent_bytes());
        raise(&self.received, &[backup], store.received_bytes());
    }

    /// How long requests to the stores took: the stores count by classes themselves.
    pub(super) fn latencies<'a>(jobs: impl Iterator<Item = (&'a str, &'a BackupProgress)>) -> MetricFamily {
        let mut all = Vec::new();
        for (backup, progress) in jobs {
            for operation in Operation::ALL {
                let labels = [("backup_id", backup), ("operation", operation.name())];
                let mut metric = Metric::from_label(labels.map(|(name, value)| label(name, value)).into());
                metric.set_histogram(histogram(&progress.store.latencies(operation)));
                all.push(metric);
            }
        }
        let mut family = MetricFamily::default();
        family.set_name(names::STORE_DURATIONS.to_owned());
        family
            .set_help("Seconds that requests to the store of a backup took, failed ones included".to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(all);
        family
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

/// Of the slowest, which no bound holds, the text form makes the class `+Inf` out of the count.
fn histogram(latencies: &Latencies) -> Histogram {
    let mut count = 0;
    let mut bucket = |(bound, class): (f64, &u64)| {
        count += class;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    };
    let buckets = LATENCY_BOUNDS.into_iter().zip(&latencies.classes).map(&mut bucket).collect();
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(latencies.classes.iter().sum());
    histogram.set_sample_sum(latencies.sum.as_secs_f64());
    histogram
}

/// Sets a counter to what was counted elsewhere. It never falls.
pub(super) fn raise<P: Atomic>(counters: &GenericCounterVec<P>, label: &[&str], count: P::T)
where
    P::T: PartialOrd + std::ops::Sub<Output = P::T>,
{
    let counter = counters.with_label_values(label);
    let before = counter.get();
    if count > before {
        counter.inc_by(count - before);
    }
}
