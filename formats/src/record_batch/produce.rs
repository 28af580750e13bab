//! Renews a stored batch's header so that a broker accepts it from Produce.
//!
//! What a broker demands or would store unchecked (seen on Kafka 3.9 and 4.x): base offset 0, no control bit, no
//! transaction bit without a transaction, count = last offset delta + 1; bits 6 and 7 are stored as sent.

use super::{
    ATTRIBUTES_AT, BASE_SEQUENCE_AT, CRC_AT, HEADER_LEN, LAST_OFFSET_DELTA_AT, LEADER_EPOCH_AT, LENGTH_AT,
    MAGIC_AT, PRODUCER_EPOCH_AT, PRODUCER_ID_AT, RECORD_COUNT_AT, RecordBatch, checksum,
};
use crate::{Error, Result};

/// Who produces a batch, and the sequence number of its first record (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Producer {
    /// The producer id that the target gave; -1 for none.
    pub id: i64,
    /// The producer's epoch; -1 for none.
    pub epoch: i16,
    /// The first record's sequence number, 0 to 2^31-1; -1 for none.
    pub base_sequence: i32,
}

impl Producer {
    /// Not idempotent.
    pub const NONE: Self = Self { id: -1, epoch: -1, base_sequence: -1 };

    /// The same producer for the batch after one of `records` records: sequences wrap from 2^31-1 to 0.
    #[must_use]
    pub fn after(self, records: i32) -> Self {
        let next = (i64::from(self.base_sequence) + i64::from(records)) & i64::from(i32::MAX);
        Self { base_sequence: next as i32, ..self }
    }
}

impl RecordBatch<'_> {
    /// The batch's header as Produce wants it, to be sent before the untouched [`RecordBatch::records_payload`]: base
    /// offset 0, leader epoch -1, of the attributes only the codec, the producer's own id, epoch and sequence.
    ///
    /// The new CRC follows from the old one (see `checksum`), so the payload is not read, and a batch that was damaged
    /// is still found damaged by the broker. For LogAppendTime batches the records fall back to their producer's
    /// times; rebuild the batch where the times that consumers saw must stay.
    ///
    /// # Errors
    /// A batch that a broker would refuse or must never be sent: a control batch, one without records, one with holes,
    /// an unknown codec.
    pub fn produce_header(&self, producer: Producer) -> Result<[u8; HEADER_LEN]> {
        let refuse = |why: &str| {
            let (first, end) = (self.base_offset(), self.next_offset());
            Error::refused(format!(
                "record batch at offsets [{first},{end}) cannot be produced as it is: {why}"
            ))
        };
        if self.attributes().control() {
            return Err(
                refuse("it is a control batch").hint("leave it out: only a coordinator writes markers")
            );
        }
        if self.record_count() == 0 {
            return Err(refuse("it has no records").hint("leave it out"));
        }
        if self.has_holes() {
            return Err(refuse("compaction left holes in it").hint("rebuild it with contiguous offsets"));
        }
        self.attributes().codec()?;
        let mut header = *self.header;
        header[..LENGTH_AT].fill(0);
        header[LEADER_EPOCH_AT..MAGIC_AT].copy_from_slice(&(-1i32).to_be_bytes());
        header[ATTRIBUTES_AT..LAST_OFFSET_DELTA_AT]
            .copy_from_slice(&self.attributes().codec_only().0.to_be_bytes());
        header[PRODUCER_ID_AT..PRODUCER_EPOCH_AT].copy_from_slice(&producer.id.to_be_bytes());
        header[PRODUCER_EPOCH_AT..BASE_SEQUENCE_AT].copy_from_slice(&producer.epoch.to_be_bytes());
        header[BASE_SEQUENCE_AT..RECORD_COUNT_AT].copy_from_slice(&producer.base_sequence.to_be_bytes());
        let crc = checksum::replace_prefix(
            self.crc(),
            &self.header[ATTRIBUTES_AT..],
            &header[ATTRIBUTES_AT..],
            self.len() - HEADER_LEN,
        );
        header[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
        Ok(header)
    }
}

/// Renews the header of the batch at the start of `batch` in place: [`RecordBatch::produce_header`].
///
/// # Errors
/// Bytes that are no batch, or one that cannot be produced.
pub fn patch_for_produce(batch: &mut [u8], producer: Producer) -> Result<()> {
    let header = RecordBatch::parse(batch)?.produce_header(producer)?;
    batch[..HEADER_LEN].copy_from_slice(&header);
    Ok(())
}
