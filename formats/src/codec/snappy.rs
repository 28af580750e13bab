//! Snappy: blocks in the framing of xerial's Java library, as Kafka's Java clients write, and one raw block, as
//! librdkafka writes.
//!
//! ```text
//! header   82 53 4E 41 50 50 59 00   version i32 BE   least compatible version i32 BE
//! block    length i32 BE   raw snappy       repeated; a header may come again where streams were concatenated
//! ```

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Codec, damaged, over};
use crate::Result;

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const HEADER_LEN: usize = 16;
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const BLOCK: usize = 32 << 10;
/// A copy of 64 bytes takes at least 3, so no honest block expands more.
const GREATEST_RATIO: usize = 22;

pub(super) fn decompress(mut input: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<()> {
    if !input.starts_with(&MAGIC) {
        return block(input, cap, out);
    }
    while !input.is_empty() {
        if input.starts_with(&MAGIC) {
            input = input.get(HEADER_LEN..).ok_or_else(|| damaged(Codec::Snappy, "its header is cut off"))?;
            continue;
        }
        let cut_off = || damaged(Codec::Snappy, "a block is cut off");
        let (length, rest) = input.split_first_chunk().ok_or_else(cut_off)?;
        let length = usize::try_from(i32::from_be_bytes(*length))
            .map_err(|_| damaged(Codec::Snappy, "a block has a negative length"))?;
        let (raw, rest) = rest.split_at_checked(length).ok_or_else(cut_off)?;
        block(raw, cap, out)?;
        input = rest;
    }
    Ok(())
}

fn block(raw: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<()> {
    if raw.is_empty() {
        return Err(damaged(Codec::Snappy, "a block is empty"));
    }
    let length = decompress_len(raw).map_err(|error| damaged(Codec::Snappy, error))?;
    if length > raw.len().saturating_mul(GREATEST_RATIO) {
        return Err(damaged(Codec::Snappy, format_args!("{} bytes cannot hold {length}", raw.len())));
    }
    if length > cap - out.len() {
        return Err(over(Codec::Snappy, cap));
    }
    let start = out.len();
    out.resize(start + length, 0);
    Decoder::new().decompress(raw, &mut out[start..]).map_err(|error| damaged(Codec::Snappy, error))?;
    Ok(())
}

pub(super) struct Writer(Encoder);

impl Default for Writer {
    fn default() -> Self {
        Self(Encoder::new())
    }
}

impl Writer {
    pub(super) fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSIONS);
        for chunk in input.chunks(BLOCK) {
            let start = out.len() + 4;
            out.resize(start + max_compress_len(chunk.len()), 0);
            let length = self.0.compress(chunk, &mut out[start..]);
            let length = length
                .map_err(|error| crate::Error::invalid(format!("snappy could not compress: {error}")))?;
            out[start - 4..start].copy_from_slice(&(length as i32).to_be_bytes());
            out.truncate(start + length);
        }
        Ok(())
    }
}
