//! Many versions, and long chains.

use super::*;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_a_thousand_references_is_restored() {
    let name = |n: usize| format!("c{n:04}");
    let mut items = vec![version(&name(0), 3, 1, &fixed("F0"))];
    for n in 1..1000 {
        // Each text stands alone, so that nobody reads all others with it.
        let (before, refers) = (name(n - 1), format!("F{}", n - 1));
        items.push(referring(&name(n), 3, n as u32 + 1, &fixed(&format!("F{n}")), &[(&refers, &before, 3)]));
    }
    items.reverse();
    let from = kept(items);
    let bed = Bed::new().await;
    let mapping = [(name(500), "renamed".to_owned())].into();
    let (_, outcome) =
        bed.restored(&from, &Settings { subject_mapping: mapping, ..Settings::default() }).await;
    assert_eq!((outcome.registered, outcome.map.ids.len()), (1000, 1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_versions_take_seconds() {
    let begun = Instant::now();
    let mut items = Vec::new();
    for subject in 0..20 {
        for number in 1..=100 {
            let id = subject * 100 + number as u32;
            items.push(version(&format!("s{subject}"), number, id, &fixed(&format!("N{id}"))));
        }
    }
    let from = kept(items);
    let bed = Bed::new().await;
    // Half of it is there, written differently.
    for n in 1..=50 {
        bed.has("s3", &fixed(&format!("N{}", 300 + n))).await;
    }
    let (_, outcome) = bed.restored(&from, &Settings::default()).await;
    assert_eq!(outcome.registered, 1950);
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
}
