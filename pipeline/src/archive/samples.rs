//! Small archives for tests: real segments and commits in the memory store, made of batches written by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use formats::codec::{Codec, Compressor};
use formats::commit::{Fork, Gap, GapReason, Lineage, LineageReason, Op, SegmentEntry, SegmentObject};
use formats::ids::{BackupId, LineageId, OffsetRange, Topic, TopicId, TopicPartition};
use formats::record_batch::{Attributes, BatchHeader, Batches, HEADER_LEN, Producer};
use formats::segment::{EncodedSegment, FrameCompression, SegmentEncoder, SegmentIdentity, SegmentInput};
use formats::transactions::{AbortedTransaction, TransactionTracker};

use crate::commit_log::CommitLog;
use crate::seam::{Clock, Seam, SystemRand};
use crate::storage::Store;
use crate::storage::memory::MemoryStore;

/// A clock that tests turn by hand.
#[derive(Debug, Default)]
pub(crate) struct TestClock(pub(crate) AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A header of a record: name and value.
pub(crate) type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// A record to be written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Item<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<Header<'a>>,
}

fn varint(out: &mut Vec<u8>, number: i64) {
    let mut zigzag = ((number << 1) ^ (number >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

fn nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varint(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn record(out: &mut Vec<u8>, delta: i64, item: &Item<'_>) {
    let mut body = vec![0];
    varint(&mut body, delta * 10);
    varint(&mut body, delta);
    nullable(&mut body, item.key);
    nullable(&mut body, item.value);
    varint(&mut body, item.headers.len() as i64);
    for (key, value) in &item.headers {
        nullable(&mut body, Some(key));
        nullable(&mut body, *value);
    }
    varint(out, body.len() as i64);
    out.extend_from_slice(&body);
}

fn write(base_offset: i64, attributes: u16, producer: i64, count: usize, payload: &[u8]) -> Vec<u8> {
    let mut batch = vec![0; HEADER_LEN];
    batch.extend_from_slice(payload);
    let last = (count.max(1) - 1) as i32;
    let header = BatchHeader {
        base_offset,
        leader_epoch: 3,
        attributes: Attributes(attributes),
        last_offset_delta: last,
        base_timestamp: 1_000_000 + base_offset * 10,
        max_timestamp: 1_000_000 + base_offset * 10 + i64::from(last) * 10,
        producer: Producer { id: producer, epoch: if producer < 0 { -1 } else { 0 }, base_sequence: -1 },
        record_count: count as i32,
    };
    header.write_to(&mut batch).expect("small");
    batch
}

/// A batch of these records; record `n` is 10 ms after record `n - 1`, offset 0 is at 1,000,000 ms.
pub(crate) fn batch_of(base_offset: i64, codec: Codec, producer: Option<i64>, items: &[Item<'_>]) -> Vec<u8> {
    let mut records = Vec::new();
    items.iter().enumerate().for_each(|(delta, item)| record(&mut records, delta as i64, item));
    let mut payload = Vec::new();
    Compressor::new().compress(codec, None, &records, &mut payload).expect("compresses");
    let transactional = if producer.is_some() { 0x10 } else { 0 };
    write(base_offset, codec as u16 | transactional, producer.unwrap_or(-1), items.len(), &payload)
}

/// A batch of `count` records `k<offset>` = `v<offset>`.
pub(crate) fn batch(base_offset: i64, count: usize, producer: Option<i64>) -> Vec<u8> {
    let texts: Vec<_> = (0..count as i64)
        .map(|n| (format!("k{}", base_offset + n), format!("v{}", base_offset + n)))
        .collect();
    let item = |(key, value): &(String, String)| Item {
        key: Some(Box::leak(key.clone().into_boxed_str()).as_bytes()),
        value: Some(Box::leak(value.clone().into_boxed_str()).as_bytes()),
        headers: Vec::new(),
    };
    batch_of(base_offset, Codec::None, producer, &texts.iter().map(item).collect::<Vec<_>>())
}

/// Bytes that do not compress.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A transaction marker.
pub(crate) fn marker(offset: i64, producer: i64, committed: bool) -> Vec<u8> {
    let payload = [32, 0, 0, 0, 8, 0, 0, 0, u8::from(committed), 12, 0, 0, 0, 0, 0, 33, 0];
    write(offset, 0x30, producer, 1, &payload)
}

/// `topic-partition`.
pub(crate) fn place(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(Topic::new(topic).expect("legal"), partition)
}

/// A backup under construction.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) log: CommitLog,
    /// Whether segments are looked through for schema ids.
    pub(crate) scans: bool,
    counter: u32,
    trackers: BTreeMap<LineageId, TransactionTracker>,
}

impl Sample {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(1_700_000_000_000)));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>));
        let log = Self::log(&store, &clock).await;
        let mut sample = Self { store, clock, log, scans: false, counter: 0, trackers: BTreeMap::new() };
        sample.log.become_writer().await.expect("commits");
        sample
    }

    pub(crate) fn seam(clock: &Arc<TestClock>) -> Seam {
        Seam { clock: Arc::clone(clock) as Arc<dyn Clock>, rand: Arc::new(SystemRand) }
    }

    async fn log(store: &Arc<dyn Store>, clock: &Arc<TestClock>) -> CommitLog {
        let id = BackupId::new("sample").expect("legal");
        CommitLog::open_or_create(Arc::clone(store), Self::seam(clock), &id, "cluster").await.expect("opens")
    }

    /// Another process takes over.
    pub(crate) async fn restart(&mut self) {
        self.log = Self::log(&self.store, &self.clock).await;
        self.log.become_writer().await.expect("commits");
    }

    /// Begins a history.
    pub(crate) async fn lineage(
        &mut self,
        partition: &TopicPartition,
        start: i64,
        parent: Option<LineageId>,
    ) -> LineageId {
        let fork = parent.map(|parent| Fork { parent, offset: start, epoch: 5 });
        let parts = parent.map(|parent| (parent, start, 5));
        let (topic, number) = (partition.topic.clone(), partition.partition);
        let lineage = LineageId::derive("cluster", &topic, TopicId::default(), number, parts);
        let reason = if parent.is_some() { LineageReason::Truncated } else { LineageReason::First };
        let op = Op::Lineage(Lineage {
            topic,
            partition: number,
            lineage,
            after: parent,
            cluster_id: "cluster".into(),
            topic_id: TopicId::default(),
            start,
            reason,
            fork,
        });
        self.log.commit(vec![op]).await.expect("commits");
        lineage
    }

    /// Encodes a segment of these batches.
    pub(crate) fn encode(
        &mut self,
        partition: &TopicPartition,
        lineage: LineageId,
        range: (i64, i64),
        batches: &[Vec<u8>],
        listed: Option<&[(i64, i64)]>,
    ) -> EncodedSegment {
        let tracker = self.trackers.entry(lineage).or_default();
        let entry =
            |&(producer_id, first_offset): &(i64, i64)| AbortedTransaction { producer_id, first_offset };
        tracker.list_aborted(listed.unwrap_or_default().iter().map(entry));
        let run = batches.concat();
        for batch in Batches::new(&run) {
            tracker.observe(&batch.expect("a batch")).expect("observed");
        }
        let identity = SegmentIdentity {
            partition: partition.clone(),
            lineage,
            range: OffsetRange::new(range.0, range.1),
            aborted_listed: listed.is_some(),
        };
        let input =
            SegmentInput { identity, runs: vec![Bytes::from(run)], transactions: tracker.end_segment() };
        let encoder = SegmentEncoder::new(FrameCompression::Zstd(3));
        let mut encoder = if self.scans { encoder.with_schema_ids(1 << 20) } else { encoder };
        encoder.encode(input).expect("encodes")
    }

    /// The next object of this writer.
    pub(crate) fn object(&mut self, pack: bool) -> SegmentObject {
        self.counter += 1;
        let incarnation = self.log.incarnation();
        if pack {
            SegmentObject::Pack(incarnation, self.counter)
        } else {
            SegmentObject::Own(incarnation, self.counter)
        }
    }

    /// Puts and commits a segment in an object of its own; `listed` as the broker's aborted list.
    pub(crate) async fn segment(
        &mut self,
        partition: &TopicPartition,
        lineage: LineageId,
        range: (i64, i64),
        batches: &[Vec<u8>],
        listed: Option<&[(i64, i64)]>,
    ) -> SegmentEntry {
        let encoded = self.encode(partition, lineage, range, batches, listed);
        let object = self.object(false);
        let entry = SegmentEntry::of(&encoded, object, 0);
        self.store.create(&entry.key(partition, lineage), encoded.parts).await.expect("created");
        self.add(partition, lineage, entry.clone()).await;
        entry
    }

    /// Puts several segments into one object and commits them.
    pub(crate) async fn pack(
        &mut self,
        segments: Vec<(TopicPartition, LineageId, EncodedSegment)>,
    ) -> String {
        let object = self.object(true);
        let (mut parts, mut position, mut key) = (Vec::new(), 0, String::new());
        let mut entries = Vec::new();
        for (partition, lineage, encoded) in segments {
            let entry = SegmentEntry::of(&encoded, object, position);
            key = entry.key(&partition, lineage);
            position += encoded.length;
            parts.extend(encoded.parts);
            entries.push((partition, lineage, entry));
        }
        self.store.create(&key, parts).await.expect("created");
        for (partition, lineage, entry) in entries {
            self.add(&partition, lineage, entry).await;
        }
        key
    }

    pub(crate) async fn add(&mut self, partition: &TopicPartition, lineage: LineageId, entry: SegmentEntry) {
        let (topic, partition) = (partition.topic.clone(), partition.partition);
        let op = Op::Add { topic, partition, lineage, segments: vec![entry] };
        self.log.commit(vec![op]).await.expect("commits");
    }

    /// Commits a gap.
    pub(crate) async fn gap(&mut self, partition: &TopicPartition, lineage: LineageId, first: i64, end: i64) {
        let gap = Gap { first, end, reason: GapReason::Retention };
        let (topic, partition) = (partition.topic.clone(), partition.partition);
        self.log.commit(vec![Op::Gap { topic, partition, lineage, gap }]).await.expect("commits");
    }
}
