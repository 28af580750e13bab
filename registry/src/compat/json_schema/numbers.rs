//! `minimum`, `maximum`, their exclusive forms, `multipleOf`, and `integer` against `number`.
//!
//! Confluent compares `multipleOf` after cutting off fractions, which divides by zero for 0.5; here the values count.

use super::changes::{Changes, Values};
use super::rule::Rule;
use super::strings::Limit;
use crate::json::Number;
use crate::parse::json_schema::model::NumberShape;
use std::cmp::Ordering;

fn limit(changes: &mut Changes, keyword: &str, rules: &Limit, old: &Option<Number>, new: &Option<Number>) {
    match (old, new) {
        (None, None) => {}
        (None, Some(new)) => changes.add(rules.added, keyword, Values::new("none", new)),
        (Some(old), None) => changes.add(rules.removed, keyword, Values::new(old, "none")),
        (Some(old), Some(new)) => match old.decimal().partial_cmp(&new.decimal()) {
            Some(Ordering::Less) => changes.add(rules.increased, keyword, Values::new(old, new)),
            Some(Ordering::Greater) => changes.add(rules.decreased, keyword, Values::new(old, new)),
            Some(Ordering::Equal) | None => {}
        },
    }
}

pub(super) fn compare(changes: &mut Changes, old: &NumberShape, new: &NumberShape) {
    let maximum = Limit {
        added: Rule::MaximumAdded,
        removed: Rule::MaximumRemoved,
        increased: Rule::MaximumIncreased,
        decreased: Rule::MaximumDecreased,
    };
    limit(changes, "maximum", &maximum, &old.maximum, &new.maximum);
    let minimum = Limit {
        added: Rule::MinimumAdded,
        removed: Rule::MinimumRemoved,
        increased: Rule::MinimumIncreased,
        decreased: Rule::MinimumDecreased,
    };
    limit(changes, "minimum", &minimum, &old.minimum, &new.minimum);
    let maximum = Limit {
        added: Rule::ExclusiveMaximumAdded,
        removed: Rule::ExclusiveMaximumRemoved,
        increased: Rule::ExclusiveMaximumIncreased,
        decreased: Rule::ExclusiveMaximumDecreased,
    };
    limit(changes, "exclusiveMaximum", &maximum, &old.exclusive_maximum, &new.exclusive_maximum);
    let minimum = Limit {
        added: Rule::ExclusiveMinimumAdded,
        removed: Rule::ExclusiveMinimumRemoved,
        increased: Rule::ExclusiveMinimumIncreased,
        decreased: Rule::ExclusiveMinimumDecreased,
    };
    limit(changes, "exclusiveMinimum", &minimum, &old.exclusive_minimum, &new.exclusive_minimum);
    match (&old.multiple_of, &new.multiple_of) {
        (None, None) => {}
        (None, Some(new)) => changes.add(Rule::MultipleOfAdded, "multipleOf", Values::new("none", new)),
        (Some(old), None) => changes.add(Rule::MultipleOfRemoved, "multipleOf", Values::new(old, "none")),
        (Some(old), Some(new)) if old.decimal().partial_cmp(&new.decimal()) == Some(Ordering::Equal) => {}
        (Some(old), Some(new)) => {
            let rule = if divides(old, new) {
                Rule::MultipleOfExpanded
            } else if divides(new, old) {
                Rule::MultipleOfReduced
            } else {
                Rule::MultipleOfChanged
            };
            changes.add(rule, "multipleOf", Values::new(old, new));
        }
    }
    match (old.integer, new.integer) {
        (true, false) => changes.add(Rule::TypeExtended, "", Values::new("integer", "number")),
        (false, true) => changes.add(Rule::TypeNarrowed, "", Values::new("number", "integer")),
        _ => {}
    }
}

/// `number` is a multiple of `divisor`; false also where that would take more than 128 bits to find out.
fn divides(divisor: &Number, number: &Number) -> bool {
    let (divisor, number) = (divisor.decimal().normal(), number.decimal().normal());
    let scale = divisor.scale.max(number.scale);
    let whole = |decimal: &crate::json::Decimal| {
        let power = u32::try_from(scale - decimal.scale).ok()?;
        decimal.digits.parse::<u128>().ok()?.checked_mul(10_u128.checked_pow(power)?)
    };
    let (Some(divisor), Some(number)) = (whole(&divisor), whole(&number)) else { return false };
    number.checked_rem(divisor) == Some(0)
}
