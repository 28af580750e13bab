//! Azurite: Microsoft's emulator of Azure Blob storage, with its well-known account.

use crate::http;
use crate::process::{self, Process};
use crate::scratch::{Port, Scratch, installed};
use crate::signing::{hmac_sha256, utc};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;

/// The account that every Azurite has.
pub const ACCOUNT: &str = "devstoreaccount1";
/// Its published key.
pub const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

const VERSION: &str = "2021-12-02";

/// A running emulator with its blobs in a scratch folder; killed and removed when dropped.
#[derive(Debug)]
pub struct Azure {
    /// `http://127.0.0.1:PORT/devstoreaccount1`.
    pub endpoint: String,
    port: Port,
    _process: Process,
    _scratch: Scratch,
}

impl Azure {
    /// Starts the emulator.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        let scratch = Scratch::new("azurite");
        let port = Port::reserve();
        let mut command = process::command("node");
        command
            .arg(installed("azurite").join("node_modules/azurite/dist/src/blob/main.js"))
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.number().to_string()])
            .args(["--skipApiVersionCheck", "--disableTelemetry", "--location"])
            .arg(scratch.path().join("data"));
        let mut process = Process::start("azurite", command, &scratch.path().join("server.log"));
        process.wait_ready(Duration::from_secs(90), |_| http::request(&port.address(), "GET", "/", &[], &[]));
        Self {
            endpoint: format!("http://{}/{ACCOUNT}", port.address()),
            port,
            _process: process,
            _scratch: scratch,
        }
    }

    /// `host:port`, for a proxy.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Creates a container, in a request signed with the account's key.
    ///
    /// # Panics
    /// When that is refused.
    pub fn create_container(&self, name: &str) {
        let date = utc("%a, %d %b %Y %H:%M:%S GMT");
        // Twelve lines of standard headers, all empty here, then the service's own and the resource.
        let text = format!(
            "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{VERSION}\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        );
        let signature = STANDARD
            .encode(hmac_sha256(&STANDARD.decode(KEY).expect("a published constant"), text.as_bytes()));
        let authorization = format!("SharedKey {ACCOUNT}:{signature}");
        let headers = [("x-ms-date", &*date), ("x-ms-version", VERSION), ("Authorization", &*authorization)];
        let path = format!("/{ACCOUNT}/{name}?restype=container");
        match http::request(&self.address(), "PUT", &path, &headers, &[]) {
            Ok(answer) if answer.status == 201 => {}
            Ok(answer) => panic!("create container {name}: {} {}", answer.status, answer.text()),
            Err(error) => panic!("create container {name}: {error}"),
        }
    }
}
