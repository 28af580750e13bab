//! Logs on stderr: what is logged, and in which form. Started once a process, by whoever knows what was asked for.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How logs are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// What the command line says about logs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logging {
    /// `--log-format`.
    pub(crate) format: Option<LogFormat>,
    /// `--quiet`.
    pub(crate) quiet: bool,
}

impl Logging {
    /// Starts logging as the command line says.
    pub(crate) fn start(self) {
        self.start_at("info", LogFormat::Text);
    }

    /// Starts logging at a level and in a form, where neither the command line nor RUST_LOG says otherwise. Libraries are never asked
    /// for more than `info`: they tell how they work, and some of them what they send.
    pub(crate) fn start_at(self, level: &str, format: LogFormat) {
        let default = match level {
            _ if self.quiet => "warn".to_owned(),
            "debug" | "trace" => format!("info,replevin={level},registry={level},pipeline={level}"),
            level => level.to_owned(),
        };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
        // A second logger cannot exist in this process, so setting it up cannot fail.
        match self.format.unwrap_or(format) {
            LogFormat::Text => logs.with_target(false).compact().init(),
            LogFormat::Json => logs.json().init(),
        }
    }
}
