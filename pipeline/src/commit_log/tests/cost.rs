//! What large archives cost. Ignored by default: these print figures, and want a quiet machine.
//!
//! ```text
//! cargo test -p replevin-pipeline --lib -- --ignored --nocapture commit_log::tests::cost
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use formats::checkpoint::FANOUT;
use formats::commit::{LastBatch, Op, SegmentEntry};
use formats::hash::Hash;
use formats::ids::Incarnation;
use formats::paths::{CHECKPOINTS, COMMITS, ObjectName};
use futures::TryStreamExt;

use super::super::{CheckpointSettings, CommitLog};
use super::chance::Chance;
use super::sample::{self, lineage, open, own, topic};
use super::scripted::Scripted;
use crate::seam::Rand;
use crate::storage::Store;

/// An entry with numbers as a cluster has them: everything that a hash or a digest is, is random.
fn real_entry(chance: &Chance, first: i64, incarnation: Incarnation, counter: u32, now: i64) -> SegmentEntry {
    let records = 500 + chance.below(1000);
    let stored = records * (300 + chance.below(80));
    let mut entry = sample::entry(first, first + records as i64, own(incarnation, counter), 1);
    let mut hash = [0; 32];
    for part in hash.chunks_mut(8) {
        part.copy_from_slice(&chance.next_u64().to_le_bytes());
    }
    entry.length = stored;
    entry.blake3 = Hash(hash);
    entry.bytes.zstd = stored - 300;
    entry.batches = 10 + chance.below(20) as u32;
    entry.largest_batch = 20_000 + chance.below(20_000) as u32;
    entry.min_timestamp = now - 60_000 - chance.below(500) as i64;
    entry.max_timestamp = now - chance.below(500) as i64;
    let value = (u128::from(chance.next_u64() >> 2) << 64) | u128::from(chance.next_u64());
    entry.batch_digest = format!("{}:{value:032x}", entry.batches).parse().expect("a digest");
    entry.last = Some(LastBatch { offset: entry.end - 40, epoch: 7, crc: chance.next_u64() as u32 });
    entry
}

/// Begins `topics` times `partitions` histories.
async fn begin(log: &mut CommitLog, topics: usize, partitions: i32) {
    for chunk in (0..topics).collect::<Vec<_>>().chunks(100) {
        let all =
            chunk.iter().flat_map(|&number| (0..partitions).map(move |p| lineage(&topic(number), p, 1, 0)));
        log.commit(all.collect()).await.expect("begins");
    }
}

/// One commit with a segment for each of `count` partitions, from the `from`th on, round about.
async fn one(
    log: &mut CommitLog,
    chance: &Chance,
    topics: usize,
    partitions: i32,
    from: usize,
    count: usize,
    now: i64,
) {
    let mut ops = Vec::with_capacity(count);
    for at in from..from + count {
        let (name, partition) = (topic(at / partitions as usize % topics), (at % partitions as usize) as i32);
        let first = log.state().partition(&name, partition).and_then(|p| p.current()).expect("began").next;
        let entry = real_entry(chance, first, log.incarnation(), at as u32, now);
        ops.push(Op::Add {
            topic: name,
            partition,
            lineage: formats::ids::LineageId(1),
            segments: vec![entry],
        });
    }
    log.commit(ops).await.expect("commits");
}

/// Resident memory in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

async fn measure_open(segments: usize) {
    let (topics, partitions, a_commit) = (1000, 3, 400);
    let store = Scripted::new();
    let shared = || Arc::clone(&store) as Arc<dyn Store>;
    let chance = Chance::new(5);
    let mut log = open(shared(), 1).await;
    begin(&mut log, topics, partitions).await;
    let began = Instant::now();
    for number in 0..segments / a_commit {
        one(
            &mut log,
            &chance,
            topics,
            partitions,
            number * a_commit,
            a_commit,
            1_700_000_000_000 + number as i64 * 1000,
        )
        .await;
    }
    println!("{segments} segments in {} commits, made in {:.1?}", log.head().seq, began.elapsed());
    drop(log);
    store.take_requests();
    let (before, began) = (resident(), Instant::now());
    let log = CommitLog::open(shared(), Chance::new(2).seam()).await.expect("opens");
    let (took, after) = (began.elapsed(), resident());
    println!(
        "  open: {took:.3?}, {} MiB more resident, requests {:?}",
        after.saturating_sub(before),
        store.take_requests()
    );
    println!("  changes kept: {} commits", log.state().changes.len());
    let began = Instant::now();
    let lists = log.topic_lists(&topic(500)).await.expect("reads");
    let listed: usize = lists.values().map(Vec::len).sum();
    println!(
        "  one topic's {listed} segments: {:.3?}, requests {:?}",
        began.elapsed(),
        store.take_requests()
    );
}

#[tokio::test]
#[ignore = "prints figures and takes minutes"]
async fn opening_costs_the_same_however_many_segments_there_are() {
    for segments in [100_000, 1_000_000] {
        measure_open(segments).await;
    }
}

async fn bytes_below(store: &dyn Store, folder: &str) -> u64 {
    let objects: Vec<_> = store.list(folder, None).try_collect().await.expect("lists");
    objects.iter().map(|object| object.size).sum()
}

#[tokio::test]
#[ignore = "prints figures and takes minutes"]
async fn a_day_of_three_thousand_partitions_writes_at_most_two_gigabytes() {
    let (topics, partitions, a_commit, hours) = (1000, 3, 50, 1);
    let settings = CheckpointSettings::default();
    let store = Scripted::new();
    let chance = Chance::new(5);
    let mut log = open(Arc::clone(&store) as Arc<dyn Store>, 1).await;
    begin(&mut log, topics, partitions).await;
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    for second in 0..hours * 3600 {
        let now = 1_700_000_000_000 + second as i64 * 1000;
        let this = Instant::now();
        one(&mut log, &chance, topics, partitions, second * a_commit, a_commit, now).await;
        slowest = slowest.max(this.elapsed());
    }
    println!(
        "{hours} h of commits took {:.1?}, the slowest {slowest:.3?}; {:?}",
        began.elapsed(),
        store.take_requests()
    );
    let root = log.root.as_ref().expect("there is a checkpoint");
    assert!(root.runs.iter().all(|run| run.level == 0), "an hour is too short for a merge: {:?}", root.runs);
    let mut positions = 0;
    for page in &root.positions {
        let key = ObjectName::page(page.page.seq, page.page.blake3).key();
        positions += store.head(&key).await.expect("asks").expect("is there").size;
    }
    let (commits, checkpoints) =
        (bytes_below(&*store, COMMITS).await, bytes_below(&*store, CHECKPOINTS).await);
    let in_runs: u64 = root.runs.iter().map(|run| run.segments).sum();
    let made = root.runs.len() as u64;
    let an_entry = commits as f64 / (hours * 3600 * a_commit) as f64;
    let an_entry_a_level = (checkpoints - made * positions) as f64 / in_runs as f64;
    println!(
        "{an_entry:.1} B an entry in commits, {an_entry_a_level:.1} B in a run; {positions} B of positions a checkpoint"
    );
    let entries_a_day = 86_400.0 * a_commit as f64;
    let checkpoints_a_day = 86_400.0 / settings.commits as f64;
    for days in [1.0, 7.0, 30.0, 180.0, 365.0] {
        // Level k is written once for every FANOUT^k checkpoints that there are by then.
        let whole = |level: i32| {
            let span = (FANOUT as f64).powi(level);
            (days * checkpoints_a_day / span).floor() * span / (days * checkpoints_a_day)
        };
        let levels: f64 = (0..6).map(whole).sum();
        let bytes =
            entries_a_day * (an_entry + an_entry_a_level * levels) + checkpoints_a_day * positions as f64;
        println!("a day, on average over {days} days ({levels:.2} levels): {:.2} GB", bytes / 1e9);
        assert!(bytes < 2e9);
    }
}
