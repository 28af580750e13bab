//! What the caller decides: what a schema id becomes.

use uuid::Uuid;

use crate::ids::SchemaId;
use crate::wire::Side;

/// What becomes of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Becomes<T> {
    /// It stays: it is the same on the target, or the bytes are no id at all.
    Same,
    /// It is replaced.
    Other(T),
    /// It is an id, and nobody knows what it is on the target. It stays and is reported.
    Unknown,
}

/// A key or value whose schema is named, by itself or by a header.
#[derive(Debug, Clone, Copy)]
pub struct Carrier<'a> {
    /// The record's offset.
    pub offset: i64,
    /// Which part of the record.
    pub side: Side,
    /// The whole key or value, so that a rule may prove by decoding it that the id is one; `None` is null.
    pub payload: Option<&'a [u8]>,
    /// What follows the id where it was found, in `payload` or in the header's value.
    pub after: &'a [u8],
    /// Of a prefix: whether the last header of this side's name has a value. Clients that look at headers take the whole
    /// of `payload` for the message then, and what looks like a prefix for a part of it. Of a header: false.
    pub overruled: bool,
}

/// Says what ids become. Asked for every id in a batch, in the order of records, in each first of the headers, in theirs,
/// then of key and value.
///
/// An id is whatever [`crate::wire`] finds by the bytes; a rule that does not know that a topic's keys or values are framed
/// says [`Becomes::Same`].
pub trait IdRules {
    /// Of an id at the beginning of a key or value.
    fn prefix(&mut self, id: SchemaId, carrier: &Carrier<'_>) -> Becomes<SchemaId>;

    /// Of an id in a header.
    fn header_id(&mut self, id: SchemaId, carrier: &Carrier<'_>) -> Becomes<SchemaId>;

    /// Of a GUID in a header.
    fn header_guid(&mut self, guid: Uuid, carrier: &Carrier<'_>) -> Becomes<Uuid>;
}
