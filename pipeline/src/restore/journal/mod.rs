//! A restore's own memory: what a rerun must know so that nothing is lost and nothing doubled.
//!
//! Entries are written once and never changed; of two copies of a job that write the same entry the first wins, and the
//! other goes on with the winner's. Order, enforced by `super::run`:
//!
//! ```text
//! begin        before anything is touched: archive commit, pinned positions, what each topic will get at the end
//! schemas      after the schemas are there, before anything else is touched: what ids in records become, and of what settings
//! unknown_ids  before records with unknown ids are kept or quarantined: which of the two
//! partitions   after the topics are there, before the first produce: producer ids, epochs, topic ids, start offsets
//! producer     where a broker has forgotten a producer id: the next one, and the record that it begins at
//! quarantine   where records of a topic are to be quarantined: into which topic, before that is made; its own partitions,
//!              producer and sealed entries follow as those of any other topic
//! sealed       after the proof, before a topic gets its own configs: where its partitions end
//! complete     when every topic is sealed and has its configs
//! ```
//! A sealed topic is never filled, guarded or compared again: its own retention and cleaner may be at work on it.
//!
//! Two places can hold it: a compacted topic of the target ([`topic`]) or create-only objects in the store ([`object`]).

mod object;
mod schemas;
mod text;
mod topic;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use formats::commit::ObjectRef;
use formats::hash::Hash;
use formats::ids::{BackupId, LineageId, OffsetRange, RestoreId, Topic, TopicId, TopicPartition};
use serde::{Deserialize, Serialize};

pub(super) use object::ObjectJournal;
pub(super) use schemas::SchemaPin;
pub(crate) use schemas::{notes, notes_id};
pub use topic::JOURNAL_TOPIC;
pub(crate) use topic::TopicJournal;

use super::schemas::UnknownIds;
use super::settings::TimeWindow;
use crate::target::produce::ProducerEntry;
use crate::{Error, Result};
use schemas::{Part, PinEntry, PolicyEntry};
use text::{Text, read, value};

/// What [`Begin::version`] is. Another number for every change of an entry's meaning, and for every change of what
/// [`crate::target::lane`] makes of the same archive: a run that goes on must make the same batches as the one before it.
pub(super) const VERSION: u32 = 1;
/// How many partitions one entry tells about: it must fit into a Kafka message.
const CHUNK: usize = 1000;

/// Where entries are kept.
#[async_trait]
pub(crate) trait Journal: Send + Sync {
    /// Every entry of this restore.
    async fn read(&self) -> Result<BTreeMap<String, Text>>;

    /// Writes entries that [`Journal::read`] did not show, durably, and gives for each the value that counts: the one
    /// that was written first.
    async fn claim(&self, entries: Vec<(String, Text)>) -> Result<BTreeMap<String, Text>>;
}

/// What a restore set out to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Begin {
    /// The version of these entries, and of the rules by which batches are cut: [`VERSION`].
    pub(super) version: u32,
    /// Which backup.
    pub(super) backup_id: BackupId,
    /// The commit that the restore goes by.
    pub(super) commit: u64,
    /// Its hash.
    pub(super) hash: Hash,
    /// The target cluster.
    pub(super) cluster_id: String,
    /// Which records.
    pub(super) window: TimeWindow,
    /// When, by the clock of the job, in milliseconds since 1970 UTC. For people.
    pub(super) time_ms: i64,
    /// How many topics have an entry of their own.
    pub(super) topics: usize,
    /// The snapshot of schemas that are restored, and up to which commit they are complete; none where none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) schemas: Option<(ObjectRef, u64)>,
}

/// What a topic is to become.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TopicEntry {
    /// Its name in the backup.
    pub(super) source: Topic,
    /// Whether the restore creates it.
    pub(super) created: bool,
    /// The configs it gets at the end; null: none of its own.
    pub(super) finals: BTreeMap<String, Option<String>>,
    /// Whether retention is held back at the end.
    pub(super) held: bool,
    /// The largest batch that is sent: what batches are cut to must be the same on every run.
    pub(super) max_batch: u64,
    /// The pinned source of each partition.
    pub(super) pins: Vec<Pin>,
}

/// Which part of the archive a partition is restored from: the same on every run, whatever is backed up meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    /// The partition in the backup.
    pub(super) source: i32,
    /// The partition in the target.
    pub(super) target: i32,
    /// Its history.
    pub(super) lineage: LineageId,
    /// The first offset.
    pub(super) first: i64,
    /// The offset after the last one.
    pub(super) end: i64,
    /// The records of its segments then, control records included: where it differs later, the archive has changed.
    pub(super) records: u64,
}

impl Pin {
    pub(super) fn range(&self) -> OffsetRange {
        OffsetRange::new(self.first, self.end)
    }
}

/// Where a partition's records go, and as whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartitionEntry {
    /// The partition in the target.
    pub(super) target: i32,
    /// The topic that it belongs to.
    pub(super) topic_id: TopicId,
    /// The offset of the first record.
    pub(super) start: i64,
    /// The producer id of the first record.
    pub(super) producer: i64,
    /// Its epoch.
    pub(super) epoch: i16,
}

/// Where a partition ended when its topic was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndEntry {
    target: i32,
    pub(super) end: i64,
    /// Records left out because nobody decided their transactions.
    #[serde(default)]
    pub(super) undecided: u64,
}

/// Where records of a topic are quarantined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct QuarantineEntry {
    topic: Topic,
}

/// All records of a topic are on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    /// Whether they were read back and compared with the archive.
    pub(super) proven: bool,
}

/// Everything that the journal says about one attempt at a restore.
#[derive(Debug, Clone, Default)]
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) begin: Option<Begin>,
    pub(super) topics: BTreeMap<Topic, TopicEntry>,
    pub(super) partitions: BTreeMap<TopicPartition, PartitionEntry>,
    pub(super) producers: BTreeMap<TopicPartition, Vec<ProducerEntry>>,
    /// By the name of a target topic, the one that records of it are quarantined into. Its partitions, producers and ends are among the
    /// others.
    pub(super) quarantines: BTreeMap<Topic, Topic>,
    /// Where the partitions of sealed topics ended.
    pub(super) ends: BTreeMap<TopicPartition, EndEntry>,
    pub(super) sealed: BTreeMap<Topic, Sealed>,
    /// What ids in records become.
    pub(super) schemas: Option<SchemaPin>,
    /// What is done with records whose ids are unknown, where a run has done something else than to stop at them.
    pub(super) unknown: Option<UnknownIds>,
    pub(super) complete: bool,
    schema_maps: BTreeMap<String, Vec<Part>>,
    schema_pin: Option<PinEntry>,
}

/// The entries' names and types over a place that keeps them.
pub(super) struct Entries {
    place: Arc<dyn Journal>,
    id: RestoreId,
}

impl EndEntry {
    pub(super) fn new(place: &TopicPartition, end: i64, undecided: u64) -> Self {
        Self { target: place.partition, end, undecided }
    }
}

impl Entries {
    pub(super) fn new(place: Arc<dyn Journal>, id: RestoreId) -> Self {
        Self { place, id }
    }

    /// The newest attempt; one with number 0 and nothing in it where there was none.
    pub(super) async fn newest(&self) -> Result<Attempt> {
        let entries = self.place.read().await?;
        let prefix = format!("{}/", self.id);
        let numbers = entries.keys().filter_map(|key| {
            let (number, rest) = key.strip_prefix(&prefix)?.split_once('/')?;
            (rest == "begin").then(|| number.parse::<u32>().ok()).flatten()
        });
        let mut attempt = Attempt::numbered(numbers.max().unwrap_or(0));
        let own = format!("{prefix}{:06}/", attempt.number);
        for (key, value) in &entries {
            if let Some(name) = key.strip_prefix(&own) {
                attempt.take(name, value).map_err(|e| e.at(format!("journal entry {key}")))?;
            }
        }
        attempt.schemas =
            attempt.schema_pin.as_ref().map(|pin| SchemaPin::of(pin, &attempt.schema_maps)).transpose()?;
        Ok(attempt)
    }

    /// Says what is to be done, topics first: an attempt without its `begin` does not exist. False where another copy of
    /// the job was first: then what the journal says counts.
    pub(super) async fn begin(
        &self,
        number: u32,
        begin: &Begin,
        topics: &BTreeMap<Topic, TopicEntry>,
    ) -> Result<bool> {
        let mut entries = Vec::with_capacity(topics.len() + 1);
        for (topic, entry) in topics {
            entries.push((self.key(number, &format!("topic/{topic}")), value(entry)?));
        }
        entries.push((self.key(number, "begin"), value(begin)?));
        let winners = self.place.claim(entries.clone()).await?;
        Ok(entries.iter().all(|(key, ours)| winners.get(key) == Some(ours)))
    }

    /// Says where partitions go, and gives what counts.
    pub(super) async fn partitions(
        &self,
        number: u32,
        partitions: &BTreeMap<TopicPartition, PartitionEntry>,
    ) -> Result<BTreeMap<TopicPartition, PartitionEntry>> {
        let entries = self.chunks(number, "partitions", partitions, |entry| entry.target)?;
        let mut attempt = Attempt::numbered(number);
        let prefix = self.key(number, "");
        for (key, value) in self.place.claim(entries).await? {
            attempt.take(key.strip_prefix(&prefix).unwrap_or_default(), &value)?;
        }
        Ok(attempt.partitions)
    }

    /// Says which producer id follows, as the `nth` of the partition (from 1), and gives the one that counts.
    pub(super) async fn producer(
        &self,
        number: u32,
        place: &TopicPartition,
        nth: usize,
        entry: ProducerEntry,
    ) -> Result<ProducerEntry> {
        let key = self.key(number, &format!("producer/{}/{}/{nth:06}", place.topic, place.partition));
        let winners = self.place.claim(vec![(key.clone(), value(&entry)?)]).await?;
        winners.get(&key).map_or(Ok(entry), read)
    }

    /// Says into which topics records are quarantined.
    pub(super) async fn quarantine(&self, number: u32, quarantines: &BTreeMap<Topic, Topic>) -> Result<()> {
        let entries = quarantines.iter().map(|(topic, quarantine)| {
            let entry = QuarantineEntry { topic: quarantine.clone() };
            Ok((self.key(number, &format!("quarantine/{topic}")), value(&entry)?))
        });
        self.place.claim(entries.collect::<Result<_>>()?).await.map(drop)
    }

    /// Says that topics hold everything, and where their partitions end.
    pub(super) async fn seal(
        &self,
        number: u32,
        topics: &BTreeMap<Topic, Sealed>,
        ends: &BTreeMap<TopicPartition, EndEntry>,
    ) -> Result<()> {
        if topics.is_empty() {
            return Ok(());
        }
        let mut entries = self.chunks(number, "ends", ends, |entry| entry.target)?;
        for (topic, sealed) in topics {
            entries.push((self.key(number, &format!("sealed/{topic}")), value(sealed)?));
        }
        self.place.claim(entries).await.map(drop)
    }

    /// Says that everything is done.
    pub(super) async fn complete(&self, number: u32, time_ms: i64) -> Result<()> {
        let entry = (self.key(number, "complete"), value(&serde_json::json!({ "time_ms": time_ms }))?);
        self.place.claim(vec![entry]).await.map(drop)
    }

    /// Entries about partitions, some of one topic in each.
    fn chunks<T: Copy + Serialize>(
        &self,
        number: u32,
        kind: &str,
        partitions: &BTreeMap<TopicPartition, T>,
        target: impl Fn(&T) -> i32,
    ) -> Result<Vec<(String, Text)>> {
        let mut by_topic: BTreeMap<&Topic, Vec<T>> = BTreeMap::new();
        for (place, entry) in partitions {
            by_topic.entry(&place.topic).or_default().push(*entry);
        }
        let mut entries = Vec::new();
        for (topic, list) in by_topic {
            for chunk in list.chunks(CHUNK) {
                let first = chunk.first().map_or(0, &target);
                entries.push((self.key(number, &format!("{kind}/{topic}/{first}")), value(&chunk)?));
            }
        }
        Ok(entries)
    }

    fn key(&self, number: u32, name: &str) -> String {
        format!("{}/{number:06}/{name}", self.id)
    }
}

impl Attempt {
    /// One of which nothing is known but its number.
    pub(super) fn numbered(number: u32) -> Self {
        Self { number, ..Self::default() }
    }

    fn take(&mut self, name: &str, value: &Text) -> Result<()> {
        let (kind, rest) = name.split_once('/').unwrap_or((name, ""));
        match kind {
            "begin" => {
                let begin: Begin = read(value)?;
                if begin.version != VERSION {
                    let version = begin.version;
                    return Err(Error::permanent(format!(
                        "its version {version} is not known to this build"
                    ))
                    .hint("go on with the release that began this restore, or a newer one"));
                }
                self.begin = Some(begin);
            }
            "topic" => {
                self.topics.insert(Topic::new(rest)?, read(value)?);
            }
            "partitions" => {
                let topic = Topic::new(rest.split('/').next().unwrap_or_default())?;
                for entry in read::<Vec<PartitionEntry>>(value)? {
                    self.partitions.insert(TopicPartition::new(topic.clone(), entry.target), entry);
                }
            }
            "producer" => {
                let mut parts = rest.split('/');
                let topic = Topic::new(parts.next().unwrap_or_default())?;
                let number = parts.next().and_then(|part| part.parse().ok());
                let number = number.ok_or_else(|| Error::damaged("it names no partition"))?;
                // Entries come in the order of their keys, which end in the producer's place in the row.
                self.producers.entry(TopicPartition::new(topic, number)).or_default().push(read(value)?);
            }
            "quarantine" => {
                let QuarantineEntry { topic } = read(value)?;
                self.quarantines.insert(Topic::new(rest)?, topic);
            }
            "ends" => {
                let topic = Topic::new(rest.split('/').next().unwrap_or_default())?;
                for entry in read::<Vec<EndEntry>>(value)? {
                    self.ends.insert(TopicPartition::new(topic.clone(), entry.target), entry);
                }
            }
            "sealed" => {
                self.sealed.insert(Topic::new(rest)?, read(value)?);
            }
            "schema_map" => {
                let digest = rest.split('/').next().unwrap_or_default();
                self.schema_maps.entry(digest.to_owned()).or_default().push(read(value)?);
            }
            "schemas" => self.schema_pin = Some(read(value)?),
            "unknown_ids" => self.unknown = Some(read::<PolicyEntry>(value)?.policy),
            "complete" => self.complete = true,
            _ => {}
        }
        Ok(())
    }

    /// Whether all records of a topic are on the target.
    pub(super) fn is_sealed(&self, topic: &Topic) -> bool {
        self.complete || self.sealed.contains_key(topic)
    }

    /// The partitions of topics that are restored, without those of quarantines.
    pub(super) fn own_partitions(&self) -> impl Iterator<Item = (&TopicPartition, &PartitionEntry)> {
        self.partitions.iter().filter(|(place, _)| self.topics.contains_key(&place.topic))
    }

    /// How many records of a partition of a sealed topic are quarantined.
    pub(super) fn quarantined(&self, place: &TopicPartition) -> u64 {
        let quarantine = self.quarantines.get(&place.topic);
        let place = quarantine.map(|topic| TopicPartition::new(topic.clone(), place.partition));
        let ends =
            place.and_then(|place| Some((self.partitions.get(&place)?.start, self.ends.get(&place)?.end)));
        ends.and_then(|(start, end)| u64::try_from(end - start).ok()).unwrap_or(0)
    }

    /// The producers of a partition in order; none where the attempt did not come so far.
    pub(super) fn producers_of(&self, place: &TopicPartition) -> Vec<ProducerEntry> {
        let Some(entry) = self.partitions.get(place) else { return Vec::new() };
        let first = ProducerEntry { producer: entry.producer, epoch: entry.epoch, base: 0 };
        let later = self.producers.get(place).into_iter().flatten().copied();
        std::iter::once(first).chain(later).collect()
    }
}
