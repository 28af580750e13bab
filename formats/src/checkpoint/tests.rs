use super::*;
use crate::commit::{Commit, Fork, Gap, GapReason, Lineage, LineageReason, Op, SegmentObject};
use crate::document::{self, DocumentKind};
use crate::ids::{OffsetRange, TopicId};
use crate::sample::entry;
use crate::state::PartitionState;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::HashMap;
use std::sync::Arc;

const ME: Incarnation = Incarnation(0xa);

/// Checkpoints in memory, as a writer makes them in a store.
#[derive(Default)]
struct Archive {
    pages: HashMap<Hash, Vec<u8>>,
    root: Option<Root>,
}

impl Archive {
    fn put(&mut self, seq: u64, page: &impl Serialize) -> PageRef {
        let stored = document::seal(DocumentKind::Page, page).unwrap();
        let blake3 = Hash::of(&stored);
        self.pages.insert(blake3, stored);
        PageRef { seq, blake3 }
    }

    fn get<T: serde::de::DeserializeOwned>(&self, page: PageRef) -> T {
        document::open(DocumentKind::Page, &self.pages[&page.blake3]).unwrap()
    }

    fn run(&mut self, seq: u64, level: u32, changes: Vec<ListChange>) -> RunRef {
        let (mut pages, mut full) = (RunPages::default(), Vec::new());
        let segments = changes.iter().map(|change| change.added.len() as u64).sum();
        changes.into_iter().for_each(|change| full.extend(pages.push(change)));
        full.extend(pages.finish());
        let place = |change: &ListChange| TopicPartition::new(change.topic.clone(), change.partition);
        let mut index = RunIndex::default();
        for page in full {
            let (first, last) = (place(&page.changes[0]), place(&page.changes[page.changes.len() - 1]));
            index.pages.push(RunPageRef { first, last, page: self.put(seq, &page) });
        }
        RunRef { level, segments, scanned: None, index: self.put(seq, &index) }
    }

    fn changes(&self, run: &RunRef) -> Vec<ListChange> {
        let index: RunIndex = self.get(run.index);
        index.pages.iter().flat_map(|page| self.get::<RunPage>(page.page).changes).collect()
    }

    fn checkpoint(&mut self, state: &mut State) {
        let (before, mut runs) =
            self.root.take().map_or_else(Default::default, |root| (root.positions, root.runs));
        let mut positions = Vec::new();
        for page in positions_pages(state, &before) {
            let (first, last) =
                (page.topics[0].topic.clone(), page.topics[page.topics.len() - 1].topic.clone());
            let partitions = page.topics.iter().map(|topic| topic.partitions.len() as u64).sum();
            positions.push(PositionsRef { first, last, partitions, page: self.put(state.seq, &page) });
        }
        let changes = fold_changes(state.changes.iter().flat_map(|changes| changes.iter()));
        runs.push(self.run(state.seq, 0, changes));
        // As a writer does, with a smaller fan-out so that short histories have levels.
        while runs.len() >= 3
            && runs[runs.len() - 3..].iter().all(|run| run.level == runs[runs.len() - 1].level)
        {
            let from = runs.len() - 3;
            let mut folds: BTreeMap<(Topic, i32, LineageId), ListFold> = BTreeMap::new();
            for change in runs[from..].iter().flat_map(|run| self.changes(run)) {
                let place = (change.topic, change.partition, change.lineage);
                folds.entry(place).or_default().take(&change.removed, change.added);
            }
            let merged = folds.into_iter().map(|((topic, partition, lineage), fold)| {
                let (added, removed) = fold.finish();
                ListChange { topic, partition, lineage, removed, added }
            });
            let run = self.run(state.seq, runs[from].level + 1, merged.collect());
            runs.truncate(from);
            runs.push(run);
        }
        let root = Root {
            seq: state.seq,
            head: state.head_hash(),
            checkpoint: state.checkpoint,
            writer: state.writer,
            retired: (*state.retired).clone(),
            schemas: state.schemas.clone(),
            groups: state.groups.clone(),
            cluster: state.cluster.clone(),
            dropped: (*state.dropped).clone(),
            positions,
            runs,
            extra: Map::new(),
        };
        let stored = document::seal(DocumentKind::Checkpoint, &root).unwrap();
        self.root = Some(document::open(DocumentKind::Checkpoint, &stored).unwrap());
        state.changes.clear();
    }

    /// What a reader that begins at the checkpoint knows.
    fn open(&self) -> State {
        let Some(root) = &self.root else { return State::default() };
        root.state(root.positions.iter().map(|positions| self.get(positions.page)).collect()).unwrap()
    }

    fn list(&self, state: &State, place: &TopicPartition, lineage: LineageId) -> Vec<SegmentEntry> {
        let mut fold = ListFold::default();
        for run in self.root.iter().flat_map(|root| &root.runs) {
            let of = |change: &ListChange| change.place() == (&place.topic, place.partition, lineage);
            for change in self.changes(run).into_iter().filter(of) {
                fold.take(&change.removed, change.added);
            }
        }
        for change in state.changes.iter().flat_map(|changes| changes.iter()) {
            if change.partition == *place && change.lineage == lineage {
                fold.take(&change.removed, change.added.iter().cloned());
            }
        }
        let (live, left) = fold.finish();
        assert!(left.is_empty(), "a removal that hits nothing");
        live
    }

    fn apply(&self, state: &mut State, commit: &Commit, hash: Hash) {
        let needed = state.lists_needed(commit);
        for (place, lineage) in &needed {
            let list = self.list(state, place, *lineage);
            state.load_list(place, *lineage, list).unwrap();
        }
        state.apply(commit, hash).unwrap();
        needed.iter().for_each(|(place, lineage)| state.unload_list(place, *lineage));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add(usize, u8),
    Gap(usize),
    Merge(usize, Index),
    Drop(usize, Index),
    Fork(usize, Index),
    Checkpoint,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = 0usize..6;
    let step = prop_oneof![
        5 => (place.clone(), 1u8..4).prop_map(|(place, n)| Step::Add(place, n)),
        1 => place.clone().prop_map(Step::Gap),
        2 => (place.clone(), any::<Index>()).prop_map(|(place, at)| Step::Merge(place, at)),
        2 => (place.clone(), any::<Index>()).prop_map(|(place, at)| Step::Drop(place, at)),
        1 => (place, any::<Index>()).prop_map(|(place, at)| Step::Fork(place, at)),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..60)
}

/// Turns steps into commits that the state admits, by looking at the state that keeps every list.
#[derive(Default)]
struct Writer {
    counter: u32,
}

impl Writer {
    fn object(&mut self) -> SegmentObject {
        self.counter += 1;
        if self.counter.is_multiple_of(5) {
            SegmentObject::Pack(ME, self.counter / 10)
        } else {
            SegmentObject::Own(ME, self.counter)
        }
    }

    fn ops(&mut self, state: &State, step: &Step) -> Vec<Op> {
        let (Step::Add(n, _) | Step::Gap(n) | Step::Merge(n, _) | Step::Drop(n, _) | Step::Fork(n, _)) = step
        else {
            return vec![];
        };
        let (topic, partition) = (Topic::new(["a", "b", "c"][n / 2]).unwrap(), (n % 2) as i32);
        let begin = |lineage, start, reason, fork| {
            let (topic, cluster_id, topic_id) = (topic.clone(), "c".to_owned(), TopicId::default());
            let after =
                state.partition(&topic, partition).and_then(|p| p.current()).map(|current| current.id);
            Op::Lineage(Lineage {
                topic,
                partition,
                lineage,
                after,
                cluster_id,
                topic_id,
                start,
                reason,
                fork,
            })
        };
        let Some(histories) = state.partition(&topic, partition) else {
            return vec![begin(LineageId(1), 0, LineageReason::First, None)];
        };
        let current = histories.current().unwrap();
        // Removals may hit superseded lineages too.
        let chosen = match step {
            Step::Merge(_, at) | Step::Drop(_, at) => &histories.lineages[at.index(histories.lineages.len())],
            _ => current,
        };
        let (lineage, list) = (chosen.id, chosen.segments.as_ref().unwrap());
        match step {
            Step::Add(_, n) => {
                let cuts: Vec<i64> = (0..=i64::from(*n)).map(|i| current.next + i * 2).collect();
                let segments =
                    cuts.windows(2).map(|c| entry(OffsetRange::new(c[0], c[1]), self.object())).collect();
                vec![Op::Add { topic, partition, lineage, segments }]
            }
            Step::Gap(_) => {
                let gap = Gap { first: current.next, end: current.next + 3, reason: GapReason::Retention };
                vec![Op::Gap { topic, partition, lineage, gap }]
            }
            Step::Fork(_, at) => {
                let offset = current.start + at.index((current.next - current.start) as usize + 1) as i64;
                let fork = Fork { parent: lineage, offset, epoch: 1 };
                let next = LineageId(histories.lineages.len() as u64 + 1);
                vec![begin(next, offset, LineageReason::Truncated, Some(fork))]
            }
            _ if list.is_empty() => vec![],
            Step::Drop(_, at) => {
                let removed = vec![list[at.index(list.len())].reference()];
                vec![Op::Drop { topic, partition, lineage, removed }]
            }
            Step::Merge(_, at) => {
                let first = at.index(list.len());
                let mut last = first;
                while last + 1 < list.len() && last < first + 3 && list[last].end == list[last + 1].first {
                    last += 1;
                }
                let range = OffsetRange::new(list[first].first, list[last].end);
                let removed = list[first..=last].iter().map(SegmentEntry::reference).collect();
                let added = vec![entry(range, self.object())];
                vec![Op::Replace { topic, partition, lineage, removed, added }]
            }
            Step::Checkpoint | Step::Reopen => vec![],
        }
    }
}

fn without_lists(state: &State) -> Vec<(TopicPartition, PartitionState)> {
    let strip = |(place, partition): (TopicPartition, &PartitionState)| {
        let mut partition = partition.clone();
        partition.lineages.iter_mut().for_each(|lineage| lineage.segments = None);
        (place, partition)
    };
    state.partitions().map(strip).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A reader with checkpoints, runs and lists on demand, and one that keeps everything, know the same.
    #[test]
    fn a_state_from_checkpoints_is_the_state_from_all_commits(steps in steps()) {
        let (mut full, mut slim) = (State::with_lists(), State::default());
        let (mut archive, mut writer, mut since) = (Archive::default(), Writer::default(), Vec::new());
        for step in &steps {
            match step {
                Step::Checkpoint => {
                    archive.checkpoint(&mut slim);
                    since.clear();
                }
                Step::Reopen => {
                    slim = archive.open();
                    for (commit, hash) in &since {
                        archive.apply(&mut slim, commit, *hash);
                    }
                }
                _ => {
                    let (seq, previous) = (full.seq + 1, full.head_hash());
                    let ops = writer.ops(&full, step);
                    let (software, extra) = (String::new(), Map::new());
                    let commit = Commit { seq, previous, incarnation: ME, time_ms: 0, software, checkpoint: None, ops, extra };
                    let hash = Hash::of(&commit.encode().unwrap());
                    full.apply(&commit, hash).unwrap();
                    archive.apply(&mut slim, &commit, hash);
                    since.push((commit, hash));
                }
            }
            prop_assert_eq!((slim.seq, slim.head_hash()), (full.seq, full.head_hash()));
            prop_assert_eq!(&slim.dropped, &full.dropped);
        }
        prop_assert_eq!(without_lists(&slim), without_lists(&full));
        for (place, partition) in full.partitions() {
            for lineage in &partition.lineages {
                let list = archive.list(&slim, &place, lineage.id);
                prop_assert_eq!(&list, &**lineage.segments.as_ref().unwrap());
                slim.load_list(&place, lineage.id, list.clone()).unwrap();
                // Nothing between start and position is unexplained or told twice.
                let mut ranges: Vec<_> = list.iter().map(SegmentEntry::range).collect();
                ranges.extend(lineage.gaps.iter().map(Gap::range));
                ranges.sort_unstable();
                let end = ranges.iter().try_fold(lineage.start, |at, range| (range.first == at).then_some(range.end));
                prop_assert_eq!(end, Some(lineage.next));
            }
        }
    }

    #[test]
    fn pages_of_any_changes_add_up_and_are_bounded(sizes in vec((0usize..3000, 0usize..5000), 0..8)) {
        let reference = |n: usize| SegmentRef { first: n as i64, end: n as i64 + 1, object: SegmentObject::Own(ME, n as u32) };
        let template = entry(OffsetRange::new(0, 1), SegmentObject::Own(ME, 0));
        let added = |n: usize| SegmentEntry { first: n as i64, end: n as i64 + 1, object: SegmentObject::Own(ME, n as u32), ..template.clone() };
        let change = |(at, &(removed, more)): (usize, &(usize, usize))| ListChange {
            topic: Topic::new("t").unwrap(),
            partition: at as i32,
            lineage: LineageId(1),
            removed: (0..removed).map(reference).collect(),
            added: (removed..removed + more).map(added).collect(),
        };
        let changes: Vec<ListChange> = sizes.iter().enumerate().map(change).collect();
        let (mut pages, mut out) = (RunPages::default(), Vec::new());
        changes.iter().for_each(|change| out.extend(pages.push(change.clone())));
        out.extend(pages.finish());
        let count = |page: &RunPage| page.changes.iter().map(|c| c.removed.len() + c.added.len()).sum::<usize>();
        let total: usize = sizes.iter().map(|(removed, added)| removed + added).sum();
        prop_assert_eq!(out.len(), total.div_ceil(SEGMENTS_A_PAGE));
        prop_assert!(out.iter().rev().skip(1).all(|page| count(page) == SEGMENTS_A_PAGE));
        let mut joined: Vec<ListChange> = Vec::new();
        for change in out.into_iter().flat_map(|page| page.changes) {
            prop_assert!(!change.removed.is_empty() || !change.added.is_empty());
            match joined.last_mut() {
                Some(last) if last.place() == change.place() => {
                    // Whatever a lineage loses comes before what it gets, over all its pages.
                    prop_assert!(last.added.is_empty() || change.removed.is_empty());
                    last.removed.extend(change.removed);
                    last.added.extend(change.added);
                }
                _ => joined.push(change),
            }
        }
        let expected: Vec<ListChange> = changes.into_iter().filter(|c| !c.removed.is_empty() || !c.added.is_empty()).collect();
        prop_assert!(joined == expected, "the pages do not add up");
    }

    #[test]
    fn pages_of_positions_are_bounded_stable_and_change_alone(
        sizes in vec(1i32..60, 0..120),
        new in vec((any::<Index>(), 1i32..300), 0..6),
    ) {
        let mut state = State::default();
        for (n, &partitions) in sizes.iter().enumerate() {
            set(&mut state, &format!("t{n:03}"), partitions);
        }
        let before = positions_pages(&state, &[]);
        let refs = references(&before);
        prop_assert_eq!(&positions_pages(&state, &refs), &before, "nothing changed");
        let mut touched = BTreeSet::new();
        for (at, partitions) in &new {
            let at = at.index(sizes.len() + 1);
            set(&mut state, &format!("t{at:03}-new"), *partitions);
            touched.insert(at);
        }
        let after = positions_pages(&state, &refs);
        let kept = before.iter().filter(|page| after.contains(page)).count();
        // A new topic falls into one page; that page, and a small neighbour that joins, are all that change.
        prop_assert!(kept + 3 * touched.len() >= before.len(), "{kept} of {} pages kept", before.len());
        let topics: Vec<&Topic> = after.iter().flat_map(|page| &page.topics).map(|topic| &topic.topic).collect();
        prop_assert!(topics.iter().copied().eq(state.topics.keys()), "every topic once, in order");
        for page in &after {
            let partitions: usize = page.topics.iter().map(|topic| topic.partitions.len()).sum();
            prop_assert!(partitions <= PARTITIONS_A_PAGE || page.topics.len() == 1);
        }
        prop_assert_eq!(&positions_pages(&state, &references(&after)), &after);
    }
}

fn set(state: &mut State, topic: &str, partitions: i32) {
    let partitions: TopicState = (0..partitions).map(|number| (number, PartitionState::default())).collect();
    state.topics.insert(Topic::new(topic).unwrap(), Arc::new(partitions));
}

fn references(pages: &[PositionsPage]) -> Vec<PositionsRef> {
    let page = PageRef { seq: 1, blake3: Hash::ZERO };
    let reference = |positions: &PositionsPage| PositionsRef {
        first: positions.topics[0].topic.clone(),
        last: positions.topics[positions.topics.len() - 1].topic.clone(),
        partitions: positions.topics.iter().map(|topic| topic.partitions.len() as u64).sum(),
        page,
    };
    pages.iter().map(reference).collect()
}

#[test]
fn a_page_keeps_its_bytes_while_another_topic_changes() {
    let mut state = State::default();
    for n in 0..3000 {
        set(&mut state, &format!("t{n:04}"), 1);
    }
    let before = positions_pages(&state, &[]);
    assert_eq!(before.len(), 6);
    let bytes = |pages: &[PositionsPage]| -> Vec<Vec<u8>> {
        pages.iter().map(|page| document::seal(DocumentKind::Page, page).unwrap()).collect()
    };
    set(&mut state, "t1700", 2);
    let after = positions_pages(&state, &references(&before));
    let changed = bytes(&before).iter().zip(bytes(&after)).filter(|(a, b)| *a != b).count();
    assert_eq!((after.len(), changed), (6, 1));
    // A page that outgrows its bound is cut in two; its neighbours stay as they are, however full.
    for n in 0..40 {
        set(&mut state, &format!("t1700-{n}"), 1);
    }
    let after = positions_pages(&state, &references(&before));
    let kept = before.iter().filter(|page| after.contains(page)).count();
    assert_eq!((after.len(), kept), (7, 5));
}

#[test]
fn a_fold_leaves_what_lives_and_what_older_runs_must_lose() {
    let (a, b, c) = (SegmentObject::Own(ME, 1), SegmentObject::Own(ME, 2), SegmentObject::Pack(ME, 3));
    let segment = |first, object| entry(OffsetRange::new(first, first + 5), object);
    let (old, x, y, z) = (segment(0, a), segment(5, b), segment(10, c), segment(5, c));
    let mut fold = ListFold::default();
    fold.take(&[], [y.clone(), x.clone()]);
    fold.take(&[old.reference(), x.reference()], [z.clone()]);
    let (live, left) = fold.finish();
    assert_eq!((live, left), (vec![z.clone(), y.clone()], vec![old.reference()]));

    let change = |topic: &str, partition, lineage, removed, added| SegmentChange {
        seq: 1,
        partition: TopicPartition::new(Topic::new(topic).unwrap(), partition),
        lineage: LineageId(lineage),
        removed,
        added,
    };
    let changes = [
        change("b", 0, 1, vec![], vec![x.clone()]),
        change("a", 1, 1, vec![], vec![y.clone()]),
        change("b", 0, 1, vec![x.reference(), old.reference()], vec![z.clone()]),
        change("a", 0, 2, vec![], vec![y.clone()]),
        change("a", 0, 1, vec![y.reference()], vec![]),
    ];
    let folded = fold_changes(&changes);
    let places: Vec<_> = folded.iter().map(|c| (c.topic.as_str(), c.partition, c.lineage.0)).collect();
    assert_eq!(places, [("a", 0, 1), ("a", 0, 2), ("a", 1, 1), ("b", 0, 1)]);
    assert_eq!((&folded[0].removed, &folded[0].added), (&vec![y.reference()], &vec![]));
    assert_eq!((&folded[3].removed, &folded[3].added), (&vec![old.reference()], &vec![z]));
}

#[test]
fn a_root_keeps_what_it_does_not_know_and_leaves_out_what_it_does_not_have() {
    let text = serde_json::json!({
        "seq": 5, "head": Hash::ZERO, "schemas": [{"key": "schema-registry/x", "length": 3, "blake3": Hash::ZERO}, 4],
        "dropped": {"packs/x": 3}, "retired": ["000000000000000a"], "positions": [], "runs": [], "later": {"a": [1]},
    });
    let stored = document::seal(DocumentKind::Checkpoint, &text).unwrap();
    let root: Root = document::open(DocumentKind::Checkpoint, &stored).unwrap();
    assert_eq!(serde_json::to_value(&root).unwrap(), text);
    let state = root.state(vec![]).unwrap();
    assert_eq!((state.seq, state.head, state.retired.len()), (5, Some(Hash::ZERO), 1));
    assert_eq!(state.schemas.unwrap().1, 4);
}
