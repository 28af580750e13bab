//! Changes the schema ids in one record batch, and nothing else.
//!
//! ```text
//! records (decompressed)  ->  rules say what each id becomes  ->  patches of 4 or 16 bytes  ->  length, CRC
//! ```
//!
//! The lengths of records stay, so nothing moves: keys, payloads, message indexes, headers in their number and order, the
//! spelling of varints, offsets and holes, timestamps and every header field but length and CRC are bit for bit as they
//! were. Of an uncompressed batch a copy is patched. A compressed one is compressed again with the producer's codec, and
//! kept so even where that takes more bytes than before or than the records themselves: the codec bits stay true. Snappy
//! comes out as Java clients frame it, also where it was one raw block, and every codec as one stream, frame or member.
//!
//! Where no id changes, no bytes are made: the batch is to be passed on as it is. Control batches and batches without
//! records are not looked at.
//!
//! What bytes look like an id is told by [`crate::wire`]; whether they are one and what it becomes, by the caller's
//! [`IdRules`]. An id that the rules do not know stays and is reported with its record's offset: failing, keeping and
//! leaving out single records (by feeding the batch to [`crate::rebuild::Rebuilder`]) are all open to the caller.
//!
//! A batch whose ids change gets a new CRC, which would hide damage; so the old one is checked first.

mod report;
mod rules;
mod walk;

#[cfg(test)]
mod tests;

use crate::Result;
use crate::codec::{Codec, Compressor, Decompressor};
use crate::record_batch::{HEADER_LEN, RecordBatch, seal};

pub use report::{Counts, Fates, Report, SideCounts, UnknownId};
pub use rules::{Becomes, Carrier, IdRules};
use walk::{Patch, Walk};

/// How compressed batches are rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RewriteSettings {
    /// The most that one batch may decompress to, in bytes.
    pub decompressed_cap: usize,
    /// The level of gzip, 1 to 9; `None`: its usual one, 6.
    pub gzip_level: Option<i32>,
    /// The level of zstd; `None`: its usual one, 3.
    pub zstd_level: Option<i32>,
}

/// Rewrites batches one by one, with reused contexts and buffers: one for each worker thread.
///
/// Holds one batch decompressed and 16 bytes for each changed id (64 for each GUID) of the largest batch so far.
#[derive(Debug)]
pub struct Rewriter {
    settings: RewriteSettings,
    decompressor: Decompressor,
    compressor: Compressor,
    scratch: Vec<u8>,
    patches: Vec<Patch>,
}

impl Rewriter {
    /// With no contexts yet.
    ///
    /// # Errors
    /// A level that its codec does not have.
    pub fn new(settings: RewriteSettings) -> Result<Self> {
        for (codec, level) in [(Codec::Gzip, settings.gzip_level), (Codec::Zstd, settings.zstd_level)] {
            level.map_or(Ok(()), |level| codec.check_level(level))?;
        }
        let (decompressor, compressor) = (Decompressor::new(), Compressor::new());
        Ok(Self { settings, decompressor, compressor, scratch: Vec::new(), patches: Vec::new() })
    }

    /// Appends `batch` with its ids as `rules` say to `out`, or nothing where none changes ([`Report::changed`]).
    ///
    /// # Errors
    /// A batch whose CRC is wrong, one that cannot be read or decompressed within the cap, or one that grows beyond 2 GiB;
    /// with the batch's offsets. `out` is as it was then.
    pub fn rewrite<R: IdRules>(
        &mut self,
        batch: &RecordBatch<'_>,
        rules: &mut R,
        out: &mut Vec<u8>,
    ) -> Result<Report> {
        let report = self.look(batch, rules)?;
        if report.changed {
            let before = out.len();
            let written = self.write(batch, out);
            written.map_err(|error| batch.locate(error)).inspect_err(|_| out.truncate(before))?;
        }
        Ok(report)
    }

    /// What [`Rewriter::rewrite`] finds in `batch`, without any bytes being made.
    ///
    /// # Errors
    /// As there, but for a batch that grows.
    pub fn look<R: IdRules>(&mut self, batch: &RecordBatch<'_>, rules: &mut R) -> Result<Report> {
        if batch.attributes().control() || batch.record_count() == 0 {
            return Ok(Report::default());
        }
        // First, and not only where something changes: it also brings the bytes into the cache, in order.
        batch.verify_crc()?;
        self.patches.clear();
        self.find(batch, rules).map_err(|error| batch.locate(error))
    }

    /// Walks the records, which are in `scratch` afterwards where they are compressed, and notes what to patch.
    fn find<R: IdRules>(&mut self, batch: &RecordBatch<'_>, rules: &mut R) -> Result<Report> {
        let payload = match batch.attributes().codec()? {
            Codec::None => batch.records_payload(),
            codec => {
                let (stored, cap) = (batch.records_payload(), self.settings.decompressed_cap);
                self.decompressor.decompress(codec, stored, cap, &mut self.scratch)?;
                &self.scratch
            }
        };
        let mut walk = Walk::new(batch.base_offset(), payload, rules, &mut self.patches);
        for record in batch.records(payload) {
            walk.record(&record?);
        }
        Ok(walk.report())
    }

    /// Appends the batch with the patches applied.
    fn write(&mut self, batch: &RecordBatch<'_>, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let codec = batch.attributes().codec()?;
        let level = match codec {
            Codec::Gzip => self.settings.gzip_level,
            Codec::Zstd => self.settings.zstd_level,
            Codec::None | Codec::Snappy | Codec::Lz4 => None,
        };
        if codec == Codec::None {
            out.extend_from_slice(batch.bytes());
            walk::apply(&self.patches, &mut out[start + HEADER_LEN..]);
        } else {
            walk::apply(&self.patches, &mut self.scratch);
            out.extend_from_slice(&batch.bytes()[..HEADER_LEN]);
            self.compressor.compress(codec, level, &self.scratch, out)?;
        }
        seal(&mut out[start..])
    }
}
