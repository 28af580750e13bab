//! Who we are towards a broker: the seam, and the one implementation that says nothing.
//!
//! An authenticator runs on a fresh connection after ApiVersions and before any other request, so SASL (handshake and
//! authenticate requests) fits in without the connection knowing about it.

use std::fmt;

use async_trait::async_trait;

use super::connection::Connection;
use crate::Result;

/// Introduces the client on a fresh connection.
#[async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// Exchanges whatever the mechanism needs by requests on the connection.
    ///
    /// # Errors
    /// Of kind `Credentials` where the broker refuses us; those of the connection otherwise.
    async fn authenticate(&self, connection: &Connection) -> Result<()>;
}

/// No authentication: listeners of `PLAINTEXT` and `SSL`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plaintext;

#[async_trait]
impl Authenticator for Plaintext {
    async fn authenticate(&self, _connection: &Connection) -> Result<()> {
        Ok(())
    }
}
