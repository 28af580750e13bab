//! Avro schema text: what it means, and its canonical text as Apache Avro's `Schema.toString` prints it.
//!
//! Accepted and refused is what Apache Avro 1.11 for Java accepts and refuses, as Confluent's registry uses it; a new schema
//! must also pass what AxonOps' registry insists on (no empty enum, no fixed of size 0, a default that its type can hold).
//! A type that a reference has brought may be defined once more if it is the same: Confluent prints such types in full.
//! Names, defaults and properties are kept as they were written; nothing is looked up outside the texts that are given.
//!
//! Time and memory are linear in the texts: a name has at most [`MAX_NAME`] bytes, so that inheriting a namespace copies
//! little, and types lie at most [`MAX_DEPTH`] deep inside each other, references followed.

use super::{Problem, Strictness};
use crate::json::{self, Syntax};
use crate::schema::Dependency;

mod defaults;
mod equal;
mod form;
pub(crate) mod graph;
mod logical;
mod names;
mod number;
mod print;
mod read;
#[cfg(test)]
mod tests;

use graph::{Graph, TypeId};

/// Bytes of a name, namespace included.
pub const MAX_NAME: usize = 1000;

/// Types inside each other, once every referenced type stands where it is first used.
pub const MAX_DEPTH: usize = 400;

/// An Avro schema.
#[derive(Debug, Clone)]
pub struct Avro {
    graph: Graph,
    root: TypeId,
    canonical: String,
}

impl Avro {
    /// Reads a schema. The named types of the `dependencies` are visible to later ones and to `text`; these have been
    /// registered before, so that they are read as [`Strictness::Stored`].
    pub fn parse(
        text: &str,
        dependencies: &[Dependency<'_>],
        strictness: Strictness,
    ) -> Result<Self, Problem> {
        let mut reader = read::Reader::new();
        for (n, dependency) in dependencies.iter().enumerate() {
            // One version under two names: its types are defined once.
            if dependencies.iter().take(n).any(|earlier| earlier.text == dependency.text) {
                continue;
            }
            let read = json::read(dependency.text, Syntax::Comments).map_err(|error| error.to_string());
            let read = read.and_then(|tree| reader.document(&tree, Strictness::Stored));
            read.map_err(|why| Problem::new(format!("reference {:?}: avro schema {why}", dependency.name)))?;
        }
        reader.end_of_dependencies();
        let tree = json::read(text, Syntax::Comments)
            .map_err(|error| Problem::new(format!("avro schema is not json: {error}")))?;
        let root =
            reader.document(&tree, strictness).map_err(|why| Problem::new(format!("avro schema {why}")))?;
        let graph = reader.finish();
        if !graph.is_within_depth(root, MAX_DEPTH) {
            return Err(Problem::new(format!(
                "avro schema has more than {MAX_DEPTH} types inside each other, which no reader is built for: \
                 make it flatter"
            )));
        }
        let canonical = print::canonical(&graph, root);
        Ok(Self { graph, root, canonical })
    }

    /// The text as Apache Avro prints it, types of references by their names: what clients see, and what ids are made of.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The canonical text of what Confluent's `normalize` makes of it: properties and aliases sorted, empty documentation
    /// of types left away, defaults in the form of their type (`0` of a double is `0.0`).
    pub fn normalized(&self) -> String {
        print::normalized(&self.graph, self.root)
    }

    /// The canonical text with every referenced type where it is first used: `format=resolved`.
    pub fn resolved(&self) -> String {
        print::resolved(&self.graph, self.root)
    }

    /// Avro's Parsing Canonical Form, references inlined: what decides how bytes are read, and nothing else.
    pub fn reduced(&self) -> String {
        form::parsing(&self.graph, self.root)
    }

    /// The full name, where the schema is a record, an enum or a fixed.
    pub fn name(&self) -> Option<String> {
        self.graph.named(self.root).map(|named| named.name.full())
    }

    /// Whether it is a record with a field of this name.
    pub fn has_field(&self, name: &str) -> bool {
        matches!(&self.graph.get(self.root).kind, graph::Kind::Record(record) if record.fields.contains_key(name))
    }

    /// The types.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Where the schema begins among the types.
    pub(crate) fn root(&self) -> TypeId {
        self.root
    }
}
