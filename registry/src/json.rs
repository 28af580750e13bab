//! JSON as schema documents need it: members in their order, numbers exactly as they were written.
//!
//! `serde_json` can keep numbers exact only by a feature that changes how every other JSON document of the program is
//! read (`arbitrary_precision`), so schema documents have this small tree of their own. Printing follows Jackson with
//! `BigDecimal` numbers, which is how Confluent's registry prints what it stores: `1e2` is `1E+2`, `-0.0` is `0.0`.
//!
//! A member that comes twice keeps its first place and its last value, as in Jackson. Nesting is limited to
//! [`MAX_DEPTH`]; time and memory are linear in the text.

use indexmap::IndexMap;
use std::fmt::{self, Write};

mod number;
mod read;
#[cfg(test)]
mod tests;

pub use number::{Decimal, Number};
pub use read::{Error, Syntax, read};

/// Arrays and objects inside each other. Jackson's own limit is 1000; no schema that people write comes near this one.
pub const MAX_DEPTH: usize = 200;

/// The members of an object, in the order of the text.
pub type Object = IndexMap<Box<str>, Json>;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, exactly as written.
    Number(Number),
    /// A string, unescaped.
    String(Box<str>),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Object),
}

impl Json {
    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<&Number> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Json]> {
        if let Self::Array(elements) = self { Some(elements) } else { None }
    }

    /// The members, if it is an object.
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.as_object()?.get(name)
    }

    /// What it is, for messages: "a string", "an object".
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// As Jackson prints it: no white space, members in their order, numbers as `BigDecimal.toString`.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::String(text) => quote(text, f),
            Self::Array(elements) => {
                f.write_char('[')?;
                for (n, element) in elements.iter().enumerate() {
                    if n > 0 {
                        f.write_char(',')?;
                    }
                    write!(f, "{element}")?;
                }
                f.write_char(']')
            }
            Self::Object(members) => {
                f.write_char('{')?;
                for (n, (name, value)) in members.iter().enumerate() {
                    if n > 0 {
                        f.write_char(',')?;
                    }
                    quote(name, f)?;
                    f.write_char(':')?;
                    write!(f, "{value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

/// Writes a string literal as Jackson does: short escapes where there are any, `\u001F` for other control characters,
/// everything else as it is.
pub fn quote(text: &str, out: &mut dyn Write) -> fmt::Result {
    out.write_char('"')?;
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        out.write_str(&rest[..at])?;
        match rest.as_bytes()[at] {
            b'"' => out.write_str("\\\"")?,
            b'\\' => out.write_str("\\\\")?,
            8 => out.write_str("\\b")?,
            9 => out.write_str("\\t")?,
            10 => out.write_str("\\n")?,
            12 => out.write_str("\\f")?,
            13 => out.write_str("\\r")?,
            control => write!(out, "\\u{control:04X}")?,
        }
        rest = &rest[at + 1..];
    }
    out.write_str(rest)?;
    out.write_char('"')
}
