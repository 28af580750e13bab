//! Peak memory of backup and restore: 300 partitions, small batches and records of 10 MB, a limit of 128 MiB.

use std::fs;

use sandbox::client::{self, NewRecord, Producer};
use sandbox::job::{Job, bucket};
use sandbox::s3::S3;
use sandbox::scratch::Scratch;

use crate::figures::{backup_with, folder};
use crate::load::{self, Chance, Kind, Loaded};
use crate::ours;
use crate::table::{Row, Runs, row, say};
use crate::{Result, Scale};

const PARTITIONS: usize = 300;
const LARGE: usize = 10_000_000;
/// Records of 10 MB.
const HOW_MANY_LARGE: usize = 60;
const LIMIT: &str = "memory_limit: 128MiB";
const BAR: u64 = 200 << 20;
const BUCKET: &str = "bench";

/// All rows.
///
/// # Errors
/// Whatever a program or server says.
pub(crate) fn run(scale: &Scale) -> Result<()> {
    let kind = Kind { value: 1000, codec: "zstd" };
    let mut loaded = load::load_into(kind, scale.megabytes / 2, PARTITIONS)?;
    add_large(&mut loaded);
    say(&format!("memory, {PARTITIONS} partitions, {} MB stored", loaded.bytes / 1_000_000));
    let s3 = S3::start();
    s3.create_bucket(BUCKET);
    for place in ["filesystem", "S3"] {
        let (mut backups, mut restores) = (Runs::default(), Runs::default());
        for number in 0..scale.runs {
            let (scratch, id) = (Scratch::new("bench-memory"), format!("bench-{number}"));
            let storage = if place == "S3" { bucket(&s3, BUCKET) } else { folder(scratch.path()) };
            let job = Job::new(&id, &loaded.broker(), &storage).topics(&[&loaded.topic]).top(LIMIT);
            backups.push("backup", backup_with(&loaded, &job)?);
            let map = format!("topic_mapping: {{{}: restored}}", loaded.topic);
            let restore = job.restore(&loaded.broker()).top(LIMIT).set(&map);
            restores.push("restore", ours::run(&["restore", "--output", "json"], &restore.file())?.usage);
            client::delete_topics(&loaded.broker(), &["restored"]);
            if place == "S3" {
                fs::remove_dir_all(s3.folder().join(BUCKET).join(&id))?;
            }
        }
        for (what, runs) in [("backup", &backups), ("restore", &restores)] {
            row(&Row {
                figure: format!("peak memory, {what}, {place}, 300 partitions, 10 MB records, {LIMIT}"),
                ours: format!("{} MiB", runs.peak() >> 20),
                reference: "none".into(),
                result: format!("{} MiB", runs.peak() >> 20),
                bar: "at most 200 MiB".into(),
                met: Some(runs.peak() <= BAR),
            });
        }
    }
    Ok(())
}

/// Adds large records here and there: every second one does not compress, and none is compressed by the producer.
fn add_large(loaded: &mut Loaded) {
    let settings = [("compression.codec", "none"), ("message.max.bytes", "10400000")];
    let producer = Producer::new(&loaded.broker(), &settings);
    let text = load::values(LARGE);
    let mut chance = Chance(7);
    for number in 0..HOW_MANY_LARGE {
        let value = match number % 2 {
            0 => text[number % text.len()].clone(),
            _ => (0..LARGE / 8).flat_map(|_| chance.next().to_le_bytes()).collect(),
        };
        loaded.bytes += value.len() as u64;
        loaded.records += 1;
        let partition = i32::try_from(number * 7 % PARTITIONS).unwrap_or(0);
        producer.send(&loaded.topic, &[NewRecord::new("large", value).partition(partition)]);
    }
}
