//! A small backup for the tests of restore: everything of some topics, by the formats' own encoder, in one go.

use bytes::Bytes;
use formats::cluster::{ClusterSnapshot, TopicSnapshot};
use formats::commit::{Lineage, LineageReason, ObjectRef, Op, SegmentEntry, SegmentObject};
use formats::hash::Hash;
use formats::ids::{BackupId, LineageId, OffsetRange, Topic, TopicPartition};
use formats::paths::ObjectName;
use formats::record_batch::Batches;
use formats::segment::{FrameCompression, SegmentEncoder, SegmentIdentity, SegmentInput};
use formats::transactions::{AbortedTransaction, TransactionTracker};
use pipeline::budget::Budget;
use pipeline::commit_log::CommitLog;
use pipeline::kafka::{
    At, Client, ClientConfig, ConfigResource, ConfigSource, FetchSettings, Fetcher, Isolation, Position,
    Topics,
};
use pipeline::restore::{JournalPlace, RestoreSettings};
use pipeline::seam::Seam;
use pipeline::select::TopicSelection;
use pipeline::storage::Store;
use pipeline::storage::memory::MemoryStore;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of batches in a segment.
const SEGMENT: usize = 32 << 10;

pub(crate) fn topic(name: &str) -> Topic {
    Topic::new(name).expect("legal")
}

pub(crate) async fn connect(bootstrap: &str) -> Client {
    let servers = bootstrap.split(',').map(|server| server.parse().expect("host:port")).collect();
    Client::connect(ClientConfig::new(servers), Seam::system()).await.expect("connects")
}

pub(crate) fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(Arc::new(pipeline::seam::SystemClock)))
}

/// Restores `topics` under the name `<topic>-restored`, and proves it.
pub(crate) fn settings(topics: &[&str], journal: JournalPlace) -> RestoreSettings {
    let selection = TopicSelection::new(topics, &[], false, &[]).expect("good");
    let id = BackupId::new("test").expect("legal");
    let mut settings = RestoreSettings::new(id, selection, topics.join(","));
    for name in topics {
        settings.topic_mapping.insert(topic(name), topic(&format!("{name}-restored")));
    }
    settings.proof = true;
    settings.journal = journal;
    settings.memory_limit = 64 << 20;
    settings
}

/// Backs topics up as they are now, committed data and what lies between.
pub(crate) async fn back_up(client: &Client, store: &Arc<dyn Store>, topics: &[&str]) {
    let id = BackupId::new("test").expect("legal");
    let mut log =
        CommitLog::open_or_create(Arc::clone(store), Seam::system(), &id, "source").await.expect("opens");
    log.become_writer().await.expect("commits");
    let names: Vec<Topic> = topics.iter().map(|name| topic(name)).collect();
    let metadata = client.refresh(Topics::Named(&names)).await.expect("metadata");
    let mut snapshots = Vec::new();
    let mut counter = 0;
    for name in &names {
        let known = &metadata.topics[name];
        for &number in known.partitions.keys() {
            let place = TopicPartition::new(name.clone(), number);
            let lineage = LineageId::derive("source", name, known.id, number, None);
            let ends = |at| {
                let place = place.clone();
                async move {
                    let mut found = client.list_offsets([place.clone()], at, Isolation::ReadCommitted).await;
                    found.remove(&place).expect("answered").expect("listed").offset.expect("an offset")
                }
            };
            let (start, end) = (ends(At::Earliest).await, ends(At::Latest).await);
            let mut ops = vec![Op::Lineage(Lineage {
                topic: name.clone(),
                partition: number,
                lineage,
                after: log
                    .state()
                    .partition(name, number)
                    .and_then(|known| known.current())
                    .map(|last| last.id),
                cluster_id: "source".into(),
                topic_id: known.id,
                start,
                reason: match log.state().partition(name, number) {
                    None => LineageReason::First,
                    Some(_) => LineageReason::Recreated,
                },
                fork: None,
            })];
            let mut segments = Vec::new();
            for (identity, runs, tracked) in fetch(client, &place, lineage, start, end).await {
                let input = SegmentInput { identity, runs, transactions: tracked };
                let encoded = SegmentEncoder::new(FrameCompression::Zstd(3)).encode(input).expect("encodes");
                counter += 1;
                let entry = SegmentEntry::of(&encoded, SegmentObject::Own(log.incarnation(), counter), 0);
                store.create(&entry.key(&place, lineage), encoded.parts).await.expect("created");
                segments.push(entry);
            }
            if !segments.is_empty() {
                ops.push(Op::Add { topic: name.clone(), partition: number, lineage, segments });
            }
            log.commit(ops).await.expect("commits");
        }
        let resource = ConfigResource::Topic(name.clone());
        let mut configs =
            client.describe_configs(std::slice::from_ref(&resource), None).await.expect("described");
        let configs = configs.remove(&resource).expect("answered").expect("described");
        let own = configs.into_iter().filter(|config| config.source == ConfigSource::Topic);
        snapshots.push(TopicSnapshot {
            topic: name.clone(),
            topic_id: known.id,
            partitions: known.partitions.len() as i32,
            replication_factor: 1,
            internal: false,
            configs: own.map(|config| (config.name, config.value.unwrap_or_default())).collect(),
            extra: serde_json::Map::new(),
        });
    }
    commit_snapshot(&mut log, store, ClusterSnapshot::new("source", snapshots)).await;
}

async fn commit_snapshot(log: &mut CommitLog, store: &Arc<dyn Store>, snapshot: ClusterSnapshot) {
    let body = snapshot.encode().expect("encodes");
    let key = ObjectName::Cluster(log.head().seq, log.incarnation()).key();
    let object = ObjectRef { key: key.clone(), length: body.len() as u64, blake3: Hash::of(&body) };
    store.create(&key, vec![body.into()]).await.expect("created");
    log.commit(vec![Op::Cluster { object }]).await.expect("commits");
}

async fn writer(store: &Arc<dyn Store>) -> CommitLog {
    let mut log = CommitLog::open(Arc::clone(store), Seam::system()).await.expect("opens");
    log.become_writer().await.expect("commits");
    log
}

/// Drops the first segment of a partition as the backup's own retention would; gives its offsets.
pub(crate) async fn drop_first_segment(store: &Arc<dyn Store>, name: &str, partition: i32) -> OffsetRange {
    let (mut log, topic) = (writer(store).await, topic(name));
    let lists = log.topic_lists(&topic).await.expect("lists");
    let ((_, lineage), segments) =
        lists.iter().find(|((number, _), _)| *number == partition).expect("the partition is there");
    let (lineage, segment) = (*lineage, segments[0].clone());
    let removed = vec![segment.reference()];
    log.commit(vec![Op::Drop { topic, partition, lineage, removed }]).await.expect("commits");
    segment.range()
}

/// Says of a topic that the source had so many partitions.
pub(crate) async fn partitions_in_snapshot(client: &Client, store: &Arc<dyn Store>, name: &str, count: i32) {
    let mut log = writer(store).await;
    let snapshot = TopicSnapshot {
        topic: topic(name),
        topic_id: client.metadata().topic_id(&topic(name)).expect("an id"),
        partitions: count,
        replication_factor: 1,
        internal: false,
        configs: own_configs(client, name).await,
        extra: serde_json::Map::new(),
    };
    commit_snapshot(&mut log, store, ClusterSnapshot::new("source", vec![snapshot])).await;
}

type Segment = (SegmentIdentity, Vec<Bytes>, formats::transactions::SegmentTransactions);

async fn fetch(
    client: &Client,
    place: &TopicPartition,
    lineage: LineageId,
    start: i64,
    end: i64,
) -> Vec<Segment> {
    let metadata = client.metadata();
    let (leader, _) = metadata.leader(&place.topic, place.partition).expect("a leader");
    let settings = FetchSettings { isolation: Isolation::ReadCommitted, ..FetchSettings::default() };
    let mut fetcher = Fetcher::new(client.clone(), leader, settings, Budget::new(64 << 20));
    fetcher.add(place.clone(), metadata.topic_id(&place.topic).expect("an id"), Position::at(start));
    let mut tracker = TransactionTracker::default();
    let (mut next, mut first, mut segments, mut runs, mut size) = (start, start, Vec::new(), Vec::new(), 0);
    while next < end {
        for fetched in fetcher.receive().await.expect("fetched").partitions {
            assert_eq!(fetched.error, None);
            let entries = fetched.aborted.iter().map(|aborted| AbortedTransaction {
                producer_id: aborted.producer_id,
                first_offset: aborted.first_offset,
            });
            tracker.list_aborted(entries);
            let records = fetched.records.unwrap_or_default();
            for batch in Batches::new(&records) {
                let batch = batch.expect("a batch");
                if batch.next_offset() <= next {
                    continue;
                }
                tracker.observe(&batch).expect("observed");
                runs.push(Bytes::copy_from_slice(batch.bytes()));
                size += batch.len();
                next = batch.next_offset();
                if size >= SEGMENT || next >= end {
                    let identity = SegmentIdentity {
                        partition: place.clone(),
                        lineage,
                        range: OffsetRange::new(first, next),
                        aborted_listed: true,
                    };
                    segments.push((identity, std::mem::take(&mut runs), tracker.end_segment()));
                    (first, size) = (next, 0);
                }
            }
            fetcher.seek(place, Position::at(next));
        }
    }
    segments
}

/// A topic's own configs.
pub(crate) async fn own_configs(client: &Client, name: &str) -> BTreeMap<String, String> {
    let resource = ConfigResource::Topic(topic(name));
    let mut configs =
        client.describe_configs(std::slice::from_ref(&resource), None).await.expect("described");
    let configs = configs.remove(&resource).expect("answered").expect("described");
    let own = configs.into_iter().filter(|config| config.source == ConfigSource::Topic);
    own.map(|config| (config.name, config.value.unwrap_or_default())).collect()
}
