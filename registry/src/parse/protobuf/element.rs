//! A `.proto` file as a tree that keeps what the canonical text shows: declarations in their order within each kind,
//! options as they are written, type names as they are written. Comments and positions are left behind.
//!
//! The tree says nothing about validity; names are resolved in `names.rs`, the rules of the language are checked in
//! `compile.rs`.

use indexmap::IndexMap;
use std::collections::HashMap;

/// The largest field number, and what `max` stands for.
pub(crate) const MAX_TAG: i32 = (1 << 29) - 1;

/// The language level, where the file names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    Proto2,
    Proto3,
}

impl Syntax {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Proto2 => "proto2",
            Self::Proto3 => "proto3",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct File {
    pub(crate) syntax: Option<Syntax>,
    pub(crate) package: Option<String>,
    pub(crate) imports: Vec<String>,
    pub(crate) public_imports: Vec<String>,
    pub(crate) options: Vec<Opt>,
    pub(crate) messages: Vec<Message>,
    pub(crate) enums: Vec<Enum>,
    pub(crate) extends: Vec<Extend>,
    pub(crate) services: Vec<Service>,
}

impl File {
    pub(crate) fn package(&self) -> &str {
        self.package.as_deref().unwrap_or("")
    }

    pub(crate) fn is_proto3(&self) -> bool {
        self.syntax == Some(Syntax::Proto3)
    }

    pub(crate) fn all_imports(&self) -> impl Iterator<Item = &String> {
        self.imports.iter().chain(&self.public_imports)
    }

    /// Without any declaration: what unrelated bytes look like once they are read as a descriptor.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.enums.is_empty()
            && self.extends.is_empty()
            && self.services.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) reserved: Vec<Vec<Span>>,
    pub(crate) options: Vec<Opt>,
    pub(crate) fields: Vec<Field>,
    pub(crate) oneofs: Vec<Oneof>,
    pub(crate) groups: Vec<Group>,
    pub(crate) extensions: Vec<Extensions>,
    pub(crate) extends: Vec<Extend>,
    pub(crate) messages: Vec<Message>,
    pub(crate) enums: Vec<Enum>,
}

impl Message {
    /// Whether it is the message that stands behind a map field in descriptors.
    pub(crate) fn is_map_entry(&self) -> bool {
        let marked = |option: &Opt| option.name == "map_entry" && option.value == Value::Word("true".into());
        self.options.iter().any(marked)
    }

    /// The groups of the message itself and of its oneofs: each declares a type of its own in this message.
    pub(crate) fn all_groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().chain(self.oneofs.iter().flat_map(|oneof| &oneof.groups))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    Optional,
    Required,
    Repeated,
}

impl Label {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
            Self::Repeated => "repeated",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    /// A scalar, or the name of a message or enum as it is written.
    Named(String),
    Map {
        key: String,
        value: String,
    },
}

impl Type {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Named(name) => name.clone(),
            Self::Map { key, value } => format!("map<{key}, {value}>"),
        }
    }
}

/// Whether a type name is one of the language's scalars.
pub(crate) fn is_scalar(name: &str) -> bool {
    const SCALARS: [&str; 15] = [
        "bool", "bytes", "double", "float", "fixed32", "fixed64", "int32", "int64", "sfixed32", "sfixed64",
        "sint32", "sint64", "string", "uint32", "uint64",
    ];
    SCALARS.contains(&name)
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) label: Option<Label>,
    pub(crate) kind: Type,
    pub(crate) name: String,
    pub(crate) tag: i32,
    pub(crate) options: Vec<Opt>,
    pub(crate) default: Option<Value>,
    pub(crate) json_name: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Oneof {
    pub(crate) name: String,
    pub(crate) options: Vec<Opt>,
    pub(crate) fields: Vec<Field>,
    pub(crate) groups: Vec<Group>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) label: Option<Label>,
    pub(crate) tag: i32,
    pub(crate) options: Vec<Opt>,
    pub(crate) body: Message,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Enum {
    pub(crate) name: String,
    pub(crate) reserved: Vec<Vec<Span>>,
    pub(crate) options: Vec<Opt>,
    pub(crate) constants: Vec<Constant>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Constant {
    pub(crate) name: String,
    pub(crate) tag: i32,
    pub(crate) options: Vec<Opt>,
}

/// One item of a `reserved` or `extensions` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Span {
    One(i32),
    /// Both ends belong to it.
    Range(i32, i32),
    Name(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Extensions {
    pub(crate) spans: Vec<Span>,
    pub(crate) options: Vec<Opt>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Extend {
    pub(crate) name: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) groups: Vec<Group>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) options: Vec<Opt>,
    pub(crate) rpcs: Vec<Rpc>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Rpc {
    pub(crate) name: String,
    pub(crate) request: String,
    pub(crate) request_streaming: bool,
    pub(crate) response: String,
    pub(crate) response_streaming: bool,
    pub(crate) options: Vec<Opt>,
}

/// An option: `name = value`, `(name) = value`, `(name).part = value`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Opt {
    pub(crate) name: String,
    /// In parentheses: an extension of the options message.
    pub(crate) extension: bool,
    pub(crate) value: Value,
}

impl Opt {
    pub(crate) fn plain(name: &str, value: Value) -> Self {
        Self { name: name.to_owned(), extension: false, value }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Text between quotes, after its escapes; bytes, since escapes may name any.
    Text(Vec<u8>),
    Number(String),
    /// `true`, `false`, or the name of an enum value.
    Word(String),
    /// `.part = value` behind a name in parentheses.
    Part(Box<Opt>),
    Map(IndexMap<String, Value>),
    List(Vec<Value>),
}

/// Turns the entry messages of maps, which only a descriptor spells out, back into map fields.
pub(crate) fn restore_maps(file: &mut File) {
    for message in &mut file.messages {
        restore_maps_in(message);
    }
}

fn restore_maps_in(message: &mut Message) {
    let entries: Vec<Message> = message.messages.extract_if(.., |nested| nested.is_map_entry()).collect();
    let mut kinds: HashMap<String, Type> = HashMap::new();
    for entry in entries {
        let part = |tag| entry.fields.iter().find(|field: &&Field| field.tag == tag);
        match (part(1), part(2)) {
            (Some(key), Some(value)) => {
                kinds.insert(entry.name, Type::Map { key: key.kind.text(), value: value.kind.text() });
            }
            _ => message.messages.push(entry),
        }
    }
    for field in &mut message.fields {
        let Type::Named(name) = &field.kind else { continue };
        let (outer, last) = name.rsplit_once('.').unwrap_or(("", name));
        let own = outer.is_empty() || outer.rsplit('.').next() == Some(&message.name);
        if let Some(kind) = kinds.get(last).filter(|_| own) {
            field.kind = kind.clone();
            field.label = None;
        }
    }
    for nested in &mut message.messages {
        restore_maps_in(nested);
    }
    let groups =
        message.groups.iter_mut().chain(message.oneofs.iter_mut().flat_map(|oneof| &mut oneof.groups));
    for group in groups {
        restore_maps_in(&mut group.body);
    }
}

/// Whether [`restore_maps`] would change anything.
pub(crate) fn has_map_entries(messages: &[Message]) -> bool {
    let inside = |message: &Message| {
        has_map_entries(&message.messages)
            || message.all_groups().any(|group| has_map_entries(std::slice::from_ref(&group.body)))
    };
    messages.iter().any(|message| message.is_map_entry() || inside(message))
}
