//! fake-gcs-server: an emulator of Google Cloud Storage without authentication.

use crate::http;
use crate::process::{self, Process};
use crate::scratch::{Port, Scratch, installed};
use serde_json::json;
use std::time::Duration;

/// A running emulator with its objects in a scratch folder; killed and removed when dropped.
#[derive(Debug)]
pub struct Gcs {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    port: Port,
    _process: Process,
    _scratch: Scratch,
}

impl Gcs {
    /// Starts the emulator.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        let scratch = Scratch::new("fake-gcs");
        let port = Port::reserve();
        let endpoint = format!("http://{}", port.address());
        let mut command = process::command(installed("fake-gcs").join("fake-gcs-server"));
        command
            .args(["-scheme", "http", "-host", "127.0.0.1", "-port", &port.number().to_string()])
            .args(["-backend", "filesystem", "-filesystem-root"])
            .arg(scratch.path().join("data"))
            .args(["-external-url", &endpoint, "-public-host", &port.address()]);
        let mut process = Process::start("fake-gcs-server", command, &scratch.path().join("server.log"));
        process.wait_ready(Duration::from_secs(30), |_| {
            http::request(&port.address(), "GET", "/storage/v1/b?project=test", &[], &[])
        });
        Self { endpoint, port, _process: process, _scratch: scratch }
    }

    /// `host:port`, for a proxy.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Creates a bucket.
    ///
    /// # Panics
    /// When that is refused.
    pub fn create_bucket(&self, name: &str) {
        let body = json!({ "name": name }).to_string().into_bytes();
        let headers = [("Content-Type", "application/json")];
        match http::request(&self.address(), "POST", "/storage/v1/b?project=test", &headers, &body) {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => panic!("create bucket {name}: {} {}", answer.status, answer.text()),
            Err(error) => panic!("create bucket {name}: {error}"),
        }
    }

    /// The text of a service account file that leads a client here without authentication.
    pub fn service_account(&self) -> String {
        json!({
            "gcs_base_url": self.endpoint, "disable_oauth": true,
            "client_email": "", "private_key": "", "private_key_id": "",
        })
        .to_string()
    }
}
