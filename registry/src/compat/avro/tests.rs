use super::*;
use crate::parse::Strictness;
use serde::Deserialize;
use std::time::Instant;

/// A case of `testdata/compat/avro.json`: whether data of the old schema can be read with the new one.
#[derive(Deserialize)]
struct Case {
    description: String,
    old: serde_json::Value,
    new: serde_json::Value,
    compatible: bool,
    changes: Vec<String>,
}

fn avro(text: &str) -> Avro {
    Avro::parse(text, &[], Strictness::Stored).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn between(reader: &str, writer: &str) -> Vec<Difference> {
    differences(&avro(reader), &avro(writer))
}

#[test]
fn cases_have_the_differences_that_they_name() {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../../../testdata/compat/avro.json")).expect("cases");
    assert!(cases.len() >= 150, "{}", cases.len());
    for case in cases {
        let (old, new) = (case.old.to_string(), case.new.to_string());
        let found = between(&new, &old);
        let changes: Vec<_> = found.iter().map(|found| format!("{} {}", found.rule, found.path)).collect();
        assert_eq!(changes, case.changes, "{}", case.description);
        assert_eq!(found.is_empty(), case.compatible, "{}", case.description);
        for found in found {
            assert!(!found.message.is_empty() && !found.message.ends_with('.'), "{}", found.message);
            assert!(found.confluent.contains("ompatib") || found.confluent.starts_with("{errorType:'"));
        }
    }
}

#[test]
fn differences_are_in_confluents_words() {
    let record =
        |fields: &str| format!(r#"{{"type":"record","name":"R","namespace":"a.b","fields":[{fields}]}}"#);
    let only = |reader: &str, writer: &str| {
        let mut found = between(reader, writer);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    };
    let found = only(&record(r#"{"name":"x","type":"int"}"#), &record(""));
    assert_eq!(
        found.confluent,
        "{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'x' at path '/fields/0' in the %s \
         schema has no default value and is missing in the %s schema', additionalInfo:'x'}"
    );
    assert_eq!(
        found.message,
        "field x: the reader's record a.b.R needs it, but the writer's record a.b.R does not have it and it has no \
         default; give it a default, or name the writer's field in its aliases"
    );
    let found = only("\"int\"", "\"string\"");
    assert_eq!(
        found.confluent,
        "{errorType:'TYPE_MISMATCH', description:'The type (path '/') of a field in the %s schema does not match with \
         the %s schema', additionalInfo:'reader type: INT not compatible with writer type: STRING'}"
    );
    let found = only(
        r#"{"type":"enum","name":"E","symbols":["A"]}"#,
        r#"{"type":"enum","name":"E","symbols":["C","A","B"]}"#,
    );
    assert_eq!(
        found.confluent,
        "{errorType:'MISSING_ENUM_SYMBOLS', description:'The %s schema is missing enum symbols '[B, C]' at path \
         '/symbols' in the %s schema', additionalInfo:'[B, C]'}"
    );
    let found = only(r#"["null","int"]"#, r#"["null","string"]"#);
    assert_eq!(
        found.confluent,
        "{errorType:'MISSING_UNION_BRANCH', description:'The %s schema is missing a type inside a union field at path \
         '/1' in the %s schema', additionalInfo:'reader union lacking writer type: STRING'}"
    );
    let found = only(r#"{"type":"fixed","name":"F","size":4}"#, r#"{"type":"fixed","name":"F","size":8}"#);
    assert_eq!(
        found.confluent,
        "{errorType:'FIXED_SIZE_MISMATCH', description:'The size of FIXED type field at path '/size' in the %s schema \
         does not match with the %s schema', additionalInfo:'expected: 8, found: 4'}"
    );
    let found = only(&record("").replace("\"R\"", "\"S\""), &record(""));
    assert_eq!(
        found.confluent,
        "{errorType:'NAME_MISMATCH', description:'The name of the schema has changed (path '/name')', \
         additionalInfo:'expected: a.b.R'}"
    );
}

#[test]
fn messages_name_the_field_through_unions_and_arrays() {
    let schema = |inner: &str| {
        format!(
            r#"{{"type":"record","name":"User","fields":[{{"name":"address","type":[{{"type":"array","items":
            {{"type":"record","name":"Address","fields":[{{"name":"zip","type":"{inner}"}}]}}}}]}}]}}"#
        )
    };
    // One branch on each side, so that the inside of the branch is what decides.
    let reader =
        schema("int").replace("[{\"type\":\"array\"", "{\"type\":\"array\"").replace("}]}}]}]", "}]}}}]");
    let found = between(&reader, &schema("string"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].path, "/items/fields/0/type");
    assert!(
        found[0].message.starts_with("field address[].zip: the reader expects int"),
        "{}",
        found[0].message
    );
}

/// Every record has two fields of the one before: the list of differences would double with each.
#[test]
fn a_difference_that_is_met_often_is_listed_at_most_a_hundred_times() {
    let schema = |inner: &str| {
        let mut branches =
            vec![format!(r#"{{"type":"record","name":"R0","fields":[{{"name":"x","type":"{inner}"}}]}}"#)];
        for n in 1..60 {
            let before = n - 1;
            branches.push(format!(
                r#"{{"type":"record","name":"R{n}","fields":[{{"name":"a","type":"R{before}"}},{{"name":"b","type":"R{before}"}}]}}"#
            ));
        }
        format!(
            r#"{{"type":"record","name":"All","fields":[{{"name":"u","type":[{}]}},{{"name":"r","type":"R59"}}]}}"#,
            branches.join(",")
        )
    };
    let found = between(&schema("int"), &schema("string"));
    assert_eq!(found.len(), MAX_DIFFERENCES);
}

/// Two cycles of records whose lengths have no common divisor: their pairs are a path as long as the product.
#[test]
fn recursion_ends_on_a_small_stack() {
    let cycle = |length: usize| {
        let mut text = "\"R0\"".to_owned();
        for n in (0..length).rev() {
            text = format!(r#"{{"type":"record","name":"R{n}","fields":[{{"name":"f","type":{text}}}]}}"#);
        }
        avro(&text)
    };
    let (reader, writer) = (cycle(53), cycle(59));
    let run = std::thread::Builder::new().stack_size(2 << 20).spawn(move || differences(&reader, &writer));
    let found = run.expect("a thread").join().expect("no overflow");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].rule, "TOO_LARGE");
    let (reader, writer) = (cycle(7), cycle(5));
    let names: Vec<_> = differences(&reader, &writer).into_iter().map(|found| found.rule).collect();
    assert!(names.iter().all(|rule| *rule == "NAME_MISMATCH"), "{names:?}");
}

/// All records of one union against all of another, none of which fits.
#[test]
fn wide_unions_end() {
    let union = |prefix: &str, inner: &str| {
        let records: Vec<_> = (0..2000)
            .map(|n| {
                format!(
                    r#"{{"type":"record","name":"{prefix}{n}","fields":[{{"name":"a","type":"{inner}"}},{{"name":"b","type":"int"}}]}}"#
                )
            })
            .collect();
        format!("[{}]", records.join(","))
    };
    let found = between(&union("A", "int"), &union("B", "string"));
    assert!(!found.is_empty() && found.len() <= MAX_DIFFERENCES);
}

/// Printed, and bounded far above what it takes: the machine may be busy and the build is not optimised.
#[test]
fn a_schema_of_a_kilobyte_is_compared_in_microseconds() {
    let fields: Vec<_> = (0..16)
        .map(|n| {
            format!(
                r#"{{"name":"field_{n}","type":["null","{}"],"default":null}}"#,
                ["string", "long"][n % 2]
            )
        })
        .collect();
    let text = format!(
        r#"{{"type":"record","name":"Order","namespace":"com.acme","fields":[{}]}}"#,
        fields.join(",")
    );
    let newer = text.replace("]}", r#",{"name":"added","type":"int","default":0}]}"#);
    let (old, new) = (avro(&text), avro(&newer));
    let begin = Instant::now();
    for _ in 0..1000 {
        assert!(differences(&new, &old).is_empty());
    }
    let compared = begin.elapsed() / 1000;
    let begin = Instant::now();
    for _ in 0..1000 {
        avro(&text);
    }
    println!(
        "{} bytes: compared in {compared:?}, parsed and printed in {:?}",
        text.len(),
        begin.elapsed() / 1000
    );
    assert!(compared.as_millis() < 20, "{compared:?}");
}
