//! One subcommand a file: its arguments, what it runs, what it prints.

pub(crate) mod backup;
pub(crate) mod check_config;
pub(crate) mod completions;
pub(crate) mod describe;
pub(crate) mod dump;
mod job;
pub(crate) mod list;
pub(crate) mod migrate;
pub(crate) mod prune;
pub(crate) mod registry;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod status;
mod target;
mod values;
pub(crate) mod verify;
