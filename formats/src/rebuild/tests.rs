use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::digest::ContentDigest;
use crate::record_batch::patch_for_produce;

const SETTINGS: RebuildSettings = RebuildSettings {
    codec: None,
    level: None,
    batch_bytes: 1 << 20,
    max_batch_bytes: 1 << 20,
    decompressed_cap: 1 << 24,
    holes: Holes::Close,
};

/// A record as (offset, timestamp, value); its body has a null key and one header with a doubled name.
type Source = (i64, i64, Vec<u8>);

/// A source batch with the offsets and times given: holes where offsets jump, compacted at the end by `tail`.
fn batch(records: &[Source], codec: Codec, tail: i32, attributes: u16) -> Vec<u8> {
    let (base_offset, base_timestamp) = records.first().map_or((0, 0), |(offset, time, _)| (*offset, *time));
    let mut payload = Vec::new();
    for (offset, timestamp, value) in records {
        let mut record = vec![0];
        write_varlong(timestamp - base_timestamp, &mut record);
        write_varint((offset - base_offset) as i32, &mut record);
        record.push(1);
        write_varint(value.len() as i32, &mut record);
        record.extend_from_slice(value);
        record.extend_from_slice(&[4, 2, b'h', 1, 2, b'h', 2, 0xFF]);
        write_varint(record.len() as i32, &mut payload);
        payload.extend_from_slice(&record);
    }
    let mut batch = vec![0; HEADER_LEN];
    Compressor::new().compress(codec, None, &payload, &mut batch).unwrap();
    let last = records.last().map_or(0, |(offset, ..)| offset - base_offset) as i32;
    let header = BatchHeader {
        base_offset,
        leader_epoch: 3,
        attributes: Attributes(attributes | codec as u16),
        last_offset_delta: last + tail,
        base_timestamp,
        max_timestamp: records.iter().map(|(_, time, _)| *time).max().unwrap_or(-1),
        producer: Producer { id: 1, epoch: 2, base_sequence: 3 },
        record_count: records.len() as i32,
    };
    header.write_to(&mut batch).unwrap();
    batch
}

fn plain(offsets: impl IntoIterator<Item = i64>, size: usize) -> Vec<Source> {
    offsets.into_iter().map(|offset| (offset, 1000 + offset * 7 % 5, vec![offset as u8; size])).collect()
}

fn rebuild(settings: RebuildSettings, batches: &[Vec<u8>]) -> Result<Vec<RebuiltBatch>> {
    let (mut rebuilder, mut out) = (Rebuilder::new(settings)?, Vec::new());
    for bytes in batches {
        rebuilder.push(&RecordBatch::parse(bytes)?, |_, _, _| true, &mut out)?;
    }
    out.extend(rebuilder.finish()?);
    Ok(out)
}

fn digest<'a>(batches: impl IntoIterator<Item = &'a [u8]>) -> ContentDigest {
    let (mut decompressor, mut digest) = (Decompressor::new(), ContentDigest::EMPTY);
    for bytes in batches {
        let (batch, mut scratch) = (RecordBatch::parse(bytes).unwrap(), Vec::new());
        batch.verify_crc().unwrap();
        digest.push_batch(&batch, decompressor.records(&batch, 1 << 24, &mut scratch).unwrap()).unwrap();
    }
    digest
}

/// That a broker takes it: contiguous deltas from 0, and a header that can be renewed.
fn assert_producible(rebuilt: &RebuiltBatch) {
    let batch = RecordBatch::parse(&rebuilt.bytes).unwrap();
    assert_eq!((batch.base_offset(), batch.leader_epoch(), batch.len()), (0, -1, rebuilt.bytes.len()));
    assert_eq!((batch.record_count(), batch.has_holes()), (rebuilt.records, false));
    assert_eq!(batch.attributes(), batch.attributes().codec_only());
    assert_eq!(rebuilt.sources.iter().map(OffsetRange::len).sum::<u64>(), rebuilt.records as u64);
    let (mut decompressor, mut scratch) = (Decompressor::new(), Vec::new());
    let mut newest = i64::MIN;
    for (index, record) in decompressor.records(&batch, 1 << 24, &mut scratch).unwrap().enumerate() {
        let record = record.unwrap();
        assert_eq!(record.offset_delta as usize, index);
        newest = newest.max(batch.effective_timestamp(record.timestamp_delta));
    }
    assert_eq!(batch.max_timestamp(), newest);
    patch_for_produce(&mut rebuilt.bytes.clone(), Producer { id: 8, epoch: 0, base_sequence: 0 }).unwrap();
}

#[test]
fn closes_the_holes_of_a_compacted_batch_and_tells_where_records_came_from() {
    let source = batch(&plain([100, 101, 105, 106, 109], 20), Codec::Zstd, 4, 0x10);
    let out = rebuild(SETTINGS, std::slice::from_ref(&source)).unwrap();
    assert_eq!(out.len(), 1);
    assert_producible(&out[0]);
    let sources = [OffsetRange::new(100, 102), OffsetRange::new(105, 107), OffsetRange::new(109, 110)];
    assert_eq!(out[0].sources, sources);
    assert_eq!(digest([&out[0].bytes[..]]), digest([&source[..]]));
}

#[test]
fn splits_at_holes_where_offsets_must_stay() {
    let source = [
        batch(&plain([100, 101, 105], 20), Codec::None, 0, 0),
        batch(&plain([106, 108], 20), Codec::None, 0, 0),
    ];
    let out = rebuild(RebuildSettings { holes: Holes::Split, ..SETTINGS }, &source).unwrap();
    let sources: Vec<_> = out.iter().map(|rebuilt| (rebuilt.sources[0].first, rebuilt.records)).collect();
    assert_eq!(sources, [(100, 2), (105, 2), (108, 1)]);
    assert!(out.iter().all(|rebuilt| rebuilt.sources.len() == 1));
}

#[test]
fn keeps_the_times_that_consumers_of_log_append_time_saw() {
    let source = batch(&[(5, 10, vec![1]), (6, 9999, vec![2])], Codec::Lz4, 0, 8);
    let out = rebuild(SETTINGS, std::slice::from_ref(&source)).unwrap();
    let rebuilt = RecordBatch::parse(&out[0].bytes).unwrap();
    assert!(!rebuilt.attributes().log_append_time());
    assert_eq!((rebuilt.base_timestamp(), rebuilt.max_timestamp()), (9999, 9999));
    assert_eq!(digest([&out[0].bytes[..]]), digest([&source[..]]));
}

#[test]
fn coalesces_tiny_batches_and_ends_one_where_the_codec_changes() {
    let mut source: Vec<_> = (0..50).map(|offset| batch(&plain([offset], 30), Codec::None, 0, 0)).collect();
    source.push(batch(&plain([50, 51], 30), Codec::Gzip, 0, 0));
    let out = rebuild(SETTINGS, &source).unwrap();
    assert_eq!(out.iter().map(|rebuilt| rebuilt.records).collect::<Vec<_>>(), [50, 2]);
    let joined = rebuild(RebuildSettings { codec: Some(Codec::Zstd), ..SETTINGS }, &source).unwrap();
    assert_eq!(joined.len(), 1);
    assert_eq!(RecordBatch::parse(&joined[0].bytes).unwrap().attributes().codec().unwrap(), Codec::Zstd);
    assert_eq!(digest([&joined[0].bytes[..]]), digest(source.iter().map(Vec::as_slice)));
}

#[test]
fn splits_by_uncompressed_size_whatever_the_codec() {
    let source = [batch(&plain(0..100, 1000), Codec::Gzip, 0, 0)];
    let mut counts = Vec::new();
    for codec in Codec::ALL {
        let settings = RebuildSettings { codec: Some(codec), batch_bytes: 10_000, ..SETTINGS };
        let out = rebuild(settings, &source).unwrap();
        assert!(out.iter().all(|rebuilt| rebuilt.bytes.len() <= 10_000));
        counts.push(out.iter().map(|rebuilt| rebuilt.records).collect::<Vec<_>>());
    }
    assert!(counts.iter().all(|one| *one == counts[0] && one.len() > 10));
}

#[test]
fn a_large_record_goes_alone_and_is_refused_only_where_it_does_not_fit_compressed() {
    let small = RebuildSettings { max_batch_bytes: 10_000, batch_bytes: 10_000, ..SETTINGS };
    let source =
        |codec| vec![batch(&[(6, 1, vec![1]), (7, 2, vec![0; 100_000]), (8, 3, vec![3])], codec, 0, 0)];
    let out = rebuild(small, &source(Codec::Zstd)).unwrap();
    assert_eq!(out.iter().map(|rebuilt| rebuilt.records).collect::<Vec<_>>(), [1, 1, 1]);
    let error = rebuild(small, &source(Codec::None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let text = error.to_string();
    assert!(text.contains("offset 7") && text.contains("limit is 10000"), "{text}");
}

#[test]
fn keeps_only_what_the_caller_wants() {
    let source = batch(&plain(0..10, 5), Codec::Snappy, 0, 0);
    let (mut rebuilder, mut out) = (Rebuilder::new(SETTINGS).unwrap(), Vec::new());
    let parsed = RecordBatch::parse(&source).unwrap();
    rebuilder
        .push(&parsed, |offset, _, record| offset >= 4 && record.value != Some(&[7; 5]), &mut out)
        .unwrap();
    let last = rebuilder.finish().unwrap().unwrap();
    assert_eq!(last.sources, [OffsetRange::new(4, 7), OffsetRange::new(8, 10)]);
    rebuilder.push(&parsed, |_, _, _| false, &mut out).unwrap();
    assert!(out.is_empty() && rebuilder.finish().unwrap().is_none());
}

#[test]
fn takes_empty_batches_and_refuses_control_batches() {
    let mut bytes = vec![0; HEADER_LEN];
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
    header.write_to(&mut bytes).unwrap();
    assert!(rebuild(SETTINGS, &[bytes]).unwrap().is_empty());
    let control = batch(&plain([1], 5), Codec::None, 0, 0x30);
    assert_eq!(rebuild(SETTINGS, &[control]).unwrap_err().kind(), ErrorKind::Refused);
    assert!(
        Rebuilder::new(RebuildSettings { codec: Some(Codec::Gzip), level: Some(12), ..SETTINGS }).is_err()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn content_survives_any_rebuild(
        runs in proptest::collection::vec(
            (proptest::collection::vec((1i64..4, 0i64..1 << 42, 0usize..600), 1..20), 0usize..5, 0i32..3, 0u16..2), 1..8),
        codec in proptest::option::of(0usize..5),
        batch_bytes in 100usize..5000,
        split: bool,
    ) {
        let (mut offset, mut source) = (40, Vec::new());
        for (records, codec, tail, log_append_time) in &runs {
            let mut all = Vec::new();
            for (gap, time, size) in records {
                offset += gap;
                all.push((offset, *time, vec![offset as u8; *size]));
            }
            source.push(batch(&all, Codec::ALL[*codec], *tail, log_append_time * 8));
            offset += i64::from(*tail);
        }
        let settings = RebuildSettings {
            codec: codec.map(|codec| Codec::ALL[codec]),
            batch_bytes,
            holes: if split { Holes::Split } else { Holes::Close },
            ..SETTINGS
        };
        let out = rebuild(settings, &source).unwrap();
        out.iter().for_each(assert_producible);
        for rebuilt in &out {
            prop_assert!(rebuilt.records == 1 || rebuilt.bytes.len() <= batch_bytes);
            prop_assert!(!split || rebuilt.sources.len() == 1);
        }
        let target = digest(out.iter().map(|rebuilt| &rebuilt.bytes[..]));
        prop_assert_eq!(target, digest(source.iter().map(Vec::as_slice)));
        prop_assert_eq!(out, rebuild(settings, &source).unwrap());
    }
}
