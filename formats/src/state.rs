//! What is true after a commit: how far each partition is safe, and where its segments lie.
//!
//! [`State::apply`] is the one place that decides what a commit may do. Writers call it before they put a commit,
//! readers while they read the log, so what writers may not write, readers refuse: a fork, an overlap, a hole without a
//! reason, a retired writer, a merge that loses something.
//!
//! A state may be held without segment lists (a daemon needs positions only); operations that remove segments then need
//! the lists of their partitions loaded first: see [`State::lists_needed`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::commit::{
    CheckpointRef, CodecBytes, Commit, Fork, Gap, GapReason, LastBatch, Lineage, LineageReason, ObjectRef,
    Op, SegmentEntry, SegmentObject, SegmentRef,
};
use crate::digest::BatchDigest;
use crate::hash::Hash;
use crate::ids::{Incarnation, LineageId, OffsetRange, Topic, TopicId, TopicPartition};
use crate::paths::ObjectName;
use crate::transactions::OpenTransaction;
use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// The state after a commit.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The last commit applied; 0 before the first.
    pub seq: u64,
    /// BLAKE3 of that commit's stored bytes; zeros before the first.
    pub head: Option<Hash>,
    /// The newest checkpoint that a commit named.
    pub checkpoint: Option<CheckpointRef>,
    /// The newest incarnation that said it is the writer.
    pub writer: Option<Incarnation>,
    /// Incarnations that may commit no more.
    pub retired: Arc<BTreeSet<Incarnation>>,
    /// Every topic that the backup holds.
    pub topics: BTreeMap<Topic, Arc<TopicState>>,
    /// The newest snapshot of the schemas and the commit up to which it covers the data.
    pub schemas: Option<(ObjectRef, u64)>,
    /// The newest snapshot of the consumer groups.
    pub groups: Option<ObjectRef>,
    /// The newest snapshot of the cluster's settings.
    pub cluster: Option<ObjectRef>,
    /// Keys of objects that commits removed and nobody has reported as deleted, with the commit that removed them.
    pub dropped: Arc<BTreeMap<String, u64>>,
    /// What happened to segment lists since the newest checkpoint was made: what the next one must add.
    pub changes: Vec<Arc<Vec<SegmentChange>>>,
    /// Whether segment lists are kept from the beginning.
    pub keeps_lists: bool,
}

/// A topic's partitions by number.
pub type TopicState = BTreeMap<i32, PartitionState>;

/// The histories of a partition, the oldest first; the last is the current one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PartitionState {
    /// Never empty in a state.
    pub lineages: Vec<LineageState>,
}

impl PartitionState {
    /// The history that new data continues.
    pub fn current(&self) -> Option<&LineageState> {
        self.lineages.last()
    }

    /// A history by its id.
    pub fn lineage(&self, id: LineageId) -> Option<&LineageState> {
        self.lineages.iter().find(|lineage| lineage.id == id)
    }
}

/// One history of a partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineageState {
    /// Its id.
    pub id: LineageId,
    /// The cluster's name for itself.
    pub cluster_id: String,
    /// Kafka's id of the topic.
    pub topic_id: TopicId,
    /// Why it began.
    pub reason: LineageReason,
    /// Where it forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<Fork>,
    /// Its first offset.
    pub start: i64,
    /// Every offset from `start` to here is in a segment or in a gap. New data begins here.
    pub next: i64,
    /// The last batch, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastBatch>,
    /// Transactions open at `next`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<OpenTransaction>,
    /// Ranges that no segment holds, in offset order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// What its live segments add up to.
    pub totals: Totals,
    /// Its live segments in offset order, where they are loaded.
    #[serde(skip)]
    pub segments: Option<Arc<Vec<SegmentEntry>>>,
}

/// What segments add up to.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Segments.
    pub segments: u64,
    /// Batches.
    pub batches: u64,
    /// Control batches.
    pub control: u64,
    /// Records, control records included.
    pub records: u64,
    /// Offsets inside segments that no record holds.
    pub missing: u64,
    /// Bytes of the segments in the store.
    pub stored: u64,
    /// Bytes of the batches by the producer's codec.
    pub bytes: CodecBytes,
    /// Bytes of batches stamped by the broker.
    pub log_append_time: u64,
    /// Bytes of batches with missing offsets.
    pub holes: u64,
    /// The largest batch.
    pub largest_batch: u32,
    /// The least timestamp told by a segment, ms.
    pub min_timestamp: Option<i64>,
    /// The greatest timestamp, ms.
    pub max_timestamp: Option<i64>,
    /// The least first offset of a live segment.
    pub first_offset: Option<i64>,
}

impl Totals {
    // Saturating: an entry may claim any number of bytes, and nothing but plans and views is made from these.
    fn add(&mut self, entry: &SegmentEntry) {
        let (bytes, added) = (&mut self.bytes, &entry.bytes);
        for (total, more) in [
            (&mut self.segments, 1),
            (&mut self.batches, u64::from(entry.batches)),
            (&mut self.control, u64::from(entry.control)),
            (&mut self.records, entry.records),
            (&mut self.missing, entry.missing),
            (&mut self.stored, entry.length),
            (&mut bytes.none, added.none),
            (&mut bytes.gzip, added.gzip),
            (&mut bytes.snappy, added.snappy),
            (&mut bytes.lz4, added.lz4),
            (&mut bytes.zstd, added.zstd),
            (&mut self.log_append_time, entry.log_append_time),
            (&mut self.holes, entry.holes),
        ] {
            *total = total.saturating_add(more);
        }
        self.largest_batch = self.largest_batch.max(entry.largest_batch);
        if entry.batches > entry.control {
            self.min_timestamp =
                Some(self.min_timestamp.map_or(entry.min_timestamp, |t| t.min(entry.min_timestamp)));
            self.max_timestamp =
                Some(self.max_timestamp.map_or(entry.max_timestamp, |t| t.max(entry.max_timestamp)));
        }
        self.first_offset = Some(self.first_offset.map_or(entry.first, |o| o.min(entry.first)));
    }

    fn of(entries: &[SegmentEntry]) -> Self {
        let mut totals = Self::default();
        entries.iter().for_each(|entry| totals.add(entry));
        totals
    }
}

/// A change to a partition's segment list.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentChange {
    /// The commit that made it.
    pub seq: u64,
    /// Whose list.
    pub partition: TopicPartition,
    /// Which history.
    pub lineage: LineageId,
    /// Removed segments.
    pub removed: Vec<SegmentRef>,
    /// Added segments.
    pub added: Vec<SegmentEntry>,
}

impl SegmentChange {
    /// What an operation of commit `seq` does to a list; `None` where it touches none.
    pub fn of(seq: u64, op: &Op) -> Option<Self> {
        let (topic, partition, lineage, removed, added) = match op {
            Op::Add { topic, partition, lineage, segments } => {
                (topic, partition, lineage, [].as_slice(), segments.as_slice())
            }
            Op::Replace { topic, partition, lineage, removed, added } => {
                (topic, partition, lineage, removed.as_slice(), added.as_slice())
            }
            Op::Drop { topic, partition, lineage, removed } => {
                (topic, partition, lineage, removed.as_slice(), [].as_slice())
            }
            _ => return None,
        };
        let partition = TopicPartition::new(topic.clone(), *partition);
        Some(Self { seq, partition, lineage: *lineage, removed: removed.to_vec(), added: added.to_vec() })
    }
}

impl State {
    /// The state before the first commit, which keeps every segment list.
    pub fn with_lists() -> Self {
        Self { keeps_lists: true, ..Self::default() }
    }

    /// The hash that the next commit must carry.
    pub fn head_hash(&self) -> Hash {
        self.head.unwrap_or(Hash::ZERO)
    }

    /// A partition.
    pub fn partition(&self, topic: &Topic, partition: i32) -> Option<&PartitionState> {
        self.topics.get(topic)?.get(&partition)
    }

    /// Every partition with its topic.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicPartition, &PartitionState)> {
        self.topics.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(&number, state)| (TopicPartition::new(topic.clone(), number), state))
        })
    }

    /// The lists that must be loaded before the commit can be applied.
    pub fn lists_needed(&self, commit: &Commit) -> Vec<(TopicPartition, LineageId)> {
        let mut needed = BTreeSet::new();
        for op in &commit.ops {
            if let Op::Replace { topic, partition, lineage, .. }
            | Op::Drop { topic, partition, lineage, .. } = op
            {
                let state = self.partition(topic, *partition).and_then(|p| p.lineage(*lineage));
                if state.is_some_and(|lineage| lineage.segments.is_none()) {
                    needed.insert((TopicPartition::new(topic.clone(), *partition), *lineage));
                }
            }
        }
        needed.into_iter().collect()
    }

    /// Gives a lineage its segment list, in offset order.
    ///
    /// # Errors
    /// A lineage that the state does not have, or a list that does not add up to what the state says about it.
    pub fn load_list(
        &mut self,
        partition: &TopicPartition,
        id: LineageId,
        mut entries: Vec<SegmentEntry>,
    ) -> Result<()> {
        entries.sort_by_key(|entry| entry.first);
        let lineage = self.lineage_mut(&partition.topic, partition.partition, id)?;
        let found = Totals::of(&entries);
        let overlap = entries.windows(2).any(|pair| pair[0].end > pair[1].first);
        if found.segments != lineage.totals.segments || found.records != lineage.totals.records || overlap {
            let (found, told) = (found.segments, lineage.totals.segments);
            return Err(Error::corrupt(format!(
                "the segment list of {partition} lineage {id} has {found} segments where the checkpoint tells {told}"
            )));
        }
        lineage.segments = Some(Arc::new(entries));
        Ok(())
    }

    /// Lets go of a lineage's segment list, unless the state keeps them all.
    pub fn unload_list(&mut self, partition: &TopicPartition, id: LineageId) {
        if !self.keeps_lists
            && let Ok(lineage) = self.lineage_mut(&partition.topic, partition.partition, id)
        {
            lineage.segments = None;
        }
    }

    /// Applies a commit whose stored bytes have this hash.
    ///
    /// # Errors
    /// What the state does not admit, in words that name the partition and both sides. The state is then unusable: a
    /// writer checks on a clone (cheap: topics are shared until they change).
    pub fn apply(&mut self, commit: &Commit, hash: Hash) -> Result<()> {
        let at = |e: Error| e.at(format!("commit {}", commit.seq));
        if commit.seq.checked_sub(1) != Some(self.seq) {
            return Err(at(Error::refused(format!("it does not follow commit {}", self.seq))));
        }
        if commit.previous != self.head_hash() {
            return Err(at(Error::refused(format!(
                "it follows a commit {} with hash {}, but that commit's hash is {}",
                self.seq,
                commit.previous,
                self.head_hash()
            ))
            .hint(
                "a commit was replaced or lost: run `verify` and restore the missing object from a copy",
            )));
        }
        if self.retired.contains(&commit.incarnation) {
            return Err(at(Error::refused(format!("its writer {} is retired", commit.incarnation))));
        }
        if let Some(checkpoint) = commit.checkpoint {
            let older = self.checkpoint.is_some_and(|known| known.seq > checkpoint.seq);
            if checkpoint.seq >= commit.seq {
                return Err(at(Error::refused(format!(
                    "it names checkpoint {} after itself",
                    checkpoint.seq
                ))));
            }
            if !older {
                self.checkpoint = Some(checkpoint);
            }
        }
        for op in &commit.ops {
            self.apply_op(commit, op).map_err(at)?;
        }
        for op in &commit.ops {
            if let Op::Lineage(begun) = op {
                let place = TopicPartition::new(begun.topic.clone(), begun.partition);
                self.unload_list(&place, begun.lineage);
            }
        }
        let changes: Vec<_> = commit.ops.iter().filter_map(|op| SegmentChange::of(commit.seq, op)).collect();
        if !changes.is_empty() {
            self.changes.push(Arc::new(changes));
        }
        self.seq = commit.seq;
        self.head = Some(hash);
        Ok(())
    }

    fn apply_op(&mut self, commit: &Commit, op: &Op) -> Result<()> {
        match op {
            Op::Writer => self.writer = Some(commit.incarnation),
            Op::Lineage(lineage) => self.begin(lineage)?,
            Op::Add { topic, partition, lineage, segments } => {
                let place = TopicPartition::new(topic.clone(), *partition);
                if segments.is_empty() {
                    return Err(Error::refused(format!("{place}: no segment is added")));
                }
                for entry in segments {
                    self.continue_with(commit, &place, *lineage, entry).map_err(|e| e.at(&place))?;
                }
            }
            Op::Gap { topic, partition, lineage, gap } => {
                let place = TopicPartition::new(topic.clone(), *partition);
                let current = self.current_mut(topic, *partition, *lineage).map_err(|e| e.at(&place))?;
                if gap.first != current.next || gap.range().is_empty() || gap.reason == GapReason::Pruned {
                    let message = format!(
                        "{place}: gap {} does not begin at the position {}",
                        gap.range(),
                        current.next
                    );
                    return Err(Error::refused(message));
                }
                current.next = gap.end;
                current.gaps.push(*gap);
                join_gaps(&mut current.gaps);
            }
            Op::Replace { topic, partition, lineage, removed, added } => {
                let place = TopicPartition::new(topic.clone(), *partition);
                self.replace(commit, &place, *lineage, removed, added).map_err(|e| e.at(&place))?;
            }
            Op::Drop { topic, partition, lineage, removed } => {
                let place = TopicPartition::new(topic.clone(), *partition);
                let gone = self.remove(commit.seq, &place, *lineage, removed).map_err(|e| e.at(&place))?;
                let state = self.lineage_mut(topic, *partition, *lineage)?;
                for entry in gone {
                    state.gaps.push(Gap { first: entry.first, end: entry.end, reason: GapReason::Pruned });
                }
                join_gaps(&mut state.gaps);
            }
            Op::Retire { incarnation } => {
                if *incarnation == commit.incarnation {
                    return Err(Error::refused(format!("writer {incarnation} cannot retire itself")));
                }
                Arc::make_mut(&mut self.retired).insert(*incarnation);
            }
            Op::Deleted { objects } => {
                for key in objects {
                    if let Ok(ObjectName::Pack(writer, _)) = ObjectName::parse(key)
                        && !self.retired.contains(&writer)
                    {
                        let message = format!(
                            "{key} is reported as deleted, but its writer may still add segments of it"
                        );
                        return Err(Error::refused(message).hint("retire the writer first"));
                    }
                    // Nothing may be deleted before the commit that drops it is durable.
                    if Arc::make_mut(&mut self.dropped).remove(key).is_none_or(|seq| seq >= commit.seq) {
                        let message = format!("{key} is reported as deleted but was not dropped before");
                        return Err(Error::refused(message));
                    }
                }
            }
            Op::Schemas { object, after, covers } => {
                self.continue_schemas(commit, op, object, after.as_ref(), *covers)?;
            }
            Op::Groups { object } => {
                check_snapshot(commit, op, object)?;
                self.groups = Some(object.clone());
            }
            Op::Cluster { object } => {
                check_snapshot(commit, op, object)?;
                self.cluster = Some(object.clone());
            }
        }
        Ok(())
    }

    fn continue_schemas(
        &mut self,
        commit: &Commit,
        op: &Op,
        object: &ObjectRef,
        after: Option<&String>,
        covers: u64,
    ) -> Result<()> {
        if covers >= commit.seq {
            return Err(Error::refused(format!("schemas cannot cover commit {covers} already")));
        }
        let newest = self.schemas.as_ref();
        if let Some((_, known)) = newest.filter(|(_, known)| *known > covers) {
            let message =
                format!("schemas that cover commit {covers} cannot follow those that cover {known}");
            return Err(Error::refused(message));
        }
        if newest.is_none_or(|(known, _)| known != object) {
            // A snapshot holds only what is new, so one that continued another would lose what came between.
            let newest = newest.map(|(known, _)| &known.key);
            if newest != after {
                let shown = |key: Option<&String>| key.map_or_else(|| "none".to_owned(), Clone::clone);
                return Err(Error::refused(format!(
                    "{} continues schema snapshot {}, the newest is {}",
                    object.key,
                    shown(after),
                    shown(newest)
                )));
            }
            check_snapshot(commit, op, object)?;
        }
        self.schemas = Some((object.clone(), covers));
        Ok(())
    }

    fn begin(&mut self, lineage: &Lineage) -> Result<()> {
        let place = TopicPartition::new(lineage.topic.clone(), lineage.partition);
        let topic = Arc::make_mut(self.topics.entry(lineage.topic.clone()).or_default());
        let partition = topic.entry(lineage.partition).or_default();
        if lineage.partition < 0 || lineage.start < 0 {
            return Err(Error::refused(format!(
                "{place}: a lineage cannot begin at offset {}",
                lineage.start
            )));
        }
        if partition.lineage(lineage.lineage).is_some() {
            return Err(Error::refused(format!("{place}: lineage {} is there already", lineage.lineage)));
        }
        let current = partition.current().map(|current| current.id);
        if lineage.after != current {
            // Without this a writer that slept could end a history that it never saw begin.
            let words = |id: Option<LineageId>| id.map_or("nothing".to_owned(), |id| format!("lineage {id}"));
            return Err(Error::refused(format!(
                "{place}: lineage {} follows {}, but the partition has {}",
                lineage.lineage,
                words(lineage.after),
                words(current)
            )));
        }
        let first = lineage.reason == LineageReason::First;
        // A truncated log may share nothing with what the backup has: then it has no fork.
        let truncated = lineage.reason == LineageReason::Truncated;
        if first != partition.lineages.is_empty() || (lineage.fork.is_some() && !truncated) {
            let (id, reason) = (lineage.lineage, lineage.reason);
            return Err(Error::refused(format!(
                "{place}: lineage {id} cannot begin with reason {reason:?} here"
            )));
        }
        if let Some(fork) = lineage.fork {
            let parent = partition.lineage(fork.parent);
            let fits = parent.is_some_and(|p| fork.offset <= p.next && fork.offset >= p.start);
            if !fits || fork.offset != lineage.start {
                return Err(Error::refused(format!(
                    "{place}: lineage {} cannot fork from {} at offset {}",
                    lineage.lineage, fork.parent, fork.offset
                )));
            }
        }
        partition.lineages.push(LineageState {
            id: lineage.lineage,
            cluster_id: lineage.cluster_id.clone(),
            topic_id: lineage.topic_id,
            reason: lineage.reason,
            fork: lineage.fork,
            start: lineage.start,
            next: lineage.start,
            last: None,
            open: Vec::new(),
            gaps: Vec::new(),
            totals: Totals::default(),
            // Known to be empty; let go of after the commit where lists are not kept.
            segments: Some(Arc::default()),
        });
        Ok(())
    }

    fn continue_with(
        &mut self,
        commit: &Commit,
        place: &TopicPartition,
        id: LineageId,
        entry: &SegmentEntry,
    ) -> Result<()> {
        self.check_entry(commit, place, id, entry)?;
        let current = self.current_mut(&place.topic, place.partition, id)?;
        if entry.first != current.next {
            let (range, next) = (entry.range(), current.next);
            return Err(Error::refused(format!("segment {range} does not begin at the position {next}")));
        }
        current.next = entry.end;
        current.last = entry.last.or(current.last);
        current.open = entry.open.clone();
        current.totals.add(entry);
        if let Some(list) = &mut current.segments {
            Arc::make_mut(list).push(entry.clone());
        }
        Ok(())
    }

    fn remove(
        &mut self,
        seq: u64,
        place: &TopicPartition,
        id: LineageId,
        removed: &[SegmentRef],
    ) -> Result<Vec<SegmentEntry>> {
        let lineage = self.lineage_mut(&place.topic, place.partition, id)?;
        let Some(list) = &mut lineage.segments else {
            return Err(Error::invalid(format!("the segment list of lineage {id} is not loaded")));
        };
        let list = Arc::make_mut(list);
        let mut gone = Vec::with_capacity(removed.len());
        for reference in removed {
            let at = list.binary_search_by_key(&reference.first, |entry| entry.first).ok();
            match at.filter(|&at| list[at].reference() == *reference) {
                Some(at) => gone.push(list.remove(at)),
                None => {
                    let range = OffsetRange::new(reference.first, reference.end);
                    return Err(Error::refused(format!(
                        "segment {range} in {} is not live",
                        reference.object
                    )));
                }
            }
        }
        if gone.is_empty() || gone.windows(2).any(|pair| pair[0].first >= pair[1].first) {
            return Err(Error::refused("removed segments are not in offset order"));
        }
        let totals = Totals::of(list);
        // A pack may hold other live segments; it is dropped when its last one goes, which `prune` finds out.
        lineage.totals = totals;
        let dropped = Arc::make_mut(&mut self.dropped);
        for entry in &gone {
            dropped.insert(entry.key(place, id), seq);
        }
        Ok(gone)
    }

    fn replace(
        &mut self,
        commit: &Commit,
        place: &TopicPartition,
        id: LineageId,
        removed: &[SegmentRef],
        added: &[SegmentEntry],
    ) -> Result<()> {
        let gone = self.remove(commit.seq, place, id, removed)?;
        let (Some(range), Some(new)) = (chain(&gone), chain(added)) else {
            return Err(Error::refused(
                "a replacement needs segments that continue each other on both sides",
            ));
        };
        for entry in added {
            self.check_entry(commit, place, id, entry)?;
        }
        let records = |entries: &[SegmentEntry]| entries.iter().map(|entry| entry.records).sum::<u64>();
        if range != new || records(&gone) != records(added) || !same_content(&gone, added) {
            return Err(Error::refused(format!(
                "the replacement {new} does not hold exactly what {range} holds"
            )));
        }
        let lineage = self.lineage_mut(&place.topic, place.partition, id)?;
        if let Some(list) = &mut lineage.segments {
            let list = Arc::make_mut(list);
            let at = list.partition_point(|entry| entry.first < new.first);
            list.splice(at..at, added.iter().cloned());
            lineage.totals = Totals::of(list);
        }
        Ok(())
    }

    fn check_entry(
        &self,
        commit: &Commit,
        place: &TopicPartition,
        id: LineageId,
        entry: &SegmentEntry,
    ) -> Result<()> {
        let range = entry.range();
        let full = entry.records.checked_add(entry.missing) == Some(range.len());
        let last = entry.last.is_none_or(|last| range.contains(last.offset));
        let end = entry.position.checked_add(entry.length);
        if range.is_empty() || range.first < 0 || !full || !last || entry.length == 0 || end.is_none() {
            return Err(Error::refused(format!("the entry of segment {range} contradicts itself")));
        }
        if entry.object.incarnation() != commit.incarnation {
            let message = format!("segment {range} lies in {}, an object of another writer", entry.object);
            return Err(Error::refused(message));
        }
        // A pack may have lost one segment and get the entry of another; an object of its own is gone for good.
        let own = matches!(entry.object, SegmentObject::Own(..));
        if own && self.dropped.contains_key(&entry.key(place, id)) {
            return Err(Error::refused(format!(
                "segment {range} lies in {}, which was dropped",
                entry.object
            )));
        }
        Ok(())
    }

    fn lineage_mut(&mut self, topic: &Topic, partition: i32, id: LineageId) -> Result<&mut LineageState> {
        let unknown = || Error::refused(format!("{topic}-{partition} has no lineage {id}"));
        let topic_state = self.topics.get_mut(topic).ok_or_else(unknown)?;
        let state = Arc::make_mut(topic_state).get_mut(&partition).ok_or_else(unknown)?;
        state.lineages.iter_mut().find(|lineage| lineage.id == id).ok_or_else(unknown)
    }

    fn current_mut(&mut self, topic: &Topic, partition: i32, id: LineageId) -> Result<&mut LineageState> {
        let current =
            self.partition(topic, partition).and_then(PartitionState::current).map(|lineage| lineage.id);
        match current {
            Some(current) if current == id => self.lineage_mut(topic, partition, id),
            Some(current) => Err(Error::refused(format!("lineage {id} was superseded by {current}"))),
            None => Err(Error::refused(format!("there is no lineage {id}"))),
        }
    }
}

/// Joins neighbours of one reason: retention drops segments for ever, and each would leave a gap.
fn join_gaps(gaps: &mut Vec<Gap>) {
    gaps.sort_by_key(|gap| gap.first);
    gaps.dedup_by(|next, gap| {
        let joined = gap.reason == next.reason && gap.end == next.first;
        if joined {
            gap.end = next.end;
        }
        joined
    });
}

/// A snapshot lies where its kind belongs, and is the writer's own: others' may be deleted as orphans.
fn check_snapshot(commit: &Commit, op: &Op, object: &ObjectRef) -> Result<()> {
    let fits = match (op, ObjectName::parse(&object.key)) {
        (Op::Schemas { .. }, Ok(ObjectName::SchemaSnapshot(_, incarnation)))
        | (Op::Groups { .. }, Ok(ObjectName::Groups(_, incarnation)))
        | (Op::Cluster { .. }, Ok(ObjectName::Cluster(_, incarnation))) => incarnation == commit.incarnation,
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(Error::refused(format!("{} is no snapshot that this commit may name", object.key)))
    }
}

/// The range of segments that continue each other.
fn chain(entries: &[SegmentEntry]) -> Option<OffsetRange> {
    let unbroken = entries.windows(2).all(|pair| pair[0].end == pair[1].first);
    let range = OffsetRange::new(entries.first()?.first, entries.last()?.end);
    unbroken.then_some(range)
}

fn same_content(old: &[SegmentEntry], new: &[SegmentEntry]) -> bool {
    let batches = |entries: &[SegmentEntry]| {
        entries.iter().fold(BatchDigest::default(), |digest, entry| digest.combine(entry.batch_digest))
    };
    if batches(old) == batches(new) {
        return true;
    }
    let content = |entries: &[SegmentEntry]| {
        let mut digests = entries.iter().map(|entry| entry.content_digest);
        let first = digests.next()??;
        digests.try_fold(first, |digest, next| Some(digest.combine(next?)))
    };
    content(old).is_some_and(|digest| content(new) == Some(digest))
}
