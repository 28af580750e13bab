//! MariaDB, with a database in a scratch folder.

use crate::certificates::Certificates;
use crate::process::{self, Process};
use crate::scratch::{Port, Scratch};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A user who may do everything.
pub const USER: &str = "admin";
/// His password.
pub const PASSWORD: &str = "admin-password-1";
/// Nobody who starts it may be root.
const OWNER: &str = "mysql";
const PROGRAM: &str = "/usr/sbin/mariadbd";

/// A running server; killed and removed when dropped.
#[derive(Debug)]
pub struct Mariadb {
    port: Port,
    certificates: Certificates,
    process: Option<Process>,
    scratch: Scratch,
}

impl Mariadb {
    /// Makes an empty database folder and starts its server, with TLS.
    ///
    /// # Panics
    /// When that fails, with the end of its log.
    pub fn start() -> Self {
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is not there: run tests/install.sh mariadb");
        let scratch = Scratch::new("mariadb");
        let certificates = Certificates::make(scratch.path());
        let init = format!(
            "CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
        );
        fs::write(scratch.path().join("init.sql"), init).expect("a file");
        process::give(OWNER, scratch.path());
        // Its script gives up on a machine that is very busy, and does not say why.
        let mut tries = (0..3).map(|_| install(&scratch.path().join("data")));
        let mut failed = Vec::new();
        let is_installed = tries.any(|tried| tried.map_err(|why| failed.push(why)).is_ok());
        assert!(is_installed, "MariaDB's own tables cannot be made: {failed:#?}");
        let mut server = Self { port: Port::reserve(), certificates, process: None, scratch };
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

    /// Runs statements and answers the rows without decoration.
    ///
    /// # Panics
    /// When they fail.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let mut client = process::command("mariadb");
        client.args(["--no-defaults", "--protocol=TCP", "-h", "127.0.0.1", "-P", &self.port().to_string()]);
        client.args(["-u", USER, &format!("-p{PASSWORD}"), "-N", "-B", "-e", statements, database]);
        process::run(client)
    }

    /// Stops the server where it stands; its connections stay open and answer nothing.
    pub fn freeze(&self) {
        self.process.iter().for_each(Process::freeze);
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        self.process.iter().for_each(Process::thaw);
    }

    /// Kills the server at once.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Starts it again after [`Mariadb::kill9`].
    ///
    /// # Panics
    /// When it does not start.
    pub fn launch(&mut self) {
        let file = |name: &str| self.scratch.path().join(name).display().to_string();
        let mut command = process::command_as(OWNER, PROGRAM);
        command.args([
            "--no-defaults".to_owned(),
            format!("--datadir={}", file("data")),
            format!("--socket={}", file("socket")),
            format!("--init-file={}", file("init.sql")),
            format!("--pid-file={}", file("pid")),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--port={}", self.port()),
            "--innodb-buffer-pool-size=32M".to_owned(),
            format!("--ssl-ca={}", self.certificates.authority.display()),
            format!("--ssl-cert={}", self.certificates.certificate.display()),
            format!("--ssl-key={}", self.certificates.key.display()),
        ]);
        let mut process = Process::start("mariadb", command, &self.scratch.path().join("server.log"));
        process.wait_for_line("ready for connections", Duration::from_secs(60));
        self.process = Some(process);
    }
}

/// Fills an empty folder of data; what went wrong otherwise, with what MariaDB has logged there.
fn install(data: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(data);
    let mut install = process::command_as(OWNER, "mariadb-install-db");
    install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    install.arg(format!("--datadir={}", data.display()));
    let done = install.output().map_err(|error| error.to_string())?;
    if done.status.success() {
        return Ok(());
    }
    let mut said = [done.stdout, done.stderr].concat();
    for entry in fs::read_dir(data).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|ending| ending == "err") {
            said.extend(fs::read(entry.path()).unwrap_or_default());
        }
    }
    Err(format!("{}: {}", done.status, String::from_utf8_lossy(&said)))
}
