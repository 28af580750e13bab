//! As much of a record batch as the loops need.
//!
//! ```text
//! 0 base offset i64 | 8 length i32 | 12 leader epoch i32 | 16 magic i8 | 17 crc u32 | 21 attributes i16
//! 23 last offset delta i32 | 27, 35 timestamps | 43 producer id i64 | 51 epoch i16 | 53 sequence i32 | 57 count i32
//! ```

use crate::Result;

/// Bytes of a header.
const HEADER: usize = 61;

fn four(bytes: &[u8], at: usize) -> [u8; 4] {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    four
}

/// The size of the batch at the start of `bytes`; `None` where it is cut off.
pub(crate) fn size(bytes: &[u8]) -> Option<usize> {
    let size = (bytes.len() >= HEADER).then(|| 12 + u32::from_be_bytes(four(bytes, 8)) as usize)?;
    (size <= bytes.len() && size >= HEADER).then_some(size)
}

/// The offset after the batch's last.
pub(crate) fn next_offset(batch: &[u8]) -> i64 {
    let mut base = [0; 8];
    base.copy_from_slice(&batch[..8]);
    i64::from_be_bytes(base) + i64::from(i32::from_be_bytes(four(batch, 23))) + 1
}

/// How many records the batch has.
pub(crate) fn count(batch: &[u8]) -> i32 {
    i32::from_be_bytes(four(batch, 57))
}

/// Checks the producer's CRC.
pub(crate) fn check(batch: &[u8]) -> Result<()> {
    match crc_fast::crc32_iscsi(&batch[21..]) == u32::from_be_bytes(four(batch, 17)) {
        true => Ok(()),
        false => Err("a batch has a wrong CRC".into()),
    }
}

/// Walks whole batches and checks each; answers their bytes together and the offset after the last.
pub(crate) fn walk(bytes: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<(usize, Option<i64>)> {
    let (mut at, mut next) = (0, None);
    while let Some(size) = size(&bytes[at..]) {
        let batch = &bytes[at..at + size];
        each(batch)?;
        next = Some(next_offset(batch));
        at += size;
    }
    Ok((at, next))
}

/// Renews the header for Produce: base offset 0, no epoch, only the codec of the attributes, the producer's identity and
/// sequence; then the CRC, over the whole batch.
pub(crate) fn patch(batch: &mut [u8], producer: (i64, i16), sequence: i32) {
    batch[..8].fill(0);
    batch[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
    batch[21] = 0;
    batch[22] &= 7;
    batch[43..51].copy_from_slice(&producer.0.to_be_bytes());
    batch[51..53].copy_from_slice(&producer.1.to_be_bytes());
    batch[53..57].copy_from_slice(&sequence.to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}
