//! Any bytes as a segment, and as each of its parts behind a right checksum.
#![no_main]

use formats::codec::Decompressor;
use formats::record_batch::Batches;
use formats::segment::{SegmentIndex, TAIL, decode_frame, read_header, read_tail};
use libfuzzer_sys::fuzz_target;

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 },
        )
    })
}

fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc32c(bytes).to_le_bytes()].concat()
}

fuzz_target!(|data: &[u8]| {
    let _ = read_header(data);
    let _ = read_header(&with_checksum(data));
    if let Some(fields) = data.get(..TAIL - 12) {
        let _ = read_tail(&[&with_checksum(fields)[..], b"RPLVSEND"].concat(), data.len() as u64);
    }
    let Ok(index) = SegmentIndex::decode(&with_checksum(data), data.len() as u64) else { return };
    assert_eq!(
        SegmentIndex::decode(&index.encode(), data.len() as u64).expect("what was read can be written"),
        index
    );
    for mut frame in index.frames {
        // The index checked that frames lie before its own position, which is the data's length here.
        let stored = &data[frame.position as usize..][..frame.stored as usize];
        frame.crc = crc32c(stored);
        frame.raw = frame.raw.min(1 << 20);
        if let Ok(log) = decode_frame(&frame, stored, &mut Decompressor::new()) {
            assert_eq!(log.len(), frame.raw as usize);
            Batches::new(&log).for_each(drop);
        }
    }
});
