//! Settings of a Kafka client: values only. What they mean on the wire is the business of the other files.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{Error, Result};

/// How a cluster is reached, and how long anything may take.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Where to ask first for the brokers of the cluster.
    pub bootstrap_servers: Vec<HostPort>,
    /// The name that brokers see in their logs and quotas.
    pub client_id: String,
    /// The rack that this client is in, for fetching from a near replica (KIP-392).
    pub client_rack: Option<String>,
    /// How many fetch connections are kept to one broker. A broker serves one connection serially.
    pub connections_per_broker: usize,
    /// The limit for name lookup and TCP connect together, and for the handshake after it.
    pub connect_timeout: Duration,
    /// The limit from a request written to the first byte of its answer, on top of what the request itself lets the broker wait.
    pub request_timeout: Duration,
    /// The limit for no progress while an answer's body is read or a request is written. Progress means 16 KiB, or the rest.
    pub body_timeout: Duration,
    /// The largest answer that is read, in bytes.
    pub max_frame_bytes: usize,
    /// The sockets.
    pub tcp: TcpSettings,
    /// The age at which cluster metadata is asked for again without cause.
    pub metadata_max_age: Duration,
    /// Attempts after passing trouble.
    pub retry: RetrySettings,
}

/// Options of TCP sockets.
#[derive(Debug, Clone)]
pub struct TcpSettings {
    /// Sends small requests at once (`TCP_NODELAY`).
    pub nodelay: bool,
    /// Finds a peer that vanished without a word; none switches it off.
    pub keepalive: Option<Keepalive>,
}

/// TCP keep-alive.
#[derive(Debug, Clone)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub time: Duration,
    /// Pause between probes.
    pub interval: Duration,
}

/// Attempts after passing trouble.
#[derive(Debug, Clone)]
pub struct RetrySettings {
    /// How long one operation is tried in all.
    pub deadline: Duration,
    /// The pause before the second attempt; doubled each time, with jitter.
    pub base: Duration,
    /// The longest pause.
    pub cap: Duration,
}

impl ClientConfig {
    /// The defaults, for a cluster reached at these servers.
    pub fn new(bootstrap_servers: Vec<HostPort>) -> Self {
        Self {
            bootstrap_servers,
            client_id: "replevin".to_owned(),
            client_rack: None,
            connections_per_broker: 2,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            max_frame_bytes: 256 << 20,
            tcp: TcpSettings {
                nodelay: true,
                keepalive: Some(Keepalive {
                    time: Duration::from_secs(60),
                    interval: Duration::from_secs(15),
                }),
            },
            metadata_max_age: Duration::from_secs(60),
            retry: RetrySettings {
                deadline: Duration::from_secs(60),
                base: Duration::from_millis(100),
                cap: Duration::from_secs(5),
            },
        }
    }
}

/// A host, or an IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl HostPort {
    /// A host and a port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl FromStr for HostPort {
    type Err = Error;

    /// Reads `host:port` or `[ipv6]:port`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::input(format!("bootstrap server {text:?} {why}"))
                .hint("write host:port, for example kafka-1.example.org:9092 or [::1]:9092")
        };
        let text = text.trim();
        if text.contains("://") {
            return Err(wrong("has a scheme"));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(|| wrong("has an unclosed bracket"))?,
            None if host.contains(':') => {
                return Err(wrong("is an IPv6 address without brackets, or has two ports"));
            }
            None => host,
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | '/' | ','))
        {
            return Err(wrong("has no legal host"));
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("has no legal port"))?;
        Ok(Self::new(host, port))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What a reader sees of open and aborted transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Everything up to the high watermark.
    ReadUncommitted,
    /// Everything up to the last stable offset, with the list of aborted transactions.
    ReadCommitted,
}

impl Isolation {
    /// The number on the wire.
    pub(crate) fn level(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port_with_ipv6_in_brackets() {
        for (text, host, port) in [
            ("a.b-c:9092", "a.b-c", 9092),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[::1]:9092", "::1", 9092),
            (" h:2 ", "h", 2),
        ] {
            let server: HostPort = text.parse().expect(text);
            assert_eq!(server, HostPort::new(host, port));
            assert_eq!(server.to_string(), text.trim());
        }
        for text in [
            "",
            "host",
            "host:",
            "host:0",
            "host:70000",
            "::1:9092",
            "[::1:9092",
            ":9092",
            "http://h:1",
            "a b:1",
            "a,b:1",
        ] {
            let error = text.parse::<HostPort>().expect_err(text);
            assert_eq!(error.kind(), crate::ErrorKind::Input, "{text}");
        }
    }
}
