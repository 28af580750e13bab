//! Zstandard: frames one after another, decompressed in one shot.
//!
//! Java producers stream, so their frames do not say how large their content is. Streaming decompression would hold
//! the frame's window, up to 128 MiB, beside the output. Instead the block headers are added up first: they bound the
//! content to within one block, the output is reserved once, and nothing else is held. Source: RFC 8878 section 3.1.

use std::ops::RangeInclusive;

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

use super::{Codec, damaged, over};
use crate::{Error, Result};

const MAGIC: u32 = 0xFD2F_B528;
/// The low four bits are the user's.
const SKIPPABLE: u32 = 0x184D_2A50;
const LARGEST_BLOCK: u64 = 128 << 10;

/// The compression levels there are.
pub(super) fn levels() -> RangeInclusive<i32> {
    zstd_safe::min_c_level()..=zstd_safe::max_c_level()
}

pub(super) struct Reader(DCtx<'static>);

impl Reader {
    pub(super) fn get(kept: &mut Option<Self>) -> Result<&mut Self> {
        match kept {
            Some(reader) => Ok(reader),
            None => Ok(kept.insert(Self(DCtx::try_create().ok_or_else(no_context)?))),
        }
    }

    pub(super) fn decompress(&mut self, input: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<()> {
        let bound = content_bound(input)?;
        let room = usize::try_from(bound).unwrap_or(cap).min(cap);
        out.reserve_exact(room);
        let result = self.0.decompress(out, input);
        if out.len() > cap {
            return Err(over(Codec::Zstd, cap));
        }
        match result {
            Ok(_) => Ok(()),
            // The bound holds for every valid input, so only the cap can have been in the way.
            Err(code) if bound > room as u64 && is_too_small(code) => Err(over(Codec::Zstd, cap)),
            Err(code) => Err(damaged(Codec::Zstd, zstd_safe::get_error_name(code))),
        }
    }
}

/// ZSTD_error_dstSize_tooSmall, which the library promises never to renumber.
fn is_too_small(code: usize) -> bool {
    code.wrapping_neg() == 70
}

fn no_context() -> Error {
    Error::invalid("zstd could not allocate a context").hint("give the process more memory")
}

/// The most bytes that valid `input` can decompress to: what its frame headers say, or its blocks at their largest.
fn content_bound(mut input: &[u8]) -> Result<u64> {
    let mut bound = 0u64;
    while !input.is_empty() {
        let magic = little_endian(take(&mut input, 4)?) as u32;
        if magic & !0xf == SKIPPABLE {
            let length = little_endian(take(&mut input, 4)?) as usize;
            take(&mut input, length)?;
            continue;
        }
        if magic != MAGIC {
            return Err(damaged(Codec::Zstd, "it does not begin like a zstd frame"));
        }
        let content = frame_bound(&mut input)?;
        bound = bound.saturating_add(content);
    }
    Ok(bound)
}

/// Steps over one frame behind its magic.
fn frame_bound(input: &mut &[u8]) -> Result<u64> {
    let descriptor = little_endian(take(input, 1)?) as u8;
    let single_segment = descriptor & (1 << 5) != 0;
    if !single_segment {
        take(input, 1)?; // the window
    }
    take(input, [0, 1, 2, 4][usize::from(descriptor & 3)])?; // the dictionary's id
    let size_field = match descriptor >> 6 {
        0 => usize::from(single_segment),
        code => 1 << code,
    };
    let declared = little_endian(take(input, size_field)?);
    let mut blocks = 0u64;
    loop {
        let header = little_endian(take(input, 3)?);
        let size = header >> 3;
        let (stored, content) = match (header >> 1) & 3 {
            0 => (size, size),
            1 => (1, size),
            2 => (size, LARGEST_BLOCK),
            _ => return Err(damaged(Codec::Zstd, "a block has a reserved type")),
        };
        blocks = blocks.saturating_add(content);
        take(input, stored as usize)?;
        if header & 1 != 0 {
            break;
        }
    }
    if descriptor & (1 << 2) != 0 {
        take(input, 4)?; // the content's checksum, which the library verifies
    }
    // A declared size is believed only as far as the blocks can fill it.
    let declared = match size_field {
        0 => blocks,
        2 => declared + 256,
        _ => declared,
    };
    Ok(declared.min(blocks))
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let cut_off = || damaged(Codec::Zstd, "it is cut off");
    let (taken, rest) = input.split_at_checked(length).ok_or_else(cut_off)?;
    *input = rest;
    Ok(taken)
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

pub(super) struct Writer {
    context: CCtx<'static>,
    /// The level that the context is set to.
    level: Option<i32>,
}

impl Writer {
    /// The writer at a level.
    pub(super) fn get(kept: &mut Option<Self>, level: i32) -> Result<&mut Self> {
        let writer = match kept {
            Some(writer) => writer,
            None => kept.insert(Self { context: CCtx::try_create().ok_or_else(no_context)?, level: None }),
        };
        if writer.level != Some(level) {
            let set = writer.context.set_parameter(CParameter::CompressionLevel(level));
            set.map_err(|code| {
                Error::invalid(format!("zstd level {level}: {}", zstd_safe::get_error_name(code)))
            })?;
            writer.level = Some(level);
        }
        Ok(writer)
    }

    pub(super) fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        out.resize(start + zstd_safe::compress_bound(input.len()), 0);
        let length = self.context.compress2(&mut out[start..], input);
        let length = length.map_err(|code| {
            Error::invalid(format!("zstd could not compress: {}", zstd_safe::get_error_name(code)))
        })?;
        out.truncate(start + length);
        Ok(())
    }
}
