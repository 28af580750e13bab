use bytes::BytesMut;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::records::{
    Compression, Record as OracleRecord, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType,
};
use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::codec::{Compressor, Decompressor};

/// A batch of kafka-protocol's own making: an encoder that shares nothing with this crate.
fn oracle(offset: i64, timestamps: &[i64], transactional: bool) -> Vec<u8> {
    let record = |(index, timestamp): (usize, &i64)| OracleRecord {
        transactional,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 7,
        producer_id: 4000,
        producer_epoch: 3,
        timestamp_type: TimestampType::Creation,
        offset: offset + index as i64,
        sequence: 10 + index as i32,
        timestamp: *timestamp,
        key: (index % 2 == 0).then(|| format!("key {index}").into_bytes().into()),
        value: (index % 3 != 1).then(|| vec![index as u8; index * 40].into()),
        headers: IndexMap::from([
            ("h".to_owned().into(), Some(vec![1u8, 2].into())),
            ("null".to_owned().into(), None),
        ]),
    };
    let records: Vec<_> = timestamps.iter().enumerate().map(record).collect();
    let mut buffer = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut buffer, &records, &options).unwrap();
    buffer.to_vec()
}

#[test]
fn reads_every_field_of_a_foreign_encoders_batch() {
    let bytes = oracle(1_000_000, &[500, 700, 600], true);
    let batch = RecordBatch::parse(&bytes).unwrap();
    assert_eq!(batch.len(), bytes.len());
    assert_eq!(batch.batch_length() as usize, bytes.len() - 12);
    assert_eq!(
        (batch.base_offset(), batch.last_offset(), batch.next_offset()),
        (1_000_000, 1_000_002, 1_000_003)
    );
    assert_eq!((batch.leader_epoch(), batch.magic()), (7, 2));
    assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (4000, 3, 10));
    assert_eq!((batch.base_timestamp(), batch.max_timestamp()), (500, 700));
    assert_eq!((batch.record_count(), batch.last_offset_delta(), batch.has_holes()), (3, 2, false));
    assert_eq!(batch.attributes().codec().unwrap(), Codec::None);
    assert!(batch.attributes().transactional() && !batch.attributes().control());
    batch.verify_crc().unwrap();
    let records: Vec<_> = batch.records(batch.records_payload()).map(Result::unwrap).collect();
    assert_eq!(records.len(), 3);
    assert_eq!(records[2].key, Some(&b"key 2"[..]));
    assert_eq!(records[1].key, None);
    assert_eq!(records[1].value, None);
    assert_eq!(records[2].value, Some(&[2u8; 80][..]));
    assert_eq!(batch.effective_timestamp(records[1].timestamp_delta), 700);
    let headers: Vec<_> = records[0].headers.collect();
    assert_eq!(headers, [(&b"h"[..], Some(&[1u8, 2][..])), (&b"null"[..], None)]);
}

#[test]
fn max_timestamp_is_what_a_log_append_time_consumer_sees() {
    let mut bytes = oracle(0, &[500, 700], false);
    bytes[MAX_TIMESTAMP_AT..PRODUCER_ID_AT].copy_from_slice(&9999i64.to_be_bytes());
    bytes[ATTRIBUTES_AT + 1] |= 8;
    let batch = RecordBatch::parse(&bytes).unwrap();
    assert_eq!(batch.effective_timestamp(0), 9999);
    assert_eq!(batch.effective_timestamp(200), 9999);
}

#[test]
fn finds_every_flipped_bit_under_the_crc() {
    let bytes = oracle(5, &[1, 2, 3], false);
    for bit in CRC_AT * 8..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = RecordBatch::parse(&damaged).and_then(|batch| batch.verify_crc()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}: {error}");
    }
}

#[test]
fn names_offsets_and_both_checksums_of_a_damaged_batch() {
    let mut bytes = oracle(41, &[1, 2], false);
    let last = bytes.len() - 1;
    let crc = RecordBatch::parse(&bytes).unwrap().crc();
    bytes[last] ^= 1;
    let error = RecordBatch::parse(&bytes).unwrap().verify_crc().unwrap_err().to_string();
    assert!(error.contains("[41,43)") && error.contains(&format!("{crc:#010x}")), "{error}");
}

#[test]
fn refuses_impossible_fields() {
    let good = oracle(5, &[1, 2, 3], false);
    let with = |at: usize, field: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + field.len()].copy_from_slice(field);
        RecordBatch::parse(&bytes).map(|_| ()).unwrap_err()
    };
    for length in [-1, i32::MIN, 0, 48, i32::MAX, good.len() as i32 - 11] {
        assert_eq!(with(LENGTH_AT, &length.to_be_bytes()).kind(), ErrorKind::Corrupt, "length {length}");
    }
    for magic in [0, 1, 3, -1i8] {
        assert_eq!(with(MAGIC_AT, &magic.to_be_bytes()).kind(), ErrorKind::Unsupported, "magic {magic}");
    }
    with(0, &(-1i64).to_be_bytes());
    with(0, &(i64::MAX - 1).to_be_bytes());
    with(LAST_OFFSET_DELTA_AT, &(-1i32).to_be_bytes());
    with(RECORD_COUNT_AT, &(-1i32).to_be_bytes());
    with(RECORD_COUNT_AT, &4i32.to_be_bytes());
    for cut in 0..good.len() {
        RecordBatch::parse(&good[..cut]).unwrap_err();
    }
}

#[test]
fn walks_whole_batches_and_tells_the_size_of_a_cut_off_one() {
    let (first, second) = (oracle(0, &[1], false), oracle(1, &[2, 3], false));
    let both = [first.clone(), second.clone()].concat();
    for cut in 0..=both.len() {
        let mut batches = Batches::new(&both[..cut]);
        let offsets: Vec<_> = batches.by_ref().map(|batch| batch.unwrap().base_offset()).collect();
        let whole = if cut < first.len() {
            0
        } else if cut < both.len() {
            first.len()
        } else {
            both.len()
        };
        assert_eq!(offsets.len(), usize::from(cut >= first.len()) + usize::from(cut == both.len()));
        assert_eq!((batches.position(), batches.rest().len()), (whole, cut - whole));
        let expected = match cut - whole {
            0..12 => None,
            _ if whole == 0 => Some(first.len()),
            _ => Some(second.len()),
        };
        assert_eq!(batches.cut_off_size(), expected, "cut at {cut}");
    }
}

#[test]
fn stops_for_good_at_damage_and_at_old_messages() {
    let mut bytes = [oracle(0, &[1], false), oracle(1, &[2], false)].concat();
    let second = bytes.len() / 2;
    bytes[second + LENGTH_AT..second + LENGTH_AT + 4].copy_from_slice(&(-5i32).to_be_bytes());
    let mut batches = Batches::new(&bytes);
    batches.next().unwrap().unwrap();
    let error = batches.next().unwrap().unwrap_err();
    assert!(error.to_string().contains("offset 1") && error.to_string().contains("-5"), "{error}");
    assert!(batches.next().is_none());
    assert!(!batches.at_message_set());

    bytes[second + LENGTH_AT..second + LENGTH_AT + 4].copy_from_slice(&14i32.to_be_bytes());
    bytes[second + MAGIC_AT] = 1;
    let mut batches = Batches::new(&bytes);
    batches.next().unwrap().unwrap();
    assert_eq!(batches.next().unwrap().unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(batches.at_message_set() && batches.next().is_none());
}

#[test]
fn renews_a_header_exactly_as_a_recomputed_one() {
    let producer = Producer { id: 77, epoch: 4, base_sequence: i32::MAX };
    for payload in [0usize, 1, 7, 100, 65_536, 1_000_003] {
        let mut bytes = vec![0x5A; HEADER_LEN + payload];
        let stored = BatchHeader {
            base_offset: 123,
            leader_epoch: 9,
            attributes: Attributes(0b1101_1011),
            last_offset_delta: 2,
            base_timestamp: 1000,
            max_timestamp: 3000,
            producer: Producer { id: 1, epoch: 0, base_sequence: 5 },
            record_count: 3,
        };
        stored.write_to(&mut bytes).unwrap();
        let batch = RecordBatch::parse(&bytes).unwrap();
        batch.verify_crc().unwrap();
        let wanted =
            BatchHeader { base_offset: 0, leader_epoch: -1, attributes: Attributes(3), producer, ..stored };
        let mut expected = bytes.clone();
        wanted.write_to(&mut expected).unwrap();
        assert_eq!(batch.produce_header(producer).unwrap(), expected[..HEADER_LEN], "payload of {payload}");
        patch_for_produce(&mut bytes, producer).unwrap();
        assert!(bytes == expected);
    }
}

#[test]
fn a_damaged_batch_stays_damaged_under_a_renewed_header() {
    let mut bytes = oracle(5, &[1, 2, 3], false);
    let last = bytes.len() - 1;
    bytes[last] ^= 0x10;
    patch_for_produce(&mut bytes, Producer { id: 1, epoch: 0, base_sequence: 0 }).unwrap();
    RecordBatch::parse(&bytes).unwrap().verify_crc().unwrap_err();
}

#[test]
fn never_renews_what_a_broker_would_refuse() {
    let good = oracle(5, &[1, 2, 3], false);
    let with = |at: usize, field: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + field.len()].copy_from_slice(field);
        RecordBatch::parse(&bytes).unwrap().produce_header(Producer::NONE).unwrap_err()
    };
    assert_eq!(with(ATTRIBUTES_AT, &[0, 0x30]).kind(), ErrorKind::Refused);
    assert_eq!(with(ATTRIBUTES_AT, &[0, 0x07]).kind(), ErrorKind::Unsupported);
    assert_eq!(with(RECORD_COUNT_AT, &0i32.to_be_bytes()).kind(), ErrorKind::Refused);
    assert_eq!(with(RECORD_COUNT_AT, &2i32.to_be_bytes()).kind(), ErrorKind::Refused);
}

#[test]
fn sequences_wrap_to_zero() {
    let producer = Producer { id: 1, epoch: 0, base_sequence: i32::MAX - 1 };
    assert_eq!(producer.after(1).base_sequence, i32::MAX);
    assert_eq!(producer.after(2).base_sequence, 0);
    assert_eq!(producer.after(i32::MAX).base_sequence, i32::MAX - 2);
}

#[test]
fn a_foreign_decoder_reads_a_renewed_and_recompressed_batch() {
    let mut bytes = oracle(900, &[10, 20, 30, 40], true);
    patch_for_produce(&mut bytes, Producer { id: 5, epoch: 1, base_sequence: 0 }).unwrap();
    let set = RecordBatchDecoder::decode(&mut bytes::Bytes::from(bytes.clone())).unwrap();
    let offsets: Vec<_> = set.records.iter().map(|record| (record.offset, record.timestamp)).collect();
    assert_eq!(offsets, [(0, 10), (1, 20), (2, 30), (3, 40)]);
    assert!(set.records.iter().all(|record| !record.transactional && record.producer_id == 5));
    let batch = RecordBatch::parse(&bytes).unwrap();
    let (mut compressor, mut decompressor, mut scratch) =
        (Compressor::new(), Decompressor::new(), Vec::new());
    for codec in Codec::ALL {
        let mut packed = vec![0; HEADER_LEN];
        compressor.compress(codec, None, batch.records_payload(), &mut packed).unwrap();
        let header = BatchHeader {
            base_offset: 0,
            leader_epoch: -1,
            attributes: Attributes(codec as u16),
            last_offset_delta: 3,
            base_timestamp: 10,
            max_timestamp: 40,
            producer: Producer::NONE,
            record_count: 4,
        };
        header.write_to(&mut packed).unwrap();
        let packed = RecordBatch::parse(&packed).unwrap();
        packed.verify_crc().unwrap();
        let records = decompressor.records(&packed, 1 << 20, &mut scratch).unwrap();
        assert_eq!(records.map(Result::unwrap).count(), 4, "{codec}");
    }
}

proptest! {
    #[test]
    fn never_panics_and_always_ends(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = RecordBatch::parse(&bytes).map(|batch| batch.verify_crc());
        let mut batches = Batches::new(&bytes);
        prop_assert!(batches.by_ref().count() <= bytes.len() / HEADER_LEN + 1);
        let _ = (batches.cut_off_size(), batches.at_message_set());
    }

    #[test]
    fn never_panics_on_a_damaged_batch(index in 0usize..200, byte: u8, cut in 0usize..400) {
        let mut bytes = oracle(5, &[1, 2, 3], false);
        let at = index % bytes.len();
        bytes[at] = byte;
        let bytes = &bytes[..cut.min(bytes.len())];
        for batch in Batches::new(bytes).flatten() {
            let _ = batch.records(batch.records_payload()).count();
            let _ = batch.produce_header(Producer::NONE);
        }
    }

    #[test]
    fn renewing_equals_recomputing(payload: Vec<u8>, id: i64, epoch: i16, base_sequence: i32, low in 0u16..5) {
        let producer = Producer { id, epoch, base_sequence };
        let mut bytes = vec![0; HEADER_LEN];
        bytes.extend_from_slice(&payload);
        let stored = BatchHeader {
            base_offset: 1, leader_epoch: 2, attributes: Attributes(low | 0xD0), last_offset_delta: 0,
            base_timestamp: 3, max_timestamp: 4, producer: Producer::NONE, record_count: 1,
        };
        stored.write_to(&mut bytes).unwrap();
        patch_for_produce(&mut bytes, producer).unwrap();
        RecordBatch::parse(&bytes).unwrap().verify_crc().unwrap();
    }
}
