//! Which `patternProperties` a name falls under.

use crate::parse::json_schema::model::NodeId;
use regex::{Regex, RegexBuilder};
use std::collections::HashMap;

/// A compiled pattern may take this much memory; larger ones count as not understood.
const MAX_SIZE: usize = 1 << 18;

/// Compiled patterns.
#[derive(Debug, Default)]
pub(super) struct Patterns<'a> {
    /// None for what only other engines understand: looking around, back references.
    compiled: HashMap<&'a str, Option<Regex>>,
}

/// What a name falls under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    By(NodeId),
    None,
    /// A pattern that cannot be tried here comes before any that matches.
    Unknown,
}

impl<'a> Patterns<'a> {
    /// What trying these patterns on a name costs.
    pub(super) fn price(&self, patterns: &[(Box<str>, NodeId)], name: &str) -> usize {
        let each = 1 + name.len() / 64;
        patterns
            .iter()
            .map(|(pattern, _)| each + if self.compiled.contains_key(&**pattern) { 0 } else { 50 })
            .sum()
    }

    /// The first pattern that is found in the name.
    pub(super) fn cover(&mut self, patterns: &'a [(Box<str>, NodeId)], name: &str) -> Cover {
        for (pattern, node) in patterns {
            let compiled = self.compiled.entry(pattern).or_insert_with(|| {
                RegexBuilder::new(pattern).size_limit(MAX_SIZE).nest_limit(100).build().ok()
            });
            match compiled {
                None => return Cover::Unknown,
                Some(regex) if regex.is_match(name) => return Cover::By(*node),
                Some(_) => {}
            }
        }
        Cover::None
    }
}
