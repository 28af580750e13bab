//! Whether bytes are a message of a Protobuf file, in Protobuf's wire format.
//!
//! ```text
//!   [count, index ...]   zig-zag varints: which message of the file, which of those inside it, ...; 0 alone: the first
//!   key value            repeated: the key is the field's number and its wire type
//! ```
//!
//! A field that the message has must have the wire type of its declaration, packed or not where it is repeated, and a value that
//! its type can have. Stricter than Google's readers, which take a field of another wire type as an unknown one: nobody writes it.
//!
//! The walk takes no memory but the stack's, at most [`MAX_DEPTH`] messages of it, and time linear in the bytes for each message
//! type that it tries.

use super::varint::{int, take, unsigned};
use crate::parse::protobuf::Protobuf;
use crate::parse::protobuf::element::{Field as Declaration, Label, Message as Body, Type, is_scalar};
use crate::parse::protobuf::names::{Declared, Names, join};
use std::collections::HashMap;
use std::ops::Range;

/// Messages and groups inside a message, as in Google's readers.
pub(super) const MAX_DEPTH: u32 = 100;

/// The message types of a file, and those that they use.
#[derive(Debug)]
pub(super) struct Messages {
    /// The file's own come first.
    all: Vec<Message>,
    own: Place,
    /// Each message's in a row, by number.
    fields: Vec<Field>,
    /// The messages that are declared inside each message, in a row.
    inner: Vec<Place>,
    /// Those of the file itself.
    outermost: Range<u32>,
}

/// A message type's place among [`Messages`].
type Place = u32;

#[derive(Debug, Clone, Default)]
struct Message {
    fields: Range<u32>,
    inner: Range<u32>,
    /// Messages that a descriptor has beside `inner` and a text has not: of maps, and of groups.
    unwritten: usize,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    number: u32,
    kind: Kind,
    repeated: bool,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// `int64` and `uint64`.
    Long,
    /// `sint32` and `uint32`: at most 32 bits.
    Unsigned,
    /// `int32` and enums: with the sign extended to 64 bits, though some writers leave that away.
    Signed,
    Bool,
    Fixed32,
    Fixed64,
    Bytes,
    /// Of proto3, so that it is UTF-8; of proto2 it is [`Kind::Bytes`], since Google's writers do not look.
    Text,
    Message(Place),
    Group(Place),
}

/// The wire types; the others are none.
mod wire {
    pub(super) const VARINT: u32 = 0;
    pub(super) const FIXED64: u32 = 1;
    pub(super) const DELIMITED: u32 = 2;
    pub(super) const GROUP: u32 = 3;
    pub(super) const END_OF_GROUP: u32 = 4;
    pub(super) const FIXED32: u32 = 5;
}

impl Messages {
    pub(super) fn of(schema: &Protobuf) -> Result<Self, String> {
        let mut compiler = Compiler { names: schema.names(), places: HashMap::new(), found: Vec::new() };
        let file = schema.restored();
        if file.messages.is_empty() {
            return Err("the file declares no message".to_owned());
        }
        for message in &file.messages {
            compiler.own(file.package(), message, file.is_proto3());
        }
        let mut messages = Self {
            all: Vec::new(),
            own: index_of(compiler.found.len()),
            fields: Vec::new(),
            inner: Vec::new(),
            outermost: 0..0,
        };
        // Compiling one finds others.
        while let Some(found) = compiler.found.get(messages.all.len()).cloned() {
            let message = compiler.message(&found, &mut messages)?;
            messages.all.push(message);
        }
        let outermost = compiler.places_of(file.package(), &file.messages);
        messages.outermost = row(&mut messages.inner, outermost);
        messages.all.shrink_to_fit();
        messages.fields.shrink_to_fit();
        messages.inner.shrink_to_fit();
        Ok(messages)
    }

    pub(super) fn weight(&self) -> usize {
        self.all.capacity() * size_of::<Message>()
            + self.fields.capacity() * size_of::<Field>()
            + self.inner.capacity() * size_of::<Place>()
    }

    /// Whether it is a message of any type of the file.
    pub(super) fn reads_any(&self, payload: &[u8]) -> bool {
        (0..self.own).any(|place| self.is_message(place, payload))
    }

    /// Whether it is message indexes, and then a message of the type that they lead to.
    pub(super) fn reads_indexed(&self, payload: &[u8]) -> bool {
        let mut rest = payload;
        match index(&mut rest) {
            None => false,
            // Short for the list of the index 0.
            Some(0) => self.inner(&self.outermost).first().is_some_and(|first| self.is_message(*first, rest)),
            Some(count) => self.is_one_of(&self.outermost, 0, count, rest),
        }
    }

    /// Whether the last `left` of the indexes, and then a message, are there.
    ///
    /// Writers count messages by their descriptor, where also each map and each group of the outer message declares one. How many of
    /// them precede a message is not known from the tree, so that an index may lead to any of the places that are possible.
    fn is_one_of(&self, types: &Range<u32>, unwritten: usize, left: usize, payload: &[u8]) -> bool {
        let mut rest = payload;
        let Some(last) = index(&mut rest) else { return false };
        let types = self.inner(types);
        let possible = types.iter().take(last.saturating_add(1)).skip(last.saturating_sub(unwritten));
        let mut possible = possible.copied();
        if left == 1 {
            return possible.any(|place| self.is_message(place, rest));
        }
        possible.any(|place| {
            let message = &self.all[place as usize];
            self.is_one_of(&message.inner, message.unwritten, left - 1, rest)
        })
    }

    fn inner(&self, range: &Range<u32>) -> &[Place] {
        &self.inner[range.start as usize..range.end as usize]
    }

    fn is_message(&self, place: Place, payload: &[u8]) -> bool {
        let mut rest = payload;
        // One more than inside it.
        self.fields(Some(place), None, &mut rest, MAX_DEPTH + 1).is_some()
    }

    /// Steps over the fields of a message, known or not: up to the end of the bytes, or to that of the group.
    fn fields(&self, of: Option<Place>, group: Option<u32>, rest: &mut &[u8], left: u32) -> Option<()> {
        let left = left.checked_sub(1)?;
        while !rest.is_empty() {
            // 32 bits: no number is above 2^29 - 1.
            let key = u32::try_from(unsigned(rest)?).ok()?;
            let (number, wire) = (key >> 3, key & 7);
            if number == 0 {
                return None;
            }
            if wire == wire::END_OF_GROUP {
                return (group == Some(number)).then_some(());
            }
            match of.and_then(|of| self.field(of, number)) {
                Some(field) => self.value(field, wire, rest, left)?,
                None => self.unknown(number, wire, rest, left)?,
            }
        }
        group.is_none().then_some(())
    }

    fn field(&self, of: Place, number: u32) -> Option<Field> {
        let range = &self.all[of as usize].fields;
        let fields = &self.fields[range.start as usize..range.end as usize];
        fields.binary_search_by_key(&number, |field| field.number).ok().map(|at| fields[at])
    }

    fn value(&self, field: Field, wire: u32, rest: &mut &[u8], left: u32) -> Option<()> {
        match (field.kind, wire) {
            (Kind::Group(of), wire::GROUP) => self.fields(Some(of), Some(field.number), rest, left),
            (Kind::Message(of), wire::DELIMITED) => self.fields(Some(of), None, &mut delimited(rest)?, left),
            (Kind::Text, wire::DELIMITED) => std::str::from_utf8(delimited(rest)?).ok().map(|_| ()),
            (Kind::Bytes, wire::DELIMITED) => delimited(rest).map(|_| ()),
            (kind, wire) if kind.wire() == Some(wire) => kind.scalar(rest),
            (kind, wire::DELIMITED) if field.repeated && kind.wire().is_some() => {
                let mut packed = delimited(rest)?;
                while !packed.is_empty() {
                    kind.scalar(&mut packed)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    fn unknown(&self, number: u32, wire: u32, rest: &mut &[u8], left: u32) -> Option<()> {
        match wire {
            wire::VARINT => unsigned(rest).map(|_| ()),
            wire::FIXED32 => take(rest, 4).map(|_| ()),
            wire::FIXED64 => take(rest, 8).map(|_| ()),
            wire::DELIMITED => delimited(rest).map(|_| ()),
            wire::GROUP => self.fields(None, Some(number), rest, left),
            _ => None,
        }
    }
}

impl Kind {
    fn named(name: &str, proto3: bool) -> Option<Self> {
        Some(match name {
            "int64" | "uint64" | "sint64" => Self::Long,
            "uint32" | "sint32" => Self::Unsigned,
            "int32" => Self::Signed,
            "bool" => Self::Bool,
            "fixed32" | "sfixed32" | "float" => Self::Fixed32,
            "fixed64" | "sfixed64" | "double" => Self::Fixed64,
            "string" if proto3 => Self::Text,
            "bytes" | "string" => Self::Bytes,
            _ => return None,
        })
    }

    /// How a single value is encoded, where it says itself how long it is.
    fn wire(self) -> Option<u32> {
        match self {
            Self::Long | Self::Unsigned | Self::Signed | Self::Bool => Some(wire::VARINT),
            Self::Fixed32 => Some(wire::FIXED32),
            Self::Fixed64 => Some(wire::FIXED64),
            Self::Bytes | Self::Text | Self::Message(_) | Self::Group(_) => None,
        }
    }

    /// Steps over such a value.
    fn scalar(self, rest: &mut &[u8]) -> Option<()> {
        let fits = match self {
            Self::Fixed32 => take(rest, 4).is_some(),
            Self::Fixed64 => take(rest, 8).is_some(),
            Self::Bool => unsigned(rest)? <= 1,
            Self::Unsigned => unsigned(rest)? <= u64::from(u32::MAX),
            Self::Signed => {
                let number = unsigned(rest)?;
                number <= u64::from(u32::MAX) || i32::try_from(number.cast_signed()).is_ok()
            }
            _ => unsigned(rest).is_some(),
        };
        fits.then_some(())
    }
}

/// A length and so many bytes.
fn delimited<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = unsigned(rest)?;
    take(rest, length)
}

/// A message index, or how many there are: a zig-zag varint that is not below 0. It has the shortest form, as all serialisers
/// write it, so that fewer bytes by chance look like one.
fn index(rest: &mut &[u8]) -> Option<usize> {
    let before = *rest;
    let number = int(rest)?;
    let taken = &before[..before.len() - rest.len()];
    let shortest = taken.len() == 1 || taken.last() != Some(&0);
    usize::try_from(number).ok().filter(|_| shortest)
}

/// Finds the message types that a file leads to.
struct Compiler<'a> {
    names: Names<'a>,
    /// Full name -> place among `found`.
    places: HashMap<String, Place>,
    found: Vec<Found<'a>>,
}

#[derive(Clone)]
struct Found<'a> {
    /// What names in it are looked up from: its own full name, or that of the message that has the map.
    scope: String,
    what: What<'a>,
    proto3: bool,
}

#[derive(Clone, Copy)]
enum What<'a> {
    Declared(&'a Body),
    /// What stands behind a map: a message of a key and a value.
    Entry {
        key: &'a str,
        value: &'a str,
    },
}

impl<'a> Compiler<'a> {
    /// Gives the file's own messages the first places.
    fn own(&mut self, scope: &str, message: &'a Body, proto3: bool) {
        let full = join(scope, &message.name);
        self.place(full.clone(), message, proto3);
        for inner in &message.messages {
            self.own(&full, inner, proto3);
        }
        for group in message.all_groups() {
            self.own(&full, &group.body, proto3);
        }
    }

    fn place(&mut self, full: String, message: &'a Body, proto3: bool) -> Place {
        if let Some(place) = self.places.get(&full) {
            return *place;
        }
        self.places.insert(full.clone(), index_of(self.found.len()));
        self.add(Found { scope: full, what: What::Declared(message), proto3 })
    }

    fn add(&mut self, found: Found<'a>) -> Place {
        self.found.push(found);
        index_of(self.found.len() - 1)
    }

    /// The place of a message, or nothing for an enum.
    fn named(&mut self, scope: &str, name: &str) -> Result<Option<Place>, String> {
        match self.names.find(scope, name) {
            Some((full, known)) => Ok(match known.declared {
                Declared::Message(message) => Some(self.place(full, message, known.proto3)),
                Declared::Enum => None,
            }),
            None => Err(format!(
                "type {name:?}, which {scope:?} uses, is declared neither in the file nor in what it imports"
            )),
        }
    }

    /// The places of the file's own messages, each of which has one.
    fn places_of(&self, scope: &str, messages: &[Body]) -> Vec<Place> {
        messages.iter().filter_map(|message| self.places.get(&join(scope, &message.name)).copied()).collect()
    }

    fn message(&mut self, found: &Found<'a>, messages: &mut Messages) -> Result<Message, String> {
        let mut fields = Vec::new();
        let mut message = Message::default();
        match found.what {
            What::Entry { key, value } => {
                for (number, name) in [(1, key), (2, value)] {
                    let kind = self.kind(found, name)?;
                    fields.push(Field { number, kind, repeated: false });
                }
            }
            What::Declared(body) => {
                let in_oneofs = body.oneofs.iter().flat_map(|oneof| &oneof.fields);
                for field in body.fields.iter().chain(in_oneofs) {
                    message.unwritten += usize::from(matches!(field.kind, Type::Map { .. }));
                    fields.extend(self.field(found, field)?);
                }
                for group in body.all_groups() {
                    message.unwritten += 1;
                    let Ok(number) = u32::try_from(group.tag) else { continue };
                    let full = join(&found.scope, &group.body.name);
                    let place = self.place(full, &group.body, found.proto3);
                    let repeated = group.label == Some(Label::Repeated);
                    fields.push(Field { number, kind: Kind::Group(place), repeated });
                }
                // Messages that only imported files have are led to by no index.
                if index_of(messages.all.len()) < messages.own {
                    message.inner = row(&mut messages.inner, self.places_of(&found.scope, &body.messages));
                }
            }
        }
        fields.sort_by_key(|field| field.number);
        message.fields = row(&mut messages.fields, fields);
        Ok(message)
    }

    /// Nothing where the number is none that can be written.
    fn field(&mut self, of: &Found<'a>, field: &'a Declaration) -> Result<Option<Field>, String> {
        let Ok(number) = u32::try_from(field.tag) else { return Ok(None) };
        let kind = match &field.kind {
            Type::Named(name) => self.kind(of, name)?,
            Type::Map { key, value } => {
                let what = What::Entry { key, value };
                Kind::Message(self.add(Found { scope: of.scope.clone(), what, proto3: of.proto3 }))
            }
        };
        Ok(Some(Field { number, kind, repeated: field.label == Some(Label::Repeated) }))
    }

    fn kind(&mut self, of: &Found<'a>, name: &str) -> Result<Kind, String> {
        if is_scalar(name) {
            return Kind::named(name, of.proto3).ok_or_else(|| format!("scalar {name:?} is unknown"));
        }
        Ok(self.named(&of.scope, name)?.map_or(Kind::Signed, Kind::Message))
    }
}

fn row<T>(table: &mut Vec<T>, items: Vec<T>) -> Range<u32> {
    let start = index_of(table.len());
    table.extend(items);
    start..index_of(table.len())
}

/// A text of four gigabytes is refused long before this.
fn index_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
