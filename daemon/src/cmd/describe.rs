//! `describe`: what a backup holds, from its newest commit; segments are listed, never read. Its schemas, and what scanned data says of
//! them, are in a file of their own.
//!
//! JSON: [`Description`]. Offsets are ranges from `first` up to, but not including, `end`; times are milliseconds since
//! 1970 UTC. `min_timestamp` is the least that segments tell: batch headers hold the first record's and the greatest, so
//! that it is exact only where `min_timestamp_exact` says so, which takes `--segments`.

use formats::commit::{CodecBytes, Fork, Gap, LineageReason, SegmentEntry};
use formats::ids::{Incarnation, LineageId, Topic, TopicId, TopicPartition};
use formats::state::{LineageState, PartitionState, Totals};
use pipeline::archive::Archive;
use pipeline::commit_log::TopicLists;
use pipeline::seam::Seam;
use pipeline::select::TopicSelection;
use pipeline::{Error, Result};
use serde::Serialize;

use self::schemas::SchemaDescription;
use super::target::TargetArgs;
use crate::exit;
use crate::output::{Align, Output, Table, human_bytes, utc};

mod schemas;

/// Arguments of `describe`.
#[derive(Debug, clap::Args)]
pub(crate) struct DescribeArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Only these topics: a name, a glob or ~regex. May be given several times.
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// List every segment.
    #[arg(long)]
    segments: bool,
}

/// What a backup holds.
#[derive(Debug, Serialize)]
struct Description {
    backup_id: String,
    location: String,
    cluster_id: String,
    created_ms: i64,
    /// The newest commit as `SEQ:HASH`.
    head: String,
    writer: Option<Incarnation>,
    schema_registry: SchemaDescription,
    topics: Vec<TopicDescription>,
}

#[derive(Debug, Serialize)]
struct TopicDescription {
    topic: Topic,
    partitions: Vec<PartitionDescription>,
}

#[derive(Debug, Serialize)]
struct PartitionDescription {
    partition: i32,
    /// The oldest first; the last is the current one.
    lineages: Vec<LineageDescription>,
}

#[derive(Debug, Serialize)]
struct LineageDescription {
    lineage: LineageId,
    current: bool,
    reason: LineageReason,
    #[serde(skip_serializing_if = "Option::is_none")]
    fork: Option<Fork>,
    cluster_id: String,
    topic_id: TopicId,
    /// Everything from here to `end` is in a segment or in a gap.
    first: i64,
    end: i64,
    segments: u64,
    batches: u64,
    control_batches: u64,
    records: u64,
    missing_offsets: u64,
    raw_bytes: u64,
    stored_bytes: u64,
    /// Raw over stored.
    ratio: Option<f64>,
    raw_bytes_by_codec: CodecBytes,
    largest_batch: u32,
    min_timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_timestamp_exact: Option<bool>,
    max_timestamp: Option<i64>,
    open_transactions: usize,
    gaps: Vec<Gap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segment_list: Option<Vec<SegmentDescription>>,
}

#[derive(Debug, Serialize)]
struct SegmentDescription {
    key: String,
    #[serde(flatten)]
    entry: SegmentEntry,
}

/// Describes a backup.
pub(crate) async fn run(args: DescribeArgs, output: &Output) -> Result<u8> {
    let archive = Archive::open(args.target.open().await?, Seam::system()).await?;
    let chosen =
        if args.topic.is_empty() { None } else { Some(TopicSelection::new(&args.topic, &[], true, &[])?) };
    let mut description = Description {
        backup_id: archive.repository().backup_id.to_string(),
        location: archive.store().location(),
        cluster_id: archive.repository().cluster_id.clone(),
        created_ms: archive.repository().created_ms,
        head: format!("{}:{}", archive.head().seq, archive.head().hash),
        writer: archive.state().writer,
        schema_registry: schemas::describe(&archive, chosen.as_ref()).await,
        topics: Vec::new(),
    };
    for (topic, partitions) in &archive.state().topics {
        // Named on purpose, so Kafka's own topics are no exception here.
        if chosen.as_ref().is_some_and(|chosen| !chosen.matches(topic.as_str(), false)) {
            continue;
        }
        let lists = if args.segments { Some(archive.lists(topic).await?) } else { None };
        let partition = |(number, state): (&i32, &PartitionState)| {
            let place = TopicPartition::new(topic.clone(), *number);
            partition(&place, state, lists.as_ref())
        };
        let partitions = partitions.iter().map(partition).collect();
        description.topics.push(TopicDescription { topic: topic.clone(), partitions });
    }
    if chosen.is_some() && description.topics.is_empty() {
        return Err(Error::input(format!("no topic of the backup matches {}", args.topic.join(", ")))
            .hint("`replevin describe` without --topic shows all of them"));
    }
    let detailed = args.segments || chosen.is_some();
    output.print(&description, || text(&description, detailed));
    Ok(exit::DONE)
}

fn partition(
    place: &TopicPartition,
    state: &PartitionState,
    lists: Option<&TopicLists>,
) -> PartitionDescription {
    let current = state.current().map(|lineage| lineage.id);
    let lineage = |state: &LineageState| {
        let list = lists.map(|lists| lists.get(&(place.partition, state.id)).map_or(&[][..], Vec::as_slice));
        lineage(place, state, current == Some(state.id), list)
    };
    PartitionDescription {
        partition: place.partition,
        lineages: state.lineages.iter().map(lineage).collect(),
    }
}

fn lineage(
    place: &TopicPartition,
    state: &LineageState,
    current: bool,
    list: Option<&[SegmentEntry]>,
) -> LineageDescription {
    let Totals { segments, batches, control, records, missing, stored, bytes, largest_batch, .. } =
        state.totals;
    let exact =
        |list: &[SegmentEntry]| list.iter().all(|entry| entry.min_exact || entry.batches == entry.control);
    let segment =
        |entry: &SegmentEntry| SegmentDescription { key: entry.key(place, state.id), entry: entry.clone() };
    LineageDescription {
        lineage: state.id,
        current,
        reason: state.reason,
        fork: state.fork,
        cluster_id: state.cluster_id.clone(),
        topic_id: state.topic_id,
        first: state.start,
        end: state.next,
        segments,
        batches,
        control_batches: control,
        records,
        missing_offsets: missing,
        raw_bytes: bytes.total(),
        stored_bytes: stored,
        ratio: ratio(bytes.total(), stored),
        raw_bytes_by_codec: bytes,
        largest_batch,
        min_timestamp: state.totals.min_timestamp,
        min_timestamp_exact: list.map(exact),
        max_timestamp: state.totals.max_timestamp,
        open_transactions: state.open.len(),
        gaps: state.gaps.clone(),
        segment_list: list.map(|list| list.iter().map(segment).collect()),
    }
}

fn ratio(raw: u64, stored: u64) -> Option<f64> {
    (stored > 0).then(|| (raw as f64 / stored as f64 * 100.0).round() / 100.0)
}

fn text(description: &Description, detailed: bool) -> String {
    let mut head = vec![
        format!("backup   {} at {}", description.backup_id, description.location),
        format!("cluster  {}", description.cluster_id),
        format!("created  {}", utc(description.created_ms)),
        format!("head     {}", description.head),
    ];
    head.extend(description.schema_registry.lines());
    let mut parts =
        vec![head.join("\n"), if detailed { partitions(description) } else { topics(description) }];
    parts.extend([gaps(description), histories(description), segments(description)].into_iter().flatten());
    parts.extend(description.schema_registry.tables());
    parts.join("\n\n")
}

fn topics(description: &Description) -> String {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("TOPIC", Left),
        ("PARTITIONS", Right),
        ("RECORDS", Right),
        ("SEGMENTS", Right),
        ("RAW", Right),
        ("STORED", Right),
        ("RATIO", Right),
        ("FROM", Left),
        ("TO", Left),
        ("CODECS", Left),
    ]);
    for topic in &description.topics {
        let all = || topic.partitions.iter().flat_map(|partition| &partition.lineages);
        let sum = |of: fn(&LineageDescription) -> u64| all().map(of).sum::<u64>();
        let (raw, stored) = (sum(|l| l.raw_bytes), sum(|l| l.stored_bytes));
        let mut codecs = CodecBytes::default();
        for lineage in all() {
            let bytes = &lineage.raw_bytes_by_codec;
            codecs.none += bytes.none;
            codecs.gzip += bytes.gzip;
            codecs.snappy += bytes.snappy;
            codecs.lz4 += bytes.lz4;
            codecs.zstd += bytes.zstd;
        }
        table.row([
            topic.topic.to_string(),
            topic.partitions.len().to_string(),
            sum(|l| l.records).to_string(),
            sum(|l| l.segments).to_string(),
            human_bytes(raw),
            human_bytes(stored),
            shown(ratio(raw, stored)),
            from(all().filter_map(|l| l.min_timestamp).min(), None),
            when(all().filter_map(|l| l.max_timestamp).max()),
            codec_names(codecs),
        ]);
    }
    table.to_string()
}

fn partitions(description: &Description) -> String {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("PARTITION", Left),
        ("LINEAGE", Left),
        ("OFFSETS", Left),
        ("RECORDS", Right),
        ("SEGMENTS", Right),
        ("RAW", Right),
        ("STORED", Right),
        ("RATIO", Right),
        ("LARGEST BATCH", Right),
        ("FROM", Left),
        ("TO", Left),
        ("CODECS", Left),
    ]);
    for (place, lineage) in lineages(description) {
        table.row([
            place,
            format!("{}{}", lineage.lineage, if lineage.current { "" } else { " (old)" }),
            format!("[{},{})", lineage.first, lineage.end),
            lineage.records.to_string(),
            lineage.segments.to_string(),
            human_bytes(lineage.raw_bytes),
            human_bytes(lineage.stored_bytes),
            shown(lineage.ratio),
            human_bytes(u64::from(lineage.largest_batch)),
            from(lineage.min_timestamp, lineage.min_timestamp_exact),
            when(lineage.max_timestamp),
            codec_names(lineage.raw_bytes_by_codec),
        ]);
    }
    table.to_string()
}

fn gaps(description: &Description) -> Option<String> {
    use Align::{Left, Right};
    let headings =
        [("GAP IN", Left), ("LINEAGE", Left), ("OFFSETS", Left), ("COUNT", Right), ("REASON", Left)];
    let mut table = Table::new(&headings);
    for (place, lineage) in lineages(description) {
        for gap in &lineage.gaps {
            let reason =
                format!("{}{}", gap.reason.name(), if gap.reason.is_loss() { " (loss)" } else { "" });
            let range = gap.range();
            let cells = [
                place.clone(),
                lineage.lineage.to_string(),
                range.to_string(),
                range.len().to_string(),
                reason,
            ];
            table.row(cells);
        }
    }
    (!table.is_empty()).then(|| table.to_string())
}

/// How histories began, where any is more than the first of its partition.
fn histories(description: &Description) -> Option<String> {
    use Align::Left;
    let mut table =
        Table::new(&[("HISTORY OF", Left), ("LINEAGE", Left), ("BEGAN", Left), ("TOPIC ID", Left)]);
    for topic in &description.topics {
        for partition in topic.partitions.iter().filter(|partition| partition.lineages.len() > 1) {
            for lineage in &partition.lineages {
                let began = match (lineage.reason, lineage.fork) {
                    (LineageReason::First, _) => "first seen".to_owned(),
                    (LineageReason::Recreated, _) => "topic made again, or another cluster".to_owned(),
                    (LineageReason::Truncated, Some(fork)) => {
                        format!("truncated: forked from {} at offset {}", fork.parent, fork.offset)
                    }
                    (LineageReason::Truncated, None) => "truncated".to_owned(),
                };
                let place = format!("{}-{}", topic.topic, partition.partition);
                table.row([place, lineage.lineage.to_string(), began, lineage.topic_id.to_string()]);
            }
        }
    }
    (!table.is_empty()).then(|| table.to_string())
}

fn segments(description: &Description) -> Option<String> {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("SEGMENT OF", Left),
        ("OFFSETS", Left),
        ("RECORDS", Right),
        ("BATCHES", Right),
        ("STORED", Right),
        ("FROM", Left),
        ("TO", Left),
        ("OBJECT", Left),
    ]);
    for (place, lineage) in lineages(description) {
        for segment in lineage.segment_list.iter().flatten() {
            let entry = &segment.entry;
            let object = if entry.position > 0 {
                format!("{} +{}", segment.key, entry.position)
            } else {
                segment.key.clone()
            };
            table.row([
                place.clone(),
                entry.range().to_string(),
                entry.records.to_string(),
                entry.batches.to_string(),
                human_bytes(entry.length),
                from(Some(entry.min_timestamp), Some(entry.min_exact)),
                when(Some(entry.max_timestamp)),
                object,
            ]);
        }
    }
    (!table.is_empty()).then(|| table.to_string())
}

fn lineages(description: &Description) -> impl Iterator<Item = (String, &LineageDescription)> {
    description.topics.iter().flat_map(|topic| {
        topic.partitions.iter().flat_map(move |partition| {
            let place = format!("{}-{}", topic.topic, partition.partition);
            partition.lineages.iter().map(move |lineage| (place.clone(), lineage))
        })
    })
}

/// The earliest time; with a tilde where some record may be older.
fn from(ms: Option<i64>, exact: Option<bool>) -> String {
    let Some(ms) = ms.filter(|ms| *ms != -1) else { return "-".to_owned() };
    let tilde = if exact == Some(true) { "" } else { "~" };
    format!("{tilde}{}", utc(ms))
}

fn when(ms: Option<i64>) -> String {
    ms.map_or_else(|| "-".to_owned(), utc)
}

fn shown(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

fn codec_names(bytes: CodecBytes) -> String {
    let all = [
        ("none", bytes.none),
        ("gzip", bytes.gzip),
        ("snappy", bytes.snappy),
        ("lz4", bytes.lz4),
        ("zstd", bytes.zstd),
    ];
    let used: Vec<_> = all.into_iter().filter(|(_, bytes)| *bytes > 0).map(|(name, _)| name).collect();
    if used.is_empty() { "-".to_owned() } else { used.join(",") }
}
