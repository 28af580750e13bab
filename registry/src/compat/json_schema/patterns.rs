//! Which `patternProperties` a name falls under.
//!
//! A short pattern may stand for a large automaton (`\\pL{1000}`), so patterns are paid for by what they compile to, and all of one
//! comparison together may take [`MAX_TOTAL`]. They are run step by step, without tables that grow while they run.

use crate::parse::json_schema::model::NodeId;
use regex_automata::Input;
use regex_automata::nfa::thompson::pikevm::{Cache, PikeVM};
use regex_automata::nfa::thompson::{Compiler, Config, NFA, WhichCaptures};
use regex_automata::util::syntax;
use std::collections::HashMap;

/// A compiled pattern may take this much memory; larger ones count as not understood.
const MAX_SIZE: usize = 1 << 18;
/// All patterns of a comparison together; those beyond count as not understood.
const MAX_TOTAL: usize = 4 << 20;
/// Compiling to this much memory costs a step, and so does trying so many states on a byte.
const BYTES_PER_STEP: usize = 64;
const TRIES_PER_STEP: usize = 64;
/// Reading a pattern, whatever comes of it.
const READING: usize = 50;

/// Compiled patterns.
#[derive(Debug, Default)]
pub(super) struct Patterns<'a> {
    /// None for what only other engines understand, such as looking around and back references, and for what is too large.
    compiled: HashMap<&'a str, Option<PikeVM>>,
    bytes: usize,
    /// What the automaton that runs writes on: one for all, because each is tried alone.
    cache: Option<Cache>,
}

/// What a name falls under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    By(NodeId),
    None,
    /// A pattern that cannot be tried here comes before any that matches.
    Unknown,
}

impl<'a> Patterns<'a> {
    /// Compiles these patterns, and tells what that and trying them on a name costs.
    pub(super) fn price(&mut self, patterns: &'a [(Box<str>, NodeId)], name: &str) -> usize {
        let mut price: usize = patterns.len();
        for (pattern, _) in patterns {
            if !self.compiled.contains_key(&**pattern) {
                let compiled = compile(pattern, MAX_SIZE.min(MAX_TOTAL - self.bytes));
                let bytes = compiled.as_ref().map_or(0, |compiled| compiled.get_nfa().memory_usage());
                self.bytes = MAX_TOTAL.min(self.bytes + bytes);
                price += READING + pattern.len() / BYTES_PER_STEP + bytes / BYTES_PER_STEP;
                self.compiled.insert(pattern, compiled);
            }
            let states = self.compiled.get(&**pattern).and_then(Option::as_ref);
            let states = states.map_or(0, |compiled| compiled.get_nfa().states().len());
            price = price.saturating_add(states.saturating_mul(name.len() + 1) / TRIES_PER_STEP);
        }
        price
    }

    /// The first pattern that is found in the name. They are compiled: their price was asked for.
    pub(super) fn cover(&mut self, patterns: &'a [(Box<str>, NodeId)], name: &str) -> Cover {
        for (pattern, node) in patterns {
            let Some(Some(compiled)) = self.compiled.get(&**pattern) else { return Cover::Unknown };
            let cache = match &mut self.cache {
                Some(cache) => {
                    compiled.reset_cache(cache);
                    cache
                }
                none => none.insert(compiled.create_cache()),
            };
            if compiled.find_earliest(cache, name) {
                return Cover::By(*node);
            }
        }
        Cover::None
    }
}

trait Find {
    fn find_earliest(&self, cache: &mut Cache, name: &str) -> bool;
}

impl Find for PikeVM {
    fn find_earliest(&self, cache: &mut Cache, name: &str) -> bool {
        self.search_slots(cache, &Input::new(name).earliest(true), &mut []).is_some()
    }
}

fn compile(pattern: &str, limit: usize) -> Option<PikeVM> {
    let nfa: NFA = Compiler::new()
        .configure(Config::new().nfa_size_limit(Some(limit)).which_captures(WhichCaptures::None))
        .syntax(syntax::Config::new().nest_limit(100))
        .build(pattern)
        .ok()?;
    PikeVM::new_from_nfa(nfa).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(patterns: &[&str], name: &str) -> (Cover, usize) {
        let patterns: Vec<(Box<str>, NodeId)> =
            patterns.iter().zip(0..).map(|(pattern, node)| ((*pattern).into(), node)).collect();
        let mut known = Patterns::default();
        let price = known.price(&patterns, name);
        assert!(known.bytes <= MAX_TOTAL);
        (known.cover(&patterns, name), price)
    }

    #[test]
    fn the_first_that_is_found_counts() {
        assert_eq!(covers(&["^a", "b", "."], "xb").0, Cover::By(1));
        assert_eq!(covers(&["^a", "b$"], "x").0, Cover::None);
        assert_eq!(covers(&["(?=a)", "b"], "b").0, Cover::Unknown);
        assert_eq!(covers(&["^\\pL+$", "^é"], "naïve").0, Cover::By(0));
        assert_eq!(covers(&["^$"], "").0, Cover::By(0));
        assert_eq!(covers(&["(a|b)*c"], "ababc").0, Cover::By(0));
    }

    /// 10,000 patterns of a few letters that stand for a lot of memory each.
    #[test]
    fn patterns_are_paid_for_by_what_they_compile_to() {
        let patterns: Vec<String> = (0..10_000).map(|n| format!("\\pL{{6}}k{n}")).collect();
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let (cover, price) = covers(&patterns, "k");
        assert_eq!(cover, Cover::Unknown, "what is beyond the bound is not understood");
        assert!(price >= MAX_TOTAL / BYTES_PER_STEP / 2 + 10_000 * READING, "{price}");
        let small = covers(&["^a$"], "a").1;
        assert!(small < 100, "{small}");
        assert_eq!(covers(&["\\pL{1000}"], "a").0, Cover::Unknown);
    }

    #[test]
    fn a_long_name_costs_what_it_takes() {
        let long = "a".repeat(1 << 20);
        assert!(covers(&["^(a|b|c)*d"], &long).1 > (1 << 20) / TRIES_PER_STEP);
    }
}
