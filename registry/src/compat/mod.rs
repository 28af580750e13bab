//! Whether data written with one schema can be read with another.
//!
//! Each type has its rules in a file (or a folder of files) of its own: a pure function from a reader's and a writer's
//! schema to the list of [`Difference`]s that make reading fail. Which versions are compared in which direction is
//! decided here, from the level.

pub mod avro;
pub mod json_schema;
pub mod protobuf;

/// A reason why a reader cannot read what a writer wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Confluent's name of the rule, as `READER_FIELD_MISSING_DEFAULT_VALUE`.
    pub rule: &'static str,
    /// Where, as a JSON pointer or a dotted path in the form that Confluent uses for the type.
    pub path: String,
    /// What is wrong, with both values, and a fix; one sentence for people.
    pub message: String,
    /// Confluent's own form of the message, for clients that parse it.
    pub confluent: String,
}
