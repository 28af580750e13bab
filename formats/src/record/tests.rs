use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::varint::{write_varint, write_varlong};

type Bytes = Option<Vec<u8>>;
type Owned = (i64, Bytes, Bytes, Vec<(Vec<u8>, Bytes)>);

fn nullable(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    write_varint(bytes.map_or(-1, |bytes| bytes.len() as i32), out);
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn encode(offset_delta: i32, (timestamp, key, value, headers): &Owned, out: &mut Vec<u8>) {
    let mut record = vec![0];
    write_varlong(*timestamp, &mut record);
    write_varint(offset_delta, &mut record);
    nullable(key.as_deref(), &mut record);
    nullable(value.as_deref(), &mut record);
    write_varint(headers.len() as i32, &mut record);
    for (key, value) in headers {
        nullable(Some(key), &mut record);
        nullable(value.as_deref(), &mut record);
    }
    write_varint(record.len() as i32, out);
    out.extend_from_slice(&record);
}

fn owned() -> impl Strategy<Value = Owned> {
    let headers = proptest::collection::vec(any::<(Vec<u8>, Bytes)>(), 0..4);
    (any::<i64>(), any::<Bytes>(), any::<Bytes>(), headers)
}

fn error(payload: &[u8], count: i32, last: i32) -> String {
    let mut records = Records::new(payload, count, last);
    let error = records.by_ref().find_map(Result::err).expect("an error");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(records.next().is_none(), "goes on after {error}");
    error.to_string()
}

#[test]
fn keeps_duplicate_null_empty_and_non_utf8_headers() {
    let headers = vec![
        (b"h".to_vec(), Some(b"1".to_vec())),
        (b"h".to_vec(), Some(b"2".to_vec())),
        (b"".to_vec(), None),
        (vec![0xFF, 0xFE], Some(vec![])),
    ];
    let mut payload = Vec::new();
    encode(0, &(7, None, Some(vec![]), headers.clone()), &mut payload);
    let record = Records::new(&payload, 1, 0).next().unwrap().unwrap();
    assert_eq!((record.key, record.value, record.headers.len()), (None, Some(&[][..]), 4));
    let read: Vec<_> = record.headers.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
    assert_eq!(read, headers);
    assert!(payload.ends_with(record.body()));
    assert!(record.body().ends_with(record.headers.raw()));
}

#[test]
fn refuses_what_does_not_add_up() {
    let mut payload = Vec::new();
    let record = (0, None, Some(b"value".to_vec()), vec![]);
    encode(0, &record, &mut payload);
    let one = payload.len();
    encode(1, &record, &mut payload);
    assert!(error(&payload, 1, 0).contains("follow the last"));
    assert!(error(&payload, 3, 2).contains("counts 3 records"));
    assert!(error(&payload, i32::MAX, i32::MAX).contains("counts 2147483647 records"));
    assert!(error(&payload, -1, 0).contains("counts -1 records"));
    assert!(error(&payload, 2, 0).contains("offset delta 1"));
    assert!(error(&payload[..payload.len() - 1], 2, 1).contains("record 1 of 2"));
    assert!(error(&[&payload[one..], &payload[..one]].concat(), 2, 1).contains("offset delta 0"));
    assert!(error(&[&payload[..one], &payload[..one]].concat(), 2, 1).contains("offset delta 0"));
    assert!(error(&[0xFF; 8], 1, 0).contains("varint"));
    // Length, attributes, deltas, then a key of length -2 (3), -1 keys and values, header counts of -1 and 9.
    assert!(error(&[14, 0, 0, 0, 3, 1, 0, 0], 1, 0).contains("key of length -2"));
    assert!(error(&[12, 0, 0, 0, 1, 1, 1, 0], 1, 0).contains("counts -1 headers"));
    assert!(error(&[12, 0, 0, 0, 1, 1, 18, 0], 1, 0).contains("counts 9 headers"));
    assert!(error(&[16, 0, 0, 0, 1, 1, 2, 1, 1], 1, 0).contains("null header key"));
    assert!(error(&[14, 0, 0, 0, 1, 1, 0, 9], 1, 0).contains("after its last header"));
    assert!(error(&[1, 0, 0, 0, 1, 1, 0, 9], 1, 0).contains("length of -1"));
    assert!(Records::new(&[], 0, 9).next().is_none());
}

proptest! {
    #[test]
    fn reads_what_was_written(records in proptest::collection::vec((1i32..1000, owned()), 0..20)) {
        let (mut payload, mut delta, mut deltas) = (Vec::new(), -1, Vec::new());
        for (gap, record) in &records {
            delta += gap;
            deltas.push(delta);
            encode(delta, record, &mut payload);
        }
        let read: Vec<_> = Records::new(&payload, records.len() as i32, delta.max(0)).map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), records.len());
        for ((record, (_, expected)), delta) in read.iter().zip(&records).zip(deltas) {
            let headers = record.headers.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
            let owned: Owned =
                (record.timestamp_delta, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), headers);
            prop_assert_eq!(&owned, expected);
            prop_assert_eq!(record.offset_delta, delta);
        }
    }

    #[test]
    fn never_panics(payload: Vec<u8>, count in -1i32..20, last in -1i32..30) {
        for record in Records::new(&payload, count, last).flatten() {
            prop_assert!(record.headers.len() == record.headers.count());
        }
    }
}
