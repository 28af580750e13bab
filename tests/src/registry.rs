//! `replevin registry serve` as a process, for clients that are not ours.

use crate::binary::{Replevin, Running};
use crate::http::{self, Answer};
use crate::process::wait_until;
use crate::scratch::Port;
use std::time::Duration;

/// A running registry that keeps its schemas in memory; killed when dropped.
#[derive(Debug)]
pub struct Registry {
    port: Port,
    running: Running,
}

impl Registry {
    /// Starts one and waits until it can work.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with environment variables.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_with(variables: &[(&str, &str)]) -> Self {
        let port = Port::reserve();
        let number = port.number().to_string();
        let arguments =
            ["registry", "serve", "--storage-type", "memory", "--host", "127.0.0.1", "--port", &number];
        let replevin = variables
            .iter()
            .fold(Replevin::new(&arguments), |replevin, (name, value)| replevin.env(name, value));
        let registry = Self { running: replevin.start(), port };
        let ready = wait_until(Duration::from_secs(30), || match registry.ask("GET", "/health/ready", "") {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(answer.text()),
            Err(error) => Err(error),
        });
        if let Err(why) = ready {
            panic!("the registry is not ready: {why}\n{}", registry.running.stderr());
        }
        registry
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// One request with a JSON body.
    ///
    /// # Errors
    /// When nothing that looks like HTTP is answered.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Result<Answer, String> {
        let headers = [("Content-Type", "application/json")];
        http::request(&self.port.address(), method, path, &headers, body.as_bytes())
    }
}
