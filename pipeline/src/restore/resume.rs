//! Where each partition stands: its start, how much of it is on the target, and whose sequence numbers go on.
//!
//! That the log has grown by so many records does not make them ours. The last batch tells: where it bears one of our
//! producers and the sequence number that belongs to its place, everything before it is ours too, as a broker takes a
//! producer's sequence numbers without holes and there are no more places than numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use formats::ids::{OffsetRange, Topic, TopicPartition};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::journal::PartitionEntry;
use super::prepare::Prepared;
use super::progress::RestoreProgress;
use super::proof::{self, ReadBack, Written};
use super::settings::NonEmpty;
use super::topics;
use crate::budget::Budget;
use crate::failpoint;
use crate::kafka::{ActiveProducer, Client, Topics};
use crate::target::produce::{ProducerEntry, log_end};
use crate::{Error, ErrorKind, Result};

/// Between two looks at a log that is to stand still.
const STILL_PAUSE: Duration = Duration::from_millis(500);
/// Looks that must show the same end.
const STILL_LOOKS: u32 = 4;
/// Looks in all.
const MOST_LOOKS: u32 = 240;

/// Where a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// The target offset of its first record.
    pub(super) start: i64,
    /// How many of its records are on the target.
    pub(super) present: u64,
    /// Who writes from here on.
    pub(super) producer: ProducerEntry,
}

/// Where the partitions of a restore stand.
#[derive(Debug, Default)]
pub(super) struct Standings {
    pub(super) standings: BTreeMap<TopicPartition, Standing>,
    /// Those of which nothing can be made, and why.
    pub(super) failed: BTreeMap<TopicPartition, Error>,
}

impl Standings {
    pub(super) fn get(&self, place: &TopicPartition) -> Option<&Standing> {
        self.standings.get(place)
    }

    fn fail(&mut self, place: TopicPartition, standing: Standing, error: Error) {
        self.standings.insert(place.clone(), standing);
        self.failed.insert(place, error);
    }
}

/// Journals start offsets and producers of these partitions where that was not done, and finds out how far earlier runs came.
pub(super) async fn standings(
    client: &Client,
    prepared: &mut Prepared,
    places: Vec<TopicPartition>,
    non_empty: NonEmpty,
    budget: &Budget,
    progress: &RestoreProgress,
    stop: &CancellationToken,
) -> Result<Standings> {
    let mut found = Standings::default();
    let attempt = &prepared.attempt;
    let (sealed, places): (Vec<TopicPartition>, Vec<TopicPartition>) =
        places.into_iter().partition(|place| attempt.is_sealed(&place.topic));
    take_sealed(client, prepared, sealed, &mut found).await?;
    let names: BTreeSet<Topic> = places.iter().map(|place| place.topic.clone()).collect();
    let names: Vec<Topic> = names.into_iter().collect();
    let metadata =
        if names.is_empty() { client.metadata() } else { client.refresh(Topics::Named(&names)).await? };
    let ends = topics::ends(client, &places).await?;
    let fresh: Vec<&TopicPartition> =
        places.iter().filter(|place| !prepared.attempt.partitions.contains_key(*place)).collect();
    if !fresh.is_empty() {
        let producer = init_producer_id(client).await?;
        let mut claims = BTreeMap::new();
        for place in fresh {
            let (first, start) = ends.get(place).copied().unwrap_or_default();
            if non_empty == NonEmpty::Refuse && start > first {
                return Err(Error::input(format!("{place} holds records since this restore was begun"))
                    .hint("stop its producers, delete the topic and run the restore again"));
            }
            let topic_id = metadata.topic_id(&place.topic).unwrap_or_default();
            let (producer, epoch) = (producer.producer, producer.epoch);
            let entry = PartitionEntry { target: place.partition, topic_id, start, producer, epoch };
            claims.insert(place.clone(), entry);
        }
        failpoint::hit("before_journal_partitions");
        let won = prepared.entries.partitions(prepared.attempt.number, &claims).await?;
        failpoint::hit("after_journal_partitions");
        prepared.attempt.partitions.extend(won);
    }
    let begun = |place: &&TopicPartition| {
        let entry = prepared.attempt.partitions.get(*place)?;
        let end = ends.get(*place).map(|(_, end)| *end).filter(|end| *end > entry.start)?;
        Some(((*place).clone(), OffsetRange::new(end - 1, end)))
    };
    let tails = places.iter().filter_map(|place| begun(&place)).collect();
    // Not the proof, so nothing of its progress.
    let mut tails = proof::read_back(client, &tails, budget, &Arc::default(), stop).await?;
    let remembered = client.describe_producers(places.iter().cloned()).await;
    for place in places {
        let Some(entry) = prepared.attempt.partitions.get(&place) else {
            return Err(Error::damaged(format!("the restore's journal does not know {place}")));
        };
        let now = metadata.topic_id(&place.topic).unwrap_or_default();
        if now != entry.topic_id {
            return Err(made_anew(&place.topic));
        }
        let end = ends.get(&place).map_or(entry.start, |(_, end)| *end);
        let producers = prepared.attempt.producers_of(&place);
        let Some(last) = producers.last().copied() else { continue };
        let mut standing = Standing { start: entry.start, present: 0, producer: last };
        let present = present(&place, entry.start, end).and_then(|present| {
            let tail = tails.remove(&place);
            if present > 0 {
                check_tail(&place, entry.start, &producers, tail)?
            }
            Ok(present)
        });
        match present {
            Ok(present) => standing.present = present,
            Err(error) if error.is_retriable() || error.kind() == ErrorKind::Interrupted => {
                return Err(error);
            }
            Err(error) => {
                found.fail(place, standing, error);
                continue;
            }
        }
        let wrote = standing.present > last.base;
        if wrote && !remembers(&place, remembered.get(&place), last) {
            standing = replace(client, prepared, &place, standing, producers.len()).await?;
        }
        RestoreProgress::add(&progress.target.records_acked, standing.present);
        found.standings.insert(place, standing);
    }
    Ok(found)
}

/// What a sealed topic was left with. More is fine, as producers write there again, and so is a later first record.
async fn take_sealed(
    client: &Client,
    prepared: &Prepared,
    places: Vec<TopicPartition>,
    found: &mut Standings,
) -> Result<()> {
    let ends = topics::ends(client, &places).await?;
    for place in places {
        let Some(entry) = prepared.attempt.partitions.get(&place) else { continue };
        let left = prepared.attempt.ends.get(&place).map_or(entry.start, |end| end.end);
        let producer = ProducerEntry { producer: entry.producer, epoch: entry.epoch, base: 0 };
        let present = u64::try_from(left - entry.start).unwrap_or(0);
        let standing = Standing { start: entry.start, present, producer };
        let end = ends.get(&place).map_or(0, |(_, end)| *end);
        if end < left {
            let error = Error::damaged(format!(
                "{place} ends at offset {end}, before {left} where an earlier run had completed it"
            ))
            .hint("the target lost records: delete the topic and run the restore again");
            found.fail(place, standing, error);
            continue;
        }
        found.standings.insert(place, standing);
    }
    Ok(())
}

/// The error of a target topic that is not the one that this restore filled.
pub(super) fn made_anew(topic: &Topic) -> Error {
    Error::input(format!("topic {topic} was deleted or made anew since this restore began")).hint(
        "delete all target topics of this restore and run it again: it then begins anew; or restore this topic by a job \
         file of its own",
    )
}

async fn init_producer_id(client: &Client) -> Result<ProducerEntry> {
    let id = client.init_producer_id().await.map_err(|error| match error.kind() {
        ErrorKind::Credentials => error.hint(
            "grant WRITE on the target topics, or IDEMPOTENT_WRITE on the cluster, to this client's principal (kafka-acls)",
        ),
        _ => error,
    })?;
    Ok(ProducerEntry { producer: id.id, epoch: id.epoch, base: 0 })
}

/// Whether the last batch before the end is where one of our producers put it.
pub(crate) fn check_tail(
    place: &TopicPartition,
    start: i64,
    producers: &[ProducerEntry],
    tail: Option<Result<ReadBack>>,
) -> Result<()> {
    let tail = tail.unwrap_or_else(|| Err(Error::permanent("no answer")));
    let last = tail.map_err(|e| e.at(format!("the end of {place} cannot be read")))?.last;
    let is_ours = |last: &Written| {
        let ours = |one: &&ProducerEntry| one.producer == last.producer && one.epoch == last.epoch;
        producers.iter().find(ours).is_some_and(|producer| {
            let index = u64::try_from(last.base_offset - start).ok();
            let index = index.and_then(|index| index.checked_sub(producer.base));
            index.map(|index| producer.sequence(index)) == Some(last.base_sequence)
        })
    };
    if last.as_ref().is_some_and(is_ours) {
        return Ok(());
    }
    Err(Error::permanent(format!(
        "somebody else has written to {place} since this restore began: its last batch is not one of this restore's"
    ))
    .hint("stop the other producers, delete the topic and restore it again"))
}

fn present(place: &TopicPartition, start: i64, end: i64) -> Result<u64> {
    u64::try_from(end - start).map_err(|_| {
        Error::permanent(format!("{place} ends at offset {end}, before {start} where this restore began"))
            .hint("the target lost records: delete the topic and run the restore again")
    })
}

/// Whether the leader knows the producer. Where it does not say, it is taken not to: that is safe, and only slower.
fn remembers(
    place: &TopicPartition,
    answer: Option<&Result<Vec<ActiveProducer>>>,
    producer: ProducerEntry,
) -> bool {
    match answer {
        Some(Ok(active)) => active.iter().any(|active| {
            active.producer_id == producer.producer && active.epoch == i32::from(producer.epoch)
        }),
        Some(Err(error)) => {
            tracing::warn!(%error, "whether {place} remembers its producer is not known");
            false
        }
        None => false,
    }
}

/// The broker has forgotten the producer id, and would accept any sequence number of it. Nothing of an earlier run may be
/// under way any more when another id takes over, so the log must stand still first.
async fn replace(
    client: &Client,
    prepared: &Prepared,
    place: &TopicPartition,
    standing: Standing,
    nth: usize,
) -> Result<Standing> {
    let (mut end, mut same) = (log_end(client, place).await?, 1);
    for _ in 0..MOST_LOOKS {
        if same >= STILL_LOOKS {
            break;
        }
        sleep(STILL_PAUSE).await;
        let now = log_end(client, place).await?;
        same = if now == end { same + 1 } else { 1 };
        end = now;
    }
    if same < STILL_LOOKS {
        return Err(Error::permanent(format!(
            "{place} does not stand still: somebody else is writing to it"
        ))
        .hint("stop the other producers and run the restore again"));
    }
    let base = present(place, standing.start, end)?;
    let entry = ProducerEntry { base, ..init_producer_id(client).await? };
    tracing::info!(%place, base, "the broker has forgotten the producer; another one takes over");
    let won = prepared.entries.producer(prepared.attempt.number, place, nth, entry).await?;
    Ok(Standing { present: base.max(won.base), producer: won, ..standing })
}

#[cfg(test)]
mod tests {
    use formats::digest::ContentDigest;

    use super::*;
    use crate::archive::samples::place;

    #[test]
    fn only_a_last_batch_of_ours_at_its_own_place_makes_the_rest_ours() {
        let wrap = u64::from(i32::MAX.unsigned_abs()) + 1;
        let producers = [
            ProducerEntry { producer: 7, epoch: 1, base: 0 },
            ProducerEntry { producer: 9, epoch: 0, base: 500 },
        ];
        let check = |base_offset, producer, epoch, base_sequence| {
            let last = Some(Written { base_offset, producer, epoch, base_sequence });
            let tail = ReadBack { digest: ContentDigest::EMPTY, last };
            check_tail(&place("t", 0), 100, &producers, Some(Ok(tail))).is_ok()
        };
        assert!(check(100, 7, 1, 0));
        assert!(check(350, 7, 1, 250));
        assert!(check(600, 9, 0, 0));
        assert!(check(100 + 500 + wrap as i64 + 3, 9, 0, 3), "sequence numbers begin again at 0");
        assert!(!check(350, 7, 1, 240), "ten records of somebody else before it");
        assert!(!check(350, 7, 0, 250), "another epoch");
        assert!(!check(350, -1, -1, -1), "no producer id at all");
        assert!(!check(599, 9, 0, 0), "before its producer began");
        let nothing = ReadBack { digest: ContentDigest::EMPTY, last: None };
        assert!(check_tail(&place("t", 0), 100, &producers, Some(Ok(nothing))).is_err());
        assert!(check_tail(&place("t", 0), 100, &producers, None).is_err());
    }
}
