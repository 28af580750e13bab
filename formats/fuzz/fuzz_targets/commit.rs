//! Any JSON as commits, applied one after another to a state: refused or admitted, never a panic.
#![no_main]

use formats::commit::Commit;
use formats::hash::Hash;
use formats::state::State;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut state = State::with_lists();
    for text in data.split(|byte| *byte == b'\n') {
        let Ok(mut commit) = serde_json::from_slice::<Commit>(text) else { return };
        (commit.seq, commit.previous) = (state.seq + 1, state.head_hash());
        let stored = commit.encode().expect("what was read can be written");
        assert_eq!(Commit::decode(commit.seq, &stored).expect("and read again"), commit);
        let _ = state.lists_needed(&commit);
        if state.apply(&commit, Hash::of(&stored)).is_err() {
            return;
        }
    }
    for (place, partition) in state.partitions() {
        for lineage in &partition.lineages {
            let list = lineage.segments.as_ref().expect("lists are kept");
            let mut ranges: Vec<_> = list.iter().map(|entry| entry.range()).collect();
            ranges.extend(lineage.gaps.iter().map(|gap| gap.range()));
            ranges.sort_unstable();
            let end = ranges.iter().fold(lineage.start, |at, range| {
                assert_eq!(range.first, at, "{place}: a hole or an overlap");
                range.end
            });
            assert_eq!(end, lineage.next, "{place}");
        }
    }
});
