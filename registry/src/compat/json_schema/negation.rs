//! `not`: what the inner schemas forbid may become less, so they are compared the other way round.

use super::changes::Changes;
use super::rule::Rule;
use super::walk::{At, Comparison};

pub(super) fn compare<'a>(comparison: &mut Comparison<'a>, changes: &mut Changes, old: At<'a>, new: At<'a>) {
    let forbids_less = comparison.is_compatible(new, old);
    changes.note(if forbids_less { Rule::NotTypeNarrowed } else { Rule::NotTypeExtended }, "not");
}
