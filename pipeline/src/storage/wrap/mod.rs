//! Stores around stores, each adding one thing.

mod prefix;

pub use prefix::Prefixed;
