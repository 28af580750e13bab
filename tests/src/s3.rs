//! versitygw: a real S3 server over a folder, with conditional puts, versioning and Object Lock.

use crate::http::{self, Answer};
use crate::process::{self, Process};
use crate::scratch::{Port, Scratch, installed};
use crate::signing::{hex, hmac_sha256, sha256, utc};
use std::path::PathBuf;
use std::time::Duration;

/// The root account's access key.
pub const ACCESS_KEY: &str = "root";
/// The root account's secret key.
pub const SECRET_KEY: &str = "rootsecret123";
/// The region that requests are signed for.
pub const REGION: &str = "us-east-1";

/// A running server with its objects in a scratch folder; killed and removed when dropped.
#[derive(Debug)]
pub struct S3 {
    /// `http://127.0.0.1:PORT`; path-style addressing.
    pub endpoint: String,
    port: Port,
    process: Option<Process>,
    scratch: Scratch,
}

impl S3 {
    /// Starts the server.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        let scratch = Scratch::new("versitygw");
        for folder in ["data", "versions", "iam"] {
            let path = scratch.path().join(folder);
            std::fs::create_dir(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        }
        let port = Port::reserve();
        let mut server =
            Self { endpoint: format!("http://{}", port.address()), port, process: None, scratch };
        server.launch();
        server
    }

    /// `host:port`, for a proxy. Requests through one are signed for the proxy's address, which the server accepts.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// The folder in which buckets are folders and objects files, for tests that damage them behind the server's back.
    pub fn folder(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Kills the server at once.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Starts the server again at the same port and folder.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill9();
        self.launch();
    }

    /// Creates a bucket.
    ///
    /// # Panics
    /// When that is refused.
    pub fn create_bucket(&self, name: &str) {
        self.must("PUT", &format!("/{name}"), "", &[], &[]);
    }

    /// Creates a bucket with Object Lock, and therefore versioning, switched on.
    ///
    /// # Panics
    /// When that is refused.
    pub fn create_locked_bucket(&self, name: &str) {
        self.must("PUT", &format!("/{name}"), "", &[("x-amz-bucket-object-lock-enabled", "true")], &[]);
    }

    /// Keeps earlier versions of the bucket's objects from now on.
    ///
    /// # Panics
    /// When that is refused.
    pub fn enable_versioning(&self, name: &str) {
        let body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        self.must("PUT", &format!("/{name}"), "versioning=", &[], body);
    }

    /// Sends a signed request: `path` and `query` already encoded, the query in order with `=` after every name.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let time = utc("%Y%m%dT%H%M%SZ");
        let (day, digest, host) = (&time[..8], hex(&sha256(body)), self.address());
        // AWS Signature Version 4: what is signed are the headers below, by name in order.
        let mut signed: Vec<(String, &str)> = vec![
            ("host".to_owned(), &host),
            ("x-amz-content-sha256".to_owned(), &digest),
            ("x-amz-date".to_owned(), &time),
        ];
        signed.extend(headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)));
        signed.sort();
        let names = signed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}");
        let scope = format!("{day}/{REGION}/s3/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&sha256(canonical.as_bytes())));
        let key = [day, REGION, "s3", "aws4_request"]
            .iter()
            .fold(format!("AWS4{SECRET_KEY}").into_bytes(), |key, part| hmac_sha256(&key, part.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={}",
            hex(&hmac_sha256(&key, text.as_bytes()))
        );
        let mut sent = vec![
            ("x-amz-content-sha256", &*digest),
            ("x-amz-date", &*time),
            ("Authorization", &*authorization),
        ];
        sent.extend(headers);
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        http::request(&host, method, &target, &sent, body)
    }

    fn must(&self, method: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) {
        match self.request(method, path, query, headers, body) {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => panic!("{method} {path}?{query}: {} {}", answer.status, answer.text()),
            Err(error) => panic!("{error}"),
        }
    }

    fn launch(&mut self) {
        let folder = self.scratch.path();
        let mut command = process::command(installed("versitygw").join("versitygw"));
        command
            .args(["--access", ACCESS_KEY, "--secret", SECRET_KEY, "--region", REGION])
            .args(["--port", &self.port.address(), "--health", "/healthz", "--quiet", "--iam-dir"])
            .arg(folder.join("iam"))
            .args(["posix", "--versioning-dir"])
            .args([folder.join("versions"), folder.join("data")]);
        let mut process = Process::start("versitygw", command, &folder.join("server.log"));
        process.wait_ready(Duration::from_secs(30), |_| {
            match http::request(&self.port.address(), "GET", "/healthz", &[], &[]) {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("health: {}", answer.status)),
                Err(error) => Err(error),
            }
        });
        self.process = Some(process);
    }
}
