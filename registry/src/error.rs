//! The errors that clients see: Confluent's numbers and sentences, with the next step behind them.
//!
//! A number below 1000 is the HTTP status itself, another one begins with it: 40401 is a 404.

use crate::names::Context;
use crate::parse::Problem;
use crate::store::StoreError;
use std::fmt;

/// The result of everything that a request can do.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An answer that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    code: u32,
    /// Where it is not the one that the number begins with.
    status: Option<u16>,
    message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Error {}

impl Error {
    /// An error by its number.
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, status: None, message: message.into() }
    }

    /// The same number under another HTTP status.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// The number of the body.
    pub fn code(&self) -> u32 {
        self.code
    }

    /// The HTTP status. A store that is away is 503, whatever its number begins with.
    pub fn status(&self) -> u16 {
        if let Some(status) = self.status {
            return status;
        }
        let status = match self.code {
            50001 => 503,
            code if code < 1000 => code,
            code => code / 100,
        };
        u16::try_from(status).unwrap_or(500)
    }

    /// What happened, and what to do.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn subject_not_found(subject: &impl fmt::Display) -> Self {
        Self::new(40401, format!("Subject '{subject}' not found. GET /subjects lists those that there are"))
    }

    pub(crate) fn version_not_found(subject: &impl fmt::Display, version: i32) -> Self {
        let next = format!("GET /subjects/{subject}/versions?deleted=true lists those that there are");
        Self::new(40402, format!("Version {version} not found. {next}"))
    }

    pub(crate) fn schema_not_found(what: Option<&dyn fmt::Display>) -> Self {
        match what {
            Some(what) => Self::new(40403, format!("Schema {what} not found")),
            None => Self::new(40403, "Schema not found"),
        }
    }

    pub(crate) fn subject_soft_deleted(subject: &impl fmt::Display) -> Self {
        let text = format!("Subject '{subject}' was soft deleted.Set permanent=true to delete permanently");
        Self::new(40404, text)
    }

    pub(crate) fn subject_not_soft_deleted(subject: &impl fmt::Display) -> Self {
        let text = format!("Subject '{subject}' was not deleted first before being permanently deleted");
        Self::new(40405, text)
    }

    pub(crate) fn version_soft_deleted(subject: &impl fmt::Display, version: &str) -> Self {
        let text = format!(
            "Subject '{subject}' Version {version} was soft deleted.Set permanent=true to delete permanently"
        );
        Self::new(40406, text)
    }

    pub(crate) fn version_not_soft_deleted(subject: &impl fmt::Display, version: i32) -> Self {
        let text = format!(
            "Subject '{subject}' Version {version} was not deleted first before being permanently deleted"
        );
        Self::new(40407, text)
    }

    pub(crate) fn no_config(subject: &impl fmt::Display) -> Self {
        let text = format!(
            "Subject '{subject}' does not have subject-level compatibility configured. defaultToGlobal=true answers what \
             counts for it"
        );
        Self::new(40408, text)
    }

    pub(crate) fn no_mode(subject: &impl fmt::Display) -> Self {
        let text = format!(
            "Subject '{subject}' does not have subject-level mode configured. defaultToGlobal=true answers what counts for it"
        );
        Self::new(40409, text)
    }

    pub(crate) fn empty_schema() -> Self {
        Self::new(42201, "Empty schema")
    }

    pub(crate) fn invalid_schema(what: &impl fmt::Display, problem: &Problem) -> Self {
        Self::new(42201, format!("Invalid schema of type {what}, details: {problem}"))
    }

    pub(crate) fn invalid_version(text: &str) -> Self {
        let text = format!(
            "The specified version '{text}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
        );
        Self::new(42202, text)
    }

    pub(crate) fn invalid_level() -> Self {
        let levels =
            "none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive";
        Self::new(42203, format!("Invalid compatibility level. Valid values are {levels}"))
    }

    pub(crate) fn invalid_mode() -> Self {
        Self::new(42204, "Invalid mode. Valid values are READWRITE, READONLY, IMPORT, and FORWARD.")
    }

    /// 42205: the mode, or an id that is taken.
    pub(crate) fn not_permitted(message: impl Into<String>) -> Self {
        Self::new(42205, message)
    }

    pub(crate) fn referenced(subject: &impl fmt::Display, version: i32) -> Self {
        let key = format!("{{magic=1,keytype=SCHEMA,subject={subject},version={version}}}");
        let next = format!("GET /subjects/{subject}/versions/{version}/referencedby names them");
        Self::new(42206, format!("One or more references exist to the schema {key}. {next}"))
    }

    pub(crate) fn invalid_subject(subject: &str) -> Self {
        let text = format!("The specified subject '{subject}' is not a valid.");
        Self::new(42208, text)
    }

    /// 42208: longer than any store takes.
    pub(crate) fn long_subject(subject: &str) -> Self {
        let start: String = subject.chars().take(80).collect();
        let text = format!(
            "The specified subject '{start}...' is not a valid. A subject has at most 630 characters, a context 128, and both \
             together 2600 bytes"
        );
        Self::new(42208, text)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let text =
            format!("Register operation failed because schema is too large: at most {limit} bytes are taken");
        Self::new(42209, text)
    }

    pub(crate) fn invalid_rules(why: impl Into<String>) -> Self {
        Self::new(42210, why)
    }

    pub(crate) fn context_not_empty(context: &Context) -> Self {
        let text = format!(
            "The specified context '{}' is not empty. Delete its subjects permanently first",
            context.prefix()
        );
        Self::new(42211, text)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "HTTP 404 Not Found")
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::new(
                50002,
                "Register operation timed out: other writers were faster every time. Try again",
            ),
            StoreError::Unavailable(why) => Self::new(
                50001,
                format!("The store cannot be reached, and nothing was changed: {why}. Try again"),
            ),
            StoreError::Refused(why) => {
                Self::new(42209, format!("The store cannot hold this, and nothing was changed: {why}"))
            }
            StoreError::Unknown(why) => Self::new(
                50002,
                format!(
                    "The store was lost during the change, which may have been made: {why}. Look before trying again; registering \
                     the same schema again is safe"
                ),
            ),
            StoreError::Corrupt(why) => Self::new(500, format!("The store holds what makes no sense: {why}")),
            StoreError::Forked(why) => Self::new(
                50001,
                format!(
                    "An older copy of the store was put in place, and nothing is written: {why}. Restart the registry to go on \
                     from that copy"
                ),
            ),
            StoreError::ReadOnly(why) => Self::not_permitted(format!("Nothing was changed: {why}")),
            StoreError::NotWriter(why) => Self::new(
                50004,
                format!(
                    "This instance does not write, and nothing was changed: {why}. Ask the one that writes, or try again"
                ),
            ),
        }
    }
}
