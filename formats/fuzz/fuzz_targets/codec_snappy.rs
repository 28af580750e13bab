//! Any bytes as snappy data: the output stays within its cap.
#![no_main]

use formats::codec::{Codec, Decompressor};
use libfuzzer_sys::fuzz_target;

const CAP: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let mut out = Vec::new();
    let _ = Decompressor::new().decompress(Codec::Snappy, data, CAP, &mut out);
    assert!(out.len() <= CAP && out.capacity() <= 2 * CAP);
});
