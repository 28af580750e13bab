//! Whether data written with one schema can be read with another.
//!
//! Each type has its rules in a file (or a folder of files) of its own: a pure function from a reader's and a writer's
//! schema to the list of [`Difference`]s that make reading fail. Which versions are compared in which direction is
//! decided here, from the level.

pub mod avro;
pub mod json_schema;
pub mod protobuf;

use crate::parse::Parsed;
use crate::settings::{CompatibilityPolicy, Level};
use std::sync::Arc;

/// A reason why a reader cannot read what a writer wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Confluent's name of the rule, as `READER_FIELD_MISSING_DEFAULT_VALUE`.
    pub rule: &'static str,
    /// Where, as a JSON pointer or a dotted path in the form that Confluent uses for the type.
    pub path: String,
    /// What is wrong, with both values, and a fix; one sentence for people.
    pub message: String,
    /// Confluent's own form of the message, for clients that parse it. `%s` stands in it for the word of the reader's schema, and
    /// after that for the writer's: `new` and `old`, or the other way round.
    pub confluent: String,
}

impl Difference {
    fn confluent_form(&self, reader: &str, writer: &str) -> String {
        self.confluent.replacen("%s", reader, 1).replacen("%s", writer, 1)
    }
}

/// An older version to be compared with.
#[derive(Debug, Clone)]
pub struct Older {
    /// Its number.
    pub version: i32,
    /// What it says.
    pub schema: Arc<Parsed>,
}

/// Characters of an older text that a message shows.
const MAX_SHOWN: usize = 10_240;

/// Why a new schema is refused, in words for clients and for people; empty where it is compatible.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Confluent's messages, in its order.
    pub confluent: Vec<String>,
    /// One sentence for each difference: path, rule, both values, a fix.
    pub explained: Vec<String>,
}

impl Verdict {
    /// Whether there is nothing to be said against it.
    pub fn is_compatible(&self) -> bool {
        self.confluent.is_empty()
    }
}

/// What makes a reader fail on what a writer wrote. Schemas of different types have nothing to do with each other.
pub fn differences(reader: &Parsed, writer: &Parsed, policy: CompatibilityPolicy) -> Option<Vec<Difference>> {
    Some(match (reader, writer) {
        (Parsed::Avro(reader), Parsed::Avro(writer)) => avro::differences(reader, writer),
        (Parsed::Json(reader), Parsed::Json(writer)) => {
            let policy = match policy {
                CompatibilityPolicy::Lenient => json_schema::Policy::Lenient,
                CompatibilityPolicy::Strict | CompatibilityPolicy::Logical => json_schema::Policy::Strict,
            };
            json_schema::differences(reader, writer, policy)
        }
        (Parsed::Protobuf(reader), Parsed::Protobuf(writer)) => protobuf::differences(reader, writer),
        _ => return None,
    })
}

/// Compares a new schema with older versions, given by rising number, as the level asks for: with the last one or with all
/// of them, the newest first, until one does not fit.
pub fn judge(level: Level, policy: CompatibilityPolicy, new: &Parsed, older: &[Older]) -> Verdict {
    if level == Level::None {
        return Verdict::default();
    }
    let count = if level.is_transitive() { older.len() } else { older.len().min(1) };
    for old in older.iter().rev().take(count) {
        let verdict = compare(level, policy, new, old);
        if !verdict.is_compatible() {
            return verdict;
        }
    }
    Verdict::default()
}

fn compare(level: Level, policy: CompatibilityPolicy, new: &Parsed, old: &Older) -> Verdict {
    let mut verdict = Verdict::default();
    let directions = [(level.is_forward(), &*old.schema, new), (level.is_backward(), new, &*old.schema)];
    for (number, (_, reader, writer)) in directions.into_iter().enumerate().filter(|(_, (asked, ..))| *asked)
    {
        let Some(found) = differences(reader, writer, policy) else {
            let (one, other) = (new.schema_type(), old.schema.schema_type());
            verdict.confluent = vec!["Incompatible because of different schema type".to_owned()];
            verdict.explained = vec![format!(
                "version {} is {other} and the new schema is {one}: use another subject for another type",
                old.version
            )];
            return verdict;
        };
        if found.is_empty() {
            continue;
        }
        let direction = if number == 0 { "cannot read the new schema's data" } else { "data cannot be read" };
        verdict.explained.extend(
            found
                .iter()
                .map(|difference| format!("version {}: {direction}: {}", old.version, difference.message)),
        );
        let (reader, writer) = if number == 0 { ("old", "new") } else { ("new", "old") };
        verdict.confluent.extend(found.iter().map(|difference| difference.confluent_form(reader, writer)));
        // Of a check in both directions, only the backward one says which version it was.
        if number == 1 || !level.is_backward() {
            verdict.confluent.push(format!("{{oldSchemaVersion: {}}}", old.version));
            verdict.confluent.push(shown(old.schema.canonical()));
        }
    }
    verdict
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{{oldSchema: <truncated> '{}...'}}", &text[..end]),
        None => format!("{{oldSchema: '{text}'}}"),
    }
}
