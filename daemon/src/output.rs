//! What a command prints: data on stdout, as text for people or as JSON for programs; errors on stderr.

use std::io::Write;

use pipeline::Error;
use serde::Serialize;
use serde_json::json;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON document.
    Json,
}

/// Prints results.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    /// An output of a format.
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Prints a result. A reader that has gone away (`| head`) is no error.
    pub(crate) fn print(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        let text = if self.is_json() { serde_json::to_string_pretty(value).unwrap_or_default() } else { text() };
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// Prints an error with its next step.
    pub(crate) fn error(self, error: &Error) {
        let mut stderr = std::io::stderr().lock();
        if self.is_json() {
            let code = crate::exit::code(error.kind());
            let value = json!({ "error": error.to_string(), "next_step": error.next_step(), "exit_code": code });
            let _ = writeln!(stderr, "{value}");
            return;
        }
        let _ = writeln!(stderr, "replevin: {error}");
        if let Some(next) = error.next_step() {
            let _ = writeln!(stderr, "  -> {next}");
        }
    }
}

/// Bytes for people: 1.5 GiB.
pub(crate) fn human_bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
