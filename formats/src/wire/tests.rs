use proptest::prelude::*;

use super::*;
use crate::record::Records;
use crate::sample::{Draft, Log};
use crate::varint::write_varint;

fn id(number: u32) -> SchemaId {
    SchemaId::new(number).unwrap()
}

const GUID: [u8; 16] = [0xfe, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn guid(magic: &[u8], tail: &[u8]) -> Vec<u8> {
    [magic, &GUID, tail].concat()
}

#[test]
fn a_zero_byte_and_a_number_above_zero_are_an_id() {
    for (number, expected) in [
        (1i32, Prefix::Id(id(1))),
        (i32::MAX, Prefix::Id(id(i32::MAX as u32))),
        (0, Prefix::Other),
        (-1, Prefix::Other),
        (i32::MIN, Prefix::Other),
    ] {
        let bytes = [&[0], &number.to_be_bytes()[..]].concat();
        assert_eq!(Prefix::of(&bytes), expected, "{number}");
        let header = SchemaRef::of_header(&bytes);
        assert_eq!(header.is_some(), number > 0);
        for tail in [&[][..], &[0], &[2, 4], b"payload"] {
            assert_eq!(SchemaRef::of_header(&[&bytes, tail].concat()), header);
            if number > 0 {
                assert_eq!(Prefix::of(&[&bytes, tail].concat()), expected);
            }
        }
    }
    assert_eq!(SchemaId::new(0), None);
    assert_eq!(SchemaId::new(1 << 31), None);
}

#[test]
fn what_is_too_short_is_nothing() {
    for magic in 0..=4 {
        for length in 0..=17 {
            let bytes = [&[magic][..], &[5; 17]].concat();
            let bytes = &bytes[..length];
            let expected = match (magic, length) {
                (0, 5..) => Prefix::Id(id(0x0505_0505)),
                (1, 17..) => Prefix::Guid(Uuid::from_bytes([5; 16])),
                _ => Prefix::Other,
            };
            assert_eq!(Prefix::of(bytes), expected, "{bytes:?}");
            assert_eq!(SchemaRef::of_header(bytes).is_some(), expected != Prefix::Other);
        }
    }
}

#[test]
fn other_framings_are_known_but_are_no_ids() {
    let uuid = Uuid::from_bytes(GUID);
    assert_eq!(Prefix::of(&guid(&[3, 0], b"data")), Prefix::Glue(uuid));
    assert_eq!(Prefix::of(&guid(&[3, 5], b"")), Prefix::Glue(uuid));
    assert_eq!(Prefix::of(&guid(&[3, 1], b"data")), Prefix::Other);
    assert_eq!(Prefix::of(&guid(&[3, 0], b"")[..17]), Prefix::Other);
    assert_eq!(Prefix::of(&guid(&[1], b"")), Prefix::Guid(uuid));
    assert_eq!(Prefix::of(&[0, 0, 0, 0, 0, 0, 0, 0, 9, 1]), Prefix::LongId(9));
    assert_eq!(Prefix::of(&[0, 0, 0, 0, 0, 0, 0, 0, 9]), Prefix::LongId(9));
    assert_eq!(Prefix::of(&[0; 12]), Prefix::Other);
    assert_eq!(Prefix::of(&[0, 0, 0, 0, 0, 0, 0, 9]), Prefix::Other);
    // From 2^32 on nothing tells it from an id of four bytes.
    assert_eq!(Prefix::of(&[0, 0, 0, 0, 1, 0, 0, 0, 9]), Prefix::Id(id(1)));
    assert_eq!(SchemaRef::of_header(&guid(&[3, 0], b"")), None);
}

/// What is applied to the value of a record with these headers: the schema, the place, and the bytes after it.
fn applied_to(value: &[u8], headers: &[(&[u8], Option<&[u8]>)]) -> Option<(SchemaRef, Place, Vec<u8>)> {
    let owned = headers.iter().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
    let record = Draft { headers: owned, ..Draft::new(0, value) };
    let bytes = Log { records: vec![record], ..Log::plain(0, crate::codec::Codec::None, &[]) }.bytes();
    let record = Records::new(&bytes[61..], 1, 0).next().unwrap().unwrap();
    let applied = applied(Side::Value, record.value.unwrap(), record.headers)?;
    Some((applied.schema, applied.place, applied.after.to_vec()))
}

#[test]
fn the_last_header_wins_over_the_prefix() {
    let name = Side::Value.header().as_bytes();
    let framed = [0, 0, 0, 0, 7, 1, 2];
    let prefix = (SchemaRef::Id(id(7)), Place::Prefix, vec![1, 2]);
    let header = (SchemaRef::Guid(Uuid::from_bytes(GUID)), Place::Header, vec![0]);
    let with_guid = guid(&[1], &[0]);
    assert_eq!(applied_to(&framed, &[]), Some(prefix.clone()));
    assert_eq!(applied_to(&framed, &[(name, Some(&with_guid))]), Some(header.clone()));
    assert_eq!(applied_to(b"raw", &[(name, Some(&with_guid))]), Some(header.clone()));
    let two: [(&[u8], Option<&[u8]>); 2] = [(name, Some(&[0, 0, 0, 0, 9])), (name, Some(&with_guid))];
    assert_eq!(applied_to(&framed, &two), Some(header.clone()));
    assert_eq!(applied_to(&framed, &[two[1], (name, None)]), Some(prefix.clone()), "a null is no header");
    assert_eq!(applied_to(&framed, &[two[1], (name, Some(b"?"))]), None, "clients cannot read it either");
    assert_eq!(applied_to(&framed, &[(b"__key_schema_id", Some(&with_guid))]), Some(prefix.clone()));
    assert_eq!(applied_to(&framed, &[(b"__value_schema_ID", Some(&with_guid))]), Some(prefix));
    assert_eq!(applied_to(b"raw", &[]), None);
    let guid_prefix = (header.0, Place::Prefix, vec![0]);
    assert_eq!(applied_to(&with_guid, &[]), Some(guid_prefix));
}

fn indexes(mut bytes: &[u8]) -> Option<(Vec<usize>, Vec<u8>)> {
    let before = bytes;
    match MessageIndexes::read(&mut bytes) {
        Ok(list) => {
            assert_eq!(list.len(), list.count());
            Some((list.collect(), bytes.to_vec()))
        }
        Err(_) => {
            assert_eq!(bytes, before);
            None
        }
    }
}

#[test]
fn message_indexes_are_read_up_to_the_payload() {
    assert_eq!(indexes(&[0]), Some((vec![0], vec![])));
    assert_eq!(indexes(&[0, 8, 1]), Some((vec![0], vec![8, 1])));
    assert_eq!(indexes(&[2, 0, 9]), Some((vec![0], vec![9])), "the long form of the same");
    assert_eq!(indexes(&[4, 2, 0, 0x0a]), Some((vec![1, 0], vec![0x0a])));
    assert_eq!(indexes(&[6, 0x80, 1, 0, 4]), Some((vec![64, 0, 2], vec![])));
}

#[test]
fn message_indexes_that_cannot_be_are_refused() {
    for bytes in [
        &[][..],
        &[2],                                  // one index, and no bytes
        &[4, 0],                               // two indexes, one is there
        &[1],                                  // -1 indexes
        &[2, 1],                               // index -1
        &[0x80, 0],                            // 0 in two bytes
        &[2, 0x82, 0],                         // 1 in two bytes
        &[2, 0x80],                            // cut off
        &[0xFE, 0xFF, 0xFF, 0xFF, 0x0F, 0, 0], // 2^31-1 indexes
        &[2, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F],    // 33 bits
        &[2, 0x80, 0x80, 0x80, 0x80, 0x80, 0], // 6 bytes
    ] {
        assert_eq!(indexes(bytes), None, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn message_indexes_are_read_as_written(list in proptest::collection::vec(0..=i32::MAX, 1..6), tail: Vec<u8>) {
        let mut bytes = Vec::new();
        write_varint(list.len() as i32, &mut bytes);
        list.iter().for_each(|index| write_varint(*index, &mut bytes));
        bytes.extend_from_slice(&tail);
        let list: Vec<_> = list.iter().map(|index| *index as usize).collect();
        prop_assert_eq!(indexes(&bytes), Some((list, tail)));
    }

    #[test]
    fn never_panics(magic in 0u8..4, bytes: Vec<u8>) {
        indexes(&bytes);
        let bytes = [&[magic], &bytes[..]].concat();
        if let Some(schema) = SchemaRef::of_header(&bytes) {
            prop_assert!(schema.encoded_len() <= bytes.len());
        }
        let same = match (Prefix::of(&bytes), SchemaRef::of_header(&bytes)) {
            (Prefix::Id(id), Some(SchemaRef::Id(other))) => id == other,
            (Prefix::Guid(guid), Some(SchemaRef::Guid(other))) => guid == other,
            (Prefix::LongId(_) | Prefix::Glue(_) | Prefix::Other, None) => true,
            _ => false,
        };
        prop_assert!(same);
    }
}
