//! Sealed documents: JSON that names its kind and version and proves that it is whole.
//!
//! ```text
//! document   zstd frame          the JSON text
//!            trailer, 56 bytes   a zstd *skippable frame*, so `zstdcat OBJECT | jq` just works
//!
//! trailer    0   u32  0x184D2A5E       skippable frame
//!            4   u32  48               length of what follows
//!            8   4 B  "RPLV"
//!            12  4 B  kind             "CMIT", "CKPT", "PAGE"
//!            16  u16  version          of this kind
//!            18  u16  flags            0; a reader refuses any bit that it does not know
//!            20  u32  length           of the JSON text in bytes
//!            24  32 B BLAKE3           of every byte of the object before this field
//! ```
//! Integers are little-endian. What the JSON means is the business of the kind's own file.

use std::cell::RefCell;
use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zstd::bulk::{Compressor, Decompressor};

use crate::hash::Hash;
use crate::{Error, Result};

/// What a sealed document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind {
    /// One step of a backup's history.
    Commit,
    /// The root of a whole state.
    Checkpoint,
    /// A part of a whole state.
    Page,
}

const SKIPPABLE: u32 = 0x184D_2A5E;
const TRAILER: usize = 56;
const HASH_AT: usize = 24;
/// No document may be larger than this, stored or as text: a bound for every reader's memory.
pub const MAX_DOCUMENT: usize = 64 << 20;
/// Mostly hexadecimal hashes: level 1 codes them as they are; the levels up to 12 look for repetitions, find short ones,
/// and come out a tenth larger.
const LEVEL: i32 = 1;

// Setting a context up costs more than most documents do, and a log is opened by reading hundreds of them.
thread_local! {
    static CONTEXTS: RefCell<(Option<Compressor<'static>>, Option<Decompressor<'static>>)> = const { RefCell::new((None, None)) };
}

fn compress(text: &[u8]) -> io::Result<Vec<u8>> {
    CONTEXTS.with_borrow_mut(|(context, _)| match context {
        Some(context) => context.compress(text),
        None => context.insert(Compressor::new(LEVEL)?).compress(text),
    })
}

fn decompress(body: &[u8], length: usize) -> io::Result<Vec<u8>> {
    CONTEXTS.with_borrow_mut(|(_, context)| match context {
        Some(context) => context.decompress(body, length),
        None => context.insert(Decompressor::new()?).decompress(body, length),
    })
}

impl DocumentKind {
    fn magic(self) -> &'static [u8; 4] {
        match self {
            Self::Commit => b"CMIT",
            Self::Checkpoint => b"CKPT",
            Self::Page => b"PAGE",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Checkpoint => "checkpoint root",
            Self::Page => "checkpoint page",
        }
    }

    /// The newest version that this build writes and reads.
    pub fn version(self) -> u16 {
        1
    }
}

/// Writes a document. The same value gives the same bytes from the same build.
///
/// # Errors
/// A text beyond [`MAX_DOCUMENT`].
pub fn seal(kind: DocumentKind, value: &impl Serialize) -> Result<Vec<u8>> {
    let text = serde_json::to_vec(value)
        .map_err(|e| Error::invalid(format!("{} does not serialize", kind.name())).caused_by(e))?;
    if text.len() > MAX_DOCUMENT {
        let message = format!("{} of {} bytes is over the limit of {MAX_DOCUMENT}", kind.name(), text.len());
        return Err(Error::invalid(message));
    }
    let mut out = compress(&text)
        .map_err(|e| Error::invalid(format!("{} does not compress", kind.name())).caused_by(e))?;
    out.extend_from_slice(&SKIPPABLE.to_le_bytes());
    out.extend_from_slice(&((TRAILER - 8) as u32).to_le_bytes());
    out.extend_from_slice(b"RPLV");
    out.extend_from_slice(kind.magic());
    out.extend_from_slice(&kind.version().to_le_bytes());
    out.extend_from_slice(&0_u16.to_le_bytes());
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    let hash = Hash::of(&out);
    out.extend_from_slice(&hash.0);
    Ok(out)
}

/// Checks a document and gives its JSON text.
///
/// # Errors
/// Damage anywhere (every byte is covered by the hash), another kind, a newer version, an unknown flag.
pub fn unseal(kind: DocumentKind, stored: &[u8]) -> Result<Vec<u8>> {
    let name = kind.name();
    if stored.len() > MAX_DOCUMENT {
        return Err(Error::corrupt(format!(
            "{name} of {} bytes is over the limit of {MAX_DOCUMENT}",
            stored.len()
        )));
    }
    let Some(at) = stored.len().checked_sub(TRAILER) else {
        let message = format!("{name} has {} bytes, fewer than its {TRAILER}-byte trailer", stored.len());
        return Err(Error::corrupt(message));
    };
    let (body, trailer) = stored.split_at(at);
    let u16_at = |i: usize| u16::from_le_bytes([trailer[i], trailer[i + 1]]);
    let u32_at = |i: usize| u32::from_le_bytes([trailer[i], trailer[i + 1], trailer[i + 2], trailer[i + 3]]);
    if u32_at(0) != SKIPPABLE || u32_at(4) as usize != TRAILER - 8 || &trailer[8..12] != b"RPLV" {
        return Err(Error::corrupt(format!("{name} does not end in a document trailer")));
    }
    if Hash::of(&stored[..at + HASH_AT]).0 != trailer[HASH_AT..] {
        return Err(Error::corrupt(format!("the BLAKE3 of {name} differs from its bytes")));
    }
    if &trailer[12..16] != kind.magic() {
        let found = String::from_utf8_lossy(&trailer[12..16]);
        return Err(Error::corrupt(format!("this is a {found:?} document where a {name} belongs")));
    }
    if u16_at(16) > kind.version() || u16_at(16) == 0 || u16_at(18) != 0 {
        let message = format!("{name} has version {} and flags {:#06x}", u16_at(16), u16_at(18));
        return Err(Error::unsupported(format!("{message}; this build reads version {}", kind.version()))
            .hint("use the release that wrote it, or a newer one"));
    }
    let length = u32_at(20) as usize;
    if length > MAX_DOCUMENT {
        return Err(Error::corrupt(format!("{name} claims {length} bytes of text")));
    }
    let text = decompress(body, length)
        .map_err(|e| Error::corrupt(format!("{name} does not decompress")).caused_by(e))?;
    if text.len() != length {
        return Err(Error::corrupt(format!("{name} holds {} bytes of text, not {length}", text.len())));
    }
    Ok(text)
}

/// Checks a document and reads its JSON.
///
/// # Errors
/// As [`unseal`]; a text that is not what the kind prescribes is unsupported, because its hash is right.
pub fn open<T: DeserializeOwned>(kind: DocumentKind, stored: &[u8]) -> Result<T> {
    let text = unseal(kind, stored)?;
    serde_json::from_slice(&text).map_err(|e| {
        Error::unsupported(format!("{} is whole but holds what this build does not know", kind.name()))
            .caused_by(e)
            .hint("use the release that wrote it, or a newer one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        let stored = seal(DocumentKind::Commit, &serde_json::json!({"seq": 7, "ops": []})).expect("seals");
        for at in 0..stored.len() {
            for bit in 0..8 {
                let mut bad = stored.clone();
                bad[at] ^= 1 << bit;
                assert!(unseal(DocumentKind::Commit, &bad).is_err(), "bit {bit} of byte {at}");
            }
            assert!(unseal(DocumentKind::Commit, &stored[..at]).is_err(), "cut at {at}");
        }
        assert!(unseal(DocumentKind::Page, &stored).is_err());
    }

    #[test]
    fn zstd_tools_read_the_text_as_it_is() {
        let stored = seal(DocumentKind::Page, &serde_json::json!({"a": [1, 2, 3]})).expect("seals");
        let text = zstd::stream::decode_all(&stored[..]).expect("skips the trailer");
        assert_eq!(text, br#"{"a":[1,2,3]}"#);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = unseal(DocumentKind::Commit, &bytes);
        }
    }
}
