//! A whole state as a small root that names immutable pages, so that a reader need not replay the log and a writer need
//! not rewrite what did not change.
//!
//! ```text
//! root            everything small, then
//!   positions     pages by topic range: each partition's histories, positions, gaps and totals, no segments
//!   runs          the segment lists as changes, the oldest run first; levels as in a log-structured tree
//!     index       which pages of the run hold which partitions
//!       page      changes: segments added to and removed from a lineage, sorted by topic, partition, lineage
//! ```
//! The list of a lineage is what its changes in all runs add up to, taken in order: an added segment is live until a later
//! change removes it. Reading positions touches no run; reading one topic touches its own pages only. Runs of one level
//! are merged into the next when there are [`FANOUT`] of them, so a list is rewritten once a level.
//!
//! Pages are named by their content. Everything here is a sealed document (see [`crate::document`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Result;
use crate::commit::{CheckpointRef, ObjectRef, SegmentEntry, SegmentRef};
use crate::hash::Hash;
use crate::ids::{Incarnation, LineageId, Topic, TopicPartition};
use crate::state::{SegmentChange, State, TopicState};

#[cfg(test)]
mod tests;

/// Runs of one level that are merged into one of the next. An entry is written once a level, and a topic is read from
/// fewer than this many runs a level.
pub const FANOUT: usize = 32;
/// Partitions after which a positions page is split.
pub const PARTITIONS_A_PAGE: usize = 512;
/// Segments after which a page of a run is split.
pub const SEGMENTS_A_PAGE: usize = 2048;

/// The root of a checkpoint: `checkpoints/<seq>/root`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Root {
    /// The state after this commit.
    pub seq: u64,
    /// BLAKE3 of that commit's stored bytes.
    pub head: Hash,
    /// The checkpoint that commits named last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointRef>,
    /// The newest incarnation that said it is the writer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<Incarnation>,
    /// Incarnations that may commit no more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub retired: BTreeSet<Incarnation>,
    /// The newest snapshot of the schemas and what it covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schemas: Option<(ObjectRef, u64)>,
    /// The newest snapshot of the consumer groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<ObjectRef>,
    /// The newest snapshot of the cluster's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ObjectRef>,
    /// Removed objects that nobody has reported as deleted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
    /// Positions by topic range, in topic order without overlap.
    pub positions: Vec<PositionsRef>,
    /// Segment lists, the oldest run first.
    pub runs: Vec<RunRef>,
    /// Members that this build does not know, kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Names a page by content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PageRef {
    /// The checkpoint that wrote it first.
    pub seq: u64,
    /// BLAKE3 of its stored bytes.
    pub blake3: Hash,
}

/// A page of positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PositionsRef {
    /// The first topic in it.
    pub first: Topic,
    /// The last topic in it.
    pub last: Topic,
    /// Partitions in it.
    pub partitions: u64,
    /// The page, a [`PositionsPage`].
    pub page: PageRef,
}

/// A page of positions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PositionsPage {
    /// Topics in order.
    pub topics: Vec<TopicPositions>,
}

/// A topic's partitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicPositions {
    /// The topic.
    pub topic: Topic,
    /// Its partitions by number.
    pub partitions: TopicState,
}

/// A run of segment changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRef {
    /// 0 for what one checkpoint added, n + 1 for runs of level n merged.
    pub level: u32,
    /// Segments added in it.
    pub segments: u64,
    /// Of them, those whose entries list schema ids; none where its writer did not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scanned: Option<u64>,
    /// The index, a [`RunIndex`].
    pub index: PageRef,
}

/// Which pages of a run hold which partitions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunIndex {
    /// Pages in order.
    pub pages: Vec<RunPageRef>,
}

/// A page of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunPageRef {
    /// The first partition in it.
    pub first: TopicPartition,
    /// The last partition in it.
    pub last: TopicPartition,
    /// The page, a [`RunPage`].
    pub page: PageRef,
}

/// A page of a run: changes sorted by topic, partition and lineage.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunPage {
    /// The changes.
    pub changes: Vec<ListChange>,
}

/// What happened to the segment list of a lineage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListChange {
    /// Whose.
    pub topic: Topic,
    /// Whose.
    pub partition: i32,
    /// Which history.
    pub lineage: LineageId,
    /// Segments of *older* runs that are no longer live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<SegmentRef>,
    /// Segments that became live, in offset order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<SegmentEntry>,
}

impl ListChange {
    /// What the changes are sorted by.
    pub fn place(&self) -> (&Topic, i32, LineageId) {
        (&self.topic, self.partition, self.lineage)
    }
}

/// A lineage's list while changes are taken in order.
#[derive(Debug, Clone, Default)]
pub struct ListFold {
    live: BTreeMap<(i64, crate::commit::SegmentObject), SegmentEntry>,
    removed: Vec<SegmentRef>,
}

impl ListFold {
    /// Takes the next change.
    pub fn take(&mut self, removed: &[SegmentRef], added: impl IntoIterator<Item = SegmentEntry>) {
        for reference in removed {
            if self.live.remove(&(reference.first, reference.object)).is_none() {
                self.removed.push(*reference);
            }
        }
        for entry in added {
            self.live.insert((entry.first, entry.object), entry);
        }
    }

    /// The live segments in offset order, and removals that hit nothing seen so far.
    pub fn finish(self) -> (Vec<SegmentEntry>, Vec<SegmentRef>) {
        (self.live.into_values().collect(), self.removed)
    }
}

/// The changes since the last checkpoint as one sorted change a lineage.
pub fn fold_changes<'a>(changes: impl IntoIterator<Item = &'a SegmentChange>) -> Vec<ListChange> {
    let mut folds: BTreeMap<(Topic, i32, LineageId), ListFold> = BTreeMap::new();
    for change in changes {
        let place = (change.partition.topic.clone(), change.partition.partition, change.lineage);
        folds.entry(place).or_default().take(&change.removed, change.added.iter().cloned());
    }
    let unfold = |((topic, partition, lineage), fold): (_, ListFold)| {
        let (added, removed) = fold.finish();
        ListChange { topic, partition, lineage, removed, added }
    };
    folds.into_iter().map(unfold).collect()
}

/// Cuts sorted changes into pages of at most [`SEGMENTS_A_PAGE`] segments; a long list goes on over several pages.
#[derive(Debug, Default)]
pub struct RunPages {
    page: RunPage,
    segments: usize,
}

impl RunPages {
    /// Takes the next change; gives the pages that became full.
    pub fn push(&mut self, mut change: ListChange) -> Vec<RunPage> {
        let mut full = Vec::new();
        if change.removed.is_empty() && change.added.is_empty() {
            return full;
        }
        loop {
            let size = change.removed.len() + change.added.len();
            let room = SEGMENTS_A_PAGE - self.segments;
            if size <= room {
                self.segments += size;
                self.page.changes.push(change);
                break;
            }
            let removed = change.removed.split_off(change.removed.len().min(room));
            let added = change.added.split_off(change.added.len().min(room - change.removed.len()));
            let rest = ListChange { topic: change.topic.clone(), removed, added, ..change };
            if !change.removed.is_empty() || !change.added.is_empty() {
                self.page.changes.push(change);
            }
            full.push(std::mem::take(&mut self.page));
            self.segments = 0;
            change = rest;
        }
        if self.segments >= SEGMENTS_A_PAGE {
            full.push(std::mem::take(&mut self.page));
            self.segments = 0;
        }
        full
    }

    /// The last page, where it holds anything.
    pub fn finish(self) -> Option<RunPage> {
        (!self.page.changes.is_empty()).then_some(self.page)
    }
}

/// Groups the state's topics into pages. Ranges of the checkpoint before are kept, so that a page whose partitions did
/// not change keeps its content and thereby its name: a range that became too large is cut in even parts, and small
/// neighbours are joined, but nothing ever moves on from one range into the next.
pub fn positions_pages(state: &State, before: &[PositionsRef]) -> Vec<PositionsPage> {
    let mut pages: Vec<SizedPage> = Vec::new();
    for range in ranges(state, before) {
        for page in range.cut() {
            match pages.last_mut() {
                Some(last) if last.may_join(&page) => last.join(page),
                _ => pages.push(page),
            }
        }
    }
    pages.into_iter().map(|page| page.page).collect()
}

/// The state's topics by the ranges of the pages before; what lies behind the last of them is a range of its own.
fn ranges(state: &State, before: &[PositionsRef]) -> Vec<SizedPage> {
    let mut ranges = Vec::new();
    let mut range = SizedPage::default();
    let mut ends = before.iter().map(|page| &page.last).peekable();
    for (topic, partitions) in &state.topics {
        let mut crossed = false;
        while ends.next_if(|end| *end < topic).is_some() {
            crossed = true;
        }
        if crossed {
            ranges.push(std::mem::take(&mut range));
        }
        range.push(TopicPositions { topic: topic.clone(), partitions: (**partitions).clone() });
    }
    ranges.push(range);
    ranges.retain(|range| !range.page.topics.is_empty());
    ranges
}

#[derive(Default)]
struct SizedPage {
    page: PositionsPage,
    partitions: usize,
}

impl SizedPage {
    fn push(&mut self, topic: TopicPositions) {
        self.partitions += topic.partitions.len();
        self.page.topics.push(topic);
    }

    fn cut(self) -> Vec<Self> {
        let parts = self.partitions.div_ceil(PARTITIONS_A_PAGE);
        if parts <= 1 {
            return vec![self];
        }
        let target = self.partitions.div_ceil(parts);
        let mut pages: Vec<Self> = Vec::with_capacity(parts);
        for topic in self.page.topics {
            match pages.last_mut() {
                Some(page) if page.partitions + topic.partitions.len() <= target => page.push(topic),
                _ => {
                    let mut page = Self::default();
                    page.push(topic);
                    pages.push(page);
                }
            }
        }
        pages
    }

    fn may_join(&self, next: &Self) -> bool {
        let small = PARTITIONS_A_PAGE / 4;
        (self.partitions <= small || next.partitions <= small)
            && self.partitions + next.partitions <= PARTITIONS_A_PAGE
    }

    fn join(&mut self, next: Self) {
        self.partitions += next.partitions;
        self.page.topics.extend(next.page.topics);
    }
}

impl Root {
    /// The state that the root and its positions pages tell, without segment lists.
    ///
    /// # Errors
    /// None today; room for checks between pages.
    pub fn state(&self, pages: Vec<PositionsPage>) -> Result<State> {
        let mut state = State {
            seq: self.seq,
            head: Some(self.head),
            checkpoint: self.checkpoint,
            writer: self.writer,
            retired: self.retired.clone().into(),
            schemas: self.schemas.clone(),
            groups: self.groups.clone(),
            cluster: self.cluster.clone(),
            dropped: self.dropped.clone().into(),
            ..State::default()
        };
        for topic in pages.into_iter().flat_map(|page| page.topics) {
            state.topics.insert(topic.topic, topic.partitions.into());
        }
        Ok(state)
    }
}
