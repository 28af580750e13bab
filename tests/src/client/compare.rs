//! Whether two readings are the same, and if not, where and how.

use super::Rec;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// How many differences a partition's report shows.
const SHOWN: usize = 8;
/// How many bytes of a key or value a report shows.
const SHOWN_BYTES: usize = 32;
/// How far ahead a record is looked for that is not where it should be.
const LOOK_AHEAD: usize = 200;

/// What must be equal, beside key, value, headers and timestamp of every record and their order in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// Offsets and the kind of timestamp.
    Everything,
    /// The kind of timestamp; offsets may differ, as after a restore that closes holes.
    Content,
    /// Neither: a restored LogAppendTime topic shows the same times as CreateTime.
    ContentAndTimes,
}

/// How many differences of a partition are worth looking for.
const ENOUGH: usize = 1000;

/// Compares two readings of a topic, partition by partition.
///
/// # Errors
/// What differs: per partition, how many records there are and the first few differences.
pub fn compare(expected: &[Rec], actual: &[Rec], compared: Compared) -> Result<(), String> {
    let partitions: BTreeSet<i32> = expected.iter().chain(actual).map(|record| record.partition).collect();
    let mut report = String::new();
    for partition in partitions {
        let of = |records: &[Rec]| {
            records.iter().filter(|record| record.partition == partition).cloned().collect()
        };
        let (left, right): (Vec<Rec>, Vec<Rec>) = (of(expected), of(actual));
        let differences = differences(&left, &right, compared);
        if differences.is_empty() {
            continue;
        }
        let _ = writeln!(
            report,
            "partition {partition}: {}{} differences, {} records expected, {} found",
            if differences.len() < ENOUGH { "" } else { "at least " },
            differences.len(),
            left.len(),
            right.len()
        );
        for difference in differences.iter().take(SHOWN) {
            let _ = writeln!(report, "  {difference}");
        }
        if differences.len() > SHOWN {
            let _ = writeln!(report, "  and {} more", differences.len() - SHOWN);
        }
    }
    if report.is_empty() { Ok(()) } else { Err(report) }
}

/// As [`compare`].
///
/// # Panics
/// When the readings differ, with the report.
pub fn assert_same(topic: &str, expected: &[Rec], actual: &[Rec], compared: Compared) {
    if let Err(report) = compare(expected, actual, compared) {
        panic!("topic {topic} differs\n{report}");
    }
}

/// Walks both in step; after a difference it looks for the nearest place where they meet again.
fn differences(expected: &[Rec], actual: &[Rec], compared: Compared) -> Vec<String> {
    let mut found = Vec::new();
    let (mut left, mut right) = (0, 0);
    while (left < expected.len() || right < actual.len()) && found.len() < ENOUGH {
        match (expected.get(left), actual.get(right)) {
            (Some(want), Some(have)) => {
                let fields = fields(want, have, compared);
                if fields.is_empty() {
                    left += 1;
                    right += 1;
                } else if let Some(skip) = meet(have, &expected[left..], compared) {
                    expected[left..left + skip]
                        .iter()
                        .for_each(|record| found.push(format!("missing {}", show(record))));
                    left += skip;
                } else if let Some(skip) = meet(want, &actual[right..], compared) {
                    actual[right..right + skip]
                        .iter()
                        .for_each(|record| found.push(format!("not expected {}", show(record))));
                    right += skip;
                } else {
                    found.push(format!(
                        "offset {} (found at {}): {}",
                        want.offset,
                        have.offset,
                        fields.join("; ")
                    ));
                    left += 1;
                    right += 1;
                }
            }
            (Some(want), None) => {
                found.push(format!("missing {}", show(want)));
                left += 1;
            }
            (None, Some(have)) => {
                found.push(format!("not expected {}", show(have)));
                right += 1;
            }
            (None, None) => break,
        }
    }
    found
}

fn meet(wanted: &Rec, others: &[Rec], compared: Compared) -> Option<usize> {
    others.iter().take(LOOK_AHEAD).position(|other| fields(wanted, other, compared).is_empty())
}

fn fields(want: &Rec, have: &Rec, compared: Compared) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ =
        |name: &str, want: String, have: String| found.push(format!("{name} {want} became {have}"));
    if compared == Compared::Everything && want.offset != have.offset {
        differ("offset", want.offset.to_string(), have.offset.to_string());
    }
    if want.timestamp != have.timestamp {
        differ("timestamp", want.timestamp.to_string(), have.timestamp.to_string());
    }
    if compared != Compared::ContentAndTimes && want.ts_type != have.ts_type {
        differ("timestamp type", format!("{:?}", want.ts_type), format!("{:?}", have.ts_type));
    }
    if want.key != have.key {
        differ("key", bytes(want.key.as_deref()), bytes(have.key.as_deref()));
    }
    if want.value != have.value {
        differ("value", bytes(want.value.as_deref()), bytes(have.value.as_deref()));
    }
    if want.headers != have.headers {
        differ("headers", headers(want), headers(have));
    }
    found
}

fn show(record: &Rec) -> String {
    format!(
        "offset {}, timestamp {}, key {}, value {}, {} headers",
        record.offset,
        record.timestamp,
        bytes(record.key.as_deref()),
        bytes(record.value.as_deref()),
        record.headers.len()
    )
}

fn headers(record: &Rec) -> String {
    let shown: Vec<String> =
        record.headers.iter().map(|(name, value)| format!("{name}={}", bytes(value.as_deref()))).collect();
    format!("[{}]", shown.join(", "))
}

fn bytes(value: Option<&[u8]>) -> String {
    let Some(value) = value else { return "null".to_owned() };
    let shown = value[..value.len().min(SHOWN_BYTES)].escape_ascii();
    if value.len() > SHOWN_BYTES {
        format!("\"{shown}...\" ({} bytes)", value.len())
    } else {
        format!("\"{shown}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::TimestampKind;

    fn record(offset: i64, value: &str) -> Rec {
        Rec {
            partition: 0,
            offset,
            timestamp: 5,
            ts_type: TimestampKind::CreateTime,
            key: None,
            value: Some(value.into()),
            headers: vec![("h".to_owned(), None)],
        }
    }

    #[test]
    fn names_what_is_missing_and_goes_on_behind_it() {
        let expected = [record(0, "a"), record(1, "b"), record(2, "c")];
        let report = compare(&expected, &[record(0, "a"), record(2, "c")], Compared::Everything).unwrap_err();
        assert!(report.contains("1 differences, 3 records expected, 2 found"), "{report}");
        assert!(report.contains("missing offset 1"), "{report}");
    }

    #[test]
    fn offsets_count_only_when_everything_does() {
        let (expected, actual) = ([record(7, "a")], [record(0, "a")]);
        assert!(compare(&expected, &actual, Compared::Content).is_ok());
        let report = compare(&expected, &actual, Compared::Everything).unwrap_err();
        assert!(report.contains("offset 7 became 0"), "{report}");
    }

    #[test]
    fn a_null_header_is_not_an_empty_one() {
        let mut actual = record(0, "a");
        actual.headers[0].1 = Some(Vec::new());
        let report = compare(&[record(0, "a")], &[actual], Compared::Content).unwrap_err();
        assert!(report.contains("headers [h=null] became [h=\"\"]"), "{report}");
    }
}
