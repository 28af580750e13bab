//! A schema as the compatibility rules see it: one node per schema, split by the kind of value that its keywords talk
//! about.
//!
//! The split is the one of Confluent's loaders, because their rules are stated on it: keywords of one type (given by
//! `type`, or guessed from the keywords) make one node; several kinds beside each other make an `allOf` of them; a list
//! of types makes an `anyOf`.

use crate::json::{Json, Number};
use indexmap::IndexMap;
use std::collections::BTreeSet;

/// The place of a node in its schema.
pub(crate) type NodeId = u32;

/// One schema inside a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) notes: Notes,
    pub(crate) shape: Shape,
    /// How much the schema itself says, without the schemas inside: about its bytes.
    pub(crate) size: u32,
}

/// What a schema says beside what it demands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Notes {
    pub(crate) id: Option<Box<str>>,
    pub(crate) title: Option<Box<str>>,
    pub(crate) description: Option<Box<str>>,
    pub(crate) default: Option<Json>,
    /// `connect.type` is `bytes`: Connect writes the same bytes under several shapes.
    pub(crate) connect_bytes: bool,
}

/// What a schema demands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// `{}` and `true`.
    Any,
    /// `false`.
    Nothing,
    /// `$ref`; leads to a node that is no reference itself.
    Reference(NodeId),
    /// A reference to something that is not at hand, by its URI.
    Elsewhere(Box<str>),
    String(Box<StringShape>),
    Number(Box<NumberShape>),
    Boolean,
    Null,
    Enum(Vec<Json>),
    Const(Json),
    Not(NodeId),
    /// `if`, `then` and `else`.
    Conditional(Vec<NodeId>),
    Combined(Criterion, Vec<NodeId>),
    Object(Box<ObjectShape>),
    Array(Box<ArrayShape>),
}

/// How many of the combined schemas must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Criterion {
    All,
    Any,
    One,
}

impl Criterion {
    /// The keyword.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "allOf",
            Self::Any => "anyOf",
            Self::One => "oneOf",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StringShape {
    pub(crate) min: Option<u64>,
    pub(crate) max: Option<u64>,
    pub(crate) pattern: Option<Box<str>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NumberShape {
    pub(crate) integer: bool,
    pub(crate) minimum: Option<Number>,
    pub(crate) maximum: Option<Number>,
    pub(crate) exclusive_minimum: Option<Number>,
    pub(crate) exclusive_maximum: Option<Number>,
    pub(crate) multiple_of: Option<Number>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ObjectShape {
    pub(crate) properties: IndexMap<Box<str>, NodeId>,
    pub(crate) required: BTreeSet<Box<str>>,
    pub(crate) patterns: Vec<(Box<str>, NodeId)>,
    /// `additionalProperties` is not `false`.
    pub(crate) permits_additional: bool,
    /// The schema in `additionalProperties`.
    pub(crate) additional: Option<NodeId>,
    pub(crate) unevaluated: Option<NodeId>,
    pub(crate) min: Option<u64>,
    pub(crate) max: Option<u64>,
    pub(crate) required_by: IndexMap<Box<str>, BTreeSet<Box<str>>>,
    pub(crate) schema_by: IndexMap<Box<str>, NodeId>,
}

impl Default for ObjectShape {
    fn default() -> Self {
        Self {
            properties: IndexMap::new(),
            required: BTreeSet::new(),
            patterns: Vec::new(),
            permits_additional: true,
            additional: None,
            unevaluated: None,
            min: None,
            max: None,
            required_by: IndexMap::new(),
            schema_by: IndexMap::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ArrayShape {
    /// One schema for all items.
    pub(crate) all: Option<NodeId>,
    /// A schema for each of the first items.
    pub(crate) tuple: Vec<NodeId>,
    /// More items than the tuple has may follow.
    pub(crate) permits_additional: bool,
    /// The schema of those.
    pub(crate) additional: Option<NodeId>,
    pub(crate) unevaluated: Option<NodeId>,
    pub(crate) min: Option<u64>,
    pub(crate) max: Option<u64>,
    pub(crate) unique: bool,
    pub(crate) min_contains: Option<u64>,
    pub(crate) max_contains: Option<u64>,
}

impl Default for ArrayShape {
    fn default() -> Self {
        Self {
            all: None,
            tuple: Vec::new(),
            permits_additional: true,
            additional: None,
            unevaluated: None,
            min: None,
            max: None,
            unique: false,
            min_contains: None,
            max_contains: None,
        }
    }
}
