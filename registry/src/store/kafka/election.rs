//! Who writes: the words that instances exchange through a Kafka group, in Confluent's JSON, so that ours, Confluent's and
//! Karapace's elect one writer among them. The group itself is the business of whoever fills the log.
//!
//! ```text
//! member -> group     {version, host, port, master_eligibility, scheme}
//! group  -> member    {version, error, master, master_identity}      the same for all, made by one of them
//! ```
//! Elected is the eligible member with the smallest URL.

use super::log::Writer;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;

/// The type of the group's protocol.
pub const PROTOCOL_TYPE: &str = "sr";
/// The name of the only protocol.
pub const PROTOCOL: &str = "v0";
/// Two members have the same URL.
const DUPLICATE_URLS: i16 = 1;

/// An instance, as the others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    #[serde(default = "one")]
    version: i32,
    host: String,
    port: u16,
    #[serde(rename = "master_eligibility", default)]
    eligible: bool,
    #[serde(default = "http")]
    scheme: String,
}

fn one() -> i32 {
    1
}

fn http() -> String {
    "http".to_owned()
}

impl Identity {
    /// An instance that others reach at this address. `eligible`: it may be elected.
    pub fn new(scheme: impl Into<String>, host: impl Into<String>, port: u16, eligible: bool) -> Self {
        Self { version: 1, host: host.into(), port, eligible, scheme: scheme.into() }
    }

    /// What a member tells the group.
    pub fn metadata(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The URL that others reach it at.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An IPv6 address needs its brackets, but may be given with them.
        if self.host.contains(':') && !self.host.starts_with('[') {
            write!(f, "{}://[{}]:{}", self.scheme, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Assignment {
    #[serde(default = "one")]
    version: i32,
    #[serde(default)]
    error: i16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master_identity: Option<Identity>,
}

/// What each member is told, where this instance makes the assignment: members by id, with what they told the group.
pub fn assign<'a>(members: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<(String, Vec<u8>)> {
    let members: Vec<(&str, Option<Identity>)> = members
        .into_iter()
        .map(|(id, metadata)| {
            let identity = serde_json::from_slice(metadata);
            if let Err(error) = &identity {
                tracing::warn!(member = id, %error, "a member of the registry's group says what cannot be read, and is not elected");
            }
            (id, identity.ok())
        })
        .collect();
    let known = || members.iter().filter_map(|(id, identity)| Some((*id, identity.as_ref()?)));
    let mut urls = HashSet::new();
    let twice = !known().all(|(_, identity)| urls.insert(identity.to_string()));
    let elected =
        known().filter(|(_, identity)| identity.eligible).min_by_key(|(_, identity)| identity.to_string());
    let assignment = Assignment {
        version: 1,
        error: if twice { DUPLICATE_URLS } else { 0 },
        master: elected.map(|(id, _)| id.to_owned()),
        master_identity: elected.map(|(_, identity)| identity.clone()),
    };
    let bytes = serde_json::to_vec(&assignment).unwrap_or_default();
    members.iter().map(|(id, _)| ((*id).to_owned(), bytes.clone())).collect()
}

/// Who writes, as an assignment tells the member of this id.
pub fn elected(assignment: &[u8], member: &str, generation: i32) -> Writer {
    let assignment: Assignment = match serde_json::from_slice(assignment) {
        Ok(assignment) => assignment,
        Err(error) => return Writer::Nobody(format!("the group's assignment cannot be read: {error}")),
    };
    match (assignment.error, assignment.master, assignment.master_identity) {
        (0, Some(master), _) if master == member => Writer::This(i64::from(generation)),
        (0, _, Some(identity)) => Writer::Other(identity.to_string()),
        (0, ..) => Writer::Nobody("no registry of the group may be elected".to_owned()),
        (DUPLICATE_URLS, ..) => Writer::Nobody(
            "two registries of the group say that they are reached at the same URL; give each an advertised host of its own"
                .to_owned(),
        ),
        (error, ..) => Writer::Nobody(format!("the group's assignment has error {error}")),
    }
}
