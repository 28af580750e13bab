//! How far what is durable is behind the source, by partition. Fetch tasks tell what a log held and when; whoever makes records durable
//! tells how far. From both follows the **recovery point**: the latest moment of which everything that was there to be seen is durable.
//!
//! ```text
//! answer at t: the log ends at S   ->  mark (t, S)  ->  durable up to S  ->  the recovery point is t
//! ```
//! Two marks a partition are enough: the oldest that is not reached yet, and the newest. A partition of which everything is durable is
//! as of the last answer of its broker, whether that named it or not: in a fetch session what is not named has not changed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use formats::ids::{LineageId, TopicPartition};
use tokio::time::Instant;

/// Of all partitions that are followed, or were.
#[derive(Debug)]
pub struct Lags {
    began: Instant,
    partitions: Mutex<HashMap<TopicPartition, Lag>>,
}

/// When a fetch task was last answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answered(Arc<AtomicU64>);

/// How far a partition is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Offsets that could be fetched and are not durable.
    pub offsets: u64,
    /// Offsets that cannot be fetched yet: those behind the last stable offset, up to the high watermark.
    pub unstable: u64,
    /// How long ago the recovery point is; `None` where nothing was durable up to the end of its log yet since this process began.
    pub age: Option<Duration>,
    /// Whether it is being fetched.
    pub is_followed: bool,
}

/// Moments are milliseconds since [`Lags::began`].
#[derive(Debug)]
struct Lag {
    lineage: LineageId,
    /// What is below is durable.
    durable: i64,
    unstable: u64,
    /// The newest end that was told, and when.
    newest: Option<Mark>,
    /// The oldest end that is not reached, and when that was told last.
    oldest: Option<Mark>,
    /// The recovery point as marks tell it.
    point: Option<u64>,
    /// Of the task that fetches it.
    answered: Option<Answered>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    at: u64,
    end: i64,
}

impl Default for Lags {
    fn default() -> Self {
        Self { began: Instant::now(), partitions: Mutex::default() }
    }
}

impl Lags {
    /// Shows each partition.
    pub fn each(&self, mut show: impl FnMut(&TopicPartition, Behind)) {
        let now = self.now();
        for (partition, lag) in &*self.partitions.lock().unwrap_or_else(PoisonError::into_inner) {
            let end = lag.newest.map_or(lag.durable, |newest| newest.end);
            let behind = Behind {
                offsets: u64::try_from(end - lag.durable).unwrap_or(0),
                unstable: lag.unstable,
                age: lag.point().map(|point| Duration::from_millis(now.saturating_sub(point))),
                is_followed: lag.answered.is_some(),
            };
            show(partition, behind);
        }
    }

    /// A task fetches a partition from now on. `next` is what is durable where nothing is known of this lineage yet.
    pub(crate) fn follow(
        &self,
        partition: &TopicPartition,
        lineage: LineageId,
        next: i64,
        answered: &Answered,
    ) {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let lag = partitions.entry(partition.clone()).or_insert_with(|| Lag::new(lineage, next));
        if lag.lineage != lineage {
            *lag = Lag::new(lineage, next);
        }
        lag.answered = Some(answered.clone());
    }

    /// A task was answered, and what its answer names is [`Lags::seen`].
    pub(crate) fn answered(&self, task: &Answered) {
        task.0.store(self.now(), Relaxed);
    }

    /// An answer has named a partition: what can be fetched of it ends at `end`, and the log at `high_watermark`.
    pub(crate) fn seen(&self, partition: &TopicPartition, end: i64, high_watermark: i64) {
        let at = self.now();
        self.of(partition, |lag| {
            let mark = Mark { at, end };
            // What its last answer has said of it by silence.
            lag.point = lag.point();
            lag.unstable = u64::try_from(high_watermark - end).unwrap_or(0);
            lag.newest = Some(mark);
            if lag.oldest.is_none_or(|oldest| oldest.end >= end) {
                lag.oldest = Some(mark);
            }
            lag.settle();
        });
    }

    /// Nobody fetches it now.
    pub(crate) fn leave(&self, partition: &TopicPartition) {
        self.of(partition, |lag| {
            lag.point = lag.point();
            lag.answered = None;
        });
    }

    /// The source does not have it any more.
    pub(crate) fn forget(&self, partition: &TopicPartition) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).remove(partition);
    }

    /// A run begins, and follows these of the source's partitions: whoever was followed before and is not among them is told of no more.
    pub(crate) fn only(&self, there: &HashSet<TopicPartition>) {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.retain(|partition, _| there.contains(partition));
    }

    /// What is below an offset of a lineage is durable.
    pub(crate) fn durable(&self, partition: &TopicPartition, lineage: LineageId, next: i64) {
        self.of(partition, |lag| {
            if lag.lineage == lineage {
                lag.durable = lag.durable.max(next);
                lag.settle();
            }
        });
    }

    fn of(&self, partition: &TopicPartition, change: impl FnOnce(&mut Lag)) {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lag) = partitions.get_mut(partition) {
            change(lag);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Lag {
    fn new(lineage: LineageId, durable: i64) -> Self {
        Self { lineage, durable, unstable: 0, newest: None, oldest: None, point: None, answered: None }
    }

    fn settle(&mut self) {
        if let Some(oldest) = self.oldest
            && oldest.end <= self.durable
        {
            self.point = Some(oldest.at);
            // What lies between the two marks was not noted: the newest is the next that can be reached.
            self.oldest = self.newest.filter(|newest| newest.end > self.durable);
            if self.oldest.is_none() {
                self.point = self.newest.map(|newest| newest.at);
            }
        }
    }

    fn point(&self) -> Option<u64> {
        let is_all = self.newest.is_some_and(|newest| newest.end <= self.durable);
        let answered = self.answered.as_ref().filter(|_| is_all).map(|answered| answered.0.load(Relaxed));
        answered.max(self.point)
    }
}

#[cfg(test)]
mod tests {
    use formats::ids::Topic;

    use super::*;

    const LINEAGE: LineageId = LineageId(7);

    struct Bench {
        lags: Lags,
        task: Answered,
        partition: TopicPartition,
    }

    impl Bench {
        fn new() -> Self {
            let partition = TopicPartition::new(Topic::new("a").unwrap(), 0);
            let (lags, task) = (Lags::default(), Answered::default());
            lags.follow(&partition, LINEAGE, 10, &task);
            Self { lags, task, partition }
        }

        /// An answer after a second.
        async fn answer(&self, end: Option<i64>) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if let Some(end) = end {
                self.lags.seen(&self.partition, end, end + 2);
            }
            self.lags.answered(&self.task);
        }

        fn durable(&self, next: i64) {
            self.lags.durable(&self.partition, LINEAGE, next);
        }

        /// Offsets and seconds.
        fn behind(&self) -> (u64, Option<u64>) {
            let mut told = Vec::new();
            self.lags.each(|_, behind| told.push((behind.offsets, behind.age.map(|age| age.as_secs()))));
            told[0]
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_recovery_point_is_the_last_moment_of_which_everything_is_durable() {
        let bench = Bench::new();
        assert_eq!(bench.behind(), (0, None));
        bench.answer(Some(10)).await;
        assert_eq!(bench.behind(), (0, Some(0)));
        // Nothing new: the broker says so without naming the partition.
        bench.answer(None).await;
        assert_eq!(bench.behind(), (0, Some(0)));
        bench.answer(Some(20)).await;
        bench.answer(Some(30)).await;
        bench.answer(Some(30)).await;
        assert_eq!(bench.behind(), (20, Some(3)), "as of the second answer");
        bench.durable(19);
        assert_eq!(bench.behind(), (11, Some(3)));
        bench.durable(20);
        assert_eq!(bench.behind(), (10, Some(2)), "the third has told of all that is durable");
        bench.durable(30);
        assert_eq!(bench.behind(), (0, Some(0)));
        bench.lags.leave(&bench.partition);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(bench.behind(), (0, Some(5)), "nobody looks");
        bench.lags.only(&HashSet::from([bench.partition.clone()]));
        assert_eq!(bench.behind(), (0, Some(5)));
        bench.lags.only(&HashSet::new());
        bench.lags.each(|partition, _| panic!("{partition}"));
        bench.lags.follow(&bench.partition, LINEAGE, 10, &bench.task);
        bench.lags.forget(&bench.partition);
        bench.lags.each(|partition, _| panic!("{partition}"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_moves_back_is_reached_sooner_and_another_history_begins_anew() {
        let bench = Bench::new();
        bench.answer(Some(40)).await;
        bench.answer(Some(15)).await;
        bench.durable(15);
        assert_eq!(bench.behind(), (0, Some(0)));
        bench.lags.follow(&bench.partition, LineageId(8), 0, &bench.task);
        assert_eq!(bench.behind(), (0, None));
        bench.durable(40);
        bench.answer(Some(5)).await;
        assert_eq!(bench.behind(), (5, None), "what another history held says nothing of this one");
    }

    proptest::proptest! {
        /// Against all marks ever made.
        #[test]
        fn two_marks_never_promise_more_than_all_of_them(steps in proptest::collection::vec((0_i64..30, proptest::bool::ANY), 1..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (bench, mut all, mut durable, mut end, mut second) = (Bench::new(), Vec::new(), 10, 10, 0);
                for (amount, is_answer) in steps {
                    if is_answer {
                        end += amount;
                        bench.answer(Some(end)).await;
                        second += 1;
                        all.push((second, end));
                    } else {
                        durable = end.min(durable + amount);
                        bench.durable(durable);
                    }
                    let best = all.iter().filter(|(_, end)| *end <= durable).map(|(at, _)| *at).max();
                    let (offsets, age) = bench.behind();
                    assert_eq!(i64::try_from(offsets).unwrap(), if all.is_empty() { 0 } else { end - durable });
                    let point = age.map(|age| second - age);
                    assert!(point <= best, "{point:?} {best:?}");
                    // All of it is durable: nothing better can be said.
                    assert!(durable < end || point == best, "{point:?} {best:?}");
                }
            });
        }
    }
}
