//! Message sets of magic 0 and 1, as Kafka wrote before 0.11 and still keeps in old segments: converted to record
//! batches, or refused in words.
//!
//! ```text
//! offset       i64   \ as in a batch
//! size         i32   / bytes after this field
//! crc          u32     CRC-32 (IEEE) of everything after it
//! magic        i8      0 or 1
//! attributes   i8      bits 0-2 codec, bit 3 LogAppendTime (magic 1)
//! timestamp    i64     magic 1 only
//! key          i32 length (-1: null), bytes
//! value        i32 length (-1: null), bytes
//! ```
//!
//! A compressed message is a wrapper: its value is a compressed message set of the same magic, its offset that of the
//! last inner message. Inner offsets are absolute in magic 0; in magic 1 they count from the first (KIP-31).
//!
//! One entry in, one batch out, uncompressed and without regard to its neighbours: what comes out depends on the entry
//! alone and never on where a fetch happened to cut the log.

#[cfg(test)]
mod tests;

use crc_fast::crc32_iso_hdlc;

use crate::codec::{Codec, Decompressor};
use crate::record_batch::{Attributes, BatchHeader, Frame, HEADER_LEN, LOG_OVERHEAD, Producer};
use crate::varint::{varint_len, varlong_len, write_varint, write_varlong};
use crate::{Error, Result};

const LOG_APPEND_TIME: i8 = 1 << 3;
/// What magic 0 has for a timestamp.
const NO_TIMESTAMP: i64 = -1;

/// Converts messages of magic 0 and 1, with reused buffers.
#[derive(Debug, Default)]
pub struct MessageSetConverter {
    decompressor: Decompressor,
    inner: Vec<u8>,
}

impl MessageSetConverter {
    /// With empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Converts the whole messages of magic 0 or 1 at the start of `records` and appends the batches to `out`; offsets,
    /// timestamps, keys and values stay. Stops before a message that is cut off, before a batch of magic 2, and once it
    /// has made `enough` bytes, and returns how many bytes of `records` it stepped over. A wrapper may hold at most `cap`
    /// bytes, so what one call makes of a set is bounded, whatever the wrappers in it unpack to.
    ///
    /// # Errors
    /// A message that is damaged, or that breaks Kafka's rules (a wrapper in a wrapper, mixed magics, offsets that do
    /// not rise); `out` then ends with the batch before it.
    pub fn convert(&mut self, records: &[u8], cap: usize, enough: usize, out: &mut Vec<u8>) -> Result<usize> {
        let (mut rest, before) = (records, out.len());
        while let Some(frame) = Frame::peek(rest)?.filter(Frame::is_legacy) {
            if out.len() - before >= enough {
                break;
            }
            let Some((entry, after)) = rest.split_at_checked(frame.len) else { break };
            let start = out.len();
            let converted = self.entry(&frame, entry, cap, out).inspect_err(|_| out.truncate(start));
            converted.map_err(|error| error.at(format_args!("message at offset {}", frame.offset)))?;
            rest = after;
        }
        Ok(records.len() - rest.len())
    }

    fn entry(&mut self, frame: &Frame, entry: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<()> {
        let message = Message::parse(frame, entry)?;
        let codec = message.codec()?;
        let log_append_time = message.magic == 1 && message.attributes & LOG_APPEND_TIME != 0;
        if codec == Codec::None {
            let mut batch = BatchWriter::new(log_append_time, out);
            batch.push(message.offset, &message)?;
            return batch.finish(message.timestamp);
        }
        if codec == Codec::Zstd {
            return Err(Error::corrupt(format!(
                "has magic {} and codec zstd, which needs magic 2",
                message.magic
            )));
        }
        let value = message.value.ok_or_else(|| Error::corrupt("is a compressed message without content"))?;
        self.decompressor.decompress_legacy(codec, value, cap, &mut self.inner)?;
        let last = last_offset(&self.inner)?;
        // Magic 1: the wrapper's offset is the last inner one's, whatever its relative number.
        let shift = if message.magic == 0 { 0 } else { message.offset.wrapping_sub(last) };
        if last.checked_add(shift) != Some(message.offset) {
            return Err(Error::corrupt(format!("wraps messages up to offset {last}, not to its own")));
        }
        let mut batch = BatchWriter::new(log_append_time, out);
        let (mut set, mut newest) = (&self.inner[..], NO_TIMESTAMP);
        while let Some(inner) = next_inner(message.magic, &mut set)? {
            let offset =
                inner.offset.checked_add(shift).ok_or_else(|| Error::corrupt("wraps impossible offsets"))?;
            batch.push(offset, &inner)?;
            newest = newest.max(inner.timestamp);
        }
        batch.finish(if log_append_time { message.timestamp } else { newest })
    }
}

/// The offset of the last message in a wrapper.
fn last_offset(mut set: &[u8]) -> Result<i64> {
    let mut last = None;
    while let Some(frame) = Frame::peek(set)? {
        last = Some(frame.offset);
        set = set.get(frame.len..).unwrap_or_default();
    }
    last.ok_or_else(|| Error::corrupt("wraps no message"))
}

/// Steps over the next message in a wrapper, which must be whole, of its magic and not compressed itself.
fn next_inner<'a>(magic: i8, set: &mut &'a [u8]) -> Result<Option<Message<'a>>> {
    if set.is_empty() {
        return Ok(None);
    }
    let cut_off = || Error::corrupt("wraps a message that is cut off");
    let frame = Frame::peek(set)?.ok_or_else(cut_off)?;
    let (entry, rest) = set.split_at_checked(frame.len).ok_or_else(cut_off)?;
    if frame.magic != Some(magic) {
        return Err(Error::corrupt(format!("has magic {magic} and wraps a message of another")));
    }
    let message = Message::parse(&frame, entry)?;
    if message.codec()? != Codec::None {
        return Err(Error::corrupt("wraps a message that is compressed again"));
    }
    *set = rest;
    Ok(Some(message))
}

struct Message<'a> {
    offset: i64,
    magic: i8,
    attributes: i8,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// Reads one whole entry and checks its CRC.
    fn parse(frame: &Frame, entry: &'a [u8]) -> Result<Self> {
        let mut rest = &entry[LOG_OVERHEAD..];
        let stored = u32::from_be_bytes(take(&mut rest)?);
        let computed = crc32_iso_hdlc(rest);
        if stored != computed {
            let what = format!("is damaged: its CRC-32 is {stored:#010x}, its bytes give {computed:#010x}");
            return Err(Error::corrupt(what));
        }
        if frame.offset < 0 {
            return Err(Error::corrupt("has a negative offset"));
        }
        let [magic, attributes] = take(&mut rest)?.map(|byte| byte as i8);
        let timestamp = if magic == 0 { NO_TIMESTAMP } else { i64::from_be_bytes(take(&mut rest)?) };
        let (key, value) = (take_nullable(&mut rest)?, take_nullable(&mut rest)?);
        if !rest.is_empty() {
            return Err(Error::corrupt(format!("has {} bytes after its value", rest.len())));
        }
        Ok(Self { offset: frame.offset, magic, attributes, timestamp, key, value })
    }

    fn codec(&self) -> Result<Codec> {
        Codec::from_number((self.attributes & 7) as u8)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (taken, after) = rest.split_first_chunk().ok_or_else(|| Error::corrupt("is too short"))?;
    *rest = after;
    Ok(*taken)
}

fn take_nullable<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    let length = i32::from_be_bytes(take(rest)?);
    if length == -1 {
        return Ok(None);
    }
    let taken = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let Some((taken, after)) = taken else {
        return Err(Error::corrupt(format!(
            "has a key or value of length {length}, {} bytes are left",
            rest.len()
        )));
    };
    *rest = after;
    Ok(Some(taken))
}

/// Writes one batch of magic 2 at the end of a buffer.
struct BatchWriter<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    attributes: Attributes,
    first: Option<(i64, i64)>,
    last: i64,
    count: i32,
}

impl<'o> BatchWriter<'o> {
    fn new(log_append_time: bool, out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        out.resize(start + HEADER_LEN, 0);
        let attributes = Attributes(if log_append_time { LOG_APPEND_TIME as u16 } else { 0 });
        Self { out, start, attributes, first: None, last: -1, count: 0 }
    }

    fn push(&mut self, offset: i64, message: &Message<'_>) -> Result<()> {
        let (base_offset, base_timestamp) = *self.first.get_or_insert((offset, message.timestamp));
        let delta = i32::try_from(offset.wrapping_sub(base_offset)).ok().filter(|_| offset > self.last);
        let Some(delta) = delta else {
            return Err(Error::corrupt(format!("wraps offset {offset} after {}", self.last)));
        };
        let timestamp_delta = message.timestamp.wrapping_sub(base_timestamp);
        let body = nullable_len(message.key)? + nullable_len(message.value)? + 1;
        let length = 1 + varlong_len(timestamp_delta) + varint_len(delta) + body;
        write_varint(length_of(length)?, self.out);
        self.out.push(0);
        write_varlong(timestamp_delta, self.out);
        write_varint(delta, self.out);
        for bytes in [message.key, message.value] {
            write_varint(bytes.map_or(Ok(-1), |bytes| length_of(bytes.len()))?, self.out);
            self.out.extend_from_slice(bytes.unwrap_or_default());
        }
        self.out.push(0); // no headers
        self.last = offset;
        self.count += 1;
        Ok(())
    }

    fn finish(self, max_timestamp: i64) -> Result<()> {
        let (base_offset, base_timestamp) = self.first.unwrap_or((0, NO_TIMESTAMP));
        let header = BatchHeader {
            base_offset,
            leader_epoch: -1,
            attributes: self.attributes,
            last_offset_delta: (self.last - base_offset) as i32,
            base_timestamp,
            max_timestamp,
            producer: Producer::NONE,
            record_count: self.count,
        };
        header.write_to(&mut self.out[self.start..])
    }
}

fn length_of(length: usize) -> Result<i32> {
    i32::try_from(length).map_err(|_| Error::corrupt("is larger than a record can be"))
}

fn nullable_len(bytes: Option<&[u8]>) -> Result<usize> {
    let length = bytes.map_or(0, <[u8]>::len);
    Ok(varint_len(bytes.map_or(Ok(-1), |bytes| length_of(bytes.len()))?) + length)
}
