//! Whole systems for the tests: real servers, started and killed from Rust, and clients that are not ours to judge by.
//!
//! `tests/install.sh NAME...` puts the servers in place; everything here finds them in the cache folder and says which
//! name to install when one is missing. All calls block, also those made from asynchronous tests: a test has nothing better
//! to do. A failure panics with the server's own last words.
//!
//! Not here: the tests themselves (`tests/tests/`), and any of Replevin's own code, which is no judge of Replevin.

pub mod azure;
pub mod binary;
pub mod cassandra;
pub mod certificates;
pub mod client;
pub mod cutter;
pub mod fake_kafka;
pub mod fixtures;
pub mod front;
pub mod gcs;
pub mod http;
pub mod job;
pub mod kafka;
pub mod kafka_tools;
pub mod mariadb;
pub mod names;
pub mod notify;
pub mod postgres;
pub mod process;
pub mod promql;
pub mod proxy;
pub mod pushgateway;
pub mod questions;
pub mod raw;
pub mod registry;
pub mod s3;
pub mod scratch;
mod signing;
pub mod travel;
