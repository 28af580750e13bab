//! Types -> text, as Apache Avro's `Schema.toString` writes them, and Confluent's normalised variant of it.

use super::graph::{Field, Graph, Kind, Named, Order, Primitive, TypeId, Written};
use super::{logical, number};
use crate::json::{self, Json, Number};
use std::fmt::Write;
use std::sync::Arc;

/// What is changed on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing.
    Plain,
    /// What Confluent's `normalize` changes.
    Normal,
}

pub(super) fn canonical(graph: &Graph, root: TypeId) -> String {
    print(graph, root, Written::referenced(graph), Form::Plain)
}

pub(super) fn normalized(graph: &Graph, root: TypeId) -> String {
    print(graph, root, Written::referenced(graph), Form::Normal)
}

pub(super) fn resolved(graph: &Graph, root: TypeId) -> String {
    print(graph, root, Written::none(graph), Form::Plain)
}

fn print(graph: &Graph, root: TypeId, written: Written, form: Form) -> String {
    let mut printer = Printer { graph, written, form, space: None, out: String::new() };
    printer.schema(root);
    printer.out
}

struct Printer<'a> {
    graph: &'a Graph,
    written: Written,
    form: Form,
    /// The namespace that names without one inherit here.
    space: Option<Arc<str>>,
    out: String,
}

/// Writes to a text, which cannot fail.
fn put(out: &mut String, args: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(args);
    debug_assert!(written.is_ok(), "text takes what is written to it");
}

pub(super) fn quoted(out: &mut String, text: &str) {
    let written = json::quote(text, out);
    debug_assert!(written.is_ok(), "text takes what is written to it");
}

/// The order of Java's strings.
fn by_utf16(a: &str, b: &str) -> std::cmp::Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

impl Printer<'_> {
    fn key(&mut self, key: &str) {
        if !self.out.ends_with('{') {
            self.out.push(',');
        }
        quoted(&mut self.out, key);
        self.out.push(':');
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        quoted(&mut self.out, value);
    }

    fn list<T>(&mut self, elements: impl IntoIterator<Item = T>, mut print: impl FnMut(&mut Self, T)) {
        self.out.push('[');
        for (n, element) in elements.into_iter().enumerate() {
            if n > 0 {
                self.out.push(',');
            }
            print(self, element);
        }
        self.out.push(']');
    }

    fn schema(&mut self, id: TypeId) {
        let graph = self.graph;
        let ty = graph.get(id);
        if let Some(named) = graph.named(id)
            && self.written.again(id)
        {
            quoted(&mut self.out, &named.name.within(self.space.as_ref()));
            return;
        }
        match &ty.kind {
            Kind::Primitive(primitive) if ty.props.is_empty() => quoted(&mut self.out, primitive.name()),
            Kind::Union(branches) => self.list(branches, |printer, branch| printer.schema(*branch)),
            Kind::Record(record) => {
                let is_error = record.is_error && self.form == Form::Plain;
                self.open(if is_error { "error" } else { "record" });
                self.name(&record.named);
                let outer = std::mem::replace(&mut self.space, record.named.name.space.clone());
                self.doc(&record.named);
                self.key("fields");
                self.list(&record.fields, |printer, (name, field)| printer.field(name, field));
                self.close(id);
                self.space = outer;
            }
            Kind::Enum(symbols) => {
                self.open("enum");
                self.name(&symbols.named);
                self.doc(&symbols.named);
                self.key("symbols");
                self.list(&symbols.symbols, |printer, symbol| quoted(&mut printer.out, symbol));
                if let Some(default) = &symbols.default {
                    self.text("default", default);
                }
                self.close(id);
            }
            Kind::Fixed(fixed) => {
                self.open("fixed");
                self.name(&fixed.named);
                self.doc(&fixed.named);
                self.key("size");
                put(&mut self.out, format_args!("{}", fixed.size));
                self.close(id);
            }
            Kind::Array(items) => self.container(id, "items", *items),
            Kind::Map(values) => self.container(id, "values", *values),
            Kind::Primitive(primitive) => {
                self.open(primitive.name());
                self.close(id);
            }
        }
    }

    fn container(&mut self, id: TypeId, key: &str, inner: TypeId) {
        self.open(self.graph.kind_name(id));
        self.key(key);
        self.schema(inner);
        self.close(id);
    }

    fn open(&mut self, kind: &str) {
        self.out.push('{');
        self.text("type", kind);
    }

    fn name(&mut self, named: &Named) {
        self.text("name", &named.name.simple);
        match (&named.name.space, &self.space) {
            (Some(space), outer) if Some(space) != outer.as_ref() => self.text("namespace", space),
            (None, Some(_)) => self.text("namespace", ""),
            _ => {}
        }
    }

    fn doc(&mut self, named: &Named) {
        if let Some(doc) = &named.doc
            && !(doc.is_empty() && self.form == Form::Normal)
        {
            self.text("doc", doc);
        }
    }

    /// Properties, aliases and the brace that ends a type.
    fn close(&mut self, id: TypeId) {
        let props = &self.graph.get(id).props;
        let carries_logical = matches!(self.graph.get(id).kind, Kind::Primitive(_) | Kind::Fixed(_));
        let logical = if carries_logical { logical::of(self.graph, id) } else { None };
        self.props(props, logical.map(|logical| logical.leading).unwrap_or_default());
        if let Some(named) = self.graph.named(id)
            && !named.aliases.is_empty()
        {
            self.key("aliases");
            let mut aliases: Vec<_> = named.aliases.iter().collect();
            if self.form == Form::Normal {
                aliases.sort_by(|a, b| by_utf16(&a.full(), &b.full()));
            }
            let space = named.name.space.as_ref();
            self.list(aliases, |printer, alias| quoted(&mut printer.out, &alias.within(space)));
        }
        self.out.push('}');
    }

    fn props(&mut self, props: &[(Box<str>, Json)], leading: Vec<&str>) {
        let mut props: Vec<_> = props.iter().collect();
        if self.form == Form::Normal {
            let place = |key: &str| leading.iter().position(|first| *first == key).unwrap_or(leading.len());
            props.sort_by(|(a, _), (b, _)| place(a).cmp(&place(b)).then_with(|| by_utf16(a, b)));
        }
        for (key, value) in props {
            self.key(key);
            self.value(value, None);
        }
    }

    fn field(&mut self, name: &str, field: &Field) {
        self.out.push('{');
        self.text("name", name);
        self.key("type");
        self.schema(field.schema);
        if let Some(doc) = &field.doc {
            self.text("doc", doc);
        }
        if let Some(default) = &field.default {
            self.key("default");
            let schema = if self.form == Form::Normal { Some(field.schema) } else { None };
            self.value(default, schema);
        }
        match field.order {
            Order::Ascending => {}
            Order::Descending => self.text("order", "descending"),
            Order::Ignore => self.text("order", "ignore"),
        }
        if !field.aliases.is_empty() {
            self.key("aliases");
            let mut aliases: Vec<_> = field.aliases.iter().collect();
            if self.form == Form::Normal {
                aliases.sort_by(|a, b| by_utf16(a, b));
            }
            self.list(aliases, |printer, alias| quoted(&mut printer.out, alias));
        }
        self.props(&field.props, Vec::new());
        self.out.push('}');
    }

    /// A default or a property. With a schema, numbers and bytes take the form of their type.
    fn value(&mut self, value: &Json, schema: Option<TypeId>) {
        let schema = schema.map(|id| match &self.graph.get(id).kind {
            Kind::Union(branches) => branches.first().copied().unwrap_or(id),
            _ => id,
        });
        let kind = schema.map(|id| &self.graph.get(id).kind);
        match value {
            Json::Null | Json::Bool(_) => put(&mut self.out, format_args!("{value}")),
            Json::Number(number) => self.number(number, kind),
            Json::String(text) => match kind {
                Some(Kind::Fixed(_) | Kind::Primitive(Primitive::Bytes)) => {
                    let narrow: String = text.chars().map(|c| if c > '\u{ff}' { '?' } else { c }).collect();
                    quoted(&mut self.out, &narrow);
                }
                _ => quoted(&mut self.out, text),
            },
            Json::Array(elements) => {
                let inner = if let Some(Kind::Array(items)) = kind { Some(*items) } else { None };
                self.list(elements, |printer, element| printer.value(element, inner));
            }
            Json::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                if self.form == Form::Normal {
                    members.sort_by(|(a, _), (b, _)| by_utf16(a, b));
                }
                self.out.push('{');
                for (key, member) in members {
                    let inner = match kind {
                        Some(Kind::Map(values)) => Some(*values),
                        Some(Kind::Record(record)) => record.fields.get(key).map(|field| field.schema),
                        _ => None,
                    };
                    self.key(key);
                    self.value(member, inner);
                }
                self.out.push('}');
            }
        }
    }

    fn number(&mut self, number: &Number, kind: Option<&Kind>) {
        let text = match kind {
            Some(Kind::Primitive(Primitive::Double)) => number::double(number.as_f64()),
            Some(Kind::Primitive(Primitive::Float)) => number::float(number.as_f64()),
            _ if number.is_integer() => number.to_string(),
            _ => number::double(number.as_f64()),
        };
        // What fits no double is infinite in Java, and no JSON number any more.
        if text.ends_with(|c: char| c.is_ascii_digit()) {
            self.out.push_str(&text);
        } else {
            quoted(&mut self.out, &text);
        }
    }
}
