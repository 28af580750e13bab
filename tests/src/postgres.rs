//! PostgreSQL, with a database in a scratch folder.

use crate::certificates::Certificates;
use crate::process::{self, Process};
use crate::scratch::{Port, Scratch};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The superuser, who may log in only with his password.
pub const USER: &str = "admin";
/// His password.
pub const PASSWORD: &str = "admin-password-1";
/// Nobody who starts it may be root.
const OWNER: &str = "postgres";

/// A running server; killed and removed when dropped.
#[derive(Debug)]
pub struct Postgres {
    port: Port,
    programs: PathBuf,
    certificates: Certificates,
    process: Option<Process>,
    scratch: Scratch,
}

impl Postgres {
    /// Makes a database cluster, with TLS, and starts its server.
    ///
    /// # Panics
    /// When that fails, with the end of its log.
    pub fn start() -> Self {
        let scratch = Scratch::new("postgresql");
        let certificates = Certificates::make(scratch.path());
        let password = scratch.path().join("password");
        fs::write(&password, PASSWORD).expect("a file");
        process::give(OWNER, scratch.path());
        let mut server =
            Self { port: Port::reserve(), programs: programs(), certificates, process: None, scratch };
        let mut init = process::command_as(OWNER, server.programs.join("initdb"));
        init.args(["-A", "scram-sha-256", "-U", USER, "-E", "UTF8", "--no-locale", "-N", "--pwfile"]);
        init.arg(&password).arg("-D").arg(server.scratch.path().join("data"));
        process::run(init);
        server.launch();
        server
    }

    /// `host:port`, for a proxy.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The authority of its certificate.
    pub fn authority(&self) -> PathBuf {
        self.certificates.authority.clone()
    }

    /// Runs statements as the superuser and answers the rows without decoration.
    ///
    /// # Panics
    /// When they fail.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let mut psql = process::command(self.programs.join("psql"));
        psql.env("PGPASSWORD", PASSWORD).args(["-h", "127.0.0.1", "-p", &self.port().to_string()]);
        psql.args(["-U", USER, "-d", database, "-v", "ON_ERROR_STOP=1", "-qAtc", statements]);
        process::run(psql)
    }

    /// Kills the server at once.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Starts it again after [`Postgres::kill9`].
    ///
    /// # Panics
    /// When it does not start.
    pub fn launch(&mut self) {
        let (folder, data) = (self.scratch.path(), self.scratch.path().join("data"));
        // Of one that was killed; its children may take a moment to notice.
        let _ = fs::remove_file(data.join("postmaster.pid"));
        let mut command = process::command_as(OWNER, self.programs.join("postgres"));
        command
            .arg("-D")
            .arg(data)
            .args(["-p", &self.port().to_string(), "-h", "127.0.0.1", "-k"])
            .arg(folder);
        let settings = [
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", self.certificates.certificate.display().to_string()),
            ("ssl_key_file", self.certificates.key.display().to_string()),
            ("max_connections", "60".to_owned()),
        ];
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let mut process = Process::start("postgresql", command, &folder.join("server.log"));
        process.wait_for_line("database system is ready to accept connections", Duration::from_secs(60));
        self.process = Some(process);
    }
}

/// The newest version's programs; Debian keeps them out of the search path.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest =
        versions.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").exists()).max();
    newest.unwrap_or_else(|| panic!("PostgreSQL is not there: run tests/install.sh postgresql"))
}
