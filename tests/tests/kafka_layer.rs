//! The connection layer alone, without a backup or a restore around it, against real brokers of both versions.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use formats::ids::{Topic, TopicId, TopicPartition};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use pipeline::budget::Budget;
use pipeline::kafka::{
    At, Batch, Beat, Client, ClientConfig, ConfigChange, ConfigResource, ConfigSource, FetchSettings,
    FetchedPartition, Fetcher, GroupMember, GroupSettings, HostPort, Isolation, KafkaErrorCode, NewTopic,
    Placement, Position, ProduceConnection, ProducerId, Topics,
};
use pipeline::seam::Seam;
use sandbox::kafka::{KafkaCluster, KafkaVersion};
use tokio::time::{Instant, timeout};

const LIMIT: Duration = Duration::from_secs(60);

/// A time from which the records of these tests count up, one millisecond each.
const EPOCH_MS: i64 = 1_700_000_000_000;

async fn client(cluster: &KafkaCluster) -> Client {
    let servers =
        cluster.bootstrap().split(',').map(|server| server.parse::<HostPort>().expect("host:port")).collect();
    let mut config = ClientConfig::new(servers);
    config.client_rack = Some("rack-a".to_owned());
    Client::connect(config, Seam::system()).await.expect("connects")
}

/// One broker of a version for all that can share it.
async fn with_broker(version: KafkaVersion) {
    let cluster = KafkaCluster::start(version, 1, &[]);
    let client = client(&cluster).await;
    batches_come_back_byte_for_byte_by_id_and_by_name(&client).await;
    offsets_are_found_by_place_time_and_epoch(&client).await;
    a_recreated_topic_is_noticed_by_its_id(&client).await;
    topics_and_configs_are_administered(&client).await;
    members_of_a_group_tell_each_other(&client).await;
}

#[tokio::test]
async fn brokers_of_3_9_are_understood() {
    with_broker(KafkaVersion::V3_9).await;
}

#[tokio::test]
async fn brokers_of_4_are_understood() {
    with_broker(KafkaVersion::V4).await;
}

fn topic(name: &str) -> Topic {
    Topic::new(format!("replevin-{}-{name}", std::process::id())).expect("legal")
}

fn at(topic: &Topic, partition: i32) -> TopicPartition {
    TopicPartition::new(topic.clone(), partition)
}

async fn create(client: &Client, topic: &Topic, partitions: i32, configs: &[(&str, &str)]) -> TopicId {
    let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let placement = Placement::Chosen { partitions, replication_factor: Some(1) };
    let new = NewTopic { name: topic.clone(), placement, configs };
    let created = client.create_topics(&[new], false).await.expect("asked");
    let created = created[topic].as_ref().expect("created");
    assert_eq!((created.partitions, created.replication_factor), (Some(partitions), Some(1)));
    assert_ne!(created.id, TopicId::default());
    client.wait_until_served(&[(topic.clone(), partitions)].into(), LIMIT).await.expect("served");
    created.id
}

async fn delete(client: &Client, topic: &Topic) {
    let deleted = client.delete_topics(std::slice::from_ref(topic)).await.expect("asked");
    deleted[topic].as_ref().expect("deleted");
}

fn batch(producer: ProducerId, sequence: i32, records: i32, size: usize) -> Bytes {
    let record = |index: i32| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        timestamp_type: TimestampType::Creation,
        offset: index.into(),
        sequence: sequence + index,
        timestamp: EPOCH_MS + i64::from(sequence + index),
        key: Some(Bytes::from(format!("key-{}", sequence + index))),
        value: Some(Bytes::from(vec![b'v'; size])),
        headers: IndexMap::new(),
    };
    let records: Vec<Record> = (0..records).map(record).collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("encodes");
    bytes.freeze()
}

/// Header and payload apart, as a restore sends them.
fn chunks(batch: &Bytes) -> Vec<Bytes> {
    vec![batch.slice(..61), batch.slice(61..)]
}

/// Whole batches of a fetched partition: base offset, leader epoch, end offset, bytes.
fn batches(fetched: &FetchedPartition) -> Vec<(i64, i32, i64, Bytes)> {
    let mut rest = fetched.records.clone().unwrap_or_default();
    let mut found = Vec::new();
    while rest.len() >= 61 {
        let number = |from: usize| i32::from_be_bytes(rest[from..from + 4].try_into().expect("4 bytes"));
        let base = i64::from_be_bytes(rest[..8].try_into().expect("8 bytes"));
        let (size, epoch, end) = (
            12 + usize::try_from(number(8)).expect("a length"),
            number(12),
            base + i64::from(number(23)) + 1,
        );
        if rest.len() < size {
            break;
        }
        found.push((base, epoch, end, rest.split_to(size)));
    }
    found
}

/// What a broker may change in a batch that it appends: base offset and leader epoch.
fn assert_same(sent: &Bytes, fetched: &Bytes) {
    assert_eq!(sent[8..12], fetched[8..12]);
    assert_eq!(sent[16..], fetched[16..]);
}

async fn fetch_all(
    client: &Client,
    budget: &Budget,
    wanted: &BTreeMap<TopicPartition, i64>,
    ids: bool,
) -> BTreeMap<TopicPartition, Vec<Bytes>> {
    let settings =
        FetchSettings { max_bytes: 300_000, partition_max_bytes: 100_000, ..FetchSettings::default() };
    let names: Vec<Topic> = wanted.keys().map(|partition| partition.topic.clone()).collect();
    let metadata = client.refresh(Topics::Named(&names)).await.expect("metadata");
    let (leader, leader_epoch) = metadata.leader(&names[0], 0).expect("a leader");
    let mut fetcher = Fetcher::new(client.clone(), leader, settings, budget.clone());
    for partition in wanted.keys() {
        let id = if ids { metadata.topic_id(&partition.topic).expect("an id") } else { TopicId::default() };
        fetcher.add(partition.clone(), id, Position { leader_epoch: Some(leader_epoch), ..Position::at(0) });
    }
    let mut found: BTreeMap<TopicPartition, Vec<Bytes>> = BTreeMap::new();
    let started = Instant::now();
    while fetcher.positions().any(|(partition, position)| position.offset < wanted[partition]) {
        assert!(
            started.elapsed() < LIMIT,
            "not everything arrives: {:?}",
            fetcher.positions().collect::<Vec<_>>()
        );
        let outcome = fetcher.receive().await.expect("fetched");
        let mut kept = Vec::new();
        for fetched in &outcome.partitions {
            assert_eq!(fetched.error, None, "{}", fetched.partition);
            assert!(fetched.diverging_epoch.is_none() && fetched.aborted.is_empty());
            assert!(fetched.high_watermark <= wanted[&fetched.partition]);
            for (base, epoch, end, bytes) in batches(fetched) {
                assert!(base >= fetched.fetch_offset);
                let next = Position {
                    offset: end,
                    last_fetched_epoch: Some(epoch),
                    leader_epoch: Some(leader_epoch),
                };
                assert!(fetcher.seek(&fetched.partition, next));
                kept.push((fetched.partition.clone(), bytes));
            }
        }
        // The next request is under way before this answer is worked on.
        fetcher.issue().await.expect("issued");
        for (partition, bytes) in kept {
            found.entry(partition).or_default().push(Bytes::copy_from_slice(&bytes));
        }
    }
    found
}

async fn batches_come_back_byte_for_byte_by_id_and_by_name(client: &Client) {
    let topic = topic("round-trip");
    create(client, &topic, 3, &[("retention.ms", "-1")]).await;
    let broker = client.metadata().leader(&topic, 0).expect("a leader").0;
    let producer = client.init_producer_id().await.expect("a producer id");
    let connection =
        ProduceConnection::open(client, broker, Duration::from_secs(10)).await.expect("connects");
    let (rounds, records) = (40, 20);
    let mut sent: BTreeMap<TopicPartition, Vec<Bytes>> = BTreeMap::new();
    let mut under_way = std::collections::VecDeque::new();
    for round in 0..=rounds {
        if under_way.len() == 5 || round == rounds {
            while let Some((first, pending)) = under_way.pop_front() {
                let pending: pipeline::kafka::PendingProduce = pending;
                let produced = pending.response().await.expect("answered");
                assert_eq!(produced.len(), 3);
                for result in produced {
                    assert_eq!((result.error, result.base_offset), (None, Some(first)), "{result:?}");
                    assert_eq!((result.log_append_time, result.log_start_offset), (None, Some(0)));
                }
                if round < rounds {
                    break;
                }
            }
        }
        if round == rounds {
            break;
        }
        let requests: Vec<Batch> = (0..3)
            .map(|partition| {
                let bytes = batch(producer, round * records, records, 700);
                sent.entry(at(&topic, partition)).or_default().push(bytes.clone());
                Batch { partition: at(&topic, partition), chunks: chunks(&bytes) }
            })
            .collect();
        under_way.push_back((i64::from(round * records), connection.send(&requests).await.expect("sent")));
    }
    let end = i64::from(rounds * records);
    let wanted: BTreeMap<TopicPartition, i64> =
        sent.keys().map(|partition| (partition.clone(), end)).collect();
    for ids in [true, false] {
        let budget = Budget::new(8 << 20);
        let found = timeout(LIMIT, fetch_all(client, &budget, &wanted, ids)).await.expect("in time");
        assert_eq!(found.len(), 3);
        for (partition, sent) in &sent {
            let found = &found[partition];
            assert_eq!(found.len(), sent.len(), "{partition}");
            sent.iter().zip(found).for_each(|(sent, found)| assert_same(sent, found));
        }
        assert!(budget.peak() > 100_000);
    }
    // The same batch again: the broker knows it and gives its old offset. A gap in the sequence is refused.
    let last = sent[&at(&topic, 0)].last().expect("sent").clone();
    let again = Batch { partition: at(&topic, 0), chunks: vec![last] };
    let gap = Batch { partition: at(&topic, 1), chunks: vec![batch(producer, 9_000, 1, 10)] };
    let results = connection.send(&[again, gap]).await.expect("sent").response().await.expect("answered");
    assert_eq!((results[0].error, results[0].base_offset), (None, Some(end - i64::from(records))));
    assert_eq!(results[1].error, Some(KafkaErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    // A base offset other than 0, and two kinds of misuse.
    let mut moved = batch(producer, 0, 1, 10).to_vec();
    moved[7] = 5;
    let moved = Batch { partition: at(&topic, 2), chunks: vec![moved.into()] };
    let results = connection
        .send(std::slice::from_ref(&moved))
        .await
        .expect("sent")
        .response()
        .await
        .expect("answered");
    assert_eq!(results[0].error, Some(KafkaErrorCode::INVALID_RECORD), "{results:?}");
    connection.send(&[moved.clone(), moved]).await.expect_err("two batches for one partition");
    delete(client, &topic).await;
}

async fn offsets_are_found_by_place_time_and_epoch(client: &Client) {
    let topic = topic("offsets");
    create(client, &topic, 2, &[("retention.ms", "-1")]).await;
    let (broker, epoch) = client.metadata().leader(&topic, 0).expect("a leader");
    let producer = client.init_producer_id().await.expect("a producer id");
    let connection =
        ProduceConnection::open(client, broker, Duration::from_secs(10)).await.expect("connects");
    let sent = Batch { partition: at(&topic, 0), chunks: chunks(&batch(producer, 0, 100, 10)) };
    connection.send(&[sent]).await.expect("sent").response().await.expect("answered");
    let both = [at(&topic, 0), at(&topic, 1)];
    for (place, expected) in [
        (At::Earliest, [Some(0), Some(0)]),
        (At::Latest, [Some(100), Some(0)]),
        (At::Timestamp(EPOCH_MS + 42), [Some(42), None]),
        (At::Timestamp(EPOCH_MS + 1_000), [None, None]),
        (At::MaxTimestamp, [Some(99), None]),
    ] {
        for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
            let listed = client.list_offsets(both.clone(), place, isolation).await;
            let found = both.each_ref().map(|partition| listed[partition].as_ref().expect("listed").offset);
            assert_eq!(found, expected, "{place:?}");
        }
    }
    let deleted = client.delete_records(&[(at(&topic, 0), 30)].into()).await;
    assert_eq!(*deleted[&at(&topic, 0)].as_ref().expect("deleted"), 30);
    let listed = client.list_offsets([at(&topic, 0)], At::Earliest, Isolation::ReadCommitted).await;
    assert_eq!(listed[&at(&topic, 0)].as_ref().expect("listed").offset, Some(30));
    let ends = client.offset_for_leader_epoch(&[(at(&topic, 0), epoch)].into()).await;
    let end = ends[&at(&topic, 0)].as_ref().expect("answered");
    assert_eq!((end.epoch, end.end_offset), (Some(epoch), Some(100)));
    let producers = client.describe_producers(both.clone()).await;
    let active = producers[&at(&topic, 0)].as_ref().expect("described");
    assert_eq!(active.len(), 1);
    assert_eq!(
        (active[0].producer_id, active[0].last_sequence, active[0].open_since),
        (producer.id, Some(99), None)
    );
    assert!(producers[&at(&topic, 1)].as_ref().expect("described").is_empty());
    // Before the log start, beyond the end, and an epoch that never was.
    let metadata = client.metadata();
    let id = metadata.topic_id(&topic).expect("an id");
    let mut fetcher = Fetcher::new(client.clone(), broker, FetchSettings::default(), Budget::new(1 << 20));
    for offset in [10, 500] {
        fetcher.add(at(&topic, 0), id, Position::at(offset));
        let outcome = fetcher.receive().await.expect("answered");
        assert_eq!(outcome.partitions[0].error, Some(KafkaErrorCode::OFFSET_OUT_OF_RANGE));
        assert_eq!(outcome.partitions[0].fetch_offset, offset);
    }
    fetcher.add(at(&topic, 0), id, Position { leader_epoch: Some(epoch + 7), ..Position::at(50) });
    let outcome = fetcher.receive().await.expect("answered");
    assert_eq!(outcome.partitions[0].error, Some(KafkaErrorCode::UNKNOWN_LEADER_EPOCH));
    let ahead = Position { offset: 100, last_fetched_epoch: Some(epoch), leader_epoch: Some(epoch) };
    fetcher.seek(&at(&topic, 0), ahead);
    // The first answer may repeat log start and end; then there is nothing to say, and the broker waits.
    let quiet = async {
        loop {
            let outcome = fetcher.receive().await.expect("answered");
            assert!(
                outcome.partitions.iter().all(|fetched| fetched.error.is_none() && fetched.records.is_none())
            );
            if outcome.partitions.is_empty() {
                return;
            }
        }
    };
    timeout(LIMIT, quiet).await.expect("the session names only news");
    delete(client, &topic).await;
}

async fn a_recreated_topic_is_noticed_by_its_id(client: &Client) {
    let topic = topic("recreated");
    let old = create(client, &topic, 1, &[]).await;
    let broker = client.metadata().leader(&topic, 0).expect("a leader").0;
    let mut fetcher = Fetcher::new(client.clone(), broker, FetchSettings::default(), Budget::new(1 << 20));
    fetcher.add(at(&topic, 0), old, Position::at(0));
    let first = fetcher.receive().await.expect("answered");
    assert!(first.partitions.iter().all(|fetched| fetched.error.is_none()));
    delete(client, &topic).await;
    let new = create(client, &topic, 1, &[]).await;
    assert_ne!(old, new);
    let gone = async {
        loop {
            let outcome = fetcher.receive().await.expect("answered");
            if let Some(code) = outcome.partitions.iter().find_map(|fetched| fetched.error) {
                return code;
            }
        }
    };
    let code = timeout(LIMIT, gone).await.expect("noticed");
    assert!([100, 103, 3].contains(&code.code()), "{code}");
    fetcher.add(at(&topic, 0), new, Position::at(0));
    let good = async {
        while fetcher
            .receive()
            .await
            .expect("answered")
            .partitions
            .iter()
            .any(|fetched| fetched.error.is_some())
        {}
    };
    timeout(LIMIT, good).await.expect("the new topic is served");
    delete(client, &topic).await;
}

async fn topics_and_configs_are_administered(client: &Client) {
    let described = client.describe_cluster().await.expect("described");
    let metadata = client.refresh(Topics::All).await.expect("metadata");
    assert_eq!(Some(described.cluster_id), metadata.cluster_id);
    assert_eq!(described.brokers.len(), metadata.brokers.len());
    let (topic, other) = (topic("admin"), topic("admin-other"));
    let broker = *metadata.brokers.keys().next().expect("a broker");
    let checked = NewTopic {
        name: other.clone(),
        placement: Placement::Assigned(vec![vec![broker], vec![broker]]),
        configs: [("cleanup.policy".to_owned(), "compact".to_owned())].into(),
    };
    let would = client.create_topics(std::slice::from_ref(&checked), true).await.expect("asked");
    would[&other].as_ref().expect("could be created");
    let mut wrong = checked.clone();
    wrong.configs.insert("no.such.config".to_owned(), "1".to_owned());
    let refused = client.create_topics(&[wrong], false).await.expect("asked");
    assert_eq!(refused[&other].as_ref().expect_err("refused").code.name(), "INVALID_CONFIG");
    let created = client.create_topics(&[checked], false).await.expect("asked");
    assert_eq!(created[&other].as_ref().expect("created").partitions, Some(2));
    create(client, &topic, 1, &[("retention.ms", "123456")]).await;
    let more =
        client.create_partitions(&[(topic.clone(), 4), (other.clone(), 1)].into(), &BTreeMap::new()).await;
    let more = more.expect("asked");
    more[&topic].as_ref().expect("raised");
    assert_eq!(more[&other].as_ref().expect_err("cannot shrink").code.name(), "INVALID_PARTITIONS");
    client.wait_until_served(&[(topic.clone(), 4)].into(), LIMIT).await.expect("served");

    let resource = ConfigResource::Topic(topic.clone());
    let entry = async |name: &str| {
        let configs =
            client.describe_configs(std::slice::from_ref(&resource), Some(&[name])).await.expect("asked");
        let mut configs = configs[&resource].clone().expect("described");
        assert_eq!(configs.len(), 1);
        let entry = configs.remove(0);
        (entry.value.unwrap_or_default(), entry.source)
    };
    assert_eq!(entry("retention.ms").await, ("123456".to_owned(), ConfigSource::Topic));
    assert_eq!(entry("segment.index.bytes").await.1, ConfigSource::Default);
    let changes = [
        ("retention.ms".to_owned(), ConfigChange::Delete),
        ("segment.bytes".to_owned(), ConfigChange::Set("2097152".to_owned())),
    ];
    let changes: BTreeMap<_, _> = [(resource.clone(), changes.into())].into();
    client.alter_configs(&changes, true).await.expect("asked")[&resource].as_ref().expect("allowed");
    assert_eq!(entry("retention.ms").await.0, "123456");
    client.alter_configs(&changes, false).await.expect("asked")[&resource].as_ref().expect("altered");
    let altered =
        async { while entry("segment.bytes").await != ("2097152".to_owned(), ConfigSource::Topic) {} };
    timeout(LIMIT, altered).await.expect("seen");
    assert_ne!(entry("retention.ms").await.1, ConfigSource::Topic);
    let all = [resource.clone(), ConfigResource::Broker(broker)];
    let all = client.describe_configs(&all, None).await.expect("asked");
    assert!(all.values().all(|configs| configs.as_ref().expect("described").len() > 20));

    let gone = [topic.clone(), other.clone(), Topic::new("replevin-never-was").expect("legal")];
    let deleted = client.delete_topics(&gone).await.expect("asked");
    assert!(deleted[&topic].is_ok() && deleted[&other].is_ok());
    assert_eq!(
        deleted[&gone[2]].as_ref().expect_err("unknown").code,
        KafkaErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    let missing = client.list_offsets([at(&gone[2], 0)], At::Latest, Isolation::ReadCommitted).await;
    let missing = missing.into_values().next().expect("one").expect_err("unknown");
    assert_eq!(missing.kind(), pipeline::ErrorKind::NotFound, "{missing}");
}

#[tokio::test]
async fn fetch_and_metadata_survive_a_broker_that_is_killed_and_comes_back() {
    let mut cluster = KafkaCluster::start(KafkaVersion::V4, 1, &[]);
    let client = client(&cluster).await;
    let topic = topic("restart");
    let id = create(&client, &topic, 1, &[("retention.ms", "-1")]).await;
    let broker = client.metadata().leader(&topic, 0).expect("a leader").0;
    let producer = client.init_producer_id().await.expect("a producer id");
    let mut fetcher = Fetcher::new(client.clone(), broker, FetchSettings::default(), Budget::new(8 << 20));
    fetcher.add(at(&topic, 0), id, Position::at(0));
    let (mut errors, mut next) = (0, 0);
    for round in 0..2 {
        let connection =
            ProduceConnection::open(&client, broker, Duration::from_secs(10)).await.expect("connects");
        let sent = Batch { partition: at(&topic, 0), chunks: chunks(&batch(producer, round * 10, 10, 100)) };
        let produced = connection.send(&[sent]).await.expect("sent").response().await.expect("answered");
        assert_eq!((produced[0].error, produced[0].base_offset), (None, Some(next)));
        let end = next + 10;
        let started = Instant::now();
        while next < end {
            assert!(started.elapsed() < LIMIT, "stuck at {next}");
            match fetcher.receive().await {
                Err(error) => assert!(error.is_retriable(), "{error}"),
                Ok(outcome) => {
                    for fetched in &outcome.partitions {
                        for (base, epoch, end, _) in batches(fetched) {
                            assert_eq!(base, next, "no loss and no repetition");
                            next = end;
                            let position = Position { last_fetched_epoch: Some(epoch), ..Position::at(next) };
                            fetcher.seek(&at(&topic, 0), position);
                        }
                    }
                }
            }
        }
        if round == 0 {
            // A request is on the wire while the broker dies.
            fetcher.issue().await.expect("issued");
            cluster.kill9(1);
            cluster.restart(1);
            let back = async {
                while let Err(error) = fetcher.receive().await {
                    assert!(error.is_retriable(), "{error}");
                    errors += 1;
                }
            };
            timeout(LIMIT, back).await.expect("the broker comes back");
            client.refresh(Topics::All).await.expect("metadata");
            client.wait_until_served(&[(topic.clone(), 1)].into(), LIMIT).await.expect("served");
        }
    }
    assert!(errors > 0, "the broker did die");
    delete(&client, &topic).await;
}

/// Two members join, one assigns, both are told; one leaves, and the other goes on alone. Who was thrown out is told so.
async fn members_of_a_group_tell_each_other(client: &Client) {
    let settings = GroupSettings {
        group_id: format!("replevin-{}", std::process::id()),
        protocol_type: "sr".to_owned(),
        protocol: "v0".to_owned(),
        session_timeout: Duration::from_secs(6),
        rebalance_timeout: Duration::from_secs(30),
    };
    let (mut one, mut two) = (
        GroupMember::new(client.clone(), settings.clone()),
        GroupMember::new(client.clone(), settings.clone()),
    );
    let alone = one.join(b"one").await.expect("joins");
    assert!(alone.is_leader && alone.members == [(alone.member_id.clone(), Bytes::from_static(b"one"))]);
    let assigned =
        one.sync(vec![(alone.member_id.clone(), Bytes::from_static(b"yours"))]).await.expect("synced");
    assert_eq!(&assigned[..], b"yours");
    assert_eq!(one.heartbeat().await.expect("answered"), Beat::Stable);

    // The second waits for the first, which hears of it by its heartbeat.
    let second = tokio::spawn(async move {
        let joined = two.join(b"two").await.expect("joins");
        let assigned = two.sync(Vec::new()).await.expect("synced");
        (two, joined, assigned)
    });
    let started = Instant::now();
    while one.heartbeat().await.expect("answered") != Beat::Rejoin {
        assert!(started.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let both = one.join(b"one").await.expect("joins again");
    assert!(both.is_leader && both.members.len() == 2 && both.generation > alone.generation, "{both:?}");
    let assignments = both.members.iter().map(|(member, _)| (member.clone(), Bytes::from(member.clone())));
    one.sync(assignments.collect()).await.expect("synced");
    let (mut two, joined, assigned) = timeout(LIMIT, second).await.expect("in time").expect("no panic");
    assert!(!joined.is_leader && joined.members.is_empty() && assigned == joined.member_id, "{joined:?}");

    one.leave().await.expect("leaves");
    assert_eq!(two.heartbeat().await.expect("answered"), Beat::Rejoin);
    let rest = two.join(b"two").await.expect("joins again");
    assert!(rest.is_leader && rest.members.len() == 1);
    two.sync(Vec::new()).await.expect("synced");
    let mut stranger =
        GroupMember::new(client.clone(), GroupSettings { protocol_type: "other".to_owned(), ..settings });
    let refused = stranger.join(b"x").await.expect_err("another kind of group");
    assert!(refused.next_step().is_some_and(|hint| hint.contains("another group id")), "{refused}");
    two.leave().await.expect("leaves");
}
