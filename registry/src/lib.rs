//! The schema registry: what `replevin registry` serves, as a library.
//!
//! ```text
//!   api  ->  service  ->  state (a context's subjects, versions, config, mode)  ->  store
//!              |
//!              +->  parse (text -> canonical text, identity)      compat (reader, writer -> differences)
//! ```
//!
//! `parse` and `compat` are pure functions: no I/O, no clock, and nothing shared between two calls, so what one subject
//! registered can never change what another one's text means. So is `payload`, which says whether bytes are a message of a
//! schema.
//!
//! With the feature `client` it also talks to registries: `client` asks one, `transfer` moves all of it somewhere else, `standby` keeps
//! a store like it.

pub mod api;
#[cfg(feature = "client")]
pub mod client;
pub mod compat;
pub mod error;
mod few;
mod glob;
pub mod identity;
pub mod json;
pub mod live;
pub mod metrics;
pub mod names;
pub mod parse;
pub mod payload;
pub mod schema;
pub mod secret;
pub mod service;
pub mod settings;
pub mod standby;
pub mod state;
pub mod store;
#[cfg(feature = "client")]
pub mod transfer;
