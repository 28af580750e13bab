//! Segment lists on demand: what a topic's changes in the checkpoint's runs and in the commits since add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use formats::checkpoint::{
    ListChange, ListFold, PageRef, RunIndex, RunPage, RunPageRef, RunRef, fold_changes,
};
use formats::commit::SegmentEntry;
use formats::hash::Hash;
use formats::ids::{LineageId, Topic, TopicPartition};
use formats::paths::ObjectName;
use formats::state::{SegmentChange, State};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use serde::de::DeserializeOwned;

use super::checkpoint::read_page;
use super::runs::{self, Source};
use super::{CommitLog, READ_AHEAD, read_commit, tail};
use crate::storage::Store;
use crate::{Error, ErrorKind, Result};

/// The segments of a topic's lineages, in offset order.
pub type TopicLists = BTreeMap<(i32, LineageId), Vec<SegmentEntry>>;

/// Some partitions of a topic.
struct Wanted<'a> {
    topic: &'a Topic,
    /// All where there is no set.
    partitions: Option<BTreeSet<i32>>,
}

impl Wanted<'_> {
    fn holds(&self, topic: &Topic, partition: i32) -> bool {
        topic == self.topic && self.partitions.as_ref().is_none_or(|set| set.contains(&partition))
    }

    /// Whether a page may hold changes of them.
    fn may_be_in(&self, page: &RunPageRef) -> bool {
        let set = self.partitions.as_ref();
        let least = set.and_then(BTreeSet::first).copied().unwrap_or(i32::MIN);
        let greatest = set.and_then(BTreeSet::last).copied().unwrap_or(i32::MAX);
        let place = |place: &TopicPartition| (place.topic.clone(), place.partition);
        place(&page.first) <= (self.topic.clone(), greatest)
            && (self.topic.clone(), least) <= place(&page.last)
    }
}

type Folds = BTreeMap<(i32, LineageId), ListFold>;

/// Where segment lists come from: a checkpoint's runs and the changes since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListSource<'a> {
    pub(crate) store: &'a Arc<dyn Store>,
    pub(crate) runs: &'a [RunRef],
    pub(crate) changes: &'a [Arc<Vec<SegmentChange>>],
}

impl ListSource<'_> {
    /// Every live segment of a topic.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], naming the object, where a page that may hold some is missing or altered.
    pub(crate) async fn topic(&self, topic: &Topic) -> Result<TopicLists> {
        let wanted = Wanted { topic, partitions: None };
        Ok(self.lists_of(self.folds_from_runs(&wanted).await?, &wanted))
    }

    async fn folds_from_runs(&self, wanted: &Wanted<'_>) -> Result<Folds> {
        let runs: Vec<PageRef> = self.runs.iter().map(|run| run.index).collect();
        let indexes: Vec<RunIndex> = self.read_pages(runs).try_collect().await?;
        let pages: Vec<PageRef> = indexes
            .into_iter()
            .flat_map(|index| index.pages)
            .filter(|page| wanted.may_be_in(page))
            .map(|page| page.page)
            .collect();
        let mut pages = Box::pin(self.read_pages::<RunPage>(pages));
        let mut folds = Folds::new();
        while let Some(page) = pages.try_next().await? {
            for change in
                page.changes.into_iter().filter(|change| wanted.holds(&change.topic, change.partition))
            {
                let fold = folds.entry((change.partition, change.lineage)).or_default();
                fold.take(&change.removed, change.added);
            }
        }
        Ok(folds)
    }

    fn read_pages<T: DeserializeOwned + Send + 'static>(
        &self,
        pages: Vec<PageRef>,
    ) -> impl Stream<Item = Result<T>> + Send + use<T> {
        let store = Arc::clone(self.store);
        let read = move |page| {
            let store = Arc::clone(&store);
            async move { read_page::<T>(&*store, page).await }
        };
        stream::iter(pages).map(read).buffered(READ_AHEAD)
    }

    /// What the runs hold together with the changes since.
    fn lists_of(&self, mut folds: Folds, wanted: &Wanted<'_>) -> TopicLists {
        for change in self.changes.iter().flat_map(|changes| changes.iter()) {
            take(&mut folds, wanted, change);
        }
        folds.into_iter().map(|(place, fold)| (place, fold.finish().0)).collect()
    }
}

impl CommitLog {
    /// Every live segment of a topic. Costs the topic's own pages, however large the archive is; where one of them is
    /// damaged, reading every commit.
    ///
    /// # Errors
    /// Damage of commits, or whatever the store says.
    pub async fn topic_lists(&self, topic: &Topic) -> Result<TopicLists> {
        self.wanted_lists(self.state(), &Wanted { topic, partitions: None }).await
    }

    /// Every live segment of one lineage, in offset order.
    ///
    /// # Errors
    /// As [`CommitLog::topic_lists`].
    pub async fn lineage_list(
        &self,
        partition: &TopicPartition,
        lineage: LineageId,
    ) -> Result<Vec<SegmentEntry>> {
        let partitions = Some(BTreeSet::from([partition.partition]));
        let wanted = Wanted { topic: &partition.topic, partitions };
        let mut lists = self.wanted_lists(self.state(), &wanted).await?;
        Ok(lists.remove(&(partition.partition, lineage)).unwrap_or_default())
    }

    /// Whether the entry of a live segment may list schema ids; as far as that can be told without reading lists.
    pub fn may_be_scanned(&self) -> bool {
        let runs = self.root.iter().flat_map(|root| &root.runs);
        let mut added = self.state().changes.iter().flat_map(|changes| changes.iter()).flat_map(|c| &c.added);
        runs.into_iter().any(|run| run.scanned != Some(0)) || added.any(|entry| entry.schema_ids.is_some())
    }

    /// Visits every live segment, lineage by lineage in the order of topics and partitions; each page is read once, however many
    /// topics there are, and one page of each run is in memory.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], naming the object, where a page is missing or altered; whatever the store says.
    pub async fn each_list(
        &self,
        mut visit: impl FnMut(&TopicPartition, LineageId, &[SegmentEntry]),
    ) -> Result<()> {
        let store = &**self.store();
        let mut sources = Vec::new();
        for run in self.root.iter().flat_map(|root| &root.runs) {
            sources.push(Source::open(store, run).await?);
        }
        let changes = self.state().changes.iter().flat_map(|changes| changes.iter());
        sources.push(Source::of(fold_changes(changes)));
        while let Some(change) = runs::next_merged(store, &mut sources, true).await? {
            let ListChange { topic, partition, lineage, added, .. } = change;
            visit(&TopicPartition::new(topic, partition), lineage, &added);
        }
        Ok(())
    }

    /// The lists of some lineages as a state has them.
    pub(super) async fn lists(
        &self,
        state: &State,
        places: &[(TopicPartition, LineageId)],
    ) -> Result<Vec<((TopicPartition, LineageId), Vec<SegmentEntry>)>> {
        let mut topics: BTreeMap<&Topic, BTreeSet<i32>> = BTreeMap::new();
        for (place, _) in places {
            topics.entry(&place.topic).or_default().insert(place.partition);
        }
        let mut found = Vec::with_capacity(places.len());
        for (topic, partitions) in topics {
            let mut lists = self.wanted_lists(state, &Wanted { topic, partitions: Some(partitions) }).await?;
            for place in places.iter().filter(|(place, _)| place.topic == *topic) {
                found.push((place.clone(), lists.remove(&(place.0.partition, place.1)).unwrap_or_default()));
            }
        }
        Ok(found)
    }

    async fn wanted_lists(&self, state: &State, wanted: &Wanted<'_>) -> Result<TopicLists> {
        let source = ListSource { changes: &state.changes, ..self.list_source() };
        let folds = match source.folds_from_runs(wanted).await {
            Err(error) if error.kind() == ErrorKind::Damaged => {
                tracing::warn!(%error, topic = %wanted.topic, "a checkpoint is damaged; reading the topic's segments from every commit");
                self.folds_from_commits(wanted).await?
            }
            folds => folds?,
        };
        Ok(source.lists_of(folds, wanted))
    }

    /// Where this log's segment lists come from.
    pub(crate) fn list_source(&self) -> ListSource<'_> {
        let runs = self.root.as_ref().map_or(&[][..], |root| &root.runs);
        ListSource { store: &self.store, runs, changes: &self.state.changes }
    }

    /// The same from the commits that the checkpoint stands for, which are held together by its hash of the last.
    async fn folds_from_commits(&self, wanted: &Wanted<'_>) -> Result<Folds> {
        let mut folds = Folds::new();
        let Some(root) = &self.root else { return Ok(folds) };
        let store = Arc::clone(self.store());
        let reads = stream::iter(1..=root.seq).map(move |seq| {
            let store = Arc::clone(&store);
            async move { read_commit(&*store, seq).await?.ok_or_else(|| tail::vanished(seq)) }
        });
        let mut commits = Box::pin(reads.buffered(READ_AHEAD));
        let mut head = Hash::ZERO;
        while let Some((commit, hash)) = commits.try_next().await? {
            if commit.previous != head {
                return Err(broken_chain(commit.seq));
            }
            head = hash;
            for change in commit.ops.iter().filter_map(|op| SegmentChange::of(commit.seq, op)) {
                take(&mut folds, wanted, &change);
            }
        }
        if head == root.head { Ok(folds) } else { Err(broken_chain(root.seq + 1)) }
    }
}

fn take(folds: &mut Folds, wanted: &Wanted<'_>, change: &SegmentChange) {
    let TopicPartition { topic, partition } = &change.partition;
    if wanted.holds(topic, *partition) {
        let fold = folds.entry((*partition, change.lineage)).or_default();
        fold.take(&change.removed, change.added.iter().cloned());
    }
}

fn broken_chain(seq: u64) -> Error {
    Error::damaged(format!("{}: it does not follow the commit before it", ObjectName::Commit(seq).key()))
        .hint("a commit was replaced: run `replevin verify` and restore the object from a copy of the store")
}
