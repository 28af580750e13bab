//! Names with their namespaces.

use super::{MAX_NAME, graph::Primitive};
use crate::parse::Strictness;
use std::sync::Arc;

/// The full name of a record, an enum or a fixed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    /// Shared by all that inherit it; none is the null namespace, never an empty text.
    pub(super) space: Option<Arc<str>>,
    pub(crate) simple: Box<str>,
}

impl Name {
    /// Splits a name at its last dot; one without a dot belongs to `space`.
    pub(super) fn new(text: &str, space: Option<&Arc<str>>, strictness: Strictness) -> Result<Self, String> {
        let (space, simple) = match text.rsplit_once('.') {
            Some(("", simple)) => (None, simple),
            Some((space, simple)) => (Some(Arc::from(space)), simple),
            None => (space.cloned(), text),
        };
        check_simple(simple, strictness)?;
        if space.as_ref().map_or(0, |space| space.len()) + simple.len() > MAX_NAME {
            return Err(too_long(simple));
        }
        Ok(Self { space, simple: simple.into() })
    }

    /// With the namespace.
    pub(crate) fn full(&self) -> String {
        match &self.space {
            Some(space) => format!("{space}.{}", self.simple),
            None => self.simple.to_string(),
        }
    }

    /// As it is written where `space` is inherited. A name that is also a kind of type needs its namespace in any case.
    pub(super) fn within(&self, space: Option<&Arc<str>>) -> String {
        let is_inherited = self.space.is_some() && self.space.as_ref() == space;
        if is_inherited && !is_kind(&self.simple) { self.simple.to_string() } else { self.full() }
    }
}

fn is_kind(name: &str) -> bool {
    matches!(name, "record" | "enum" | "array" | "map" | "union" | "fixed")
        || Primitive::named(name).is_some()
}

/// A name without namespace: of a type, a field or a symbol. Letters are those of Unicode's first plane, as in Java.
pub(super) fn check_simple(name: &str, strictness: Strictness) -> Result<(), String> {
    if name.is_empty() {
        return Err("has an empty name: names begin with a letter or _".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(too_long(name));
    }
    if strictness == Strictness::Stored {
        return Ok(());
    }
    let is_letter = |c: char| c == '_' || c.is_ascii_alphabetic() || (is_wide(c) && c.is_alphabetic());
    let is_inner = |c: char| is_letter(c) || c.is_ascii_digit() || (is_wide(c) && c.is_numeric());
    if name.starts_with(is_letter) && name.chars().all(is_inner) {
        return Ok(());
    }
    let shown: String = name.chars().take(100).collect();
    Err(format!("has the name {shown:?}: a name is letters, digits and _, and begins with no digit"))
}

fn too_long(name: &str) -> String {
    let start: String = name.chars().take(40).collect();
    format!(
        "has a name of more than {MAX_NAME} bytes, its namespace included, that begins with {start:?}: shorten it"
    )
}

fn is_wide(c: char) -> bool {
    ('\u{80}'..='\u{ffff}').contains(&c)
}
