//! The codecs of record batches, with contexts that are reused and output that is capped.
//!
//! A [`Decompressor`] never lets its output outgrow the cap that it is given, whatever the input claims: memory is
//! reserved by what the compressed bytes can really hold, not by a length that they declare. A [`Compressor`] writes
//! what Kafka's own clients write. One of each belongs to a worker thread; fresh contexts per batch cost 10 to 50 %
//! more with zstd.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::record::Records;
use crate::record_batch::RecordBatch;
use crate::{Error, Result};

/// How a batch's records are compressed; the numbers are those in a batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Not compressed.
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy: written in the framing of xerial's library, read in that and raw.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    /// Zstandard, RFC 8878 (KIP-110).
    Zstd = 4,
}

impl Codec {
    /// All of them, by number.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with a number.
    ///
    /// # Errors
    /// A number that Kafka has not given to a codec.
    pub fn from_number(number: u8) -> Result<Self> {
        Self::ALL.get(usize::from(number)).copied().ok_or_else(|| {
            Error::unsupported(format!("codec number {number} is unknown; this build knows 0 to 4"))
                .hint("if the batch is not damaged, use a newer version")
        })
    }

    /// Kafka's name for it, as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Checks a compression level: gzip 1 to 9, zstd what the library has; the others have none.
    ///
    /// # Errors
    /// A level outside, or any for a codec without levels.
    pub fn check_level(self, level: i32) -> Result<()> {
        let range = match self {
            Self::Gzip => 1..=9,
            Self::Zstd => zstd::levels(),
            Self::None | Self::Snappy | Self::Lz4 => {
                return Err(Error::invalid(format!(
                    "{self} has no compression levels, {level} was asked for"
                )));
            }
        };
        if range.contains(&level) {
            return Ok(());
        }
        let (least, most) = (range.start(), range.end());
        Err(Error::invalid(format!("{self} has no level {level}: {least} to {most} are possible")))
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Codec {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|codec| codec.name() == name);
        found.ok_or_else(|| Error::invalid(format!("{name:?} is no codec: none, gzip, snappy, lz4 or zstd")))
    }
}

/// Decompresses, with reused contexts.
#[derive(Default)]
pub struct Decompressor {
    gzip: Option<gzip::Reader>,
    zstd: Option<zstd::Reader>,
}

impl Decompressor {
    /// With no contexts yet: each codec's is made when it is first needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the content of `out` by the decompressed `input`, of at most `cap` bytes.
    ///
    /// # Errors
    /// Damaged input, or output that would be larger than `cap`; `out` is empty then.
    pub fn decompress(&mut self, codec: Codec, input: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<()> {
        self.run(codec, input, cap, out, lz4::HeaderChecksum::Checked)
    }

    /// The same for messages of magic 0 and 1, whose LZ4 frames bear a header checksum over the wrong bytes
    /// (KAFKA-3160): it is not checked.
    pub(crate) fn decompress_legacy(
        &mut self,
        codec: Codec,
        input: &[u8],
        cap: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        self.run(codec, input, cap, out, lz4::HeaderChecksum::Ignored)
    }

    fn run(
        &mut self,
        codec: Codec,
        input: &[u8],
        cap: usize,
        out: &mut Vec<u8>,
        header_checksum: lz4::HeaderChecksum,
    ) -> Result<()> {
        out.clear();
        let result = match codec {
            Codec::None if input.len() > cap => Err(over(codec, cap)),
            Codec::None => {
                out.extend_from_slice(input);
                Ok(())
            }
            Codec::Gzip => self.gzip.get_or_insert_default().decompress(input, cap, out),
            Codec::Snappy => snappy::decompress(input, cap, out),
            Codec::Lz4 => lz4::decompress(input, header_checksum, cap, out),
            Codec::Zstd => {
                zstd::Reader::get(&mut self.zstd).and_then(|zstd| zstd.decompress(input, cap, out))
            }
        };
        result.inspect_err(|_| out.clear())
    }

    /// The records of a batch, decompressed into `scratch` where they are compressed.
    ///
    /// # Errors
    /// As [`Self::decompress`], with the batch's offsets.
    pub fn records<'a>(
        &mut self,
        batch: &RecordBatch<'a>,
        cap: usize,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Records<'a>> {
        let codec = batch.attributes().codec().map_err(|error| batch.locate(error))?;
        // The cleaner keeps empty batches with their codec bits but without a compressed stream.
        if codec == Codec::None || batch.records_payload().is_empty() {
            return Ok(batch.records(batch.records_payload()));
        }
        self.decompress(codec, batch.records_payload(), cap, scratch).map_err(|error| batch.locate(error))?;
        Ok(batch.records(scratch))
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

/// Compresses, with reused contexts.
#[derive(Default)]
pub struct Compressor {
    gzip: Option<gzip::Writer>,
    snappy: Option<snappy::Writer>,
    lz4: Option<lz4::Writer>,
    zstd: Option<zstd::Writer>,
}

impl Compressor {
    /// With no contexts yet: each codec's is made when it is first needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the compressed `input` to `out`; `level` where the codec has levels, else and for `None` its usual one
    /// (gzip 6, zstd 3).
    ///
    /// # Errors
    /// A level that the codec does not have; `out` is as it was then.
    pub fn compress(
        &mut self,
        codec: Codec,
        level: Option<i32>,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if let Some(level) = level {
            codec.check_level(level)?;
        }
        let before = out.len();
        let result = match codec {
            Codec::None => {
                out.extend_from_slice(input);
                Ok(())
            }
            Codec::Gzip => gzip::Writer::get(&mut self.gzip, level.unwrap_or(6)).compress(input, out),
            Codec::Snappy => self.snappy.get_or_insert_default().compress(input, out),
            Codec::Lz4 => self.lz4.get_or_insert_default().compress(input, out),
            Codec::Zstd => zstd::Writer::get(&mut self.zstd, level.unwrap_or(3))
                .and_then(|zstd| zstd.compress(input, out)),
        };
        result.inspect_err(|_| out.truncate(before))
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

/// The error of a codec whose output would outgrow its cap.
fn over(codec: Codec, cap: usize) -> Error {
    Error::refused(format!("{codec} data decompresses to more than the {cap} bytes allowed"))
        .hint("raise the limit if the data is to be trusted")
}

/// The error of a codec whose input does not hold together.
fn damaged(codec: Codec, why: impl fmt::Display) -> Error {
    Error::corrupt(format!("{codec} data is damaged: {why}"))
}
