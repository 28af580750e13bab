//! `minLength`, `maxLength`, `pattern`.

use super::changes::{Changes, Values};
use super::rule::Rule;
use crate::parse::json_schema::model::StringShape;

/// The four things that can happen to a limit.
pub(super) struct Limit {
    pub(super) added: Rule,
    pub(super) removed: Rule,
    pub(super) increased: Rule,
    pub(super) decreased: Rule,
}

/// Compares a limit on how many there may be.
pub(super) fn limit(changes: &mut Changes, keyword: &str, rules: &Limit, old: Option<u64>, new: Option<u64>) {
    match (old, new) {
        (None, Some(new)) => changes.add(rules.added, keyword, Values::new("none", new)),
        (Some(old), None) => changes.add(rules.removed, keyword, Values::new(old, "none")),
        (Some(old), Some(new)) if old < new => changes.add(rules.increased, keyword, Values::new(old, new)),
        (Some(old), Some(new)) if old > new => changes.add(rules.decreased, keyword, Values::new(old, new)),
        _ => {}
    }
}

pub(super) fn compare(changes: &mut Changes, old: &StringShape, new: &StringShape) {
    let max = Limit {
        added: Rule::MaxLengthAdded,
        removed: Rule::MaxLengthRemoved,
        increased: Rule::MaxLengthIncreased,
        decreased: Rule::MaxLengthDecreased,
    };
    limit(changes, "maxLength", &max, old.max, new.max);
    let min = Limit {
        added: Rule::MinLengthAdded,
        removed: Rule::MinLengthRemoved,
        increased: Rule::MinLengthIncreased,
        decreased: Rule::MinLengthDecreased,
    };
    limit(changes, "minLength", &min, old.min, new.min);
    match (&old.pattern, &new.pattern) {
        (None, Some(new)) => changes.add(Rule::PatternAdded, "pattern", Values::new("none", new)),
        (Some(old), None) => changes.add(Rule::PatternRemoved, "pattern", Values::new(old, "none")),
        (Some(old), Some(new)) if old != new => {
            changes.add(Rule::PatternChanged, "pattern", Values::new(old, new))
        }
        _ => {}
    }
}
