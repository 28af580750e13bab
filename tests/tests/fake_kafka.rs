//! A backup against brokers that do at exact instants what real ones cannot be made to show: each is a strict model that
//! tells what the archive must hold.

use sandbox::client::{self, Compared, Isolation, Rec, TimestampKind};
use sandbox::fake_kafka::FakeKafka;
use sandbox::fake_kafka::batch::Batch;
use sandbox::job::{Job, folder};
use sandbox::raw::RawRecord;
use sandbox::scratch::Scratch;
use serde_json::json;

/// One batch of records whose values say where they come from.
fn batch(text: &str, count: usize) -> Batch {
    let record = |n: usize| RawRecord {
        timestamp: 1_600_000_000_000,
        key: Some(format!("{n}").into_bytes()),
        value: Some(format!("{text} {n}").into_bytes()),
        headers: Vec::new(),
    };
    Batch::new((0..count).map(record).collect())
}

/// What consumers see of a partition in which no transaction was aborted.
fn visible(fake: &FakeKafka, topic: &str, partition: i32) -> Vec<Rec> {
    fake.with(|cluster| {
        let log = &cluster.partition(topic, partition).log;
        let data = log.batches().iter().filter(|stored| !stored.batch.is_control());
        let records = data.flat_map(|stored| {
            stored.batch.records.iter().map(|(delta, record)| Rec {
                partition,
                offset: stored.base + i64::from(*delta),
                timestamp: record.timestamp,
                ts_type: TimestampKind::CreateTime,
                key: record.key.clone(),
                value: record.value.clone(),
                headers: Vec::new(),
            })
        });
        records.collect()
    })
}

fn same(topic: &str, expected: &[Rec], found: &[Rec]) {
    client::assert_same(topic, expected, found, Compared::Everything);
}

#[test]
fn an_archive_of_the_model_holds_its_records() {
    let fake = FakeKafka::start("thin", 3);
    fake.with(|cluster| {
        cluster.create_topic("one", 3, &[]);
        cluster.create_topic("two", 1, &[]);
        cluster.create_topic("empty", 2, &[]);
        for round in 0..40 {
            for partition in 0..3 {
                cluster.append("one", partition, batch(&format!("one {partition} {round}"), 7));
            }
            cluster.append("two", 0, batch(&format!("two {round}"), 1));
        }
    });
    let scratch = Scratch::new("fake-thin");
    let job = Job::new("thin", &fake.bootstrap(), &folder(scratch.path()));
    let report = job.back_up(0);
    assert_eq!((&report["gaps"], &report["failed"]), (&json!([]), &json!([])), "{report}");
    for (topic, partitions) in [("one", 3), ("two", 1), ("empty", 2)] {
        for partition in 0..partitions {
            let expected = visible(&fake, topic, partition);
            same(topic, &expected, &job.dump(topic, partition, Isolation::ReadCommitted, &[]));
        }
    }
    job.verify();
    fake.assert_kept_to_the_rules();
}
