//! `repository.json`: what a backup is, and what a program must know to read or to write it. Written once.
//!
//! ```text
//! line 1   the document, JSON without line breaks
//! line 2   {"blake3":"<64 hex digits>"}   over the bytes of line 1
//! ```
//! Both lines end in a line feed. A reader rebuilds line 2 and compares bytes, so every flipped bit is found.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::hash::Hash;
use crate::ids::BackupId;
use crate::{Error, Result};

/// The value of `format`.
pub const FORMAT_NAME: &str = "replevin";
/// The newest layout that this build writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// No `repository.json` is larger.
pub const MAX_REPOSITORY: usize = 1 << 20;

/// The content of `repository.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repository {
    /// [`FORMAT_NAME`].
    pub format: String,
    /// The layout's version.
    pub version: u32,
    /// The backup that lives here: a copied folder under another name is still recognised.
    pub backup_id: BackupId,
    /// The cluster whose data it holds, as the cluster names itself.
    pub cluster_id: String,
    /// When it was made, in milliseconds since 1970 UTC.
    pub created_ms: i64,
    /// Features that a reader must know, by name.
    #[serde(default)]
    pub reader_features: Vec<String>,
    /// Features that a writer must know, by name.
    #[serde(default)]
    pub writer_features: Vec<String>,
    /// Members that this build does not know, kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Repository {
    /// A new backup's document.
    pub fn new(backup_id: BackupId, cluster_id: impl Into<String>, created_ms: i64) -> Self {
        Self {
            format: FORMAT_NAME.into(),
            version: FORMAT_VERSION,
            backup_id,
            cluster_id: cluster_id.into(),
            created_ms,
            reader_features: Vec::new(),
            writer_features: Vec::new(),
            extra: Map::new(),
        }
    }

    /// The stored bytes.
    ///
    /// # Errors
    /// None in practice: the document always serializes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let line = serde_json::to_string(self).map_err(|e| Error::invalid(e.to_string()))?;
        Ok(with_checksum(&line))
    }

    /// Reads the stored bytes.
    ///
    /// # Errors
    /// Damage; another format; a newer version; a reader feature that this build does not know.
    pub fn decode(stored: &[u8]) -> Result<Self> {
        if stored.len() > MAX_REPOSITORY {
            return Err(Error::corrupt(format!("repository.json has {} bytes", stored.len())));
        }
        let text = std::str::from_utf8(stored)
            .map_err(|e| Error::corrupt("repository.json is not UTF-8").caused_by(e))?;
        let line = text.split('\n').next().unwrap_or_default();
        if with_checksum(line) != stored {
            return Err(Error::corrupt("the second line of repository.json is not the BLAKE3 of the first")
                .hint("restore the object from a copy; never edit it"));
        }
        let repository: Self = serde_json::from_str(line)
            .map_err(|e| Error::unsupported("repository.json is not a replevin repository").caused_by(e))?;
        let unknown: Vec<_> = repository.reader_features.iter().map(String::as_str).collect();
        if repository.format != FORMAT_NAME || repository.version > FORMAT_VERSION || !unknown.is_empty() {
            let what = format!("format {:?} version {}", repository.format, repository.version);
            return Err(Error::unsupported(format!(
                "{what} with reader features {unknown:?} is not known to this build"
            ))
            .hint("use the release that made this backup, or a newer one"));
        }
        Ok(repository)
    }

    /// Refuses to write where a feature asks for a writer that knows more.
    ///
    /// # Errors
    /// A writer feature that this build does not know.
    pub fn check_writable(&self) -> Result<()> {
        if self.writer_features.is_empty() {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "writer features {:?} are not known to this build",
            self.writer_features
        ))
        .hint("use the release that made this backup, or a newer one; reading it is possible"))
    }
}

fn with_checksum(line: &str) -> Vec<u8> {
    format!("{line}\n{{\"blake3\":\"{}\"}}\n", Hash::of(line.as_bytes())).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Repository {
        Repository::new(BackupId::new("nightly").expect("legal"), "cluster-1", 1_700_000_000_000)
    }

    #[test]
    fn every_flipped_bit_is_found_and_unknown_members_are_kept() {
        let mut repository = repository();
        repository.extra.insert("later".into(), Value::from(3));
        let stored = repository.encode().expect("encodes");
        assert_eq!(Repository::decode(&stored).expect("decodes"), repository);
        for at in 0..stored.len() {
            for bit in 0..8 {
                let mut bad = stored.clone();
                bad[at] ^= 1 << bit;
                assert!(Repository::decode(&bad).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_feature_that_a_reader_must_know_is_refused() {
        let mut newer = repository();
        newer.reader_features.push("sealed".into());
        let error = Repository::decode(&newer.encode().expect("encodes")).expect_err("unknown feature");
        assert_eq!(error.kind(), crate::ErrorKind::Unsupported);
    }
}
