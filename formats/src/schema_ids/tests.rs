use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::codec::Codec;
use crate::commit::{SegmentEntry, SegmentObject};
use crate::ids::{Incarnation, LineageId, OffsetRange, Topic, TopicPartition};
use crate::record_batch::Batches;
use crate::sample::{Draft, Log, TRANSACTIONAL, marker};
use crate::segment::{EncodedSegment, FrameCompression, SegmentEncoder, SegmentIdentity, SegmentInput};
use crate::transactions::SegmentTransactions;

const CAP: usize = 1 << 20;

fn id(number: u32) -> SchemaId {
    SchemaId::new(number).unwrap()
}

fn framed(number: i32, rest: &[u8]) -> Vec<u8> {
    [&[0], &number.to_be_bytes()[..], rest].concat()
}

fn with_guid(guid: [u8; 16]) -> Vec<u8> {
    [&[1], &guid[..]].concat()
}

/// A batch with these records, whose deltas count from 0.
fn batch(base_offset: i64, codec: Codec, mut records: Vec<Draft>) -> Vec<u8> {
    (0..).zip(&mut records).for_each(|(delta, record)| record.offset_delta = delta);
    Log { records, ..Log::plain(base_offset, codec, &[]) }.bytes()
}

fn valued(value: Vec<u8>) -> Draft {
    Draft { key: None, ..Draft::new(0, value) }
}

fn scan(batches: &[Vec<u8>]) -> SchemaIds {
    let mut scanner = IdScanner::new(CAP);
    for batch in batches {
        scanner.batch(&RecordBatch::parse(batch).unwrap());
    }
    scanner.finish()
}

fn encode(compression: FrameCompression, end: i64, runs: Vec<Bytes>, scans: bool) -> EncodedSegment {
    let identity = SegmentIdentity {
        partition: TopicPartition::new(Topic::new("t").unwrap(), 0),
        lineage: LineageId(1),
        range: OffsetRange::new(0, end),
        aborted_listed: false,
    };
    let encoder = SegmentEncoder::new(compression);
    let mut encoder = if scans { encoder.with_schema_ids(CAP) } else { encoder };
    encoder.encode(SegmentInput { identity, runs, transactions: SegmentTransactions::default() }).unwrap()
}

/// What the lists must say, found by another way through the records.
#[derive(Debug, Default)]
struct Model {
    lists: [[BTreeMap<Vec<u8>, u64>; 3]; 2],
    other: [u64; 2],
}

impl Model {
    fn of(records: &[Draft]) -> Self {
        let mut model = Self::default();
        for record in records {
            for (side, name, payload) in
                [(0, "__key_schema_id", &record.key), (1, "__value_schema_id", &record.value)]
            {
                let headers: Vec<_> =
                    record.headers.iter().filter(|(found, _)| found == name.as_bytes()).collect();
                for value in headers.iter().filter_map(|(_, value)| value.as_ref()) {
                    match value.first() {
                        Some(0) if is_id(value) => model.count(side, 1, &value[1..5]),
                        Some(1) if value.len() >= 17 => model.count(side, 2, &value[1..17]),
                        _ => model.other[side] += 1,
                    }
                }
                let told = headers.last().is_some_and(|(_, value)| value.is_some());
                let Some(payload) = payload.as_ref().filter(|_| !told) else { continue };
                if payload.first() == Some(&0) && is_id(payload) {
                    model.count(side, 0, &payload[1..5]);
                } else {
                    model.other[side] += 1;
                }
            }
        }
        model
    }

    fn count(&mut self, side: usize, form: usize, id: &[u8]) {
        *self.lists[side][form].entry(id.to_vec()).or_default() += 1;
    }

    fn check(&self, found: &SchemaIds) {
        for (side, lists) in [&found.key, &found.value].into_iter().zip(&self.lists) {
            check(&side.prefix, &lists[0], |id| id.number().to_be_bytes().to_vec());
            check(&side.header, &lists[1], |id| id.number().to_be_bytes().to_vec());
            check(&side.guid, &lists[2], |guid| guid.as_bytes().to_vec());
        }
        assert_eq!([found.key.other, found.value.other], self.other);
    }
}

fn is_id(bytes: &[u8]) -> bool {
    bytes.len() >= 5 && bytes[1] < 0x80 && bytes[1..5] != [0; 4]
}

/// A list has every id up to its greatest with the right count, and only what is beyond is not listed.
fn check<T: Copy + Ord>(list: &Listed<T>, model: &BTreeMap<Vec<u8>, u64>, bytes: impl Fn(T) -> Vec<u8>) {
    let listed: BTreeMap<Vec<u8>, u64> = list.ids.iter().map(|(id, count)| (bytes(*id), *count)).collect();
    let to = list.complete_to().map(bytes);
    let known = |(id, _): &(&Vec<u8>, &u64)| to.as_ref().is_none_or(|to| *id <= to);
    assert_eq!(listed, model.iter().filter(known).map(|(id, count)| (id.clone(), *count)).collect());
    assert_eq!(list.total(), model.values().sum::<u64>());
    assert!(list.ids.is_sorted() && list.ids.len() <= MOST_IDS);
}

fn payload() -> impl Strategy<Value = Option<Vec<u8>>> {
    // Few ids and many, so that lists stay short and overflow.
    let number = prop_oneof![
        2 => 1..4i32, 2 => 1..400i32, 3 => any::<i32>(), 1 => prop_oneof![Just(0), Just(-1), Just(i32::MAX)]
    ];
    let framed = (number, prop::collection::vec(any::<u8>(), 0..9)).prop_map(|(id, rest)| framed(id, &rest));
    let guid = prop_oneof![Just([7; 16]), any::<[u8; 16]>()].prop_map(with_guid);
    prop_oneof![
        1 => Just(None),
        6 => framed.prop_map(Some),
        1 => guid.prop_map(Some),
        1 => prop::collection::vec(0..4u8, 0..7).prop_map(Some),
        1 => any::<Vec<u8>>().prop_map(Some),
    ]
}

fn record() -> impl Strategy<Value = Draft> {
    let names = ["__key_schema_id", "__value_schema_id", "__value_schema_id", "__value_schema_i", ""];
    let name = prop::sample::select(names.map(|name| name.as_bytes().to_vec()).to_vec());
    let headers = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec((name, payload()), 0..4)];
    (payload(), payload(), headers).prop_map(|(key, value, headers)| Draft {
        key,
        value,
        headers,
        ..Draft::new(0, "")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_id_is_found_whatever_the_codec_and_the_frame_and_no_byte_changes(
        batches in prop::collection::vec(
            (prop::sample::select(Codec::ALL.to_vec()), prop::collection::vec(record(), 1..100)), 1..6),
        compression in prop::sample::select(
            vec![FrameCompression::None, FrameCompression::Lz4, FrameCompression::Zstd(1)]),
        split in 0..6usize,
    ) {
        let (mut at, mut made, mut all) = (0, Vec::new(), Vec::new());
        for (codec, records) in batches {
            made.push(batch(at, codec, records.clone()));
            at += records.len() as i64;
            all.extend(records);
        }
        let model = Model::of(&all);
        let runs = || vec![Bytes::from(made.concat())];
        let segment = encode(compression, at, runs(), true);
        let found = segment.schema_ids.clone().unwrap();
        model.check(&found);
        assert_eq!(found.unread, 0);
        assert_eq!(found, scan(&made));
        let plain = encode(compression, at, runs(), false);
        assert_eq!((plain.schema_ids, plain.blake3), (None, segment.blake3));
        // Parts add up to the whole.
        let (head, tail) = made.split_at(split.min(made.len()));
        let mut tally = IdTally::default();
        tally.merge(&scan(head));
        tally.merge(&scan(tail));
        let sum = tally.finish();
        model.check(&sum);
        prop_assert!(sum.agrees(&found) && found.agrees(&sum));
        // And come back from JSON.
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<SchemaIds>(&json).unwrap(), found);
    }
}

#[test]
fn an_entry_says_it_in_these_words() {
    let guid = [0xab; 16];
    let headed = |name: &str, value: Vec<u8>| Draft {
        headers: vec![(name.as_bytes().to_vec(), Some(value))],
        ..Draft::new(0, framed(99, b"is payload here"))
    };
    let records = vec![
        valued(framed(5, b"x")),
        valued(framed(5, b"")),
        valued(framed(3, b"y")),
        valued(b"text".to_vec()),
        headed("__value_schema_id", with_guid(guid)),
        headed("__key_schema_id", framed(7, &[0])),
    ];
    let segment = encode(FrameCompression::None, 6, vec![batch(0, Codec::Zstd, records).into()], true);
    let entry = SegmentEntry::of(&segment, SegmentObject::Own(Incarnation(1), 1), 0);
    let json = serde_json::to_value(&entry).unwrap();
    let expected = serde_json::json!({
        "key": {"header": {"ids": [[7, 1]]}, "other": 1},
        "value": {
            "prefix": {"ids": [[3, 1], [5, 2], [99, 1]]},
            "guid": {"ids": [["abababab-abab-abab-abab-abababababab", 1]]},
            "other": 1,
        },
    });
    assert_eq!(json["schema_ids"], expected);
    assert_eq!(serde_json::from_value::<SegmentEntry>(json).unwrap(), entry);
    // Nothing found is said too, and is something else than not looked for.
    let segment =
        encode(FrameCompression::None, 1, vec![batch(0, Codec::None, vec![valued(vec![])]).into()], true);
    let entry = SegmentEntry::of(&segment, SegmentObject::Own(Incarnation(1), 1), 0);
    let json = serde_json::to_value(&entry).unwrap();
    assert_eq!(json["schema_ids"], serde_json::json!({"value": {"other": 1}}));
    let none = SegmentEntry { schema_ids: Some(Box::default()), ..entry };
    let json = serde_json::to_value(&none).unwrap();
    assert_eq!(json["schema_ids"], serde_json::json!({}));
    assert_eq!(serde_json::from_value::<SegmentEntry>(json).unwrap(), none);
}

#[test]
fn bytes_that_begin_with_a_zero_by_chance_do_not_blow_up_a_list() {
    // Every number is another id, the least ones real; they come mixed.
    let numbers = (0..5_000).map(|n| if n % 10 == 0 { 1 + n / 10 % 12 } else { 1_000_000 + n * 7_919 });
    let records: Vec<_> = numbers.map(|number| valued(framed(number, b"-"))).collect();
    let found = scan(&[batch(0, Codec::Lz4, records.clone())]);
    Model::of(&records).check(&found);
    let list = &found.value.prefix;
    assert_eq!((list.ids.len(), list.beyond), (KEPT_IDS, 5_000 - 500 - 4));
    assert!((1..=12).zip(&list.ids).all(|(number, (found, _))| *found == id(number)));
    assert!(serde_json::to_string(&found).unwrap().len() < 400);
    let guids = (0..100u8).map(|n| Draft {
        headers: vec![(b"__value_schema_id".to_vec(), Some(with_guid([n; 16])))],
        ..valued(vec![])
    });
    let found = scan(&[batch(0, Codec::None, guids.collect())]);
    assert_eq!((found.value.guid.ids.len(), found.value.guid.beyond), (KEPT_IDS, 84));
}

#[test]
fn as_many_as_a_list_holds_are_all_listed() {
    let records = (1..=MOST_IDS as i32).map(|number| valued(framed(number, b""))).collect();
    let list = scan(&[batch(0, Codec::None, records)]).value.prefix;
    assert_eq!((list.ids.len(), list.beyond, list.complete_to()), (MOST_IDS, 0, None));
}

#[test]
fn what_cannot_be_read_is_counted_and_stops_nothing() {
    let mut damaged = batch(0, Codec::Zstd, vec![valued(framed(1, b"lost"))]);
    let last = damaged.len() - 1;
    damaged[last] ^= 0xff;
    let mut cut = batch(1, Codec::None, vec![valued(framed(2, b"")), valued(framed(3, b""))]);
    let last = cut.len() - 7;
    // The second value's length runs over the end of the record.
    cut[last] = 0x7e;
    let large = batch(3, Codec::Zstd, vec![valued(vec![0; CAP])]);
    let sound = batch(4, Codec::Gzip, vec![valued(framed(4, b""))]);
    let found = scan(&[damaged, cut, large, sound]);
    assert_eq!(found.unread, 3);
    let ids: Vec<_> = found.value.prefix.ids.iter().map(|(id, _)| id.number()).collect();
    assert_eq!(ids, [2, 4]);
}

#[test]
fn control_batches_and_empty_ones_are_not_looked_at() {
    let empty = Log { records: Vec::new(), codec: Codec::Zstd, ..Log::plain(2, Codec::Zstd, &[]) }.bytes();
    // A marker's key and value begin with zero bytes.
    assert_eq!(scan(&[marker(0, 1, 0, true, 1), empty]), SchemaIds::default());
    let data = Log { bits: TRANSACTIONAL, ..Log::plain(1, Codec::None, &[&framed(8, b"")]) }.bytes();
    assert_eq!(scan(&[data]).value.prefix.ids, [(id(8), 1)]);
}

#[test]
fn a_scanner_begins_anew_for_every_segment() {
    let (first, second) = (framed(1, b""), framed(2, b""));
    let mut scanner = IdScanner::new(CAP);
    for (value, number) in [(first, 1), (second, 2)] {
        let bytes = batch(0, Codec::None, vec![valued(value)]);
        for batch in Batches::new(&bytes) {
            scanner.batch(&batch.unwrap());
        }
        assert_eq!(scanner.finish().value.prefix.ids, [(id(number), 1)]);
    }
}

#[test]
fn lists_that_were_cut_off_elsewhere_agree() {
    let list = |ids: &[(u32, u64)], beyond| Listed {
        ids: ids.iter().map(|(number, count)| (id(*number), *count)).collect(),
        beyond,
    };
    let whole = list(&[(1, 2), (5, 1), (9, 4)], 0);
    assert!(whole.agrees(&list(&[(1, 2), (5, 1)], 4)) && list(&[(1, 2)], 5).agrees(&whole));
    assert!(!whole.agrees(&list(&[(1, 2), (5, 1)], 3)));
    assert!(!whole.agrees(&list(&[(1, 1), (5, 2)], 4)));
    assert!(!whole.agrees(&list(&[(1, 2), (4, 1)], 4)));
}
