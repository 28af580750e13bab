//! Offsets of the source in the target.
//!
//! An offset stands for the records behind it. Where only the beginning of a log is ever deleted, there are as many of them behind the
//! translated offset, counted from the end that both sides have in common. Where the source compacts, it may have taken some since
//! they were brought: there the very record that a consumer would read next is looked for in the target, from its beginning. Of
//! records that are wholly alike the first one counts: a consumer may see some again, and misses none.

use std::collections::{BTreeMap, BTreeSet};

use formats::ids::{OffsetRange, Topic, TopicPartition};

use super::cut_over::CutOver;
use super::report::Standing;
use super::reread::{Ids, Mark, Search, SourceSide};
use crate::kafka::{At, Client, ConfigEntry, ConfigResource, Isolation, Refusal};
use crate::ranges::{self, Sink};
use crate::restore::topics;
use crate::{Error, Result};

/// What an offset of the source is in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct To {
    pub(super) offset: i64,
    /// What a consumer that goes on there will not see, where there is such.
    pub(super) why: Option<String>,
}

/// What offsets of the source are in the target.
pub(super) type Translated = BTreeMap<(TopicPartition, i64), Result<To>>;

impl CutOver<'_> {
    /// What offsets of the source are in the target.
    ///
    /// # Errors
    /// A cluster cannot be asked; it was stopped. Where a partition cannot be read, its offsets are errors.
    pub(super) async fn translate(
        &self,
        standings: &BTreeMap<TopicPartition, Standing>,
        wanted: BTreeMap<TopicPartition, BTreeSet<i64>>,
    ) -> Result<Translated> {
        let mut translated = Translated::new();
        let firsts = firsts(self.source, wanted.keys().cloned()).await;
        let targets = firsts_of_targets(self.target, standings, wanted.keys()).await;
        let policies = compacts(self.source, wanted.keys().map(|place| place.topic.clone())).await?;
        // Where nobody says so it may be.
        let is_compacted = |topic: &Topic| policies.get(topic) != Some(&false);
        let (mut ranges, mut asked) = (BTreeMap::new(), BTreeMap::new());
        for (place, offsets) in wanted {
            let Standing { position, end, from, .. } = standings[&place];
            let (open, done): (Vec<i64>, Vec<i64>) =
                offsets.into_iter().partition(|offset| *offset < position);
            // Behind what was brought: the next record that comes.
            let behind = |offset| ((place.clone(), offset), Ok(To { offset: end, why: None }));
            translated.extend(done.into_iter().map(behind));
            let Some(least) = open.first() else { continue };
            let first = match firsts.get(&place) {
                Some(Ok(first)) => *first,
                Some(Err(error)) => {
                    fail(&mut translated, &place, &open, error);
                    continue;
                }
                None => position,
            };
            let range = OffsetRange::new((*least).max(first).max(from).min(position), position);
            let named = is_compacted(&place.topic);
            let ids = if named { self.ids(&place.topic) } else { None };
            ranges.insert(place.clone(), (range, SourceSide::counting(open.iter().copied(), named, ids)));
            asked.insert(place, open);
        }
        let read = self.read(self.source, ranges, Isolation::ReadCommitted).await?;
        let (mut searches, mut marked) = (BTreeMap::new(), BTreeMap::new());
        for (place, read) in read {
            let Standing { start, end, from, .. } = standings[&place];
            let side = match read {
                Ok(side) => side,
                Err(error) => {
                    fail(&mut translated, &place, &asked[&place], &error);
                    continue;
                }
            };
            let total = side.records();
            let marks = side.marks();
            let there = match targets.get(&place) {
                Some(Ok(there)) => (*there).clamp(start, end),
                Some(Err(error)) => {
                    fail(&mut translated, &place, &asked[&place], error);
                    continue;
                }
                None => start,
            };
            if !is_compacted(&place.topic) {
                for Mark { offset, before, .. } in marks {
                    let behind = i64::try_from(total - before).unwrap_or(i64::MAX);
                    let wanted = end.saturating_sub(behind);
                    let to = To { offset: wanted.max(there), why: unseen(offset, from, wanted, there) };
                    translated.insert((place.clone(), offset), Ok(to));
                }
                continue;
            }
            let range = OffsetRange::new(there, end);
            let search = Search::of(marks.iter().filter_map(|mark| mark.first));
            searches.insert(standings[&place].target.clone(), (range, search));
            marked.insert(place, marks);
        }
        self.search(standings, searches, marked, &mut translated).await?;
        Ok(translated)
    }

    /// Looks in the target for the records that consumers would read next.
    async fn search(
        &self,
        standings: &BTreeMap<TopicPartition, Standing>,
        searches: BTreeMap<TopicPartition, (OffsetRange, Search)>,
        marked: BTreeMap<TopicPartition, Vec<Mark>>,
        translated: &mut Translated,
    ) -> Result<()> {
        let mut searched = self.read(self.target, searches, Isolation::ReadUncommitted).await?;
        for (place, marks) in marked {
            let Standing { target, end, from, .. } = &standings[&place];
            let search = match searched.remove(target) {
                Some(Ok(search)) => search,
                Some(Err(error)) => {
                    let offsets: Vec<i64> = marks.iter().map(|mark| mark.offset).collect();
                    fail(translated, &place, &offsets, &error);
                    continue;
                }
                None => continue,
            };
            for Mark { offset, first, .. } in marks {
                let to = match first.map(|first| search.found(first)) {
                    // Whatever was behind it is gone from the source.
                    None => Ok(To { offset: *end, why: None }),
                    Some(Some(found)) => Ok(To { offset: found, why: unseen(offset, *from, found, found) }),
                    Some(None) => Err(Error::permanent(format!(
                        "the record of {place} at or behind offset {offset} is not in {target} any more"
                    ))
                    .hint("the target's own retention or compaction may have taken it: set the group's offset there by hand (kafka-consumer-groups)")),
                };
                translated.insert((place.clone(), offset), to);
            }
        }
        Ok(())
    }

    /// What becomes of ids in a topic; none where nothing does.
    pub(super) fn ids(&self, topic: &Topic) -> Option<Ids> {
        self.schemas.map(|schemas| schemas.reread(topic))
    }

    /// Reads ranges of partitions.
    pub(super) async fn read<S: Sink>(
        &self,
        client: &Client,
        ranges: BTreeMap<TopicPartition, (OffsetRange, S)>,
        isolation: Isolation,
    ) -> Result<ranges::Read<S>> {
        ranges::read(client, ranges, isolation, self.budget, &self.progress.records_compared, self.stop).await
    }
}

/// Which topics of a cluster are compacted; of those whose configs may not be read nothing is said.
pub(super) async fn compacts(
    client: &Client,
    topics: impl Iterator<Item = Topic>,
) -> Result<BTreeMap<Topic, bool>> {
    let topics: BTreeSet<Topic> = topics.collect();
    let resources: Vec<_> = topics.into_iter().map(ConfigResource::Topic).collect();
    let described = client.describe_configs(&resources, Some(&["cleanup.policy"])).await?;
    let policy = |(resource, configs): (ConfigResource, std::result::Result<Vec<ConfigEntry>, Refusal>)| {
        let ConfigResource::Topic(topic) = resource else { return None };
        let policy = configs.ok()?.into_iter().next()?.value?;
        Some((topic, policy.contains("compact")))
    };
    Ok(described.into_iter().filter_map(policy).collect())
}

/// The first offsets of partitions.
pub(super) async fn firsts(
    client: &Client,
    places: impl IntoIterator<Item = TopicPartition>,
) -> BTreeMap<TopicPartition, Result<i64>> {
    let first = client.list_offsets(places, At::Earliest, Isolation::ReadUncommitted).await;
    first.into_iter().map(|(place, first)| (place, first.map(|first| first.offset.unwrap_or(0)))).collect()
}

/// The first offsets of the targets of partitions, by partition of the source.
pub(super) async fn firsts_of_targets(
    client: &Client,
    standings: &BTreeMap<TopicPartition, Standing>,
    places: impl Iterator<Item = &TopicPartition>,
) -> BTreeMap<TopicPartition, Result<i64>> {
    let targets: BTreeMap<&TopicPartition, &TopicPartition> =
        places.filter_map(|place| Some((&standings.get(place)?.target, place))).collect();
    let first = firsts(client, targets.keys().map(|target| (*target).clone())).await;
    first.into_iter().filter_map(|(target, first)| Some(((*targets.get(&target)?).clone(), first))).collect()
}

/// What a consumer at `offset` of the source will not see in the target, where the migration began at `from`; it would go on at
/// `wanted`, and the target begins at `there`.
fn unseen(offset: i64, from: i64, wanted: i64, there: i64) -> Option<String> {
    match () {
        () if offset < from => Some(format!(
            "records of the source before offset {from}, where the migration began, are not in the target"
        )),
        () if wanted < there => {
            Some(format!("the target's own retention has deleted {} of its records", there - wanted))
        }
        () => None,
    }
}

fn fail(translated: &mut Translated, place: &TopicPartition, offsets: &[i64], error: &Error) {
    for offset in offsets {
        let error = Error::new(error.kind(), topics::with_hint(error));
        translated.insert((place.clone(), *offset), Err(error));
    }
}
