//! What goes wrong when a registry is moved. A kind is what the reader does about it.

use crate::client;
use std::fmt;

/// What a registry answers to a text that it does not take for a schema.
const NO_SCHEMA: u32 = 42201;

/// The result of moving something.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the reader of an [`Error`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Mend the command, the settings or the file's name.
    Input,
    /// Mend the credentials.
    Credentials,
    /// A registry or a disk did not do what was asked: try again.
    Failed,
    /// The file is not what was written.
    Damaged,
    /// It was told to stop.
    Interrupted,
}

/// An error that names what, where, why and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    message: String,
    next_step: Option<String>,
    /// What a registry said it for, where one did.
    code: Option<u32>,
}

impl Error {
    /// An error of a kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), next_step: None, code: None }
    }

    /// A registry does not take a text for a schema.
    pub(super) fn is_no_schema(&self) -> bool {
        self.code == Some(NO_SCHEMA)
    }

    /// With what to do next.
    pub fn hint(mut self, next_step: impl Into<String>) -> Self {
        self.next_step = Some(next_step.into());
        self
    }

    /// With what to do next, where nothing is said of that yet.
    pub(super) fn or_hint(self, next_step: &str) -> Self {
        match self.next_step {
            Some(_) => self,
            None => self.hint(next_step),
        }
    }

    /// With where it happened before the message.
    pub(super) fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// With another one that came of the same thing. The kind stays that of the first.
    pub(super) fn and(mut self, besides: Self) -> Self {
        self.message = format!("{}; besides, {}", self.message, besides.message);
        self.next_step = match (self.next_step, besides.next_step) {
            (Some(one), Some(other)) if one != other => Some(format!("{one}; and {other}")),
            (one, other) => one.or(other),
        };
        self
    }

    /// What the reader does.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What to do next.
    pub fn next_step(&self) -> Option<&str> {
        self.next_step.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        let kind = match error.kind() {
            client::ErrorKind::Settings => Kind::Input,
            client::ErrorKind::Credentials => Kind::Credentials,
            _ => Kind::Failed,
        };
        let next_step = error.next_step().map(str::to_owned);
        Self { kind, message: error.to_string(), next_step, code: error.code() }
    }
}
