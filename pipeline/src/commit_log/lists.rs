//! Segment lists on demand: what a topic's changes in the checkpoint's runs and in the commits since add up to.

use std::collections::BTreeMap;

use formats::checkpoint::{ListFold, RunPage};
use formats::commit::SegmentEntry;
use formats::ids::{LineageId, Topic, TopicPartition};

use super::CommitLog;
use super::checkpoint::read_page;
use crate::Result;

/// The segments of a topic's lineages, in offset order.
pub type TopicLists = BTreeMap<(i32, LineageId), Vec<SegmentEntry>>;

impl CommitLog {
    /// Every live segment of a topic. Costs the topic's own pages, however large the archive is.
    ///
    /// # Errors
    /// Damage, or whatever the store says.
    pub async fn topic_lists(&self, topic: &Topic) -> Result<TopicLists> {
        let mut folds: BTreeMap<(i32, LineageId), ListFold> = BTreeMap::new();
        for page in self.pages_of(topic).await? {
            let page: RunPage = read_page(&**self.store(), page).await?;
            for change in page.changes.into_iter().filter(|change| change.topic == *topic) {
                let fold = folds.entry((change.partition, change.lineage)).or_default();
                fold.take(&change.removed, change.added);
            }
        }
        for change in self.state().changes.iter().flat_map(|changes| changes.iter()) {
            if change.partition.topic == *topic {
                let fold = folds.entry((change.partition.partition, change.lineage)).or_default();
                fold.take(&change.removed, change.added.iter().cloned());
            }
        }
        Ok(folds.into_iter().map(|(place, fold)| (place, fold.finish().0)).collect())
    }

    /// Every live segment of one lineage, in offset order.
    ///
    /// # Errors
    /// As [`CommitLog::topic_lists`].
    pub async fn lineage_list(&self, partition: &TopicPartition, lineage: LineageId) -> Result<Vec<SegmentEntry>> {
        let mut lists = self.topic_lists(&partition.topic).await?;
        Ok(lists.remove(&(partition.partition, lineage)).unwrap_or_default())
    }

    pub(super) async fn load_list(&mut self, partition: &TopicPartition, lineage: LineageId) -> Result<()> {
        let list = self.lineage_list(partition, lineage).await?;
        Ok(self.state.load_list(partition, lineage, list)?)
    }
}
