//! `restore`: what to bring back, under which names, how fast, and how sure to be of it.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use formats::ids::{LineageId, Topic, TopicPartition};

use super::check::{Section, Value};
use super::error::{Notice, Problems};
use super::keys::{Harmless, Kind, PARTITION, Table, no_effect, oso, ours, refused};

const NO_GROUPS: &str = "not yet supported: consumer groups";
const NO_SCHEMAS: &str = "not yet supported: schema registries";
const LEAVE_OUT: &str = "leave it out for now";
const FALSE: Harmless = Harmless::Values(&["false"]);

/// Every key of `restore`.
pub(crate) static RESTORE: Table = Table {
    path: "restore",
    about: "What to bring back and how.",
    keys: &[
        oso("dry_run", Kind::Bool, "show the plan and touch nothing, as `--plan` does").default("false"),
        oso("create_topics", Kind::Bool, "create topics that the target does not have, with the backup's partitions and configs").default("false"),
        oso("default_replication_factor", Kind::Int { min: -1, max: i16::MAX as i64 }, "replicas of created topics; -1: the broker's default").default("-1"),
        oso("topic_mapping", Kind::Map(&Kind::Topic, &Kind::Topic), "new names: source topic to target topic").default("{}").example("{orders: orders-restored}"),
        oso("source_partitions", Kind::List(&PARTITION), "only these partitions of every topic; unset: all").example("[0, 1]"),
        oso("partition_mapping", Kind::Map(&PARTITION, &PARTITION), "other partitions: source partition to target partition, in every topic; others keep theirs")
            .default("{}")
            .example("{0: 2}"),
        oso("time_window_start", Kind::Time, "only records of this timestamp or later, exact to the record").example("2026-01-15T00:00:00Z"),
        oso("time_window_end", Kind::Time, "only records of this timestamp or earlier, exact to the record").example("2026-01-16T00:00:00Z"),
        ours("into_non_empty", Kind::Choice(&["refuse", "append"]), "what to do where a target partition already holds records").default("refuse"),
        ours("lineage", Kind::Map(&Kind::TopicPartition, &Kind::Lineage), "which history of a partition to restore where the backup holds several (`describe` lists them); unset: the newest")
            .example("{orders-0: 00d1e2f3a4b5c6d7}"),
        ours("retention", Kind::Choice(&["hold", "original"]), "at the end, `hold` leaves topics without time and size limits, `original` sets the archive's; unset: `hold` where the real limits would delete restored records at once")
            .example("hold"),
        oso("restore_topic_configs", Kind::Bool, "set the archive's topic configs on topics that the restore creates").default("true"),
        oso("existing_topic_config_policy", Kind::Choice(&["validate_only", "apply", "fail"]), "topics that exist with other configs: report it, set the archive's, or refuse").default("validate_only"),
        oso("topic_config_overrides", Kind::TopicConfigs, "configs that replace the archive's: name to value for all topics, or topic to such a map").default("{}").example("{min.insync.replicas: \"1\"}"),
        oso("max_concurrent_partitions", Kind::Int { min: 1, max: 10_000 }, "partitions restored at the same time").default("4"),
        oso("rate_limit_records_per_sec", Kind::Int { min: 1, max: i64::MAX }, "the most records a second; unset: no limit").example("100000"),
        oso("rate_limit_bytes_per_sec", Kind::Size { min: 1024, max: i64::MAX }, "the most bytes a second; unset: no limit").example("50MiB"),
        oso("produce_timeout_ms", Kind::Duration { plain: Some(1), min: 1_000 }, "the longest that a broker may take to replicate what was produced").default("30000"),
        ours("journal", Kind::Choice(&["topic", "object"]), "where to note what a rerun must know: a compacted topic of the target, or an object beside the backup").default("topic"),
        ours("proof", Kind::Bool, "read the target back and compare content digests with the archive, as `--proof` does").default("false"),
        oso("offset_report", Kind::Text, "file to write the mapping of offsets to, as JSON").example("/var/lib/replevin/offsets.json"),
        no_effect("produce_batch_size", Kind::Any, "batches travel as the archive holds them"),
        no_effect("batch_size", Kind::Any, "batches travel as the archive holds them"),
        no_effect("checkpoint_state", Kind::Any, "a restore that died is run again with the same file and continues by its journal"),
        no_effect("checkpoint_interval_secs", Kind::Any, "a restore that died is run again with the same file and continues by its journal"),
        no_effect("header_preflight", Kind::Any, "headers are restored byte for byte, so there is nothing to check for"),
        no_effect("strip_offset_headers", Kind::Any, "backups made here hold no added headers; those that OSO added to its own are recognised by place and name"),
        refused(
            "produce_acks",
            "not supported: a restore whose records only some replicas hold proves nothing",
            "set it to -1 or all, or leave it out: every in-sync replica acknowledges",
        )
        .unless(Harmless::Values(&["-1", "all"])),
        refused("purge_topics", "not supported: it would delete the target's records before anything is proven", "delete the topics yourself, restore under new names with topic_mapping, or set into_non_empty: append")
            .unless(FALSE),
        refused("include_original_offset_header", "not supported: it would change every restored record", "set it to false, or leave it out; offset_report holds the mapping of offsets")
            .unless(FALSE),
        refused("consumer_group_strategy", NO_GROUPS, "set it to skip, or leave it out").unless(Harmless::Values(&["skip"])),
        refused("consumer_groups", NO_GROUPS, LEAVE_OUT).unless(Harmless::Empty),
        refused("auto_consumer_groups", NO_GROUPS, LEAVE_OUT).unless(FALSE),
        refused("reset_consumer_offsets", NO_GROUPS, LEAVE_OUT).unless(FALSE),
        refused("repartitioning", "not yet supported: repartitioning", LEAVE_OUT).unless(Harmless::Empty),
        refused("rewrite_schema_ids", NO_SCHEMAS, LEAVE_OUT).unless(FALSE),
        refused("schema_id_mapping", NO_SCHEMAS, LEAVE_OUT).unless(Harmless::Empty),
    ],
};

/// How to restore.
#[derive(Debug, Clone)]
pub(crate) struct Restore {
    /// Show the plan, touch nothing.
    pub(crate) dry_run: bool,
    pub(crate) create_topics: bool,
    /// -1: the broker's default.
    pub(crate) default_replication_factor: i16,
    /// Source to target.
    pub(crate) topic_mapping: BTreeMap<Topic, Topic>,
    /// `None`: all of them.
    pub(crate) source_partitions: Option<BTreeSet<i32>>,
    /// Source to target, in every topic.
    pub(crate) partition_mapping: BTreeMap<i32, i32>,
    /// First timestamp, inclusive, milliseconds.
    pub(crate) time_window_start: Option<i64>,
    /// Last timestamp, inclusive, milliseconds.
    pub(crate) time_window_end: Option<i64>,
    pub(crate) into_non_empty: IntoNonEmpty,
    /// Partitions not named: the newest.
    pub(crate) lineage: BTreeMap<TopicPartition, LineageId>,
    /// `None`: decided by the plan.
    pub(crate) retention: Option<Retention>,
    pub(crate) restore_topic_configs: bool,
    pub(crate) existing_topic_config_policy: ExistingTopicConfigPolicy,
    pub(crate) topic_config_overrides: TopicConfigOverrides,
    pub(crate) max_concurrent_partitions: usize,
    pub(crate) rate_limit_records_per_sec: Option<u64>,
    pub(crate) rate_limit_bytes_per_sec: Option<u64>,
    pub(crate) produce_timeout_ms: u64,
    pub(crate) journal: Journal,
    pub(crate) proof: bool,
    pub(crate) offset_report: Option<String>,
}

/// What to do where a target partition already holds records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntoNonEmpty {
    Refuse,
    Append,
}

/// The time and size limits that topics have in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retention {
    /// None.
    Hold,
    /// The archive's.
    Original,
}

/// What to do with a topic that exists with other configs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExistingTopicConfigPolicy {
    ValidateOnly,
    Apply,
    Fail,
}

/// Where a restore notes what a rerun must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Journal {
    Topic,
    Object,
}

/// Configs that replace the archive's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TopicConfigOverrides {
    /// For every topic.
    pub(crate) all: BTreeMap<String, String>,
    /// By target topic; these win over `all`.
    pub(crate) by_topic: BTreeMap<Topic, BTreeMap<String, String>>,
}

impl Restore {
    /// Builds it from its checked section.
    pub(crate) fn build(
        section: &Section,
        problems: &mut Problems,
        notices: &mut Vec<Notice>,
    ) -> Option<Self> {
        let (start, end) = (section.int("time_window_start"), section.int("time_window_end"));
        if let (Some(start), Some(end)) = (start, end)
            && start > end
        {
            let message =
                "restore.time_window_end lies before restore.time_window_start: no record could match";
            problems.add(section.at("time_window_end"), message, "swap them; both ends are inclusive");
        }
        let topic_mapping = section
            .map("topic_mapping")
            .iter()
            .map(|(source, target)| Some((topic(source)?, topic(target)?)))
            .collect::<Option<BTreeMap<_, _>>>()?;
        let partition_mapping = section
            .map("partition_mapping")
            .iter()
            .map(|(source, target)| Some((partition(source)?, partition(target)?)))
            .collect::<Option<BTreeMap<_, _>>>()?;
        if let Some(twice) = twice(topic_mapping.values()) {
            let message =
                format!("restore.topic_mapping gives two topics the name {twice}: their records would mix");
            problems.add(section.at("topic_mapping"), message, "map each topic to a name of its own");
        }
        if let Some(twice) = twice(partition_mapping.values()) {
            let message =
                format!("restore.partition_mapping sends two partitions to {twice}: their records would mix");
            problems.add(section.at("partition_mapping"), message, "map each partition to one of its own");
        }
        let source_partitions = match section.list("source_partitions") {
            [] => None,
            list => Some(list.iter().map(partition).collect::<Option<BTreeSet<_>>>()?),
        };
        if let Some(only) = &source_partitions
            && let Some(unused) = partition_mapping.keys().find(|source| !only.contains(source))
        {
            let message = format!(
                "restore.partition_mapping names partition {unused}, which restore.source_partitions leaves out"
            );
            notices.push(Notice { at: section.at("partition_mapping"), message });
        }
        Some(Self {
            dry_run: section.bool("dry_run")?,
            create_topics: section.bool("create_topics")?,
            default_replication_factor: i16::try_from(section.int("default_replication_factor")?).ok()?,
            topic_mapping,
            source_partitions,
            partition_mapping,
            time_window_start: start,
            time_window_end: end,
            into_non_empty: match section.text("into_non_empty")? {
                "append" => IntoNonEmpty::Append,
                _ => IntoNonEmpty::Refuse,
            },
            lineage: section.map("lineage").iter().map(lineage).collect::<Option<_>>()?,
            retention: section.text("retention").map(|text| match text {
                "original" => Retention::Original,
                _ => Retention::Hold,
            }),
            restore_topic_configs: section.bool("restore_topic_configs")?,
            existing_topic_config_policy: match section.text("existing_topic_config_policy")? {
                "apply" => ExistingTopicConfigPolicy::Apply,
                "fail" => ExistingTopicConfigPolicy::Fail,
                _ => ExistingTopicConfigPolicy::ValidateOnly,
            },
            topic_config_overrides: overrides(section.map("topic_config_overrides"))?,
            max_concurrent_partitions: usize::try_from(section.int("max_concurrent_partitions")?).ok()?,
            rate_limit_records_per_sec: section.unsigned("rate_limit_records_per_sec"),
            rate_limit_bytes_per_sec: section.unsigned("rate_limit_bytes_per_sec"),
            produce_timeout_ms: section.unsigned("produce_timeout_ms")?,
            journal: match section.text("journal")? {
                "object" => Journal::Object,
                _ => Journal::Topic,
            },
            proof: section.bool("proof")?,
            offset_report: section.text("offset_report").map(str::to_owned),
        })
    }
}

fn topic(value: &Value) -> Option<Topic> {
    Topic::new(value.as_text()?).ok()
}

fn partition(value: &Value) -> Option<i32> {
    i32::try_from(value.as_int()?).ok()
}

fn lineage((place, lineage): &(Value, Value)) -> Option<(TopicPartition, LineageId)> {
    let (topic, partition) = place.as_text()?.rsplit_once('-')?;
    let place = TopicPartition::new(Topic::new(topic).ok()?, partition.parse().ok()?);
    Some((place, LineageId::from_str(lineage.as_text()?).ok()?))
}

fn overrides(pairs: &[(Value, Value)]) -> Option<TopicConfigOverrides> {
    let mut overrides = TopicConfigOverrides::default();
    for (name, value) in pairs {
        match value {
            Value::Map(configs) => {
                let configs = configs
                    .iter()
                    .map(|(name, value)| Some((name.as_text()?.to_owned(), value.as_text()?.to_owned())))
                    .collect::<Option<_>>()?;
                overrides.by_topic.insert(topic(name)?, configs);
            }
            value => {
                overrides.all.insert(name.as_text()?.to_owned(), value.as_text()?.to_owned());
            }
        }
    }
    Some(overrides)
}

/// A value that is there twice.
pub(super) fn twice<'a, T: Ord + 'a>(mut values: impl Iterator<Item = &'a T>) -> Option<&'a T> {
    let mut seen = BTreeSet::new();
    values.find(|value| !seen.insert(*value))
}
