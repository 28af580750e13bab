//! Properties: which there are, which must be there, what else may be there.
//!
//! The content model decides what a property may do that only one side names. Open: anything may be there. Closed:
//! nothing else may. Partially open: only what a pattern or a schema of `additionalProperties` covers.

use super::changes::{Changes, Values};
use super::dependencies;
use super::patterns::Cover;
use super::rule::Rule;
use super::strings::{Limit, limit};
use super::walk::{At, Comparison};
use crate::parse::json_schema::model::{NodeId, ObjectShape, Shape};

type Side<'a> = (At<'a>, &'a ObjectShape);

pub(super) fn compare<'a>(
    comparison: &mut Comparison<'a>,
    changes: &mut Changes,
    old: Side<'a>,
    new: Side<'a>,
) {
    required(changes, old, new);
    properties(comparison, changes, old, new);
    if changes.are_settled() {
        return;
    }
    dependencies::compare(comparison, changes, old, new);
    additional(comparison, changes, old, new);
    unevaluated(comparison, changes, old, new);
    let max = Limit {
        added: Rule::MaxPropertiesAdded,
        removed: Rule::MaxPropertiesRemoved,
        increased: Rule::MaxPropertiesIncreased,
        decreased: Rule::MaxPropertiesDecreased,
    };
    limit(changes, "maxProperties", &max, old.1.max, new.1.max);
    let min = Limit {
        added: Rule::MinPropertiesAdded,
        removed: Rule::MinPropertiesRemoved,
        increased: Rule::MinPropertiesIncreased,
        decreased: Rule::MinPropertiesDecreased,
    };
    limit(changes, "minProperties", &min, old.1.min, new.1.min);
}

fn required<'a>(changes: &mut Changes, (_, old): Side<'a>, (new_at, new): Side<'a>) {
    for name in old.properties.keys() {
        let Some(property) = new.properties.get(name) else { continue };
        let rule = match (old.required.contains(name), new.required.contains(name)) {
            (true, false) => Rule::RequiredAttributeRemoved,
            (false, true) if has_default(new_at, *property) => Rule::RequiredAttributeWithDefaultAdded,
            (false, true) => Rule::RequiredAttributeAdded,
            _ => continue,
        };
        let path = changes.path("required", name);
        changes.note(rule, path);
    }
}

fn has_default(object: At<'_>, property: NodeId) -> bool {
    let property = object.sibling(property);
    property.literal().notes.default.is_some() || property.node().notes.default.is_some()
}

fn properties<'a>(
    comparison: &mut Comparison<'a>,
    changes: &mut Changes,
    (old_at, old): Side<'a>,
    (new_at, new): Side<'a>,
) {
    for (name, before) in &old.properties {
        if changes.are_settled() {
            return;
        }
        let path = changes.path("properties", name);
        match new.properties.get(name) {
            Some(after) => comparison.nested(changes, &path, old_at.sibling(*before), new_at.sibling(*after)),
            None => removed(comparison, changes, &path, name, old_at.sibling(*before), (new_at, new)),
        }
    }
    for (name, after) in &new.properties {
        if changes.are_settled() {
            return;
        }
        if !old.properties.contains_key(name) {
            added(comparison, changes, name, *after, (old_at, old), (new_at, new));
        }
    }
}

/// Only the new content model counts: what was written must still be allowed there.
fn removed<'a>(
    comparison: &mut Comparison<'a>,
    changes: &mut Changes,
    path: &str,
    name: &'a str,
    before: At<'a>,
    (new_at, new): Side<'a>,
) {
    if is_open(new_at, new) {
        return changes.note(Rule::PropertyRemovedFromOpen, path);
    }
    match cover(comparison, (new_at, new), name) {
        Cover::By(after) => {
            let verdict = comparison.pair(before, new_at.sibling(after));
            comparison.adopt(changes, path, &verdict);
            let covered = verdict.changes.are_compatible();
            let rule = if covered { Rule::PropertyRemovedIsCovered } else { Rule::PropertyRemovedNotCovered };
            changes.note(rule, path);
        }
        Cover::Unknown => changes.note(Rule::PropertyRemovedNotCovered, path),
        Cover::None if matches!(before.shape(), Shape::Nothing) => {
            changes.note(Rule::PropertyWithFalseRemovedFromClosed, path);
        }
        Cover::None => changes.note(Rule::PropertyRemovedFromClosed, path),
    }
}

/// Only the old content model counts: what it let be written under this name must fit.
fn added<'a>(
    comparison: &mut Comparison<'a>,
    changes: &mut Changes,
    name: &'a str,
    after: NodeId,
    (old_at, old): Side<'a>,
    (new_at, new): Side<'a>,
) {
    let path = changes.path("properties", name);
    let (is_required, has_default) = (new.required.contains(name), has_default(new_at, after));
    let after = new_at.sibling(after);
    if is_open(old_at, old) {
        let is_empty = matches!(after.shape(), Shape::Any);
        let rule = match (is_required, has_default) {
            (true, false) => Rule::RequiredPropertyAddedToOpen,
            _ if is_empty => Rule::PropertyWithEmptySchemaAddedToOpen,
            (true, true) => Rule::RequiredPropertyWithDefaultAddedToOpen,
            (false, _) => Rule::OptionalPropertyAddedToOpen,
        };
        return changes.note(rule, path);
    }
    match cover(comparison, (old_at, old), name) {
        Cover::By(before) => {
            let verdict = comparison.pair(old_at.sibling(before), after);
            comparison.adopt(changes, &path, &verdict);
            let covered = verdict.changes.are_compatible();
            let rule = if covered { Rule::PropertyAddedIsCovered } else { Rule::PropertyAddedNotCovered };
            changes.note(rule, path.clone());
        }
        Cover::Unknown => changes.note(Rule::PropertyAddedNotCovered, path.clone()),
        Cover::None => {}
    }
    let rule = match (is_required, has_default) {
        (true, true) => Rule::RequiredPropertyWithDefaultAddedToUnopen,
        (true, false) => Rule::RequiredPropertyAddedToUnopen,
        (false, _) => Rule::OptionalPropertyAddedToUnopen,
    };
    changes.note(rule, path);
}

/// Anything may be there.
fn is_open(at: At<'_>, object: &ObjectShape) -> bool {
    let evaluates =
        object.unevaluated.is_some_and(|schema| !matches!(at.sibling(schema).shape(), Shape::Any));
    object.patterns.is_empty() && object.additional.is_none() && object.permits_additional && !evaluates
}

/// The schema that a property falls under which is not named.
fn cover<'a>(comparison: &mut Comparison<'a>, (at, object): Side<'a>, name: &str) -> Cover {
    let price = comparison.patterns.price(&object.patterns, name);
    if !comparison.pay(price) {
        return Cover::Unknown;
    }
    match comparison.patterns.cover(&object.patterns, name) {
        Cover::None => {}
        found => return found,
    }
    if let Some(schema) = object.additional {
        return Cover::By(schema);
    }
    let rest = object.unevaluated.filter(|_| object.permits_additional);
    match rest.filter(|schema| !matches!(at.sibling(*schema).shape(), Shape::Any | Shape::Nothing)) {
        Some(schema) => Cover::By(schema),
        None => Cover::None,
    }
}

fn additional<'a>(
    comparison: &mut Comparison<'a>,
    changes: &mut Changes,
    (old_at, old): Side<'a>,
    (new_at, new): Side<'a>,
) {
    let path = "additionalProperties";
    match (old.permits_additional, new.permits_additional) {
        (false, true) => {
            return changes.add(Rule::AdditionalPropertiesAdded, path, Values::new("false", "allowed"));
        }
        (true, false) => {
            return changes.add(Rule::AdditionalPropertiesRemoved, path, Values::new("allowed", "false"));
        }
        _ => {}
    }
    match (old.additional, new.additional) {
        (None, None) => {}
        (None, Some(_)) => {
            changes.add(Rule::AdditionalPropertiesNarrowed, path, Values::new("anything", "a schema"))
        }
        (Some(_), None) => {
            changes.add(Rule::AdditionalPropertiesExtended, path, Values::new("a schema", "anything"))
        }
        (Some(before), Some(after)) => {
            comparison.nested(changes, path, old_at.sibling(before), new_at.sibling(after));
        }
    }
}

fn unevaluated<'a>(
    comparison: &mut Comparison<'a>,
    changes: &mut Changes,
    (old_at, old): Side<'a>,
    (new_at, new): Side<'a>,
) {
    let rules = Unevaluated {
        path: "unevaluatedProperties",
        added: Rule::UnevaluatedPropertiesAdded,
        removed: Rule::UnevaluatedPropertiesRemoved,
        extended: Rule::UnevaluatedPropertiesExtended,
        narrowed: Rule::UnevaluatedPropertiesNarrowed,
    };
    let before = old.unevaluated.map(|schema| old_at.sibling(schema));
    let after = new.unevaluated.map(|schema| new_at.sibling(schema));
    rules.compare(comparison, changes, before, after);
}

/// What `unevaluatedProperties` and `unevaluatedItems` have in common.
pub(super) struct Unevaluated {
    pub(super) path: &'static str,
    pub(super) added: Rule,
    pub(super) removed: Rule,
    pub(super) extended: Rule,
    pub(super) narrowed: Rule,
}

impl Unevaluated {
    pub(super) fn compare<'a>(
        &self,
        comparison: &mut Comparison<'a>,
        changes: &mut Changes,
        old: Option<At<'a>>,
        new: Option<At<'a>>,
    ) {
        let forbids = |schema: At<'_>| matches!(schema.shape(), Shape::Nothing);
        let allows = |schema: At<'_>| matches!(schema.shape(), Shape::Any);
        let rule = match (old, new) {
            (None, None) => return,
            (None, Some(new)) if forbids(new) => self.removed,
            (None, Some(_)) => self.narrowed,
            (Some(old), None) if forbids(old) => self.added,
            (Some(_), None) => self.extended,
            (Some(old), Some(new)) => match (forbids(old), forbids(new)) {
                (true, false) => self.added,
                (false, true) => self.removed,
                _ if allows(old) && !allows(new) => self.narrowed,
                _ if !allows(old) && allows(new) => self.extended,
                _ => return comparison.nested(changes, self.path, old, new),
            },
        };
        changes.note(rule, self.path);
    }
}
