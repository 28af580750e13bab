//! Whether bytes are one JSON text.
//!
//! The text is not held against the schema: Confluent's serialiser does not do so unless it is told to
//! (`json.fail.invalid.schema`), so that records which their own schema refuses are common, and their ids count all the same.

use serde::de::IgnoredAny;

/// One JSON text in UTF-8, white space around it included. Nothing is kept of it but a byte for each level of nesting, so that
/// no text is too deep.
pub(super) fn reads(payload: &[u8]) -> bool {
    // What is skipped is not looked at as UTF-8, so that this comes first.
    std::str::from_utf8(payload).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}
