//! Any bytes as repository.json, as they are and with the second line that they need.
#![no_main]

use formats::hash::Hash;
use formats::repository::Repository;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Repository::decode(data);
    let second = format!("\n{{\"blake3\":\"{}\"}}\n", Hash::of(data));
    if let Ok(repository) = Repository::decode(&[data, second.as_bytes()].concat()) {
        let stored = repository.encode().expect("what was read can be written");
        assert_eq!(Repository::decode(&stored).expect("and read again"), repository);
    }
});
