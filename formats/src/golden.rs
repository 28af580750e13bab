//! The golden backup `testdata/v1/`: objects of version 1 that every later release must read. Added, never edited.
//!
//! `REPLEVIN_WRITE_GOLDEN=1 cargo test -p replevin-formats golden` makes it where it is missing; the objects are not
//! compared byte for byte with what this build would write, because codecs may change their output, but by what they
//! say: `v1.state.json` and `v1.records.jsonl` beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::checkpoint::{
    PageRef, PositionsPage, PositionsRef, Root, RunIndex, RunPage, RunPageRef, RunPages, RunRef,
    fold_changes, positions_pages,
};
use crate::codec::{Codec, Decompressor};
use crate::commit::{
    CheckpointRef, Commit, Fork, Gap, GapReason, Lineage, LineageReason, ObjectRef, Op, SegmentEntry,
    SegmentObject,
};
use crate::digest::{BatchDigest, ContentDigest};
use crate::document::{self, DocumentKind};
use crate::hash::Hash;
use crate::ids::{BackupId, Incarnation, LineageId, OffsetRange, Topic, TopicId, TopicPartition};
use crate::paths::ObjectName;
use crate::record_batch::{Batches, RecordBatch};
use crate::repository::Repository;
use crate::sample::{Draft, LOG_APPEND_TIME, Log, marker};
use crate::segment::{
    EncodedSegment, FrameCompression, SegmentEncoder, SegmentIdentity, SegmentIndex, SegmentInput, TAIL,
    decode_frame, read_header, read_tail,
};
use crate::state::State;
use crate::transactions::{AbortedTransaction, Fate, Marker, TransactionTracker, read_marker};

const ME: Incarnation = Incarnation(0x5eed_0000_0000_0001);
const CLUSTER: &str = "golden-cluster";

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn place(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(Topic::new(topic).unwrap(), partition)
}

fn topic_id(topic: &str) -> TopicId {
    TopicId(uuid::Uuid::from_u128(topic.bytes().fold(1, |id, byte| id << 8 | u128::from(byte))))
}

fn lineage(place: &TopicPartition, fork: Option<Fork>) -> Lineage {
    let TopicPartition { topic, partition } = place.clone();
    let topic_id = topic_id(topic.as_str());
    let facts = fork.map(|fork| (fork.parent, fork.offset, fork.epoch));
    Lineage {
        lineage: LineageId::derive(CLUSTER, &topic, topic_id, partition, facts),
        topic,
        partition,
        after: fork.map(|fork| fork.parent),
        cluster_id: CLUSTER.into(),
        topic_id,
        start: fork.map_or(0, |fork| fork.offset),
        reason: if fork.is_some() { LineageReason::Truncated } else { LineageReason::First },
        fork,
    }
}

/// A backup in memory while it is made.
struct Making {
    objects: BTreeMap<String, Vec<u8>>,
    state: State,
    checkpoint: Option<CheckpointRef>,
    counter: u32,
}

impl Making {
    fn object(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }

    fn commit(&mut self, ops: Vec<Op>) {
        let commit = Commit {
            seq: self.state.seq + 1,
            previous: self.state.head_hash(),
            incarnation: ME,
            time_ms: 1_700_000_000_000 + self.state.seq as i64,
            software: "golden 1".into(),
            checkpoint: self.checkpoint,
            ops,
            extra: Map::new(),
        };
        let stored = commit.encode().unwrap();
        self.state.apply(&commit, Hash::of(&stored)).unwrap();
        self.objects.insert(ObjectName::Commit(commit.seq).key(), stored);
    }

    fn own(&mut self, place: &TopicPartition, id: LineageId, segment: &EncodedSegment) -> SegmentEntry {
        let entry = SegmentEntry::of(segment, SegmentObject::Own(ME, self.object()), 0);
        self.objects.insert(entry.key(place, id), segment.parts.concat());
        entry
    }

    fn page(&mut self, page: &impl serde::Serialize) -> PageRef {
        let stored = document::seal(DocumentKind::Page, page).unwrap();
        let page = PageRef { seq: self.state.seq, blake3: Hash::of(&stored) };
        self.objects.insert(ObjectName::page(page.seq, page.blake3).key(), stored);
        page
    }

    fn write_checkpoint(&mut self) {
        let mut positions = Vec::new();
        for page in positions_pages(&self.state, &[]) {
            let (first, last) =
                (page.topics[0].topic.clone(), page.topics[page.topics.len() - 1].topic.clone());
            let partitions = page.topics.iter().map(|topic| topic.partitions.len() as u64).sum();
            positions.push(PositionsRef { first, last, partitions, page: self.page(&page) });
        }
        let (mut pages, mut index, mut segments) = (RunPages::default(), RunIndex::default(), 0);
        for change in fold_changes(self.state.changes.iter().flat_map(|changes| changes.iter())) {
            segments += change.added.len() as u64;
            assert!(pages.push(change).is_empty(), "one page holds it all");
        }
        let page = pages.finish().unwrap();
        let at = |n: usize| TopicPartition::new(page.changes[n].topic.clone(), page.changes[n].partition);
        let (first, last) = (at(0), at(page.changes.len() - 1));
        index.pages.push(RunPageRef { first, last, page: self.page(&page) });
        let runs = vec![RunRef { level: 0, segments, scanned: None, index: self.page(&index) }];
        let state = &self.state;
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
        self.checkpoint = Some(CheckpointRef { seq: root.seq, blake3: Hash::of(&stored) });
        self.objects.insert(ObjectName::CheckpointRoot(root.seq).key(), stored);
        self.state.changes.clear();
    }
}

/// Encodes batches; `listed` as a broker would list them, `None` for read_uncommitted.
fn segment(
    of: &Lineage,
    range: (i64, i64),
    compression: FrameCompression,
    tracker: &mut TransactionTracker,
    listed: Option<&[AbortedTransaction]>,
    batches: &[Vec<u8>],
) -> EncodedSegment {
    tracker.list_aborted(listed.unwrap_or_default().iter().copied());
    for batch in batches {
        tracker.observe(&RecordBatch::parse(batch).unwrap()).unwrap();
    }
    let identity = SegmentIdentity {
        partition: TopicPartition::new(of.topic.clone(), of.partition),
        lineage: of.lineage,
        range: OffsetRange::new(range.0, range.1),
        aborted_listed: listed.is_some(),
    };
    let runs = batches.iter().map(|batch| Bytes::from(batch.clone())).collect();
    let input = SegmentInput { identity, runs, transactions: tracker.end_segment() };
    SegmentEncoder::new(compression).encode(input).unwrap()
}

fn at(base_offset: i64, codec: Codec, values: &[&[u8]]) -> Vec<u8> {
    Log::plain(base_offset, codec, values).bytes()
}

fn make() -> Making {
    let mut made =
        Making { objects: BTreeMap::new(), state: State::with_lists(), checkpoint: None, counter: 0 };
    let repository = Repository::new(BackupId::new("golden").unwrap(), CLUSTER, 1_700_000_000_000);
    made.objects.insert(ObjectName::Repository.key(), repository.encode().unwrap());
    let (orders, orders_1, events) = (place("orders", 0), place("orders", 1), place("events", 0));
    let (audit, payments) = (place("audit", 0), place("payments", 11));
    let mut lineages = BTreeMap::new();
    for place in [&orders, &orders_1, &events, &audit, &payments] {
        lineages.insert(place.clone(), lineage(place, None));
    }

    // 1: the writer, the lineages, the cluster.
    let snapshot = json!({"format": "replevin.cluster", "version": 1, "cluster_id": CLUSTER, "topics": [
        {"topic": "orders", "topic_id": topic_id("orders"), "partitions": 2, "replication_factor": 3, "internal": false,
         "configs": {"cleanup.policy": "compact"}}]});
    let snapshot = serde_json::to_vec(&snapshot).unwrap();
    let key = ObjectName::Cluster(1, ME).key();
    let object = ObjectRef { key: key.clone(), length: snapshot.len() as u64, blake3: Hash::of(&snapshot) };
    made.objects.insert(key, snapshot);
    let mut ops = vec![Op::Writer, Op::Cluster { object }];
    ops.extend(lineages.values().cloned().map(Op::Lineage));
    made.commit(ops);

    // 2: every codec, LogAppendTime, holes; transactions as a read_committed fetch brings them.
    let add = |place: &TopicPartition, segments: Vec<SegmentEntry>, id: LineageId| Op::Add {
        topic: place.topic.clone(),
        partition: place.partition,
        lineage: id,
        segments,
    };
    let of = &lineages[&orders];
    let text = "all work and no play ".repeat(30);
    let mut odd = Log::plain(2, Codec::None, &[]);
    odd.records =
        vec![Draft::new(0, text.clone()), Draft::new(1, ""), Draft::new(2, "x"), Draft::new(3, "y")];
    (odd.records[1].key, odd.records[2].value) = (None, None);
    let header = |key: &[u8], value: Option<&[u8]>| (key.to_vec(), value.map(<[u8]>::to_vec));
    odd.records[3].headers = vec![
        header(b"h", Some(b"1")),
        header(b"h", Some(b"2")),
        header(b"", None),
        header(b"\xff\xfe", Some(b"")),
    ];
    odd.records[3].timestamp_delta = -5_000;
    // Enough for a frame of its own: what the producers compressed lies in another one.
    let long = text.repeat(220);
    let first = [
        at(0, Codec::None, &[long.as_bytes(), text.as_bytes()]),
        odd.bytes(),
        at(6, Codec::Gzip, &[text.as_bytes(), b"gzip"]),
        at(8, Codec::Snappy, &[text.as_bytes(), b"snappy"]),
    ];
    let mut stamped = Log::plain(14, Codec::Zstd, &[b"stamped", b"by", b"the broker"]);
    stamped.bits = LOG_APPEND_TIME;
    let mut sparse = Log::plain(18, Codec::Lz4, &[]);
    sparse.records = vec![Draft::new(1, "compacted"), Draft::new(4, "log")];
    (sparse.last_offset_delta, sparse.epoch) = (Some(5), 3);
    let mut timeless = Log::plain(24, Codec::None, &[b"without a time"]);
    (timeless.base_timestamp, timeless.epoch) = (-1, 3);
    let mut emptied = Log::plain(25, Codec::Zstd, &[]);
    (emptied.last_offset_delta, emptied.epoch) = (Some(1), 3);
    let second = [
        at(10, Codec::Lz4, &[text.as_bytes(), b"lz4"]),
        at(12, Codec::Zstd, &[text.as_bytes(), b"zstd"]),
        stamped.bytes(),
        sparse.bytes(),
        timeless.bytes(),
        emptied.bytes(),
    ];
    let tracker = &mut TransactionTracker::default();
    let one = segment(of, (0, 10), FrameCompression::Zstd(3), tracker, Some(&[]), &first);
    let two = segment(of, (10, 28), FrameCompression::None, tracker, Some(&[]), &second);
    let to_merge = [made.own(&orders, of.lineage, &one), made.own(&orders, of.lineage, &two)];
    let mut ops = vec![add(&orders, to_merge.to_vec(), of.lineage)];
    let of = &lineages[&events];
    let entry = |producer_id, first_offset| AbortedTransaction { producer_id, first_offset };
    let tracker = &mut TransactionTracker::default();
    let cut = [
        Log::transactional(0, 7, 0, &[b"committed", b"twice"]).bytes(),
        Log::transactional(2, 8, 0, &[b"aborted"]).bytes(),
        at(3, Codec::None, &[b"plain"]),
        marker(4, 7, 0, true, 1_700_000_000_004),
        Log::transactional(5, 9, 2, &[b"aborted by a fence, over two segments"]).bytes(),
        marker(6, 8, 0, false, 1_700_000_000_006),
    ];
    let rest = [
        marker(7, 9, 3, false, 1_700_000_000_007),
        // Offsets 8 and 9 were data of an aborted transaction of producer 7, compacted away; entry and marker stayed.
        marker(10, 7, 0, false, 1_700_000_000_010),
        Log::transactional(11, 7, 0, &[b"committed although its producer is listed"]).bytes(),
        marker(12, 7, 0, true, 1_700_000_000_012),
    ];
    let one = segment(of, (0, 7), FrameCompression::Lz4, tracker, Some(&[entry(8, 2), entry(9, 5)]), &cut);
    let two = segment(of, (7, 13), FrameCompression::Lz4, tracker, Some(&[entry(9, 5), entry(7, 8)]), &rest);
    let entries = vec![made.own(&events, of.lineage, &one), made.own(&events, of.lineage, &two)];
    ops.push(add(&events, entries, of.lineage));
    made.commit(ops);

    // 3: a pack; a gap; transactions as a read_uncommitted fetch brings them.
    let tracker = &mut TransactionTracker::default();
    let audit_1 = [
        Log::transactional(0, 5, 1, &[b"aborted in the next segment"]).bytes(),
        Log::transactional(1, 6, 0, &[b"committed"]).bytes(),
        marker(2, 6, 0, true, 1_700_000_000_002),
    ];
    let audit_2 =
        [marker(3, 5, 1, false, 1_700_000_000_003), Log::transactional(4, 5, 1, &[b"never decided"]).bytes()];
    let none = FrameCompression::None;
    let plain = &mut TransactionTracker::default();
    let packed = [
        (
            &orders_1,
            segment(
                &lineages[&orders_1],
                (5, 9),
                none,
                plain,
                Some(&[]),
                &[at(5, Codec::None, &[b"5", b"6"]), at(7, Codec::Zstd, &[b"7, lost to the fork", b"8"])],
            ),
        ),
        (
            &payments,
            segment(
                &lineages[&payments],
                (0, 2),
                none,
                plain,
                Some(&[]),
                &[at(0, Codec::None, &[b"dropped", b"later"])],
            ),
        ),
        (&audit, segment(&lineages[&audit], (0, 3), none, tracker, None, &audit_1)),
        (&audit, segment(&lineages[&audit], (3, 5), none, tracker, None, &audit_2)),
    ];
    let (number, mut pack) = (made.object(), Vec::new());
    let lost = Gap { first: 0, end: 5, reason: GapReason::Retention };
    let gap = |place: &TopicPartition, id, gap| Op::Gap {
        topic: place.topic.clone(),
        partition: place.partition,
        lineage: id,
        gap,
    };
    let mut ops = vec![gap(&orders_1, lineages[&orders_1].lineage, lost)];
    let mut packed_entries = Vec::new();
    for (place, segment) in &packed {
        let entry = SegmentEntry::of(segment, SegmentObject::Pack(ME, number), pack.len() as u64);
        pack.extend_from_slice(&segment.parts.concat());
        packed_entries.push(entry.clone());
        ops.push(add(place, vec![entry], lineages[*place].lineage));
    }
    made.objects.insert(ObjectName::Pack(ME, number).key(), pack);
    made.commit(ops);
    made.write_checkpoint();

    // 4: a merge, a drop, a fork, a retired writer.
    let of = &lineages[&orders];
    let all: Vec<Vec<u8>> = first.iter().chain(&second).cloned().collect();
    let merged =
        segment(of, (0, 28), FrameCompression::Lz4, &mut TransactionTracker::default(), Some(&[]), &all);
    let merged = made.own(&orders, of.lineage, &merged);
    let removed = to_merge.iter().map(SegmentEntry::reference).collect();
    let fork = lineage(&orders_1, Some(Fork { parent: lineages[&orders_1].lineage, offset: 7, epoch: 9 }));
    let other = segment(
        &fork,
        (7, 9),
        none,
        &mut TransactionTracker::default(),
        Some(&[]),
        &[at(7, Codec::Gzip, &[b"7, after the fork", b"8"])],
    );
    let other = made.own(&orders_1, fork.lineage, &other);
    let payments_id = lineages[&payments].lineage;
    let dropped = vec![packed_entries[1].reference()];
    let compacted = Gap { first: 13, end: 20, reason: GapReason::Compacted };
    made.commit(vec![
        Op::Replace {
            topic: orders.topic.clone(),
            partition: 0,
            lineage: of.lineage,
            removed,
            added: vec![merged],
        },
        Op::Drop { topic: payments.topic.clone(), partition: 11, lineage: payments_id, removed: dropped },
        Op::Lineage(fork.clone()),
        add(&orders_1, vec![other], fork.lineage),
        gap(&events, lineages[&events].lineage, compacted),
        Op::Retire { incarnation: Incarnation(0xdead) },
    ]);
    made
}

fn load(folder: &Path, base: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            load(&path, base, into);
        } else {
            let parts: Vec<_> =
                path.strip_prefix(base).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
            into.insert(parts.join("/"), std::fs::read(&path).unwrap());
        }
    }
}

fn page<T: serde::de::DeserializeOwned>(objects: &BTreeMap<String, Vec<u8>>, page: PageRef) -> T {
    let stored = &objects[&ObjectName::page(page.seq, page.blake3).key()];
    assert_eq!(Hash::of(stored), page.blake3);
    document::open(DocumentKind::Page, stored).unwrap()
}

/// The state by the newest checkpoint, with every list; and the commits' numbers.
fn by_checkpoint(objects: &BTreeMap<String, Vec<u8>>, commits: &[(Commit, Hash)]) -> State {
    let named = commits[commits.len() - 1].0.checkpoint.unwrap();
    let stored = &objects[&ObjectName::CheckpointRoot(named.seq).key()];
    assert_eq!(Hash::of(stored), named.blake3);
    let root: Root = document::open(DocumentKind::Checkpoint, stored).unwrap();
    let pages =
        root.positions.iter().map(|positions| page::<PositionsPage>(objects, positions.page)).collect();
    let mut state = root.state(pages).unwrap();
    for run in &root.runs {
        for run_page in page::<RunIndex>(objects, run.index).pages {
            for change in page::<RunPage>(objects, run_page.page).changes {
                assert!(change.removed.is_empty(), "nothing was removed before this checkpoint");
                let place = TopicPartition::new(change.topic, change.partition);
                state.load_list(&place, change.lineage, change.added).unwrap();
            }
        }
    }
    state.keeps_lists = true;
    for (commit, hash) in commits.iter().filter(|(commit, _)| commit.seq > named.seq) {
        state.apply(commit, *hash).unwrap();
    }
    state
}

fn said(state: &State) -> Value {
    let partitions: BTreeMap<String, Value> = state
        .partitions()
        .map(|(place, partition)| (place.to_string(), serde_json::to_value(partition).unwrap()))
        .collect();
    let lists: BTreeMap<String, &[SegmentEntry]> = state
        .partitions()
        .flat_map(|(place, partition)| {
            partition
                .lineages
                .iter()
                .map(move |l| (format!("{place}/{}", l.id), l.segments.as_ref().map_or(&[][..], |list| list)))
        })
        .collect();
    json!({
        "seq": state.seq, "head": state.head, "writer": state.writer, "retired": *state.retired,
        "cluster": state.cluster, "dropped": *state.dropped, "partitions": partitions, "segments": lists,
    })
}

fn hex(bytes: Option<&[u8]>) -> Value {
    match bytes {
        None => Value::Null,
        Some(long) if long.len() > 1000 => json!({"length": long.len(), "blake3": Hash::of(long)}),
        Some(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    }
}

fn fate_word(fate: Option<Fate>) -> &'static str {
    match fate {
        Some(Fate::Plain) => "plain",
        Some(Fate::Committed) => "committed",
        Some(Fate::Aborted) => "aborted",
        Some(Fate::Control) => "control",
        None => "open",
    }
}

struct ReadSegment {
    log: Vec<u8>,
    aborted: Option<Vec<AbortedTransaction>>,
}

/// Reads a segment as FORMAT.md says and compares it with its entry.
fn read_segment(
    objects: &BTreeMap<String, Vec<u8>>,
    place: &TopicPartition,
    id: LineageId,
    entry: &SegmentEntry,
    markers: &mut Vec<Marker>,
) -> ReadSegment {
    let object = &objects[&entry.key(place, id)];
    let bytes = &object[entry.position as usize..(entry.position + entry.length) as usize];
    assert_eq!(Hash::of(bytes), entry.blake3);
    let tail = read_tail(bytes, entry.length).unwrap();
    let (identity, _) = read_header(bytes).unwrap();
    assert_eq!((&identity.partition, identity.lineage, identity.range), (place, id, entry.range()));
    let index = &bytes[tail.index_position as usize..bytes.len() - TAIL];
    let index = SegmentIndex::decode(index, tail.index_position).unwrap();
    let (mut log, mut decompressor) = (Vec::new(), Decompressor::new());
    for frame in &index.frames {
        let stored = &bytes[frame.position as usize..][..frame.stored as usize];
        log.extend_from_slice(&decode_frame(frame, stored, &mut decompressor).unwrap());
    }
    let (mut digest, mut records, mut count) = (BatchDigest::EMPTY, 0, 0);
    for batch in Batches::new(&log) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        digest.push(&batch);
        records += batch.record_count() as u64;
        count += 1;
    }
    assert_eq!((digest, records, count), (entry.batch_digest, entry.records, entry.batches));
    assert_eq!(index.transactions.open, entry.open);
    markers.extend(&index.transactions.markers);
    ReadSegment { log, aborted: identity.aborted_listed.then_some(index.transactions.aborted) }
}

/// Every record of every lineage's live segments, a line each, and the content digest of what consumers see.
fn records(objects: &BTreeMap<String, Vec<u8>>, state: &State) -> String {
    let mut lines = String::new();
    for (place, partition) in state.partitions() {
        for lineage in &partition.lineages {
            let mut markers = Vec::new();
            let entries = lineage.segments.as_ref().unwrap();
            let segments: Vec<_> = entries
                .iter()
                .map(|entry| read_segment(objects, &place, lineage.id, entry, &mut markers))
                .collect();
            let mut digest = ContentDigest::EMPTY;
            for segment in segments {
                let (mut waiting, mut active) =
                    (segment.aborted.clone().unwrap_or_default(), BTreeSet::new());
                let (mut decompressor, mut scratch) = (Decompressor::new(), Vec::new());
                for batch in Batches::new(&segment.log).map(Result::unwrap) {
                    let id = batch.producer_id();
                    waiting.retain(|listed| {
                        let due = listed.first_offset <= batch.last_offset();
                        due.then(|| active.insert(listed.producer_id));
                        !due
                    });
                    let attributes = batch.attributes();
                    let fate = if attributes.control() {
                        if read_marker(&batch).unwrap().is_some_and(|marker| !marker.committed) {
                            active.remove(&id);
                        }
                        Some(Fate::Control)
                    } else if !attributes.transactional() {
                        Some(Fate::Plain)
                    } else if segment.aborted.is_some() {
                        Some(if active.contains(&id) { Fate::Aborted } else { Fate::Committed })
                    } else {
                        let next =
                            markers.iter().find(|m| m.producer_id == id && m.offset > batch.last_offset());
                        next.map(|marker| if marker.committed { Fate::Committed } else { Fate::Aborted })
                    };
                    for record in
                        decompressor.records(&batch, 1 << 20, &mut scratch).unwrap().map(Result::unwrap)
                    {
                        let timestamp = batch.effective_timestamp(record.timestamp_delta);
                        if matches!(fate, Some(Fate::Plain | Fate::Committed)) {
                            digest.push_record(timestamp, &record);
                        }
                        let headers: Vec<_> =
                            record.headers.map(|(key, value)| json!([hex(Some(key)), hex(value)])).collect();
                        let line = json!({
                            "partition": place.to_string(), "lineage": lineage.id,
                            "offset": batch.base_offset() + i64::from(record.offset_delta), "timestamp": timestamp,
                            "fate": fate_word(fate), "key": hex(record.key), "value": hex(record.value), "headers": headers,
                        });
                        lines.push_str(&format!("{line}\n"));
                    }
                }
            }
            let line =
                json!({"partition": place.to_string(), "lineage": lineage.id, "content_digest": digest});
            lines.push_str(&format!("{line}\n"));
        }
    }
    lines
}

#[test]
fn every_release_reads_the_backup_of_version_1() {
    if std::env::var_os("REPLEVIN_WRITE_GOLDEN").is_some() && !testdata("v1").exists() {
        let made = make();
        for (key, bytes) in &made.objects {
            let path = testdata("v1").join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let state = serde_json::to_string_pretty(&said(&made.state)).unwrap();
        std::fs::write(testdata("v1.state.json"), state + "\n").unwrap();
        std::fs::write(testdata("v1.records.jsonl"), records(&made.objects, &made.state)).unwrap();
    }
    let mut objects = BTreeMap::new();
    load(&testdata("v1"), &testdata("v1"), &mut objects);
    for key in objects.keys() {
        assert_eq!(ObjectName::parse(key).unwrap().key(), *key);
    }
    let repository = Repository::decode(&objects["repository.json"]).unwrap();
    assert_eq!((repository.backup_id.as_str(), repository.cluster_id.as_str()), ("golden", CLUSTER));
    repository.check_writable().unwrap();

    let (mut state, mut commits) = (State::with_lists(), Vec::new());
    while let Some(stored) = objects.get(&ObjectName::Commit(state.seq + 1).key()) {
        let (commit, hash) = (Commit::decode(state.seq + 1, stored).unwrap(), Hash::of(stored));
        state.apply(&commit, hash).unwrap();
        commits.push((commit, hash));
    }
    let expected: Value = serde_json::from_slice(&std::fs::read(testdata("v1.state.json")).unwrap()).unwrap();
    assert_eq!(said(&state), expected);
    let by_checkpoint = by_checkpoint(&objects, &commits);
    assert_eq!(said(&by_checkpoint), expected);
    assert_eq!(by_checkpoint.checkpoint, state.checkpoint);
    let expected = std::fs::read_to_string(testdata("v1.records.jsonl")).unwrap();
    assert!(records(&objects, &state) == expected, "the records differ from v1.records.jsonl");
    for (place, partition) in state.partitions() {
        for lineage in &partition.lineages {
            let facts = lineage.fork.map(|fork| (fork.parent, fork.offset, fork.epoch));
            let id = LineageId::derive(
                &lineage.cluster_id,
                &place.topic,
                lineage.topic_id,
                place.partition,
                facts,
            );
            assert_eq!(id, lineage.id);
        }
    }
    let cluster = state.cluster.unwrap();
    assert_eq!(Hash::of(&objects[&cluster.key]), cluster.blake3);
}

/// What this build writes says the same as what the first release wrote.
#[test]
fn the_golden_backup_can_still_be_made() {
    let made = make();
    let mut expected: Value =
        serde_json::from_slice(&std::fs::read(testdata("v1.state.json")).unwrap()).unwrap();
    let mut found = said(&made.state);
    // Hashes, lengths and CRCs follow the codecs' output; everything else must be the same.
    fn neutral(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for name in [
                    "head",
                    "blake3",
                    "length",
                    "stored",
                    "crc",
                    "batch_digest",
                    "bytes",
                    "largest_batch",
                    "position",
                    "holes",
                    "log_append_time",
                ] {
                    members.remove(name);
                }
                members.values_mut().for_each(neutral);
            }
            Value::Array(items) => items.iter_mut().for_each(neutral),
            _ => {}
        }
    }
    neutral(&mut expected);
    neutral(&mut found);
    assert_eq!(found, expected);
    assert!(
        records(&made.objects, &made.state) == std::fs::read_to_string(testdata("v1.records.jsonl")).unwrap()
    );
}
