//! The one error type of this crate. A kind is what the reader does about it, and decides the exit code.

use std::fmt;

/// What the reader of an [`Error`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Passing trouble that a later attempt may not meet: a lost connection, a time-out, a busy server.
    Retry,
    /// Somebody else is the writer now. Stop. Exit code 11.
    Fenced,
    /// Fix the configuration or the command line. Exit code 2.
    Input,
    /// Credentials or a key were refused. Exit code 12.
    Credentials,
    /// Archive bytes are damaged, or target and archive differ. Exit code 4.
    Damaged,
    /// There is no such backup, topic or object. Exit code 10 for a backup.
    NotFound,
    /// The other side answered something that stays wrong however often it is asked. Exit code 1.
    Permanent,
    /// Cancelled by a signal. Exit code 130.
    Interrupted,
}

/// An error that names what, where (topic-partition@offsets, broker or object key), why, and what to do next.
///
/// Messages are lower case without a full stop.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of a kind with its message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Passing trouble.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Retry, message)
    }

    /// Trouble that stays.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Permanent, message)
    }

    /// A configuration or command line to be fixed.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// Damaged archive bytes, or a target that differs from the archive.
    pub fn damaged(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Damaged, message)
    }

    /// Something asked for by name is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Another writer took over.
    pub fn fenced(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fenced, message)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Prefixes the message with where it happened.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// What the reader does about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether a later attempt may succeed.
    pub fn is_retriable(&self) -> bool {
        self.kind == ErrorKind::Retry
    }

    /// The message alone, without hint and cause.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The next step, where one is known.
    pub fn next_step(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<formats::Error> for Error {
    fn from(error: formats::Error) -> Self {
        let kind = match error.kind() {
            formats::ErrorKind::Corrupt => ErrorKind::Damaged,
            formats::ErrorKind::Unsupported => ErrorKind::Permanent,
            formats::ErrorKind::Invalid => ErrorKind::Input,
            formats::ErrorKind::Refused => ErrorKind::Permanent,
        };
        let hint = error.next_step().map(str::to_owned);
        Self { kind, message: error.to_string(), hint, source: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_error_keeps_its_words_and_becomes_what_the_reader_does() {
        let error = Error::from(formats::Error::corrupt("crc differs").hint("restore the object"));
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert_eq!(error.message(), "crc differs");
        assert_eq!(error.next_step(), Some("restore the object"));
    }
}
