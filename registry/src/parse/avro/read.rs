//! JSON -> types.

use super::graph::{Enum, Field, Fixed, Graph, Kind, Named, Order, Primitive, Record, TypeId};
use super::names::{Name, check_simple};
use super::{defaults, equal, number};
use crate::json::{self, Json, Object, Syntax};
use crate::parse::Strictness;
use indexmap::map::Entry as MapEntry;
use indexmap::{IndexMap, IndexSet};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

/// Members of a type that Avro knows; others are properties. An enum also knows its default.
const KNOWN_IN_TYPE: [&str; 10] =
    ["doc", "fields", "items", "name", "namespace", "size", "symbols", "values", "type", "aliases"];
const KNOWN_IN_FIELD: [&str; 6] = ["default", "doc", "name", "order", "type", "aliases"];

/// What the Java implementation can allocate.
const MAX_FIXED: i32 = i32::MAX - 8;

/// Reads documents one after the other; each sees the named types of those before it.
pub(super) struct Reader {
    graph: Graph,
    names: HashMap<Name, TypeId>,
    /// The namespace that names without one inherit here.
    space: Option<Arc<str>>,
    /// Where reading stands, as a JSON pointer.
    at: String,
    strictness: Strictness,
}

/// What, where and what to do; the caller knows in which document.
type Answer<T> = Result<T, String>;

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            graph: Graph::default(),
            names: HashMap::new(),
            space: None,
            at: String::new(),
            strictness: Strictness::New,
        }
    }

    /// What follows is the schema itself.
    pub(super) fn end_of_dependencies(&mut self) {
        self.graph.mark_referenced();
    }

    pub(super) fn finish(self) -> Graph {
        self.graph
    }

    /// Reads a whole document.
    pub(super) fn document(&mut self, tree: &Json, strictness: Strictness) -> Answer<TypeId> {
        self.strictness = strictness;
        self.space = None;
        self.at.clear();
        self.schema(tree)
    }

    fn wrong<T>(&self, what: impl AsRef<str>) -> Answer<T> {
        let at = if self.at.is_empty() { "/" } else { &self.at };
        Err(format!("at {at}: {}", what.as_ref()))
    }

    fn within<T>(
        &mut self,
        step: impl std::fmt::Display,
        read: impl FnOnce(&mut Self) -> Answer<T>,
    ) -> Answer<T> {
        let length = self.at.len();
        let written = write!(self.at, "/{step}");
        debug_assert!(written.is_ok(), "text takes what is written to it");
        let answer = read(self)?;
        self.at.truncate(length);
        Ok(answer)
    }

    fn schema(&mut self, tree: &Json) -> Answer<TypeId> {
        match tree {
            Json::String(name) => self.by_name(name),
            Json::Object(members) => self.object(members),
            Json::Array(branches) => self.union(branches),
            _ => self.wrong(format!(
                "{} is no schema: a schema is the name of a type, an object with a type, or an array of schemas",
                defaults::shown(tree)
            )),
        }
    }

    fn name(&self, text: &str) -> Answer<Name> {
        Name::new(text, self.space.as_ref(), self.strictness).or_else(|why| self.wrong(why))
    }

    /// A primitive, or a type that has been defined: in the namespace that is inherited here, else in none.
    fn by_name(&mut self, text: &str) -> Answer<TypeId> {
        if let Some(primitive) = Primitive::named(text) {
            return Ok(self.graph.add(Kind::Primitive(primitive)));
        }
        let name = self.name(text)?;
        let found = self.names.get(&name).or_else(|| {
            let bare = Name { space: None, simple: name.simple.clone() };
            if text.contains('.') { None } else { self.names.get(&bare) }
        });
        match found {
            Some(id) => Ok(*id),
            None => self.undefined(&name),
        }
    }

    fn undefined<T>(&self, name: &Name) -> Answer<T> {
        self.wrong(format!(
            "type {:?} is not defined: define it before it is used, or register it and add a reference to it",
            name.full()
        ))
    }

    fn union(&mut self, branches: &[Json]) -> Answer<TypeId> {
        let mut types = Vec::with_capacity(branches.len());
        let mut seen = HashSet::new();
        for (n, branch) in branches.iter().enumerate() {
            let id = self.within(n, |reader| {
                let id = reader.schema(branch)?;
                if matches!(reader.graph.get(id).kind, Kind::Union(_)) {
                    return reader
                        .wrong("a union stands directly in a union: list its branches in the outer one");
                }
                let name = reader.graph.branch_name(id);
                if seen.contains(&name) {
                    return reader.wrong(format!("the union has {name:?} twice: remove one of them"));
                }
                seen.insert(name);
                Ok(id)
            })?;
            types.push(id);
        }
        Ok(self.graph.add(Kind::Union(types)))
    }

    fn object(&mut self, members: &Object) -> Answer<TypeId> {
        let Some(kind) = text_of(members, "type") else {
            return match members.get("type") {
                Some(found) => self.wrong(format!(
                    "\"type\" is {}: inside {{...}} it must be the name of a type; put the inner schema in its place",
                    found.kind()
                )),
                None => self.wrong("an object without \"type\" is no schema: add one"),
            };
        };
        let mut earlier = None;
        let id = match kind {
            "record" | "error" => self.named(members, &mut earlier, |reader, named| {
                reader.record(members, named, kind == "error")
            })?,
            "enum" => self.named(members, &mut earlier, |reader, named| reader.symbols(members, named))?,
            "fixed" => self.named(members, &mut earlier, |reader, named| reader.fixed(members, named))?,
            "array" => {
                let items = self.part(members, "items", "array")?;
                self.graph.add(Kind::Array(items))
            }
            "map" => {
                let values = self.part(members, "values", "map")?;
                self.graph.add(Kind::Map(values))
            }
            _ => match Primitive::named(kind) {
                Some(primitive) => self.graph.add(Kind::Primitive(primitive)),
                // The name of a defined type in braces; what stands beside it is dropped, as in Java.
                None => {
                    let name = self.name(kind)?;
                    return match self.names.get(&name) {
                        Some(id) => Ok(*id),
                        None => self.undefined(&name),
                    };
                }
            },
        };
        let is_property = |key: &str| {
            let is_known = KNOWN_IN_TYPE.contains(&key) || (kind == "enum" && key == "default");
            !is_known
        };
        self.graph.get_mut(id).props = properties(members, is_property);
        let aliases = if self.graph.named(id).is_some() { self.aliases(members)? } else { Vec::new() };
        if let (false, Some(named)) = (aliases.is_empty(), self.graph.named(id)) {
            let space = named.name.space.clone();
            let mut names = IndexSet::new();
            for alias in aliases {
                let name = Name::new(alias, space.as_ref(), self.strictness);
                names.insert(name.or_else(|why| self.wrong(format!("an alias {why}")))?);
            }
            if let Some(named) = self.graph.named_mut(id) {
                named.aliases = names;
            }
        }
        match earlier {
            None => Ok(id),
            Some(earlier) => self.repeated(earlier, id),
        }
    }

    /// A type that is defined again is the one that it was.
    fn repeated(&mut self, earlier: TypeId, again: TypeId) -> Answer<TypeId> {
        let name = self.graph.named(earlier).map(|named| named.name.clone());
        let Some(name) = name else { return Ok(again) };
        if !equal::same(&self.graph, earlier, again) {
            return self.wrong(format!(
                "type {:?} is defined twice, and differently: rename one of them, or use the name of the first",
                name.full()
            ));
        }
        self.names.insert(name, earlier);
        Ok(earlier)
    }

    fn part(&mut self, members: &Object, key: &str, kind: &str) -> Answer<TypeId> {
        match members.get(key) {
            Some(part) => self.within(key, |reader| reader.schema(part)),
            None => self.wrong(format!("the {kind} has no {key:?}: add the schema of its {key}")),
        }
    }

    /// Reads a type that has a name, inside its namespace; `earlier` becomes the one that has had this name.
    fn named(
        &mut self,
        members: &Object,
        earlier: &mut Option<TypeId>,
        read: impl FnOnce(&mut Self, Named) -> Answer<TypeId>,
    ) -> Answer<TypeId> {
        let Some(name) = text_of(members, "name") else {
            return self.wrong("a record, enum or fixed has no \"name\": give it one");
        };
        let space = match text_of(members, "namespace") {
            Some("") => None,
            Some(space) => Some(Arc::from(space)),
            None => self.space.clone(),
        };
        let name = Name::new(name, space.as_ref(), self.strictness).or_else(|why| self.wrong(why))?;
        if name.space.is_none() && Primitive::named(&name.simple).is_some() {
            return self.wrong(format!("{:?} is a type of Avro itself: choose another name", name.simple));
        }
        *earlier = self.names.get(&name).copied();
        if earlier.is_some_and(|id| !self.may_be_repeated(id)) {
            return self.wrong(format!(
                "type {:?} is defined twice: define it once and use its name afterwards",
                name.full()
            ));
        }
        let outer = std::mem::replace(&mut self.space, name.space.clone());
        let doc = text_of(members, "doc").map(Into::into);
        let id = read(self, Named { name, doc, aliases: IndexSet::new() })?;
        self.space = outer;
        Ok(id)
    }

    /// Confluent prints in full what stands inside the types of references, so that texts define it again.
    fn may_be_repeated(&self, id: TypeId) -> bool {
        let is_complete = !matches!(&self.graph.get(id).kind, Kind::Record(record) if !record.is_complete);
        is_complete && (self.strictness == Strictness::Stored || self.graph.is_referenced(id))
    }

    fn record(&mut self, members: &Object, named: Named, is_error: bool) -> Answer<TypeId> {
        let name = named.name.clone();
        let (fields, required) = (IndexMap::new(), Vec::new());
        let record = Record { named, is_error, fields, required, is_complete: false };
        let id = self.graph.add(Kind::Record(Box::new(record)));
        // Before its fields, which may be of this type.
        self.names.insert(name.clone(), id);
        let Some(Json::Array(list)) = members.get("fields") else {
            return self.wrong(format!("record {:?} has no array \"fields\": add one", name.full()));
        };
        let mut fields: IndexMap<Box<str>, Field> = IndexMap::with_capacity(list.len());
        let mut required = Vec::new();
        self.within("fields", |reader| {
            for (n, field) in list.iter().enumerate() {
                reader.within(n, |reader| {
                    let (key, field) = reader.field(field)?;
                    if field.default.is_none() {
                        required.push(n);
                    }
                    match fields.entry(key) {
                        MapEntry::Vacant(place) => place.insert(field),
                        MapEntry::Occupied(place) => {
                            return reader.wrong(format!(
                                "record {:?} has field {:?} twice: rename one of them",
                                name.full(),
                                place.key()
                            ));
                        }
                    };
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        if let Kind::Record(record) = &mut self.graph.get_mut(id).kind {
            record.fields = fields;
            record.required = required;
            record.is_complete = true;
        }
        Ok(id)
    }

    fn field(&mut self, field: &Json) -> Answer<(Box<str>, Field)> {
        let Json::Object(members) = field else {
            return self
                .wrong(format!("a field is an object with \"name\" and \"type\", not {}", field.kind()));
        };
        let Some(name) = text_of(members, "name") else {
            return self.wrong("the field has no \"name\": give it one");
        };
        check_simple(name, self.strictness).or_else(|why| self.wrong(format!("the field {why}")))?;
        let Some(inner) = members.get("type") else {
            return self.wrong(format!("field {name:?} has no \"type\": give it one"));
        };
        let schema = self.within("type", |reader| reader.schema(inner))?;
        let order = match members.get("order") {
            None => Order::Ascending,
            Some(order) => match order.as_str().map(str::to_ascii_lowercase).as_deref() {
                Some("ascending") => Order::Ascending,
                Some("descending") => Order::Descending,
                Some("ignore") => Order::Ignore,
                _ => {
                    let shown = defaults::shown(order);
                    return self.wrong(format!(
                        "field {name:?} has the order {shown}: it is ascending, descending or ignore"
                    ));
                }
            },
        };
        let default = match members.get("default") {
            None => None,
            Some(value) => Some(self.default(name, schema, value)?),
        };
        let aliases = self.aliases(members)?.into_iter().map(Into::into).collect();
        let doc = text_of(members, "doc").map(Into::into);
        let props = properties(members, |key| !KNOWN_IN_FIELD.contains(&key));
        Ok((name.into(), Field { schema, doc, default, order, aliases, props }))
    }

    fn default(&self, name: &str, schema: TypeId, value: &Json) -> Answer<Json> {
        let is_real =
            matches!(self.graph.get(schema).kind, Kind::Primitive(Primitive::Float | Primitive::Double));
        if let (true, Json::String(text)) = (is_real, value) {
            let Some(real) = number::parse(text) else {
                return self.wrong(format!(
                    "field {name:?} has the default {}, which is no number: write a number",
                    defaults::shown(value)
                ));
            };
            let text = number::double(real);
            // NaN and the infinities are no JSON numbers and stay strings.
            return Ok(json::read(&text, Syntax::Strict).unwrap_or(Json::String(text.into())));
        }
        if self.strictness == Strictness::New
            && let Some(why) = defaults::misfit(&self.graph, schema, value)
        {
            let (of, fix) = (self.graph.branch_name(schema), "change the default, or the type");
            return self.wrong(format!("the default of field {name:?} is no valid {of}: {why}; {fix}"));
        }
        Ok(value.clone())
    }

    fn symbols(&mut self, members: &Object, named: Named) -> Answer<TypeId> {
        let full = named.name.full();
        let Some(Json::Array(list)) = members.get("symbols") else {
            return self.wrong(format!("enum {full:?} has no array \"symbols\": add one"));
        };
        if list.is_empty() && self.strictness == Strictness::New {
            return self.wrong(format!("enum {full:?} has no symbols, so that it has no values: add one"));
        }
        let mut symbols: IndexSet<Box<str>> = IndexSet::with_capacity(list.len());
        self.within("symbols", |reader| {
            for (n, symbol) in list.iter().enumerate() {
                reader.within(n, |reader| {
                    let Json::String(text) = symbol else {
                        return reader.wrong(format!("a symbol is a string, not {}", symbol.kind()));
                    };
                    check_simple(text, reader.strictness)
                        .or_else(|why| reader.wrong(format!("the symbol {why}")))?;
                    if !symbols.insert(text.clone()) {
                        let text = defaults::shown(symbol);
                        return reader
                            .wrong(format!("enum {full:?} has symbol {text} twice: remove one of them"));
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        let default = text_of(members, "default");
        if let Some(default) = default
            && !symbols.contains(default)
        {
            let shown: String = default.chars().take(60).collect();
            return self.wrong(format!(
                "the default {shown:?} of enum {full:?} is not among its symbols: add it, or choose one of them"
            ));
        }
        let name = named.name.clone();
        let default = default.map(Into::into);
        let id = self.graph.add(Kind::Enum(Box::new(Enum { named, symbols, default })));
        self.names.insert(name, id);
        Ok(id)
    }

    fn fixed(&mut self, members: &Object, named: Named) -> Answer<TypeId> {
        let size = members.get("size").and_then(Json::as_number).filter(|number| number.is_integer());
        let size = size.and_then(|number| number.as_i64()).and_then(|size| i32::try_from(size).ok());
        let least = if self.strictness == Strictness::New { 1 } else { 0 };
        let Some(size) = size.filter(|size| (least..=MAX_FIXED).contains(size)) else {
            let found = members
                .get("size")
                .map_or_else(|| "no size".to_owned(), |size| format!("the size {}", defaults::shown(size)));
            return self.wrong(format!(
                "fixed {:?} has {found}: \"size\" is a number of bytes from {least} to {MAX_FIXED}",
                named.name.full()
            ));
        };
        let name = named.name.clone();
        let id = self.graph.add(Kind::Fixed(Box::new(Fixed { named, size })));
        self.names.insert(name, id);
        Ok(id)
    }

    fn aliases<'a>(&self, members: &'a Object) -> Answer<Vec<&'a str>> {
        let Some(aliases) = members.get("aliases") else { return Ok(Vec::new()) };
        let texts = aliases.as_array().and_then(|list| list.iter().map(Json::as_str).collect());
        match texts {
            Some(texts) => Ok(texts),
            None => self.wrong("\"aliases\" is an array of strings: make it one, or remove it"),
        }
    }
}

fn text_of<'a>(members: &'a Object, key: &str) -> Option<&'a str> {
    members.get(key).and_then(Json::as_str)
}

fn properties(members: &Object, is_property: impl Fn(&str) -> bool) -> Vec<(Box<str>, Json)> {
    let kept = members.iter().filter(|(key, _)| is_property(key));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}
