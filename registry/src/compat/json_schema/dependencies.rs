//! `dependencies`, `dependentRequired`, `dependentSchemas`: what one property asks of its neighbours.

use super::changes::{Changes, Values};
use super::rule::Rule;
use super::walk::{At, Comparison};
use crate::parse::json_schema::model::ObjectShape;
use std::collections::BTreeSet;

fn listed(names: &BTreeSet<Box<str>>) -> String {
    names.iter().take(8).map(|name| &**name).collect::<Vec<_>>().join(", ")
}

pub(super) fn compare<'a>(
    comparison: &mut Comparison<'a>,
    changes: &mut Changes,
    (old_at, old): (At<'a>, &'a ObjectShape),
    (new_at, new): (At<'a>, &'a ObjectShape),
) {
    for (name, before) in &old.required_by {
        let path = changes.path("dependencies", name);
        let Some(after) = new.required_by.get(name) else {
            changes.note(Rule::DependencyArrayRemoved, path);
            continue;
        };
        if before == after {
            continue;
        }
        let rule = if after.is_superset(before) {
            Rule::DependencyArrayExtended
        } else if before.is_superset(after) {
            Rule::DependencyArrayNarrowed
        } else {
            Rule::DependencyArrayChanged
        };
        changes.add(rule, path, Values::new(listed(before), listed(after)));
    }
    for (name, after) in new.required_by.iter().filter(|(name, _)| !old.required_by.contains_key(*name)) {
        changes.add(
            Rule::DependencyArrayAdded,
            format!("dependencies/{name}"),
            Values::new("none", listed(after)),
        );
    }
    for (name, before) in &old.schema_by {
        let path = changes.path("dependencies", name);
        match new.schema_by.get(name) {
            None => changes.note(Rule::DependencySchemaRemoved, path),
            Some(after) => comparison.nested(changes, &path, old_at.sibling(*before), new_at.sibling(*after)),
        }
    }
    for name in new.schema_by.keys().filter(|name| !old.schema_by.contains_key(*name)) {
        let path = changes.path("dependencies", name);
        changes.note(Rule::DependencySchemaAdded, path);
    }
}
