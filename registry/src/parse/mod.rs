//! Schema text -> what it means, in its canonical form.
//!
//! Every parse stands alone: it sees one text and the texts that this one's references lead to, and leaves nothing
//! behind. Nothing is ever fetched: a `$ref` or an import that no reference resolves is an error.
//!
//! The canonical text is what clients see and what ids and GUIDs are made from; it is printed as Confluent's registry
//! prints it. The submitted bytes are kept beside it by the stores.

pub mod json_schema;
pub mod protobuf;

use std::fmt;

pub mod avro;

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
