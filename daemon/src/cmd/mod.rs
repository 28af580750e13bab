//! One subcommand a file: its arguments, what it runs, what it prints.

pub(crate) mod backup;
pub(crate) mod check_config;
pub(crate) mod completions;
mod job;
