//! When two schemas are the same one: the GUID, and the hash that decides whether an id is given again.

use crate::schema::{Metadata, Reference, Rule, RuleSet};
use crate::store::SchemaRow;
use md5::{Digest, Md5};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What must be equal for a schema to get an id again. Fixed for a store: ids that were given one way mean something else in the
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Identity {
    /// The GUID, so text, references, metadata and rules: an id names one of each.
    #[default]
    Confluent,
    /// What decides how bytes are read ([`content`]): Avro's Parsing Canonical Form, JSON with sorted members, normalised Protobuf.
    /// Texts that differ in documentation, aliases, defaults or labels are versions with one id.
    Axonops,
}

impl Identity {
    /// Its name in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Confluent => "confluent",
            Self::Axonops => "axonops",
        }
    }

    /// The other one.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Confluent => Self::Axonops,
            Self::Axonops => Self::Confluent,
        }
    }

    /// Whether a schema got its id this way.
    pub(crate) fn numbered(self, row: &SchemaRow) -> bool {
        (row.identity == *row.guid.as_bytes()) == (self == Self::Confluent)
    }
}

/// Confluent's GUID: the MD5 over the canonical text, the references, the metadata and the rules, as a UUID. The type of
/// the schema and its context are no part of it.
pub fn guid(
    text: &str,
    references: &[Reference],
    metadata: Option<&Metadata>,
    rules: Option<&RuleSet>,
) -> Uuid {
    Content::new(text, references).guid(metadata, rules)
}

/// A text with its references, hashed once for whatever labels it has.
#[derive(Debug, Clone)]
pub struct Content(Md5);

impl Content {
    /// Hashes text and references.
    pub fn new(text: &str, references: &[Reference]) -> Self {
        let mut hash = Md5::new();
        hash.update(text);
        for reference in references {
            hash.update(&reference.name);
            hash.update(&reference.subject);
            hash.update(reference.version.to_be_bytes());
        }
        Self(hash)
    }

    /// The GUID with these labels.
    pub fn guid(&self, metadata: Option<&Metadata>, rules: Option<&RuleSet>) -> Uuid {
        let mut hash = self.0.clone();
        if let Some(metadata) = metadata {
            hash.update([1]);
            add_tags(&mut hash, metadata.tags.as_ref());
            add_pairs(&mut hash, metadata.properties.as_ref());
            add_names(&mut hash, metadata.sensitive.as_ref());
        }
        if let Some(rules) = rules {
            hash.update([1]);
            let lists = [&rules.migration_rules, &rules.domain_rules, &rules.encoding_rules];
            lists.into_iter().flatten().flatten().for_each(|rule| add_rule(&mut hash, rule));
            add(&mut hash, rules.enable_at.as_deref());
        }
        Uuid::from_bytes(hash.finalize().into())
    }
}

/// The hash over what decides how bytes are read: a reduced text and what it refers to. Documentation, metadata and rules are no
/// part of it.
pub fn content(reduced: &str, references: &[Reference]) -> [u8; 16] {
    let mut hash = Md5::new();
    let mut part = |bytes: &[u8]| {
        // Lengths, so that no two lists of parts run into the same bytes.
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(reduced.as_bytes());
    for reference in references {
        part(reference.name.as_bytes());
        part(reference.subject.as_bytes());
        part(&reference.version.to_be_bytes());
    }
    hash.finalize().into()
}

fn add(hash: &mut Md5, text: Option<&str>) {
    if let Some(text) = text {
        hash.update(text);
    }
}

fn add_names(hash: &mut Md5, names: Option<&BTreeSet<String>>) {
    for name in names.into_iter().flatten() {
        hash.update(name);
    }
}

fn add_pairs(hash: &mut Md5, pairs: Option<&BTreeMap<String, String>>) {
    for (name, value) in pairs.into_iter().flatten() {
        hash.update(name);
        hash.update(value);
    }
}

fn add_tags(hash: &mut Md5, tags: Option<&BTreeMap<String, BTreeSet<String>>>) {
    for (path, names) in tags.into_iter().flatten() {
        hash.update(path);
        add_names(hash, Some(names));
    }
}

fn add_rule(hash: &mut Md5, rule: &Rule) {
    hash.update(&rule.name);
    add(hash, rule.doc.as_deref());
    add(hash, rule.kind.map(|kind| kind.name()));
    add(hash, rule.mode.map(|mode| mode.name()));
    add(hash, rule.rule_type.as_deref());
    add_names(hash, rule.tags.as_ref());
    add_pairs(hash, rule.params.as_ref());
    add(hash, rule.expr.as_deref());
    add(hash, rule.on_success.as_deref());
    add(hash, rule.on_failure.as_deref());
    if rule.disabled {
        hash.update([1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guid_is_that_of_confluent() {
        let expected = "095d71cf-1255-6b9d-5e33-0ad575b3df5d";
        assert_eq!(guid("\"string\"", &[], None, None).to_string(), expected);
    }

    #[test]
    fn empty_metadata_is_not_no_metadata() {
        let without = guid("\"int\"", &[], None, None);
        assert_ne!(without, guid("\"int\"", &[], Some(&Metadata::default()), None));
    }
}
