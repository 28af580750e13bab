//! Decoding what no sane broker sends: an error or a value, never a panic, and never memory that the frame cannot justify.

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::*;
use proptest::prelude::*;

use super::scripted::frame;
use crate::kafka::frame::decode;

fn decode_all(bytes: &Bytes) {
    let _ = decode::<FetchRequest>(bytes.clone(), 12);
    let _ = decode::<FetchRequest>(bytes.clone(), 17);
    let _ = decode::<MetadataRequest>(bytes.clone(), 13);
    let _ = decode::<ProduceRequest>(bytes.clone(), 12);
    let _ = decode::<ListOffsetsRequest>(bytes.clone(), 10);
    let _ = decode::<CreateTopicsRequest>(bytes.clone(), 7);
    let _ = decode::<DescribeConfigsRequest>(bytes.clone(), 4);
    let _ = decode::<ApiVersionsRequest>(bytes.clone(), 3);
}

fn fetched(records: usize) -> FetchResponse {
    let mut batch = vec![0; records];
    if records > 17 {
        batch[16] = 2;
    }
    let data = PartitionData::default()
        .with_aborted_transactions(Some(vec![AbortedTransaction::default(); 3]))
        .with_records(Some(batch.into()));
    FetchResponse::default()
        .with_responses(vec![FetchableTopicResponse::default().with_partitions(vec![data; 2])])
}

#[test]
fn records_beyond_the_limit_of_counts_are_taken_and_are_slices_of_the_frame() {
    let whole = frame(1, 17, &fetched(3 << 20)).slice(4..);
    let response = decode::<FetchRequest>(whole.clone(), 17).expect("a good answer");
    let records = response.responses[0].partitions[1].records.as_ref().expect("records");
    assert_eq!(records.len(), 3 << 20);
    assert!(whole.as_ptr_range().contains(&records.as_ptr()), "copied");
    assert_eq!(response, fetched(3 << 20));
}

#[test]
fn a_count_that_the_frame_has_room_for_but_no_answer_needs_is_refused() {
    // Correlation, no tags, throttle, no error, session 0, and then 2^21 - 1 topics in a frame of 4 MiB.
    let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x80, 0x80, 1];
    bytes.resize(4 << 20, 0xff);
    let error = decode::<FetchRequest>(bytes.into(), 17).expect_err("refused before memory is reserved");
    assert!(error.to_string().to_lowercase().contains("not enough bytes"), "{error}");
}

proptest! {
    #[test]
    fn random_bytes_are_an_error_or_a_value(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode_all(&Bytes::from(bytes));
    }

    #[test]
    fn damaged_answers_are_an_error_or_a_value(cut in 0_usize..400, at in 0_usize..400, byte in any::<u8>()) {
        let mut bytes = frame(1, 17, &fetched(100)).slice(4..).to_vec();
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Some(damaged) = bytes.get_mut(at) {
            *damaged = byte;
        }
        decode_all(&Bytes::from(bytes));
    }
}
