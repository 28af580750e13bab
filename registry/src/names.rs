//! Contexts and subjects: `subject`, `:.context:subject`, and the places that configs and modes belong to.
//!
//! A context is a registry in the registry, with ids of its own. `.` is the default one; its subjects are written plainly.
//! `.__GLOBAL` holds defaults for all contexts, and no schemas.

use std::fmt;
use std::sync::{Arc, LazyLock};

/// The wildcard prefix of `subjectPrefix`: all contexts.
pub const ALL_CONTEXTS: &str = ":*:";

/// Characters of a context's name and of a subject's, and bytes of both: what every store can find again.
const MAX_CONTEXT: usize = 128;
const MAX_SUBJECT: usize = 630;
const MAX_BYTES: usize = 2_600;

/// A context's name with its dot: `.` or `.payments`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Context(Arc<str>);

impl Context {
    /// The default context, `.`.
    pub fn default_context() -> Self {
        static DEFAULT: LazyLock<Context> = LazyLock::new(|| Context(".".into()));
        DEFAULT.clone()
    }

    /// The context of the defaults for all contexts, `.__GLOBAL`.
    pub fn global() -> Self {
        Self(".__GLOBAL".into())
    }

    /// A context by its name, with or without the dot; nothing where a colon or a control character is in it.
    pub fn named(name: &str) -> Option<Self> {
        if name.contains(':') || name.contains(char::is_control) {
            return None;
        }
        Some(match name.strip_prefix('.') {
            Some(_) => Self(name.into()),
            None => Self(format!(".{name}").into()),
        })
    }

    /// The name with its dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Subjects in it are written plainly.
    pub fn is_default(&self) -> bool {
        &*self.0 == "."
    }

    /// It holds defaults for all contexts, and no schemas.
    pub fn is_global(&self) -> bool {
        &*self.0 == ".__GLOBAL"
    }

    /// What stands before a subject of this context.
    pub fn prefix(&self) -> String {
        if self.is_default() { String::new() } else { format!(":{}:", self.0) }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A subject in its context.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Where it lives.
    pub context: Context,
    /// Its name there; empty stands for the context itself.
    pub name: Arc<str>,
}

impl Subject {
    /// A subject of a context.
    pub fn new(context: Context, name: &str) -> Self {
        Self { context, name: name.into() }
    }

    /// Takes `:.context:subject` apart; `:.context` is the context itself. What has no such prefix lies in the default context,
    /// whatever it looks like.
    pub fn parse(text: &str) -> Self {
        Self::parse_in(text, &Context::default_context())
    }

    /// As [`Self::parse`], with the context that an unqualified name belongs to.
    pub fn parse_in(text: &str, context: &Context) -> Self {
        match text.strip_prefix(":.") {
            Some(rest) => {
                let (name, subject) = rest.split_once(':').unwrap_or((rest, ""));
                Self::new(Context(format!(".{name}").into()), subject)
            }
            None => Self::new(context.clone(), text),
        }
    }

    /// Short enough for every store.
    pub fn is_storable(&self) -> bool {
        let (context, name) = (self.context.as_str(), &*self.name);
        context.len() + name.len() <= MAX_BYTES
            && context.chars().count() <= MAX_CONTEXT
            && name.chars().count() <= MAX_SUBJECT
    }

    /// A subject of the context of all contexts: nobody can register, set or ask there, and the registry keeps notes of its own.
    pub(crate) fn is_reserved(&self) -> bool {
        self.context.is_global() && !self.is_root()
    }

    /// It stands for the whole context.
    pub fn is_root(&self) -> bool {
        self.name.is_empty()
    }
}

/// `subject` in the default context, `:.context:subject` in another one.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.context.is_default() {
            f.write_str(&self.name)
        } else {
            write!(f, ":{}:{}", self.context, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_needs_no_second_colon() {
        let root = Subject::parse(":.c");
        assert_eq!((root.context.as_str(), &*root.name), (".c", ""));
        assert_eq!(root, Subject::parse(":.c:"));
        assert_eq!(Subject::parse(":.c:a:b").to_string(), ":.c:a:b");
        assert!(Subject::parse(":abc:x").context.is_default());
    }

    #[test]
    fn names_have_the_length_that_every_store_takes() {
        let of = |context: usize, name: &str, count: usize| {
            let context = Context::named(&"c".repeat(context)).expect("a context");
            Subject::new(context, &name.repeat(count)).is_storable()
        };
        assert!(of(127, "s", 630) && of(10, "\u{fe}", 630));
        assert!(!of(128, "s", 1) && !of(1, "s", 631) && !of(127, "\u{10fffe}", 630));
    }
}
