//! What a comparison finds, with paths relative to the pair that was compared.

use super::Policy;
use super::rule::Rule;
use std::rc::Rc;

/// Changes that a comparison carries along. Breaking ones push others out.
const MAX_CHANGES: usize = 400;

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) rule: Rule,
    /// Names joined by slashes, as Confluent joins them: nothing is escaped.
    pub(super) path: String,
    /// Both values, for people.
    pub(super) values: Rc<Values>,
}

/// What was there and what is there now, in words or as JSON; empty for nothing to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) old: String,
    pub(super) new: String,
}

impl Values {
    pub(super) fn new(old: impl ToString, new: impl ToString) -> Rc<Self> {
        let short = |value: String| match value.char_indices().nth(80) {
            Some((at, _)) => format!("{}…", &value[..at]),
            None => value,
        };
        Rc::new(Self { old: short(old.to_string()), new: short(new.to_string()) })
    }
}

/// `outer/inner`, where either may be empty.
pub(super) fn join(outer: &str, inner: &str) -> String {
    match (outer, inner) {
        ("", only) | (only, "") => only.to_owned(),
        (outer, inner) => format!("{outer}/{inner}"),
    }
}

/// The changes of one pair.
#[derive(Debug)]
pub(super) struct Changes {
    policy: Policy,
    /// Nothing is kept but whether something breaks.
    brief: bool,
    list: Vec<Found>,
    breaking: usize,
}

impl Changes {
    pub(super) fn new(policy: Policy, brief: bool) -> Self {
        Self { policy, brief, list: Vec::new(), breaking: 0 }
    }

    /// A brief answer.
    pub(super) fn answer(policy: Policy, compatible: bool) -> Self {
        Self { policy, brief: true, list: Vec::new(), breaking: usize::from(!compatible) }
    }

    /// Nothing that could still be found would change the answer.
    pub(super) fn are_settled(&self) -> bool {
        self.brief && self.breaking > 0
    }

    /// A path under a keyword; nothing where it would not be kept.
    pub(super) fn path(&self, keyword: &str, name: &str) -> String {
        if self.brief { String::new() } else { format!("{keyword}/{name}") }
    }

    /// Something breaks that has no list.
    pub(super) fn break_off(&mut self) {
        self.breaking += 1;
    }

    /// Nothing that breaks readers.
    pub(super) fn are_compatible(&self) -> bool {
        self.breaking == 0
    }

    pub(super) fn list(&self) -> &[Found] {
        &self.list
    }

    pub(super) fn add(&mut self, rule: Rule, path: impl Into<String>, values: Rc<Values>) {
        self.push(Found { rule, path: path.into(), values });
    }

    /// A change without values.
    pub(super) fn note(&mut self, rule: Rule, path: impl Into<String>) {
        self.add(rule, path, Rc::default());
    }

    pub(super) fn push(&mut self, found: Found) {
        let breaks = self.policy.breaks(found.rule.effect());
        self.breaking += usize::from(breaks);
        if self.brief {
            return;
        }
        if self.list.len() < MAX_CHANGES {
            self.list.push(found);
            return;
        }
        if breaks && self.breaking <= MAX_CHANGES {
            let harmless = self.list.iter().rposition(|other| !self.policy.breaks(other.rule.effect()));
            if let Some(place) = harmless {
                self.list.remove(place);
                self.list.push(found);
            }
        }
    }
}
