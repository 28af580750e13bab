//! The Kafka connection layer: what brokers are asked, over which connections, and what their answers mean.
//!
//! ```text
//!   Client --------- metadata, leaders, one control connection a broker, retries
//!     |-- offsets, groups, partitions, admin, configs: small requests through control connections
//!     |-- Fetcher            owns a connection: one fetch session, payload charged to the byte budget
//!     |-- ProduceConnection  owns a connection: pipelined produce, payload sent without a copy
//!     |-- TopicLog           a compacted topic as a log: read to its end, append once
//!     `-- GroupMember        owns a connection: membership in a group
//!   Connection ----- frames, correlation, time limits, versions;  over a Stream (TCP now, TLS at the same seam),
//!                    after an Authenticator
//! ```
//!
//! It promises: bounded time for every connect, write, wait and read; no frame larger than configured; an error that
//! names broker, request and correlation. It does not look into record batches, and it never moves a position by itself.
//! The message codecs are those of `kafka-protocol`; its record codec is not used. Brokers from Kafka 2.8 are supported:
//! since then every request used here exists in a flexible version (KIP-482), and only those are spoken.

pub mod admin;
pub mod auth;
pub mod client;
pub mod config;
pub mod configs;
pub mod connection;
pub mod error;
pub mod fetch;
mod fetch_session;
mod frame;
pub mod group;
pub mod groups;
mod leaders;
pub mod log;
pub mod metadata;
pub mod offsets;
pub mod partitions;
pub mod produce;
pub mod stream;
#[cfg(test)]
mod tests;
pub mod versions;

pub use admin::{CreatedTopic, NewTopic, Placement};
pub use auth::{Authenticator, Plaintext};
pub use client::Client;
pub use config::{ClientConfig, HostPort, Isolation};
pub use configs::{ConfigChange, ConfigEntry, ConfigResource, ConfigSource};
pub use connection::Connection;
pub use error::{ErrorClass, KafkaErrorCode, Refusal};
pub use fetch::{AbortedTransaction, FetchOutcome, FetchSettings, FetchedPartition, Fetcher, Position};
pub use group::{Beat, GroupMember, GroupSettings, Joined};
pub use groups::{CommittedOffset, ListedGroup};
pub use log::{AppendError, LogRecord, TopicLog, TopicLogSettings};
pub use metadata::{Broker, ClusterMetadata, PartitionMetadata, TopicMetadata, Topics};
pub use offsets::{At, EpochEnd, ListedOffset};
pub use partitions::ActiveProducer;
pub use produce::{Batch, PendingProduce, ProduceConnection, ProducedPartition, ProducerId};
pub use stream::{Connector, Stream, Tcp};
