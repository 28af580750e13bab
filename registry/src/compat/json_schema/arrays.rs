//! Items: one schema for all, or one for each place; what may follow; how many; how many that `contains` asks for.

use super::changes::{Changes, Values};
use super::objects::Unevaluated;
use super::rule::Rule;
use super::strings::{Limit, limit};
use super::walk::{At, Comparison};
use crate::parse::json_schema::model::{ArrayShape, NodeId, Shape};

type Side<'a> = (At<'a>, &'a ArrayShape);

pub(super) fn compare<'a>(
    comparison: &mut Comparison<'a>,
    changes: &mut Changes,
    old: Side<'a>,
    new: Side<'a>,
) {
    let schema = |side: Side<'a>, node: Option<NodeId>| node.map(|node| side.0.sibling(node));
    comparison.optional(changes, "items", schema(old, old.1.all), schema(new, new.1.all));
    tuple(comparison, changes, old, new);
    additional(comparison, changes, old, new);
    let unevaluated = Unevaluated {
        path: "unevaluatedItems",
        added: Rule::UnevaluatedItemsAdded,
        removed: Rule::UnevaluatedItemsRemoved,
        extended: Rule::UnevaluatedItemsExtended,
        narrowed: Rule::UnevaluatedItemsNarrowed,
    };
    unevaluated.compare(comparison, changes, schema(old, old.1.unevaluated), schema(new, new.1.unevaluated));
    limits(changes, old.1, new.1);
}

fn limits(changes: &mut Changes, old: &ArrayShape, new: &ArrayShape) {
    let max = Limit {
        added: Rule::MaxItemsAdded,
        removed: Rule::MaxItemsRemoved,
        increased: Rule::MaxItemsIncreased,
        decreased: Rule::MaxItemsDecreased,
    };
    limit(changes, "maxItems", &max, old.max, new.max);
    let min = Limit {
        added: Rule::MinItemsAdded,
        removed: Rule::MinItemsRemoved,
        increased: Rule::MinItemsIncreased,
        decreased: Rule::MinItemsDecreased,
    };
    limit(changes, "minItems", &min, old.min, new.min);
    match (old.unique, new.unique) {
        (true, false) => changes.add(Rule::UniqueItemsRemoved, "uniqueItems", Values::new("true", "false")),
        (false, true) => changes.add(Rule::UniqueItemsAdded, "uniqueItems", Values::new("false", "true")),
        _ => {}
    }
    let max = Limit {
        added: Rule::MaxContainsAdded,
        removed: Rule::MaxContainsRemoved,
        increased: Rule::MaxContainsIncreased,
        decreased: Rule::MaxContainsDecreased,
    };
    limit(changes, "maxContains", &max, old.max_contains, new.max_contains);
    let min = Limit {
        added: Rule::MinContainsAdded,
        removed: Rule::MinContainsRemoved,
        increased: Rule::MinContainsIncreased,
        decreased: Rule::MinContainsDecreased,
    };
    limit(changes, "minContains", &min, old.min_contains, new.min_contains);
}

fn tuple<'a>(
    comparison: &mut Comparison<'a>,
    changes: &mut Changes,
    (old_at, old): Side<'a>,
    (new_at, new): Side<'a>,
) {
    for n in 0..old.tuple.len().max(new.tuple.len()) {
        if changes.are_settled() {
            return;
        }
        let path = changes.path("items", &n.to_string());
        match (old.tuple.get(n), new.tuple.get(n)) {
            (Some(before), Some(after)) => {
                comparison.nested(changes, &path, old_at.sibling(*before), new_at.sibling(*after));
            }
            (Some(before), None) => {
                removed(comparison, changes, &path, old_at.sibling(*before), (new_at, new))
            }
            (None, Some(after)) => added(comparison, changes, &path, (old_at, old), new_at.sibling(*after)),
            (None, None) => {}
        }
    }
}

fn removed<'a>(
    comparison: &mut Comparison<'a>,
    changes: &mut Changes,
    path: &str,
    before: At<'a>,
    (new_at, new): Side<'a>,
) {
    if is_open(new_at, new) {
        return changes.note(Rule::ItemRemovedFromOpen, path);
    }
    if let Some(after) = cover(new_at, new) {
        let verdict = comparison.pair(before, new_at.sibling(after));
        comparison.adopt(changes, path, &verdict);
        let covered = verdict.changes.are_compatible();
        return changes
            .note(if covered { Rule::ItemRemovedIsCovered } else { Rule::ItemRemovedNotCovered }, path);
    }
    let impossible = matches!(before.shape(), Shape::Nothing);
    changes.note(
        if impossible { Rule::ItemWithFalseRemovedFromClosed } else { Rule::ItemRemovedFromClosed },
        path,
    );
}

fn added<'a>(
    comparison: &mut Comparison<'a>,
    changes: &mut Changes,
    path: &str,
    (old_at, old): Side<'a>,
    after: At<'a>,
) {
    if is_open(old_at, old) {
        let anything = matches!(after.shape(), Shape::Any);
        return changes
            .note(if anything { Rule::ItemWithEmptySchemaAddedToOpen } else { Rule::ItemAddedToOpen }, path);
    }
    let Some(before) = cover(old_at, old) else { return changes.note(Rule::ItemAddedToClosed, path) };
    let verdict = comparison.pair(old_at.sibling(before), after);
    comparison.adopt(changes, path, &verdict);
    let covered = verdict.changes.are_compatible();
    changes.note(if covered { Rule::ItemAddedIsCovered } else { Rule::ItemAddedNotCovered }, path);
}

/// Anything may follow.
fn is_open(at: At<'_>, array: &ArrayShape) -> bool {
    let evaluates = array.unevaluated.is_some_and(|schema| !matches!(at.sibling(schema).shape(), Shape::Any));
    array.permits_additional && array.additional.is_none() && !evaluates
}

/// The schema of what may follow.
fn cover(at: At<'_>, array: &ArrayShape) -> Option<NodeId> {
    let rest = || {
        let schema = array.unevaluated.filter(|_| array.permits_additional)?;
        (!matches!(at.sibling(schema).shape(), Shape::Any | Shape::Nothing)).then_some(schema)
    };
    array.additional.or_else(rest)
}

fn additional<'a>(
    comparison: &mut Comparison<'a>,
    changes: &mut Changes,
    (old_at, old): Side<'a>,
    (new_at, new): Side<'a>,
) {
    let path = "additionalItems";
    match (old.permits_additional, new.permits_additional) {
        (false, true) => {
            return changes.add(Rule::AdditionalItemsAdded, path, Values::new("false", "allowed"));
        }
        (true, false) => {
            return changes.add(Rule::AdditionalItemsRemoved, path, Values::new("allowed", "false"));
        }
        _ => {}
    }
    match (old.additional, new.additional) {
        (None, None) => {}
        (None, Some(_)) => {
            changes.add(Rule::AdditionalItemsNarrowed, path, Values::new("anything", "a schema"))
        }
        (Some(_), None) => {
            changes.add(Rule::AdditionalItemsExtended, path, Values::new("a schema", "anything"))
        }
        (Some(before), Some(after)) => {
            comparison.nested(changes, path, old_at.sibling(before), new_at.sibling(after));
        }
    }
}
