//! `kafka-backup`: the second name of `replevin`, for scripts and guides that say so. It becomes the `replevin` that lies beside it, with
//! the same arguments; it does nothing else.

#![allow(clippy::print_stderr, reason = "what could not be started must be said somewhere")]

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let beside =
        std::env::current_exe().and_then(|own| own.canonicalize()).map(|own| own.with_file_name("replevin"));
    let program = beside.ok().filter(|beside| beside.is_file()).unwrap_or_else(|| PathBuf::from("replevin"));
    // Comes back only where that cannot be started.
    let error = Command::new(&program).args(std::env::args_os().skip(1)).exec();
    eprintln!(
        "kafka-backup is another name of replevin, and {} cannot be started: {error}",
        program.display()
    );
    eprintln!("  -> install both into one folder, or call replevin");
    ExitCode::from(127)
}
