//! Protobuf's message indexes: which message of a schema's file a payload is.
//!
//! ```text
//! count    varint   how deep the message is nested; 0: short for the list [0], the file's first message
//! index    varint   repeated: which message of the file, which of the messages inside it, and so on
//! ```
//!
//! Varints are zig-zag, as Kafka's own. Source: `SchemaMessageIndexes` of Confluent's serialisers.

use crate::varint::{read_varint, varint_len};
use crate::{Error, Result};

/// A list of message indexes: an iterator, checked when it was read, so that iterating cannot fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageIndexes<'a> {
    raw: &'a [u8],
    left: usize,
}

impl<'a> MessageIndexes<'a> {
    /// Reads a list from the front of `bytes` and steps over it, to where the payload begins. Takes no memory, and time by
    /// the bytes that are there. `bytes` is as it was after an error.
    ///
    /// Stricter than Confluent's reader: a varint must have the shortest form, as all serialisers write it, so that fewer
    /// bytes by chance look like a list.
    ///
    /// # Errors
    /// Bytes that end inside it, a count or index below 0, a count beyond what the bytes can hold, an over-long varint.
    pub fn read(bytes: &mut &'a [u8]) -> Result<Self> {
        let mut rest = *bytes;
        let count = read_number(&mut rest, "count")?;
        if count == 0 {
            *bytes = rest;
            return Ok(Self { raw: &[0], left: 1 });
        }
        if count > rest.len() {
            return Err(Error::corrupt(format!("{count} message indexes are in {} bytes", rest.len())));
        }
        let list = rest;
        for _ in 0..count {
            read_number(&mut rest, "index")?;
        }
        *bytes = rest;
        Ok(Self { raw: &list[..list.len() - rest.len()], left: count })
    }
}

impl Iterator for MessageIndexes<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        read_number(&mut self.raw, "index").ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for MessageIndexes<'_> {}

fn read_number(bytes: &mut &[u8], what: &str) -> Result<usize> {
    let before = bytes.len();
    let number = read_varint(bytes).map_err(|error| error.at(format_args!("message {what}")))?;
    if before - bytes.len() != varint_len(number) {
        return Err(Error::corrupt(format!("message {what} {number} has a longer varint than it needs")));
    }
    usize::try_from(number).map_err(|_| Error::corrupt(format!("message {what} is {number}")))
}
