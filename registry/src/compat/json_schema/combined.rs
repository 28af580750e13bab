//! `allOf`, `anyOf`, `oneOf` against each other: which member became which.
//!
//! Each member of the smaller side must find a partner of its own with which it is compatible: a maximum matching.

use super::changes::{Changes, Values};
use super::matching;
use super::rule::Rule;
use super::walk::{At, Comparison};
use crate::parse::json_schema::model::{Criterion, Shape};

pub(super) fn compare<'a>(
    comparison: &mut Comparison<'a>,
    changes: &mut Changes,
    old_at: At<'a>,
    new_at: At<'a>,
) {
    let (Shape::Combined(before, old), Shape::Combined(after, new)) = (old_at.shape(), new_at.shape()) else {
        return;
    };
    if before != after {
        let rule = match after {
            Criterion::Any => Rule::CombinedTypeExtended,
            Criterion::One if old.len() == 1 => Rule::CombinedTypeExtended,
            // One of what data had to obey all of, or the same under another name.
            Criterion::One | Criterion::All
                if new.len() == 1 && (old.len() == 1 || *before == Criterion::All) =>
            {
                Rule::CombinedTypeExtended
            }
            Criterion::One | Criterion::All => Rule::CombinedTypeChanged,
        };
        changes.add(rule, "", Values::new(before.name(), after.name()));
        if rule == Rule::CombinedTypeChanged {
            return;
        }
    }
    let sizes = Values::new(format!("{} schemas", old.len()), format!("{} schemas", new.len()));
    // What is added is added to what is there now, and what is gone is gone from what there was.
    match old.len().cmp(&new.len()) {
        std::cmp::Ordering::Less if *after == Criterion::All => {
            changes.add(Rule::ProductTypeExtended, "", sizes)
        }
        std::cmp::Ordering::Less => changes.add(Rule::SumTypeExtended, "", sizes),
        std::cmp::Ordering::Greater if *before == Criterion::All => {
            changes.add(Rule::ProductTypeNarrowed, "", sizes)
        }
        std::cmp::Ordering::Greater => changes.add(Rule::SumTypeNarrowed, "", sizes),
        std::cmp::Ordering::Equal => {}
    }
    if changes.are_settled() {
        return;
    }
    let mut edges = vec![Vec::new(); old.len()];
    for (n, before) in old.iter().enumerate() {
        for (m, after) in new.iter().enumerate() {
            if !comparison.pay(1) {
                changes.note(Rule::TooComplex, "");
                return;
            }
            if comparison.is_compatible(old_at.sibling(*before), new_at.sibling(*after)) {
                edges[n].push(m);
            }
        }
    }
    let criterion = before.name();
    let partners = matching::maximum(&edges, new.len());
    let matched = partners.iter().flatten().count();
    for (n, m) in partners.iter().enumerate() {
        let (Some(before), Some(after)) = (old.get(n), m.and_then(|m| new.get(m))) else { continue };
        let path = format!("{criterion}/{n}");
        comparison.nested(changes, &path, old_at.sibling(*before), new_at.sibling(*after));
    }
    if matched < old.len().min(new.len()) {
        let found = format!("{matched} of {} found a partner", old.len().min(new.len()));
        changes.add(Rule::CombinedTypeSubschemasChanged, "", Values::new(found, ""));
    }
}
