//! Place: where a partition goes on, given what is known of it and what its log looks like now.
//!
//! ```text
//! nothing is known                                 a lineage begins: at the first offset left, the end, or as told
//! another cluster, another topic id                a lineage begins: recreated; offsets that are gone already are a gap
//! the leader epoch's end lies below the position   a lineage begins: truncated; it forks there, from the old one or from one
//!                                                  that the old one continues
//! the last batch is another one                    a lineage begins: recreated, because nobody knows where it left
//! the first offset left lies above the position    a gap: retention
//! otherwise                                        it goes on, with the last batch fetched once more to be compared
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use formats::commit::{Fork, Gap, GapReason, LastBatch, Lineage, LineageReason};
use formats::ids::{LineageId, OffsetRange, TopicId, TopicPartition};
use formats::transactions::OpenTransaction;

use super::cluster::Selected;
use super::message::{Assignment, Begin};
use super::{SourceSettings, StartOffset};
use crate::kafka::{At, Client, EpochEnd, Isolation};

/// Where a partition was left.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) lineage: LineageId,
    pub(crate) cluster_id: String,
    pub(crate) topic_id: TopicId,
    pub(crate) start: i64,
    pub(crate) next: i64,
    pub(crate) last: Option<LastBatch>,
    /// Transactions open at the position; `None` where the stage behind has been told of the partition before.
    pub(crate) open: Option<Vec<OpenTransaction>>,
    /// Which histories it continues, where it began as a fork.
    pub(crate) forked: Option<Arc<Forked>>,
}

/// What a history continues that began as a fork. It stays the same as long as the history goes on.
#[derive(Debug)]
pub(crate) struct Forked {
    /// The leader epoch at the fork.
    pub(crate) epoch: i32,
    /// The histories before it and their first offsets, the nearest first.
    pub(crate) ancestors: Vec<(LineageId, i64)>,
}

impl Known {
    /// The epoch whose end in the log says whether the log still holds what was taken: that of the last batch; of a fork that has
    /// nothing of its own yet, the one that it began with.
    fn epoch(&self) -> Option<i32> {
        match (self.last, &self.forked) {
            (Some(last), _) => Some(last.epoch),
            (None, Some(forked)) if self.is_bare() => Some(forked.epoch),
            (None, _) => None,
        }
        .filter(|epoch| *epoch >= 0)
    }

    /// Whether nothing came since it began.
    fn is_bare(&self) -> bool {
        self.last.is_none() && self.next == self.start
    }

    /// It and the histories that it continues, from the one on that holds an offset.
    fn from(&self, offset: i64) -> Vec<(LineageId, i64)> {
        let ancestors = self.forked.iter().flat_map(|forked| forked.ancestors.iter().copied());
        let all = std::iter::once((self.lineage, self.start)).chain(ancestors);
        all.skip_while(|(_, start)| *start > offset).collect()
    }
}

/// Where a partition goes on.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) assignment: Assignment,
    /// What the stage behind must know first.
    pub(crate) begin: Option<Begin>,
    /// What is gone before it goes on.
    pub(crate) gap: Option<Gap>,
    /// Whether there is data behind the gap, the first batch of which may begin inside it.
    pub(crate) data_follows: bool,
    /// Offsets beyond the stable offset, held back by an open transaction.
    pub(crate) held: Option<OffsetRange>,
}

/// What a partition's log looks like now.
struct Log {
    earliest: i64,
    /// The end for this run's isolation.
    stable: i64,
    high_watermark: i64,
    broker: i32,
    leader_epoch: i32,
    topic_id: TopicId,
}

/// Places partitions; those that cannot be placed now come back with the reason. `differs`: the last batch is known to be
/// another one.
pub(crate) async fn place(
    settings: &SourceSettings,
    client: &Client,
    selected: &Selected,
    partitions: Vec<(Option<Known>, TopicPartition)>,
    differs: bool,
) -> (Vec<Placed>, Vec<(TopicPartition, String)>) {
    if partitions.is_empty() {
        return Default::default();
    }
    let names: Vec<_> = partitions.iter().map(|(_, partition)| partition.clone()).collect();
    let (mut earliest, mut stable, mut high) = tokio::join!(
        client.list_offsets(names.clone(), At::Earliest, Isolation::ReadUncommitted),
        client.list_offsets(names.clone(), At::Latest, settings.isolation),
        client.list_offsets(names.clone(), At::Latest, Isolation::ReadUncommitted),
    );
    let epochs: BTreeMap<_, _> = partitions
        .iter()
        .filter_map(|(known, partition)| Some((partition.clone(), known.as_ref()?.epoch()?)))
        .collect();
    let mut ends = client.offset_for_leader_epoch(&epochs).await;
    // Leaders may have moved while offsets were listed; the client has followed them.
    let metadata = client.metadata();
    let mut placed = Vec::new();
    let mut failed = Vec::new();
    for (known, partition) in partitions {
        let take = |from: &mut BTreeMap<TopicPartition, crate::Result<crate::kafka::ListedOffset>>| {
            let listed =
                from.remove(&partition).ok_or_else(|| "no answer".to_owned())?.map_err(|e| e.to_string())?;
            listed.offset.ok_or_else(|| "the broker gave no offset".to_owned())
        };
        let mut log = || -> Result<Log, String> {
            let (broker, leader_epoch) =
                metadata.leader(&partition.topic, partition.partition).ok_or("it has no leader")?;
            Ok(Log {
                earliest: take(&mut earliest)?,
                stable: take(&mut stable)?,
                high_watermark: take(&mut high)?,
                broker,
                leader_epoch,
                topic_id: metadata.topic_id(&partition.topic).unwrap_or_default(),
            })
        };
        let end = match ends.remove(&partition) {
            // Whether the log was truncated must be known before it is gone on with.
            Some(Err(error)) if error.is_retriable() => {
                failed.push((partition, error.to_string()));
                continue;
            }
            end => end.and_then(Result::ok),
        };
        match log() {
            Ok(log) => placed.push(place_one(settings, selected, &partition, known, &log, end, differs)),
            Err(why) => failed.push((partition, why)),
        }
    }
    (placed, failed)
}

fn place_one(
    settings: &SourceSettings,
    selected: &Selected,
    partition: &TopicPartition,
    known: Option<Known>,
    log: &Log,
    end: Option<EpochEnd>,
    differs: bool,
) -> Placed {
    let cluster_id = &selected.snapshot.cluster_id;
    let compacted = selected.compacted.contains(&partition.topic);
    let lineage_of = |fork: Option<Fork>| {
        let fork = fork.map(|fork| (fork.parent, fork.offset, fork.epoch));
        LineageId::derive(cluster_id, &partition.topic, log.topic_id, partition.partition, fork)
    };
    let elsewhere = known.as_ref().filter(|known| known.cluster_id != *cluster_id);
    let begin = |reason, start, fork: Option<Fork>, salt: bool| Lineage {
        topic: partition.topic.clone(),
        partition: partition.partition,
        lineage: match elsewhere {
            // A job may come back to a cluster that it has left, whose history must not have its old name then.
            Some(known) => lineage_of(Some(Fork { parent: known.lineage, offset: 0, epoch: -1 })),
            // A log that differs without any sign in epochs or ids still needs a name of its own.
            None if salt => LineageId(lineage_of(fork).0 ^ log.leader_epoch as u64 ^ 1 << 63),
            None => lineage_of(fork),
        },
        after: known.as_ref().map(|known| known.lineage),
        cluster_id: cluster_id.clone(),
        topic_id: log.topic_id,
        start,
        reason,
        fork,
    };
    let new = match &known {
        None => {
            let start = match &settings.start {
                StartOffset::Earliest => log.earliest,
                StartOffset::Latest => log.stable.max(log.earliest),
                StartOffset::Specific(offsets) => {
                    let told = offsets.get(&partition.topic).and_then(|t| t.get(&partition.partition));
                    told.copied().unwrap_or(log.earliest).clamp(log.earliest, log.high_watermark)
                }
            };
            Some(begin(LineageReason::First, start, None, false))
        }
        Some(known) => {
            let other_cluster = elsewhere.is_some();
            let nil = TopicId::default();
            let other_topic = known.topic_id != log.topic_id && known.topic_id != nil && log.topic_id != nil;
            if other_cluster || other_topic || differs {
                // What the new log lost before we saw it is a gap, not a beginning.
                let salt = differs && !other_cluster && !other_topic;
                Some(begin(LineageReason::Recreated, 0, None, salt))
            } else {
                truncation(known, log, end).map(|offset| match known.from(offset).first() {
                    Some(&(parent, _)) => {
                        let fork = Fork { parent, offset, epoch: log.leader_epoch };
                        begin(LineageReason::Truncated, offset, Some(fork), false)
                    }
                    // Nothing of what was taken is left: there is nothing to fork from.
                    None => begin(LineageReason::Truncated, offset, None, true),
                })
            }
        }
    };
    let forked = match (&new, &known) {
        (Some(Lineage { fork: Some(fork), .. }), Some(known)) => {
            Some(Arc::new(Forked { epoch: fork.epoch, ancestors: known.from(fork.offset) }))
        }
        (None, Some(known)) => known.forked.clone(),
        _ => None,
    };
    let is_at_fork = forked.is_some() && (new.is_some() || known.as_ref().is_some_and(Known::is_bare));
    let (lineage, start, mut next, last, begin) = match (new, known) {
        (Some(begins), _) => {
            let next = begins.start;
            let begin = Begin {
                partition: partition.clone(),
                lineage: begins.lineage,
                next,
                open: Vec::new(),
                begins: Some(begins),
            };
            (begin.lineage, next, next, None, Some(begin))
        }
        (None, Some(known)) => {
            let begin = known.open.map(|open| Begin {
                partition: partition.clone(),
                lineage: known.lineage,
                next: known.next,
                open,
                begins: None,
            });
            // On a compacted topic the batch may have been rewritten or removed, which says nothing.
            // Nor can a batch beyond the stable offset be asked for, as where an earlier run read uncommitted data.
            let reachable = |last: &LastBatch| last.offset >= log.earliest && last.offset < log.stable;
            let comparable = known.last.filter(|last| !compacted && reachable(last));
            (known.lineage, known.start, known.next, comparable, begin)
        }
        (None, None) => unreachable!("a partition of which nothing is known begins a lineage"),
    };
    let gap =
        (log.earliest > next).then_some(Gap { first: next, end: log.earliest, reason: GapReason::Retention });
    // At a fork the answer names the epoch before it, which the log must go on to have.
    let of_fork = end.filter(|_| is_at_fork && gap.is_none()).and_then(|end| end.epoch);
    let last_epoch = last.map(|last| last.epoch).or(of_fork).filter(|epoch| *epoch >= 0);
    if let Some(gap) = gap {
        next = gap.end;
    }
    Placed {
        assignment: Assignment {
            partition: partition.clone(),
            topic_id: log.topic_id,
            lineage,
            start,
            next,
            last,
            last_epoch,
            until: (!settings.continuous).then_some(log.stable),
            broker: log.broker,
            leader_epoch: (log.leader_epoch >= 0).then_some(log.leader_epoch),
            compacted,
            forked,
        },
        begin,
        gap,
        data_follows: log.stable > log.earliest,
        held: (log.stable.max(next) < log.high_watermark)
            .then_some(OffsetRange::new(log.stable, log.high_watermark)),
    }
}

/// Where the log left the history that was followed, if it did: the last batch's leader epoch ends at or below that
/// batch. The position may lie further on, behind what compaction took of later epochs. Of a fork that has nothing of its own
/// yet, its epoch ends below the fork.
fn truncation(known: &Known, log: &Log, end: Option<EpochEnd>) -> Option<i64> {
    let end = end?;
    let offset = end.end_offset.filter(|_| end.epoch.is_some())?;
    let below = match known.last {
        Some(last) => offset <= last.offset,
        None => known.is_bare() && offset < known.next,
    };
    (below && log.earliest <= known.next).then_some(offset.max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was taken ends with a batch of epoch 3 at offset 10 and goes on at `next`; the log's epoch of that batch ends at `end`.
    fn fork(next: i64, end: Option<i64>, earliest: i64) -> Option<i64> {
        let known = Known {
            lineage: LineageId(1),
            cluster_id: "c".to_owned(),
            topic_id: TopicId::default(),
            start: 0,
            next,
            last: Some(LastBatch { offset: 10, epoch: 3, crc: 0 }),
            open: None,
            forked: None,
        };
        let topic_id = TopicId::default();
        let log = Log { earliest, stable: 50, high_watermark: 50, broker: 1, leader_epoch: 5, topic_id };
        truncation(&known, &log, Some(EpochEnd { epoch: end.map(|_| 3), end_offset: end }))
    }

    #[test]
    fn a_log_is_forked_only_where_the_last_batch_is_gone() {
        assert_eq!(fork(20, Some(20), 0), None, "where it was left");
        assert_eq!(fork(20, Some(30), 0), None, "it went on");
        assert_eq!(fork(20, Some(10), 0), Some(10), "the last batch is gone");
        assert_eq!(fork(20, Some(4), 0), Some(4), "and more");
        assert_eq!(fork(35, Some(20), 0), None, "what compaction took behind it was of later epochs");
        assert_eq!(fork(20, Some(4), 21), None, "retention took it all: a gap, and no fork");
        assert_eq!(fork(20, None, 0), None, "the log does not know the epoch");
    }

    /// A fork of epoch 4 at offset 10 that has nothing of its own, of a history that began at 0 and forked itself at 6.
    #[test]
    fn a_fork_without_records_is_cut_below_it_and_continues_what_holds_the_cut() {
        let forked = Forked { epoch: 4, ancestors: vec![(LineageId(2), 6), (LineageId(1), 0)] };
        let known = Known {
            lineage: LineageId(3),
            cluster_id: "c".to_owned(),
            topic_id: TopicId::default(),
            start: 10,
            next: 10,
            last: None,
            open: None,
            forked: Some(Arc::new(forked)),
        };
        assert_eq!(known.epoch(), Some(4));
        let log = Log {
            earliest: 0,
            stable: 50,
            high_watermark: 50,
            broker: 1,
            leader_epoch: 5,
            topic_id: TopicId::default(),
        };
        let cut = |known: &Known, end| {
            truncation(known, &log, Some(EpochEnd { epoch: Some(4), end_offset: Some(end) }))
        };
        assert_eq!((cut(&known, 10), cut(&known, 20), cut(&known, 8)), (None, None, Some(8)));
        let parents = |offset| known.from(offset).iter().map(|(id, _)| id.0).collect::<Vec<_>>();
        assert_eq!((parents(10), parents(8), parents(5)), (vec![3, 2, 1], vec![2, 1], vec![1]));
        // Behind a gap nobody knows what the epoch's end says of it.
        let behind = Known { next: 12, ..known };
        assert_eq!((behind.epoch(), cut(&behind, 8)), (None, None));
    }
}
