use super::Reader;
use crate::parse::{Parsed, Strictness};
use crate::schema::{Dependency, SchemaType};

mod avro;
mod json;
mod protobuf;

type Payloads<'a> = &'a [&'a [u8]];

fn reader(kind: SchemaType, text: &str, dependencies: &[(&str, &str)]) -> Result<Reader, String> {
    let dependencies: Vec<_> = dependencies.iter().map(|(name, text)| Dependency { name, text }).collect();
    Reader::of(&Parsed::parse(kind, text, &dependencies, Strictness::Stored).expect("a schema"))
}

/// SplitMix64: what fills messages of a shape that proptest has chosen.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Of any magnitude, not only large.
    fn number(&mut self) -> u64 {
        let shift = self.below(64);
        self.next() >> shift
    }

    fn text(&mut self) -> String {
        (0..self.below(4)).map(|_| ['a', '\0', 'ß', '😀'][self.below(4)]).collect()
    }
}

fn unsigned(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn signed(number: i64, out: &mut Vec<u8>) {
    unsigned(((number << 1) ^ (number >> 63)) as u64, out);
}

fn prefixed(bytes: &[u8], out: &mut Vec<u8>) {
    signed(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

#[test]
fn a_reader_is_shared_between_threads_and_says_what_it_holds() {
    fn is_shared<T: Send + Sync + std::fmt::Debug>(_: &T) {}
    let small = reader(SchemaType::Avro, "\"int\"", &[]).expect("a reader");
    is_shared(&small);
    assert!(small.is_evidence());
    assert!(!reader(SchemaType::Avro, "\"bytes\"", &[]).expect("a reader").is_evidence());
    let fields: Vec<_> = (0..1000).map(|n| format!(r#"{{"name":"f{n}","type":"int"}}"#)).collect();
    let avro = format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","));
    let fields: String = (1..=1000).map(|n| format!("int32 f{n} = {n};")).collect();
    let protobuf = format!("syntax = \"proto3\"; message R {{ {fields} }}");
    for (kind, text) in [(SchemaType::Avro, avro), (SchemaType::Protobuf, protobuf)] {
        let weight = reader(kind, &text, &[]).expect("a reader").weight();
        assert!((8_000..64_000).contains(&weight), "{kind}: {weight}");
        assert!(small.weight() < 1000);
    }
}
