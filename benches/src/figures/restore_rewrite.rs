//! Restore of uncompressed batches in which every id changes, against a restore of the same archive that leaves them as they are.

use sandbox::client;
use sandbox::job::Restore;
use sandbox::scratch::Scratch;

use crate::figures::{backup_with, folder, job};
use crate::load::{self, Kind, Loaded};
use crate::measure::Usage;
use crate::schemas::Registries;
use crate::table::{Row, Runs, ratio, row, say};
use crate::{Result, Scale, ours};

/// All rows.
///
/// # Errors
/// Whatever a program or server says.
pub(crate) fn run(scale: &Scale) -> Result<()> {
    for (value, bar) in [(1000, 1.3), (100, 1.5)] {
        figure(scale, Kind { value, codec: "none" }, bar)?;
    }
    Ok(())
}

fn figure(scale: &Scale, kind: Kind, bar: f64) -> Result<()> {
    let (registries, archive) = (Registries::start()?, Scratch::new("bench-archive"));
    let frame = |number: usize, text: &[u8]| registries.framed(number, text);
    let loaded = load::load_framed(kind, &frame, scale.megabytes / 2)?;
    let job = job(&loaded, "bench", &folder(archive.path())).top(&registries.backup());
    backup_with(&loaded, &job)?;
    say(&format!("restore with rewriting, {}, {} MB", kind.name(), loaded.bytes / 1_000_000));
    let (mut rewriting, mut untouched) = (Runs::default(), Runs::default());
    for number in 0..scale.runs {
        let plain = job.restore(&loaded.broker());
        let rewrite = plain.clone().top(&registries.restore());
        rewriting
            .push("rewriting", restore(&loaded, rewrite, &format!("rewritten-{number}"), loaded.records)?);
        untouched.push("untouched", restore(&loaded, plain, &format!("untouched-{number}"), 0)?);
    }
    let cpu = ratio(&rewriting, &untouched, Usage::cpu);
    row(&Row {
        figure: format!("restore, {}, filesystem, every id rewritten: CPU", kind.name()),
        ours: rewriting.cost(loaded.bytes),
        reference: format!("ours, ids as they are {}", untouched.cost(loaded.bytes)),
        result: format!("{cpu:.2}x"),
        bar: format!("at most {bar}x"),
        met: Some(cpu <= bar),
    });
    Ok(())
}

/// Runs ours once into a new topic, which is removed again, and looks whether so many ids were changed.
fn restore(loaded: &Loaded, job: Restore, topic: &str, changed: u64) -> Result<Usage> {
    let job = job.set(&format!("topic_mapping: {{{}: {topic}}}", loaded.topic));
    let measured = ours::run(&["restore", "--output", "json"], &job.file())?;
    client::delete_topics(&loaded.broker(), &[topic]);
    let report: serde_json::Value = serde_json::from_str(&measured.stdout)?;
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let partitions: Vec<_> =
        list(&report["topics"]).iter().flat_map(|topic| list(&topic["partitions"])).collect();
    let sum = |of: fn(&serde_json::Value) -> Option<u64>| partitions.iter().filter_map(of).sum::<u64>();
    let found =
        [sum(|one| one["records"].as_u64()), sum(|one| one["lanes"]["schema_ids"]["values"].as_u64())];
    if found != [loaded.records, changed] {
        return Err(
            format!("not {} records and {changed} ids but {found:?}: {report}", loaded.records).into()
        );
    }
    Ok(measured.usage)
}
