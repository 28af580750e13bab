//! Names that lead where a test says, for programs that are not ours: nss_wrapper answers them in the C library's place.

use crate::process;
use crate::scratch::Scratch;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Names with their addresses, and a folder in which programs see them.
#[derive(Debug)]
pub struct Names {
    scratch: Scratch,
}

impl Names {
    /// These names, with the address of each. `localhost`, of which curl asks nobody, is told to curl itself.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn new(names: &[(&str, &str)]) -> Self {
        let all = Self { scratch: Scratch::new("names") };
        all.lead(names);
        all
    }

    /// From now on these and no others.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn lead(&self, names: &[(&str, &str)]) {
        let hosts: String = names.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
        let curl: String = names
            .iter()
            .filter(|(name, _)| *name == "localhost")
            .map(|(name, address)| format!("connect-to = \"{name}::{address}:\"\n"))
            .collect();
        for (file, text) in [("hosts", hosts), (".curlrc", curl)] {
            fs::write(self.folder().join(file), text).expect("a file");
        }
    }

    /// Where programs work, and what they leave.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The variables under which a program sees the names.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        let file = |name: &str| self.folder().join(name).display().to_string();
        [
            ("LD_PRELOAD", "libnss_wrapper.so".to_owned()),
            ("NSS_WRAPPER_HOSTS", file("hosts")),
            ("CURL_HOME", self.folder().display().to_string()),
        ]
    }

    /// A program that sees them, with the folder's `bin` first in its search path.
    pub fn command(&self, program: &str) -> Command {
        let mut command = process::command("env");
        let path = std::env::var("PATH").unwrap_or_default();
        command.arg(format!("PATH={}:{path}", self.folder().join("bin").display()));
        // Behind the tie to this program, which has no use for them.
        command.args(self.variables().map(|(name, value)| format!("{name}={value}")));
        command.arg(program).current_dir(self.folder());
        command
    }
}
