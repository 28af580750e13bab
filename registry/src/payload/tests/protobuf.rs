use super::{Payloads, Random, reader, signed, unsigned};
use crate::parse::Strictness;
use crate::parse::protobuf::Protobuf;
use crate::payload::Reader;
use crate::payload::protobuf::MAX_DEPTH;
use crate::schema::SchemaType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use prost::Message as _;
use protox::prost_reflect::{DescriptorPool, DynamicMessage};
use std::collections::BTreeMap;

fn of(text: &str) -> Reader {
    reader(SchemaType::Protobuf, text, &[]).expect("a reader")
}

/// Whether it is a message of the first type, told in each way that there is.
fn reads_first(reader: &Reader, payload: &[u8]) -> bool {
    let reads = reader.reads(&[b"\0", payload].concat(), true);
    assert_eq!(reader.reads(&[b"\x02\0", payload].concat(), true), reads);
    // A file of several types may have another one.
    assert!(!reads || reader.reads(payload, false));
    reads
}

#[test]
fn each_type_has_its_wire_type_and_values() {
    let longest = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    let cases: [(&str, Payloads<'_>, Payloads<'_>); 14] = [
        // -1 in ten bytes, and in five as some writers have it; then more than 32 bits, and more than 64.
        (
            "int32",
            &[b"", b"\x08\0", longest, b"\x08\xff\xff\xff\xff\x0f", b"\x08\x80\0", b"\x08\x01\x08\x02"],
            &[
                b"\x08",
                b"\x08\x80",
                b"\x08\xff\xff\xff\xff\x1f",
                b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x03",
                b"\x0a\x01\0",
                b"\x0d\0\0\0\0",
                b"\x09\0\0\0\0\0\0\0\0",
                b"\x0b\x0c",
            ],
        ),
        ("E", &[b"\x08\x02", longest], &[b"\x08\xff\xff\xff\xff\x1f", b"\x0a\0"]),
        ("int64", &[longest], &[b"\x0a\0"]),
        ("uint32", &[b"\x08\xff\xff\xff\xff\x0f"], &[longest, b"\x08\xff\xff\xff\xff\x1f"]),
        ("sint32", &[b"\x08\xff\xff\xff\xff\x0f"], &[longest]),
        ("uint64", &[longest], &[b"\x0d\0\0\0\0"]),
        ("bool", &[b"\x08\0", b"\x08\x01"], &[b"\x08\x02", longest]),
        ("float", &[b"\x0d\0\0\0\0"], &[b"\x0d\0\0\0", b"\x08\0", b"\x09\0\0\0\0\0\0\0\0"]),
        ("sfixed64", &[b"\x09\0\0\0\0\0\0\0\0"], &[b"\x09\0\0\0\0\0\0\0", b"\x08\0"]),
        ("string", &[b"\x0a\0", b"\x0a\x02\xc3\xbc"], &[b"\x0a\x01", b"\x0a\x01\xc3", b"\x08\0"]),
        (
            "bytes",
            &[b"\x0a\x01\xff"],
            &[b"\x0a\x02\xff", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x08\0"],
        ),
        ("A", &[b"\x0a\0", b"\x0a\x02\x0a\0"], &[b"\x0a\x02\x08\0", b"\x0a\x01\x0a", b"\x0b\x0c", b"\x08\0"]),
        (
            "repeated sint64",
            &[b"\x08\0\x08\0", b"\x0a\x03\0\x80\x01", b"\x0a\0\x08\0"],
            &[b"\x0a\x01\x80", b"\x0d\0\0\0\0"],
        ),
        (
            "map<string, E>",
            &[b"\x0a\0", b"\x0a\x05\x0a\x01k\x10\x02", b"\x0a\x02\x10\x02"],
            &[b"\x0a\x02\x08\0", b"\x0a\x03\x0a\x01\xff", b"\x08\0"],
        ),
    ];
    for (kind, right, wrong) in cases {
        let text = format!("syntax = \"proto3\"; message A {{ {kind} a = 1; }} enum E {{ Z = 0; }}");
        let reader = of(&text);
        for payload in right {
            assert!(reads_first(&reader, payload), "{kind}: {payload:?}");
        }
        for payload in wrong {
            assert!(!reads_first(&reader, payload), "{kind}: {payload:?}");
            assert!(!reader.reads(payload, false), "{kind}: {payload:?}");
        }
    }
}

#[test]
fn strings_of_proto2_may_be_anything() {
    let reader = of("message A { optional string a = 1; repeated string b = 2; }");
    assert!(reads_first(&reader, b"\x0a\x01\xff\x12\x01\xff"));
}

#[test]
fn unknown_fields_must_be_fields() {
    let reader = of("syntax = \"proto3\"; message A {}");
    let right: [&[u8]; 7] = [
        b"\x08\x01",
        b"\x09\0\0\0\0\0\0\0\0",
        b"\x0a\x01\xff",
        b"\x0d\0\0\0\0",
        b"\x0b\x08\x01\x13\x14\x0c",
        // The largest number, and a key that is longer than it needs to be.
        b"\xf8\xff\xff\xff\x0f\0",
        b"\x88\0\0",
    ];
    for payload in right {
        assert!(reads_first(&reader, payload), "{payload:?}");
    }
    let wrong: [&[u8]; 13] = [
        b"\0",
        b"\0\0",
        b"\x02\0",
        b"\x08",
        b"\x09\0\0\0\0\0\0\0",
        b"\x0a\x02\xff",
        b"\x0d\0\0\0",
        b"\x0e",
        b"\x0f\0",
        // Ends of groups that did not begin, or of others; no end.
        b"\x0c",
        b"\x0b\x14",
        b"\x0b\x08\x01",
        b"\xf8\xff\xff\xff\x1f\0",
    ];
    for payload in wrong {
        assert!(!reads_first(&reader, payload), "{payload:?}");
    }
}

#[test]
fn groups_are_messages_up_to_their_end() {
    let reader = of(
        "message A { repeated group B = 1 { optional int32 b = 1; optional B c = 2; } oneof o { group D = 3 { required E e = 1; } }
         message E { optional fixed32 f = 1; } }",
    );
    for payload in
        [&b"\x0b\x0c"[..], b"\x0b\x08\x01\x0c\x0b\x12\x02\x08\x01\x0c", b"\x1b\x0a\x05\x0d\0\0\0\0\x1c"]
    {
        assert!(reads_first(&reader, payload), "{payload:?}");
    }
    for payload in [
        &b"\x0b"[..],
        b"\x0b\x14",
        b"\x0b\x0a\0\x0c",
        b"\x0a\0",
        b"\x1b\x0a\x02\x08\0\x1c",
        b"\x0b\x12\x01\x0c\x0c",
    ] {
        assert!(!reads_first(&reader, payload), "{payload:?}");
    }
}

#[test]
fn indexes_lead_to_a_type() {
    let reader = of("syntax = \"proto3\";
         message A { int32 a = 1; enum X { Y = 0; } message B { string b = 1; }
             message C { double c = 1; message D { fixed32 d = 1; } } }
         enum Z { W = 0; }
         message E { bytes e = 1; }");
    let bodies: [(&str, &[u8]); 5] = [
        ("A", b"\x08\x01"),
        ("B", b"\x0a\x01b"),
        ("C", b"\x09\0\0\0\0\0\0\0\0"),
        ("D", b"\x0d\0\0\0\0"),
        ("E", b"\x0a\x01\xff"),
    ];
    let cases: [(&[u8], &[&str]); 16] = [
        (b"\0", &["A"]),
        (b"\x02\0", &["A"]),
        (b"\x02\x02", &["B", "E"]),
        (b"\x04\0\0", &["B"]),
        (b"\x04\0\x02", &["C"]),
        (b"\x06\0\x02\0", &["D"]),
        // Beyond what there is, below 0, too long, more than the bytes hold.
        (b"\x02\x04", &[]),
        (b"\x04\0\x04", &[]),
        (b"\x06\0\0\0", &[]),
        (b"\x04\x02\0", &[]),
        (b"\x01\0", &[]),
        (b"\x02\x01", &[]),
        (b"\x80\0", &[]),
        (b"\x02\x80\0", &[]),
        (b"\x80\x80\x80\x80\x10", &[]),
        (b"\xfe\xff\xff\xff\x0f\0\0", &[]),
    ];
    for (indexes, types) in cases {
        for (name, body) in bodies {
            let payload = [indexes, body].concat();
            assert_eq!(reader.reads(&payload, true), types.contains(&name), "{indexes:?}, {name}");
        }
    }
    assert!(!reader.reads(b"", true));
    assert!(reader.reads(b"", false));
    for (name, body) in bodies {
        assert!(reader.reads(body, false), "{name}");
    }
    assert!(!reader.reads(b"\x0b\x0c", false));
}

#[test]
fn indexes_may_count_what_only_a_descriptor_has() {
    // Writers count the message of the map, which precedes or follows B, and that of the group.
    let text =
        "message A { map<string, string> m = 1; optional group G = 2 {} message B { optional int32 b = 1; } }
                message C {}";
    // The same map as other registries print it.
    let entry = "message A { repeated MEntry m = 1; message MEntry { option map_entry = true; optional string key = 1;
                 optional string value = 2; } optional group G = 2 {} message B { optional int32 b = 1; } } message C {}";
    for reader in [of(text), of(entry)] {
        for last in 0..3 {
            assert!(reader.reads(&[4, 0, 2 * last, 8, 1], true), "{last}");
            // Not of the type that it leads to.
            assert!(!reader.reads(&[4, 0, 2 * last, 10, 0], true), "{last}");
        }
        assert!(!reader.reads(b"\x04\0\x06\x08\x01", true));
        assert!(!reader.reads(b"\x02\x04\x08\x01", true));
        assert!(reads_first(&reader, b"\x0a\x06\x0a\x01k\x12\x01v"));
        assert!(!reads_first(&reader, b"\x0a\x02\x08\0"));
    }
}

#[test]
fn imported_types_are_known() {
    let text =
        "syntax = \"proto3\"; package p; import \"old.proto\"; import \"google/protobuf/timestamp.proto\";
                message A { o.B b = 1; google.protobuf.Timestamp at = 2; .o.X x = 3; string s = 4; }";
    let old = "syntax = \"proto2\"; package o; import \"deep.proto\";
               message B { optional string s = 1; optional d.D d = 2; } enum X { Y = 1; }";
    let deep = "syntax = \"proto3\"; package d; message D { string s = 1; }";
    let reader =
        reader(SchemaType::Protobuf, text, &[("deep.proto", deep), ("old.proto", old)]).expect("a reader");
    // Strings are what the language of their own file says.
    assert!(reads_first(&reader, b"\x0a\x03\x0a\x01\xff"));
    assert!(!reads_first(&reader, b"\x0a\x05\x12\x03\x0a\x01\xff"));
    assert!(reads_first(&reader, b"\x12\x04\x08\x01\x10\x02\x18\x01"));
    assert!(!reads_first(&reader, b"\x12\x02\x0a\0"));
    assert!(!reads_first(&reader, b"\x1a\0"));
    // Nothing leads to messages of other files.
    assert!(!reader.reads(b"\x02\x02", true));
    assert!(!reader.reads(b"\x04\0\0", true));
    assert!(!reader.reads(b"\x0a\x01\xff", false));
}

#[test]
fn what_nothing_declares_is_said() {
    let text = "import \"gone.proto\"; message A { optional gone.B b = 1; }";
    assert_eq!(
        reader(SchemaType::Protobuf, text, &[]).expect_err("no reader"),
        "type \"gone.B\", which \"A\" uses, is declared neither in the file nor in what it imports"
    );
    let text = "enum E { A = 0; }";
    assert_eq!(
        reader(SchemaType::Protobuf, text, &[]).expect_err("no reader"),
        "the file declares no message"
    );
}

#[test]
fn depth_is_bounded() {
    let reader = of("syntax = \"proto3\"; message A { A a = 1; }");
    let nested = |count: u32| {
        (0..count).fold(Vec::new(), |inner, _| {
            let mut outer = vec![0x0a];
            unsigned(inner.len() as u64, &mut outer);
            outer.extend(inner);
            outer
        })
    };
    assert!(reads_first(&reader, &nested(MAX_DEPTH)));
    assert!(!reads_first(&reader, &nested(MAX_DEPTH + 1)));
    let groups = |count: usize| [vec![0x13; count], vec![0x14; count]].concat();
    assert!(reads_first(&reader, &groups(MAX_DEPTH as usize)));
    assert!(!reads_first(&reader, &groups(MAX_DEPTH as usize + 1)));
    assert!(!reads_first(&reader, &groups(1_000_000)));
}

/// A type with all that is needed to write values of it.
#[derive(Debug, Clone)]
enum Kind {
    Scalar(&'static str),
    Enum,
    /// One of the file's messages.
    Message(prop::sample::Index),
    Map(&'static str, Box<Kind>),
    Group(Fields),
}

type Fields = BTreeMap<u32, (Kind, bool)>;

#[derive(Debug, Clone)]
struct File {
    proto3: bool,
    messages: Vec<Fields>,
}

impl File {
    fn text(&self) -> String {
        let syntax = if self.proto3 { "proto3" } else { "proto2" };
        let messages: Vec<_> = (self.messages.iter().enumerate())
            .map(|(n, fields)| format!("message M{n} {{ {} }}", self.fields_text(fields)))
            .collect();
        format!("syntax = \"{syntax}\"; enum E {{ Z = 0; O = 1; }} {}", messages.join("\n"))
    }

    fn fields_text(&self, fields: &Fields) -> String {
        let field = |(number, (kind, repeated)): (&u32, &(Kind, bool))| {
            let label = match (kind, repeated) {
                (Kind::Map(..), _) => "",
                (_, true) => "repeated",
                (_, false) => "optional",
            };
            match kind {
                Kind::Group(inner) => {
                    format!("{label} group G{number} = {number} {{ {} }}", self.fields_text(inner))
                }
                kind => format!("{label} {} f{number} = {number};", self.name(kind)),
            }
        };
        fields.iter().map(field).collect::<Vec<_>>().join(" ")
    }

    fn name(&self, kind: &Kind) -> String {
        match kind {
            Kind::Scalar(name) => (*name).to_owned(),
            Kind::Enum => "E".to_owned(),
            Kind::Message(index) => format!("M{}", index.index(self.messages.len())),
            Kind::Map(key, value) => format!("map<{key}, {}>", self.name(value)),
            Kind::Group(_) => "group".to_owned(),
        }
    }

    /// Writes some fields, known and unknown ones, and says where each of them begins, and the last one ends.
    fn write(&self, fields: &Fields, depth: u32, random: &mut Random, out: &mut Vec<u8>) -> Vec<usize> {
        let mut borders = vec![out.len()];
        for _ in 0..random.below(5) {
            match fields.iter().nth(random.below(fields.len() + 1)) {
                Some((number, (kind, repeated))) => self.field(*number, kind, *repeated, depth, random, out),
                None => self.field(1000, &Kind::Scalar("string"), false, depth, random, out),
            }
            borders.push(out.len());
        }
        borders
    }

    fn field(
        &self,
        number: u32,
        kind: &Kind,
        repeated: bool,
        depth: u32,
        random: &mut Random,
        out: &mut Vec<u8>,
    ) {
        let mut value = Vec::new();
        match kind {
            Kind::Map(..) | Kind::Message(_) | Kind::Group(_) if depth == 0 => return,
            Kind::Group(fields) => {
                unsigned(u64::from(number << 3 | 3), out);
                self.write(fields, depth - 1, random, out);
                return unsigned(u64::from(number << 3 | 4), out);
            }
            Kind::Message(index) => {
                self.write(&self.messages[index.index(self.messages.len())], depth - 1, random, &mut value);
            }
            Kind::Map(key, inner) => {
                self.field(1, &Kind::Scalar(key), false, depth - 1, random, &mut value);
                self.field(2, inner, false, depth - 1, random, &mut value);
            }
            Kind::Scalar("string") => value.extend(random.text().bytes()),
            Kind::Scalar("bytes") => value.extend(&random.next().to_le_bytes()[random.below(9)..]),
            kind if repeated && random.below(2) == 0 => {
                (0..random.below(4)).for_each(|_| scalar(kind, random, &mut value));
            }
            kind => {
                unsigned(u64::from(number << 3 | wires(kind, false)[0]), out);
                return scalar(kind, random, out);
            }
        }
        unsigned(u64::from(number << 3 | 2), out);
        unsigned(value.len() as u64, out);
        out.extend(value);
    }
}

/// The wire types that are right.
fn wires(kind: &Kind, repeated: bool) -> Vec<u32> {
    let single = match kind {
        Kind::Group(_) => return vec![3],
        Kind::Message(_) | Kind::Map(..) | Kind::Scalar("string" | "bytes") => return vec![2],
        Kind::Scalar("fixed32" | "sfixed32" | "float") => 5,
        Kind::Scalar("fixed64" | "sfixed64" | "double") => 1,
        Kind::Scalar(_) | Kind::Enum => 0,
    };
    if repeated { vec![single, 2] } else { vec![single] }
}

fn scalar(kind: &Kind, random: &mut Random, out: &mut Vec<u8>) {
    let number = random.number();
    match kind {
        Kind::Scalar("fixed32" | "sfixed32" | "float") => out.extend((number as u32).to_le_bytes()),
        Kind::Scalar("fixed64" | "sfixed64" | "double") => out.extend(number.to_le_bytes()),
        Kind::Scalar("bool") => out.push(random.below(2) as u8),
        Kind::Scalar("sint64") => signed(number as i64, out),
        Kind::Scalar("sint32") => signed(i64::from(number as i32), out),
        Kind::Scalar("uint32") => unsigned(u64::from(number as u32), out),
        Kind::Scalar("int32") | Kind::Enum => unsigned(i64::from(number as i32) as u64, out),
        _ => unsigned(number, out),
    }
}

const SCALARS: [&str; 15] = [
    "int32", "int64", "uint32", "uint64", "bool", "sint32", "sint64", "string", "bytes", "fixed32",
    "sfixed32", "fixed64", "sfixed64", "float", "double",
];

fn kind(proto3: bool) -> impl Strategy<Value = Kind> {
    let keys: Vec<_> =
        SCALARS.into_iter().filter(|name| !["bytes", "float", "double"].contains(name)).collect();
    let plain = prop_oneof![
        4 => prop::sample::select(&SCALARS[..]).prop_map(Kind::Scalar),
        1 => Just(Kind::Enum),
        2 => any::<prop::sample::Index>().prop_map(Kind::Message),
    ];
    let with_maps = prop_oneof![
        5 => plain.clone(),
        1 => (prop::sample::select(keys), plain).prop_map(|(key, value)| Kind::Map(key, Box::new(value))),
    ];
    with_maps.prop_recursive(2, 6, 3, move |inner| {
        if proto3 { inner.boxed() } else { fields(inner).prop_map(Kind::Group).boxed() }
    })
}

fn fields(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Fields> {
    let number = prop_oneof![3 => 1..40_u32, 1 => (1 << 28)..(1_u32 << 29)];
    prop::collection::btree_map(number, (kind, any::<bool>()), 0..6)
}

fn file(proto3: bool) -> impl Strategy<Value = File> {
    prop::collection::vec(fields(kind(proto3)), 1..4).prop_map(move |messages| File { proto3, messages })
}

proptest! {
    #[test]
    fn what_is_written_is_a_message_and_ends_only_between_fields(
        file in any::<bool>().prop_flat_map(file),
        which in any::<prop::sample::Index>(),
        seed in any::<u64>(),
    ) {
        let reader = of(&file.text());
        let which = which.index(file.messages.len());
        let fields = &file.messages[which];
        let mut payload = vec![2, 2 * which as u8];
        let borders = file.write(fields, 4, &mut Random(seed), &mut payload);
        for end in 0..=payload.len() {
            prop_assert_eq!(reader.reads(&payload[..end], true), borders.contains(&end), "{:?} to {}", payload, end);
        }
        prop_assert!(reader.reads(&payload[2..], false));
        // Each field once more, with each wire type.
        for (number, (kind, repeated)) in fields {
            let right = wires(kind, *repeated);
            let ends = [&b"\0"[..], &[0; 8], b"\0", b"", b"", &[0; 4]];
            for wire in [0, 1, 2, 3, 5] {
                let mut more = payload.clone();
                unsigned(u64::from(number << 3 | wire), &mut more);
                more.extend(ends[wire as usize]);
                if wire == 3 {
                    unsigned(u64::from(number << 3 | 4), &mut more);
                }
                prop_assert_eq!(reader.reads(&more, true), right.contains(&wire), "{:?}", more);
            }
        }
    }

    #[test]
    fn what_is_read_can_be_decoded(
        file in file(true),
        seed in any::<u64>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let text = file.text();
        let mut payload = Vec::new();
        file.write(&file.messages[0], 4, &mut Random(seed), &mut payload);
        for (at, byte) in &edits {
            if !payload.is_empty() {
                let at = at.index(payload.len());
                payload[at] = *byte;
            }
        }
        let reads = reads_first(&of(&text), &payload);
        prop_assert!(reads || !edits.is_empty());
        let schema = Protobuf::parse(&text, &[], Strictness::New).expect("a schema");
        let descriptor = STANDARD.decode(schema.serialized().expect("a descriptor")).expect("base64");
        let descriptor = prost_types::FileDescriptorProto::decode(&descriptor[..]).expect("a descriptor");
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_proto(descriptor).expect("a file");
        let first = pool.get_message_by_name("M0").expect("a message");
        if reads {
            let decoded = DynamicMessage::decode(first, &payload[..]);
            prop_assert!(decoded.is_ok(), "{:?}: {:?}", payload, decoded);
        }
    }

    #[test]
    fn any_bytes_are_answered(
        file in any::<bool>().prop_flat_map(file),
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        low in 1..=u8::MAX,
    ) {
        let reader = of(&file.text());
        // Small numbers lead further.
        let small: Vec<u8> = bytes.iter().map(|byte| byte % low).collect();
        for payload in [&bytes, &small] {
            reader.reads(payload, true);
            reader.reads(payload, false);
        }
    }
}
