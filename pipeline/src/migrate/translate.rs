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
use crate::kafka::{At, ConfigResource, Isolation};
use crate::ranges::{self, Sink};
use crate::restore::topics;
use crate::{Error, Result};

/// What offsets of the source are in the target.
pub(super) type Translated = BTreeMap<(TopicPartition, i64), Result<i64>>;

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
        let firsts = self.firsts(wanted.keys().cloned()).await?;
        let compacted = self.compacted(wanted.keys().map(|place| place.topic.clone()).collect()).await?;
        let (mut ranges, mut asked) = (BTreeMap::new(), BTreeMap::new());
        for (place, offsets) in wanted {
            let Standing { position, end, .. } = standings[&place];
            let (open, done): (Vec<i64>, Vec<i64>) =
                offsets.into_iter().partition(|offset| *offset < position);
            // Behind what was brought: the next record that comes.
            translated.extend(done.into_iter().map(|offset| ((place.clone(), offset), Ok(end))));
            let Some(least) = open.first() else { continue };
            let range = OffsetRange::new((*least).max(firsts[&place]).min(position), position);
            let named = compacted.contains(&place.topic);
            let ids = if named { self.ids(&place.topic)? } else { None };
            ranges.insert(place.clone(), (range, SourceSide::counting(open.iter().copied(), named, ids)));
            asked.insert(place, open);
        }
        let read = self.read(self.source, ranges, Isolation::ReadCommitted).await?;
        let (mut searches, mut marked) = (BTreeMap::new(), BTreeMap::new());
        for (place, read) in read {
            let Standing { start, end, .. } = standings[&place];
            let side = match read {
                Ok(side) => side,
                Err(error) => {
                    fail(&mut translated, &place, &asked[&place], &error);
                    continue;
                }
            };
            let total = side.records();
            let marks = side.marks();
            if !compacted.contains(&place.topic) {
                for Mark { offset, before, .. } in marks {
                    let behind = i64::try_from(total - before).unwrap_or(i64::MAX);
                    // What lies before the migration's beginning has not come.
                    let to = end.saturating_sub(behind).max(start);
                    translated.insert((place.clone(), offset), Ok(to));
                }
                continue;
            }
            let range = OffsetRange::new(start, end);
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
        mut searches: BTreeMap<TopicPartition, (OffsetRange, Search)>,
        marked: BTreeMap<TopicPartition, Vec<Mark>>,
        translated: &mut Translated,
    ) -> Result<()> {
        let first =
            self.target.list_offsets(searches.keys().cloned(), At::Earliest, Isolation::ReadUncommitted);
        for (place, first) in first.await {
            if let (Some((range, _)), Some(first)) = (searches.get_mut(&place), first?.offset) {
                range.first = range.first.max(first).min(range.end);
            }
        }
        let mut searched = self.read(self.target, searches, Isolation::ReadUncommitted).await?;
        for (place, marks) in marked {
            let Standing { target, end, .. } = &standings[&place];
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
                    None => Ok(*end),
                    Some(Some(found)) => Ok(found),
                    Some(None) => Err(Error::permanent(format!(
                        "the record of {place} at or behind offset {offset} is not in {target}"
                    ))
                    .hint("run with `migrate.proof: true`, and see what it says of this partition")),
                };
                translated.insert((place.clone(), offset), to);
            }
        }
        Ok(())
    }

    /// Topics of the source that are compacted, or may be.
    pub(super) async fn compacted(&self, topics: BTreeSet<Topic>) -> Result<BTreeSet<Topic>> {
        let resources: Vec<_> = topics.into_iter().map(ConfigResource::Topic).collect();
        let described = self.source.describe_configs(&resources, Some(&["cleanup.policy"])).await?;
        let compacts = described.into_iter().filter_map(|(resource, configs)| {
            let ConfigResource::Topic(topic) = resource else { return None };
            let policy = configs.ok().and_then(|configs| configs.into_iter().next()?.value);
            policy.is_none_or(|policy| policy.contains("compact")).then_some(topic)
        });
        Ok(compacts.collect())
    }

    /// The first offsets of partitions of the source.
    pub(super) async fn firsts(
        &self,
        places: impl Iterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let first = self.source.list_offsets(places, At::Earliest, Isolation::ReadUncommitted).await;
        first.into_iter().map(|(place, first)| Ok((place, first?.offset.unwrap_or(0)))).collect()
    }

    /// What becomes of ids in a topic; none where nothing does.
    pub(super) fn ids(&self, topic: &Topic) -> Result<Option<Ids>> {
        self.schemas.map(|schemas| schemas.reread(topic)).transpose()
    }

    /// Reads ranges of partitions.
    pub(super) async fn read<S: Sink>(
        &self,
        client: &crate::kafka::Client,
        ranges: BTreeMap<TopicPartition, (OffsetRange, S)>,
        isolation: Isolation,
    ) -> Result<ranges::Read<S>> {
        ranges::read(client, ranges, isolation, self.budget, &self.progress.records_compared, self.stop).await
    }
}

fn fail(translated: &mut Translated, place: &TopicPartition, offsets: &[i64], error: &Error) {
    for offset in offsets {
        let error = Error::new(error.kind(), topics::with_hint(error));
        translated.insert((place.clone(), *offset), Err(error));
    }
}
