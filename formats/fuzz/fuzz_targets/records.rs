//! Any bytes as a batch's decompressed records: what is read adds up, and its headers iterate to their end.
#![no_main]

use formats::digest::ContentDigest;
use formats::record::Records;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (i32, i32, &[u8])| {
    let (count, last_offset_delta, payload) = input;
    let (mut digest, mut read) = (ContentDigest::EMPTY, 0);
    for record in Records::new(payload, count, last_offset_delta).flatten() {
        assert_eq!(record.headers.len(), record.headers.count());
        digest.push_record(record.timestamp_delta, &record);
        read += 1;
    }
    assert_eq!(digest.records(), read);
});
