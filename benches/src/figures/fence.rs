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

const SECONDS: u64 = 60;
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
    let frame = |_: usize, value: &[u8]| value.to_vec();
    let mut feed = Feed::new(&cluster.bootstrap(), kind, &frame, PARTITIONS, &scratch)?;
    let (mut without, mut with) = (Runs::default(), [Runs::default(), Runs::default()]);
    for _ in 0..scale.runs {
        without.push("no schemas", trickle(&cluster.bootstrap(), &mut feed, "")?);
        for (registry, runs) in registries.iter().zip(&mut with) {
            // At the pace that a backup has by default.
            let section = format!("schema_registry:\n  url: http://{}", registry.address);
            runs.push("schemas", trickle(&cluster.bootstrap(), &mut feed, &section)?);
        }
    }
    feed.finish()?;
    // Processor time of data in as much time.
    let data = full.middle(|usage| usage.cpu() / usage.wall) * SECONDS as f64;
    for (subjects, runs) in SUBJECTS.into_iter().zip(&with) {
        let more = runs.cpu() - without.cpu();
        let noise = without.spread(Usage::cpu).max(runs.spread(Usage::cpu));
        let share = more / data;
        row(&Row {
            figure: format!(
                "backup that follows a registry of {} schemas, {SECONDS} s from its start: CPU beyond that without",
                subjects * 10
            ),
            ours: format!("{more:.2} s (runs differ by {noise:.2} s)"),
            reference: format!("ours, data at full speed in as much time {data:.1} s"),
            result: format!("{:.2} %", share * 100.0),
            bar: "under 1 %".into(),
            met: Some(share < 0.01),
        });
    }
    Ok(())
}

/// A continuous backup into a new folder while batches trickle in: what it has cost in the time.
fn trickle(broker: &str, feed: &mut Feed, section: &str) -> Result<Usage> {
    let scratch = Scratch::new("bench-trickle");
    let file = scratch.path().join("replevin.yaml");
    let job = Job::new("bench", broker, &folder(scratch.path())).topics(&[TOPIC]).set("start_offset: latest");
    std::fs::write(&file, job.top(section).file())?;
    let mut command = process::command(ours::binary()?);
    command.args(["backup", "--continuous", "--output", "json", "--config"]).arg(&file);
    measure::warm();
    let mut backup = Process::start("replevin backup", command, &scratch.path().join("log"));
    let began = Instant::now();
    let mut tick = began;
    while began.elapsed() < Duration::from_secs(SECONDS) {
        feed.send()?;
        tick += TICK;
        std::thread::sleep(tick.saturating_duration_since(Instant::now()));
    }
    let usage = measure::so_far(backup.pid())?;
    if !backup.terminate(Duration::from_secs(30)) || backup.output().contains("could not be backed up") {
        return Err(format!("the backup has failed: {}", backup.tail()).into());
    }
    Ok(Usage { wall: began.elapsed().as_secs_f64(), ..usage })
}
