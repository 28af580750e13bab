//! Two lanes over one partition divide its records: what is restored and what is quarantined are together all of them, however the
//! archive is cut, and wherever a run begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use formats::codec::{Codec, Decompressor};
use formats::digest::ContentDigest;
use formats::record_batch::RecordBatch;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::{Framing, Letters, UnknownIds, catalog, framed, framing, map, remap, topic};
use crate::archive::Archive;
use crate::archive::samples::{Item, Sample, batch_of, place};
use crate::budget::Budget;
use crate::restore::TimeWindow;
use crate::restore::download::{Reading, Source, feed};
use crate::restore::schemas::TopicRemap;
use crate::target::lane::{LaneResults, LaneSettings};
use crate::target::part::Part;

/// What a record names, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// No schema.
    Nothing,
    /// One that is another in the target.
    Known,
    /// One that is nowhere there.
    Lost,
    /// One that the archive does not have.
    Foreign,
    /// A known one in its key, and one that is nowhere in its value.
    Both,
    /// A known one in its value, and a foreign one in the value's header.
    Headed,
}

const ALL: [Names; 6] =
    [Names::Nothing, Names::Known, Names::Lost, Names::Foreign, Names::Both, Names::Headed];

impl Names {
    fn is_quarantined(self) -> bool {
        matches!(self, Self::Lost | Self::Foreign | Self::Both | Self::Headed)
    }
}

/// A record as it lies in the archive, and as it is to be in its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    key: Vec<u8>,
    value: Vec<u8>,
    header: Option<Vec<u8>>,
}

fn written(names: Names, number: i64, size: usize, known: u32) -> Written {
    let text = format!("{number:08}-{}", "x".repeat(size)).into_bytes();
    let plain = format!("k{number}").into_bytes();
    let (key, value, header) = match names {
        Names::Nothing => (plain, text, None),
        Names::Known => (plain, framed(known, &text), None),
        Names::Lost => (plain, framed(6, &text), None),
        Names::Foreign => (plain, framed(999, &text), None),
        Names::Both => (framed(known, &plain), framed(6, &text), None),
        Names::Headed => (plain, framed(known, &text), Some(framed(999, b""))),
    };
    Written { key, value, header }
}

/// Batches of records, and where segments are cut: after so many batches each.
#[derive(Debug, Clone)]
struct Case {
    batches: Vec<(Codec, Vec<(Names, usize)>)>,
    cuts: [Vec<usize>; 2],
    window: TimeWindow,
}

fn cases() -> impl Strategy<Value = Case> {
    let codec = prop::sample::select(vec![Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]);
    // Mostly small batches, some larger than what counts as tiny, and some of one kind alone.
    let names = prop_oneof![
        6 => prop::sample::select(ALL.to_vec()).boxed(),
        3 => Just(Names::Known).boxed(),
        1 => Just(Names::Lost).boxed(),
    ];
    let size = prop_oneof![8 => 0..40_usize, 1 => 3000..9000_usize];
    let mixed = prop::collection::vec((names, size), 1..12);
    let alone = (prop::sample::select(ALL.to_vec()), 1..12_usize)
        .prop_map(|(names, count)| vec![(names, 900); count]);
    let records = prop_oneof![3 => mixed.boxed(), 1 => alone.boxed()];
    let batches = prop::collection::vec((codec, records), 1..20);
    let cuts = || prop::collection::vec(1..6_usize, 20);
    let bound = || prop::option::of(0..120_i64);
    (batches, cuts(), cuts(), bound(), bound()).prop_map(|(batches, one, two, start, end)| {
        let time = |record: i64| 1_000_000 + 10 * record;
        let window = TimeWindow { start: start.map(time), end: end.map(time) };
        Case { batches, cuts: [one, two], window }
    })
}

/// A batch that came out: records before it, and its bytes.
type Made = (u64, Vec<u8>);

struct Output {
    batches: Vec<Made>,
    results: LaneResults,
}

async fn made(
    sample: &Sample,
    source: &Source,
    remap: &Arc<TopicRemap>,
    (part, window, present): (Part, TimeWindow, u64),
    digest: bool,
) -> Output {
    let budget = Budget::new(1 << 20);
    let reading = Reading::new(Arc::clone(&sample.store), budget.clone(), Arc::default(), 4);
    let remap = Some(Arc::clone(remap));
    let settings = LaneSettings { window, max_batch: 60_000, digest, max_runs: 1000, remap, part };
    let (out, mut given) = mpsc::channel(4);
    let source = source.clone();
    let fed = tokio::spawn(async move { feed(reading, source, settings, 0, present, &out).await });
    let mut batches = Vec::new();
    while let Some(batch) = given.recv().await {
        let batch = batch.expect("no damage");
        batches.push((batch.index, batch.bytes.to_vec()));
    }
    let results = fed.await.expect("no panic").expect("results");
    assert_eq!(budget.used(), 0, "all memory is given back");
    Output { batches, results }
}

/// The records of batches: what they are, and their times.
fn records(batches: &[Made]) -> (Vec<(Written, i64)>, ContentDigest) {
    let (mut found, mut digest) = (Vec::new(), ContentDigest::EMPTY);
    for (_, bytes) in batches {
        let batch = RecordBatch::parse(bytes).expect("a batch");
        let (mut decompressor, mut scratch) = (Decompressor::new(), Vec::new());
        for record in decompressor.records(&batch, 1 << 20, &mut scratch).expect("records") {
            let record = record.expect("a record");
            let timestamp = batch.effective_timestamp(record.timestamp_delta);
            digest.push_record(timestamp, &record);
            let header = record.headers.clone().next().and_then(|(_, value)| value.map(<[u8]>::to_vec));
            let (key, value) = (record.key.expect("a key").to_vec(), record.value.expect("a value").to_vec());
            found.push((Written { key, value, header }, timestamp));
        }
    }
    (found, digest)
}

async fn divided(case: &Case) {
    let mut remapped = remap(
        catalog(&[("t-value", 1, 5, None), ("t-key", 1, 5, None), ("t-value", 2, 6, None)]),
        &map(&[("5", 50)]),
        &[("t", framing(Framing::Named, Framing::Named))],
        Letters::default(),
    );
    remapped.unknown = UnknownIds::Quarantine;
    let rules = remapped.topic(&topic("t")).expect("looked at");
    let (mut own, mut apart) = (Vec::new(), Vec::new());
    let mut encoded = Vec::new();
    let mut offset = 0;
    for (codec, batch) in &case.batches {
        let texts: Vec<Written> =
            (offset..).zip(batch).map(|(n, (names, size))| written(*names, n, *size, 5)).collect();
        let items: Vec<Item<'_>> = texts
            .iter()
            .map(|record| Item {
                key: Some(&record.key),
                value: Some(&record.value),
                headers: record.header.iter().map(|id| (&b"__value_schema_id"[..], Some(&**id))).collect(),
            })
            .collect();
        encoded.push((offset, batch_of(offset, *codec, None, &items)));
        for ((names, size), text) in batch.iter().zip(texts) {
            let time = 1_000_000 + 10 * offset;
            if case.window.contains(time) {
                match names.is_quarantined() {
                    true => apart.push((text, time)),
                    false => own.push((written(*names, offset, *size, 50), time)),
                }
            }
            offset += 1;
        }
    }
    let mut first: BTreeMap<bool, Vec<Made>> = BTreeMap::new();
    for cuts in &case.cuts {
        let mut sample = Sample::new().await;
        let partition = place("t", 0);
        let lineage = sample.lineage(&partition, 0, None).await;
        let (mut rest, mut cuts) = (&encoded[..], cuts.iter());
        while !rest.is_empty() {
            let (segment, left) = rest.split_at((*cuts.next().unwrap_or(&3)).min(rest.len()));
            let range = (segment[0].0, left.first().map_or(offset, |(next, _)| *next));
            let batches: Vec<Vec<u8>> = segment.iter().map(|(_, bytes)| bytes.clone()).collect();
            sample.segment(&partition, lineage, range, &batches, None).await;
            rest = left;
        }
        let archive =
            Archive::open(Arc::clone(&sample.store), Sample::seam(&sample.clock)).await.expect("opens");
        let segments = archive.segments(&partition, lineage).await.expect("segments").into();
        let source = Source { partition, segments };
        for (part, expected) in [(Part::Own, &own), (Part::Quarantined, &apart)] {
            let whole = made(&sample, &source, &rules, (part, case.window, 0), true).await;
            let (found, digest) = records(&whole.batches);
            assert_eq!(&found, expected, "{part:?}");
            assert_eq!(whole.results.digest, Some(digest), "{part:?}");
            assert_eq!(whole.results.records, expected.len() as u64);
            let counts = whole.results.counts;
            if part == Part::Own {
                assert_eq!(counts.quarantined_records, apart.len() as u64);
                // Segments outside of the window are not even read.
                assert!(counts.outside_window as i64 <= offset - (own.len() + apart.len()) as i64);
                let known =
                    own.iter().filter(|(record, _)| record.value.starts_with(&framed(50, b""))).count();
                assert_eq!(counts.schema_ids.values, known as u64, "of records that are restored");
                assert_eq!((counts.schema_ids.keys, counts.schema_ids.unknown), (0, apart.len() as u64));
            } else {
                assert_eq!((counts.quarantined_records, counts.schema_ids.unknown), (0, 0));
            }
            // Cut otherwise, and from anywhere in the middle, the same batches come out.
            let same = first.entry(part == Part::Own).or_insert_with(|| whole.batches.clone());
            assert_eq!(same, &whole.batches, "{part:?}");
            for at in (0..whole.batches.len()).step_by(5) {
                let present = whole.batches[at].0;
                let again = made(&sample, &source, &rules, (part, case.window, present), false).await;
                assert_eq!(again.batches, whole.batches[at..], "{part:?} from batch {at} on");
                assert_eq!(again.results.counts.quarantined_records, counts.quarantined_records);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_is_restored_and_what_is_quarantined_are_all_records(case in cases()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        runtime.block_on(divided(&case));
    }
}
