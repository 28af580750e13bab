//! Schemas as the data plane knows them: documents that lie in a backup, from a source that is asked for everything it has.
//!
//! ```text
//! source --walk--> writer: text objects, then snapshots of what is new --> op `schemas` of a commit      views for people
//!                  reader: snapshots back to where an account begins --> catalog --> texts on demand
//! entries of scanned segments --> radar: ids that the catalog does not have, schemas that no data uses
//! ```
//! What a schema means, and how a registry is asked, is not known here: the daemon joins this to the registry's client.

mod known;
mod opened;
mod radar;
mod read;
mod select;
#[cfg(test)]
pub(crate) mod shelf;
mod source;
#[cfg(test)]
mod tests;
mod views;
mod write;

pub(crate) use known::KnownIds;
pub use known::UnknownId;
pub use opened::Opened;
pub use radar::{Beyond, Radar, RadarReport, Unframed, UnknownSchema, UnusedSchema};
pub use read::SchemaArchive;
pub(crate) use read::{read_file, read_snapshot};
pub use select::SchemaSelection;
pub use source::{Depth, Found, FoundVersion, SchemaSource};
pub use write::{SchemaWriter, Walked};
