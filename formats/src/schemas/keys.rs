//! Subject names of any shape as folders, and the names of the objects in them.
//!
//! ```text
//! orders-value              orders-value
//! :.eu:orders value         %3A.eu%3Aorders%20value
//! (empty)                   %
//! (longer than 200 bytes)   %~<its first characters>~<32 hex digits of its BLAKE3>
//! ```
//! Letters, digits and `- _ .` stand for themselves (a dot in front does not), all other bytes of the name's UTF-8 are `%XX` in upper
//! case: no two names have one folder. The full name is in every row, so nothing has to be read back from a folder.

use std::fmt::Write as _;

use crate::hash::Hash;
use crate::paths::SCHEMA_REGISTRY;

/// The longest folder name that is the name itself. Store keys have 255 bytes between two slashes at most.
const MAX_PLAIN: usize = 200;
/// Characters of a longer one that people see.
const SHOWN: usize = 120;

/// The folder of a subject, without slashes.
pub fn subject_folder(subject: &str) -> String {
    if subject.is_empty() {
        return "%".to_owned();
    }
    let mut folder = String::with_capacity(subject.len());
    let mut shown = 0;
    for (at, byte) in subject.bytes().enumerate() {
        if folder.len() <= SHOWN {
            shown = folder.len();
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && at > 0) {
            folder.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(folder, "%{byte:02X}");
        }
    }
    if folder.len() <= MAX_PLAIN {
        return folder;
    }
    let hash = Hash::of(subject.as_bytes()).to_string();
    format!("%~{}~{}", &folder[..shown], &hash[..32])
}

/// How the name of a text ends, by the schema's type.
pub fn extension(schema_type: &str) -> &'static str {
    match schema_type {
        "AVRO" => "avsc",
        "JSON" => "json",
        "PROTOBUF" => "proto",
        _ => "txt",
    }
}

/// The name of an object of a version: `v1.avsc`; with the beginning of its BLAKE3 (`v1.0123456789abcdef.avsc`) where another object
/// has that name, because the number was given again.
pub fn file_name(version: i32, distinct: Option<Hash>, extension: &str) -> String {
    match distinct {
        None => format!("v{version}.{extension}"),
        Some(hash) => format!("v{version}.{}.{extension}", &hash.to_string()[..16]),
    }
}

/// Whether a name stays in its folder and is one that [`file_name`] could have given.
pub(super) fn is_file_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.starts_with('v') && name.len() <= 100 && name.chars().all(plain)
}

pub(super) fn object_key(subject: &str, file: &str) -> String {
    format!("{SCHEMA_REGISTRY}subjects/{}/{file}", subject_folder(subject))
}

/// The context that a subject's name begins with, with its dot, and the name in it; the default one (`.`) where it begins with none.
pub fn in_context(subject: &str) -> (&str, &str) {
    match subject.strip_prefix(':').and_then(|rest| rest.split_once(':')) {
        Some((context, name)) if context.starts_with('.') => (context, name),
        _ => (".", subject),
    }
}

/// The subject that a reference leads to: without a context it is one of the referrer's own.
pub fn reference_target(referrer: &str, reference: &str) -> String {
    let (own, _) = in_context(referrer);
    let (context, name) = match in_context(reference) {
        (_, name) if name.len() == reference.len() => (own, name),
        qualified => qualified,
    };
    if context == "." { name.to_owned() } else { format!(":{context}:{name}") }
}
