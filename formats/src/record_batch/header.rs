//! Writes the header of a batch made here.

use super::{
    ATTRIBUTES_AT, Attributes, BASE_SEQUENCE_AT, BASE_TIMESTAMP_AT, CRC_AT, HEADER_LEN, LAST_OFFSET_DELTA_AT,
    LEADER_EPOCH_AT, LENGTH_AT, LOG_OVERHEAD, MAGIC_AT, MAX_TIMESTAMP_AT, PRODUCER_EPOCH_AT, PRODUCER_ID_AT,
    Producer, RECORD_COUNT_AT, checksum,
};
use crate::{Error, Result};

/// The values of a header; lengths and the CRC follow from the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The first offset.
    pub base_offset: i64,
    /// The leader epoch; -1 for none.
    pub leader_epoch: i32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// The last offset less the first.
    pub last_offset_delta: i32,
    /// What timestamp deltas are relative to, in milliseconds.
    pub base_timestamp: i64,
    /// The greatest timestamp, in milliseconds.
    pub max_timestamp: i64,
    /// Producer and sequence; [`Producer::NONE`] for none.
    pub producer: Producer,
    /// How many records the payload holds.
    pub record_count: i32,
}

impl BatchHeader {
    /// Completes a batch in place: `batch` begins with [`HEADER_LEN`] bytes of room, then its payload.
    ///
    /// # Errors
    /// A buffer without that room, or with more bytes than a batch can have (2 GiB).
    pub fn write_to(&self, batch: &mut [u8]) -> Result<()> {
        length_field(batch)?;
        batch[..LENGTH_AT].copy_from_slice(&self.base_offset.to_be_bytes());
        batch[LEADER_EPOCH_AT..MAGIC_AT].copy_from_slice(&self.leader_epoch.to_be_bytes());
        batch[MAGIC_AT] = 2;
        batch[ATTRIBUTES_AT..LAST_OFFSET_DELTA_AT].copy_from_slice(&self.attributes.0.to_be_bytes());
        batch[LAST_OFFSET_DELTA_AT..BASE_TIMESTAMP_AT].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        batch[BASE_TIMESTAMP_AT..MAX_TIMESTAMP_AT].copy_from_slice(&self.base_timestamp.to_be_bytes());
        batch[MAX_TIMESTAMP_AT..PRODUCER_ID_AT].copy_from_slice(&self.max_timestamp.to_be_bytes());
        batch[PRODUCER_ID_AT..PRODUCER_EPOCH_AT].copy_from_slice(&self.producer.id.to_be_bytes());
        batch[PRODUCER_EPOCH_AT..BASE_SEQUENCE_AT].copy_from_slice(&self.producer.epoch.to_be_bytes());
        batch[BASE_SEQUENCE_AT..RECORD_COUNT_AT].copy_from_slice(&self.producer.base_sequence.to_be_bytes());
        batch[RECORD_COUNT_AT..HEADER_LEN].copy_from_slice(&self.record_count.to_be_bytes());
        seal(batch)
    }
}

/// Writes the length and the CRC of a batch whose payload and other header fields are in place.
///
/// # Errors
/// As [`BatchHeader::write_to`].
pub(crate) fn seal(batch: &mut [u8]) -> Result<()> {
    let length = length_field(batch)?;
    batch[LENGTH_AT..LEADER_EPOCH_AT].copy_from_slice(&length.to_be_bytes());
    let crc = checksum::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    Ok(())
}

fn length_field(batch: &[u8]) -> Result<i32> {
    let length = batch.len().checked_sub(LOG_OVERHEAD).and_then(|length| i32::try_from(length).ok());
    match length {
        Some(length) if batch.len() >= HEADER_LEN => Ok(length),
        _ => Err(Error::invalid(format!(
            "a record batch cannot have {} bytes: {HEADER_LEN} to 2147483659 are possible",
            batch.len()
        ))),
    }
}
