//! `enum` and `const`. Numbers are the same where they are written the same, as for Confluent's registry.

use super::changes::{Changes, Values};
use super::rule::Rule;
use crate::json::Json;
use std::collections::HashSet;

/// Text that two values share if and only if they are equal.
fn key(value: &Json) -> String {
    crate::parse::json_schema::sorted(value, str::cmp)
}

fn listed(values: &[Json]) -> String {
    let mut shown = String::new();
    for value in values.iter().take(8) {
        shown.push_str(if shown.is_empty() { "" } else { ", " });
        shown.push_str(&value.to_string());
    }
    shown
}

pub(super) fn compare(changes: &mut Changes, old: &[Json], new: &[Json]) {
    let before: HashSet<String> = old.iter().map(key).collect();
    let after: HashSet<String> = new.iter().map(key).collect();
    if before == after {
        return;
    }
    let rule = if after.is_superset(&before) {
        Rule::EnumArrayExtended
    } else if before.is_superset(&after) {
        Rule::EnumArrayNarrowed
    } else {
        Rule::EnumArrayChanged
    };
    changes.add(rule, "enum", Values::new(listed(old), listed(new)));
}

pub(super) fn compare_const(changes: &mut Changes, old: &Json, new: &Json) {
    if old != new {
        changes.add(Rule::EnumArrayChanged, "const", Values::new(old, new));
    }
}
