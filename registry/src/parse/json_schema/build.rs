//! Documents -> nodes.
//!
//! Every value of a document becomes at most one node (and a few for its parts), so the work is linear in the texts. A
//! `$ref` is only noted and resolved later, from a queue: neither a long chain of references nor a schema that refers to
//! itself deepens the stack, which is as deep as the text is nested.

use super::documents::{Documents, Place, Scope};
use super::draft::Draft;
use super::model::{
    ArrayShape, Criterion, Node, NodeId, Notes, NumberShape, ObjectShape, Shape, StringShape,
};
use crate::json::{Json, Number, Object};
use crate::parse::{Problem, Strictness};
use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{Hash, Hasher};

/// As many types as there are.
const MAX_TYPES: usize = 7;

/// A number as a count of things; none if it is none.
pub(super) fn count(number: &Number) -> Option<u64> {
    let decimal = number.decimal().normal();
    if decimal.negative || decimal.scale > 0 {
        return None;
    }
    let zeros = usize::try_from(-decimal.scale).ok().filter(|zeros| *zeros < 20);
    // What is more than any document can have stays that.
    let Some(zeros) = zeros else { return Some(u64::MAX) };
    Some(format!("{}{}", decimal.digits, "0".repeat(zeros)).parse().unwrap_or(u64::MAX))
}

/// The kinds of value that a set of keywords talks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Array,
    Object,
    Number,
    String,
}

impl Group {
    const ALL: [Self; 4] = [Self::Array, Self::Object, Self::Number, Self::String];

    fn keywords(self, draft: Draft) -> &'static [&'static str] {
        match (self, draft) {
            (Self::Number, _) => {
                &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]
            }
            (Self::String, draft) if draft.is_modern() => &["minLength", "maxLength", "pattern"],
            (Self::String, _) => &["minLength", "maxLength", "pattern", "format"],
            (Self::Array, Draft::Draft4) => {
                &["items", "additionalItems", "minItems", "maxItems", "uniqueItems"]
            }
            (Self::Array, Draft::Draft6 | Draft::Draft7) => {
                &["items", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains"]
            }
            (Self::Array, _) => &[
                "items",
                "prefixItems",
                "additionalItems",
                "minItems",
                "maxItems",
                "uniqueItems",
                "contains",
                "unevaluatedItems",
            ],
            (Self::Object, Draft::Draft4) => &[
                "properties",
                "required",
                "additionalProperties",
                "minProperties",
                "maxProperties",
                "dependencies",
                "patternProperties",
            ],
            (Self::Object, Draft::Draft6 | Draft::Draft7) => &[
                "properties",
                "required",
                "additionalProperties",
                "minProperties",
                "maxProperties",
                "dependencies",
                "patternProperties",
                "propertyNames",
            ],
            (Self::Object, _) => &[
                "properties",
                "required",
                "additionalProperties",
                "minProperties",
                "maxProperties",
                "dependentRequired",
                "dependentSchemas",
                "patternProperties",
                "propertyNames",
                "unevaluatedProperties",
            ],
        }
    }
}

/// Makes the nodes of one schema.
pub(super) struct Builder<'a> {
    documents: &'a Documents<'a>,
    strictness: Strictness,
    nodes: Vec<Node>,
    /// By address: the documents neither move nor change while this lives.
    done: HashMap<usize, NodeId>,
    hashes: HashMap<usize, u64>,
    references: VecDeque<(NodeId, &'a str, Scope)>,
    /// The size of the schema whose parts are being made.
    size: u32,
}

fn address(json: &Json) -> usize {
    std::ptr::from_ref(json).addr()
}

impl<'a> Builder<'a> {
    pub(super) fn new(documents: &'a Documents<'a>, strictness: Strictness) -> Self {
        Self {
            documents,
            strictness,
            nodes: Vec::new(),
            done: HashMap::new(),
            hashes: HashMap::new(),
            references: VecDeque::new(),
            size: 0,
        }
    }

    /// Builds the document and all that it refers to.
    pub(super) fn build(mut self, document: &'a Json, scope: &Scope) -> Result<(Vec<Node>, NodeId), Problem> {
        let root = self.schema(document, scope);
        while let Some((node, reference, scope)) = self.references.pop_front() {
            let shape = match self.documents.find(reference, &scope) {
                Some(Place { json: json @ (Json::Object(_) | Json::Bool(_)), scope }) => {
                    Shape::Reference(self.schema(json, &scope))
                }
                found => self.nowhere(reference, &scope, found.as_ref())?,
            };
            self.nodes[node as usize].shape = shape;
        }
        self.shorten()?;
        if self.strictness == Strictness::New {
            self.ends()?;
        }
        Ok((self.nodes, root))
    }

    /// Refuses a schema that applies itself to the same value again: checking that would never end.
    fn ends(&self) -> Result<(), Problem> {
        /// What a node applies to the very value that it is applied to.
        fn in_place(shape: &Shape) -> Vec<NodeId> {
            match shape {
                Shape::Reference(node) | Shape::Not(node) => vec![*node],
                Shape::Combined(_, nodes) | Shape::Conditional(nodes) => nodes.clone(),
                Shape::Object(object) => object.schema_by.values().copied().collect(),
                _ => Vec::new(),
            }
        }
        let mut seen = vec![false; self.nodes.len()];
        let mut open = vec![false; self.nodes.len()];
        for start in 0..self.nodes.len() {
            if seen[start] {
                continue;
            }
            seen[start] = true;
            open[start] = true;
            let mut way = vec![(start, in_place(&self.nodes[start].shape))];
            while let Some((node, rest)) = way.last_mut() {
                let Some(next) = rest.pop() else {
                    open[*node] = false;
                    way.pop();
                    continue;
                };
                let next = next as usize;
                if open[next] {
                    return Err(Problem::new(
                        "a schema applies itself to the same value again (by $ref, allOf, anyOf, oneOf, not, if or \
                         dependencies), so checking data would never end: let the $ref lead elsewhere",
                    ));
                }
                if !seen[next] {
                    seen[next] = true;
                    open[next] = true;
                    way.push((next, in_place(&self.nodes[next].shape)));
                }
            }
        }
        Ok(())
    }

    /// A reference that leads to no schema.
    fn nowhere(&self, reference: &str, scope: &Scope, found: Option<&Place<'_>>) -> Result<Shape, Problem> {
        let absolute = super::uri::resolve(&scope.base, reference);
        // A schema of schemas: known to every validator, and never registered.
        if self.strictness == Strictness::Stored || Draft::by_uri(&absolute).is_some() {
            let fragment = super::uri::split_fragment(reference).1;
            return Ok(Shape::Elsewhere(format!("{absolute}#{fragment}").into()));
        }
        let shown: String = reference.chars().take(200).collect();
        Err(Problem::new(match found {
            Some(place) => {
                format!("$ref {shown:?} leads to {}, not to a schema: correct it", place.json.kind())
            }
            None if reference.starts_with('#') => {
                format!("$ref {shown:?} leads nowhere in its document: define it there or correct it")
            }
            None => format!(
                "$ref {shown:?} cannot be resolved, and nothing is ever fetched: register what it means under a \
                 subject and add that to the references under the name {:?}, or correct the part behind the #",
                super::uri::split_fragment(&shown).0
            ),
        }))
    }

    /// Lets every reference lead to a node that is none.
    fn shorten(&mut self) -> Result<(), Problem> {
        for start in 0..self.nodes.len() {
            let mut way = Vec::new();
            let mut at = start;
            let end = loop {
                let Shape::Reference(next) = self.nodes[at].shape else { break Some(at) };
                way.push(at);
                // A node on the way leads to itself while it is being followed.
                self.nodes[at].shape = Shape::Reference(at as NodeId);
                if next as usize == at {
                    break None;
                }
                at = next as usize;
            };
            if end.is_none() && self.strictness == Strictness::New {
                return Err(Problem::new(
                    "a $ref leads back to itself through nothing but references, so it means nothing: \
                     let one of them lead to a schema",
                ));
            }
            for node in way {
                self.nodes[node].shape = end.map_or(Shape::Any, |end| Shape::Reference(end as NodeId));
            }
        }
        Ok(())
    }

    fn node(&mut self, shape: Shape) -> NodeId {
        self.nodes.push(Node { notes: Notes::default(), shape, size: self.size });
        (self.nodes.len() - 1) as NodeId
    }

    fn reference(&mut self, reference: &'a str, scope: &Scope) -> NodeId {
        let node = self.node(Shape::Any);
        self.references.push_back((node, reference, scope.clone()));
        node
    }

    fn schema(&mut self, json: &'a Json, scope: &Scope) -> NodeId {
        if let Some(node) = self.done.get(&address(json)) {
            return *node;
        }
        let outer = std::mem::replace(&mut self.size, own_size(json));
        let node = match json {
            Json::Bool(false) => self.node(Shape::Nothing),
            Json::Object(members) => {
                let scope = scope.enter(members);
                self.object(members, &scope)
            }
            _ => self.node(Shape::Any),
        };
        self.size = outer;
        self.done.insert(address(json), node);
        node
    }

    fn object(&mut self, members: &'a Object, scope: &Scope) -> NodeId {
        let text = |keyword| members.get(keyword).and_then(Json::as_str);
        let mut parts = Vec::new();
        if let Some(reference) = text("$ref") {
            parts.push(self.reference(reference, scope));
        }
        if parts.is_empty() || scope.draft.is_modern() {
            if scope.draft.is_modern() {
                for keyword in ["$dynamicRef", "$recursiveRef"] {
                    if let Some(reference) = text(keyword) {
                        parts.push(self.reference(reference, scope));
                    }
                }
            }
            self.parts(members, scope, &mut parts);
        }
        let node = match parts[..] {
            [] => self.node(Shape::Any),
            [only] => only,
            _ => {
                let parts = self.combined_first(parts);
                self.node(Shape::Combined(Criterion::All, parts))
            }
        };
        self.nodes[node as usize].notes = Notes {
            id: text(scope.draft.id_keyword()).map(Into::into),
            title: text("title").map(Into::into),
            description: text("description").map(Into::into),
            default: members.get("default").cloned(),
            connect_bytes: text("connect.type") == Some("bytes"),
        };
        node
    }

    fn combined_first(&self, mut parts: Vec<NodeId>) -> Vec<NodeId> {
        parts.sort_by_key(|part| !matches!(self.nodes[*part as usize].shape, Shape::Combined(..)));
        parts
    }

    fn parts(&mut self, members: &'a Object, scope: &Scope, parts: &mut Vec<NodeId>) {
        let draft = scope.draft;
        if let Some(values) = members.get("enum").and_then(Json::as_array) {
            parts.push(self.node(Shape::Enum(values.to_vec())));
        }
        for criterion in [Criterion::All, Criterion::Any, Criterion::One] {
            if let Some(schemas) = members.get(criterion.name()).and_then(Json::as_array) {
                let schemas =
                    self.distinct(schemas).into_iter().map(|json| self.schema(json, scope)).collect();
                let schemas = self.combined_first(schemas);
                parts.push(self.node(Shape::Combined(criterion, schemas)));
            }
        }
        if let Some(schema) = members.get("not") {
            let schema = self.schema(schema, scope);
            parts.push(self.node(Shape::Not(schema)));
        }
        if let Some(value) = members.get("const").filter(|_| draft > Draft::Draft4) {
            parts.push(self.node(Shape::Const(value.clone())));
        }
        let mut used = Vec::new();
        match members.get("type") {
            Some(Json::String(name)) => parts.extend(self.typed(name, members, scope, &mut used)),
            Some(Json::Array(names)) => {
                let mut types = Vec::new();
                for (n, name) in names.iter().enumerate() {
                    // A stored text may name a type over and over.
                    if let Some(name) = name.as_str().filter(|_| n < MAX_TYPES) {
                        types.extend(self.typed(name, members, scope, &mut used));
                    }
                }
                parts.push(self.node(Shape::Combined(Criterion::Any, types)));
            }
            _ => {}
        }
        for group in Group::ALL {
            let guessed = group.keywords(draft).iter().any(|keyword| members.contains_key(*keyword));
            if guessed && !used.contains(&group) {
                parts.push(self.group(group, false, members, scope));
            }
        }
        if draft >= Draft::Draft7
            && ["if", "then", "else"].iter().any(|keyword| members.contains_key(*keyword))
        {
            let schemas = ["if", "then", "else"]
                .into_iter()
                .filter_map(|keyword| self.optional(members, keyword, scope))
                .collect();
            parts.push(self.node(Shape::Conditional(schemas)));
        }
    }

    /// Schemas that are the same count once.
    fn distinct(&mut self, schemas: &'a [Json]) -> Vec<&'a Json> {
        let mut seen: HashMap<u64, Vec<&Json>> = HashMap::new();
        let mut kept = Vec::with_capacity(schemas.len());
        for schema in schemas {
            match seen.entry(self.hash(schema)) {
                Entry::Occupied(mut same) => {
                    if same.get().contains(&schema) {
                        continue;
                    }
                    same.get_mut().push(schema);
                }
                Entry::Vacant(place) => {
                    place.insert(vec![schema]);
                }
            }
            kept.push(schema);
        }
        kept
    }

    /// A hash that does not depend on the order of members. Objects and arrays are hashed once each.
    fn hash(&mut self, json: &Json) -> u64 {
        if let Some(hash) = self.hashes.get(&address(json)) {
            return *hash;
        }
        let mut hasher = DefaultHasher::new();
        std::mem::discriminant(json).hash(&mut hasher);
        match json {
            Json::Null => {}
            Json::Bool(value) => value.hash(&mut hasher),
            Json::Number(number) => number.hash(&mut hasher),
            Json::String(text) => text.hash(&mut hasher),
            Json::Array(elements) => {
                for element in elements {
                    self.hash(element).hash(&mut hasher);
                }
            }
            Json::Object(members) => {
                let sum = members.iter().fold(0_u64, |sum, (name, value)| {
                    let mut member = DefaultHasher::new();
                    name.hash(&mut member);
                    self.hash(value).hash(&mut member);
                    sum.wrapping_add(member.finish())
                });
                sum.hash(&mut hasher);
            }
        }
        let hash = hasher.finish();
        if matches!(json, Json::Array(_) | Json::Object(_)) {
            self.hashes.insert(address(json), hash);
        }
        hash
    }

    fn typed(
        &mut self,
        name: &str,
        members: &'a Object,
        scope: &Scope,
        used: &mut Vec<Group>,
    ) -> Option<NodeId> {
        let group = match name {
            "boolean" => return Some(self.node(Shape::Boolean)),
            "null" => return Some(self.node(Shape::Null)),
            "array" => Group::Array,
            "object" => Group::Object,
            "number" | "integer" => Group::Number,
            "string" => Group::String,
            _ => return None,
        };
        used.push(group);
        Some(self.group(group, name == "integer", members, scope))
    }

    fn group(&mut self, group: Group, integer: bool, members: &'a Object, scope: &Scope) -> NodeId {
        let shape = match group {
            Group::Array => Shape::Array(Box::new(self.array(members, scope))),
            Group::Object => Shape::Object(Box::new(self.properties(members, scope))),
            Group::Number => Shape::Number(Box::new(numbers(integer, members, scope.draft))),
            Group::String => Shape::String(Box::new(StringShape {
                min: limit(members, "minLength"),
                max: limit(members, "maxLength"),
                pattern: members.get("pattern").and_then(Json::as_str).map(Into::into),
            })),
        };
        self.node(shape)
    }

    fn optional(&mut self, members: &'a Object, keyword: &str, scope: &Scope) -> Option<NodeId> {
        let json = members.get(keyword).filter(|json| matches!(json, Json::Object(_) | Json::Bool(_)))?;
        Some(self.schema(json, scope))
    }

    fn properties(&mut self, members: &'a Object, scope: &Scope) -> ObjectShape {
        let modern = scope.draft.is_modern();
        let mut shape = ObjectShape {
            required: names(members.get("required")),
            min: limit(members, "minProperties"),
            max: limit(members, "maxProperties"),
            ..ObjectShape::default()
        };
        let object = |keyword: &str| members.get(keyword).and_then(Json::as_object).into_iter().flatten();
        for (name, schema) in object("properties") {
            shape.properties.insert(name.clone(), self.schema(schema, scope));
        }
        for (pattern, schema) in object("patternProperties") {
            shape.patterns.push((pattern.clone(), self.schema(schema, scope)));
        }
        match members.get("additionalProperties") {
            Some(Json::Bool(permits)) => shape.permits_additional = *permits,
            _ => shape.additional = self.optional(members, "additionalProperties", scope),
        }
        if modern {
            shape.unevaluated = self.optional(members, "unevaluatedProperties", scope);
        }
        let (lists, schemas) =
            if modern { ("dependentRequired", "dependentSchemas") } else { ("dependencies", "dependencies") };
        for (name, list) in object(lists).filter(|(_, list)| list.as_array().is_some()) {
            shape.required_by.insert(name.clone(), names(Some(list)));
        }
        for (name, schema) in object(schemas).filter(|(_, schema)| schema.as_array().is_none()) {
            shape.schema_by.insert(name.clone(), self.schema(schema, scope));
        }
        if scope.draft > Draft::Draft4 {
            self.optional(members, "propertyNames", scope);
        }
        shape
    }

    fn array(&mut self, members: &'a Object, scope: &Scope) -> ArrayShape {
        let draft = scope.draft;
        let mut shape = ArrayShape {
            min: limit(members, "minItems"),
            max: limit(members, "maxItems"),
            unique: members.get("uniqueItems").and_then(Json::as_bool).unwrap_or(false),
            ..ArrayShape::default()
        };
        let (tuple, rest) = if draft == Draft::Draft2020 {
            (members.get("prefixItems").and_then(Json::as_array), "items")
        } else {
            (members.get("items").and_then(Json::as_array), "additionalItems")
        };
        for schema in tuple.into_iter().flatten() {
            shape.tuple.push(self.schema(schema, scope));
        }
        match members.get(rest) {
            Some(Json::Bool(permits)) => shape.permits_additional = *permits,
            _ if draft == Draft::Draft2020 && shape.tuple.is_empty() => {
                shape.all = self.optional(members, rest, scope)
            }
            _ => shape.additional = self.optional(members, rest, scope),
        }
        if draft != Draft::Draft2020 {
            shape.all = self.optional(members, "items", scope);
        }
        if draft.is_modern() {
            shape.unevaluated = self.optional(members, "unevaluatedItems", scope);
        }
        if draft > Draft::Draft4 && self.optional(members, "contains", scope).is_some() && draft.is_modern() {
            shape.min_contains = limit(members, "minContains").or(Some(1));
            shape.max_contains = limit(members, "maxContains");
        }
        shape
    }
}

/// What a schema says without the schemas inside.
fn own_size(schema: &Json) -> u32 {
    let members = schema.as_object().into_iter().flatten();
    let sizes = members.map(|(name, value)| match &**name {
        "enum" | "const" | "default" => size(value, usize::MAX),
        // Names of properties, required names, and members of dependencies.
        _ => size(value, 2),
    });
    u32::try_from(sizes.sum::<usize>()).unwrap_or(u32::MAX)
}

/// About the bytes of a value, down to some depth.
fn size(json: &Json, depth: usize) -> usize {
    if depth == 0 {
        return 8;
    }
    match json {
        Json::Null | Json::Bool(_) => 8,
        Json::Number(number) => number.text().len(),
        Json::String(text) => text.len(),
        Json::Array(elements) => elements.iter().map(|element| 8 + size(element, depth - 1)).sum(),
        Json::Object(members) => {
            members.iter().map(|(name, value)| 8 + name.len() + size(value, depth - 1)).sum()
        }
    }
}

fn limit(members: &Object, keyword: &str) -> Option<u64> {
    members.get(keyword).and_then(Json::as_number).and_then(count)
}

fn names(list: Option<&Json>) -> BTreeSet<Box<str>> {
    list.and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).map(Into::into).collect()
}

fn numbers(integer: bool, members: &Object, draft: Draft) -> NumberShape {
    let number = |keyword: &str| members.get(keyword).and_then(Json::as_number).cloned();
    let mut shape = NumberShape {
        integer,
        minimum: number("minimum"),
        maximum: number("maximum"),
        exclusive_minimum: number("exclusiveMinimum"),
        exclusive_maximum: number("exclusiveMaximum"),
        multiple_of: number("multipleOf"),
    };
    if draft == Draft::Draft4 {
        // There the exclusive limits are flags beside the limits.
        let flag = |keyword: &str| members.get(keyword).and_then(Json::as_bool) == Some(true);
        if flag("exclusiveMinimum") {
            shape.exclusive_minimum = shape.minimum.take();
        }
        if flag("exclusiveMaximum") {
            shape.exclusive_maximum = shape.maximum.take();
        }
    }
    shape
}
