//! `confluent:reserved`: names, in a version's metadata, that later versions must keep free.

use super::changes::{Found, Values};
use super::message;
use super::rule::Rule;
use super::{Difference, MAX_DIFFERENCES};
use crate::parse::json_schema::JsonSchema;
use crate::parse::json_schema::model::Shape;
use crate::schema::Metadata;
use std::collections::BTreeSet;

/// The property of the metadata that lists the names, separated by commas.
const RESERVED: &str = "confluent:reserved";

fn names(metadata: Option<&Metadata>) -> BTreeSet<&str> {
    let list = metadata.and_then(|metadata| metadata.properties.as_ref()?.get(RESERVED));
    list.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// Reserved names that the reader's version no longer reserves, or uses itself. At most [`MAX_DIFFERENCES`].
pub fn reserved(reader: &JsonSchema, reads: Option<&Metadata>, writes: Option<&Metadata>) -> Vec<Difference> {
    let (before, after) = (names(writes), names(reads));
    let found = |rule, path: String| message::difference(&Found { rule, path, values: Values::new("", "") });
    let removed = before.difference(&after).map(|name| {
        let mut difference = found(Rule::ReservedPropertyRemoved, (*name).to_owned());
        // This one is a name, not a path.
        difference.path = (*name).to_owned();
        difference
    });
    let root = reader.node(reader.root());
    let used = |name: &&&str| match &root.shape {
        Shape::Object(object) => object.properties.contains_key(**name),
        _ => false,
    };
    let conflicts = after
        .iter()
        .filter(used)
        .map(|name| found(Rule::ReservedPropertyConflicts, format!("properties/{name}")));
    removed.chain(conflicts).take(MAX_DIFFERENCES).collect()
}
