//! The figures of the schema registry. The server runs on one core, who asks it on the other.

mod bare;
mod by_id;
pub(crate) mod client;
mod compatibility;
mod memory;
mod oha;
mod register;
pub(crate) mod server;
mod start;

pub(crate) use bare::{BareArgs, serve as serve_bare};

use clap::ValueEnum;

use crate::Result;

/// One of the registry's figures.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Figure {
    /// Resident memory.
    Memory,
    /// Schemas by id.
    ById,
    /// New versions.
    Register,
    /// Compatibility checks.
    Compatibility,
    /// Time to the first answer.
    Start,
}

/// Takes one figure.
///
/// # Errors
/// Whatever a program or server says.
pub(crate) fn run(figure: Figure, runs: usize, minutes: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Whatever this process does beside the server must not take the server's time.
    client::pin()?;
    match figure {
        Figure::Memory => runtime.block_on(memory::run(minutes)),
        Figure::ById => runtime.block_on(by_id::run(runs)),
        Figure::Register => runtime.block_on(register::run(runs)),
        Figure::Compatibility => runtime.block_on(compatibility::run(runs)),
        Figure::Start => runtime.block_on(start::run(runs)),
    }
}

/// A record of about 1 KB that no other number has; `version` fields more than the first version, each with a default.
pub(crate) fn avro(number: usize, version: usize) -> String {
    let field = |name: String, more: &str| {
        format!(
            r#"{{"name":"{name}","type":"string","doc":"what {name} of record {number} says{more}","default":""}}"#
        )
    };
    let mut fields: Vec<String> = (0..10).map(|n| field(format!("field_{n}"), "")).collect();
    fields.extend((0..version).map(|n| field(format!("added_{n}"), ", since a later version")));
    format!(
        r#"{{"type":"record","name":"Record{number}","namespace":"org.example.bench","fields":[{}]}}"#,
        fields.join(",")
    )
}
