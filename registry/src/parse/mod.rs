//! Schema text -> what it means, in its canonical form.
//!
//! Every parse stands alone: it sees one text and the texts that this one's references lead to, and leaves nothing
//! behind. Nothing is ever fetched: a `$ref` or an import that no reference resolves is an error.
//!
//! The canonical text is what clients see and what ids and GUIDs are made from; it is printed as Confluent's registry
//! prints it. The submitted bytes are kept beside it by the stores.

pub mod avro;
pub mod json_schema;
pub mod outline;
pub mod protobuf;

use crate::schema::{Dependency, SchemaType};
use avro::Avro;
use json_schema::JsonSchema;
use protobuf::Protobuf;
use std::fmt;

/// How strictly a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// A schema that somebody registers now: names, defaults and symbols must be valid.
    New,
    /// One that some registry has already accepted, as in IMPORT mode: only what makes it meaningless is refused.
    Stored,
}

/// Why a text is no schema: what, where in it, and what to do. One line, lower case, without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(String);

impl Problem {
    /// A problem in words.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

/// A schema of any type.
#[derive(Debug, Clone)]
pub enum Parsed {
    /// Avro.
    Avro(Box<Avro>),
    /// JSON Schema.
    Json(Box<JsonSchema>),
    /// Protobuf.
    Protobuf(Box<Protobuf>),
}

impl Parsed {
    /// Reads a text together with those that its references lead to.
    pub fn parse(
        schema_type: SchemaType,
        text: &str,
        dependencies: &[Dependency<'_>],
        strictness: Strictness,
    ) -> Result<Self, Problem> {
        match schema_type {
            SchemaType::Avro => Avro::parse(text, dependencies, strictness).map(Box::new).map(Self::Avro),
            SchemaType::Json => {
                JsonSchema::parse(text, dependencies, strictness).map(Box::new).map(Self::Json)
            }
            SchemaType::Protobuf => {
                Protobuf::parse(text, dependencies, strictness).map(Box::new).map(Self::Protobuf)
            }
        }
    }

    /// Its language.
    pub fn schema_type(&self) -> SchemaType {
        match self {
            Self::Avro(_) => SchemaType::Avro,
            Self::Json(_) => SchemaType::Json,
            Self::Protobuf(_) => SchemaType::Protobuf,
        }
    }

    /// What clients see, and what ids and GUIDs are made from.
    pub fn canonical(&self) -> &str {
        match self {
            Self::Avro(schema) => schema.canonical(),
            Self::Json(schema) => schema.canonical(),
            Self::Protobuf(schema) => schema.canonical(),
        }
    }

    /// The text for `normalize=true`.
    pub fn normalized(&self) -> String {
        match self {
            Self::Avro(schema) => schema.normalized(),
            Self::Json(schema) => schema.normalized(),
            Self::Protobuf(schema) => schema.normalized(),
        }
    }

    /// The text by which content is the same whatever it is called, documented and ordered: of Avro the Parsing Canonical Form.
    pub fn reduced(&self) -> String {
        match self {
            Self::Avro(schema) => schema.reduced(),
            Self::Json(schema) => schema.reduced(),
            Self::Protobuf(schema) => schema.reduced(),
        }
    }

    /// The text in another form; nothing where the type does not know the format, and the canonical text is meant.
    pub fn formatted(&self, format: &str) -> Result<Option<String>, Problem> {
        Ok(match (self, format) {
            (Self::Avro(schema), "resolved") => Some(schema.resolved()),
            (Self::Protobuf(schema), "serialized") => Some(schema.serialized()?),
            (Self::Protobuf(schema), "ignore_extensions") => Some(schema.without_extensions()),
            _ => None,
        })
    }

    /// Whether the two say the same although their texts differ, because one has what it refers to inside it.
    pub fn is_same_resolved(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Avro(one), Self::Avro(other)) => one.resolved() == other.resolved(),
            _ => false,
        }
    }

    /// Names at the top of what a record holds: those that `confluent:reserved` may speak of.
    pub fn has_field(&self, name: &str) -> bool {
        match self {
            Self::Avro(schema) => schema.has_field(name),
            Self::Json(schema) => schema.has_property(name),
            Self::Protobuf(schema) => schema.has_field(name),
        }
    }
}
