//! Resident memory with the memory store: idle, full, and after a mixed load.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::avro;
use super::client::{Asked, each};
use super::server::{Server, with_store};
use crate::Result;
use crate::load::Chance;
use crate::table::{Row, row, say};

const SUBJECTS: usize = 1000;
const VERSIONS: usize = 10;

pub(super) async fn run(minutes: u64) -> Result<()> {
    let server = Server::registry(&with_store("memory"), "/health/ready")?;
    let idle = server.resident()?;
    report("idle", idle, 20_000_000);
    let asked = Asked::new(&server.address)?;
    asked.fill(SUBJECTS, VERSIONS).await?;
    report("with 10,000 schemas of 1 KB", server.resident()?, 64_000_000);
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let mut rounds = 0;
    while Instant::now() < end {
        each(16, 10_000, async |number| mixed(&asked, rounds * 10_000 + number).await).await?;
        rounds += 1;
        say(&format!("  {} requests, {} MiB", rounds * 10_000, server.resident()? >> 20));
    }
    report(&format!("after {minutes} minutes of mixed load"), server.resident()?, 80_000_000);
    Ok(())
}

/// What clients do: mostly read by id, look up, check, and now and then register and delete.
async fn mixed(asked: &Asked, number: usize) -> Result<()> {
    let mut chance = Chance(number as u64 * 0x9e37_79b9 + 1);
    let (subject, version) = (chance.below(SUBJECTS), chance.below(VERSIONS));
    let body = json!({ "schema": avro(subject, version) });
    let name = format!("s{subject}");
    let (method, path, body) = match chance.below(100) {
        0..60 => (Method::GET, format!("/schemas/ids/{}", 1 + chance.below(SUBJECTS * VERSIONS)), None),
        60..75 => (Method::GET, format!("/subjects/{name}/versions/latest"), None),
        75..85 => (Method::POST, format!("/subjects/{name}"), Some(body)),
        85..95 => (Method::POST, format!("/compatibility/subjects/{name}/versions"), Some(body)),
        95..98 => (Method::GET, format!("/subjects/{name}/versions"), None),
        _ => {
            let (path, body) = (format!("/subjects/t{number}"), json!({ "schema": avro(number, 3) }));
            asked.ask(Method::POST, &format!("{path}/versions"), Some(&body)).await?;
            asked.ask(Method::DELETE, &path, None).await?;
            (Method::DELETE, format!("{path}?permanent=true"), None)
        }
    };
    asked.ask(method, &path, body.as_ref()).await.map(drop)
}

fn report(when: &str, bytes: u64, bar: u64) {
    row(&Row {
        figure: format!("registry, memory store: resident memory {when}"),
        ours: format!("{:.1} MB", bytes as f64 / 1e6),
        reference: "none".into(),
        result: format!("{:.1} MB", bytes as f64 / 1e6),
        bar: format!("at most {} MB", bar / 1_000_000),
        met: Some(bytes <= bar),
    });
}
