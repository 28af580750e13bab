//! Any JSON as roots and pages.
#![no_main]

use formats::checkpoint::{ListFold, PositionsPage, Root, RunIndex, RunPage, RunPages, positions_pages};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = serde_json::from_slice::<RunIndex>(data);
    if let Ok(page) = serde_json::from_slice::<RunPage>(data) {
        let (mut fold, mut pages) = (ListFold::default(), RunPages::default());
        for change in page.changes {
            pages.push(change.clone());
            fold.take(&change.removed, change.added);
        }
        let _ = (fold.finish(), pages.finish());
    }
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (root, page) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (Ok(root), Ok(page)) =
        (serde_json::from_slice::<Root>(root), serde_json::from_slice::<PositionsPage>(page))
    else {
        return;
    };
    if let Ok(state) = root.state(vec![page]) {
        let pages = positions_pages(&state, &root.positions);
        assert_eq!(pages.iter().map(|page| page.topics.len()).sum::<usize>(), state.topics.len());
    }
});
