//! `backup`: what to take, how to cut, pack and follow it.

use std::collections::BTreeMap;

use formats::ids::Topic;

use super::check::{Section, Value};
use super::error::{Notice, Problems};
use super::keys::{Harmless, Kind, Table, no_effect, oso, ours, refused};

const NO_POSITION: &str =
    "the position is derived from the commits in the store, nothing is checkpointed on its own";
const NO_GROUPS: &str = "not yet supported: consumer groups";
const LEAVE_OUT: &str = "leave it out for now";

/// Every key of `backup`.
pub(crate) static BACKUP: Table = Table {
    path: "backup",
    about: "What to take and how to cut it into segments.",
    keys: &[
        oso("continuous", Kind::Bool, "follow the topics for ever; otherwise stop at the offsets seen at start").default("false"),
        oso("stop_at_current_offsets", Kind::Bool, "what a job that is not continuous does anyway; not together with continuous").default("false"),
        oso("start_offset", Kind::StartOffset, "where a partition without a position begins: `earliest`, `latest` (what comes later begins at its first offset: topics that a running job finds, partitions by which a topic grows), or `specific: {topic: {partition: offset}}` (also as the tag `!specific`; partitions not named begin at the earliest)")
            .default("earliest"),
        ours("isolation", Kind::Choice(&["read_committed", "read_uncommitted"]), "how far to read: up to the last stable offset, or the high watermark")
            .default("read_committed"),
        oso("include_internal_topics", Kind::Bool, "take internal topics too: those of internal_topics, or all that topics.include takes")
            .default("false"),
        oso("internal_topics", Kind::List(&Kind::Topic), "the internal topics to take, with include_internal_topics").default("[]"),
        oso("compression", Kind::Choice(&["none", "zstd", "lz4"]), "for batches that the producer left uncompressed; compressed ones stay as they are")
            .default("zstd"),
        oso("compression_level", Kind::Int { min: 1, max: 22 }, "of zstd").default("3"),
        oso("segment_max_bytes", Kind::Size { min: 1, max: 4 << 30 }, "cut a segment at this size").default("128MiB"),
        oso("segment_max_interval_ms", Kind::Duration { plain: Some(1), min: 100 }, "cut a segment at this age, which bounds what a disaster can cost").default("60000"),
        oso("segment_max_records", Kind::Int { min: 1, max: i64::MAX }, "cut a segment at this many records; unset: no limit").example("1000000"),
        oso("fetch_max_bytes", Kind::Size { min: 64 << 10, max: 1 << 30 }, "the most that one fetch asks a broker for; unset: 16MiB or segment_max_bytes, whichever is less")
            .example("16MiB"),
        ours("fetch_rate_limit_bytes_per_sec", RATE, "the most bytes of batches fetched a second, from all brokers together; unset: no limit").example("50MiB"),
        ours("fetch_rate_limit_per_broker_bytes_per_sec", RATE, "the same from each broker").example("20MiB"),
        ours("upload_rate_limit_bytes_per_sec", RATE, "the most bytes of segments uploaded a second; a job that is told to stop uploads what is left without a limit; unset: no limit")
            .example("50MiB"),
        ours("upload_parallelism", Kind::Int { min: 1, max: 256 }, "uploads at the same time").default("8"),
        ours("refresh_interval", Kind::Duration { plain: None, min: 1_000 }, "how often to look for new topics and partitions").default("30s"),
        no_effect("source_cluster_id", Kind::Text, "the backup keeps the id that Kafka itself reports"),
        no_effect("checkpoint_interval_secs", Kind::Any, NO_POSITION),
        no_effect("checkpoint_interval_ms", Kind::Any, NO_POSITION),
        no_effect("sync_interval_secs", Kind::Any, "commits are written as soon as their segments are durable"),
        no_effect("max_concurrent_partitions", Kind::Any, "all partitions are fetched at once, within memory_limit; uploads are bounded by upload_parallelism"),
        no_effect("poll_interval_ms", Kind::Any, "a fetch waits at the broker until there is data"),
        no_effect("consumer_group_id", Kind::Any, "no consumer group is used"),
        no_effect("capture_topic_configs", Kind::Any, "topic configs are always kept"),
        refused("include_offset_headers", "not supported: it would change every archived record", "set it to false, or leave it out; offsets and timestamps are kept with each record anyway")
            .unless(Harmless::Values(&["false"])),
        refused("consumer_group_snapshot", NO_GROUPS, LEAVE_OUT).unless(Harmless::Values(&["false"])),
        refused("require_topic_configs", "not yet supported: failing a backup whose topic configs cannot be read", LEAVE_OUT)
            .unless(Harmless::Values(&["false"])),
        refused("recompress", "not yet supported: compressing anew what producers compressed", LEAVE_OUT)
            .unless(Harmless::Values(&["false"])),
        refused("retention", "not yet supported: retention", LEAVE_OUT).unless(Harmless::Disabled),
    ],
};

const RATE: Kind = Kind::Size { min: 64 << 10, max: i64::MAX };

/// How to back up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Backup {
    /// Follow for ever; otherwise stop at the offsets seen at start.
    pub(crate) continuous: bool,
    pub(crate) start_offset: StartOffset,
    pub(crate) isolation: Isolation,
    pub(crate) include_internal_topics: bool,
    pub(crate) internal_topics: Vec<String>,
    pub(crate) compression: Compression,
    pub(crate) segment_max_bytes: u64,
    pub(crate) segment_max_interval_ms: u64,
    pub(crate) segment_max_records: Option<u64>,
    pub(crate) fetch_max_bytes: u64,
    pub(crate) fetch_rate_limit_bytes_per_sec: Option<u64>,
    pub(crate) fetch_rate_limit_per_broker_bytes_per_sec: Option<u64>,
    pub(crate) upload_rate_limit_bytes_per_sec: Option<u64>,
    pub(crate) upload_parallelism: usize,
    pub(crate) refresh_interval_ms: u64,
}

/// Where a partition begins that the backup has no position for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StartOffset {
    Earliest,
    Latest,
    /// By topic and partition; the others begin at the earliest offset.
    Specific(BTreeMap<Topic, BTreeMap<i32, i64>>),
}

/// How far to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    ReadCommitted,
    ReadUncommitted,
}

/// For batches that came uncompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Zstd {
        /// 1 to 22.
        level: i32,
    },
    Lz4,
}

impl Backup {
    /// Builds it from its checked section; `continuous` is what the command line says of it.
    pub(crate) fn build(
        section: &Section,
        continuous: Option<bool>,
        memory_limit: u64,
        problems: &mut Problems,
        notices: &mut Vec<Notice>,
    ) -> Option<Self> {
        let in_file = section.bool("continuous")?;
        if in_file && continuous.is_none() && section.bool("stop_at_current_offsets")? {
            let message = "backup.continuous and backup.stop_at_current_offsets contradict each other";
            problems.add(section.at("stop_at_current_offsets"), message, "keep the one you mean");
        }
        let mut notice = |key: &str, message: &str| {
            if section.is_written(key) {
                notices.push(Notice {
                    at: section.at(key),
                    message: format!("backup.{key} has no effect: {message}"),
                });
            }
        };
        let compression = match section.text("compression")? {
            "none" => Compression::None,
            "lz4" => Compression::Lz4,
            _ => Compression::Zstd { level: i32::try_from(section.int("compression_level")?).ok()? },
        };
        if !matches!(compression, Compression::Zstd { .. }) {
            notice("compression_level", "only zstd has levels");
        }
        let include_internal_topics = section.bool("include_internal_topics")?;
        if !include_internal_topics && !section.list("internal_topics").is_empty() {
            notice("internal_topics", "include_internal_topics is false");
        }
        let segment_max_bytes = section.unsigned("segment_max_bytes")?;
        let fetch_max_bytes = section.unsigned("fetch_max_bytes").unwrap_or(segment_max_bytes.min(16 << 20));
        if fetch_max_bytes > memory_limit {
            let message = "backup.fetch_max_bytes is more than memory_limit: not even one answer would fit";
            problems.add(section.at("fetch_max_bytes"), message, "lower it, or raise memory_limit");
        }
        Some(Self {
            continuous: continuous.unwrap_or(in_file),
            start_offset: start_offset(section)?,
            isolation: match section.text("isolation")? {
                "read_uncommitted" => Isolation::ReadUncommitted,
                _ => Isolation::ReadCommitted,
            },
            include_internal_topics,
            internal_topics: section.texts("internal_topics"),
            compression,
            segment_max_bytes,
            segment_max_interval_ms: section.unsigned("segment_max_interval_ms")?,
            segment_max_records: section.unsigned("segment_max_records"),
            fetch_max_bytes,
            fetch_rate_limit_bytes_per_sec: section.unsigned("fetch_rate_limit_bytes_per_sec"),
            fetch_rate_limit_per_broker_bytes_per_sec: section
                .unsigned("fetch_rate_limit_per_broker_bytes_per_sec"),
            upload_rate_limit_bytes_per_sec: section.unsigned("upload_rate_limit_bytes_per_sec"),
            upload_parallelism: usize::try_from(section.int("upload_parallelism")?).ok()?,
            refresh_interval_ms: section.unsigned("refresh_interval")?,
        })
    }
}

/// Where partitions without a position begin.
pub(super) fn start_offset(section: &Section) -> Option<StartOffset> {
    let topics = match section.get("start_offset")? {
        Value::Map(topics) => topics,
        value if value.as_text() == Some("latest") => return Some(StartOffset::Latest),
        _ => return Some(StartOffset::Earliest),
    };
    let mut specific = BTreeMap::new();
    for (topic, partitions) in topics {
        let Value::Map(partitions) = partitions else { return None };
        let offsets = partitions
            .iter()
            .map(|(partition, offset)| Some((i32::try_from(partition.as_int()?).ok()?, offset.as_int()?)))
            .collect::<Option<BTreeMap<_, _>>>()?;
        specific.insert(Topic::new(topic.as_text()?).ok()?, offsets);
    }
    Some(StartOffset::Specific(specific))
}
