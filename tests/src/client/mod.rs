//! librdkafka as the client that is not ours: it writes what is to be backed up and reads what came back.
//!
//! Settings are librdkafka's own names. Two things it cannot do: send the explicit timestamp 0, which it takes for "now",
//! and send or read header names that are not UTF-8. [`crate::raw`] writes such batches.

mod compare;
mod groups;
mod produce;
mod read;

pub use compare::{Compared, assert_same, compare};
pub use groups::{Committed, Member, commit, committed};
pub use produce::{NewRecord, Producer};
pub use read::{Isolation, Rec, TimestampKind, read_all, read_partitions, watermarks};

use crate::process::wait_until;
use futures::executor::block_on;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::Offset;
use std::collections::BTreeMap;
use std::time::Duration;

/// For one request.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// For what a cluster under load needs to get round to.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// A configuration for `bootstrap` with `settings` on top.
pub fn config(bootstrap: &str, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config
}

fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    config(bootstrap, &[]).create().unwrap_or_else(|error| panic!("admin client for {bootstrap}: {error}"))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_LIMIT)).operation_timeout(Some(REQUEST_LIMIT))
}

fn consumer(bootstrap: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    let base = [("group.id", "sandbox-reader"), ("enable.auto.commit", "false"), ("check.crcs", "true")];
    config(bootstrap, &[&base, settings].concat())
        .create()
        .unwrap_or_else(|error| panic!("consumer for {bootstrap}: {error}"))
}

/// How many brokers the cluster says it has.
///
/// # Errors
/// When none answers within two seconds.
pub fn broker_count(bootstrap: &str) -> Result<usize, String> {
    // Its complaints about a broker that is not up yet would fill a test's output.
    let client = consumer(bootstrap, &[("log_level", "0")]);
    match client.fetch_metadata(None, Duration::from_secs(2)) {
        Ok(metadata) => Ok(metadata.brokers().len()),
        Err(error) => Err(format!("metadata of {bootstrap}: {error}")),
    }
}

/// Creates a topic with its configs and waits until every partition's leader serves it.
///
/// # Panics
/// When the cluster refuses it or the leaders do not come.
pub fn create_topic(
    bootstrap: &str,
    name: &str,
    partitions: i32,
    replication: i32,
    configs: &[(&str, &str)],
) {
    let topic = configs.iter().fold(
        NewTopic::new(name, partitions, TopicReplication::Fixed(replication)),
        |topic, (key, value)| topic.set(key, value),
    );
    let admin = admin(bootstrap);
    let answer = block_on(admin.create_topics([&topic], &options()));
    for result in answer.unwrap_or_else(|error| panic!("create topic {name}: {error}")) {
        if let Err((topic, error)) = result {
            panic!("create topic {topic}: {error}");
        }
    }
    // Metadata shows a leader before that broker serves the partition; a ListOffsets answer comes from one that does.
    let served =
        wait_until(WAIT_LIMIT, || match read::try_watermarks(bootstrap, name, Isolation::ReadUncommitted) {
            Ok(marks) if marks.len() == usize::try_from(partitions).unwrap_or(0) => Ok(()),
            Ok(marks) => Err(format!("{} of {partitions} partitions are known", marks.len())),
            Err(error) => Err(error),
        });
    served.unwrap_or_else(|error| panic!("topic {name} is not served: {error}"));
}

/// Deletes topics and waits until the cluster no longer knows them.
///
/// # Panics
/// When the cluster refuses.
pub fn delete_topics(bootstrap: &str, names: &[&str]) {
    let admin = admin(bootstrap);
    let answer = block_on(admin.delete_topics(names, &options()));
    for result in answer.unwrap_or_else(|error| panic!("delete topics {names:?}: {error}")) {
        if let Err((topic, error)) = result {
            panic!("delete topic {topic}: {error}");
        }
    }
    let gone = wait_until(WAIT_LIMIT, || {
        match topics(bootstrap).iter().find(|topic| names.contains(&topic.as_str())) {
            None => Ok(()),
            Some(topic) => Err(format!("topic {topic} is still there")),
        }
    });
    gone.unwrap_or_else(|error| panic!("{error}"));
}

/// All topics that the cluster lists, internal ones included, in order.
///
/// # Panics
/// When no broker answers.
pub fn topics(bootstrap: &str) -> Vec<String> {
    let metadata = consumer(bootstrap, &[])
        .fetch_metadata(None, REQUEST_LIMIT)
        .unwrap_or_else(|error| panic!("metadata of {bootstrap}: {error}"));
    let mut names: Vec<String> = metadata.topics().iter().map(|topic| topic.name().to_owned()).collect();
    names.sort();
    names
}

/// The configs that a topic has of its own.
///
/// # Panics
/// When the cluster refuses to tell.
pub fn configs(bootstrap: &str, topic: &str) -> BTreeMap<String, String> {
    let answer = block_on(admin(bootstrap).describe_configs([&ResourceSpecifier::Topic(topic)], &options()));
    let resources = answer.unwrap_or_else(|error| panic!("configs of {topic}: {error}"));
    let entries = resources
        .into_iter()
        .flat_map(|resource| resource.unwrap_or_else(|error| panic!("configs of {topic}: {error}")).entries);
    entries
        .filter(|entry| entry.source == ConfigSource::DynamicTopic)
        .map(|entry| (entry.name, entry.value.unwrap_or_default()))
        .collect()
}

/// The address of a partition's leader.
///
/// # Panics
/// When there is none.
pub fn leader(bootstrap: &str, topic: &str, partition: i32) -> String {
    let metadata = consumer(bootstrap, &[])
        .fetch_metadata(Some(topic), REQUEST_LIMIT)
        .unwrap_or_else(|error| panic!("metadata of {topic}: {error}"));
    let partitions = metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
    let leader = partitions.iter().find(|candidate| candidate.id() == partition).map(|found| found.leader());
    let broker = metadata.brokers().iter().find(|broker| Some(broker.id()) == leader);
    let broker = broker.unwrap_or_else(|| panic!("{topic}-{partition} has no leader"));
    format!("{}:{}", broker.host(), broker.port())
}

/// Moves a partition's log start to `offset` (DeleteRecords).
///
/// # Panics
/// When the cluster refuses.
pub fn delete_records(bootstrap: &str, topic: &str, partition: i32, offset: i64) {
    let mut before = TopicPartitionList::new();
    let answer = before
        .add_partition_offset(topic, partition, Offset::Offset(offset))
        .map(|()| block_on(admin(bootstrap).delete_records(&before, &options())));
    let answer = answer.and_then(|answer| answer);
    let list = answer
        .unwrap_or_else(|error| panic!("delete records of {topic}-{partition} below {offset}: {error}"));
    for element in list.elements() {
        element
            .error()
            .unwrap_or_else(|error| panic!("delete records of {topic}-{partition} below {offset}: {error}"));
    }
}

/// The broker that leads a partition, and all brokers that hold it.
///
/// # Panics
/// When the partition is not known.
pub fn placement(bootstrap: &str, topic: &str, partition: i32) -> (i32, Vec<i32>) {
    let metadata = consumer(bootstrap, &[])
        .fetch_metadata(Some(topic), REQUEST_LIMIT)
        .unwrap_or_else(|error| panic!("metadata of {topic}: {error}"));
    let partitions = metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
    let found = partitions.iter().find(|candidate| candidate.id() == partition);
    let found = found.unwrap_or_else(|| panic!("{topic}-{partition} is not known"));
    (found.leader(), found.replicas().to_vec())
}
