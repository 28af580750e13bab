//! Object keys: the only place that makes or parses one. Keys are relative to the backup's folder.
//!
//! ```text
//! repository.json
//! commits/<seq>                                          seq: 20 digits, from 1
//! checkpoints/<seq>/root                                 the state after commit seq
//! checkpoints/<seq>/<32 hex digits>                      a page, named by the first half of its BLAKE3
//! kafka/<topic>/<partition>/<lineage>/<first>-<incarnation>-<counter>.seg
//! packs/<incarnation>-<counter>.pack                     many segments in one object
//! schema-registry/snapshots/<seq>-<incarnation>.json     what became true of the schemas (see [`crate::schemas`])
//! schema-registry/...                                    schemas, and views of them
//! groups/<seq>-<incarnation>.json                        consumer group offsets
//! cluster/<seq>-<incarnation>.json                       topic configurations, partition counts
//! restores/<32 hex digits>/<number>.json                 the journal of a restore, where asked to lie in the store
//! probes/<32 hex digits>                                 what a store was tried with, deleted at once
//! manifest.json                                          a view for people
//! ```
//! `first` is 20 digits, `lineage` and `incarnation` 16 hexadecimal digits, `counter` at least 6 digits. A key is never
//! reused: an incarnation is drawn at random once and its counter only grows.

use crate::hash::Hash;
use crate::ids::{Incarnation, LineageId, RestoreId, Topic, TopicPartition};
use crate::{Error, Result};

/// The key of `repository.json`.
pub const REPOSITORY: &str = "repository.json";
/// The key of the view for people.
pub const MANIFEST: &str = "manifest.json";
/// The folder of the commits.
pub const COMMITS: &str = "commits/";
/// The folder of the checkpoints.
pub const CHECKPOINTS: &str = "checkpoints/";
/// The folder of segments that have an object of their own.
pub const KAFKA: &str = "kafka/";
/// The folder of packs.
pub const PACKS: &str = "packs/";
/// The folder of the schemas.
pub const SCHEMA_REGISTRY: &str = "schema-registry/";
/// The folder of the schemas' snapshots.
pub const SCHEMA_SNAPSHOTS: &str = "schema-registry/snapshots/";
/// The folder of the consumer group snapshots.
pub const GROUPS: &str = "groups/";
/// The folder of the cluster snapshots.
pub const CLUSTER: &str = "cluster/";
/// The folder of the journals of restores.
pub const RESTORES: &str = "restores/";
/// The folder of objects that a store is tried with.
pub const PROBES: &str = "probes/";

/// What an object key names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectName {
    /// `repository.json`.
    Repository,
    /// `manifest.json`.
    Manifest,
    /// A commit.
    Commit(u64),
    /// The root of a checkpoint.
    CheckpointRoot(u64),
    /// A page of a checkpoint: the commit it was written after, and the first 16 bytes of its hash.
    CheckpointPage(u64, [u8; 16]),
    /// A segment with an object of its own.
    Segment(SegmentName),
    /// A pack.
    Pack(Incarnation, u32),
    /// A snapshot of consumer groups.
    Groups(u64, Incarnation),
    /// A snapshot of the cluster's settings.
    Cluster(u64, Incarnation),
    /// An entry of a restore's journal: the restore's id, and the entry's number from 1.
    Restore(RestoreId, u64),
    /// What a store was tried with, and the number that makes its key unlike any other.
    Probe(u128),
    /// A snapshot of the schemas.
    SchemaSnapshot(u64, Incarnation),
    /// Anything else below `schema-registry/`.
    SchemaRegistry(String),
}

/// The parts of a segment's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentName {
    /// Whose records it holds.
    pub partition: TopicPartition,
    /// Which history of the partition.
    pub lineage: LineageId,
    /// Its first offset.
    pub first: i64,
    /// Who wrote it.
    pub incarnation: Incarnation,
    /// The how-manieth object of that writer.
    pub counter: u32,
}

impl ObjectName {
    /// A page named by its content.
    pub fn page(seq: u64, content: Hash) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&content.0[..16]);
        Self::CheckpointPage(seq, half)
    }

    /// The key.
    pub fn key(&self) -> String {
        match self {
            Self::Repository => REPOSITORY.into(),
            Self::Manifest => MANIFEST.into(),
            Self::Commit(seq) => format!("{COMMITS}{seq:020}"),
            Self::CheckpointRoot(seq) => format!("{CHECKPOINTS}{seq:020}/root"),
            Self::CheckpointPage(seq, half) => {
                format!("{CHECKPOINTS}{seq:020}/{:032x}", u128::from_be_bytes(*half))
            }
            Self::Segment(name) => {
                let SegmentName { partition, lineage, first, incarnation, counter } = name;
                let TopicPartition { topic, partition } = partition;
                format!("{KAFKA}{topic}/{partition}/{lineage}/{first:020}-{incarnation}-{counter:06}.seg")
            }
            Self::Pack(incarnation, counter) => format!("{PACKS}{incarnation}-{counter:06}.pack"),
            Self::Groups(seq, incarnation) => format!("{GROUPS}{seq:020}-{incarnation}.json"),
            Self::Cluster(seq, incarnation) => format!("{CLUSTER}{seq:020}-{incarnation}.json"),
            Self::Restore(id, number) => format!("{RESTORES}{id}/{number:06}.json"),
            Self::Probe(number) => format!("{PROBES}{number:032x}"),
            Self::SchemaSnapshot(seq, incarnation) => {
                format!("{SCHEMA_SNAPSHOTS}{seq:020}-{incarnation}.json")
            }
            Self::SchemaRegistry(rest) => format!("{SCHEMA_REGISTRY}{rest}"),
        }
    }

    /// Parses a key: exactly the inverse of [`ObjectName::key`], so that nothing has two names.
    ///
    /// # Errors
    /// A key that this layout does not have.
    pub fn parse(key: &str) -> Result<Self> {
        let unknown = || Error::invalid(format!("{key:?} is not a key of this layout"));
        let name = Self::parse_parts(key).ok_or_else(unknown)?;
        if name.key() == key { Ok(name) } else { Err(unknown()) }
    }

    fn parse_parts(key: &str) -> Option<Self> {
        match key {
            REPOSITORY => return Some(Self::Repository),
            MANIFEST => return Some(Self::Manifest),
            _ => {}
        }
        if let Some(rest) = key.strip_prefix(COMMITS) {
            return Some(Self::Commit(rest.parse().ok()?));
        }
        if let Some(rest) = key.strip_prefix(CHECKPOINTS) {
            let (seq, page) = rest.split_once('/')?;
            let seq = seq.parse().ok()?;
            if page == "root" {
                return Some(Self::CheckpointRoot(seq));
            }
            return Some(Self::CheckpointPage(seq, u128::from_str_radix(page, 16).ok()?.to_be_bytes()));
        }
        if let Some(rest) = key.strip_prefix(KAFKA) {
            let mut parts = rest.split('/');
            let (topic, partition) = (parts.next()?, parts.next()?);
            let (lineage, file) = (parts.next()?, parts.next()?);
            let (first, rest) = file.strip_suffix(".seg")?.split_once('-')?;
            let (incarnation, counter) = rest.split_once('-')?;
            if parts.next().is_some() {
                return None;
            }
            return Some(Self::Segment(SegmentName {
                partition: TopicPartition::new(Topic::new(topic).ok()?, partition.parse().ok()?),
                lineage: lineage.parse().ok()?,
                first: first.parse().ok()?,
                incarnation: incarnation.parse().ok()?,
                counter: counter.parse().ok()?,
            }));
        }
        if let Some(rest) = key.strip_prefix(PACKS) {
            let (incarnation, counter) = rest.strip_suffix(".pack")?.split_once('-')?;
            return Some(Self::Pack(incarnation.parse().ok()?, counter.parse().ok()?));
        }
        let snapshot = |rest: &str| -> Option<(u64, Incarnation)> {
            let (seq, incarnation) = rest.strip_suffix(".json")?.split_once('-')?;
            Some((seq.parse().ok()?, incarnation.parse().ok()?))
        };
        if let Some(rest) = key.strip_prefix(GROUPS) {
            let (seq, incarnation) = snapshot(rest)?;
            return Some(Self::Groups(seq, incarnation));
        }
        if let Some(rest) = key.strip_prefix(CLUSTER) {
            let (seq, incarnation) = snapshot(rest)?;
            return Some(Self::Cluster(seq, incarnation));
        }
        if let Some(rest) = key.strip_prefix(RESTORES) {
            let (id, number) = rest.strip_suffix(".json")?.split_once('/')?;
            return Some(Self::Restore(id.parse().ok()?, number.parse().ok()?));
        }
        if let Some(rest) = key.strip_prefix(PROBES) {
            return Some(Self::Probe(u128::from_str_radix(rest, 16).ok()?));
        }
        if let Some(rest) = key.strip_prefix(SCHEMA_SNAPSHOTS) {
            let (seq, incarnation) = snapshot(rest)?;
            return Some(Self::SchemaSnapshot(seq, incarnation));
        }
        key.strip_prefix(SCHEMA_REGISTRY).map(|rest| Self::SchemaRegistry(rest.to_owned()))
    }

    /// Who wrote the object, where the key says so. An incarnation must be retired before its orphans are deleted.
    pub fn incarnation(&self) -> Option<Incarnation> {
        match self {
            Self::Segment(name) => Some(name.incarnation),
            Self::Pack(incarnation, _)
            | Self::Groups(_, incarnation)
            | Self::Cluster(_, incarnation)
            | Self::SchemaSnapshot(_, incarnation) => Some(*incarnation),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> impl Strategy<Value = ObjectName> {
        let topic = "[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,60}".prop_map(|t| Topic::new(t).expect("legal"));
        prop_oneof![
            Just(ObjectName::Repository),
            Just(ObjectName::Manifest),
            any::<u64>().prop_map(ObjectName::Commit),
            any::<u64>().prop_map(ObjectName::CheckpointRoot),
            (any::<u64>(), any::<[u8; 16]>()).prop_map(|(s, h)| ObjectName::CheckpointPage(s, h)),
            (any::<u64>(), any::<u32>()).prop_map(|(i, c)| ObjectName::Pack(Incarnation(i), c)),
            (any::<u64>(), any::<u64>()).prop_map(|(s, i)| ObjectName::Groups(s, Incarnation(i))),
            (any::<u64>(), any::<u64>()).prop_map(|(s, i)| ObjectName::SchemaSnapshot(s, Incarnation(i))),
            (any::<u64>(), any::<u64>()).prop_map(|(s, i)| ObjectName::Cluster(s, Incarnation(i))),
            (any::<u128>(), any::<u64>()).prop_map(|(r, n)| ObjectName::Restore(RestoreId(r), n)),
            any::<u128>().prop_map(ObjectName::Probe),
            (topic, 0..i32::MAX, any::<u64>(), 0..i64::MAX, any::<u64>(), any::<u32>()).prop_map(
                |(topic, partition, lineage, first, incarnation, counter)| {
                    ObjectName::Segment(SegmentName {
                        partition: TopicPartition::new(topic, partition),
                        lineage: LineageId(lineage),
                        first,
                        incarnation: Incarnation(incarnation),
                        counter,
                    })
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn every_name_has_one_key_and_every_key_one_name(name in names()) {
            prop_assert_eq!(ObjectName::parse(&name.key()).expect("parses"), name);
        }

        #[test]
        fn arbitrary_keys_never_panic(key in "\\PC{0,80}") {
            let _ = ObjectName::parse(&key);
        }
    }

    #[test]
    fn a_second_spelling_of_a_key_is_refused() {
        for key in ["commits/1", "commits/+0000000000000000001", "packs/00000000000000AB-000001.pack"] {
            assert!(ObjectName::parse(key).is_err(), "{key}");
        }
    }
}
