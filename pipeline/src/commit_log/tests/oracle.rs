//! What must hold whatever happened: the log replayed from its first commit, by nothing but `State::apply`, against the
//! store, against what writers were told, and against what a reader sees through checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use formats::commit::{Commit, Op, SegmentEntry};
use formats::document::MAX_DOCUMENT;
use formats::hash::Hash;
use formats::ids::{Incarnation, LineageId, TopicPartition};
use formats::paths::{COMMITS, ObjectName};
use formats::state::{LineageState, PartitionState, State};
use futures::{FutureExt, StreamExt};

use super::super::CommitLog;
use super::chance::Chance;
use super::clients::Told;
use crate::ErrorKind;
use crate::storage::Store;

type Checked<T = ()> = Result<T, String>;

/// Checks everything.
pub(super) async fn check(store: Arc<dyn Store>, told: &Told) -> Checked<u64> {
    let (scratch, log) = replay(&*store)?;
    for (committed, ops) in told.committed.lock().expect("not poisoned").iter() {
        let found = log
            .get(committed.seq as usize - 1)
            .ok_or(format!("commit {} was acknowledged and is gone", committed.seq))?;
        if found.1 != committed.hash || found.0.ops != *ops {
            return Err(format!("commit {} is not the one that was acknowledged", committed.seq));
        }
    }
    one_writer_at_a_time(&log)?;
    for (place, partition) in scratch.partitions() {
        for lineage in &partition.lineages {
            let list = lineage.segments.as_deref().ok_or("a scratch replay keeps its lists")?;
            tiles(lineage, list.iter().map(|entry| (entry.first, entry.end)))
                .map_err(|e| format!("{place}: {e}"))?;
            holds_what_was_added(&log, &place, lineage.id, list)?;
            for entry in list {
                lies_in_the_store(&*store, &place, lineage.id, entry)?;
            }
        }
    }
    for object in scratch.groups.iter() {
        let found = store.head(&object.key).now_or_never().and_then(Result::ok).flatten();
        found.ok_or(format!("{} is named and gone", object.key))?;
    }
    if scratch.seq > 0 {
        same_through_checkpoints(store, &scratch).await?;
    }
    Ok(scratch.seq)
}

/// The whole log from its first commit.
pub(super) fn replay(store: &dyn Store) -> Checked<(State, Vec<(Commit, Hash)>)> {
    let (mut state, mut log) = (State::with_lists(), Vec::new());
    let objects =
        store.list(COMMITS, None).collect::<Vec<_>>().now_or_never().ok_or("memory does not wait")?;
    for (at, object) in objects.into_iter().enumerate() {
        let (object, seq) = (object.map_err(|e| e.to_string())?, at as u64 + 1);
        if object.key != ObjectName::Commit(seq).key() {
            return Err(format!("{} follows commit {}", object.key, seq - 1));
        }
        let stored =
            store.get(&object.key, MAX_DOCUMENT as u64).now_or_never().and_then(Result::ok).flatten();
        let stored = stored.ok_or("a listed commit is there")?;
        let commit = Commit::decode(seq, &stored).map_err(|e| e.to_string())?;
        let hash = Hash::of(&stored);
        state.apply(&commit, hash).map_err(|e| e.to_string())?;
        log.push((commit, hash));
    }
    Ok((state, log))
}

/// Segments and gaps cover `[start, next)` without hole and without overlap.
pub(super) fn tiles(lineage: &LineageState, segments: impl Iterator<Item = (i64, i64)>) -> Checked {
    let mut ranges: Vec<_> = segments.chain(lineage.gaps.iter().map(|gap| (gap.first, gap.end))).collect();
    ranges.sort_unstable();
    let mut at = lineage.start;
    for (first, end) in ranges {
        if first != at || end <= first {
            return Err(format!("lineage {}: [{first},{end}) follows {at}", lineage.id));
        }
        at = end;
    }
    if at == lineage.next {
        Ok(())
    } else {
        Err(format!("lineage {}: covered up to {at}, not {}", lineage.id, lineage.next))
    }
}

/// A live segment holds the batches that were added for its range, in order and once, however often it was merged.
fn holds_what_was_added(
    log: &[(Commit, Hash)],
    place: &TopicPartition,
    id: LineageId,
    live: &[SegmentEntry],
) -> Checked {
    let mut added: BTreeMap<i64, &SegmentEntry> = BTreeMap::new();
    for op in log.iter().flat_map(|(commit, _)| &commit.ops) {
        if let Op::Add { topic, partition, lineage, segments } = op
            && (topic, *partition, *lineage) == (&place.topic, place.partition, id)
        {
            added.extend(segments.iter().map(|entry| (entry.first, entry)));
        }
    }
    for entry in live {
        let mut parts = added.range(entry.first..entry.end).map(|(_, part)| part.batch_digest);
        let first = parts.next().ok_or(format!("{place}: {} was never added", entry.range()))?;
        if parts.fold(first, |digest, next| digest.combine(next)) != entry.batch_digest {
            return Err(format!("{place}: {} does not hold what was added", entry.range()));
        }
    }
    Ok(())
}

fn lies_in_the_store(
    store: &dyn Store,
    place: &TopicPartition,
    id: LineageId,
    entry: &SegmentEntry,
) -> Checked {
    let key = entry.key(place, id);
    let read = store.get_range(&key, entry.position..entry.position + entry.length);
    let bytes =
        read.now_or_never().ok_or("memory does not wait")?.map_err(|e| format!("dangling: {place}: {e}"))?;
    if Hash::of(&bytes) == entry.blake3 { Ok(()) } else { Err(format!("{key} holds something else")) }
}

/// Once a newer writer has said so, an older one adds no more.
fn one_writer_at_a_time(log: &[(Commit, Hash)]) -> Checked {
    let mut writer = None;
    let mut superseded: BTreeSet<Incarnation> = BTreeSet::new();
    for (commit, _) in log {
        let takes_over = commit.ops.contains(&Op::Writer);
        if takes_over && writer != Some(commit.incarnation) {
            superseded.extend(writer.replace(commit.incarnation));
        }
        if superseded.contains(&commit.incarnation) && !takes_over {
            return Err(format!(
                "commit {}: {} goes on although {writer:?} took over",
                commit.seq, commit.incarnation
            ));
        }
    }
    Ok(())
}

async fn same_through_checkpoints(store: Arc<dyn Store>, scratch: &State) -> Checked {
    let log = CommitLog::open(store, Chance::new(1).seam())
        .await
        .map_err(|e| format!("the log does not open: {e}"))?;
    same_state(log.state(), scratch)?;
    for (topic, partitions) in &scratch.topics {
        let mut lists = log.topic_lists(topic).await.map_err(|e| format!("{topic}: {e}"))?;
        for (&number, partition) in partitions.iter() {
            for lineage in &partition.lineages {
                let list = lists.remove(&(number, lineage.id)).unwrap_or_default();
                if Some(&list) != lineage.segments.as_deref() {
                    return Err(format!(
                        "{topic}-{number}: lineage {} has another list through checkpoints",
                        lineage.id
                    ));
                }
            }
        }
        if lists.values().any(|list| !list.is_empty()) {
            return Err(format!("{topic}: a list of nothing"));
        }
    }
    same_in_one_pass(&log, scratch).await
}

async fn same_in_one_pass(log: &CommitLog, scratch: &State) -> Checked {
    let mut found = Vec::new();
    let passed = log.each_list(|place, lineage, list| found.push((place.clone(), lineage, list.to_vec())));
    match passed.await {
        // In some histories objects of checkpoints vanish, and this does not read the commits instead.
        Err(error) if error.kind() == ErrorKind::Damaged => return Ok(()),
        passed => passed.map_err(|e| format!("one pass: {e}"))?,
    }
    if !found.is_sorted_by_key(|(place, lineage, _)| (place.topic.clone(), place.partition, *lineage)) {
        return Err("one pass visits lineages out of order".into());
    }
    let lists = |(place, partition): (TopicPartition, &PartitionState)| {
        let list = |lineage: &LineageState| {
            let list = lineage.segments.as_deref().cloned().unwrap_or_default();
            ((place.to_string(), lineage.id), list)
        };
        partition.lineages.iter().map(list).collect::<Vec<_>>()
    };
    let mut expected: BTreeMap<_, _> = scratch.partitions().flat_map(lists).collect();
    expected.retain(|_, list| !list.is_empty());
    let mut found: BTreeMap<_, _> =
        found.into_iter().map(|(place, lineage, list)| ((place.to_string(), lineage), list)).collect();
    found.retain(|_, list| !list.is_empty());
    if found != expected {
        return Err("one pass finds other lists".into());
    }
    if expected.values().flatten().any(|entry| entry.schema_ids.is_some()) && !log.may_be_scanned() {
        return Err("the log does not know that entries list schema ids".into());
    }
    Ok(())
}

/// Every field but the lists and what is kept for the next checkpoint.
pub(super) fn same_state(found: &State, scratch: &State) -> Checked {
    let plain = |state: &State| {
        let mut topics = BTreeMap::new();
        for (topic, partitions) in &state.topics {
            let mut partitions = (**partitions).clone();
            for lineage in partitions.values_mut().flat_map(|partition| &mut partition.lineages) {
                lineage.segments = None;
            }
            topics.insert(topic.clone(), partitions);
        }
        topics
    };
    let (a, b) = (plain(found), plain(scratch));
    if a != b {
        return Err(format!("positions differ:\n through checkpoints {a:?}\n from scratch {b:?}"));
    }
    macro_rules! same {
        ($($field:ident),*) => {
            $(if found.$field != scratch.$field {
                return Err(format!(concat!(stringify!($field), " differs: {:?} through checkpoints, {:?} from scratch"), found.$field, scratch.$field));
            })*
        };
    }
    same!(seq, head, checkpoint, writer, retired, schemas, groups, cluster, dropped);
    Ok(())
}
