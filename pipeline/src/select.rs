//! Which topics and consumer groups a job takes: literal names, globs and `~regular expressions`, with excludes, internal topics off
//! by default.
//!
//! A pattern is one of three things, told apart by how it is written:
//!
//! | written | is | matches |
//! |---|---|---|
//! | `orders.eu` | a topic's name | that very topic (a dot is a dot) |
//! | `orders-*`, `log?`, `app-[a-c]` | a glob: it holds `*`, `?` or `[` | the whole name |
//! | `~orders-\d+` | a regular expression, after the `~` | the whole name: it is anchored at both ends |
//!
//! The journals that restores and migrations keep in their target cluster are nobody's data: they are taken only where `include` names
//! them.
//!
//! This file decides about names only. It asks no broker, and knows nothing of partitions.

use formats::ids::Topic;
use globset::{GlobBuilder, GlobMatcher};
use regex::{Regex, RegexBuilder};

use crate::migrate::MIGRATION_TOPIC;
use crate::restore::JOURNAL_TOPIC;
use crate::{Error, Result};

/// Topics that Kafka itself keeps its state in, whatever a broker's metadata says of them.
const INTERNAL: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

/// What restores and migrations write in their target.
const JOURNALS: [&str; 2] = [JOURNAL_TOPIC, MIGRATION_TOPIC];

/// The most memory that one compiled pattern may take, in bytes: patterns come from people, and must stay bounded.
const COMPILED_LIMIT: usize = 1 << 20;

/// The longest pattern accepted, in bytes: a topic's name has at most 249 characters.
const LONGEST_PATTERN: usize = 4096;

/// Which topics a job takes.
#[derive(Debug, Clone)]
pub struct TopicSelection {
    include: Vec<Pattern<Topic>>,
    exclude: Vec<Pattern<Topic>>,
    include_internal: bool,
    internal_topics: Vec<Topic>,
}

#[derive(Debug, Clone)]
enum Pattern<L> {
    Literal(L),
    Glob(GlobMatcher),
    Regex(Regex),
}

impl TopicSelection {
    /// A selection. An empty `include` takes every topic but the journals of restores and migrations; `exclude` wins over it. Internal topics are taken only with
    /// `include_internal`: those of `internal_topics`, or, where that is empty, those that `include` takes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Input`] for a pattern that is no topic name, no glob and no regular expression.
    pub fn new<S: AsRef<str>>(
        include: &[S],
        exclude: &[S],
        include_internal: bool,
        internal_topics: &[S],
    ) -> Result<Self> {
        let patterns =
            |list: &[S]| list.iter().map(|text| Pattern::new(text.as_ref())).collect::<Result<Vec<_>>>();
        Ok(Self {
            include: patterns(include)?,
            exclude: patterns(exclude)?,
            include_internal,
            internal_topics: internal_topics
                .iter()
                .map(|name| Ok(Topic::new(name)?))
                .collect::<Result<_>>()?,
        })
    }

    /// Checks one pattern of `include` or `exclude`, without keeping it.
    ///
    /// # Errors
    /// As [`TopicSelection::new`].
    pub fn check_pattern(text: &str) -> Result<()> {
        Pattern::new(text).map(drop)
    }

    /// Whether the topic is taken. `internal` is what the broker's metadata says of it (`is_internal`).
    pub fn matches(&self, topic: &str, internal: bool) -> bool {
        if self.exclude.iter().any(|pattern| pattern.matches(topic)) {
            return false;
        }
        let included =
            || self.include.is_empty() || self.include.iter().any(|pattern| pattern.matches(topic));
        if JOURNALS.contains(&topic) {
            return self.named().any(|named| named.as_str() == topic);
        }
        if internal || INTERNAL.contains(&topic) {
            let listed = || self.internal_topics.iter().any(|listed| listed.as_str() == topic);
            return self.include_internal
                && if self.internal_topics.is_empty() { included() } else { listed() };
        }
        included()
    }

    /// The topics that `include` names literally, in its order: a job can say when one of them is not there.
    pub fn named(&self) -> impl Iterator<Item = &Topic> {
        self.include.iter().filter_map(|pattern| match pattern {
            Pattern::Literal(topic) => Some(topic),
            Pattern::Glob(_) | Pattern::Regex(_) => None,
        })
    }
}

/// Which consumer groups a job takes. Patterns are written as those of topics; a plain text is that very group.
#[derive(Debug, Clone)]
pub struct GroupSelection(Vec<Pattern<String>>);

impl GroupSelection {
    /// The groups that one of the patterns takes; all, where there is no pattern.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Input`] for a pattern that is no glob and no regular expression.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self> {
        let pattern = |text: &S| Pattern::parse(text.as_ref(), |name| Ok(name.to_owned()));
        patterns.iter().map(pattern).collect::<Result<_>>().map(Self)
    }

    /// The groups that are named literally.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|pattern| match pattern {
            Pattern::Literal(name) => Some(name.as_str()),
            Pattern::Glob(_) | Pattern::Regex(_) => None,
        })
    }

    /// Whether the group is taken.
    pub fn matches(&self, group: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.matches(group))
    }
}

impl Pattern<Topic> {
    fn new(text: &str) -> Result<Self> {
        Self::parse(text, |name| {
            Topic::new(name).map_err(|error| {
                let hint =
                    "write a topic's name, a glob with *, ? or [abc], or a regular expression after a ~";
                Error::input(error.message()).hint(hint)
            })
        })
    }
}

impl<L: AsRef<str>> Pattern<L> {
    fn parse(text: &str, literal: impl FnOnce(&str) -> Result<L>) -> Result<Self> {
        if text.len() > LONGEST_PATTERN {
            return Err(Error::input(format!("a pattern of {} bytes is too long", text.len()))
                .hint(format!("use at most {LONGEST_PATTERN} bytes a pattern, and several patterns")));
        }
        if let Some(expression) = text.strip_prefix('~') {
            return Self::regex(text, expression);
        }
        if text.contains(['*', '?', '[']) {
            let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(false).build();
            return match glob {
                Ok(glob) => Ok(Self::Glob(glob.compile_matcher())),
                Err(error) => Err(Error::input(format!("{text:?} is not a glob: {}", error.kind()))
                    .hint("a glob takes *, ? and [abc]; a regular expression begins with ~")),
            };
        }
        literal(text).map(Self::Literal)
    }

    fn regex(text: &str, expression: &str) -> Result<Self> {
        let compile = |source: &str| RegexBuilder::new(source).size_limit(COMPILED_LIMIT).build();
        // The expression must hold alone first: `a)|(b` would otherwise slip out of its anchors.
        let regex = compile(expression).and_then(|_| compile(&format!(r"\A(?:{expression})\z")));
        regex.map(Self::Regex).map_err(|error| {
            let words = error.to_string();
            let why = words.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Error::input(format!("{text:?} is not a regular expression: {why}"))
                .hint("what follows the ~ is a regular expression that must match the whole name")
        })
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Literal(literal) => literal.as_ref() == name,
            Self::Glob(glob) => glob.is_match(name),
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(include: &[&str], exclude: &[&str]) -> TopicSelection {
        TopicSelection::new(include, exclude, false, &[]).expect("the patterns are good")
    }

    #[test]
    fn an_empty_include_takes_everything_but_internal_topics() {
        let all = select(&[], &[]);
        assert!(all.matches("orders", false));
        assert!(all.matches("_schemas", false));
        assert!(!all.matches("__consumer_offsets", true));
        assert!(!all.matches("__transaction_state", false), "known by name where a broker does not flag it");
        assert!(!all.matches("some-internal", true));
    }

    #[test]
    fn a_plain_name_is_that_topic_only() {
        let one = select(&["orders.eu"], &[]);
        assert!(one.matches("orders.eu", false));
        assert!(!one.matches("ordersXeu", false), "a dot is not a wildcard");
        assert!(!one.matches("orders.eu.dlq", false));
        assert_eq!(one.named().map(Topic::as_str).collect::<Vec<_>>(), ["orders.eu"]);
    }

    #[test]
    fn a_glob_matches_the_whole_name() {
        let globs = select(&["orders-*", "log?", "app-[a-c]"], &["*-dlq"]);
        for (name, taken) in [
            ("orders-", true),
            ("orders-eu.west", true),
            ("my-orders-1", false),
            ("log1", true),
            ("log12", false),
            ("app-b", true),
            ("app-d", false),
            ("orders-dlq", false),
        ] {
            assert_eq!(globs.matches(name, false), taken, "{name}");
        }
        assert!(select(&["*"], &[]).matches("anything.at-all_1", false));
    }

    #[test]
    fn a_regular_expression_is_anchored_at_both_ends() {
        let regexes = select(&[r"~orders-\d+|payments"], &[r"~.*-9+"]);
        assert!(regexes.matches("orders-12", false));
        assert!(regexes.matches("payments", false));
        assert!(!regexes.matches("payments-old", false), "the anchors hold for each alternative");
        assert!(!regexes.matches("old-orders-12", false));
        assert!(!regexes.matches("orders-99", false), "excluded");
        assert!(!regexes.matches("orders-1\n", false));
    }

    #[test]
    fn internal_topics_come_only_when_asked_for() {
        let some = TopicSelection::new(&["orders"], &[], true, &["__consumer_offsets"]).expect("good");
        assert!(some.matches("__consumer_offsets", true), "listed, though include does not name it");
        assert!(!some.matches("__transaction_state", true));
        let all = TopicSelection::new::<&str>(&[], &["__transaction_state"], true, &[]).expect("good");
        assert!(all.matches("__consumer_offsets", true));
        assert!(!all.matches("__transaction_state", true), "excludes hold for internal topics too");
        let off = TopicSelection::new(&[], &[], false, &["__consumer_offsets"]).expect("good");
        assert!(!off.matches("__consumer_offsets", true));
    }

    #[test]
    fn the_journals_of_restores_and_migrations_are_taken_only_by_their_names() {
        let everything = TopicSelection::new::<&str>(&[], &[], true, &[]).expect("good");
        assert!(!everything.matches(JOURNAL_TOPIC, false) && !everything.matches(MIGRATION_TOPIC, false));
        assert!(!select(&["*", "~replevin-.*"], &[]).matches(JOURNAL_TOPIC, false));
        assert!(select(&["*", JOURNAL_TOPIC], &[]).matches(JOURNAL_TOPIC, false));
        assert!(!select(&[JOURNAL_TOPIC], &["replevin-*"]).matches(JOURNAL_TOPIC, false), "excludes win");
        assert!(select(&[], &[]).matches("replevin-restore-journals", false));
    }

    #[test]
    fn groups_are_taken_by_the_same_patterns_and_a_group_may_have_any_name() {
        let some = GroupSelection::new(&["billing: all", "app-*", r"~job-\d+"]).expect("good");
        for (group, taken) in
            [("billing: all", true), ("app-1", true), ("job-12", true), ("job-x", false), ("billing", false)]
        {
            assert_eq!(some.matches(group), taken, "{group}");
        }
        assert!(GroupSelection::new::<&str>(&[]).expect("good").matches("app-1"), "all are taken");
        let bad = GroupSelection::new(&["~("]).expect_err("no regular expression");
        assert!(bad.message().contains("is not a regular expression"), "{bad}");
    }

    #[test]
    fn bad_patterns_are_refused_in_words() {
        for (pattern, words) in [
            ("~orders-(", "unclosed group"),
            ("~a)|(?:b", "unopened group"),
            ("app-[a", "unclosed character class"),
            ("orders eu", "not a legal Kafka topic name"),
            ("", "not a legal Kafka topic name"),
            ("~(a{1000}){1000}", "exceeds size limit"),
        ] {
            let error = TopicSelection::check_pattern(pattern).expect_err(pattern);
            assert!(error.message().contains(words), "{pattern}: {}", error.message());
            assert!(error.next_step().is_some());
            assert_eq!(error.kind(), crate::ErrorKind::Input);
        }
        assert!(TopicSelection::check_pattern(&"a".repeat(5000)).is_err());
    }
}
