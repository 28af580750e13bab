//! Nothing but ids changes, whatever the records and the batch are.

use proptest::prelude::*;

use super::model::{Owned, Packing, Rules, batch, encode, expect};
use crate::codec::{Codec, Decompressor};
use crate::record_batch::{HEADER_LEN, RecordBatch};
use crate::rewrite::{Report, RewriteSettings, Rewriter};

pub(super) const SETTINGS: RewriteSettings =
    RewriteSettings { decompressed_cap: 1 << 24, gzip_level: None, zstd_level: None };

/// The batch rewritten, or nothing; after a few bytes that must stay.
pub(super) fn rewrite(bytes: &[u8], rules: &mut Rules) -> (Report, Option<Vec<u8>>) {
    let mut out = b"kept".to_vec();
    let mut rewriter = Rewriter::new(SETTINGS).unwrap();
    let report = rewriter.rewrite(&RecordBatch::parse(bytes).unwrap(), rules, &mut out).unwrap();
    assert!(out.starts_with(b"kept"));
    let written = out.split_off(4);
    assert_eq!(report.changed, !written.is_empty());
    (report.clone(), report.changed.then_some(written))
}

/// Rewrites a batch of these records and looks at every byte of what comes out.
pub(super) fn check(records: &[Owned], packing: Packing, bits: u16, tail: i32) {
    let (source, expected) = (batch(records, packing, bits, tail), expect(records));
    let mut rules = Rules::default();
    let (report, written) = rewrite(&source, &mut rules);
    assert_eq!(report.counts, expected.counts);
    assert_eq!(report.unknown, expected.unknown);
    assert_eq!(rules.overruled, expected.overruled);
    assert_eq!(report.changed, records != expected.records);
    let Some(written) = written else { return };
    let parsed = RecordBatch::parse(&written).unwrap();
    assert_eq!(parsed.len(), written.len());
    parsed.verify_crc().unwrap();
    // Base offset; leader epoch and magic; from the attributes to the count.
    for range in [0..8, 12..17, 21..HEADER_LEN] {
        assert_eq!(written[range.clone()], source[range.clone()], "{range:?}");
    }
    if packing == Packing::Codec(Codec::None) {
        assert_eq!(written, batch(&expected.records, packing, bits, tail));
    }
    let mut payload = Vec::new();
    let codec = parsed.attributes().codec().unwrap();
    Decompressor::new().decompress(codec, parsed.records_payload(), 1 << 24, &mut payload).unwrap();
    assert_eq!(payload, encode(&expected.records));
}

/// Bytes of every kind that there are, as keys, values and headers.
fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    let number = prop_oneof![Just(0), Just(-1), Just(i32::MAX), Just(i32::MIN), 1..10i32, any::<i32>()];
    let indexes = prop_oneof![
        Just(vec![]),
        Just(vec![0]),
        Just(vec![4, 2, 0]),
        Just(vec![0x80, 0]),
        Just(vec![0xFE, 0xFF, 0xFF, 0xFF, 0x0F]),
        any::<Vec<u8>>(),
    ];
    let framed = (number, indexes).prop_map(|(id, tail)| [&[0], &id.to_be_bytes()[..], &tail].concat());
    let long = (1i64..100).prop_map(|id| [&[0], &id.to_be_bytes()[..], b"apicurio"].concat());
    let magic =
        prop_oneof![Just(vec![1]), Just(vec![3, 0]), Just(vec![3, 5]), Just(vec![3, 1]), Just(vec![2])];
    let guid = (magic, any::<[u8; 16]>(), any::<bool>())
        .prop_map(|(magic, guid, tail)| [&magic[..], &guid, if tail { &[4, 2, 0] } else { &[] }].concat());
    let short = proptest::collection::vec(0u8..4, 0..7);
    prop_oneof![
        Just(None),
        framed.prop_map(Some),
        long.prop_map(Some),
        guid.prop_map(Some),
        short.prop_map(Some),
        any::<Vec<u8>>().prop_map(Some),
    ]
}

fn record() -> impl Strategy<Value = Owned> {
    let names = ["__key_schema_id", "__value_schema_id", "__value_schema_id", "__value_schema_i", "h", ""];
    let name = prop::sample::select(names.map(|name| name.as_bytes().to_vec()).to_vec());
    let headers = proptest::collection::vec((name, bytes()), 0..4);
    (any::<u8>(), any::<i64>(), 1..4i32, bytes(), bytes(), headers, any::<bool>()).prop_map(
        |(attributes, timestamp_delta, offset_delta, key, value, headers, long_varints)| Owned {
            attributes,
            timestamp_delta,
            offset_delta,
            key,
            value,
            headers,
            long_varints,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn only_the_ids_that_the_rules_change_change(
        mut records in proptest::collection::vec(record(), 1..12),
        packing in prop::sample::select(Packing::ALL.to_vec()),
        // LogAppendTime, transactional, delete horizon, and the bit that Kafka does not use.
        bits in prop::sample::select(vec![0u16, 0x08, 0x10, 0x40, 0xD8]),
        tail in 0..3i32,
    ) {
        let mut delta = -1;
        for record in &mut records {
            delta += record.offset_delta;
            record.offset_delta = delta;
        }
        check(&records, packing, bits, tail);
    }
}

fn framed(id: i32, tail: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], tail].concat()
}

#[test]
fn bytes_after_an_id_stay_whatever_they_are() {
    let tails: [&[u8]; 6] = [
        &[0, 8, 1],
        &[4, 2, 0, 8, 1],
        &[2, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
        &[0xFE, 0xFF, 0xFF, 0xFF, 0x0F, 1],
        &[0xFF; 40],
        &[],
    ];
    let records: Vec<_> = (0..).zip(tails).map(|(delta, tail)| Owned::of(delta, &framed(3, tail))).collect();
    for packing in Packing::ALL {
        check(&records, packing, 0, 0);
    }
}

#[test]
fn what_has_no_id_passes_untouched() {
    let mut values: Vec<Vec<u8>> = (0..5).map(|length| vec![0; length]).collect();
    values.extend([framed(0, b""), framed(0, b"x"), framed(-1, b"x"), framed(i32::MIN, b"x"), vec![0; 40]]);
    values.extend([[&[3, 0][..], &[0; 16]].concat(), [&[3, 5][..], &[9; 30]].concat()]);
    values.push([&[0][..], &3i64.to_be_bytes(), b"apicurio"].concat());
    let records: Vec<_> = (0..).zip(&values).map(|(delta, value)| Owned::of(delta, value)).collect();
    for packing in Packing::ALL {
        let (report, written) = rewrite(&batch(&records, packing, 0, 0), &mut Rules::default());
        assert_eq!((written, &report.unknown[..]), (None, &[][..]));
        let counts = report.counts.value;
        assert_eq!((counts.glue, counts.long_ids, counts.other), (2, 1, 10));
    }
}

#[test]
fn the_least_and_the_greatest_id_are_ids() {
    // 2^31-1 is 1 modulo 3 and 1 is too: unknown. 2^31-2 is 0 modulo 3.
    let records = [Owned::of(0, &framed(i32::MAX, b"")), Owned::of(1, &framed(1, b""))];
    let (report, written) = rewrite(&batch(&records, Packing::ALL[0], 0, 0), &mut Rules::default());
    assert_eq!((report.unknown.len(), written), (2, None));
    check(&[Owned::of(0, &framed(i32::MAX - 1, b"x"))], Packing::ALL[0], 0, 0);
}

#[test]
fn headers_and_prefixes_of_one_record_all_change() {
    let name = |name: &str| name.as_bytes().to_vec();
    let guid = |first: u8| Some([&[1, first][..], &[7; 15]].concat());
    let record = Owned {
        key: Some(framed(6, b"key")),
        headers: vec![
            (name("__value_schema_id"), Some(framed(9, &[0]))),
            (name("__value_schema_id"), guid(0)),
            (name("__key_schema_id"), None),
            (name("__value_schema_id"), Some(b"odd".to_vec())),
            (name("__key_schema_id"), guid(1)),
        ],
        ..Owned::of(0, &framed(3, b"value"))
    };
    let mut rules = Rules::default();
    let source = batch(std::slice::from_ref(&record), Packing::ALL[0], 0, 0);
    let (report, _) = rewrite(&source, &mut rules);
    let value = report.counts.value;
    assert_eq!((value.header_id.changed, value.header_guid.changed, value.prefix.changed), (1, 1, 1));
    assert_eq!((value.unread_headers, report.counts.key.prefix.changed, rules.overruled), (1, 1, 2));
    assert_eq!(report.unknown.len(), 1);
    for packing in Packing::ALL {
        check(std::slice::from_ref(&record), packing, 0x18, 4);
    }
}
