//! Consumer groups: what they have committed, and members that stay.

use super::{REQUEST_LIMIT, WAIT_LIMIT, consumer};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::Offset;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a group has committed for a partition: the offset, and what it wrote beside it.
pub type Committed = BTreeMap<i32, (i64, String)>;

/// Commits offsets of a topic for a group that has no members.
///
/// # Panics
/// When the cluster refuses.
pub fn commit(bootstrap: &str, group: &str, topic: &str, offsets: &[(i32, i64, &str)]) {
    let client = consumer(bootstrap, &[("group.id", group)]);
    let mut list = TopicPartitionList::new();
    for (partition, offset, metadata) in offsets {
        let mut one = list.add_partition(topic, *partition);
        one.set_offset(Offset::Offset(*offset)).expect("an offset");
        one.set_metadata(*metadata);
    }
    client.commit(&list, CommitMode::Sync).unwrap_or_else(|error| panic!("commit of group {group}: {error}"));
}

/// What a group has committed for partitions of a topic.
///
/// # Panics
/// When the cluster does not answer.
pub fn committed(bootstrap: &str, group: &str, topic: &str, partitions: i32) -> Committed {
    let client = consumer(bootstrap, &[("group.id", group)]);
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions - 1);
    let answer = client
        .committed_offsets(list, REQUEST_LIMIT)
        .unwrap_or_else(|error| panic!("offsets of group {group}: {error}"));
    let one = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        let offset = element.offset().to_raw().filter(|offset| *offset >= 0)?;
        Some((element.partition(), (offset, element.metadata().to_owned())))
    };
    answer.elements().into_iter().filter_map(one).collect()
}

/// A member of a group that stays until it is dropped.
pub struct Member {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Joins, and waits until it has partitions of the topic.
    ///
    /// # Panics
    /// When it gets none.
    pub fn join(bootstrap: &str, group: &str, topic: &str) -> Self {
        let client: BaseConsumer = consumer(bootstrap, &[("group.id", group)]);
        client.subscribe(&[topic]).unwrap_or_else(|error| panic!("group {group}: {error}"));
        let began = Instant::now();
        while client.assignment().is_ok_and(|assigned| assigned.count() == 0) {
            assert!(began.elapsed() < WAIT_LIMIT, "group {group} gives no partitions of {topic}");
            let _ = client.poll(Duration::from_millis(100));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let _ = client.poll(Duration::from_millis(100));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
