//! An authority of one's own and a server's certificate from it, made by openssl.

use crate::process;
use std::fs;
use std::path::{Path, PathBuf};

/// The files, all PEM.
#[derive(Debug)]
pub struct Certificates {
    /// The authority.
    pub authority: PathBuf,
    /// The server's certificate, for `localhost` and 127.0.0.1.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in this folder.
    ///
    /// # Panics
    /// When openssl fails.
    pub fn make(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name);
        let openssl = |arguments: &[&str]| {
            let mut command = process::command("openssl");
            command.current_dir(folder).args(arguments);
            process::run(command);
        };
        let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let authority =
            ["req", "-x509", "-days", "30", "-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.crt"];
        openssl(&[&authority[..], &new_key].concat());
        let request = ["req", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"];
        openssl(&[&request[..], &new_key].concat());
        fs::write(file("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("a file");
        openssl(&[
            "x509",
            "-req",
            "-days",
            "30",
            "-in",
            "server.csr",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "names",
            "-out",
            "server.crt",
        ]);
        Self { authority: file("ca.crt"), certificate: file("server.crt"), key: file("server.key") }
    }
}
