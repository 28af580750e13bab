//! Our verdicts against Google's own implementation: wherever we say that a new schema can read what an old one wrote,
//! random messages are encoded with the old one and decoded with the new one, and every value that both know must
//! survive.
//!
//! The judge is `registry/differential/protobuf/judge.py` with what `tests/install.sh protobuf` installs. `REPLEVIN_SEED`
//! repeats a run, whose seed is printed, or tries another one; `REPLEVIN_PAIRS` sets how many pairs are made.

use registry::compat::protobuf::differences;
use registry::parse::Strictness;
use registry::parse::protobuf::Protobuf;
use registry::schema::Dependency;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const SEED: u64 = 20_261_122;
/// Six in ten of them are compatible and are judged.
const PAIRS: u64 = 10_000;

/// SplitMix64: the same numbers everywhere for a seed.
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

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

const SCALARS: [&str; 15] = [
    "int32", "int64", "uint32", "uint64", "bool", "sint32", "sint64", "string", "bytes", "fixed32",
    "sfixed32", "fixed64", "sfixed64", "float", "double",
];

#[derive(Clone, PartialEq)]
enum Kind {
    /// A scalar, an enum or a message, by name.
    Named(String),
    Map(String, String),
    Group(String),
}

#[derive(Clone)]
struct Field {
    tag: usize,
    name: String,
    kind: Kind,
    label: &'static str,
    oneof: Option<usize>,
}

#[derive(Clone)]
struct Message {
    name: &'static str,
    fields: Vec<Field>,
}

#[derive(Clone)]
struct Schema {
    proto3: bool,
    messages: Vec<Message>,
    values: Vec<i32>,
    /// Messages from here on stand in the imported file.
    imported_from: usize,
    /// The name under which a oneof of this number is declared.
    oneofs: Vec<String>,
}

impl Schema {
    fn random(random: &mut Random) -> Self {
        let mut schema = Self {
            proto3: random.chance(60),
            messages: ["Main", "Part", "Leaf"].map(|name| Message { name, fields: Vec::new() }).to_vec(),
            values: vec![0, 1, 2],
            imported_from: 1 + random.below(3),
            oneofs: vec!["o1".into(), "o2".into()],
        };
        for at in 0..schema.messages.len() {
            for _ in 0..1 + random.below(5) {
                schema.add_field(random, at);
            }
        }
        schema
    }

    fn kind(&self, random: &mut Random, at: usize) -> Kind {
        match random.below(10) {
            0 => Kind::Named("Kind".into()),
            // Only later ones, so that a message with required parts is finite.
            1 | 2 if at + 1 < self.messages.len() => {
                let next = at + 1 + random.below(self.messages.len() - at - 1);
                Kind::Named(self.messages[next].name.into())
            }
            3 => {
                let key =
                    random.pick(&["int32", "sint64", "bool", "string", "fixed32", "uint64"]).to_string();
                let last = self.messages.len() - 1;
                let message = at < last && random.chance(30);
                let value = if message { self.messages[last].name } else { random.pick(&SCALARS) };
                Kind::Map(key, value.into())
            }
            4 if !self.proto3 => Kind::Group(format!("G{}", random.below(1000))),
            _ => Kind::Named(random.pick(&SCALARS).to_string()),
        }
    }

    fn label(&self, random: &mut Random) -> &'static str {
        let labels = if self.proto3 {
            ["", "", "optional", "repeated"]
        } else {
            ["optional", "optional", "repeated", "required"]
        };
        random.pick::<&str>(&labels)
    }

    fn add_field(&mut self, random: &mut Random, at: usize) {
        let tag = 1 + random.below(12);
        let kind = self.kind(random, at);
        let label = self.label(random);
        let oneof = (random.chance(25) && !matches!(kind, Kind::Map(..))).then(|| random.below(2));
        let fields = &mut self.messages[at].fields;
        let name = format!("f{}", random.below(1000));
        if fields.iter().any(|field| {
            field.tag == tag || field.name == name || field.kind == kind && matches!(kind, Kind::Group(_))
        }) {
            return;
        }
        fields.push(Field { tag, name, kind, label, oneof });
    }

    /// One change of the kind that people make.
    fn change(&mut self, random: &mut Random) {
        let at = random.below(self.messages.len());
        let (kind, label) = (self.kind(random, at), self.label(random));
        let count = self.messages[at].fields.len();
        let field = (count > 0).then(|| random.below(count));
        match (random.below(16), field) {
            (0 | 1, _) => self.add_field(random, at),
            (2, Some(index)) => {
                self.messages[at].fields.remove(index);
            }
            (3, Some(index)) => self.messages[at].fields[index].name = format!("r{}", random.below(1000)),
            (4 | 5, Some(index)) => {
                let field = &mut self.messages[at].fields[index];
                let alike: &[&str] = match &field.kind {
                    Kind::Named(name) if ["string", "bytes"].contains(&name.as_str()) => &["string", "bytes"],
                    Kind::Named(name) if name.ends_with("fixed32") => &["fixed32", "sfixed32"],
                    Kind::Named(name) if name.ends_with("fixed64") => &["fixed64", "sfixed64"],
                    Kind::Named(name) if name.starts_with("sint") => &["sint32", "sint64"],
                    Kind::Named(name) if SCALARS[..5].contains(&name.as_str()) || name == "Kind" => {
                        &["int32", "int64", "uint32", "uint64", "bool", "Kind"]
                    }
                    _ => return,
                };
                field.kind = Kind::Named(random.pick(alike).to_string());
            }
            (6 | 14, Some(index)) => {
                let field = &mut self.messages[at].fields[index];
                if field.oneof.is_none() || !matches!(kind, Kind::Map(..)) {
                    field.kind = kind;
                }
            }
            (7 | 15, Some(index)) => self.messages[at].fields[index].label = label,
            (8, Some(index)) => {
                let field = &mut self.messages[at].fields[index];
                field.oneof = match field.oneof {
                    None if !matches!(field.kind, Kind::Map(..)) => Some(random.below(2)),
                    _ => None,
                };
            }
            (9, _) => self.oneofs.swap(0, 1),
            (10, _) => self.oneofs[random.below(2)] = format!("o{}", 3 + random.below(5)),
            (11, _) => {
                self.values = random.pick(&[vec![0, 1], vec![0, 1, 2, 3], vec![0, 2, 7]]).clone();
            }
            (12, _) => self.imported_from = 1 + random.below(3),
            (13, _) if random.chance(30) => {
                self.proto3 = !self.proto3;
                let proto3 = self.proto3;
                for field in self.messages.iter_mut().flat_map(|message| &mut message.fields) {
                    field.label = match (field.label, proto3) {
                        ("repeated", _) => "repeated",
                        (_, true) => "",
                        (_, false) => "optional",
                    };
                    if let (Kind::Group(_), true) = (&field.kind, proto3) {
                        field.kind = Kind::Named("string".into());
                    }
                }
            }
            _ => {}
        }
    }

    /// The imported file, if there is one, and the schema itself.
    fn texts(&self) -> Vec<(String, String)> {
        let syntax = if self.proto3 { "proto3" } else { "proto2" };
        let head = format!("syntax = \"{syntax}\";\npackage p;\n");
        let values: String = self.values.iter().fold(String::new(), |mut text, value| {
            let _ = write!(text, " V{value} = {value};");
            text
        });
        let kinds = format!("enum Kind {{{values} }}\n");
        let bodies = |from: usize, to: usize| -> String {
            self.messages[from..to].iter().map(|message| self.body(message)).collect()
        };
        if self.imported_from >= self.messages.len() {
            return vec![("main.proto".into(), head + &kinds + &bodies(0, self.messages.len()))];
        }
        vec![
            ("far.proto".into(), head.clone() + &kinds + &bodies(self.imported_from, self.messages.len())),
            ("main.proto".into(), head + "import \"far.proto\";\n" + &bodies(0, self.imported_from)),
        ]
    }

    fn body(&self, message: &Message) -> String {
        let mut text = format!("message {} {{\n", message.name);
        for field in message.fields.iter().filter(|field| field.oneof.is_none()) {
            let label = if matches!(field.kind, Kind::Map(..)) { "" } else { field.label };
            text += &self.field(field, label);
        }
        for oneof in 0..2 {
            let members: Vec<&Field> =
                message.fields.iter().filter(|field| field.oneof == Some(oneof)).collect();
            if !members.is_empty() {
                let members: String = members.into_iter().map(|field| self.field(field, "")).collect();
                let _ = write!(text, "  oneof {} {{\n{members}  }}\n", self.oneofs[oneof]);
            }
        }
        text + "}\n"
    }

    fn field(&self, field: &Field, label: &str) -> String {
        let Field { tag, name, .. } = field;
        match &field.kind {
            Kind::Named(kind) => format!("  {label} {kind} {name} = {tag};\n"),
            Kind::Map(key, value) => format!("  map<{key}, {value}> {name} = {tag};\n"),
            Kind::Group(group) => format!(
                "  {label} group {group} = {tag} {{ required int32 x = 1; optional string y = 2; }}\n"
            ),
        }
    }
}

/// The schema, and each of its files as a descriptor.
fn parse(texts: &[(String, String)]) -> Option<(Protobuf, Vec<Value>, Vec<Value>)> {
    let mut descriptors = Vec::new();
    let mut canonical = Vec::new();
    let mut last = None;
    for (at, (name, text)) in texts.iter().enumerate() {
        let references: Vec<Dependency<'_>> =
            texts[..at].iter().map(|(name, text)| Dependency { name, text }).collect();
        let schema = Protobuf::parse(text, &references, Strictness::New).ok()?;
        descriptors.push(json!([name, schema.serialized().ok()?]));
        canonical.push(json!([name, schema.canonical()]));
        last = Some(schema);
    }
    Some((last?, descriptors, canonical))
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// The folder of the installed packages.
fn packages() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let folder = cache.expect("XDG_CACHE_HOME or HOME").join("replevin/servers/protobuf/packages");
    assert!(folder.is_dir(), "{} is not there: run tests/install.sh protobuf", folder.display());
    folder
}

#[test]
fn what_we_call_compatible_can_be_read() {
    let packages = packages();
    let (seed, pairs) = (setting("REPLEVIN_SEED", SEED), setting("REPLEVIN_PAIRS", PAIRS));
    println!("REPLEVIN_SEED={seed}");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/differential/protobuf/judge.py");
    let mut python = Command::new("python3")
        .arg(script)
        .env("PYTHONPATH", packages)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut input = python.stdin.take().expect("a pipe");
    let mut random = Random(seed);
    let (mut compatible, mut incompatible, mut id) = (0, 0, 0);
    while compatible + incompatible < pairs {
        id += 1;
        let old = Schema::random(&mut random);
        let mut new = old.clone();
        for _ in 0..1 + random.below(6) {
            new.change(&mut random);
        }
        let (Some(old_parsed), Some(new_parsed)) = (parse(&old.texts()), parse(&new.texts())) else {
            continue;
        };
        if !differences(&new_parsed.0, &old_parsed.0).is_empty() {
            incompatible += 1;
            continue;
        }
        compatible += 1;
        let local = old.imported_from.min(new.imported_from);
        let messages: Vec<String> =
            old.messages[..local].iter().map(|message| format!("p.{}", message.name)).collect();
        let pair = json!({
            "id": id, "old": old_parsed.1, "new": new_parsed.1, "messages": messages,
            "old_text": old_parsed.2, "new_text": new_parsed.2,
        });
        writeln!(input, "{pair}").expect("Python reads");
    }
    drop(input);
    let output = python.wait_with_output().expect("Python ends");
    assert!(output.status.success(), "the script failed");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    println!("compatible {compatible}, incompatible {incompatible}: {}", report["counts"]);
    assert!(compatible > pairs / 5 && incompatible > pairs / 5, "one verdict is too rare to say anything");
    assert_eq!(report["counts"]["violations"], 0, "{:#}", report["violations"]);
}
