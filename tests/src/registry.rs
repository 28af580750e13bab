//! `replevin registry serve` as a process, for clients that are not ours.

use crate::binary::{Finished, Replevin, Running};
use crate::http::{self, Answer};
use crate::process::wait_until;
use crate::scratch::Port;
use std::time::Duration;

/// A running registry; killed when dropped.
#[derive(Debug)]
pub struct Registry {
    port: Port,
    running: Running,
}

impl Registry {
    /// Starts one that keeps its schemas in memory, and waits until it can work.
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
        Self::serving(&["--storage-type", "memory"], variables)
    }

    /// Starts one with these arguments that say what it serves, and environment variables.
    ///
    /// # Panics
    /// When it does not start.
    pub fn serving(what: &[&str], variables: &[(&str, &str)]) -> Self {
        let registry = Self::launch(Port::reserve(), what, variables);
        registry.wait_ready();
        registry
    }

    /// Starts one at a port, and waits for nothing.
    pub fn launch(port: Port, what: &[&str], variables: &[(&str, &str)]) -> Self {
        let number = port.number().to_string();
        let listening = ["registry", "serve", "--host", "127.0.0.1", "--port", &number];
        let replevin =
            variables.iter().fold(Replevin::new(&[&listening, what].concat()), |replevin, (name, value)| {
                replevin.env(name, value)
            });
        Self { running: replevin.start(), port }
    }

    /// Waits until it can work.
    ///
    /// # Panics
    /// When it cannot in time.
    pub fn wait_ready(&self) {
        let ready = wait_until(Duration::from_secs(30), || match self.ask("GET", "/health/ready", "") {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(answer.text()),
            Err(error) => Err(error),
        });
        if let Err(why) = ready {
            panic!("the registry is not ready: {why}\n{}", self.running.stderr());
        }
    }

    /// Kills it (SIGKILL); gives its port, for the next one.
    pub fn kill9(mut self) -> Port {
        self.running.kill9();
        self.running.wait();
        self.port
    }

    /// Waits for its end; gives that and its port.
    pub fn wait(self) -> (Finished, Port) {
        (self.running.wait(), self.port)
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(self) -> Port {
        self.running.signal("TERM");
        self.running.wait().expect_code(0);
        self.port
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.running.stderr()
    }

    /// The most memory that it has had resident, in bytes.
    pub fn peak_rss(&self) -> u64 {
        self.running.peak_rss()
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
