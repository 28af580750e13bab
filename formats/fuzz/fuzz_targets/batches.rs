//! A record set of any bytes: walking it ends, and every batch found can be judged, renewed and read.
#![no_main]

use formats::record_batch::{Batches, Producer, RecordBatch};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut batches = Batches::new(data);
    for batch in batches.by_ref().flatten() {
        let renewed = batch.produce_header(Producer { id: 1, epoch: 2, base_sequence: 3 });
        if let Ok(header) = renewed {
            let renewed = [&header[..], batch.records_payload()].concat();
            let renewed = RecordBatch::parse(&renewed).expect("a renewed header is a header");
            assert_eq!(renewed.verify_crc().is_ok(), batch.verify_crc().is_ok());
        }
        for record in batch.records(batch.records_payload()).flatten() {
            let _ = (batch.effective_timestamp(record.timestamp_delta), record.body());
        }
    }
    assert!(batches.position() + batches.rest().len() == data.len());
    let _ = (batches.cut_off_size(), batches.at_message_set());
});
