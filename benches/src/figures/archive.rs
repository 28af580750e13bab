//! What a large archive costs: start of a backup, `list` and `describe` of one topic with 1,000,000 segments beside
//! 100,000; and the bytes of commits and checkpoints that a day writes.

use std::fs;
use std::path::Path;
use std::time::Instant;

use formats::paths::{CHECKPOINTS, COMMITS};
use futures::TryStreamExt as _;
use pipeline::storage::{IoSettings, StorageSettings, Store, open};
use sandbox::client::{NewRecord, Producer};
use sandbox::job::{Job, bucket_at, folder};
use sandbox::s3::S3;
use sandbox::scratch::Scratch;

use crate::archive::Growing;
use crate::load;
use crate::ours;
use crate::requests::Counter;
use crate::table::{Row, Runs, row, say};
use crate::{Result, Scale};

const ID: &str = "bench";
const BUCKET: &str = "bench";
/// Segments added by one commit of the large archive.
const A_COMMIT: u32 = 400;
/// The default of `memory_limit`.
const LIMIT: u64 = 512 << 20;
/// Requests follow the number of commits since the last checkpoint, which is below this.
const AT_MOST: u64 = 128;
/// 3,000 partitions that end a segment every minute make so many a second.
const A_SECOND: u32 = 50;
const COMMANDS: [(&str, &[&str]); 3] = [
    ("start of a backup", &["backup", "--once", "--output", "json"]),
    ("list", &["list", "--output", "json"]),
    ("describe of one topic", &["describe", "--topic", "topic-0500", "--output", "json"]),
];

/// All rows.
///
/// # Errors
/// Whatever a program or server says.
pub(crate) fn run(scale: &Scale) -> Result<()> {
    let cluster = load::broker();
    load::create_topic(&cluster.bootstrap(), "orders", 1);
    let s3 = S3::start();
    s3.create_bucket(BUCKET);
    let counter = Counter::start(&s3.address())?;
    let mut measured = Vec::new();
    for segments in [100_000, 1_000_000] {
        let scratch = Scratch::new("bench-archive");
        make(scratch.path(), segments)?;
        let job = Job::new(ID, &cluster.bootstrap(), &folder(scratch.path())).topics(&["orders"]).file();
        let mut rows = Vec::new();
        for (name, args) in COMMANDS {
            let mut runs = Runs::default();
            for _ in 0..scale.runs {
                // One record, so that the backup has something to commit.
                Producer::new(&cluster.bootstrap(), &[]).send("orders", &[NewRecord::new("k", "v")]);
                runs.push(name, ours::run(args, &job)?.usage);
            }
            rows.push((name, runs, 0));
        }
        // The same archive as objects: its requests can be counted.
        let objects = s3.folder().join(BUCKET).join(ID);
        let _ = fs::remove_dir_all(&objects);
        fs::rename(scratch.path().join(ID), &objects)?;
        let storage = bucket_at(&counter.endpoint, BUCKET);
        let job = Job::new(ID, &cluster.bootstrap(), &storage).topics(&["orders"]).file();
        for ((_, args), (name, _, requests)) in COMMANDS.iter().zip(&mut rows) {
            Producer::new(&cluster.bootstrap(), &[]).send("orders", &[NewRecord::new("k", "v")]);
            counter.take();
            ours::run(args, &job)?;
            *requests = counter.take();
            say(&format!("  {name}: {requests} requests to S3"));
        }
        measured.push(rows);
    }
    let [small, large] = &measured[..] else { return Err("two archives were to be measured".into()) };
    for ((name, few, few_requests), (_, many, many_requests)) in small.iter().zip(large) {
        row(&Row {
            figure: format!("1,000,000 segments: {name}"),
            ours: format!("{}, {} MiB, {many_requests} requests", many.times(), many.peak() >> 20),
            reference: format!(
                "100,000 segments: {}, {} MiB, {few_requests} requests",
                few.times(),
                few.peak() >> 20
            ),
            result: format!("{:.2} s", many.wall()),
            bar: "under 2 s, inside the limit, requests independent of the number of segments".into(),
            met: Some(many.wall() < 2.0 && many.peak() < LIMIT && many_requests <= &(few_requests + AT_MOST)),
        });
    }
    Ok(())
}

/// Makes an archive in a folder.
fn make(path: &Path, segments: u32) -> Result<()> {
    let began = Instant::now();
    let settings = StorageSettings::Filesystem { path: path.to_owned(), prefix: Some(ID.into()) };
    let seq = runtime()?.block_on(async {
        let mut growing = Growing::begin(open(&settings, &IoSettings::default())?, ID, "elsewhere").await?;
        for _ in 0..segments / A_COMMIT {
            growing.commit(A_COMMIT).await?;
        }
        Ok::<_, Box<dyn std::error::Error>>(growing.seq())
    })?;
    say(&format!("an archive of {segments} segments in {seq} commits, made in {:.1?}", began.elapsed()));
    Ok(())
}

/// The row about the bytes of a day.
///
/// # Errors
/// Whatever the commit log says.
pub(crate) fn day(hours: u32) -> Result<()> {
    let store = open(&StorageSettings::Memory, &IoSettings::default())?;
    let began = Instant::now();
    let (commits, checkpoints) = runtime()?.block_on(async {
        let mut growing = Growing::begin(std::sync::Arc::clone(&store), ID, "elsewhere").await?;
        for hour in 0..hours {
            for _ in 0..3600 {
                growing.commit(A_SECOND).await?;
            }
            say(&format!("  {} h of commits after {:.1?}", hour + 1, began.elapsed()));
        }
        let commits = below(&*store, COMMITS).await?;
        Ok::<_, Box<dyn std::error::Error>>((commits, below(&*store, CHECKPOINTS).await?))
    })?;
    let total = (commits + checkpoints) as f64 / 1e9;
    row(&Row {
        figure: format!(
            "commits and checkpoints of {hours} h: 3,000 partitions, a commit a second, a segment a minute"
        ),
        ours: format!(
            "commits {:.2} GB, checkpoints {:.2} GB",
            commits as f64 / 1e9,
            checkpoints as f64 / 1e9
        ),
        reference: "none".into(),
        result: format!("{total:.2} GB"),
        bar: "stated, at most 2 GB a day".into(),
        met: Some(total <= 2.0 * f64::from(hours) / 24.0),
    });
    Ok(())
}

async fn below(store: &dyn Store, folder: &str) -> Result<u64> {
    let objects: Vec<_> = store.list(folder, None).try_collect().await?;
    Ok(objects.iter().map(|object| object.size).sum())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
