//! What is wrong with a file, all of it at once, each with file, line, column and a next step.
//!
//! A problem's words never quote a secret: the checker hands over a description instead of such a value.

use std::fmt;

/// Where something stands in a file: line and column, both from 1, the column in characters. Or which variable or flag says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// The environment variable or the flag that the value comes from, instead of a place in the file.
    pub(crate) outside: Option<&'static str>,
}

impl At {
    /// The first character of a file: where what is missing from the whole file is reported.
    pub(crate) const START: Self = Self { line: 1, column: 1, outside: None };

    /// What a variable or a flag says.
    pub(crate) const fn outside(name: &'static str) -> Self {
        Self { outside: Some(name), ..Self::START }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outside {
            Some(name) => f.write_str(name),
            None => write!(f, "{}:{}", self.line, self.column),
        }
    }
}

/// One thing to be fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    at: Option<At>,
    message: String,
    hint: Option<String>,
}

/// Something accepted that the operator should know: a key without effect here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Where the key stands.
    pub(crate) at: At,
    /// What to know, lower case, no full stop.
    pub(crate) message: String,
}

impl Notice {
    /// The notice with the place that it is about, `file` being the name of the file, if there is one.
    pub(crate) fn in_file(&self, file: Option<&str>) -> String {
        let file = file.filter(|_| self.at.outside.is_none()).map(|file| format!("{file}:"));
        match (file, self.at.outside) {
            (None, None) => self.message.clone(),
            (file, _) => format!("{}{}: {}", file.unwrap_or_default(), self.at, self.message),
        }
    }
}

/// The most problems reported at once: a file that is wrong from top to bottom must not flood the terminal.
const MOST_PROBLEMS: usize = 50;

/// Collects the problems of one file.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    dropped: usize,
}

impl Problems {
    /// Adds a problem with its next step.
    pub(crate) fn add(&mut self, at: At, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Problem { at: Some(at), message: message.into(), hint: Some(hint.into()) });
    }

    fn push(&mut self, problem: Problem) {
        if self.list.contains(&problem) {
            return;
        }
        if self.list.len() < MOST_PROBLEMS {
            self.list.push(problem);
        } else {
            self.dropped += 1;
        }
    }

    /// Adds those of another collection.
    pub(crate) fn extend(&mut self, other: Self) {
        other.list.into_iter().for_each(|problem| self.push(problem));
    }

    /// All of them as something that is accepted.
    pub(crate) fn into_notices(self) -> impl Iterator<Item = Notice> {
        self.list
            .into_iter()
            .map(|problem| Notice { at: problem.at.unwrap_or(At::START), message: problem.message })
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The error for a file, its problems in the order of the file. Without a file the name is empty.
    pub(crate) fn into_error(self, file: &str) -> ConfigError {
        let Self { mut list, dropped } = self;
        list.sort_by_key(|problem| problem.at);
        ConfigError { file: file.to_owned(), problems: list, dropped }
    }
}

/// A file that cannot be used: every problem found in it. Exit code 2.
#[derive(Debug)]
pub(crate) struct ConfigError {
    file: String,
    problems: Vec<Problem>,
    dropped: usize,
}

impl ConfigError {
    /// A file that could not even be read as text.
    pub(crate) fn whole(file: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let problem = Problem { at: None, message: message.into(), hint: Some(hint.into()) };
        Self { file: file.to_owned(), problems: vec![problem], dropped: 0 }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { at, message, hint }) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match at {
                Some(At { outside: Some(name), .. }) => write!(f, "{name}: ")?,
                _ if self.file.is_empty() => {}
                Some(at) => write!(f, "{}:{at}: ", self.file)?,
                None => write!(f, "{}: ", self.file)?,
            }
            f.write_str(message)?;
            if let Some(hint) = hint {
                write!(f, "\n    {hint}")?;
            }
        }
        match self.dropped {
            0 => Ok(()),
            dropped if self.file.is_empty() => write!(f, "\n{dropped} further problems are not shown"),
            dropped => write!(f, "\n{}: {dropped} further problems are not shown", self.file),
        }
    }
}

impl std::error::Error for ConfigError {}
