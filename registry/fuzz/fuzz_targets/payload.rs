//! Any bytes as a message of some schema: one of these, or one that stands in front of the bytes, before a zero byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::parse::{Parsed, Strictness};
use registry::payload::Reader;
use registry::schema::SchemaType;
use std::sync::OnceLock;

const SCHEMAS: [(SchemaType, &str); 7] = [
    (SchemaType::Avro, "\"string\""),
    (SchemaType::Avro, r#"{"type":"array","items":{"type":"map","values":["null","int","double"]}}"#),
    (
        SchemaType::Avro,
        r#"{"type":"record","name":"A","fields":[{"name":"a","type":["null","A"]},{"name":"b","type":"boolean"},
            {"name":"c","type":{"type":"enum","name":"C","symbols":["x","y"]}},{"name":"d","type":{"type":"array","items":"A"}},
            {"name":"e","type":{"type":"fixed","name":"E","size":3}},{"name":"f","type":{"type":"array","items":"null"}}]}"#,
    ),
    (SchemaType::Json, "{}"),
    (
        SchemaType::Protobuf,
        r#"syntax = "proto3"; message A { A a = 1; map<string, A> b = 2; repeated sint32 c = 3; string d = 4; double e = 5;
            message B { bool f = 1; fixed32 g = 2; } repeated B h = 6; bytes i = 7; int32 j = 8; }"#,
    ),
    (
        SchemaType::Protobuf,
        r#"message A { repeated group B = 1 { optional B c = 2; optional A d = 3; } optional string e = 4; extensions 9; }
            message F { enum G { H = 0; } repeated G i = 1 [packed = true]; }"#,
    ),
    (
        SchemaType::Protobuf,
        r#"syntax = "proto3"; import "google/protobuf/struct.proto"; import "google/protobuf/timestamp.proto";
            message A { google.protobuf.Struct a = 1; google.protobuf.Timestamp b = 2; }"#,
    ),
];

fn reader(kind: SchemaType, text: &str) -> Option<Reader> {
    Reader::of(&Parsed::parse(kind, text, &[], Strictness::Stored).ok()?).ok()
}

/// What can never be: a datum of Avro before or inside another one. Only `bytes` alone says nothing about its end.
fn check(reader: &Reader, kind: SchemaType, payload: &[u8]) {
    let reads = [true, false].map(|indexes_first| reader.reads(payload, indexes_first));
    if kind != SchemaType::Avro || !reads[0] || (reader.reads(&[1], true) && reader.reads(&[1, 1], true)) {
        return;
    }
    for end in payload.len().saturating_sub(64)..payload.len() {
        assert!(!reader.reads(&payload[..end], true));
    }
    assert!(!reader.reads(&[payload, &[0]].concat(), true));
}

fuzz_target!(|data: &[u8]| {
    static READERS: OnceLock<Vec<Reader>> = OnceLock::new();
    let readers = READERS
        .get_or_init(|| SCHEMAS.iter().map(|(kind, text)| reader(*kind, text).expect("a schema")).collect());
    let Some((choice, rest)) = data.split_first() else { return };
    let known = usize::from(*choice);
    if let Some(reader) = readers.get(known) {
        return check(reader, SCHEMAS[known].0, rest);
    }
    let kind = SchemaType::ALL[known % 3];
    let Some(end) = rest.iter().position(|byte| *byte == 0) else { return };
    let Ok(text) = std::str::from_utf8(&rest[..end]) else { return };
    if let Some(reader) = reader(kind, text) {
        check(&reader, kind, &rest[end + 1..]);
    }
});
