//! Text -> [`File`].
//!
//! Accepts what the parser of Confluent's registry accepts and, beyond it, what `protoc` accepts: groups with more than
//! fields in them, options of extension ranges, parts of option names in parentheses.

use super::element::{
    Constant, Enum, Extend, Extensions, Field, File, Group, Label, MAX_TAG, Message, Oneof, Opt, Rpc,
    Service, Span, Syntax, Type, Value,
};
use super::lex::Lexer;
use super::options::{assignment, bracketed};
use crate::parse::Problem;

/// How deeply messages may be declared within messages; `protoc` has the same limit.
const MAX_DEPTH: u32 = 32;

pub(super) fn read(text: &str) -> Result<File, Problem> {
    let mut reader = Reader { lexer: Lexer::new(text), proto3: false };
    let mut file = File::default();
    let mut first = true;
    while reader.lexer.peek()?.is_some() {
        if !reader.lexer.eat(';')? {
            reader.declaration(&mut file, first)?;
        }
        first = false;
    }
    Ok(file)
}

struct Reader<'a> {
    lexer: Lexer<'a>,
    proto3: bool,
}

impl Reader<'_> {
    fn declaration(&mut self, file: &mut File, first: bool) -> Result<(), Problem> {
        match self.lexer.word()? {
            "syntax" => self.syntax(file, first)?,
            "edition" => {
                return Err(self.lexer.wrong(
                    "editions are not supported by this registry, nor by Confluent's; declare syntax = \"proto2\" or \
                     \"proto3\" instead",
                ));
            }
            "package" => {
                if file.package.is_some() {
                    return Err(self.lexer.wrong("a second package; a file has one"));
                }
                let package = self.lexer.full_name()?;
                if package.starts_with('.') {
                    return Err(self.lexer.wrong(format_args!("package {package:?} begins with a dot")));
                }
                file.package = Some(package);
                self.lexer.require(';')?;
            }
            "import" => self.import(file)?,
            "option" => file.options.push(self.option()?),
            "message" => file.messages.push(self.message(0)?),
            "enum" => file.enums.push(self.enumeration()?),
            "extend" => file.extends.push(self.extend(0)?),
            "service" => file.services.push(self.service()?),
            other => {
                return Err(self.lexer.wrong(format_args!(
                    "{other:?} starts no declaration; a file holds syntax, package, import, option, message, enum, \
                     extend and service"
                )));
            }
        }
        Ok(())
    }

    fn syntax(&mut self, file: &mut File, first: bool) -> Result<(), Problem> {
        self.lexer.require('=')?;
        let name = self.lexer.quoted()?;
        if !first {
            return Err(self.lexer.wrong("syntax must be the first declaration of the file"));
        }
        file.syntax = Some(match name.as_slice() {
            b"proto2" => Syntax::Proto2,
            b"proto3" => Syntax::Proto3,
            other => {
                let other = String::from_utf8_lossy(other);
                return Err(self
                    .lexer
                    .wrong(format_args!("syntax {other:?} is unknown; use proto2 or proto3")));
            }
        });
        self.proto3 = file.syntax == Some(Syntax::Proto3);
        self.lexer.require(';')
    }

    fn import(&mut self, file: &mut File) -> Result<(), Problem> {
        let public = match self.lexer.peek()? {
            Some('"' | '\'') => false,
            _ => match self.lexer.word()? {
                "public" => true,
                "weak" => false,
                other => {
                    return Err(self
                        .lexer
                        .wrong(format_args!("{other:?} after import; expected a path in quotes")));
                }
            },
        };
        let path = self.path()?;
        if public {
            file.public_imports.push(path)
        } else {
            file.imports.push(path)
        }
        self.lexer.require(';')
    }

    fn path(&mut self) -> Result<String, Problem> {
        let bytes = self.lexer.quoted()?;
        let path = String::from_utf8(bytes).map_err(|_| self.lexer.wrong("this path is not UTF-8"))?;
        if path.is_empty() || path.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
            return Err(self.lexer.wrong(format_args!("{path:?} is no path to import")));
        }
        Ok(path)
    }

    fn option(&mut self) -> Result<Opt, Problem> {
        let option = assignment(&mut self.lexer)?;
        self.lexer.require(';')?;
        Ok(option)
    }

    fn message(&mut self, depth: u32) -> Result<Message, Problem> {
        let name = self.lexer.name()?;
        self.body(name, depth)
    }

    /// What stands between the braces of a message or a group.
    fn body(&mut self, name: String, depth: u32) -> Result<Message, Problem> {
        if depth >= MAX_DEPTH {
            return Err(self
                .lexer
                .wrong(format_args!("messages are nested more than {MAX_DEPTH} levels deep")));
        }
        let mut message = Message { name, ..Message::default() };
        self.lexer.require('{')?;
        while !self.lexer.eat('}')? {
            if !self.lexer.eat(';')? {
                self.member(&mut message, depth)?;
            }
        }
        Ok(message)
    }

    fn member(&mut self, message: &mut Message, depth: u32) -> Result<(), Problem> {
        let word = self.lexer.word()?.to_owned();
        match word.as_str() {
            "option" => message.options.push(self.option()?),
            "reserved" => message.reserved.push(self.reserved(MAX_TAG)?),
            "message" => message.messages.push(self.message(depth + 1)?),
            "enum" => message.enums.push(self.enumeration()?),
            "extend" => message.extends.push(self.extend(depth + 1)?),
            "extensions" => message.extensions.push(self.extensions()?),
            "oneof" => message.oneofs.push(self.oneof(depth)?),
            _ => match self.field(&word, depth, false)? {
                Member::Field(field) => message.fields.push(field),
                Member::Group(group) => message.groups.push(group),
            },
        }
        Ok(())
    }

    fn field(&mut self, word: &str, depth: u32, in_oneof: bool) -> Result<Member, Problem> {
        let label = match word {
            "optional" => Some(Label::Optional),
            "required" => Some(Label::Required),
            "repeated" => Some(Label::Repeated),
            _ => None,
        };
        if label.is_some() && in_oneof {
            return Err(self.lexer.wrong(format_args!("{word:?} in a oneof; its fields have no label")));
        }
        let kind = if label.is_some() { self.lexer.word()?.to_owned() } else { word.to_owned() };
        if kind == "group" {
            return self.group(label, depth).map(Member::Group);
        }
        let kind = if kind == "map" && self.lexer.peek()? == Some('<') {
            self.map()?
        } else {
            self.lexer.require_full_name(&kind)?;
            Type::Named(kind)
        };
        let map = matches!(kind, Type::Map { .. });
        if map && (label.is_some() || in_oneof) {
            return Err(self.lexer.wrong("a map has no label and stands in no oneof"));
        }
        if label.is_none() && !map && !in_oneof && !self.proto3 {
            return Err(self.lexer.wrong(format_args!(
                "{word:?} is no label; in proto2 a field starts with optional, required or repeated"
            )));
        }
        if label == Some(Label::Required) && self.proto3 {
            return Err(self.lexer.wrong("required is not allowed in proto3; take the label away"));
        }
        let name = self.lexer.name()?;
        self.lexer.require('=')?;
        let tag = self.lexer.integer()?;
        let mut options = bracketed(&mut self.lexer)?;
        let default = take(&mut options, "default");
        let json_name = take(&mut options, "json_name");
        let json_name = json_name.map(|value| match value {
            Value::Text(text) => Ok(text),
            _ => Err(self.lexer.wrong(format_args!("json_name of {name:?} must be text between quotes"))),
        });
        let json_name = json_name.transpose()?;
        if matches!(default, Some(Value::Map(_) | Value::List(_) | Value::Part(_))) {
            return Err(self.lexer.wrong(format_args!("the default of {name:?} is no single value")));
        }
        self.lexer.require(';')?;
        Ok(Member::Field(Field { label, kind, name, tag, options, default, json_name }))
    }

    fn map(&mut self) -> Result<Type, Problem> {
        self.lexer.require('<')?;
        let key = self.lexer.full_name()?;
        self.lexer.require(',')?;
        let value = self.lexer.full_name()?;
        self.lexer.require('>')?;
        Ok(Type::Map { key, value })
    }

    fn group(&mut self, label: Option<Label>, depth: u32) -> Result<Group, Problem> {
        let name = self.lexer.name()?;
        self.lexer.require('=')?;
        let tag = self.lexer.integer()?;
        let options = bracketed(&mut self.lexer)?;
        let body = self.body(name, depth + 1)?;
        Ok(Group { label, tag, options, body })
    }

    fn oneof(&mut self, depth: u32) -> Result<Oneof, Problem> {
        let mut oneof = Oneof { name: self.lexer.name()?, ..Oneof::default() };
        self.lexer.require('{')?;
        while !self.lexer.eat('}')? {
            if self.lexer.eat(';')? {
                continue;
            }
            let word = self.lexer.word()?.to_owned();
            if word == "option" {
                oneof.options.push(self.option()?);
                continue;
            }
            match self.field(&word, depth, true)? {
                Member::Field(field) => oneof.fields.push(field),
                Member::Group(group) => oneof.groups.push(group),
            }
        }
        Ok(oneof)
    }

    fn extend(&mut self, depth: u32) -> Result<Extend, Problem> {
        let mut extend = Extend { name: self.lexer.full_name()?, ..Extend::default() };
        self.lexer.require('{')?;
        while !self.lexer.eat('}')? {
            if self.lexer.eat(';')? {
                continue;
            }
            let word = self.lexer.word()?.to_owned();
            match self.field(&word, depth, false)? {
                Member::Field(field) => extend.fields.push(field),
                Member::Group(group) => extend.groups.push(group),
            }
        }
        Ok(extend)
    }

    fn enumeration(&mut self) -> Result<Enum, Problem> {
        let mut found = Enum { name: self.lexer.name()?, ..Enum::default() };
        self.lexer.require('{')?;
        while !self.lexer.eat('}')? {
            if self.lexer.eat(';')? {
                continue;
            }
            let word = self.lexer.word()?.to_owned();
            let constant = self.lexer.peek()? == Some('=');
            match word.as_str() {
                "option" if !constant => found.options.push(self.option()?),
                "reserved" if !constant => found.reserved.push(self.reserved(i32::MAX)?),
                _ => {
                    let name = word;
                    self.lexer.require('=')?;
                    let tag = self.lexer.integer()?;
                    let options = bracketed(&mut self.lexer)?;
                    self.lexer.require(';')?;
                    found.constants.push(Constant { name, tag, options });
                }
            }
        }
        if let Some(bad) = found.constants.iter().find(|constant| constant.name.contains(['.', '-'])) {
            return Err(self.lexer.wrong(format_args!("{:?} is no name of an enum value", bad.name)));
        }
        Ok(found)
    }

    fn reserved(&mut self, max: i32) -> Result<Vec<Span>, Problem> {
        let mut spans = Vec::new();
        loop {
            if matches!(self.lexer.peek()?, Some('"' | '\'')) {
                let name = self.lexer.quoted()?;
                let name =
                    String::from_utf8(name).ok().filter(|name| !name.contains(['"', '\\', '\n', '\r']));
                spans.push(Span::Name(name.ok_or_else(|| self.lexer.wrong("this is no name to reserve"))?));
            } else {
                spans.push(self.span(max)?);
            }
            if self.lexer.eat(';')? {
                return Ok(spans);
            }
            self.lexer.require(',')?;
        }
    }

    fn extensions(&mut self) -> Result<Extensions, Problem> {
        let mut spans = Vec::new();
        loop {
            spans.push(self.span(MAX_TAG)?);
            if self.lexer.peek()? == Some('[') {
                break;
            }
            if self.lexer.eat(';')? {
                return Ok(Extensions { spans, options: Vec::new() });
            }
            self.lexer.require(',')?;
        }
        let options = bracketed(&mut self.lexer)?;
        self.lexer.require(';')?;
        Ok(Extensions { spans, options })
    }

    fn span(&mut self, max: i32) -> Result<Span, Problem> {
        let start = self.lexer.integer()?;
        if matches!(self.lexer.peek()?, Some(',' | ';' | '[')) {
            return Ok(Span::One(start));
        }
        if self.lexer.word()? != "to" {
            return Err(self.lexer.wrong("expected ',', ';' or 'to'"));
        }
        let end = match self.lexer.peek()? {
            Some('m') => match self.lexer.word()? {
                "max" => max,
                other => return Err(self.lexer.wrong(format_args!("{other:?} is no end of a range"))),
            },
            _ => self.lexer.integer()?,
        };
        Ok(Span::Range(start, end))
    }

    fn service(&mut self) -> Result<Service, Problem> {
        let mut service = Service { name: self.lexer.name()?, ..Service::default() };
        self.lexer.require('{')?;
        while !self.lexer.eat('}')? {
            if self.lexer.eat(';')? {
                continue;
            }
            match self.lexer.word()? {
                "option" => service.options.push(self.option()?),
                "rpc" => service.rpcs.push(self.rpc()?),
                other => {
                    return Err(self
                        .lexer
                        .wrong(format_args!("{other:?} in a service; expected rpc or option")));
                }
            }
        }
        Ok(service)
    }

    fn rpc(&mut self) -> Result<Rpc, Problem> {
        let name = self.lexer.name()?;
        let (request, request_streaming) = self.rpc_type()?;
        if self.lexer.word()? != "returns" {
            return Err(self
                .lexer
                .wrong(format_args!("expected returns after the request type of rpc {name:?}")));
        }
        let (response, response_streaming) = self.rpc_type()?;
        let mut options = Vec::new();
        if self.lexer.eat('{')? {
            while !self.lexer.eat('}')? {
                if self.lexer.eat(';')? {
                    continue;
                }
                match self.lexer.word()? {
                    "option" => options.push(self.option()?),
                    other => {
                        return Err(self.lexer.wrong(format_args!("{other:?} in an rpc; expected option")));
                    }
                }
            }
        } else {
            self.lexer.require(';')?;
        }
        Ok(Rpc { name, request, request_streaming, response, response_streaming, options })
    }

    fn rpc_type(&mut self) -> Result<(String, bool), Problem> {
        self.lexer.require('(')?;
        let mut name = self.lexer.full_name()?;
        let streaming = name == "stream" && self.lexer.peek()? != Some(')');
        if streaming {
            name = self.lexer.full_name()?;
        }
        self.lexer.require(')')?;
        Ok((name, streaming))
    }
}

enum Member {
    Field(Field),
    Group(Group),
}

/// Takes an option that is no option but a property of the field; the last one counts.
fn take(options: &mut Vec<Opt>, name: &str) -> Option<Value> {
    let found = options.extract_if(.., |option| !option.extension && option.name == name);
    found.last().map(|option| option.value)
}
