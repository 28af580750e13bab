//! Any bytes as a sealed document, and as the content of one.
#![no_main]

use formats::document::{DocumentKind, seal, unseal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for kind in [DocumentKind::Commit, DocumentKind::Checkpoint, DocumentKind::Page] {
        let _ = unseal(kind, data);
        let stored = seal(kind, &data).expect("bytes serialize");
        let text = unseal(kind, &stored).expect("what was sealed opens");
        assert_eq!(serde_json::from_slice::<Vec<u8>>(&text).expect("is JSON"), data);
    }
});
