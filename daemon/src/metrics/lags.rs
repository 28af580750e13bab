//! How far backups are behind: sums of all that a job follows, and numbers of as many topics and partitions as somebody wants.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use formats::ids::Topic;
use pipeline::backup::{Behind, Lags};
use prometheus::{GaugeVec, IntGaugeVec};

use super::{Maker, names};

/// The most topics and partitions of a job that have numbers of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Most {
    pub(crate) topics: usize,
    pub(crate) partitions: usize,
}

/// Numbers of all jobs of a process. Those of topics and partitions are forgotten before each answer: they come and go.
pub(super) struct LagNumbers {
    followed: IntGaugeVec,
    unknown_age: IntGaugeVec,
    all: Family,
    topics: Family,
    topics_left_out: IntGaugeVec,
    partitions: (IntGaugeVec, GaugeVec),
}

struct Family {
    lag: IntGaugeVec,
    unstable: IntGaugeVec,
    age: GaugeVec,
}

/// What some partitions add up to: the oldest of their recovery points counts.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) offsets: u64,
    pub(crate) unstable: u64,
    pub(crate) age: Option<Duration>,
    /// Partitions without a recovery point.
    pub(crate) unknown: u64,
    followed: u64,
}

impl Sum {
    /// Of all.
    pub(crate) fn of(lags: &Lags) -> Self {
        let mut all = Self::default();
        lags.each(|_, behind| all.add(behind));
        all
    }

    fn add(&mut self, behind: Behind) {
        self.offsets += behind.offsets;
        self.unstable += behind.unstable;
        self.age = self.age.max(behind.age);
        self.unknown += u64::from(behind.age.is_none());
        self.followed += u64::from(behind.is_followed);
    }

    /// The farthest behind first.
    fn order(&self) -> impl Ord + use<> {
        std::cmp::Reverse((self.unknown > 0, self.age, self.offsets))
    }
}

impl Family {
    fn set(&self, labels: &[&str], sum: &Sum) {
        self.lag.with_label_values(labels).set(number(sum.offsets));
        self.unstable.with_label_values(labels).set(number(sum.unstable));
        set_age(&self.age, labels, sum.age);
    }

    fn reset(&self) {
        self.lag.reset();
        self.unstable.reset();
        self.age.reset();
    }
}

impl LagNumbers {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        let (job, topic, partition) =
            (&["backup_id"][..], &["backup_id", "topic"][..], &["backup_id", "topic", "partition"][..]);
        const LAG: &str = "Offsets that could be fetched and are not committed";
        const UNSTABLE: &str = "Offsets behind the last stable one: of transactions that are open";
        const AGE: &str =
            "Seconds since the last moment of which everything that could be fetched is committed";
        Self {
            followed: make.gauges(names::FOLLOWED, "Partitions that are fetched", job),
            unknown_age: make.gauges(
                names::UNKNOWN_AGE,
                "Partitions that this process has not committed to the end of their log yet",
                job,
            ),
            all: Family {
                lag: make.gauges(names::LAG, LAG, job),
                unstable: make.gauges(names::UNSTABLE, UNSTABLE, job),
                age: make.fractions(names::AGE, AGE, job),
            },
            topics: Family {
                lag: make.gauges(names::TOPIC_LAG, LAG, topic),
                unstable: make.gauges(names::TOPIC_UNSTABLE, UNSTABLE, topic),
                age: make.fractions(names::TOPIC_AGE, AGE, topic),
            },
            topics_left_out: make.gauges(
                names::TOPICS_LEFT_OUT,
                "Topics that are only in the sums: others are farther behind (metrics.max_topic_labels)",
                job,
            ),
            partitions: (
                make.gauges(names::PARTITION_LAG, LAG, partition),
                make.fractions(names::PARTITION_AGE, AGE, partition),
            ),
        }
    }

    pub(super) fn set<'a>(&self, jobs: impl Iterator<Item = (&'a str, &'a Lags)>, most: Most) {
        self.all.reset();
        self.topics.reset();
        self.partitions.0.reset();
        self.partitions.1.reset();
        for gauges in [&self.followed, &self.unknown_age, &self.topics_left_out] {
            gauges.reset();
        }
        for (backup, lags) in jobs {
            let mut all = Sum::default();
            let mut topics: HashMap<Topic, Sum> = HashMap::new();
            let mut partitions = BTreeMap::new();
            lags.each(|partition, behind| {
                all.add(behind);
                match topics.get_mut(&partition.topic) {
                    Some(sum) => sum.add(behind),
                    None => topics.entry(partition.topic.clone()).or_default().add(behind),
                }
                if most.partitions > 0 {
                    let mut sum = Sum::default();
                    sum.add(behind);
                    partitions.insert((sum.order(), partition.clone()), sum);
                    if partitions.len() > most.partitions {
                        partitions.pop_last();
                    }
                }
            });
            self.all.set(&[backup], &all);
            self.followed.with_label_values(&[backup]).set(number(all.followed));
            self.unknown_age.with_label_values(&[backup]).set(number(all.unknown));
            let mut topics: Vec<_> = topics.into_iter().collect();
            topics.sort_by_cached_key(|(topic, sum)| (sum.order(), topic.clone()));
            let left_out = topics.len().saturating_sub(most.topics);
            self.topics_left_out.with_label_values(&[backup]).set(number(left_out as u64));
            for (topic, sum) in topics.iter().take(most.topics) {
                self.topics.set(&[backup, topic.as_str()], sum);
            }
            for ((_, partition), sum) in &partitions {
                let number_of = partition.partition.to_string();
                let labels = [backup, partition.topic.as_str(), &number_of];
                self.partitions.0.with_label_values(&labels).set(number(sum.offsets));
                set_age(&self.partitions.1, &labels, sum.age);
            }
        }
    }
}

/// Nothing is told where nothing is known.
fn set_age(gauges: &GaugeVec, labels: &[&str], age: Option<Duration>) {
    match age {
        Some(age) => gauges.with_label_values(labels).set(age.as_secs_f64()),
        None => drop(gauges.remove_label_values(labels)),
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
