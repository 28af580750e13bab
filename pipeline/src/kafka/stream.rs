//! Byte streams to brokers: TCP here. TLS is another [`Connector`] around it; nothing above this file knows which.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::config::{HostPort, TcpSettings};
use crate::{Error, Result};

/// A connected byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes byte streams.
#[async_trait]
pub trait Connector: fmt::Debug + Send + Sync {
    /// Connects to a server within the limit.
    ///
    /// # Errors
    /// Retriable where the server may come up later: unknown name, refused, time-out.
    async fn connect(&self, server: &HostPort, limit: Duration) -> Result<Box<dyn Stream>>;
}

/// Plain TCP.
#[derive(Debug, Clone)]
pub struct Tcp {
    settings: TcpSettings,
}

impl Tcp {
    /// Plain TCP with socket options.
    pub fn new(settings: TcpSettings) -> Self {
        Self { settings }
    }

    /// Connects, trying each address of the host in turn, and sets the socket's options.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn open(&self, server: &HostPort, limit: Duration) -> Result<TcpStream> {
        let attempt = async {
            let addresses: Vec<_> = lookup_host((server.host.as_str(), server.port))
                .await
                .map_err(|error| Error::retry(format!("cannot look up {server}")).caused_by(error))?
                .collect();
            let mut last = Error::retry(format!("{server} has no address"));
            for (done, address) in addresses.iter().enumerate() {
                // One address that swallows packets must not use up the time of those after it.
                let share = limit / u32::try_from(addresses.len() - done).unwrap_or(u32::MAX);
                match timeout(share, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => return self.set_up(server, stream),
                    Ok(Err(error)) => {
                        last =
                            Error::retry(format!("cannot connect to {server} ({address})")).caused_by(error);
                    }
                    Err(_) => {
                        last = Error::retry(format!("no connection to {server} ({address}) within {share:?}"))
                    }
                }
            }
            Err(last)
        };
        timeout(limit, attempt)
            .await
            .unwrap_or_else(|_| Err(Error::retry(format!("no connection to {server} within {limit:?}"))))
    }

    fn set_up(&self, server: &HostPort, stream: TcpStream) -> Result<TcpStream> {
        let set = || {
            stream.set_nodelay(self.settings.nodelay)?;
            if let Some(keepalive) = &self.settings.keepalive {
                let options = TcpKeepalive::new().with_time(keepalive.time).with_interval(keepalive.interval);
                SockRef::from(&stream).set_tcp_keepalive(&options)?;
            }
            Ok::<_, std::io::Error>(())
        };
        set().map_err(|error| {
            Error::retry(format!("cannot set socket options towards {server}")).caused_by(error)
        })?;
        Ok(stream)
    }
}

#[async_trait]
impl Connector for Tcp {
    async fn connect(&self, server: &HostPort, limit: Duration) -> Result<Box<dyn Stream>> {
        Ok(Box::new(self.open(server, limit).await?))
    }
}
