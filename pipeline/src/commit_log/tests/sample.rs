//! Made-up topics, segments and operations.

use std::sync::Arc;

use formats::commit::{
    CodecBytes, Gap, GapReason, LastBatch, Lineage, LineageReason, Op, SegmentEntry, SegmentObject,
};
use formats::digest::BatchDigest;
use formats::hash::Hash;
use formats::ids::{BackupId, Incarnation, LineageId, Topic, TopicId};

use super::super::{CheckpointSettings, CommitLog};
use super::chance::Chance;
use crate::storage::Store;

pub(super) fn topic(number: usize) -> Topic {
    Topic::new(format!("topic-{number:04}")).expect("legal")
}

pub(super) fn backup_id() -> BackupId {
    BackupId::new("model").expect("legal")
}

/// The digest of one batch whose hash is as good as this number.
pub(super) fn digest(number: u64) -> BatchDigest {
    format!("1:{number:032x}").parse().expect("a digest")
}

/// A segment over `[first, end)` whose content is `number`.
pub(super) fn entry(first: i64, end: i64, object: SegmentObject, number: u64) -> SegmentEntry {
    let body = body(object, first, number);
    SegmentEntry {
        first,
        end,
        object,
        position: 0,
        length: body.len() as u64,
        blake3: Hash::of(&body),
        version_id: None,
        batches: 1,
        control: 0,
        records: (end - first) as u64,
        missing: 0,
        bytes: CodecBytes { zstd: body.len() as u64, ..CodecBytes::default() },
        log_append_time: 0,
        holes: 0,
        largest_batch: body.len() as u32,
        min_timestamp: 1_700_000_000_000 + first,
        min_exact: true,
        max_timestamp: 1_700_000_000_000 + end,
        batch_digest: digest(number),
        content_digest: None,
        last: Some(LastBatch { offset: end - 1, epoch: 1, crc: number as u32 }),
        open: Vec::new(),
        schema_ids: number.is_multiple_of(3).then(Box::default),
        extra: serde_json::Map::new(),
    }
}

/// What lies in the store for such a segment.
pub(super) fn body(object: SegmentObject, first: i64, number: u64) -> Vec<u8> {
    format!("{object} {first} {number}").into_bytes()
}

pub(super) fn own(incarnation: Incarnation, counter: u32) -> SegmentObject {
    SegmentObject::Own(incarnation, counter)
}

pub(super) fn lineage(topic: &Topic, partition: i32, id: u64, start: i64) -> Op {
    Op::Lineage(Lineage {
        topic: topic.clone(),
        partition,
        lineage: LineageId(id),
        after: None,
        cluster_id: "cluster-1".into(),
        topic_id: TopicId::default(),
        start,
        reason: LineageReason::First,
        fork: None,
    })
}

pub(super) fn add(topic: &Topic, partition: i32, id: u64, segments: Vec<SegmentEntry>) -> Op {
    Op::Add { topic: topic.clone(), partition, lineage: LineageId(id), segments }
}

pub(super) fn gap(topic: &Topic, partition: i32, id: u64, first: i64, end: i64) -> Op {
    let gap = Gap { first, end, reason: GapReason::Retention };
    Op::Gap { topic: topic.clone(), partition, lineage: LineageId(id), gap }
}

/// Opens or begins the backup of the tests; each `seed` is another process.
pub(super) async fn open(store: Arc<dyn Store>, seed: u64) -> CommitLog {
    CommitLog::open_or_create(store, Chance::new(seed).seam(), &backup_id(), "cluster-1")
        .await
        .expect("opens")
}

/// One partition of `topic(0)` with `commits` commits: its lineage begins in the first, each adds one segment of ten
/// offsets.
pub(super) async fn filled(
    store: Arc<dyn Store>,
    commits: u64,
    checkpoints: CheckpointSettings,
) -> CommitLog {
    let mut log = open(store, 1).await.with_checkpoints(checkpoints);
    let topic = topic(0);
    for number in 0..commits {
        let mut ops = Vec::new();
        if number == 0 {
            ops.push(lineage(&topic, 0, 1, 0));
        }
        ops.push(next(&log, &topic, 0, number));
        log.commit(ops).await.expect("commits");
    }
    log
}

/// Adds the next ten offsets of a partition whose lineage is 1.
pub(super) fn next(log: &CommitLog, topic: &Topic, partition: i32, number: u64) -> Op {
    let current = log.state().partition(topic, partition).and_then(|partition| partition.current());
    let first = current.map_or(0, |current| current.next);
    let object = own(log.incarnation(), number as u32 + 1);
    add(topic, partition, 1, vec![entry(first, first + 10, object, number)])
}

/// A checkpoint after every so many commits.
pub(super) fn every(commits: u64) -> CheckpointSettings {
    CheckpointSettings { commits, ..CheckpointSettings::default() }
}
