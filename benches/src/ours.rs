//! Ours: the release binary with a config file, as a user would run it.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use sandbox::scratch::Scratch;

use crate::Result;
use crate::measure::{self, Measured};

/// The binary: `$REPLEVIN_BIN`, or the one beside this program.
///
/// # Errors
/// It is not there.
pub(crate) fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("REPLEVIN_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("replevin"),
    };
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("{}: build it first (benches/run.sh)", path.display()).into())
    }
}

/// Runs `replevin ARGS --config FILE` to its end.
///
/// # Errors
/// It ends with another exit code than 0, with what it wrote.
pub(crate) fn run(args: &[&str], config: &str) -> Result<Measured> {
    let scratch = Scratch::new("bench-config");
    let file = scratch.path().join("replevin.yaml");
    fs::write(&file, config)?;
    let mut all: Vec<OsString> = args.iter().map(Into::into).collect();
    all.push("--config".into());
    all.push(file.into());
    measure::run(&binary()?, &all, &[0])
}
