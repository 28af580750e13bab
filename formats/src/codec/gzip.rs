//! Gzip (RFC 1952): members one after another, each with its CRC-32 and length checked.

use crc_fast::crc32_iso_hdlc;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Codec, damaged, over};
use crate::Result;

const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// Magic, flags, time, extra flags, operating system (255: unknown).
const PLAIN_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;
/// The first step of growth; the size of most batches is not much more.
const FIRST_ROOM: usize = 64 << 10;

pub(super) struct Reader(Decompress);

impl Default for Reader {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl Reader {
    pub(super) fn decompress(&mut self, mut input: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<()> {
        loop {
            let start = out.len();
            input = self.member(after_header(input)?, cap, out)?;
            let Some((trailer, rest)) = input.split_first_chunk::<8>() else {
                return Err(damaged(Codec::Gzip, "its trailer is cut off"));
            };
            let content = &out[start..];
            let [a, b, c, d, length @ ..] = *trailer;
            if u32::from_le_bytes([a, b, c, d]) != crc32_iso_hdlc(content) {
                return Err(damaged(Codec::Gzip, "its CRC-32 does not match"));
            }
            // The field holds the length modulo 2^32.
            if u32::from_le_bytes(length) != content.len() as u32 {
                return Err(damaged(Codec::Gzip, "its length does not match"));
            }
            if rest.is_empty() {
                return Ok(());
            }
            input = rest;
        }
    }

    /// Inflates one member and returns what follows it.
    fn member<'a>(&mut self, mut input: &'a [u8], cap: usize, out: &mut Vec<u8>) -> Result<&'a [u8]> {
        self.0.reset(false);
        loop {
            if out.len() == out.capacity() {
                // One byte beyond the cap tells "exactly full" from "more to come".
                let room = out.len().max(FIRST_ROOM).min((cap - out.len()).saturating_add(1));
                out.reserve_exact(room);
            }
            let (taken, written) = (self.0.total_in(), out.len());
            let status = self.0.decompress_vec(input, out, FlushDecompress::None);
            let status = status.map_err(|error| damaged(Codec::Gzip, error))?;
            let taken = (self.0.total_in() - taken) as usize;
            input = &input[taken..];
            if out.len() > cap {
                return Err(over(Codec::Gzip, cap));
            }
            match status {
                Status::StreamEnd => return Ok(input),
                Status::Ok | Status::BufError if taken > 0 || out.len() > written => {}
                // No step forward though there is room to write: there is nothing left to read.
                Status::Ok | Status::BufError => return Err(damaged(Codec::Gzip, "it is cut off")),
            }
        }
    }
}

/// What follows a member's header.
fn after_header(input: &[u8]) -> Result<&[u8]> {
    let cut_off = || damaged(Codec::Gzip, "its header is cut off");
    let (header, mut rest) = input.split_first_chunk::<10>().ok_or_else(cut_off)?;
    let flags = header[3];
    if !header.starts_with(&MAGIC) || flags & RESERVED != 0 {
        return Err(damaged(Codec::Gzip, "it does not begin like gzip"));
    }
    if flags & EXTRA != 0 {
        let (length, after) = rest.split_first_chunk().ok_or_else(cut_off)?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..).ok_or_else(cut_off)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or_else(cut_off)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & HEADER_CRC != 0 {
        rest = rest.get(2..).ok_or_else(cut_off)?;
    }
    Ok(rest)
}

pub(super) struct Writer {
    deflate: Compress,
    level: i32,
}

impl Writer {
    /// The writer for a level, kept from the call before where that had the same one.
    pub(super) fn get(kept: &mut Option<Self>, level: i32) -> &mut Self {
        let kept = kept.get_or_insert_with(|| Self::new(level));
        if kept.level != level {
            *kept = Self::new(level);
        }
        kept
    }

    fn new(level: i32) -> Self {
        Self { deflate: Compress::new(Compression::new(level.unsigned_abs()), false), level }
    }

    pub(super) fn compress(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let (crc, length) = (crc32_iso_hdlc(input), input.len() as u32);
        self.deflate.reset();
        out.extend_from_slice(&PLAIN_HEADER);
        loop {
            out.reserve(input.len() / 2 + 1024);
            let before = self.deflate.total_in();
            let status = self.deflate.compress_vec(input, out, FlushCompress::Finish);
            let status =
                status.map_err(|error| crate::Error::invalid(format!("gzip could not compress: {error}")))?;
            input = &input[(self.deflate.total_in() - before) as usize..];
            if status == Status::StreamEnd {
                break;
            }
        }
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        Ok(())
    }
}
