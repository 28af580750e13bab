//! Any bytes as a snapshot of the cluster's settings: what is read can be written and read again. Unknown members may hold
//! numbers with a fraction, whose last digit need not survive that.
#![no_main]

use formats::cluster::ClusterSnapshot;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(snapshot) = ClusterSnapshot::decode(data) else { return };
    let stored = snapshot.encode().expect("what was read can be written");
    let again = ClusterSnapshot::decode(&stored).expect("and read again");
    assert_eq!(again.topics.len(), snapshot.topics.len());
    for topic in &snapshot.topics {
        assert!(snapshot.topic(&topic.topic).is_some());
    }
});
