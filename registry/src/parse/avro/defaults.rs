//! Whether a default value is one of its type.

use super::graph::{Graph, Kind, Primitive, TypeId};
use crate::json::{Json, Number};

/// Why a default does not fit; `None` where it does. Linear in the value: what a record lacks is known beforehand, and
/// defaults of its own fields were looked at when they were read.
pub(super) fn misfit(graph: &Graph, id: TypeId, value: &Json) -> Option<String> {
    let expected = |what: &str| Some(format!("{} is {}, not {what}", shown(value), value.kind()));
    match &graph.get(id).kind {
        Kind::Primitive(primitive) => match (primitive, value) {
            (Primitive::Null, Json::Null) | (Primitive::Boolean, Json::Bool(_)) => None,
            (Primitive::String, Json::String(_)) => None,
            (Primitive::Bytes, Json::String(text)) => beyond_bytes(text),
            (Primitive::Float | Primitive::Double, Json::Number(_)) => None,
            (Primitive::Int, Json::Number(number)) => {
                let fits = integer(number).is_some_and(|value| i32::try_from(value).is_ok());
                if fits { None } else { Some(format!("{} is no integer of 32 bits", shown(value))) }
            }
            (Primitive::Long, Json::Number(number)) => {
                if integer(number).is_some() {
                    None
                } else {
                    Some(format!("{} is no integer of 64 bits", shown(value)))
                }
            }
            _ => expected(primitive.name()),
        },
        Kind::Array(items) => match value {
            Json::Array(elements) => elements.iter().find_map(|element| misfit(graph, *items, element)),
            _ => expected("an array"),
        },
        Kind::Map(values) => match value {
            Json::Object(members) => members.values().find_map(|member| misfit(graph, *values, member)),
            _ => expected("a map"),
        },
        // Avro's rule, up to the versions that registries use: a union's default is one of its first branch.
        Kind::Union(branches) => match branches.first() {
            None => Some("a union without branches has no values".to_owned()),
            Some(first) => misfit(graph, *first, value).map(|why| match branches.len() {
                1 => why,
                _ => format!("{why}: the default of a union must be one of its first branch"),
            }),
        },
        Kind::Enum(symbols) => match value {
            Json::String(text) if symbols.symbols.contains(&**text) => None,
            Json::String(_) => {
                Some(format!("{} is no symbol of {}", shown(value), symbols.named.name.full()))
            }
            _ => expected("a symbol"),
        },
        Kind::Fixed(_) => match value {
            Json::String(text) => beyond_bytes(text),
            _ => expected("a string of bytes"),
        },
        Kind::Record(record) => {
            let Json::Object(members) = value else { return expected("a record") };
            let name = record.named.name.full();
            if !record.is_complete {
                return Some(format!("record {name} would contain itself"));
            }
            let lacking = record.required.iter().filter_map(|place| record.fields.get_index(*place));
            let lacking = lacking.map(|(name, _)| name).find(|name| !members.contains_key(&***name));
            if let Some(lacking) = lacking {
                return Some(format!("it lacks field {lacking:?} of {name}, which has no default itself"));
            }
            members.iter().find_map(|(key, value)| misfit(graph, record.fields.get(key)?.schema, value))
        }
    }
}

fn integer(number: &Number) -> Option<i64> {
    if number.is_integer() { number.as_i64() } else { None }
}

fn beyond_bytes(text: &str) -> Option<String> {
    let wide = text.chars().find(|c| u32::from(*c) > 0xff)?;
    Some(format!("{wide:?} is no byte: bytes are written as the characters \\u0000 to \\u00ff"))
}

/// The value for messages, without its end where it is long.
pub(super) fn shown(value: &Json) -> String {
    struct Short(String);
    impl std::fmt::Write for Short {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.push_str(text);
            // Printing stops here, however long the value is.
            if self.0.len() > 60 { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let mut short = Short(String::new());
    let whole = std::fmt::write(&mut short, format_args!("{value}")).is_ok();
    if whole { short.0 } else { short.0.chars().take(60).chain("...".chars()).collect() }
}
