//! Random histories of the log, decided by a seed: several writers, a merger, a pruner, readers; every one of them may
//! be frozen or killed between any two steps, requests are lost, answered late or not at all, and land after their
//! sender's death. In some histories objects of checkpoints vanish, in some the store takes no puts for a while.
//!
//! `REPLEVIN_MODEL_RUNS` says how many histories, `REPLEVIN_MODEL_SEED` runs exactly one.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::noop_waker_ref;

use super::super::CheckpointSettings;
use super::chance::Chance;
use super::clients::{Client, Counts, Lived, Told};
use super::network::{Faults, Network};
use super::oracle;
use crate::seam::Rand;
use crate::storage::Store;

/// Histories where the environment says nothing.
const RUNS: u64 = 2000;
/// Steps of a history.
const STEPS: u64 = 900;
/// One history in so many is ten times as long, so that runs of checkpoints are merged.
const LONG: u64 = 32;

type Life = Pin<Box<dyn Future<Output = Lived> + Send>>;

struct Slot {
    life: Option<Life>,
    frozen: bool,
}

/// What a history came to: its length, and a trace that tells two histories apart.
#[derive(Debug, PartialEq)]
struct Outcome {
    commits: u64,
    trace: u64,
    counts: Counts,
}

async fn history(seed: u64) -> Result<Outcome, String> {
    let chance = Chance::new(seed);
    let bad = chance.below(4);
    let faults = Faults {
        read_fails: 4 * bad,
        answer_lost: 60 * bad,
        put_lost: 40 * bad,
        gives_up: 20 * bad,
        own_exists: 30 * bad,
        put_refused: 10 * bad,
    };
    let network = Network::new(Arc::clone(&chance), faults);
    let told = Arc::new(Told::default());
    let checkpoints =
        CheckpointSettings { commits: 1 + chance.below(8), changes: 1 + chance.below(60) as usize };
    let client = Client {
        network: Arc::clone(&network),
        chance: Arc::clone(&chance),
        told: Arc::clone(&told),
        checkpoints,
    };
    let outages = chance.permille(200);
    let vandal = chance.permille(250);
    let mut slots: Vec<_> = (0..6).map(|_| Slot { life: None, frozen: false }).collect();
    let steps = if seed.is_multiple_of(LONG) { 10 * STEPS } else { STEPS };
    for step in 0..steps {
        if step % 16 == 0 {
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        match chance.below(2000) {
            0 => network.set_outage(outages),
            1 | 2 => network.set_outage(false),
            _ => {}
        }
        if vandal && chance.permille(8) {
            network.lose_a_checkpoint_object();
        }
        if chance.permille(400) {
            network.deliver();
            continue;
        }
        let at = chance.below(slots.len() as u64) as usize;
        let slot = &mut slots[at];
        match chance.below(400) {
            0 if slot.life.take().is_some() => network.count("killed"),
            1..=3 if slot.life.is_some() => slot.frozen = true,
            4..=30 => slot.frozen = false,
            _ => {}
        }
        if slot.frozen {
            continue;
        }
        let life = slot.life.get_or_insert_with(|| born(at, client.clone()));
        if let Poll::Ready(lived) = life.as_mut().poll(&mut Context::from_waker(noop_waker_ref())) {
            slot.life = None;
            lived?;
        }
    }
    slots.clear();
    for _ in 0..chance.below(20) {
        network.deliver();
    }
    let commits = oracle::check(Arc::clone(&network.store) as Arc<dyn Store>, &told).await?;
    let counts = network.counts();
    Ok(Outcome { commits, trace: chance.next_u64(), counts })
}

fn born(at: usize, client: Client) -> Life {
    match at {
        0..=2 => Box::pin(client.writer()),
        3 => Box::pin(client.merger()),
        4 => Box::pin(client.pruner()),
        _ => Box::pin(client.reader()),
    }
}

fn run(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    match catch_unwind(AssertUnwindSafe(|| runtime.block_on(history(seed)))) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(broken)) => panic!("REPLEVIN_MODEL_SEED={seed} replays this history: {broken}"),
        Err(panic) => {
            println!("REPLEVIN_MODEL_SEED={seed} replays this history");
            resume_unwind(panic)
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn no_history_forks_loses_doubles_or_dangles() {
    if let Some(seed) = number("REPLEVIN_MODEL_SEED") {
        println!("{:?}", run(seed));
        return;
    }
    let runs = number("REPLEVIN_MODEL_RUNS").unwrap_or(RUNS);
    // Each history has one thread to itself; several histories do not know of each other.
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let (mut commits, mut counts) = (0, Counts::new());
    std::thread::scope(|scope| {
        let some = |from: u64| {
            scope.spawn(move || (from..runs).step_by(threads as usize).map(run).collect::<Vec<_>>())
        };
        let workers: Vec<_> = (0..threads).map(some).collect();
        for worker in workers {
            for outcome in worker.join().unwrap_or_else(|panic| resume_unwind(panic)) {
                commits += outcome.commits;
                for (what, count) in outcome.counts {
                    *counts.entry(what).or_default() += count;
                }
            }
        }
    });
    println!("{runs} histories, {commits} commits: {counts:?}");
    if runs >= 200 {
        for what in MUST_HAPPEN {
            assert!(
                counts.get(what).is_some_and(|&count| count > 0),
                "{what} never happened: the model is too tame"
            );
        }
    }
}

const MUST_HAPPEN: [&str; 14] = [
    "answer lost",
    "checkpoint object lost",
    "commit cancelled",
    "committed",
    "dropped object deleted",
    "fenced",
    "gave up a doubtful put",
    "gave up waiting",
    "killed",
    "orphan deleted",
    "own put exists",
    "put lost",
    "read",
    "read failed",
];

#[test]
fn a_seed_decides_a_whole_history() {
    for seed in [3, 1_000_003] {
        assert_eq!(run(seed), run(seed));
    }
}
