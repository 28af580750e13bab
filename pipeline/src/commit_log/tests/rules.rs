//! What a state admits, where the rule protects the log from writers that slept.

use formats::commit::{Commit, Lineage, LineageReason, ObjectRef, Op, SegmentObject};
use formats::hash::Hash;
use formats::ids::{Incarnation, LineageId, TopicId};
use formats::paths::ObjectName;
use formats::state::State;

use super::sample::{add, entry, lineage, own, topic};

const A: Incarnation = Incarnation(0xa);
const B: Incarnation = Incarnation(0xb);

fn apply(state: &mut State, incarnation: Incarnation, ops: Vec<Op>) -> formats::Result<()> {
    let seq = state.seq + 1;
    let previous = state.head_hash();
    let commit = Commit {
        seq,
        previous,
        incarnation,
        time_ms: 0,
        software: "test".into(),
        checkpoint: None,
        ops,
        extra: serde_json::Map::new(),
    };
    let mut next = state.clone();
    next.apply(&commit, Hash::of(&seq.to_le_bytes()))?;
    *state = next;
    Ok(())
}

fn recreated(id: u64, after: u64) -> Op {
    Op::Lineage(Lineage {
        topic: topic(0),
        partition: 0,
        lineage: LineageId(id),
        after: Some(LineageId(after)),
        cluster_id: "cluster-1".into(),
        topic_id: TopicId::default(),
        start: 0,
        reason: LineageReason::Recreated,
        fork: None,
    })
}

#[test]
fn a_writer_that_slept_cannot_end_a_history_that_it_never_saw_begin() {
    let mut state = State::with_lists();
    apply(&mut state, A, vec![lineage(&topic(0), 0, 1, 0)]).expect("begins");
    apply(&mut state, B, vec![recreated(3, 1)]).expect("the topic was made again, and then once more");
    // A saw the first of the two and then slept. Were this admitted, nobody could continue history 3.
    let error = apply(&mut state, A, vec![recreated(2, 1)]).expect_err("stale");
    assert_eq!(error.kind(), formats::ErrorKind::Refused);
    apply(&mut state, B, vec![add(&topic(0), 0, 3, vec![entry(0, 5, own(B, 1), 1)])])
        .expect("history 3 goes on");
}

#[test]
fn a_pack_is_deleted_only_once_nobody_can_add_another_segment_of_it() {
    let pack = SegmentObject::Pack(A, 1);
    let (first, mut second) = (entry(0, 5, pack, 1), entry(0, 5, pack, 2));
    second.position = first.length;
    let mut state = State::with_lists();
    let begin = vec![lineage(&topic(0), 0, 1, 0), lineage(&topic(0), 1, 1, 0), lineage(&topic(0), 2, 1, 0)];
    apply(&mut state, A, begin).expect("begins");
    apply(&mut state, A, vec![add(&topic(0), 0, 1, vec![first.clone()])]).expect("adds");
    let removed = vec![first.reference()];
    apply(&mut state, B, vec![Op::Drop { topic: topic(0), partition: 0, lineage: LineageId(1), removed }])
        .expect("drops");
    let deleted = vec![Op::Deleted { objects: vec![ObjectName::Pack(A, 1).key()] }];
    apply(&mut state, B, deleted.clone()).expect_err("A may still add the other half");
    let mut goes_on = state.clone();
    let other_half = vec![add(&topic(0), 1, 1, vec![second])];
    apply(&mut goes_on, A, other_half.clone()).expect("which it does here");
    apply(&mut state, B, vec![Op::Retire { incarnation: A }]).expect("retires");
    apply(&mut state, B, deleted).expect("nobody can name it any more");
    apply(&mut state, A, other_half).expect_err("retired");
}

#[test]
fn a_replacement_cannot_lie_in_what_it_replaces() {
    let mut state = State::with_lists();
    let old = entry(0, 5, own(A, 1), 1);
    apply(&mut state, A, vec![lineage(&topic(0), 0, 1, 0), add(&topic(0), 0, 1, vec![old.clone()])])
        .expect("adds");
    let replace = |added| Op::Replace {
        topic: topic(0),
        partition: 0,
        lineage: LineageId(1),
        removed: vec![old.reference()],
        added: vec![added],
    };
    apply(&mut state, A, vec![replace(old.clone())]).expect_err("it would be live and dropped at once");
    let new = entry(0, 5, own(A, 2), 1);
    apply(&mut state, A, vec![replace(new)]).expect("another object with the same content");
}

#[test]
fn a_state_without_lists_admits_what_one_with_lists_admits() {
    let segment = entry(0, 5, own(A, 1), 1);
    let removed = vec![segment.reference()];
    let drop = Op::Drop { topic: topic(0), partition: 0, lineage: LineageId(1), removed };
    let ops = vec![lineage(&topic(0), 0, 1, 0), add(&topic(0), 0, 1, vec![segment]), drop];
    let (mut with, mut without) = (State::with_lists(), State::default());
    apply(&mut with, A, ops.clone()).expect("admitted");
    apply(&mut without, A, ops).expect("admitted here too");
    super::oracle::same_state(&without, &with).expect("the same");
    let kept = &without.partition(&topic(0), 0).expect("there").lineages[0].segments;
    assert!(kept.is_none(), "lists are not kept");
}

#[test]
fn schemas_of_an_older_walk_do_not_follow_those_of_a_newer() {
    let mut state = State::default();
    for number in 0..3 {
        apply(&mut state, A, vec![lineage(&topic(0), number, 1, 0)]).expect("begins");
    }
    let schemas = |covers| {
        let key = ObjectName::SchemaSnapshot(1, A).key();
        let object = ObjectRef { key, length: 1, blake3: Hash::ZERO };
        vec![Op::Schemas { object, after: None, covers }]
    };
    apply(&mut state, A, schemas(3)).expect("covers what is there");
    apply(&mut state, B, schemas(2)).expect_err("a walk that began earlier came later");
    apply(&mut state, B, schemas(3)).expect("as good");
}
