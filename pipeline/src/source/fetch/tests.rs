use formats::codec::{Codec, Compressor};
use formats::ids::{LineageId, Topic, TopicId};

use super::*;

/// CRC-32 as zip has it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

/// A message of magic 1 without a key.
fn message(offset: i64, attributes: u8, value: &[u8]) -> Vec<u8> {
    let mut body = vec![1, attributes];
    body.extend_from_slice(&1_000_i64.to_be_bytes());
    body.extend_from_slice(&(-1_i32).to_be_bytes());
    body.extend_from_slice(&(value.len() as i32).to_be_bytes());
    body.extend_from_slice(value);
    let mut entry = offset.to_be_bytes().to_vec();
    entry.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    entry.extend_from_slice(&crc32(&body).to_be_bytes());
    entry.extend_from_slice(&body);
    entry
}

/// One message of so many zeros, compressed.
fn wrapper(offset: i64, zeros: usize) -> Vec<u8> {
    let mut value = Vec::new();
    let inner = message(0, 0, &vec![0; zeros]);
    Compressor::new().compress(Codec::Gzip, None, &inner, &mut value).unwrap();
    message(offset, 1, &value)
}

fn following(next: i64) -> Following {
    let assignment = Assignment {
        partition: TopicPartition::new(Topic::new("old").unwrap(), 0),
        topic_id: TopicId::default(),
        lineage: LineageId(1),
        start: 0,
        next,
        last: None,
        last_epoch: None,
        until: None,
        broker: 1,
        leader_epoch: None,
        compacted: false,
        forked: None,
    };
    Following { assignment, checking: false, stable: 100, empty_polls: 0, crc_failures: 0 }
}

/// What is made of an answer that holds the messages of `log` from a position on.
fn read(following: &mut Following, log: &[Vec<u8>], budget: &Budget) -> Result<Unchecked, Trouble> {
    let next = following.assignment.next;
    let answer = FetchedPartition {
        partition: following.assignment.partition.clone(),
        topic_id: TopicId::default(),
        fetch_offset: next,
        error: None,
        high_watermark: 100,
        last_stable_offset: 100,
        log_start_offset: 0,
        diverging_epoch: None,
        current_leader: None,
        preferred_read_replica: None,
        aborted: Vec::new(),
        records: None,
    };
    let records: Vec<u8> = log[next as usize..].concat();
    Ok(read_headers(following, &answer, records.into(), budget)?.expect("it has something new"))
}

fn failure(trouble: Trouble) -> Error {
    match trouble {
        Trouble::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_before_one_that_cannot_be_converted_are_kept() {
    let budget = Budget::new(64 << 20);
    let mut damaged = message(2, 0, b"c");
    *damaged.last_mut().unwrap() ^= 1;
    let log = [message(0, 0, b"a"), wrapper(1, 10), damaged, message(3, 0, b"d")];
    let mut following = following(0);
    let found = read(&mut following, &log, &budget).unwrap();
    assert_eq!(found.runs.iter().map(|(range, ..)| (range.first, range.end)).collect::<Vec<_>>(), [(0, 2)]);
    assert_eq!(following.assignment.next, 2);
    // It is the first of the next answer, and nothing is before it to be kept.
    let error = failure(read(&mut following, &log, &budget).err().unwrap());
    assert!(error.message().contains("old-0") && error.message().contains("offset 2"), "{error}");
    assert_eq!(following.assignment.next, 2);
}

#[test]
fn what_old_messages_become_is_charged_to_the_budget_and_comes_in_pieces() {
    let budget = Budget::new(24 << 20);
    let log: Vec<_> = (0..12).map(|offset| wrapper(offset, 1 << 20)).collect();
    assert!(log.concat().len() < 100_000, "the answer itself is small");
    let mut following = following(0);
    let (mut pieces, mut kept) = (0, Vec::new());
    while following.assignment.next < 12 {
        let found = read(&mut following, &log, &budget).unwrap();
        let bytes: usize = found.runs.iter().map(|(_, run, _)| run.len()).sum();
        assert!(bytes <= OLD_FORMAT_ENOUGH + (2 << 20) && found.keeps == Some(bytes));
        kept.push(found);
        pieces += 1;
        assert!(budget.used() >= following.assignment.next as usize * (1 << 20));
    }
    assert_eq!(pieces, 3);
    drop(kept);
    assert_eq!(budget.used(), 0);

    // More than half of the budget (and than the least that is allowed) is more than one wrapper may unpack to.
    let log = [message(0, 0, b"a"), wrapper(1, 17 << 20)];
    let mut following = self::following(0);
    read(&mut following, &log, &budget).unwrap();
    let error = failure(read(&mut following, &log, &budget).err().unwrap());
    assert!(error.next_step().is_some_and(|step| step.contains("memory_limit")), "{error:?}");
}
