//! The query of a request.

use crate::error::{Error, Result};
use crate::names::{ALL_CONTEXTS, Context, Subject};
use crate::service::{Listed, Page};

/// Entries of a list that one answer has at most.
const MAX_PAGE: usize = 1000;

/// Parameters by name, decoded; of one that comes several times mostly the first counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    context: Option<Context>,
}

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = form_urlencoded::parse(text.as_bytes());
        Self {
            pairs: pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
            context: None,
        }
    }

    /// Subjects and prefixes without a context belong to this one, where the path names one.
    pub(super) fn in_context(self, context: Option<Context>) -> Self {
        Self { context, ..self }
    }

    /// Nothing was asked for beside the path, and that is in the default context.
    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.context.is_none()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Only "true" is true.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn number(&self, name: &str) -> Result<Option<i32>> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| Error::not_found()),
        }
    }

    pub(super) fn page(&self) -> Result<Page> {
        let offset = usize::try_from(self.number("offset")?.unwrap_or(0)).unwrap_or(0);
        let limit = usize::try_from(self.number("limit")?.unwrap_or(-1)).unwrap_or(0);
        Ok(Page { offset, limit: if limit == 0 || limit > MAX_PAGE { MAX_PAGE } else { limit } })
    }

    pub(super) fn listed(&self) -> Listed {
        match (self.flag("deletedOnly"), self.flag("deleted")) {
            (true, _) => Listed::Deleted,
            (false, true) => Listed::All,
            (false, false) => Listed::Live,
        }
    }

    pub(super) fn format(&self) -> Option<&str> {
        self.get("format").filter(|format| !format.is_empty())
    }

    /// The subject that an id is asked for under; a context's root where only the path names one.
    pub(super) fn subject(&self) -> Option<Subject> {
        let context = self.context.clone().unwrap_or_else(Context::default_context);
        match self.get("subject").filter(|subject| !subject.is_empty()) {
            Some(subject) => Some(Subject::parse_in(subject, &context)),
            None => (!context.is_default()).then(|| Subject::new(context, "")),
        }
    }

    /// What names begin with; `default` where the request says nothing.
    pub(super) fn prefix(&self, default: &str) -> String {
        let asked = self.get("subjectPrefix");
        match &self.context {
            None => asked.unwrap_or(default).to_owned(),
            Some(context) => {
                let asked = asked.unwrap_or("");
                let qualified = asked.starts_with(":.") || asked.starts_with(ALL_CONTEXTS);
                if qualified { asked.to_owned() } else { format!("{}{asked}", context.prefix()) }
            }
        }
    }
}
