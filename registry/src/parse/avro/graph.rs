//! The types of a schema, in one table; they refer to each other, and to themselves, by their place in it.

use super::names::Name;
use crate::json::Json;
use indexmap::{IndexMap, IndexSet};

/// A type's place in its [`Graph`]. Every occurrence of an unnamed type has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TypeId(u32);

impl TypeId {
    /// For keys that hold two of them.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.0)
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// All types, those of references first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    types: Vec<Type>,
    /// How many of them references brought.
    referenced: usize,
}

/// A type with what was written beside it.
#[derive(Debug, Clone)]
pub(crate) struct Type {
    pub(crate) kind: Kind,
    /// What Avro does not know, in its order.
    pub(super) props: Vec<(Box<str>, Json)>,
}

/// What a type is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Primitive(Primitive),
    Array(TypeId),
    Map(TypeId),
    Union(Vec<TypeId>),
    Record(Box<Record>),
    Enum(Box<Enum>),
    Fixed(Box<Fixed>),
}

/// A type without parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Primitive {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
}

impl Primitive {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "int" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "bytes" => Self::Bytes,
            "string" => Self::String,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
        }
    }
}

/// What records, enums and fixed have in common.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: Name,
    pub(super) doc: Option<Box<str>>,
    pub(crate) aliases: IndexSet<Name>,
}

/// A record, or an error of a protocol.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) named: Named,
    pub(super) is_error: bool,
    /// By name, in their order.
    pub(crate) fields: IndexMap<Box<str>, Field>,
    /// Places of the fields without a default.
    pub(super) required: Vec<usize>,
    /// False while its fields are being read.
    pub(super) is_complete: bool,
}

/// A field of a record.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) schema: TypeId,
    pub(super) doc: Option<Box<str>>,
    pub(crate) default: Option<Json>,
    pub(super) order: Order,
    pub(crate) aliases: IndexSet<Box<str>>,
    pub(super) props: Vec<(Box<str>, Json)>,
}

/// How a field counts when records are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
    Ignore,
}

/// An enum.
#[derive(Debug, Clone)]
pub(crate) struct Enum {
    pub(crate) named: Named,
    pub(crate) symbols: IndexSet<Box<str>>,
    pub(crate) default: Option<Box<str>>,
}

/// Bytes of a fixed number.
#[derive(Debug, Clone)]
pub(crate) struct Fixed {
    pub(crate) named: Named,
    pub(crate) size: i32,
}

impl Graph {
    /// Adds a type and says where it is. A text of four gigabytes is refused long before this.
    pub(super) fn add(&mut self, kind: Kind) -> TypeId {
        let id = TypeId(u32::try_from(self.types.len()).unwrap_or(u32::MAX));
        self.types.push(Type { kind, props: Vec::new() });
        id
    }

    /// The type at a place that this graph gave out.
    pub(crate) fn get(&self, id: TypeId) -> &Type {
        &self.types[id.index()]
    }

    pub(super) fn get_mut(&mut self, id: TypeId) -> &mut Type {
        &mut self.types[id.index()]
    }

    /// What is there now came with references.
    pub(super) fn mark_referenced(&mut self) {
        self.referenced = self.types.len();
    }

    /// Whether a reference brought it.
    pub(super) fn is_referenced(&self, id: TypeId) -> bool {
        id.index() < self.referenced
    }

    /// The name and what belongs to it, of a type that has one.
    pub(crate) fn named(&self, id: TypeId) -> Option<&Named> {
        match &self.get(id).kind {
            Kind::Record(record) => Some(&record.named),
            Kind::Enum(symbols) => Some(&symbols.named),
            Kind::Fixed(fixed) => Some(&fixed.named),
            _ => None,
        }
    }

    pub(super) fn named_mut(&mut self, id: TypeId) -> Option<&mut Named> {
        match &mut self.get_mut(id).kind {
            Kind::Record(record) => Some(&mut record.named),
            Kind::Enum(symbols) => Some(&mut symbols.named),
            Kind::Fixed(fixed) => Some(&mut fixed.named),
            _ => None,
        }
    }

    /// `record`, `array`, `int`: the kind of a type in the words of the specification.
    pub(crate) fn kind_name(&self, id: TypeId) -> &'static str {
        match &self.get(id).kind {
            Kind::Primitive(primitive) => primitive.name(),
            Kind::Array(_) => "array",
            Kind::Map(_) => "map",
            Kind::Union(_) => "union",
            Kind::Record(_) => "record",
            Kind::Enum(_) => "enum",
            Kind::Fixed(_) => "fixed",
        }
    }

    /// What tells the branches of a union apart: the full name, or the kind of a type without one.
    pub(crate) fn branch_name(&self, id: TypeId) -> String {
        self.named(id).map_or_else(|| self.kind_name(id).to_owned(), |named| named.name.full())
    }

    /// Whether a printer that writes each named type where it first comes nests at most `limit` types.
    pub(super) fn is_within_depth(&self, root: TypeId, limit: usize) -> bool {
        let mut seen = vec![false; self.types.len()];
        self.descend(root, limit, &mut seen)
    }

    fn descend(&self, id: TypeId, left: usize, seen: &mut [bool]) -> bool {
        let Some(left) = left.checked_sub(1) else { return false };
        if std::mem::replace(&mut seen[id.index()], true) {
            return true;
        }
        match &self.get(id).kind {
            Kind::Array(inner) | Kind::Map(inner) => self.descend(*inner, left, seen),
            Kind::Union(branches) => branches.iter().all(|branch| self.descend(*branch, left, seen)),
            Kind::Record(record) => {
                record.fields.values().all(|field| self.descend(field.schema, left, seen))
            }
            Kind::Primitive(_) | Kind::Enum(_) | Kind::Fixed(_) => true,
        }
    }
}

/// Which named types a printer has written already.
pub(super) struct Written(Vec<bool>);

impl Written {
    pub(super) fn none(graph: &Graph) -> Self {
        Self(vec![false; graph.types.len()])
    }

    /// Those of references.
    pub(super) fn referenced(graph: &Graph) -> Self {
        let mut written = Self::none(graph);
        written.0[..graph.referenced].fill(true);
        written
    }

    /// True from the second time on.
    pub(super) fn again(&mut self, id: TypeId) -> bool {
        std::mem::replace(&mut self.0[id.index()], true)
    }
}
