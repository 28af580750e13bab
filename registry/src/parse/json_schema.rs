//! JSON Schema, drafts 4, 6, 7, 2019-09 and 2020-12.
//!
//! Reading a schema takes the document apart into nodes (see `model`), with every `$ref` resolved: inside the document,
//! or to a dependency by the name of the reference, by its own `$id`, or by an anchor. It does not validate data, and it
//! never fetches.

use crate::json::{Json, Syntax, quote, read};
use crate::parse::{Problem, Strictness};
use crate::schema::Dependency;
use std::cmp::Ordering;
use std::fmt::Write;

mod build;
mod documents;
mod draft;
mod keywords;
pub(crate) mod model;
#[cfg(test)]
mod tests;
mod uri;

use documents::Documents;
use draft::Draft;
use model::{Node, NodeId, Shape};

/// A parsed JSON Schema.
#[derive(Debug, Clone)]
pub struct JsonSchema {
    document: Json,
    canonical: String,
    nodes: Vec<Node>,
    root: NodeId,
}

impl JsonSchema {
    /// Reads a schema that may refer to `dependencies`.
    ///
    /// [`Strictness::New`] refuses keywords with the wrong kind of value, references that nothing at hand resolves,
    /// schemas that apply themselves to the same value without end, and top-level properties whose name starts with `$$`
    /// (Confluent keeps those for itself).
    /// [`Strictness::Stored`] overlooks what it cannot understand; only what is no schema at all is refused.
    pub fn parse(
        text: &str,
        dependencies: &[Dependency<'_>],
        strictness: Strictness,
    ) -> Result<Self, Problem> {
        let document =
            read(text, Syntax::Strict).map_err(|error| Problem::new(format!("this is not JSON: {error}")))?;
        if !matches!(document, Json::Object(_) | Json::Bool(_)) {
            let kind = document.kind();
            return Err(Problem::new(format!("a JSON Schema must be an object or a boolean, not {kind}")));
        }
        if strictness == Strictness::New {
            keywords::check(&document, Draft::of(&document))?;
            let reserved = document.get("properties").and_then(Json::as_object);
            if let Some(name) = reserved.and_then(|names| names.keys().find(|name| name.starts_with("$$"))) {
                let name: String = name.chars().take(80).collect();
                return Err(Problem::new(format!(
                    "#/properties/{name}: names of fields cannot start with $$: rename it"
                )));
            }
        }
        let mut others = Vec::with_capacity(dependencies.len());
        for dependency in dependencies {
            let read = read(dependency.text, Syntax::Strict);
            others.push(read.map_err(|error| {
                Problem::new(format!(
                    "the schema that reference {:?} leads to is not JSON: {error}",
                    dependency.name
                ))
            })?);
        }
        let (nodes, root) = {
            let mut documents = Documents::default();
            let scope = documents.add(&document, "", "");
            for (dependency, json) in dependencies.iter().zip(&others) {
                documents.add(json, dependency.name, &scope.base);
            }
            build::Builder::new(&documents, strictness).build(&document, &scope)?
        };
        Ok(Self { canonical: document.to_string(), document, nodes, root })
    }

    /// The text as Confluent's registry prints it: compact, members in the order of the submitted text.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The text with the members of every object sorted as Java sorts strings: what `normalize=true` registers.
    pub fn normalized(&self) -> String {
        sorted(&self.document, |a, b| a.encode_utf16().cmp(b.encode_utf16()))
    }

    /// What makes two schemas the same where identity ignores the order of members: sorted by bytes.
    pub fn reduced(&self) -> String {
        sorted(&self.document, str::cmp)
    }

    /// Means the same, word for word, dependencies included.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.document == other.document && self.nodes == other.nodes
    }

    /// Whether it describes an object with a property of this name.
    pub fn has_property(&self, name: &str) -> bool {
        self.document
            .get("properties")
            .and_then(Json::as_object)
            .is_some_and(|members| members.contains_key(name))
    }

    /// The topmost node.
    pub(crate) fn root(&self) -> NodeId {
        self.root
    }

    /// A node of this schema; references are not followed.
    pub(crate) fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node as usize]
    }

    /// What a node means: where a reference leads to, or the node itself.
    pub(crate) fn follow(&self, node: NodeId) -> NodeId {
        if let Shape::Reference(target) = self.node(node).shape { target } else { node }
    }
}

/// A value as text, with the members of every object in an order.
pub(crate) fn sorted(json: &Json, order: fn(&str, &str) -> Ordering) -> String {
    let mut text = String::new();
    print(json, order, &mut text);
    text
}

fn print(json: &Json, order: fn(&str, &str) -> Ordering, text: &mut String) {
    match json {
        Json::Array(elements) => {
            text.push('[');
            for (n, element) in elements.iter().enumerate() {
                text.push_str(if n > 0 { "," } else { "" });
                print(element, order, text);
            }
            text.push(']');
        }
        Json::Object(members) => {
            let mut names: Vec<_> = members.iter().collect();
            names.sort_by(|a, b| order(a.0, b.0));
            text.push('{');
            for (n, (name, value)) in names.into_iter().enumerate() {
                text.push_str(if n > 0 { "," } else { "" });
                // Writing to a string cannot fail.
                let _ = quote(name, text);
                text.push(':');
                print(value, order, text);
            }
            text.push('}');
        }
        leaf => {
            let _ = write!(text, "{leaf}");
        }
    }
}
