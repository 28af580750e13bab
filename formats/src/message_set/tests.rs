use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::codec::Compressor;
use crate::record_batch::Batches;

fn message(
    magic: i8,
    attributes: i8,
    offset: i64,
    timestamp: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Vec<u8> {
    let mut body = vec![magic as u8, attributes as u8];
    if magic == 1 {
        body.extend_from_slice(&timestamp.to_be_bytes());
    }
    for bytes in [key, value] {
        body.extend_from_slice(&bytes.map_or(-1, |bytes| bytes.len() as i32).to_be_bytes());
        body.extend_from_slice(bytes.unwrap_or_default());
    }
    let mut entry = offset.to_be_bytes().to_vec();
    entry.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    entry.extend_from_slice(&crc32_iso_hdlc(&body).to_be_bytes());
    entry.extend_from_slice(&body);
    entry
}

fn wrapper(
    magic: i8,
    attributes: i8,
    offset: i64,
    timestamp: i64,
    codec: Codec,
    inner: &[Vec<u8>],
) -> Vec<u8> {
    let mut value = Vec::new();
    Compressor::new().compress(codec, None, &inner.concat(), &mut value).unwrap();
    message(magic, attributes | codec as i8, offset, timestamp, None, Some(&value))
}

type Seen = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// What a consumer of the converted batches sees: offset, timestamp, key, value.
fn seen(batches: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for batch in Batches::new(batches) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        assert_eq!((batch.producer_id(), batch.leader_epoch()), (-1, -1));
        for record in batch.records(batch.records_payload()) {
            let record = record.unwrap();
            seen.push((
                batch.base_offset() + i64::from(record.offset_delta),
                batch.effective_timestamp(record.timestamp_delta),
                record.key.map(<[u8]>::to_vec),
                record.value.map(<[u8]>::to_vec),
            ));
        }
    }
    seen
}

fn convert(records: &[u8]) -> Result<(Vec<Seen>, usize)> {
    let mut out = Vec::new();
    let taken = MessageSetConverter::new().convert(records, 1 << 20, 1 << 20, &mut out)?;
    Ok((seen(&out), taken))
}

fn refused(records: &[u8]) -> String {
    let error = convert(records).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    error.to_string()
}

#[test]
fn converts_plain_messages_of_both_magics() {
    let set = [
        message(0, 0, 5, 0, Some(b"k"), Some(b"v")),
        message(0, 0, 9, 0, None, None),
        message(1, 0, 10, 1234, Some(b""), Some(b"w")),
        message(1, LOG_APPEND_TIME, 11, 5678, None, Some(b"x")),
    ]
    .concat();
    let (seen, taken) = convert(&set).unwrap();
    assert_eq!(taken, set.len());
    let expected = [
        (5, -1, Some(b"k".to_vec()), Some(b"v".to_vec())),
        (9, -1, None, None),
        (10, 1234, Some(vec![]), Some(b"w".to_vec())),
        (11, 5678, None, Some(b"x".to_vec())),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn unwraps_absolute_offsets_of_magic_0_and_relative_ones_of_magic_1() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4] {
        let absolute: Vec<_> = [20, 22, 23].map(|offset| message(0, 0, offset, 0, None, Some(b"v"))).into();
        let relative: Vec<_> = [(0, 70), (1, 50), (4, 60)]
            .map(|(offset, time)| message(1, 0, offset, time, Some(b"k"), None))
            .into();
        let set = [wrapper(0, 0, 23, 0, codec, &absolute), wrapper(1, 0, 104, 70, codec, &relative)].concat();
        let (seen, _) = convert(&set).unwrap();
        let found: Vec<_> = seen.iter().map(|(offset, time, ..)| (*offset, *time)).collect();
        assert_eq!(found, [(20, -1), (22, -1), (23, -1), (100, 70), (101, 50), (104, 60)], "{codec}");
    }
}

#[test]
fn a_log_append_time_wrapper_stamps_all_its_messages() {
    let inner = [message(1, 0, 0, 5, None, None), message(1, 0, 1, 6, None, None)];
    let set = wrapper(1, LOG_APPEND_TIME, 31, 9999, Codec::Gzip, &inner);
    let (seen, _) = convert(&set).unwrap();
    assert_eq!(seen, [(30, 9999, None, None), (31, 9999, None, None)]);
}

#[test]
fn one_entry_gives_the_same_batch_wherever_the_log_is_cut() {
    let entries: Vec<_> = (0..4).map(|offset| message(1, 0, offset, 7, None, Some(b"v"))).collect();
    let mut whole = Vec::new();
    MessageSetConverter::new().convert(&entries.concat(), 100, 1 << 20, &mut whole).unwrap();
    let mut parts = Vec::new();
    for entry in &entries {
        MessageSetConverter::new().convert(entry, 100, 1, &mut parts).unwrap();
    }
    assert_eq!(whole, parts);
}

#[test]
fn stops_before_a_cut_off_message_and_before_a_batch() {
    let (one, two) = (message(1, 0, 3, 1, None, None), message(1, 0, 4, 1, None, None));
    let set = [one.clone(), two].concat();
    assert_eq!(convert(&set[..set.len() - 1]).unwrap().1, one.len());
    let mut batch = Vec::new();
    MessageSetConverter::new().convert(&one, 100, 100, &mut batch).unwrap();
    let mixed = [one.clone(), batch.clone()].concat();
    assert_eq!(convert(&mixed).unwrap().1, one.len());
    let mut batches = Batches::new(&mixed);
    assert!(batches.next().unwrap().is_err() && batches.at_message_set());
    assert_eq!(Batches::new(&mixed[one.len()..]).count(), 1);
    assert_eq!(convert(&[]).unwrap().1, 0);
}

#[test]
fn refuses_damage_and_broken_rules_in_words() {
    let plain = |offset| message(1, 0, offset, 1, None, Some(b"value"));
    for bit in 12 * 8..plain(7).len() * 8 {
        let mut damaged = plain(7);
        damaged[bit / 8] ^= 1 << (bit % 8);
        // A flip in the magic may make it a batch's, which is not this module's.
        let taken = convert(&damaged).map_or_else(|_| 0, |(_, taken)| taken);
        assert_eq!(taken, 0, "bit {bit}");
    }
    let mut damaged = plain(7);
    *damaged.last_mut().unwrap() ^= 1;
    let error = refused(&damaged);
    assert!(error.contains("offset 7") && error.contains("CRC-32"), "{error}");
    let wrapped = wrapper(1, 0, 1, 1, Codec::Gzip, &[plain(0), plain(1)]);
    assert!(refused(&wrapper(1, 0, 1, 1, Codec::Gzip, &[wrapped])).contains("compressed again"));
    assert!(refused(&wrapper(0, 0, 1, 1, Codec::Gzip, &[plain(1)])).contains("another"));
    assert!(refused(&wrapper(1, 0, 1, 1, Codec::Zstd, &[plain(0)])).contains("zstd"));
    assert!(refused(&wrapper(1, 0, 1, 1, Codec::Gzip, &[])).contains("wraps no message"));
    assert!(
        refused(&wrapper(1, 0, 1, 1, Codec::Gzip, &[plain(1), plain(1)])).contains("wraps offset 1 after 1")
    );
    assert!(refused(&wrapper(1, 0, 0, 1, Codec::Gzip, &[plain(0), plain(1)])).contains("wraps offset -1"));
    let absolute = [message(0, 0, 6, 0, None, None)];
    assert!(refused(&wrapper(0, 0, 7, 0, Codec::Gzip, &absolute)).contains("up to offset 6"));
    assert!(refused(&message(1, 1, 7, 0, None, None)).contains("without content"));
    let cut = plain(1);
    assert!(
        refused(&wrapper(1, 0, 1, 1, Codec::Gzip, &[plain(0), cut[..cut.len() - 1].to_vec()]))
            .contains("cut off")
    );
}

#[test]
fn a_wrapper_larger_than_the_cap_leaves_the_batches_before_it() {
    let bomb = wrapper(1, 0, 8, 1, Codec::Gzip, &[message(1, 0, 0, 1, None, Some(&vec![0; 100_000]))]);
    let set = [message(1, 0, 7, 1, None, None), bomb].concat();
    let mut out = Vec::new();
    let error = MessageSetConverter::new().convert(&set, 1000, 1 << 20, &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("offset 8"), "{error}");
    assert_eq!(seen(&out).len(), 1);
}

#[test]
fn stops_once_enough_is_made_and_goes_on_from_there() {
    let large =
        |offset| wrapper(1, 0, offset, 1, Codec::Gzip, &[message(1, 0, 0, 1, None, Some(&vec![0; 100_000]))]);
    let set: Vec<u8> = (0..20).flat_map(large).collect();
    let (mut rest, mut calls, mut found) = (&set[..], 0, 0);
    while !rest.is_empty() {
        let mut out = Vec::new();
        let taken = MessageSetConverter::new().convert(rest, 1 << 20, 250_000, &mut out).unwrap();
        assert!(out.len() < 250_000 + 101_000, "{}", out.len());
        (rest, calls) = (&rest[taken..], calls + 1);
        found += seen(&out).len();
    }
    assert_eq!((calls, found), (7, 20));
}

proptest! {
    #[test]
    fn keeps_offsets_times_keys_and_values(
        magic in 0i8..2,
        codec in prop::sample::select(vec![Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4]),
        messages in proptest::collection::vec(
            (1i64..50, 0i64..1 << 40, any::<Option<Vec<u8>>>(), any::<Option<Vec<u8>>>()), 1..10),
    ) {
        let (mut offset, mut expected, mut entries) = (100, Vec::new(), Vec::new());
        for (gap, time, key, value) in &messages {
            offset += gap;
            expected.push((offset, if magic == 0 { -1 } else { *time }, key.clone(), value.clone()));
            let stored = if magic == 1 && codec != Codec::None { offset - expected[0].0 } else { offset };
            entries.push(message(magic, 0, stored, *time, key.as_deref(), value.as_deref()));
        }
        let set = match codec {
            Codec::None => entries.concat(),
            codec => wrapper(magic, 0, offset, 0, codec, &entries),
        };
        let (seen, taken) = convert(&set).unwrap();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(taken, set.len());
    }

    #[test]
    fn never_panics(bytes: Vec<u8>, magic in 0i8..2, attributes: i8, offset: i64, inner: Vec<u8>) {
        let _ = convert(&bytes);
        let _ = convert(&message(magic, attributes, offset, 1, None, Some(&bytes)));
        let _ = convert(&wrapper(magic, 0, offset, 1, Codec::Snappy, &[inner]));
    }
}
