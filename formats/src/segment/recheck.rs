//! Reads a segment back before it is stored: what the hash covers must be the batches that came, by the producers' own
//! checksums. So a bit that flips in memory, or a codec that fails, costs a run and not a backup. It looks at records only for
//! the schemas that they name, and only where asked to: right after their batch's checksum, while the processor's cache has them.

use bytes::Bytes;

use super::write::{FrameCrc, KEPT};
use super::{Frame, FrameCodec};
use crate::codec::{Codec, Decompressor};
use crate::hash::Hash;
use crate::record_batch::Batches;
use crate::schema_ids::{IdScanner, SchemaIds};
use crate::{Error, Result};

/// One for each worker, because it reuses its memory.
#[derive(Debug)]
pub(super) struct Recheck {
    decompressor: Decompressor,
    raw: Vec<u8>,
    ids: Option<IdScanner>,
}

impl Recheck {
    pub(super) fn new() -> Self {
        Self { decompressor: Decompressor::new(), raw: Vec::new(), ids: None }
    }

    /// Also looks for the schemas that records name.
    pub(super) fn look_for(&mut self, ids: IdScanner) {
        self.ids = Some(ids);
    }

    /// The schemas that the records of the segment name which was hashed last, where they were looked for.
    pub(super) fn found(&mut self) -> Option<SchemaIds> {
        self.ids.as_mut().map(IdScanner::finish)
    }

    /// BLAKE3 of all parts: header, the frames' pieces, index and tail. Each piece is read back right after it was hashed,
    /// while the processor's cache still has it.
    ///
    /// # Errors
    /// A frame that does not hold the batches that its index entry tells.
    pub(super) fn hash(&mut self, parts: &[Bytes], frames: &[Frame]) -> Result<Hash> {
        let mut hasher = blake3::Hasher::new();
        let mut parts = parts.iter().inspect(|part| {
            hasher.update(part);
        });
        parts.next();
        for frame in frames {
            self.frame(frame, &mut parts).map_err(|e| {
                let message = format!("frame {} does not read back as it was encoded: {e}", frame.range);
                Error::corrupt(message)
                    .hint("memory or a codec failed; nothing of it was stored. Run again; if it comes back, test the machine")
            })?;
        }
        parts.for_each(drop);
        Ok(hasher.finalize().into())
    }

    fn frame<'a>(&mut self, frame: &Frame, parts: &mut impl Iterator<Item = &'a Bytes>) -> Result<()> {
        let mut stored = 0;
        let mut crc = FrameCrc::new(frame);
        let (mut batches, mut next) = (0, frame.range.first);
        while stored < frame.stored as usize {
            let Some(piece) = parts.next() else { break };
            crc.piece(piece);
            stored += piece.len();
            let codec = match frame.codec {
                FrameCodec::None => Codec::None,
                FrameCodec::Lz4 => Codec::Lz4,
                FrameCodec::Zstd => Codec::Zstd,
            };
            let raw: &[u8] = if codec == Codec::None {
                piece
            } else {
                self.raw.clear();
                self.decompressor.decompress(codec, piece, frame.raw as usize, &mut self.raw)?;
                &self.raw
            };
            for batch in Batches::new(raw) {
                let batch = batch?;
                batch.verify_crc()?;
                if let Some(ids) = &mut self.ids {
                    ids.batch(&batch);
                }
                if batch.base_offset() < next {
                    return Err(Error::corrupt(format!("a batch begins at {}", batch.base_offset())));
                }
                crc.batch(&batch);
                next = batch.next_offset();
                batches += 1;
            }
            self.raw.clear();
            self.raw.shrink_to(KEPT);
        }
        if (stored, crc.finish()) != (frame.stored as usize, frame.crc) {
            return Err(Error::corrupt("its checksum is another"));
        }
        if (batches, next) != (frame.batches, frame.range.end) {
            return Err(Error::corrupt(format!("it holds {batches} batches up to {next}")));
        }
        Ok(())
    }
}
