//! Bytes and types of a Replevin backup.
//!
//! Everything here is a pure function from bytes to types or back: no I/O, no async, no clock, no randomness. The
//! byte-level contract is `formats/FORMAT.md`; this crate is its reference implementation.

pub mod checkpoint;
pub mod cluster;
pub mod codec;
pub mod commit;
pub mod control;
pub mod digest;
pub mod document;
pub mod error;
#[cfg(test)]
mod golden;
pub mod hash;
pub mod ids;
pub mod message_set;
pub mod paths;
pub mod rebuild;
pub mod record;
pub mod record_batch;
pub mod repository;
pub mod rewrite;
#[cfg(test)]
mod sample;
pub mod schema_ids;
pub mod schemas;
pub mod segment;
pub mod state;
pub mod transactions;
pub mod varint;
pub mod wire;

pub use error::{Error, ErrorKind, Result};
