//! A backup and a restore of 100,000 schemas and of next to no data: peak memory, and how long they take.

use sandbox::client::{self, NewRecord, Producer};
use sandbox::job::Job;
use sandbox::scratch::Scratch;

use crate::figures::folder;
use crate::load::{self, TOPIC};
use crate::registry::client::Asked;
use crate::registry::server::{Server, with_sqlite, with_store};
use crate::schemas::section;
use crate::table::{Row, Runs, row, say};
use crate::{Result, ours};

const SUBJECTS: usize = 10_000;
const VERSIONS: usize = 10;
const BAR: u64 = 200 << 20;

/// All rows.
///
/// # Errors
/// Whatever a program or server says.
pub(crate) fn run(runs: usize) -> Result<()> {
    let (sqlite, cluster) = (Scratch::new("bench-sqlite"), load::broker());
    let source = Server::registry(&with_sqlite(&sqlite), "/health/ready")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Asked::new(&source.address)?.fill(SUBJECTS, VERSIONS).await })?;
    load::create_topic(&cluster.bootstrap(), TOPIC, 1);
    Producer::new(&cluster.bootstrap(), &[]).send(TOPIC, &[NewRecord::new("k", "v")]);
    say(&format!("{} schemas are registered", SUBJECTS * VERSIONS));
    let (mut backups, mut restores) = (Runs::default(), Runs::default());
    for number in 0..runs {
        let (archive, id) = (Scratch::new("bench-archive"), format!("bench-{number}"));
        let job = Job::new(&id, &cluster.bootstrap(), &folder(archive.path())).topics(&[TOPIC]);
        let job = job.top(&section("schema_registry", &source));
        let measured = ours::run(&["backup", "--once", "--output", "json"], &job.file())?;
        let report: serde_json::Value = serde_json::from_str(&measured.stdout)?;
        all_there("backup", report["schemas"]["versions"].as_u64())?;
        backups.push("backup", measured.usage);
        let target = Server::registry(&with_store("memory"), "/health/ready")?;
        let restore = job.restore(&cluster.bootstrap()).set(&format!("topic_mapping: {{{TOPIC}: restored}}"));
        let section = section("schema_registry", &target) + "  restore: {enabled: true}\n";
        let measured = ours::run(&["restore", "--output", "json"], &restore.top(&section).file())?;
        let report: serde_json::Value = serde_json::from_str(&measured.stdout)?;
        all_there("restore", report["schemas"]["ids"].as_object().map(|ids| ids.len() as u64))?;
        client::delete_topics(&cluster.bootstrap(), &["restored"]);
        restores.push("restore", measured.usage);
    }
    for (what, runs) in [("backup", &backups), ("restore", &restores)] {
        row(&Row {
            figure: format!("{what} of 100,000 schemas of 1 to 2 KB in 10,000 subjects: peak memory, time"),
            ours: format!("{} MiB, {}", runs.peak() >> 20, runs.times()),
            reference: "none".into(),
            result: format!("{} MiB", runs.peak() >> 20),
            bar: format!("at most {} MiB", BAR >> 20),
            met: Some(runs.peak() <= BAR),
        });
    }
    Ok(())
}

/// Every version is another schema.
fn all_there(what: &str, schemas: Option<u64>) -> Result<()> {
    match schemas == Some((SUBJECTS * VERSIONS) as u64) {
        true => Ok(()),
        false => Err(format!("the {what} tells of {schemas:?} schemas").into()),
    }
}
