//! What goes wrong between a client and a registry. A kind is what the reader does about it.

use std::fmt;

/// The result of asking a registry.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the reader of an [`Error`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Mend the settings: a URL, a certificate.
    Settings,
    /// Mend the credentials: 401 and 403.
    Credentials,
    /// Wait, and try again: nobody answered, or they said that they were busy.
    Away,
    /// What was asked for is not there: 404.
    Absent,
    /// The registry understood, and refused: other 4xx.
    Refused,
    /// Ask for less at once: the answer is larger than may be taken, or given.
    TooLarge,
    /// Whoever answered is no registry, or a broken one.
    Strange,
}

/// An error that names what was asked of whom, what came back, and what to do next. Its URL has no credentials in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    status: Option<u16>,
    code: Option<u32>,
    /// The answer was a page, and nothing that a registry says.
    is_page: bool,
    next_step: Option<String>,
}

impl Error {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), status: None, code: None, is_page: false, next_step: None }
    }

    /// With what to do next.
    pub fn hint(mut self, next_step: impl Into<String>) -> Self {
        self.next_step = Some(next_step.into());
        self
    }

    /// With the HTTP status and the number that the registry gave.
    pub(super) fn answered(mut self, status: u16, code: Option<u32>) -> Self {
        (self.status, self.code) = (Some(status), code);
        self
    }

    /// The answer was a page.
    pub(super) fn of_page(mut self, is_page: bool) -> Self {
        self.is_page = is_page;
        self
    }

    /// With what was asked of whom before the message.
    pub(super) fn at(mut self, registry: &str, path: &str) -> Self {
        self.message = format!("GET {registry}{path}: {}", self.message);
        self
    }

    /// What the reader does.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The HTTP status, where there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// `error_code` of the answer.
    pub fn code(&self) -> Option<u32> {
        self.code
    }

    /// What to do next.
    pub fn next_step(&self) -> Option<&str> {
        self.next_step.as_deref()
    }

    /// Whether less at once may be answered.
    pub fn is_too_large(&self) -> bool {
        self.kind == ErrorKind::TooLarge
    }

    /// There is no such thing, and that is all.
    pub fn is_absent(&self) -> bool {
        self.kind == ErrorKind::Absent
    }

    /// The registry serves no such path. A page does not say that: it is of whoever stands before the registry, which may serve it.
    pub fn is_no_path(&self) -> bool {
        self.is_absent() && !self.is_page
    }

    /// What was to be deleted is not there. A registry that does not know the request (405) has deleted nothing either, and says so;
    /// without a number it is no registry that misses something, and somebody must hear of that.
    pub fn is_gone(&self) -> bool {
        self.is_absent() && self.status != Some(405) && self.code.is_some()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
