//! `dump`: records of one partition, as text or JSON lines; or its batches as Kafka's own log files.
//!
//! JSON, one line a record: `{"topic", "partition", "offset", "timestamp_ms", "timestamp_type": "create_time" or
//! "log_append_time", "key", "value", "headers": [{"key", "value"}]}`; for transactional records also `"transaction"`
//! (`committed`, `aborted`, `undecided`) and `"producer_id"`, for control records `"control"` (`commit`, `abort`, ...).
//! Bytes are `null`, a string where they are UTF-8, otherwise `{"base64": "..."}`. Headers keep their order; a name may
//! come twice. With `--as-log`: one document, `{"files": [{"path", "base_offset", "end_offset", "batches", "bytes",
//! "cut_batches"}]}`.

use std::borrow::Cow;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::control::ControlKind;
use formats::ids::{LineageId, OffsetRange, Topic, TopicPartition};
use pipeline::archive::{Archive, BatchFate};
use pipeline::budget::Budget;
use pipeline::dump::{DumpSettings, DumpedRecord, LogFile, as_log, records};
use pipeline::kafka::Isolation;
use pipeline::seam::Seam;
use pipeline::{Error, Result};
use serde::Serialize;

use super::target::TargetArgs;
use super::values;
use crate::exit;
use crate::output::{Align, Output, Table, human_bytes, utc};

/// Arguments of `dump`.
#[derive(Debug, clap::Args)]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The topic.
    #[arg(short, long)]
    topic: String,
    /// The partition.
    #[arg(short, long, default_value_t = 0)]
    partition: i32,
    /// The history, as `describe` shows it; the current one where not given.
    #[arg(long, value_name = "LINEAGE")]
    lineage: Option<LineageId>,
    /// The first offset.
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from_offset: i64,
    /// The offset after the last one.
    #[arg(long, value_name = "OFFSET", default_value_t = i64::MAX, hide_default_value = true)]
    to_offset: i64,
    /// No record older than this: milliseconds since 1970, or 2026-01-02T03:04:05Z.
    #[arg(long, value_name = "TIME", value_parser = values::moment, allow_hyphen_values = true)]
    from_time: Option<i64>,
    /// No record younger than this.
    #[arg(long, value_name = "TIME", value_parser = values::moment, allow_hyphen_values = true)]
    to_time: Option<i64>,
    /// Whether records of aborted and undecided transactions are shown.
    #[arg(long, value_enum, default_value_t = DumpIsolation::ReadCommitted)]
    isolation: DumpIsolation,
    /// Show control records (transaction markers) too.
    #[arg(long)]
    control: bool,
    /// Stop after so many records.
    #[arg(short = 'n', long, value_name = "N")]
    max_records: Option<u64>,
    /// Write the batches as `DIR/TOPIC-PARTITION/OFFSET.log` instead, which kafka-dump-log reads.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["from_time", "to_time", "max_records", "control", "isolation"])]
    as_log: Option<PathBuf>,
    /// Payload held in memory.
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = values::size)]
    memory_limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DumpIsolation {
    #[value(name = "read_committed")]
    ReadCommitted,
    #[value(name = "read_uncommitted")]
    ReadUncommitted,
}

/// Dumps records.
pub(crate) async fn run(args: DumpArgs, output: &Output) -> Result<u8> {
    let archive = Archive::open(args.target.open().await?, Seam::system()).await?;
    let partition = TopicPartition::new(Topic::new(&args.topic)?, args.partition);
    let offsets = OffsetRange::new(args.from_offset, args.to_offset);
    let budget = Budget::new(args.memory_limit);
    if let Some(dir) = &args.as_log {
        if output.is_json() && dir.to_str().is_none() {
            let message =
                format!("the name of folder {} cannot be said in JSON: it is not UTF-8", dir.display());
            return Err(Error::input(message).hint("choose another folder, or --output text"));
        }
        let files = as_log(&archive, &partition, args.lineage, offsets, dir, &budget).await?;
        output.print(&Files { files: &files }, || files_text(&files));
        return Ok(exit::DONE);
    }
    let times = (args.from_time.is_some() || args.to_time.is_some())
        .then(|| (args.from_time.unwrap_or(i64::MIN), args.to_time.unwrap_or(i64::MAX)));
    let settings = DumpSettings {
        partition: partition.clone(),
        lineage: args.lineage,
        offsets,
        times,
        isolation: match args.isolation {
            DumpIsolation::ReadCommitted => Isolation::ReadCommitted,
            DumpIsolation::ReadUncommitted => Isolation::ReadUncommitted,
        },
        control: args.control,
    };
    if args.max_records == Some(0) {
        return Ok(exit::DONE);
    }
    let mut left = args.max_records.unwrap_or(u64::MAX);
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout());
    let json = output.is_json();
    let mut gone = false;
    let each = |record: &DumpedRecord<'_>| {
        let written = if json {
            write_json(&mut out, &partition, record)
        } else {
            write_text(&mut out, &partition, record)
        };
        left -= 1;
        match written {
            Ok(()) => Ok(left > 0),
            // A reader that has seen enough (`| head`) is no error.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                gone = true;
                Ok(false)
            }
            Err(error) => Err(Error::permanent("stdout cannot be written to").caused_by(error)),
        }
    };
    records(&archive, &settings, &budget, each).await?;
    match out.flush() {
        Err(error) if !gone && error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::permanent("stdout cannot be written to").caused_by(error))
        }
        _ => Ok(exit::DONE),
    }
}

#[derive(Debug, Serialize)]
struct Files<'a> {
    files: &'a [LogFile],
}

fn files_text(files: &[LogFile]) -> String {
    use Align::{Left, Right};
    let mut table = Table::new(&[("FILE", Left), ("OFFSETS", Left), ("BATCHES", Right), ("BYTES", Right)]);
    for file in files {
        let range = OffsetRange::new(file.base_offset, file.end_offset);
        let path = file.path.display().to_string();
        table.row([path, range.to_string(), file.batches.to_string(), human_bytes(file.bytes)]);
    }
    let mut text = table.to_string();
    let cut: u64 = files.iter().map(|file| file.cut_batches).sum();
    if cut > 0 {
        text.push_str(&format!("\n{cut} batches reach over the range or a fork and were written whole"));
    }
    text
}

/// Bytes in JSON: a string where they are UTF-8.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum JsonBytes<'a> {
    Text(&'a str),
    Other { base64: String },
}

impl<'a> JsonBytes<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Other { base64: STANDARD.encode(bytes) },
        }
    }
}

#[derive(Debug, Serialize)]
struct JsonHeader<'a> {
    key: JsonBytes<'a>,
    value: Option<JsonBytes<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonRecord<'a> {
    topic: &'a Topic,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    timestamp_type: &'static str,
    key: Option<JsonBytes<'a>>,
    value: Option<JsonBytes<'a>>,
    headers: Vec<JsonHeader<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    producer_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<Cow<'static, str>>,
}

fn write_json(
    out: &mut impl Write,
    partition: &TopicPartition,
    record: &DumpedRecord<'_>,
) -> std::io::Result<()> {
    let transaction = transaction(record.fate);
    let header = |(key, value): (_, Option<_>)| JsonHeader {
        key: JsonBytes::of(key),
        value: value.map(JsonBytes::of),
    };
    let shown = JsonRecord {
        topic: &partition.topic,
        partition: partition.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp,
        timestamp_type: if record.log_append_time { "log_append_time" } else { "create_time" },
        key: record.key.map(JsonBytes::of),
        value: record.value.map(JsonBytes::of),
        headers: record.headers.map(header).collect(),
        transaction,
        producer_id: (transaction.is_some() || record.control.is_some()).then_some(record.producer_id),
        control: record.control.map(control_name),
    };
    serde_json::to_writer(&mut *out, &shown)?;
    out.write_all(b"\n")
}

fn write_text(
    out: &mut impl Write,
    partition: &TopicPartition,
    record: &DumpedRecord<'_>,
) -> std::io::Result<()> {
    write!(out, "{partition}@{}  {}  ", record.offset, utc(record.timestamp))?;
    if let Some(control) = record.control {
        return writeln!(out, "{} marker of producer {}", control_name(control), record.producer_id);
    }
    write!(out, "{} = {}", shown(record.key), shown(record.value))?;
    for (n, (key, value)) in record.headers.enumerate() {
        write!(out, "{}{}={}", if n == 0 { "  headers " } else { ", " }, shown(Some(key)), shown(value))?;
    }
    match record.fate {
        BatchFate::Aborted => writeln!(out, "  (aborted)"),
        BatchFate::Undecided => writeln!(out, "  (undecided)"),
        _ => writeln!(out),
    }
}

/// Bytes for people; control characters are escaped, so that no record can play with the terminal.
fn shown(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".to_owned() };
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().any(char::is_control) => text.escape_debug().to_string(),
        Ok("") => "\"\"".to_owned(),
        Ok(text) => text.to_owned(),
        Err(_) => format!("base64:{}", STANDARD.encode(bytes)),
    }
}

fn transaction(fate: BatchFate) -> Option<&'static str> {
    match fate {
        BatchFate::Committed => Some("committed"),
        BatchFate::Aborted => Some("aborted"),
        BatchFate::Undecided => Some("undecided"),
        BatchFate::Plain | BatchFate::Control => None,
    }
}

fn control_name(kind: ControlKind) -> Cow<'static, str> {
    match kind {
        ControlKind::Commit => "commit".into(),
        ControlKind::Abort => "abort".into(),
        other => format!("{other:?}").to_ascii_lowercase().into(),
    }
}
