use super::{Payloads, Random, prefixed, reader, signed};
use crate::payload::Reader;
use crate::payload::avro::{MAX_DEPTH, MAX_ITEMS};
use crate::schema::SchemaType;
use proptest::prelude::*;
use serde_json::{Value, json};

fn of(schema: &str) -> Reader {
    reader(SchemaType::Avro, schema, &[]).expect("a reader")
}

/// A node of a list, or the end of it.
const LIST: &str = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;

#[test]
fn a_datum_is_read_to_its_end() {
    let cases: [(&str, Payloads<'_>, Payloads<'_>); 15] = [
        (r#""null""#, &[b""], &[b"\0"]),
        (r#""boolean""#, &[b"\0", b"\x01"], &[b"", b"\x02", b"\0\0"]),
        (
            r#""int""#,
            &[b"\0", b"\xff\xff\xff\xff\x0f", b"\xfe\xff\xff\xff\x0f", b"\x80\0"],
            &[b"", b"\x80", b"\x80\x80\x80\x80\x10", b"\x80\x80\x80\x80\x80\0", b"\0\0"],
        ),
        (
            r#""long""#,
            &[b"\0", b"\x80\x80\x80\x80\x10", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"],
            &[b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\0"],
        ),
        (r#""float""#, &[b"abcd"], &[b"abc", b"abcde"]),
        (r#""double""#, &[b"abcdefgh"], &[b"abcdefg", b"abcdefghi"]),
        (r#""string""#, &[b"\0", b"\x04\xc3\xbc"], &[b"\x04\xc3", b"\x04\xc3\xc3", b"\x01", b"\x02ab", b""]),
        (r#"{"type":"fixed","name":"F","size":2}"#, &[b"ab"], &[b"a", b"abc"]),
        (r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, &[b"\0", b"\x02"], &[b"\x04", b"\x01", b""]),
        (
            r#"{"type":"array","items":"int"}"#,
            &[b"\0", b"\x04\x02\x04\0", b"\x03\x04\x02\x04\0", b"\x02\x02\x02\x04\0"],
            // One item less and more than there is room for, no end, a size below zero.
            &[
                b"\x02\x02\x04\0",
                b"\x01\x04\x02\x04\0",
                b"\x05\x04\x02\x04\0",
                b"\x02\x02",
                b"\x03\x01\x02\x04\0",
            ],
        ),
        (
            r#"{"type":"map","values":"boolean"}"#,
            &[b"\0", b"\x02\x02k\x01\0", b"\x01\x06\x02k\x01\0"],
            &[b"\x02\x02\xff\x01\0", b"\x02\x02k\x02\0", b"\x02\x02k\x01", b"\x01\x08\x02k\x01\0"],
        ),
        (r#"["null","string"]"#, &[b"\0", b"\x02\x02a"], &[b"\x04", b"\x01", b"\x02", b"\0\0"]),
        (r#"[]"#, &[], &[b"", b"\0"]),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"bytes"},{"name":"n","type":"null"},
                {"name":"b","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#,
            &[b"\x02\xff\x02"],
            &[b"\x02\xff", b"\xff", b"\x04\xff\x02"],
        ),
        (LIST, &[b"\0", b"\x02\x02\0"], &[b"\x02\x02", b"\x02\0\0"]),
    ];
    for (schema, right, wrong) in cases {
        let reader = of(schema);
        for payload in right {
            assert!(reader.reads(payload, true), "{schema}: {payload:?}");
            assert!(reader.reads(payload, false), "{schema}: {payload:?}");
        }
        for payload in wrong {
            assert!(!reader.reads(payload, true), "{schema}: {payload:?}");
        }
    }
}

#[test]
fn bytes_alone_are_written_without_their_length() {
    for schema in [r#""bytes""#, r#"{"type":"bytes","logicalType":"decimal","precision":4}"#] {
        let reader = of(schema);
        for payload in [&b""[..], b"\x02a", b"a", b"\xff\xff"] {
            assert!(reader.reads(payload, true), "{payload:?}");
        }
    }
    // With anything around them they have one.
    assert!(!of(r#"["bytes"]"#).reads(b"\0\xff\xff", true));
    assert!(of(r#"["bytes"]"#).reads(b"\0\x02\xff", true));
}

#[test]
fn types_of_references_are_known() {
    let named = r#"{"type":"fixed","name":"a.F","size":2}"#;
    let schema =
        r#"{"type":"record","name":"R","fields":[{"name":"f","type":"a.F"},{"name":"g","type":"a.F"}]}"#;
    let reader = reader(SchemaType::Avro, schema, &[("a.F", named)]).expect("a reader");
    assert!(reader.reads(b"abcd", true));
    assert!(!reader.reads(b"abc", true));
}

#[test]
fn items_without_bytes_take_no_time() {
    let empty = r#"{"type":"record","name":"R","fields":[{"name":"n","type":"null"}]}"#;
    for items in [r#""null""#, empty, r#"{"type":"fixed","name":"F","size":0}"#] {
        let reader = of(&format!(r#"{{"type":"array","items":{items}}}"#));
        let reads = |count: i64| {
            let mut payload = Vec::new();
            signed(count, &mut payload);
            if count < 0 {
                payload.push(0);
            }
            payload.push(0);
            reader.reads(&payload, true)
        };
        assert!(reads(3) && reads(-3) && reads(MAX_ITEMS as i64));
        assert!(!reads(1 << 60) && !reads(i64::MAX) && !reads(i64::MIN) && !reads(-1 - MAX_ITEMS as i64));
    }
}

#[test]
fn records_that_double_take_no_time() {
    // Fifty records, each with the next one twice: the last of them is there 2^49 times.
    let doubled = |last: &str| {
        (0..49).rev().fold(format!(r#"{{"type":"record","name":"R49","fields":[{last}]}}"#), |inner, n| {
            let again = format!("R{}", n + 1);
            format!(
                r#"{{"type":"record","name":"R{n}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":"{again}"}}]}}"#
            )
        })
    };
    assert!(of(&doubled("")).reads(b"", true));
    assert!(of(&doubled(r#"{"name":"n","type":"null"}"#)).reads(b"", true));
    assert!(!of(&doubled(r#"{"name":"n","type":"boolean"}"#)).reads(&[0; 1000], true));
}

#[test]
fn what_has_no_end_is_no_datum() {
    let endless = r#"{"type":"record","name":"R","fields":[{"name":"n","type":"null"},{"name":"a","type":"R"},{"name":"b","type":"R"}]}"#;
    for payload in [&b""[..], b"\0", &[0; 10_000]] {
        assert!(!of(endless).reads(payload, true));
    }
    let circle = r#"{"type":"record","name":"A","fields":[{"name":"b","type":{"type":"record","name":"B","fields":[{"name":"a","type":"A"}]}}]}"#;
    assert!(!of(circle).reads(b"", true));
}

#[test]
fn depth_is_bounded() {
    let list = of(LIST);
    let nodes = |count: usize| {
        let mut payload = vec![2; count - 1];
        payload.push(0);
        list.reads(&payload, true)
    };
    // A node is two types, and the last one's union holds a null.
    let most = (MAX_DEPTH as usize - 1) / 2;
    assert!(nodes(most));
    assert!(!nodes(most + 2));
    assert!(!nodes(1_000_000));
    let tree =
        of(r#"{"type":"record","name":"T","fields":[{"name":"t","type":{"type":"array","items":"T"}}]}"#);
    assert!(!tree.reads(&[2; 1_000_000], true));
    // As deep as a schema can be.
    let deep = r#"{"type":"array","items":"#.repeat(190) + r#""int""# + &"}".repeat(190);
    let mut payload = vec![2; 190];
    payload.push(7);
    payload.extend([0; 190]);
    assert!(of(&deep).reads(&payload, true));
}

/// A type with all that is needed to write data of it.
#[derive(Debug, Clone)]
enum Shape {
    Named(&'static str),
    Fixed(usize),
    Enum(usize),
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
    Record(Vec<Shape>),
    /// A record with a field and perhaps another record of its own type.
    List(Box<Shape>),
}

impl Shape {
    fn json(&self, names: &mut usize) -> Value {
        *names += 1;
        let name = format!("N{names}");
        let field = |n: usize, kind: Value| json!({"name": format!("f{n}"), "type": kind});
        match self {
            Self::Named(name) => json!(name),
            Self::Fixed(size) => json!({"type": "fixed", "name": name, "size": size}),
            Self::Enum(count) => {
                let symbols: Vec<_> = (0..*count).map(|n| format!("S{n}")).collect();
                json!({"type": "enum", "name": name, "symbols": symbols})
            }
            Self::Array(items) => json!({"type": "array", "items": items.json(names)}),
            Self::Map(values) => json!({"type": "map", "values": values.json(names)}),
            Self::Union(branches) => {
                // Each in a record of its own, so that no two are alike.
                let branch = |shape: &Self, names: &mut usize| Self::Record(vec![shape.clone()]).json(names);
                branches.iter().map(|shape| branch(shape, names)).collect()
            }
            Self::Record(fields) => {
                let fields = fields.iter().enumerate().map(|(n, shape)| field(n, shape.json(names)));
                json!({"type": "record", "name": name, "fields": fields.collect::<Vec<_>>()})
            }
            Self::List(inner) => {
                let fields = [field(0, inner.json(names)), field(1, json!(["null", name]))];
                json!({"type": "record", "name": name, "fields": fields})
            }
        }
    }

    fn write(&self, random: &mut Random, out: &mut Vec<u8>) {
        match self {
            Self::Named("null") => {}
            Self::Named("boolean") => out.push(random.below(2) as u8),
            Self::Named("int") => signed(i64::from(random.number() as i32), out),
            Self::Named("long") => signed(random.number() as i64, out),
            Self::Named("float") => out.extend((random.next() as u32).to_le_bytes()),
            Self::Named("double") => out.extend(random.next().to_le_bytes()),
            Self::Named("string") => prefixed(random.text().as_bytes(), out),
            Self::Named(_) => prefixed(&random.next().to_le_bytes()[random.below(8)..], out),
            Self::Fixed(size) => out.extend(std::iter::repeat_n(random.next() as u8, *size)),
            Self::Enum(count) => signed(random.below(*count) as i64, out),
            Self::Array(items) => blocks(random, out, |random, out| items.write(random, out)),
            Self::Map(values) => blocks(random, out, |random, out| {
                prefixed(random.text().as_bytes(), out);
                values.write(random, out);
            }),
            Self::Union(branches) => {
                let branch = random.below(branches.len());
                signed(branch as i64, out);
                branches[branch].write(random, out);
            }
            Self::Record(fields) => fields.iter().for_each(|field| field.write(random, out)),
            Self::List(inner) => {
                inner.write(random, out);
                while random.below(2) == 1 {
                    out.push(2);
                    inner.write(random, out);
                }
                out.push(0);
            }
        }
    }
}

/// Some blocks of some items, with or without their sizes.
fn blocks(random: &mut Random, out: &mut Vec<u8>, mut item: impl FnMut(&mut Random, &mut Vec<u8>)) {
    for _ in 0..random.below(3) {
        let count = 1 + random.below(3) as i64;
        let mut block = Vec::new();
        (0..count).for_each(|_| item(random, &mut block));
        if random.below(2) == 0 {
            signed(count, out);
            out.extend(block);
        } else {
            signed(-count, out);
            prefixed(&block, out);
        }
    }
    out.push(0);
}

fn shape() -> impl Strategy<Value = Shape> {
    let names = vec!["null", "boolean", "int", "long", "float", "double", "string", "bytes"];
    let leaf = prop_oneof![
        4 => prop::sample::select(names).prop_map(Shape::Named),
        1 => (0..20_usize).prop_map(Shape::Fixed),
        1 => (1..100_usize).prop_map(Shape::Enum),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|items| Shape::Array(Box::new(items))),
            inner.clone().prop_map(|values| Shape::Map(Box::new(values))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Shape::Union),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Shape::Record),
            inner.prop_map(|inner| Shape::List(Box::new(inner))),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_a_datum_and_its_parts_are_none(shape in shape(), seed in any::<u64>(), behind in any::<u8>()) {
        // Whatever is `bytes` alone says nothing about its end.
        prop_assume!(!matches!(shape, Shape::Named("bytes")));
        let reader = of(&shape.json(&mut 0).to_string());
        let mut payload = Vec::new();
        shape.write(&mut Random(seed), &mut payload);
        prop_assert!(reader.reads(&payload, true), "{:?}", payload);
        for end in 0..payload.len() {
            prop_assert!(!reader.reads(&payload[..end], true), "{:?} to {}", payload, end);
        }
        payload.push(behind);
        prop_assert!(!reader.reads(&payload, true), "{:?}", payload);
    }

    #[test]
    fn any_bytes_are_answered(shape in shape(), bytes in prop::collection::vec(any::<u8>(), 0..100), low in 1..=u8::MAX) {
        let reader = of(&shape.json(&mut 0).to_string());
        reader.reads(&bytes, true);
        // Small numbers lead further.
        let small: Vec<u8> = bytes.iter().map(|byte| byte % low).collect();
        reader.reads(&small, true);
    }
}
