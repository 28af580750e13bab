//! Migration between two brokers, against Kafka's own MirrorMaker 2, without rewriting and with it; MirrorMaker cannot rewrite, so its
//! one run is the reference of both. Each is also run with eight records, for what it costs to start.

use sandbox::client::{self, NewRecord, Producer};

use crate::load::{self, Kind, PARTITIONS, TOPIC};
use crate::measure::Usage;
use crate::mirror;
use crate::schemas::Registries;
use crate::table::{Row, Runs, ratio, row, say};
use crate::{Result, Scale, ours};

/// A topic with a record in each partition.
const FEW: &str = "few";

/// What is run: its name, and the least by which it must be faster and cheaper than the reference.
const OURS: [(&str, [f64; 2]); 2] = [("ids as they are", [5.0, 20.0]), ("every id rewritten", [2.0, 5.0])];

/// All rows.
///
/// # Errors
/// Whatever a program or server says.
pub(crate) fn run(scale: &Scale) -> Result<()> {
    let registries = Registries::start()?;
    let kind = Kind { value: 1000, codec: "zstd" };
    let frame = |number: usize, text: &[u8]| registries.framed(number, text);
    let loaded = load::load_framed(kind, &frame, scale.megabytes / 4)?;
    let (source, target) = (loaded.broker(), load::broker());
    load::create_topic(&source, FEW, PARTITIONS);
    let producer = Producer::new(&source, &[]);
    for partition in 0..i32::try_from(PARTITIONS)? {
        let record = NewRecord::new("k", registries.framed(0, b"one of few"));
        producer.send(FEW, &[record.partition(partition)]);
    }
    say(&format!(
        "migrate, {}, {} MB stored, {} records",
        kind.name(),
        loaded.bytes / 1_000_000,
        loaded.records
    ));
    let topics = [(TOPIC, loaded.records), (FEW, PARTITIONS as u64)];
    // For each of ours and for the reference: everything, and few.
    let mut all: [[Runs; 2]; 3] = Default::default();
    for _ in 0..scale.runs {
        for (n, (topic, records)) in topics.into_iter().enumerate() {
            let (target, registries) = (&target.bootstrap(), &registries);
            let to = Copy { source: &source, target, topic, records, registries };
            all[0][n].push("ours", to.ours(false)?);
            all[1][n].push("rewriting", to.ours(true)?);
            all[2][n].push("MirrorMaker", to.mirror()?);
        }
    }
    let [plain, rewriting, mirror] = &all;
    for ((what, bars), ours) in OURS.into_iter().zip([plain, rewriting]) {
        rows(&format!("migrate, {}, {what}", kind.name()), bars, ours, mirror);
    }
    Ok(())
}

/// A run of ours or of the reference.
struct Copy<'a> {
    source: &'a str,
    target: &'a str,
    topic: &'a str,
    records: u64,
    registries: &'a Registries,
}

impl Copy<'_> {
    fn ours(&self, rewriting: bool) -> Result<Usage> {
        self.begin();
        let schemas = if rewriting { self.registries.migrate() } else { String::new() };
        let file = config(self.source, self.target, self.topic, &schemas);
        let measured = ours::run(&["migrate", "--until-caught-up", "--output", "json"], &file)?;
        self.look_at_ids(!rewriting)?;
        self.end()?;
        Ok(measured.usage)
    }

    fn mirror(&self) -> Result<Usage> {
        self.begin();
        let usage =
            mirror::copy(self.source, self.target, self.topic, || Ok(self.arrived() >= self.records))?;
        self.end()?;
        Ok(usage)
    }

    /// Whether the first record of every partition bears the id that it should.
    fn look_at_ids(&self, as_they_are: bool) -> Result<()> {
        let first = (0..i32::try_from(PARTITIONS)?).map(|partition| (partition, (0, 1))).collect();
        let isolation = client::Isolation::ReadUncommitted;
        for record in client::read_partitions(self.target, self.topic, isolation, &first) {
            let value = record.value.unwrap_or_default();
            if self.registries.is_of_first(&value) != as_they_are {
                let start = value.first_chunk::<5>();
                return Err(format!("{}-{} begins with {start:?}", self.topic, record.partition).into());
            }
        }
        Ok(())
    }

    /// The topic is there for both, so that the first look at it cannot come too early.
    fn begin(&self) {
        load::create_topic(self.target, self.topic, PARTITIONS);
    }

    fn arrived(&self) -> u64 {
        let marks = client::watermarks(self.target, self.topic, client::Isolation::ReadUncommitted);
        marks.values().map(|(start, end)| u64::try_from(end - start).unwrap_or(0)).sum()
    }

    /// Looks whether every record is there, and removes what the run has made: the next one must not go on where it ended.
    fn end(&self) -> Result<()> {
        let arrived = self.arrived();
        let topics = client::topics(self.target);
        let made: Vec<_> =
            topics.iter().map(String::as_str).filter(|topic| !topic.starts_with("__")).collect();
        client::delete_topics(self.target, &made);
        match arrived == self.records {
            true => Ok(()),
            false => {
                Err(format!("{} has {arrived} records on the target, not {}", self.topic, self.records)
                    .into())
            }
        }
    }
}

/// The file of a migration, with sections about schemas or without.
pub(super) fn config(source: &str, target: &str, topic: &str, schemas: &str) -> String {
    format!(
        "mode: migrate\nmigration_id: bench\nsource:\n  bootstrap_servers: [\"{source}\"]\n  topics: {{include: [{topic}]}}\n\
         target:\n  bootstrap_servers: [\"{target}\"]\n{schemas}"
    )
}

/// What is measured of a run.
type Of = fn(&Usage) -> f64;

fn rows(figure: &str, [faster, cheaper]: [f64; 2], ours: &[Runs; 2], mirror: &[Runs; 2]) {
    let parts: [(&str, Of, f64, &str); 2] =
        [("wall time", |usage| usage.wall, faster, "faster"), ("CPU", Usage::cpu, cheaper, "less")];
    for (what, of, bar, unit) in parts {
        let print = |figure: String, [own, other]: [String; 2], times: f64| {
            row(&Row {
                figure,
                ours: own,
                reference: format!("MirrorMaker 2 {other}"),
                result: format!("{times:.1}x {unit}"),
                bar: format!("at least {bar:.0}x {unit}"),
                met: Some(times >= bar),
            });
        };
        let times = ratio(&mirror[0], &ours[0], of);
        print(format!("{figure}: {what}"), [ours, mirror].map(|runs| runs[0].seconds(of)), times);
        // A run of eight records costs what a run of everything costs before it begins and after it has ended.
        let beyond = [ours, mirror].map(|[all, few]| all.middle(of) - few.middle(of));
        let cells = beyond.map(|seconds| format!("{seconds:.2} s"));
        print(
            format!("{figure}: {what} without that of a run of eight records"),
            cells,
            beyond[1] / beyond[0],
        );
    }
}
