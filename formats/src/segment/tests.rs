use super::*;
use crate::ErrorKind;
use crate::codec::{Codec, Decompressor};
use crate::digest::BatchDigest;
use crate::hash::Hash;
use crate::ids::Topic;
use crate::record_batch::{Batches, RecordBatch};
use crate::sample::{Draft, LOG_APPEND_TIME, Log, TRANSACTIONAL, marker};
use crate::transactions::{AbortedTransaction, Marker, OpenTransaction};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn identity(range: OffsetRange) -> SegmentIdentity {
    SegmentIdentity {
        partition: TopicPartition::new(Topic::new("orders.v1").unwrap(), 7),
        lineage: LineageId(0x0123_4567_89ab_cdef),
        range,
        aborted_listed: true,
    }
}

fn transactions() -> SegmentTransactions {
    SegmentTransactions {
        markers: vec![
            Marker { producer_id: 9, producer_epoch: 3, committed: true, offset: 12, timestamp: 500 },
            Marker { producer_id: 1 << 40, producer_epoch: -1, committed: false, offset: 14, timestamp: -1 },
        ],
        aborted: vec![AbortedTransaction { producer_id: 1 << 40, first_offset: 3 }],
        open: vec![OpenTransaction { producer_id: 11, producer_epoch: 0, first_offset: 15 }],
    }
}

fn whole(segment: &EncodedSegment) -> Vec<u8> {
    segment.parts.concat()
}

/// What a reader does with a segment's bytes, without the BLAKE3 of its entry.
fn read(bytes: &[u8]) -> crate::Result<(SegmentIdentity, SegmentIndex, Vec<u8>)> {
    let tail = read_tail(bytes, bytes.len() as u64)?;
    let (identity, header) = read_header(bytes)?;
    let at = usize::try_from(tail.index_position).unwrap();
    let index = SegmentIndex::decode(&bytes[at..at + tail.index_length as usize], tail.index_position)?;
    assert!(index.frames.first().is_none_or(|frame| frame.position == header as u64));
    let (mut log, mut decompressor) = (Vec::new(), Decompressor::new());
    for frame in &index.frames {
        let at = usize::try_from(frame.position).unwrap();
        let stored = &bytes[at..at + frame.stored as usize];
        log.extend_from_slice(&decode_frame(frame, stored, &mut decompressor)?);
    }
    Ok((identity, index, log))
}

fn encode(compression: FrameCompression, range: OffsetRange, runs: Vec<Bytes>) -> EncodedSegment {
    let input = SegmentInput { identity: identity(range), runs, transactions: transactions() };
    SegmentEncoder::new(compression).encode(input).unwrap()
}

#[derive(Debug, Clone)]
struct Shape {
    codec: Codec,
    bits: u16,
    records: usize,
    size: usize,
    /// Offsets missing before the batch, inside it and at its end.
    missing: (i64, i32, i32),
    epoch_bump: bool,
}

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let shape = (
        select(Codec::ALL.to_vec()),
        select(vec![0, 0, LOG_APPEND_TIME, TRANSACTIONAL]),
        0usize..6,
        prop_oneof![4 => 0usize..50, 2 => 1000usize..5000, 1 => 60_000usize..90_000],
        (select(vec![0i64, 0, 0, 5]), select(vec![0, 0, 3]), select(vec![0, 0, 2])),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(codec, bits, records, size, missing, epoch_bump)| Shape {
            codec,
            bits,
            records,
            size,
            missing,
            epoch_bump,
        });
    vec(shape, 0..24)
}

/// Batches from offset 100 on; the second value is the offset after the last.
fn log(shapes: &[Shape]) -> (Vec<Vec<u8>>, i64) {
    let (mut next, mut epoch) = (100, 0);
    let mut batches = Vec::new();
    for shape in shapes {
        next += shape.missing.0;
        epoch += i32::from(shape.epoch_bump);
        let mut draft = Log::plain(next, shape.codec, &[]);
        for n in 0..shape.records as i32 {
            let delta = if n > 0 { n + shape.missing.1 } else { n };
            let value: Vec<u8> = (0..shape.size).map(|i| (i * i + n as usize) as u8 & 0x3f).collect();
            draft.records.push(Draft::new(delta, value));
        }
        let last = draft.records.last().map_or(0, |record| record.offset_delta) + shape.missing.2;
        draft.last_offset_delta = Some(last);
        (draft.bits, draft.epoch) = (shape.bits, epoch);
        batches.push(draft.bytes());
        next += i64::from(last) + 1;
    }
    (batches, next)
}

#[test]
fn a_bit_that_flips_before_the_segment_is_stored_is_found() {
    use FrameCompression::{Lz4, None, Zstd};
    // The CRC of a frame of large batches is put together from theirs.
    for (compression, size, step) in [(None, 200, 1), (None, 6000, 7), (Lz4, 200, 1), (Zstd(3), 200, 1)] {
        let batch = |base| Bytes::from(Log::plain(base, Codec::None, &[&vec![b'x'; size]]).bytes());
        let sound = encode(compression, OffsetRange::new(0, 2), vec![batch(0), batch(1)]);
        let frames = read(&whole(&sound)).unwrap().1.frames;
        let stored: Vec<u8> = sound.parts[1..sound.parts.len() - 2].concat();
        assert_eq!(frames[0].crc, crc_fast::crc32_iscsi(&stored));
        let mut recheck = recheck::Recheck::new();
        assert_eq!(recheck.hash(&sound.parts, &frames).unwrap(), sound.blake3);
        for part in 1..sound.parts.len() - 2 {
            let length = sound.parts[part].len();
            for at in (0..length.min(100)).chain((100..length).step_by(step)) {
                let mut parts = sound.parts.clone();
                let mut flipped = parts[part].to_vec();
                flipped[at] ^= 4;
                parts[part] = flipped.into();
                recheck.hash(&parts, &frames).expect_err("a flipped bit");
            }
        }
        let mut without = sound.parts;
        without.remove(1);
        recheck.hash(&without, &frames).expect_err("a piece is missing");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_segment_gives_back_its_batches_and_tells_what_they_are(
        shapes in shapes(),
        cuts in vec(any::<Index>(), 0..8),
        compression in select(vec![FrameCompression::None, FrameCompression::Lz4, FrameCompression::Zstd(1)]),
    ) {
        let (batches, end) = log(&shapes);
        let range = OffsetRange::new(98, end + 3);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(batches.len() + 1)).collect();
        cuts.extend([0, batches.len()]);
        cuts.sort_unstable();
        let runs = cuts.windows(2).map(|cut| Bytes::from(batches[cut[0]..cut[1]].concat())).collect();
        let segment = encode(compression, range, runs);
        let bytes = whole(&segment);
        prop_assert_eq!(bytes.len() as u64, segment.length);
        prop_assert_eq!(Hash::of(&bytes), segment.blake3);
        let (found, index, log) = read(&bytes).unwrap();
        prop_assert_eq!(found, identity(range));
        prop_assert!(log == batches.concat(), "the log differs");
        prop_assert_eq!(&index.transactions, &transactions());

        let views: Vec<_> = batches.iter().map(|batch| RecordBatch::parse(batch).unwrap()).collect();
        let records: u64 = views.iter().map(|batch| batch.record_count() as u64).sum();
        prop_assert_eq!(segment.stats.records, records);
        prop_assert_eq!(segment.stats.missing, range.len() - records);
        prop_assert_eq!(u64::from(segment.stats.batches), batches.len() as u64);
        prop_assert_eq!(segment.stats.by_codec.iter().sum::<u64>(), log.len() as u64);
        let mut digest = BatchDigest::default();
        views.iter().for_each(|batch| digest.push(batch));
        prop_assert_eq!(segment.stats.batch_digest, digest);
        let last = views.last().map(|batch| (batch.base_offset(), batch.leader_epoch(), batch.crc()));
        prop_assert_eq!(segment.stats.last, last);

        let mut at = 0;
        for frame in &index.frames {
            let inside: Vec<_> = Batches::new(&log[at..at + frame.raw as usize]).map(Result::unwrap).collect();
            at += frame.raw as usize;
            prop_assert_eq!(inside.len(), frame.batches as usize);
            prop_assert_eq!(inside[0].base_offset(), frame.range.first);
            prop_assert_eq!(inside[inside.len() - 1].next_offset(), frame.range.end);
            let count: i64 = inside.iter().map(|batch| i64::from(batch.record_count())).sum();
            prop_assert_eq!(count, i64::from(frame.records));
            prop_assert_eq!(frame.flags.has(FrameFlags::MISSING), count < frame.range.len() as i64);
            let any = |f: fn(&RecordBatch<'_>) -> bool| inside.iter().any(f);
            prop_assert_eq!(frame.flags.has(FrameFlags::TRANSACTIONAL), any(|b| b.attributes().transactional()));
            prop_assert_eq!(frame.flags.has(FrameFlags::LOG_APPEND_TIME), any(|b| b.attributes().log_append_time()));
            prop_assert!(frame.raw < (1 << 20) + (1 << 19), "a frame ends soon after its target");
        }
        prop_assert_eq!(at, log.len());
        for batch in &views {
            let epoch = index.epochs.iter().rfind(|start| start.offset <= batch.base_offset()).unwrap();
            prop_assert_eq!(epoch.epoch, batch.leader_epoch());
        }
    }

    #[test]
    fn exact_least_timestamps_bound_every_record(shapes in shapes()) {
        let (batches, end) = log(&shapes);
        let segment = encode(FrameCompression::None, OffsetRange::new(100, end + 1), vec![batches.concat().into()]);
        let (_, index, log) = read(&whole(&segment)).unwrap();
        let (mut decompressor, mut scratch) = (Decompressor::new(), Vec::new());
        for batch in Batches::new(&log).map(Result::unwrap) {
            let frame = index.frames.iter().rfind(|frame| frame.range.first <= batch.base_offset()).unwrap();
            for record in decompressor.records(&batch, 1 << 20, &mut scratch).unwrap() {
                let time = batch.effective_timestamp(record.unwrap().timestamp_delta);
                prop_assert!(time <= frame.max_timestamp && time <= segment.stats.max_timestamp);
                prop_assert!(!frame.flags.has(FrameFlags::MIN_EXACT) || frame.min_timestamp <= time);
                prop_assert!(!segment.stats.min_exact || segment.stats.min_timestamp <= time);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400), length: u64) {
        let _ = read_tail(&bytes, length);
        let _ = read_header(&bytes);
        let _ = SegmentIndex::decode(&bytes, length);
    }

    /// Behind a right checksum: what no accident but a hostile or newer writer would make.
    #[test]
    fn arbitrary_content_behind_right_checksums_never_panics(
        content in vec(any::<u8>(), 4..300),
        sections in 0u32..3,
        kind in 0u16..7,
        size in select(vec![0u32, 16, 24, 32, 64, u32::MAX]),
        count in select(vec![0u32, 1, 2, 1 << 30, u32::MAX]),
        end: u64,
        compressed: bool,
    ) {
        let mut index = [&sections.to_le_bytes()[..], &kind.to_le_bytes(), &[0, 0], &size.to_le_bytes(), &count.to_le_bytes(), &content].concat();
        index.extend_from_slice(&crc_fast::crc32_iscsi(&index).to_le_bytes());
        let _ = SegmentIndex::decode(&index, end);
        let mut header = b"RPLVSEG1\x01\0".to_vec();
        header.extend_from_slice(&(content.len() as u16 + 16).to_le_bytes());
        header.extend_from_slice(&content);
        header.extend_from_slice(&crc_fast::crc32_iscsi(&header).to_le_bytes());
        let _ = read_header(&header);
        let frame = Frame {
            range: OffsetRange::new(0, 1), min_timestamp: 0, max_timestamp: 0, position: 0, stored: content.len() as u32,
            raw: 1 << 16, batches: 1, records: 1, crc: crc_fast::crc32_iscsi(&content),
            codec: if compressed { FrameCodec::Zstd } else { FrameCodec::Lz4 }, flags: FrameFlags(0),
        };
        prop_assert!(decode_frame(&frame, &content, &mut Decompressor::new()).is_err());
    }
}

fn small(compression: FrameCompression) -> Vec<u8> {
    let value = [b'x'; 300];
    let runs = vec![
        Log::plain(10, Codec::None, &[&value, b"b"]).bytes().into(),
        marker(12, 9, 3, true, 500).into(),
        Log::plain(13, Codec::Gzip, &[b"c"]).bytes().into(),
        marker(14, 1 << 40, -1, false, -1).into(),
        Log::transactional(15, 11, 0, &[b"d"]).bytes().into(),
    ];
    whole(&encode(compression, OffsetRange::new(10, 18), runs))
}

#[test]
fn every_flipped_bit_is_found_by_the_checksums_alone() {
    for compression in [FrameCompression::None, FrameCompression::Lz4, FrameCompression::Zstd(3)] {
        let bytes = small(compression);
        let (_, index, _) = read(&bytes).unwrap();
        assert_eq!(index.frames[0].codec == FrameCodec::None, compression == FrameCompression::None);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert!(read(&bad).is_err(), "{compression:?}: bit {bit} of byte {at} of {}", bytes.len());
            }
        }
    }
}

#[test]
fn every_truncation_and_every_addition_is_found_by_the_tail_alone() {
    let bytes = small(FrameCompression::None);
    let length = bytes.len() as u64;
    for end in 0..bytes.len() {
        assert!(read_tail(&bytes[..end], end as u64).is_err(), "cut at {end}");
        assert!(read_tail(&bytes[..end], length).is_err(), "cut at {end}, by the entry's length");
        assert!(end == 0 || read_tail(&bytes[end..], length - end as u64).is_err(), "begins at {end}");
    }
    let more = [&bytes[..], &[0]].concat();
    assert!(read_tail(&more, length + 1).is_err());
    // The tail of a whole segment inside something longer is refused by its length.
    assert!(read_tail(&bytes, length + 1).is_err());
}

#[test]
fn a_newer_version_or_an_unknown_flag_is_unsupported_not_damaged() {
    let bytes = small(FrameCompression::None);
    let header = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
    for (at, value) in [(8, 2), (12, 2), (15, 0x80)] {
        let mut newer = bytes[..header].to_vec();
        newer[at] = value;
        let crc = crc_fast::crc32_iscsi(&newer[..header - 4]);
        newer[header - 4..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read_header(&newer).unwrap_err().kind(), ErrorKind::Unsupported, "byte {at}");
    }
    for (at, value) in [(24, 2), (26, 1)] {
        let mut newer = bytes[bytes.len() - TAIL..].to_vec();
        newer[at] = value;
        let crc = crc_fast::crc32_iscsi(&newer[..28]);
        newer[28..32].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read_tail(&newer, bytes.len() as u64).unwrap_err().kind(), ErrorKind::Unsupported, "{at}");
    }
}

fn index_of(sections: &[(u16, u16, u32, &[u8])]) -> Vec<u8> {
    let mut index = (sections.len() as u32).to_le_bytes().to_vec();
    for (kind, flags, size, entries) in sections {
        index.extend_from_slice(&kind.to_le_bytes());
        index.extend_from_slice(&flags.to_le_bytes());
        index.extend_from_slice(&size.to_le_bytes());
        index.extend_from_slice(&(entries.len() as u32 / size.max(&1)).to_le_bytes());
        index.extend_from_slice(entries);
    }
    index.extend_from_slice(&crc_fast::crc32_iscsi(&index).to_le_bytes());
    index
}

#[test]
fn an_index_may_grow_but_not_lose_or_repeat_its_frames() {
    let frames = (SECTION_FRAMES, SECTION_REQUIRED, 64, &[][..]);
    let decode = |sections: &[(u16, u16, u32, &[u8])]| SegmentIndex::decode(&index_of(sections), 1000);
    assert_eq!(decode(&[frames]).unwrap(), SegmentIndex::default());
    // A kind of a later release, and entries that it made longer.
    let epoch = [&5i64.to_le_bytes()[..], &3i32.to_le_bytes(), &[0; 4], b"more"].concat();
    let index = decode(&[frames, (77, 0, 3, b"abcdef"), (SECTION_EPOCHS, 0, 20, &epoch)]).unwrap();
    assert_eq!(index.epochs, [EpochStart { offset: 5, epoch: 3 }]);
    let required = decode(&[frames, (77, SECTION_REQUIRED, 3, b"abcdef")]).unwrap_err();
    assert_eq!(required.kind(), ErrorKind::Unsupported);
    for damaged in [
        &[][..],
        &[(SECTION_EPOCHS, 0, 20, &epoch[..])],
        &[frames, frames],
        &[frames, (77, 0, 1, b"a"), (77, 0, 1, b"a")],
        &[frames, (SECTION_EPOCHS, 0, 10, &epoch[..])],
    ] {
        assert_eq!(decode(damaged).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn frames_that_overlap_leave_space_or_leave_their_place_are_damage() {
    let frame = |first: i64, end: i64, position: u64, stored: u32| Frame {
        range: OffsetRange::new(first, end),
        min_timestamp: 0,
        max_timestamp: 0,
        position,
        stored,
        raw: stored,
        batches: 1,
        records: 1,
        crc: 0,
        codec: FrameCodec::None,
        flags: FrameFlags::default(),
    };
    let check = |frames: &[Frame]| {
        let index = SegmentIndex { frames: frames.to_vec(), ..SegmentIndex::default() };
        SegmentIndex::decode(&index.encode(), 300)
    };
    let (a, b) = (frame(0, 5, 100, 120), frame(7, 9, 220, 80));
    assert_eq!(check(&[a, b]).unwrap().frames, [a, b]);
    for wrong in [
        &[b, a][..],
        &[a],
        &[a, frame(4, 9, 220, 80)],
        &[a, frame(7, 9, 221, 79)],
        &[a, frame(7, 9, 219, 81)],
        &[a, frame(7, 9, 220, 81)],
        &[a, frame(7, 7, 220, 80)],
        &[frame(-1, 5, 100, 120), b],
        &[a, frame(7, 9, u64::MAX, 80)],
    ] {
        assert_eq!(check(wrong).unwrap_err().kind(), ErrorKind::Corrupt, "{wrong:?}");
    }
}

#[test]
fn what_is_no_whole_rising_batch_inside_the_range_is_refused() {
    let encode = |range: OffsetRange, runs: Vec<Bytes>| {
        let input = SegmentInput { identity: identity(range), runs, transactions: transactions() };
        SegmentEncoder::new(FrameCompression::None).encode(input)
    };
    let at = |offset| Bytes::from(Log::plain(offset, Codec::None, &[b"a", b"b"]).bytes());
    assert!(encode(OffsetRange::new(10, 14), vec![at(10), at(12)]).is_ok());
    for (range, runs) in [
        ((11, 14), vec![at(10)]),
        ((10, 11), vec![at(10)]),
        ((10, 20), vec![at(12), at(10)]),
        ((10, 20), vec![at(10), at(11)]),
        ((10, 20), vec![at(10).slice(..70)]),
        ((10, 10), vec![]),
        ((-1, 10), vec![]),
    ] {
        let refused = encode(OffsetRange::new(range.0, range.1), runs).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{range:?}");
    }
}

#[test]
fn a_range_without_any_batch_is_a_segment_too() {
    let segment = encode(FrameCompression::Zstd(3), OffsetRange::new(5, 9), vec![]);
    let (identity, index, log) = read(&whole(&segment)).unwrap();
    assert_eq!((identity.range, index.frames.len(), log.len()), (OffsetRange::new(5, 9), 0, 0));
    assert_eq!((segment.stats.missing, segment.stats.last), (4, None));
    assert_eq!((segment.stats.min_timestamp, segment.stats.max_timestamp), (-1, -1));
}

#[test]
fn the_longest_topic_name_fits_its_header() {
    for length in [1, 2, 3, 4, 5, 6, 7, 8, 249] {
        let mut long = identity(OffsetRange::new(0, 1));
        long.partition.topic = Topic::new("t".repeat(length)).unwrap();
        let input = SegmentInput { identity: long.clone(), runs: vec![], transactions: transactions() };
        let segment = SegmentEncoder::new(FrameCompression::None).encode(input).unwrap();
        let (found, header) = read_header(&whole(&segment)).unwrap();
        assert_eq!((found, header % 8, header), (long, 0, (49 + length).next_multiple_of(8)));
        assert!(header <= MAX_HEADER);
    }
}

#[test]
fn batches_that_the_producer_left_uncompressed_are_compressed_and_others_are_not() {
    let text = "all work and no play makes jack a dull boy ".repeat(2000);
    let plain = Log::plain(0, Codec::None, &[text.as_bytes()]).bytes();
    let packed = Log::plain(1, Codec::Lz4, &[text.as_bytes()]).bytes();
    let runs = || vec![Bytes::from(plain.clone()), Bytes::from(plain.clone())];
    let other = |first: i64, bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[..8].copy_from_slice(&first.to_be_bytes());
        Bytes::from(bytes)
    };
    let uncompressed =
        encode(FrameCompression::Zstd(3), OffsetRange::new(0, 2), vec![runs()[0].clone(), other(1, &plain)]);
    assert!(uncompressed.length < 10_000);
    let compressed = encode(FrameCompression::Zstd(3), OffsetRange::new(1, 2), vec![packed.clone().into()]);
    let (_, index, log) = read(&whole(&compressed)).unwrap();
    assert_eq!((index.frames[0].codec, log), (FrameCodec::None, packed));
}
