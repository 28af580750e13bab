//! What large archives cost. Ignored by default: these print figures, and want a quiet machine.
//!
//! ```text
//! cargo test -p replevin-pipeline --lib -- --ignored --nocapture commit_log::tests::cost
//! ```

use std::sync::Arc;
use std::time::Instant;

use formats::commit::{LastBatch, Op, SegmentEntry};
use formats::hash::Hash;
use formats::ids::Incarnation;
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
        let all = chunk.iter().flat_map(|&number| (0..partitions).map(move |p| lineage(&topic(number), p, 1, 0)));
        log.commit(all.collect()).await.expect("begins");
    }
}

/// One commit with a segment for each of `count` partitions, from the `from`th on, round about.
async fn one(log: &mut CommitLog, chance: &Chance, topics: usize, partitions: i32, from: usize, count: usize, now: i64) {
    let mut ops = Vec::with_capacity(count);
    for at in from..from + count {
        let (name, partition) = (topic(at / partitions as usize % topics), (at % partitions as usize) as i32);
        let first = log.state().partition(&name, partition).and_then(|p| p.current()).expect("began").next;
        let entry = real_entry(chance, first, log.incarnation(), at as u32, now);
        ops.push(Op::Add { topic: name, partition, lineage: formats::ids::LineageId(1), segments: vec![entry] });
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
        one(&mut log, &chance, topics, partitions, number * a_commit, a_commit, 1_700_000_000_000 + number as i64 * 1000).await;
    }
    println!("{segments} segments in {} commits, made in {:.1?}", log.head().seq, began.elapsed());
    drop(log);
    store.take_requests();
    let (before, began) = (resident(), Instant::now());
    let log = CommitLog::open(shared(), Chance::new(2).seam()).await.expect("opens");
    let (took, after) = (began.elapsed(), resident());
    println!("  open: {took:.3?}, {} MiB more resident, requests {:?}", after.saturating_sub(before), store.take_requests());
    println!("  changes kept: {} commits", log.state().changes.len());
    let began = Instant::now();
    let lists = log.topic_lists(&topic(500)).await.expect("reads");
    let listed: usize = lists.values().map(Vec::len).sum();
    println!("  one topic's {listed} segments: {:.3?}, requests {:?}", began.elapsed(), store.take_requests());
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
async fn a_day_of_three_thousand_partitions() {
    let (topics, partitions, a_commit) = (1000, 3, 50);
    for settings in [CheckpointSettings::default(), CheckpointSettings { commits: 512, ..CheckpointSettings::default() }] {
        let store = Scripted::new();
        let chance = Chance::new(5);
        let mut log = open(Arc::clone(&store) as Arc<dyn Store>, 1).await.with_checkpoints(settings);
        begin(&mut log, topics, partitions).await;
        let hours: usize = std::env::var("REPLEVIN_COST_HOURS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        let (began, mut slowest) = (Instant::now(), std::time::Duration::ZERO);
        for second in 0..hours * 3600 {
            let now = 1_700_000_000_000 + second as i64 * 1000;
            let one_began = Instant::now();
            one(&mut log, &chance, topics, partitions, second * a_commit, a_commit, now).await;
            slowest = slowest.max(one_began.elapsed());
        }
        let took = began.elapsed();
        let commits = bytes_below(&*store, "commits/").await;
        let checkpoints = bytes_below(&*store, "checkpoints/").await;
        let (mut positions, mut level0) = (0, 0);
        let root = log.root.as_ref().expect("there is a checkpoint");
        for page in &root.positions {
            let key = formats::paths::ObjectName::page(page.page.seq, page.page.blake3).key();
            positions += store.head(&key).await.expect("asks").expect("is there").size;
        }
        if let Some(run) = root.runs.last().filter(|run| run.level == 0) {
            level0 = run.segments;
        }
        let entries = hours * 3600 * a_commit;
        println!(
            "{settings:?}: {hours} h took {took:.1?}, slowest commit {slowest:.3?}; commits {commits} B ({} an entry), checkpoints {checkpoints} B ({} an entry); a day: {:.2} GB as measured",
            commits / entries as u64,
            checkpoints / entries as u64,
            (commits + checkpoints) as f64 * 24.0 / hours as f64 / 1e9
        );
        println!("  positions of one checkpoint {positions} B, level-0 run of {level0} segments, runs {:?}", root.runs.iter().map(|r| (r.level, r.segments)).collect::<Vec<_>>());
        let put = store.take_requests();
        println!("  requests {put:?}");
    }
}
