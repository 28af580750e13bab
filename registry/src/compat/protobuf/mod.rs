//! Whether a reader with one Protobuf schema can read what was written with another: Confluent's rules, by its names and
//! paths.
//!
//! Fields are matched by number, whatever oneof they stand in; scalars that are encoded alike may replace each other;
//! messages and enums are matched by name. Types from imported files are compared wherever a field uses them; services,
//! options and extensions are not compared.
//!
//! Stricter than Confluent's in two points, because its answer "compatible" would leave data that no reader can read:
//!
//! - A field that becomes `required` is REQUIRED_FIELD_ADDED whatever its type; Confluent sees only numbers that had a
//!   label before.
//! - A group is a field whose type is a message, and is compared as one; Confluent does not see groups.
//!
//! In [`Difference::confluent`] the first `%s` stands for the reader's word (`new` when backward compatibility is
//! checked), the second for the writer's.
//!
//! Weaker than it could be, as Confluent's is: a number without a label that becomes repeated (or the other way round),
//! bytes that become a string although they may be no UTF-8, an enum value that is taken away although a required field
//! of proto2 may have it, and extensions.

mod rules;
#[cfg(test)]
mod tests;
mod walk;

use super::Difference;
use crate::parse::protobuf::Protobuf;

/// How many differences are told; a schema that has nothing in common with another one need not list everything.
const MAX_DIFFERENCES: usize = 100;

/// Why a reader cannot read what a writer wrote: empty if it can. At most 100 differences.
pub fn differences(reader: &Protobuf, writer: &Protobuf) -> Vec<Difference> {
    let all = walk::changes(reader, writer);
    let incompatible = all.iter().filter(|change| !change.rule.compatible());
    incompatible.take(MAX_DIFFERENCES).map(rules::Change::difference).collect()
}

/// Everything that changed from a writer's to a reader's schema, also what is compatible. At most 100 changes, the
/// incompatible ones first.
pub fn changes(reader: &Protobuf, writer: &Protobuf) -> Vec<Difference> {
    let mut all = walk::changes(reader, writer);
    all.sort_by_key(|change| change.rule.compatible());
    all.iter().take(MAX_DIFFERENCES).map(rules::Change::difference).collect()
}
