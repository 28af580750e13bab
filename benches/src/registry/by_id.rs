//! `GET /schemas/ids/{id}` against the bare handler: processor time of a request, and the 99th percentile at half of what the bare
//! one can do.

use reqwest::Method;
use sandbox::http;
use sandbox::postgres::Postgres;
use sandbox::scratch::Scratch;

use super::client::Asked;
use super::oha::{self, Load};
use super::server::{Server, Variables, with_postgres, with_sqlite};
use crate::Result;
use crate::measure::median;
use crate::table::{Row, row, say};

const SUBJECTS: usize = 1000;
const VERSIONS: usize = 10;
/// Seconds of a load.
const SECONDS: u64 = 8;

pub(super) async fn run(runs: usize) -> Result<()> {
    let sqlite = Scratch::new("bench-sqlite");
    with("SQLite", &with_sqlite(&sqlite), runs).await?;
    let postgres = Postgres::start();
    with("PostgreSQL", &with_postgres(&postgres), runs).await
}

async fn with(store: &str, variables: &Variables, runs: usize) -> Result<()> {
    let registry = Server::registry(variables, "/health/ready")?;
    let asked = Asked::new(&registry.address)?;
    asked.fill(SUBJECTS, VERSIONS).await?;
    let last = SUBJECTS * VERSIONS;
    asked.ask(Method::GET, &format!("/schemas/ids/{last}"), None).await?;
    let answers = Scratch::new("bench-answers");
    for id in 1..=last {
        let answer = http::request(&registry.address, "GET", &format!("/schemas/ids/{id}"), &[], b"")?;
        std::fs::write(answers.path().join(id.to_string()), answer.body)?;
    }
    let bare = Server::bare(answers.path())?;
    let servers = [("ours", &registry), ("bare", &bare)];
    let url = |server: &Server| format!("http://{}/schemas/ids/[1-9][0-9]{{0,3}}", server.address);
    let mut costs = [Vec::new(), Vec::new()];
    let mut tails = [Vec::new(), Vec::new()];
    for _ in 0..runs {
        let mut most = 0.0;
        for (n, (name, server)) in servers.iter().enumerate() {
            let before = server.cpu()?;
            let Load { requests, per_second, p99 } = oha::load(&url(server), SECONDS, None)?;
            let cost = (server.cpu()? - before) / requests * 1e6;
            say(&format!(
                "  {store} {name}: {per_second:.0}/s, {cost:.1} us of processor time each, p99 {:.2} ms",
                p99 * 1e3
            ));
            costs[n].push(cost);
            most = per_second;
        }
        for (n, (name, server)) in servers.iter().enumerate() {
            let p99 = oha::load(&url(server), SECONDS, Some(most / 2.0))?.p99 * 1e3;
            say(&format!("  {store} {name}: p99 {p99:.2} ms at {:.0}/s", most / 2.0));
            tails[n].push(p99);
        }
    }
    let ratio = |of: &[Vec<f64>; 2]| median(of[0].iter().zip(&of[1]).map(|(ours, bare)| ours / bare));
    let middle = |of: &[f64]| median(of.iter().copied());
    let cost = ratio(&costs);
    row(&Row {
        figure: format!(
            "registry, {store}, 10,000 schemas: GET /schemas/ids/{{id}}, 64 connections: CPU a request"
        ),
        ours: format!("{:.1} us", middle(&costs[0])),
        reference: format!("bare axum handler {:.1} us", middle(&costs[1])),
        result: format!("{cost:.2}x"),
        bar: "at most 1.25x".into(),
        met: Some(cost <= 1.25),
    });
    let tail = ratio(&tails);
    row(&Row {
        figure: format!("registry, {store}: the same, open loop at half of the bare maximum: p99"),
        ours: format!("{:.2} ms", middle(&tails[0])),
        reference: format!("bare axum handler {:.2} ms", middle(&tails[1])),
        result: format!("{tail:.2}x"),
        bar: "at most 2x".into(),
        met: Some(tail <= 2.0),
    });
    Ok(())
}
