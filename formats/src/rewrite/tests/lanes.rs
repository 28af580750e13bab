//! What stays out of the rewriter's hands, what it refuses, and what goes on to the other lanes.

use super::model::{Owned, Packing, Rules, batch, encode};
use super::same_bytes::{SETTINGS, rewrite};
use crate::ErrorKind;
use crate::codec::Codec;
use crate::rebuild::{Holes, RebuildSettings, Rebuilder};
use crate::record_batch::{
    Attributes, BatchHeader, HEADER_LEN, Producer, RecordBatch, patch_for_produce, seal,
};
use crate::rewrite::{RewriteSettings, Rewriter};
use crate::sample;

fn framed(delta: i32, id: u32) -> Owned {
    Owned::of(delta, &[&[0], &id.to_be_bytes()[..], b"value"].concat())
}

fn error(bytes: &[u8], settings: RewriteSettings) -> crate::Error {
    let mut out = b"kept".to_vec();
    let batch = RecordBatch::parse(bytes).unwrap();
    let result = Rewriter::new(settings).unwrap().rewrite(&batch, &mut Rules::default(), &mut out);
    assert_eq!(out, b"kept");
    let error = result.unwrap_err();
    assert!(error.to_string().contains("offsets [1000,100"), "{error}");
    error
}

#[test]
fn control_batches_and_empty_ones_are_not_looked_at() {
    let marker = sample::marker(4, 7, 1, true, 1000);
    let mut control = batch(&[framed(0, 3)], Packing::ALL[0], 0x30, 0);
    control[30] ^= 1; // its CRC is wrong, and nobody minds here
    let mut empty = vec![0; HEADER_LEN];
    let header = BatchHeader {
        base_offset: 4,
        leader_epoch: 1,
        attributes: Attributes(Codec::Gzip as u16),
        last_offset_delta: 7,
        base_timestamp: -1,
        max_timestamp: -1,
        producer: Producer::NONE,
        record_count: 0,
    };
    header.write_to(&mut empty).unwrap();
    for bytes in [marker, control, empty] {
        let (report, written) = rewrite(&bytes, &mut Rules::default());
        assert_eq!((report, written), (crate::rewrite::Report::default(), None));
    }
}

#[test]
fn a_rewritten_batch_can_be_produced_as_it_is() {
    for packing in Packing::ALL {
        let (_, written) =
            rewrite(&batch(&[framed(0, 3), framed(1, 6)], packing, 0, 0), &mut Rules::default());
        let mut written = written.unwrap();
        patch_for_produce(&mut written, Producer { id: 1, epoch: 0, base_sequence: 0 }).unwrap();
        // The CRC sent follows from the rewritten one.
        RecordBatch::parse(&written).unwrap().verify_crc().unwrap();
    }
}

#[test]
fn records_with_unknown_ids_can_be_left_out_afterwards() {
    let settings = RebuildSettings {
        codec: None,
        level: None,
        batch_bytes: 1 << 20,
        max_batch_bytes: 1 << 20,
        decompressed_cap: 1 << 20,
        holes: Holes::Close,
    };
    for packing in Packing::ALL {
        let records = [framed(0, 3), framed(2, 4), framed(5, 5), framed(6, 6)];
        let (report, written) = rewrite(&batch(&records, packing, 0, 2), &mut Rules::default());
        let unknown: Vec<_> = report.unknown.iter().map(|unknown| unknown.offset).collect();
        assert_eq!(unknown, [1002]);
        let (written, mut rebuilder) = (written.unwrap(), Rebuilder::new(settings).unwrap());
        let batch = RecordBatch::parse(&written).unwrap();
        rebuilder.push(&batch, |offset, _, _| !unknown.contains(&offset), &mut Vec::new()).unwrap();
        let rebuilt = rebuilder.finish().unwrap().unwrap();
        let left: Vec<_> = rebuilt.sources.iter().flat_map(|run| run.first..run.end).collect();
        assert_eq!(left, [1000, 1005, 1006]);
    }
}

#[test]
fn the_codec_stays_where_it_makes_a_batch_larger() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let records = [framed(0, 3)];
        let (_, written) = rewrite(&batch(&records, Packing::Codec(codec), 0, 0), &mut Rules::default());
        let written = written.unwrap();
        assert!(written.len() > HEADER_LEN + encode(&records).len(), "{codec}");
        assert_eq!(RecordBatch::parse(&written).unwrap().attributes().codec().unwrap(), codec);
    }
}

#[test]
fn a_damaged_batch_gets_no_new_checksum() {
    for id in [3, 4, 5] {
        for packing in Packing::ALL {
            let mut bytes = batch(&[framed(0, id), framed(1, 5)], packing, 0, 0);
            *bytes.last_mut().unwrap() ^= 1;
            assert!(error(&bytes, SETTINGS).to_string().contains("is damaged"));
        }
    }
}

#[test]
fn refusals_name_the_offsets() {
    let records = [framed(0, 3), framed(4, 5)];
    for packing in &Packing::ALL[1..] {
        let source = batch(&records, *packing, 0, 1);
        let small = RewriteSettings { decompressed_cap: 10, ..SETTINGS };
        assert_eq!(error(&source, small).kind(), ErrorKind::Refused);
    }
    let mut cut = batch(&records, Packing::ALL[0], 0, 1);
    cut[HEADER_LEN] += 2; // the length of the first record
    seal(&mut cut).unwrap();
    assert_eq!(error(&cut, SETTINGS).kind(), ErrorKind::Corrupt);
    let mut codec = batch(&records, Packing::ALL[0], 0, 1);
    codec[22] = 6;
    seal(&mut codec).unwrap();
    assert_eq!(error(&codec, SETTINGS).kind(), ErrorKind::Unsupported);
    assert!(Rewriter::new(RewriteSettings { gzip_level: Some(10), ..SETTINGS }).is_err());
    assert!(Rewriter::new(RewriteSettings { zstd_level: Some(100), ..SETTINGS }).is_err());
    assert!(Rewriter::new(RewriteSettings { gzip_level: Some(1), zstd_level: Some(-5), ..SETTINGS }).is_ok());
}
