//! Whether bytes are one datum of an Avro schema, in Avro's binary encoding.
//!
//! ```text
//!   schema -- compile --> types, in one table -- reads --> yes, if the walk ends where the bytes end
//! ```
//!
//! The walk takes no memory but the stack's, at most [`MAX_DEPTH`] types of it, and time linear in the bytes: what takes no
//! bytes at all (`null`, a record of nothing else) is known from the schema and never walked through.
//!
//! A datum of almost every schema ends where the schema says, so that neither its beginnings nor what has it in front are
//! another one. The exception is a schema that is `bytes` and nothing else: Confluent's serialiser for Java writes those as they
//! are, without their length (`AbstractKafkaAvroSerializer`), other people's with it, and any bytes are one or the other.

use super::varint::{int, long, take};
use crate::parse::avro::Avro;
use crate::parse::avro::graph::{Graph, Kind, Primitive, TypeId};
use std::collections::HashMap;
use std::ops::Range;

/// Types inside each other that are followed: each node of a list made of records is two, itself and the union around it.
/// Schemas have at most 400.
pub(super) const MAX_DEPTH: u32 = 1000;

/// Items of one block: what Java can hold in an array. More are there only if they take no bytes.
pub(super) const MAX_ITEMS: u64 = i32::MAX as u64;

/// The types of a schema.
#[derive(Debug)]
pub(super) struct Types {
    all: Vec<Type>,
    /// Fields of records and branches of unions, each type's in a row.
    parts: Vec<Place>,
    root: Place,
}

/// A type's place among [`Types`].
type Place = u32;

#[derive(Debug, Clone)]
enum Type {
    /// Takes no bytes.
    Nothing,
    Boolean,
    Int,
    Long,
    /// So many bytes: a fixed, a float, a double.
    Bytes(u64),
    /// A length and so many bytes.
    Prefixed,
    /// The same, in UTF-8.
    Text,
    /// Below this number.
    Enum(usize),
    Array(Place),
    Map(Place),
    Union(Range<u32>),
    /// Without the fields that take no bytes.
    Record(Range<u32>),
}

impl Types {
    pub(super) fn of(schema: &Avro) -> Self {
        let graph = schema.graph();
        let mut compiler = Compiler {
            graph,
            empty: HashMap::new(),
            places: HashMap::new(),
            types: Self { all: vec![Type::Nothing], parts: Vec::new(), root: 0 },
        };
        let root = compiler.place(schema.root());
        let mut types = compiler.types;
        types.root = root;
        types.all.shrink_to_fit();
        types.parts.shrink_to_fit();
        types
    }

    /// As Confluent's serialisers write `bytes` alone: without their length.
    pub(super) fn takes_anything(&self) -> bool {
        matches!(self.all[self.root as usize], Type::Prefixed)
    }

    pub(super) fn reads(&self, payload: &[u8]) -> bool {
        if self.takes_anything() {
            return true;
        }
        let mut rest = payload;
        self.datum(self.root, &mut rest, MAX_DEPTH).is_some() && rest.is_empty()
    }

    pub(super) fn weight(&self) -> usize {
        self.all.capacity() * size_of::<Type>() + self.parts.capacity() * size_of::<Place>()
    }

    /// Steps over one datum; `None` where there is none.
    fn datum(&self, place: Place, rest: &mut &[u8], left: u32) -> Option<()> {
        let left = left.checked_sub(1)?;
        match &self.all[place as usize] {
            Type::Nothing => {}
            Type::Boolean => {
                take(rest, 1).filter(|byte| matches!(byte, [0 | 1]))?;
            }
            Type::Int => {
                int(rest)?;
            }
            Type::Long => {
                long(rest)?;
            }
            Type::Bytes(size) => {
                take(rest, *size)?;
            }
            Type::Prefixed => {
                prefixed(rest)?;
            }
            Type::Text => text(rest)?,
            Type::Enum(symbols) => {
                index(rest, *symbols)?;
            }
            Type::Array(items) => blocks(rest, |rest| self.datum(*items, rest, left))?,
            Type::Map(values) => blocks(rest, |rest| {
                text(rest)?;
                self.datum(*values, rest, left)
            })?,
            Type::Union(branches) => {
                let branches = self.parts(branches);
                let branch = branches[index(rest, branches.len())?];
                self.datum(branch, rest, left)?;
            }
            Type::Record(fields) => {
                for field in self.parts(fields) {
                    self.datum(*field, rest, left)?;
                }
            }
        }
        Some(())
    }

    fn parts(&self, range: &Range<u32>) -> &[Place] {
        &self.parts[range.start as usize..range.end as usize]
    }
}

/// The blocks of an array or a map, each with the number of its items in front, below zero if its size follows; then 0.
fn blocks(rest: &mut &[u8], mut item: impl FnMut(&mut &[u8]) -> Option<()>) -> Option<()> {
    let mut items = |count: u64, rest: &mut &[u8]| {
        for _ in 0..count {
            let before = rest.len();
            item(rest)?;
            // Only what never takes bytes takes none: all others are there, too.
            if rest.len() == before {
                break;
            }
        }
        Some(())
    };
    loop {
        let count = long(rest)?;
        if count == 0 {
            return Some(());
        }
        let many = Some(count.unsigned_abs()).filter(|many| *many <= MAX_ITEMS)?;
        if count > 0 {
            items(many, rest)?;
            continue;
        }
        let mut block = prefixed(rest)?;
        items(many, &mut block)?;
        if !block.is_empty() {
            return None;
        }
    }
}

/// A length and so many bytes.
fn prefixed<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u64::try_from(long(rest)?).ok()?;
    take(rest, length)
}

fn text(rest: &mut &[u8]) -> Option<()> {
    std::str::from_utf8(prefixed(rest)?).ok().map(|_| ())
}

/// The place of a symbol or a branch.
fn index(rest: &mut &[u8], end: usize) -> Option<usize> {
    usize::try_from(int(rest)?).ok().filter(|index| *index < end)
}

struct Compiler<'a> {
    graph: &'a Graph,
    /// Whether a type takes no bytes. False while that is being found out: what contains itself without a choice has no end.
    empty: HashMap<TypeId, bool>,
    places: HashMap<TypeId, Place>,
    types: Types,
}

impl Compiler<'_> {
    fn is_empty(&mut self, id: TypeId) -> bool {
        if let Some(known) = self.empty.get(&id) {
            return *known;
        }
        self.empty.insert(id, false);
        let graph = self.graph;
        let empty = match &graph.get(id).kind {
            Kind::Primitive(primitive) => *primitive == Primitive::Null,
            Kind::Fixed(fixed) => fixed.size == 0,
            Kind::Record(record) => record.fields.values().all(|field| self.is_empty(field.schema)),
            Kind::Array(_) | Kind::Map(_) | Kind::Union(_) | Kind::Enum(_) => false,
        };
        self.empty.insert(id, empty);
        empty
    }

    /// Where the type is, once it has been added. As deep as the schema, which is bounded.
    fn place(&mut self, id: TypeId) -> Place {
        if self.is_empty(id) {
            return 0;
        }
        if let Some(place) = self.places.get(&id) {
            return *place;
        }
        let place = index_of(self.types.all.len());
        // Its own parts may lead to it.
        self.places.insert(id, place);
        self.types.all.push(Type::Nothing);
        let graph = self.graph;
        let found = match &graph.get(id).kind {
            Kind::Primitive(primitive) => match primitive {
                Primitive::Null => Type::Nothing,
                Primitive::Boolean => Type::Boolean,
                Primitive::Int => Type::Int,
                Primitive::Long => Type::Long,
                Primitive::Float => Type::Bytes(4),
                Primitive::Double => Type::Bytes(8),
                Primitive::Bytes => Type::Prefixed,
                Primitive::String => Type::Text,
            },
            Kind::Fixed(fixed) => Type::Bytes(u64::from(fixed.size.unsigned_abs())),
            Kind::Enum(found) => Type::Enum(found.symbols.len()),
            Kind::Array(items) => Type::Array(self.place(*items)),
            Kind::Map(values) => Type::Map(self.place(*values)),
            Kind::Union(branches) => {
                let places: Vec<Place> = branches.iter().map(|branch| self.place(*branch)).collect();
                Type::Union(self.row(&places))
            }
            Kind::Record(record) => {
                let fields = record.fields.values().map(|field| self.place(field.schema));
                let places: Vec<Place> = fields.filter(|place| *place != 0).collect();
                Type::Record(self.row(&places))
            }
        };
        self.types.all[place as usize] = found;
        place
    }

    fn row(&mut self, places: &[Place]) -> Range<u32> {
        let start = index_of(self.types.parts.len());
        self.types.parts.extend_from_slice(places);
        start..index_of(self.types.parts.len())
    }
}

/// A text of four gigabytes is refused long before this.
fn index_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
