//! `FileDescriptorProto` -> [`File`], by the rules by which Confluent's registry turns one into text: options in a fixed
//! order, the entry messages of maps spelled out, custom options left away (their bytes mean nothing without the files
//! that declare them).
//!
//! One difference: a group stays a group. Confluent turns it into a field of a message type, which is encoded
//! differently on the wire.

use super::element::{
    Constant, Enum, Extend, Extensions, Field, File, Group, Label, Message, Oneof, Opt, Rpc, Service, Span,
    Syntax, Type, Value,
};
use crate::parse::Problem;
use indexmap::IndexMap;
use prost_types::field_descriptor_proto::{Label as ProtoLabel, Type as ProtoType};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FieldOptions, FileDescriptorProto,
    FileOptions, ServiceDescriptorProto, field_options, file_options, method_options,
};

const MAX_DEPTH: u32 = 32;

pub(super) fn file(found: &FileDescriptorProto) -> Result<File, Problem> {
    let syntax = match found.syntax() {
        "" => None,
        "proto2" => Some(Syntax::Proto2),
        "proto3" => Some(Syntax::Proto3),
        other => {
            return Err(Problem::new(format!(
                "the descriptor has syntax {other:?}, which is not supported by this registry, nor by Confluent's; \
                 generate it from a file with proto2 or proto3"
            )));
        }
    };
    let convert = Convert { proto3: syntax == Some(Syntax::Proto3) };
    let mut file = File {
        syntax,
        package: found.package.clone().filter(|package| !package.is_empty()),
        options: found.options.as_ref().map(file_options).unwrap_or_default(),
        extends: convert.extends(&found.extension),
        ..File::default()
    };
    for (index, path) in found.dependency.iter().enumerate() {
        let public = found.public_dependency.iter().any(|public| usize::try_from(*public) == Ok(index));
        if public { file.public_imports.push(path.clone()) } else { file.imports.push(path.clone()) }
    }
    for message in &found.message_type {
        file.messages.push(convert.message(message, 0)?);
    }
    file.enums = found.enum_type.iter().map(enumeration).collect();
    file.services = found.service.iter().map(service).collect();
    Ok(file)
}

struct Convert {
    proto3: bool,
}

impl Convert {
    fn message(&self, found: &DescriptorProto, depth: u32) -> Result<Message, Problem> {
        if depth >= MAX_DEPTH {
            return Err(Problem::new(format!(
                "messages are nested more than {MAX_DEPTH} levels deep in the descriptor"
            )));
        }
        let mut bodies: IndexMap<&str, Message> = IndexMap::new();
        for nested in &found.nested_type {
            bodies.insert(nested.name(), self.message(nested, depth + 1)?);
        }
        let mut message = Message { name: found.name().to_owned(), ..Message::default() };
        let mut oneofs: Vec<Oneof> = Vec::with_capacity(found.oneof_decl.len());
        for oneof in &found.oneof_decl {
            oneofs.push(Oneof { name: oneof.name().to_owned(), ..Oneof::default() });
        }
        for field in &found.field {
            let index = field
                .oneof_index
                .filter(|_| !field.proto3_optional())
                .and_then(|index| usize::try_from(index).ok());
            let oneof = index.and_then(|index| oneofs.get_mut(index));
            let body = if field.r#type() == ProtoType::Group {
                bodies.shift_remove(last(field.type_name()))
            } else {
                None
            };
            match (oneof, body) {
                (Some(oneof), Some(body)) => oneof.groups.push(self.group(field, body, true)),
                (None, Some(body)) => message.groups.push(self.group(field, body, false)),
                (Some(oneof), None) => oneof.fields.push(self.field(field, true)),
                (None, None) => message.fields.push(self.field(field, false)),
            }
        }
        oneofs.retain(|oneof| !oneof.fields.is_empty() || !oneof.groups.is_empty());
        message.oneofs = oneofs;
        message.enums = found.enum_type.iter().map(enumeration).collect();
        for range in &found.reserved_range {
            message.reserved.push(vec![span(range.start(), range.end().saturating_sub(1))]);
        }
        message.reserved.extend(found.reserved_name.iter().map(|name| vec![Span::Name(name.clone())]));
        for range in &found.extension_range {
            let spans = vec![span(range.start(), range.end().saturating_sub(1))];
            message.extensions.push(Extensions { spans, options: Vec::new() });
        }
        message.extends = self.extends(&found.extension);
        message.messages = bodies.into_values().collect();
        if let Some(options) = &found.options {
            flag(
                &mut message.options,
                "no_standard_descriptor_accessor",
                options.no_standard_descriptor_accessor,
            );
            flag(&mut message.options, "deprecated", options.deprecated);
            flag(&mut message.options, "map_entry", options.map_entry);
        }
        Ok(message)
    }

    fn group(&self, found: &FieldDescriptorProto, body: Message, in_oneof: bool) -> Group {
        let field = self.field(found, in_oneof);
        Group { label: field.label, tag: field.tag, options: field.options, body }
    }

    fn extends(&self, found: &[FieldDescriptorProto]) -> Vec<Extend> {
        let mut blocks: IndexMap<&str, Extend> = IndexMap::new();
        for field in found {
            let name = field.extendee();
            let block =
                blocks.entry(name).or_insert_with(|| Extend { name: name.to_owned(), ..Extend::default() });
            block.fields.push(self.field(field, false));
        }
        blocks.into_values().collect()
    }

    fn field(&self, found: &FieldDescriptorProto, in_oneof: bool) -> Field {
        let kind = match &found.type_name {
            Some(name) => name.clone(),
            None => scalar(found.r#type()).to_owned(),
        };
        Field {
            label: if in_oneof { None } else { self.label(found) },
            default: found.default_value.as_ref().filter(|_| !self.proto3).map(|text| default(&kind, text)),
            kind: Type::Named(kind),
            name: found.name().to_owned(),
            tag: found.number(),
            options: found.options.as_ref().map(field_options).unwrap_or_default(),
            json_name: found.json_name.as_ref().map(|name| name.clone().into_bytes()),
        }
    }

    fn label(&self, found: &FieldDescriptorProto) -> Option<Label> {
        if found.proto3_optional() {
            return Some(Label::Optional);
        }
        match found.label() {
            ProtoLabel::Repeated => Some(Label::Repeated),
            _ if self.proto3 => None,
            ProtoLabel::Required => Some(Label::Required),
            ProtoLabel::Optional => Some(Label::Optional),
        }
    }
}

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn default(kind: &str, text: &str) -> Value {
    match kind {
        "string" => Value::Text(text.as_bytes().to_vec()),
        // A descriptor holds bytes escaped as in C.
        "bytes" => Value::Text(unescape(text)),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => Value::Number(text.to_owned()),
        _ => Value::Word(text.to_owned()),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let quoted = format!("\"{}\"", text.replace('"', "\\\""));
    super::lex::Lexer::new(&quoted).quoted().unwrap_or_else(|_| text.as_bytes().to_vec())
}

fn span(start: i32, end: i32) -> Span {
    if start == end { Span::One(start) } else { Span::Range(start, end) }
}

fn scalar(kind: ProtoType) -> &'static str {
    match kind {
        ProtoType::Double => "double",
        ProtoType::Float => "float",
        ProtoType::Int64 => "int64",
        ProtoType::Uint64 => "uint64",
        ProtoType::Int32 => "int32",
        ProtoType::Fixed64 => "fixed64",
        ProtoType::Fixed32 => "fixed32",
        ProtoType::Bool => "bool",
        ProtoType::String => "string",
        ProtoType::Group => "group",
        ProtoType::Message => "message",
        ProtoType::Bytes => "bytes",
        ProtoType::Uint32 => "uint32",
        ProtoType::Enum => "enum",
        ProtoType::Sfixed32 => "sfixed32",
        ProtoType::Sfixed64 => "sfixed64",
        ProtoType::Sint32 => "sint32",
        ProtoType::Sint64 => "sint64",
    }
}

fn flag(options: &mut Vec<Opt>, name: &str, value: Option<bool>) {
    options.extend(value.map(|value| Opt::plain(name, Value::Word(value.to_string()))));
}

fn text(options: &mut Vec<Opt>, name: &str, value: Option<&String>) {
    options.extend(value.map(|value| Opt::plain(name, Value::Text(value.clone().into_bytes()))));
}

fn word(options: &mut Vec<Opt>, name: &str, value: Option<&str>) {
    options.extend(value.map(|value| Opt::plain(name, Value::Word(value.to_owned()))));
}

fn file_options(found: &FileOptions) -> Vec<Opt> {
    let mut options = Vec::new();
    let optimize = found.optimize_for.and_then(|mode| file_options::OptimizeMode::try_from(mode).ok());
    text(&mut options, "java_package", found.java_package.as_ref());
    text(&mut options, "java_outer_classname", found.java_outer_classname.as_ref());
    flag(&mut options, "java_multiple_files", found.java_multiple_files);
    #[allow(deprecated)]
    flag(&mut options, "java_generate_equals_and_hash", found.java_generate_equals_and_hash);
    flag(&mut options, "java_string_check_utf8", found.java_string_check_utf8);
    word(&mut options, "optimize_for", optimize.map(|mode| mode.as_str_name()));
    text(&mut options, "go_package", found.go_package.as_ref());
    flag(&mut options, "cc_generic_services", found.cc_generic_services);
    flag(&mut options, "java_generic_services", found.java_generic_services);
    flag(&mut options, "py_generic_services", found.py_generic_services);
    flag(&mut options, "deprecated", found.deprecated);
    flag(&mut options, "cc_enable_arenas", found.cc_enable_arenas);
    text(&mut options, "objc_class_prefix", found.objc_class_prefix.as_ref());
    text(&mut options, "csharp_namespace", found.csharp_namespace.as_ref());
    text(&mut options, "swift_prefix", found.swift_prefix.as_ref());
    text(&mut options, "php_class_prefix", found.php_class_prefix.as_ref());
    text(&mut options, "php_namespace", found.php_namespace.as_ref());
    text(&mut options, "php_metadata_namespace", found.php_metadata_namespace.as_ref());
    text(&mut options, "ruby_package", found.ruby_package.as_ref());
    options
}

fn field_options(found: &FieldOptions) -> Vec<Opt> {
    let mut options = Vec::new();
    let ctype = found.ctype.and_then(|kind| field_options::CType::try_from(kind).ok());
    let jstype = found.jstype.and_then(|kind| field_options::JsType::try_from(kind).ok());
    word(&mut options, "ctype", ctype.map(|kind| kind.as_str_name()));
    flag(&mut options, "packed", found.packed);
    word(&mut options, "jstype", jstype.map(|kind| kind.as_str_name()));
    flag(&mut options, "deprecated", found.deprecated);
    options
}

fn enumeration(found: &EnumDescriptorProto) -> Enum {
    let mut options = Vec::new();
    flag(&mut options, "allow_alias", found.options.as_ref().and_then(|options| options.allow_alias));
    flag(&mut options, "deprecated", found.options.as_ref().and_then(|options| options.deprecated));
    let constant = |value: &prost_types::EnumValueDescriptorProto| {
        let mut options = Vec::new();
        flag(&mut options, "deprecated", value.options.as_ref().and_then(|options| options.deprecated));
        Constant { name: value.name().to_owned(), tag: value.number(), options }
    };
    let mut reserved: Vec<Vec<Span>> = Vec::new();
    reserved.extend(found.reserved_range.iter().map(|range| vec![span(range.start(), range.end())]));
    reserved.extend(found.reserved_name.iter().map(|name| vec![Span::Name(name.clone())]));
    Enum {
        name: found.name().to_owned(),
        reserved,
        options,
        constants: found.value.iter().map(constant).collect(),
    }
}

fn service(found: &ServiceDescriptorProto) -> Service {
    let mut options = Vec::new();
    flag(&mut options, "deprecated", found.options.as_ref().and_then(|options| options.deprecated));
    let rpc = |method: &prost_types::MethodDescriptorProto| {
        let mut options = Vec::new();
        let found = method.options.as_ref();
        let level = found.and_then(|options| options.idempotency_level);
        let level = level.and_then(|level| method_options::IdempotencyLevel::try_from(level).ok());
        flag(&mut options, "deprecated", found.and_then(|options| options.deprecated));
        word(&mut options, "idempotency_level", level.map(|level| level.as_str_name()));
        Rpc {
            name: method.name().to_owned(),
            request: method.input_type().to_owned(),
            request_streaming: method.client_streaming(),
            response: method.output_type().to_owned(),
            response_streaming: method.server_streaming(),
            options,
        }
    };
    Service { name: found.name().to_owned(), options, rpcs: found.method.iter().map(rpc).collect() }
}
