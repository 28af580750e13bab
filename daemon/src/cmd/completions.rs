//! `completions` and `man`: what the command line says of itself, for shells and for man(1).

use clap_complete::Shell;
use pipeline::{Error, Result};

use crate::exit;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Prints completions.
pub(crate) fn run(args: &CompletionsArgs, command: &mut clap::Command) -> Result<u8> {
    clap_complete::generate(args.shell, command, "replevin", &mut std::io::stdout());
    Ok(exit::DONE)
}

/// Prints the man page.
pub(crate) fn man(command: clap::Command) -> Result<u8> {
    let page = clap_mangen::Man::new(command);
    page.render(&mut std::io::stdout())
        .map_err(|e| Error::permanent("the man page cannot be written").caused_by(e))?;
    Ok(exit::DONE)
}
