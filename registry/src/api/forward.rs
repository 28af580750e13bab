//! Requests that another instance must answer. Where only one of several instances writes (the `kafka` store), the others answer
//! what is asked, and pass on what changes something; so a client behind a balancer need not know who writes.
//!
//! A request is passed on once: whoever gets one that was passed on ([`Request::is_forwarded`]) answers it itself, be it with a
//! refusal, so that two instances that take each other for the writer do not play ball with it.

use super::{Endpoint, Request};
use crate::error::Result;
use async_trait::async_trait;
use bytes::Bytes;

/// Marks a request that was passed on, with the value `true`. The name is Confluent's.
pub const HEADER: &str = "x-forward";

/// Speaks to another instance.
#[async_trait]
pub trait Forward: Send + Sync + 'static {
    /// Passes a request on to the instance at this URL, marked by [`HEADER`]; gives the status and the body of the answer. An error
    /// (50003) where none came: what was asked for may have happened.
    async fn forward(&self, url: &str, request: &Request<'_>) -> Result<(u16, Bytes)>;
}

impl Endpoint {
    /// Whether what is asked for changes something.
    pub(super) fn is_change(self) -> bool {
        matches!(
            self,
            Self::Register
                | Self::DeleteSubject
                | Self::DeleteVersion
                | Self::SetConfig
                | Self::SetConfigOfSubject
                | Self::DeleteConfig
                | Self::DeleteConfigOfSubject
                | Self::SetMode
                | Self::SetModeOfSubject
                | Self::DeleteMode
                | Self::DeleteModeOfSubject
                | Self::Import
                | Self::DeleteContext
                | Self::Promote
        )
    }
}
