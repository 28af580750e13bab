//! Comparing two nodes: following references, remembering pairs, and the special cases that look through combined
//! schemas.
//!
//! Schemas may contain themselves. A pair that is met again while it is being compared is taken for compatible, and what
//! was concluded from that is provisional until the pair is done: if it turns out incompatible, those conclusions are
//! forgotten. (Incompatible is final in any case: a pair that fails with an assumption in its favour fails without it.)

use super::changes::{Changes, Found, Values, join};
use super::rule::Rule;
use super::{
    MAX_DEPTH, MAX_STEPS, Policy, arrays, combined, negation, numbers, objects, patterns, strings, values,
};
use crate::parse::json_schema::JsonSchema;
use crate::parse::json_schema::model::{Criterion, Node, NodeId, Shape};
use std::collections::HashMap;
use std::rc::Rc;

/// What keeping a change costs.
const STEPS_PER_CHANGE: usize = 4;

/// Comparing this much of what a schema itself says (its names, values, texts) costs a step.
const BYTES_PER_STEP: usize = 256;

/// Bytes of stack that a pair must find, which is far more than comparing it takes before the next one is asked for, and bytes that
/// are added where it does not.
const STACK_LEFT: usize = 256 << 10;
const STACK_MORE: usize = 4 << 20;

/// A node of one of the two schemas.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    schema: &'a JsonSchema,
    id: NodeId,
}

impl<'a> At<'a> {
    /// The schema that is meant, references followed.
    pub(super) fn node(self) -> &'a Node {
        self.schema.node(self.schema.follow(self.id))
    }

    /// The schema as it stands there: a reference may have a default of its own.
    pub(super) fn literal(self) -> &'a Node {
        self.schema.node(self.id)
    }

    /// Another node of the same schema.
    pub(super) fn sibling(self, id: NodeId) -> Self {
        Self { schema: self.schema, id }
    }

    pub(super) fn shape(self) -> &'a Shape {
        &self.node().shape
    }
}

/// What is known about a pair.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    /// Empty, but right about being compatible, where only that was asked.
    pub(super) changes: Rc<Changes>,
    /// The outermost unfinished pair that this was concluded from, as a depth; `usize::MAX` for none.
    relies_on: usize,
}

/// A pair by its nodes; the flag tells which schema the first one is of, because negation swaps them.
type Pair = (bool, NodeId, NodeId);

/// One comparison with all that it has found out.
pub(super) struct Comparison<'a> {
    writer: &'a JsonSchema,
    policy: Policy,
    steps: u32,
    /// Something was given up for want of steps or for depth.
    gave_up: bool,
    /// Only whether a pair is compatible is asked, not why: its comparison ends at the first breaking change.
    brief: bool,
    memo: HashMap<(bool, Pair), Verdict>,
    /// Pairs in `memo` that rely on unfinished ones.
    provisional: Vec<(bool, Pair)>,
    /// The two brief answers.
    answers: [Rc<Changes>; 2],
    /// Unfinished pairs and their depth.
    open: HashMap<Pair, usize>,
    /// The lowest depth that the pair being compared relies on.
    relies_on: usize,
    pub(super) patterns: patterns::Patterns<'a>,
}

/// All changes from `writer` to `reader`.
pub(super) fn compare(writer: &JsonSchema, reader: &JsonSchema, policy: Policy) -> Vec<Found> {
    let mut comparison = Comparison {
        writer,
        policy,
        steps: MAX_STEPS,
        gave_up: false,
        brief: false,
        answers: [false, true].map(|compatible| Rc::new(Changes::answer(policy, compatible))),
        memo: HashMap::new(),
        provisional: Vec::new(),
        open: HashMap::new(),
        relies_on: usize::MAX,
        patterns: patterns::Patterns::default(),
    };
    let old = At { schema: writer, id: writer.root() };
    let new = At { schema: reader, id: reader.root() };
    let verdict = comparison.pair(old, new);
    let mut found = verdict.changes.list().to_vec();
    if comparison.gave_up && !verdict.changes.are_compatible() {
        if writer.is_same(reader) {
            return Vec::new();
        }
        // Whatever else was found, this is why nothing better can be said.
        found.retain(|change| change.rule != Rule::TooComplex);
        found.insert(0, Found { rule: Rule::TooComplex, path: String::new(), values: Rc::default() });
    }
    found
}

impl<'a> Comparison<'a> {
    /// An empty list under the policy of this comparison.
    fn nothing(&self) -> Changes {
        Changes::new(self.policy, self.brief)
    }

    /// Whether new reads what old writes; costs less than [`Self::pair`] and keeps no list.
    pub(super) fn is_compatible(&mut self, old: At<'a>, new: At<'a>) -> bool {
        let outer = std::mem::replace(&mut self.brief, true);
        let compatible = self.pair(old, new).changes.are_compatible();
        self.brief = outer;
        compatible
    }

    /// Pays for work; false when nothing is left.
    pub(super) fn pay(&mut self, steps: usize) -> bool {
        let left = u32::try_from(steps).ok().and_then(|steps| self.steps.checked_sub(steps));
        self.steps = left.unwrap_or(0);
        self.gave_up |= left.is_none();
        left.is_some()
    }

    fn too_complex(&mut self) -> Verdict {
        self.gave_up = true;
        let mut changes = self.nothing();
        changes.note(Rule::TooComplex, "");
        Verdict { changes: Rc::new(changes), relies_on: usize::MAX }
    }

    /// Adds what a nested pair found, under a path.
    pub(super) fn adopt(&mut self, changes: &mut Changes, path: &str, verdict: &Verdict) {
        if self.brief && !verdict.changes.are_compatible() {
            // No list to copy from.
            return changes.break_off();
        }
        for found in verdict.changes.list() {
            // Paths are paid for as well: names may be long.
            if !self.pay(1 + (path.len() + found.path.len()) / 64) {
                changes.note(Rule::TooComplex, path);
                return;
            }
            changes.push(Found { path: join(path, &found.path), ..found.clone() });
        }
    }

    /// Compares two nested schemas and adds what differs.
    pub(super) fn nested(&mut self, changes: &mut Changes, path: &str, old: At<'a>, new: At<'a>) {
        let verdict = self.pair(old, new);
        self.adopt(changes, path, &verdict);
    }

    /// Compares two schemas either of which may be missing.
    pub(super) fn optional(
        &mut self,
        changes: &mut Changes,
        path: &str,
        old: Option<At<'a>>,
        new: Option<At<'a>>,
    ) {
        match (old, new) {
            (None, None) => {}
            (None, Some(_)) => changes.note(Rule::SchemaAdded, path),
            (Some(_), None) => changes.note(Rule::SchemaRemoved, path),
            (Some(old), Some(new)) => self.nested(changes, path, old, new),
        }
    }

    /// Compares two schemas, or remembers what came out.
    pub(super) fn pair(&mut self, old: At<'a>, new: At<'a>) -> Verdict {
        let from_writer = std::ptr::eq(old.schema, self.writer);
        let pair = (from_writer, old.schema.follow(old.id), new.schema.follow(new.id));
        if let Some(known) = self.memo.get(&(self.brief, pair)) {
            self.relies_on = self.relies_on.min(known.relies_on);
            return known.clone();
        }
        if let Some(depth) = self.open.get(&pair) {
            self.relies_on = self.relies_on.min(*depth);
            return Verdict { changes: Rc::new(self.nothing()), relies_on: *depth };
        }
        let depth = self.open.len();
        let size = old.node().size.saturating_add(new.node().size) as usize;
        if depth >= MAX_DEPTH || !self.pay(1 + size / BYTES_PER_STEP) {
            return self.too_complex();
        }
        self.open.insert(pair, depth);
        let outer = std::mem::replace(&mut self.relies_on, usize::MAX);
        let started = self.provisional.len();
        let mut changes = stacker::maybe_grow(STACK_LEFT, STACK_MORE, || self.evaluate(old, new));
        self.open.remove(&pair);
        let bytes: usize = changes.list().iter().map(|found| found.path.len()).sum();
        if !self.pay(STEPS_PER_CHANGE * changes.list().len() + bytes / 64) {
            changes = self.nothing();
            changes.note(Rule::TooComplex, "");
        }

        let mut relies_on = self.relies_on;
        if !changes.are_compatible() {
            for forgotten in self.provisional.drain(started..) {
                self.memo.remove(&forgotten);
            }
            relies_on = usize::MAX;
        } else if relies_on >= depth {
            for settled in self.provisional.drain(started..) {
                if let Some(known) = self.memo.get_mut(&settled) {
                    known.relies_on = usize::MAX;
                }
            }
            relies_on = usize::MAX;
        } else {
            self.provisional.push((self.brief, pair));
        }
        self.relies_on = outer.min(relies_on);
        let changes = match self.brief {
            true => self.answers[usize::from(changes.are_compatible())].clone(),
            false => Rc::new(changes),
        };
        let verdict = Verdict { changes, relies_on };
        self.memo.insert((self.brief, pair), verdict.clone());
        verdict
    }

    fn evaluate(&mut self, old: At<'a>, new: At<'a>) -> Changes {
        let mut changes = self.nothing();
        if self.look_through(&mut changes, old, new) {
            return changes;
        }
        let (old_node, new_node) = (old.node(), new.node());
        let (old_notes, new_notes) = (&old_node.notes, &new_node.notes);
        let same_kind = std::mem::discriminant(&old_node.shape) == std::mem::discriminant(&new_node.shape);
        if let (Shape::Elsewhere(before), Shape::Elsewhere(after)) = (&old_node.shape, &new_node.shape) {
            if before != after {
                changes.add(Rule::TypeChanged, "", Values::new(before, after));
            }
            return changes;
        }
        if !same_kind {
            let harmless = matches!(old_node.shape, Shape::Nothing)
                || matches!(new_node.shape, Shape::Any)
                || (old_notes.connect_bytes && new_notes.connect_bytes);
            if !harmless {
                let words = Values::new(words(&old_node.shape), words(&new_node.shape));
                changes.add(Rule::TypeChanged, "", words);
            }
            return changes;
        }
        if old_notes.id != new_notes.id {
            changes.note(Rule::IdChanged, "");
        }
        if old_notes.title != new_notes.title {
            changes.note(Rule::TitleChanged, "");
        }
        if old_notes.description != new_notes.description {
            changes.note(Rule::DescriptionChanged, "");
        }
        if old_notes.default != new_notes.default {
            changes.note(Rule::DefaultChanged, "");
        }
        match (&old_node.shape, &new_node.shape) {
            (Shape::String(before), Shape::String(after)) => strings::compare(&mut changes, before, after),
            (Shape::Number(before), Shape::Number(after)) => numbers::compare(&mut changes, before, after),
            (Shape::Enum(before), Shape::Enum(after)) => values::compare(&mut changes, before, after),
            (Shape::Const(before), Shape::Const(after)) => values::compare_const(&mut changes, before, after),
            (Shape::Not(before), Shape::Not(after)) => {
                negation::compare(self, &mut changes, old.sibling(*before), new.sibling(*after));
            }
            (Shape::Combined(..), Shape::Combined(..)) => combined::compare(self, &mut changes, old, new),
            (Shape::Object(before), Shape::Object(after)) => {
                objects::compare(self, &mut changes, (old, before), (new, after));
            }
            (Shape::Array(before), Shape::Array(after)) => {
                arrays::compare(self, &mut changes, (old, before), (new, after));
            }
            _ => {}
        }
        changes
    }

    /// A schema compared with a combined one may be compatible with a member of it. True if that settles the pair.
    fn look_through(&mut self, changes: &mut Changes, old: At<'a>, new: At<'a>) -> bool {
        match (old.shape(), new.shape()) {
            (Shape::Combined(..), Shape::Combined(..)) => false,
            (_, Shape::Combined(criterion, members)) => {
                let sum = *criterion != Criterion::All;
                let settling = self.first(members, members.len() == 1 || sum, |at, member| {
                    at.is_compatible(old, new.sibling(member))
                });
                let Some(member) = settling else { return false };
                self.nested(changes, "", old, new.sibling(member));
                if members.len() > 1 {
                    changes.note(Rule::SumTypeExtended, "");
                }
                true
            }
            (Shape::Combined(criterion, members), _) => {
                let product = *criterion == Criterion::All;
                let settling = self.first(members, members.len() == 1 || product, |at, member| {
                    at.is_compatible(old.sibling(member), new)
                });
                let Some(member) = settling else { return false };
                self.nested(changes, "", old.sibling(member), new);
                if members.len() > 1 {
                    changes.note(Rule::ProductTypeNarrowed, "");
                }
                true
            }
            _ => false,
        }
    }

    fn first(
        &mut self,
        members: &[NodeId],
        counts: bool,
        mut test: impl FnMut(&mut Self, NodeId) -> bool,
    ) -> Option<NodeId> {
        members.iter().copied().filter(|_| counts).find(|member| test(self, *member))
    }
}

/// What a schema is about, for people.
fn words(shape: &Shape) -> &'static str {
    match shape {
        Shape::Any => "anything",
        Shape::Nothing => "nothing",
        Shape::Reference(_) | Shape::Elsewhere(_) => "a schema elsewhere",
        Shape::String(_) => "a string",
        Shape::Number(number) if number.integer => "an integer",
        Shape::Number(_) => "a number",
        Shape::Boolean => "a boolean",
        Shape::Null => "null",
        Shape::Enum(_) => "one of the values of an enum",
        Shape::Const(_) => "a constant",
        Shape::Not(_) => "anything but what a schema says",
        Shape::Conditional(_) => "what if, then and else say",
        Shape::Combined(Criterion::All, _) => "all of several schemas",
        Shape::Combined(Criterion::Any, _) => "any of several schemas",
        Shape::Combined(Criterion::One, _) => "one of several schemas",
        Shape::Object(_) => "an object",
        Shape::Array(_) => "an array",
    }
}
