//! [`File`] -> text, in the layouts that Confluent's registry knows.
//!
//! Sections stand in a fixed order (in a message: reserved, options, fields, oneofs, groups, extensions, extends, nested
//! messages, nested enums), one blank line before each; two blanks of indentation, also on blank lines; one option stays
//! on its line, several get a line each. Where Confluent prints text that its own parser would read differently, this printer keeps the
//! meaning: a default of type bytes stays in quotes, parts of option names keep their parentheses, bytes that are no
//! UTF-8 are escaped, groups keep everything that they declare.

use super::element::{
    Constant, Enum, Extend, Extensions, Field, File, Group, MAX_TAG, Message, Oneof, Opt, Rpc, Service, Span,
    Syntax, Type, Value, is_scalar,
};
use super::names::{Names, join};
use super::normal;
use std::borrow::Cow;
use std::fmt::Write as _;

/// What is printed.
#[derive(Clone, Copy)]
pub(super) enum Layout<'a> {
    /// As declared: what clients see, and what ids and GUIDs are made from.
    Canonical,
    /// The canonical text without custom options and extensions, except Confluent's own.
    WithoutExtensions,
    /// Sorted and with full names, so that texts that mean the same look the same.
    Normal(&'a Names<'a>),
    /// For the compiler: nested types come first, so that the entries of maps get the indexes after them, as in
    /// Confluent's descriptors; every default of text is in quotes.
    Compilable,
}

pub(super) fn print(file: &File, layout: Layout<'_>) -> String {
    Printer { layout }.file(file)
}

struct Printer<'a> {
    layout: Layout<'a>,
}

impl Printer<'_> {
    pub(super) fn names(&self) -> Option<&Names<'_>> {
        match self.layout {
            Layout::Normal(names) => Some(names),
            _ => None,
        }
    }

    fn normal(&self) -> bool {
        self.names().is_some()
    }

    fn extensions_too(&self) -> bool {
        !matches!(self.layout, Layout::WithoutExtensions)
    }

    fn file(&self, file: &File) -> String {
        let mut out = String::new();
        if let Some(syntax) = file.syntax.filter(|syntax| !self.normal() || *syntax == Syntax::Proto3) {
            let _ = writeln!(out, "syntax = \"{}\";", syntax.name());
        }
        if let Some(package) = &file.package {
            let _ = writeln!(out, "package {package};");
        }
        if file.all_imports().next().is_some() {
            out.push('\n');
            for (word, paths) in [("import", &file.imports), ("import public", &file.public_imports)] {
                for path in self.paths(paths).iter() {
                    let _ = writeln!(out, "{word} \"{path}\";");
                }
            }
        }
        let scope = file.package();
        let options = self.options(scope, &file.options);
        if !options.is_empty() {
            out.push('\n');
            for option in options.iter() {
                out.push_str(&self.option_line(scope, option));
            }
        }
        if !file.messages.is_empty() || !file.enums.is_empty() {
            out.push('\n');
            for message in &file.messages {
                out.push_str(&self.message(scope, message));
            }
            for found in &file.enums {
                out.push_str(&self.enumeration(scope, found));
            }
        }
        if self.extensions_too() && !file.extends.is_empty() {
            out.push('\n');
            for extend in self.extends(scope, &file.extends).iter() {
                out.push_str(&self.extend(scope, extend));
            }
        }
        if !file.services.is_empty() {
            out.push('\n');
            for service in &file.services {
                out.push_str(&self.service(scope, service));
            }
        }
        out
    }

    fn paths<'p>(&self, paths: &'p [String]) -> Cow<'p, [String]> {
        if !self.normal() {
            return Cow::Borrowed(paths);
        }
        let mut sorted = paths.to_vec();
        sorted.sort();
        sorted.dedup();
        Cow::Owned(sorted)
    }

    fn options<'o>(&self, scope: &str, options: &'o [Opt]) -> Cow<'o, [Opt]> {
        match self.layout {
            Layout::WithoutExtensions => {
                let kept = |option: &&Opt| !option.extension || option.name.starts_with("confluent.");
                Cow::Owned(options.iter().filter(kept).cloned().collect())
            }
            Layout::Normal(names) => Cow::Owned(normal::options(names, scope, options)),
            _ => Cow::Borrowed(options),
        }
    }

    fn extends<'e>(&self, scope: &str, extends: &'e [Extend]) -> Cow<'e, [Extend]> {
        match self.names() {
            Some(names) => Cow::Owned(normal::extends(names, scope, extends)),
            None => Cow::Borrowed(extends),
        }
    }

    fn message(&self, scope: &str, message: &Message) -> String {
        format!("message {} {}", message.name, self.body(scope, message))
    }

    fn body(&self, outer: &str, message: &Message) -> String {
        let scope = &join(outer, &message.name);
        let mut out = String::from("{");
        let nested = |out: &mut String| {
            if message.messages.is_empty() && message.enums.is_empty() {
                return;
            }
            out.push('\n');
            for nested in &message.messages {
                indent(out, &self.message(scope, nested));
            }
            for found in &message.enums {
                indent(out, &self.enumeration(scope, found));
            }
        };
        if matches!(self.layout, Layout::Compilable) {
            nested(&mut out);
        }
        self.reserved(&mut out, &message.reserved);
        self.section(&mut out, scope, &message.options);
        if !message.fields.is_empty() {
            out.push('\n');
            for field in self.sorted(&message.fields, |field| field.tag).iter() {
                indent(&mut out, &self.field(scope, field));
            }
        }
        if !message.oneofs.is_empty() {
            out.push('\n');
            let oneofs = if self.normal() { normal::oneofs(&message.oneofs) } else { message.oneofs.clone() };
            for oneof in &oneofs {
                indent(&mut out, &self.oneof(scope, oneof));
            }
        }
        self.groups(&mut out, scope, &message.groups);
        if self.extensions_too() && !message.extensions.is_empty() {
            out.push('\n');
            let split = if self.normal() {
                normal::extensions(&message.extensions)
            } else {
                message.extensions.clone()
            };
            for extensions in &split {
                indent(&mut out, &self.extensions(scope, extensions));
            }
        }
        if self.extensions_too() && !message.extends.is_empty() {
            out.push('\n');
            for extend in self.extends(scope, &message.extends).iter() {
                indent(&mut out, &self.extend(scope, extend));
            }
        }
        if !matches!(self.layout, Layout::Compilable) {
            nested(&mut out);
        }
        out.push_str("}\n");
        out
    }

    fn sorted<'f, T: Clone>(&self, items: &'f [T], by: impl Fn(&T) -> i32) -> Cow<'f, [T]> {
        if !self.normal() {
            return Cow::Borrowed(items);
        }
        let mut sorted = items.to_vec();
        sorted.sort_by_key(by);
        Cow::Owned(sorted)
    }

    /// The options of a message, an enum, a service or a oneof, as a section of lines.
    fn section(&self, out: &mut String, scope: &str, options: &[Opt]) {
        let options = self.options(scope, options);
        if !options.is_empty() {
            out.push('\n');
            for option in options.iter() {
                indent(out, &self.option_line(scope, option));
            }
        }
    }

    fn reserved(&self, out: &mut String, reserved: &[Vec<Span>]) {
        if reserved.is_empty() {
            return;
        }
        out.push('\n');
        let split = if self.normal() { normal::spans(reserved) } else { reserved.to_vec() };
        for line in &split {
            indent(out, &format!("reserved {};", self.spans(line)));
        }
    }

    fn spans(&self, spans: &[Span]) -> String {
        let text = |span: &Span| match span {
            Span::Name(name) => format!("\"{name}\""),
            Span::One(tag) => tag.to_string(),
            Span::Range(start, end) if self.normal() && start == end => start.to_string(),
            Span::Range(start, end) if *end >= MAX_TAG => format!("{start} to max"),
            Span::Range(start, end) => format!("{start} to {end}"),
        };
        spans.iter().map(text).collect::<Vec<_>>().join(", ")
    }

    fn extensions(&self, scope: &str, extensions: &Extensions) -> String {
        let mut out = format!("extensions {}", self.spans(&extensions.spans));
        self.inline(&mut out, scope, &extensions.options);
        out.push_str(";\n");
        out
    }

    /// Options between square brackets behind a declaration.
    fn inline(&self, out: &mut String, scope: &str, options: &[Opt]) {
        let options = self.options(scope, options);
        if !options.is_empty() {
            out.push(' ');
            let texts: Vec<String> = options.iter().map(|option| self.option(scope, option)).collect();
            brackets(out, &texts);
        }
    }

    fn oneof(&self, scope: &str, oneof: &Oneof) -> String {
        let mut out = format!("oneof {} {{", oneof.name);
        self.section(&mut out, scope, &oneof.options);
        if !oneof.fields.is_empty() {
            out.push('\n');
            for field in &oneof.fields {
                indent(&mut out, &self.field(scope, field));
            }
        }
        self.groups(&mut out, scope, &oneof.groups);
        out.push_str("}\n");
        out
    }

    fn groups(&self, out: &mut String, scope: &str, groups: &[Group]) {
        if groups.is_empty() {
            return;
        }
        out.push('\n');
        for group in self.sorted(groups, |group| group.tag).iter() {
            let label = group.label.map_or(String::new(), |label| format!("{} ", label.name()));
            let mut text = format!("{label}group {} = {}", group.body.name, group.tag);
            self.inline(&mut text, scope, &group.options);
            indent(out, &format!("{text} {}", self.body(scope, &group.body)));
        }
    }

    fn extend(&self, scope: &str, extend: &Extend) -> String {
        let mut out = format!("extend {} {{", extend.name);
        if !extend.fields.is_empty() {
            out.push('\n');
            for field in self.sorted(&extend.fields, |field| field.tag).iter() {
                indent(&mut out, &self.field(scope, field));
            }
        }
        self.groups(&mut out, scope, &extend.groups);
        out.push_str("}\n");
        out
    }

    fn enumeration(&self, outer: &str, found: &Enum) -> String {
        let scope = &join(outer, &found.name);
        let mut out = format!("enum {} {{", found.name);
        self.reserved(&mut out, &found.reserved);
        if found.reserved.is_empty() && (!found.options.is_empty() || !found.constants.is_empty()) {
            out.push('\n');
        }
        for option in self.options(scope, &found.options).iter() {
            indent(&mut out, &self.option_line(scope, option));
        }
        let mut constants: Vec<&Constant> = found.constants.iter().collect();
        if self.normal() {
            constants.sort_by(|a, b| (a.tag, &a.name).cmp(&(b.tag, &b.name)));
        }
        for constant in constants {
            let mut text = format!("{} = {}", constant.name, constant.tag);
            self.inline(&mut text, scope, &constant.options);
            indent(&mut out, &(text + ";"));
        }
        out.push_str("}\n");
        out
    }

    fn service(&self, outer: &str, service: &Service) -> String {
        let scope = &join(outer, &service.name);
        let mut out = format!("service {} {{", service.name);
        self.section(&mut out, scope, &service.options);
        if !service.rpcs.is_empty() {
            out.push('\n');
            for rpc in &service.rpcs {
                indent(&mut out, &self.rpc(scope, rpc));
            }
        }
        out.push_str("}\n");
        out
    }

    fn rpc(&self, scope: &str, rpc: &Rpc) -> String {
        let side = |streaming: bool, name: &str| {
            format!("({}{})", if streaming { "stream " } else { "" }, self.type_name(scope, name))
        };
        let request = side(rpc.request_streaming, &rpc.request);
        let response = side(rpc.response_streaming, &rpc.response);
        let mut out = format!("rpc {} {request} returns {response}", rpc.name);
        let options = self.options(scope, &rpc.options);
        if !options.is_empty() {
            out.push_str(" {\n");
            for option in options.iter() {
                indent(&mut out, &self.option_line(scope, option));
            }
            out.push('}');
        }
        out.push_str(";\n");
        out
    }

    fn type_name(&self, scope: &str, name: &str) -> String {
        let found = self.names().filter(|_| !is_scalar(name)).and_then(|names| names.find(scope, name));
        found.map_or_else(|| name.to_owned(), |(full, _)| format!(".{full}"))
    }

    fn field(&self, scope: &str, field: &Field) -> String {
        let kind = match &field.kind {
            Type::Named(name) => self.type_name(scope, name),
            Type::Map { key, value } => format!("map<{key}, {}>", self.type_name(scope, value)),
        };
        let label = field.label.map_or(String::new(), |label| format!("{} ", label.name()));
        let mut out = format!("{label}{kind} {} = {}", field.name, field.tag);
        let mut options = field.options.clone();
        if let Some(default) = &field.default {
            options.push(Opt::plain("default", self.default(&kind, default)));
        }
        if let Some(name) = &field.json_name {
            options.push(Opt::plain("json_name", Value::Text(name.clone())));
        }
        self.inline(&mut out, scope, &options);
        out.push_str(";\n");
        out
    }

    fn default(&self, kind: &str, value: &Value) -> Value {
        let text = kind == "string" || (kind == "bytes" && matches!(self.layout, Layout::Compilable));
        match value {
            Value::Word(word) | Value::Number(word) if text => Value::Text(word.clone().into_bytes()),
            other => other.clone(),
        }
    }

    fn option_line(&self, scope: &str, option: &Opt) -> String {
        format!("option {};\n", self.option(scope, option))
    }

    fn option(&self, scope: &str, option: &Opt) -> String {
        let mut out = if option.extension { format!("({})", option.name) } else { option.name.clone() };
        match &option.value {
            Value::Part(part) => {
                out.push('.');
                out.push_str(&self.option(scope, part));
            }
            Value::List(items) => {
                out.push_str(" = ");
                let texts: Vec<String> = items.iter().map(|item| self.value(scope, item)).collect();
                brackets(&mut out, &texts);
            }
            value => {
                out.push_str(" = ");
                out.push_str(&self.value(scope, value));
            }
        }
        out
    }

    fn value(&self, scope: &str, value: &Value) -> String {
        match value {
            Value::Text(bytes) => format!("\"{}\"", escape(bytes, matches!(self.layout, Layout::Compilable))),
            Value::Word(word) => word.clone(),
            Value::Number(number) if self.normal() => normal::number(number),
            Value::Number(number) => number.clone(),
            Value::Part(part) => self.option(scope, part),
            Value::List(items) => match items.as_slice() {
                [one] if self.normal() => self.value(scope, one),
                items => {
                    let mut out = String::from("[\n");
                    let texts: Vec<String> = items.iter().map(|item| self.value(scope, item)).collect();
                    lines(&mut out, &texts);
                    out.push(']');
                    out
                }
            },
            Value::Map(entries) => {
                let entries = match self.names() {
                    Some(names) => Cow::Owned(normal::entries(names, scope, entries)),
                    None => Cow::Borrowed(entries),
                };
                let text = |(key, value): (&String, &Value)| format!("{key}: {}", self.value(scope, value));
                let mut out = String::from("{\n");
                lines(&mut out, &entries.iter().map(text).collect::<Vec<_>>());
                out.push('}');
                out
            }
        }
    }
}

/// `[one]`, or several on lines of their own.
fn brackets(out: &mut String, texts: &[String]) {
    if let [one] = texts {
        let _ = write!(out, "[{one}]");
        return;
    }
    out.push_str("[\n");
    lines(out, texts);
    out.push(']');
}

fn lines(out: &mut String, texts: &[String]) {
    for (index, text) in texts.iter().enumerate() {
        let comma = if index + 1 < texts.len() { "," } else { "" };
        indent(out, &format!("{text}{comma}"));
    }
}

fn indent(out: &mut String, text: &str) {
    for line in text.trim_end_matches('\n').split('\n') {
        let _ = writeln!(out, "  {line}");
    }
}

/// Confluent leaves control characters that have no letter as they are; the compiler wants them escaped.
fn escape(bytes: &[u8], control: bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\x07' => out.push_str("\\a"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x0b' => out.push_str("\\v"),
                '\\' | '\'' | '"' => {
                    out.push('\\');
                    out.push(c);
                }
                other if control && other.is_ascii_control() => {
                    let _ = write!(out, "\\{:03o}", u32::from(other));
                }
                other => out.push(other),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\{byte:03o}");
        }
    }
    out
}
