//! Batches of any bytes and any list of aborted transactions, cut anywhere.
#![no_main]

use formats::record_batch::Batches;
use formats::transactions::{AbortedTransaction, TransactionTracker};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<(i64, i64)>, u8, &[u8])| {
    let (listed, cut, data) = input;
    let mut tracker = TransactionTracker::default();
    tracker.list_aborted(
        listed.iter().map(|&(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset }),
    );
    for (n, batch) in Batches::new(data).flatten().enumerate() {
        if tracker.observe(&batch).is_err() {
            return;
        }
        if n % (usize::from(cut) + 1) == 0 {
            let told = tracker.end_segment();
            assert_eq!(TransactionTracker::resume(&told.open).open_transactions(), told.open);
        }
    }
});
