use super::*;
use crate::ErrorKind;
use crate::commit::SegmentObject;
use crate::digest::ContentDigest;
use crate::sample::entry;
use serde_json::Map;

const ME: Incarnation = Incarnation(0xa);
const OTHER: Incarnation = Incarnation(0xb);
const L1: LineageId = LineageId(1);
const L2: LineageId = LineageId(2);

fn topic() -> Topic {
    Topic::new("t").unwrap()
}

fn place() -> TopicPartition {
    TopicPartition::new(topic(), 0)
}

fn begins(lineage: LineageId, start: i64, reason: LineageReason, fork: Option<Fork>) -> Lineage {
    let (cluster_id, topic_id) = ("c".to_owned(), TopicId::default());
    // Tests begin second histories of partition 0 only, after the one they know of.
    let after = (reason != LineageReason::First).then_some(L1);
    Lineage { topic: topic(), partition: 0, lineage, after, cluster_id, topic_id, start, reason, fork }
}

fn segment(first: i64, end: i64, counter: u32) -> SegmentEntry {
    entry(OffsetRange::new(first, end), SegmentObject::Own(ME, counter))
}

fn add(lineage: LineageId, segments: Vec<SegmentEntry>) -> Op {
    Op::Add { topic: topic(), partition: 0, lineage, segments }
}

fn gap(lineage: LineageId, first: i64, end: i64, reason: GapReason) -> Op {
    Op::Gap { topic: topic(), partition: 0, lineage, gap: Gap { first, end, reason } }
}

fn drop_of(lineage: LineageId, removed: Vec<SegmentRef>) -> Op {
    Op::Drop { topic: topic(), partition: 0, lineage, removed }
}

fn replace(lineage: LineageId, removed: Vec<SegmentRef>, added: Vec<SegmentEntry>) -> Op {
    Op::Replace { topic: topic(), partition: 0, lineage, removed, added }
}

fn snapshot(key: impl Into<String>) -> ObjectRef {
    ObjectRef { key: key.into(), length: 3, blake3: Hash::of(b"abc") }
}

fn by(incarnation: Incarnation, state: &State, ops: Vec<Op>) -> Commit {
    Commit {
        seq: state.seq + 1,
        previous: state.head_hash(),
        incarnation,
        time_ms: 0,
        software: "test".into(),
        checkpoint: None,
        ops,
        extra: Map::new(),
    }
}

fn hash(commit: &Commit) -> Hash {
    Hash::of(&commit.encode().unwrap())
}

fn commit(state: &mut State, ops: Vec<Op>) {
    let commit = by(ME, state, ops);
    state.apply(&commit, hash(&commit)).unwrap();
}

/// Applies to a clone, as a writer does, and gives the words of the refusal.
fn refusal(state: &State, commit: &Commit) -> String {
    let error = state.clone().apply(commit, hash(commit)).expect_err("the state admits it");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.message().starts_with(&format!("commit {}", commit.seq)), "{error}");
    error.to_string()
}

fn refused(state: &State, ops: Vec<Op>) -> String {
    refusal(state, &by(ME, state, ops))
}

/// One partition with segments [10,20) [20,30), a gap [30,35) and [35,40).
fn history() -> State {
    let mut state = State::with_lists();
    commit(&mut state, vec![Op::Writer, Op::Lineage(begins(L1, 10, LineageReason::First, None))]);
    commit(&mut state, vec![add(L1, vec![segment(10, 20, 1), segment(20, 30, 2)])]);
    commit(&mut state, vec![gap(L1, 30, 35, GapReason::Retention), add(L1, vec![segment(35, 40, 3)])]);
    state
}

fn lineage(state: &State, id: LineageId) -> &LineageState {
    state.partition(&topic(), 0).unwrap().lineage(id).unwrap()
}

fn live(state: &State, id: LineageId) -> Vec<(i64, i64)> {
    lineage(state, id).segments.as_ref().unwrap().iter().map(|entry| (entry.first, entry.end)).collect()
}

#[test]
fn a_history_adds_up() {
    let state = history();
    let current = lineage(&state, L1);
    assert_eq!((state.seq, state.writer, current.next), (3, Some(ME), 40));
    assert_eq!(live(&state, L1), [(10, 20), (20, 30), (35, 40)]);
    assert_eq!(current.gaps, [Gap { first: 30, end: 35, reason: GapReason::Retention }]);
    assert_eq!(current.last.unwrap().offset, 39);
    let totals = current.totals;
    assert_eq!((totals.segments, totals.records, totals.first_offset), (3, 25, Some(10)));
    assert_eq!((totals.min_timestamp, totals.max_timestamp), (Some(1010), Some(1040)));
    assert_eq!(totals.bytes.total(), 25 * 70);
    assert_eq!(state.changes.len(), 2);
}

#[test]
fn a_commit_out_of_turn_is_refused() {
    let state = history();
    for seq in [0, 3, 5, u64::MAX] {
        let commit = Commit { seq, ..by(ME, &state, vec![]) };
        assert!(refusal(&state, &commit).contains("does not follow commit 3"));
    }
    let mut last = state.clone();
    last.seq = u64::MAX;
    refusal(&last, &Commit { seq: 0, ..by(ME, &state, vec![]) });
}

#[test]
fn a_commit_that_follows_another_one_than_the_last_is_refused() {
    let state = history();
    let commit = Commit { previous: Hash::of(b"another"), ..by(ME, &state, vec![]) };
    assert!(refusal(&state, &commit).contains("with hash"));
    let first = Commit { previous: Hash::of(b"something"), ..by(ME, &State::default(), vec![]) };
    refusal(&State::default(), &first);
}

#[test]
fn a_retired_writer_commits_no_more() {
    let mut state = history();
    commit(&mut state, vec![Op::Retire { incarnation: OTHER }]);
    assert!(refusal(&state, &by(OTHER, &state, vec![])).contains("is retired"));
    commit(&mut state, vec![]);
    assert!(refused(&state, vec![Op::Retire { incarnation: ME }]).contains("cannot retire itself"));
}

#[test]
fn an_object_of_another_writer_is_refused() {
    let state = history();
    for object in [SegmentObject::Own(OTHER, 9), SegmentObject::Pack(OTHER, 9)] {
        let foreign = entry(OffsetRange::new(40, 50), object);
        assert!(refused(&state, vec![add(L1, vec![foreign])]).contains("another writer"));
        let removed = lineage(&state, L1).segments.as_ref().unwrap()[0].reference();
        let foreign = entry(OffsetRange::new(10, 20), object);
        assert!(refused(&state, vec![replace(L1, vec![removed], vec![foreign])]).contains("another writer"));
    }
}

#[test]
fn a_fork_an_overlap_and_a_hole_are_refused() {
    let state = history();
    for (first, end) in [(39, 45), (35, 40), (10, 20), (41, 50), (0, 5)] {
        let words = refused(&state, vec![add(L1, vec![segment(first, end, 9)])]);
        assert!(words.contains("t-0") && words.contains("does not begin at the position 40"), "{words}");
    }
    let inside = vec![segment(40, 45, 8), segment(44, 50, 9)];
    assert!(refused(&state, vec![add(L1, inside)]).contains("position 45"));
    // The same twice in one commit.
    let twice = vec![add(L1, vec![segment(40, 45, 8)]), add(L1, vec![segment(40, 45, 9)])];
    assert!(refused(&state, twice).contains("position 45"));
}

#[test]
fn nothing_is_added_to_nothing() {
    let state = history();
    assert!(refused(&state, vec![add(L1, vec![])]).contains("no segment is added"));
    refused(&state, vec![add(LineageId(77), vec![segment(40, 45, 9)])]);
    let elsewhere = Op::Add { topic: topic(), partition: 3, lineage: L1, segments: vec![segment(40, 45, 9)] };
    refused(&state, vec![elsewhere]);
    let elsewhere = Op::Add {
        topic: Topic::new("u").unwrap(),
        partition: 0,
        lineage: L1,
        segments: vec![segment(40, 45, 9)],
    };
    refused(&state, vec![elsewhere]);
}

#[test]
fn an_entry_that_contradicts_itself_is_refused() {
    let state = history();
    let with = |change: fn(&mut SegmentEntry)| {
        let mut entry = segment(40, 50, 9);
        change(&mut entry);
        refused(&state, vec![add(L1, vec![entry])])
    };
    for words in [
        with(|e| e.records -= 1),
        with(|e| e.missing = 1),
        with(|e| (e.records, e.missing) = (u64::MAX, 11)),
        with(|e| e.length = 0),
        with(|e| e.position = u64::MAX),
        with(|e| e.end = 40),
        with(|e| e.end = 39),
        with(|e| e.first = -10),
        with(|e| e.last = Some(LastBatch { offset: 50, epoch: 0, crc: 0 })),
        with(|e| e.last = Some(LastBatch { offset: 39, epoch: 0, crc: 0 })),
    ] {
        assert!(words.contains("contradicts itself"), "{words}");
    }
    let mut sparse = segment(40, 50, 9);
    (sparse.records, sparse.missing, sparse.last) = (4, 6, None);
    let mut state = state;
    commit(&mut state, vec![add(L1, vec![sparse])]);
    assert_eq!(lineage(&state, L1).last.unwrap().offset, 39, "a segment without a batch keeps the last one");
}

#[test]
fn entries_that_claim_any_number_of_bytes_do_not_overflow() {
    let mut state = history();
    let mut hostile = segment(40, 50, 9);
    (hostile.length, hostile.bytes.zstd, hostile.bytes.none) = (u64::MAX, u64::MAX, u64::MAX);
    (hostile.log_append_time, hostile.holes) = (u64::MAX, u64::MAX);
    commit(&mut state, vec![add(L1, vec![hostile])]);
    let totals = lineage(&state, L1).totals;
    assert_eq!((totals.stored, totals.bytes.total()), (u64::MAX, u64::MAX));
}

#[test]
fn a_gap_begins_at_the_position_and_only_drops_prune() {
    let mut state = history();
    for (first, end) in [(39, 45), (41, 45), (40, 40), (40, 30)] {
        let words = refused(&state, vec![gap(L1, first, end, GapReason::Retention)]);
        assert!(words.contains("does not begin at the position 40"), "{words}");
    }
    refused(&state, vec![gap(L1, 40, 45, GapReason::Pruned)]);
    refused(&state, vec![gap(L2, 40, 45, GapReason::Retention)]);
    for (n, reason) in [(0, GapReason::Compacted), (1, GapReason::Vanished), (2, GapReason::Retention)] {
        commit(&mut state, vec![gap(L1, 40 + n, 41 + n, reason)]);
    }
    assert_eq!((lineage(&state, L1).next, lineage(&state, L1).gaps.len()), (43, 4));
}

#[test]
fn a_lineage_begins_once_and_for_a_reason_that_fits() {
    let mut state = history();
    let op = |id, start, reason, fork| vec![Op::Lineage(begins(id, start, reason, fork))];
    assert!(refused(&state, op(L1, 10, LineageReason::Recreated, None)).contains("there already"));
    refused(&state, op(L2, -1, LineageReason::Recreated, None));
    refused(&state, op(L2, 0, LineageReason::First, None));
    let fork = Some(Fork { parent: L1, offset: 30, epoch: 4 });
    refused(&state, op(L2, 30, LineageReason::Recreated, fork));
    for after in [None, Some(L2)] {
        let unseen = Lineage { after, ..begins(L2, 0, LineageReason::Recreated, None) };
        assert!(refused(&state, vec![Op::Lineage(unseen)]).contains("but the partition has lineage"));
    }
    let elsewhere = Lineage { partition: 1, after: None, ..begins(L2, 0, LineageReason::Recreated, None) };
    refused(&state, vec![Op::Lineage(elsewhere.clone())]);
    refused(&state, vec![Op::Lineage(Lineage { partition: -1, reason: LineageReason::First, ..elsewhere })]);
    let mut other = state.clone();
    commit(&mut other, op(L2, 5, LineageReason::Truncated, None));
    commit(&mut state, op(L2, 0, LineageReason::Recreated, None));
    assert_eq!(state.partition(&topic(), 0).unwrap().current().unwrap().id, L2);
}

#[test]
fn a_fork_lies_inside_its_parent() {
    let mut state = history();
    let fork = |parent, offset, start| {
        let fork = Some(Fork { parent, offset, epoch: 4 });
        vec![Op::Lineage(begins(L2, start, LineageReason::Truncated, fork))]
    };
    for (parent, offset, start) in
        [(L1, 41, 41), (L1, 9, 9), (L1, 30, 31), (LineageId(77), 30, 30), (L2, 30, 30)]
    {
        let words = refused(&state, fork(parent, offset, start));
        assert!(words.contains("cannot fork"), "{words}");
    }
    for edge in [10, 40] {
        let mut state = state.clone();
        commit(&mut state, fork(L1, edge, edge));
    }
    commit(&mut state, fork(L1, 25, 25));
    let current = lineage(&state, L2);
    assert_eq!((current.start, current.next, current.totals.segments), (25, 25, 0));
}

#[test]
fn a_superseded_lineage_does_not_grow_but_may_shrink() {
    let mut state = history();
    commit(&mut state, vec![Op::Lineage(begins(L2, 0, LineageReason::Recreated, None))]);
    assert!(refused(&state, vec![add(L1, vec![segment(40, 50, 9)])]).contains("superseded"));
    assert!(refused(&state, vec![gap(L1, 40, 50, GapReason::Retention)]).contains("superseded"));
    commit(&mut state, vec![add(L2, vec![segment(0, 5, 9)])]);
    let first = lineage(&state, L1).segments.as_ref().unwrap()[0].reference();
    commit(&mut state, vec![drop_of(L1, vec![first])]);
    assert_eq!((live(&state, L1).len(), live(&state, L2).len()), (2, 1));
}

#[test]
fn dropping_leaves_joined_gaps_and_keys_to_delete() {
    let mut state = history();
    let list = lineage(&state, L1).segments.clone().unwrap();
    commit(&mut state, vec![drop_of(L1, vec![list[1].reference()])]);
    assert_eq!(live(&state, L1), [(10, 20), (35, 40)]);
    commit(&mut state, vec![drop_of(L1, vec![list[0].reference(), list[2].reference()])]);
    let pruned = |first, end| Gap { first, end, reason: GapReason::Pruned };
    let retention = Gap { first: 30, end: 35, reason: GapReason::Retention };
    assert_eq!(lineage(&state, L1).gaps, [pruned(10, 30), retention, pruned(35, 40)]);
    assert_eq!(lineage(&state, L1).totals, Totals::default());
    assert_eq!(lineage(&state, L1).next, 40);
    let keys: Vec<_> = state.dropped.iter().map(|(key, seq)| (key.as_str(), *seq)).collect();
    let key = |n: usize| list[n].key(&place(), L1);
    assert_eq!(keys, [(key(0).as_str(), 5), (key(1).as_str(), 4), (key(2).as_str(), 5)]);
    // A dropped object of its own is gone for good.
    let again = SegmentEntry { first: 40, end: 45, records: 5, last: None, ..list[2].clone() };
    let mut state_at_35 = state.clone();
    Arc::make_mut(&mut state_at_35.dropped).insert(again.key(&place(), L1), 5);
    assert!(refused(&state_at_35, vec![add(L1, vec![again])]).contains("was dropped"));
}

#[test]
fn what_is_not_live_is_not_dropped() {
    let mut state = history();
    let list = lineage(&state, L1).segments.clone().unwrap();
    let good = list[0].reference();
    for wrong in [
        SegmentRef { first: 11, ..good },
        SegmentRef { end: 21, ..good },
        SegmentRef { object: SegmentObject::Own(ME, 9), ..good },
        SegmentRef { object: SegmentObject::Pack(ME, 1), ..good },
    ] {
        assert!(refused(&state, vec![drop_of(L1, vec![wrong])]).contains("is not live"));
    }
    refused(&state, vec![drop_of(L1, vec![good, good])]);
    refused(&state, vec![drop_of(L2, vec![good])]);
    assert!(refused(&state, vec![drop_of(L1, vec![])]).contains("not in offset order"));
    let backwards = vec![list[1].reference(), list[0].reference()];
    assert!(refused(&state, vec![drop_of(L1, backwards)]).contains("not in offset order"));
    commit(&mut state, vec![drop_of(L1, vec![good])]);
    assert!(refused(&state, vec![drop_of(L1, vec![good])]).contains("is not live"));
}

#[test]
fn only_what_was_dropped_before_is_reported_as_deleted() {
    let mut state = history();
    let first = lineage(&state, L1).segments.as_ref().unwrap()[0].clone();
    let deleted = || Op::Deleted { objects: vec![first.key(&place(), L1)] };
    assert!(refused(&state, vec![deleted()]).contains("was not dropped"));
    assert!(
        refused(&state, vec![drop_of(L1, vec![first.reference()]), deleted()])
            .contains("was not dropped before")
    );
    commit(&mut state, vec![drop_of(L1, vec![first.reference()])]);
    refused(&state, vec![deleted(), deleted()]);
    commit(&mut state, vec![deleted()]);
    assert!(state.dropped.is_empty());
}

#[test]
fn a_merge_holds_exactly_what_it_replaces() {
    let mut state = history();
    let list = lineage(&state, L1).segments.clone().unwrap();
    let two = || vec![list[0].reference(), list[1].reference()];
    let merged = segment(10, 30, 7);
    let all: Vec<_> = list.iter().map(SegmentEntry::reference).collect();
    for (removed, added) in [
        // Another range, on either side, in both directions.
        (two(), vec![segment(10, 29, 7)]),
        (two(), vec![segment(10, 31, 7)]),
        (two(), vec![segment(11, 30, 7)]),
        (vec![list[0].reference()], vec![merged.clone()]),
        (two(), vec![list[0].clone()]),
        // Over a gap, or with a hole between the parts.
        (all, vec![segment(10, 40, 7)]),
        (two(), vec![segment(10, 19, 7), segment(20, 30, 8)]),
        (two(), vec![]),
        (vec![], vec![merged.clone()]),
        // Not live, not in order.
        (vec![list[1].reference(), list[0].reference()], vec![merged.clone()]),
        (vec![SegmentRef { end: 30, ..list[0].reference() }], vec![merged.clone()]),
    ] {
        refused(&state, vec![replace(L1, removed, added)]);
    }
    let fewer = SegmentEntry { records: 19, missing: 1, ..merged.clone() };
    assert!(refused(&state, vec![replace(L1, two(), vec![fewer])]).contains("exactly what"));
    let other = SegmentEntry { batch_digest: segment(50, 70, 7).batch_digest, ..merged.clone() };
    assert!(refused(&state, vec![replace(L1, two(), vec![other])]).contains("exactly what"));

    let before = lineage(&state, L1).clone();
    commit(&mut state, vec![replace(L1, two(), vec![merged])]);
    let after = lineage(&state, L1);
    assert_eq!(live(&state, L1), [(10, 30), (35, 40)]);
    assert_eq!((after.next, after.last, &after.gaps), (before.next, before.last, &before.gaps));
    assert_eq!((after.totals.segments, after.totals.records), (2, before.totals.records));
    assert!(after.totals.stored < before.totals.stored);
    assert_eq!(state.dropped.len(), 2);
    // A merge may cut the other way too, and name an object that it just dropped never.
    let merged = lineage(&state, L1).segments.as_ref().unwrap()[0].reference();
    let parts = vec![segment(10, 13, 20), segment(13, 30, 21)];
    refused(&state, vec![replace(L1, vec![merged], vec![segment(10, 30, 7)])]);
    commit(&mut state, vec![replace(L1, vec![merged], parts)]);
    assert_eq!(live(&state, L1), [(10, 13), (13, 30), (35, 40)]);
}

#[test]
fn a_rebuild_is_judged_by_its_records() {
    let content = |state: &mut State, digests: [Option<&str>; 2]| {
        let mut parts = [segment(0, 2, 1), segment(2, 4, 2)];
        for (part, digest) in parts.iter_mut().zip(digests) {
            part.content_digest = digest.map(|digest| digest.parse().unwrap());
        }
        commit(state, vec![Op::Lineage(begins(L1, 0, LineageReason::First, None)), add(L1, parts.to_vec())]);
        parts.map(|part| part.reference()).to_vec()
    };
    let (a, b) = (format!("2:{:032x}", 5), format!("2:{:032x}", 6));
    let digest = |text: &str| text.parse::<ContentDigest>().unwrap();
    let mut rebuilt = segment(0, 4, 7);
    rebuilt.batch_digest = segment(10, 11, 7).batch_digest;
    rebuilt.content_digest = Some(digest(&a).combine(digest(&b)));

    let mut state = State::with_lists();
    let removed = content(&mut state, [Some(&a), Some(&b)]);
    let swapped = SegmentEntry { content_digest: Some(digest(&b).combine(digest(&a))), ..rebuilt.clone() };
    refused(&state, vec![replace(L1, removed.clone(), vec![swapped])]);
    let untold = SegmentEntry { content_digest: None, ..rebuilt.clone() };
    refused(&state, vec![replace(L1, removed.clone(), vec![untold])]);
    commit(&mut state, vec![replace(L1, removed, vec![rebuilt.clone()])]);

    let mut state = State::with_lists();
    let removed = content(&mut state, [Some(&a), None]);
    refused(&state, vec![replace(L1, removed, vec![rebuilt])]);
}

#[test]
fn snapshots_lie_where_they_belong_and_cover_the_past_only() {
    let mut state = history();
    let key = |folder: &str, incarnation| format!("{folder}/{:020}-{incarnation}.json", 4);
    let first = key("schema-registry/snapshots", ME);
    let after = |key: &str, after: Option<&str>, covers| {
        vec![Op::Schemas { object: snapshot(key), after: after.map(str::to_owned), covers }]
    };
    for covers in [4, 5, u64::MAX] {
        assert!(refused(&state, after(&first, None, covers)).contains("cannot cover"));
    }
    let others = key("schema-registry/snapshots", OTHER);
    for wrong in ["groups/s", "schema-registry/s", "schema-registry/_schemas.json", &others] {
        refused(&state, after(wrong, None, 1));
    }
    for wrong in [key("groups", OTHER), key("cluster", ME), "groups/x".into(), "../groups".into()] {
        refused(&state, vec![Op::Groups { object: snapshot(wrong) }]);
    }
    for wrong in [key("cluster", OTHER), key("groups", ME), "manifest.json".into()] {
        refused(&state, vec![Op::Cluster { object: snapshot(wrong) }]);
    }
    assert!(refused(&state, after(&first, Some("another"), 3)).contains("the newest is none"));
    commit(&mut state, after(&first, None, 2));
    let second = first.replace("004-", "005-");
    assert!(refused(&state, after(&second, None, 3)).contains("continues schema snapshot none"));
    assert!(refused(&state, after(&second, Some(&second), 3)).contains("the newest is"));
    assert!(refused(&state, after(&second, Some(&first), 1)).contains("cannot follow"));
    commit(&mut state, after(&second, Some(&first), 2));
    assert!(refused(&state, after(&first, Some(&first), 3)).contains("the newest is"));
    // Nothing is new but what it covers, whoever says so.
    let again = after(&second, None, 3);
    assert!(refusal(&state, &by(OTHER, &state, after(&first, None, 3))).contains("the newest is"));
    state.apply(&by(OTHER, &state, again), Hash::of(b"again")).expect("the newest again");
    commit(&mut state, vec![Op::Groups { object: snapshot(key("groups", ME)) }]);
    commit(&mut state, vec![Op::Cluster { object: snapshot(key("cluster", ME)) }]);
    assert_eq!(state.schemas, Some((snapshot(&second), 3)));
    assert_eq!(state.groups, Some(snapshot(key("groups", ME))));
    assert_eq!(state.cluster, Some(snapshot(key("cluster", ME))));
}

#[test]
fn the_newest_checkpoint_is_kept_and_none_lies_in_the_future() {
    let mut state = history();
    let naming = |state: &State, seq| {
        let checkpoint = Some(CheckpointRef { seq, blake3: Hash::of(&[seq as u8]) });
        Commit { checkpoint, ..by(ME, state, vec![]) }
    };
    for seq in [4, 5, u64::MAX] {
        assert!(refusal(&state, &naming(&state, seq)).contains("checkpoint"));
    }
    for (seq, kept) in [(2, 2), (3, 3), (1, 3)] {
        let commit = naming(&state, seq);
        state.apply(&commit, hash(&commit)).unwrap();
        assert_eq!(state.checkpoint.unwrap().seq, kept);
    }
}

#[test]
fn lists_are_asked_for_loaded_checked_and_let_go() {
    let full = history();
    let mut state = full.clone();
    state.keeps_lists = false;
    state.unload_list(&place(), L1);
    let list = lineage(&full, L1).segments.as_ref().unwrap().to_vec();
    let dropping = by(ME, &state, vec![drop_of(L1, vec![list[0].reference()])]);
    assert_eq!(state.lists_needed(&dropping), [(place(), L1)]);
    assert_eq!(state.clone().apply(&dropping, hash(&dropping)).unwrap_err().kind(), ErrorKind::Invalid);

    let load = |list: Vec<SegmentEntry>| state.clone().load_list(&place(), L1, list);
    assert_eq!(load(list[1..].to_vec()).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(
        load(vec![list[0].clone(), list[0].clone(), list[2].clone()]).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(state.clone().load_list(&place(), L2, vec![]).unwrap_err().kind(), ErrorKind::Refused);

    let reversed = list.iter().rev().cloned().collect();
    state.load_list(&place(), L1, reversed).unwrap();
    assert!(state.lists_needed(&dropping).is_empty());
    state.apply(&dropping, hash(&dropping)).unwrap();
    assert_eq!(live(&state, L1), [(20, 30), (35, 40)]);
    state.unload_list(&place(), L1);
    assert!(lineage(&state, L1).segments.is_none());
    let mut kept = full;
    kept.unload_list(&place(), L1);
    assert!(lineage(&kept, L1).segments.is_some());
}

#[test]
fn a_refused_commit_leaves_the_writers_own_state_alone() {
    let state = history();
    let mut next = state.clone();
    let half = by(ME, &state, vec![add(L1, vec![segment(40, 50, 9)]), add(L1, vec![segment(60, 70, 9)])]);
    next.apply(&half, hash(&half)).unwrap_err();
    assert_eq!(lineage(&state, L1).next, 40);
    assert_eq!(live(&state, L1).len(), 3);
}

/// Two writers see the same state; whoever comes second is refused, whatever both did.
#[test]
fn the_loser_of_a_race_does_not_fork_a_partition() {
    let state = history();
    let mine = by(ME, &state, vec![add(L1, vec![segment(40, 50, 9)])]);
    let theirs = vec![add(L1, vec![entry(OffsetRange::new(40, 47), SegmentObject::Own(OTHER, 1))])];
    let mut won = state.clone();
    won.apply(&mine, hash(&mine)).unwrap();
    refusal(&won, &by(OTHER, &state, theirs.clone()));
    assert!(refusal(&won, &by(OTHER, &won, theirs)).contains("position 50"));
    // Both begin the same lineage: the id follows from the facts, so the second is refused too.
    let begin = vec![Op::Lineage(begins(L2, 0, LineageReason::Recreated, None))];
    let mine = by(ME, &state, begin.clone());
    let mut won = state.clone();
    won.apply(&mine, hash(&mine)).unwrap();
    assert!(refusal(&won, &by(OTHER, &won, begin)).contains("there already"));
}
