//! Memory of a migration that goes on and on under a steady load, with every id rewritten: whether it grows.

use std::time::{Duration, Instant};

use sandbox::client;
use sandbox::process::{self, Process};
use sandbox::scratch::Scratch;

use super::migrate::config;
use crate::load::{self, Feed, Kind, PARTITIONS, TOPIC};
use crate::measure;
use crate::schemas::Registries;
use crate::table::{Row, row, say};
use crate::{Result, ours};

/// Between two requests with a batch for each partition.
const TICK: Duration = Duration::from_millis(500);
/// Between two looks at the memory.
const SAMPLE: Duration = Duration::from_secs(10);
/// How long it may be behind after the last record, and how long it may take to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// The row.
///
/// # Errors
/// Whatever a program or server says; a migration that falls behind.
pub(crate) fn run(minutes: u64) -> Result<()> {
    let registries = Registries::start()?;
    let (source, target, scratch) = (load::broker(), load::broker(), Scratch::new("bench-steady"));
    let kind = Kind { value: 1000, codec: "zstd" };
    let frame = |number: usize, text: &[u8]| registries.framed(number, text);
    let mut feed = Feed::new(&source.bootstrap(), kind, &frame, PARTITIONS, &scratch)?;
    let file = scratch.path().join("replevin.yaml");
    std::fs::write(&file, config(&source.bootstrap(), &target.bootstrap(), TOPIC, &registries.migrate()))?;
    let mut command = process::command(ours::binary()?);
    command.args(["migrate", "--output", "json", "--config"]).arg(&file);
    let mut migration = Process::start("replevin migrate", command, &scratch.path().join("log"));
    let began = Instant::now();
    let (mut tick, mut sample, mut samples) = (began, began + SAMPLE, Vec::new());
    while began.elapsed() < Duration::from_secs(60 * minutes) {
        feed.send()?;
        tick += TICK;
        std::thread::sleep(tick.saturating_duration_since(Instant::now()));
        if Instant::now() >= sample {
            sample += SAMPLE;
            if migration.exited().is_some() {
                return Err(format!("the migration has ended: {}", migration.tail()).into());
            }
            samples.push(measure::resident(migration.pid())?);
            let usage = measure::so_far(migration.pid())?;
            let (megabytes, cpu) = (samples[samples.len() - 1] as f64 / 1e6, usage.cpu());
            say(&format!(
                "  {:.0} s: {megabytes:.1} MB, {cpu:.1} s of processor time",
                began.elapsed().as_secs_f64()
            ));
        }
    }
    let (bytes, records) = feed.finish()?;
    let arrived = || {
        let marks = client::watermarks(&target.bootstrap(), TOPIC, client::Isolation::ReadUncommitted);
        let arrived: i64 = marks.values().map(|(start, end)| end - start).sum();
        match u64::try_from(arrived) == Ok(records) {
            true => Ok(()),
            false => Err(format!("{arrived} of {records} records have come")),
        }
    };
    process::wait_until(PATIENCE, arrived)?;
    if !migration.terminate(PATIENCE) {
        return Err(format!("the migration does not stop: {}", migration.tail()).into());
    }
    let third = samples.len() / 3;
    let mean = |part: &[u64]| part.iter().sum::<u64>() as f64 / part.len() as f64 / 1e6;
    let (second, last) = (mean(&samples[third..2 * third]), mean(&samples[2 * third..]));
    let growth = last / second - 1.0;
    let rate = bytes as f64 / 1e6 / (60 * minutes) as f64;
    row(&Row {
        figure: format!(
            "migrate, {}, every id rewritten, {rate:.1} MB/s for {minutes} minutes: resident memory",
            kind.name()
        ),
        ours: format!("last third {last:.1} MB"),
        reference: format!("second third {second:.1} MB"),
        result: format!("{:+.1} %", growth * 100.0),
        bar: "at most 2 % more".into(),
        met: Some(growth <= 0.02),
    });
    Ok(())
}
