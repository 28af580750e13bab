//! Who works on the log in the model: writers, mergers, pruners, readers. Each runs until it is told to stop, or dies
//! between any two steps.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::Bytes;
use formats::commit::{
    Fork, Gap, GapReason, Lineage, LineageReason, ObjectRef, Op, SegmentEntry, SegmentObject,
};
use formats::hash::Hash;
use formats::ids::{Incarnation, LineageId, Topic, TopicId, TopicPartition};
use formats::paths::ObjectName;
use futures::TryStreamExt;

use super::super::{CheckpointSettings, CommitLog, Committed, read_commit};
use super::chance::Chance;
use super::network::Network;
use super::sample;
use crate::seam::Rand;
use crate::storage::{Created, Store};
use crate::{Error, ErrorKind, Result};

/// Topics, and partitions of each.
pub(super) const TOPICS: usize = 2;
pub(super) const PARTITIONS: i32 = 2;

/// What writers were told, to be compared with the log.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) committed: Mutex<Vec<(Committed, Vec<Op>)>>,
}

/// What a client has of the world.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) network: Arc<Network>,
    pub(super) chance: Arc<Chance>,
    pub(super) told: Arc<Told>,
    pub(super) checkpoints: CheckpointSettings,
}

/// `Err` is a broken promise; everything that may happen to an honest client is `Ok`.
pub(super) type Lived = std::result::Result<(), String>;

impl Client {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.network) as Arc<dyn Store>
    }

    async fn open(&self) -> Result<CommitLog> {
        let log =
            CommitLog::open_or_create(self.store(), self.chance.seam(), &sample::backup_id(), "cluster-1")
                .await?;
        Ok(log.with_checkpoints(self.checkpoints))
    }

    /// Whether an error is one that bad networks and other writers explain.
    fn explain(&self, error: &Error) -> Lived {
        match error.kind() {
            ErrorKind::Retry => Ok(()),
            ErrorKind::Fenced => {
                self.network.count("fenced");
                Ok(())
            }
            ErrorKind::Permanent if error.message().contains("no clear answer") => {
                self.network.count("gave up a doubtful put");
                Ok(())
            }
            kind => Err(format!("{kind:?}: {error}")),
        }
    }

    fn acknowledged(&self, committed: Committed, ops: Vec<Op>) {
        self.network.count("committed");
        self.told.committed.lock().expect("not poisoned").push((committed, ops));
    }

    /// Commits, or walks away in the middle of it.
    async fn commit(&self, log: &mut CommitLog, ops: Vec<Op>) -> std::result::Result<Then, String> {
        let patience = if self.chance.permille(50) { self.chance.below(12) } else { u64::MAX };
        match cut(patience, log.commit(ops.clone())).await {
            None => {
                self.network.count("commit cancelled");
                Ok(Then::PlanAnew)
            }
            Some(Ok(committed)) => {
                self.acknowledged(committed, ops);
                Ok(Then::GoOn)
            }
            Some(Err(error)) => {
                self.explain(&error)?;
                if self.chance.permille(500) {
                    return Ok(Then::End);
                }
                match log.refresh().await {
                    Ok(()) => Ok(Then::PlanAnew),
                    Err(error) => self.explain(&error).map(|()| Then::End),
                }
            }
        }
    }

    async fn upload(&self, key: &str, body: Vec<u8>) -> Result<()> {
        let body = Bytes::from(body);
        for _ in 0..100 {
            match self.network.create(key, vec![body.clone()]).await {
                Ok(Created::New(_) | Created::Exists) => return Ok(()),
                Ok(Created::Unclear(_)) => {}
                Err(error) if error.is_retriable() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::retry("the upload never ends"))
    }

    /// A daemon: takes over, then adds.
    pub(super) async fn writer(self) -> Lived {
        let mut log = match self.open().await {
            Ok(log) => log,
            Err(error) => return self.explain(&error),
        };
        if self.chance.permille(700) {
            match log.become_writer().await {
                Ok(committed) => self.acknowledged(committed, vec![Op::Writer]),
                Err(error) => return self.explain(&error),
            }
        }
        let mut counter = 0;
        loop {
            if self.chance.permille(200)
                && let Err(error) = log.refresh().await
            {
                return self.explain(&error);
            }
            let planned = self.plan(&log, &mut counter);
            for (key, body) in planned.objects {
                if let Err(error) = self.upload(&key, body).await {
                    return self.explain(&error);
                }
            }
            let mut steps = vec![planned.ops];
            if self.chance.permille(200) {
                // Segments of one pack may become true in several steps.
                let at = self.chance.below(steps[0].len() as u64 + 1) as usize;
                let rest = steps[0].split_off(at);
                steps.push(rest);
            }
            for ops in steps {
                if ops.is_empty() {
                    continue;
                }
                match self.commit(&mut log, ops).await? {
                    Then::GoOn => {}
                    Then::PlanAnew => break,
                    Then::End => return Ok(()),
                }
            }
        }
    }

    fn plan(&self, log: &CommitLog, counter: &mut u32) -> Planned {
        let mut planned = Planned::default();
        let mut places = BTreeSet::new();
        for _ in 0..=self.chance.below(3) {
            places.insert((
                self.chance.below(TOPICS as u64) as usize,
                self.chance.below(PARTITIONS as u64) as i32,
            ));
        }
        let pack = self.chance.permille(250).then(|| {
            *counter += 1;
            SegmentObject::Pack(log.incarnation(), *counter)
        });
        let mut packed = Vec::new();
        for (topic, partition) in places {
            let topic = sample::topic(topic);
            let (id, mut next) = self.place(log, &topic, partition, &mut planned.ops);
            if self.chance.permille(200) {
                let gap = Gap {
                    first: next,
                    end: next + 1 + self.chance.below(9) as i64,
                    reason: GapReason::Retention,
                };
                next = gap.end;
                planned.ops.push(Op::Gap { topic: topic.clone(), partition, lineage: id, gap });
            }
            let mut segments = Vec::new();
            for _ in 0..self.chance.below(3) {
                let end = next + 1 + self.chance.below(9) as i64;
                let object = pack.unwrap_or_else(|| {
                    *counter += 1;
                    sample::own(log.incarnation(), *counter)
                });
                let number = self.chance.next_u64();
                let mut entry = sample::entry(next, end, object, number);
                let body = sample::body(object, next, number);
                if pack.is_some() {
                    entry.position = packed.len() as u64;
                    packed.extend_from_slice(&body);
                } else {
                    planned
                        .objects
                        .push((entry.key(&TopicPartition::new(topic.clone(), partition), id), body));
                }
                segments.push(entry);
                next = end;
            }
            if !segments.is_empty() {
                planned.ops.push(Op::Add { topic, partition, lineage: id, segments });
            }
        }
        if let Some(SegmentObject::Pack(incarnation, counter)) = pack
            && !packed.is_empty()
        {
            planned.objects.push((ObjectName::Pack(incarnation, counter).key(), packed));
        }
        if self.chance.permille(50) {
            let body = self.chance.next_u64().to_string().into_bytes();
            let key = ObjectName::Groups(log.state().seq, log.incarnation()).key();
            let length = body.len() as u64;
            let object = ObjectRef { key: key.clone(), length, blake3: Hash::of(&body) };
            // A writer that failed before may have used the name of this commit already.
            if !planned.objects.iter().any(|(other, _)| *other == key)
                && log.state().groups.as_ref().is_none_or(|g| g.key != key)
            {
                planned.objects.push((key, body));
                planned.ops.push(Op::Groups { object });
            }
        }
        planned
    }

    /// Where a partition goes on: mostly where the log says, sometimes in a history that begins.
    fn place(&self, log: &CommitLog, topic: &Topic, partition: i32, ops: &mut Vec<Op>) -> (LineageId, i64) {
        let known = log.state().partition(topic, partition);
        let current = known.and_then(|partition| partition.current());
        // Few ids, so that two writers often begin the same history.
        let id = LineageId(self.chance.below(8));
        if let Some(current) = current
            && (!self.chance.permille(40) || known.is_some_and(|partition| partition.lineage(id).is_some()))
        {
            return (current.id, current.next);
        }
        let (reason, fork, start) = match current {
            None => (LineageReason::First, None, self.chance.below(20) as i64),
            Some(_) if self.chance.permille(500) => (LineageReason::Recreated, None, 0),
            Some(parent) => {
                let offset = parent.start + self.chance.below((parent.next - parent.start + 1) as u64) as i64;
                (LineageReason::Truncated, Some(Fork { parent: parent.id, offset, epoch: 2 }), offset)
            }
        };
        ops.push(Op::Lineage(Lineage {
            topic: topic.clone(),
            partition,
            lineage: id,
            after: current.map(|current| current.id),
            cluster_id: "cluster-1".into(),
            topic_id: TopicId::default(),
            start,
            reason,
            fork,
        }));
        (id, start)
    }

    /// Merges neighbours.
    pub(super) async fn merger(self) -> Lived {
        let mut log = match self.open().await {
            Ok(log) => log,
            Err(error) => return self.explain(&error),
        };
        let mut counter = 0;
        loop {
            if let Err(error) = log.refresh().await {
                return self.explain(&error);
            }
            let topic = sample::topic(self.chance.below(TOPICS as u64) as usize);
            let lists = match log.topic_lists(&topic).await {
                Ok(lists) => lists,
                Err(error) => return self.explain(&error),
            };
            let mut ops = Vec::new();
            for ((partition, id), list) in lists {
                let Some(run) = self.neighbours(&list) else { continue };
                let mut added = Vec::new();
                let (left, right) = run.split_at(self.chance.below(run.len() as u64) as usize);
                for part in [left, right].into_iter().filter(|part| !part.is_empty()) {
                    counter += 1;
                    let (merged, body) = self.merge(part, sample::own(log.incarnation(), counter));
                    let key = merged.key(&TopicPartition::new(topic.clone(), partition), id);
                    if let Err(error) = self.upload(&key, body).await {
                        return self.explain(&error);
                    }
                    added.push(merged);
                }
                let removed = run.iter().map(SegmentEntry::reference).collect();
                ops.push(Op::Replace { topic: topic.clone(), partition, lineage: id, removed, added });
            }
            if !ops.is_empty() && matches!(self.commit(&mut log, ops).await?, Then::End) {
                return Ok(());
            }
        }
    }

    fn neighbours<'a>(&self, list: &'a [SegmentEntry]) -> Option<&'a [SegmentEntry]> {
        let from = self.chance.below(list.len() as u64) as usize;
        let most = 2 + self.chance.below(3) as usize;
        let rest = list.get(from..)?;
        let joined = rest.windows(2).take(most - 1).take_while(|pair| pair[0].end == pair[1].first).count();
        (joined > 0).then(|| &rest[..=joined])
    }

    fn merge(&self, part: &[SegmentEntry], object: SegmentObject) -> (SegmentEntry, Vec<u8>) {
        let (first, last) = (&part[0], &part[part.len() - 1]);
        let number = self.chance.next_u64();
        let mut merged = sample::entry(first.first, last.end, object, number);
        merged.batches = part.iter().map(|entry| entry.batches).sum();
        merged.batch_digest =
            part[1..].iter().fold(first.batch_digest, |digest, entry| digest.combine(entry.batch_digest));
        merged.last = last.last;
        (merged, sample::body(object, first.first, number))
    }

    /// Drops, retires and deletes.
    pub(super) async fn pruner(self) -> Lived {
        match self.prune().await {
            Ok(lived) => lived,
            Err(error) => self.explain(&error),
        }
    }

    async fn prune(&self) -> Result<Lived> {
        let mut log = self.open().await?;
        let (mut named, mut read) = (BTreeSet::new(), 0);
        loop {
            log.refresh().await?;
            let mut ops = Vec::new();
            match self.chance.below(3) {
                0 => {
                    let topic = sample::topic(self.chance.below(TOPICS as u64) as usize);
                    for ((partition, lineage), list) in log.topic_lists(&topic).await? {
                        let removed: Vec<_> = list
                            .iter()
                            .take(self.chance.below(3) as usize)
                            .map(SegmentEntry::reference)
                            .collect();
                        if !removed.is_empty() {
                            ops.push(Op::Drop { topic: topic.clone(), partition, lineage, removed });
                        }
                    }
                }
                1 => {
                    let unretired = |incarnation: &Incarnation| {
                        *incarnation != log.incarnation() && !log.state().retired.contains(incarnation)
                    };
                    let writers: BTreeSet<_> = self
                        .written()
                        .await?
                        .iter()
                        .filter_map(ObjectName::incarnation)
                        .filter(unretired)
                        .collect();
                    let at = self.chance.below(writers.len() as u64 + 2) as usize;
                    if let Some(&incarnation) = writers.iter().nth(at) {
                        ops.push(Op::Retire { incarnation });
                    }
                }
                _ => {
                    let objects = self.droppable(&log).await?;
                    for key in &objects {
                        self.network.delete(key).await?;
                        self.network.count("dropped object deleted");
                    }
                    if !objects.is_empty() {
                        ops.push(Op::Deleted { objects });
                    }
                }
            }
            if !ops.is_empty() {
                match self.commit(&mut log, ops).await {
                    Ok(Then::GoOn | Then::PlanAnew) => {}
                    Ok(Then::End) => return Ok(Ok(())),
                    Err(broken) => return Ok(Err(broken)),
                }
            }
            while read < log.state().seq {
                let found = read_commit(&*self.network, read + 1).await?;
                let (commit, _) =
                    found.ok_or_else(|| Error::damaged(format!("commit {} is gone", read + 1)))?;
                named.extend(named_objects(&commit.ops));
                read += 1;
            }
            for orphan in self.written().await? {
                let retired =
                    orphan.incarnation().is_some_and(|writer| log.state().retired.contains(&writer));
                if retired && !named.contains(&orphan.key()) {
                    self.network.delete(&orphan.key()).await?;
                    self.network.count("orphan deleted");
                }
            }
        }
    }

    async fn written(&self) -> Result<Vec<ObjectName>> {
        let mut names = Vec::new();
        for folder in ["groups/", "kafka/", "packs/"] {
            let objects: Vec<_> = self.network.store.list(folder, None).try_collect().await?;
            names.extend(objects.iter().filter_map(|object| ObjectName::parse(&object.key).ok()));
        }
        Ok(names)
    }

    /// Dropped objects that hold no live segment and never will: a pack may outlive the first that is dropped of it.
    async fn droppable(&self, log: &CommitLog) -> Result<Vec<String>> {
        if log.state().dropped.is_empty() {
            return Ok(Vec::new());
        }
        let mut live = BTreeSet::new();
        for topic in log.state().topics.keys() {
            for ((partition, lineage), list) in log.topic_lists(topic).await? {
                let place = TopicPartition::new(topic.clone(), partition);
                live.extend(list.iter().map(|entry| entry.key(&place, lineage)));
            }
        }
        let deletable = |key: &&String| match ObjectName::parse(key) {
            // Its writer may yet add other segments of it.
            Ok(ObjectName::Pack(writer, _)) => log.state().retired.contains(&writer) && !live.contains(*key),
            _ => !live.contains(*key),
        };
        Ok(log.state().dropped.keys().filter(deletable).cloned().collect())
    }

    /// Opens the log and compares lists with positions.
    pub(super) async fn reader(self) -> Lived {
        match self.look().await {
            Ok(lived) => lived,
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => self.explain(&error),
        }
    }

    async fn look(&self) -> Result<Lived> {
        let log = CommitLog::open(self.store(), self.chance.seam()).await?;
        for (topic, partitions) in &log.state().topics {
            let mut lists = log.topic_lists(topic).await?;
            for (&number, partition) in partitions.iter() {
                for lineage in &partition.lineages {
                    let list = lists.remove(&(number, lineage.id)).unwrap_or_default();
                    let ranges = list.iter().map(|entry| (entry.first, entry.end));
                    if let Err(wrong) = super::oracle::tiles(lineage, ranges) {
                        return Ok(Err(format!("seen by a reader: {topic}-{number}: {wrong}")));
                    }
                }
            }
            if lists.values().any(|list| !list.is_empty()) {
                return Ok(Err(format!("{topic}: segments of an unknown history: {lists:?}")));
            }
        }
        self.network.count("read");
        Ok(Ok(()))
    }
}

/// What a client does after a commit.
enum Then {
    GoOn,
    /// Whether it was made is not known, or it was refused: what was planned on top of it is void.
    PlanAnew,
    End,
}

#[derive(Default)]
struct Planned {
    ops: Vec<Op>,
    objects: Vec<(String, Vec<u8>)>,
}

/// The keys of the objects that operations make part of the backup.
pub(super) fn named_objects(ops: &[Op]) -> Vec<String> {
    let mut keys = Vec::new();
    for op in ops {
        match op {
            Op::Add { topic, partition, lineage, segments: added }
            | Op::Replace { topic, partition, lineage, added, .. } => {
                let place = TopicPartition::new(topic.clone(), *partition);
                keys.extend(added.iter().map(|entry| entry.key(&place, *lineage)));
            }
            Op::Groups { object } | Op::Cluster { object } | Op::Schemas { object, .. } => {
                keys.push(object.key.clone())
            }
            _ => {}
        }
    }
    keys
}

/// Drops a future that is not ready after so many polls.
async fn cut<F: Future>(mut polls: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Counts by name, summed over histories.
pub(super) type Counts = BTreeMap<&'static str, u64>;
