//! Where each partition stands: its start, how much of it is on the target, and whose sequence numbers go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use formats::ids::{Topic, TopicPartition};
use tokio::time::sleep;

use super::journal::{PartitionEntry, ProducerEntry};
use super::prepare::Prepared;
use super::produce::log_end;
use super::progress::RestoreProgress;
use super::settings::NonEmpty;
use super::topics;
use crate::failpoint;
use crate::kafka::{ActiveProducer, Client, Topics};
use crate::{Error, Result};

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

/// Journals start offsets and producers where that was not done, and finds out how far earlier runs came.
pub(super) async fn standings(
    client: &Client,
    prepared: &mut Prepared,
    non_empty: NonEmpty,
    progress: &RestoreProgress,
) -> Result<BTreeMap<TopicPartition, Standing>> {
    let places: Vec<TopicPartition> = prepared.sources.keys().cloned().collect();
    let names: BTreeSet<Topic> = places.iter().map(|place| place.topic.clone()).collect();
    let names: Vec<Topic> = names.into_iter().collect();
    let metadata = client.refresh(Topics::Named(&names)).await?;
    let ends = topics::ends(client, &places).await?;
    let fresh: Vec<&TopicPartition> =
        places.iter().filter(|place| !prepared.attempt.partitions.contains_key(*place)).collect();
    if !fresh.is_empty() {
        let producer = client.init_producer_id().await?;
        let mut claims = BTreeMap::new();
        for place in fresh {
            let (first, start) = ends.get(place).copied().unwrap_or_default();
            if non_empty == NonEmpty::Refuse && start > first {
                return Err(Error::input(format!("{place} holds records since this restore was begun"))
                    .hint("stop its producers, delete the topic and run the restore again"));
            }
            let topic_id = metadata.topic_id(&place.topic).unwrap_or_default();
            let (producer, epoch) = (producer.id, producer.epoch);
            let entry = PartitionEntry { target: place.partition, topic_id, start, producer, epoch };
            claims.insert(place.clone(), entry);
        }
        failpoint::hit("before_journal_partitions");
        let won = prepared.entries.partitions(prepared.attempt.number, &claims).await?;
        failpoint::hit("after_journal_partitions");
        prepared.attempt.partitions.extend(won);
    }
    let remembered = client.describe_producers(places.iter().cloned()).await;
    let mut standings = BTreeMap::new();
    for place in places {
        let Some(entry) = prepared.attempt.partitions.get(&place) else {
            return Err(Error::damaged(format!("the restore's journal does not know {place}")));
        };
        let now = metadata.topic_id(&place.topic).unwrap_or_default();
        if now != entry.topic_id {
            let (topic, was) = (&place.topic, entry.topic_id);
            return Err(Error::input(format!(
                "topic {topic} was made anew since this restore began: its id is {now}, not {was}"
            ))
            .hint("delete all target topics of this restore and run it again: it then begins anew"));
        }
        let end = ends.get(&place).map_or(entry.start, |(_, end)| *end);
        let producers = prepared.attempt.producers_of(&place);
        let Some(last) = producers.last().copied() else { continue };
        let mut standing = Standing { start: entry.start, present: 0, producer: last };
        standing.present = present(&place, entry.start, end)?;
        let wrote = standing.present > last.base;
        if wrote && !remembers(&place, remembered.get(&place), last) {
            standing = replace(client, prepared, &place, standing, producers.len()).await?;
        }
        RestoreProgress::add(&progress.records_acked, standing.present);
        standings.insert(place, standing);
    }
    Ok(standings)
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
    let id = client.init_producer_id().await?;
    let entry = ProducerEntry { producer: id.id, epoch: id.epoch, base };
    tracing::info!(%place, base, "the broker has forgotten the producer; another one takes over");
    let won = prepared.entries.producer(prepared.attempt.number, place, nth, entry).await?;
    Ok(Standing { present: base.max(won.base), producer: won, ..standing })
}
