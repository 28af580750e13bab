//! Finds the ids of a batch, asks the rules, notes the bytes to change.

use uuid::Uuid;

use super::report::{Fates, Report, UnknownId};
use super::rules::{Becomes, Carrier, IdRules};
use crate::record::Record;
use crate::wire::{Place, Prefix, SchemaRef, Side};

/// Four bytes at a place of the decompressed records; a GUID takes four of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patch {
    at: usize,
    bytes: [u8; 4],
}

/// Puts the patches into the records that they were found in.
pub(super) fn apply(patches: &[Patch], records: &mut [u8]) {
    for patch in patches {
        records[patch.at..patch.at + 4].copy_from_slice(&patch.bytes);
    }
}

/// A walk over the records of one batch.
pub(super) struct Walk<'w, R> {
    base_offset: i64,
    records: &'w [u8],
    rules: &'w mut R,
    patches: &'w mut Vec<Patch>,
    report: Report,
}

impl<'w, R: IdRules> Walk<'w, R> {
    /// Over `records`, decompressed, with deltas to `base_offset`.
    pub(super) fn new(
        base_offset: i64,
        records: &'w [u8],
        rules: &'w mut R,
        patches: &'w mut Vec<Patch>,
    ) -> Self {
        Self { base_offset, records, rules, patches, report: Report::default() }
    }

    /// What was found.
    pub(super) fn report(mut self) -> Report {
        self.report.changed = !self.patches.is_empty();
        self.report
    }

    /// Takes the next record, which borrows from `records`. Inlined, so that the record need not be laid out in memory.
    #[inline(always)]
    pub(super) fn record(&mut self, record: &Record<'w>) {
        let offset = self.base_offset + i64::from(record.offset_delta);
        let mut overruled = [false; 2];
        for (name, value) in record.headers {
            if let Some(side) = Side::of_header(name) {
                overruled[side as usize] = value.is_some();
                if let Some(value) = value {
                    let payload = payload(record, side);
                    self.header(value, Carrier { offset, side, payload, after: &[], overruled: false });
                }
            }
        }
        for side in Side::ALL {
            if let Some(bytes) = payload(record, side) {
                let overruled = overruled[side as usize];
                self.prefix(bytes, Carrier { offset, side, payload: Some(bytes), after: &[], overruled });
            }
        }
    }

    fn header(&mut self, value: &'w [u8], carrier: Carrier<'w>) {
        let schema = SchemaRef::of_header(value);
        let after = schema.map_or(value, |schema| &value[schema.encoded_len()..]);
        let carrier = Carrier { after, ..carrier };
        let counts = self.report.counts.of_mut(carrier.side);
        match schema {
            Some(SchemaRef::Id(id)) => {
                match settle(&mut counts.header_id, id, self.rules.header_id(id, &carrier)) {
                    Becomes::Same => {}
                    Becomes::Other(id) => self.patch(value, &id.to_be_bytes()),
                    Becomes::Unknown => self.unknown(&carrier, Place::Header, SchemaRef::Id(id)),
                }
            }
            Some(SchemaRef::Guid(guid)) => {
                match settle(&mut counts.header_guid, guid, self.rules.header_guid(guid, &carrier)) {
                    Becomes::Same => {}
                    Becomes::Other(guid) => self.patch(value, Uuid::as_bytes(&guid)),
                    Becomes::Unknown => self.unknown(&carrier, Place::Header, SchemaRef::Guid(guid)),
                }
            }
            None => counts.unread_headers += 1,
        }
    }

    fn prefix(&mut self, bytes: &'w [u8], carrier: Carrier<'w>) {
        let counts = self.report.counts.of_mut(carrier.side);
        match Prefix::of(bytes) {
            Prefix::Id(id) => {
                let carrier = Carrier { after: &bytes[SchemaRef::Id(id).encoded_len()..], ..carrier };
                match settle(&mut counts.prefix, id, self.rules.prefix(id, &carrier)) {
                    Becomes::Same => {}
                    Becomes::Other(id) => self.patch(bytes, &id.to_be_bytes()),
                    Becomes::Unknown => self.unknown(&carrier, Place::Prefix, SchemaRef::Id(id)),
                }
            }
            Prefix::LongId(_) => counts.long_ids += 1,
            Prefix::Guid(_) => counts.prefix_guids += 1,
            Prefix::Glue(_) => counts.glue += 1,
            Prefix::Other => counts.other += 1,
        }
    }

    /// Notes new bytes for what follows the first byte of `found`, a piece of the records.
    fn patch(&mut self, found: &[u8], new: &[u8]) {
        let mut at = found.as_ptr().addr() - self.records.as_ptr().addr() + 1;
        for bytes in new.as_chunks().0 {
            self.patches.push(Patch { at, bytes: *bytes });
            at += bytes.len();
        }
    }

    #[cold]
    fn unknown(&mut self, carrier: &Carrier<'_>, place: Place, schema: SchemaRef) {
        self.report.unknown.push(UnknownId { offset: carrier.offset, side: carrier.side, place, schema });
    }
}

fn payload<'a>(record: &Record<'a>, side: Side) -> Option<&'a [u8]> {
    match side {
        Side::Key => record.key,
        Side::Value => record.value,
    }
}

/// Counts what becomes of an id. One that is replaced by itself stays.
fn settle<T: PartialEq>(fates: &mut Fates, old: T, becomes: Becomes<T>) -> Becomes<T> {
    match becomes {
        Becomes::Other(new) if new != old => {
            fates.changed += 1;
            Becomes::Other(new)
        }
        Becomes::Unknown => {
            fates.unknown += 1;
            Becomes::Unknown
        }
        Becomes::Same | Becomes::Other(_) => {
            fates.same += 1;
            Becomes::Same
        }
    }
}
