//! Moves Kafka's record batches between brokers and object storage.
//!
//! The stages of backup and restore, the Kafka connection layer and the object stores. What the bytes mean is the
//! business of `formats`; what a person sees is the business of `daemon`.

pub mod archive;
pub mod backup;
pub mod budget;
pub mod commit_log;
pub mod dump;
pub mod error;
pub mod failpoint;
pub mod kafka;
pub mod migrate;
pub mod prune;
mod ranges;
mod rate;
pub mod restore;
pub mod schemas;
pub mod seam;
pub mod secret;
pub mod select;
mod source;
pub mod stage;
pub mod storage;
mod target;
pub mod verify;

pub use error::{Error, ErrorKind, Result};
