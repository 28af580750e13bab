//! Any text as an object key and as the shorter names inside documents: nothing has two spellings.
#![no_main]

use formats::commit::SegmentObject;
use formats::digest::{BatchDigest, ContentDigest};
use formats::hash::Hash;
use formats::ids::LineageId;
use formats::paths::ObjectName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(name) = ObjectName::parse(text) {
        assert_eq!(name.key(), text);
    }
    if let Ok(object) = text.parse::<SegmentObject>() {
        assert_eq!(object.to_string(), text);
    }
    if let Ok(digest) = text.parse::<ContentDigest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(digest) = text.parse::<BatchDigest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(hash) = text.parse::<Hash>() {
        assert_eq!(hash.to_string(), text);
    }
    if let Ok(id) = text.parse::<LineageId>() {
        assert_eq!(id.to_string(), text);
    }
});
