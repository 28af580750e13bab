//! A backup through a life that a seed makes: records, transactions, compaction, retention, leaders that move, unclean elections,
//! topics made anew, connections that break, and a SIGKILL now and then. After every run the model tells what the archive must hold.
//!
//! `REPLEVIN_SEED` repeats the life whose seed was printed; `REPLEVIN_SEEDS` is how many new ones are lived. Without either the same twenty
//! are lived every time.
//!
//! What it leaves out: an unclean election that takes the marker of a transaction and leaves its records; a log of which the cleaner took
//! every batch, so that the archive knows no leader epoch of it, and which then goes another way.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbox::client::{self, Compared, Isolation, Rec, TimestampKind};
use sandbox::fake_kafka::FakeKafka;
use sandbox::fake_kafka::batch::Batch;
use sandbox::fake_kafka::cluster::Cluster;
use sandbox::fake_kafka::faults::Cut;
use sandbox::fake_kafka::log::Log;
use sandbox::job::{Job, folder};
use sandbox::raw::RawRecord;
use sandbox::scratch::Scratch;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use uuid::Uuid;

/// Lives at once.
const PARALLEL: usize = 4;
const BROKERS: i32 = 3;
const PRODUCERS: i64 = 5;
/// Topics, with their partitions and whether the cleaner goes through them.
const TOPICS: [(&str, i32, bool); 3] = [("plain", 2, false), ("kept", 1, false), ("compacted", 2, true)];

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: {text} is no number")))
}

#[test]
fn whatever_happens_to_a_cluster_the_archive_holds_what_it_was_told() {
    let seeds: Vec<u64> = match number("REPLEVIN_SEED") {
        Some(seed) => vec![seed],
        None => match number("REPLEVIN_SEEDS") {
            Some(many) => (0..many).map(|_| rand::random()).collect(),
            None => (1..=20).collect(),
        },
    };
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| live(seed))) {
                        eprintln!("REPLEVIN_SEED={seed} repeats it");
                        resume_unwind(panic);
                    }
                }
            });
        }
    });
}

fn live(seed: u64) {
    let mut life = Life::new(seed);
    for _ in 0..life.rng.random_range(3..7) {
        for _ in 0..life.rng.random_range(2..25) {
            life.step();
        }
        life.back_up();
    }
    life.compare();
}

type Place = (&'static str, i32);

/// What the archive must hold of a partition.
#[derive(Clone, Default)]
struct Held {
    topic: Uuid,
    /// The records of the current history that a consumer of committed data sees, by offset.
    records: BTreeMap<i64, Rec>,
    /// What is below is held.
    next: i64,
    /// Where its log was cut since the last run, if it was: the least offset.
    cut: Option<i64>,
    /// Whether its log lost its beginning since the last run.
    is_trimmed: bool,
    /// Histories that ended, by id.
    ended: BTreeMap<String, BTreeMap<i64, Rec>>,
}

struct Life {
    rng: StdRng,
    fake: FakeKafka,
    job: Job,
    held: BTreeMap<Place, Held>,
    /// Open transactions.
    open: BTreeMap<Place, BTreeSet<i64>>,
    written: u64,
    told: Vec<String>,
    /// What the last run said.
    said: String,
    _scratch: Scratch,
}

impl Life {
    fn new(seed: u64) -> Self {
        let (mut rng, scratch) = (StdRng::seed_from_u64(seed), Scratch::new("simulation"));
        let fake = FakeKafka::start("simulated", BROKERS as usize);
        fake.with(|cluster| TOPICS.iter().for_each(|topic| make(cluster, topic)));
        let small = ["64KiB", "1MiB"][rng.random_range(0..2)];
        let job = Job::new("life", &fake.bootstrap(), &folder(scratch.path()))
            .set(&format!("fetch_max_bytes: {small}"))
            .connection("request_timeout_ms: 2000");
        let places = TOPICS.iter().flat_map(|(name, partitions, _)| (0..*partitions).map(|n| (*name, n)));
        let held = places.map(|place| (place, Held::default())).collect();
        Self {
            rng,
            fake,
            job,
            held,
            open: BTreeMap::new(),
            written: 0,
            told: Vec::new(),
            said: String::new(),
            _scratch: scratch,
        }
    }

    fn place(&mut self) -> (Place, bool) {
        let (name, partitions, is_compacted) = TOPICS[self.rng.random_range(0..TOPICS.len())];
        ((name, self.rng.random_range(0..partitions)), is_compacted)
    }

    fn batch(&mut self) -> Batch {
        let records = (0..self.rng.random_range(1..7)).map(|_| {
            self.written += 1;
            RawRecord {
                timestamp: 1_600_000_000_000 + self.written as i64,
                key: Some(format!("{}", self.written % 7).into_bytes()),
                value: Some(format!("record {}", self.written).into_bytes()),
                headers: Vec::new(),
            }
        });
        Batch::new(records.collect())
    }

    /// Something happens to the cluster.
    fn step(&mut self) {
        let (place, is_compacted) = self.place();
        let (topic, partition) = place;
        match self.rng.random_range(0..100) {
            0..40 => {
                let batch = self.batch();
                self.append(place, batch);
            }
            40..58 => {
                let producer = self.rng.random_range(1..=PRODUCERS);
                let batch = self.batch().in_transaction(producer, 0, 0);
                self.append(place, batch);
                self.open.entry(place).or_default().insert(producer);
            }
            58..76 => {
                let open = self.open.entry(place).or_default();
                if let Some(producer) = open.iter().copied().nth(self.rng.random_range(0..PRODUCERS as usize))
                {
                    open.remove(&producer);
                    let marker = Batch::marker(producer, 0, self.rng.random_bool(0.5), 1_600_000_000_000);
                    self.append(place, marker);
                }
            }
            76..82 => {
                let leader = self.rng.random_range(1..=BROKERS);
                self.fake.with(|cluster| cluster.move_leader(topic, partition, Some(leader)));
            }
            82..87 => self.elect_unclean(place),
            87..91 if !is_compacted => self.trim(place),
            87..94 if is_compacted => self.clean(place),
            94..96 => self.make_anew(topic),
            _ => self.break_a_connection(place),
        }
    }

    fn append(&mut self, (topic, partition): Place, batch: Batch) {
        let (count, producer) = (batch.records.len(), batch.producer.id);
        let what = if batch.is_control() { "marker" } else { "records" };
        let base = self.fake.with(|cluster| cluster.append(topic, partition, batch));
        self.told.push(format!("{topic}-{partition}@{base}: {count} {what} of producer {producer}"));
    }

    fn elect_unclean(&mut self, place: Place) {
        let (topic, partition) = place;
        if self.held[&place].is_trimmed {
            return;
        }
        let ends = self.fake.with(|cluster| borders(&cluster.partition(topic, partition).log));
        let end = ends[self.rng.random_range(0..ends.len())];
        let leader = self.rng.random_range(1..=BROKERS);
        let open = self.fake.with(|cluster| {
            cluster.elect_unclean(topic, partition, leader, end);
            open_in(&cluster.partition(topic, partition).log)
        });
        self.told.push(format!("{topic}-{partition} cut at {end} by {leader}"));
        self.open.insert(place, open);
        if let Some(held) = self.held.get_mut(&place) {
            held.cut = Some(held.cut.map_or(end, |cut| cut.min(end)));
        }
    }

    /// Retention takes the beginning.
    fn trim(&mut self, place: Place) {
        let (topic, partition) = place;
        if self.held[&place].cut.is_some() {
            return;
        }
        let borders = self.fake.with(|cluster| {
            let log = &cluster.partition(topic, partition).log;
            let stable = log.last_stable_offset();
            borders(log).into_iter().filter(|border| *border <= stable).collect::<Vec<_>>()
        });
        let Some(&start) = borders.get(self.rng.random_range(0..borders.len().max(1))) else { return };
        self.fake.with(|cluster| cluster.partition(topic, partition).log.delete_before(start));
        self.told.push(format!("{topic}-{partition} begins at {start}"));
        if let Some(held) = self.held.get_mut(&place) {
            held.is_trimmed = true;
        }
    }

    /// The cleaner takes records, and batches, of all but the last ones.
    fn clean(&mut self, (topic, partition): Place) {
        self.told.push(format!("{topic}-{partition} cleaned"));
        let (share, whole) = (self.rng.random_range(0.0..1.0), self.rng.random_bool(0.5));
        let mut rng = StdRng::seed_from_u64(self.rng.random());
        self.fake.with(|cluster| {
            let log = &mut cluster.partition(topic, partition).log;
            let stable = log.last_stable_offset();
            let first = log.batches().first().map_or(0, |stored| stored.base);
            let last = log.batches().last().map_or(0, |stored| stored.base);
            let fates: BTreeMap<i64, Vec<bool>> = log
                .batches()
                .iter()
                .map(|stored| {
                    (stored.base, stored.batch.records.iter().map(|_| rng.random_bool(share)).collect())
                })
                .collect();
            log.replace(last.min(stable), |stored| {
                if stored.batch.is_control() {
                    return Some(stored.batch.clone());
                }
                let mut batch = stored.batch.clone();
                let mut goes = fates[&stored.base].iter();
                batch.records.retain(|_| goes.next() == Some(&false));
                let stays = !batch.records.is_empty() || !whole || stored.base == first;
                stays.then_some(batch)
            });
        });
    }

    fn make_anew(&mut self, name: &'static str) {
        let topic = TOPICS.iter().find(|topic| topic.0 == name).expect("a topic");
        self.fake.with(|cluster| {
            cluster.delete_topic(name);
            make(cluster, topic);
        });
        self.told.push(format!("{name} made anew"));
        self.open.retain(|place, _| place.0 != name);
        for held in self.held.iter_mut().filter(|(place, _)| place.0 == name).map(|(_, held)| held) {
            (held.cut, held.is_trimmed) = (None, false);
        }
    }

    /// One thing at a time: a partition whose fetches fail too often is given up by the run, which says so.
    fn break_a_connection(&mut self, (topic, partition): Place) {
        let cut = [Cut::Half, Cut::Reset, Cut::Oversize, Cut::Silence][self.rng.random_range(0..4)];
        let (leader, is_move) = (self.rng.random_range(1..=BROKERS), self.rng.random_bool(0.5));
        let what = if is_move { format!("leader {leader}") } else { format!("{cut:?}") };
        let is_new = self.fake.with(|cluster| {
            let place = format!("{topic}-{partition}@");
            if cluster.faults.pending().iter().any(|pending| pending.starts_with(&place)) {
                return false;
            }
            let from = cluster.partition(topic, partition).log.start();
            if is_move {
                let moves = move |cluster: &mut Cluster| cluster.move_leader(topic, partition, Some(leader));
                cluster.faults.change(topic, partition, from, moves);
            } else {
                cluster.faults.cut(topic, partition, from, 1, cut);
            }
            true
        });
        if is_new {
            self.told.push(format!("{topic}-{partition} will have trouble: {what}"));
        }
    }

    /// A run with an end, now and then behind one that is killed. What it must come to is known before.
    fn back_up(&mut self) {
        let (mut is_gone, mut is_held_back) = (false, false);
        for (place, held) in &mut self.held {
            let (topic, log) = self.fake.with(|cluster| {
                let id = cluster.topics[place.0].id;
                (id, cluster.partition(place.0, place.1).log.clone())
            });
            is_gone |= held.take(topic, &log, || newest(&self.job, *place));
            is_held_back |= log.last_stable_offset() < log.high_watermark();
        }
        let is_killed = self.rng.random_bool(0.2);
        if is_killed {
            self.told.push("killed".to_owned());
            self.job.once().run_and_kill(Duration::from_millis(self.rng.random_range(20..300)));
        }
        self.told.push("backed up".to_owned());
        let finished = self.job.once().run();
        // What was gone may have been told by the run that was killed.
        let is_told_before = is_killed && finished.code() == Some(0) && !is_held_back;
        let expected = if is_held_back || (is_gone && !is_told_before) { 3 } else { 0 };
        let (told, out, err) = (&self.told, &finished.stdout, &finished.stderr);
        self.said = format!("{out}\n{err}");
        assert_eq!(finished.code(), Some(expected), "{told:#?}\n{out}\n{err}");
        self.fake.with(|cluster| assert!(cluster.violations.is_empty(), "{:#?}", cluster.violations));
    }

    fn compare(&self) {
        for ((topic, partition), held) in &self.held {
            let same = |records: &BTreeMap<i64, Rec>, args: &[&str]| {
                let expected: Vec<Rec> =
                    records.values().map(|record| Rec { partition: *partition, ..record.clone() }).collect();
                let found = self.job.dump(topic, *partition, Isolation::ReadCommitted, args);
                let what = format!("{topic}-{partition} {args:?} after {:#?}\n{}\n", self.told, self.said);
                client::assert_same(&what, &expected, &found, Compared::Everything);
            };
            same(&held.records, &[]);
            for (lineage, records) in &held.ended {
                same(records, &["--lineage", lineage]);
            }
        }
        self.job.verify();
    }
}

impl Held {
    /// A run takes what the log gives. Answers whether something was gone before.
    fn take(&mut self, topic: Uuid, log: &Log, newest: impl Fn() -> Option<String>) -> bool {
        let (cut, _) = (self.cut.take(), std::mem::take(&mut self.is_trimmed));
        let fork = cut.filter(|cut| *cut < self.next);
        let is_new = self.topic != topic;
        if is_new || fork.is_some() {
            if let Some(id) = newest() {
                self.ended.insert(id, self.records.clone());
            }
            match fork.filter(|_| !is_new) {
                Some(fork) => {
                    self.records.retain(|offset, _| *offset < fork);
                    self.next = fork;
                }
                None => {
                    self.records.clear();
                    // What a topic had lost before it was seen for the first time is none of the backup's. One that was made anew has
                    // lost it since.
                    self.next = if self.topic.is_nil() { log.start() } else { 0 };
                }
            }
            self.topic = topic;
        }
        let stable = log.last_stable_offset();
        if stable <= log.start() && log.start() > self.next {
            // Where the log begins within a batch is seen by the batch: until one comes nothing is said to be gone.
            return false;
        }
        let is_gone = log.start() > self.next;
        for (offset, record) in committed(log, stable) {
            if offset >= self.next {
                self.records.insert(offset, record);
            }
        }
        self.next = self.next.max(stable);
        is_gone
    }
}

fn make(cluster: &mut Cluster, (name, partitions, is_compacted): &(&str, i32, bool)) {
    let configs: &[(&str, &str)] = if *is_compacted { &[("cleanup.policy", "compact")] } else { &[] };
    cluster.create_topic(name, *partitions as usize, configs);
}

fn newest(job: &Job, (topic, partition): Place) -> Option<String> {
    job.lineages(topic, partition).last().and_then(|lineage| Some(lineage["lineage"].as_str()?.to_owned()))
}

/// Producers whose transactions are open.
fn open_in(log: &Log) -> BTreeSet<i64> {
    let mut open = BTreeSet::new();
    for stored in log.batches().iter().filter(|stored| stored.batch.is_transactional()) {
        let producer = stored.batch.producer.id;
        if stored.batch.is_control() {
            open.remove(&producer)
        } else {
            open.insert(producer)
        };
    }
    open
}

/// Where the log may be cut: between batches, and not between the records of a transaction and its marker.
fn borders(log: &Log) -> Vec<i64> {
    let mut begun: BTreeMap<i64, i64> = BTreeMap::new();
    let mut decided = Vec::new();
    for stored in log.batches().iter().filter(|stored| stored.batch.is_transactional()) {
        let producer = stored.batch.producer.id;
        if !stored.batch.is_control() {
            begun.entry(producer).or_insert(stored.base);
        } else if let Some(first) = begun.remove(&producer) {
            decided.push((first, stored.base));
        }
    }
    let all = log.batches().iter().map(|stored| stored.base).chain([log.start(), log.end()]);
    let inside = |border: &i64| decided.iter().any(|(first, marker)| first < border && border <= marker);
    let all: BTreeSet<i64> = all.filter(|border| *border >= log.start() && !inside(border)).collect();
    all.into_iter().collect()
}

/// What a consumer of committed data sees below an offset.
fn committed(log: &Log, below: i64) -> Vec<(i64, Rec)> {
    let batches = log.batches();
    let commits = |from: usize, producer: i64| {
        let mut later = batches[from..].iter();
        let marker = later.find(|stored| stored.batch.is_control() && stored.batch.producer.id == producer);
        marker.is_some_and(|marker| marker.batch.commits())
    };
    let mut seen = Vec::new();
    for (number, stored) in batches.iter().enumerate().take_while(|(_, stored)| stored.base < below) {
        let batch = &stored.batch;
        if batch.is_control() || (batch.is_transactional() && !commits(number, batch.producer.id)) {
            continue;
        }
        for (delta, record) in &batch.records {
            let offset = stored.base + i64::from(*delta);
            let rec = Rec {
                partition: 0,
                offset,
                timestamp: record.timestamp,
                ts_type: TimestampKind::CreateTime,
                key: record.key.clone(),
                value: record.value.clone(),
                headers: Vec::new(),
            };
            seen.push((offset, rec));
        }
    }
    seen
}
