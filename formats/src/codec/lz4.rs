//! The LZ4 frame format around the block codec: read in every form that producers write, written as Kafka's Java
//! client does (independent blocks of 64 KiB, no checksums but the header's).
//!
//! ```text
//! frame   magic u32 LE   flags u8   block size u8   [content size u64]   [dictionary id u32]   header checksum u8
//! block   length u32 LE (top bit: stored)   data   [checksum u32]           repeated, then length 0
//!         [content checksum u32]
//! ```
//!
//! Blocks decompress straight into the output, which is also the window of linked blocks, so that nothing is held but
//! the output. Source: lz4_Frame_format.md 1.6.

use lz4_flex::block::{
    CompressTable, DecompressError, compress_into_with_table, decompress_into, decompress_into_with_dict,
    get_maximum_output_size,
};
use twox_hash::XxHash32;

use super::{Codec, damaged, over};
use crate::{Error, Result};

const MAGIC: u32 = 0x184D_2204;
/// The low four bits are the user's.
const SKIPPABLE: u32 = 0x184D_2A50;
const VERSION_MASK: u8 = 0xc0;
const VERSION: u8 = 0x40;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUM: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 1;
const STORED: u32 = 1 << 31;
const WINDOW: usize = 64 << 10;
/// Each byte of a length adds at most 255 to it.
const GREATEST_RATIO: usize = 256;

/// What to do about the checksum in a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderChecksum {
    /// Magic 2: it is right.
    Checked,
    /// Magic 0 and 1: Kafka's old clients computed it over the magic as well.
    Ignored,
}

pub(super) fn decompress(
    mut input: &[u8],
    header_checksum: HeaderChecksum,
    cap: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    loop {
        match take_u32(&mut input)? {
            MAGIC => frame(&mut input, header_checksum, cap, out)?,
            magic if magic & !0xf == SKIPPABLE => {
                let length = take_u32(&mut input)? as usize;
                take(&mut input, length)?;
            }
            _ => return Err(damaged(Codec::Lz4, "it does not begin like an LZ4 frame")),
        }
        if input.is_empty() {
            return Ok(());
        }
    }
}

fn frame(input: &mut &[u8], header_checksum: HeaderChecksum, cap: usize, out: &mut Vec<u8>) -> Result<()> {
    let descriptor = *input;
    let &[flags, block_descriptor] = take(input, 2)? else {
        return Err(cut_off());
    };
    if flags & VERSION_MASK != VERSION || flags & 0b10 != 0 || block_descriptor & 0x8f != 0 {
        return Err(damaged(Codec::Lz4, "its frame header has unknown flags"));
    }
    let block_size = match block_descriptor >> 4 {
        size @ 4..=7 => 1usize << (8 + 2 * size),
        size => return Err(damaged(Codec::Lz4, format_args!("its frame header has a block size of {size}"))),
    };
    let content_size = if flags & CONTENT_SIZE != 0 { Some(take_u64(input)?) } else { None };
    if flags & DICTIONARY != 0 {
        return Err(Error::unsupported("lz4 data needs a dictionary, which Kafka's clients never use"));
    }
    let checked = &descriptor[..descriptor.len() - input.len()];
    let stored = take(input, 1)?;
    if header_checksum == HeaderChecksum::Checked && stored != [(XxHash32::oneshot(0, checked) >> 8) as u8] {
        return Err(damaged(Codec::Lz4, "its frame header's checksum does not match"));
    }
    let start = out.len();
    loop {
        let length = take_u32(input)?;
        if length == 0 {
            break;
        }
        let data = take(input, (length & !STORED) as usize)?;
        if data.len() > block_size {
            return Err(damaged(Codec::Lz4, "a block is larger than its frame allows"));
        }
        if flags & BLOCK_CHECKSUM != 0 && take_u32(input)? != XxHash32::oneshot(0, data) {
            return Err(damaged(Codec::Lz4, "a block's checksum does not match"));
        }
        if length & STORED != 0 {
            if data.len() > cap - out.len() {
                return Err(over(Codec::Lz4, cap));
            }
            out.extend_from_slice(data);
        } else {
            let window = if flags & INDEPENDENT != 0 {
                out.len()
            } else {
                start.max(out.len().saturating_sub(WINDOW))
            };
            block(data, window, block_size, cap, out)?;
        }
    }
    let content = &out[start..];
    if content_size.is_some_and(|size| size != content.len() as u64) {
        return Err(damaged(Codec::Lz4, "its content size does not match"));
    }
    if flags & CONTENT_CHECKSUM != 0 && take_u32(input)? != XxHash32::oneshot(0, content) {
        return Err(damaged(Codec::Lz4, "its content checksum does not match"));
    }
    Ok(())
}

/// Decompresses one block to the end of `out`; it may refer to what `out` has from `window` on.
fn block(data: &[u8], window: usize, block_size: usize, cap: usize, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    let possible = block_size.min(data.len().saturating_mul(GREATEST_RATIO));
    let room = possible.min(cap - start);
    out.resize(start + room, 0);
    let (before, into) = out.split_at_mut(start);
    let dictionary = &before[window..];
    let written = if dictionary.is_empty() {
        decompress_into(data, into)
    } else {
        decompress_into_with_dict(data, into, dictionary)
    };
    match written {
        Ok(written) => {
            out.truncate(start + written);
            Ok(())
        }
        Err(DecompressError::OutputTooSmall { .. }) if room < possible => Err(over(Codec::Lz4, cap)),
        Err(error) => Err(damaged(Codec::Lz4, error)),
    }
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(length).ok_or_else(cut_off)?;
    *input = rest;
    Ok(taken)
}

fn take_u32(input: &mut &[u8]) -> Result<u32> {
    let (taken, rest) = input.split_first_chunk().ok_or_else(cut_off)?;
    *input = rest;
    Ok(u32::from_le_bytes(*taken))
}

fn take_u64(input: &mut &[u8]) -> Result<u64> {
    let (taken, rest) = input.split_first_chunk().ok_or_else(cut_off)?;
    *input = rest;
    Ok(u64::from_le_bytes(*taken))
}

fn cut_off() -> Error {
    damaged(Codec::Lz4, "it is cut off")
}

/// Magic, flags (version 1, independent blocks), block size 4 (64 KiB) and the checksum that these two give.
const KAFKA_HEADER: [u8; 7] = [0x04, 0x22, 0x4D, 0x18, 0x60, 0x40, 0x82];
const BLOCK: usize = 64 << 10;

pub(super) struct Writer(CompressTable);

impl Default for Writer {
    fn default() -> Self {
        // Not the small table: it would be swapped for the large one at the first full block, and from then on small
        // input would compress to other bytes than before.
        Self(CompressTable::large())
    }
}

impl Writer {
    pub(super) fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&KAFKA_HEADER);
        for chunk in input.chunks(BLOCK) {
            let start = out.len() + 4;
            out.resize(start + get_maximum_output_size(chunk.len()), 0);
            let length = compress_into_with_table(chunk, &mut out[start..], &mut self.0)
                .map_err(|error| Error::invalid(format!("lz4 could not compress: {error}")))?;
            let word = if length < chunk.len() {
                out.truncate(start + length);
                length as u32
            } else {
                out.truncate(start);
                out.extend_from_slice(chunk);
                chunk.len() as u32 | STORED
            };
            out[start - 4..start].copy_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&0u32.to_le_bytes());
        Ok(())
    }
}
