//! Any bytes as a control batch.
#![no_main]

use formats::control::ControlRecord;
use formats::record_batch::RecordBatch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(batch) = RecordBatch::parse(data) {
        let _ = ControlRecord::parse(&batch);
    }
});
