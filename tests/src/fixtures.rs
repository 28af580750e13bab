//! Topics with everything in them that a log can hold. One function a topic, all named `<prefix><name>`.

use crate::client::{self, Isolation, NewRecord, Producer};
use crate::process::wait_until;
use crate::raw::{self, RawRecord};
use std::time::Duration;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Bytes that no codec makes smaller and that are not UTF-8.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

/// Every codec, and every shape of record that librdkafka can write.
pub fn codecs(bootstrap: &str, topic: &str) {
    // Times of long ago: the oracle must not age away.
    client::create_topic(bootstrap, topic, 3, 1, &[("retention.ms", "-1")]);
    for codec in CODECS {
        let settings = [("compression.codec", codec), ("batch.num.messages", "200")];
        let producer = Producer::new(bootstrap, &settings);
        for round in 0..5_u8 {
            let record = NewRecord::new(vec![round; 3], format!("{codec} {}", "value ".repeat(40)));
            let shapes = [
                record.clone(),
                record.clone().null_key(),
                record.clone().tombstone(),
                record.clone().null_key().tombstone(),
                NewRecord::new("", ""),
                NewRecord::new(noise(1, 9), noise(2, 3000)).at(1_500_000_000_000),
                record
                    .clone()
                    .header("h", Some(b"1"))
                    .header("h", None)
                    .header("h", Some(b""))
                    .header("g", None),
                record.header("", Some(b"empty name")).header("bin", Some(&noise(3, 40))).at(1),
            ];
            let records: Vec<_> = shapes.iter().cycle().take(400).cloned().collect();
            producer.send(topic, &records);
            let others: Vec<_> = shapes.iter().map(|record| record.clone().partition(1)).collect();
            producer.send(topic, &others);
        }
    }
}

/// Times that the broker set.
pub fn log_append_time(bootstrap: &str, topic: &str) {
    let configs = [("message.timestamp.type", "LogAppendTime")];
    client::create_topic(bootstrap, topic, 1, 1, &configs);
    for codec in CODECS {
        let producer = Producer::new(bootstrap, &[("compression.codec", codec)]);
        let records: Vec<_> =
            (0..50).map(|n| NewRecord::new(format!("{n}"), "v".repeat(30)).at(5_000 + n)).collect();
        producer.send(topic, &records);
    }
}

/// Keys that come again and again, in and outside transactions, until the cleaner has made holes; the last log segment
/// stays as it was written.
pub fn compacted(bootstrap: &str, topic: &str) {
    let configs = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("segment.ms", "1000"),
        ("max.compaction.lag.ms", "1500"),
    ];
    client::create_topic(bootstrap, topic, 2, 1, &configs);
    let plain = Producer::new(bootstrap, &[("compression.codec", "lz4"), ("batch.num.messages", "20")]);
    let transactional =
        Producer::transactional(bootstrap, &format!("{topic} producer"), &[("batch.num.messages", "20")]);
    let mut written = 0;
    for round in 0..4 {
        let records: Vec<_> = (0..100)
            .map(|n| {
                let record = NewRecord::new(format!("key {}", (n * 7 + round) % 60), format!("{round} {n}"));
                if n % 9 == 0 { record.tombstone() } else { record.header("n", Some(b"x")) }
            })
            .collect();
        written += plain.send(topic, &records).len();
        transactional.begin();
        written += transactional.send(topic, &records[..30]).len();
        if round % 2 == 0 {
            transactional.commit()
        } else {
            transactional.abort()
        }
        std::thread::sleep(Duration::from_millis(1200));
    }
    // Nothing is ever cleaned in the active segment: this rolls it.
    plain.send(topic, &[NewRecord::new("last", "of all")]);
    let cleaned = wait_until(Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_millis(500));
        match client::read_all(bootstrap, topic, Isolation::ReadUncommitted).len() {
            left if left < written / 2 => Ok(()),
            left => Err(format!("{left} of {written} records are left in topic {topic}")),
        }
    });
    cleaned.unwrap_or_else(|error| panic!("{error}"));
}

/// Transactions of three producers that overlap, with plain records between them; with `open` one stays undecided, and
/// its producer comes back.
pub fn transactions(bootstrap: &str, topic: &str, open: bool) -> Option<Producer> {
    client::create_topic(bootstrap, topic, 1, 1, &[]);
    let producers: Vec<_> = ["none", "zstd", "lz4"]
        .iter()
        .map(|codec| {
            Producer::transactional(bootstrap, &format!("{topic} {codec}"), &[("compression.codec", codec)])
        })
        .collect();
    let plain = Producer::new(bootstrap, &[]);
    let records = |round: usize, who: usize| -> Vec<_> {
        (0..3).map(|n| NewRecord::new(format!("{who}"), format!("{round} {n} {}", "t".repeat(200)))).collect()
    };
    for round in 0..8 {
        producers.iter().for_each(Producer::begin);
        for (who, producer) in producers.iter().enumerate() {
            producer.send(topic, &records(round, who));
            plain.send(topic, &records(round, 9));
        }
        for (who, producer) in producers.iter().enumerate().rev() {
            producer.send(topic, &records(round, who));
            if (round + who) % 3 == 0 { producer.abort() } else { producer.commit() }
        }
    }
    let mut producers = producers;
    let hanging = producers.remove(0);
    if !open {
        return None;
    }
    hanging.begin();
    hanging.send(topic, &records(100, 0));
    producers[0].begin();
    producers[0].send(topic, &records(100, 1));
    producers[0].commit();
    plain.send(topic, &records(100, 9));
    Some(hanging)
}

/// The log starts behind a whole batch in partition 0, inside one in partition 1, at its end in partition 2.
pub fn started(bootstrap: &str, topic: &str) {
    client::create_topic(bootstrap, topic, 3, 1, &[]);
    let producer = Producer::new(bootstrap, &[]);
    for partition in 0..3 {
        for _ in 0..3 {
            let records: Vec<_> =
                (0..10).map(|n| NewRecord::new("k", format!("{n}")).partition(partition)).collect();
            producer.send(topic, &records);
        }
        client::delete_records(bootstrap, topic, partition, [10, 15, 30][partition as usize]);
    }
}

/// Times that no client would write, and old and new ones in one batch.
pub fn times(bootstrap: &str, topic: &str) {
    let configs = [("retention.ms", "-1"), ("message.timestamp.after.max.ms", "9223372036854775807")];
    client::create_topic(bootstrap, topic, 1, 1, &configs);
    let record = |timestamp: i64| RawRecord { timestamp, value: Some(b"v".to_vec()), ..RawRecord::default() };
    // 0, none, 1 ms, the year 9999.
    for times in [&[0][..], &[-1], &[1], &[253_402_300_799_999], &[0, 1_700_000_000_000, 5], &[-1, 7]] {
        let records: Vec<_> = times.iter().map(|&time| record(time)).collect();
        let answer = raw::produce(bootstrap, topic, 0, &raw::batch(0, &records));
        assert!(answer.is_ok(), "{times:?}: {answer:?}");
    }
}

/// Header names that librdkafka can neither write nor read.
pub fn odd_headers(bootstrap: &str, topic: &str) {
    client::create_topic(bootstrap, topic, 1, 1, &[]);
    let headers = vec![(vec![0xff, 0xfe], None), (Vec::new(), Some(vec![0x80]))];
    let odd = RawRecord { timestamp: 9, headers, ..RawRecord::default() };
    raw::produce(bootstrap, topic, 0, &raw::batch(0, &[odd.clone(), odd]))
        .expect("the broker takes any bytes");
}

/// Records of 10 MB, one of them in a batch of a codec.
pub fn large(bootstrap: &str, topic: &str) {
    client::create_topic(bootstrap, topic, 1, 1, &[("max.message.bytes", "12582912")]);
    for (seed, codec) in (1..).zip(["none", "lz4"]) {
        let producer =
            Producer::new(bootstrap, &[("message.max.bytes", "12000000"), ("compression.codec", codec)]);
        producer
            .send(topic, &[NewRecord::new("large", noise(seed, 10_000_000)), NewRecord::new("small", "v")]);
    }
}

/// Names that a file system, a URL or a pattern could take for something else.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> =
        ["a.b..c", "under__score_", "-dash", "UPPER", "upper", "...", "1"].map(str::to_owned).to_vec();
    names.push("n".repeat(249));
    names
}

/// A record in a topic of each of [`names`].
pub fn named(bootstrap: &str) {
    let producer = Producer::new(bootstrap, &[]);
    for name in names() {
        client::create_topic(bootstrap, &name, 1, 1, &[]);
        producer.send(&name, &[NewRecord::new("name", name.clone())]);
    }
}

/// 300 partitions, the last one empty, with three records of 10 KB in each of the others.
pub fn wide(bootstrap: &str, topic: &str) {
    client::create_topic(bootstrap, topic, 300, 1, &[]);
    let producer = Producer::new(bootstrap, &[]);
    let records: Vec<_> = (0..300)
        .flat_map(|partition| {
            let record =
                move |n: i32| NewRecord::new(format!("{partition}"), format!("{n} {}", "w".repeat(10_000)));
            (0..3).map(move |n| record(n).partition(partition))
        })
        // The last one stays empty.
        .filter(|record| record.partition != 299)
        .collect();
    producer.send(topic, &records);
}
