//! A million records, in batches of a thousand.

use super::model::{Owned, Packing, batch, encode, expect};
use super::same_bytes::SETTINGS;
use crate::codec::{Codec, Decompressor};
use crate::record_batch::{HEADER_LEN, RecordBatch};
use crate::rewrite::{Counts, Rewriter};

/// Numbers without a pattern that matters here.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let (kind, a, b) = (self.next() % 16, self.next(), self.next());
        let id = |id: u32| [&[0], &id.to_be_bytes()[..]].concat();
        let mut bytes = match kind {
            0 => return None,
            1 => vec![0; (a % 7) as usize],
            2 => [&[0, 0, 0, 0, 0][..], &a.to_be_bytes()].concat(),
            3 => id([0, u32::MAX, i32::MAX as u32, 1 << 31][(a % 4) as usize]),
            4 => [&[3, 5 * (a % 2) as u8][..], &[a as u8; 16]].concat(),
            5 => [&[1][..], &[a as u8; 16]].concat(),
            6 => a.to_be_bytes().to_vec(),
            7 => id(a & 0x7fff_ffff),
            _ => id(1 + a % 1000),
        };
        let indexes: [&[u8]; 4] = [&[0], &[4, 2, 0], &[2, 0x80, 0x80, 0], &[0xFE, 0xFF, 0xFF, 0xFF, 0x0F]];
        bytes.extend_from_slice(indexes[(b % 4) as usize]);
        bytes.resize(bytes.len() + (b >> 8) as usize % 30, b as u8);
        Some(bytes)
    }

    fn record(&mut self, offset_delta: i32) -> Owned {
        let names = ["__key_schema_id", "__value_schema_id", "trace"];
        let headers = if self.next().is_multiple_of(8) {
            names.iter().map(|name| (name.as_bytes().to_vec(), self.bytes())).collect()
        } else {
            Vec::new()
        };
        Owned { key: self.bytes(), value: self.bytes(), headers, ..Owned::of(offset_delta, b"") }
    }
}

#[test]
fn exactly_what_the_rules_say_changes_in_a_million_records() {
    let (mut noise, mut counts, mut unknown) = (Noise(1), Counts::default(), 0);
    let (mut rewriter, mut decompressor) = (Rewriter::new(SETTINGS).unwrap(), Decompressor::new());
    let (mut out, mut payload) = (Vec::new(), Vec::new());
    for number in 0..1000 {
        let records: Vec<_> = (0..1000).map(|delta| noise.record(delta)).collect();
        let expected = expect(&records);
        let codec = if number % 10 == 9 { Codec::ALL[number / 10 % 5] } else { Codec::None };
        let source = batch(&records, Packing::Codec(codec), 0, 0);
        out.clear();
        let parsed = RecordBatch::parse(&source).unwrap();
        let report = rewriter.rewrite(&parsed, &mut super::model::Rules::default(), &mut out).unwrap();
        assert!(report.changed && report.counts == expected.counts && report.unknown == expected.unknown);
        let written = RecordBatch::parse(&out).unwrap();
        written.verify_crc().unwrap();
        assert_eq!(out[21..HEADER_LEN], source[21..HEADER_LEN]);
        decompressor.decompress(codec, written.records_payload(), 1 << 24, &mut payload).unwrap();
        assert!(payload == encode(&expected.records), "batch {number}");
        counts += report.counts;
        unknown += report.unknown.len();
    }
    // Every kind was among them.
    for side in [counts.key, counts.value] {
        for fates in [side.prefix, side.header_id, side.header_guid] {
            assert!(fates.same > 1000 && fates.changed > 1000 && fates.unknown > 1000, "{fates:?}");
        }
        let others = [side.unread_headers, side.long_ids, side.prefix_guids, side.glue, side.other];
        assert!(others.iter().all(|count| *count > 1000), "{others:?}");
    }
    assert!(unknown > 100_000);
}
