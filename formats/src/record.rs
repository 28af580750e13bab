//! The records inside a batch of magic 2, read without copying: keys, values and header bytes stay verbatim.
//!
//! ```text
//! length            varint    bytes after this field
//! attributes        i8        unused by Kafka, kept
//! timestamp delta   varlong   to the batch's base timestamp
//! offset delta      varint    to the batch's base offset
//! key length        varint    \ -1: null         the body: everything from here to the end of the record,
//! key                         |                  copied verbatim when a batch is rebuilt
//! value length      varint    | -1: null
//! value                       |
//! header count      varint    |
//! headers                     / each: key length varint, key, value length varint (-1: null), value
//! ```
//!
//! Duplicate, empty and non-UTF-8 header keys and null header values are all legal and all kept.

#[cfg(test)]
mod tests;

use std::fmt;

use crate::varint::{read_varint, read_varlong};
use crate::{Error, Result};

/// The least bytes that a record takes: a length, attributes, two deltas, two null lengths and a header count.
const MIN_RECORD: usize = 7;
/// The least bytes that a header takes: two lengths.
const MIN_HEADER: usize = 2;

/// One record, borrowed from its batch's decompressed payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// Milliseconds to the batch's base timestamp; use [`crate::record_batch::RecordBatch::effective_timestamp`].
    pub timestamp_delta: i64,
    /// Attribute bits, none of which Kafka uses yet.
    pub attributes: i8,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null: a tombstone in compacted topics.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: Headers<'a>,
    body: &'a [u8],
}

impl<'a> Record<'a> {
    /// Everything after the deltas, verbatim: key, value and headers with their lengths.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Reads a whole record without its length field.
    #[inline(always)]
    fn parse(mut bytes: &'a [u8]) -> Result<Self> {
        let Some((attributes, rest)) = bytes.split_first() else {
            return Err(Error::corrupt("has no attributes"));
        };
        bytes = rest;
        let timestamp_delta = read_varlong(&mut bytes)?;
        let offset_delta = read_varint(&mut bytes)?;
        let body = bytes;
        let key = read_nullable(&mut bytes, "key")?;
        let value = read_nullable(&mut bytes, "value")?;
        let headers = Headers::parse(bytes)?;
        Ok(Self { offset_delta, timestamp_delta, attributes: *attributes as i8, key, value, headers, body })
    }
}

/// The headers of a record: an iterator over keys and values, in order, nothing merged.
///
/// Checked when the record was read, so that iterating cannot fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    raw: &'a [u8],
    left: u32,
}

impl<'a> Headers<'a> {
    /// Takes over the end of a record: the count, then the headers and nothing else.
    #[inline(always)]
    fn parse(mut bytes: &'a [u8]) -> Result<Self> {
        let count = read_varint(&mut bytes)?;
        let fits = bytes.len() / MIN_HEADER;
        let Some(left) = u32::try_from(count).ok().filter(|count| *count as usize <= fits) else {
            return Err(Error::corrupt(format!("counts {count} headers in {} bytes", bytes.len())));
        };
        let headers = Self { raw: bytes, left };
        for _ in 0..left {
            read_header(&mut bytes)?;
        }
        if !bytes.is_empty() {
            return Err(Error::corrupt(format!("has {} bytes after its last header", bytes.len())));
        }
        Ok(headers)
    }

    /// The encoded bytes of those that are left, without the count.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        read_header(&mut self.raw).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Headers<'_> {}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// The records of a decompressed payload.
///
/// Checks, as it goes, that lengths fit, that offsets rise and stay inside the batch, that there are exactly as many
/// records as the batch counts and that nothing follows them. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    declared: i32,
    read: i32,
    least_delta: i64,
    last_offset_delta: i32,
    done: bool,
}

impl<'a> Records<'a> {
    /// Walks `payload`, of a batch that counts `count` records and ends at `last_offset_delta`.
    pub fn new(payload: &'a [u8], count: i32, last_offset_delta: i32) -> Self {
        Self { rest: payload, declared: count, read: 0, least_delta: 0, last_offset_delta, done: false }
    }

    #[inline(always)]
    fn step(&mut self) -> Result<Option<Record<'a>>> {
        if self.read == self.declared {
            if !self.rest.is_empty() {
                return Err(Error::corrupt(format!(
                    "{} bytes follow the last of {} records",
                    self.rest.len(),
                    self.declared
                )));
            }
            return Ok(None);
        }
        // What is left of the count, at its least, against what is left of the bytes.
        let left = i64::from(self.declared) - i64::from(self.read);
        if left < 0 || left * MIN_RECORD as i64 > self.rest.len() as i64 {
            return Err(miscounted(self.declared, self.rest.len(), self.read));
        }
        let (read, declared) = (self.read, self.declared);
        let at = |error| in_record(read, declared, error);
        let length = read_varint(&mut self.rest).map_err(at)?;
        let whole = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((bytes, rest)) = whole else {
            return Err(at(too_long("", length, self.rest.len())));
        };
        let record = Record::parse(bytes).map_err(at)?;
        let delta = i64::from(record.offset_delta);
        if delta < self.least_delta || delta > i64::from(self.last_offset_delta) {
            return Err(at(misplaced(delta, self.least_delta, self.last_offset_delta)));
        }
        self.rest = rest;
        self.least_delta = delta + 1;
        self.read += 1;
        Ok(Some(record))
    }
}

// Reading a record is inlined into its caller's loop, because handing it over in memory costs as much as reading it. Errors
// are made elsewhere from plain values, so that what they tell need not lie in memory for every record either.

#[cold]
fn in_record(read: i32, declared: i32, error: Error) -> Error {
    error.at(format_args!("record {read} of {declared}"))
}

#[cold]
fn miscounted(declared: i32, left: usize, read: i32) -> Error {
    Error::corrupt(format!("batch counts {declared} records but ends {left} bytes after record {read}"))
}

#[cold]
fn misplaced(delta: i64, least: i64, last: i32) -> Error {
    Error::corrupt(format!("has offset delta {delta}, possible are {least} to {last}"))
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step();
        self.done = !matches!(item, Ok(Some(_)));
        item.transpose()
    }
}

impl std::iter::FusedIterator for Records<'_> {}

fn read_header<'a>(bytes: &mut &'a [u8]) -> Result<(&'a [u8], Option<&'a [u8]>)> {
    let key = read_nullable(bytes, "header key")?.ok_or_else(|| Error::corrupt("has a null header key"))?;
    Ok((key, read_nullable(bytes, "header value")?))
}

#[inline(always)]
fn read_nullable<'a>(bytes: &mut &'a [u8], what: &str) -> Result<Option<&'a [u8]>> {
    let length = read_varint(bytes)?;
    let found = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
    match found {
        Some((found, rest)) => {
            *bytes = rest;
            Ok(Some(found))
        }
        None if length == -1 => Ok(None),
        None => Err(too_long(what, length, bytes.len())),
    }
}

/// The error of a length beyond the bytes that are left; `what` is empty for that of the record itself.
#[cold]
fn too_long(what: &str, length: i32, left: usize) -> Error {
    let what = if what.is_empty() { "length of".to_owned() } else { format!("{what} of length") };
    Error::corrupt(format!("has a {what} {length}, {left} bytes are left"))
}
