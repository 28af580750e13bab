//! Any bytes as messages of magic 0 and 1: what converts is batches that can be read.
#![no_main]

use formats::message_set::MessageSetConverter;
use formats::record_batch::Batches;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut out = Vec::new();
    let _ = MessageSetConverter::new().convert(data, 1 << 20, 1 << 20, &mut out);
    for batch in Batches::new(&out) {
        let batch = batch.expect("a converted batch can be parsed");
        batch.verify_crc().expect("a converted batch has its CRC");
        for record in batch.records(batch.records_payload()) {
            record.expect("a converted record can be read");
        }
    }
});
