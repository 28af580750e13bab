//! JSON Schema: what readers can and cannot live with.
//!
//! The rules, their names, their paths and their order are Confluent's: clients and habits depend on the verdicts, also
//! where those are stricter than need be (a property added to an open object) or laxer (a required property with a
//! default). `registry/tests/json_soundness.rs` holds the list of the lax ones.
//!
//! ```text
//!   pair (old, new) ── walk: follow references, memo, special cases of combined schemas
//!      ├─ metadata      id, title, description, default
//!      └─ by kind       strings numbers values objects arrays combined negation
//! ```
//!
//! Work is bounded: each pair of nodes is compared once (more often only inside circles that turn out incompatible), and
//! all work is paid from a budget of [`MAX_STEPS`]. Who exhausts it gets `COMPARISON_TOO_COMPLEX`, never "compatible".

mod arrays;
mod changes;
mod combined;
mod dependencies;
mod matching;
mod message;
mod negation;
mod numbers;
mod objects;
mod patterns;
mod reserved;
mod rule;
mod strings;
#[cfg(test)]
mod tests;
mod values;
mod walk;

use super::Difference;
use crate::parse::json_schema::JsonSchema;
use rule::Effect;

pub use reserved::reserved;

/// Comparisons of two nodes, copies of a change, and the like: enough for unions of some 500 members on both sides.
pub const MAX_STEPS: u32 = 500_000;

/// Pairs of schemas that are being compared inside each other, references followed: of a union of n types that each may hold all
/// of them again some 2 n². The stack grows as far as that needs.
pub const MAX_DEPTH: usize = 4_000;

/// Differences that are reported; more of them help nobody.
pub const MAX_DIFFERENCES: usize = 100;

/// Confluent's `compatibilityPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// What an open object may hold today is data that readers must be able to read.
    #[default]
    Strict,
    /// Properties may come and go as they may in Avro.
    Lenient,
}

impl Policy {
    fn breaks(self, effect: Effect) -> bool {
        effect > if self == Self::Strict { Effect::Compatible } else { Effect::Lenient }
    }
}

/// One change between two versions, whether it breaks readers or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Confluent's name of the rule.
    pub rule: &'static str,
    /// Where, as `#/properties/a`; `#/` is the schema itself.
    pub path: String,
    /// Readers under the policy cannot live with it.
    pub breaks: bool,
}

/// Every change from the writer's schema to the reader's, in the order in which it was found.
///
/// Nested schemas are matched under the policy, so the list depends on it. It may be cut short, but never so that a
/// breaking change is left out of a list that has none.
pub fn changes(reader: &JsonSchema, writer: &JsonSchema, policy: Policy) -> Vec<Change> {
    let found = walk::compare(writer, reader, policy);
    let change = |change: &changes::Found| Change {
        rule: change.rule.name(),
        path: format!("#/{}", change.path),
        breaks: policy.breaks(change.rule.effect()),
    };
    found.iter().map(change).collect()
}

/// What makes reading with `reader` fail for data that `writer` allows. At most [`MAX_DIFFERENCES`].
pub fn differences(reader: &JsonSchema, writer: &JsonSchema, policy: Policy) -> Vec<Difference> {
    let found = walk::compare(writer, reader, policy);
    let breaking = found.iter().filter(|change| policy.breaks(change.rule.effect()));
    breaking.take(MAX_DIFFERENCES).map(message::difference).collect()
}
