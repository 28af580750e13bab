//! A migration: which clusters, which topics under which names, and when it ends.

use std::collections::BTreeMap;

use formats::ids::{BackupId, Topic};
use pipeline::restore::schemas::UnknownIds;

use super::backup::{StartOffset, start_offset};
use super::check::{Section, Value};
use super::error::{Notice, Problems};
use super::job::LEAST_MEMORY;
use super::kafka::{KAFKA, Kafka};
use super::keys::{Kind, PARTITION, Table, no_effect, oso, ours, refused};
use super::metrics::{METRICS_KEY, Metrics};
use super::restore::twice;
use super::schemas::{Restored, SCHEMA_REGISTRY, SchemaRegistry};

const NO_STORE: &str = "this is a migration, which keeps nothing in a store";

/// The top level of a migration's file.
pub(crate) static MIGRATION: Table = Table {
    path: " (migration)",
    about: "One migration a file. It needs no store.",
    keys: &[
        oso(
            "mode",
            Kind::Choice(&["migrate"]),
            "which job this is; the command line may say it instead, but not otherwise",
        )
        .example("migrate"),
        ours(
            "migration_id",
            Kind::BackupId,
            "the migration's name: run again under the same one, it goes on",
        )
        .required()
        .example("orders-to-new"),
        oso("source", Kind::Section(&KAFKA), "the cluster to take topics from"),
        oso("target", Kind::Section(&KAFKA), "the cluster to bring them to"),
        ours("migrate", Kind::Section(&MIGRATE), "under which names, how fast, until when"),
        ours(
            "memory_limit",
            Kind::Size { min: LEAST_MEMORY, max: i64::MAX },
            "the most payload held in memory at once, whatever the number of topics",
        )
        .default("512MiB"),
        ours(
            "source_schema_registry",
            Kind::Section(&SCHEMA_REGISTRY),
            "the registry of the source, whose schemas are followed as they appear; its `restore` is not read",
        ),
        ours(
            "target_schema_registry",
            Kind::Section(&SCHEMA_REGISTRY),
            "the registry of the target, which is given the schemas before the records that name them; `restore` says how",
        ),
        METRICS_KEY,
        no_effect("storage", Kind::Any, NO_STORE),
        no_effect("backup_id", Kind::Any, NO_STORE),
        no_effect("backup", Kind::Any, NO_STORE),
        no_effect("restore", Kind::Any, NO_STORE),
        refused(
            "schema_registry",
            "a migration has two of them",
            "call it source_schema_registry or target_schema_registry",
        ),
    ],
};

/// Every key of `migrate`.
pub(crate) static MIGRATE: Table = Table {
    path: "migrate",
    about: "Under which names, how fast, and until when.",
    keys: &[
        ours("until_caught_up", Kind::Bool, "end once the target holds everything and nothing more comes, as `--until-caught-up` does; otherwise go on until it is stopped")
            .default("false"),
        ours("create_topics", Kind::Bool, "create topics that the target does not have, with the source's partitions and configs").default("true"),
        ours("default_replication_factor", Kind::Int { min: -1, max: i16::MAX as i64 }, "replicas of created topics; -1: as many as at the source").default("-1"),
        ours("topic_mapping", Kind::Map(&Kind::Topic, &Kind::Topic), "new names: source topic to target topic").default("{}").example("{orders: orders-new}"),
        ours("partition_mapping", Kind::Map(&PARTITION, &PARTITION), "other partitions: source partition to target partition, in every topic; others keep theirs")
            .default("{}")
            .example("{0: 2}"),
        ours("into_non_empty", Kind::Choice(&["refuse", "append"]), "what to do where a target partition holds records that are not this migration's").default("refuse"),
        ours("start_offset", Kind::StartOffset, "where a partition begins: `earliest`, `latest` (what comes later begins at its first offset: topics that a running job finds, partitions by which a topic grows), or `specific: {topic: {partition: offset}}` (partitions not named begin at the earliest)")
            .default("earliest"),
        ours("include_internal_topics", Kind::Bool, "take internal topics too: those that topics.include takes").default("false"),
        ours("refresh_interval", Kind::Duration { plain: None, min: 1_000 }, "how often to look for new topics and partitions").default("30s"),
        ours("fetch_max_bytes", Kind::Size { min: 64 << 10, max: 1 << 30 }, "the most that one fetch asks a broker for").default("16MiB"),
        ours("rate_limit_records_per_sec", Kind::Int { min: 1, max: i64::MAX }, "the most records a second; unset: no limit").example("100000"),
        ours("rate_limit_bytes_per_sec", Kind::Size { min: 1024, max: i64::MAX }, "the most bytes a second; unset: no limit").example("50MiB"),
        ours("produce_timeout_ms", Kind::Duration { plain: Some(1), min: 1_000 }, "the longest that a broker may take to replicate what was produced").default("30000"),
        ours("give_up_after", Kind::Duration { plain: None, min: 1_000 }, "how long to wait without any progress where it is to end by itself; otherwise it is tried for ever").default("5m"),
        ours("consumer_group_offsets", Kind::Choice(&["translate", "skip"]), "what is done with offsets that groups have committed at the source, once the target has caught up: commit there what they are in the target, or nothing")
            .default("translate"),
        ours("consumer_groups", Kind::List(&Kind::GroupPattern), "whose offsets: names of groups, globs, `~regular expressions`; an empty list takes all").default("[]"),
        ours("proof", Kind::Bool, "read both sides once more when the target has caught up, and compare their content digests").default("true"),
    ],
};

/// A migration.
#[derive(Debug, Clone)]
pub(crate) struct MigrateJob {
    /// Its name.
    pub(crate) migration_id: BackupId,
    pub(crate) source: Kafka,
    pub(crate) target: Kafka,
    pub(crate) until_caught_up: bool,
    pub(crate) create_topics: bool,
    /// `None`: as many as at the source.
    pub(crate) replication_factor: Option<i16>,
    /// Source to target.
    pub(crate) topic_mapping: BTreeMap<Topic, Topic>,
    /// Source to target, in every topic.
    pub(crate) partition_mapping: BTreeMap<i32, i32>,
    /// Whether partitions that hold something else are written behind it.
    pub(crate) into_non_empty: bool,
    pub(crate) start_offset: StartOffset,
    pub(crate) include_internal_topics: bool,
    pub(crate) refresh_interval_ms: u64,
    pub(crate) fetch_max_bytes: u64,
    pub(crate) rate_limit_records_per_sec: Option<u64>,
    pub(crate) rate_limit_bytes_per_sec: Option<u64>,
    pub(crate) produce_timeout_ms: u64,
    pub(crate) give_up_after_ms: u64,
    /// `None`: offsets are not carried over. Patterns that [`pipeline::select::GroupSelection::new`] accepts.
    pub(crate) consumer_groups: Option<Vec<String>>,
    /// Whether both sides are compared at the end.
    pub(crate) proof: bool,
    /// The source's registry, and what is done with its schemas; nothing where they are left out.
    pub(crate) schemas: Option<(Box<SchemaRegistry>, Box<Restored>)>,
    pub(crate) metrics: Option<Metrics>,
    /// The most payload in memory at once, in bytes.
    pub(crate) memory_limit: u64,
    /// What the operator should know, to be logged once.
    pub(crate) notices: Vec<Notice>,
}

impl MigrateJob {
    /// Builds it of a file whose every key has been checked.
    pub(crate) fn build(
        root: &Section,
        until_caught_up: bool,
        problems: &mut Problems,
        mut notices: Vec<Notice>,
    ) -> Option<Self> {
        let section = root.section("migrate")?;
        let topic_mapping: BTreeMap<Topic, Topic> =
            pairs(section, "topic_mapping", |value| Topic::new(value.as_text()?).ok())?;
        let partition_mapping: BTreeMap<i32, i32> =
            pairs(section, "partition_mapping", |value| i32::try_from(value.as_int()?).ok())?;
        if let Some(twice) = twice(topic_mapping.values()) {
            let message =
                format!("migrate.topic_mapping gives two topics the name {twice}: their records would mix");
            problems.add(section.at("topic_mapping"), message, "map each topic to a name of its own");
        }
        if let Some(twice) = twice(partition_mapping.values()) {
            let message =
                format!("migrate.partition_mapping sends two partitions to {twice}: their records would mix");
            problems.add(section.at("partition_mapping"), message, "map each partition to one of its own");
        }
        let schemas = schemas(root, problems, &mut notices);
        let factor = i16::try_from(section.int("default_replication_factor")?).ok()?;
        Some(Self {
            migration_id: BackupId::new(root.text("migration_id")?).ok()?,
            source: Kafka::build(root.section("source")?, "source", problems)?,
            target: Kafka::build(root.section("target")?, "target", problems)?,
            until_caught_up: until_caught_up || section.bool("until_caught_up")?,
            create_topics: section.bool("create_topics")?,
            replication_factor: (factor > 0).then_some(factor),
            topic_mapping,
            partition_mapping,
            into_non_empty: section.text("into_non_empty")? == "append",
            start_offset: start_offset(section)?,
            include_internal_topics: section.bool("include_internal_topics")?,
            refresh_interval_ms: section.unsigned("refresh_interval")?,
            fetch_max_bytes: section.unsigned("fetch_max_bytes")?,
            rate_limit_records_per_sec: section.unsigned("rate_limit_records_per_sec"),
            rate_limit_bytes_per_sec: section.unsigned("rate_limit_bytes_per_sec"),
            produce_timeout_ms: section.unsigned("produce_timeout_ms")?,
            give_up_after_ms: section.unsigned("give_up_after")?,
            consumer_groups: (section.text("consumer_group_offsets")? == "translate")
                .then(|| section.texts("consumer_groups")),
            proof: section.bool("proof")?,
            schemas,
            metrics: Metrics::build(root.section("metrics")?, problems),
            memory_limit: root.unsigned("memory_limit")?,
            notices,
        })
    }
}

fn schemas(
    root: &Section,
    problems: &mut Problems,
    notices: &mut Vec<Notice>,
) -> Option<(Box<SchemaRegistry>, Box<Restored>)> {
    let names = ["source_schema_registry", "target_schema_registry"];
    let [source, target] = names.map(|name| root.section(name).filter(|_| root.is_given(name)));
    match (source, target) {
        (Some(source), Some(target)) => {
            let source = SchemaRegistry::build(source, names[0], None, problems, notices)?;
            let section = target.section("restore");
            let target = Restored::build(target, names[1], problems, notices)?;
            if target.unknown == UnknownIds::Quarantine
                && let Some(section) = section
            {
                let message = format!(
                    "{}.restore.unknown_ids: a migration knows fail and keep, no quarantine; with fail, a record whose schema the \
                     target does not have holds its partition there, until the source's registry has the schema",
                    names[1]
                );
                problems.add(section.at("unknown_ids"), message, "write fail or keep");
            }
            Some((Box::new(source), Box::new(target)))
        }
        (None, None) => None,
        (source, _) => {
            let (there, missing) = if source.is_some() { (names[0], names[1]) } else { (names[1], names[0]) };
            let message = format!("{missing} is missing beside {there}: schemas go from one to the other");
            problems.add(root.at(there), message, format!("add {missing}, or leave {there} out"));
            None
        }
    }
}

fn pairs<T: Ord>(section: &Section, key: &str, of: impl Fn(&Value) -> Option<T>) -> Option<BTreeMap<T, T>> {
    section.map(key).iter().map(|(source, target)| Some((of(source)?, of(target)?))).collect()
}
