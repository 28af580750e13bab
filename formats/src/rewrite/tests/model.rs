//! The model. It shares with the rewriter neither the walk over records nor the recognition of ids.

use uuid::Uuid;

use crate::codec::{Codec, Compressor};
use crate::ids::SchemaId;
use crate::record_batch::{Attributes, BatchHeader, HEADER_LEN, Producer};
use crate::rewrite::{Becomes, Carrier, Counts, Fates, IdRules, SideCounts, UnknownId};
use crate::varint::{write_varint, write_varlong};
use crate::wire::{Place, SchemaRef, Side};

pub(super) type Bytes = Option<Vec<u8>>;

/// A record with everything that its bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) attributes: u8,
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) headers: Vec<(Vec<u8>, Bytes)>,
    /// Whether its varints are a byte longer than they need be.
    pub(super) long_varints: bool,
}

impl Owned {
    /// A record with a null key.
    pub(super) fn of(offset_delta: i32, value: &[u8]) -> Self {
        let (key, value, headers) = (None, Some(value.to_vec()), Vec::new());
        let (attributes, timestamp_delta, long_varints) = (0, 0, false);
        Self { attributes, timestamp_delta, offset_delta, key, value, headers, long_varints }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let varint = |value: i64, most: usize, out: &mut Vec<u8>| {
            let start = out.len();
            write_varlong(value, out);
            if self.long_varints && out.len() - start < most {
                *out.last_mut().unwrap() |= 0x80;
                out.push(0);
            }
        };
        let nullable = |bytes: Option<&[u8]>, out: &mut Vec<u8>| {
            varint(bytes.map_or(-1, |bytes| bytes.len() as i64), 5, out);
            out.extend_from_slice(bytes.unwrap_or_default());
        };
        let mut record = vec![self.attributes];
        varint(self.timestamp_delta, 10, &mut record);
        varint(self.offset_delta.into(), 5, &mut record);
        nullable(self.key.as_deref(), &mut record);
        nullable(self.value.as_deref(), &mut record);
        varint(self.headers.len() as i64, 5, &mut record);
        for (name, value) in &self.headers {
            nullable(Some(name), &mut record);
            nullable(value.as_deref(), &mut record);
        }
        write_varint(record.len() as i32, out);
        out.extend_from_slice(&record);
    }
}

pub(super) fn encode(records: &[Owned]) -> Vec<u8> {
    let mut payload = Vec::new();
    records.iter().for_each(|record| record.write(&mut payload));
    payload
}

/// How a batch is compressed: snappy in either form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Codec(Codec),
    RawSnappy,
}

impl Packing {
    pub(super) const ALL: [Self; 6] = [
        Self::Codec(Codec::None),
        Self::Codec(Codec::Gzip),
        Self::Codec(Codec::Snappy),
        Self::RawSnappy,
        Self::Codec(Codec::Lz4),
        Self::Codec(Codec::Zstd),
    ];

    pub(super) fn codec(self) -> Codec {
        match self {
            Self::Codec(codec) => codec,
            Self::RawSnappy => Codec::Snappy,
        }
    }
}

/// A batch of these records, with attribute `bits` beside the codec's, that ends `tail` offsets after its last record.
pub(super) fn batch(records: &[Owned], packing: Packing, bits: u16, tail: i32) -> Vec<u8> {
    let (payload, mut out) = (encode(records), vec![0; HEADER_LEN]);
    match packing {
        Packing::RawSnappy => {
            out.extend_from_slice(&snap::raw::Encoder::new().compress_vec(&payload).unwrap());
        }
        Packing::Codec(codec) => Compressor::new().compress(codec, None, &payload, &mut out).unwrap(),
    }
    let header = BatchHeader {
        base_offset: 1_000,
        leader_epoch: 5,
        attributes: Attributes(bits | packing.codec() as u16),
        last_offset_delta: records.last().map_or(0, |record| record.offset_delta) + tail,
        base_timestamp: 1_700_000_000_000,
        max_timestamp: 1_700_000_000_999,
        producer: Producer { id: 77, epoch: 3, base_sequence: 12 },
        record_count: records.len() as i32,
    };
    header.write_to(&mut out).unwrap();
    out
}

/// What an id becomes in these tests, by its number: a third each.
pub(super) fn id_becomes(id: u32) -> Becomes<u32> {
    match id % 3 {
        0 => Becomes::Other(id ^ 0x0102_0304 | 1),
        1 => Becomes::Unknown,
        _ => Becomes::Same,
    }
}

/// The same of a GUID, by its first byte.
pub(super) fn guid_becomes(guid: [u8; 16]) -> Becomes<[u8; 16]> {
    match guid[0] % 3 {
        0 => Becomes::Other(guid.map(|byte| !byte)),
        1 => Becomes::Unknown,
        _ => Becomes::Same,
    }
}

/// Rules that say what the model knows, and look whether what they are told is true.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) overruled: u64,
}

impl Rules {
    fn id(&mut self, id: SchemaId) -> Becomes<SchemaId> {
        match id_becomes(id.number()) {
            Becomes::Same => Becomes::Same,
            Becomes::Other(id) => Becomes::Other(SchemaId::new(id).unwrap()),
            Becomes::Unknown => Becomes::Unknown,
        }
    }
}

impl IdRules for Rules {
    fn prefix(&mut self, id: SchemaId, carrier: &Carrier<'_>) -> Becomes<SchemaId> {
        let payload = carrier.payload.unwrap();
        assert_eq!(payload[..5], [&[0], &id.number().to_be_bytes()[..]].concat());
        assert_eq!(&payload[5..], carrier.after);
        self.overruled += u64::from(carrier.overruled);
        self.id(id)
    }

    fn header_id(&mut self, id: SchemaId, carrier: &Carrier<'_>) -> Becomes<SchemaId> {
        assert!(!carrier.overruled && carrier.offset >= 1_000);
        self.id(id)
    }

    fn header_guid(&mut self, guid: Uuid, _: &Carrier<'_>) -> Becomes<Uuid> {
        match guid_becomes(guid.into_bytes()) {
            Becomes::Same => Becomes::Same,
            Becomes::Other(guid) => Becomes::Other(Uuid::from_bytes(guid)),
            Becomes::Unknown => Becomes::Unknown,
        }
    }
}

/// What the model makes of some records.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) records: Vec<Owned>,
    pub(super) counts: Counts,
    pub(super) unknown: Vec<UnknownId>,
    pub(super) overruled: u64,
}

/// Changes the ids of records.
pub(super) fn expect(records: &[Owned]) -> Expected {
    let mut expected = Expected { records: records.to_vec(), ..Expected::default() };
    for index in 0..records.len() {
        expected.record(index);
    }
    expected
}

impl Expected {
    fn record(&mut self, index: usize) {
        let mut record = self.records[index].clone();
        let offset = 1_000 + i64::from(record.offset_delta);
        for (name, value) in &mut record.headers {
            let (Some(side), Some(value)) = (side_of(name), value) else { continue };
            if value.len() >= 5 && value[0] == 0 && i32_at(value, 1) > 0 {
                self.id(value, offset, side, Place::Header);
            } else if value.len() >= 17 && value[0] == 1 {
                self.guid(value, offset, side);
            } else {
                self.side(side).unread_headers += 1;
            }
        }
        for side in Side::ALL {
            let last = record.headers.iter().rev().find(|(name, _)| side_of(name) == Some(side));
            let overruled = last.is_some_and(|(_, value)| value.is_some());
            let payload = if side == Side::Key { &mut record.key } else { &mut record.value };
            let Some(payload) = payload else { continue };
            let long = payload.len() >= 9 && payload[..5] == [0; 5] && i32_at(payload, 5) != 0;
            if payload.len() >= 5 && payload[0] == 0 && i32_at(payload, 1) > 0 {
                self.overruled += u64::from(overruled);
                self.id(payload, offset, side, Place::Prefix);
            } else if long {
                self.side(side).long_ids += 1;
            } else if payload.len() >= 17 && payload[0] == 1 {
                self.side(side).prefix_guids += 1;
            } else if payload.len() >= 18 && payload[0] == 3 && (payload[1] == 0 || payload[1] == 5) {
                self.side(side).glue += 1;
            } else {
                self.side(side).other += 1;
            }
        }
        self.records[index] = record;
    }

    fn id(&mut self, bytes: &mut [u8], offset: i64, side: Side, place: Place) {
        let old = i32_at(bytes, 1) as u32;
        let becomes = id_becomes(old);
        let counts = self.side(side);
        count(if place == Place::Prefix { &mut counts.prefix } else { &mut counts.header_id }, &becomes);
        match becomes {
            Becomes::Same => {}
            Becomes::Other(new) => bytes[1..5].copy_from_slice(&new.to_be_bytes()),
            Becomes::Unknown => {
                let schema = SchemaRef::Id(SchemaId::new(old).unwrap());
                self.unknown.push(UnknownId { offset, side, place, schema });
            }
        }
    }

    fn guid(&mut self, bytes: &mut [u8], offset: i64, side: Side) {
        let old: [u8; 16] = bytes[1..17].try_into().unwrap();
        let becomes = guid_becomes(old);
        count(&mut self.side(side).header_guid, &becomes);
        match becomes {
            Becomes::Same => {}
            Becomes::Other(new) => bytes[1..17].copy_from_slice(&new),
            Becomes::Unknown => {
                let schema = SchemaRef::Guid(Uuid::from_bytes(old));
                self.unknown.push(UnknownId { offset, side, place: Place::Header, schema });
            }
        }
    }

    fn side(&mut self, side: Side) -> &mut SideCounts {
        if side == Side::Key { &mut self.counts.key } else { &mut self.counts.value }
    }
}

fn side_of(name: &[u8]) -> Option<Side> {
    match name {
        b"__key_schema_id" => Some(Side::Key),
        b"__value_schema_id" => Some(Side::Value),
        _ => None,
    }
}

fn count<T>(fates: &mut Fates, becomes: &Becomes<T>) {
    match becomes {
        Becomes::Same => fates.same += 1,
        Becomes::Other(_) => fates.changed += 1,
        Becomes::Unknown => fates.unknown += 1,
    }
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}
