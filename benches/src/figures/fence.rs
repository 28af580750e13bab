//! What following a registry costs a backup: processor time of a backup that runs on, with schemas and without, against that of the
//! backup's data.
//!
//! One percent of a backup at full speed is less than two runs of the same program differ by here. So the registry is followed where
//! there is next to nothing else: a backup of a trickle, which looks at the registry as often as any other does. How often that is
//! follows from the clock and not from the data.

use std::time::{Duration, Instant};

use sandbox::job::Job;
use sandbox::process::{self, Process};
use sandbox::scratch::Scratch;

use crate::figures::{backup_once, folder};
use crate::load::{self, Feed, Kind, PARTITIONS, TOPIC};
use crate::measure::{self, Usage};
use crate::registry::client::Asked;
use crate::registry::server::{Server, with_store};
use crate::table::{Row, Runs, row};
use crate::{Result, Scale, ours};

/// A first look reads settings and modes too; what comes later is what a daemon does for years. Each is told by itself.
const SPANS: [&str; 2] = ["first minute", "second minute"];
const SPAN: Duration = Duration::from_secs(60);
/// Between two batches for each partition: every look at the registry has something new to cover.
const TICK: Duration = Duration::from_secs(1);
/// Subjects of the registries, each of ten versions of 1 to 2 KB.
const SUBJECTS: [usize; 2] = [100, 1000];

/// All rows.
///
/// # Errors
/// Whatever a program or server says.
pub(crate) fn run(scale: &Scale) -> Result<()> {
    let kind = Kind { value: 1000, codec: "zstd" };
    let loaded = load::load(kind, scale.megabytes)?;
    let mut full = Runs::default();
    for number in 0..scale.runs {
        full.push("full speed", backup_once(&loaded, number, &[])?);
    }
    drop(loaded);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut registries = Vec::new();
    for subjects in SUBJECTS {
        let registry = Server::registry(&with_store("memory"), "/health/ready")?;
        runtime.block_on(async { Asked::new(&registry.address)?.fill(subjects, 10).await })?;
        registries.push(registry);
    }
    let (cluster, scratch) = (load::broker(), Scratch::new("bench-fence"));
    let none = Backup::new(&cluster.bootstrap(), "");
    let followers: Vec<_> = registries
        .iter()
        // At the pace that a backup has by default.
        .map(|registry| {
            let section = format!("schema_registry:\n  url: http://{}\n", registry.address);
            Backup::new(&cluster.bootstrap(), &section)
        })
        .collect();
    let mut feed = Feed::new(&cluster.bootstrap(), kind, &load::plain, PARTITIONS, &scratch)?;
    let (mut without, mut with) = (<[Runs; 2]>::default(), <[[Runs; 2]; 2]>::default());
    // Once, each schema is stored: that is no following.
    for backup in followers.iter().chain([&none]) {
        backup.store_schemas()?;
    }
    for _ in 0..scale.runs {
        none.trickle(&mut feed, "no schemas", &mut without)?;
        for (backup, runs) in followers.iter().zip(&mut with) {
            backup.trickle(&mut feed, "schemas", runs)?;
        }
    }
    feed.finish()?;
    // Processor time of data in as much time.
    let data = full.middle(|usage| usage.cpu() / usage.wall) * SPAN.as_secs_f64();
    for (subjects, runs) in SUBJECTS.into_iter().zip(&with) {
        for ((span, runs), without) in SPANS.into_iter().zip(runs).zip(&without) {
            let more = runs.cpu() - without.cpu();
            let noise = without.spread(Usage::cpu).max(runs.spread(Usage::cpu));
            let share = more / data;
            row(&Row {
                figure: format!(
                    "backup that follows a registry of {} schemas, {span}: CPU beyond that without",
                    subjects * 10
                ),
                ours: format!("{more:.2} s (runs differ by {noise:.2} s)"),
                reference: format!("ours, data at full speed in as much time {data:.1} s"),
                result: format!("{:.2} %", share * 100.0),
                bar: "under 1 %".into(),
                met: Some(share < 0.01),
            });
        }
    }
    Ok(())
}

/// A backup into a folder of its own, which goes on from run to run.
struct Backup {
    scratch: Scratch,
    job: Job,
    section: String,
}

impl Backup {
    fn new(broker: &str, section: &str) -> Self {
        let scratch = Scratch::new("bench-trickle");
        let job = Job::new("bench", broker, &folder(scratch.path())).topics(&[TOPIC]);
        Self { scratch, job, section: section.to_owned() }
    }

    /// A run that asks as fast as it is answered, and ends.
    fn store_schemas(&self) -> Result<()> {
        let fast = match self.section.as_str() {
            "" => String::new(),
            section => format!("{section}  connection: {{rate_limit_rps: 0}}"),
        };
        ours::run(&["backup", "--once", "--output", "json"], &self.job.clone().top(&fast).file()).map(drop)
    }

    /// A run of its own while batches trickle in: what it has cost in each span.
    fn trickle(&self, feed: &mut Feed, name: &str, runs: &mut [Runs; 2]) -> Result<()> {
        let file = self.scratch.path().join("replevin.yaml");
        std::fs::write(&file, self.job.clone().top(&self.section).file())?;
        let mut command = process::command(ours::binary()?);
        command.args(["backup", "--continuous", "--output", "json", "--config"]).arg(&file);
        measure::warm();
        let mut backup = Process::start("replevin backup", command, &self.scratch.path().join("log"));
        let mut tick = Instant::now();
        let mut before = Usage::default();
        for runs in runs {
            let began = tick;
            while tick < began + SPAN {
                feed.send()?;
                tick += TICK;
                std::thread::sleep(tick.saturating_duration_since(Instant::now()));
            }
            let usage = measure::so_far(backup.pid())?;
            let (user, system) = (usage.user - before.user, usage.system - before.system);
            before = usage;
            runs.push(name, Usage { user, system, wall: SPAN.as_secs_f64(), ..usage });
        }
        if !backup.terminate(Duration::from_secs(30)) || backup.output().contains("could not be backed up") {
            return Err(format!("the backup has failed: {}", backup.tail()).into());
        }
        Ok(())
    }
}
