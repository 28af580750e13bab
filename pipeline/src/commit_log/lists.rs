//! Segment lists on demand: what a topic's changes in the checkpoint's runs and in the commits since add up to.

use std::collections::BTreeMap;
use std::sync::Arc;

use formats::checkpoint::{ListFold, PageRef, RunIndex, RunPage, RunPageRef, RunRef};
use formats::commit::SegmentEntry;
use formats::ids::{LineageId, Topic, TopicPartition};
use formats::state::SegmentChange;

use super::CommitLog;
use super::checkpoint::read_page;
use crate::Result;
use crate::storage::Store;

/// The segments of a topic's lineages, in offset order.
pub type TopicLists = BTreeMap<(i32, LineageId), Vec<SegmentEntry>>;

/// Where segment lists come from: a checkpoint's runs and the changes since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListSource<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) runs: &'a [RunRef],
    pub(crate) changes: &'a [Arc<Vec<SegmentChange>>],
}

impl ListSource<'_> {
    /// Every live segment of a topic.
    pub(crate) async fn topic(&self, topic: &Topic) -> Result<TopicLists> {
        let mut folds: BTreeMap<(i32, LineageId), ListFold> = BTreeMap::new();
        for page in self.pages(topic).await? {
            let page: RunPage = read_page(self.store, page).await?;
            for change in page.changes.into_iter().filter(|change| change.topic == *topic) {
                let fold = folds.entry((change.partition, change.lineage)).or_default();
                fold.take(&change.removed, change.added);
            }
        }
        for change in self.changes.iter().flat_map(|changes| changes.iter()) {
            if change.partition.topic == *topic {
                let fold = folds.entry((change.partition.partition, change.lineage)).or_default();
                fold.take(&change.removed, change.added.iter().cloned());
            }
        }
        Ok(folds.into_iter().map(|(place, fold)| (place, fold.finish().0)).collect())
    }

    /// The pages of the runs that may hold a topic's changes, the oldest run first.
    async fn pages(&self, topic: &Topic) -> Result<Vec<PageRef>> {
        let mut pages = Vec::new();
        for run in self.runs {
            let index: RunIndex = read_page(self.store, run.index).await?;
            let holds = |page: &&RunPageRef| page.first.topic <= *topic && *topic <= page.last.topic;
            pages.extend(index.pages.iter().filter(holds).map(|page| page.page));
        }
        Ok(pages)
    }
}

impl CommitLog {
    /// Every live segment of a topic. Costs the topic's own pages, however large the archive is.
    ///
    /// # Errors
    /// Damage, or whatever the store says.
    pub async fn topic_lists(&self, topic: &Topic) -> Result<TopicLists> {
        self.list_source().topic(topic).await
    }

    /// Where this log's segment lists come from.
    pub(crate) fn list_source(&self) -> ListSource<'_> {
        let runs = self.root.as_ref().map_or(&[][..], |root| &root.runs);
        ListSource { store: &*self.store, runs, changes: &self.state.changes }
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
        let mut lists = self.topic_lists(&partition.topic).await?;
        Ok(lists.remove(&(partition.partition, lineage)).unwrap_or_default())
    }

    pub(super) async fn load_list(&mut self, partition: &TopicPartition, lineage: LineageId) -> Result<()> {
        let list = self.lineage_list(partition, lineage).await?;
        Ok(self.state.load_list(partition, lineage, list)?)
    }
}
