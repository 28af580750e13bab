//! Any bytes as a snapshot of the schemas: what is read can be written and read again, and adds up to a catalog that has all of it.
#![no_main]

use formats::schemas::{Catalog, SchemaSnapshot};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(snapshot) = SchemaSnapshot::decode(data) else { return };
    let stored = snapshot.encode().expect("what was read can be written");
    let again = SchemaSnapshot::decode(&stored).expect("and read again");
    assert_eq!(again.versions.len(), snapshot.versions.len());
    let mut catalog = Catalog::default();
    catalog.apply(again);
    for row in &snapshot.versions {
        assert!(catalog.versions().any(|known| known.is_same(row)));
        assert!(catalog.target(&row.subject, row.version).is_some());
    }
});
