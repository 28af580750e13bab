use super::*;
use crate::ids::{LineageId, OffsetRange, Topic, TopicPartition};
use crate::sample::{Log, marker};
use crate::segment::{
    FrameCompression, SegmentEncoder, SegmentIdentity, SegmentIndex, SegmentInput, TAIL, read_tail,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const PRODUCERS: i64 = 6;

/// What a producer does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Send(i64),
    Plain(i64),
    Commit(i64),
    Abort(i64),
    /// The coordinator times the transaction out: it aborts with the next epoch (KIP-360).
    Fence(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let producer = 0..PRODUCERS;
    let step = (0u8..9, producer).prop_map(|(what, id)| match what {
        0..=3 => Step::Send(id),
        4 => Step::Plain(id),
        5 | 6 => Step::Commit(id),
        7 => Step::Abort(id),
        _ => Step::Fence(id),
    });
    vec(step, 0..60)
}

/// A batch of the log with what became of it, as the oracle knows from the steps.
struct Entry {
    bytes: Vec<u8>,
    offset: i64,
    fate: Option<Fate>,
}

struct Made {
    log: Vec<Entry>,
    /// What a broker's index of aborted transactions holds: producer, first offset, offset of the marker.
    aborted: Vec<(i64, i64, i64)>,
    end: i64,
}

/// Plays the steps. `removed` says which data batches of finished transactions the cleaner takes; markers stay.
fn play(steps: &[Step], removed: &[bool]) -> Made {
    let mut made = Made { log: Vec::new(), aborted: Vec::new(), end: 0 };
    let mut epochs = [0i16; PRODUCERS as usize];
    let mut open: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    let mut ended = Vec::new();
    for &step in steps {
        let offset = made.end;
        let push = |made: &mut Made, bytes: Vec<u8>, fate| {
            made.end = RecordBatch::parse(&bytes).unwrap().next_offset();
            made.log.push(Entry { bytes, offset, fate });
        };
        match step {
            Step::Plain(id) => {
                // An idempotent producer outside of a transaction has an id too; it is not the transactional one.
                let mut batch = Log::transactional(offset, 100 + id, 0, &[b"plain"]);
                batch.bits = 0;
                push(&mut made, batch.bytes(), Some(Fate::Plain));
            }
            Step::Send(id) => {
                let values: &[&[u8]] = &[b"a", b"b", b"c"];
                let batch =
                    Log::transactional(offset, id, epochs[id as usize], &values[..1 + offset as usize % 3]);
                open.entry(id).or_default().push(made.log.len());
                push(&mut made, batch.bytes(), None);
            }
            Step::Commit(id) | Step::Abort(id) | Step::Fence(id) => {
                let committed = matches!(step, Step::Commit(_));
                if matches!(step, Step::Fence(_)) {
                    epochs[id as usize] += 1;
                }
                // A marker without data is legal: the transaction wrote to other partitions only.
                push(
                    &mut made,
                    marker(offset, id, epochs[id as usize], committed, offset),
                    Some(Fate::Control),
                );
                if let Some(data) = open.remove(&id) {
                    if !committed {
                        made.aborted.push((id, made.log[data[0]].offset, offset));
                    }
                    for &at in &data {
                        made.log[at].fate = Some(if committed { Fate::Committed } else { Fate::Aborted });
                    }
                    ended.extend(data);
                }
            }
        }
    }
    let gone: BTreeSet<usize> =
        ended.into_iter().zip(removed.iter().cycle()).filter(|(_, gone)| **gone).map(|(at, _)| at).collect();
    let mut at = 0;
    made.log.retain(|_| {
        at += 1;
        !gone.contains(&(at - 1))
    });
    made
}

impl Made {
    /// The last stable offset: what a read_committed fetch ends before.
    fn stable(&self) -> i64 {
        self.log.iter().find(|entry| entry.fate.is_none()).map_or(self.end, |entry| entry.offset)
    }

    /// What a read_committed fetch of these offsets lists: transactions that overlap them, as Kafka's index has them.
    fn listed(&self, range: OffsetRange) -> Vec<AbortedTransaction> {
        let overlaps = |&&(_, first, last): &&(i64, i64, i64)| first < range.end && last >= range.first;
        let entry = |&(producer_id, first_offset, _): &_| AbortedTransaction { producer_id, first_offset };
        self.aborted.iter().filter(overlaps).map(entry).collect()
    }
}

fn segment(
    range: OffsetRange,
    listed: bool,
    batches: &[&Entry],
    transactions: SegmentTransactions,
) -> Vec<u8> {
    let identity = SegmentIdentity {
        partition: TopicPartition::new(Topic::new("t").unwrap(), 0),
        lineage: LineageId(1),
        range,
        aborted_listed: listed,
    };
    let runs = batches.iter().map(|entry| entry.bytes.clone().into()).collect();
    let input = SegmentInput { identity, runs, transactions };
    SegmentEncoder::new(FrameCompression::None).encode(input).unwrap().parts.concat()
}

fn index(bytes: &[u8]) -> SegmentIndex {
    let tail = read_tail(bytes, bytes.len() as u64).unwrap();
    let at = tail.index_position as usize;
    SegmentIndex::decode(&bytes[at..bytes.len() - TAIL], tail.index_position).unwrap()
}

/// The rule of FORMAT.md for segments with the broker's list, written from the page.
fn fates_by_list(batches: &[&Entry], aborted: &[AbortedTransaction]) -> Vec<Fate> {
    let mut waiting = aborted.to_vec();
    let mut active = BTreeSet::new();
    let mut fates = Vec::new();
    for entry in batches {
        let batch = RecordBatch::parse(&entry.bytes).unwrap();
        waiting.retain(|listed| {
            let due = listed.first_offset <= batch.last_offset();
            if due {
                active.insert(listed.producer_id);
            }
            !due
        });
        fates.push(if batch.attributes().control() {
            if read_marker(&batch).unwrap().is_some_and(|marker| !marker.committed) {
                active.remove(&batch.producer_id());
            }
            Fate::Control
        } else if !batch.attributes().transactional() {
            Fate::Plain
        } else if active.contains(&batch.producer_id()) {
            Fate::Aborted
        } else {
            Fate::Committed
        });
    }
    fates
}

/// The other rule: the next marker of the same producer decides; `None` where there is none.
fn fate_by_marker(entry: &Entry, markers: &[Marker]) -> Option<Fate> {
    let batch = RecordBatch::parse(&entry.bytes).unwrap();
    if batch.attributes().control() {
        return Some(Fate::Control);
    }
    if !batch.attributes().transactional() {
        return Some(Fate::Plain);
    }
    let next =
        markers.iter().find(|m| m.producer_id == batch.producer_id() && m.offset > batch.base_offset());
    next.map(|marker| if marker.committed { Fate::Committed } else { Fate::Aborted })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A daemon that reads committed data in fetches of random sizes, cuts segments anywhere and starts anew now and
    /// then: every segment alone tells the fates right.
    #[test]
    fn every_segment_alone_tells_the_fates_of_its_batches(
        steps in steps(),
        removed in vec(any::<bool>(), 1..20),
        cuts in vec((any::<Index>(), any::<bool>()), 0..6),
        fetch in 1usize..9,
    ) {
        let made = play(&steps, &removed);
        let stable = made.stable();
        let log: Vec<&Entry> = made.log.iter().filter(|entry| entry.offset < stable).collect();
        let mut cuts: BTreeMap<usize, bool> = cuts.into_iter().map(|(cut, anew)| (cut.index(log.len() + 1), anew)).collect();
        cuts.insert(log.len(), false);
        let (mut tracker, mut from) = (TransactionTracker::default(), 0);
        let mut first = 0;
        for (to, anew) in cuts {
            if to == from {
                continue;
            }
            let end = if to == log.len() { stable } else { RecordBatch::parse(&log[to - 1].bytes).unwrap().next_offset() };
            let mut seen = Vec::new();
            for fetched in log[from..to].chunks(fetch) {
                // A broker lists by the offsets that it might have sent, so further than what it did send.
                let position = seen.last().map_or(first, |&(next, _)| next);
                let far = fetched[fetched.len() - 1].offset + 4;
                tracker.list_aborted(made.listed(OffsetRange::new(position, far)));
                for entry in fetched {
                    let batch = RecordBatch::parse(&entry.bytes).unwrap();
                    seen.push((batch.next_offset(), tracker.observe(&batch).unwrap()));
                }
            }
            let range = OffsetRange::new(first, end);
            let bytes = segment(range, true, &log[from..to], tracker.end_segment());
            let index = index(&bytes);
            let oracle: Vec<Fate> = log[from..to].iter().map(|entry| entry.fate.unwrap()).collect();
            let told: Vec<Fate> = seen.iter().map(|&(_, fate)| fate).collect();
            prop_assert_eq!(&told, &oracle);
            prop_assert_eq!(fates_by_list(&log[from..to], &index.transactions.aborted), oracle);
            // Exactly the broker's list for these batches: an entry counts once a batch reaches its first offset.
            let reach = RecordBatch::parse(&log[to - 1].bytes).unwrap().last_offset() + 1;
            let mut listed: Vec<_> = made.listed(OffsetRange::new(first, reach));
            listed.sort_unstable();
            prop_assert_eq!(&index.transactions.aborted, &listed);
            // What is open at the end: data seen, no marker yet.
            let mut expected = BTreeMap::new();
            for entry in &log[..to] {
                let batch = RecordBatch::parse(&entry.bytes).unwrap();
                if batch.attributes().control() {
                    expected.remove(&batch.producer_id());
                } else if batch.attributes().transactional() {
                    expected.entry(batch.producer_id()).or_insert((batch.producer_epoch(), entry.offset));
                }
            }
            let open = index.transactions.open;
            let found: BTreeMap<_, _> = open.iter().map(|o| (o.producer_id, (o.producer_epoch, o.first_offset))).collect();
            prop_assert_eq!(found, expected);
            if anew {
                tracker = TransactionTracker::resume(&open);
            }
            (from, first) = (to, end);
        }
    }

    /// A daemon that reads uncommitted data gets no lists; the markers of this segment and later ones tell the same.
    #[test]
    fn the_next_marker_tells_the_same_fates(
        steps in steps(),
        removed in vec(any::<bool>(), 1..20),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let made = play(&steps, &removed);
        let log: Vec<&Entry> = made.log.iter().collect();
        let mut cuts: BTreeSet<usize> = cuts.into_iter().map(|cut| cut.index(log.len() + 1)).collect();
        cuts.insert(log.len());
        let (mut tracker, mut from, mut markers) = (TransactionTracker::default(), 0, Vec::new());
        for &to in &cuts {
            for entry in &log[from..to] {
                tracker.observe(&RecordBatch::parse(&entry.bytes).unwrap()).unwrap();
            }
            let first = log.get(from).map_or(made.end, |entry| entry.offset);
            let transactions = tracker.end_segment();
            prop_assert!(transactions.aborted.is_empty());
            if to > from {
                let bytes = segment(OffsetRange::new(first, made.end), false, &log[from..to], transactions);
                markers.extend(index(&bytes).transactions.markers);
            }
            from = to;
        }
        prop_assert!(markers.is_sorted_by_key(|marker| marker.offset));
        for entry in &made.log {
            prop_assert_eq!(fate_by_marker(entry, &markers), entry.fate, "offset {}", entry.offset);
        }
    }
}

fn observe(tracker: &mut TransactionTracker, bytes: &[u8]) -> Fate {
    tracker.observe(&RecordBatch::parse(bytes).unwrap()).unwrap()
}

/// The trap that lost 110 of 290 records: the aborted data is gone, entry and marker are not.
#[test]
fn an_entry_whose_data_was_compacted_away_does_not_hit_the_next_transaction() {
    let mut tracker = TransactionTracker::default();
    tracker.list_aborted([AbortedTransaction { producer_id: 1, first_offset: 5 }]);
    assert_eq!(observe(&mut tracker, &Log::transactional(3, 1, 0, &[b"before"]).bytes()), Fate::Committed);
    assert_eq!(observe(&mut tracker, &marker(4, 1, 0, true, 0)), Fate::Control);
    // Offsets 5 to 7 are gone.
    assert_eq!(observe(&mut tracker, &marker(8, 1, 0, false, 0)), Fate::Control);
    assert_eq!(observe(&mut tracker, &Log::transactional(9, 1, 0, &[b"next"]).bytes()), Fate::Committed);
    let told = tracker.end_segment();
    assert_eq!(told.aborted, [AbortedTransaction { producer_id: 1, first_offset: 5 }]);
}

#[test]
fn a_transaction_that_a_segment_ends_in_is_aborted_in_the_next_one_too() {
    let aborted = AbortedTransaction { producer_id: 1, first_offset: 0 };
    let mut tracker = TransactionTracker::default();
    tracker.list_aborted([aborted, aborted]);
    assert_eq!(observe(&mut tracker, &Log::transactional(0, 1, 4, &[b"a"]).bytes()), Fate::Aborted);
    let first = tracker.end_segment();
    assert_eq!(first.open, [OpenTransaction { producer_id: 1, producer_epoch: 4, first_offset: 0 }]);
    tracker.list_aborted([aborted]);
    assert_eq!(observe(&mut tracker, &Log::transactional(1, 1, 4, &[b"b"]).bytes()), Fate::Aborted);
    observe(&mut tracker, &marker(2, 1, 5, false, 77));
    let second = tracker.end_segment();
    assert_eq!((&first.aborted, &second.aborted), (&vec![aborted], &vec![aborted]));
    assert_eq!(second.markers[0].producer_epoch, 5);
    assert_eq!((second.open.len(), tracker.end_segment()), (0, SegmentTransactions::default()));
}
