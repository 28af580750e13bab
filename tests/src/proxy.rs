//! Toxiproxy: a proxy a server, with faults that are put in and taken out while connections run.

use crate::http;
use crate::process::{self, Process};
use crate::scratch::{Port, Scratch, installed};
use serde_json::{Value, json};
use std::time::Duration;

/// A running Toxiproxy; killed when dropped, with all its proxies.
#[derive(Debug)]
pub struct Toxiproxy {
    api: Port,
    _process: Process,
    _scratch: Scratch,
}

/// Which way a fault works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// On what the client sends.
    ToServer,
    /// On what the server answers.
    ToClient,
}

/// A fault; as Toxiproxy's manual describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toxic {
    /// Delays everything by so many milliseconds, give or take the jitter.
    Latency {
        /// Milliseconds.
        ms: u64,
        /// Milliseconds either way.
        jitter_ms: u64,
    },
    /// Lets nothing through and closes after so many milliseconds; with 0 it never closes.
    Timeout {
        /// Milliseconds.
        ms: u64,
    },
    /// Resets the connection (RST) after so many milliseconds.
    ResetPeer {
        /// Milliseconds.
        ms: u64,
    },
    /// Delays the closing of the connection.
    SlowClose {
        /// Milliseconds.
        ms: u64,
    },
    /// Closes the connection once so many bytes have passed.
    LimitData {
        /// Bytes, counted for each connection by itself.
        bytes: u64,
    },
    /// Lets so much through and no more.
    Bandwidth {
        /// Units of 1,000 bytes a second.
        kb_per_second: u64,
    },
}

impl Toxic {
    fn parts(self) -> (&'static str, Value) {
        match self {
            Self::Latency { ms, jitter_ms } => ("latency", json!({"latency": ms, "jitter": jitter_ms})),
            Self::Timeout { ms } => ("timeout", json!({"timeout": ms})),
            Self::ResetPeer { ms } => ("reset_peer", json!({"timeout": ms})),
            Self::SlowClose { ms } => ("slow_close", json!({"delay": ms})),
            Self::LimitData { bytes } => ("limit_data", json!({"bytes": bytes})),
            Self::Bandwidth { kb_per_second } => ("bandwidth", json!({"rate": kb_per_second})),
        }
    }
}

impl Toxiproxy {
    /// Starts the server.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        let scratch = Scratch::new("toxiproxy");
        let api = Port::reserve();
        let mut command = process::command(installed("toxiproxy").join("toxiproxy-server"));
        command.args(["-host", "127.0.0.1", "-port", &api.number().to_string()]);
        let mut process = Process::start("toxiproxy", command, &scratch.path().join("server.log"));
        process.wait_ready(Duration::from_secs(30), |_| {
            http::request(&api.address(), "GET", "/version", &[], &[])
        });
        Self { api, _process: process, _scratch: scratch }
    }

    /// A proxy in front of `upstream` (`host:port`), without faults at first.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn proxy(&self, upstream: &str) -> Proxy {
        let listen = Port::reserve();
        let proxy = Proxy { api: self.api.address(), name: format!("p{}", listen.number()), listen };
        let body = json!({
            "name": proxy.name, "listen": proxy.address(), "upstream": upstream, "enabled": true,
        });
        proxy.call("POST", "/proxies", &body);
        proxy
    }
}

/// One proxy; usable as long as its [`Toxiproxy`] lives.
#[derive(Debug)]
pub struct Proxy {
    api: String,
    name: String,
    listen: Port,
}

impl Proxy {
    /// Where it listens, `host:port`.
    pub fn address(&self) -> String {
        self.listen.address()
    }

    /// Puts a fault in, for open and new connections, and answers its name. At most one of each kind and direction.
    ///
    /// # Panics
    /// When Toxiproxy refuses it.
    pub fn add(&self, toxic: Toxic, direction: Direction) -> String {
        let (kind, attributes) = toxic.parts();
        let stream = match direction {
            Direction::ToServer => "upstream",
            Direction::ToClient => "downstream",
        };
        let name = format!("{kind}_{stream}");
        let body =
            json!({"name": name, "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes});
        self.call("POST", &format!("/proxies/{}/toxics", self.name), &body);
        name
    }

    /// Takes a fault out again.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn remove(&self, toxic: &str) {
        self.call("DELETE", &format!("/proxies/{}/toxics/{toxic}", self.name), &Value::Null);
    }

    /// Refuses new connections and closes the open ones, until [`Proxy::enable`].
    pub fn disable(&self) {
        self.set_enabled(false);
    }

    /// Takes connections again.
    pub fn enable(&self) {
        self.set_enabled(true);
    }

    fn set_enabled(&self, enabled: bool) {
        self.call("POST", &format!("/proxies/{}", self.name), &json!({"enabled": enabled}));
    }

    fn call(&self, method: &str, path: &str, body: &Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        match http::request(&self.api, method, path, &[("Content-Type", "application/json")], &body) {
            Ok(answer) if (200..300).contains(&answer.status) => {}
            Ok(answer) => panic!("toxiproxy: {method} {path}: {} {}", answer.status, answer.text()),
            Err(error) => panic!("toxiproxy: {error}"),
        }
    }
}
