//! Questions about partitions, each asked of the partition's leader, one request a leader, until all are answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use formats::ids::{Topic, TopicPartition};
use futures::future::{BoxFuture, join_all};
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::error::{KafkaErrorCode, Refusal};
use super::metadata::{ClusterMetadata, Topics};
use crate::{Error, Result};

/// How long a topic may be unknown before it is taken for not there. A topic just created is known everywhere in less.
const UNKNOWN_GRACE: Duration = Duration::from_secs(10);

/// What one leader answered, partition by partition.
pub(super) type Answers<V> = Result<Vec<(TopicPartition, Result<V, Refusal>)>>;

/// One question to one leader about some of its partitions.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) broker: i32,
    pub(super) metadata: Arc<ClusterMetadata>,
    pub(super) partitions: Vec<TopicPartition>,
}

impl Question {
    /// The partitions by topic.
    pub(super) fn by_topic(&self) -> BTreeMap<&Topic, Vec<i32>> {
        let mut topics: BTreeMap<&Topic, Vec<i32>> = BTreeMap::new();
        for partition in &self.partitions {
            topics.entry(&partition.topic).or_default().push(partition.partition);
        }
        topics
    }

    /// The leader epoch that we know of a partition, -1 where none.
    pub(super) fn leader_epoch(&self, topic: &Topic, partition: i32) -> i32 {
        self.metadata.leader(topic, partition).map_or(-1, |(_, epoch)| epoch)
    }
}

/// Asks about each partition, follows leaders that move, and gives one result for each.
pub(super) async fn ask_leaders<'a, V>(
    client: &'a Client,
    what: &str,
    partitions: BTreeSet<TopicPartition>,
    ask: impl Fn(Question) -> BoxFuture<'a, Answers<V>>,
) -> BTreeMap<TopicPartition, Result<V>> {
    let (started, deadline) = (Instant::now(), client.config().retry.deadline);
    let mut round = Round { what, waiting: partitions, done: BTreeMap::new(), last: BTreeMap::new() };
    let mut attempt = 0;
    loop {
        let metadata = round.metadata(client, attempt > 0).await;
        let questions = round.questions(&metadata, started.elapsed() > UNKNOWN_GRACE);
        let answers =
            join_all(questions.into_iter().map(async |question| (question.clone(), ask(question).await)))
                .await;
        for (question, answers) in answers {
            round.take(question, answers);
        }
        if round.waiting.is_empty() {
            return round.done;
        }
        let pause = client.pause(attempt);
        attempt += 1;
        if started.elapsed() + pause >= deadline {
            round.give_up(attempt, started.elapsed());
            return round.done;
        }
        tracing::debug!(waiting = round.waiting.len(), attempt, ?pause, "{what}: asking again");
        sleep(pause).await;
    }
}

struct Round<'w, V> {
    what: &'w str,
    waiting: BTreeSet<TopicPartition>,
    done: BTreeMap<TopicPartition, Result<V>>,
    last: BTreeMap<TopicPartition, Error>,
}

impl<V> Round<'_, V> {
    /// The metadata to go by: those known on the first attempt, if they tell every leader, and fresh ones otherwise.
    async fn metadata(&mut self, client: &Client, again: bool) -> Arc<ClusterMetadata> {
        let known = client.metadata();
        let has_leader =
            |partition: &TopicPartition| known.leader(&partition.topic, partition.partition).is_some();
        if !again && self.waiting.iter().all(has_leader) {
            return known;
        }
        let topics: BTreeSet<Topic> = self.waiting.iter().map(|partition| partition.topic.clone()).collect();
        let topics: Vec<Topic> = topics.into_iter().collect();
        match client.refresh_once(Topics::Named(&topics)).await {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::warn!(%error, "{}: no fresh metadata", self.what);
                known
            }
        }
    }

    fn questions(&mut self, metadata: &Arc<ClusterMetadata>, grace_is_over: bool) -> Vec<Question> {
        let mut by_leader: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        let mut missing = Vec::new();
        for partition in &self.waiting {
            match metadata.leader(&partition.topic, partition.partition) {
                Some((leader, _)) => by_leader.entry(leader).or_default().push(partition.clone()),
                None => missing.push((partition.clone(), no_leader(self.what, metadata, partition))),
            }
        }
        for (partition, (code, error)) in missing {
            let unknown = code == Some(KafkaErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            let lasting = code.is_some_and(|code| !code.is_retriable());
            if lasting {
                self.finish(partition, Err(error));
            } else if unknown && grace_is_over {
                let gone = Error::not_found(error.message())
                    .hint("check the name, and that this client may describe it");
                self.finish(partition, Err(gone));
            } else {
                self.last.insert(partition, error);
            }
        }
        let question = |(broker, partitions)| Question { broker, metadata: Arc::clone(metadata), partitions };
        by_leader.into_iter().map(question).collect()
    }

    fn take(&mut self, question: Question, answers: Answers<V>) {
        let broker = question.broker;
        let mut unanswered: BTreeSet<TopicPartition> = question.partitions.into_iter().collect();
        let place =
            |what: &str, partition: &TopicPartition| format!("{what} of {partition} at broker {broker}");
        match answers {
            Ok(answers) => {
                for (partition, answer) in answers {
                    if !unanswered.remove(&partition) {
                        tracing::warn!(broker, %partition, "{}: answered for what was not asked", self.what);
                        continue;
                    }
                    match answer {
                        Ok(value) => self.finish(partition, Ok(value)),
                        Err(refusal) => {
                            let error = refusal.to_error(place(self.what, &partition));
                            self.refused(partition, error);
                        }
                    }
                }
                for partition in unanswered {
                    let error = Error::retry(format!("{}: not answered", place(self.what, &partition)));
                    self.last.insert(partition, error);
                }
            }
            Err(error) => {
                for partition in unanswered {
                    let one = Error::new(error.kind(), format!("{} of {partition}: {error}", self.what));
                    let one = match error.next_step() {
                        Some(hint) => one.hint(hint),
                        None => one,
                    };
                    self.refused(partition, one);
                }
            }
        }
    }

    fn refused(&mut self, partition: TopicPartition, error: Error) {
        if error.is_retriable() {
            self.last.insert(partition, error);
        } else {
            self.finish(partition, Err(error));
        }
    }

    fn finish(&mut self, partition: TopicPartition, result: Result<V>) {
        self.waiting.remove(&partition);
        self.done.insert(partition, result);
    }

    fn give_up(&mut self, attempts: u32, elapsed: Duration) {
        for partition in std::mem::take(&mut self.waiting) {
            let error = self
                .last
                .remove(&partition)
                .unwrap_or_else(|| Error::retry(format!("{} of {partition}", self.what)));
            let error = error.at(format!("gave up after {attempts} attempts in {elapsed:?}"));
            self.done.insert(partition, Err(error));
        }
    }
}

/// Why a partition has no leader, as far as the metadata tell.
fn no_leader(
    what: &str,
    metadata: &ClusterMetadata,
    partition: &TopicPartition,
) -> (Option<KafkaErrorCode>, Error) {
    let known = metadata.topics.get(&partition.topic);
    let code = match known {
        None => Some(KafkaErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        Some(topic) if topic.error.is_some() => topic.error,
        Some(topic) => match topic.partitions.get(&partition.partition) {
            None => Some(KafkaErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            Some(partition) => partition.error,
        },
    };
    let place = format!("{what} of {partition}");
    let error = match code {
        Some(code) => code.to_error(place, None),
        None => Error::retry(format!("{place}: the partition has no leader"))
            .hint("bring back a broker that holds an in-sync replica"),
    };
    (code, error)
}
