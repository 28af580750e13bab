//! Prometheus' Pushgateway: keeps what short jobs push.

use crate::http;
use crate::process::{self, Process};
use crate::scratch::{Port, Scratch, installed};
use std::time::Duration;

/// A running Pushgateway that keeps nothing on disk; killed when dropped.
#[derive(Debug)]
pub struct Pushgateway {
    port: Port,
    _process: Process,
    _scratch: Scratch,
}

impl Pushgateway {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        let (scratch, port) = (Scratch::new("pushgateway"), Port::reserve());
        let mut command = process::command(installed("pushgateway").join("prometheus-pushgateway"));
        command.arg(format!("--web.listen-address={}", port.address()));
        let mut process = Process::start("pushgateway", command, &scratch.path().join("server.log"));
        process.wait_ready(Duration::from_secs(30), |_| {
            let answer = http::request(&port.address(), "GET", "/-/ready", &[], &[])?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        });
        Self { port, _process: process, _scratch: scratch }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// The value that was pushed under a name with these labels among its labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let text = http::request(&self.port.address(), "GET", "/metrics", &[], &[]).ok()?.text();
        let is_it = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))
                && labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
        };
        text.lines().find(is_it)?.rsplit_once(' ')?.1.parse().ok()
    }
}
